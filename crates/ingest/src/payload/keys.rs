//! The keys of one session, shared instead of copied. Devices send the same keys in the same
//! order, so the next key is guessed before it is looked up.

use std::collections::HashMap;

use veritwin_domain::{Key, KeyError};

/// Most keys one session shares; further ones are copied.
pub const KEYS_INTERNED_MAX: usize = 4096;

/// Shared keys of one session.
#[derive(Debug, Default)]
pub struct KeyTable {
    order: Vec<Key>,
    index: HashMap<Key, usize>,
    next: usize,
}

impl KeyTable {
    /// The key with this text.
    #[inline]
    pub fn key(&mut self, text: &str) -> Result<Key, KeyError> {
        if self.next >= self.order.len() {
            self.next = 0;
        }
        if let Some(guess) = self.order.get(self.next)
            && **guess == *text
        {
            self.next += 1;
            return Ok(guess.clone());
        }
        self.look_up(text)
    }

    fn look_up(&mut self, text: &str) -> Result<Key, KeyError> {
        if let Some((key, position)) = self.index.get_key_value(text) {
            self.next = position + 1;
            return Ok(key.clone());
        }
        let key = Key::new(text)?;
        if self.order.len() < KEYS_INTERNED_MAX {
            self.index.insert(key.clone(), self.order.len());
            self.order.push(key.clone());
            self.next = self.order.len();
        }
        Ok(key)
    }
}

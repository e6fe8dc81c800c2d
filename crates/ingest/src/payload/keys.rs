//! The keys of one session, shared instead of copied. Devices send the same keys in the same
//! order, so the next key is guessed before it is looked up.

use std::collections::HashMap;

use veritwin_domain::{Key, KeyError, Rule, Screening};

/// Most keys one session shares; further ones are copied.
pub const KEYS_INTERNED_MAX: usize = 4096;

/// Why a text is not taken as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRefused {
    /// It is none.
    NoKey(KeyError),
    /// It breaks a rule on what must not be kept.
    Rule(Rule),
}

/// Shared keys of one session. What breaks a rule never becomes one of them.
#[derive(Debug, Default)]
pub struct KeyTable {
    screening: Screening,
    order: Vec<Key>,
    index: HashMap<Key, usize>,
    next: usize,
}

impl KeyTable {
    /// A table for what is held to these rules.
    pub fn new(screening: Screening) -> Self {
        Self { screening, ..Self::default() }
    }

    /// The rules that values are held to as well.
    #[inline]
    pub const fn screening(&self) -> Screening {
        self.screening
    }

    /// The key with this text.
    #[inline]
    pub fn key(&mut self, text: &str) -> Result<Key, KeyRefused> {
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

    fn look_up(&mut self, text: &str) -> Result<Key, KeyRefused> {
        if let Some((key, position)) = self.index.get_key_value(text) {
            self.next = position + 1;
            return Ok(key.clone());
        }
        let key = Key::new(text).map_err(KeyRefused::NoKey)?;
        if let Some(rule) = self.screening.key(text) {
            return Err(KeyRefused::Rule(rule));
        }
        if self.order.len() < KEYS_INTERNED_MAX {
            self.index.insert(key.clone(), self.order.len());
            self.order.push(key.clone());
            self.next = self.order.len();
        }
        Ok(key)
    }
}

//! The keys of one session, shared instead of copied. Devices send the same keys in the same
//! order, so the next key is guessed before it is looked up.

use std::collections::HashMap;
use std::sync::Arc;

use veritwin_domain::{Key, KeyError, Rule, Screening, Value};

/// Most keys one session shares; further ones are copied.
pub const KEYS_INTERNED_MAX: usize = 4096;
/// So many texts that came last one session shares: devices say a state again and again.
const TEXTS_SHARED_MAX: usize = 4;
/// Longest text that is shared, in bytes.
const TEXT_SHARED_BYTES_MAX: usize = 64;

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
    texts: Vec<Arc<str>>,
    /// The place of the next text that is not among them.
    next_text: usize,
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

    /// The same value of a reading that is taken; a short text is shared with what said it before.
    #[inline]
    pub(super) fn shared(&mut self, value: Value) -> Value {
        match value {
            Value::Text(text) if text.len() <= TEXT_SHARED_BYTES_MAX => {
                Value::Text(self.shared_text(text))
            }
            other => other,
        }
    }

    fn shared_text(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.iter().find(|known| ***known == *text) {
            return Arc::clone(known);
        }
        match self.texts.get_mut(self.next_text) {
            Some(place) => *place = Arc::clone(&text),
            None => self.texts.push(Arc::clone(&text)),
        }
        self.next_text = (self.next_text + 1) % TEXTS_SHARED_MAX;
        text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_came_last_are_shared() {
        let mut keys = KeyTable::default();
        let mut take = |text: &str| match keys.shared(Value::Text(text.into())) {
            Value::Text(shared) => {
                assert_eq!(&*shared, text);
                shared
            }
            other => panic!("{other:?}"),
        };
        let first = take("on");
        assert!(Arc::ptr_eq(&first, &take("on")));
        for text in ["off", "open", "shut", "on"] {
            take(text);
        }
        assert!(Arc::ptr_eq(&first, &take("on")), "one of the last");
        take("locked");
        assert!(!Arc::ptr_eq(&first, &take("on")), "others came since");
        let long = "x".repeat(TEXT_SHARED_BYTES_MAX + 1);
        assert!(!Arc::ptr_eq(&take(&long), &take(&long)));
        assert_eq!(keys.texts.len(), TEXTS_SHARED_MAX);
        assert_eq!(keys.shared(Value::Integer(1)), Value::Integer(1));
    }
}

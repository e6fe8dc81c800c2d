//! What was changed a moment ago, for those who had looked before: a log-in that is under way while
//! its credential is ended may not let anybody in. Kept for a minute, by id.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// How long a change is remembered: longer than a look-up of before is believed, and than a log-in
/// takes.
const KEPT: Duration = Duration::from_secs(60);
/// From how many on those are forgotten whose time is over.
const TIDIED_FROM: usize = 4096;

/// Changes of a kind.
#[derive(Debug)]
pub(crate) struct Lately<T>(Mutex<HashMap<[u8; 16], (T, Duration)>>);

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy> Lately<T> {
    pub(crate) fn note(&self, id: [u8; 16], what: T, now: Duration) {
        let mut known = self.0.lock();
        if known.len() >= TIDIED_FROM {
            known.retain(|_, (_, until)| now < *until);
        }
        known.insert(id, (what, now + KEPT));
    }

    pub(crate) fn forget(&self, id: &[u8; 16]) {
        self.0.lock().remove(id);
    }

    pub(crate) fn get(&self, id: &[u8; 16], now: Duration) -> Option<T> {
        let known = self.0.lock();
        known.get(id).filter(|(_, until)| now < *until).map(|(what, _)| *what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_remembered_for_a_while() {
        let (ended, one, now) = (Lately::default(), [1; 16], Duration::from_secs(9));
        assert_eq!(ended.get(&one, now), None);
        ended.note(one, 7, now);
        assert_eq!(ended.get(&one, now), Some(7));
        assert_eq!(ended.get(&[2; 16], now), None);
        assert_eq!(ended.get(&one, now + KEPT), None);
        ended.forget(&one);
        assert_eq!(ended.get(&one, now), None);
        for number in 0..3 * TIDIED_FROM as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            ended.note(id, 7, now + KEPT * u32::try_from(number / 4096).unwrap_or(0));
        }
        assert!(ended.0.lock().len() <= TIDIED_FROM + 1, "what is over goes");
    }
}

//! QoS 2 messages of a session between their PUBLISH and their PUBREL: each is taken once, and
//! acknowledged only when it is stored, also when it is sent again on another connection.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use tokio::sync::watch;

/// Its sender is dropped when it is known what became of the messages of one submission.
pub(crate) type Fate = watch::Receiver<()>;

#[derive(Debug)]
struct Receipt {
    /// The connection that it came on.
    link: u64,
    /// `None` when it is stored.
    arriving: Option<Fate>,
}

/// What a session has received, by packet id.
#[derive(Debug, Default)]
pub(crate) struct Receipts(HashMap<u16, Receipt>);

/// Whether a message has come before.
#[derive(Debug)]
pub(crate) enum Come {
    First,
    /// It is stored, or will be. On its way from another connection it has to be waited for.
    Again(Option<Fate>),
}

impl Receipts {
    /// A message comes on a connection.
    pub(crate) fn come(&mut self, id: u16, link: u64, fate: impl FnOnce() -> Fate) -> Come {
        match self.0.get(&id) {
            Some(Receipt { arriving: None, .. }) => Come::Again(None),
            Some(Receipt { link: from, arriving: Some(fate) }) if fate.has_changed().is_ok() => {
                // One connection's submissions come back in their order anyhow.
                Come::Again((*from != link).then(|| fate.clone()))
            }
            // Nobody has it, or its connection ended before it was stored.
            _ => {
                self.0.insert(id, Receipt { link, arriving: Some(fate()) });
                Come::First
            }
        }
    }

    /// What came on the connection is stored.
    pub(crate) fn stored(&mut self, id: u16, link: u64) {
        if let Some(receipt) = self.0.get_mut(&id).filter(|receipt| receipt.link == link) {
            receipt.arriving = None;
        }
    }

    pub(crate) fn is_stored(&self, id: u16) -> bool {
        self.0.get(&id).is_some_and(|receipt| receipt.arriving.is_none())
    }

    /// Ids of messages that are stored.
    pub(crate) fn stored_ids(&self) -> Vec<u16> {
        let stored = self.0.iter().filter(|(_, receipt)| receipt.arriving.is_none());
        let mut ids: Vec<u16> = stored.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Messages with these ids were stored before the platform started.
    pub(crate) fn restore(&mut self, ids: &[u16]) {
        self.0.extend(ids.iter().map(|id| (*id, Receipt { link: 0, arriving: None })));
    }

    /// The id is free again. Gives the connection that the message came on, if one did.
    pub(crate) fn forget(&mut self, id: u16) -> Option<u64> {
        self.0.remove(&id).map(|receipt| receipt.link)
    }
}

/// Messages that were sent again on one connection and whose PUBREC waits, by packet id.
#[derive(Debug, Default)]
pub(crate) struct Repeats(BTreeMap<u16, Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    /// So many of them, the first ones, are of a message that was stored and has been released
    /// since.
    released: usize,
}

impl Repeats {
    /// A message comes again.
    pub(crate) fn come(&mut self, id: u16) {
        self.0.entry(id).or_default().count += 1;
    }

    /// The stored message with the id is released; whether a PUBREC for it still waits.
    pub(crate) fn release(&mut self, id: u16) -> bool {
        let Some(waiting) = self.0.get_mut(&id) else { return false };
        waiting.released = waiting.count;
        true
    }

    /// The next PUBREC for the id waits no more; whether its message was stored and released.
    pub(crate) fn acknowledged(&mut self, id: u16) -> bool {
        let Entry::Occupied(mut entry) = self.0.entry(id) else { return false };
        let waiting = entry.get_mut();
        let was_released = waiting.released > 0;
        waiting.released -= usize::from(was_released);
        waiting.count -= 1;
        if waiting.count == 0 {
            entry.remove();
        }
        was_released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_is_not_the_next_message_with_its_id() {
        let mut repeats = Repeats::default();
        assert!(!repeats.release(5), "nothing was sent again");
        repeats.come(5);
        repeats.come(5);
        assert!(repeats.release(5));
        // The next message with the id, sent again as well.
        repeats.come(5);
        assert!(repeats.acknowledged(5) && repeats.acknowledged(5));
        assert!(!repeats.acknowledged(5) && !repeats.acknowledged(5));
        assert!(!repeats.release(5), "nothing waits");
    }
}

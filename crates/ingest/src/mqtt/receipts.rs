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
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Arriving(Fate),
    Stored,
    /// Its PUBREL has come, last on this connection; that is not durable yet.
    Leaving(u64, Fate),
}

/// What a PUBREL finds.
#[derive(Debug)]
pub(crate) struct Left {
    /// The connection that the message came on.
    pub(crate) link: u64,
    /// No PUBREL has come for it before.
    pub(crate) is_first: bool,
    /// Another connection's PUBREL for it, which is to be durable before the id is free.
    pub(crate) before: Option<Fate>,
}

impl Left {
    /// Of a message of which nothing is to be durable.
    pub(crate) const fn at_once(link: u64) -> Self {
        Self { link, is_first: true, before: None }
    }
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
            Some(Receipt { stage: Stage::Stored, .. }) => Come::Again(None),
            Some(Receipt { link: from, stage: Stage::Arriving(fate) })
                if fate.has_changed().is_ok() =>
            {
                // One connection's submissions come back in their order anyhow.
                Come::Again((*from != link).then(|| fate.clone()))
            }
            // Nobody has it, its connection ended before it was stored, or its PUBREL has come:
            // behind that it is not sent again (MQTT-4.3.3-6), and this is the next one.
            _ => {
                self.0.insert(id, Receipt { link, stage: Stage::Arriving(fate()) });
                Come::First
            }
        }
    }

    /// What came on the connection is stored.
    pub(crate) fn stored(&mut self, id: u16, link: u64) {
        if let Some(receipt) = self.0.get_mut(&id).filter(|receipt| receipt.link == link)
            && matches!(receipt.stage, Stage::Arriving(_))
        {
            receipt.stage = Stage::Stored;
        }
    }

    pub(crate) fn is_stored(&self, id: u16) -> bool {
        self.0.get(&id).is_some_and(|receipt| !matches!(receipt.stage, Stage::Arriving(_)))
    }

    /// Whether it is not known yet that a message is stored, nor released.
    pub(crate) fn is_arriving(&self, id: u16) -> bool {
        self.0.get(&id).is_some_and(|receipt| matches!(receipt.stage, Stage::Arriving(_)))
    }

    /// PUBREL comes on a connection. The id is known until [`Receipts::freed`]: before that is
    /// durable whoever asks again is not told that it is free.
    pub(crate) fn leave(
        &mut self,
        id: u16,
        link: u64,
        fate: impl FnOnce() -> Fate,
    ) -> Option<Left> {
        let receipt = self.0.get_mut(&id)?;
        let (is_first, before) = match &receipt.stage {
            Stage::Arriving(_) | Stage::Stored => (true, None),
            Stage::Leaving(from, fate) => {
                let is_others = *from != link && fate.has_changed().is_ok();
                (false, is_others.then(|| fate.clone()))
            }
        };
        receipt.stage = Stage::Leaving(link, fate());
        Some(Left { link: receipt.link, is_first, before })
    }

    /// It is durable that these are free, as the connection's PUBRELs said.
    pub(crate) fn freed(&mut self, ids: &[u16], link: u64) {
        for id in ids {
            let is_left = |receipt: &Receipt| match receipt.stage {
                Stage::Leaving(from, _) => from == link,
                _ => false,
            };
            if self.0.get(id).is_some_and(is_left) {
                self.0.remove(id);
            }
        }
    }

    /// Ids of messages that are stored.
    pub(crate) fn stored_ids(&self) -> Vec<u16> {
        let is_stored = |receipt: &Receipt| !matches!(receipt.stage, Stage::Arriving(_));
        let stored = self.0.iter().filter(|(_, receipt)| is_stored(receipt));
        let mut ids: Vec<u16> = stored.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Messages with these ids were stored before the platform started.
    pub(crate) fn restore(&mut self, ids: &[u16]) {
        self.0.extend(ids.iter().map(|id| (*id, Receipt { link: 0, stage: Stage::Stored })));
    }

    /// The id is free again. Gives the connection that the message came on, if one did whose PUBREL
    /// has not come.
    pub(crate) fn forget(&mut self, id: u16) -> Option<u64> {
        let is_open = |receipt: &Receipt| !matches!(receipt.stage, Stage::Leaving(..));
        self.0.remove(&id).filter(is_open).map(|receipt| receipt.link)
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
    fn an_id_is_known_until_it_is_durable_that_it_is_free() {
        let submission = || watch::Sender::new(());
        let (first, second, mut receipts) = (submission(), submission(), Receipts::default());
        assert!(receipts.leave(5, 1, || first.subscribe()).is_none());
        assert!(matches!(receipts.come(5, 1, || first.subscribe()), Come::First));
        assert!(receipts.is_arriving(5) && !receipts.is_stored(5));
        receipts.stored(5, 1);
        let left = receipts.leave(5, 1, || first.subscribe()).expect("it is stored");
        assert!(left.is_first && left.link == 1 && left.before.is_none());
        assert_eq!(receipts.stored_ids(), [5], "a round still tells it");
        // The client asks again on the same connection, and on another one.
        let left = receipts.leave(5, 1, || first.subscribe()).expect("it is not free yet");
        assert!(!left.is_first && left.before.is_none());
        let left = receipts.leave(5, 2, || second.subscribe()).expect("it is not free yet");
        assert!(left.before.is_some(), "the first connection's note may come behind this one's");
        receipts.freed(&[5], 1);
        assert!(receipts.is_stored(5), "the second one answers for it");
        receipts.freed(&[5], 2);
        assert!(receipts.leave(5, 2, || second.subscribe()).is_none());
        // What comes behind a PUBREL is the next message, and is not let go with the first.
        assert!(matches!(receipts.come(5, 2, || second.subscribe()), Come::First));
        receipts.stored(5, 2);
        assert!(receipts.leave(5, 2, || second.subscribe()).is_some());
        assert!(matches!(receipts.come(5, 2, || second.subscribe()), Come::First));
        receipts.freed(&[5], 2);
        assert!(receipts.is_arriving(5));
        // Released already it is not open any more when it is refused.
        assert!(receipts.leave(5, 2, || second.subscribe()).is_some());
        assert_eq!(receipts.forget(5), None);
    }

    #[test]
    fn what_is_left_of_a_lost_connection_is_asked_for_again() {
        let (submission, mut receipts) = (watch::Sender::new(()), Receipts::default());
        receipts.restore(&[5]);
        assert!(receipts.leave(5, 1, || submission.subscribe()).is_some());
        drop(submission);
        let submission = watch::Sender::new(());
        let left = receipts.leave(5, 2, || submission.subscribe()).expect("nobody said it is free");
        assert!(left.before.is_none(), "it is not waited for who is gone");
        assert!(matches!(receipts.0.get(&5), Some(Receipt { stage: Stage::Leaving(2, _), .. })));
    }

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

//! What a submission changes of a tenant's retained messages, within the tenant's bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use veritwin_domain::{DeviceId, LimitExceeded, RelayMessage, Timestamp};

use super::shelf::{Kept, Shelf, Turn};
use super::{RETAINED_BYTES_MAX, RETAINED_MESSAGE_BYTES_MAX, RETAINED_MESSAGES_MAX};

/// What a submission changes of a tenant's retained messages. It has the tenant's turn.
pub(crate) struct RetainedDraft {
    pub(super) shelf: Arc<Shelf>,
    pub(super) turn: Turn,
    pub(super) kept: Arc<Kept>,
    /// The new message of a topic, or none any more.
    pub(super) changes: BTreeMap<Arc<str>, Option<Arc<RelayMessage>>>,
    count: usize,
    bytes: usize,
    pub(super) now: Timestamp,
    /// What has expired has made room already.
    has_forgotten: bool,
    /// Devices that are gone: nothing of theirs is retained.
    pub(super) gone: BTreeSet<DeviceId>,
}

impl RetainedDraft {
    pub(super) fn new(shelf: Arc<Shelf>, turn: Turn, kept: Arc<Kept>, now: Timestamp) -> Self {
        let (count, bytes) = (kept.messages.len(), kept.bytes);
        let (changes, gone) = (BTreeMap::new(), BTreeSet::new());
        Self { shelf, turn, kept, changes, count, bytes, now, has_forgotten: false, gone }
    }

    /// Retains a message, or forgets the topic's if its payload is empty (MQTT 5.0, 3.3.1.3). Gives
    /// the bound that it would pass; then nothing is changed. Of a device that is gone nothing is
    /// retained.
    pub(crate) fn take(&mut self, message: &Arc<RelayMessage>) -> Option<LimitExceeded> {
        if self.gone.contains(&message.device) {
            return None;
        }
        if message.payload.is_empty() {
            self.change(&message.topic, None);
            return None;
        }
        let size = message.content_bytes();
        if let Some(limit) = over("retained_message_bytes_max", RETAINED_MESSAGE_BYTES_MAX, size) {
            return Some(limit);
        }
        if self.limit(&message.topic, size).is_some() {
            if !self.has_forgotten {
                self.has_forgotten = true;
                self.forget_expired();
            }
            let limit = self.limit(&message.topic, size);
            if limit.is_some() {
                return limit;
            }
        }
        self.change(&message.topic, Some(Arc::clone(message)));
        None
    }

    pub(super) fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many topics it changes.
    pub(crate) fn changed(&self) -> u64 {
        self.changes.len() as u64
    }

    /// What the topic has now.
    fn now_of(&self, topic: &str) -> Option<&Arc<RelayMessage>> {
        match self.changes.get(topic) {
            Some(change) => change.as_ref(),
            None => self.kept.messages.get(topic).map(|(_, message)| message),
        }
    }

    fn limit(&self, topic: &str, size: usize) -> Option<LimitExceeded> {
        let old = self.now_of(topic);
        let count = self.count + usize::from(old.is_none());
        let bytes = self.bytes - old.map_or(0, |old| old.content_bytes()) + size;
        let of_count = || over("retained_messages_max", RETAINED_MESSAGES_MAX, count);
        over("retained_bytes_max", RETAINED_BYTES_MAX, bytes).or_else(of_count)
    }

    fn change(&mut self, topic: &Arc<str>, message: Option<Arc<RelayMessage>>) {
        if let Some(old) = self.now_of(topic) {
            self.bytes -= old.content_bytes();
            self.count -= 1;
        }
        if let Some(new) = &message {
            self.bytes += new.content_bytes();
            self.count += 1;
        }
        self.changes.insert(Arc::clone(topic), message);
    }

    pub(super) fn forget_expired(&mut self) {
        let now = self.now;
        self.forget(|one| is_expired(one, now));
    }

    /// Forgets what a device has published, and what its own topics have.
    pub(crate) fn forget_device(&mut self, device: DeviceId) {
        let own = format!("devices/{device}/");
        self.forget(|one| one.device == device || one.topic.starts_with(&own));
    }

    fn forget(&mut self, is_over: impl Fn(&RelayMessage) -> bool) {
        let over = self.kept.messages.values().filter(|(_, one)| is_over(one));
        let topics: Vec<Arc<str>> = over.map(|(_, one)| Arc::clone(&one.topic)).collect();
        for topic in topics {
            // One that this submission has changed already is a newer one.
            if !self.changes.contains_key(&topic) {
                self.change(&topic, None);
            }
        }
    }
}

fn over(name: &'static str, max: usize, actual: usize) -> Option<LimitExceeded> {
    (actual > max).then_some(LimitExceeded { name, max, actual })
}

pub(super) fn is_expired(message: &RelayMessage, now: Timestamp) -> bool {
    message.expires_at.is_some_and(|expires_at| expires_at <= now)
}

#[cfg(test)]
pub(super) mod tests {
    use futures::FutureExt;
    use veritwin_domain::{CredentialId, MessageId, TenantId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    pub(in crate::retained) fn message(
        topic: &str,
        payload: &[u8],
        expires_at: Option<i64>,
    ) -> Arc<RelayMessage> {
        Arc::new(RelayMessage {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            received_at: NOW,
            expires_at: expires_at.map(Timestamp::from_micros),
            topic: topic.into(),
            properties: b"\x01\x01"[..].into(),
            payload: payload.into(),
            qos: 1,
            retain: true,
            hops: 0,
        })
    }

    fn draft(kept: Kept) -> RetainedDraft {
        let (shelf, kept) = (Arc::<Shelf>::default(), Arc::new(kept));
        let turn = shelf.turn().now_or_never().expect("free");
        RetainedDraft::new(shelf, turn, kept, NOW)
    }

    #[test]
    fn bounds_count_what_a_topic_has_once() {
        let mut draft = draft(Kept::default());
        for number in 0..RETAINED_MESSAGES_MAX {
            assert_eq!(draft.take(&message(&format!("t/{number}"), b"1", None)), None);
        }
        let limit = draft.take(&message("more", b"1", None)).expect("over");
        assert_eq!((limit.name, limit.actual), ("retained_messages_max", 10_001));
        assert_eq!(draft.take(&message("t/1", b"22", None)), None, "another one of the same");
        assert_eq!(draft.take(&message("t/1", b"", None)), None, "none any more");
        assert_eq!(draft.take(&message("more", b"1", None)), None);
        let large = vec![b'x'; RETAINED_MESSAGE_BYTES_MAX];
        let limit = draft.take(&message("t/2", &large, None)).expect("over");
        assert_eq!(limit.name, "retained_message_bytes_max");
        let large = vec![b'x'; RETAINED_MESSAGE_BYTES_MAX - 100];
        let limit =
            (2..102).find_map(|number| draft.take(&message(&format!("t/{number}"), &large, None)));
        assert_eq!(limit.expect("over").name, "retained_bytes_max");
    }

    #[test]
    fn a_deleted_device_leaves_nothing_behind() {
        let mut kept = Kept::default();
        let gone = DeviceId::from_bytes([2; 16]);
        let other = DeviceId::from_bytes([9; 16]);
        let own = format!("devices/{gone}/state");
        let messages = [("a", gone), (&*own, other), ("b", other), ("devices/x/state", other)];
        for ((topic, device), number) in messages.into_iter().zip(0u8..) {
            let message = RelayMessage { device, ..(*message(topic, b"1", None)).clone() };
            kept.insert(MessageId::from_bytes([number; 16]), Arc::new(message));
        }
        let mut draft = draft(kept);
        draft.forget_device(gone);
        let changed: Vec<&str> = draft.changes.keys().map(|topic| &**topic).collect();
        assert_eq!(changed, ["a", &own]);
        assert_eq!(draft.count, 2);
    }

    #[test]
    fn what_has_expired_makes_room() {
        let mut kept = Kept::default();
        for number in 0..RETAINED_MESSAGES_MAX {
            let expires_at = if number == 7 { 1_000 } else { 1_001 };
            let id = MessageId::from_bytes((number as u128).to_be_bytes());
            kept.insert(id, message(&format!("t/{number}"), b"1", Some(expires_at)));
        }
        let mut draft = draft(kept);
        assert_eq!(draft.take(&message("more", b"1", None)), None);
        assert_eq!(draft.changes.get("t/7"), Some(&None));
        assert!(draft.take(&message("and more", b"1", None)).is_some());
    }

    #[test]
    fn what_has_expired_is_looked_for_once() {
        let mut kept = Kept::default();
        for number in 0..RETAINED_MESSAGES_MAX {
            let id = MessageId::from_bytes((number as u128).to_be_bytes());
            kept.insert(id, message(&format!("t/{number}"), b"1", Some(1_001)));
        }
        let mut draft = draft(kept);
        assert!(draft.take(&message("more", b"1", None)).is_some());
        draft.now = Timestamp::from_micros(1_001);
        assert!(draft.take(&message("more", b"1", None)).is_some());
    }

    #[test]
    fn nothing_of_a_device_that_is_gone_is_retained() {
        let mut kept = Kept::default();
        kept.insert(MessageId::from_bytes([1; 16]), message("a", b"1", None));
        let mut draft = draft(kept);
        draft.gone.insert(message("a", b"1", None).device);
        for (topic, payload) in [("a", b"".as_slice()), ("b", b"2")] {
            assert_eq!(draft.take(&message(topic, payload, None)), None);
        }
        assert!(draft.changes.is_empty());
    }
}

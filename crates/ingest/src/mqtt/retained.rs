//! Retained messages for a client that has subscribed (MQTT 5.0, 3.3.1.3): fetched for one
//! subscription at a time, some at a time, and sent before what was published since. What is still
//! to be sent belongs to the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::sleep;
use veritwin_domain::{DeviceId, RelayMessage};

use super::device::{Close, Device};
use super::outbox::{Bytes, Delivery};
use super::session::{SessionState, Subscription};
use super::sparkplug::FoundChild;
use super::topic;
use crate::decoding::DecodeError;
use crate::traits::SubmitError;

/// Most retained messages that are fetched at once.
pub const RETAINED_PAGE_MESSAGES_MAX: usize = 64;
/// Most bytes of them, but for a single message.
pub const RETAINED_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// So often they are asked for again, after so long, before the connection is closed.
const RETRIES_MAX: usize = 3;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So many deliveries a look for retained messages counts in the rates, whatever it finds.
const LOOK_DELIVERIES: usize = 2_048;
/// The number of no subscription.
const NOTHING: u64 = 0;

/// A subscription that waits for its retained messages.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Unique in its session.
    number: u64,
    subscription: Subscription,
    /// The topic of the last one that was sent.
    after: Option<Arc<str>>,
}

/// What a session has still to be sent of retained messages; of each filter one.
#[derive(Debug, Default)]
pub(super) struct AllWanted {
    wanted: VecDeque<Wanted>,
    last_number: u64,
}

impl AllWanted {
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn want(&mut self, subscription: &Subscription) {
        self.forget(&subscription.filter);
        self.last_number += 1;
        let (number, subscription) = (self.last_number, subscription.clone());
        self.wanted.push_back(Wanted { number, subscription, after: None });
    }

    pub(super) fn forget(&mut self, filter: &str) {
        self.wanted.retain(|known| known.subscription.filter != filter);
    }
}

/// Retained messages that were read for what has this number.
pub(crate) struct Found {
    number: u64,
    messages: Result<Vec<Arc<RelayMessage>>, SubmitError>,
}

/// What a connection has asked for, and got.
pub(crate) enum Fetched {
    Retained(Found),
    /// The device behind an edge node for whose birth nothing is read meanwhile.
    Child(Box<FoundChild>),
    /// What the message means for which nothing is read meanwhile.
    Decoded(Result<Option<String>, DecodeError>),
}

/// Where retained messages are read, and devices looked up.
pub(crate) type Fetching = FuturesUnordered<BoxFuture<'static, Fetched>>;

/// What a connection has fetched of retained messages.
#[derive(Default)]
pub(super) struct Retained {
    /// The number of what it is for.
    of: u64,
    /// Messages that wait to be sent, each with its place among the bytes that wait for clients:
    /// they share their content with the store, which may let go of it.
    backlog: VecDeque<Delivery>,
    /// The topic up to which they go.
    end: Option<Arc<str>>,
    /// There was no room for the first one: it is asked for again after a while.
    lacks_room: bool,
}

impl Retained {
    pub(super) fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Takes what was read for a subscription, as far as there is room; of messages of devices' own
    /// topics those of this device. Gives what that counts in the rates.
    fn take(
        &mut self,
        wanted: &mut Wanted,
        messages: &[Arc<RelayMessage>],
        device: DeviceId,
        bytes: &Arc<Bytes>,
    ) -> usize {
        let Subscription { options, id, .. } = &wanted.subscription;
        let (mut counted, mut end) = (LOOK_DELIVERIES, None);
        for message in messages {
            let is_own = topic::owner(&message.topic).is_some();
            if !is_own || message.device == device {
                let ids = id.iter().copied().collect();
                let mut delivery = Delivery::of(message, options.qos, true, ids);
                // It is held here from now on, whatever becomes of its topic. Only the first one
                // may pass the bounds, so that who reads slowly leaves that room to the others.
                let is_next = self.backlog.is_empty();
                if !delivery.take_place(bytes, is_next) {
                    self.lacks_room = is_next;
                    break;
                }
                self.backlog.push_back(delivery);
            }
            counted += 1 + message.content_bytes() / 1024;
            end = Some(Arc::clone(&message.topic));
        }
        self.end = end;
        if self.backlog.is_empty()
            && let Some(end) = self.end.take()
        {
            wanted.after = Some(end);
        }
        counted
    }

    /// The next message to send, if there is one and it may be sent.
    pub(super) fn next(&mut self, state: &mut SessionState, is_open: bool) -> Option<Delivery> {
        let wanted = state.retained.wanted.front_mut()?;
        self.backlog.front().filter(|next| next.qos == 0 || is_open)?;
        if self.of != wanted.number {
            return None;
        }
        let delivery = self.backlog.pop_front()?;
        wanted.after = if self.backlog.is_empty() {
            self.end.take()
        } else {
            Some(Arc::clone(&delivery.topic))
        };
        Some(delivery)
    }
}

impl Device {
    /// Asks for the next retained messages, once those before are sent.
    pub(super) fn fetch_retained(&mut self) {
        if !self.fetching.is_empty() || self.retained.lacks_room {
            return;
        }
        let session = Arc::clone(&self.state);
        let state = session.lock();
        if state.holder != self.link.id() {
            return;
        }
        let Some(wanted) = state.retained.wanted.front() else {
            // What waits for nobody any more gives its place back.
            self.retained.backlog.clear();
            return;
        };
        if wanted.number == self.retained.of && !self.retained.is_empty() {
            return;
        }
        let (number, after) = (wanted.number, wanted.after.clone());
        let filter = wanted.subscription.filter.clone();
        drop(state);
        self.retained = Retained { of: number, ..Retained::default() };
        let (sink, session) = (Arc::clone(&self.broker.sink), Arc::clone(&self.session));
        let fetch = async move {
            let mut tries = 0;
            let messages = loop {
                tries += 1;
                match sink.retained(&session, &filter, after.clone()).await {
                    Err(error) if tries <= RETRIES_MAX => {
                        tracing::warn!(device = %session.device, %error, "retained messages");
                        sleep(RETRY_AFTER).await;
                    }
                    result => break result,
                }
            };
            Fetched::Retained(Found { number, messages })
        };
        self.fetching.push(fetch.boxed());
    }

    /// Asks again after a while where there was no room for the first message.
    pub(super) fn retry_retained(&mut self) {
        if self.retained.lacks_room && self.fetching.is_empty() {
            let later = async {
                sleep(RETRY_AFTER).await;
                Fetched::Retained(Found { number: NOTHING, messages: Ok(Vec::new()) })
            };
            self.fetching.push(later.boxed());
        }
    }

    /// Something was fetched; whether the input is to be read again that has waited for it.
    pub(crate) fn found(&mut self, fetched: Fetched) -> Result<bool, Close> {
        match fetched {
            Fetched::Retained(found) => self.found_retained(found).map(|()| false),
            Fetched::Child(found) => {
                self.found_child(*found);
                Ok(true)
            }
            Fetched::Decoded(decoded) => self.decoded(decoded).map(|()| true),
        }
    }

    /// Retained messages were read: none when there are no more. They count in the rate. `Err`
    /// closes the connection: the session still wants them.
    fn found_retained(&mut self, found: Found) -> Result<(), Close> {
        if found.number == NOTHING {
            self.retained.lacks_room = false;
            return Ok(());
        }
        let messages = found.messages.map_err(|error| {
            Close::new(0x80, format!("retained messages could not be read: {error}"))
        })?;
        let session = Arc::clone(&self.state);
        let mut state = session.lock();
        // It may be wanted no longer.
        let wanted = state.retained.wanted.front_mut();
        let Some(wanted) = wanted.filter(|wanted| wanted.number == found.number) else {
            return Ok(());
        };
        let (filter, after) = (&wanted.subscription.filter, wanted.after.as_deref());
        let messages = self.broker.with_state(self.session.tenant, filter, after, messages);
        if messages.is_empty() {
            state.retained.wanted.pop_front();
            drop(state);
            self.pace_deliveries(LOOK_DELIVERIES);
            return Ok(());
        }
        let bytes = session.relay().bytes();
        let counted = self.retained.take(wanted, &messages, self.session.device, bytes);
        drop(state);
        self.pace_deliveries(counted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::outbox::RELAY_BYTES_MAX;
    use super::super::packet::Options;
    use super::super::relay::tests::{DEVICE, message as relayed};
    use super::super::topic::FilterKind;
    use super::*;

    /// What a connected client may take.
    const FULL: usize = RELAY_BYTES_MAX + RELAY_BYTES_MAX / 4;

    fn message(topic: &str, qos: u8) -> Arc<RelayMessage> {
        let payload = vec![0u8; 1000].into();
        Arc::new(RelayMessage { payload, qos, retain: true, ..(*relayed(topic)).clone() })
    }

    /// A session that wants them all.
    fn state(qos: u8) -> SessionState {
        let mut state = SessionState::default();
        let options = Options { qos, ..Options::default() };
        let (filter, kind) = ("#".to_owned(), FilterKind::Relay);
        state.retained.want(&Subscription { filter, kind, options, id: None });
        state
    }

    #[test]
    fn what_is_fetched_has_its_place_or_is_asked_for_again() {
        // Another device's own.
        let other = "devices/00000000-0000-4000-8000-000000000009/a";
        let size = 128 + 1 + 1000;
        // How much is free, what was read, what is held of it, whether it is asked for later, and
        // after which topic it goes on once that is sent.
        let check = |free: usize,
                     topics: &[&str],
                     (held, lacks_room, after): (usize, bool, Option<&str>)| {
            for qos in 0..=2 {
                let all = Arc::new(AtomicUsize::new(FULL - free));
                let bytes = Bytes::new(Arc::clone(&all));
                let mut state = state(qos);
                let mut retained = Retained { of: 1, ..Retained::default() };
                let messages: Vec<_> = topics.iter().map(|topic| message(topic, qos)).collect();
                let wanted = state.retained.wanted.front_mut().expect("wanted");
                let reader = DeviceId::from_bytes([8; 16]);
                retained.take(wanted, &messages, reader, &bytes);
                let case = format!("{free} {topics:?} {qos}");
                assert_eq!(
                    (retained.backlog.len(), retained.lacks_room),
                    (held, lacks_room),
                    "{case}"
                );
                assert_eq!(all.load(Ordering::Relaxed), FULL - free + held * size, "{case}");
                while retained.next(&mut state, true).is_some() {}
                let wanted = state.retained.wanted.front().expect("wanted");
                assert_eq!(wanted.after.as_deref(), after, "{case}");
                assert_eq!(all.load(Ordering::Relaxed), FULL - free, "given back: {case}");
            }
        };
        check(FULL, &["a", "b"], (2, false, Some("b")));
        check(FULL, &["a", other], (1, false, Some(other)));
        check(FULL, &[other], (0, false, Some(other)));
        check(FULL - RELAY_BYTES_MAX, &["a", "b"], (1, false, Some("a")));
        check(FULL - RELAY_BYTES_MAX + 3 * size, &["a", "b", "c"], (2, false, Some("b")));
        check(size, &["a", "b"], (1, false, Some("a")));
        check(0, &["a", "b"], (0, true, None));
        check(0, &[other, "a"], (0, true, Some(other)));
    }

    #[test]
    fn what_is_to_be_acknowledged_waits_for_the_window() {
        let check = |qos: u8, is_open: bool, is_sent: bool| {
            let mut state = state(qos);
            let mut retained = Retained { of: 1, ..Retained::default() };
            let wanted = state.retained.wanted.front_mut().expect("wanted");
            let bytes = Bytes::new(Arc::default());
            retained.take(wanted, &[message("a", qos)], DEVICE, &bytes);
            let next = retained.next(&mut state, is_open);
            assert_eq!(next.is_some(), is_sent, "{qos} {is_open}");
            assert!(next.is_none_or(|next| next.reserved.is_some()));
        };
        check(0, false, true);
        check(1, false, false);
        check(1, true, true);
        check(2, false, false);
        check(2, true, true);
    }
}

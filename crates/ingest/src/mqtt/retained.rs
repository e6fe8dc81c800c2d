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
use veritwin_domain::RelayMessage;

use super::device::{Close, Device};
use super::outbox::{Bytes, Delivery};
use super::session::{SessionState, Subscription};
use super::topic;
use crate::traits::SubmitError;

/// Most retained messages that are fetched at once.
pub const RETAINED_PAGE_MESSAGES_MAX: usize = 64;
/// Most bytes of them, but for a single message.
pub const RETAINED_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// So often they are asked for again, after so long, before the connection is closed.
const RETRIES_MAX: usize = 3;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So many deliveries a look for retained messages counts in the rates, whatever it finds.
const LOOK_DELIVERIES: usize = 256;
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

/// Where retained messages are read.
pub(crate) type Fetching = FuturesUnordered<BoxFuture<'static, Found>>;

/// What a connection has fetched of retained messages.
#[derive(Default)]
pub(super) struct Retained {
    /// The number of what it is for.
    of: u64,
    /// Messages that wait to be sent. They share their content with the store.
    backlog: VecDeque<Delivery>,
    /// The topic up to which they go.
    end: Option<Arc<str>>,
    /// There was no room to keep the next one until it is acknowledged.
    lacks_room: bool,
}

impl Retained {
    pub(super) fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// The next message to send, if there is one and it may be sent. One that the client has to
    /// acknowledge has its place from now on, or waits for it.
    pub(super) fn next(
        &mut self,
        state: &mut SessionState,
        is_open: bool,
        bytes: &Arc<Bytes>,
    ) -> Option<Delivery> {
        self.lacks_room = false;
        let wanted = state.retained.wanted.front_mut()?;
        let next = self.backlog.front_mut().filter(|next| next.qos == 0 || is_open)?;
        if self.of != wanted.number {
            return None;
        }
        if next.qos > 0 && !next.take_place(bytes) {
            self.lacks_room = true;
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
        if !self.fetching.is_empty() {
            return;
        }
        let session = Arc::clone(&self.state);
        let state = session.lock();
        if state.holder != self.link.id() {
            return;
        }
        let Some(wanted) = state.retained.wanted.front() else { return };
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
            Found { number, messages }
        };
        self.fetching.push(fetch.boxed());
    }

    /// Comes back to a message for which there was no room.
    pub(super) fn retry_retained(&mut self) {
        if self.retained.lacks_room && self.fetching.is_empty() {
            let later = async {
                sleep(RETRY_AFTER).await;
                Found { number: NOTHING, messages: Ok(Vec::new()) }
            };
            self.fetching.push(later.boxed());
        }
    }

    /// Retained messages were read: none when there are no more. They count in the rate. `Err`
    /// closes the connection: the session still wants them.
    pub(crate) fn found_retained(&mut self, found: Found) -> Result<(), Close> {
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
        let Some(last) = messages.last() else {
            state.retained.wanted.pop_front();
            drop(state);
            self.pace_deliveries(LOOK_DELIVERIES);
            return Ok(());
        };
        self.retained.end = Some(Arc::clone(&last.topic));
        let Subscription { options, id, .. } = &wanted.subscription;
        let mut counted = LOOK_DELIVERIES;
        for message in &messages {
            counted += 1 + message.content_bytes() / 1024;
            let is_own = topic::owner(&message.topic).is_some();
            if is_own && message.device != self.session.device {
                continue;
            }
            let ids = id.iter().copied().collect();
            self.retained.backlog.push_back(Delivery::of(message, options.qos, true, ids));
        }
        if self.retained.is_empty() {
            wanted.after = self.retained.end.take();
        }
        drop(state);
        self.pace_deliveries(counted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use veritwin_domain::{CredentialId, DeviceId, TenantId, Timestamp};

    use super::super::outbox::RELAY_BYTES_MAX;
    use super::super::packet::Options;
    use super::super::topic::FilterKind;
    use super::*;

    fn delivery(qos: u8) -> Delivery {
        let message = RelayMessage {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            credential: CredentialId::from_bytes([3; 16]),
            received_at: Timestamp::EPOCH,
            expires_at: None,
            topic: "a".into(),
            properties: Arc::default(),
            payload: Arc::default(),
            qos,
            retain: true,
        };
        Delivery::of(&message, qos, true, Vec::new())
    }

    #[test]
    fn what_is_to_be_acknowledged_waits_for_room() {
        let full = RELAY_BYTES_MAX + RELAY_BYTES_MAX / 4;
        let check = |qos: u8, used: usize, is_open: bool, (is_sent, lacks_room): (bool, bool)| {
            let all = Arc::new(AtomicUsize::new(used));
            let bytes = Bytes::new(Arc::clone(&all));
            let mut state = SessionState::default();
            let (options, kind) = (Options::default(), FilterKind::Relay);
            let filter = "#".to_owned();
            state.retained.want(&Subscription { filter, kind, options, id: None });
            let mut retained = Retained { of: 1, ..Retained::default() };
            retained.backlog.push_back(delivery(qos));
            let next = retained.next(&mut state, is_open, &bytes);
            assert_eq!(
                (next.is_some(), retained.lacks_room),
                (is_sent, lacks_room),
                "{qos} {used}"
            );
            let is_kept = next.is_some_and(|next| next.reserved.is_some());
            assert_eq!(is_kept, is_sent && qos > 0);
        };
        check(0, full, false, (true, false));
        check(1, 0, true, (true, false));
        check(1, 0, false, (false, false));
        check(1, full, true, (false, true));
        check(2, full, false, (false, false));
    }
}

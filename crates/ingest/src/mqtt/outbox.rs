//! What waits to be sent to a client, within bounds of the session, the tenant and the broker:
//! messages of a client that reads slowly, or is away, are dropped by name and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use veritwin_domain::{RelayMessage, Timestamp};

use super::session::UNACKNOWLEDGED_MAX;

/// Most relayed messages that wait for one session.
pub const RELAY_QUEUE_MESSAGES_MAX: usize = 1000;
/// Most bytes of relayed messages that wait for one session.
pub const RELAY_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of relayed messages that wait for the sessions of one tenant, or are on their way.
pub const RELAY_TENANT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same for all tenants.
pub const RELAY_BYTES_MAX: usize = 512 * 1024 * 1024;
/// A tenant takes at most so many times of [`RELAY_BYTES_MAX`] what it leaves free.
const TIMES_FREE_MAX: usize = 3;
/// What a message that waits counts for besides its content.
const MESSAGE_BYTES: usize = 128;
/// So many times as many messages wait while sessions are restored, besides those that may have
/// been under way: what the client has had is only told later.
const RESTORING_TIMES: usize = 4;

/// For whom a message is to wait: so that who is away, or reads slowly, leaves a share to the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// A client that is away: half of the bounds.
    Away,
    /// A client for which others wait already: the bounds.
    Behind,
    /// A connected client for which nothing waits: a quarter above the bounds.
    Next,
}

impl Claim {
    const fn share(self, max: usize) -> usize {
        match self {
            Self::Away => max / 2,
            Self::Behind => max,
            Self::Next => max + max / 4,
        }
    }
}

/// Bytes that wait, of a tenant and of all.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    tenant: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Bytes {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { tenant: AtomicUsize::new(0), all })
    }

    /// A place for what waits for nobody yet, if there is room. It may pass the half that those
    /// who are away share: a few tenants whose clients are away do not take it from everybody.
    pub(super) fn place(self: &Arc<Self>, content_bytes: usize) -> Option<Reserved> {
        self.reserve(MESSAGE_BYTES + content_bytes, Claim::Behind).ok()
    }

    /// A place for so many bytes, or the bound that is reached.
    fn reserve(self: &Arc<Self>, bytes: usize, claim: Claim) -> Result<Reserved, &'static str> {
        let reserved = Reserved { bytes, of: Arc::clone(self) };
        let tenant = self.tenant.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all_max = claim.share(RELAY_BYTES_MAX);
        if all > all_max {
            return Err("relay_bytes_max");
        }
        // A tenant for which nothing waits gets room as long as there is any.
        let of_free = (all_max - all).saturating_mul(TIMES_FREE_MAX);
        if tenant > bytes && tenant > claim.share(RELAY_TENANT_BYTES_MAX).min(of_free) {
            return Err("relay_tenant_bytes_max");
        }
        Ok(reserved)
    }

    /// A place for what had one before the platform ended, whatever others have by now: none of it
    /// is lost for the order in which it is read again.
    fn reserve_again(self: &Arc<Self>, bytes: usize) -> Reserved {
        self.tenant.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
        Reserved { bytes, of: Arc::clone(self) }
    }
}

/// A place for bytes that wait, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    bytes: usize,
    of: Arc<Bytes>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.tenant.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message to one client.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Arc<[u8]>,
    pub(super) properties: Arc<[u8]>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Subscription Identifiers of the subscriptions it is for.
    pub(super) ids: Vec<u32>,
    pub(super) reserved: Option<Reserved>,
    /// Which message it is, of what is durable: twice its position, one more if it came to the
    /// session as a member of a share.
    pub(super) place: Option<u64>,
    /// It may have been sent before the platform started.
    pub(super) again: bool,
}

impl Delivery {
    /// Of a relayed message, at the lower QoS (MQTT-3.8.4-8).
    pub(super) fn of(message: &RelayMessage, qos: u8, retain: bool, ids: Vec<u32>) -> Self {
        Self {
            topic: Arc::clone(&message.topic),
            payload: Arc::clone(&message.payload),
            properties: Arc::clone(&message.properties),
            expires_at: message.expires_at,
            qos: qos.min(message.qos),
            retain,
            ids,
            reserved: None,
            place: None,
            again: false,
        }
    }

    /// Of a QoS 2 message that the client has: only its place and its id are needed.
    pub(super) fn completed(place: u64) -> Self {
        Self {
            topic: Arc::from(""),
            payload: Arc::default(),
            properties: Arc::default(),
            expires_at: None,
            qos: 2,
            retain: false,
            ids: Vec::new(),
            reserved: None,
            place: Some(place),
            again: true,
        }
    }

    /// The message as it is told: it shares its content and takes no place.
    pub(super) fn told(&self) -> Self {
        Self {
            topic: Arc::clone(&self.topic),
            payload: Arc::clone(&self.payload),
            properties: Arc::clone(&self.properties),
            ids: self.ids.clone(),
            reserved: None,
            ..*self
        }
    }

    /// Seconds that are left of its expiry, `Err` when none is (MQTT-3.3.2-5, MQTT-3.3.2-6).
    pub(super) fn seconds_left(&self, now: Timestamp) -> Result<Option<u32>, ()> {
        let Some(expires_at) = self.expires_at else { return Ok(None) };
        let micros = expires_at.as_micros().saturating_sub(now.as_micros());
        if micros <= 0 {
            return Err(());
        }
        let seconds = u64::try_from(micros).unwrap_or(0).div_ceil(1_000_000);
        Ok(Some(u32::try_from(seconds).unwrap_or(u32::MAX)))
    }

    /// Takes a place for what is held for a connected client, as the next one or behind others, if
    /// it has none; whether there is room.
    pub(super) fn take_place(&mut self, bytes: &Arc<Bytes>, is_next: bool) -> bool {
        if self.reserved.is_none() {
            let claim = if is_next { Claim::Next } else { Claim::Behind };
            self.reserved = bytes.reserve(self.bytes(), claim).ok();
        }
        self.reserved.is_some()
    }

    fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.topic.len() + self.payload.len() + self.properties.len()
    }
}

/// What waits for one session.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    dropped: u64,
    /// The bound that the last dropped message passed.
    limit: &'static str,
    /// So many, the first ones, may have been under way to the client when the platform ended: as
    /// little as then they count in the session's bounds.
    had: usize,
    had_bytes: usize,
    restoring: Option<Restored>,
}

/// How a session is restored.
#[derive(Debug)]
struct Restored {
    /// Places of messages that it is done with later, in their order.
    settled: Arc<[u64]>,
    /// Whether the client was connected when what is read now came.
    is_connected: bool,
}

impl Outbox {
    /// A session is being restored. What it is done with later is not put in.
    pub(super) fn begin_restoring(&mut self, settled: Arc<[u64]>, is_connected: bool) {
        self.restoring = Some(Restored { settled, is_connected });
    }

    /// From here on the client was connected, or was not.
    pub(super) fn restore_as(&mut self, is_connected: bool) {
        let Some(restoring) = &mut self.restoring else { return };
        let was_connected = std::mem::replace(&mut restoring.is_connected, is_connected);
        if was_connected && !is_connected {
            // What the client has had, and has not said so in time, leaves room for what comes
            // while it is away: none of that it has had.
            while self.passed(0, RESTORING_TIMES / 2).is_some() && self.pop().is_some() {}
        }
    }

    /// It is restored: the client may have had any of what waits.
    pub(super) fn end_restoring(&mut self) {
        (self.had, self.had_bytes) = self.under_way();
        self.restoring = None;
        self.waiting.iter_mut().for_each(|delivery| delivery.again = true);
    }

    /// The first messages, as many as are under way to a client at most, and their bytes.
    fn under_way(&self) -> (usize, usize) {
        let first = self.waiting.iter().take(UNACKNOWLEDGED_MAX);
        first.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.bytes()))
    }

    /// The bound of the session, so many times, that a message of so many bytes would pass.
    fn passed(&self, size: usize, times: usize) -> Option<&'static str> {
        let (had, had_bytes) = match &self.restoring {
            Some(_) => self.under_way(),
            None => (self.had, self.had_bytes),
        };
        if self.waiting.len() - had >= RELAY_QUEUE_MESSAGES_MAX * times {
            return Some("relay_queue_messages_max");
        }
        let is_over = self.bytes - had_bytes + size > RELAY_QUEUE_BYTES_MAX * times;
        is_over.then_some("relay_queue_bytes_max")
    }

    /// A message is taken out that was the one with this number.
    fn left(&mut self, at: usize, size: usize) {
        self.bytes -= size;
        if at < self.had {
            (self.had, self.had_bytes) = (self.had - 1, self.had_bytes - size);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.waiting.iter()
    }

    /// Takes out the message with this place.
    pub(super) fn take(&mut self, place: u64) -> Option<Delivery> {
        let at = self.waiting.iter().position(|delivery| delivery.place == Some(place))?;
        let delivery = self.waiting.remove(at)?;
        self.left(at, delivery.bytes());
        Some(delivery)
    }

    /// Puts a message behind the others. `Err` names the bound that it would pass.
    pub(super) fn push(
        &mut self,
        mut delivery: Delivery,
        is_away: bool,
        bytes: &Arc<Bytes>,
    ) -> Result<(), &'static str> {
        if self.is_settled(&delivery) {
            return Ok(());
        }
        let size = delivery.bytes();
        if self.restoring.as_ref().is_some_and(|one| one.is_connected) {
            // A client that was connected has had the oldest, and not said so in time: no more
            // than fit in the bounds were ever waiting for it.
            while self.passed(size, RESTORING_TIMES).is_some() && self.pop().is_some() {}
        }
        delivery.reserved = Some(self.room(size, is_away, bytes)?);
        self.bytes += size;
        self.waiting.push_back(delivery);
        Ok(())
    }

    /// A place for so many bytes, or the bound that is reached.
    fn room(
        &self,
        size: usize,
        is_away: bool,
        bytes: &Arc<Bytes>,
    ) -> Result<Reserved, &'static str> {
        let is_restoring = self.restoring.is_some();
        let times = if is_restoring { RESTORING_TIMES } else { 1 };
        if let Some(limit) = self.passed(size, times) {
            return Err(limit);
        }
        if is_restoring {
            return Ok(bytes.reserve_again(size));
        }
        let claim = match (is_away, self.waiting.is_empty()) {
            (true, _) => Claim::Away,
            (false, true) => Claim::Next,
            (false, false) => Claim::Behind,
        };
        bytes.reserve(size, claim)
    }

    /// Whether a session that is restored is done with a message later.
    fn is_settled(&self, delivery: &Delivery) -> bool {
        let Some((restoring, place)) = self.restoring.as_ref().zip(delivery.place) else {
            return false;
        };
        restoring.settled.binary_search(&place).is_ok()
    }

    /// A message is lost for that bound; whether it is the first one of a row.
    pub(super) const fn lose(&mut self, limit: &'static str) -> bool {
        self.dropped += 1;
        self.limit = limit;
        self.dropped == 1
    }

    pub(super) fn front(&self) -> Option<&Delivery> {
        self.waiting.front()
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.left(0, delivery.bytes());
        Some(delivery)
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits, and nothing is to be told.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0
    }

    /// How many messages were dropped since the last time, and the bound.
    pub(super) fn take_dropped(&mut self) -> Option<(u64, &'static str)> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some((dropped, self.limit))
    }
}

#[cfg(test)]
mod tests;

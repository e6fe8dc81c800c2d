//! Room for what connections send. Each has a little for itself; what it sends beyond that takes
//! room of its tenant's and of all. Without room nothing more is read, which TCP tells the client;
//! a packet that is not whole in time gives its room back with its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use veritwin_domain::TenantId;

use super::device::{Device, End};
use super::frame;
use super::relay::TenantRelay;
use super::turns::Shares;

/// Most bytes of packets that are not whole yet, of all connections, beyond those that each has for
/// itself.
pub const RECEIVE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// So many of them are for packets of tenants that have no other one: whatever some tenants send,
/// each of the others gets on.
const FIRST_RECEIVE_BYTES: usize = 64 * 1024 * 1024;
/// The same of one tenant's.
pub const TENANT_RECEIVE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes that are on their way to the log, of all connections, beyond those that each has for
/// itself.
pub const ALL_IN_FLIGHT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// The same of one tenant's; less where less than that is free of the above.
pub const TENANT_IN_FLIGHT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// A packet that is larger than what its connection has for itself is whole within this time.
pub const PACKET_SECONDS_MAX: u64 = 120;
/// What each connection has for a packet that is not whole.
pub(super) const OWN_RECEIVE_BYTES: usize = 16 * 1024;
/// Most bytes of CONNECT packets that are larger than that, of all who are not signed in yet.
pub const NEWCOMERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What each connection has on its way to the log.
const OWN_IN_FLIGHT_BYTES: usize = 64 * 1024;
/// Bytes that one permit stands for.
const UNIT_BYTES: usize = 1024;

type Permits = [OwnedSemaphorePermit; 2];

/// Room for packets that are not whole, and how much is on its way to the log.
pub(super) struct Intake {
    all: Arc<ForAll>,
    tenants: Shares,
    newcomers: Arc<Semaphore>,
    in_flight: Arc<AtomicUsize>,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            tenants: Shares::new(TENANT_RECEIVE_BYTES_MAX / UNIT_BYTES),
            newcomers: Arc::new(Semaphore::new(NEWCOMERS_BYTES_MAX / UNIT_BYTES)),
            in_flight: Arc::default(),
        }
    }
}

impl Intake {
    /// The room of one connection.
    pub(super) fn room(&self, tenant: TenantId) -> Room {
        let (share, all) = (self.tenants.of(tenant), Arc::clone(&self.all));
        Room { share, all, asking: None, held: None, until: Instant::now() }
    }

    /// Room for a large CONNECT: nobody knows whose it is.
    pub(super) async fn newcomer(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.newcomers).acquire_many_owned(units).await.ok()
    }

    /// What one connection has on its way to the log.
    pub(super) fn in_flight(&self, tenant: &Arc<TenantRelay>) -> InFlight {
        let (tenant, all) = (Arc::clone(tenant), Arc::clone(&self.in_flight));
        InFlight { bytes: 0, counted: 0, tenant, all }
    }
}

/// What all tenants have for packets that are not whole, and what is apart for their first ones.
struct ForAll {
    any: Arc<Semaphore>,
    first: Arc<Semaphore>,
}

impl Default for ForAll {
    fn default() -> Self {
        let permits = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        let any = permits(RECEIVE_BYTES_MAX - FIRST_RECEIVE_BYTES);
        Self { any, first: permits(FIRST_RECEIVE_BYTES) }
    }
}

/// Waits for room: its tenant's first, so that who waits for that takes none of the others'.
async fn ask(share: Arc<Semaphore>, all: Arc<ForAll>, bytes: usize) -> Option<Permits> {
    const TENANT_UNITS: usize = TENANT_RECEIVE_BYTES_MAX / UNIT_BYTES;
    let units = bytes.div_ceil(UNIT_BYTES).min(TENANT_UNITS);
    let count = u32::try_from(units).unwrap_or(u32::MAX);
    let of_tenant = Arc::clone(&share).acquire_many_owned(count).await.ok()?;
    let any = Arc::clone(&all.any).acquire_many_owned(count);
    // Its tenant has no other one.
    let of_all = if share.available_permits() + units == TENANT_UNITS {
        tokio::select! {
            biased;
            of_any = any => of_any,
            of_first = Arc::clone(&all.first).acquire_many_owned(count) => of_first,
        }
    } else {
        any.await
    };
    Some([of_tenant, of_all.ok()?])
}

/// The room of a connection for a packet that is not whole.
pub(super) struct Room {
    share: Arc<Semaphore>,
    all: Arc<ForAll>,
    asking: Option<BoxFuture<'static, Option<Permits>>>,
    held: Option<Permits>,
    /// The packet is whole by then.
    until: Instant,
}

impl Room {
    /// Whether more may be read behind what was read and is not whole. `is_read` tells whether
    /// anything else is in the way: that time is not the client's.
    pub(super) fn may_read(
        &mut self,
        input: &[u8],
        packet_bytes_max: usize,
        is_read: bool,
    ) -> bool {
        if input.len() < OWN_RECEIVE_BYTES {
            self.give_back();
            return true;
        }
        if self.held.is_some() {
            if !is_read {
                self.until = Instant::now() + Duration::from_secs(PACKET_SECONDS_MAX);
            }
            return true;
        }
        if self.asking.is_none() {
            let whole = frame::header(input).ok().flatten();
            let bytes = whole.map_or(packet_bytes_max, |header| header.packet_bytes());
            let asking = ask(Arc::clone(&self.share), Arc::clone(&self.all), bytes);
            self.asking = Some(asking.boxed());
        }
        false
    }

    /// Hands on what was read. Once a packet is whole its room and its time are its own no more:
    /// what is left is another one's, however much of that is there.
    pub(super) fn hand_on(&mut self, device: &mut Device, input: &mut BytesMut) -> Result<(), End> {
        let before = input.len();
        let result = device.handle_input(input);
        if input.len() < before {
            self.give_back();
        }
        result
    }

    fn give_back(&mut self) {
        if self.is_engaged() {
            (self.asking, self.held) = (None, None);
        }
    }

    /// Whether it waits for room.
    pub(super) const fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Whether [`Room::next`] has something to wait for.
    pub(super) const fn is_engaged(&self) -> bool {
        self.asking.is_some() || self.held.is_some()
    }

    /// There is room, or (true) the time of a packet that has room is over.
    pub(super) async fn next(&mut self) -> bool {
        let Some(asking) = &mut self.asking else {
            sleep_until(self.until).await;
            return true;
        };
        self.held = asking.await;
        self.asking = None;
        self.until = Instant::now() + Duration::from_secs(PACKET_SECONDS_MAX);
        false
    }
}

/// What a connection has on its way to the log. What it has beyond its own counts with the
/// tenant's.
pub(super) struct InFlight {
    bytes: usize,
    counted: usize,
    tenant: Arc<TenantRelay>,
    all: Arc<AtomicUsize>,
}

impl InFlight {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for more. Who has no more than its own always has: what it waits for
    /// is its own.
    pub(super) fn has_room(&self) -> bool {
        if self.counted == 0 {
            return true;
        }
        let free = ALL_IN_FLIGHT_BYTES_MAX.saturating_sub(self.all.load(Ordering::Relaxed));
        let own = self.tenant.in_flight_bytes.load(Ordering::Relaxed);
        own <= TENANT_IN_FLIGHT_BYTES_MAX.min(free)
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        let more = self.bytes.saturating_sub(OWN_IN_FLIGHT_BYTES).saturating_sub(self.counted);
        if more > 0 {
            self.counted += more;
            self.all.fetch_add(more, Ordering::Relaxed);
            self.tenant.in_flight_bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let wanted = self.bytes.saturating_sub(OWN_IN_FLIGHT_BYTES);
        self.give_back(self.counted.saturating_sub(wanted));
    }

    fn give_back(&mut self, bytes: usize) {
        if bytes > 0 {
            self.counted -= bytes;
            self.all.fetch_sub(bytes, Ordering::Relaxed);
            self.tenant.in_flight_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.give_back(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::unconstrained;

    use super::super::relay::Relays;
    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const OTHER: TenantId = TenantId::from_bytes([2; 16]);
    const PACKET_BYTES_MAX: usize = 1024 * 1024;

    /// The start of a PUBLISH of half a megabyte.
    fn start() -> Vec<u8> {
        let mut start = vec![0x30, 0x80, 0x80, 0x20];
        start.resize(OWN_RECEIVE_BYTES, b'x');
        start
    }

    #[tokio::test]
    async fn a_tenants_large_packets_wait_for_each_other_and_for_nobody_elses() {
        let intake = Intake::default();
        let (input, mut held) = (start(), Vec::new());
        loop {
            let mut room = intake.room(TENANT);
            assert!(room.may_read(&input[..OWN_RECEIVE_BYTES - 1], PACKET_BYTES_MAX, true));
            assert!(!room.may_read(&input, PACKET_BYTES_MAX, true));
            if unconstrained(room.next()).now_or_never().is_none() {
                held.push(room);
                break;
            }
            assert!(room.may_read(&input, PACKET_BYTES_MAX, true));
            held.push(room);
        }
        // Each takes half a megabyte and its header.
        assert_eq!(held.len() - 1, TENANT_RECEIVE_BYTES_MAX / (512 * 1024 + 1024));
        let mut other = intake.room(OTHER);
        assert!(!other.may_read(&input, PACKET_BYTES_MAX, true));
        assert_eq!(unconstrained(other.next()).now_or_never(), Some(false));
        // One is whole: the next one that waits has its room.
        let mut waiting = held.pop().expect("one that waits");
        assert!(held[0].may_read(b"", PACKET_BYTES_MAX, true) && !held[0].is_engaged());
        assert_eq!(unconstrained(waiting.next()).now_or_never(), Some(false));
        assert!(waiting.may_read(&input, PACKET_BYTES_MAX, true));
    }

    #[tokio::test]
    async fn whatever_some_tenants_send_each_of_the_others_has_room_for_one() {
        let (intake, input, mut held) = (Intake::default(), start(), Vec::new());
        let tenant = |number: u8| TenantId::from_bytes([number; 16]);
        let mut ask = |number: u8| {
            let mut room = intake.room(tenant(number));
            assert!(!room.may_read(&input, PACKET_BYTES_MAX, true));
            let has_room = unconstrained(room.next()).now_or_never().is_some();
            held.push(room);
            has_room
        };
        // Until nobody of these gets any more.
        for number in 1..=5 {
            while ask(number) {}
        }
        for number in 11..=20 {
            assert!(ask(number), "its first one");
            assert!(!ask(number));
        }
    }

    #[tokio::test]
    async fn large_packets_of_newcomers_are_bounded_together() {
        let intake = Intake::default();
        let held = intake.newcomer(NEWCOMERS_BYTES_MAX).now_or_never().flatten();
        assert!(held.is_some() && intake.newcomer(1).now_or_never().is_none());
        drop(held);
        assert!(intake.newcomer(128 * 1024).now_or_never().flatten().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_packet_that_is_not_whole_in_time_is_late_unless_it_was_not_read() {
        let intake = Intake::default();
        let (input, mut room) = (start(), intake.room(TENANT));
        assert!(!room.may_read(&input, PACKET_BYTES_MAX, true) && !room.next().await);
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(PACKET_SECONDS_MAX - 1)).await;
        assert!(room.may_read(&input, PACKET_BYTES_MAX, false));
        assert!(room.next().await);
        assert_eq!(begun.elapsed().as_secs(), 2 * PACKET_SECONDS_MAX - 1);
        // The next one has its own time, and room of its own size.
        room.give_back();
        let mut next = vec![0x30, 0x80, 0x80, 0x10];
        next.resize(OWN_RECEIVE_BYTES, b'x');
        assert!(!room.may_read(&next, PACKET_BYTES_MAX, true) && !room.next().await);
        let units = (256 * 1024usize + 4).div_ceil(UNIT_BYTES);
        assert_eq!(room.share.available_permits(), TENANT_RECEIVE_BYTES_MAX / UNIT_BYTES - units);
        let begun = Instant::now();
        assert!(room.may_read(&next, PACKET_BYTES_MAX, true) && room.next().await);
        assert_eq!(begun.elapsed().as_secs(), PACKET_SECONDS_MAX);
    }

    #[test]
    fn who_has_little_on_its_way_goes_on_while_others_of_its_tenant_have_much() {
        let (intake, relays) = (Intake::default(), Relays::default());
        let mine = relays.of(TENANT);
        let mut large: Vec<_> = (0..33).map(|_| intake.in_flight(&mine)).collect();
        large.iter_mut().for_each(|one| one.add(4 * 1024 * 1024 + OWN_IN_FLIGHT_BYTES));
        assert!(!large[0].has_room());
        let mut small = intake.in_flight(&mine);
        small.add(OWN_IN_FLIGHT_BYTES);
        assert!(small.has_room());
        let mut theirs = intake.in_flight(&relays.of(OTHER));
        theirs.add(1024 * 1024);
        assert!(theirs.has_room());
        large[0].remove(4 * 1024 * 1024 + OWN_IN_FLIGHT_BYTES);
        assert!(large[1].has_room() && large[0].bytes() == 0);
        drop(large);
        assert_eq!(mine.in_flight_bytes.load(Ordering::Relaxed), 0);
        drop(theirs);
        assert_eq!(intake.in_flight.load(Ordering::Relaxed), 0);
    }
}

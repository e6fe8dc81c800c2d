//! Room in the memory table, for readings and for latest values, asked for before the log takes
//! readings. A tenant may have so many times what is free: alone it has most of the table, beside
//! others less, and what is left over is there for whoever has little in it.

use std::collections::HashMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use tokio::sync::Mutex as Queue;
use veritwin_domain::{DeviceId, IdMap, Key, LimitExceeded, Reading, Shared, TenantId};

use crate::engine::{Engine, Inner};
use crate::memory::LatestSize;

/// A tenant has at most so many times the free room: alone three quarters of the table, or of
/// what latest values may take.
const TIMES_FREE_MAX: usize = 3;
/// Time and value of a reading, without a text's own bytes.
const READING_BYTES: usize = 16;

/// About what readings take in memory.
pub(crate) fn bytes_of(readings: &[Reading]) -> usize {
    readings.iter().map(|reading| READING_BYTES + reading.value.text_bytes()).sum()
}

/// Room that was taken by readings the log has not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    bytes: usize,
    tenants: IdMap<TenantId, usize>,
}

impl Taken {
    fn of(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).copied().unwrap_or(0)
    }

    fn add(&mut self, tenant: TenantId, bytes: usize) {
        *self.tenants.entry(tenant).or_default() += bytes;
        self.bytes += bytes;
    }

    /// Readings that took no room, such as those of a replay, find nothing to give back.
    pub(crate) fn give_back(&mut self, tenant: TenantId, bytes: usize) {
        let Some(taken) = self.tenants.get_mut(&tenant) else { return };
        let bytes = bytes.min(*taken);
        *taken -= bytes;
        self.bytes -= bytes;
        if *taken == 0 {
            self.tenants.remove(&tenant);
        }
    }
}

/// Room for readings on their way into the log. The table takes it over when it takes them; room
/// that is dropped is free again.
#[must_use]
pub struct Room {
    inner: Arc<Inner>,
    tenant: TenantId,
    bytes: usize,
}

impl Room {
    /// The log has committed the readings.
    pub fn filled(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.inner.taken.lock().give_back(self.tenant, self.bytes);
            self.inner.room.notify_waiters();
        }
    }
}

/// Who waits for room of a tenant, one after the other.
pub(crate) type RoomQueues = Shared<TenantId, Queue<()>>;

impl Engine {
    /// Waits until memory has room for readings of a tenant. Whoever appends readings to the log
    /// calls this first: what is committed is always taken, so the bound has to be kept at the
    /// entrance. First come, first served within a tenant, also for whoever has no readings:
    /// otherwise a small later message of a connection would pass a large one before it.
    #[boxed]
    pub async fn room(&self, tenant: TenantId, readings: &[&[Reading]]) -> Room {
        if let Some(room) = self.room_at_once(tenant, readings) {
            return room;
        }
        let queue = self.inner.room_queues.of(tenant, Queue::default);
        let _turn = queue.lock_owned().await;
        loop {
            let notified = self.inner.room.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Ok(room) = self.try_room(tenant, readings) {
                return room;
            }
            notified.await;
        }
    }

    /// The same without a wait: none where there is no room, or somebody of the tenant waits for
    /// some.
    pub fn room_at_once(&self, tenant: TenantId, readings: &[&[Reading]]) -> Option<Room> {
        if self.inner.room_queues.known(&tenant).is_some() {
            return None;
        }
        self.try_room(tenant, readings).ok()
    }

    /// Room for readings of a tenant, or the bound that is in the way. A tenant with nothing in
    /// memory gets it as long as there is any.
    pub fn try_room(
        &self,
        tenant: TenantId,
        readings: &[&[Reading]],
    ) -> Result<Room, LimitExceeded> {
        let bytes = readings.iter().map(|readings| bytes_of(readings)).sum();
        let max = self.inner.limits.memory_bytes_max;
        let memory = self.inner.memory.read();
        let mut taken = self.inner.taken.lock();
        let used = memory.bytes_bounded() + taken.bytes;
        if used >= max {
            let actual = used.saturating_add(bytes);
            return Err(LimitExceeded { name: "memory_bytes_max", max, actual });
        }
        let own = memory.bytes_bounded_of(tenant) + taken.of(tenant);
        // Whatever is refused has to become possible by a flush, which comes at half of the table:
        // one request is never judged by more than a quarter.
        let asked = bytes.min(max / 4);
        let own_max = (max - used).saturating_sub(asked).saturating_mul(TIMES_FREE_MAX);
        let actual = own + asked;
        if own > 0 && actual > own_max {
            return Err(LimitExceeded { name: "tenant_memory_bytes_max", max: own_max, actual });
        }
        taken.add(tenant, bytes);
        drop(taken);
        drop(memory);
        Ok(Room { inner: Arc::clone(&self.inner), tenant, bytes })
    }

    /// Whether nobody is near a bound of latest values, so that readings that add no more than this
    /// need not be looked at.
    pub fn has_spare_latest(&self, more: LatestSize) -> bool {
        let (used, limits) = (self.inner.latest.size(), &self.inner.limits);
        // Whoever has them: of the other half three times as much may be one tenant's.
        used.series.saturating_add(more.series) <= limits.series_max / 2
            && used.bytes.saturating_add(more.bytes) <= limits.latest_bytes_max / 2
    }

    /// What readings of a device would add to what latest values take, at most.
    pub fn latest_growth(
        &self,
        tenant: TenantId,
        device: DeviceId,
        readings: &[Reading],
    ) -> LatestSize {
        let memory = self.inner.memory.read();
        let table = memory.device(tenant, device);
        let mut growth: HashMap<&Key, LatestSize> = HashMap::new();
        for Reading { key, value, .. } in readings {
            let more = match table.and_then(|table| table.latest_of(key)) {
                None => LatestSize { series: 1, bytes: key.len() + value.text_bytes() },
                Some(known) => LatestSize {
                    series: 0,
                    bytes: value.text_bytes().saturating_sub(known.value.text_bytes()),
                },
            };
            if more != LatestSize::default() {
                let most = growth.entry(key).or_default();
                *most = LatestSize { bytes: more.bytes.max(most.bytes), ..more };
            }
        }
        growth.into_values().fold(LatestSize::default(), |sum, one| LatestSize {
            series: sum.series + one.series,
            bytes: sum.bytes + one.bytes,
        })
    }

    /// Whether what latest values of a tenant take may grow by so much, or the bound that is in the
    /// way. What the log has is taken all the same. A tenant without any gets some as long as
    /// there is room.
    pub fn latest_room(&self, tenant: TenantId, more: LatestSize) -> Result<(), LimitExceeded> {
        let limits = &self.inner.limits;
        let (used, own) = {
            let memory = self.inner.memory.read();
            (memory.latest.size(), memory.latest_size(tenant))
        };
        let series = Share { used: used.series, own: own.series, more: more.series };
        series.check(["series_max", "tenant_series_max"], limits.series_max)?;
        let bytes = Share { used: used.bytes, own: own.bytes, more: more.bytes };
        bytes.check(["latest_bytes_max", "tenant_latest_bytes_max"], limits.latest_bytes_max)
    }
}

/// What all have of something, what a tenant has of it, and what it asks for.
struct Share {
    used: usize,
    own: usize,
    more: usize,
}

impl Share {
    /// Refuses what is over the bound of all, or over the tenant's part of it.
    fn check(
        &self,
        [of_all, of_tenant]: [&'static str; 2],
        max: usize,
    ) -> Result<(), LimitExceeded> {
        let Self { used, own, more } = *self;
        if more == 0 {
            return Ok(());
        }
        let actual = used.saturating_add(more);
        if actual > max {
            return Err(LimitExceeded { name: of_all, max, actual });
        }
        let own_max = (max - actual).saturating_mul(TIMES_FREE_MAX);
        let actual = own.saturating_add(more);
        if own > 0 && actual > own_max {
            return Err(LimitExceeded { name: of_tenant, max: own_max, actual });
        }
        Ok(())
    }
}

//! Tenants whose key was out of reach: their readings leave memory and stay in the log, and are
//! read from there once the key is back. Reading twice does nothing twice: of equal times the later
//! in the log counts, however often it is read.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_domain::TenantId;
use veritwin_keys::KeyError;
use veritwin_log::{Committed, FileLog, Record, Unreadable};

use crate::flush::latest_scope;
use crate::memory::Frozen;
use crate::{Engine, TelemetryError};

/// How long the readings of a tenant stay in the log whose key went away under a flush.
const REST: Duration = Duration::from_secs(10);

impl Engine {
    /// Drops what is in memory of a tenant whose key is out of reach. Numbers are overwritten; the
    /// log has everything, and [`Self::catch_up`] reads it again.
    pub fn set_aside(&self, tenant: TenantId) {
        self.inner.memory.write().set_aside(tenant);
        self.inner.reader.forget_denied();
        self.inner.room.notify_waiters();
    }

    /// Keys went away under a flush. What it would have written of their tenants stays in the log
    /// for a while: one whose key comes and goes must not let every flush fail.
    pub(crate) fn leave_withheld(&self, frozen: &Frozen, error: &TelemetryError) {
        let failed = error.withheld_tenant();
        let until = self.inner.clock.monotonic().saturating_add(REST);
        for tenant in frozen.tenants.keys().copied() {
            let is_away = match self.inner.reader.keys.check(tenant) {
                // It comes back, and the next flush forgets it.
                Err(KeyError::TenantDestroyed { .. } | KeyError::Gone { .. }) => false,
                checked => checked.is_err() || failed == Some(tenant),
            };
            if is_away {
                self.inner.resting.lock().insert(tenant, until);
                self.inner.memory.write().set_aside(tenant);
            }
        }
    }

    fn is_resting(&self, tenant: TenantId) -> bool {
        let now = self.inner.clock.monotonic();
        let mut resting = self.inner.resting.lock();
        resting.retain(|_, until| *until > now);
        resting.contains_key(&tenant)
    }

    /// Whether readings of a tenant are still only in the log.
    pub fn is_behind(&self, tenant: TenantId) -> bool {
        self.inner.memory.read().is_behind(tenant).unwrap_or_default()
    }

    /// Reads what was left in the log of tenants whose keys are within reach again; says of how
    /// many tenants. The log is gone over once for all of them.
    #[boxed]
    pub async fn catch_up(&self, log: &FileLog) -> Result<usize, TelemetryError> {
        let left = self.inner.memory.read().left_in_log();
        let mut ready = BTreeMap::new();
        for (tenant, position) in left {
            if self.is_resting(tenant) {
                continue;
            }
            match self.inner.reader.keys.dek(&latest_scope(tenant)) {
                Ok(_) => drop(ready.insert(tenant, position)),
                Err(KeyError::TenantDestroyed { .. } | KeyError::Gone { .. }) => {
                    self.inner.memory.write().forget(tenant);
                    self.inner.room.notify_waiters();
                }
                Err(error) => tracing::debug!(%tenant, %error, "readings stay in the log"),
            }
        }
        let count = ready.len();
        if let Some(first) = ready.values().copied().min() {
            self.catch_up_from(log, first, ready).await?;
        }
        Ok(count)
    }

    async fn catch_up_from(
        &self,
        log: &FileLog,
        first: u64,
        mut ready: BTreeMap<TenantId, u64>,
    ) -> Result<(), TelemetryError> {
        self.retry_latest().await?;
        let mut reader = log.read_from(first).map_err(TelemetryError::Log)?;
        while !ready.is_empty() {
            let read = tokio::task::spawn_blocking(move || {
                let batch = reader.next_batch();
                (reader, batch)
            });
            let (back, batch) = read.await.map_err(|_| TelemetryError::Stopped)?;
            reader = back;
            let Some(batch) = batch.map_err(TelemetryError::Log)? else {
                let position = reader.position();
                ready.retain(|tenant, at| !self.is_done(*tenant, *at, position));
                reader.extend();
                tokio::task::yield_now().await;
                continue;
            };
            self.take_late(&mut ready, &batch);
            let flushable = self.inner.memory.read().bytes_flushable();
            if flushable >= self.inner.limits.flush_bytes_min {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Whether this reading of the log is over for a tenant: it has had everything, or begins
    /// again with the next call.
    fn is_done(&self, tenant: TenantId, at: u64, position: u64) -> bool {
        let mut memory = self.inner.memory.write();
        let goes_on = memory.is_read_to(tenant, at) && self.inner.reader.keys.check(tenant).is_ok();
        !goes_on || memory.is_caught_up(tenant, position)
    }

    /// Whoever's key went away again is left out, and who was set aside meanwhile: the next call
    /// goes on where that began.
    fn take_late(&self, ready: &mut BTreeMap<TenantId, u64>, batch: &Committed) {
        let now = self.inner.clock.monotonic();
        let mut memory = self.inner.memory.write();
        // Asked while the memory is locked: what is wiped after it is wiped with this.
        let keys = &self.inner.reader.keys;
        ready.retain(|tenant, at| memory.is_read_to(*tenant, *at) && keys.check(*tenant).is_ok());
        for (position, entry) in batch.iter() {
            let is_due = ready.get(&entry.tenant).is_some_and(|at| *at <= position);
            if !is_due {
                continue;
            }
            match &entry.record {
                Record::Readings(readings) => memory.apply_late(position, readings, now),
                Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                    memory.read_up_to(entry.tenant, position);
                    ready.remove(&entry.tenant);
                }
                _ => {}
            }
        }
        for (tenant, at) in ready {
            memory.read_up_to(*tenant, batch.end());
            *at = batch.end().max(*at);
        }
    }
}

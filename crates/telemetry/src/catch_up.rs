//! Tenants whose key was out of reach: their readings leave memory and stay in the log, and are
//! read from there once the key is back. Reading twice does nothing twice: of equal times the later
//! in the log counts, however often it is read.

use async_recursion::async_recursion as boxed;
use veritwin_domain::TenantId;
use veritwin_keys::KeyError;
use veritwin_log::{Committed, FileLog, Record, Unreadable};

use crate::flush::latest_scope;
use crate::{Engine, TelemetryError};

impl Engine {
    /// Drops what is in memory of a tenant whose key is out of reach. Numbers are overwritten; the
    /// log has everything, and [`Self::catch_up`] reads it again.
    pub fn set_aside(&self, tenant: TenantId) {
        self.inner.memory.write().set_aside(tenant);
        self.inner.reader.forget_denied();
        self.inner.room.notify_waiters();
    }

    /// Whether readings of a tenant are still only in the log.
    pub fn is_behind(&self, tenant: TenantId) -> bool {
        let left = self.inner.memory.read().left_in_log();
        left.iter().any(|(behind, _)| *behind == tenant)
    }

    /// Reads what was left in the log of tenants whose keys are within reach again; says of how
    /// many tenants.
    #[boxed]
    pub async fn catch_up(&self, log: &FileLog) -> Result<usize, TelemetryError> {
        let left = self.inner.memory.read().left_in_log();
        let mut count = 0;
        for (tenant, position) in left {
            match self.inner.reader.keys.dek(&latest_scope(tenant)) {
                Ok(_) => {
                    self.catch_up_one(log, tenant, position).await?;
                    count += 1;
                }
                Err(KeyError::TenantDestroyed { .. }) => {
                    self.inner.memory.write().forget(tenant);
                    self.inner.room.notify_waiters();
                }
                Err(error) => tracing::debug!(%tenant, %error, "readings stay in the log"),
            }
        }
        Ok(count)
    }

    async fn catch_up_one(
        &self,
        log: &FileLog,
        tenant: TenantId,
        position: u64,
    ) -> Result<(), TelemetryError> {
        self.retry_latest().await?;
        let mut reader = log.read_from(position).map_err(TelemetryError::Log)?;
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let batch = reader.next_batch();
                (reader, batch)
            });
            let (back, batch) = read.await.map_err(|_| TelemetryError::Stopped)?;
            reader = back;
            let Some(batch) = batch.map_err(TelemetryError::Log)? else {
                if self.inner.memory.write().is_caught_up(tenant, reader.position()) {
                    return Ok(());
                }
                reader.extend();
                tokio::task::yield_now().await;
                continue;
            };
            if !self.take_late(tenant, &batch) {
                return Ok(());
            }
            let flushable = self.inner.memory.read().bytes_flushable();
            if flushable >= self.inner.limits.flush_bytes_min {
                self.flush().await?;
            }
        }
    }

    /// False if the key went away again: the next call goes on there.
    fn take_late(&self, tenant: TenantId, batch: &Committed) -> bool {
        let now = self.inner.clock.monotonic();
        let mut memory = self.inner.memory.write();
        for (position, entry) in batch.iter().filter(|(_, entry)| entry.tenant == tenant) {
            match &entry.record {
                Record::Readings(readings) => memory.apply_late(position, readings, now),
                Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                    memory.read_up_to(tenant, position);
                    return false;
                }
                _ => {}
            }
        }
        memory.read_up_to(tenant, batch.end());
        true
    }
}

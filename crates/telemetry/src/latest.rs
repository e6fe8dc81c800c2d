//! Latest values. A reading from the future, such as of a device whose clock is wrong, is stored
//! like any other and does not count as the latest until its time comes.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, Key, TenantId, Timestamp};

use crate::TelemetryError;
use crate::engine::Engine;
use crate::memory::Latest;
use crate::query::{Order, RangeQuery, Series, TimeRange};

/// A reading whose time is further ahead of the platform's clock than this does not count as the
/// latest of its series yet.
pub const LATEST_AHEAD_MAX: Duration = Duration::from_secs(300);

impl Engine {
    /// The latest reading of each series of a device, or of those of its series that are named;
    /// in the order of the keys' names. Readings more than [`LATEST_AHEAD_MAX`] ahead of the
    /// clock are passed over for the last one before them.
    #[boxed]
    pub async fn latest(
        &self,
        tenant: TenantId,
        device: DeviceId,
        keys: Option<&[Key]>,
    ) -> Result<Vec<Latest>, TelemetryError> {
        self.latest_within(tenant, device, keys, LATEST_AHEAD_MAX).await
    }

    /// The same with another bound of how far ahead a reading may be: what a device said last
    /// whose clock is known to be fast.
    #[boxed]
    pub async fn latest_within(
        &self,
        tenant: TenantId,
        device: DeviceId,
        keys: Option<&[Key]>,
        ahead_max: Duration,
    ) -> Result<Vec<Latest>, TelemetryError> {
        let end = self.inner.clock.now().saturating_add(ahead_max);
        let newest = self.newest(tenant, device, keys)?;
        let (mut latest, ahead): (Vec<Latest>, Vec<Latest>) =
            newest.into_iter().partition(|newest| newest.at <= end);
        for Latest { key, .. } in ahead {
            let series = Series { tenant, device, key };
            latest.extend(self.last_until(series, end).await?);
        }
        latest.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(latest)
    }

    /// The keys of a device's series, sorted by name.
    pub fn keys(&self, tenant: TenantId, device: DeviceId) -> Result<Vec<Key>, TelemetryError> {
        Ok(self.newest(tenant, device, None)?.into_iter().map(|newest| newest.key).collect())
    }

    /// The reading with the highest time of each series, wherever that time lies.
    fn newest(
        &self,
        tenant: TenantId,
        device: DeviceId,
        keys: Option<&[Key]>,
    ) -> Result<Vec<Latest>, TelemetryError> {
        self.check_readable(tenant)?;
        let memory = self.inner.memory.read();
        let Some(table) = memory.device(tenant, device) else { return Ok(Vec::new()) };
        let mut newest: Vec<Latest> = match keys {
            None => table.latest().cloned().collect(),
            Some(keys) => keys.iter().filter_map(|key| table.latest_of(key).cloned()).collect(),
        };
        drop(memory);
        newest.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        newest.dedup_by(|a, b| a.key == b.key);
        Ok(newest)
    }

    /// The last reading of a series up to `end`, out of memory and segments.
    async fn last_until(
        &self,
        series: Series,
        end: Timestamp,
    ) -> Result<Option<Latest>, TelemetryError> {
        let to = end.saturating_add(Duration::from_micros(1));
        let query = RangeQuery {
            range: TimeRange { from: Timestamp::MIN, to },
            order: Order::Descending,
            limit: 1,
            after: None,
        };
        let point = self.range(&series, query).await?.points.pop();
        Ok(point.map(|point| Latest {
            key: series.key,
            at: point.at,
            value: point.value,
            quality: point.quality,
        }))
    }
}

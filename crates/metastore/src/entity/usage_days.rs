//! What a tenant used on a day: counters that only grow, and what there was of it at last.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::Row;
use crate::query::{above, at_most, below};
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "usage_days";
const KEYS: [&str; 2] = ["tenant_id", "day"];

/// What is counted of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageCounts {
    /// Readings.
    pub points: u64,
    /// Messages of devices and programs, each once.
    pub messages: u64,
    /// Bytes of them, as the log counts them.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Questions about readings.
    pub queries: u64,
    /// Requests of people and programs.
    pub requests: u64,
}

/// What there is of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageLevels {
    /// Bytes of its readings, twins and packages.
    pub stored_bytes: u64,
    /// Devices.
    pub devices: u64,
    /// Series of them.
    pub series: u64,
}

/// A day of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageDay {
    /// UTC days since 1970.
    pub day: i64,
    /// What was counted.
    pub counts: UsageCounts,
    /// What there was when it was last looked at; none when it was not.
    pub levels: Option<UsageLevels>,
}

fn load(row: &Row) -> Result<UsageDay> {
    let stored_bytes: Option<u64> = row.maybe("stored_bytes")?;
    let levels = match stored_bytes {
        None => None,
        Some(stored_bytes) => Some(UsageLevels {
            stored_bytes,
            devices: row.maybe("devices")?.unwrap_or(0),
            series: row.maybe("series")?.unwrap_or(0),
        }),
    };
    Ok(UsageDay {
        day: row.get("day")?,
        counts: UsageCounts {
            points: row.get("points")?,
            messages: row.get("messages")?,
            bytes_in: row.get("bytes_in")?,
            bytes_out: row.get("bytes_out")?,
            queries: row.get("queries")?,
            requests: row.get("requests")?,
        },
        levels,
    })
}

impl TenantTx {
    /// The tenant's days from `from` to `to`, both inside, in their order.
    #[boxed]
    pub async fn usage_days(&self, from: i64, to: i64) -> Result<Vec<UsageDay>> {
        let select = self
            .select(TABLE)
            .filter(above("day", from.saturating_sub(1)))
            .filter(at_most("day", to))
            .ascending("day");
        self.core.all(select).await?.iter().map(load).collect()
    }

    /// Notes what there is of the tenant on a day.
    #[boxed]
    pub async fn usage_levels_put(&self, day: i64, levels: &UsageLevels) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("day", day)
            .set("points", 0u64)
            .set("messages", 0u64)
            .set("bytes_in", 0u64)
            .set("bytes_out", 0u64)
            .set("queries", 0u64)
            .set("requests", 0u64)
            .set("stored_bytes", levels.stored_bytes)
            .set("devices", levels.devices)
            .set("series", levels.series)
            .set("version", 1u64)
            .set("updated_at", self.core.at)
            .or_overwrite(&KEYS, &["stored_bytes", "devices", "series", "updated_at"]);
        self.core.insert(insert).await.map(drop)
    }
}

impl PlatformTx {
    /// Adds to a tenant's day.
    #[boxed]
    pub async fn usage_add(&self, tenant: TenantId, day: i64, counts: &UsageCounts) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("tenant_id", tenant)
            .set("day", day)
            .set("points", counts.points)
            .set("messages", counts.messages)
            .set("bytes_in", counts.bytes_in)
            .set("bytes_out", counts.bytes_out)
            .set("queries", counts.queries)
            .set("requests", counts.requests)
            .set("version", 1u64)
            .set("updated_at", self.core.at)
            .or_ignore(&KEYS);
        if self.core.insert(insert).await? > 0 {
            return Ok(());
        }
        let update = self
            .update(TABLE)
            .add("points", counts.points)
            .add("messages", counts.messages)
            .add("bytes_in", counts.bytes_in)
            .add("bytes_out", counts.bytes_out)
            .add("queries", counts.queries)
            .add("requests", counts.requests)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("tenant_id", tenant)
            .eq("day", day);
        self.core.update(update).await.map(drop)
    }

    /// The readings of every tenant on a day.
    #[boxed]
    pub async fn usage_points(&self, day: i64) -> Result<Vec<(TenantId, u64)>> {
        let select = self.select(TABLE).eq("day", day).ascending("tenant_id");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("points")?))).collect()
    }

    /// Deletes the days before a day.
    #[boxed]
    pub async fn usage_purge(&self, before: i64) -> Result<u64> {
        let delete = self.delete(TABLE).filter(below("day", before));
        self.core.delete(delete).await
    }
}

/// The UTC day of a moment.
pub fn usage_day(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(veritwin_domain::DAY_MICROS)
}

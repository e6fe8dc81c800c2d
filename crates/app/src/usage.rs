//! What a tenant used, day by day, for its own people and for the partner above it.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{DAY_MICROS, OpContext, TenantId, Timestamp};
use veritwin_metastore::{UsageCounts, UsageDay, usage_day};

use crate::meter::USAGE_DAYS_KEPT;
use crate::model::{DayUsageView, DaysRange, TenantUsageView, UsageReport};
use crate::{App, Error, Result};

/// Days of one answer.
const RANGE_DAYS_MAX: i64 = 400;

impl DaysRange {
    /// From texts such as `2026-01-31`, both days inside; without them the last 30 days.
    pub fn parse(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<Self> {
        let to = match to {
            Some(text) => day_of(text, "to")?,
            None => usage_day(now),
        };
        let from = match from {
            Some(text) => day_of(text, "from")?,
            None => to - 29,
        };
        if from > to {
            return Err(Error::invalid_at("from", "must not be after to"));
        }
        if to - from >= RANGE_DAYS_MAX {
            let detail = format!("limit usage_days_max exceeded: at most {RANGE_DAYS_MAX} days");
            return Err(Error::invalid_at("from", detail));
        }
        Ok(Self { from, to })
    }
}

fn day_of(text: &str, at: &'static str) -> Result<i64> {
    let wrong = || Error::invalid_at(at, "expected a day such as 2026-01-31");
    if text.len() != 10 {
        return Err(wrong());
    }
    let start = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).map_err(|_| wrong())?;
    Ok(usage_day(start))
}

/// A day as text.
fn text_of(day: i64) -> String {
    let text = Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

fn add(day: &mut UsageDay, more: &UsageCounts) {
    let counts = &mut day.counts;
    counts.points += more.points;
    counts.messages += more.messages;
    counts.bytes_in += more.bytes_in;
    counts.bytes_out += more.bytes_out;
    counts.queries += more.queries;
    counts.requests += more.requests;
}

fn view(day: &UsageDay) -> DayUsageView {
    DayUsageView { day: text_of(day.day), counts: day.counts, levels: day.levels }
}

impl App {
    /// What the context's own tenant used, and how near its limits it is.
    #[boxed]
    pub async fn usage(&self, context: &OpContext, range: DaysRange) -> Result<UsageReport> {
        let resource = self.authorize_all(context, Action::TenantRead, Kind::Tenant)?;
        let days = self.days_of(context.tenant, range).await?;
        let levels = self.levels(context.tenant).await?;
        let quotas = self.quotas(context.tenant, &levels);
        self.note(context, Action::TenantRead, &resource, "done");
        Ok(UsageReport { days: days.iter().map(view).collect(), quotas })
    }

    /// What each of the tenants directly below used in all of the days, oldest tenant first, at
    /// most `rows` after `after`.
    #[boxed]
    pub async fn usage_below(
        &self,
        context: &OpContext,
        range: DaysRange,
        (after, rows): (Option<TenantId>, usize),
    ) -> Result<Vec<TenantUsageView>> {
        let resource = self.authorize_all(context, Action::TenantListBelow, Kind::Tenant)?;
        let page = self.0.tree.read().page_below(context.tenant, after, rows);
        let mut below = Vec::with_capacity(page.len());
        for (tenant, _) in page {
            let days = self.days_of(tenant.id, range).await?;
            let mut all = UsageDay { day: range.to, counts: UsageCounts::default(), levels: None };
            for day in &days {
                add(&mut all, &day.counts);
                all.levels = day.levels.or(all.levels);
            }
            let quotas = self.quotas(tenant.id, &all.levels.unwrap_or_default());
            below.push(TenantUsageView {
                id: tenant.id,
                name: tenant.name.clone(),
                counts: all.counts,
                levels: all.levels,
                quotas,
            });
        }
        self.note(context, Action::TenantListBelow, &resource, "done");
        Ok(below)
    }

    /// Figures are counts and are read as the platform's own job, never as the tenant.
    async fn days_of(&self, tenant: TenantId, range: DaysRange) -> Result<Vec<UsageDay>> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let _whole = self.0.upkeep.meter.hold().await;
        let tx = self.0.store.read(&context).await?;
        let stored = tx.usage_days(range.from, range.to).await?;
        let mut days: BTreeMap<i64, UsageDay> =
            stored.into_iter().map(|day| (day.day, day)).collect();
        for (day, counts) in self.uncounted(tenant) {
            if (range.from..=range.to).contains(&day) {
                let none = UsageDay { day, counts: UsageCounts::default(), levels: None };
                add(days.entry(day).or_insert(none), &counts);
            }
        }
        Ok(days.into_values().collect())
    }

    /// Deletes the days that are past their time.
    pub(crate) async fn purge_usage(
        &self,
        tx: &veritwin_metastore::PlatformTx,
        now: Timestamp,
    ) -> Result<()> {
        tx.usage_purge(usage_day(now) - USAGE_DAYS_KEPT).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_texts_and_numbers() {
        let now = Timestamp::parse_rfc3339("2026-03-01T12:00:00Z").expect("a time");
        let range = DaysRange::parse(Some("2026-02-01"), Some("2026-02-28"), now).expect("a range");
        assert_eq!(range.to - range.from, 27);
        assert_eq!(text_of(range.from), "2026-02-01");
        let lately = DaysRange::parse(None, None, now).expect("a range");
        assert_eq!(
            (text_of(lately.from), text_of(lately.to)),
            ("2026-01-31".into(), "2026-03-01".into())
        );
        let wrong = |from: &str, to: &str| {
            let refused = DaysRange::parse(Some(from), Some(to), now);
            assert!(refused.is_err(), "{from} to {to}");
        };
        wrong("2026-02-02", "2026-02-01");
        wrong("2024-01-01", "2026-01-01");
        wrong("yesterday!", "2026-02-01");
        wrong("2026-02-30", "2026-03-01");
    }
}

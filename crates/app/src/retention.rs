//! The end of readings: a plan's `retention_days`. Whole days are destroyed with their keys, never
//! those of a period that a hold names; what was destroyed is recorded in the tenant's records.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{OpContext, PlanId, TenantId, Timestamp};
use veritwin_metastore::HoldScope;
use veritwin_telemetry::{Expired, Expiry};

use crate::change::Change;
use crate::model::ExpiringView;
use crate::{App, Error, Result};

/// Most days that a plan may keep readings.
pub(crate) const RETENTION_DAYS_MAX: u64 = 36_500;

/// Refuses a time that would keep nothing, or that is longer than can be counted.
pub(crate) fn check_days(days: Option<u64>) -> Result<()> {
    match days {
        Some(days) if !(1..=RETENTION_DAYS_MAX).contains(&days) => {
            let detail = format!("expected 1 to {RETENTION_DAYS_MAX} days, or null to keep all");
            Err(Error::invalid_at("limits.retention_days", detail))
        }
        _ => Ok(()),
    }
}

/// The days that holds of a tenant keep: those of holds over a period.
fn held_days(tenant: TenantId, holds: &[(TenantId, HoldScope)]) -> Vec<(i64, i64)> {
    let own = holds.iter().filter(|(owner, _)| *owner == tenant);
    let period = |(_, scope): &(TenantId, HoldScope)| Some((scope.from?.day(), scope.to?.day()));
    own.filter_map(period).collect()
}

/// What ends of a tenant at a moment: days that were over `days` before its day.
fn expiry(tenant: TenantId, days: u64, now: Timestamp, holds: &[(TenantId, HoldScope)]) -> Expiry {
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    let first_day = now.day().saturating_sub(days);
    Expiry { tenant, first_day, held: held_days(tenant, holds) }
}

impl App {
    /// Destroys the readings that are past their plans' time at a trusted moment.
    pub(crate) async fn expire_readings(
        &self,
        now: Timestamp,
        holds: &[(TenantId, HoldScope)],
    ) -> Result<()> {
        let expiries: Vec<Expiry> = {
            let tree = self.0.tree.read();
            let days = |id| tree.plan(id).and_then(|plan| plan.limits.retention_days);
            tree.ids()
                .filter_map(|id| days(id).map(|days| expiry(id, days, now, holds)))
                .filter(|expiry| self.0.engine.expiring(expiry).sections > 0)
                .collect()
        };
        if expiries.is_empty() {
            return Ok(());
        }
        let destroyed = self.0.engine.expire(&expiries).await?;
        for expiry in &expiries {
            let Some(done) = destroyed.get(&expiry.tenant) else { continue };
            self.record_expiry(expiry, *done).await?;
        }
        Ok(())
    }

    async fn record_expiry(&self, expiry: &Expiry, done: Expired) -> Result<()> {
        let first_day = expiry.first_day.saturating_mul(veritwin_domain::DAY_MICROS);
        let change = Change::from(json!({
            "readings": done.points,
            "bytes": done.bytes,
            "before": Timestamp::from_micros(first_day).to_string(),
            "sections_under_a_hold": done.held_sections,
        }));
        let context = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&context).await?;
        let written = (Action::TelemetryMaintain, "done", change);
        self.record_platform_change(&tx, &context, Some(expiry.tenant), written).await?;
        Ok(tx.commit().await?)
    }

    /// What would be destroyed if a plan kept readings for so many days, or as it does: of
    /// everybody who has it.
    #[boxed]
    pub async fn plan_expiring(
        &self,
        context: &OpContext,
        id: PlanId,
        days: Option<u64>,
    ) -> Result<ExpiringView> {
        let resource = self.authorize_all(context, Action::PlanRead, Kind::Tenant)?;
        self.check_platform_people(context)?;
        check_days(days)?;
        let holds = {
            let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
            tx.holds_in_force(context.at).await?
        };
        let (days, tenants): (Option<u64>, Vec<TenantId>) = {
            let tree = self.0.tree.read();
            let plan = tree.plans.get(&id).ok_or(Error::NotFound("plan"))?;
            let has_it = |one: &TenantId| tree.plan(*one).is_some_and(|plan| plan.id == id);
            (days.or(plan.limits.retention_days), tree.ids().filter(has_it).collect())
        };
        self.note(context, Action::PlanRead, &resource, "done");
        let mut view = ExpiringView::default();
        let Some(days) = days else { return Ok(view) };
        for tenant in tenants {
            let found = self.0.engine.expiring(&expiry(tenant, days, context.at, &holds));
            view.tenants += u64::from(found.sections > 0);
            view.readings += found.points;
            view.bytes += found.bytes;
            view.held_sections += found.held_sections as u64;
        }
        Ok(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_over_a_period_keeps_its_days() {
        let (own, other) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let day = |number: i64| Timestamp::from_micros(number * veritwin_domain::DAY_MICROS);
        let scope = |from: Option<i64>, to: Option<i64>| HoldScope {
            from: from.map(day),
            to: to.map(day),
            ..HoldScope::default()
        };
        let holds = [
            (own, scope(Some(10), Some(12))),
            (own, scope(Some(3), None)),
            (other, scope(Some(1), Some(99))),
        ];
        let found = expiry(own, 30, day(50), &holds);
        assert_eq!((found.first_day, found.held), (20, vec![(10, 12)]));
    }

    #[test]
    fn no_plan_destroys_everything() {
        for (days, is_right) in [
            (None, true),
            (Some(1), true),
            (Some(36_500), true),
            (Some(0), false),
            (Some(36_501), false),
        ] {
            assert_eq!(check_days(days).is_ok(), is_right, "{days:?}");
        }
    }
}

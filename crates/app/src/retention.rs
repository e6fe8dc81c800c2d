//! The end of readings: a plan's `retention_days`. Whole days are destroyed with their keys, never
//! those of a period that a hold names; what was destroyed is recorded in the tenant's records.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{OpContext, PlanId, TenantId, Timestamp};
use veritwin_metastore::{HoldScope, RetentionWait, Tenant};
use veritwin_telemetry::{Expired, Expiry};

use crate::change::Change;
use crate::model::{ExpiringView, PlanView, TenantExpiringView};
use crate::tree::Tree;
use crate::{App, Error, Result};

/// Most days that a plan may keep readings.
pub(crate) const RETENTION_DAYS_MAX: u64 = 36_500;

/// Days that readings are kept as before after their time was shortened, so that a slip can be
/// taken back.
pub(crate) const RETENTION_WAIT_DAYS: u64 = 7;
const RETENTION_WAIT: Duration = Duration::from_secs(RETENTION_WAIT_DAYS * 86_400);

const MAIL_SUBJECT: &str = "Readings will be kept for less time";

/// Of which tenants what is kept as before.
pub(crate) type Waits = Vec<(TenantId, Option<RetentionWait>)>;

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

/// How long readings are kept at a moment, in days; none: for ever.
fn kept_days(plan: Option<u64>, wait: Option<RetentionWait>, now: Timestamp) -> Option<u64> {
    match (plan, wait.filter(|wait| now < wait.until)) {
        (plan, None) => plan,
        (Some(plan), Some(RetentionWait { days: Some(before), .. })) => Some(plan.max(before)),
        _ => None,
    }
}

/// What is kept as before when readings that were kept for so long are kept for `days`.
fn wait_after(kept: Option<u64>, days: Option<u64>, now: Timestamp) -> Option<RetentionWait> {
    let is_shorter = match (kept, days) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(kept), Some(days)) => days < kept,
    };
    is_shorter.then(|| RetentionWait { until: now.saturating_add(RETENTION_WAIT), days: kept })
}

fn in_days(days: Option<u64>) -> String {
    match days {
        Some(1) => "1 day".to_owned(),
        Some(days) => format!("{days} days"),
        None => "without an end".to_owned(),
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

/// How long a tenant's readings are kept at a moment, in days; none: for ever.
fn kept_by(tree: &Tree, tenant: &Tenant, now: Timestamp) -> Option<u64> {
    let plan = tenant.place.plan.and_then(|plan| tree.plans.get(&plan));
    kept_days(plan.and_then(|plan| plan.limits.retention_days), tenant.place.retention_wait, now)
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
            let days = |id| tree.get(id).and_then(|tenant| kept_by(&tree, tenant, now));
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

    /// For how many days a tenant's readings are kept with another plan, and what is kept as
    /// before; none when it has that plan.
    pub(crate) fn wait_of_plan(
        &self,
        tenant: &Tenant,
        plan: Option<PlanId>,
        now: Timestamp,
    ) -> Option<(Option<u64>, Option<RetentionWait>)> {
        if tenant.place.plan == plan {
            return None;
        }
        let tree = self.0.tree.read();
        let days = plan.and_then(|plan| tree.plans.get(&plan)?.limits.retention_days);
        Some((days, wait_after(kept_by(&tree, tenant, now), days, now)))
    }

    /// What is kept as before of the tenants that have a plan, when it keeps readings for `days`.
    pub(crate) fn waits_of_plan(
        &self,
        plan: &PlanView,
        days: Option<u64>,
        now: Timestamp,
    ) -> Waits {
        if plan.limits.retention_days == days {
            return Vec::new();
        }
        let tree = self.0.tree.read();
        let has_it = tree.ids().filter_map(|id| tree.get(id));
        let has_it = has_it.filter(|tenant| tenant.place.plan == Some(plan.id));
        has_it
            .map(|tenant| (tenant.id, wait_after(kept_by(&tree, tenant, now), days, now)))
            .collect()
    }

    pub(crate) async fn tell_all_shortened(&self, waits: Waits, days: Option<u64>) {
        for (tenant, wait) in waits {
            if let Some(wait) = wait {
                self.tell_shortened(tenant, days, wait).await;
            }
        }
    }

    /// Tells the administrators of a tenant that its readings are kept for less time, and from when
    /// on, once a day for each time. What was changed stands, whether or not this can be written.
    pub(crate) async fn tell_shortened(
        &self,
        tenant: TenantId,
        days: Option<u64>,
        wait: RetentionWait,
    ) {
        let text = format!(
            "Your organisation has another plan, or its plan was changed: readings are kept {} \
             instead of {}. Older ones are destroyed for good, by whole days, but not before {}. \
             Until then it can be taken back: ask whoever answers for your organisation. A hold \
             over a period keeps the readings of its days.\n",
            in_days(days),
            in_days(wait.days),
            wait.until,
        );
        let context = self.job_in(jobs::RETENTION, tenant);
        let told = async {
            let tx = self.0.store.begin(&context).await?;
            let mail = (MAIL_SUBJECT, text.as_str());
            let event = format!("retention {} {days:?}", context.at.day());
            self.mail_few(&tx, mail, &event).await?;
            Result::Ok(tx.commit().await?)
        };
        if let Err(error) = told.await {
            tracing::warn!(%tenant, %error, "a tenant was not told how long readings are kept");
        }
    }

    /// The holds of every tenant that are in force.
    async fn holds_of_all(&self, context: &OpContext) -> Result<Vec<(TenantId, HoldScope)>> {
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        Ok(tx.holds_in_force(context.at).await?)
    }

    /// What would be destroyed of a tenant directly below if it had a plan, or none.
    #[boxed]
    pub async fn tenant_expiring(
        &self,
        context: &OpContext,
        id: TenantId,
        plan: Option<PlanId>,
    ) -> Result<TenantExpiringView> {
        let resource = self.authorize_all(context, Action::TenantListBelow, Kind::Tenant)?;
        let tenant = self.child(context, id)?;
        match plan {
            Some(plan) => self.check_plan(context, plan)?,
            None => self.check_no_plan(context)?,
        }
        let holds = self.holds_of_all(context).await?;
        let (kept, days) = {
            let tree = self.0.tree.read();
            let plan = plan.and_then(|plan| tree.plans.get(&plan));
            (kept_by(&tree, &tenant, context.at), plan.and_then(|plan| plan.limits.retention_days))
        };
        self.note(context, Action::TenantListBelow, &resource, "done");
        let found = days.map(|days| expiry(id, days, context.at, &holds));
        let found = found.map(|expiry| self.0.engine.expiring_soon(&expiry)).unwrap_or_default();
        Ok(TenantExpiringView {
            retention_days: days,
            not_before: wait_after(kept, days, context.at).map(|wait| wait.until),
            expiring: ExpiringView {
                tenants: u64::from(found.points > 0),
                readings: found.points,
                bytes: found.bytes,
                held_sections: found.held_sections as u64,
            },
        })
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
        let holds = self.holds_of_all(context).await?;
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
            let found = self.0.engine.expiring_soon(&expiry(tenant, days, context.at, &holds));
            view.tenants += u64::from(found.points > 0);
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
    fn a_shorter_time_waits_and_a_longer_one_counts_at_once() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let check = |kept: Option<u64>, days: Option<u64>, then: Option<u64>| {
            let wait = wait_after(kept, days, now);
            assert_eq!(kept_days(days, wait, now), then, "{kept:?} {days:?}");
            let over = now.saturating_add(RETENTION_WAIT);
            assert_eq!(kept_days(days, wait, over), days, "{kept:?} {days:?}");
        };
        check(None, Some(30), None);
        check(Some(30), Some(10), Some(30));
        check(Some(30), Some(30), Some(30));
        check(Some(10), Some(30), Some(30));
        check(Some(10), None, None);
        check(None, None, None);
        // Shortened, and taken back.
        let wait = wait_after(Some(30), Some(1), now);
        let kept = kept_days(Some(1), wait, now);
        assert_eq!((kept, wait_after(kept, Some(30), now)), (Some(30), None));
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

//! The end of what a plan keeps for a time: readings (`retention_days`) and the ledger's payloads
//! (`audit_days`). Whole days are destroyed with their keys, never those of a period that a hold
//! names; what was destroyed is recorded in the tenant's records.

pub(crate) mod now;
mod shortened;
mod words;

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{OpContext, PlanId, TenantId, Timestamp};
use veritwin_metastore::{HoldScope, RetentionWait, Tenant, Waits};
use veritwin_telemetry::{Expired, Expiry};

use crate::change::Change;
use crate::model::{ExpiringView, PlanLimits, TenantExpiringView};
use crate::tree::Tree;
use crate::{App, Error, Result};

/// Most days that a plan may keep something.
pub(crate) const RETENTION_DAYS_MAX: u64 = 36_500;

/// Days that something is kept as before after its time was shortened, so that a slip can be
/// taken back.
pub(crate) const RETENTION_WAIT_DAYS: u64 = 7;
const RETENTION_WAIT: Duration = Duration::from_secs(RETENTION_WAIT_DAYS * 86_400);

/// The holds in force, with whose they are.
pub(crate) type Holds = [(TenantId, HoldScope)];

/// What a plan keeps for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Readings,
    /// Salts and records that the ledger sealed.
    Ledger,
}

impl Kept {
    const ALL: [Self; 2] = [Self::Readings, Self::Ledger];

    const fn days(self, limits: &PlanLimits) -> Option<u64> {
        match self {
            Self::Readings => limits.retention_days,
            Self::Ledger => limits.audit_days,
        }
    }

    const fn wait(self, waits: Waits) -> Option<RetentionWait> {
        match self {
            Self::Readings => waits.readings,
            Self::Ledger => waits.ledger,
        }
    }

    const fn at(self) -> &'static str {
        match self {
            Self::Readings => "limits.retention_days",
            Self::Ledger => "limits.audit_days",
        }
    }
}

/// A tenant whose limits change: what is kept as before, then and now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rewait {
    pub(crate) tenant: TenantId,
    before: Waits,
    pub(crate) waits: Waits,
}

impl Rewait {
    /// What is kept as before from now on, and was not.
    fn news(&self, kept: Kept) -> Option<RetentionWait> {
        kept.wait(self.waits).filter(|wait| kept.wait(self.before) != Some(*wait))
    }

    /// Whether anything is kept for less time.
    pub(crate) fn is_shorter(&self) -> bool {
        Kept::ALL.into_iter().any(|kept| self.news(kept).is_some())
    }
}

/// Refuses times that would keep nothing, or that are longer than can be counted.
pub(crate) fn check_days(limits: &PlanLimits) -> Result<()> {
    for kept in Kept::ALL {
        let Some(days) = kept.days(limits) else { continue };
        if !(1..=RETENTION_DAYS_MAX).contains(&days) {
            let detail = format!("expected 1 to {RETENTION_DAYS_MAX} days, or null to keep all");
            return Err(Error::invalid_at(kept.at(), detail));
        }
    }
    Ok(())
}

/// How long something is kept at a moment, in days; none: for ever.
fn kept_days(plan: Option<u64>, wait: Option<RetentionWait>, now: Timestamp) -> Option<u64> {
    match (plan, wait.filter(|wait| now < wait.until)) {
        (plan, None) => plan,
        (Some(plan), Some(RetentionWait { days: Some(before), .. })) => Some(plan.max(before)),
        _ => None,
    }
}

/// What is kept as before when something that was kept for so long is kept for `days`.
fn wait_after(kept: Option<u64>, days: Option<u64>, now: Timestamp) -> Option<RetentionWait> {
    let is_shorter = match (kept, days) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(kept), Some(days)) => days < kept,
    };
    is_shorter.then(|| RetentionWait { until: now.saturating_add(RETENTION_WAIT), days: kept })
}

/// What is kept as before of a tenant that had these limits and gets those. A time that stays as
/// it is changes nothing of its wait.
fn waits_after(
    tenant: &Tenant,
    (before, after): (&PlanLimits, &PlanLimits),
    now: Timestamp,
) -> Rewait {
    let waits = tenant.place.waits;
    let next = |kept: Kept| {
        let (had, days) = (kept.days(before), kept.days(after));
        let wait = kept.wait(waits);
        if had == days { wait } else { wait_after(kept_days(had, wait, now), days, now) }
    };
    let next = Waits { readings: next(Kept::Readings), ledger: next(Kept::Ledger) };
    Rewait { tenant: tenant.id, before: waits, waits: next }
}

/// The days that holds of a tenant keep: those of holds over a period. A batch is sealed after its
/// readings, so that of the ledger the day after is kept too.
fn held_days(kept: Kept, tenant: TenantId, holds: &Holds) -> Vec<(i64, i64)> {
    let own = holds.iter().filter(|(owner, _)| *owner == tenant);
    let after = i64::from(kept == Kept::Ledger);
    let period = |(_, scope): &(TenantId, HoldScope)| {
        Some((scope.from?.day(), scope.to?.day().saturating_add(after)))
    };
    own.filter_map(period).collect()
}

/// What ends of a tenant at a moment: days that were over `days` before its day.
pub(crate) fn expiry(
    kept: Kept,
    (tenant, days): (TenantId, u64),
    now: Timestamp,
    holds: &Holds,
) -> Expiry {
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    let first_day = now.day().saturating_sub(days);
    Expiry { tenant, first_day, held: held_days(kept, tenant, holds) }
}

/// The beginning of the first day that is kept.
pub(crate) fn ended_before(expiry: &Expiry) -> Timestamp {
    Timestamp::from_micros(expiry.first_day.saturating_mul(veritwin_domain::DAY_MICROS))
}

/// What of it still waits at a moment.
pub(crate) fn in_force(waits: Waits, now: Timestamp) -> Waits {
    let still = |wait: Option<RetentionWait>| wait.filter(|wait| now < wait.until);
    Waits { readings: still(waits.readings), ledger: still(waits.ledger) }
}

fn limits_of(tree: &Tree, plan: Option<PlanId>) -> PlanLimits {
    plan.and_then(|plan| tree.plans.get(&plan)).map(|plan| plan.limits).unwrap_or_default()
}

impl App {
    /// What is past its plan's time at a moment, of every tenant whose plan says one.
    pub(crate) fn expiries(&self, kept: Kept, now: Timestamp, holds: &Holds) -> Vec<Expiry> {
        let tree = self.0.tree.read();
        let days = |tenant: &Tenant| {
            let days = kept.days(&limits_of(&tree, tenant.place.plan));
            kept_days(days, kept.wait(tenant.place.waits), now)
        };
        let tenants = tree.ids().filter_map(|id| tree.get(id));
        tenants
            .filter_map(|one| days(one).map(|days| expiry(kept, (one.id, days), now, holds)))
            .collect()
    }

    /// Destroys the readings that are past their plans' time at a trusted moment.
    pub(crate) async fn expire_readings(&self, now: Timestamp, holds: &Holds) -> Result<()> {
        self.expire_readings_of(self.expiries(Kept::Readings, now, holds)).await
    }

    /// Destroys readings at their end; the hourly figures of those who want them are kept before.
    pub(crate) async fn expire_readings_of(&self, mut expiries: Vec<Expiry>) -> Result<()> {
        expiries.retain(|expiry| !self.0.engine.expiring(expiry).is_empty());
        if expiries.is_empty() {
            return Ok(());
        }
        let mut ending = Vec::with_capacity(expiries.len());
        for expiry in expiries {
            match self.keep_figures(&expiry).await {
                Ok(()) => ending.push(expiry),
                // Whether it wants figures is known when its key is back; what ends is closed.
                Err(Error::KeySilent) => {}
                // Nothing of it can be opened any more: there is nothing to keep.
                Err(error) if error.is_withheld() => ending.push(expiry),
                Err(error) => {
                    let tenant = expiry.tenant;
                    tracing::warn!(%tenant, %error, "readings at their end stay: no figures");
                }
            }
        }
        let expiries = ending;
        let destroyed = self.0.engine.expire(&expiries).await?;
        for expiry in &expiries {
            let Some(done) = destroyed.get(&expiry.tenant) else { continue };
            match self.record_expiry(expiry, *done).await {
                // Nothing can be sealed for it.
                Err(error) if error.is_withheld() => {
                    tracing::warn!(tenant = %expiry.tenant, %error, "an end was not recorded");
                }
                written => written?,
            }
        }
        Ok(())
    }

    async fn record_expiry(&self, expiry: &Expiry, done: Expired) -> Result<()> {
        let change = Change::from(json!({
            "readings": done.points,
            "bytes": done.bytes,
            "before": ended_before(expiry).to_string(),
            "sections_under_a_hold": done.held_sections,
        }));
        let context = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&context).await?;
        let written = (Action::TelemetryMaintain, "done", change);
        self.record_platform_change(&tx, &context, Some(expiry.tenant), written).await?;
        Ok(tx.commit().await?)
    }

    /// What is kept as before of a tenant that gets another plan, or none.
    pub(crate) fn rewait(&self, tenant: &Tenant, plan: Option<PlanId>, now: Timestamp) -> Rewait {
        let tree = self.0.tree.read();
        let limits = (limits_of(&tree, tenant.place.plan), limits_of(&tree, plan));
        waits_after(tenant, (&limits.0, &limits.1), now)
    }

    /// What is kept as before of the tenants that have a plan, when it gets these limits.
    pub(crate) fn rewaits(&self, plan: PlanId, limits: &PlanLimits, now: Timestamp) -> Vec<Rewait> {
        let tree = self.0.tree.read();
        let before = limits_of(&tree, Some(plan));
        let has_it = tree.ids().filter_map(|id| tree.get(id));
        let has_it = has_it.filter(|tenant| tenant.place.plan == Some(plan));
        let changed = has_it.map(|tenant| waits_after(tenant, (&before, limits), now));
        changed.filter(|one| one.before != one.waits).collect()
    }

    /// The limits of a plan; none: no limits.
    pub(crate) fn limits(&self, plan: Option<PlanId>) -> PlanLimits {
        limits_of(&self.0.tree.read(), plan)
    }

    /// The holds of every tenant that are in force.
    pub(crate) async fn holds_of_all(
        &self,
        context: &OpContext,
    ) -> Result<Vec<(TenantId, HoldScope)>> {
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
        let limits = self.limits(plan);
        let waits = in_force(self.rewait(&tenant, plan, context.at).waits, context.at);
        self.note(context, Action::TenantListBelow, &resource, "done");
        Ok(TenantExpiringView {
            retention_days: limits.retention_days,
            not_before: waits.readings.map(|wait| wait.until),
            audit_days: limits.audit_days,
            audit_not_before: waits.ledger.map(|wait| wait.until),
            expiring: self.expiring(&limits, &[id], context.at, &holds),
        })
    }

    /// What would be destroyed if a plan kept readings and the ledger's payloads for so many days,
    /// or as it does: of everybody who has it.
    #[boxed]
    pub async fn plan_expiring(
        &self,
        context: &OpContext,
        id: PlanId,
        (retention_days, audit_days): (Option<u64>, Option<u64>),
    ) -> Result<ExpiringView> {
        let resource = self.authorize_all(context, Action::PlanRead, Kind::Tenant)?;
        self.check_platform_people(context)?;
        let asked = PlanLimits { retention_days, audit_days, ..PlanLimits::default() };
        check_days(&asked)?;
        let holds = self.holds_of_all(context).await?;
        let (limits, tenants): (PlanLimits, Vec<TenantId>) = {
            let tree = self.0.tree.read();
            let plan = tree.plans.get(&id).ok_or(Error::NotFound("plan"))?;
            let limits = PlanLimits {
                retention_days: retention_days.or(plan.limits.retention_days),
                audit_days: audit_days.or(plan.limits.audit_days),
                ..plan.limits
            };
            let has_it = |one: &TenantId| tree.plan(*one).is_some_and(|plan| plan.id == id);
            (limits, tree.ids().filter(has_it).collect())
        };
        self.note(context, Action::PlanRead, &resource, "done");
        Ok(self.expiring(&limits, &tenants, context.at, &holds))
    }

    /// What of these tenants is older than limits keep it.
    fn expiring(
        &self,
        limits: &PlanLimits,
        tenants: &[TenantId],
        now: Timestamp,
        holds: &Holds,
    ) -> ExpiringView {
        let mut view = ExpiringView::default();
        if let Some(days) = limits.retention_days {
            for tenant in tenants {
                let end = expiry(Kept::Readings, (*tenant, days), now, holds);
                let found = self.0.engine.expiring_soon(&end);
                view.tenants += u64::from(found.points > 0);
                view.readings += found.points;
                view.bytes += found.bytes;
                view.held_sections += found.held_sections as u64;
            }
        }
        if let Some(days) = limits.audit_days {
            let end = |tenant: &TenantId| expiry(Kept::Ledger, (*tenant, days), now, holds);
            for found in self.ledger_days(tenants.iter().map(end).collect()) {
                view.ledger_tenants += u64::from(!found.keys.is_empty());
                view.ledger_days += found.keys.len() as u64;
                view.held_ledger_days += found.held_days;
            }
        }
        view
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
        let found = expiry(Kept::Readings, (own, 30), day(50), &holds);
        assert_eq!((found.first_day, found.held), (20, vec![(10, 12)]));
        let found = expiry(Kept::Ledger, (own, 30), day(50), &holds);
        assert_eq!((found.first_day, found.held), (20, vec![(10, 13)]));
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
    fn each_time_waits_by_itself_and_one_that_stays_waits_no_longer() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let limits = |readings: Option<u64>, ledger: Option<u64>| PlanLimits {
            retention_days: readings,
            audit_days: ledger,
            ..PlanLimits::default()
        };
        let mut tenant =
            crate::tree::tests::tenant(1, None, veritwin_metastore::TenantKind::Customer);
        let first =
            waits_after(&tenant, (&limits(Some(30), None), &limits(Some(30), Some(10))), now);
        let until = now.saturating_add(RETENTION_WAIT);
        let ledger = Some(RetentionWait { until, days: None });
        assert_eq!(first.waits, Waits { readings: None, ledger });
        tenant.place.waits = first.waits;
        let later = now.saturating_add(Duration::from_secs(86_400));
        let shorter = (&limits(Some(30), Some(10)), &limits(Some(5), Some(10)));
        let second = waits_after(&tenant, shorter, later).waits;
        assert_eq!(second.ledger, ledger);
        assert_eq!(second.readings.map(|wait| wait.days), Some(Some(30)));
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
            let readings = PlanLimits { retention_days: days, ..PlanLimits::default() };
            let ledger = PlanLimits { audit_days: days, ..PlanLimits::default() };
            for (limits, place) in
                [(readings, "limits.retention_days"), (ledger, "limits.audit_days")]
            {
                match check_days(&limits) {
                    Ok(()) => assert!(is_right, "{limits:?}"),
                    Err(Error::Invalid { at, .. }) => {
                        assert_eq!((at.as_deref(), is_right), (Some(place), false));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

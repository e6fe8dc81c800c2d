//! What ends when: how long each kind of data of an organisation is kept, out of the same
//! constants, plans and rules by which it ends. Nothing here is written down a second time.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, SESSION_ABSOLUTE_MAX, SESSION_IDLE_MAX};
use veritwin_domain::{DeviceProfileId, OpContext, Timestamp};
use veritwin_metastore::{GovernanceKind, TenantTx};

use crate::backup::KEYRING_HORIZON;
use crate::cases::{CASES_KEPT, DOWNLOAD_LASTS};
use crate::device_profiles::StoredDeviceProfile;
use crate::ends::TAKEN_BACK_WITHIN;
use crate::governance::ENDED_KEPT;
use crate::maintenance::RECORDS_KEPT;
use crate::meter::USAGE_DAYS_KEPT;
use crate::model::{KeptRow, KeptSource, RetentionView};
use crate::retention::Kept;
use crate::retention::now::kept_of;
use crate::{App, Result};

const DAY_SECONDS: u64 = 86_400;
/// Where times are changed in the pages.
const RETENTION_PAGE: &str = "/destruction";
const PLAN_PAGE: &str = "/settings";
const ENDING_PAGE: &str = "/what-ends-when";

/// One that nothing waits for and no hold keeps.
const fn row(class: &'static str, seconds: Option<u64>, since: &'static str) -> KeptRow {
    KeptRow {
        class,
        about: None,
        seconds,
        since,
        source: KeptSource::Fixed,
        link: None,
        waits_until: None,
        is_held: false,
    }
}

const fn fixed(class: &'static str, kept: Duration, since: &'static str) -> KeptRow {
    row(class, Some(kept.as_secs()), since)
}

/// What is over of a kind of things of the governance workspace.
const fn over(kind: GovernanceKind) -> &'static str {
    match kind {
        GovernanceKind::Task => "tasks_done",
        GovernanceKind::Evidence => "evidence_replaced",
        GovernanceKind::Notice => "notices_published",
        GovernanceKind::Risk => "risks_closed",
        GovernanceKind::Policy => "policies_retired",
        GovernanceKind::Breach => "breaches_closed",
        GovernanceKind::Framework => "frameworks",
        GovernanceKind::Control => "controls",
        GovernanceKind::Certificate => "certificates",
    }
}

fn in_seconds(days: u64) -> u64 {
    days.saturating_mul(DAY_SECONDS)
}

/// The name of a profile, or its id once it is gone.
async fn profile_name(tx: &TenantTx, profile: DeviceProfileId) -> Result<String> {
    let row = crate::error::found(tx.device_profile(profile).await)?;
    let body = row.and_then(|row| serde_json::from_slice::<StoredDeviceProfile>(&row.body).ok());
    Ok(body.map_or_else(|| profile.to_string(), |body| body.name().to_owned()))
}

impl App {
    /// How long each kind of data of the organisation is kept, and what decides.
    #[boxed]
    pub async fn what_ends_when(&self, context: &OpContext) -> Result<Vec<KeptRow>> {
        self.authorize_all(context, Action::RetentionRead, Kind::Keys)?;
        let retention = self.retention(context).await?;
        let is_held = !self.own_holds(context).await?.is_empty();
        let mut rows = self.readings_kept(context, &retention).await?;
        rows.push(self.ledger_kept(context));
        rows.extend([
            KeptRow { is_held, ..fixed("records", RECORDS_KEPT, "made") },
            fixed("mails", RECORDS_KEPT, "sent"),
            fixed("cases", CASES_KEPT, "closed"),
            fixed("copies", DOWNLOAD_LASTS, "answered"),
            fixed("sessions_idle", SESSION_IDLE_MAX, "used"),
            fixed("sessions", SESSION_ABSOLUTE_MAX, "made"),
            fixed("links", RECORDS_KEPT, "made"),
            fixed("connections", RECORDS_KEPT, "made"),
            fixed("imports", RECORDS_KEPT, "made"),
            fixed("calls", Self::calls_kept(), "made"),
            fixed("parked_messages", crate::route_queue::PARKED_KEPT, "made"),
            fixed("repeats", crate::idempotency::KEPT, "made"),
            fixed("evidence", RECORDS_KEPT, "made"),
        ]);
        rows.extend(ENDED_KEPT.map(|(kind, _, kept)| fixed(over(kind), kept, "changed")));
        rows.extend([
            row("usage", Some(in_seconds(USAGE_DAYS_KEPT.unsigned_abs())), "made"),
            fixed("backups", KEYRING_HORIZON, "destroyed"),
            row("organisation", None, "made"),
            KeptRow {
                link: Some(ENDING_PAGE),
                ..fixed("ended_organisation", TAKEN_BACK_WITHIN, "decided")
            },
        ]);
        Ok(rows)
    }

    /// Readings: by the plan, by the organisation, by its rules, and the figures of ended ones.
    async fn readings_kept(
        &self,
        context: &OpContext,
        retention: &RetentionView,
    ) -> Result<Vec<KeptRow>> {
        let (plan, waits_until) = kept_of(self, context, Kept::Readings);
        // A hold over a period keeps its days whole.
        let holds = self.own_holds(context).await?;
        let is_held = holds.iter().any(|hold| hold.from.is_some() && hold.to.is_some());
        let by_plan = KeptRow {
            source: KeptSource::Plan,
            link: Some(PLAN_PAGE),
            waits_until,
            is_held,
            ..row("readings", plan.map(in_seconds), "measured")
        };
        let own = |class, days: Option<u64>| KeptRow {
            source: KeptSource::Rule,
            link: Some(RETENTION_PAGE),
            waits_until: retention.not_before,
            is_held,
            ..row(class, days.map(in_seconds), "measured")
        };
        let mut rows = vec![by_plan];
        if let Some(days) = retention.kept.readings_days {
            rows.push(own("own_readings", Some(days)));
        }
        let tx = self.0.store.read(context).await?;
        for rule in &retention.kept.rules {
            let profile = match rule.profile {
                Some(profile) => Some(profile_name(&tx, profile).await?),
                None => None,
            };
            let parts: Vec<String> = profile.into_iter().chain(rule.key.clone()).collect();
            let about = Some(parts.join(" · "));
            rows.push(KeptRow { about, ..own("readings_by_rule", Some(rule.days)) });
        }
        if let Some(days) = retention.kept.figures_days {
            rows.push(own("figures", Some(days)));
        }
        Ok(rows)
    }

    /// What the ledger sealed: for the audit period.
    fn ledger_kept(&self, context: &OpContext) -> KeptRow {
        let (days, waits_until): (Option<u64>, Option<Timestamp>) =
            kept_of(self, context, Kept::Ledger);
        KeptRow {
            source: KeptSource::Plan,
            link: Some(PLAN_PAGE),
            waits_until,
            ..row("ledger", days.map(in_seconds), "sealed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_the_constant_says() {
        let records = fixed("records", RECORDS_KEPT, "made");
        assert_eq!(records.seconds, Some(90 * DAY_SECONDS));
        assert_eq!(records.source.as_str(), "fixed");
        assert_eq!(in_seconds(u64::MAX), u64::MAX);
        assert_eq!(row("organisation", None, "made").seconds, None);
    }
}

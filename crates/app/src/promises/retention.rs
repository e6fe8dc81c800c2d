//! P53: two records past their time are put into a tenant of nobody, one under a hold. After the
//! purge that runs all day only the held one is there, and no tenant has an older record that no
//! hold names.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{ActivityId, HoldId, OpContext, Timestamp, UserId};
use veritwin_metastore::{Activity, ActivityFilter, Hold, HoldReason, HoldScope};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::activity::{ActorName, Details, Envelope};
use crate::maintenance::RECORDS_KEPT;
use crate::{App, Result};

const PROMISE: u8 = 53;
const VERSION: u32 = 1;
const DAY: Duration = Duration::from_secs(86_400);
/// A purge runs every few minutes; a record may be this much older than its time.
const SLACK: Duration = Duration::from_secs(3600);
const ACTION: &str = "device.read";

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_retention().await })
}

impl App {
    async fn check_retention(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let old = context.at.saturating_sub(RECORDS_KEPT + DAY);
        let held = self.old_record(old);
        let free = self.old_record(old);
        let hold = self.hold_on(&context, held.id);
        let tx = self.0.store.begin(&context).await?;
        for record in [&held, &free] {
            tx.activity_add(record).await?;
        }
        tx.hold_create(&hold).await?;
        tx.commit().await?;
        let found = self.purge_and_look(&context, old).await;
        let tx = self.0.store.begin(&context).await?;
        tx.hold_delete(hold.id).await?;
        tx.commit().await?;
        let (left, overdue) = found?;
        let facts = vec![
            ("kept at most".to_owned(), "90 days".to_owned()),
            ("age of the two records".to_owned(), "91 days".to_owned()),
            ("left after the purge".to_owned(), left.len().to_string()),
            (
                "records of all tenants past their time, without a hold".to_owned(),
                overdue.to_string(),
            ),
        ];
        let failed = |summary: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: "table activity".to_owned(),
        };
        Ok(if left.contains(&free.id) {
            failed("A record of day 91 is still there without a hold.")
        } else if !left.contains(&held.id) {
            failed("A record under a hold is gone.")
        } else if overdue > 0 {
            failed("Records past their time are there without a hold.")
        } else {
            let summary = "On day 91 the record under a hold is there and the other is gone.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    /// What the purge leaves of that moment here, and how many records of anybody are overdue.
    async fn purge_and_look(
        &self,
        context: &OpContext,
        old: Timestamp,
    ) -> Result<(Vec<ActivityId>, u64)> {
        self.purge_records().await?;
        let to = Some(old.saturating_add(Duration::from_secs(1)));
        let filter = ActivityFilter { from: Some(old), to, ..ActivityFilter::default() };
        let left = self.activity_ids(context, &filter).await?;
        let platform = self.job(jobs::PROMISES);
        let before = platform.at.saturating_sub(RECORDS_KEPT + SLACK);
        let tx = self.0.store.read_platform(&platform).await?;
        let holds = tx.holds_in_force(platform.at).await?;
        drop(tx);
        let mut overdue = 0;
        for tenant in self.all_tenants(&platform).await? {
            if !holds.iter().any(|(owner, _)| *owner == tenant.id) {
                let tx = self.0.store.read_platform(&platform).await?;
                overdue += tx.activity_older(tenant.id, before).await?;
            }
        }
        Ok((left, overdue))
    }

    fn old_record(&self, at: Timestamp) -> Activity {
        let envelope = Envelope {
            actor: ActorName::Job(jobs::PROMISES).to_string(),
            action: ACTION.to_owned(),
            outcome: "done".to_owned(),
            ..Envelope::default()
        };
        let details = Details { resource: "device".to_owned(), ..Details::default() };
        Activity {
            id: ActivityId::generate(at, self.rng()),
            at,
            actor: None,
            action: ACTION.to_owned(),
            outcome: "done".to_owned(),
            envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
            details: serde_json::to_vec(&details).ok(),
        }
    }

    fn hold_on(&self, context: &OpContext, record: ActivityId) -> Hold {
        let nobody = |number: u8| UserId::from_bytes([number; 16]);
        Hold {
            id: HoldId::generate(context.at, self.rng()),
            scope: HoldScope { records: vec![record], ..HoldScope::default() },
            reason: HoldReason::LegalDuty,
            note: "promise check".to_owned(),
            requested_by: nobody(1),
            requested_at: context.at,
            approved_by: Some(nobody(2)),
            approved_at: Some(context.at),
            expires_at: context.at.saturating_add(DAY),
            release: None,
            released_at: None,
        }
    }
}

//! P46: a request of nobody is refused in each jurisdiction, and the letter has to name where to
//! complain. P47: a request of nobody that came 31 days ago has to raise its alarms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{CaseId, OpContext, Timestamp};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, Page, StoredCase};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::cases::body::Case;
use crate::cases::clock::answer_by;
use crate::cases::letters::authorities;
use crate::{App, Result};

const COMPLAINT: u8 = 46;
const CLOCKS: u8 = 47;
const VERSION: u32 = 1;
/// How long ago the request came whose alarms are looked for.
const CAME_AGO: Duration = Duration::from_secs(31 * 86_400);
/// What it has to have raised by then.
const ALARMS: [&str; 5] =
    ["acknowledge_soon", "acknowledge_missed", "answer_soon", "answer_tomorrow", "answer_missed"];

pub(super) fn complaint_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, COMPLAINT, VERSION, |app: App| async move { app.check_refusals().await })
}

pub(super) fn clock_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, CLOCKS, VERSION, |app: App| async move { app.check_clocks().await })
}

/// An open request of nobody.
fn of_nobody(id: CaseId, received_at: Timestamp) -> StoredCase {
    StoredCase {
        id,
        kind: CaseKind::Access,
        state: CaseState::Open,
        source: CaseSource::Officer,
        address: None,
        user: None,
        mail: None,
        body: b"{}".to_vec(),
        received_at,
        answer_by: answer_by(received_at, Duration::ZERO),
        next_at: None,
        closed_at: None,
        version: 1,
    }
}

impl App {
    /// Nothing of it is stored: the letters are read, and the refusals never committed.
    async fn check_refusals(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.begin(&context).await?;
        let (mut letters, mut silent) = (0_u32, Vec::new());
        for (jurisdiction, authority) in authorities()? {
            let id = CaseId::generate(context.at, self.rng());
            let mut case = Case::read(of_nobody(id, context.at))?;
            let why = (("unfounded", ""), Some(jurisdiction.as_str()));
            let letter = self.refuse_case(&tx, &context, &mut case, why).await?;
            letters += 1;
            if !letter.text.contains(&authority) {
                silent.push(jurisdiction);
            }
        }
        drop(tx);
        let facts = vec![
            ("letters of refusal read".to_owned(), letters.to_string()),
            ("of which name no authority".to_owned(), silent.len().to_string()),
        ];
        Ok(match silent.first() {
            None => ProbeAnswer::Passed {
                summary: "Every refusal names the authority to complain to.".to_owned(),
                facts,
            },
            Some(first) => ProbeAnswer::Failed {
                summary: "A refusal does not name the authority to complain to.".to_owned(),
                facts,
                place: format!("letter of refusal, {first}"),
            },
        })
    }

    async fn check_clocks(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let id = CaseId::generate(context.at, self.rng());
        let made = of_nobody(id, context.at.saturating_sub(CAME_AGO));
        // As long as it waits, it is the first that is looked after.
        let made = StoredCase { next_at: Some(made.received_at), ..made };
        let tx = self.0.store.begin(&context).await?;
        // What an earlier run left that was cut short.
        let left = tx.cases(true, &Page::first(50)).await?.items;
        // Not what another check asks for in somebody's name, or wrote.
        let is_nobodys = |one: &&StoredCase| {
            one.source == CaseSource::Officer && one.user.is_none() && one.kind == CaseKind::Access
        };
        for left in left.iter().filter(is_nobodys) {
            tx.case_delete(left.id).await?;
        }
        tx.case_create(&made).await?;
        tx.commit().await?;
        let raised = self.alarms_raised(&context, id).await;
        let tx = self.0.store.begin(&context).await?;
        tx.case_delete(id).await?;
        tx.commit().await?;
        let raised = raised?;
        let missing: Vec<&str> =
            ALARMS.into_iter().filter(|name| !raised.iter().any(|one| one == name)).collect();
        let facts = vec![
            ("age of the request".to_owned(), "31 days".to_owned()),
            ("alarms raised".to_owned(), raised.join(", ")),
            ("alarms that are missing".to_owned(), missing.len().to_string()),
        ];
        Ok(if missing.is_empty() {
            let summary = "A request that waits raises its alarms before and at each deadline.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        } else {
            ProbeAnswer::Failed {
                summary: "A request is past its deadlines and nobody was told.".to_owned(),
                facts,
                place: "table rights_cases".to_owned(),
            }
        })
    }

    async fn alarms_raised(&self, context: &OpContext, id: CaseId) -> Result<Vec<String>> {
        self.tend_cases().await;
        let tx = self.0.store.read(context).await?;
        Ok(Case::read(tx.case(id).await?)?.body.alarms)
    }

    /// A request that is over.
    pub(super) async fn probe_request(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.cases(false, &Page::first(50)).await?.items;
        // Those of checks go with them.
        let is_over = |one: &&StoredCase| {
            one.state == CaseState::Withdrawn && one.source == CaseSource::Officer
        };
        let known = known.iter().find(is_over).map(|known| known.id);
        let id = known.unwrap_or_else(|| CaseId::generate(context.at, self.rng()));
        if known.is_none() {
            let made = StoredCase {
                state: CaseState::Withdrawn,
                closed_at: Some(context.at),
                ..of_nobody(id, context.at)
            };
            tx.case_create(&made).await?;
            tx.commit().await?;
        }
        things.insert("request", id.to_string());
        Ok(())
    }
}

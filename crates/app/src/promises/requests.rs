//! P46: a request of nobody is refused in each jurisdiction, and the letter has to name where to
//! complain. P47: a request that came 31 days ago is written down by an officer of nobody's tenant;
//! what looks after requests has to find it, raise its alarms and mail its officer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{CaseId, OpContext, Role, Secret, Timestamp, UserId};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, Page, StoredCase};

use super::run::InApp;
use super::sign_up::Guest;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::cases::body::Case;
use crate::cases::clock::answer_by;
use crate::cases::letters::authorities;
use crate::model::DeskCaseInput;
use crate::{App, Result};

const COMPLAINT: u8 = 46;
const CLOCKS: u8 = 47;
const VERSION: u32 = 1;
/// With a request that is made and found as any other, and the mails about it.
const CLOCKS_VERSION: u32 = 2;
const NAME: &str = "clock probe";
/// So many rounds of those that wait longest are looked after until it is this one's turn.
const ROUNDS_MAX: u32 = 20;
/// How long ago the request came whose alarms are looked for.
const CAME_AGO: Duration = Duration::from_secs(31 * 86_400);
/// What it has to have raised by then.
const ALARMS: [&str; 5] =
    ["acknowledge_soon", "acknowledge_missed", "answer_soon", "answer_tomorrow", "answer_missed"];

pub(super) fn complaint_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, COMPLAINT, VERSION, |app: App| async move { app.check_refusals().await })
}

pub(super) fn clock_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, CLOCKS, CLOCKS_VERSION, |app: App| async move { app.check_clocks().await })
}

/// What became of the request.
struct Found {
    raised: Vec<String>,
    mails: usize,
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
        let guest = self.sign_up_guest(true).await?;
        let user = guest.signed_in.session.user.id;
        let found = self.clocks_of(&guest, user).await;
        let tidied = self.remove_waiting(guest.email.expose()).await;
        self.leave_nothing(user).await?;
        tidied?;
        let Found { raised, mails } = found?;
        let missing: Vec<&str> =
            ALARMS.into_iter().filter(|name| !raised.iter().any(|one| one == name)).collect();
        let facts = vec![
            ("age of the request".to_owned(), "31 days".to_owned()),
            ("alarms raised".to_owned(), raised.join(", ")),
            ("alarms that are missing".to_owned(), missing.len().to_string()),
            ("mails queued to its officer".to_owned(), mails.to_string()),
        ];
        let failed = |summary: &str, place: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if !missing.is_empty() {
            let summary = "A request is past its deadlines and raised no alarm.";
            failed(summary, "table rights_cases")
        } else if mails < ALARMS.len() {
            failed("A request is past its deadlines and nobody was mailed.", "table outbox")
        } else {
            let summary = "A request that waits raises its alarms before and at each deadline, \
                           and its officer is mailed.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts: facts.clone() }
        })
    }

    /// An officer of nobody writes a request down that came 31 days ago, as any officer does; then
    /// what looks after requests has to find it by itself.
    async fn clocks_of(&self, guest: &Guest, user: UserId) -> Result<Found> {
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.begin(&job).await?;
        tx.member_roles_set(user, &[Role::PrivacyOfficer]).await?;
        tx.commit().await?;
        self.access_changed(PROBE_TENANT);
        self.0.logins.forget_all();
        let officer = self.guest_context(&guest.signed_in).await?;
        self.remove_waiting(guest.email.expose()).await?;
        let input = DeskCaseInput {
            language: None,
            kind: CaseKind::Access.as_str().to_owned(),
            user: None,
            email: None,
            person: Some(Secret::new(NAME.to_owned())),
            text: Secret::new(NAME.to_owned()),
            purpose: None,
            received_at: Some(officer.at.saturating_sub(CAME_AGO)),
        };
        let id = self.create_case_at_desk(&officer, &input).await?;
        let mut raised = Vec::new();
        for _ in 0..ROUNDS_MAX {
            self.tend_cases().await;
            let tx = self.0.store.read(&job).await?;
            raised = Case::read(tx.case(id).await?)?.body.alarms;
            if !raised.is_empty() {
                break;
            }
        }
        let number = id.to_string();
        let mails = self.mails_to(&job, guest.email.expose()).await?;
        let mails = mails.iter().filter(|(.., mail)| mail.text.contains(&number)).count();
        Ok(Found { raised, mails })
    }

    /// Removes what this check made, or an earlier run that was cut short: the requests, and the
    /// mails that are queued to its officer.
    async fn remove_waiting(&self, officer: &str) -> Result<()> {
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let mails = self.mails_to(&context, officer).await?;
        let tx = self.0.store.begin(&context).await?;
        // Not what another check asks for in somebody's name, or wrote.
        let is_nobodys = |one: &&StoredCase| {
            one.source == CaseSource::Officer && one.user.is_none() && one.kind == CaseKind::Access
        };
        let left = tx.cases(true, &Page::first(50)).await?.items;
        for left in left.iter().filter(is_nobodys) {
            tx.case_delete(left.id).await?;
        }
        for (id, ..) in mails {
            tx.outbox_remove(id).await?;
        }
        Ok(tx.commit().await?)
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

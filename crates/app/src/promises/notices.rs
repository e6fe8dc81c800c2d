//! P54: the clock of a breach raises its alarms, a notice that lacks something is not sent, and a
//! breach of high risk is not closed before the people concerned were told.
//! P60: every message that is queued is of a kind on the closed list, and one of another is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use veritwin_access::jobs;
use veritwin_domain::{GovernanceId, OpContext, Role};

use super::nobody::PROBE_CUSTOMER;
use super::run::InApp;
use super::{PlatformProbe, ProbeAnswer};
use crate::governance::ALARM_HOURS;
use crate::mail_kinds::MessageKind;
use crate::model::{BreachContent, BreachNoticeInput};
use crate::{App, Error, Result};

const VERSION: u32 = 1;
const BREACH_VERSION: u32 = 2;
const NAME: &str = "breach probe";
/// The clock of the test breach began so long ago: every alarm is due.
const AWARE_SINCE: Duration = Duration::from_secs(73 * 3600);
/// Newest messages that are looked at.
const LOOKED_AT_MAX: u64 = 500;
/// A kind of message that is on no list of ours.
const OTHER_KIND: &str = "marketing";

/// The check of P54.
pub(super) fn breach_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 54, BREACH_VERSION, |app: App| async move { app.check_breach().await })
}

/// The check of P60.
pub(super) fn messages_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 60, VERSION, |app: App| async move { app.check_messages().await })
}

fn fact(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// What the test breach was found to do.
#[derive(Default)]
struct Tried {
    alarms: usize,
    incomplete_refused: bool,
    late_refused: bool,
    complete_taken: bool,
    closing_refused: bool,
    mails: u64,
}

impl App {
    async fn check_breach(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tree().await?;
        let identity = self.open_probe_identity(PROBE_CUSTOMER, NAME, Role::Administrator).await?;
        let tried = self.try_breach(&identity.context).await;
        self.close_probe_identity(&identity).await?;
        let tried = tried?;
        let facts = vec![
            fact("alarms raised", tried.alarms),
            fact("an incomplete notice was refused", tried.incomplete_refused),
            fact("a late notice without reasons was refused", tried.late_refused),
            fact("a complete notice was taken", tried.complete_taken),
            fact("closing it before people were told was refused", tried.closing_refused),
            fact("mails that a drill queued", tried.mails),
        ];
        let failed = |summary: &str, place: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if !tried.incomplete_refused || !tried.late_refused {
            failed("A notice that lacks something is sent.", "POST /v1/breaches/{id}/notices")
        } else if tried.alarms != ALARM_HOURS.len() {
            failed("The clock of a breach does not raise its alarms.", "the job governance")
        } else if !tried.complete_taken {
            failed("A complete notice is refused.", "POST /v1/breaches/{id}/notices")
        } else if !tried.closing_refused {
            let summary = "A breach of high risk closes before the people concerned were told.";
            failed(summary, "POST /v1/breaches/{id}/close")
        } else if tried.mails > 0 {
            failed("A drill writes to the outside.", "table outbox")
        } else {
            ProbeAnswer::Passed {
                summary: "A test breach raised every alarm, no incomplete notice was sent, and it \
                          stays open until the people concerned were told."
                    .to_owned(),
                facts: facts.clone(),
            }
        })
    }

    async fn try_breach(&self, context: &OpContext) -> Result<Tried> {
        let content = BreachContent {
            title: NAME.to_owned(),
            role: "controller".to_owned(),
            risk: "high".to_owned(),
            risk_reason: NAME.to_owned(),
            is_drill: true,
            aware_at: Some(context.at.saturating_sub(AWARE_SINCE)),
            ..BreachContent::default()
        };
        let id = self.open_breach(context, content.clone()).await?;
        let tried = self.try_notices(context, id, content).await;
        let tx = self.0.store.begin(&self.job_in(jobs::PROMISES, context.tenant)).await?;
        tx.governance_delete(id).await?;
        tx.commit().await?;
        tried
    }

    async fn try_notices(
        &self,
        context: &OpContext,
        id: GovernanceId,
        content: BreachContent,
    ) -> Result<Tried> {
        let mut tried = Tried::default();
        // The job may be at it in the same moment: what counts is what it left.
        if let Err(error) = self.tell_one(context.tenant, id).await {
            tracing::debug!(%error, "the alarms of a test breach were raised by the job");
        }
        tried.alarms = self.breach(context, id).await?.facts.alarms.len();
        tried.incomplete_refused = self.is_notice_refused(context, id).await?;
        let mut whole = BreachContent {
            nature: NAME.to_owned(),
            subjects: Some(1),
            records: Some(1),
            contact: NAME.to_owned(),
            consequences: NAME.to_owned(),
            measures: NAME.to_owned(),
            authority: NAME.to_owned(),
            authority_email: "authority@probe.invalid".to_owned(),
            ..content
        };
        self.replace_breach(context, id, whole.clone(), None).await?;
        tried.late_refused = self.is_notice_refused(context, id).await?;
        whole.late_reason = NAME.to_owned();
        self.replace_breach(context, id, whole, None).await?;
        tried.complete_taken = !self.is_notice_refused(context, id).await?;
        tried.closing_refused = match self.close_breach(context, id, NAME).await {
            Ok(()) => false,
            Err(Error::Conflict(_)) => true,
            Err(error) => return Err(error),
        };
        let tx = self.0.store.read(context).await?;
        tried.mails = tx.outbox_waiting().await?;
        Ok(tried)
    }

    async fn is_notice_refused(&self, context: &OpContext, id: GovernanceId) -> Result<bool> {
        let notice = BreachNoticeInput {
            to: "authority".to_owned(),
            phase: "final".to_owned(),
            ..BreachNoticeInput::default()
        };
        match self.send_breach_notice(context, id, notice).await {
            Ok(()) => Ok(false),
            Err(Error::Invalid { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn check_messages(&self) -> Result<ProbeAnswer> {
        let mail = |kind: &str| {
            json!({"kind": kind, "to": "nobody@probe.invalid", "subject": "", "text": ""})
                .to_string()
        };
        let is_other_refused = self.admitted(mail(OTHER_KIND).as_bytes()).is_err();
        let refused: Vec<&str> = MessageKind::ALL
            .map(MessageKind::as_str)
            .into_iter()
            .filter(|kind| self.admitted(mail(kind).as_bytes()).is_err())
            .collect();
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let (newest, closed) = tx.outbox_newest(LOOKED_AT_MAX).await?;
        drop(tx);
        let mut kinds: BTreeMap<MessageKind, u64> = BTreeMap::new();
        let mut others = 0u64;
        for entry in &newest {
            match self.admitted(&entry.payload) {
                Ok(mail) => *kinds.entry(mail.kind).or_default() += 1,
                Err(_) => others += 1,
            }
        }
        let mut facts = vec![
            fact("kinds on the list", MessageKind::ALL.len()),
            fact("a message of another kind is refused", is_other_refused),
            fact("messages looked at", newest.len()),
            fact("messages of another kind", others),
            fact("messages whose key is away", closed),
        ];
        facts.extend(kinds.iter().map(|(kind, count)| fact(kind.as_str(), count)));
        let failed = |summary: &str, facts| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts,
            place: "table outbox".to_owned(),
        };
        Ok(if !is_other_refused {
            failed("A message of a kind that is on no list would be sent.", facts)
        } else if others > 0 {
            failed("A message of another kind is queued.", facts)
        } else if !refused.is_empty() {
            failed("A message of a kind on the list is refused.", facts)
        } else {
            let summary = "Every message is of a kind on the list, and no other can be sent.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }
}

//! Erasure of a person (promise P42): every store in the order of `STORES`, one step at a time.
//! Each step is written down when it is done and may be done again, so that `kill -9` ends none
//! half done. Then a certificate is signed, the person is told, and the case names nobody.

mod begin;
mod elsewhere;
mod paper;
mod replay;
mod scrub;
mod stores;
mod whom;

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use tokio::sync::Notify;
use veritwin_access::{Action, jobs};
use veritwin_domain::{CaseId, OpContext, TenantId, Timestamp};
use veritwin_metastore::CaseState;

use super::body::{Case, StepDone};
use super::resource;
use crate::change::Change;
use crate::mail::MailPayload;
use crate::subject::{Eraser, STORES};
use crate::{App, Error, Result};
pub(crate) use replay::ErasedCase;
use stores::Met;
pub(crate) use whom::Marker;

/// Between looks at what an erasure waits for.
const TICK: Duration = Duration::from_secs(5);
/// How long the last letter may wait for its server before it goes like the rest.
const LETTER_WAITS: Duration = Duration::from_secs(3 * 86_400);
/// How long a certificate waits for a ledger that is away.
const LEDGER_WAITS: Duration = Duration::from_secs(7 * 86_400);
/// Mails that are looked through at a time.
const MAILS_AT_ONCE: u64 = 500;

/// The steps beside the stores'.
const COUNTED: &str = "counted";
const TOLD: &str = "told";
const FORGOTTEN: &str = "forgotten";
/// The line of the history that says why it does not go on.
const WAITS: &str = "waits";

/// What wakes those who carry erasures out.
#[derive(Debug, Default)]
pub(crate) struct ErasureBoard {
    begun: Notify,
    told: Notify,
}

/// The stores, or what is left when nothing of the person is: a ledger that is away holds up
/// nobody's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Stores,
    Papers,
}

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// There is another one.
    On,
    /// It waits for something else.
    Waits,
    /// Nothing is left to do.
    Over,
}

impl Case {
    fn step(&self, name: &str) -> Option<&StepDone> {
        self.body.steps.iter().find(|step| step.name == name)
    }

    /// Whether nothing of the person is left in it but what is signed.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.step(FORGOTTEN).is_some()
    }

    /// Since when the person knows that it is done.
    pub(crate) fn told_at(&self) -> Option<Timestamp> {
        self.step(TOLD).map(|step| Timestamp::from_micros(step.at))
    }
}

impl App {
    pub(crate) fn start_erasures(&self) {
        for part in [Part::Stores, Part::Papers] {
            let app = self.clone();
            self.0.tasks.spawn(async move { app.keep_erasing(part).await });
        }
    }

    async fn keep_erasing(&self, part: Part) {
        let woken = match part {
            Part::Stores => &self.0.erasures.begun,
            Part::Papers => &self.0.erasures.told,
        };
        loop {
            let is_open = match self.advance_erasures(part).await {
                Ok(open) => open > 0,
                Err(error) => {
                    tracing::warn!(%error, "erasures wait");
                    true
                }
            };
            let next = async {
                if is_open {
                    tokio::time::sleep(TICK).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = woken.notified() => {}
                () = next => {}
            }
        }
    }

    /// Brings every erasure as far as it gets in a part; answers how many are not over with it. One
    /// that fails holds no other.
    async fn advance_erasures(&self, part: Part) -> Result<usize> {
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        let carried = tx.cases_carried().await?;
        drop(tx);
        let mut left = 0;
        for (tenant, id) in carried {
            let moved = loop {
                match self.erasure_step_of(part, (tenant, id)).await {
                    Ok(Moved::On) if !self.0.stop.is_cancelled() => {}
                    other => break other,
                }
            };
            // Somebody else may have written into it just then.
            let moved = match moved {
                Err(error) if !error.is_withheld() => {
                    self.erasure_step_of(part, (tenant, id)).await
                }
                other => other,
            };
            left += usize::from(!matches!(moved, Ok(Moved::Over)));
            match moved {
                // Its key comes back, or nothing of the tenant is read any more.
                Err(error) if error.is_withheld() => {
                    tracing::debug!(%tenant, %id, %error, "an erasure waits");
                }
                Err(error) => self.note_wait((tenant, id), &error).await,
                Ok(_) => {}
            }
        }
        Ok(left)
    }

    /// The next step, if it is one of a part; what is of the other part is over here.
    async fn erasure_step_of(&self, part: Part, (tenant, id): (TenantId, CaseId)) -> Result<Moved> {
        let tx = self.0.store.read(&self.job_in(jobs::RETENTION, tenant)).await?;
        let is_forgotten = Case::read(tx.case(id).await?)?.is_forgotten();
        drop(tx);
        if is_forgotten != (part == Part::Papers) {
            return Ok(Moved::Over);
        }
        self.erasure_step(tenant, id).await
    }

    /// What an erasure waits for, for officers to see: once, until it moves on.
    async fn note_wait(&self, (tenant, id): (TenantId, CaseId), why: &Error) {
        let noted = async {
            let context = self.job_in(jobs::RETENTION, tenant);
            let tx = self.0.store.begin(&context).await?;
            let mut case = Case::read(tx.case(id).await?)?;
            if case.body.events.last().is_some_and(|last| last.kind == WAITS) {
                return Ok(());
            }
            case.note(context.at, WAITS, (None, Some(why.to_string())))?;
            self.save_case(&tx, &mut case, context.at).await?;
            tracing::warn!(%tenant, %id, %why, "an erasure waits");
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = noted.await {
            tracing::warn!(%tenant, %id, %why, %error, "an erasure waits");
        }
    }

    /// The next step of an erasure.
    #[boxed]
    pub(crate) async fn erasure_step(&self, tenant: TenantId, id: CaseId) -> Result<Moved> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let tx = self.0.store.read(&context).await?;
        let case = Case::read(tx.case(id).await?)?;
        drop(tx);
        if case.row.state != CaseState::CarryingOut {
            return Ok(Moved::Over);
        }
        if case.step(COUNTED).is_none() {
            let met = self.count_rows(&context, &self.whom(tenant, &case)?).await?;
            return self.step_done(&context, id, (COUNTED, met)).await;
        }
        if let Some(store) = STORES.iter().find(|store| case.step(store.name).is_none()) {
            let met = if store.eraser == Eraser::Readings {
                self.erase_readings(&context, &case).await?
            } else {
                let whom = self.whom(tenant, &case)?;
                Some(self.erase_in(&context, (id, store), &whom).await?)
            };
            return match met {
                Some(met) => self.step_done(&context, id, (store.name, met)).await,
                None => Ok(Moved::Waits),
            };
        }
        if case.body.certificate.is_none() {
            return self.certify_erasure(&context, case).await;
        }
        if case.step(TOLD).is_none() {
            return self.tell_erased(&context, &case).await;
        }
        if case.step(FORGOTTEN).is_none() {
            return self.forget_erased(&context, &case).await;
        }
        self.close_erasure(&context, case).await
    }

    /// Writes down that a step is done.
    async fn step_done(
        &self,
        context: &OpContext,
        id: CaseId,
        (name, met): (&str, Met),
    ) -> Result<Moved> {
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        let at = context.at.as_micros();
        case.body.steps.push(StepDone { name: name.to_owned(), at, met });
        self.save_case(&tx, &mut case, context.at).await?;
        tx.commit().await?;
        Ok(Moved::On)
    }

    /// Tells the person what is gone and what stays, and why. They are at rest from then on.
    async fn tell_erased(&self, context: &OpContext, case: &Case) -> Result<Moved> {
        let letter = self.erasure_letter(context, case).await?;
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(case.row.id).await?)?;
        self.mail_subject(&tx, context, (&case, &letter)).await?;
        // A history that is full keeps nobody from being told.
        let _ = case.note(context.at, "answered", (None, None));
        // To be handed over where nobody could be written to.
        case.body.answer = Some(letter.text);
        let at = context.at.as_micros();
        case.body.steps.push(StepDone { name: TOLD.to_owned(), at, met: Vec::new() });
        self.save_case(&tx, &mut case, context.at).await?;
        tx.commit().await?;
        Ok(Moved::On)
    }

    /// When the last letter has left, or nobody takes it, the address goes as well, with the mails
    /// to it.
    async fn forget_erased(&self, context: &OpContext, case: &Case) -> Result<Moved> {
        let is_late = case.told_at().is_some_and(|at| context.at.since(at) > LETTER_WAITS);
        if let Some(email) = case.body.email.as_deref().filter(|_| !is_late)
            && self.has_mail_waiting(context, email).await?
        {
            return Ok(Moved::Waits);
        }
        let whom = self.whom(context.tenant, case)?;
        self.erase_mails(context, &whom).await?;
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(case.row.id).await?)?;
        case.end_account(context.at);
        case.forget();
        let at = context.at.as_micros();
        case.body.steps.push(StepDone { name: FORGOTTEN.to_owned(), at, met: Vec::new() });
        self.save_case(&tx, &mut case, context.at).await?;
        tx.commit().await?;
        self.0.erasures.told.notify_one();
        Ok(Moved::On)
    }

    async fn has_mail_waiting(&self, context: &OpContext, email: &str) -> Result<bool> {
        let tx = self.0.store.read(context).await?;
        let mut after = None;
        loop {
            let page = tx.outbox_written(after, MAILS_AT_ONCE).await?;
            let Some((last, ..)) = page.last() else { return Ok(false) };
            after = Some(*last);
            for (id, _, payload) in &page {
                let Ok(mail) = serde_json::from_slice::<MailPayload>(payload) else { continue };
                let is_theirs = mail.to.trim().eq_ignore_ascii_case(email.trim());
                if is_theirs && tx.outbox_waits(*id).await? {
                    return Ok(true);
                }
            }
        }
    }

    /// The leaf of the certificate, then the end. What is written where no backup reaches is the
    /// whole of it.
    async fn close_erasure(&self, context: &OpContext, mut case: Case) -> Result<Moved> {
        let Some(certificate) = &case.body.certificate else {
            return Err(Error::Internal("an erasure has no certificate".to_owned()));
        };
        let (tenant, digest) = (context.tenant, certificate.digest());
        let sealed = self.seal_evidence_of(tenant, digest, context.at).await?;
        let is_late = case.told_at().is_some_and(|at| context.at.since(at) > LEDGER_WAITS);
        if sealed.is_none() && !is_late {
            return Ok(Moved::Waits);
        }
        case.body.ledger_index = sealed;
        case.row.state = CaseState::Answered;
        self.journal_end(context, &case)?;
        let tx = self.0.store.begin(context).await?;
        self.save_case(&tx, &mut case, context.at).await?;
        let change = Change::to(json!({
            "right": case.row.kind.as_str(),
            "state": case.row.state.as_str(),
            "certificate_sha256": hex::encode(digest),
            "ledger_index": sealed,
        }));
        let about = resource(context, case.row.id);
        self.record_change(&tx, context, Action::RequestFulfil, &about, change).await?;
        tx.commit().await?;
        Ok(Moved::Over)
    }
}

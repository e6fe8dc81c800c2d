//! What happens to cases by itself: officers are reminded before a deadline and told when one was
//! missed, and who has not shown who they are in time is refused; from an address that nobody here
//! is known under sooner than from another.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, jobs};
use veritwin_domain::{CaseId, DAY_MICROS, OpContext, Role, TenantId, Timestamp};
use veritwin_metastore::{CaseSource, MailRank, Member, NewMail, TenantTx, every_row};

use super::body::Case;
use super::clock::Alarm;
use super::letter_words::Words;
use super::officer_words::News;
use super::resource;
use crate::alert_mail::waiting_max;
use crate::change::Change;
use crate::languages::{Worded, language_of, worded_for};
use crate::mail::{MailPayload, mail_key};
use crate::mail_bounds::{Places, Sender};
use crate::mail_kinds::MessageKind;
use crate::provision::is_nobodys;
use crate::{App, Error, Result};

const HOUR_MICROS: i64 = 3_600_000_000;
/// In nobody's tenant a mail is looked at by the check that brought it about, and removed long
/// before it could leave.
const CHECK_MAIL_WAITS: Duration = Duration::from_secs(30 * 86_400);
/// How long a case waits that cannot be looked after now.
const WAITS: Duration = Duration::from_secs(3_600);

/// The alarms of a case that are due and were not raised yet.
fn due(case: &Case, now: Timestamp) -> Vec<Alarm> {
    // Of an erasure that was told of only papers are left.
    if case.row.closed_at.is_some() || case.told_at().is_some() {
        return Vec::new();
    }
    case.clocks().alarms(&case.body.alarms, now)
}

impl App {
    /// Looks after every case that is due. One that cannot be read waits, and holds no other.
    pub(crate) async fn tend_cases(&self) {
        let found = async {
            let context = self.job(jobs::RETENTION);
            let tx = self.0.store.read_platform(&context).await?;
            Ok::<_, Error>(tx.cases_due(context.at).await?)
        };
        let found = match found.await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "requests of data subjects wait");
                return;
            }
        };
        for (tenant, id) in found {
            if let Err(error) = self.tend_case(tenant, id).await {
                tracing::warn!(%tenant, %id, %error, "a request of a data subject waits");
                let at = self.clock().now().saturating_add(WAITS);
                self.postpone_case(tenant, id, at).await;
            }
        }
    }

    async fn postpone_case(&self, tenant: TenantId, id: CaseId, at: Timestamp) {
        let later = async {
            let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
            tx.case_postpone(tenant, id, at).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = later.await {
            tracing::warn!(%tenant, %id, %error, "a request of a data subject was not postponed");
        }
    }

    /// Raises the alarms of a case that are due, each once and in a transaction of its own: one
    /// that cannot be raised now is tried again, and holds no other.
    #[boxed]
    pub(crate) async fn tend_case(&self, tenant: TenantId, id: CaseId) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let answered = self.answer_waiting(&context, id).await;
        if let Err(error) = &answered {
            tracing::warn!(%tenant, %id, %error, "a request of a data subject was not answered");
        }
        let tx = self.0.store.read(&context).await?;
        let alarms = due(&Case::read(tx.case(id).await?)?, context.at);
        drop(tx);
        let mut left = Vec::new();
        for alarm in &alarms {
            match self.raise_alarm(&context, id, *alarm).await {
                Ok(true) => {}
                Ok(false) => left.push(*alarm),
                Err(error) => {
                    let which = alarm.as_str();
                    tracing::warn!(%tenant, %id, which, %error, "an alarm of a request waits");
                    left.push(*alarm);
                }
            }
        }
        // Each that was raised has said when the next one is due.
        if answered.is_ok() && left.is_empty() && !alarms.is_empty() {
            return Ok(());
        }
        self.look_again(&context, id, &left, answered.is_err()).await
    }

    /// Looks at a case again when its next alarm is due, and before long if something could not be
    /// done now.
    #[boxed]
    async fn look_again(
        &self,
        context: &OpContext,
        id: CaseId,
        left: &[Alarm],
        is_unanswered: bool,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        if case.row.closed_at.is_some() {
            return Ok(());
        }
        if !is_unanswered && left.is_empty() {
            self.save_case(&tx, &mut case, context.at).await?;
            return Ok(tx.commit().await?);
        }
        drop(tx);
        // It only waits: there is nothing to write down, and nothing to seal.
        let mut raised = case.body.alarms.clone();
        raised.extend(left.iter().map(|alarm| alarm.as_str().to_owned()));
        let again = context.at.saturating_add(WAITS);
        // Those that are not due yet come when they are.
        let at = case.clocks().next(&raised).map_or(again, |next| next.min(again));
        self.postpone_case(context.tenant, id, at).await;
        Ok(())
    }

    /// Who could not be told before that their request came is told now, if a mail can leave by
    /// now.
    #[boxed]
    async fn answer_waiting(&self, context: &OpContext, id: CaseId) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        let waits = case.is_strangers()
            && case.row.source == CaseSource::Mail
            && case.row.closed_at.is_none()
            && !case.clocks().is_acknowledged;
        if !waits {
            return Ok(());
        }
        self.answer_mail(&tx, context, &mut case).await?;
        if case.clocks().is_acknowledged {
            self.save_case(&tx, &mut case, context.at).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Raises an alarm; says false where it has to wait.
    #[boxed]
    async fn raise_alarm(&self, context: &OpContext, id: CaseId, alarm: Alarm) -> Result<bool> {
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        // Somebody may have been here in the meantime.
        if !due(&case, context.at).contains(&alarm) {
            return Ok(true);
        }
        let is_strangers = case.is_strangers();
        let is_end = is_strangers && alarm == Alarm::NotVerified;
        let place = match case.body.email.as_deref().filter(|_| is_end) {
            Some(to) => match self.place_for_end(&tx, to, context.at).await? {
                Some(place) => Some(place),
                // It ends with a letter, once one can be mailed.
                None => return Ok(false),
            },
            None => None,
        };
        let name = alarm.as_str();
        case.body.alarms.push(name.to_owned());
        case.note(context.at, name, (None, None))?;
        if alarm == Alarm::NotVerified {
            self.end_unproven(&tx, context, &mut case).await?;
        }
        let change = Change::to(serde_json::json!({"alarm": name}));
        let about = resource(context, id);
        self.record_change(&tx, context, Action::RequestWrite, &about, change).await?;
        self.save_case(&tx, &mut case, context.at).await?;
        let mails = News::of(alarm).mails(&case, context.at);
        // An alarm of a deadline that has moved is another one.
        let by = case.row.answer_by.as_micros();
        let event = if is_strangers {
            // Of what anybody can make up, one mail a day of each alarm.
            format!("cases of strangers {name} {}", context.at.as_micros() / DAY_MICROS)
        } else {
            format!("case {id} {name} {by}")
        };
        self.mail_officers(&tx, MailRank::Account, &mails, &event).await?;
        tx.commit().await?;
        if let Some(place) = place {
            place.keep();
        }
        Ok(true)
    }

    /// A place for the letter by which a stranger's request ends: none while an address that
    /// anybody may have written has had its mails of the day, or too much mail waits.
    async fn place_for_end(
        &self,
        tx: &TenantTx,
        to: &str,
        now: Timestamp,
    ) -> Result<Option<Places<'_>>> {
        let is_full =
            self.0.mailer.is_some() && tx.outbox_waiting().await? >= waiting_max(MailRank::Notice);
        Ok(self.mail_place(Sender::Tenant(tx.tenant_id()), to, now).ok().filter(|_| !is_full))
    }

    /// Refuses who has not shown who they are: somebody who was asked and could answer, or of whom
    /// nobody here is known.
    async fn end_unproven(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        case: &mut Case,
    ) -> Result<()> {
        let text = match case.lapses_at() {
            Some(_) => Words::of(case.language()).lapsed,
            None if case.body.code.is_some() => "",
            None => return Ok(()),
        };
        let why = (("not_verified", text), None);
        self.refuse_case(tx, context, case, why).await.map(drop)
    }

    /// Tells officers that a request came.
    pub(super) async fn tell_officers_of(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        case: &Case,
    ) -> Result<()> {
        if is_nobodys(context.tenant) {
            return Ok(());
        }
        // Of what anybody can send, one mail an hour.
        let event = match case.row.source {
            CaseSource::Form => format!("cases by form {}", context.at.as_micros() / HOUR_MICROS),
            CaseSource::Mail => format!("cases by mail {}", context.at.as_micros() / HOUR_MICROS),
            _ => format!("case {} received", case.row.id),
        };
        let mails = News::Received.mails(case, context.at);
        self.mail_officers(tx, MailRank::Notice, &mails, &event).await
    }

    /// Queues a mail to the privacy officers of a tenant, or to who answers for one without any;
    /// once per event.
    pub(super) async fn mail_officers(
        &self,
        tx: &TenantTx,
        rank: MailRank,
        mails: &[Worded],
        event: &str,
    ) -> Result<()> {
        let is_check = is_nobodys(tx.tenant_id());
        if self.0.mailer.is_none() && !is_check {
            return Ok(());
        }
        let next_at = is_check.then(|| self.clock().now().saturating_add(CHECK_MAIL_WAITS));
        let is_notice = matches!(rank, MailRank::Notice);
        if is_notice && tx.outbox_waiting().await? >= waiting_max(rank) {
            return Ok(());
        }
        let members = every_row(|page| async move { tx.members(&page).await }).await?;
        let with = |roles: &[Role]| -> Vec<&Member> {
            let holds = |one: &&Member| one.roles.iter().any(|role| roles.contains(role));
            members.iter().filter(holds).collect()
        };
        let officers = with(&[Role::PrivacyOfficer]);
        let to = if officers.is_empty() && !is_check {
            with(&[Role::Owner, Role::Administrator])
        } else {
            officers
        };
        for member in to {
            let language = language_of(tx, Some(member.user.id)).await?;
            let (subject, text) = worded_for(mails, language);
            let key = mail_key(event, &member.user.email);
            let mail = MailPayload {
                to: member.user.email.clone(),
                subject: subject.to_owned(),
                text: text.to_owned(),
                ..MailPayload::of(MessageKind::RightsCase)
            };
            let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
            tx.outbox_add(NewMail { next_at, ..NewMail::new(rank, &key, &body) }).await?;
        }
        Ok(())
    }
}

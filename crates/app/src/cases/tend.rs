//! What happens to cases by itself: officers are reminded before a deadline and told when one was
//! missed, and who has not shown who they are in time is refused.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, jobs};
use veritwin_domain::{CaseId, OpContext, Role, TenantId};
use veritwin_metastore::{CaseSource, MailRank, Member, NewMail, TenantTx, every_row};

use super::body::Case;
use super::clock::Alarm;
use super::officer_words::News;
use super::resource;
use crate::alert_mail::waiting_max;
use crate::change::Change;
use crate::languages::{Worded, language_of, worded_for};
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::provision::is_nobodys;
use crate::{App, Error, Result};

const HOUR_MICROS: i64 = 3_600_000_000;

impl App {
    /// Looks after every case that is due. One that cannot be read waits, and holds no other.
    pub(crate) async fn tend_cases(&self) {
        let due = async {
            let context = self.job(jobs::RETENTION);
            let tx = self.0.store.read_platform(&context).await?;
            Ok::<_, Error>(tx.cases_due(context.at).await?)
        };
        let due = match due.await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "requests of data subjects wait");
                return;
            }
        };
        for (tenant, id) in due {
            if let Err(error) = self.tend_case(tenant, id).await {
                tracing::warn!(%tenant, %id, %error, "a request of a data subject waits");
                self.postpone_case(tenant, id).await;
            }
        }
    }

    async fn postpone_case(&self, tenant: TenantId, id: CaseId) {
        let later = async {
            let context = self.job(jobs::RETENTION);
            let at = context.at.saturating_add(std::time::Duration::from_secs(3600));
            let tx = self.0.store.begin_platform(&context).await?;
            tx.case_postpone(tenant, id, at).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = later.await {
            tracing::warn!(%tenant, %id, %error, "a request of a data subject was not postponed");
        }
    }

    /// Raises the alarms of a case that are due, each once.
    #[boxed]
    pub(crate) async fn tend_case(&self, tenant: TenantId, id: CaseId) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let tx = self.0.store.begin(&context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        if case.row.closed_at.is_some() {
            return Ok(());
        }
        let alarms = match case.told_at() {
            // Of an erasure only papers are left.
            Some(_) => Vec::new(),
            None => case.clocks().alarms(&case.body.alarms, context.at),
        };
        #[cfg(feature = "test-controls")]
        let alarms = if self.0.promises.forgets_clocks() { Vec::new() } else { alarms };
        let mut told = Vec::new();
        for alarm in alarms {
            case.body.alarms.push(alarm.as_str().to_owned());
            case.note(context.at, alarm.as_str(), (None, None))?;
            // Only somebody who was asked, and could answer, has not shown who they are.
            if alarm == Alarm::NotVerified && case.body.code.is_some() {
                let why = ("not_verified", "");
                self.refuse_case(&tx, &context, &mut case, (why, None)).await?;
            }
            told.push(alarm);
            let change = Change::to(serde_json::json!({"alarm": alarm.as_str()}));
            let about = resource(&context, id);
            self.record_change(&tx, &context, Action::RequestWrite, &about, change).await?;
        }
        self.save_case(&tx, &mut case, context.at).await?;
        for alarm in told {
            let mails = News::of(alarm).mails(&case, context.at);
            // An alarm of a deadline that has moved is another one.
            let by = case.row.answer_by.as_micros();
            let event = format!("case {id} {} {by}", alarm.as_str());
            self.mail_officers(&tx, MailRank::Account, &mails, &event).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Tells officers that a request came.
    pub(super) async fn tell_officers_of(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        case: &Case,
    ) -> Result<()> {
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
    async fn mail_officers(
        &self,
        tx: &TenantTx,
        rank: MailRank,
        mails: &[Worded],
        event: &str,
    ) -> Result<()> {
        if self.0.mailer.is_none() || is_nobodys(tx.tenant_id()) {
            return Ok(());
        }
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
        let to =
            if officers.is_empty() { with(&[Role::Owner, Role::Administrator]) } else { officers };
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
            tx.outbox_add(NewMail::new(rank, &key, &body)).await?;
        }
        Ok(())
    }
}

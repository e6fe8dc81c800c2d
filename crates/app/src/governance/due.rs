//! What of the workspace is due: reviews, acceptances, tasks, certificates, evidence, notices and
//! the alarms of breaches. Whatever comes due is written into its history, and those who answer for
//! the organisation are told; a crash in between tells them again, once.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{GovernanceId, OpContext, Role, TenantId};
use veritwin_governance::Language;
use veritwin_metastore::{GovernanceKind, MailRank, Member, NewMail, TenantTx, every_row};

use super::due_words::Due;
use crate::alert_mail::waiting_max;
use crate::job_board::JobWatch;
use crate::languages::{Worded, chosen_language, language_of, worded_for};
use crate::mail::{MailPayload, mail_key};
use crate::mail_bounds::{Places, Sender};
use crate::mail_kinds::MessageKind;
use crate::provision::is_nobodys;
use crate::{App, Error, Result};

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often it is looked for breaches whose next alarm is not stored.
const TIMELESS_INTERVAL: Duration = Duration::from_secs(3_600);
/// Things that are read at once.
const DUE_MAX: u64 = 200;
/// Most times that a round reads; more wait for the next round.
const PAGES_MAX: usize = 500;
/// Who is told.
const ANSWERING: [Role; 4] =
    [Role::Owner, Role::Administrator, Role::PrivacyOfficer, Role::SecurityLead];
/// Mails that are queued in one transaction.
const QUEUED_AT_ONCE: usize = 200;

/// Who of an organisation is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Those who answer for it.
    Answering,
    /// Everybody who belongs to it.
    Everybody,
}

impl App {
    /// Tells of what is due, as long as the platform runs.
    pub(crate) async fn keep_governance(&self, watch: &JobWatch) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked_at: Option<Duration> = None;
        while self.next_round(&mut interval).await {
            let now = self.clock().monotonic();
            if looked_at.is_none_or(|at| now.saturating_sub(at) >= TIMELESS_INTERVAL) {
                match self.await_breaches().await {
                    Ok(()) => looked_at = Some(now),
                    Err(error) => tracing::warn!(%error, "breaches wait for their alarms"),
                }
            }
            match self.tell_what_is_due().await {
                Ok(()) => watch.turned(),
                Err(error) => tracing::warn!(%error, "what is due was not looked for"),
            }
        }
    }

    /// Tells of everything that is due by now; a thing that cannot be told of holds no other.
    #[boxed]
    pub(crate) async fn tell_what_is_due(&self) -> Result<()> {
        let context = self.job(jobs::GOVERNANCE);
        let mut behind = None;
        for _ in 0..PAGES_MAX {
            let tx = self.0.store.read_platform(&context).await?;
            let due = tx.governance_due(context.at, behind.as_ref(), DUE_MAX).await?;
            drop(tx);
            for one in &due {
                let tenant = one.tenant;
                match self.tell_one(tenant, one.id).await {
                    // A tenant whose keys are denied is told when they are not.
                    Ok(()) => {}
                    Err(error) if error.is_withheld() => {}
                    Err(error) => {
                        tracing::warn!(%tenant, %error, "something due was not told of");
                    }
                }
            }
            behind = due.last().copied();
            if behind.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// One thing that is due.
    pub(crate) async fn tell_one(&self, tenant: TenantId, id: GovernanceId) -> Result<()> {
        let context = self.job_in(jobs::GOVERNANCE, tenant);
        let tx = self.0.store.read(&context).await?;
        let Some(known) = crate::error::found(tx.governance_any(id).await)? else {
            return Ok(());
        };
        drop(tx);
        if known.due_at.is_none_or(|at| at > context.at) {
            return Ok(());
        }
        match known.kind {
            GovernanceKind::Evidence => return self.evidence_is_due(&context, id).await,
            GovernanceKind::Notice => return self.notice_is_due(&context, id).await,
            _ => {}
        }
        let tx = self.0.store.begin(&context).await?;
        // Somebody may have been here in the meantime.
        if tx.governance_any(id).await?.due_at.is_none_or(|at| at > context.at) {
            return Ok(());
        }
        if let Some(due) = self.comes_due(&tx, &context, known.kind, id).await? {
            self.queue_due(&tx, due, &event(id, known.version)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Queues a mail to those who answer for a tenant, in the transaction of what it tells of.
    /// Where as many mails wait as may, what stands in the workspace has to do; an alarm of a
    /// breach is queued even then.
    pub(super) async fn queue_due(&self, tx: &TenantTx, due: Due, event: &str) -> Result<()> {
        let kind = if due.is_breach() { MessageKind::Breach } else { MessageKind::Policy };
        let is_full = tx.outbox_waiting().await? >= waiting_max(MailRank::Account);
        if is_full && !due.is_breach() {
            tracing::warn!(tenant = %tx.tenant_id(), "too many mails wait to tell of what is due");
            return Ok(());
        }
        for member in self.who_is_told(tx, Told::Answering).await? {
            let language = language_of(tx, Some(member.user.id)).await?;
            let (subject, text) = due.mail(language);
            queue(tx, &member, kind, (&subject, text), event).await?;
        }
        Ok(())
    }

    async fn comes_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        kind: GovernanceKind,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        match kind {
            GovernanceKind::Policy => self.policy_is_due(tx, context, id).await,
            GovernanceKind::Risk => self.risk_is_due(tx, context, id).await,
            GovernanceKind::Task => self.task_is_due(tx, context, id).await,
            GovernanceKind::Certificate => self.certificate_is_due(tx, context, id).await,
            GovernanceKind::Breach => self.breach_is_due(tx, context, id).await,
            GovernanceKind::Framework
            | GovernanceKind::Control
            | GovernanceKind::Evidence
            | GovernanceKind::Notice => Ok(None),
        }
    }

    /// Who is told something in a tenant, if anybody is written to.
    pub(crate) async fn who_is_told(&self, tx: &TenantTx, told: Told) -> Result<Vec<Member>> {
        if self.0.mailer.is_none() || is_nobodys(tx.tenant_id()) {
            return Ok(Vec::new());
        }
        let mut members = every_row(|page| async move { tx.members(&page).await }).await?;
        let answers = |member: &Member| member.roles.iter().any(|role| ANSWERING.contains(role));
        members.retain(|member| told == Told::Everybody || answers(member));
        // An address that nobody confirmed may be a stranger's: it gets few mails a day.
        let (sender, now) = (Sender::Tenant(tx.tenant_id()), self.clock().now());
        members.retain(|member| {
            let place = || self.mail_place(sender, &member.user.email, now).map(Places::keep);
            member.user.email_verified_at.is_some() || place().is_ok()
        });
        Ok(members)
    }

    /// Queues a mail to people of a tenant, each in their language as far as it is there, else in
    /// the first, once per event, and says how many they are. It is sealed under the platform's key
    /// and speaks in the tenant's name, as what reaches people whose key is away.
    pub(super) async fn tell_tenant(
        &self,
        (tenant, told): (TenantId, Told),
        kind: MessageKind,
        mails: &[Worded],
        event: &str,
    ) -> Result<usize> {
        let tx = self.0.store.read(&self.job_in(jobs::GOVERNANCE, tenant)).await?;
        let members = self.who_is_told(&tx, told).await?;
        drop(tx);
        // Those who answer hear of it before everybody does.
        let rank = match told {
            Told::Answering => MailRank::Account,
            Told::Everybody => MailRank::Bulk,
        };
        let first = mails.first().map_or(Language::English, |(language, ..)| *language);
        for some in members.chunks(QUEUED_AT_ONCE) {
            let tx = self.0.store.begin_platform(&self.job(jobs::GOVERNANCE)).await?;
            for member in some {
                let language = chosen_language(&tx, member.user.id).await?.unwrap_or(first);
                let (subject, text) = worded_for(mails, language);
                let key = mail_key(event, &member.user.email);
                let mail = MailPayload {
                    to: member.user.email.clone(),
                    subject: subject.to_owned(),
                    text: text.to_owned(),
                    voice: Some(tenant),
                    ..MailPayload::of(kind)
                };
                let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
                tx.outbox_add(NewMail::new(rank, &key, &body), Some(tenant)).await?;
            }
            tx.commit().await?;
        }
        Ok(members.len())
    }
}

/// What is told once: a thing as it was of one version.
pub(super) fn event(id: GovernanceId, version: u64) -> String {
    format!("governance {id} {version}")
}

async fn queue(
    tx: &TenantTx,
    member: &Member,
    kind: MessageKind,
    (subject, text): (&str, &str),
    event: &str,
) -> Result<()> {
    let mail = MailPayload {
        to: member.user.email.clone(),
        subject: subject.to_owned(),
        text: text.to_owned(),
        ..MailPayload::of(kind)
    };
    let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
    let key = mail_key(event, &member.user.email);
    tx.outbox_add(NewMail::new(MailRank::Account, &key, &body)).await?;
    Ok(())
}

//! Checkpoints mailed to auditors: to people of the tenant with the role, or to a registered
//! destination of mail, and nobody whose address is not confirmed. A mail and what is remembered
//! of it are one transaction; what is lost on the way does not break the chain, for each mail
//! proves that it extends several before it.

use std::collections::BTreeSet;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{MailingId, OpContext, TenantId, Timestamp, UserId};
use veritwin_metastore::{LedgerMailing, MailRank, NewMail, TenantTx};

use crate::alert_mail::waiting_max;
use crate::change::Change;
use crate::ledger_mail_files::{Past, Written, keep_ended};
use crate::ledger_mail_to::{Recipient, To, check_recipient, recipients};
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::model::{MailingEvery, MailingInput, MailingTo, MailingView};
use crate::tree::over;
use crate::{App, Error, Result};

/// Most mailings of a tenant.
const LEDGER_MAILINGS_MAX: u64 = 20;
/// Most entries whose proofs go with each mail.
const LEDGER_MAIL_PROOFS_MAX: usize = 20;
/// Checkpoints of earlier mails that a mail proves to extend.
const LEDGER_MAIL_PAST: usize = 8;
/// Between two mails that somebody asks for.
const ON_DEMAND_EVERY: Duration = Duration::from_secs(60);
/// What could not be written is tried again after this long.
const LATER: Duration = Duration::from_secs(600);
/// Mails that are written in one round.
const DUE_AT_ONCE: u64 = 50;
const INTERVAL: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);

/// What is kept of a mailing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    to: To,
    every: String,
    entries: Vec<u64>,
    /// The number of the last mail; 0 before the first.
    number: u64,
    last_at_us: Option<i64>,
    /// The checkpoints of the last mails, the newest first.
    past: Vec<Past>,
    waits: Option<Waits>,
}

/// Why the last mail was not written.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Waits {
    NoRecipient,
    NoServer,
    NoArchive,
    /// It would leave the organisation, and no entry in force of the register of flows lets it.
    NoFlow,
    /// The log does not extend what was mailed before.
    NotExtended,
}

impl Waits {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoRecipient => "no_recipient",
            Self::NoServer => "no_server",
            Self::NoArchive => "no_archive",
            Self::NoFlow => "no_flow",
            Self::NotExtended => "not_extended",
        }
    }
}

impl Body {
    fn read(row: &LedgerMailing) -> Result<Self> {
        let damaged = |_| Error::Internal("a mailing is damaged".to_owned());
        serde_json::from_slice(&row.body).map_err(damaged)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    fn every(&self) -> MailingEvery {
        MailingEvery::parse(&self.every).unwrap_or(MailingEvery::Never)
    }

    /// When the one after `at` is due.
    fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        match self.every() {
            MailingEvery::Day => Some(at.saturating_add(DAY)),
            MailingEvery::Week => Some(at.saturating_add(DAY * 7)),
            MailingEvery::Never => None,
        }
    }

    fn to(&self) -> MailingTo {
        match self.to {
            To::User(user) => MailingTo::Auditor(user),
            To::Destination(id) => MailingTo::Destination(id),
        }
    }

    /// As a change of it is recorded: ids only.
    fn recorded(&self) -> Value {
        json!({"to": self.to, "every": self.every, "entries": self.entries})
    }
}

fn view(row: &LedgerMailing) -> Result<MailingView> {
    let body = Body::read(row)?;
    Ok(MailingView {
        id: row.id,
        to: body.to(),
        every: body.every(),
        mails: body.number,
        last_at: body.last_at_us.map(Timestamp::from_micros),
        tree_size: body.past.first().map(|past| past.tree_size),
        next_at: row.next_at,
        waits: body.waits.map(Waits::as_str),
        created_at: row.created_at,
        entries: body.entries,
    })
}

/// A mailing to nobody, for checks that ask for others' things.
pub(crate) fn to_nobody(id: MailingId, at: Timestamp) -> Result<LedgerMailing> {
    let body = Body {
        to: To::User(UserId::from_bytes([0; 16])),
        every: MailingEvery::Never.as_str().to_owned(),
        entries: Vec::new(),
        number: 0,
        last_at_us: None,
        past: Vec::new(),
        waits: None,
    };
    let body = body.bytes()?;
    Ok(LedgerMailing { id, body, next_at: None, version: 1, created_at: at, updated_at: at })
}

fn resource(context: &OpContext, id: MailingId) -> Resource {
    Resource::one(context.tenant, Kind::Ledger, id.as_bytes())
}

impl App {
    /// Writes the mails that are due.
    pub(crate) async fn keep_ledger_mail(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.write_due_ledger_mails().await {
                tracing::warn!(%error, "mails of checkpoints wait; trying again");
            }
        }
    }

    /// The tenant's mailings, the oldest first.
    #[boxed]
    pub async fn ledger_mailings(&self, context: &OpContext) -> Result<Vec<MailingView>> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let tx = self.0.store.read(context).await?;
        let rows = tx.ledger_mailings().await?;
        self.note(context, Action::LedgerRead, &resource, "done");
        rows.iter().map(view).collect()
    }

    /// Makes a mailing; the first mail of a daily or weekly one is written at once.
    #[boxed]
    pub async fn create_ledger_mailing(
        &self,
        context: &OpContext,
        input: MailingInput,
    ) -> Result<MailingView> {
        self.authorize_all(context, Action::LedgerMail, Kind::Ledger)?;
        if input.entries.len() > LEDGER_MAIL_PROOFS_MAX {
            let max = LEDGER_MAIL_PROOFS_MAX as u64;
            return Err(over("ledger_mail_proofs_max", max, input.entries.len() as u64));
        }
        let every = MailingEvery::parse(&input.every)
            .ok_or_else(|| Error::invalid_at("every", "expected day, week or never"))?;
        let to = match input.to {
            Some(MailingTo::Auditor(user)) => To::User(user),
            Some(MailingTo::Destination(id)) => To::Destination(id),
            None => {
                let detail = "name either an auditor or a registered destination of mail";
                return Err(Error::invalid_at("user_id", detail));
            }
        };
        let body = Body {
            to,
            every: every.as_str().to_owned(),
            // Each once: a mail's files have names of their own.
            entries: input.entries.into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
            number: 0,
            last_at_us: None,
            past: Vec::new(),
            waits: None,
        };
        let row = LedgerMailing {
            id: MailingId::generate(context.at, self.rng()),
            body: body.bytes()?,
            next_at: (every != MailingEvery::Never).then_some(context.at),
            version: 1,
            created_at: context.at,
            updated_at: context.at,
        };
        let _turn = self.0.ledger.mailings.lock().await;
        let tx = self.0.store.begin(context).await?;
        check_recipient(&tx, body.to).await?;
        let count = tx.ledger_mailing_count().await?;
        if count >= LEDGER_MAILINGS_MAX {
            return Err(over("ledger_mailings_max", LEDGER_MAILINGS_MAX, count + 1));
        }
        tx.ledger_mailing_create(&row).await?;
        let place = resource(context, row.id);
        let change = Change::to(body.recorded());
        self.record_change(&tx, context, Action::LedgerMail, &place, change).await?;
        tx.commit().await?;
        view(&row)
    }

    /// Ends a mailing. The others go on to prove that they extend its last mail.
    #[boxed]
    pub async fn delete_ledger_mailing(&self, context: &OpContext, id: MailingId) -> Result<()> {
        self.authorize_all(context, Action::LedgerMail, Kind::Ledger)?;
        // No mail of it is written between what is read here and its end.
        let _turn = self.0.ledger.mailings.lock().await;
        let tx = self.0.store.begin(context).await?;
        let row = tx.ledger_mailing(id).await?;
        let body = Body::read(&row)?;
        keep_ended(&tx, id, &body.past).await?;
        tx.ledger_mailing_delete(id).await?;
        let change = Change::from(body.recorded());
        let place = resource(context, id);
        self.record_change(&tx, context, Action::LedgerMail, &place, change).await?;
        Ok(tx.commit().await?)
    }

    /// Writes a mail now.
    #[boxed]
    pub async fn send_ledger_mail(
        &self,
        context: &OpContext,
        id: MailingId,
    ) -> Result<MailingView> {
        self.authorize_all(context, Action::LedgerMail, Kind::Ledger)?;
        let tx = self.0.store.read(context).await?;
        let row = tx.ledger_mailing(id).await?;
        drop(tx);
        let last = Body::read(&row)?.last_at_us.map(Timestamp::from_micros);
        if last.is_some_and(|last| context.at.since(last) < ON_DEMAND_EVERY) {
            let problem = "a mail of this mailing was written less than a minute ago";
            return Err(Error::Conflict(problem.to_owned()));
        }
        if let Some(waits) = self.write_ledger_mail(context, row).await? {
            let problem = match waits {
                Waits::NoRecipient => "nobody of this mailing has a confirmed address any more",
                Waits::NoServer => "no mail server is configured (smtp.url)",
                Waits::NoArchive => "the ledger archive does not answer",
                Waits::NoFlow => {
                    "the register of flows has no entry in force for where this mail would go"
                }
                Waits::NotExtended => "the ledger does not extend what was mailed before",
            };
            return Err(Error::Conflict(problem.to_owned()));
        }
        let tx = self.0.store.read(context).await?;
        view(&tx.ledger_mailing(id).await?)
    }

    /// Writes the mails that are due. What fails for one tenant is put off and does not hold the
    /// others.
    pub(crate) async fn write_due_ledger_mails(&self) -> Result<()> {
        let context = self.job(jobs::MAIL);
        let tx = self.0.store.read_platform(&context).await?;
        let due = tx.ledger_mailings_due(context.at, DUE_AT_ONCE).await?;
        drop(tx);
        for (tenant, id) in due {
            if let Err(error) = self.write_due_ledger_mail(tenant, id).await {
                tracing::warn!(%tenant, %error, "a mail of a checkpoint waits");
                let tx = self.0.store.begin_platform(&context).await?;
                tx.ledger_mailing_later(tenant, id, context.at.saturating_add(LATER)).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    async fn write_due_ledger_mail(&self, tenant: TenantId, id: MailingId) -> Result<()> {
        let context = self.job_in(jobs::MAIL, tenant);
        let tx = self.0.store.read(&context).await?;
        let row = tx.ledger_mailing(id).await?;
        drop(tx);
        self.write_ledger_mail(&context, row).await.map(drop)
    }

    /// Writes one mail; answers why none was written, which is noted on the mailing.
    async fn write_ledger_mail(
        &self,
        context: &OpContext,
        row: LedgerMailing,
    ) -> Result<Option<Waits>> {
        let mut body = Body::read(&row)?;
        let tx = self.0.store.read(context).await?;
        let whom = recipients(&tx, body.to).await?;
        drop(tx);
        let is_anybody = !whom.is_empty();
        let whom = self.let_out(context.tenant, whom);
        let written = if !is_anybody {
            Err(Waits::NoRecipient)
        } else if whom.is_empty() {
            Err(Waits::NoFlow)
        } else if self.0.mailer.is_none() {
            Err(Waits::NoServer)
        } else {
            match self.ledger_mail_files(context, (row.id, body.number + 1), &body).await {
                Err(Error::Unavailable(_)) => Err(Waits::NoArchive),
                Err(Error::Conflict(problem)) => {
                    tracing::error!(tenant = %context.tenant, %problem, "the ledger was changed");
                    Err(Waits::NotExtended)
                }
                other => Ok(other?),
            }
        };
        // The rhythm stays where it was; what was missed meanwhile is not made up for.
        let next = match row.next_at {
            Some(due) if due > context.at => Some(due),
            due => due
                .and_then(|due| body.next_after(due))
                .filter(|next| *next > context.at)
                .or_else(|| body.next_after(context.at)),
        };
        let (waits, next_at) = match &written {
            Err(Waits::NoArchive) => {
                let later = context.at.saturating_add(LATER);
                (Some(Waits::NoArchive), row.next_at.map(|_| later))
            }
            Err(waits) => (Some(*waits), next),
            Ok(_) => (None, next),
        };
        // Each try of many that end alike is not a record of its own.
        let before = body.waits.map(Waits::as_str);
        let is_news = waits.is_none() || before != waits.map(Waits::as_str);
        body.waits = waits;
        let _turn = self.0.ledger.mailings.lock().await;
        let tx = self.0.store.begin(context).await?;
        if let Ok(written) = &written {
            body.number += 1;
            body.last_at_us = Some(context.at.as_micros());
            body.past.insert(0, written.past.clone());
            body.past.truncate(LEDGER_MAIL_PAST);
            queue(&tx, (row.id, body.number), &whom, written).await?;
        }
        let moved = LedgerMailing { body: body.bytes()?, next_at, ..row };
        tx.ledger_mailing_update(&moved).await?;
        if is_news {
            let what = json!({"mail": body.number, "waits": waits.map(Waits::as_str)});
            let place = resource(context, moved.id);
            let change = Change::to(what);
            self.record_change(&tx, context, Action::LedgerMail, &place, change).await?;
        }
        tx.commit().await?;
        Ok(waits)
    }

    async fn ledger_mail_files(
        &self,
        context: &OpContext,
        (id, number): (MailingId, u64),
        body: &Body,
    ) -> Result<Written> {
        let (log, _) = self.log_of(context).await?;
        if matches!(self.summary_of(log).await, Err(Error::NotFound(_))) {
            // Somebody else opens it at this moment: not what a log that was changed is.
            match self.open_log(context.tenant).await {
                Err(Error::Conflict(problem)) => return Err(Error::Unavailable(problem)),
                other => other?,
            };
        }
        let source = self.archive()?.source(log);
        let summary = self.summary_of(log).await?;
        let stamped = self.newest_stamped(context).await?;
        let before = self.mailed_before(context, (id, &body.past)).await?;
        let (entries, at) = (body.entries.clone(), context.at);
        tokio::task::spawn_blocking(move || {
            let log = (&summary, stamped);
            crate::ledger_mail_files::write(&source, log, (id, number, at), &before, &entries)
        })
        .await
        .map_err(|_| Error::Internal("writing a mail stopped".to_owned()))?
    }
}

async fn queue(
    tx: &TenantTx,
    (id, number): (MailingId, u64),
    whom: &[Recipient],
    written: &Written,
) -> Result<()> {
    let waiting = tx.outbox_waiting().await?;
    if waiting >= waiting_max(MailRank::Notice) {
        return Err(over("mails_waiting_max", waiting_max(MailRank::Notice), waiting + 1));
    }
    for Recipient { email, is_outside } in whom {
        let payload = MailPayload {
            to: email.clone(),
            is_outside: *is_outside,
            subject: written.subject.clone(),
            text: written.text.clone(),
            files: written.files.clone(),
            ..MailPayload::of(MessageKind::Ledger)
        };
        let payload = serde_json::to_vec(&payload).map_err(|e| Error::Internal(e.to_string()))?;
        let key = mail_key(&format!("ledger mailing {id} {number}"), email);
        tx.outbox_add(NewMail::new(MailRank::Notice, &key, &payload)).await?;
    }
    Ok(())
}

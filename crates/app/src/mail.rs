//! Sends queued mail: by turns of the tenants, several at once, and notes on an alert whom its
//! mail reached and whom it did not. Logs and notes never hold a whole address.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use veritwin_access::jobs;
use veritwin_domain::{AlertId, Secret, TenantId, Timestamp};
use veritwin_metastore::{AlertEvent, AlertEventKind, MailTurns, OutboxEntry, SentMail, TenantTx};
use veritwin_outbound::mail::{DELIVERIES_MAX, Mail, MailError, MailFile, Trouble};
use veritwin_verify::{LEDGER_MAIL_FILE, LedgerMail};

use crate::alert_mail::ALERT_MAIL_AGE_MAX;
use crate::error::found;
use crate::job_board::JobWatch;
use crate::mail_keys::{Post, Signer};
#[cfg(feature = "test-controls")]
use crate::mail_kinds::MessageKind;
pub(crate) use crate::mail_payload::{AttachedFile, MailPayload};
use crate::model::AlertEventView;
use crate::route_mail::without_messages;
use crate::sent_mails::{Handed, sealed};
use crate::{App, Error, Result};

const INTERVAL: Duration = Duration::from_secs(2);
/// Longer than any delivery takes, so that nothing is sent twice at once.
const CLAIM: Duration = Duration::from_secs(300);
/// Wait before a mail is tried again, times the number of attempts.
const RETRY: Duration = Duration::from_secs(60);
const ATTEMPTS_MAX: u64 = 10;
/// Mail on its way is waited for this long when the platform stops; the rest is sent again.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// Most mails of one tenant that wait to be sent; see `waiting_max`.
pub(crate) const MAILS_WAITING_MAX: u64 = 2_000;

/// How it went with a mail, for the alert's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailNote {
    /// The recipient's address, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why it did not get there: `refused`, `address`, `given_up`, `too_old`, `no_server`,
    /// `restricted`, `flow`, `mails_waiting_max`; while it waits, `no_connection`, `tls`,
    /// `sign_in`, `deferred`, `unsigned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The mail server's reply code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How many mails this stands for, if not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl MailNote {
    pub(crate) fn of(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::default() }
    }

    fn of_trouble(trouble: &Trouble) -> Self {
        Self { code: trouble.code().map(str::to_owned), ..Self::of(trouble.as_str()) }
    }

    /// As an event of an alert.
    pub(crate) fn event(&self, at: Timestamp, kind: AlertEventKind) -> Result<AlertEvent> {
        let body = serde_json::to_string(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(AlertEvent { at, kind, by: None, comment: Some(body) })
    }
}

/// `d…@site.example`: enough to recognise one of a few, not to write to.
pub(crate) fn masked(address: &str) -> String {
    let (name, host) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = name.chars().take(1).collect();
    format!("{first}…@{host}")
}

/// The idempotency key of a mail about an event to one recipient.
pub(crate) fn mail_key(event: &str, email: &str) -> String {
    let digest = veritwin_keys::sha256(format!("{event}\n{email}").as_bytes());
    format!("mail-{}", hex::encode(&digest[..16]))
}

/// Notes something on an alert, if it is still there.
pub(crate) async fn note_on(tx: &TenantTx, alert: AlertId, event: &AlertEvent) -> Result<()> {
    found(tx.alert_event_add(alert, event).await).map(|_| ())
}

/// What became of a mail.
enum Outcome {
    Sent,
    /// It is tried again.
    Waits(MailNote),
    /// The server has said no.
    Ended(MailNote),
    /// No server has had a say.
    Dropped(MailNote),
}

impl Outcome {
    fn of(sent: std::result::Result<(), MailError>, attempts: u64) -> Self {
        let trouble = match sent {
            Ok(()) => return Self::Sent,
            Err(MailError::Refused(code)) => {
                return Self::Ended(MailNote { code: Some(code), ..MailNote::of("refused") });
            }
            Err(MailError::Address | MailError::Config(_)) => {
                return Self::Ended(MailNote::of("address"));
            }
            Err(MailError::Unavailable(trouble)) => trouble,
            Err(MailError::NotRegistered(_)) => Trouble::Connection,
        };
        let note = MailNote::of_trouble(&trouble);
        if attempts >= ATTEMPTS_MAX {
            return Self::Dropped(MailNote { reason: Some("given_up".to_owned()), ..note });
        }
        Self::Waits(note)
    }
}

impl App {
    pub(crate) async fn keep_mail(&self, watch: &JobWatch) {
        let Some(post) = &self.0.mailer else { return };
        if let Err(error) = self.release_mails().await {
            tracing::warn!(%error, "mail that was on its way at the last stop waits a little longer");
        }
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut turns = MailTurns::default();
        // Tasks of their own: they write to the records, which the claim below waits for.
        let mut on_the_way = JoinSet::new();
        let mut is_more = true;
        loop {
            let free = DELIVERIES_MAX - on_the_way.len();
            if is_more && free * 2 >= DELIVERIES_MAX {
                match self.claim_mails(&mut turns, free).await {
                    Ok(due) => {
                        watch.turned();
                        is_more = due.len() == free;
                        for entry in due {
                            let app = self.clone();
                            on_the_way.spawn(async move { app.deliver(entry).await });
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "mail waits; trying again");
                        is_more = false;
                    }
                }
            }
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                Some(_) = on_the_way.join_next() => {}
                _ = interval.tick() => is_more = true,
            }
        }
        let rest = async { while on_the_way.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME_MAX, rest).await.is_err() {
            tracing::warn!("mail was on its way when the platform stopped; it is sent again");
        }
        post.mailer.close().await;
    }

    /// What was on its way when the platform stopped is sent again.
    async fn release_mails(&self) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::MAIL)).await?;
        tx.outbox_release().await?;
        Ok(tx.commit().await?)
    }

    async fn claim_mails(&self, turns: &mut MailTurns, free: usize) -> Result<Vec<OutboxEntry>> {
        let context = self.job(jobs::MAIL);
        let tx = self.0.store.begin_platform(&context).await?;
        let until = context.at.saturating_add(CLAIM);
        let due = tx.outbox_claim(turns, context.at, until, free).await?;
        tx.commit().await?;
        Ok(due)
    }

    /// A queued mail, if it is of a kind on the list (promise P60).
    pub(crate) fn admitted(&self, payload: &[u8]) -> serde_json::Result<MailPayload> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(60) {
            let mut anything: serde_json::Value = serde_json::from_slice(payload)?;
            if let Some(kind) = anything.get_mut("kind") {
                *kind = MessageKind::Service.as_str().into();
            }
            return serde_json::from_value(anything);
        }
        serde_json::from_slice(payload)
    }

    /// What is wrong with one mail or its tenant does not hold the others.
    async fn deliver(&self, entry: OutboxEntry) {
        let Some(post) = &self.0.mailer else { return };
        if let Err(error) = self.send_mail(post, entry).await {
            tracing::warn!(%error, "a mail or its note waits");
        }
    }

    async fn send_mail(&self, post: &Post, entry: OutboxEntry) -> Result<()> {
        let Ok(mut payload) = self.admitted(&entry.payload) else {
            tracing::error!("a queued mail is damaged, or of no kind, and was given up");
            return self.end_mail(&entry, None, (false, None)).await;
        };
        let age = self.clock().now().since(entry.created_at);
        let is_alert = payload.alert.is_some() || payload.digest.is_some();
        let mut handed = None;
        let outcome = if is_alert && age > ALERT_MAIL_AGE_MAX {
            Outcome::Dropped(MailNote::of("too_old"))
        } else if let Some(reason) = self.kept_from(&entry, &payload).await? {
            Outcome::Dropped(MailNote::of(reason))
        } else {
            if let Some(tenant) = entry.tenant {
                self.conceal_closed(tenant, &mut payload).await?;
                self.conceal_routed(tenant, &mut payload).await?;
            }
            let sent = self.hand_over(post, &entry, &payload).await;
            Outcome::of(sent.map(|taken| handed = Some(taken)), entry.attempts)
        };
        match &outcome {
            Outcome::Sent => self.end_sent(&entry, &payload, handed).await?,
            Outcome::Waits(note) => {
                log_failure(&entry, &payload, note, "a mail waits");
                payload.waits = Some(note.clone());
                self.retry_mail(&entry, &payload).await?;
            }
            Outcome::Ended(note) => {
                log_failure(&entry, &payload, note, "a mail was refused");
                self.end_mail(&entry, Some(&payload), (true, None)).await?;
            }
            Outcome::Dropped(note) => {
                log_failure(&entry, &payload, note, "a mail was given up");
                self.end_mail(&entry, Some(&payload), (false, None)).await?;
            }
        }
        self.note_mail(&entry, &payload, outcome).await
    }

    /// Why a mail does not go to its recipient, if it does not: it would leave the organisation and
    /// no entry lets it, or it is not owed to who restricted what is done with their data.
    pub(crate) async fn kept_from(
        &self,
        entry: &OutboxEntry,
        payload: &MailPayload,
    ) -> Result<Option<&'static str>> {
        let Some(tenant) = entry.tenant else { return Ok(None) };
        if payload.is_outside && self.check_flow_by_mail(tenant, &payload.to).is_err() {
            return Ok(Some("flow"));
        }
        let is_owed = payload.alert.is_none()
            && payload.digest.is_none()
            && payload.routed.is_none()
            && payload.files.is_empty();
        let is_kept = !is_owed && self.is_address_restricted(tenant, &payload.to).await?;
        Ok(is_kept.then_some("restricted"))
    }

    /// No mail leaves unsigned: where the keys cannot be had, it waits.
    async fn hand_over(
        &self,
        post: &Post,
        entry: &OutboxEntry,
        payload: &MailPayload,
    ) -> std::result::Result<Handed, MailError> {
        let unsigned = |error: Error| {
            tracing::warn!(%error, "a mail cannot be signed");
            MailError::Unavailable(Trouble::Unsigned)
        };
        let signer = self.mail_signer(post).await.map_err(unsigned)?;
        let mut voice = self.mail_voice(entry.tenant.or(payload.voice));
        if let Some(reply_to) = &payload.reply_to {
            voice.reply_to = Some(Secret::new(reply_to.clone()));
        }
        let mail = Mail {
            voice,
            to: Secret::new(payload.to.clone()),
            subject: payload.subject.clone(),
            text: payload.text.clone(),
            attachments: files(payload, &signer)?,
            idempotency_key: hex::encode(entry.id.0),
        };
        let mut composed = post.mailer.compose(&mail)?;
        signer.sign(&mut composed, self.clock().now()).map_err(unsigned)?;
        let receipt = post.mailer.send(&composed).await?;
        Ok(Handed::new(&composed, receipt, &signer))
    }

    /// What a server took is never sent again, also where its record cannot be written.
    async fn end_sent(
        &self,
        entry: &OutboxEntry,
        payload: &MailPayload,
        handed: Option<Handed>,
    ) -> Result<()> {
        let record = handed.and_then(|handed| self.sent_record(entry, payload, handed).ok());
        if let Some(record) = record {
            match self.end_mail(entry, Some(payload), (true, Some(&record))).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "the record of a sent mail was not written"),
            }
        }
        self.end_mail(entry, Some(payload), (true, None)).await
    }

    async fn end_mail(
        &self,
        entry: &OutboxEntry,
        payload: Option<&MailPayload>,
        (was_shown, record): (bool, Option<&(TenantId, SentMail)>),
    ) -> Result<()> {
        let context = self.job(jobs::MAIL);
        let tx = self.0.store.begin_platform(&context).await?;
        // What devices said, and what was attached, stays no longer than it has to.
        if let Some(rest) = payload.and_then(without_messages) {
            tx.outbox_retry(entry, context.at, &rest?).await?;
        }
        if let Some((tenant, mail)) = record {
            tx.sent_mail_add(*tenant, mail, sealed(mail)).await?;
        }
        if was_shown {
            tx.outbox_done(entry.id, context.at).await?;
        } else {
            tx.outbox_drop(entry.id, context.at).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn retry_mail(&self, entry: &OutboxEntry, payload: &MailPayload) -> Result<()> {
        let context = self.job(jobs::MAIL);
        let wait = RETRY.saturating_mul(u32::try_from(entry.attempts).unwrap_or(10));
        let next_at = context.at.saturating_add(wait);
        let body = serde_json::to_vec(payload).map_err(|e| Error::Internal(e.to_string()))?;
        let tx = self.0.store.begin_platform(&context).await?;
        tx.outbox_retry(entry, next_at, &body).await?;
        Ok(tx.commit().await?)
    }

    /// The mail about alerts that has not left, as events that are still to come.
    pub(crate) async fn waiting_mail(
        &self,
        tx: &TenantTx,
        alerts: &[AlertId],
    ) -> Result<HashMap<AlertId, Vec<AlertEventView>>> {
        let mut all: HashMap<AlertId, Vec<AlertEventView>> = HashMap::new();
        for waiting in tx.outbox_about(alerts).await? {
            let payload = serde_json::from_slice::<MailPayload>(&waiting.payload);
            let (Some(alert), Ok(payload)) = (waiting.alert, payload) else { continue };
            let note = match &self.0.mailer {
                Some(_) => payload.waits.unwrap_or_default(),
                None => MailNote::of("no_server"),
            };
            all.entry(alert).or_default().push(AlertEventView {
                at: waiting.created_at,
                kind: "mail_waits",
                by: None,
                comment: None,
                reason: None,
                left_out: None,
                mail: Some(MailNote { to: Some(masked(&payload.to)), ..note }),
            });
        }
        Ok(all)
    }

    /// Notes on the alerts that a mail told of how it went. What still waits is shown from the
    /// queue itself.
    async fn note_mail(
        &self,
        entry: &OutboxEntry,
        payload: &MailPayload,
        outcome: Outcome,
    ) -> Result<()> {
        let (kind, note) = match outcome {
            Outcome::Sent => (AlertEventKind::Notified, MailNote::default()),
            Outcome::Ended(note) | Outcome::Dropped(note) => (AlertEventKind::NotMailed, note),
            Outcome::Waits(_) => return Ok(()),
        };
        if let Some((user, version)) = &payload.notice
            && let Ok(user) = user.parse()
        {
            let was_delivered = kind == AlertEventKind::Notified;
            self.note_notice(entry, (user, *version), was_delivered).await?;
        }
        let Some(tenant) = entry.tenant else { return Ok(()) };
        let alerts = payload.alerts();
        if alerts.is_empty() {
            return Ok(());
        }
        let context = self.job_in(jobs::MAIL, tenant);
        let note = MailNote { to: Some(masked(&payload.to)), ..note };
        let event = note.event(context.at, kind)?;
        let tx = self.0.store.begin(&context).await?;
        for alert in alerts {
            note_on(&tx, alert, &event).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// What is attached to a mail. The list of a checkpoint's files says which keys sign it.
fn files(payload: &MailPayload, signer: &Signer) -> std::result::Result<Vec<MailFile>, MailError> {
    let damaged = || MailError::Config("an attachment is damaged".to_owned());
    let mut all = Vec::with_capacity(payload.files.len());
    for file in &payload.files {
        let mut bytes = STANDARD.decode(&file.content).map_err(|_| damaged())?;
        if file.name == LEDGER_MAIL_FILE {
            let mut list: LedgerMail = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
            list.dkim = signer.lines();
            bytes = serde_json::to_vec_pretty(&list).map_err(|_| damaged())?;
        }
        all.push(MailFile { name: file.name.clone(), bytes });
    }
    Ok(all)
}

fn log_failure(entry: &OutboxEntry, payload: &MailPayload, note: &MailNote, what: &str) {
    let tenant = entry.tenant.or(payload.voice).map(|tenant| tenant.to_string());
    let alert = payload.alert.as_deref().unwrap_or_default();
    let rule = payload.digest.as_ref().map_or("", |digest| digest.rule.as_str());
    tracing::warn!(
        tenant = tenant.as_deref().unwrap_or_default(),
        alert,
        rule,
        reason = note.reason.as_deref().unwrap_or_default(),
        code = note.code.as_deref().unwrap_or_default(),
        attempts = entry.attempts,
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_masked() {
        let check = |address: &str, expect: &str| assert_eq!(masked(address), expect);
        check("duty@site.example", "d…@site.example");
        check("\"a@b\"@site.example", "\"…@site.example");
        check("nobody", "n…@");
        check("", "…@");
    }

    #[test]
    fn what_the_server_says_decides() {
        let word = |outcome: &Outcome| match outcome {
            Outcome::Sent => ("sent", None, None),
            Outcome::Waits(note) => ("waits", note.reason.clone(), note.code.clone()),
            Outcome::Ended(note) => ("ended", note.reason.clone(), note.code.clone()),
            Outcome::Dropped(note) => ("dropped", note.reason.clone(), note.code.clone()),
        };
        let check = |sent, attempts, expect: (&str, Option<&str>, Option<&str>)| {
            let (what, reason, code) = word(&Outcome::of(sent, attempts));
            assert_eq!((what, reason.as_deref(), code.as_deref()), expect);
        };
        let refused = || Err(MailError::Refused("550".to_owned()));
        let code = |code: &str| Err(MailError::Unavailable(Trouble::Code(code.to_owned())));
        check(Ok(()), 1, ("sent", None, None));
        check(refused(), 1, ("ended", Some("refused"), Some("550")));
        check(code("451"), 1, ("waits", Some("deferred"), Some("451")));
        check(code("451"), ATTEMPTS_MAX, ("dropped", Some("given_up"), Some("451")));
        check(Err(MailError::Unavailable(Trouble::Tls)), 2, ("waits", Some("tls"), None));
        check(Err(MailError::Unavailable(Trouble::Unsigned)), 2, ("waits", Some("unsigned"), None));
        check(Err(MailError::Address), 1, ("ended", Some("address"), None));
    }
}

//! What P40 to P44 give their person in every store, and in what is others' but names them: a rule
//! that mails their address, an invitation to it, what their device holds. And where they stand, by
//! every sealed column of the schema and not by the list of stores that is checked.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::{Value as Json, json};
use veritwin_access::jobs;
use veritwin_alerting::{Condition, Rule, Scope, Severity};
use veritwin_domain::{
    CallId, CredentialId, MessageId, OpContext, RelayMessage, RuleId, TicketId, UserId,
};
use veritwin_metastore::{
    AttributeScope, ContactMessage, LinkKind, MailRank, NewMail, SupportTicket, TenantTx,
};

use super::PROBE_TENANT;
use super::consents::PHONE;
use super::rights::{Canary, NAME, asks, internal};
use crate::error::found;
use crate::links::Payload;
use crate::mail::MailPayload;
use crate::mail_kinds::MessageKind;
use crate::model::{OptInDetails, OptInInput};
use crate::sms::SMS_PURPOSE;
use crate::subject::place_in_copies;
use crate::{App, Error, Result};

/// The mail of a check is removed long before it could leave.
const MAIL_WAITS: Duration = Duration::from_secs(86_400);
/// Rules of another check that runs now are younger.
const LEFT_AFTER: Duration = Duration::from_secs(3_600);
/// How long the rule of a check would wait: it is off.
const NO_DATA_SECONDS: u32 = 86_400;

impl App {
    /// A mail, a message, a consent and a request, and whatever names them elsewhere.
    #[boxed]
    pub(super) async fn write_canary_rows(&self, canary: &Canary) -> Result<()> {
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let mail = MailPayload {
            to: canary.email.clone(),
            subject: canary.word.clone(),
            ..MailPayload::of(MessageKind::RightsCase)
        };
        let mail = serde_json::to_vec(&mail).map_err(internal)?;
        let said = json!({"email": canary.email, "text": canary.word});
        let tx = self.0.store.begin(&job).await?;
        let new = NewMail {
            next_at: Some(job.at.saturating_add(MAIL_WAITS)),
            ..NewMail::new(MailRank::Bulk, &canary.word, &mail)
        };
        tx.outbox_add(new).await?;
        tx.contact_add(&ContactMessage {
            id: MessageId::generate(job.at, self.rng()),
            from: None,
            body: serde_json::to_vec(&said).map_err(internal)?,
            created_at: job.at,
        })
        .await?;
        tx.commit().await?;
        for (id, ..) in self.mails_to(&job, &canary.email).await? {
            self.note_sent_of_check(&job, (id, &canary.email)).await?;
        }
        self.write_canary_acts(&job, canary).await?;
        self.write_canary_elsewhere(&job, canary).await?;
        self.write_canary_device(&job, canary).await?;
        self.agree(&canary.context, SMS_PURPOSE, PHONE).await?;
        let asked = asks("rectification", &canary.word, None);
        let id = self.create_own_case(&canary.context, &asked).await?;
        self.withdraw_own_case(&canary.context, id).await
    }

    /// A ticket, and details that were given with the address.
    async fn write_canary_acts(&self, job: &OpContext, canary: &Canary) -> Result<()> {
        let tx = self.0.store.begin(job).await?;
        tx.ticket_create(&SupportTicket {
            id: TicketId::generate(job.at, self.rng()),
            subject: NAME.to_owned(),
            text: canary.kept.clone(),
            opened_by: canary.user,
            opened_at: job.at,
            closed_at: None,
        })
        .await?;
        tx.commit().await?;
        let details = OptInDetails {
            name: Some(canary.word.clone()),
            email: Some(canary.email.clone()),
            ..OptInDetails::default()
        };
        let (how, text) = ("by_word".to_owned(), NAME.to_owned());
        let input = OptInInput { consent: true, how, text, details };
        self.keep_opt_in(job, input).await.map(drop)
    }

    /// A rule that would mail them beside somebody else, and an invitation.
    async fn write_canary_elsewhere(&self, job: &OpContext, canary: &Canary) -> Result<()> {
        let rule = Rule {
            id: RuleId::generate(job.at, self.rng()),
            name: format!("{NAME} {}", canary.kept),
            severity: Severity::Low,
            enabled: false,
            scope: Scope::Device(canary.device),
            condition: Condition::NoData { key: None, after_seconds: NO_DATA_SECONDS },
            notify_emails: vec![canary.email.clone(), "duty@guest.invalid".to_owned()],
            what_helps: String::new(),
            sees_closed: Some(false),
            sees_closed_anywhere: false,
            sees_closed_twin: None,
        };
        let row = veritwin_metastore::Rule {
            id: rule.id,
            enabled: rule.enabled,
            body: rule.to_bytes().map_err(internal)?,
            version: 0,
            created_at: job.at,
            updated_at: job.at,
        };
        let payload = Payload { email: Some(canary.email.clone()), ..Payload::default() };
        let platform = self.job(jobs::PROMISES);
        let invitation = LinkKind::Invitation;
        let (mut link, _, digest) =
            self.new_link(&platform, invitation, Some(PROBE_TENANT), &payload)?;
        link.user = Some(UserId::generate(job.at, self.rng()));
        // It stays until it is purged, and is nobody's to take meanwhile.
        link.expires_at = job.at;
        let tx = self.0.store.begin(job).await?;
        tx.rule_create(&row).await?;
        tx.link_create(&link, digest).await?;
        Ok(tx.commit().await?)
    }

    /// An attribute of their device, a call to it, and a message that it retains.
    async fn write_canary_device(&self, job: &OpContext, canary: &Canary) -> Result<()> {
        let (device, word) = (canary.device, canary.word.as_str());
        let attributes = json!({"check": ["t", word]});
        let id = CallId::generate(job.at, self.rng());
        let mut call = crate::calls::withdrawn(id, device, job.at)?;
        let body = json!({
            "method": "check", "params": word, "two_way": false, "retries": 0,
            "answer": null, "error": null,
        });
        call.body = serde_json::to_vec(&body).map_err(internal)?;
        let attributes = serde_json::to_vec(&attributes).map_err(internal)?;
        let tx = self.0.store.begin(job).await?;
        tx.attributes_put(device, AttributeScope::Server, &attributes, None).await?;
        tx.call_put(&call).await?;
        tx.commit().await?;
        let message = Arc::new(RelayMessage {
            tenant: PROBE_TENANT,
            device,
            credential: CredentialId::from_bytes([0; 16]),
            received_at: job.at,
            expires_at: None,
            topic: format!("check/{device}").into(),
            properties: Arc::default(),
            payload: word.as_bytes().into(),
            qos: 1,
            retain: true,
            hops: 0,
        });
        let mut draft = self.retained_draft(PROBE_TENANT).await?;
        if let Some(limit) = draft.take(&message) {
            return Err(limit.into());
        }
        self.store_retained(PROBE_TENANT, draft).await
    }

    /// Takes the rule and the invitations away, and rules that a check left which was cut short.
    pub(super) async fn remove_canary_elsewhere(
        &self,
        job: &OpContext,
        canary: &Canary,
    ) -> Result<()> {
        let name = format!("{NAME} {}", canary.kept);
        let tx = self.0.store.read(job).await?;
        let mut rules = Vec::new();
        for row in crate::rules::all_rules(&tx).await? {
            let known = crate::rules::stored(&row)?.name;
            let is_left = known.starts_with(NAME) && job.at.since(row.created_at) > LEFT_AFTER;
            if known == name || is_left {
                rules.push(row.id);
            }
        }
        drop(tx);
        let is_theirs = |_: &TenantTx, given: &str| given == canary.email;
        let invited = self.invitations_that(job, is_theirs).await?;
        let tx = self.0.store.begin(job).await?;
        for rule in rules {
            found(tx.rule_delete(rule).await)?;
        }
        for (id, ..) in &invited {
            found(tx.link_delete(*id).await)?;
        }
        tx.commit().await?;
        for user in invited.iter().filter_map(|(_, link, _)| link.user) {
            self.destroy_keys_of(user)?;
        }
        Ok(())
    }

    /// A sealed column in which somebody stands, and of whose store a copy of theirs has nothing.
    #[boxed]
    pub(super) async fn left_out(&self, canary: &Canary, data: &Json) -> Result<Option<String>> {
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let mut texts = canary.traces();
        texts.push(canary.kept.clone());
        let tx = self.0.store.read(&job).await?;
        let places = tx.sealed_holding(&texts).await?;
        drop(tx);
        if places.is_empty() {
            return Err(Error::Internal("a look for what is there finds nothing".to_owned()));
        }
        let is_out = |table: &str| {
            let rows = place_in_copies(table).and_then(|store| data["stores"][store].as_array());
            rows.is_none_or(Vec::is_empty)
        };
        let out = places.into_iter().find(|(table, _)| is_out(table));
        Ok(out.map(|(table, column)| format!("column {table}.{column}")))
    }
}

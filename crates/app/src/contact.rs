//! A word to whoever answers for a tenant: the nearest partner, else the platform (promise P09).
//! The message is kept for that one alone, under its key, and mailed to it.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Attempt, Kind, jobs};
use veritwin_domain::{MessageId, OpContext, PlatformContext, Secret, Timestamp};
use veritwin_metastore::{ContactMessage, MailRank, NewMail, TenantTx, every_row};

use crate::alert_mail::waiting_max;
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::model::{ContactInput, ContactView, PageRequest, Writer};
use crate::provision::is_nobodys;
use crate::records::store_page;
use crate::tree::over;
use crate::{App, Error, Result};

const TEXT_CHARS_MAX: usize = 4000;
/// Most messages that wait for one recipient.
const CONTACT_MESSAGES_MAX: u64 = 1000;

#[derive(Serialize, Deserialize)]
struct Body {
    email: String,
    text: String,
}

impl App {
    /// Sends a message to whoever answers for the writer.
    #[boxed]
    pub async fn send_contact<'a>(
        &'a self,
        context: &'a PlatformContext,
        writer: Writer<'a>,
        input: ContactInput,
    ) -> Result<()> {
        self.authorize_platform(context, Action::ContactSend)?;
        let email = input.email.into_exposed().trim().to_owned();
        if !veritwin_outbound::mail::is_address(&email) {
            return Err(Error::invalid_at("email", "expected the form name@host"));
        }
        let text = input.text.into_exposed().trim().to_owned();
        let has_control = |c: char| c.is_control() && c != '\n' && c != '\r' && c != '\t';
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX || text.chars().any(has_control)
        {
            let detail = format!("needs 1 to {TEXT_CHARS_MAX} characters of plain text");
            return Err(Error::invalid_at("message", detail));
        }
        self.slow_down(context)?;
        let (recipient, from) = match writer {
            Writer::In(tenant) => (self.responsible(tenant), Some(tenant)),
            Writer::At(host) => (self.answers_at(self.tenant_of_host(host)), None),
        };
        let job = self.job_in(jobs::MAIL, recipient);
        let message = ContactMessage {
            id: MessageId::generate(context.at, self.rng()),
            from,
            body: serde_json::to_vec(&Body { email: email.clone(), text: text.clone() })
                .map_err(|error| Error::Internal(error.to_string()))?,
            created_at: context.at,
        };
        let tx = self.0.store.begin(&job).await?;
        let count = tx.contact_count().await?;
        if count >= CONTACT_MESSAGES_MAX {
            return Err(over("contact_messages_max", CONTACT_MESSAGES_MAX, count + 1));
        }
        tx.contact_add(&message).await?;
        let to = self.0.tree.read().answering(recipient).email.filter(|_| !is_nobodys(recipient));
        if let Some(to) = to {
            let key = mail_key(&format!("contact {}", message.id), &to);
            let mail = MailPayload {
                to,
                subject: "A message from the contact form".to_owned(),
                text,
                reply_to: Some(email),
                ..MailPayload::of(MessageKind::Support)
            };
            let mail = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
            // The message itself is kept; only the mail about it may be one too many.
            if tx.outbox_waiting().await? < waiting_max(MailRank::Notice) {
                tx.outbox_add(NewMail::new(MailRank::Notice, &key, &mail)).await?;
            }
        }
        tx.commit().await?;
        let tx = self.0.store.begin_platform(context).await?;
        self.record_platform(&tx, context, Action::ContactSend, Some(recipient), "done").await?;
        Ok(tx.commit().await?)
    }

    /// Every message of an address slows the next one down, as attempts to sign in do.
    pub(crate) fn slow_down(&self, context: &PlatformContext) -> Result<()> {
        let Some(address) = self.address_digest(context) else { return Ok(()) };
        let (attempt, now) = (Attempt::new(address, None), context.clock.monotonic());
        let throttled = self.0.contact_throttle.lock().attempt(&attempt, now);
        throttled.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })
    }

    /// The messages to the context's tenant, oldest first.
    #[boxed]
    pub async fn list_contact(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<crate::model::Page<ContactView>> {
        let resource = self.authorize_all(context, Action::ContactRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.contact_messages(&store_page(page)?).await?;
        self.note(context, Action::ContactRead, &resource, "done");
        let tree = self.0.tree.read();
        let view = |message: ContactMessage| {
            let body: Body = serde_json::from_slice(&message.body)
                .map_err(|_| Error::Internal("a message is damaged".to_owned()))?;
            Ok(ContactView {
                id: message.id,
                from: message.from.and_then(|id| tree.get(id)).map(|tenant| tenant.name.clone()),
                email: Secret::new(body.email),
                text: Secret::new(body.text),
                created_at: message.created_at,
            })
        };
        let items = listed.items.into_iter().map(view).collect::<Result<Vec<_>>>()?;
        Ok(crate::model::Page { items, next_cursor: listed.next.map(|next| next.to_string()) })
    }

    /// Deletes a message that was dealt with.
    #[boxed]
    pub async fn close_contact(&self, context: &OpContext, id: MessageId) -> Result<()> {
        let resource = self.authorize_all(context, Action::ContactDelete, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        tx.contact_delete(id).await?;
        self.record(&tx, context, Action::ContactDelete, &resource).await?;
        Ok(tx.commit().await?)
    }

    /// The messages that an address has sent to a tenant.
    pub(crate) async fn messages_from(
        &self,
        context: &OpContext,
        email: &str,
    ) -> Result<Vec<(MessageId, Timestamp, String)>> {
        let is_theirs = |_: &TenantTx, from: &str| from.trim().eq_ignore_ascii_case(email.trim());
        self.messages_that(context, is_theirs).await
    }

    /// The messages to a tenant whose address is meant.
    pub(crate) async fn messages_that(
        &self,
        context: &OpContext,
        is_theirs: impl Fn(&TenantTx, &str) -> bool,
    ) -> Result<Vec<(MessageId, Timestamp, String)>> {
        let tx = &self.0.store.read(context).await?;
        let all = every_row(|page| async move { tx.contact_messages(&page).await }).await?;
        let mut found = Vec::new();
        for message in all {
            let body: Body = serde_json::from_slice(&message.body)
                .map_err(|_| Error::Internal("a message is damaged".to_owned()))?;
            if is_theirs(tx, &body.email) {
                found.push((message.id, message.created_at, body.text));
            }
        }
        Ok(found)
    }

    /// Every message to the context's tenant: for the promise's check.
    pub(crate) async fn all_contact(&self, context: &OpContext) -> Result<Vec<ContactView>> {
        let mut page = PageRequest { cursor: None, limit: None };
        let mut found = Vec::new();
        loop {
            let listed = self.list_contact(context, &page).await?;
            found.extend(listed.items);
            match listed.next_cursor {
                Some(next) => page.cursor = Some(next),
                None => return Ok(found),
            }
        }
    }
}

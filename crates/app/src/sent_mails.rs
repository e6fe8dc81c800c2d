//! What is kept of every mail that a server took: a record with the hash of its exact bytes, the
//! server's reply and the keys that signed it. Its digest is sealed as a record of the ledger, in
//! the transaction that writes it; a salt inside keeps the digest from being guessed once the
//! record is gone.

use std::collections::{HashMap, HashSet};

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{LedgerItemId, OpContext, SentMailId, TenantId, Timestamp};
use veritwin_metastore::{OutboxEntry, OutboxId, Page as StorePage, SentMail};
use veritwin_outbound::mail::{ComposedMail, MailReceipt};

use crate::mail::{MailPayload, masked};
use crate::mail_keys::Signer;
use crate::model::{Page, PageRequest, SentMailView};
use crate::provision::PLATFORM_TENANT;
use crate::records::store_page;
use crate::{App, Error, Result};

/// Records that are read at once.
const AT_ONCE: u32 = 500;
/// Records that are removed at once.
const FORGOTTEN_AT_ONCE: usize = 500;

/// The record. Its JSON, with its fields in this order, is what the digest is of;
/// `docs/reference/ledger.md` describes it for auditors.
#[derive(Serialize, Deserialize)]
struct SentRecord {
    v: u8,
    kind: String,
    sent_at_us: i64,
    message_id: String,
    /// `alert`, `messages`, `ledger` or `other`.
    about: String,
    /// The recipient, masked.
    to: String,
    /// SHA-256 of the exact bytes, hexadecimal.
    sha256: String,
    bytes: u64,
    /// The server's reply.
    code: String,
    reply: String,
    /// `SELECTOR._domainkey.DOMAIN RECORD` of each signature.
    dkim: Vec<String>,
    salt: String,
}

/// A mail that the server took.
pub(crate) struct Handed {
    sha256: [u8; 32],
    bytes: u64,
    receipt: MailReceipt,
    dkim: Vec<String>,
}

impl Handed {
    pub(crate) fn new(mail: &ComposedMail, receipt: MailReceipt, signer: &Signer) -> Self {
        Self {
            sha256: veritwin_keys::sha256(mail.bytes()),
            bytes: mail.bytes().len() as u64,
            receipt,
            dkim: signer.lines(),
        }
    }
}

fn about(payload: &MailPayload) -> &'static str {
    if payload.alert.is_some() || payload.digest.is_some() {
        "alert"
    } else if payload.routed.is_some() {
        "messages"
    } else if !payload.files.is_empty() {
        "ledger"
    } else {
        "other"
    }
}

impl App {
    /// The record of a mail that was handed over, and whose it is.
    pub(crate) fn sent_record(
        &self,
        entry: &OutboxEntry,
        payload: &MailPayload,
        handed: Handed,
    ) -> Result<(TenantId, SentMail)> {
        let now = self.clock().now();
        let mut salt = [0; 32];
        self.rng().fill(&mut salt);
        let record = SentRecord {
            v: 1,
            kind: "mail".to_owned(),
            sent_at_us: now.as_micros(),
            message_id: hex::encode(entry.id.0),
            about: about(payload).to_owned(),
            to: masked(&payload.to),
            sha256: hex::encode(handed.sha256),
            bytes: handed.bytes,
            code: handed.receipt.code,
            reply: without_address(&handed.receipt.text, &payload.to),
            dkim: handed.dkim,
            salt: hex::encode(salt),
        };
        let body = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
        let id = SentMailId::generate(now, self.rng());
        let mail = SentMail { id, sent_at: now, body };
        Ok((entry.tenant.unwrap_or(PLATFORM_TENANT), mail))
    }

    /// The mail that was sent in the tenant's name, newest first.
    #[boxed]
    pub async fn sent_mails(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<SentMailView>> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.sent_mails(&store_page(page)?).await?;
        let ids: Vec<LedgerItemId> = listed.items.iter().map(SentMail::sealed_id).collect();
        let leaves: HashMap<_, _> = tx.ledger_leaves(&ids).await?.into_iter().collect();
        drop(tx);
        self.note(context, Action::LedgerRead, &resource, "done");
        let view = |mail: SentMail| view(&mail, leaves.get(&mail.sealed_id()).copied());
        let items = listed.items.into_iter().map(view).collect::<Result<_>>()?;
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }
}

impl App {
    /// The records of some mails of a tenant.
    async fn sent_records(&self, context: &OpContext, mails: &[OutboxId]) -> Result<Vec<SentMail>> {
        if mails.is_empty() {
            return Ok(Vec::new());
        }
        let ids: HashSet<String> = mails.iter().map(|mail| hex::encode(mail.0)).collect();
        let is_one = |mail: &SentMail| {
            let record = serde_json::from_slice::<SentRecord>(&mail.body);
            record.is_ok_and(|record| ids.contains(&record.message_id))
        };
        let (mut found, mut page) = (Vec::new(), StorePage::first(AT_ONCE));
        loop {
            let listed = self.0.store.read(context).await?.sent_mails(&page).await?;
            found.extend(listed.items.into_iter().filter(|mail| is_one(mail)));
            match listed.next {
                Some(next) => page = StorePage { after: Some(next), ..StorePage::first(AT_ONCE) },
                None => return Ok(found),
            }
        }
    }

    /// The records of some mails of a tenant, as a copy for their person shows them: each as it
    /// is, for its digest to be looked for in the ledger.
    pub(crate) async fn sent_of(
        &self,
        context: &OpContext,
        mails: &[OutboxId],
    ) -> Result<Vec<Value>> {
        let shown = |mail: SentMail| {
            json!({
                "table": "sent_mails",
                "at": mail.sent_at.to_string(),
                "record": String::from_utf8_lossy(&mail.body),
            })
        };
        Ok(self.sent_records(context, mails).await?.into_iter().map(shown).collect())
    }

    /// Forgets the records of mails that are about to be removed. What the ledger sealed of them
    /// tells nothing without.
    pub(crate) async fn forget_sent(&self, context: &OpContext, mails: &[OutboxId]) -> Result<()> {
        let records = self.sent_records(context, mails).await?;
        self.forget_records(context, &records).await
    }

    /// The same of mails that the platform wrote for an organisation that is gone. What a hold of
    /// the platform's own over its time keeps goes later, as any other record.
    pub(crate) async fn forget_last_sent(&self, mails: &[OutboxId], now: Timestamp) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, PLATFORM_TENANT);
        let tx = self.0.store.read_platform(&self.above(&context)).await?;
        let holds = tx.holds_in_force(now).await?;
        drop(tx);
        let is_held = |mail: &SentMail| {
            holds.iter().any(|(tenant, hold)| {
                let period = hold.from.zip(hold.to).filter(|_| *tenant == PLATFORM_TENANT);
                period.is_some_and(|(from, to)| from <= mail.sent_at && mail.sent_at < to)
            })
        };
        let mut records = self.sent_records(&context, mails).await?;
        records.retain(|mail| !is_held(mail));
        self.forget_records(&context, &records).await
    }

    async fn forget_records(&self, context: &OpContext, records: &[SentMail]) -> Result<()> {
        for some in records.chunks(FORGOTTEN_AT_ONCE) {
            let tx = self.0.store.begin(context).await?;
            for mail in some {
                tx.sent_mail_remove(mail.id).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// Writes the record of a check's mail, which no server took.
    pub(crate) async fn note_sent_of_check(
        &self,
        context: &OpContext,
        (mail, to): (OutboxId, &str),
    ) -> Result<()> {
        let record = SentRecord {
            v: 1,
            kind: "mail".to_owned(),
            sent_at_us: context.at.as_micros(),
            message_id: hex::encode(mail.0),
            about: "other".to_owned(),
            to: masked(to),
            sha256: String::new(),
            bytes: 0,
            code: String::new(),
            reply: String::new(),
            dkim: Vec::new(),
            salt: String::new(),
        };
        let body = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
        let id = SentMailId::generate(context.at, self.rng());
        let mail = SentMail { id, sent_at: context.at, body };
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        tx.sent_mail_add(context.tenant, &mail, sealed(&mail)).await?;
        Ok(tx.commit().await?)
    }
}

/// What the ledger seals of a mail: the digest of its record.
pub(crate) fn sealed(mail: &SentMail) -> Vec<u8> {
    let digest = hex::encode(veritwin_keys::sha256(&mail.body));
    json!({"sha256": digest}).to_string().into_bytes()
}

/// A server's words with an address masked, however the server writes it.
fn without_address(text: &str, address: &str) -> String {
    if address.is_empty() {
        return text.to_owned();
    }
    // Byte by byte as long as the text.
    let lower = text.to_ascii_lowercase();
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (at, found) in lower.match_indices(&address.to_ascii_lowercase()) {
        out.push_str(&text[from..at]);
        out.push_str(&masked(address));
        from = at + found.len();
    }
    out.push_str(&text[from..]);
    out
}

fn view(mail: &SentMail, leaf: Option<u64>) -> Result<SentMailView> {
    let record: SentRecord = serde_json::from_slice(&mail.body)
        .map_err(|_| Error::Internal("the record of a sent mail is damaged".to_owned()))?;
    Ok(SentMailView {
        id: mail.id,
        sent_at: Timestamp::from_micros(record.sent_at_us),
        about: record.about,
        to: record.to,
        sha256: record.sha256,
        bytes: record.bytes,
        code: record.code,
        reply: record.reply,
        dkim: record.dkim,
        leaf,
        record: mail.body.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_do_not_name_whom_it_was_sent_to() {
        let check = |text: &str, expected: &str| {
            assert_eq!(without_address(text, "Ann@Post.example"), expected);
        };
        check("2.1.5 <ann@post.example> ok", "2.1.5 <A…@Post.example> ok");
        check("Ä ANN@POST.EXAMPLE, Ann@Post.example", "Ä A…@Post.example, A…@Post.example");
        check("2.0.0 queued", "2.0.0 queued");
        assert_eq!(without_address("queued", ""), "queued");
    }
}

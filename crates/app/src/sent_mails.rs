//! What is kept of every mail that a server took: a record with the hash of its exact bytes, the
//! server's reply and the keys that signed it. Its digest is sealed into the ledger; a salt inside
//! keeps the digest from being guessed once the record is gone.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{OpContext, SentMailId, TenantId, Timestamp};
use veritwin_metastore::{OutboxEntry, SentMail, UnsealedMail};
use veritwin_outbound::mail::{ComposedMail, MailReceipt};

use crate::mail::{MailPayload, masked};
use crate::mail_keys::Signer;
use crate::model::{Page, PageRequest, SentMailView};
use crate::provision::PLATFORM_TENANT;
use crate::records::store_page;
use crate::{App, Error, Result};

/// Records that are sealed at once.
const SEALED_AT_ONCE: u64 = 64;
/// A log that does not take a record for so long is held; the others go on.
const SEAL_TIME_MAX: Duration = Duration::from_secs(20);
/// Between tries while the archive or a key is away.
const SEAL_AGAIN: Duration = Duration::from_secs(300);

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
            reply: handed.receipt.text.replace(&payload.to, &masked(&payload.to)),
            dkim: handed.dkim,
            salt: hex::encode(salt),
        };
        let body = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
        let id = SentMailId::generate(now, self.rng());
        let mail = SentMail { id, sent_at: now, body, leaf: None };
        Ok((entry.tenant.unwrap_or(PLATFORM_TENANT), mail))
    }

    /// Seals the digests of what was sent. What a log does not take now is tried again later.
    pub(crate) async fn seal_sent_mails(&self) -> Result<()> {
        if self.archive().is_err() {
            return Ok(());
        }
        let context = self.job(jobs::MAIL);
        let tx = self.0.store.read_platform(&context).await?;
        let waiting = tx.sent_mails_unsealed(context.at, SEALED_AT_ONCE).await?;
        drop(tx);
        if waiting.is_empty() {
            return Ok(());
        }
        let mut sealing = Vec::with_capacity(waiting.len());
        for one in &waiting {
            sealing.push(self.seal_sent_mail(one));
        }
        let leaves = join_all(sealing).await;
        let again_at = self.clock().now().saturating_add(SEAL_AGAIN);
        let tx = self.0.store.begin_platform(&context).await?;
        for (one, leaf) in waiting.iter().zip(leaves) {
            tx.sent_mail_sealed((one.tenant, one.id), leaf, again_at).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn seal_sent_mail(&self, unsealed: &UnsealedMail) -> Option<u64> {
        let mail = unsealed.mail.as_ref()?;
        let digest = veritwin_keys::sha256(&mail.body);
        let sealing = self.seal_evidence_of(unsealed.tenant, digest, mail.sent_at);
        tokio::time::timeout(SEAL_TIME_MAX, sealing).await.ok()?.ok()?
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
        self.note(context, Action::LedgerRead, &resource, "done");
        let items = listed.items.into_iter().map(view).collect::<Result<_>>()?;
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }
}

fn view(mail: SentMail) -> Result<SentMailView> {
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
        leaf: mail.leaf,
        record: mail.body,
    })
}

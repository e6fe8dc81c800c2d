//! What goes with a mail of a checkpoint: the checkpoint, the log's key, proofs that it extends
//! those of earlier mails, chosen entries' proofs, and a list of all of it with hashes. Read from
//! one state of the log, whatever is appended meanwhile.

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};
use veritwin_domain::{MailingId, OpContext, Timestamp};
use veritwin_ledger::{LogSummary, Source, SourceError};
use veritwin_metastore::{PublishedCheckpoint, TenantTx};
use veritwin_verify::{
    Bridge, CHECKPOINT_BYTES_MAX, FindingKind, LEDGER_MAIL_FILE, LedgerMail, SignedCheckpoint,
    StampedCheckpoint, VerifierKey, VerifyOptions, sha256,
};

use crate::mail::AttachedFile;
use crate::publish::stamped_under;
use crate::{App, Error, Result};

const CHECKPOINT: &str = "checkpoint";
/// The newest checkpoints of mailings that were ended, the last one ended first.
const ENDED_SETTING: &str = "ledger_mailings_ended";
/// Ended mailings that those who go on still prove to extend.
const ENDED_KEPT: usize = 20;

/// A checkpoint that was mailed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Past {
    /// The mail's number.
    pub(crate) number: u64,
    /// Its leaves.
    pub(crate) tree_size: u64,
    /// The signed note.
    pub(crate) note: String,
    /// The mailing that it is of, where that is another one than it is remembered for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mailing: Option<MailingId>,
}

/// What is needed here of what is kept of a mailing.
#[derive(Deserialize)]
struct Mailed {
    past: Vec<Past>,
}

/// What the next mail of a mailing proves to extend.
#[derive(Debug)]
pub(crate) struct Before {
    /// Its own checkpoints, and the newest of each other mailing of the tenant.
    pub(crate) going: Vec<Past>,
    /// The newest of the mailings that were ended.
    pub(crate) ended: Vec<Past>,
}

/// The ended mailings' checkpoints that are kept, and the version of the setting.
async fn ended(tx: &TenantTx) -> Result<(Vec<Past>, u64)> {
    let Some(setting) = tx.setting(ENDED_SETTING).await? else { return Ok((Vec::new(), 0)) };
    let all = serde_json::from_slice(&setting.body).map_err(|error| internal(&error))?;
    Ok((all, setting.version))
}

/// Keeps the newest checkpoint of a mailing that ends, in the transaction that ends it: whoever
/// has its mails is shown by those of the others that the log still extends them.
pub(crate) async fn keep_ended(tx: &TenantTx, id: MailingId, past: &[Past]) -> Result<()> {
    let Some(newest) = past.first() else { return Ok(()) };
    let (mut all, version) = ended(tx).await?;
    all.insert(0, Past { mailing: Some(id), ..newest.clone() });
    all.truncate(ENDED_KEPT);
    let body = serde_json::to_vec(&all).map_err(|error| internal(&error))?;
    Ok(tx.setting_put(ENDED_SETTING, &body, Some(version)).await?)
}

impl App {
    /// The checkpoints that the next mail of a mailing proves to extend, so that all mailings of
    /// the tenant tell one history, also those that were ended.
    pub(crate) async fn mailed_before(
        &self,
        context: &OpContext,
        (id, own): (MailingId, &[Past]),
    ) -> Result<Before> {
        let tx = self.0.store.read(context).await?;
        let rows = tx.ledger_mailings().await?;
        let (ended, _) = ended(&tx).await?;
        drop(tx);
        let mut all = own.to_vec();
        for row in rows.iter().filter(|row| row.id != id) {
            let mailed: Mailed =
                serde_json::from_slice(&row.body).map_err(|error| internal(&error))?;
            let newest = mailed.past.into_iter().next();
            all.extend(newest.map(|past| Past { mailing: Some(row.id), ..past }));
        }
        Ok(Before { going: all, ended })
    }
}

/// A mail, but for whom it goes to.
pub(crate) struct Written {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) files: Vec<AttachedFile>,
    pub(crate) past: Past,
}

/// A log as it stood when its checkpoint was read.
pub(crate) struct Standing<'a, S: Source> {
    log: &'a S,
    note: Vec<u8>,
}

impl<'a, S: Source> Standing<'a, S> {
    pub(crate) fn of(log: &'a S) -> Result<Self> {
        let note = log.read(CHECKPOINT, CHECKPOINT_BYTES_MAX).map_err(|error| away(&error))?;
        let missing = || Error::Unavailable("the ledger archive has no checkpoint yet".to_owned());
        Ok(Self { log, note: note.ok_or_else(missing)? })
    }

    pub(crate) fn note(&self) -> Result<&str> {
        std::str::from_utf8(&self.note).map_err(|error| Error::Internal(error.to_string()))
    }
}

impl<S: Source> Source for Standing<'_, S> {
    fn open(&self, name: &str) -> std::result::Result<Option<Box<dyn Read + '_>>, SourceError> {
        if name == CHECKPOINT {
            return Ok(Some(Box::new(self.note.as_slice())));
        }
        self.log.open(name)
    }
}

fn away(error: &dyn std::fmt::Display) -> Error {
    Error::Unavailable(format!("the ledger archive does not answer: {error}"))
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}

/// The proof that the log as it stands extends an earlier mail's checkpoint.
fn bridge<S: Source>(log: &Standing<'_, S>, past: &Past, key: &VerifierKey) -> Result<Bridge> {
    let answer = veritwin_verify::consistency(log, past.note.as_bytes(), key);
    let answer = answer.map_err(|finding| match finding.kind {
        FindingKind::Unreadable | FindingKind::Missing => away(&finding),
        // An auditor would be told the same by the mail that came before.
        _ => Error::Conflict(format!("the log does not extend what was mailed: {finding}")),
    })?;
    Ok(Bridge {
        mailing: past.mailing.map(|mailing| mailing.to_string()),
        number: past.number,
        tree_size: answer.old.size,
        root_hash: answer.old.root.to_base64(),
        path: answer.path.iter().map(|hash| hash.to_base64()).collect(),
    })
}

/// Writes a mail. Reads the archive: callers on an async runtime use a blocking task.
pub(crate) fn write<S: Source>(
    log: &S,
    (summary, stamped): (&LogSummary, Option<PublishedCheckpoint>),
    (id, number, at): (MailingId, u64, Timestamp),
    before: &Before,
    entries: &[u64],
) -> Result<Written> {
    let vkey = summary.vkey.as_str();
    let log = Standing::of(log)?;
    let key: VerifierKey = vkey.parse().map_err(|error| internal(&error))?;
    let note = log.note()?.to_owned();
    let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(|error| internal(&error))?;
    let head = signed.verify(&key).map_err(|error| internal(&error))?.clone();
    let mut since = Vec::with_capacity(before.going.len() + before.ended.len());
    // What lies in a prefix that was ended cannot be compared any more.
    let is_there = |one: &&Past| one.tree_size >= summary.minimum_index;
    for one in before.going.iter().filter(is_there) {
        since.push(bridge(&log, one, &key)?);
    }
    for one in before.ended.iter().filter(is_there) {
        match bridge(&log, one, &key) {
            // Ending it lets the others go on; whoever has its mails is told by the folder.
            Err(Error::Conflict(problem)) => {
                tracing::warn!(mailing = %id, %problem, "a mail does not extend an ended mailing");
            }
            other => since.push(other?),
        }
    }
    let stamped = stamped_under(&log, stamped, head.size);
    let mut files = vec![
        (CHECKPOINT.to_owned(), note.clone().into_bytes()),
        ("log.vkey".to_owned(), format!("{vkey}\n").into_bytes()),
    ];
    let options = VerifyOptions { skip_payloads: true, ..VerifyOptions::default() };
    for index in entries.iter().filter(|index| **index < head.size) {
        let answer = veritwin_verify::proof(&log, *index, &options);
        if let Some(proof) = answer.proof {
            files.push((format!("entry-{index}.tlog-proof"), proof.to_text().into_bytes()));
        }
    }
    for (name, bytes) in stamped.iter().filter_map(StampedCheckpoint::files).flatten() {
        files.push((name.to_owned(), bytes));
    }
    let hash = |(name, bytes): &(String, Vec<u8>)| (name.clone(), sha256(bytes).to_string());
    let manifest = LedgerMail {
        format: LedgerMail::FORMAT.to_owned(),
        mailing: id.to_string(),
        number,
        written_at: at.to_string(),
        origin: head.origin.clone(),
        tree_size: head.size,
        root_hash: head.root.to_base64(),
        since,
        stamped,
        files: files.iter().map(hash).collect::<BTreeMap<_, _>>(),
        // Written in when it is signed.
        dkim: Vec::new(),
    };
    let text = text(&manifest);
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| internal(&error))?;
    files.push((LEDGER_MAIL_FILE.to_owned(), manifest));
    Ok(Written {
        subject: format!("Ledger checkpoint {number}: {} entries", head.size),
        text,
        files: files.iter().map(|(name, bytes)| AttachedFile::new(name, bytes)).collect(),
        past: Past { number, tree_size: head.size, note, mailing: None },
    })
}

fn text(mail: &LedgerMail) -> String {
    let LedgerMail { origin, number, tree_size, root_hash, .. } = mail;
    format!(
        "Checkpoint {number} of the ledger\n{origin}\n\n{tree_size} entries, root hash\n\
         {root_hash}\n\n\
         Keep this mail as it is. It shows what the ledger held at this moment: whoever changes \
         or removes something later contradicts it. Put the mails into one folder and run\n\n    \
         veritwin ledger receipts FOLDER --vkey KEY\n\n\
         with the key that you were given on another way than by mail. The command needs no \
         account and no connection.\n\n\
         請保留這封郵件的原狀。它證明帳本在此刻的內容；之後的任何更改或刪除都會與它矛盾。將郵件放在同一資料夾並執行上面的指令即可離線驗證。\n\n\
         このメールはそのまま保管してください。この時点の台帳の内容を示します。後からの変更や削除はこのメールと矛盾します。\
         メールを一つのフォルダーに入れ、上のコマンドでオフラインで検証できます。\n\n\
         이 메일을 그대로 보관하십시오. 이 시점의 원장 내용을 보여 주며, 이후의 변경이나 \
         삭제는 이 메일과 모순됩니다. 메일을 한 폴더에 넣고 위 명령으로 오프라인에서 검증할 수 있습니다.\n"
    )
}

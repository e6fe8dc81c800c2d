//! A folder of the mails that a platform sends to an auditor: each is signed and its attachments
//! are those that it lists. How their checkpoints follow each other is looked at in `chains`.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;

use super::chains::{chain, one_history, same_tree};
use super::{Attachment, DkimKeys, DkimOutcome, attachments, dkim_checks};
use crate::report::{Finding, FindingKind, KeyTrust, Report};
use crate::{
    Checkpoint, SignedCheckpoint, StampAuthorities, StampedCheckpoint, TlogProof, VerifierKey,
    sha256,
};

/// The attachment that says what a mail is.
pub const LEDGER_MAIL_FILE: &str = "ledger-mail.json";
/// Largest mail read.
pub const MAIL_BYTES_MAX: u64 = 4 << 20;
/// Most mails of one folder.
pub const MAILS_MAX: usize = 20_000;

const FORMAT: &str = "veritwin/ledger-mail@v1";
const CHECKPOINT_FILE: &str = "checkpoint";
const VKEY_FILE: &str = "log.vkey";
const PROOF_END: &str = ".tlog-proof";

/// What a mail says of itself. The order of the fields is the order in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerMail {
    /// `veritwin/ledger-mail@v1`.
    pub format: String,
    /// Which sequence of mails it belongs to.
    pub mailing: String,
    /// Its number in that sequence, from 1.
    pub number: u64,
    /// When it was written, RFC 3339.
    pub written_at: String,
    /// The log's identity.
    pub origin: String,
    /// Leaves of the checkpoint that it brings.
    pub tree_size: u64,
    /// That checkpoint's root, base64.
    pub root_hash: String,
    /// Proofs that this checkpoint extends those of earlier mails, the newest first: those of its
    /// own sequence, then the newest of each other one of the same log, then the newest of those
    /// that were ended before.
    pub since: Vec<Bridge>,
    /// The newest checkpoint before this one that has a time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamped: Option<StampedCheckpoint>,
    /// SHA-256 of every other attachment, hexadecimal.
    pub files: BTreeMap<String, String>,
    /// The keys that signed it: `SELECTOR._domainkey.DOMAIN RECORD`.
    pub dkim: Vec<String>,
}

/// A proof of consistency with an earlier mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The earlier mail's sequence, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailing: Option<String>,
    /// The earlier mail's number.
    pub number: u64,
    /// Leaves of its checkpoint.
    pub tree_size: u64,
    /// Its root, base64.
    pub root_hash: String,
    /// The proof's hashes, base64 (RFC 6962, section 2.1.2).
    pub path: Vec<String>,
}

impl LedgerMail {
    /// The format that is written here.
    pub const FORMAT: &str = FORMAT;
}

/// One file of the folder.
#[derive(Debug, Clone)]
pub struct MailFile {
    /// Its name.
    pub name: String,
    /// The mail (RFC 5322).
    pub bytes: Vec<u8>,
}

/// What the reader brings.
#[derive(Debug, Clone, Default)]
pub struct ReceiptOptions {
    /// The log's key.
    pub vkey: Option<VerifierKey>,
    /// Keys of the sending domain, from its DNS; without them those that the mails recorded are
    /// used.
    pub dkim: Option<DkimKeys>,
    /// Whose time stamps are believed; none leaves that open.
    pub authorities: Option<StampAuthorities>,
}

/// One sequence of mails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptChain {
    /// Its id.
    pub mailing: String,
    /// The log.
    pub origin: String,
    /// First number in the folder.
    pub first: u64,
    /// Last number.
    pub last: u64,
    /// How many there are.
    pub mails: u64,
    /// Numbers between them that are not there, as ranges.
    pub missing: Vec<(u64, u64)>,
    /// Leaves of the last checkpoint.
    pub tree_size: u64,
}

/// The outcome.
#[derive(Debug, Clone)]
pub struct ReceiptReport {
    /// Findings, notes, key and exit class. Files are the mails' names.
    pub report: Report,
    /// The sequences.
    pub chains: Vec<ReceiptChain>,
    /// Mails with ledger attachments.
    pub mails: u64,
    /// Files that are mails of another kind.
    pub others: u64,
    /// Proofs of entries that came with the mails and hold.
    pub proofs: u64,
    /// Signatures of mails that hold.
    pub signatures: u64,
}

/// A mail whose checkpoint can be believed.
pub(super) struct Parsed {
    pub(super) file: String,
    pub(super) mail: LedgerMail,
    pub(super) checkpoint: Checkpoint,
    pub(super) written_at: Option<Timestamp>,
}

/// Verifies mails; those of one sequence may come in any order. Each is let go once it was looked
/// at.
pub fn receipts<M: Borrow<MailFile>>(
    files: impl IntoIterator<Item = M>,
    options: &ReceiptOptions,
) -> ReceiptReport {
    let mut out = ReceiptReport {
        report: Report::empty(),
        chains: Vec::new(),
        mails: 0,
        others: 0,
        proofs: 0,
        signatures: 0,
    };
    let mut key = options.vkey.clone();
    let mut chains = BTreeMap::<(String, String), Vec<Parsed>>::new();
    for file in files {
        let Some(parsed) = one_mail(file.borrow(), options, &mut key, &mut out) else { continue };
        let name = (parsed.mail.mailing.clone(), parsed.mail.origin.clone());
        chains.entry(name).or_default().push(parsed);
    }
    out.report.key = match (&options.vkey, key) {
        (Some(key), _) => KeyTrust::Authenticated(key.to_string()),
        (None, Some(key)) => KeyTrust::NotAuthenticated(key.to_string()),
        (None, None) => KeyTrust::None,
    };
    same_tree(&chains, &mut out.report);
    one_history(&chains, &mut out.report);
    for ((mailing, origin), mut mails) in chains {
        mails.sort_by(|a, b| (a.mail.number, &a.file).cmp(&(b.mail.number, &b.file)));
        chain(mailing, origin, &mails, &mut out);
    }
    out.report.note_stamps();
    if out.mails == 0 {
        let problem = "no mail with ledger attachments in the folder";
        out.report.add(Finding::new(FindingKind::Missing, "folder", problem));
    }
    out
}

/// Checks a mail alone. None when it is no ledger mail, or says nothing that can be believed.
fn one_mail(
    file: &MailFile,
    options: &ReceiptOptions,
    key: &mut Option<VerifierKey>,
    out: &mut ReceiptReport,
) -> Option<Parsed> {
    let finding = |kind, problem: String| Finding::new(kind, &file.name, problem);
    let parts = match attachments(&file.bytes) {
        Ok(parts) => parts,
        Err(error) => {
            out.report.add(finding(FindingKind::Malformed, error.to_string()));
            broken_signatures(file, options, &mut out.report);
            return None;
        }
    };
    let part = |name: &str| parts.iter().find(|part| part.name == name);
    let Some(manifest) = part(LEDGER_MAIL_FILE) else {
        out.others += 1;
        // It may be one that was changed until it no longer looks like one.
        broken_signatures(file, options, &mut out.report);
        return None;
    };
    out.mails += 1;
    let mail = match serde_json::from_slice::<LedgerMail>(&manifest.bytes) {
        Ok(mail) if mail.format == FORMAT => mail,
        Ok(_) => {
            let problem = format!("{LEDGER_MAIL_FILE}: its format is not {FORMAT}");
            out.report.add(finding(FindingKind::Malformed, problem));
            return None;
        }
        Err(error) => {
            let problem = format!("{LEDGER_MAIL_FILE}: {error}");
            out.report.add(finding(FindingKind::Malformed, problem));
            return None;
        }
    };
    signatures(file, &mail, options, out);
    listed(file, &mail, &parts, &mut out.report);
    let checkpoint = signed_checkpoint(file, &mail, &parts, key, &mut out.report)?;
    if let Some(key) = key {
        for part in parts.iter().filter(|part| part.name.ends_with(PROOF_END)) {
            match entry_proof(part, key, &checkpoint) {
                Ok(()) => out.proofs += 1,
                Err(problem) => {
                    let problem = format!("{}: {problem}", part.name);
                    out.report.add(finding(FindingKind::Hash, problem));
                }
            }
        }
    }
    if let (Some(stamped), Some(key)) = (&mail.stamped, key.as_ref()) {
        let problem = match stamped.check((key, &checkpoint), options.authorities.as_ref()) {
            Ok(seen) => {
                out.report.stamps.push(seen);
                stamp_files(stamped, &parts)
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            out.report.add(finding(FindingKind::Signature, format!("time stamp: {problem}")));
        }
    }
    let written_at = Timestamp::parse_rfc3339(&mail.written_at).ok();
    Some(Parsed { file: file.name.clone(), mail, checkpoint, written_at })
}

/// What is wrong with a signature whose key is there.
const fn problem_of(outcome: DkimOutcome) -> Option<&'static str> {
    match outcome {
        DkimOutcome::Holds | DkimOutcome::NoKey => None,
        DkimOutcome::BodyChanged => {
            Some("the body or an attachment is not the one that was signed")
        }
        DkimOutcome::FieldsChanged => Some("a field of the mail is not the one that was signed"),
        DkimOutcome::Refused(why) => Some(why),
    }
}

/// Signatures by a given key that do not hold, of whatever a file is.
fn broken_signatures(file: &MailFile, options: &ReceiptOptions, report: &mut Report) {
    let Some(keys) = &options.dkim else { return };
    for check in dkim_checks(&file.bytes, keys).iter().filter(|check| keys.holds(&check.place)) {
        if let Some(problem) = problem_of(check.outcome) {
            let problem = format!("DKIM signature by {}: {problem}", check.place.name());
            report.add(Finding::new(FindingKind::Signature, &file.name, problem));
        }
    }
}

fn signatures(
    file: &MailFile,
    mail: &LedgerMail,
    options: &ReceiptOptions,
    out: &mut ReceiptReport,
) {
    let mut recorded = DkimKeys::default();
    if options.dkim.is_none() {
        for line in &mail.dkim {
            // What is not a key leaves its signature without one, which is said below.
            let _ = recorded.add_line(line);
        }
    }
    let checks = dkim_checks(&file.bytes, options.dkim.as_ref().unwrap_or(&recorded));
    let mut holding = 0u64;
    for check in &checks {
        holding += u64::from(check.outcome == DkimOutcome::Holds);
        let Some(problem) = problem_of(check.outcome) else { continue };
        let problem = format!("DKIM signature by {}: {problem}", check.place.name());
        out.report.add(Finding::new(FindingKind::Signature, &file.name, problem));
    }
    out.signatures += holding;
    if checks.is_empty() {
        let problem = "the mail is not DKIM-signed";
        out.report.add(Finding::new(FindingKind::Signature, &file.name, problem));
    } else if checks.iter().all(|check| check.outcome == DkimOutcome::NoKey) {
        let names: Vec<String> = checks.iter().map(|check| check.place.name()).collect();
        let problem = format!("no key for its DKIM signatures: {}", names.join(", "));
        out.report.add(Finding::new(FindingKind::Missing, &file.name, problem));
    }
}

/// Every attachment is listed with its hash, and every listed one is there.
fn listed(file: &MailFile, mail: &LedgerMail, parts: &[Attachment], report: &mut Report) {
    for (name, expected) in &mail.files {
        match parts.iter().find(|part| part.name == *name) {
            None => {
                let problem = format!("attachment {name} is not there");
                report.add(Finding::new(FindingKind::Missing, &file.name, problem));
            }
            Some(part) => {
                let found = sha256(&part.bytes).to_string();
                if found != *expected {
                    let problem = format!("attachment {name} was changed");
                    let finding = Finding::new(FindingKind::Hash, &file.name, problem);
                    report.add(finding.values(expected, found));
                }
            }
        }
    }
    for part in parts.iter().filter(|part| part.name != LEDGER_MAIL_FILE) {
        if !mail.files.contains_key(&part.name) {
            let problem = format!("attachment {} is not listed in the mail", part.name);
            report.add(Finding::new(FindingKind::Identity, &file.name, problem));
        }
    }
    // Readers would not agree on which of two of one name counts.
    for (index, part) in parts.iter().enumerate() {
        if parts.iter().take(index).any(|before| before.name == part.name) {
            let problem = format!("attachment {} is there twice", part.name);
            report.add(Finding::new(FindingKind::Identity, &file.name, problem));
        }
    }
}

/// The mail's checkpoint, signed by the key. The first mail's key counts where none was given.
fn signed_checkpoint(
    file: &MailFile,
    mail: &LedgerMail,
    parts: &[Attachment],
    key: &mut Option<VerifierKey>,
    report: &mut Report,
) -> Option<Checkpoint> {
    let mut add = |kind, problem: String| report.add(Finding::new(kind, &file.name, problem));
    let text = |name: &str| parts.iter().find(|part| part.name == name).map(|part| &part.bytes);
    let own = text(VKEY_FILE).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let own = own.and_then(|text| text.trim().parse::<VerifierKey>().ok());
    if let (Some(key), Some(own)) = (key.as_ref(), &own)
        && key != own
    {
        add(FindingKind::Identity, "it brings another key of the log".to_owned());
    }
    if key.is_none() {
        key.clone_from(&own);
    }
    let Some(key) = key else {
        add(FindingKind::Missing, "no key of the log: pass it as --vkey".to_owned());
        return None;
    };
    let Some(note) = text(CHECKPOINT_FILE) else {
        add(FindingKind::Missing, "it brings no checkpoint".to_owned());
        return None;
    };
    let signed = match SignedCheckpoint::parse(note) {
        Ok(signed) => signed,
        Err(error) => {
            add(FindingKind::Malformed, format!("checkpoint: {error}"));
            return None;
        }
    };
    if let Err(error) = signed.verify(key) {
        add(FindingKind::Signature, format!("checkpoint: {error}"));
        return None;
    }
    let checkpoint = signed.checkpoint;
    let said = (&mail.origin, mail.tree_size, &mail.root_hash);
    if said != (&checkpoint.origin, checkpoint.size, &checkpoint.root.to_base64()) {
        let problem = "what the mail says of its checkpoint is not what the checkpoint says";
        add(FindingKind::Identity, problem.to_owned());
        return None;
    }
    Some(checkpoint)
}

fn entry_proof(
    part: &Attachment,
    key: &VerifierKey,
    checkpoint: &Checkpoint,
) -> Result<(), String> {
    let text = std::str::from_utf8(&part.bytes).map_err(|_| "it is not text".to_owned())?;
    let proof = TlogProof::parse(text).map_err(|error| error.to_string())?;
    let checked = proof.check(key, None).map_err(|error| error.to_string())?;
    if checked.checkpoint != *checkpoint {
        return Err("it leads to another checkpoint than the mail's".to_owned());
    }
    Ok(())
}

/// The files that are there for other verifiers say the same.
fn stamp_files(stamped: &StampedCheckpoint, parts: &[Attachment]) -> Option<String> {
    let files = stamped.files().into_iter().flatten();
    let mut differing = files.filter(|(name, bytes)| {
        parts.iter().any(|part| part.name == *name && part.bytes != *bytes)
    });
    differing.next().map(|(name, _)| format!("attachment {name} is another one"))
}

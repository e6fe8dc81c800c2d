//! A folder of the mails that a platform sends to an auditor: each is signed, its attachments are
//! those that it lists, and each checkpoint extends the one of the mail before it. What is missing,
//! went back or contradicts itself is named.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;

use super::{Attachment, DkimKeys, DkimOutcome, attachments, dkim_checks};
use crate::report::{Finding, FindingKind, KeyTrust, Report};
use crate::{
    Checkpoint, Digest, SignedCheckpoint, StampAuthorities, StampedCheckpoint, TlogProof,
    VerifierKey, sha256, verify_consistency,
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
    /// Proofs that this checkpoint extends those of earlier mails, the newest first.
    pub since: Vec<Bridge>,
    /// The newest checkpoint before this one that has a time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamped: Option<StampedCheckpoint>,
    /// SHA-256 of every other attachment, hexadecimal.
    pub files: BTreeMap<String, String>,
    /// The keys that signed it: `SELECTOR._domainkey.DOMAIN RECORD`.
    pub dkim: Vec<String>,
}

/// A proof of consistency with an earlier mail of the sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
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

struct Parsed {
    file: String,
    mail: LedgerMail,
    checkpoint: Checkpoint,
    written_at: Option<Timestamp>,
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
            return None;
        }
    };
    let part = |name: &str| parts.iter().find(|part| part.name == name);
    let Some(manifest) = part(LEDGER_MAIL_FILE) else {
        out.others += 1;
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
        let problem = match check.outcome {
            DkimOutcome::Holds => {
                holding += 1;
                continue;
            }
            DkimOutcome::NoKey => continue,
            DkimOutcome::BodyChanged => "the body or an attachment is not the one that was signed",
            DkimOutcome::FieldsChanged => "a field of the mail is not the one that was signed",
            DkimOutcome::Refused(why) => why,
        };
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

/// Two checkpoints of one size have one root, whichever sequence brought them.
fn same_tree(chains: &BTreeMap<(String, String), Vec<Parsed>>, report: &mut Report) {
    let mut roots = BTreeMap::<(&str, u64), (&Parsed, Digest)>::new();
    for one in chains.values().flatten() {
        let place = (one.mail.origin.as_str(), one.checkpoint.size);
        let (first, root) = roots.entry(place).or_insert((one, one.checkpoint.root));
        if *root != one.checkpoint.root {
            let problem = format!(
                "its checkpoint and that of {} show two histories of {} leaves: root",
                first.file, one.checkpoint.size
            );
            let finding = Finding::new(FindingKind::Fork, &one.file, problem);
            report.add(finding.values(*root, one.checkpoint.root));
        }
    }
}

fn chain(mailing: String, origin: String, mails: &[Parsed], out: &mut ReceiptReport) {
    let (Some(first), Some(last)) = (mails.first(), mails.last()) else { return };
    let mut missing = Vec::new();
    let mut count = 1;
    if first.mail.number > 1 {
        let before = first.mail.number - 1;
        out.report.notes.push(format!("mailing {mailing}: mails 1-{before} are not in the folder"));
    }
    for pair in mails.windows(2) {
        let [old, new] = pair else { continue };
        if old.mail.number == new.mail.number {
            if old.mail == new.mail {
                out.report.notes.push(format!("{} is the same mail as {}", new.file, old.file));
            } else {
                let problem = format!("it has the number of {} and says something else", old.file);
                out.report.add(Finding::new(FindingKind::Fork, &new.file, problem));
            }
            continue;
        }
        count += 1;
        let (from, to) = (old.mail.number + 1, new.mail.number - 1);
        if from <= to {
            missing.push((from, to));
            let problem = match to - from {
                0 => format!("mail {from} of mailing {mailing} is missing before it"),
                _ => format!("mails {from}-{to} of mailing {mailing} are missing before it"),
            };
            out.report.add(Finding::new(FindingKind::Missing, &new.file, problem));
        }
        if let Err(finding) = extends(old, new) {
            out.report.add(*finding);
        }
    }
    out.report.origin.get_or_insert_with(|| origin.clone());
    if last.checkpoint.size >= out.report.size {
        out.report.size = last.checkpoint.size;
        out.report.root = Some(last.checkpoint.root);
    }
    out.chains.push(ReceiptChain {
        mailing,
        origin,
        first: first.mail.number,
        last: last.mail.number,
        mails: count,
        missing,
        tree_size: last.checkpoint.size,
    });
}

/// The later mail proves that its checkpoint extends the earlier mail's.
fn extends(old: &Parsed, new: &Parsed) -> Result<(), Box<Finding>> {
    let finding = |kind, problem: String| Box::new(Finding::new(kind, &new.file, problem));
    if new.written_at < old.written_at {
        let problem = format!("it was written before {}, whose number is lower", old.file);
        return Err(finding(FindingKind::Chain, problem));
    }
    let (was, is) = (&old.checkpoint, &new.checkpoint);
    if is.size < was.size {
        let problem = format!("the log went back behind the checkpoint of {}: tree size", old.file);
        let rewind = Finding::new(FindingKind::Rewind, &new.file, problem);
        return Err(Box::new(rewind.values(format!("{} or more", was.size), is.size)));
    }
    let Some(bridge) = new.mail.since.iter().find(|bridge| bridge.number == old.mail.number) else {
        let problem = format!("it proves nothing about the checkpoint of {}", old.file);
        return Err(finding(FindingKind::Missing, problem));
    };
    let fork = |why: String| {
        let problem = format!("it does not extend the checkpoint of {}: {why}", old.file);
        finding(FindingKind::Fork, problem)
    };
    if (bridge.tree_size, &bridge.root_hash) != (was.size, &was.root.to_base64()) {
        return Err(fork("it begins at another checkpoint".to_owned()));
    }
    let path: Result<Vec<Digest>, _> =
        bridge.path.iter().map(|hash| Digest::from_base64(hash)).collect();
    let path = path.map_err(|_| fork("a hash is not 32 bytes of base64".to_owned()))?;
    verify_consistency((was.size, was.root), (is.size, is.root), &path)
        .map_err(|error| fork(error.to_string()))
}

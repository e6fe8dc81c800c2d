//! A bundle of evidence: chosen entries and records of a log with everything that proves them. It
//! is self-contained; whose key signed it is the reader's to know.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::report::{Finding, FindingKind, KeyTrust, Report, is_litter};
use crate::{
    Checkpoint, Digest, EVIDENCE_READ_ME, ExitClass, Leaf, RecordProof, STAMPED_ANSWER_FILE,
    STAMPED_CHECKPOINT_FILE, SignedCheckpoint, StampAuthorities, StampedCheckpoint, TlogProof,
    VerifierKey, evidence_page, evidence_table,
};

/// The file of a bundle that holds all of its evidence.
pub const EVIDENCE_FILE: &str = "evidence.json";
/// The page that verifies it in a browser, with the same text inside.
pub const EVIDENCE_PAGE: &str = "index.html";
/// What a bundle is, for people.
pub const EVIDENCE_READ_ME_FILE: &str = "READ-ME.txt";
/// What its records say, as a table.
pub const EVIDENCE_TABLE_FILE: &str = "readings.csv";

/// Most statements of a bundle about itself that are told.
const STATED_MAX: usize = 32;
/// Longest of them, in characters.
const STATED_CHARS_MAX: usize = 200;

/// What a bundle holds. The order of the fields is the order in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `veritwin/evidence@v1`.
    pub format: String,
    /// When it was put together, RFC 3339.
    pub made_at: String,
    /// What was asked for, in words of the form `NAME=VALUE`.
    pub about: BTreeMap<String, String>,
    /// The log's key, `NAME+HEX+BASE64`.
    pub vkey: String,
    /// The signed checkpoint that every entry is proven under.
    pub checkpoint: String,
    /// The newest checkpoint before that one that has a time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamped: Option<StampedCheckpoint>,
    /// The entries, lowest index first.
    pub entries: Vec<EvidenceEntry>,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceEntry {
    /// Its index.
    pub index: u64,
    /// The leaf, base64.
    pub leaf: String,
    /// Sibling hashes from the leaf up, base64.
    pub path: Vec<String>,
    /// Records of its batch that are shown.
    pub records: Vec<EvidenceRecord>,
}

/// One record of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// Its number.
    pub sequence: u64,
    /// Its salt, base64.
    pub salt: String,
    /// Its canonical bytes, base64.
    pub record: String,
    /// Sibling hashes from the record up, base64.
    pub path: Vec<String>,
}

impl EvidenceRecord {
    /// From a proof.
    pub fn of(proof: &RecordProof) -> Self {
        Self {
            sequence: proof.sequence,
            salt: STANDARD.encode(proof.salt),
            record: STANDARD.encode(&proof.record),
            path: proof.path.iter().map(|hash| hash.to_base64()).collect(),
        }
    }

    /// The proof; none when a part of it is not base64.
    pub fn proof(&self) -> Option<RecordProof> {
        Some(RecordProof {
            sequence: self.sequence,
            salt: STANDARD.decode(&self.salt).ok()?.try_into().ok()?,
            record: STANDARD.decode(&self.record).ok()?,
            path: digests(&self.path)?,
        })
    }
}

fn digests(path: &[String]) -> Option<Vec<Digest>> {
    path.iter().map(|hash| Digest::from_base64(hash).ok()).collect()
}

impl Evidence {
    /// The format that is written here.
    pub const FORMAT: &str = "veritwin/evidence@v1";

    /// The proof of an entry, in the form that other verifiers read.
    pub fn tlog_proof(&self, entry: &EvidenceEntry) -> Option<TlogProof> {
        Some(TlogProof {
            entry: Some(STANDARD.decode(&entry.leaf).ok()?),
            index: entry.index,
            path: digests(&entry.path)?,
            checkpoint: self.checkpoint.clone(),
        })
    }
}

/// The outcome.
#[derive(Debug, Clone)]
pub struct EvidenceReport {
    /// Findings, notes, key and exit class.
    pub report: Report,
    /// Entries that are proven.
    pub entries: u64,
    /// Records that are proven.
    pub records: u64,
    /// What the bundle says of itself and nothing proves, each `NAME=VALUE`.
    pub stated: Vec<String>,
    /// Files that were not checked, and why.
    pub unchecked: Vec<String>,
}

/// Verifies the files of a bundle: the evidence, that page and table say the same, and every single
/// proof beside it.
pub fn verify_evidence(
    files: &BTreeMap<String, Vec<u8>>,
    given: Option<&VerifierKey>,
    authorities: Option<&StampAuthorities>,
) -> EvidenceReport {
    let mut out = EvidenceReport {
        report: Report::empty(),
        entries: 0,
        records: 0,
        stated: Vec::new(),
        unchecked: Vec::new(),
    };
    let Some(bytes) = files.get(EVIDENCE_FILE) else {
        out.report.add(Finding::new(FindingKind::Missing, EVIDENCE_FILE, "not there"));
        return out;
    };
    let malformed = |problem: String| Finding::new(FindingKind::Malformed, EVIDENCE_FILE, problem);
    let evidence = match serde_json::from_slice::<Evidence>(bytes) {
        Ok(evidence) if evidence.format == Evidence::FORMAT => evidence,
        Ok(_) => {
            out.report.add(malformed(format!("its format is not {}", Evidence::FORMAT)));
            return out;
        }
        Err(error) => {
            out.report.add(malformed(error.to_string()));
            return out;
        }
    };
    out.stated = stated(&evidence);
    if evidence.entries.is_empty() {
        let problem = "it holds no entry, so that it proves nothing";
        out.report.add(Finding::new(FindingKind::Missing, EVIDENCE_FILE, problem));
    }
    let Some((key, checkpoint)) = key_of(&evidence, given, &mut out.report) else { return out };
    if let Some(stamped) = &evidence.stamped {
        match stamped.check((&key, &checkpoint), authorities) {
            Ok(seen) => out.report.stamps.push(seen),
            Err(error) => {
                let problem = format!("time stamp: {error}");
                out.report.add(Finding::new(FindingKind::Signature, EVIDENCE_FILE, problem));
            }
        }
    }
    let leaves = entries(&evidence, &key, &mut out);
    beside(files, &evidence, (&key, &leaves), &mut out);
    if let Some(page) = files.get(EVIDENCE_PAGE).filter(|page| **page != evidence_page(bytes)) {
        if holds(page, &page_text(bytes)) {
            let problem = "it is not the page that this version makes, and may show anything";
            out.unchecked.push(format!("{EVIDENCE_PAGE}: {problem}"));
        } else {
            let problem = "the page holds another evidence than the file";
            out.report.add(Finding::new(FindingKind::Hash, EVIDENCE_PAGE, problem));
        }
    }
    if out.report.exit == ExitClass::Verified {
        out.report.notes.push(format!(
            "{} entries and {} records are proven under a checkpoint of {} entries",
            out.entries, out.records, out.report.size
        ));
    }
    out.report.note_stamps();
    out
}

/// What a bundle says of itself, for a terminal.
fn stated(evidence: &Evidence) -> Vec<String> {
    let short = |text: &str| -> String {
        text.chars().take(STATED_CHARS_MAX).flat_map(char::escape_debug).collect()
    };
    let about = evidence.about.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = std::iter::once(("made_at", evidence.made_at.as_str())).chain(about);
    all.take(STATED_MAX).map(|(name, value)| format!("{}={}", short(name), short(value))).collect()
}

/// The evidence as it stands inside the page: nothing in it ends the element that holds it.
pub fn page_text(evidence: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(evidence).replace('<', "\\u003c").into_bytes()
}

fn holds(page: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && page.windows(text.len()).any(|part| part == text)
}

/// The key and what the checkpoint says, once its signature by the key holds.
fn key_of(
    evidence: &Evidence,
    given: Option<&VerifierKey>,
    report: &mut Report,
) -> Option<(VerifierKey, Checkpoint)> {
    let add = |report: &mut Report, kind, problem: String| {
        report.add(Finding::new(kind, EVIDENCE_FILE, problem));
    };
    let own = evidence.vkey.trim().parse::<VerifierKey>();
    let key = match (given, own) {
        (Some(given), own) => {
            report.key = KeyTrust::Authenticated(given.to_string());
            if own.as_ref() != Ok(given) {
                let problem = "it brings another key of the log".to_owned();
                add(report, FindingKind::Identity, problem);
            }
            given.clone()
        }
        (None, Ok(own)) => {
            report.key = KeyTrust::NotAuthenticated(own.to_string());
            own
        }
        (None, Err(error)) => {
            add(report, FindingKind::Malformed, format!("vkey: {error}"));
            return None;
        }
    };
    let signed = match SignedCheckpoint::parse(evidence.checkpoint.as_bytes()) {
        Ok(signed) => signed,
        Err(error) => {
            add(report, FindingKind::Malformed, format!("checkpoint: {error}"));
            return None;
        }
    };
    if let Err(error) = signed.verify(&key) {
        add(report, FindingKind::Signature, format!("checkpoint: {error}"));
        return None;
    }
    let checkpoint = signed.checkpoint;
    report.origin = Some(checkpoint.origin.clone());
    report.size = checkpoint.size;
    report.root = Some(checkpoint.root);
    Some((key, checkpoint))
}

/// Proves every entry, and its records under it.
fn entries(
    evidence: &Evidence,
    key: &VerifierKey,
    out: &mut EvidenceReport,
) -> BTreeMap<u64, Leaf> {
    let mut leaves = BTreeMap::new();
    for entry in &evidence.entries {
        let name = format!("{EVIDENCE_FILE}: entry {}", entry.index);
        let Some(proof) = evidence.tlog_proof(entry) else {
            let problem = "a part of it is not base64";
            out.report.add(Finding::new(FindingKind::Malformed, name, problem));
            continue;
        };
        let leaf = match proof.check(key, None) {
            Ok(checked) => checked.leaf,
            Err(error) => {
                out.report.add(Finding::new(FindingKind::Hash, name, error));
                continue;
            }
        };
        out.entries += 1;
        for record in &entry.records {
            let proven = record.proof().map(|proof| proof.verify(&leaf));
            let problem = match proven {
                Some(Ok(())) => {
                    out.records += 1;
                    continue;
                }
                Some(Err(error)) => error.to_string(),
                None => format!("record {}: a part of it is not base64", record.sequence),
            };
            out.report.add(Finding::new(FindingKind::Hash, &name, problem));
        }
        leaves.insert(entry.index, leaf);
    }
    leaves
}

/// What lies beside the evidence: the single proofs, for other verifiers, and the table. What is
/// none of a bundle's files is a finding.
fn beside(
    files: &BTreeMap<String, Vec<u8>>,
    evidence: &Evidence,
    (key, leaves): (&VerifierKey, &BTreeMap<u64, Leaf>),
    out: &mut EvidenceReport,
) {
    for (name, bytes) in files.iter().filter(|(name, _)| !is_litter(name)) {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let problem = if name.ends_with(".tlog-proof") {
            let checked = TlogProof::parse(text).and_then(|proof| proof.check(key, None));
            checked.err().map(|error| error.to_string())
        } else if name.ends_with(".record.json") {
            let proof = RecordProof::from_json(text);
            let proven =
                proof.is_ok_and(|proof| leaves.values().any(|leaf| proof.verify(leaf).is_ok()));
            (!proven).then(|| "no entry of the bundle holds this record".to_owned())
        } else if name == "checkpoint" {
            let differs = text != evidence.checkpoint;
            differs.then(|| "it is not the checkpoint of the evidence".to_owned())
        } else if name == STAMPED_CHECKPOINT_FILE || name == STAMPED_ANSWER_FILE {
            let stamped = evidence.stamped.as_ref().and_then(StampedCheckpoint::files);
            let is_same =
                stamped.is_some_and(|both| both.iter().any(|(of, own)| of == name && own == bytes));
            (!is_same).then(|| "it is not that of the evidence".to_owned())
        } else if name == "log.vkey" {
            let differs = text.trim() != evidence.vkey.trim();
            differs.then(|| "it is not the key of the evidence".to_owned())
        } else if name == EVIDENCE_TABLE_FILE {
            let differs = *bytes != evidence_table(evidence);
            differs.then(|| "it does not say what the records say".to_owned())
        } else if name == EVIDENCE_READ_ME_FILE {
            if text != EVIDENCE_READ_ME {
                let problem = "it is not the text that this version writes";
                out.unchecked.push(format!("{name}: {problem}"));
            }
            None
        } else {
            if name != EVIDENCE_FILE && name != EVIDENCE_PAGE {
                let problem = "no part of a bundle of evidence";
                out.report.add(Finding::new(FindingKind::Extra, name, problem));
            }
            None
        };
        if let Some(problem) = problem {
            out.report.add(Finding::new(FindingKind::Hash, name, problem));
        }
    }
}

#[cfg(test)]
mod tests;

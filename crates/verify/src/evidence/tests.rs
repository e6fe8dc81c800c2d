//! A bundle of one record, and what is said of it once a file of it was changed.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use veritwin_domain::{BatchId, Timestamp};

use super::*;
use crate::{
    Act, KeyAlgorithm, SIGNATURE_LEN, leaf_hash, record_hashes, record_salt, records_root, sha256,
};

const ORIGIN: &str = "archive.example/log";
const RECORD: &str =
    r#"{"kind":"readings","device":"d","received_at_us":0,"readings":[["t",0,21.5,"good"]]}"#;

fn pair(seed: u8) -> (Ed25519KeyPair, [u8; 32]) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    (pair, public)
}

fn signed(pair: &Ed25519KeyPair, message: &[u8]) -> [u8; SIGNATURE_LEN] {
    pair.sign(message).as_ref().try_into().unwrap()
}

/// A log of one leaf with one record.
fn evidence() -> Evidence {
    let (batch_salt, at) = ([5; 32], Timestamp::EPOCH);
    let (submitter, public) = pair(2);
    let records = [RECORD.as_bytes().to_vec()];
    let mut leaf = Leaf {
        act: Act::Batch,
        batch: BatchId::from_bytes([1; 16]),
        previous_batch: BatchId::from_bytes([0; 16]),
        previous_hash: Digest::ZERO,
        first_sequence: 1,
        count: 1,
        events_from: at,
        events_to: at,
        sealed_at: at,
        payload: sha256(b"sealed"),
        payload_bytes: 6,
        records_root: records_root(&record_hashes(&batch_salt, 1, &records)),
        submitter: public,
        signature: [0; SIGNATURE_LEN],
    };
    leaf.signature = signed(&submitter, &leaf.signed_message(ORIGIN));
    let entry = leaf.encode();
    let (log, public) = pair(1);
    let key = VerifierKey::new(ORIGIN, KeyAlgorithm::Ed25519, public).unwrap();
    let root = leaf_hash(&entry);
    let text = Checkpoint { origin: ORIGIN.to_owned(), size: 1, root }.text();
    let line = key.signature_line(&signed(&log, text.as_bytes()));
    let [record] = records;
    let salt = record_salt(&batch_salt, 1);
    let proof = RecordProof { sequence: 1, salt, record, path: Vec::new() };
    Evidence {
        format: Evidence::FORMAT.to_owned(),
        made_at: "2027-01-10T00:00:00Z".to_owned(),
        about: [("device name".to_owned(), "pump\u{1b}[2J".to_owned())].into(),
        vkey: key.to_string(),
        checkpoint: format!("{text}\n{line}"),
        stamped: None,
        entries: vec![EvidenceEntry {
            index: 0,
            leaf: STANDARD.encode(entry),
            path: Vec::new(),
            records: vec![EvidenceRecord::of(&proof)],
        }],
    }
}

fn bundle(evidence: &Evidence) -> BTreeMap<String, Vec<u8>> {
    let json = serde_json::to_vec(evidence).unwrap();
    [
        (EVIDENCE_PAGE, evidence_page(&json)),
        (EVIDENCE_READ_ME_FILE, EVIDENCE_READ_ME.as_bytes().to_vec()),
        (EVIDENCE_TABLE_FILE, evidence_table(evidence)),
        (EVIDENCE_FILE, json),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

#[test]
fn a_whole_bundle_holds_and_what_it_says_of_itself_is_told_apart() {
    let out = verify_evidence(&bundle(&evidence()), None, None);
    assert_eq!(out.report.exit, ExitClass::Verified, "{}", out.report);
    assert_eq!((out.entries, out.records), (1, 1));
    assert!(out.unchecked.is_empty(), "{:?}", out.unchecked);
    let stated = ["made_at=2027-01-10T00:00:00Z", r"device name=pump\u{1b}[2J"];
    assert_eq!(out.stated, stated, "and nothing in it moves a terminal");
}

#[test]
fn a_bundle_without_an_entry_proves_nothing() {
    let nothing = Evidence { entries: Vec::new(), ..evidence() };
    let report = verify_evidence(&bundle(&nothing), None, None).report;
    assert_eq!(report.exit, ExitClass::Missing, "{report}");
    assert!(report.to_string().contains("it proves nothing"), "{report}");
}

#[test]
fn what_people_read_is_checked_or_named() {
    let whole = bundle(&evidence());
    let with = |name: &str, bytes: &[u8]| {
        let mut files = whole.clone();
        files.insert(name.to_owned(), bytes.to_vec());
        let out = verify_evidence(&files, None, None);
        let kinds: Vec<FindingKind> = out.report.findings.iter().map(|one| one.kind).collect();
        (out.report.exit, kinds, out.unchecked)
    };
    let table = String::from_utf8(evidence_table(&evidence())).unwrap().replace("21.5", "12.5");
    let changed = with(EVIDENCE_TABLE_FILE, table.as_bytes());
    assert_eq!(changed, (ExitClass::Tampered, vec![FindingKind::Hash], Vec::new()));
    let more = with("certificate.pdf", b"%PDF");
    assert_eq!(more, (ExitClass::Tampered, vec![FindingKind::Extra], Vec::new()));
    assert_eq!(with(".DS_Store", b"").0, ExitClass::Verified);
    let (exit, _, unchecked) = with(EVIDENCE_READ_ME_FILE, b"Trust it.");
    assert_eq!((exit, unchecked.len()), (ExitClass::Verified, 1));
    assert!(unchecked[0].starts_with("READ-ME.txt: "), "{unchecked:?}");
    // A page that is green whatever it holds.
    let mut page = b"<p style=color:green>Verified</p><!--".to_vec();
    assert_eq!(with(EVIDENCE_PAGE, &page).1, [FindingKind::Hash]);
    page.extend(page_text(&whole[EVIDENCE_FILE]));
    let (exit, _, unchecked) = with(EVIDENCE_PAGE, &page);
    assert_eq!((exit, unchecked.len()), (ExitClass::Verified, 1));
    assert!(unchecked[0].starts_with("index.html: "), "{unchecked:?}");
}

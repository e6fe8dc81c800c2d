//! Folders of mails, made with a small tree and two keys, and then changed.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::{
    Checkpoint, Digest, ExitClass, FindingKind, KeyAlgorithm, ProofError, TileHashes, TilePath,
    VerifierKey, consistency_path, leaf_hash, root_of, sha256,
};

const ORIGIN: &str = "archive.example/log";

struct Leaves(Vec<Digest>);

impl TileHashes for Leaves {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        Ok(self.0[..usize::from(tile.width)].to_vec())
    }
}

fn leaves(size: u64) -> Leaves {
    Leaves((0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect())
}

fn log_key() -> (Ed25519KeyPair, VerifierKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = VerifierKey::new(ORIGIN, KeyAlgorithm::Ed25519, public).unwrap();
    (pair, key)
}

fn note(size: u64, root: Digest) -> String {
    let (pair, key) = log_key();
    let text = Checkpoint { origin: ORIGIN.to_owned(), size, root }.text();
    format!("{text}\n{}", key.signature_line(pair.sign(text.as_bytes()).as_ref()))
}

fn place() -> DkimPlace {
    DkimPlace { domain: "veritwin.example".to_owned(), selector: "e1".to_owned() }
}

fn dkim_pair() -> (Ed25519KeyPair, DkimKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    (pair, DkimKey { algorithm: DkimAlgorithm::Ed25519Sha256, public })
}

fn signed(mail: &str) -> Vec<u8> {
    let (pair, key) = dkim_pair();
    let draft = DkimDraft::new(mail.as_bytes(), &place(), key.algorithm, 1_800_000_000).unwrap();
    (draft.field(pair.sign(&draft.to_sign()).as_ref()) + mail).into_bytes()
}

fn attached(name: &str, bytes: &[u8]) -> String {
    format!(
        "--xyz\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; \
         filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        STANDARD.encode(bytes)
    )
}

/// The mail `number` with a checkpoint over `size` leaves, after those of `since`.
fn mail(number: u64, size: u64, since: &[(u64, u64)]) -> MailFile {
    let since: Vec<_> = since.iter().map(|(number, size)| (None, *number, *size)).collect();
    let file = mail_of("m", (number, number), size, &since);
    MailFile { name: format!("{number}.eml"), ..file }
}

/// A mail of some sequence, written on a day; `since` may name mails of other ones.
fn mail_of(
    mailing: &str,
    (number, day): (u64, u64),
    size: u64,
    since: &[(Option<&str>, u64, u64)],
) -> MailFile {
    let tree = leaves(size);
    let root = root_of(&tree.0);
    let (_, vkey) = log_key();
    let checkpoint = note(size, root).into_bytes();
    let vkey = format!("{vkey}\n").into_bytes();
    let hash = |bytes: &[u8]| sha256(bytes).to_string();
    let bridges = since.iter().map(|(mailing, number, old)| Bridge {
        mailing: mailing.map(str::to_owned),
        number: *number,
        tree_size: *old,
        root_hash: root_of(&tree.0[..usize::try_from(*old).unwrap().min(tree.0.len())]).to_base64(),
        path: consistency_path(&tree, *old, size)
            .unwrap_or_default()
            .into_iter()
            .map(Digest::to_base64)
            .collect(),
    });
    let manifest = LedgerMail {
        format: LedgerMail::FORMAT.to_owned(),
        mailing: mailing.to_owned(),
        number,
        written_at: format!("2027-01-{day:02}T00:00:00Z"),
        origin: ORIGIN.to_owned(),
        tree_size: size,
        root_hash: root.to_base64(),
        since: bridges.collect(),
        stamped: None,
        files: [("checkpoint", &checkpoint), ("log.vkey", &vkey)]
            .map(|(name, bytes)| (name.to_owned(), hash(bytes)))
            .into(),
        dkim: vec![format!("{} {}", place().name(), dkim_pair().1.record())],
    };
    let body = [
        attached("checkpoint", &checkpoint),
        attached("log.vkey", &vkey),
        attached(LEDGER_MAIL_FILE, &serde_json::to_vec(&manifest).unwrap()),
    ];
    let text = format!(
        "From: ledger@veritwin.example\r\nTo: ada@auditor.example\r\nContent-Type: \
         multipart/mixed; boundary=\"xyz\"\r\n\r\n{}--xyz--\r\n",
        body.concat()
    );
    MailFile { name: format!("{mailing}-{number}.eml"), bytes: signed(&text) }
}

#[test]
fn several_sequences_tell_one_history_or_are_told_apart() {
    use FindingKind::{Fork, Missing, Rewind};
    let one = |number, day, size, since| mail_of("a", (number, day), size, since);
    let two = |number, day, size, since| mail_of("b", (number, day), size, since);
    let first = one(1, 1, 3, &[]);
    let joined = two(1, 2, 7, &[(Some("a"), 1, 3)]);
    check(&[first.clone(), joined.clone()], ExitClass::Verified, &[], "given by you");
    // A sequence of its own is not enough to leave a history behind.
    let apart = [first.clone(), two(1, 2, 7, &[])];
    check(&apart, ExitClass::Missing, &[Missing], "mailing b, up to b-1.eml, is not shown to");
    // What was joined once has to stay so.
    let parted = [
        first.clone(),
        joined.clone(),
        one(2, 3, 8, &[(None, 1, 3)]),
        two(2, 4, 9, &[(None, 1, 7)]),
    ];
    check(&parted, ExitClass::Missing, &[Missing], "a-2.eml: mailing b, up to b-2.eml");
    let kept = [
        first.clone(),
        joined.clone(),
        one(2, 3, 8, &[(None, 1, 3), (Some("b"), 1, 7)]),
        two(2, 4, 9, &[(None, 1, 7), (Some("a"), 2, 8)]),
    ];
    check(&kept, ExitClass::Verified, &[], "given by you");
    // One that was ended is extended by those that go on; it cannot extend what came after it.
    let ended = [
        first.clone(),
        joined.clone(),
        one(2, 3, 8, &[(None, 1, 3), (Some("b"), 1, 7)]),
        two(2, 4, 9, &[(None, 1, 7), (Some("a"), 2, 8)]),
        mail_of("c", (1, 5), 11, &[(Some("b"), 2, 9)]),
        mail_of("c", (2, 6), 12, &[(None, 1, 11), (Some("b"), 2, 9)]),
    ];
    check(&ended, ExitClass::Verified, &[], "given by you");
    // Checkpoints that are the same need no proof.
    let same = [first.clone(), two(1, 2, 3, &[])];
    check(&same, ExitClass::Verified, &[], "given by you");
    let other = [first.clone(), two(1, 2, 7, &[(Some("a"), 1, 4)])];
    let words = "it begins at another checkpoint";
    check(&other, ExitClass::Tampered, &[Fork, Missing], words);
    let back = [one(1, 1, 9, &[]), two(1, 2, 7, &[])];
    let words = "b-1.eml: the log went back behind the checkpoint of a-1.eml";
    check(&back, ExitClass::Tampered, &[Rewind, Missing], words);
}

fn given() -> ReceiptOptions {
    let mut keys = DkimKeys::default();
    keys.add_line(&format!("{} {}", place().name(), dkim_pair().1.record())).unwrap();
    ReceiptOptions { vkey: Some(log_key().1), dkim: Some(keys), authorities: None }
}

#[track_caller]
fn check(mails: &[MailFile], exit: ExitClass, kinds: &[FindingKind], words: &str) {
    let out = receipts(mails, &given());
    let found: Vec<FindingKind> = out.report.findings.iter().map(|one| one.kind).collect();
    let text = out.report.to_string();
    assert_eq!((out.report.exit, found.as_slice()), (exit, kinds), "{text}");
    assert!(text.contains(words), "{words:?} in {text}");
}

#[test]
fn a_whole_sequence_holds_in_any_order_with_keys_given_or_recorded() {
    let mails = [mail(3, 9, &[(2, 7), (1, 3)]), mail(1, 3, &[]), mail(2, 7, &[(1, 3)])];
    check(&mails, ExitClass::Verified, &[], "given by you");
    let out = receipts(&mails, &ReceiptOptions::default());
    assert_eq!((out.report.exit, out.mails, out.signatures), (ExitClass::Verified, 3, 3));
    let chain = &out.chains[0];
    assert_eq!((chain.first, chain.last, chain.tree_size), (1, 3, 9));
    check(&mails[..1], ExitClass::Verified, &[], "mails 1-2 are not in the folder");
    let same = [mail(1, 3, &[]), MailFile { name: "copy.eml".to_owned(), ..mail(1, 3, &[]) }];
    check(&same, ExitClass::Verified, &[], "copy.eml is the same mail as 1.eml");
    check(&[], ExitClass::Missing, &[FindingKind::Missing], "no mail with ledger attachments");
}

#[test]
fn gaps_rewinds_and_forks_are_named() {
    use FindingKind::{Chain, Fork, Missing, Rewind};
    let gap = [mail(1, 3, &[]), mail(4, 9, &[(3, 8), (2, 7), (1, 3)])];
    check(&gap, ExitClass::Missing, &[Missing], "mails 2-3 of mailing m are missing before it");
    let unbridged = [mail(1, 3, &[]), mail(3, 9, &[(2, 7)])];
    check(&unbridged, ExitClass::Missing, &[Missing, Missing], "proves nothing about");
    let back = [mail(1, 9, &[]), mail(2, 7, &[(1, 9)])];
    check(&back, ExitClass::Tampered, &[Rewind], "went back behind the checkpoint of 1.eml");
    let other = [mail(1, 3, &[]), mail(2, 7, &[(1, 4)])];
    check(&other, ExitClass::Tampered, &[Fork], "it begins at another checkpoint");
    let twice = [mail(1, 3, &[]), MailFile { name: "2.eml".to_owned(), ..mail(1, 4, &[]) }];
    check(&twice, ExitClass::Tampered, &[Fork], "says something else");
    let dated = [mail(1, 3, &[]), {
        let MailFile { name, bytes } = mail(2, 7, &[(1, 3)]);
        let text = String::from_utf8(bytes).unwrap();
        let mail = attachments(text.as_bytes()).unwrap();
        let old = &mail.iter().find(|part| part.name == LEDGER_MAIL_FILE).unwrap().bytes;
        let new = String::from_utf8(old.clone()).unwrap().replace("2027-01-02", "2026-01-02");
        let (_, text) = text.split_once("From: ").unwrap();
        let text = text.replace(&STANDARD.encode(old), &STANDARD.encode(new));
        MailFile { name, bytes: signed(&format!("From: {text}")) }
    }];
    check(&dated, ExitClass::Tampered, &[Chain], "it was written before 1.eml");
}

#[test]
fn a_changed_mail_is_named() {
    let whole = mail(1, 3, &[]);
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(whole.bytes.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        vec![MailFile { name: "1.eml".to_owned(), bytes: text.replace(from, to).into_bytes() }]
    };
    let exit = ExitClass::Tampered;
    let to = changed("ada@auditor", "eve@auditor");
    check(&to, exit, &[FindingKind::Signature], "1.eml: DKIM signature by e1._domainkey");
    let unsigned = changed("DKIM-Signature", "X-Signature");
    check(&unsigned, exit, &[FindingKind::Signature], "the mail is not DKIM-signed");
    let key = STANDARD.encode(format!("{}\n", log_key().1));
    let other = changed(&key, &STANDARD.encode("nothing"));
    let kinds = [FindingKind::Signature, FindingKind::Hash];
    check(&other, exit, &kinds, "attachment log.vkey was changed");
    // What was changed until it is no ledger mail any more is still a broken signature.
    let hidden = changed("filename=\"ledger-mail.json\"", "filename=\"other-mail.json\"");
    let whole_too = [hidden[0].clone(), MailFile { name: "2.eml".to_owned(), ..whole.clone() }];
    check(&whole_too, exit, &[FindingKind::Signature], "1.eml: DKIM signature by e1._domainkey");
    let renamed = changed("filename=\"checkpoint\"", "filename=\"checkpaint\"");
    let out = receipts(&renamed, &given());
    assert_eq!(out.report.exit, ExitClass::Tampered);
    let mut without = given();
    without.dkim = Some(DkimKeys::default());
    let out = receipts(std::slice::from_ref(&whole), &without);
    assert_eq!(out.report.exit, ExitClass::Missing);
    assert!(out.report.to_string().contains("no key for its DKIM signatures: e1._domainkey"));
}

//! The tamper matrix: every kind of change to a log, what it is found as, where, and with which
//! exit code. The table is printed as `docs/reference/tamper-matrix.md` and compared.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use veritwin_ledger::{Act, ShredReason, export};
use veritwin_verify::FindingKind::{
    Chain, Extra, Hash, Identity, Malformed, Missing, Payload, Root, Signature,
};
use veritwin_verify::{Digest, EVIDENCE_FILE, FindingKind, Leaf};

use crate::fixture::{Submitter, copy_directory};
use crate::tamper::{Exported, edit_bundle, exported, flip, rebuild_tiles, verify};
use crate::tamper_others::{Driven, OTHERS, Other, REFUSED, UNMET, copied, kind_name};

const ENTRIES: &str = "tile/entries/000";
const LAST_ENTRIES: &str = "tile/entries/001.p/47";
const HASHES: &str = "tile/0/000";
const LAST_HASHES: &str = "tile/0/001.p/47";
const ROOTS: &str = "tile/1/000.p/1";
const CHECKPOINT: &str = "checkpoint";
const VKEY: &str = "log.vkey";
const PUBLISHED: &str = "published/";
const PUBLISHED_LIST: &str = "published/index";

/// What a change of an exported log has to be found as.
struct Row {
    group: &'static str,
    change: &'static str,
    edit: fn(&Exported, &Path),
    kind: FindingKind,
    /// The file that is named, or how its name begins.
    file: &'static str,
    /// The leaf that is named.
    leaf: Option<u64>,
}

impl Row {
    const fn of_leaf(self, leaf: u64) -> Self {
        Self { leaf: Some(leaf), ..self }
    }
}

const fn row(
    group: &'static str,
    change: &'static str,
    edit: fn(&Exported, &Path),
    (kind, file): (FindingKind, &'static str),
) -> Row {
    Row { group, change, edit, kind, file, leaf: None }
}

const FLIPPED: &str = "altered";
const CUT: &str = "cut or lengthened";
const MOVED: &str = "dropped, moved, repeated";
const GONE: &str = "missing";
const FOREIGN: &str = "of another log";
const BEYOND: &str = "beside the log";

/// Changes of the files of one export, which is verified with the key that was given.
const ROWS: [Row; 41] = [
    row(FLIPPED, "a bit of an entry", |_, at| flip(at, ENTRIES, 400), (Hash, ENTRIES)).of_leaf(1),
    row(FLIPPED, "a bit of an entry's length", |_, at| flip(at, ENTRIES, 0), (Malformed, ENTRIES)),
    row(FLIPPED, "a bit of a hash tile", |_, at| flip(at, HASHES, 544), (Hash, HASHES)).of_leaf(17),
    row(
        FLIPPED,
        "a bit of the last hash tile",
        |_, at| flip(at, LAST_HASHES, 69),
        (Hash, LAST_HASHES),
    )
    .of_leaf(258),
    row(FLIPPED, "a bit of a tile of roots", |_, at| flip(at, ROOTS, 3), (Hash, ROOTS)),
    row(
        FLIPPED,
        "a bit of a payload",
        |log, at| flip(at, &payload(log), 100),
        (Payload, "payload/"),
    )
    .of_leaf(2),
    row(FLIPPED, "the checkpoint's root", |_, at| letter(at, 2, 9), (Signature, CHECKPOINT)),
    row(FLIPPED, "the checkpoint's signature", signature, (Signature, CHECKPOINT)),
    row(FLIPPED, "the checkpoint's size", smaller, (Signature, CHECKPOINT)),
    row(FLIPPED, "the checkpoint's origin", |_, at| letter(at, 0, 0), (Identity, CHECKPOINT)),
    row(FLIPPED, "a bit of the key beside it", |_, at| flip(at, VKEY, 3), (Malformed, VKEY)),
    row(FLIPPED, "a published checkpoint's signature", flip_published, (Signature, PUBLISHED)),
    row(FLIPPED, "its time stamp", stamped, (Signature, PUBLISHED)),
    row(FLIPPED, "its proof in the log of logs", rolled, (Signature, PUBLISHED)),
    row(FLIPPED, "an entry, hash tiles made to fit", forged, (Root, CHECKPOINT)),
    row(
        FLIPPED,
        "a leaf back-dated by its submitter, hash tiles made to fit",
        back_dated,
        (Chain, LAST_ENTRIES),
    )
    .of_leaf(302),
    row(
        FLIPPED,
        "a statement that payloads were destroyed, forged, hash tiles made to fit",
        forged_end,
        (Root, CHECKPOINT),
    ),
    row(
        FLIPPED,
        "a change of the submitter's key, forged, hash tiles made to fit",
        forged_key,
        (Root, CHECKPOINT),
    ),
    row(CUT, "a bundle", |_, at| cut(at, ENTRIES, 1000), (Malformed, ENTRIES)),
    row(CUT, "a hash tile", |_, at| cut(at, HASHES, 1000), (Malformed, HASHES)),
    row(CUT, "a payload", |log, at| cut(at, &payload(log), 100), (Payload, "payload/")).of_leaf(2),
    row(CUT, "the checkpoint", |_, at| cut(at, CHECKPOINT, 20), (Malformed, CHECKPOINT)),
    row(CUT, "the list of published checkpoints", unlisted, (Malformed, PUBLISHED_LIST)),
    row(CUT, "an entry more at the end", more, (Malformed, LAST_ENTRIES)),
    row(MOVED, "the last entry of a bundle dropped", drop_last, (Malformed, ENTRIES)),
    row(MOVED, "two entries swapped", |_, at| swap(at), (Hash, ENTRIES)).of_leaf(7),
    row(MOVED, "two entries swapped, hash tiles made to fit", swap_and_fit, (Root, CHECKPOINT)),
    row(MOVED, "an entry twice", twice, (Chain, ENTRIES)).of_leaf(9),
    row(GONE, "a bundle", |_, at| gone(at, ENTRIES), (Missing, ENTRIES)),
    row(GONE, "a hash tile", |_, at| gone(at, HASHES), (Missing, HASHES)),
    row(GONE, "a tile of roots", |_, at| gone(at, ROOTS), (Missing, ROOTS)),
    row(GONE, "a payload", |log, at| gone(at, &payload(log)), (Missing, "payload/")).of_leaf(2),
    row(GONE, "the checkpoint", |_, at| gone(at, CHECKPOINT), (Missing, CHECKPOINT)),
    row(GONE, "a published checkpoint", unpublished, (Missing, PUBLISHED)),
    row(FOREIGN, "another tenant's log", other_log, (Identity, CHECKPOINT)),
    row(FOREIGN, "another tenant's entries and tiles", other_tiles, (Signature, ENTRIES)),
    row(BEYOND, "a tile that the tree does not reach", beyond, (Extra, "tile/entries/002")),
    row(BEYOND, "a forged tile of another width", narrower, (Extra, "tile/0/001.p/9")),
    row(BEYOND, "a published checkpoint that is not listed", beside, (Extra, PUBLISHED)),
    row(BEYOND, "a payload that no leaf names", strange, (Extra, "payload/")),
    row(BEYOND, "a bundle of evidence", |_, at| bundled(at), (Extra, EVIDENCE_FILE)),
];

fn payload(log: &Exported) -> String {
    format!("payload/{}", log.batches[2].leaf.payload)
}

/// Exchanges a letter of a line of the checkpoint for another one that may stand there.
fn letter(at: &Path, line: usize, place: usize) {
    let path = at.join(CHECKPOINT);
    let text = fs::read_to_string(&path).unwrap();
    let start: usize = text.lines().take(line).map(|line| line.len() + 1).sum();
    let mut bytes = text.into_bytes();
    let byte = &mut bytes[start + place];
    *byte = if *byte == b'B' { b'C' } else { b'B' };
    fs::write(path, bytes).unwrap();
}

/// A letter of the signature itself: behind the dash, the name and the key's id.
fn signature(log: &Exported, at: &Path) {
    letter(at, 4, "\u{2014}  ".len() + log.vkey.name().len() + 40);
}

fn smaller(_: &Exported, at: &Path) {
    let path = at.join(CHECKPOINT);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace("\n303\n", "\n302\n")).unwrap();
}

fn cut(at: &Path, name: &str, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(at.join(name)).unwrap();
    file.set_len(bytes).unwrap();
}

fn gone(at: &Path, name: &str) {
    fs::remove_file(at.join(name)).unwrap();
}

fn forged(_: &Exported, at: &Path) {
    edit_bundle(at, ENTRIES, |entries| entries[20][100] ^= 1);
    rebuild_tiles(at);
}

/// The submitter signs its last leaf anew, with an earlier time.
fn back_dated(log: &Exported, at: &Path) {
    edit_bundle(at, LAST_ENTRIES, |entries| {
        let last = entries.last_mut().unwrap();
        let mut leaf = Leaf::decode(last).unwrap();
        leaf.sealed_at = log.batches[0].leaf.sealed_at;
        leaf.signature = log.one.key.sign(&leaf.signed_message(&log.one.origin));
        *last = leaf.encode();
    });
    rebuild_tiles(at);
}

/// The last leaf, made to say something else by somebody who has not its submitter's key.
fn replace_last(log: &Exported, at: &Path, act: Act) {
    let stranger = veritwin_keys::SigningKey::generate(log.world.rng.as_ref());
    edit_bundle(at, LAST_ENTRIES, |entries| {
        let last = entries.last_mut().unwrap();
        let mut leaf = Leaf::decode(last).unwrap();
        (leaf.act, leaf.count, leaf.records_root) = (act, 0, Digest::ZERO);
        leaf.signature = stranger.sign(&leaf.signed_message(&log.one.origin));
        *last = leaf.encode();
    });
    rebuild_tiles(at);
}

fn forged_end(log: &Exported, at: &Path) {
    let act = Act::Shred { from: 0, to: 3, reason: ShredReason::PeriodEnded };
    replace_last(log, at, act);
    gone(at, &payload(log));
}

fn forged_key(log: &Exported, at: &Path) {
    replace_last(log, at, Act::SubmitterKey { next: [9; 32] });
}

fn more(_: &Exported, at: &Path) {
    edit_bundle(at, LAST_ENTRIES, |entries| entries.push(entries[0].clone()));
}

fn drop_last(_: &Exported, at: &Path) {
    edit_bundle(at, ENTRIES, |entries| drop(entries.pop()));
}

fn swap(at: &Path) {
    edit_bundle(at, ENTRIES, |entries| entries.swap(7, 8));
}

fn swap_and_fit(_: &Exported, at: &Path) {
    swap(at);
    rebuild_tiles(at);
}

fn twice(_: &Exported, at: &Path) {
    edit_bundle(at, ENTRIES, |entries| entries[9] = entries[8].clone());
}

/// Where the other tenant's log of the same archive was exported to.
fn other(log: &Exported) -> std::path::PathBuf {
    log.world.path("other")
}

fn other_log(log: &Exported, at: &Path) {
    fs::remove_dir_all(at).unwrap();
    copy_directory(&other(log), at);
}

fn other_tiles(log: &Exported, at: &Path) {
    fs::remove_dir_all(at.join("tile")).unwrap();
    copy_directory(&other(log).join("tile"), &at.join("tile"));
}

fn beyond(_: &Exported, at: &Path) {
    fs::copy(at.join(ENTRIES), at.join("tile/entries/002")).unwrap();
}

/// A narrower tile than the tree calls for: those of earlier checkpoints may be there.
fn narrower(log: &Exported, at: &Path) {
    let hashes = fs::read(at.join(LAST_HASHES)).unwrap();
    fs::write(at.join("tile/0/001.p/7"), &hashes[..7 * 32]).unwrap();
    assert!(verify(at, &log.options()).findings.is_empty(), "an earlier one harms nothing");
    fs::write(at.join("tile/0/001.p/9"), &hashes[32..10 * 32]).unwrap();
}

fn bundled(at: &Path) {
    fs::write(at.join(EVIDENCE_FILE), b"{}").unwrap();
}

fn strange(_: &Exported, at: &Path) {
    fs::write(at.join("payload").join("1".repeat(64)), b"strange").unwrap();
}

/// Puts the earlier checkpoint beside the log, as one that was published; the answer is its file.
fn publish(log: &Exported, at: &Path) -> std::path::PathBuf {
    let early = String::from_utf8(log.early.clone()).unwrap();
    let size = early.lines().nth(1).unwrap();
    fs::create_dir(at.join("published")).unwrap();
    fs::write(at.join(PUBLISHED_LIST), format!("{size}\n")).unwrap();
    let file = at.join(format!("published/{size}.checkpoint"));
    fs::write(&file, early).unwrap();
    assert!(verify(at, &log.options()).findings.is_empty(), "a published checkpoint harms nothing");
    file
}

fn flip_published(log: &Exported, at: &Path) {
    let file = publish(log, at);
    let text = fs::read_to_string(&file).unwrap();
    let place = text.trim_end().len() - 8;
    let letter = if text.as_bytes()[place] == b'B' { "C" } else { "B" };
    fs::write(file, [&text[..place], letter, &text[place + 1..]].concat()).unwrap();
}

fn stamped(log: &Exported, at: &Path) {
    let file = publish(log, at);
    fs::write(file.with_extension("tsr"), b"no time stamp").unwrap();
}

fn rolled(log: &Exported, at: &Path) {
    let file = publish(log, at);
    fs::write(file.with_extension("roll"), b"{}").unwrap();
}

fn unlisted(log: &Exported, at: &Path) {
    publish(log, at);
    fs::write(at.join(PUBLISHED_LIST), "many\n").unwrap();
}

fn unpublished(log: &Exported, at: &Path) {
    fs::remove_file(publish(log, at)).unwrap();
}

fn beside(log: &Exported, at: &Path) {
    publish(log, at);
    fs::write(at.join("published/5.checkpoint"), b"beside").unwrap();
}

const INTRODUCTION: &str = "# Tamper matrix

What `veritwin ledger verify`, `consistency`, `proof` and `gaps` find: a test makes each of these \
changes and compares, most of them to a log of 303 leaves. Kind and file are those of a finding; \
further findings may stand beside it. The platform's lookup index is no part of a log: whoever \
asks one that was changed is told that the record does not lie there (`misplaced`). A leaf that \
says it was sealed long before a time stamp that does not cover it is a note and exit 0, and with \
`--strict-times` found as `time` and exit 10. That, mails (`receipts`) and bundles of evidence \
have tests of their own.

| what is changed | change | found as | named | exit |
|---|---|---|---|---|
";

/// The document of the table.
fn printed() -> String {
    let mut out = INTRODUCTION.to_owned();
    for row in &ROWS {
        let (kind, exit) = (kind_name(row.kind), row.kind.class().code());
        let end = if row.file.ends_with('/') { "..." } else { "" };
        let leaf = row.leaf.map_or_else(String::new, |leaf| format!(", leaf {leaf}"));
        let (group, change, file) = (row.group, row.change, row.file);
        let _ = writeln!(out, "| {group} | {change} | `{kind}` | `{file}{end}`{leaf} | {exit} |");
    }
    for Other { group, change, found, exit, file, .. } in &OTHERS {
        let named = file.map_or_else(|| "the proof".to_owned(), |file| format!("`{file}`"));
        let found = match *found {
            REFUSED | UNMET => (*found).to_owned(),
            kind => format!("`{kind}`"),
        };
        let _ = writeln!(out, "| {group} | {change} | {found} | {named} | {exit} |");
    }
    out
}

#[tokio::test]
async fn every_change_is_found_as_the_table_says() {
    let log = exported(35).await;
    let mut two = Submitter::create(&log.world, &log.archive).await;
    two.append_digests(&log.archive, 303).await;
    export(&log.archive.source(two.log), &other(&log), &mut |_, _| {}).unwrap();
    for Row { group, change, edit, kind, file, leaf } in &ROWS {
        let copy = copied(&log, &log.at, |at| edit(&log, at));
        let report = verify(&copy, &log.options());
        let is_named = report.findings.iter().any(|found| {
            let of_leaf = leaf.is_none() || found.leaf.map(|place| place.index) == *leaf;
            found.kind == *kind && found.file.starts_with(file) && of_leaf
        });
        assert!(is_named, "{group}: {change}: {report}");
        assert_eq!(report.exit, kind.class(), "{group}: {change}: {report}");
    }
}

#[tokio::test]
async fn every_other_change_is_found_as_the_table_says() {
    let driven = Driven::new().await;
    for Other { group, change, found, exit, drive, .. } in &OTHERS {
        let expected = ((*found).to_owned(), *exit);
        assert_eq!(drive(&driven), expected, "{group}: {change}");
    }
}

#[test]
fn the_table_is_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/tamper-matrix.md");
    let document = fs::read_to_string(path).unwrap_or_default();
    let printed = printed();
    println!("{printed}");
    assert_eq!(printed, document, "docs/reference/tamper-matrix.md is out of date");
}

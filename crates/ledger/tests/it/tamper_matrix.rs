//! The tamper matrix: every kind of change to a log, what it is found as, where, and with which
//! exit code. The table is printed as `docs/reference/tamper-matrix.md` and compared.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use veritwin_ledger::export;
use veritwin_verify::FindingKind::{
    Chain, Extra, Fork, Hash, Identity, Malformed, Missing, Payload, Rewind, Root, Signature,
};
use veritwin_verify::{
    DirectorySource, FindingKind, KnownCheckpoint, Leaf, TlogProof, VerifyOptions, proof,
};

use crate::fixture::{Submitter, copy_directory};
use crate::tamper::{Exported, edit_bundle, exported, flip, forked, rebuild_tiles, verify};

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
}

const fn row(
    group: &'static str,
    change: &'static str,
    edit: fn(&Exported, &Path),
    (kind, file): (FindingKind, &'static str),
) -> Row {
    Row { group, change, edit, kind, file }
}

const FLIPPED: &str = "altered";
const CUT: &str = "cut or lengthened";
const MOVED: &str = "dropped, moved, repeated";
const GONE: &str = "missing";
const FOREIGN: &str = "of another log";
const BEYOND: &str = "beside the log";

/// Changes of the files of one export, which is verified with the key that was given.
const ROWS: [Row; 37] = [
    row(FLIPPED, "a bit of an entry", |_, at| flip(at, ENTRIES, 400), (Hash, ENTRIES)),
    row(FLIPPED, "a bit of an entry's length", |_, at| flip(at, ENTRIES, 0), (Malformed, ENTRIES)),
    row(FLIPPED, "a bit of a hash tile", |_, at| flip(at, HASHES, 544), (Hash, HASHES)),
    row(
        FLIPPED,
        "a bit of the last hash tile",
        |_, at| flip(at, LAST_HASHES, 69),
        (Hash, LAST_HASHES),
    ),
    row(FLIPPED, "a bit of a tile of roots", |_, at| flip(at, ROOTS, 3), (Hash, ROOTS)),
    row(
        FLIPPED,
        "a bit of a payload",
        |log, at| flip(at, &payload(log), 100),
        (Payload, "payload/"),
    ),
    row(FLIPPED, "the checkpoint's root", |_, at| letter(at, 2, 9), (Signature, CHECKPOINT)),
    row(FLIPPED, "the checkpoint's signature", signature, (Signature, CHECKPOINT)),
    row(FLIPPED, "the checkpoint's size", smaller, (Signature, CHECKPOINT)),
    row(FLIPPED, "the checkpoint's origin", |_, at| letter(at, 0, 0), (Identity, CHECKPOINT)),
    row(FLIPPED, "a bit of the key beside it", |_, at| flip(at, VKEY, 3), (Malformed, VKEY)),
    row(FLIPPED, "a published checkpoint's signature", flip_published, (Signature, PUBLISHED)),
    row(FLIPPED, "its time stamp", stamped, (Signature, PUBLISHED)),
    row(FLIPPED, "an entry, hash tiles made to fit", forged, (Root, CHECKPOINT)),
    row(
        FLIPPED,
        "a leaf back-dated by its submitter, hash tiles made to fit",
        back_dated,
        (Chain, LAST_ENTRIES),
    ),
    row(CUT, "a bundle", |_, at| cut(at, ENTRIES, 1000), (Malformed, ENTRIES)),
    row(CUT, "a hash tile", |_, at| cut(at, HASHES, 1000), (Malformed, HASHES)),
    row(CUT, "a payload", |log, at| cut(at, &payload(log), 100), (Payload, "payload/")),
    row(CUT, "the checkpoint", |_, at| cut(at, CHECKPOINT, 20), (Malformed, CHECKPOINT)),
    row(CUT, "the list of published checkpoints", unlisted, (Malformed, PUBLISHED_LIST)),
    row(CUT, "an entry more at the end", more, (Malformed, LAST_ENTRIES)),
    row(MOVED, "the last entry of a bundle dropped", drop_last, (Malformed, ENTRIES)),
    row(MOVED, "two entries swapped", |_, at| swap(at), (Hash, ENTRIES)),
    row(MOVED, "two entries swapped, hash tiles made to fit", swap_and_fit, (Root, CHECKPOINT)),
    row(MOVED, "an entry twice", twice, (Chain, ENTRIES)),
    row(GONE, "a bundle", |_, at| gone(at, ENTRIES), (Missing, ENTRIES)),
    row(GONE, "a hash tile", |_, at| gone(at, HASHES), (Missing, HASHES)),
    row(GONE, "a tile of roots", |_, at| gone(at, ROOTS), (Missing, ROOTS)),
    row(GONE, "a payload", |log, at| gone(at, &payload(log)), (Missing, "payload/")),
    row(GONE, "the checkpoint", |_, at| gone(at, CHECKPOINT), (Missing, CHECKPOINT)),
    row(GONE, "a published checkpoint", unpublished, (Missing, PUBLISHED)),
    row(FOREIGN, "another tenant's log", other_log, (Identity, CHECKPOINT)),
    row(FOREIGN, "another tenant's entries and tiles", other_tiles, (Signature, ENTRIES)),
    row(BEYOND, "a tile that the tree does not reach", beyond, (Extra, "tile/entries/002")),
    row(BEYOND, "a forged tile of another width", narrower, (Extra, "tile/0/001.p/9")),
    row(BEYOND, "a published checkpoint that is not listed", beside, (Extra, PUBLISHED)),
    row(BEYOND, "a payload that no leaf names", strange, (Extra, "payload")),
];

/// What only an earlier checkpoint tells, and what is wrong with a proof: change, found as, named.
const OTHERS: [(&str, &str, &str, &str); 6] = [
    ("with an earlier checkpoint", "a rewind", "rewind", CHECKPOINT),
    ("with an earlier checkpoint", "a fork", "fork", CHECKPOINT),
    ("a proof of one entry", "its index", "refused", "the proof"),
    ("a proof of one entry", "its entry", "refused", "the proof"),
    ("a proof of one entry", "a hash of its path", "refused", "the proof"),
    ("a proof of one entry", "its checkpoint", "refused", "the proof"),
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

fn strange(_: &Exported, at: &Path) {
    fs::write(at.join("payload").join("0".repeat(64)), b"strange").unwrap();
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

What `veritwin ledger verify`, `consistency` and `proof --check` find: a test makes each of these \
changes to a log of 303 leaves and compares. Kind and file are those of a finding; further \
findings may stand beside it.

| what is changed | change | found as | named | exit |
|---|---|---|---|---|
";

/// The document of the table.
fn printed() -> String {
    let mut out = INTRODUCTION.to_owned();
    for row in &ROWS {
        let kind = serde_json::to_value(row.kind).unwrap();
        let (kind, exit) = (kind.as_str().unwrap().to_owned(), row.kind.class().code());
        let end = if row.file.ends_with('/') { "..." } else { "" };
        let (group, change, file) = (row.group, row.change, row.file);
        let _ = writeln!(out, "| {group} | {change} | `{kind}` | `{file}{end}` | {exit} |");
    }
    for (group, change, kind, file) in OTHERS {
        let named = if file == CHECKPOINT { format!("`{file}`") } else { file.to_owned() };
        let kind = if kind == "refused" { kind.to_owned() } else { format!("`{kind}`") };
        let _ = writeln!(out, "| {group} | {change} | {kind} | {named} | 10 |");
    }
    out
}

#[tokio::test]
async fn every_change_is_found_as_the_table_says() {
    let log = exported(35).await;
    let mut two = Submitter::create(&log.world, &log.archive).await;
    two.append_digests(&log.archive, 303).await;
    export(&log.archive.source(two.log), &other(&log), &mut |_, _| {}).unwrap();
    for Row { group, change, edit, kind, file } in &ROWS {
        let copy = log.world.path("changed");
        copy_directory(&log.at, &copy);
        edit(&log, &copy);
        let report = verify(&copy, &log.options());
        let named =
            |found: &&veritwin_verify::Finding| found.kind == *kind && found.file.starts_with(file);
        assert!(report.findings.iter().any(|found| named(&found)), "{group}: {change}: {report}");
        assert_eq!(report.exit, kind.class(), "{group}: {change}: {report}");
        fs::remove_dir_all(&copy).unwrap();
    }
    rewind_and_fork(&log).await;
}

async fn rewind_and_fork(log: &Exported) {
    let known = |note: Vec<u8>| VerifyOptions {
        known: vec![KnownCheckpoint { name: "kept".to_owned(), note }],
        ..log.options()
    };
    let check = |at: &Path, note: Vec<u8>, kind: FindingKind| {
        let report = verify(at, &known(note));
        let found = report.findings.iter().any(|found| found.kind == kind);
        assert!(found, "{kind:?}: {report}");
        assert_eq!(report.exit.code(), 10, "{kind:?}: {report}");
    };
    let now = fs::read(log.at.join(CHECKPOINT)).unwrap();
    let rewound = log.world.path("rewound");
    copy_directory(&log.at, &rewound);
    fs::write(rewound.join(CHECKPOINT), &log.early).unwrap();
    check(&rewound, now, Rewind);
    let fork = forked(log).await;
    check(&log.at, fork, Fork);
}

#[tokio::test]
async fn every_change_of_a_proof_is_refused() {
    let world_log = exported(36).await;
    let source = DirectorySource::new(&world_log.at);
    let made = proof(&source, 7, &world_log.options()).proof.unwrap();
    let check = |change: &str, changed: &TlogProof, holds: bool| {
        let checked = TlogProof::parse(&changed.to_text());
        let checked = checked.and_then(|proof| proof.check(&world_log.vkey, None));
        assert_eq!(checked.is_ok(), holds, "{change}");
    };
    check("none", &made, true);
    check("its index", &TlogProof { index: 8, ..made.clone() }, false);
    let mut entry = made.entry.clone().unwrap();
    entry[100] ^= 1;
    check("its entry", &TlogProof { entry: Some(entry), ..made.clone() }, false);
    let mut path = made.path.clone();
    path.swap(0, 1);
    check("a hash of its path", &TlogProof { path, ..made.clone() }, false);
    let checkpoint = made.checkpoint.replace("\n303\n", "\n302\n");
    check("its checkpoint", &TlogProof { checkpoint, ..made }, false);
}

#[test]
fn the_table_is_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/tamper-matrix.md");
    let document = fs::read_to_string(path).unwrap_or_default();
    let printed = printed();
    println!("{printed}");
    assert_eq!(printed, document, "docs/reference/tamper-matrix.md is out of date");
}

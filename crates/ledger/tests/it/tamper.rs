//! Changes to an exported log, one by one: which places are named, and what else is found.
//! The table of all kinds is in `tamper_matrix`.

use std::fs;
use std::path::{Path, PathBuf};

use veritwin_ledger::{Archive, SealedBatch, export};
use veritwin_verify::{
    DirectorySource, ExitClass, FindingKind, KnownCheckpoint, Report, SignatureCheck, VerifierKey,
    VerifyOptions, consistency, decode_bundle, encode_bundle, verify_log,
};

use crate::fixture::{Submitter, World, copy_directory};

pub(crate) struct Exported {
    pub(crate) world: World,
    pub(crate) archive: Archive,
    pub(crate) one: Submitter,
    pub(crate) vkey: VerifierKey,
    pub(crate) at: PathBuf,
    pub(crate) early: Vec<u8>,
    pub(crate) batches: Vec<SealedBatch>,
}

/// 303 leaves: a full bundle, a partial one, a partial tile above.
pub(crate) async fn exported(seed: u64) -> Exported {
    let world = World::new(seed);
    let archive = world.archive();
    let mut one = Submitter::create(&world, &archive).await;
    let mut batches = Vec::new();
    for _ in 0..3 {
        let batch = one.batch(40);
        one.append(&archive, &batch).await;
        batches.push(batch);
    }
    one.append_digests(&archive, 150).await;
    let early = archive.read(one.log, "checkpoint").unwrap().unwrap();
    one.append_digests(&archive, 150).await;
    let at = world.path("export");
    export(&archive.source(one.log), &at, &mut |_, _| {}).unwrap();
    let vkey = archive.summary(one.log).unwrap().vkey.parse().unwrap();
    Exported { world, archive, one, vkey, at, early, batches }
}

pub(crate) fn verify(at: &Path, options: &VerifyOptions) -> Report {
    verify_log(&DirectorySource::new(at), options, &mut |_| {})
}

impl Exported {
    pub(crate) fn options(&self) -> VerifyOptions {
        VerifyOptions { vkey: Some(self.vkey.clone()), ..VerifyOptions::default() }
    }

    /// Changes a copy and says what verification found.
    fn tampered(&self, change: impl FnOnce(&Path)) -> Report {
        let copy = self.world.path("tampered");
        copy_directory(&self.at, &copy);
        change(&copy);
        let report = verify(&copy, &self.options());
        fs::remove_dir_all(&copy).unwrap();
        report
    }

    fn check(&self, what: &str, change: impl FnOnce(&Path), wanted: (ExitClass, &str)) -> Report {
        let report = self.tampered(change);
        let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert_eq!(report.exit, wanted.0, "{what}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains(wanted.1)), "{what}: {lines:#?}");
        report
    }
}

pub(crate) fn flip(at: &Path, name: &str, byte: usize) {
    let path = at.join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn edit_bundle(at: &Path, name: &str, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let path = at.join(name);
    let bytes = fs::read(&path).unwrap();
    let mut entries = decode_bundle(&bytes).unwrap().into_iter().map(<[u8]>::to_vec).collect();
    edit(&mut entries);
    fs::write(path, encode_bundle(&entries).unwrap()).unwrap();
}

/// Rebuilds every hash tile from the bundles, as a forger would who holds the directory.
pub(crate) fn rebuild_tiles(at: &Path) {
    let read = |name: &str| fs::read(at.join(name)).unwrap();
    let mut level: Vec<veritwin_verify::Digest> = Vec::new();
    for name in ["tile/entries/000", "tile/entries/001.p/47"] {
        let bytes = read(name);
        let entries = decode_bundle(&bytes).unwrap();
        level.extend(entries.into_iter().map(veritwin_verify::leaf_hash));
    }
    let bytes = |hashes: &[veritwin_verify::Digest]| -> Vec<u8> {
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    };
    fs::write(at.join("tile/0/000"), bytes(&level[..256])).unwrap();
    fs::write(at.join("tile/0/001.p/47"), bytes(&level[256..])).unwrap();
    let root = veritwin_verify::root_of(&level[..256]);
    fs::write(at.join("tile/1/000.p/1"), bytes(&[root])).unwrap();
}

#[tokio::test]
async fn flipped_bits_are_found_and_named() {
    let log = exported(30).await;
    assert_eq!(verify(&log.at, &log.options()).exit, ExitClass::Verified);
    let tampered = ExitClass::Tampered;
    let leaf_1 = &log.batches[1].leaf;
    let named = format!(
        "tile/entries/000: leaf 1 (batch {}, records 41-80): leaf hash differs from tile/0/000",
        leaf_1.batch
    );
    let entry = log.batches[0].entry.len() + 2;
    // One byte of each field of leaf 1: sequence, count, times, payload, roots, signature.
    for offset in [68, 75, 80, 88, 98, 104, 140, 145, 200, 215, 270] {
        let report = log.check(
            &format!("leaf byte {offset}"),
            |at| flip(at, "tile/entries/000", entry + 2 + offset),
            (tampered, "tile/entries/000: leaf 1"),
        );
        assert!(report.findings.iter().all(|finding| finding.kind != FindingKind::Root));
        if offset > 90 && offset < 140 {
            let lines: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
            assert!(lines.iter().any(|line| line.starts_with(&named)), "{lines:#?}");
        }
    }
    let check = |name: &str, byte, wanted: &str| {
        log.check(&format!("{name} {byte}"), |at| flip(at, name, byte), (tampered, wanted));
    };
    check("tile/entries/000", 0, "tile/entries/000");
    check("tile/entries/001.p/47", 100, "tile/entries/001.p/47: leaf 256");
    check("tile/0/000", 32 * 17, "tile/0/000: leaf 17");
    check("tile/0/001.p/47", 32 * 2 + 5, "tile/0/001.p/47: leaf 258");
    check("tile/1/000.p/1", 3, "tile/1/000.p/1: hash 0 is not that of tile/0/000");
    let note = fs::read_to_string(log.at.join("checkpoint")).unwrap();
    let lines: Vec<usize> = note.match_indices('\n').map(|(at, _)| at).collect();
    check("checkpoint", 3, "checkpoint: the checkpoint of another log: origin");
    check("checkpoint", lines[0] + 2, "checkpoint: ");
    check("checkpoint", lines[1] + 2, "signature by");
    check("checkpoint", lines[3] + 40, "checkpoint: ");
    check("checkpoint", note.len() - 20, "checkpoint: ");
    check("log.vkey", 3, "log.vkey");
    check("log.vkey", log.vkey.to_string().len() - 8, "log.vkey");
    let payload = format!("payload/{}", log.batches[2].leaf.payload);
    for byte in [0, 40, 80, 200] {
        let wanted = format!("{payload}: leaf 2 (batch {}", log.batches[2].leaf.batch);
        check(&payload, byte, &wanted);
    }
    let cut = |at: &Path| {
        let file = fs::OpenOptions::new().write(true).open(at.join(&payload)).unwrap();
        file.set_len(100).unwrap();
    };
    log.check("cut payload", cut, (tampered, "another length"));
}

#[tokio::test]
async fn dropped_reordered_and_repeated_leaves_are_found() {
    let log = exported(31).await;
    let tampered = ExitClass::Tampered;
    let bundle = "tile/entries/000";
    let drop_last = |at: &Path| edit_bundle(at, bundle, |entries| drop(entries.pop()));
    log.check("drop the last", drop_last, (tampered, "entries are missing"));
    let swap = |at: &Path| edit_bundle(at, bundle, |entries| entries.swap(7, 8));
    log.check("reorder", swap, (tampered, "tile/entries/000: leaf 7"));
    let repeat = |entries: &mut Vec<Vec<u8>>| entries[9] = entries[8].clone();
    log.check("repeat", |at| edit_bundle(at, bundle, repeat), (tampered, "appears twice"));

    let partial = "tile/entries/001.p/47";
    let add = |at: &Path| edit_bundle(at, partial, |all| all.push(all[0].clone()));
    log.check("add at the end", add, (tampered, "tile/entries/001.p/47: too many entries"));
    let longer = |at: &Path| {
        let path = at.join("tile/0/001.p/47");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend([7; 32]);
        fs::write(path, bytes).unwrap();
    };
    log.check("longer tile", longer, (tampered, "tile/0/001.p/47: wrong length"));

    // The forger rebuilds the tiles: the checkpoint still tells, and the chain names the place.
    let forge = |at: &Path, edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        edit_bundle(at, bundle, edit);
        rebuild_tiles(at);
    };
    let report = log.check(
        "reorder, tiles rebuilt",
        |at| forge(at, &|entries| entries.swap(7, 8)),
        (tampered, "leaf 7"),
    );
    assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::Root));
    assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::Chain));
    log.check(
        "forged leaf, tiles rebuilt",
        |at| forge(at, &|entries| entries[20][100] ^= 1),
        (tampered, "leaf 21"),
    );
    // With the archive's key in the forger's hand only the submitter's chain is left.
    let every = VerifyOptions { signatures: SignatureCheck::Every, ..log.options() };
    let copy = log.world.path("forged");
    copy_directory(&log.at, &copy);
    forge(&copy, &|entries| entries[302 - 256][100] ^= 1);
    assert_eq!(verify(&copy, &every).exit, tampered);

    let missing = ExitClass::Missing;
    for name in [bundle, "tile/0/000", "tile/1/000.p/1", "tile/entries/001.p/47", "checkpoint"] {
        let gone = |at: &Path| fs::remove_file(at.join(name)).unwrap();
        log.check(&format!("{name} gone"), gone, (missing, name));
    }
    let payload = format!("payload/{}", log.batches[0].leaf.payload);
    let gone = |at: &Path| fs::remove_file(at.join(&payload)).unwrap();
    log.check("payload gone", gone, (missing, "leaf 0 (batch"));
}

#[tokio::test]
async fn rewinds_forks_and_swapped_logs_are_found() {
    let log = exported(32).await;
    let (tampered, options) = (ExitClass::Tampered, log.options());
    let now = fs::read(log.at.join("checkpoint")).unwrap();
    let known = |note: &[u8]| VerifyOptions {
        known: vec![KnownCheckpoint { name: "mail of 1 March".to_owned(), note: note.to_vec() }],
        ..options.clone()
    };
    assert_eq!(verify(&log.at, &known(&log.early)).exit, ExitClass::Verified);
    let answer = consistency(&DirectorySource::new(&log.at), &log.early, &log.vkey).unwrap();
    assert_eq!((answer.old.size, answer.new.size), (153, 303));

    // Rewind: an older state of the same log, complete and signed.
    let rewound = log.world.path("rewound");
    copy_directory(&log.at, &rewound);
    edit_bundle(&rewound, "tile/entries/000", |entries| entries.truncate(153));
    fs::rename(rewound.join("tile/entries/000"), rewound.join("short")).unwrap();
    fs::create_dir(rewound.join("tile/entries/000.p")).unwrap();
    fs::rename(rewound.join("short"), rewound.join("tile/entries/000.p/153")).unwrap();
    fs::write(rewound.join("checkpoint"), &log.early).unwrap();
    // Tiles that its checkpoint does not reach would tell.
    let report = verify(&rewound, &options);
    assert!(report.findings.iter().all(|found| found.kind == FindingKind::Extra), "{report}");
    assert_eq!((report.exit, report.findings.len()), (tampered, 3), "{report}");
    for beyond in ["tile/entries/001.p", "tile/0/001.p", "tile/1"] {
        fs::remove_dir_all(rewound.join(beyond)).unwrap();
    }
    assert_eq!(verify(&rewound, &options).exit, ExitClass::Verified);
    let report = verify(&rewound, &known(&now));
    assert_eq!((report.exit, report.findings[0].kind), (tampered, FindingKind::Rewind));
    assert!(report.findings[0].to_string().contains("mail of 1 March"), "{report}");
    let rewind = consistency(&DirectorySource::new(&rewound), &now, &log.vkey).unwrap_err();
    assert_eq!(rewind.kind, FindingKind::Rewind);

    // Fork: the archive as it was after an old backup came back and went on differently.
    let world = &log.world;
    let other = world.archive_at(&world.path("other"), *log.archive.limits()).unwrap();
    let mut two = Submitter::create(world, &other).await;
    two.append_digests(&other, 303).await;
    let swapped = world.path("swapped");
    export(&other.source(two.log), &swapped, &mut |_, _| {}).unwrap();
    let report = verify(&swapped, &options);
    assert_eq!((report.exit, report.findings[0].kind), (tampered, FindingKind::Identity));
    let text = report.to_string();
    assert!(text.contains("log.vkey") && text.contains("origin"), "{text}");

    // Another log's bundles and tiles under this log's checkpoint and key.
    let mixed = |at: &Path| {
        fs::remove_dir_all(at.join("tile")).unwrap();
        copy_directory(&swapped.join("tile"), &at.join("tile"));
    };
    let report = log.check("another log's leaves", mixed, (tampered, "signature does not verify"));
    assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::Root));

    // A fork needs two checkpoints by one key: cut this archive back to its copy of long ago.
    let fork = forked(&log).await;
    let report = verify(&log.at, &known(&fork));
    assert_eq!((report.exit, report.findings[0].kind), (tampered, FindingKind::Fork), "{report}");
    let fork = consistency(&DirectorySource::new(&log.at), &fork, &log.vkey).unwrap_err();
    assert_eq!(fork.kind, FindingKind::Fork);
}

/// A checkpoint of the same log and key over other leaves.
pub(crate) async fn forked(log: &Exported) -> Vec<u8> {
    let (world, archive) = (&log.world, &log.archive);
    archive.close().await.unwrap();
    let copy = world.path("backup");
    copy_directory(&world.path("archive"), &copy);
    let twin = world.archive_at(&copy, *archive.limits()).unwrap();
    let batch = log.one.digest(9);
    twin.append(log.one.request(&batch)).await.unwrap();
    let fork = twin.read(log.one.log, "checkpoint").unwrap().unwrap();
    // The log goes its own way past the fork.
    let honest = world.path("honest");
    copy_directory(&world.path("archive"), &honest);
    let honest = world.archive_at(&honest, *archive.limits()).unwrap();
    let batch = log.one.digest(1);
    honest.append(log.one.request(&batch)).await.unwrap();
    fs::remove_dir_all(&log.at).unwrap();
    export(&honest.source(log.one.log), &log.at, &mut |_, _| {}).unwrap();
    fork
}

#[tokio::test]
async fn a_byte_changed_in_the_archive_itself_is_found_and_the_rest_exported() {
    let log = exported(33).await;
    let digest = log.batches[1].leaf.payload.to_string();
    let sealed = log.world.path("archive").join(format!(
        "logs/{}/payload/{}/{digest}",
        log.one.log,
        &digest[..2]
    ));
    let whole = fs::read(&sealed).unwrap();
    let named = format!("payload/{digest}: leaf 1 (batch {}", log.batches[1].leaf.batch);
    // Of the header: its form, the key's id, the file's id, the commitment; then of the content.
    for byte in [0, 6, 20, 40, 70, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1;
        fs::write(&sealed, bytes).unwrap();
        let at = log.world.path(&format!("damaged-{byte}"));
        let summary = export(&log.archive.source(log.one.log), &at, &mut |_, _| {}).unwrap();
        assert_eq!((summary.payloads_damaged, summary.payloads_absent), (1, 0), "byte {byte}");
        assert!(summary.damaged[0].starts_with(&named), "byte {byte}: {summary:?}");
        let report = verify(&at, &log.options());
        assert_eq!(report.exit, ExitClass::Tampered, "byte {byte}: {report}");
        assert!(report.to_string().contains(&named), "byte {byte}: {report}");
        assert_eq!(report.findings.len(), 1, "byte {byte}: nothing else is wrong: {report}");
    }
    fs::write(&sealed, whole).unwrap();
    let at = log.world.path("mended");
    let summary = export(&log.archive.source(log.one.log), &at, &mut |_, _| {}).unwrap();
    assert_eq!(summary.payloads_damaged, 0);
}

#[tokio::test]
async fn a_bundle_damaged_in_the_archive_is_named_and_the_rest_exported() {
    let log = exported(34).await;
    let stored = format!("logs/{}/tile/entries/000", log.one.log);
    let sealed = log.world.path("archive").join(stored);
    let whole = fs::read(&sealed).unwrap();
    for byte in [0, 20, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1;
        fs::write(&sealed, bytes).unwrap();
        let at = log.world.path(&format!("damaged-{byte}"));
        let summary = export(&log.archive.source(log.one.log), &at, &mut |_, _| {}).unwrap();
        // The hashes of level 0 are made from the bundle.
        assert_eq!((summary.tiles_damaged, summary.payloads_damaged), (2, 0), "byte {byte}");
        for (named, tile) in summary.damaged.iter().zip(["tile/entries/000", "tile/0/000"]) {
            let expect = format!("{tile}: leaves 0 to 255: ");
            assert!(named.starts_with(&expect), "byte {byte}: {summary:?}");
        }
        assert!(at.join("tile/entries/001.p/47").metadata().unwrap().len() > 0);
        let report = verify(&at, &log.options());
        assert_eq!(report.exit, ExitClass::Tampered, "byte {byte}: {report}");
        let files: Vec<&str> = report.findings.iter().map(|one| one.file.as_str()).collect();
        assert_eq!(files, ["tile/entries/000", "tile/0/000"], "byte {byte}: {report}");
    }
    fs::write(&sealed, whole).unwrap();
    let at = log.world.path("mended");
    let summary = export(&log.archive.source(log.one.log), &at, &mut |_, _| {}).unwrap();
    assert_eq!(summary.tiles_damaged, 0);
    assert_eq!(verify(&at, &log.options()).exit, ExitClass::Verified);
}

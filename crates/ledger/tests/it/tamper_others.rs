//! The tamper matrix, its second half: what only an earlier checkpoint tells, logs that are ended
//! in part or have whole tiles of roots, and questions about one entry or about gaps.

use std::fs;
use std::path::{Path, PathBuf};

use veritwin_keys::SigningKey;
use veritwin_ledger::{Act, ArchiveLimits, ShredReason, export, measure, seal_statement};
use veritwin_verify::FindingKind::{Fork, Hash, Missing, Payload, Rewind, Root};
use veritwin_verify::{
    Digest, DirectorySource, FindingKind, GapOptions, KeyAlgorithm, KnownCheckpoint, Leaf, Policy,
    Report, SIGNATURE_LEN, TlogProof, VerifierKey, VerifyOptions, gaps, proof,
};

use crate::fixture::{Submitter, World, copy_directory};
use crate::tamper::{Exported, edit_bundle, exported, flip, forked, verify};

const CHECKPOINT: &str = "checkpoint";

/// What a change that is no edit of that export is found as, and with which exit code.
pub(crate) type Found = (String, i32);

/// Changes of other things: a log beside an earlier checkpoint, one that is ended in part, one with
/// whole tiles of roots, and proofs of one entry.
pub(crate) struct Other {
    pub(crate) group: &'static str,
    pub(crate) change: &'static str,
    pub(crate) found: &'static str,
    pub(crate) exit: i32,
    /// What is named; none where it is the proof.
    pub(crate) file: Option<&'static str>,
    pub(crate) drive: fn(&Driven) -> Found,
}

const KNOWN: &str = "with an earlier checkpoint";
const ENDED: &str = "of a log whose prefix was ended";
const LARGE: &str = "of a log of 65,792 leaves";
const ASKED: &str = "asked for one entry";
const GAPS: &str = "asked for gaps";
const PROOF: &str = "a proof of one entry";
const WITNESSED: &str = "with a witness policy";
pub(crate) const REFUSED: &str = "refused";
pub(crate) const UNMET: &str = "unmet";
const ENTRIES: &str = "tile/entries/000";
const LAST_ENTRIES: &str = "tile/entries/001.p/47";
const PAYLOAD: &str = "payload/...";
const BEHIND: &str = "tile/entries/002.p/192";
const FULL_ROOTS: &str = "tile/1/000";
const ROOTS_ABOVE: &str = "tile/2/000.p/1";

pub(crate) const OTHERS: [Other; 17] = [
    other_row((KNOWN, "a rewind"), ("rewind", 10, CHECKPOINT), |driven| {
        let at = driven.log.world.path("rewound");
        copy_directory(&driven.log.at, &at);
        fs::write(at.join(CHECKPOINT), &driven.log.early).unwrap();
        let now = fs::read(driven.log.at.join(CHECKPOINT)).unwrap();
        found(&verify(&at, &known(driven, now)), Rewind, CHECKPOINT)
    }),
    other_row((KNOWN, "a fork"), ("fork", 10, CHECKPOINT), |driven| {
        found(&verify(&driven.honest, &known(driven, driven.fork.clone())), Fork, CHECKPOINT)
    }),
    other_row((WITNESSED, "a bit of a cosignature"), (UNMET, 12, CHECKPOINT), unwitnessed),
    other_row((ENDED, "a bundle behind it"), ("missing", 11, BEHIND), |driven| {
        let at = driven.ended_with(|at| fs::remove_file(at.join(BEHIND)).unwrap());
        found(&verify(&at, &driven.ended_options), Missing, BEHIND)
    }),
    other_row((ENDED, "the root of the ended part"), ("root", 10, CHECKPOINT), |driven| {
        let at = driven.ended_with(|at| flip(at, "tile/1/000.p/2", 3));
        found(&verify(&at, &driven.ended_options), Root, CHECKPOINT)
    }),
    other_row((LARGE, "a bit of a full tile of roots"), ("hash", 10, FULL_ROOTS), |driven| {
        large(driven, FULL_ROOTS)
    }),
    other_row((LARGE, "a bit of the tile above it"), ("hash", 10, ROOTS_ABOVE), |driven| {
        large(driven, ROOTS_ABOVE)
    }),
    other_row(
        (ASKED, "its bundle gone, the end of a prefix forged"),
        ("hash", 10, LAST_ENTRIES),
        |driven| {
            let report = asked(driven, 7, |at| {
                let reason = ShredReason::PeriodEnded;
                unsigned_last(at, Act::Retention { minimum_index: 256, reason });
                fs::remove_file(at.join(ENTRIES)).unwrap();
            });
            found(&report, Hash, LAST_ENTRIES)
        },
    ),
    other_row(
        (ASKED, "its payload gone, a statement that it was destroyed forged"),
        ("hash", 10, LAST_ENTRIES),
        |driven| {
            let report = asked(driven, 2, |at| {
                let reason = ShredReason::PeriodEnded;
                unsigned_last(at, Act::Shred { from: 0, to: 3, reason });
                fs::remove_file(at.join(payload(driven))).unwrap();
            });
            found(&report, Hash, LAST_ENTRIES)
        },
    ),
    other_row((ASKED, "its payload gone"), ("missing", 11, PAYLOAD), |driven| {
        let gone = |at: &Path| fs::remove_file(at.join(payload(driven))).unwrap();
        found(&asked(driven, 2, gone), Missing, &payload(driven))
    }),
    other_row((ASKED, "a bit of its payload"), ("payload", 10, PAYLOAD), |driven| {
        let report = asked(driven, 2, |at| flip(at, &payload(driven), 100));
        found(&report, Payload, &payload(driven))
    }),
    other_row((GAPS, "a bit of an entry"), ("root", 10, CHECKPOINT), |driven| {
        let at = copied(&driven.log, &driven.log.at, |at| flip(at, ENTRIES, 400));
        let options = GapOptions { vkey: Some(driven.log.vkey.clone()), ..GapOptions::default() };
        let report = gaps(&DirectorySource::new(&at), &options, &mut |_| {}).checked;
        found(&report, Root, CHECKPOINT)
    }),
    proof_row("its index", |driven| {
        refused(driven, &TlogProof { index: 8, ..driven.proof.clone() })
    }),
    proof_row("its entry", |driven| {
        let mut entry = driven.proof.entry.clone().unwrap();
        entry[100] ^= 1;
        refused(driven, &TlogProof { entry: Some(entry), ..driven.proof.clone() })
    }),
    proof_row("a hash of its path", |driven| {
        let mut path = driven.proof.path.clone();
        path.swap(0, 1);
        refused(driven, &TlogProof { path, ..driven.proof.clone() })
    }),
    proof_row("a hash of its path left out", |driven| {
        let mut path = driven.proof.path.clone();
        path.pop();
        refused(driven, &TlogProof { path, ..driven.proof.clone() })
    }),
    proof_row("its checkpoint", |driven| {
        let checkpoint = driven.proof.checkpoint.replace("\n303\n", "\n302\n");
        refused(driven, &TlogProof { checkpoint, ..driven.proof.clone() })
    }),
];

const fn other_row(
    (group, change): (&'static str, &'static str),
    (found, exit, file): (&'static str, i32, &'static str),
    drive: fn(&Driven) -> Found,
) -> Other {
    Other { group, change, found, exit, file: Some(file), drive }
}

const fn proof_row(change: &'static str, drive: fn(&Driven) -> Found) -> Other {
    Other { group: PROOF, change, found: REFUSED, exit: 10, file: None, drive }
}

/// What those changes are made to.
pub(crate) struct Driven {
    log: Exported,
    /// A checkpoint of a twin of the log, and the log as it went on without it.
    fork: Vec<u8>,
    honest: PathBuf,
    proof: TlogProof,
    ended: PathBuf,
    ended_options: VerifyOptions,
    large: PathBuf,
    large_options: VerifyOptions,
}

impl Driven {
    pub(crate) async fn new() -> Self {
        let mut log = exported(36).await;
        let source = DirectorySource::new(&log.at);
        let made = proof(&source, 7, &log.options()).proof.unwrap();
        assert!(made.check(&log.vkey, None).is_ok(), "what is changed below holds as it is");
        let (ended, ended_options) = ended(&log.world).await;
        let (large, large_options) = whole_tiles(&log.world);
        let rewound = log.world.path("whole");
        copy_directory(&log.at, &rewound);
        let fork = forked(&log).await;
        // The log goes on past the fork; the other changes are of it as it was.
        let honest = std::mem::replace(&mut log.at, rewound);
        Self { log, fork, honest, proof: made, ended, ended_options, large, large_options }
    }

    fn ended_with(&self, edit: impl FnOnce(&Path)) -> PathBuf {
        copied(&self.log, &self.ended, edit)
    }
}

pub(crate) fn copied(log: &Exported, from: &Path, edit: impl FnOnce(&Path)) -> PathBuf {
    let at = log.world.path("changed");
    if at.exists() {
        fs::remove_dir_all(&at).unwrap();
    }
    copy_directory(from, &at);
    edit(&at);
    at
}

/// An export of a log whose first 512 leaves were ended.
async fn ended(world: &World) -> (PathBuf, VerifyOptions) {
    let archive = world.archive_at(&world.path("ending"), ArchiveLimits::default()).unwrap();
    let mut one = Submitter::create(world, &archive).await;
    one.append_digests(&archive, 700).await;
    let act = Act::Retention { minimum_index: 512, reason: ShredReason::PeriodEnded };
    let statement = seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap();
    one.append(&archive, &statement).await;
    one.append_digests(&archive, 3).await;
    let at = world.path("ended");
    export(&archive.source(one.log), &at, &mut |_, _| {}).unwrap();
    let vkey = archive.summary(one.log).unwrap().vkey.parse().ok();
    let options = VerifyOptions { vkey, ..VerifyOptions::default() };
    assert!(verify(&at, &options).findings.is_empty(), "an end harms nothing");
    (at, options)
}

/// A log with a full tile of roots and one above it.
fn whole_tiles(world: &World) -> (PathBuf, VerifyOptions) {
    let at = world.path("large");
    let given = (world.clock.as_ref() as _, world.rng.as_ref() as _);
    let vkey = measure::write_log(&at, 257 * 256, given).unwrap();
    (at, VerifyOptions { vkey: Some(vkey), ..VerifyOptions::default() })
}

fn large(driven: &Driven, name: &'static str) -> Found {
    flip(&driven.large, name, 3);
    let report = verify(&driven.large, &driven.large_options);
    flip(&driven.large, name, 3);
    found(&report, Hash, name)
}

fn payload(driven: &Driven) -> String {
    format!("payload/{}", driven.log.batches[2].leaf.payload)
}

/// What is said of one entry of a copy that was changed.
fn asked(driven: &Driven, index: u64, edit: impl FnOnce(&Path)) -> Report {
    let at = copied(&driven.log, &driven.log.at, edit);
    proof(&DirectorySource::new(&at), index, &driven.log.options()).report
}

/// The last leaf, made to say something that nobody signed.
fn unsigned_last(at: &Path, act: Act) {
    edit_bundle(at, LAST_ENTRIES, |entries| {
        let last = entries.last_mut().unwrap();
        let mut leaf = Leaf::decode(last).unwrap();
        (leaf.act, leaf.count, leaf.records_root) = (act, 0, Digest::ZERO);
        (leaf.submitter, leaf.signature) = ([0; 32], [0; SIGNATURE_LEN]);
        *last = leaf.encode();
    });
}

/// A cosignature that was altered counts for nobody.
fn unwitnessed(driven: &Driven) -> Found {
    const AT: u64 = 1_772_352_000;
    let witness = SigningKey::generate(driven.log.world.rng.as_ref());
    let kind = KeyAlgorithm::CosignatureV1;
    let key = VerifierKey::new("witness.example", kind, witness.public_bytes()).unwrap();
    let note = fs::read_to_string(driven.log.at.join(CHECKPOINT)).unwrap();
    let text = &note[..note.find("\n\n").unwrap() + 1];
    let mut cosignature = AT.to_be_bytes().to_vec();
    let signed = witness.sign(format!("cosignature/v1\ntime {AT}\n{text}").as_bytes());
    cosignature.extend_from_slice(&signed);
    let policy = format!("log {}\nwitness w {key}\nquorum w\n", driven.log.vkey);
    let policy = Some(Policy::parse(&policy).unwrap());
    let options = VerifyOptions { policy, ..driven.log.options() };
    let with = |cosignature: &[u8]| {
        let line = key.signature_line(cosignature);
        let at = copied(&driven.log, &driven.log.at, |at| {
            fs::write(at.join(CHECKPOINT), format!("{note}{line}")).unwrap();
        });
        verify(&at, &options)
    };
    assert_eq!(with(&cosignature).exit.code(), 0, "as it was cosigned");
    cosignature[20] ^= 1;
    let report = with(&cosignature);
    assert!(report.witnesses.as_ref().is_some_and(|state| !state.met), "{report}");
    (UNMET.to_owned(), report.exit.code().into())
}

fn known(driven: &Driven, note: Vec<u8>) -> VerifyOptions {
    let known = vec![KnownCheckpoint { name: "kept".to_owned(), note }];
    VerifyOptions { known, ..driven.log.options() }
}

/// What a report says, if it is of this kind and names this file.
fn found(report: &Report, kind: FindingKind, file: &str) -> Found {
    let is_named =
        report.findings.iter().any(|found| found.kind == kind && found.file.starts_with(file));
    assert!(is_named, "{report}");
    (kind_name(kind), report.exit.code().into())
}

pub(crate) fn kind_name(kind: FindingKind) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

/// What becomes of a proof; the command says the same, which its own test drives.
fn refused(driven: &Driven, changed: &TlogProof) -> Found {
    let checked = TlogProof::parse(&changed.to_text());
    match checked.and_then(|proof| proof.check(&driven.log.vkey, None)) {
        Ok(_) => ("holds".to_owned(), 0),
        Err(_) => (REFUSED.to_owned(), 10),
    }
}

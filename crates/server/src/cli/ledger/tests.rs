//! The exit codes, on a small log of the real archive, exported and then damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use veritwin_domain::{Clock, LogId, ManualClock, Rng, SeededRng, TenantId, Timestamp};
use veritwin_keys::{DataClass, DekScope, KeyService, PlatformFile, SigningKey};
use veritwin_ledger::{
    Act, Append, Archive, ArchiveConfig, ArchiveLimits, BatchBuilder, BatchLimits, BatchSigner,
    CreateLog, LeafReference, RecordBytes, origin_of,
};

use super::place::{Access, source};
use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: LedgerCommand,
}

fn ledger(line: &str) -> ExitCode {
    let words = std::iter::once("ledger").chain(line.split(' '));
    run(Line::try_parse_from(words).expect(line).command).expect(line)
}

struct Parts {
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
    dir: PathBuf,
}

impl Parts {
    fn keys(&self, name: &str) -> KeyService {
        let rng: Arc<dyn Rng> = self.rng.clone();
        let root = self.dir.join(format!("{name}.root"));
        let root = PlatformFile::open_or_create(&root, Arc::clone(&rng)).expect("root key");
        let ring = self.dir.join(format!("{name}.keyring"));
        KeyService::open(Box::new(root), &ring, self.clock.clone(), rng).expect("keyring")
    }
}

/// Exports a log of `leaves` batches into `dir/export`; answers its verifier key.
async fn make_log(dir: &Path, leaves: u64) -> String {
    let start = Timestamp::parse_rfc3339("2026-03-01T08:00:00Z").expect("time");
    let clock = Arc::new(ManualClock::new(start));
    let rng = Arc::new(SeededRng::new(7));
    let parts = Parts { clock: clock.clone(), rng: rng.clone(), dir: dir.to_owned() };
    let archive = Archive::open(ArchiveConfig {
        directory: dir.join("archive"),
        keys: parts.keys("archive"),
        clock: clock.clone(),
        rng: rng.clone(),
        limits: ArchiveLimits::default(),
    })
    .expect("archive");
    let tenant = TenantId::generate(start, rng.as_ref());
    let platform = parts.keys("platform");
    platform.create_tenant(tenant).expect("tenant");
    let dek = platform.dek(&DekScope::tenant(tenant, DataClass::Ledger)).expect("key");
    let log = LogId::generate(start, rng.as_ref());
    let origin = origin_of("archive.example", log, false);
    let key = SigningKey::generate(rng.as_ref());
    let creation = CreateLog { log, origin: origin.clone(), submitter: key.public_bytes() };
    archive.create_log(creation).await.expect("log");
    let signer = BatchSigner { tenant, dek: &dek, origin: &origin, key: &key, rng: rng.as_ref() };
    let mut previous: Option<LeafReference> = None;
    for index in 0..leaves {
        let mut builder = BatchBuilder::new(BatchLimits::default(), previous.as_ref());
        let (sequence, at) = (builder.next_sequence(), clock.now());
        let bytes = format!("reading {index}").into_bytes();
        let record = RecordBytes { sequence, events_from: at, events_to: at, bytes };
        assert!(builder.push(record).expect("record"));
        let batch = builder.seal(Act::Batch, previous.as_ref(), at, &signer).expect("batch");
        let append = Append {
            log,
            expected_size: index,
            cursor: index,
            entry: batch.entry.clone(),
            payload: batch.payload.clone(),
        };
        archive.append(append).await.expect("append");
        previous = Some(batch.reference());
    }
    let vkey = archive.summary(log).expect("summary").vkey;
    let source = archive.source(log);
    veritwin_ledger::export(&source, &dir.join("export"), &mut |_, _| {}).expect("export");
    archive.close().await.expect("close");
    vkey
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("write");
}

fn a_payload(export: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(export.join("payload")).expect("payloads");
    entries.next().expect("one").expect("entry").path()
}

#[tokio::test]
async fn exit_codes_and_what_was_proven() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let vkey = make_log(dir.path(), 3).await;
    let export = dir.path().join("export");
    let shown = export.display();
    assert_eq!(ledger(&format!("verify {shown} --vkey {vkey}")), ExitCode::from(0));
    assert_eq!(ledger(&format!("audit {shown} --json")), ExitCode::from(0));
    assert_eq!(ledger(&format!("gaps {shown}")), ExitCode::from(0));
    assert_eq!(ledger(&format!("proof {shown} --index 1")), ExitCode::from(0));
    assert_eq!(ledger(&format!("proof {shown} --index 9")), ExitCode::from(11));
    let old = format!("{shown}/checkpoint");
    assert_eq!(ledger(&format!("consistency {shown} --old {old}")), ExitCode::from(0));

    let options = VerifyOptions::default();
    let folder = source(&shown.to_string(), &Access::default()).expect("folder");
    let report = verify_log(folder.as_ref(), &options, &mut |_| {});
    let text = show::report_text(&report, &options);
    assert!(text.contains("proven: the 3 leaves"), "{text}");
    assert!(text.contains("not proven: who made the log"), "{text}");
    assert!(text.ends_with("\nVERIFIED"), "{text}");
    let json = show::report_json(&report);
    assert_eq!(json["key"], "not_authenticated");
    assert_eq!(json["code"], 0);

    let witness = dir.path().join("policy");
    let name = "witness.example";
    let key = VerifierKey::new(name, veritwin_verify::KeyAlgorithm::CosignatureV1, [9; 32]);
    let key = key.expect("key");
    std::fs::write(&witness, format!("witness w {key}\nquorum w\n")).expect("write");
    let policy = format!("verify {shown} --policy {}", witness.display());
    assert_eq!(ledger(&policy), ExitCode::from(12));

    assert_eq!(ledger(&format!("proof {shown} --record 3")), ExitCode::from(0));
    assert_eq!(ledger(&format!("proof {shown} --record 4")), ExitCode::from(11));
    let both = format!("consistency {shown} --old {old} --new {old} --vkey {vkey}");
    assert_eq!(ledger(&both), ExitCode::from(0));

    let answer = veritwin_verify::proof(folder.as_ref(), 2, &VerifyOptions::default());
    let file = dir.path().join("2.proof");
    std::fs::write(&file, answer.proof.expect("proof").to_text()).expect("write");
    let check = format!("proof --check {} --vkey {vkey}", file.display());
    assert_eq!(ledger(&check), ExitCode::from(0));
    flip(&file);
    assert_eq!(ledger(&check), ExitCode::from(10));

    let payload = a_payload(&export);
    flip(&payload);
    assert_eq!(ledger(&format!("verify {shown}")), ExitCode::from(10));
    assert_eq!(ledger(&format!("verify {shown} --skip-payloads")), ExitCode::from(0));
    std::fs::remove_file(&payload).expect("remove");
    assert_eq!(ledger(&format!("verify {shown}")), ExitCode::from(11));
    std::fs::remove_file(export.join("checkpoint")).expect("remove");
    assert_eq!(ledger(&format!("verify {shown} --json")), ExitCode::from(11));
}

#[tokio::test]
async fn a_proof_looks_at_the_payload_and_gaps_at_the_root() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let vkey = make_log(dir.path(), 1).await;
    let export = dir.path().join("export");
    let shown = export.display();
    let gaps = format!("gaps {shown} --vkey {vkey}");
    assert_eq!(ledger(&gaps), ExitCode::from(0));
    let other = VerifierKey::new("a.example", veritwin_verify::KeyAlgorithm::Ed25519, [9; 32]);
    let other = other.expect("key");
    assert_eq!(ledger(&format!("gaps {shown} --vkey {other}")), ExitCode::from(10));
    let edge = "0a".repeat(32);
    assert_eq!(ledger(&format!("{gaps} --edge {edge}:0")), ExitCode::from(0));
    assert_eq!(ledger(&format!("{gaps} --edge {edge}:3")), ExitCode::from(11));
    let entries = export.join("tile/entries/000.p/1");
    flip(&entries);
    assert_eq!(ledger(&gaps), ExitCode::from(10));
    flip(&entries);
    std::fs::remove_file(export.join("log.vkey")).expect("remove");
    assert_eq!(ledger(&format!("gaps {shown}")), ExitCode::from(11), "signed by nobody known");
    assert_eq!(ledger(&gaps), ExitCode::from(0));

    let proof = format!("proof {shown} --index 0 --vkey {vkey}");
    assert_eq!(ledger(&proof), ExitCode::from(0));
    let payload = a_payload(&export);
    flip(&payload);
    assert_eq!(ledger(&proof), ExitCode::from(10));
    std::fs::remove_file(&payload).expect("remove");
    assert_eq!(ledger(&proof), ExitCode::from(11));
}

#[tokio::test]
async fn a_bundle_among_the_files_of_a_log_hides_nothing() {
    let dir = tempfile::tempdir().expect("temporary folder");
    make_log(dir.path(), 3).await;
    let export = dir.path().join("export");
    let shown = export.display();
    std::fs::write(export.join("evidence.json"), b"{}").expect("write");
    for command in ["verify", "audit"] {
        assert_eq!(ledger(&format!("{command} {shown}")), ExitCode::from(10), "{command}");
    }
    let folder = source(&shown.to_string(), &Access::default()).expect("folder");
    std::fs::remove_dir_all(export.join("tile")).expect("remove");
    let report = verify_log(folder.as_ref(), &VerifyOptions::default(), &mut |_| {});
    let found = |kind| report.findings.iter().any(|one| one.kind == kind);
    assert!(found(veritwin_verify::FindingKind::Extra), "{report}");
    assert!(found(veritwin_verify::FindingKind::Missing), "{report}");

    let bundle = dir.path().join("bundle");
    std::fs::create_dir(&bundle).expect("folder");
    std::fs::write(bundle.join("evidence.json"), b"{}").expect("write");
    assert_eq!(ledger(&format!("verify {}", bundle.display())), ExitCode::from(10));
    let words = ["ledger", "audit", &bundle.display().to_string()].map(str::to_owned);
    let refused = run(Line::try_parse_from(words).expect("parsed").command).expect_err("refused");
    assert!(refused.is::<BadArguments>(), "{refused:#}");
}

#[test]
fn what_is_not_a_log_is_a_bad_argument() {
    let check = |log: &str, access: &Access, part: &str| {
        let error = source(log, access).err().expect(log);
        assert!(error.is::<BadArguments>(), "{error:#}");
        assert!(error.to_string().contains(part), "{error:#}");
    };
    check("/nowhere/at/all", &Access::default(), "not a folder");
    check("http://localhost:8443/ledger/x", &Access::default(), "over https");
    let key = Access { api_key_file: Some("key".into()), ..Access::default() };
    check("/nowhere/at/all", &key, "are of a served log");
}

//! The ledger as others see it: read from afar, and verified by what others wrote, of Go and of
//! Python. Where those are not installed the tests say that they are skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use veritwin_domain::{SeededRng, SystemClock};
use veritwin_keys::SigningKey;
use veritwin_ledger::measure;
use veritwin_verify::{KeyAlgorithm, TlogProof, VerifierKey};

use crate::harness::{Platform, wait_for};
use crate::python::interpreter;
use crate::skipped::skipped;
use crate::tenant::Tenant;

const TAMPERED: i32 = 10;
const MISSING: i32 = 11;
/// Where Debian keeps Go's packages.
const GOPATH: &str = "/usr/share/gocode";

/// A tenant with a few sealed readings, and what is said of its log.
struct Sealed {
    tenant: Tenant,
    vkey: String,
    url: String,
}

impl Sealed {
    /// Where the log is served, without the host.
    fn path(&self) -> &str {
        &self.url[self.url.find("/ledger").unwrap()..]
    }
}

fn sealed(platform: &Platform, batches: u64) -> Sealed {
    let tenant = platform.tenant();
    let device = tenant.device("outside");
    let mut size = 0;
    for value in 0..batches {
        tenant.send(&device, &json!({"t": value})).expect(200);
        size = tenant.sealed(size + 1);
    }
    let ledger = tenant.get("/v1/ledger").expect(200);
    let https = platform.run()["https"].as_str().unwrap();
    let url = format!("{https}/ledger/{}", ledger["log_id"].as_str().unwrap());
    Sealed { vkey: ledger["vkey"].as_str().unwrap().to_owned(), tenant, url }
}

/// A file with the API key of somebody with this role.
fn key_file(platform: &Platform, tenant: &Tenant, role: &str) -> String {
    let made = tenant.post("/v1/api-keys", &json!({"name": role, "role": role})).expect(201);
    let file = platform.scratch(&format!("{}-{role}.key", tenant.id));
    fs::write(&file, made["secret"].as_str().unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn scratch(platform: &Platform, sealed: &Sealed, name: &str) -> PathBuf {
    platform.scratch(&format!("{}-{name}", sealed.tenant.id))
}

fn export(platform: &Platform, sealed: &Sealed) -> PathBuf {
    let out = scratch(platform, sealed, "export");
    let id = &sealed.tenant.id;
    platform.cli(&["ledger", "export", out.to_str().unwrap(), "--tenant", id]).done();
    out
}

#[test]
fn a_served_log_is_verified_from_afar() {
    let platform = Platform::shared();
    let log = sealed(platform, 2);
    let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
    let at = [log.url.as_str(), "--ca", ca.to_str().unwrap()];
    let ledger = |command: &str, more: &[&str]| {
        platform.cli(&[["ledger", command].as_slice(), at.as_slice(), more].concat())
    };
    // Anybody who holds the id sees hashes, and that the log only grows.
    let old = scratch(platform, &log, "old.checkpoint");
    let path = format!("{}/checkpoint", log.path());
    fs::write(&old, platform.http().get(&path).send().text()).unwrap();
    let known = ["--old", old.to_str().unwrap(), "--vkey", log.vkey.as_str()];
    let extends = ledger("consistency", &known);
    assert_eq!(extends.code, 0, "{extends:?}");
    let hidden = ledger("verify", &["--vkey", &log.vkey]);
    assert_eq!(hidden.code, MISSING, "{hidden:?}");
    assert!(hidden.stderr.contains("--api-key-file"), "{hidden:?}");

    let auditor = key_file(platform, &log.tenant, "auditor");
    let with = ["--vkey", log.vkey.as_str(), "--api-key-file", auditor.as_str()];
    let whole = ledger("audit", &with);
    assert_eq!(whole.code, 0, "{whole:?}");
    let counted = ledger("gaps", &with[2..]);
    assert_eq!(counted.code, 0, "{counted:?}");

    // Nobody else's key opens it: not that of another tenant, nor of another role.
    let stranger = key_file(platform, &platform.tenant(), "auditor");
    let operator = key_file(platform, &log.tenant, "operator");
    for key in [&stranger, &operator] {
        let refused = ledger("verify", &["--vkey", &log.vkey, "--api-key-file", key]);
        assert_eq!(refused.code, MISSING, "{refused:?}");
        assert!(refused.stdout.contains("read 0 leaves"), "{refused:?}");
    }
    let unknown = format!("{}0", &log.url[..log.url.len() - 1]);
    let nowhere = ["ledger", "verify", unknown.as_str(), "--ca", at[2]];
    assert_eq!(platform.cli(&nowhere).code, MISSING);
    let untrusted = platform.cli(&["ledger", "verify", &log.url, "--vkey", &log.vkey]);
    assert_ne!(untrusted.code, 0, "a private authority is not trusted by itself: {untrusted:?}");
}

#[test]
fn a_reading_is_proven_without_the_platform() {
    let platform = Platform::shared();
    let log = sealed(platform, 1);
    let device = log.tenant.device("proven");
    log.tenant.send(&device, &json!({"temperature": 21.5})).expect(200);
    let path = format!("/v1/ledger/papers?device_id={}&key=temperature", device.id);
    let papers = wait_for("the reading to be sealed", || {
        let papers = log.tenant.get(&path).expect(200);
        papers["leaf"].is_object().then_some(papers)
    });
    let out = export(platform, &log);
    let out = out.to_str().unwrap();
    let record = papers["record"]["sequence"].to_string();
    let proof = platform.cli(&["ledger", "proof", out, "--record", &record, "--vkey", &log.vkey]);
    let proof = proof.done();
    let file = scratch(platform, &log, "reading.tlog-proof");
    fs::write(&file, &proof).unwrap();
    let shown = scratch(platform, &log, "papers.json");
    fs::write(&shown, papers.to_string()).unwrap();
    let check = || {
        let (file, shown) = (file.to_str().unwrap(), shown.to_str().unwrap());
        let command =
            ["ledger", "proof", "--check", file, "--papers", shown, "--vkey", log.vkey.as_str()];
        platform.cli(&command)
    };
    let checked = check();
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains(&device.id), "{checked:?}");
    assert!(checked.stdout.contains("21.5"), "{checked:?}");
    let index = format!("entry {} is in the tree", papers["leaf"]["index"]);
    assert!(checked.stdout.contains(&index), "{checked:?}");

    let mut other = papers.clone();
    other["record"]["sequence"] = json!(papers["record"]["sequence"].as_u64().unwrap() + 1);
    fs::write(&shown, other.to_string()).unwrap();
    assert_eq!(check().code, TAMPERED, "the papers of another record");
    let beyond = platform.cli(&["ledger", "proof", out, "--record", "99999999"]);
    assert_eq!(beyond.code, MISSING, "{beyond:?}");

    // What the tamper matrix says of proofs is what the command says.
    fs::write(&shown, papers.to_string()).unwrap();
    let made = TlogProof::parse(&proof).unwrap();
    let mut entry = made.entry.clone().unwrap();
    entry[100] ^= 1;
    let mut lines: Vec<_> = made.checkpoint.lines().map(str::to_owned).collect();
    lines[1] = (lines[1].parse::<u64>().unwrap() - 1).to_string();
    let path: Vec<_> = made.path.iter().skip(1).copied().collect();
    let changes = [
        TlogProof { index: made.index + 1, ..made.clone() },
        TlogProof { entry: Some(entry), ..made.clone() },
        TlogProof { path, ..made.clone() },
        TlogProof { checkpoint: lines.join("\n") + "\n", ..made.clone() },
    ];
    for changed in changes {
        fs::write(&file, changed.to_text()).unwrap();
        let refused = check();
        assert_eq!(refused.code, TAMPERED, "{refused:?}");
    }
    fs::write(&file, made.to_text()).unwrap();
    assert_eq!(check().code, 0, "as it was made");
}

/// Runs a Go program with Debian's packages; none where they are not installed.
fn go(platform: &Platform, arguments: &[&str]) -> Option<(bool, String)> {
    go_with(platform, arguments, &[])
}

fn go_with(
    platform: &Platform,
    arguments: &[&str],
    more: &[(&str, &str)],
) -> Option<(bool, String)> {
    let package = Path::new(GOPATH).join("src/golang.org/x/mod/sumdb/tlog");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/tlog_verify.go");
    if !package.is_dir() {
        skipped("Go's golang.org/x/mod is not installed (cargo xtask test does)");
        return None;
    }
    let output = Command::new("go")
        .arg("run")
        .arg(source)
        .args(arguments)
        .env("GO111MODULE", "off")
        .env("GOPATH", GOPATH)
        .env("GOCACHE", platform.scratch("go-cache"))
        .env("GOTOOLCHAIN", "local")
        .envs(more.iter().copied())
        .output()
        .unwrap();
    Some((output.status.success(), said(&output)))
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn gos_checksum_database_verifies_an_exported_log() {
    let platform = Platform::shared();
    let log = sealed(platform, 2);
    let path = format!("{}/checkpoint", log.path());
    let old = scratch(platform, &log, "go.checkpoint");
    fs::write(&old, platform.http().get(&path).send().text()).unwrap();
    let device = log.tenant.device("more");
    log.tenant.send(&device, &json!({"t": 1})).expect(200);
    let size = log.tenant.sealed(3);
    let out = export(platform, &log);
    let arguments = [out.to_str().unwrap(), log.vkey.as_str(), old.to_str().unwrap()];
    let Some((holds, text)) = go(platform, &arguments) else { return };
    assert!(holds, "{text}");
    let exported = fs::read_to_string(out.join("checkpoint")).unwrap();
    let exported: u64 = exported.lines().nth(1).unwrap().parse().unwrap();
    assert!(exported >= size);
    for line in [format!("checkpoint {exported}"), format!("inclusion {exported}")] {
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("consistency "), "{text}");
    // It sees what we see.
    for name in [format!("tile/entries/000.p/{exported}"), "checkpoint".to_owned()] {
        let file = out.join(&name);
        flip(&file);
        let (holds, text) = go(platform, &arguments).unwrap();
        assert!(!holds, "{name}: {text}");
        flip(&file);
    }
}

#[test]
fn gos_checksum_database_verifies_a_served_log() {
    let platform = Platform::shared();
    let log = sealed(platform, 2);
    let old = scratch(platform, &log, "served.checkpoint");
    let path = format!("{}/checkpoint", log.path());
    fs::write(&old, platform.http().get(&path).send().text()).unwrap();
    let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
    let key = fs::read_to_string(key_file(platform, &log.tenant, "auditor")).unwrap();
    let arguments = [log.url.as_str(), log.vkey.as_str(), old.to_str().unwrap()];
    let trust = ("SSL_CERT_FILE", ca.to_str().unwrap());
    let Some((holds, text)) = go_with(platform, &arguments, &[trust, ("LOG_KEY", &key)]) else {
        return;
    };
    assert!(holds, "{text}");
    assert!(text.contains("inclusion "), "{text}");
    // Without a key hashes and consistency, and no entry.
    let (holds, text) = go_with(platform, &arguments, &[trust]).unwrap();
    assert!(!holds && text.contains("consistency "), "{text}");
}

#[test]
fn gos_checksum_database_reads_whole_tiles_and_passes_over_cosignatures() {
    let platform = Platform::shared();
    let out = platform.scratch("go-large");
    let (clock, rng) = (SystemClock::new(), SeededRng::new(7));
    let vkey = measure::write_log(&out, 700, (&clock, &rng)).unwrap().to_string();
    let checkpoint = out.join("checkpoint");
    let note = fs::read_to_string(&checkpoint).unwrap();
    let (signed, _) = note.split_once("\n\n").unwrap();
    let key = SigningKey::generate(&rng);
    let name = "witness.example/one";
    let witness = VerifierKey::new(name, KeyAlgorithm::Ed25519, key.public_bytes()).unwrap();
    let line = witness.signature_line(&key.sign(format!("{signed}\n").as_bytes()));
    fs::write(&checkpoint, note + &line).unwrap();
    let at = checkpoint.to_str().unwrap();
    let arguments = [out.to_str().unwrap(), vkey.as_str(), at];
    let Some((holds, text)) = go(platform, &arguments) else { return };
    assert!(holds && text.contains("inclusion 700"), "{text}");
    for name in ["tile/entries/001", "tile/0/000"] {
        let file = out.join(name);
        flip(&file);
        let (holds, text) = go(platform, &arguments).unwrap();
        assert!(!holds, "{name}: {text}");
        flip(&file);
    }
}

#[test]
fn sigstores_own_code_verifies_checkpoint_and_proofs() {
    let Some(python) = interpreter("sigstore") else { return };
    let platform = Platform::shared();
    let log = sealed(platform, 3);
    let out = export(platform, &log);
    let checkpoint = out.join("checkpoint");
    let text = fs::read_to_string(&checkpoint).unwrap();
    let size: u64 = text.lines().nth(1).unwrap().parse().unwrap();
    let mut files = Vec::new();
    for index in 0..size {
        let (out, index) = (out.to_str().unwrap(), index.to_string());
        let proof = platform.cli(&["ledger", "proof", out, "--index", &index, "--vkey", &log.vkey]);
        let file = scratch(platform, &log, &format!("{index}.tlog-proof"));
        fs::write(&file, proof.done()).unwrap();
        files.push(file);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/sigstore_log.py");
    let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
    let run_at = |checkpoint: &str| {
        let mut command = Command::new(&python);
        command.arg(&script).arg(checkpoint).arg(&log.vkey).args(&files);
        let output = command.env("SSL_CERT_FILE", &ca).output().unwrap();
        (output.status.success(), said(&output))
    };
    let run = || run_at(checkpoint.to_str().unwrap());
    let (holds, text) = run_at(&format!("{}/checkpoint", log.url));
    assert!(holds, "as it is served: {text}");
    let (holds, text) = run();
    assert!(holds, "{text}");
    assert!(text.contains(&format!("checkpoint {size}")), "{text}");
    for index in 0..size {
        assert!(text.contains(&format!("inclusion {index}")), "{text}");
    }
    // The entry is on the second line of a proof.
    let whole = fs::read(&files[0]).unwrap();
    let mut changed = whole.clone();
    changed[60] = if changed[60] == b'A' { b'B' } else { b'A' };
    fs::write(&files[0], &changed).unwrap();
    let (holds, text) = run();
    assert!(!holds, "a changed entry: {text}");
    fs::write(&files[0], whole).unwrap();
    // The root is on the third line; behind it may be signatures of others, which it passes by.
    let text = fs::read_to_string(&checkpoint).unwrap();
    let root = text.lines().nth(2).unwrap();
    let other = if root.starts_with('A') { 'B' } else { 'A' };
    fs::write(&checkpoint, text.replacen(root, &format!("{other}{}", &root[1..]), 1)).unwrap();
    assert!(!run().0, "a changed checkpoint");
}

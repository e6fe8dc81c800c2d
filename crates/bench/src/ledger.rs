//! `veritwin bench ledger`: durable appends, audit, fingerprints and proofs. The fingerprint rate
//! stands beside `openssl speed` of the same run.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::process::Command;
use veritwin_domain::{Clock, Rng};
use veritwin_ledger::measure;
use veritwin_verify::{
    Checkpoint, Digest, DirectorySource, ExitClass, KeyAlgorithm, LEAF_VERSION, TlogProof,
    VerifierKey, VerifyOptions, leaf_hash, sha256, verify_inclusion, verify_log,
};

use crate::entry::{Better, Entry, Peer};
use crate::process::cpu_seconds;

/// Leaves that every submitter has on their way at once.
const IN_FLIGHT: usize = 256;
/// The block that `openssl speed` hashes, in bytes.
const BLOCK_BYTES: usize = 16 * 1024;
/// Bytes that are hashed to find the rate.
const HASHED_BYTES: usize = 1 << 30;
/// Leaves of the tree whose proof's length is stated: 2^30.
const PROOF_TREE_DEPTH: usize = 30;
/// Proofs verified to find the rate.
const PROOFS: u32 = 20_000;

/// What to measure.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// An empty directory on a real disk.
    pub directory: PathBuf,
    /// Logs that are appended to at once.
    pub logs: usize,
    /// Leaves appended to each.
    pub leaves_per_log: u64,
    /// Leaves of the log that is audited.
    pub audited_leaves: u64,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

impl LedgerOptions {
    /// The published setting: 64 logs of 8,192 leaves, and an audit of 1,048,576.
    pub fn new(directory: PathBuf, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { directory, logs: 64, leaves_per_log: 8192, audited_leaves: 1 << 20, clock, rng }
    }
}

/// Measures the archive's engine and the verifier.
pub async fn ledger(options: &LedgerOptions) -> Result<Vec<Entry>> {
    let given = (Arc::clone(&options.clock), Arc::clone(&options.rng));
    let archive = measure::archive(&options.directory, given.clone()).context("an archive")?;
    let load = (options.logs, options.leaves_per_log, IN_FLIGHT);
    let appended = measure::appends(&archive, load, given).await.context("appending")?;
    archive.close().await.context("closing the archive")?;
    let publish_p99_ms = appended.publish_p99.as_secs_f64() * 1e3;
    let blocking = options.clone();
    let verified = tokio::task::spawn_blocking(move || verifier(&blocking)).await??;
    let openssl = openssl_sha256().await;
    let mut entries = vec![
        higher("ledger.append_leaves_per_s", "1/s", appended.leaves_per_s(), None),
        Entry::new("ledger.publish_p99_ms", "ms", Better::Lower, publish_p99_ms, None),
        higher("ledger.sha256_gb_per_s", "GB/s", verified.sha256_gb_per_s, openssl),
    ];
    let audited = verified.audit_entries_per_core_s;
    entries.push(higher("ledger.audit_entries_per_core_s", "1/s", audited, None));
    let proofs = verified.proofs_per_core_s;
    entries.push(higher("ledger.proofs_verified_per_core_s", "1/s", proofs, None));
    let bytes = verified.proof_bytes as f64;
    entries.push(Entry::new("ledger.proof_bytes", "B", Better::Lower, bytes, None));
    Ok(entries)
}

fn higher(name: &str, unit: &'static str, value: f64, peer: Option<Peer>) -> Entry {
    Entry::new(name, unit, Better::Higher, value, peer)
}

/// What the verifier does in a second of one core.
struct Verified {
    sha256_gb_per_s: f64,
    audit_entries_per_core_s: f64,
    proofs_per_core_s: f64,
    proof_bytes: usize,
}

fn verifier(options: &LedgerOptions) -> Result<Verified> {
    let (clock, rng) = (options.clock.as_ref(), options.rng.as_ref());
    let out = options.directory.join("export");
    let vkey = measure::write_log(&out, options.audited_leaves, (clock, rng))?;
    let verify = VerifyOptions { vkey: Some(vkey), ..VerifyOptions::default() };
    let before = cpu_seconds(std::process::id())?;
    let report = verify_log(&DirectorySource::new(&out), &verify, &mut |_| {});
    let audit_cpu_s = cpu_seconds(std::process::id())? - before;
    anyhow::ensure!(report.exit == ExitClass::Verified, "the measured log does not verify");

    let block = vec![0x5a_u8; BLOCK_BYTES];
    let started = clock.monotonic();
    for _ in 0..HASHED_BYTES / BLOCK_BYTES {
        std::hint::black_box(sha256(std::hint::black_box(&block)));
    }
    let hashing_s = (clock.monotonic() - started).as_secs_f64();

    let (path, entry, root, size) = deep_tree(rng);
    let hash = leaf_hash(&entry);
    let started = clock.monotonic();
    for _ in 0..PROOFS {
        verify_inclusion(0, std::hint::black_box(hash), &path, size, root)?;
    }
    let proving_s = (clock.monotonic() - started).as_secs_f64();
    Ok(Verified {
        sha256_gb_per_s: HASHED_BYTES as f64 / hashing_s / 1e9,
        audit_entries_per_core_s: options.audited_leaves as f64 / audit_cpu_s,
        proofs_per_core_s: f64::from(PROOFS) / proving_s,
        proof_bytes: proof_bytes(entry, path, root, size)?,
    })
}

/// The first leaf of a tree of 2^30 leaves with its path: the siblings are roots of subtrees that
/// nobody has to look into.
fn deep_tree(rng: &dyn Rng) -> (Vec<Digest>, Vec<u8>, Digest, u64) {
    // A Veritwin leaf is a few hundred bytes; its length is what counts here.
    let mut entry = vec![LEAF_VERSION; 320];
    rng.fill(&mut entry[1..]);
    let mut hash = leaf_hash(&entry);
    let mut path = Vec::with_capacity(PROOF_TREE_DEPTH);
    for _ in 0..PROOF_TREE_DEPTH {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        let sibling = Digest::from_bytes(bytes);
        path.push(sibling);
        hash = veritwin_verify::node_hash(&hash, &sibling);
    }
    (path, entry, hash, 1 << PROOF_TREE_DEPTH)
}

/// Length of the text of such a proof with a signed checkpoint.
fn proof_bytes(entry: Vec<u8>, path: Vec<Digest>, root: Digest, size: u64) -> Result<usize> {
    let log = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let origin = format!("ledger.example/ledger/{log}");
    let vkey = VerifierKey::new(&origin, KeyAlgorithm::Ed25519, [7; 32])?;
    let text = Checkpoint { origin, size, root }.text();
    let checkpoint = format!("{text}\n{}", vkey.signature_line(&[0; 64]));
    let proof = TlogProof { entry: Some(entry), index: 0, path, checkpoint };
    Ok(proof.to_text().len())
}

/// What `openssl speed` says of SHA-256 with blocks of the same size, on one core.
async fn openssl_sha256() -> Option<Peer> {
    let arguments = ["speed", "-mr", "-evp", "sha256", "-seconds", "2", "-bytes", "16384"];
    let output = Command::new("openssl").args(arguments).output().await.ok()?;
    let version = Command::new("openssl").arg("version").output().await.ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let name = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Some(Peer { name, value: speed_of(&String::from_utf8_lossy(&output.stdout))? / 1e9 })
}

/// Bytes a second out of the machine-readable form: `+F:22:sha256:1234567890.12`.
fn speed_of(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("+F:"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_lines() {
        let text = "+DT:sha256:2:16384\n+R:2000:sha256:2.00\n+H:16384\n+F:22:sha256:512000000.5\n";
        assert_eq!(speed_of(text), Some(512_000_000.5));
        assert_eq!(speed_of("nothing"), None);
    }

    #[test]
    fn a_deep_proof_holds_and_is_small() {
        let rng = veritwin_domain::SeededRng::new(1);
        let (path, entry, root, size) = deep_tree(&rng);
        let hash = leaf_hash(&entry);
        verify_inclusion(0, hash, &path, size, root).expect("holds");
        assert!(proof_bytes(entry, path, root, size).expect("a proof") < 2560);
    }
}

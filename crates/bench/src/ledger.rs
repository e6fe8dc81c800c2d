//! `veritwin bench ledger`: durable appends, audit, fingerprints and proofs. The fingerprint rate
//! stands beside `openssl speed` of the same run, audit and proofs beside Go's `tlog`.

mod peers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use veritwin_domain::{Clock, Rng};
use veritwin_ledger::measure::{self, Signatures};
use veritwin_verify::{
    DirectorySource, ExitClass, SignatureCheck, SourceTiles, TlogProof, VerifierKey, VerifyOptions,
    inclusion_path, leaf_hash, sha256, verify_inclusion, verify_log,
};

use crate::entry::{Better, Entry, Peer};
use crate::process::cpu_seconds;

/// Leaves that every submitter has on their way at once.
const IN_FLIGHT: usize = 256;
/// The block that `openssl speed` hashes, in bytes.
const BLOCK_BYTES: usize = 16 * 1024;
/// The tree whose proof's length is stated has 2^30 leaves.
const PROOF_TREE_HEIGHT: u32 = 30;
/// The leaf that is proven: its path turns left and right, and its index is as long as any.
const PROOF_INDEX: u64 = 0x3c3c_3c3c;
/// Paths verified to find the rate.
const PATHS_VERIFIED: u32 = 50_000;
/// Proofs checked to find the rate.
const PROOFS_CHECKED: u32 = 5_000;
/// Proofs made to find the rate.
const PROOFS_MADE: u64 = 5_000;
/// The smallest time of a process that is told from none.
const TICK_S: f64 = 0.01;

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
    /// Leaves of the log of which every signature is verified.
    pub signed_leaves: u64,
    /// Bytes that are hashed to find the rate.
    pub hashed_bytes: usize,
    /// Whether the same is measured of others' programs, where they are installed.
    pub with_peers: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

impl LedgerOptions {
    /// The published setting: 64 logs of 8,192 leaves, an audit of 1,048,576, and one of 32,768
    /// with every signature.
    pub fn new(directory: PathBuf, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        let (logs, leaves_per_log, audited_leaves, signed_leaves) = (64, 8192, 1 << 20, 1 << 15);
        let (hashed_bytes, with_peers) = (1 << 30, true);
        Self {
            directory,
            logs,
            leaves_per_log,
            audited_leaves,
            signed_leaves,
            hashed_bytes,
            with_peers,
            clock,
            rng,
        }
    }
}

/// Measures the archive's engine and the verifier.
pub async fn ledger(options: &LedgerOptions) -> Result<Vec<Entry>> {
    let given = (Arc::clone(&options.clock), Arc::clone(&options.rng));
    let archive = measure::archive(&options.directory, given.clone()).context("an archive")?;
    let load = (options.logs, options.leaves_per_log, IN_FLIGHT);
    let append = |signatures| measure::appends(&archive, signatures, load, given.clone());
    let appended = append(Signatures::Verified).await.context("appending")?;
    let trusted = append(Signatures::Trusted).await.context("appending without signatures")?;
    archive.close().await.context("closing the archive")?;
    let publish_p99_ms = appended.publish_p99.as_secs_f64() * 1e3;
    let blocking = options.clone();
    let audited = tokio::task::spawn_blocking(move || audited(&blocking)).await??;
    // Beside each other, so that both see the same machine.
    let hashed = options.hashed_bytes;
    let sha256_gb_per_s = tokio::task::spawn_blocking(move || sha256_gb_per_s(hashed)).await?;
    let openssl = if options.with_peers { peers::openssl_sha256(BLOCK_BYTES).await } else { None };
    let blocking = options.clone();
    let proven = tokio::task::spawn_blocking(move || proven(&blocking)).await??;
    let tlog = if options.with_peers {
        peers::tlog(&options.directory, &audited.log, &proven.proof).await?
    } else {
        None
    };
    let (go_audit, go_paths) =
        tlog.map_or((None, None), |tlog| (Some(tlog.entries_per_s), Some(tlog.paths_per_s)));
    let lower = |name, unit, value| Entry::new(name, unit, Better::Lower, value, None);
    Ok(vec![
        higher("ledger.append_leaves_per_s", "1/s", appended.leaves_per_s(), None),
        lower("ledger.publish_p99_ms", "ms", publish_p99_ms),
        higher("ledger.append_trusted_leaves_per_s", "1/s", trusted.leaves_per_s(), None),
        higher("ledger.sha256_gb_per_s", "GB/s", sha256_gb_per_s, openssl),
        higher("ledger.audit_entries_per_core_s", "1/s", audited.entries_per_s, go_audit),
        higher("ledger.audit_signatures_per_core_s", "1/s", audited.signatures_per_s, None),
        higher("ledger.proofs_made_per_core_s", "1/s", proven.made_per_s, None),
        higher("ledger.proofs_verified_per_core_s", "1/s", proven.paths_per_s, go_paths),
        higher("ledger.proofs_checked_per_core_s", "1/s", proven.checked_per_s, None),
        lower("ledger.proof_bytes", "B", proven.proof.to_text().len() as f64),
    ])
}

fn higher(name: &str, unit: &'static str, value: f64, peer: Option<Peer>) -> Entry {
    Entry::new(name, unit, Better::Higher, value, peer)
}

/// CPU time of this thread, in seconds: what else runs on the machine is not in it.
fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How often something is done in a second of one core.
fn rate(times: f64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = thread_cpu_s();
    work()?;
    Ok(times / (thread_cpu_s() - before).max(f64::MIN_POSITIVE))
}

/// What auditing does in a second of one core.
struct Audited {
    entries_per_s: f64,
    signatures_per_s: f64,
    /// The folder of the larger log.
    log: PathBuf,
}

fn audited(options: &LedgerOptions) -> Result<Audited> {
    let log = options.directory.join("export");
    let entries_per_s = audit(options, (&log, options.audited_leaves), SignatureCheck::Chained)?;
    let signed = options.directory.join("signed");
    let signatures_per_s = audit(options, (&signed, options.signed_leaves), SignatureCheck::Every)?;
    Ok(Audited { entries_per_s, signatures_per_s, log })
}

/// Writes a log and verifies all of it. Every core works at it, so that it is the process's time
/// that counts.
fn audit(
    options: &LedgerOptions,
    (out, leaves): (&Path, u64),
    signatures: SignatureCheck,
) -> Result<f64> {
    let vkey = measure::write_log(out, leaves, (options.clock.as_ref(), options.rng.as_ref()))?;
    let verify = VerifyOptions { vkey: Some(vkey), signatures, ..VerifyOptions::default() };
    let before = cpu_seconds(std::process::id())?;
    let report = verify_log(&DirectorySource::new(out), &verify, &mut |_| {});
    let cpu_s = cpu_seconds(std::process::id())? - before;
    ensure!(report.exit == ExitClass::Verified, "the measured log does not verify: {report}");
    Ok(leaves as f64 / cpu_s.max(TICK_S))
}

/// Fingerprints of one core.
fn sha256_gb_per_s(bytes: usize) -> f64 {
    let block = vec![0x5a_u8; BLOCK_BYTES];
    let before = thread_cpu_s();
    for _ in 0..bytes / BLOCK_BYTES {
        std::hint::black_box(sha256(std::hint::black_box(&block)));
    }
    bytes as f64 / (thread_cpu_s() - before).max(f64::MIN_POSITIVE) / 1e9
}

/// What proving does in a second of one core.
struct Proven {
    made_per_s: f64,
    paths_per_s: f64,
    checked_per_s: f64,
    proof: TlogProof,
}

/// After [`audited`], from whose log proofs are made.
fn proven(options: &LedgerOptions) -> Result<Proven> {
    let given = (options.clock.as_ref(), options.rng.as_ref());
    let (proof, vkey) = measure::deep_proof((PROOF_TREE_HEIGHT, PROOF_INDEX), given)?;
    let (root, size) = head(&proof, &vkey)?;
    let hash = leaf_hash(proof.entry.as_deref().unwrap_or_default());
    let paths_per_s = rate(f64::from(PATHS_VERIFIED), || {
        for _ in 0..PATHS_VERIFIED {
            let hash = std::hint::black_box(hash);
            verify_inclusion(proof.index, hash, &proof.path, size, root)?;
        }
        Ok(())
    })?;
    let checked_per_s = rate(f64::from(PROOFS_CHECKED), || {
        for _ in 0..PROOFS_CHECKED {
            std::hint::black_box(&proof).check(&vkey, None)?;
        }
        Ok(())
    })?;
    let source = DirectorySource::new(options.directory.join("export"));
    let made_per_s = rate(PROOFS_MADE as f64, || {
        let tiles = SourceTiles::new(&source);
        for _ in 0..PROOFS_MADE {
            let index = options.rng.next_u64() % options.audited_leaves;
            std::hint::black_box(inclusion_path(&tiles, index, options.audited_leaves)?);
        }
        Ok(())
    })?;
    Ok(Proven { made_per_s, paths_per_s, checked_per_s, proof })
}

/// Root and size of the tree that a proof is of, once it has been checked.
fn head(proof: &TlogProof, vkey: &VerifierKey) -> Result<(veritwin_verify::Digest, u64)> {
    let checked = proof.check(vkey, None)?;
    Ok((checked.checkpoint.root, checked.checkpoint.size))
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{SeededRng, SystemClock};

    use super::*;

    #[test]
    fn a_deep_proof_holds_and_is_small() {
        let (clock, rng) = (SystemClock::new(), SeededRng::new(1));
        let made = measure::deep_proof((PROOF_TREE_HEIGHT, PROOF_INDEX), (&clock, &rng));
        let (proof, vkey) = made.expect("a proof");
        assert_eq!(head(&proof, &vkey).expect("holds").1, 1 << PROOF_TREE_HEIGHT);
        let text = proof.to_text();
        assert!(text.len() < 2048, "{} bytes", text.len());
        assert_eq!(TlogProof::parse(&text).expect("a proof"), proof);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_figure_is_there() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(SystemClock::new());
        let rng = Arc::new(SeededRng::new(2));
        let options = LedgerOptions {
            logs: 2,
            leaves_per_log: 300,
            audited_leaves: 1000,
            signed_leaves: 300,
            hashed_bytes: 1 << 20,
            with_peers: false,
            ..LedgerOptions::new(folder.path().to_owned(), clock, rng)
        };
        let entries = ledger(&options).await.expect("measured");
        assert_eq!(entries.len(), 10);
        for entry in entries {
            assert!(entry.value.is_finite() && entry.value > 0.0, "{entry:?}");
        }
    }
}

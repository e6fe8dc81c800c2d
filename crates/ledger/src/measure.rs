//! Work for `veritwin bench`: appends to an archive, and logs to audit. Measures real parts; the
//! caller states the machine. Not used by the product's own paths.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{BatchId, Clock, LogId, Rng, Timestamp};
use veritwin_keys::{KeyService, PlatformFile, SigningKey};
use veritwin_verify::{
    Act, Checkpoint, Digest, Frontier, KeyAlgorithm, Leaf, LeafReference, NoteError, SIGNATURE_LEN,
    TileKind, TilePath, TlogProof, VerifierKey, encode_bundle, leaf_hash, node_hash, root_of,
};

use crate::batch::origin_of;
use crate::prepare::prepare_verified;
use crate::state::hash_bytes;
use crate::{Append, Archive, ArchiveConfig, ArchiveLimits, CreateLog, LedgerError};

/// What appends took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AppendMeasure {
    /// Leaves appended and acknowledged.
    pub leaves: u64,
    /// Wall time from the first append to the last acknowledgement.
    pub elapsed: Duration,
    /// 99th percentile from append to signed checkpoint.
    pub publish_p99: Duration,
}

impl AppendMeasure {
    /// Leaves per second.
    pub fn leaves_per_s(&self) -> f64 {
        self.leaves as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// An archive of its own with real keys, in an empty directory.
pub fn archive(
    directory: &Path,
    (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>),
) -> Result<Archive, LedgerError> {
    let root = PlatformFile::open_or_create(&directory.join("root.key"), Arc::clone(&rng))?;
    let ring = directory.join("keyring");
    let keys = KeyService::open(Box::new(root), &ring, Arc::clone(&clock), Arc::clone(&rng))?;
    let limits = ArchiveLimits::default();
    let directory = directory.join("archive");
    Archive::open(ArchiveConfig { directory, keys, clock, rng, limits })
}

/// A submitter of evidence leaves without payloads.
struct Load {
    key: SigningKey,
    log: LogId,
    origin: String,
    previous: Option<LeafReference>,
    at: Timestamp,
}

impl Load {
    fn new(clock: &dyn Clock, rng: &dyn Rng) -> Self {
        let log = LogId::generate(clock.now(), rng);
        let origin = origin_of("bench.example", log, false);
        Self { key: SigningKey::generate(rng), log, origin, previous: None, at: clock.now() }
    }

    fn next(&mut self, rng: &dyn Rng) -> Vec<u8> {
        let previous = self.previous;
        let mut root = [0; 32];
        rng.fill(&mut root);
        let mut leaf = Leaf {
            act: Act::Evidence,
            batch: BatchId::generate(self.at, rng),
            previous_batch: previous.map_or(BatchId::from_bytes([0; 16]), |leaf| leaf.batch),
            previous_hash: previous.map_or(Digest::ZERO, |leaf| leaf.hash),
            first_sequence: previous.map_or(0, |leaf| leaf.last_sequence) + 1,
            count: 100,
            events_from: self.at,
            events_to: self.at,
            sealed_at: self.at,
            payload: Digest::ZERO,
            payload_bytes: 0,
            records_root: Digest::from_bytes(root),
            submitter: self.key.public_bytes(),
            signature: [0; SIGNATURE_LEN],
        };
        leaf.signature = self.key.sign(&leaf.signed_message(&self.origin));
        self.previous = Some(leaf.reference());
        leaf.encode()
    }

    /// A signed checkpoint, and the key to verify it with. Any signing key will do: the submitter's
    /// signs another message form.
    fn checkpoint(&self, size: u64, root: Digest) -> Result<(VerifierKey, String), NoteError> {
        let (origin, public) = (self.origin.clone(), self.key.public_bytes());
        let vkey = VerifierKey::new(&origin, KeyAlgorithm::Ed25519, public)?;
        let text = Checkpoint { origin, size, root }.text();
        let line = vkey.signature_line(&self.key.sign(text.as_bytes()));
        Ok((vkey, format!("{text}\n{line}")))
    }
}

/// Whether the archive verifies what it is given to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// The signature of each leaf, as always.
    Verified,
    /// None, as logs do that take whatever comes: what ordering, sealing and syncing cost alone.
    Trusted,
}

/// Appends `leaves_per_log` leaves to each of `logs` new logs, `in_flight` of a log at a time. The
/// leaves are signed before the clock starts.
#[boxed]
pub async fn appends(
    archive: &Archive,
    signatures: Signatures,
    (logs, leaves_per_log, in_flight): (usize, u64, usize),
    (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>),
) -> Result<AppendMeasure, LedgerError> {
    let mut work = Vec::with_capacity(logs);
    for _ in 0..logs {
        let mut load = Load::new(clock.as_ref(), rng.as_ref());
        let (log, origin) = (load.log, load.origin.clone());
        let submitter = load.key.public_bytes();
        archive.create_log(CreateLog { log, origin, submitter }).await?;
        let appends: Vec<Append> = (0..leaves_per_log)
            .map(|expected_size| {
                let entry = load.next(rng.as_ref());
                Append { log, expected_size, cursor: 0, entry, payload: None }
            })
            .collect();
        work.push(appends);
    }
    let started = clock.monotonic();
    let mut tasks = tokio::task::JoinSet::new();
    for appends in work {
        let (archive, clock) = (archive.clone(), Arc::clone(&clock));
        tasks.spawn(async move {
            append_all((&archive, signatures), appends, in_flight, clock.as_ref()).await
        });
    }
    let mut waits = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let joined = joined.map_err(|error| LedgerError::Stopped(error.to_string()))?;
        waits.extend(joined?);
    }
    let elapsed = clock.monotonic().saturating_sub(started);
    waits.sort_unstable();
    let publish_p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default();
    Ok(AppendMeasure { leaves: waits.len() as u64, elapsed, publish_p99 })
}

/// Appends in order, so that `in_flight` of them wait for the writer together.
async fn append_all(
    (archive, signatures): (&Archive, Signatures),
    appends: Vec<Append>,
    in_flight: usize,
    clock: &dyn Clock,
) -> Result<Vec<Duration>, LedgerError> {
    let mut waits = Vec::with_capacity(appends.len());
    let mut waiting = std::collections::VecDeque::new();
    for append in appends {
        if waiting.len() >= in_flight.max(1)
            && let Some((began, answer)) = waiting.pop_front()
        {
            archive.answer(answer).await?;
            waits.push(clock.monotonic().saturating_sub(began));
        }
        let began = clock.monotonic();
        let answer = match signatures {
            Signatures::Verified => archive.submit(append).await?,
            Signatures::Trusted => {
                let leaf = Leaf::decode(&append.entry).map_err(LedgerError::invalid)?;
                let ready = prepare_verified(archive.shared(), append, leaf)?;
                archive.hand_over(ready).await?
            }
        };
        waiting.push_back((began, answer));
    }
    for (began, answer) in waiting {
        archive.answer(answer).await?;
        waits.push(clock.monotonic().saturating_sub(began));
    }
    Ok(waits)
}

/// Writes a log of `leaves` signed leaves without payloads in the C2SP layout, to be audited. The
/// answer is its verifier key.
pub fn write_log(
    out: &Path,
    leaves: u64,
    (clock, rng): (&dyn Clock, &dyn Rng),
) -> std::io::Result<VerifierKey> {
    let mut load = Load::new(clock, rng);
    let mut frontier = Frontier::new();
    let mut levels: Vec<Vec<Digest>> = vec![Vec::new(); 8];
    let write = |tile: TilePath, bytes: &[u8]| {
        let path = out.join(tile.to_string());
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)
    };
    let mut entries = Vec::new();
    for index in 0..leaves {
        let entry = load.next(rng);
        let mut hash = leaf_hash(&entry);
        entries.push(entry);
        frontier.push(hash);
        if entries.len() == 256 || index + 1 == leaves {
            let width = entries.len() as u16;
            let tile = TilePath { kind: TileKind::Entries, index: index / 256, width };
            write(tile, &encode_bundle(&entries).map_err(std::io::Error::other)?)?;
            entries.clear();
        }
        for (level, hashes) in levels.iter_mut().enumerate() {
            hashes.push(hash);
            if hashes.len() < 256 {
                break;
            }
            let full = std::mem::take(hashes);
            let kind = TileKind::Hashes(level as u8);
            let number = index >> (8 * (level as u32 + 1));
            write(TilePath { kind, index: number, width: 256 }, &hash_bytes(&full))?;
            hash = root_of(&full);
        }
    }
    for (level, hashes) in levels.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty()) {
        let kind = TileKind::Hashes(level as u8);
        let index = (leaves >> (8 * level as u32)) / 256;
        write(TilePath { kind, index, width: hashes.len() as u16 }, &hash_bytes(hashes))?;
    }
    let signed = load.checkpoint(leaves, frontier.root());
    let (vkey, checkpoint) = signed.map_err(std::io::Error::other)?;
    fs::write(out.join("log.vkey"), format!("{vkey}\n"))?;
    fs::write(out.join("checkpoint"), checkpoint)?;
    Ok(vkey)
}

/// The proof of a signed leaf in a tree of `2^height` leaves with a signed checkpoint. The siblings
/// on the way to the root are those of subtrees that nobody has to look into.
pub fn deep_proof(
    (height, index): (u32, u64),
    (clock, rng): (&dyn Clock, &dyn Rng),
) -> Result<(TlogProof, VerifierKey), NoteError> {
    let mut load = Load::new(clock, rng);
    let entry = load.next(rng);
    let mut hash = leaf_hash(&entry);
    let mut path = Vec::new();
    for level in 0..height {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        let sibling = Digest::from_bytes(bytes);
        let is_right = (index >> level) & 1 == 1;
        hash = if is_right { node_hash(&sibling, &hash) } else { node_hash(&hash, &sibling) };
        path.push(sibling);
    }
    let (vkey, checkpoint) = load.checkpoint(1 << height, hash)?;
    Ok((TlogProof { entry: Some(entry), index, path, checkpoint }, vkey))
}

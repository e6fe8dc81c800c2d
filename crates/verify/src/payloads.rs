//! Checks payload files on a second thread, through a bounded queue: SHA-256 and length against the
//! leaf. Missing ones are remembered as ranges, since a later statement may explain them.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::report::{FINDINGS_MAX, Finding, FindingKind};
use crate::{Digest, Leaf, LeafPlace, Source};

/// Payloads waiting to be hashed.
const QUEUE_MAX: usize = 256;
/// Most separate ranges of missing payloads remembered.
const RANGES_MAX: usize = 1_000_000;
const CHUNK_BYTES: usize = 256 * 1024;

/// Where the payload with this hash is in the layout.
pub(crate) fn payload_name(payload: &Digest) -> String {
    format!("payload/{payload}")
}

pub(crate) struct Job {
    place: LeafPlace,
    payload: Digest,
    bytes: u64,
}

impl Job {
    pub(crate) fn of(index: u64, leaf: &Leaf) -> Option<Self> {
        (leaf.payload_bytes > 0).then(|| Self {
            place: leaf.place(index),
            payload: leaf.payload,
            bytes: leaf.payload_bytes,
        })
    }
}

/// What the thread found.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) checked: u64,
    pub(crate) bytes: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) findings_more: u64,
    /// Half-open ranges of leaf indexes, ascending.
    pub(crate) missing: Vec<(u64, u64)>,
    pub(crate) ranges_overflowed: bool,
}

pub(crate) fn queue() -> (SyncSender<Job>, Receiver<Job>) {
    sync_channel(QUEUE_MAX)
}

/// Checks jobs until the sender is gone.
pub(crate) fn check(source: &dyn Source, jobs: &Receiver<Job>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    for job in jobs {
        let name = payload_name(&job.payload);
        match hash(source, &name, &mut buffer) {
            Ok(Some((digest, bytes))) => {
                outcome.checked += 1;
                outcome.bytes += bytes;
                if bytes != job.bytes {
                    let problem = "the payload has another length than the leaf says";
                    let finding = Finding::new(FindingKind::Payload, name, problem);
                    outcome.add(finding.at(job.place).values(job.bytes, bytes));
                } else if digest != job.payload {
                    let problem = "the payload's SHA-256 is not the leaf's";
                    let finding = Finding::new(FindingKind::Payload, name, problem);
                    outcome.add(finding.at(job.place).values(job.payload, digest));
                }
            }
            Ok(None) => outcome.miss(job.place.index),
            Err(problem) => {
                outcome.add(Finding::new(FindingKind::Unreadable, name, problem).at(job.place));
            }
        }
    }
    outcome
}

impl Outcome {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_more += 1;
        }
    }

    fn miss(&mut self, index: u64) {
        let room = self.missing.len() < RANGES_MAX;
        match self.missing.last_mut() {
            Some((_, end)) if *end == index => *end += 1,
            _ if room => self.missing.push((index, index + 1)),
            _ => self.ranges_overflowed = true,
        }
    }
}

fn hash(
    source: &dyn Source,
    name: &str,
    buffer: &mut [u8],
) -> Result<Option<(Digest, u64)>, String> {
    let Some(mut reader) = source.open(name).map_err(|error| error.problem)? else {
        return Ok(None);
    };
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut total = 0u64;
    loop {
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(length) => {
                context.update(&buffer[..length]);
                total += length as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(Some((Digest::from_bytes(digest), total)))
}

//! Checks payload files on threads of their own, through a bounded queue: SHA-256 and length
//! against the leaf. Missing ones are remembered as ranges that the threads share, as a later
//! statement may explain them.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::report::{FINDINGS_MAX, Finding, FindingKind};
use crate::{Digest, Leaf, LeafPlace, Source};

/// Payloads waiting to be hashed.
const QUEUE_MAX: usize = 256;
/// Most separate ranges of missing payloads remembered.
const RANGES_MAX: usize = 1_000_000;
const CHUNK_BYTES: usize = 256 * 1024;
/// Longest wait until it is said again how many payloads are done.
const LOOK: Duration = Duration::from_millis(10);

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

/// Leaves whose payloads are not there, as half-open ranges, first to end. They come nearly in
/// order, so that a long range stays one.
#[derive(Default)]
struct Missing {
    ranges: BTreeMap<u64, u64>,
    overflowed: bool,
}

impl Missing {
    fn add(&mut self, index: u64, ranges_max: usize) {
        let end = index.saturating_add(1);
        let before = self.ranges.range(..=index).next_back().map(|(from, to)| (*from, *to));
        let from = match before {
            Some((_, to)) if to > index => return,
            Some((from, to)) if to == index => from,
            _ => index,
        };
        let behind = self.ranges.remove(&end);
        if from == index && self.ranges.len() >= ranges_max {
            self.overflowed = true;
            return;
        }
        self.ranges.insert(from, behind.unwrap_or(end));
    }
}

/// Hashes summed up by their first byte. What stands in one of two such sums alone is what is left
/// when both are joined, as long as nothing else is left under its first byte.
pub(crate) struct HashSums(Vec<[u8; 32]>);

impl Default for HashSums {
    fn default() -> Self {
        Self(vec![[0; 32]; 256])
    }
}

fn add_up(sum: &mut [u8; 32], more: &[u8; 32]) {
    sum.iter_mut().zip(more).for_each(|(byte, more)| *byte ^= more);
}

impl HashSums {
    pub(crate) fn add(&mut self, hash: &Digest) {
        let bytes = hash.as_bytes();
        if let Some(sum) = self.0.get_mut(usize::from(bytes[0])) {
            add_up(sum, bytes);
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| add_up(sum, more));
    }

    /// What may be left, by its first byte.
    pub(crate) fn left(&self) -> impl Iterator<Item = Digest> + '_ {
        let sums = self.0.iter().enumerate();
        let left = sums.filter(|(first, sum)| usize::from(sum[0]) == *first && **sum != [0; 32]);
        left.map(|(_, sum)| Digest::from_bytes(*sum))
    }
}

/// What the threads found.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) checked: u64,
    pub(crate) bytes: u64,
    /// The payloads that are there.
    pub(crate) names: HashSums,
    pub(crate) findings: Vec<Finding>,
    pub(crate) findings_more: u64,
    /// Half-open ranges of leaf indexes, ascending.
    pub(crate) missing: Vec<(u64, u64)>,
    pub(crate) ranges_overflowed: bool,
}

/// How many payloads the threads are done with.
#[derive(Default)]
struct Done {
    count: Mutex<u64>,
    more: Condvar,
}

impl Done {
    fn add(&self) {
        if let Ok(mut count) = self.count.lock() {
            *count += 1;
        }
        self.more.notify_one();
    }

    fn count(&self) -> u64 {
        self.count.lock().map_or(0, |count| *count)
    }

    /// Waits a moment for one more.
    fn wait(&self) {
        let Ok(count) = self.count.lock() else { return };
        let before = *count;
        // Whoever waits looks again, whatever became of it.
        drop(self.more.wait_timeout_while(count, LOOK, |count| *count == before));
    }
}

/// The threads that hash payloads.
pub(crate) struct Pool<'scope> {
    jobs: SyncSender<Job>,
    /// Payloads handed to them.
    sent: u64,
    done: Arc<Done>,
    threads: Vec<ScopedJoinHandle<'scope, Outcome>>,
    missing: Arc<Mutex<Missing>>,
}

impl<'scope> Pool<'scope> {
    pub(crate) fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        source: &'env dyn Source,
    ) -> Self {
        let (jobs, receiver) = sync_channel(QUEUE_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        let missing = Arc::<Mutex<Missing>>::default();
        let done = Arc::<Done>::default();
        let start = |_| {
            let (receiver, missing) = (Arc::clone(&receiver), Arc::clone(&missing));
            let done = Arc::clone(&done);
            scope.spawn(move || check(source, &receiver, (&missing, &done)))
        };
        let threads = (0..source.threads().max(1)).map(start).collect();
        Self { jobs, sent: 0, done, threads, missing }
    }

    /// How many payloads are done, and how many were handed over.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.done.count(), self.sent)
    }

    /// Hands a payload to a thread. While too many wait already it waits, and says how many are
    /// done.
    pub(crate) fn send(&mut self, mut job: Job, waiting: &mut dyn FnMut((u64, u64))) {
        self.sent += 1;
        loop {
            match self.jobs.try_send(job) {
                Err(TrySendError::Full(back)) => job = back,
                // The receiver lives as long as this sender unless every thread broke off, which
                // the end tells.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            }
            self.done.wait();
            waiting(self.counts());
        }
    }

    /// What was found, once the threads are done; none when one broke off.
    pub(crate) fn finish(self, waiting: &mut dyn FnMut((u64, u64))) -> Option<Outcome> {
        drop(self.jobs);
        while !self.threads.iter().all(ScopedJoinHandle::is_finished) {
            self.done.wait();
            waiting((self.done.count(), self.sent));
        }
        let mut all = Outcome::default();
        let joined: Vec<_> = self.threads.into_iter().map(ScopedJoinHandle::join).collect();
        for outcome in joined {
            all.join(outcome.ok()?);
        }
        all.settle();
        let missing = std::mem::take(&mut *self.missing.lock().ok()?);
        all.missing = missing.ranges.into_iter().collect();
        all.ranges_overflowed = missing.overflowed;
        Some(all)
    }
}

/// Checks jobs until the sender is gone.
fn check(
    source: &dyn Source,
    jobs: &Mutex<Receiver<Job>>,
    (missing, done): (&Mutex<Missing>, &Done),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let job = match jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(_) => return outcome,
        };
        let Ok(job) = job else { return outcome };
        if !outcome.check(source, &job, &mut buffer)
            && let Ok(mut missing) = missing.lock()
        {
            missing.add(job.place.index, RANGES_MAX);
        }
        done.add();
    }
}

impl Outcome {
    /// False when the payload is not there.
    fn check(&mut self, source: &dyn Source, job: &Job, buffer: &mut [u8]) -> bool {
        let name = payload_name(&job.payload);
        match hash(source, (&name, job.bytes), buffer) {
            Ok(Some((digest, bytes))) => {
                self.checked += 1;
                self.bytes += bytes;
                self.names.add(&job.payload);
                if bytes != job.bytes {
                    let problem = "the payload has another length than the leaf says";
                    let finding = Finding::new(FindingKind::Payload, name, problem);
                    let more = bytes > job.bytes;
                    let found = if more { "more".to_owned() } else { bytes.to_string() };
                    self.add(finding.at(job.place).values(job.bytes, found));
                } else if digest != job.payload {
                    let problem = "the payload's SHA-256 is not the leaf's";
                    let finding = Finding::new(FindingKind::Payload, name, problem);
                    self.add(finding.at(job.place).values(job.payload, digest));
                }
            }
            Ok(None) => return false,
            Err(problem) => {
                self.add(Finding::new(FindingKind::Unreadable, name, problem).at(job.place));
            }
        }
        true
    }

    /// Takes what another thread found.
    fn join(&mut self, other: Self) {
        self.checked += other.checked;
        self.bytes += other.bytes;
        self.names.join(&other.names);
        self.findings.extend(other.findings);
        self.findings_more += other.findings_more;
    }

    /// Puts in order what several threads found.
    fn settle(&mut self) {
        self.findings.sort_by_key(|finding| finding.leaf.map(|leaf| leaf.index));
        if let Some(more) = self.findings.len().checked_sub(FINDINGS_MAX) {
            self.findings.truncate(FINDINGS_MAX);
            self.findings_more += more as u64;
        }
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_more += 1;
        }
    }
}

/// Checks one payload: what is wrong with it; none when it is not there.
pub(crate) fn check_alone(source: &dyn Source, job: &Job) -> Option<Vec<Finding>> {
    let mut outcome = Outcome::default();
    let is_there = outcome.check(source, job, &mut vec![0; CHUNK_BYTES]);
    is_there.then_some(outcome.findings)
}

/// Hash and length; of what is longer than its leaf says only one byte more is read.
fn hash(
    source: &dyn Source,
    (name, bytes_said): (&str, u64),
    buffer: &mut [u8],
) -> Result<Option<(Digest, u64)>, String> {
    let most = bytes_said.saturating_add(1);
    let Some(reader) = source.open_within(name, most).map_err(|error| error.problem)? else {
        return Ok(None);
    };
    let mut reader = reader.take(most);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceError;

    /// A payload without an end.
    struct Endless(Mutex<u64>);

    struct Bytes<'a>(&'a Mutex<u64>);

    impl Read for Bytes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            *self.0.lock().unwrap() += buffer.len() as u64;
            buffer.fill(7);
            Ok(buffer.len())
        }
    }

    impl Source for Endless {
        fn open(&self, _: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
            Ok(Some(Box::new(Bytes(&self.0))))
        }
    }

    #[test]
    fn of_a_payload_without_end_no_more_is_read_than_its_leaf_says() {
        let source = Endless(Mutex::new(0));
        let place = LeafPlace { index: 3, batch: None, records: None };
        let job = Job { place, payload: Digest::ZERO, bytes: 1000 };
        let findings = check_alone(&source, &job).unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].problem.contains("another length"), "{findings:?}");
        assert_eq!(*source.0.lock().unwrap(), 1001);
    }

    #[test]
    fn what_stands_on_one_side_alone_is_left() {
        let hash = |first: u8, rest: u8| {
            let mut bytes = [rest; 32];
            bytes[0] = first;
            Digest::from_bytes(bytes)
        };
        let (mut leaves, mut files) = (HashSums::default(), HashSums::default());
        for rest in 0..40 {
            leaves.add(&hash(rest % 7, rest));
            files.add(&hash(rest % 7, rest));
        }
        let strange = [hash(0, 200), hash(3, 201), hash(255, 202)];
        strange.iter().for_each(|one| files.add(one));
        files.join(&leaves);
        assert_eq!(Vec::from_iter(files.left()), strange);
    }

    #[test]
    fn a_long_range_that_threads_find_out_of_order_stays_one() {
        let mut missing = Missing::default();
        // Four threads that take turns, each a few leaves ahead of another.
        for start in (0..10_000u64).step_by(8) {
            for offset in [3, 0, 1, 2, 7, 5, 6, 4] {
                missing.add(start + offset, 4);
            }
        }
        missing.add(17, 4);
        assert_eq!(Vec::from_iter(missing.ranges.clone()), [(0, 10_000)]);
        assert!(!missing.overflowed);
        for index in [20_000, 20_002, 20_004] {
            missing.add(index, 4);
        }
        missing.add(20_003, 4);
        assert_eq!(missing.ranges.len(), 3, "{:?}", missing.ranges);
        missing.add(30_000, 4);
        assert!(!missing.overflowed);
        missing.add(40_000, 4);
        assert!(missing.overflowed && missing.ranges.len() == 4);
    }
}

//! Full verification of a log: every tile recomputed from the entries, every leaf followed, every
//! payload hashed, on every core, in constant memory and one pass (a second only to name a forged
//! leaf).

mod acts;
mod ahead;
mod answers;
mod extra;
mod find;
mod gaps;
mod head;
mod published;
mod times;
mod tree;

pub use answers::{
    ConsistencyAnswer, ProofAnswer, SourceTiles, consistency, consistency_at, consistency_between,
    inclusion_at, proof,
};
pub use find::leaf_of_record;
pub use gaps::{Gap, GapOptions, GapReport, gaps};

use crate::chain::Chain;
use crate::payloads::{self, Job, payload_name};
use crate::report::{ExitClass, FINDINGS_MAX, Finding, FindingKind, Progress, Report};
use crate::{
    Digest, Leaf, Policy, Signers, Source, StampAuthorities, TileKind, TilePath, VerifierKey,
    decode_bundle, leaf_hash,
};

use ahead::{Ahead, Content, Leaves, Plan, Whole};
use head::Head;
use tree::TreeCheck;

/// Largest entry bundle: 256 entries of the longest length, framed.
const BUNDLE_BYTES_MAX: u64 = 256 * (2 + u16::MAX as u64);

/// How submitters' signatures are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureCheck {
    /// The last of each key: with the hash chain it vouches for all before it. When it fails, every
    /// one is checked to name the leaf.
    #[default]
    Chained,
    /// Every one.
    Every,
}

/// A checkpoint that the reader has from earlier or elsewhere: from a mail, a witness, a backup.
#[derive(Debug, Clone)]
pub struct KnownCheckpoint {
    /// What to call it in findings, such as a file name.
    pub name: String,
    /// The signed note.
    pub note: Vec<u8>,
}

/// What to verify against.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The log's key, from outside.
    pub vkey: Option<VerifierKey>,
    /// Logs and witnesses to trust.
    pub policy: Option<Policy>,
    /// Whose time stamps are believed; none leaves that open.
    pub authorities: Option<StampAuthorities>,
    /// Checkpoints that the log has to extend.
    pub known: Vec<KnownCheckpoint>,
    /// Public keys of the submitters to accept; empty accepts the key of the first leaf.
    pub submitters: Vec<[u8; 32]>,
    /// How submitters' signatures are checked.
    pub signatures: SignatureCheck,
    /// Leave payload files unread.
    pub skip_payloads: bool,
    /// A leaf that says it was sealed before a time stamp that does not cover it is a finding, and
    /// no note.
    pub strict_times: bool,
}

/// Verifies a whole log.
pub fn verify_log(
    source: &dyn Source,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Report {
    let every = options.signatures == SignatureCheck::Every;
    let (report, tail_failed) = pass(source, options, every, progress);
    if tail_failed { pass(source, options, true, progress).0 } else { report }
}

fn pass(
    source: &dyn Source,
    options: &VerifyOptions,
    every_signature: bool,
    progress: &mut dyn FnMut(Progress),
) -> (Report, bool) {
    let mut report = Report::empty();
    let Some(head) = head::read(source, options, &mut report) else { return (report, false) };
    let origin = head.checkpoint.origin.clone();
    let mut chain = Chain::new(&origin, &options.submitters, every_signature);
    let mut tree = TreeCheck::new(source, &head);
    let (size, signers) = (head.checkpoint.size, Signers::default());
    let plan = Plan { source, origin: &origin, size, every_signature, signers: &signers };
    let (outcome, is_whole) = std::thread::scope(|scope| {
        let ahead = plan.start(scope);
        let mut pool = (!options.skip_payloads).then(|| payloads::Pool::start(scope, source));
        let mut walk = Walk {
            source,
            head: &head,
            ahead: &ahead,
            pool: pool.as_mut(),
            progress: &mut *progress,
        };
        let is_whole = walk.run(&mut tree, &mut chain, &mut report);
        let size = head.checkpoint.size;
        let outcome = pool
            .map(|pool| pool.finish(&mut |payloads| progress(progress_at((size, size), payloads))));
        (outcome, ahead.finish() && is_whole)
    });
    if !is_whole {
        let problem = "the check broke off";
        report.add(Finding::new(FindingKind::Unreadable, "tile/entries", problem));
    }
    chain.settle(&mut report);
    chain.statements.join_ranges();
    let (compared, is_given_passed_over) = tree.finish(&chain.statements, &mut report);
    let mut named = None;
    match outcome {
        None => report.notes.push("payloads were not read".to_owned()),
        Some(Some(outcome)) => {
            named = Some(settle_payloads(source, &head, &chain, outcome, &mut report));
        }
        Some(None) => {
            report.add(Finding::new(FindingKind::Unreadable, "payload", "the check broke off"));
        }
    }
    extra::check(source, &head, named, &mut report);
    let published = head.published.iter().rev();
    let compared: Vec<_> =
        published.filter(|one| compared.binary_search(&one.size).is_ok()).collect();
    let stamped: Vec<_> = compared.iter().filter_map(|one| one.stamped()).collect();
    let stamped = (stamped.as_slice(), options.strict_times);
    times::check(source, head.checkpoint.size, stamped, &mut report);
    head::conclude(&head, options, &compared, &mut report);
    if is_given_passed_over {
        report.end_as(ExitClass::Pruned);
    }
    (report, chain.tail_failed)
}

/// One walk over all bundles, in order.
struct Walk<'a, 'scope> {
    source: &'a dyn Source,
    head: &'a Head,
    ahead: &'a Ahead<'scope>,
    pool: Option<&'a mut payloads::Pool<'scope>>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Walk<'_, '_> {
    /// False when the walk broke off.
    fn run(
        &mut self,
        tree: &mut TreeCheck<'_>,
        chain: &mut Chain<'_>,
        report: &mut Report,
    ) -> bool {
        let size = self.head.checkpoint.size;
        let mut index = 0;
        while let Some(path) = TilePath::in_tree(TileKind::Entries, index, size) {
            let Some(bundle) = self.ahead.take(index) else { return false };
            let step = match bundle.content {
                Content::Absent(findings) => {
                    findings.into_iter().for_each(|finding| report.add(finding));
                    let (last_hash, step) = tree.bundle_missing(path, report);
                    chain.hole(last_hash, report);
                    step
                }
                Content::Refused(finding) => {
                    report.add(finding);
                    let (last_hash, step) = tree.bundle_refused(path, report);
                    chain.hole(last_hash, report);
                    step
                }
                Content::Whole(whole) => {
                    let done = ((index * 256).min(size), size);
                    let (pool, progress) = (&mut self.pool, &mut *self.progress);
                    let bundle = (self.source, path, *whole);
                    take_bundle(bundle, (&mut *tree, &mut *chain), report, &mut |job| {
                        if let Some(pool) = pool.as_deref_mut() {
                            pool.send(job, &mut |payloads| progress(progress_at(done, payloads)));
                        }
                    });
                    1
                }
            };
            index += step;
            let leaves = (index * 256).min(size);
            let payloads = self.pool.as_ref().map_or((0, 0), |pool| pool.counts());
            (self.progress)(progress_at((leaves, size), payloads));
            if tree.is_lost() {
                let problem = format!("too much is missing: given up at leaf {leaves}");
                report.add(Finding::new(FindingKind::Missing, "tile/entries", problem));
                return true;
            }
        }
        true
    }
}

const fn progress_at(
    (leaves, leaves_total): (u64, u64),
    (payloads, payloads_total): (u64, u64),
) -> Progress {
    Progress { leaves, leaves_total, payloads, payloads_total }
}

/// Takes a bundle that could be read: its hashes, then its leaves.
fn take_bundle(
    (source, path, mut whole): (&dyn Source, TilePath, Whole),
    (tree, chain): (&mut TreeCheck<'_>, &mut Chain<'_>),
    report: &mut Report,
    on_payload: &mut dyn FnMut(Job),
) {
    std::mem::take(&mut whole.findings).into_iter().for_each(|finding| report.add(finding));
    tree.bundle(path, &whole, report);
    let Whole { name, hashes, leaves, .. } = whole;
    let first = path.index * 256;
    report.counts.leaves += hashes.len() as u64;
    match leaves {
        Leaves::Bytes(bytes) => {
            take_leaves(&bytes, (first, &hashes, &name), (chain, report), on_payload);
        }
        Leaves::Again => match read_again(source, path, &hashes) {
            Some(bytes) => {
                take_leaves(&bytes, (first, &hashes, &name), (chain, report), on_payload);
            }
            None => {
                let problem = "it is another one when it is read again";
                report.add(Finding::new(FindingKind::Unreadable, &name, problem));
                chain.hole(hashes.last().copied(), report);
            }
        },
        Leaves::Run(run) => {
            let (Some(first_hash), Some(last_hash)) = (hashes.first(), hashes.last()) else {
                return;
            };
            chain.leaf((first, run.first.as_slice(), *first_hash), &name, report);
            let last = first + hashes.len() as u64 - 1;
            if let Some(behind) = run.behind {
                chain.follow((last, *last_hash), behind, report);
            }
            run.jobs.into_iter().for_each(on_payload);
        }
    }
}

/// Follows the leaves of a bundle one by one.
fn take_leaves(
    bytes: &[u8],
    (first, hashes, name): (u64, &[Digest], &str),
    (chain, report): (&mut Chain<'_>, &mut Report),
    on_payload: &mut dyn FnMut(Job),
) {
    let entries = decode_bundle(bytes).unwrap_or_default();
    for ((index, entry), hash) in (first..).zip(entries).zip(hashes) {
        let leaf = chain.leaf((index, entry, *hash), name, report);
        if let Some(job) = leaf.and_then(|leaf| Job::of(index, &leaf)) {
            on_payload(job);
        }
    }
}

/// A bundle that was read before, if it still is what it was then.
fn read_again(source: &dyn Source, path: TilePath, hashes: &[Digest]) -> Option<Vec<u8>> {
    let (_, bytes) = read_tile(source, path, BUNDLE_BYTES_MAX, &mut Report::empty())?;
    let entries = decode_bundle(&bytes).ok()?;
    let is_same = entries.len() >= hashes.len()
        && entries.iter().zip(hashes).all(|(entry, hash)| leaf_hash(entry) == *hash);
    is_same.then_some(bytes)
}

/// Reads a tile or bundle. A partial one may have been replaced by the full one, whose beginning
/// then counts (C2SP tlog-tiles, "Partial Tiles").
fn read_tile(
    source: &dyn Source,
    path: TilePath,
    bytes_max: u64,
    report: &mut Report,
) -> Option<(String, Vec<u8>)> {
    for candidate in [path, path.full()] {
        let name = candidate.to_string();
        match source.read(&name, bytes_max) {
            Ok(Some(bytes)) => return Some((name, bytes)),
            Ok(None) if path.is_full() => return None,
            Ok(None) => {}
            Err(error) => {
                report.add(Finding::new(FindingKind::Unreadable, name, error.problem));
                return None;
            }
        }
    }
    None
}

/// True when a tile or bundle read as `name` has the right number of hashes or entries: exactly its
/// width, or at least that when the full one stands in for a partial one.
fn length_fits(name: &str, path: TilePath, length: usize) -> bool {
    let width = usize::from(path.width);
    if name == path.to_string() { length == width } else { length >= width }
}

/// Reads one leaf again, to name it. Its hash is not checked here.
fn read_leaf(source: &dyn Source, index: u64, size: u64) -> Option<Leaf> {
    let path = TilePath::in_tree(TileKind::Entries, index / 256, size)?;
    let mut ignored = Report::empty();
    let (_, bytes) = read_tile(source, path, BUNDLE_BYTES_MAX, &mut ignored)?;
    let entries = decode_bundle(&bytes).ok()?;
    Leaf::decode(entries.get((index % 256) as usize)?).ok()
}

/// Sorts missing payloads into destroyed, replaced and missing; answers those that are there.
fn settle_payloads(
    source: &dyn Source,
    head: &Head,
    chain: &Chain<'_>,
    outcome: payloads::Outcome,
    report: &mut Report,
) -> payloads::HashSums {
    report.counts.payloads = outcome.checked;
    report.counts.payload_bytes = outcome.bytes;
    for finding in outcome.findings {
        report.add(finding);
    }
    report.findings_total += outcome.findings_more;
    if outcome.ranges_overflowed {
        let problem = "too many payloads are missing to tell them one by one";
        report.add(Finding::new(FindingKind::Missing, "payload", problem));
    }
    let mut looked_up = 0;
    for index in outcome.missing.into_iter().flat_map(|(from, to)| from..to) {
        if chain.statements.is_shredded(index) {
            report.counts.shredded += 1;
            continue;
        }
        looked_up += 1;
        let leaf = if looked_up <= FINDINGS_MAX {
            read_leaf(source, index, head.checkpoint.size)
        } else {
            None
        };
        let reseal = chain.statements.reseal(index);
        match (leaf, reseal) {
            (Some(leaf), Some((old_payload, root))) => {
                if leaf.payload == old_payload && leaf.records_root == root {
                    report.counts.shredded += 1;
                } else {
                    let problem = "a reseal leaf names another payload or other records for it";
                    let file = payload_name(&leaf.payload);
                    let finding = Finding::new(FindingKind::Payload, file, problem);
                    report.add(finding.at(leaf.place(index)));
                }
            }
            (Some(leaf), None) => {
                let problem = "missing, and no leaf says that it was destroyed";
                let finding =
                    Finding::new(FindingKind::Missing, payload_name(&leaf.payload), problem);
                report.add(finding.at(leaf.place(index)));
            }
            (None, _) => {
                let problem = format!("the payload of leaf {index} is missing");
                report.add(Finding::new(FindingKind::Missing, "payload", problem));
            }
        }
    }
    if report.counts.shredded > 0 {
        let count = report.counts.shredded;
        report.notes.push(format!("{count} payloads were lawfully destroyed or replaced"));
    }
    outcome.names
}

/// The exit class when a policy's witnesses are not there.
pub(crate) fn policy_unmet(report: &mut Report) {
    report.end_as(ExitClass::WitnessPolicyUnmet);
}

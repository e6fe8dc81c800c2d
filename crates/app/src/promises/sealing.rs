//! Sealing of evidence: what changes a state, or was asked for, has a leaf of its own in the
//! platform's log; what says the same as before waits for the day's list, whose digest is one leaf.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{EvidenceId, Timestamp};
use veritwin_governance::{Evidence, OutcomeKind, PromiseId};
use veritwin_keys::sha256;
use veritwin_metastore::PromiseEvidence;

use super::run::LOADED_MAX;
use super::{Board, UNSEALED_MAX};
use crate::error::found;
use crate::job_board::JobWatch;
use crate::{App, Result};

/// How long evidence waits for an archive that is away.
const SEAL_AGAIN: Duration = Duration::from_secs(15);
/// The oldest evidence of a list waits so long at most.
const LISTED_AFTER: Duration = Duration::from_secs(86_400);
/// Most evidence of one list; more makes another before the day is over. A trust page takes whole
/// lists along, of some days.
const LISTED_MAX: usize = 512;
/// The first line of a list.
const LIST_HEAD: &str = "veritwin evidence list v1\n";

/// Evidence whose digest is not in the ledger yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsealed {
    promise: PromiseId,
    kind: OutcomeKind,
    digest: [u8; 32],
    at: Timestamp,
    /// Whether it waits for the day's list.
    is_quiet: bool,
}

impl Unsealed {
    pub(super) fn new(evidence: &Evidence, bytes: &[u8], is_quiet: bool) -> Self {
        let (promise, kind) = (evidence.promise(), evidence.outcome().kind());
        Self { promise, kind, digest: sha256(bytes), at: evidence.finished_at(), is_quiet }
    }
}

/// Whether a conclusion says something else than the one before it.
fn is_change(evidence: &Evidence, before: Option<&Evidence>) -> bool {
    before.is_none_or(|before| {
        before.outcome().kind() != evidence.outcome().kind()
            || before.probe_version() != evidence.probe_version()
    })
}

/// The runs that changed a promise's state, of its newest ones, newest first.
pub(super) fn changes(runs: &[Evidence]) -> Vec<EvidenceId> {
    let concludes = |run: &&Evidence| run.outcome().kind() != OutcomeKind::CouldNotRun;
    let conclusive: Vec<&Evidence> = runs.iter().filter(concludes).collect();
    // Of the oldest that was read nobody knows what was before it.
    let is_whole = runs.len() < LOADED_MAX as usize;
    let mut changed = Vec::new();
    for (at, run) in conclusive.iter().enumerate() {
        let has_changed = match conclusive.get(at + 1) {
            Some(before) => is_change(run, Some(before)),
            None => is_whole,
        };
        if has_changed {
            changed.push(run.id());
        }
    }
    changed
}

/// A list as it is sealed: one line for each run, with promise, run and SHA-256.
fn list(mut runs: Vec<(EvidenceId, String, [u8; 32])>) -> String {
    runs.sort_by_key(|(id, ..)| *id.as_bytes());
    let mut text = LIST_HEAD.to_owned();
    for (id, promise, digest) in runs {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{promise} {id} {}", hex::encode(digest));
    }
    text
}

/// Whether a list names a run of a promise by its digest, in hexadecimal.
pub(crate) fn is_listed(list: &str, promise: &str, digest: &str) -> bool {
    let Some(lines) = list.strip_prefix(LIST_HEAD) else { return false };
    lines.lines().any(|line| {
        let mut words = line.split(' ');
        let named = (words.next(), words.next(), words.next(), words.next());
        matches!(named, (Some(of), Some(_), Some(known), None) if of == promise && known == digest)
    })
}

impl Board {
    /// Whether evidence has a leaf of its own: it changes what is known of its promise.
    pub(super) fn changes_state(&self, evidence: &Evidence) -> bool {
        let known = self.found.get(&evidence.promise()).and_then(|known| known.conclusive.as_ref());
        evidence.outcome().kind() != OutcomeKind::CouldNotRun
            && is_change(evidence, known.map(|run| &run.evidence))
    }

    /// Takes evidence that was stored, if it has room.
    pub(super) fn wait_for_leaf(&mut self, id: EvidenceId, unsealed: Unsealed) {
        if self.unsealed.len() < UNSEALED_MAX {
            self.unsealed.insert(id, unsealed);
        } else {
            self.has_more = true;
        }
    }

    /// Takes what is stored and has no leaf: of an earlier start, or what found no room.
    pub(super) fn load_unsealed(
        &mut self,
        rows: Vec<PromiseEvidence>,
        changes: &BTreeSet<EvidenceId>,
    ) {
        self.has_more = rows.len() >= UNSEALED_MAX;
        for row in rows {
            let Ok(evidence) = Evidence::from_canonical_bytes(&row.summary) else { continue };
            let is_quiet = !changes.contains(&row.id);
            let unsealed = Unsealed::new(&evidence, &row.summary, is_quiet);
            self.unsealed.entry(row.id).or_insert(unsealed);
        }
    }

    /// What the next list holds: the oldest evidence that waits for it.
    fn quiet(&self) -> Vec<(EvidenceId, Unsealed)> {
        let all = self.unsealed.iter().filter(|(_, unsealed)| unsealed.is_quiet);
        all.take(LISTED_MAX).map(|(id, unsealed)| (*id, *unsealed)).collect()
    }
}

impl App {
    pub(super) async fn seal_as_it_comes(&self, watch: &JobWatch) {
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.promises.to_seal.notified() => {}
                () = tokio::time::sleep(SEAL_AGAIN) => {}
            }
            match self.seal_due().await {
                Ok(()) => watch.turned(),
                Err(error) => tracing::warn!(%error, "evidence waits for the ledger"),
            }
        }
    }

    /// Seals what has a leaf of its own, and the list if its day is over.
    pub(super) async fn seal_due(&self) -> Result<()> {
        self.seal_changes().await?;
        let quiet = self.0.promises.board.lock().quiet();
        let now = self.clock().now();
        let is_over = quiet.iter().any(|(_, one)| now.since(one.at) >= LISTED_AFTER);
        if is_over || quiet.len() >= LISTED_MAX {
            self.seal_list().await?;
        }
        self.take_up_unsealed().await
    }

    /// Takes up what found no room in memory, once half of it is free. None of it is sealed
    /// meanwhile: what a list names must not get another leaf.
    async fn take_up_unsealed(&self) -> Result<()> {
        let _turn = self.0.promises.sealing.lock().await;
        let has_room = {
            let board = self.0.promises.board.lock();
            board.has_more && board.unsealed.len() <= UNSEALED_MAX / 2
        };
        if !has_room {
            return Ok(());
        }
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let rows = tx.evidence_unsealed(UNSEALED_MAX as u64).await?;
        drop(tx);
        self.0.promises.board.lock().load_unsealed(rows, &BTreeSet::new());
        Ok(())
    }

    /// Appends the digests of what waits, oldest first. A crash between leaf and note makes a
    /// second leaf of the same digest, which harms nothing.
    async fn seal_changes(&self) -> Result<()> {
        let _turn = self.0.promises.sealing.lock().await;
        loop {
            let next = {
                let board = self.0.promises.board.lock();
                let mut all = board.unsealed.iter();
                all.find(|(_, unsealed)| !unsealed.is_quiet).map(|(id, one)| (*id, *one))
            };
            let Some((id, unsealed)) = next else { return Ok(()) };
            let Some(index) = self.seal_evidence(unsealed.digest, unsealed.at).await? else {
                return Ok(());
            };
            self.note_leaf(&[(id, unsealed)], index).await?;
        }
    }

    /// Appends the digest of a list of everything that waits for it, as one leaf.
    #[boxed]
    pub(crate) async fn seal_list(&self) -> Result<()> {
        let _turn = self.0.promises.sealing.lock().await;
        let quiet = self.0.promises.board.lock().quiet();
        if quiet.is_empty() {
            return Ok(());
        }
        let of_run =
            |(id, one): &(EvidenceId, Unsealed)| (*id, one.promise.to_string(), one.digest);
        let text = list(quiet.iter().map(of_run).collect());
        let sealed = self.seal_evidence(sha256(text.as_bytes()), self.clock().now()).await?;
        match sealed {
            Some(index) => self.note_leaf(&quiet, index).await,
            None => Ok(()),
        }
    }

    /// Notes the leaf of evidence, which may have been deleted in the meantime.
    async fn note_leaf(&self, sealed: &[(EvidenceId, Unsealed)], index: u64) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::PROMISES)).await?;
        for (id, _) in sealed {
            found(tx.evidence_ledgered(*id, index).await)?;
        }
        tx.commit().await?;
        let mut board = self.0.promises.board.lock();
        for (id, unsealed) in sealed {
            board.unsealed.remove(id);
            board.found.entry(unsealed.promise).or_default().ledgered((*id, unsealed.kind), index);
        }
        Ok(())
    }

    /// The list whose digest a leaf holds, made again out of what is stored.
    pub(crate) async fn evidence_list(&self, index: u64) -> Result<String> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let rows = tx.evidence_of_leaf(index).await?;
        let of_row = |row: &PromiseEvidence| (row.id, row.promise.clone(), sha256(&row.summary));
        Ok(list(rows.iter().map(of_row).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::promises::ProbeAnswer;
    use crate::promises::run::Why;
    use crate::promises::tests::{Answers, platform};

    #[test]
    fn a_list_names_runs_by_promise_and_digest() {
        let id = EvidenceId::from_bytes([7; 16]);
        let text = list(vec![(id, "P32".to_owned(), [1; 32]), (id, "P33".to_owned(), [2; 32])]);
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        assert!(is_listed(&text, "P32", &one) && is_listed(&text, "P33", &two));
        assert!(!is_listed(&text, "P32", &two) && !is_listed(&text, "P3", &one));
        let headless = text.strip_prefix(LIST_HEAD).expect("a head");
        assert!(!is_listed(headless, "P32", &one));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_changes_has_a_leaf_and_what_stays_waits_for_the_days_list() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        let id = PromiseId::new(32).expect("a promise");
        let passed = ProbeAnswer::Passed { summary: "Held.".to_owned(), facts: Vec::new() };
        let failed = ProbeAnswer::Failed {
            summary: "Broken.".to_owned(),
            facts: Vec::new(),
            place: "users".to_owned(),
        };
        // What is asked for has a leaf as well, and what stays as it is has none.
        let runs = [
            (passed.clone(), Why::Due, false),
            (passed.clone(), Why::Due, true),
            (passed.clone(), Why::Asked, false),
            (failed, Why::Due, false),
            (ProbeAnswer::CouldNotRun("Away.".to_owned()), Why::Due, true),
            (passed, Why::Due, false),
        ];
        let quiet = || app.0.promises.board.lock().quiet().len();
        let mut expect = 0;
        for (answer, why, is_quiet) in runs {
            app.register_probe(Arc::new(Answers(answer, 1))).expect("a promise's probe");
            assert!(app.0.promises.board.lock().schedule.ask(id));
            app.run_check(id, why).await;
            expect += usize::from(is_quiet);
            assert_eq!(quiet(), expect);
        }
        let all = app.0.promises.board.lock().unsealed.clone();
        assert_eq!(all.len(), 6);
        // After a start the same has a leaf of its own, except what somebody had asked for.
        app.0.promises.board.lock().unsealed.clear();
        app.0.promises.board.lock().found.clear();
        app.load_evidence().await.expect("evidence");
        assert_eq!((quiet(), app.0.promises.board.lock().unsealed.len()), (3, 6));
        let waiting = app.0.promises.board.lock().quiet();
        let shown = || {
            let view = app.0.promises.view(id, app.clock().now());
            (view.ledger_index, view.is_leaf_earlier)
        };
        assert_eq!(shown(), (None, false));
        app.note_leaf(&waiting, 41).await.expect("a leaf");
        let of_earlier = (Some(41), true);
        assert_eq!((quiet(), shown()), (0, of_earlier), "one that passed as well has a leaf");
        let text = app.evidence_list(41).await.expect("a list");
        assert_eq!(text.lines().count(), 4);
        for (_, one) in waiting {
            assert!(is_listed(&text, "P32", &hex::encode(one.digest)));
        }
        // What found no room in memory is taken up from the records.
        {
            let mut board = app.0.promises.board.lock();
            board.unsealed.clear();
            board.has_more = true;
        }
        app.take_up_unsealed().await.expect("evidence");
        let waits = || {
            let board = app.0.promises.board.lock();
            (board.unsealed.len(), board.has_more)
        };
        assert_eq!(waits(), (3, false));
        app.close().await;
    }
}

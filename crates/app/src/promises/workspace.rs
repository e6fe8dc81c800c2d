//! What the checks found, as evidence of the governance workspace: it arrives there by itself.

use std::collections::HashSet;
use std::time::Duration;

use veritwin_domain::{EvidenceId, Timestamp};
use veritwin_governance::{OutcomeKind, PromiseId, State, StateKind};
use veritwin_keys::sha256;

use crate::App;

/// The newest conclusion of a check.
pub(crate) struct CheckedEvidence {
    pub(crate) id: EvidenceId,
    pub(crate) promise: String,
    pub(crate) text: String,
    pub(crate) summary: String,
    pub(crate) has_passed: bool,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    /// Until when it counts.
    pub(crate) expires_at: Timestamp,
    pub(crate) probe_version: u32,
    pub(crate) sha256: String,
    pub(crate) ledger_index: Option<u64>,
}

impl App {
    /// The newest conclusion of every check that came to one.
    pub(crate) fn checked_evidence(&self) -> Vec<CheckedEvidence> {
        let promises = &self.0.promises;
        let board = promises.board.lock();
        let found = board.found.iter().filter_map(|(id, found)| {
            let run = found.conclusive.as_ref()?;
            Some((*id, run.evidence.clone(), run.ledger_index))
        });
        let found: Vec<_> = found.collect();
        drop(board);
        let of_outcome = |kind: OutcomeKind| match kind {
            OutcomeKind::Passed => Some(true),
            OutcomeKind::Failed => Some(false),
            OutcomeKind::NotApplicable | OutcomeKind::CouldNotRun => None,
        };
        let known = found.into_iter().filter_map(|(id, evidence, ledger_index)| {
            let promise = promises.register.get(id);
            let fresh: Duration = State::fresh_for(promise);
            Some(CheckedEvidence {
                id: evidence.id(),
                promise: id.to_string(),
                text: promise.text.clone(),
                summary: evidence.outcome().summary().to_owned(),
                has_passed: of_outcome(evidence.outcome().kind())?,
                started_at: evidence.started_at(),
                finished_at: evidence.finished_at(),
                expires_at: evidence.finished_at().saturating_add(fresh),
                probe_version: evidence.probe_version(),
                sha256: hex::encode(sha256(&evidence.canonical_bytes())),
                ledger_index,
            })
        });
        known.collect()
    }

    /// The promises that are proven now.
    pub(crate) fn checked_promises(&self, now: Timestamp) -> HashSet<String> {
        let proven = StateKind::Proven.as_str();
        let states = PromiseId::all().map(|id| self.0.promises.view(id, now));
        states.filter(|view| view.state == proven).map(|view| view.id).collect()
    }
}

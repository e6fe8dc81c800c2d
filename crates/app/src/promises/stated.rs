//! The board as it is told to outsiders: each promise with its state and the evidence behind it,
//! taken in one look so that state, evidence and leaf belong together.

use veritwin_domain::Timestamp;
use veritwin_governance::{Evidence, History, PromiseId, State};

use super::{PromiseBoard, reason};

/// A promise as it stands.
pub(crate) struct StatedPromise {
    pub(crate) id: PromiseId,
    pub(crate) text: String,
    pub(crate) state: &'static str,
    /// Why it is not proven, or what a proof cannot show.
    pub(crate) reason: Option<String>,
    /// The run that decides the state.
    pub(crate) evidence: Option<Evidence>,
    /// The leaf of the platform's log that holds its digest.
    pub(crate) ledger_index: Option<u64>,
}

impl PromiseBoard {
    /// Every promise as it stands at a moment.
    pub(crate) fn stated(&self, now: Timestamp) -> Vec<StatedPromise> {
        PromiseId::all().map(|id| self.stated_one(id, now)).collect()
    }

    fn stated_one(&self, id: PromiseId, now: Timestamp) -> StatedPromise {
        let promise = self.register.get(id);
        let found = self.board.lock().found.get(&id).cloned().unwrap_or_default();
        let history = History {
            latest: found.latest.as_ref().map(|run| &run.evidence),
            latest_conclusive: found.conclusive.as_ref().map(|run| &run.evidence),
        };
        let state = State::derive(promise, history, now);
        let shown = found.conclusive.filter(|run| run.evidence.finished_at() <= now);
        StatedPromise {
            id,
            text: promise.text.clone(),
            state: state.kind().as_str(),
            reason: reason(promise, &state),
            ledger_index: shown.as_ref().and_then(|run| run.ledger_index),
            evidence: shown.map(|run| run.evidence),
        }
    }
}

//! Submissions that came back, in their order: their messages are put before who has subscribed,
//! some at a time, and their acknowledgements follow.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::device::{Close, Device};
use super::pending::Finished;
use super::relay::{Fanout, NOBODY, Report};
use super::sessions::NO_CREDENTIAL;
use crate::model::Origin;

/// So many subscriptions are looked at before the connection's other work has its turn. One message
/// is matched at once.
const RELAY_VISITS_MAX: usize = 4096;

/// What of the submissions that came back is still to be done.
#[derive(Default)]
pub(super) struct Relaying {
    /// Of each the messages that are to be relayed, the first one last.
    waiting: VecDeque<Finished>,
    /// The message that is under way.
    current: Option<Fanout>,
}

impl Device {
    /// A submission came back, and maybe others meanwhile.
    pub(crate) fn finish_ready(&mut self, finished: Finished) -> Result<(), Close> {
        let mut next = Some(finished);
        while let Some(finished) = next {
            self.finish(finished);
            // Nearly always it was the only one.
            if self.queue.is_empty() {
                break;
            }
            next = self.queue.next().now_or_never().flatten();
        }
        self.relay_some()
    }

    /// A submission came back. What the sink has refused is not relayed.
    pub(crate) fn finish(&mut self, mut finished: Finished) {
        self.note_durable(&finished);
        if !finished.hold.is_zero() {
            self.held_until = self.held_until.max(Some(Instant::now() + finished.hold));
        }
        match &finished.result {
            Ok(refused) if refused.is_empty() => {}
            Ok(refused) => {
                let is_refused = |at: usize| refused.iter().any(|one| one.index == at);
                finished.relayed.retain(|(at, _)| !is_refused(*at));
            }
            Err(error) => {
                finished.relayed.clear();
                if !error.is_final() {
                    self.note_lost();
                }
            }
        }
        self.note_certificates(&finished.relayed);
        finished.relayed.reverse();
        self.relaying.waiting.push_back(finished);
    }

    /// Whether [`Device::relay_some`] has work.
    pub(crate) fn is_relaying(&self) -> bool {
        !self.relaying.waiting.is_empty()
    }

    /// Goes on with what came back, within one turn's bound. `Err` ends the connection.
    pub(crate) fn relay_some(&mut self) -> Result<(), Close> {
        let mut report = Report::default();
        let result = self.relay_up_to_bound(&mut report);
        self.record_dropped(report.dropped);
        self.pace_deliveries(report.deliveries);
        result
    }

    fn relay_up_to_bound(&mut self, report: &mut Report) -> Result<(), Close> {
        let session = Arc::clone(&self.state);
        let mut visits = 0;
        while visits < RELAY_VISITS_MAX || self.has_to_finish() {
            if let Some(fanout) = &mut self.relaying.current {
                // Where much is under way it has no end before it is done.
                let is_busy = session.relay().is_busy();
                let max = if is_busy { usize::MAX } else { RELAY_VISITS_MAX };
                visits += fanout.go_on(max.saturating_sub(visits), report);
                if fanout.is_done() {
                    self.relaying.current = None;
                }
                continue;
            }
            let Some(finished) = self.relaying.waiting.front_mut() else { return Ok(()) };
            if let Some((at, message)) = finished.relayed.pop() {
                let position = finished.position(at);
                // What the platform says is for the client itself, too, whatever it asked for.
                let is_own = message.credential == NO_CREDENTIAL;
                let from = if is_own { NOBODY } else { session.number() };
                let fanout = session.relay().begin(message, from).at(position);
                visits += 1 + fanout.subscriptions();
                self.relaying.current = Some(fanout);
            } else if let Some(finished) = self.relaying.waiting.pop_front() {
                self.settle(finished)?;
            }
        }
        Ok(())
    }

    /// Too much of the tenant's is under way to let this message wait for another turn.
    fn has_to_finish(&self) -> bool {
        self.relaying.current.is_some() && self.state.relay().is_busy()
    }

    /// Deliveries count as readings do; over a rate nothing more is read for a while.
    pub(super) fn pace_deliveries(&mut self, deliveries: usize) {
        if deliveries == 0 {
            return;
        }
        let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
        let hold = self.broker.sink.pace(Origin::Device(&self.session), 0, deliveries);
        if !hold.is_zero() {
            self.held_until = self.held_until.max(Some(Instant::now() + hold));
        }
    }
}

//! Batches of store-and-forward edges: each line becomes what its device would have sent itself,
//! and all of it is kept together with the edge's statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use veritwin_app::EdgeOffer;
use veritwin_app::model::{EdgeOutcome, EdgeSender};
use veritwin_domain::{DeviceBatch, Timestamp, count_attributes, count_readings};
use veritwin_ingest::payload::{
    CHILD_NAMES_MAX, EdgeContent, EdgeLine, KeyTable, PayloadError, parse_edge_content,
};
use veritwin_ingest::{
    AttributesUpdate, ChildName, DeviceSession, EdgeAnswer, EdgeBatch, Login, LoginError,
    Objection, Origin, Refusal, RefusalReason, Sink, SinkEntry, SubmitError,
};

use super::devices::LiveState;
use super::entries::{submission_of, submit_error};

/// When an edge tries again whose tenant has stored as much as it may.
const FULL_AGAIN: Duration = Duration::from_secs(60);

/// A batch counts as so many readings beside those in it, whatever becomes of it: its statement is
/// written down and makes leaves of the ledger.
const BATCH_READINGS: u32 = 4_096;
/// Most lines of a batch whose refusal is recorded one by one; further ones are counted.
const REFUSALS_MAX: u64 = 100;

type Lines = Vec<Result<EdgeLine, PayloadError>>;
type Children = HashMap<String, Result<Arc<DeviceSession>, LoginError>>;

/// What a batch becomes.
#[derive(Default)]
struct Made {
    entries: Vec<SinkEntry>,
    refused: u64,
    wait: Duration,
}

fn login_error(error: LoginError) -> SubmitError {
    match error {
        LoginError::Busy { detail, limit, retry_after } => {
            SubmitError::Busy { detail, limit, retry_after }
        }
        LoginError::Unavailable(detail) => SubmitError::Unavailable(detail),
        error @ (LoginError::Denied(_) | LoginError::Unknown) => {
            SubmitError::Denied(error.to_string())
        }
    }
}

/// Takes a batch, or says what became of it before.
pub(super) async fn take(
    live: &LiveState,
    session: &Arc<DeviceSession>,
    batch: EdgeBatch,
) -> Result<EdgeAnswer, SubmitError> {
    // Whoever is over a rate is told before anything is read.
    live.admit_readings(Origin::Device(session), 0)?;
    let own = live.pace(Origin::Device(session), 0, BATCH_READINGS);
    let sender = EdgeSender {
        tenant: session.tenant,
        device: session.device,
        credential: session.credential,
    };
    let EdgeBatch { statement, content, waiting } = batch;
    let offered = live.app().edge_offer(sender, (&statement[..], &content[..]), waiting).await;
    let turn = match offered.map_err(submit_error)? {
        EdgeOffer::Answered(said) => {
            return Ok(EdgeAnswer {
                is_taken: said.outcome == EdgeOutcome::Known,
                outcome: said.outcome.as_str(),
                last_counter: said.last_counter,
                refused: 0,
                wait: own,
                now: live.app().clock().now(),
            });
        }
        EdgeOffer::New(turn) => turn,
    };
    let (limits, screening) = (*live.limits(), live.screening());
    let parsing = tokio::task::spawn_blocking(move || {
        parse_edge_content(&content, &limits, &mut KeyTable::new(screening))
    });
    let lines = parsing.await;
    let lines = lines.map_err(|_| SubmitError::Unavailable("reading stopped".to_owned()))?;
    let lines = lines.map_err(SubmitError::Limit)?;
    let children = children(live, session, &lines).await?;
    let received_at = live.app().clock().now();
    let made = make(live, session, (lines, &children), received_at)?;
    let Made { mut entries, mut refused, wait } = made;
    live.simulated.heard_in(session.tenant, &mut entries);
    // A rate slows the edge down instead of refusing what it has kept for so long.
    let lines_refused = u32::try_from(refused).unwrap_or(u32::MAX);
    let own = own.max(live.pace(Origin::Device(session), 0, lines_refused));
    let submissions = entries.into_iter().map(submission_of).collect();
    let kept = live.app().edge_keep(turn, submissions).await.map_err(submit_error)?;
    refused += kept.parts_refused;
    Ok(EdgeAnswer {
        is_taken: true,
        outcome: kept.answer.outcome.as_str(),
        last_counter: kept.answer.last_counter,
        refused,
        wait: wait.max(own),
        now: live.app().clock().now(),
    })
}

/// The devices that are named, each looked for once.
async fn children(
    live: &LiveState,
    session: &Arc<DeviceSession>,
    lines: &Lines,
) -> Result<Children, SubmitError> {
    let mut found = Children::new();
    let mut wanted: Vec<ChildName> = Vec::new();
    for line in lines.iter().flatten() {
        if !found.contains_key(&line.device) {
            wanted.push(ChildName { name: line.device.clone(), kind: None });
            found.insert(line.device.clone(), Err(LoginError::Unknown));
        }
    }
    for some in wanted.chunks(CHILD_NAMES_MAX) {
        let answers = live.children(session, some).await.map_err(login_error)?;
        for (one, answer) in some.iter().zip(answers) {
            if let Err(error @ (LoginError::Busy { .. } | LoginError::Unavailable(_))) = answer {
                return Err(login_error(error));
            }
            found.insert(one.name.clone(), answer);
        }
    }
    Ok(found)
}

fn make(
    live: &LiveState,
    session: &Arc<DeviceSession>,
    (lines, children): (Lines, &Children),
    received_at: Timestamp,
) -> Result<Made, SubmitError> {
    let mut made = Made::default();
    for line in lines {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                let reason = if error.rule.is_some() {
                    RefusalReason::Policy
                } else {
                    RefusalReason::Payload
                };
                made.refuse(session, received_at, (reason, error.to_string()));
                continue;
            }
        };
        match children.get(&line.device) {
            Some(Ok(child)) => made.take(live, child, line.content, received_at)?,
            Some(Err(error)) => {
                let why = (RefusalReason::NotAllowed, error.to_string());
                made.refuse(session, received_at, why);
            }
            None => {}
        }
    }
    Ok(made)
}

impl Made {
    fn refuse(
        &mut self,
        session: &DeviceSession,
        received_at: Timestamp,
        (reason, detail): (RefusalReason, String),
    ) {
        self.refused += 1;
        if self.refused > REFUSALS_MAX {
            return;
        }
        self.entries.push(SinkEntry::Refusal(Refusal {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at,
            reason,
            detail,
            position: None,
            limit: None,
            payload_bytes: 0,
        }));
    }

    fn take(
        &mut self,
        live: &LiveState,
        child: &Arc<DeviceSession>,
        content: EdgeContent,
        received_at: Timestamp,
    ) -> Result<(), SubmitError> {
        let is_empty = match &content {
            EdgeContent::Readings(readings) => readings.is_empty(),
            EdgeContent::Attributes(entries) => entries.is_empty(),
        };
        if is_empty {
            return Ok(());
        }
        let (tenant, device, credential) = (child.tenant, child.device, child.credential);
        let counted = match content {
            EdgeContent::Readings(readings) => {
                match live.inspect(Origin::Device(child), &readings) {
                    Ok(()) => {}
                    Err(Objection::Storage(limit)) => {
                        return Err(SubmitError::Busy {
                            detail: limit.to_string(),
                            limit: Some(limit.name),
                            retry_after: FULL_AGAIN,
                        });
                    }
                    Err(Objection::Policy(detail)) => {
                        self.refuse(child, received_at, (RefusalReason::Policy, detail));
                        return Ok(());
                    }
                }
                let counted = count_readings(&readings);
                let batch = DeviceBatch { tenant, device, credential, received_at, readings };
                self.entries.push(SinkEntry::Readings(batch));
                counted
            }
            EdgeContent::Attributes(entries) => {
                let counted = count_attributes(&entries);
                self.entries.push(SinkEntry::Attributes(AttributesUpdate {
                    tenant,
                    device,
                    credential,
                    received_at,
                    entries,
                    payload_bytes: 0,
                    refusal_recorded: true,
                }));
                counted
            }
        };
        self.wait = self.wait.max(live.pace(Origin::Device(child), 0, counted));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{CredentialId, DeviceId, TenantId};

    use super::*;

    #[test]
    fn refusals_are_recorded_up_to_a_bound() {
        let device = DeviceId::from_bytes([2; 16]);
        let credential = CredentialId::from_bytes([3; 16]);
        let session = DeviceSession::new(TenantId::from_bytes([1; 16]), device, credential);
        let mut made = Made::default();
        for _ in 0..REFUSALS_MAX + 5 {
            let why = (RefusalReason::Payload, "no line".to_owned());
            made.refuse(&session, Timestamp::from_micros(0), why);
        }
        assert_eq!((made.refused, made.entries.len() as u64), (REFUSALS_MAX + 5, REFUSALS_MAX));
    }
}

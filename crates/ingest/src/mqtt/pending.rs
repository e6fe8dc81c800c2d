//! What one socket read adds up to: entries for the sink and the acknowledgements that wait for
//! them. Acknowledgements leave in the order in which the messages came.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::watch;
use veritwin_domain::{
    DeviceBatch, Reading, RelayMessage, Timestamp, count_attributes, count_readings,
};

use super::claiming::Claim;
use super::density::trim;
use super::device::Close;
use super::encode::PUBREC;
use super::frame::Version;
use super::gateway::{GatewayMessage, Speaker};
use super::note::Note;
use super::receipts::Fate;
use super::session::SharedState;
use crate::model::{
    DeviceSession, EntryRefused, Origin, Placed, Refusal, RefusalReason, RpcReply, SinkEntry,
};
use crate::traits::{Sink, SubmitError};

/// One acknowledgement to send.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    /// PUBACK or PUBREC; PUBCOMP where it has to follow a PUBREC.
    pub(crate) packet_type: u8,
    pub(crate) answer: Answer,
    /// Of a QoS 2 message that came before: it counts if that one is stored.
    pub(crate) is_repeat: bool,
}

/// What an acknowledgement says.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Success, or why the message was refused (version 5).
    pub(crate) reason: u8,
    pub(crate) text: Option<String>,
    /// The entry of the submission that the message became, if the sink may refuse it by itself.
    pub(crate) entry: Option<usize>,
}

/// A message that is relayed once it is durable, with its entry of the submission.
pub(crate) type Relayed = (usize, Arc<RelayMessage>);

/// An answer to a call, with the index of its acknowledgement, if it has one.
pub(crate) type Reply = (RpcReply, Option<usize>);

/// The acknowledgement of something that did not come about, and may the next time, though what
/// came with it did.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Its index.
    pub(crate) ack: usize,
    /// Version 5 is told; where nobody can be, the client sends it again on its next connection.
    pub(crate) can_tell: bool,
    pub(crate) close: Close,
}

/// The place of a message of the platform's own, which is no entry.
pub(crate) const UNSTORED: usize = usize::MAX;

/// A submission being put together.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) readings: Vec<Reading>,
    pub(crate) entries: Vec<SinkEntry>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) relayed: Vec<Relayed>,
    /// Packet ids of QoS 2 messages that are free again, and that is to be noted.
    pub(crate) freed: Vec<u16>,
    /// Places of QoS 2 messages that the client has, and that is to be noted.
    pub(crate) released: Vec<u64>,
    /// Ids of QoS 2 messages that are noted with it, where the client can be told that one is
    /// refused.
    pub(crate) arrived: Option<(SharedState, Vec<u16>)>,
    /// What becomes of the session is noted with it.
    pub(crate) is_noted: bool,
    /// Packets that are sent once it is durable; without that the connection ends.
    pub(crate) late: BytesMut,
    /// Without it the connection ends, whatever else it holds.
    pub(crate) is_vital: bool,
    /// Held until its messages are put before who has subscribed, and the session knows of what is
    /// noted.
    pub(crate) epoch: Option<Arc<()>>,
    /// What a gateway says for devices behind it.
    pub(crate) spoken: Vec<GatewayMessage>,
    /// How many names there are in that.
    pub(crate) named: u64,
    pub(crate) messages: u64,
    pub(crate) refusals: u64,
    pub(crate) bytes: usize,
    /// Tells other connections of the session that its QoS 2 messages are through, or lost.
    fate: Option<watch::Sender<()>>,
    /// What it repeats and other connections have not stored yet.
    pub(crate) before: Vec<Fate>,
}

/// A submission that came back.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) result: Result<Vec<EntryRefused>, SubmitError>,
    pub(crate) acks: Vec<Ack>,
    /// Those of what did not come about by itself.
    pub(crate) failed: Vec<Failed>,
    /// Ids that are free again, and places of messages that the client has: [`Pending`].
    pub(crate) freed: Vec<u16>,
    pub(crate) released: Vec<u64>,
    pub(crate) relayed: Vec<Relayed>,
    /// Where its messages stand, in their order.
    pub(crate) placed: Vec<Placed>,
    pub(crate) late: BytesMut,
    pub(crate) is_vital: bool,
    /// Dropped with it.
    pub(crate) epoch: Option<Arc<()>>,
    pub(crate) bytes: usize,
    /// How long nothing more is read: what a gateway said for others is over their rates.
    pub(crate) hold: Duration,
    /// Dropped when the receipts of its QoS 2 messages say what became of them.
    pub(crate) fate: Option<watch::Sender<()>>,
}

impl Finished {
    /// Why nothing of it is stored, if nothing is.
    pub(crate) fn failure(&self) -> Option<Close> {
        self.result.as_ref().err().map(close_of)
    }

    /// What 3.1.1 can only say by closing: the client shall send again. What would be refused
    /// again is acknowledged instead, since a durable record says it.
    pub(crate) fn closes(&self, version: Version) -> bool {
        let may_succeed = self.result.as_ref().is_err_and(|error| !error.is_final());
        let is_untold = self.result.is_err() && (self.is_vital || !self.late.is_empty());
        is_untold || (version == Version::V3 && !self.acks.is_empty() && may_succeed)
    }

    /// The position of the message with this place in the submission.
    pub(crate) fn position(&self, at: usize) -> Option<u64> {
        let found = self.placed.binary_search_by_key(&at, |(index, _)| *index).ok()?;
        self.placed.get(found).map(|(_, position)| *position)
    }

    /// Entries that the sink refused by themselves.
    pub(crate) fn refused(&self) -> &[EntryRefused] {
        self.result.as_deref().unwrap_or_default()
    }
}

fn close_of(error: &SubmitError) -> Close {
    let code = match error {
        SubmitError::Unavailable(_) | SubmitError::NotFound(_) => 0x80,
        SubmitError::Busy { .. } | SubmitError::Limit(_) => 0x97,
        SubmitError::Denied(_) => 0x87,
        SubmitError::Invalid(_) => 0x99,
    };
    Close::new(code, error.to_string())
}

/// The reason code and text of an acknowledgement of version 5.
pub(crate) fn outcome(
    answer: Answer,
    failure: Option<&Close>,
    refused: &[EntryRefused],
) -> (u8, Option<String>) {
    let entry = refused.iter().find(|one| Some(one.index) == answer.entry);
    match (failure, entry) {
        (Some(failure), _) if answer.reason == 0 => (failure.code, Some(failure.text.clone())),
        (None, Some(refused)) => (0x97, Some(refused.limit.to_string())),
        _ => (answer.reason, answer.text),
    }
}

/// What so many bytes count for in a rate of readings.
fn weight(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / 1024).unwrap_or(u32::MAX)
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.readings.is_empty()
            && self.entries.is_empty()
            && self.replies.is_empty()
            && self.claims.is_empty()
            && self.spoken.is_empty()
            && self.acks.is_empty()
    }

    /// Adds an entry after the readings that came before it; its place in the submission.
    pub(crate) fn push(
        &mut self,
        session: &DeviceSession,
        at: Timestamp,
        entry: SinkEntry,
    ) -> usize {
        self.close_batch(session, at);
        self.is_noted |= matches!(entry, SinkEntry::Note(_));
        self.entries.push(entry);
        self.entries.len() - 1
    }

    /// Acknowledgements of answers to calls, and of claims. An answer is taken once by its call's
    /// number and a claim may be said again; both are durable behind the rest: their packet ids are
    /// not noted with that.
    pub(super) fn of_replies(&self) -> BTreeSet<usize> {
        let spoken = self.spoken.iter().filter_map(|message| message.reply);
        let claims = self.claims.iter().filter_map(|claim| claim.ack);
        self.replies.iter().filter_map(|(_, ack)| *ack).chain(spoken).chain(claims).collect()
    }

    /// What becomes of the messages of this submission.
    pub(crate) fn fate(&mut self) -> Fate {
        self.fate.get_or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Makes a batch of the readings so far.
    pub(crate) fn close_batch(&mut self, session: &DeviceSession, received_at: Timestamp) {
        if self.readings.is_empty() {
            return;
        }
        let mut readings = std::mem::take(&mut self.readings);
        trim(&mut readings);
        self.entries.push(SinkEntry::Readings(DeviceBatch {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at,
            readings,
        }));
    }

    /// What its readings and attributes count for in a rate.
    pub(crate) fn count_readings(&self) -> u32 {
        let counts = self.entries.iter().map(|entry| match entry {
            SinkEntry::Readings(batch) => count_readings(&batch.readings),
            SinkEntry::Attributes(update) => count_attributes(&update.entries),
            SinkEntry::Relay { message, .. } => weight(message.content_bytes()),
            SinkEntry::Note(note) => weight(note.body.len()),
            SinkEntry::Refusal(_) => 0,
        });
        counts.fold(0, u32::saturating_add)
    }

    /// Hands everything to the sink. Where it refuses all of it for good, a durable record says so,
    /// for clients that cannot be told.
    pub(crate) async fn submit(
        self,
        sink: Arc<dyn Sink>,
        session: Arc<DeviceSession>,
        received_at: Timestamp,
        speaker: Option<Speaker>,
    ) -> Finished {
        let Self { entries, replies, acks, relayed, spoken, late, is_vital, .. } = self;
        let Self { epoch, bytes, fate, before, arrived, freed, released, claims, .. } = self;
        let (mut told, mut hold) = (Told { acks, failed: Vec::new(), received_at }, Duration::ZERO);
        let submitted = match speaker {
            None => {
                let submitted = store(&*sink, &session, entries).await;
                if is_decided(&submitted) && !replies.is_empty() {
                    // Rare, and no part of every submission's future.
                    Box::pin(told.reply_all(&*sink, &session, replies)).await;
                }
                submitted
            }
            Some(speaker) => {
                let own = (entries, replies);
                Box::pin(speaker.submit(own, spoken, &mut told, &mut hold)).await
            }
        };
        if is_decided(&submitted) && !claims.is_empty() {
            Box::pin(told.claim_all(&*sink, &session, claims)).await;
        }
        let (mut result, placed) = match submitted {
            Ok((refused, placed)) => (Ok(refused), placed),
            Err(error) => (Err(error), Vec::new()),
        };
        if let Err(error) = &result
            && error.is_final()
        {
            let refusal = refusal_of(error, &session, received_at, bytes);
            let entries = vec![SinkEntry::Refusal(refusal)];
            if let Err(failed) = sink.submit(Origin::Device(&session), entries).await {
                result = Err(failed);
            }
        }
        if let Some((state, ids)) = &arrived {
            let at = told.refused_of(ids, result.as_deref().ok());
            if !at.is_empty() {
                Box::pin(told.free(&*sink, &session, (state, at))).await;
            }
        }
        for mut fate in before {
            // Nothing is ever sent: it ends when the sender is dropped.
            let _ended = fate.changed().await;
        }
        let Told { acks, failed, .. } = told;
        Finished {
            result,
            acks,
            failed,
            freed,
            released,
            relayed,
            placed,
            late,
            is_vital,
            epoch,
            bytes,
            hold,
            fate,
        }
    }
}

/// Acknowledgements of a submission that is stored, or refused for good.
pub(super) struct Told {
    pub(super) acks: Vec<Ack>,
    failed: Vec<Failed>,
    pub(super) received_at: Timestamp,
}

impl Told {
    pub(super) async fn reply_all(
        &mut self,
        sink: &dyn Sink,
        session: &DeviceSession,
        replies: Vec<Reply>,
    ) {
        for reply in replies {
            self.reply(sink, session, reply).await;
        }
    }

    /// Hands an answer to a call to the sink. That it fails is told by its own acknowledgement:
    /// what came with it is stored, and would be twice if it came again.
    pub(super) async fn reply(
        &mut self,
        sink: &dyn Sink,
        session: &DeviceSession,
        (reply, ack): Reply,
    ) {
        let bytes = reply.body.len();
        let mut result = sink.rpc_reply(session, reply).await;
        if let Err(error) = &result
            && error.is_final()
        {
            let refusal = refusal_of(error, session, self.received_at, bytes);
            let entries = vec![SinkEntry::Refusal(refusal)];
            if let Err(failed) = sink.submit(Origin::Device(session), entries).await {
                result = Err(failed);
            }
        }
        let error = match result {
            // The caller has stopped waiting; the device did nothing wrong.
            Ok(()) | Err(SubmitError::NotFound(_)) => return,
            Err(error) => error,
        };
        tracing::warn!(device = %session.device, %error, "an answer to a call was not taken");
        self.fail(ack, &error);
    }

    /// Something by itself did not come about: its own acknowledgement says so.
    pub(super) fn fail(&mut self, ack: Option<usize>, error: &SubmitError) {
        let Some(at) = ack else { return };
        let close = close_of(error);
        if let Some(ack) = self.acks.get_mut(at) {
            (ack.answer.reason, ack.answer.text) = (close.code, Some(close.text.clone()));
        }
        if !error.is_final() {
            self.failed.push(Failed { ack: at, can_tell: true, close });
        }
    }

    /// Acknowledgements that refuse a QoS 2 message whose id was noted with the submission. Where
    /// that failed as a whole, all of them: what failed may be durable nevertheless.
    fn refused_of(&self, noted: &[u16], refused: Option<&[EntryRefused]>) -> Vec<usize> {
        let is_refused = |ack: &Ack| {
            let entry = ack.answer.entry;
            let of_entry =
                |refused: &[EntryRefused]| refused.iter().any(|one| Some(one.index) == entry);
            ack.answer.reason >= 0x80 || refused.is_none_or(of_entry)
        };
        let is_it = |ack: &Ack| {
            ack.packet_type == PUBREC
                && !ack.is_repeat
                && is_refused(ack)
                && noted.contains(&ack.packet_id)
        };
        let all = self.acks.iter().enumerate();
        all.filter(|(_, ack)| is_it(ack)).map(|(at, _)| at).collect()
    }

    /// Ids of refused messages are free again, which is durable before the client is told: else the
    /// next message with one of them would be taken for the refused one after a restart.
    async fn free(
        &mut self,
        sink: &dyn Sink,
        session: &DeviceSession,
        (state, at): (&SharedState, Vec<usize>),
    ) {
        // Of one that is over nothing is noted: it would be taken for the next one's.
        let Some(key) = state.kept().filter(|_| !state.lock().is_over()) else { return };
        let acks = at.iter().filter_map(|at| self.acks.get(*at));
        let note = Note::Freed(acks.map(|ack| ack.packet_id).collect()).of(key);
        let entries = vec![SinkEntry::Note(note)];
        if let Err(error) = sink.submit(Origin::Device(session), entries).await {
            let close = close_of(&error);
            let failed = |ack: usize| Failed { ack, can_tell: false, close: close.clone() };
            self.failed.extend(at.into_iter().map(failed));
        }
    }
}

/// Whether a submission is stored, or refused for good.
pub(super) fn is_decided(submitted: &Submitted) -> bool {
    submitted.as_ref().err().is_none_or(SubmitError::is_final)
}

fn refusal_of(
    error: &SubmitError,
    session: &DeviceSession,
    received_at: Timestamp,
    bytes: usize,
) -> Refusal {
    let limit = match error {
        SubmitError::Limit(limit) => Some(limit.name),
        _ => None,
    };
    Refusal {
        tenant: session.tenant,
        device: session.device,
        credential: session.credential,
        received_at,
        reason: if limit.is_some() { RefusalReason::Limit } else { RefusalReason::Payload },
        detail: error.to_string(),
        position: None,
        limit,
        payload_bytes: bytes as u64,
    }
}

/// What became of the entries of a submission.
pub(super) type Submitted = Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError>;

/// Makes entries durable, before anything else is done: submissions have to reach the sink in the
/// order of their reads.
pub(super) async fn store(
    sink: &dyn Sink,
    session: &DeviceSession,
    entries: Vec<SinkEntry>,
) -> Submitted {
    if entries.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    sink.submit_placed(Origin::Device(session), entries).await
}

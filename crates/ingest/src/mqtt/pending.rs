//! What one socket read adds up to: entries for the sink and the acknowledgements that wait for
//! them. Acknowledgements leave in the order in which the messages came.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::watch;
use veritwin_domain::{
    DeviceBatch, Reading, RelayMessage, Timestamp, count_attributes, count_readings,
};

use super::claiming::{self, Claim};
use super::device::Close;
use super::frame::Version;
use super::gateway::{GatewayMessage, Speaker};
use super::receipts::Fate;
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

/// The place of a message of the platform's own, which is no entry.
pub(crate) const UNSTORED: usize = usize::MAX;

/// A submission being put together.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) readings: Vec<Reading>,
    pub(crate) entries: Vec<SinkEntry>,
    pub(crate) replies: Vec<RpcReply>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) relayed: Vec<Relayed>,
    /// Packet ids of QoS 2 messages that are free again, and that is to be noted.
    pub(crate) freed: Vec<u16>,
    /// Places of QoS 2 messages that the client has, and that is to be noted.
    pub(crate) released: Vec<u64>,
    /// Packets that are sent once it is durable; without that the connection ends.
    pub(crate) late: BytesMut,
    /// Without it the connection ends, whatever else it holds.
    pub(crate) is_vital: bool,
    /// Held until its messages are put before who has subscribed.
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
        let error = self.result.as_ref().err()?;
        let code = match error {
            SubmitError::Unavailable(_) | SubmitError::NotFound(_) => 0x80,
            SubmitError::Busy { .. } | SubmitError::Limit(_) => 0x97,
            SubmitError::Denied(_) => 0x87,
            SubmitError::Invalid(_) => 0x99,
        };
        Some(Close::new(code, error.to_string()))
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
        self.entries.push(entry);
        self.entries.len() - 1
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
        self.entries.push(SinkEntry::Readings(DeviceBatch {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at,
            readings: std::mem::take(&mut self.readings),
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
        let Self { entries, replies, mut acks, relayed, spoken, late, is_vital, .. } = self;
        let Self { epoch, bytes, fate, before, claims, .. } = self;
        let mut hold = Duration::ZERO;
        let submitted = match speaker {
            None => submit(&*sink, &session, replies, entries).await,
            Some(speaker) => {
                let own = (entries, replies);
                Box::pin(speaker.submit(own, (spoken, received_at), &mut acks, &mut hold)).await
            }
        };
        let (mut result, mut placed) = match submitted {
            Ok((refused, placed)) => (Ok(refused), placed),
            Err(error) => (Err(error), Vec::new()),
        };
        if result.is_ok() && !claims.is_empty() {
            let asked = claiming::ask(&*sink, &session, (claims, received_at), &mut acks);
            if let Err(error) = Box::pin(asked).await {
                (result, placed) = (Err(error), Vec::new());
            }
        }
        if let Err(error) = &result
            && error.is_final()
        {
            let refusal = refusal_of(error, &session, received_at, bytes);
            let entries = vec![SinkEntry::Refusal(refusal)];
            if let Err(failed) = sink.submit(Origin::Device(&session), entries).await {
                result = Err(failed);
            }
        }
        for mut fate in before {
            // Nothing is ever sent: it ends when the sender is dropped.
            let _ended = fate.changed().await;
        }
        Finished { result, acks, relayed, placed, late, is_vital, epoch, bytes, hold, fate }
    }
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

pub(super) async fn submit(
    sink: &dyn Sink,
    session: &DeviceSession,
    replies: Vec<RpcReply>,
    entries: Vec<SinkEntry>,
) -> Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError> {
    // Entries first: submissions have to reach the sink in the order of their reads.
    let submitted = if entries.is_empty() {
        (Vec::new(), Vec::new())
    } else {
        sink.submit_placed(Origin::Device(session), entries).await?
    };
    for reply in replies {
        match sink.rpc_reply(session, reply).await {
            // The caller has stopped waiting; the device did nothing wrong.
            Ok(()) | Err(SubmitError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(submitted)
}

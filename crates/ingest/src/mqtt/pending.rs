//! What one socket read adds up to: entries for the sink and the acknowledgements that wait for
//! them. Acknowledgements leave in the order in which the messages came.

use std::sync::Arc;

use veritwin_domain::{DeviceBatch, Reading, Timestamp, count_readings};

use crate::model::{DeviceSession, Origin, RpcReply, SinkEntry};
use crate::traits::{Sink, SubmitError};

/// One acknowledgement to send.
#[derive(Debug)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    /// PUBACK or PUBREC.
    pub(crate) packet_type: u8,
    /// Success, or why the message was refused (version 5).
    pub(crate) reason: u8,
    pub(crate) text: Option<String>,
}

/// A submission being put together.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) readings: Vec<Reading>,
    pub(crate) entries: Vec<SinkEntry>,
    pub(crate) replies: Vec<RpcReply>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) messages: u64,
    pub(crate) refusals: u64,
    pub(crate) bytes: usize,
}

/// A submission that came back.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) result: Result<(), SubmitError>,
    pub(crate) acks: Vec<Ack>,
    pub(crate) bytes: usize,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.readings.is_empty()
            && self.entries.is_empty()
            && self.replies.is_empty()
            && self.acks.is_empty()
    }

    /// Adds an entry after the readings that came before it.
    pub(crate) fn push(&mut self, session: &DeviceSession, at: Timestamp, entry: SinkEntry) {
        self.close_batch(session, at);
        self.entries.push(entry);
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

    /// What its readings count for in a rate.
    pub(crate) fn count_readings(&self) -> u32 {
        let counts = self.entries.iter().map(|entry| match entry {
            SinkEntry::Readings(batch) => count_readings(&batch.readings),
            _ => 0,
        });
        counts.fold(0, u32::saturating_add)
    }

    /// Hands everything to the sink.
    pub(crate) async fn submit(self, sink: Arc<dyn Sink>, session: Arc<DeviceSession>) -> Finished {
        let Self { entries, replies, acks, bytes, .. } = self;
        let result = submit(&*sink, &session, replies, entries).await;
        Finished { result, acks, bytes }
    }
}

async fn submit(
    sink: &dyn Sink,
    session: &DeviceSession,
    replies: Vec<RpcReply>,
    entries: Vec<SinkEntry>,
) -> Result<(), SubmitError> {
    // Entries first: submissions have to reach the sink in the order of their reads.
    if !entries.is_empty() {
        sink.submit(Origin::Device(session), entries).await?;
    }
    for reply in replies {
        match sink.rpc_reply(session, reply).await {
            // The caller has stopped waiting; the device did nothing wrong.
            Ok(()) | Err(SubmitError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

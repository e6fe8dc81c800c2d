//! A whole MQTT connection over a stream that is cut anywhere: what becomes durable, and what is
//! answered, does not depend on where.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use veritwin_domain::{
    CredentialId, DeviceId, IngestLimits, ManualClock, Secret, SeededRng, TenantId, Timestamp,
};

use crate::arrivals::Arrivals;
use crate::link::DeviceLink;
use crate::model::{
    ClientRpc, Credential, DeviceSession, EntryRefused, Origin, PeerInfo, SinkEntry, Transport,
    Writer, WriterSession,
};
use crate::mqtt::fuzzing::{kinds_of, waits_at};
use crate::mqtt::{Broker, BrokerParts};
use crate::traits::{Login, LoginError, Sink, SubmitError};

/// What a client acknowledges depends on what it has been sent by then: PUBACK, PUBREC, PUBCOMP.
const OF_RECEIVERS: [u8; 3] = [4, 5, 7];

/// Behind a piece that is no longer than this, nothing is read before it is handled.
const LITTLE_BYTES_MAX: usize = 4095;

/// The version in the first byte, where to cut in the second, then what a connected client sends.
pub fn mqtt_connection(data: &[u8]) {
    let [first, cut, rest @ ..] = data else { return };
    let level = if first & 1 == 0 { 4 } else { 5 };
    let connect: &[u8] = if level == 4 {
        b"\x10\x13\0\x04MQTT\x04\x82\0\0\0\0\0\x05token"
    } else {
        b"\x10\x14\0\x04MQTT\x05\x82\0\0\0\0\0\0\x05token"
    };
    let bytes = [connect, rest].concat();
    // What answers PUBREL depends on whether the message is stored.
    let ends: Vec<usize> =
        waits_at(level, rest).into_iter().map(|end| connect.len() + end).collect();
    let most = if ends.is_empty() { bytes.len() } else { LITTLE_BYTES_MAX };
    let whole = serve(pieces(&bytes, &ends, most));
    if kinds_of(rest).iter().any(|kind| OF_RECEIVERS.contains(kind)) {
        return;
    }
    let step = usize::from(*cut).max(1);
    let cut = serve(pieces(&bytes, &ends, step));
    assert_eq!(whole.entries, cut.entries, "what became durable, in pieces of {step}");
    assert_eq!(whole.answers, cut.answers, "what was answered, in pieces of {step}");
}

/// Pieces of `step` bytes, none of which goes on behind one of the `ends`.
fn pieces(bytes: &[u8], ends: &[usize], step: usize) -> Vec<Vec<u8>> {
    let steps = (0..bytes.len()).step_by(step);
    let mut at: Vec<usize> = steps.chain(ends.iter().copied()).chain([bytes.len()]).collect();
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

struct Outcome {
    entries: Vec<String>,
    /// The packets of each kind in their order; messages are left out.
    answers: BTreeMap<u8, Vec<Vec<u8>>>,
}

fn serve(pieces: Vec<Vec<u8>>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let kept = Arc::new(Kept::default());
    let broker = Broker::new(BrokerParts {
        login: Arc::new(Door),
        sink: Arc::clone(&kept) as Arc<dyn Sink>,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))),
        rng: Arc::new(SeededRng::new(1)),
        limits: IngestLimits::default(),
    });
    let written = Arc::new(Mutex::new(Vec::new()));
    let stream = Pieces { left: pieces.into(), written: Arc::clone(&written) };
    let peer = PeerInfo::new(None, Transport::Mqtt3);
    drop(runtime.block_on(broker.serve_connection(stream, peer)));
    assert_eq!(*kept.links.lock(), 0, "a link is left");
    let entries = kept.entries.lock().iter().flat_map(shown).collect();
    let written = written.lock();
    let mut answers: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
    for packet in crate::mqtt::fuzzing::packets_of(&written) {
        if packet[0] >> 4 != 3 {
            answers.entry(packet[0] >> 4).or_default().push(packet.to_vec());
        }
    }
    Outcome { entries, answers }
}

/// What an entry holds, without its times, which tell when a piece was read. The readings of one
/// piece are one entry.
fn shown(entry: &SinkEntry) -> Vec<String> {
    match entry {
        SinkEntry::Readings(batch) => batch
            .readings
            .iter()
            .map(|one| format!("reading {} {:?}", one.key, one.value))
            .collect(),
        SinkEntry::Attributes(update) => vec![format!("attributes {:?}", update.entries)],
        SinkEntry::Refusal(refusal) => {
            let (reason, at, detail) = (refusal.reason, refusal.position, &refusal.detail);
            vec![format!("refusal {reason:?} {at:?} {detail}")]
        }
        SinkEntry::Relay { message, .. } => {
            let (topic, retain, payload) = (&message.topic, message.retain, &message.payload);
            vec![format!("relay {topic} {retain} {payload:?}")]
        }
        SinkEntry::Note(note) => vec![format!("note {note:?}")],
    }
}

/// A stream that is read in these pieces, then ends.
struct Pieces {
    left: VecDeque<Vec<u8>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.left.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.left.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Keeps what it is given.
#[derive(Default)]
struct Kept {
    arrivals: Arrivals,
    entries: Mutex<Vec<SinkEntry>>,
    links: Mutex<i64>,
}

#[async_trait]
impl Sink for Kept {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        _: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        self.entries.lock().extend(entries);
        Ok(Vec::new())
    }

    async fn rpc_call(&self, _: &DeviceSession, call: ClientRpc) -> Result<String, SubmitError> {
        Ok(call.params)
    }

    async fn attach(&self, _: &Arc<DeviceSession>, _: DeviceLink) {
        *self.links.lock() += 1;
    }

    async fn detach(&self, _: &Arc<DeviceSession>, _: &DeviceLink) {
        *self.links.lock() -= 1;
    }
}

/// Everybody is one device.
pub(crate) struct Door;

#[async_trait]
impl Login for Door {
    async fn authenticate(
        &self,
        _: Credential,
        _: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        Ok(Arc::new(DeviceSession::new(
            TenantId::from_bytes([1; 16]),
            DeviceId::from_bytes([2; 16]),
            CredentialId::from_bytes([4; 16]),
        )))
    }

    async fn authenticate_writer(
        &self,
        token: Secret<String>,
        peer: &PeerInfo,
    ) -> Result<Writer, LoginError> {
        self.authenticate(Credential::Token(token), peer).await.map(Writer::Device)
    }

    async fn devices_by_name(
        &self,
        _: &WriterSession,
        names: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError> {
        Ok(vec![None; names.len()])
    }
}

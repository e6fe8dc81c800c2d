//! One connected MQTT client, without its socket: packets go in, bytes to send come out, and
//! submissions wait in order. It knows the protocol; `connection` moves the bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use tokio::time::Instant;
use veritwin_domain::{IngestLimits, LimitExceeded, Timestamp};

use super::alias::{InboundAliases, OutboundAliases};
use super::broker::Broker;
use super::connect::{Hello, Will};
use super::decoding::Decode;
use super::density::{Counts, Density, trim};
use super::downlink::Answer;
use super::encode::{Encoder, PUBACK, PUBCOMP, PUBREC};
use super::fanout::Relaying;
use super::frame::{self, Header, PublishView, Version};
use super::gateway::Children;
use super::intake::InFlight;
use super::packet::{self, Disconnect, Packet};
use super::pending::{Failed, Finished, Pending, outcome};
use super::receipts::Repeats;
use super::retained::{Fetching, Retained};
use super::session::SharedState;
use super::sparkplug::Spoken;
use super::wire::{Fault, MALFORMED, PROTOCOL_ERROR};
use crate::arrivals::UNTIMED;
use crate::model::{CloseReason, DeviceSession, Origin};
use crate::payload::KeyTable;
use crate::sparkplug::death_at;

/// Most submissions of one connection that wait for the sink at once.
pub(crate) const SUBMISSIONS_MAX: usize = 64;
/// Most payload bytes of one connection that wait for the sink at once.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most attribute requests and calls of one connection that wait for an answer.
pub(crate) const REQUESTS_MAX: usize = 16;
/// Largest oversized 3.1.1 message that is read over and acknowledged as refused; beyond it the
/// connection is closed.
const SKIPPED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why the broker ends a connection: a version 5 reason code and the text for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Close {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn of_reason(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TakenOver => {
                Self::new(0x8e, "session taken over by another connection with this client id")
            }
            CloseReason::Revoked => Self::new(0x98, "the device or its credential was disabled"),
            CloseReason::CredentialEnded => {
                Self::new(0x87, "the credential of this session has ended: use a newer one")
            }
            CloseReason::CertificateEnded => Self::new(
                0x87,
                "the certificate of this session, or what vouches for it, has ended: use a newer \
                 one",
            ),
            CloseReason::CertificateRevoked => {
                Self::new(0x98, "the certificate of this session does not count any more")
            }
            CloseReason::ShuttingDown => Self::new(0x8b, "the platform is shutting down"),
        }
    }
}

impl From<Fault> for Close {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code, fault.text)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The client said goodbye.
    Disconnected,
    /// The socket closed without a word.
    Lost,
    /// The broker closes.
    Closed(Close),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Closed(close)
    }
}

pub(crate) struct Device {
    pub(crate) broker: Arc<Broker>,
    pub(crate) session: Arc<DeviceSession>,
    pub(crate) link: crate::link::DeviceLink,
    pub(crate) state: SharedState,
    pub(crate) encoder: Encoder,
    pub(crate) output: BytesMut,
    pub(crate) queue: FuturesOrdered<BoxFuture<'static, Finished>>,
    pub(crate) answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    pub(crate) will: Option<Will>,
    pub(crate) session_seconds: u32,
    /// Nothing of a client that does not speak Sparkplug.
    pub(super) spoken: Option<Box<Spoken>>,
    pub(super) retained: Retained,
    pub(crate) fetching: Fetching,
    pub(super) pending: Pending,
    pub(super) relaying: Relaying,
    /// Nothing of a device without a decoder.
    pub(super) decode: Decode,
    /// Of a gateway: the devices behind it that are connected through it.
    pub(super) children: Option<Arc<Children>>,
    pub(super) keys: KeyTable,
    pub(super) received_at: Timestamp,
    /// Somebody looks at what it sends.
    pub(super) is_watched: bool,
    /// Messages of this read with more bytes of readings are inspected; all of them if none.
    pub(super) spare_bytes: Option<u64>,
    /// The number of the next reading of this read that carries no time.
    pub(super) next_at: Timestamp,
    pub(super) receive_maximum: u16,
    inbound_aliases: InboundAliases,
    pub(super) outbound_aliases: OutboundAliases,
    /// Ids of messages of an earlier connection that are still to be sent again.
    pub(super) to_resend: VecDeque<u16>,
    in_flight_acks: usize,
    in_flight: InFlight,
    density: Density,
    /// What the bytes of this read probably hold.
    pub(super) expected: Counts,
    /// Of its messages, for all connections of its transport.
    counter: metrics::Counter,
    /// The last message of a QoS above 0 was an answer or a downlink.
    pub(super) was_own: bool,
    /// QoS 1 messages of this connection without their PUBACK.
    pub(super) unacknowledged: usize,
    /// QoS 2 messages of this connection without their PUBREL.
    pub(super) unreleased: usize,
    pub(super) repeats: Repeats,
    skip_bytes: usize,
    /// Nothing is read until then: the device, or its tenant, sends faster than it may.
    pub(crate) held_until: Option<Instant>,
    /// A submission could not be acknowledged; later ones are not acknowledged either.
    mute: bool,
}

impl Device {
    pub(crate) fn new(
        broker: Arc<Broker>,
        session: Arc<DeviceSession>,
        link: crate::link::DeviceLink,
        state: SharedState,
        hello: Hello,
    ) -> Self {
        let keys = KeyTable::new(broker.sink.screening());
        let children = session.gateway.then(Arc::default);
        let in_flight = broker.intake.in_flight(state.relay());
        let counter = Broker::counter(link.transport());
        Self {
            encoder: Encoder {
                version: hello.version,
                packet_bytes_max: hello.packet_bytes_max,
                problem_information: hello.problem_information,
            },
            broker,
            session,
            link,
            state,
            output: BytesMut::new(),
            queue: FuturesOrdered::new(),
            answers: FuturesUnordered::new(),
            will: hello.will,
            session_seconds: hello.session_seconds,
            spoken: None,
            retained: Retained::default(),
            fetching: Fetching::new(),
            pending: Pending::default(),
            relaying: Relaying::default(),
            decode: Decode::default(),
            children,
            keys,
            received_at: Timestamp::EPOCH,
            is_watched: false,
            spare_bytes: None,
            next_at: UNTIMED,
            receive_maximum: hello.receive_maximum,
            inbound_aliases: InboundAliases::default(),
            outbound_aliases: OutboundAliases::new(hello.topic_alias_maximum),
            to_resend: VecDeque::new(),
            in_flight_acks: 0,
            in_flight,
            density: Density::default(),
            expected: Counts::default(),
            counter,
            was_own: false,
            unacknowledged: 0,
            unreleased: 0,
            repeats: Repeats::default(),
            skip_bytes: 0,
            held_until: None,
            mute: false,
        }
    }

    pub(super) fn limits(&self) -> &IngestLimits {
        &self.broker.limits
    }

    /// Whether more may be read. A version 5 client keeps to Receive Maximum by itself; a version
    /// 3 client is held back by not reading.
    pub(crate) fn can_read(&self) -> bool {
        let messages_fit = self.encoder.version == Version::V5
            || self.in_flight_acks < usize::from(self.limits().receive_maximum);
        messages_fit
            && self.held_until.is_none()
            && self.in_flight.bytes() < IN_FLIGHT_BYTES_MAX
            && self.in_flight.has_room()
            && !self.is_waiting()
            && !self.is_relaying()
            && self.queue.len() < SUBMISSIONS_MAX
    }

    /// Takes every whole packet out of `input` and submits what they carry, once.
    pub(crate) fn handle_input(&mut self, input: &mut BytesMut) -> Result<(), End> {
        self.receive();
        self.expected = self.density.expect(input.len());
        let (used, result) = self.handle_packets(input);
        self.density.note(&self.pending, used);
        input.advance(used);
        self.submit_pending();
        result
    }

    fn handle_packets(&mut self, input: &[u8]) -> (usize, Result<(), End>) {
        let mut used = 0;
        loop {
            let skipped = self.skip_bytes.min(input.len() - used);
            self.skip_bytes -= skipped;
            used += skipped;
            let rest = &input[used..];
            let header = match frame::header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => return (used, Ok(())),
                Err(_) => {
                    let text = "malformed remaining length: expected at most four bytes";
                    return (used, Err(End::Closed(Close::new(MALFORMED, text))));
                }
            };
            if header.packet_bytes() > self.limits().packet_bytes_max {
                match self.oversized(header, rest) {
                    Ok(Some(taken)) => {
                        self.skip_bytes = header.packet_bytes() - taken;
                        used += taken;
                        continue;
                    }
                    Ok(None) => return (used, Ok(())),
                    Err(close) => return (used, Err(End::Closed(close))),
                }
            }
            let Some(packet) = rest.get(..header.packet_bytes()) else { return (used, Ok(())) };
            used += packet.len();
            if let Err(end) = self.handle_packet(header, packet) {
                return (used, Err(end));
            }
            if self.is_waiting() {
                // The packet is read again when what it waits for is there.
                return (used - packet.len(), Ok(()));
            }
        }
    }

    /// A packet over the limit. A 3.1.1 client would send its message again for ever, so that is
    /// refused, read over and acknowledged; gives how much of it has been taken, `None` when
    /// more of its start is needed.
    fn oversized(&mut self, header: Header, rest: &[u8]) -> Result<Option<usize>, Close> {
        let (max, actual) = (self.limits().packet_bytes_max, header.packet_bytes());
        let limit = LimitExceeded { name: "packet_bytes_max", max, actual };
        let close = || Close::new(0x95, limit.to_string());
        let can_skip = self.encoder.version == Version::V3
            && header.is_publish()
            && actual <= SKIPPED_BYTES_MAX;
        if !can_skip {
            return Err(close());
        }
        let body = &rest[header.header_bytes..];
        let [high, low, ..] = body else { return Ok(None) };
        let topic_bytes = usize::from(u16::from_be_bytes([*high, *low]));
        if topic_bytes > self.limits().topic_bytes_max {
            return Err(close());
        }
        let start_bytes = 2 + topic_bytes + 2;
        let taken = header.header_bytes + start_bytes;
        let Some(start) = rest.get(..taken) else { return Ok(None) };
        let view = frame::publish_view(Version::V3, header, start);
        let Ok(view) = view else { return Err(close()) };
        self.refuse_limit(&view, limit, header.body_bytes);
        Ok(Some(taken))
    }

    /// Whether the next packet waits for something.
    fn is_waiting(&self) -> bool {
        matches!(self.decode, Decode::Waits)
            || self.spoken.as_ref().is_some_and(|spoken| spoken.is_waiting())
    }

    fn handle_packet(&mut self, header: Header, packet: &[u8]) -> Result<(), End> {
        let version = self.encoder.version;
        header.check_length(version).map_err(Close::from)?;
        if header.is_publish() {
            let view = frame::publish_view(version, header, packet).map_err(Close::from)?;
            return match view.topic_alias {
                None => self.publish(&view).map_err(End::Closed),
                Some(alias) => self.publish_by_alias(&view, alias).map_err(End::Closed),
            };
        }
        match packet::read(version, header, packet).map_err(Close::from)? {
            Packet::Acknowledged(packet_id) => self.acknowledged(packet_id),
            Packet::Received(packet_id, reason) => self.received(packet_id, reason),
            Packet::Release(packet_id) => self.release(packet_id),
            Packet::Complete(packet_id) => self.completed(packet_id),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::Ping => self.output.extend_from_slice(&[0xd0, 0]),
            Packet::Disconnect(disconnect) => return Err(self.goodbye(disconnect)),
        }
        Ok(())
    }

    fn publish_by_alias(&mut self, view: &PublishView<'_>, alias: u16) -> Result<(), Close> {
        // The table is put aside meanwhile, so that the topic can be borrowed from it.
        let mut aliases = std::mem::take(&mut self.inbound_aliases);
        let topic = aliases.resolve(view.topic, alias, self.limits().topic_bytes_max);
        let result = match topic {
            Ok(topic) => self.publish(&PublishView { topic, ..*view }),
            Err(fault) => Err(fault.into()),
        };
        self.inbound_aliases = aliases;
        result
    }

    fn publish(&mut self, view: &PublishView<'_>) -> Result<(), Close> {
        if self.waits_for_child(view) || self.waits_for_decoder(view) {
            return Ok(());
        }
        if self.encoder.version == Version::V5 {
            let max = usize::from(self.limits().receive_maximum);
            let unfinished = self.unacknowledged + self.unreleased;
            if view.qos > 0 && unfinished >= max {
                let limit = LimitExceeded { name: "receive_maximum", max, actual: unfinished + 1 };
                return Err(Close::new(0x93, limit.to_string()));
            }
        }
        self.pending.bytes += view.payload.len();
        self.message(view);
        // One that came before leaves it.
        self.decode = Decode::None;
        Ok(())
    }

    fn goodbye(&mut self, disconnect: Disconnect) -> End {
        if let Some(seconds) = disconnect.session_expiry_seconds {
            if self.session_seconds == 0 && seconds > 0 {
                let text = "the session expiry of CONNECT was 0 and cannot be raised";
                return End::Closed(Close::new(PROTOCOL_ERROR, text));
            }
            self.session_seconds = seconds.min(super::session::SESSION_SECONDS_MAX);
        }
        if disconnect.reason == 0 {
            self.will = None;
        }
        End::Disconnected
    }

    pub(super) fn submit_pending(&mut self) {
        let (session, received_at) = (Arc::clone(&self.session), self.received_at);
        self.note_read();
        self.pending.close_batch(&session, received_at);
        // Room for what was expected and did not come.
        self.pending.readings = Vec::new();
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        trim(&mut pending.acks);
        if !pending.relayed.is_empty() || pending.is_noted {
            pending.epoch = Some(self.broker.sessions.epoch());
        }
        self.broker.sink.arrivals().settle_all(&mut pending.entries);
        self.counter.increment(pending.messages);
        self.broker.count_refusals(self.link.transport(), pending.refusals);
        let messages = pending.messages + pending.refusals + pending.named;
        self.pace(messages, pending.count_readings());
        self.in_flight_acks += pending.acks.len();
        self.in_flight.add(pending.bytes);
        let sink = Arc::clone(&self.broker.sink);
        let speaker = self.speaker(&pending);
        self.queue.push_back(pending.submit(sink, session, received_at, speaker).boxed());
    }

    /// Counts what was read; over a rate nothing more is read for a while.
    fn pace(&mut self, messages: u64, readings: u32) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let hold = self.broker.sink.pace(Origin::Device(&self.session), messages, readings);
        self.held_until = (!hold.is_zero()).then(|| Instant::now() + hold);
    }

    /// A submission came back and its messages are relayed: its acknowledgements go out, or the
    /// connection ends.
    pub(super) fn settle(&mut self, finished: Finished) -> Result<(), Close> {
        self.in_flight_acks -= finished.acks.len();
        self.in_flight.remove(finished.bytes);
        let acknowledged = finished.acks.iter().filter(|ack| ack.packet_type == PUBACK);
        self.unacknowledged -= acknowledged.count();
        if self.mute {
            return Ok(());
        }
        if self.repeats_what_is_lost(&finished.acks) {
            self.mute = true;
            let text = "a message sent again was not stored the first time: send it once more";
            return Err(Close::new(0x80, text));
        }
        let failure = finished.failure();
        if let Some(failure) = &failure {
            let (device, error) = (self.session.device, &failure.text);
            tracing::warn!(%device, %error, "submission failed");
        }
        if finished.closes(self.encoder.version) {
            self.mute = true;
            return failure.map_or(Ok(()), Err);
        }
        self.broker.count_refusals(self.link.transport(), finished.refused().len() as u64);
        let Finished { result, acks, failed, fate, late, epoch, .. } = finished;
        self.output.extend_from_slice(&late);
        let (refused, mut untold) = (result.unwrap_or_default(), None);
        let is_v3 = self.encoder.version == Version::V3;
        for (at, ack) in acks.into_iter().enumerate() {
            let is_untold = |one: &&Failed| one.ack == at && (is_v3 || !one.can_tell);
            if let Some(one) = failed.iter().find(is_untold) {
                untold.get_or_insert_with(|| one.close.clone());
                continue;
            }
            let (reason, text) = match self.encoder.version {
                Version::V3 => (0, None),
                Version::V5 if ack.is_repeat || ack.packet_type == PUBCOMP => (0, None),
                Version::V5 => outcome(ack.answer, failure.as_ref(), &refused),
            };
            if ack.packet_type == PUBREC && reason >= 0x80 {
                self.forget(ack.packet_id);
            }
            let (id, kind) = (ack.packet_id, ack.packet_type);
            self.encoder.acknowledge(&mut self.output, kind, id, reason, text.as_deref());
        }
        // Until here a round tells of the session what it does not know to be over.
        drop((fate, epoch));
        let Some(close) = untold else { return Ok(()) };
        // The others are acknowledged; what is not comes again.
        self.mute = true;
        Err(close)
    }

    /// Submits the will through the same path as any message.
    pub(crate) fn publish_will(&mut self) {
        if let Some(mut will) = self.will.take() {
            self.receive();
            if let Some(payload) = death_at(&will.topic, &will.payload, self.received_at) {
                will.payload = payload;
            }
            self.message(&PublishView {
                topic: &will.topic,
                qos: 0,
                relay_qos: will.qos,
                retain: will.retain,
                packet_id: 0,
                payload: &will.payload,
                topic_alias: None,
                properties: &will.properties,
            });
            self.submit_pending();
        }
    }
}

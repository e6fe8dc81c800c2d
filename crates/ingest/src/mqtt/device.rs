//! One connected MQTT client, without its socket: packets go in, bytes to send come out, and
//! submissions wait in order. It knows the protocol; `connection` moves the bytes.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::v5::ToReasonCode;
use rmqtt_codec::{v3, v5};
use tokio::time::Instant;
use veritwin_domain::{IngestLimits, LimitExceeded, Timestamp};

use super::broker::Broker;
use super::connect::{Hello, Will};
use super::encode::{Encoder, Outgoing, PUBCOMP, PUBREC};
use super::frame::{self, Header, Packet, PublishView, Version};
use super::pending::{Finished, Pending, outcome};
use super::session::{SharedState, UNACKNOWLEDGED_MAX, Unacknowledged};
use super::topic;
use crate::arrivals::UNTIMED;
use crate::model::{CloseReason, DeviceSession, Downlink, Origin};
use crate::payload::{KeyTable, deleted_json, entries_json, rpc_json};

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
            CloseReason::ShuttingDown => Self::new(0x8b, "the platform is shutting down"),
        }
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

/// The answer to an attribute request or call: topic and payload.
pub(crate) type Answer = (String, String);

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
    pub(super) pending: Pending,
    pub(super) keys: KeyTable,
    pub(super) received_at: Timestamp,
    /// The number of the next reading of this read that carries no time.
    pub(super) next_at: Timestamp,
    receive_maximum: u16,
    in_flight_acks: usize,
    in_flight_bytes: usize,
    pub(super) unreleased: usize,
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
        let unreleased = state.lock().received.len();
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
            pending: Pending::default(),
            keys: KeyTable::default(),
            received_at: Timestamp::EPOCH,
            next_at: UNTIMED,
            receive_maximum: hello.receive_maximum,
            in_flight_acks: 0,
            in_flight_bytes: 0,
            unreleased,
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
            && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
            && self.queue.len() < SUBMISSIONS_MAX
    }

    /// Whether another QoS 1 message may be sent.
    pub(crate) fn can_send(&self) -> bool {
        let window = usize::from(self.receive_maximum).min(UNACKNOWLEDGED_MAX);
        self.state.lock().unacknowledged.len() < window
    }

    /// Takes every whole packet out of `input` and submits what they carry, once.
    pub(crate) fn handle_input(&mut self, input: &mut BytesMut) -> Result<(), End> {
        self.receive();
        let (used, result) = self.handle_packets(input);
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
                    return (used, Err(End::Closed(Close::new(0x81, text))));
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
        let Some(start) = body.get(..start_bytes) else { return Ok(None) };
        let view = frame::publish_view(Version::V3, header.first_byte, start);
        let Ok(Some(view)) = view else { return Err(close()) };
        self.refuse_limit(&view, limit, header.body_bytes);
        Ok(Some(header.header_bytes + start_bytes))
    }

    fn handle_packet(&mut self, header: Header, packet: &[u8]) -> Result<(), End> {
        let version = self.encoder.version;
        if header.is_publish() {
            let body = &packet[header.header_bytes..];
            if let Some(view) =
                frame::publish_view(version, header.first_byte, body).map_err(malformed)?
            {
                return self.publish(&view).map_err(End::Closed);
            }
        }
        match frame::decode(version, packet).map_err(malformed)? {
            Packet::V3(packet) => self.handle_v3(packet),
            Packet::V5(packet) => self.handle_v5(packet),
        }
    }

    fn publish(&mut self, view: &PublishView<'_>) -> Result<(), Close> {
        if self.encoder.version == Version::V5 {
            if view.has_topic_alias {
                return Err(Close::new(
                    0x94,
                    "topic aliases are not accepted: Topic Alias Maximum is 0",
                ));
            }
            if view.retain {
                return Err(Close::new(0x9a, "retained messages are not supported"));
            }
            let max = usize::from(self.limits().receive_maximum);
            let unfinished = self.in_flight_acks + self.pending.acks.len() + self.unreleased;
            if view.qos > 0 && unfinished >= max {
                let limit = LimitExceeded { name: "receive_maximum", max, actual: unfinished + 1 };
                return Err(Close::new(0x93, limit.to_string()));
            }
        }
        self.pending.bytes += view.payload.len();
        self.message(view);
        Ok(())
    }

    fn handle_v3(&mut self, packet: v3::Packet) -> Result<(), End> {
        match packet {
            v3::Packet::Publish(publish) => {
                self.publish(&frame::view_of(&publish)).map_err(End::Closed)?;
            }
            v3::Packet::PublishAck { packet_id } => self.acknowledged(packet_id.get()),
            v3::Packet::PublishRelease { packet_id } => self.release(packet_id.get()),
            v3::Packet::Subscribe { packet_id, topic_filters } => {
                let filters = topic_filters
                    .iter()
                    .map(|(filter, qos)| (&**filter, qos.value()))
                    .collect::<Vec<_>>();
                self.subscribe(packet_id.get(), &filters, None);
            }
            v3::Packet::Unsubscribe { packet_id, topic_filters } => {
                let filters = topic_filters.iter().map(|filter| &**filter).collect::<Vec<_>>();
                self.unsubscribe(packet_id.get(), &filters);
            }
            v3::Packet::PingRequest => self.output.extend_from_slice(&[0xd0, 0]),
            v3::Packet::Disconnect => return Err(self.goodbye()),
            other => return Err(unexpected(other.packet_type())),
        }
        Ok(())
    }

    fn handle_v5(&mut self, packet: v5::Packet) -> Result<(), End> {
        match packet {
            v5::Packet::Publish(publish) => {
                self.publish(&frame::view_of(&publish)).map_err(End::Closed)?;
            }
            v5::Packet::PublishAck(ack) => self.acknowledged(ack.packet_id.get()),
            v5::Packet::PublishRelease(ack) => self.release(ack.packet_id.get()),
            v5::Packet::Subscribe(subscribe) => {
                let filters = subscribe
                    .topic_filters
                    .iter()
                    .map(|(filter, options)| (&**filter, options.qos.value()))
                    .collect::<Vec<_>>();
                let id = subscribe.id.map(Into::into);
                self.subscribe(subscribe.packet_id.get(), &filters, id);
            }
            v5::Packet::Unsubscribe(unsubscribe) => {
                let filters =
                    unsubscribe.topic_filters.iter().map(|filter| &**filter).collect::<Vec<_>>();
                self.unsubscribe(unsubscribe.packet_id.get(), &filters);
            }
            v5::Packet::PingRequest => self.output.extend_from_slice(&[0xd0, 0]),
            v5::Packet::Disconnect(disconnect) => return Err(self.goodbye_v5(&disconnect)),
            other => return Err(unexpected(other.packet_type())),
        }
        Ok(())
    }

    fn goodbye(&mut self) -> End {
        self.will = None;
        End::Disconnected
    }

    fn goodbye_v5(&mut self, disconnect: &v5::Disconnect) -> End {
        if let Some(seconds) = disconnect.session_expiry_interval_secs {
            if self.session_seconds == 0 && seconds > 0 {
                let text = "the session expiry of CONNECT was 0 and cannot be raised";
                return End::Closed(Close::new(0x82, text));
            }
            self.session_seconds = seconds.min(super::session::SESSION_SECONDS_MAX);
        }
        if disconnect.reason_code == v5::DisconnectReasonCode::NormalDisconnection {
            return self.goodbye();
        }
        End::Disconnected
    }

    /// The client has a QoS 1 message.
    fn acknowledged(&mut self, packet_id: u16) {
        self.state.lock().unacknowledged.retain(|message| message.packet_id != packet_id);
    }

    /// PUBREL: the packet id is free again.
    fn release(&mut self, packet_id: u16) {
        let known = self.state.lock().received.remove(&packet_id);
        self.unreleased -= usize::from(known);
        let reason = if known { 0 } else { 0x92 };
        self.encoder.acknowledge(&mut self.output, PUBCOMP, packet_id, reason, None);
    }

    fn submit_pending(&mut self) {
        let (session, received_at) = (Arc::clone(&self.session), self.received_at);
        self.pending.close_batch(&session, received_at);
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.broker.sink.arrivals().settle_all(&mut pending.entries);
        self.broker.count(self.link.transport(), &pending);
        self.pace(pending.messages + pending.refusals, pending.count_readings());
        self.in_flight_acks += pending.acks.len();
        self.in_flight_bytes += pending.bytes;
        let sink = Arc::clone(&self.broker.sink);
        self.queue.push_back(pending.submit(sink, session, received_at).boxed());
    }

    /// Counts what was read; over a rate nothing more is read for a while.
    fn pace(&mut self, messages: u64, readings: u32) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let hold = self.broker.sink.pace(Origin::Device(&self.session), messages, readings);
        self.held_until = (!hold.is_zero()).then(|| Instant::now() + hold);
    }

    /// A submission came back: its acknowledgements go out, or the connection ends.
    pub(crate) fn finish(&mut self, finished: Finished) -> Result<(), Close> {
        self.in_flight_acks -= finished.acks.len();
        self.in_flight_bytes -= finished.bytes;
        if self.mute {
            return Ok(());
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
        let Finished { result, acks, .. } = finished;
        let refused = result.unwrap_or_default();
        for ack in acks {
            let (reason, text) = match self.encoder.version {
                Version::V3 => (0, None),
                Version::V5 => outcome(ack.answer, failure.as_ref(), &refused),
            };
            if ack.packet_type == PUBREC && reason >= 0x80 {
                let known = self.state.lock().received.remove(&ack.packet_id);
                self.unreleased -= usize::from(known);
            }
            let (id, kind) = (ack.packet_id, ack.packet_type);
            self.encoder.acknowledge(&mut self.output, kind, id, reason, text.as_deref());
        }
        Ok(())
    }

    /// Sends a downlink, if the device has subscribed to it.
    pub(crate) fn downlink(&mut self, downlink: &Downlink) {
        match downlink {
            Downlink::AttributesUpdated(entries) => {
                self.deliver(topic::ATTRIBUTES, entries_json(entries));
            }
            Downlink::AttributesDeleted(keys) => {
                self.deliver(topic::ATTRIBUTES, deleted_json(keys))
            }
            Downlink::Rpc(request) => {
                let name = format!("{}{}", topic::RPC_REQUEST, request.id);
                self.deliver(&name, rpc_json(request, false));
            }
        }
    }

    /// Publishes to the device at the QoS it was granted.
    pub(crate) fn deliver(&mut self, name: &str, payload: String) {
        let mut state = self.state.lock();
        let Some((qos, ids)) = state.matching(name) else { return };
        let packet_id = (qos > 0).then(|| state.next_packet_id());
        let message = Outgoing {
            topic: name,
            payload: payload.as_bytes(),
            packet_id,
            dup: false,
            subscription_ids: &ids,
        };
        if !self.encoder.publish(&mut self.output, message) {
            tracing::warn!(device = %self.session.device, "message over the client's limit");
            return;
        }
        if let Some(packet_id) = packet_id {
            let topic = name.to_owned();
            state.unacknowledged.push_back(Unacknowledged { packet_id, topic, payload });
        }
    }

    /// Sends again what the client has not acknowledged before it was cut off.
    pub(crate) fn resend(&mut self) {
        for message in &self.state.lock().unacknowledged {
            self.encoder.publish(
                &mut self.output,
                Outgoing {
                    topic: &message.topic,
                    payload: message.payload.as_bytes(),
                    packet_id: Some(message.packet_id),
                    dup: true,
                    subscription_ids: &[],
                },
            );
        }
    }

    /// Submits the will through the same path as any message.
    pub(crate) fn publish_will(&mut self) {
        if let Some(will) = self.will.take() {
            self.receive();
            self.message(&PublishView {
                topic: &will.topic,
                qos: 0,
                retain: false,
                packet_id: 0,
                payload: &will.payload,
                has_topic_alias: false,
            });
            self.submit_pending();
        }
    }
}

fn malformed(error: DecodeError) -> End {
    let code = match &error {
        DecodeError::Utf8Error => 0x81,
        error => u8::from(error.to_reason_code()),
    };
    End::Closed(Close::new(code, format!("malformed packet: {error}")))
}

fn unexpected(packet_type: u8) -> End {
    let text = format!("protocol error: packet type {} is not expected here", packet_type >> 4);
    End::Closed(Close::new(0x82, text))
}

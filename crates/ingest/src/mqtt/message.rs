//! What a published message means: readings, attributes, requests and answers, a message to others,
//! or a refusal that says what would be right.

use std::sync::Arc;

use futures::FutureExt;
use veritwin_domain::{LimitExceeded, stored_bytes};

use super::claiming::Claim;
use super::decoding::Decode;
use super::density::make_room;
use super::device::{Device, REQUESTS_MAX};
use super::downlink;
use super::encode::{PUBACK, PUBCOMP, PUBREC};
use super::frame::{PublishView, Version};
use super::pending::{Ack, Answer, Finished};
use super::receipts::{Come, Left};
use super::topic::{self, DeviceTopic, TopicError};
use crate::arrivals::UNTIMED;
use crate::model::{AttributesUpdate, Origin, Refusal, RefusalReason, RpcReply, SinkEntry};
use crate::payload::{
    MessageContext, PayloadError, attributes_json, parse_attributes, parse_attributes_request,
    parse_client_rpc, parse_json_text, parse_telemetry,
};
use crate::traits::Objection;

/// Why a message is refused.
pub(super) struct Refused {
    reason: RefusalReason,
    detail: String,
    position: Option<usize>,
    limit: Option<&'static str>,
}

impl Refused {
    pub(super) const fn new(reason: RefusalReason, detail: String) -> Self {
        Self { reason, detail, position: None, limit: None }
    }

    /// Of readings that a decoder gave: a place in them means nothing to the device.
    pub(super) fn of_decoded(self) -> Self {
        Self { position: None, detail: format!("decoded readings: {}", self.detail), ..self }
    }
}

impl From<LimitExceeded> for Refused {
    fn from(limit: LimitExceeded) -> Self {
        Self { limit: Some(limit.name), ..Self::new(RefusalReason::Limit, limit.to_string()) }
    }
}

impl From<Objection> for Refused {
    fn from(objection: Objection) -> Self {
        match objection {
            Objection::Policy(detail) => Self::new(RefusalReason::Policy, detail),
            Objection::Storage(limit) => limit.into(),
        }
    }
}

impl From<PayloadError> for Refused {
    fn from(error: PayloadError) -> Self {
        let reason = match (error.limit.is_some(), error.rule.is_some()) {
            (true, _) => RefusalReason::Limit,
            (_, true) => RefusalReason::Policy,
            _ => RefusalReason::Payload,
        };
        let refused = Self::new(reason, format!("payload, {error}"));
        let limit = error.limit.map(|limit| limit.name);
        Self { position: Some(error.position), limit, ..refused }
    }
}

impl From<TopicError> for Refused {
    fn from(error: TopicError) -> Self {
        let reason = match error {
            TopicError::Malformed(_) | TopicError::Unknown => RefusalReason::Topic,
            TopicError::Limit(limit) => return limit.into(),
            TopicError::Unsupported(_) => RefusalReason::Unsupported,
            TopicError::Foreign | TopicError::NoGateway => RefusalReason::NotAllowed,
        };
        Self::new(reason, error.text())
    }
}

/// The version 5 reason code of a refusal.
pub(super) fn reason_code(reason: RefusalReason) -> u8 {
    match reason {
        RefusalReason::Payload => 0x99,
        RefusalReason::Topic => 0x90,
        RefusalReason::Limit => 0x97,
        RefusalReason::NotAllowed | RefusalReason::Policy => 0x87,
        RefusalReason::Unsupported => 0x83,
    }
}

impl Device {
    /// Messages come in.
    pub(super) fn receive(&mut self) {
        self.received_at = self.broker.clock.now();
        self.next_at = UNTIMED;
        self.is_watched = self.broker.sink.is_watched(&self.session);
        self.spare_bytes = self.broker.sink.spare_bytes(Origin::Device(&self.session));
    }

    /// Takes one message: it joins the submission of this read, or is refused.
    pub(super) fn message(&mut self, view: &PublishView<'_>) {
        self.pending.messages += 1;
        if self.is_watched {
            self.show(view);
        }
        if view.qos == 2 && self.came_before(view.packet_id) {
            return;
        }
        match self.take(view) {
            Ok(entry) => self.acknowledge(view, Answer { entry, ..Answer::default() }),
            Err(refused) => self.refuse(view, refused, view.payload.len()),
        }
    }

    pub(super) fn refuse_limit(
        &mut self,
        view: &PublishView<'_>,
        limit: LimitExceeded,
        payload_bytes: usize,
    ) {
        self.pending.messages += 1;
        if view.qos == 2 && self.came_before(view.packet_id) {
            return;
        }
        self.refuse(view, limit.into(), payload_bytes);
    }

    /// Whether a QoS 2 message was sent before and has no PUBREL yet: then it is stored once, and
    /// acknowledged again when it is.
    fn came_before(&mut self, packet_id: u16) -> bool {
        let pending = &mut self.pending;
        let come = self.state.lock().received.come(packet_id, self.link.id(), || pending.fate());
        let Come::Again(fate) = come else {
            self.unreleased += 1;
            return false;
        };
        pending.before.extend(fate);
        self.repeats.come(packet_id);
        let answer = Answer::default();
        pending.acks.push(Ack { packet_id, packet_type: PUBREC, answer, is_repeat: true });
        true
    }

    /// PUBREL: the packet id is free again, of a session that is kept once that is durable, and not
    /// before that for whoever asks again: else the next message with it could be taken for this
    /// one after a restart. PUBCOMP goes behind the PUBREC of every time that the message was sent
    /// again, or that could be taken for the next one's.
    pub(super) fn release(&mut self, packet_id: u16) {
        let (is_noted, own, pending) = (self.is_kept(), self.link.id(), &mut self.pending);
        let mut state = self.state.lock();
        let is_stored = state.received.is_stored(packet_id);
        let left = if is_noted {
            state.received.leave(packet_id, own, || pending.fate())
        } else {
            state.received.forget(packet_id).map(Left::at_once)
        };
        drop(state);
        let Some(Left { link, is_first, before }) = left else {
            self.encoder.acknowledge(&mut self.output, PUBCOMP, packet_id, 0x92, None);
            return;
        };
        self.unreleased -= usize::from(is_first && link == own);
        if is_noted {
            self.pending.freed.push(packet_id);
            self.pending.before.extend(before);
        }
        if is_stored && self.repeats.release(packet_id) {
            self.pending.is_vital |= is_noted;
            let (packet_type, answer) = (PUBCOMP, Answer::default());
            self.pending.acks.push(Ack { packet_id, packet_type, answer, is_repeat: false });
        } else if is_noted {
            self.encoder.acknowledge(&mut self.pending.late, PUBCOMP, packet_id, 0, None);
        } else {
            self.encoder.acknowledge(&mut self.output, PUBCOMP, packet_id, 0, None);
        }
    }

    /// A QoS 2 message is refused: its id is free again.
    pub(super) fn forget(&mut self, packet_id: u16) {
        let link = self.state.lock().received.forget(packet_id);
        self.unreleased -= usize::from(link == Some(self.link.id()));
    }

    /// What a submission has made durable: QoS 2 messages are stored, or refused for good, ids are
    /// free again, and messages to the client are released.
    pub(super) fn note_durable(&self, finished: &Finished) {
        let Finished { result, acks, failed, freed, released, .. } = finished;
        let may_succeed = result.as_ref().is_err_and(|error| !error.is_final());
        let received = acks.iter().enumerate();
        let is_new = |ack: &Ack| ack.packet_type == PUBREC && !ack.is_repeat;
        let has_come = !may_succeed && received.clone().any(|(_, ack)| is_new(ack));
        if !has_come && freed.is_empty() && released.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if has_come {
            let is_failed = |at: usize| failed.iter().any(|one| one.ack == at);
            // One whose client is told that it is refused is never stored: no round says it is.
            let is_v5 = self.encoder.version == Version::V5;
            let is_refused = |ack: &Ack| is_v5 && ack.answer.reason >= 0x80;
            let is_stored =
                |at: usize, ack: &Ack| is_new(ack) && !is_refused(ack) && !is_failed(at);
            for (_, ack) in received.filter(|(at, ack)| is_stored(*at, ack)) {
                state.received.stored(ack.packet_id, self.link.id());
            }
        }
        if result.is_ok() {
            state.received.freed(freed, self.link.id());
            state.note_told(released);
        }
    }

    /// Whether a durable record says that a message is refused: where no acknowledgement can, and
    /// where one that was lost is not followed by another: its id is noted with what it came with.
    pub(super) fn is_recorded(&self, view: &PublishView<'_>) -> bool {
        !self.can_tell(view) || (view.qos == 2 && self.state.kept().is_some())
    }

    /// Whether one of them is of a message sent again that is neither stored nor was.
    pub(super) fn repeats_what_is_lost(&mut self, acks: &[Ack]) -> bool {
        let mut again = acks.iter().filter(|ack| ack.is_repeat).peekable();
        again.peek().is_some() && {
            let state = self.state.lock();
            again.any(|ack| {
                let was_released = self.repeats.acknowledged(ack.packet_id);
                !was_released && !state.received.is_stored(ack.packet_id)
            })
        }
    }

    fn acknowledge(&mut self, view: &PublishView<'_>, answer: Answer) {
        let packet_type = match view.qos {
            0 => return,
            1 => PUBACK,
            _ => PUBREC,
        };
        self.unacknowledged += usize::from(packet_type == PUBACK);
        let packet_id = view.packet_id;
        make_room(&mut self.pending.acks, self.expected.acks);
        self.pending.acks.push(Ack { packet_id, packet_type, answer, is_repeat: false });
    }

    /// Version 5 is told by a reason code. Where the protocol has no way to tell (3.1.1, QoS 0),
    /// a durable record says it, and the message counts as delivered.
    fn refuse(&mut self, view: &PublishView<'_>, refused: Refused, payload_bytes: usize) {
        self.pending.refusals += 1;
        let refusal = Refusal {
            tenant: self.session.tenant,
            device: self.session.device,
            credential: self.session.credential,
            received_at: self.received_at,
            reason: refused.reason,
            detail: refused.detail,
            position: refused.position,
            limit: refused.limit,
            payload_bytes: payload_bytes as u64,
        };
        if self.can_tell(view) {
            let (reason, text) = (reason_code(refusal.reason), Some(refusal.detail.clone()));
            self.broker.sink.told(refusal);
            self.acknowledge(view, Answer { reason, text, entry: None });
            return;
        }
        self.pending.push(&self.session, self.received_at, SinkEntry::Refusal(refusal));
        self.acknowledge(view, Answer::default());
    }

    /// Whether an acknowledgement can carry a refusal.
    pub(super) fn can_tell(&self, view: &PublishView<'_>) -> bool {
        self.encoder.version == Version::V5 && view.qos > 0
    }

    /// The answer is the entry that the sink may refuse by itself, if the message becomes one.
    fn take(&mut self, view: &PublishView<'_>) -> Result<Option<usize>, Refused> {
        if self.session.decoder.is_some()
            && let Decode::Done(decoded) = std::mem::take(&mut self.decode)
        {
            return self.take_decoded(decoded, view);
        }
        self.take_plain(view)
    }

    pub(super) fn take_plain(&mut self, view: &PublishView<'_>) -> Result<Option<usize>, Refused> {
        match topic::classify(view.topic, self.limits())? {
            DeviceTopic::Attributes => return self.attributes(view),
            DeviceTopic::Relay => return self.relay(view),
            DeviceTopic::Sparkplug => return self.sparkplug(view),
            DeviceTopic::Gateway(topic) => self.gateway(topic, view)?,
            DeviceTopic::Chunk { kind, id, chunk } => {
                self.chunk((kind, id, chunk), view.payload)?
            }
            DeviceTopic::Telemetry => self.telemetry(view.payload)?,
            DeviceTopic::AttributesRequest(id) => self.attributes_request(id, view.payload)?,
            DeviceTopic::RpcRequest(id) => self.rpc_call(id, view.payload)?,
            DeviceTopic::Claim => {
                // The acknowledgement that comes next is this message's.
                let ack = (view.qos > 0).then_some(self.pending.acks.len());
                let claim = Claim::read(view.payload, ack, self.can_tell(view))?;
                self.pending.claims.push(claim);
            }
            DeviceTopic::RpcResponse(id) => {
                let body = parse_json_text(view.payload, self.limits())?;
                // The acknowledgement that comes next is this message's.
                let ack = (view.qos > 0).then_some(self.pending.acks.len());
                self.pending.replies.push((RpcReply { id, body }, ack));
            }
        }
        Ok(None)
    }

    pub(super) fn telemetry(&mut self, payload: &[u8]) -> Result<(), Refused> {
        let readings = &mut self.pending.readings;
        make_room(readings, self.expected.readings);
        let first = readings.len();
        let context = MessageContext { received_at: self.next_at, limits: &self.broker.limits };
        self.next_at = parse_telemetry(payload, context, &mut self.keys, readings)?;
        let new = &readings[first..];
        if self.spare_bytes.is_some_and(|spare| stored_bytes(new) <= spare) {
            return Ok(());
        }
        let origin = Origin::Device(&self.session);
        self.broker.sink.inspect(origin, new).map_err(|objection| {
            readings.truncate(first);
            objection.into()
        })
    }

    fn attributes(&mut self, view: &PublishView<'_>) -> Result<Option<usize>, Refused> {
        let entries = parse_attributes(view.payload, &self.broker.limits, &mut self.keys)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let update = AttributesUpdate {
            tenant: self.session.tenant,
            device: self.session.device,
            credential: self.session.credential,
            received_at: self.received_at,
            entries,
            payload_bytes: view.payload.len() as u64,
            refusal_recorded: self.is_recorded(view),
        };
        let entry = SinkEntry::Attributes(update);
        Ok(Some(self.pending.push(&self.session, self.received_at, entry)))
    }

    pub(super) fn room_for_request(&self) -> Result<(), Refused> {
        let (max, waiting) = (REQUESTS_MAX, self.answers.len());
        if waiting < max {
            return Ok(());
        }
        Err(LimitExceeded { name: "requests_max", max, actual: waiting + 1 }.into())
    }

    fn attributes_request(&mut self, id: u32, payload: &[u8]) -> Result<(), Refused> {
        self.room_for_request()?;
        let request = parse_attributes_request(payload, self.limits())?;
        let (sink, session) = (Arc::clone(&self.broker.sink), Arc::clone(&self.session));
        self.answers.push(
            async move {
                let answer = match sink.attributes(&session, request.clone()).await {
                    Ok(attributes) => attributes_json(&request, &attributes),
                    Err(error) => error_json(&error.to_string()),
                };
                downlink::Answer::new(format!("{}{id}", topic::ATTRIBUTES_RESPONSE), answer)
            }
            .boxed(),
        );
        Ok(())
    }

    fn rpc_call(&mut self, id: u32, payload: &[u8]) -> Result<(), Refused> {
        self.room_for_request()?;
        let call = parse_client_rpc(payload)?;
        let (sink, session) = (Arc::clone(&self.broker.sink), Arc::clone(&self.session));
        self.answers.push(
            async move {
                let answer = match sink.rpc_call(&session, call).await {
                    Ok(answer) => answer,
                    Err(error) => error_json(&error.to_string()),
                };
                downlink::Answer::new(format!("{}{id}", topic::RPC_RESPONSE), answer)
            }
            .boxed(),
        );
        Ok(())
    }
}

fn error_json(text: &str) -> String {
    serde_json::json!({ "error": text }).to_string()
}

//! What a gateway says for the devices behind it. Whose a name is, the login says; what is said
//! becomes entries of the gateway's submission and is acknowledged with it. A device that is named
//! is connected through the gateway until it is disconnected, or the gateway is.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use veritwin_domain::{
    DeviceBatch, DeviceId, Key, LimitExceeded, Reading, Timestamp, Value, count_attributes,
    count_readings,
};

use super::broker::Broker;
use super::device::{self, Device};
use super::frame::PublishView;
use super::message::{Refused, error_json, reason_code};
use super::pending::{self, Ack, Pending};
use super::topic::{self, GatewayTopic, TopicError};
use crate::attached::Attached;
use crate::link::DeviceLink;
use crate::model::{
    AttributesRequest, AttributesUpdate, ChildName, ChunkRequest, DeviceSession, EntryRefused,
    Origin, PackageKind, Refusal, RefusalReason, RpcReply, SinkEntry,
};
use crate::payload::{
    CHILD_NAMES_MAX, ChildMessage, MessageContext, child_values_json, parse_child_message,
    parse_children_attributes, parse_children_telemetry,
};
use crate::traits::{LoginError, SubmitError};
use crate::{CHUNK_BYTES_MAX, Sink};

/// Most devices that are connected through one gateway's connection.
const CHILDREN_CONNECTED_MAX: usize = 10_000;

/// What is said for one device.
#[derive(Debug)]
enum Act {
    Connect,
    Disconnect,
    Readings(Vec<Reading>),
    Attributes(Vec<(Key, Value)>),
    Reply(RpcReply),
}

#[derive(Debug)]
struct Spoken {
    name: String,
    kind: Option<String>,
    act: Act,
}

/// One message of a gateway.
#[derive(Debug)]
pub(crate) struct GatewayMessage {
    spoken: Vec<Spoken>,
    /// Its acknowledgement, if that can carry a refusal.
    ack: Option<usize>,
    payload_bytes: u64,
}

/// What becomes of a device once the submission is durable.
#[derive(Debug)]
enum After {
    Attach(String, Arc<DeviceSession>),
    Detach(String),
}

/// What came of a gateway's messages.
#[derive(Debug, Default)]
struct Said {
    /// How long the gateway is held back.
    hold: Duration,
    /// Refusals that an acknowledgement carries.
    told: Vec<(usize, String)>,
    /// The entries of each message whose acknowledgement can carry a refusal.
    parts: Vec<(usize, Range<usize>)>,
    replies: Vec<(Arc<DeviceSession>, RpcReply)>,
    after: Vec<After>,
}

fn refuse(acks: &mut [Ack], at: usize, reason: RefusalReason, text: String) {
    if let Some(ack) = acks.get_mut(at) {
        ack.answer.reason = reason_code(reason);
        ack.answer.text = Some(text);
    }
}

type Found = HashMap<String, Result<Arc<DeviceSession>, LoginError>>;

/// Devices that are connected through a gateway's connection, by name. `None`: in a moment.
#[derive(Default)]
pub(crate) struct Children(Mutex<HashMap<String, (DeviceId, Option<Attached>)>>);

impl Children {
    async fn attach(
        &self,
        sink: &Arc<dyn Sink>,
        gateway: &DeviceLink,
        name: &str,
        child: Arc<DeviceSession>,
    ) {
        let device = child.device;
        {
            let mut children = self.0.lock();
            let is_known = children.get(name).is_some_and(|(known, _)| *known == device);
            if is_known || children.len() >= CHILDREN_CONNECTED_MAX {
                return;
            }
            children.insert(name.to_owned(), (device, None));
        }
        let attached = Attached::new(Arc::clone(sink), child, gateway.for_child(name)).await;
        // It may have been disconnected meanwhile: then it is detached again.
        if let Some((_, place)) = self.0.lock().get_mut(name) {
            *place = Some(attached);
        }
    }

    async fn detach(&self, name: &str) {
        let attached = self.0.lock().remove(name).and_then(|(_, attached)| attached);
        if let Some(attached) = attached {
            attached.detach().await;
        }
    }

    /// The same, where nothing can be waited for.
    pub(super) fn forget(&self, name: &str) {
        let gone = self.0.lock().remove(name);
        drop(gone);
    }

    /// The gateway's connection is over.
    pub(super) async fn end(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        for (_, attached) in all.into_values() {
            if let Some(attached) = attached {
                attached.detach().await;
            }
        }
    }
}

/// Speaks for the devices behind a gateway, apart from its connection.
pub(crate) struct Speaker {
    broker: Arc<Broker>,
    session: Arc<DeviceSession>,
    link: DeviceLink,
    children: Arc<Children>,
}

impl Speaker {
    /// Submits what the gateway says for itself, and then for others.
    pub(crate) async fn submit(
        self,
        (mut entries, replies): (Vec<SinkEntry>, Vec<RpcReply>),
        (spoken, received_at): (Vec<GatewayMessage>, Timestamp),
        acks: &mut [Ack],
        hold: &mut Duration,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        let said = self.speak(spoken, received_at, &mut entries).await?;
        *hold = said.hold;
        for (at, detail) in &said.told {
            refuse(acks, *at, RefusalReason::NotAllowed, detail.clone());
        }
        let sink = &*self.broker.sink;
        let refused = pending::submit(sink, &self.session, replies, entries).await?;
        self.finish(said, &refused, acks).await?;
        Ok(refused)
    }

    /// Turns messages into entries. `Err`: nothing of the submission may be stored, and it may be
    /// sent again.
    async fn speak(
        &self,
        messages: Vec<GatewayMessage>,
        received_at: Timestamp,
        entries: &mut Vec<SinkEntry>,
    ) -> Result<Said, SubmitError> {
        let found = self.find(&messages).await?;
        let (first, mut said) = (entries.len(), Said::default());
        for message in messages {
            self.take(message, &found, (received_at, entries), &mut said);
        }
        if let Some(own) = entries.get_mut(first..) {
            self.broker.sink.arrivals().settle_all(own);
        }
        Ok(said)
    }

    /// The devices that are named, each looked for once.
    async fn find(&self, messages: &[GatewayMessage]) -> Result<Found, SubmitError> {
        let (mut known, mut wanted) = (HashSet::new(), Vec::new());
        for one in messages.iter().flat_map(|message| &message.spoken) {
            if !matches!(one.act, Act::Disconnect) && known.insert(one.name.as_str()) {
                wanted.push(ChildName { name: one.name.clone(), kind: one.kind.clone() });
            }
        }
        let mut found = Found::with_capacity(wanted.len());
        for some in wanted.chunks(CHILD_NAMES_MAX) {
            let answers = self.broker.login.children(&self.session, some).await;
            let answers = answers.map_err(submit_error)?;
            found.extend(some.iter().map(|one| one.name.clone()).zip(answers));
        }
        let is_later = |error: &&LoginError| {
            matches!(error, LoginError::Busy { .. } | LoginError::Unavailable(_))
        };
        let later = found.values().filter_map(|one| one.as_ref().err()).find(is_later);
        match later.cloned() {
            Some(error) => Err(submit_error(error)),
            None => Ok(found),
        }
    }

    fn take(
        &self,
        message: GatewayMessage,
        found: &Found,
        (received_at, entries): (Timestamp, &mut Vec<SinkEntry>),
        said: &mut Said,
    ) {
        let GatewayMessage { spoken, ack, payload_bytes } = message;
        let (first, all) = (entries.len(), spoken.len());
        let (mut refused, mut why) = (0usize, None);
        let context = ActContext { received_at, payload_bytes, refusal_recorded: ack.is_none() };
        for Spoken { name, act, .. } in spoken {
            match found.get(&name) {
                // Nothing has to be looked up to disconnect it.
                _ if matches!(act, Act::Disconnect) => said.after.push(After::Detach(name)),
                Some(Ok(child)) => {
                    let counted = act_of(child, act, context, (entries, said));
                    let hold = self.broker.sink.pace(Origin::Device(child), 1, counted);
                    said.hold = said.hold.max(hold);
                    said.after.push(After::Attach(name, Arc::clone(child)));
                }
                Some(Err(error)) => {
                    refused += 1;
                    why.get_or_insert_with(|| error.to_string());
                }
                None => {}
            }
        }
        if let Some(why) = why {
            let detail = format!("{refused} of {all} devices refused, the others are taken: {why}");
            match ack {
                Some(ack) => said.told.push((ack, detail)),
                None => entries.push(self.refusal(detail, received_at, payload_bytes)),
            }
        }
        said.parts.extend(ack.map(|ack| (ack, first..entries.len())));
    }

    fn refusal(&self, detail: String, received_at: Timestamp, payload_bytes: u64) -> SinkEntry {
        SinkEntry::Refusal(Refusal {
            tenant: self.session.tenant,
            device: self.session.device,
            credential: self.session.credential,
            received_at,
            reason: RefusalReason::NotAllowed,
            detail,
            position: None,
            limit: None,
            payload_bytes,
        })
    }

    /// The submission came back: what was refused of it is told, calls are answered, and devices
    /// come and go.
    async fn finish(
        &self,
        said: Said,
        refused: &[EntryRefused],
        acks: &mut [Ack],
    ) -> Result<(), SubmitError> {
        let Said { parts, replies, after, .. } = said;
        for (at, entries) in parts {
            if let Some(one) = refused.iter().find(|one| entries.contains(&one.index)) {
                refuse(acks, at, RefusalReason::Limit, one.limit.to_string());
            }
        }
        let sink = &self.broker.sink;
        for (child, reply) in replies {
            match sink.rpc_reply(&child, reply).await {
                // The caller has stopped waiting; the device did nothing wrong.
                Ok(()) | Err(SubmitError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for one in after {
            match one {
                After::Attach(name, child) => {
                    self.children.attach(sink, &self.link, &name, child).await;
                }
                After::Detach(name) => self.children.detach(&name).await,
            }
        }
        Ok(())
    }
}

/// What an entry takes from its message.
#[derive(Clone, Copy)]
struct ActContext {
    received_at: Timestamp,
    payload_bytes: u64,
    refusal_recorded: bool,
}

/// Does what is said for one device; what it counts for in rates.
fn act_of(
    child: &Arc<DeviceSession>,
    act: Act,
    context: ActContext,
    (entries, said): (&mut Vec<SinkEntry>, &mut Said),
) -> u32 {
    let (tenant, device, credential) = (child.tenant, child.device, child.credential);
    let ActContext { received_at, payload_bytes, refusal_recorded } = context;
    match act {
        Act::Readings(readings) if !readings.is_empty() => {
            let counted = count_readings(&readings);
            let batch = DeviceBatch { tenant, device, credential, received_at, readings };
            entries.push(SinkEntry::Readings(batch));
            counted
        }
        Act::Attributes(attributes) if !attributes.is_empty() => {
            let counted = count_attributes(&attributes);
            entries.push(SinkEntry::Attributes(AttributesUpdate {
                tenant,
                device,
                credential,
                received_at,
                entries: attributes,
                payload_bytes,
                refusal_recorded,
            }));
            counted
        }
        Act::Reply(reply) => {
            said.replies.push((Arc::clone(child), reply));
            0
        }
        Act::Readings(_) | Act::Attributes(_) | Act::Connect | Act::Disconnect => 0,
    }
}

fn submit_error(error: LoginError) -> SubmitError {
    match error {
        LoginError::Busy { detail, limit, retry_after } => {
            SubmitError::Busy { detail, limit, retry_after }
        }
        LoginError::Unavailable(detail) => SubmitError::Unavailable(detail),
        LoginError::Denied(detail) => SubmitError::Denied(detail),
        LoginError::Unknown => SubmitError::Denied(LoginError::Unknown.to_string()),
    }
}

impl Device {
    /// Who speaks for what a gateway has said, if it has said something.
    pub(super) fn speaker(&self, pending: &Pending) -> Option<Speaker> {
        if pending.spoken.is_empty() {
            return None;
        }
        Some(Speaker {
            broker: Arc::clone(&self.broker),
            session: Arc::clone(&self.session),
            link: self.link.clone(),
            children: self.children.clone()?,
        })
    }

    /// Takes a message of a gateway.
    pub(super) fn gateway(
        &mut self,
        topic: GatewayTopic,
        view: &PublishView<'_>,
    ) -> Result<(), Refused> {
        if !self.session.gateway {
            return Err(TopicError::NoGateway.into());
        }
        let spoken = match topic {
            GatewayTopic::AttributesRequest => return self.child_attributes_request(view.payload),
            GatewayTopic::Telemetry => self.children_telemetry(view.payload)?,
            GatewayTopic::Attributes => {
                let limits = &self.broker.limits;
                let all = parse_children_attributes(view.payload, limits, &mut self.keys)?;
                let spoken = |(name, attributes)| Spoken {
                    name,
                    kind: None,
                    act: Act::Attributes(attributes),
                };
                all.into_iter().map(spoken).collect()
            }
            GatewayTopic::Connect | GatewayTopic::Disconnect | GatewayTopic::Rpc => {
                vec![about_one(topic, parse_child_message(view.payload, self.limits())?)?]
            }
        };
        if spoken.is_empty() {
            return Ok(());
        }
        // The acknowledgement that comes next is this message's.
        let ack = self.can_tell(view).then_some(self.pending.acks.len());
        self.pending.named += spoken.len() as u64;
        let payload_bytes = view.payload.len() as u64;
        self.pending.spoken.push(GatewayMessage { spoken, ack, payload_bytes });
        Ok(())
    }

    fn children_telemetry(&mut self, payload: &[u8]) -> Result<Vec<Spoken>, Refused> {
        let context = MessageContext { received_at: self.next_at, limits: &self.broker.limits };
        let (children, next_at) = parse_children_telemetry(payload, context, &mut self.keys)?;
        self.next_at = next_at;
        let origin = Origin::Device(&self.session);
        for (_, readings) in &children {
            self.broker.sink.inspect(origin, readings)?;
        }
        let spoken = |(name, readings)| Spoken { name, kind: None, act: Act::Readings(readings) };
        Ok(children.into_iter().map(spoken).collect())
    }

    fn child_attributes_request(&mut self, payload: &[u8]) -> Result<(), Refused> {
        self.room_for_request()?;
        let message = parse_child_message(payload, self.limits())?;
        let id = number_of(&message)?;
        let (broker, session) = (Arc::clone(&self.broker), Arc::clone(&self.session));
        self.answers.push(
            async move {
                let payload = match child_attributes(&broker, &session, &message).await {
                    Ok(entries) => child_values_json(&message.name, id, message.single, &entries),
                    Err(error) => error_json(&error.to_string()),
                };
                device::Answer::new(topic::GATEWAY_ATTRIBUTES_RESPONSE.to_owned(), payload)
            }
            .boxed(),
        );
        Ok(())
    }

    /// Answers with a piece of a package; what is wrong is said on `v2/fw/error`.
    pub(super) fn chunk(
        &mut self,
        (kind, id, chunk): (PackageKind, u32, u32),
        payload: &[u8],
    ) -> Result<(), Refused> {
        self.room_for_request()?;
        let chunk_bytes = chunk_bytes(payload)?;
        let request = ChunkRequest { kind, expected: None, chunk_bytes, chunk };
        let (sink, session) = (Arc::clone(&self.broker.sink), Arc::clone(&self.session));
        self.answers.push(
            async move {
                match sink.chunk(&session, request).await {
                    Ok(bytes) => {
                        let counted = u32::try_from(bytes.len() / 1024).unwrap_or(u32::MAX);
                        let hold = sink.pace(Origin::Device(&session), 0, counted);
                        let (topic, short) = topic::chunk_response(kind, id, chunk);
                        let subscribed = Some(short);
                        device::Answer { topic, subscribed, payload: bytes, hold, qos_max: 0 }
                    }
                    Err(error) => {
                        let topic = topic::chunk_error(kind).to_owned();
                        device::Answer::new(topic, error.to_string())
                    }
                }
            }
            .boxed(),
        );
        Ok(())
    }
}

/// What is said of one device.
fn about_one(topic: GatewayTopic, message: ChildMessage) -> Result<Spoken, Refused> {
    let act = match topic {
        GatewayTopic::Connect => Act::Connect,
        GatewayTopic::Disconnect => Act::Disconnect,
        _ => {
            let expected = "\"id\": expected the call's number, up to 4294967295";
            let id = u32::try_from(number_of(&message)?)
                .map_err(|_| Refused::new(RefusalReason::Payload, expected.to_owned()))?;
            let body = message.data.unwrap_or_else(|| "null".to_owned());
            Act::Reply(RpcReply { id, body })
        }
    };
    Ok(Spoken { name: message.name, kind: message.kind, act })
}

fn number_of(message: &ChildMessage) -> Result<i64, Refused> {
    let expected = "payload: expected a key \"id\" with a number";
    message.id.ok_or_else(|| Refused::new(RefusalReason::Payload, expected.to_owned()))
}

async fn child_attributes(
    broker: &Broker,
    session: &DeviceSession,
    message: &ChildMessage,
) -> Result<Vec<(Key, Value)>, SubmitError> {
    let name = ChildName { name: message.name.clone(), kind: None };
    let mut found = broker.login.children(session, &[name]).await.map_err(submit_error)?;
    let child = found.pop().unwrap_or(Err(LoginError::Unknown)).map_err(submit_error)?;
    let keys = Some(message.keys.clone());
    let request = if message.client {
        AttributesRequest { client: keys, shared: None }
    } else {
        AttributesRequest { client: None, shared: keys }
    };
    let attributes = broker.sink.attributes(&child, request).await?;
    Ok(if message.client { attributes.client } else { attributes.shared })
}

/// The bytes of a chunk that a request's payload asks for: nothing, or zero, for all at once.
fn chunk_bytes(payload: &[u8]) -> Result<Option<u32>, Refused> {
    let text = std::str::from_utf8(payload).unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "payload: expected the bytes of a chunk as a number, or nothing";
    let bytes: u32 =
        text.parse().map_err(|_| Refused::new(RefusalReason::Payload, expected.to_owned()))?;
    if bytes > CHUNK_BYTES_MAX {
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (max, actual) = (size(CHUNK_BYTES_MAX), size(bytes));
        return Err(LimitExceeded { name: "chunk_bytes_max", max, actual }.into());
    }
    Ok((bytes > 0).then_some(bytes))
}

//! A gateway's messages as they come in, requests of pieces of packages, and what is told of calls
//! that a client has.

use std::sync::Arc;

use futures::FutureExt;
use veritwin_domain::{Key, LimitExceeded, Value};

use super::broker::Broker;
use super::claiming;
use super::device::Device;
use super::downlink::Answer;
use super::frame::PublishView;
use super::gateway::{Act, GatewayMessage, Speaker, Spoken, submit_error};
use super::message::Refused;
use super::pending::Pending;
use super::short;
use super::topic::{self, GatewayTopic, TopicError};
use crate::CHUNK_BYTES_MAX;
use crate::model::{
    Attributes, AttributesRequest, ChildName, Chunk, ChunkRequest, DeviceSession, Origin,
    PackageKind, RefusalReason, RpcReply,
};
use crate::payload::{
    ChildMessage, MessageContext, asked, child_error_json, child_scopes_json, child_values_json,
    parse_child_message, parse_children_attributes, parse_children_telemetry,
};
use crate::traits::{LoginError, SubmitError};

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

    /// Tells the sink for whom calls are listened to from now on, and were not before: what is on
    /// its way is sent again.
    pub(super) fn listens(&self, (own, of_others): (bool, bool)) {
        let sink = &self.broker.sink;
        if !own && self.link.wants_rpc() {
            sink.listens(&self.session);
        }
        let wants_child_rpc = !of_others && self.state.lock().wants_child_rpc();
        if let Some(children) = self.children.as_ref().filter(|_| wants_child_rpc) {
            for child in children.sessions() {
                sink.listens(&child);
            }
        }
    }

    /// The client has a message of the platform: if it is a call, its device has it.
    pub(super) fn delivered(&self, name: &str, payload: &[u8]) {
        let long = short::long_of(name);
        let name = long.as_deref().unwrap_or(name);
        if let Some(id) = name.strip_prefix(topic::RPC_REQUEST) {
            if let Ok(id) = id.parse() {
                self.broker.sink.call_delivered(&self.session, id);
            }
        } else if name == topic::GATEWAY_RPC
            && let Some(children) = &self.children
            && let Ok(call) = serde_json::from_slice::<ChildCall<'_>>(payload)
            && let Some(child) = children.session(&call.device)
        {
            self.broker.sink.call_delivered(&child, call.data.id);
        }
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
            GatewayTopic::Claim => claiming::read_children(view.payload)?,
            GatewayTopic::Connect | GatewayTopic::Disconnect | GatewayTopic::Rpc => {
                vec![about_one(topic, parse_child_message(view.payload, self.limits())?)?]
            }
        };
        if spoken.is_empty() {
            return Ok(());
        }
        // The acknowledgement that comes next is this message's.
        let next = self.pending.acks.len();
        let ack = self.can_tell(view).then_some(next);
        let is_by_itself = matches!(topic, GatewayTopic::Rpc | GatewayTopic::Claim);
        let reply = (view.qos > 0 && is_by_itself).then_some(next);
        self.pending.named += spoken.len() as u64;
        let (is_once, payload_bytes) = (view.qos == 2, view.payload.len() as u64);
        let message = GatewayMessage { spoken, ack, is_once, reply, payload_bytes };
        self.pending.spoken.push(message);
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
                let answer = child_attributes(&broker, &session, &message, id).await;
                let payload = answer.unwrap_or_else(|error| {
                    child_error_json(&message.name, id, &error.to_string())
                });
                Answer::new(topic::GATEWAY_ATTRIBUTES_RESPONSE.to_owned(), payload)
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
        let request = ChunkRequest { kind, expected: None, chunk_bytes, chunk, begun: None };
        let (sink, session) = (Arc::clone(&self.broker.sink), Arc::clone(&self.session));
        self.answers.push(
            async move {
                match sink.chunk(&session, request).await {
                    Ok(Chunk { bytes, .. }) => {
                        let counted = u32::try_from(bytes.len() / 1024).unwrap_or(u32::MAX);
                        let hold = sink.pace(Origin::Device(&session), 0, counted);
                        let (topic, short) = topic::chunk_response(kind, id, chunk);
                        let subscribed = Some(short);
                        Answer { topic, subscribed, payload: bytes, hold, qos_max: 0 }
                    }
                    Err(error) => {
                        let topic = topic::chunk_error(kind).to_owned();
                        Answer::new(topic, error.to_string())
                    }
                }
            }
            .boxed(),
        );
        Ok(())
    }
}

/// What of a call to a device behind a gateway says which call it is.
#[derive(serde::Deserialize)]
struct ChildCall<'a> {
    #[serde(borrow)]
    device: std::borrow::Cow<'a, str>,
    data: CallNumber,
}

#[derive(serde::Deserialize)]
struct CallNumber {
    id: u32,
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
    id: i64,
) -> Result<String, SubmitError> {
    let name = ChildName { name: message.name.clone(), kind: None };
    let mut found = broker.login.children(session, &[name]).await.map_err(submit_error)?;
    let child = found.pop().unwrap_or(Err(LoginError::Unknown)).map_err(submit_error)?;
    let request = match &message.scopes {
        Some((client, shared)) => {
            AttributesRequest { client: asked(client.clone()), shared: asked(shared.clone()) }
        }
        None if message.client => {
            AttributesRequest { client: asked(message.keys.clone()), shared: None }
        }
        None => AttributesRequest { client: None, shared: asked(message.keys.clone()) },
    };
    let attributes = broker.sink.attributes(&child, request.clone()).await?;
    if message.scopes.is_some() {
        return Ok(child_scopes_json(&message.name, id, &request, &attributes));
    }
    let Attributes { client, shared } = attributes;
    let entries: Vec<(Key, Value)> = client.into_iter().chain(shared).collect();
    // The value of one that was asked for stands by itself.
    Ok(child_values_json(&message.name, id, message.keys.len() == 1, &entries))
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

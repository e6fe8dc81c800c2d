//! What a gateway says for the devices behind it. Whose a name is, the login says; what is said
//! becomes entries of the gateway's submission and is acknowledged with it. A device that is named
//! is connected through the gateway until it is disconnected, or the gateway is.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_domain::{
    ClaimRequest, DeviceBatch, DeviceId, Key, Reading, Timestamp, Value, count_attributes,
    count_readings,
};

use super::broker::Broker;
use super::claiming::ChildClaims;
use super::message::reason_code;
use super::pending::{self, Ack, Reply, Submitted, Told};
use crate::attached::Attached;
use crate::link::DeviceLink;
use crate::model::{
    AttributesUpdate, ChildName, DeviceSession, EntryRefused, Origin, Refusal, RefusalReason,
    RpcReply, SinkEntry,
};
use crate::payload::CHILD_NAMES_MAX;
use crate::traits::{LoginError, Sink, SubmitError};

/// Most devices that are connected through one gateway's connection.
const CHILDREN_CONNECTED_MAX: usize = 10_000;

/// What is said for one device.
#[derive(Debug)]
pub(super) enum Act {
    Connect,
    Disconnect,
    Readings(Vec<Reading>),
    Attributes(Vec<(Key, Value)>),
    Reply(RpcReply),
    /// It lets itself be claimed.
    Claim(ClaimRequest),
}

#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) act: Act,
}

/// One message of a gateway.
#[derive(Debug)]
pub(crate) struct GatewayMessage {
    pub(super) spoken: Vec<Spoken>,
    /// Its acknowledgement, if that can carry a refusal.
    pub(super) ack: Option<usize>,
    /// Of QoS 2: refused in part it would be sent again as a whole if that got lost, so it is
    /// refused as a whole or not at all, and a durable record says the rest.
    pub(super) is_once: bool,
    /// The acknowledgement of an answer to a call, or of claims.
    pub(super) reply: Option<usize>,
    pub(super) payload_bytes: u64,
}

impl GatewayMessage {
    fn is_of_claims(&self) -> bool {
        matches!(self.spoken.first(), Some(Spoken { act: Act::Claim(_), .. }))
    }
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
    replies: Vec<(Arc<DeviceSession>, Reply)>,
    claims: Vec<ChildClaims>,
    after: Vec<After>,
}

fn refuse(acks: &mut [Ack], at: usize, reason: RefusalReason, text: String) {
    if let Some(ack) = acks.get_mut(at) {
        ack.answer.reason = reason_code(reason);
        ack.answer.text = Some(text);
    }
}

pub(super) type Found = HashMap<String, Result<Arc<DeviceSession>, LoginError>>;

/// Devices that are connected through a gateway's connection, by name. `None`: in a moment.
#[derive(Default)]
pub(crate) struct Children(Mutex<HashMap<String, (DeviceId, Option<Attached>)>>);

impl Children {
    /// Connects a device; false when it is, or when there is no room.
    async fn attach(
        &self,
        sink: &Arc<dyn Sink>,
        gateway: &DeviceLink,
        name: &str,
        child: Arc<DeviceSession>,
    ) -> bool {
        let device = child.device;
        {
            let mut children = self.0.lock();
            let is_known = children.get(name).is_some_and(|(known, attached)| {
                *known == device && !attached.as_ref().is_some_and(Attached::is_over)
            });
            if is_known || children.len() >= CHILDREN_CONNECTED_MAX {
                return false;
            }
            children.insert(name.to_owned(), (device, None));
        }
        let link = gateway.for_child(name);
        let wants_rpc = link.wants_rpc();
        let attached = Attached::new(Arc::clone(sink), Arc::clone(&child), link).await;
        if wants_rpc {
            sink.listens(&child);
        }
        // It may have been disconnected meanwhile: then it is detached again.
        if let Some((_, place)) = self.0.lock().get_mut(name) {
            *place = Some(attached);
        }
        true
    }

    /// The sessions of all of them.
    pub(super) fn sessions(&self) -> Vec<Arc<DeviceSession>> {
        let children = self.0.lock();
        let attached = children.values().filter_map(|(_, attached)| attached.as_ref());
        attached.map(|attached| Arc::clone(attached.session())).collect()
    }

    /// The session of one of them.
    pub(super) fn session(&self, name: &str) -> Option<Arc<DeviceSession>> {
        let children = self.0.lock();
        let (_, attached) = children.get(name)?;
        attached.as_ref().map(|attached| Arc::clone(attached.session()))
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
    pub(super) broker: Arc<Broker>,
    pub(super) session: Arc<DeviceSession>,
    pub(super) link: DeviceLink,
    pub(super) children: Arc<Children>,
}

impl Speaker {
    /// Submits what the gateway says for itself, and then for others.
    pub(super) async fn submit(
        self,
        (mut entries, replies): (Vec<SinkEntry>, Vec<Reply>),
        spoken: Vec<GatewayMessage>,
        told: &mut Told,
        hold: &mut Duration,
    ) -> Submitted {
        let mut said = self.speak(spoken, told.received_at, &mut entries).await?;
        *hold = said.hold;
        let sink = &*self.broker.sink;
        let submitted = pending::store(sink, &self.session, entries).await;
        if pending::is_decided(&submitted) {
            told.reply_all(sink, &self.session, replies).await;
            for (child, reply) in std::mem::take(&mut said.replies) {
                told.reply(sink, &child, reply).await;
            }
            for claims in std::mem::take(&mut said.claims) {
                told.claim_children(sink, &self.session, claims).await;
            }
        }
        let submitted = submitted?;
        // Only now the others are taken.
        for (at, detail) in &said.told {
            refuse(&mut told.acks, *at, RefusalReason::NotAllowed, detail.clone());
        }
        self.finish(said, &submitted.0, &mut told.acks).await;
        Ok(submitted)
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
            if message.is_of_claims() {
                said.claims.push(ChildClaims::of(message, &found));
            } else {
                self.take(message, &found, (received_at, &mut *entries), &mut said);
            }
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
        let GatewayMessage { spoken, ack, is_once, reply, payload_bytes } = message;
        let (first, all) = (entries.len(), spoken.len());
        let (mut refused, mut why) = (0usize, None);
        let refusal_recorded = is_once || ack.is_none();
        let context = ActContext { received_at, payload_bytes, refusal_recorded, reply };
        for Spoken { name, act, .. } in spoken {
            match found.get(&name) {
                // Nothing has to be looked up to disconnect it.
                _ if matches!(act, Act::Disconnect) => said.after.push(After::Detach(name)),
                Some(Ok(child)) => {
                    let counted = act_of(child, act, context, (&mut *entries, &mut *said));
                    // Its name has counted as a message of the gateway's.
                    let hold = self.broker.sink.pace(Origin::Device(child), 0, counted);
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
            if refusal_recorded {
                entries.push(self.refusal(detail.clone(), received_at, payload_bytes));
            }
            let is_whole = refused == all;
            said.told.extend(ack.filter(|_| !is_once || is_whole).map(|ack| (ack, detail)));
        }
        let ack = ack.filter(|_| !is_once);
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

    /// The submission came back: what was refused of it is told, and devices come and go.
    async fn finish(&self, said: Said, refused: &[EntryRefused], acks: &mut [Ack]) {
        let Said { parts, after, .. } = said;
        for (at, entries) in parts {
            if let Some(one) = refused.iter().find(|one| entries.contains(&one.index)) {
                refuse(acks, at, RefusalReason::Limit, one.limit.to_string());
            }
        }
        let sink = &self.broker.sink;
        let mut attached = Vec::new();
        for one in after {
            match one {
                After::Attach(name, child) => {
                    let device = child.device;
                    if self.children.attach(sink, &self.link, &name, child).await {
                        attached.push((name, device));
                    }
                }
                After::Detach(name) => self.children.detach(&name).await,
            }
        }
        self.look_again(attached).await;
    }

    /// Whoever took a device from the gateway while its message was under way did not find it
    /// connected: it is disconnected now.
    async fn look_again(&self, attached: Vec<(String, DeviceId)>) {
        for some in attached.chunks(CHILD_NAMES_MAX) {
            let names: Vec<_> = some.iter().map(|(name, _)| name.clone()).collect();
            // Looked up only: one that was deleted meanwhile is not made anew.
            let found = self.broker.login.children_there(&self.session, &names).await;
            let mut found = found.unwrap_or_default().into_iter();
            for (name, device) in some {
                if found.next().flatten() != Some(*device) {
                    self.children.detach(name).await;
                }
            }
        }
    }
}

/// What an entry takes from its message.
#[derive(Clone, Copy)]
struct ActContext {
    received_at: Timestamp,
    payload_bytes: u64,
    refusal_recorded: bool,
    /// The acknowledgement of an answer to a call.
    reply: Option<usize>,
}

/// Does what is said for one device; what it counts for in rates.
fn act_of(
    child: &Arc<DeviceSession>,
    act: Act,
    context: ActContext,
    (entries, said): (&mut Vec<SinkEntry>, &mut Said),
) -> u32 {
    let (tenant, device, credential) = (child.tenant, child.device, child.credential);
    let ActContext { received_at, payload_bytes, refusal_recorded, reply: ack } = context;
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
            said.replies.push((Arc::clone(child), (reply, ack)));
            0
        }
        // Claims are of messages of their own.
        Act::Readings(_) | Act::Attributes(_) | Act::Claim(_) | Act::Connect | Act::Disconnect => 0,
    }
}

pub(super) fn submit_error(error: LoginError) -> SubmitError {
    match error {
        LoginError::Busy { detail, limit, retry_after } => {
            SubmitError::Busy { detail, limit, retry_after }
        }
        LoginError::Unavailable(detail) => SubmitError::Unavailable(detail),
        LoginError::Denied(detail) => SubmitError::Denied(detail),
        LoginError::Unknown => SubmitError::Denied(LoginError::Unknown.to_string()),
    }
}

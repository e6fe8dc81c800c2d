//! The local side: which devices come in, and what becomes durable in the edge's own log. What is
//! acknowledged here is never lost here; what there is no room for is refused.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_domain::{
    Clock, CredentialId, DeviceBatch, DeviceId, IngestLimits, LimitExceeded, Reading, Secret,
    TenantId, Value,
};
use veritwin_ingest::{
    Arrivals, Attributes, AttributesRequest, Chunk, ChunkRequest, ClientRpc, CloseReason,
    Credential, DeviceLink, DeviceSession, Downlink, EntryRefused, Login, LoginError, Origin,
    PeerInfo, Refusal, RpcReply, RpcRequest, Sink, SinkEntry, SubmitError, Transport, Writer,
    WriterSession,
};
use veritwin_log::{AttributeScope, Entry, FileLog, LogError, Record};

use super::devices::Devices;
use super::down::{Up, Way};
use super::packages::Packages;
use super::public::Public;

/// Calls that are remembered until they are answered; of more the oldest are forgotten.
const CALLS_MAX: usize = 1_000;
/// When a device tries again that found no room.
const FULL_AGAIN: Duration = Duration::from_secs(30);
/// About what an entry takes in the log beside its readings, in bytes.
const ENTRY_BYTES: u64 = 128;
/// About what a reading takes at most beside its value, in bytes.
const READING_BYTES: u64 = 32;
/// About how much of a message becomes one line of a batch, in bytes: written out, texts may take
/// six times as much, and one request has to hold the line.
const LINE_BYTES_MAX: usize = 512 * 1024;
/// About what a reading takes in a line beside its key and text, in bytes.
const LINE_READING_BYTES: usize = 64;
/// Longest reason of a refusal that is shown, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// Lets local devices in and keeps what they send.
pub(super) struct Front {
    pub(super) tenant: TenantId,
    pub(super) devices: Arc<Devices>,
    pub(super) log: FileLog,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) disk_bytes_max: u64,
    arrivals: Arrivals,
    attached: Mutex<Vec<(DeviceId, CredentialId, DeviceLink)>>,
    /// How many messages were refused without a word to their device, and why the last one.
    refused: Mutex<(u64, Option<String>)>,
    /// To the platform, if there is one.
    way: Option<Way>,
    /// The public zone that this is the gateway of: nothing that a device says is kept then.
    pub(super) public: Option<Public>,
    /// To the platform's packages; none at the gateway of a public zone.
    packages: Option<Packages>,
    /// Calls that devices have and have not answered, the oldest first.
    calls: Mutex<VecDeque<(DeviceId, u32)>>,
}

impl Front {
    pub(super) fn new(
        tenant: TenantId,
        (devices, log): (Arc<Devices>, FileLog),
        clock: Arc<dyn Clock>,
        disk_bytes_max: u64,
        (way, public, packages): (Option<Way>, Option<Public>, Option<Packages>),
    ) -> Self {
        let (arrivals, attached, refused, calls) = Default::default();
        Self {
            tenant,
            devices,
            log,
            clock,
            disk_bytes_max,
            arrivals,
            attached,
            refused,
            way,
            public,
            packages,
            calls,
        }
    }

    /// Whether the platform's calls and attributes come down now.
    pub(super) fn hears_platform(&self) -> bool {
        self.way.as_ref().is_some_and(Way::is_up)
    }

    /// The names of devices that listen to calls or attributes.
    pub(super) fn listening(&self) -> BTreeSet<String> {
        let listens =
            |link: &DeviceLink| !link.is_closed() && (link.wants_rpc() || link.wants_attributes());
        let ids = {
            let attached = self.attached.lock();
            let listening = attached.iter().filter(|(.., link)| listens(link));
            listening.map(|(device, ..)| *device).collect()
        };
        self.devices.names(&ids)
    }

    /// The connections of a device, with its id.
    fn links(&self, name: &str) -> Vec<(DeviceId, DeviceLink)> {
        let Some(id) = self.devices.id_of(name) else { return Vec::new() };
        let attached = self.attached.lock();
        let links = attached.iter().filter(|(device, ..)| *device == id);
        links.map(|(device, _, link)| (*device, link.clone())).collect()
    }

    /// Hands a call to one of a device's connections; or says why it gets nowhere.
    pub(super) fn call(&self, name: &str, request: &RpcRequest) -> Result<(), String> {
        let mut why = "the device is not connected at its site".to_owned();
        for (device, link) in self.links(name) {
            let known = (device, request.id);
            // Its answer may come before this goes on.
            self.remember_call(known);
            match link.send(Downlink::Rpc(request.clone())) {
                Ok(()) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
            self.forget_call(known);
        }
        Err(why)
    }

    fn remember_call(&self, known: (DeviceId, u32)) {
        let mut calls = self.calls.lock();
        if calls.len() >= CALLS_MAX {
            calls.pop_front();
        }
        calls.push_back(known);
    }

    /// Takes a call from those that are open; whether it was one.
    fn forget_call(&self, known: (DeviceId, u32)) -> bool {
        let mut calls = self.calls.lock();
        let at = calls.iter().position(|one| *one == known);
        at.is_some_and(|at| calls.remove(at).is_some())
    }

    /// Tells a device of its attributes, if it listens.
    pub(super) fn tell(&self, name: &str, downlink: &Downlink) {
        for (device, link) in self.links(name) {
            if let Err(error) = link.send(downlink.clone()) {
                tracing::debug!(%device, %error, "attributes were not told");
            }
        }
    }

    /// Asks the platform on behalf of a device; who is removed, or has no way, asks nothing.
    async fn ask<T>(
        &self,
        session: &DeviceSession,
        none: &str,
        up: impl FnOnce(String, oneshot::Sender<Result<T, String>>) -> Up,
    ) -> Result<T, SubmitError> {
        let name = self.devices.name(session.device);
        let (Some(way), Some(name)) = (&self.way, name) else {
            return Err(SubmitError::NotFound(none.to_owned()));
        };
        way.ask(|done| up(name, done)).await
    }

    /// How many messages were refused since the start without a word to their device, and why the
    /// last one.
    pub(super) fn refused(&self) -> (u64, Option<String>) {
        self.refused.lock().clone()
    }

    /// A refusal is counted and not kept: no batch would ever hold it, and so nothing would make
    /// its room free again.
    fn note_refusal(&self, refusal: &Refusal) {
        let mut reason = match &self.public {
            // What it says may be of what was sent.
            Some(_) => refusal.reason.as_str().to_owned(),
            None => format!("{}: {}", refusal.reason.as_str(), refusal.detail),
        };
        // A terminal would act on it.
        reason.retain(|one| !one.is_control());
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        let mut refused = self.refused.lock();
        *refused = (refused.0.saturating_add(1), Some(reason));
    }

    /// Ends the connections of devices that are let in no more, or with another token only.
    pub(super) fn close_removed(&self) {
        for (device, credential, link) in self.attached.lock().iter() {
            if !self.devices.is_let_in(*device, *credential) {
                link.close(CloseReason::Revoked);
            }
        }
    }

    /// Ends the waits of devices that ask over HTTP: the edge stops.
    pub(super) fn close_polls(&self) {
        for (.., link) in self.attached.lock().iter() {
            if link.transport() == Transport::Http {
                link.close(CloseReason::ShuttingDown);
            }
        }
    }

    /// How many devices are connected.
    pub(super) fn connected(&self) -> usize {
        self.attached.lock().len()
    }

    /// Whether so many bytes more fit; the bound otherwise.
    fn room_for(&self, bytes: u64) -> Result<(), SubmitError> {
        let queued = self.log.queued_bytes() as u64;
        let actual = self.log.size_bytes().saturating_add(queued).saturating_add(bytes);
        if actual <= self.disk_bytes_max {
            return Ok(());
        }
        Err(SubmitError::Busy {
            detail: "the edge keeps as much as it may".to_owned(),
            limit: Some("edge_disk_bytes_max"),
            retry_after: FULL_AGAIN,
        })
    }
}

fn log_error(error: &LogError) -> SubmitError {
    match error {
        // It would be again.
        LogError::TooLarge { actual_bytes, max_bytes } => SubmitError::Limit(LimitExceeded {
            name: "append_bytes_max",
            max: *max_bytes,
            actual: *actual_bytes,
        }),
        other => SubmitError::Unavailable(other.to_string()),
    }
}

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        _ => 0,
    }
}

/// The readings of a message in pieces that each fit into a line: a bulk write may name a long key
/// once for many readings, and a line names it with each.
fn in_lines(batch: DeviceBatch) -> Vec<DeviceBatch> {
    let in_line = |one: &Reading| one.key.len() + text_bytes(&one.value) + LINE_READING_BYTES;
    if batch.readings.iter().map(in_line).sum::<usize>() <= LINE_BYTES_MAX {
        return vec![batch];
    }
    let DeviceBatch { tenant, device, credential, received_at, readings } = batch;
    let (mut pieces, mut bytes): (Vec<DeviceBatch>, usize) = (Vec::new(), 0);
    for reading in readings {
        let more = in_line(&reading);
        bytes += more;
        match pieces.last_mut() {
            Some(DeviceBatch { readings, .. }) if bytes <= LINE_BYTES_MAX => readings.push(reading),
            _ => {
                bytes = more;
                let readings = vec![reading];
                pieces.push(DeviceBatch { tenant, device, credential, received_at, readings });
            }
        }
    }
    pieces
}

/// About what an entry takes in the log, in bytes.
fn bytes_of(entry: &Entry) -> u64 {
    let values: Vec<&Value> = match &entry.record {
        Record::Readings(batch) => batch.readings.iter().map(|one| &one.value).collect(),
        Record::Attributes(all) => {
            all.entries.iter().filter_map(|(_, value)| value.as_ref()).collect()
        }
        _ => Vec::new(),
    };
    let texts = values.iter().map(|value| text_bytes(value) as u64);
    ENTRY_BYTES + values.len() as u64 * READING_BYTES + texts.sum::<u64>()
}

/// What goes into the log; nothing of what an edge does not keep.
fn entries_of(tenant: TenantId, entry: SinkEntry) -> Vec<Entry> {
    let record = match entry {
        SinkEntry::Readings(batch) if batch.readings.is_empty() => return Vec::new(),
        SinkEntry::Readings(batch) => {
            let records = in_lines(batch).into_iter().map(Record::Readings);
            return records.map(|record| Entry { tenant, record }).collect();
        }
        SinkEntry::Attributes(update) => Record::Attributes(veritwin_log::Attributes {
            device: update.device,
            scope: AttributeScope::Client,
            received_at: update.received_at,
            entries: update.entries.into_iter().map(|(key, value)| (key, Some(value))).collect(),
        }),
        SinkEntry::Refusal(_) | SinkEntry::Relay { .. } | SinkEntry::Note(_) => return Vec::new(),
    };
    vec![Entry { tenant, record }]
}

#[async_trait]
impl Login for Front {
    async fn authenticate(
        &self,
        credential: Credential,
        peer: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        let Credential::Token(token) = credential else { return Err(LoginError::Unknown) };
        let found = self.devices.by_token(token.expose()).ok_or(LoginError::Unknown)?;
        let mut session = DeviceSession::new(self.tenant, found.id, found.credential());
        session.name = Some(Secret::new(found.name));
        session.address = peer.address.map(|address| address.ip().to_canonical());
        Ok(Arc::new(session))
    }

    /// A device of its own readings only: no program has a key here.
    async fn authenticate_writer(
        &self,
        token: Secret<String>,
        peer: &PeerInfo,
    ) -> Result<Writer, LoginError> {
        self.authenticate(Credential::Token(token), peer).await.map(Writer::Device)
    }

    async fn devices_by_name(
        &self,
        _writer: &WriterSession,
        _names: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError> {
        Err(LoginError::Denied("an edge takes no bulk writes for others".to_owned()))
    }
}

#[async_trait]
impl Sink for Front {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        _origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        let (mut kept, mut refused) = (Vec::with_capacity(entries.len()), Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            // Nobody would know of a message to others after a restart: it is not taken at all.
            if matches!(entry, SinkEntry::Relay { .. }) {
                let limit = LimitExceeded { name: "edge_relayed_messages_max", max: 0, actual: 1 };
                refused.push(EntryRefused { index, limit });
            }
            if let SinkEntry::Refusal(refusal) = &entry {
                self.note_refusal(refusal);
            }
            if let Some(public) = &self.public {
                public.take(&entry, self.clock.now());
                continue;
            }
            kept.extend(entries_of(self.tenant, entry));
        }
        if !kept.is_empty() {
            self.room_for(kept.iter().map(bytes_of).sum())?;
            self.log.append(kept).await.map_err(|error| log_error(&error))?;
        }
        Ok(refused)
    }

    async fn attributes(
        &self,
        session: &DeviceSession,
        request: AttributesRequest,
    ) -> Result<Attributes, SubmitError> {
        let none = "this edge does not ask the platform for attributes";
        self.ask(session, none, |name, done| Up::Ask { name, request, done }).await
    }

    async fn chunk(
        &self,
        session: &DeviceSession,
        request: ChunkRequest,
    ) -> Result<Chunk, SubmitError> {
        match (&self.packages, self.devices.name(session.device)) {
            (Some(packages), Some(name)) => packages.piece((session.device, &name), &request).await,
            _ => Err(SubmitError::NotFound("no package is for this device here".to_owned())),
        }
    }

    async fn rpc_reply(&self, session: &DeviceSession, reply: RpcReply) -> Result<(), SubmitError> {
        const NONE: &str = "no open call has this number";
        let known = (session.device, reply.id);
        if !self.forget_call(known) {
            return Err(SubmitError::NotFound(NONE.to_owned()));
        }
        let said = self.ask(session, NONE, |name, done| Up::Reply { name, reply, done }).await;
        if matches!(said, Err(SubmitError::Unavailable(_))) {
            // It may be answered again.
            self.calls.lock().push_front(known);
        }
        said
    }

    async fn rpc_call(
        &self,
        _session: &DeviceSession,
        call: ClientRpc,
    ) -> Result<String, SubmitError> {
        match call.method.as_str() {
            "getCurrentTime" => Ok(self.clock.now().as_millis().to_string()),
            // ThingsBoard's own client libraries ask this when they connect.
            "getSessionLimits" => {
                let limits = IngestLimits::default();
                Ok(serde_json::json!({
                    "maxPayloadSize": limits.packet_bytes_max,
                    "maxInflightMessages": limits.receive_maximum,
                    "rateLimits": {},
                })
                .to_string())
            }
            _ => Err(SubmitError::NotFound(
                "an edge answers getCurrentTime and getSessionLimits".to_owned(),
            )),
        }
    }

    async fn attach(&self, session: &Arc<DeviceSession>, link: DeviceLink) {
        let mut attached = self.attached.lock();
        // It may have been removed since it was let in.
        if !self.devices.is_let_in(session.device, session.credential) {
            link.close(CloseReason::Revoked);
        }
        attached.push((session.device, session.credential, link));
    }

    async fn detach(&self, _session: &Arc<DeviceSession>, link: &DeviceLink) {
        self.attached.lock().retain(|(.., one)| one.id() != link.id());
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{Key, Quality, Timestamp};
    use veritwin_ingest::RefusalReason;

    use super::*;

    #[test]
    fn only_what_a_batch_can_hold_takes_room() {
        let (tenant, device) = (TenantId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
        let credential = CredentialId::from_bytes([3; 16]);
        let received_at = Timestamp::from_micros(4);
        let refusal = Refusal {
            tenant,
            device,
            credential,
            received_at,
            reason: RefusalReason::Payload,
            detail: "no object".to_owned(),
            position: None,
            limit: None,
            payload_bytes: 1,
        };
        let reading = Reading {
            key: Key::new("t").expect("a key"),
            at: received_at,
            value: Value::Integer(1),
            quality: Quality::Good,
        };
        let of = |readings: Vec<Reading>| {
            SinkEntry::Readings(DeviceBatch { tenant, device, credential, received_at, readings })
        };
        assert!(entries_of(tenant, SinkEntry::Refusal(refusal)).is_empty());
        assert!(entries_of(tenant, of(Vec::new())).is_empty());
        assert_eq!(entries_of(tenant, of(vec![reading.clone()])).len(), 1);
        // A long key that was named once is in every line, and so there are several.
        let key = Key::new(&"k".repeat(250)).expect("a key");
        let many = (0..10_000).map(|number| Reading {
            key: key.clone(),
            value: Value::Integer(number),
            ..reading.clone()
        });
        let entries = entries_of(tenant, of(many.collect()));
        let kept = entries.iter().map(|entry| match &entry.record {
            Record::Readings(batch) => &batch.readings,
            other => panic!("{other:?}"),
        });
        let kept: Vec<_> = kept.collect();
        assert!(kept.len() > 1 && kept.iter().all(|one| one.len() * 314 <= LINE_BYTES_MAX));
        let values = kept.into_iter().flatten().map(|one| one.value.clone());
        assert!(values.eq((0..10_000).map(Value::Integer)), "each once and in order");
    }
}

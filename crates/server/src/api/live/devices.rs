//! The platform's side of connected devices: the ingest crate's `Sink`, answered by use cases. It
//! keeps who is connected and which calls wait for an answer, both bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_app::model::AttributesView;
use veritwin_app::{App, DeviceCommand, DeviceLogin, Error, Load, RefusedPart, RetainedPage};
use veritwin_domain::{
    AddressList, CredentialId, DeviceId, IngestLimits, Key, LimitExceeded, Reading, RelayMessage,
    Screening, TenantId, Value, count_readings,
};
use veritwin_ingest::mqtt::{
    Broker, RETAINED_PAGE_BYTES_MAX, RETAINED_PAGE_MESSAGES_MAX, topic_matches,
};
use veritwin_ingest::{
    Arrivals, Attributes, AttributesRequest, ClientRpc, CloseReason, DeviceLink, DeviceSession,
    Downlink, EntryRefused, LinkError, Objection, Origin, Placed, RpcReply, RpcRequest, Sink,
    SinkEntry, SubmitError, ws,
};

use super::caps::{Caps, Places};
use super::ends::Attached;
use super::entries::{submission_of, submit_error};
use super::seats::{Seat, Seats};

/// Most calls that wait for devices at once.
const CALLS_MAX: usize = 10_000;
/// Most WebSockets of one device at once.
const DEVICE_SOCKETS_MAX: usize = 16;
/// The shortest time without a word after which a device's WebSocket is closed.
const IDLE_SECONDS_MIN: u32 = 3;

/// A device and the tenant it belongs to: nothing is kept under an id alone.
pub(super) type Owned = (TenantId, DeviceId);

type Calls = Mutex<HashMap<(Owned, u32), oneshot::Sender<String>>>;

/// A call that waits for its device; forgotten when dropped.
struct OpenCall<'a> {
    calls: &'a Calls,
    id: (Owned, u32),
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.id);
    }
}

/// Connected devices and open calls.
pub(crate) struct LiveState {
    app: App,
    places: Places,
    limits: IngestLimits,
    idle_seconds_max: u32,
    sockets: Arc<Seats<Owned>>,
    pub(super) attached: Mutex<HashMap<Owned, Vec<Attached>>>,
    arrivals: Arrivals,
    calls: Calls,
    next_call: AtomicU32,
    /// Holds sessions of devices that are not connected.
    broker: OnceLock<Weak<Broker>>,
}

impl LiveState {
    /// Devices are held to `limits`; a WebSocket of theirs without a word for `idle_seconds_max`
    /// is closed.
    pub(crate) fn new(app: App, limits: IngestLimits, idle_seconds_max: u32, caps: Caps) -> Self {
        Self {
            app,
            places: Places::new(caps),
            limits,
            idle_seconds_max: idle_seconds_max.max(IDLE_SECONDS_MIN),
            sockets: Seats::new("device_sockets_max", DEVICE_SOCKETS_MAX),
            attached: Mutex::new(HashMap::new()),
            arrivals: Arrivals::default(),
            calls: Mutex::new(HashMap::new()),
            next_call: AtomicU32::new(1),
            broker: OnceLock::new(),
        }
    }

    /// The broker whose sessions are these devices'.
    pub(crate) fn set_broker(&self, broker: &Arc<Broker>) {
        let _known = self.broker.set(Arc::downgrade(broker));
    }

    /// The use cases.
    pub(super) const fn app(&self) -> &App {
        &self.app
    }

    /// Places of tenants and their people.
    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    /// The bounds of what devices send.
    pub(super) const fn limits(&self) -> &IngestLimits {
        &self.limits
    }

    /// How long a device's WebSocket may be without a word.
    pub(super) const fn idle_seconds_max(&self) -> u32 {
        self.idle_seconds_max
    }

    /// Counts a WebSocket of a device.
    pub(super) fn open_socket(&self, device: &DeviceLogin) -> Result<Seat<Owned>, LimitExceeded> {
        self.sockets.take((device.tenant, device.device))
    }

    /// Readings of a device over WebSocket; `Ok` means durable.
    pub(super) async fn publish(
        &self,
        device: &DeviceLogin,
        readings: Vec<Reading>,
    ) -> Result<(), String> {
        let session = DeviceSession::new(device.tenant, device.device, device.credential);
        self.admit(Origin::Device(&session), 1).map_err(|error| error.to_string())?;
        self.inspect(Origin::Device(&session), &readings).map_err(|error| error.to_string())?;
        self.admit_readings(Origin::Device(&session), count_readings(&readings))
            .map_err(|error| error.to_string())?;
        let received_at = self.app.clock().now();
        let Some(entry) = ws::entry(&self.arrivals, &session, received_at, readings) else {
            return Ok(());
        };
        let submitted = self.submit(Origin::Device(&session), vec![entry]).await;
        // Readings are taken or not; only attributes are refused by themselves.
        submitted.map(drop).map_err(|error| error.to_string())
    }

    /// Sends a command to a connected device and waits for its answer (JSON text).
    pub(crate) async fn call_device(
        &self,
        command: &DeviceCommand,
        (method, params): (String, String),
        timeout: Duration,
    ) -> Result<String, Error> {
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let owned = (command.tenant, command.device);
        let (answer, waiting) = oneshot::channel();
        {
            let mut calls = self.calls.lock();
            if calls.len() >= CALLS_MAX {
                return Err(Error::Unavailable(format!(
                    "limit calls_max exceeded: {CALLS_MAX} calls wait for devices already"
                )));
            }
            calls.insert((owned, id), answer);
        }
        // Whoever asked may hang up: the call is forgotten however this ends.
        let _open = OpenCall { calls: &self.calls, id: (owned, id) };
        let request = RpcRequest { id, method, params };
        let sent = self
            .send(command.tenant, command.device, |link| link.send(Downlink::Rpc(request.clone())));
        drop(request);
        let outcome = match sent {
            Ok(()) => tokio::time::timeout(timeout, waiting)
                .await
                .map_err(|_| Error::Unavailable("the device did not answer in time".to_owned())),
            Err(detail) => Err(Error::Unavailable(detail)),
        };
        outcome?.map_err(|_| Error::Unavailable("the device went away".to_owned()))
    }

    /// Offers something to each of a device's links until one takes it.
    fn send(
        &self,
        tenant: TenantId,
        device: DeviceId,
        send: impl Fn(&DeviceLink) -> Result<(), LinkError>,
    ) -> Result<(), String> {
        let attached = self.attached.lock();
        let links = attached.get(&(tenant, device)).map(Vec::as_slice).unwrap_or_default();
        let mut reason = "the device is not connected".to_owned();
        for one in links {
            match send(&one.link) {
                Ok(()) => return Ok(()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    /// Tells a connected device about its shared attributes.
    pub(crate) fn attributes_changed(
        &self,
        tenant: TenantId,
        device: DeviceId,
        changed: &[(Key, Option<Value>)],
    ) {
        let mut set = Vec::new();
        let mut deleted = Vec::new();
        for (key, value) in changed {
            match value {
                Some(value) => set.push((key.clone(), value.clone())),
                None => deleted.push(key.clone()),
            }
        }
        let attached = self.attached.lock();
        for one in attached.get(&(tenant, device)).into_iter().flatten() {
            // A device that has not subscribed asks for them when it wants them.
            if !set.is_empty() {
                let _ = one.link.send(Downlink::AttributesUpdated(set.clone()));
            }
            if !deleted.is_empty() {
                let _ = one.link.send(Downlink::AttributesDeleted(deleted.clone()));
            }
        }
    }

    /// Ends the live connections of a device, or of one of its credentials, and the sessions that
    /// outlive them.
    pub(crate) fn disconnect(
        &self,
        tenant: TenantId,
        device: DeviceId,
        credential: Option<CredentialId>,
    ) {
        for one in self.attached.lock().get(&(tenant, device)).into_iter().flatten() {
            if credential.is_none_or(|id| id == one.credential) {
                one.link.close(CloseReason::Revoked);
            }
        }
        if let Some(broker) = self.broker.get().and_then(Weak::upgrade) {
            broker.end_sessions_of(tenant, device, credential);
        }
    }

    /// Ends the live connections of a tenant's devices that come from elsewhere.
    pub(crate) fn disconnect_outside(&self, tenant: TenantId, networks: &AddressList) {
        let attached = self.attached.lock();
        for one in attached.iter().filter(|(owned, _)| owned.0 == tenant).flat_map(|(_, all)| all) {
            if !networks.allows(one.address) {
                one.link.close(CloseReason::Revoked);
            }
        }
    }

    /// Ends every connection: the platform stops.
    pub(crate) fn shut_down(&self) {
        for one in self.attached.lock().values().flatten() {
            one.link.close(CloseReason::ShuttingDown);
        }
    }
}

/// The device that is counted: a program writes for many.
const fn device_of(origin: Origin<'_>) -> Option<DeviceId> {
    match origin {
        Origin::Device(session) => Some(session.device),
        Origin::Writer(_) => None,
    }
}

fn attributes_of(
    scope: std::collections::BTreeMap<String, Value>,
    wanted: Option<&[Key]>,
    everything: bool,
) -> Vec<(Key, Value)> {
    let pairs = scope.into_iter().filter_map(|(key, value)| Some((Key::new(&key).ok()?, value)));
    match wanted {
        Some(keys) => pairs.filter(|(key, _)| keys.contains(key)).collect(),
        None if everything => pairs.collect(),
        None => Vec::new(),
    }
}

#[async_trait]
impl Sink for LiveState {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn screening(&self) -> Screening {
        self.app.screening()
    }

    async fn submit(
        &self,
        origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        self.submit_placed(origin, entries).await.map(|(refused, _)| refused)
    }

    async fn submit_placed(
        &self,
        origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError> {
        let tenant = origin.tenant();
        let submissions = entries.into_iter().map(submission_of).collect();
        let submitted = self.app.submit_placed(tenant, submissions).await;
        let (refused, placed) = submitted.map_err(submit_error)?;
        let refused = refused.into_iter();
        let refused =
            refused.map(|RefusedPart { index, limit }| EntryRefused { index, limit }).collect();
        Ok((refused, placed))
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    fn log_tail(&self) -> u64 {
        self.app.log_tail()
    }

    async fn sessions_kept_from(&self, position: u64) -> Result<(), SubmitError> {
        self.app.sessions_kept_from(position).await.map_err(submit_error)
    }

    fn admit(&self, origin: Origin<'_>, messages: u32) -> Result<(), SubmitError> {
        self.app.admit_messages(origin.tenant(), device_of(origin), messages).map_err(submit_error)
    }

    fn admit_readings(&self, origin: Origin<'_>, readings: u32) -> Result<(), SubmitError> {
        self.app.admit_readings(origin.tenant(), device_of(origin), readings).map_err(submit_error)
    }

    fn inspect(&self, origin: Origin<'_>, readings: &[Reading]) -> Result<(), Objection> {
        self.app.check_storage(origin.tenant(), readings).map_err(|error| match error {
            Error::StorageFull(limit) => Objection::Storage(limit),
            other => Objection::Policy(other.to_string()),
        })
    }

    fn pace(&self, origin: Origin<'_>, messages: u32, readings: u32) -> Duration {
        self.app.pace(origin.tenant(), device_of(origin), Load { messages, readings })
    }

    async fn attributes(
        &self,
        session: &DeviceSession,
        request: AttributesRequest,
    ) -> Result<Attributes, SubmitError> {
        let AttributesView { client, shared, .. } = self
            .app
            .device_attributes(session.tenant, session.device, session.credential)
            .await
            .map_err(submit_error)?;
        let everything = request.client.is_none() && request.shared.is_none();
        Ok(Attributes {
            client: attributes_of(client, request.client.as_deref(), everything),
            shared: attributes_of(shared, request.shared.as_deref(), everything),
        })
    }

    async fn retained(
        &self,
        session: &DeviceSession,
        filter: &str,
        after: Option<Arc<str>>,
    ) -> Result<Vec<Arc<RelayMessage>>, SubmitError> {
        let matches = |topic: &str| topic_matches(filter, topic);
        let page = RetainedPage {
            after,
            messages_max: RETAINED_PAGE_MESSAGES_MAX,
            bytes_max: RETAINED_PAGE_BYTES_MAX,
        };
        self.app.retained(session.tenant, &matches, page).await.map_err(submit_error)
    }

    async fn rpc_reply(&self, session: &DeviceSession, reply: RpcReply) -> Result<(), SubmitError> {
        let waiting = self.calls.lock().remove(&((session.tenant, session.device), reply.id));
        match waiting {
            // The caller may have gone; the device has done its part.
            Some(answer) => {
                let _ = answer.send(reply.body);
                Ok(())
            }
            None => Err(SubmitError::NotFound("no open call has this number".to_owned())),
        }
    }

    async fn rpc_call(
        &self,
        _session: &DeviceSession,
        call: ClientRpc,
    ) -> Result<String, SubmitError> {
        match call.method.as_str() {
            "getCurrentTime" => Ok(self.app.clock().now().as_millis().to_string()),
            // ThingsBoard's own client libraries ask this when they connect.
            "getSessionLimits" => Ok(serde_json::json!({
                "maxPayloadSize": self.limits.packet_bytes_max,
                "maxInflightMessages": self.limits.receive_maximum,
                "rateLimits": {},
            })
            .to_string()),
            _ => Err(SubmitError::NotFound(
                "the platform answers getCurrentTime and getSessionLimits".to_owned(),
            )),
        }
    }

    async fn attach(&self, session: &Arc<DeviceSession>, link: DeviceLink) {
        let (ends_at, certificate) = (session.ends_at, session.certificate.clone());
        let (credential, address) = (session.credential, session.address);
        let attached = Attached { credential, address, ends_at, certificate, link };
        let owned = (session.tenant, session.device);
        let link = attached.link.clone();
        self.attached.lock().entry(owned).or_default().push(attached);
        // Ended between its log-in and now: whoever ended it did not find it here.
        if self.app.is_login_ended(session.device, session.credential) {
            link.close(CloseReason::Revoked);
        }
        self.app.device_connected(session.tenant, session.device, session.credential, true);
    }

    async fn detach(&self, session: &Arc<DeviceSession>, link: &DeviceLink) {
        let mut attached = self.attached.lock();
        let owned = (session.tenant, session.device);
        if let Some(links) = attached.get_mut(&owned) {
            links.retain(|one| one.link.id() != link.id());
            if links.is_empty() {
                attached.remove(&owned);
            }
        }
        drop(attached);
        self.app.device_connected(session.tenant, session.device, session.credential, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_answer_names_the_limit() {
        let limit = LimitExceeded { name: "tenant_memory_bytes_max", max: 1, actual: 2 };
        let text = submit_error(Error::Crowded(limit)).to_string();
        assert!(text.contains("tenant_memory_bytes_max") && text.contains("5s"), "{text}");
    }

    #[test]
    fn what_would_be_refused_again_is_not_asked_for_again() {
        let limit = || LimitExceeded { name: "append_bytes_max", max: 1, actual: 2 };
        let check = |error: Error, is_final: bool, part: &str| {
            let error = submit_error(error);
            assert!(error.is_final() == is_final && error.to_string().contains(part), "{error:?}");
        };
        check(Error::Limit(limit()), true, "limit append_bytes_max exceeded: at most 1, got 2");
        check(Error::invalid("expected a number"), true, "expected a number");
        check(Error::invalid_at("attributes", "too long"), true, "attributes: too long");
        check(Error::Crowded(limit()), false, "append_bytes_max");
        check(Error::Unavailable("the disk is full".to_owned()), false, "not durable");
    }
}

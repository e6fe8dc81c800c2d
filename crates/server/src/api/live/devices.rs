//! The platform's side of connected devices: who is connected and which calls wait for an answer,
//! both bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_app::{App, CALL_NUMBER_MIN, DeviceCommand, DeviceLogin, Error};
use veritwin_domain::{
    AddressList, CredentialId, DeviceId, IngestLimits, Key, LimitExceeded, OpContext, Reading,
    TenantId, Value, count_readings,
};
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{
    Arrivals, CloseReason, DeviceLink, DeviceSession, Downlink, LinkError, Origin, Refusal,
    RefusalReason, RpcRequest, Sink, SubmitError, Transport, ws,
};

use super::calls::CallNotes;
use super::caps::{Caps, Places, party_of};
use super::ends::{Attached, Doubts};
use super::protocol::TrafficItem;
use super::seats::{Seat, Seats};
use super::simulated::Simulated;
use super::statements::Statements;
use super::traffic::{Event, Traffic, Watching};

/// Most calls that wait for devices at once.
const CALLS_MAX: usize = 10_000;
/// Most WebSockets of one device at once.
const DEVICE_SOCKETS_MAX: usize = 16;
/// Most exports of readings of one tenant at once.
const EXPORTS_AT_ONCE_MAX: usize = 4;
/// The shortest time without a word after which a device's WebSocket is closed.
const IDLE_SECONDS_MIN: u32 = 3;

/// A device and the tenant it belongs to: nothing is kept under an id alone.
pub(super) type Owned = (TenantId, DeviceId);

pub(super) type Calls = Mutex<HashMap<(Owned, u32), oneshot::Sender<String>>>;

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
    pub(super) app: App,
    places: Places,
    pub(super) limits: IngestLimits,
    idle_seconds_max: u32,
    sockets: Arc<Seats<Owned>>,
    exports: Arc<Seats<TenantId>>,
    statements: Statements,
    pub(super) attached: Mutex<HashMap<Owned, Vec<Attached>>>,
    pub(super) doubts: Doubts,
    pub(super) arrivals: Arrivals,
    pub(super) calls: Calls,
    next_call: AtomicU32,
    call_notes: CallNotes,
    pub(super) traffic: Arc<Traffic>,
    pub(super) simulated: Simulated,
    /// Holds sessions of devices that are not connected.
    broker: OnceLock<Weak<Broker>>,
}

impl LiveState {
    /// Devices are held to `limits`; a WebSocket of theirs without a word for `idle_seconds_max`
    /// is closed.
    pub(super) fn new(app: App, limits: IngestLimits, idle_seconds_max: u32, caps: Caps) -> Self {
        Self {
            app,
            places: Places::new(caps),
            limits,
            idle_seconds_max: idle_seconds_max.max(IDLE_SECONDS_MIN),
            sockets: Seats::new("device_sockets_max", DEVICE_SOCKETS_MAX),
            exports: Seats::new("exports_at_once_max", EXPORTS_AT_ONCE_MAX),
            statements: Statements::new(),
            attached: Mutex::new(HashMap::new()),
            doubts: Doubts::default(),
            arrivals: Arrivals::default(),
            calls: Mutex::new(HashMap::new()),
            next_call: AtomicU32::new(1),
            call_notes: CallNotes::default(),
            traffic: Traffic::new(),
            simulated: Simulated::default(),
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
    pub(crate) const fn limits(&self) -> &IngestLimits {
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

    /// Counts an export of a tenant, until it ends.
    pub(crate) fn begin_export(&self, tenant: TenantId) -> Result<Seat<TenantId>, LimitExceeded> {
        self.exports.take(tenant)
    }

    /// Statements under way.
    pub(crate) const fn statements(&self) -> &Statements {
        &self.statements
    }

    /// Watches a device from now on. Whoever asks has been authorised.
    pub(super) fn watch(
        &self,
        context: &OpContext,
        device: DeviceId,
    ) -> Result<Watching, LimitExceeded> {
        self.traffic.watch((context.tenant, device), party_of(context))
    }

    /// Shows whoever watches a device what was sent to it.
    fn show_sent(&self, device: Owned, kind: &'static str, say: impl FnOnce(&mut TrafficItem)) {
        let clock = self.app.clock();
        let event = || Event::new(clock.now(), kind).with(say);
        self.traffic.show(device, clock.monotonic(), event);
    }

    /// Shows whoever watches a device a call to it.
    pub(super) fn show_call(&self, device: Owned, request: &RpcRequest) {
        self.show_sent(device, "call", |item| {
            item.call = Some(request.id);
            item.method = Some(request.method.clone());
            item.payload_bytes = u64::try_from(request.params.len()).ok();
        });
    }

    /// Readings of a device over WebSocket; `Ok` means durable.
    pub(super) async fn publish(
        &self,
        device: &DeviceLogin,
        readings: Vec<Reading>,
    ) -> Result<(), String> {
        let mut session = DeviceSession::new(device.tenant, device.device, device.credential);
        session.transport = Some(Transport::WebSocket);
        let origin = Origin::Device(&session);
        let over = |error: SubmitError| self.refused(&session, RefusalReason::Limit, &error);
        self.admit(origin, 1).map_err(over)?;
        self.inspect(origin, &readings)
            .map_err(|objection| self.refused(&session, RefusalReason::Policy, &objection))?;
        self.admit_readings(origin, count_readings(&readings)).map_err(over)?;
        let received_at = self.app.clock().now();
        let Some(entry) = ws::entry(&self.arrivals, &session, received_at, readings) else {
            return Ok(());
        };
        let submitted = self.submit(Origin::Device(&session), vec![entry]).await;
        // Readings are taken or not; only attributes are refused by themselves.
        submitted.map(drop).map_err(|error| error.to_string())
    }

    /// A device's command over WebSocket cannot be read: it is told so.
    pub(super) fn malformed(&self, device: &DeviceLogin, detail: &str) {
        let session = DeviceSession::new(device.tenant, device.device, device.credential);
        self.refused(&session, RefusalReason::Payload, &detail);
    }

    /// Notes what a device is told over WebSocket, and gives the text.
    fn refused(
        &self,
        session: &DeviceSession,
        reason: RefusalReason,
        why: &dyn std::fmt::Display,
    ) -> String {
        let detail = why.to_string();
        self.told(Refusal {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at: self.app.clock().now(),
            reason,
            detail: detail.clone(),
            position: None,
            limit: None,
            payload_bytes: 0,
        });
        detail
    }

    /// Sends a command to a connected device and waits for its answer (JSON text).
    pub(crate) async fn call_device(
        &self,
        command: &DeviceCommand,
        (method, params): (String, String),
        timeout: Duration,
    ) -> Result<String, Error> {
        // Higher numbers are those of calls that are kept.
        let id = self.next_call.fetch_add(1, Ordering::Relaxed) % CALL_NUMBER_MIN;
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
        if sent.is_ok() {
            self.show_call(owned, &request);
        }
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
    pub(super) fn send(
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

    /// What is to be done about kept calls.
    pub(super) const fn call_notes(&self) -> &CallNotes {
        &self.call_notes
    }

    /// The credential by which a device listens to calls; none when it does not.
    pub(super) fn listener(&self, device: Owned) -> Option<CredentialId> {
        let attached = self.attached.lock();
        let links = attached.get(&device)?;
        links.iter().find(|one| one.link.wants_rpc()).map(|one| one.credential)
    }

    /// A call waits for a device.
    pub(crate) fn call_waits(&self, tenant: TenantId, device: DeviceId) {
        self.call_notes.waits((tenant, device));
    }

    /// Sends a command to a connected device that answers nothing.
    pub(crate) fn tell_device(
        &self,
        command: &DeviceCommand,
        (method, params): (String, String),
    ) -> Result<(), Error> {
        let id = self.next_call.fetch_add(1, Ordering::Relaxed) % CALL_NUMBER_MIN;
        let request = RpcRequest { id, method, params };
        let send = |link: &DeviceLink| link.send(Downlink::Rpc(request.clone()));
        self.send(command.tenant, command.device, send).map_err(Error::Unavailable)?;
        self.show_call((command.tenant, command.device), &request);
        Ok(())
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
        let mut is_sent = false;
        let attached = self.attached.lock();
        for one in attached.get(&(tenant, device)).into_iter().flatten() {
            // A device that has not subscribed asks for them when it wants them.
            if !set.is_empty() {
                is_sent |= one.link.send(Downlink::AttributesUpdated(set.clone())).is_ok();
            }
            if !deleted.is_empty() {
                is_sent |= one.link.send(Downlink::AttributesDeleted(deleted.clone())).is_ok();
            }
        }
        drop(attached);
        if is_sent {
            self.show_sent((tenant, device), "attributes_sent", |item| {
                item.count = Some(changed.len());
            });
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

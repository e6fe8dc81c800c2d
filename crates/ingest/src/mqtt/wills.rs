//! Wills that wait for their delay (MQTT 5.0, 3.1.3.2.2). Their connection is gone: they hold no
//! place among connections, and have a bound of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::broker::Broker;
use super::connect::{Hello, Will};
use super::connection::drain;
use super::device::Device;
use super::frame::Version;
use super::relay::TenantRelay;
use super::session::{SessionKey, SharedState};
use crate::link::DeviceLink;
use crate::model::{DeviceSession, Place};

/// Most wills that wait for their delay. Further ones are published at once, and so are those whose
/// content finds no room among the bytes that wait for clients.
pub const WAITING_WILLS_MAX: usize = 10_000;
/// The same of one tenant.
pub const TENANT_WAITING_WILLS_MAX: usize = 5_000;

/// The will of a lost connection, to be published by [`WaitingWill::publish`].
#[must_use = "a will that is not published is lost"]
pub struct WaitingWill {
    pub(super) broker: Arc<Broker>,
    pub(super) session: Arc<DeviceSession>,
    pub(super) version: Version,
    pub(super) will: Will,
    /// The connection's session, which may be over.
    pub(super) state: SharedState,
    pub(super) key: SessionKey,
    pub(super) link: DeviceLink,
    /// How long the session outlives the connection.
    pub(super) keep_seconds: u32,
    /// The connection ended with the process: the client may have been back for long when this is
    /// looked at.
    pub(super) is_restored: bool,
}

impl std::fmt::Debug for WaitingWill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitingWill").finish_non_exhaustive()
    }
}

/// One waiting will, counted among all and those of its tenant.
struct Counted<'a>(&'a Broker, &'a TenantRelay);

impl<'a> Counted<'a> {
    /// Counts one, and whether it is within the bounds.
    fn new(broker: &'a Broker, relay: &'a TenantRelay) -> (Self, bool) {
        let all = broker.waiting_wills.fetch_add(1, Ordering::AcqRel);
        let of_tenant = relay.waiting_wills.fetch_add(1, Ordering::AcqRel);
        let fits = all < WAITING_WILLS_MAX && of_tenant < TENANT_WAITING_WILLS_MAX;
        (Self(broker, relay), fits)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.waiting_wills.fetch_sub(1, Ordering::AcqRel);
        self.1.waiting_wills.fetch_sub(1, Ordering::AcqRel);
    }
}

impl WaitingWill {
    /// Whose will it is.
    pub fn session(&self) -> &DeviceSession {
        &self.session
    }

    /// The will of a device that is a host application of Sparkplug: it may say that it is gone.
    pub fn of_sparkplug_host(self) -> Self {
        let session = DeviceSession { sparkplug_host: true, ..(*self.session).clone() };
        Self { session: Arc::new(session), ..self }
    }

    /// Waits for the will's delay, or the end of its session if that is sooner, and publishes it,
    /// unless the client is back in its session by then. When the platform stops, it is published
    /// at once.
    pub async fn publish(self) {
        let Self {
            broker,
            session: own,
            version,
            will,
            state,
            key,
            link,
            keep_seconds,
            is_restored,
        } = self;
        let delay = will.delay_seconds.min(keep_seconds);
        // The place that the application holds for the connection is given up.
        let session = Arc::new(DeviceSession { place: Place::default(), ..(*own).clone() });
        drop(own);
        if delay > 0 {
            wait(&broker, &will, &state, (&key, &link), delay).await;
        }
        if (delay > 0 || is_restored) && broker.sessions.is_resumed(&state, &link) {
            return;
        }
        let mut hello = Hello::of_will(version);
        hello.will = Some(will);
        let mut device = Box::new(Device::new(Arc::clone(&broker), session, link, state, hello));
        device.publish_will();
        drain(&mut device).await;
        broker.sessions.tell_will_done(&device.state);
    }
}

/// Waits for so many seconds, or until the session is had again or ends, or the platform stops. A
/// will over a bound does not wait.
async fn wait(
    broker: &Broker,
    will: &Will,
    state: &SharedState,
    (key, link): (&SessionKey, &DeviceLink),
    seconds: u32,
) {
    let bytes = will.topic.len() + will.payload.len() + will.properties.len();
    let place = state.relay().bytes().place(bytes);
    let (_counted, fits) = Counted::new(broker, state.relay());
    if !fits || place.is_none() {
        metrics::counter!("veritwin_ingest_wills_hurried_total").increment(1);
        return;
    }
    let session_over = broker.sessions.wait_for(key, link);
    let mut closing = broker.closing.subscribe();
    tokio::select! {
        () = sleep(Duration::from_secs(u64::from(seconds))) => {}
        () = dropped(session_over) => {}
        _ = closing.wait_for(|is_closing| *is_closing) => {}
    }
}

/// Waits until the sender is dropped. Nothing is ever sent.
async fn dropped(receiver: Option<watch::Receiver<()>>) {
    if let Some(mut receiver) = receiver {
        let _dropped = receiver.changed().await;
    }
}

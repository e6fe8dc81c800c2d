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
use super::session::SessionKey;
use crate::link::DeviceLink;
use crate::model::{DeviceSession, Place};

/// Most wills that wait for their delay. Further ones are published at once.
pub const WAITING_WILLS_MAX: usize = 10_000;

/// The will of a lost connection, to be published by [`WaitingWill::publish`].
#[must_use = "a will that is not published is lost"]
pub struct WaitingWill {
    pub(super) broker: Arc<Broker>,
    pub(super) session: Arc<DeviceSession>,
    pub(super) version: Version,
    pub(super) will: Will,
    pub(super) key: SessionKey,
    pub(super) link: DeviceLink,
    /// Another connection has taken the session over.
    pub(super) is_taken_over: bool,
    /// How long the session outlives the connection.
    pub(super) keep_seconds: u32,
}

impl std::fmt::Debug for WaitingWill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitingWill").finish_non_exhaustive()
    }
}

/// One waiting will, counted.
struct Counted<'a>(&'a Broker);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.waiting_wills.fetch_sub(1, Ordering::AcqRel);
    }
}

impl WaitingWill {
    /// Waits for the will's delay, or the end of its session if that is sooner, and publishes it,
    /// unless the client is back by then. When the platform stops, it is published at once.
    pub async fn publish(self) {
        let Self { broker, session, version, will, key, link, is_taken_over, keep_seconds } = self;
        // The place that the application holds for the connection is given up.
        let session = Arc::new(DeviceSession { place: Place::default(), ..(*session).clone() });
        let mut delay = will.delay_seconds.min(keep_seconds);
        if delay > 0 && is_taken_over {
            return;
        }
        let waiting = broker.waiting_wills.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(&broker);
        if delay > 0 && waiting >= WAITING_WILLS_MAX {
            metrics::counter!("veritwin_ingest_wills_hurried_total").increment(1);
            delay = 0;
        }
        if delay > 0 {
            let session_over = broker.sessions.wait_for(&key, &link);
            let mut closing = broker.closing.subscribe();
            tokio::select! {
                () = sleep(Duration::from_secs(u64::from(delay))) => {}
                () = dropped(session_over) => {}
                _ = closing.wait_for(|is_closing| *is_closing) => {}
            }
            if broker.sessions.is_resumed(&key, &link) {
                return;
            }
        }
        drop(counted);
        let state = broker.sessions.of_will(&key);
        let mut hello = Hello::of_will(version);
        hello.will = Some(will);
        let mut device = Box::new(Device::new(Arc::clone(&broker), session, link, state, hello));
        device.publish_will();
        drain(&mut device).await;
    }
}

/// Waits until the sender is dropped. Nothing is ever sent.
async fn dropped(receiver: Option<watch::Receiver<()>>) {
    if let Some(mut receiver) = receiver {
        let _dropped = receiver.changed().await;
    }
}

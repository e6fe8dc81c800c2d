//! Connections of devices, as people hear of them: those who watch one at once, others by the list
//! of its last ones.

use std::net::IpAddr;
use std::sync::Arc;

use veritwin_app::model::ConnectionView;
use veritwin_app::{ConnectionEnd, DeviceLogin};
use veritwin_ingest::{DeviceLink, DeviceSession, LinkEnded, RpcReply, Transport};

use super::devices::{LiveState, Owned};
use super::traffic::Event;

/// Whether it is a connection, and not a request that waits for an answer.
fn is_connection(link: &DeviceLink) -> bool {
    link.transport() != Transport::Http
}

/// Whether a gateway or an edge node speaks for the device: by itself it came over no transport.
const fn is_relayed(session: &DeviceSession) -> bool {
    session.transport.is_none()
}

/// The WebSocket of a device; its end is noted however it comes.
pub(super) struct NotedSocket {
    live: Arc<LiveState>,
    session: DeviceSession,
    link: DeviceLink,
}

impl NotedSocket {
    /// Says how it ends.
    pub(super) fn ends(&self, ended: LinkEnded) {
        self.link.set_ended(ended);
    }
}

impl Drop for NotedSocket {
    fn drop(&mut self) {
        self.live.note_ended(&self.session, &self.link);
    }
}

impl LiveState {
    /// A device has opened a WebSocket.
    pub(super) fn note_socket(
        self: &Arc<Self>,
        device: &DeviceLogin,
        address: Option<IpAddr>,
    ) -> NotedSocket {
        let mut session = DeviceSession::new(device.tenant, device.device, device.credential);
        (session.address, session.transport) = (address, Some(Transport::WebSocket));
        let (link, _) = DeviceLink::new(Transport::WebSocket);
        self.note_opened(&session, &link);
        self.simulated.heard((device.tenant, device.device), device.credential);
        NotedSocket { live: Arc::clone(self), session, link }
    }

    /// A device is connected.
    pub(super) fn note_opened(&self, session: &DeviceSession, link: &DeviceLink) {
        if !is_connection(link) {
            return;
        }
        let (owned, clock) = ((session.tenant, session.device), self.app.clock());
        let (now, keep_alive_seconds) = (clock.now(), link.keep_alive_seconds());
        let view = ConnectionView {
            connected_at: now,
            ended_at: None,
            protocol: link.transport().as_str().to_owned(),
            is_relayed: is_relayed(session),
            credential: session.credential,
            address: session.address,
            keep_alive_seconds,
            ended_by: None,
            code: None,
            reason: None,
        };
        self.app.connection_opened(owned, link.id(), view);
        let event = || {
            Event::new(now, "connected").with(|item| {
                item.way = Some(way_of(session, link));
                item.keep_alive_seconds = keep_alive_seconds;
            })
        };
        self.traffic.show(owned, clock.monotonic(), event);
    }

    /// It is not any more.
    pub(super) fn note_ended(&self, session: &DeviceSession, link: &DeviceLink) {
        if !is_connection(link) {
            return;
        }
        let owned = (session.tenant, session.device);
        let (ended, clock) = (link.ended(), self.app.clock());
        let end = ended.map(|LinkEnded { by, code, text }| ConnectionEnd {
            by: by.as_str(),
            code: *code,
            reason: text.clone(),
        });
        self.app.connection_ended(link.id(), end);
        let event = || {
            Event::new(clock.now(), "disconnected").with(|item| {
                item.way = Some(way_of(session, link));
                item.ended_by = ended.map(|ended| ended.by.as_str());
                item.code = ended.and_then(|ended| ended.code);
                item.detail = ended.map(|ended| ended.text.clone());
            })
        };
        self.traffic.show(owned, clock.monotonic(), event);
    }

    /// A device answered a call.
    pub(super) fn show_answer(&self, owned: Owned, reply: &RpcReply) {
        let clock = self.app.clock();
        let event = || {
            Event::new(clock.now(), "answer").with(|item| {
                item.call = Some(reply.id);
                item.payload_bytes = u64::try_from(reply.body.len()).ok();
            })
        };
        self.traffic.show(owned, clock.monotonic(), event);
    }
}

fn way_of(session: &DeviceSession, link: &DeviceLink) -> &'static str {
    if is_relayed(session) { "gateway" } else { link.transport().as_str() }
}

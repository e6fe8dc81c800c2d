//! Connections of devices, as people hear of them: those who watch one at once, others by the list
//! of its last ones.

use veritwin_app::ConnectionEnd;
use veritwin_app::model::ConnectionView;
use veritwin_ingest::{DeviceLink, DeviceSession, LinkEnded, RpcReply, Transport};

use super::devices::{LiveState, Owned};
use super::traffic::Event;

/// Whether it is a connection, and not a request that waits for an answer.
fn is_connection(link: &DeviceLink) -> bool {
    link.transport() != Transport::Http
}

impl LiveState {
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
            is_relayed: link.is_child(),
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
                item.way = Some(way_of(link));
                item.keep_alive_seconds = keep_alive_seconds;
            })
        };
        self.traffic.show(owned, clock.monotonic(), event);
    }

    /// It is not any more.
    pub(super) fn note_ended(&self, owned: Owned, link: &DeviceLink) {
        if !is_connection(link) {
            return;
        }
        let (ended, clock) = (link.ended(), self.app.clock());
        let end = ended.map(|LinkEnded { by, code, text }| ConnectionEnd {
            by: by.as_str(),
            code: *code,
            reason: text.clone(),
        });
        self.app.connection_ended(link.id(), end);
        let event = || {
            Event::new(clock.now(), "disconnected").with(|item| {
                item.way = Some(way_of(link));
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

fn way_of(link: &DeviceLink) -> &'static str {
    if link.is_child() { "gateway" } else { link.transport().as_str() }
}

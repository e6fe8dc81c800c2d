//! What goes down to a client: messages at the QoS it was granted, within its Receive Maximum and
//! Maximum Packet Size, and what it had not acknowledged before it was cut off.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::alias::Naming;
use super::device::Device;
use super::encode::{Outgoing, PUBREL};
use super::note::Note;
use super::outbox::Delivery;
use super::session::{SessionState, UNACKNOWLEDGED_MAX, Unacknowledged};
use super::short;
use super::topic;
use crate::model::Downlink;
use crate::payload::{
    child_deleted_json, child_entries_json, child_gone_json, child_rpc_json, deleted_json,
    entries_json, rpc_json,
};

/// So much output is gathered before it is written.
const PUMP_BYTES_MAX: usize = 64 * 1024;
/// So many answers and downlinks are sent before messages of others have their turn.
const READY_MAX: usize = 64;
/// Packet Identifier not found.
const UNKNOWN_ID: u8 = 0x92;

/// The answer to a request or call.
pub(crate) struct Answer {
    pub(crate) topic: String,
    /// A subscription to this topic will do as well.
    pub(crate) subscribed: Option<String>,
    pub(crate) payload: Vec<u8>,
    /// How long nothing more is read.
    pub(crate) hold: Duration,
    /// Large answers are not kept for a client that does not acknowledge them.
    pub(crate) qos_max: u8,
}

impl Answer {
    pub(crate) fn new(topic: String, payload: String) -> Self {
        let payload = payload.into_bytes();
        Self { topic, subscribed: None, payload, hold: Duration::ZERO, qos_max: 1 }
    }
}

impl Device {
    /// Most QoS 1 and 2 messages that may be on their way (MQTT-3.3.4-9).
    fn window(&self) -> usize {
        usize::from(self.receive_maximum).min(UNACKNOWLEDGED_MAX)
    }

    /// Whether an answer or a downlink may be sent. Messages of others that wait have one place in
    /// the window; in a window of one they take turns.
    pub(crate) fn can_send(&self) -> bool {
        let state = self.state.lock();
        let others = usize::from(self.others_wait(&state));
        let max = match self.window() {
            1 if self.was_own => 1 - others,
            1 => 1,
            window => window - others,
        };
        self.to_resend.is_empty() && state.unacknowledged.len() < max
    }

    /// Whether messages of others could be sent if there were room.
    fn others_wait(&self, state: &SessionState) -> bool {
        if state.retained.is_empty() {
            state.outbox.front().is_some()
        } else {
            !self.retained.is_empty()
        }
    }

    /// Sends answers and downlinks that are there already.
    fn send_ready(&mut self, downlinks: &mut mpsc::Receiver<Downlink>) {
        for _ in 0..READY_MAX {
            if self.output.len() >= PUMP_BYTES_MAX || !self.can_send() {
                return;
            }
            if !self.answers.is_empty()
                && let Some(Some(answer)) = self.answers.next().now_or_never()
            {
                self.answer(answer);
            } else if let Ok(downlink) = downlinks.try_recv() {
                self.downlink(&downlink);
            } else {
                return;
            }
        }
    }

    /// Sends a downlink, if the device has subscribed to it.
    pub(crate) fn downlink(&mut self, downlink: &Downlink) {
        match downlink {
            Downlink::AttributesUpdated(entries) => {
                self.deliver(topic::ATTRIBUTES, entries_json(entries));
            }
            Downlink::AttributesDeleted(keys) => {
                self.deliver(topic::ATTRIBUTES, deleted_json(keys))
            }
            Downlink::Rpc(request) => {
                let name = format!("{}{}", topic::RPC_REQUEST, request.id);
                self.deliver(&name, rpc_json(request, false));
            }
            Downlink::OfChild { name, downlink } => self.child_downlink(name, downlink),
            Downlink::ChildGone(name) => {
                if let Some(children) = &self.children {
                    children.forget(name);
                }
                self.deliver(topic::GATEWAY_DISCONNECT, child_gone_json(name));
            }
        }
    }

    /// The same for a device behind this gateway.
    fn child_downlink(&mut self, name: &str, downlink: &Downlink) {
        match downlink {
            Downlink::AttributesUpdated(entries) => {
                self.deliver(topic::GATEWAY_ATTRIBUTES, child_entries_json(name, entries));
            }
            Downlink::AttributesDeleted(keys) => {
                self.deliver(topic::GATEWAY_ATTRIBUTES, child_deleted_json(name, keys));
            }
            Downlink::Rpc(request) => {
                self.deliver(topic::GATEWAY_RPC, child_rpc_json(name, request));
            }
            // No gateway is behind another one.
            Downlink::OfChild { .. } | Downlink::ChildGone(_) => {}
        }
    }

    /// Publishes to the device at the QoS it was granted; the platform's own messages have QoS 1.
    pub(crate) fn deliver(&mut self, name: &str, payload: impl Into<Vec<u8>>) {
        self.deliver_as((name, name), payload.into(), 1);
    }

    /// An answer to a request of the device.
    pub(crate) fn answer(&mut self, answer: Answer) {
        let Answer { topic, subscribed, payload, hold, qos_max } = answer;
        if !hold.is_zero() {
            self.held_until = self.held_until.max(Some(Instant::now() + hold));
        }
        let is_wanted = self.state.lock().matching(&topic).is_some();
        let subscribed = subscribed.filter(|_| !is_wanted);
        let subscribed = subscribed.as_deref().unwrap_or(&topic);
        self.deliver_as((&topic, subscribed), payload, qos_max);
    }

    /// Publishes to who has subscribed to the topic `subscribed`.
    fn deliver_as(&mut self, (name, subscribed): (&str, &str), payload: Vec<u8>, qos_max: u8) {
        let session = Arc::clone(&self.state);
        let mut state = session.lock();
        let mut found = state.matching(subscribed);
        let short = if found.is_none() { short::short_of(name) } else { None };
        if let Some(short) = &short {
            found = state.matching(short);
        }
        let Some((qos, ids)) = found else { return };
        let name = short.as_deref().unwrap_or(name);
        let delivery = Delivery {
            topic: name.into(),
            payload: payload.into(),
            properties: Arc::default(),
            expires_at: None,
            qos: qos.min(qos_max),
            retain: false,
            ids,
            reserved: None,
            place: None,
            again: false,
        };
        self.was_own |= delivery.qos > 0;
        let unasked = (delivery.qos == 0).then(|| Arc::clone(&delivery.payload));
        self.send(&mut state, delivery, None);
        drop(state);
        // It is not acknowledged.
        if let Some(payload) = unasked {
            self.delivered(name, &payload);
        }
    }

    fn send(&mut self, state: &mut SessionState, delivery: Delivery, expiry_seconds: Option<u32>) {
        let packet_id = (delivery.qos > 0).then(|| state.packet_id_of(&delivery));
        let naming = self.outbound_aliases.naming(&delivery.topic);
        let message = Outgoing {
            topic: &delivery.topic,
            naming,
            payload: &delivery.payload,
            qos: delivery.qos,
            packet_id,
            dup: delivery.again && delivery.qos > 0,
            retain: delivery.retain,
            properties: &delivery.properties,
            expiry_seconds,
            subscription_ids: &delivery.ids,
        };
        if !self.encoder.publish(&mut self.output, message) {
            tracing::warn!(device = %self.session.device, "message over the client's limit");
            state.settle(delivery.place);
            return;
        }
        self.outbound_aliases.sent(&delivery.topic, naming);
        if let Some(packet_id) = packet_id {
            let kept = Unacknowledged { packet_id, is_received: false, is_told: false, delivery };
            state.unacknowledged.push_back(kept);
        }
    }

    /// Sends what waits, as far as the client's window is open: answers and downlinks, then
    /// retained messages, then what was published since.
    pub(crate) fn pump(&mut self, downlinks: &mut mpsc::Receiver<Downlink>) {
        self.resend();
        self.submit_resent();
        self.send_ready(downlinks);
        self.fetch_retained();
        let session = Arc::clone(&self.state);
        let mut state = session.lock();
        // An older connection, which is ending, leaves it to the newer one.
        if state.holder != self.link.id() {
            return;
        }
        if !self.to_resend.is_empty() {
            // The rest follows when this is written, or acknowledged.
            if self.output.len() >= PUMP_BYTES_MAX {
                session.wake().notify_one();
            }
            return;
        }
        if state.outbox.is_idle() && state.retained.is_empty() {
            return;
        }
        let (now, window) = (self.broker.clock.now(), self.window());
        while self.output.len() < PUMP_BYTES_MAX {
            let is_open = state.unacknowledged.len() < window;
            let fits =
                |delivery: &Delivery| delivery.qos == 0 || (is_open && state.has_id_for(delivery));
            let is_next = state.outbox.front().is_some_and(fits);
            let next = if !state.retained.is_empty() {
                self.retained.next(&mut state, is_open)
            } else if is_next {
                state.outbox.pop()
            } else {
                None
            };
            let Some(delivery) = next else { break };
            if let Ok(left) = delivery.seconds_left(now) {
                self.was_own &= delivery.qos == 0;
                self.send(&mut state, delivery, left);
            } else {
                state.settle(delivery.place);
            }
        }
        let dropped = match state.outbox.front() {
            None => state.outbox.take_dropped(),
            Some(_) => None,
        };
        drop(state);
        if let Some((count, limit)) = dropped {
            self.record_all_dropped(count, limit);
        }
        if self.output.len() >= PUMP_BYTES_MAX {
            session.wake().notify_one();
        }
        self.fetch_retained();
        self.retry_retained();
    }

    /// PUBACK: the client has a QoS 1 message.
    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        let is_it = |kept: &Unacknowledged| kept.packet_id == packet_id && kept.delivery.qos == 1;
        let done = self.state.lock().done_with(is_it);
        if let Some(Unacknowledged { delivery, .. }) = done {
            self.delivered(&delivery.topic, &delivery.payload);
        }
        self.resend();
    }

    /// PUBREC: the client has a QoS 2 message, or refuses it and that is the end of it.
    pub(super) fn received(&mut self, packet_id: u16, reason: u8) {
        let session = Arc::clone(&self.state);
        let mut state = session.lock();
        let mut place = None;
        let kept = &mut state.unacknowledged;
        let is_it = |kept: &Unacknowledged| kept.packet_id == packet_id && kept.delivery.qos == 2;
        let answer = match kept.iter().position(is_it) {
            None => UNKNOWN_ID,
            Some(at) if reason >= 0x80 => {
                let place = kept.remove(at).and_then(|refused| refused.delivery.place);
                state.settle_id(packet_id, place);
                drop(state);
                // Nothing of the client's follows that would say it after a restart.
                if let Some(place) = place {
                    self.note(&Note::Settled(vec![place]));
                }
                self.resend();
                return;
            }
            Some(at) => {
                place = kept.get(at).and_then(|kept| kept.delivery.place);
                if let Some(kept) = kept.get_mut(at) {
                    // Only the packet id is needed from now on.
                    kept.is_received = true;
                    kept.delivery.payload = Arc::default();
                    kept.delivery.properties = Arc::default();
                    kept.delivery.reserved = None;
                }
                0
            }
        };
        drop(state);
        // Released it is never sent again: of a session that is kept, not after a restart either.
        let is_told = place.is_some_and(|place| self.note_released(place));
        let out = if is_told { &mut self.pending.late } else { &mut self.output };
        self.encoder.acknowledge(out, PUBREL, packet_id, answer, None);
    }

    /// PUBCOMP: the packet id is free again.
    pub(super) fn completed(&mut self, packet_id: u16) {
        let is_it = |kept: &Unacknowledged| kept.packet_id == packet_id && kept.is_received;
        let mut state = self.state.lock();
        if let Some(done) = state.done_with(is_it) {
            state.hold_id(packet_id, done.delivery.place);
        }
        drop(state);
        self.resend();
    }

    /// Begins to send again what the client has not acknowledged before it was cut off, in the
    /// order in which it was sent (MQTT-4.4.0-1).
    pub(crate) fn start_resend(&mut self) {
        let ids =
            self.state.lock().unacknowledged.iter().map(|message| message.packet_id).collect();
        self.to_resend = ids;
        self.resend();
        self.submit_resent();
    }

    /// Submits what was sent again apart from a read, and is to be durable before that.
    fn submit_resent(&mut self) {
        if self.pending.released.is_empty() {
            return;
        }
        let held_until = self.held_until;
        self.submit_pending();
        self.held_until = self.held_until.max(held_until);
    }

    /// Sends again as much as the client's Receive Maximum leaves room for, and is written at
    /// once. A message over its Maximum Packet Size counts as delivered (MQTT-3.1.2-25).
    fn resend(&mut self) {
        if self.to_resend.is_empty() {
            return;
        }
        let (window, now) = (self.window(), self.broker.clock.now());
        let is_kept = self.is_kept();
        let mut state = self.state.lock();
        // An older connection has lost what it was to send again.
        if state.holder != self.link.id() {
            return;
        }
        while self.output.len() < PUMP_BYTES_MAX
            && state.unacknowledged.len().saturating_sub(self.to_resend.len()) < window
        {
            let Some(packet_id) = self.to_resend.pop_front() else { return };
            let kept = &mut state.unacknowledged;
            let Some(at) = kept.iter().position(|message| message.packet_id == packet_id) else {
                continue;
            };
            let Unacknowledged { delivery, is_received, is_told, .. } = &kept[at];
            if *is_received {
                // What an earlier connection has noted may not be durable yet, or never.
                let untold = delivery.place.filter(|_| is_kept && !is_told);
                self.pending.released.extend(untold);
                let is_late = untold.is_some();
                let out = if is_late { &mut self.pending.late } else { &mut self.output };
                self.encoder.acknowledge(out, PUBREL, packet_id, 0, None);
                continue;
            }
            let outgoing = Outgoing {
                topic: &delivery.topic,
                naming: Naming::PLAIN,
                payload: &delivery.payload,
                qos: delivery.qos,
                packet_id: Some(packet_id),
                dup: true,
                retain: delivery.retain,
                properties: &delivery.properties,
                // What has begun is completed.
                expiry_seconds: delivery.seconds_left(now).unwrap_or(Some(0)),
                subscription_ids: &delivery.ids,
            };
            if !self.encoder.publish(&mut self.output, outgoing) {
                let place = kept.remove(at).and_then(|lost| lost.delivery.place);
                state.settle(place);
            }
        }
    }
}

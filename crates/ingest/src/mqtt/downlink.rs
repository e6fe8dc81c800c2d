//! What goes down to a client: messages at the QoS it was granted, within its Receive Maximum and
//! Maximum Packet Size, and what it had not acknowledged before it was cut off.

use super::alias::Naming;
use super::device::Device;
use super::encode::Outgoing;
use super::session::{UNACKNOWLEDGED_MAX, Unacknowledged};
use super::topic;
use crate::model::Downlink;
use crate::payload::{deleted_json, entries_json, rpc_json};

impl Device {
    /// Most QoS 1 messages that may be on their way (MQTT-3.3.4-9).
    fn window(&self) -> usize {
        usize::from(self.receive_maximum).min(UNACKNOWLEDGED_MAX)
    }

    /// Whether another message may be sent.
    pub(crate) fn can_send(&self) -> bool {
        self.to_resend.is_empty() && self.state.lock().unacknowledged.len() < self.window()
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
        }
    }

    /// Publishes to the device at the QoS it was granted.
    pub(crate) fn deliver(&mut self, name: &str, payload: String) {
        let mut state = self.state.lock();
        let Some((qos, ids)) = state.matching(name) else { return };
        let packet_id = (qos > 0).then(|| state.next_packet_id());
        let naming = self.outbound_aliases.naming(name);
        let message = Outgoing {
            topic: name,
            naming,
            payload: payload.as_bytes(),
            packet_id,
            dup: false,
            subscription_ids: &ids,
        };
        if !self.encoder.publish(&mut self.output, message) {
            tracing::warn!(device = %self.session.device, "message over the client's limit");
            return;
        }
        self.outbound_aliases.sent(name, naming);
        if let Some(packet_id) = packet_id {
            let topic = name.to_owned();
            state.unacknowledged.push_back(Unacknowledged { packet_id, topic, payload });
        }
    }

    /// The client has a QoS 1 message.
    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        self.state.lock().unacknowledged.retain(|message| message.packet_id != packet_id);
        self.resend();
    }

    /// Begins to send again what the client has not acknowledged before it was cut off, in the
    /// order in which it was sent (MQTT-4.4.0-1).
    pub(crate) fn start_resend(&mut self) {
        let ids =
            self.state.lock().unacknowledged.iter().map(|message| message.packet_id).collect();
        self.to_resend = ids;
        self.resend();
    }

    /// Sends again as much as the client's Receive Maximum leaves room for. A message over its
    /// Maximum Packet Size counts as delivered (MQTT-3.1.2-25).
    fn resend(&mut self) {
        if self.to_resend.is_empty() {
            return;
        }
        let window = self.window();
        let mut state = self.state.lock();
        while state.unacknowledged.len().saturating_sub(self.to_resend.len()) < window {
            let Some(packet_id) = self.to_resend.pop_front() else { return };
            let kept = &mut state.unacknowledged;
            let Some(at) = kept.iter().position(|message| message.packet_id == packet_id) else {
                continue;
            };
            let message = &kept[at];
            let outgoing = Outgoing {
                topic: &message.topic,
                naming: Naming::PLAIN,
                payload: message.payload.as_bytes(),
                packet_id: Some(packet_id),
                dup: true,
                subscription_ids: &[],
            };
            if !self.encoder.publish(&mut self.output, outgoing) {
                kept.remove(at);
            }
        }
    }
}

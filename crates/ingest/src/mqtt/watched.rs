//! What whoever watches a device is told of its connection: its messages as they come, without
//! their payload, and how it ended.

use super::device::{Device, End};
use super::frame::PublishView;
use super::topic::{self, DeviceTopic};
use crate::link::{EndedBy, LinkEnded};
use crate::model::SeenMessage;

/// What a topic is for.
const fn name(topic: DeviceTopic) -> &'static str {
    match topic {
        DeviceTopic::Telemetry => "telemetry",
        DeviceTopic::Attributes => "attributes",
        DeviceTopic::AttributesRequest(_) => "attributes_request",
        DeviceTopic::RpcRequest(_) => "rpc_request",
        DeviceTopic::RpcResponse(_) => "rpc_response",
        DeviceTopic::Gateway(_) => "gateway",
        DeviceTopic::Chunk { .. } => "package",
        DeviceTopic::Claim => "claim",
        DeviceTopic::Relay => "relay",
        DeviceTopic::Sparkplug => "sparkplug",
    }
}

impl Device {
    /// Shows a message to whoever watches.
    pub(super) fn show(&self, view: &PublishView<'_>) {
        let topic = topic::classify(view.topic, self.limits()).map_or("unknown", name);
        let seen = SeenMessage {
            transport: self.link.transport(),
            topic,
            qos: view.qos,
            is_retained: view.retain,
            payload_bytes: view.payload.len(),
        };
        self.broker.sink.saw(&self.session, seen);
    }
}

impl End {
    /// The same for the connection's link.
    pub(super) fn for_link(&self) -> LinkEnded {
        let (by, code, text) = match self {
            Self::Disconnected => (EndedBy::Device, None, "the device said goodbye"),
            Self::Lost => (EndedBy::Network, None, "the connection was lost without a word"),
            Self::Closed(close) => (EndedBy::Platform, Some(close.code), close.text.as_str()),
        };
        LinkEnded { by, code, text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::device::Close;

    #[test]
    fn how_it_ended_says_by_whom() {
        let check = |end: End, by: EndedBy, code: Option<u8>| {
            let ended = end.for_link();
            assert!(ended.by == by && ended.code == code && !ended.text.is_empty(), "{ended:?}");
        };
        check(End::Disconnected, EndedBy::Device, None);
        check(End::Lost, EndedBy::Network, None);
        check(End::Closed(Close::new(0x8d, "silence")), EndedBy::Platform, Some(0x8d));
    }
}

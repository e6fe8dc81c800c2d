//! Bounds on what a device may send. Each has a name, and a refusal carries it.

/// Upper bounds of the ingest path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestLimits {
    /// Largest MQTT packet, in bytes.
    pub packet_bytes_max: usize,
    /// Largest HTTP or WebSocket body, in bytes, after decompression.
    pub body_bytes_max: usize,
    /// Longest topic, in bytes.
    pub topic_bytes_max: usize,
    /// Most levels in a topic.
    pub topic_levels_max: usize,
    /// Most keys in one message.
    pub keys_per_message_max: usize,
    /// Most readings in one message.
    pub readings_per_message_max: usize,
    /// Longest key, in bytes.
    pub key_bytes_max: usize,
    /// Longest string or JSON value, in bytes.
    pub value_bytes_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most subscriptions of one session.
    pub subscriptions_max: usize,
    /// Most unacknowledged QoS 1 messages of one connection (MQTT 5 Receive Maximum).
    pub receive_maximum: u16,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 1024 * 1024,
            body_bytes_max: 8 * 1024 * 1024,
            topic_bytes_max: 1024,
            topic_levels_max: 32,
            keys_per_message_max: 1024,
            readings_per_message_max: 100_000,
            key_bytes_max: 256,
            value_bytes_max: 64 * 1024,
            connections_max: 10_000,
            subscriptions_max: 64,
            receive_maximum: 1024,
        }
    }
}

/// A bound that was passed: its name, the bound, and what was offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit {name} exceeded: at most {max}, got {}", offered(*actual))]
pub struct LimitExceeded {
    /// The limit's name, as in [`IngestLimits`].
    pub name: &'static str,
    /// The bound.
    pub max: usize,
    /// What was offered, [`LimitExceeded::MORE`] when nobody counted on.
    pub actual: usize,
}

impl LimitExceeded {
    /// More than the bound, by how much is not known.
    pub const MORE: usize = usize::MAX;
}

fn offered(actual: usize) -> String {
    if actual == LimitExceeded::MORE { "more".to_owned() } else { actual.to_string() }
}

//! Devices' front door: bytes from MQTT, HTTP and WebSocket become `domain` readings, which a
//! [`Sink`] makes durable before anything is acknowledged. It knows no store: who may connect is
//! the [`Login`]'s answer, and what is kept is the sink's business.

mod attached;
pub mod bulk;
pub mod http;
mod link;
mod model;
pub mod mqtt;
pub mod payload;
mod traits;
pub mod ws;

pub use link::{DOWNLINKS_MAX, DeviceLink, LinkEnd, LinkError};
pub use model::{
    Attributes, AttributesRequest, AttributesUpdate, ClientRpc, CloseReason, Credential,
    DeviceSession, Downlink, Origin, PeerInfo, Place, Refusal, RefusalReason, RpcReply, RpcRequest,
    SinkEntry, Transport, Writer, WriterSession,
};
pub use traits::{Login, LoginError, Sink, SubmitError};

use veritwin_domain::{IngestLimits, Reading, Timestamp};

/// Parses one telemetry message on its own, in any of the shapes of [`payload::parse_telemetry`].
pub fn parse_telemetry(
    payload: &[u8],
    received_at: Timestamp,
    limits: &IngestLimits,
) -> Result<Vec<Reading>, payload::PayloadError> {
    let mut readings = Vec::new();
    let context = payload::MessageContext { received_at, limits };
    let mut keys = payload::KeyTable::default();
    payload::parse_telemetry(payload, context, &mut keys, &mut readings)?;
    Ok(readings)
}

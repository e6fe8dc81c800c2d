//! Devices' front door: bytes from MQTT, HTTP and WebSocket become `domain` readings, which a
//! [`Sink`] makes durable before anything is acknowledged. It knows no store: who may connect is
//! the [`Login`]'s answer, and what is kept is the sink's business.

mod arrivals;
mod attached;
pub mod bulk;
mod claim;
mod decoding;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
mod link;
mod model;
pub mod mqtt;
pub mod payload;
mod provision;
pub mod sparkplug;
mod traits;
pub mod ws;

pub use arrivals::{Arrivals, UNTIMED};
/// Largest piece of a package that is sent at once, in bytes.
pub const CHUNK_BYTES_MAX: u32 = 512 * 1024;

pub use claim::{CLAIM_BYTES_MAX, GATEWAY_CLAIM_BYTES_MAX, GATEWAY_CLAIMS_MAX};
pub use decoding::{DecodeError, Decoding, PayloadDecoder, RawPayload};
pub use link::{
    DOWNLINKS_MAX, DeviceLink, EndedBy, GATEWAY_DOWNLINKS_MAX, LinkEnd, LinkEnded, LinkError,
};
pub use model::{
    Attributes, AttributesRequest, AttributesUpdate, ChildName, Chunk, ChunkRequest, ClientRpc,
    CloseReason, Credential, DeviceSession, Downlink, EdgeAnswer, EdgeBatch, EntryRefused, Origin,
    PackageKind, PeerInfo, Place, Placed, Refusal, RefusalReason, RpcReply, RpcRequest,
    SeenMessage, SinkEntry, Transport, Writer, WriterSession,
};
pub use provision::PROVISION_BYTES_MAX;
pub use traits::{Login, LoginError, Objection, Sink, SubmitError};

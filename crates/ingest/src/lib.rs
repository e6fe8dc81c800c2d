//! Devices' front door: bytes from MQTT, HTTP and WebSocket become `domain` readings, which a
//! [`Sink`] makes durable before anything is acknowledged. It knows no store: who may connect is
//! the [`Login`]'s answer, and what is kept is the sink's business.

mod arrivals;
mod attached;
pub mod bulk;
pub mod http;
mod link;
mod model;
pub mod mqtt;
pub mod payload;
pub mod sparkplug;
mod traits;
pub mod ws;

pub use arrivals::{Arrivals, UNTIMED};
pub use link::{DOWNLINKS_MAX, DeviceLink, LinkEnd, LinkError};
pub use model::{
    Attributes, AttributesRequest, AttributesUpdate, ChildName, ClientRpc, CloseReason, Credential,
    DeviceSession, Downlink, EntryRefused, Origin, PeerInfo, Place, Refusal, RefusalReason,
    RpcReply, RpcRequest, SinkEntry, Transport, Writer, WriterSession,
};
pub use traits::{Login, LoginError, Objection, Sink, SubmitError};

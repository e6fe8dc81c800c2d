//! The MQTT broker core, 3.1.1 and 5.0, over any byte stream. What a client publishes goes to the
//! sink, one submission per socket read; acknowledgements leave in order once it is durable.
//! What goes to none of the platform's own topics is relayed inside the tenant.

mod alias;
mod broker;
mod connack;
mod connect;
mod connection;
mod device;
mod downlink;
mod encode;
mod fanout;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gateway;
mod keeping;
mod message;
mod newcomer;
mod note;
mod outbox;
mod packet;
mod parked;
mod payload_rules;
mod pending;
mod properties;
mod receipts;
mod relay;
mod relaying;
mod restoring;
mod retained;
mod session;
mod sessions;
mod short;
mod sparkplug;
mod sparkplug_host;
mod speaking;
mod subscribing;
mod topic;
mod tree;
mod turns;
mod watched;
mod wills;
mod wire;

pub use alias::TOPIC_ALIAS_MAXIMUM;
pub use broker::{Broker, BrokerParts};
pub use connect::CLIENT_ID_BYTES_MAX;
pub use connection::Stream;
pub use keeping::{SESSION_ROUND_BYTES_PER_SECOND_MAX, SESSION_ROUND_SECONDS_MIN};
pub use outbox::{
    RELAY_BYTES_MAX, RELAY_QUEUE_BYTES_MAX, RELAY_QUEUE_MESSAGES_MAX, RELAY_TENANT_BYTES_MAX,
};
pub use parked::{
    DETACHED_SESSIONS_MAX, DEVICE_DETACHED_SESSIONS_MAX, TENANT_DETACHED_SESSIONS_MAX,
};
pub use restoring::Restoring;
pub use retained::{RETAINED_PAGE_BYTES_MAX, RETAINED_PAGE_MESSAGES_MAX};
pub use session::SESSION_SECONDS_MAX;
pub use sparkplug_host::CommandError;
pub use topic::matches as topic_matches;
pub use wills::{TENANT_WAITING_WILLS_MAX, WAITING_WILLS_MAX, WaitingWill};

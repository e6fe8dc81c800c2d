//! The MQTT broker core, 3.1.1 and 5.0, over any byte stream. What a client publishes goes to the
//! sink, one submission per socket read; acknowledgements leave in order once it is durable.
//! What goes to none of the platform's own topics is relayed inside the tenant.

mod alias;
mod broker;
mod claiming;
mod connack;
mod connect;
mod connection;
mod decoding;
mod density;
mod device;
mod downlink;
mod encode;
mod fanout;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gateway;
mod intake;
mod keep_alive;
mod keeping;
mod message;
mod newcomer;
mod note;
mod outbox;
mod packet;
mod parked;
mod passing;
mod payload_rules;
mod pending;
mod properties;
mod receipts;
mod relay;
mod relaying;
mod restoring;
mod retained;
mod rounds;
mod session;
mod sessions;
mod settled;
mod short;
mod sparkplug;
mod sparkplug_host;
mod speaking;
mod subscribing;
mod telling;
mod topic;
mod tree;
mod turns;
mod watched;
mod wills;
mod wire;
mod writing;

pub use alias::TOPIC_ALIAS_MAXIMUM;
pub use broker::{Broker, BrokerParts};
pub use connect::CLIENT_ID_BYTES_MAX;
pub use connection::Stream;
pub use intake::{
    ALL_IN_FLIGHT_BYTES_MAX, NEWCOMERS_BYTES_MAX, PACKET_SECONDS_MAX, RECEIVE_BYTES_MAX,
    TENANT_IN_FLIGHT_BYTES_MAX, TENANT_RECEIVE_BYTES_MAX,
};
pub use outbox::{
    RELAY_BYTES_MAX, RELAY_QUEUE_BYTES_MAX, RELAY_QUEUE_MESSAGES_MAX, RELAY_TENANT_BYTES_MAX,
};
pub use parked::{
    DETACHED_SESSIONS_MAX, DEVICE_DETACHED_SESSIONS_MAX, TENANT_DETACHED_SESSIONS_MAX,
};
pub use restoring::Restoring;
pub use retained::{RETAINED_PAGE_BYTES_MAX, RETAINED_PAGE_MESSAGES_MAX};
pub use rounds::{SESSION_ROUND_BYTES_PER_SECOND_MAX, SESSION_ROUND_SECONDS_MIN};
pub use session::SESSION_SECONDS_MAX;
pub use sparkplug_host::CommandError;
pub use telling::{SESSION_NOTES_BYTES_MAX, TENANT_SESSION_NOTES_BYTES_MAX};
pub use topic::{TELEMETRY as TELEMETRY_TOPIC, matches as topic_matches};
pub use wills::{TENANT_WAITING_WILLS_MAX, WAITING_WILLS_MAX, WaitingWill};

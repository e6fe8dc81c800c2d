//! The MQTT broker core, 3.1.1 and 5.0, over any byte stream. What a client publishes goes to the
//! sink, one submission per socket read; acknowledgements leave in order once it is durable.
//! Retained messages, shared subscriptions and relaying are refused, not ignored.

mod alias;
mod broker;
mod connack;
mod connect;
mod connection;
mod device;
mod downlink;
mod encode;
mod frame;
mod message;
mod packet;
mod pending;
mod properties;
mod receipts;
mod session;
mod topic;
mod turns;
mod wire;

pub use alias::TOPIC_ALIAS_MAXIMUM;
pub use broker::{Broker, BrokerParts};
pub use connect::CLIENT_ID_BYTES_MAX;
pub use connection::Stream;
pub use session::{DETACHED_SESSIONS_MAX, SESSION_SECONDS_MAX};

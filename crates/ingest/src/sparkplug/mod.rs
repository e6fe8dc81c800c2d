//! Sparkplug B 3.0 with the platform as host application: payloads, topics, edge nodes and what is
//! known of them. The MQTT broker hands it messages; it opens no connection and keeps no reading.

mod certificate;
mod encode;
mod host;
mod metric;
mod node;
mod payload;
mod topic;
mod value;
mod view;
mod wire;

pub use host::{HOST_ID, NODES_MAX};
pub use metric::METRICS_MAX;
pub use node::{DEVICES_MAX, REBIRTH_INTERVAL};
pub use payload::{NESTING_MAX, PARTS_MAX};
pub use view::{MetricView, SparkplugView};

pub(crate) use certificate::of_certificate;
pub(crate) use encode::{Written, command, death_at, rebirth};
pub(crate) use host::{Host, NO_CREDENTIAL, Place, SharedNode, said};
pub(crate) use metric::Context;
pub(crate) use node::{Fault, Sender};
pub(crate) use payload::read;
pub(crate) use topic::{CERTIFICATES, Kind, PREFIX, Topic, of_command};
pub(crate) use value::to_send;

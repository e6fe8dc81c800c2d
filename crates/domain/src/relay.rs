//! A message from one device to others of its tenant. The platform keeps none of its content but
//! what the sender wants retained, and what waits for clients that are away.

use std::fmt;
use std::sync::Arc;

use crate::{CredentialId, DeviceId, TenantId, Timestamp};

/// A message to a topic that is none of the platform's own.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayMessage {
    /// The tenant inside which it stays.
    pub tenant: TenantId,
    /// The device that published it.
    pub device: DeviceId,
    /// The credential that it showed.
    pub credential: CredentialId,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// When it is no longer delivered (MQTT 5.0, 3.3.2.3.3).
    pub expires_at: Option<Timestamp>,
    /// The topic name (MQTT 5.0, 4.7).
    pub topic: Arc<str>,
    /// Properties of MQTT 5.0 that are passed on, in the form of the packet (2.2.2) without their
    /// length: payload format, content type, response topic, correlation data, user properties.
    pub properties: Arc<[u8]>,
    /// The payload. Empty with `retain`: the retained message of the topic is removed.
    pub payload: Arc<[u8]>,
    /// The QoS it was published with, 0 to 2.
    pub qos: u8,
    /// It becomes the retained message of its topic.
    pub retain: bool,
    /// How often routing rules have passed it on to another topic; 0 of what a device published.
    pub hops: u8,
}

impl RelayMessage {
    /// What it counts for in bounds, in bytes.
    pub fn content_bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }
}

impl fmt::Debug for RelayMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Topic and content are the tenant's.
        f.debug_struct("RelayMessage")
            .field("tenant", &self.tenant)
            .field("device", &self.device)
            .field("received_at", &self.received_at)
            .field("content_bytes", &self.content_bytes())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

/// What became of a session of a client that outlives its connection, so that it outlives the
/// process as well. Only the broker knows its form.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionNote {
    /// The session's tenant.
    pub tenant: TenantId,
    /// The device whose session it is.
    pub device: DeviceId,
    /// The client id, in a form of the broker's, and what happened.
    pub body: Arc<[u8]>,
}

impl fmt::Debug for SessionNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Topics and contents are the tenant's.
        f.debug_struct("SessionNote")
            .field("tenant", &self.tenant)
            .field("device", &self.device)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

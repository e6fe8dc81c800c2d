//! What passes between the listeners and the application: credentials, sessions, the entries a
//! sink makes durable, and what travels down to a device. No wire format lives here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use veritwin_domain::{
    ClientCertificate, CredentialId, DeviceBatch, DeviceId, Key, LimitExceeded, OpContext,
    PackageId, RelayMessage, Secret, SessionNote, TenantId, Timestamp, Value,
};

use crate::decoding::PayloadDecoder;

/// The way a device came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// MQTT 3.1 or 3.1.1.
    Mqtt3,
    /// MQTT 5.0.
    Mqtt5,
    /// The HTTP device API or the bulk write.
    Http,
    /// `/v1/ws`.
    WebSocket,
}

impl Transport {
    /// The name used in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt3 => "mqtt3",
            Self::Mqtt5 => "mqtt5",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }
}

/// What is known of the other end of a connection.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Its address, when there is one. Personal data: never logged by this crate.
    pub address: Option<SocketAddr>,
    /// How it speaks to us. The MQTT listener replaces it by the version the client asks for.
    pub transport: Transport,
    /// The certificates that the client showed, when TLS asked for them: the handshake proved that
    /// it holds the private key of its own.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl PeerInfo {
    /// A peer without a client certificate.
    pub const fn new(address: Option<SocketAddr>, transport: Transport) -> Self {
        Self { address, transport, certificate: None }
    }
}

/// What a device shows to be let in.
#[derive(Debug, Clone)]
pub enum Credential {
    /// An access token: MQTT user name without a password, or HTTP path or bearer token.
    Token(Secret<String>),
    /// Client id, user name and password.
    Password {
        /// The MQTT client id.
        client_id: Secret<String>,
        /// The user name.
        user: Secret<String>,
        /// The password; bytes in MQTT.
        password: Secret<Vec<u8>>,
    },
    /// X.509 client certificates whose private key TLS proved. Whether anybody trusts them is for
    /// the application to say.
    Certificate(Arc<ClientCertificate>),
}

/// A device that was let in.
#[derive(Debug, Clone)]
pub struct DeviceSession {
    /// Its tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The credential it showed.
    pub credential: CredentialId,
    /// How it came; none of one that another speaks for.
    pub transport: Option<Transport>,
    /// Its name, for answers to the device itself.
    pub name: Option<Secret<String>>,
    /// May speak for other devices (`v1/gateway/...`).
    pub gateway: bool,
    /// Is a host application of Sparkplug: commands the tenant's edge nodes.
    pub sparkplug_host: bool,
    /// Where it came from. Personal data: never logged by this crate.
    pub address: Option<IpAddr>,
    /// When the credential ends.
    pub ends_at: Option<Timestamp>,
    /// The certificate it showed, and when that or what vouches for it ends.
    pub certificate: Option<(Arc<ClientCertificate>, Timestamp)>,
    /// What makes readings of payloads of the device's own make.
    pub decoder: Option<PayloadDecoder>,
    /// What is held for as long as the session is.
    pub place: Place,
}

/// Something that the application holds for a session, such as a place under a bound. It is given
/// up with the session's last clone.
#[derive(Clone, Default)]
pub struct Place(Option<Arc<dyn std::any::Any + Send + Sync>>);

impl Place {
    /// Holds something.
    pub fn new(held: impl std::any::Any + Send + Sync) -> Self {
        Self(Some(Arc::new(held)))
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Place(held)" } else { "Place(none)" })
    }
}

impl DeviceSession {
    /// The session of an ordinary device.
    pub const fn new(tenant: TenantId, device: DeviceId, credential: CredentialId) -> Self {
        Self {
            tenant,
            device,
            credential,
            transport: None,
            name: None,
            gateway: false,
            sparkplug_host: false,
            address: None,
            ends_at: None,
            certificate: None,
            decoder: None,
            place: Place(None),
        }
    }
}

/// A device that a gateway speaks for, as the gateway names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildName {
    /// Its name.
    pub name: String,
    /// What kind of device it is, if it is made now.
    pub kind: Option<String>,
}

/// A program that may write for several devices of its tenant.
#[derive(Debug, Clone)]
pub struct WriterSession {
    /// Its tenant.
    pub tenant: TenantId,
    /// Who it is and what it may, for [`Login::devices_by_name`](crate::Login::devices_by_name).
    pub context: Option<OpContext>,
    /// What its batches carry as credential: the bytes of the API key's id.
    pub credential: CredentialId,
    /// What is held for as long as the request is.
    pub place: Place,
}

/// Whoever may use the bulk write.
#[derive(Debug, Clone)]
pub enum Writer {
    /// A device, for itself only.
    Device(Arc<DeviceSession>),
    /// A program with an API key, for devices it names.
    Tenant(Arc<WriterSession>),
}

impl Writer {
    /// The same, borrowed as the origin of a submission.
    pub fn origin(&self) -> Origin<'_> {
        match self {
            Self::Device(session) => Origin::Device(session),
            Self::Tenant(session) => Origin::Writer(session),
        }
    }
}

/// On whose behalf something is submitted.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A device.
    Device(&'a DeviceSession),
    /// A program with an API key.
    Writer(&'a WriterSession),
}

impl Origin<'_> {
    /// The tenant.
    pub const fn tenant(self) -> TenantId {
        match self {
            Self::Device(session) => session.tenant,
            Self::Writer(session) => session.tenant,
        }
    }

    /// The credential.
    pub const fn credential(self) -> CredentialId {
        match self {
            Self::Device(session) => session.credential,
            Self::Writer(session) => session.credential,
        }
    }
}

/// Client-side attributes that a device sent. Later values of a key replace earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributesUpdate {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The credential that sent them.
    pub credential: CredentialId,
    /// When the platform received them.
    pub received_at: Timestamp,
    /// The attributes.
    pub entries: Vec<(Key, Value)>,
    /// Size of the message, in bytes.
    pub payload_bytes: u64,
    /// The protocol has no way to tell the sender that they are refused (MQTT 3.1.1, QoS 0): the
    /// sink puts a durable refusal record in their place.
    pub refusal_recorded: bool,
}

/// An entry of a submission that the sink refuses for good, while it takes the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRefused {
    /// Its place in the submission.
    pub index: usize,
    /// The bound that it passes, by itself or with what is stored already. MQTT 5 0x97, HTTP 413.
    pub limit: LimitExceeded,
}

/// Why a message was refused. Few kinds, chosen by what the sender has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The payload is not what the topic takes.
    Payload,
    /// The topic is malformed or means nothing here.
    Topic,
    /// A bound was passed.
    Limit,
    /// The sender may not do this.
    NotAllowed,
    /// A policy of the tenant forbids the key or value.
    Policy,
    /// Understood, but this version does not do it.
    Unsupported,
}

impl RefusalReason {
    /// The name used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Topic => "topic",
            Self::Limit => "limit",
            Self::NotAllowed => "not_allowed",
            Self::Policy => "policy",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A record that a message was refused. It never holds a value, a key or a topic of the sender's
/// own making: `detail` is wording of this crate with positions and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The credential that sent it.
    pub credential: CredentialId,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// Why.
    pub reason: RefusalReason,
    /// What was wrong, where, and what would be right.
    pub detail: String,
    /// Where, in bytes from the start of the payload.
    pub position: Option<usize>,
    /// The limit that was passed.
    pub limit: Option<&'static str>,
    /// Size of the refused payload, in bytes.
    pub payload_bytes: u64,
}

/// A message as it came, for whoever watches its device. Its payload and the words of its topic are
/// not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenMessage {
    /// How it came.
    pub transport: Transport,
    /// What its topic is for, in a word of this crate.
    pub topic: &'static str,
    /// The quality of service that the sender asked for; 0 where there is no such thing.
    pub qos: u8,
    /// Whether it is to be kept for those who subscribe later.
    pub is_retained: bool,
    /// Size of its payload, in bytes.
    pub payload_bytes: usize,
}

/// One thing to make durable. A submission's entries become durable together, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkEntry {
    /// Readings of one device.
    Readings(DeviceBatch),
    /// Attributes of one device.
    Attributes(AttributesUpdate),
    /// A refused message.
    Refusal(Refusal),
    /// A message of one device to others. With `retain` the sink keeps it for those who subscribe
    /// later, or forgets the kept one if the payload is empty.
    Relay {
        /// The message.
        message: Arc<RelayMessage>,
        /// As [`AttributesUpdate::refusal_recorded`].
        refusal_recorded: bool,
    },
    /// What became of a client's session.
    Note(SessionNote),
}

/// Where a message or a note stands: its place in the submission, and its position among all that
/// is durable.
pub type Placed = (usize, u64);

/// Which attributes a device asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributesRequest {
    /// Client-side keys; `None` when the request does not name the scope.
    pub client: Option<Vec<Key>>,
    /// Shared keys; `None` when the request does not name the scope. Both `None`: all of both.
    pub shared: Option<Vec<Key>>,
}

/// A device's attributes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    /// Written by the device.
    pub client: Vec<(Key, Value)>,
    /// Written by the application for the device.
    pub shared: Vec<(Key, Value)>,
}

/// A call from the application to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcRequest {
    /// Number of the call, unique among the device's open calls.
    pub id: u32,
    /// The method.
    pub method: String,
    /// The parameters, as JSON text.
    pub params: String,
}

/// A device's answer to a [`RpcRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcReply {
    /// Number of the call it answers.
    pub id: u32,
    /// The answer, as checked JSON text.
    pub body: String,
}

/// A call from a device to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRpc {
    /// The method.
    pub method: String,
    /// The parameters, as JSON text.
    pub params: String,
}

/// What the platform sends down to a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Downlink {
    /// Shared attributes have new values.
    AttributesUpdated(Vec<(Key, Value)>),
    /// Shared attributes are gone.
    AttributesDeleted(Vec<Key>),
    /// A call.
    Rpc(RpcRequest),
    /// Something for a device behind a gateway, sent to the gateway.
    OfChild {
        /// The device's name, as the gateway gives it.
        name: Arc<str>,
        /// What it is.
        downlink: Box<Downlink>,
    },
    /// The gateway speaks for this device no longer.
    ChildGone(Arc<str>),
}

/// Which package of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackageKind {
    /// What the device runs on.
    Firmware,
    /// What runs on the device.
    Software,
}

/// A piece of a package that a device asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRequest {
    /// Which package.
    pub kind: PackageKind,
    /// The title and version it expects, if it says so.
    pub expected: Option<(String, String)>,
    /// Bytes of each chunk; none: all of it at once.
    pub chunk_bytes: Option<u32>,
    /// Which chunk, from 0.
    pub chunk: u32,
    /// The package that earlier chunks were of: of another one nothing follows.
    pub begun: Option<PackageId>,
}

/// A piece of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The package.
    pub package: PackageId,
    /// Its bytes; none beyond the end.
    pub bytes: Vec<u8>,
}

/// A batch of a store-and-forward edge, as it came.
#[derive(Debug, Clone)]
pub struct EdgeBatch {
    /// The statement that the edge signed.
    pub statement: Bytes,
    /// What it is about: see [`parse_edge_content`](crate::payload::parse_edge_content).
    pub content: Bytes,
    /// How many entries wait at the edge behind it.
    pub waiting: Option<u64>,
}

/// What an edge is answered.
#[derive(Debug, Clone)]
pub struct EdgeAnswer {
    /// Whether it is durable, now or before: the edge need not keep it any longer.
    pub is_taken: bool,
    /// What became of it, in one word.
    pub outcome: &'static str,
    /// Counter of the last batch that was taken.
    pub last_counter: u64,
    /// How many of its lines were refused, each by itself.
    pub refused: u64,
    /// How long the edge waits before the next one.
    pub wait: Duration,
    /// The platform's time.
    pub now: Timestamp,
}

/// Why the platform ends a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection took the session over.
    TakenOver,
    /// The credential or the device was disabled.
    Revoked,
    /// The credential ended at its time.
    CredentialEnded,
    /// The certificate, or what vouches for it, ended at its time.
    CertificateEnded,
    /// The certificate does not count any more: it was revoked by its authority, or the authority
    /// was disabled or taken away.
    CertificateRevoked,
    /// The platform stops.
    ShuttingDown,
}

impl CloseReason {
    /// Whether somebody has shut the device out: nothing of its session is kept. A device whose
    /// credential ended at its time comes back with the next one.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Revoked | Self::CertificateRevoked)
    }
}

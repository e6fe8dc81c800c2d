//! The two sides that the application implements: who may connect, and what becomes durable.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_domain::{
    ClaimRequest, DeviceId, LimitExceeded, ProvisionAnswer, ProvisionRequest, Reading,
    RelayMessage, Screening, Secret, SessionNote, TenantId,
};

use crate::arrivals::Arrivals;
use crate::link::DeviceLink;
use crate::model::{
    Attributes, AttributesRequest, ChildName, Chunk, ChunkRequest, ClientRpc, Credential,
    DeviceSession, EdgeAnswer, EdgeBatch, EntryRefused, Origin, PeerInfo, Placed, Refusal,
    RpcReply, SeenMessage, SinkEntry, Writer, WriterSession,
};
use crate::sparkplug::NO_CREDENTIAL;

/// Why a credential is not accepted. The texts reach the device; they hold no secret and do not
/// say which part of a credential was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No such credential. MQTT 5 0x86, 3.1.1 code 4, HTTP 401.
    #[error("unknown credential: expected a valid device token, user and password, or API key")]
    Unknown,
    /// Known, but may not connect (disabled, expired, key revoked). MQTT 5 0x87, 3.1.1 code 5,
    /// HTTP 403.
    #[error("not allowed: {0}")]
    Denied(String),
    /// Too many attempts or connections. MQTT 5 0x97, 3.1.1 code 3, HTTP 429.
    #[error("too many requests: {detail}; try again in {retry_after:?}")]
    Busy {
        /// What there is too much of.
        detail: String,
        /// The limit's name.
        limit: Option<&'static str>,
        /// When to try again.
        retry_after: Duration,
    },
    /// Cannot be decided now. MQTT 5 0x88, 3.1.1 code 3, HTTP 503.
    #[error("not available: {0}")]
    Unavailable(String),
}

/// Why a submission did not become durable. Nothing of it may be assumed stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The durable write failed. MQTT 5 0x80, 3.1.1 closes without acknowledging, HTTP 503.
    #[error("not durable: {0}")]
    Unavailable(String),
    /// No room. MQTT 5 0x97, 3.1.1 closes without acknowledging, HTTP 429 with Retry-After.
    #[error("too much at once: {detail}; try again in {retry_after:?}")]
    Busy {
        /// What there is too much of.
        detail: String,
        /// The limit's name.
        limit: Option<&'static str>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The sender may not (any more). MQTT 5 0x87, 3.1.1 closes, HTTP 403.
    #[error("not allowed: {0}")]
    Denied(String),
    /// Asked for something the platform does not have. HTTP 404; MQTT answers on the response
    /// topic.
    #[error("not found: {0}")]
    NotFound(String),
    /// All of it together passes a bound, and would pass it again. MQTT 5 0x97, HTTP 413; 3.1.1
    /// and QoS 0: a durable refusal record, then the acknowledgement.
    #[error(transparent)]
    Limit(LimitExceeded),
    /// Cannot be taken as it is, now or later. MQTT 5 0x99, HTTP 400; 3.1.1 and QoS 0 as above.
    #[error("refused: {0}")]
    Invalid(String),
}

impl SubmitError {
    /// Whether the same would be refused again, however often it is sent.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Limit(_) | Self::Invalid(_))
    }
}

/// Why readings are refused before they are submitted. The texts reach the device and hold no
/// value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// A policy of the tenant; the text names the rule. MQTT 5 0x87, HTTP 422.
    #[error("{0}")]
    Policy(String),
    /// The tenant has stored as much as it may. MQTT 5 0x97, HTTP 507.
    #[error(transparent)]
    Storage(LimitExceeded),
}

/// Who may connect. Called once per MQTT connection and once per HTTP request, so an
/// implementation keeps what it looked up for a short, bounded time.
#[async_trait]
pub trait Login: Send + Sync {
    /// The session of a device that shows `credential`.
    async fn authenticate(
        &self,
        credential: Credential,
        peer: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError>;

    /// Whoever shows `token` at the bulk write: a device with its token or a program with an API
    /// key that may write telemetry.
    async fn authenticate_writer(
        &self,
        token: Secret<String>,
        peer: &PeerInfo,
    ) -> Result<Writer, LoginError>;

    /// The devices of the writer's tenant with these names (or ids in text form), in the same
    /// order; `None` for a name that no device of the tenant has. The sessions carry the
    /// writer's credential.
    async fn devices_by_name(
        &self,
        writer: &WriterSession,
        names: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError>;

    /// Lets a device in that comes by itself, with the key and secret of a provisioning profile.
    async fn provision(
        &self,
        _request: ProvisionRequest,
        _peer: &PeerInfo,
    ) -> Result<ProvisionAnswer, LoginError> {
        Err(LoginError::Denied("no device comes in by itself here".to_owned()))
    }

    /// The devices that a gateway speaks for under these names, in the same order, each by itself
    /// let in or not; one that there is not yet is made. The sessions carry the gateway's
    /// credential and address. A name of a device that is not behind this gateway is refused, and
    /// so is everything when the session is no gateway.
    async fn children(
        &self,
        _gateway: &DeviceSession,
        _names: &[ChildName],
    ) -> Result<Vec<Result<Arc<DeviceSession>, LoginError>>, LoginError> {
        Err(LoginError::Denied("this device is no gateway".to_owned()))
    }

    /// Which devices of these names are behind a gateway still, in the same order. None is made.
    async fn children_there(
        &self,
        _gateway: &DeviceSession,
        _names: &[String],
    ) -> Result<Vec<Option<DeviceId>>, LoginError> {
        Err(LoginError::Denied("this device is no gateway".to_owned()))
    }
}

/// Where what devices send goes. `Ok` of [`Sink::submit`] means durable: the acknowledgement
/// leaves right after it.
///
/// Several submissions of one connection are in flight at once. They are first polled in the
/// order in which they were sent, and entries have to be queued in that order.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Where readings without a time get theirs: one for all doors that submit here.
    fn arrivals(&self) -> &Arrivals;

    /// The rules on what must not be kept. Readings and attributes are held to them while they are
    /// read, where what breaks one still has a place.
    fn screening(&self) -> Screening {
        Screening::ALL
    }

    /// Makes all entries durable, or none; but for those that it names, which it refuses for good.
    /// Attributes are refused so, whose bound is that of everything the device has stored, and
    /// messages that are to be retained, whose bound is that of the tenant's.
    async fn submit(
        &self,
        origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError>;

    /// The same, and where messages and notes stand among all that is durable, in their order.
    async fn submit_placed(
        &self,
        origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError> {
        self.submit(origin, entries).await.map(|refused| (refused, Vec::new()))
    }

    /// Whether notes of sessions come back after a restart: [`Restoring`](crate::mqtt::Restoring).
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// The position that what is made durable next will have, at least.
    fn log_tail(&self) -> u64 {
        0
    }

    /// Makes notes of a tenant's sessions durable that no connection waits for. They are the
    /// platform's own: what a device or its tenant has to wait for is not in their way.
    async fn tell_sessions(
        &self,
        tenant: TenantId,
        notes: Vec<SessionNote>,
    ) -> Result<(), SubmitError> {
        let Some(first) = notes.first() else { return Ok(()) };
        let session = DeviceSession::new(tenant, first.device, NO_CREDENTIAL);
        let entries = notes.into_iter().map(SinkEntry::Note).collect();
        self.submit(Origin::Device(&session), entries).await.map(drop)
    }

    /// From this position on the notes say where every session stands. What is before it is not
    /// needed any more.
    async fn sessions_kept_from(&self, _position: u64) -> Result<(), SubmitError> {
        Ok(())
    }

    /// Asked before messages of one request are submitted: [`SubmitError::Busy`] refuses them over
    /// a rate, and they cost nothing.
    fn admit(&self, _origin: Origin<'_>, _messages: u32) -> Result<(), SubmitError> {
        Ok(())
    }

    /// Asked before readings of one request are submitted, all together: [`SubmitError::Busy`]
    /// refuses them over a rate, and they cost nothing. Asked with none before a body is decoded.
    /// They are counted by [`veritwin_domain::count_readings`], attributes by
    /// [`veritwin_domain::count_attributes`].
    fn admit_readings(&self, _origin: Origin<'_>, _readings: u32) -> Result<(), SubmitError> {
        Ok(())
    }

    /// Counts messages, and the readings in them, that were read from a connection. It is not read
    /// from for the answered time, so that its sender slows down and loses nothing.
    fn pace(&self, _origin: Origin<'_>, _messages: u32, _readings: u32) -> Duration {
        Duration::ZERO
    }

    /// Looks at the readings of one message before they are submitted. `Err` refuses the message.
    fn inspect(&self, _origin: Origin<'_>, _readings: &[Reading]) -> Result<(), Objection> {
        Ok(())
    }

    /// [`Self::inspect`] is not asked of readings of one message that take no more than so many
    /// bytes ([`veritwin_domain::stored_bytes`]); of all of them where this is none. Asked once for
    /// all that is read from a connection at a time.
    fn spare_bytes(&self, _origin: Origin<'_>) -> Option<u64> {
        None
    }

    /// Whether somebody watches what this device sends, as it comes. Asked once for all that is
    /// read from it at a time.
    fn is_watched(&self, _session: &DeviceSession) -> bool {
        false
    }

    /// A message of a device that is watched has come. Never waits.
    fn saw(&self, _session: &DeviceSession, _message: SeenMessage) {}

    /// A message was refused, and its sender was told why: no durable record says it. Never waits.
    fn told(&self, _refusal: Refusal) {}

    /// A device's attributes.
    async fn attributes(
        &self,
        _session: &DeviceSession,
        _request: AttributesRequest,
    ) -> Result<Attributes, SubmitError> {
        Ok(Attributes::default())
    }

    /// The retained messages of the session's tenant whose topics match a filter (see
    /// [`topic_matches`](crate::mqtt::topic_matches)), those that have expired left out: in the
    /// order of their topics, the next ones after a topic, none when there are no more. At most
    /// [`RETAINED_PAGE_MESSAGES_MAX`](crate::mqtt::RETAINED_PAGE_MESSAGES_MAX); of bytes at most
    /// [`RETAINED_PAGE_BYTES_MAX`](crate::mqtt::RETAINED_PAGE_BYTES_MAX), but for a single message.
    async fn retained(
        &self,
        _session: &DeviceSession,
        _filter: &str,
        _after: Option<Arc<str>>,
    ) -> Result<Vec<Arc<RelayMessage>>, SubmitError> {
        Ok(Vec::new())
    }

    /// A piece of the package that is assigned to the device; at most
    /// [`CHUNK_BYTES_MAX`](crate::CHUNK_BYTES_MAX). Empty beyond the end. Refused when the request
    /// says that it has begun with another package.
    async fn chunk(
        &self,
        _session: &DeviceSession,
        _request: ChunkRequest,
    ) -> Result<Chunk, SubmitError> {
        Err(SubmitError::NotFound("no package is assigned to this device".to_owned()))
    }

    /// A batch that an edge has signed. `Ok` with [`EdgeAnswer::is_taken`] means durable, once,
    /// however often it comes.
    async fn edge_batch(
        &self,
        _session: &Arc<DeviceSession>,
        _batch: EdgeBatch,
    ) -> Result<EdgeAnswer, SubmitError> {
        Err(SubmitError::NotFound("no edge hands over batches here".to_owned()))
    }

    /// A device's answer to a call of the application.
    async fn rpc_reply(
        &self,
        _session: &DeviceSession,
        _reply: RpcReply,
    ) -> Result<(), SubmitError> {
        Err(SubmitError::NotFound("nobody waits for an answer".to_owned()))
    }

    /// A device lets itself be claimed for a while.
    async fn claim(
        &self,
        _session: &DeviceSession,
        _request: ClaimRequest,
    ) -> Result<(), SubmitError> {
        Err(SubmitError::Denied("devices are not claimed here".to_owned()))
    }

    /// A device's call to the platform; the answer is JSON text.
    async fn rpc_call(
        &self,
        _session: &DeviceSession,
        _call: ClientRpc,
    ) -> Result<String, SubmitError> {
        Err(SubmitError::NotFound("no such method".to_owned()))
    }

    /// A device listens to calls from now on: those that were kept for it can be sent. Never
    /// waits.
    fn listens(&self, _session: &DeviceSession) {}

    /// A device has the call with this number, and has not answered it yet. Never waits.
    fn call_delivered(&self, _session: &DeviceSession, _id: u32) {}

    /// A device is connected (MQTT, WebSocket) or waits in a long poll (HTTP). Through `link` it
    /// can be sent attribute updates and calls, or be disconnected, until [`Sink::detach`].
    async fn attach(&self, _session: &Arc<DeviceSession>, _link: DeviceLink) {}

    /// The link with this id is gone. Called once for each attached link.
    async fn detach(&self, _session: &Arc<DeviceSession>, _link: &DeviceLink) {}
}

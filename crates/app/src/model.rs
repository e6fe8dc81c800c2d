//! What use cases take and give back. Plain values without a wire format: each edge has its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use veritwin_domain::{
    ActivityId, AlertId, ApiKeyId, BatchId, CredentialId, Declaration, DeviceId, Key, Quality,
    RequestId, Role, RuleId, Secret, SiteId, TenantId, Timestamp, UserId, Value,
};

/// A page of a list and where the next one begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Opaque; none when this was the last page.
    pub next_cursor: Option<String>,
}

/// Which page is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// As given by the page before.
    pub cursor: Option<String>,
    /// Rows; bounded by [`PAGE_ROWS_MAX`].
    pub limit: Option<usize>,
}

/// Most rows of one page.
pub const PAGE_ROWS_MAX: usize = 500;
/// Rows of a page when nothing is asked for.
pub const PAGE_ROWS_DEFAULT: usize = 100;

impl PageRequest {
    /// The number of rows to give.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX)
    }
}

/// A signed-in person and where they are.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The account.
    pub user: UserView,
    /// The tenant.
    pub tenant: TenantView,
}

/// A new session: the cookie's token and what it shows.
#[derive(Debug)]
pub struct SignedIn {
    /// The session token, for the cookie alone.
    pub token: Secret<String>,
    /// Who signed in.
    pub session: SessionView,
}

/// An account as a member of a tenant.
#[derive(Debug, Clone)]
pub struct UserView {
    /// The account.
    pub id: UserId,
    /// Its address.
    pub email: Secret<String>,
    /// Its name; empty when none was given.
    pub name: Secret<String>,
    /// Its roles in this tenant.
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A tenant.
#[derive(Debug, Clone)]
pub struct TenantView {
    /// The tenant.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// Whether its readings are sealed into the ledger archive.
    pub archive_subscribed: bool,
    /// Whether its data is simulated.
    pub simulated: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a one-time link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// Makes the first tenant and its first administrator.
    FirstAdministrator,
    /// Makes a further administrator of an existing tenant.
    Administrator,
    /// Takes up an invitation.
    Invitation,
}

/// A one-time link, looked into.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// What it is for.
    pub kind: LinkKind,
    /// The invited address.
    pub email: Option<Secret<String>>,
}

/// What a person enters behind a one-time link.
#[derive(Debug)]
pub struct Welcome {
    /// Name of the organisation; needed for the first administrator.
    pub organisation: Option<String>,
    /// Address; needed unless the link is an invitation.
    pub email: Option<Secret<String>>,
    /// Name, optional.
    pub name: Option<Secret<String>>,
    /// The new password.
    pub password: Secret<String>,
}

/// An API key, without its secret.
#[derive(Debug, Clone)]
pub struct ApiKeyView {
    /// The key.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// Where a device stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    /// The twin.
    pub twin_id: Option<SiteId>,
    /// IFC GlobalId of the space.
    pub space_id: Option<String>,
    /// IFC GlobalId of the element.
    pub element_id: Option<String>,
    /// Metres, Z up, in the twin's world frame.
    pub position: Option<[f64; 3]>,
}

/// A device.
#[derive(Debug, Clone)]
pub struct DeviceView {
    /// The device.
    pub id: DeviceId,
    /// Its name, unique in the tenant.
    pub name: Arc<str>,
    /// What kind of device; empty when not said.
    pub kind: Arc<str>,
    /// Where it stands.
    pub placement: Placement,
    /// What the customer says of personal data in its streams.
    pub declaration: Declaration,
    /// Unit of each series, such as `°C`.
    pub units: BTreeMap<String, String>,
    /// Its series.
    pub keys: Vec<Key>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something last arrived from it.
    pub last_seen_at: Option<Timestamp>,
    /// Whether it is connected now, or sent something in the last minutes.
    pub online: bool,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

/// What can be set of a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceInput {
    /// Its name.
    pub name: String,
    /// What kind of device.
    pub kind: String,
    /// Where it stands.
    pub placement: Placement,
    /// What the customer says of personal data in its streams.
    pub declaration: Declaration,
    /// Unit of each series.
    pub units: BTreeMap<String, String>,
}

/// A change to a device: only what is given changes.
#[derive(Debug, Clone, Default)]
pub struct DeviceChange {
    /// A new name.
    pub name: Option<String>,
    /// A new kind.
    pub kind: Option<String>,
    /// A new place.
    pub placement: Option<Placement>,
    /// A new declaration.
    pub declaration: Option<Declaration>,
    /// New units.
    pub units: Option<BTreeMap<String, String>>,
    /// The version it was read at; a newer one is a conflict.
    pub if_version: Option<i64>,
}

/// Which devices are wanted.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Part of a name or kind, whatever its case.
    pub search: Option<String>,
    /// Devices of one twin.
    pub twin: Option<SiteId>,
}

/// A device's credential, without its secret.
#[derive(Debug, Clone)]
pub struct CredentialView {
    /// The credential.
    pub id: CredentialId,
    /// `access_token`, ...
    pub kind: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an inventory import did.
#[derive(Debug)]
pub struct InventoryOutcome {
    /// Devices made.
    pub created: usize,
    /// Devices changed.
    pub updated: usize,
    /// Tokens of the new devices, shown once.
    pub tokens: Vec<(String, Secret<String>)>,
}

/// The attributes of a device, by scope, as JSON values.
#[derive(Debug, Clone, Default)]
pub struct AttributesView {
    /// Sent by the device.
    pub client: BTreeMap<String, Value>,
    /// Written here, visible to the device.
    pub shared: BTreeMap<String, Value>,
    /// Written here, hidden from the device.
    pub server: BTreeMap<String, Value>,
}

/// Attributes to write; none deletes.
#[derive(Debug, Clone, Default)]
pub struct AttributesChange {
    /// Shared scope.
    pub shared: BTreeMap<String, Option<Value>>,
    /// Server scope.
    pub server: BTreeMap<String, Option<Value>>,
}

/// Counts of a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TwinCounts {
    /// Storeys.
    pub storeys: usize,
    /// Spaces.
    pub spaces: usize,
    /// Elements.
    pub elements: usize,
    /// Sensors among the elements.
    pub sensors: usize,
    /// Devices bound to it.
    pub devices: usize,
}

/// A twin.
#[derive(Debug, Clone)]
pub struct TwinView {
    /// The twin.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// The IFC schema of its source.
    pub schema: String,
    /// SHA-256 of its source.
    pub source_sha256: [u8; 32],
    /// Size of its source, in bytes.
    pub source_bytes: u64,
    /// Counts.
    pub counts: TwinCounts,
    /// Whether its geometry was converted.
    pub has_geometry: bool,
    /// Alerts that are active or not acknowledged.
    pub active_alerts: usize,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an import made.
#[derive(Debug, Clone)]
pub struct TwinOutcome {
    /// The twin.
    pub twin: TwinView,
    /// What was left out of the file, and why; bindings that were lost.
    pub warnings: Vec<String>,
}

/// A storey of a model.
#[derive(Debug, Clone)]
pub struct StoreyView {
    /// IFC GlobalId.
    pub id: String,
    /// Its name.
    pub name: String,
    /// 0 for the lowest.
    pub index: u32,
    /// Height of its floor, in metres.
    pub elevation_m: f64,
    /// To the next storey's floor, in metres.
    pub height_m: f64,
}

/// A space of a model.
#[derive(Debug, Clone)]
pub struct SpaceView {
    /// IFC GlobalId.
    pub id: String,
    /// Its name, usually the room number.
    pub name: String,
    /// What the room is for.
    pub long_name: String,
    /// Its storey.
    pub storey_id: String,
    /// Area in square metres.
    pub area_m2: f64,
    /// Height in metres.
    pub height_m: f64,
    /// Height of its floor, in metres.
    pub elevation_m: f64,
    /// Outline in metres, counter-clockwise, not closed.
    pub polygon: Vec<[f64; 2]>,
}

/// An element of a model.
#[derive(Debug, Clone)]
pub struct ElementView {
    /// IFC GlobalId.
    pub id: String,
    /// Its name.
    pub name: String,
    /// IFC class.
    pub class: String,
    /// Its storey.
    pub storey_id: Option<String>,
    /// The space it is in.
    pub space_id: Option<String>,
    /// Origin of its placement, metres, Z up.
    pub position: Option<[f64; 3]>,
}

/// The model of a twin.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// The twin.
    pub twin: SiteId,
    /// The project's name in the file.
    pub name: String,
    /// Least and greatest corner, in metres.
    pub bounds: [[f64; 3]; 2],
    /// Lowest first.
    pub storeys: Vec<StoreyView>,
    /// By storey, then name.
    pub spaces: Vec<SpaceView>,
    /// In the order of the file.
    pub elements: Vec<ElementView>,
}

/// Which relations of a twin's graph are wanted; everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct GraphQuery {
    /// An IFC GlobalId or a device id.
    pub subject: Option<String>,
    /// A Brick relation.
    pub relation: Option<String>,
    /// Class of the object.
    pub class: Option<String>,
}

/// Which latest values are wanted; everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct LatestFilter {
    /// Devices; all that the actor may see when not given.
    pub devices: Option<Vec<DeviceId>>,
    /// Devices of one twin.
    pub twin: Option<SiteId>,
    /// Series; all when not given.
    pub keys: Option<Vec<Key>>,
}

/// A latest value.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestView {
    /// The device.
    pub device: DeviceId,
    /// The series.
    pub key: Key,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// Which series' history is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId {
    /// The device.
    pub device: DeviceId,
    /// The series.
    pub key: Key,
}

/// A history question.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// Which series; at most [`SERIES_PER_QUERY_MAX`].
    pub series: Vec<SeriesId>,
    /// From, inclusive.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// Width of buckets, in microseconds; none for raw points.
    pub bucket_micros: Option<i64>,
    /// At most this many points a series; with raw points too many turn into buckets.
    pub points_max: Option<usize>,
    /// Raw points a series.
    pub limit: usize,
    /// Newest first.
    pub descending: bool,
}

/// Most series in one question.
pub const SERIES_PER_QUERY_MAX: usize = 128;
/// Most points of one series in one answer.
pub const POINTS_PER_SERIES_MAX: usize = 100_000;

/// One raw point.
#[derive(Debug, Clone, PartialEq)]
pub struct PointView {
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// One bucket of a numeric series.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketView {
    /// Where it begins.
    pub at: Timestamp,
    /// Readings in it.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The earliest.
    pub first: f64,
    /// The latest.
    pub last: f64,
}

/// The points or buckets of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryData {
    /// As recorded.
    Points(Vec<PointView>),
    /// Down-sampled.
    Buckets {
        /// Their width in microseconds.
        width_micros: i64,
        /// Those with at least one reading.
        buckets: Vec<BucketView>,
    },
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySeries {
    /// Which.
    pub series: SeriesId,
    /// Its unit, when known.
    pub unit: Option<String>,
    /// Its data.
    pub data: HistoryData,
    /// Where to go on when `limit` cut it: the last point's time.
    pub next: Option<Timestamp>,
}

/// Exact figures of a series over a range.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsView {
    /// Which.
    pub series: SeriesId,
    /// Readings.
    pub count: u64,
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
    /// The earliest.
    pub first_at: Option<Timestamp>,
    /// The latest.
    pub last_at: Option<Timestamp>,
}

/// When a rule raises an alert.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleCondition {
    /// A number is beyond a threshold for some time.
    Threshold {
        /// The series.
        key: String,
        /// `gt`, `ge`, `lt`, `le`.
        op: String,
        /// The threshold, in the series' unit.
        threshold: f64,
        /// How far back it must come before the alert clears.
        hysteresis: f64,
        /// How long it must last, in seconds.
        for_seconds: u64,
    },
    /// Nothing arrives.
    NoData {
        /// The series; none for the device as a whole.
        key: Option<String>,
        /// After this silence, in seconds.
        after_seconds: u64,
    },
}

/// Which devices a rule watches; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleScope {
    /// One device.
    pub device_id: Option<DeviceId>,
    /// Devices of one kind.
    pub device_type: Option<String>,
    /// Devices of one twin.
    pub twin_id: Option<SiteId>,
}

/// An alert rule as it is written.
#[derive(Debug, Clone)]
pub struct RuleInput {
    /// Its name.
    pub name: String,
    /// `critical`, `high`, `medium`, `low`.
    pub severity: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Which devices it watches.
    pub scope: RuleScope,
    /// When it raises an alert.
    pub condition: RuleCondition,
    /// Mail addresses to notify.
    pub notify_emails: Vec<Secret<String>>,
    /// What usually helps.
    pub what_helps: String,
}

/// An alert rule.
#[derive(Debug, Clone)]
pub struct RuleView {
    /// The rule.
    pub id: RuleId,
    /// As it is written.
    pub rule: RuleInput,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

/// Which alerts are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlertFilter {
    /// Active, acknowledged or not.
    Active,
    /// Active and unacknowledged.
    Unacknowledged,
    /// Active, or cleared but not acknowledged.
    #[default]
    Open,
    /// Everything.
    All,
}

/// One step in an alert's life.
#[derive(Debug, Clone)]
pub struct AlertEventView {
    /// When.
    pub at: Timestamp,
    /// `raised`, `cleared`, `acknowledged`.
    pub kind: &'static str,
    /// Who, for what people do.
    pub by: Option<String>,
    /// What they wrote.
    pub comment: Option<String>,
}

/// An alert.
#[derive(Debug, Clone)]
pub struct AlertView {
    /// The alert.
    pub id: AlertId,
    /// The rule that raised it.
    pub rule_id: RuleId,
    /// The rule's name when it was raised.
    pub rule_name: String,
    /// `critical`, `high`, `medium`, `low`.
    pub severity: &'static str,
    /// `active_unacknowledged`, `active_acknowledged`, `cleared_unacknowledged`, `cleared`.
    pub state: &'static str,
    /// The device.
    pub device_id: DeviceId,
    /// Its name.
    pub device_name: Arc<str>,
    /// The series; none for a device that is silent as a whole.
    pub key: Option<Key>,
    /// The series' unit.
    pub unit: Option<String>,
    /// Where the device stands.
    pub placement: Placement,
    /// The storey of its space.
    pub storey_id: Option<String>,
    /// What, where, since when, how sure.
    pub message: String,
    /// The value that raised it.
    pub value: Option<f64>,
    /// The rule's threshold.
    pub threshold: Option<f64>,
    /// When it became active.
    pub raised_at: Timestamp,
    /// When it cleared.
    pub cleared_at: Option<Timestamp>,
    /// When it was acknowledged.
    pub acknowledged_at: Option<Timestamp>,
    /// By whom.
    pub acknowledged_by: Option<String>,
    /// What usually helps.
    pub what_helps: String,
    /// Its life so far.
    pub events: Vec<AlertEventView>,
}

/// One row of the activity record.
#[derive(Debug, Clone)]
pub struct ActivityView {
    /// The row.
    pub id: ActivityId,
    /// When.
    pub at: Timestamp,
    /// Who: a person's name or address, an API key's name, a device, a job.
    pub actor: String,
    /// What, as in the policies.
    pub action: String,
    /// To what.
    pub resource: String,
    /// `done`, `denied`, `failed`.
    pub outcome: String,
    /// For tracing.
    pub request: RequestId,
}

/// A tenant's ledger at a glance.
#[derive(Debug, Clone)]
pub struct LedgerView {
    /// The random id under which the log is served.
    pub log_id: String,
    /// The checkpoint's origin.
    pub origin: String,
    /// The log's verifier key, `NAME+HEX+BASE64`.
    pub vkey: String,
    /// Entries.
    pub tree_size: u64,
    /// Root hash.
    pub root_hash: [u8; 32],
    /// The signed checkpoint.
    pub checkpoint: String,
    /// When the last batch was sealed.
    pub last_sealed_at: Option<Timestamp>,
    /// Records that are durable but not yet sealed.
    pub pending_records: u64,
    /// Whether the archive answers.
    pub connected: bool,
    /// Whether readings are sealed, or digests only.
    pub subscribed: bool,
    /// The archive runs on this host under this user: a limit to its neutrality.
    pub shared_host: bool,
    /// Its address.
    pub address: String,
}

/// One leaf of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerEntryView {
    /// Its index.
    pub index: u64,
    /// `batch`, `evidence`, ...
    pub kind: String,
    /// The batch.
    pub batch: BatchId,
    /// First log sequence in it.
    pub first_sequence: u64,
    /// Last log sequence in it.
    pub last_sequence: u64,
    /// Records.
    pub count: u64,
    /// Earliest event time.
    pub from: Option<Timestamp>,
    /// Latest event time.
    pub to: Option<Timestamp>,
    /// SHA-256 of the payload's ciphertext.
    pub payload_sha256: [u8; 32],
    /// Its size in bytes.
    pub payload_bytes: u64,
    /// Root of the salted record hashes.
    pub records_root: [u8; 32],
    /// RFC 6962 leaf hash.
    pub leaf_hash: [u8; 32],
    /// When it was sealed.
    pub sealed_at: Timestamp,
}

/// The proof that a leaf is in the log.
#[derive(Debug, Clone)]
pub struct LedgerProofView {
    /// The leaf's index.
    pub index: u64,
    /// Size of the tree it is proven against.
    pub tree_size: u64,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// Its hash.
    pub leaf_hash: [u8; 32],
    /// The audit path, bottom up.
    pub path: Vec<[u8; 32]>,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// The log's verifier key.
    pub vkey: String,
}

/// The credential behind a reading.
#[derive(Debug, Clone, Copy)]
pub struct PapersCredential {
    /// Its id.
    pub id: CredentialId,
    /// `access_token`, ... or `api_key` for a program.
    pub kind: &'static str,
}

/// The papers of one reading.
#[derive(Debug, Clone)]
pub struct PapersView {
    /// The reading.
    pub reading: LatestView,
    /// The device's name.
    pub device_name: Arc<str>,
    /// The credential that sent it, once the batch is sealed.
    pub credential: Option<PapersCredential>,
    /// When the platform received it.
    pub received_at: Option<Timestamp>,
    /// Its position in the durable log.
    pub position: Option<u64>,
    /// The leaf that holds it.
    pub entry: Option<LedgerEntryView>,
    /// Tree size and root hash of the checkpoint that covers the leaf.
    pub checkpoint: Option<(u64, [u8; 32])>,
    /// Version of the tenant's key-encryption key.
    pub kek_version: u32,
}

/// A promise with its live state.
#[derive(Debug, Clone)]
pub struct PromiseView {
    /// `P01` to `P62`.
    pub id: String,
    /// What is promised.
    pub text: String,
    /// The sentence of the published policy.
    pub source: String,
    /// The feature that keeps it.
    pub feature: String,
    /// `proven`, `failing`, `stale`, `not_evidenced`, `not_applicable`.
    pub state: &'static str,
    /// What the last run found.
    pub summary: Option<String>,
    /// Its facts.
    pub facts: Vec<(String, String)>,
    /// The leaf of the platform's log that holds the evidence's digest.
    pub ledger_index: Option<u64>,
    /// When it was last checked.
    pub checked_at: Option<Timestamp>,
    /// When it is due again.
    pub next_check_at: Option<Timestamp>,
    /// Why it is not proven, or what a proof cannot show.
    pub reason: Option<String>,
    /// Who must act when it is red.
    pub owner: String,
}

/// What one key protects.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// `platform` or the tenant.
    pub owner: String,
    /// `kek`, or the class of data of a data key.
    pub kind: String,
    /// Version of the key-encryption key.
    pub version: u32,
    /// How many live keys of this kind.
    pub count: u64,
    /// The oldest one's birth.
    pub oldest: Option<Timestamp>,
    /// The newest one's birth.
    pub newest: Option<Timestamp>,
    /// Last use.
    pub last_used: Option<Timestamp>,
    /// `active`, `revoked`, ...
    pub state: String,
}

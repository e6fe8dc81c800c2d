//! Devices with their place, credentials and attributes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use veritwin_domain::{
    AuthorityId, CredentialId, Declaration, DeviceId, Key, Secret, SiteId, Timestamp, Value,
};

use super::Page;

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
    /// What counts for its streams unless something else is said of one: its declaration, a rule
    /// for its type, or what is presumed of it.
    pub counts_as: Declaration,
    /// Whether it may speak for other devices.
    pub is_gateway: bool,
    /// Whether it is a host application of Sparkplug: it commands the tenant's edge nodes.
    pub is_sparkplug_host: bool,
    /// The gateway that speaks for it.
    pub gateway: Option<DeviceId>,
    /// Unit of each series, such as `°C`.
    pub units: BTreeMap<String, String>,
    /// Its series that may be seen.
    pub keys: Vec<Key>,
    /// How many series it has besides, that are personal or that nobody declared.
    pub streams_hidden: usize,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something last arrived from it.
    pub last_seen_at: Option<Timestamp>,
    /// By how many seconds its clock is slow, told from its live messages since the platform
    /// started; negative when it is fast, none when it is right within two minutes or not known.
    pub clock_slow_seconds: Option<i64>,
    /// Whether it is connected now, or sent something in the last minutes.
    pub online: bool,
    /// Its newest refused message since the platform started.
    pub last_refusal: Option<RefusalView>,
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

/// What a device is to gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayChange {
    /// It may speak for others, or no longer.
    Speaks(bool),
    /// This gateway speaks for it.
    Behind(DeviceId),
    /// It speaks for itself.
    Alone,
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
    /// Whether it is a gateway, or which one is its own.
    pub gateway: Option<GatewayChange>,
    /// Whether it is a host application of Sparkplug.
    pub is_sparkplug_host: Option<bool>,
    /// The version it was read at; a newer one is a conflict.
    pub if_version: Option<i64>,
}

/// Which devices are wanted.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Words, each part of the name or kind, in any case and order.
    pub search: Option<String>,
    /// Devices of one twin.
    pub twin: Option<SiteId>,
    /// Some of these; none: of all.
    pub ids: Option<Vec<DeviceId>>,
    /// Only those of which a message was refused since the platform started.
    pub has_refusals: bool,
}

/// A page of devices.
#[derive(Debug, Clone)]
pub struct DevicePage {
    /// The devices.
    pub page: Page<DeviceView>,
    /// How many the whole list has: with its first page.
    pub total: Option<u64>,
}

/// A device's credential, without its secret.
#[derive(Debug, Clone)]
pub struct CredentialView {
    /// The credential.
    pub id: CredentialId,
    /// `access_token`, `basic` or `x509`.
    pub kind: &'static str,
    /// What people call it.
    pub name: String,
    /// The MQTT client id it is bound to.
    pub client_id: Option<String>,
    /// The user name.
    pub user: Option<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: Option<String>,
    /// The certificate's common name.
    pub common_name: Option<String>,
    /// The authority that vouches for the common name, by its id.
    pub authority: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it counts.
    pub valid_from: Option<Timestamp>,
    /// Until when it counts.
    pub valid_until: Option<Timestamp>,
    /// Since when it lets nobody in.
    pub disabled_at: Option<Timestamp>,
    /// When it last let the device in.
    pub used_at: Option<Timestamp>,
}

/// What a new credential is made of.
#[derive(Debug, Clone, Default)]
pub enum CredentialInput {
    /// An access token, made here.
    #[default]
    Token,
    /// An access token that the device has already.
    OwnToken(Secret<String>),
    /// A user name and a password, with or without an MQTT client id.
    Basic {
        /// The client id, which the device then has to give.
        client_id: Option<String>,
        /// The user name.
        user: Option<String>,
        /// The password; none: one is made here.
        password: Option<Secret<String>>,
    },
    /// A certificate of the device.
    Certificate {
        /// PEM.
        certificate: String,
        /// The proof that its private key is at hand, PEM.
        proof: String,
    },
    /// A common name that an authority vouches for.
    CommonName {
        /// The authority.
        authority: AuthorityId,
        /// The common name.
        common_name: String,
    },
}

/// A new credential.
#[derive(Debug, Clone, Default)]
pub struct NewCredential {
    /// What people call it.
    pub name: String,
    /// What it is made of.
    pub input: CredentialInput,
    /// From when it counts.
    pub valid_from: Option<Timestamp>,
    /// Until when it counts.
    pub valid_until: Option<Timestamp>,
    /// The credential it takes the place of, and until when that one goes on.
    pub replaces: Option<(CredentialId, Timestamp)>,
}

/// A new credential with what is shown this once.
#[derive(Debug)]
pub struct MadeCredential {
    /// The credential.
    pub view: CredentialView,
    /// The token or password that was made here.
    pub secret: Option<Secret<String>>,
    /// The credential that it takes the place of ends then.
    pub replaced: Option<(CredentialId, Timestamp)>,
}

/// A change to a credential: only what is given changes.
#[derive(Debug, Clone, Default)]
pub struct CredentialChange {
    /// A new name.
    pub name: Option<String>,
    /// Until when it counts; some none: without an end.
    pub valid_until: Option<Option<Timestamp>>,
    /// Whether it lets nobody in.
    pub disabled: Option<bool>,
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

/// A message of a device that was refused, without what it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalView {
    /// When it was received.
    pub at: Timestamp,
    /// The name of the reason.
    pub reason: &'static str,
    /// What was wrong, where, and what would be right.
    pub detail: String,
    /// Where, in bytes from the start of the payload.
    pub position: Option<usize>,
    /// The limit that was passed.
    pub limit: Option<&'static str>,
    /// Size of the payload.
    pub payload_bytes: u64,
}

/// A connection of a device, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// When it began.
    pub connected_at: Timestamp,
    /// When it ended; none: it goes on.
    pub ended_at: Option<Timestamp>,
    /// The name of the protocol.
    pub protocol: String,
    /// Whether a gateway or edge node speaks for the device.
    pub is_relayed: bool,
    /// What the device showed.
    pub credential: CredentialId,
    /// From where it came, for those who may read access records.
    pub address: Option<IpAddr>,
    /// Within which time it promises to send something; 0 is no promise.
    pub keep_alive_seconds: Option<u16>,
    /// Who ended it: `device`, `network` or `platform`.
    pub ended_by: Option<String>,
    /// The reason code of MQTT 5, where the platform ended it.
    pub code: Option<u8>,
    /// Why it ended.
    pub reason: Option<String>,
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

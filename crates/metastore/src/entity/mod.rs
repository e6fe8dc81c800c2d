//! One module per entity: its row type and the typed operations on it.

mod activity;
mod alerts;
mod api_keys;
mod attributes;
mod credentials;
mod devices;
mod evidence;
mod factors;
mod idempotency;
mod links;
mod members;
mod offsets;
mod outbox;
mod rules;
mod sessions;
mod settings;
mod tenants;
mod twins;
mod users;

pub use activity::Activity;
pub use alerts::{Alert, AlertEvent, AlertEventKind, AlertFilter, AlertSeverity, AlertState};
pub use api_keys::ApiKey;
pub use attributes::{AttributeScope, Attributes};
pub use credentials::{Credential, CredentialKind, CredentialMatch};
pub use devices::{DEVICE_NAME_BYTES_MAX, Device, DeviceFilter, Placement};
pub use evidence::{EvidenceState, PromiseEvidence};
pub use factors::{Factor, FactorKind};
pub use links::{LinkId, LinkKind, OneTimeLink};
pub use members::Member;
pub use outbox::{OutboxEntry, OutboxId};
pub use rules::Rule;
pub use sessions::Session;
pub use settings::Setting;
pub use tenants::Tenant;
pub use twins::Twin;
pub use users::{Attestation, Realm, User, normalise_email};

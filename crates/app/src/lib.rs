//! The use cases and background jobs of the platform. Every use case takes the operation context
//! first, authorises the exact action on the exact resource, does its work, and leaves one
//! activity record. There is no other way to the stores.

mod activity;
mod alert_job;
mod alert_place;
mod alerts;
mod api_keys;
mod attributes;
mod backup;
mod context;
mod devices;
mod directory;
mod error;
mod history;
mod idempotency;
mod ingest;
mod inventory;
mod ledger;
mod ledger_job;
mod lineage;
mod links;
mod live;
mod maintenance;
pub mod model;
mod objects;
mod open;
mod papers;
mod people;
mod population;
mod promises;
mod provision;
mod rules;
mod system;
mod twins;
mod upgrade;

pub use backup::{
    BackupPlan, BackupProgress, BackupSummary, KEYRING_HORIZON, KeyringSummary, RestorePlan,
    RestoreSummary, backup_instance, restore,
};
pub use context::{Arrival, DeviceCommand, DeviceLogin, Submission, WriterLogin};
pub use error::{Error, Result};
pub use idempotency::Idempotent;
pub use ledger::ArchiveAccess;
pub use live::{LiveEntry, LiveEvent, LiveReading, TwinChange};
pub use open::{App, Config};
pub use population::{Population, populated_email};
pub use promises::{PlatformProbe, ProbeAnswer};
pub use provision::Provisioned;
pub use system::Vault;
pub use upgrade::SchemaUpgrade;
pub use veritwin_metastore::PendingStep;
pub use veritwin_outbound::mail::MailConfig;

/// The operating system's randomness.
pub fn system_rng() -> impl veritwin_domain::Rng {
    veritwin_keys::SystemRng
}

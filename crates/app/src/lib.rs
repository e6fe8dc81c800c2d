//! The use cases and background jobs of the platform. Every use case takes the operation context
//! first, authorises the exact action on the exact resource, does its work, and leaves one
//! activity record. There is no other way to the stores.

mod access;
mod activity;
mod alert_job;
mod alert_place;
mod alert_state;
mod alerts;
mod api_keys;
mod attributes;
mod context;
mod devices;
mod directory;
mod error;
mod explain;
mod held;
mod history;
mod idempotency;
mod ingest;
mod inventory;
mod job_board;
#[cfg(test)]
mod job_tests;
mod ledger;
mod ledger_job;
mod ledger_open;
mod ledger_record;
mod links;
mod live;
mod log_cut;
mod maintenance;
pub mod model;
mod networks;
mod objects;
mod open;
mod papers;
mod people;
mod promises;
mod provision;
mod rights;
mod rules;
mod system;
mod twins;

pub use context::{Arrival, DeviceCommand, DeviceLogin, Submission, WriterLogin};
pub use error::{Error, Result};
pub use explain::Asked;
pub use idempotency::Idempotent;
pub use job_board::{Job, JobWatch};
pub use ledger::ArchiveAccess;
pub use live::{LiveEntry, LiveEvent, LiveReading, TwinChange};
pub use open::{App, Config};
pub use promises::{PlatformProbe, ProbeAnswer, RoleFixture};
pub use system::Vault;
pub use veritwin_outbound::mail::MailConfig;
pub use veritwin_telemetry::LATEST_AHEAD_MAX;

/// The operating system's randomness.
pub fn system_rng() -> impl veritwin_domain::Rng {
    veritwin_keys::SystemRng
}

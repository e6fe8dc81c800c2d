//! The names of the platform's own background jobs. Each is a Cedar principal; what it may do is
//! listed in `policies/jobs.cedar`, and a name that is missing there may do nothing.

/// Evaluates alert rules over the log.
pub const ALERTS: &str = "alerts";
/// Sets up the sample building of `veritwin demo`.
pub const DEMO: &str = "demo";
/// Tells of what is due in the governance workspace, and of breaches.
pub const GOVERNANCE: &str = "governance";
/// Logs devices in and keeps their presence.
pub const INGEST: &str = "ingest";
/// Seals batches into the ledger and publishes checkpoints.
pub const LEDGER: &str = "ledger";
/// Sends queued mail.
pub const MAIL: &str = "mail";
/// Runs promise checks.
pub const PROMISES: &str = "promises";
/// Deletes what is past its time.
pub const RETENTION: &str = "retention";
/// Takes messages to the places outside that tenants registered.
pub const ROUTES: &str = "routes";
/// Watches over access: raises security alerts and incidents, tells administrators.
pub const SECURITY: &str = "security";
/// Flushes and compacts telemetry segments.
pub const SEGMENTS: &str = "segments";

/// Every job there is.
pub const ALL: [&str; 11] = [
    ALERTS, DEMO, GOVERNANCE, INGEST, LEDGER, MAIL, PROMISES, RETENTION, ROUTES, SECURITY, SEGMENTS,
];

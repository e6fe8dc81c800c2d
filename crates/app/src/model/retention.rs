//! How long an organisation keeps readings, by itself and within its plan.

use veritwin_domain::{DeviceProfileId, Timestamp};

/// Series that are kept for less time than the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Of devices of this profile; none: of every device.
    pub profile: Option<DeviceProfileId>,
    /// Of keys that match, `*` standing for any characters; none: of every key.
    pub key: Option<String>,
    /// For so many days.
    pub days: u64,
}

/// How long an organisation keeps readings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionInput {
    /// All readings, in days; none: as long as the plan does.
    pub readings_days: Option<u64>,
    /// Hourly figures of readings that ended, in days from the readings' time; none: no figures.
    pub figures_days: Option<u64>,
    /// Series that are kept for less.
    pub rules: Vec<RetentionRule>,
}

/// The same as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionView {
    /// What the plan keeps, in days; none: without an end.
    pub plan_days: Option<u64>,
    /// What was set.
    pub kept: RetentionInput,
    /// Nothing of it is destroyed before this, so that a slip can be taken back.
    pub not_before: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
}

/// What ends next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionEnd {
    /// `plan`, `readings`, `rule` or `figures`.
    pub by: &'static str,
    /// Which rule, from 0.
    pub rule: Option<usize>,
    /// Readings before this are at their end.
    pub before: Timestamp,
    /// At most so many readings.
    pub readings: u64,
    /// Sealed sections that wait because of a hold.
    pub held_sections: u64,
}

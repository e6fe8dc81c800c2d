//! Rules and alerts.

use std::sync::Arc;

use veritwin_domain::{AlertId, DeviceId, Key, RuleId, Secret, SiteId, Timestamp};

use super::{Page, Placement};
pub use crate::mail::MailNote;

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
    /// Whether it watches streams that are personal or not declared, too. As it is read, known;
    /// as it is written, false accepts that it does not.
    pub sees_closed: Option<bool>,
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

/// In which state alerts are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlertFilter {
    /// Active and unacknowledged.
    Attention,
    /// Active, acknowledged or not.
    Active,
    /// Unacknowledged, active or not.
    Unacknowledged,
    /// Active, or cleared but not acknowledged.
    #[default]
    Open,
    /// Everything.
    All,
}

/// In which order alerts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlertOrder {
    /// The newest first.
    #[default]
    Newest,
    /// What waits for a person first, then the worst, then the newest.
    Urgency,
}

/// Which alerts are wanted, and in which order; everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct AlertQuery {
    /// In these states.
    pub filter: AlertFilter,
    /// `critical`, `high`, `medium`, `low`; empty: all of them.
    pub severities: Vec<String>,
    /// About this device.
    pub device: Option<DeviceId>,
    /// About a device that was bound to this twin.
    pub twin: Option<SiteId>,
    /// Their order.
    pub order: AlertOrder,
}

/// How many alerts of a list are of one severity and in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCount {
    /// `critical`, `high`, `medium`, `low`.
    pub severity: &'static str,
    /// `active_unacknowledged`, `active_acknowledged`, `cleared_unacknowledged`, `cleared`.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}

/// A page of alerts.
#[derive(Debug, Clone)]
pub struct AlertPage {
    /// The alerts.
    pub page: Page<AlertView>,
    /// How many the whole list has; with its first page only.
    pub counts: Option<Vec<AlertCount>>,
}

/// One step in an alert's life.
#[derive(Debug, Clone)]
pub struct AlertEventView {
    /// When.
    pub at: Timestamp,
    /// `raised`, `cleared`, `acknowledged`; `notified`, `not_mailed`, `mail_waits`.
    pub kind: &'static str,
    /// Who, for what people do.
    pub by: Option<String>,
    /// What they wrote.
    pub comment: Option<String>,
    /// Why it ended, if not by its value: `data_returned`, `rule_changed`, `device_removed`.
    pub reason: Option<String>,
    /// How many changes before it were not kept, and are told by this one.
    pub left_out: Option<u64>,
    /// To whom a mail went, or why it did not.
    pub mail: Option<MailNote>,
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
    /// What the message says, for translation: `alert.what.above` and so on.
    pub code: Option<String>,
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

//! What is shown of edge nodes and their devices.

use veritwin_domain::{Key, Timestamp, Value};

/// An edge node, or one of its devices, as the platform knows it since it started.
#[derive(Debug, Clone, PartialEq)]
pub struct SparkplugView {
    /// The group.
    pub group: String,
    /// The edge node.
    pub node: String,
    /// The device behind it, if it is one.
    pub device: Option<String>,
    /// Born, and not dead since.
    pub is_online: bool,
    /// The number of the node's last birth.
    pub bd_seq: Option<u64>,
    /// The sequence number of the node's last message.
    pub seq: Option<u8>,
    /// When its last birth came.
    pub born_at: Option<Timestamp>,
    /// Births of the node.
    pub births: u64,
    /// Deaths of the node.
    pub deaths: u64,
    /// Gaps in the node's sequence numbers.
    pub gaps: u64,
    /// Times the node was asked for a new birth.
    pub rebirths: u64,
    /// When something was wrong last, and what.
    pub last_error: Option<(Timestamp, String)>,
    /// Devices that were born, and those of them that are alive.
    pub devices: (usize, usize),
    /// What its birth has defined.
    pub metrics: Vec<MetricView>,
}

/// A metric of a birth certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricView {
    /// Its name.
    pub name: Key,
    /// The name of its data type.
    pub datatype: &'static str,
    /// Its alias.
    pub alias: Option<u64>,
    /// Its unit (`engUnit`).
    pub unit: Option<String>,
    /// When its last value was measured, if that was said.
    pub at: Option<Timestamp>,
    /// Its last value, but for long texts.
    pub value: Option<Value>,
    /// Its node or device is dead: the value may be old.
    pub is_stale: bool,
    /// It is about the node or device itself, and no reading.
    pub is_control: bool,
}

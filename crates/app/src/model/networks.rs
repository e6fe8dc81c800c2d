//! The networks that a tenant's people and devices may come from.

use std::net::IpAddr;

/// What is set. An empty list lets everybody in.
#[derive(Debug, Clone, Default)]
pub struct NetworksInput {
    /// Of people, as `203.0.113.0/24` or a single address.
    pub people: Vec<String>,
    /// Of devices.
    pub devices: Vec<String>,
}

/// What holds.
#[derive(Debug, Clone)]
pub struct NetworksView {
    /// Of people.
    pub people: Vec<String>,
    /// Of devices.
    pub devices: Vec<String>,
    /// Where the caller comes from.
    pub your_address: Option<IpAddr>,
    /// Counts changes.
    pub version: i64,
}

//! What statements read from: the devices, series and readings of one tenant that one actor may
//! see. Whoever implements it has authorised every row that it gives out.

use std::fmt;

use async_trait::async_trait;
use veritwin_domain::{DeviceId, Key, Quality, SiteId, Timestamp, Value};

/// Why something could not be read, in the words of whoever implements [`Source`].
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A device.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// What it is, in the customer's words.
    pub kind: String,
    /// The twin it is bound to.
    pub twin: Option<SiteId>,
    /// Whether it stands in the table of devices.
    pub is_listed: bool,
}

/// A reading of a series.
#[derive(Debug, Clone)]
pub struct Point {
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// Readings of a series, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The readings.
    pub points: Vec<Point>,
    /// From where the next ones are; none: that was all.
    pub next: Option<Timestamp>,
}

/// What one actor may see of one tenant.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// The devices with readings that may be seen.
    fn devices(&self) -> &[DeviceRow];

    /// The series of a device that may be seen; none of a device that is gone by now.
    async fn keys(&self, device: DeviceId) -> Result<Vec<Key>, Failure>;

    /// The latest values of a device that may be seen.
    async fn latest(&self, device: DeviceId) -> Result<Vec<(Key, Point)>, Failure>;

    /// The first readings of a series from a moment to another, which is outside. A page is small:
    /// it is in memory as a whole.
    async fn page(
        &self,
        device: DeviceId,
        key: &Key,
        range: (Timestamp, Timestamp),
    ) -> Result<Page, Failure>;
}

//! Readings as the tables that a statement reads: which devices and series there are for the actor,
//! and their readings a page at a time. Before each page the actor's rights are looked at again,
//! and a stream that is hidden is as good as not there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_domain::{DeviceId, Key, OpContext, TenantId, Timestamp};
use veritwin_metastore::Device;
use veritwin_telemetry::{Order, RangeQuery, TimeRange};

use crate::access::place_of;
use crate::model::{ExportPage, LatestView, PointView, SeriesId, TableDevice};
use crate::sight::Sight;
use crate::transfers::FlowWay;
use crate::{App, Error, Result};

/// Most points of a series that a statement reads at once.
pub const TABLE_PAGE_POINTS_MAX: usize = 8_192;

/// About what a reading takes in an answer. An answer tells no more readings than it has bytes for,
/// however many were read for it.
const READING_TOLD_BYTES: u64 = 16;

/// What a statement reads from.
pub struct TableReader {
    app: App,
    tenant: TenantId,
    /// Whether it is recorded that what is personal, or was not declared, was read.
    has_noted_personal: AtomicBool,
    points_read: AtomicU64,
    points_counted: AtomicU64,
}

impl fmt::Debug for TableReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableReader")
            .field("points_read", &self.points_read)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Readings as tables, for whoever may read any.
    pub fn tables(&self, context: &OpContext) -> Result<TableReader> {
        self.reach(context, Action::TelemetryRead, Kind::Telemetry)?;
        Ok(TableReader {
            app: self.clone(),
            tenant: context.tenant,
            has_noted_personal: AtomicBool::new(false),
            points_read: AtomicU64::new(0),
            points_counted: AtomicU64::new(0),
        })
    }
}

impl TableReader {
    /// The devices whose readings the actor may read, by name. That they are read is recorded.
    #[boxed]
    pub async fn begin(&self, context: &OpContext) -> Result<Vec<TableDevice>> {
        let read = self.reach(context)?;
        self.app.check_flow_to(context, FlowWay::Export)?;
        let list = self.app.0.authorizer.reach(context, Action::DeviceList, Kind::Device);
        let list = list.unwrap_or_else(|_| Reach::nowhere());
        let devices = self.app.tenant_devices(context).await?;
        let mut found: Vec<TableDevice> = devices
            .all()
            .filter(|device| read.covers(place_of(device)))
            .map(|device| TableDevice {
                id: device.id,
                name: device.name.clone(),
                kind: device.kind.clone(),
                twin: device.twin,
                is_listed: list.covers(place_of(device)),
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        self.note(context, Action::TelemetryRead);
        Ok(found)
    }

    /// The series of a device.
    #[boxed]
    pub async fn keys(&self, context: &OpContext, device: DeviceId) -> Result<Vec<Key>> {
        let (sight, device) = self.seen(context, device).await?;
        self.app.keys_wanted(&sight, &device, None)
    }

    /// The latest values of a device.
    #[boxed]
    pub async fn latest(&self, context: &OpContext, device: DeviceId) -> Result<Vec<LatestView>> {
        let (sight, device) = self.seen(context, device).await?;
        let found = self.app.read_latest(&sight, &device, None).await?;
        if found.iter().any(|one| !sight.verdict(&device, Some(&one.key)).is_open()) {
            self.note_personal(context);
        }
        let view = |one: veritwin_telemetry::Latest| LatestView {
            device: device.id,
            key: one.key,
            at: one.at,
            value: one.value,
            quality: one.quality,
        };
        Ok(found.into_iter().map(view).collect())
    }

    /// Points of a series, oldest first.
    #[boxed]
    pub async fn page(
        &self,
        context: &OpContext,
        series: &SeriesId,
        (from, to): (Timestamp, Timestamp),
        points_max: usize,
    ) -> Result<ExportPage> {
        let (sight, device) = self.seen(context, series.device).await?;
        let seen = sight.series(&device, &series.key).ok_or(Error::NotFound("device"))?;
        if !seen.is_open {
            self.note_personal(context);
        }
        let limit = points_max.clamp(1, TABLE_PAGE_POINTS_MAX);
        let range = TimeRange { from, to };
        let asked = RangeQuery { range, order: Order::Ascending, limit, after: None };
        let page = self.app.read_range(&seen, asked).await?;
        self.points_read.fetch_add(page.points.len() as u64, Ordering::Relaxed);
        let convert = |point: veritwin_telemetry::Point| PointView {
            at: point.at,
            value: point.value,
            quality: point.quality,
        };
        Ok(ExportPage {
            points: page.points.into_iter().map(convert).collect(),
            next: page.next.map(Timestamp::just_after),
        })
    }

    /// So many rows and bytes of the answer have left so far: they count as readings that were
    /// taken away, as far as there were any.
    pub fn count_left(&self, context: &OpContext, rows: u64, bytes: u64) {
        let read = self.points_read.load(Ordering::Relaxed);
        let told = rows.max(bytes / READING_TOLD_BYTES).min(read);
        let before = self.points_counted.fetch_max(told, Ordering::Relaxed);
        if told > before {
            self.app.watch_taken(context, told - before, false);
        }
    }

    fn reach(&self, context: &OpContext) -> Result<Reach> {
        if context.tenant != self.tenant {
            return Err(Error::NotFound("device"));
        }
        self.app.reach(context, Action::TelemetryRead, Kind::Telemetry)
    }

    /// What the actor sees by now, and a device that they may read of.
    async fn seen(&self, context: &OpContext, device: DeviceId) -> Result<(Sight, Arc<Device>)> {
        let reach = self.reach(context)?;
        let sight = self.app.sight(context).await?;
        let devices = self.app.tenant_devices(context).await?;
        let known = devices.get(device).filter(|device| reach.covers(place_of(device)));
        Ok((sight, known.cloned().ok_or(Error::NotFound("device"))?))
    }

    fn note(&self, context: &OpContext, action: Action) {
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        self.app.note(context, action, &resource, "done");
    }

    fn note_personal(&self, context: &OpContext) {
        if !self.has_noted_personal.swap(true, Ordering::Relaxed) {
            self.note(context, Action::TelemetryReadPersonal);
        }
    }
}

//! Exports of readings: which series leave is decided and recorded before the first of them does;
//! then they are read a page at a time, at the pace of whoever receives them.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_domain::{DeviceId, Key, OpContext, TenantId, Timestamp};
use veritwin_metastore::Device;
use veritwin_telemetry::{Order, RangeQuery, TimeRange};

use crate::access::place_of;
use crate::change::Change;
use crate::model::{ExportBegun, ExportPage, ExportQuery, ExportSeries, PointView, SeriesId};
use crate::sight::Sight;
use crate::transfers::FlowWay;
use crate::tree::over;
use crate::{App, Error, Result};

/// Most series of one export.
pub const EXPORT_SERIES_MAX: usize = 100_000;
/// Most devices or keys that one export names.
pub const EXPORT_NAMES_MAX: usize = 10_000;
/// Most points of a series that are read at once.
pub const EXPORT_PAGE_POINTS_MAX: usize = 2_000;

fn check(query: &ExportQuery) -> Result<()> {
    if query.from >= query.to {
        return Err(Error::invalid_at("to", "must be after from"));
    }
    let devices = query.devices.as_ref().map_or(0, Vec::len);
    let names = devices.max(query.keys.as_ref().map_or(0, Vec::len));
    if names > EXPORT_NAMES_MAX {
        return Err(over("export_names_max", EXPORT_NAMES_MAX as u64, names as u64));
    }
    Ok(())
}

/// Where somebody may read readings and take them away.
struct ExportReach {
    read: Reach,
    export: Reach,
}

impl ExportReach {
    fn covers(&self, device: &Device) -> bool {
        self.read.covers(place_of(device)) && self.export.covers(place_of(device))
    }
}

impl App {
    /// Whoever may not read may not take away either.
    fn export_reach(&self, context: &OpContext) -> Result<ExportReach> {
        Ok(ExportReach {
            export: self.reach(context, Action::TelemetryExport, Kind::Telemetry)?,
            read: self.reach(context, Action::TelemetryRead, Kind::Telemetry)?,
        })
    }

    /// The series that leave: those asked for that the actor may see. A device that is named and
    /// cannot be seen is as good as none. It is recorded as an export, and counted as one.
    #[boxed]
    pub async fn begin_export(
        &self,
        context: &OpContext,
        query: &ExportQuery,
    ) -> Result<ExportBegun> {
        let reach = self.export_reach(context)?;
        self.check_flow_to(context, FlowWay::Export)?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        check(query)?;
        let sight = self.sight(context).await?;
        let devices = self.tenant_devices(context).await?;
        let wanted: Vec<&Arc<Device>> = match &query.devices {
            None => devices.all().filter(|device| reach.covers(device)).collect(),
            Some(ids) => {
                let found = |id: &DeviceId| {
                    let device = devices.get(*id);
                    let device = device.filter(|device| reach.covers(device));
                    device.ok_or(Error::NotFound("device"))
                };
                ids.iter().map(found).collect::<Result<Vec<_>>>()?
            }
        };
        let (mut series, mut restricted) = (Vec::new(), 0);
        for device in wanted {
            restricted +=
                self.keys_kept_back((context.tenant, &sight), device, query.keys.as_deref())?;
            for key in self.keys_wanted(&sight, device, query.keys.as_deref())? {
                if series.len() >= EXPORT_SERIES_MAX {
                    let (max, actual) = (EXPORT_SERIES_MAX as u64, EXPORT_SERIES_MAX as u64 + 1);
                    return Err(over("export_series_max", max, actual));
                }
                let series_id = SeriesId { device: device.id, key };
                series.push(ExportSeries { series: series_id, device: device.name.to_string() });
            }
        }
        let tx = self.0.store.begin(context).await?;
        let what = Change::to(json!({
            "series": series.len(),
            "series_restricted": restricted,
            "format": query.format,
            "from": query.from.to_string(),
            "to": query.to.to_string(),
        }));
        self.record_change(&tx, context, Action::TelemetryExport, &resource, what).await?;
        tx.commit().await?;
        self.watch_taken(context, 0, true);
        Ok(ExportBegun { series, restricted })
    }

    /// How many series of a device stay that would leave, had nobody limited what is done with
    /// them: a file that lacks them says so.
    fn keys_kept_back(
        &self,
        (tenant, sight): (TenantId, &Sight),
        device: &Device,
        named: Option<&[Key]>,
    ) -> Result<usize> {
        if sight.book().limits().is_empty() {
            return Ok(0);
        }
        let mut keys = self.streams_of(tenant, device.id)?;
        keys.retain(|key| named.is_none_or(|named| named.contains(key)));
        Ok(keys.iter().filter(|key| sight.keeps_back(device, key)).count())
    }

    /// Somebody is about to take everything of the tenant away that they may read: it is recorded,
    /// and counted as an export, before the first list is read.
    #[boxed]
    pub async fn begin_tenant_export(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::TenantExport, Kind::Tenant)?;
        self.check_flow_to(context, FlowWay::Export)?;
        let tx = self.0.store.begin(context).await?;
        let what = Change::to(json!({"export": "everything"}));
        self.record_change(&tx, context, Action::TenantExport, &resource, what).await?;
        tx.commit().await?;
        self.watch_taken(context, 0, true);
        Ok(())
    }

    /// Points of a series that leaves. Whoever may see it no longer gets no more of it.
    #[boxed]
    pub async fn export_page(
        &self,
        context: &OpContext,
        series: &SeriesId,
        (from, to): (Timestamp, Timestamp),
        points_max: usize,
    ) -> Result<ExportPage> {
        let reach = self.export_reach(context)?;
        self.check_flow_to(context, FlowWay::Export)?;
        let sight = self.sight(context).await?;
        let devices = self.tenant_devices(context).await?;
        let device = devices.get(series.device).filter(|device| reach.covers(device));
        let seen = device.and_then(|device| sight.series(device, &series.key));
        let seen = seen.ok_or(Error::NotFound("device"))?;
        let limit = points_max.clamp(1, EXPORT_PAGE_POINTS_MAX);
        let range = TimeRange { from, to };
        let asked = RangeQuery { range, order: Order::Ascending, limit, after: None };
        let page = self.read_range(&seen, asked).await?;
        self.watch_taken(context, page.points.len() as u64, false);
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
}

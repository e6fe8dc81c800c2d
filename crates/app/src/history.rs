//! Latest values and history. A stream that is personal, or that nobody declared, needs a right of
//! its own (promise P04); without it the stream is as good as not there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{DeviceId, OpContext, Timestamp};
use veritwin_telemetry::{Order, RangeQuery, TimeRange};

use crate::access::place_of;
use crate::directory::TenantDevices;
use crate::model::{
    AS_OF_SERIES_MAX, BucketView, HistoryData, HistoryQuery, HistorySeries, LatestFilter,
    LatestView, POINTS_PER_SERIES_MAX, PointView, SERIES_PER_QUERY_MAX, SeriesId, StatsView,
};
use crate::sight::{SeenSeries, SeenStreams};
use crate::{App, Error, Result};

/// Most latest values in one answer.
const LATEST_MAX: usize = 200_000;

fn check_series(series: &[SeriesId]) -> Result<()> {
    if series.is_empty() {
        return Err(Error::invalid_at("series", "name at least one"));
    }
    if series.len() > SERIES_PER_QUERY_MAX {
        let limit = veritwin_domain::LimitExceeded {
            name: "series_per_query_max",
            max: SERIES_PER_QUERY_MAX,
            actual: series.len(),
        };
        return Err(limit.into());
    }
    Ok(())
}

fn check_as_of(series: usize) -> Result<()> {
    if series > AS_OF_SERIES_MAX {
        let (name, max) = ("as_of_series_max", AS_OF_SERIES_MAX);
        return Err(veritwin_domain::LimitExceeded { name, max, actual: series }.into());
    }
    Ok(())
}

/// The narrowest ordinary width at which `span` fits into `points_max` buckets.
fn bucket_for(span_micros: i64, points_max: usize) -> i64 {
    const SECOND: i64 = 1_000_000;
    const WIDTHS: [i64; 16] = [
        SECOND,
        5 * SECOND,
        10 * SECOND,
        30 * SECOND,
        60 * SECOND,
        120 * SECOND,
        300 * SECOND,
        600 * SECOND,
        900 * SECOND,
        1800 * SECOND,
        3600 * SECOND,
        7200 * SECOND,
        21_600 * SECOND,
        43_200 * SECOND,
        86_400 * SECOND,
        604_800 * SECOND,
    ];
    let least = span_micros / i64::try_from(points_max.max(1)).unwrap_or(i64::MAX);
    let fitting = WIDTHS.into_iter().find(|width| *width >= least);
    fitting.unwrap_or_else(|| least - least % WIDTHS[15] + WIDTHS[15])
}

impl App {
    /// The series has to be one that the actor may see.
    pub(crate) async fn authorize_reading(
        &self,
        context: &OpContext,
        series: &SeriesId,
    ) -> Result<(Arc<TenantDevices>, SeenSeries)> {
        let asked = self.authorize_series(context, std::slice::from_ref(series)).await?;
        let (devices, mut seen) = asked;
        seen.pop().map(|seen| (devices, seen)).ok_or(Error::NotFound("device"))
    }

    /// Every asked-for series has to be one that the actor may see; they come in the same order.
    pub(crate) async fn authorize_series(
        &self,
        context: &OpContext,
        series: &[SeriesId],
    ) -> Result<(Arc<TenantDevices>, Vec<SeenSeries>)> {
        check_series(series)?;
        let (devices, seen) = self.see_series(context, series).await?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        if seen.iter().all(|one| one.is_open) {
            self.note(context, Action::TelemetryRead, &resource, "done");
        } else {
            self.note(context, Action::TelemetryReadPersonal, &resource, "done");
        }
        Ok((devices, seen))
    }

    /// The series as the actor may see them; for the rest of an answer under way.
    pub(crate) async fn see_series(
        &self,
        context: &OpContext,
        series: &[SeriesId],
    ) -> Result<(Arc<TenantDevices>, Vec<SeenSeries>)> {
        let reach = self.reach(context, Action::TelemetryRead, Kind::Telemetry)?;
        let sight = self.sight(context).await?;
        let devices = self.tenant_devices(context).await?;
        let mut seen = Vec::with_capacity(series.len());
        for one in series {
            let device = devices.get(one.device).filter(|device| reach.covers(place_of(device)));
            let found = device.and_then(|device| sight.series(device, &one.key));
            seen.push(found.ok_or(Error::NotFound("device"))?);
        }
        Ok((devices, seen))
    }

    /// Latest values.
    #[boxed]
    pub async fn latest(
        &self,
        context: &OpContext,
        filter: &LatestFilter,
    ) -> Result<Vec<LatestView>> {
        Ok(self.latest_to_follow(context, filter).await?.1)
    }

    /// Latest values, and which streams the filter covers for this actor.
    #[boxed]
    pub async fn latest_to_follow(
        &self,
        context: &OpContext,
        filter: &LatestFilter,
    ) -> Result<(SeenStreams, Vec<LatestView>)> {
        let reach = self.reach(context, Action::TelemetryRead, Kind::Telemetry)?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        let sight = self.sight(context).await?;
        let devices = self.tenant_devices(context).await?;
        let is_known =
            |id: &DeviceId| devices.get(*id).is_some_and(|device| reach.covers(place_of(device)));
        let chosen: Vec<DeviceId> = match &filter.devices {
            Some(ids) => {
                if let Some(unknown) = ids.iter().find(|id| !is_known(id)) {
                    tracing::debug!(%unknown, "latest values of an unknown device");
                    return Err(Error::NotFound("device"));
                }
                ids.clone()
            }
            None => devices.all().map(|device| device.id).collect(),
        };
        let covered = |id: &DeviceId| {
            devices.get(*id).is_some_and(|device| {
                reach.covers(place_of(device))
                    && filter.twin.is_none_or(|twin| device.twin == Some(twin))
            })
        };
        let chosen: Vec<DeviceId> = chosen.into_iter().filter(covered).collect();
        let mut items = Vec::new();
        let mut asked = 0;
        for device in &chosen {
            let keys = filter.keys.as_deref();
            let Some(known) = devices.get(*device) else { continue };
            let found = match filter.at {
                None => self.read_latest(&sight, known, keys).await?,
                Some(at) => {
                    let keys = self.keys_wanted(&sight, known, keys)?;
                    asked += keys.len();
                    check_as_of(asked)?;
                    self.read_as_of(&sight, known, &keys, at).await?
                }
            };
            for latest in found {
                if items.len() >= LATEST_MAX {
                    let limit = veritwin_domain::LimitExceeded {
                        name: "latest_max",
                        max: LATEST_MAX,
                        actual: LATEST_MAX + 1,
                    };
                    return Err(limit.into());
                }
                items.push(LatestView {
                    device: *device,
                    key: latest.key,
                    at: latest.at,
                    value: latest.value,
                    quality: latest.quality,
                });
            }
        }
        self.note(context, Action::TelemetryRead, &resource, "done");
        let among: HashSet<DeviceId> = chosen.into_iter().collect();
        Ok((sight.following(devices, among), items))
    }

    /// One series as points, or as buckets that fit.
    pub(crate) async fn one_history(
        &self,
        query: &HistoryQuery,
        (series, seen): (&SeriesId, &SeenSeries),
        devices: &TenantDevices,
    ) -> Result<HistorySeries> {
        let range = TimeRange { from: query.from, to: query.to };
        let unit =
            devices.get(series.device).and_then(|device| device.units.get(&*series.key).cloned());
        let mut answer = HistorySeries {
            series: series.clone(),
            unit,
            data: HistoryData::Points(Vec::new()),
            next: None,
        };
        let mut bucket_micros = query.bucket_micros;
        if bucket_micros.is_none()
            && let Some(points_max) = query.points_max
        {
            let stats = self.read_stats(seen, range).await?;
            let ends = stats.first_at.zip(stats.last_at);
            if stats.count > points_max as u64
                && let Some((first, last)) = ends
            {
                let span = last.as_micros().saturating_sub(first.as_micros());
                bucket_micros = Some(bucket_for(span, points_max));
            }
        }
        if let Some(width_micros) = bucket_micros {
            let span = i128::from(query.to.as_micros()) - i128::from(query.from.as_micros());
            let known = self.read_stats(seen, range).await?;
            let reach = known.first_at.zip(known.last_at).map_or(0, |(first, last)| {
                i128::from(last.as_micros()) - i128::from(first.as_micros())
            });
            if reach.min(span) / i128::from(width_micros.max(1)) > POINTS_PER_SERIES_MAX as i128 {
                let detail = format!(
                    "more than {POINTS_PER_SERIES_MAX} buckets: ask for wider ones or a shorter range"
                );
                return Err(Error::invalid_at("bucket_ms", detail));
            }
            let buckets = self.read_buckets(seen, range, width_micros).await?;
            let mut buckets: Vec<BucketView> = buckets.iter().filter_map(bucket_view).collect();
            if query.descending {
                buckets.reverse();
            }
            answer.data = HistoryData::Buckets { width_micros, buckets };
            return Ok(answer);
        }
        let order = if query.descending { Order::Descending } else { Order::Ascending };
        let asked = RangeQuery { range, order, limit: query.limit, after: None };
        let page = self.read_range(seen, asked).await?;
        let convert = |point: veritwin_telemetry::Point| PointView {
            at: point.at,
            value: point.value,
            quality: point.quality,
        };
        answer.data = HistoryData::Points(page.points.into_iter().map(convert).collect());
        answer.next = page.next;
        Ok(answer)
    }

    /// Exact figures of several series.
    #[boxed]
    pub async fn stats(
        &self,
        context: &OpContext,
        series: &[SeriesId],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<StatsView>> {
        let (_, seen) = self.authorize_series(context, series).await?;
        if from >= to {
            return Err(Error::invalid_at("to", "must be after from"));
        }
        let mut known: HashMap<SeriesId, StatsView> = HashMap::new();
        let mut answers = Vec::with_capacity(series.len());
        for (one, seen) in series.iter().zip(&seen) {
            if let Some(view) = known.get(one) {
                answers.push(view.clone());
                continue;
            }
            let stats = self.read_stats(seen, TimeRange { from, to }).await?;
            let view = StatsView {
                series: one.clone(),
                count: stats.count,
                min: stats.min,
                max: stats.max,
                first_at: stats.first_at,
                last_at: stats.last_at,
            };
            known.insert(one.clone(), view.clone());
            answers.push(view);
        }
        Ok(answers)
    }
}

/// A bucket of texts alone has nothing to draw.
fn bucket_view(bucket: &veritwin_telemetry::Bucket) -> Option<BucketView> {
    Some(BucketView {
        at: bucket.at,
        count: bucket.numbers,
        sum: bucket.sum,
        min: bucket.min?,
        max: bucket.max?,
        first: bucket.first?,
        last: bucket.last?,
        simulated: bucket.simulated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_widths_are_ordinary_and_fit() {
        let check = |span_s: i64, points: usize, expect_s: i64| {
            assert_eq!(bucket_for(span_s * 1_000_000, points), expect_s * 1_000_000);
        };
        check(3600, 1000, 5);
        check(86_400, 1000, 120);
        check(30 * 86_400, 1000, 3600);
        check(3000 * 86_400, 500, 604_800);
        check(10_000 * 86_400, 1000, 2 * 604_800);
    }
}

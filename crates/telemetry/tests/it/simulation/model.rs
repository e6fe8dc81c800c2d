//! What the engine has to answer: an ordered map, and the comparison of every series with it.

use std::collections::BTreeMap;

use veritwin_domain::{DeviceBatch, DeviceId, Key, Quality, TenantId, Timestamp, Value};
use veritwin_telemetry::{Engine, LATEST_AHEAD_MAX, Order, Point, RangeQuery, Series, TimeRange};

use crate::support::{DAY, HOUR_MICROS, TODAY};

type Readings = BTreeMap<i64, (Value, Quality)>;

/// Every reading that was committed; of one series and time the last to come.
#[derive(Default)]
pub(crate) struct Model(BTreeMap<(TenantId, DeviceId, Key), Readings>);

impl Model {
    pub(crate) fn take(&mut self, batch: &DeviceBatch) {
        for reading in &batch.readings {
            let series = (batch.tenant, batch.device, reading.key.clone());
            let readings = self.0.entry(series).or_default();
            readings.insert(reading.at.as_micros(), (reading.value.clone(), reading.quality));
        }
    }

    /// Compares every reading and the latest values.
    pub(crate) async fn check_readings(&self, engine: &Engine, now: Timestamp) {
        let mut latest: BTreeMap<(TenantId, DeviceId), Vec<(Key, i64, Value)>> = BTreeMap::new();
        let end = now.saturating_add(LATEST_AHEAD_MAX).as_micros();
        for ((tenant, device, key), readings) in &self.0 {
            let series = Series { tenant: *tenant, device: *device, key: key.clone() };
            check_points(engine, &series, readings, Order::Ascending).await;
            let of_device = latest.entry((*tenant, *device)).or_default();
            if let Some((at, (value, _))) = readings.range(..=end).next_back() {
                of_device.push((key.clone(), *at, value.clone()));
            }
        }
        for ((tenant, device), expect) in latest {
            let found = engine.latest(tenant, device, None).await.expect("answers");
            let found: Vec<(Key, i64, Value)> = found
                .into_iter()
                .map(|latest| (latest.key, latest.at.as_micros(), latest.value))
                .collect();
            assert_eq!(found, expect, "latest values of {device}");
        }
    }

    /// Compares every form of answer.
    pub(crate) async fn check(&self, engine: &Engine, now: Timestamp) {
        self.check_readings(engine, now).await;
        for ((tenant, device, key), readings) in &self.0 {
            let series = Series { tenant: *tenant, device: *device, key: key.clone() };
            check_points(engine, &series, readings, Order::Descending).await;
            check_aggregates(engine, &series, readings).await;
        }
    }
}

async fn check_points(engine: &Engine, series: &Series, readings: &Readings, order: Order) {
    let mut expect: Vec<Point> = readings
        .iter()
        .map(|(at, (value, quality))| Point {
            at: Timestamp::from_micros(*at),
            value: value.clone(),
            quality: *quality,
        })
        .collect();
    if order == Order::Descending {
        expect.reverse();
    }
    let (range, limit) = (TimeRange::ALL, 61);
    let mut query = RangeQuery { range, order, limit, after: None };
    let mut found = Vec::new();
    loop {
        let page = engine.range(series, query).await.expect("answers");
        found.extend(page.points);
        query.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(found, expect, "{series:?}, {order:?}");
}

async fn check_aggregates(engine: &Engine, series: &Series, readings: &Readings) {
    let stats = engine.stats(series, TimeRange::ALL).await.expect("answers");
    let time =
        |one: Option<(&i64, &(Value, Quality))>| one.map(|(at, _)| Timestamp::from_micros(*at));
    assert_eq!(stats.count, readings.len() as u64, "{series:?}");
    assert_eq!(stats.first_at, time(readings.first_key_value()), "{series:?}");
    assert_eq!(stats.last_at, time(readings.last_key_value()), "{series:?}");
    let (from, to) = (TODAY - DAY, TODAY + DAY);
    let inside: Vec<f64> =
        readings.range(from..to).filter_map(|(_, (value, _))| value.as_f64()).collect();
    let range = TimeRange { from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) };
    let buckets = engine.buckets(series, range, HOUR_MICROS).await.expect("answers");
    let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    assert_eq!(count, readings.range(from..to).count() as u64, "{series:?}");
    // All numbers are multiples of a quarter: sums are exact in any order.
    let sum: f64 = buckets.iter().map(|bucket| bucket.sum).sum();
    assert_eq!(sum, inside.iter().sum::<f64>(), "{series:?}");
}

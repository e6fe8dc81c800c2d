//! How cost grows: per point with the number of points and of series, and the memory of many active
//! series. Nothing should grow faster than its work.

use anyhow::{Result, anyhow};
use veritwin_domain::{DeviceId, Rng, SeededRng, Timestamp};
use veritwin_telemetry::measure::{MeasureError, MeasuredStore};

use super::ours::Ours;
use super::{DAY_MICROS, Load, TelemetryOptions, percentiles};
use crate::entry::{Better, Entry, Peer};
use crate::process::resident_bytes;
use crate::shape::{Fleet, FleetOptions, STEP_MICROS, Shape, VALUES};

/// Series beside which the number of points grows.
const DEVICES: usize = 232;
/// Points beside which the number of series grows.
const POINTS: u64 = 10_000_000;
/// First day reads of a store that was opened just now.
const FIRST_READS: usize = 50;
/// Active series whose memory is measured, and what it may be.
const ACTIVE_SERIES: usize = 1_000_000;
const ACTIVE_BUDGET_MB: f64 = 1024.0;
/// Devices made at once, so that the generator takes little memory.
const DEVICES_AT_ONCE: usize = 1000;
const MB: f64 = 1024.0 * 1024.0;
const RSS: &str = "telemetry.active_series_1m.rss_mb";
const PER_SERIES: &str = "telemetry.active_series_1m.bytes_per_series";

/// 1,000,000 as `1m`, 10,000 as `10k`.
fn short(number: u64) -> String {
    match number {
        n if n > 0 && n.is_multiple_of(1_000_000) => format!("{}m", n / 1_000_000),
        n if n > 0 && n.is_multiple_of(1000) => format!("{}k", n / 1000),
        n => n.to_string(),
    }
}

/// So many points in 2,320 series.
pub(super) async fn points(options: &TelemetryOptions, points: u64) -> Result<Vec<Entry>> {
    let load = Load { points, devices: DEVICES, ..Load::new(options, Shape::Iot) };
    measure(options, &load, &format!("telemetry.scale.points_{}", short(points))).await
}

/// 10 million points in so many series.
pub(super) async fn series(options: &TelemetryOptions, series: u64) -> Result<Vec<Entry>> {
    let devices = usize::try_from(series)?.div_ceil(VALUES);
    let load = Load { points: POINTS, devices, ..Load::new(options, Shape::Iot) };
    measure(options, &load, &format!("telemetry.scale.series_{}", short(series))).await
}

async fn measure(options: &TelemetryOptions, load: &Load, name: &str) -> Result<Vec<Entry>> {
    // The readings end two days ago, however many days they are.
    let per_step = (load.devices * VALUES) as u64;
    let micros = i64::try_from(load.points.div_ceil(per_step))? * STEP_MICROS;
    let days_before = micros / DAY_MICROS;
    let from = Timestamp::from_micros(load.from.as_micros() - days_before * DAY_MICROS);
    let load = Load { from, ..load.clone() };
    let clock = options.clock.as_ref();
    let directory = tempfile::tempdir_in(&options.directory)?;
    let (ours, mut figures) = Ours::fill(options, directory.path(), &load).await?;
    let (ours, reopen_ms) = ours.reopened(clock).await?;
    let rng = SeededRng::new(11);
    let mut first = Vec::with_capacity(FIRST_READS);
    for _ in 0..FIRST_READS {
        first.push(ours.day_read(clock, rng.next_u64()).await?);
    }
    ours.ask(clock, &mut figures).await?;
    let entry = |what: &str, unit, value| {
        Entry::new(&format!("{name}.{what}"), unit, Better::Lower, value, None)
    };
    Ok(vec![
        entry("ingest_cpu_us_per_point", "us", figures.ingest_cpu_s * 1e6 / figures.points),
        entry("bytes_per_point", "B", figures.bytes / figures.points),
        entry("open_ms", "ms", reopen_ms),
        entry("first_day_reads_p50_ms", "ms", percentiles(&mut first).0),
        entry("day_read_p50_ms", "ms", figures.day_read_p50_ms),
        entry("day_read_p99_ms", "ms", figures.day_read_p99_ms),
        entry("hourly_average_of_a_day_ms", "ms", figures.hourly_average_ms),
    ])
}

/// The memory of this process with a million series that are all being written: after two rounds
/// of one message each, of which the first is in segments. Call it in a process that has done
/// nothing else.
pub async fn active_series(options: &TelemetryOptions) -> Result<Vec<Entry>> {
    let failed = |error: MeasureError| anyhow!("telemetry engine: {error}");
    let pid = std::process::id();
    let directory = tempfile::tempdir_in(&options.directory)?;
    let given = (options.clock.clone(), options.rng.clone());
    let store = MeasuredStore::open(directory.path(), 1, given).await.map_err(failed)?;
    let before = resident_bytes(pid)? as f64;
    let load = Load::new(options, Shape::Iot);
    for round in 0..2 {
        for slice in 0..ACTIVE_SERIES / VALUES / DEVICES_AT_ONCE {
            let from = Timestamp::from_micros(load.from.as_micros() + round * STEP_MICROS);
            let mut fleet = Fleet::new(&FleetOptions {
                from,
                devices: DEVICES_AT_ONCE,
                messages: 1,
                seed: slice as u64,
                ..load.fleet(store.tenants.clone())
            });
            let mut batches = fleet.next();
            // The same devices in both rounds.
            for (batch, number) in batches.iter_mut().zip(0u64..) {
                batch.device = device_of(slice as u64 * DEVICES_AT_ONCE as u64 + number);
            }
            store.ingest(batches).await.map_err(failed)?;
        }
        if round == 0 {
            store.engine.flush().await?;
        }
    }
    let rss = resident_bytes(pid)? as f64;
    let figure = |name: &str| match name {
        RSS => Some(rss / MB),
        PER_SERIES => Some((rss - before) / ACTIVE_SERIES as f64),
        _ => None,
    };
    Ok(active_series_entries(figure))
}

fn device_of(number: u64) -> DeviceId {
    let mut bytes = [3; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// The figures of [`active_series`], by their names; beside the first its budget.
pub fn active_series_entries(figure: impl Fn(&str) -> Option<f64>) -> Vec<Entry> {
    let value = |name| figure(name).unwrap_or(f64::NAN);
    let budget = Peer { name: "stated budget".to_owned(), value: ACTIVE_BUDGET_MB };
    vec![
        Entry::new(RSS, "MB", Better::Lower, value(RSS), Some(budget)),
        Entry::new(PER_SERIES, "B", Better::Lower, value(PER_SERIES), None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [1000, 10_000, 1_000_000, 100_000_000, 1234].map(short);
        assert_eq!(shown, ["1k", "10k", "1m", "100m", "1234"]);
    }
}

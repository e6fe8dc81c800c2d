//! `veritwin bench telemetry`: durable encrypted ingest, size on disk and the time of questions, on
//! a day of a fleet's readings; the same readings go into InfluxDB where it is installed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use veritwin_domain::{Clock, DeviceId, Rng, SeededRng, Timestamp};
use veritwin_telemetry::measure::{MeasureError, MeasuredStore};
use veritwin_telemetry::{Order, RangeQuery, Series, TimeRange};

use crate::entry::{Better, Entry, Peer};
use crate::influx::Influx;
use crate::process::cpu_seconds;
use crate::shape::{Fleet, KEYS, STEP_MICROS, line_protocol};

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;
/// Questions for one series' day, after as many to warm up.
const DAY_READS: usize = 500;
/// Questions for the hourly average of everything; the median counts.
const AVERAGES: usize = 5;

/// What to measure.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// An empty directory on a real disk.
    pub directory: PathBuf,
    /// Vehicles; each sends 86,400 values a day.
    pub devices: usize,
    /// Whether InfluxDB gets the same readings, if it is installed.
    pub with_peer: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for keys.
    pub rng: Arc<dyn Rng>,
}

impl TelemetryOptions {
    /// The published setting: 232 vehicles for a day, 20 million points.
    pub fn new(directory: PathBuf, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { directory, devices: 232, with_peer: true, clock, rng }
    }
}

/// What one product did with the day.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    points: f64,
    ingest_cpu_s: f64,
    ingest_s: f64,
    bytes: f64,
    day_read_p50_ms: f64,
    day_read_p99_ms: f64,
    hourly_average_ms: f64,
}

/// Measures the engine, and InfluxDB where it is installed.
pub async fn telemetry(options: &TelemetryOptions) -> Result<Vec<Entry>> {
    let ours = ours(options).await?;
    let peer = if options.with_peer && Influx::is_installed() {
        let influx = Influx::start(&options.directory).await?;
        Some((influx.name.clone(), theirs(options, &influx).await?))
    } else {
        None
    };
    Ok(entries(&ours, peer.as_ref()))
}

/// Yesterday and the day before are whole: the fleet's day is the day before yesterday.
fn first_moment(options: &TelemetryOptions) -> Timestamp {
    let today = options.clock.now().as_micros().div_euclid(DAY_MICROS);
    Timestamp::from_micros((today - 2) * DAY_MICROS)
}

fn failed(error: MeasureError) -> anyhow::Error {
    anyhow!("telemetry engine: {error}")
}

async fn ours(options: &TelemetryOptions) -> Result<Figures> {
    let given = (Arc::clone(&options.clock), Arc::clone(&options.rng));
    let store = MeasuredStore::open(&options.directory, 1, given).await.map_err(failed)?;
    let tenant = store.tenants[0];
    let from = first_moment(options);
    let mut fleet = Fleet::new(tenant, options.devices, from);
    let mut figures = Figures::default();
    let pid = std::process::id();
    let mut messages = 0;
    while messages * STEP_MICROS < DAY_MICROS {
        let batches = fleet.next();
        messages += 10;
        let values: usize = batches.iter().map(|batch| batch.readings.len()).sum();
        figures.points += values as f64;
        let (cpu, wall) = (cpu_seconds(pid)?, options.clock.monotonic());
        store.ingest(batches).await.map_err(failed)?;
        figures.ingest_cpu_s += cpu_seconds(pid)? - cpu;
        figures.ingest_s += (options.clock.monotonic() - wall).as_secs_f64();
    }
    let cpu = cpu_seconds(pid)?;
    store.settle().await.map_err(failed)?;
    figures.ingest_cpu_s += cpu_seconds(pid)? - cpu;
    figures.bytes = store.object_bytes()? as f64;
    ask_ours(&store, &fleet, from, options, &mut figures).await?;
    Ok(figures)
}

async fn ask_ours(
    store: &MeasuredStore,
    fleet: &Fleet,
    from: Timestamp,
    options: &TelemetryOptions,
    figures: &mut Figures,
) -> Result<()> {
    let tenant = store.tenants[0];
    let to = Timestamp::from_micros(from.as_micros() + DAY_MICROS);
    let range = TimeRange { from, to };
    let series: Vec<Series> = fleet
        .devices()
        .into_iter()
        .flat_map(|device| fleet.keys().iter().map(move |key| (device, key)))
        .map(|(device, key)| Series { tenant, device, key: key.clone() })
        .collect();
    let expected = (DAY_MICROS / STEP_MICROS) as usize;
    let rng = SeededRng::new(11);
    let mut times = Vec::with_capacity(DAY_READS);
    for round in 0..2 * DAY_READS {
        let one = &series[(rng.next_u64() % series.len() as u64) as usize];
        let query = RangeQuery { range, order: Order::Ascending, limit: 100_000, after: None };
        let started = options.clock.monotonic();
        let page = store.engine.range(one, query).await?;
        let took = options.clock.monotonic() - started;
        ensure!(page.points.len() == expected, "a day has {} points", page.points.len());
        if round >= DAY_READS {
            times.push(took);
        }
    }
    (figures.day_read_p50_ms, figures.day_read_p99_ms) = percentiles(&mut times);
    let mut times = Vec::with_capacity(AVERAGES);
    for _ in 0..=AVERAGES {
        let started = options.clock.monotonic();
        let answers = store.engine.buckets_many(&series, range, HOUR_MICROS).await?;
        times.push(options.clock.monotonic() - started);
        ensure!(answers.iter().all(|buckets| buckets.len() == 24), "a day has 24 hours");
    }
    times.remove(0);
    figures.hourly_average_ms = percentiles(&mut times).0;
    Ok(())
}

async fn theirs(options: &TelemetryOptions, influx: &Influx) -> Result<Figures> {
    let from = first_moment(options);
    let mut fleet =
        Fleet::new(veritwin_domain::TenantId::from_bytes([1; 16]), options.devices, from);
    let mut figures = Figures::default();
    let before = influx.cpu_seconds()?;
    let mut lines = String::new();
    let mut messages = 0;
    while messages * STEP_MICROS < DAY_MICROS {
        let batches = fleet.next();
        messages += 10;
        let values: usize = batches.iter().map(|batch| batch.readings.len()).sum();
        figures.points += values as f64;
        line_protocol(&batches, &mut lines);
        let wall = options.clock.monotonic();
        influx.write(&lines).await?;
        figures.ingest_s += (options.clock.monotonic() - wall).as_secs_f64();
    }
    figures.bytes = influx.settled_bytes().await? as f64;
    figures.ingest_cpu_s = influx.cpu_seconds()? - before;
    let devices = fleet.devices();
    let rng = SeededRng::new(11);
    let mut times = Vec::with_capacity(DAY_READS);
    for round in 0..DAY_READS + DAY_READS / 5 {
        let pick = rng.next_u64();
        let key = KEYS[(pick % KEYS.len() as u64) as usize];
        let device = devices[(pick / 16 % devices.len() as u64) as usize];
        let started = options.clock.monotonic();
        influx.query(&day_question(key, device, from)).await?;
        if round >= DAY_READS / 5 {
            times.push(options.clock.monotonic() - started);
        }
    }
    (figures.day_read_p50_ms, figures.day_read_p99_ms) = percentiles(&mut times);
    let started = options.clock.monotonic();
    let (start, end) = milliseconds(from);
    let all = format!(
        "SELECT mean(*) FROM readings WHERE time >= {start}ms AND time < {end}ms \
         GROUP BY time(1h), \"name\""
    );
    influx.query(&all).await?;
    figures.hourly_average_ms = (options.clock.monotonic() - started).as_secs_f64() * 1e3;
    Ok(figures)
}

fn milliseconds(from: Timestamp) -> (i64, i64) {
    let start = from.as_micros() / 1000;
    (start, start + DAY_MICROS / 1000)
}

fn day_question(key: &str, device: DeviceId, from: Timestamp) -> String {
    let (start, end) = milliseconds(from);
    format!(
        "SELECT {key} FROM readings WHERE \"name\" = '{device}' \
         AND time >= {start}ms AND time < {end}ms"
    )
}

/// Median and 99th percentile, in milliseconds.
fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| {
        let place = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    (at(50), at(99))
}

fn entries(ours: &Figures, peer: Option<&(String, Figures)>) -> Vec<Entry> {
    let entry = |what: &str, unit, better, value: fn(&Figures) -> f64| {
        let peer = peer.map(|(name, figures)| Peer { name: name.clone(), value: value(figures) });
        Entry::new(&format!("telemetry.{what}"), unit, better, value(ours), peer)
    };
    vec![
        entry("ingest.points_per_cpu_s", "1/s", Better::Higher, |f| f.points / f.ingest_cpu_s),
        entry("ingest.points_per_s", "1/s", Better::Higher, |f| f.points / f.ingest_s),
        entry("bytes_per_point", "B", Better::Lower, |f| f.bytes / f.points),
        entry("day_read_p50_ms", "ms", Better::Lower, |f| f.day_read_p50_ms),
        entry("day_read_p99_ms", "ms", Better::Lower, |f| f.day_read_p99_ms),
        entry("hourly_average_20m_ms", "ms", Better::Lower, |f| f.hourly_average_ms),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::SystemClock;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_small_fleet_is_measured() {
        let directory = tempfile::tempdir().expect("a directory");
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(3));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut options = TelemetryOptions::new(directory.path().to_owned(), clock, rng);
        options.devices = 1;
        options.with_peer = false;
        let entries = telemetry(&options).await.expect("figures");
        assert_eq!(entries.len(), 6);
        assert!(entries.iter().all(|entry| entry.value.is_finite() && entry.value > 0.0));
    }
}

//! `veritwin bench telemetry`: durable encrypted ingest, size on disk and the time of questions, on
//! the shapes of the Time Series Benchmark Suite, in order and late, of one tenant and of many; the
//! same readings go into InfluxDB and DuckDB where they are installed.

mod ours;
mod questions;
mod real;
mod scale;
mod theirs;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use veritwin_domain::{Clock, Rng, SeededRng, TenantId, Timestamp};

use self::ours::{Ours, ROUNDS, milliseconds};
pub use self::scale::{active_series, active_series_entries};
use self::theirs::Duck;
use crate::entry::{Better, Entry, Peer};
use crate::influx::Influx;
use crate::shape::{FleetOptions, STEP_MICROS, Shape, VALUES};

pub(crate) const DAY_MICROS: i64 = 24 * 3_600_000_000;
/// Messages of a device a day.
const MESSAGES_PER_DAY: u64 = (DAY_MICROS / STEP_MICROS) as u64;
/// The part of late messages that is published.
const LATE_SHARE: f64 = 0.3;
/// Tenants with a device each.
const TENANTS: usize = 10_000;
/// Messages of each of them, and of each device whose latest values are asked for.
const FEW_MESSAGES: u64 = 20;
/// Devices whose latest values are asked for.
const LATEST_DEVICES: usize = 10_000;

/// A part of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TelemetryPart {
    /// A day of vehicles: the published figures, the suite's questions, and those of a store that
    /// was opened just now.
    Iot,
    /// A day of hosts.
    CpuOnly,
    /// A day of vehicles of whose messages 30 % come late.
    Late,
    /// 10,000 tenants with a vehicle each.
    Tenants,
    /// The latest values of 10,000 vehicles.
    Latest,
    /// So many points in 2,320 series.
    ScalePoints(u64),
    /// 10 million points in so many series.
    ScaleSeries(u64),
    /// The series of the files below a folder; nothing where there is none.
    Real(PathBuf),
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// An empty directory on a real disk.
    pub directory: PathBuf,
    /// Devices of a day; each sends 86,400 values.
    pub devices: usize,
    /// What is measured, one part after the other.
    pub parts: Vec<TelemetryPart>,
    /// Whether the peers get the same readings, if they are installed.
    pub with_peer: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for keys.
    pub rng: Arc<dyn Rng>,
}

impl TelemetryOptions {
    /// The published setting: 232 vehicles for a day, 20 million points.
    pub fn new(directory: PathBuf, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        let parts = vec![TelemetryPart::Iot];
        Self { directory, devices: 232, parts, with_peer: true, clock, rng }
    }
}

/// What one product did with its readings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    points: f64,
    ingest_cpu_s: f64,
    ingest_s: f64,
    bytes: f64,
    day_read_p50_ms: f64,
    day_read_p99_ms: f64,
    hourly_average_ms: f64,
}

/// The readings of one part.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    shape: Shape,
    tenants: usize,
    devices: usize,
    points: u64,
    from: Timestamp,
    late_share: f64,
}

impl Load {
    /// A day of the day before yesterday: whole, and over.
    pub(crate) fn new(options: &TelemetryOptions, shape: Shape) -> Self {
        let today = options.clock.now().as_micros().div_euclid(DAY_MICROS);
        let from = Timestamp::from_micros((today - 2) * DAY_MICROS);
        let points = options.devices as u64 * VALUES as u64 * MESSAGES_PER_DAY;
        Self { shape, tenants: 1, devices: options.devices, points, from, late_share: 0.0 }
    }

    /// One device of each tenant, or many of one, with few messages each.
    fn few(options: &TelemetryOptions, tenants: usize, devices: usize) -> Self {
        let points = devices as u64 * VALUES as u64 * FEW_MESSAGES;
        Self { tenants, devices, points, ..Self::new(options, Shape::Iot) }
    }

    pub(crate) fn fleet(&self, tenants: Vec<TenantId>) -> FleetOptions {
        FleetOptions {
            shape: self.shape,
            tenants,
            devices: self.devices,
            from: self.from,
            late_share: self.late_share,
            // Many devices at once take much memory in the generator.
            messages: if self.devices > 10_000 { 1 } else { 10 },
            seed: 7,
        }
    }
}

/// Measures the parts that were asked for, one after the other.
pub async fn telemetry(options: &TelemetryOptions) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for part in &options.parts {
        entries.extend(Box::pin(measure(options, part)).await?);
    }
    Ok(entries)
}

async fn measure(options: &TelemetryOptions, part: &TelemetryPart) -> Result<Vec<Entry>> {
    match part {
        TelemetryPart::Iot => iot(options).await,
        TelemetryPart::CpuOnly => {
            let load = Load::new(options, Shape::CpuOnly);
            day(options, &load, "telemetry.cpu_only").await
        }
        TelemetryPart::Late => {
            let load = Load { late_share: LATE_SHARE, ..Load::new(options, Shape::Iot) };
            day(options, &load, "telemetry.late30").await
        }
        TelemetryPart::Tenants => {
            let load = Load::few(options, TENANTS, TENANTS);
            let (ours, _, _scratch) = fill(options, &load).await?;
            Ok(entries("telemetry.tenants10k", "hourly_average_ms", &ours, None))
        }
        TelemetryPart::Latest => latest(options).await,
        TelemetryPart::ScalePoints(points) => scale::points(options, *points).await,
        TelemetryPart::ScaleSeries(series) => scale::series(options, *series).await,
        TelemetryPart::Real(folder) if folder.is_dir() => real::measure(options, folder).await,
        TelemetryPart::Real(folder) => {
            let why = format!("{} is not there", folder.display());
            let name = "telemetry.real.bytes_per_point";
            Ok(vec![Entry::missing(name, "B", Better::Lower, why)])
        }
    }
}

/// Fills a store of our own and asks the usual questions; the folder goes when it is dropped.
async fn fill(
    options: &TelemetryOptions,
    load: &Load,
) -> Result<(Figures, Ours, tempfile::TempDir)> {
    let scratch = tempfile::tempdir_in(&options.directory)?;
    let (ours, mut figures) = Ours::fill(options, scratch.path(), load).await?;
    ours.ask(options.clock.as_ref(), &mut figures).await?;
    Ok((figures, ours, scratch))
}

async fn start_influx(options: &TelemetryOptions) -> Result<Option<Influx>> {
    if !options.with_peer || !Influx::is_installed() {
        return Ok(None);
    }
    Influx::start(&options.directory).await.map(Some)
}

/// The usual figures of a day, beside InfluxDB.
async fn day(options: &TelemetryOptions, load: &Load, prefix: &str) -> Result<Vec<Entry>> {
    let (figures, ours, scratch) = fill(options, load).await?;
    drop((ours, scratch));
    let peer = match start_influx(options).await? {
        None => None,
        Some(influx) => {
            let theirs = theirs::influx(options, &influx, load).await?;
            Some((influx.name.clone(), theirs))
        }
    };
    Ok(entries(prefix, "hourly_average_ms", &figures, peer.as_ref()))
}

/// The published figures, the suite's questions, and both of a store that was opened just now.
async fn iot(options: &TelemetryOptions) -> Result<Vec<Entry>> {
    let clock = options.clock.as_ref();
    let load = Load::new(options, Shape::Iot);
    let (figures, ours, scratch) = fill(options, &load).await?;
    let mut warm = Vec::with_capacity(questions::IOT.len());
    for question in &questions::IOT {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(ours.question(clock, question).await?);
        }
        warm.push(percentiles(&mut times).0);
    }
    let mut cold = Vec::new();
    let ours = first_answers(options, ours, &mut cold).await?;
    drop((ours, scratch));
    let (peer, peer_warm) = match start_influx(options).await? {
        None => (None, Vec::new()),
        Some(influx) => {
            let theirs = theirs::influx(options, &influx, &load).await?;
            let mut times = Vec::new();
            for question in &questions::IOT {
                let took = theirs::influx_question(options, &influx, question, load.from).await?;
                times.push(took);
            }
            (Some((influx.name.clone(), theirs)), times)
        }
    };
    let mut all = entries("telemetry", "hourly_average_20m_ms", &figures, peer.as_ref());
    let name = peer.as_ref().map(|(name, _)| name.as_str());
    all.extend(question_entries("telemetry.iot", &warm, name.zip(Some(peer_warm.as_slice()))));
    all.extend(cold);
    if let Some(duck) = duck(options, &load).await {
        all.extend(duck_entries(&figures, &warm, duck));
    }
    Ok(all)
}

/// Each question to a store that was opened just now, before any other.
async fn first_answers(
    options: &TelemetryOptions,
    mut ours: Ours,
    out: &mut Vec<Entry>,
) -> Result<Ours> {
    let clock = options.clock.as_ref();
    let entry = |what: &str, value| {
        Entry::new(&format!("telemetry.cold.{what}"), "ms", Better::Lower, value, None)
    };
    let (rng, mut opens, mut reads) = (SeededRng::new(13), Vec::new(), Vec::new());
    for _ in 0..2 * ROUNDS {
        let took;
        (ours, took) = ours.reopened(clock).await?;
        opens.push(took);
        reads.push(ours.day_read(clock, rng.next_u64()).await?);
    }
    opens.sort_unstable_by(f64::total_cmp);
    out.push(entry("open_ms", opens[opens.len() / 2]));
    out.push(entry("day_read_ms", percentiles(&mut reads).0));
    (ours, _) = ours.reopened(clock).await?;
    out.push(entry("hourly_average_20m_ms", milliseconds(ours.hourly_average(clock).await?)));
    for question in &questions::IOT {
        (ours, _) = ours.reopened(clock).await?;
        let took = ours.question(clock, question).await?;
        out.push(entry(&format!("{}_ms", question.name), milliseconds(took)));
    }
    Ok(ours)
}

/// The latest values of many devices, one device after the other.
async fn latest(options: &TelemetryOptions) -> Result<Vec<Entry>> {
    let clock = options.clock.as_ref();
    let load = Load::few(options, 1, LATEST_DEVICES);
    let scratch = tempfile::tempdir_in(&options.directory)?;
    let (ours, _) = Ours::fill(options, scratch.path(), &load).await?;
    let (ours, _) = ours.reopened(clock).await?;
    let first = milliseconds(ours.latest(clock, &[]).await?);
    let mut times = Vec::new();
    for _ in 0..10 * ROUNDS {
        times.push(ours.latest(clock, &[]).await?);
    }
    drop(ours);
    let mut peer = None;
    if let Some(influx) = start_influx(options).await? {
        theirs::influx(options, &influx, &load).await?;
        let question = &questions::LATEST;
        let value = theirs::influx_question(options, &influx, question, load.from).await?;
        peer = Some(Peer { name: influx.name.clone(), value });
    }
    let (p50, p99) = percentiles(&mut times);
    let entry = |what: &str, value, peer| {
        Entry::new(&format!("telemetry.latest_10k.{what}"), "ms", Better::Lower, value, peer)
    };
    Ok(vec![entry("p50_ms", p50, peer), entry("p99_ms", p99, None), entry("cold_ms", first, None)])
}

/// DuckDB, where Python has it. It is a reference beside the peer: what goes wrong with it leaves
/// the figures as they are.
async fn duck(options: &TelemetryOptions, load: &Load) -> Option<Duck> {
    if !options.with_peer || !theirs::duck_is_installed().await {
        return None;
    }
    let scratch = tempfile::tempdir_in(&options.directory).ok()?;
    theirs::duck(scratch.path(), load).await.ok()
}

fn duck_entries(ours: &Figures, warm: &[f64], duck: Duck) -> Vec<Entry> {
    let Duck { name, figures, questions } = duck;
    let prefix = "telemetry.beside_duckdb";
    let peer = (name, figures);
    let mut all = entries(prefix, "hourly_average_20m_ms", ours, Some(&peer));
    all.extend(question_entries(
        &format!("{prefix}.iot"),
        warm,
        Some((peer.0.as_str(), questions.as_slice())),
    ));
    all
}

fn question_entries(prefix: &str, warm: &[f64], peer: Option<(&str, &[f64])>) -> Vec<Entry> {
    let one = |(place, (question, value)): (usize, (&questions::Question, &f64))| {
        let peer = peer.and_then(|(name, values)| {
            Some(Peer { name: name.to_owned(), value: *values.get(place)? })
        });
        let name = format!("{prefix}.{}_ms", question.name);
        Entry::new(&name, "ms", Better::Lower, *value, peer)
    };
    questions::IOT.iter().zip(warm).enumerate().map(one).collect()
}

/// Median and 99th percentile, in milliseconds.
pub(crate) fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| {
        let place = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| milliseconds(*time))
    };
    (at(50), at(99))
}

fn entries(
    prefix: &str,
    average: &str,
    ours: &Figures,
    peer: Option<&(String, Figures)>,
) -> Vec<Entry> {
    let entry = |what: &str, unit, better, value: fn(&Figures) -> f64| {
        let peer = peer.map(|(name, figures)| Peer { name: name.clone(), value: value(figures) });
        Entry::new(&format!("{prefix}.{what}"), unit, better, value(ours), peer)
    };
    vec![
        entry("ingest.points_per_cpu_s", "1/s", Better::Higher, |f| f.points / f.ingest_cpu_s),
        entry("ingest.points_per_s", "1/s", Better::Higher, |f| f.points / f.ingest_s),
        entry("bytes_per_point", "B", Better::Lower, |f| f.bytes / f.points),
        entry("day_read_p50_ms", "ms", Better::Lower, |f| f.day_read_p50_ms),
        entry("day_read_p99_ms", "ms", Better::Lower, |f| f.day_read_p99_ms),
        entry(average, "ms", Better::Lower, |f| f.hourly_average_ms),
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
        options.parts = vec![TelemetryPart::Iot, TelemetryPart::Late];
        let entries = telemetry(&options).await.expect("figures");
        let questions = questions::IOT.len();
        assert_eq!(entries.len(), 6 + questions + 3 + questions + 6);
        assert!(entries.iter().all(|entry| entry.value.is_finite() && entry.value > 0.0));
    }
}

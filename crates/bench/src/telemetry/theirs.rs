//! The peers' sides: the same readings into InfluxDB over its HTTP interface, and into DuckDB in a
//! Python process of our own, and the same questions.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use veritwin_domain::{DeviceBatch, DeviceId, Rng, SeededRng, TenantId, Timestamp};

use super::ours::{DAY_READS, ROUNDS};
use super::questions::{IOT, Question};
use super::{DAY_MICROS, Figures, Load, TelemetryOptions, percentiles};
use crate::influx::Influx;
use crate::shape::{Fleet, csv, line_protocol};

/// Where DuckDB is run.
const PYTHON: &str = "python3";
const DUCK: &str = include_str!("duck.py");
/// Its largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The load as the peers get it: they know no tenants.
fn fleet(load: &Load) -> Fleet {
    Fleet::new(&load.fleet(vec![TenantId::from_bytes([1; 16])]))
}

/// Calls `take` with one batch of messages after the other; answers how many values there were.
fn for_each_batch(load: &Load, mut take: impl FnMut(&[DeviceBatch]) -> Result<()>) -> Result<f64> {
    let mut fleet = fleet(load);
    let mut points = 0.0;
    while points < load.points as f64 {
        let batches = fleet.next();
        points += count(&batches);
        take(&batches)?;
    }
    let rest = fleet.rest();
    take(&rest)?;
    Ok(points + count(&rest))
}

fn count(batches: &[DeviceBatch]) -> f64 {
    batches.iter().map(|batch| batch.readings.len()).sum::<usize>() as f64
}

/// Fills InfluxDB and asks what [`super::ours::Ours::ask`] asks.
pub(super) async fn influx(
    options: &TelemetryOptions,
    influx: &Influx,
    load: &Load,
) -> Result<Figures> {
    let clock = options.clock.as_ref();
    let mut fleet = fleet(load);
    let mut figures = Figures::default();
    let before = influx.cpu_seconds()?;
    let mut lines = String::new();
    let mut is_over = false;
    while !is_over {
        let batches = if figures.points < load.points as f64 {
            fleet.next()
        } else {
            is_over = true;
            fleet.rest()
        };
        if batches.is_empty() {
            continue;
        }
        figures.points += count(&batches);
        line_protocol(&batches, &mut lines);
        let wall = clock.monotonic();
        influx.write(&lines).await?;
        figures.ingest_s += (clock.monotonic() - wall).as_secs_f64();
    }
    figures.bytes = influx.settled_bytes().await? as f64;
    figures.ingest_cpu_s = influx.cpu_seconds()? - before;
    let devices: Vec<DeviceId> = fleet.devices().into_iter().map(|(_, device)| device).collect();
    let keys = load.shape.keys();
    let rng = SeededRng::new(11);
    let mut times = Vec::with_capacity(DAY_READS);
    for round in 0..2 * DAY_READS {
        let (device, key) = picked((devices.len(), keys.len()), rng.next_u64())?;
        let (device, key) = (devices[device], keys[key]);
        let started = clock.monotonic();
        influx.query(&day_question(key, device, load.from)).await?;
        if round >= DAY_READS {
            times.push(clock.monotonic() - started);
        }
    }
    (figures.day_read_p50_ms, figures.day_read_p99_ms) = percentiles(&mut times);
    let (start, end) = day(load.from);
    let all = format!(
        "SELECT mean(*) FROM readings WHERE time >= {start}ms AND time < {end}ms \
         GROUP BY time(1h), \"name\""
    );
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let started = clock.monotonic();
        influx.query(&all).await?;
        if round > 0 {
            times.push(clock.monotonic() - started);
        }
    }
    figures.hourly_average_ms = percentiles(&mut times).0;
    Ok(figures)
}

/// One question to InfluxDB; the median of some.
pub(super) async fn influx_question(
    options: &TelemetryOptions,
    influx: &Influx,
    question: &Question,
    from: Timestamp,
) -> Result<f64> {
    let text = question.influx(from);
    let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = options.clock.monotonic();
        influx.query(&text).await?;
        times.push(options.clock.monotonic() - started);
    }
    Ok(percentiles(&mut times).0)
}

/// The device and the key of a read, by their places: those that [`super::ours::Ours::day_read`]
/// reads.
fn picked((devices, keys): (usize, usize), pick: u64) -> Result<(usize, usize)> {
    let place = usize::try_from(pick % (devices * keys) as u64)?;
    Ok((place / keys, place % keys))
}

fn day(from: Timestamp) -> (i64, i64) {
    let start = from.as_micros() / 1000;
    (start, start + DAY_MICROS / 1000)
}

fn day_question(key: &str, device: DeviceId, from: Timestamp) -> String {
    let (start, end) = day(from);
    format!(
        "SELECT {key} FROM readings WHERE \"name\" = '{device}' \
         AND time >= {start}ms AND time < {end}ms"
    )
}

/// What DuckDB did.
pub(super) struct Duck {
    /// With its version.
    pub(super) name: String,
    pub(super) figures: Figures,
    /// The suite's questions, in their order.
    pub(super) questions: Vec<f64>,
}

/// Whether Python is there and has the package.
pub(super) async fn duck_is_installed() -> bool {
    let python = Command::new(PYTHON)
        .args(["-c", "import duckdb"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    python.await.is_ok_and(|status| status.success())
}

/// Fills DuckDB from a text file in a folder, and asks it.
pub(super) async fn duck(directory: &Path, load: &Load) -> Result<Duck> {
    let text = directory.join("readings.csv");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&text)?);
    let mut lines = String::new();
    let points = for_each_batch(load, |batches| {
        csv(batches, &mut lines);
        Ok(out.write_all(lines.as_bytes())?)
    })?;
    out.flush()?;
    let devices: Vec<String> =
        fleet(load).devices().iter().map(|(_, device)| device.to_string()).collect();
    let keys = load.shape.keys();
    let rng = SeededRng::new(11);
    let mut reads = Vec::with_capacity(DAY_READS);
    let (start, end) = day(load.from);
    for _ in 0..2 * DAY_READS {
        let (device, key) = picked((devices.len(), keys.len()), rng.next_u64())?;
        let (device, key) = (&devices[device], keys[key]);
        reads.push(format!(
            "SELECT at, {key} FROM readings WHERE name = '{device}' AND at >= {start} \
             AND at < {end} ORDER BY at"
        ));
    }
    let averages: Vec<String> = keys.iter().map(|key| format!("avg({key})")).collect();
    let work = json!({
        "csv": text,
        "database": directory.join("readings.duckdb"),
        "keys": keys,
        "day_reads": reads,
        "hourly_average": format!(
            "SELECT name, at // 3600000 AS hour, {} FROM readings WHERE at >= {start} \
             AND at < {end} GROUP BY name, hour",
            averages.join(", ")
        ),
        "questions": IOT.iter().map(|one| one.duck(load.from)).collect::<Vec<_>>(),
        "rounds": ROUNDS,
    });
    let path = directory.join("work.json");
    std::fs::write(&path, serde_json::to_vec(&work)?)?;
    let output = Command::new(PYTHON)
        .args(["-c", DUCK])
        .arg(&path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("starting Python")?;
    ensure!(output.status.success(), "DuckDB's script ended with {}", output.status);
    ensure!(output.stdout.len() <= ANSWER_BYTES_MAX, "DuckDB's script says too much");
    read_duck(&serde_json::from_slice(&output.stdout)?, points)
}

fn read_duck(answer: &Value, points: f64) -> Result<Duck> {
    let number = |name: &str| answer[name].as_f64().with_context(|| format!("no {name}"));
    let (Some(version), Some(questions)) =
        (answer["version"].as_str(), answer["questions"].as_array())
    else {
        bail!("DuckDB's script did not say its version and answers");
    };
    Ok(Duck {
        name: format!("DuckDB {version}"),
        figures: Figures {
            points,
            ingest_cpu_s: number("ingest_cpu_s")?,
            ingest_s: number("ingest_s")?,
            bytes: number("bytes")?,
            day_read_p50_ms: number("day_read_p50_ms")?,
            day_read_p99_ms: number("day_read_p99_ms")?,
            hourly_average_ms: number("hourly_average_ms")?,
        },
        questions: questions.iter().filter_map(Value::as_f64).collect(),
    })
}

//! `veritwin bench telemetry`: the engine in a folder of its own, beside its peers; the bulk write
//! of a private platform over TLS; the memory of many series in a process of its own.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;
use veritwin_bench::{
    Better, Entry, TelemetryOptions, TelemetryPart, active_series, active_series_entries,
    cpu_seconds_of_tree, vehicle_lines,
};
use veritwin_domain::{Clock, SystemClock, Timestamp};

use super::client::Client;
use super::{Private, Rates, Scratch};

/// Connections of the bulk write.
const CONNECTIONS: usize = 4;
/// Messages of one body, ten values each, and bodies in all: 10 million points.
const MESSAGES_PER_BODY: u32 = 2000;
const BODIES: u64 = 500;
const POINTS: f64 = 10.0 * MESSAGES_PER_BODY as f64 * BODIES as f64;
/// Between two messages of a vehicle.
const STEP: Duration = Duration::from_secs(10);
/// The readings begin so long ago.
const AGO: Duration = Duration::from_secs(4 * 86_400);

/// A part of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The engine, beside its peers.
    Engine(TelemetryPart),
    /// The bulk write over HTTP and TLS.
    Http,
    /// The memory of a million active series, in a process of its own.
    ActiveSeries,
    /// The same in this process, which has done nothing else.
    ActiveSeriesHere,
}

/// Measures the parts, one after the other.
pub(crate) async fn telemetry(parts: &[Part]) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for part in parts {
        match part {
            Part::Engine(part) => {
                let scratch = Scratch::new()?;
                let mut options = options(&scratch);
                options.parts = vec![part.clone()];
                entries.extend(veritwin_bench::telemetry(&options).await?);
            }
            Part::Http => {
                let peer_of = |name: &str| {
                    let entry = entries.iter().find(|entry| entry.name == name)?;
                    entry.peer.clone()
                };
                let peers = ["points_per_s", "points_per_cpu_s"]
                    .map(|what| peer_of(&format!("telemetry.ingest.{what}")));
                entries.extend(http(peers).await?);
            }
            Part::ActiveSeries => entries.extend(in_a_process_of_its_own().await?),
            Part::ActiveSeriesHere => {
                let scratch = Scratch::new()?;
                entries.extend(active_series(&options(&scratch)).await?);
            }
        }
    }
    Ok(entries)
}

fn options(scratch: &Scratch) -> TelemetryOptions {
    let (clock, rng) = (Arc::clone(&scratch.clock), Arc::clone(&scratch.rng));
    TelemetryOptions::new(scratch.folder.clone(), clock, rng)
}

async fn in_a_process_of_its_own() -> anyhow::Result<Vec<Entry>> {
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["bench", "telemetry", "--part", "active-series-here", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "the process with the series ended with {}", output.status);
    let said: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    Ok(active_series_entries(|name| {
        said.iter().find(|entry| entry["name"] == name)?["value"].as_f64()
    }))
}

/// Bodies for the devices in turn: a device's times go on from body to body.
fn bodies(devices: usize, now: Timestamp) -> Vec<Bytes> {
    let begin = now.saturating_sub(AGO);
    let body = |number: u64| {
        let earlier = u32::try_from(number / devices as u64).unwrap_or(0);
        let from = begin.saturating_add(STEP * MESSAGES_PER_BODY * earlier);
        Bytes::from(vehicle_lines(number, from, MESSAGES_PER_BODY))
    };
    (0..BODIES).map(body).collect()
}

/// Durable bulk writes over TLS, of some connections at once; beside what the peer took in over
/// HTTP without TLS, where it was measured.
async fn http(peers: [Option<veritwin_bench::Peer>; 2]) -> anyhow::Result<Vec<Entry>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rng = veritwin_app::system_rng();
    let private = Private::start(clock.as_ref(), &rng, Rates::Lifted).await?;
    let tokens: Arc<[String]> = private.tokens().await?.into();
    let bodies: Arc<[Bytes]> = bodies(tokens.len(), clock.now()).into();
    let ca_pem = std::fs::read_to_string(private.text("ca")?)?;
    let address = private.text("https")?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(&address, &ca_pem).await?);
    }
    let pid = private.child.id();
    let (cpu, started) = (cpu_seconds_of_tree(pid)?, clock.monotonic());
    let mut writers = JoinSet::new();
    for (first, client) in clients.into_iter().enumerate() {
        let (tokens, bodies) = (Arc::clone(&tokens), Arc::clone(&bodies));
        writers.spawn(write(client, first, tokens, bodies, Arc::clone(&clock)));
    }
    let mut times = Vec::with_capacity(bodies.len());
    while let Some(done) = writers.join_next().await {
        times.extend(done.context("a writer ended early")??);
    }
    let took = (clock.monotonic() - started).as_secs_f64();
    let cpu = cpu_seconds_of_tree(pid)? - cpu;
    times.sort_unstable();
    let at = |share: usize| {
        let place = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(place).map_or(f64::NAN, |time: &Duration| time.as_secs_f64() * 1e3)
    };
    let entry = |name: &str, unit, better, value, peer| {
        Entry::new(&format!("telemetry.http.{name}"), unit, better, value, peer)
    };
    let [per_s, per_cpu_s] = peers;
    Ok(vec![
        entry("points_per_s", "1/s", Better::Higher, POINTS / took, per_s),
        entry("points_per_cpu_s", "1/s", Better::Higher, POINTS / cpu, per_cpu_s),
        entry("write_p50_ms", "ms", Better::Lower, at(50), None),
        entry("write_p99_ms", "ms", Better::Lower, at(99), None),
    ])
}

/// Every fourth body, one after the other; each device writes its own.
async fn write(
    mut client: Client,
    first: usize,
    tokens: Arc<[String]>,
    bodies: Arc<[Bytes]>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(bodies.len() / CONNECTIONS + 1);
    for (number, body) in bodies.iter().enumerate().skip(first).step_by(CONNECTIONS) {
        let started = clock.monotonic();
        let status = client.write(&tokens[number % tokens.len()], body.clone()).await?;
        ensure!(status == StatusCode::OK, "a bulk write answered {status}");
        times.push(clock.monotonic() - started);
    }
    Ok(times)
}

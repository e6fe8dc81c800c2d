//! Measures one setting of `veritwin bench mqtt`: the platform, then mosquitto without persistence
//! with the same load. What one of them cannot do is said in the place of its figure.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls_pki_types::ServerName;
use tokio::time::sleep;
use veritwin_domain::Clock;
use veritwin_simulator::load::{
    self, FanOutOptions, LoadOptions, Moment, Qos, RetainedOptions, Target,
};

use crate::cell::{Cell, SOAK_CONNECTIONS};
use crate::entry::{Better, Entry, Peer};
use crate::mosquitto::{Mosquitto, PeerCertificate};
use crate::mqtt::{TOPIC, client_config, measure};
use crate::process::{cpu_seconds, resident_bytes};

/// Further lines of mosquitto's configuration: 20 messages on their way would hold it up.
const PEER_OPTIONS: &str = "max_inflight_messages 1000\n";
const PAYLOAD_BYTES: usize = 100;
/// Unacknowledged messages of all connections, and of one.
const UNACKNOWLEDGED: usize = 5000;
const WINDOW_MAX: usize = 100;
/// Time in which a server may tidy up before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(10);
const SOAK_WARM_UP: Duration = Duration::from_secs(120);
const SOAK_MESSAGES_PER_S: f64 = 20_000.0;
const MINUTE: Duration = Duration::from_secs(60);
const MB: f64 = 1e6;

/// What to measure, where.
#[derive(Debug, Clone)]
pub struct CellOptions {
    /// The setting.
    pub cell: Cell,
    /// The platform's listener, `host:port`: with TLS, or the benchmark's own without.
    pub address: String,
    /// The name in its certificate.
    pub server_name: String,
    /// The authorities to trust, PEM.
    pub ca_pem: Vec<u8>,
    /// Access tokens of devices: of one tenant, or for retained messages one of each.
    pub tokens: Vec<String>,
    /// The platform's process. It must not be the process that runs this.
    pub pid: u32,
    /// For mosquitto's listener; without it, or without mosquitto, there is no peer.
    pub peer: Option<PeerCertificate>,
    /// How many messages a tenant may retain.
    pub retained_messages_max: usize,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Time of measuring.
    pub duration: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A server under load.
struct Server {
    target: Target,
    pid: u32,
}

/// One figure of a server. The figures of a cell are the same, in the same order, for each server.
struct Figure {
    name: &'static str,
    unit: &'static str,
    better: Better,
    value: f64,
}

impl Figure {
    const fn higher(name: &'static str, value: f64) -> Self {
        Self { name, unit: "1/s", better: Better::Higher, value }
    }

    const fn lower(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self { name, unit, better: Better::Lower, value }
    }
}

/// Measures one setting.
pub async fn cell(options: &CellOptions) -> Result<Vec<Entry>> {
    let is_plain = options.cell.is_plain();
    let name = options.server_name.clone();
    let target = Target {
        address: options.address.clone(),
        server_name: ServerName::try_from(name).context("the server name is not a DNS name")?,
        tls: if is_plain { None } else { Some(client_config(&options.ca_pem)?) },
        tokens: options.tokens.clone(),
    };
    let ours = Server { target: target.clone(), pid: options.pid };
    let ours = Box::pin(figures(options, &ours)).await.context("loading the platform")?;
    let peer = match &options.peer {
        // Half an hour of somebody else's memory says nothing about ours.
        Some(files) if Mosquitto::is_installed() && !matches!(options.cell, Cell::Soak { .. }) => {
            let files = (!is_plain).then_some(files);
            let mosquitto = Mosquitto::start(files, PEER_OPTIONS).await?;
            let (address, tokens) = (mosquitto.address.clone(), Vec::new());
            let server =
                Server { target: Target { address, tokens, ..target }, pid: mosquitto.pid };
            Some((mosquitto.name.clone(), Box::pin(figures(options, &server)).await))
        }
        _ => None,
    };
    Ok(entries(&options.cell.name(), ours, peer.as_ref()))
}

/// Each of our figures beside the peer's, or beside why there is none.
fn entries(
    cell: &str,
    ours: Vec<Figure>,
    peer: Option<&(String, Result<Vec<Figure>>)>,
) -> Vec<Entry> {
    let entry = |(place, figure): (usize, Figure)| {
        let theirs = peer.and_then(|(name, figures)| {
            let value = figures.as_ref().ok()?.get(place)?.value;
            Some(Peer { name: name.clone(), value })
        });
        let missing = peer.and_then(|(name, figures)| {
            let error = figures.as_ref().err()?;
            Some(format!("{name}: {error:#}"))
        });
        let name = format!("{cell}.{}", figure.name);
        let entry = Entry::new(&name, figure.unit, figure.better, figure.value, theirs);
        Entry { missing, ..entry }
    };
    ours.into_iter().enumerate().map(entry).collect()
}

async fn figures(options: &CellOptions, server: &Server) -> Result<Vec<Figure>> {
    match options.cell {
        Cell::Usual { connections } => {
            publish(options, server, Qos::AtLeastOnce, connections).await
        }
        Cell::Publish { qos, connections, .. } => publish(options, server, qos, connections).await,
        Cell::FanOut { qos, subscribers, .. } => fan_out(options, server, qos, subscribers).await,
        Cell::Retained { messages, .. } => retained(options, server, messages).await,
        Cell::Idle { connections } => idle(options, server, connections).await,
        Cell::Storm { connections } => storm(options, server, connections).await,
        Cell::Soak { minutes } => soak(options, server, minutes).await,
    }
}

fn readings(options: &CellOptions, server: &Server, qos: Qos, connections: usize) -> LoadOptions {
    LoadOptions {
        target: server.target.clone(),
        topic: TOPIC.to_owned(),
        qos,
        connections,
        window: (UNACKNOWLEDGED / connections.max(1)).clamp(1, WINDOW_MAX),
        payload_bytes: PAYLOAD_BYTES,
        messages_per_s_max: None,
        warm_up: options.warm_up,
        duration: options.duration,
        clock: Arc::clone(&options.clock),
    }
}

async fn publish(
    options: &CellOptions,
    server: &Server,
    qos: Qos,
    connections: usize,
) -> Result<Vec<Figure>> {
    let load = readings(options, server, qos, connections);
    let full = measure(load.clone(), server.pid).await.context("at full load")?;
    let mut figures = vec![
        Figure::higher("messages_per_s", full.report.messages_per_s),
        Figure::lower("cpu_s_per_million", "s", full.cpu_s_per_million()),
    ];
    if qos != Qos::AtMostOnce {
        let half_rate = Some(full.report.messages_per_s / 2.0);
        let half = LoadOptions { messages_per_s_max: half_rate, ..load };
        let half = measure(half, server.pid).await.context("at half load")?;
        figures.extend([
            Figure::lower("ack_p50_ms", "ms", full.report.ack_p50_ms),
            Figure::lower("ack_p99_ms", "ms", full.report.ack_p99_ms),
            Figure::lower("half_load.ack_p99_ms", "ms", half.report.ack_p99_ms),
        ]);
    }
    Ok(figures)
}

async fn fan_out(
    options: &CellOptions,
    server: &Server,
    qos: Qos,
    subscribers: usize,
) -> Result<Vec<Figure>> {
    let load = FanOutOptions {
        target: server.target.clone(),
        topic: "bench/fan-out".to_owned(),
        qos,
        subscribers,
        window: WINDOW_MAX,
        payload_bytes: PAYLOAD_BYTES,
        warm_up: options.warm_up,
        duration: options.duration,
        clock: Arc::clone(&options.clock),
    };
    let (mut before, mut after) = (Ok(0.0), Ok(0.0));
    let report = load::fan_out(load, |moment| match moment {
        Moment::MeasuringStarts => before = cpu_seconds(server.pid),
        Moment::MeasuringEnds => after = cpu_seconds(server.pid),
    })
    .await?;
    let cpu_s = after? - before?;
    Ok(vec![
        Figure::higher("deliveries_per_s", report.deliveries_per_s),
        Figure::lower("delivery_p50_ms", "ms", report.delivery_p50_ms),
        Figure::lower("delivery_p99_ms", "ms", report.delivery_p99_ms),
        Figure::lower("cpu_s_per_million", "s", cpu_s / (report.deliveries.max(1) as f64 / 1e6)),
    ])
}

async fn retained(options: &CellOptions, server: &Server, messages: usize) -> Result<Vec<Figure>> {
    let report = load::retained(RetainedOptions {
        target: server.target.clone(),
        messages,
        messages_per_connection: options.retained_messages_max,
        window: WINDOW_MAX,
        payload_bytes: PAYLOAD_BYTES,
        clock: Arc::clone(&options.clock),
    })
    .await?;
    Ok(vec![
        Figure::higher("store_per_s", report.store_per_s),
        Figure::higher("deliver_per_s", report.deliver_per_s),
    ])
}

async fn idle(options: &CellOptions, server: &Server, connections: usize) -> Result<Vec<Figure>> {
    let before = resident_bytes(server.pid)?;
    let started = options.clock.monotonic();
    let mut open = load::idle(&server.target, connections).await?;
    let took = options.clock.monotonic().saturating_sub(started);
    sleep(SETTLE).await;
    let after = resident_bytes(server.pid)?;
    open.check().await?;
    let grown = after.saturating_sub(before) as f64;
    Ok(vec![
        Figure::lower("bytes_per_connection", "B", grown / connections as f64),
        Figure::lower("rss_mb", "MB", after as f64 / MB),
        Figure::higher("connects_per_s", connections as f64 / took.as_secs_f64()),
    ])
}

/// Every connection is cut at once, and as many come at once.
async fn storm(options: &CellOptions, server: &Server, connections: usize) -> Result<Vec<Figure>> {
    let open = load::idle(&server.target, connections).await.context("before the storm")?;
    let before = resident_bytes(server.pid)?;
    drop(open);
    let started = options.clock.monotonic();
    let mut back = load::idle(&server.target, connections).await.context("in the storm")?;
    let took = options.clock.monotonic().saturating_sub(started);
    back.check().await?;
    let grown = resident_bytes(server.pid)?.saturating_sub(before) as f64;
    Ok(vec![
        Figure::higher("reconnects_per_s", connections as f64 / took.as_secs_f64()),
        Figure::lower("storm_s", "s", took.as_secs_f64()),
        Figure::lower("rss_growth_mb", "MB", grown / MB),
    ])
}

async fn soak(options: &CellOptions, server: &Server, minutes: u32) -> Result<Vec<Figure>> {
    let load = LoadOptions {
        messages_per_s_max: Some(SOAK_MESSAGES_PER_S),
        warm_up: SOAK_WARM_UP,
        duration: MINUTE * minutes,
        ..readings(options, server, Qos::AtLeastOnce, SOAK_CONNECTIONS)
    };
    let loading = async { load::run(load, |_| ()).await.context("the load of the soak") };
    let looking = async {
        sleep(SOAK_WARM_UP).await;
        let mut samples = vec![resident_bytes(server.pid)? as f64 / MB];
        for _ in 0..minutes {
            sleep(MINUTE).await;
            samples.push(resident_bytes(server.pid)? as f64 / MB);
        }
        Ok::<_, anyhow::Error>(samples)
    };
    let (report, samples) = tokio::try_join!(loading, looking)?;
    let (first, last) = (samples.first().copied(), samples.last().copied());
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    Ok(vec![
        Figure::lower("rss_start_mb", "MB", first),
        Figure::lower("rss_end_mb", "MB", last),
        Figure::lower("rss_growth_mb", "MB", last - first),
        Figure::lower("rss_slope_mb_per_hour", "MB/h", slope(&samples) * 60.0),
        Figure::higher("messages_per_s", report.messages_per_s),
        Figure::lower("ack_p99_ms", "ms", report.ack_p99_ms),
    ])
}

/// How much a sample is larger than the one before it, by least squares.
fn slope(samples: &[f64]) -> f64 {
    let count = samples.len() as f64;
    if samples.len() < 2 {
        return 0.0;
    }
    let place_mean = (count - 1.0) / 2.0;
    let mean = samples.iter().sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (place, sample) in samples.iter().enumerate() {
        let distance = place as f64 - place_mean;
        above += distance * (sample - mean);
        below += distance * distance;
    }
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes() {
        let check = |samples: &[f64], expect: f64| {
            assert!((slope(samples) - expect).abs() < 1e-9, "{samples:?}: {}", slope(samples));
        };
        check(&[], 0.0);
        check(&[5.0], 0.0);
        check(&[5.0, 5.0, 5.0], 0.0);
        check(&[1.0, 3.0, 5.0, 7.0], 2.0);
        check(&[0.0, 2.0, 0.0, 2.0], 0.4);
    }

    #[test]
    fn a_peer_that_failed_is_told() {
        let ours = || vec![Figure::higher("a", 6.0), Figure::lower("b", "ms", 1.0)];
        let there = Some(("other".to_owned(), Ok(vec![Figure::higher("a", 2.0)])));
        let found = entries("cell", ours(), there.as_ref());
        assert_eq!((found[0].name.as_str(), found[0].ratio), ("cell.a", Some(3.0)));
        assert_eq!((found[1].ratio, found[1].missing.clone()), (None, None));
        let failed = Some(("other".to_owned(), Err(anyhow::anyhow!("it is down"))));
        let found = entries("cell", ours(), failed.as_ref());
        assert_eq!((found[0].value, found[0].peer.clone()), (6.0, None));
        assert_eq!(found[0].missing.as_deref(), Some("other: it is down"));
    }
}

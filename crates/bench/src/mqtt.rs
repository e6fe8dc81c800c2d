//! `veritwin bench mqtt`: QoS 1 over TLS into the durable path, at full load and at half load,
//! then the same full load into mosquitto without persistence.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use veritwin_domain::Clock;
use veritwin_simulator::load::{self, LoadOptions, LoadReport, Moment, Qos, Target};

use crate::entry::{Better, Entry, Peer};
use crate::mosquitto::{Mosquitto, PeerCertificate};
use crate::process::cpu_seconds;

/// Readings go here.
pub(crate) const TOPIC: &str = "v1/devices/me/telemetry";

/// What to measure.
#[derive(Debug, Clone)]
pub struct MqttOptions {
    /// The platform's MQTT listener, `host:port`.
    pub address: String,
    /// The name in its certificate.
    pub server_name: String,
    /// The authority to trust, PEM.
    pub ca_pem: Vec<u8>,
    /// Access tokens of devices, given to the connections in turn.
    pub tokens: Vec<String>,
    /// The platform's process, for its CPU time. It must not be the process that runs this.
    pub pid: u32,
    /// For mosquitto's listener; without it, or without mosquitto, there is no peer.
    pub peer: Option<PeerCertificate>,
    /// Number of connections.
    pub connections: usize,
    /// Unacknowledged messages per connection.
    pub window: usize,
    /// Size of a payload, in bytes.
    pub payload_bytes: usize,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Time of measuring.
    pub duration: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl MqttOptions {
    /// The published setting: 50 connections, window 100, 100 bytes, 10 s after 2 s of warm-up.
    pub fn new(
        address: String,
        server_name: String,
        ca_pem: Vec<u8>,
        tokens: Vec<String>,
        pid: u32,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            address,
            server_name,
            ca_pem,
            tokens,
            pid,
            peer: None,
            connections: 50,
            window: 100,
            payload_bytes: 100,
            warm_up: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            clock,
        }
    }
}

/// One run: what the client saw and the server's CPU seconds.
pub(crate) struct Run {
    pub(crate) report: LoadReport,
    cpu_s: f64,
}

impl Run {
    pub(crate) fn cpu_s_per_million(&self) -> f64 {
        self.cpu_s / (self.report.messages.max(1) as f64 / 1e6)
    }
}

/// Measures a running platform, and mosquitto where it is installed.
pub async fn mqtt(options: &MqttOptions) -> Result<Vec<Entry>> {
    let tls = client_config(&options.ca_pem)?;
    let name = options.server_name.clone();
    let server_name = ServerName::try_from(name).context("the server name is not a DNS name")?;
    let target = Target {
        address: options.address.clone(),
        server_name,
        tls: Some(tls),
        tokens: options.tokens.clone(),
    };
    let full = LoadOptions {
        target,
        topic: TOPIC.to_owned(),
        qos: Qos::AtLeastOnce,
        connections: options.connections,
        window: options.window,
        payload_bytes: options.payload_bytes,
        messages_per_s_max: None,
        warm_up: options.warm_up,
        duration: options.duration,
        clock: Arc::clone(&options.clock),
    };
    let ours = measure(full.clone(), options.pid).await.context("loading the platform")?;
    let half_rate = Some(ours.report.messages_per_s / 2.0);
    let half = LoadOptions { messages_per_s_max: half_rate, ..full.clone() };
    let half = measure(half, options.pid).await.context("loading the platform by half")?;

    let peer = match &options.peer {
        Some(files) if Mosquitto::is_installed() => {
            let mosquitto = Mosquitto::start(Some(files), "").await?;
            let (address, tokens) = (mosquitto.address.clone(), Vec::new());
            let load = LoadOptions { target: Target { address, tokens, ..full.target }, ..full };
            let run = measure(load, mosquitto.pid).await.context("loading mosquitto")?;
            Some((mosquitto.name.clone(), run))
        }
        _ => None,
    };
    Ok(entries(&ours, &half, peer.as_ref()))
}

/// Loads a server and reads its process's CPU time at both ends of measuring.
pub(crate) async fn measure(options: LoadOptions, pid: u32) -> Result<Run> {
    let (mut before, mut after) = (Ok(0.0), Ok(0.0));
    let report = load::run(options, |moment| match moment {
        Moment::MeasuringStarts => before = cpu_seconds(pid),
        Moment::MeasuringEnds => after = cpu_seconds(pid),
    })
    .await?;
    Ok(Run { report, cpu_s: after? - before? })
}

pub(crate) fn client_config(ca_pem: &[u8]) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.context("the authority's PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn entries(ours: &Run, half: &Run, peer: Option<&(String, Run)>) -> Vec<Entry> {
    let peer_value = |value: fn(&Run) -> f64| {
        peer.map(|(name, run)| Peer { name: name.clone(), value: value(run) })
    };
    let entry = |what: &str, unit, better, value: fn(&Run) -> f64| {
        let name = format!("mqtt.qos1.tls.durable.{what}");
        Entry::new(&name, unit, better, value(ours), peer_value(value))
    };
    let half_load = Entry::new(
        "mqtt.qos1.tls.durable.half_load.ack_p99_ms",
        "ms",
        Better::Lower,
        half.report.ack_p99_ms,
        None,
    );
    vec![
        entry("messages_per_s", "1/s", Better::Higher, |run| run.report.messages_per_s),
        entry("cpu_s_per_million", "s", Better::Lower, Run::cpu_s_per_million),
        entry("ack_p50_ms", "ms", Better::Lower, |run| run.report.ack_p50_ms),
        entry("ack_p99_ms", "ms", Better::Lower, |run| run.report.ack_p99_ms),
        half_load,
    ]
}

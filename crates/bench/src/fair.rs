//! `veritwin bench fair`: how long a quiet tenant waits for its acknowledgements while another one
//! publishes as fast as it can, beside its wait without that.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls_pki_types::ServerName;
use veritwin_domain::Clock;
use veritwin_simulator::load::{self, LoadOptions, LoadReport, Qos, Target};

use crate::entry::{Better, Entry, Peer};
use crate::mqtt::{TOPIC, client_config};

/// Connections of the quiet tenant, and its messages a second.
const QUIET_CONNECTIONS: usize = 10;
const QUIET_MESSAGES_PER_S: f64 = 200.0;
/// Connections of the flood, and messages that each has under way.
const FLOOD_CONNECTIONS: usize = 50;
const FLOOD_WINDOW: usize = 500;
const PAYLOAD_BYTES: usize = 100;
/// Of a thread, as `nice` counts.
const LEAST_PRIORITY: i32 = 19;
const WARM_UP: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Debug, Clone)]
pub struct FairOptions {
    /// The platform's MQTT listener, `host:port`.
    pub address: String,
    /// The name in its certificate.
    pub server_name: String,
    /// The authority to trust, PEM.
    pub ca_pem: Vec<u8>,
    /// Access tokens of the quiet tenant's devices.
    pub quiet_tokens: Vec<String>,
    /// Access tokens of the flooding tenant's devices.
    pub flood_tokens: Vec<String>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Measures a running platform.
pub async fn fair(options: &FairOptions) -> Result<Vec<Entry>> {
    let name = options.server_name.clone();
    let target = Target {
        address: options.address.clone(),
        server_name: ServerName::try_from(name).context("the server name is not a DNS name")?,
        tls: Some(client_config(&options.ca_pem)?),
        tokens: options.quiet_tokens.clone(),
    };
    let flooded = Target { tokens: options.flood_tokens.clone(), ..target.clone() };
    let quiet = LoadOptions {
        target,
        topic: TOPIC.to_owned(),
        qos: Qos::AtLeastOnce,
        connections: QUIET_CONNECTIONS,
        window: 4,
        payload_bytes: PAYLOAD_BYTES,
        messages_per_s_max: Some(QUIET_MESSAGES_PER_S),
        warm_up: WARM_UP,
        duration: DURATION,
        clock: Arc::clone(&options.clock),
    };
    let flood = LoadOptions {
        target: flooded,
        connections: FLOOD_CONNECTIONS,
        window: FLOOD_WINDOW,
        messages_per_s_max: None,
        // It begins before and ends after what is measured.
        warm_up: Duration::ZERO,
        duration: WARM_UP + DURATION + WARM_UP,
        ..quiet.clone()
    };
    let alone = load::run(quiet.clone(), |_| ()).await.context("the quiet tenant alone")?;
    // On a thread and runtime of its own, and one that others go before: a flood from elsewhere
    // would take no CPU of the platform's machine, and hold up no other client.
    let flooding = tokio::task::spawn_blocking(move || {
        rustix::process::setpriority_process(None, LEAST_PRIORITY).context("the priority")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load::run(flood, |_| ())).context("the flood")
    });
    let beside = load::run(quiet, |_| ()).await.context("the quiet tenant beside the flood")?;
    let flood = flooding.await.context("the flood")??;
    Ok(entries(&alone, &beside, &flood))
}

fn entries(alone: &LoadReport, beside: &LoadReport, flood: &LoadReport) -> Vec<Entry> {
    let entry = |name: &str, value: fn(&LoadReport) -> f64| {
        let peer = Peer { name: "without the flood".to_owned(), value: value(alone) };
        Entry::new(name, "ms", Better::Lower, value(beside), Some(peer))
    };
    let better = Better::Higher;
    vec![
        entry("fair.quiet.ack_p50_ms", |report| report.ack_p50_ms),
        entry("fair.quiet.ack_p99_ms", |report| report.ack_p99_ms),
        Entry::new("fair.quiet.messages_per_s", "1/s", better, beside.messages_per_s, None),
        Entry::new("fair.flood.messages_per_s", "1/s", better, flood.messages_per_s, None),
    ]
}

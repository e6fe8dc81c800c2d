//! A load generator: many MQTT 3.1.1 connections that publish ThingsBoard telemetry with a window
//! of unacknowledged messages, or deliver, retain, or stay idle, and measure what comes back. A
//! client only.

mod connect;
mod fan_out;
mod histogram;
mod idle;
mod packet;
mod publisher;
mod retained;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use veritwin_domain::Clock;

use connect::{Clients, connect_all};
use histogram::Histogram;
use publisher::Publisher;

pub use connect::Target;
pub use fan_out::{FanOutOptions, FanOutReport, fan_out};
pub use idle::{IdleConnections, idle};
pub use retained::{RetainedOptions, RetainedReport, retained};

/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Largest window of one connection.
pub const WINDOW_MAX: usize = 10_000;

/// A quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl Qos {
    /// 0, 1 or 2.
    pub const fn number(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// What to send, where to.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where to.
    pub target: Target,
    /// Where to publish.
    pub topic: String,
    /// How.
    pub qos: Qos,
    /// Number of connections.
    pub connections: usize,
    /// Unacknowledged messages per connection.
    pub window: usize,
    /// Size of a payload, in bytes.
    pub payload_bytes: usize,
    /// All connections together send at most this many messages in a second.
    pub messages_per_s_max: Option<f64>,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Time of measuring.
    pub duration: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Moments of a run at which its caller may look at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Everything is connected and warm; measuring starts.
    MeasuringStarts,
    /// Measuring is over.
    MeasuringEnds,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// Messages acknowledged while measuring: at QoS 2 completed, at QoS 0 read by the server.
    pub messages: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Acknowledged messages per second.
    pub messages_per_s: f64,
    /// Half of the acknowledgements came within this time after sending. At QoS 0, which has none,
    /// those of pings.
    pub ack_p50_ms: f64,
    /// 99 of 100 did.
    pub ack_p99_ms: f64,
}

/// Why a run ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The options contradict themselves.
    #[error("load options: {0}")]
    Options(String),
    /// A connection could not be opened.
    #[error("connection to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server refused the connection.
    #[error("the server refused the connection: CONNACK return code {0}")]
    Refused(u8),
    /// A connection broke or the server broke the protocol.
    #[error("a connection broke: {0}")]
    Broken(String),
}

impl LoadError {
    fn broken(why: impl std::fmt::Display) -> Self {
        Self::Broken(why.to_string())
    }
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// Runs the load. `at` is called at each [`Moment`].
pub async fn run(
    options: LoadOptions,
    mut at: impl FnMut(Moment),
) -> Result<LoadReport, LoadError> {
    check(&options)?;
    let options = Arc::new(options);
    let target = Arc::new(options.target.clone());
    let clients = Clients { prefix: "load", keep_alive_seconds: 60 };
    let streams = connect_all(&target, options.connections, clients).await?;
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut tasks = JoinSet::new();
    for (index, stream) in streams.into_iter().enumerate() {
        let publisher = Publisher::new(stream, Arc::clone(&options), Arc::clone(&phase), index);
        tasks.spawn(publisher.run());
    }
    let mut total = Histogram::default();
    wait(options.warm_up, &mut tasks).await?;
    at(Moment::MeasuringStarts);
    let started = options.clock.monotonic();
    phase.store(MEASURING, Ordering::Release);
    wait(options.duration, &mut tasks).await?;
    phase.store(STOPPING, Ordering::Release);
    let seconds = (options.clock.monotonic() - started).as_secs_f64();
    at(Moment::MeasuringEnds);
    while let Some(result) = tasks.join_next().await {
        total.add(&joined(result)?);
    }
    Ok(LoadReport {
        messages: total.count,
        seconds,
        messages_per_s: total.count as f64 / seconds,
        ack_p50_ms: total.quantile_micros(0.5) as f64 / 1000.0,
        ack_p99_ms: total.quantile_micros(0.99) as f64 / 1000.0,
    })
}

fn within(name: &str, value: usize, max: usize) -> Result<(), LoadError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(LoadError::Options(format!("{name}: expected 1 to {max}, got {value}")))
}

fn check(options: &LoadOptions) -> Result<(), LoadError> {
    within("connections", options.connections, CONNECTIONS_MAX)?;
    within("window", options.window, WINDOW_MAX)?;
    within("payload_bytes", options.payload_bytes, 60_000)?;
    within("topic", options.topic.len(), 1024)
}

type Joined = Result<Result<Histogram, LoadError>, tokio::task::JoinError>;

fn joined(result: Joined) -> Result<Histogram, LoadError> {
    result.map_err(LoadError::broken)?
}

/// Waits for `duration`; a publisher that ends meanwhile has failed.
async fn wait(
    duration: Duration,
    tasks: &mut JoinSet<Result<Histogram, LoadError>>,
) -> Result<(), LoadError> {
    match timeout(duration, tasks.join_next()).await {
        Err(_) => Ok(()),
        Ok(None) => Err(LoadError::broken("no connection is left")),
        Ok(Some(result)) => {
            joined(result)?;
            Err(LoadError::broken("a connection ended too early"))
        }
    }
}

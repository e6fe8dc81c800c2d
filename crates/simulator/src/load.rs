//! A load generator: many MQTT 3.1.1 connections over TLS that publish ThingsBoard telemetry at
//! QoS 1 with a window of unacknowledged messages, and measure what comes back. A client only.

mod histogram;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use veritwin_domain::{Clock, Timestamp};

use histogram::Histogram;

/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Largest window of one connection.
pub const WINDOW_MAX: usize = 10_000;
/// Connections that are opened at once.
const CONNECTING_MAX: usize = 64;
/// A connection is open, and a last acknowledgement there, within this time.
const PATIENCE_SECONDS_MAX: u64 = 20;
/// Digits of the counter in a payload.
const COUNTER_DIGITS: usize = 7;
/// Most messages one connection writes at once.
const WRITE_MESSAGES_MAX: usize = 256;
/// How often a paced connection looks whether it may send again.
const PACE: Duration = Duration::from_millis(2);

/// What to send, where to.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// `host:port`.
    pub address: String,
    /// The name in the server's certificate.
    pub server_name: ServerName<'static>,
    /// How to check it.
    pub tls: Arc<rustls::ClientConfig>,
    /// Access tokens, given to the connections in turn; none: connect without user name.
    pub tokens: Vec<String>,
    /// Where to publish.
    pub topic: String,
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
    /// Messages acknowledged while measuring.
    pub messages: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Acknowledged messages per second.
    pub messages_per_s: f64,
    /// Half of the acknowledgements came within this time after sending.
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
    let streams = connect_all(&options).await?;
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

fn check(options: &LoadOptions) -> Result<(), LoadError> {
    let within = |name: &str, value: usize, max: usize| {
        if (1..=max).contains(&value) {
            return Ok(());
        }
        Err(LoadError::Options(format!("{name}: expected 1 to {max}, got {value}")))
    };
    within("connections", options.connections, CONNECTIONS_MAX)?;
    within("window", options.window, WINDOW_MAX)?;
    within("payload_bytes", options.payload_bytes, 60_000)?;
    within("topic", options.topic.len(), 1024)
}

type Joined = Result<Result<Histogram, LoadError>, tokio::task::JoinError>;

fn joined(result: Joined) -> Result<Histogram, LoadError> {
    result.map_err(|error| LoadError::Broken(error.to_string()))?
}

/// Waits for `duration`; a publisher that ends meanwhile has failed.
async fn wait(
    duration: Duration,
    tasks: &mut JoinSet<Result<Histogram, LoadError>>,
) -> Result<(), LoadError> {
    match timeout(duration, tasks.join_next()).await {
        Err(_) => Ok(()),
        Ok(None) => Err(LoadError::Broken("no connection is left".to_owned())),
        Ok(Some(result)) => {
            joined(result)?;
            Err(LoadError::Broken("a connection ended too early".to_owned()))
        }
    }
}

async fn connect_all(options: &Arc<LoadOptions>) -> Result<Vec<TlsStream<TcpStream>>, LoadError> {
    let mut streams = Vec::with_capacity(options.connections);
    let mut connecting = JoinSet::new();
    let mut next = 0;
    while streams.len() < options.connections {
        while next < options.connections && connecting.len() < CONNECTING_MAX {
            let (options, index) = (Arc::clone(options), next);
            connecting.spawn(async move { connect(&options, index).await });
            next += 1;
        }
        match connecting.join_next().await {
            Some(Ok(stream)) => streams.push(stream?),
            Some(Err(error)) => return Err(LoadError::Broken(error.to_string())),
            None => return Err(LoadError::Broken("no connection is left".to_owned())),
        }
    }
    Ok(streams)
}

async fn connect(options: &LoadOptions, index: usize) -> Result<TlsStream<TcpStream>, LoadError> {
    let failed = |source| LoadError::Connect { address: options.address.clone(), source };
    let handshake = async {
        let tcp = TcpStream::connect(&options.address).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&options.tls));
        let mut stream = connector.connect(options.server_name.clone(), tcp).await?;
        stream.write_all(&connect_packet(options, index)).await?;
        stream.flush().await?;
        let mut answer = [0u8; 4];
        stream.read_exact(&mut answer).await?;
        Ok((stream, answer))
    };
    let limit = Duration::from_secs(PATIENCE_SECONDS_MAX);
    let result = timeout(limit, handshake).await;
    let (stream, answer) =
        result.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
    match answer {
        [0x20, 2, _, 0] => Ok(stream),
        [0x20, 2, _, code] => Err(LoadError::Refused(code)),
        _ => Err(LoadError::Broken("the first packet is not CONNACK".to_owned())),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_packet(out: &mut Vec<u8>, first_byte: u8, body: &[u8]) {
    out.push(first_byte);
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn connect_packet(options: &LoadOptions, index: usize) -> Vec<u8> {
    let token = options.tokens.get(index % options.tokens.len().max(1));
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    let user_flag = if token.is_some() { 0x80 } else { 0 };
    body.extend_from_slice(&[4, 0x02 | user_flag, 0, 60]);
    put_text(&mut body, &format!("load-{index}"));
    if let Some(token) = token {
        put_text(&mut body, token);
    }
    let mut out = Vec::new();
    put_packet(&mut out, 0x10, &body);
    out
}

/// A PUBLISH with places for packet id, time and counter.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    packet_id_at: usize,
    millis_at: usize,
    counter_at: usize,
}

impl Template {
    /// The payload is `{"ts":..,"values":{..}}` of exactly `payload_bytes`, if that is enough.
    fn new(topic: &str, payload_bytes: usize) -> Self {
        let start = "{\"ts\":";
        let middle = ",\"values\":{\"temperature\":21.57,\"humidity\":45.2,\"co2\":";
        let millis = "1000000000000";
        let counter = "1000000";
        let fixed = start.len() + millis.len() + middle.len() + counter.len() + "}}".len();
        let padding_frame = ",\"p\":\"\"".len();
        let mut payload = format!("{start}{millis}{middle}{counter}");
        if payload_bytes >= fixed + padding_frame {
            let padding = "x".repeat(payload_bytes - fixed - padding_frame);
            payload.push_str(&format!(",\"p\":\"{padding}\""));
        }
        payload.push_str("}}");

        let mut body = Vec::new();
        put_text(&mut body, topic);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(payload.as_bytes());
        let mut bytes = Vec::new();
        put_packet(&mut bytes, 0x32, &body);
        let payload_at = bytes.len() - payload.len();
        Self {
            packet_id_at: payload_at - 2,
            millis_at: payload_at + start.len(),
            counter_at: payload_at + start.len() + millis.len() + middle.len(),
            bytes,
        }
    }

    fn put(&mut self, out: &mut Vec<u8>, packet_id: u16, millis: u64, counter: u64) {
        let id = packet_id.to_be_bytes();
        self.bytes[self.packet_id_at..self.packet_id_at + 2].copy_from_slice(&id);
        put_digits(&mut self.bytes[self.millis_at..self.millis_at + 13], millis);
        // From 1000000 up, so that the number never starts with a zero.
        let counter = 1_000_000 + counter % 9_000_000;
        put_digits(&mut self.bytes[self.counter_at..self.counter_at + COUNTER_DIGITS], counter);
        out.extend_from_slice(&self.bytes);
    }
}

fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// One connection that publishes.
struct Publisher {
    stream: TlsStream<TcpStream>,
    options: Arc<LoadOptions>,
    phase: Arc<AtomicU8>,
    template: Template,
    /// Packet id and time of sending, oldest first: acknowledgements come in this order.
    sent: VecDeque<(u16, Duration)>,
    input: BytesMut,
    output: Vec<u8>,
    packet_id: u16,
    counter: u64,
    first_millis: u64,
    histogram: Histogram,
}

impl Publisher {
    fn new(
        stream: TlsStream<TcpStream>,
        options: Arc<LoadOptions>,
        phase: Arc<AtomicU8>,
        index: usize,
    ) -> Self {
        // Readings an hour old, one millisecond apart, so that none replaces another.
        let start = options.clock.now().saturating_sub(Duration::from_secs(3600));
        let first_millis = u64::try_from(start.max(Timestamp::EPOCH).as_millis()).unwrap_or(0);
        Self {
            stream,
            template: Template::new(&options.topic, options.payload_bytes),
            options,
            phase,
            sent: VecDeque::new(),
            input: BytesMut::with_capacity(16 * 1024),
            output: Vec::new(),
            packet_id: 0,
            counter: index as u64,
            first_millis,
            histogram: Histogram::default(),
        }
    }

    async fn run(mut self) -> Result<Histogram, LoadError> {
        let broken = |error: std::io::Error| LoadError::Broken(error.to_string());
        let started = self.options.clock.monotonic();
        let pace = self.options.messages_per_s_max;
        let pace = pace.map(|rate| rate / self.options.connections as f64);
        let mut sent_total = 0u64;
        while self.phase.load(Ordering::Acquire) != STOPPING {
            let mut room = (self.options.window - self.sent.len()).min(WRITE_MESSAGES_MAX);
            if let Some(rate) = pace {
                let elapsed = (self.options.clock.monotonic() - started).as_secs_f64();
                let due = (rate * elapsed) as u64;
                room = room.min(usize::try_from(due.saturating_sub(sent_total)).unwrap_or(0));
            }
            if room > 0 {
                self.send(room).await.map_err(broken)?;
                sent_total += room as u64;
            }
            match (self.sent.is_empty(), pace) {
                (true, _) => sleep(PACE).await,
                (false, None) => self.receive().await?,
                (false, Some(_)) => {
                    // Nothing in time means: look at the pace again.
                    if let Ok(result) = timeout(PACE, self.receive()).await {
                        result?;
                    }
                }
            }
        }
        let limit = Duration::from_secs(PATIENCE_SECONDS_MAX);
        let rest = async {
            while !self.sent.is_empty() {
                self.receive().await?;
            }
            Ok(())
        };
        timeout(limit, rest).await.unwrap_or_else(|_| {
            Err(LoadError::Broken("acknowledgements did not come in time".to_owned()))
        })?;
        let _ = self.stream.write_all(&[0xe0, 0]).await;
        let _ = self.stream.shutdown().await;
        Ok(self.histogram)
    }

    async fn send(&mut self, messages: usize) -> std::io::Result<()> {
        self.output.clear();
        let now = self.options.clock.monotonic();
        for _ in 0..messages {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.counter += 1;
            let millis = self.first_millis + self.counter;
            self.template.put(&mut self.output, self.packet_id, millis, self.counter);
            self.sent.push_back((self.packet_id, now));
        }
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await
    }

    /// Reads what has come, at least something. Cancelling it loses nothing.
    async fn receive(&mut self) -> Result<(), LoadError> {
        self.input.reserve(4096);
        let read = self.stream.read_buf(&mut self.input).await;
        match read {
            Ok(0) => return Err(LoadError::Broken("the server closed the connection".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(LoadError::Broken(error.to_string())),
        }
        let now = self.options.clock.monotonic();
        let measuring = self.phase.load(Ordering::Acquire) == MEASURING;
        while let [first, length, high, low, ..] = self.input[..] {
            if (first, length) != (0x40, 2) {
                return Err(LoadError::Broken("expected PUBACK".to_owned()));
            }
            self.input.advance(4);
            match self.sent.pop_front() {
                Some((id, at)) if id == u16::from_be_bytes([high, low]) => {
                    if measuring {
                        self.histogram.record(now.saturating_sub(at));
                    }
                }
                _ => return Err(LoadError::Broken("PUBACK out of order".to_owned())),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_size_and_are_json() {
        for bytes in [100, 120, 1000] {
            let mut template = Template::new("t", bytes);
            let mut out = Vec::new();
            template.put(&mut out, 0x1234, 1_700_000_000_123, 42);
            let payload = &out[out.len() - bytes..];
            let json: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
            assert_eq!(json["ts"], 1_700_000_000_123u64);
            assert_eq!(json["values"]["co2"], 1_000_042);
            assert_eq!(out[template.packet_id_at..template.packet_id_at + 2], [0x12, 0x34]);
        }
    }
}

//! Retained messages: many are stored over some connections, each under topics of its own, then
//! fetched by one subscriber for each; every message has to come.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::task::JoinSet;
use tokio::time::timeout;
use veritwin_domain::Clock;

use super::connect::{Clients, Stream, Target, connect_all};
use super::{CONNECTIONS_MAX, LoadError, WINDOW_MAX, packet, within};

/// Most messages of one run.
const MESSAGES_MAX: usize = 100_000_000;
/// Something comes within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to store and fetch.
#[derive(Debug, Clone)]
pub struct RetainedOptions {
    /// Where to. With tokens, each is of another tenant.
    pub target: Target,
    /// Messages in all.
    pub messages: usize,
    /// Most messages of one connection.
    pub messages_per_connection: usize,
    /// Unacknowledged messages per connection.
    pub window: usize,
    /// Size of a payload, in bytes.
    pub payload_bytes: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl RetainedOptions {
    /// Connections that the messages are spread over.
    pub fn connections(&self) -> usize {
        self.messages.div_ceil(self.messages_per_connection.max(1))
    }

    /// How many of them one connection has.
    fn share(&self, connection: usize) -> usize {
        let before = connection * self.messages_per_connection;
        self.messages.saturating_sub(before).min(self.messages_per_connection)
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct RetainedReport {
    /// Messages stored and acknowledged in a second.
    pub store_per_s: f64,
    /// Messages that came to new subscribers in a second.
    pub deliver_per_s: f64,
}

struct Connection {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
}

impl Connection {
    /// Writes what is to be written, then reads until a packet is there; how long it is.
    async fn next(&mut self) -> Result<packet::Frame, LoadError> {
        packet::write_all(&mut self.stream, &mut self.output).await?;
        loop {
            if let Some(frame) = packet::frame(&self.input)? {
                return Ok(frame);
            }
            let read = packet::read_more(&mut self.stream, &mut self.input);
            timeout(PATIENCE, read)
                .await
                .unwrap_or_else(|_| Err(LoadError::broken("no retained message came in time")))?;
        }
    }

    async fn store(
        mut self,
        number: usize,
        messages: usize,
        options: Arc<RetainedOptions>,
    ) -> Result<(), LoadError> {
        let payload = payload(options.payload_bytes);
        let (mut sent, mut stored) = (0, 0);
        while stored < messages {
            while sent < messages && sent - stored < options.window {
                let topic = format!("bench/{number}/{sent}");
                packet::put_retained(&mut self.output, &topic, packet_id(sent), &payload);
                sent += 1;
            }
            let frame = self.next().await?;
            let id = packet::packet_id(&self.input[frame.body_at..frame.end])?;
            if frame.first != 0x40 || id != packet_id(stored) {
                return Err(LoadError::broken("expected PUBACK, in order"));
            }
            self.input.advance(frame.end);
            stored += 1;
        }
        Ok(())
    }

    async fn fetch(mut self, number: usize, messages: usize) -> Result<(), LoadError> {
        self.output = packet::subscribe(&format!("bench/{number}/#"), super::Qos::AtLeastOnce);
        let (mut received, mut has_subscribed) = (0, false);
        while received < messages || !has_subscribed {
            let frame = self.next().await?;
            let body = &self.input[frame.body_at..frame.end];
            match frame.first {
                0x90 => {
                    packet::subscribed(body)?;
                    has_subscribed = true;
                }
                0x30..=0x3f => {
                    let message = packet::delivery(frame.first, body)?;
                    packet::put_delivery_answer(&mut self.output, message.qos, message.packet_id);
                    received += 1;
                }
                first => return Err(LoadError::broken(format!("unexpected packet {first:#04x}"))),
            }
            self.input.advance(frame.end);
        }
        packet::write_all(&mut self.stream, &mut self.output).await
    }
}

/// From 1 up; two of a window are never the same.
fn packet_id(message: usize) -> u16 {
    u16::try_from(message % 65_535 + 1).unwrap_or(1)
}

/// JSON of that size, if it is enough for any.
fn payload(bytes: usize) -> Vec<u8> {
    let fixed = "{\"p\":\"\"}".len();
    format!("{{\"p\":\"{}\"}}", "x".repeat(bytes.saturating_sub(fixed))).into_bytes()
}

async fn open(
    options: &RetainedOptions,
    prefix: &'static str,
) -> Result<Vec<Connection>, LoadError> {
    let target = Arc::new(options.target.clone());
    let clients = Clients { prefix, keep_alive_seconds: 0 };
    let streams = connect_all(&target, options.connections(), clients).await?;
    let connection = |stream| Connection { stream, input: BytesMut::new(), output: Vec::new() };
    Ok(streams.into_iter().map(connection).collect())
}

async fn all(mut tasks: JoinSet<Result<(), LoadError>>) -> Result<(), LoadError> {
    while let Some(result) = tasks.join_next().await {
        result.map_err(LoadError::broken)??;
    }
    Ok(())
}

/// Stores them, then fetches them.
pub async fn retained(options: RetainedOptions) -> Result<RetainedReport, LoadError> {
    within("messages", options.messages, MESSAGES_MAX)?;
    within("messages of a connection", options.messages_per_connection, MESSAGES_MAX)?;
    within("connections", options.connections(), CONNECTIONS_MAX)?;
    within("window", options.window, WINDOW_MAX)?;
    within("payload_bytes", options.payload_bytes, 60_000)?;
    let options = Arc::new(options);
    let rate = |started: Duration| {
        let took = options.clock.monotonic().saturating_sub(started);
        options.messages as f64 / took.as_secs_f64()
    };
    let mut tasks = JoinSet::new();
    let connections = open(&options, "retain").await?;
    let started = options.clock.monotonic();
    for (number, connection) in connections.into_iter().enumerate() {
        tasks.spawn(connection.store(number, options.share(number), Arc::clone(&options)));
    }
    all(tasks).await?;
    let store_per_s = rate(started);
    let mut tasks = JoinSet::new();
    let connections = open(&options, "fetch").await?;
    let started = options.clock.monotonic();
    for (number, connection) in connections.into_iter().enumerate() {
        tasks.spawn(connection.fetch(number, options.share(number)));
    }
    all(tasks).await?;
    Ok(RetainedReport { store_per_s, deliver_per_s: rate(started) })
}

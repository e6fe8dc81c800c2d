//! Replays recorded readings through MQTT over TLS: live at a speed factor, with fresh time stamps,
//! or as a backfill with their own. Counts what the platform has acknowledged as durable.

mod recording;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use veritwin_domain::{Clock, Secret, Timestamp};

pub use recording::{
    COLUMNS_MAX, CsvError, KeySummary, ROWS_MAX, ReadOptions, Recording, Row, read_csv,
};

use crate::client::{BackOff, Client, ClientError, Endpoint, Event};

const TELEMETRY: &str = "v1/devices/me/telemetry";
/// Unacknowledged messages of one stream.
const WINDOW: usize = 16;
/// Rows of one backfill message.
const BATCH_ROWS: usize = 500;
/// Readings of one backfill message.
const BATCH_READINGS: usize = 4_000;
/// Connections lost in a row before a replay gives up.
const ATTEMPTS_MAX: u32 = 8;
/// An acknowledgement that takes longer breaks the connection.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// One device and the files that are its readings.
#[derive(Debug, Clone)]
pub struct Stream {
    /// A name for the connection; not secret.
    pub name: String,
    /// The device's access token.
    pub token: Secret<String>,
    /// What it sends.
    pub recordings: Vec<Recording>,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Readings to send.
    pub total: u64,
    /// Readings sent.
    pub sent: u64,
    /// Readings that are durable.
    pub acknowledged: u64,
}

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The platform could not be reached, or refused.
    #[error("replay of {name} stopped after {acknowledged} acknowledged readings")]
    Connection {
        /// The stream.
        name: String,
        /// How many readings are durable.
        acknowledged: u64,
        /// Why.
        source: ClientError,
    },
    /// It was asked to stop.
    #[error("replay of {name} was stopped after {acknowledged} acknowledged readings")]
    Stopped {
        /// The stream.
        name: String,
        /// How many readings are durable.
        acknowledged: u64,
    },
    /// The speed is not a positive number.
    #[error("speed must be a number above 0")]
    Speed,
}

/// What replays have in common.
#[derive(Debug, Clone)]
pub struct ReplayContext {
    /// The platform.
    pub endpoint: Endpoint,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Stops the replay.
    pub shutdown: CancellationToken,
}

/// Sends every reading of `stream` with its own time stamp, in batches. Returns once all are
/// acknowledged; `progress` is called after each acknowledgement.
pub async fn backfill(
    context: &ReplayContext,
    stream: &Stream,
    progress: impl FnMut(Progress),
) -> Result<Progress, ReplayError> {
    let rows = merged(stream);
    let mut sender = Sender::new(context, stream, progress);
    let mut batch: Vec<Json> = Vec::new();
    let mut readings = 0;
    for (at, values) in rows {
        readings += values.len();
        batch.push(json!({"ts": at.as_millis(), "values": values}));
        if batch.len() >= BATCH_ROWS || readings >= BATCH_READINGS {
            sender.send(Message::new(&std::mem::take(&mut batch), readings)).await?;
            readings = 0;
        }
    }
    if !batch.is_empty() {
        sender.send(Message::new(&batch, readings)).await?;
    }
    sender.finish().await
}

/// Sends the readings of `stream` as if they were measured now, `speed` times as fast as they were
/// recorded. `origin` is the recorded moment that is now; give every stream of one replay the same.
pub async fn live(
    context: &ReplayContext,
    stream: &Stream,
    speed: f64,
    origin: Timestamp,
    progress: impl FnMut(Progress),
) -> Result<Progress, ReplayError> {
    if !(speed.is_finite() && speed > 0.0) {
        return Err(ReplayError::Speed);
    }
    let began = context.clock.now();
    let started = context.clock.monotonic();
    let mut sender = Sender::new(context, stream, progress);
    let mut last_millis = i64::MIN;
    for (at, values) in merged(stream) {
        let due = at.since(origin).div_f64(speed);
        sender.wait_until(started + due).await?;
        // Two rows never share a stamp, however fast the replay: the later would replace the other.
        let millis = began.saturating_add(due).as_millis().max(last_millis.saturating_add(1));
        last_millis = millis;
        let readings = values.len();
        let rows = [json!({"ts": millis, "values": values})];
        sender.send(Message::new(&rows, readings)).await?;
    }
    sender.finish().await
}

/// The earliest moment in any of the streams.
pub fn first_moment(streams: &[Stream]) -> Option<Timestamp> {
    let recordings = streams.iter().flat_map(|stream| &stream.recordings);
    recordings.flat_map(|recording| &recording.rows).map(|row| row.at).min()
}

/// All rows of a stream in order of time; rows of one moment become one.
fn merged(stream: &Stream) -> BTreeMap<Timestamp, Map<String, Json>> {
    let mut rows: BTreeMap<Timestamp, Map<String, Json>> = BTreeMap::new();
    for recording in &stream.recordings {
        for row in &recording.rows {
            for (key, value) in recording.keys.iter().zip(&row.values) {
                if let Some(value) = value {
                    rows.entry(row.at).or_default().insert(key.to_string(), json!(value));
                }
            }
        }
    }
    rows
}

#[derive(Debug)]
struct Message {
    payload: Bytes,
    readings: u64,
}

impl Message {
    fn new(rows: &[Json], readings: usize) -> Self {
        let payload = Bytes::from(Json::from(rows.to_vec()).to_string());
        Self { payload, readings: readings as u64 }
    }
}

/// Sends within a window, over as many connections as it takes. What a broken connection leaves
/// unacknowledged is sent again: equal time stamps make that harmless.
struct Sender<'a, P> {
    context: &'a ReplayContext,
    stream: &'a Stream,
    client: Option<Client>,
    in_flight: BTreeMap<NonZeroU16, Message>,
    back_off: BackOff,
    state: Progress,
    progress: P,
}

impl<'a, P: FnMut(Progress)> Sender<'a, P> {
    fn new(context: &'a ReplayContext, stream: &'a Stream, progress: P) -> Self {
        let total = merged(stream).values().map(|values| values.len() as u64).sum();
        Self {
            context,
            stream,
            client: None,
            in_flight: BTreeMap::new(),
            back_off: BackOff::new(),
            state: Progress { total, ..Progress::default() },
            progress,
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), ReplayError> {
        while self.in_flight.len() >= WINDOW {
            self.hear(ACKNOWLEDGED_WITHIN).await?;
        }
        self.state.sent += message.readings;
        let mut waiting = vec![message];
        loop {
            match self.transmit(&mut waiting).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let left = std::mem::take(&mut self.in_flight).into_values();
                    waiting = left.chain(waiting).collect();
                    self.lost(error).await?;
                }
            }
        }
    }

    /// Publishes everything in `waiting`, connecting first when needed.
    async fn transmit(&mut self, waiting: &mut Vec<Message>) -> Result<(), ClientError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let endpoint = &self.context.endpoint;
                Client::connect(endpoint, &self.stream.name, &self.stream.token).await?
            }
        };
        while let Some(message) = waiting.first() {
            let packet = client.publish(TELEMETRY, message.payload.clone()).await?;
            self.in_flight.insert(packet, waiting.remove(0));
        }
        self.client = Some(client);
        Ok(())
    }

    /// Waits for one event, at most `limit`, and counts it; a broken line is replaced. Must run to
    /// its end: what is in flight is in its hands while it replaces a line.
    async fn hear(&mut self, limit: Duration) -> Result<(), ReplayError> {
        let Some(client) = self.client.as_mut() else { return self.again().await };
        let next = timeout(limit.min(ACKNOWLEDGED_WITHIN), client.next());
        let result = match self.context.shutdown.run_until_cancelled(next).await {
            None => return Err(self.stopped()),
            Some(Ok(result)) => result,
            Some(Err(_)) if limit < ACKNOWLEDGED_WITHIN => return Ok(()),
            Some(Err(_)) => Err(client.broken("no acknowledgement came")),
        };
        match result {
            Ok(Event::Acknowledged(packet)) => {
                if let Some(message) = self.in_flight.remove(&packet) {
                    self.back_off.reset();
                    self.state.acknowledged += message.readings;
                    (self.progress)(self.state);
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.client = None;
                self.lost(error).await?;
                self.again().await
            }
        }
    }

    /// Sends what is in flight over a new connection.
    async fn again(&mut self) -> Result<(), ReplayError> {
        let mut waiting: Vec<Message> = std::mem::take(&mut self.in_flight).into_values().collect();
        while let Err(error) = self.transmit(&mut waiting).await {
            let sent = std::mem::take(&mut self.in_flight).into_values();
            waiting = sent.chain(waiting).collect();
            self.lost(error).await?;
        }
        Ok(())
    }

    async fn lost(&mut self, source: ClientError) -> Result<(), ReplayError> {
        self.client = None;
        if !source.is_transient() || self.back_off.attempts() >= ATTEMPTS_MAX {
            let (name, acknowledged) = (self.stream.name.clone(), self.state.acknowledged);
            return Err(ReplayError::Connection { name, acknowledged, source });
        }
        let wait = self.back_off.wait(0.5);
        match self.context.shutdown.run_until_cancelled(sleep(wait)).await {
            Some(()) => Ok(()),
            None => Err(self.stopped()),
        }
    }

    /// Waits for a moment of the monotonic clock while acknowledgements are heard.
    async fn wait_until(&mut self, moment: Duration) -> Result<(), ReplayError> {
        loop {
            if self.context.shutdown.is_cancelled() {
                return Err(self.stopped());
            }
            let left = moment.saturating_sub(self.context.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            if self.in_flight.is_empty() {
                self.idle(left).await?;
            } else {
                self.hear(left).await?;
            }
        }
    }

    /// Nothing is under way: sleeps, and keeps the line open on long waits.
    async fn idle(&mut self, left: Duration) -> Result<(), ReplayError> {
        let part = left.min(crate::client::KEEP_ALIVE / 3);
        if self.context.shutdown.run_until_cancelled(sleep(part)).await.is_none() {
            return Err(self.stopped());
        }
        let is_long = part < left;
        if let Some(client) = self.client.as_mut().filter(|_| is_long)
            && client.ping().await.is_err()
        {
            self.client = None;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Progress, ReplayError> {
        while !self.in_flight.is_empty() {
            self.hear(ACKNOWLEDGED_WITHIN).await?;
        }
        if let Some(client) = self.client.take() {
            client.close().await;
        }
        Ok(self.state)
    }

    fn stopped(&self) -> ReplayError {
        ReplayError::Stopped {
            name: self.stream.name.clone(),
            acknowledged: self.state.acknowledged,
        }
    }
}

//! Fan-out: one connection publishes, many have subscribed. A message is sent when one before it
//! has reached everybody, so that no queue on the way runs over; none may be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use veritwin_domain::Clock;

use super::connect::{Clients, Stream, Target, connect_all};
use super::histogram::Histogram;
use super::packet::{self, Template};
use super::{
    CONNECTIONS_MAX, LoadError, MEASURING, Moment, Qos, STOPPING, WARMING, joined, wait, within,
};

/// Messages on their way to the subscribers at once. Less than any queue on the way holds.
const WINDOW_MAX: usize = 500;
/// An answer, or a last message, is there within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to send to whom.
#[derive(Debug, Clone)]
pub struct FanOutOptions {
    /// Where to.
    pub target: Target,
    /// A topic that is relayed.
    pub topic: String,
    /// How, both ways.
    pub qos: Qos,
    /// Connections that have subscribed.
    pub subscribers: usize,
    /// Messages that have not reached everybody yet, at most.
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

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct FanOutReport {
    /// Messages received while measuring, by all subscribers together.
    pub deliveries: u64,
    /// The same a second.
    pub deliveries_per_s: f64,
    /// Half of them came within this time after sending.
    pub delivery_p50_ms: f64,
    /// 99 of 100 did.
    pub delivery_p99_ms: f64,
}

/// A message on its way. Its number is in its payload.
#[derive(Debug, Default)]
struct Slot {
    sent_micros: AtomicU64,
    missing: AtomicUsize,
}

struct Shared {
    clock: Arc<dyn Clock>,
    phase: AtomicU8,
    subscribers: usize,
    slots: Vec<Slot>,
    free: mpsc::Sender<usize>,
    /// Everything has come: the subscribers may go.
    end: CancellationToken,
}

impl Shared {
    fn micros(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }

    /// A subscriber has a message; how long it took. The last one to have it frees its slot.
    fn received(&self, payload: &[u8]) -> Result<Duration, LoadError> {
        let number = packet::counter(payload).and_then(|number| usize::try_from(number).ok());
        let slot = number.and_then(|number| Some((number, self.slots.get(number)?)));
        let Some((number, slot)) = slot else {
            return Err(LoadError::broken("a message that was not sent"));
        };
        let took = self.micros().saturating_sub(slot.sent_micros.load(Ordering::Acquire));
        match slot.missing.fetch_sub(1, Ordering::AcqRel) {
            0 => return Err(LoadError::broken("a message came more often than it was sent")),
            // There is room for every slot.
            1 => {
                let _ = self.free.try_send(number);
            }
            _ => {}
        }
        Ok(Duration::from_micros(took))
    }
}

struct Subscriber {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
    shared: Arc<Shared>,
    histogram: Histogram,
}

impl Subscriber {
    /// Subscribes and waits until that is done.
    async fn new(
        stream: Stream,
        options: &FanOutOptions,
        shared: &Arc<Shared>,
    ) -> Result<Self, LoadError> {
        let mut subscriber = Self {
            stream,
            input: BytesMut::new(),
            output: packet::subscribe(&options.topic, options.qos),
            shared: Arc::clone(shared),
            histogram: Histogram::default(),
        };
        packet::write_all(&mut subscriber.stream, &mut subscriber.output).await?;
        loop {
            if let Some(frame) = packet::frame(&subscriber.input)? {
                if frame.first != 0x90 {
                    return Err(LoadError::broken("expected SUBACK"));
                }
                packet::subscribed(&subscriber.input[frame.body_at..frame.end])?;
                subscriber.input.advance(frame.end);
                return Ok(subscriber);
            }
            packet::read_more(&mut subscriber.stream, &mut subscriber.input).await?;
        }
    }

    async fn run(mut self) -> Result<Histogram, LoadError> {
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                () = shared.end.cancelled() => return Ok(self.histogram),
                read = packet::read_more(&mut self.stream, &mut self.input) => read?,
            }
            self.take_all()?;
            packet::write_all(&mut self.stream, &mut self.output).await?;
        }
    }

    fn take_all(&mut self) -> Result<(), LoadError> {
        let is_measuring = self.shared.phase.load(Ordering::Acquire) == MEASURING;
        while let Some(frame) = packet::frame(&self.input)? {
            let body = &self.input[frame.body_at..frame.end];
            match frame.first {
                0x30..=0x3f => {
                    let message = packet::delivery(frame.first, body)?;
                    packet::put_delivery_answer(&mut self.output, message.qos, message.packet_id);
                    let took = self.shared.received(message.payload)?;
                    if is_measuring {
                        self.histogram.record(took);
                    }
                }
                0x62 => packet::put_answer(&mut self.output, 0x70, packet::packet_id(body)?),
                first => return Err(LoadError::broken(format!("unexpected packet {first:#04x}"))),
            }
            self.input.advance(frame.end);
        }
        Ok(())
    }
}

struct Speaker {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
    shared: Arc<Shared>,
    free: mpsc::Receiver<usize>,
    template: Template,
    packet_id: u16,
    first_millis: u64,
}

impl Speaker {
    fn put(&mut self, slot: usize) {
        let Some(place) = self.shared.slots.get(slot) else { return };
        place.missing.store(self.shared.subscribers, Ordering::Release);
        place.sent_micros.store(self.shared.micros(), Ordering::Release);
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.template.put(&mut self.output, self.packet_id, self.first_millis, slot as u64);
    }

    /// QoS 2 asks for an answer; everything else is only read.
    fn take_all(&mut self) -> Result<(), LoadError> {
        while let Some(frame) = packet::frame(&self.input)? {
            if frame.first == 0x50 {
                let packet_id = packet::packet_id(&self.input[frame.body_at..frame.end])?;
                packet::put_answer(&mut self.output, 0x62, packet_id);
            }
            self.input.advance(frame.end);
        }
        Ok(())
    }

    /// The next free slot, answering the server meanwhile.
    async fn free_slot(&mut self) -> Result<usize, LoadError> {
        loop {
            tokio::select! {
                slot = self.free.recv() => {
                    return slot.ok_or_else(|| LoadError::broken("no subscriber is left"));
                }
                read = packet::read_more(&mut self.stream, &mut self.input) => read?,
            }
            self.take_all()?;
            packet::write_all(&mut self.stream, &mut self.output).await?;
        }
    }

    async fn run(mut self) -> Result<Histogram, LoadError> {
        let lost = |_| LoadError::broken("a message did not reach every subscriber in time");
        while self.shared.phase.load(Ordering::Acquire) != STOPPING {
            let slot = timeout(PATIENCE, self.free_slot()).await.map_err(lost)??;
            self.put(slot);
            while let Ok(slot) = self.free.try_recv() {
                self.put(slot);
            }
            packet::write_all(&mut self.stream, &mut self.output).await?;
        }
        for _ in 0..self.shared.slots.len() {
            timeout(PATIENCE, self.free_slot()).await.map_err(lost)??;
        }
        self.shared.end.cancel();
        Ok(Histogram::default())
    }
}

/// Runs it. `at` is called at each [`Moment`].
pub async fn fan_out(
    options: FanOutOptions,
    mut at: impl FnMut(Moment),
) -> Result<FanOutReport, LoadError> {
    within("subscribers", options.subscribers, CONNECTIONS_MAX - 1)?;
    within("window", options.window, WINDOW_MAX)?;
    within("topic", options.topic.len(), 1024)?;
    let (free, freed) = mpsc::channel(options.window);
    for slot in 0..options.window {
        let _ = free.try_send(slot);
    }
    let shared = Arc::new(Shared {
        clock: Arc::clone(&options.clock),
        phase: AtomicU8::new(WARMING),
        subscribers: options.subscribers,
        slots: (0..options.window).map(|_| Slot::default()).collect(),
        free,
        end: CancellationToken::new(),
    });
    let target = Arc::new(options.target.clone());
    let clients = Clients { prefix: "fan", keep_alive_seconds: 0 };
    let mut streams = connect_all(&target, options.subscribers + 1, clients).await?;
    let Some(stream) = streams.pop() else {
        return Err(LoadError::broken("no connection is left"));
    };
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(Subscriber::new(stream, &options, &shared).await?.run());
    }
    let speaker = Speaker {
        stream,
        input: BytesMut::new(),
        output: Vec::new(),
        shared: Arc::clone(&shared),
        free: freed,
        template: Template::new(&options.topic, options.payload_bytes, options.qos),
        packet_id: 0,
        first_millis: u64::try_from(options.clock.now().as_millis()).unwrap_or(0),
    };
    tasks.spawn(speaker.run());
    wait(options.warm_up, &mut tasks).await?;
    at(Moment::MeasuringStarts);
    let started = options.clock.monotonic();
    shared.phase.store(MEASURING, Ordering::Release);
    wait(options.duration, &mut tasks).await?;
    shared.phase.store(STOPPING, Ordering::Release);
    let seconds = (options.clock.monotonic() - started).as_secs_f64();
    at(Moment::MeasuringEnds);
    let mut total = Histogram::default();
    while let Some(result) = tasks.join_next().await {
        total.add(&joined(result)?);
    }
    Ok(FanOutReport {
        deliveries: total.count,
        deliveries_per_s: total.count as f64 / seconds,
        delivery_p50_ms: total.quantile_micros(0.5) as f64 / 1000.0,
        delivery_p99_ms: total.quantile_micros(0.99) as f64 / 1000.0,
    })
}

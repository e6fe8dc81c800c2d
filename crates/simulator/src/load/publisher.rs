//! One connection that publishes with a window, and how each quality of service is acknowledged:
//! QoS 1 by PUBACK, QoS 2 by PUBREC, PUBREL and PUBCOMP, QoS 0 by the answer to a ping behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use veritwin_domain::Timestamp;

use super::connect::Stream;
use super::histogram::Histogram;
use super::packet::{self, Template};
use super::{LoadError, LoadOptions, MEASURING, Qos, STOPPING};

/// A last acknowledgement is there within this time.
const PATIENCE_SECONDS_MAX: u64 = 20;
/// Most messages one connection writes at once.
const WRITE_MESSAGES_MAX: usize = 256;
/// Pings that follow the QoS 0 messages of one window.
const PINGS_PER_WINDOW: usize = 4;
/// How often a paced connection looks whether it may send again, at most and at least.
const PACE: Duration = Duration::from_millis(2);
const PACE_MAX: Duration = Duration::from_millis(500);

/// What waits for an acknowledgement: one message, or at QoS 0 those before a ping.
#[derive(Debug, Clone, Copy)]
struct Sent {
    packet_id: u16,
    at: Duration,
    messages: usize,
}

/// What was sent, oldest first: the first acknowledgements come in this order.
#[derive(Debug, Default)]
struct InFlight {
    sent: VecDeque<Sent>,
    /// QoS 2 between PUBREL and PUBCOMP.
    released: VecDeque<Sent>,
    messages: usize,
}

impl InFlight {
    fn push(&mut self, sent: Sent) {
        self.messages += sent.messages;
        self.sent.push_back(sent);
    }

    fn oldest(&mut self, packet_id: u16) -> Result<Sent, LoadError> {
        let oldest = self.sent.pop_front().filter(|sent| sent.packet_id == packet_id);
        oldest.ok_or_else(|| LoadError::broken("an acknowledgement out of order"))
    }

    /// Takes an acknowledgement in; answers what it completes. `output` gets what it asks for.
    fn answered(
        &mut self,
        qos: Qos,
        (first, packet_id): (u8, u16),
        output: &mut Vec<u8>,
    ) -> Result<Option<Sent>, LoadError> {
        let done = match (qos, first) {
            (Qos::AtMostOnce, 0xd0) | (Qos::AtLeastOnce, 0x40) => self.oldest(packet_id)?,
            (Qos::ExactlyOnce, 0x50) => {
                let sent = self.oldest(packet_id)?;
                self.released.push_back(sent);
                packet::put_answer(output, 0x62, packet_id);
                return Ok(None);
            }
            (Qos::ExactlyOnce, 0x70) => {
                let place = self.released.iter().position(|sent| sent.packet_id == packet_id);
                let sent = place.and_then(|place| self.released.remove(place));
                sent.ok_or_else(|| LoadError::broken("PUBCOMP of a message that was not released"))?
            }
            _ => return Err(LoadError::broken(format!("unexpected packet {first:#04x}"))),
        };
        self.messages -= done.messages;
        Ok(Some(done))
    }
}

/// One connection that publishes.
pub(super) struct Publisher {
    stream: Stream,
    options: Arc<LoadOptions>,
    phase: Arc<AtomicU8>,
    template: Template,
    in_flight: InFlight,
    input: BytesMut,
    output: Vec<u8>,
    /// PUBRELs that are to be written.
    releases: Vec<u8>,
    packet_id: u16,
    counter: u64,
    first_millis: u64,
    histogram: Histogram,
}

impl Publisher {
    pub(super) fn new(
        stream: Stream,
        options: Arc<LoadOptions>,
        phase: Arc<AtomicU8>,
        index: usize,
    ) -> Self {
        // Readings an hour old, one millisecond apart, so that none replaces another.
        let start = options.clock.now().saturating_sub(Duration::from_secs(3600));
        let first_millis = u64::try_from(start.max(Timestamp::EPOCH).as_millis()).unwrap_or(0);
        Self {
            stream,
            template: Template::new(&options.topic, options.payload_bytes, options.qos),
            options,
            phase,
            in_flight: InFlight::default(),
            input: BytesMut::with_capacity(16 * 1024),
            output: Vec::new(),
            releases: Vec::new(),
            packet_id: 0,
            counter: index as u64,
            first_millis,
            histogram: Histogram::default(),
        }
    }

    /// How many messages may be written now.
    fn room(&self) -> usize {
        let window = self.options.window;
        let at_once = match self.options.qos {
            Qos::AtMostOnce => (window / PINGS_PER_WINDOW).max(1),
            Qos::AtLeastOnce | Qos::ExactlyOnce => WRITE_MESSAGES_MAX,
        };
        (window - self.in_flight.messages).min(at_once).min(WRITE_MESSAGES_MAX)
    }

    pub(super) async fn run(mut self) -> Result<Histogram, LoadError> {
        let started = self.options.clock.monotonic();
        let pace = self.options.messages_per_s_max;
        let pace = pace.map(|rate| rate / self.options.connections as f64);
        let pause = pace.map_or(PACE, pause);
        let (mut sent_total, mut looks_at) = (0u64, Duration::ZERO);
        while self.phase.load(Ordering::Acquire) != STOPPING {
            let mut room = self.room();
            let mut wait = pause;
            if let Some(rate) = pace {
                // An answer in between is no reason to send: what is due goes out together.
                let now = self.options.clock.monotonic().saturating_sub(started);
                if now >= looks_at {
                    looks_at = now + pause;
                    let due = (rate * now.as_secs_f64()) as u64;
                    room = room.min(usize::try_from(due.saturating_sub(sent_total)).unwrap_or(0));
                } else {
                    room = 0;
                }
                wait = looks_at.saturating_sub(now);
            }
            if room > 0 {
                self.send(room).await?;
                sent_total += room as u64;
            }
            let writes_on = self.options.qos == Qos::AtMostOnce && self.room() > 0;
            match (self.in_flight.messages == 0, pace) {
                (true, _) => sleep(wait).await,
                (false, None) if writes_on => {}
                (false, None) => self.receive().await?,
                (false, Some(_)) => {
                    // Nothing in time means: look at the pace again.
                    if let Ok(result) = timeout(wait, self.receive()).await {
                        result?;
                    }
                }
            }
            packet::write_all(&mut self.stream, &mut self.releases).await?;
        }
        let limit = Duration::from_secs(PATIENCE_SECONDS_MAX);
        let rest = async {
            while self.in_flight.messages > 0 {
                self.receive().await?;
                packet::write_all(&mut self.stream, &mut self.releases).await?;
            }
            Ok(())
        };
        timeout(limit, rest)
            .await
            .unwrap_or_else(|_| Err(LoadError::broken("acknowledgements did not come in time")))?;
        let _ = self.stream.write_all(&[0xe0, 0]).await;
        let _ = self.stream.shutdown().await;
        Ok(self.histogram)
    }

    async fn send(&mut self, messages: usize) -> Result<(), LoadError> {
        let now = self.options.clock.monotonic();
        let has_id = self.options.qos != Qos::AtMostOnce;
        for _ in 0..messages {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.counter += 1;
            let millis = self.first_millis + self.counter;
            self.template.put(&mut self.output, self.packet_id, millis, self.counter);
            if has_id {
                self.in_flight.push(Sent { packet_id: self.packet_id, at: now, messages: 1 });
            }
        }
        if !has_id {
            self.output.extend_from_slice(&[0xc0, 0]);
            self.in_flight.push(Sent { packet_id: 0, at: now, messages });
        }
        packet::write_all(&mut self.stream, &mut self.output).await
    }

    /// Reads what has come, at least something. Cancelling it loses nothing.
    async fn receive(&mut self) -> Result<(), LoadError> {
        packet::read_more(&mut self.stream, &mut self.input).await?;
        let now = self.options.clock.monotonic();
        let measuring = self.phase.load(Ordering::Acquire) == MEASURING;
        while let Some(frame) = packet::frame(&self.input)? {
            let packet_id = packet::packet_id(&self.input[frame.body_at..frame.end])?;
            self.input.advance(frame.end);
            let answer = (frame.first, packet_id);
            let done = self.in_flight.answered(self.options.qos, answer, &mut self.releases)?;
            if let (Some(sent), true) = (done, measuring) {
                let messages = sent.messages as u64;
                self.histogram.record_many(now.saturating_sub(sent.at), messages);
            }
        }
        Ok(())
    }
}

/// Twice for each message that is due: thousands of slow connections would take the machine
/// otherwise.
fn pause(messages_per_s: f64) -> Duration {
    let seconds = (0.5 / messages_per_s).clamp(PACE.as_secs_f64(), PACE_MAX.as_secs_f64());
    Duration::try_from_secs_f64(seconds).unwrap_or(PACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(packet_id: u16, messages: usize) -> Sent {
        Sent { packet_id, at: Duration::from_millis(u64::from(packet_id)), messages }
    }

    /// Two messages are sent, then `answers` come; what is complete, what is left, what is written.
    fn check(qos: Qos, answers: &[(u8, u16)], complete: &[u16], left: usize, written: &[u8]) {
        let mut in_flight = InFlight::default();
        in_flight.push(sent(1, 1));
        in_flight.push(sent(2, 1));
        let (mut output, mut done) = (Vec::new(), Vec::new());
        for answer in answers {
            let found = in_flight.answered(qos, *answer, &mut output).expect("in order");
            done.extend(found.map(|sent| sent.packet_id));
        }
        assert_eq!((done.as_slice(), in_flight.messages), (complete, left), "{qos:?} {answers:?}");
        assert_eq!(output, written, "{qos:?} {answers:?}");
    }

    #[test]
    fn each_quality_of_service_has_its_handshake() {
        check(Qos::AtLeastOnce, &[(0x40, 1), (0x40, 2)], &[1, 2], 0, &[]);
        // PUBREC is answered with PUBREL; only PUBCOMP completes.
        let releases = [0x62, 2, 0, 1, 0x62, 2, 0, 2];
        check(Qos::ExactlyOnce, &[(0x50, 1), (0x50, 2)], &[], 2, &releases);
        let whole = [(0x50, 1), (0x70, 1), (0x50, 2), (0x70, 2)];
        check(Qos::ExactlyOnce, &whole, &[1, 2], 0, &releases);
        let mixed = [(0x50, 1), (0x50, 2), (0x70, 2)];
        check(Qos::ExactlyOnce, &mixed, &[2], 1, &releases);
    }

    #[test]
    fn slow_connections_look_less_often() {
        let check = |rate: f64, millis: u64| assert_eq!(pause(rate), Duration::from_millis(millis));
        check(5000.0, 2);
        check(10.0, 50);
        check(0.1, 500);
        check(0.0, 500);
    }

    #[test]
    fn a_ping_completes_what_was_before_it() {
        let mut in_flight = InFlight::default();
        in_flight.push(sent(0, 25));
        in_flight.push(sent(0, 7));
        let done = in_flight.answered(Qos::AtMostOnce, (0xd0, 0), &mut Vec::new()).expect("first");
        assert_eq!((done.map(|sent| sent.messages), in_flight.messages), (Some(25), 7));
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let check = |qos, answer| {
            let mut in_flight = InFlight::default();
            in_flight.push(sent(1, 1));
            assert!(
                in_flight.answered(qos, answer, &mut Vec::new()).is_err(),
                "{qos:?} {answer:?}"
            );
        };
        check(Qos::AtLeastOnce, (0x40, 2));
        check(Qos::AtLeastOnce, (0x50, 1));
        check(Qos::ExactlyOnce, (0x40, 1));
        check(Qos::ExactlyOnce, (0x50, 2));
        check(Qos::ExactlyOnce, (0x70, 1));
        check(Qos::AtMostOnce, (0x40, 0));
    }
}

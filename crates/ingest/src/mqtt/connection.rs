//! Moves the bytes of one connection: CONNECT with a deadline, then one loop that reads, writes
//! acknowledgements as submissions finish, sends downlinks and watches keep-alive.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use veritwin_domain::LimitExceeded;

use super::broker::{Broker, TURNED_AWAY_MAX};
use super::connack::{self, Rejection};
use super::connect::{self, Hello};
use super::device::{Close, Device, End};
use super::frame::{self, Version};
use super::intake::OWN_RECEIVE_BYTES;
use super::keep_alive::KeepAlive;
use super::keeping::WillFate;
use super::newcomer::is_newcomer;
use super::session::SessionKey;
use super::wills::WaitingWill;
use super::writing::{say, write, write_output};
use crate::attached::Attached;
use crate::link::{DeviceLink, LinkEnd};
use crate::model::{CloseReason, DeviceSession, PeerInfo, Transport};
use crate::traits::LoginError;

/// A connection sends its whole CONNECT, and is signed in, within this time each.
const CONNECT_SECONDS_MAX: u64 = 10;
/// Largest CONNECT packet, in bytes: two bounded texts, and a will of at most 65,535 bytes.
const CONNECT_BYTES_MAX: usize = 128 * 1024;
/// Submissions in flight at a connection's end are waited for this long.
const DRAIN_SECONDS_MAX: u64 = 10;
/// Smallest and largest piece read at once.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;
/// A connection that sends little is read again when what it sent before is answered, or after this
/// time: what comes meanwhile becomes one submission, and one write of acknowledgements.
const GATHER_TIME_MAX: Duration = Duration::from_millis(8);
/// Largest empty read buffer that a connection keeps.
const KEPT_BYTES_MAX: usize = 4 * READ_BYTES_MAX;

/// Any byte stream a client can be on.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Broker {
    /// Serves one connection until it ends, and publishes its will. `stream` is already secured by
    /// TLS. Run it to its end, also at shut-down (see [`Broker::close_all`]): dropping the future
    /// loses the wait for submissions in flight and the will.
    pub async fn serve<S: Stream>(self: &Arc<Self>, stream: S, peer: PeerInfo) {
        if let Some(will) = self.serve_connection(stream, peer).await {
            will.publish().await;
        }
    }

    /// The same, without the will: the connection's place can be given up before that waits.
    pub async fn serve_connection<S: Stream>(
        self: &Arc<Self>,
        mut stream: S,
        mut peer: PeerInfo,
    ) -> Option<WaitingWill> {
        let (_counted, connections) = self.enter();
        let max = self.limits.connections_max;
        if connections > max + TURNED_AWAY_MAX {
            return None;
        }
        let mut input = BytesMut::new();
        let limit = Duration::from_secs(CONNECT_SECONDS_MAX);
        let hello = timeout(limit, self.read_connect(&mut stream, &mut input, &mut peer)).await;
        let accepted = match hello {
            Err(_) | Ok(Ok(None)) => return None,
            Ok(Err(rejection)) => Err(rejection),
            Ok(Ok(Some(hello))) if connections > max => {
                let limit = LimitExceeded { name: "connections_max", max, actual: connections };
                let rejection = Rejection::new(hello.version, 0x97, 3, limit.to_string());
                Err(rejection.within(hello.packet_bytes_max))
            }
            Ok(Ok(Some(hello))) if is_newcomer(&hello) => {
                // Rare, and large: no part of every connection's future.
                Box::pin(self.serve_newcomer(&mut stream, input, hello, &peer)).await;
                return None;
            }
            Ok(Ok(Some(hello))) => self.log_in(hello, &peer).await,
        };
        match accepted {
            Ok((hello, session)) => self.run(stream, input, hello, session).await,
            Err(rejection) => {
                refuse(&mut stream, &rejection).await;
                None
            }
        }
    }

    /// Tells a client that a bound of its listener is reached, and closes.
    pub async fn turn_away<S: Stream>(
        self: &Arc<Self>,
        mut stream: S,
        mut peer: PeerInfo,
        bound: LimitExceeded,
    ) {
        let mut input = BytesMut::new();
        let limit = Duration::from_secs(CONNECT_SECONDS_MAX);
        let hello = timeout(limit, self.read_connect(&mut stream, &mut input, &mut peer)).await;
        if let Ok(Ok(Some(hello))) = hello {
            let rejection = Rejection::new(hello.version, 0x97, 3, bound.to_string());
            let answer = rejection.within(hello.packet_bytes_max).encode();
            let _ = write(&mut stream, &answer).await;
            let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
        }
    }

    async fn read_connect<S: Stream>(
        &self,
        stream: &mut S,
        input: &mut BytesMut,
        peer: &mut PeerInfo,
    ) -> Result<Option<Hello>, Rejection> {
        let mut room = None;
        loop {
            if let Some(version) = connect::version_of(input)?
                && let Ok(Some(header)) = frame::header(input)
            {
                let (max, actual) = (CONNECT_BYTES_MAX, header.packet_bytes());
                if actual > max {
                    let limit = LimitExceeded { name: "connect_bytes_max", max, actual };
                    return Err(Rejection::new(version, 0x95, 5, limit.to_string()));
                }
                if actual > OWN_RECEIVE_BYTES && room.is_none() {
                    room = self.intake.newcomer(actual).await;
                }
                if input.len() >= actual {
                    let packet = input.split_to(actual);
                    peer.transport = match version {
                        Version::V3 => Transport::Mqtt3,
                        Version::V5 => Transport::Mqtt5,
                    };
                    return connect::read(version, header, &packet, peer, &self.limits).map(Some);
                }
            }
            input.reserve(READ_BYTES_MIN);
            match stream.read_buf(input).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    async fn log_in(
        &self,
        mut hello: Hello,
        peer: &PeerInfo,
    ) -> Result<(Hello, Arc<DeviceSession>), Rejection> {
        let (version, bytes_max) = (hello.version, hello.packet_bytes_max);
        let Some(credential) = hello.credential.take() else {
            let text = "no credential: expected an access token as user name, a user name and \
                password, or a client certificate";
            return Err(Rejection::new(version, 0x86, 4, text).within(bytes_max));
        };
        let limit = Duration::from_secs(CONNECT_SECONDS_MAX);
        let late = || LoginError::Unavailable("signing in took too long".to_owned());
        match timeout(limit, self.login.authenticate(credential, peer)).await {
            Ok(Ok(session)) => Ok((hello, session)),
            Ok(Err(error)) => Err(Rejection::of_login(version, &error).within(bytes_max)),
            Err(_) => Err(Rejection::of_login(version, &late()).within(bytes_max)),
        }
    }

    async fn run<S: Stream>(
        self: &Arc<Self>,
        mut stream: S,
        mut input: BytesMut,
        mut hello: Hello,
        session: Arc<DeviceSession>,
    ) -> Option<WaitingWill> {
        let assigned = hello
            .client_id
            .is_empty()
            .then(|| format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64()));
        let acknowledgement = match connack::accepted(&hello, assigned.as_deref(), &self.limits) {
            Ok(acknowledgement) => acknowledgement,
            Err(rejection) => {
                refuse(&mut stream, &rejection).await;
                return None;
            }
        };
        let transport = match hello.version {
            Version::V3 => Transport::Mqtt3,
            Version::V5 => Transport::Mqtt5,
        };
        let new_link = if session.gateway { DeviceLink::of_gateway } else { DeviceLink::new };
        let (link, mut link_end) = new_link(transport);
        if let Some(assigned) = &assigned {
            hello.client_id.clone_from(assigned);
        }
        link.set_keep_alive(hello.keep_alive_seconds);
        let client_id = std::mem::take(&mut hello.client_id);
        let key = SessionKey { tenant: session.tenant, device: session.device, client_id };
        let now = self.clock.monotonic();
        let (state, present) = self.sessions.attach(key.clone(), hello.clean_start, &link, now);
        let registration = Registration::new(Arc::clone(self), key.clone(), link.clone());
        state.lock().state_interests(&link, session.gateway);
        let (sink, device) = (Arc::clone(&self.sink), Arc::clone(&session));
        let attached = Attached::new(sink, device, link.clone()).await;

        let keep_alive = KeepAlive::new(hello.keep_alive_seconds);
        let mut device = Box::new(Device::new(
            Arc::clone(self),
            Arc::clone(&session),
            link.clone(),
            Arc::clone(&state),
            hello,
        ));
        device.output = acknowledgement.encode(present);
        device.keep_session(&key, present);
        device.start_resend();
        device.listens((false, false));
        let Err(end) =
            exchange(&mut stream, &mut input, &mut device, &mut link_end, keep_alive).await;
        finish(&mut stream, &mut device, &end).await;
        drop(stream);
        link.set_ended(end.for_link());

        // Who may not connect any more has no session, and no will.
        let is_revoked = link_end.close.borrow().is_some_and(CloseReason::is_refusal);
        let keep_seconds = if is_revoked { 0 } else { device.session_seconds };
        registration.end(keep_seconds);
        // Of the connection nothing else is kept.
        let will = device.will.take().filter(|_| !is_revoked);
        let fate = if will.is_some() { WillFate::Waits } else { WillFate::Gone };
        self.tell_gone(&state, &link, keep_seconds, fate);
        if let Some(children) = device.children.take() {
            children.end().await;
        }
        attached.detach().await;
        let will = will?;
        let (broker, version) = (Arc::clone(self), device.encoder.version);
        Some(WaitingWill {
            broker,
            session,
            version,
            will,
            state,
            key,
            link,
            keep_seconds,
            is_restored: false,
        })
    }
}

/// Tells a client that it is refused, as far as its version can be told, and closes.
pub(super) async fn refuse<S: Stream>(stream: &mut S, rejection: &Rejection) {
    tracing::info!(reason = %rejection.text, "MQTT connection refused");
    metrics::counter!("veritwin_ingest_connections_refused_total").increment(1);
    let _ = write(stream, &rejection.encode()).await;
    let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
}

/// A connection's place among the sessions, given up whatever happens to the connection.
struct Registration {
    broker: Arc<Broker>,
    place: Option<(SessionKey, DeviceLink)>,
}

impl Registration {
    fn new(broker: Arc<Broker>, key: SessionKey, link: DeviceLink) -> Self {
        Self { broker, place: Some((key, link)) }
    }

    /// Ends the connection's hold, unless another connection has the session already; the session
    /// stays for `keep_seconds`.
    fn end(mut self, keep_seconds: u32) {
        self.give_up(keep_seconds);
    }

    fn give_up(&mut self, keep_seconds: u32) {
        let now = self.broker.clock.monotonic();
        if let Some((key, link)) = self.place.take() {
            self.broker.sessions.detach(&key, &link, keep_seconds, now);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.give_up(0);
    }
}

/// The main loop of a connection. It goes on until there is an end.
async fn exchange<S: Stream>(
    stream: &mut S,
    input: &mut BytesMut,
    device: &mut Device,
    link: &mut LinkEnd,
    mut keep_alive: KeepAlive,
) -> Result<Infallible, End> {
    let (mut read_bytes, mut is_held) = (READ_BYTES_MIN, false);
    let mut turns = device.broker.turns.of(device.session.tenant);
    let mut room = device.broker.intake.room(device.session.tenant);
    let (mut wants_turn, mut gather_until) = (false, None);
    let timer = keep_alive.timer();
    tokio::pin!(timer);
    if !input.is_empty() {
        room.hand_on(device, input)?;
    }
    let session = Arc::clone(&device.state);
    let LinkEnd { downlinks, close } = link;
    // One wait for all turns of the loop.
    let closed = close_reason(close);
    tokio::pin!(closed);
    loop {
        device.pump(downlinks);
        if !device.output.is_empty() {
            // A turn does not wait for a client that reads slowly.
            turns = turns.clone();
            say(stream, device).await?;
        }
        let (is_read, can_send) = (device.can_read(), device.can_send());
        let can_read = room.may_read(input, device.limits().packet_bytes_max, is_read) && is_read;
        let held_until = device.held_until;
        if input.is_empty() && input.capacity() > KEPT_BYTES_MAX {
            *input = BytesMut::new();
        }
        if can_read && input.capacity() - input.len() < read_bytes {
            input.reserve(read_bytes);
        }
        tokio::select! {
            biased;
            Some(finished) = device.queue.next(), if !device.queue.is_empty() => {
                device.finish_ready(finished)?;
                gather_until = gather_until.filter(|_| !device.queue.is_empty());
            }
            reason = &mut closed => {
                if reason == CloseReason::ShuttingDown {
                    // The last word of the host, where it has said one.
                    device.pump(downlinks);
                }
                return Err(Close::of_reason(reason).into());
            }
            Some(answer) = device.answers.next(),
                if can_send && !device.answers.is_empty() => device.answer(answer),
            Some(downlink) = downlinks.recv(), if can_send => device.downlink(&downlink),
            Some(found) = device.fetching.next(), if !device.fetching.is_empty() => {
                if device.found(found)? {
                    room.hand_on(device, input)?;
                }
            }
            () = yield_now(), if device.is_relaying() => device.relay_some()?,
            result = read_little(stream, input),
                if can_read && !wants_turn && gather_until.is_none() =>
            {
                let bytes = match result {
                    Ok(0) | Err(_) => return Err(End::Lost),
                    Ok(bytes) => bytes,
                };
                keep_alive.heard_at = Instant::now();
                // A little is handled at once. For more the tenant's turn is waited for, but not
                // by who is held back, so that it is held back for short.
                wants_turn = bytes == READ_BYTES_MIN && !is_held;
                if !wants_turn {
                    read_bytes = READ_BYTES_MIN;
                    room.hand_on(device, input)?;
                    is_held = device.held_until.is_some();
                    let gathers = !device.queue.is_empty();
                    gather_until = gathers.then(|| keep_alive.heard_at + GATHER_TIME_MAX);
                }
            }
            turn = poll_fn(|context| turns.poll_acquire(context)), if wants_turn => {
                read_bytes = READ_BYTES_MIN + read_ready(stream, input);
                let result = room.hand_on(device, input);
                drop(turn);
                result?;
                wants_turn = false;
                is_held = device.held_until.is_some();
            }
            is_late = room.next(), if room.is_asking() || (can_read && room.is_engaged()) => {
                device.check_late(is_late)?;
            }
            () = session.wake().notified() => {}
            () = wait_until(held_until), if held_until.is_some() => {
                device.held_until = None;
            }
            () = wait_until(gather_until), if gather_until.is_some() => gather_until = None,
            () = &mut timer => {
                keep_alive.check(can_read)?;
                timer.set(keep_alive.timer());
            }
        }
    }
}

/// Why the connection has to end, once that is said.
async fn close_reason(close: &mut watch::Receiver<Option<CloseReason>>) -> CloseReason {
    let reason = close.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
    match reason {
        Some(reason) => reason,
        // Nobody can say it any more, which is not: the connection itself holds its link.
        None => pending().await,
    }
}

/// A timer that is made when it is polled: what a turn of the loop does not wait for costs nothing.
async fn wait_until(at: Option<Instant>) {
    if let Some(at) = at {
        sleep_until(at).await;
    }
}

async fn read_little<S: Stream>(stream: &mut S, input: &mut BytesMut) -> std::io::Result<usize> {
    stream.read_buf(&mut input.limit(READ_BYTES_MIN)).await
}

/// Reads what is there already, up to the largest piece; how much it was. An end or error is seen
/// again by the next read.
fn read_ready<S: Stream>(stream: &mut S, input: &mut BytesMut) -> usize {
    let mut bytes = 0;
    while bytes < READ_BYTES_MAX - READ_BYTES_MIN {
        if input.capacity() - input.len() < READ_BYTES_MIN {
            input.reserve(READ_BYTES_MIN);
        }
        match stream.read_buf(input).now_or_never() {
            Some(Ok(more)) if more > 0 => bytes += more,
            _ => break,
        }
    }
    bytes.min(READ_BYTES_MAX - READ_BYTES_MIN)
}

/// The end of a connection: what was read is finished and acknowledged, then the reason is said.
async fn finish<S: Stream>(stream: &mut S, device: &mut Device, end: &End) {
    let unanswerable = drain(device).await;
    if *end == End::Lost {
        return;
    }
    if let End::Closed(close) = end {
        tracing::info!(
            device = %device.session.device,
            code = close.code,
            reason = %close.text,
            "MQTT connection closed by the broker"
        );
        device.encoder.disconnect(&mut device.output, close.code, Some(&close.text));
    } else if let Some(close) = unanswerable {
        device.encoder.disconnect(&mut device.output, close.code, Some(&close.text));
    }
    let _ = write_output(stream, device).await;
    let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
}

/// Waits for submissions in flight. After one that cannot be acknowledged, none is.
pub(super) async fn drain(device: &mut Device) -> Option<Close> {
    let mut failed = None;
    let all = async {
        loop {
            while device.is_relaying() {
                let result = device.relay_some();
                failed = failed.take().or(result.err());
                yield_now().await;
            }
            let Some(finished) = device.queue.next().await else { break };
            device.finish(finished);
        }
    };
    if timeout(Duration::from_secs(DRAIN_SECONDS_MAX), all).await.is_err() {
        tracing::warn!("submissions of a closed connection did not finish in time");
    }
    failed
}

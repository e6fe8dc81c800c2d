//! `/v1/ws`: JSON commands and live changes. Latest values are coalesced to at most four messages
//! a second; a subscriber that falls behind gets a new snapshot instead of a growing queue.

mod calls;
mod caps;
mod connections;
mod decoding;
mod devices;
mod edge;
mod ends;
mod entries;
mod following;
mod later;
mod login;
mod protocol;
mod seats;
mod simulated;
mod sink;
mod statements;
mod subscriptions;
mod traffic;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use veritwin_app::{Arrival, LiveEvent};
use veritwin_domain::{LimitExceeded, OpContext, Origin, Purpose, RequestId, Secret};
use veritwin_ingest::payload::KeyTable;
use veritwin_ingest::ws::{self, COMMAND_BYTES_MAX, Command, CommandError};
use veritwin_ingest::{EndedBy, LinkEnded};

use super::auth::{self, Caller};
use super::{Answer, Api, Problem, origin};
use crate::listen::ConnectionSlot;
use caps::PartySeats;
use protocol::ServerMessage;
use subscriptions::Subscriptions;

pub(crate) use caps::Caps;
pub(crate) use devices::LiveState;
pub(crate) use seats::Seat;
pub(crate) use statements::SqlSeats;

/// A connection that did not authenticate by then is closed.
const AUTHENTICATE_TIMEOUT: Duration = Duration::from_secs(10);
/// At most four deltas a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// A ping keeps middle boxes from closing an idle connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A peer that cannot take a message for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// So many pings go out within the time a device's socket may be without a word.
const IDLE_PINGS: u32 = 3;
/// A socket that a peer still writes to is held this long, so that a reset does not overtake the
/// reason why it is closed.
const CLOSE_LINGER: Duration = Duration::from_secs(1);
/// Close codes of RFC 6455, section 7.4.1.
const CLOSE_POLICY: u16 = 1008;
const CLOSE_TOO_BIG: u16 = 1009;
/// Most commands in a row that are refused over a rate, or before `authenticate`, until the
/// connection is closed.
const COMMANDS_REFUSED_MAX: usize = 32;
/// Rights are asked again this often, so that a revoked session ends.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/ws", any(upgrade))
}

async fn upgrade(State(api): State<Api>, request: Request) -> Answer<Response> {
    let (mut parts, _) = request.into_parts();
    if auth::is_cross_site(&parts.headers, &parts.uri) {
        return Err(Problem::new(
            axum::http::StatusCode::FORBIDDEN,
            "/problems/cross-site",
            "Cross-site request",
            "a page of another site may not act with your sign-in",
        ));
    }
    let has_credential = auth::bearer(&parts.headers).is_some()
        || auth::cookie(&parts.headers, auth::SESSION_COOKIE).is_some();
    let credential = if has_credential {
        let caller = Caller::from_request_parts(&mut parts, &api).await?;
        let secret = auth::bearer(&parts.headers)
            .or_else(|| auth::cookie(&parts.headers, auth::SESSION_COOKIE))
            .map(|text| Secret::new(text.to_owned()));
        let is_session = auth::bearer(&parts.headers).is_none();
        let seats = api.live.places().open_socket(&caller.0);
        let seats = seats.map_err(|limit| Problem::too_many("Too many connections", &limit))?;
        secret
            .map(|secret| Box::new(Party { context: caller.0, secret, is_session, _seats: seats }))
    } else {
        None
    };
    let origin = origin::of(&parts);
    // Held until the socket ends: an upgraded connection still counts.
    let slot = parts.extensions.get::<ConnectionSlot>().cloned();
    let socket = WebSocketUpgrade::from_request_parts(&mut parts, &api)
        .await
        .map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    Ok(socket
        .max_message_size(COMMAND_BYTES_MAX)
        .max_frame_size(COMMAND_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            Connection::run(socket, api, origin, credential).await;
            drop(slot);
        })
        .into_response())
}

/// Who is on the other end, and how to ask again whether they still may be.
struct Party {
    context: OpContext,
    secret: Secret<String>,
    is_session: bool,
    _seats: PartySeats,
}

struct Connection {
    socket: WebSocket,
    api: Api,
    origin: Origin,
    keys: KeyTable,
    /// Pings since the peer last sent anything.
    pings_unanswered: u32,
}

enum Ended {
    /// The peer is gone, or what it sent ends the connection.
    Closed,
    /// We end it and say why.
    Because(&'static str),
    /// A bound was passed.
    Limit(LimitExceeded),
    /// A command is larger than any may be.
    TooBig(LimitExceeded),
}

impl Ended {
    /// The same for the list of a device's connections.
    fn for_link(&self) -> LinkEnded {
        let (by, text) = match self {
            Self::Closed => (EndedBy::Network, "the socket was closed".to_owned()),
            Self::Because(reason) => (EndedBy::Platform, (*reason).to_owned()),
            Self::Limit(limit) | Self::TooBig(limit) => (EndedBy::Platform, limit.to_string()),
        };
        LinkEnded { by, code: None, text }
    }
}

impl Connection {
    async fn run(socket: WebSocket, api: Api, origin: Origin, party: Option<Box<Party>>) {
        let keys = KeyTable::new(api.app.screening());
        let mut connection = Self { socket, api, origin, keys, pings_unanswered: 0 };
        let Err(ended) = connection.serve(party).await;
        let (code, reason) = match &ended {
            Ended::Closed => return,
            Ended::Because(reason) => (CLOSE_POLICY, (*reason).to_owned()),
            Ended::Limit(limit) => (CLOSE_POLICY, limit.to_string()),
            Ended::TooBig(limit) => (CLOSE_TOO_BIG, limit.to_string()),
        };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let sent = tokio::time::timeout(SEND_TIMEOUT, connection.socket.send(close)).await;
        if matches!(ended, Ended::TooBig(_) | Ended::Limit(_)) && matches!(sent, Ok(Ok(()))) {
            tokio::time::sleep(CLOSE_LINGER).await;
        }
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), Ended> {
        let text = serde_json::to_string(message).map_err(|_| Ended::Closed)?;
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(Message::Text(text.into()))).await
        {
            Ok(Ok(())) => Ok(()),
            _ => Err(Ended::Closed),
        }
    }

    async fn ping(&mut self) -> Result<(), Ended> {
        let ping = self.socket.send(Message::Ping(Default::default()));
        match tokio::time::timeout(SEND_TIMEOUT, ping).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Ended::Closed),
        }
    }

    /// The next command, or what is wrong with it; none for a sign of life.
    async fn receive(&mut self) -> Result<Option<Result<Command, CommandError>>, Ended> {
        let received = self.socket.recv().await;
        self.pings_unanswered = 0;
        match received {
            Some(Ok(Message::Text(text))) => {
                Ok(Some(ws::parse(&text, self.api.live.limits(), &mut self.keys)))
            }
            Some(Ok(Message::Binary(_))) => {
                let detail = "commands are JSON text".to_owned();
                Ok(Some(Err(CommandError { id: None, detail })))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Err(error)) => Err(too_big(error)),
            Some(Ok(Message::Close(_))) | None => Err(Ended::Closed),
        }
    }

    async fn serve(&mut self, party: Option<Box<Party>>) -> Result<Infallible, Ended> {
        let party = match party {
            Some(party) => Identity::Party(party),
            None => match tokio::time::timeout(AUTHENTICATE_TIMEOUT, self.authenticate()).await {
                Ok(identity) => identity?,
                Err(_) => return Err(Ended::Because("authenticate first")),
            },
        };
        match party {
            Identity::Party(party) => self.serve_party(party).await,
            Identity::Device(device, secret) => self.serve_device(&device, &secret).await,
        }
    }

    async fn authenticate(&mut self) -> Result<Identity, Ended> {
        let mut refused = 0;
        loop {
            let Some(command) = self.receive().await? else { continue };
            let token = match command {
                Ok(Command::Authenticate { token }) => token,
                Ok(_) => {
                    let detail = "authenticate first: {\"op\":\"authenticate\",\"token\":\"...\"}";
                    self.refuse(None, detail.to_owned(), &mut refused).await?;
                    continue;
                }
                Err(CommandError { id, detail }) => {
                    self.refuse(id, detail, &mut refused).await?;
                    continue;
                }
            };
            let secret = token;
            let arrival = arrival(&self.api, &self.origin);
            let found = self.api.app.authenticate_api_key(&secret, arrival).await;
            if let Ok(context) = found {
                let _seats = self.api.live.places().open_socket(&context).map_err(Ended::Limit)?;
                let party = Party { context, secret, is_session: false, _seats };
                return Ok(Identity::Party(Box::new(party)));
            }
            return match self.api.app.login_device(&secret, self.origin.address).await {
                Ok(device) => Ok(Identity::Device(device, secret)),
                Err(_) => Err(Ended::Because("unknown token")),
            };
        }
    }

    /// A person or program: subscriptions.
    async fn serve_party(&mut self, mut party: Box<Party>) -> Result<Infallible, Ended> {
        let mut events = self.api.app.subscribe(&party.context);
        let mut subscriptions = Subscriptions::default();
        self.send(&ServerMessage::Ready { seq: 0 }).await?;
        let mut flush = tokio::time::interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ping = tokio::time::interval(PING_INTERVAL);
        let mut recheck = tokio::time::interval(RECHECK_INTERVAL);
        let mut refused = 0;
        loop {
            tokio::select! {
                event = events.recv() => {
                    use tokio::sync::broadcast::error::RecvError;
                    match event {
                        Ok(LiveEvent::Access) => {
                            party.context = asked_again(&self.api, &party).await?;
                            subscriptions.lagged();
                        }
                        Ok(LiveEvent::Sessions) => {
                            party.context = asked_again(&self.api, &party).await?;
                        }
                        Ok(event) => {
                            let due = subscriptions.take(&self.api, &party.context, event);
                            for message in due.await {
                                self.send(&message).await?;
                            }
                        }
                        Err(RecvError::Lagged(_)) => subscriptions.lagged(),
                        Err(RecvError::Closed) => return Err(Ended::Because("stopping")),
                    }
                }
                _ = flush.tick() => {
                    for message in subscriptions.flush(&self.api, &party.context).await {
                        self.send(&message).await?;
                    }
                }
                _ = ping.tick() => {
                    self.ping().await?;
                }
                _ = recheck.tick() => {
                    let now = asked_again(&self.api, &party).await?;
                    // A grant may have ended by itself.
                    if now.actor != party.context.actor {
                        subscriptions.lagged();
                    }
                    party.context = now;
                }
                command = self.receive() => {
                    if let Some(command) = command? {
                        // One that cannot be read costs as much as any other.
                        if let Err(error) = self.api.app.count_request(&party.context) {
                            self.refuse(id_of(&command), error.told(), &mut refused).await?;
                            continue;
                        }
                        refused = refused.saturating_sub(1);
                        let answer = match command {
                            Ok(command) => {
                                subscriptions.command(&self.api, &party.context, command).await
                            }
                            Err(error) => vec![ServerMessage::error(error.id, error.detail)],
                        };
                        for message in answer {
                            self.send(&message).await?;
                        }
                    }
                }
            }
        }
    }

    /// Refuses a command over a rate, or of somebody unknown, and ends the connection of whoever
    /// goes on.
    async fn refuse(
        &mut self,
        id: Option<u64>,
        detail: String,
        refused: &mut usize,
    ) -> Result<(), Ended> {
        *refused += 1;
        self.send(&ServerMessage::error(id, detail)).await?;
        if *refused > COMMANDS_REFUSED_MAX {
            let (name, max) = ("commands_refused_max", COMMANDS_REFUSED_MAX);
            return Err(Ended::Limit(LimitExceeded { name, max, actual: *refused }));
        }
        Ok(())
    }

    /// A device: publishes readings.
    async fn serve_device(
        &mut self,
        device: &veritwin_app::DeviceLogin,
        secret: &Secret<String>,
    ) -> Result<Infallible, Ended> {
        let live = Arc::clone(&self.api.live);
        let _place = live.places().connect(device.tenant).map_err(Ended::Limit)?;
        let _counted = live.open_socket(device).map_err(Ended::Limit)?;
        let noted = live.note_socket(device, self.origin.address);
        let Err(ended) = self.take_commands(device, secret, &live).await;
        noted.ends(ended.for_link());
        Err(ended)
    }

    async fn take_commands(
        &mut self,
        device: &veritwin_app::DeviceLogin,
        secret: &Secret<String>,
        live: &LiveState,
    ) -> Result<Infallible, Ended> {
        self.send(&ServerMessage::Ready { seq: 0 }).await?;
        let idle_max = Duration::from_secs(live.idle_seconds_max().into());
        let mut ping = tokio::time::interval(idle_max / IDLE_PINGS);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first one is due at once.
        ping.tick().await;
        loop {
            let received = tokio::select! {
                received = self.receive() => received?,
                _ = ping.tick() => {
                    self.ping_or_end(live.idle_seconds_max()).await?;
                    continue;
                }
            };
            let Some(command) = received else { continue };
            let (id, outcome) = match command {
                Err(CommandError { id, detail }) => {
                    let detail = self.count_malformed(device).err().unwrap_or(detail);
                    live.malformed(device, &detail);
                    (id, Err(detail))
                }
                Ok(Command::Publish { id, readings }) => {
                    // Remembered for seconds only, and forgotten at once when it is revoked.
                    let address = self.origin.address;
                    if self.api.app.login_device(secret, address).await.is_err() {
                        return Err(Ended::Because("the credential is no longer valid"));
                    }
                    (id, live.publish(device, readings).await)
                }
                Ok(other) => {
                    let detail = "a device may only publish".to_owned();
                    (other.id(), Err(self.count_malformed(device).err().unwrap_or(detail)))
                }
            };
            let answer = match outcome {
                Ok(()) => ServerMessage::Done { id },
                Err(detail) => ServerMessage::error(id, detail),
            };
            self.send(&answer).await?;
        }
    }

    /// Counts a device's command that cannot be taken like any message of it.
    fn count_malformed(&self, device: &veritwin_app::DeviceLogin) -> Result<(), String> {
        let (tenant, device) = (device.tenant, Some(device.device));
        let counted = self.api.app.admit_messages(tenant, device, 1);
        counted.map_err(|error| error.told())
    }

    /// Asks a device for a sign of life, or ends the connection when none came for too long.
    async fn ping_or_end(&mut self, idle_seconds_max: u32) -> Result<(), Ended> {
        self.pings_unanswered += 1;
        if self.pings_unanswered >= IDLE_PINGS {
            let max = usize::try_from(idle_seconds_max).unwrap_or(usize::MAX);
            let name = "device_idle_seconds_max";
            return Err(Ended::Limit(LimitExceeded { name, max, actual: max }));
        }
        self.ping().await
    }
}

/// What a broken connection ends with: silence, but for a command that is too large.
fn too_big(error: axum::Error) -> Ended {
    use tungstenite::error::{CapacityError, Error};
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(CapacityError::MessageTooLong { size, max_size })) => {
            let (max, actual) = (*max_size, *size);
            Ended::TooBig(LimitExceeded { name: "command_bytes_max", max, actual })
        }
        _ => Ended::Closed,
    }
}

fn id_of(command: &Result<Command, CommandError>) -> Option<u64> {
    match command {
        Ok(command) => command.id(),
        Err(error) => error.id,
    }
}

fn arrival(api: &Api, origin: &Origin) -> Arrival {
    Arrival {
        purpose: Purpose::IngestRouting,
        request: RequestId::generate(api.clock().now(), api.rng()),
        origin: origin.clone(),
    }
}

/// Who the party is now; what it may has possibly changed. Nobody uses their session by that: it
/// ends while the view is open.
async fn asked_again(api: &Api, party: &Party) -> Result<OpContext, Ended> {
    let arrival = arrival(api, &party.context.origin);
    let found = if party.is_session {
        api.app.authenticate_session(&party.secret, arrival, false).await
    } else {
        api.app.authenticate_api_key(&party.secret, arrival).await
    };
    found.map_err(|_| Ended::Because("the session has ended"))
}

enum Identity {
    Party(Box<Party>),
    Device(veritwin_app::DeviceLogin, Secret<String>),
}

//! `/v1/ws`: JSON commands and live changes. Latest values are coalesced to at most four messages
//! a second; a subscriber that falls behind gets a new snapshot instead of a growing queue.

mod devices;
mod protocol;
mod subscriptions;

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use veritwin_app::{Arrival, LiveEvent};
use veritwin_domain::{OpContext, Origin, Purpose, RequestId, Secret};

use super::auth::{self, Caller};
use super::{Answer, Api, Problem, origin};
use crate::listen::ConnectionSlot;
use protocol::{Command, ServerMessage};
use subscriptions::Subscriptions;

pub(crate) use devices::LiveState;

/// Largest command.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// A connection that did not authenticate by then is closed.
const AUTHENTICATE_TIMEOUT: Duration = Duration::from_secs(10);
/// At most four deltas a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// A ping keeps middle boxes from closing an idle connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A peer that cannot take a message for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
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
        secret.map(|secret| Party { context: caller.0, secret, is_session })
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
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
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
}

struct Connection {
    socket: WebSocket,
    api: Api,
    origin: Origin,
}

enum Ended {
    /// The peer is gone, or what it sent ends the connection.
    Closed,
    /// We end it and say why.
    Because(&'static str),
}

impl Connection {
    async fn run(socket: WebSocket, api: Api, origin: Origin, party: Option<Party>) {
        let mut connection = Self { socket, api, origin };
        let ended = connection.serve(party).await;
        if let Err(Ended::Because(reason)) = ended {
            let frame = CloseFrame { code: 1008, reason: reason.into() };
            let _ = connection.socket.send(Message::Close(Some(frame))).await;
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

    async fn receive(&mut self) -> Result<Option<Command>, Ended> {
        match self.socket.recv().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str::<Command>(&text) {
                Ok(command) => Ok(Some(command)),
                Err(error) => {
                    let detail =
                        format!("not a command: line {} column {}", error.line(), error.column());
                    self.send(&ServerMessage::error(None, detail)).await?;
                    Ok(None)
                }
            },
            Some(Ok(Message::Binary(_))) => {
                self.send(&ServerMessage::error(None, "commands are JSON text".to_owned())).await?;
                Ok(None)
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ended::Closed),
        }
    }

    async fn serve(&mut self, party: Option<Party>) -> Result<(), Ended> {
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
        loop {
            let Some(command) = self.receive().await? else { continue };
            let Command::Authenticate { token } = command else {
                let detail = "authenticate first: {\"op\":\"authenticate\",\"token\":\"...\"}";
                self.send(&ServerMessage::error(None, detail.to_owned())).await?;
                continue;
            };
            let secret = Secret::new(token);
            let arrival = arrival(&self.api, &self.origin);
            let found = self.api.app.authenticate_api_key(&secret, arrival).await;
            if let Ok(context) = found {
                return Ok(Identity::Party(Party { context, secret, is_session: false }));
            }
            return match self.api.app.login_device(&secret, self.origin.address).await {
                Ok(device) => Ok(Identity::Device(device, secret)),
                Err(_) => Err(Ended::Because("unknown token")),
            };
        }
    }

    /// A person or program: subscriptions.
    async fn serve_party(&mut self, mut party: Party) -> Result<(), Ended> {
        let mut events = self.api.app.subscribe(&party.context);
        let mut subscriptions = Subscriptions::default();
        self.send(&ServerMessage::Ready { seq: 0 }).await?;
        let mut flush = tokio::time::interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ping = tokio::time::interval(PING_INTERVAL);
        let mut recheck = tokio::time::interval(RECHECK_INTERVAL);
        loop {
            tokio::select! {
                event = events.recv() => {
                    use tokio::sync::broadcast::error::RecvError;
                    match event {
                        Ok(LiveEvent::Access) => {
                            party.context = asked_again(&self.api, &party).await?;
                            subscriptions.lagged();
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
                        let answer = subscriptions.command(&self.api, &party.context, command);
                        for message in answer.await {
                            self.send(&message).await?;
                        }
                    }
                }
            }
        }
    }

    /// A device: publishes readings.
    async fn serve_device(
        &mut self,
        device: &veritwin_app::DeviceLogin,
        secret: &Secret<String>,
    ) -> Result<(), Ended> {
        let Ok(_place) = self.api.live.connect(device.tenant) else {
            return Err(Ended::Because("limit tenant_connections_max exceeded"));
        };
        self.send(&ServerMessage::Ready { seq: 0 }).await?;
        loop {
            let Some(command) = self.receive().await? else { continue };
            let (id, outcome) = match command {
                Command::Publish { id, ts, values } => {
                    // Remembered for seconds only, and forgotten at once when it is revoked.
                    let address = self.origin.address;
                    if self.api.app.login_device(secret, address).await.is_err() {
                        return Err(Ended::Because("the credential is no longer valid"));
                    }
                    let text = protocol::telemetry_json(ts, values);
                    (id, self.api.live.publish(device, &text).await)
                }
                other => (other.id(), Err("a device may only publish".to_owned())),
            };
            let answer = match outcome {
                Ok(()) => ServerMessage::Done { id },
                Err(detail) => ServerMessage::error(id, detail),
            };
            self.send(&answer).await?;
        }
    }
}

fn arrival(api: &Api, origin: &Origin) -> Arrival {
    Arrival {
        purpose: Purpose::IngestRouting,
        request: RequestId::generate(api.clock().now(), api.rng()),
        origin: origin.clone(),
    }
}

/// Who the party is now; what it may has possibly changed.
async fn asked_again(api: &Api, party: &Party) -> Result<OpContext, Ended> {
    let arrival = arrival(api, &party.context.origin);
    let found = if party.is_session {
        api.app.authenticate_session(&party.secret, arrival).await
    } else {
        api.app.authenticate_api_key(&party.secret, arrival).await
    };
    found.map_err(|_| Ended::Because("the session has ended"))
}

enum Identity {
    Party(Party),
    Device(veritwin_app::DeviceLogin, Secret<String>),
}

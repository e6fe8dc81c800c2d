//! `/mqtt`: MQTT in WebSocket frames (MQTT 5.0, section 6; RFC 6455). The bytes of binary frames
//! are the same stream that a TLS connection carries, and the same broker serves them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::task::TaskTracker;
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{PeerInfo, Transport};

use super::{Answer, Problem, origin};
use crate::listen::ConnectionSlot;

/// The name of the subprotocol (MQTT-6.0.0-3, MQTT-6.0.0-4).
const PROTOCOL: &str = "mqtt";
/// Bytes between a socket and the broker, each way.
const PIPE_BYTES: usize = 64 * 1024;
/// Largest frame, in bytes. Packets need not end with it, nor begin (MQTT-6.0.0-2).
const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A client takes a frame within this time.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Close codes of RFC 6455, section 7.4.1.
const CLOSE_NORMAL: u16 = 1000;
const CLOSE_UNSUPPORTED: u16 = 1003;

#[derive(Clone)]
struct Sockets {
    broker: Arc<Broker>,
    /// Waited for when the platform stops.
    tasks: TaskTracker,
}

pub(crate) fn routes(broker: Arc<Broker>, tasks: TaskTracker) -> Router {
    Router::new().route("/mqtt", any(upgrade)).with_state(Sockets { broker, tasks })
}

/// A device shows its credential in CONNECT and nowhere else: a page of another site that opens a
/// socket has nobody's sign-in with it.
async fn upgrade(State(sockets): State<Sockets>, request: Request) -> Answer<Response> {
    let (mut parts, _) = request.into_parts();
    if !is_offered(&parts.headers) {
        let detail = "MQTT over WebSocket: expected Sec-WebSocket-Protocol: mqtt";
        return Err(Problem::invalid(detail));
    }
    let address = origin::of(&parts).address.map(|address| SocketAddr::new(address, 0));
    let slot = parts.extensions.get::<ConnectionSlot>().cloned();
    let socket = WebSocketUpgrade::from_request_parts(&mut parts, &sockets)
        .await
        .map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let Sockets { broker, tasks } = sockets;
    let serve = move |socket: WebSocket| async move {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let peer = PeerInfo::new(address, Transport::Mqtt3);
        let (will, ()) = tokio::join!(broker.serve_connection(far, peer), carry(socket, near));
        drop(slot);
        if let Some(will) = will {
            will.publish().await;
        }
    };
    Ok(socket
        .protocols([PROTOCOL])
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| tasks.track_future(serve(socket)))
        .into_response())
}

fn is_offered(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offers.filter_map(|offer| offer.to_str().ok()).flat_map(|all| all.split(','));
    names.any(|name| name.trim() == PROTOCOL)
}

/// Carries bytes between a socket and the broker until either ends.
async fn carry(socket: WebSocket, near: DuplexStream) {
    let (mut sender, mut receiver) = socket.split();
    let (mut from_broker, mut to_broker) = tokio::io::split(near);
    let inbound = async {
        while let Some(Ok(message)) = receiver.next().await {
            match message {
                Message::Binary(bytes) => {
                    if to_broker.write_all(&bytes).await.is_err() {
                        return None;
                    }
                }
                // MQTT-6.0.0-1.
                Message::Text(_) => {
                    return Some((CLOSE_UNSUPPORTED, "MQTT comes in binary frames"));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return None,
            }
        }
        None
    };
    let outbound = async {
        let mut bytes = vec![0; PIPE_BYTES];
        loop {
            let length = match from_broker.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            let frame = Message::Binary(Bytes::copy_from_slice(&bytes[..length]));
            if !matches!(tokio::time::timeout(SEND_TIMEOUT, sender.send(frame)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    let close = tokio::select! {
        close = inbound => close,
        () = outbound => Some((CLOSE_NORMAL, "")),
    };
    if let Some((code, reason)) = close {
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = tokio::time::timeout(Duration::from_secs(1), sender.send(frame)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subprotocol_is_one_of_those_offered() {
        let table: [(&[&str], bool); 5] = [
            (&["mqtt"], true),
            (&["mqttv3.1, mqtt"], true),
            (&["chat", "mqtt"], true),
            (&["mqttv3.1"], false),
            (&[], false),
        ];
        for (offers, expect) in table {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, offer.parse().expect("a value"));
            }
            assert_eq!(is_offered(&headers), expect, "{offers:?}");
        }
    }
}

//! The session of a device that comes in by itself, with the user name `provision`: it asks on
//! `/provision/request`, is answered on `/provision/response`, and may do nothing else. It has no
//! device behind it, no will and no state, and ends soon.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::alias::Naming;
use super::broker::Broker;
use super::connack;
use super::connect::Hello;
use super::connection::{Stream, refuse};
use super::device::Close;
use super::encode::{Encoder, Outgoing, PUBACK, PUBCOMP, PUBREC};
use super::frame::{self, Header, PublishView, Version};
use super::packet::{self, Packet};
use super::wire::{Fault, MALFORMED};
use super::writing::write;
use crate::model::{Credential, PeerInfo};
use crate::provision::{self, PROVISION_BYTES_MAX};
use crate::traits::LoginError;

const USER: &str = "provision";
const REQUEST: &str = "/provision/request";
const RESPONSE: &str = "/provision/response";
/// How long such a session lasts at most.
const SESSION_SECONDS_MAX: u64 = 60;
/// Most requests of such a session.
const REQUESTS_MAX: u32 = 8;
/// How long a request takes at most.
const REQUEST_SECONDS_MAX: u64 = 10;
/// Largest packet: a request with its topic and properties.
const PACKET_BYTES_MAX: usize = PROVISION_BYTES_MAX + 4096;

/// Whether a client asks to be let in.
pub(super) fn is_newcomer(hello: &Hello) -> bool {
    matches!(&hello.credential, Some(Credential::Token(token)) if token.expose() == USER)
}

/// What is known of the session.
struct Newcomer<'a> {
    broker: &'a Broker,
    peer: &'a PeerInfo,
    encoder: Encoder,
    output: BytesMut,
    listens: bool,
    requests: u32,
}

impl Broker {
    /// Serves a device that asks to be let in, until it is answered and goes.
    pub(super) async fn serve_newcomer<S: Stream>(
        self: &Arc<Self>,
        stream: &mut S,
        mut input: BytesMut,
        mut hello: Hello,
        peer: &PeerInfo,
    ) {
        // Nothing is kept for it.
        hello.session_seconds = 0;
        let assigned = hello
            .client_id
            .is_empty()
            .then(|| format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64()));
        let accepted = match connack::accepted(&hello, assigned.as_deref(), &self.limits) {
            Ok(accepted) => accepted,
            Err(rejection) => return refuse(stream, &rejection).await,
        };
        let encoder = Encoder {
            version: hello.version,
            packet_bytes_max: hello.packet_bytes_max,
            problem_information: hello.problem_information,
        };
        let output = accepted.encode(false);
        let mut newcomer =
            Newcomer { broker: self, peer, encoder, output, listens: false, requests: 0 };
        let end = newcomer.exchange(stream, &mut input).await;
        if let Some(Close { code, text }) = end {
            newcomer.encoder.disconnect(&mut newcomer.output, code, Some(&text));
        }
        let _ = write(stream, &newcomer.output).await;
        let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
    }
}

impl Newcomer<'_> {
    /// Goes on until there is an end; gives why the broker ends it, if it does.
    async fn exchange<S: Stream>(&mut self, stream: &mut S, input: &mut BytesMut) -> Option<Close> {
        let until = Instant::now() + Duration::from_secs(SESSION_SECONDS_MAX);
        let mut closing = self.broker.closing.subscribe();
        loop {
            loop {
                match self.next(input).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(end) => return end,
                }
            }
            if *closing.borrow_and_update() {
                return Some(Close::new(0x8b, "the platform is shutting down"));
            }
            let output = self.output.split();
            write(stream, &output).await.ok()?;
            input.reserve(1024);
            let read = tokio::select! {
                read = timeout_at(until, stream.read_buf(input)) => read,
                _ = closing.changed() => {
                    return Some(Close::new(0x8b, "the platform is shutting down"));
                }
            };
            match read {
                Err(_) => return Some(Close::new(0x98, "a session of provision ends by itself")),
                Ok(Ok(0) | Err(_)) => return None,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Takes the next whole packet; false when there is none yet. An error is an end.
    async fn next(&mut self, input: &mut BytesMut) -> Result<bool, Option<Close>> {
        let malformed = |_| Some(Close::new(MALFORMED, "malformed remaining length"));
        let Some(header) = frame::header(input).map_err(malformed)? else { return Ok(false) };
        if header.packet_bytes() > PACKET_BYTES_MAX {
            let text = format!("limit provision_bytes_max exceeded: at most {PROVISION_BYTES_MAX}");
            return Err(Some(Close::new(0x95, text)));
        }
        if input.len() < header.packet_bytes() {
            return Ok(false);
        }
        let packet = input.split_to(header.packet_bytes());
        self.packet(header, &packet).await.map(|()| true)
    }

    async fn packet(&mut self, header: Header, packet: &[u8]) -> Result<(), Option<Close>> {
        let version = self.encoder.version;
        let close = |fault: Fault| Some(Close::from(fault));
        header.check_length(version).map_err(close)?;
        if header.is_publish() {
            let view = frame::publish_view(version, header, packet).map_err(close)?;
            return self.publish(&view).await.map_err(Some);
        }
        match packet::read(version, header, packet).map_err(close)? {
            Packet::Subscribe(subscribe) => {
                let code = |filter: &str| match (filter == RESPONSE, version) {
                    (true, _) => 0,
                    (false, Version::V5) => 0x87,
                    (false, Version::V3) => 0x80,
                };
                let codes: Vec<u8> =
                    subscribe.filters.iter().map(|(filter, _)| code(filter)).collect();
                self.listens |= codes.contains(&0);
                let id = subscribe.packet_id;
                self.encoder.subscribed(&mut self.output, id, &codes, None);
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.listens &= !unsubscribe.filters.contains(&RESPONSE);
                let codes = vec![0; unsubscribe.filters.len()];
                let id = unsubscribe.packet_id;
                self.encoder.unsubscribed(&mut self.output, id, &codes);
            }
            Packet::Release(id) => {
                self.encoder.acknowledge(&mut self.output, PUBCOMP, id, 0, None);
            }
            Packet::Ping => self.output.extend_from_slice(&[0xd0, 0]),
            Packet::Disconnect(_) => return Err(None),
            Packet::Acknowledged(_) | Packet::Received(..) | Packet::Complete(_) => {}
        }
        Ok(())
    }

    async fn publish(&mut self, view: &PublishView<'_>) -> Result<(), Close> {
        if view.topic != REQUEST || view.topic_alias.is_some() {
            let text = "the user provision publishes to /provision/request and nowhere else";
            return Err(Close::new(0x87, text));
        }
        if !self.listens {
            let text = "subscribe to /provision/response first: the answer is given once";
            return Err(Close::new(0x83, text));
        }
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            let text = format!("limit provision_requests_max exceeded: at most {REQUESTS_MAX}");
            return Err(Close::new(0x97, text));
        }
        let answer = match provision::parse(view.payload) {
            Err(text) => provision::failure(&text),
            Ok(ask) => {
                let limit = Duration::from_secs(REQUEST_SECONDS_MAX);
                match timeout(limit, self.broker.login.provision(ask, self.peer)).await {
                    Ok(Ok(given)) => provision::success(&given),
                    Ok(Err(error)) => provision::refused(&error),
                    Err(_) => {
                        let late = LoginError::Unavailable("it took too long".to_owned());
                        provision::refused(&late)
                    }
                }
            }
        };
        let acknowledgement = match view.qos {
            0 => None,
            1 => Some(PUBACK),
            _ => Some(PUBREC),
        };
        if let Some(kind) = acknowledgement {
            self.encoder.acknowledge(&mut self.output, kind, view.packet_id, 0, None);
        }
        let message = Outgoing {
            topic: RESPONSE,
            naming: Naming::PLAIN,
            payload: answer.as_bytes(),
            qos: 0,
            packet_id: None,
            dup: false,
            retain: false,
            properties: &[],
            expiry_seconds: None,
            subscription_ids: &[],
        };
        self.encoder.publish(&mut self.output, message);
        Ok(())
    }
}

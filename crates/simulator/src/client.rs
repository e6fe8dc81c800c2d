//! A small MQTT 3.1.1 client over TLS: connect with an access token, subscribe, publish at QoS 1
//! and hear about acknowledgements and messages. No session is kept across connections, and there
//! is no way to connect without TLS.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use rmqtt_codec::error::{DecodeError, EncodeError};
use rmqtt_codec::types::{Protocol, Publish, QoS};
use rmqtt_codec::v3::{Codec, Connect, ConnectAckReason, Packet, SubscribeReturnCode};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Framed;
use veritwin_domain::Secret;

/// Largest packet either side may send, in bytes.
const PACKET_BYTES_MAX: u32 = 1024 * 1024;
/// How long connecting, and the answer to CONNECT or SUBSCRIBE, may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The keep-alive that is promised to the server.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where the platform listens for MQTT over TLS, and how it is recognised.
#[derive(Clone)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// The name its certificate is checked against.
    pub server_name: ServerName<'static>,
    /// Trust anchors and protocol versions.
    pub tls: Arc<rustls::ClientConfig>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a client stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The network or TLS failed; trying again can help.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Where to.
        address: String,
        /// What happened.
        source: std::io::Error,
    },
    /// The server said no; trying again with the same credential does not help.
    #[error("{address} refused the connection: {reason}")]
    Refused {
        /// Where to.
        address: String,
        /// The CONNACK return code in words.
        reason: &'static str,
    },
    /// The connection ended or the server broke the protocol; trying again can help.
    #[error("connection to {address} broke: {reason}")]
    Broken {
        /// Where to.
        address: String,
        /// What happened.
        reason: String,
    },
}

impl ClientError {
    /// Whether a new connection can help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// What came from the server.
#[derive(Debug)]
pub(crate) enum Event {
    /// A publication is durable.
    Acknowledged(NonZeroU16),
    /// A message of a subscribed topic.
    Message { topic: String, payload: Bytes },
    /// Anything else worth knowing that the line is alive.
    Alive,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    framed: Framed<TlsStream<TcpStream>, Codec>,
    address: String,
    next_id: u16,
}

impl Client {
    /// Connects and waits for the server's consent.
    pub(crate) async fn connect(
        endpoint: &Endpoint,
        client_id: &str,
        token: &Secret<String>,
    ) -> Result<Self, ClientError> {
        let address = endpoint.address.clone();
        let unreachable =
            |source| ClientError::Unreachable { address: endpoint.address.clone(), source };
        let late = || unreachable(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let open = async {
            let tcp = TcpStream::connect(&endpoint.address).await?;
            tcp.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(&endpoint.tls));
            connector.connect(endpoint.server_name.clone(), tcp).await
        };
        let stream =
            timeout(ANSWER_WITHIN, open).await.map_err(|_| late())?.map_err(unreachable)?;
        let framed = Framed::new(stream, Codec::new(PACKET_BYTES_MAX));
        let mut client = Self { framed, address, next_id: 0 };
        let connect = Connect {
            protocol: Protocol(4),
            clean_session: true,
            keep_alive: u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
            client_id: client_id.into(),
            username: Some(token.expose().as_str().into()),
            ..Connect::default()
        };
        client.send(connect.into()).await?;
        match client.answer().await? {
            Packet::ConnectAck(ack) if ack.return_code == ConnectAckReason::ConnectionAccepted => {
                Ok(client)
            }
            Packet::ConnectAck(ack) => Err(ClientError::Refused {
                address: client.address,
                reason: ack.return_code.reason(),
            }),
            _ => Err(client.broken("the server's first packet is not a CONNACK")),
        }
    }

    /// Subscribes at QoS 1 and waits for the server's consent.
    pub(crate) async fn subscribe(&mut self, filters: &[&str]) -> Result<(), ClientError> {
        let packet_id = self.take_id();
        let topic_filters =
            filters.iter().map(|filter| ((*filter).into(), QoS::AtLeastOnce)).collect();
        self.send(Packet::Subscribe { packet_id, topic_filters }).await?;
        loop {
            // Messages of the first filter may overtake the acknowledgement.
            if let Packet::SubscribeAck { packet_id: acknowledged, status } = self.answer().await?
                && acknowledged == packet_id
            {
                return if status.contains(&SubscribeReturnCode::Failure) {
                    Err(self.broken("the server refused a subscription"))
                } else {
                    Ok(())
                };
            }
        }
    }

    /// Sends a publication; its acknowledgement comes as an [`Event`].
    pub(crate) async fn publish(
        &mut self,
        topic: &str,
        payload: Bytes,
    ) -> Result<NonZeroU16, ClientError> {
        let packet_id = self.take_id();
        let publish = Publish {
            dup: false,
            retain: false,
            qos: QoS::AtLeastOnce,
            topic: topic.into(),
            packet_id: Some(packet_id),
            payload,
            properties: None,
        };
        self.send(publish.into()).await?;
        Ok(packet_id)
    }

    /// Keeps an idle line open.
    pub(crate) async fn ping(&mut self) -> Result<(), ClientError> {
        self.send(Packet::PingRequest).await
    }

    /// The next thing from the server. Can be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Result<Event, ClientError> {
        match self.read().await? {
            Packet::PublishAck { packet_id } => Ok(Event::Acknowledged(packet_id)),
            Packet::Publish(publish) => {
                if let (QoS::AtLeastOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
                    self.send(Packet::PublishAck { packet_id }).await?;
                }
                Ok(Event::Message { topic: publish.topic.to_string(), payload: publish.payload })
            }
            _ => Ok(Event::Alive),
        }
    }

    /// Says goodbye. What is not acknowledged by now may be lost.
    pub(crate) async fn close(mut self) {
        let farewell = async {
            let _ = self.framed.send(Packet::Disconnect).await;
            let _ = self.framed.close().await;
        };
        let _ = timeout(Duration::from_secs(2), farewell).await;
    }

    /// An error of this connection.
    pub(crate) fn broken(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Broken { address: self.address.clone(), reason: reason.into() }
    }

    fn take_id(&mut self) -> NonZeroU16 {
        self.next_id = if self.next_id == u16::MAX { 1 } else { self.next_id + 1 };
        NonZeroU16::new(self.next_id).unwrap_or(NonZeroU16::MIN)
    }

    async fn send(&mut self, packet: Packet) -> Result<(), ClientError> {
        let result = timeout(ANSWER_WITHIN, self.framed.send(packet)).await;
        match result {
            Ok(sent) => sent.map_err(|error: EncodeError| self.broken(error.to_string())),
            Err(_) => Err(self.broken("the server does not read")),
        }
    }

    async fn answer(&mut self) -> Result<Packet, ClientError> {
        let late = self.broken("the server does not answer");
        timeout(ANSWER_WITHIN, self.read()).await.unwrap_or(Err(late))
    }

    async fn read(&mut self) -> Result<Packet, ClientError> {
        match self.framed.next().await {
            Some(Ok((packet, _))) => Ok(packet),
            Some(Err(error)) => {
                let error: DecodeError = error;
                Err(self.broken(error.to_string()))
            }
            None => Err(self.broken("the server closed it")),
        }
    }
}

/// Waiting times between attempts: doubled from one second up to a bound.
#[derive(Debug)]
pub(crate) struct BackOff {
    attempts: u32,
}

impl BackOff {
    /// Longest wait between two attempts.
    const WAIT_MAX: Duration = Duration::from_secs(30);

    pub(crate) const fn new() -> Self {
        Self { attempts: 0 }
    }

    pub(crate) const fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How many attempts failed in a row.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next wait; `share` in 0 .. 1 spreads clients that failed together.
    pub(crate) fn wait(&mut self, share: f64) -> Duration {
        let doubled = Duration::from_secs(1) * 2u32.saturating_pow(self.attempts.min(8));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(Self::WAIT_MAX).mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_again() {
        let mut back_off = BackOff::new();
        let waits: Vec<u64> = (0..7).map(|_| back_off.wait(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        back_off.reset();
        assert_eq!(back_off.wait(0.0), Duration::from_millis(500));
    }
}

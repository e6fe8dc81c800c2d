//! The MQTT client of the way down: one session as the gateway, over TLS, at QoS 1. The platform
//! keeps nothing of it across connections, and there is no way to connect without TLS.

use std::num::NonZeroU16;
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
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The keep-alive that is promised to the platform.
const KEEP_ALIVE_SECONDS: u16 = 60;

/// Where the platform listens for MQTT over TLS, and with what the gateway comes in.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) name: ServerName<'static>,
    pub(super) connector: TlsConnector,
    pub(super) token: Secret<String>,
}

/// What came from the platform.
pub(super) enum Event {
    /// It has a publication.
    Acknowledged(NonZeroU16),
    /// A message, to be acknowledged when it was taken.
    Message { topic: String, payload: Bytes, packet_id: Option<NonZeroU16> },
    /// Anything else: the line is alive.
    Alive,
}

/// One connection.
pub(super) struct Client {
    framed: Framed<TlsStream<TcpStream>, Codec>,
    next_id: u16,
}

impl Client {
    /// Connects and waits for the platform's consent.
    pub(super) async fn connect(target: &Target, client_id: &str) -> Result<Self, String> {
        let open = async {
            let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
            tcp.set_nodelay(true)?;
            target.connector.connect(target.name.clone(), tcp).await
        };
        let stream = timeout(ANSWER_WITHIN, open).await;
        let stream = stream.map_err(|_| "no connection in time".to_owned())?;
        let stream = stream.map_err(|error| error.to_string())?;
        let framed = Framed::new(stream, Codec::new(PACKET_BYTES_MAX));
        let mut client = Self { framed, next_id: 0 };
        let connect = Connect {
            protocol: Protocol(4),
            clean_session: true,
            keep_alive: KEEP_ALIVE_SECONDS,
            client_id: client_id.into(),
            username: Some(target.token.expose().as_str().into()),
            ..Connect::default()
        };
        client.send(connect.into()).await?;
        match client.answer().await? {
            Packet::ConnectAck(ack) if ack.return_code == ConnectAckReason::ConnectionAccepted => {
                Ok(client)
            }
            Packet::ConnectAck(ack) => Err(format!("not let in: {}", ack.return_code.reason())),
            _ => Err("the first packet is not a CONNACK".to_owned()),
        }
    }

    /// Subscribes at QoS 1 and waits for the platform's consent. What comes before it is of nobody
    /// yet: nothing was asked for.
    pub(super) async fn subscribe(&mut self, filters: &[&str]) -> Result<(), String> {
        let packet_id = self.take_id();
        let topic_filters =
            filters.iter().map(|filter| ((*filter).into(), QoS::AtLeastOnce)).collect();
        self.send(Packet::Subscribe { packet_id, topic_filters }).await?;
        loop {
            if let Packet::SubscribeAck { packet_id: acknowledged, status } = self.answer().await?
                && acknowledged == packet_id
            {
                return if status.contains(&SubscribeReturnCode::Failure) {
                    Err("a subscription was refused: is this device a gateway?".to_owned())
                } else {
                    Ok(())
                };
            }
        }
    }

    /// Sends a publication; its acknowledgement comes as an [`Event`].
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        payload: String,
    ) -> Result<NonZeroU16, String> {
        let packet_id = self.take_id();
        let publish = Publish {
            dup: false,
            retain: false,
            qos: QoS::AtLeastOnce,
            topic: topic.into(),
            packet_id: Some(packet_id),
            payload: Bytes::from(payload),
            properties: None,
        };
        self.send(publish.into()).await?;
        Ok(packet_id)
    }

    /// A message was taken.
    pub(super) async fn acknowledge(&mut self, packet_id: NonZeroU16) -> Result<(), String> {
        self.send(Packet::PublishAck { packet_id }).await
    }

    /// Keeps an idle line open.
    pub(super) async fn ping(&mut self) -> Result<(), String> {
        self.send(Packet::PingRequest).await
    }

    /// The next thing from the platform. May be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Result<Event, String> {
        Ok(match self.read().await? {
            Packet::PublishAck { packet_id } => Event::Acknowledged(packet_id),
            Packet::Publish(publish) => Event::Message {
                topic: publish.topic.to_string(),
                payload: publish.payload,
                packet_id: publish.packet_id,
            },
            _ => Event::Alive,
        })
    }

    fn take_id(&mut self) -> NonZeroU16 {
        self.next_id = if self.next_id == u16::MAX { 1 } else { self.next_id + 1 };
        NonZeroU16::new(self.next_id).unwrap_or(NonZeroU16::MIN)
    }

    async fn send(&mut self, packet: Packet) -> Result<(), String> {
        match timeout(ANSWER_WITHIN, self.framed.send(packet)).await {
            Ok(sent) => sent.map_err(|error: EncodeError| error.to_string()),
            Err(_) => Err("the platform does not read".to_owned()),
        }
    }

    async fn answer(&mut self) -> Result<Packet, String> {
        let answered = timeout(ANSWER_WITHIN, self.read()).await;
        answered.unwrap_or_else(|_| Err("the platform does not answer".to_owned()))
    }

    async fn read(&mut self) -> Result<Packet, String> {
        match self.framed.next().await {
            Some(Ok((packet, _))) => Ok(packet),
            Some(Err(error)) => {
                let error: DecodeError = error;
                Err(error.to_string())
            }
            None => Err("the platform closed it".to_owned()),
        }
    }
}

//! The other end for tests: a TLS listener that speaks just enough MQTT 3.1.1 to consent, to
//! acknowledge, to remember what was published, to ask one RPC, and to break connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v3::{Codec, ConnectAck, ConnectAckReason, Packet, SubscribeReturnCode};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::Framed;
use veritwin_simulator::Endpoint;

/// What a client published: its token, topic and body.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) token: String,
    pub(crate) topic: String,
    pub(crate) body: serde_json::Value,
}

/// How the broker behaves.
#[derive(Debug, Default, Clone)]
pub(crate) struct Behaviour {
    /// Tokens that are refused.
    pub(crate) refuses: Vec<&'static str>,
    /// Asks this method of each client with this token once it has subscribed.
    pub(crate) asks: HashMap<&'static str, serde_json::Value>,
    /// The first connection is cut at this many publications, the last of them unacknowledged.
    pub(crate) cuts_first_at: Option<usize>,
}

/// Starts the broker; it ends with the runtime of the test.
pub(crate) async fn start(behaviour: Behaviour) -> (Endpoint, mpsc::UnboundedReceiver<Published>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("issued");
    let certificate = issued.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address").to_string();
    let (heard, published) = mpsc::unbounded_channel();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let connections = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(tcp).await else { continue };
            let framed = Framed::new(stream, Codec::new(1024 * 1024));
            let number = connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(framed, behaviour.clone(), heard.clone(), number));
        }
    });
    let server_name = ServerName::try_from("localhost").expect("a name");
    (Endpoint { address, server_name, tls: Arc::new(client) }, published)
}

type Line = Framed<tokio_rustls::server::TlsStream<tokio::net::TcpStream>, Codec>;

async fn serve(
    mut line: Line,
    behaviour: Behaviour,
    heard: mpsc::UnboundedSender<Published>,
    number: usize,
) {
    let mut token = String::new();
    let mut count = 0;
    while let Some(Ok((packet, _))) = line.next().await {
        match packet {
            Packet::Connect(connect) => {
                token = connect.username.map(|name| name.to_string()).unwrap_or_default();
                let is_refused = behaviour.refuses.contains(&token.as_str());
                let return_code = if is_refused {
                    ConnectAckReason::NotAuthorized
                } else {
                    ConnectAckReason::ConnectionAccepted
                };
                let ack = ConnectAck { return_code, session_present: false };
                line.send(Packet::ConnectAck(ack)).await.expect("sent");
            }
            Packet::Subscribe { packet_id, topic_filters } => {
                let status =
                    vec![SubscribeReturnCode::Success(QoS::AtLeastOnce); topic_filters.len()];
                line.send(Packet::SubscribeAck { packet_id, status }).await.expect("sent");
                if let Some(ask) = behaviour.asks.get(token.as_str()) {
                    let publish = Publish {
                        dup: false,
                        retain: false,
                        qos: QoS::AtMostOnce,
                        topic: "v1/devices/me/rpc/request/7".into(),
                        packet_id: None,
                        payload: Bytes::from(ask.to_string()),
                        properties: None,
                    };
                    line.send(publish.into()).await.expect("sent");
                }
            }
            Packet::Publish(publish) => {
                count += 1;
                let body = serde_json::from_slice(&publish.payload).expect("JSON");
                let topic = publish.topic.to_string();
                let _ = heard.send(Published { token: token.clone(), topic, body });
                if number == 0 && behaviour.cuts_first_at == Some(count) {
                    return;
                }
                let packet_id = publish.packet_id.expect("QoS 1");
                let _ = line.send(Packet::PublishAck { packet_id }).await;
            }
            Packet::Disconnect => return,
            _ => {}
        }
    }
}

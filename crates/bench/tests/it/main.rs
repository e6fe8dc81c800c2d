//! The MQTT benchmark against the ingest broker over TLS, briefly: the figures are not judged,
//! only that everything that was sent is acknowledged, stored and counted.

mod load;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use veritwin_bench::{Better, Cell, CellOptions, MOSQUITTO, PeerCertificate, cell};
use veritwin_domain::{
    CredentialId, DeviceId, IngestLimits, RelayMessage, Secret, SeededRng, SystemClock, TenantId,
};
use veritwin_ingest::mqtt::{Broker, BrokerParts, RETAINED_PAGE_MESSAGES_MAX, topic_matches};
use veritwin_ingest::{
    Arrivals, Credential, DeviceSession, EntryRefused, Login, LoginError, Origin, PeerInfo, Sink,
    SinkEntry, SubmitError, Transport, Writer, WriterSession,
};

#[derive(Default)]
struct Counter {
    arrivals: Arrivals,
    readings: AtomicU64,
    kept: Mutex<BTreeMap<Arc<str>, Arc<RelayMessage>>>,
}

#[async_trait]
impl Login for Counter {
    async fn authenticate(
        &self,
        credential: Credential,
        _: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        match credential {
            Credential::Token(token) if token.expose() == "token" => {
                let (tenant, device) =
                    (TenantId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
                let credential = CredentialId::from_bytes([3; 16]);
                Ok(Arc::new(DeviceSession::new(tenant, device, credential)))
            }
            _ => Err(LoginError::Unknown),
        }
    }

    async fn authenticate_writer(
        &self,
        _: Secret<String>,
        _: &PeerInfo,
    ) -> Result<Writer, LoginError> {
        Err(LoginError::Unknown)
    }

    async fn devices_by_name(
        &self,
        _: &WriterSession,
        _: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError> {
        Err(LoginError::Unknown)
    }
}

#[async_trait]
impl Sink for Counter {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        _: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        for entry in entries {
            match entry {
                SinkEntry::Readings(batch) => {
                    self.readings.fetch_add(batch.readings.len() as u64, Ordering::Relaxed);
                }
                SinkEntry::Relay { message, .. } if message.retain => {
                    let topic = Arc::clone(&message.topic);
                    self.kept.lock().expect("no test panicked").insert(topic, message);
                }
                SinkEntry::Relay { .. } => {}
                other => panic!("neither a reading nor a message: {other:?}"),
            }
        }
        Ok(Vec::new())
    }

    async fn retained(
        &self,
        _: &DeviceSession,
        filter: &str,
        after: Option<Arc<str>>,
    ) -> Result<Vec<Arc<RelayMessage>>, SubmitError> {
        let kept = self.kept.lock().expect("no test panicked");
        let matching = kept.iter().filter(|(topic, _)| {
            topic_matches(filter, topic) && after.as_ref().is_none_or(|after| *topic > after)
        });
        let page = matching.take(RETAINED_PAGE_MESSAGES_MAX);
        Ok(page.map(|(_, message)| Arc::clone(message)).collect())
    }
}

struct Server {
    address: String,
    /// Without TLS.
    plain: String,
    ca_pem: String,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
    counter: Arc<Counter>,
}

async fn serve() -> Server {
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], PrivateKeyDer::from(key))
        .expect("a configuration");
    let counter = Arc::new(Counter::default());
    let broker = Broker::new(BrokerParts {
        login: Arc::clone(&counter) as Arc<dyn Login>,
        sink: Arc::clone(&counter) as Arc<dyn Sink>,
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SeededRng::new(1)),
        limits: IngestLimits::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let plain_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let plain = plain_listener.local_addr().expect("an address").to_string();
    let plain_broker = Arc::clone(&broker);
    tokio::spawn(async move {
        while let Ok((tcp, address)) = plain_listener.accept().await {
            let broker = Arc::clone(&plain_broker);
            tokio::spawn(async move {
                broker.serve(tcp, PeerInfo::new(Some(address), Transport::Mqtt3)).await;
            });
        }
    });
    tokio::spawn(async move {
        while let Ok((tcp, address)) = listener.accept().await {
            let (acceptor, broker) = (acceptor.clone(), Arc::clone(&broker));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    broker.serve(stream, PeerInfo::new(Some(address), Transport::Mqtt3)).await;
                }
            });
        }
    });
    Server { address, plain, ca_pem: certificate.cert.pem(), certificate, counter }
}

fn options(server: &Server, token: &str) -> CellOptions {
    CellOptions {
        cell: Cell::Usual { connections: 4 },
        address: server.address.clone(),
        server_name: "localhost".to_owned(),
        ca_pem: server.ca_pem.clone().into_bytes(),
        tokens: vec![token.to_owned()],
        pid: std::process::id(),
        peer: None,
        retained_messages_max: 10,
        warm_up: Duration::from_millis(50),
        duration: Duration::from_millis(200),
        clock: Arc::new(SystemClock::new()),
    }
}

#[tokio::test]
async fn the_figures_are_there_and_all_messages_arrived() {
    let server = serve().await;
    let mut options = options(&server, "token");
    let files = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate, &server.ca_pem).expect("written");
    std::fs::write(&key, server.certificate.signing_key.serialize_pem()).expect("written");
    options.peer = Some(PeerCertificate { certificate, key });

    let entries = cell(&options).await.expect("figures");
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "mqtt.qos1.tls.durable.messages_per_s",
            "mqtt.qos1.tls.durable.cpu_s_per_million",
            "mqtt.qos1.tls.durable.ack_p50_ms",
            "mqtt.qos1.tls.durable.ack_p99_ms",
            "mqtt.qos1.tls.durable.half_load.ack_p99_ms",
        ]
    );
    assert_eq!(entries[0].better, Better::Higher);
    assert!(entries[0].value > 0.0, "{entries:?}");
    let has_peer = entries[0].peer.is_some();
    assert_eq!(has_peer, std::path::Path::new(MOSQUITTO).exists(), "{entries:?}");
    // Each message carries ts and four values.
    let readings = server.counter.readings.load(Ordering::Relaxed);
    assert_eq!(readings % 4, 0);
    assert!(readings as f64 / 4.0 >= entries[0].value * 0.15);
}

#[tokio::test]
async fn a_wrong_token_is_named() {
    let server = serve().await;
    let error = cell(&options(&server, "wrong")).await.expect_err("refused");
    assert!(format!("{error:#}").contains("CONNACK return code 4"), "{error:#}");
}

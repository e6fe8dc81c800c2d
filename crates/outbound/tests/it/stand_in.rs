//! A stand-in for a service that cannot be installed: a TLS server on loopback that answers each
//! request by a function and keeps what it was asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{AddressList, ManualClock, Secret, Timestamp};
use veritwin_keys::{KeyProvider, ProviderConnector, ProviderKind, ProviderSettings, SystemRng};
use veritwin_outbound::guard::{Guard, GuardPolicy, GuardedClient};
use veritwin_outbound::key_services::KeyServices;
use veritwin_outbound::register::EgressRegister;

/// Far more than an answer on loopback takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every clock of these tests shows.
pub(crate) const NOW: &str = "2026-03-01T08:00:00Z";

/// A request as the stand-in read it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) raw: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value)
    }
}

/// What the stand-in does with a request: status and body. The log keeps what it was asked.
type Answers = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

pub(crate) struct StandIn {
    pub(crate) port: u16,
    pub(crate) authority_pem: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

fn read(bytes: &[u8]) -> Option<Asked> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let raw = bytes[end + 4..].to_vec();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    if raw.len() < length {
        return None;
    }
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    Some(Asked { method, path, headers, body, raw })
}

/// A TLS server that answers each request by a function.
pub(crate) async fn stand_in(
    answers: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
) -> StandIn {
    let answers: Arc<Answers> = Arc::new(answers);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(stream).await else { continue };
            let (mut bytes, mut part) = (Vec::new(), [0u8; 4096]);
            let request = loop {
                match tls.read(&mut part).await {
                    Ok(count) if count > 0 => bytes.extend_from_slice(&part[..count]),
                    _ => break None,
                }
                if let Some(request) = read(&bytes) {
                    break Some(request);
                }
            };
            let Some(request) = request else { continue };
            let (status, body) = answers(&request);
            log.lock().push(request);
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = tls.write_all(answer.as_bytes()).await;
            let _ = tls.shutdown().await;
        }
    });
    StandIn { port, authority_pem: made.cert.pem(), asked }
}

/// Clients that call this port of this machine, and their register.
pub(crate) fn services(port: u16, modules: Vec<PathBuf>) -> (KeyServices, Arc<EgressRegister>) {
    let register = Arc::new(EgressRegister::default());
    let allowed = AddressList::parse(&["127.0.0.0/8", "::1"]).expect("list");
    let guard = Guard::new(GuardPolicy { allowed, ports: vec![port] });
    let client = GuardedClient::new(guard, Arc::clone(&register), None).expect("client");
    let now = Timestamp::parse_rfc3339(NOW).expect("a moment");
    let clock = Arc::new(ManualClock::new(now));
    let rng = Arc::new(SystemRng);
    let services = KeyServices::new(Arc::new(client), Arc::clone(&register), modules, clock, rng);
    (services.with_timeout(PATIENCE), register)
}

impl StandIn {
    pub(crate) fn settings(&self, kind: ProviderKind) -> ProviderSettings {
        ProviderSettings {
            kind,
            address: format!("https://localhost:{}", self.port),
            key: "k".to_owned(),
            place: None,
            user: None,
            credential: Some(Secret::new("hvs.token".to_owned())),
            trust: Some(self.authority_pem.clone()),
        }
    }

    pub(crate) fn connect(&self, settings: &ProviderSettings) -> Arc<dyn KeyProvider> {
        services(self.port, Vec::new()).0.connect(settings).expect("settings")
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked.lock().last().cloned().expect("it was asked")
    }
}

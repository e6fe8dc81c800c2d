//! P23: every listener is spoken to in plain text and with TLS 1.0 and 1.1, which it must not
//! answer, and with TLS 1.2 and 1.3, which it must. What is said in
//! clear and in old protocols is in `opening`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use veritwin_app::{App, PlatformProbe, ProbeAnswer};
use veritwin_domain::Clock;

use super::Wiring;
use super::opening::{OLD, PLAIN, Reply, old_hello};
use super::words;
use crate::controls::Controls;

const PROMISE: u8 = 23;
const VERSION: u32 = 1;
/// A listener answers, or hangs up, within this time.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// More of an answer is not needed to see what it is.
const ANSWER_BYTES: usize = 64;
/// How a listener's certificate is judged.
#[derive(Clone)]
enum Trust {
    /// It comes from the platform's authority and carries the name.
    Authority(Arc<WebPkiServerVerifier>),
    /// The listener holds the key of whatever certificate it shows.
    Possession,
}

#[derive(Clone)]
struct Target {
    name: &'static str,
    address: String,
    trust: Trust,
    /// It turns away whoever shows no certificate, after it has shown its own.
    wants_certificate: bool,
}

pub(super) struct Transport {
    app: App,
    targets: Result<Vec<Target>, String>,
    server_name: String,
    controls: Arc<Controls>,
}

impl Target {
    /// Where it is now: the archive may move when it starts again.
    fn moved(&self, archive: Option<String>) -> Self {
        match archive {
            Some(address) if self.wants_certificate => Self { address, ..self.clone() },
            _ => self.clone(),
        }
    }
}

async fn connect(target: &Target) -> Result<TcpStream, String> {
    let name = target.name;
    match tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(&target.address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::warn!(listener = name, address = %target.address, "no connection for a check");
            Err(words::io(&format!("listener {name}"), &error))
        }
        Err(_) => {
            tracing::warn!(listener = name, address = %target.address, "no answer to a check");
            Err(format!("listener {name}: it does not take the connection"))
        }
    }
}

/// Sends bytes and looks at what comes back first.
async fn offer(target: &Target, bytes: &[u8]) -> Result<Reply, String> {
    let mut stream = connect(target).await?;
    if stream.write_all(bytes).await.is_err() {
        return Ok(Reply::Closed);
    }
    let mut answer = Vec::new();
    let mut buffer = [0u8; ANSWER_BYTES];
    loop {
        match tokio::time::timeout(STEP_TIMEOUT, stream.read(&mut buffer)).await {
            Err(_) if answer.is_empty() => return Ok(Reply::Silence),
            // A reset is a close.
            Err(_) | Ok(Err(_) | Ok(0)) => return Ok(Reply::of(&answer)),
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
        }
        // An alert is seven bytes long.
        if answer.len() >= 7 {
            return Ok(Reply::of(&answer));
        }
    }
}

/// Certificates are judged by the platform's own clock, which may be a simulated one.
#[derive(Debug)]
struct PlatformTime(Arc<dyn Clock>);

impl TimeProvider for PlatformTime {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.now().as_micros()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// Verifies as the trust says, and notes when the listener has proven that it holds the key: then
/// it has taken up the version that was offered.
struct Witness {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    proven: AtomicBool,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl Witness {
    fn note(
        &self,
        verified: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if verified.is_ok() {
            self.proven.store(true, Ordering::SeqCst);
        }
        verified
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Authority(authority) => authority.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            Trust::Possession => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        self.note(verify_tls12_signature(message, cert, dss, schemes))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        self.note(verify_tls13_signature(message, cert, dss, schemes))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn authority(ca_pem: &str) -> Result<Trust, String> {
    const UNUSABLE: &str = "the platform's own authority cannot be used";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| ProbeAnswer::instead(UNUSABLE, &error))?;
        roots.add(certificate).map_err(|error| ProbeAnswer::instead(UNUSABLE, &error))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map(Trust::Authority)
        .map_err(|error| ProbeAnswer::instead(UNUSABLE, &error))
}

/// Where a client on this host reaches a listener that may listen everywhere.
pub(crate) fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::from((ip, address.port())).to_string()
}

fn targets(wiring: &Wiring) -> Result<Vec<Target>, String> {
    let own = if wiring.own_certificate { Trust::Possession } else { authority(&wiring.ca_pem)? };
    let target = |name, address, trust, wants_certificate| Target {
        name,
        address,
        trust,
        wants_certificate,
    };
    Ok(vec![
        target("https", reachable(wiring.https_address), own.clone(), false),
        target("mqtts", reachable(wiring.mqtts_address), own, false),
        // Its certificate is pinned by the platform's own connection to it.
        target("archive", wiring.archive_address.clone(), Trust::Possession, true),
    ])
}

/// How a client on this host begins TLS with the HTTPS listener, by HTTP/1.1.
pub(super) fn client_config(app: &App, wiring: &Wiring) -> Result<Arc<ClientConfig>, String> {
    let trust = if wiring.own_certificate { Trust::Possession } else { authority(&wiring.ca_pem)? };
    let proven = AtomicBool::new(false);
    let witness = Arc::new(Witness { trust, provider: provider(), proven });
    let time = Arc::new(PlatformTime(app.shared_clock()));
    let mut config = ClientConfig::builder_with_details(provider(), time)
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeAnswer::instead("TLS cannot be set up", &error))?
        .dangerous()
        .with_custom_certificate_verifier(witness)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is wrong with a listener.
struct Broken {
    listener: &'static str,
    problem: String,
}

impl Transport {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self {
            app: app.clone(),
            targets: targets(wiring),
            server_name: wiring.server_name.clone(),
            controls: Arc::clone(&wiring.controls),
        }
    }

    /// Whether a listener takes up exactly this version.
    async fn shakes_hands(
        &self,
        target: &Target,
        version: &'static SupportedProtocolVersion,
    ) -> Result<bool, String> {
        let witness = Arc::new(Witness {
            trust: target.trust.clone(),
            provider: provider(),
            proven: AtomicBool::new(false),
        });
        let time = Arc::new(PlatformTime(self.app.shared_clock()));
        let config = ClientConfig::builder_with_details(provider(), time)
            .with_protocol_versions(&[version])
            .map_err(|error| ProbeAnswer::instead("TLS cannot be set up", &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Witness>::clone(&witness))
            .with_no_client_auth();
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|error| ProbeAnswer::instead("the server's name is none", &error))?;
        let stream = connect(target).await?;
        let connector = TlsConnector::from(Arc::new(config));
        let shaken = tokio::time::timeout(STEP_TIMEOUT, connector.connect(name, stream)).await;
        let is_complete = matches!(shaken, Ok(Ok(_)));
        let is_proven = witness.proven.load(Ordering::SeqCst);
        Ok(is_proven && (is_complete || target.wants_certificate))
    }

    /// What is seen of one listener, in words, or what is wrong with it.
    async fn look(&self, target: &Target) -> Result<Result<String, Broken>, String> {
        let broken = |problem: String| Ok(Err(Broken { listener: target.name, problem }));
        let mut seen = Vec::new();
        for (what, bytes) in PLAIN {
            let reply = offer(target, bytes).await?;
            if matches!(reply, Reply::Other | Reply::Handshake) {
                return broken(format!("{what} is answered"));
            }
            seen.push(format!("{what}: {}", reply.text()));
        }
        for (what, minor) in OLD {
            let reply = offer(target, &old_hello(minor, self.app.rng())).await?;
            if !matches!(reply, Reply::Closed | Reply::Alert(_)) {
                return broken(format!("{what} is not refused: {}", reply.text()));
            }
            seen.push(format!("{what}: {}", reply.text()));
        }
        for (what, version) in
            [("TLS 1.2", &rustls::version::TLS12), ("TLS 1.3", &rustls::version::TLS13)]
        {
            if !self.shakes_hands(target, version).await? {
                return broken(format!("{what} is refused"));
            }
            seen.push(format!("{what}: accepted"));
        }
        Ok(Ok(seen.join("; ")))
    }

    async fn look_at_all(&self) -> Result<ProbeAnswer, String> {
        let known: Vec<Target> = self
            .targets
            .as_ref()
            .map_err(Clone::clone)?
            .iter()
            .map(|target| target.moved(self.app.archive_address()))
            .collect();
        let sabotaged = sabotage::plaintext_listener(&self.controls).await;
        let mut facts = Vec::new();
        let mut broken = None;
        for target in known.iter().chain(sabotaged.as_ref().map(|listener| &listener.target)) {
            match self.look(target).await? {
                Ok(seen) => facts.push((target.name.to_owned(), seen)),
                Err(found) => {
                    facts.push((target.name.to_owned(), found.problem.clone()));
                    broken.get_or_insert(found);
                }
            }
        }
        let listeners = facts.len();
        Ok(match broken {
            None => ProbeAnswer::Passed {
                summary: format!(
                    "All {listeners} listeners refuse plain text, TLS 1.0 and 1.1, and take \
                     TLS 1.2 and 1.3."
                ),
                facts,
            },
            Some(Broken { listener, problem }) => ProbeAnswer::Failed {
                summary: format!("Listener {listener}: {problem}."),
                facts,
                place: format!("listener {listener}"),
            },
        })
    }
}

#[async_trait]
impl PlatformProbe for Transport {
    fn promise(&self) -> u8 {
        PROMISE
    }

    fn version(&self) -> u32 {
        VERSION
    }

    async fn check(&self) -> ProbeAnswer {
        self.look_at_all().await.unwrap_or_else(ProbeAnswer::CouldNotRun)
    }
}

/// The sabotage twin: a listener that speaks plain text, open while the check runs.
mod sabotage {
    use super::{Controls, Target};

    pub(super) struct Listener {
        pub(super) target: Target,
        #[cfg(feature = "test-controls")]
        _task: tokio_util::task::AbortOnDropHandle<()>,
    }

    #[cfg(feature = "test-controls")]
    pub(super) async fn plaintext_listener(controls: &Controls) -> Option<Listener> {
        use tokio::io::AsyncWriteExt;
        if !controls.is_broken(super::PROMISE) {
            return None;
        }
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.ok()?;
        let address = socket.local_addr().ok()?.to_string();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = socket.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        Some(Listener {
            target: Target {
                name: "plain",
                address,
                trust: super::Trust::Possession,
                wants_certificate: false,
            },
            _task: tokio_util::task::AbortOnDropHandle::new(task),
        })
    }

    #[cfg(not(feature = "test-controls"))]
    pub(super) async fn plaintext_listener(_controls: &Controls) -> Option<Listener> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_listener_on_every_address_is_reached_on_this_host() {
        let check = |from: &str, expect: &str| {
            assert_eq!(reachable(from.parse().expect("address")), expect);
        };
        check("0.0.0.0:8443", "127.0.0.1:8443");
        check("[::]:8443", "[::1]:8443");
        check("192.0.2.1:8883", "192.0.2.1:8883");
    }
}

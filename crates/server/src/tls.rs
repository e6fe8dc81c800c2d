//! TLS 1.2 and 1.3 for every listener, with a certificate that can be replaced while running.
//! There is no plaintext listener, but for a benchmark's own, and no older protocol.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use veritwin_domain::Timestamp;

use crate::client_certificates::ShownCertificates;
use crate::pki::Identity;

/// The protocol of the TLS-ALPN-01 challenge (RFC 8737).
pub(crate) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// The certificates in use, replaced without dropping a connection: one for every host name that
/// has its own, and one for all others. Beside them the answers to an authority's challenges, which
/// are shown to nobody who does not ask for them by protocol and name.
#[derive(Debug)]
pub(crate) struct CurrentCertificate {
    key: RwLock<Arc<CertifiedKey>>,
    not_after: RwLock<Timestamp>,
    own_names: HashSet<String>,
    hosts: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    challenges: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// The answer to a challenge; in place until this goes.
#[derive(Debug)]
pub(crate) struct ChallengeAnswer {
    current: Arc<CurrentCertificate>,
    host: String,
}

impl Drop for ChallengeAnswer {
    fn drop(&mut self) {
        self.current.challenges.write().remove(&self.host);
    }
}

impl CurrentCertificate {
    /// `own_names` are the platform's: no host name's certificate answers for them.
    pub(crate) fn new(identity: Identity, own_names: &[String]) -> anyhow::Result<Arc<Self>> {
        let not_after = identity.not_after;
        let key = certified(&identity)?;
        Ok(Arc::new(Self {
            key: RwLock::new(key),
            not_after: RwLock::new(not_after),
            own_names: own_names.iter().cloned().collect(),
            hosts: RwLock::default(),
            challenges: RwLock::default(),
        }))
    }

    /// Takes a new certificate into use for all handshakes from now on.
    pub(crate) fn replace(&self, identity: Identity) -> anyhow::Result<()> {
        let not_after = identity.not_after;
        *self.key.write() = certified(&identity)?;
        *self.not_after.write() = not_after;
        Ok(())
    }

    /// Takes the certificates of host names into use, exactly these. One that cannot be used is
    /// left out and its name told.
    pub(crate) fn replace_hosts(&self, identities: Vec<(String, Identity)>) {
        let mut hosts = HashMap::new();
        for (host, identity) in identities {
            match certified(&identity) {
                Ok(key) => {
                    hosts.insert(host, key);
                }
                Err(error) => tracing::error!(host, %error, "a host name's certificate is unused"),
            }
        }
        *self.hosts.write() = hosts;
    }

    /// Answers an authority's challenge for a host name, until what comes back goes.
    pub(crate) fn answer(
        self: &Arc<Self>,
        host: &str,
        identity: &Identity,
    ) -> anyhow::Result<ChallengeAnswer> {
        let host = host.to_ascii_lowercase();
        // Not compared: no parser here reads a certificate whose critical extension is a challenge.
        self.challenges.write().insert(host.clone(), Arc::new(paired(identity)?));
        Ok(ChallengeAnswer { current: Arc::clone(self), host })
    }

    /// How many host names have a certificate of their own.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.read().len()
    }

    /// Whether this is the certificate that answers for the platform's own names.
    pub(crate) fn is_leaf(&self, shown: &CertificateDer<'_>) -> bool {
        self.key.read().cert.first().is_some_and(|leaf| leaf.as_ref() == shown.as_ref())
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        *self.not_after.read()
    }
}

/// What TLS needs of an identity; refuses a key that is not the certificate's own.
pub(crate) fn certified(identity: &Identity) -> anyhow::Result<Arc<CertifiedKey>> {
    let certified = paired(identity)?;
    certified
        .keys_match()
        .map_err(|_| anyhow::anyhow!("the private key does not belong to the certificate"))?;
    Ok(Arc::new(certified))
}

fn paired(identity: &Identity) -> anyhow::Result<CertifiedKey> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&identity.key)
        .map_err(|_| anyhow::anyhow!("the private key is of a kind TLS cannot use"))?;
    Ok(CertifiedKey::new(identity.chain.clone(), key))
}

/// The platform's own certificate, whatever name is asked for: for listeners that serve no host
/// names of tenants.
#[derive(Debug)]
struct PlatformOnly(Arc<CurrentCertificate>);

impl ResolvesServerCert for PlatformOnly {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.key.read()))
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        if is_challenge(&hello) {
            return asked.and_then(|name| self.challenges.read().get(&name).map(Arc::clone));
        }
        let own = asked
            .filter(|name| !self.own_names.contains(name))
            .and_then(|name| self.hosts.read().get(&name).map(Arc::clone));
        Some(own.unwrap_or_else(|| Arc::clone(&self.key.read())))
    }
}

/// Whether somebody wants to see the answer to a challenge: this protocol and none that is served.
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let Some(protocols) = hello.alpn() else { return false };
    let mut asks = false;
    for protocol in protocols {
        match protocol {
            ACME_ALPN => asks = true,
            b"h2" | b"http/1.1" | b"mqtt" => return false,
            _ => {}
        }
    }
    asks
}

/// A configuration for the listener of HTTPS: host names answer with their own certificates.
pub(crate) fn web_config(
    certificate: &Arc<CurrentCertificate>,
    alpn: &[&[u8]],
) -> Arc<ServerConfig> {
    server_config(Arc::<CurrentCertificate>::clone(certificate), alpn)
}

/// A configuration for the listener of MQTT: devices of all tenants trust the platform alone, and
/// may show a certificate of their own.
pub(crate) fn device_config(certificate: &Arc<CurrentCertificate>) -> Arc<ServerConfig> {
    let resolver = Arc::new(PlatformOnly(Arc::clone(certificate)));
    configured(resolver, &[b"mqtt"], ShownCertificates::new())
}

fn server_config(resolver: Arc<dyn ResolvesServerCert>, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    configured(resolver, alpn, Arc::new(NoClientAuth))
}

fn configured(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
    clients: Arc<dyn ClientCertVerifier>,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_protocol_versions(&[
        &rustls::version::TLS13,
        &rustls::version::TLS12,
    ])
    .with_client_cert_verifier(clients)
    .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.send_half_rtt_data = false;
    Arc::new(config)
}

/// The operator's certificate files, watched by modification time.
#[derive(Debug)]
pub(crate) struct WatchedFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    seen: Option<(SystemTime, SystemTime)>,
}

impl WatchedFiles {
    pub(crate) fn new(certificate: PathBuf, private_key: PathBuf) -> Self {
        let mut files = Self { certificate, private_key, seen: None };
        files.seen = files.modified();
        files
    }

    fn modified(&self) -> Option<(SystemTime, SystemTime)> {
        let of = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        Some((of(&self.certificate)?, of(&self.private_key)?))
    }

    /// Whether both files are there and one changed since the last call that said so.
    pub(crate) fn changed(&mut self) -> bool {
        let now = self.modified();
        let changed = now.is_some() && now != self.seen;
        if changed {
            self.seen = now;
        }
        changed
    }
}

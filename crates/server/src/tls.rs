//! TLS 1.2 and 1.3 for every listener, with a certificate that can be replaced while running.
//! There is no plaintext listener and no older protocol.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use veritwin_domain::Timestamp;

use crate::pki::Identity;

/// The certificate in use; replaced without dropping a connection.
#[derive(Debug)]
pub(crate) struct CurrentCertificate {
    key: RwLock<Arc<CertifiedKey>>,
    not_after: RwLock<Timestamp>,
}

impl CurrentCertificate {
    pub(crate) fn new(identity: Identity) -> anyhow::Result<Arc<Self>> {
        let not_after = identity.not_after;
        let key = certified(&identity)?;
        Ok(Arc::new(Self { key: RwLock::new(key), not_after: RwLock::new(not_after) }))
    }

    /// Takes a new certificate into use for all handshakes from now on.
    pub(crate) fn replace(&self, identity: Identity) -> anyhow::Result<()> {
        let not_after = identity.not_after;
        *self.key.write() = certified(&identity)?;
        *self.not_after.write() = not_after;
        Ok(())
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        *self.not_after.read()
    }
}

/// What TLS needs of an identity; refuses a key that is not the certificate's own.
pub(crate) fn certified(identity: &Identity) -> anyhow::Result<Arc<CertifiedKey>> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&identity.key)
        .map_err(|_| anyhow::anyhow!("the private key is of a kind TLS cannot use"))?;
    let certified = CertifiedKey::new(identity.chain.clone(), key);
    certified
        .keys_match()
        .map_err(|_| anyhow::anyhow!("the private key does not belong to the certificate"))?;
    Ok(Arc::new(certified))
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read()))
    }
}

/// A server configuration for one listener.
pub(crate) fn server_config(
    certificate: &Arc<CurrentCertificate>,
    alpn: &[&[u8]],
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_protocol_versions(&[
        &rustls::version::TLS13,
        &rustls::version::TLS12,
    ])
    .with_no_client_auth()
    .with_cert_resolver(Arc::<CurrentCertificate>::clone(certificate));
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

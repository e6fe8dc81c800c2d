//! TLS of the archive client: TLS 1.2 or 1.3, own certificate, and a server that is recognised by
//! the SHA-256 fingerprint of its certificate or by one stated CA. There is no "accept anything".

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use veritwin_keys::{constant_time_eq, sha256};

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A PEM text holds no certificate or key, or a broken one.
    #[error("{what}: {problem}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// TLS refuses them.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
}

/// How the archive's certificate is recognised.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// SHA-256 over the certificate (DER), as handed over at pairing. Names and dates in the
    /// certificate do not matter then.
    Fingerprint([u8; 32]),
    /// PEM text of the CA that the certificate has to come from; the name has to match.
    Authority(String),
}

impl ServerTrust {
    /// Pins the first certificate of a PEM text.
    pub fn certificate_pem(pem: &str) -> Result<Self, TrustError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
            TrustError::Pem { what: "archive certificate", problem: error.to_string() }
        })?;
        Ok(Self::Fingerprint(sha256(&certificate)))
    }
}

/// The client's certificate chain and private key.
#[derive(Debug)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// From PEM texts.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, TrustError> {
        let pem = |what, problem: String| TrustError::Pem { what, problem };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
        let chain = chain.map_err(|error| pem("client certificate", error.to_string()))?;
        if chain.is_empty() {
            return Err(pem("client certificate", "no certificate in it".to_owned()));
        }
        // The parser's message could quote the key.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| pem("client key", "no usable private key in it".to_owned()))?;
        Ok(Self { chain, key })
    }

    /// Certificates and key.
    pub(crate) fn into_parts(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain, self.key)
    }
}

pub(super) fn connector(
    server: ServerTrust,
    identity: ClientIdentity,
) -> Result<TlsConnector, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match server {
        ServerTrust::Fingerprint(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider })),
        ServerTrust::Authority(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| TrustError::Pem {
                    what: "archive CA",
                    problem: error.to_string(),
                })?;
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = builder.with_client_auth_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts one certificate, whose owner still has to prove that it holds the private key.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if constant_time_eq(&sha256(end_entity), &self.fingerprint) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

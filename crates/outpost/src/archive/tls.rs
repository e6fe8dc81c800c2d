//! Certificates of the archive: its own, made at the first start with the private key sealed at
//! rest, and the trust in clients. A client without an accepted certificate gets no byte.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;
use veritwin_domain::Secret;
use veritwin_keys::{
    Aad, DataClass, DekScope, KeyService, constant_time_eq, open_value, seal_value, sealed_dek_id,
    sha256,
};

use super::ServeError;

pub(crate) const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "certificate.key.sealed";
const AAD: &[u8] = b"veritwin archive certificate key v1";
/// Most client certificates pinned.
const CLIENTS_MAX: usize = 64;

/// Which clients the archive serves.
#[derive(Debug, Clone)]
pub enum ClientTrust {
    /// Those with these certificates: SHA-256 over DER.
    Fingerprints(Vec<[u8; 32]>),
    /// Those whose certificates are in this PEM file, as the platform handed it over.
    CertificateFile(PathBuf),
    /// Those with a certificate of the CA in this PEM file.
    AuthorityFile(PathBuf),
}

/// A client's certificate and key, made for pairing.
#[derive(Debug)]
pub struct ClientPair {
    /// The certificate: goes to the archive.
    pub certificate_pem: String,
    /// Its private key: stays with the client, sealed.
    pub key_pem: Secret<String>,
    /// SHA-256 over the certificate.
    pub fingerprint: [u8; 32],
}

/// The archive's own certificate.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pub(super) fingerprint: [u8; 32],
}

fn certificate_error(error: impl ToString) -> ServeError {
    ServeError::Certificate(error.to_string())
}

/// Makes a self-signed client certificate. It is pinned, so that its name is for people only.
pub fn generate_client(name: &str) -> Result<ClientPair, ServeError> {
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let (certificate, key) = generate(name, Vec::new(), usage)?;
    Ok(ClientPair {
        certificate_pem: certificate.pem(),
        key_pem: Secret::new(key.serialize_pem()),
        fingerprint: sha256(certificate.der()),
    })
}

pub(crate) fn generate(
    name: &str,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(rcgen::Certificate, KeyPair), ServeError> {
    let mut params = CertificateParams::new(names).map_err(certificate_error)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().map_err(certificate_error)?;
    let certificate = params.self_signed(&key).map_err(certificate_error)?;
    Ok((certificate, key))
}

/// Reads the program's own certificate, or makes it under this name.
pub(crate) fn identity(
    directory: &Path,
    keys: &KeyService,
    (name, names): (&str, Vec<String>),
) -> Result<Identity, ServeError> {
    let (certificate_path, key_path) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
    if !certificate_path.exists() {
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate, key) = generate(name, names, usage)?;
        let dek = keys.dek(&DekScope::platform(DataClass::Archive))?;
        let aad = Aad::new(None, DataClass::Archive, AAD);
        let sealed = seal_value(&dek, aad, key.serialized_der())?;
        // The key first: a certificate without a key would never start again.
        write(&key_path, &sealed)?;
        write(&certificate_path, certificate.pem().as_bytes())?;
    }
    let pem =
        std::fs::read(&certificate_path).map_err(ServeError::io(certificate_path.display()))?;
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(certificate_error)?;
    let sealed = std::fs::read(&key_path).map_err(ServeError::io(key_path.display()))?;
    let dek = keys.dek_by_id(sealed_dek_id(&sealed)?)?;
    let key = open_value(&dek, Aad::new(None, DataClass::Archive, AAD), &sealed)?;
    let fingerprint = sha256(&certificate);
    Ok(Identity { certificate, key: PrivatePkcs8KeyDer::from(key).into(), fingerprint })
}

/// Writes a file whole: synced under another name, then renamed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), ServeError> {
    use std::io::Write as _;
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(ServeError::io(path.display()))
}

pub(super) fn acceptor(
    identity: Identity,
    clients: ClientTrust,
) -> Result<TlsAcceptor, ServeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = client_verifier(clients, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(certificate_error)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate], identity.key)
        .map_err(certificate_error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Asks clients for no certificate: what they send is judged by itself.
pub(crate) fn open_acceptor(identity: Identity) -> Result<TlsAcceptor, ServeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(certificate_error)?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], identity.key)
        .map_err(certificate_error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Asks each client for a certificate that is trusted.
pub(crate) fn client_verifier(
    clients: ClientTrust,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ServeError> {
    match clients {
        ClientTrust::Fingerprints(fingerprints) => pinned(fingerprints, provider),
        ClientTrust::CertificateFile(path) => {
            let certificates = certificates(&path)?;
            let fingerprints = certificates.iter().map(|client| sha256(client)).collect();
            pinned(fingerprints, provider)
        }
        ClientTrust::AuthorityFile(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&path)? {
                roots.add(certificate).map_err(certificate_error)?;
            }
            let roots = Arc::new(roots);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            builder.build().map_err(certificate_error)
        }
    }
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let pem = std::fs::read(path).map_err(ServeError::io(path.display()))?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(certificate_error)
}

fn pinned(
    fingerprints: Vec<[u8; 32]>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ServeError> {
    if fingerprints.is_empty() || fingerprints.len() > CLIENTS_MAX {
        let count = fingerprints.len();
        return Err(certificate_error(format!(
            "{count} client certificates are paired: expected 1 to {CLIENTS_MAX}"
        )));
    }
    Ok(Arc::new(Pinned { fingerprints, provider: Arc::clone(provider) }))
}

/// Accepts listed certificates, whose owner still has to prove that it holds the private key.
#[derive(Debug)]
struct Pinned {
    fingerprints: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Pinned {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let offered = sha256(end_entity);
        if self.fingerprints.iter().any(|pinned| constant_time_eq(pinned, &offered)) {
            Ok(ClientCertVerified::assertion())
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

pub(super) fn hexadecimal(bytes: &[u8; 32]) -> String {
    veritwin_verify::Digest::from_bytes(*bytes).to_string()
}

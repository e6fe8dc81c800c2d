//! The certificate that the key proxy shows: one of its own, whose private key is sealed under the
//! root key, or the operator's files.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;
use veritwin_keys::{GcmKey, KekContext, RootProvider, SecretKey, SystemRng, sha256};

use super::{KeyProxyConfig, KeyProxyError, ProxyCertificate, files};
use crate::archive::tls;

const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "certificate.key.json";
const BOUND: &[u8] = b"veritwin keyproxy certificate key v1";
/// No key of the store has this serial number.
const CONTEXT: KekContext = KekContext { tenant: None, version: u32::MAX };

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedKey {
    names: Vec<String>,
    wrapped: String,
    nonce: String,
    ciphertext: String,
    tag: String,
}

fn bad(error: impl ToString) -> KeyProxyError {
    KeyProxyError::Certificate(error.to_string())
}

pub(super) fn certificate_path(config: &KeyProxyConfig) -> PathBuf {
    match &config.certificate {
        ProxyCertificate::Own(_) => config.directory.join(CERTIFICATE_FILE),
        ProxyCertificate::Files(chain, _) => chain.clone(),
    }
}

fn sealed(config: &KeyProxyConfig) -> Result<Option<SealedKey>, KeyProxyError> {
    let path = config.directory.join(KEY_FILE);
    let Some(bytes) = files::read(&path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| bad(format!("{}: {error}", path.display())))
}

/// Makes a self-signed certificate, if the proxy needs one that is not there for these names.
pub(super) fn make_certificate(
    config: &KeyProxyConfig,
    root: &dyn RootProvider,
) -> Result<(), KeyProxyError> {
    let ProxyCertificate::Own(names) = &config.certificate else { return Ok(()) };
    if sealed(config)?.is_some_and(|known| known.names == *names) {
        return Ok(());
    }
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let made = tls::generate("Veritwin key proxy", names.clone(), usage);
    let (certificate, key) = made.map_err(bad)?;
    let secret = SecretKey::generate(&SystemRng);
    let wrapped = hex::encode(root.wrap(&CONTEXT, &secret)?);
    let sealed = GcmKey::new(&secret).seal(&SystemRng, BOUND, key.serialized_der())?;
    let text = serde_json::to_vec(&SealedKey {
        names: names.clone(),
        wrapped,
        nonce: hex::encode(sealed.nonce),
        ciphertext: hex::encode(&sealed.ciphertext),
        tag: hex::encode(sealed.tag),
    });
    // The certificate first: until the key is there both are made again.
    files::write(&certificate_path(config), certificate.pem().as_bytes())?;
    files::write(&config.directory.join(KEY_FILE), &text.map_err(bad)?)
}

fn own_key(
    config: &KeyProxyConfig,
    root: &dyn RootProvider,
) -> Result<PrivateKeyDer<'static>, KeyProxyError> {
    let missing = || bad("there is none: make it with veritwin keyproxy init");
    let sealed = sealed(config)?.ok_or_else(missing)?;
    let bytes = |text: &str| hex::decode(text).map_err(bad);
    let secret = root.unwrap(&CONTEXT, &bytes(&sealed.wrapped)?)?;
    let nonce = bytes(&sealed.nonce)?.try_into().map_err(|_| bad("its nonce has not 12 bytes"))?;
    let tag = bytes(&sealed.tag)?.try_into().map_err(|_| bad("its tag has not 16 bytes"))?;
    let ciphertext = bytes(&sealed.ciphertext)?;
    let key = GcmKey::new(&secret).open(&nonce, BOUND, &ciphertext, &tag)?;
    Ok(PrivatePkcs8KeyDer::from(key.to_vec()).into())
}

/// TLS, and the SHA-256 of the certificate in hexadecimal.
pub(super) fn acceptor(
    config: &KeyProxyConfig,
    root: &dyn RootProvider,
) -> Result<(TlsAcceptor, String), KeyProxyError> {
    let chain: Vec<CertificateDer<'static>> =
        tls::certificates(&certificate_path(config)).map_err(bad)?;
    let fingerprint =
        chain.first().map(|first| hex::encode(sha256(first))).ok_or_else(|| bad("it is empty"))?;
    let key = match &config.certificate {
        ProxyCertificate::Own(_) => own_key(config, root)?,
        ProxyCertificate::Files(_, path) => {
            let pem = std::fs::read(path).map_err(KeyProxyError::io(path.display()))?;
            // The parser's message could quote the key.
            PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|_| bad(format!("no private key in {}", path.display())))?
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(bad)?;
    let builder = match &config.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = tls::client_verifier(clients.clone(), &provider).map_err(bad)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(bad)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(tls)), fingerprint))
}

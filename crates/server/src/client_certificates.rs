//! Certificates that devices show in the TLS handshake of MQTT. The handshake proves that the
//! device holds the private key of its own, whoever issued it; whether anybody trusts it is said
//! at the log-in, where its tenant is known. A certificate is asked for and not demanded.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConnection,
    SignatureScheme,
};
use veritwin_app::{CERTIFICATE_BYTES_MAX, CERTIFICATES_BETWEEN_MAX};
use veritwin_domain::ClientCertificate;

/// Takes any certificates of a bounded size, all together, whose private key the client proves:
/// they are kept for as long as the connection is, before anybody is logged in.
#[derive(Debug)]
pub(crate) struct ShownCertificates(CryptoProvider);

impl ShownCertificates {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(rustls::crypto::aws_lc_rs::default_provider()))
    }
}

impl ClientCertVerifier for ShownCertificates {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Which authorities there are is no client's business.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let between: usize = intermediates.iter().map(|der| der.len()).sum();
        let is_large = end_entity.len() + between > CERTIFICATE_BYTES_MAX;
        if is_large || intermediates.len() > CERTIFICATES_BETWEEN_MAX {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a client showed in its handshake.
pub(crate) fn shown(connection: &ServerConnection) -> Option<Arc<ClientCertificate>> {
    let (leaf, between) = connection.peer_certificates()?.split_first()?;
    let leaf = leaf.to_vec();
    let between = between.iter().map(|der| der.to_vec()).collect();
    Some(Arc::new(ClientCertificate { leaf, between }))
}

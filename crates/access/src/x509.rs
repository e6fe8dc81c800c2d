//! Client certificates of devices: what one says, whether an authority may vouch for others,
//! whether somebody holds its private key, whether a chain leads to it, and its revocation lists.
//! Pure functions over bytes and a moment. Nothing here trusts an authority by itself.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use veritwin_domain::Timestamp;
use veritwin_keys::{hmac_sha256, sha256};
use webpki::{
    ALL_VERIFICATION_ALGS, BorrowedCertRevocationList, CertRevocationList, EndEntityCert,
    ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;

/// Largest certificate of a device or an authority, in bytes of DER.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Largest text with one certificate, in bytes of PEM.
pub const CERTIFICATE_PEM_BYTES_MAX: usize = 32 * 1024;
/// Most certificates that a device may show beside its own.
pub const CERTIFICATES_BETWEEN_MAX: usize = 4;
/// Largest revocation list, in bytes of DER.
pub const REVOCATION_BYTES_MAX: usize = 512 * 1024;
/// Longest common name of a device's certificate, in bytes.
pub const COMMON_NAME_BYTES_MAX: usize = 256;

const ISSUER_BASIC: &str = "basic constraints CA:TRUE";

/// Why a certificate or a list is not taken. The texts reach people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Not one certificate or list in PEM.
    #[error("expected one {0} in PEM and nothing else")]
    Pem(&'static str),
    /// Too large.
    #[error("limit {name} exceeded: at most {max} bytes")]
    Large {
        /// The limit.
        name: &'static str,
        /// What it is.
        max: usize,
    },
    /// Not what it should be.
    #[error("not an X.509 {0}, or one of a form that is not understood")]
    Malformed(&'static str),
    /// Not what a handshake takes.
    #[error(
        "no TLS handshake takes this certificate: it needs version 3 and no critical extension \
             of its own"
    )]
    Unusable,
    /// A certificate that may not vouch for others.
    #[error("not the certificate of an authority: it needs {0}")]
    NotAuthority(&'static str),
    /// Not valid now.
    #[error("valid from {0} to {1}, which is not now")]
    OutOfTime(Timestamp, Timestamp),
    /// The proof was not signed with the key, or not for this.
    #[error("the proof {0}")]
    Proof(&'static str),
    /// A revocation list of somebody else's.
    #[error("the list was not signed by this authority")]
    Foreign,
    /// A revocation list that does not say when the next one comes, or came already.
    #[error("the list has no next update, or that is past: expected one that counts now")]
    ListOutOfTime,
    /// Revoked by its authority.
    #[error("the certificate was revoked by its authority")]
    Revoked,
    /// The authority's list is past its next update.
    #[error("the revocation list of the authority is past its next update")]
    ListStale,
    /// No valid chain to the authority.
    #[error("the certificate does not lead to the authority: {0}")]
    Chain(&'static str),
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER).
    pub key_digest: [u8; 32],
    /// SHA-256 of its subject (Name, DER).
    pub subject_digest: [u8; 32],
    /// SHA-256 of its issuer (Name, DER).
    pub issuer_digest: [u8; 32],
    /// Its common name, when it has exactly one.
    pub common_name: Option<String>,
    /// The subject for people, as RFC 4514 writes it.
    pub subject: String,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl CertificateFacts {
    /// Refuses a certificate that does not count at a moment.
    pub fn check_time(&self, now: Timestamp) -> Result<(), CertificateFault> {
        if self.not_before <= now && now < self.not_after {
            return Ok(());
        }
        Err(CertificateFault::OutOfTime(self.not_before, self.not_after))
    }
}

/// A revocation list that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// DER.
    pub der: Vec<u8>,
    /// By when the next one comes.
    pub next_update: Timestamp,
    /// How many certificates it names.
    pub revoked: usize,
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFault> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        let (name, max) = ("certificate_bytes_max", CERTIFICATE_BYTES_MAX);
        return Err(CertificateFault::Large { name, max });
    }
    let malformed = CertificateFault::Malformed("certificate");
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(malformed),
    }
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

fn unix(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.as_micros().div_euclid(1_000_000)).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The only thing in a PEM text, which has to be of this kind.
fn only(text: &str, label: &str, what: &'static str) -> Result<Vec<u8>, CertificateFault> {
    let mut blocks = Pem::iter_from_buffer(text.as_bytes());
    let first = blocks.next().and_then(Result::ok).filter(|block| block.label == label);
    let first = first.ok_or(CertificateFault::Pem(what))?;
    if blocks.next().is_some() {
        return Err(CertificateFault::Pem(what));
    }
    Ok(first.contents)
}

/// The DER of the one certificate in a PEM text.
pub fn certificate_of_pem(text: &str) -> Result<Vec<u8>, CertificateFault> {
    if text.len() > CERTIFICATE_PEM_BYTES_MAX {
        let (name, max) = ("certificate_pem_bytes_max", CERTIFICATE_PEM_BYTES_MAX);
        return Err(CertificateFault::Large { name, max });
    }
    only(text, "CERTIFICATE", "certificate")
}

/// Reads a certificate. Neither its signature nor its time is looked at.
pub fn read_certificate(der: &[u8]) -> Result<CertificateFacts, CertificateFault> {
    let certificate = parse(der)?;
    let mut names = certificate.subject().iter_common_name();
    let common_name = match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(str::to_owned),
        _ => None,
    };
    let fits = |name: &String| !name.is_empty() && name.len() <= COMMON_NAME_BYTES_MAX;
    Ok(CertificateFacts {
        fingerprint: sha256(der),
        key_digest: sha256(certificate.public_key().raw),
        subject_digest: sha256(certificate.subject().as_raw()),
        issuer_digest: sha256(certificate.issuer().as_raw()),
        common_name: common_name.filter(fits),
        subject: certificate.subject().to_string(),
        not_before: moment(certificate.validity().not_before.timestamp()),
        not_after: moment(certificate.validity().not_after.timestamp()),
    })
}

/// Reads a certificate that a device can come in with now: one that a handshake takes too, which
/// knows neither version 1 nor critical extensions of its own.
pub fn read_device_certificate(
    der: &[u8],
    now: Timestamp,
) -> Result<CertificateFacts, CertificateFault> {
    let facts = read_certificate(der)?;
    facts.check_time(now)?;
    if EndEntityCert::try_from(&CertificateDer::from(der)).is_err() {
        return Err(CertificateFault::Unusable);
    }
    Ok(facts)
}

/// Reads the certificate of an authority that may vouch for devices now.
pub fn read_authority(der: &[u8], now: Timestamp) -> Result<CertificateFacts, CertificateFault> {
    let certificate = parse(der)?;
    let basic = certificate.basic_constraints().ok().flatten();
    if !basic.is_some_and(|basic| basic.value.ca) {
        return Err(CertificateFault::NotAuthority(ISSUER_BASIC));
    }
    let usage = certificate.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err(CertificateFault::NotAuthority("the key usage keyCertSign"));
    }
    let purpose = certificate.extended_key_usage();
    let purpose = purpose.map_err(|_| CertificateFault::Malformed("certificate"))?;
    if purpose.is_some_and(|purpose| !purpose.value.client_auth && !purpose.value.any) {
        return Err(CertificateFault::NotAuthority("the purpose clientAuth, or none at all"));
    }
    let der = CertificateDer::from(der);
    if webpki::anchor_from_trusted_cert(&der).is_err() {
        return Err(CertificateFault::Malformed("certificate"));
    }
    let facts = read_certificate(&der)?;
    facts.check_time(now)?;
    Ok(facts)
}

/// Whether a signature is by the holder of a certificate's key. Which algorithm the signer names
/// does not matter: any that is strong and verifies shows that the key was used.
fn is_signed_by(signer: &X509Certificate<'_>, message: &[u8], signature: &[u8]) -> bool {
    let key: &[u8] = &signer.public_key().subject_public_key.data;
    let verifies = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        algorithm.verify_signature(key, message, signature).is_ok()
    };
    ALL_VERIFICATION_ALGS.iter().any(verifies)
}

/// What a proof of possession has to carry as its common name: of one tenant and one certificate,
/// and nothing that another tenant could foresee.
pub fn proof_code(key: &[u8; 32], tenant: &[u8; 16], fingerprint: &[u8; 32]) -> String {
    let message = [&b"device certificate proof v1\0"[..], tenant, fingerprint].concat();
    let digest = hmac_sha256(key, &message);
    digest.iter().take(20).fold(String::from("veritwin-"), |mut code, byte| {
        for half in [byte >> 4, byte & 0x0f] {
            code.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
        code
    })
}

/// Refuses a proof that was not signed with the private key of `holder`, or not for this `code`.
/// The proof is a certificate with the code as its common name: of an authority one that it
/// issues, of a device one that it issues to itself.
pub fn check_proof(proof: &[u8], holder: &[u8], code: &str) -> Result<(), CertificateFault> {
    let (proof, holder) = (parse(proof)?, parse(holder)?);
    let mut names = proof.subject().iter_common_name();
    let named = names.next().and_then(|name| name.as_str().ok());
    if named != Some(code) || names.next().is_some() {
        return Err(CertificateFault::Proof("does not carry the code as its common name"));
    }
    let signed = is_signed_by(&holder, proof.tbs_certificate.as_ref(), &proof.signature_value.data);
    if signed { Ok(()) } else { Err(CertificateFault::Proof("was not signed with its key")) }
}

/// Reads a revocation list of an authority, PEM or DER, that counts now.
pub fn read_revocation_list(
    bytes: &[u8],
    authority: &[u8],
    now: Timestamp,
) -> Result<RevocationList, CertificateFault> {
    // PEM is a third longer.
    if bytes.len() > REVOCATION_BYTES_MAX / 2 * 3 {
        let (name, max) = ("revocation_bytes_max", REVOCATION_BYTES_MAX);
        return Err(CertificateFault::Large { name, max });
    }
    let der = match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN") => only(text, "X509 CRL", "revocation list")?,
        _ => bytes.to_vec(),
    };
    if der.len() > REVOCATION_BYTES_MAX {
        let (name, max) = ("revocation_bytes_max", REVOCATION_BYTES_MAX);
        return Err(CertificateFault::Large { name, max });
    }
    let authority = parse(authority)?;
    let malformed = CertificateFault::Malformed("revocation list");
    let Ok(([], list)) = x509_parser::parse_x509_crl(&der) else { return Err(malformed) };
    let signature: &[u8] = &list.signature_value.data;
    let is_own = list.tbs_cert_list.issuer.as_raw() == authority.subject().as_raw();
    if !is_own || !is_signed_by(&authority, list.tbs_cert_list.as_ref(), signature) {
        return Err(CertificateFault::Foreign);
    }
    let begins = moment(list.tbs_cert_list.this_update.timestamp());
    let next = list.tbs_cert_list.next_update.map(|next| moment(next.timestamp()));
    let next = next.filter(|next| begins <= now && now < *next);
    let next_update = next.ok_or(CertificateFault::ListOutOfTime)?;
    let revoked = list.tbs_cert_list.revoked_certificates.len();
    // What it cannot use at a log-in it does not take now.
    if OwnedCertRevocationList::from_der(&der).is_err() {
        return Err(malformed);
    }
    Ok(RevocationList { der, next_update, revoked })
}

/// Refuses a device's certificate that does not lead to an authority now, or that the authority
/// revoked. With a list that is past its next update nobody comes in.
pub fn check_chain(
    (leaf, between): (&[u8], &[&[u8]]),
    (authority, revocation): (&[u8], Option<&[u8]>),
    now: Timestamp,
) -> Result<(), CertificateFault> {
    let (leaf, authority) = (CertificateDer::from(leaf), CertificateDer::from(authority));
    let malformed = |_| CertificateFault::Malformed("certificate");
    let end = EndEntityCert::try_from(&leaf).map_err(malformed)?;
    let anchors = [webpki::anchor_from_trusted_cert(&authority).map_err(malformed)?];
    let between: Vec<CertificateDer<'_>> = between
        .iter()
        .take(CERTIFICATES_BETWEEN_MAX)
        .map(|der| CertificateDer::from(*der))
        .collect();
    // Looked through once and not kept: no map of all that it names is made.
    let list = revocation.map(BorrowedCertRevocationList::from_der).transpose();
    let list = list.map_err(|_| CertificateFault::Malformed("revocation list"))?;
    let list = list.map(CertRevocationList::from);
    let lists: Vec<&CertRevocationList<'_>> = list.iter().collect();
    let options = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        options
            .with_status_policy(UnknownStatusPolicy::Allow)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build()
    });
    let usage = KeyUsage::client_auth();
    let at = unix(now);
    end.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &between, at, usage, options, None)
        .map(drop)
        .map_err(|error| chain_fault(&error))
}

fn chain_fault(error: &webpki::Error) -> CertificateFault {
    match error {
        webpki::Error::CertRevoked => CertificateFault::Revoked,
        webpki::Error::CrlExpired { .. } => CertificateFault::ListStale,
        webpki::Error::CertExpired { .. } => CertificateFault::Chain("a certificate has ended"),
        webpki::Error::CertNotValidYet { .. } => {
            CertificateFault::Chain("a certificate is not valid yet")
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            CertificateFault::Chain("it needs the purpose clientAuth")
        }
        _ => CertificateFault::Chain("a signature, a constraint or a certificate is missing"),
    }
}

#[cfg(test)]
mod tests;

//! Time stamps of an authority (RFC 3161): the request, and the verification of its answer by
//! imprint, nonce, signed attributes, signer (RFC 5816), usage and chain. Only DER is read.

use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use veritwin_domain::Timestamp;
use webpki::{EndEntityCert, KeyUsage};

use crate::Digest;
use crate::der::{self, GENERALIZED_TIME, INTEGER, Item, Items, OCTETS, OID, SEQUENCE, SET};

/// Largest answer of an authority that is read, in bytes.
pub const STAMP_BYTES_MAX: usize = 64 * 1024;
/// Most certificates in one answer, and most authorities in one file.
const CERTIFICATES_MAX: usize = 64;
/// Bytes of a request's nonce.
pub const STAMP_NONCE_BYTES: usize = 8;

const OID_SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const OID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const OID_SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const OID_SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
const OID_SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const OID_TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
const OID_CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const OID_MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const OID_SIGNER: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c];
const OID_SIGNER_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];
/// id-kp-timeStamping.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// Why an answer is no time stamp of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// The bytes are not in the form of RFC 3161.
    #[error("not a time stamp: {0}")]
    Malformed(&'static str),
    /// The authority refused.
    #[error("the authority refused with status {status}: {reason}")]
    Refused {
        /// PKIStatus.
        status: u8,
        /// What it said.
        reason: String,
    },
    /// It is a time stamp of something else.
    #[error("the time stamp is of other bytes")]
    Imprint,
    /// It does not answer this request.
    #[error("the time stamp answers another request: its nonce is another")]
    Nonce,
    /// Its signature does not hold.
    #[error("the time stamp's signature does not hold: {0}")]
    Signature(&'static str),
    /// The certificate that signed it may not sign time stamps.
    #[error("the signer's certificate is not one for time stamps: {0}")]
    Usage(&'static str),
    /// The certificate that signed it does not come from an authority that is trusted.
    #[error("the signer is not trusted: {0}")]
    Chain(String),
    /// A file of authorities cannot be used.
    #[error("authorities of time stamps: {0}")]
    Authorities(String),
}

const fn malformed(what: &'static str) -> StampError {
    StampError::Malformed(what)
}

/// Asks for a time stamp over a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampRequest {
    imprint: Digest,
    nonce: [u8; STAMP_NONCE_BYTES],
}

impl StampRequest {
    /// A request; `random` makes an answer to another request recognisable.
    pub const fn new(imprint: Digest, random: [u8; STAMP_NONCE_BYTES]) -> Self {
        let mut nonce = random;
        // Positive and in its shortest form, whatever was drawn.
        nonce[0] = (nonce[0] & 0x7f) | 0x40;
        Self { imprint, nonce }
    }

    /// What is stamped.
    pub const fn imprint(&self) -> Digest {
        self.imprint
    }

    /// What the answer has to repeat.
    pub const fn nonce(&self) -> [u8; STAMP_NONCE_BYTES] {
        self.nonce
    }

    /// The body to send as `application/timestamp-query`; it asks for the certificates.
    pub fn to_der(&self) -> Vec<u8> {
        let algorithm = [der::item(OID, OID_SHA256), vec![0x05, 0x00]].concat();
        let imprint =
            [der::item(SEQUENCE, &algorithm), der::item(OCTETS, self.imprint.as_bytes())].concat();
        let request = [
            der::item(INTEGER, &[1]),
            der::item(SEQUENCE, &imprint),
            der::item(INTEGER, &self.nonce),
            vec![0x01, 0x01, 0xff],
        ]
        .concat();
        der::item(SEQUENCE, &request)
    }
}

/// Whose time stamps are believed.
#[derive(Debug, Clone)]
pub struct StampAuthorities(Vec<CertificateDer<'static>>);

impl StampAuthorities {
    /// From the certificates of a PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, StampError> {
        let bad = |problem: String| StampError::Authorities(problem);
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|error| bad(error.to_string()))?;
            if certificates.len() == CERTIFICATES_MAX {
                return Err(bad(format!("more than {CERTIFICATES_MAX} certificates")));
            }
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(bad("no certificate in it".to_owned()));
        }
        Ok(Self(certificates))
    }
}

/// What a time stamp says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeStamp {
    /// When the bytes were there at the latest.
    pub at: Timestamp,
    /// The authority's number for it, in hexadecimal.
    pub serial: String,
    /// The subject of the certificate that signed it.
    pub signer: String,
    /// Its chain ends in an authority that the reader gave.
    pub is_authenticated: bool,
}

/// Verifies an authority's whole answer (`TimeStampResp`) for the bytes with this SHA-256. The
/// nonce is compared when it is known. Without `authorities` the signature is checked and whose it
/// is stays open.
pub fn verify_stamp(
    response: &[u8],
    imprint: Digest,
    nonce: Option<[u8; STAMP_NONCE_BYTES]>,
    authorities: Option<&StampAuthorities>,
) -> Result<TimeStamp, StampError> {
    if response.len() > STAMP_BYTES_MAX {
        return Err(malformed("longer than 64 KiB"));
    }
    let token = token(response)?;
    let signed = Signed::read(token)?;
    let info = Info::read(signed.content)?;
    if info.imprint != imprint.as_bytes() {
        return Err(StampError::Imprint);
    }
    if nonce.is_some_and(|nonce| info.nonce != Some(nonce.as_slice())) {
        return Err(StampError::Nonce);
    }
    let signer = signed.verify()?;
    let subject = usable(&signer)?;
    if let Some(authorities) = authorities {
        chain(&signer, &signed.certificates, &authorities.0, info.at)?;
    }
    Ok(TimeStamp {
        at: info.at,
        serial: hex::encode(info.serial),
        signer: subject,
        is_authenticated: authorities.is_some(),
    })
}

/// The token of an answer that granted one.
fn token(response: &[u8]) -> Result<Item<'_>, StampError> {
    let mut whole = Items(response);
    let mut items =
        whole.take(SEQUENCE).filter(|_| whole.is_empty()).ok_or(malformed("no answer"))?.items();
    let mut info = items.take(SEQUENCE).ok_or(malformed("no status"))?.items();
    let status = info.take(INTEGER).ok_or(malformed("no status"))?.content;
    match status {
        [0 | 1] => items.take(SEQUENCE).ok_or(malformed("it was granted and is not there")),
        [status] => {
            let said = info.take(SEQUENCE).and_then(|texts| texts.items().any());
            let reason = said.and_then(|text| std::str::from_utf8(text.content).ok());
            Err(StampError::Refused { status: *status, reason: shown(reason.unwrap_or("-")) })
        }
        _ => Err(malformed("its status is no small number")),
    }
}

/// What somebody else wrote, for people.
fn shown(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(200).collect()
}

/// The parts of a signed token.
struct Signed<'a> {
    /// The encoded `TSTInfo`.
    content: &'a [u8],
    certificates: Vec<CertificateDer<'a>>,
    digest: &'static Algorithm,
    /// The attributes, as they lie there: `[0]`, which is signed as a `SET`.
    attributes: Item<'a>,
    signature: &'a [u8],
}

fn algorithm(item: Item<'_>) -> Option<&'static Algorithm> {
    match item.items().take(OID)?.content {
        OID_SHA256 => Some(&SHA256),
        OID_SHA384 => Some(&SHA384),
        OID_SHA512 => Some(&SHA512),
        _ => None,
    }
}

impl<'a> Signed<'a> {
    fn read(token: Item<'a>) -> Result<Self, StampError> {
        let form = || malformed("its token is not signed data");
        let mut info = token.items();
        let kind = info.take(OID).ok_or_else(form)?;
        let mut outer = info.take(der::context(0)).ok_or_else(form)?.items();
        let mut data = outer.take(SEQUENCE).ok_or_else(form)?.items();
        if kind.content != OID_SIGNED_DATA {
            return Err(form());
        }
        data.take(INTEGER).ok_or_else(form)?;
        data.take(SET).ok_or_else(form)?;
        let mut inner = data.take(SEQUENCE).ok_or_else(form)?.items();
        let inner_kind = inner.take(OID).ok_or_else(form)?;
        let mut wrapped = inner.take(der::context(0)).ok_or_else(form)?.items();
        let content = wrapped.take(OCTETS).ok_or_else(form)?.content;
        if inner_kind.content != OID_TST_INFO {
            return Err(malformed("what is signed is no time stamp"));
        }
        let mut certificates = Vec::new();
        if let Some(set) = data.take(der::context(0)) {
            let mut items = set.items();
            while let Some(one) = items.any() {
                if certificates.len() == CERTIFICATES_MAX {
                    return Err(malformed("more than 64 certificates"));
                }
                certificates.push(CertificateDer::from(one.whole));
            }
        }
        let _lists = data.take(der::context(1));
        let mut signers = data.take(SET).ok_or_else(form)?.items();
        let mut signer = signers.take(SEQUENCE).ok_or_else(form)?.items();
        if !signers.is_empty() {
            return Err(malformed("it has more than one signer"));
        }
        signer.take(INTEGER).ok_or_else(form)?;
        signer.any().ok_or_else(form)?;
        let digest = signer.take(SEQUENCE).and_then(algorithm);
        let digest = digest.ok_or(malformed("its digest is none of SHA-256, 384 and 512"))?;
        let attributes = signer.take(der::context(0)).ok_or_else(form)?;
        signer.take(SEQUENCE).ok_or_else(form)?;
        let signature = signer.take(OCTETS).ok_or_else(form)?.content;
        Ok(Self { content, certificates, digest, attributes, signature })
    }

    /// The one value of a signed attribute, which has to be there once.
    fn attribute(&self, wanted: &[u8]) -> Option<Item<'a>> {
        let mut found = None;
        let mut attributes = self.attributes.items();
        while let Some(attribute) = attributes.take(SEQUENCE) {
            let mut items = attribute.items();
            let kind = items.take(OID)?;
            let mut values = items.take(SET)?.items();
            if kind.content == wanted {
                let value = values.any()?;
                if found.replace(value).is_some() || !values.is_empty() {
                    return None;
                }
            }
        }
        found.filter(|_| attributes.is_empty())
    }

    /// Checks attributes and signature; the answer is the certificate that signed.
    fn verify(&self) -> Result<CertificateDer<'a>, StampError> {
        let wrong = StampError::Signature;
        let kind = self.attribute(OID_CONTENT_TYPE).ok_or(wrong("no content type"))?;
        if kind.tag != OID || kind.content != OID_TST_INFO {
            return Err(wrong("it signs another type of content"));
        }
        let digest = self.attribute(OID_MESSAGE_DIGEST).ok_or(wrong("no digest"))?;
        if digest.content != digest::digest(self.digest, self.content).as_ref() {
            return Err(wrong("the content is not the one that was signed"));
        }
        let signer = self.signer().ok_or(wrong("the certificate that it names is not there"))?;
        let mut message = self.attributes.whole.to_vec();
        if let Some(tag) = message.first_mut() {
            *tag = SET;
        }
        let certificate =
            EndEntityCert::try_from(&signer).map_err(|_| StampError::Usage("it cannot be read"))?;
        let verifies = webpki::ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
            certificate.verify_signature(*algorithm, &message, self.signature).is_ok()
        });
        if verifies { Ok(signer) } else { Err(wrong("it is not by the certificate that it names")) }
    }

    /// The certificate that the signed attributes name by its hash.
    fn signer(&self) -> Option<CertificateDer<'a>> {
        let (value, default) = match self.attribute(OID_SIGNER_V2) {
            Some(value) => (value, &SHA256),
            None => (self.attribute(OID_SIGNER)?, &SHA1_FOR_LEGACY_USE_ONLY),
        };
        let mut first = value.items().take(SEQUENCE)?.items().take(SEQUENCE)?.items();
        let named = match first.take(SEQUENCE) {
            None => default,
            Some(item) if item.items().take(OID)?.content == OID_SHA1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Some(item) => algorithm(item)?,
        };
        let hash = first.take(OCTETS)?.content;
        let mut certificates = self.certificates.iter();
        certificates.find(|one| digest::digest(named, one).as_ref() == hash).cloned()
    }
}

/// What the authority states.
struct Info<'a> {
    imprint: &'a [u8],
    serial: &'a [u8],
    at: Timestamp,
    nonce: Option<&'a [u8]>,
}

impl<'a> Info<'a> {
    fn read(content: &'a [u8]) -> Result<Self, StampError> {
        let form = || malformed("its statement is not in its form");
        let mut whole = Items(content);
        let mut items = whole.take(SEQUENCE).ok_or_else(form)?.items();
        let version = items.take(INTEGER).ok_or_else(form)?;
        if version.content != [1] {
            return Err(malformed("it is of another version"));
        }
        items.take(OID).ok_or_else(form)?;
        let mut imprint = items.take(SEQUENCE).ok_or_else(form)?.items();
        let hash = imprint.take(SEQUENCE).ok_or_else(form)?;
        if hash.items().take(OID).is_none_or(|oid| oid.content != OID_SHA256) {
            return Err(StampError::Imprint);
        }
        let imprint = imprint.take(OCTETS).ok_or_else(form)?.content;
        let serial = items.take(INTEGER).ok_or_else(form)?.content;
        let time = items.take(GENERALIZED_TIME).ok_or_else(form)?;
        let at = generalized_time(time.content).ok_or_else(form)?;
        let _accuracy = items.take(SEQUENCE);
        let _ordering = items.take(0x01);
        let nonce = items.take(INTEGER).map(|nonce| nonce.content);
        Ok(Self { imprint, serial, at, nonce })
    }
}

/// `YYYYMMDDhhmmss[.f]Z`.
fn generalized_time(content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (digits, fraction) = text.split_at_checked(14)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let micros: String = fraction.chars().take(7).collect();
    let text = format!(
        "{}-{}-{}T{}:{}:{}{micros}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    );
    Timestamp::parse_rfc3339(&text).ok()
}

/// The signer's subject, when its certificate is for time stamps and nothing else (RFC 3161, 2.3).
fn usable(signer: &CertificateDer<'_>) -> Result<String, StampError> {
    let parsed = x509_parser::parse_x509_certificate(signer);
    let Ok((_, parsed)) = parsed else { return Err(StampError::Usage("it cannot be read")) };
    let Ok(Some(usage)) = parsed.extended_key_usage() else {
        return Err(StampError::Usage("it does not say what it is for"));
    };
    let more = usage.value;
    let others = more.any
        || more.server_auth
        || more.client_auth
        || more.code_signing
        || more.email_protection
        || more.ocsp_signing
        || !more.other.is_empty();
    if !more.time_stamping || others {
        return Err(StampError::Usage("it is for something else"));
    }
    if !usage.critical {
        return Err(StampError::Usage("its purpose is not marked critical"));
    }
    Ok(shown(&parsed.subject().to_string()))
}

/// Follows the signer's certificate to an authority, at the time of the stamp: a stamp outlives
/// the certificate that made it.
fn chain(
    signer: &CertificateDer<'_>,
    certificates: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'static>],
    at: Timestamp,
) -> Result<(), StampError> {
    let wrong = |error: webpki::Error| StampError::Chain(error.to_string());
    let mut anchors = Vec::with_capacity(authorities.len());
    for authority in authorities {
        anchors.push(webpki::anchor_from_trusted_cert(authority).map_err(wrong)?);
    }
    let others: Vec<CertificateDer<'_>> =
        certificates.iter().filter(|one| *one != signer).cloned().collect();
    let certificate = EndEntityCert::try_from(signer).map_err(wrong)?;
    let seconds = u64::try_from(at.as_micros().div_euclid(1_000_000)).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    certificate
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &others,
            time,
            KeyUsage::required_if_present(TIME_STAMPING),
            None,
            None,
        )
        .map(|_| ())
        .map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_openssl_writes_it() {
        let request = StampRequest::new(Digest::from_bytes([9; 32]), [0xff; 8]);
        let der = request.to_der();
        assert_eq!(der.len(), 69);
        assert_eq!(der[..9], [0x30, 67, 0x02, 1, 1, 0x30, 49, 0x30, 13]);
        assert_eq!(request.nonce()[0], 0x7f);
        assert_eq!(StampRequest::new(Digest::ZERO, [0; 8]).nonce()[0], 0x40);
    }

    #[test]
    fn times_are_read() {
        let check = |text: &str, expect: Option<&str>| {
            let read = generalized_time(text.as_bytes()).map(|at| at.to_string());
            assert_eq!(read.as_deref(), expect, "{text}");
        };
        check("20261130042159Z", Some("2026-11-30T04:21:59Z"));
        check("20261130042159.25Z", Some("2026-11-30T04:21:59.250Z"));
        check("20261130042159", None);
        check("2026113004215Z", None);
        check("20261330042159Z", None);
    }

    #[test]
    fn refusals_are_told() {
        let status = der::item(SEQUENCE, &der::item(INTEGER, &[2]));
        let refused = der::item(SEQUENCE, &status);
        let error = verify_stamp(&refused, Digest::ZERO, None, None).expect_err("refused");
        assert_eq!(error, StampError::Refused { status: 2, reason: "-".to_owned() });
        for bytes in [&[][..], &[0x30, 0x80], b"<html>not here</html>"] {
            let error = verify_stamp(bytes, Digest::ZERO, None, None).expect_err("no answer");
            assert!(matches!(error, StampError::Malformed(_)), "{error}");
        }
    }
}

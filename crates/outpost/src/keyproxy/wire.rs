//! The bodies of AWS's external key store proxy protocol, version 1, as the proxy reads and writes
//! them, and its errors. Fields that are not known are passed over, as the specification wants.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Most bytes of plaintext or ciphertext.
const PLAINTEXT_BYTES_MAX: usize = 8192;
/// Most bytes of associated data.
const ASSOCIATED_BYTES_MAX: usize = 8192;
const ALGORITHM: &str = "AES_GCM";
const HASH: &str = "SHA_256";

/// Who asks, for whom and why. The first fields are those of AWS KMS, the last ones the platform's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RequestMetadata {
    pub(super) aws_principal_arn: String,
    pub(super) kms_request_id: String,
    pub(super) kms_via_service: String,
    pub(super) veritwin_tenant: String,
    pub(super) veritwin_purpose: String,
    pub(super) veritwin_actor: String,
}

impl RequestMetadata {
    /// On whose behalf.
    pub(super) fn actor(&self) -> &str {
        if self.veritwin_actor.is_empty() { &self.aws_principal_arn } else { &self.veritwin_actor }
    }

    /// Why.
    pub(super) fn purpose(&self) -> &str {
        if self.veritwin_purpose.is_empty() {
            &self.kms_via_service
        } else {
            &self.veritwin_purpose
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bare {
    pub(super) request_metadata: RequestMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Encrypt {
    pub(super) request_metadata: RequestMetadata,
    additional_authenticated_data: Option<String>,
    plaintext: String,
    encryption_algorithm: String,
    ciphertext_data_integrity_value_algorithm: Option<String>,
}

/// What is to be encrypted.
pub(super) struct Plain {
    pub(super) associated: Vec<u8>,
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    pub(super) wants_hash: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Encrypted {
    pub(super) ciphertext: String,
    pub(super) ciphertext_metadata: String,
    pub(super) initialization_vector: String,
    pub(super) authentication_tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ciphertext_data_integrity_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decrypt {
    pub(super) request_metadata: RequestMetadata,
    additional_authenticated_data: Option<String>,
    ciphertext: String,
    ciphertext_metadata: Option<String>,
    encryption_algorithm: String,
    initialization_vector: String,
    authentication_tag: String,
}

/// What is to be decrypted.
pub(super) struct Cipher {
    pub(super) associated: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

#[derive(Serialize)]
pub(super) struct Decrypted<'a> {
    pub(super) plaintext: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Described {
    pub(super) key_spec: &'static str,
    pub(super) key_usage: [&'static str; 2],
    pub(super) key_status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    pub(super) xks_proxy_fleet_size: u32,
    pub(super) xks_proxy_vendor: &'static str,
    pub(super) xks_proxy_model: String,
    pub(super) ekm_vendor: &'static str,
    pub(super) ekm_fleet_details: [Manager; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manager {
    pub(super) id: &'static str,
    pub(super) model: &'static str,
    pub(super) health_status: &'static str,
}

/// The errors of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Validation,
    InvalidState,
    InvalidCiphertext,
    AuthenticationFailed,
    AccessDenied,
    KeyNotFound,
    InvalidUriPath,
    Throttling,
    UnsupportedOperation,
    DependencyTimeout,
    Internal,
}

impl Refusal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::InvalidState => "InvalidStateException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::AuthenticationFailed => "AuthenticationFailedException",
            Self::AccessDenied => "AccessDeniedException",
            Self::KeyNotFound => "KeyNotFoundException",
            Self::InvalidUriPath => "InvalidUriPathException",
            Self::Throttling => "ThrottlingException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::DependencyTimeout => "DependencyTimeoutException",
            Self::Internal => "InternalException",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Validation | Self::InvalidState | Self::InvalidCiphertext => {
                StatusCode::BAD_REQUEST
            }
            Self::AuthenticationFailed => StatusCode::UNAUTHORIZED,
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::KeyNotFound | Self::InvalidUriPath => StatusCode::NOT_FOUND,
            Self::Throttling => StatusCode::TOO_MANY_REQUESTS,
            Self::UnsupportedOperation => StatusCode::NOT_IMPLEMENTED,
            Self::DependencyTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Validation => "a parameter is missing or has not the form of the protocol",
            Self::InvalidState => "the key is disabled",
            Self::InvalidCiphertext => "the ciphertext does not open under this key",
            Self::AuthenticationFailed => "the signature is not of a known credential and time",
            Self::AccessDenied => "this caller may not use the key for this tenant and purpose",
            Self::KeyNotFound => "there is no such key, or it was destroyed",
            Self::InvalidUriPath => "no such path",
            Self::Throttling => "too many requests",
            Self::UnsupportedOperation => "a parameter is larger than is supported",
            Self::DependencyTimeout => "the token does not answer",
            Self::Internal => "the proxy cannot do this now",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalBody {
    error_name: &'static str,
    error_message: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody { error_name: self.name(), error_message: self.message() };
        json(self.status(), &body)
    }
}

/// An answer in JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, kind, body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Validation)
}

fn decoded(text: &str, max: usize) -> Result<Vec<u8>, Refusal> {
    let bytes = STANDARD.decode(text).map_err(|_| Refusal::Validation)?;
    if bytes.len() > max { Err(Refusal::UnsupportedOperation) } else { Ok(bytes) }
}

impl Encrypt {
    pub(super) fn plain(self) -> Result<Plain, Refusal> {
        let encoded = Zeroizing::new(self.plaintext);
        if self.encryption_algorithm != ALGORITHM || encoded.is_empty() {
            return Err(Refusal::Validation);
        }
        let wants_hash = match self.ciphertext_data_integrity_value_algorithm.as_deref() {
            None => false,
            Some(HASH) => true,
            Some(_) => return Err(Refusal::Validation),
        };
        let associated = self.additional_authenticated_data.unwrap_or_default();
        Ok(Plain {
            associated: decoded(&associated, ASSOCIATED_BYTES_MAX)?,
            plaintext: Zeroizing::new(decoded(&encoded, PLAINTEXT_BYTES_MAX)?),
            wants_hash,
        })
    }
}

impl Decrypt {
    pub(super) fn cipher(self) -> Result<Cipher, Refusal> {
        if self.encryption_algorithm != ALGORITHM {
            return Err(Refusal::Validation);
        }
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(Cipher {
            associated: decoded(&text(self.additional_authenticated_data), ASSOCIATED_BYTES_MAX)?,
            ciphertext: decoded(&self.ciphertext, PLAINTEXT_BYTES_MAX)?,
            metadata: decoded(&text(self.ciphertext_metadata), 64)?,
            nonce: decoded(&self.initialization_vector, 64)?,
            tag: decoded(&self.authentication_tag, 64)?,
        })
    }
}

/// What the cipher authenticates: associated data and metadata, each with its length in front
/// ("Encrypt", ciphertextMetadata), so that neither passes for the other.
pub(super) fn bound(associated: &[u8], metadata: &[u8]) -> Result<Vec<u8>, Refusal> {
    let associated_bytes =
        u16::try_from(associated.len()).map_err(|_| Refusal::UnsupportedOperation)?;
    let metadata_bytes = u8::try_from(metadata.len()).map_err(|_| Refusal::Validation)?;
    Ok([&associated_bytes.to_be_bytes()[..], associated, &[metadata_bytes], metadata].concat())
}

#[cfg(test)]
mod tests {
    use veritwin_keys::sha256;

    use super::*;

    #[test]
    fn requests_of_the_specification_are_read() {
        let body = br#"{"requestMetadata":{"awsPrincipalArn":"arn:aws:iam::1:user/Alice",
            "kmsKeyArn":"arn:aws:kms:us-east-2:1:/key/1","kmsOperation":"Encrypt",
            "kmsRequestId":"4112f4d6","kmsViaService":"ebs","somethingNew":{"a":1}},
            "additionalAuthenticatedData":"cHJvamVjdD1uaWxlLGRlcGFydG1lbnQ9bWFya2V0aW5n",
            "plaintext":"SGVsbG8gV29ybGQh","encryptionAlgorithm":"AES_GCM",
            "ciphertextDataIntegrityValueAlgorithm":"SHA_256"}"#;
        let request: Encrypt = parse(body).expect("read");
        let said = request.request_metadata.clone();
        assert_eq!((said.actor(), said.purpose()), ("arn:aws:iam::1:user/Alice", "ebs"));
        let plain = request.plain().expect("plain");
        assert_eq!(&**plain.plaintext, b"Hello World!");
        assert_eq!(plain.associated, b"project=nile,department=marketing");
        assert!(plain.wants_hash);
    }

    /// The example of appendix C of the specification.
    #[test]
    fn the_integrity_value_is_the_specifications() {
        let part = |text: &str| STANDARD.decode(text).expect("Base64");
        let whole = [
            b"project=nile,department=marketing".to_vec(),
            part("a2V5X3ZlcnNpb249MQ=="),
            part("HMrlRw85cAJUd5Ax"),
            part("ghxkK1txeDNn3q8Y"),
            part("vBxN2ncH1oEkR8WVXpmyYQ=="),
        ];
        let value = STANDARD.encode(sha256(&whole.concat()));
        assert_eq!(value, "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=");
    }

    #[test]
    fn what_is_bound_tells_its_parts_apart() {
        assert_eq!(bound(b"ab", b"c").expect("bound"), b"\x00\x02ab\x01c");
        assert_ne!(bound(b"", b"abc").expect("bound"), bound(b"abc", b"").expect("bound"));
        assert!(bound(&[0; 70_000], b"").is_err());
        assert!(bound(b"", &[0; 300]).is_err());
    }

    #[test]
    fn what_is_too_large_or_of_another_form_is_told_apart() {
        let refusal = |plaintext: &str, algorithm: &str| {
            let body = format!(
                r#"{{"requestMetadata":{{}},"plaintext":"{plaintext}","encryptionAlgorithm":"{algorithm}"}}"#
            );
            parse::<Encrypt>(body.as_bytes()).and_then(Encrypt::plain).err()
        };
        assert_eq!(refusal("AAAA", "AES_GCM"), None);
        assert_eq!(refusal("AAA", "AES_GCM"), Some(Refusal::Validation));
        assert_eq!(refusal("", "AES_GCM"), Some(Refusal::Validation));
        assert_eq!(refusal("AAAA", "AES_CBC"), Some(Refusal::Validation));
        let long = STANDARD.encode(vec![0u8; PLAINTEXT_BYTES_MAX + 1]);
        assert_eq!(refusal(&long, "AES_GCM"), Some(Refusal::UnsupportedOperation));
        assert_eq!(parse::<Bare>(b"{}").err(), Some(Refusal::Validation));
    }
}

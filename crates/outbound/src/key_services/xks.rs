//! The client side of AWS's external key store proxy protocol, version 1: Encrypt, Decrypt,
//! GetKeyMetadata and GetHealthStatus over HTTPS, signed with signature version 4. Who asks, for
//! whom and why travels in the request's metadata, under the signature.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use veritwin_domain::{Clock, Secret};
use veritwin_keys::{
    KeyCall, KeyMetadata, KeyProtection, KeyProvider, ProviderAnswer, ProviderError, ProviderKind,
    ProviderSettings, SIGV4_DATE_HEADER, Sha256, SigV4Request, SigV4Scope, constant_time_eq,
    sigv4_authorization, sigv4_moment,
};
use zeroize::Zeroizing;

use super::KeyServices;
use super::envelope::Envelope;
use super::service::{Outgoing, Service, by_status, plain};
use super::settings::{absent, invalid, needed, spelt};

const PROTOCOL_PATH: &str = "/kms/xks/v1";
const SERVICE: &str = "kms-xks-proxy";
const REGION_DEFAULT: &str = "us-east-1";
const ALGORITHM: &str = "AES_GCM";
const HASH: &str = "SHA_256";
const KEY_SPEC: &str = "AES_256";
const ENABLED: &str = "ENABLED";
const UNAVAILABLE: &str = "UNAVAILABLE";
/// Longest path before the operation (`XksProxyUriPath`).
const PATH_BYTES_MAX: usize = 128;
/// Longest key id.
const KEY_BYTES_MAX: usize = 128;

/// One key behind one proxy.
struct Xks {
    service: Service,
    path: String,
    key: String,
    access_key: String,
    secret: Secret<String>,
    scope: SigV4Scope,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Xks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xks").field("service", &self.service).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    aws_principal_arn: String,
    kms_key_arn: String,
    kms_operation: &'static str,
    kms_request_id: String,
    kms_via_service: String,
    veritwin_tenant: String,
    veritwin_purpose: &'static str,
    veritwin_actor: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bare {
    request_metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Encrypt<'a> {
    request_metadata: Metadata,
    additional_authenticated_data: String,
    plaintext: &'a str,
    encryption_algorithm: &'static str,
    ciphertext_data_integrity_value_algorithm: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encrypted {
    ciphertext: String,
    ciphertext_metadata: Option<String>,
    initialization_vector: String,
    authentication_tag: String,
    ciphertext_data_integrity_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decrypt {
    request_metadata: Metadata,
    ciphertext: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_metadata: Option<String>,
    encryption_algorithm: &'static str,
    additional_authenticated_data: String,
    initialization_vector: String,
    authentication_tag: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    key_spec: String,
    key_usage: Vec<String>,
    key_status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    ekm_fleet_details: Vec<Manager>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manager {
    health_status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_name: String,
}

/// Settings: `address`, with a path before the protocol's own where there is one; `key`; `user` and
/// `credential`, the access key and its secret, behind which the PEM of a client certificate and
/// its key may stand; `place`, the region that is signed for; `trust`.
pub(super) fn connect(
    of: &KeyServices,
    settings: &ProviderSettings,
) -> Result<Arc<dyn KeyProvider>, ProviderError> {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let expected = "a key id of 1 to 128 letters, digits, `-`, `.` and `_`";
    spelt("key", &settings.key, (1, KEY_BYTES_MAX), is_key, expected)?;
    let access_key = needed("user", settings.user.as_ref(), "the access key id")?;
    let is_access = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    let expected = "an access key id of 20 to 30 characters, A to Z and 2 to 7";
    spelt("user", access_key, (20, 30), is_access, expected)?;
    let expected = "the secret access key";
    let credential = needed("credential", settings.credential.as_ref(), expected)?;
    let (secret, identity) = parts(credential)?;
    let region = settings.place.as_deref().unwrap_or(REGION_DEFAULT);
    let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    spelt("place", region, (1, 64), is_region, "the region that is signed for")?;
    let service = Service::new(of, settings, identity.as_ref())?;
    let base = service.base_path();
    let base = base.strip_suffix(PROTOCOL_PATH).unwrap_or(base);
    let path = format!("{base}{PROTOCOL_PATH}");
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte);
    let expected = "a path of at most 128 letters, digits, `/`, `-` and `_`";
    spelt("address", &path, (1, PATH_BYTES_MAX), is_path, expected)?;
    Ok(Arc::new(Xks {
        service,
        path,
        key: settings.key.clone(),
        access_key: access_key.clone(),
        secret,
        scope: SigV4Scope { region: region.to_owned(), service: SERVICE.to_owned() },
        clock: Arc::clone(&of.clock),
    }))
}

/// The secret access key, and the client certificate with its key behind it.
fn parts(
    credential: &Secret<String>,
) -> Result<(Secret<String>, Option<Secret<String>>), ProviderError> {
    let text = credential.expose().trim();
    let (secret, rest) = text.split_once(['\n', '\r']).unwrap_or((text, ""));
    let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let expected = "a secret access key of 43 to 64 characters, as in Base64, alone in its line";
    spelt("credential", secret.trim(), (43, 64), is_secret, expected)?;
    let rest = rest.trim();
    let identity = (!rest.is_empty()).then(|| Secret::new(rest.to_owned()));
    if let Some(pem) = &identity {
        absent(
            "credential: what stands behind the secret",
            !pem.expose().starts_with("-----BEGIN"),
        )?;
    }
    Ok((Secret::new(secret.trim().to_owned()), identity))
}

fn metadata(call: &KeyCall, key: &str, operation: &'static str) -> Metadata {
    let (tenant, actor) = (call.tenant, plain(&call.actor));
    Metadata {
        aws_principal_arn: format!("arn:veritwin:iam::{tenant}:{actor}"),
        kms_key_arn: format!("arn:veritwin:keys::{tenant}:key/{key}"),
        kms_operation: operation,
        kms_request_id: call.request.to_string(),
        kms_via_service: "veritwin".to_owned(),
        veritwin_tenant: tenant.to_string(),
        veritwin_purpose: call.purpose.as_str(),
        veritwin_actor: actor,
    }
}

/// What the proxy's error says. A name that is not of the protocol counts for nothing.
fn refused(status: u16, body: &[u8]) -> ProviderError {
    let Ok(Refusal { error_name }) = serde_json::from_slice::<Refusal>(body) else {
        return by_status(status);
    };
    let invalid = |detail: &str| ProviderError::Invalid(detail.to_owned());
    match (status, error_name.as_str()) {
        (400, "InvalidStateException") | (403, "AccessDeniedException") => ProviderError::Denied,
        (404, "KeyNotFoundException") => ProviderError::Destroyed,
        (429, "ThrottlingException") => {
            ProviderError::Unavailable("the proxy has too much to do".to_owned())
        }
        (503, "DependencyTimeoutException") => {
            ProviderError::Unavailable("what is behind the proxy does not answer".to_owned())
        }
        // A clock that is wrong looks the same as a credential that was taken back.
        (401, "AuthenticationFailedException") => invalid(
            "the proxy does not take the signature: expected a credential that it knows, and a \
             clock that is right",
        ),
        (400, "ValidationException") => invalid("the proxy does not understand the request"),
        (400, "InvalidCiphertextException") => {
            invalid("the wrapped key does not open under this key")
        }
        (400, "InvalidKeyUsageException") => invalid("the key may not encrypt and decrypt"),
        (404, "InvalidUriPathException") => invalid("the proxy does not know the path"),
        (501, "UnsupportedOperationException") => invalid("the proxy does not support this"),
        _ => by_status(status),
    }
}

fn decoded(field: &str, text: &str) -> Result<Vec<u8>, ProviderError> {
    STANDARD.decode(text).map_err(|_| invalid(format!("the proxy's {field} is not Base64")))
}

impl Xks {
    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        call: &KeyCall,
        operation: &str,
        question: &Q,
    ) -> Result<A, ProviderError> {
        let path = format!("{}{operation}", self.path);
        let target = self.service.at(&path)?;
        let body = serde_json::to_vec(question).map_err(|error| invalid(error.to_string()))?;
        let now = self.clock.now();
        let moment = sigv4_moment(now);
        let signed = [
            ("host".to_owned(), target.authority()),
            (SIGV4_DATE_HEADER.to_owned(), moment.clone()),
        ];
        let request = SigV4Request { method: "POST", path: &path, headers: &signed, body: &body };
        let authorization =
            sigv4_authorization(&self.access_key, &self.secret, &self.scope, now, &request);
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| invalid("user: it can stand in no header"))
        };
        let headers = vec![
            (AUTHORIZATION, header(&authorization)?),
            (HeaderName::from_static(SIGV4_DATE_HEADER), header(&moment)?),
        ];
        let outgoing = Outgoing {
            method: Method::POST,
            target: &target,
            content_type: "application/json",
            headers,
            body,
        };
        let reply = self.service.send(call, outgoing).await?;
        if reply.status != 200 {
            return Err(refused(reply.status, &reply.body));
        }
        // The parser's own message could quote what it read.
        serde_json::from_slice(&reply.body)
            .map_err(|_| invalid("the proxy's answer is not of the protocol"))
    }

    async fn encrypt(&self, call: &KeyCall, plaintext: &[u8]) -> Result<Vec<u8>, ProviderError> {
        let encoded = Zeroizing::new(STANDARD.encode(plaintext));
        let question = Encrypt {
            request_metadata: metadata(call, &self.key, "Encrypt"),
            additional_authenticated_data: STANDARD.encode(&call.associated_data),
            plaintext: &encoded,
            encryption_algorithm: ALGORITHM,
            ciphertext_data_integrity_value_algorithm: HASH,
        };
        let path = format!("/keys/{}/encrypt", self.key);
        let made: Encrypted = self.ask(call, &path, &question).await?;
        let tag = decoded("tag", &made.authentication_tag)?;
        let envelope = Envelope {
            nonce: decoded("initialization vector", &made.initialization_vector)?,
            tag: tag.try_into().map_err(|_| invalid("the proxy's tag has not 16 bytes"))?,
            metadata: decoded("metadata", made.ciphertext_metadata.as_deref().unwrap_or(""))?,
            ciphertext: decoded("ciphertext", &made.ciphertext)?,
        };
        if envelope.ciphertext.len() != plaintext.len() {
            return Err(invalid("the proxy's ciphertext is not as long as what was encrypted"));
        }
        // A ciphertext that was damaged on its way would be found out when it is needed.
        let mut hash = Sha256::default();
        for part in [
            call.associated_data.as_slice(),
            &envelope.metadata,
            &envelope.nonce,
            &envelope.ciphertext,
            &envelope.tag,
        ] {
            hash.update(part);
        }
        let stated = decoded("integrity value", &made.ciphertext_data_integrity_value)?;
        if !constant_time_eq(&hash.finish(), &stated) {
            return Err(invalid("the proxy's integrity value does not match its ciphertext"));
        }
        envelope.encode()
    }

    async fn decrypt(
        &self,
        call: &KeyCall,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let Envelope { nonce, tag, metadata: attached, ciphertext } = Envelope::decode(wrapped)?;
        let question = Decrypt {
            request_metadata: metadata(call, &self.key, "Decrypt"),
            ciphertext: STANDARD.encode(&ciphertext),
            ciphertext_metadata: (!attached.is_empty()).then(|| STANDARD.encode(&attached)),
            encryption_algorithm: ALGORITHM,
            additional_authenticated_data: STANDARD.encode(&call.associated_data),
            initialization_vector: STANDARD.encode(&nonce),
            authentication_tag: STANDARD.encode(tag),
        };
        let path = format!("/keys/{}/decrypt", self.key);
        let opened: Decrypted = self.ask(call, &path, &question).await?;
        let encoded = Zeroizing::new(opened.plaintext);
        let plaintext = Zeroizing::new(decoded("plaintext", &encoded)?);
        if plaintext.len() != ciphertext.len() {
            return Err(invalid("the proxy's plaintext is not as long as the ciphertext"));
        }
        Ok(plaintext)
    }

    async fn describe(&self, call: &KeyCall) -> Result<KeyMetadata, ProviderError> {
        let question = Bare { request_metadata: metadata(call, &self.key, "DescribeKey") };
        let path = format!("/keys/{}/metadata", self.key);
        let said: Described = self.ask(call, &path, &question).await?;
        let may = |usage: &str| said.key_usage.iter().any(|one| one == usage);
        if said.key_spec != KEY_SPEC || !may("ENCRYPT") || !may("DECRYPT") {
            return Err(invalid("the key is not an AES_256 key that may encrypt and decrypt"));
        }
        Ok(KeyMetadata {
            key: self.key.clone(),
            enabled: said.key_status == ENABLED,
            spec: said.key_spec,
            protection: KeyProtection::Unstated,
        })
    }

    async fn well(&self, call: &KeyCall) -> Result<(), ProviderError> {
        let question = Bare { request_metadata: metadata(call, &self.key, "KmsHealthCheck") };
        let said: Health = self.ask(call, "/health", &question).await?;
        if said.ekm_fleet_details.iter().any(|one| one.health_status != UNAVAILABLE) {
            return Ok(());
        }
        Err(ProviderError::Unavailable("none of its key managers can be used".to_owned()))
    }
}

impl KeyProvider for Xks {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Xks
    }

    fn wrap<'a>(&'a self, call: &'a KeyCall, plaintext: &'a [u8]) -> ProviderAnswer<'a, Vec<u8>> {
        Box::pin(self.service.in_time(self.encrypt(call, plaintext)))
    }

    fn unwrap<'a>(
        &'a self,
        call: &'a KeyCall,
        ciphertext: &'a [u8],
    ) -> ProviderAnswer<'a, Zeroizing<Vec<u8>>> {
        Box::pin(self.service.in_time(self.decrypt(call, ciphertext)))
    }

    fn metadata<'a>(&'a self, call: &'a KeyCall) -> ProviderAnswer<'a, KeyMetadata> {
        Box::pin(self.service.in_time(self.describe(call)))
    }

    fn health<'a>(&'a self, call: &'a KeyCall) -> ProviderAnswer<'a, ()> {
        Box::pin(self.service.in_time(self.well(call)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_protocols_own_word_destroys_or_denies() {
        let check = |status: u16, name: &str, expect: Option<ProviderError>| {
            let said = refused(status, format!(r#"{{"errorName":"{name}"}}"#).as_bytes());
            match expect {
                Some(expect) => assert_eq!(said, expect, "{status} {name}"),
                None => assert!(matches!(said, ProviderError::Unavailable(_)), "{status} {name}"),
            }
        };
        check(404, "KeyNotFoundException", Some(ProviderError::Destroyed));
        check(400, "InvalidStateException", Some(ProviderError::Denied));
        check(403, "AccessDeniedException", Some(ProviderError::Denied));
        check(429, "ThrottlingException", None);
        check(503, "DependencyTimeoutException", None);
        check(500, "InternalException", None);
        check(500, "KeyNotFoundException", None);
        for (status, body) in [
            (404, "<html>not found</html>"),
            (404, r#"{"errorName":"InvalidUriPathException"}"#),
            (400, r#"{"errorName":"KeyNotFoundException"}"#),
            (400, r#"{"errorName":"InvalidCiphertextException"}"#),
            (401, r#"{"errorName":"AuthenticationFailedException"}"#),
            (403, "<html>forbidden</html>"),
            (302, ""),
        ] {
            assert!(
                matches!(refused(status, body.as_bytes()), ProviderError::Invalid(_)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_credential_is_a_secret_and_perhaps_a_certificate() {
        let check = |text: &str| {
            parts(&Secret::new(text.to_owned()))
                .map(|(secret, pem)| (secret.expose().len(), pem.is_some()))
        };
        let secret = "FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE";
        assert_eq!(check(secret), Ok((43, false)));
        assert_eq!(check(&format!("{secret}\n")), Ok((43, false)));
        let pem = "-----BEGIN CERTIFICATE-----\n";
        assert_eq!(check(&format!("{secret}\r\n{pem}")), Ok((43, true)));
        for bad in ["short", &format!("{secret}\nand more"), &format!("{secret} {secret}")] {
            let error = check(bad).expect_err(bad).to_string();
            assert!(error.contains("credential") && !error.contains("FYtE"), "{error}");
        }
    }
}

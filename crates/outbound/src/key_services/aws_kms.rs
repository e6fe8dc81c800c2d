//! The client of AWS KMS: Encrypt, Decrypt and DescribeKey in its JSON form, signed with signature
//! version 4. Tenant and associated data are the encryption context; who asks and why stands in
//! the agent, which CloudTrail records.

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
    KeyCall, KeyMetadata, KeyProtection, KeyProvider, PROVIDER_CIPHERTEXT_BYTES_MAX,
    ProviderAnswer, ProviderError, ProviderKind, ProviderSettings, SIGV4_DATE_HEADER, SigV4Request,
    SigV4Scope, sigv4_authorization, sigv4_moment,
};
use zeroize::Zeroizing;

use super::KeyServices;
use super::service::{Outgoing, Service, by_status};
use super::settings::{invalid, needed, spelt};
use crate::guard::Reply;

const SERVICE: &str = "kms";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const TARGET_HEADER: &str = "x-amz-target";
const ERROR_HEADER: &str = "x-amzn-errortype";

/// One KMS key.
struct AwsKms {
    service: Service,
    key: String,
    access_key: String,
    secret: Secret<String>,
    scope: SigV4Scope,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKms").field("service", &self.service).finish_non_exhaustive()
    }
}

/// Bound to the ciphertext; the same at each unwrap.
#[derive(Serialize)]
struct Context {
    #[serde(rename = "veritwin:tenant")]
    tenant: String,
    #[serde(rename = "veritwin:bound")]
    bound: String,
}

impl Context {
    fn of(call: &KeyCall) -> Self {
        Self { tenant: call.tenant.to_string(), bound: STANDARD.encode(&call.associated_data) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: Context,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: String,
    encryption_context: Context,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Describe<'a> {
    key_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_metadata: Facts,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Facts {
    key_id: String,
    key_spec: Option<String>,
    key_usage: Option<String>,
    enabled: bool,
    origin: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: String,
}

/// Settings: `address`, the region's endpoint or one in a private network; `key`, an id, ARN or
/// alias; `place`, the region; `user` and `credential`, the access key and its secret; `trust`.
pub(super) fn connect(
    of: &KeyServices,
    settings: &ProviderSettings,
) -> Result<Arc<dyn KeyProvider>, ProviderError> {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/:".contains(&byte);
    spelt("key", &settings.key, (1, 2048), is_key, "the id, ARN or alias of a KMS key")?;
    let region = needed("place", settings.place.as_ref(), "the region, such as eu-central-1")?;
    let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    spelt("place", region, (1, 64), is_region, "the region, such as eu-central-1")?;
    let user = needed("user", settings.user.as_ref(), "the access key id")?;
    let is_user = |byte: u8| byte.is_ascii_alphanumeric();
    spelt("user", user, (16, 128), is_user, "an access key id of 16 to 128 letters and digits")?;
    let expected = "the secret access key";
    let secret = needed("credential", settings.credential.as_ref(), expected)?;
    let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    spelt("credential", secret.expose(), (16, 256), is_secret, expected)?;
    let service = Service::new(of, settings, None)?;
    if !service.base_path().is_empty() {
        return Err(invalid("address: expected an endpoint without a path"));
    }
    Ok(Arc::new(AwsKms {
        service,
        key: settings.key.clone(),
        access_key: user.clone(),
        secret: secret.clone(),
        scope: SigV4Scope { region: region.clone(), service: SERVICE.to_owned() },
        clock: Arc::clone(&of.clock),
    }))
}

/// What KMS's error means for a key of this name. An alias can be given to the key again: only what
/// is asked for by its own id is gone for ever.
fn refused_of(key: &str, reply: &Reply) -> ProviderError {
    let is_alias = key.starts_with("alias/") || key.contains(":alias/");
    match refused(reply) {
        ProviderError::Destroyed if is_alias => ProviderError::Denied,
        error => error,
    }
}

/// What KMS's error means. A name that is not known counts for nothing.
fn refused(reply: &Reply) -> ProviderError {
    let header = reply.headers.get(ERROR_HEADER).and_then(|value| value.to_str().ok());
    let body = serde_json::from_slice::<Refusal>(&reply.body).ok().map(|refusal| refusal.kind);
    let named = body.or_else(|| header.map(str::to_owned)).unwrap_or_default();
    let named = named.rsplit('#').next().unwrap_or_default();
    let named = named.split(':').next().unwrap_or_default();
    let unavailable = |detail: &str| ProviderError::Unavailable(detail.to_owned());
    match (reply.status, named) {
        (400, "NotFoundException") => ProviderError::Destroyed,
        (
            400,
            "AccessDeniedException"
            | "DisabledException"
            | "KMSInvalidStateException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidGrantTokenException",
        ) => ProviderError::Denied,
        (400, "ThrottlingException" | "LimitExceededException") => {
            unavailable("KMS has too much to do for this account")
        }
        (_, "KeyUnavailableException" | "DependencyTimeoutException" | "KMSInternalException") => {
            unavailable("the key cannot be reached inside KMS")
        }
        (400, "InvalidSignatureException" | "IncompleteSignatureException") => invalid(
            "the signature is not taken: expected the secret of this access key, the right \
                     region, and a clock that is right",
        ),
        (400, "InvalidCiphertextException" | "IncorrectKeyException") => {
            invalid("the wrapped key does not open under this key")
        }
        (400, "InvalidKeyUsageException") => invalid("the key may not encrypt and decrypt"),
        (status, _) => by_status(status),
    }
}

impl AwsKms {
    async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        call: &KeyCall,
        operation: &str,
        question: &Q,
    ) -> Result<A, ProviderError> {
        let target = self.service.at("/")?;
        let body = serde_json::to_vec(question).map_err(|error| invalid(error.to_string()))?;
        let now = self.clock.now();
        let moment = sigv4_moment(now);
        let operation = format!("TrentService.{operation}");
        let signed = [
            ("content-type".to_owned(), CONTENT_TYPE.to_owned()),
            ("host".to_owned(), target.authority()),
            (SIGV4_DATE_HEADER.to_owned(), moment.clone()),
            (TARGET_HEADER.to_owned(), operation.clone()),
        ];
        let request = SigV4Request { method: "POST", path: "/", headers: &signed, body: &body };
        let authorization =
            sigv4_authorization(&self.access_key, &self.secret, &self.scope, now, &request);
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| invalid("user: it can stand in no header"))
        };
        let headers = vec![
            (AUTHORIZATION, header(&authorization)?),
            (HeaderName::from_static(SIGV4_DATE_HEADER), header(&moment)?),
            (HeaderName::from_static(TARGET_HEADER), header(&operation)?),
        ];
        let outgoing = Outgoing {
            method: Method::POST,
            target: &target,
            content_type: CONTENT_TYPE,
            headers,
            body,
        };
        let reply = self.service.send(call, outgoing).await?;
        if reply.status != 200 {
            return Err(refused_of(&self.key, &reply));
        }
        // The parser's own message could quote what it read.
        serde_json::from_slice(&reply.body).map_err(|_| invalid("its answer is not of KMS"))
    }

    async fn encrypt(&self, call: &KeyCall, plaintext: &[u8]) -> Result<Vec<u8>, ProviderError> {
        let encoded = Zeroizing::new(STANDARD.encode(plaintext));
        let question = Encrypt {
            key_id: &self.key,
            plaintext: &encoded,
            encryption_context: Context::of(call),
        };
        let made: Encrypted = self.ask(call, "Encrypt", &question).await?;
        let blob = STANDARD.decode(made.ciphertext_blob).ok();
        let fits = |blob: &Vec<u8>| !blob.is_empty() && blob.len() <= PROVIDER_CIPHERTEXT_BYTES_MAX;
        blob.filter(fits).ok_or_else(|| invalid("its ciphertext is not of KMS"))
    }

    async fn decrypt(
        &self,
        call: &KeyCall,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let question = Decrypt {
            key_id: &self.key,
            ciphertext_blob: STANDARD.encode(wrapped),
            encryption_context: Context::of(call),
        };
        let opened: Decrypted = self.ask(call, "Decrypt", &question).await?;
        let encoded = Zeroizing::new(opened.plaintext);
        let plaintext = STANDARD.decode(encoded.as_bytes());
        plaintext.map(Zeroizing::new).map_err(|_| invalid("its plaintext is not Base64"))
    }

    async fn describe(&self, call: &KeyCall) -> Result<KeyMetadata, ProviderError> {
        let question = Describe { key_id: &self.key };
        let said: Described = self.ask(call, "DescribeKey", &question).await?;
        let facts = said.key_metadata;
        if facts.key_usage.as_deref() != Some("ENCRYPT_DECRYPT") {
            return Err(invalid("the key may not encrypt and decrypt"));
        }
        let protection = match facts.origin.as_deref() {
            Some("AWS_KMS" | "EXTERNAL" | "AWS_CLOUDHSM") => KeyProtection::Hardware,
            _ => KeyProtection::Unstated,
        };
        Ok(KeyMetadata {
            key: facts.key_id,
            spec: facts.key_spec.unwrap_or_default(),
            enabled: facts.enabled,
            protection,
        })
    }
}

impl KeyProvider for AwsKms {
    fn kind(&self) -> ProviderKind {
        ProviderKind::AwsKms
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

    /// KMS has no call for its health: what it says of the key shows that it is there.
    fn health<'a>(&'a self, call: &'a KeyCall) -> ProviderAnswer<'a, ()> {
        Box::pin(async move { self.metadata(call).await.map(|_| ()) })
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn errors_are_told_by_their_names() {
        let said = |status: u16, name: &str| {
            let body = serde_json::json!({"__type": name, "message": "m"}).to_string().into();
            refused(&Reply { status, headers: HeaderMap::new(), body })
        };
        assert_eq!(said(400, "NotFoundException"), ProviderError::Destroyed);
        let gone = |key: &str| {
            let body = r#"{"__type": "NotFoundException"}"#.into();
            refused_of(key, &Reply { status: 400, headers: HeaderMap::new(), body })
        };
        let arn = "arn:aws:kms:eu-central-1:111122223333";
        assert_eq!(gone(&format!("{arn}:key/1234abcd")), ProviderError::Destroyed);
        for alias in ["alias/mine".to_owned(), format!("{arn}:alias/mine")] {
            assert_eq!(gone(&alias), ProviderError::Denied, "{alias}");
        }
        for denied in ["com.amazonaws.kms#DisabledException", "AccessDeniedException"] {
            assert_eq!(said(400, denied), ProviderError::Denied, "{denied}");
        }
        assert_eq!(said(400, "KMSInvalidStateException"), ProviderError::Denied);
        for (status, name) in [
            (400, "ThrottlingException"),
            (500, "KeyUnavailableException"),
            (500, "KMSInternalException"),
            (503, "NotFoundException"),
        ] {
            assert!(matches!(said(status, name), ProviderError::Unavailable(_)), "{name}");
        }
        for name in ["InvalidCiphertextException", "InvalidSignatureException", "Whatever"] {
            assert!(matches!(said(400, name), ProviderError::Invalid(_)), "{name}");
        }
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static("DisabledException:http://internal/");
        headers.insert(ERROR_HEADER, value);
        let reply = Reply { status: 400, headers, body: "".into() };
        assert_eq!(refused(&reply), ProviderError::Denied);
    }
}

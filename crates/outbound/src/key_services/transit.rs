//! The client of the transit engine of HashiCorp Vault and OpenBao: encrypt, decrypt and what it
//! says of a key, in a namespace where there is one, with a token or an AppRole. Associated data is
//! given as such and as context, so that derived keys work too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_domain::{Clock, Secret};
use veritwin_keys::{
    KeyCall, KeyMetadata, KeyProtection, KeyProvider, PROVIDER_CIPHERTEXT_BYTES_MAX,
    ProviderAnswer, ProviderError, ProviderKind, ProviderSettings,
};
use zeroize::Zeroizing;

use super::KeyServices;
use super::service::{Outgoing, Service, by_status};
use super::settings::{invalid, needed, spelt};
use crate::guard::Reply;

const MOUNT_DEFAULT: &str = "transit";
const TOKEN_HEADER: &str = "x-vault-token";
const NAMESPACE_HEADER: &str = "x-vault-namespace";
/// Every request has to say that it is none that a server was tricked into.
const REQUEST_HEADER: &str = "x-vault-request";
const NAME_BYTES_MAX: usize = 128;
/// Longest lease that is relied upon.
const LEASE_SECONDS_MAX: u64 = 24 * 3600;
const CIPHERTEXT_PREFIX: &str = "vault:v";

/// One key in one transit engine.
struct Transit {
    service: Service,
    mount: String,
    namespace: Option<HeaderValue>,
    key: String,
    entry: Entry,
    clock: Arc<dyn Clock>,
}

/// How the platform gets in.
enum Entry {
    Token(Secret<String>),
    Role { id: String, secret: Secret<String>, login: Mutex<Option<Login>> },
}

#[derive(Clone)]
struct Login {
    token: Secret<String>,
    /// By the monotonic clock.
    until: Duration,
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit").field("service", &self.service).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    associated_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
}

#[derive(Serialize)]
struct RoleLogin<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    supports_encryption: bool,
    #[serde(default)]
    supports_decryption: bool,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// Settings: `address`; `key`, the transit key's name; `place`, the engine's mount (`transit`
/// without it), with a namespace in front as `NAMESPACE:MOUNT`; `credential`, a token, or with
/// `user`, the id of an AppRole, its secret id; `trust`.
pub(super) fn connect(
    of: &KeyServices,
    settings: &ProviderSettings,
) -> Result<Arc<dyn KeyProvider>, ProviderError> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let expected = "a transit key of 1 to 128 letters, digits, `-`, `_` and `.`";
    spelt("key", &settings.key, (1, NAME_BYTES_MAX), is_name, expected)?;
    let place = settings.place.as_deref().unwrap_or(MOUNT_DEFAULT);
    let (namespace, mount) = match place.split_once(':') {
        Some((namespace, mount)) => (Some(namespace.trim_matches('/')), mount),
        None => (None, place),
    };
    let mount = mount.trim_matches('/');
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    for part in namespace.into_iter().chain([mount]) {
        let expected = "MOUNT or NAMESPACE:MOUNT of letters, digits, `-`, `_`, `.` and `/`";
        spelt("place", part, (1, NAME_BYTES_MAX), is_path, expected)?;
        if part.split('/').any(|one| matches!(one, "" | "." | "..")) {
            return Err(invalid(format!("place: expected {expected}")));
        }
    }
    let expected = "a token, or the secret id of the AppRole in `user`";
    let credential = needed("credential", settings.credential.as_ref(), expected)?;
    let is_text = |byte: u8| byte.is_ascii_graphic();
    spelt("credential", credential.expose(), (1, 4096), is_text, expected)?;
    let entry = match &settings.user {
        None => Entry::Token(credential.clone()),
        Some(id) => {
            spelt("user", id, (1, 256), is_text, "the role id of an AppRole")?;
            let (id, secret) = (id.clone(), credential.clone());
            Entry::Role { id, secret, login: Mutex::default() }
        }
    };
    let namespace = namespace.and_then(|text| HeaderValue::from_str(text).ok());
    let service = Service::new(of, settings, None)?;
    Ok(Arc::new(Transit {
        service,
        mount: mount.to_owned(),
        namespace,
        key: settings.key.clone(),
        entry,
        clock: Arc::clone(&of.clock),
    }))
}

/// What an answer that is no success means. Only Vault's own words about the key count for
/// destruction; the text itself goes nowhere.
fn refused(reply: &Reply) -> ProviderError {
    let said = serde_json::from_slice::<Errors>(&reply.body);
    let is_its_own = said.is_ok();
    let said = said.map(|body| body.errors.join("; ")).unwrap_or_default();
    let says = |text: &str| said.contains(text);
    match reply.status {
        400 if says("encryption key not found") => ProviderError::Destroyed,
        400 if says("disallowed by policy") || says("soft-deleted") => ProviderError::Denied,
        400 if says("message authentication failed") || says("invalid ciphertext") => {
            invalid("the wrapped key does not open under this key")
        }
        400 => invalid("the transit engine does not take the request"),
        403 if is_its_own => ProviderError::Denied,
        404 => invalid("there is no transit engine at this mount and namespace"),
        412 | 472 | 473 => ProviderError::Unavailable("it is a standby for now".to_owned()),
        503 => ProviderError::Unavailable("it is sealed or in maintenance".to_owned()),
        status => by_status(status),
    }
}

fn read<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, ProviderError> {
    // The parser's own message could quote what it read.
    let answer = serde_json::from_slice::<Answer<T>>(&reply.body);
    answer.map(|answer| answer.data).map_err(|_| invalid("its answer is not transit's"))
}

impl Transit {
    async fn send(
        &self,
        call: &KeyCall,
        method: Method,
        path: &str,
        token: Option<&Secret<String>>,
        body: Vec<u8>,
    ) -> Result<Reply, ProviderError> {
        let target = self.service.at(&format!("{}/v1/{path}", self.service.base_path()))?;
        let name = HeaderName::from_static;
        let mut headers = vec![(name(REQUEST_HEADER), HeaderValue::from_static("true"))];
        if let Some(namespace) = &self.namespace {
            headers.push((name(NAMESPACE_HEADER), namespace.clone()));
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| invalid("the token can stand in no header"))?;
            value.set_sensitive(true);
            headers.push((name(TOKEN_HEADER), value));
        }
        let content_type = "application/json";
        let outgoing = Outgoing { method, target: &target, content_type, headers, body };
        self.service.send(call, outgoing).await
    }

    async fn token(&self, call: &KeyCall) -> Result<Secret<String>, ProviderError> {
        let (id, secret, login) = match &self.entry {
            Entry::Token(token) => return Ok(token.clone()),
            Entry::Role { id, secret, login } => (id, secret, login),
        };
        let now = self.clock.monotonic();
        let known = login.lock().clone().filter(|known| now < known.until);
        if let Some(known) = known {
            return Ok(known.token);
        }
        let question = RoleLogin { role_id: id, secret_id: secret.expose() };
        let body = serde_json::to_vec(&question).map_err(|error| invalid(error.to_string()))?;
        let reply = self.send(call, Method::POST, "auth/approle/login", None, body).await?;
        match reply.status {
            200 => {}
            // It knows neither role nor secret id any more.
            400 if serde_json::from_slice::<Errors>(&reply.body).is_ok() => {
                return Err(ProviderError::Denied);
            }
            _ => return Err(refused(&reply)),
        }
        let LoggedIn { auth } = serde_json::from_slice(&reply.body)
            .map_err(|_| invalid("its answer to the login is not Vault's"))?;
        let token = Secret::new(auth.client_token);
        // Three quarters of the lease: clocks and answers take their time.
        let lease = Duration::from_secs(auth.lease_duration.min(LEASE_SECONDS_MAX));
        let until = now.saturating_add(lease * 3 / 4);
        *login.lock() = Some(Login { token: token.clone(), until });
        Ok(token)
    }

    /// Asks with the token at hand. One of a role that was taken back before its end is got anew
    /// once; a token that was handed over is not.
    async fn ask(
        &self,
        call: &KeyCall,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<Reply, ProviderError> {
        let token = self.token(call).await?;
        let reply = self.send(call, method.clone(), path, Some(&token), body.to_vec()).await?;
        let Entry::Role { login, .. } = &self.entry else { return Ok(reply) };
        if reply.status != 403 {
            return Ok(reply);
        }
        login.lock().take();
        let token = self.token(call).await?;
        self.send(call, method, path, Some(&token), body.to_vec()).await
    }

    async fn operate(
        &self,
        call: &KeyCall,
        operation: &str,
        (plaintext, ciphertext): (Option<&str>, Option<&str>),
    ) -> Result<Reply, ProviderError> {
        let bound = STANDARD.encode(&call.associated_data);
        let bound = (!bound.is_empty()).then_some(bound.as_str());
        let question = Question { plaintext, ciphertext, associated_data: bound, context: bound };
        let body = serde_json::to_vec(&question).map_err(|error| invalid(error.to_string()))?;
        let body = Zeroizing::new(body);
        let path = format!("{}/{operation}/{}", self.mount, self.key);
        let reply = self.ask(call, Method::POST, &path, &body).await?;
        if reply.status == 200 { Ok(reply) } else { Err(refused(&reply)) }
    }

    async fn encrypt(&self, call: &KeyCall, plaintext: &[u8]) -> Result<Vec<u8>, ProviderError> {
        // Encrypting under a name that is gone would make another key, where the token may.
        self.describe(call).await?;
        let encoded = Zeroizing::new(STANDARD.encode(plaintext));
        let reply = self.operate(call, "encrypt", (Some(encoded.as_str()), None)).await?;
        let Encrypted { ciphertext } = read(&reply)?;
        if !ciphertext.starts_with(CIPHERTEXT_PREFIX)
            || ciphertext.len() > PROVIDER_CIPHERTEXT_BYTES_MAX
        {
            return Err(invalid("its ciphertext is not transit's"));
        }
        Ok(ciphertext.into_bytes())
    }

    async fn decrypt(
        &self,
        call: &KeyCall,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let text = std::str::from_utf8(wrapped).ok();
        let text = text.filter(|text| text.starts_with(CIPHERTEXT_PREFIX));
        let text = text.ok_or_else(|| invalid("the wrapped key is none of a transit engine"))?;
        let reply = self.operate(call, "decrypt", (None, Some(text))).await?;
        let Decrypted { plaintext } = read(&reply)?;
        let encoded = Zeroizing::new(plaintext);
        let plaintext = STANDARD.decode(encoded.as_bytes());
        plaintext.map(Zeroizing::new).map_err(|_| invalid("its plaintext is not Base64"))
    }

    async fn describe(&self, call: &KeyCall) -> Result<KeyMetadata, ProviderError> {
        let path = format!("{}/keys/{}", self.mount, self.key);
        let reply = self.ask(call, Method::GET, &path, b"").await?;
        // Of a key that is not there the engine says 404 with an empty list; of an engine that is
        // not there Vault says more.
        let errors = serde_json::from_slice::<Errors>(&reply.body);
        if reply.status == 404 && errors.is_ok_and(|body| body.errors.is_empty()) {
            return Err(ProviderError::Destroyed);
        }
        if reply.status != 200 {
            return Err(refused(&reply));
        }
        let said: Described = read(&reply)?;
        let protection = if said.kind == "managed_key" {
            KeyProtection::Hardware
        } else {
            KeyProtection::Software
        };
        Ok(KeyMetadata {
            key: self.key.clone(),
            enabled: said.supports_encryption && said.supports_decryption,
            spec: said.kind,
            protection,
        })
    }

    async fn well(&self, call: &KeyCall) -> Result<(), ProviderError> {
        let path = "sys/health?standbyok=true&perfstandbyok=true";
        let reply = self.send(call, Method::GET, path, None, Vec::new()).await?;
        match reply.status {
            200 => Ok(()),
            status => {
                Err(ProviderError::Unavailable(format!("its health has the status {status}")))
            }
        }
    }
}

impl KeyProvider for Transit {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Transit
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
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn a_server_in_between_denies_nothing() {
        let reply = Reply { status: 403, headers: HeaderMap::new(), body: "<html>".into() };
        assert!(matches!(refused(&reply), ProviderError::Invalid(_)));
    }

    #[test]
    fn vaults_own_words_tell_what_became_of_a_key() {
        let said = |status: u16, text: &str| {
            let body = serde_json::json!({"errors": [text]}).to_string().into();
            refused(&Reply { status, headers: HeaderMap::new(), body })
        };
        assert_eq!(said(400, "encryption key not found"), ProviderError::Destroyed);
        let old = "ciphertext or signature version is disallowed by policy (too old)";
        assert_eq!(said(400, old), ProviderError::Denied);
        assert_eq!(said(403, "permission denied"), ProviderError::Denied);
        for status in [412, 429, 472, 473, 500, 503] {
            assert!(matches!(said(status, "x"), ProviderError::Unavailable(_)), "{status}");
        }
        for (status, text) in [
            (400, "cipher: message authentication failed"),
            (400, "something with a secret inside"),
            (404, "no handler for route"),
            (404, "encryption key not found"),
            (401, "unknown"),
        ] {
            let error = said(status, text);
            assert!(matches!(&error, ProviderError::Invalid(said) if !said.contains("secret")));
        }
    }
}

//! How a request is answered: the address, the path, the signature, the rate, what the caller may,
//! the key, and the record of the use, in this order. Whoever is not known learns nothing of keys.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use veritwin_domain::{AddressList, Clock, Secret, TenantId};
use veritwin_keys::{GCM_NONCE_BYTES, GcmSealed, Sha256, SigV4Claim, SigV4Request};
use zeroize::Zeroizing;

use super::counts::{Counts, Rates};
use super::state::ProxyKeyState;
use super::uses::{KeyUse, Uses, kept};
use super::vault::{Known, OpenKey, Vault};
use super::wire::{
    Bare, Decrypt, Decrypted, Described, Encrypt, Encrypted, Health, Manager, Plain, Refusal,
    RequestMetadata, bound, json, parse,
};

const PROTOCOL_PATH: &str = "/kms/xks/v1";
const SERVICE: &str = "kms-xks-proxy";
/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest key id.
const KEY_BYTES_MAX: usize = 128;
const HEALTHY: &str = "ACTIVE";
const ILL: &str = "UNAVAILABLE";

/// What answers.
pub(super) struct Served {
    pub(super) vault: Vault,
    pub(super) uses: Arc<Uses>,
    pub(super) counts: Counts,
    pub(super) rates: Rates,
    pub(super) clock: Arc<dyn Clock>,
    /// Before the protocol's own path.
    pub(super) path_prefix: String,
    /// From where requests are answered; empty: from everywhere.
    pub(super) networks: AddressList,
    /// From where `/metrics` is.
    pub(super) metrics_networks: AddressList,
    /// For which purposes keys may be used; empty: for every one.
    pub(super) purposes: Vec<String>,
    pub(super) has_token: bool,
}

/// From which address a connection comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Encrypt(String),
    Decrypt(String),
    Metadata(String),
    Health,
}

impl Operation {
    const fn name(&self) -> &'static str {
        match self {
            Self::Encrypt(_) => "encrypt",
            Self::Decrypt(_) => "decrypt",
            Self::Metadata(_) => "metadata",
            Self::Health => "health",
        }
    }

    fn of(path: &str, prefix: &str) -> Option<Self> {
        let rest = path.strip_prefix(prefix)?.strip_prefix(PROTOCOL_PATH)?;
        if rest == "/health" {
            return Some(Self::Health);
        }
        let (key, operation) = rest.strip_prefix("/keys/")?.split_once('/')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(plain) {
            return None;
        }
        let key = key.to_owned();
        match operation {
            "encrypt" => Some(Self::Encrypt(key)),
            "decrypt" => Some(Self::Decrypt(key)),
            "metadata" => Some(Self::Metadata(key)),
            _ => None,
        }
    }
}

/// What is asked of a key.
enum Asked {
    Encrypt(Encrypt),
    Decrypt(Decrypt),
    Metadata(Bare),
}

impl Asked {
    const fn said(&self) -> &RequestMetadata {
        match self {
            Self::Encrypt(request) => &request.request_metadata,
            Self::Decrypt(request) => &request.request_metadata,
            Self::Metadata(request) => &request.request_metadata,
        }
    }
}

pub(super) fn router(served: Arc<Served>) -> Router {
    Router::new().fallback(answer).with_state(served)
}

async fn answer(
    State(served): State<Arc<Served>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    match (&parts.method, path) {
        (&Method::GET, "/ping") => return (StatusCode::OK, "pong\n").into_response(),
        (&Method::GET, "/metrics") if served.metrics_networks.contains(peer.0) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            return (kind, served.counts.text()).into_response();
        }
        _ => {}
    }
    if !served.networks.is_empty() && !served.networks.contains(peer.0) {
        return Refusal::AccessDenied.into_response();
    }
    let Some(operation) = Operation::of(path, &served.path_prefix) else {
        return Refusal::InvalidUriPath.into_response();
    };
    if parts.method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let started = served.clock.monotonic();
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    let outcome = match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => served.serve(&operation, &parts, peer, body.to_bytes()).await,
        Ok(Err(_)) | Err(_) => Err(Refusal::UnsupportedOperation),
    };
    let took = served.clock.monotonic().saturating_sub(started);
    let named = outcome.as_ref().map_or_else(|refusal| refusal.name(), |_| "ok");
    served.counts.add(operation.name(), named, took);
    outcome.unwrap_or_else(IntoResponse::into_response)
}

impl Served {
    async fn serve(
        &self,
        operation: &Operation,
        parts: &Parts,
        peer: Peer,
        body: Bytes,
    ) -> Result<Response, Refusal> {
        // One reading of the file for all of the request: a file that cannot be read lets nobody
        // in, and is never taken for one without the key.
        let known = self.vault.known();
        let credential = self.authenticated(&known, parts, &body)?;
        if !self.rates.admit(&credential, self.clock.monotonic()) {
            return Err(Refusal::Throttling);
        }
        let (key, asked) = match operation {
            Operation::Health => {
                parse::<Bare>(&body)?;
                return Ok(self.health().await);
            }
            Operation::Encrypt(key) => (key, Asked::Encrypt(parse(&body)?)),
            Operation::Decrypt(key) => (key, Asked::Decrypt(parse(&body)?)),
            Operation::Metadata(key) => (key, Asked::Metadata(parse(&body)?)),
        };
        let said = asked.said().clone();
        let outcome = self.operate(&known, (key.as_str(), &said), asked).await;
        let named = outcome.as_ref().map_or_else(|refusal| refusal.name(), |_| "ok");
        let one = KeyUse {
            at: self.clock.now().to_string(),
            operation: operation.name().to_owned(),
            outcome: named.to_owned(),
            key: key.clone(),
            tenant: kept(&said.veritwin_tenant),
            purpose: kept(said.purpose()),
            actor: kept(said.actor()),
            request: kept(&said.kms_request_id),
            credential,
            from: peer.0.to_string(),
            previous: String::new(),
        };
        // Nothing leaves that is not recorded.
        let uses = Arc::clone(&self.uses);
        let recorded = tokio::task::spawn_blocking(move || uses.append(one)).await;
        match recorded {
            Ok(Ok(())) => outcome,
            Ok(Err(error)) => {
                tracing::error!(%error, "a use cannot be recorded and is refused");
                Err(Refusal::Internal)
            }
            Err(error) => {
                tracing::error!(%error, "a use cannot be recorded and is refused");
                Err(Refusal::Internal)
            }
        }
    }

    /// The credential that the request is signed with.
    fn authenticated(&self, known: &Known, parts: &Parts, body: &Bytes) -> Result<String, Refusal> {
        let failed = Refusal::AuthenticationFailed;
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let claim = text("authorization").and_then(SigV4Claim::parse).ok_or(failed)?;
        let mut headers = Vec::with_capacity(claim.signed_headers.len());
        for name in &claim.signed_headers {
            // HTTP/2 says the host elsewhere.
            let host = || parts.uri.authority().map(|authority| authority.as_str());
            let value = text(name).or_else(|| if name == "host" { host() } else { None });
            if parts.headers.get_all(name.as_str()).iter().count() > 1 {
                return Err(failed);
            }
            headers.push((name.clone(), value.ok_or(failed)?.to_owned()));
        }
        // A credential that is not known takes as long as one whose signature is wrong.
        let nobody = Secret::new("nobody".to_owned());
        let secret = known.credentials.get(&claim.access_key);
        let request =
            SigV4Request { method: "POST", path: parts.uri.path(), headers: &headers, body };
        let now = self.clock.now();
        let holds = claim.holds(secret.unwrap_or(&nobody), SERVICE, now, &request);
        let has_query = parts.uri.query().is_some();
        if holds && secret.is_some() && !has_query { Ok(claim.access_key) } else { Err(failed) }
    }

    async fn operate(
        &self,
        known: &Known,
        (name, said): (&str, &RequestMetadata),
        asked: Asked,
    ) -> Result<Response, Refusal> {
        if !self.purposes.is_empty() && !self.purposes.iter().any(|one| one == said.purpose()) {
            return Err(Refusal::AccessDenied);
        }
        let key = known.keys.get(name).ok_or(Refusal::KeyNotFound)?;
        let tenant = said.veritwin_tenant.parse::<TenantId>();
        let is_theirs = || tenant.is_ok_and(|tenant| key.tenants.contains(&tenant));
        if !key.tenants.is_empty() && !is_theirs() {
            return Err(Refusal::AccessDenied);
        }
        match (asked, key.state) {
            (_, ProxyKeyState::Destroyed) => Err(Refusal::KeyNotFound),
            (Asked::Metadata(_), state) => {
                let enabled = state == ProxyKeyState::Enabled;
                let key_status = if enabled { "ENABLED" } else { "DISABLED" };
                let key_usage = ["ENCRYPT", "DECRYPT"];
                let said = Described { key_spec: "AES_256", key_usage, key_status };
                Ok(json(StatusCode::OK, &said))
            }
            (_, ProxyKeyState::Disabled) => Err(Refusal::InvalidState),
            (Asked::Encrypt(request), _) => self.encrypt(key, request).await,
            (Asked::Decrypt(request), _) => self.decrypt(key, request).await,
        }
    }

    async fn encrypt(&self, key: &OpenKey, request: Encrypt) -> Result<Response, Refusal> {
        let Plain { associated, plaintext, wants_hash } = request.plain()?;
        let metadata = key.serial.to_be_bytes();
        let bound = bound(&associated, &metadata)?;
        let sealed = self.vault.seal(key, bound.clone(), plaintext.clone()).await?;
        let mut hash = Sha256::default();
        for part in
            [associated.as_slice(), &metadata, &sealed.nonce, &sealed.ciphertext, &sealed.tag]
        {
            hash.update(part);
        }
        let hash = hash.finish();
        if wants_hash {
            // First the value, then the proof that it opens (appendix C).
            let opened = self.vault.unseal(key, bound, sealed.clone()).await?;
            if *opened != *plaintext {
                return Err(Refusal::Internal);
            }
        }
        let answer = Encrypted {
            ciphertext: STANDARD.encode(&sealed.ciphertext),
            ciphertext_metadata: STANDARD.encode(metadata),
            initialization_vector: STANDARD.encode(sealed.nonce),
            authentication_tag: STANDARD.encode(sealed.tag),
            ciphertext_data_integrity_value: wants_hash.then(|| STANDARD.encode(hash)),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    async fn decrypt(&self, key: &OpenKey, request: Decrypt) -> Result<Response, Refusal> {
        let cipher = request.cipher()?;
        let bound = bound(&cipher.associated, &cipher.metadata)?;
        // Another key had this id before, or the nonce and tag are none of this proxy's.
        if cipher.metadata != key.serial.to_be_bytes() {
            return Err(Refusal::InvalidCiphertext);
        }
        let nonce: [u8; GCM_NONCE_BYTES] =
            cipher.nonce.try_into().map_err(|_| Refusal::InvalidCiphertext)?;
        let tag = cipher.tag.try_into().map_err(|_| Refusal::InvalidCiphertext)?;
        let sealed = GcmSealed { nonce, ciphertext: cipher.ciphertext, tag };
        let opened = self.vault.unseal(key, bound, sealed).await?;
        let plaintext = Zeroizing::new(STANDARD.encode(&*opened));
        Ok(json(StatusCode::OK, &Decrypted { plaintext: &plaintext }))
    }

    async fn health(&self) -> Response {
        let well = self.is_well().await;
        let answer = Health {
            xks_proxy_fleet_size: 1,
            xks_proxy_vendor: "Veritwin",
            xks_proxy_model: concat!("Veritwin keyproxy ", env!("CARGO_PKG_VERSION")).to_owned(),
            ekm_vendor: if self.has_token { "PKCS#11" } else { "Veritwin" },
            ekm_fleet_details: [Manager {
                id: "local",
                model: if self.has_token { "PKCS#11 token" } else { "sealed file" },
                health_status: if well { HEALTHY } else { ILL },
            }],
        };
        json(StatusCode::OK, &answer)
    }

    /// Whether a use could be made and recorded now.
    pub(super) async fn is_well(&self) -> bool {
        self.uses.is_well() && self.vault.is_well().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_protocols() {
        let check = |path: &str, expect: Option<Operation>| {
            assert_eq!(Operation::of(path, "/store"), expect, "{path}");
        };
        let key = || "k.1-_".to_owned();
        check("/store/kms/xks/v1/keys/k.1-_/encrypt", Some(Operation::Encrypt(key())));
        check("/store/kms/xks/v1/keys/k.1-_/decrypt", Some(Operation::Decrypt(key())));
        check("/store/kms/xks/v1/keys/k.1-_/metadata", Some(Operation::Metadata(key())));
        check("/store/kms/xks/v1/health", Some(Operation::Health));
        for path in [
            "/kms/xks/v1/health",
            "/store/kms/xks/v2/health",
            "/store/kms/xks/v1/health/",
            "/store/kms/xks/v1/keys//encrypt",
            "/store/kms/xks/v1/keys/a%2f/encrypt",
            "/store/kms/xks/v1/keys/k/destroy",
            "/store/kms/xks/v1/keys/k",
        ] {
            check(path, None);
        }
        let long = format!("/store/kms/xks/v1/keys/{}/encrypt", "k".repeat(KEY_BYTES_MAX + 1));
        check(&long, None);
    }
}

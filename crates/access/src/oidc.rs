//! OpenID Connect Core 1.0 as a relying party: a provider's own description, its keys, and its ID
//! tokens are checked here, and nothing is fetched. Only signatures of a closed list of public-key
//! algorithms count; an unsigned token or one under a shared secret is refused.

mod keyset;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use veritwin_domain::Timestamp;
use veritwin_keys::{JoseAlgorithm, constant_time_eq, sha256};

pub use keyset::{KEY_SET_KEYS_MAX, KeySet};

/// Longest ID token, in bytes.
pub const ID_TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far the provider's clock may be from ours, in seconds.
pub const CLOCK_SKEW_S_MAX: i64 = 60;
/// An ID token that was made longer ago than this is refused, in seconds.
pub const ID_TOKEN_AGE_S_MAX: i64 = 600;
/// Longest subject, in bytes (OpenID Connect Core 1.0, 2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Why a provider's document or token is refused. The texts name fields and what would be right,
/// never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// Not what the standard says it should look like.
    #[error("the provider's {0} is malformed or missing")]
    Malformed(&'static str),
    /// Another issuer speaks.
    #[error("the issuer is another one than the one that is set")]
    Issuer,
    /// It cannot do what is needed here.
    #[error("the provider does not offer {0}")]
    Unsupported(&'static str),
    /// An algorithm that is not accepted.
    #[error("the token is signed in a way that is not accepted: RS256, PS256, ES256 or EdDSA")]
    Algorithm,
    /// No key of that name and kind.
    #[error("the token is signed by a key that the provider does not publish")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature does not fit")]
    Signature,
    /// Made for another client.
    #[error("the token was made for another client")]
    Audience,
    /// Ended, too old, or from the future.
    #[error("the token's times do not fit: more than {CLOCK_SKEW_S_MAX} s apart, or ended")]
    Time,
    /// Made for another sign-in.
    #[error("the token was made for another sign-in")]
    Nonce,
    /// The person was not asked again.
    #[error("the provider did not ask who it is again")]
    NotFresh,
}

/// What is needed of a provider's description (OpenID Connect Discovery 1.0, 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where a person signs in.
    pub authorization_endpoint: String,
    /// Where a code becomes a token.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Whether its answers name their issuer (RFC 9207), so that one without is refused.
    pub states_issuer: bool,
    /// Whether the client's secret goes into the body instead of a header.
    pub secret_in_body: bool,
}

#[derive(Deserialize)]
struct RawDescription {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    response_types_supported: Option<Vec<String>>,
}

/// The path of a provider's description below its issuer (Discovery 1.0, 4).
pub fn description_address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

impl Description {
    /// Reads a description, which has to be `issuer`'s own.
    pub fn parse(bytes: &[u8], issuer: &str) -> Result<Self, OidcError> {
        let raw: RawDescription =
            serde_json::from_slice(bytes).map_err(|_| OidcError::Malformed("description"))?;
        if raw.issuer != issuer {
            return Err(OidcError::Issuer);
        }
        let lacks = |list: &Option<Vec<String>>, wanted: &str| {
            list.as_ref().is_some_and(|list| list.iter().all(|one| one != wanted))
        };
        if lacks(&raw.code_challenge_methods_supported, "S256") {
            return Err(OidcError::Unsupported("PKCE with S256"));
        }
        if lacks(&raw.response_types_supported, "code") {
            return Err(OidcError::Unsupported("the authorisation code flow"));
        }
        let methods = &raw.token_endpoint_auth_methods_supported;
        let secret_in_body = lacks(methods, "client_secret_basic");
        if secret_in_body && lacks(methods, "client_secret_post") && lacks(methods, "none") {
            return Err(OidcError::Unsupported("client_secret_basic or client_secret_post"));
        }
        Ok(Self {
            authorization_endpoint: raw.authorization_endpoint,
            token_endpoint: raw.token_endpoint,
            jwks_uri: raw.jwks_uri,
            states_issuer: raw.authorization_response_iss_parameter_supported,
            secret_in_body,
        })
    }
}

/// What a token has to say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who made it.
    pub issuer: &'a str,
    /// For whom.
    pub client_id: &'a str,
    /// For which sign-in.
    pub nonce: &'a str,
    /// Now.
    pub now: Timestamp,
    /// The person has to have been asked since then.
    pub asked_since: Option<Timestamp>,
}

/// Who a provider says that somebody is.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The provider's own name for the person, which never changes.
    pub subject: String,
    /// The address.
    pub email: Option<String>,
    /// Whether the provider says that the address is the person's.
    pub email_verified: bool,
    /// The person's name.
    pub name: Option<String>,
    /// When the person last proved who they are.
    pub asked_at: Option<Timestamp>,
    /// Whether the provider says that more than one factor was shown (RFC 8176, `mfa`).
    pub second_factor: bool,
}

/// Who it is stands in no log.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims")
            .field("email_verified", &self.email_verified)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct RawClaims {
    iss: String,
    sub: String,
    aud: Value,
    azp: Option<String>,
    exp: Value,
    iat: Value,
    nbf: Option<Value>,
    nonce: Option<String>,
    auth_time: Option<Value>,
    email: Option<String>,
    email_verified: Option<Value>,
    name: Option<String>,
    amr: Option<Value>,
}

/// The value of `code_challenge` of a verifier, method S256 (RFC 7636, 4.2).
pub fn code_challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))
}

fn seconds(value: &Value) -> Option<i64> {
    // A NumericDate may have a fraction (RFC 7519, 2).
    let whole = value.as_i64();
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    let fraction =
        || value.as_f64().filter(|seconds| seconds.abs() < 1e15).map(|seconds| seconds as i64);
    whole.or_else(fraction)
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

fn part<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, OidcError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| OidcError::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| OidcError::Malformed(what))
}

/// Checks an ID token (OpenID Connect Core 1.0, 3.1.3.7) and gives what it says.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Claims, OidcError> {
    let malformed = OidcError::Malformed("ID token");
    if token.len() > ID_TOKEN_BYTES_MAX {
        return Err(malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(malformed)?;
    let header: Header = part(header, "ID token")?;
    let algorithm = JoseAlgorithm::named(&header.alg).ok_or(OidcError::Algorithm)?;
    let is_jwt = header.typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
    if header.crit.is_some() || !is_jwt {
        return Err(malformed);
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
    let mut candidates = keys.candidates(header.kid.as_deref(), algorithm).peekable();
    if candidates.peek().is_none() {
        return Err(OidcError::UnknownKey);
    }
    if !candidates.any(|key| key.verifies(algorithm, signed.as_bytes(), &signature)) {
        return Err(OidcError::Signature);
    }
    check_claims(part(payload, "ID token")?, expected)
}

fn check_claims(raw: RawClaims, expected: &Expected<'_>) -> Result<Claims, OidcError> {
    if raw.iss != expected.issuer {
        return Err(OidcError::Issuer);
    }
    check_audience(&raw, expected.client_id)?;
    check_times(&raw, expected.now)?;
    let nonce = raw.nonce.as_deref().unwrap_or_default();
    if !constant_time_eq(nonce.as_bytes(), expected.nonce.as_bytes()) {
        return Err(OidcError::Nonce);
    }
    if raw.sub.is_empty() || raw.sub.len() > SUBJECT_BYTES_MAX {
        return Err(OidcError::Malformed("sub"));
    }
    let asked_at = raw.auth_time.as_ref().and_then(seconds);
    if let Some(since) = expected.asked_since {
        let since = since.as_micros() / 1_000_000 - CLOCK_SKEW_S_MAX;
        if asked_at.is_none_or(|asked| asked < since) {
            return Err(OidcError::NotFresh);
        }
    }
    let verified = raw.email_verified.as_ref();
    // Some providers write it as a text.
    let email_verified = verified.is_some_and(|value| *value == true || *value == "true");
    let methods = raw.amr.as_ref().and_then(Value::as_array);
    let second_factor = methods.is_some_and(|all| all.iter().any(|one| one == "mfa"));
    Ok(Claims {
        subject: raw.sub,
        email: raw.email,
        email_verified,
        name: raw.name,
        asked_at: asked_at.map(timestamp),
        second_factor,
    })
}

fn check_audience(raw: &RawClaims, client_id: &str) -> Result<(), OidcError> {
    let is_ours = |value: &Value| value == client_id;
    let (holds, others) = match &raw.aud {
        Value::Array(all) => (all.iter().any(is_ours), all.len() > 1),
        one => (is_ours(one), false),
    };
    let party = raw.azp.as_deref();
    let party_fits = party.map_or(!others, |party| party == client_id);
    if holds && party_fits { Ok(()) } else { Err(OidcError::Audience) }
}

fn check_times(raw: &RawClaims, now: Timestamp) -> Result<(), OidcError> {
    let now = now.as_micros() / 1_000_000;
    let ends = seconds(&raw.exp).ok_or(OidcError::Malformed("exp"))?;
    let made = seconds(&raw.iat).ok_or(OidcError::Malformed("iat"))?;
    let begins = match &raw.nbf {
        Some(value) => seconds(value).ok_or(OidcError::Malformed("nbf"))?,
        None => made,
    };
    let fits = now < ends.saturating_add(CLOCK_SKEW_S_MAX)
        && made.max(begins) <= now + CLOCK_SKEW_S_MAX
        && made.saturating_add(ID_TOKEN_AGE_S_MAX + CLOCK_SKEW_S_MAX) >= now;
    if fits { Ok(()) } else { Err(OidcError::Time) }
}

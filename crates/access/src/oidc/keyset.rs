//! A provider's published keys (RFC 7517). Keys of other kinds, for encryption or of another size
//! are passed over; a private part in it is never read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use veritwin_keys::{JoseAlgorithm, JoseKey};

use super::OidcError;

/// Most keys that are looked at; a provider with more is refused.
pub const KEY_SET_KEYS_MAX: usize = 64;

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Option<String>,
    algorithm: Option<JoseAlgorithm>,
    key: JoseKey,
}

/// The keys that a provider signs with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySet(Vec<Entry>);

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

fn coordinate(text: Option<&String>) -> Option<[u8; 32]> {
    bytes(text)?.try_into().ok()
}

fn entry(raw: RawKey) -> Option<Entry> {
    if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => JoseKey::Rsa { n: bytes(raw.n.as_ref())?, e: bytes(raw.e.as_ref())? },
        ("EC", Some("P-256")) => {
            JoseKey::P256 { x: coordinate(raw.x.as_ref())?, y: coordinate(raw.y.as_ref())? }
        }
        ("OKP", Some("Ed25519")) => JoseKey::Ed25519(coordinate(raw.x.as_ref())?),
        _ => return None,
    };
    let algorithm = match raw.alg.as_deref() {
        Some(name) => Some(JoseAlgorithm::named(name)?),
        None => None,
    };
    Some(Entry { name: raw.kid, algorithm, key })
}

impl KeySet {
    /// Reads a key set.
    pub fn parse(bytes: &[u8]) -> Result<Self, OidcError> {
        let malformed = OidcError::Malformed("key set");
        let raw: RawSet = serde_json::from_slice(bytes).map_err(|_| malformed)?;
        if raw.keys.len() > KEY_SET_KEYS_MAX {
            return Err(malformed);
        }
        let known = raw.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(Self(known.filter_map(entry).collect()))
    }

    /// The keys that may have made a signature: of that name, if one is given, and of that kind.
    pub(super) fn candidates<'a>(
        &'a self,
        name: Option<&'a str>,
        algorithm: JoseAlgorithm,
    ) -> impl Iterator<Item = &'a JoseKey> {
        let fits = move |one: &&Entry| {
            name.is_none_or(|name| one.name.as_deref() == Some(name))
                && one.algorithm.is_none_or(|only| only == algorithm)
                && one.key.fits(algorithm)
        };
        self.0.iter().filter(fits).map(|one| &one.key)
    }
}

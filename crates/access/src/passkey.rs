//! Passkeys (WebAuthn Level 2): what a browser sends when one is made and when one is used is
//! checked against the challenge, the origin and the stored key. Attestation statements are asked
//! for by nobody and trusted by nobody.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use veritwin_keys::{PasskeyKey, constant_time_eq, sha256};

use crate::cbor::Item;

/// COSE numbers of the algorithms, best first.
pub const PASSKEY_ALGORITHMS: [i64; 3] = [-8, -7, -257];
/// Longest credential id, in bytes (WebAuthn, 4.).
pub const PASSKEY_ID_BYTES_MAX: usize = 1023;
/// Longest part of an answer, in bytes.
pub const PASSKEY_PART_BYTES_MAX: usize = 16 * 1024;

const FLAG_PRESENT: u8 = 0x01;
const FLAG_VERIFIED: u8 = 0x04;
const FLAG_CREDENTIAL: u8 = 0x40;

/// Why a passkey's answer is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    /// Not what WebAuthn says it should look like.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// Made for another page, challenge or ceremony.
    #[error("made for another {0}")]
    Foreign(&'static str),
    /// The person was not verified by the authenticator.
    #[error("the authenticator did not check who uses it")]
    NotVerified,
    /// An algorithm that is not offered.
    #[error("its algorithm is not one of EdDSA, ES256 and RS256")]
    Algorithm,
    /// The signature does not fit.
    #[error("the signature does not fit")]
    Signature,
    /// The counter went back: there may be two of it.
    #[error("its counter went back, it may have been copied")]
    Cloned,
}

/// The party that passkeys are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// The host name.
    pub id: String,
    /// `https://host:port`.
    pub origin: String,
}

impl RelyingParty {
    /// Of an address `https://host:port`.
    pub fn of(origin: &str) -> Self {
        let host = origin.strip_prefix("https://").unwrap_or(origin);
        let id = host.rsplit_once(':').map_or(host, |(name, _)| name);
        // A port that browsers leave out stands in no origin.
        let origin = origin.strip_suffix(":443").unwrap_or(origin);
        Self { id: id.to_owned(), origin: origin.to_owned() }
    }
}

/// What an authenticator answers when a passkey is made.
#[derive(Debug, Clone)]
pub struct Registration {
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `attestationObject`.
    pub attestation: Vec<u8>,
}

/// What an authenticator answers when a passkey is used.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// The credential's id.
    pub credential: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `signature`.
    pub signature: Vec<u8>,
}

/// A new passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPasskey {
    /// The credential's id.
    pub credential: Vec<u8>,
    /// The key as COSE bytes, to be stored and handed to [`Assertion::verify`].
    pub cose: Vec<u8>,
    /// Its signature counter.
    pub counter: u32,
}

#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

/// The challenge a browser says it answers; nothing is checked yet.
pub fn claimed_challenge(client_data: &[u8]) -> Option<Vec<u8>> {
    let data: ClientData = serde_json::from_slice(client_data).ok()?;
    URL_SAFE_NO_PAD.decode(data.challenge).ok()
}

fn check_client_data(
    bytes: &[u8],
    kind: &'static str,
    party: &RelyingParty,
    challenge: &[u8],
) -> Result<(), PasskeyError> {
    let malformed = PasskeyError::Malformed("clientDataJSON");
    if bytes.len() > PASSKEY_PART_BYTES_MAX {
        return Err(malformed);
    }
    let data: ClientData = serde_json::from_slice(bytes).map_err(|_| malformed)?;
    let answered = URL_SAFE_NO_PAD.decode(&data.challenge).map_err(|_| malformed)?;
    if data.kind != kind {
        return Err(PasskeyError::Foreign("ceremony"));
    }
    if !constant_time_eq(&answered, challenge) {
        return Err(PasskeyError::Foreign("challenge"));
    }
    if data.cross_origin || data.origin != party.origin {
        return Err(PasskeyError::Foreign("page"));
    }
    Ok(())
}

struct AuthenticatorData<'a> {
    flags: u8,
    counter: u32,
    rest: &'a [u8],
}

fn authenticator_data<'a>(
    bytes: &'a [u8],
    party: &RelyingParty,
) -> Result<AuthenticatorData<'a>, PasskeyError> {
    let malformed = PasskeyError::Malformed("authenticatorData");
    if bytes.len() > PASSKEY_PART_BYTES_MAX {
        return Err(malformed);
    }
    let (head, rest) = bytes.split_at_checked(37).ok_or(malformed)?;
    if !constant_time_eq(&head[..32], &sha256(party.id.as_bytes())) {
        return Err(PasskeyError::Foreign("host"));
    }
    let flags = head[32];
    if flags & FLAG_PRESENT == 0 || flags & FLAG_VERIFIED == 0 {
        return Err(PasskeyError::NotVerified);
    }
    let counter = u32::from_be_bytes([head[33], head[34], head[35], head[36]]);
    Ok(AuthenticatorData { flags, counter, rest })
}

/// The key in COSE form (RFC 9053).
fn cose_key(item: &Item<'_>) -> Option<PasskeyKey> {
    let number = |key: i64| match item.get(&Item::Int(key)) {
        Some(Item::Int(number)) => Some(*number),
        _ => None,
    };
    let bytes = |key: i64| item.get(&Item::Int(key)).and_then(Item::bytes);
    let point = |key: i64| bytes(key).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    match (number(1)?, number(3)?) {
        (2, -7) if number(-1)? == 1 => Some(PasskeyKey::Es256 { x: point(-2)?, y: point(-3)? }),
        (1, -8) if number(-1)? == 6 => Some(PasskeyKey::EdDsa(point(-2)?)),
        (3, -257) => Some(PasskeyKey::Rs256 { n: bytes(-1)?.to_vec(), e: bytes(-2)?.to_vec() }),
        _ => None,
    }
}

impl Registration {
    /// Checks a new passkey (WebAuthn Level 2, 7.1, without attestation).
    pub fn verify(
        &self,
        party: &RelyingParty,
        challenge: &[u8],
    ) -> Result<NewPasskey, PasskeyError> {
        check_client_data(&self.client_data, "webauthn.create", party, challenge)?;
        let malformed = PasskeyError::Malformed("attestationObject");
        if self.attestation.len() > PASSKEY_PART_BYTES_MAX {
            return Err(malformed);
        }
        let (object, rest) = Item::read(&self.attestation).ok_or(malformed)?;
        let data = object.get(&Item::Text("authData")).and_then(Item::bytes).ok_or(malformed)?;
        if !rest.is_empty() {
            return Err(malformed);
        }
        let data = authenticator_data(data, party)?;
        if data.flags & FLAG_CREDENTIAL == 0 {
            return Err(malformed);
        }
        let (head, rest) = data.rest.split_at_checked(18).ok_or(malformed)?;
        let length = usize::from(u16::from_be_bytes([head[16], head[17]]));
        let (credential, rest) = rest.split_at_checked(length).ok_or(malformed)?;
        if credential.is_empty() || credential.len() > PASSKEY_ID_BYTES_MAX {
            return Err(malformed);
        }
        let (key, after) = Item::read(rest).ok_or(malformed)?;
        cose_key(&key).ok_or(PasskeyError::Algorithm)?;
        let cose = rest[..rest.len() - after.len()].to_vec();
        Ok(NewPasskey { credential: credential.to_vec(), cose, counter: data.counter })
    }
}

impl Assertion {
    /// Checks the use of a stored passkey (WebAuthn Level 2, 7.2); gives its new counter.
    pub fn verify(
        &self,
        party: &RelyingParty,
        challenge: &[u8],
        cose: &[u8],
        counter: u32,
    ) -> Result<u32, PasskeyError> {
        check_client_data(&self.client_data, "webauthn.get", party, challenge)?;
        let data = authenticator_data(&self.authenticator_data, party)?;
        let (key, _) = Item::read(cose).ok_or(PasskeyError::Malformed("stored key"))?;
        let key = cose_key(&key).ok_or(PasskeyError::Algorithm)?;
        let signed = [self.authenticator_data.as_slice(), &sha256(&self.client_data)].concat();
        if self.signature.len() > PASSKEY_PART_BYTES_MAX || !key.verifies(&signed, &self.signature)
        {
            return Err(PasskeyError::Signature);
        }
        if (data.counter != 0 || counter != 0) && data.counter <= counter {
            return Err(PasskeyError::Cloned);
        }
        Ok(data.counter)
    }
}

#[cfg(test)]
mod tests;

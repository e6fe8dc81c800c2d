//! A data encryption key in memory, and the sealing of single values under it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad as RawAad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use veritwin_domain::{Rng, Timestamp};

use crate::primitive::hkdf_sha256;
use crate::{Aad, DekId, DekScope, KeyError, SecretKey};

/// Length of an AES-GCM tag, in bytes.
pub const TAG_BYTES: usize = 16;

const SALT_BYTES: usize = 16;
/// A last use that never was.
pub(crate) const NEVER_MICROS: i64 = i64::MIN;
const VALUE_VERSION: u8 = 1;
const VALUE_HEADER_BYTES: usize = 1 + 16;
const VALUE_LABEL: &[u8] = b"veritwin value key v1";

struct Inner {
    id: DekId,
    scope: DekScope,
    secret: SecretKey,
    rng: Arc<dyn Rng>,
    owner_last_used_micros: Arc<AtomicI64>,
}

/// A data encryption key. Cloning shares it; the last clone wipes it.
#[derive(Clone)]
pub struct Dek(Arc<Inner>);

impl Dek {
    pub(crate) fn new(
        id: DekId,
        scope: DekScope,
        secret: SecretKey,
        rng: Arc<dyn Rng>,
        owner_last_used_micros: Arc<AtomicI64>,
    ) -> Self {
        Self(Arc::new(Inner { id, scope, secret, rng, owner_last_used_micros }))
    }

    /// Its public name.
    pub fn id(&self) -> DekId {
        self.0.id
    }

    /// What it protects.
    pub fn scope(&self) -> &DekScope {
        &self.0.scope
    }

    /// The same key's name over another secret: the random key of one file.
    pub(crate) fn with_secret(&self, secret: SecretKey) -> Self {
        let Inner { id, scope, rng, owner_last_used_micros, .. } = &*self.0;
        Self::new(*id, *scope, secret, Arc::clone(rng), Arc::clone(owner_last_used_micros))
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.0.secret
    }

    pub(crate) fn note_use(&self, now: Timestamp) {
        self.0.owner_last_used_micros.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn check(&self, aad: &Aad<'_>) -> Result<(), KeyError> {
        if aad.matches(&self.0.scope) { Ok(()) } else { Err(KeyError::WrongScope(self.0.id)) }
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dek({})", self.0.id)
    }
}

/// Seals one value: a fresh 16-byte salt gives it its own key, so that counts need no watching.
/// Layout: version, DekId, salt, nonce, ciphertext, tag (61 bytes more than the plaintext).
pub fn seal_value(dek: &Dek, aad: Aad<'_>, plaintext: &[u8]) -> Result<Vec<u8>, KeyError> {
    dek.check(&aad)?;
    let mut out = Vec::with_capacity(
        VALUE_HEADER_BYTES + SALT_BYTES + NONCE_LEN + plaintext.len() + TAG_BYTES,
    );
    out.push(VALUE_VERSION);
    out.extend_from_slice(dek.id().as_bytes());
    aad.with_bytes(|aad| {
        seal_salted(dek.secret(), dek.0.rng.as_ref(), VALUE_LABEL, aad, plaintext, &mut out);
    });
    Ok(out)
}

/// Opens what [`seal_value`] made. `dek` is the key named by [`sealed_dek_id`].
pub fn open_value(dek: &Dek, aad: Aad<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    if sealed_dek_id(sealed)? != dek.id() {
        return Err(KeyError::NotAuthentic);
    }
    dek.check(&aad)?;
    aad.with_bytes(|aad| open_salted(dek.secret(), VALUE_LABEL, aad, &sealed[VALUE_HEADER_BYTES..]))
}

/// The key that a sealed value needs.
pub fn sealed_dek_id(sealed: &[u8]) -> Result<DekId, KeyError> {
    let format = |reason| KeyError::Format { expected: "sealed value", reason };
    if sealed.first() != Some(&VALUE_VERSION) {
        return Err(format("its version is unknown"));
    }
    let id = sealed.get(1..VALUE_HEADER_BYTES).and_then(|bytes| bytes.try_into().ok());
    id.map(DekId::from_bytes).ok_or_else(|| format("it is too short"))
}

pub(crate) fn aead_key(bytes: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("an AES-256 key has 32 bytes"))
}

fn salted_key(secret: &SecretKey, label: &[u8], salt: &[u8]) -> LessSafeKey {
    let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
    hkdf_sha256(secret, salt, &[label], bytes.as_mut());
    aead_key(bytes.as_ref())
}

/// Appends salt, nonce, ciphertext and tag to `out`.
pub(crate) fn seal_salted(
    secret: &SecretKey,
    rng: &dyn Rng,
    label: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) {
    let mut salt_and_nonce = [0u8; SALT_BYTES + NONCE_LEN];
    rng.fill(&mut salt_and_nonce);
    let (salt, nonce) = salt_and_nonce.split_at(SALT_BYTES);
    let key = salted_key(secret, label, salt);
    let nonce = Nonce::try_assume_unique_for_key(nonce).expect("a nonce has 12 bytes");
    out.extend_from_slice(&salt_and_nonce);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(nonce, RawAad::from(aad), &mut out[start..])
        .expect("plaintext is below the AES-GCM limit of 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

pub(crate) fn open_salted(
    secret: &SecretKey,
    label: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, KeyError> {
    if sealed.len() < SALT_BYTES + NONCE_LEN + TAG_BYTES {
        return Err(KeyError::Format { expected: "sealed value", reason: "it is too short" });
    }
    let (salt, rest) = sealed.split_at(SALT_BYTES);
    let (nonce, ciphertext) = rest.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::NotAuthentic)?;
    let mut buffer = ciphertext.to_vec();
    let opened_bytes = salted_key(secret, label, salt)
        .open_in_place(nonce, RawAad::from(aad), &mut buffer)
        .map_err(|_| KeyError::NotAuthentic)?
        .len();
    buffer.truncate(opened_bytes);
    Ok(buffer)
}

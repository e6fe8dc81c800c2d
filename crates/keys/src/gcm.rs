//! One AES-256-GCM key by itself, with nonce and tag apart: the form in which keys are asked for
//! over the external key store protocol. Nonces are random, so that one key is good for 2^32 uses.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use veritwin_domain::Rng;
use zeroize::Zeroizing;

use crate::dek::{TAG_BYTES, aead_key};
use crate::{KeyError, SecretKey};

/// Length of a nonce, in bytes.
pub const GCM_NONCE_BYTES: usize = NONCE_LEN;

/// What sealing gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcmSealed {
    /// The random nonce.
    pub nonce: [u8; GCM_NONCE_BYTES],
    /// As long as the plaintext.
    pub ciphertext: Vec<u8>,
    /// The tag.
    pub tag: [u8; TAG_BYTES],
}

/// A key; the cipher's own schedule is wiped when it is dropped.
pub struct GcmKey(LessSafeKey);

impl GcmKey {
    /// The key of 32 secret bytes.
    pub fn new(secret: &SecretKey) -> Self {
        Self(aead_key(secret.expose()))
    }

    /// Seals under a random nonce.
    pub fn seal(
        &self,
        rng: &dyn Rng,
        associated: &[u8],
        plaintext: &[u8],
    ) -> Result<GcmSealed, KeyError> {
        let mut nonce = [0u8; GCM_NONCE_BYTES];
        rng.fill(&mut nonce);
        let mut ciphertext = plaintext.to_vec();
        let sealed = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated),
            &mut ciphertext,
        );
        let made = sealed.map_err(|_| KeyError::Exhausted)?;
        let mut tag = [0u8; TAG_BYTES];
        tag.copy_from_slice(made.as_ref());
        Ok(GcmSealed { nonce, ciphertext, tag })
    }

    /// Opens what was sealed with this key, nonce and associated data.
    pub fn open(
        &self,
        nonce: &[u8; GCM_NONCE_BYTES],
        associated: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let mut plaintext = Zeroizing::new(vec![0u8; ciphertext.len()]);
        let opened = self.0.open_separate_gather(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(associated),
            ciphertext,
            tag,
            plaintext.as_mut_slice(),
        );
        opened.map_err(|_| KeyError::NotAuthentic)?;
        Ok(plaintext)
    }
}

impl fmt::Debug for GcmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcmKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRng;

    /// NIST, "The Galois/Counter Mode of Operation", test case 16.
    #[test]
    fn known_answer() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let secret = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let key = GcmKey::new(&SecretKey::from_bytes(secret.try_into().unwrap()));
        let nonce = bytes("cafebabefacedbaddecaf888").try_into().unwrap();
        let ciphertext = bytes(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b0\
             8b1056828838c5f61e6393ba7a0abcc9f662",
        );
        let tag = bytes("76fc6ece0f4e1768cddf8853bb2d551b").try_into().unwrap();
        let associated = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let opened = key.open(&nonce, &associated, &ciphertext, &tag).unwrap();
        assert!(hex::encode(&*opened).starts_with("d9313225f88406e5a55909c5aff5269a86a7a953"));
        assert!(key.open(&nonce, b"other", &ciphertext, &tag).is_err());
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_and_nothing_else() {
        let key = GcmKey::new(&SecretKey::from_bytes([7; 32]));
        let sealed = key.seal(&SystemRng, b"a", b"a key").unwrap();
        let open =
            |key: &GcmKey, of: &GcmSealed| key.open(&of.nonce, b"a", &of.ciphertext, &of.tag);
        assert_eq!(&**open(&key, &sealed).unwrap(), b"a key");
        assert_ne!(key.seal(&SystemRng, b"a", b"a key").unwrap(), sealed);
        let other = GcmKey::new(&SecretKey::from_bytes([8; 32]));
        assert!(open(&other, &sealed).is_err());
        let mut changed = sealed;
        changed.tag[0] ^= 1;
        assert!(open(&key, &changed).is_err());
        assert_eq!(format!("{key:?}"), "GcmKey(..)");
    }
}

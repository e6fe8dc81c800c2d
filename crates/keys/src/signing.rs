//! Ed25519 signing keys (RFC 8032). The seed leaves only sealed.

use std::fmt;

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use veritwin_domain::Rng;

use crate::{Aad, Dek, KeyError, SecretKey, open_value, seal_value};

/// An Ed25519 key pair.
pub struct SigningKey {
    seed: SecretKey,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &dyn Rng) -> Self {
        Self::from_seed(SecretKey::generate(rng))
    }

    /// The key of a 32-byte seed.
    pub fn from_seed(seed: SecretKey) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .expect("every 32 bytes are an Ed25519 seed");
        Self { seed, pair }
    }

    /// The key that [`Self::seal`] stored.
    pub fn from_sealed(dek: &Dek, aad: Aad<'_>, sealed: &[u8]) -> Result<Self, KeyError> {
        let seed = zeroize::Zeroizing::new(open_value(dek, aad, sealed)?);
        let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| KeyError::Format {
            expected: "sealed signing key",
            reason: "its seed does not have 32 bytes",
        })?;
        Ok(Self::from_seed(SecretKey::from_bytes(seed)))
    }

    /// The seed, sealed for storage.
    pub fn seal(&self, dek: &Dek, aad: Aad<'_>) -> Result<Vec<u8>, KeyError> {
        seal_value(dek, aad, self.seed.expose())
    }

    /// The 64-byte signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0u8; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }

    /// The 32-byte public key.
    pub fn public_bytes(&self) -> [u8; 32] {
        let mut out = [0u8; 32];
        out.copy_from_slice(self.pair.public_key().as_ref());
        out
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", hex::encode(self.public_bytes()))
    }
}

/// True when `signature` over `message` is by the owner of `public_key`.
pub fn verify_signature(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&signature::ED25519, public_key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_2() {
        let mut seed = [0u8; 32];
        hex::decode_to_slice(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            &mut seed,
        )
        .unwrap();
        let key = SigningKey::from_seed(SecretKey::from_bytes(seed));
        assert_eq!(
            hex::encode(key.public_bytes()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign(&[0x72]);
        assert!(hex::encode(signature).starts_with("92a009a9f0d4cab8720e820b5f642540"));
        assert!(verify_signature(&key.public_bytes(), &[0x72], &signature));
        assert!(!verify_signature(&key.public_bytes(), &[0x73], &signature));
    }
}

//! RSA-2048 signing keys (RSASSA-PKCS1-v1_5 with SHA-256), where a standard asks for RSA. The
//! private half leaves only sealed.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use zeroize::Zeroizing;

use crate::{Aad, Dek, KeyError, open_value, seal_value};

/// An RSA-2048 key pair.
pub struct RsaSigningKey {
    pair: KeyPair,
    public: Vec<u8>,
}

impl RsaSigningKey {
    /// A new key pair. Takes up to a second of CPU: callers on an async runtime use a blocking
    /// task.
    pub fn generate() -> Result<Self, KeyError> {
        let wrong = KeyError::Format { expected: "RSA key", reason: "it was not made" };
        Self::new(KeyPair::generate(KeySize::Rsa2048).map_err(|_| wrong)?)
    }

    fn new(pair: KeyPair) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::Format { expected: "RSA key", reason: "it cannot be written" };
        let public: PublicKeyX509Der<'static> = pair.public_key().as_der().map_err(wrong)?;
        let public = public.as_ref().to_vec();
        Ok(Self { pair, public })
    }

    /// The key pair that [`Self::seal`] stored.
    pub fn from_sealed(dek: &Dek, aad: Aad<'_>, sealed: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(open_value(dek, aad, sealed)?);
        let wrong = KeyError::Format { expected: "sealed RSA key", reason: "not PKCS#8" };
        Self::new(KeyPair::from_pkcs8(&pkcs8).map_err(|_| wrong)?)
    }

    /// The private half, sealed for storage.
    pub fn seal(&self, dek: &Dek, aad: Aad<'_>) -> Result<Vec<u8>, KeyError> {
        let wrong = |_| KeyError::Format { expected: "RSA key", reason: "it cannot be written" };
        let pkcs8: Pkcs8V1Der<'static> = self.pair.as_der().map_err(wrong)?;
        seal_value(dek, aad, pkcs8.as_ref())
    }

    /// The public half, in DER (`SubjectPublicKeyInfo`).
    pub fn public_der(&self) -> &[u8] {
        &self.public
    }

    /// The signature of `message`, as long as the modulus.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let wrong = |_| KeyError::Format { expected: "RSA key", reason: "it does not sign" };
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(wrong)?;
        Ok(signature)
    }
}

impl fmt::Debug for RsaSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaSigningKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_it_signs_verifies_with_its_public_half() {
        let key = RsaSigningKey::generate().unwrap();
        let signature = key.sign(b"message").unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_der());
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"another", &signature).is_err());
    }
}

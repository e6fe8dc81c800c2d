//! Bringing a key: an RSA-4096 key pair that is used once, and the two ways in which a customer
//! wraps a 256-bit key under its public half. Both are what key stores and hardware modules speak.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use crate::root::secret_from;
use crate::{Aad, Dek, KeyError, SecretKey, open_value, seal_value};

/// Length of an RSA-4096 ciphertext, in bytes.
const RSA_BYTES: usize = 512;
/// Length of a 256-bit key wrapped by AES-KWP (RFC 5649), in bytes.
const KWP_BYTES: usize = 40;
/// Longest wrapped key that is looked at, in bytes.
pub const IMPORT_BYTES_MAX: usize = RSA_BYTES + KWP_BYTES;

/// How a brought key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportWrapping {
    /// The key itself under RSA-OAEP with SHA-256, for hash and mask alike.
    RsaOaepSha256,
    /// A fresh AES-256 key under RSA-OAEP with SHA-256, then the key under that one by AES-KWP
    /// (RFC 5649): `CKM_RSA_AES_KEY_WRAP`.
    RsaAesKwp,
}

impl ImportWrapping {
    /// Every way there is.
    pub const ALL: [Self; 2] = [Self::RsaOaepSha256, Self::RsaAesKwp];

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaOaepSha256 => "rsa_oaep_sha256",
            Self::RsaAesKwp => "rsa_aes_kwp",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// An RSA-4096 key pair for one import.
pub struct ImportKey {
    private: OaepPrivateDecryptingKey,
    pkcs8: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

impl ImportKey {
    /// A new key pair. Takes seconds of CPU: callers on an async runtime use a blocking task.
    pub fn generate() -> Result<Self, KeyError> {
        let wrong = KeyError::Format { expected: "RSA key", reason: "it was not made" };
        match PrivateDecryptingKey::generate(KeySize::Rsa4096) {
            Ok(key) => Self::new(key),
            Err(_) => Err(wrong),
        }
    }

    fn new(key: PrivateDecryptingKey) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::Format { expected: "RSA key", reason: "it cannot be written" };
        let pkcs8: Pkcs8V1Der<'static> = key.as_der().map_err(wrong)?;
        let pkcs8 = Zeroizing::new(pkcs8.as_ref().to_vec());
        let public: PublicKeyX509Der<'static> = key.public_key().as_der().map_err(wrong)?;
        let public = public.as_ref().to_vec();
        let private = OaepPrivateDecryptingKey::new(key).map_err(wrong)?;
        Ok(Self { private, pkcs8, public })
    }

    /// The key pair that [`Self::seal`] stored.
    pub fn from_sealed(dek: &Dek, aad: Aad<'_>, sealed: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(open_value(dek, aad, sealed)?);
        match PrivateDecryptingKey::from_pkcs8(&pkcs8) {
            Ok(key) => Self::new(key),
            Err(_) => Err(KeyError::Format { expected: "sealed RSA key", reason: "not PKCS#8" }),
        }
    }

    /// The private half, sealed for storage.
    pub fn seal(&self, dek: &Dek, aad: Aad<'_>) -> Result<Vec<u8>, KeyError> {
        seal_value(dek, aad, &self.pkcs8)
    }

    /// The public half, in DER (`SubjectPublicKeyInfo`).
    pub fn public_der(&self) -> &[u8] {
        &self.public
    }

    /// The 256-bit key in `wrapped`. Every way to be wrong has one answer, so that it says nothing
    /// of the key.
    pub fn unwrap(&self, wrapping: ImportWrapping, wrapped: &[u8]) -> Result<SecretKey, KeyError> {
        let key = match wrapping {
            ImportWrapping::RsaOaepSha256 => secret_from(&self.oaep(wrapped)?),
            ImportWrapping::RsaAesKwp => {
                let Some((under_rsa, under_aes)) = wrapped.split_at_checked(RSA_BYTES) else {
                    return Err(KeyError::NotAuthentic);
                };
                let kek = self.oaep(under_rsa)?;
                let kek = AesKek::new(&AES_256, &kek).map_err(|_| KeyError::NotAuthentic)?;
                if under_aes.len() != KWP_BYTES {
                    return Err(KeyError::NotAuthentic);
                }
                let mut opened = Zeroizing::new([0u8; KWP_BYTES]);
                let key = kek
                    .unwrap_with_padding(under_aes, opened.as_mut())
                    .map_err(|_| KeyError::NotAuthentic)?;
                secret_from(key)
            }
        };
        key.map_err(|_| KeyError::NotAuthentic)
    }

    fn oaep(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if wrapped.len() != RSA_BYTES {
            return Err(KeyError::NotAuthentic);
        }
        let mut opened = Zeroizing::new(vec![0u8; self.private.min_output_size()]);
        let length = self
            .private
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut opened, None)
            .map_err(|_| KeyError::NotAuthentic)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

impl fmt::Debug for ImportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};

    use super::*;

    fn oaep(public: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = PublicEncryptingKey::from_der(public).expect("a public key");
        let key = OaepPublicEncryptingKey::new(key).expect("for OAEP");
        let mut out = vec![0u8; key.ciphertext_size()];
        key.encrypt(&OAEP_SHA256_MGF1SHA256, plain, &mut out, None).expect("wrapped").to_vec()
    }

    #[test]
    fn keys_come_in_both_wrappings_and_nothing_else_does() {
        let import = ImportKey::generate().expect("a key pair");
        let public = import.public_der();
        let key = [7u8; 32];
        let plain = oaep(public, &key);
        let opened = import.unwrap(ImportWrapping::RsaOaepSha256, &plain).expect("opens");
        assert_eq!(opened.expose(), &key);
        let kek = AesKek::new(&AES_256, &[9u8; 32]).expect("a key");
        let mut under_aes = [0u8; KWP_BYTES];
        kek.wrap_with_padding(&key, &mut under_aes).expect("wraps");
        let both = [oaep(public, &[9u8; 32]), under_aes.to_vec()].concat();
        assert_eq!(both.len(), IMPORT_BYTES_MAX);
        let opened = import.unwrap(ImportWrapping::RsaAesKwp, &both).expect("opens");
        assert_eq!(opened.expose(), &key);
        for wrapping in ImportWrapping::ALL {
            let short = oaep(public, &key[..31]);
            for wrong in [&b""[..], &plain[1..], &both[..both.len() - 1], &short] {
                let answer = import.unwrap(wrapping, wrong);
                assert!(matches!(answer, Err(KeyError::NotAuthentic)), "{answer:?}");
            }
        }
        let mut flipped = both;
        flipped[IMPORT_BYTES_MAX - 1] ^= 1;
        assert!(import.unwrap(ImportWrapping::RsaAesKwp, &flipped).is_err());
    }
}

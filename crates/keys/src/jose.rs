//! Signature checks of JSON Web Signatures (RFC 7515), for a closed list of algorithms with public
//! keys. There is no HMAC and no `none` in it. Which bytes are signed, and by whose key, is
//! `access`'s to say.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

/// Shortest RSA modulus, in bytes (RFC 7518, 3.3: 2048 bits).
const MODULUS_BYTES_MIN: usize = 256;
/// Longest RSA modulus, in bytes.
const MODULUS_BYTES_MAX: usize = 1024;

/// An algorithm that is accepted (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoseAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JoseAlgorithm {
    /// Every algorithm that is accepted.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The value of `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a header's `alg`, if it is one of the list.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// A public key out of a JSON Web Key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoseKey {
    /// RSA.
    Rsa {
        /// The modulus, big-endian.
        n: Vec<u8>,
        /// The exponent, big-endian.
        e: Vec<u8>,
    },
    /// A point on P-256.
    P256 {
        /// X.
        x: [u8; 32],
        /// Y.
        y: [u8; 32],
    },
    /// Ed25519.
    Ed25519([u8; 32]),
}

impl JoseKey {
    /// Whether this key is of the algorithm's kind.
    pub const fn fits(&self, algorithm: JoseAlgorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Rsa { .. }, JoseAlgorithm::Rs256 | JoseAlgorithm::Ps256)
                | (Self::P256 { .. }, JoseAlgorithm::Es256)
                | (Self::Ed25519(_), JoseAlgorithm::EdDsa)
        )
    }

    /// Whether this key made the signature over the message by this algorithm. An RSA key of less
    /// than 2048 bits verifies nothing.
    pub fn verifies(&self, algorithm: JoseAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                let scheme = match algorithm {
                    JoseAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    JoseAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    JoseAlgorithm::Es256 | JoseAlgorithm::EdDsa => return false,
                };
                (MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&n.len())
                    && RsaPublicKeyComponents { n, e }.verify(scheme, message, signature).is_ok()
            }
            Self::P256 { x, y } => {
                let mut point = [4u8; 65];
                point[1..33].copy_from_slice(x);
                point[33..].copy_from_slice(y);
                algorithm == JoseAlgorithm::Es256
                    && UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, signature)
                        .is_ok()
            }
            Self::Ed25519(key) => {
                algorithm == JoseAlgorithm::EdDsa
                    && crate::verify_signature(key, message, signature)
            }
        }
    }
}

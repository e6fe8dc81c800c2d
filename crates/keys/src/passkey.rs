//! Signature checks of passkeys: the three algorithms of WebAuthn that are in use. Which bytes are
//! signed, and by whose key, is `access`'s to say.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

/// Public key of a passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasskeyKey {
    /// ECDSA on P-256 with SHA-256 (COSE -7): the coordinates of the point.
    Es256 {
        /// X.
        x: [u8; 32],
        /// Y.
        y: [u8; 32],
    },
    /// Ed25519 (COSE -8).
    EdDsa([u8; 32]),
    /// RSA PKCS#1 v1.5 with SHA-256 (COSE -257), 2048 to 8192 bits.
    Rs256 {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

impl PasskeyKey {
    /// Whether this key made the signature over the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256 { x, y } => {
                let mut point = [4u8; 65];
                point[1..33].copy_from_slice(x);
                point[33..].copy_from_slice(y);
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point)
                    .verify(message, signature)
                    .is_ok()
            }
            Self::EdDsa(key) => crate::verify_signature(key, message, signature),
            Self::Rs256 { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

//! The primitives under everything else: SHA-256, HMAC, HKDF, constant-time comparison, random
//! bytes, and the type that holds 32 secret bytes and wipes them.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hkdf, hmac, rand};
use veritwin_domain::Rng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The operating system's random source, as needed for keys.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        // A machine without randomness must not go on: every key would be guessable.
        rand::fill(bytes).expect("the operating system's random source failed");
    }
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    into_32(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 of bytes that come in pieces.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256(..)")
    }
}

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        into_32(self.0.finish().as_ref())
    }
}

/// Which checksum of a file others are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl ChecksumAlgorithm {
    /// The name used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// From the name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(text))
    }

    /// The checksum, in hexadecimal digits.
    pub fn of(self, bytes: &[u8]) -> String {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        hex::encode(digest::digest(algorithm, bytes).as_ref())
    }
}

/// HMAC-SHA-256 (RFC 2104).
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    into_32(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

/// Compares without telling by its duration where the difference is; unequal lengths differ.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}

fn into_32(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    out.copy_from_slice(bytes);
    out
}

/// 32 secret bytes, wiped on drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Takes 32 secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 32 new random bytes.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut key = Self([0u8; 32]);
        rng.fill(&mut key.0);
        key
    }

    /// The secret itself; the name is long so that each use can be found.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

struct OutputBytes(usize);

impl hkdf::KeyType for OutputBytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA-256 (RFC 5869). `out` is at most 8,160 bytes long.
pub(crate) fn hkdf_sha256(secret: &SecretKey, salt: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let output_bytes = OutputBytes(out.len());
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret.expose())
        .expand(info, output_bytes)
        .and_then(|okm| okm.fill(out))
        .expect("HKDF output is within 255 blocks");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 180-4 example, RFC 4231 test case 2.
        assert_eq!(
            hex::encode(sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let mut pieces = Sha256::default();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.finish(), sha256(b"abc"));
        assert_eq!(
            hex::encode(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn hkdf_depends_on_every_input() {
        let derive = |secret: u8, salt: &[u8], info: &[u8]| {
            let mut out = [0u8; 64];
            hkdf_sha256(&SecretKey([secret; 32]), salt, &[info], &mut out);
            out
        };
        let base = derive(1, b"s", b"i");
        assert_eq!(base, derive(1, b"s", b"i"));
        assert_ne!(base, derive(2, b"s", b"i"));
        assert_ne!(base, derive(1, b"t", b"i"));
        assert_ne!(base, derive(1, b"s", b"j"));
    }

    #[test]
    fn comparison_and_debug() {
        assert!(constant_time_eq(b"ab", b"ab"));
        assert!(!constant_time_eq(b"ab", b"ac"));
        assert!(!constant_time_eq(b"ab", b"abc"));
        assert_eq!(format!("{:?}", SecretKey([7; 32])), "SecretKey(..)");
    }

    #[test]
    fn system_randomness_differs() {
        assert_ne!(SystemRng.next_u64(), SystemRng.next_u64());
    }
}

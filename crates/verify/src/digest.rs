//! A SHA-256 digest and its text forms (hexadecimal for people and file names, base64 for notes).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::block_api::compress256;

/// Why a text or a byte string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: expected {expected}")]
pub struct DigestError {
    expected: &'static str,
}

/// 32 bytes of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;
    /// All zero: "none", as in the previous-leaf field of a log's first leaf.
    pub const ZERO: Self = Self([0; 32]);

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError { expected: "32 bytes" })
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Standard base64 with padding (RFC 4648, section 4).
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// From standard base64 with padding.
    pub fn from_base64(text: &str) -> Result<Self, DigestError> {
        let error = DigestError { expected: "44 characters of standard base64" };
        let bytes = STANDARD.decode(text).map_err(|_| error.clone())?;
        Self::from_slice(&bytes).map_err(|_| error)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let error = DigestError { expected: "64 lower-case hexadecimal digits" };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(error);
        }
        let bytes = hex::decode(text).map_err(|_| error.clone())?;
        Self::from_slice(&bytes).map_err(|_| error)
    }
}

/// SHA-256 of what comes bit by bit.
pub struct Sha256(aws_lc_rs::digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256").finish_non_exhaustive()
    }
}

impl Sha256 {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Digest {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Digest(out)
    }
}

/// Up to this length a message is hashed block by block: setting a digest up takes as long as two
/// blocks, and a node of a tree has no more.
const SHORT_BYTES: usize = 512;
/// What the state of SHA-256 begins with (FIPS 180-4, section 5.3.3).
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of `bytes` (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> Digest {
    if bytes.len() <= SHORT_BYTES {
        return short_sha256(bytes);
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    Digest(out)
}

fn short_sha256(bytes: &[u8]) -> Digest {
    // The message, one bit, zeros, and its length in bits at the end of a block (section 5.1.1).
    let mut padded = [[0; 64]; (SHORT_BYTES + 9).div_ceil(64)];
    let blocks = (bytes.len() + 9).div_ceil(64);
    let flat = padded.as_flattened_mut();
    flat[..bytes.len()].copy_from_slice(bytes);
    flat[bytes.len()] = 0x80;
    flat[blocks * 64 - 8..blocks * 64].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    sha256_of_padded(&padded[..blocks])
}

/// SHA-256 of blocks that are padded already.
pub(crate) fn sha256_of_padded(blocks: &[[u8; 64]]) -> Digest {
    let mut state = INITIAL_STATE;
    compress256(&mut state, blocks);
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    Digest(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_messages_are_hashed_alike() {
        let bytes: Vec<u8> = (0..SHORT_BYTES + 130).map(|at| (at * 7 % 251) as u8).collect();
        for length in 0..bytes.len() {
            let mut whole = Sha256::default();
            whole.update(&bytes[..length]);
            let expected = whole.finish();
            assert_eq!(sha256(&bytes[..length]), expected, "{length} bytes");
        }
    }
}

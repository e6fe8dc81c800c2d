//! Bearer tokens: 256 random bits with a readable prefix. Only the digest is ever stored; a token
//! is never looked up by itself.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use veritwin_domain::{Rng, Secret};
use zeroize::Zeroizing;

use crate::sha256;

/// Random bytes in a token.
pub const TOKEN_BYTES: usize = 32;

/// A new token: `PREFIX_` and 43 characters of unpadded base64url.
pub fn generate(rng: &dyn Rng, prefix: &str) -> Secret<String> {
    let mut bytes = Zeroizing::new([0u8; TOKEN_BYTES]);
    rng.fill(bytes.as_mut());
    Secret::new(format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}

/// What is stored and looked up instead of the token: its SHA-256. A fast hash is right here, as
/// 256 random bits cannot be guessed.
pub fn digest(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRng;

    #[test]
    fn tokens_are_long_and_distinct() {
        let first = generate(&SystemRng, "vt");
        let second = generate(&SystemRng, "vt");
        assert_eq!(first.expose().len(), 3 + 43);
        assert!(first.expose().starts_with("vt_"));
        assert_ne!(digest(first.expose()), digest(second.expose()));
    }
}

//! The forms of the secrets that are handed out. Each kind has its prefix, so that a leaked one
//! can be found and told apart; stores keep only SHA-256 digests.

use std::fmt;

use veritwin_domain::{Rng, Secret};
use veritwin_keys::token;

/// Longest text that is looked at as a token, in bytes; longer ones are refused unread.
const TOKEN_BYTES_MAX: usize = 256;

/// A token that the platform hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A program's API key, `vtk_...`.
    ApiKey,
    /// A browser session, `vts_...`.
    Session,
    /// A device's access token, `vtd_...`. Operators may also set their own device tokens, which
    /// have no prefix.
    Device,
    /// A one-time link, `vtl_...`.
    Link,
    /// A support session inside a customer's tenant, `vtg_...`.
    Support,
}

/// What a store keeps of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

impl TokenKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::ApiKey, Self::Session, Self::Device, Self::Link, Self::Support];

    /// What its tokens begin with, before an underscore.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "vtk",
            Self::Session => "vts",
            Self::Device => "vtd",
            Self::Link => "vtl",
            Self::Support => "vtg",
        }
    }

    /// A new token with 256 random bits, and what to store of it.
    pub fn generate(self, rng: &dyn Rng) -> (Secret<String>, TokenDigest) {
        let token = token::generate(rng, self.prefix());
        let digest = TokenDigest(token::digest(token.expose()));
        (token, digest)
    }

    /// The kind that a presented text claims to be; none without a known prefix.
    pub fn of(presented: &str) -> Option<Self> {
        let (prefix, _) = presented.split_once('_')?;
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }

    /// The digest under which a presented token of this kind is looked up. Another kind's token
    /// never matches, even if its text were stored. Device tokens may lack the prefix.
    pub fn digest(self, presented: &str) -> Option<TokenDigest> {
        if presented.is_empty() || presented.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let claimed = Self::of(presented);
        let fits = claimed == Some(self) || (self == Self::Device && claimed.is_none());
        fits.then(|| TokenDigest(token::digest(presented)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::SeededRng;

    #[test]
    fn a_token_is_found_as_its_own_kind_only() {
        let rng = SeededRng::new(3);
        for kind in TokenKind::ALL {
            let (token, digest) = kind.generate(&rng);
            assert_eq!(TokenKind::of(token.expose()), Some(kind));
            for other in TokenKind::ALL {
                let expect = (other == kind).then_some(digest);
                assert_eq!(other.digest(token.expose()), expect, "{kind:?} as {other:?}");
            }
        }
        assert!(TokenKind::Device.digest("A1_TEST_TOKEN").is_some());
        assert!(TokenKind::ApiKey.digest("A1_TEST_TOKEN").is_none());
        assert!(TokenKind::Device.digest(&"x".repeat(257)).is_none());
    }
}

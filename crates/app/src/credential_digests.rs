//! What credentials of devices are found by, and the hashes of passwords that were made here.

use veritwin_domain::AuthorityId;
use veritwin_keys::sha256;

/// How the hash of a password begins that was made here: 256 random bits, so that a fast hash is
/// as good as a slow one.
pub(crate) const RANDOM_HASH: &str = "sha256$";

/// What a client id and a user name are found by. Neither runs into the other, and what is not
/// given differs from what is empty.
pub(crate) fn basic_digest(client_id: Option<&str>, user: Option<&str>) -> [u8; 32] {
    let mut text = b"veritwin basic credential v1\0".to_vec();
    for part in [client_id, user] {
        text.push(u8::from(part.is_some()));
        let part = part.unwrap_or_default();
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    sha256(&text)
}

/// What a client id and a user name with a password that was made here are found by. The password
/// is nobody else's, so that others may use the same names, and the device itself while it is
/// changed over; and whoever tries names learns nothing.
pub(crate) fn made_digest(
    (client_id, user): (Option<&str>, Option<&str>),
    password: &[u8],
) -> [u8; 32] {
    let label = &b"veritwin basic credential made here v1\0"[..];
    sha256(&[label, &basic_digest(client_id, user), &sha256(password)].concat())
}

/// What a common name below an authority is found by.
pub(crate) fn common_name_digest(authority: AuthorityId, common_name: &str) -> [u8; 32] {
    let label = &b"veritwin x509 common name v1\0"[..];
    sha256(&[label, authority.as_bytes(), common_name.as_bytes()].concat())
}

/// The hash of a password that was made here.
pub(crate) fn random_hash(password: &[u8]) -> String {
    format!("{RANDOM_HASH}{}", hex::encode(sha256(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_and_what_is_not_never_meet() {
        let given = [None, Some(""), Some("a"), Some("ab"), Some("b")];
        let mut seen = std::collections::HashSet::new();
        for client in given {
            for user in given {
                assert!(seen.insert(basic_digest(client, user)), "{client:?} {user:?}");
            }
        }
        let made = made_digest((Some("a"), None), b"p");
        assert!(!seen.contains(&made), "what is chosen never meets what is made");
        assert_ne!(made, made_digest((Some("a"), None), b"q"));
        assert_ne!(made, made_digest((None, Some("a")), b"p"));
        let (one, two) = (AuthorityId::from_bytes([1; 16]), AuthorityId::from_bytes([2; 16]));
        assert_ne!(common_name_digest(one, "a"), common_name_digest(two, "a"));
    }
}

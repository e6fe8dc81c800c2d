//! Password hashes: Argon2id in PHC string form, with the parameters of OWASP's password storage
//! cheat sheet (19 MiB, two passes, one lane). A hash takes tens of milliseconds of CPU: callers
//! on an async runtime use a blocking task and bound how many run at once.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use veritwin_domain::Rng;

use crate::KeyError;

/// Longest password, in bytes; longer input is refused before it is hashed.
pub const PASSWORD_BYTES_MAX: usize = 1024;

const SALT_BYTES: usize = 16;
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The parameters of new hashes, as they stand in the PHC string.
pub const PARAMETERS: &str = "m=19456,t=2,p=1";

fn hasher() -> Argon2<'static> {
    let parameters = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .expect("the parameters are inside Argon2's ranges");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
}

/// Hashes a password under a fresh salt.
pub fn hash(rng: &dyn Rng, password: &str) -> Result<String, KeyError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(KeyError::Format { expected: "password", reason: "longer than 1024 bytes" });
    }
    let mut salt = [0u8; SALT_BYTES];
    rng.fill(&mut salt);
    let hash = hasher()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| KeyError::Format { expected: "password", reason: "cannot be hashed" })?;
    Ok(hash.to_string())
}

/// True when `password` is the one that was hashed; a malformed hash matches nothing.
pub fn verify(password: &str, hash: &str) -> bool {
    password.len() <= PASSWORD_BYTES_MAX
        && phc::PasswordHash::new(hash)
            .is_ok_and(|hash| hasher().verify_password(password.as_bytes(), &hash).is_ok())
}

/// True when the hash was made with other parameters than today's and should be made anew at the
/// next successful sign-in.
pub fn needs_rehash(hash: &str) -> bool {
    !hash.starts_with(&format!("$argon2id$v=19${PARAMETERS}$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRng;

    #[test]
    fn round_trip_and_refusals() {
        let stored = hash(&SystemRng, "correct horse battery staple").unwrap();
        assert!(verify("correct horse battery staple", &stored));
        assert!(!verify("correct horse battery stapl", &stored));
        assert!(!verify("", &stored));
        assert!(!verify("correct horse battery staple", "not a hash"));
        assert!(!needs_rehash(&stored), "{stored}");
        assert!(needs_rehash(&stored.replace("t=2", "t=1")));
        assert!(hash(&SystemRng, &"x".repeat(PASSWORD_BYTES_MAX + 1)).is_err());
    }
}

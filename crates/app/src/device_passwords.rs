//! Passwords of devices. Those that people chose are hashed slowly, a few at a time and away from
//! people's own sign-ins; what was verified is remembered under a key of this process, so that a
//! fleet that comes back is let in. Who guesses is slowed down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use veritwin_access::{Attempt, Throttle};
use veritwin_domain::{CredentialId, Rng, Secret};
use veritwin_keys::{constant_time_eq, hmac_sha256, password};
use veritwin_metastore::CredentialMatch;

use crate::credential_digests::{RANDOM_HASH, basic_digest, random_hash};
use crate::{App, Error, Result};

/// Passwords of devices that are hashed at once; people's have turns of their own.
const HASHES_AT_ONCE: usize = 2;
/// How long a device waits for its turn.
const HASHING_TIMEOUT: Duration = Duration::from_secs(5);
/// Most passwords that are remembered as verified.
const VERIFIED_MAX: usize = 65_536;
/// How long a verified password is remembered.
const VERIFIED_TTL: Duration = Duration::from_secs(24 * 3600);

/// What checking passwords of devices needs.
pub(crate) struct DevicePasswords {
    /// Of this process: what is remembered means nothing elsewhere.
    key: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Duration>>,
    pub(crate) hashing: Semaphore,
    pub(crate) throttle: Mutex<Throttle>,
}

impl DevicePasswords {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Self {
            key,
            verified: Mutex::default(),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            throttle: Mutex::new(Throttle::default()),
        }
    }

    /// A password with the hash that it was verified against: a new hash is another mark.
    fn mark(&self, credential: CredentialId, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut text = credential.as_bytes().to_vec();
        text.extend_from_slice(&(hash.len() as u64).to_be_bytes());
        text.extend_from_slice(hash.as_bytes());
        text.extend_from_slice(password);
        hmac_sha256(&self.key, &text)
    }

    fn is_verified(&self, mark: &[u8; 32], now: Duration) -> bool {
        self.verified.lock().get(mark).is_some_and(|until| now < *until)
    }

    fn remember(&self, mark: [u8; 32], now: Duration) {
        let mut verified = self.verified.lock();
        if verified.len() >= VERIFIED_MAX {
            verified.retain(|_, until| now < *until);
        }
        if verified.len() >= VERIFIED_MAX {
            let mut ends: Vec<Duration> = verified.values().copied().collect();
            let (_, middle, _) = ends.select_nth_unstable(VERIFIED_MAX / 2);
            let middle = *middle;
            verified.retain(|_, until| *until > middle);
        }
        verified.insert(mark, now + VERIFIED_TTL);
    }

    /// Who guesses from one address is slowed down, and nobody else is: soon at one client id and
    /// user name, and later at one user name or client id whatever stands beside it, since the
    /// other is free for the guesser to choose. A device that came in before is not held to what
    /// others do with its user name.
    pub(crate) fn attempt(&self, (client, user): (&str, &str), address: Option<IpAddr>) -> Attempt {
        let subject = |name: [u8; 32]| {
            let mut text = name.to_vec();
            match address {
                Some(IpAddr::V4(address)) => text.extend_from_slice(&address.octets()),
                Some(IpAddr::V6(address)) => text.extend_from_slice(&address.octets()[..8]),
                None => {}
            }
            hmac_sha256(&self.key, &text)
        };
        let by_client = subject(basic_digest(Some(client), None));
        let by_user = subject(basic_digest(None, Some(user)));
        Attempt::new(if user.is_empty() { by_client } else { by_user }, Some(by_client))
    }
}

impl App {
    /// The hash of a password that somebody chose for a device, in one of the devices' turns.
    pub(crate) async fn hash_device_password(
        &self,
        chosen: Secret<String>,
    ) -> Result<Secret<String>> {
        let _turn = self.device_hashing_turn().await?;
        let app = self.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            password::hash(app.0.rng.as_ref(), chosen.expose())
        });
        let stopped = |_| Error::Internal("password hashing stopped".to_owned());
        Ok(Secret::new(hashed.await.map_err(stopped)??))
    }

    async fn device_hashing_turn(&self) -> Result<SemaphorePermit<'_>> {
        let turn = self.0.device_passwords.hashing.acquire();
        match tokio::time::timeout(HASHING_TIMEOUT, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::Busy { retry_after: HASHING_TIMEOUT }),
        }
    }

    /// Which of some credentials a password is the one of. Of nobody's, and a wrong one, it takes
    /// as long as `ways` slow hashes, however many credentials there are and whatever their hashes.
    pub(crate) async fn device_password_matches(
        &self,
        found: &[CredentialMatch],
        ways: usize,
        shown: &Secret<Vec<u8>>,
    ) -> Result<Option<usize>> {
        let passwords = &self.0.device_passwords;
        let own = random_hash(shown.expose());
        let mut slow = Vec::new();
        for (at, one) in found.iter().enumerate() {
            let Some(hash) = &one.secret_hash else { continue };
            if hash.expose().starts_with(RANDOM_HASH) {
                if constant_time_eq(own.as_bytes(), hash.expose().as_bytes()) {
                    return Ok(Some(at));
                }
                continue;
            }
            let mark = passwords.mark(one.credential.id, hash.expose(), shown.expose());
            if passwords.is_verified(&mark, self.clock().monotonic()) {
                return Ok(Some(at));
            }
            slow.push((at, mark, hash.clone()));
        }
        let _turn = self.device_hashing_turn().await?;
        let text = String::from_utf8(shown.expose().clone()).unwrap_or_default();
        let (app, text) = (self.clone(), Secret::new(text));
        let checked = tokio::task::spawn_blocking(move || {
            for (at, mark, hash) in &slow {
                if password::verify(text.expose(), hash.expose()) {
                    return Some((*at, *mark));
                }
            }
            for _ in slow.len()..ways {
                let _ = password::hash(app.0.rng.as_ref(), text.expose());
            }
            None
        });
        let stopped = |_| Error::Internal("password check stopped".to_owned());
        let Some((at, mark)) = checked.await.map_err(stopped)? else { return Ok(None) };
        passwords.remember(mark, self.clock().monotonic());
        Ok(Some(at))
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;

    use super::*;

    #[test]
    fn who_guesses_is_slowed_down_whatever_client_id_is_made_up() {
        let passwords = DevicePasswords::new(&SeededRng::new(1));
        let (here, elsewhere) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let ask = |client: &str, from: [u8; 4]| {
            let attempt = passwords.attempt((client, "pump"), Some(IpAddr::from(from)));
            let now = Duration::from_secs(1);
            let answer = passwords.throttle.lock().attempt(&attempt, now);
            answer.map(|()| attempt)
        };
        let own = ask("own", here).expect("the first");
        passwords.throttle.lock().succeeded(&own, Duration::from_secs(1));
        assert_eq!((0..9).filter(|_| ask("c", here).is_ok()).count(), 6, "one client id");
        let tries = (0..1000).filter(|number| ask(&format!("c{number}"), here).is_ok()).count();
        assert!(tries <= 100, "any client id: {tries}");
        assert!(ask("own", here).is_ok(), "who came in before is not held to it");
        assert!(ask("c", elsewhere).is_ok(), "nor is another address");
    }

    #[test]
    fn what_is_remembered_is_of_one_hash_and_bounded() {
        let passwords = DevicePasswords::new(&SeededRng::new(1));
        let now = Duration::from_secs(1);
        let credential = CredentialId::from_bytes([1; 16]);
        let mark = passwords.mark(credential, "hash", b"password");
        for other in [
            passwords.mark(CredentialId::from_bytes([2; 16]), "hash", b"password"),
            passwords.mark(credential, "hash2", b"password"),
            passwords.mark(credential, "hash", b"passwore"),
            passwords.mark(credential, "hashp", b"assword"),
        ] {
            assert_ne!(mark, other);
        }
        passwords.remember(mark, now);
        assert!(passwords.is_verified(&mark, now));
        assert!(!passwords.is_verified(&mark, now + VERIFIED_TTL));
        for number in 0..VERIFIED_MAX as u64 {
            let mut other = [0; 32];
            other[..8].copy_from_slice(&number.to_be_bytes());
            passwords.remember(other, now + Duration::from_micros(number));
        }
        assert!(passwords.verified.lock().len() <= VERIFIED_MAX);
    }
}

//! Passwords of people are hashed and verified away from the threads that serve connections, a few
//! at once: each takes 19 MiB and a core. Whoever was here before has a turn of their own, so that
//! a flood of guesses from ever new addresses keeps nobody out.

use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use veritwin_domain::Secret;
use veritwin_keys::password;

use crate::{App, Error, Result};

/// How long a password waits for its turn.
const HASHING_TIMEOUT: Duration = Duration::from_secs(5);
/// Passwords that are hashed at once, whosesoever they are.
const HASHES_AT_ONCE: usize = 3;
/// Passwords that are hashed beside those, of accounts from addresses that they have signed in
/// from, and of whoever is signed in.
const HASHES_OF_KNOWN: usize = 1;

/// New passwords that are hashed beside those.
const HASHES_OF_NEW: usize = 1;

/// The turns of those who wait.
#[derive(Debug)]
pub(crate) struct Hashing {
    anybody: Semaphore,
    known: Semaphore,
    new: Semaphore,
}

/// A turn that lasts until it is dropped.
pub(crate) type HashingTurn<'a> = SemaphorePermit<'a>;

impl Default for Hashing {
    fn default() -> Self {
        let (anybody, known) = (Semaphore::new(HASHES_AT_ONCE), Semaphore::new(HASHES_OF_KNOWN));
        Self { anybody, known, new: Semaphore::new(HASHES_OF_NEW) }
    }
}

impl Hashing {
    async fn turn(&self, is_known: bool) -> Result<HashingTurn<'_>> {
        let turn = async {
            tokio::select! {
                biased;
                turn = self.known.acquire(), if is_known => turn,
                turn = self.anybody.acquire() => turn,
            }
        };
        in_time(turn).await
    }

    /// The turn of a new password: neither those who guess nor those who set one keep each other,
    /// or who signs in, waiting.
    async fn turn_of_new(&self) -> Result<HashingTurn<'_>> {
        in_time(self.new.acquire()).await
    }
}

/// Waits for a turn, no longer than a password does.
async fn in_time<'a>(
    turn: impl Future<Output = std::result::Result<HashingTurn<'a>, AcquireError>>,
) -> Result<HashingTurn<'a>> {
    match tokio::time::timeout(HASHING_TIMEOUT, turn).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(Error::Busy { retry_after: HASHING_TIMEOUT }),
    }
}

impl App {
    /// Hashes a new password in its turn. Whoever sets one has shown a session, a link or the one
    /// of before, and does not wait behind those who guess.
    pub(crate) async fn hash_password(&self, text: Secret<String>) -> Result<Secret<String>> {
        let _turn = self.0.hashing.turn_of_new().await?;
        let app = self.clone();
        tokio::task::spawn_blocking(move || app.hash_password_blocking(&text))
            .await
            .map_err(|_| Error::Internal("password hashing stopped".to_owned()))?
    }

    fn hash_password_blocking(&self, text: &Secret<String>) -> Result<Secret<String>> {
        #[cfg(feature = "test-controls")]
        if let Some(weak) = self.0.promises.weak_password_hash(text) {
            return Ok(Secret::new(weak));
        }
        Ok(Secret::new(password::hash(self.0.rng.as_ref(), text.expose())?))
    }

    /// Verifies against the stored hash, or against one of nobody's, so that both take as long.
    /// The turn is the caller's to let go: whoever holds it until a refusal is written down lets
    /// no more guesses wait to be written than are hashed at once.
    pub(crate) async fn verify_password(
        &self,
        secret: Secret<String>,
        hash: Option<Secret<String>>,
        is_known: bool,
    ) -> Result<(bool, HashingTurn<'_>)> {
        let turn = self.0.hashing.turn(is_known).await?;
        let app = self.clone();
        let verified = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => password::verify(secret.expose(), hash.expose()),
            None => {
                drop(password::hash(app.0.rng.as_ref(), secret.expose()));
                false
            }
        });
        let stopped = |_| Error::Internal("password check stopped".to_owned());
        Ok((verified.await.map_err(stopped)?, turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_was_here_before_does_not_wait_behind_strangers() {
        let hashing = Hashing::default();
        let mut held = Vec::new();
        for _ in 0..HASHES_AT_ONCE {
            held.push(hashing.turn(false).await.expect("a turn"));
        }
        assert!(matches!(hashing.turn(false).await, Err(Error::Busy { .. })), "a stranger waits");
        let known = hashing.turn(true).await.expect("a turn of their own");
        assert!(hashing.turn(true).await.is_err(), "one at once");
        // What is free is anybody's.
        held.pop();
        let other = hashing.turn(true).await.expect("a turn");
        drop((known, other, held));
        assert!(hashing.turn(false).await.is_ok());
    }
    #[tokio::test(start_paused = true)]
    async fn new_passwords_wait_behind_each_other_alone() {
        let hashing = Hashing::default();
        let mut held = vec![hashing.turn(true).await.expect("a turn")];
        for _ in 0..HASHES_AT_ONCE {
            held.push(hashing.turn(false).await.expect("a turn"));
        }
        let new = hashing.turn_of_new().await.expect("a turn of its own");
        let late = hashing.turn_of_new().await;
        assert!(matches!(late, Err(Error::Busy { .. })), "one at once");
        drop(new);
        assert!(hashing.turn_of_new().await.is_ok());
    }
}

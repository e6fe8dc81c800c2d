//! How long a sign-in lasts. Pure arithmetic on times; the store keeps the rows.

use std::time::Duration;

use veritwin_domain::Timestamp;

/// A session ends this long after sign-in, whatever happens.
pub const SESSION_ABSOLUTE_MAX: Duration = Duration::from_secs(12 * 3600);
/// A session ends when it was not used for this long.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// "Last seen" is written at most this often, so that reading a page is not a write.
pub const SESSION_TOUCH_INTERVAL: Duration = Duration::from_secs(60);
/// A one-time link works this long.
pub const LINK_LIFETIME: Duration = Duration::from_secs(72 * 3600);
/// Acts that need it are allowed this long after a person proved who they are.
pub const PROOF_RECENT_MAX: Duration = Duration::from_secs(10 * 60);
/// A mailed link that sets a password or confirms an address works this long.
pub const MAILED_LINK_LIFETIME: Duration = Duration::from_secs(3600);
/// An API key lives at most this long.
pub const API_KEY_LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The moments that decide whether a session still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimes {
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When the session was last used, as stored.
    pub last_seen_at: Timestamp,
}

/// What a session is worth now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Valid; `touch` says that "last seen" should be written.
    Live {
        /// Whether the stored "last seen" is old enough to be written again.
        touch: bool,
    },
    /// Not used for too long.
    Idle,
    /// Past its absolute end.
    Expired,
}

impl SessionTimes {
    /// The latest moment at which the session can still be valid.
    pub fn expires_at(&self) -> Timestamp {
        self.created_at.saturating_add(SESSION_ABSOLUTE_MAX)
    }

    /// The state at `now`. A clock that stepped back does not revive or extend anything: the
    /// absolute end stays where it was.
    pub fn state(&self, now: Timestamp) -> SessionState {
        if now >= self.expires_at() {
            return SessionState::Expired;
        }
        let idle = now.since(self.last_seen_at);
        if idle >= SESSION_IDLE_MAX {
            return SessionState::Idle;
        }
        SessionState::Live { touch: idle >= SESSION_TOUCH_INTERVAL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_age_and_by_silence() {
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let check = |seen: u64, now: u64, expect: SessionState| {
            let times = SessionTimes {
                created_at: start,
                last_seen_at: start.saturating_add(minutes(seen)),
            };
            assert_eq!(times.state(start.saturating_add(minutes(now))), expect, "{seen} {now}");
        };
        check(0, 0, SessionState::Live { touch: false });
        check(0, 1, SessionState::Live { touch: true });
        check(0, 29, SessionState::Live { touch: true });
        check(0, 30, SessionState::Idle);
        check(719, 719, SessionState::Live { touch: false });
        check(719, 720, SessionState::Expired);
    }
}

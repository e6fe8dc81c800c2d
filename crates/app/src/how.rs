//! How a person proved who they are, and what that makes of their session.

use veritwin_domain::Timestamp;
use veritwin_metastore::SessionMethod;

/// How a person proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Password,
    Passkey,
    Link,
    /// Their tenant's provider vouches for them; it asked them at that time, if it says so.
    Provider {
        asked_at: Option<Timestamp>,
    },
}

impl How {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Passkey => "passkey",
            Self::Link => "one-time link",
            Self::Provider { .. } => "provider",
        }
    }

    pub(crate) const fn method(self) -> SessionMethod {
        match self {
            Self::Provider { .. } => SessionMethod::Provider,
            Self::Password | Self::Passkey | Self::Link => SessionMethod::Account,
        }
    }

    /// When the person proved it; a provider that does not say when counts as long ago.
    pub(crate) fn proved_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Provider { asked_at } => {
                asked_at.map_or(Timestamp::from_micros(0), |asked_at| asked_at.min(now))
            }
            Self::Password | Self::Passkey | Self::Link => now,
        }
    }
}

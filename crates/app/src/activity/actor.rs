//! Whom a record names: one form, written and read here. It names nobody's session or credential.

use std::fmt;

use veritwin_domain::{ActorKind, ApiKeyId, DeviceId, UserId};

/// The words before an id or a name.
const USER: &str = "user";
const SUPPORT: &str = "support";
const API_KEY: &str = "api_key";
const DEVICE: &str = "device";
const JOB: &str = "job";
/// Who has neither.
const LOCAL_OPERATOR: &str = "local operator";
const ANONYMOUS: &str = "anonymous";

/// An actor, as far as records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActorName<'a> {
    User(UserId),
    Support(UserId),
    ApiKey(ApiKeyId),
    Device(DeviceId),
    Job(&'a str),
    LocalOperator,
    Anonymous,
}

impl<'a> ActorName<'a> {
    pub(crate) const fn of(kind: &ActorKind) -> Self {
        match kind {
            ActorKind::User { user, .. } => Self::User(*user),
            ActorKind::Support { user, .. } => Self::Support(*user),
            ActorKind::ApiKey(key) => Self::ApiKey(*key),
            ActorKind::Device { device, .. } => Self::Device(*device),
            ActorKind::Job(name) => Self::Job(name),
            ActorKind::LocalOperator => Self::LocalOperator,
            ActorKind::Anonymous => Self::Anonymous,
        }
    }

    /// Whom a record's text names; nobody where it is none that is written.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        match text.split_once(':') {
            Some((USER, id)) => id.parse().ok().map(Self::User),
            Some((SUPPORT, id)) => id.parse().ok().map(Self::Support),
            Some((API_KEY, id)) => id.parse().ok().map(Self::ApiKey),
            Some((DEVICE, id)) => id.parse().ok().map(Self::Device),
            Some((JOB, name)) => Some(Self::Job(name)),
            Some(_) => None,
            None if text == LOCAL_OPERATOR => Some(Self::LocalOperator),
            None if text == ANONYMOUS => Some(Self::Anonymous),
            None => None,
        }
    }
}

impl fmt::Display for ActorName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "{USER}:{id}"),
            Self::Support(id) => write!(f, "{SUPPORT}:{id}"),
            Self::ApiKey(id) => write!(f, "{API_KEY}:{id}"),
            Self::Device(id) => write!(f, "{DEVICE}:{id}"),
            Self::Job(name) => write!(f, "{JOB}:{name}"),
            Self::LocalOperator => f.write_str(LOCAL_OPERATOR),
            Self::Anonymous => f.write_str(ANONYMOUS),
        }
    }
}

/// As it stands in a record.
pub(crate) fn actor_text(kind: &ActorKind) -> String {
    ActorName::of(kind).to_string()
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{
        CredentialId, SessionId, SignIn, SupportAreas, SupportGrantId, Timestamp,
    };

    use super::*;

    #[test]
    fn what_is_written_of_an_actor_is_read_as_the_same_one() {
        let sign_in = SignIn::proved(Timestamp::EPOCH);
        let (user, session) = (UserId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
        let grant = SupportGrantId::from_bytes([3; 16]);
        let device = DeviceId::from_bytes([5; 16]);
        for (kind, text) in [
            (
                ActorKind::User { user, session, sign_in },
                "user:01010101-0101-0101-0101-010101010101",
            ),
            (
                ActorKind::Support { user, session, grant, areas: SupportAreas::default() },
                "support:01010101-0101-0101-0101-010101010101",
            ),
            (
                ActorKind::ApiKey(ApiKeyId::from_bytes([4; 16])),
                "api_key:04040404-0404-0404-0404-040404040404",
            ),
            (
                ActorKind::Device { device, credential: CredentialId::from_bytes([6; 16]) },
                "device:05050505-0505-0505-0505-050505050505",
            ),
            (ActorKind::Job("ingest"), "job:ingest"),
            (ActorKind::LocalOperator, "local operator"),
            (ActorKind::Anonymous, "anonymous"),
        ] {
            assert_eq!(actor_text(&kind), text);
            assert_eq!(ActorName::read(text), Some(ActorName::of(&kind)), "{text}");
        }
    }

    #[test]
    fn what_is_not_written_names_nobody() {
        for text in ["", "user", "user:", "user:1", "local operator:", "Job:ingest", "local"] {
            assert_eq!(ActorName::read(text), None, "{text}");
        }
    }
}

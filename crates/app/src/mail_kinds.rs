//! The kinds of messages there are: a closed list (promise P60). A mail names its kind when it is
//! queued, and one of no kind on the list is not sent.

use serde::{Deserialize, Serialize};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessageKind {
    /// An alert of a rule, or a message that a rule sends on.
    Alert,
    /// Plans, quotas and what is paid.
    Billing,
    /// Signing in, accounts, and what is seen of security.
    Security,
    /// Support and messages to whoever answers.
    Support,
    /// A case about somebody's data.
    RightsCase,
    /// A breach of personal data.
    Breach,
    /// The published texts and what somebody agreed to; a policy, a task or evidence of the
    /// workspace.
    Policy,
    /// The ledger and those who audit it.
    Ledger,
    /// Beginning with the service: invitations.
    Onboarding,
    /// The service itself: maintenance, outages.
    Service,
    /// A new release.
    Release,
}

impl MessageKind {
    /// Every kind there is.
    pub(crate) const ALL: [Self; 11] = [
        Self::Alert,
        Self::Billing,
        Self::Security,
        Self::Support,
        Self::RightsCase,
        Self::Breach,
        Self::Policy,
        Self::Ledger,
        Self::Onboarding,
        Self::Service,
        Self::Release,
    ];

    /// The name in queued mails.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Billing => "billing",
            Self::Security => "security",
            Self::Support => "support",
            Self::RightsCase => "rights_case",
            Self::Breach => "breach",
            Self::Policy => "policy",
            Self::Ledger => "ledger",
            Self::Onboarding => "onboarding",
            Self::Service => "service",
            Self::Release => "release",
        }
    }

    /// The kind of mails that an older build queued, which named none.
    pub(crate) const fn of_older_build() -> Self {
        Self::Service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_name() {
        for kind in MessageKind::ALL {
            let written = serde_json::to_string(&kind).expect("a name");
            assert_eq!(written, format!("\"{}\"", kind.as_str()));
        }
        assert!(serde_json::from_str::<MessageKind>("\"marketing\"").is_err());
    }
}

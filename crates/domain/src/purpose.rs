//! Why personal data is processed. The first four are the only purposes of customer content
//! (promise P01); the others are those of the platform as controller of its own accounts.

use std::fmt;
use std::str::FromStr;

/// A processing purpose. Every operation context carries exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Receiving readings and routing them.
    IngestRouting,
    /// Building and showing the twin.
    TwinBuilding,
    /// Sealing into the ledger archive, for subscribers only.
    LedgerArchive,
    /// Security and support.
    SecuritySupport,
    /// Account and billing (controller).
    AccountBilling,
    /// Authentication and security of accounts (controller).
    AuthenticationSecurity,
    /// Aggregated service improvement (controller).
    ServiceImprovement,
    /// Service communication (controller).
    ServiceCommunication,
    /// Legal duty (controller).
    LegalDuty,
}

impl Purpose {
    /// Every purpose there is.
    pub const ALL: [Self; 9] = [
        Self::IngestRouting,
        Self::TwinBuilding,
        Self::LedgerArchive,
        Self::SecuritySupport,
        Self::AccountBilling,
        Self::AuthenticationSecurity,
        Self::ServiceImprovement,
        Self::ServiceCommunication,
        Self::LegalDuty,
    ];

    /// The name used in policies, records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IngestRouting => "ingest_routing",
            Self::TwinBuilding => "twin_building",
            Self::LedgerArchive => "ledger_archive",
            Self::SecuritySupport => "security_support",
            Self::AccountBilling => "account_billing",
            Self::AuthenticationSecurity => "authentication_security",
            Self::ServiceImprovement => "service_improvement",
            Self::ServiceCommunication => "service_communication",
            Self::LegalDuty => "legal_duty",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text).ok_or(())
    }
}

//! How devices come in by themselves: authorities and provisioning profiles.

use veritwin_domain::{AuthorityId, GroupId, ProvisionProfileId, Timestamp};

/// Where devices land that come in by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LandingInput {
    /// What kind of device they are.
    pub kind: String,
    /// The group they are put into.
    pub group: Option<GroupId>,
    /// The networks they may come from; none: any.
    pub networks: Vec<String>,
}

/// What can be set of an authority. Its certificate stays.
#[derive(Debug, Clone, Default)]
pub struct AuthorityInput {
    /// What people call it.
    pub name: String,
    /// Whether a device is made for a common name that has none.
    pub creates: bool,
    /// The name of such a device, with `*` for the common name.
    pub device_name: String,
    /// How many devices it may make.
    pub devices_max: u64,
    /// Where they land.
    pub landing: LandingInput,
    /// Whether it lets nobody in.
    pub disabled: bool,
}

/// An authority.
#[derive(Debug, Clone)]
pub struct AuthorityView {
    /// The authority.
    pub id: AuthorityId,
    /// What is set of it.
    pub input: AuthorityInput,
    /// The subject of its certificate.
    pub subject: String,
    /// SHA-256 of its certificate, in hexadecimal.
    pub fingerprint: String,
    /// When its certificate ends.
    pub valid_until: Timestamp,
    /// How many certificates its revocation list names; none: it has no list.
    pub revoked: Option<u64>,
    /// When its revocation list has to be replaced.
    pub revocation_until: Option<Timestamp>,
    /// How many devices it made.
    pub made: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

/// How a profile lets devices in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProvisionStrategy {
    /// A device with a new name is made.
    #[default]
    CreateNew,
    /// A device that was made before gets its credential, once.
    PreProvisioned,
}

impl ProvisionStrategy {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateNew => "create_new",
            Self::PreProvisioned => "pre_provisioned",
        }
    }

    /// From the name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::CreateNew, Self::PreProvisioned].into_iter().find(|one| one.as_str() == text)
    }
}

/// A new provisioning profile.
#[derive(Debug, Clone, Default)]
pub struct ProfileInput {
    /// What people call it.
    pub name: String,
    /// How it lets devices in.
    pub strategy: ProvisionStrategy,
    /// How many devices it may let in.
    pub devices_max: u64,
    /// Where they land.
    pub landing: LandingInput,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A change to a profile: only what is given changes.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    /// A new name.
    pub name: Option<String>,
    /// How many devices it may let in.
    pub devices_max: Option<u64>,
    /// When it ends; some none: without an end.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether it lets nobody in.
    pub disabled: Option<bool>,
}

/// A provisioning profile, without its key and secret.
#[derive(Debug, Clone)]
pub struct ProfileView {
    /// The profile.
    pub id: ProvisionProfileId,
    /// What is set of it.
    pub input: ProfileInput,
    /// Since when it lets nobody in.
    pub disabled_at: Option<Timestamp>,
    /// How many devices came in by it.
    pub made: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

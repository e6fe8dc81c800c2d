//! How devices come in by themselves, authorities and provisioning profiles, and how they are
//! claimed.

use veritwin_domain::{
    AuthorityId, DeviceId, GroupId, ProvisionProfileId, Secret, TenantId, Timestamp,
};

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

/// What somebody claims.
#[derive(Debug, Clone)]
pub struct ClaimInput {
    /// The device's name.
    pub name: String,
    /// What it told that it is claimed by; empty: its name is enough.
    pub secret: Secret<String>,
    /// What kind of device it becomes.
    pub kind: String,
}

/// A device that went from one tenant to another.
#[derive(Debug, Clone, Copy)]
pub struct MovedDevice {
    /// The device, as the tenant has it that it came to.
    pub device: DeviceId,
    /// The device, as the tenant had it that it left.
    pub left: (TenantId, DeviceId),
}

/// Devices that wait to be claimed, and devices that were.
#[derive(Debug, Clone)]
pub struct ClaimsView {
    /// Those that wait, the first to wait no longer first.
    pub waiting: Vec<WaitingDevice>,
    /// Those that were claimed, the last first.
    pub claimed: Vec<ClaimedDevice>,
    /// Whether a device may be claimed by its name alone.
    pub by_name_alone: bool,
}

/// A device that waits to be claimed.
#[derive(Debug, Clone)]
pub struct WaitingDevice {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Since when it waits.
    pub opened_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Whether its name is enough.
    pub by_name_alone: bool,
}

/// A device that was claimed.
#[derive(Debug, Clone)]
pub struct ClaimedDevice {
    /// The device, as it was here.
    pub device: DeviceId,
    /// Its name here.
    pub name: String,
    /// The tenant directly below that claimed it, or below which it was claimed.
    pub organisation: Option<String>,
    /// When.
    pub claimed_at: Timestamp,
}

/// Where a device is that can be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Nobody claimed it.
    None,
    /// It was claimed from here.
    Away,
    /// It was claimed, and is here.
    Here,
    /// It was claimed, and given back to whoever prepared it.
    GivenBack,
    /// It was claimed from here, and was given back.
    Back,
}

impl ClaimState {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Away => "away",
            Self::Here => "here",
            Self::GivenBack => "given_back",
            Self::Back => "back",
        }
    }
}

/// What is known of the claims of one device.
#[derive(Debug, Clone)]
pub struct DeviceClaimView {
    /// Where it is.
    pub state: ClaimState,
    /// Since when.
    pub moved_at: Option<Timestamp>,
    /// The tenant directly below that has it, or below which it is.
    pub organisation: Option<String>,
    /// Until when it waits to be claimed.
    pub waits_until: Option<Timestamp>,
}

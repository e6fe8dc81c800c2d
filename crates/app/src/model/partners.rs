//! Partners, plans, brands and whoever answers for a tenant.

use veritwin_domain::{MessageId, PlanId, Role, Secret, TenantId, Timestamp};

use super::TenantView;

/// The limits of a plan; none: no limit but the platform's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanLimits {
    /// Devices of a tenant.
    pub devices: Option<u64>,
    /// Accounts that are members of a tenant.
    pub users: Option<u64>,
    /// API keys of a tenant.
    pub api_keys: Option<u64>,
    /// Tenants below a partner, at any depth.
    pub tenants: Option<u64>,
    /// Messages a second of all devices of a tenant together.
    pub messages_per_second: Option<u64>,
    /// Requests a second of everybody in a tenant together.
    pub requests_per_second: Option<u64>,
    /// Bytes of a tenant's readings and twins.
    pub storage_bytes: Option<u64>,
    /// Readings of a tenant in a UTC day.
    pub points_per_day: Option<u64>,
    /// Series of a tenant's devices.
    pub series: Option<u64>,
    /// Days that readings are kept; then they are destroyed.
    pub retention_days: Option<u64>,
    /// Days that the ledger's payloads can be opened; then their keys are destroyed.
    pub audit_days: Option<u64>,
    /// Whose key stands above the tenant's keys; none: the platform's.
    pub key_level: Option<KeyLevel>,
    /// What of routing is bounded.
    pub routes: RouteLimits,
}

/// What a plan says of routing; none: no limit but the platform's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteLimits {
    /// Destinations of a tenant.
    pub destinations: Option<u64>,
    /// Rules of a tenant.
    pub rules: Option<u64>,
    /// Tries to deliver messages of a tenant in a minute, to all destinations together.
    pub deliveries_per_minute: Option<u64>,
}

/// What a plan's times would destroy now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpiringView {
    /// Tenants that would lose readings.
    pub tenants: u64,
    /// Readings.
    pub readings: u64,
    /// Sealed bytes of them.
    pub bytes: u64,
    /// Sections that are kept because a hold names their days.
    pub held_sections: u64,
    /// Tenants that would lose payloads of the ledger.
    pub ledger_tenants: u64,
    /// Days of such payloads, of all tenants together.
    pub ledger_days: u64,
    /// Days of them that are kept because a hold names them.
    pub held_ledger_days: u64,
}

/// What a plan would destroy of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantExpiringView {
    /// Days that readings would be kept; none: for ever.
    pub retention_days: Option<u64>,
    /// No readings are destroyed before, when that is less than now.
    pub not_before: Option<Timestamp>,
    /// Days that the ledger's payloads could be opened; none: for ever.
    pub audit_days: Option<u64>,
    /// No payloads are destroyed before, when that is less than now.
    pub audit_not_before: Option<Timestamp>,
    /// What would be destroyed.
    pub expiring: ExpiringView,
}

/// What makes a plan.
#[derive(Debug, Clone)]
pub struct PlanInput {
    /// Its name.
    pub name: String,
    /// Its limits.
    pub limits: PlanLimits,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct PlanView {
    /// The plan.
    pub id: PlanId,
    /// Its name.
    pub name: String,
    /// Its limits.
    pub limits: PlanLimits,
    /// Counts changes.
    pub version: i64,
}

/// What a tenant is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantRank {
    /// Uses the platform.
    Customer,
    /// Answers for tenants below it.
    Partner,
    /// The platform's own administration.
    Platform,
}

/// Whether a tenant is served.
pub use veritwin_keys::{ImportWrapping, KeyLevel, ProviderKind, ProviderSettings};
pub use veritwin_metastore::{
    RetentionWait, TenantState as Service, UsageCounts, UsageLevels, Waits,
};

/// Who answers for a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredBy {
    /// Whether it is the platform itself.
    pub is_platform: bool,
    /// Its name.
    pub name: String,
    /// Its address for mail.
    pub email: Option<String>,
    /// Its postal address.
    pub address: Option<String>,
}

/// What a tenant has, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct UsageView {
    /// Devices.
    pub devices: u64,
    /// Accounts.
    pub users: u64,
    /// API keys.
    pub api_keys: u64,
    /// Tenants below it, at any depth.
    pub tenants: u64,
    /// Bytes of its readings and twins.
    pub storage_bytes: u64,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaView {
    /// The limit's name.
    pub name: &'static str,
    /// What is used of it.
    pub used: u64,
    /// The limit.
    pub max: u64,
}

/// Days from one to another, both inside; UTC days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysRange {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What was used on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayUsageView {
    /// `2026-01-31`, UTC.
    pub day: String,
    /// What was counted.
    pub counts: UsageCounts,
    /// What there was when it was last looked at; none when it was not.
    pub levels: Option<UsageLevels>,
}

/// What a tenant used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// Days with anything, in their order.
    pub days: Vec<DayUsageView>,
    /// How near the limits of its plan it is now.
    pub quotas: Vec<QuotaView>,
}

/// What a tenant below used in all of the days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantUsageView {
    /// The tenant.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// What was counted.
    pub counts: UsageCounts,
    /// What there was at last.
    pub levels: Option<UsageLevels>,
    /// How near the limits of its plan it is now.
    pub quotas: Vec<QuotaView>,
}

/// A tenant and its place in the tree: all that the partner above it sees.
#[derive(Debug, Clone)]
pub struct PlacedTenant {
    /// The tenant.
    pub tenant: TenantView,
    /// What it is.
    pub rank: TenantRank,
    /// Whether it is served.
    pub state: Service,
    /// Its plan.
    pub plan: Option<PlanView>,
    /// What is kept that its plan would end already.
    pub waits: Waits,
    /// What it has.
    pub usage: UsageView,
    /// Who answers for it.
    pub answered_by: AnsweredBy,
    /// The host names given to it.
    pub hosts: Vec<String>,
    /// The domains below which it gives host names itself, when it is a partner.
    pub domains: Vec<String>,
    /// Whose key stands above its keys.
    pub key_level: KeyLevel,
    /// Counts changes.
    pub version: i64,
}

/// A tenant to make.
#[derive(Debug, Clone)]
pub struct TenantInput {
    /// Its name.
    pub name: String,
    /// A partner instead of a customer.
    pub is_partner: bool,
    /// Its plan.
    pub plan: Option<PlanId>,
    /// Whether its readings are sealed into the ledger archive.
    pub archive_subscribed: bool,
}

/// What changes of a tenant; none stays.
#[derive(Debug, Clone, Default)]
pub struct TenantChange {
    /// A new name.
    pub name: Option<String>,
    /// Another plan, or no plan.
    pub plan: Option<Option<PlanId>>,
    /// Suspend, resume, ask for deletion.
    pub state: Option<Service>,
}

/// A tenant that a person belongs to.
#[derive(Debug, Clone)]
pub struct Belonging {
    /// The tenant.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// The person's roles there.
    pub roles: Vec<Role>,
    /// The session is in it.
    pub current: bool,
}

/// How a tenant presents itself. Empty texts are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrandInput {
    /// The product's name, in titles and mails.
    pub product: String,
    /// `#rrggbb` in the light scheme.
    pub light: String,
    /// `#rrggbb` in the dark scheme.
    pub dark: String,
    /// Who answers: the name people read.
    pub contact_name: String,
    /// Who answers: the address for mail.
    pub contact_email: String,
    /// Who answers: the postal address.
    pub contact_address: String,
    /// Privacy policy: an `https` address or a text.
    pub privacy: String,
    /// Terms: an `https` address or a text.
    pub terms: String,
    /// Who stands behind the page: an `https` address or a text.
    pub imprint: String,
}

/// A tenant's brand with the host names that show it.
#[derive(Debug, Clone)]
pub struct BrandView {
    /// What it says.
    pub brand: BrandInput,
    /// Whether it has a logo.
    pub has_logo: bool,
    /// The host names given to the tenant.
    pub hosts: Vec<String>,
    /// Counts changes.
    pub version: i64,
}

/// What anybody sees of a host name before sign-in.
#[derive(Debug, Clone)]
pub struct Face {
    /// The organisation whose sign-in page it is, if one was named: its id and name.
    pub organisation: Option<(TenantId, String)>,
    /// Whether the installation has a tenant, whose administrators invite others.
    pub is_set_up: bool,
    /// The product's name.
    pub product: String,
    /// Whether there is a logo.
    pub has_logo: bool,
    /// Counts changes of the brand: a new address for the logo.
    pub version: i64,
    /// Who answers for those who come here.
    pub answered_by: AnsweredBy,
    /// Privacy policy: an address or a text.
    pub privacy: String,
    /// Terms: an address or a text.
    pub terms: String,
    /// Who stands behind the page: an address or a text.
    pub imprint: String,
}

/// A message to whoever answers.
#[derive(Debug)]
pub struct ContactInput {
    /// Where the answer goes.
    pub email: Secret<String>,
    /// The text.
    pub text: Secret<String>,
}

/// Who writes a message: signed in, or at a host's sign-in page.
#[derive(Debug, Clone, Copy)]
pub enum Writer<'a> {
    /// Signed in to a tenant.
    In(TenantId),
    /// Nobody yet, at this host name.
    At(Option<&'a str>),
}

/// A message that came in.
#[derive(Debug, Clone)]
pub struct ContactView {
    /// The message.
    pub id: MessageId,
    /// The tenant of the writer, if signed in, by name.
    pub from: Option<String>,
    /// Where the answer goes.
    pub email: Secret<String>,
    /// The text.
    pub text: Secret<String>,
    /// When it was written.
    pub created_at: Timestamp,
}

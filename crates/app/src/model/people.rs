//! People, tenants, sessions, links, API keys and their activity.

use veritwin_domain::{
    ActivityId, ApiKeyId, CustomRoleId, DeviceId, GrantId, GroupId, RequestId, Role, ScopeOf,
    Secret, SiteId, TenantId, Timestamp, UserId, WorkspaceId,
};

/// A signed-in person and where they are.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The account.
    pub user: UserView,
    /// The tenant.
    pub tenant: TenantView,
}

/// A new session: the cookie's token and what it shows.
#[derive(Debug)]
pub struct SignedIn {
    /// The session token, for the cookie alone.
    pub token: Secret<String>,
    /// Who signed in.
    pub session: SessionView,
}

/// An account as a member of a tenant.
#[derive(Debug, Clone)]
pub struct UserView {
    /// The account.
    pub id: UserId,
    /// Its address.
    pub email: Secret<String>,
    /// Its name; empty when none was given.
    pub name: Secret<String>,
    /// Its roles in this tenant.
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A tenant.
#[derive(Debug, Clone)]
pub struct TenantView {
    /// The tenant.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// Whether its readings are sealed into the ledger archive.
    pub archive_subscribed: bool,
    /// Whether its data is simulated.
    pub simulated: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a one-time link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// Makes the first tenant and its first administrator.
    FirstAdministrator,
    /// Makes a further administrator of an existing tenant.
    Administrator,
    /// Takes up an invitation.
    Invitation,
}

/// A one-time link, looked into.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// What it is for.
    pub kind: LinkKind,
    /// The invited address.
    pub email: Option<Secret<String>>,
}

/// What a person enters behind a one-time link.
#[derive(Debug)]
pub struct Welcome {
    /// Name of the organisation; needed for the first administrator.
    pub organisation: Option<String>,
    /// Address; needed unless the link is an invitation.
    pub email: Option<Secret<String>>,
    /// Name, optional.
    pub name: Option<Secret<String>>,
    /// The new password.
    pub password: Secret<String>,
}

/// An API key, without its secret.
#[derive(Debug, Clone)]
pub struct ApiKeyView {
    /// The key.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// What it may do, and where.
    pub right: RightView,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// From what kind of network: `loopback`, `private`, `public`.
    pub last_used_from: Option<&'static str>,
    /// The person who made it.
    pub maker: Option<UserId>,
    /// The networks it works from; empty for all.
    pub addresses: Vec<String>,
}

/// A role over a part of the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightView {
    /// The built-in role, or the tenant's own.
    pub role: RoleOf,
    /// Over what.
    pub scope: ScopeOf,
}

/// Which role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleOf {
    /// One of the platform's.
    BuiltIn(Role),
    /// One of the tenant's own.
    Custom(CustomRoleId),
}

/// An API key to make.
#[derive(Debug)]
pub struct NewApiKey {
    /// What it is for.
    pub name: String,
    /// What it may do, and where.
    pub right: RightView,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// The networks it works from, as `address/length`; empty for all.
    pub addresses: Vec<String>,
}

/// A role with what it permits and denies.
#[derive(Debug, Clone)]
pub struct CustomRoleView {
    /// The role.
    pub id: CustomRoleId,
    /// Its name and actions.
    pub role: RoleInput,
    /// Counts changes.
    pub version: i64,
}

/// A role of the tenant's own, as it is written.
#[derive(Debug, Clone)]
pub struct RoleInput {
    /// Its name.
    pub name: String,
    /// Names of the actions it permits.
    pub allows: Vec<String>,
    /// Names of the actions it denies.
    pub denies: Vec<String>,
}

/// Every role there is, and what may be put into one.
#[derive(Debug, Clone)]
pub struct RolesView {
    /// The built-in ones, with what they permit people and programs.
    pub built_in: Vec<(Role, Vec<&'static str>, Vec<&'static str>)>,
    /// The tenant's own.
    pub custom: Vec<CustomRoleView>,
    /// What a role of the tenant's own may permit or deny.
    pub grantable: Vec<&'static str>,
}

/// A workspace, as it is written.
#[derive(Debug, Clone)]
pub struct WorkspaceInput {
    /// Its name.
    pub name: String,
    /// Its twins.
    pub twins: Vec<SiteId>,
}

/// A workspace.
#[derive(Debug, Clone)]
pub struct WorkspaceView {
    /// The workspace.
    pub id: WorkspaceId,
    /// What it is.
    pub workspace: WorkspaceInput,
    /// Counts changes.
    pub version: i64,
}

/// A group of devices, as it is written.
#[derive(Debug, Clone)]
pub struct GroupInput {
    /// Its name.
    pub name: String,
    /// Its workspace.
    pub workspace: Option<WorkspaceId>,
    /// Its devices.
    pub devices: Vec<DeviceId>,
}

/// A group of devices.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// The group.
    pub id: GroupId,
    /// What it is.
    pub group: GroupInput,
    /// Counts changes.
    pub version: i64,
}

/// Who holds a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderOf {
    /// A person.
    User(UserId),
    /// A program.
    ApiKey(ApiKeyId),
}

/// A grant to make.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Who is to hold it.
    pub holder: HolderOf,
    /// What, and where.
    pub right: RightView,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A grant.
#[derive(Debug, Clone)]
pub struct GrantView {
    /// The grant.
    pub id: GrantId,
    /// What it gives to whom.
    pub grant: NewGrant,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whether somebody may do something, and every role with what it says.
#[derive(Debug, Clone)]
pub struct ExplainView {
    /// The decision.
    pub is_allowed: bool,
    /// The thing is as good as not there for them.
    pub is_hidden: bool,
    /// Every role.
    pub rights: Vec<ExplainedRight>,
}

/// One role with what it says.
#[derive(Debug, Clone)]
pub struct ExplainedRight {
    /// The grant it came with; none for a role of the membership or of the key itself.
    pub grant: Option<GrantId>,
    /// What, and where.
    pub right: RightView,
    /// `permits`, `denies`, `permits_elsewhere` or `silent`.
    pub says: &'static str,
    /// The policies that decided it.
    pub policies: Vec<String>,
    /// It is a right of whoever made the key, which bounds the key.
    pub is_bound: bool,
}

/// One row of the activity record.
#[derive(Debug, Clone)]
pub struct ActivityView {
    /// The row.
    pub id: ActivityId,
    /// When.
    pub at: Timestamp,
    /// Who: a person's name or address, an API key's name, a device, a job.
    pub actor: String,
    /// What, as in the policies.
    pub action: String,
    /// To what.
    pub resource: String,
    /// `done`, `denied`, `failed`.
    pub outcome: String,
    /// For tracing.
    pub request: RequestId,
}

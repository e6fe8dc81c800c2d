//! People, tenants, sessions, links and API keys.

use veritwin_domain::{
    ApiKeyId, CustomRoleId, DeviceId, FactorId, GrantId, GroupId, LinkId, Role, ScopeOf, Secret,
    SessionId, SiteId, TenantId, Timestamp, UserId, WorkspaceId,
};

use super::SupportView;

/// A signed-in person and where they are.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The account.
    pub user: UserView,
    /// The tenant.
    pub tenant: TenantView,
    /// What the customer opened, when the platform's support is in the tenant.
    pub support: Option<SupportView>,
    /// The tenant asks for a second factor, and this sign-in had none: set one up first.
    pub lacks_second_factor: bool,
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
    /// Makes a member of the platform's support.
    Support,
}

/// A one-time link, looked into.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// What it is for.
    pub kind: LinkKind,
    /// The invited address.
    pub email: Option<Secret<String>>,
    /// The tenant that invites, with its name.
    pub tenant: Option<(TenantId, String)>,
    /// Whether the address has an account to take the invitation up with; told only behind a link
    /// that was mailed to it.
    pub has_account: bool,
    /// Nobody has proven that account: a new one can be made beside it, which loses nothing of the
    /// old and brings nothing of it along.
    pub may_begin_anew: bool,
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
    /// That the person is 18 or older and acts for a business.
    pub attested: bool,
}

/// The certificate of an erased account.
#[derive(Debug)]
pub struct Erasure {
    /// The account that was.
    pub user: UserId,
    /// When.
    pub at: Timestamp,
    /// The keys that were destroyed; their records stay in the keyring.
    pub keys: Vec<String>,
}

/// Whom to invite.
#[derive(Debug)]
pub struct Invitee {
    /// The address.
    pub email: Secret<String>,
    /// The name, optional.
    pub name: Option<Secret<String>>,
    /// The role.
    pub role: Role,
    /// Where it counts.
    pub scope: ScopeOf,
}

/// An invitation that was made.
#[derive(Debug)]
pub struct Invited {
    /// The address.
    pub email: Secret<String>,
    /// The link to hand over; none when it was mailed.
    pub link: Option<Secret<String>>,
}

/// An invitation that could still be taken up.
#[derive(Debug)]
pub struct InvitationView {
    /// Its id.
    pub id: LinkId,
    /// Whom it is for; none for whoever holds the link.
    pub email: Option<Secret<String>>,
    /// The role it gives.
    pub role: Role,
    /// Where the role counts.
    pub scope: ScopeOf,
    /// The person who made it; none for a program's, or the platform's own.
    pub inviter: Option<UserId>,
    /// The API key that made it.
    pub inviter_key: Option<ApiKeyId>,
    /// Whether it was mailed.
    pub mailed: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its end.
    pub expires_at: Timestamp,
    /// Whether whoever made it may still give that.
    pub is_worth: bool,
}

/// A person's own account: how they sign in.
#[derive(Debug)]
pub struct AccountView {
    /// The tenant that alone knows the account: it signs in at this tenant's own page.
    pub only_in: Option<TenantId>,
    /// When the address was shown to be theirs.
    pub email_verified_at: Option<Timestamp>,
    /// When they attested to be of age and to act for a business.
    pub attested_at: Option<Timestamp>,
    /// Whether there is a password.
    pub has_password: bool,
    /// When the authenticator was set up.
    pub authenticator_since: Option<Timestamp>,
    /// The passkeys.
    pub passkeys: Vec<PasskeyView>,
    /// Recovery codes that were not used yet.
    pub recovery_codes: usize,
    /// Whether the tenant asks everybody for a second factor.
    pub second_factor_required: bool,
    /// Whether this platform can send mail.
    pub mails: bool,
    /// The name of the tenant's own sign-in provider, and whether the account is connected with it.
    pub provider: Option<(String, bool)>,
}

/// A passkey.
#[derive(Debug)]
pub struct PasskeyView {
    /// Its id.
    pub id: FactorId,
    /// What the person calls it.
    pub name: Secret<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// A sign-in that still goes on.
#[derive(Debug)]
pub struct OpenSession {
    /// The session.
    pub id: SessionId,
    /// The kind of browser.
    pub browser: Option<String>,
    /// The system.
    pub system: Option<String>,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A new authenticator, until its first code is entered.
#[derive(Debug)]
pub struct NewAuthenticator {
    /// The secret to type in, base 32.
    pub secret: Secret<String>,
    /// `otpauth://totp/...`, for a QR code.
    pub uri: Secret<String>,
}

/// What a browser needs to make a passkey.
#[derive(Debug)]
pub struct PasskeyRequest {
    /// The challenge.
    pub challenge: Vec<u8>,
    /// The account's handle.
    pub user: UserId,
    /// The account's address.
    pub email: Secret<String>,
    /// The account's name.
    pub name: Secret<String>,
    /// Credentials that the account has already.
    pub known: Vec<Vec<u8>>,
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
    /// When it stops working; after 90 days when not given, or with the key that makes it.
    pub expires_at: Option<Timestamp>,
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

/// What somebody may do themselves, by the names of the actions.
#[derive(Debug, Clone, Default)]
pub struct OwnRights {
    /// Over the whole tenant.
    pub whole: Vec<&'static str>,
    /// Over a part of it only.
    pub parts: Vec<&'static str>,
    /// On the device or twin that was asked about.
    pub here: Vec<&'static str>,
}

/// What one's own rights are asked about.
#[derive(Debug, Clone, Copy)]
pub enum RightsOn {
    /// The tenant and its parts.
    Tenant,
    /// A device.
    Device(DeviceId),
    /// A twin.
    Twin(SiteId),
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

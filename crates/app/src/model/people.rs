//! People, tenants, sessions, links and API keys.

use veritwin_domain::{ApiKeyId, Role, Secret, TenantId, Timestamp, UserId};

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
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

//! Who does what, for which tenant, for which purpose, when. Every use case takes one of these
//! first; there is no other way in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::{
    ApiKeyId, Clock, CredentialId, DeviceId, Purpose, RequestId, Rights, SessionId, SupportAreas,
    SupportGrantId, TenantId, Timestamp, UserId,
};

/// A built-in role. What each may do is written in the policy files of the `access` crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Answers for the tenant: everything an administrator does, and its end.
    Owner,
    /// Manages the tenant: people, devices, keys, twins, and everything an operator does.
    Administrator,
    /// Watches the building, acknowledges alerts, reads history.
    Operator,
    /// Reads history and rules to draw conclusions; changes nothing.
    Analyst,
    /// Watches the building; changes nothing.
    Viewer,
    /// Reads records and the ledger, never what the building measures.
    Auditor,
    /// Judges and sees what is personal.
    PrivacyOfficer,
    /// Watches over access: people, keys, records.
    SecurityLead,
    /// Sets up devices, twins and rules; no people.
    Integrator,
    /// The platform's staff, on the customer's request; may nothing by itself.
    Support,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 10] = [
        Self::Owner,
        Self::Administrator,
        Self::Operator,
        Self::Analyst,
        Self::Viewer,
        Self::Auditor,
        Self::PrivacyOfficer,
        Self::SecurityLead,
        Self::Integrator,
        Self::Support,
    ];

    /// The name used in policies, records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::Analyst => "analyst",
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::PrivacyOfficer => "privacy_officer",
            Self::SecurityLead => "security_lead",
            Self::Integrator => "integrator",
            Self::Support => "support",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

/// How sure the platform is of a signed-in person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignIn {
    /// When the person last proved who they are.
    pub proved_at: Timestamp,
    /// The tenant asks for a second factor and this sign-in had none.
    pub lacks_second_factor: bool,
    /// The tenant's own provider vouched for the person: good for this tenant, and not for the
    /// account itself.
    pub by_provider: bool,
    /// Something looked unlike the person since they last proved who they are.
    pub is_doubted: bool,
}

impl SignIn {
    /// One with the account's own proof at this time, and with nothing against it.
    pub const fn proved(at: Timestamp) -> Self {
        Self { proved_at: at, lacks_second_factor: false, by_provider: false, is_doubted: false }
    }
}

/// What kind of party acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorKind {
    /// A signed-in person.
    User {
        /// The account.
        user: UserId,
        /// The session it acts through.
        session: SessionId,
        /// How it signed in.
        sign_in: SignIn,
    },
    /// A member of the platform's staff inside a customer's tenant, by the customer's grant.
    Support {
        /// The staff member's account.
        user: UserId,
        /// The support session.
        session: SessionId,
        /// The grant it rests on.
        grant: SupportGrantId,
        /// What the grant opens.
        areas: SupportAreas,
    },
    /// A program with an API key.
    ApiKey(ApiKeyId),
    /// A connected device.
    Device {
        /// The device.
        device: DeviceId,
        /// The credential it presented.
        credential: CredentialId,
    },
    /// A background job of the platform itself, by its name.
    Job(&'static str),
    /// Whoever holds the data directory: the command line on the same machine.
    LocalOperator,
    /// Nobody yet: sign-in, one-time links, public pages.
    Anonymous,
}

/// The acting party and its roles in the context's tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind of party acts.
    pub kind: ActorKind,
    /// Its roles over the whole tenant of the context; empty for devices, jobs and the anonymous.
    pub roles: Vec<Role>,
    /// What grants add to the roles or take from them, and whose rights bound them.
    pub rights: Rights,
}

impl Actor {
    /// A background job of the platform.
    pub const fn job(name: &'static str) -> Self {
        Self::without_roles(ActorKind::Job(name))
    }

    /// An actor with no roles.
    pub const fn without_roles(kind: ActorKind) -> Self {
        Self { kind, roles: Vec::new(), rights: Rights::none() }
    }

    /// An actor with roles over the whole tenant and nothing else.
    pub const fn with_roles(kind: ActorKind, roles: Vec<Role>) -> Self {
        Self { kind, roles, rights: Rights::none() }
    }
}

/// Where a request comes from. The address never shows in `Debug`: it is personal data.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The peer's address, or what a trusted proxy says it is; none for the platform itself.
    pub address: Option<IpAddr>,
    /// The kind of browser or program, from a closed list; none when it says nothing known.
    pub browser: Option<&'static str>,
    /// The operating system, from a closed list, with its major version where the client says it.
    pub system: Option<Arc<str>>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

/// The context of an operation inside one tenant.
#[derive(Debug, Clone)]
pub struct OpContext {
    /// Who acts.
    pub actor: Actor,
    /// The tenant; every store operation is scoped to it by construction.
    pub tenant: TenantId,
    /// Why.
    pub purpose: Purpose,
    /// For tracing.
    pub request: RequestId,
    /// Where the request comes from.
    pub origin: Origin,
    /// When the operation began; records carry this moment.
    pub at: Timestamp,
    /// For anything that has to read time later in the operation.
    pub clock: Arc<dyn Clock>,
}

/// The context of an operation on the platform itself, above all tenants: creating a tenant,
/// finding the tenant of a credential, running a job over all tenants.
#[derive(Debug, Clone)]
pub struct PlatformContext {
    /// Who acts.
    pub actor: Actor,
    /// Why.
    pub purpose: Purpose,
    /// For tracing.
    pub request: RequestId,
    /// The tenant in which whoever acts is signed in, when they act on one below.
    pub acts_from: Option<TenantId>,
    /// The tenant whose turn to write this takes: that of whoever asked. None: the platform's own.
    pub turn_of: Option<TenantId>,
    /// Where the request comes from.
    pub origin: Origin,
    /// When the operation began.
    pub at: Timestamp,
    /// For anything that has to read time later in the operation.
    pub clock: Arc<dyn Clock>,
}

impl PlatformContext {
    /// The same operation, continued inside one tenant.
    pub fn in_tenant(&self, tenant: TenantId, actor: Actor) -> OpContext {
        OpContext {
            actor,
            tenant,
            purpose: self.purpose,
            request: self.request,
            origin: self.origin.clone(),
            at: self.at,
            clock: Arc::clone(&self.clock),
        }
    }
}

//! What an action is done to. Everything but the platform itself belongs to exactly one tenant.

use veritwin_domain::{
    AlertId, ApiKeyId, CustomRoleId, DeviceId, GrantId, GroupId, LinkId, RuleId, SiteId, TenantId,
    UserId, WorkspaceId,
};

/// The kind of a resource: the Cedar entity type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The platform itself, above all tenants.
    Platform,
    /// A tenant's own record.
    Tenant,
    /// An account, as a member of a tenant.
    User,
    /// An API key.
    ApiKey,
    /// A device with its credentials, attributes and presence.
    Device,
    /// A tenant's series.
    Telemetry,
    /// A twin.
    Twin,
    /// An alert rule.
    Rule,
    /// An alert.
    Alert,
    /// A tenant's ledger.
    Ledger,
    /// A tenant's activity records.
    Activity,
    /// A tenant's keys.
    Keys,
    /// The actor's own session.
    Session,
    /// The promise register as a tenant sees it.
    Promise,
    /// The running system as a tenant sees it.
    System,
    /// Who may do what: roles, groups, workspaces, grants.
    Access,
    /// A hold on activity records.
    Hold,
    /// A security incident.
    Incident,
    /// A request of a data subject.
    Case,
    /// A tenant's support tickets and grants.
    Support,
    /// The platform's own support desk.
    SupportDesk,
    /// A tenant's governance workspace: policies, risks, controls, evidence, tasks, notices.
    Governance,
}

impl Kind {
    /// Whether things of this kind stand at a place, so that a grant over a part of the tenant
    /// can reach them. Everything else is the whole tenant's.
    pub const fn has_places(self) -> bool {
        matches!(self, Self::Device | Self::Telemetry | Self::Twin | Self::Rule | Self::Alert)
    }

    /// The Cedar entity type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "Platform",
            Self::Tenant => "Tenant",
            Self::User => "Account",
            Self::ApiKey => "ApiKey",
            Self::Device => "Device",
            Self::Telemetry => "Telemetry",
            Self::Twin => "Twin",
            Self::Rule => "Rule",
            Self::Alert => "Alert",
            Self::Ledger => "Ledger",
            Self::Activity => "Activity",
            Self::Keys => "Keys",
            Self::Session => "Session",
            Self::Promise => "Promise",
            Self::System => "System",
            Self::Access => "Access",
            Self::Hold => "Hold",
            Self::Incident => "Incident",
            Self::Case => "Case",
            Self::Support => "Support",
            Self::SupportDesk => "SupportDesk",
            Self::Governance => "Governance",
        }
    }
}

/// The exact resource of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The platform itself.
    Platform,
    /// Something a tenant owns: one thing, or the tenant's collection of that kind.
    Owned {
        /// The owner.
        tenant: TenantId,
        /// What kind of thing.
        kind: Kind,
        /// Which one; none for the collection.
        id: Option<[u8; 16]>,
    },
}

impl Resource {
    /// The tenant's collection of a kind: for lists, creates and things there is one of.
    pub const fn all(tenant: TenantId, kind: Kind) -> Self {
        Self::Owned { tenant, kind, id: None }
    }

    /// One thing of a kind, by the bytes of its id.
    pub const fn one(tenant: TenantId, kind: Kind, id: &[u8; 16]) -> Self {
        Self::Owned { tenant, kind, id: Some(*id) }
    }

    /// One device.
    pub const fn device(tenant: TenantId, id: DeviceId) -> Self {
        Self::Owned { tenant, kind: Kind::Device, id: Some(*id.as_bytes()) }
    }

    /// One twin.
    pub const fn twin(tenant: TenantId, id: SiteId) -> Self {
        Self::Owned { tenant, kind: Kind::Twin, id: Some(*id.as_bytes()) }
    }

    /// One rule.
    pub const fn rule(tenant: TenantId, id: RuleId) -> Self {
        Self::Owned { tenant, kind: Kind::Rule, id: Some(*id.as_bytes()) }
    }

    /// One alert.
    pub const fn alert(tenant: TenantId, id: AlertId) -> Self {
        Self::Owned { tenant, kind: Kind::Alert, id: Some(*id.as_bytes()) }
    }

    /// One member of a tenant.
    pub const fn user(tenant: TenantId, id: UserId) -> Self {
        Self::Owned { tenant, kind: Kind::User, id: Some(*id.as_bytes()) }
    }

    /// One invitation: of a person who may become a member.
    pub const fn invitation(tenant: TenantId, id: LinkId) -> Self {
        Self::Owned { tenant, kind: Kind::User, id: Some(*id.as_bytes()) }
    }

    /// One API key.
    pub const fn api_key(tenant: TenantId, id: ApiKeyId) -> Self {
        Self::Owned { tenant, kind: Kind::ApiKey, id: Some(*id.as_bytes()) }
    }

    /// One role of the tenant's own.
    pub const fn custom_role(tenant: TenantId, id: CustomRoleId) -> Self {
        Self::Owned { tenant, kind: Kind::Access, id: Some(*id.as_bytes()) }
    }

    /// One group of devices.
    pub const fn group(tenant: TenantId, id: GroupId) -> Self {
        Self::Owned { tenant, kind: Kind::Access, id: Some(*id.as_bytes()) }
    }

    /// One workspace.
    pub const fn workspace(tenant: TenantId, id: WorkspaceId) -> Self {
        Self::Owned { tenant, kind: Kind::Access, id: Some(*id.as_bytes()) }
    }

    /// One grant.
    pub const fn grant(tenant: TenantId, id: GrantId) -> Self {
        Self::Owned { tenant, kind: Kind::Access, id: Some(*id.as_bytes()) }
    }

    /// The kind of this resource.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Platform => Kind::Platform,
            Self::Owned { kind, .. } => *kind,
        }
    }

    /// The owner; none for the platform.
    pub const fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Platform => None,
            Self::Owned { tenant, .. } => Some(*tenant),
        }
    }
}

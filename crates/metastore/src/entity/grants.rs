//! Who holds which role over which part of a tenant, and the tenant's own roles.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_domain::{
    ApiKeyId, CustomRoleId, GrantId, Role, ScopeOf, SiteId, TenantId, Timestamp, UserId,
};

use crate::bind::{Row, opaque_debug};
use crate::query::Insert;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Error, PlatformTx, Result, TenantTx};

const ROLES: &str = "custom_roles";
const GRANTS: &str = "grants";

/// Who holds a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A person.
    User(UserId),
    /// A program.
    ApiKey(ApiKeyId),
}

impl Holder {
    const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiKey(_) => "api_key",
        }
    }

    const fn id(self) -> [u8; 16] {
        match self {
            Self::User(id) => *id.as_bytes(),
            Self::ApiKey(id) => *id.as_bytes(),
        }
    }
}

/// The role of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantRole {
    /// One of the platform's.
    BuiltIn(Role),
    /// One of the tenant's own.
    Custom(CustomRoleId),
}

/// Which part of the tenant a grant is about.
pub type GrantScope = ScopeOf;

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Who holds it.
    pub holder: Holder,
    /// Which role.
    pub role: GrantRole,
    /// Over what.
    pub scope: GrantScope,
    /// Its end, if it has one.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A role of the tenant's own.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRole {
    /// Its id.
    pub id: CustomRoleId,
    /// Its name.
    pub name: String,
    /// Names of the actions it permits.
    pub allows: Vec<String>,
    /// Names of the actions it denies.
    pub denies: Vec<String>,
    /// Whether an owner wrote or gave what it denies.
    pub by_owner: bool,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(StoredRole { id, version });

#[derive(Serialize, Deserialize)]
struct RoleBody {
    name: String,
    allows: Vec<String>,
    denies: Vec<String>,
    #[serde(default)]
    by_owner: bool,
}

fn load_role(row: &Row, vault: &Vault<'_>) -> Result<StoredRole> {
    let id: CustomRoleId = row.get("id")?;
    let body: RoleBody = vault.open_json(row, "body", id.as_bytes())?;
    Ok(StoredRole {
        id,
        name: body.name,
        allows: body.allows,
        denies: body.denies,
        by_owner: body.by_owner,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

fn load_grant(row: &Row, vault: &Vault<'_>) -> Result<Grant> {
    let damaged = Error::Corrupt { what: GRANTS };
    let id: GrantId = row.get("id")?;
    let holder: [u8; 16] = row.get("holder_id")?;
    let holder = match row.get::<String>("holder_kind")?.as_str() {
        "user" => Holder::User(UserId::from_bytes(holder)),
        "api_key" => Holder::ApiKey(ApiKeyId::from_bytes(holder)),
        _ => return Err(damaged),
    };
    let role = match (row.maybe("role")?, row.maybe("custom_role_id")?) {
        (Some(role), None) => GrantRole::BuiltIn(role),
        (None, Some(role)) => GrantRole::Custom(role),
        _ => return Err(damaged),
    };
    let of: Option<[u8; 16]> = row.maybe("scope_id")?;
    let scope = match (row.get::<String>("scope_kind")?.as_str(), of) {
        ("tenant", None) => ScopeOf::Tenant,
        ("workspace", Some(id)) => ScopeOf::Workspace(veritwin_domain::WorkspaceId::from_bytes(id)),
        ("group", Some(id)) => ScopeOf::Group(veritwin_domain::GroupId::from_bytes(id)),
        ("twin", Some(twin)) => {
            let node = vault.maybe_open(row, "node", id.as_bytes())?;
            let node = node.map(String::from_utf8).transpose();
            let node = node.map_err(|_| Error::Corrupt { what: GRANTS })?;
            ScopeOf::Twin { twin: SiteId::from_bytes(twin), node }
        }
        _ => return Err(damaged),
    };
    let (expires_at, created_at) = (row.maybe("expires_at")?, row.get("created_at")?);
    Ok(Grant { id, holder, role, scope, expires_at, created_at })
}

/// The stored kind and id of a scope, and the node of a branch.
fn stored(scope: &ScopeOf) -> (&'static str, Option<[u8; 16]>, Option<&str>) {
    match scope {
        ScopeOf::Tenant => ("tenant", None, None),
        ScopeOf::Workspace(id) => ("workspace", Some(*id.as_bytes()), None),
        ScopeOf::Group(id) => ("group", Some(*id.as_bytes()), None),
        ScopeOf::Twin { twin, node } => ("twin", Some(*twin.as_bytes()), node.as_deref()),
    }
}

fn fill(vault: &Vault<'_>, insert: Insert, grant: &Grant) -> Result<Insert> {
    let (scope_kind, scope_id, node) = stored(&grant.scope);
    let cell = Cell { table: GRANTS, column: "node", row: grant.id.as_bytes() };
    let node = node.map(|node| vault.seal(cell, node.as_bytes())).transpose()?;
    let (role, custom) = match grant.role {
        GrantRole::BuiltIn(role) => (Some(role), None),
        GrantRole::Custom(id) => (None, Some(id)),
    };
    Ok(insert
        .set("id", grant.id)
        .set("holder_kind", grant.holder.kind().to_owned())
        .set("holder_id", grant.holder.id())
        .set("role", role)
        .set("custom_role_id", custom)
        .set("scope_kind", scope_kind.to_owned())
        .set("scope_id", scope_id)
        .set("node", node)
        .set("expires_at", grant.expires_at)
        .set("created_at", grant.created_at))
}

impl PlatformTx {
    /// Writes a new grant into a tenant: what an invitation gives to whoever takes it up.
    #[boxed]
    pub async fn grant_create(&self, tenant: TenantId, grant: &Grant) -> Result<()> {
        let insert = self.insert(GRANTS).set("tenant_id", tenant);
        let insert = fill(&self.vault_of(tenant), insert, grant)?;
        self.core.insert(insert).await.map(|_| ())
    }

    /// Takes every grant with which a role of a tenant denies something to a person away: they
    /// became an owner.
    #[boxed]
    pub async fn denials_delete_of(&self, tenant: TenantId, user: UserId) -> Result<()> {
        let vault = self.vault_of(tenant);
        let roles = self.core.all(self.select(ROLES).eq("tenant_id", tenant)).await?;
        let holder = Holder::User(user);
        for row in &roles {
            let role = load_role(row, &vault)?;
            if !role.denies.is_empty() {
                let delete = self.delete(GRANTS).eq("tenant_id", tenant);
                let delete = delete.eq("holder_id", holder.id());
                let delete = delete.eq("holder_kind", holder.kind().to_owned());
                self.core.delete(delete.eq("custom_role_id", role.id)).await?;
            }
        }
        Ok(())
    }
}

impl TenantTx {
    fn seal_role(&self, role: &StoredRole) -> Result<Vec<u8>> {
        let body = RoleBody {
            name: role.name.clone(),
            allows: role.allows.clone(),
            denies: role.denies.clone(),
            by_owner: role.by_owner,
        };
        let cell = Cell { table: ROLES, column: "body", row: role.id.as_bytes() };
        self.vault().seal_json(cell, &body)
    }

    /// Writes a new role of the tenant's own.
    #[boxed]
    pub async fn custom_role_create(&self, role: &StoredRole) -> Result<()> {
        let insert = self
            .insert(ROLES)
            .set("id", role.id)
            .set("body", self.seal_role(role)?)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Writes a changed role, if its version is still `expected`.
    #[boxed]
    pub async fn custom_role_update(&self, role: &StoredRole, expected: Option<u64>) -> Result<()> {
        let body = self.seal_role(role)?;
        let update = self.update(ROLES).set("body", body).set("updated_at", self.core.at);
        self.update_version(update, *role.id.as_bytes(), expected).await
    }

    /// One role of the tenant's own.
    #[boxed]
    pub async fn custom_role(&self, id: CustomRoleId) -> Result<StoredRole> {
        load_role(&self.core.one(self.select(ROLES).eq("id", id)).await?, &self.vault())
    }

    /// Every role of the tenant's own, oldest first; how many there are is bounded where they
    /// are made.
    #[boxed]
    pub async fn custom_roles(&self) -> Result<Vec<StoredRole>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(ROLES).ascending("id")).await?;
        rows.iter().map(|row| load_role(row, &vault)).collect()
    }

    /// Deletes a role; `Conflict` while somebody holds it.
    #[boxed]
    pub async fn custom_role_delete(&self, id: CustomRoleId) -> Result<()> {
        let held = self.select(GRANTS).eq("custom_role_id", id).limit(1);
        if self.core.maybe(held).await?.is_some() {
            let reason = "somebody holds it: take those grants away first";
            return Err(Error::Conflict { what: "role", reason });
        }
        self.delete_id(ROLES, id).await
    }

    /// Writes a new grant.
    #[boxed]
    pub async fn grant_create(&self, grant: &Grant) -> Result<()> {
        let insert = fill(&self.vault(), self.insert(GRANTS), grant)?;
        self.core.insert(insert).await.map(|_| ())
    }

    /// One grant.
    #[boxed]
    pub async fn grant(&self, id: GrantId) -> Result<Grant> {
        load_grant(&self.core.one(self.select(GRANTS).eq("id", id)).await?, &self.vault())
    }

    /// Every grant of the tenant, oldest first; how many there are is bounded where they are
    /// made.
    #[boxed]
    pub async fn grants(&self) -> Result<Vec<Grant>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(GRANTS).ascending("id")).await?;
        rows.iter().map(|row| load_grant(row, &vault)).collect()
    }

    /// Takes a grant away.
    #[boxed]
    pub async fn grant_delete(&self, id: GrantId) -> Result<()> {
        self.delete_id(GRANTS, id).await
    }

    /// Takes every grant of a person or program away.
    #[boxed]
    pub async fn grants_delete_of(&self, holder: Holder) -> Result<()> {
        let delete = self.delete(GRANTS).eq("holder_id", holder.id());
        let delete = delete.eq("holder_kind", holder.kind().to_owned());
        self.core.delete(delete).await.map(|_| ())
    }

    /// Takes every grant over a part of the tenant away: the part is going.
    pub(super) async fn grants_delete_over(&self, scope: [u8; 16]) -> Result<()> {
        self.core.delete(self.delete(GRANTS).eq("scope_id", scope)).await.map(|_| ())
    }
}

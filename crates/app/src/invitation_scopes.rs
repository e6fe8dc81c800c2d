//! The part of a tenant that an invitation is about: as a file of invitations names it, and as a
//! link carries it until somebody takes it up.

use veritwin_domain::{GrantId, OpContext, PlatformContext, Role, ScopeOf, TenantId, UserId};
use veritwin_metastore::{Grant, GrantRole, Holder, Page, PlatformTx, TenantTx, Twin};

use crate::change::Change;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// What stands in the column `scope`.
const FORM: &str = "expected nothing, workspace:NAME, group:NAME, twin:NAME or \
                    twin:NAME/STOREY-OR-ROOM; an id may stand for a name";

/// The text of a scope in a link; none is the whole tenant.
pub(crate) fn printed(scope: &ScopeOf) -> Option<String> {
    match scope {
        ScopeOf::Tenant => None,
        ScopeOf::Workspace(id) => Some(format!("workspace:{id}")),
        ScopeOf::Group(id) => Some(format!("group:{id}")),
        ScopeOf::Twin { twin, node: None } => Some(format!("twin:{twin}")),
        ScopeOf::Twin { twin, node: Some(node) } => Some(format!("twin:{twin}/{node}")),
    }
}

/// Reads what [`printed`] wrote.
pub(crate) fn parsed(text: Option<&str>) -> Option<ScopeOf> {
    let Some(text) = text else { return Some(ScopeOf::Tenant) };
    let (kind, of) = text.split_once(':')?;
    match kind {
        "workspace" => of.parse().ok().map(ScopeOf::Workspace),
        "group" => of.parse().ok().map(ScopeOf::Group),
        "twin" => {
            let (twin, node) =
                of.split_once('/').map_or((of, None), |(twin, node)| (twin, Some(node.to_owned())));
            twin.parse().ok().map(|twin| ScopeOf::Twin { twin, node })
        }
        _ => None,
    }
}

/// The parts of a tenant by their names.
pub(crate) struct ScopeNames {
    workspaces: Vec<(String, ScopeOf)>,
    groups: Vec<(String, ScopeOf)>,
    twins: Vec<Twin>,
}

type Found<T> = std::result::Result<T, String>;

/// The only one of that name or id.
fn only<T>(text: &str, found: Vec<T>) -> Found<T> {
    match (found.len(), found.into_iter().next()) {
        (1, Some(one)) => Ok(one),
        (0, _) => Err(format!("there is no {text:?} in this tenant; {FORM}")),
        (count, _) => Err(format!("{count} are called {text:?}: give the id instead")),
    }
}

impl ScopeNames {
    pub(crate) async fn read(tx: &TenantTx) -> Result<Self> {
        let workspaces = tx.workspaces().await?.into_iter();
        let groups = tx.device_groups().await?.into_iter();
        Ok(Self {
            workspaces: workspaces.map(|one| (one.name, ScopeOf::Workspace(one.id))).collect(),
            groups: groups.map(|one| (one.name, ScopeOf::Group(one.id))).collect(),
            twins: tx.twins(&Page::whole()).await?.items,
        })
    }

    /// The part that a line of a file names; the message says what would be right.
    pub(crate) async fn resolve(
        &self,
        app: &App,
        tenant: TenantId,
        text: &str,
    ) -> Result<Found<ScopeOf>> {
        if text.is_empty() {
            return Ok(Ok(ScopeOf::Tenant));
        }
        let Some((kind, name)) = text.split_once(':') else { return Ok(Err(FORM.to_owned())) };
        let name = name.trim();
        let among = |list: &[(String, ScopeOf)]| {
            let is_it = |(known, of): &&(String, ScopeOf)| {
                known == name || printed(of).is_some_and(|text| text.ends_with(&format!(":{name}")))
            };
            only(name, list.iter().filter(is_it).map(|(_, of)| of.clone()).collect())
        };
        Ok(match kind.trim() {
            "workspace" => among(&self.workspaces),
            "group" => among(&self.groups),
            "twin" => return self.twin(app, tenant, name).await,
            _ => Err(FORM.to_owned()),
        })
    }

    fn twins_called(&self, name: &str) -> Vec<&Twin> {
        let is_it = |twin: &&Twin| twin.name == name || twin.id.to_string() == name;
        self.twins.iter().filter(is_it).collect()
    }

    /// A twin, or a storey or room after its last slash: names may hold slashes too.
    async fn twin(&self, app: &App, tenant: TenantId, text: &str) -> Result<Found<ScopeOf>> {
        let whole = self.twins_called(text);
        let Some((twin, branch)) = text.rsplit_once('/').filter(|_| whole.is_empty()) else {
            return Ok(only(text, whole).map(|twin| ScopeOf::Twin { twin: twin.id, node: None }));
        };
        let twin = match only(twin.trim(), self.twins_called(twin.trim())) {
            Ok(twin) => twin,
            Err(message) => return Ok(Err(message)),
        };
        let (model, branch) = (app.load_model(tenant, twin).await?, branch.trim());
        let storeys = model.storeys.iter().map(|one| (one.id.to_string(), &one.name));
        let spaces = model.spaces.iter().map(|one| (one.id.to_string(), &one.name));
        let nodes = storeys.chain(spaces);
        let found = nodes.filter(|(id, name)| id == branch || *name == branch).map(|(id, _)| id);
        let node = only(branch, found.collect());
        Ok(node.map(|node| ScopeOf::Twin { twin: twin.id, node: Some(node) }))
    }
}

/// What an invitation gives: a role, and where.
pub(crate) struct Given {
    pub(crate) role: Role,
    pub(crate) scope: ScopeOf,
}

impl Given {
    /// The role of the membership: over a part only, a member may do nothing by itself. The
    /// platform's own tenant, where this role is the staff's, has no such members.
    pub(crate) fn of_membership(&self) -> Role {
        if self.scope == ScopeOf::Tenant { self.role } else { Role::Support }
    }

    /// What the records say of it being taken up.
    pub(crate) fn recorded(&self, user: UserId) -> Change {
        let (role, scope) = (self.role.as_str(), printed(&self.scope));
        Change::to(serde_json::json!({
            "holder": format!("user:{user}"), "role": role, "scope": scope,
        }))
    }
}

/// In the platform's own tenant the role beside the grant is the staff's, who has a desk.
const NO_PART_OF_PLATFORM: &str = "nobody is invited over a part of the platform's own \
                                   organisation: leave the scope out, or keep what they are to see \
                                   in an organisation of its own";

impl App {
    /// The part of the tenant still is there, and there is room for one more grant.
    pub(crate) async fn check_given(&self, tenant: TenantId, given: &Given) -> Result<()> {
        if given.scope == ScopeOf::Tenant {
            return Ok(());
        }
        if tenant == PLATFORM_TENANT {
            return Err(Error::Conflict(NO_PART_OF_PLATFORM.to_owned()));
        }
        let tx = self.0.store.read(&self.job_in("invitation", tenant)).await?;
        let gone = |_| {
            let detail = "what this invitation is about is gone: ask for another invitation";
            Error::Conflict(detail.to_owned())
        };
        self.check_scope_exists(&tx, &given.scope).await.map_err(gone)?;
        self.check_room_for_grant(&tx).await
    }

    /// Writes the grant of an invitation over a part of a tenant.
    pub(crate) async fn give(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        (tenant, user): (TenantId, UserId),
        given: &Given,
    ) -> Result<()> {
        if given.scope == ScopeOf::Tenant {
            return Ok(());
        }
        let grant = Grant {
            id: GrantId::generate(context.at, self.rng()),
            holder: Holder::User(user),
            role: GrantRole::BuiltIn(given.role),
            scope: given.scope.clone(),
            expires_at: None,
            created_at: context.at,
        };
        Ok(tx.grant_create(tenant, &grant).await?)
    }

    /// Refuses an invitation into a part of the tenant that is not there, or with a role that
    /// nobody holds over a part.
    pub(crate) async fn check_invited(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        role: Role,
        scope: &ScopeOf,
    ) -> Result<()> {
        if *scope != ScopeOf::Tenant && role == Role::Owner {
            let detail = "an owner answers for the whole tenant: leave the scope out";
            return Err(Error::invalid_at("role", detail));
        }
        if *scope != ScopeOf::Tenant && context.tenant == PLATFORM_TENANT {
            return Err(Error::invalid_at("scope", NO_PART_OF_PLATFORM));
        }
        self.check_scope_exists(tx, scope).await?;
        self.check_giving_for_good(context, GrantRole::BuiltIn(role), scope).await
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{GroupId, SiteId, WorkspaceId};

    use super::*;

    #[test]
    fn a_scope_is_read_as_it_was_written() {
        let twin = SiteId::from_bytes([1; 16]);
        let check = |scope: ScopeOf| {
            assert_eq!(parsed(printed(&scope).as_deref()), Some(scope));
        };
        check(ScopeOf::Tenant);
        check(ScopeOf::Workspace(WorkspaceId::from_bytes([2; 16])));
        check(ScopeOf::Group(GroupId::from_bytes([3; 16])));
        check(ScopeOf::Twin { twin, node: None });
        check(ScopeOf::Twin { twin, node: Some("2O2Fr$t4X7Zf8NOew3FNr2".to_owned()) });
        assert_eq!(parsed(Some("planet:1")), None);
        assert_eq!(parsed(Some("group:1")), None);
    }
}

//! Giving rights: roles of a tenant's own, workspaces, groups of devices, grants. Nobody gives
//! more than they hold, and nobody changes their own rights.

use std::collections::BTreeSet;

use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    ActorKind, CustomRoleId, GrantId, GroupId, HeldRole, LimitExceeded, OpContext, Role, ScopeOf,
    UserId, WorkspaceId,
};
use veritwin_metastore::{DeviceGroup, Grant, GrantRole, Holder, StoredRole, TenantTx, Workspace};

use crate::access::nodes_below;
use crate::links::text;
use crate::model::{
    CustomRoleView, GrantView, GroupInput, GroupView, HolderOf, NewGrant, RightView, RoleInput,
    RoleOf, RolesView, WorkspaceInput, WorkspaceView,
};
use crate::{App, Error, Result};

/// Most roles of a tenant's own.
const CUSTOM_ROLES_MAX: usize = 100;
/// Most workspaces of a tenant.
const WORKSPACES_MAX: usize = 200;
/// Most groups of devices of a tenant.
const GROUPS_MAX: usize = 500;
/// Most devices of one group.
const GROUP_DEVICES_MAX: usize = 10_000;
/// Most twins of one workspace.
const WORKSPACE_TWINS_MAX: usize = 1000;
/// Most grants of a tenant.
const GRANTS_MAX: usize = 5000;

impl From<RoleOf> for GrantRole {
    fn from(role: RoleOf) -> Self {
        match role {
            RoleOf::BuiltIn(role) => Self::BuiltIn(role),
            RoleOf::Custom(id) => Self::Custom(id),
        }
    }
}

impl From<GrantRole> for RoleOf {
    fn from(role: GrantRole) -> Self {
        match role {
            GrantRole::BuiltIn(role) => Self::BuiltIn(role),
            GrantRole::Custom(id) => Self::Custom(id),
        }
    }
}

fn bounded(name: &'static str, max: usize, actual: usize) -> Result<()> {
    if actual > max {
        return Err(LimitExceeded { name, max, actual }.into());
    }
    Ok(())
}

fn version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn expected(if_version: Option<i64>) -> Option<u64> {
    if_version.map(|version| u64::try_from(version).unwrap_or(0))
}

fn role_view(role: StoredRole) -> CustomRoleView {
    let input = RoleInput { name: role.name, allows: role.allows, denies: role.denies };
    CustomRoleView { id: role.id, role: input, version: version(role.version) }
}

fn workspace_view(one: Workspace) -> WorkspaceView {
    let input = WorkspaceInput { name: one.name, twins: one.twins };
    WorkspaceView { id: one.id, workspace: input, version: version(one.version) }
}

fn group_view(one: DeviceGroup) -> GroupView {
    let input = GroupInput { name: one.name, workspace: one.workspace, devices: one.devices };
    GroupView { id: one.id, group: input, version: version(one.version) }
}

fn grant_view(grant: Grant) -> GrantView {
    let holder = match grant.holder {
        Holder::User(id) => HolderOf::User(id),
        Holder::ApiKey(id) => HolderOf::ApiKey(id),
    };
    let right = RightView { role: grant.role.into(), scope: grant.scope };
    let given = NewGrant { holder, right, expires_at: grant.expires_at };
    GrantView { id: grant.id, grant: given, created_at: grant.created_at }
}

fn missing(field: &'static str) -> impl Fn(veritwin_metastore::Error) -> Error {
    move |error| match error {
        veritwin_metastore::Error::NotFound { .. } => {
            Error::invalid_at(field, "there is no such thing in this tenant")
        }
        other => other.into(),
    }
}

const OWN: &str = "changing one's own rights: ask somebody else who may";

impl App {
    /// Nobody changes what they hold themselves.
    pub(crate) fn refuse_own(&self, context: &OpContext, user: UserId) -> Result<()> {
        match context.actor.kind {
            ActorKind::User { user: own, .. } if own == user => {
                Err(Error::Forbidden(OWN.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a change of a role or part of the tenant that the actor holds something by.
    fn refuse_held(
        &self,
        context: &OpContext,
        is_it: impl Fn(&HeldRole, &ScopeOf) -> bool,
    ) -> Result<()> {
        let rights = &context.actor.rights;
        let mut facets = rights.facets.iter().chain(rights.bounds.iter().flatten());
        if facets.any(|facet| is_it(&facet.role, &facet.scope.of)) {
            return Err(Error::Forbidden(OWN.to_owned()));
        }
        Ok(())
    }

    /// Nobody gives what they do not hold: every action of the role, over at least its scope.
    pub(crate) async fn check_giving(
        &self,
        context: &OpContext,
        role: GrantRole,
        scope: &ScopeOf,
    ) -> Result<()> {
        if !matches!(context.actor.kind, ActorKind::User { .. } | ActorKind::ApiKey(_)) {
            return Ok(());
        }
        let book = self.access_book(context).await?;
        let unknown = || Error::invalid_at("custom_role_id", "there is no such role");
        let held = book.held(role).ok_or_else(unknown)?;
        for action in self.0.authorizer.permitted_by(&held) {
            // Over a part of the tenant, what belongs to the whole of it cannot be reached.
            if *scope != ScopeOf::Tenant && !action.kind().has_places() {
                continue;
            }
            if !self.holds_over(context, &book, action, scope) {
                let detail = format!("giving {action}, which you do not hold there yourself");
                return Err(Error::Forbidden(detail));
            }
        }
        Ok(())
    }

    fn holds_over(
        &self,
        context: &OpContext,
        book: &crate::access::AccessBook,
        action: Action,
        scope: &ScopeOf,
    ) -> bool {
        let authorizer = &self.0.authorizer;
        let Ok(reach) = authorizer.reach(context, action, action.kind()) else { return false };
        if reach.is_whole() {
            return true;
        }
        let rights = &context.actor.rights;
        let denies = |role: &HeldRole| match role {
            HeldRole::Custom(role) => role.denies.contains(action.as_str()),
            HeldRole::BuiltIn(_) => false,
        };
        // A bounded program gives only what it and its maker hold over the whole tenant.
        rights.bounds.is_empty()
            && !rights.facets.iter().any(|facet| denies(&facet.role))
            && rights.facets.iter().any(|facet| {
                book.within(scope, &facet.scope.of)
                    && authorizer.permitted_by(&facet.role).contains(&action)
            })
    }

    pub(crate) async fn check_scope_exists(&self, tx: &TenantTx, scope: &ScopeOf) -> Result<()> {
        let none = |field| Error::invalid_at(field, "there is no such thing in this tenant");
        match scope {
            ScopeOf::Tenant => Ok(()),
            ScopeOf::Workspace(id) => {
                let is_there = tx.workspaces().await?.iter().any(|one| one.id == *id);
                is_there.then_some(()).ok_or_else(|| none("scope.workspace_id"))
            }
            ScopeOf::Group(id) => {
                let is_there = tx.device_groups().await?.iter().any(|one| one.id == *id);
                is_there.then_some(()).ok_or_else(|| none("scope.group_id"))
            }
            ScopeOf::Twin { twin, node } => {
                let row = tx.twin(*twin).await.map_err(missing("scope.twin_id"))?;
                let Some(node) = node else { return Ok(()) };
                let model = self.load_model(tx.tenant_id(), &row).await?;
                if nodes_below(&model, node).contains(node) {
                    return Ok(());
                }
                let detail = "there is no such storey or space in the twin";
                Err(Error::invalid_at("scope.node_id", detail))
            }
        }
    }

    pub(crate) async fn check_room_for_grant(&self, tx: &TenantTx) -> Result<()> {
        bounded("grants_max", GRANTS_MAX, tx.grants().await?.len() + 1)
    }

    /// Every role there is.
    pub async fn list_roles(&self, context: &OpContext) -> Result<RolesView> {
        let resource = self.authorize_all(context, Action::RoleRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let custom = tx.custom_roles().await?.into_iter().map(role_view).collect();
        self.note(context, Action::RoleRead, &resource, "done");
        let names = |actions: BTreeSet<Action>| actions.into_iter().map(Action::as_str).collect();
        let permitted = |role, is_program| names(self.0.authorizer.permitted(role, is_program));
        Ok(RolesView {
            built_in: Role::ALL
                .map(|role| (role, permitted(role, false), permitted(role, true)))
                .into(),
            custom,
            grantable: names(self.0.authorizer.grantable()),
        })
    }

    fn check_role(&self, context: &OpContext, input: &RoleInput) -> Result<()> {
        text("name", &input.name)?;
        if input.allows.is_empty() && input.denies.is_empty() {
            return Err(Error::invalid_at("allows", "needs an action to permit or deny"));
        }
        let grantable = self.0.authorizer.grantable();
        for (field, names) in [("allows", &input.allows), ("denies", &input.denies)] {
            for name in names {
                let action: Option<Action> = name.parse().ok();
                let Some(action) = action.filter(|action| grantable.contains(action)) else {
                    let detail = "not an action that a role may hold: see GET /v1/roles";
                    return Err(Error::invalid_at(field, detail));
                };
                let reach = self.0.authorizer.reach(context, action, action.kind());
                if field == "allows" && !reach.is_ok_and(|reach| reach.is_whole()) {
                    let detail = format!("permitting {action}, which you do not hold yourself");
                    return Err(Error::Forbidden(detail));
                }
            }
        }
        Ok(())
    }

    /// Makes a role of the tenant's own.
    pub async fn create_role(
        &self,
        context: &OpContext,
        input: RoleInput,
    ) -> Result<CustomRoleView> {
        self.authorize_all(context, Action::RoleWrite, Kind::Access)?;
        self.check_role(context, &input)?;
        let role = StoredRole {
            id: CustomRoleId::generate(context.at, self.rng()),
            name: text("name", &input.name)?,
            allows: input.allows,
            denies: input.denies,
            version: 0,
            created_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        bounded("custom_roles_max", CUSTOM_ROLES_MAX, tx.custom_roles().await?.len() + 1)?;
        tx.custom_role_create(&role).await?;
        self.role_written(tx, context, role.id).await
    }

    /// Changes a role of the tenant's own, for everybody who holds it, at once.
    pub async fn replace_role(
        &self,
        context: &OpContext,
        id: CustomRoleId,
        input: RoleInput,
        if_version: Option<i64>,
    ) -> Result<CustomRoleView> {
        let resource = Resource::custom_role(context.tenant, id);
        self.authorize(context, Action::RoleWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let mut role = tx.custom_role(id).await?;
        self.refuse_role_held(context, id)?;
        self.check_role(context, &input)?;
        role.name = text("name", &input.name)?;
        role.allows = input.allows;
        role.denies = input.denies;
        tx.custom_role_update(&role, expected(if_version)).await?;
        self.role_written(tx, context, id).await
    }

    fn refuse_role_held(&self, context: &OpContext, id: CustomRoleId) -> Result<()> {
        let is_it = |role: &HeldRole| matches!(role, HeldRole::Custom(role) if role.id == id);
        self.refuse_held(context, |role, _| is_it(role))
    }

    async fn role_written(
        &self,
        tx: TenantTx,
        context: &OpContext,
        id: CustomRoleId,
    ) -> Result<CustomRoleView> {
        let role = tx.custom_role(id).await?;
        let resource = Resource::custom_role(context.tenant, id);
        self.record(&tx, context, Action::RoleWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(role_view(role))
    }

    /// Deletes a role of the tenant's own that nobody holds.
    pub async fn delete_role(&self, context: &OpContext, id: CustomRoleId) -> Result<()> {
        let resource = Resource::custom_role(context.tenant, id);
        self.authorize(context, Action::RoleWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        tx.custom_role_delete(id).await?;
        self.record(&tx, context, Action::RoleWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }

    /// The tenant's workspaces.
    pub async fn list_workspaces(&self, context: &OpContext) -> Result<Vec<WorkspaceView>> {
        let resource = self.authorize_all(context, Action::GroupRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.workspaces().await?;
        self.note(context, Action::GroupRead, &resource, "done");
        Ok(all.into_iter().map(workspace_view).collect())
    }

    /// Makes a workspace, or changes one. Its twins leave the workspace they were in.
    pub async fn put_workspace(
        &self,
        context: &OpContext,
        known: Option<WorkspaceId>,
        input: WorkspaceInput,
        if_version: Option<i64>,
    ) -> Result<WorkspaceView> {
        let id = known.unwrap_or_else(|| WorkspaceId::generate(context.at, self.rng()));
        let resource = Resource::workspace(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let all = tx.workspaces().await?;
        if known.is_some() && !all.iter().any(|one| one.id == id) {
            return Err(Error::NotFound("workspace"));
        }
        self.refuse_held(context, |_, of| *of == ScopeOf::Workspace(id))?;
        let name = text("name", &input.name)?;
        bounded("workspace_twins_max", WORKSPACE_TWINS_MAX, input.twins.len())?;
        let twins: BTreeSet<_> = input.twins.into_iter().collect();
        for twin in &twins {
            tx.twin(*twin).await.map_err(missing("twin_ids"))?;
            // A twin that leaves takes devices out of somebody's reach: not out of one's own.
            let from = all.iter().find(|one| one.twins.contains(twin)).map(|one| one.id);
            self.refuse_held(context, |_, of| {
                from.is_some_and(|id| *of == ScopeOf::Workspace(id))
            })?;
        }
        let workspace = Workspace {
            id,
            name,
            twins: twins.into_iter().collect(),
            version: 0,
            created_at: context.at,
        };
        if known.is_some() {
            tx.workspace_update(&workspace, expected(if_version)).await?;
        } else {
            bounded("workspaces_max", WORKSPACES_MAX, all.len() + 1)?;
            tx.workspace_create(&workspace).await?;
        }
        let stored = tx.workspaces().await?.into_iter().find(|one| one.id == id);
        self.record(&tx, context, Action::GroupWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        stored.map(workspace_view).ok_or(Error::NotFound("workspace"))
    }

    /// Deletes a workspace with the grants over it; its twins and groups stay.
    pub async fn delete_workspace(&self, context: &OpContext, id: WorkspaceId) -> Result<()> {
        let resource = Resource::workspace(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        self.refuse_held(context, |_, of| *of == ScopeOf::Workspace(id))?;
        let tx = self.0.store.begin(context).await?;
        tx.workspace_delete(id).await?;
        self.record(&tx, context, Action::GroupWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }

    /// The tenant's groups of devices.
    pub async fn list_groups(&self, context: &OpContext) -> Result<Vec<GroupView>> {
        let resource = self.authorize_all(context, Action::GroupRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.device_groups().await?;
        self.note(context, Action::GroupRead, &resource, "done");
        Ok(all.into_iter().map(group_view).collect())
    }

    /// Makes a group of devices, or changes one.
    pub async fn put_group(
        &self,
        context: &OpContext,
        known: Option<GroupId>,
        input: GroupInput,
        if_version: Option<i64>,
    ) -> Result<GroupView> {
        let id = known.unwrap_or_else(|| GroupId::generate(context.at, self.rng()));
        let resource = Resource::group(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let all = tx.device_groups().await?;
        let before = all.iter().find(|one| one.id == id);
        if known.is_some() && before.is_none() {
            return Err(Error::NotFound("group"));
        }
        let spaces: Vec<WorkspaceId> =
            before.and_then(|one| one.workspace).into_iter().chain(input.workspace).collect();
        self.refuse_held(context, |_, of| match of {
            ScopeOf::Group(group) => *group == id,
            ScopeOf::Workspace(space) => spaces.contains(space),
            _ => false,
        })?;
        let name = text("name", &input.name)?;
        bounded("group_devices_max", GROUP_DEVICES_MAX, input.devices.len())?;
        if let Some(space) = input.workspace
            && !tx.workspaces().await?.iter().any(|one| one.id == space)
        {
            let detail = "there is no such thing in this tenant";
            return Err(Error::invalid_at("workspace_id", detail));
        }
        let devices: BTreeSet<_> = input.devices.into_iter().collect();
        let known_devices = self.tenant_devices(context).await?;
        if devices.iter().any(|device| known_devices.get(*device).is_none()) {
            let detail = "there is no such thing in this tenant";
            return Err(Error::invalid_at("device_ids", detail));
        }
        let group = DeviceGroup {
            id,
            name,
            workspace: input.workspace,
            devices: devices.into_iter().collect(),
            version: 0,
            created_at: context.at,
        };
        if known.is_some() {
            tx.device_group_update(&group, expected(if_version)).await?;
        } else {
            bounded("groups_max", GROUPS_MAX, all.len() + 1)?;
            tx.device_group_create(&group).await?;
        }
        let stored = tx.device_groups().await?.into_iter().find(|one| one.id == id);
        self.record(&tx, context, Action::GroupWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        stored.map(group_view).ok_or(Error::NotFound("group"))
    }

    /// Deletes a group with the grants over it; its devices stay.
    pub async fn delete_group(&self, context: &OpContext, id: GroupId) -> Result<()> {
        let resource = Resource::group(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        self.refuse_held(context, |_, of| *of == ScopeOf::Group(id))?;
        let tx = self.0.store.begin(context).await?;
        tx.device_group_delete(id).await?;
        self.record(&tx, context, Action::GroupWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }

    /// The tenant's grants.
    pub async fn list_grants(&self, context: &OpContext) -> Result<Vec<GrantView>> {
        let resource = self.authorize_all(context, Action::GrantRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.grants().await?;
        self.note(context, Action::GrantRead, &resource, "done");
        Ok(all.into_iter().map(grant_view).collect())
    }

    /// Gives a person or program a role over a part of the tenant.
    pub async fn create_grant(&self, context: &OpContext, new: NewGrant) -> Result<GrantView> {
        self.authorize_all(context, Action::GrantWrite, Kind::Access)?;
        if new.expires_at.is_some_and(|end| end <= context.at) {
            return Err(Error::invalid_at("expires_at", "must be in the future"));
        }
        let tx = self.0.store.begin(context).await?;
        let holder = match new.holder {
            HolderOf::User(user) => {
                tx.member(user).await.map_err(missing("user_id"))?;
                self.refuse_own(context, user)?;
                Holder::User(user)
            }
            HolderOf::ApiKey(key) => {
                tx.api_key(key).await.map_err(missing("api_key_id"))?;
                if context.actor.kind == ActorKind::ApiKey(key) {
                    return Err(Error::Forbidden(OWN.to_owned()));
                }
                Holder::ApiKey(key)
            }
        };
        let role = GrantRole::from(new.right.role);
        if role == GrantRole::BuiltIn(Role::Owner) {
            let detail = "an owner answers for the whole tenant: change the person's roles";
            return Err(Error::invalid_at("role", detail));
        }
        self.check_scope_exists(&tx, &new.right.scope).await?;
        self.check_giving(context, role, &new.right.scope).await?;
        self.check_room_for_grant(&tx).await?;
        let grant = Grant {
            id: GrantId::generate(context.at, self.rng()),
            holder,
            role,
            scope: new.right.scope,
            expires_at: new.expires_at,
            created_at: context.at,
        };
        tx.grant_create(&grant).await?;
        let resource = Resource::grant(context.tenant, grant.id);
        self.record(&tx, context, Action::GrantWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(grant_view(grant))
    }

    /// Takes a grant away at once.
    pub async fn delete_grant(&self, context: &OpContext, id: GrantId) -> Result<()> {
        let resource = Resource::grant(context.tenant, id);
        self.authorize(context, Action::GrantWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        match tx.grant(id).await?.holder {
            Holder::User(user) => self.refuse_own(context, user)?,
            Holder::ApiKey(key) if context.actor.kind == ActorKind::ApiKey(key) => {
                return Err(Error::Forbidden(OWN.to_owned()));
            }
            Holder::ApiKey(_) => {}
        }
        tx.grant_delete(id).await?;
        self.record(&tx, context, Action::GrantWrite, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }
}

//! Giving rights, and roles of a tenant's own. Nobody gives more than they hold, lifting a denial
//! is giving, and nobody changes their own rights.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use serde_json::Value;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, CustomRoleId, Facet, HeldRole, LimitExceeded, OpContext, Role, ScopeOf,
    Timestamp, UserId,
};
use veritwin_metastore::{Grant, GrantRole, Holder, Page, StoredRole, TenantTx};

use crate::access::nodes_below;
use crate::change::Change;
use crate::grants::NOTHING_FROM_OWNERS;
use crate::links::text;
use crate::model::{CustomRoleView, RoleInput, RoleOf, RolesView};
use crate::{App, Error, Result, recorded};

/// Most roles of a tenant's own.
const CUSTOM_ROLES_MAX: usize = 100;
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

pub(crate) fn bounded(name: &'static str, max: usize, actual: usize) -> Result<()> {
    if actual > max {
        return Err(LimitExceeded { name, max, actual }.into());
    }
    Ok(())
}

pub(crate) fn version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

pub(crate) fn expected(if_version: Option<i64>) -> Option<u64> {
    if_version.map(|version| u64::try_from(version).unwrap_or(0))
}

fn role_view(role: StoredRole) -> CustomRoleView {
    let input = RoleInput { name: role.name, allows: role.allows, denies: role.denies };
    CustomRoleView { id: role.id, role: input, version: version(role.version) }
}

pub(crate) fn missing(field: &'static str) -> impl Fn(veritwin_metastore::Error) -> Error {
    move |error| match error {
        veritwin_metastore::Error::NotFound { .. } => {
            Error::invalid_at(field, "there is no such thing in this tenant")
        }
        other => other.into(),
    }
}

/// Whether an owner acts, in person.
pub(crate) fn is_owner(context: &OpContext) -> bool {
    let is_person = matches!(context.actor.kind, ActorKind::User { .. });
    is_person && context.actor.roles.contains(&Role::Owner)
}

/// The role of a grant, if it denies something.
pub(crate) fn denying<'a>(roles: &'a [StoredRole], grant: &Grant) -> Option<&'a StoredRole> {
    let is_it = |role: &&StoredRole| grant.role == GrantRole::Custom(role.id);
    roles.iter().find(is_it).filter(|role| !role.denies.is_empty())
}

/// Whether the role of a grant permits anything.
pub(crate) fn allows(roles: &[StoredRole], grant: &Grant) -> bool {
    let permits_nothing =
        |role: &StoredRole| grant.role == GrantRole::Custom(role.id) && role.allows.is_empty();
    !roles.iter().any(permits_nothing)
}

pub(crate) fn has_ended(grant: &Grant, context: &OpContext) -> bool {
    grant.expires_at.is_some_and(|end| end <= context.at)
}

const HELD_A_WHILE: &str = "you hold this for a while only, and this would outlast it: give a \
                            grant that ends before, or ask somebody who holds it without an end";

const OWNERS_DENIAL: &str =
    "an owner wrote or gave what this role denies, so only an owner lifts it";

const DENIED_BY_OWNER: &str =
    "an owner denied this person something, so only an owner takes them out";

pub(crate) const OWN: &str = "nobody changes their own rights: ask somebody else who may";

impl App {
    /// Nobody changes what they hold themselves, nor by a key that they made.
    pub(crate) async fn refuse_own(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        user: UserId,
    ) -> Result<()> {
        let own = match context.actor.kind {
            ActorKind::User { user, .. } => Some(user),
            ActorKind::ApiKey(key) => tx.api_key(key).await?.maker,
            _ => None,
        };
        if own == Some(user) { Err(Error::Forbidden(OWN.to_owned())) } else { Ok(()) }
    }

    /// Refuses a change of a role or part of the tenant that the actor holds something by.
    pub(crate) fn refuse_held(
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

    /// Nobody gives what they do not hold: every action of the role, over at least its scope. The
    /// answer says until when they hold all of it, which is the latest moment they give it for.
    pub(crate) async fn check_giving(
        &self,
        context: &OpContext,
        role: GrantRole,
        scope: &ScopeOf,
    ) -> Result<Timestamp> {
        let mut until = Timestamp::MAX;
        if !matches!(context.actor.kind, ActorKind::User { .. } | ActorKind::ApiKey(_)) {
            return Ok(until);
        }
        let book = self.access_book(context).await?;
        let unknown = || Error::invalid_at("custom_role_id", "there is no such role");
        let held = book.held(role).ok_or_else(unknown)?;
        for action in self.0.authorizer.permitted_by(&held) {
            // Over a part of the tenant, what belongs to the whole of it cannot be reached.
            if *scope != ScopeOf::Tenant && !action.kind().has_places() {
                continue;
            }
            // The desk is open to the platform's own staff alone, and its administration appoints
            // them without sitting at it: in any other tenant these permit nothing.
            if action.kind() == Kind::SupportDesk {
                continue;
            }
            // Saying that one has read a policy is each person's own act, and no power over
            // anything: a key, which cannot, still gives the roles it holds.
            if action == Action::GovernanceAttest {
                continue;
            }
            let Some(end) = self.held_until(context, &book, action, scope) else {
                let detail = format!("giving {action}, which you do not hold there yourself");
                return Err(Error::Forbidden(detail));
            };
            until = until.min(end);
        }
        Ok(until)
    }

    /// As [`App::check_giving`], for what is given without an end: nobody gives so what they hold
    /// for a while only.
    pub(crate) async fn check_giving_for_good(
        &self,
        context: &OpContext,
        role: GrantRole,
        scope: &ScopeOf,
    ) -> Result<()> {
        let until = self.check_giving(context, role, scope).await?;
        if until == Timestamp::MAX {
            Ok(())
        } else {
            Err(Error::Forbidden(HELD_A_WHILE.to_owned()))
        }
    }

    /// Lifting a denial gives what it denied: nobody lifts what they do not hold there, and what an
    /// owner denied is lifted by owners.
    pub(crate) async fn check_lifting(
        &self,
        context: &OpContext,
        role: &StoredRole,
        lifted: &[String],
        scope: &ScopeOf,
    ) -> Result<()> {
        if !matches!(context.actor.kind, ActorKind::User { .. } | ActorKind::ApiKey(_)) {
            return Ok(());
        }
        let book = self.access_book(context).await?;
        for name in lifted {
            if role.by_owner && !is_owner(context) {
                return Err(Error::Forbidden(OWNERS_DENIAL.to_owned()));
            }
            let Ok(action) = name.parse::<Action>() else { continue };
            if *scope != ScopeOf::Tenant && !action.kind().has_places() {
                continue;
            }
            match self.held_until(context, &book, action, scope) {
                Some(Timestamp::MAX) => {}
                Some(_) => return Err(Error::Forbidden(HELD_A_WHILE.to_owned())),
                None => {
                    let detail = format!(
                        "lifting the denial of {action}, which you do not hold there yourself"
                    );
                    return Err(Error::Forbidden(detail));
                }
            }
        }
        Ok(())
    }

    /// Refuses to end the membership of somebody whom an owner denied something, except to owners:
    /// invited again, they would have it back.
    pub(crate) async fn check_taking_out(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        user: UserId,
    ) -> Result<()> {
        if is_owner(context) {
            return Ok(());
        }
        let roles = tx.custom_roles().await?;
        let is_denied = |grant: &Grant| {
            grant.holder == Holder::User(user)
                && !has_ended(grant, context)
                && denying(&roles, grant).is_some_and(|role| role.by_owner)
        };
        if tx.grants().await?.iter().any(is_denied) {
            return Err(Error::Forbidden(DENIED_BY_OWNER.to_owned()));
        }
        Ok(())
    }

    /// Refuses to take something out of parts of the tenant where a role denies, unless one may
    /// lift that.
    pub(crate) async fn check_leaving(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        is_left: impl Fn(&ScopeOf) -> bool,
    ) -> Result<()> {
        let roles = tx.custom_roles().await?;
        let mut grants = tx.grants().await?;
        grants.retain(|grant| is_left(&grant.scope) && !has_ended(grant, context));
        for grant in &grants {
            if let Some(role) = denying(&roles, grant) {
                self.check_lifting(context, role, &role.denies, &grant.scope).await?;
            }
        }
        Ok(())
    }

    /// Until when the actor holds an action over all of a part of the tenant; none where they do
    /// not.
    fn held_until(
        &self,
        context: &OpContext,
        book: &crate::access::AccessBook,
        action: Action,
        scope: &ScopeOf,
    ) -> Option<Timestamp> {
        let authorizer = &self.0.authorizer;
        let Actor { kind, roles, rights } = &context.actor;
        let is_program = matches!(kind, ActorKind::ApiKey(_));
        let reach = authorizer.reach(context, action, action.kind()).ok()?;
        if !matches!(kind, ActorKind::User { .. } | ActorKind::ApiKey(_)) {
            return reach.is_whole().then_some(Timestamp::MAX);
        }
        let denies = |role: &HeldRole| match role {
            HeldRole::Custom(role) => role.denies.contains(action.as_str()),
            HeldRole::BuiltIn(_) => false,
        };
        // A bounded program gives only what it and its maker hold over the whole tenant.
        let is_part =
            rights.bounds.is_empty() && !rights.facets.iter().any(|facet| denies(&facet.role));
        if !reach.is_whole() && !is_part {
            return None;
        }
        // The last to end of several that hold it, of the actor's own and of whoever bounds them.
        let last = |facets: &[Facet], is_program: bool| {
            let holds = |facet: &&Facet| {
                book.within(scope, &facet.scope.of)
                    && authorizer.role_permits(&facet.role, action, is_program)
            };
            let held = facets.iter().filter(holds);
            held.map(|facet| facet.expires_at.unwrap_or(Timestamp::MAX)).max()
        };
        let by_role =
            |role: &Role| authorizer.role_permits(&HeldRole::BuiltIn(*role), action, is_program);
        let own = if roles.iter().any(by_role) {
            Some(Timestamp::MAX)
        } else {
            last(&rights.facets, is_program)
        };
        let bounds = rights.bounds.iter().map(|bound| last(bound, false));
        bounds.chain([own]).min()?
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
    #[boxed]
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

    async fn check_role(&self, context: &OpContext, input: &RoleInput) -> Result<()> {
        text("name", &input.name)?;
        if input.allows.is_empty() && input.denies.is_empty() {
            return Err(Error::invalid_at("allows", "needs an action to permit or deny"));
        }
        let grantable = self.0.authorizer.grantable();
        let book = self.access_book(context).await?;
        for (field, names) in [("allows", &input.allows), ("denies", &input.denies)] {
            for name in names {
                let action: Option<Action> = name.parse().ok();
                let Some(action) = action.filter(|action| grantable.contains(action)) else {
                    let detail = "not an action that a role may hold: see GET /v1/roles";
                    return Err(Error::invalid_at(field, detail));
                };
                if field != "allows" {
                    continue;
                }
                match self.held_until(context, &book, action, &ScopeOf::Tenant) {
                    Some(Timestamp::MAX) => {}
                    Some(_) => return Err(Error::Forbidden(HELD_A_WHILE.to_owned())),
                    None => {
                        let detail = format!("permitting {action}, which you do not hold yourself");
                        return Err(Error::Forbidden(detail));
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes a role of the tenant's own.
    #[boxed]
    pub async fn create_role(
        &self,
        context: &OpContext,
        input: RoleInput,
    ) -> Result<CustomRoleView> {
        self.authorize_all(context, Action::RoleWrite, Kind::Access)?;
        self.check_role(context, &input).await?;
        let role = StoredRole {
            id: CustomRoleId::generate(context.at, self.rng()),
            name: text("name", &input.name)?,
            allows: input.allows,
            by_owner: is_owner(context) && !input.denies.is_empty(),
            denies: input.denies,
            version: 0,
            created_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        bounded("custom_roles_max", CUSTOM_ROLES_MAX, tx.custom_roles().await?.len() + 1)?;
        tx.custom_role_create(&role).await?;
        self.role_written(tx, context, (role.id, None)).await
    }

    /// Changes a role of the tenant's own, for everybody who holds it, at once.
    #[boxed]
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
        let before = recorded::role(&role);
        self.refuse_role_held(context, id)?;
        self.check_role(context, &input).await?;
        let mut lifted = role.denies.clone();
        lifted.retain(|name| !input.denies.contains(name));
        self.check_lifting(context, &role, &lifted, &ScopeOf::Tenant).await?;
        let adds = input.denies.iter().any(|name| !role.denies.contains(name));
        if adds {
            self.refuse_held_by_owner(&tx, id).await?;
        }
        role.by_owner |= is_owner(context) && adds;
        role.by_owner &= !input.denies.is_empty();
        role.name = text("name", &input.name)?;
        role.allows = input.allows;
        role.denies = input.denies;
        tx.custom_role_update(&role, expected(if_version)).await?;
        self.role_written(tx, context, (id, Some(before))).await
    }

    /// A role that an owner holds denies nothing.
    async fn refuse_held_by_owner(&self, tx: &TenantTx, id: CustomRoleId) -> Result<()> {
        let members = tx.members(&Page::whole()).await?.items;
        let owners = members.iter().filter(|member| member.roles.contains(&Role::Owner));
        let owners: Vec<UserId> = owners.map(|member| member.user.id).collect();
        let is_owners = |grant: &Grant| {
            let holds = matches!(grant.holder, Holder::User(user) if owners.contains(&user));
            grant.role == GrantRole::Custom(id) && holds
        };
        if tx.grants().await?.iter().any(is_owners) {
            let detail = format!("an owner holds this role: {NOTHING_FROM_OWNERS}");
            return Err(Error::invalid_at("denies", detail));
        }
        Ok(())
    }

    fn refuse_role_held(&self, context: &OpContext, id: CustomRoleId) -> Result<()> {
        let is_it = |role: &HeldRole| matches!(role, HeldRole::Custom(role) if role.id == id);
        self.refuse_held(context, |role, _| is_it(role))
    }

    async fn role_written(
        &self,
        tx: TenantTx,
        context: &OpContext,
        (id, before): (CustomRoleId, Option<Value>),
    ) -> Result<CustomRoleView> {
        let role = tx.custom_role(id).await?;
        let resource = Resource::custom_role(context.tenant, id);
        let change = Change { before, after: Some(recorded::role(&role)) };
        self.record_change(&tx, context, Action::RoleWrite, &resource, change).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(role_view(role))
    }

    /// Deletes a role of the tenant's own that nobody holds.
    #[boxed]
    pub async fn delete_role(&self, context: &OpContext, id: CustomRoleId) -> Result<()> {
        let resource = Resource::custom_role(context.tenant, id);
        self.authorize(context, Action::RoleWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let gone = Change::from(recorded::role(&tx.custom_role(id).await?));
        tx.custom_role_delete(id).await?;
        self.record_change(&tx, context, Action::RoleWrite, &resource, gone).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }
}

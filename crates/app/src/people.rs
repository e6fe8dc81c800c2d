//! The people of a tenant and the session of a person.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource, TokenKind, jobs};
use veritwin_domain::{
    Actor, ActorKind, Facet, OpContext, PlatformContext, Role, ScopeOf, Secret, SessionId,
    TenantId, UserId,
};
use veritwin_keys::{DekId, DestructionMethod, ShredUnit, password};
use veritwin_metastore::{
    GrantRole, Holder, Member, Page, PlatformTx, Session, SessionMethod, TenantTx, User,
};

use crate::change::Change;
use crate::error::found;
use crate::model::{Belonging, Erasure, SessionView, SignedIn, TenantView, UserView};
use crate::sign_in::{ENDED, is_by_provider, person};
use crate::{App, Error, Result};

/// Shortest password, in characters (NIST SP 800-63B-4 asks for at least 15 without and 8 with a
/// second factor; 12 is the policy here).
pub(crate) const PASSWORD_CHARS_MIN: usize = 12;

/// Most accounts of nobody that one purge destroys.
const OF_NOBODY_MAX: u64 = 256;

pub(crate) fn user_view(user: User, roles: Vec<Role>) -> UserView {
    UserView {
        id: user.id,
        email: Secret::new(user.email),
        name: Secret::new(user.name.unwrap_or_default()),
        roles,
        created_at: user.created_at,
    }
}

pub(crate) fn tenant_view(tenant: veritwin_metastore::Tenant) -> TenantView {
    TenantView {
        id: tenant.id,
        name: tenant.name,
        archive_subscribed: tenant.archive_subscribed,
        simulated: tenant.simulated,
        created_at: tenant.created_at,
    }
}

/// Checks a new password; the error says what would be right and never repeats it.
pub(crate) fn check_password(password: &Secret<String>) -> Result<()> {
    let chars = password.expose().chars().count();
    if chars < PASSWORD_CHARS_MIN {
        let detail = format!("needs at least {PASSWORD_CHARS_MIN} characters");
        return Err(Error::invalid_at("password", detail));
    }
    if password.expose().len() > password::PASSWORD_BYTES_MAX {
        let detail = format!("at most {} bytes", password::PASSWORD_BYTES_MAX);
        return Err(Error::invalid_at("password", detail));
    }
    Ok(())
}

impl App {
    /// What a person is in a tenant now; none for who is no member or is disabled.
    pub(crate) async fn person_in(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        user: UserId,
        tenant: TenantId,
    ) -> Result<Option<Person>> {
        let roles = roles_in(&tx.memberships(user).await?, tenant);
        let inside = context.in_tenant(tenant, Actor::without_roles(ActorKind::Anonymous));
        // Owners hold everything by their role: they come in although the tenant's key is away, to
        // give it back.
        let grants = if roles.contains(&Role::Owner) {
            Vec::new()
        } else {
            self.access_book(&inside).await?.facets_of_member(user, &roles, context.at)
        };
        if (roles.is_empty() && grants.is_empty()) || tx.user(user).await?.disabled {
            return Ok(None);
        }
        Ok(Some(Person { roles, grants }))
    }

    /// The session of the context.
    #[boxed]
    pub async fn session(&self, context: &OpContext) -> Result<SessionView> {
        self.authorize_all(context, Action::SessionRead, Kind::Session)?;
        let (user, sign_in) = match context.actor.kind {
            ActorKind::User { user, sign_in, .. } => (user, sign_in),
            ActorKind::Support { .. } => return self.own_support_session(context).await,
            _ => return Err(Error::Forbidden("a program has no session".to_owned())),
        };
        let tx = self.0.store.read(context).await?;
        let Member { user, roles } = tx.member(user).await?;
        let tenant = tenant_view(tx.tenant().await?);
        Ok(SessionView {
            user: user_view(user, roles),
            tenant,
            lacks_second_factor: sign_in.lacks_second_factor,
            support: None,
        })
    }

    /// Ends the session of the context.
    #[boxed]
    pub async fn sign_out(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::SessionDelete, Kind::Session)?;
        let platform = self.above(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        match context.actor.kind {
            ActorKind::User { session, .. } => tx.session_delete(session).await?,
            ActorKind::Support { session, .. } => tx.support_session_delete(session).await?,
            _ => return Ok(()),
        }
        tx.commit().await?;
        self.sessions_ended([context.tenant]);
        self.note(context, Action::SessionDelete, &resource, "done");
        Ok(())
    }

    /// The tenants that the person of the context belongs to and that are served.
    #[boxed]
    pub async fn belongings(&self, context: &OpContext) -> Result<Vec<Belonging>> {
        let resource = self.authorize_all(context, Action::SessionRead, Kind::Session)?;
        let (user, _) = person(context)?;
        let platform = self.above(context);
        let tx = self.0.store.read_platform(&platform).await?;
        let mut memberships = tx.memberships(user).await?;
        memberships.retain(|(id, _)| !is_by_provider(context) || *id == context.tenant);
        let mut found: Vec<Belonging> = Vec::new();
        for (id, role) in memberships {
            if let Some(known) = found.iter_mut().find(|known| known.id == id) {
                known.roles.push(role);
            } else if self.refuse_unserved(id).is_ok() {
                let name = tx.tenant(id).await?.name;
                let current = id == context.tenant;
                found.push(Belonging { id, name, roles: vec![role], current });
            }
        }
        self.note(context, Action::SessionRead, &resource, "done");
        Ok(found)
    }

    /// Goes to another tenant that the person belongs to: a new token, and the old one ends.
    #[boxed]
    pub async fn switch_tenant(&self, context: &OpContext, tenant: TenantId) -> Result<SignedIn> {
        self.authorize_all(context, Action::SessionSwitch, Kind::Session)?;
        self.switch_to(context, tenant).await
    }

    /// The new session ends when the old one would have, and keeps its proof of who it is: going
    /// back and forth prolongs nothing.
    pub(crate) async fn switch_to(
        &self,
        context: &OpContext,
        tenant: TenantId,
    ) -> Result<SignedIn> {
        let (user, session) = person(context)?;
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let roles = roles_in(&tx.memberships(user).await?, tenant);
        if roles.is_empty() || self.refuse_unserved(tenant).is_err() {
            return Err(Error::NotFound("tenant"));
        }
        self.check_people_network(&platform, tenant).await?;
        let sessions = tx.sessions_of(user).await?;
        let old = sessions.into_iter().find(|one| one.id == session).ok_or(ENDED)?;
        let (token, digest) = TokenKind::Session.generate(self.0.rng.as_ref());
        // A second factor that a tenant's provider speaks of is that tenant's only.
        let second_factor = old.second_factor && old.method == SessionMethod::Account;
        let new = Session {
            id: SessionId::generate(context.at, self.rng()),
            tenant,
            last_seen_at: context.at,
            second_factor,
            ..old
        };
        tx.session_delete(session).await?;
        tx.session_create(&new, digest.0).await?;
        let user = user_view(tx.user(user).await?, roles);
        let view = tenant_view(tx.tenant(tenant).await?);
        let lacks_second_factor =
            !new.second_factor && self.asks_second_factor(&platform, tenant).await?;
        let action = Action::SessionSwitch;
        self.record_platform(&tx, &platform, action, Some(tenant), "done").await?;
        tx.commit().await?;
        let session = SessionView { user, tenant: view, lacks_second_factor, support: None };
        Ok(SignedIn { token, session })
    }

    /// The people of the tenant.
    #[boxed]
    pub async fn list_users(&self, context: &OpContext) -> Result<Vec<UserView>> {
        let resource = self.authorize_all(context, Action::UserList, Kind::User)?;
        let tx = self.0.store.read(context).await?;
        let members = tx.members(&Page::whole()).await?.items;
        self.note(context, Action::UserList, &resource, "done");
        Ok(members.into_iter().map(|member| user_view(member.user, member.roles)).collect())
    }

    /// Gives a member of the tenant exactly these roles. Nobody changes their own; owners are made
    /// and unmade by owners; the last owner and the last administrator stay.
    #[boxed]
    pub async fn update_user(
        &self,
        context: &OpContext,
        id: UserId,
        roles: &[Role],
    ) -> Result<UserView> {
        let resource = Resource::user(context.tenant, id);
        self.authorize(context, Action::UserUpdate, &resource)?;
        if roles.is_empty() {
            return Err(Error::invalid_at("roles", "needs at least one role"));
        }
        let roles: BTreeSet<Role> = roles.iter().copied().collect();
        let tx = self.0.store.begin(context).await?;
        let before = tx.member(id).await?.roles;
        self.refuse_own(context, &tx, id).await?;
        let members = tx.members(&Page::whole()).await?.items;
        self.check_owner_change(context, &members, &before, &roles)?;
        let known: BTreeSet<Role> = before.iter().copied().collect();
        for role in roles.difference(&known) {
            let role = GrantRole::BuiltIn(*role);
            self.check_giving_for_good(context, role, &ScopeOf::Tenant).await?;
        }
        check_last(&members, id, &roles)?;
        let roles: Vec<Role> = roles.into_iter().collect();
        let gains = roles.iter().any(|role| !before.contains(role));
        tx.member_roles_set(id, &roles).await?;
        if gains {
            self.note_bringer(&tx, context, id).await?;
        }
        if roles.contains(&Role::Owner) && !before.contains(&Role::Owner) {
            self.drop_denials(&tx, context, id).await?;
        }
        let member = tx.member(id).await?;
        let names = |roles: &[Role]| roles.iter().map(|role| role.as_str()).collect::<Vec<_>>();
        let change = Change::from_to(
            serde_json::json!({"roles": names(&before)}),
            serde_json::json!({"roles": names(&member.roles)}),
        );
        self.record_change(&tx, context, Action::UserUpdate, &resource, change).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(user_view(member.user, member.roles))
    }

    /// Owners are made and unmade by owners; a tenant that has none yet may get its first from an
    /// administrator.
    fn check_owner_change(
        &self,
        context: &OpContext,
        members: &[Member],
        before: &[Role],
        after: &BTreeSet<Role>,
    ) -> Result<()> {
        let (was, will) = (before.contains(&Role::Owner), after.contains(&Role::Owner));
        let has_owner = members.iter().any(|member| member.roles.contains(&Role::Owner));
        if was != will && has_owner {
            self.authorize_all(context, Action::OwnerAppoint, Kind::User)?;
        }
        Ok(())
    }

    /// Removes a person from the tenant; their sessions and the keys they made end at once, and an
    /// account that belongs to no other tenant is destroyed. The last owner and the last
    /// administrator stay, and whom an owner denied something is taken out by owners.
    #[boxed]
    pub async fn remove_user(&self, context: &OpContext, id: UserId) -> Result<()> {
        let resource = Resource::user(context.tenant, id);
        self.authorize(context, Action::UserDelete, &resource)?;
        self.take_out(context, (Action::UserDelete, &resource), id).await
    }

    /// Leaves the tenant of the session, which ends with everything else of the person there. It is
    /// named, so that nobody leaves another one than they mean. The last owner and the last
    /// administrator stay, and so does whom an owner denied something, until an owner takes them
    /// out.
    #[boxed]
    pub async fn leave_tenant(&self, context: &OpContext, tenant: TenantId) -> Result<()> {
        let resource = self.authorize_all(context, Action::SessionLeave, Kind::Session)?;
        let (user, _) = person(context)?;
        if tenant != context.tenant {
            return Err(Error::NotFound("tenant"));
        }
        self.take_out(context, (Action::SessionLeave, &resource), user).await
    }

    async fn take_out(
        &self,
        context: &OpContext,
        (action, resource): (Action, &Resource),
        id: UserId,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let leaving = tx.member(id).await?;
        self.check_taking_out(context, &tx, id).await?;
        let others = tx.members(&Page::whole()).await?.items;
        self.check_owner_change(context, &others, &leaving.roles, &BTreeSet::new())?;
        check_last(&others, id, &BTreeSet::new())?;
        tx.member_remove(id).await?;
        let roles: Vec<&str> = leaving.roles.iter().map(|role| role.as_str()).collect();
        let change = Change::from(serde_json::json!({"roles": roles}));
        self.record_change(&tx, context, action, resource, change).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        self.0.logins.forget_all();
        self.after_leaving(context, id).await
    }

    /// What an account that left a tenant had asked for ends; one of no other tenant goes.
    pub(crate) async fn after_leaving(&self, context: &OpContext, id: UserId) -> Result<()> {
        if self.destroy_of_nobody(id).await? {
            return Ok(());
        }
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        tx.links_delete_of(id).await?;
        Ok(tx.commit().await?)
    }

    /// Destroys the account of a child at once: the person's key, and with it every sealed word
    /// about them, the account, its sessions and factors. What stays is the record of the
    /// destroyed key: the certificate. Not one's own account; the last owner and the last
    /// administrator stay.
    #[boxed]
    pub async fn erase_minor(&self, context: &OpContext, id: UserId) -> Result<Erasure> {
        let resource = Resource::user(context.tenant, id);
        self.authorize(context, Action::UserErase, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let child = tx.member(id).await?;
        self.refuse_own(context, &tx, id).await?;
        self.check_taking_out(context, &tx, id).await?;
        self.check_only_here(context, id).await?;
        let members = tx.members(&Page::whole()).await?.items;
        self.check_owner_change(context, &members, &child.roles, &BTreeSet::new())?;
        check_last(&members, id, &BTreeSet::new())?;
        tx.grants_delete_of(Holder::User(id)).await?;
        let roles: Vec<&str> = child.roles.iter().map(|role| role.as_str()).collect();
        let change = Change::from(serde_json::json!({"roles": roles}));
        self.record_change(&tx, context, Action::UserErase, &resource, change).await?;
        tx.commit().await?;
        let keys = self.destroy_account(id).await?;
        self.access_changed(context.tenant);
        self.0.logins.forget_all();
        Ok(Erasure { user: id, at: context.at, keys })
    }

    /// Whether somebody can be erased here: they are no member, or nobody has to be made first who
    /// answers for the tenant or manages it.
    pub(crate) async fn check_erasable(&self, tx: &TenantTx, id: UserId) -> Result<()> {
        if found(tx.member(id).await)?.is_none() {
            return Ok(());
        }
        let members = tx.members(&Page::whole()).await?.items;
        check_last(&members, id, &BTreeSet::new())
    }

    /// Takes somebody out of a tenant for good, and destroys their account with its key if it
    /// belongs to no other; whether they were there. It may be done again.
    pub(crate) async fn erase_member(&self, context: &OpContext, id: UserId) -> Result<bool> {
        let tx = self.0.store.begin(context).await?;
        self.check_erasable(&tx, id).await?;
        let member = found(tx.member(id).await)?;
        if let Some(member) = &member {
            tx.member_remove(id).await?;
            let roles: Vec<&str> = member.roles.iter().map(|role| role.as_str()).collect();
            let change = Change::from(serde_json::json!({"roles": roles}));
            let resource = Resource::user(context.tenant, id);
            self.record_change(&tx, context, Action::UserErase, &resource, change).await?;
        }
        tx.commit().await?;
        self.access_changed(context.tenant);
        self.0.logins.forget_all();
        self.after_leaving(context, id).await?;
        Ok(member.is_some())
    }

    /// One organisation does not destroy what another one's member is to that one.
    async fn check_only_here(&self, context: &OpContext, id: UserId) -> Result<()> {
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        if tx.memberships(id).await?.iter().all(|(tenant, _)| *tenant == context.tenant) {
            return Ok(());
        }
        let detail = "the account is also used elsewhere: remove it here, and tell whoever \
                      answers for your organisation";
        Err(Error::Conflict(detail.to_owned()))
    }

    /// Destroys an account that belongs to no tenant; whether it did, or another had.
    pub(crate) async fn destroy_of_nobody(&self, id: UserId) -> Result<bool> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(50) {
            return Ok(false);
        }
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        let belongs = !tx.memberships(id).await?.is_empty();
        drop(tx);
        if belongs {
            return Ok(false);
        }
        self.end_consents(id).await?;
        self.forget_cases(id).await?;
        let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
        if !tx.memberships(id).await?.is_empty() {
            return Ok(false);
        }
        tx.user_forget(id).await?;
        tx.commit().await?;
        // Also of one that went before its key could.
        self.destroy_keys_of(id)?;
        Ok(true)
    }

    /// Destroys what belongs to no tenant and was left, such as by an end in between.
    pub(crate) async fn destroy_all_of_nobody(&self) -> Result<()> {
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        let left = tx.users_of_nobody(OF_NOBODY_MAX).await?;
        drop(tx);
        for id in left {
            self.destroy_of_nobody(id).await?;
        }
        Ok(())
    }

    /// Deletes an account and destroys its key.
    pub(crate) async fn destroy_account(&self, id: UserId) -> Result<Vec<String>> {
        self.end_consents(id).await?;
        self.forget_cases(id).await?;
        let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
        tx.user_delete(id).await?;
        tx.commit().await?;
        self.destroy_keys_of(id)
    }

    /// Destroys the keys of an account that is gone, or was never made.
    pub(crate) fn destroy_keys_of(&self, id: UserId) -> Result<Vec<String>> {
        let unit = ShredUnit::Subject(*id.as_bytes());
        let own = self.0.keys.list(None).into_iter().filter(|key| key.scope.unit == unit);
        let own: Vec<DekId> = own.map(|key| key.id).collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let destroyed = self.0.keys.destroy(&own, DestructionMethod::KeyDestroyed)?;
        Ok(destroyed.iter().map(|one| one.dek.to_string()).collect())
    }

    /// The tenant of the context.
    #[boxed]
    pub async fn own_tenant(&self, context: &OpContext) -> Result<TenantView> {
        self.authorize_all(context, Action::TenantRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        Ok(tenant_view(tx.tenant().await?))
    }
}

/// Somebody has to be left who answers for the tenant and who manages it.
fn check_last(members: &[Member], changing: UserId, roles: &BTreeSet<Role>) -> Result<()> {
    for (role, name) in [(Role::Owner, "owner"), (Role::Administrator, "administrator")] {
        let holds = |member: &&Member| member.roles.contains(&role);
        let is_held = members
            .iter()
            .find(|member| member.user.id == changing)
            .is_some_and(|one| holds(&one) && !roles.contains(&role));
        let others = members.iter().filter(|member| member.user.id != changing);
        if is_held && others.filter(holds).count() == 0 {
            let detail = format!("the last {name} stays: make another one first");
            return Err(Error::Conflict(detail));
        }
    }
    Ok(())
}

/// A member of a tenant with what they hold now.
pub(crate) struct Person {
    pub(crate) roles: Vec<Role>,
    pub(crate) grants: Vec<Facet>,
}

pub(crate) fn roles_in(memberships: &[(TenantId, Role)], tenant: TenantId) -> Vec<Role> {
    memberships.iter().filter(|(id, _)| *id == tenant).map(|(_, role)| *role).collect()
}

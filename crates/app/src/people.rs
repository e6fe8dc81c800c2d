//! Signing in, sessions, and the people of a tenant. Unknown addresses and wrong passwords take
//! the same time and get the same answer.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use veritwin_access::{
    Action, Kind, Resource, SESSION_ABSOLUTE_MAX, SessionState, SessionTimes, ThrottleSubject,
    TokenKind,
};
use veritwin_domain::{
    Actor, ActorKind, Facet, OpContext, PlatformContext, Rights, Role, ScopeOf, Secret, SessionId,
    TenantId, UserId,
};
use veritwin_keys::password;
use veritwin_metastore::{GrantRole, Holder, Member, Page, PlatformTx, Realm, Session, User};

use crate::model::{SessionView, SignedIn, TenantView, UserView};
use crate::{App, Arrival, Error, Result};

const WRONG: Error = Error::Unauthenticated("the address or the password is wrong");
/// How long a sign-in waits for its turn to be checked.
const HASHING_TIMEOUT: Duration = Duration::from_secs(5);
const ENDED: Error = Error::Unauthenticated("the session has ended: sign in again");
/// Shortest password, in characters (NIST SP 800-63B-4 asks for at least 15 without and 8 with a
/// second factor; 12 is the policy here).
pub(crate) const PASSWORD_CHARS_MIN: usize = 12;

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
    /// Hashes a password away from the threads that serve connections.
    pub(crate) async fn hash_password(&self, text: Secret<String>) -> Result<Secret<String>> {
        let _turn = self.hashing_turn().await?;
        let app = self.clone();
        tokio::task::spawn_blocking(move || app.hash_password_blocking(&text))
            .await
            .map_err(|_| Error::Internal("password hashing stopped".to_owned()))?
    }

    /// Each hash takes 19 MiB and a core: only a few run at once, the others wait or come back.
    async fn hashing_turn(&self) -> Result<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(HASHING_TIMEOUT, self.0.hashing.acquire()).await;
        match turn {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::Busy { retry_after: HASHING_TIMEOUT }),
        }
    }

    fn hash_password_blocking(&self, text: &Secret<String>) -> Result<Secret<String>> {
        #[cfg(feature = "test-controls")]
        if let Some(weak) = self.0.promises.weak_password_hash(text) {
            return Ok(Secret::new(weak));
        }
        Ok(Secret::new(password::hash(self.0.rng.as_ref(), text.expose())?))
    }

    /// Signs a person in.
    pub async fn sign_in(
        &self,
        context: &PlatformContext,
        email: &Secret<String>,
        secret: &Secret<String>,
    ) -> Result<SignedIn> {
        self.authorize_platform(context, Action::SessionCreate)?;
        let tx = self.0.store.read_platform(context).await?;
        let digest = tx.email_digest(Realm::PLATFORM, email.expose()).map_err(|_| WRONG)?;
        let subject = ThrottleSubject::Account(digest);
        let now = context.clock.monotonic();
        {
            // The attempt counts before it is checked, so that many at once do not slip through.
            let mut throttle = self.0.throttle.lock();
            throttle
                .check(&subject, now)
                .map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
            throttle.failed(subject, now);
        }
        let user = tx.user_by_email(Realm::PLATFORM, email.expose()).await?;
        drop(tx);
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let matches = self.verify_password(secret.clone(), hash).await?;
        let user = user.filter(|user| matches && !user.disabled);
        let is_outdated = |hash: &Secret<String>| password::needs_rehash(hash.expose());
        let fresh = match user.as_ref().and_then(|user| user.password_hash.as_ref()) {
            Some(hash) if is_outdated(hash) => Some(self.hash_password(secret.clone()).await?),
            _ => None,
        };
        let tx = self.0.store.begin_platform(context).await?;
        let Some(user) = user else {
            self.record_platform(&tx, context, Action::SessionCreate, None, "denied").await?;
            tx.commit().await?;
            return Err(WRONG);
        };
        self.0.throttle.lock().succeeded(&subject);
        let memberships = tx.memberships(user.id).await?;
        let Some((tenant, _)) = memberships.first().copied() else { return Err(WRONG) };
        if fresh.is_some() {
            tx.user_update(&User { password_hash: fresh, ..user.clone() }, None).await?;
        }
        let signed_in = self.open_session(&tx, context, tenant, user).await?;
        self.record_platform(&tx, context, Action::SessionCreate, Some(tenant), "done").await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    /// Verifies against the stored hash, or against one of nobody's, so that both take as long.
    async fn verify_password(
        &self,
        secret: Secret<String>,
        hash: Option<Secret<String>>,
    ) -> Result<bool> {
        let _turn = self.hashing_turn().await?;
        let app = self.clone();
        tokio::task::spawn_blocking(move || match hash {
            Some(hash) => Ok(password::verify(secret.expose(), hash.expose())),
            None => {
                password::hash(app.0.rng.as_ref(), secret.expose()).map(|_| false).or(Ok(false))
            }
        })
        .await
        .map_err(|_| Error::Internal("password check stopped".to_owned()))?
    }

    pub(crate) async fn open_session(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: TenantId,
        user: User,
    ) -> Result<SignedIn> {
        let (token, digest) = TokenKind::Session.generate(self.0.rng.as_ref());
        let session = Session {
            id: SessionId::generate(context.at, self.rng()),
            tenant,
            user: user.id,
            created_at: context.at,
            expires_at: context.at.saturating_add(SESSION_ABSOLUTE_MAX),
            last_seen_at: context.at,
        };
        tx.session_create(&session, digest.0).await?;
        let roles = roles_in(&tx.memberships(user.id).await?, tenant);
        let tenant = tenant_view(tx.tenant(tenant).await?);
        Ok(SignedIn { token, session: SessionView { user: user_view(user, roles), tenant } })
    }

    /// The context behind a session token.
    pub async fn authenticate_session(
        &self,
        token: &Secret<String>,
        arrival: Arrival,
    ) -> Result<OpContext> {
        let digest = TokenKind::Session.digest(token.expose()).ok_or(ENDED)?;
        let platform = self.anonymous(arrival);
        let tx = self.0.store.read_platform(&platform).await?;
        let session = tx.session_by_digest(digest.0).await?.ok_or(ENDED)?;
        let times =
            SessionTimes { created_at: session.created_at, last_seen_at: session.last_seen_at };
        let SessionState::Live { touch } = times.state(platform.at) else { return Err(ENDED) };
        let person = self.person_in(&tx, &platform, session.user, session.tenant).await?;
        drop(tx);
        let Person { roles, grants } = person.ok_or(ENDED)?;
        if touch {
            let tx = self.0.store.begin_platform(&platform).await?;
            tx.session_touch(session.id, platform.at).await?;
            tx.commit().await?;
        }
        let kind = ActorKind::User { user: session.user, session: session.id };
        let rights = Rights { facets: grants, bounds: Vec::new() };
        Ok(platform.in_tenant(session.tenant, Actor { kind, roles, rights }))
    }

    /// What a person is in a tenant now; none for who is no member or is disabled.
    pub(crate) async fn person_in(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        user: UserId,
        tenant: TenantId,
    ) -> Result<Option<Person>> {
        let roles = roles_in(&tx.memberships(user).await?, tenant);
        if roles.is_empty() || tx.user(user).await?.disabled {
            return Ok(None);
        }
        let inside = context.in_tenant(tenant, Actor::without_roles(ActorKind::Anonymous));
        let book = self.access_book(&inside).await?;
        Ok(Some(Person { roles, grants: book.facets(Holder::User(user), context.at) }))
    }

    /// The session of the context.
    pub async fn session(&self, context: &OpContext) -> Result<SessionView> {
        self.authorize_all(context, Action::SessionRead, Kind::Session)?;
        let ActorKind::User { user, .. } = context.actor.kind else {
            return Err(Error::Forbidden("a program has no session".to_owned()));
        };
        let tx = self.0.store.read(context).await?;
        let Member { user, roles } = tx.member(user).await?;
        Ok(SessionView { user: user_view(user, roles), tenant: tenant_view(tx.tenant().await?) })
    }

    /// Ends the session of the context.
    pub async fn sign_out(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::SessionDelete, Kind::Session)?;
        let ActorKind::User { session, .. } = context.actor.kind else { return Ok(()) };
        let platform = self.above(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.session_delete(session).await?;
        tx.commit().await?;
        self.note(context, Action::SessionDelete, &resource, "done");
        Ok(())
    }

    /// The people of the tenant.
    pub async fn list_users(&self, context: &OpContext) -> Result<Vec<UserView>> {
        let resource = self.authorize_all(context, Action::UserList, Kind::User)?;
        let tx = self.0.store.read(context).await?;
        let members = tx.members(&Page::whole()).await?.items;
        self.note(context, Action::UserList, &resource, "done");
        Ok(members.into_iter().map(|member| user_view(member.user, member.roles)).collect())
    }

    /// Gives a member of the tenant exactly these roles. Nobody changes their own; owners are made
    /// and unmade by owners; the last owner and the last administrator stay.
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
        let member = tx.member(id).await?;
        self.refuse_own(context, id)?;
        let members = tx.members(&Page::whole()).await?.items;
        self.check_owner_change(context, &members, &member.roles, &roles)?;
        let known: BTreeSet<Role> = member.roles.iter().copied().collect();
        for role in roles.difference(&known) {
            self.check_giving(context, GrantRole::BuiltIn(*role), &ScopeOf::Tenant).await?;
        }
        check_last(&members, id, &roles)?;
        let roles: Vec<Role> = roles.into_iter().collect();
        tx.member_roles_set(id, &roles).await?;
        let member = tx.member(id).await?;
        self.record(&tx, context, Action::UserUpdate, &resource).await?;
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

    /// Removes a person from the tenant; their sessions and the keys they made end at once. The
    /// last owner and the last administrator stay.
    pub async fn remove_user(&self, context: &OpContext, id: UserId) -> Result<()> {
        let resource = Resource::user(context.tenant, id);
        self.authorize(context, Action::UserDelete, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let leaving = tx.member(id).await?;
        let others = tx.members(&Page::whole()).await?.items;
        self.check_owner_change(context, &others, &leaving.roles, &BTreeSet::new())?;
        check_last(&others, id, &BTreeSet::new())?;
        tx.member_remove(id).await?;
        self.record(&tx, context, Action::UserDelete, &resource).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        self.0.logins.forget_all();
        Ok(())
    }

    /// The tenant of the context.
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

fn roles_in(memberships: &[(TenantId, Role)], tenant: TenantId) -> Vec<Role> {
    memberships.iter().filter(|(id, _)| *id == tenant).map(|(_, role)| *role).collect()
}

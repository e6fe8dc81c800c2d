//! Signing in and proving again who one is: password, passkey, second factor. Unknown addresses,
//! wrong passwords and wrong codes take the same time and get the same answer.

use async_recursion::async_recursion as boxed;
use veritwin_access::passkey::{Assertion, RelyingParty};
use veritwin_access::{
    Action, Kind, PROOF_RECENT_MAX, SESSION_ABSOLUTE_MAX, SessionState, SessionTimes, TokenKind,
};
use veritwin_domain::{
    Actor, ActorKind, OpContext, PlatformContext, Rights, Secret, SessionId, SignIn, TenantId,
    UserId,
};
use veritwin_keys::password;
use veritwin_metastore::{PlatformTx, Session, SessionMethod, User};

use crate::factors::has_second_factor;
use crate::hashing::HashingTurn;
use crate::how::How;
use crate::knock::{Knock, Whom, account_at};
use crate::model::{SessionView, SignedIn};
use crate::people::{Person, roles_in, tenant_view, user_view};
use crate::tree::UNSERVED;
use crate::{App, Arrival, Error, Result};

pub(crate) const WRONG: Error = Error::Unauthenticated("this sign-in is wrong");
pub(crate) const ENDED: Error = Error::Unauthenticated("the session has ended: sign in again");
/// The setting under which a tenant asks for a second factor.
pub(crate) const SIGN_IN_SETTING: &str = "sign_in";

/// How a person proves who they are.
#[derive(Debug)]
pub enum Proof {
    /// A password, with a second factor when the account has one.
    Password {
        /// The password.
        password: Secret<String>,
        /// The second factor.
        second: Option<SecondFactor>,
    },
    /// A passkey, which is both factors in one.
    Passkey(Assertion),
}

/// A second factor that is shown.
#[derive(Debug)]
pub enum SecondFactor {
    /// A code of an authenticator, or a recovery code.
    Code(Secret<String>),
    /// A passkey of the same account.
    Passkey(Assertion),
}

/// A person who proved who they are.
pub(crate) struct Proven {
    pub(crate) user: User,
    pub(crate) second_factor: bool,
    pub(crate) how: How,
}

impl App {
    async fn prove_password<'a>(
        &'a self,
        context: &PlatformContext,
        whom: Whom<'_>,
        (secret, second): (Secret<String>, Option<SecondFactor>),
        party: &RelyingParty,
        turn: &mut Option<HashingTurn<'a>>,
    ) -> Result<Proven> {
        // Whoever is throttled asks the database for nothing, so that nobody waits behind a flood
        // of them.
        let attempt = self.attempt_at(context, &whom)?;
        let tx = self.0.store.read_platform(context).await?;
        let (user, has_session) = match whom {
            Whom::At(email, door) => (account_at(&tx, email, door).await?, false),
            Whom::Known(user) => (Some(user.clone()), true),
        };
        drop(tx);
        let attempt = self.attempt_of(context, attempt, user.as_ref())?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let is_known = has_session || self.0.throttle.lock().is_known(&attempt);
        let (matches, held) = self.verify_password(secret.clone(), hash, is_known).await?;
        *turn = Some(held);
        let user = user.filter(|user| matches && !user.disabled).ok_or(WRONG)?;
        *turn = None;
        let is_outdated = |hash: &Secret<String>| password::needs_rehash(hash.expose());
        let fresh = match &user.password_hash {
            Some(hash) if is_outdated(hash) => Some(self.hash_password(secret).await?),
            _ => None,
        };
        let tx = self.0.store.begin_platform(context).await?;
        let factors = tx.factors_of(user.id).await?;
        let second_factor = match second {
            _ if !has_second_factor(&factors) => false,
            None => {
                // The password was right: asking for the second factor is no failure.
                self.0.throttle.lock().half_done(&attempt);
                self.asked_second_factor(&tx, context, &user).await?;
                tx.commit().await?;
                return Err(Error::SecondFactor);
            }
            Some(SecondFactor::Code(code)) => {
                self.use_code(&tx, context, &factors, code.expose()).await?;
                true
            }
            Some(SecondFactor::Passkey(assertion)) => {
                let factor = self.use_passkey(&tx, context, &assertion, party).await?;
                if factor.user != user.id {
                    return Err(WRONG);
                }
                true
            }
        };
        if fresh.is_some() {
            tx.user_update(&User { password_hash: fresh, ..user.clone() }, None).await?;
        }
        tx.commit().await?;
        self.attempt_succeeded(context, &attempt);
        Ok(Proven { user, second_factor, how: How::Password })
    }

    async fn prove_passkey(
        &self,
        context: &PlatformContext,
        assertion: &Assertion,
        party: &RelyingParty,
    ) -> Result<Proven> {
        // Whoever shows what nobody knows waits for no turn to write, and makes nobody wait.
        let from = self.throttled_from(context)?;
        let tx = self.0.store.read_platform(context).await?;
        self.check_passkey(&tx, assertion, party).await?;
        drop(tx);
        let tx = self.0.store.begin_platform(context).await?;
        let factor = self.use_passkey(&tx, context, assertion, party).await?;
        let user = tx.user(factor.user).await?;
        if user.disabled {
            return Err(WRONG);
        }
        tx.commit().await?;
        self.went_through_from(from);
        Ok(Proven { user, second_factor: true, how: How::Passkey })
    }

    /// Where a password is wrong, its turn to be hashed is in `turn`.
    async fn prove_person<'a>(
        &'a self,
        context: &PlatformContext,
        whom: Whom<'_>,
        proof: Proof,
        party: &RelyingParty,
        turn: &mut Option<HashingTurn<'a>>,
    ) -> Result<Proven> {
        match proof {
            Proof::Password { password, second } => {
                self.prove_password(context, whom, (password, second), party, turn).await
            }
            Proof::Passkey(assertion) => self.prove_passkey(context, &assertion, party).await,
        }
    }

    /// Signs a person in. A session that the browser held before ends.
    #[boxed]
    pub async fn sign_in<'a>(
        &'a self,
        context: &'a PlatformContext,
        knock: Knock<'a>,
        proof: Proof,
        party: &'a RelyingParty,
        before: Option<Secret<String>>,
    ) -> Result<SignedIn> {
        self.authorize_platform(context, Action::SessionCreate)?;
        let door = knock.tenant.or_else(|| self.tenant_at_door(knock.host));
        let at_door = (knock.email, door);
        let whom = Whom::At(knock.email, door);
        // Until the refusal is written: a flood of guesses waits for its turns to be hashed, and
        // nobody behind it for a turn to write.
        let mut turn = None;
        let by_password = matches!(proof, Proof::Password { .. });
        let proven = match self.prove_person(context, whom, proof, party, &mut turn).await {
            Ok(proven) => proven,
            Err(error) => {
                let reason = match (by_password, turn.is_some()) {
                    (true, true) => "password",
                    (true, false) => "second factor",
                    (false, _) => "passkey",
                };
                self.refused_sign_in(context, at_door, (&error, reason)).await?;
                return Err(error);
            }
        };
        let tx = self.0.store.begin_platform(context).await?;
        let memberships = tx.memberships(proven.user.id).await?;
        if memberships.is_empty() {
            return Err(WRONG);
        }
        let first = self.first_served(&memberships).ok_or(UNSERVED)?;
        let tenant = match self.first_within_networks(context, &memberships).await? {
            Ok(tenant) => tenant,
            Err(outside) => {
                let action = Action::SessionCreate;
                self.record_platform(&tx, context, action, Some(first), "denied").await?;
                tx.commit().await?;
                return Err(outside);
            }
        };
        end_session_before(&tx, before).await?;
        let signed_in = self.open_session(&tx, context, tenant, proven).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    pub(crate) async fn open_session(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: TenantId,
        proven: Proven,
    ) -> Result<SignedIn> {
        let (token, digest) = TokenKind::Session.generate(self.0.rng.as_ref());
        let Proven { user, second_factor, how } = proven;
        let session = Session {
            id: SessionId::generate(context.at, self.rng()),
            tenant,
            user: user.id,
            created_at: context.at,
            expires_at: context.at.saturating_add(SESSION_ABSOLUTE_MAX),
            last_seen_at: context.at,
            proved_at: how.proved_at(context.at),
            doubted_at: None,
            second_factor,
            method: how.method(),
            browser: context.origin.browser.map(str::to_owned),
            system: context.origin.system.as_deref().map(str::to_owned),
        };
        tx.session_create(&session, digest.0).await?;
        let own = (session.user, session.id);
        self.watch_sign_in(tx, context, tenant, own).await?;
        self.record_sign_in(tx, context, tenant, (own, how.as_str())).await?;
        let roles = roles_in(&tx.memberships(user.id).await?, tenant);
        let lacks_second_factor =
            !second_factor && self.asks_second_factor(context, tenant).await?;
        let tenant = tenant_view(tx.tenant(tenant).await?);
        let user = user_view(user, roles);
        let session = SessionView { user, tenant, lacks_second_factor, support: None };
        Ok(SignedIn { token, session })
    }

    /// Whether a tenant wants everybody to have a second factor.
    pub(crate) async fn asks_second_factor(
        &self,
        context: &PlatformContext,
        tenant: TenantId,
    ) -> Result<bool> {
        let nobody = Actor::without_roles(ActorKind::Anonymous);
        let context = context.clone().in_tenant(tenant, nobody);
        let tx = self.0.store.read(&context).await?;
        Ok(tx.setting(SIGN_IN_SETTING).await?.is_some_and(|setting| setting.body == b"true"))
    }

    /// The context behind a session token. `is_used` says whether somebody uses the session: what
    /// asks again by itself, as an open live view does, does not keep it from ending.
    #[boxed]
    pub async fn authenticate_session(
        &self,
        token: &Secret<String>,
        arrival: Arrival,
        is_used: bool,
    ) -> Result<OpContext> {
        if TokenKind::of(token.expose()) == Some(TokenKind::Support) {
            return self.authenticate_support(token, arrival, is_used).await;
        }
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
        self.refuse_unserved(session.tenant)?;
        self.check_people_network(&platform, session.tenant).await?;
        if touch && is_used {
            let tx = self.0.store.begin_platform(&platform).await?;
            tx.session_touch(session.id, platform.at).await?;
            tx.commit().await?;
        }
        let lacks_second_factor =
            !session.second_factor && self.asks_or_away(&platform, session.tenant).await?;
        let sign_in = SignIn {
            proved_at: session.proved_at,
            lacks_second_factor,
            by_provider: session.method == SessionMethod::Provider,
            is_doubted: session.is_doubted(),
        };
        let kind = ActorKind::User { user: session.user, session: session.id, sign_in };
        let rights = Rights { facets: grants, bounds: Vec::new() };
        Ok(platform.in_tenant(session.tenant, Actor { kind, roles, rights }))
    }

    /// Proves again who one is, for acts that need it. The session goes on under a new token.
    #[boxed]
    pub async fn confirm_identity(
        &self,
        context: &OpContext,
        proof: Proof,
        party: &RelyingParty,
    ) -> Result<Secret<String>> {
        let resource = self.authorize_all(context, Action::SessionConfirm, Kind::Session)?;
        let (user, session) = person(context)?;
        let platform = self.above(context);
        let tx = self.0.store.read_platform(&platform).await?;
        let account = tx.user(user).await?;
        drop(tx);
        let whom = Whom::Known(&account);
        let mut turn = None;
        let proven = self.prove_person(&platform, whom, proof, party, &mut turn).await;
        let outcome = if proven.is_ok() { "done" } else { "denied" };
        self.note(context, Action::SessionConfirm, &resource, outcome);
        // Not 401: the session itself goes on.
        let proven = proven.map_err(|error| match error {
            Error::Unauthenticated(_) => Error::NotProven("this does not fit your account"),
            error => error,
        })?;
        if proven.user.id != user {
            return Err(Error::NotProven("this passkey is another account's"));
        }
        self.session_proven(&platform, user, session, proven.second_factor).await
    }

    /// Notes a fresh proof and gives the session a new token. A session that a tenant's provider
    /// vouched for is the account's from now on, with what the account proved and no more: the
    /// provider's word on a second factor goes to no other tenant.
    pub(crate) async fn session_proven(
        &self,
        platform: &PlatformContext,
        user: UserId,
        session: SessionId,
        second_factor: bool,
    ) -> Result<Secret<String>> {
        let (token, digest) = TokenKind::Session.generate(self.0.rng.as_ref());
        let tx = self.0.store.begin_platform(platform).await?;
        let sessions = tx.sessions_of(user).await?;
        let own = sessions.into_iter().find(|one| one.id == session).ok_or(ENDED)?;
        let is_own = own.method == SessionMethod::Account;
        let second_factor = second_factor || (own.second_factor && is_own);
        let method = SessionMethod::Account;
        let own = Session { proved_at: platform.at, second_factor, method, ..own };
        tx.session_prove(&own, digest.0).await?;
        tx.commit().await?;
        Ok(token)
    }
}

/// Ends the session that a browser held before it signs in.
pub(crate) async fn end_session_before(
    tx: &PlatformTx,
    before: Option<Secret<String>>,
) -> Result<()> {
    if let Some(digest) = before.and_then(|token| TokenKind::Session.digest(token.expose()))
        && let Some(session) = tx.session_by_digest(digest.0).await?
    {
        tx.session_delete(session.id).await?;
    }
    Ok(())
}

/// The person of a context and the session they act through.
pub(crate) fn person(context: &OpContext) -> Result<(UserId, SessionId)> {
    match context.actor.kind {
        ActorKind::User { user, session, .. } => Ok((user, session)),
        _ => Err(Error::Forbidden("only people have an account".to_owned())),
    }
}

/// Whether a person may do this with the proof they gave at sign-in.
pub(crate) fn check_proof(context: &OpContext, action: Action) -> Result<()> {
    let ActorKind::User { sign_in, .. } = context.actor.kind else { return Ok(()) };
    if sign_in.by_provider && action.reaches_account() {
        return Err(Error::NotProven(
            "this is about your account, for which your organisation's provider does not speak: \
             confirm with the account's own password or passkey",
        ));
    }
    if sign_in.lacks_second_factor && !action.is_open_without_second_factor() {
        return Err(Error::SecondFactorMissing);
    }
    let is_held = sign_in.is_doubted && action.takes_away();
    if is_held || action.needs_recent_proof() { check_recent_proof(context) } else { Ok(()) }
}

/// Whether a person proved who they are a short while ago.
pub(crate) fn check_recent_proof(context: &OpContext) -> Result<()> {
    let ActorKind::User { sign_in, .. } = context.actor.kind else { return Ok(()) };
    if sign_in.is_doubted || context.at.since(sign_in.proved_at) > PROOF_RECENT_MAX {
        return Err(Error::NotProven("prove again who you are, then repeat this"));
    }
    Ok(())
}

/// Whether a tenant's provider vouched for the person: what their account has in other tenants is
/// not shown then.
pub(crate) fn is_by_provider(context: &OpContext) -> bool {
    matches!(context.actor.kind, ActorKind::User { sign_in, .. } if sign_in.by_provider)
}

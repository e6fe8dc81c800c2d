//! Signing in through a tenant's own provider: authorisation code flow with PKCE. What the
//! provider says counts for that tenant alone: for people who are in it already, connected once by
//! a proof of their account and from then on by the provider's own name for them.

use async_recursion::async_recursion as boxed;
use veritwin_access::oidc::{Claims, Expected, OidcError, code_challenge, verify};
use veritwin_access::{Action, PROOF_RECENT_MAX, SessionState, SessionTimes, TokenKind};
use veritwin_domain::{PlatformContext, Role, Secret, TenantId, UserId};
use veritwin_metastore::{Bringer, PlatformTx, Realm, SessionMethod, User, normalise_email};

use crate::how::How;
use crate::link_accounts::known_of;
use crate::links::text;
use crate::model::{ProviderReturn, ProviderStart, ProviderStarted, SignedIn};
use crate::people::roles_in;
use crate::provider_client::{Exchange, Known, ProviderError, form};
use crate::provider_flow::{Flow, Returned};
use crate::providers::{Provider, ROLES_OF_NEW};
use crate::sign_in::{Proven, end_session_before};
use crate::{App, Error, Result};

const STALE: Error = Error::Unauthenticated(
    "this sign-in has ended or was begun in another browser: begin it again",
);
const REFUSED: Error =
    Error::Unauthenticated("your organisation's provider did not confirm this sign-in");
const NOT_A_MEMBER: Error = Error::Unauthenticated(
    "there is no account for you here: ask an administrator for an invitation",
);
const NOT_CONNECTED: Error = Error::Unauthenticated(
    "your account is not connected with your organisation's provider yet: sign in with its own \
     password or passkey, then continue with the provider in the same browser, within ten minutes",
);
const UNVERIFIED: Error =
    Error::Unauthenticated("your organisation's provider has not verified your address");
const FOREIGN: Error =
    Error::Unauthenticated("addresses of this domain are not accepted by your organisation");
const NOT_OFFERED: Error = Error::NotFound("provider");

/// The public is told that it does not work; who set it up reads why in the log.
fn unusable(error: &ProviderError) -> Error {
    tracing::warn!(%error, "a sign-in provider cannot be used");
    if let Some(limit) = error.busy() {
        return Error::Crowded(limit.clone());
    }
    Error::Unavailable("your organisation's sign-in does not answer".to_owned())
}

impl App {
    /// Begins a sign-in: where the person goes, and the secret that their page keeps.
    #[boxed]
    pub async fn begin_provider_sign_in<'a>(
        &'a self,
        context: &'a PlatformContext,
        start: ProviderStart<'a>,
    ) -> Result<ProviderStarted> {
        self.authorize_platform(context, Action::SessionCreate)?;
        let tenant = start.tenant.or_else(|| self.tenant_at_door(start.host));
        let tenant = tenant.ok_or(NOT_OFFERED)?;
        let provider = self.offered_provider(context, tenant).await?.ok_or(NOT_OFFERED)?.view;
        let now = context.clock.monotonic();
        let known = self.0.providers.known(self.caller(tenant), &provider.issuer, now).await;
        let known = known.map_err(|error| unusable(&error))?;
        let flow = Flow {
            tenant,
            begun_at: context.at,
            is_fresh: start.is_fresh,
            attested: start.attested,
        };
        let begun = self.0.providers.flows.begin(self.rng(), now, flow);
        let challenge = code_challenge(begun.verifier.expose());
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", provider.client_id.as_str()),
            ("redirect_uri", start.redirect_uri),
            ("scope", "openid email profile"),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if start.is_fresh {
            pairs.extend([("prompt", "login"), ("max_age", "0")]);
        }
        let endpoint = &known.description.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let address = format!("{endpoint}{joint}{}", form(&pairs));
        Ok(ProviderStarted { address, secret: begun.secret })
    }

    /// Finishes a sign-in. A session that the browser held before ends.
    #[boxed]
    pub async fn finish_provider_sign_in<'a>(
        &'a self,
        context: &'a PlatformContext,
        back: ProviderReturn<'a>,
        before: Option<Secret<String>>,
    ) -> Result<SignedIn> {
        self.authorize_platform(context, Action::SessionCreate)?;
        let from = self.throttled_from(context)?;
        let now = context.clock.monotonic();
        let returned = self.0.providers.flows.returned(now, &back.state, &back.secret);
        let used = |returned: &Returned| self.0.providers.flows.is_used(returned);
        let returned = returned.filter(|returned| !used(returned)).ok_or(STALE)?;
        let tenant = returned.flow.tenant;
        let outcome = match self.check_people_network(context, tenant).await {
            Ok(()) => self.prove_by_provider(context, &returned, back, before.as_ref()).await,
            Err(outside) => Err(outside),
        };
        let proven = match outcome {
            Ok(proven) => proven,
            Err(error) => {
                if matches!(error, Error::Unauthenticated(_) | Error::Outside(_)) {
                    let tx = self.0.store.begin_platform(context).await?;
                    let action = Action::SessionCreate;
                    self.record_platform(&tx, context, action, Some(tenant), "denied").await?;
                    tx.commit().await?;
                } else {
                    self.went_through_from(from);
                }
                return Err(error);
            }
        };
        self.went_through_from(from);
        let tx = self.0.store.begin_platform(context).await?;
        end_session_before(&tx, before).await?;
        let signed_in = self.open_session(&tx, context, tenant, proven).await?;
        tx.commit().await?;
        Ok(signed_in)
    }

    async fn prove_by_provider(
        &self,
        context: &PlatformContext,
        returned: &Returned,
        back: ProviderReturn<'_>,
        before: Option<&Secret<String>>,
    ) -> Result<Proven> {
        let tenant = returned.flow.tenant;
        let provider = self.offered_provider(context, tenant).await?.ok_or(NOT_OFFERED)?;
        let claims = self.claims(context, returned, &provider, back).await?;
        if !self.0.providers.flows.use_up(context.clock.monotonic(), returned)? {
            return Err(STALE);
        }
        let user = self.person_of(context, returned, (&provider, &claims), before).await?;
        Ok(Proven {
            user,
            second_factor: provider.view.counts_as_second_factor || claims.second_factor,
            how: How::Provider { asked_at: claims.asked_at },
        })
    }

    /// What the provider says, checked.
    async fn claims(
        &self,
        context: &PlatformContext,
        returned: &Returned,
        provider: &Provider,
        back: ProviderReturn<'_>,
    ) -> Result<Claims> {
        let issuer = provider.view.issuer.as_str();
        let (tenant, now) = (returned.flow.tenant, context.clock.monotonic());
        let known = self.0.providers.known(self.caller(tenant), issuer, now).await;
        let known = known.map_err(|error| unusable(&error))?;
        // RFC 9207: an answer of another issuer is not taken to this one.
        let is_ours = match &back.issuer {
            Some(said) => said == issuer,
            None => !known.description.states_issuer,
        };
        let code = back.code.filter(|_| is_ours).ok_or(REFUSED)?;
        let exchange = Exchange {
            client_id: &provider.view.client_id,
            client_secret: provider.client_secret.as_ref(),
            redirect_uri: back.redirect_uri,
            code: &code,
            verifier: &returned.verifier,
        };
        let token =
            self.0.providers.exchange(self.caller(tenant), &known.description, &exchange).await;
        let token = token.map_err(|error| unusable(&error))?.ok_or(REFUSED)?;
        let expected = Expected {
            issuer,
            client_id: &provider.view.client_id,
            nonce: &returned.nonce,
            now: context.clock.now(),
            asked_since: returned.flow.is_fresh.then_some(returned.flow.begun_at),
        };
        let check = |known: &Known| verify(token.expose(), &known.keys, &expected);
        let claims = match check(&known) {
            // Keys are changed without a word: the one that is missing may be there by now.
            Err(OidcError::UnknownKey) => {
                match self.0.providers.known_again(self.caller(tenant), issuer, now).await {
                    Ok(known) => check(&known),
                    Err(ProviderError::Oidc(error)) => Err(error),
                    Err(error) => return Err(unusable(&error)),
                }
            }
            checked => checked,
        };
        claims.map_err(|error| {
            tracing::warn!(%error, "a sign-in through a provider was refused");
            REFUSED
        })
    }

    /// The account that the provider's person is.
    async fn person_of(
        &self,
        context: &PlatformContext,
        returned: &Returned,
        (provider, claims): (&Provider, &Claims),
        before: Option<&Secret<String>>,
    ) -> Result<User> {
        let tenant = returned.flow.tenant;
        let email = claims.email.as_deref().filter(|_| claims.email_verified).ok_or(UNVERIFIED)?;
        let plain = normalise_email(email).map_err(|_| UNVERIFIED)?;
        let domain = plain.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
        if !provider.view.domains.iter().any(|allowed| allowed == domain) {
            return Err(FOREIGN);
        }
        // No issuer holds a line break, so that the two cannot run into each other.
        let subject = format!("{}\n{}", provider.view.issuer, claims.subject);
        let tx = self.0.store.begin_platform(context).await?;
        if let Some(id) = tx.provider_identity(tenant, &subject).await? {
            return member(&tx, tenant, tx.user(id).await?).await;
        }
        let user = match member_by_address(&tx, tenant, &plain).await? {
            Some(known) => {
                if !self.may_connect(&tx, context, tenant, &known, before).await? {
                    return Err(NOT_CONNECTED);
                }
                member(&tx, tenant, known).await?
            }
            None => {
                let role = provider.view.role_of_new.ok_or(NOT_A_MEMBER)?;
                self.check_users_quota(tenant, 1).await?;
                self.new_person(&tx, context, returned, (claims, email, role)).await?
            }
        };
        // Somebody whom the provider knew by another name is not taken for this one.
        tx.provider_identity_add(tenant, &subject, user.id).await.map_err(|error| match error {
            veritwin_metastore::Error::Conflict { .. } => NOT_A_MEMBER,
            error => error.into(),
        })?;
        // Nobody but the provider vouches for them, and its owners say what it says.
        if user.password_hash.is_none() {
            for setter in &provider.set_by {
                tx.brought(tenant, user.id, Bringer::Person(*setter)).await?;
            }
        }
        tx.commit().await?;
        Ok(user)
    }

    /// Whether a member's account may be the provider's person from now on. An address alone says
    /// so of people whom nobody but the provider has ever vouched for, and who manage nobody;
    /// everybody else has just proved to this browser whose account it is.
    async fn may_connect(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: TenantId,
        known: &User,
        before: Option<&Secret<String>>,
    ) -> Result<bool> {
        let roles = roles_in(&tx.memberships(known.id).await?, tenant);
        let is_providers = known.realm == Realm::of_tenant(tenant)
            && known.password_hash.is_none()
            && tx.factors_of(known.id).await?.is_empty();
        if is_providers && roles.iter().all(|role| ROLES_OF_NEW.contains(role)) {
            return Ok(true);
        }
        let digest = before.and_then(|token| TokenKind::Session.digest(token.expose()));
        let Some(digest) = digest else { return Ok(false) };
        let Some(session) = tx.session_by_digest(digest.0).await? else { return Ok(false) };
        let times =
            SessionTimes { created_at: session.created_at, last_seen_at: session.last_seen_at };
        let is_live = matches!(times.state(context.at), SessionState::Live { .. });
        let is_own = session.user == known.id && session.tenant == tenant;
        let is_recent =
            !session.is_doubted() && context.at.since(session.proved_at) <= PROOF_RECENT_MAX;
        Ok(is_live && is_own && is_recent && session.method == SessionMethod::Account)
    }

    async fn new_person(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        returned: &Returned,
        (claims, email, role): (&Claims, &str, Role),
    ) -> Result<User> {
        let tenant = returned.flow.tenant;
        if !veritwin_outbound::mail::is_address(email) {
            return Err(UNVERIFIED);
        }
        self.check_kept("email", email)?;
        let name = claims.name.as_deref().and_then(|name| text("name", name).ok());
        let user = User {
            id: UserId::generate(context.at, self.rng()),
            // What a provider says verifies nothing outside its tenant.
            realm: Realm::of_tenant(tenant),
            email: email.to_owned(),
            // A name that does not fit is left out: it is optional.
            name: name.filter(|name| self.check_kept("name", name).is_ok()),
            password_hash: None,
            disabled: false,
            email_verified_at: None,
            attestation: self.attested(context, returned.flow.attested)?,
            version: 0,
            created_at: context.at,
        };
        if known_of(tx, &user).await?.is_some() {
            return Err(NOT_A_MEMBER);
        }
        tx.user_create(&user).await?;
        tx.membership_add(tenant, user.id, role).await?;
        self.record_platform(tx, context, Action::LinkRedeem, Some(tenant), "done").await?;
        Ok(user)
    }
}

/// The tenant's member of an address: first among the accounts that it alone knows.
async fn member_by_address(tx: &PlatformTx, tenant: TenantId, email: &str) -> Result<Option<User>> {
    for realm in [Realm::of_tenant(tenant), Realm::PLATFORM] {
        if let Some(known) = tx.user_by_email(realm, email).await?
            && tx.memberships(known.id).await?.iter().any(|(id, _)| *id == tenant)
        {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// The account, if it may sign in and is in the tenant.
async fn member(tx: &PlatformTx, tenant: TenantId, user: User) -> Result<User> {
    let is_member = tx.memberships(user.id).await?.iter().any(|(id, _)| *id == tenant);
    if is_member && !user.disabled { Ok(user) } else { Err(NOT_A_MEMBER) }
}

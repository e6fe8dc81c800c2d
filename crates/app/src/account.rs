//! A person's own account: name, password, sessions, and whether the tenant asks everybody for a
//! second factor.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::passkey::RelyingParty;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{OpContext, Secret, SessionId};
use veritwin_governance::Language;
use veritwin_metastore::{FactorKind, Session, User};

use crate::change::Change;
use crate::factors::passkey_name;
use crate::languages::stored_language;
use crate::links::text;
use crate::model::{AccountView, OpenSession, PasskeyView};
use crate::people::check_password;
use crate::safe_again::end_what_is_open;
use crate::sign_in::{Proof, SIGN_IN_SETTING, is_by_provider, person};
use crate::{App, Error, Result};

impl App {
    /// How the person signs in.
    #[boxed]
    pub async fn account(&self, context: &OpContext) -> Result<AccountView> {
        self.authorize_all(context, Action::AccountRead, Kind::Session)?;
        let (user, _) = person(context)?;
        let platform = self.above(context);
        let tx = self.0.store.read_platform(&platform).await?;
        let account = tx.user(user).await?;
        let factors = tx.factors_of(user).await?;
        let provider = match self.offered_provider(&platform, context.tenant).await? {
            Some(provider) => {
                let is_connected = tx.provider_connected(context.tenant, user).await?;
                Some((provider.view.name, is_connected))
            }
            None => None,
        };
        drop(tx);
        let of = |kind: FactorKind| factors.iter().filter(move |one| one.kind == kind);
        let passkeys = of(FactorKind::Passkey).map(|one| -> Result<PasskeyView> {
            Ok(PasskeyView {
                id: one.id,
                name: passkey_name(one)?,
                created_at: one.created_at,
                last_used_at: one.last_used_at,
            })
        });
        Ok(AccountView {
            only_in: account.realm.tenant(),
            email_verified_at: account.email_verified_at,
            attested_at: account.attestation.map(|attestation| attestation.at),
            has_password: account.password_hash.is_some(),
            authenticator_since: of(FactorKind::Totp).next().map(|one| one.created_at),
            passkeys: passkeys.collect::<Result<_>>()?,
            recovery_codes: of(FactorKind::Recovery).count(),
            second_factor_required: self.asks_second_factor(&platform, context.tenant).await?,
            mails: self.0.mailer.is_some(),
            provider,
        })
    }

    /// Sets one's own name, where one is given; empty takes it away. Sets the language that one is
    /// written to in.
    #[boxed]
    pub async fn change_profile(
        &self,
        context: &OpContext,
        name: Option<&Secret<String>>,
        language: Option<Language>,
    ) -> Result<()> {
        let resource = self.authorize_all(context, Action::AccountUpdate, Kind::Session)?;
        let (user, _) = person(context)?;
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(41) {
            return Ok(());
        }
        let given = name.map(|name| name.expose().trim()).filter(|name| !name.is_empty());
        let given = given.map(|name| text("name", name)).transpose()?;
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        if name.is_some() {
            let account = tx.user(user).await?;
            tx.user_update(&User { name: given, ..account }, None).await?;
        }
        if let Some(language) = language {
            tx.user_language_set(user, stored_language(language)).await?;
        }
        tx.commit().await?;
        self.note(context, Action::AccountUpdate, &resource, "done");
        Ok(())
    }

    /// Sets a new password; every other session and every open link ends, this session goes on
    /// under a new token.
    #[boxed]
    pub async fn set_password(
        &self,
        context: &OpContext,
        current: Proof,
        new: &Secret<String>,
        party: &RelyingParty,
    ) -> Result<Secret<String>> {
        self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        check_password(new)?;
        let (user, session) = person(context)?;
        let token = self.confirm_identity(context, current, party).await?;
        let password_hash = Some(self.hash_password(new.clone()).await?);
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        let account = tx.user(user).await?;
        tx.user_update(&User { password_hash, ..account }, None).await?;
        let ended = end_what_is_open(&tx, user, |one| one.id == session).await?;
        let done = json!({"changed": "password", "sessions_ended": ended.len()});
        self.record_secured(&tx, context, Change::to(done)).await?;
        tx.commit().await?;
        self.sessions_ended(ended);
        Ok(token)
    }

    /// The person's sign-ins that still go on, newest first.
    #[boxed]
    pub async fn list_sessions(&self, context: &OpContext) -> Result<Vec<OpenSession>> {
        self.authorize_all(context, Action::AccountRead, Kind::Session)?;
        let (user, current) = person(context)?;
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let mut sessions = tx.sessions_of(user).await?;
        let is_shown = |tenant| !is_by_provider(context) || tenant == context.tenant;
        sessions.retain(|one| one.expires_at > context.at && is_shown(one.tenant));
        sessions.reverse();
        let view = |one: Session| OpenSession {
            id: one.id,
            browser: one.browser,
            system: one.system,
            created_at: one.created_at,
            last_seen_at: one.last_seen_at,
            current: one.id == current,
        };
        Ok(sessions.into_iter().map(view).collect())
    }

    /// Ends one of the person's sessions.
    #[boxed]
    pub async fn end_session(&self, context: &OpContext, id: SessionId) -> Result<()> {
        let resource = self.authorize_all(context, Action::SessionDelete, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        let ended = tx.sessions_of(user).await?.into_iter().filter(|one| one.id == id);
        let ended: Vec<_> = ended.map(|one| one.tenant).collect();
        tx.session_delete_of(user, id).await?;
        tx.commit().await?;
        self.sessions_ended(ended);
        self.note(context, Action::SessionDelete, &resource, "done");
        Ok(())
    }

    /// Ends all of the person's sessions but this one, and the links that were asked for.
    #[boxed]
    pub async fn end_other_sessions(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::SessionDelete, Kind::Session)?;
        let (user, current) = person(context)?;
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        let reaches = |tenant| !is_by_provider(context) || tenant == context.tenant;
        let is_kept = |one: &Session| one.id == current || !reaches(one.tenant);
        let ended = end_what_is_open(&tx, user, is_kept).await?;
        tx.commit().await?;
        self.sessions_ended(ended);
        self.note(context, Action::SessionDelete, &resource, "done");
        Ok(())
    }

    /// Sets whether everybody of the tenant needs a second factor. Who sets it has to have one.
    #[boxed]
    pub async fn require_second_factor(&self, context: &OpContext, required: bool) -> Result<()> {
        let resource = Resource::all(context.tenant, Kind::Tenant);
        self.authorize(context, Action::TenantUpdate, &resource)?;
        if required && !self.has_own_second_factor(context).await? {
            let detail = "set up a second factor of your own first, or you would be shut out";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let tx = self.0.store.begin(context).await?;
        let body: &[u8] = if required { b"true" } else { b"false" };
        let before = tx.setting(SIGN_IN_SETTING).await?;
        let before = before.is_some_and(|setting| setting.body == b"true");
        tx.setting_put(SIGN_IN_SETTING, body, None).await?;
        let state = |required: bool| serde_json::json!({"second_factor_required": required});
        let change = Change::from_to(state(before), state(required));
        self.record_change(&tx, context, Action::TenantUpdate, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    async fn has_own_second_factor(&self, context: &OpContext) -> Result<bool> {
        let Ok((user, _)) = person(context) else { return Ok(true) };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        Ok(crate::factors::has_second_factor(&tx.factors_of(user).await?))
    }
}

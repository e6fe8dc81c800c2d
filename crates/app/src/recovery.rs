//! Mailed one-time links: a new password for who forgot it, a new address for who has another.
//! Asking is answered alike whether or not there is an account, before anything is looked up.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, MAILED_LINK_LIFETIME, SessionState, SessionTimes, TokenKind};
use veritwin_domain::{OpContext, PlatformContext, Secret, TenantId, UserId};
use veritwin_metastore::{LinkKind, MailRank, NewMail, OneTimeLink, PlatformTx, Session, User};

use crate::change::Change;
use crate::factors::has_second_factor;
use crate::links::{Payload, UNKNOWN};
use crate::mail::{MailPayload, mail_key};
use crate::mail_bounds::Sender;
use crate::mail_kinds::MessageKind;
use crate::people::check_password;
use crate::safe_again::end_what_is_open;
use crate::sign_in::{ENDED, person};
use crate::{App, Error, Result};

/// How much of an address's keyed digest a record tells.
const ADDRESS_DIGEST_BYTES: usize = 8;

const NOT_SIGNED_IN: Error =
    Error::Unauthenticated("sign in with the account in this browser, then open the link again");

/// What a mail with a link says.
struct Letter<'a> {
    to: &'a str,
    /// In whose tenant's brand it speaks.
    tenant: TenantId,
    subject: String,
    /// Before the link.
    before: &'a str,
    /// `https://host:port/page`.
    page: String,
    /// After the link.
    after: &'a str,
}

/// A link was asked for by whoever had the account's address of then; after a change the account
/// is somebody else's.
fn check_unchanged(account: &User, payload: &Payload) -> Result<()> {
    if account.disabled || payload.address_then.as_deref() != Some(account.email.as_str()) {
        return Err(UNKNOWN);
    }
    Ok(())
}

impl App {
    /// A link for an account that goes to `to`, good for as long as the account has the address of
    /// now.
    pub(crate) fn new_account_link(
        &self,
        context: &PlatformContext,
        kind: LinkKind,
        account: &User,
        to: &str,
    ) -> Result<(OneTimeLink, Secret<String>, [u8; 32])> {
        let payload = Payload {
            email: Some(to.to_owned()),
            address_then: Some(account.email.clone()),
            mailed: true,
            ..Payload::default()
        };
        let (mut link, token, digest) = self.new_link(context, kind, None, &payload)?;
        link.user = Some(account.id);
        link.expires_at = context.at.saturating_add(MAILED_LINK_LIFETIME);
        Ok((link, token, digest))
    }

    /// Mails a link for an account, good for as long as the account has the address of now.
    async fn mail_link(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        (kind, account): (LinkKind, &User),
        letter: Letter<'_>,
    ) -> Result<()> {
        let (link, token, digest) = self.new_account_link(context, kind, account, letter.to)?;
        tx.link_create(&link, digest).await?;
        let Letter { to, tenant, subject, before, page, after } = letter;
        let mail = MailPayload {
            to: to.to_owned(),
            subject,
            text: format!("{before}\n{page}#{}\n\n{after}", token.expose()),
            voice: Some(tenant),
            ..MailPayload::of(MessageKind::Security)
        };
        let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
        let key = mail_key(&hex::encode(digest), to);
        tx.outbox_add(NewMail::new(MailRank::Account, &key, &body), Some(tenant)).await?;
        Ok(())
    }

    /// Leaves a record of what was done to an account in each tenant that it belongs to. Of an
    /// address only the beginning of its keyed digest is told, by which two can be compared.
    pub(crate) async fn record_account(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        account: UserId,
        (action, change): (Action, &Change),
    ) -> Result<()> {
        let memberships = tx.memberships(account).await?;
        let tenants: BTreeSet<TenantId> = memberships.into_iter().map(|(id, _)| id).collect();
        for tenant in tenants {
            let done = (action, "done", change.clone());
            self.record_platform_change(tx, context, Some(tenant), done).await?;
        }
        Ok(())
    }

    /// The same of what the person changed themselves of how they sign in.
    pub(crate) async fn record_secured(
        &self,
        tx: &PlatformTx,
        context: &OpContext,
        change: Change,
    ) -> Result<()> {
        let (user, _) = person(context)?;
        let done = (Action::AccountSecure, &change);
        self.record_account(tx, &self.above(context), user, done).await
    }

    pub(crate) fn mails(&self) -> Result<()> {
        if self.0.mailer.is_some() {
            return Ok(());
        }
        let detail = "this platform sends no mail: an administrator can give you a new link";
        Err(Error::Unavailable(detail.to_owned()))
    }

    /// Sets a new password with a mailed link. Every session and every other link of the account
    /// end; its second factor stays, if the address was the account's before: of one that was never
    /// verified nothing stays that somebody else may have put there.
    #[boxed]
    pub async fn reset_password(
        &self,
        context: &PlatformContext,
        token: &Secret<String>,
        new: &Secret<String>,
    ) -> Result<()> {
        self.authorize_platform(context, Action::AccountRecover)?;
        check_password(new)?;
        let tx = self.0.store.read_platform(context).await?;
        let (link, payload, digest) = self.open_link(&tx, context, token).await?;
        drop(tx);
        let user = link.user.filter(|_| link.kind == LinkKind::PasswordReset).ok_or(UNKNOWN)?;
        let password_hash = Some(self.hash_password(new.clone()).await?);
        let tx = self.0.store.begin_platform(context).await?;
        tx.link_use(digest, context.at).await.map_err(|_| UNKNOWN)?;
        let account = tx.user(user).await.map_err(|_| UNKNOWN)?;
        check_unchanged(&account, &payload)?;
        self.first_served(&tx.memberships(user).await?).ok_or(UNKNOWN)?;
        let ended = end_what_is_open(&tx, user, |_| false).await?;
        let is_unproven = account.email_verified_at.is_none();
        if is_unproven {
            tx.user_forget_proofs(user).await?;
        }
        let email_verified_at = Some(context.at);
        tx.user_update(&User { password_hash, email_verified_at, ..account }, None).await?;
        let done = json!({
            "account": user.to_string(),
            "changed": "the words to sign in with",
            "sessions_ended": ended.len(),
            "second_factors_forgotten": is_unproven,
        });
        let done = Change::to(done);
        self.record_account(&tx, context, user, (Action::AccountRecover, &done)).await?;
        tx.commit().await?;
        self.sessions_ended(ended);
        Ok(())
    }

    /// Asks to change one's address: a link goes to the new one, and only it changes anything, as
    /// long as the address of now is the account's. Where there is a second factor, the session
    /// has to have shown it.
    #[boxed]
    pub async fn ask_email_change(
        &self,
        context: &OpContext,
        email: &Secret<String>,
        pages: &str,
    ) -> Result<()> {
        let resource = self.authorize_all(context, Action::AccountSecure, Kind::Session)?;
        self.mails()?;
        let (user, session) = person(context)?;
        if !veritwin_outbound::mail::is_address(email.expose()) {
            return Err(Error::invalid_at("email", "expected the form name@host"));
        }
        let platform = self.above(context);
        let pages = self.pages_of(&platform, context.tenant, pages).await?;
        // Counted for taken addresses too: the answer must not tell.
        let sender = Sender::Person(user, context.tenant);
        let place = self.mail_place(sender, email.expose(), context.at)?;
        let tx = self.0.store.begin_platform(&platform).await?;
        let account = tx.user(user).await?;
        let session = tx.session(session).await?.ok_or(ENDED)?;
        if has_second_factor(&tx.factors_of(user).await?) && !session.second_factor {
            return Err(Error::NotProven("prove who you are with your second factor too"));
        }
        // Taken by another account: the answer must not tell, and the link would not work.
        let holder = tx.user_by_email(account.realm, email.expose()).await?;
        if holder.is_none_or(|holder| holder.id == user) {
            let letter = Letter {
                to: email.expose(),
                tenant: context.tenant,
                subject: format!("Confirm your address for {}", self.product_of(context.tenant)),
                before: "Confirm that this is your address, in the browser in which you are signed \
                         in; the link works once, for an hour:",
                page: format!("{pages}/confirm-email"),
                after: "If you did not ask for this, ignore this mail.",
            };
            self.mail_link(&tx, &platform, (LinkKind::EmailChange, &account), letter).await?;
        }
        tx.commit().await?;
        place.keep();
        self.note(context, Action::AccountSecure, &resource, "done");
        Ok(())
    }

    /// Confirms an address with a mailed link: from now on it is the account's, and no other link
    /// that was asked for before works. Mailbox and `session` have to be in one hand: nobody proves
    /// their address for an account of somebody else's.
    #[boxed]
    pub async fn confirm_email(
        &self,
        context: &PlatformContext,
        token: &Secret<String>,
        session: Option<&Secret<String>>,
    ) -> Result<()> {
        self.authorize_platform(context, Action::AccountRecover)?;
        let tx = self.0.store.read_platform(context).await?;
        self.open_link(&tx, context, token).await?;
        drop(tx);
        let tx = self.0.store.begin_platform(context).await?;
        let (link, payload, digest) = self.open_link(&tx, context, token).await?;
        let user = link.user.filter(|_| link.kind == LinkKind::EmailChange).ok_or(UNKNOWN)?;
        let email = payload.email.clone().ok_or(UNKNOWN)?;
        let account = tx.user(user).await.map_err(|_| UNKNOWN)?;
        check_unchanged(&account, &payload)?;
        let digest_held = session.and_then(|token| TokenKind::Session.digest(token.expose()));
        let held = match digest_held {
            Some(held) => tx.session_by_digest(held.0).await?,
            None => None,
        };
        let is_live = |held: &Session| {
            let (created_at, last_seen_at) = (held.created_at, held.last_seen_at);
            let times = SessionTimes { created_at, last_seen_at };
            matches!(times.state(context.at), SessionState::Live { .. })
        };
        let is_own = |held: &Session| held.user == user && is_live(held);
        if !held.is_some_and(|held| is_own(&held)) {
            return Err(NOT_SIGNED_IN);
        }
        tx.link_use(digest, context.at).await.map_err(|_| UNKNOWN)?;
        tx.links_delete_of(user).await?;
        let tenant = self.first_served(&tx.memberships(user).await?).ok_or(UNKNOWN)?;
        let before = account.email.clone();
        let changed = User { email: email.clone(), email_verified_at: Some(context.at), ..account };
        tx.user_update(&changed, None).await.map_err(|_| UNKNOWN)?;
        if before != email {
            let mail = MailPayload {
                to: before.clone(),
                subject: format!("Your address for {} was changed", self.product_of(tenant)),
                text: "You sign in with another address from now on. If that was not you, ask an \
                       administrator of your organisation for help at once."
                    .to_owned(),
                voice: Some(tenant),
                ..MailPayload::of(MessageKind::Security)
            };
            let body =
                serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
            let key = mail_key(&hex::encode(digest), &before);
            tx.outbox_add(NewMail::new(MailRank::Account, &key, &body), Some(tenant)).await?;
        }
        let told = |address: &str| -> Result<serde_json::Value> {
            let digest = self.0.store.email_digest(changed.realm, address)?;
            let digest = hex::encode(&digest[..ADDRESS_DIGEST_BYTES]);
            Ok(json!({"account": user.to_string(), "address_digest": digest}))
        };
        let change = Change::from_to(told(&before)?, told(&email)?);
        self.record_account(&tx, context, user, (Action::AccountRecover, &change)).await?;
        Ok(tx.commit().await?)
    }
}

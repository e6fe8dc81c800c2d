//! The mail that a forgotten password is asked for with: one for all accounts of an address, with
//! the sign-in page of each. Asking is answered alike whether or not there is an account, before
//! anything is looked up, and whether or not the links of the last mail still do.

use std::fmt::Write as _;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::Action;
use veritwin_domain::{PlatformContext, Secret, TenantId};
use veritwin_metastore::{LinkKind, MailRank, NewMail, PlatformTx, Realm, User};

use crate::brands::PRODUCT;
use crate::change::Change;
use crate::mail::{MailPayload, mail_key};
use crate::mail_bounds::mailbox;
use crate::mail_names::quoted;
use crate::{App, Error, Result};

/// Most accounts of an address that one mail lists: of the organisation whose page was asked at,
/// then those that somebody verified.
const RESET_ACCOUNTS_MAX: usize = 5;

/// An account that the mail lists.
struct Listed {
    account: User,
    /// In whose tenant's words.
    tenant: TenantId,
    /// What tells it apart from the others.
    name: String,
}

/// Who is asked about, and where.
struct Asked {
    email: Secret<String>,
    /// The organisation whose sign-in page it was.
    at: Option<TenantId>,
    /// The address of the platform's pages.
    pages: String,
}

impl App {
    /// Asks for a mail with a link that sets a new password, for each account of an address. The
    /// work is done after the answer.
    #[boxed]
    pub async fn ask_password_reset(
        &self,
        context: &PlatformContext,
        email: &Secret<String>,
        at: Option<TenantId>,
        pages: &str,
    ) -> Result<()> {
        self.authorize_platform(context, Action::AccountRecover)?;
        self.mails()?;
        if !veritwin_outbound::mail::is_address(email.expose()) {
            return Err(Error::invalid_at("email", "expected the form name@host"));
        }
        let tx = self.0.store.read_platform(context).await?;
        let digest = tx.email_digest(Realm::PLATFORM, email.expose())?;
        drop(tx);
        self.throttled(context, digest)?;
        let (app, context) = (self.clone(), context.clone());
        let asked = Asked { email: email.clone(), at, pages: pages.to_owned() };
        self.0.tasks.spawn(async move {
            if let Err(error) = app.send_password_reset(&context, &asked).await {
                tracing::warn!(%error, "a password mail was not queued");
            }
        });
        Ok(())
    }

    async fn send_password_reset(&self, context: &PlatformContext, asked: &Asked) -> Result<()> {
        let (listed, are_all) = self.accounts_to_reset(context, asked).await?;
        let tx = self.0.store.begin_platform(context).await?;
        let is_queued =
            !listed.is_empty() && self.mail_reset(&tx, context, (&listed, are_all), asked).await?;
        if !is_queued {
            self.record_platform(&tx, context, Action::AccountRecover, None, "denied").await?;
        }
        Ok(tx.commit().await?)
    }

    /// The accounts that a mail lists, and whether there are no others.
    async fn accounts_to_reset(
        &self,
        context: &PlatformContext,
        asked: &Asked,
    ) -> Result<(Vec<Listed>, bool)> {
        let mut realms: Vec<Realm> = self.0.tree.read().ids().map(Realm::of_tenant).collect();
        realms.push(Realm::PLATFORM);
        let tx = self.0.store.read_platform(context).await?;
        let mut accounts = tx.users_by_email(realms, asked.email.expose()).await?;
        accounts.retain(|user| !user.disabled);
        // Whoever makes accounts for the address of others puts none of them before its own.
        accounts.sort_by_key(|user| {
            let is_asked_at = asked.at.is_some_and(|at| user.realm == Realm::of_tenant(at));
            let is_verified = user.email_verified_at.is_some();
            (!is_asked_at, !is_verified, user.realm != Realm::PLATFORM, user.created_at, user.id)
        });
        let mut listed = Vec::new();
        for account in accounts {
            let memberships = tx.memberships(account.id).await?;
            let Some(tenant) = self.first_served(&memberships) else { continue };
            if listed.len() >= RESET_ACCOUNTS_MAX {
                return Ok((listed, false));
            }
            let name = quoted(&tx.tenant(account.realm.tenant().unwrap_or(tenant)).await?.name);
            listed.push(Listed { account, tenant, name });
        }
        Ok((listed, true))
    }

    /// Queues the mail; false if the links of the last one work for a good while yet.
    async fn mail_reset(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        (listed, are_all): (&[Listed], bool),
        asked: &Asked,
    ) -> Result<bool> {
        let mut text = "Somebody, probably you, cannot sign in with this address. Here you sign \
                        in, or set a new password; each link works once, for an hour.\n\n"
            .to_owned();
        let mut links = Vec::with_capacity(listed.len());
        for Listed { account, tenant, name } in listed {
            let pages = self.pages_of(context, *tenant, &asked.pages).await?;
            let own = account.realm.tenant();
            let at = own.map(|own| format!("?organisation={own}")).unwrap_or_default();
            let to = &account.email;
            let (link, token, digest) =
                self.new_account_link(context, LinkKind::PasswordReset, account, to)?;
            let token = token.expose();
            let _ = write!(
                text,
                "{name}\nSign in: {pages}/sign-in{at}\nSet a new password: \
                 {pages}/reset{at}#{token}\n\n"
            );
            links.push((link, digest));
        }
        if !are_all {
            let _ = write!(
                text,
                "These are {RESET_ACCOUNTS_MAX} of the accounts of this address. For another one, \
                 ask at the sign-in page of its organisation.\n\n"
            );
        }
        text.push_str("If it was not you, ignore this mail: nothing has changed.");
        let voice = match listed {
            [one] => Some(one.tenant),
            _ => None,
        };
        let product = voice.map_or_else(|| PRODUCT.to_owned(), |tenant| self.product_of(tenant));
        let mail = MailPayload {
            to: listed.first().map(|one| one.account.email.clone()).unwrap_or_default(),
            subject: format!("Sign in to {product}, or set a new password"),
            text,
            voice,
            ..MailPayload::default()
        };
        if !self.0.mail_bounds.lock().take_reset(mailbox(&mail.to)?, context.at) {
            return Ok(false);
        }
        let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
        let key = links.iter().map(|(_, digest)| hex::encode(digest)).collect::<String>();
        let key = mail_key(&key, &mail.to);
        tx.outbox_add(NewMail::new(MailRank::Account, &key, &body), mail.voice).await?;
        for ((link, digest), Listed { account, .. }) in links.into_iter().zip(listed) {
            tx.link_create(&link, digest).await?;
            let told = json!({"account": account.id.to_string(), "asked_for": "a new password"});
            self.record_account(tx, context, account.id, &Change::to(told)).await?;
        }
        Ok(true)
    }
}

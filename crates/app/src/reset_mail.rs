//! The mail that a forgotten password is asked for with: one for all accounts of an address, with
//! the sign-in page of each. Asking is answered alike whether or not there is an account, before
//! anything is looked up, and whether or not the links of the last mail still do.

use std::collections::HashMap;
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
use crate::mail_kinds::MessageKind;
use crate::mail_names::quoted;
use crate::{App, Error, Result};

/// Most accounts of an address that one mail lists: of the organisation whose page was asked at,
/// then those that somebody verified.
const RESET_ACCOUNTS_MAX: usize = 5;
/// Most accounts after the first four whose organisations' pages have a pace of their own.
const RESET_PAGES_MAX: usize = 8;
/// Most of these of one branch.
const RESET_PAGES_OF_BRANCH_MAX: usize = 2;

/// An account that the mail lists.
struct Listed {
    account: User,
    /// In whose tenant's words.
    tenant: TenantId,
    /// What tells it apart from the others.
    name: String,
}

/// What a mail lists.
struct List {
    listed: Vec<Listed>,
    /// Whether there are no others.
    are_all: bool,
    /// The organisation whose page was asked at, when only mails of its own page list its account.
    page: Option<TenantId>,
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
        let digest = self.0.store.email_digest(Realm::PLATFORM, email.expose())?;
        self.throttled(context, digest, None)?;
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
        let list = self.accounts_to_reset(context, asked).await?;
        let tx = self.0.store.begin_platform(context).await?;
        let is_queued =
            !list.listed.is_empty() && self.mail_reset(&tx, context, &list, asked).await?;
        if !is_queued {
            self.record_platform(&tx, context, Action::AccountRecover, None, "denied").await?;
        }
        Ok(tx.commit().await?)
    }

    /// The accounts that a mail lists.
    async fn accounts_to_reset(&self, context: &PlatformContext, asked: &Asked) -> Result<List> {
        let mut realms: Vec<Realm> = self.0.tree.read().ids().map(Realm::of_tenant).collect();
        realms.push(Realm::PLATFORM);
        let tx = self.0.store.read_platform(context).await?;
        let mut accounts = tx.users_by_email(realms, asked.email.expose()).await?;
        accounts.retain(|user| !user.disabled);
        let mut accounts = {
            let tree = self.0.tree.read();
            ranked(accounts, |tenant| tree.branch(tenant))
        };
        let is_asked_at = |user: &User| asked.at.is_some_and(|at| is_of(user, at));
        let page = asked.at.filter(|at| has_own_page(&accounts, *at));
        if let Some(place) = accounts.iter().position(|one| is_asked_at(&one.account)) {
            accounts[..=place].rotate_right(1);
        }
        let (mut listed, mut are_all) = (Vec::new(), true);
        for Ranked { account, .. } in accounts {
            let memberships = tx.memberships(account.id).await?;
            let Some(tenant) = self.first_served(&memberships) else { continue };
            if listed.len() >= RESET_ACCOUNTS_MAX {
                are_all = false;
                break;
            }
            let name = quoted(&tx.tenant(account.realm.tenant().unwrap_or(tenant)).await?.name);
            listed.push(Listed { account, tenant, name });
        }
        // Of a suspended organisation no mail tells.
        let is_listed = listed.first().is_some_and(|one| is_asked_at(&one.account));
        Ok(List { page: page.filter(|_| is_listed), listed, are_all })
    }

    /// Queues the mail; false if the links of the last one work for a good while yet.
    async fn mail_reset(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        List { listed, are_all, page }: &List,
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
        let voice = match listed.as_slice() {
            [one] => Some(one.tenant),
            _ => None,
        };
        let product = voice.map_or_else(|| PRODUCT.to_owned(), |tenant| self.product_of(tenant));
        let mail = MailPayload {
            to: listed.first().map(|one| one.account.email.clone()).unwrap_or_default(),
            subject: format!("Sign in to {product}, or set a new password"),
            text,
            voice,
            ..MailPayload::of(MessageKind::Security)
        };
        if !self.0.mail_bounds.lock().take_reset(mailbox(&mail.to)?, *page, context.at) {
            return Ok(false);
        }
        let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
        let key = links.iter().map(|(_, digest)| hex::encode(digest)).collect::<String>();
        let key = mail_key(&key, &mail.to);
        tx.outbox_add(NewMail::new(MailRank::Account, &key, &body), mail.voice).await?;
        for ((link, digest), Listed { account, .. }) in links.into_iter().zip(listed) {
            tx.link_create(&link, digest).await?;
            let told = json!({"account": account.id.to_string(), "asked_for": "a new password"});
            let told = Change::to(told);
            let done = (Action::AccountRecover, &told);
            self.record_account(tx, context, account.id, done).await?;
        }
        Ok(true)
    }
}

/// An account, and how many of its branch come before it.
struct Ranked {
    account: User,
    before_in_branch: usize,
}

fn is_of(user: &User, tenant: TenantId) -> bool {
    user.realm == Realm::of_tenant(tenant)
}

/// Accounts in the order in which mails list them: whoever makes some for the address of others,
/// in however many organisations of its own, puts few of them before theirs.
fn ranked(mut accounts: Vec<User>, branch_of: impl Fn(TenantId) -> TenantId) -> Vec<Ranked> {
    let rank = |user: &User| (user.email_verified_at.is_none(), user.realm != Realm::PLATFORM);
    accounts.sort_by_key(|user| (rank(user), user.created_at, user.id));
    let mut counts: HashMap<Option<TenantId>, usize> = HashMap::new();
    let mut ranked = Vec::with_capacity(accounts.len());
    for account in accounts {
        let count = counts.entry(account.realm.tenant().map(&branch_of)).or_default();
        ranked.push(Ranked { account, before_in_branch: *count });
        *count += 1;
    }
    ranked.sort_by_key(|one| (rank(&one.account), one.before_in_branch));
    ranked
}

/// Whether mails that are asked for at an organisation's page go at a pace of their own: its
/// account is not among those that every mail lists, and among the next.
fn has_own_page(ranked: &[Ranked], at: TenantId) -> bool {
    if ranked.len() <= RESET_ACCOUNTS_MAX {
        return false;
    }
    // The last place in a mail is that of the page asked at, whichever it was.
    let first = RESET_ACCOUNTS_MAX - 1;
    let own = ranked.iter().position(|one| is_of(&one.account, at));
    own.is_some_and(|place| {
        (first..first + RESET_PAGES_MAX).contains(&place)
            && ranked[place].before_in_branch < RESET_PAGES_OF_BRANCH_MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::{Timestamp, UserId};

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    /// Its `number`th account; tenants of one ten are one branch.
    fn account(number: u8, of: Option<u8>, is_verified: bool) -> User {
        let at = Timestamp::from_micros(i64::from(number));
        User {
            id: UserId::from_bytes([number; 16]),
            realm: of.map_or(Realm::PLATFORM, |of| Realm::of_tenant(tenant(of))),
            email: "ann@x.example".to_owned(),
            name: None,
            password_hash: None,
            disabled: false,
            email_verified_at: is_verified.then_some(at),
            attestation: None,
            version: 1,
            created_at: at,
        }
    }

    #[test]
    fn accounts_of_others_come_after_and_take_no_page_away() {
        let check = |accounts: &[(Option<u8>, bool)], order: &[Option<u8>], own: &[u8]| {
            let accounts = (1..).zip(accounts);
            let accounts = accounts.map(|(n, (of, is_verified))| account(n, *of, *is_verified));
            let ranked = ranked(accounts.collect(), |one| tenant(one.as_bytes()[0] / 10 * 10));
            let found: Vec<_> = ranked.iter().map(|one| one.account.realm.tenant()).collect();
            let expect: Vec<_> = order.iter().map(|of| of.map(tenant)).collect();
            assert_eq!(found, expect);
            let has_own = |of: &u8| has_own_page(&ranked, tenant(*of));
            let found: Vec<u8> = (1..=u8::MAX).filter(has_own).collect();
            assert_eq!(found, own);
        };
        // Proven ones first, then the platform's.
        check(
            &[(Some(10), false), (None, false), (Some(20), true)],
            &[Some(20), None, Some(10)],
            &[],
        );
        // However many one branch has: the only one of another is second.
        let planted = (10..20).chain([25]).map(|of| (Some(of), false));
        let order: Vec<_> = [10, 25].into_iter().chain(11..20).map(Some).collect();
        check(&planted.collect::<Vec<_>>(), &order, &[]);
        // Two of each of many branches: four are in every mail, the next eight have their pages.
        let two = (1..=8).flat_map(|n| [n * 10, n * 10 + 1]).map(|of| (Some(of), false));
        let order = (1..=8).map(|n| n * 10).chain((1..=8).map(|n| n * 10 + 1)).map(Some);
        let own = [11, 21, 31, 41, 50, 60, 70, 80];
        check(&two.collect::<Vec<_>>(), &order.collect::<Vec<_>>(), &own);
        // Five are all in every mail.
        let five = [10, 20, 30, 40, 50].map(|of| (Some(of), false));
        check(&five, &five.map(|(of, _)| of), &[]);
    }
}

//! The account of whoever uses a one-time link up. An invitation only ever gives: nothing that
//! somebody else may have put into an account of the same address comes along, and that account
//! loses nothing of what it is anywhere.

use std::collections::BTreeSet;

use serde_json::json;
use veritwin_access::Action;
use veritwin_domain::{PlatformContext, TenantId};
use veritwin_metastore::{MailRank, NewMail, PlatformTx, Realm, User};

use crate::change::Change;
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::mail_names::quoted;
use crate::safe_again::end_what_is_open;
use crate::{App, Error, Result};

const TAKEN: &str = "this address cannot be used here: sign in, or use another";
const NO_ROOM: &str = "this address has several accounts already: have a new password for one of \
                       them mailed to you, sign in with it, then open the invitation again";

/// What whoever uses a link up shows by having it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// That whoever holds the data directory gave it to them.
    OperatorsWill,
    /// That the mailbox is theirs.
    Mailbox,
    /// That somebody of the tenant, who saw it too, gave it to them.
    Invitation,
}

/// The account of whoever used a link up.
pub(crate) struct Taken {
    pub(crate) account: User,
    /// The tenants in which sessions ended.
    pub(crate) ended: Vec<TenantId>,
    /// The account of the same address that goes on beside it, at its own tenant's sign-in page.
    pub(crate) beside: Option<User>,
}

impl Taken {
    const fn new(account: User) -> Self {
        Self { account, ended: Vec::new(), beside: None }
    }
}

/// What an address has, as whoever has its mailbox is told.
pub(crate) struct Known {
    /// An account to sign in with.
    pub(crate) is_known: bool,
    /// Nobody has proven it: a new account can be made beside it.
    pub(crate) may_begin_anew: bool,
}

/// The account of whoever uses a link into `tenant` up. Nothing that somebody else may have put
/// into an account of the same address before is in it, and the answer tells nothing of the
/// accounts of other tenants, except to whoever has the mailbox.
pub(crate) async fn account_of(
    tx: &PlatformTx,
    tenant: TenantId,
    user: User,
    shows: Shows,
) -> Result<Taken> {
    let own = User { realm: Realm::of_tenant(tenant), ..user.clone() };
    let known_here = known_of(tx, &own).await?;
    let Some(known) = known_of(tx, &user).await? else {
        if known_here.is_some() {
            return Err(Error::Conflict(TAKEN.to_owned()));
        }
        tx.user_create(&user).await?;
        return Ok(Taken::new(user));
    };
    let memberships = tx.memberships(known.id).await?;
    let is_here = memberships.iter().any(|(id, _)| *id == tenant);
    let is_elsewhere = memberships.iter().any(|(id, _)| *id != tenant);
    let is_verified = known.email_verified_at.is_some();
    match shows {
        Shows::OperatorsWill if is_here && (is_verified || !is_elsewhere) => {
            renew(tx, known, user).await
        }
        Shows::Mailbox if !is_verified => {
            let beside = move_aside(tx, known).await?;
            tx.user_create(&user).await?;
            Ok(Taken { beside: Some(beside), ..Taken::new(user) })
        }
        Shows::Mailbox => Err(Error::Conflict(TAKEN.to_owned())),
        Shows::Invitation if is_here => Err(Error::Conflict(TAKEN.to_owned())),
        _ if known_here.is_some() => Err(Error::Conflict(TAKEN.to_owned())),
        // Somebody's elsewhere, and nobody showed whose the address is: this tenant gets an
        // account that nobody else knows.
        _ => {
            tx.user_create(&own).await?;
            Ok(Taken::new(own))
        }
    }
}

/// What whoever has this mailbox, and so a link that was mailed to it, can take an invitation into
/// `tenant` up with. An account that nobody has proven counts as soon as somebody uses it.
pub(crate) async fn known_to_mailbox(
    tx: &PlatformTx,
    tenant: TenantId,
    email: &str,
) -> Result<Known> {
    let known = tx.user_by_email(Realm::PLATFORM, email).await?;
    let own = tx.user_by_email(Realm::of_tenant(tenant), email).await?;
    let may_begin_anew = known.as_ref().is_some_and(|user| user.email_verified_at.is_none());
    let mut is_known = false;
    for user in [known, own].into_iter().flatten().filter(|user| !user.disabled) {
        let is_used = user.email_verified_at.is_some() || user.password_hash.is_some();
        is_known |= is_used && !tx.memberships(user.id).await?.is_empty();
    }
    Ok(Known { is_known, may_begin_anew: is_known && may_begin_anew })
}

/// The account of the same address and realm. One that belongs to nobody is gone with everything
/// that was in it.
pub(crate) async fn known_of(tx: &PlatformTx, user: &User) -> Result<Option<User>> {
    let Some(known) = tx.user_by_email(user.realm, &user.email).await? else { return Ok(None) };
    if !tx.memberships(known.id).await?.is_empty() {
        return Ok(Some(known));
    }
    tx.user_delete(known.id).await?;
    Ok(None)
}

/// Makes room for the person of an address that nobody had proven. Whoever uses the account of
/// before keeps it with all that it is in every tenant, and its sessions: from now on it signs in
/// at the page of one of its tenants.
async fn move_aside(tx: &PlatformTx, known: User) -> Result<User> {
    tx.links_delete_of(known.id).await?;
    for (tenant, _) in tx.memberships(known.id).await? {
        let aside = User { realm: Realm::of_tenant(tenant), ..known.clone() };
        if known_of(tx, &aside).await?.is_none() {
            tx.user_update(&aside, None).await?;
            return Ok(aside);
        }
    }
    Err(Error::Conflict(NO_ROOM.to_owned()))
}

/// Gives an account of the tenant to whoever brings a link of whoever holds the data directory: of
/// an address that was never verified nothing stays by which somebody else could sign in.
async fn renew(tx: &PlatformTx, known: User, user: User) -> Result<Taken> {
    let is_verified = known.email_verified_at.is_some();
    let ended = end_what_is_open(tx, known.id, |_| false).await?;
    if !is_verified {
        tx.user_forget_proofs(known.id).await?;
    }
    let again = User {
        name: if is_verified { known.name } else { user.name },
        password_hash: user.password_hash,
        disabled: false,
        attestation: user.attestation,
        ..known
    };
    tx.user_update(&again, None).await?;
    Ok(Taken { ended, ..Taken::new(again) })
}

impl App {
    /// Tells where an account that was moved aside signs in from now on: its address by mail, and
    /// every tenant that it belongs to in its records.
    pub(crate) async fn tell_aside(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        (account, pages): (&User, &str),
    ) -> Result<()> {
        let Some(own) = account.realm.tenant() else { return Ok(()) };
        let memberships = tx.memberships(account.id).await?;
        let tenants: BTreeSet<TenantId> = memberships.into_iter().map(|(id, _)| id).collect();
        let mut names = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            names.push(quoted(&tx.tenant(tenant).await?.name));
            let now = json!({
                "account": account.id.to_string(),
                "changed": "signs in at its organisation's own page",
                "organisation": own.to_string(),
            });
            let done = (Action::AccountRecover, "done", Change::to(now));
            self.record_platform_change(tx, context, Some(tenant), done).await?;
        }
        if self.0.mailer.is_none() {
            return Ok(());
        }
        let mail = MailPayload {
            to: account.email.clone(),
            subject: format!("Where your account for {} signs in", self.product_of(own)),
            text: format!(
                "Somebody who reads mail to this address accepted an invitation and made a new \
                 account for it. The account you had stays as it is, in {}, with the same \
                 password. From now on it signs in at this page:\n\
                 {pages}/sign-in?organisation={own}\n\nIf that was not you, tell an \
                 administrator of your organisation.",
                names.join(", "),
            ),
            voice: Some(own),
            ..MailPayload::of(MessageKind::Security)
        };
        let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
        let key = mail_key(&format!("aside {} {}", account.id, context.at), &mail.to);
        tx.outbox_add(NewMail::new(MailRank::Account, &key, &body), Some(own)).await?;
        Ok(())
    }
}

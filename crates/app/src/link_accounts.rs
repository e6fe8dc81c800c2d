//! The account of whoever uses a one-time link up: a new one, or one of the same address. Nothing
//! that somebody else may have put into it before comes along.

use veritwin_domain::TenantId;
use veritwin_metastore::{PlatformTx, Realm, User};

use crate::safe_again::end_what_is_open;
use crate::{Error, Result};

const TAKEN: &str = "this address cannot be used here: sign in, or use another";

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
}

impl Taken {
    const fn new(account: User) -> Self {
        Self { account, ended: Vec::new() }
    }
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
    let is_here = tx.memberships(known.id).await?.iter().any(|(id, _)| *id == tenant);
    let is_verified = known.email_verified_at.is_some();
    match shows {
        Shows::OperatorsWill if is_here => renew(tx, tenant, known, user).await,
        Shows::Mailbox if !is_verified && is_here => renew(tx, tenant, known, user).await,
        Shows::Mailbox if !is_verified => {
            let ended = leave_to_its_tenant(tx, known).await?;
            tx.user_create(&user).await?;
            Ok(Taken { account: user, ended })
        }
        Shows::Mailbox => Err(Error::Conflict(TAKEN.to_owned())),
        _ if is_here || known_here.is_some() => Err(Error::Conflict(TAKEN.to_owned())),
        // Somebody's elsewhere, and nobody showed whose the address is: this tenant gets an
        // account that nobody else knows.
        _ => {
            tx.user_create(&own).await?;
            Ok(Taken::new(own))
        }
    }
}

/// Whether whoever has this mailbox, and so a link that was mailed to it, has an account to sign
/// in with, and to take an invitation into `tenant` up with.
pub(crate) async fn has_account(tx: &PlatformTx, tenant: TenantId, email: &str) -> Result<bool> {
    let known = tx.user_by_email(Realm::PLATFORM, email).await?;
    let known = known.filter(|user| user.email_verified_at.is_some());
    let own = tx.user_by_email(Realm::of_tenant(tenant), email).await?;
    for user in [known, own].into_iter().flatten() {
        if !user.disabled && !tx.memberships(user.id).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
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

/// Makes room for the person of an address that nobody had proven. What was made under it stays
/// with the tenant that made it, as an account that this tenant alone knows; if it knows one
/// already, it goes.
async fn leave_to_its_tenant(tx: &PlatformTx, known: User) -> Result<Vec<TenantId>> {
    let ended = end_what_is_open(tx, known.id, |_| false).await?;
    let mut realms = tx.memberships(known.id).await?.into_iter().map(|(id, _)| id);
    let Some(realm) = realms.next().map(Realm::of_tenant) else {
        return Err(Error::Internal("an account of nobody was kept".to_owned()));
    };
    let own = User { realm, ..known };
    if tx.user_by_email(realm, &own.email).await?.is_some() {
        tx.user_delete(own.id).await?;
    } else {
        tx.user_update(&own, None).await?;
    }
    Ok(ended)
}

/// Gives an account to whoever is shown to be its person: of an address that was never verified
/// nothing stays by which somebody else could sign in, and nothing of other tenants.
async fn renew(tx: &PlatformTx, tenant: TenantId, known: User, user: User) -> Result<Taken> {
    let is_verified = known.email_verified_at.is_some();
    let ended = end_what_is_open(tx, known.id, |_| false).await?;
    if !is_verified {
        tx.user_forget_proofs(known.id).await?;
        tx.memberships_end_elsewhere(known.id, tenant).await?;
    }
    let again = User {
        name: if is_verified { known.name } else { user.name },
        password_hash: user.password_hash,
        disabled: false,
        email_verified_at: user.email_verified_at.or(known.email_verified_at),
        attestation: user.attestation,
        ..known
    };
    tx.user_update(&again, None).await?;
    Ok(Taken { account: again, ended })
}

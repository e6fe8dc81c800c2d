//! Who signs in, and at whose door: an account of the platform, or one that a single tenant knows
//! because nobody has shown yet whose its address is.

use veritwin_domain::{Secret, TenantId};
use veritwin_metastore::{PlatformTx, Realm, User};

use crate::Result;

/// Who signs in, and at whose door.
#[derive(Debug)]
pub struct Knock<'a> {
    /// The account's address; empty with a passkey.
    pub email: &'a Secret<String>,
    /// The tenant that was named.
    pub tenant: Option<TenantId>,
    /// The host name that was asked for.
    pub host: Option<&'a str>,
}

/// Whose proof is checked.
pub(crate) enum Whom<'a> {
    /// The account of an address, at a tenant's door if there is one.
    At(&'a Secret<String>, Option<TenantId>),
    /// This account.
    Known(&'a User),
}

/// The account that an address with a password means: at a tenant's door the one that this tenant
/// alone knows, if it has one; else the platform's.
pub(crate) async fn account_at(
    tx: &PlatformTx,
    email: &Secret<String>,
    door: Option<TenantId>,
) -> Result<Option<User>> {
    if let Some(tenant) = door {
        let own = tx.user_by_email(Realm::of_tenant(tenant), email.expose()).await?;
        if let Some(own) = own.filter(|own| own.password_hash.is_some())
            && !tx.memberships(own.id).await?.is_empty()
        {
            return Ok(Some(own));
        }
    }
    Ok(tx.user_by_email(Realm::PLATFORM, email.expose()).await?)
}

//! Attempts to sign in: how many are let through, and what is written down of those refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::json;
use veritwin_access::{Action, Attempt};
use veritwin_domain::{PlatformContext, Secret, TenantId, UserId};
use veritwin_keys::hmac_sha256;
use veritwin_metastore::{PlatformTx, Realm, User};

use crate::change::Change;
use crate::knock::{Whom, account_at};
use crate::sign_in::WRONG;
use crate::{App, Error, Result};

/// The tenants that an account is in, each once.
async fn tenants_of(tx: &PlatformTx, user: UserId) -> Result<Vec<TenantId>> {
    let memberships = tx.memberships(user).await?;
    let tenants: BTreeSet<TenantId> = memberships.into_iter().map(|(id, _)| id).collect();
    Ok(tenants.into_iter().collect())
}

impl App {
    /// A network address as a throttle knows it. Those of IPv6 count by their network of 64
    /// bits: that is what one subscriber has.
    pub(crate) fn address_digest(&self, context: &PlatformContext) -> Option<[u8; 32]> {
        let key = &self.0.attempt_key;
        context.origin.address.map(|address| match address {
            IpAddr::V4(address) => hmac_sha256(key, &address.octets()),
            IpAddr::V6(address) => hmac_sha256(key, &address.octets()[..8]),
        })
    }

    /// Lets an attempt through, or says how long to wait.
    pub(crate) fn throttled(
        &self,
        context: &PlatformContext,
        account: [u8; 32],
        door: Option<[u8; 32]>,
    ) -> Result<Attempt> {
        let attempt = Attempt::new(account, self.address_digest(context));
        let attempt = door.map_or(attempt, |own| attempt.at_door(own));
        let now = context.clock.monotonic();
        let throttled = self.0.throttle.lock().attempt(&attempt, now);
        throttled.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
        Ok(attempt)
    }

    /// The same of an attempt that names no account: by where it comes from.
    pub(crate) fn throttled_from(&self, context: &PlatformContext) -> Result<Option<[u8; 32]>> {
        let Some(from) = self.address_digest(context) else { return Ok(None) };
        let throttled = self.0.throttle.lock().attempt_from(from, context.clock.monotonic());
        throttled.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
        Ok(Some(from))
    }

    pub(crate) fn went_through_from(&self, from: Option<[u8; 32]>) {
        if let Some(from) = from {
            self.0.throttle.lock().withdrawn_from(from);
        }
    }

    /// An attempt at a name, and at the name that the door alone knows.
    pub(crate) fn attempt_at(&self, context: &PlatformContext, whom: &Whom<'_>) -> Result<Attempt> {
        let (email, realm) = match whom {
            Whom::At(email, door) => (email.expose(), door.map(Realm::of_tenant)),
            Whom::Known(user) => {
                (&user.email, Some(user.realm).filter(|realm| *realm != Realm::PLATFORM))
            }
        };
        let digest = |realm| self.0.store.email_digest(realm, email).map_err(|_| WRONG);
        let own = realm.map(digest).transpose()?;
        self.throttled(context, digest(Realm::PLATFORM)?, own)
    }

    /// What was tried turned out to be this account, or none.
    pub(crate) fn attempt_of(
        &self,
        context: &PlatformContext,
        attempt: Attempt,
        user: Option<&User>,
    ) -> Result<Attempt> {
        if user.is_some_and(|user| user.realm != Realm::PLATFORM) {
            return Ok(attempt);
        }
        let gone_on = self.0.throttle.lock().goes_on(&attempt, context.clock.monotonic());
        gone_on.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
        Ok(attempt.without_door())
    }

    pub(crate) fn attempt_succeeded(&self, context: &PlatformContext, attempt: &Attempt) {
        self.0.throttle.lock().succeeded(attempt, context.clock.monotonic());
    }

    /// Leaves a record of a refused sign-in, in the records of the account's tenants, or in the
    /// platform's own when there is none; and counts it towards stuffing.
    pub(crate) async fn refused_sign_in(
        &self,
        context: &PlatformContext,
        (email, door): (&Secret<String>, Option<TenantId>),
        (error, reason): (&Error, &str),
    ) -> Result<()> {
        let is_throttled = matches!(error, Error::Busy { .. });
        if !is_throttled && !matches!(error, Error::Unauthenticated(_)) {
            return Ok(());
        }
        let account = self.0.store.email_digest(Realm::PLATFORM, email.expose()).ok();
        if is_throttled {
            // Nothing is read or written: a flood of these waits for no turn.
            self.watch_failed_sign_in(context, account.unwrap_or_default(), &[]);
            return Ok(());
        }
        let tx = self.0.store.begin_platform(context).await?;
        let known = match account {
            Some(_) => account_at(&tx, email, door).await?,
            None => None,
        };
        let tenants = match &known {
            Some(user) => tenants_of(&tx, user.id).await?,
            None => Vec::new(),
        };
        let action = Action::SessionCreate;
        if tenants.is_empty() {
            self.record_platform(&tx, context, action, None, "denied").await?;
        }
        for tenant in &tenants {
            let account = known.as_ref().map(|user| user.id);
            self.record_refused(&tx, context, *tenant, (account, reason)).await?;
        }
        tx.commit().await?;
        self.watch_failed_sign_in(context, account.unwrap_or_default(), &tenants);
        Ok(())
    }

    /// Says in a tenant's records whose sign-in was refused, and at what.
    async fn record_refused(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: TenantId,
        (account, reason): (Option<UserId>, &str),
    ) -> Result<()> {
        let account = account.map(|account| account.to_string());
        let change = Change::to(json!({"account": account, "reason": reason}));
        let denied = (Action::SessionCreate, "denied", change);
        self.record_platform_change(tx, context, Some(tenant), denied).await
    }

    /// Leaves a record that a password was right and its second factor was not shown with it.
    pub(crate) async fn asked_second_factor(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        user: &User,
    ) -> Result<()> {
        for tenant in tenants_of(tx, user.id).await? {
            let missing = (Some(user.id), "second factor not shown yet");
            self.record_refused(tx, context, tenant, missing).await?;
        }
        Ok(())
    }
}

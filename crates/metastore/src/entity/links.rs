//! One-time links: first administrator, locked-out administrator, invitation. Found by the digest
//! of their token, used once.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{LinkId, TenantId, Timestamp, UserId};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{Insert, above, at_most, is_null};
use crate::seal::{Cell, Owner};
use crate::tx::Core;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "one_time_links";

stored_enum! {
    /// What a link is for.
    LinkKind {
        /// Makes the first administrator, and its tenant.
        FirstAdministrator = "first_administrator",
        /// Makes another administrator of an existing tenant.
        Administrator = "administrator",
        /// Lets an invited person in.
        Invitation = "invitation",
        /// Sets a new password.
        PasswordReset = "password_reset",
        /// Shows that a new address is its account's.
        EmailChange = "email_change",
    }
}

/// A one-time link.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimeLink {
    /// What it is for.
    pub kind: LinkKind,
    /// The tenant it leads into; none for the first administrator.
    pub tenant: Option<TenantId>,
    /// The account it is for, or the id that the invited account will have; its key seals the
    /// payload.
    pub user: Option<UserId>,
    /// What the link's use needs (e-mail, role), as JSON.
    pub payload: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its end.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

opaque_debug!(OneTimeLink { kind, tenant, created_at, expires_at, used_at });

/// The first half of the digest: as unique as the digest, and not enough to use the link.
fn id_of(token_digest: &[u8; 32]) -> LinkId {
    let mut id = [0; 16];
    id.copy_from_slice(&token_digest[..16]);
    LinkId::from_bytes(id)
}

fn owner(user: Option<UserId>) -> Owner {
    user.map_or(Owner::Platform, Owner::Subject)
}

fn fill(core: &Core, insert: Insert, link: &OneTimeLink, token_digest: [u8; 32]) -> Result<Insert> {
    let id = id_of(&token_digest);
    let cell = Cell { table: TABLE, column: "payload", row: id.as_bytes() };
    Ok(insert
        .set("id", id)
        .set("user_id", link.user)
        .set("token_digest", token_digest)
        .set("kind", link.kind)
        .set("payload", core.vault(owner(link.user)).seal(cell, &link.payload)?)
        .set("created_at", link.created_at)
        .set("expires_at", link.expires_at)
        .set("used_at", link.used_at))
}

fn load(core: &Core, row: &Row) -> Result<OneTimeLink> {
    let id: LinkId = row.get("id")?;
    let user: Option<UserId> = row.maybe("user_id")?;
    Ok(OneTimeLink {
        kind: row.get("kind")?,
        tenant: row.maybe("tenant_id")?,
        user,
        payload: core.vault(owner(user)).open(row, "payload", id.as_bytes())?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        used_at: row.maybe("used_at")?,
    })
}

impl TenantTx {
    /// Writes a link into this tenant (whatever `link.tenant` says) under its token's digest.
    #[boxed]
    pub async fn link_create(&self, link: &OneTimeLink, token_digest: [u8; 32]) -> Result<LinkId> {
        let insert = fill(&self.core, self.insert(TABLE), link, token_digest)?;
        self.core.insert(insert).await?;
        Ok(id_of(&token_digest))
    }

    /// Links of this kind that could still be used, at most `rows`.
    #[boxed]
    pub async fn links_open(
        &self,
        kind: LinkKind,
        at: Timestamp,
        rows: u64,
    ) -> Result<Vec<(LinkId, OneTimeLink)>> {
        let select = self
            .select(TABLE)
            .eq("kind", kind)
            .filter(is_null("used_at"))
            .filter(above("expires_at", at))
            .limit(rows);
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("id")?, load(&self.core, row)?))).collect()
    }

    /// Links of this kind, used and past their end as well, behind one: a bounded number. Of one
    /// whose key is destroyed nobody reads what it holds: there is none.
    #[boxed]
    pub async fn links_written(
        &self,
        kind: LinkKind,
        after: Option<LinkId>,
        rows: u64,
    ) -> Result<Vec<(LinkId, Option<OneTimeLink>)>> {
        let select = self.select(TABLE).eq("kind", kind).ascending("id").limit(rows);
        let select = match after {
            Some(id) => select.filter(above("id", id)),
            None => select,
        };
        let rows = self.core.all(select).await?;
        let read = |row: &Row| {
            let link = match load(&self.core, row) {
                Err(Error::KeyDenied(_)) => None,
                other => Some(other?),
            };
            Ok((row.get("id")?, link))
        };
        rows.iter().map(read).collect()
    }

    /// A link of this kind that could still be used.
    #[boxed]
    pub async fn link_open(
        &self,
        kind: LinkKind,
        id: LinkId,
        at: Timestamp,
    ) -> Result<OneTimeLink> {
        let select = self
            .select(TABLE)
            .eq("id", id)
            .eq("kind", kind)
            .filter(is_null("used_at"))
            .filter(above("expires_at", at));
        load(&self.core, &self.core.one(select).await?)
    }

    /// Deletes a link: nobody uses it any more.
    #[boxed]
    pub async fn link_delete(&self, id: LinkId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// Writes a link under its token's digest.
    #[boxed]
    pub async fn link_create(&self, link: &OneTimeLink, token_digest: [u8; 32]) -> Result<LinkId> {
        let insert = self.insert(TABLE).set("tenant_id", link.tenant);
        self.core.insert(fill(&self.core, insert, link, token_digest)?).await?;
        Ok(id_of(&token_digest))
    }

    /// The link of a token, used, expired or not.
    #[boxed]
    pub async fn link_by_digest(&self, token_digest: [u8; 32]) -> Result<Option<OneTimeLink>> {
        let row = self.core.maybe(self.select(TABLE).eq("token_digest", token_digest)).await?;
        row.map(|row| load(&self.core, &row)).transpose()
    }

    /// Uses a link up: succeeds once, and only before its end.
    #[boxed]
    pub async fn link_use(&self, token_digest: [u8; 32], at: Timestamp) -> Result<OneTimeLink> {
        let update = self
            .update(TABLE)
            .set("used_at", at)
            .eq("token_digest", token_digest)
            .filter(is_null("used_at"))
            .filter(above("expires_at", at));
        if self.core.update(update).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        let row = self.core.one(self.select(TABLE).eq("token_digest", token_digest)).await?;
        load(&self.core, &row)
    }

    /// Ends what was mailed for an account and is not used yet: a new password, another address.
    #[boxed]
    pub async fn links_delete_of(&self, user: UserId) -> Result<()> {
        let delete = self.delete(TABLE).eq("user_id", user).filter(is_null("used_at"));
        self.core.delete(delete).await.map(|_| ())
    }

    /// Whether a link of this kind could still be used.
    #[boxed]
    pub async fn link_open(&self, kind: LinkKind, at: Timestamp) -> Result<bool> {
        let select = self
            .select(TABLE)
            .eq("kind", kind)
            .filter(is_null("used_at"))
            .filter(above("expires_at", at))
            .limit(1);
        Ok(self.core.maybe(select).await?.is_some())
    }

    /// The links into a tenant that could still be used, at most `rows`.
    #[boxed]
    pub async fn links_open_into(
        &self,
        tenant: TenantId,
        at: Timestamp,
        rows: u64,
    ) -> Result<Vec<OneTimeLink>> {
        let select = self
            .select(TABLE)
            .eq("tenant_id", tenant)
            .filter(is_null("used_at"))
            .filter(above("expires_at", at))
            .limit(rows);
        self.core.all(select).await?.iter().map(|row| load(&self.core, row)).collect()
    }

    /// Deletes links that ended before `before`, used or not.
    #[boxed]
    pub async fn links_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("expires_at", before))).await
    }
}

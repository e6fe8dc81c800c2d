//! API keys of programs: only the digest of the secret is kept. Who made one is known as long as
//! there are records of what it did, whether or not it was revoked.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{ApiKeyId, Role, TenantId, Timestamp, UserId};

use super::grants::Holder;
use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{above, at_most, is_set, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Error, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "api_keys";
const MAKERS: &str = "key_makers";

stored_enum! {
    /// From what kind of network a key was used: as much as is kept of an address.
    UsedFrom {
        /// The machine itself.
        Loopback = "loopback",
        /// A private network.
        Private = "private",
        /// Anywhere else.
        Public = "public",
    }
}

/// A program's key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its end, if it has one.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as far as written.
    pub last_used_at: Option<Timestamp>,
    /// From what kind of network.
    pub last_used_from: Option<UsedFrom>,
    /// The person who made it, or whose key did.
    pub maker: Option<UserId>,
    /// The key that made it.
    pub maker_key: Option<ApiKeyId>,
    /// The networks it works from, as `address/length`; empty for all.
    pub addresses: Vec<String>,
}

opaque_debug!(ApiKey { id, role, expires_at });

fn load(row: &Row, vault: &Vault<'_>) -> Result<ApiKey> {
    let id: ApiKeyId = row.get("id")?;
    let addresses = vault.maybe_open(row, "addresses", id.as_bytes())?;
    let addresses = addresses
        .map(|json| serde_json::from_slice(&json).map_err(|_| Error::Corrupt { what: TABLE }))
        .transpose()?;
    Ok(ApiKey {
        id,
        name: vault.open_text(row, "name", id.as_bytes())?,
        role: row.get("role")?,
        created_at: row.get("created_at")?,
        expires_at: row.maybe("expires_at")?,
        last_used_at: row.maybe("last_used_at")?,
        last_used_from: row.maybe("last_used_from")?,
        maker: row.maybe("maker_id")?,
        maker_key: row.maybe("maker_key_id")?,
        addresses: addresses.unwrap_or_default(),
    })
}

impl TenantTx {
    /// Writes a new key under its secret's digest.
    #[boxed]
    pub async fn api_key_create(&self, key: &ApiKey, token_digest: [u8; 32]) -> Result<()> {
        let cell = Cell { table: TABLE, column: "name", row: key.id.as_bytes() };
        let networks = Cell { column: "addresses", ..cell };
        let addresses = (!key.addresses.is_empty())
            .then(|| self.vault().seal_json(networks, &key.addresses))
            .transpose()?;
        let insert = self
            .insert(TABLE)
            .set("id", key.id)
            .set("token_digest", token_digest)
            .set("name", self.vault().seal(cell, key.name.as_bytes())?)
            .set("role", key.role)
            .set("created_at", key.created_at)
            .set("expires_at", key.expires_at)
            .set("last_used_at", key.last_used_at)
            .set("maker_id", key.maker)
            .set("maker_key_id", key.maker_key)
            .set("addresses", addresses);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The tenant's keys, oldest first.
    #[boxed]
    pub async fn api_keys(&self, page: &Page) -> Result<Listed<ApiKey>> {
        let mut select = self.select(TABLE).ascending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |key| Cursor::by_id(key.id.as_bytes())))
    }

    /// One key.
    #[boxed]
    pub async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Revokes every key of the tenant, with their grants; how many there were.
    #[boxed]
    pub async fn api_keys_revoke_all(&self) -> Result<u64> {
        let rows = self.core.all(self.select(TABLE)).await?;
        for row in &rows {
            self.grants_delete_of(Holder::ApiKey(row.get("id")?)).await?;
            self.keep_maker(row).await?;
        }
        self.core.delete(self.delete(TABLE)).await
    }

    /// Revokes a key for ever, with its grants and the keys it made.
    #[boxed]
    pub async fn api_key_delete(&self, id: ApiKeyId) -> Result<()> {
        let own = self.core.all(self.select(TABLE).eq("id", id)).await?;
        let made = self.core.all(self.select(TABLE).eq("maker_key_id", id)).await?;
        for row in own.iter().chain(&made) {
            self.grants_delete_of(Holder::ApiKey(row.get("id")?)).await?;
            self.keep_maker(row).await?;
        }
        self.core.delete(self.delete(TABLE).eq("maker_key_id", id)).await?;
        self.delete_id(TABLE, id).await
    }

    async fn keep_maker(&self, row: &Row) -> Result<()> {
        let key: ApiKeyId = row.get("id")?;
        let Some(maker) = row.maybe::<UserId>("maker_id")? else { return Ok(()) };
        let insert = self.insert(MAKERS).set("key_id", key).set("maker_id", maker);
        let insert = insert.set("created_at", self.core.at).or_ignore(&["tenant_id", "key_id"]);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Who made those of these actors that are API keys, revoked ones included.
    #[boxed]
    pub async fn key_makers(&self, actors: &[[u8; 16]]) -> Result<Vec<UserId>> {
        if actors.is_empty() {
            return Ok(Vec::new());
        }
        let among = |column| one_of(column, actors.iter().copied());
        let living = self.select(TABLE).filter(among("id")).filter(is_set("maker_id"));
        let revoked = self.select(MAKERS).filter(among("key_id"));
        let (living, revoked) = (self.core.all(living).await?, self.core.all(revoked).await?);
        living.iter().chain(&revoked).map(|row| row.get("maker_id")).collect()
    }
}

impl PlatformTx {
    /// Forgets who made the keys that were revoked up to `before`, where no record is left of what
    /// was done with them.
    #[boxed]
    pub async fn key_makers_purge(&self, before: Timestamp) -> Result<u64> {
        let is_unused = Expr::cust(
            "NOT EXISTS (SELECT 1 FROM activity WHERE activity.tenant_id = key_makers.tenant_id \
             AND activity.actor_id = key_makers.key_id)",
        );
        let delete = self.delete(MAKERS).filter(at_most("created_at", before)).filter(is_unused);
        self.core.delete(delete).await
    }

    /// The key of a presented secret with its tenant, expired or not.
    #[boxed]
    pub async fn api_key_by_digest(
        &self,
        token_digest: [u8; 32],
    ) -> Result<Option<(TenantId, ApiKey)>> {
        let row = self.core.maybe(self.select(TABLE).eq("token_digest", token_digest)).await?;
        let Some(row) = row else { return Ok(None) };
        let tenant: TenantId = row.get("tenant_id")?;
        Ok(Some((tenant, load(&row, &self.vault_of(tenant))?)))
    }

    /// A key of a tenant, if it is still there.
    #[boxed]
    pub async fn api_key_of(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
        let select = self.select(TABLE).eq("tenant_id", tenant).eq("id", id);
        let row = self.core.maybe(select).await?;
        row.map(|row| load(&row, &self.vault_of(tenant))).transpose()
    }

    /// Notes that a key was used; nothing happens if it is gone.
    #[boxed]
    pub async fn api_key_touch(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        at: Timestamp,
        from: Option<UsedFrom>,
    ) -> Result<()> {
        let from = from.map(|from| from.as_str().to_owned());
        let update = self.update(TABLE).set("last_used_at", at).set("last_used_from", from);
        self.core.update(update.eq("tenant_id", tenant).eq("id", id)).await.map(|_| ())
    }
}

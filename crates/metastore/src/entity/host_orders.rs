//! Host names whose certificates are fetched by ACME, and the accounts at the authorities. Sealed
//! under the platform's key, as the certificates are.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{Delete, below};
use crate::seal::Cell;
use crate::{PlatformTx, Result};

const TABLE: &str = "host_orders";
const ACCOUNTS: &str = "acme_accounts";

/// How it stands with the certificate of a host name.
#[derive(Clone, PartialEq, Eq)]
pub struct HostOrder {
    /// Whose host name it is.
    pub tenant: TenantId,
    /// The host name, in its one form.
    pub host: String,
    /// Whether its certificate is to be fetched; otherwise the row only counts.
    pub is_automatic: bool,
    /// Refusals in a row.
    pub refusals: u64,
    /// The last refusal, as JSON.
    pub refusal: Option<Vec<u8>>,
    /// When the day began in which tries are counted.
    pub day_at: Timestamp,
    /// Tries of that day.
    pub day_tries: u64,
    /// No try before this time.
    pub next_at: Timestamp,
}

opaque_debug!(HostOrder { tenant, is_automatic, refusals, day_at, day_tries, next_at });

impl PlatformTx {
    fn index_key(&self, purpose: &str, value: &str) -> ([u8; 16], [u8; 32]) {
        let index = self.core.sealer.blind_index(purpose, &[0; 16], value);
        let mut id = [0; 16];
        id.copy_from_slice(&index[..16]);
        (id, index)
    }

    /// Writes how it stands with a host name.
    #[boxed]
    pub async fn host_order_put(&self, order: &HostOrder) -> Result<()> {
        let (id, index) = self.index_key("host order", &order.host);
        let vault = self.vault();
        let sealed = |column: &'static str, plain: &[u8]| {
            vault.seal(Cell { table: TABLE, column, row: &id }, plain)
        };
        let refusal = order.refusal.as_ref().map(|text| sealed("refusal", text)).transpose()?;
        let insert = self
            .insert(TABLE)
            .set("id", id)
            .set("tenant_id", order.tenant)
            .set("host_index", index)
            .set("host", sealed("host", order.host.as_bytes())?)
            .set("automatic", order.is_automatic)
            .set("refusals", order.refusals)
            .set("refusal", refusal)
            .set("day_at", order.day_at)
            .set("day_tries", order.day_tries)
            .set("next_at", order.next_at);
        self.core.delete(self.delete(TABLE).eq("host_index", index)).await?;
        self.core.insert(insert).await.map(|_| ())
    }

    /// How it stands with a host name, whosesoever it was.
    #[boxed]
    pub async fn host_order(&self, host: &str) -> Result<Option<HostOrder>> {
        let (_, index) = self.index_key("host order", host);
        let row = self.core.maybe(self.select(TABLE).eq("host_index", index)).await?;
        row.map(|row| self.load_order(&row)).transpose()
    }

    /// How it stands with every host name, at most `limit`, the longest due first.
    #[boxed]
    pub async fn host_orders(&self, limit: u64) -> Result<Vec<HostOrder>> {
        let select = self.select(TABLE).eq("automatic", true).ascending("next_at").limit(limit);
        self.core.all(select).await?.iter().map(|row| self.load_order(row)).collect()
    }

    /// Forgets what was counted of host names that nobody wants fetched, in days that began
    /// before.
    #[boxed]
    pub async fn host_orders_forget(&self, before: Timestamp) -> Result<()> {
        let delete: Delete = self.delete(TABLE).eq("automatic", false);
        self.core.delete(delete.filter(below("day_at", before))).await.map(|_| ())
    }

    fn load_order(&self, row: &Row) -> Result<HostOrder> {
        let vault = self.vault();
        let id: [u8; 16] = row.get("id")?;
        Ok(HostOrder {
            tenant: row.get("tenant_id")?,
            host: vault.open_text(row, "host", &id)?,
            is_automatic: row.get("automatic")?,
            refusals: row.get("refusals")?,
            refusal: vault.maybe_open(row, "refusal", &id)?,
            day_at: row.get("day_at")?,
            day_tries: row.get("day_tries")?,
            next_at: row.get("next_at")?,
        })
    }

    /// Keeps the account of a directory, with its private key.
    #[boxed]
    pub async fn acme_account_put(
        &self,
        directory: &str,
        credentials: &[u8],
        at: Timestamp,
    ) -> Result<()> {
        let (id, index) = self.index_key("acme directory", directory);
        let cell = Cell { table: ACCOUNTS, column: "credentials", row: &id };
        let insert = self
            .insert(ACCOUNTS)
            .set("id", id)
            .set("directory_index", index)
            .set("credentials", self.vault().seal(cell, credentials)?)
            .set("created_at", at);
        self.core.delete(self.delete(ACCOUNTS).eq("directory_index", index)).await?;
        self.core.insert(insert).await.map(|_| ())
    }

    /// The account of a directory.
    #[boxed]
    pub async fn acme_account(&self, directory: &str) -> Result<Option<Vec<u8>>> {
        let (id, index) = self.index_key("acme directory", directory);
        let row = self.core.maybe(self.select(ACCOUNTS).eq("directory_index", index)).await?;
        row.map(|row| self.vault().open(&row, "credentials", &id)).transpose()
    }
}

//! What is not done any more with somebody's data: restrictions and objections, each under the id
//! of the case that made it.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{CaseId, Timestamp, UserId};

use crate::bind::{Row, code, opaque_debug};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Result, TenantTx};

const TABLE: &str = "rights_limits";

/// A restriction, or an objection to a purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredLimit {
    /// That of the case that made it.
    pub id: CaseId,
    /// The account it is about.
    pub user: Option<UserId>,
    /// The keyed index of the person's address.
    pub address: Option<[u8; 32]>,
    /// The purpose that stops; none: everything but keeping the data.
    pub purpose: Option<String>,
    /// Which streams, in a form of the caller's.
    pub body: Vec<u8>,
    /// Since when.
    pub since: Timestamp,
}

opaque_debug!(StoredLimit { id, since });

fn load(row: &Row, vault: &Vault<'_>) -> Result<StoredLimit> {
    let id: CaseId = row.get("id")?;
    Ok(StoredLimit {
        id,
        user: row.maybe("user_id")?,
        address: row.maybe("address_index")?,
        purpose: row.maybe("purpose")?,
        body: vault.open(row, "body", id.as_bytes())?,
        since: row.get("since")?,
    })
}

impl TenantTx {
    /// Writes a limit; one that the case made before covers what this one does then.
    #[boxed]
    pub async fn limit_add(&self, limit: &StoredLimit) -> Result<()> {
        self.limit_delete(limit.id).await?;
        let cell = Cell { table: TABLE, column: "body", row: limit.id.as_bytes() };
        let purpose = limit.purpose.as_deref().map(|name| code("purpose", name)).transpose()?;
        let insert = self
            .insert(TABLE)
            .set("id", limit.id)
            .set("user_id", limit.user)
            .set("address_index", limit.address)
            .set("purpose", purpose)
            .set("body", self.vault().seal(cell, &limit.body)?)
            .set("since", limit.since)
            .or_ignore(&["tenant_id", "id"]);
        self.core.insert(insert).await.map(drop)
    }

    /// The tenant's limits, oldest first.
    #[boxed]
    pub async fn limits(&self) -> Result<Vec<StoredLimit>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("since").ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// Ends a limit, if there is one.
    #[boxed]
    pub async fn limit_delete(&self, id: CaseId) -> Result<()> {
        self.core.delete(self.delete(TABLE).eq("id", id)).await.map(drop)
    }
}

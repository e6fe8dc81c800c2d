//! Destructions of readings that somebody asked for: how far each is, and its certificate. What a
//! row says is the caller's to write; it is sealed under the platform's key, since it outlives the
//! keys that were destroyed.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DestructionId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{above, below, one_of};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "destructions";
/// Most destructions of a tenant that are listed, newest first.
const DESTRUCTIONS_LISTED_MAX: u64 = 500;
/// Destructions that are not over, of all tenants, in one answer.
const OPEN_AT_ONCE: u64 = 64;

stored_enum! {
    /// How far a destruction is.
    DestructionState {
        /// Somebody confirmed it; nothing is done yet.
        Asked = "asked",
        /// Its keys are out of use; it waits for what still reads the log.
        Waiting = "waiting",
        /// Everything is taken out; the keys are destroyed next, and nothing stops that.
        Destroying = "destroying",
        /// The keys are destroyed; the certificate waits for its leaf.
        Certifying = "certifying",
        /// It is over.
        Done = "done",
    }
}

impl DestructionState {
    const OPEN: [Self; 4] = [Self::Asked, Self::Waiting, Self::Destroying, Self::Certifying];
}

/// A destruction.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredDestruction {
    /// Its id.
    pub id: DestructionId,
    /// How far it is.
    pub state: DestructionState,
    /// Everything else, in a form of the caller's.
    pub body: Vec<u8>,
    /// Counts changes.
    pub version: u64,
    /// When it was asked for.
    pub requested_at: Timestamp,
}

opaque_debug!(StoredDestruction { id, state, version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<StoredDestruction> {
    let id: DestructionId = row.get("id")?;
    Ok(StoredDestruction {
        id,
        state: row.get("state")?,
        body: vault.open(row, "body", id.as_bytes())?,
        version: row.get("version")?,
        requested_at: row.get("requested_at")?,
    })
}

impl TenantTx {
    /// Writes a new destruction.
    #[boxed]
    pub async fn destruction_create(&self, one: &StoredDestruction) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", one.id)
            .set("state", one.state)
            .set("body", self.core.vault(Owner::Platform).seal(cell, &one.body)?)
            .set("version", 1u64)
            .set("requested_at", one.requested_at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes how far a destruction is, if its version is still the one that was read.
    #[boxed]
    pub async fn destruction_update(&self, one: &StoredDestruction) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        let update = self
            .update(TABLE)
            .set("state", one.state)
            .set("body", self.core.vault(Owner::Platform).seal(cell, &one.body)?)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("id", one.id)
            .eq("version", one.version);
        if self.core.update(update).await? == 0 {
            self.destruction(one.id).await?;
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        Ok(())
    }

    /// One destruction.
    #[boxed]
    pub async fn destruction(&self, id: DestructionId) -> Result<StoredDestruction> {
        let row = self.core.one(self.select(TABLE).eq("id", id)).await?;
        load(&row, &self.core.vault(Owner::Platform))
    }

    /// The tenant's destructions, newest first.
    #[boxed]
    pub async fn destructions(&self) -> Result<Vec<StoredDestruction>> {
        let select = self.select(TABLE).descending("requested_at").limit(DESTRUCTIONS_LISTED_MAX);
        let vault = self.core.vault(Owner::Platform);
        self.core.all(select).await?.iter().map(|row| load(row, &vault)).collect()
    }

    /// Removes a destruction with its certificate; for checks in a tenant of nobody.
    #[boxed]
    pub async fn destruction_delete(&self, id: DestructionId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// Destructions that are not over, of all tenants, oldest first: those behind the one that was
    /// asked for at a moment, a bounded number; none is left to answer when there are none.
    #[boxed]
    pub async fn destructions_open(
        &self,
        after: Option<(Timestamp, DestructionId)>,
    ) -> Result<Vec<(TenantId, StoredDestruction)>> {
        let is_open = one_of("state", DestructionState::OPEN);
        let select = self.select(TABLE).filter(is_open);
        let select = match after {
            Some((at, id)) => select.after("requested_at", at, *id.as_bytes()),
            None => select,
        };
        let select = select.ascending("requested_at").ascending("id").limit(OPEN_AT_ONCE);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, load(row, &vault)?))).collect()
    }

    /// Destructions that are over and were asked for between two moments, of all tenants, oldest
    /// first: those behind one, a bounded number.
    #[boxed]
    pub async fn destructions_over(
        &self,
        (from, to): (Timestamp, Timestamp),
        after: Option<(Timestamp, DestructionId)>,
    ) -> Result<Vec<(TenantId, StoredDestruction)>> {
        let select = self
            .select(TABLE)
            .filter(one_of("state", [DestructionState::Done]))
            .filter(above("requested_at", from))
            .filter(below("requested_at", to));
        let select = match after {
            Some((at, id)) => select.after("requested_at", at, *id.as_bytes()),
            None => select,
        };
        let select = select.ascending("requested_at").ascending("id").limit(OPEN_AT_ONCE);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, load(row, &vault)?))).collect()
    }

    /// Forgets a destruction of a tenant, with its certificate: of a period that ended long ago.
    #[boxed]
    pub async fn destruction_forget(&self, tenant: TenantId, id: DestructionId) -> Result<()> {
        let delete = self.delete(TABLE).eq("tenant_id", tenant).eq("id", id);
        self.core.delete(delete).await.map(drop)
    }
}

//! Organisations that end, or have: who asked, who agreed, and when what is theirs goes. One row
//! each, under the platform's key, since it outlives the tenant's.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{at_most, one_of};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "tenant_ends";
/// Ends that are looked at in one go.
const DUE_AT_ONCE: u64 = 64;

stored_enum! {
    /// How far the end of an organisation is.
    TenantEndState {
        /// One administrator asked for it.
        Asked = "asked",
        /// It is decided; until its time everything can be taken away.
        Decided = "decided",
        /// What is theirs is being destroyed, and nothing stops that.
        Destroying = "destroying",
        /// Nothing of it is left but the certificate.
        Done = "done",
    }
}

/// The end of an organisation.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredTenantEnd {
    /// How far it is.
    pub state: TenantEndState,
    /// Everything else, in a form of the caller's.
    pub body: Vec<u8>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When the next thing happens by itself.
    pub due_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
}

opaque_debug!(StoredTenantEnd { state, version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<StoredTenantEnd> {
    let tenant: TenantId = row.get("tenant_id")?;
    Ok(StoredTenantEnd {
        state: row.get("state")?,
        body: vault.open(row, "body", tenant.as_bytes())?,
        asked_at: row.get("asked_at")?,
        due_at: row.maybe("due_at")?,
        version: row.get("version")?,
    })
}

impl TenantTx {
    /// The end of this tenant, if somebody asked for it.
    #[boxed]
    pub async fn tenant_end(&self) -> Result<Option<StoredTenantEnd>> {
        let row = self.core.maybe(self.select(TABLE)).await?;
        row.map(|row| load(&row, &self.core.vault(Owner::Platform))).transpose()
    }

    /// Writes that somebody asked for the end of this tenant.
    #[boxed]
    pub async fn tenant_end_create(&self, end: &StoredTenantEnd) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: self.tenant.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("state", end.state)
            .set("body", self.core.vault(Owner::Platform).seal(cell, &end.body)?)
            .set("asked_at", end.asked_at)
            .set("due_at", end.due_at)
            .set("version", 1u64)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes how far it is, if its version is still the one that was read.
    #[boxed]
    pub async fn tenant_end_update(&self, end: &StoredTenantEnd) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: self.tenant.as_bytes() };
        let update = self
            .update(TABLE)
            .set("state", end.state)
            .set("body", self.core.vault(Owner::Platform).seal(cell, &end.body)?)
            .set("due_at", end.due_at)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("version", end.version);
        if self.core.update(update).await? == 0 {
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        Ok(())
    }

    /// Takes the end of this tenant back.
    #[boxed]
    pub async fn tenant_end_delete(&self) -> Result<()> {
        if self.core.delete(self.delete(TABLE)).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }
}

impl PlatformTx {
    /// Tenants of which something is due by itself.
    #[boxed]
    pub async fn tenant_ends_due(&self, now: Timestamp) -> Result<Vec<TenantId>> {
        let waiting = [TenantEndState::Asked, TenantEndState::Decided, TenantEndState::Destroying];
        let select = self.select(TABLE).filter(one_of("state", waiting));
        let select = select.filter(at_most("due_at", now)).ascending("due_at");
        let rows = self.core.all(select.limit(DUE_AT_ONCE)).await?;
        rows.iter().map(|row| row.get("tenant_id")).collect()
    }
}

//! Organisations that end, or have: who asked, who agreed, and when what is theirs goes. One row
//! each, under the platform's key, since it outlives the tenant's.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{TenantId, Timestamp};

use super::outbox::OutboxId;
use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{at_most, is_null, is_set};
use crate::schema::{self, Category, Rows};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "tenant_ends";
const OUTBOX: &str = "outbox";
/// Ends that are looked at in one go.
const DUE_AT_ONCE: u64 = 64;
/// Most ends that are listed.
const LISTED_MAX: u64 = 1000;
/// What outlives everything else of a tenant: its end, and where jobs are in the log, behind which
/// the log is cut.
const STAYING: [&str; 3] = ["consumer_offsets", "destructions", TABLE];

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
    /// Tenants of which something is due by itself, a bounded number, longest due first.
    #[boxed]
    pub async fn tenant_ends_due(&self, now: Timestamp) -> Result<Vec<TenantId>> {
        let select = self.select(TABLE).filter(is_set("due_at")).filter(at_most("due_at", now));
        let rows = self.core.all(select.ascending("due_at").limit(DUE_AT_ONCE)).await?;
        rows.iter().map(|row| row.get("tenant_id")).collect()
    }

    /// Looks at an end again at a later time, whatever else is known of it.
    #[boxed]
    pub async fn tenant_end_postpone(&self, tenant: TenantId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("due_at", at).eq("tenant_id", tenant);
        self.core.update(update.filter(is_set("due_at"))).await.map(drop)
    }

    /// Ends that were asked for, newest first, a bounded number.
    #[boxed]
    pub async fn tenant_ends(&self) -> Result<Vec<(TenantId, StoredTenantEnd)>> {
        let select = self.select(TABLE).descending("asked_at").limit(LISTED_MAX);
        let vault = self.core.vault(Owner::Platform);
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, load(row, &vault)?))).collect()
    }

    /// Whether a mail that the platform writes in a tenant's name waits to leave.
    #[boxed]
    pub async fn outbox_waits_for(&self, tenant: TenantId) -> Result<bool> {
        let select = self.select(OUTBOX).eq("turn_id", tenant).filter(is_null("tenant_id"));
        let waits = select.filter(is_null("done_at")).limit(1);
        Ok(self.core.maybe(waits).await?.is_some())
    }

    /// The mails that the platform has written in a tenant's name.
    #[boxed]
    pub async fn outbox_written_for(&self, tenant: TenantId) -> Result<Vec<OutboxId>> {
        let select = self.select(OUTBOX).eq("turn_id", tenant).filter(is_null("tenant_id"));
        let rows = self.core.all(select.only(Expr::col("id"), "id")).await?;
        rows.iter().map(|row| Ok(OutboxId(row.get("id")?))).collect()
    }

    /// Deletes the mails that the platform has written in a tenant's name.
    #[boxed]
    pub async fn outbox_forget(&self, tenant: TenantId) -> Result<u64> {
        let delete = self.delete(OUTBOX).eq("turn_id", tenant).filter(is_null("tenant_id"));
        self.core.delete(delete).await
    }

    /// Deletes what a tenant has in one of [`tenant_tables`].
    #[boxed]
    pub async fn tenant_empty(&self, tenant: TenantId, table: &'static str) -> Result<u64> {
        self.core.delete(self.delete(table).eq("tenant_id", tenant)).await
    }

    /// Whether a tenant has anything in one of [`tenant_tables`].
    #[boxed]
    pub async fn tenant_has_any(&self, tenant: TenantId, table: &'static str) -> Result<bool> {
        let select = self.select(table).eq("tenant_id", tenant).limit(1);
        Ok(self.core.maybe(select).await?.is_some())
    }
}

/// The tables with rows of tenants that go with a tenant, those that refer to others first. What
/// tells of the end itself stays: its state and the certificate, and where jobs are in the log.
pub fn tenant_tables() -> Vec<&'static str> {
    let of_tenants = schema::tables().filter(|table| table.rows == Rows::Tenant);
    let mut names: Vec<&'static str> = of_tenants.map(|table| table.name).collect();
    names.retain(|name| !STAYING.contains(name));
    names.reverse();
    names
}

/// Those of them that hold something about people: accounts, sign-ins, what they did and wrote.
/// What is left out counts and measures, and may be written once more by what runs beside.
pub fn tenant_tables_of_people() -> Vec<&'static str> {
    let about =
        [Category::Account, Category::Authentication, Category::Activity, Category::Correspondence];
    let columns = schema::columns();
    let is_about = |name: &&'static str| {
        columns.iter().any(|column| column.table == *name && about.contains(&column.category))
    };
    tenant_tables().into_iter().filter(is_about).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_people_are_told_from_counts() {
        let names = tenant_tables_of_people();
        for about in ["memberships", "sessions", "activity", "outbox", "rights_cases"] {
            assert!(names.contains(&about), "{about}");
        }
        for counts in ["usage_days", "device_groups"] {
            assert!(!names.contains(&counts), "{counts}");
        }
    }

    #[test]
    fn everything_of_a_tenant_goes_but_what_tells_of_its_end() {
        let names = tenant_tables();
        for gone in ["memberships", "sessions", "activity", "outbox", "devices", "rights_cases"] {
            assert!(names.contains(&gone), "{gone}");
        }
        for stays in ["tenants", "users", "consumer_offsets", "destructions", TABLE] {
            assert!(!names.contains(&stays), "{stays}");
        }
        let place = |name: &str| names.iter().position(|one| *one == name);
        assert!(place("governance_changes") < place("governance_items"));
    }
}

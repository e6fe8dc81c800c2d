//! Tenants. The name is account data, sealed under the platform's key: it stays readable to the
//! platform when the tenant's own key is revoked.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{LogId, PlanId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::above;
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{Cursor, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "tenants";

stored_enum! {
    /// What a tenant is in the tree.
    TenantKind {
        /// Uses the platform.
        Customer = "customer",
        /// Answers for tenants below it.
        Partner = "partner",
    }
}

stored_enum! {
    /// Whether a tenant is served.
    TenantState {
        /// It is.
        Active = "active",
        /// It is not, until it is resumed.
        Suspended = "suspended",
        /// It is not, and its deletion was asked for.
        DeletionRequested = "deletion_requested",
    }
}

/// Where a tenant stands in the tree. The parent is set when it is made and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantPlace {
    /// Customer or partner.
    pub kind: TenantKind,
    /// The partner above; none: the platform itself.
    pub parent: Option<TenantId>,
    /// Its limits; none: no limits but the platform's own.
    pub plan: Option<PlanId>,
    /// Whether it is served.
    pub state: TenantState,
    /// What is kept although its plan would end it already.
    pub waits: Waits,
}

/// What of a tenant is kept although its plan would end it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// Readings.
    pub readings: Option<RetentionWait>,
    /// The ledger's payloads.
    pub ledger: Option<RetentionWait>,
}

/// Something is kept as before until a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionWait {
    /// The moment.
    pub until: Timestamp,
    /// For so many days; none: all.
    pub days: Option<u64>,
}

impl Default for TenantPlace {
    fn default() -> Self {
        Self {
            kind: TenantKind::Customer,
            parent: None,
            plan: None,
            state: TenantState::Active,
            waits: Waits::default(),
        }
    }
}

/// A customer or a partner.
#[derive(Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// The organisation's name.
    pub name: String,
    /// The id its ledger log is served under.
    pub log_id: LogId,
    /// Whether it subscribed to the ledger archive.
    pub archive_subscribed: bool,
    /// Whether its data is simulated.
    pub simulated: bool,
    /// Where it stands in the tree.
    pub place: TenantPlace,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(Tenant { id, version });

fn name_cell(id: &TenantId) -> Cell<'_> {
    Cell { table: TABLE, column: "name", row: id.as_bytes() }
}

fn wait(row: &Row, until: &str, days: &str) -> Result<Option<RetentionWait>> {
    let Some(until) = row.maybe(until)? else { return Ok(None) };
    Ok(Some(RetentionWait { until, days: row.maybe(days)? }))
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<Tenant> {
    let id: TenantId = row.get("id")?;
    Ok(Tenant {
        id,
        name: vault.open_text(row, "name", id.as_bytes())?,
        log_id: row.get("log_id")?,
        archive_subscribed: row.get("archive_subscribed")?,
        simulated: row.get("simulated")?,
        place: TenantPlace {
            kind: row.maybe("kind")?.unwrap_or(TenantKind::Customer),
            parent: row.maybe("parent_id")?,
            plan: row.maybe("plan_id")?,
            state: row.maybe("state")?.unwrap_or(TenantState::Active),
            waits: Waits {
                readings: wait(row, "retention_wait_until", "retention_wait_days")?,
                ledger: wait(row, "audit_wait_until", "audit_wait_days")?,
            },
        },
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    /// The tenant of this transaction.
    #[boxed]
    pub async fn tenant(&self) -> Result<Tenant> {
        load(&self.core.one(self.select(TABLE)).await?, &self.core.vault(Owner::Platform))
    }

    /// Changes name and archive subscription, if the version is still `expected`.
    #[boxed]
    pub async fn tenant_update(&self, tenant: &Tenant, expected: Option<u64>) -> Result<()> {
        let vault = self.core.vault(Owner::Platform);
        let name = vault.seal(name_cell(&self.tenant), tenant.name.as_bytes())?;
        let update = self
            .update(TABLE)
            .set("name", name)
            .set("archive_subscribed", tenant.archive_subscribed);
        self.update_version(update, *self.tenant.as_bytes(), expected).await
    }
}

impl PlatformTx {
    /// Makes a tenant. Its keys come first (`KeyService::create_tenant`).
    #[boxed]
    pub async fn tenant_create(&self, tenant: &Tenant) -> Result<()> {
        let name = self.vault().seal(name_cell(&tenant.id), tenant.name.as_bytes())?;
        let insert = self
            .insert(TABLE)
            .set("id", tenant.id)
            .set("name", name)
            .set("log_id", tenant.log_id)
            .set("archive_subscribed", tenant.archive_subscribed)
            .set("simulated", tenant.simulated)
            .set("kind", tenant.place.kind)
            .set("parent_id", tenant.place.parent)
            .set("plan_id", tenant.place.plan)
            .set("state", tenant.place.state)
            .set("version", 1u64)
            .set("created_at", tenant.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Changes name, plan and state of a tenant, if its version is still `expected`. Kind and
    /// parent stay as they were made.
    #[boxed]
    pub async fn tenant_change(&self, tenant: &Tenant, expected: Option<u64>) -> Result<()> {
        let name = self.vault().seal(name_cell(&tenant.id), tenant.name.as_bytes())?;
        let update = self
            .update(TABLE)
            .set("name", name)
            .set("plan_id", tenant.place.plan)
            .set("state", tenant.place.state);
        self.update_version(update, *tenant.id.as_bytes(), expected).await
    }

    /// Sets until when what of a tenant is kept as before.
    #[boxed]
    pub async fn tenant_waits(&self, id: TenantId, waits: Waits) -> Result<()> {
        let Waits { readings, ledger } = waits;
        let update = self
            .update(TABLE)
            .set("retention_wait_until", readings.map(|wait| wait.until))
            .set("retention_wait_days", readings.and_then(|wait| wait.days))
            .set("audit_wait_until", ledger.map(|wait| wait.until))
            .set("audit_wait_days", ledger.and_then(|wait| wait.days))
            .eq("id", id);
        self.core.update(update).await.map(|_| ())
    }

    /// One tenant.
    #[boxed]
    pub async fn tenant(&self, id: TenantId) -> Result<Tenant> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// The tenant whose ledger log is served under this id.
    #[boxed]
    pub async fn tenant_of_log(&self, log: LogId) -> Result<TenantId> {
        self.core.one(self.select(TABLE).eq("log_id", log)).await?.get("id")
    }

    /// Tenants, oldest first.
    #[boxed]
    pub async fn tenants(&self, page: &Page) -> Result<Listed<Tenant>> {
        let mut select = self.select(TABLE).ascending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |tenant| Cursor::by_id(tenant.id.as_bytes())))
    }

    /// Deletes a tenant and, with it, every row it owns. Accounts stay; see
    /// [`PlatformTx::user_delete`].
    #[boxed]
    pub async fn tenant_delete(&self, id: TenantId) -> Result<()> {
        for table in ["activity", "outbox", "ledger_items"] {
            self.core.delete(self.delete(table).eq("tenant_id", id)).await?;
        }
        if self.core.delete(self.delete(TABLE).eq("id", id)).await? == 0 {
            return Err(crate::Error::NotFound { what: TABLE });
        }
        Ok(())
    }
}

//! Activity records: who did what, when, with which outcome. The envelope is sealed under the
//! platform's key, so that it stays readable to who answers for security; the details, which may
//! hold customer content, under the tenant's.

use veritwin_domain::{ActivityId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{Insert, Select, at_most, is_null};
use crate::seal::{Cell, Owner};
use crate::tx::Core;
use crate::{Cursor, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "activity";

/// One activity record.
#[derive(Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its id.
    pub id: ActivityId,
    /// When it happened.
    pub at: Timestamp,
    /// Actor, action, resource, outcome, request: as JSON.
    pub envelope: Vec<u8>,
    /// What changed, as JSON; only inside a tenant.
    pub details: Option<Vec<u8>>,
}

opaque_debug!(Activity { id, at });

fn key(id: ActivityId, tenant: Option<TenantId>) -> Vec<u8> {
    let tenant = tenant.map_or([0; 16], |tenant| *tenant.as_bytes());
    [*id.as_bytes(), tenant].concat()
}

fn fill(
    core: &Core,
    insert: Insert,
    record: &Activity,
    tenant: Option<TenantId>,
) -> Result<Insert> {
    let row = key(record.id, tenant);
    let cell = |column| Cell { table: TABLE, column, row: &row };
    let details = match (tenant, &record.details) {
        (Some(tenant), Some(details)) => {
            Some(core.vault(Owner::Tenant(tenant)).seal(cell("details"), details)?)
        }
        _ => None,
    };
    Ok(insert
        .set("id", record.id)
        .set("at", record.at)
        .set("envelope", core.vault(Owner::Platform).seal(cell("envelope"), &record.envelope)?)
        .set("details", details))
}

fn load(core: &Core, row: &Row) -> Result<Activity> {
    let id: ActivityId = row.get("id")?;
    let tenant: Option<TenantId> = row.maybe("tenant_id")?;
    let key = key(id, tenant);
    let details = match tenant {
        Some(tenant) => core.vault(Owner::Tenant(tenant)).maybe_open(row, "details", &key)?,
        None => None,
    };
    let envelope = core.vault(Owner::Platform).open(row, "envelope", &key)?;
    Ok(Activity { id, at: row.get("at")?, envelope, details })
}

async fn list(core: &Core, mut select: Select, page: &Page) -> Result<Listed<Activity>> {
    if let Some(cursor) = &page.after {
        let (at, id) = cursor.time()?;
        select = select.before("at", at, id);
    }
    let select = select.descending("at").descending("id").limit(page.rows() + 1);
    let rows = core.all(select).await?;
    let items = rows.iter().map(|row| load(core, row)).collect::<Result<Vec<_>>>()?;
    Ok(Listed::cut(items, page, |record| Cursor::by_time(record.at, record.id.as_bytes())))
}

impl TenantTx {
    /// Writes a record of this tenant.
    pub async fn activity_add(&self, record: &Activity) -> Result<()> {
        let insert = fill(&self.core, self.insert(TABLE), record, Some(self.tenant))?;
        self.core.insert(insert).await.map(|_| ())
    }

    /// The tenant's records, newest first.
    pub async fn activity(&self, page: &Page) -> Result<Listed<Activity>> {
        list(&self.core, self.select(TABLE), page).await
    }
}

impl PlatformTx {
    /// Writes a record, of a tenant or of the platform itself (then without details).
    pub async fn activity_add(&self, record: &Activity, tenant: Option<TenantId>) -> Result<()> {
        let insert = self.insert(TABLE).set("tenant_id", tenant);
        self.core.insert(fill(&self.core, insert, record, tenant)?).await.map(|_| ())
    }

    /// The platform's own records, newest first.
    pub async fn activity(&self, page: &Page) -> Result<Listed<Activity>> {
        list(&self.core, self.select(TABLE).filter(is_null("tenant_id")), page).await
    }

    /// Deletes records up to `before`.
    pub async fn activity_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("at", before))).await
    }
}

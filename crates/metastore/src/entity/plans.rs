//! Plans: named limits, above all tenants. What a plan says is the `app` crate's.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{PlanId, Timestamp};

use crate::bind::opaque_debug;
use crate::seal::Cell;
use crate::{Error, PlatformTx, Result};

const TABLE: &str = "plans";

/// A plan.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Name and limits, as JSON.
    pub body: Vec<u8>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(Plan { id, version });

fn cell(id: &PlanId) -> Cell<'_> {
    Cell { table: TABLE, column: "body", row: id.as_bytes() }
}

impl PlatformTx {
    /// Writes a new plan.
    #[boxed]
    pub async fn plan_create(&self, plan: &Plan) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", plan.id)
            .set("body", self.vault().seal(cell(&plan.id), &plan.body)?)
            .set("version", 1u64)
            .set("created_at", plan.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Writes a changed plan, if its version is still `expected`.
    #[boxed]
    pub async fn plan_update(&self, plan: &Plan, expected: Option<u64>) -> Result<()> {
        let body = self.vault().seal(cell(&plan.id), &plan.body)?;
        let update = self.update(TABLE).set("body", body);
        self.update_version(update, *plan.id.as_bytes(), expected).await
    }

    /// Deletes a plan; refuses one that tenants have.
    #[boxed]
    pub async fn plan_delete(&self, id: PlanId) -> Result<()> {
        let used = self.core.maybe(self.select("tenants").eq("plan_id", id).limit(1)).await?;
        if used.is_some() {
            return Err(Error::Conflict { what: TABLE, reason: "tenants still have this plan" });
        }
        if self.core.delete(self.delete(TABLE).eq("id", id)).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Every plan, oldest first, at most `limit`.
    #[boxed]
    pub async fn plans(&self, limit: u64) -> Result<Vec<Plan>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id").limit(limit)).await?;
        rows.iter()
            .map(|row| {
                let id: PlanId = row.get("id")?;
                Ok(Plan {
                    id,
                    body: vault.open(row, "body", id.as_bytes())?,
                    version: row.get("version")?,
                    created_at: row.get("created_at")?,
                })
            })
            .collect()
    }
}

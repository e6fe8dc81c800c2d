//! Evidence of promise checks: state, moment, a sealed summary and, once it is there, its place
//! in the platform's ledger.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{EvidenceId, Timestamp};

use crate::bind::{Row, code, opaque_debug, stored_enum};
use crate::query::{Select, at_most, is_null};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Error, Listed, Page, PlatformTx, Result};

const TABLE: &str = "promise_evidence";
/// Most results that one leaf holds.
const LEAF_ROWS_MAX: u64 = 4096;

stored_enum! {
    /// What a check found.
    EvidenceState {
        /// The promise holds.
        Proven = "proven",
        /// It does not.
        Failing = "failing",
        /// It was not checked lately.
        Stale = "stale",
        /// Nothing shows it yet.
        NotEvidenced = "not_evidenced",
        /// It does not apply here.
        NotApplicable = "not_applicable",
    }
}

/// The result of one check.
#[derive(Clone, PartialEq, Eq)]
pub struct PromiseEvidence {
    /// Its id.
    pub id: EvidenceId,
    /// The promise, such as `P22`.
    pub promise: String,
    /// What the check found.
    pub state: EvidenceState,
    /// When.
    pub at: Timestamp,
    /// How it was found, as JSON.
    pub summary: Vec<u8>,
    /// Its leaf in the platform's ledger.
    pub ledger_index: Option<u64>,
}

opaque_debug!(PromiseEvidence { id, promise, state, at });

fn load(row: &Row, vault: &Vault<'_>) -> Result<PromiseEvidence> {
    let id: EvidenceId = row.get("id")?;
    Ok(PromiseEvidence {
        id,
        promise: row.get("promise")?,
        state: row.get("state")?,
        at: row.get("at")?,
        summary: vault.open(row, "summary", id.as_bytes())?,
        ledger_index: row.maybe("ledger_index")?,
    })
}

impl PlatformTx {
    /// Writes the result of a check.
    #[boxed]
    pub async fn evidence_add(&self, evidence: &PromiseEvidence) -> Result<()> {
        let cell = Cell { table: TABLE, column: "summary", row: evidence.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", evidence.id)
            .set("promise", code("promise", &evidence.promise)?)
            .set("state", evidence.state)
            .set("at", evidence.at)
            .set("summary", self.vault().seal(cell, &evidence.summary)?)
            .set("ledger_index", evidence.ledger_index);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Notes where in the platform's ledger a result stands.
    #[boxed]
    pub async fn evidence_ledgered(&self, id: EvidenceId, ledger_index: u64) -> Result<()> {
        let update = self.update(TABLE).set("ledger_index", ledger_index).eq("id", id);
        if self.core.update(update).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// The newest result of a promise.
    #[boxed]
    pub async fn evidence_latest(&self, promise: &str) -> Result<Option<PromiseEvidence>> {
        let select = self
            .select(TABLE)
            .eq("promise", promise.to_owned())
            .descending("at")
            .descending("id")
            .limit(1);
        self.core.maybe(select).await?.map(|row| load(&row, &self.vault())).transpose()
    }

    /// A promise's results, newest first.
    #[boxed]
    pub async fn evidence(&self, promise: &str, page: &Page) -> Result<Listed<PromiseEvidence>> {
        let mut select = self.select(TABLE).eq("promise", promise.to_owned());
        if let Some(cursor) = &page.after {
            let (at, id) = cursor.time()?;
            select = select.before("at", at, id);
        }
        let select = select.descending("at").descending("id").limit(page.rows() + 1);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |found| Cursor::by_time(found.at, found.id.as_bytes())))
    }

    /// Results that no leaf is noted of, oldest first.
    #[boxed]
    pub async fn evidence_unsealed(&self, rows_max: u64) -> Result<Vec<PromiseEvidence>> {
        let select = self.select(TABLE).filter(is_null("ledger_index"));
        self.evidence_rows(select.ascending("at").ascending("id").limit(rows_max)).await
    }

    /// Results whose digests one leaf holds, in the order of their ids.
    #[boxed]
    pub async fn evidence_of_leaf(&self, ledger_index: u64) -> Result<Vec<PromiseEvidence>> {
        let select = self.select(TABLE).eq("ledger_index", ledger_index).ascending("id");
        self.evidence_rows(select.limit(LEAF_ROWS_MAX)).await
    }

    async fn evidence_rows(&self, select: Select) -> Result<Vec<PromiseEvidence>> {
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// Deletes results up to `before`.
    #[boxed]
    pub async fn evidence_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("at", before))).await
    }
}

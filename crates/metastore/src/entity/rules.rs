//! Alert rules; what they say is the `alerting` crate's, stored here as sealed JSON.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{RuleId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::above;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Listed, Page, Result, TenantTx};

const TABLE: &str = "rules";

/// An alert rule.
#[derive(Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// The rule, as JSON.
    pub body: Vec<u8>,
    /// Counts changes: the ETag.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(Rule { id, enabled, version });

fn body_cell(id: &RuleId) -> Cell<'_> {
    Cell { table: TABLE, column: "body", row: id.as_bytes() }
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<Rule> {
    let id: RuleId = row.get("id")?;
    Ok(Rule {
        id,
        enabled: row.get("enabled")?,
        body: vault.open(row, "body", id.as_bytes())?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

impl TenantTx {
    /// Writes a new rule. Version and times start now.
    #[boxed]
    pub async fn rule_create(&self, rule: &Rule) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", rule.id)
            .set("body", self.vault().seal(body_cell(&rule.id), &rule.body)?)
            .set("enabled", rule.enabled)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Writes a changed rule, if its version is still `expected`.
    #[boxed]
    pub async fn rule_update(&self, rule: &Rule, expected: Option<u64>) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.vault().seal(body_cell(&rule.id), &rule.body)?)
            .set("enabled", rule.enabled)
            .set("updated_at", self.core.at);
        self.update_version(update, *rule.id.as_bytes(), expected).await
    }

    /// One rule.
    #[boxed]
    pub async fn rule(&self, id: RuleId) -> Result<Rule> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Rules, oldest first.
    #[boxed]
    pub async fn rules(&self, page: &Page) -> Result<Listed<Rule>> {
        let mut select = self.select(TABLE).ascending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |rule| Cursor::by_id(rule.id.as_bytes())))
    }

    /// Deletes a rule; its alerts stay.
    #[boxed]
    pub async fn rule_delete(&self, id: RuleId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

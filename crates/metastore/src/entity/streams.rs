//! What is declared of sensor streams, rules for groups of them, and the acts by which it was
//! declared. What they say is the `governance` crate's, stored here as sealed JSON.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{DeviceId, StreamActId, StreamRuleId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::{above, below};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Error, Listed, Page, Result, TenantTx};

const STATEMENTS: &str = "stream_statements";
const RULES: &str = "stream_rules";
const ACTS: &str = "stream_acts";

/// What is said of one device and its streams, as JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamStatements {
    /// The device.
    pub device: DeviceId,
    /// What is said.
    pub body: Vec<u8>,
}

opaque_debug!(StreamStatements { device });

/// A declaration for a group of streams.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamRule {
    /// Its id.
    pub id: StreamRuleId,
    /// What it says, as JSON.
    pub body: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(StreamRule { id, created_at });

/// An act by which streams were declared.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamAct {
    /// Its id.
    pub id: StreamActId,
    /// What lists show of it, as JSON; none of acts from before version 23 of the schema.
    pub head: Option<Vec<u8>>,
    /// What was before and what was said, as JSON.
    pub body: Vec<u8>,
    /// When.
    pub created_at: Timestamp,
    /// When it was taken back.
    pub undone_at: Option<Timestamp>,
}

opaque_debug!(StreamAct { id, created_at, undone_at });

/// An act as it is listed.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamActHead {
    /// Its id.
    pub id: StreamActId,
    /// What is shown of it, as JSON; none of acts from before version 23 of the schema.
    pub head: Option<Vec<u8>>,
    /// When.
    pub created_at: Timestamp,
    /// When it was taken back.
    pub undone_at: Option<Timestamp>,
}

opaque_debug!(StreamActHead { id, created_at, undone_at });

fn load_rule(row: &Row, vault: &Vault<'_>) -> Result<StreamRule> {
    let id: StreamRuleId = row.get("id")?;
    let body = vault.open(row, "body", id.as_bytes())?;
    Ok(StreamRule { id, body, created_at: row.get("created_at")? })
}

fn load_act(row: &Row, vault: &Vault<'_>) -> Result<StreamAct> {
    let id: StreamActId = row.get("id")?;
    Ok(StreamAct {
        id,
        head: vault.maybe_open(row, "head", id.as_bytes())?,
        body: vault.open(row, "body", id.as_bytes())?,
        created_at: row.get("created_at")?,
        undone_at: row.maybe("undone_at")?,
    })
}

fn load_head(row: &Row, vault: &Vault<'_>) -> Result<StreamActHead> {
    let id: StreamActId = row.get("id")?;
    Ok(StreamActHead {
        id,
        head: vault.maybe_open(row, "head", id.as_bytes())?,
        created_at: row.get("created_at")?,
        undone_at: row.maybe("undone_at")?,
    })
}

fn load_statements(row: &Row, vault: &Vault<'_>) -> Result<StreamStatements> {
    let device: DeviceId = row.get("device_id")?;
    Ok(StreamStatements { device, body: vault.open(row, "body", device.as_bytes())? })
}

impl TenantTx {
    /// What is said of devices and their streams, in the order of the devices' ids.
    #[boxed]
    pub async fn stream_statements(&self, page: &Page) -> Result<Listed<StreamStatements>> {
        let mut select = self.select(STATEMENTS).ascending("device_id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("device_id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let load = |row| load_statements(row, &vault);
        let items = rows.iter().map(load).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |one| Cursor::by_id(one.device.as_bytes())))
    }

    /// What is said of one device and its streams.
    #[boxed]
    pub async fn stream_statements_of(&self, device: DeviceId) -> Result<Option<StreamStatements>> {
        let row = self.core.maybe(self.select(STATEMENTS).eq("device_id", device)).await?;
        row.map(|row| load_statements(&row, &self.vault())).transpose()
    }

    /// Writes what is said of a device and its streams, over what was said before.
    #[boxed]
    pub async fn stream_statements_put(&self, said: &StreamStatements) -> Result<()> {
        let cell = Cell { table: STATEMENTS, column: "body", row: said.device.as_bytes() };
        let insert = self
            .insert(STATEMENTS)
            .set("device_id", said.device)
            .set("body", self.vault().seal(cell, &said.body)?)
            .set("version", 1u64)
            .set("updated_at", self.core.at)
            .or_overwrite(&["tenant_id", "device_id"], &["body", "updated_at"]);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Nothing is said of a device any more.
    #[boxed]
    pub async fn stream_statements_delete(&self, device: DeviceId) -> Result<()> {
        self.core.delete(self.delete(STATEMENTS).eq("device_id", device)).await.map(|_| ())
    }

    /// Every rule for a group of streams, oldest first; how many there are is bounded where they
    /// are made.
    #[boxed]
    pub async fn stream_rules(&self) -> Result<Vec<StreamRule>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(RULES).ascending("id")).await?;
        rows.iter().map(|row| load_rule(row, &vault)).collect()
    }

    /// Writes a new rule.
    #[boxed]
    pub async fn stream_rule_create(&self, rule: &StreamRule) -> Result<()> {
        let cell = Cell { table: RULES, column: "body", row: rule.id.as_bytes() };
        let insert = self
            .insert(RULES)
            .set("id", rule.id)
            .set("body", self.vault().seal(cell, &rule.body)?)
            .set("created_at", rule.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Deletes a rule.
    #[boxed]
    pub async fn stream_rule_delete(&self, id: StreamRuleId) -> Result<()> {
        self.delete_id(RULES, id).await
    }

    /// The acts, newest first, as they are listed: without their bodies, which may be long.
    #[boxed]
    pub async fn stream_act_heads(&self, page: &Page) -> Result<Listed<StreamActHead>> {
        let mut select = self.select(ACTS).only(Expr::col("id"), "id");
        for column in ["head", "created_at", "undone_at"] {
            select = select.also(Expr::col(column), column);
        }
        select = select.descending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(below("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load_head(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |act| Cursor::by_id(act.id.as_bytes())))
    }

    /// One act.
    #[boxed]
    pub async fn stream_act(&self, id: StreamActId) -> Result<StreamAct> {
        load_act(&self.core.one(self.select(ACTS).eq("id", id)).await?, &self.vault())
    }

    /// Writes a new act.
    #[boxed]
    pub async fn stream_act_create(&self, act: &StreamAct) -> Result<()> {
        let cell = Cell { table: ACTS, column: "body", row: act.id.as_bytes() };
        let head = act.head.as_ref().map(|head| {
            let cell = Cell { table: ACTS, column: "head", row: act.id.as_bytes() };
            self.vault().seal(cell, head)
        });
        let insert = self
            .insert(ACTS)
            .set("id", act.id)
            .set("head", head.transpose()?)
            .set("body", self.vault().seal(cell, &act.body)?)
            .set("created_at", act.created_at)
            .set("undone_at", act.undone_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Notes that an act was taken back, once.
    #[boxed]
    pub async fn stream_act_undone(&self, id: StreamActId, at: Timestamp) -> Result<()> {
        use crate::query::is_null;
        let update = self.update(ACTS).set("undone_at", at).eq("id", id);
        if self.core.update(update.filter(is_null("undone_at"))).await? == 0 {
            return Err(Error::Conflict { what: ACTS, reason: "it was taken back already" });
        }
        Ok(())
    }

    /// Deletes an act.
    #[boxed]
    pub async fn stream_act_delete(&self, id: StreamActId) -> Result<()> {
        self.delete_id(ACTS, id).await
    }

    /// How many acts are kept.
    #[boxed]
    pub async fn stream_acts_count(&self) -> Result<u64> {
        self.count(ACTS).await
    }

    /// Deletes the oldest acts, so many at most.
    #[boxed]
    pub async fn stream_acts_cut(&self, count: u64) -> Result<()> {
        let select = self.select(ACTS).only(Expr::col("id"), "id").ascending("id").limit(count);
        let oldest = self.core.all(select).await?;
        for row in &oldest {
            self.stream_act_delete(row.get("id")?).await?;
        }
        Ok(())
    }
}

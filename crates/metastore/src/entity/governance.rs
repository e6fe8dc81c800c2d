//! Things of the governance workspace, breaches among them, and every change of them. What they say
//! is in a form of the caller's, sealed.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{GovernanceId, LedgerItemId, TenantId, Timestamp, UserId};

use super::ledger_items::{LedgerItem, LedgerKind};
use crate::bind::{Row, code, opaque_debug, stored_enum};
use crate::query::{above, at_most, is_null, is_set, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Listed, Page, PlatformTx, Result, TenantTx};

const ITEMS: &str = "governance_items";
const CHANGES: &str = "governance_changes";
/// Most things of one kind that are read at once; no kind of a tenant has more.
pub const GOVERNANCE_ITEMS_MAX: u64 = 5_000;
/// Most changes of one thing that are read, the newest.
const CHANGES_READ_MAX: u64 = 500;

stored_enum! {
    /// What a thing of the workspace is.
    GovernanceKind {
        /// A policy.
        Policy = "policy",
        /// A risk.
        Risk = "risk",
        /// A framework of controls.
        Framework = "framework",
        /// A control of a framework.
        Control = "control",
        /// What is known of a piece of evidence.
        Evidence = "evidence",
        /// Something that somebody has to do.
        Task = "task",
        /// A certificate of the organisation or of a supplier.
        Certificate = "certificate",
        /// A notice of the service.
        Notice = "notice",
        /// A breach of personal data.
        Breach = "breach",
    }
}

/// A thing of the workspace.
#[derive(Clone, PartialEq, Eq)]
pub struct GovernanceItem {
    /// Its id.
    pub id: GovernanceId,
    /// What it is.
    pub kind: GovernanceKind,
    /// What it belongs to.
    pub parent: Option<GovernanceId>,
    /// How it stands: a word of a closed list of its kind.
    pub state: String,
    /// What it says, as JSON.
    pub body: Vec<u8>,
    /// When somebody has to be told next.
    pub due_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

opaque_debug!(GovernanceItem { id, kind, state, due_at, version });

/// A change of a thing of the workspace.
#[derive(Clone, PartialEq, Eq)]
pub struct GovernanceChange {
    /// What was done: a word of a closed list.
    pub action: String,
    /// Who did it; none for a program or the platform.
    pub by: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// What was before and after, as JSON.
    pub body: Vec<u8>,
}

opaque_debug!(GovernanceChange { action, at });

/// A thing that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GovernanceDue {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which.
    pub id: GovernanceId,
    /// Since when.
    pub due_at: Timestamp,
}

fn item(row: &Row, vault: &Vault<'_>) -> Result<GovernanceItem> {
    let id: GovernanceId = row.get("id")?;
    Ok(GovernanceItem {
        id,
        kind: row.get("kind")?,
        parent: row.maybe("parent_id")?,
        state: row.get("state")?,
        body: vault.open(row, "body", id.as_bytes())?,
        due_at: row.maybe("due_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

impl TenantTx {
    fn governance_body(&self, item: &GovernanceItem) -> Result<Vec<u8>> {
        let cell = Cell { table: ITEMS, column: "body", row: item.id.as_bytes() };
        self.vault().seal(cell, &item.body)
    }

    /// Writes a new thing.
    #[boxed]
    pub async fn governance_create(&self, item: &GovernanceItem) -> Result<()> {
        let insert = self
            .insert(ITEMS)
            .set("id", item.id)
            .set("kind", item.kind)
            .set("parent_id", item.parent)
            .set("state", code("state", &item.state)?)
            .set("body", self.governance_body(item)?)
            .set("due_at", item.due_at)
            .set("version", 1u64)
            .set("created_at", item.created_at)
            .set("updated_at", item.updated_at);
        self.core.insert(insert).await.map(drop)
    }

    /// Replaces state, content and time of a thing; `Conflict` when it is not of the version
    /// `expected` any more.
    #[boxed]
    pub async fn governance_replace(&self, item: &GovernanceItem, expected: u64) -> Result<()> {
        let update = self
            .update(ITEMS)
            .set("state", code("state", &item.state)?)
            .set("body", self.governance_body(item)?)
            .set("due_at", item.due_at)
            .set("updated_at", item.updated_at);
        self.update_version(update, *item.id.as_bytes(), Some(expected)).await
    }

    /// Says when somebody has to be told next of a thing that waits for no time, as long as it is
    /// of this version: what it says stays as it is.
    #[boxed]
    pub async fn governance_await(
        &self,
        id: GovernanceId,
        version: u64,
        due_at: Timestamp,
    ) -> Result<()> {
        let update = self.update(ITEMS).set("due_at", due_at).eq("id", id).eq("version", version);
        self.core.update(update.filter(is_null("due_at"))).await.map(drop)
    }

    /// One thing of a kind.
    #[boxed]
    pub async fn governance_item(
        &self,
        kind: GovernanceKind,
        id: GovernanceId,
    ) -> Result<GovernanceItem> {
        let select = self.select(ITEMS).eq("id", id).eq("kind", kind);
        item(&self.core.one(select).await?, &self.vault())
    }

    /// One thing of whatever kind.
    #[boxed]
    pub async fn governance_any(&self, id: GovernanceId) -> Result<GovernanceItem> {
        item(&self.core.one(self.select(ITEMS).eq("id", id)).await?, &self.vault())
    }

    /// Everything of a kind, oldest first; of a parent, if one is named.
    #[boxed]
    pub async fn governance_items(
        &self,
        kind: GovernanceKind,
        parent: Option<GovernanceId>,
    ) -> Result<Vec<GovernanceItem>> {
        let mut select = self.select(ITEMS).eq("kind", kind);
        if let Some(parent) = parent {
            select = select.eq("parent_id", parent);
        }
        let select = select.ascending("created_at").ascending("id").limit(GOVERNANCE_ITEMS_MAX);
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| item(row, &vault)).collect()
    }

    /// Things of a kind, newest first, a page at a time.
    #[boxed]
    pub async fn governance_page(
        &self,
        kind: GovernanceKind,
        page: &Page,
    ) -> Result<Listed<GovernanceItem>> {
        let mut select = self.select(ITEMS).eq("kind", kind);
        if let Some(cursor) = &page.after {
            let (at, id) = cursor.time()?;
            select = select.before("created_at", at, id);
        }
        let select = select.descending("created_at").descending("id").limit(page.rows() + 1);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| item(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |one| Cursor::by_time(one.created_at, one.id.as_bytes())))
    }

    /// How many there are of a kind.
    #[boxed]
    pub async fn governance_count(&self, kind: GovernanceKind) -> Result<u64> {
        let select = self.select(ITEMS).eq("kind", kind).only(Expr::cust("count(*)"), "number");
        self.core.one(select).await?.get("number")
    }

    /// Removes a thing with its changes, and what belongs to it.
    #[boxed]
    pub async fn governance_delete(&self, id: GovernanceId) -> Result<()> {
        self.core.delete(self.delete(ITEMS).eq("parent_id", id)).await?;
        self.delete_id(ITEMS, id).await
    }

    /// Adds a change, and what the ledger seals of it; `row` is its own random id.
    #[boxed]
    pub async fn governance_change_add(
        &self,
        item: GovernanceId,
        row: [u8; 16],
        change: &GovernanceChange,
    ) -> Result<()> {
        let cell = Cell { table: CHANGES, column: "body", row: &row };
        let insert = self
            .insert(CHANGES)
            .set("id", row)
            .set("item_id", item)
            .set("action", code("action", &change.action)?)
            .set("by_user", change.by)
            .set("at", change.at)
            .set("body", self.vault().seal(cell, &change.body)?);
        self.core.insert(insert).await?;
        // What was changed stays here; the activity record of it is sealed with its digest.
        let body = serde_json::json!({"action": change.action});
        let sealed = LedgerItem {
            id: LedgerItemId::from_bytes(row),
            kind: LedgerKind::Governance,
            about: Some(*item.as_bytes()),
            body: body.to_string().into_bytes(),
            created_at: change.at,
        };
        self.ledger_item_add(&sealed).await
    }

    /// The changes of a thing, newest first.
    #[boxed]
    pub async fn governance_changes(&self, item: GovernanceId) -> Result<Vec<GovernanceChange>> {
        let select = self.select(CHANGES).eq("item_id", item);
        let select = select.descending("at").descending("id").limit(CHANGES_READ_MAX);
        let vault = self.vault();
        let load = |row: &Row| {
            let id: [u8; 16] = row.get("id")?;
            Ok(GovernanceChange {
                action: row.get("action")?,
                by: row.maybe("by_user")?,
                at: row.get("at")?,
                body: vault.open(row, "body", &id)?,
            })
        };
        self.core.all(select).await?.iter().map(load).collect()
    }
}

impl PlatformTx {
    /// Deletes things of a kind in one of these states that nobody changed since a moment, with
    /// their changes.
    #[boxed]
    pub async fn governance_purge(
        &self,
        kind: GovernanceKind,
        states: &[&'static str],
        before: Timestamp,
    ) -> Result<u64> {
        let states = states.iter().map(|state| (*state).to_owned());
        let over = self
            .delete(ITEMS)
            .eq("kind", kind)
            .filter(one_of("state", states))
            .filter(at_most("updated_at", before));
        self.core.delete(over).await
    }

    /// Things of a kind in one of these states, of all tenants, that wait for no time, by their
    /// ids; behind the one that is named.
    #[boxed]
    pub async fn governance_timeless(
        &self,
        kind: GovernanceKind,
        states: &[&'static str],
        behind: Option<GovernanceId>,
        most: u64,
    ) -> Result<Vec<(TenantId, GovernanceId)>> {
        let states = states.iter().map(|state| (*state).to_owned());
        let select = self.select(ITEMS).filter(is_null("due_at")).eq("kind", kind);
        let mut select = select.filter(one_of("state", states));
        if let Some(behind) = behind {
            select = select.filter(above("id", behind));
        }
        let rows = self.core.all(select.ascending("id").limit(most)).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("id")?))).collect()
    }

    /// What of all tenants is due at a moment, earliest first; behind the place that is named.
    #[boxed]
    pub async fn governance_due(
        &self,
        at: Timestamp,
        behind: Option<&GovernanceDue>,
        most: u64,
    ) -> Result<Vec<GovernanceDue>> {
        let mut select = self.select(ITEMS).filter(is_set("due_at")).filter(at_most("due_at", at));
        if let Some(behind) = behind {
            select = select.after("due_at", behind.due_at, *behind.id.as_bytes());
        }
        let select = select.ascending("due_at").ascending("id").limit(most);
        let load = |row: &Row| {
            let (tenant, id) = (row.get("tenant_id")?, row.get("id")?);
            Ok(GovernanceDue { tenant, id, due_at: row.get("due_at")? })
        };
        self.core.all(select).await?.iter().map(load).collect()
    }
}

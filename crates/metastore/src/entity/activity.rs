//! Activity records: who did what, when, with which outcome. The envelope is sealed under the
//! platform's key, so that it stays readable to who answers for security; the details, which may
//! hold customer content, under the tenant's. Ids and words of closed lists stand beside them, for
//! filters and holds.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::{Expr, ExprTrait, LikeExpr};
use veritwin_domain::{ActivityId, LedgerItemId, TenantId, Timestamp};
use veritwin_keys::sha256;

use super::holds::HoldScope;
use super::ledger_items::{self, LedgerItem, LedgerKind};
use crate::bind::{Bind, Row, code, opaque_debug};
use crate::query::{Insert, Select, above, at_most, below, equals, is_null, one_of};
use crate::seal::{Cell, Owner};
use crate::tx::Core;
use crate::{Cursor, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "activity";
/// In front of what a record's digest is made of.
const DIGEST_LABEL: &[u8] = b"veritwin activity record v1\n";
/// How the actions begin that are about keys.
const KEY_ACTIONS: [&str; 2] = ["key.", "destruction."];

/// One activity record.
#[derive(Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its id.
    pub id: ActivityId,
    /// When it happened.
    pub at: Timestamp,
    /// Whose act it is: an account, key, device or support grant.
    pub actor: Option<[u8; 16]>,
    /// What was done, as in the policies.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Actor, action, resource, outcome, request and origin: as JSON.
    pub envelope: Vec<u8>,
    /// What changed, as JSON; only inside a tenant.
    pub details: Option<Vec<u8>>,
}

opaque_debug!(Activity { id, at, action, outcome });

/// Which records are wanted; nothing set means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityFilter {
    /// Whose acts.
    pub actor: Option<[u8; 16]>,
    /// What the action begins with.
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

impl ActivityFilter {
    fn apply(&self, mut select: Select) -> Result<Select> {
        if let Some(actor) = self.actor {
            select = select.eq("actor_id", actor);
        }
        if let Some(action) = &self.action {
            select = select.filter(begins_with("action", action)?);
        }
        if let Some(outcome) = &self.outcome {
            select = select.eq("outcome", code("outcome", outcome)?);
        }
        if let Some(from) = self.from {
            select = select.filter(Expr::col("at").gte(from.bind()));
        }
        if let Some(to) = self.to {
            select = select.filter(below("at", to));
        }
        Ok(select)
    }
}

/// A word of a closed list that begins like this.
pub(super) fn begins_with(column: &'static str, start: &str) -> Result<Expr> {
    let start = code("action", start)?.replace('_', "\\_");
    Ok(Expr::col(column).like(LikeExpr::new(format!("{start}%")).escape('\\')))
}

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
        .set("actor_id", record.actor)
        .set("action", code("action", &record.action)?)
        .set("outcome", code("outcome", &record.outcome)?)
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
    Ok(Activity {
        id,
        at: row.get("at")?,
        actor: row.maybe("actor_id")?,
        action: row.maybe("action")?.unwrap_or_default(),
        outcome: row.maybe("outcome")?.unwrap_or_default(),
        envelope,
        details,
    })
}

async fn list(core: &Core, mut select: Select, page: &Page) -> Result<Listed<Activity>> {
    if let Some(cursor) = &page.after {
        let (at, id) = cursor.time()?;
        select = select.before("at", at, id);
    }
    let select = select.descending("at").descending("id").limit(page.rows() + 1);
    let rows = core.all(select).await?;
    let items = rows.iter().map(|row| load(core, row)).collect::<Result<Vec<_>>>()?;
    Ok(Listed::cut(items, page, cursor_of))
}

fn cursor_of(record: &Activity) -> Cursor {
    Cursor::by_time(record.at, record.id.as_bytes())
}

impl Activity {
    /// SHA-256 of the whole record, as the ledger seals it: label, id, time, and envelope and
    /// details each after its 32-bit length. The envelope names the request by its random id, so
    /// that the digest cannot be guessed once the record is gone.
    pub fn digest(&self) -> [u8; 32] {
        let details = self.details.as_deref().unwrap_or_default();
        let mut whole = DIGEST_LABEL.to_vec();
        whole.extend_from_slice(self.id.as_bytes());
        whole.extend_from_slice(&self.at.as_micros().to_be_bytes());
        for part in [self.envelope.as_slice(), details] {
            whole.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            whole.extend_from_slice(part);
        }
        sha256(&whole)
    }

    /// What the ledger seals of the record: words of closed lists and a digest.
    fn ledger_item(&self) -> LedgerItem {
        let is_of_keys = KEY_ACTIONS.iter().any(|start| self.action.starts_with(start));
        let body = serde_json::json!({
            "action": self.action,
            "outcome": self.outcome,
            "sha256": hex::encode(self.digest()),
        });
        LedgerItem {
            id: LedgerItemId::from_bytes(*self.id.as_bytes()),
            kind: if is_of_keys { LedgerKind::Key } else { LedgerKind::Activity },
            about: None,
            body: body.to_string().into_bytes(),
            created_at: self.at,
        }
    }

    /// Where a list goes on after this record.
    pub fn cursor(&self) -> Cursor {
        cursor_of(self)
    }
}

impl TenantTx {
    /// Writes a record of this tenant.
    #[boxed]
    pub async fn activity_add(&self, record: &Activity) -> Result<()> {
        let insert = fill(&self.core, self.insert(TABLE), record, Some(self.tenant))?;
        self.core.insert(insert).await?;
        ledger_items::add(&self.core, self.tenant, &record.ledger_item()).await
    }

    /// One record of this tenant.
    #[boxed]
    pub async fn activity_one(&self, id: ActivityId) -> Result<Activity> {
        load(&self.core, &self.core.one(self.select(TABLE).eq("id", id)).await?)
    }

    /// Whose acts these records are of.
    #[boxed]
    pub async fn activity_actors(&self, records: &[ActivityId]) -> Result<Vec<[u8; 16]>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let among = one_of("id", records.iter().copied());
        let rows = self.core.all(self.select(TABLE).filter(among)).await?;
        let actors = rows.iter().map(|row| row.maybe("actor_id"));
        actors.filter_map(Result::transpose).collect()
    }

    /// How often each action was done since a moment, and by how many: action, acts, actors.
    #[boxed]
    pub async fn activity_counts(&self, since: Timestamp) -> Result<Vec<(String, u64, u64)>> {
        let select = self
            .select(TABLE)
            .filter(above("at", since))
            .only(Expr::cust("count(*)"), "acts")
            .also(Expr::cust("count(DISTINCT actor_id)"), "actors")
            .also(Expr::col("action"), "action")
            .group_by("action");
        let rows = self.core.all(select).await?;
        let count = |row: &Row| -> Result<(String, u64, u64)> {
            let action: Option<String> = row.maybe("action")?;
            Ok((action.unwrap_or_default(), row.get("acts")?, row.get("actors")?))
        };
        rows.iter().map(count).collect()
    }

    /// The tenant's records that are wanted, newest first.
    #[boxed]
    pub async fn activity(&self, filter: &ActivityFilter, page: &Page) -> Result<Listed<Activity>> {
        list(&self.core, filter.apply(self.select(TABLE))?, page).await
    }
}

impl PlatformTx {
    /// Writes a record, of a tenant or of the platform itself (then without details).
    #[boxed]
    pub async fn activity_add(&self, record: &Activity, tenant: Option<TenantId>) -> Result<()> {
        let insert = self.insert(TABLE).set("tenant_id", tenant);
        self.core.insert(fill(&self.core, insert, record, tenant)?).await?;
        match tenant {
            Some(tenant) => ledger_items::add(&self.core, tenant, &record.ledger_item()).await,
            None => Ok(()),
        }
    }

    /// The platform's own records, newest first.
    #[boxed]
    pub async fn activity(&self, page: &Page) -> Result<Listed<Activity>> {
        list(&self.core, self.select(TABLE).filter(is_null("tenant_id")), page).await
    }

    /// Deletes records up to `before`, except those under one of the holds.
    #[boxed]
    pub async fn activity_purge(
        &self,
        before: Timestamp,
        holds: &[(TenantId, HoldScope)],
    ) -> Result<u64> {
        let held: std::collections::BTreeSet<TenantId> =
            holds.iter().map(|(tenant, _)| *tenant).collect();
        let old = || self.delete(TABLE).filter(at_most("at", before));
        let plain = match held.is_empty() {
            true => old(),
            false => old()
                .filter(is_null("tenant_id").or(one_of("tenant_id", held.iter().copied()).not())),
        };
        let mut deleted = self.core.delete(plain).await?;
        for tenant in held {
            let mut delete = old().filter(equals("tenant_id", tenant));
            for (_, scope) in holds.iter().filter(|(owner, _)| *owner == tenant) {
                delete = delete.filter(scope.matches()?.not());
            }
            deleted += self.core.delete(delete).await?;
        }
        Ok(deleted)
    }

    /// How many of a tenant's records are older than `before`.
    #[boxed]
    pub async fn activity_older(&self, tenant: TenantId, before: Timestamp) -> Result<u64> {
        let count = Expr::cust("count(*)");
        let select = self
            .select(TABLE)
            .eq("tenant_id", tenant)
            .filter(at_most("at", before))
            .only(count, "count");
        self.core.one(select).await?.get("count")
    }

    /// The newest records of one actor in a tenant that match, for the comparison of sign-ins.
    #[boxed]
    pub async fn activity_of(
        &self,
        tenant: TenantId,
        filter: &ActivityFilter,
        page: &Page,
    ) -> Result<Listed<Activity>> {
        let select = filter.apply(self.select(TABLE).eq("tenant_id", tenant))?;
        list(&self.core, select, page).await
    }
}

impl HoldScope {
    /// The records that this holds. A part that a record lacks does not match, so that a record
    /// of before this column existed is held by its time or id only.
    fn matches(&self) -> Result<Expr> {
        let mut all = Expr::cust("1 = 1");
        let set = |column: &'static str| Expr::col(column).is_not_null();
        if let Some(actor) = self.actor {
            all = all.and(set("actor_id")).and(equals("actor_id", actor));
        }
        if let Some(action) = &self.action {
            all = all.and(set("action")).and(begins_with("action", action)?);
        }
        if let Some(from) = self.from {
            all = all.and(above("at", Timestamp::from_micros(from.as_micros() - 1)));
        }
        if let Some(to) = self.to {
            all = all.and(below("at", to));
        }
        if !self.records.is_empty() {
            all = all.and(one_of("id", self.records.iter().copied()));
        }
        Ok(all)
    }
}

//! The two ways to the records: a tenant's transaction, whose statements are all scoped to that
//! tenant when they are built, and the platform's. A transaction that is dropped is rolled back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, DatabaseTransaction, StatementBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use veritwin_domain::{TenantId, Timestamp, UserId};

use crate::bind::{Bind, Row};
use crate::gate::WritePermit;
use crate::names::{NameChange, NameIndexes};
use crate::query::{Delete, Insert, Select, Update, equals};
use crate::schema::{self, GroupRoles, Rows};
use crate::seal::{Cell, Owner, Sealer};
use crate::{CHANGED, Error, Result, spent};

/// Which rows a transaction may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Tenant(TenantId),
    Platform,
}

/// What every transaction shares.
pub(crate) struct Core {
    // Declared before the permit: the rollback is queued before the next writer may begin.
    pub(crate) transaction: DatabaseTransaction,
    pub(crate) write_permit: Option<WritePermit>,
    pub(crate) writable: bool,
    /// Whether it was begun above the tenants.
    pub(crate) is_above: bool,
    /// The roles that it steps down to, on PostgreSQL.
    pub(crate) roles: Option<Arc<GroupRoles>>,
    pub(crate) failed: AtomicBool,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) names: Arc<NameIndexes>,
    pub(crate) name_changes: Mutex<Vec<NameChange>>,
    /// When the operation began; rows carry this moment.
    pub(crate) at: Timestamp,
}

impl Core {
    /// Steps down to the role of what it may see from here on, until it ends or goes elsewhere.
    /// SQLite has no roles: there the queries' own filter is all.
    pub(crate) async fn enter(&self, reach: Reach) -> Result<()> {
        let Some(roles) = &self.roles else { return Ok(()) };
        let entered = self.transaction.execute_unprepared(&role_statement(roles, reach)).await;
        self.note(entered, "transaction").map(drop)
    }

    pub(crate) async fn all(&self, select: Select) -> Result<Vec<Row>> {
        let table = select.table;
        spent::count();
        let rows = self.note(self.transaction.query_all(&select.statement).await, table)?;
        Ok(rows.into_iter().map(|result| Row { table, result }).collect())
    }

    pub(crate) async fn maybe(&self, select: Select) -> Result<Option<Row>> {
        let table = select.table;
        spent::count();
        let row = self.note(self.transaction.query_one(&select.statement).await, table)?;
        Ok(row.map(|result| Row { table, result }))
    }

    /// The one row there should be.
    pub(crate) async fn one(&self, select: Select) -> Result<Row> {
        let what = select.table;
        self.maybe(select).await?.ok_or(Error::NotFound { what })
    }

    pub(crate) async fn insert(&self, insert: Insert) -> Result<u64> {
        let table = insert.table;
        self.run(table, &insert.statement()).await
    }

    pub(crate) async fn update(&self, update: Update) -> Result<u64> {
        self.run(update.table, &update.statement).await
    }

    /// Updates a row that is known by the same id. Tells one that changed from one that is not
    /// there.
    pub(crate) async fn update_known(&self, update: Update, known: Select) -> Result<()> {
        if self.update(update).await? > 0 {
            return Ok(());
        }
        let what = known.table;
        self.one(known).await?;
        Err(Error::Conflict { what, reason: CHANGED })
    }

    pub(crate) async fn delete(&self, delete: Delete) -> Result<u64> {
        self.run(delete.table, &delete.statement).await
    }

    async fn run(&self, table: &'static str, statement: &impl StatementBuilder) -> Result<u64> {
        if !self.writable {
            let reason = "this transaction only reads; begin a writing one";
            return Err(Error::Invalid { what: table, reason });
        }
        spent::count();
        Ok(self.note(self.transaction.execute(statement).await, table)?.rows_affected())
    }

    /// PostgreSQL refuses everything after a failed statement. SQLite would go on; it is held to
    /// the same rule, so that both behave alike.
    fn note<T>(
        &self,
        answer: std::result::Result<T, sea_orm::DbErr>,
        what: &'static str,
    ) -> Result<T> {
        answer.map_err(|error| {
            self.failed.store(true, Ordering::Relaxed);
            Error::from_db(error, what)
        })
    }

    pub(crate) async fn commit(self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) {
            let reason = "an earlier statement failed, so nothing is kept; begin again";
            return Err(Error::Conflict { what: "transaction", reason });
        }
        self.transaction.commit().await.map_err(|error| Error::from_db(error, "transaction"))?;
        drop(self.write_permit);
        self.names.apply(self.name_changes.into_inner());
        Ok(())
    }

    pub(crate) fn vault(&self, owner: Owner) -> Vault<'_> {
        Vault { sealer: &self.sealer, owner }
    }
}

/// The server asks whether whoever connected is a member of the role, not whether the role before
/// it is: one goes straight from one to the other.
fn role_statement(roles: &GroupRoles, reach: Reach) -> String {
    match reach {
        Reach::Platform => format!("SET LOCAL ROLE {}", roles.platform),
        Reach::Tenant(tenant) => format!(
            "SET LOCAL ROLE {}; SET LOCAL veritwin.tenant = '{}'",
            roles.tenant,
            hex::encode(tenant.as_bytes())
        ),
    }
}

/// Seals and opens columns under one owner's key.
pub(crate) struct Vault<'a> {
    sealer: &'a Sealer,
    owner: Owner,
}

impl Vault<'_> {
    pub(crate) fn seal(&self, cell: Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>> {
        self.sealer.seal(self.owner, cell, plaintext)
    }

    pub(crate) fn seal_json(&self, cell: Cell<'_>, value: &impl Serialize) -> Result<Vec<u8>> {
        let invalid = |_| Error::Invalid { what: cell.table, reason: "value has no JSON form" };
        self.seal(cell, &serde_json::to_vec(value).map_err(invalid)?)
    }

    pub(crate) fn open(&self, row: &Row, column: &'static str, key: &[u8]) -> Result<Vec<u8>> {
        self.maybe_open(row, column, key)?.ok_or(Error::Corrupt { what: row.table })
    }

    pub(crate) fn maybe_open(
        &self,
        row: &Row,
        column: &'static str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let cell = Cell { table: row.table, column, row: key };
        let sealed = row.maybe::<Vec<u8>>(column)?;
        sealed.map(|sealed| self.sealer.open(self.owner, cell, &sealed)).transpose()
    }

    pub(crate) fn open_text(&self, row: &Row, column: &'static str, key: &[u8]) -> Result<String> {
        String::from_utf8(self.open(row, column, key)?)
            .map_err(|_| Error::Corrupt { what: row.table })
    }

    pub(crate) fn open_json<T: DeserializeOwned>(
        &self,
        row: &Row,
        column: &'static str,
        key: &[u8],
    ) -> Result<T> {
        serde_json::from_slice(&self.open(row, column, key)?)
            .map_err(|_| Error::Corrupt { what: row.table })
    }
}

/// Whether statements inside a tenant forget its filter.
#[cfg(feature = "test-controls")]
static FORGOTTEN: AtomicBool = AtomicBool::new(false);

/// Leaves the tenant's filter out of every statement of this process, or puts it back, to show
/// what the wall below it does.
#[cfg(feature = "test-controls")]
pub fn forget_tenant_filter(on: bool) {
    FORGOTTEN.store(on, Ordering::SeqCst);
}

/// A transaction inside one tenant. Rows of other tenants do not exist for it: every statement is
/// built with the tenant's filter, and on PostgreSQL the database enforces the same again.
pub struct TenantTx {
    pub(crate) core: Core,
    pub(crate) tenant: TenantId,
    /// The state of the name index when this began; see `names`.
    pub(crate) name_generation: u64,
}

impl TenantTx {
    /// The tenant.
    pub fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    /// Makes everything done so far durable, or nothing of it.
    #[boxed]
    pub async fn commit(self) -> Result<()> {
        self.core.commit().await
    }

    /// Back above the tenants, for one that was begun there and went into this tenant.
    #[boxed]
    pub async fn above(self) -> Result<PlatformTx> {
        if !self.core.is_above {
            let reason = "it was begun inside a tenant and stays there";
            return Err(Error::Invalid { what: "transaction", reason });
        }
        self.core.enter(Reach::Platform).await?;
        Ok(PlatformTx { core: self.core })
    }

    pub(crate) fn select(&self, table: &'static str) -> Select {
        Select::new(table).filter(self.scope(table))
    }

    pub(crate) fn insert(&self, table: &'static str) -> Insert {
        Insert::new(table).set("tenant_id", self.tenant)
    }

    pub(crate) fn update(&self, table: &'static str) -> Update {
        Update::new(table).filter(self.scope(table))
    }

    pub(crate) fn delete(&self, table: &'static str) -> Delete {
        Delete::new(table).filter(self.scope(table))
    }

    pub(crate) fn vault(&self) -> Vault<'_> {
        self.core.vault(Owner::Tenant(self.tenant))
    }

    fn scope(&self, table: &'static str) -> Expr {
        #[cfg(feature = "test-controls")]
        if FORGOTTEN.load(Ordering::SeqCst) {
            return Expr::cust("1 = 1");
        }
        let rows = schema::tables().find(|known| known.name == table).map(|known| known.rows);
        match rows {
            Some(Rows::Tenant) => equals("tenant_id", self.tenant),
            Some(Rows::OwnTenant) => equals("id", self.tenant),
            Some(Rows::Members) => Expr::col("id").in_subquery(
                Query::select()
                    .column("user_id")
                    .from("memberships")
                    .and_where(equals("tenant_id", self.tenant))
                    .take(),
            ),
            Some(Rows::Platform) | None => Expr::cust("1 = 0"),
        }
    }

    /// Updates one row by id if its version is still `expected` (any, if none), counting the
    /// version up. Tells a row that changed from one that is not there.
    pub(crate) async fn update_version(
        &self,
        update: Update,
        id: [u8; 16],
        expected: Option<u64>,
    ) -> Result<()> {
        let known = self.select(update.table).eq("id", id);
        self.core.update_known(versioned(update, expected).eq("id", id), known).await
    }

    /// Drops the tenant's names from memory once this is committed.
    pub(crate) fn forget_names_on_commit(&self) {
        self.core.name_changes.lock().push(NameChange::Forget(self.tenant));
    }

    /// How many rows of a table this tenant has.
    pub(crate) async fn count(&self, table: &'static str) -> Result<u64> {
        let select = self.select(table).only(Expr::cust("count(*)"), "count");
        self.core.one(select).await?.get("count")
    }

    /// How many devices, accounts and API keys the tenant has.
    #[boxed]
    pub async fn usage(&self) -> Result<Usage> {
        Ok(Usage {
            devices: self.count("devices").await?,
            users: self.count("users").await?,
            api_keys: self.count("api_keys").await?,
        })
    }

    /// Deletes one row by id.
    pub(crate) async fn delete_id(&self, table: &'static str, id: impl Bind) -> Result<()> {
        if self.core.delete(self.delete(table).eq("id", id)).await? == 0 {
            return Err(Error::NotFound { what: table });
        }
        Ok(())
    }
}

/// What a tenant has, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Devices.
    pub devices: u64,
    /// Accounts that are members.
    pub users: u64,
    /// API keys, expired ones included.
    pub api_keys: u64,
}

/// A transaction on the platform, above all tenants: accounts, sign-in, finding the tenant of a
/// credential, jobs over all tenants.
pub struct PlatformTx {
    pub(crate) core: Core,
}

impl PlatformTx {
    /// Makes everything done so far durable, or nothing of it.
    #[boxed]
    pub async fn commit(self) -> Result<()> {
        self.core.commit().await
    }

    /// Goes on inside one tenant, where every statement is held to it, and on PostgreSQL by the
    /// database too: what is done to two of them is durable together or not at all. Names are not
    /// looked through here.
    #[boxed]
    pub async fn inside(self, tenant: TenantId) -> Result<TenantTx> {
        self.core.enter(Reach::Tenant(tenant)).await?;
        let name_generation = self.core.names.generation(tenant);
        Ok(TenantTx { core: self.core, tenant, name_generation })
    }

    pub(crate) fn select(&self, table: &'static str) -> Select {
        Select::new(table)
    }

    pub(crate) fn insert(&self, table: &'static str) -> Insert {
        Insert::new(table)
    }

    pub(crate) fn update(&self, table: &'static str) -> Update {
        Update::new(table)
    }

    pub(crate) fn delete(&self, table: &'static str) -> Delete {
        Delete::new(table)
    }

    pub(crate) fn vault(&self) -> Vault<'_> {
        self.core.vault(Owner::Platform)
    }

    pub(crate) fn vault_of(&self, tenant: TenantId) -> Vault<'_> {
        self.core.vault(Owner::Tenant(tenant))
    }

    pub(crate) fn vault_of_subject(&self, user: UserId) -> Vault<'_> {
        self.core.vault(Owner::Subject(user))
    }

    /// As [`TenantTx::update_version`], for rows above the tenants.
    pub(crate) async fn update_version(
        &self,
        update: Update,
        id: [u8; 16],
        expected: Option<u64>,
    ) -> Result<()> {
        let known = self.select(update.table).eq("id", id);
        self.core.update_known(versioned(update, expected).eq("id", id), known).await
    }
}

fn versioned(update: Update, expected: Option<u64>) -> Update {
    let update = update.increment("version");
    match expected {
        Some(version) => update.eq("version", version),
        None => update,
    }
}

//! The store itself: opens the database, holds the pool, begins transactions. Nothing outside
//! this crate ever holds a connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use veritwin_domain::{Clock, OpContext, PlatformContext, TenantId, Timestamp};
use veritwin_keys::KeyService;

use crate::entity::DeviceFilter;
use crate::gate::{Party, WriteGate};
use crate::names::{NameIndexes, NamesTurn, NamesTurns};
use crate::open::{self, Database, PostgresConfig};
use crate::schema::{GroupRoles, VERSION};
use crate::seal::Sealer;
use crate::tx::{Core, Reach};
use crate::{Error, PlatformTx, Result, TenantTx, migrate, walls};

/// Connections of one store when nothing else is configured.
pub const CONNECTIONS_DEFAULT: u32 = 8;

pub(crate) const DATABASE_KEY_LABEL: &str = "metastore database v1";

/// How to open the records.
#[derive(Clone)]
pub struct Config {
    /// Where they are.
    pub database: Database,
    /// Most connections at once.
    pub connections_max: u32,
    /// The keys: of the database file, the blind indexes and every sealed column.
    pub keys: KeyService,
    /// For the time stamps of migrations.
    pub clock: Arc<dyn Clock>,
}

/// The records store. Cloning shares it.
#[derive(Clone)]
pub struct Metastore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) connection: DatabaseConnection,
    /// SQLite has one writer; waiting here goes by turns of tenants and costs no polling.
    write_gate: Option<WriteGate>,
    pub(crate) sealer: Arc<Sealer>,
    names: Arc<NameIndexes>,
    names_turns: NamesTurns,
    /// The roles that transactions step down to, on PostgreSQL.
    roles: Option<Arc<GroupRoles>>,
}

impl fmt::Debug for Metastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metastore").finish_non_exhaustive()
    }
}

impl Metastore {
    /// Opens the records and brings their schema up to date.
    #[boxed]
    pub async fn open(config: Config) -> Result<Self> {
        let now = config.clock.now();
        let (connection, write_gate, roles) = match &config.database {
            Database::Sqlite(file) => {
                let key = config.keys.platform_subkey(DATABASE_KEY_LABEL);
                let key = key.map_err(|error| Error::from_key(error, "database key"))?;
                // One connection by itself, closed before the others open: a connection that knew
                // the schema of before would read rows wider than it expects.
                let connection = open::sqlite(file, &key, 1).await?;
                migrate::run(&connection, None, now, VERSION).await?;
                let closed = connection.close().await;
                closed.map_err(|error| Error::from_db(error, "records database"))?;
                let connection = open::sqlite(file, &key, config.connections_max).await?;
                (connection, Some(WriteGate::default()), None)
            }
            Database::Postgres(postgres) => {
                let (connection, roles) =
                    open_postgres(postgres, config.connections_max, now).await?;
                (connection, None, Some(Arc::new(roles)))
            }
        };
        let sealer = Arc::new(Sealer::new(config.keys)?);
        let names = Arc::new(NameIndexes::new());
        let names_turns = NamesTurns::default();
        Ok(Self(Arc::new(Inner { connection, write_gate, sealer, names, names_turns, roles })))
    }

    /// Begins a writing transaction inside the context's tenant.
    #[boxed]
    pub async fn begin(&self, context: &OpContext) -> Result<TenantTx> {
        self.tenant_tx(context, true).await
    }

    /// Begins a reading transaction inside the context's tenant: one consistent state.
    #[boxed]
    pub async fn read(&self, context: &OpContext) -> Result<TenantTx> {
        self.tenant_tx(context, false).await
    }

    /// Begins a writing transaction on the platform.
    #[boxed]
    pub async fn begin_platform(&self, context: &PlatformContext) -> Result<PlatformTx> {
        let party = context.turn_of.map_or(Party::Platform, Party::Tenant);
        let core = self.core(Reach::Platform, Some(party), context.at).await?;
        Ok(PlatformTx { core })
    }

    /// Begins a reading transaction on the platform.
    #[boxed]
    pub async fn read_platform(&self, context: &PlatformContext) -> Result<PlatformTx> {
        let core = self.core(Reach::Platform, None, context.at).await?;
        Ok(PlatformTx { core })
    }

    /// Drops the names of a tenant from memory, such as when its key is denied.
    pub fn forget_names(&self, tenant: TenantId) {
        self.0.names.forget(tenant);
    }

    /// A tenant's turn to look through its names: one at a time, in the order of asking. To be
    /// taken before the transaction, so that whoever waits holds no connection. Nobody waits for
    /// a list of all, which looks through none.
    #[boxed]
    pub async fn names_turn(&self, tenant: TenantId, filter: &DeviceFilter) -> NamesTurn {
        if filter.is_of_all() { NamesTurn(None) } else { self.0.names_turns.turn(tenant).await }
    }

    /// Whether the database answers.
    #[boxed]
    pub async fn ping(&self) -> Result<()> {
        self.0.connection.ping().await.map_err(|error| Error::from_db(error, "records database"))
    }

    /// Closes every connection after its work is done. Operations that come later fail.
    #[boxed]
    pub async fn close(&self) -> Result<()> {
        let closed = self.0.connection.close_by_ref().await;
        closed.map_err(|error| Error::from_db(error, "records database"))
    }

    async fn tenant_tx(&self, context: &OpContext, writable: bool) -> Result<TenantTx> {
        let name_generation = self.0.names.generation(context.tenant);
        let tenant = context.tenant;
        let writer = writable.then_some(Party::Tenant(tenant));
        let core = self.core(Reach::Tenant(tenant), writer, context.at).await?;
        Ok(TenantTx { core, tenant, name_generation })
    }

    /// A transaction that reads, or that writes in somebody's turn.
    async fn core(&self, reach: Reach, writer: Option<Party>, at: Timestamp) -> Result<Core> {
        let write_permit = match (&self.0.write_gate, writer) {
            (Some(gate), Some(party)) => Some(gate.enter(party).await?),
            _ => None,
        };
        let writable = writer.is_some();
        let transaction = self.transaction(writable).await?;
        let core = Core {
            transaction,
            write_permit,
            writable,
            is_above: reach == Reach::Platform,
            roles: self.0.roles.clone(),
            failed: AtomicBool::new(false),
            sealer: Arc::clone(&self.0.sealer),
            names: Arc::clone(&self.0.names),
            name_changes: Mutex::new(Vec::new()),
            at,
        };
        core.enter(reach).await?;
        Ok(core)
    }

    async fn transaction(&self, writable: bool) -> Result<DatabaseTransaction> {
        let postgres = self.0.connection.get_database_backend() == DbBackend::Postgres;
        let options = if postgres {
            let access = if writable { AccessMode::ReadWrite } else { AccessMode::ReadOnly };
            TransactionOptions { access_mode: Some(access), ..TransactionOptions::default() }
        } else {
            // A writer takes its lock at once: a reader that turns into one could not go on.
            let mode = SqliteTransactionMode::Immediate;
            let mode = if writable { mode } else { SqliteTransactionMode::Deferred };
            let sqlite_transaction_mode = Some(mode);
            TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() }
        };
        let begun = self.0.connection.begin_with_options(options).await;
        begun.map_err(|error| Error::from_db(error, "transaction"))
    }
}

async fn open_postgres(
    config: &PostgresConfig,
    connections_max: u32,
    now: Timestamp,
) -> Result<(DatabaseConnection, GroupRoles)> {
    let options = open::postgres_options(&config.url)?;
    let runtime_role = options.get_username().to_owned();
    let owner = match (&config.owner_url, config.demo) {
        (Some(url), _) => Some(open::postgres_options(url)?),
        (None, true) => Some(options.clone()),
        (None, false) => None,
    };
    if let Some(owner) = owner {
        let separate = owner.get_username() != runtime_role;
        let connection = open::postgres(owner, 1).await?;
        let role = separate.then_some(runtime_role.as_str());
        let migrated = migrate::run(&connection, role, now, VERSION).await;
        // A failed close changes nothing: the connection is not used again.
        let _ = connection.close().await;
        migrated?;
    }
    let connection = open::postgres(options, connections_max).await?;
    if !config.demo {
        open::check_runtime_role(&connection).await?;
    }
    migrate::check(&connection).await?;
    let roles = walls::own(&connection).await?;
    walls::check(&connection, &roles).await?;
    Ok((connection, roles))
}

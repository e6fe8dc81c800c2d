//! A store with keys, a clock and two tenants, on either database.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;
use veritwin_domain::{
    Actor, ActorKind, Clock, Declaration, DeviceId, LogId, ManualClock, OpContext, PlatformContext,
    Purpose, RequestId, Rng, SeededRng, TenantId, Timestamp,
};
use veritwin_keys::{KeyService, PlatformFile};
use veritwin_metastore::{
    CONNECTIONS_DEFAULT, Config, Database, Device, Metastore, PlatformTx, Tenant, TenantTx,
};

use crate::postgres;

pub(crate) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub(crate) struct World {
    pub(crate) label: &'static str,
    pub(crate) store: Metastore,
    pub(crate) keys: KeyService,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rng: Arc<SeededRng>,
    pub(crate) database: Database,
    pub(crate) tenant: TenantId,
    pub(crate) other: TenantId,
    pub(crate) directory: TempDir,
}

/// Runs a test on every database there is.
pub(crate) async fn everywhere(test: impl AsyncFn(&World)) {
    test(&World::sqlite().await).await;
    if let Some(server) = postgres::server() {
        let (_, config) = server.config();
        test(&World::on(Database::Postgres(config), "postgres").await).await;
    }
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = Database::Sqlite(directory.path().join("records.db"));
        Self::build(database, "sqlite", directory).await
    }

    pub(crate) async fn on(database: Database, label: &'static str) -> Self {
        Self::build(database, label, tempfile::tempdir().expect("a directory")).await
    }

    async fn build(database: Database, label: &'static str, directory: TempDir) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        // Another seed for each world: several share one PostgreSQL database.
        let seed = veritwin_keys::SystemRng.next_u64();
        let rng = Arc::new(SeededRng::new(seed));
        let root = PlatformFile::open_or_create(&directory.path().join("root"), rng.clone());
        let keys = KeyService::open(
            Box::new(root.expect("a root key")),
            &directory.path().join("keyring"),
            clock.clone(),
            rng.clone(),
        )
        .expect("a keyring");
        let config = Config {
            database: database.clone(),
            connections_max: CONNECTIONS_DEFAULT,
            keys: keys.clone(),
            clock: clock.clone(),
        };
        let store = Metastore::open(config).await.expect("a store");
        let tenant = TenantId::generate(START, rng.as_ref());
        let other = TenantId::generate(START, rng.as_ref());
        let world = Self { label, store, keys, clock, rng, database, tenant, other, directory };
        let tx = world.platform().await;
        for (id, name) in [(tenant, "Harbour House"), (other, "Elsewhere")] {
            world.keys.create_tenant(id).expect("keys");
            tx.tenant_create(&world.new_tenant(id, name)).await.expect("a tenant");
        }
        tx.commit().await.expect("commit");
        world
    }

    pub(crate) fn new_tenant(&self, id: TenantId, name: &str) -> Tenant {
        Tenant {
            id,
            name: name.to_owned(),
            log_id: LogId::generate(START, self.rng.as_ref()),
            archive_subscribed: true,
            simulated: false,
            place: veritwin_metastore::TenantPlace::default(),
            version: 1,
            created_at: START,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            database: self.database.clone(),
            connections_max: CONNECTIONS_DEFAULT,
            keys: self.keys.clone(),
            clock: self.clock.clone(),
        }
    }

    pub(crate) fn platform_context(&self) -> PlatformContext {
        PlatformContext {
            acts_from: None,
            turn_of: None,
            actor: Actor::without_roles(ActorKind::LocalOperator),
            purpose: Purpose::SecuritySupport,
            request: RequestId::generate(START, self.rng.as_ref()),
            origin: veritwin_domain::Origin::default(),
            at: self.clock.now(),
            clock: self.clock.clone(),
        }
    }

    pub(crate) fn context(&self, tenant: TenantId) -> OpContext {
        self.platform_context().in_tenant(tenant, Actor::without_roles(ActorKind::LocalOperator))
    }

    pub(crate) async fn platform(&self) -> PlatformTx {
        self.store.begin_platform(&self.platform_context()).await.expect("a transaction")
    }

    pub(crate) async fn begin(&self) -> TenantTx {
        self.begin_in(self.tenant).await
    }

    pub(crate) async fn begin_in(&self, tenant: TenantId) -> TenantTx {
        self.store.begin(&self.context(tenant)).await.expect("a transaction")
    }

    pub(crate) async fn read(&self) -> TenantTx {
        self.store.read(&self.context(self.tenant)).await.expect("a transaction")
    }
}

/// A device with this name.
pub(crate) fn device(world: &World, name: &str) -> Device {
    Device {
        id: DeviceId::generate(START, world.rng.as_ref()),
        name: name.to_owned(),
        kind: "sensor".to_owned(),
        units: BTreeMap::from([("temperature".to_owned(), "°C".to_owned())]),
        twin: None,
        placement: None,
        declaration: Declaration::NonPersonal,
        version: 1,
        created_at: START,
        updated_at: START,
        is_gateway: false,
        is_sparkplug_host: false,
        gateway: None,
        last_seen_at: None,
    }
}

/// A moment some seconds after the start.
pub(crate) fn later(seconds: u64) -> Timestamp {
    START.saturating_add(std::time::Duration::from_secs(seconds))
}

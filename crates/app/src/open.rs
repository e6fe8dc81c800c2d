//! Opens the stores, recovers what the log holds beyond the segments, and starts the jobs. After
//! `kill -9` at any moment this is all it takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veritwin_access::{Authorizer, Throttle};
use veritwin_domain::{Clock, Rng, Secret, TenantId, Timestamp};
use veritwin_keys::{KeyService, Passphrase, SecretKey, SystemRng};
use veritwin_log::{CommitObserver, FileLog, LogConfig};
use veritwin_metastore::{Database, Metastore};
use veritwin_outbound::guard::{Guard, GuardPolicy, GuardedClient};
use veritwin_outbound::mail::MailConfig;
use veritwin_outbound::register::EgressRegister;
use veritwin_telemetry::{BucketConfig, Engine};

use crate::acme::open_acme;
use crate::activity::ActivityWriter;
use crate::alert_job::AlertBoard;
use crate::config_parts::{Operator, Outbound};
use crate::customer_keys::{KeyBoard, open_key_services};
use crate::destruction_job::{DestructionBoard, PersonalStreams};
use crate::directory::Directory;
use crate::geo::Geo;
use crate::hashing::Hashing;
use crate::ingest::{LoginCache, Presence, PresenceObserver};
use crate::job_board::JobBoard;
use crate::ledger::LedgerState;
use crate::lineage::Lineage;
use crate::live::{LiveBus, LiveObserver};
use crate::meter::{Meter, MeterObserver};
use crate::promises::PromiseBoard;
use crate::provider_client::Providers;
use crate::route_job::RouteBoard;
use crate::security::Security;
use crate::segments::open_engine;
use crate::{Error, Result};

/// How to open the platform.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory; locked by the caller.
    pub data: PathBuf,
    /// The folder of the root keys, outside the data directory.
    pub root_key_dir: PathBuf,
    /// `sqlite:` or `postgres://...` of the runtime role.
    pub database_url: Secret<String>,
    /// `postgres://...` of the owner, who applies schema versions.
    pub database_owner_url: Option<Secret<String>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long a group commit waits for company.
    pub group_commit_delay: Duration,
    /// Size at which a log file is closed, in bytes.
    pub log_file_bytes_max: u64,
    /// Size of the memory table at which it is written out, in bytes.
    pub memory_bytes_max: usize,
    /// What latest values of all tenants may take.
    pub latest_max: veritwin_telemetry::LatestSize,
    /// Outgoing mail.
    pub mail: Option<MailConfig>,
    /// Who runs this installation, as the published texts say it.
    pub operator: Operator,
    /// Text messages.
    pub sms: Option<crate::SmsConfig>,
    /// Calls to addresses that tenants choose.
    pub outbound: Outbound,
    /// Which authority certificates of host names are fetched from.
    pub acme: Option<veritwin_outbound::acme::AcmeConfig>,
    /// How checkpoints of ledgers are published.
    pub publish: crate::PublishConfig,
    /// What the root key is made of; without it the root key is a file.
    pub root_passphrase: Option<Passphrase>,
    /// PKCS#11 modules that customers' keys may be in: code that runs in this process.
    pub key_modules: Vec<PathBuf>,
    /// Most that is written for one tenant while its key service is silent, in bytes.
    pub spool_bytes_max: u64,
    /// A file in MaxMind's format; without one no place of an address is known.
    pub geo_database: Option<PathBuf>,
    /// How often people, programs, devices and tenants may ask and send.
    pub rates: crate::Rates,
    /// The host name in ledger origins.
    pub ledger_host: String,
    /// Every name of the platform itself: no tenant below it is given one.
    pub own_names: Vec<String>,
    /// Where the log is shipped to.
    pub shipping: Option<crate::ShipConfig>,
    /// The bucket that segments of readings are kept in; none: the data directory.
    pub segments: Option<BucketConfig>,
    /// Bytes that backups and shipping read in a second; 0: without bound.
    pub disk_bytes_per_second: u64,
    /// How everything is read and compared in the background.
    pub scrub: crate::ScrubConfig,
    /// The data of new tenants is simulated.
    pub demo: bool,
    /// The directory runs on a simulated clock: ledger origins end in `/simulated`.
    pub simulated: bool,
}

/// The platform. Clones share it.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Inner>);

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) keys: KeyService,
    pub(crate) key_board: KeyBoard,
    pub(crate) store: Metastore,
    pub(crate) log: FileLog,
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) authorizer: Authorizer,
    pub(crate) throttle: Mutex<Throttle>,
    /// Slows down who writes through the contact form.
    pub(crate) contact_throttle: Mutex<Throttle>,
    pub(crate) mail_bounds: Mutex<crate::mail_bounds::MailBounds>,
    /// Tenants that have yet to be told that something is kept for less time.
    pub(crate) untold: Mutex<BTreeSet<TenantId>>,
    pub(crate) tree: RwLock<crate::tree::Tree>,
    /// Under which network addresses are known to the throttle; of this process only.
    pub(crate) attempt_key: [u8; 32],
    pub(crate) challenges: crate::factors::Challenges,
    pub(crate) gate: crate::rates::Gate,
    pub(crate) networks: crate::tenant_networks::KnownNetworks,
    /// How many passwords are hashed at once.
    pub(crate) hashing: Hashing,
    pub(crate) device_passwords: crate::device_passwords::DevicePasswords,
    pub(crate) claims: crate::claims::Claims,
    pub(crate) activity: ActivityWriter,
    pub(crate) geo: Geo,
    pub(crate) refusals: crate::refusals::Refusals,
    pub(crate) told: crate::refusals::Refusals,
    pub(crate) connections: crate::connections::Connections,
    pub(crate) attribute_lines: crate::attribute_lines::AttributeLines,
    pub(crate) call_lines: crate::calls::CallLines,
    pub(crate) edge_lines: crate::edges::EdgeLines,
    pub(crate) retained: crate::retained::RetainedBook,
    /// Where in the log the sessions of clients begin, once a broker has asked.
    pub(crate) sessions_from: Mutex<Option<u64>>,
    pub(crate) security: Security,
    pub(crate) in_flight: crate::idempotency::InFlight,
    pub(crate) directory: Directory,
    pub(crate) stream_books: crate::stream_book::StreamBooks,
    pub(crate) decoders: crate::decoders::Decoders,
    pub(crate) access: crate::access::AccessBooks,
    pub(crate) logins: LoginCache,
    pub(crate) presence: Arc<Presence>,
    pub(crate) live: Arc<LiveBus>,
    pub(crate) models: crate::objects::ModelCache,
    pub(crate) chunks: crate::objects::ChunkCache,
    pub(crate) storage: crate::storage::TwinBytes,
    #[cfg(feature = "test-controls")]
    pub(crate) disk: crate::full_disk::Switch,
    pub(crate) upkeep: crate::upkeep::Upkeep,
    pub(crate) destructions: DestructionBoard,
    pub(crate) erasures: crate::cases::erasure::ErasureBoard,
    pub(crate) lineage: Lineage,
    pub(crate) alerts: AlertBoard,
    pub(crate) routes: RouteBoard,
    pub(crate) zones: crate::zones::ZoneBoard,
    pub(crate) ledger: LedgerState,
    pub(crate) promises: PromiseBoard,
    pub(crate) jobs: JobBoard,
    pub(crate) imports: crate::inventory::Imports,
    pub(crate) egress: Arc<EgressRegister>,
    pub(crate) mailer: Option<crate::mail_keys::Post>,
    pub(crate) sms: crate::sms::Sms,
    pub(crate) purposes: veritwin_governance::PurposeRegister,
    pub(crate) legal: crate::legal::LegalBoard,
    pub(crate) providers: Providers,
    pub(crate) acme: Option<crate::acme::Acme>,
    pub(crate) publisher: crate::publish::Publisher,
    /// Counts changes of host names' certificates.
    pub(crate) host_certificates: tokio::sync::watch::Sender<u64>,
    /// Taken to change who has which host names and domains.
    pub(crate) names: tokio::sync::Mutex<()>,
    pub(crate) started_at: Timestamp,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

pub(crate) fn open_keys(config: &Config, rng: &Arc<dyn Rng>) -> Result<KeyService> {
    let io = |error: std::io::Error| Error::Internal(format!("root key folder: {error}"));
    if !config.root_key_dir.exists() {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.root_key_dir)
            .map_err(io)?;
    }
    let has_data = config.data.join("keyring").exists();
    // With data there but no root key, a new one would only hide that the old one is missing.
    let root =
        crate::root_key::open_root(config, rng, has_data).map_err(|error| not_opened(&error))?;
    let folder = config.data.join("keyring");
    KeyService::open(root, &folder, Arc::clone(&config.clock), Arc::clone(rng))
        .map_err(|error| not_opened(&error))
}

/// Why a file cannot be opened at the start is for the operator to mend: nothing inside broke.
fn not_opened(error: &dyn std::error::Error) -> Error {
    let problem = crate::store_check::describe(error);
    Error::invalid(format!("{problem} (`veritwin doctor` looks at everything and says what to do)"))
}

pub(crate) fn database(config: &Config) -> Result<Database> {
    let owner = config.database_owner_url.as_ref();
    database_at(&config.database_url, owner, &config.data)
}

pub(crate) fn database_at(
    address: &Secret<String>,
    owner: Option<&Secret<String>>,
    data: &Path,
) -> Result<Database> {
    let url = address.expose();
    if url == "sqlite:" {
        return Ok(Database::Sqlite(data.join("records.db")));
    }
    if url.starts_with("postgres://") {
        return Ok(Database::Postgres(veritwin_metastore::PostgresConfig {
            url: address.clone(),
            owner_url: owner.cloned(),
            demo: false,
        }));
    }
    Err(Error::invalid_at("database.url", "must be `sqlite:` or `postgres://...`"))
}

fn log_config(config: &Config, keys: &KeyService, rng: &Arc<dyn Rng>) -> LogConfig {
    let folder = config.data.join("log");
    let clock = Arc::clone(&config.clock);
    let mut log = LogConfig::new(folder, keys.clone(), clock, Arc::clone(rng));
    log.group_commit_delay = config.group_commit_delay;
    log.file_bytes_max = config.log_file_bytes_max;
    log.spool_bytes_max = config.spool_bytes_max;
    log
}

fn store_config(config: &Config, keys: &KeyService) -> Result<veritwin_metastore::Config> {
    Ok(veritwin_metastore::Config {
        database: database(config)?,
        connections_max: veritwin_metastore::CONNECTIONS_DEFAULT,
        keys: keys.clone(),
        clock: Arc::clone(&config.clock),
    })
}

fn open_objects(config: &Config) -> Result<Arc<dyn ObjectStore>> {
    let dir = config.data.join("objects");
    std::fs::create_dir_all(&dir).map_err(|error| Error::Internal(error.to_string()))?;
    let store = LocalFileSystem::new_with_prefix(&dir)
        .map_err(|error| Error::Internal(error.to_string()))?
        .with_fsync(true);
    Ok(Arc::new(store))
}

/// The one way to addresses that tenants choose.
pub(crate) fn guarded_client(
    config: &Config,
    egress: &Arc<EgressRegister>,
) -> Result<GuardedClient> {
    let Outbound { allowed_networks, ports, authorities_pem } = &config.outbound;
    let mut policy = GuardPolicy { allowed: allowed_networks.clone(), ..GuardPolicy::default() };
    if !ports.is_empty() {
        policy.ports.clone_from(ports);
    }
    let guard = Guard::new(policy);
    GuardedClient::new(guard, Arc::clone(egress), authorities_pem.as_deref())
        .map_err(|error| Error::invalid_at("outbound.authorities", error.to_string()))
}

/// Who sees each commit of the log, in this order; and what counts them.
fn observers(
    engine: &Engine,
    presence: &Arc<Presence>,
    live: &Arc<LiveBus>,
) -> (Vec<Box<dyn CommitObserver>>, Arc<Meter>) {
    let meter = Arc::<Meter>::default();
    let observers: Vec<Box<dyn CommitObserver>> = vec![
        engine.observer(),
        Box::new(PresenceObserver::new(Arc::clone(presence))),
        Box::new(LiveObserver::new(Arc::clone(live))),
        Box::new(MeterObserver(Arc::clone(&meter))),
    ];
    (observers, meter)
}

impl App {
    /// Opens the platform and recovers it. Jobs do not run yet: see [`App::start`].
    #[boxed]
    pub async fn open(config: Config) -> Result<Self> {
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let keys = open_keys(&config, &rng)?;
        crate::upgrade::back_up_older(&config, &keys).await?;
        let store = Metastore::open(store_config(&config, &keys)?).await?;
        let (egress, objects) = (Arc::new(EgressRegister::default()), open_objects(&config)?);
        let engine = open_engine(&config, &keys, (&objects, &egress), &rng).await?;
        let (presence, live) = (Arc::new(Presence::default()), Arc::new(LiveBus::default()));
        let (observers, meter) = observers(&engine, &presence, &live);
        let log = log_config(&config, &keys, &rng);
        #[cfg(feature = "test-controls")]
        let disk = crate::full_disk::Switch::default();
        #[cfg(feature = "test-controls")]
        let log = LogConfig { storage: Arc::new(disk.clone()), ..log };
        let log = FileLog::open(log, observers).map_err(|error| not_opened(&error))?;
        engine.recover(&log).await?;
        let lineage = Lineage::open(&config.data, log.tail_position())?;
        let inner = Inner {
            started_at: config.clock.now(),
            destructions: DestructionBoard::open(&config, &keys)?,
            erasures: crate::cases::erasure::ErasureBoard::default(),
            keys,
            key_board: KeyBoard::new(open_key_services(&config, &egress, &rng)?),
            store,
            log,
            engine,
            objects,
            authorizer: Authorizer::new().map_err(|error| Error::Internal(error.to_string()))?,
            throttle: Mutex::new(Throttle::default()),
            contact_throttle: Mutex::new(Throttle::default()),
            mail_bounds: Mutex::default(),
            untold: Mutex::default(),
            tree: RwLock::default(),
            attempt_key: SecretKey::generate(rng.as_ref()).expose().to_owned(),
            challenges: crate::factors::Challenges::new(rng.as_ref()),
            gate: crate::rates::Gate::new(config.rates),
            networks: crate::tenant_networks::KnownNetworks::default(),
            hashing: Hashing::default(),
            device_passwords: crate::device_passwords::DevicePasswords::new(rng.as_ref()),
            claims: crate::claims::Claims::default(),
            activity: ActivityWriter::default(),
            geo: Geo::open(config.geo_database.clone()),
            refusals: crate::refusals::Refusals::default(),
            told: crate::refusals::Refusals::default(),
            connections: crate::connections::Connections::default(),
            attribute_lines: crate::attribute_lines::AttributeLines::default(),
            call_lines: crate::calls::CallLines::default(),
            edge_lines: crate::edges::EdgeLines::default(),
            retained: crate::retained::RetainedBook::default(),
            sessions_from: Mutex::default(),
            security: Security::new(rng.as_ref()),
            in_flight: crate::idempotency::InFlight::default(),
            directory: Directory::default(),
            stream_books: crate::stream_book::StreamBooks::default(),
            decoders: crate::decoders::Decoders::default(),
            access: crate::access::AccessBooks::default(),
            logins: LoginCache::default(),
            presence,
            live,
            models: crate::objects::ModelCache::default(),
            chunks: crate::objects::ChunkCache::default(),
            storage: crate::storage::TwinBytes::default(),
            #[cfg(feature = "test-controls")]
            disk,
            upkeep: crate::upkeep::Upkeep::new(meter),
            lineage,
            alerts: AlertBoard::default(),
            routes: RouteBoard::default(),
            zones: crate::zones::ZoneBoard::default(),
            ledger: LedgerState::default(),
            promises: PromiseBoard::new()?,
            jobs: JobBoard::default(),
            imports: crate::inventory::Imports::default(),
            publisher: crate::publish::Publisher::open(&config, &egress)?,
            mailer: crate::mail_keys::Post::open(&config, &egress)?,
            sms: crate::sms::Sms::open(&config, &egress)?,
            purposes: crate::legal::purpose_register()?,
            legal: crate::legal::LegalBoard::default(),
            providers: Providers::open(&config, &egress, rng.as_ref())?,
            acme: open_acme(&config, &egress)?,
            egress,
            host_certificates: tokio::sync::watch::Sender::new(0),
            names: tokio::sync::Mutex::new(()),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
            rng,
        };
        let app = Self(Arc::new(inner));
        app.begin().await?;
        Ok(app)
    }

    /// What has to be so before anybody is listened to.
    async fn begin(&self) -> Result<()> {
        self.ensure_platform_tenant().await?;
        self.load_legal().await?;
        self.load_tree().await?;
        self.load_zones().await?;
        self.load_flows().await?;
        self.0.engine.set_units(Arc::new(PersonalStreams(Arc::downgrade(&self.0))));
        self.replay_shreds(None).await.map(drop)
    }

    /// Starts the background jobs.
    #[boxed]
    pub async fn start(&self) -> Result<()> {
        if let Err(error) = self.remove_old_fixture().await {
            tracing::warn!(%error, "what the checks of before left stays until the next start");
        }
        self.start_effects().await?;
        self.recount_usage().await?;
        self.start_alerts().await?;
        self.start_routes().await?;
        self.start_maintenance();
        self.start_key_keeper();
        self.start_shipping()?;
        self.start_scrub();
        self.start_sealing_records();
        self.start_ledger();
        self.start_destructions();
        self.start_erasures();
        self.start_zones();
        self.start_promises();
        self.tell_rest_shortened();
        Ok(())
    }

    /// Stops the jobs and writes out what is open. What was acknowledged is durable already.
    #[boxed]
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.engine.stop_resting();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.finish_activity().await;
        let log = self.0.log.clone();
        // Closing waits for the disk.
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
        if let Err(error) = self.0.store.close().await {
            tracing::warn!(%error, "the records did not close cleanly");
        }
    }

    /// The clock of this platform.
    pub fn clock(&self) -> &dyn Clock {
        self.0.config.clock.as_ref()
    }

    /// Whether that clock is a simulated one.
    pub fn is_simulated(&self) -> bool {
        self.0.config.simulated
    }

    /// The clock, to share.
    pub fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.config.clock)
    }

    /// The randomness of this platform, to share.
    pub fn shared_rng(&self) -> Arc<dyn Rng> {
        Arc::clone(&self.0.rng)
    }

    /// The randomness of this platform.
    pub fn rng(&self) -> &dyn Rng {
        self.0.rng.as_ref()
    }
}

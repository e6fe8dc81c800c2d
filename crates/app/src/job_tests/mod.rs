//! The background jobs on a real platform in a folder of its own: one tenant's trouble is its own,
//! a job that stops is seen, and what a crash leaves is mended at the next start.

mod alerts;
mod attributes;
mod audit;
mod breaches;
mod cases;
mod connections;
mod credentials;
mod destructions;
mod elsewhere;
mod erasures;
mod histories;
mod inventory;
mod ledger;
mod ledger_items;
mod ledger_mail;
mod mailbox;
#[path = "../../../telemetry/tests/it/moto_server.rs"]
mod moto_server;
mod passwords;
mod people;
mod retained;
mod routes;
mod rule_sight;
mod segments;
mod shipping;
#[path = "../../../twin/tests/it/skipped.rs"]
mod skipped;
mod streams;
mod thinned;
mod trust;
mod zones;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use veritwin_domain::{
    Actor, ActorKind, ApiKeyId, CredentialId, Declaration, DeviceBatch, DeviceId, Key, ManualClock,
    OpContext, Quality, Reading, Role, RuleId, Secret, SiteId, TenantId, Timestamp, Value,
};
use veritwin_metastore::{Alert, AlertState, Page, Twin};
use veritwin_outpost::archive::{ClientTrust, ServeConfig, Server, generate_client};

use crate::model::{DeviceInput, RuleCondition, RuleInput, RuleScope, TenantInput};
use crate::{App, ArchiveAccess, Submission};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const KEY: &str = "t";

/// One tenant with a device, and a rule that anything above 25 breaks.
struct Customer {
    context: OpContext,
    device: DeviceId,
    rule: RuleId,
}

impl Customer {
    fn tenant(&self) -> TenantId {
        self.context.tenant
    }

    /// Somebody of the customer who has a role.
    fn somebody(&self, role: Role) -> OpContext {
        let key = ActorKind::ApiKey(ApiKeyId::from_bytes([7; 16]));
        let actor = Actor::with_roles(key, vec![role]);
        OpContext { actor, ..self.context.clone() }
    }
}

struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    app: App,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        let app = open(&folder, &clock, None).await;
        Self { folder, clock, app }
    }

    async fn reopen(self) -> Self {
        let Self { folder, clock, app } = self;
        app.close().await;
        // The last one to let go unlocks the folder.
        let shipping = app.0.config.shipping.clone();
        drop(app);
        let app = open(&folder, &clock, shipping).await;
        Self { folder, clock, app }
    }

    async fn customer(&self, name: &str) -> Customer {
        self.customer_of(name, true).await
    }

    async fn customer_of(&self, name: &str, archive_subscribed: bool) -> Customer {
        let app = &self.app;
        let name = name.to_owned();
        let input = TenantInput { name, is_partner: false, plan: None, archive_subscribed };
        let made = app.create_tenant(&app.local_operator(), input).await.expect("a tenant");
        let context = app.demo_context(made.id);
        let input = DeviceInput {
            name: "pump".to_owned(),
            declaration: Declaration::NonPersonal,
            ..DeviceInput::default()
        };
        let device = app.create_device(&context, input).await.expect("a device").0.id;
        let rule = app.create_rule(&context, rule(true)).await.expect("a rule").id;
        Customer { context, device, rule }
    }

    /// Sends a reading; answers its position in the log.
    async fn send(&self, customer: &Customer, value: f64) -> u64 {
        self.send_all(customer, &[value]).await
    }

    /// One message with a microsecond between its readings, the last of them of now.
    async fn send_all(&self, customer: &Customer, values: &[f64]) -> u64 {
        self.clock.advance(Duration::from_secs(1));
        let now = self.app.clock().now();
        let before = |micros: usize| now.saturating_sub(Duration::from_micros(micros as u64));
        let readings = values.iter().rev().enumerate().rev();
        let readings: Vec<_> = readings.map(|(micros, value)| (before(micros), *value)).collect();
        self.send_of(customer, &readings).await
    }

    /// One message of now with these readings.
    async fn send_of(&self, customer: &Customer, readings: &[(Timestamp, f64)]) -> u64 {
        let readings = readings.iter().map(|(at, value)| Reading {
            key: Key::new(KEY).expect("a key"),
            at: *at,
            value: Value::Double(*value),
            quality: Quality::Good,
        });
        let batch = DeviceBatch {
            tenant: customer.tenant(),
            device: customer.device,
            credential: CredentialId::from_bytes([1; 16]),
            received_at: self.app.clock().now(),
            readings: readings.collect(),
        };
        let sent = self.app.submit(customer.tenant(), vec![Submission::Readings(batch)]).await;
        sent.expect("durable");
        self.app.0.log.tail_position() - 1
    }

    /// Looks again and again, while the platform's time passes.
    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut polls = tokio::time::interval(POLL);
        let looking = async {
            loop {
                polls.tick().await;
                self.clock.advance(Duration::from_millis(200));
                if let Some(found) = look().await {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
    }

    async fn alerts(&self, customer: &Customer) -> Vec<Alert> {
        let tx = self.app.0.store.read(&customer.context).await.expect("records");
        let all = veritwin_metastore::AlertFilter::All;
        tx.alerts(all, &Page::whole()).await.map(|listed| listed.items).unwrap_or_default()
    }

    async fn only_alert(&self, customer: &Customer, state: AlertState) -> Alert {
        self.until(state.as_str(), async || {
            let alerts = self.alerts(customer).await;
            assert!(alerts.len() <= 1, "{alerts:?}");
            alerts.into_iter().find(|alert| alert.state == state)
        })
        .await
    }

    fn held(&self) -> BTreeSet<(&'static str, TenantId)> {
        self.app.held_tenants().into_iter().map(|held| (held.job, held.tenant)).collect()
    }

    async fn offset(&self, consumer: &str) -> Option<u64> {
        let context = self.app.local_operator();
        let tx = self.app.0.store.read_platform(&context).await.expect("records");
        tx.offset(consumer).await.expect("an offset")
    }

    async fn setting(&self, customer: &Customer, name: &str, body: &[u8]) {
        let tx = self.app.0.store.begin(&customer.context).await.expect("records");
        tx.setting_put(name, body, None).await.expect("a setting");
        tx.commit().await.expect("written");
    }

    /// Starts a real archive and connects it.
    async fn archive(&self) {
        self.archive_until(CancellationToken::new()).await;
    }

    /// The same; it is closed once it is told to stop.
    async fn archive_until(&self, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        self.archive_of(stop, veritwin_ledger::ArchiveLimits::default()).await
    }

    /// The same with other bounds.
    async fn archive_of(
        &self,
        stop: CancellationToken,
        limits: veritwin_ledger::ArchiveLimits,
    ) -> tokio::task::JoinHandle<()> {
        let pair = generate_client("platform").expect("a certificate");
        // One platform, whose logs are its own whichever certificate it shows.
        let client = self.folder.path().join("client.pem");
        std::fs::write(&client, &pair.certificate_pem).expect("written");
        let server = Server::bind(ServeConfig {
            directory: self.folder.path().join("archive"),
            root_key: self.folder.path().join("archive.key"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            names: vec!["127.0.0.1".to_owned()],
            clients: ClientTrust::CertificateFile(client),
            renewed: std::collections::HashMap::new(),
            client: veritwin_outpost::archive::ClientLimits { logs_max: 100, bytes_max: u64::MAX },
            bucket: None,
            limits,
            clock: self.app.shared_clock(),
            rng: self.app.shared_rng(),
        })
        .await
        .expect("an archive");
        let port = server.address().port();
        let served = tokio::spawn(async move {
            server.run(stop.cancelled_owned()).await.expect("a clean end");
        });
        let certificate = self.folder.path().join("archive/certificate.pem");
        let access = ArchiveAccess {
            host: "127.0.0.1".to_owned(),
            port,
            server_certificate_pem: std::fs::read_to_string(certificate).expect("a certificate"),
            client_certificate_pem: pair.certificate_pem.clone(),
            client_key_pem: pair.key_pem.clone(),
            is_own: true,
        };
        self.app.attach_archive(access).await.expect("attached");
        served
    }

    /// Somebody else makes a customer's log in the archive first.
    async fn foreign_log(&self, customer: &Customer) {
        let (log, _) = self.app.log_of(&customer.context).await.expect("a log");
        let origin = veritwin_ledger::origin_of("elsewhere", log, false);
        let submitter = veritwin_keys::SigningKey::generate(self.app.rng()).public_bytes();
        let create = veritwin_ledger::CreateLog { log, origin, submitter };
        self.app.archive().expect("connected").create_log(&create).await.expect("made");
    }

    /// How many records of a customer are sealed.
    async fn sealed(&self, customer: &Customer) -> u64 {
        let (log, _) = self.app.log_of(&customer.context).await.expect("a log");
        let Ok(summary) = self.app.summary_of(log).await else { return 0 };
        let mut count = 0;
        for index in 0..summary.size {
            let found = self.app.leaf(log, index, summary.size).await.expect("a leaf");
            count += u64::from(found.leaf.count);
        }
        count
    }
}

async fn open(
    folder: &TempDir,
    clock: &Arc<ManualClock>,
    shipping: Option<crate::ShipConfig>,
) -> App {
    open_at(config(folder, clock, shipping)).await
}

async fn open_at(config: crate::Config) -> App {
    std::fs::create_dir_all(&config.data).expect("data directory");
    App::open(config).await.expect("a platform")
}

fn config(
    folder: &TempDir,
    clock: &Arc<ManualClock>,
    shipping: Option<crate::ShipConfig>,
) -> crate::Config {
    crate::Config {
        data: folder.path().join("data"),
        root_key_dir: folder.path().join("root"),
        database_url: Secret::new("sqlite:".to_owned()),
        database_owner_url: None,
        clock: Arc::<ManualClock>::clone(clock),
        group_commit_delay: Duration::ZERO,
        log_file_bytes_max: 1 << 20,
        root_passphrase: None,
        key_modules: Vec::new(),
        spool_bytes_max: 1 << 20,
        memory_bytes_max: 8 << 20,
        latest_max: veritwin_telemetry::LatestSize { series: 10_000, bytes: 4 << 20 },
        mail: None,
        operator: crate::Operator::default(),
        sms: None,
        outbound: crate::Outbound::default(),
        acme: None,
        publish: crate::PublishConfig::default(),
        geo_database: None,
        shipping,
        segments: None,
        disk_bytes_per_second: 0,
        scrub: crate::ScrubConfig { every: None, bytes_per_second: 0 },
        rates: crate::Rates::default(),
        ledger_host: "localhost".to_owned(),
        own_names: vec!["localhost".to_owned()],
        demo: false,
        simulated: false,
    }
}

/// A twin without a file.
fn some_twin(id: SiteId, customer: &Customer) -> Twin {
    Twin {
        id,
        name: "Home".to_owned(),
        source_kind: "ifc".to_owned(),
        source_schema: "IFC4".to_owned(),
        source_sha256: [9; 32],
        source_bytes: 1,
        source_object: "twins/1/source".to_owned(),
        model_object: "twins/1/model".to_owned(),
        geometry_object: None,
        detail: b"{}".to_vec(),
        version: 0,
        created_at: customer.context.at,
        updated_at: customer.context.at,
    }
}

fn rule(enabled: bool) -> RuleInput {
    RuleInput {
        name: "Too warm".to_owned(),
        severity: "high".to_owned(),
        enabled,
        scope: RuleScope::default(),
        condition: RuleCondition::Threshold {
            key: KEY.to_owned(),
            op: "gt".to_owned(),
            threshold: 25.0,
            hysteresis: 1.0,
            for_seconds: 0,
        },
        notify_emails: Vec::new(),
        what_helps: String::new(),
        sees_closed: None,
    }
}

/// What may be wrong with one tenant.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    KeyRevoked,
    RecordDamaged,
    /// The archive knows the log under another submitter's key.
    ArchiveConflict,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ended_or_is_stuck_is_not_ready() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    world.app.start_alerts().await.expect("started");
    assert_eq!(world.app.readiness(), Ok(()));
    let tx = world.app.0.store.begin(&customer.context).await.expect("the only writer");
    world.clock.advance(Duration::from_secs(61));
    let stuck = world.app.readiness().expect_err("the job cannot write");
    assert!(stuck.contains("the job alerts is stuck") && !stuck.contains("Only"), "{stuck}");
    drop(tx);
    let ready = || world.app.readiness().is_ok().then_some(());
    world.until("the next turn", async || ready()).await;
    let log = world.app.0.log.clone();
    tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
    let ended = world.until("the end", async || world.app.readiness().err()).await;
    assert_eq!(ended, "the job alerts has ended");
    world.app.close().await;
}

//! The background jobs on a real platform in a folder of its own: one tenant's trouble is its own,
//! a job that stops is seen, and what a crash leaves is mended at the next start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use veritwin_alerting::{Evaluator, EvaluatorLimits};
use veritwin_domain::{
    CredentialId, Declaration, DeviceBatch, DeviceId, Key, ManualClock, OpContext, Quality,
    Reading, RuleId, Secret, TenantId, Timestamp, Value,
};
use veritwin_metastore::{Alert, AlertEventKind, AlertState, Page};
use veritwin_outpost::archive::{ClientTrust, ServeConfig, Server, generate_client};

use crate::alerts::Detail;
use crate::ledger_open::VKEY_SETTING;
use crate::model::{DeviceInput, RuleCondition, RuleInput, RuleScope};
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
        let app = open(&folder, &clock).await;
        Self { folder, clock, app }
    }

    async fn reopen(self) -> Self {
        let Self { folder, clock, app } = self;
        app.close().await;
        // The last one to let go unlocks the folder.
        drop(app);
        let app = open(&folder, &clock).await;
        Self { folder, clock, app }
    }

    async fn customer(&self, name: &str) -> Customer {
        let app = &self.app;
        let made = app.create_tenant(&app.local_operator(), name, true).await.expect("a tenant");
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
        self.clock.advance(Duration::from_secs(1));
        let now = self.app.clock().now();
        let reading = Reading {
            key: Key::new(KEY).expect("a key"),
            at: now,
            value: Value::Double(value),
            quality: Quality::Good,
        };
        let batch = DeviceBatch {
            tenant: customer.tenant(),
            device: customer.device,
            credential: CredentialId::from_bytes([1; 16]),
            received_at: now,
            readings: vec![reading],
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
        let pair = generate_client("platform").expect("a certificate");
        let server = Server::bind(ServeConfig {
            directory: self.folder.path().join("archive"),
            root_key: self.folder.path().join("archive.key"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            names: vec!["127.0.0.1".to_owned()],
            clients: ClientTrust::Fingerprints(vec![pair.fingerprint]),
            limits: veritwin_ledger::ArchiveLimits::default(),
            clock: self.app.shared_clock(),
            rng: self.app.shared_rng(),
        })
        .await
        .expect("an archive");
        let port = server.address().port();
        tokio::spawn(server.run(std::future::pending()));
        let certificate = self.folder.path().join("archive/certificate.pem");
        let access = ArchiveAccess {
            host: "127.0.0.1".to_owned(),
            port,
            server_certificate_pem: std::fs::read_to_string(certificate).expect("a certificate"),
            client_certificate_pem: pair.certificate_pem.clone(),
            client_key_pem: pair.key_pem.clone(),
        };
        self.app.attach_archive(access).await.expect("attached");
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

async fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> App {
    let config = crate::Config {
        data: folder.path().join("data"),
        root_key_dir: folder.path().join("root"),
        database_url: Secret::new("sqlite:".to_owned()),
        database_owner_url: None,
        clock: Arc::<ManualClock>::clone(clock),
        group_commit_delay: Duration::ZERO,
        log_file_bytes_max: 1 << 20,
        memory_bytes_max: 8 << 20,
        mail: None,
        ledger_host: "localhost".to_owned(),
        demo: false,
        simulated: false,
    };
    std::fs::create_dir_all(&config.data).expect("data directory");
    App::open(config).await.expect("a platform")
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
    }
}

/// What may be wrong with one tenant.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    KeyRevoked,
    RecordDamaged,
}

const TROUBLES: [Trouble; 2] = [Trouble::KeyRevoked, Trouble::RecordDamaged];

async fn alerts_with(trouble: Trouble, restart: bool) {
    let mut world = World::new().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    let first = world.send(&bad, 30.0).await;
    world.send(&good, 30.0).await;
    let healthy = Evaluator::new(EvaluatorLimits::default()).snapshot().expect("a snapshot");
    let healthy = String::from_utf8(healthy).expect("text");
    let healthy = serde_json::json!({"snapshot": healthy, "open": []}).to_string();
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.revoke(bad.tenant()).expect("revoked"),
        Trouble::RecordDamaged => world.setting(&bad, crate::alert_state::SETTING, b"{").await,
    }
    world.app.start_alerts().await.expect("one tenant stops no start");
    world.only_alert(&good, AlertState::ActiveUnacknowledged).await;
    world.send(&good, 20.0).await;
    world.only_alert(&good, AlertState::ClearedUnacknowledged).await;
    assert_eq!(world.held(), [("alerts", bad.tenant())].into(), "{trouble:?}");
    assert_eq!(world.app.readiness(), Ok(()), "{trouble:?}");
    if restart {
        world = world.reopen().await;
        assert!(world.offset("alerts").await.is_some_and(|at| at <= first), "{trouble:?}");
        world.app.start_alerts().await.expect("again");
    }
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.restore(bad.tenant()).expect("restored"),
        Trouble::RecordDamaged => {
            world.setting(&bad, crate::alert_state::SETTING, healthy.as_bytes()).await;
        }
    }
    world.only_alert(&bad, AlertState::ActiveUnacknowledged).await;
    world.until("the release", async || world.held().is_empty().then_some(())).await;
    world.only_alert(&good, AlertState::ClearedUnacknowledged).await;
    // It goes on like everybody.
    world.send(&bad, 20.0).await;
    world.only_alert(&bad, AlertState::ClearedUnacknowledged).await;
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    assert_eq!(world.offset("alerts").await, Some(tail), "{trouble:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_the_others_go_on() {
    for trouble in TROUBLES {
        for restart in [false, true] {
            alerts_with(trouble, restart).await;
        }
    }
}

async fn ledger_with(trouble: Trouble) {
    let mut world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    let first = world.send(&bad, 1.0).await;
    world.send(&good, 1.0).await;
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.revoke(bad.tenant()).expect("revoked"),
        Trouble::RecordDamaged => world.setting(&bad, VKEY_SETTING, b"another key").await,
    }
    world.app.start_ledger();
    world.until("the first leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    world.send(&good, 2.0).await;
    world.until("the second leaf", async || (world.sealed(&good).await == 2).then_some(())).await;
    assert_eq!(world.held(), [("ledger", bad.tenant())].into(), "{trouble:?}");
    let kept = world.until("an offset", async || world.offset("ledger").await).await;
    assert!(kept <= first, "{trouble:?}: {kept} is past {first}");
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.restore(bad.tenant()).expect("restored"),
        Trouble::RecordDamaged => {
            let (log, _) = world.app.log_of(&bad.context).await.expect("a log");
            let vkey = world.app.summary_of(log).await.expect("a summary").vkey;
            world.setting(&bad, VKEY_SETTING, vkey.as_bytes()).await;
        }
    }
    world.until("the release", async || world.held().is_empty().then_some(())).await;
    world.send(&bad, 2.0).await;
    world.until("its leaves", async || (world.sealed(&bad).await == 2).then_some(())).await;
    assert_eq!((world.sealed(&good).await, world.sealed(&bad).await), (2, 2), "{trouble:?}");
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    assert_eq!(world.offset("ledger").await, Some(tail), "{trouble:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_of_the_others_goes_on() {
    for trouble in TROUBLES {
        ledger_with(trouble).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destroyed_keys_hold_nobody_up() {
    let mut world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    world.send(&bad, 30.0).await;
    world.send(&good, 30.0).await;
    world.app.0.keys.destroy_tenant(bad.tenant()).expect("destroyed");
    world.app.start_alerts().await.expect("started");
    world.app.start_ledger();
    world.only_alert(&good, AlertState::ActiveUnacknowledged).await;
    world.until("the leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    assert!(world.held().is_empty(), "{:?}", world.held());
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    let offsets = (world.offset("alerts").await, world.offset("ledger").await);
    assert_eq!(offsets, (Some(tail), Some(tail)));
    world.app.close().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_alert_tells_of_now() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    world.app.start_alerts().await.expect("started");
    let told =
        |alert: &Alert| serde_json::from_slice::<Detail>(&alert.detail).expect("a detail").value;
    world.send(&customer, 30.0).await;
    let first = world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    assert_eq!(told(&first), Some(30.0));
    world.send(&customer, 20.0).await;
    world.only_alert(&customer, AlertState::ClearedUnacknowledged).await;
    world.send(&customer, 35.0).await;
    let at = world.app.clock().now();
    let again = world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    assert_eq!((again.id, told(&again)), (first.id, Some(35.0)));
    assert_eq!((again.raised_at, again.cleared_at), (at, None));
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let events = tx.alert_events(again.id).await.expect("events");
    let raised = events.iter().filter(|event| event.kind == AlertEventKind::Raised);
    let times: Vec<Timestamp> = raised.map(|event| event.at).collect();
    assert_eq!(times, [first.raised_at, at]);
    drop(tx);
    world.app.close().await;
}

/// The rule goes while the job does not run, as in a crash between its deletion and the next
/// write of the job's state.
async fn orphaned(delete: bool) {
    let mut world = World::new().await;
    let customer = world.customer("Only").await;
    world.app.start_alerts().await.expect("started");
    world.send(&customer, 30.0).await;
    world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    world = world.reopen().await;
    let (app, context) = (world.app.clone(), &customer.context);
    if delete {
        app.delete_rule(context, customer.rule).await.expect("deleted");
    } else {
        app.replace_rule(context, customer.rule, rule(false), None).await.expect("switched off");
    }
    drop(app);
    world = world.reopen().await;
    world.app.start_alerts().await.expect("started");
    let alert = world.only_alert(&customer, AlertState::ClearedUnacknowledged).await;
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let events = tx.alert_events(alert.id).await.expect("events");
    let last = events.last().expect("an event");
    assert_eq!(
        (last.kind, last.comment.as_deref()),
        (AlertEventKind::Cleared, Some("rule_changed"))
    );
    drop(tx);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_rules_that_went_in_a_crash_are_cleared_at_the_start() {
    for delete in [true, false] {
        orphaned(delete).await;
    }
}

/// A file with this many devices.
fn inventory(devices: usize) -> String {
    let rows = (0..devices).map(|number| format!("sensor-{number:05},sensor,non_personal\n"));
    std::iter::once("name,type,declaration\n".to_owned()).chain(rows).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_leaves_the_writer_to_others() {
    const DEVICES: usize = 3000;
    let world = World::new().await;
    let (large, small) = (world.customer("Large").await, world.customer("Small").await);
    let (app, context) = (world.app.clone(), large.context.clone());
    let started = std::time::Instant::now();
    let importing = tokio::spawn(async move {
        app.import_inventory(&context, None, inventory(DEVICES).as_bytes()).await
    });
    let (mut writes, mut longest) = (0u32, Duration::ZERO);
    while !importing.is_finished() {
        let began = std::time::Instant::now();
        world.setting(&small, "other", b"1").await;
        longest = longest.max(began.elapsed());
        writes += 1;
    }
    let outcome = importing.await.expect("runs").expect("imported");
    let took = started.elapsed();
    println!("{DEVICES} devices in {took:?}; meanwhile {writes} writes, the longest {longest:?}");
    assert_eq!((outcome.created, outcome.tokens.len()), (DEVICES, DEVICES));
    assert!(writes >= 20, "only {writes} writes in {took:?}");
    assert!(longest < took / 4, "a write waited {longest:?} of {took:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_cut_off_is_completed_by_the_same_file() {
    const DEVICES: usize = 600;
    let mut world = World::new().await;
    let customer = world.customer("Only").await;
    let file = inventory(DEVICES);
    let count = async |world: &World| {
        let tx = world.app.0.store.read(&customer.context).await.expect("records");
        tx.device_counts().await.expect("a count").0
    };
    let (app, context, bytes) = (world.app.clone(), customer.context.clone(), file.clone());
    let importing =
        tokio::spawn(async move { app.import_inventory(&context, None, bytes.as_bytes()).await });
    world.until("the first batch", async || (count(&world).await > 1).then_some(())).await;
    importing.abort();
    let cut_off = importing.await;
    let written = count(&world).await;
    println!("cut off with {written} devices: {}", cut_off.is_err());
    // A second crash, in a new process.
    world = world.reopen().await;
    let context = world.app.demo_context(customer.tenant());
    let damaged = format!("{file}sensor-x,sensor,perhaps\n");
    let refused = world.app.import_inventory(&context, None, damaged.as_bytes()).await;
    let at = |error: crate::Error| match error {
        crate::Error::Invalid { at, .. } => at.unwrap_or_default(),
        other => other.to_string(),
    };
    assert_eq!(refused.map_err(at).err().as_deref(), Some("row 602, column declaration"));
    assert_eq!(count(&world).await, written, "a mistake changes nothing");
    let outcome = world.app.import_inventory(&context, None, file.as_bytes()).await;
    let outcome = outcome.expect("completed");
    let expect = if cut_off.is_err() { (DEVICES, 0) } else { (0, DEVICES) };
    assert_eq!((outcome.created, outcome.updated), expect);
    assert_eq!(count(&world).await, DEVICES as u64 + 1);
    for (name, token) in &outcome.tokens {
        assert_eq!(*world.app.login_device(token).await.expect("lets in").name, **name);
    }
    let again = world.app.import_inventory(&context, None, file.as_bytes()).await.expect("again");
    assert_eq!((again.created, again.updated), (0, DEVICES));
    world.app.close().await;
}

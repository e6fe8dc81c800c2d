//! The board by itself, and the probes against a real platform in a folder of its own.

mod read_back;

use std::path::Path;

use async_trait::async_trait;
use veritwin_domain::{Clock, ManualClock, Role, SystemClock};
use veritwin_metastore::{Alert, AlertFilter, DeviceFilter, LinkKind, Page};

use super::fixture::ProbeIdentity;
use super::*;
use crate::model::AlertQuery;
use crate::provision::PLATFORM_TENANT;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Promise P32, whose check has this answer, in this version.
pub(crate) struct Answers(pub(crate) ProbeAnswer, pub(crate) u32);

#[async_trait]
impl PlatformProbe for Answers {
    fn promise(&self) -> u8 {
        32
    }
    fn version(&self) -> u32 {
        self.1
    }
    async fn check(&self) -> ProbeAnswer {
        self.0.clone()
    }
}

fn passed() -> ProbeAnswer {
    ProbeAnswer::Passed { summary: "Held.".to_owned(), facts: vec![] }
}

async fn run(board: &PromiseBoard, answer: ProbeAnswer, version: u32, clock: &ManualClock) {
    clock.advance(Duration::from_secs(1));
    let probe = Arc::new(Answers(answer, version));
    let promise = PromiseId::new(32).expect("a promise");
    let meter = spent::Meter::new(board.register.get(promise).budget);
    let lane = Arc::default();
    let adapted = probe::Adapted { promise, probe, timeout: TIMEOUT, meter, lane, walked: None };
    let id = EvidenceId::from_bytes([1; 16]);
    let evidence = veritwin_governance::run(&adapted, id, clock).await;
    board.board.lock().took(Run { evidence, ledger_index: None });
}

#[tokio::test]
async fn a_state_comes_out_of_evidence_alone() {
    let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
    let board = PromiseBoard::new().expect("register");
    let id = PromiseId::new(32).expect("a promise");
    let state = |board: &PromiseBoard| board.view(id, clock.now()).state;
    assert_eq!(board.views(clock.now()).len(), 62);
    assert!(board.views(clock.now()).iter().all(|view| view.state == "not_evidenced"));
    board.add(Arc::new(Answers(passed(), 1))).expect("a promise's probe");
    let now = clock.now();
    assert_eq!(board.board.lock().schedule.due(&board.register, now), [id]);
    run(&board, passed(), 1, &clock).await;
    assert_eq!(state(&board), "proven");
    assert!(board.view(id, clock.now()).reason.is_some_and(|text| text.contains("operator")));
    let failed = ProbeAnswer::Failed {
        summary: "Broken.".to_owned(),
        facts: vec![("stored".to_owned(), "1".to_owned())],
        place: "users".to_owned(),
    };
    run(&board, failed, 1, &clock).await;
    assert_eq!(state(&board), "failing");
    let view = board.view(id, clock.now());
    assert_eq!(view.facts[0], ("place".to_owned(), "users".to_owned()));
    // A check that could not run changes nothing but the moment it was tried.
    run(&board, ProbeAnswer::CouldNotRun("No.".to_owned()), 1, &clock).await;
    assert_eq!(state(&board), "failing");
    run(&board, passed(), 1, &clock).await;
    assert_eq!(state(&board), "proven");
}

#[tokio::test]
async fn a_changed_probe_is_due_at_once() {
    let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
    let board = PromiseBoard::new().expect("register");
    let id = PromiseId::new(32).expect("a promise");
    run(&board, passed(), 1, &clock).await;
    board.add(Arc::new(Answers(passed(), 1))).expect("same version");
    let now = clock.now();
    assert!(board.board.lock().schedule.due(&board.register, now).is_empty());
    board.add(Arc::new(Answers(passed(), 2))).expect("newer version");
    assert_eq!(board.board.lock().schedule.due(&board.register, now), [id]);
}

/// Runs the check of P32 as if its time had come; it passes.
pub(crate) async fn passes(app: &App) {
    app.register_probe(Arc::new(Answers(passed(), 1))).expect("a promise's probe");
    let id = PromiseId::new(32).expect("a promise");
    assert!(app.0.promises.board.lock().schedule.ask(id));
    app.run_check(id, run::Why::Due).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_is_told_when_a_promise_breaks() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    let promise = PromiseId::new(32).expect("a promise");
    let failed = ProbeAnswer::Failed {
        summary: "Broken.".to_owned(),
        facts: Vec::new(),
        place: "users".to_owned(),
    };
    let told = async || {
        let context = app.job_in(veritwin_access::jobs::SECURITY, PLATFORM_TENANT);
        let tx = app.0.store.read(&context).await.expect("records");
        tx.security_alerts(&Page::whole()).await.expect("alerts").items
    };
    let answers = [(passed(), 0), (failed.clone(), 1), (failed.clone(), 1), (passed(), 1)];
    for (answer, expect) in answers.into_iter().chain([(failed, 1)]) {
        app.register_probe(Arc::new(Answers(answer, 1))).expect("a promise's probe");
        app.run_check(promise, run::Why::Asked).await;
        assert_eq!(told().await.len(), expect);
    }
    let alert = told().await.remove(0);
    assert_eq!((alert.kind.as_str(), alert.severity.as_str()), ("promise_broken", "high"));
    assert!(String::from_utf8_lossy(&alert.body).contains("P32"));
    app.close().await;
}

/// A platform in a folder of its own, whose jobs do not run.
pub(crate) async fn platform(root: &Path) -> App {
    let config = crate::Config {
        data: root.join("data"),
        root_key_dir: root.join("root"),
        database_url: veritwin_domain::Secret::new("sqlite:".to_owned()),
        database_owner_url: None,
        clock: Arc::new(SystemClock::new()),
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
        shipping: None,
        segments: None,
        disk_bytes_per_second: 0,
        scrub: crate::ScrubConfig { every: None, bytes_per_second: 0 },
        rates: crate::Rates::default(),
        ledger_host: "localhost".to_owned(),
        own_names: vec!["localhost".to_owned()],
        demo: false,
        simulated: false,
    };
    std::fs::create_dir_all(&config.data).expect("data directory");
    let app = App::open(config).await.expect("a platform");
    app.ensure_platform_tenant().await.expect("the platform's tenant");
    app
}

/// Checks the ledgers' fingerprints, whatever else is not started.
pub(crate) async fn check_ledgers(app: &App) -> PromiseView {
    app.register_probe(fingerprints::probe(app)).expect("a promise's probe");
    check(app, "P26").await
}

async fn check(app: &App, id: &str) -> PromiseView {
    let context = app.local_operator();
    app.check_promise_for_local(&context, id).await.expect("a check")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_files_at_rest_are_proven_and_kept() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    app.start_promises();
    let passwords = check(&app, "P32").await;
    assert_eq!(passwords.state, "proven", "{passwords:?}");
    let at_rest = check(&app, "P22").await;
    assert_eq!(at_rest.state, "proven", "{at_rest:?}");
    let files = at_rest.facts.iter().find(|(name, _)| name == "files searched");
    assert!(files.is_some_and(|(_, count)| count.parse::<u64>().is_ok_and(|n| n > 4)), "{files:?}");
    // Nothing of the canary is left.
    let context = app.job_in(veritwin_access::jobs::PROMISES, PROBE_TENANT);
    let tx = app.0.store.read(&context).await.expect("records");
    let whole = Page::whole();
    assert!(tx.twins(&whole).await.expect("twins").items.is_empty());
    assert!(tx.api_keys(&whole).await.expect("keys").items.is_empty());
    drop(tx);
    let unknown = app.check_promise_for_local(&app.local_operator(), "P99").await;
    assert!(matches!(unknown, Err(Error::NotFound(_))));
    let without = app.check_promise_for_local(&app.local_operator(), "P28").await;
    assert!(matches!(without, Err(Error::Conflict(_))));
    app.close().await;
    drop(app);
    // What was found is there after a restart.
    let again = platform(root.path()).await;
    again.load_evidence().await.expect("evidence");
    let context = again.local_operator();
    let views = again.promise_states_for_local(&context).expect("views");
    assert_eq!(views[31].state, "proven");
    assert_eq!(views[21].state, "proven");
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_isolation_fixture_is_made_once() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    let first = app.open_isolation_fixture().await.expect("a fixture");
    let kinds: Vec<&str> = first.foreign.keys().copied().collect();
    let expect = [
        "alert",
        "api_key",
        "breach",
        "call",
        "control",
        "credential",
        "destruction",
        "device",
        "device_authority",
        "device_profile",
        "edge_key",
        "framework",
        "governance",
        "grant",
        "group",
        "hold",
        "host",
        "import",
        "incident",
        "invitation",
        "mailing",
        "opt_in",
        "package",
        "policy",
        "provision_profile",
        "register_entry",
        "registered_certificate",
        "request",
        "risk",
        "role",
        "route_destination",
        "route_message",
        "route_rule",
        "rule",
        "security_alert",
        "stream_act",
        "stream_rule",
        "support_grant",
        "task",
        "tenant",
        "ticket",
        "twin",
        "user",
        "workspace",
        "zone",
    ];
    assert_eq!(kinds, expect);
    let (own, foreign) = (first.own.clone(), first.foreign.clone());
    assert!(own.iter().all(|(kind, id)| foreign.get(kind) != Some(id)));
    let token = first.api_key().clone();
    app.close_isolation_fixture(first).await.expect("closed");
    let arrival = crate::Arrival {
        purpose: veritwin_domain::Purpose::SecuritySupport,
        request: app.local_operator().request,
        origin: veritwin_domain::Origin::default(),
    };
    assert!(app.authenticate_api_key(&token, arrival).await.is_err());
    let second = app.open_isolation_fixture().await.expect("a fixture");
    assert_eq!((second.own.clone(), second.foreign.clone()), (own, foreign));
    app.close_isolation_fixture(second).await.expect("closed");
    // People of the platform see nothing of it.
    let context = app.job_in(veritwin_access::jobs::PROMISES, PLATFORM_TENANT);
    let tx = app.0.store.read(&context).await.expect("records");
    let whole = Page::whole();
    assert!(tx.twins(&whole).await.expect("twins").items.is_empty());
    assert!(tx.api_keys(&whole).await.expect("keys").items.is_empty());
    assert!(tx.members(&whole).await.expect("people").items.is_empty());
    let all = AlertFilter::All;
    assert!(tx.alerts(all, &whole).await.expect("alerts").items.is_empty());
    drop(tx);
    app.close().await;
}

/// The fixture where it was made until schema 15, with the alert as it was stored.
async fn old_fixture(app: &App) -> ProbeIdentity {
    let name = fixture::NAME;
    let identity = app.open_probe_identity(PLATFORM_TENANT, name, Role::Administrator).await;
    let identity = identity.expect("an identity");
    app.probe_things(&identity.context).await.expect("things");
    let tx = app.0.store.begin(&identity.context).await.expect("records");
    let alerts = tx.alerts(AlertFilter::All, &Page::whole()).await.expect("alerts").items;
    let alert = Alert { detail: b"{}".to_vec(), ..alerts[0].clone() };
    tx.alert_update(&alert, None).await.expect("an alert of before");
    tx.commit().await.expect("written");
    identity
}

/// Everything in the platform's own tenant that people see, by kind.
async fn left_over(app: &App) -> Vec<(&'static str, usize)> {
    let context = app.job_in(veritwin_access::jobs::PROMISES, PLATFORM_TENANT);
    let tx = app.0.store.read(&context).await.expect("records");
    let (whole, all) = (Page::whole(), AlertFilter::All);
    let devices = tx.devices(&DeviceFilter::default(), &whole).await.expect("devices");
    let links = tx.links_open(LinkKind::Invitation, context.at, 10).await.expect("links");
    vec![
        ("devices", devices.items.len()),
        ("twins", tx.twins(&whole).await.expect("twins").items.len()),
        ("rules", tx.rules(&whole).await.expect("rules").items.len()),
        ("alerts", tx.alerts(all, &whole).await.expect("alerts").items.len()),
        ("keys", tx.api_keys(&whole).await.expect("keys").items.len()),
        ("people", tx.members(&whole).await.expect("people").items.len()),
        ("links", links.len()),
        ("grants", tx.grants().await.expect("grants").len()),
        ("roles", tx.custom_roles().await.expect("roles").len()),
        ("workspaces", tx.workspaces().await.expect("workspaces").len()),
        ("groups", tx.device_groups().await.expect("groups").len()),
        ("holds", tx.holds().await.expect("holds").len()),
        ("incidents", tx.incidents(&whole).await.expect("incidents").items.len()),
        ("tickets", tx.tickets().await.expect("tickets").len()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_checks_left_in_the_platforms_tenant_goes_once() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    let identity = old_fixture(&app).await;
    assert!(left_over(&app).await.iter().all(|(_, count)| *count > 0), "made as it was");
    let page = crate::model::PageRequest::default();
    let all = AlertQuery { filter: crate::model::AlertFilter::All, ..AlertQuery::default() };
    let listed = app.list_alerts(&identity.context, &all, &page).await;
    assert_eq!(listed.expect("a list all the same").page.items.len(), 0);
    // Taken away by hand, the device came again at the next check, at another moment.
    let tx = app.0.store.read(&identity.context).await.expect("records");
    let device = tx.device_by_name(fixture::NAME).await.expect("records").expect("a device");
    drop(tx);
    app.delete_device(&identity.context, device.id).await.expect("deleted");
    app.close_probe_identity(&identity).await.expect("closed");
    app.close_probe_identity(&old_fixture(&app).await).await.expect("closed");
    app.remove_old_fixture().await.expect("removed");
    let left = left_over(&app).await;
    assert!(left.iter().all(|(_, count)| *count == 0), "{left:?}");
    // What a person calls by the same name is theirs.
    let operator = app.local_operator();
    let arrival = crate::Arrival {
        purpose: veritwin_domain::Purpose::SecuritySupport,
        request: operator.request,
        origin: veritwin_domain::Origin::default(),
    };
    let (secret, digest) = veritwin_access::TokenKind::ApiKey.generate(app.rng());
    let job = app.job_in(veritwin_access::jobs::PROMISES, PLATFORM_TENANT);
    let key = veritwin_metastore::ApiKey {
        id: veritwin_domain::ApiKeyId::generate(job.at, app.rng()),
        name: fixture::NAME.to_owned(),
        role: Role::Administrator,
        created_at: job.at,
        expires_at: None,
        last_used_at: None,
        last_used_from: None,
        maker: None,
        maker_key: None,
        addresses: Vec::new(),
    };
    let tx = app.0.store.begin(&job).await.expect("records");
    tx.api_key_create(&key, digest.0).await.expect("a key");
    tx.commit().await.expect("written");
    let person = app.authenticate_api_key(&secret, arrival).await.expect("known");
    let input = crate::model::DeviceInput {
        name: fixture::NAME.to_owned(),
        ..crate::model::DeviceInput::default()
    };
    app.create_device(&person, input).await.expect("a device");
    app.close_probe_identity(&old_fixture(&app).await).await.expect("closed");
    app.remove_old_fixture().await.expect("removed");
    app.remove_old_fixture().await.expect("nothing more to remove");
    let kept: Vec<_> = left_over(&app).await.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(kept, [("devices", 1), ("keys", 1)]);
    let tx = app.0.store.read(&job).await.expect("records");
    let action = Some("promise.check".to_owned());
    let filter = veritwin_metastore::ActivityFilter { action, ..Default::default() };
    let recorded = tx.activity(&filter, &Page::whole()).await.expect("records").items;
    assert_eq!(recorded.len(), 2, "each removal once");
    drop(tx);
    app.close().await;
}

#[cfg(feature = "test-controls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sabotage_turns_the_row_red_and_back() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    app.start_promises();
    let checks = [
        ("P03", 3),
        ("P10", 10),
        ("P22", 22),
        ("P24", 24),
        ("P32", 32),
        ("P40", 40),
        ("P41", 41),
        ("P43", 43),
        ("P44", 44),
        ("P45", 45),
        ("P47", 47),
        ("P48", 48),
        ("P49", 49),
        ("P50", 50),
        ("P53", 53),
        ("P54", 54),
        ("P59", 59),
        ("P60", 60),
        ("P61", 61),
    ];
    for (id, number) in checks {
        assert_eq!(check(&app, id).await.state, "proven", "{id}");
        app.sabotage(number, true);
        let broken = check(&app, id).await;
        assert_eq!(broken.state, "failing", "{broken:?}");
        assert_eq!(broken.facts[0].0, "place");
        app.sabotage(number, false);
        assert_eq!(check(&app, id).await.state, "proven", "{id}");
    }
    app.close().await;
}

#[cfg(feature = "test-controls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_the_operators_to_bring_and_a_suppliers_is_none() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    app.start_promises();
    // Without evidence of the operator's nothing is claimed.
    let view = check(&app, "P36").await;
    assert_eq!(view.state, "not_evidenced", "{view:?}");
    assert!(view.reason.is_some_and(|reason| reason.contains("iso_27001")));
    app.sabotage(36, true);
    assert_eq!(check(&app, "P36").await.state, "failing");
    app.sabotage(36, false);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_elsewhere_than_the_platform_turns_red() {
    let root = tempfile::tempdir().expect("temporary folder");
    let app = platform(root.path()).await;
    app.start_promises();
    app.ensure_probe_tenant().await.expect("a tenant");
    assert_eq!(check(&app, "P39").await.state, "not_evidenced");
    let pin = async |tenant, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let fields = crate::registers::Fields::entered(fields.collect(), "somebody");
        let context = app.job_in(veritwin_access::jobs::PROMISES, tenant);
        let kind = veritwin_metastore::RegisterKind::Residency;
        app.put_entry(&context, (kind, fields), None).await.expect("entered").id
    };
    assert!(app.check_pin(PROBE_TENANT, Some("JP")).is_ok());
    let bare = pin(PLATFORM_TENANT, &[("jurisdiction", "GB")]).await;
    // Where everything stands is known: nobody pins it elsewhere.
    assert!(matches!(app.check_pin(PROBE_TENANT, Some("JP")), Err(Error::Conflict(_))));
    assert!(app.check_pin(PROBE_TENANT, Some("GB")).is_ok());
    assert_eq!(check(&app, "P39").await.state, "not_evidenced", "the provider's evidence is open");
    let context = app.job_in(veritwin_access::jobs::PROMISES, PLATFORM_TENANT);
    let tx = app.0.store.begin(&context).await.expect("records");
    tx.register_entry_delete(bare).await.expect("deleted");
    tx.commit().await.expect("commit");
    let shown = [("jurisdiction", "GB"), ("statement", "the provider's certificate")];
    pin(PLATFORM_TENANT, &shown).await;
    assert_eq!(check(&app, "P39").await.state, "proven");
    pin(PROBE_TENANT, &[("jurisdiction", "JP")]).await;
    assert_eq!(check(&app, "P39").await.state, "failing");
    app.close().await;
}

//! Starts and stops a platform: data directory, stores, certificates, archive, listeners, control
//! socket, in this order; `run.json` says that everything listens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veritwin_app::App;
use veritwin_domain::{Clock, IngestLimits, SystemClock, Timestamp};
use veritwin_ingest::mqtt::{Broker, BrokerParts};
use veritwin_ingest::{CloseReason, PeerInfo, Transport};

use crate::api::{self, Api, LiveState, MetricsHandle, Uploads};
use crate::archive_child::{ArchiveChild, ArchiveOptions};
use crate::archive_remote::ArchiveRemote;
use crate::certificates::Certificates;
use crate::clock::SimulatedClock;
use crate::config::Config;
use crate::controls::Controls;
use crate::datadir::{DataDir, Paths, write_private};
use crate::dispatch::Dispatcher;
use crate::guard::Guard;
use crate::pki::BlobSealer;
use crate::process::Signals;
use crate::sessions::{Restored, publish_wills, restore_sessions};
use crate::simulations::{self, Simulations};
use crate::stores::app_config;
use crate::tls::{ACME_ALPN, CurrentCertificate, device_config, web_config};
use crate::{certificates, client_certificates, control, device_sessions, listen};

/// Open requests may finish for this long when the platform stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) config: Config,
    pub(crate) data: PathBuf,
    pub(crate) simulated_clock: Option<Timestamp>,
    pub(crate) demo: bool,
}

/// A platform that runs.
pub(crate) struct Platform {
    pub(crate) app: App,
    pub(crate) facts: Arc<api::Facts>,
    pub(crate) paths: Paths,
    pub(crate) https: String,
    pub(crate) mqtts: String,
    pub(crate) archive: Option<String>,
    live: Arc<LiveState>,
    broker: Arc<Broker>,
    archive_stop: CancellationToken,
    archive_task: Option<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    // Dropped last: the lock on the directory.
    _dir: DataDir,
}

impl BlobSealer for veritwin_app::Vault {
    fn seal(&self, label: &str, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(Self::seal(self, label, plain)?)
    }
    fn open(&self, label: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(Self::open(self, label, sealed)?)
    }
}

/// The clock of a directory, and the simulated one behind it where there is one.
type DirectoryClock = (Arc<dyn Clock>, Option<Arc<SimulatedClock>>);

/// The clock of a directory: the machine's, or the simulated one it was started with.
pub(crate) fn clock_of(dir: &DataDir) -> anyhow::Result<DirectoryClock> {
    match dir.simulated_clock() {
        Some(start) => {
            let clock = Arc::new(SimulatedClock::open(dir.root(), start)?);
            Ok((Arc::<SimulatedClock>::clone(&clock), Some(clock)))
        }
        None => Ok((Arc::new(SystemClock::new()), None)),
    }
}

/// Starts a platform.
pub(crate) async fn start(options: Options, metrics: MetricsHandle) -> anyhow::Result<Platform> {
    let Options { config, data, simulated_clock, demo } = options;
    // Whoever checks a certificate lives by the machine's clock, also when ours is simulated.
    let machine: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let random = veritwin_app::system_rng();
    let dir = DataDir::open(&data, simulated_clock, machine.as_ref(), &random)?;
    let paths = dir.paths();
    let _ = std::fs::remove_file(paths.run_json());
    let (clock, simulated) = clock_of(&dir)?;
    let app_config = app_config(&config, &dir, clock, demo)?;
    let root_key_dir = app_config.root_key_dir.clone();
    let app = App::open(app_config).await?;
    let certificates = certificates::open(&app, &config, &paths, machine.now())?;
    crate::host_certificates::load(&app, &certificates.current).await?;
    let stop = CancellationToken::new();
    let archive_stop = CancellationToken::new();
    let tasks = TaskTracker::new();

    if config.archive.url.is_empty() {
        refuse_without_archive(&paths)?;
    }
    // A port that is taken ends the start before anything runs.
    let work = (&stop, &tasks);
    let open = open_listeners(&app, &config, &certificates, simulated.is_some(), metrics, work);
    let open = open.await?;
    let place = (&config, root_key_dir);
    let (archive_address, archive_task) =
        start_archive(&app, &paths, place, archive_stop.clone()).await?;
    app.start().await?;
    let own = certificates.own;
    let wiring = wiring(&open, &config, &paths, archive_address.as_deref(), own)?;
    crate::probes::register(&app, &wiring);
    let Listeners { http, mqtt, https, mqtts, facts, live, broker, router, controls, .. } = open;
    let side = listen::HttpSide { router, guard: Arc::clone(&open.guard), stop: stop.clone() };
    spawn_http(&config, http, &certificates.current, side, &tasks);
    tasks.spawn(Arc::clone(&broker).tend_sessions());
    let Restored { wills, unasked } = open.restored;
    tasks.spawn(publish_wills(app.clone(), wills, tasks.clone()));
    tasks.spawn(unasked.ask_on(app.clone(), Arc::clone(&broker), stop.clone()));
    spawn_mqtt(&config, mqtt, &certificates.current, (&broker, open.guard), &stop, &tasks);
    let watch = certificates::watch(
        app.clone(),
        config,
        paths.clone(),
        Arc::clone(&certificates.current),
        certificates.names,
        (Arc::clone(&machine), stop.clone()),
    );
    tasks.spawn(watch);
    tasks.spawn(device_sessions::watch(app.clone(), Arc::clone(&live), stop.clone()));
    let current = || Arc::clone(&certificates.current);
    let (clock, end) = (Arc::clone(&machine), stop.clone());
    tasks.spawn(crate::host_certificates::watch(app.clone(), current(), clock, end));
    tasks.spawn(crate::acme::run(app.clone(), current(), machine, stop.clone()));
    let dispatcher = Arc::new(Dispatcher {
        app: app.clone(),
        address: https.clone(),
        ca_fingerprint: (!certificates.own).then_some(certificates.ca_fingerprint),
        clock: simulated,
        controls,
        running: true,
    });
    let socket = control::listen(&paths.control_socket())?;
    tasks.spawn(control::serve(socket, dispatcher, stop.clone(), tasks.clone()));

    Ok(Platform {
        app,
        facts,
        paths,
        https,
        mqtts,
        archive: archive_address,
        live,
        broker,
        archive_stop,
        archive_task: Some(archive_task),
        stop,
        tasks,
        _dir: dir,
    })
}

/// What the checks of promises look at.
fn wiring(
    open: &Listeners,
    config: &Config,
    paths: &Paths,
    archive_address: Option<&str>,
    own_certificate: bool,
) -> anyhow::Result<crate::probes::Wiring> {
    // One that does not start yet is looked at where it will listen.
    let to_come = || format!("{}:{}", config.archive.bind, config.archive.port);
    Ok(crate::probes::Wiring {
        router: open.router.clone(),
        broker: Arc::clone(&open.broker),
        controls: Arc::clone(&open.controls),
        guard: Arc::clone(&open.guard),
        proxy_protocol: config.proxies.http_protocol,
        https_address: open.http.local_addr()?,
        mqtts_address: open.mqtt.local_addr()?,
        archive_address: archive_address.map_or_else(to_come, str::to_owned),
        ca_pem: std::fs::read_to_string(paths.ca_pem())?,
        server_name: config.http.public_name.clone(),
        own_certificate,
    })
}

/// Starts the ledger archive, or connects to that of another party; the answer is where it is, once
/// that is known, and who looks after it.
async fn start_archive(
    app: &App,
    paths: &Paths,
    (config, root_key_dir): (&Config, PathBuf),
    stop: CancellationToken,
) -> anyhow::Result<(Option<String>, tokio::task::JoinHandle<()>)> {
    if let Some(remote) = ArchiveRemote::of(&config.archive)? {
        let address = remote.address();
        let is_attached = remote.attach_noted(app, paths).await;
        let place = (app.clone(), paths.clone());
        let task = tokio::spawn(remote.supervise(place, is_attached, stop));
        return Ok((Some(address), task));
    }
    let (bind, port) = (config.archive.bind.clone(), config.archive.port);
    let log_bytes_max = config.archive.log_bytes_max;
    let options = ArchiveOptions { bind, port, root_key_dir, log_bytes_max };
    let archive = ArchiveChild::start(app, paths, &options).await?;
    let address = archive.address.clone();
    Ok((address, tokio::spawn(archive.supervise(app.clone(), paths.clone(), stop))))
}

/// A restored platform goes on with the ledger archive it had; a new one would be a second ledger.
fn refuse_without_archive(paths: &Paths) -> anyhow::Result<()> {
    anyhow::ensure!(
        !paths.lineage().exists() || paths.archive().join("archive").exists(),
        "{} was restored without its ledger archive: put the archive's folder at {}, with its \
         keyring, or restore a backup that was made with --archive",
        paths.root.display(),
        paths.archive().display()
    );
    Ok(())
}

/// Bound sockets and what answers on them.
struct Listeners {
    http: tokio::net::TcpListener,
    mqtt: tokio::net::TcpListener,
    https: String,
    mqtts: String,
    facts: Arc<api::Facts>,
    live: Arc<LiveState>,
    broker: Arc<Broker>,
    router: Router,
    controls: Arc<Controls>,
    guard: Arc<Guard>,
    restored: Restored,
}

async fn open_listeners(
    app: &App,
    config: &Config,
    certificates: &Certificates,
    simulated_clock: bool,
    metrics: MetricsHandle,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) -> anyhow::Result<Listeners> {
    let http = listen::bind("http", &config.http.bind, config.http.port).await?;
    let mqtt = listen::bind("mqtt", &config.mqtt.bind, config.mqtt.port).await?;
    let name = &config.http.public_name;
    let https = format!("https://{name}:{}", http.local_addr()?.port());
    let mqtts = format!("{name}:{}", mqtt.local_addr()?.port());
    let controls = Arc::new(Controls::default());
    let facts = Arc::new(api::Facts {
        address: https.clone(),
        mqtt_address: mqtts.clone(),
        started_at: app.clock().now(),
        simulated_clock,
        certificate: Arc::clone(&certificates.current),
        own_certificate: certificates.own,
        ca_fingerprint: certificates.ca_fingerprint.clone(),
        controls: Arc::clone(&controls),
        body_idle_max: Duration::from_secs(config.http.body_idle_seconds_max),
    });
    let guard = Arc::new(Guard::new(config, app.shared_clock(), Arc::clone(&controls))?);
    let limits = IngestLimits {
        packet_bytes_max: config.mqtt.packet_bytes_max,
        connections_max: config.mqtt.connections_max,
        ..IngestLimits::default()
    };
    let idle_max = config.http.device_idle_seconds_max;
    let caps = api::Caps {
        tenant_connections_max: config.limits.tenant_connections_max,
        tenant_requests_max: config.limits.tenant_requests_max,
        tenant_sockets_max: config.limits.tenant_sockets_max,
        person_sockets_max: config.limits.person_sockets_max,
    };
    let live = LiveState::start(app.clone(), limits, idle_max, caps);
    let broker = Broker::new(BrokerParts {
        login: Arc::<LiveState>::clone(&live),
        sink: Arc::<LiveState>::clone(&live),
        clock: app.shared_clock(),
        rng: app.shared_rng(),
        limits,
    });
    live.set_broker(&broker);
    app.set_topic_broker(crate::route_topics::to(&broker));
    let restored = restore_sessions(app, &broker).await?;
    let devices = veritwin_ingest::http::router(veritwin_ingest::http::HttpParts {
        login: Arc::<LiveState>::clone(&live),
        sink: Arc::<LiveState>::clone(&live),
        clock: app.shared_clock(),
        limits,
    });
    let api = Api {
        app: app.clone(),
        live: Arc::clone(&live),
        broker: Arc::clone(&broker),
        metrics,
        facts: Arc::clone(&facts),
        uploads: Uploads::default(),
        simulations: Simulations::new(
            app.clone(),
            Arc::clone(&live),
            &simulations::Listener {
                address: mqtt.local_addr()?,
                name,
                certificate: &certificates.current,
            },
            (stop.clone(), tasks.clone()),
        )?,
    };
    let devices = devices.merge(api::mqtt_sockets(Arc::clone(&broker), tasks.clone()));
    let router = api::router(api, devices);
    Ok(Listeners {
        http,
        mqtt,
        https,
        mqtts,
        facts,
        live,
        broker,
        router,
        controls,
        guard,
        restored,
    })
}

fn spawn_http(
    config: &Config,
    socket: tokio::net::TcpListener,
    certificate: &Arc<CurrentCertificate>,
    side: listen::HttpSide,
    tasks: &TaskTracker,
) {
    let stop = side.stop.clone();
    let served: &[&[u8]] = &[b"h2", b"http/1.1", ACME_ALPN];
    // Nothing is said of challenges where none can be under way.
    let protocols = if config.acme.directory.is_empty() { &served[..2] } else { served };
    let listener = listen::Listener {
        name: "https",
        socket,
        acceptor: TlsAcceptor::from(web_config(certificate, protocols)),
        connections_max: config.http.connections_max,
        connections_per_address_max: config.http.connections_per_address_max,
        proxy_protocol: config.proxies.http_protocol,
        guard: Arc::clone(&side.guard),
    };
    let serve = move |tls: TlsStream<TcpStream>, peer, slot| {
        let side = side.clone();
        async move {
            // An authority wanted to see the certificate of a challenge, and has.
            if tls.get_ref().1.alpn_protocol() != Some(ACME_ALPN) {
                listen::serve_http(tls, peer, slot, side).await;
            }
        }
    };
    tasks.spawn(listen::accept_loop(listener, stop, tasks.clone(), serve));
}

fn spawn_mqtt(
    config: &Config,
    socket: tokio::net::TcpListener,
    certificate: &Arc<CurrentCertificate>,
    (broker, guard): (&Arc<Broker>, Arc<Guard>),
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let listener = listen::Listener {
        name: "mqtts",
        socket,
        acceptor: TlsAcceptor::from(device_config(certificate)),
        connections_max: config.mqtt.connections_max,
        connections_per_address_max: config.mqtt.connections_per_address_max,
        proxy_protocol: config.proxies.mqtt_protocol,
        guard,
    };
    let broker = Arc::clone(broker);
    tasks.spawn(listen::accept_loop(
        listener,
        stop.clone(),
        tasks.clone(),
        move |tls, peer, slot| {
            let broker = Arc::clone(&broker);
            async move {
                let mut peer = PeerInfo::new(Some(peer), Transport::Mqtt3);
                peer.certificate = client_certificates::shown(tls.get_ref().1);
                if let Some(limit) = slot.over() {
                    broker.turn_away(tls, peer, limit).await;
                    return;
                }
                let will = broker.serve_connection(tls, peer).await;
                drop(slot);
                if let Some(will) = will {
                    will.publish().await;
                }
            }
        },
    ));
}

impl Platform {
    /// Writes `run.json`: everything listens. `more` is a further fact, such as the credentials of
    /// the demo. Whoever waits for that file may send a signal at once.
    pub(crate) fn announce(&self, more: Option<(&str, Value)>) -> anyhow::Result<Signals> {
        let signals = Signals::listen()?;
        let mut facts = json!({
            "https": self.https,
            "mqtts": self.mqtts,
            "ca": self.paths.ca_pem(),
            "pid": std::process::id(),
        });
        if let Some(archive) = &self.archive {
            facts["archive"] = json!(archive);
        }
        if let Some((name, value)) = more {
            facts[name] = value;
        }
        write_private(&self.paths.run_json(), &serde_json::to_vec_pretty(&facts)?)?;
        Ok(signals)
    }

    /// For the listener of a benchmark; a platform that serves has no other than those above.
    pub(crate) fn broker(&self) -> (&Arc<Broker>, &CancellationToken, &TaskTracker) {
        (&self.broker, &self.stop, &self.tasks)
    }

    /// Stops: no new connections, open requests finish, what is durable is sealed, stores close.
    pub(crate) async fn shut_down(mut self) {
        let _ = std::fs::remove_file(self.paths.run_json());
        self.stop.cancel();
        // The broker first: it says in every tenant's tree that the host goes.
        self.broker.close_all(CloseReason::ShuttingDown);
        self.live.shut_down();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not finish in time and are cut");
        }
        self.broker.flush_sessions().await;
        self.app.close().await;
        self.archive_stop.cancel();
        if let Some(task) = self.archive_task.take() {
            let _ = task.await;
        }
        let _ = std::fs::remove_file(self.paths.control_socket());
    }

    /// Stops when the process is told to.
    pub(crate) async fn run_until(self, mut signals: Signals) -> anyhow::Result<()> {
        signals.come().await;
        tracing::info!("stopping");
        self.shut_down().await;
        Ok(())
    }
}

/// The recorder behind `/metrics`; installed once per process.
pub(crate) fn install_metrics() -> anyhow::Result<MetricsHandle> {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new();
    Ok(MetricsHandle::new(recorder.install_recorder().context("cannot record metrics")?))
}

/// Reads the configuration of a command.
pub(crate) fn load_config(file: Option<&Path>) -> anyhow::Result<Config> {
    Ok(crate::config::load(file, std::env::vars())?)
}

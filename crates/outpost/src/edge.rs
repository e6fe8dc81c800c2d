//! The store-and-forward edge as a program: a gateway on another site with its own directory, root
//! key and certificate. Devices are answered when its own log has what they sent; signed batches
//! with gapless counters go to the platform as soon as it can be reached, days later if need be.

mod config;
mod devices;
mod down;
mod down_client;
mod front;
mod http;
mod journal;
mod line;
mod listening;
mod packages;
mod place;
mod public;
mod reading;
mod stating;
mod status;
mod upload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{Clock, IngestLimits, Rng, Secret};
use veritwin_ingest::CloseReason;
use veritwin_ingest::mqtt::{Broker, BrokerParts};
use veritwin_keys::KeyError;
use veritwin_log::{FileLog, LogConfig, LogError};
use veritwin_verify::EdgeStatement;

pub use config::{EdgeConfig, WhenFull};
pub use devices::{EDGE_DEVICES_MAX, LocalDevice};
pub use http::EDGE_BODY_BYTES_MAX;
pub use public::Attestation;
pub use status::EdgeStatus;
pub use veritwin_collection::{BUDGET_SQUARES_PER_YEAR, Measure, MeasureKind, ZoneConfig};

use devices::Devices;
use down::Down;
use front::Front;
use http::{HttpDoor, accept_http};
use journal::Journal;
use line::Line;
use listening::{Room, accept_all};
use packages::Packages;
use place::Place;
use public::Public;
use stating::Stating;
use status::Condition;
use upload::{Sent, Uploader, back_off};

/// Most local connections at once, whatever they speak.
pub const EDGE_CONNECTIONS_MAX: usize = 1_000;
/// The least that an edge may keep on its disk, in bytes.
pub const EDGE_DISK_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// The smallest bound of a batch that can be asked for, in bytes: statements stay few beside what
/// they are about.
pub const EDGE_BATCH_BYTES_MIN: usize = 16 * 1024;
/// The largest batch that can be asked for, in bytes: with one line more it has to fit into a
/// request.
pub const EDGE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest wait for connections at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Files of the log are so small that enough of them can go when there is no room.
const LOG_FILES: u64 = 32;
/// Memory for what is not durable yet, in bytes.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often a refused batch is tried again: somebody may have registered the key.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
const RUN_FILE: &str = "run.json";

/// Why an edge cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Something is configured that cannot be.
    #[error("{0}")]
    Configuration(String),
    /// Its keys.
    #[error("edge keys: {0}")]
    Key(#[from] KeyError),
    /// Its log.
    #[error("edge log: {0}")]
    Log(#[from] LogError),
    /// A certificate, or TLS itself.
    #[error("edge certificate: {0}")]
    Certificate(String),
    /// What is stored does not fit together.
    #[error("{0}")]
    Damaged(String),
    /// A file or the listening address.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

impl EdgeError {
    fn io(what: impl ToString) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }
}

/// Makes an edge, or finds the one that is there; answers its public key in hexadecimal.
pub fn init(
    config: &EdgeConfig,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<String, EdgeError> {
    config.check()?;
    place::init(config, clock, rng).map(|identity| identity.public_key)
}

/// The public key of an edge, in hexadecimal.
pub fn public_key(config: &EdgeConfig) -> Result<String, EdgeError> {
    place::identity(config).map(|identity| identity.public_key)
}

/// Lets a device in under this name; answers its token, which is shown once.
pub fn add_device(
    config: &EdgeConfig,
    name: &str,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<Secret<String>, EdgeError> {
    place::identity(config)?;
    devices::add(&config.directory, name, clock, rng)
}

/// Lets a device in no more; its connections end within a second.
pub fn remove_device(config: &EdgeConfig, name: &str, clock: &dyn Clock) -> Result<(), EdgeError> {
    place::identity(config)?;
    devices::remove(&config.directory, name, clock.now())
}

/// The devices of an edge, removed ones included.
pub fn local_devices(config: &EdgeConfig) -> Result<Vec<LocalDevice>, EdgeError> {
    place::identity(config)?;
    devices::list(&config.directory)
}

/// How an edge last said it is; none before it ran.
pub fn status(directory: &Path) -> Result<Option<EdgeStatus>, EdgeError> {
    status::read(directory)
}

/// What an edge that is the gateway of a public zone signs about how it is set.
pub fn attestation(
    config: &EdgeConfig,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<Attestation, EdgeError> {
    config.check()?;
    let place = Place::open(config, clock, rng)?;
    let Some(zone) = &config.zone else {
        let detail = "this edge is the gateway of no public zone: its file has no [collection]";
        return Err(EdgeError::Configuration(detail.to_owned()));
    };
    Ok(Attestation::of(zone, place.identity.gateway, &place.signing))
}

/// The certificate that local devices have to trust (PEM).
pub fn certificate_path(config: &EdgeConfig) -> PathBuf {
    config.directory.join(place::CERTIFICATE_FILE)
}

/// An edge that listens.
pub struct Edge {
    directory: PathBuf,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    http: Option<HttpDoor>,
    broker: Arc<Broker>,
    front: Arc<Front>,
    stating: Arc<Stating>,
    uploader: Uploader,
    down: Option<Down>,
    condition: Arc<Condition>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Edge({})", self.address)
    }
}

impl Edge {
    /// Opens what `init` made, and binds the address. `token` lets the edge in at the platform.
    pub async fn bind(
        config: EdgeConfig,
        token: Secret<String>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, EdgeError> {
        config.check()?;
        let place = Place::open(&config, &clock, &rng)?;
        let acceptor = place.acceptor()?;
        let (platform, ca) = (config.platform.as_str(), config.platform_ca.as_deref());
        let (way, down) = down::ways(&config, &token)?;
        let public = Public::open(&config, &place, clock.as_ref(), rng.as_ref())?;
        let line = Line::new((platform, ca), token.clone())?;
        let uploader = Uploader::new(line, Arc::clone(&clock));
        // Nothing is asked of the platform on behalf of a public zone's devices.
        let packages = match &public {
            Some(_) => None,
            None => Some(Packages::new(Line::new((platform, ca), token)?)),
        };
        let devices = Arc::new(Devices::open(&place.directory)?);
        place::use_reserve(&place.directory);
        let log = open_log(&config, &place, &clock, &rng).await?;
        let journal = Journal::open(&place.directory)?;
        let Place { directory, identity, keys, signing } = place;
        let front = Arc::new(Front::new(
            identity.tenant,
            (Arc::clone(&devices), log.clone()),
            Arc::clone(&clock),
            config.disk_bytes_max,
            (way, public, packages),
        ));
        let limits =
            IngestLimits { connections_max: EDGE_CONNECTIONS_MAX, ..IngestLimits::default() };
        let broker = Broker::new(BrokerParts {
            login: front.clone(),
            sink: front.clone(),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
            limits,
        });
        let stating = Arc::new(Stating {
            gateway: identity.gateway,
            log,
            devices,
            keys,
            signing,
            clock: Arc::clone(&clock),
            journal: Mutex::new(journal),
            reading: Mutex::default(),
            on_its_way: Mutex::default(),
            clock_offset_us: Mutex::default(),
            stated: Notify::new(),
            batch_bytes_max: config.batch_bytes_max,
            batch_age: config.batch_age,
            disk_bytes_max: config.disk_bytes_max,
            when_full: config.when_full,
        });
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(EdgeError::io(config.listen))?;
        let address = listener.local_addr().map_err(EdgeError::io(config.listen))?;
        let http = HttpDoor::bind(config.listen_http, &front, &clock).await?;
        let condition = Arc::new(Condition::default());
        Ok(Self {
            directory,
            listener,
            acceptor,
            address,
            http,
            broker,
            front,
            stating,
            uploader,
            down,
            condition,
            clock,
            rng,
        })
    }

    /// Where local devices come in.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where those come in that speak HTTP, if they do.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Serves until `shutdown` is done or something fails that only a start can mend; then what
    /// was read is made durable.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), EdgeError> {
        self.write_run_file();
        let Self { directory, listener, acceptor, broker, front, stating, uploader, down, .. } =
            self;
        let (condition, clock, rng) = (self.condition, self.clock, self.rng);
        let given = (&*clock, &*rng);
        let (room, (stop, stopped)) = (Room::new(), watch::channel(false));
        let (mut connections, mut requests) = (JoinSet::new(), JoinSet::new());
        let http = accept_http(self.http, acceptor.clone(), &room, &stopped, &mut requests);
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            ended = stating.run() => ended,
            ended = stating.keep_room() => ended,
            ended = upload_all(&stating, uploader, &condition, rng.as_ref()) => ended,
            () = down::hear(down, &front, rng.as_ref()) => Ok(()),
            ended = keep_house(&directory, (&*front, &*stating), &condition, given) => ended,
            () = accept_all(listener, acceptor, &room, &broker, &mut connections) => Ok(()),
            () = http => Ok(()),
        };
        broker.close_all(CloseReason::ShuttingDown);
        front.close_polls();
        stop.send_replace(true);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while connections.join_next().await.is_some() {}
            while requests.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            connections.shutdown().await;
            requests.shutdown().await;
        }
        let log = stating.log.clone();
        if tokio::task::spawn_blocking(move || log.close()).await.is_err() {
            tracing::warn!("the edge's log was not closed");
        }
        let said = condition.status(&front, &stating, clock.as_ref());
        let written = status::write(&directory, &EdgeStatus { running: false, ..said });
        let run_file = directory.join(RUN_FILE);
        let removed = std::fs::remove_file(&run_file).map_err(EdgeError::io(run_file.display()));
        if let Err(error) = written.and(removed) {
            tracing::warn!(%error, "that the edge has stopped is not written down");
        }
        ended
    }

    /// Says where the edge listens. A full disk, which only the platform can empty, is no reason
    /// not to start.
    fn write_run_file(&self) {
        let written = place::write_json(
            &self.directory.join(RUN_FILE),
            &serde_json::json!({
                "mqtts": self.address.to_string(),
                "https": self.http_address().map(|address| address.to_string()),
                "ca": self.directory.join(place::CERTIFICATE_FILE),
                "pid": std::process::id(),
            }),
        );
        if let Err(error) = written {
            tracing::warn!(%error, "where the edge listens is not written down");
        }
    }
}

async fn open_log(
    config: &EdgeConfig,
    place: &Place,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<FileLog, EdgeError> {
    let directory = config.directory.join("log");
    let (clock, rng) = (Arc::clone(clock), Arc::clone(rng));
    let log = LogConfig {
        file_bytes_max: (config.disk_bytes_max / LOG_FILES).min(128 * 1024 * 1024),
        queue_bytes_max: QUEUE_BYTES_MAX,
        append_bytes_max: QUEUE_BYTES_MAX,
        recent_bytes_max: QUEUE_BYTES_MAX,
        ..LogConfig::new(directory, place.keys.clone(), clock, rng)
    };
    let opened = tokio::task::spawn_blocking(move || FileLog::open(log, Vec::new())).await;
    let opened = opened.map_err(|error| EdgeError::Damaged(error.to_string()))?;
    Ok(opened?)
}

/// The request for a batch, or why it cannot be made.
async fn packed(
    stating: &Arc<Stating>,
    statement: EdgeStatement,
) -> Result<Result<Bytes, EdgeError>, EdgeError> {
    let reading = Arc::clone(stating);
    let packing = tokio::task::spawn_blocking(move || {
        let content = reading.content(&statement)?;
        upload::body(statement.as_bytes(), &content)
    });
    packing.await.map_err(|error| EdgeError::Damaged(error.to_string()))
}

/// Sends what is stated, in its order, for ever.
async fn upload_all(
    stating: &Arc<Stating>,
    mut uploader: Uploader,
    condition: &Condition,
    rng: &dyn Rng,
) -> Result<(), EdgeError> {
    let mut failures = 0u32;
    // What goes out again is not made again.
    let mut made: Option<(EdgeStatement, Bytes)> = None;
    loop {
        let front = stating.journal.lock().front();
        let Some(statement) = front else {
            stating.stated.notified().await;
            continue;
        };
        let counter = statement.counter();
        *stating.on_its_way.lock() = Some(counter);
        // It may have been given up before it was on its way.
        if stating.journal.lock().front() != Some(statement) {
            *stating.on_its_way.lock() = None;
            continue;
        }
        let body = match made.take().filter(|(of, _)| *of == statement) {
            Some((_, body)) => Ok(body),
            None => packed(stating, statement).await?,
        };
        let (_, waiting) = stating.journal.lock().waiting();
        let waiting = waiting.saturating_sub(statement.fields().entries);
        let sent = match body {
            Ok(body) => {
                made = Some((statement, body.clone()));
                uploader.send(body, waiting).await
            }
            // Devices are taken in all the same: nothing that is kept gets better by stopping.
            Err(error) => Sent::Refused(error.to_string()),
        };
        let pause = match sent {
            Sent::Taken { pause, refused, clock_offset_us } => {
                *stating.clock_offset_us.lock() = clock_offset_us;
                let noted = stating.journal.lock().note_sent(counter);
                match noted {
                    Ok(()) => {
                        failures = 0;
                        condition.taken(stating.clock.now(), refused);
                        pause
                    }
                    // It goes out again, and is known there.
                    Err(error) => {
                        tracing::warn!(%error, counter, "what was taken is not noted");
                        condition.later(error.to_string());
                        failures = failures.saturating_add(1);
                        back_off(failures, rng.next_u64())
                    }
                }
            }
            Sent::Later { detail, pause } => {
                tracing::debug!(detail, counter, "the platform does not take a batch now");
                condition.later(detail);
                let own = back_off(failures, rng.next_u64());
                failures = failures.saturating_add(1);
                pause.map_or(own, |pause| pause.max(own))
            }
            Sent::Refused(detail) => {
                tracing::warn!(detail, counter, "a batch is refused, or cannot be made");
                condition.refused(detail);
                REFUSED_AGAIN + back_off(0, rng.next_u64())
            }
        };
        *stating.on_its_way.lock() = None;
        let cutting = Arc::clone(stating);
        let cut = tokio::task::spawn_blocking(move || cutting.cut()).await;
        cut.map_err(|error| EdgeError::Damaged(error.to_string()))?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Says how the edge is, and looks whether devices were added or removed, for ever.
async fn keep_house(
    directory: &Path,
    (front, stating): (&Front, &Stating),
    condition: &Condition,
    (clock, rng): (&dyn Clock, &dyn Rng),
) -> Result<(), EdgeError> {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        place::keep_reserve(directory);
        match front.devices.refresh() {
            Ok(true) => front.close_removed(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the list of devices is not read again"),
        }
        if let Some(public) = &front.public {
            public.turn(&front.devices, &front.log, (clock, rng)).await;
        }
        if let Err(error) = status::write(directory, &condition.status(front, stating, clock)) {
            tracing::warn!(%error, "how the edge is, is not written down");
        }
        if stating.log.is_poisoned() {
            let detail = "a write failed: nothing is taken before the next start";
            return Err(EdgeError::Damaged(detail.to_owned()));
        }
    }
}

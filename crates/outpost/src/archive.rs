//! The neutral ledger archive as a program: own directory, own root key, own port and certificate,
//! mutual TLS. Its interface appends and reads; there is no call that alters or deletes.

#[cfg(feature = "test-controls")]
mod flaw;
mod owners;
mod routes;
mod shares;
pub(crate) mod tls;

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{Clock, Rng};
use veritwin_keys::{KeyError, KeyService, PlatformFile, sha256};
use veritwin_ledger::{Archive, ArchiveConfig, ArchiveLimits, Bucket, LedgerError};

pub use tls::{ClientPair, ClientTrust, generate_client};
pub use veritwin_ledger::{ArchiveLimits as Limits, BucketConfig};

/// Most connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Most requests at once on one connection.
const STREAMS_MAX: u32 = 128;
const WINDOW_BYTES: u32 = 4 << 20;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait before accepting again when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for open requests at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at what retention statements have ended.
const PRUNE_EVERY: Duration = Duration::from_secs(5);
const RUN_FILE: &str = "run.json";
const PROBLEM_FILE: &str = "problem.txt";
const PROBLEM_BYTES_MAX: u64 = 4096;

/// Why the archive cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log engine.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its keys.
    #[error("archive keys: {0}")]
    Key(#[from] KeyError),
    /// A certificate, or TLS itself.
    #[error("archive certificate: {0}")]
    Certificate(String),
    /// A file or the listening address.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

impl ServeError {
    fn io(what: impl ToString) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }
}

/// What each client may have, where each has logs of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Most logs.
    pub logs_max: usize,
    /// Most bytes of leaves and payloads together.
    pub bytes_max: u64,
}

/// How to run an archive.
#[derive(Debug)]
pub struct ServeConfig {
    /// Its own directory; made if absent.
    pub directory: PathBuf,
    /// Its own root key file, outside the directory; made if absent.
    pub root_key: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Names and addresses for its certificate, when it makes one.
    pub names: Vec<String>,
    /// Which clients it serves.
    pub clients: ClientTrust,
    /// Certificates that took the place of others, by fingerprint: each is the party of the first
    /// that the party had.
    pub renewed: HashMap<[u8; 32], [u8; 32]>,
    /// Bounds of each client.
    pub client: ClientLimits,
    /// Where journal, tiles and payloads are, if not in the directory; keys stay there.
    pub bucket: Option<BucketConfig>,
    /// Bounds of the log engine.
    pub limits: ArchiveLimits,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub rng: Arc<dyn Rng>,
}

/// What `DIRECTORY/run.json` says while the archive listens. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// `ADDRESS:PORT`.
    pub archive: String,
    /// The certificate's file (PEM).
    pub certificate: PathBuf,
    /// SHA-256 over the certificate, in hexadecimal: what a client pins.
    pub fingerprint: String,
    /// The process.
    pub pid: u32,
}

impl RunFile {
    /// Reads it; none while no archive listens there.
    pub fn read(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join(RUN_FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Why the archive in `directory` did not start when it was last tried; none when it did.
pub fn start_problem(directory: &Path) -> Option<String> {
    let file = std::fs::File::open(directory.join(PROBLEM_FILE)).ok()?;
    let mut text = String::new();
    file.take(PROBLEM_BYTES_MAX).read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// Notes how a start went, for the platform's log and for `doctor`. Files are named from the
/// archive's directory on.
fn note_start(directory: &Path, error: Option<&ServeError>) {
    let path = directory.join(PROBLEM_FILE);
    let noted = match error {
        Some(error) => {
            let text = error.to_string().replace(&format!("{}/", directory.display()), "");
            std::fs::write(&path, text)
        }
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    };
    if let Err(error) = noted {
        tracing::warn!(%error, path = %path.display(), "how the archive's start went is not noted");
    }
}

/// Opens the keys of an archive: root key file and keyring.
pub fn open_keys(
    directory: &Path,
    root_key: &Path,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
) -> Result<KeyService, ServeError> {
    std::fs::create_dir_all(directory).map_err(ServeError::io(directory.display()))?;
    let root = PlatformFile::open_or_create(root_key, Arc::clone(&rng))?;
    Ok(KeyService::open(Box::new(root), &directory.join("keyring"), clock, rng)?)
}

/// Opens a stopped archive's logs, to export them.
pub fn open_stopped(
    directory: &Path,
    root_key: &Path,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
) -> Result<Archive, ServeError> {
    let keys = open_keys(directory, root_key, Arc::clone(&clock), Arc::clone(&rng))?;
    let limits = ArchiveLimits::default();
    let config = ArchiveConfig { directory: directory.join("archive"), keys, clock, rng, limits };
    Ok(Archive::open(config)?)
}

/// An archive that listens and does not answer yet.
pub struct Server {
    archive: Archive,
    owners: owners::SharedOwners,
    renewed: Arc<HashMap<[u8; 32], [u8; 32]>>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    directory: PathBuf,
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

impl Server {
    /// Opens directory and keys, makes a certificate at the first start, and binds the address.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let directory = config.directory.clone();
        let bound = Self::open(config).await;
        note_start(&directory, bound.as_ref().err());
        bound
    }

    async fn open(config: ServeConfig) -> Result<Self, ServeError> {
        let ServeConfig { directory, root_key, listen, names, clients, limits, clock, rng, .. } =
            config;
        let keys = open_keys(&directory, &root_key, Arc::clone(&clock), Arc::clone(&rng))?;
        let identity = tls::identity(&directory, &keys, ("Veritwin ledger archive", names))?;
        let fingerprint = identity.fingerprint;
        let owners = Arc::new(owners::Owners::open(&directory, &clients, config.client)?);
        let acceptor = tls::acceptor(identity, clients)?;
        let archive_directory = directory.join("archive");
        let bucket = config.bucket.as_ref().map(Bucket::open).transpose()?;
        let opened = tokio::task::spawn_blocking(move || {
            let directory = archive_directory;
            let config = ArchiveConfig { directory, keys, clock, rng, limits };
            match bucket {
                Some(bucket) => Archive::open_in(config, bucket),
                None => Archive::open(config),
            }
        });
        let archive = opened.await.map_err(|error| LedgerError::Stopped(error.to_string()))??;
        owners.count(&archive);
        let listener = TcpListener::bind(listen).await.map_err(ServeError::io(listen))?;
        let address = listener.local_addr().map_err(ServeError::io(listen))?;
        let renewed = Arc::new(config.renewed);
        Ok(Self { archive, owners, renewed, listener, acceptor, address, directory, fingerprint })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// SHA-256 over its certificate.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    fn write_run_file(&self) -> Result<(), ServeError> {
        let run = RunFile {
            archive: self.address.to_string(),
            certificate: self.directory.join(tls::CERTIFICATE_FILE),
            fingerprint: tls::hexadecimal(&self.fingerprint),
            pid: std::process::id(),
        };
        let path = self.directory.join(RUN_FILE);
        let temporary = self.directory.join("run.json.tmp");
        let text = serde_json::to_vec(&run).unwrap_or_default();
        std::fs::write(&temporary, text).map_err(ServeError::io(temporary.display()))?;
        std::fs::rename(&temporary, &path).map_err(ServeError::io(path.display()))
    }

    /// Serves until `shutdown` is done, then finishes open requests and closes the log.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.write_run_file()?;
        tracing::info!(address = %self.address, "ledger archive listens");
        let routes = routes::router(self.archive.clone(), Arc::clone(&self.owners));
        #[cfg(feature = "test-controls")]
        let routes = routes.layer(axum::Extension(flaw::Flaw::of(&self.directory)));
        let (stop, stopped) = watch::channel(false);
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shares = Arc::new(self.owners.shares(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let pruning = tokio::spawn(keep_pruning(self.archive.clone(), Arc::clone(&self.owners)));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            // The semaphore is never closed.
            let accept = async {
                let permit = Arc::clone(&room).acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        acceptor: self.acceptor.clone(),
                        routes: routes.clone(),
                        shares: Arc::clone(&shares),
                        renewed: Arc::clone(&self.renewed),
                        stopped: stopped.clone(),
                    };
                    connections.spawn(async move {
                        if let Err(error) = connection.serve(stream).await {
                            tracing::debug!(%peer, %error, "archive connection ended");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "archive cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        pruning.abort();
        // It lets go of the archive; that it was stopped is no error.
        let _ = pruning.await;
        // Nobody listens any more when every connection has ended; that is no error.
        let _ = stop.send(true);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!("archive connections were cut at the end");
            connections.shutdown().await;
        }
        self.archive.close().await?;
        let run_file = self.directory.join(RUN_FILE);
        std::fs::remove_file(&run_file).map_err(ServeError::io(run_file.display()))
    }
}

/// Removes what retention statements have ended. What fails stays for the next time.
async fn keep_pruning(archive: Archive, owners: owners::SharedOwners) {
    let mut turn = tokio::time::interval(PRUNE_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        for log in archive.prunable() {
            loop {
                match archive.prune(log).await {
                    Ok(Some(bytes)) => owners.freed(log, bytes),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%log, %error, "the end of a log's prefix waits");
                        break;
                    }
                }
            }
        }
    }
}

/// Runs an archive until `shutdown` is done. `DIRECTORY/run.json` appears once it listens.
pub async fn serve(
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Server::bind(config).await?.run(shutdown).await
}

struct Connection {
    acceptor: TlsAcceptor,
    routes: axum::Router,
    shares: Arc<shares::Shares>,
    renewed: Arc<HashMap<[u8; 32], [u8; 32]>>,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) -> Result<(), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream));
        let stream = handshake.await.map_err(|_| "no TLS handshake in time".to_owned())?;
        let stream = stream.map_err(|error| error.to_string())?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(<[_]>::first).ok_or("no certificate")?;
        let own = sha256(certificate);
        let peer = owners::Peer(self.renewed.get(&own).copied().unwrap_or(own));
        let share = self.shares.of(peer).try_acquire_owned();
        let _share = share.map_err(|_| "its party has too many connections".to_owned())?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(Duration::from_secs(20));
        let service = TowerToHyperService::new(self.routes.layer(axum::Extension(peer)));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await.map_err(|error| error.to_string())
    }
}

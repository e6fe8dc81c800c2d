//! A witness (C2SP tlog-witness) as a program of another party: it cosigns a checkpoint only when
//! it extends the last one that it saw of that log, which is durable before the cosignature leaves.

mod routes;
mod store;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{AddressList, Clock, Rng};
use veritwin_keys::{Aad, DataClass, DekScope, KeyError, KeyService, SigningKey, sealed_dek_id};
use veritwin_verify::{KeyAlgorithm, NoteError, VerifierKey};

use crate::archive::{ServeError, open_keys, tls};
use crate::keyproxy::listening::accept_all;

pub use store::{WITNESS_LOGS_MAX, WitnessedLog, witnessed_logs};

use store::Store;

const KEY_FILE: &str = "witness.key.sealed";
const RUN_FILE: &str = "run.json";
const AAD: &[u8] = b"veritwin witness key v1";
/// Longest wait for open requests at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at the file of logs.
const LOOK: Duration = Duration::from_secs(10);

/// Why a witness cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Something is configured that cannot be.
    #[error("{0}")]
    Configuration(String),
    /// Its keys, its certificate, its files or its address.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Its signing key.
    #[error("witness key: {0}")]
    Key(#[from] KeyError),
    /// Its name, or a log's key.
    #[error("witness: {0}")]
    Note(#[from] NoteError),
    /// What is stored is not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl WitnessError {
    fn io(what: impl ToString) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Serve(ServeError::Io { what, source })
    }
}

/// How to run a witness.
#[derive(Debug, Clone)]
pub struct WitnessConfig {
    /// Its own directory; made if absent.
    pub directory: PathBuf,
    /// Its own root key file, outside the directory; made if absent.
    pub root_key: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Names and addresses for its certificate, when it makes one.
    pub names: Vec<String>,
    /// The name that it signs under, such as `witness.example/w1`.
    pub name: String,
    /// The keys of the logs that it witnesses; the name of each is the log's origin.
    pub logs: Vec<VerifierKey>,
    /// A file with the keys of further logs, one a line. What is added to it is witnessed from the
    /// next look on; what is taken out stays until the next start.
    pub logs_file: Option<PathBuf>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub rng: Arc<dyn Rng>,
}

impl WitnessConfig {
    fn check(&self) -> Result<(), WitnessError> {
        if self.root_key.starts_with(&self.directory) {
            let detail = "root_key: has to lie outside the directory".to_owned();
            return Err(WitnessError::Configuration(detail));
        }
        Ok(())
    }

    /// The keys of all logs that it witnesses.
    pub fn all_logs(&self) -> Result<Vec<VerifierKey>, WitnessError> {
        let mut all = self.logs.clone();
        if let Some(file) = &self.logs_file {
            all.extend(store::read_keys(file)?);
        }
        if all.len() > WITNESS_LOGS_MAX {
            let detail = format!("logs: at most {WITNESS_LOGS_MAX}, got {}", all.len());
            return Err(WitnessError::Configuration(detail));
        }
        match all.iter().find(|log| log.algorithm() != KeyAlgorithm::Ed25519) {
            Some(log) => {
                let detail = format!("logs: {} is not the key of a log", log.name());
                Err(WitnessError::Configuration(detail))
            }
            None => Ok(all),
        }
    }
}

/// What `DIRECTORY/run.json` says while the witness listens. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessRunFile {
    /// `ADDRESS:PORT`.
    pub witness: String,
    /// What a policy names: `NAME+HEX+BASE64`.
    pub vkey: String,
    /// The certificate's file (PEM).
    pub certificate: PathBuf,
    /// The process.
    pub pid: u32,
}

impl WitnessRunFile {
    /// Reads it; none while no witness listens there.
    pub fn read(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join(RUN_FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// What signs, and under which name.
struct Signer {
    key: SigningKey,
    vkey: VerifierKey,
}

impl Signer {
    /// Reads the key, or makes it.
    fn open(config: &WitnessConfig, keys: &KeyService) -> Result<Self, WitnessError> {
        let path = config.directory.join(KEY_FILE);
        let aad = Aad::new(None, DataClass::Archive, AAD);
        let key = if path.exists() {
            let sealed = std::fs::read(&path).map_err(WitnessError::io(path.display()))?;
            let dek = keys.dek_by_id(sealed_dek_id(&sealed)?)?;
            SigningKey::from_sealed(&dek, aad, &sealed)?
        } else {
            let key = SigningKey::generate(config.rng.as_ref());
            let dek = keys.dek(&DekScope::platform(DataClass::Archive))?;
            tls::write(&path, &key.seal(&dek, aad)?)?;
            let directory = &config.directory;
            // Policies name this key: it must not be another one after a crash.
            store::sync(directory).map_err(WitnessError::io(directory.display()))?;
            key
        };
        let public = key.public_bytes();
        let vkey = VerifierKey::new(&config.name, KeyAlgorithm::CosignatureV1, public)?;
        Ok(Self { key, vkey })
    }
}

/// The key that policies name; made if absent.
pub fn witness_key(config: &WitnessConfig) -> Result<VerifierKey, WitnessError> {
    config.check()?;
    let directory = config.directory.as_path();
    std::fs::create_dir_all(directory).map_err(WitnessError::io(directory.display()))?;
    // Two that make a key at once would each name another one.
    let is_made = directory.join(KEY_FILE).exists();
    let _lock = (!is_made).then(|| store::lock(directory)).transpose()?;
    let (clock, rng) = (Arc::clone(&config.clock), Arc::clone(&config.rng));
    let keys = open_keys(&config.directory, &config.root_key, clock, rng)?;
    Ok(Signer::open(config, &keys)?.vkey)
}

/// A witness that listens and does not answer yet.
pub struct Witness {
    directory: PathBuf,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    served: Arc<routes::Served>,
    /// Where further logs are looked for.
    config: WitnessConfig,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witness({})", self.address)
    }
}

impl Witness {
    /// Opens the directory, makes key and certificate at the first start, and binds the address.
    /// Two processes cannot witness from one directory.
    pub async fn bind(config: WitnessConfig) -> Result<Self, WitnessError> {
        config.check()?;
        let (clock, rng) = (Arc::clone(&config.clock), Arc::clone(&config.rng));
        let directory = config.directory.as_path();
        std::fs::create_dir_all(directory).map_err(WitnessError::io(directory.display()))?;
        let store = Store::open(directory, &config.all_logs()?)?;
        let keys = open_keys(directory, &config.root_key, Arc::clone(&clock), rng)?;
        let signer = Signer::open(&config, &keys)?;
        let names = config.names.clone();
        let identity = tls::identity(&config.directory, &keys, ("Veritwin witness", names))?;
        let acceptor = tls::open_acceptor(identity)?;
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(WitnessError::io(config.listen))?;
        let address = listener.local_addr().map_err(WitnessError::io(config.listen))?;
        let served = Arc::new(routes::Served { store, signer, clock });
        let directory = config.directory.clone();
        Ok(Self { directory, listener, acceptor, address, served, config })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that policies name.
    pub fn vkey(&self) -> &VerifierKey {
        &self.served.signer.vkey
    }

    fn write_run_file(&self) -> Result<PathBuf, WitnessError> {
        let run = WitnessRunFile {
            witness: self.address.to_string(),
            vkey: self.vkey().to_string(),
            certificate: self.directory.join(tls::CERTIFICATE_FILE),
            pid: std::process::id(),
        };
        let path = self.directory.join(RUN_FILE);
        tls::write(&path, &serde_json::to_vec(&run).unwrap_or_default())?;
        Ok(path)
    }

    /// Serves until `shutdown` is done, then finishes open requests.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), WitnessError> {
        let run_file = self.write_run_file()?;
        tracing::info!(address = %self.address, "witness listens");
        let Self { listener, acceptor, served, config, .. } = self;
        let followed = follow(Arc::clone(&served), config);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut connections = JoinSet::new();
        let listener = (listener, AddressList::default());
        tokio::select! {
            () = shutdown => {}
            () = followed => {}
            () = accept_all(listener, acceptor, routes::router(served), stopped, &mut connections)
                => {}
        }
        // Nobody listens any more when every connection has ended; that is no error.
        let _ = stop.send(true);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            connections.shutdown().await;
        }
        std::fs::remove_file(&run_file).map_err(WitnessError::io(run_file.display()))
    }
}

/// Looks for further logs in the file of logs, if there is one. It never ends.
async fn follow(served: Arc<routes::Served>, config: WitnessConfig) {
    if config.logs_file.is_none() {
        return std::future::pending().await;
    }
    let (mut interval, mut told) = (tokio::time::interval(LOOK), String::new());
    loop {
        interval.tick().await;
        let (served, config) = (Arc::clone(&served), config.clone());
        let look = move || served.store.take(&config.all_logs()?);
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(new)) => {
                // The same problem is told anew when it comes back.
                told.clear();
                if new > 0 {
                    tracing::info!(new, "further logs are witnessed");
                }
            }
            Err(_) => {}
            Ok(Err(error)) => {
                let problem = error.to_string();
                if problem != told {
                    tracing::warn!(%error, "the file of logs cannot be taken over");
                    told = problem;
                }
            }
        }
    }
}

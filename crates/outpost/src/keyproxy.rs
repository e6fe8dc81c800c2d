//! The reference key proxy: a program that a customer runs to hold the key above its data. It has
//! its own keys, credentials, certificate and record, speaks AWS's external key store protocol, and
//! asks nobody. Whoever disables a key here has the last word.

mod counts;
mod files;
pub(crate) mod listening;
mod manage;
mod place;
mod routes;
mod state;
mod uses;
mod vault;
mod wire;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{AddressList, Clock, Rng};
use veritwin_keys::pkcs11::{Pkcs11Error, Pkcs11Token};
use veritwin_keys::{KeyError, PassphraseRoot, PlatformFile, RootProvider};

use crate::archive::ClientTrust;

pub use counts::KeyProxyStatus;
pub use listening::KEYPROXY_CONNECTIONS_MAX;
pub use manage::{
    KEYPROXY_CREDENTIALS_MAX, KEYPROXY_KEYS_MAX, NewCredential, NewKey, add_credential, add_key,
    credentials, destroy_key, keys, remove_credential, set_key_enabled,
};
pub use state::{ProxyCredential, ProxyKey, ProxyKeyState};
pub use uses::{KeyUse, USE_FILE_BYTES_MAX, UseSummary};
pub use veritwin_keys::pkcs11::Pkcs11Place;
pub use veritwin_keys::{Passphrase, is_private};

use counts::{Counts, Rates};
use listening::accept_all;
use routes::Served;
use state::State;
use uses::Uses;
use vault::Vault;

/// Longest path before the protocol's own, so that both have at most 128 bytes.
pub const KEYPROXY_PATH_BYTES_MAX: usize = 117;
const SALT_FILE: &str = "passphrase.salt";
const STATUS_FILE: &str = "status.json";
const RUN_FILE: &str = "run.json";
const HOUSEKEEPING: Duration = Duration::from_secs(2);
/// Longest wait for open requests at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a key proxy cannot be made, changed, started or go on.
#[derive(Debug, thiserror::Error)]
pub enum KeyProxyError {
    /// Something is configured or asked for that cannot be.
    #[error("{0}")]
    Configuration(String),
    /// Its root key.
    #[error("key proxy's root key: {0}")]
    Key(#[from] KeyError),
    /// The token that holds its keys.
    #[error(transparent)]
    Token(#[from] Pkcs11Error),
    /// A certificate, or TLS itself.
    #[error("key proxy's certificate: {0}")]
    Certificate(String),
    /// What is stored is not what was written.
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

impl KeyProxyError {
    fn io(what: impl ToString) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }
}

/// What the proxy's own secrets are wrapped under.
#[derive(Debug, Clone)]
pub enum ProxyRoot {
    /// A file of 32 bytes outside the directory; made if absent.
    KeyFile(PathBuf),
    /// A passphrase, of which nothing is stored.
    Passphrase(Passphrase),
}

/// Which certificate the proxy shows.
#[derive(Debug, Clone)]
pub enum ProxyCertificate {
    /// One that it makes for these names.
    Own(Vec<String>),
    /// A chain and its key, both PEM.
    Files(PathBuf, PathBuf),
}

/// How to run a key proxy.
#[derive(Debug, Clone)]
pub struct KeyProxyConfig {
    /// Its own directory.
    pub directory: PathBuf,
    /// What its secrets are wrapped under.
    pub root: ProxyRoot,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Which certificate it shows.
    pub certificate: ProxyCertificate,
    /// Which client certificates it wants; none: it asks for none.
    pub clients: Option<ClientTrust>,
    /// Before the protocol's own path, such as `/store-1`; empty: nothing.
    pub path_prefix: String,
    /// From where requests are answered; empty: from everywhere.
    pub networks: AddressList,
    /// From where `/metrics` is answered.
    pub metrics_networks: AddressList,
    /// For which purposes keys may be used; empty: for every one.
    pub purposes: Vec<String>,
    /// How many requests a second one credential may make.
    pub requests_per_second: u32,
    /// The token that holds the keys; none: the proxy's own file does.
    pub token: Option<Pkcs11Place>,
}

impl KeyProxyConfig {
    fn check(&self) -> Result<(), KeyProxyError> {
        let refuse = |detail: &str| Err(KeyProxyError::Configuration(detail.to_owned()));
        if let ProxyRoot::KeyFile(path) = &self.root
            && path.starts_with(&self.directory)
        {
            return refuse("root_key: has to lie outside the directory");
        }
        let prefix = &self.path_prefix;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte);
        let is_path = prefix.is_empty() || prefix.starts_with('/') && !prefix.ends_with('/');
        if !is_path || prefix.len() > KEYPROXY_PATH_BYTES_MAX || !prefix.bytes().all(plain) {
            return refuse(
                "path_prefix: expected nothing, or `/` and at most 116 letters, digits, `/`, `-` \
                 and `_`",
            );
        }
        if self.requests_per_second == 0 {
            return refuse("requests_per_second: at least 1");
        }
        Ok(())
    }

    /// The root key. Only `init` makes one.
    fn root(&self, rng: &Arc<dyn Rng>, make: bool) -> Result<Box<dyn RootProvider>, KeyProxyError> {
        let rng = Arc::clone(rng);
        let salt = self.directory.join(SALT_FILE);
        Ok(match (&self.root, make) {
            (ProxyRoot::KeyFile(path), true) => Box::new(PlatformFile::open_or_create(path, rng)?),
            (ProxyRoot::KeyFile(path), false) => Box::new(PlatformFile::open(path, rng)?),
            (ProxyRoot::Passphrase(text), true) => {
                Box::new(PassphraseRoot::open_or_create(&salt, text, rng)?)
            }
            (ProxyRoot::Passphrase(text), false) => {
                Box::new(PassphraseRoot::open(&salt, text, rng)?)
            }
        })
    }

    fn open_token(&self, rng: &Arc<dyn Rng>) -> Result<Option<Pkcs11Token>, KeyProxyError> {
        let open = |place: &Pkcs11Place| Pkcs11Token::new(place.clone(), Arc::clone(rng));
        Ok(self.token.as_ref().map(open).transpose()?)
    }
}

/// Makes directory, root key, an empty store and a certificate. A proxy that is there already stays
/// as it is.
pub fn init(config: &KeyProxyConfig, rng: &Arc<dyn Rng>) -> Result<(), KeyProxyError> {
    config.check()?;
    files::make_directory(&config.directory)?;
    let _lock = files::lock(&config.directory)?;
    let root = config.root(rng, true)?;
    if State::read(&config.directory, root.as_ref())?.is_none() {
        State::new(root.as_ref(), rng.as_ref())?.write(&config.directory, root.as_ref())?;
    }
    place::make_certificate(config, root.as_ref())
}

/// The certificate that callers have to trust (PEM).
pub fn certificate_path(config: &KeyProxyConfig) -> PathBuf {
    place::certificate_path(config)
}

/// How a proxy last said it is; none before it ran.
pub fn status(directory: &Path) -> Result<Option<KeyProxyStatus>, KeyProxyError> {
    let path = directory.join(STATUS_FILE);
    let Some(bytes) = files::read(&path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| KeyProxyError::Damaged(format!("{}: {error}", path.display())))
}

/// Reads the record of uses from its first line.
pub fn verify_uses(directory: &Path) -> Result<UseSummary, KeyProxyError> {
    uses::verify(directory)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), KeyProxyError> {
    let bytes = serde_json::to_vec(value);
    let bytes = bytes.map_err(|error| KeyProxyError::Damaged(error.to_string()))?;
    files::write(path, &bytes)
}

/// A key proxy that listens.
pub struct KeyProxy {
    directory: PathBuf,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    certificate: PathBuf,
    fingerprint: String,
    served: Arc<Served>,
    clock: Arc<dyn Clock>,
    _lock: File,
}

impl std::fmt::Debug for KeyProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyProxy({})", self.address)
    }
}

impl KeyProxy {
    /// Opens what `init` made, and binds the address.
    pub async fn bind(
        config: KeyProxyConfig,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, KeyProxyError> {
        config.check()?;
        let directory = config.directory.clone();
        // A passphrase takes its time and its memory.
        let opening = {
            let (config, rng) = (config.clone(), Arc::clone(&rng));
            tokio::task::spawn_blocking(move || {
                let root = config.root(&rng, false)?;
                let (acceptor, fingerprint) = place::acceptor(&config, root.as_ref())?;
                let token = config.open_token(&rng)?;
                if let Some(token) = &token {
                    // A wrong PIN is said at the start, and a session is there for the first use.
                    manage::wait(|answer| token.check(answer))?;
                }
                let vault = Vault::open(&config.directory, root, token, rng)?;
                let lock = files::lock_to_serve(&config.directory)?;
                let uses = Uses::open(&config.directory, USE_FILE_BYTES_MAX)?;
                Ok::<_, KeyProxyError>((acceptor, fingerprint, vault, (uses, lock)))
            })
        };
        let opened = opening.await.map_err(|error| KeyProxyError::Damaged(error.to_string()))?;
        let (acceptor, fingerprint, vault, (uses, lock)) = opened?;
        let certificate = certificate_path(&config);
        let served = Arc::new(Served {
            vault,
            uses: Arc::new(uses),
            counts: Counts::default(),
            rates: Rates::new(config.requests_per_second),
            clock: Arc::clone(&clock),
            path_prefix: config.path_prefix,
            networks: config.networks,
            metrics_networks: config.metrics_networks,
            purposes: config.purposes,
            has_token: config.token.is_some(),
        });
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(KeyProxyError::io(config.listen))?;
        let address = listener.local_addr().map_err(KeyProxyError::io(config.listen))?;
        Ok(Self {
            directory,
            listener,
            acceptor,
            address,
            certificate,
            fingerprint,
            served,
            clock,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// SHA-256 of its certificate, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Serves until `shutdown` is done, then finishes open requests.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), KeyProxyError> {
        let run_file = self.directory.join(RUN_FILE);
        write_json(
            &run_file,
            &serde_json::json!({
                "keyproxy": self.address.to_string(),
                "certificate": self.certificate,
                "fingerprint": self.fingerprint,
                "pid": std::process::id(),
            }),
        )?;
        let Self { directory, listener, acceptor, address, fingerprint, served, clock, .. } = self;
        let listener = (listener, served.networks.clone());
        let say = Saying { directory, address, fingerprint, served: Arc::clone(&served), clock };
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = shutdown => {}
            () = accept_all(listener, acceptor, routes::router(served), stopped, &mut connections)
                => {}
            () = say.on_and_on() => {}
        }
        // Nobody listens any more when every connection has ended; that is no error.
        let _ = stop.send(true);
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            connections.shutdown().await;
        }
        say.once(false).await;
        std::fs::remove_file(&run_file).map_err(KeyProxyError::io(run_file.display()))
    }
}

/// What says how the proxy is.
struct Saying {
    directory: PathBuf,
    address: SocketAddr,
    fingerprint: String,
    served: Arc<Served>,
    clock: Arc<dyn Clock>,
}

impl Saying {
    async fn once(&self, running: bool) {
        let status = KeyProxyStatus {
            running,
            at_us: self.clock.now().as_micros(),
            address: self.address.to_string(),
            certificate_sha256: self.fingerprint.clone(),
            answers: self.served.counts.by_name(),
            well: self.served.is_well().await,
        };
        if let Err(error) = write_json(&self.directory.join(STATUS_FILE), &status) {
            tracing::warn!(%error, "how the key proxy is, is not written down");
        }
    }

    async fn on_and_on(&self) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.once(true).await;
        }
    }
}

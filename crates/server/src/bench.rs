//! What the benchmarks need of a platform: a private one in a temporary folder, as a process of
//! its own so that its CPU time can be told from the load generator's.

mod cells;
mod client;
mod telemetry;
mod tenants;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use veritwin_bench::{Cell, Entry, FairOptions, LedgerOptions, PeerCertificate};
use veritwin_domain::{Clock, Rng, SiteId, SystemClock};

use crate::config::Config;
use crate::control::{self, Request};
use crate::datadir::{Paths, write_private};

pub(crate) use cells::cells;
pub(crate) use telemetry::{Part, telemetry};
pub(crate) use tenants::{TenantsOptions, tenants};

/// A platform with many tenants takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(20);
/// Devices that the connections share.
const DEVICES: usize = 50;
/// Connections that a platform makes to itself, and those that have just ended.
const CONNECTIONS_BESIDE: usize = 100;

/// Rates that would stop a benchmark's load, which comes from one address and one tenant.
const LIFTED: [&str; 9] = [
    "VERITWIN__LIMITS__ADDRESS_REQUESTS_PER_SECOND",
    "VERITWIN__LIMITS__ADDRESS_DEVICE_REQUESTS_PER_SECOND",
    "VERITWIN__LIMITS__USER_REQUESTS_PER_SECOND",
    "VERITWIN__LIMITS__API_KEY_REQUESTS_PER_SECOND",
    "VERITWIN__LIMITS__TENANT_REQUESTS_PER_SECOND",
    "VERITWIN__LIMITS__DEVICE_MESSAGES_PER_SECOND",
    "VERITWIN__LIMITS__TENANT_MESSAGES_PER_SECOND",
    "VERITWIN__LIMITS__DEVICE_READINGS_PER_SECOND",
    "VERITWIN__LIMITS__TENANT_READINGS_PER_SECOND",
];

/// Which rates a private platform keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rates {
    Usual,
    Lifted,
}

/// What a private platform is started with.
#[derive(Debug, Clone, Copy)]
struct Setup {
    rates: Rates,
    /// With a listener without TLS, which no configuration opens.
    is_plain: bool,
    /// Room for so many connections beside the usual bounds.
    connections: usize,
}

impl Setup {
    const fn new(rates: Rates) -> Self {
        Self { rates, is_plain: false, connections: 0 }
    }

    /// Where the usual bounds are lower than what is to come, the bounds.
    fn connection_bounds(self) -> Vec<(&'static str, String)> {
        let usual = Config::default();
        [
            ("VERITWIN__MQTT__CONNECTIONS_MAX", usual.mqtt.connections_max),
            ("VERITWIN__MQTT__CONNECTIONS_PER_ADDRESS_MAX", usual.mqtt.connections_per_address_max),
            ("VERITWIN__LIMITS__TENANT_CONNECTIONS_MAX", usual.limits.tenant_connections_max),
        ]
        .map(|(name, max)| (name, max.max(self.connections + CONNECTIONS_BESIDE).to_string()))
        .into()
    }
}

/// A platform of its own, ended and removed when dropped.
struct Private {
    root: PathBuf,
    child: Child,
    run: Value,
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Private {
    async fn start(clock: &dyn Clock, rng: &dyn Rng, rates: Rates) -> anyhow::Result<Self> {
        Self::start_in(new_folder(clock, rng)?, Setup::new(rates)).await
    }

    async fn start_in(root: PathBuf, setup: Setup) -> anyhow::Result<Self> {
        let limits = match setup.rates {
            Rates::Lifted => LIFTED.as_slice(),
            Rates::Usual => &[],
        };
        let data = root.join("data");
        let command = if setup.is_plain { "bench-platform" } else { "serve" };
        // The plain one ends when this process does, for then this pipe is closed.
        let input = if setup.is_plain { Stdio::piped() } else { Stdio::null() };
        let child = Command::new(std::env::current_exe()?)
            .args([command, "--data"])
            .arg(&data)
            .env("VERITWIN__KEYS__ROOT_DIR", root.join("keys"))
            .env("VERITWIN__HTTP__PORT", "0")
            .env("VERITWIN__HTTP__BIND", "127.0.0.1")
            .env("VERITWIN__MQTT__PORT", "0")
            .env("VERITWIN__MQTT__BIND", "127.0.0.1")
            .env("VERITWIN__ARCHIVE__PORT", "0")
            .env("VERITWIN_LOG", "warn")
            .envs(limits.iter().map(|name| (name, "100000000")))
            .envs(setup.connection_bounds())
            .stdin(input)
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start a private platform")?;
        let mut private = Self { root, child, run: Value::Null };
        let run_json = Paths::new(&data).run_json();
        let listening = async {
            loop {
                if let Ok(text) = std::fs::read(&run_json) {
                    return Ok(serde_json::from_slice(&text)?);
                }
                if let Some(status) = private.child.try_wait()? {
                    bail!("the private platform ended at its start ({status})");
                }
                tokio::time::sleep(POLL).await;
            }
        };
        private.run = tokio::time::timeout(START_TIMEOUT, listening)
            .await
            .context("the private platform did not start in time")??;
        Ok(private)
    }

    fn text(&self, key: &str) -> anyhow::Result<String> {
        let value = self.run[key].as_str().with_context(|| format!("run.json has no {key}"))?;
        Ok(value.to_owned())
    }

    /// A new tenant with devices that connections share.
    async fn tokens(&self) -> anyhow::Result<Vec<String>> {
        self.tokens_of(DEVICES).await
    }

    /// A new tenant with so many devices.
    async fn tokens_of(&self, devices: usize) -> anyhow::Result<Vec<String>> {
        let socket = Paths::new(&self.root.join("data")).control_socket();
        // The peer keeps nothing at all; sealing into the archive is a service of its own.
        let arguments = json!({"name": "Bench", "archive_subscribed": false});
        let made = control::call(&socket, Request::new("create_tenant", arguments)).await?;
        let tenant = made["tenant"].clone();
        let mut tokens = Vec::with_capacity(devices);
        for number in 0..devices {
            let arguments = json!({
                "tenant": tenant,
                "name": format!("load-{number:03}"),
                "declaration": "non_personal",
            });
            let made = control::call(&socket, Request::new("create_device", arguments)).await?;
            let token = made["token"].as_str().context("a device was made without a token")?;
            tokens.push(token.to_owned());
        }
        Ok(tokens)
    }
}

/// A new folder on a real disk. Not the system's temporary folder: where that is memory, fdatasync
/// costs nothing.
fn new_folder(clock: &dyn Clock, rng: &dyn Rng) -> anyhow::Result<PathBuf> {
    let name = format!("veritwin-bench-{}", SiteId::generate(clock.now(), rng));
    let root = Path::new("/var/tmp").join(name);
    std::fs::create_dir_all(&root)?;
    Ok(root)
}

/// What a benchmark of an engine is given: a folder that goes when it is over, time, randomness.
struct Scratch {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let rng: Arc<dyn Rng> = Arc::new(veritwin_app::system_rng());
        Ok(Self { folder: new_folder(clock.as_ref(), rng.as_ref())?, clock, rng })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The ledger benchmark: the archive's engine and the verifier in a folder of their own.
pub(crate) async fn ledger() -> anyhow::Result<Vec<Entry>> {
    let scratch = Scratch::new()?;
    let (clock, rng) = (Arc::clone(&scratch.clock), Arc::clone(&scratch.rng));
    veritwin_bench::ledger(&LedgerOptions::new(scratch.folder.clone(), clock, rng)).await
}

/// A certificate for the peer's listener, signed by itself.
fn peer_certificate(dir: &Path) -> anyhow::Result<(PeerCertificate, String)> {
    let key = KeyPair::generate()?;
    let pem = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?.pem();
    let certificate = dir.join("peer.pem");
    let key_file = dir.join("peer.key");
    write_private(&certificate, pem.as_bytes())?;
    write_private(&key_file, key.serialize_pem().as_bytes())?;
    Ok((PeerCertificate { certificate, key: key_file }, pem))
}

/// The fairness benchmark: a quiet tenant's wait with and without another tenant's flood, under
/// the usual rates.
pub(crate) async fn fair() -> anyhow::Result<Vec<Entry>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rng = veritwin_app::system_rng();
    let private = Private::start(clock.as_ref(), &rng, Rates::Usual).await?;
    let options = FairOptions {
        address: private.text("mqtts")?,
        server_name: "localhost".to_owned(),
        ca_pem: std::fs::read(private.text("ca")?)?,
        quiet_tokens: private.tokens().await?,
        flood_tokens: private.tokens().await?,
        clock,
    };
    veritwin_bench::fair(&options).await
}

/// The MQTT benchmark: the usual figures of our broker and, when it is installed, mosquitto.
pub(crate) async fn mqtt() -> anyhow::Result<Vec<Entry>> {
    cells::measure(Cell::USUAL).await
}

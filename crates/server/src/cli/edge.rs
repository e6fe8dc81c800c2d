//! `veritwin edge`: the store-and-forward gateway of another site. It reads its own configuration
//! and never the platform's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use veritwin_domain::{Clock, Rng, Secret, SystemClock, Timestamp};
use veritwin_outpost::edge::{
    self, BUDGET_SQUARES_PER_YEAR, Edge, EdgeConfig, EdgeStatus, LocalDevice, Measure, WhenFull,
    ZoneConfig, certificate_path,
};

use super::serve::{prepare, runtime};
use super::{BadArguments, print, print_json};
use crate::process::Signals;

/// Longest token in a file, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;
const DISK_BYTES_DEFAULT: u64 = 4 * 1024 * 1024 * 1024;
/// An edge that has said nothing for longer does not run, or cannot write.
const SILENT_SECONDS_MAX: i64 = 10;
const BATCH_SECONDS_DEFAULT: u64 = 10;
const BATCH_SECONDS_MAX: u64 = 3600;
const BATCH_BYTES_DEFAULT: usize = 1024 * 1024;

#[derive(Args, Debug)]
pub(crate) struct EdgePlace {
    /// The edge's own configuration (TOML).
    #[arg(long, value_name = "FILE", env = "VERITWIN_EDGE_CONFIG")]
    config: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum EdgeCommand {
    /// Makes directory, keys and certificate, and prints the public key to register on the
    /// gateway's page. An edge that is there already stays the same; when its names have changed it
    /// gets another certificate.
    #[command(after_help = "Example: veritwin edge init --config /etc/veritwin/edge.toml")]
    Init {
        #[command(flatten)]
        place: EdgePlace,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs the edge until it is told to stop.
    #[command(after_help = "Example: veritwin edge run --config /etc/veritwin/edge.toml")]
    Run {
        #[command(flatten)]
        place: EdgePlace,
        /// Logs as JSON.
        #[arg(long)]
        log_json: bool,
    },
    /// Says how the edge is: what waits, what the platform has taken, why it does not.
    #[command(after_help = "Example: veritwin edge status --config /etc/veritwin/edge.toml --json")]
    Status {
        #[command(flatten)]
        place: EdgePlace,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says how the public zone is set that the edge is the gateway of, signed by the edge.
    #[command(
        after_help = "Example: veritwin edge attestation --config /etc/veritwin/edge.toml --json"
    )]
    Attestation {
        #[command(flatten)]
        place: EdgePlace,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// The devices that the edge lets in.
    #[command(
        subcommand,
        after_help = "Example: veritwin edge device add pump-1 --config /etc/veritwin/edge.toml"
    )]
    Device(EdgeDeviceCommand),
}

#[derive(Subcommand)]
pub(crate) enum EdgeDeviceCommand {
    /// Lets a device in under this name and prints its token, once. A device that is there gets a
    /// new token.
    #[command(
        after_help = "Example: veritwin edge device add pump-1 --config /etc/veritwin/edge.toml"
    )]
    Add {
        /// The device's name, which it has on the platform too.
        name: String,
        #[command(flatten)]
        place: EdgePlace,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lets a device in no more. What it sent is still handed over.
    #[command(
        after_help = "Example: veritwin edge device remove pump-1 --config /etc/veritwin/edge.toml"
    )]
    Remove {
        /// The device's name.
        name: String,
        #[command(flatten)]
        place: EdgePlace,
    },
    /// Lists the devices.
    #[command(after_help = "Example: veritwin edge device list --config /etc/veritwin/edge.toml")]
    List {
        #[command(flatten)]
        place: EdgePlace,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The edge's configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeFile {
    directory: PathBuf,
    root_key: PathBuf,
    #[serde(default = "listen")]
    listen: String,
    listen_http: Option<String>,
    #[serde(default = "names")]
    names: Vec<String>,
    platform: String,
    platform_ca: Option<PathBuf>,
    platform_mqtt: Option<String>,
    gateway: String,
    token_file: PathBuf,
    disk_bytes_max: Option<u64>,
    when_full: Option<String>,
    batch_seconds: Option<u64>,
    batch_bytes_max: Option<usize>,
    collection: Option<CollectionFile>,
}

/// The public zone that the edge is the gateway of: only aggregates leave it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectionFile {
    zone: String,
    #[serde(default = "window_minutes")]
    window_minutes: u32,
    budget_milli_per_day: u32,
    measure: Vec<Measure>,
}

impl CollectionFile {
    fn zone(&self) -> ZoneConfig {
        ZoneConfig {
            name: self.zone.clone(),
            window_minutes: self.window_minutes,
            budget_milli_per_day: self.budget_milli_per_day,
            measures: self.measure.clone(),
        }
    }
}

const fn window_minutes() -> u32 {
    60
}

fn listen() -> String {
    "0.0.0.0:8883".to_owned()
}

fn names() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

impl EdgeFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text)
            .map_err(|error| BadArguments(format!("{}: {error}", path.display())).into())
    }

    fn config(&self) -> anyhow::Result<EdgeConfig> {
        let bad = |detail: &str| BadArguments(detail.to_owned());
        let seconds = self.batch_seconds.unwrap_or(BATCH_SECONDS_DEFAULT);
        if !(1..=BATCH_SECONDS_MAX).contains(&seconds) {
            return Err(bad("batch_seconds must be 1 to 3600").into());
        }
        let when_full = match self.when_full.as_deref().unwrap_or("refuse") {
            "refuse" => WhenFull::Refuse,
            "drop_oldest" => WhenFull::DropOldest,
            _ => return Err(bad("when_full must be refuse or drop_oldest").into()),
        };
        let listen = self.listen.parse().map_err(|_| bad("listen must be ADDRESS:PORT"))?;
        let listen_http = self.listen_http.as_deref().map(str::parse).transpose();
        let listen_http = listen_http.map_err(|_| bad("listen_http must be ADDRESS:PORT"))?;
        let gateway = self.gateway.parse();
        let gateway = gateway.map_err(|_| bad("gateway must be the id of the gateway device"))?;
        Ok(EdgeConfig {
            directory: self.directory.clone(),
            root_key: self.root_key.clone(),
            listen,
            listen_http,
            names: self.names.clone(),
            platform: self.platform.clone(),
            platform_ca: self.platform_ca.clone(),
            platform_mqtt: self.platform_mqtt.clone(),
            gateway,
            disk_bytes_max: self.disk_bytes_max.unwrap_or(DISK_BYTES_DEFAULT),
            when_full,
            batch_age: Duration::from_secs(seconds),
            batch_bytes_max: self.batch_bytes_max.unwrap_or(BATCH_BYTES_DEFAULT),
            zone: self.collection.as_ref().map(CollectionFile::zone),
        })
    }

    fn token(&self) -> anyhow::Result<Secret<String>> {
        let path = &self.token_file;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read token_file {}", path.display()))?;
        let token = text.trim();
        if token.is_empty()
            || token.len() > TOKEN_BYTES_MAX
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            let detail = format!("token_file {}: expected the gateway's token", path.display());
            return Err(BadArguments(detail).into());
        }
        Ok(Secret::new(token.to_owned()))
    }
}

fn config_of(place: &EdgePlace) -> anyhow::Result<EdgeConfig> {
    EdgeFile::read(&place.config)?.config()
}

pub(crate) fn run(command: EdgeCommand) -> anyhow::Result<ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rng: Arc<dyn Rng> = Arc::new(veritwin_app::system_rng());
    match command {
        EdgeCommand::Init { place, json } => init(&config_of(&place)?, json, &clock, &rng)?,
        EdgeCommand::Run { place, log_json } => serve(&place, log_json, clock, rng)?,
        EdgeCommand::Status { place, json } => status(&config_of(&place)?, json, clock.as_ref())?,
        EdgeCommand::Attestation { place, json } => {
            let said = edge::attestation(&config_of(&place)?, &clock, &rng)?;
            if json {
                print_json(&said)?;
            } else {
                print(said.statement.trim_end());
                print(&format!("key {}", said.key));
                print(&format!("signature {}", said.signature));
            }
        }
        EdgeCommand::Device(EdgeDeviceCommand::Add { name, place, json }) => {
            let config = config_of(&place)?;
            let token = edge::add_device(&config, &name, clock.as_ref(), rng.as_ref())?;
            if json {
                print_json(&json!({"name": name, "token": token.expose()}))?;
            } else {
                print(&format!("{name} comes in with this token, shown once:"));
                print(token.expose());
            }
        }
        EdgeCommand::Device(EdgeDeviceCommand::Remove { name, place }) => {
            edge::remove_device(&config_of(&place)?, &name, clock.as_ref())?;
            print(&format!("{name} is let in no more"));
        }
        EdgeCommand::Device(EdgeDeviceCommand::List { place, json }) => {
            list(&edge::local_devices(&config_of(&place)?)?, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(
    config: &EdgeConfig,
    json: bool,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> anyhow::Result<()> {
    let key = edge::init(config, clock, rng)?;
    let certificate = certificate_path(config);
    if json {
        return print_json(&json!({
            "gateway": config.gateway.to_string(),
            "public_key": key,
            "certificate": certificate,
        }));
    }
    print("Register this public key on the page of the gateway, under Edge:");
    print(&format!("  {key}"));
    print(&format!("Local devices have to trust {}", certificate.display()));
    Ok(())
}

fn serve(
    place: &EdgePlace,
    log_json: bool,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
) -> anyhow::Result<()> {
    prepare(log_json)?;
    let file = EdgeFile::read(&place.config)?;
    let (config, token) = (file.config()?, file.token()?);
    let platform = config.platform.clone();
    runtime()?.block_on(async move {
        let mut signals = Signals::listen()?;
        let edge = Edge::bind(config, token, clock, rng).await?;
        let https = edge.http_address().map(|at| format!(" and https://{at}"));
        let (mqtts, https) = (edge.address(), https.unwrap_or_default());
        print(&format!("The edge listens at mqtts://{mqtts}{https} for {platform}"));
        edge.run(async move { signals.come().await }).await?;
        Ok(())
    })
}

/// Whether the edge runs, as far as what it last said tells: it says something every second.
fn running(said: &EdgeStatus, now: Timestamp) -> String {
    let seconds = now.as_micros().saturating_sub(said.at_us) / 1_000_000;
    match (said.running, seconds) {
        (false, _) => "no".to_owned(),
        (true, ..=SILENT_SECONDS_MAX) => "yes".to_owned(),
        (true, _) => format!("not heard for {seconds} s"),
    }
}

fn status(config: &EdgeConfig, json: bool, clock: &dyn Clock) -> anyhow::Result<()> {
    let public_key = edge::public_key(config)?;
    let said = edge::status(&config.directory)?;
    if json {
        let unheard = EdgeStatus {
            gateway: config.gateway.to_string(),
            public_key,
            disk_bytes_max: config.disk_bytes_max,
            ..EdgeStatus::default()
        };
        return print_json(&said.unwrap_or(unheard));
    }
    let Some(said) = said else {
        print(&format!("The edge with key {public_key} has not run yet"));
        return Ok(());
    };
    print(&format!("Public key        {}", said.public_key));
    print(&format!("Running           {}", running(&said, clock.now())));
    print(&format!("Batches stated    {}", said.last_counter));
    print(&format!("Batches taken     {}", said.sent_counter));
    let (batches, entries) = (said.waiting_batches, said.waiting_entries);
    print(&format!("Waiting           {batches} batches, {entries} entries"));
    print(&format!("Given up          {} batches", said.given_up_batches));
    if config.platform_mqtt.is_some() {
        let is_heard = if said.hears_platform { "heard" } else { "not heard now" };
        print(&format!("Calls             {is_heard}"));
    }
    print(&format!("Disk              {} of {} bytes", said.disk_bytes, said.disk_bytes_max));
    if let Some(zone) = said.zone {
        let (spent, budget) = (said.budget_spent_milli, said.budget_milli_per_day);
        print(&format!("Public zone       {zone}"));
        print(&format!("Budget today      {spent} of {budget} thousandths of epsilon spent"));
        let (spent, budget) = (said.year_spent_squares, BUDGET_SQUARES_PER_YEAR);
        print(&format!("Budget of a year  {spent} of {budget} squared thousandths spent"));
    }
    if let Some(reason) = said.last_refusal {
        print(&format!("Refused here      {} messages, the last: {reason}", said.refused_messages));
    }
    if let Some(problem) = said.problem {
        print(&format!("Problem           {problem}"));
        if said.refused {
            print("                  This does not go away by itself");
        }
    }
    Ok(())
}

fn list(devices: &[LocalDevice], json: bool) -> anyhow::Result<()> {
    if json {
        let devices = devices.iter().map(|one| {
            json!({
                "name": one.name,
                "added_at_us": one.added_at_us,
                "removed_at_us": one.removed_at_us,
            })
        });
        return print_json(&devices.collect::<Vec<_>>());
    }
    for one in devices {
        let removed = if one.removed_at_us.is_some() { " (removed)" } else { "" };
        print(&format!("{}{removed}", one.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        directory = "/var/lib/veritwin-edge"
        root_key = "/etc/veritwin/edge.key"
        platform = "https://twin.example:8443"
        gateway = "01890000-0000-7000-8000-000000000001"
        token_file = "/etc/veritwin/edge.token"
    "#;

    fn read(more: &str) -> anyhow::Result<EdgeConfig> {
        toml::from_str::<EdgeFile>(&format!("{FILE}{more}"))?.config()
    }

    #[test]
    fn a_short_file_is_enough() {
        let config = read("").expect("read");
        assert_eq!(config.disk_bytes_max, DISK_BYTES_DEFAULT);
        assert_eq!((config.listen.port(), config.when_full), (8883, WhenFull::Refuse));
        let config = read("when_full = \"drop_oldest\"").expect("read");
        assert_eq!(config.when_full, WhenFull::DropOldest);
        assert!(config.listen_http.is_none(), "HTTP is asked for");
        let config = read("listen_http = \"0.0.0.0:8443\"").expect("read");
        assert_eq!(config.listen_http.map(|at| at.port()), Some(8443));
    }

    #[test]
    fn a_public_zone_is_read_whole() {
        let zone = r#"
            [collection]
            zone = "north square"
            budget_milli_per_day = 400

            [[collection.measure]]
            key = "used"
            epsilon_milli = 100
            kind = "amount"
            step = 0.01
            steps_max = 1000

            [[collection.measure]]
            key = "state"
            epsilon_milli = 100
            kind = "status"
            words = ["free", "taken"]
        "#;
        let zone = read(zone).expect("read").zone.expect("a zone");
        assert_eq!((zone.window_minutes, zone.measures.len()), (60, 2));
        assert_eq!(zone.cost_milli(), 200);
        zone.check().expect("kept");
        assert!(read("[collection]\nzone = \"x\"").is_err());
    }

    #[test]
    fn an_edge_that_was_killed_is_not_said_to_run() {
        let said = EdgeStatus { running: true, at_us: 5_000_000, ..EdgeStatus::default() };
        let at = |seconds: i64| running(&said, Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!((at(5), at(15)), ("yes".to_owned(), "yes".to_owned()));
        assert_eq!(at(65), "not heard for 60 s");
        let stopped = EdgeStatus { running: false, ..said.clone() };
        assert_eq!(running(&stopped, Timestamp::from_micros(0)), "no");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in ["when_full = \"x\"", "batch_seconds = 0", "listen = \"x\"", "colour = 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("listen_http = \"8443\"").is_err());
    }
}

//! `veritwin serve`, `veritwin demo`, `veritwin archive serve` and a benchmark's platform.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::io::AsyncReadExt;
use veritwin_domain::{SystemClock, Timestamp};
use veritwin_outpost::archive::{ClientLimits, Limits, ServeConfig, Server};

use super::{ServeArguments, bench_platform, demo, print};
use crate::archive_child::ArchiveFile;
use crate::process::Signals;
use crate::{process, run};

/// Most logs of one platform in an archive that serves several, when nothing else is said.
const CLIENT_LOGS_MAX: usize = 10_000;
/// Most bytes of leaves and payloads of one platform there, when nothing else is said.
const CLIENT_BYTES_MAX: u64 = 1 << 40;

/// Days for which an archive keeps every leaf at least, when nothing else is said.
const MINIMUM_PERIOD_DAYS: u32 = 30;
/// As the longest audit period of a plan.
const MINIMUM_PERIOD_DAYS_MAX: u32 = 36_500;
const DAY: Duration = Duration::from_secs(86_400);

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Serve,
    Demo,
    /// The platform of a benchmark, with a listener that the others cannot have.
    Bench,
}

#[derive(Subcommand)]
pub(crate) enum ArchiveCommand {
    /// Serves an archive. Started by the platform as a child, or by another party.
    #[command(after_help = "Example: veritwin archive serve --config /etc/veritwin/archive.toml")]
    Serve {
        /// The archive's own configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Threads that serve connections.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("veritwin")
        .build()
        .context("cannot start the runtime")
}

pub(super) fn prepare(log_json: bool) -> anyhow::Result<()> {
    process::forbid_core_dumps()?;
    process::start_logs(log_json);
    process::raise_open_files();
    Ok(())
}

pub(crate) fn run(arguments: &ServeArguments, mode: Mode) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    prepare(arguments.log_json)?;
    let simulated_clock = arguments
        .simulated_clock
        .as_deref()
        .map(|text| Timestamp::parse_rfc3339(text).context("--simulated-clock"))
        .transpose()?;
    let mut config = run::load_config(arguments.place.config.as_deref())?;
    if mode == Mode::Bench {
        bench_platform::refuse_old(&arguments.place.data, &config)?;
    }
    if mode != Mode::Serve {
        // A demo is for this machine's own user, and so is a benchmark.
        for bind in [&mut config.http.bind, &mut config.mqtt.bind] {
            if bind == "0.0.0.0" {
                "127.0.0.1".clone_into(bind);
            }
        }
    }
    let options = run::Options {
        config,
        data: arguments.place.data.clone(),
        simulated_clock,
        demo: mode == Mode::Demo,
    };
    let metrics = run::install_metrics()?;
    runtime()?.block_on(async move {
        let platform = run::start(options, metrics).await?;
        match mode {
            Mode::Serve => {
                welcome(&platform, started).await?;
                let signals = platform.announce(None)?;
                platform.run_until(signals).await?;
            }
            Mode::Demo => demo::run(platform, started).await?,
            Mode::Bench => bench_platform::run(platform).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn welcome(platform: &run::Platform, started: Instant) -> anyhow::Result<()> {
    print(&format!("Veritwin listens at {} and mqtts://{}", platform.https, platform.mqtts));
    print(&format!("Started in {} ms", started.elapsed().as_millis()));
    if !platform.facts.own_certificate {
        print(&format!("Its certificate authority: {}", platform.paths.ca_pem().display()));
        print(&format!("SHA-256 {}", platform.facts.ca_fingerprint));
        print("Trust it once on each device: veritwin ca export > ca.pem");
    }
    if !platform.app.has_tenants().await? {
        let token = platform.app.issue_admin_link(&platform.app.local_operator(), None).await?;
        print(
            "Nobody can sign in yet. This link makes the first administrator, once, within 72 hours:",
        );
        print(&format!("  {}", platform.facts.link(&token)));
    }
    Ok(())
}

/// `veritwin archive serve`.
pub(crate) fn archive(config: &Path) -> anyhow::Result<ExitCode> {
    prepare(false)?;
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("cannot read {}", config.display()))?;
    let file: ArchiveFile =
        toml::from_str(&text).with_context(|| format!("{}", config.display()))?;
    let stop_with_stdin = file.stop_with_stdin;
    let clients = file.trust().with_context(|| format!("{}", config.display()))?;
    let renewed = file.renewals().with_context(|| format!("{}", config.display()))?;
    let bucket = file.bucket().with_context(|| format!("{}", config.display()))?;
    let listen = file.listen.parse().context("listen must be ADDRESS:PORT")?;
    let days = file.minimum_period_days.unwrap_or(MINIMUM_PERIOD_DAYS);
    if days > MINIMUM_PERIOD_DAYS_MAX {
        bail!("minimum_period_days: expected at most {MINIMUM_PERIOD_DAYS_MAX}");
    }
    let limits = Limits { period_min: DAY * days, ..Limits::default() };
    let log_bytes_max = file.log_bytes_max.unwrap_or(limits.log_bytes_max);
    let limits = Limits { log_bytes_max, ..limits };
    let part = limits.logs_max / file.clients.len().max(1);
    let logs_max = file.client_logs_max.unwrap_or_else(|| CLIENT_LOGS_MAX.min(part));
    let bytes_max = file.client_bytes_max.unwrap_or(CLIENT_BYTES_MAX);
    let serve = ServeConfig {
        directory: file.directory,
        root_key: file.root_key,
        listen,
        names: file.names,
        clients,
        renewed,
        client: ClientLimits { logs_max, bytes_max },
        bucket,
        limits,
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(veritwin_app::system_rng()),
    };
    runtime()?.block_on(async move {
        let mut signals = Signals::listen()?;
        let server = Server::bind(serve).await?;
        let stopped = async move {
            if stop_with_stdin {
                // Control-C in a terminal reaches the whole group; the platform, which holds the
                // other end of the standard input, decides when to end.
                let mut rest = Vec::new();
                let _ = tokio::io::stdin().take(1 << 16).read_to_end(&mut rest).await;
            } else {
                signals.come().await;
            }
        };
        server.run(stopped).await?;
        Ok(ExitCode::SUCCESS)
    })
}

//! What the process does to itself before anything else: no core dumps, one TLS provider,
//! structured logs. It refuses to go on when core dumps cannot be disabled.

use std::io::{IsTerminal, Write};

use anyhow::{Context, ensure};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Disables core dumps and asserts it: keys live in this memory.
pub(crate) fn forbid_core_dumps() -> anyhow::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).context("cannot set the core limit to 0")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot mark the process as not dumpable")?;
    ensure!(core_dumps_forbidden(), "core dumps are still possible after disabling them");
    Ok(())
}

/// Whether core dumps are disabled now; `doctor` and the tests ask.
pub(crate) fn core_dumps_forbidden() -> bool {
    rustix::process::getrlimit(Resource::Core).current == Some(0)
        && rustix::process::dumpable_behavior()
            .is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable)
}

/// Takes memory in small pages only: of a huge one a single byte in use keeps two megabytes, and
/// what a burst leaves behind is spread over all of them. A kernel without huge pages is fine.
pub(crate) fn refuse_huge_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Raises the soft limit of open files to the hard one; connections need it.
pub(crate) fn raise_open_files() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, wanted);
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The signals that ask a process to end. From the moment they are listened to, none is lost.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens; inside a runtime.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Until one came.
    pub(crate) async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Installs aws-lc-rs as the one TLS provider. Called once, first in `main`.
pub(crate) fn install_tls_provider() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed before"))
}

/// Standard error, for a process that goes on when nobody can take its lines: a closed pipe, a
/// full disk behind the file.
#[derive(Default)]
struct LogOutput;

impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if std::io::stderr().write_all(line).is_err() {
            metrics::counter!("veritwin_log_lines_lost_total").increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whose messages are never logged, whatever the filter says.
const NEVER_LOGGED: [&str; 5] = [
    "async_imap=off",
    "async_imap::client=off",
    "async_imap::imap_stream=off",
    "async_imap::parse=off",
    "imap_proto=off",
];

/// Starts structured logs on standard error; `VERITWIN_LOG` filters (`info` by default).
pub(crate) fn start_logs(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("VERITWIN_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("info,sqlx=warn,sea_orm_migration=warn")
    });
    // What these say holds what is said to mail servers, passwords among it.
    let filter = NEVER_LOGGED.iter().fold(filter, |filter, target| match target.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogOutput::default)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(true);
    if json {
        builder.json().init();
    } else {
        builder.compact().init();
    }
}

//! Requests from the command line: over the socket when the platform runs, else to a stopped one
//! that is opened under its directory's lock. A directory without a platform is refused, not made.

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use veritwin_app::App;
use veritwin_domain::SystemClock;

use super::Dispatcher;
use crate::archive_child::{ArchiveChild, ArchiveOptions};
use crate::archive_remote::ArchiveRemote;
use crate::cli::Place;
use crate::config::Config;
use crate::control::{self, Dispatch, Request};
use crate::controls::Controls;
use crate::datadir::{DataDir, Paths, is_running};
use crate::{run, stores};

/// A stopped platform, opened for one request under its directory's lock. Its jobs do not run.
struct Stopped {
    dispatcher: Dispatcher,
    archive: Option<ArchiveChild>,
    paths: Paths,
    // Dropped last: the lock on the directory.
    _dir: DataDir,
}

impl Stopped {
    async fn open(data: &Path, config: &Config, needs_archive: bool) -> anyhow::Result<Self> {
        ensure!(
            data.join("instance.json").exists(),
            "there is no platform in {}: start it once with `veritwin serve`, or name its \
             directory with --data",
            data.display()
        );
        crate::process::forbid_core_dumps()?;
        let machine = SystemClock::new();
        let dir = DataDir::open(data, None, &machine, &veritwin_app::system_rng())?;
        let (clock, simulated) = run::clock_of(&dir)?;
        let app_config = stores::app_config(config, &dir, clock, false)?;
        let root_key_dir = app_config.root_key_dir.clone();
        let app = App::open(app_config).await?;
        let paths = dir.paths();
        let archive = if !needs_archive {
            None
        } else if let Some(remote) = ArchiveRemote::of(&config.archive)? {
            remote.attach(&app, &paths).await?;
            None
        } else {
            // A free port: the configured one may belong to somebody else while this is stopped.
            let (bind, log_bytes_max) = ("127.0.0.1".to_owned(), config.archive.log_bytes_max);
            let options = ArchiveOptions { bind, port: 0, root_key_dir, log_bytes_max };
            Some(ArchiveChild::start(&app, &paths, &options).await?)
        };
        let is_own_certificate = config.tls.certificate.is_some();
        let ca_fingerprint = std::fs::read_to_string(paths.ca_pem())
            .ok()
            .filter(|_| !is_own_certificate)
            .map(|pem| crate::pki::fingerprint(&pem))
            .transpose()?;
        let dispatcher = Dispatcher {
            app,
            address: stopped_address(config),
            ca_fingerprint,
            clock: simulated,
            controls: Arc::new(Controls::default()),
            running: false,
        };
        Ok(Self { dispatcher, archive, paths, _dir: dir })
    }

    async fn close(self) {
        self.dispatcher.app.close().await;
        if let Some(archive) = self.archive {
            let stop = CancellationToken::new();
            stop.cancel();
            archive.supervise(self.dispatcher.app.clone(), self.paths.clone(), stop).await;
        }
    }
}

/// Where the platform will listen; a port that is chosen at the start is not known before.
fn stopped_address(config: &Config) -> String {
    let name = &config.http.public_name;
    match config.http.port {
        0 => format!("https://{name}:PORT"),
        port => format!("https://{name}:{port}"),
    }
}

/// Sends a request to the platform of `place`: over its socket when it runs, else under its lock.
pub(crate) async fn ask(place: &Place, request: Request) -> anyhow::Result<Value> {
    if is_running(&place.data) {
        return control::call(&Paths::new(&place.data).control_socket(), request).await;
    }
    let needs_archive = matches!(request.command.as_str(), "ledger_export" | "scrub");
    let config = run::load_config(place.config.as_deref())?;
    let stopped = Stopped::open(&place.data, &config, needs_archive).await?;
    let answer = stopped.dispatcher.dispatch(request).await;
    stopped.close().await;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_directory_is_made_by_asking() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let data = dir.path().join("absent");
        let opened = Stopped::open(&data, &Config::default(), false).await;
        let error = opened.err().expect("refused").to_string();
        assert!(error.contains("there is no platform in"), "{error}");
        assert!(!data.exists());
    }
}

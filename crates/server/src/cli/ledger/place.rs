//! Where a log is: the folder of an export, or a server.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use veritwin_verify::{DirectorySource, Progress, Report, Source};

use super::bundle::is_bundle;
use super::served::Served;
use super::{ExitClass, bad};
use crate::cli::print_error;

/// A log in a folder, or one that is served.
#[derive(Args, Debug, Clone)]
pub(crate) struct LogPlace {
    /// The folder of an exported log, or where one is served: https://HOST[:PORT]/ledger/LOG;
    /// `verify` takes a bundle of evidence (.zip, or unpacked) as well.
    #[arg(value_name = "DIR_OR_URL")]
    pub(super) log: String,
    #[command(flatten)]
    pub(super) access: Access,
}

/// What a served log asks for.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Access {
    /// Of a served log: the authority to trust (PEM), such as a platform's own; the public ones
    /// by default.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Of a served log: a file that holds the API key of somebody who may take the ledger away.
    /// Checkpoint and hash tiles need none.
    #[arg(long, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,
}

impl LogPlace {
    pub(super) fn source(&self) -> anyhow::Result<Box<dyn Source>> {
        source(&self.log, &self.access)
    }

    /// A bundle of evidence, if this is one.
    pub(super) fn bundle(&self) -> Option<&Path> {
        let path = Path::new(&self.log);
        (!self.log.contains("://") && is_bundle(path)).then_some(path)
    }

    /// Said where a server hands out no entries, since the reason is likely that it wants a key.
    pub(super) fn hint(&self, report: &Report) {
        let is_served = self.log.contains("://") && self.access.api_key_file.is_none();
        if is_served && report.exit == ExitClass::Missing && report.counts.leaves == 0 {
            print_error(
                "the server hands out no entries: a platform does so to those who may take the \
                 ledger away; give their API key with --api-key-file",
            );
        }
    }
}

/// The log in a folder or at an address.
pub(super) fn source(log: &str, access: &Access) -> anyhow::Result<Box<dyn Source>> {
    if log.contains("://") {
        let (ca, key) = (access.ca.as_deref(), access.api_key_file.as_deref());
        return Ok(Box::new(Served::new(log, ca, key)?));
    }
    if access.ca.is_some() || access.api_key_file.is_some() {
        return Err(bad("--ca and --api-key-file are of a served log".to_owned()));
    }
    if !Path::new(log).is_dir() {
        return Err(bad(format!("{log} is not a folder: name an exported log")));
    }
    Ok(Box::new(DirectorySource::new(log)))
}

/// A bar that is drawn on terminals only.
pub(super) fn progress_bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} leaves  {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// Moves a bar to where the work stands.
pub(super) fn move_to(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.leaves_total);
    bar.set_position(progress.leaves);
}

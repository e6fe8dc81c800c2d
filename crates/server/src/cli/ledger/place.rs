//! Where a log is: the folder of an export, or a server.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use veritwin_verify::{
    CHECKPOINT_BYTES_MAX, DirectorySource, Progress, Report, SignedCheckpoint, Source, TileKind,
    TilePath,
};

use super::bundle::is_bundle;
use super::served::Served;
use super::{ExitClass, bad};
use crate::cli::print_error;

const CLOSED: &str = "the server hands out no entries: a platform does so to those who may take \
                      the ledger away; give their API key with --api-key-file";
/// Largest entry bundle, with room.
const BUNDLE_BYTES_MAX: u64 = 32 << 20;

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

    fn is_asked_without_key(&self) -> bool {
        self.log.contains("://") && self.access.api_key_file.is_none()
    }

    /// Whether a server hands out no entries to whoever has no key, which is said: to read on would
    /// take long and tell nothing.
    pub(super) fn is_closed(&self, source: &dyn Source) -> bool {
        let is_closed = self.is_asked_without_key() && has_no_end(source).unwrap_or(false);
        if is_closed {
            print_error(CLOSED);
        }
        is_closed
    }

    /// Said where a server hands out no entries, since the reason is likely that it wants a key.
    pub(super) fn hint(&self, report: &Report) {
        let is_empty = report.exit == ExitClass::Missing && report.counts.leaves == 0;
        if self.is_asked_without_key() && is_empty {
            print_error(CLOSED);
        }
    }
}

/// Whether the newest entries, which no period ends, are not there; none when that is open.
fn has_no_end(source: &dyn Source) -> Option<bool> {
    let checkpoint = source.read("checkpoint", CHECKPOINT_BYTES_MAX).ok()??;
    let size = SignedCheckpoint::parse(&checkpoint).ok()?.checkpoint.size;
    let last = TilePath::in_tree(TileKind::Entries, size.checked_sub(1)? / 256, size)?;
    for path in [last, last.full()] {
        if source.read(&path.to_string(), BUNDLE_BYTES_MAX).ok()?.is_some() {
            return Some(false);
        }
    }
    Some(true)
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
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} leaves{prefix}  {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// Moves a bar to where the work stands.
pub(super) fn move_to(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.leaves_total);
    bar.set_position(progress.leaves);
    if progress.payloads_total > 0 {
        let (done, all) = (progress.payloads, progress.payloads_total);
        bar.set_prefix(format!(", {done}/{all} payloads"));
    }
}

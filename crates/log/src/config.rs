//! How a log is set up: where it stands, whose keys seal it, and its bounds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{Clock, Rng};
use veritwin_keys::KeyService;

use crate::{DiskStorage, Storage};

/// The set-up of a log. [`LogConfig::new`] fills in the bounds.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The log's own directory; made if absent, its parent has to exist.
    pub directory: PathBuf,
    /// Whose keys seal the entries.
    pub keys: KeyService,
    /// For the day of the tenant keys.
    pub clock: Arc<dyn Clock>,
    /// For file ids.
    pub rng: Arc<dyn Rng>,
    /// How long a commit waits for company. Zero: it never waits; what arrives during one commit
    /// forms the next anyway.
    pub group_commit_delay: Duration,
    /// A file that has reached this size is followed by a new one.
    pub file_bytes_max: u64,
    /// Appended, not yet durable: above this, appends wait.
    pub queue_bytes_max: usize,
    /// Largest single append, encoded.
    pub append_bytes_max: usize,
    /// A commit takes no further append once it holds this much.
    pub group_bytes_max: usize,
    /// Durable entries kept in memory for consumers that are nearly up to date.
    pub recent_bytes_max: usize,
    /// Most that is written for one tenant while the service that holds its key is silent, sealed,
    /// and most that thinned files keep of it; above it, its appends are refused. Of a tenant whose
    /// key is there and that is held up by something else they keep twice as much.
    pub spool_bytes_max: u64,
    /// Where files are written.
    pub storage: Arc<dyn Storage>,
}

impl LogConfig {
    /// A set-up with the usual bounds.
    pub fn new(
        directory: PathBuf,
        keys: KeyService,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self {
            directory,
            keys,
            clock,
            rng,
            group_commit_delay: Duration::ZERO,
            file_bytes_max: 128 * 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            append_bytes_max: 32 * 1024 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            recent_bytes_max: 32 * 1024 * 1024,
            spool_bytes_max: 256 * 1024 * 1024,
            storage: Arc::new(DiskStorage),
        }
    }
}

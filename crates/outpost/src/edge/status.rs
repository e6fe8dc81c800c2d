//! How the edge is: written down once a second for whoever stands in front of it.

use std::path::Path;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_domain::{Clock, Timestamp};

use super::front::Front;
use super::stating::Stating;
use super::{EdgeError, place};

const FILE: &str = "status.json";

/// How an edge is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeStatus {
    /// False once it was stopped in order; after a crash it stays true.
    pub running: bool,
    /// When this was written, in microseconds.
    pub at_us: i64,
    /// The gateway device that it is.
    pub gateway: String,
    /// Its public key, in hexadecimal.
    pub public_key: String,
    /// Counter of the last statement that was made.
    pub last_counter: u64,
    /// Counter of the last one that the platform has taken.
    pub sent_counter: u64,
    /// Statements that wait for the platform.
    pub waiting_batches: u64,
    /// Entries in them.
    pub waiting_entries: u64,
    /// Batches that were given up because the disk was full, as far back as statements are kept.
    pub given_up_batches: u64,
    /// Lines that the platform refused since the start, each by itself.
    pub refused_lines: u64,
    /// Messages of local devices that were refused since the start where no device could be told.
    pub refused_messages: u64,
    /// Why the last of them.
    pub last_refusal: Option<String>,
    /// Local devices that are connected.
    pub devices_connected: u64,
    /// Whether the platform's calls and attributes come down now.
    pub hears_platform: bool,
    /// Bytes of the log.
    pub disk_bytes: u64,
    /// The most that they may be.
    pub disk_bytes_max: u64,
    /// When the platform last took a batch, in microseconds.
    pub taken_at_us: Option<i64>,
    /// The platform's clock minus this one, in microseconds.
    pub clock_offset_us: Option<i64>,
    /// Why nothing goes to the platform at the moment.
    pub problem: Option<String>,
    /// Whether somebody has to do something about it.
    pub refused: bool,
    /// The public zone that it is the gateway of.
    pub zone: Option<String>,
    /// What of the zone's budget is spent today (UTC), in thousandths of epsilon.
    pub budget_spent_milli: u32,
    /// The budget of a day.
    pub budget_milli_per_day: u32,
    /// What of the zone's budget of a year is spent, in squared thousandths of epsilon.
    pub year_spent_squares: u32,
}

#[derive(Debug, Default)]
struct Said {
    taken_at: Option<Timestamp>,
    refused_lines: u64,
    problem: Option<String>,
    refused: bool,
}

/// What became of the last attempts.
#[derive(Debug, Default)]
pub(super) struct Condition(Mutex<Said>);

impl Condition {
    pub(super) fn taken(&self, at: Timestamp, refused_lines: u64) {
        let mut said = self.0.lock();
        said.taken_at = Some(at);
        said.refused_lines = said.refused_lines.saturating_add(refused_lines);
        (said.problem, said.refused) = (None, false);
    }

    pub(super) fn later(&self, detail: String) {
        let mut said = self.0.lock();
        (said.problem, said.refused) = (Some(detail), false);
    }

    pub(super) fn refused(&self, detail: String) {
        let mut said = self.0.lock();
        (said.problem, said.refused) = (Some(detail), true);
    }

    pub(super) fn status(&self, front: &Front, stating: &Stating, clock: &dyn Clock) -> EdgeStatus {
        let journal = stating.journal.lock();
        let ((batches, entries), counters) = (journal.waiting(), journal.counters());
        let given_up_batches = journal.given_up();
        drop(journal);
        let (refused_messages, last_refusal) = front.refused();
        let zone = front.public.as_ref().map(|public| public.spent(clock.now()));
        let (zone, budget_spent_milli, budget_milli_per_day, year_spent_squares) = match zone {
            Some((zone, spent, budget, year)) => (Some(zone), spent, budget, year),
            None => (None, 0, 0, 0),
        };
        let said = self.0.lock();
        EdgeStatus {
            running: true,
            at_us: clock.now().as_micros(),
            gateway: stating.gateway.to_string(),
            public_key: hex::encode(stating.signing.public_bytes()),
            last_counter: counters.0,
            sent_counter: counters.1,
            waiting_batches: batches as u64,
            waiting_entries: entries,
            given_up_batches,
            refused_lines: said.refused_lines,
            refused_messages,
            last_refusal,
            devices_connected: front.connected() as u64,
            hears_platform: front.hears_platform(),
            disk_bytes: front.log.size_bytes(),
            disk_bytes_max: front.disk_bytes_max,
            taken_at_us: said.taken_at.map(Timestamp::as_micros),
            clock_offset_us: *stating.clock_offset_us.lock(),
            problem: said.problem.clone(),
            refused: said.refused,
            zone,
            budget_spent_milli,
            budget_milli_per_day,
            year_spent_squares,
        }
    }
}

pub(super) fn write(directory: &Path, status: &EdgeStatus) -> Result<(), EdgeError> {
    // Written every second and of no use after a crash: the disk is not waited for.
    let (path, temporary) = (directory.join(FILE), directory.join("status.tmp"));
    let bytes =
        serde_json::to_vec(status).map_err(|error| EdgeError::Damaged(error.to_string()))?;
    let written = std::fs::write(&temporary, bytes);
    let written = written.and_then(|()| std::fs::rename(&temporary, &path));
    written.map_err(EdgeError::io(path.display()))
}

pub(super) fn read(directory: &Path) -> Result<Option<EdgeStatus>, EdgeError> {
    place::read_json(&directory.join(FILE))
}

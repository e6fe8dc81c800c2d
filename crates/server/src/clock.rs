//! The clock of a simulated directory: its start, plus the real time since, plus what was advanced.
//! `clock.json` keeps it across restarts; it never steps back, and it is never used elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_domain::{Clock, SystemClock, Timestamp};

use crate::datadir::write_private;

/// Most that one call may advance: a century, so that a slip of the keyboard stays in range.
pub(crate) const ADVANCE_MAX: Duration = Duration::from_secs(36_525 * 86_400);

const FILE_NAME: &str = "clock.json";
const FILE_BYTES_MAX: u64 = 4096;

/// What is kept across restarts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Real time when the directory's clock started, in microseconds since the epoch.
    began_micros: i64,
    /// Everything advanced so far, in microseconds.
    advanced_micros: u64,
    /// The latest simulated time that was written down, in microseconds since the epoch.
    shown_micros: i64,
}

#[derive(Debug)]
struct State {
    stored: Stored,
    /// Advanced since this process opened the clock.
    advanced: Duration,
}

/// A clock that runs at the pace of real time and can be moved ahead.
#[derive(Debug)]
pub(crate) struct SimulatedClock {
    path: PathBuf,
    real: SystemClock,
    /// Simulated time when this process opened the clock.
    opened_at: Timestamp,
    opened: Duration,
    state: Mutex<State>,
}

impl SimulatedClock {
    /// Opens the clock of the directory `data`, whose simulated time began at `start`.
    pub(crate) fn open(data: &Path, start: Timestamp) -> anyhow::Result<Self> {
        let real = SystemClock::new();
        let path = data.join(FILE_NAME);
        let now = real.now();
        let mut stored = match read(&path)? {
            Some(stored) => stored,
            None => Stored {
                began_micros: now.as_micros(),
                advanced_micros: 0,
                shown_micros: start.as_micros(),
            },
        };
        let passed = now.since(Timestamp::from_micros(stored.began_micros));
        let advanced = Duration::from_micros(stored.advanced_micros);
        let computed = start.saturating_add(passed).saturating_add(advanced);
        // The machine's clock may have been set back while nothing ran; this one holds.
        let opened_at = computed.max(Timestamp::from_micros(stored.shown_micros));
        stored.shown_micros = opened_at.as_micros();
        write(&path, &stored)?;
        let opened = real.monotonic();
        let state = Mutex::new(State { stored, advanced: Duration::ZERO });
        Ok(Self { path, real, opened_at, opened, state })
    }

    fn passed(&self) -> Duration {
        self.real.monotonic().saturating_sub(self.opened)
    }

    /// Moves the clock ahead and answers with the new time. It is written down before it counts.
    pub(crate) fn advance(&self, by: Duration) -> anyhow::Result<Timestamp> {
        ensure!(
            by <= ADVANCE_MAX,
            "limit advance_max exceeded: at most 36525 days at once, got {} days",
            by.as_secs() / 86_400
        );
        let mut state = self.state.lock();
        let advanced = state.advanced.saturating_add(by);
        let now = self.opened_at.saturating_add(self.passed()).saturating_add(advanced);
        if now == Timestamp::MAX {
            bail!("the clock would leave the range of time stamps");
        }
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let stored = Stored {
            advanced_micros: state.stored.advanced_micros.saturating_add(micros),
            shown_micros: now.as_micros(),
            ..state.stored
        };
        write(&self.path, &stored)?;
        *state = State { stored, advanced };
        Ok(now)
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let advanced = self.state.lock().advanced;
        self.opened_at.saturating_add(self.passed()).saturating_add(advanced)
    }

    fn monotonic(&self) -> Duration {
        let advanced = self.state.lock().advanced;
        self.real.monotonic().saturating_add(advanced)
    }
}

fn read(path: &Path) -> anyhow::Result<Option<Stored>> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        Ok(meta) => {
            ensure!(meta.len() <= FILE_BYTES_MAX, "{shown} is larger than {FILE_BYTES_MAX} bytes");
        }
    }
    let text = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_slice(&text).map(Some).with_context(|| format!("{shown} is damaged"))
}

fn write(path: &Path, stored: &Stored) -> anyhow::Result<()> {
    write_private(path, &serde_json::to_vec(stored)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn advances_survive_a_restart_and_time_never_steps_back() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let start = Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").expect("time");
        let clock = SimulatedClock::open(dir.path(), start).expect("new");
        assert!(clock.now() >= start && clock.now().since(start) < DAY);
        let before = clock.monotonic();
        let at = clock.advance(DAY * 10).expect("advance");
        assert!(at.since(start) >= DAY * 10);
        assert!(clock.now() >= at);
        assert!(clock.monotonic() >= before + DAY * 10);
        drop(clock);
        let again = SimulatedClock::open(dir.path(), start).expect("again");
        assert!(again.now() >= at && again.now().since(at) < DAY);
    }

    #[test]
    fn a_machine_set_back_does_not_set_it_back() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let start = Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").expect("time");
        let shown = start.saturating_add(DAY * 3);
        let stored = Stored {
            began_micros: i64::MAX / 2,
            advanced_micros: 0,
            shown_micros: shown.as_micros(),
        };
        write(&dir.path().join(FILE_NAME), &stored).expect("write");
        let clock = SimulatedClock::open(dir.path(), start).expect("open");
        assert!(clock.now() >= shown);
    }

    #[test]
    fn too_much_and_damage_are_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let clock = SimulatedClock::open(dir.path(), Timestamp::EPOCH).expect("new");
        let error = clock.advance(ADVANCE_MAX + DAY).expect_err("too far").to_string();
        assert!(error.contains("advance_max"), "{error}");
        std::fs::write(dir.path().join(FILE_NAME), "{").expect("write");
        let error = SimulatedClock::open(dir.path(), Timestamp::EPOCH).expect_err("damaged");
        assert!(error.to_string().contains("is damaged"), "{error:#}");
    }
}

//! Which background work waits because a disk is full. It goes on by itself when there is room:
//! nothing that was acknowledged is lost meanwhile, and the operator is told once.

use std::collections::BTreeSet;
use std::error::Error as StdError;

use parking_lot::Mutex;

use crate::App;
use crate::store_check::describe;

/// What the operating system says when there is no room, or no more of a quota of it.
const FULL: [&str; 2] = ["(os error 28)", "(os error 122)"];

/// Parts of the work that wait for room.
#[derive(Debug, Default)]
pub(crate) struct DiskRoom(Mutex<BTreeSet<&'static str>>);

/// Whether a disk was full, by what is said of it.
pub(crate) fn is_full(text: &str) -> bool {
    FULL.iter().any(|full| text.contains(full))
}

impl App {
    /// A part of the work did not get on, or did.
    pub(crate) fn note_room(&self, part: &'static str, error: Option<&dyn StdError>) {
        self.note_room_for(part, error.map(describe));
    }

    /// The same of what is said of it in words.
    pub(crate) fn note_room_for(&self, part: &'static str, problem: Option<String>) {
        let problem = problem.filter(|text| is_full(text));
        let mut waits = self.0.upkeep.disk_room.0.lock();
        match problem {
            Some(problem) if waits.insert(part) => tracing::error!(
                part,
                problem,
                "the disk is full: this waits until there is room; what was acknowledged is kept"
            ),
            None if waits.remove(part) => tracing::info!(part, "the disk has room again"),
            _ => {}
        }
    }

    /// Sets the gauges about full disks.
    pub(crate) fn record_room_gauges(&self) {
        let waits = self.0.upkeep.disk_room.0.lock();
        for part in ["segments", "shipping"] {
            let is_full = f64::from(u8::from(waits.contains(part)));
            metrics::gauge!("veritwin_disk_full", "part" => part).set(is_full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_told_from_other_errors() {
        let text = |number| std::io::Error::from_raw_os_error(number).to_string();
        assert!(is_full(&text(28)) && is_full(&text(122)));
        assert!(!is_full(&text(2)) && !is_full(&text(5)));
    }
}

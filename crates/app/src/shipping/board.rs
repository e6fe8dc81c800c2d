//! What shipping tells of itself.

use parking_lot::Mutex;
use veritwin_domain::Timestamp;

use crate::disk_room::is_full;

/// How far shipping is.
#[derive(Debug, Clone, Default)]
pub struct ShipStatus {
    /// The place in words; none when nothing is shipped.
    pub place: Option<String>,
    /// Everything before this position of the log is shipped.
    pub position: Option<u64>,
    /// Everything that was acknowledged by then is shipped.
    pub reached_at: Option<Timestamp>,
    /// When the newest shipped copy of the records was done.
    pub records_at: Option<Timestamp>,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// Why.
    pub problem: Option<String>,
    /// When a part of the log was cut before it was shipped: moments after need a newer base.
    pub gap_at: Option<Timestamp>,
}

/// What is shipped beside each other, and fails by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Log,
    Copies,
}

/// What the job tells.
#[derive(Debug, Default)]
pub(crate) struct ShipBoard(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    status: ShipStatus,
    log: Option<Failing>,
    copies: Option<Failing>,
}

#[derive(Debug, Clone)]
struct Failing {
    since: Timestamp,
    problem: String,
}

impl Told {
    fn line(&mut self, line: Line) -> &mut Option<Failing> {
        match line {
            Line::Log => &mut self.log,
            Line::Copies => &mut self.copies,
        }
    }
}

impl ShipBoard {
    pub(crate) fn status(&self) -> ShipStatus {
        let told = self.0.lock();
        let failing = told.log.as_ref().or(told.copies.as_ref()).cloned();
        let (failing_since, problem) = failing.map(|one| (one.since, one.problem)).unzip();
        ShipStatus { failing_since, problem, ..told.status.clone() }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut ShipStatus)) {
        change(&mut self.0.lock().status);
    }

    /// A line got on; whether it did not before.
    pub(super) fn works(&self, line: Line) -> bool {
        self.0.lock().line(line).take().is_some()
    }

    /// A line fails; whether that is new.
    pub(super) fn fails(&self, line: Line, now: Timestamp, problem: &str) -> bool {
        let mut told = self.0.lock();
        let known = told.line(line);
        if known.as_ref().is_some_and(|known| known.problem == problem) {
            return false;
        }
        let since = known.as_ref().map_or(now, |known| known.since);
        *known = Some(Failing { since, problem: problem.to_owned() });
        true
    }

    /// What a line that finds no room says of it.
    pub(super) fn full(&self) -> Option<String> {
        let told = self.0.lock();
        let failing = [&told.log, &told.copies].into_iter().flatten();
        failing.map(|one| &one.problem).find(|problem| is_full(problem)).cloned()
    }

    /// A backup was made: moments after it are reached from it, whatever gap there was before.
    pub(crate) fn backed_up(&self, taken_at: Timestamp) {
        let mut told = self.0.lock();
        told.status.gap_at = told.status.gap_at.filter(|gap| *gap >= taken_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_fails_by_itself() {
        let board = ShipBoard::default();
        let at = Timestamp::from_micros;
        let check = |since: Option<i64>, problem: Option<&str>| {
            let status = board.status();
            assert_eq!(status.failing_since, since.map(at));
            assert_eq!(status.problem.as_deref(), problem);
        };
        check(None, None);
        assert!(board.fails(Line::Copies, at(1), "full"));
        assert!(!board.fails(Line::Copies, at(2), "full"), "it is told once");
        assert!(!board.works(Line::Log));
        check(Some(1), Some("full"));
        assert!(board.fails(Line::Log, at(3), "away"));
        check(Some(3), Some("away"));
        assert!(board.fails(Line::Log, at(4), "gone"));
        check(Some(3), Some("gone"));
        assert!(board.works(Line::Log));
        check(Some(1), Some("full"));
        assert_eq!(board.full(), None, "by the system's own words");
        let full = "cannot write: No space left on device (os error 28)";
        assert!(board.fails(Line::Copies, at(5), full));
        assert!(board.fails(Line::Log, at(6), "away"));
        assert_eq!(board.full().as_deref(), Some(full));
        assert!(board.works(Line::Log) && board.fails(Line::Copies, at(7), "full"));
        assert!(board.works(Line::Copies));
        check(None, None);
    }

    #[test]
    fn a_gap_ends_with_a_backup_after_it() {
        let board = ShipBoard::default();
        let at = Timestamp::from_micros;
        board.set(|status| status.gap_at = Some(at(5)));
        board.backed_up(at(4));
        assert_eq!(board.status().gap_at, Some(at(5)), "it was made before");
        board.backed_up(at(6));
        assert_eq!(board.status().gap_at, None);
    }
}

//! What is left to read in a mailbox, and what was told of it. It is kept with how to get there,
//! and bounded: mails are left as rows of numbers. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;

/// Most rows of numbers of mails that are left. More are joined with what lies between: that is
/// looked at again, which makes no second request of any mail.
const ROWS_MAX: usize = 100;
/// After mails are numbered anew, what came so long before the last reading was read.
const NUMBERED_ANEW_SLACK: Duration = Duration::from_secs(3600);
/// After so many rounds in a row that failed, officers are told.
const FAILED_TOLD: u32 = 2;

/// How far a mailbox was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    /// The first and the last number of each row of mails that no request could be made of yet.
    left: Vec<(u32, u32)>,
    /// When the server received the oldest of them, in microseconds.
    left_since: Option<i64>,
    /// Up to which of them it was looked again.
    looked_to: u32,
    /// While mails that were numbered anew are read: those that came before were read.
    read_before: Option<i64>,
    /// Rounds in a row that failed.
    failed: u32,
    told_unread: bool,
    told_full: bool,
}

impl Progress {
    /// How to get there was changed: what is wrong from now on is news.
    pub(super) fn anew(mut self) -> Self {
        (self.failed, self.told_unread) = (0, false);
        self
    }

    /// Whether mails are left.
    pub(super) fn is_full(&self) -> bool {
        !self.left.is_empty()
    }

    /// Whether it could not be read for a while.
    pub(super) const fn is_unread(&self) -> bool {
        self.failed >= FAILED_TOLD
    }

    /// The numbers that are looked at again next: each in turn.
    pub(super) fn again(&self) -> Option<(u32, u32)> {
        let next = self.left.iter().find(|(_, last)| *last > self.looked_to);
        let from = |(first, last): (u32, u32)| (first.max(self.looked_to.saturating_add(1)), last);
        next.map(|row| from(*row)).or_else(|| self.left.first().copied())
    }

    /// Leaves a mail for later.
    pub(super) fn leave(&mut self, number: u32, received_at: Timestamp) {
        let at = received_at.as_micros();
        self.left_since = Some(self.left_since.map_or(at, |since| since.min(at)));
        self.left.push((number, number));
        self.left.sort_unstable();
        let mut rows: Vec<(u32, u32)> = Vec::with_capacity(self.left.len());
        for (first, last) in self.left.drain(..) {
            match rows.last_mut() {
                Some(row) if first <= row.1.saturating_add(1) => row.1 = row.1.max(last),
                _ => rows.push((first, last)),
            }
        }
        if rows.len() > ROWS_MAX {
            let gap = |at: &usize| rows[at + 1].0 - rows[*at].1;
            let nearest = (0..rows.len() - 1).min_by_key(gap).unwrap_or(0);
            let joined = rows.remove(nearest + 1).1;
            rows[nearest].1 = joined;
        }
        self.left = rows;
    }

    /// Takes numbers out of those that are left.
    pub(super) fn take(&mut self, (from, to): (u32, u32)) {
        let mut rows = Vec::with_capacity(self.left.len() + 1);
        for (first, last) in self.left.drain(..) {
            if first < from {
                rows.push((first, last.min(from - 1)));
            }
            if last > to {
                rows.push((first.max(to + 1), last));
            }
        }
        self.left = rows;
        if self.left.is_empty() {
            self.left_since = None;
        }
    }

    /// It was looked up to a number again; the numbers below that are left no more are gone.
    pub(super) fn looked(&mut self, (from, to): (u32, u32), still: &[u32]) {
        let mut next = from;
        for number in still {
            if *number > next {
                self.take((next, number - 1));
            }
            next = number.saturating_add(1);
        }
        if next <= to {
            self.take((next, to));
        }
        self.looked_to = if self.left.iter().any(|(_, last)| *last > to) { to } else { 0 };
    }

    /// The server numbers all mails anew: what is left goes by its time from now on.
    pub(super) fn numbered_anew(&mut self, read_at: Option<Timestamp>) {
        let read = read_at.map(|at| at.saturating_sub(NUMBERED_ANEW_SLACK).as_micros());
        self.read_before = read.map(|at| self.left_since.map_or(at, |since| since.min(at)));
        (self.left, self.left_since, self.looked_to) = (Vec::new(), None, 0);
    }

    /// Whether a mail was read before mails were numbered anew.
    pub(super) fn was_read(&self, received_at: Option<Timestamp>) -> bool {
        let at = received_at.map(Timestamp::as_micros);
        self.read_before.is_some_and(|before| at.is_some_and(|at| at < before))
    }

    /// A round worked; whether officers have to be told that mails are left.
    pub(super) fn note_read(&mut self, has_more: bool) -> bool {
        if !has_more {
            self.read_before = None;
        }
        (self.failed, self.told_unread) = (0, false);
        let is_news = self.is_full() && !self.told_full;
        self.told_full = self.is_full();
        is_news
    }

    /// A round failed; whether officers have to be told that it cannot be read.
    pub(super) fn note_failed(&mut self) -> bool {
        self.failed = self.failed.saturating_add(1);
        let is_news = self.is_unread() && !self.told_unread;
        self.told_unread |= is_news;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn left(numbers: &[u32]) -> Progress {
        let mut progress = Progress::default();
        numbers.iter().for_each(|number| progress.leave(*number, AT));
        progress
    }

    #[test]
    fn mails_are_left_in_rows_and_none_is_lost() {
        let mut progress = left(&[7, 3, 4, 5]);
        assert_eq!(progress.left, [(3, 5), (7, 7)]);
        progress.take((4, 4));
        assert_eq!(progress.left, [(3, 3), (5, 5), (7, 7)]);
        progress.take((1, 9));
        assert_eq!(progress, Progress::default());
        // However many rows there are, all that was left is in one of them.
        let numbers: Vec<u32> = (0..1000).map(|one| one * 3).collect();
        let many = left(&numbers);
        assert_eq!(many.left.len(), ROWS_MAX);
        let holds =
            |number: &u32| many.left.iter().any(|(first, last)| (*first..=*last).contains(number));
        assert!(numbers.iter().all(holds));
    }

    #[test]
    fn each_is_looked_at_again_in_turn_and_who_is_gone_is_forgotten() {
        let mut progress = left(&[3, 4, 5, 9]);
        assert_eq!(progress.again(), Some((3, 5)));
        // Two of them still find no room; the one between them is gone.
        progress.looked((3, 5), &[3, 5]);
        assert_eq!(progress.left, [(3, 3), (5, 5), (9, 9)]);
        assert_eq!(progress.again(), Some((9, 9)));
        progress.looked((9, 9), &[9]);
        assert_eq!(progress.again(), Some((3, 3)));
        progress.looked((3, 3), &[]);
        assert_eq!(progress.again(), Some((5, 5)));
        // A part of a row, as far as one round goes.
        let mut long = left(&[1, 2, 3, 4]);
        long.looked((1, 2), &[1, 2]);
        assert_eq!(long.again(), Some((3, 4)));
    }

    #[test]
    fn after_mails_are_numbered_anew_what_was_left_is_new_and_the_rest_was_read() {
        let day = |days: u32| AT.saturating_add(Duration::from_secs(86_400) * days);
        let mut progress = Progress::default();
        progress.leave(7, day(1));
        progress.numbered_anew(Some(day(3)));
        assert!(progress.was_read(Some(day(0))));
        assert!(!progress.was_read(Some(day(1))));
        assert!(!progress.was_read(None));
        // In every round until all of them are read.
        progress.note_read(true);
        assert!(progress.was_read(Some(day(0))));
        progress.note_read(false);
        assert!(!progress.was_read(Some(day(0))));
    }

    #[test]
    fn what_is_wrong_is_told_once_until_it_was_right_again() {
        let mut progress = Progress::default();
        let failed = |progress: &mut Progress| progress.note_failed();
        assert!(!failed(&mut progress), "once is no matter");
        assert!(!progress.is_unread());
        assert!(failed(&mut progress));
        assert!(progress.is_unread());
        assert!(!failed(&mut progress), "they know");
        assert!(!progress.note_read(false));
        assert!(!failed(&mut progress) && failed(&mut progress), "it is news again");
        let mut changed = progress.anew();
        assert!(!failed(&mut changed) && failed(&mut changed));
        changed.leave(1, AT);
        assert!(changed.note_read(false));
        assert!(!changed.note_read(false), "they know");
        changed.take((1, 1));
        assert!(!changed.note_read(false));
        changed.leave(2, AT);
        assert!(changed.note_read(false));
    }

    #[test]
    fn what_was_stored_before_is_read() {
        let read: Progress = serde_json::from_str("{}").expect("read");
        assert_eq!(read, Progress::default());
    }
}

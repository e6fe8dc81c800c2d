//! What is kept of a zone across starts: what of the day's budget is spent, and up to which moment
//! windows are settled. Nothing of any source.

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;

use crate::Release;

/// What is kept of a zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The UTC day that the budget is of, in days since 1970.
    #[serde(default)]
    pub day: i64,
    /// What of it is spent, in thousandths of epsilon.
    #[serde(default)]
    pub spent_milli: u32,
    /// The end of the last window that was let out or said to be missing, in microseconds.
    #[serde(default)]
    pub settled_us: Option<i64>,
    /// Windows from here on are on their way out, in microseconds.
    #[serde(default)]
    pub pending_us: Option<i64>,
}

impl Book {
    /// As it is gone on with after a start: what was on its way may not have left, and counts as
    /// missing. What it cost stays spent.
    pub fn begun(self) -> Self {
        let settled_us = self.pending_us.or(self.settled_us);
        Self { settled_us, pending_us: None, ..self }
    }

    /// Once everything that was on its way is where it cannot be lost.
    pub const fn done(self) -> Self {
        Self { pending_us: None, ..self }
    }

    /// Takes what a window costs out of its day's budget, if it is there.
    pub(crate) fn spend(&mut self, window: Timestamp, cost_milli: u32, budget_milli: u32) -> bool {
        if window.day() > self.day {
            (self.day, self.spent_milli) = (window.day(), 0);
        }
        let after = self.spent_milli.saturating_add(cost_milli);
        if after > budget_milli {
            return false;
        }
        self.spent_milli = after;
        true
    }
}

/// Windows that are over. The book is to be made durable first, then what is let out, then the book
/// once more, [`Book::done`].
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// What is kept from now on.
    pub book: Book,
    /// What leaves, in its order.
    pub releases: Vec<Release>,
}

#[cfg(test)]
mod tests {
    use veritwin_domain::DAY_MICROS;

    use super::*;

    #[test]
    fn a_budget_is_of_a_day_and_no_more_is_spent() {
        let mut book = Book::default();
        let at = |day: i64| Timestamp::from_micros(day * DAY_MICROS + 5);
        assert!(book.spend(at(9), 200, 500) && book.spend(at(9), 200, 500));
        assert!(!book.spend(at(9), 200, 500));
        assert_eq!(book.spent_milli, 400);
        // A clock that is set back has no other budget.
        assert!(!book.spend(at(8), 200, 500));
        assert!(book.spend(at(10), 200, 500));
        assert_eq!((book.day, book.spent_milli), (10, 200));
    }

    #[test]
    fn what_was_on_its_way_counts_as_missing() {
        let book = Book { settled_us: Some(9), pending_us: Some(4), day: 3, spent_milli: 7 };
        let begun = book.begun();
        assert_eq!((begun.settled_us, begun.pending_us), (Some(4), None));
        assert_eq!(begun.spent_milli, 7);
        assert_eq!(book.done().begun().settled_us, Some(9));
    }
}

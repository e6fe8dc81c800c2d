//! What is kept of a zone across starts: what is spent of the budgets of a day and of a year, and
//! up to which moment windows are settled. Nothing of any source.

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;

use crate::zone::{BUDGET_SQUARES_PER_YEAR, ZoneConfig};
use crate::{Release, Withheld};

/// How long a quarter is that a year's costs are counted in, in days.
const QUARTER_DAYS: i64 = 92;
/// Quarters that are remembered: any 365 days lie in five that follow one another.
const QUARTERS: usize = 5;

/// What is kept of a zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The UTC day that the budget is of, in days since 1970.
    #[serde(default)]
    pub day: i64,
    /// What of it is spent, in thousandths of epsilon.
    #[serde(default)]
    pub spent_milli: u32,
    /// The newest quarter, in quarters since 1970.
    #[serde(default)]
    pub quarter: i64,
    /// What was spent in each of the last quarters, the newest first, in squared thousandths.
    #[serde(default)]
    pub quarters: [u32; QUARTERS],
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

    /// What of the year's budget is spent, in squared thousandths of epsilon.
    fn spent_squares(&self) -> u32 {
        self.quarters.iter().fold(0u32, |sum, one| sum.saturating_add(*one))
    }

    /// The same as a year sees it that ends then.
    pub fn spent_squares_at(&self, at: Timestamp) -> u32 {
        let mut book = *self;
        book.turn_to(at.day().div_euclid(QUARTER_DAYS));
        book.spent_squares()
    }

    /// Takes what a window costs out of the budgets of its day and year, or says which of them does
    /// not have it.
    pub(crate) fn spend(&mut self, window: Timestamp, zone: &ZoneConfig) -> Result<(), Withheld> {
        let day = window.day();
        if day > self.day {
            (self.day, self.spent_milli) = (day, 0);
        }
        self.turn_to(day.div_euclid(QUARTER_DAYS));
        let after = self.spent_milli.saturating_add(zone.cost_milli());
        if after > zone.budget_milli_per_day {
            return Err(Withheld::BudgetUsedUp);
        }
        let squares = zone.cost_squares();
        if self.spent_squares().saturating_add(squares) > BUDGET_SQUARES_PER_YEAR {
            return Err(Withheld::YearUsedUp);
        }
        self.spent_milli = after;
        let [newest, ..] = &mut self.quarters;
        *newest = newest.saturating_add(squares);
        Ok(())
    }

    /// Forgets quarters that no year reaches any more.
    fn turn_to(&mut self, quarter: i64) {
        let passed = usize::try_from(quarter.saturating_sub(self.quarter)).unwrap_or(0);
        if passed > 0 {
            let gone = passed.min(QUARTERS);
            self.quarters.rotate_right(gone);
            self.quarters.iter_mut().take(gone).for_each(|one| *one = 0);
            self.quarter = quarter;
        }
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
    use crate::zone::tests::zone;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY_MICROS + 5)
    }

    #[test]
    fn a_budget_is_of_a_day_and_no_more_is_spent() {
        // 400 thousandths a day, 200 a window.
        let (mut book, zone) = (Book::default(), zone());
        assert!(book.spend(at(9), &zone).is_ok() && book.spend(at(9), &zone).is_ok());
        assert_eq!(book.spend(at(9), &zone), Err(Withheld::BudgetUsedUp));
        assert_eq!(book.spent_milli, 400);
        // A clock that is set back has no other budget.
        assert_eq!(book.spend(at(8), &zone), Err(Withheld::BudgetUsedUp));
        assert!(book.spend(at(10), &zone).is_ok());
        assert_eq!((book.day, book.spent_milli), (10, 200));
        assert_eq!(book.spent_squares(), 60_000);
    }

    #[test]
    fn no_year_has_more_than_its_budget_wherever_it_begins() {
        let (mut book, zone) = (Book::default(), zone());
        let days: Vec<i64> = (0..2_000).filter(|day| book.spend(at(*day), &zone).is_ok()).collect();
        assert_eq!(days[..9], [0, 1, 2, 3, 4, 5, 6, 7, 460]);
        for first in &days {
            let year = days.iter().filter(|day| (*first..first + 365).contains(*day)).count();
            let spent = u32::try_from(year).expect("a number") * zone.cost_squares();
            assert!(spent <= BUDGET_SQUARES_PER_YEAR, "from day {first}: {spent}");
        }
        let mut full = Book { quarters: [BUDGET_SQUARES_PER_YEAR, 0, 0, 0, 0], ..Book::default() };
        assert_eq!(full.spend(at(300), &zone), Err(Withheld::YearUsedUp));
        assert_eq!((full.spent_milli, full.spent_squares()), (0, BUDGET_SQUARES_PER_YEAR));
        assert_eq!(full.spent_squares_at(at(459)), BUDGET_SQUARES_PER_YEAR);
        assert_eq!(full.spent_squares_at(at(460 + 3 * QUARTER_DAYS)), 0);
    }

    #[test]
    fn what_was_on_its_way_counts_as_missing() {
        let (settled_us, pending_us) = (Some(9), Some(4));
        let book = Book { settled_us, pending_us, spent_milli: 7, ..Book::default() };
        let begun = book.begun();
        assert_eq!((begun.settled_us, begun.pending_us), (Some(4), None));
        assert_eq!(begun.spent_milli, 7);
        assert_eq!(book.done().begun().settled_us, Some(9));
    }
}

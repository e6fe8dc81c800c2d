//! How a public zone is set: what is read of its sources and in which bounds, how long a window is,
//! and what of the budget each number costs. What is not named here is dropped where it arrives.

use serde::{Deserialize, Serialize};
use veritwin_domain::{Key, find_unseen};

/// The fewest sources of a zone.
pub const GROUP_MIN: usize = 15;
/// The most that one source may make of an amount, in percent.
pub const SHARE_MAX_PERCENT: u64 = 15;
/// The shortest window, in minutes.
pub const WINDOW_MINUTES_MIN: u32 = 30;
/// A day: windows end with it.
const DAY_MINUTES: u32 = 1440;
/// Most sources of a zone.
pub const SOURCES_MAX: usize = 10_000;
/// Most measures of a zone.
pub const MEASURES_MAX: usize = 8;
/// Most words of a status.
pub const STATUS_WORDS_MAX: usize = 16;
/// Most steps of a source's amount in a window.
pub const STEPS_MAX: u32 = 1_000_000;
/// The most of the budget that one number of a window may cost, in thousandths of epsilon: whoever
/// guesses at one source by it is right 550 times of 1,000 at most.
pub const EPSILON_MILLI_MAX: u32 = 200;
/// The largest budget of a day, in thousandths of epsilon: 599 times of 1,000.
pub const BUDGET_MILLI_PER_DAY_MAX: u32 = 400;
/// The budget of a year, in squared thousandths of epsilon: as much as one number of 0.4 alone. All
/// numbers of a year together let nobody be right more often than 600 times of 1,000.
pub const BUDGET_SQUARES_PER_YEAR: u32 = 160_000;
const NAME_CHARS_MAX: usize = 100;
const WORD_CHARS_MAX: usize = 40;
/// Longest key, in bytes: with a word behind it it is a key again.
const KEY_BYTES_MAX: usize = 64;

/// What a zone lets out of its sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Its name; no two zones of a customer share one.
    pub name: String,
    /// How long a window is, in minutes: a part of a day.
    pub window_minutes: u32,
    /// What may be spent on a UTC day, in thousandths of epsilon.
    pub budget_milli_per_day: u32,
    /// What is read; everything else is dropped.
    pub measures: Vec<Measure>,
}

/// One thing that is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The key of the readings.
    pub key: String,
    /// What it costs in a window, in thousandths of epsilon.
    pub epsilon_milli: u32,
    /// How it is read.
    #[serde(flatten)]
    pub kind: MeasureKind,
}

/// How a measure is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MeasureKind {
    /// Numbers that are added up: the sum of a source's window is clamped to `steps_max` steps.
    Amount {
        /// How large a step is, in the readings' unit.
        step: f64,
        /// Most steps of a source in a window.
        steps_max: u32,
    },
    /// A state out of a list: a source's last one in the window counts.
    Status {
        /// The list.
        words: Vec<String>,
    },
}

/// Why a zone cannot be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ZoneError {
    /// Which part.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

fn wrong(field: &str, problem: impl Into<String>) -> ZoneError {
    ZoneError { field: field.to_owned(), problem: problem.into() }
}

fn check_words(field: &str, text: &str, chars_max: usize) -> Result<(), ZoneError> {
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max || text.trim() != text || find_unseen(text).is_some() {
        return Err(wrong(field, format!("needs 1 to {chars_max} characters of text")));
    }
    Ok(())
}

impl ZoneConfig {
    /// Whether a zone may be set so.
    pub fn check(&self) -> Result<(), ZoneError> {
        check_words("name", &self.name, NAME_CHARS_MAX)?;
        let minutes = self.window_minutes;
        if !(WINDOW_MINUTES_MIN..=DAY_MINUTES).contains(&minutes)
            || !DAY_MINUTES.is_multiple_of(minutes)
        {
            let problem = format!("must be {WINDOW_MINUTES_MIN} or more, and a part of a day");
            return Err(wrong("window_minutes", problem));
        }
        if self.measures.is_empty() || self.measures.len() > MEASURES_MAX {
            return Err(wrong("measures", format!("needs 1 to {MEASURES_MAX}")));
        }
        for (at, measure) in self.measures.iter().enumerate() {
            measure.check(&format!("measures.{at}"))?;
            if self.measures[..at].iter().any(|other| other.key == measure.key) {
                return Err(wrong("measures", "each key once"));
            }
        }
        let budget = self.budget_milli_per_day;
        if budget > BUDGET_MILLI_PER_DAY_MAX || budget < self.cost_milli() {
            let problem = format!(
                "must be {} (one window) to {BUDGET_MILLI_PER_DAY_MAX} thousandths",
                self.cost_milli()
            );
            return Err(wrong("budget_milli_per_day", problem));
        }
        Ok(())
    }

    /// The same within the bounds of now, of a zone that was set when they were wider. Costs that
    /// are too large together are taken down in proportion.
    pub fn bounded(&self) -> Self {
        let mut zone = self.clone();
        zone.budget_milli_per_day = zone.budget_milli_per_day.min(BUDGET_MILLI_PER_DAY_MAX);
        for one in &mut zone.measures {
            one.epsilon_milli = one.epsilon_milli.min(EPSILON_MILLI_MAX);
        }
        let (cost, budget) = (u64::from(zone.cost_milli()), u64::from(zone.budget_milli_per_day));
        if cost > budget {
            for one in &mut zone.measures {
                let part = u64::from(one.epsilon_milli) * budget / cost;
                one.epsilon_milli = u32::try_from(part).unwrap_or(EPSILON_MILLI_MAX);
            }
        }
        zone
    }

    /// What a window costs of the year's budget: the sum of the squares of what its measures cost.
    pub fn cost_squares(&self) -> u32 {
        let square = |one: &Measure| one.epsilon_milli.saturating_mul(one.epsilon_milli);
        self.measures.iter().fold(0u32, |sum, one| sum.saturating_add(square(one)))
    }

    /// What a window costs, in thousandths of epsilon.
    pub fn cost_milli(&self) -> u32 {
        self.measures.iter().fold(0u32, |sum, one| sum.saturating_add(one.epsilon_milli))
    }

    /// A window in microseconds.
    pub fn window_micros(&self) -> i64 {
        i64::from(self.window_minutes.max(1)) * 60_000_000
    }

    /// What is signed of a zone's setting: each line says one thing, in an order that is fixed.
    pub fn statement(&self) -> String {
        let mut text = format!(
            "veritwin-collection/v1\nzone {}\nwindow_minutes {}\ngroup_min {GROUP_MIN}\n\
             share_max_percent {SHARE_MAX_PERCENT}\nbudget_milli_per_day {}\n\
             budget_squares_per_year {BUDGET_SQUARES_PER_YEAR}\nnoise discrete_laplace\n\
             raw memory_only\n",
            self.name, self.window_minutes, self.budget_milli_per_day
        );
        for one in &self.measures {
            let how = match &one.kind {
                MeasureKind::Amount { step, steps_max } => {
                    format!("amount step {step} steps_max {steps_max}")
                }
                MeasureKind::Status { words } => format!("status {}", words.join("|")),
            };
            text.push_str(&format!(
                "measure {} epsilon_milli {} {how}\n",
                one.key, one.epsilon_milli
            ));
        }
        text
    }
}

impl Measure {
    fn check(&self, at: &str) -> Result<(), ZoneError> {
        let field = |name: &str| format!("{at}.{name}");
        if let Err(error) = Key::new(&self.key) {
            return Err(wrong(&field("key"), error.to_string()));
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(wrong(&field("key"), format!("at most {KEY_BYTES_MAX} bytes")));
        }
        if self.epsilon_milli == 0 || self.epsilon_milli > EPSILON_MILLI_MAX {
            let problem = format!("must be 1 to {EPSILON_MILLI_MAX} thousandths");
            return Err(wrong(&field("epsilon_milli"), problem));
        }
        match &self.kind {
            MeasureKind::Amount { step, steps_max } => {
                if !step.is_finite() || *step <= 0.0 {
                    return Err(wrong(&field("step"), "must be above zero"));
                }
                if *steps_max == 0 || *steps_max > STEPS_MAX {
                    return Err(wrong(&field("steps_max"), format!("must be 1 to {STEPS_MAX}")));
                }
            }
            MeasureKind::Status { words } => {
                if words.is_empty() || words.len() > STATUS_WORDS_MAX {
                    let problem = format!("needs 1 to {STATUS_WORDS_MAX}");
                    return Err(wrong(&field("words"), problem));
                }
                for (at, word) in words.iter().enumerate() {
                    check_words(&field("words"), word, WORD_CHARS_MAX)?;
                    if words[..at].contains(word) || word.contains('|') {
                        return Err(wrong(&field("words"), "each word once, without |"));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn amount(key: &str, epsilon_milli: u32) -> Measure {
        let kind = MeasureKind::Amount { step: 0.5, steps_max: 100 };
        Measure { key: key.to_owned(), epsilon_milli, kind }
    }

    pub(crate) fn zone() -> ZoneConfig {
        let words = vec!["free".to_owned(), "taken".to_owned()];
        let status = Measure {
            key: "state".to_owned(),
            epsilon_milli: 100,
            kind: MeasureKind::Status { words },
        };
        ZoneConfig {
            name: "square".to_owned(),
            window_minutes: 60,
            budget_milli_per_day: 400,
            measures: vec![amount("used", 100), status],
        }
    }

    #[test]
    fn only_what_keeps_the_rules_is_taken() {
        let check = |change: &dyn Fn(&mut ZoneConfig), field: Option<&str>| {
            let mut zone = zone();
            change(&mut zone);
            let found = zone.check().err().map(|error| error.field);
            assert_eq!(found.as_deref(), field, "{zone:?}");
        };
        check(&|_| {}, None);
        check(&|zone| zone.window_minutes = 29, Some("window_minutes"));
        check(&|zone| zone.window_minutes = 31, Some("window_minutes"));
        check(&|zone| zone.window_minutes = 2880, Some("window_minutes"));
        check(&|zone| zone.budget_milli_per_day = 199, Some("budget_milli_per_day"));
        check(&|zone| zone.budget_milli_per_day = 401, Some("budget_milli_per_day"));
        check(&|zone| zone.measures.clear(), Some("measures"));
        check(&|zone| zone.measures[1].key = "used".to_owned(), Some("measures"));
        check(&|zone| zone.measures[0].epsilon_milli = 0, Some("measures.0.epsilon_milli"));
        check(&|zone| zone.measures[0].epsilon_milli = 201, Some("measures.0.epsilon_milli"));
        check(&|zone| zone.name = " ".to_owned(), Some("name"));
        let bare = MeasureKind::Amount { step: 0.0, steps_max: 1 };
        check(&|zone| zone.measures[0].kind = bare.clone(), Some("measures.0.step"));
        let twice = MeasureKind::Status { words: vec!["a".to_owned(), "a".to_owned()] };
        check(&|zone| zone.measures[1].kind = twice.clone(), Some("measures.1.words"));
    }

    #[test]
    fn a_zone_of_wider_bounds_is_taken_within_those_of_now() {
        assert_eq!(zone().bounded(), zone());
        let mut wide = zone();
        wide.budget_milli_per_day = 10_000;
        wide.measures[0].epsilon_milli = 1000;
        let bounded = wide.bounded();
        assert_eq!((bounded.budget_milli_per_day, bounded.cost_milli()), (400, 300));
        bounded.check().expect("a zone");
        wide.measures = (0..8).map(|at| amount(&format!("used{at}"), 1000)).collect();
        let bounded = wide.bounded();
        assert_eq!((bounded.measures[7].epsilon_milli, bounded.cost_milli()), (50, 400));
        bounded.check().expect("a zone");
    }

    #[test]
    fn the_statement_says_everything_that_counts() {
        let said = zone().statement();
        for line in [
            "zone square",
            "window_minutes 60",
            "group_min 15",
            "share_max_percent 15",
            "budget_squares_per_year 160000",
        ] {
            assert!(said.lines().any(|one| one == line), "{line}: {said}");
        }
        assert!(said.contains("measure state epsilon_milli 100 status free|taken\n"));
        let mut other = zone();
        other.measures[0].epsilon_milli = 101;
        assert_ne!(other.statement(), said);
    }
}

//! The open windows of a zone, in memory only: what sources did in them, until they are over. A
//! window that was not seen from its first moment to its last is a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use veritwin_domain::{DeviceId, Reading, Timestamp};

use crate::book::{Book, Turn};
use crate::noise::Noise;
use crate::release::{Contribution, Outcome, Release, Withheld, outcome};
use crate::zone::{SOURCES_MAX, ZoneConfig};

/// Most windows that are open at once: one that is over waits for its numbers to be let out.
pub const OPEN_WINDOWS_MAX: usize = 3;

#[derive(Debug)]
struct Open {
    /// The zone's sources when it began.
    sources: BTreeSet<DeviceId>,
    did: BTreeMap<DeviceId, Contribution>,
}

/// The open windows of a zone.
#[derive(Debug)]
pub struct Collector {
    config: Arc<ZoneConfig>,
    started_at: Timestamp,
    settled: Option<i64>,
    windows: BTreeMap<i64, Open>,
}

impl Collector {
    /// With nothing in it. A window that has begun before `now` will be a gap. A zone that was set
    /// when larger costs were permitted is taken within the bounds of now.
    pub fn new(config: &ZoneConfig, now: Timestamp) -> Self {
        let config = Arc::new(config.bounded());
        Self { config, started_at: now, settled: None, windows: BTreeMap::new() }
    }

    /// How the zone is set.
    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }

    fn window_of(&self, at: Timestamp) -> i64 {
        at.as_micros().div_euclid(self.config.window_micros())
    }

    fn begins(&self, window: i64) -> Timestamp {
        Timestamp::from_micros(window.saturating_mul(self.config.window_micros()))
    }

    fn open(&mut self, now: Timestamp, sources: &BTreeSet<DeviceId>) -> Option<&mut Open> {
        let window = self.window_of(now);
        let is_over = self.settled.is_some_and(|settled| window < settled);
        let is_known = self.windows.contains_key(&window);
        if is_over || (!is_known && self.windows.len() >= OPEN_WINDOWS_MAX) {
            return None;
        }
        let new = || Open {
            sources: sources.iter().copied().take(SOURCES_MAX).collect(),
            did: BTreeMap::new(),
        };
        Some(self.windows.entry(window).or_insert_with(new))
    }

    /// Takes what a source sent, by the moment at which it came. What no measure names, what
    /// comes from no source of the zone, and what belongs to no open window is dropped.
    pub fn take(
        &mut self,
        source: DeviceId,
        readings: &[Reading],
        (now, sources): (Timestamp, &BTreeSet<DeviceId>),
    ) {
        let config = Arc::clone(&self.config);
        let Some(open) = self.open(now, sources) else { return };
        if !open.sources.contains(&source) {
            return;
        }
        let did = open.did.entry(source).or_default();
        readings.iter().for_each(|reading| did.take(&config, reading));
    }

    /// Settles every window that is over: what it lets out, and which are missing. None while there
    /// is none. What was in them is gone from memory then.
    pub fn settle(
        &mut self,
        book: &Book,
        (now, sources): (Timestamp, &BTreeSet<DeviceId>),
        noise: Noise<'_>,
    ) -> Option<Turn> {
        let current = self.window_of(now);
        // Silence is seen, too.
        let _open = self.open(now, sources);
        let length = self.config.window_micros();
        let first = match book.settled_us {
            Some(settled) => settled.div_euclid(length) + i64::from(settled.rem_euclid(length) > 0),
            None => self.window_of(self.started_at),
        };
        if first >= current {
            return None;
        }
        let mut book = Book { pending_us: Some(self.begins(first).as_micros()), ..*book };
        let mut releases = Vec::new();
        let mut next = first;
        let later = self.windows.split_off(&current);
        for (window, open) in std::mem::replace(&mut self.windows, later) {
            if window < next || self.begins(window) < self.started_at {
                continue;
            }
            releases.extend(self.gap(next, window));
            releases.push(self.released(&mut book, (window, open), sources, noise));
            next = window + 1;
        }
        releases.extend(self.gap(next, current));
        book.settled_us = Some(self.begins(current).as_micros());
        self.settled = Some(current);
        Some(Turn { book, releases })
    }

    /// The windows from one to before another, as one gap; none where there are none.
    fn gap(&self, from: i64, to: i64) -> Option<Release> {
        let (from, to) = (self.begins(from), self.begins(to));
        let outcome = Outcome::Withheld(Withheld::Gap);
        (from < to).then_some(Release { from, to, outcome })
    }

    fn released(
        &self,
        book: &mut Book,
        (window, mut open): (i64, Open),
        sources: &BTreeSet<DeviceId>,
        noise: Noise<'_>,
    ) -> Release {
        let (from, to) = (self.begins(window), self.begins(window + 1));
        // Who joined or left in the middle is not in it.
        let whole: BTreeSet<DeviceId> = open.sources.intersection(sources).copied().collect();
        open.did.retain(|source, _| whole.contains(source));
        let did: Vec<Contribution> = open.did.into_values().collect();
        let is_group = whole.len() >= crate::GROUP_MIN;
        let paid = if is_group { book.spend(from, &self.config) } else { Ok(()) };
        let outcome = match paid {
            Ok(()) => outcome(&self.config, whole.len(), &did, noise),
            Err(why) => Outcome::Withheld(why),
        };
        Release { from, to, outcome }
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{Key, Quality, SeededRng, Value};

    use super::*;
    use crate::zone::tests::zone;

    const HOUR: i64 = 3_600_000_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_micros(hours * HOUR)
    }

    fn sources(count: u8) -> BTreeSet<DeviceId> {
        (0..count).map(|number| DeviceId::from_bytes([number; 16])).collect()
    }

    fn used(steps: i64) -> Vec<Reading> {
        let key = Key::new("used").expect("a key");
        let value = Value::Integer(steps);
        vec![Reading { key, at: at(0), value, quality: Quality::Good }]
    }

    fn withheld(turn: &Turn) -> Vec<(i64, i64, Option<Withheld>)> {
        let hours = |at: Timestamp| at.as_micros() / HOUR;
        let said = turn.releases.iter().map(|one| match one.outcome {
            Outcome::Withheld(why) => (hours(one.from), hours(one.to), Some(why)),
            Outcome::Released { .. } => (hours(one.from), hours(one.to), None),
        });
        said.collect()
    }

    #[test]
    fn a_whole_window_of_a_group_is_let_out_and_a_part_of_one_is_a_gap() {
        let (rng, group) = (SeededRng::new(1), sources(20));
        let start = at(1).saturating_add(std::time::Duration::from_secs(60));
        let mut collector = Collector::new(&zone(), start);
        let mut book = Book::default();
        assert!(collector.settle(&book, (start, &group), Noise::Drawn(&rng)).is_none());
        let turn = collector.settle(&book, (at(2), &group), Noise::Drawn(&rng)).expect("over");
        assert_eq!(withheld(&turn), [(1, 2, Some(Withheld::Gap))]);
        book = turn.book.done();
        for source in &group {
            collector.take(*source, &used(10), (at(2), &group));
        }
        let turn = collector.settle(&book, (at(3), &group), Noise::Drawn(&rng)).expect("over");
        assert_eq!(withheld(&turn), [(2, 3, None)]);
        assert_eq!(turn.book.spent_milli, zone().cost_milli());
        assert!(collector.windows.len() == 1, "what is over is gone from memory");
        // The process was away: hours 3 to 6.
        let mut again = Collector::new(&zone(), at(6));
        let book = turn.book.done().begun();
        let turn = again.settle(&book, (at(6), &group), Noise::Drawn(&rng)).expect("missing");
        assert_eq!(withheld(&turn), [(3, 6, Some(Withheld::Gap))]);
    }

    #[test]
    fn a_used_up_budget_lets_nothing_out_until_the_next_day() {
        let (rng, group) = (SeededRng::new(1), sources(15));
        let mut collector = Collector::new(&zone(), at(0));
        let (mut book, mut said) = (Book::default(), Vec::new());
        for hour in 0..=25 {
            if let Some(turn) = collector.settle(&book, (at(hour), &group), Noise::Drawn(&rng)) {
                said.extend(withheld(&turn));
                book = turn.book.done();
            }
        }
        let let_out: Vec<i64> =
            said.iter().filter(|(.., why)| why.is_none()).map(|(from, ..)| *from).collect();
        // 400 thousandths a day, 200 a window.
        assert_eq!(let_out, [0, 1, 24]);
        let used_up = said.iter().filter(|(.., why)| *why == Some(Withheld::BudgetUsedUp));
        assert_eq!(used_up.count(), 22);
    }

    #[test]
    fn a_used_up_year_is_said_and_lets_nothing_out() {
        let (rng, group) = (SeededRng::new(1), sources(15));
        let mut collector = Collector::new(&zone(), at(0));
        let (mut book, mut said) = (Book::default(), Vec::new());
        for hour in 0..=24 * 6 {
            let turn = collector.settle(&book, (at(hour), &group), Noise::Drawn(&rng));
            if let Some(turn) = turn {
                said.extend(withheld(&turn));
                book = turn.book.done();
            }
        }
        // Eight windows of 100 and 100 thousandths are a year's: two on each of four days.
        let let_out: Vec<i64> =
            said.iter().filter(|(.., why)| why.is_none()).map(|(from, ..)| *from).collect();
        assert_eq!(let_out, [0, 1, 24, 25, 48, 49, 72, 73]);
        assert_eq!(said.last(), Some(&(143, 144, Some(Withheld::YearUsedUp))));
    }

    #[test]
    fn a_zone_that_was_set_with_larger_costs_has_those_of_now() {
        let mut wide = zone();
        wide.measures[0].epsilon_milli = 1000;
        wide.budget_milli_per_day = 10_000;
        let collector = Collector::new(&wide, at(0));
        assert_eq!(*collector.config(), wide.bounded());
        assert!(collector.config().check().is_ok());
    }

    #[test]
    fn who_joins_in_the_middle_is_not_in_the_group() {
        let rng = SeededRng::new(1);
        let (before, after) = (sources(14), sources(15));
        let mut collector = Collector::new(&zone(), at(0));
        let book = Book::default();
        assert!(collector.settle(&book, (at(0), &before), Noise::Drawn(&rng)).is_none());
        let newcomer = DeviceId::from_bytes([14; 16]);
        collector.take(newcomer, &used(1), (at(0), &after));
        let turn = collector.settle(&book, (at(1), &after), Noise::Drawn(&rng)).expect("over");
        assert_eq!(withheld(&turn), [(0, 1, Some(Withheld::SmallGroup))]);
        assert_eq!(turn.book.spent_milli, 0, "what is known anyway costs nothing");
        let turn =
            collector.settle(&turn.book.done(), (at(2), &after), Noise::Drawn(&rng)).expect("over");
        assert_eq!(withheld(&turn), [(1, 2, None)]);
    }

    #[test]
    fn memory_is_bounded_when_nothing_is_settled() {
        let group = sources(15);
        let mut collector = Collector::new(&zone(), at(0));
        for hour in 0..20 {
            collector.take(DeviceId::from_bytes([1; 16]), &used(1), (at(hour), &group));
        }
        assert_eq!(collector.windows.len(), OPEN_WINDOWS_MAX);
    }
}

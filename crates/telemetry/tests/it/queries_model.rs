//! What queries should answer, worked out slowly: buckets by looking at the clock of every minute,
//! aggregates out of all readings at once.

use std::collections::HashMap;

use jiff::Timestamp as Moment;
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use veritwin_domain::{Quality, Timestamp, Value};
use veritwin_telemetry::{Aggregate, BucketRow, Downsample, Engine, Fill, Point, Series};

pub(crate) const MINUTE: i64 = 60_000_000;

/// A stretch of the calendar, as the model has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Hour,
    Day,
    /// From this day on, counted from Monday.
    Week(i8),
    Month,
    Quarter,
    Year,
}

/// The clocks of a zone, minute by minute.
pub(crate) struct Clocks {
    zone: TimeZone,
    unit: Unit,
    /// The first minute that shows a day, or something later.
    begun: HashMap<Date, i64>,
}

impl Clocks {
    pub(crate) fn new(zone: &str, unit: Unit) -> Self {
        let zone = TimeZoneDatabase::bundled().get(zone).expect("a zone");
        Self { zone, unit, begun: HashMap::new() }
    }

    fn shown(&self, at: i64) -> jiff::civil::DateTime {
        self.zone.to_datetime(Moment::from_microsecond(at).expect("a moment"))
    }

    fn is_first(&self, date: Date) -> bool {
        match self.unit {
            Unit::Hour | Unit::Day => true,
            Unit::Week(first) => date.weekday().since(Weekday::Monday) == first,
            Unit::Month => date.day() == 1,
            Unit::Quarter => date.day() == 1 && date.month() % 3 == 1,
            Unit::Year => date.day() == 1 && date.month() == 1,
        }
    }

    fn begin(&mut self, date: Date) -> i64 {
        if let Some(known) = self.begun.get(&date) {
            return *known;
        }
        let shown = date.at(0, 0, 0, 0);
        let utc = TimeZone::UTC.to_timestamp(shown).expect("a moment").as_microsecond();
        let mut at = utc - 15 * 60 * MINUTE;
        while self.shown(at) < shown {
            at += MINUTE;
        }
        self.begun.insert(date, at);
        at
    }

    /// First microsecond of the bucket around `at`, and of the one after it.
    pub(crate) fn bucket(&mut self, at: i64) -> (i64, i64) {
        if self.unit == Unit::Hour {
            return self.hour(at);
        }
        let mut first = self.shown(at).date();
        while !self.is_first(first) {
            first = first.yesterday().expect("a day");
        }
        let start = self.begin(first);
        let mut next = first;
        loop {
            next = next.tomorrow().expect("a day");
            if self.is_first(next) && self.begin(next) > at {
                return (start, self.begin(next));
            }
        }
    }

    fn hour(&self, at: i64) -> (i64, i64) {
        let label = |at: i64| {
            let moment = Moment::from_microsecond(at).expect("a moment");
            let shown = self.zone.to_datetime(moment);
            (self.zone.to_offset(moment).seconds(), shown.date(), shown.hour())
        };
        let minute = at.div_euclid(MINUTE) * MINUTE;
        let (mut start, mut end) = (minute, minute + MINUTE);
        while label(start - MINUTE) == label(minute) {
            start -= MINUTE;
        }
        while label(end) == label(minute) {
            end += MINUTE;
        }
        (start, end)
    }
}

/// The rows of a question that is asked page by page, from where the page before says. One whose
/// buckets hang on each other is refused by name, and answers what it does as a whole.
pub(crate) async fn in_pages(
    engine: &Engine,
    series: &Series,
    question: &Downsample,
    whole: &[BucketRow],
) -> Vec<BucketRow> {
    let budget = engine.budget(series.tenant);
    let rows_max = 3 + whole.len() / 5;
    let (mut question, mut rows) = (question.clone(), Vec::new());
    loop {
        let page = engine.downsample_page(series, &question, rows_max, &budget).await;
        if matches!(question.fill, Fill::Previous | Fill::Linear) {
            let refused = page.expect_err("a page does not know the other buckets");
            assert!(refused.to_string().starts_with("fill "), "{refused}");
            return whole.to_vec();
        }
        let page = page.expect("answers");
        assert!(page.rows.len() <= rows_max, "{} rows", page.rows.len());
        rows.extend(page.rows);
        let Some(next) = page.next else { return rows };
        assert!(next > question.range.from, "a page goes on");
        assert!(!rows.is_empty(), "a page that is cut is full");
        question.range.from = next;
    }
}

/// What is asked of the model.
pub(crate) struct Asked<'a> {
    pub(crate) aggregates: &'a [Aggregate],
    pub(crate) is_counter: bool,
    pub(crate) fill: Fill,
    /// From, and the first moment after.
    pub(crate) range: (i64, i64),
}

/// The rows of all points of a series that count, whenever they were measured.
pub(crate) fn rows(clocks: &mut Clocks, points: &[Point], asked: &Asked<'_>) -> Vec<BucketRow> {
    let (from, to) = asked.range;
    let mut rows = Vec::new();
    let mut at = from;
    while at < to {
        let (start, next) = clocks.bucket(at);
        let window = (start.max(from), next.min(to));
        let count = within(points, window).count() as u64;
        if count > 0 || asked.fill != Fill::None {
            let of = |aggregate: &Aggregate| aggregate_of(*aggregate, points, window, asked);
            rows.push(BucketRow {
                from: Timestamp::from_micros(start),
                to: Timestamp::from_micros(next),
                count,
                values: asked.aggregates.iter().map(of).collect(),
            });
        }
        at = next;
    }
    let before = points.iter().rfind(|point| point.at.as_micros() < from);
    for (column, aggregate) in asked.aggregates.iter().enumerate() {
        fill(&mut rows, column, *aggregate, asked.fill, before.map(|point| &point.value));
    }
    rows
}

fn within(points: &[Point], window: (i64, i64)) -> impl DoubleEndedIterator<Item = &Point> {
    points.iter().filter(move |point| (window.0..window.1).contains(&point.at.as_micros()))
}

fn aggregate_of(
    aggregate: Aggregate,
    points: &[Point],
    window: (i64, i64),
    asked: &Asked<'_>,
) -> Option<Value> {
    let sample = |point: &Point| Some((point.at.as_micros(), point.value.as_f64()?));
    let inside: Vec<(i64, f64)> = within(points, window).filter_map(sample).collect();
    let before = points.iter().filter_map(sample).rfind(|(at, _)| *at < window.0);
    let numbers = || inside.iter().map(|(_, number)| *number);
    match aggregate {
        Aggregate::Count => return Some(Value::Integer(within(points, window).count() as i64)),
        Aggregate::Simulated => {
            let made_up = |point: &&Point| point.quality == Quality::Simulated;
            return Some(Value::Integer(within(points, window).filter(made_up).count() as i64));
        }
        Aggregate::First => return within(points, window).next().map(|one| one.value.clone()),
        Aggregate::Last => return within(points, window).next_back().map(|one| one.value.clone()),
        _ => {}
    }
    let (first, last) = (*inside.first()?, *inside.last()?);
    let chain: Vec<(i64, f64)> = before.into_iter().chain(inside.iter().copied()).collect();
    let sum: f64 = numbers().sum();
    let delta = if asked.is_counter {
        chain.windows(2).map(|two| gain(two[0].1, two[1].1)).sum()
    } else {
        last.1 - before.unwrap_or(first).1
    };
    let number = match aggregate {
        Aggregate::Min => numbers().fold(f64::INFINITY, f64::min),
        Aggregate::Max => numbers().fold(f64::NEG_INFINITY, f64::max),
        Aggregate::Avg => sum / inside.len() as f64,
        Aggregate::Sum => sum,
        Aggregate::Delta => delta,
        Aggregate::Rate => {
            let micros = last.0 - before.unwrap_or(first).0;
            return (micros > 0).then(|| Value::Double(delta / (micros as f64 / 1e6)));
        }
        Aggregate::TimeWeighted => held(&chain, window),
        Aggregate::Percentile(thousandths) => {
            let mut sorted: Vec<f64> = numbers().collect();
            sorted.sort_by(f64::total_cmp);
            let place = f64::from(thousandths) / 1e5 * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            low + (high - low) * place.fract()
        }
        Aggregate::Count | Aggregate::Simulated | Aggregate::First | Aggregate::Last => {
            return None;
        }
    };
    Some(Value::Double(number))
}

fn gain(before: f64, after: f64) -> f64 {
    if after < before { after } else { after - before }
}

fn held(chain: &[(i64, f64)], window: (i64, i64)) -> f64 {
    let (mut area, mut covered) = (0.0, 0.0);
    for (index, (at, number)) in chain.iter().enumerate() {
        let until = chain.get(index + 1).map_or(window.1, |next| next.0);
        let micros = (until - (*at).max(window.0)).max(0) as f64;
        area += micros * number;
        covered += micros;
    }
    area / covered
}

fn fill(
    rows: &mut [BucketRow],
    column: usize,
    aggregate: Aggregate,
    fill: Fill,
    before: Option<&Value>,
) {
    let known: Vec<(usize, Value)> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.count > 0)
        .filter_map(|(index, row)| Some((index, row.values[column].clone()?)))
        .collect();
    let number = |index: usize| known[index].1.as_f64();
    let starts: Vec<f64> = rows.iter().map(|row| row.from.as_micros() as f64).collect();
    for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.count == 0) {
        let behind = known.partition_point(|(place, _)| *place < index);
        let is_reading = !matches!(aggregate, Aggregate::Sum | Aggregate::Delta | Aggregate::Rate);
        let opening = match aggregate {
            Aggregate::First | Aggregate::Last => before.cloned(),
            _ => before.and_then(Value::as_f64).map(Value::Double),
        };
        row.values[column] = match fill {
            _ if matches!(aggregate, Aggregate::Count | Aggregate::Simulated) => {
                Some(Value::Integer(0))
            }
            Fill::None | Fill::Null => None,
            Fill::Value(number) => Some(Value::Double(number)),
            Fill::Previous if behind > 0 => Some(known[behind - 1].1.clone()),
            Fill::Previous => opening.filter(|_| is_reading),
            Fill::Linear => {
                let numbers: Vec<usize> =
                    (0..known.len()).filter(|place| number(*place).is_some()).collect();
                let left = numbers.iter().rfind(|place| known[**place].0 < index);
                let right = numbers.iter().find(|place| known[**place].0 > index);
                left.zip(right).and_then(|(left, right)| {
                    let (from, to) = (number(*left)?, number(*right)?);
                    let (start, end) = (starts[known[*left].0], starts[known[*right].0]);
                    let part = (starts[index] - start) / (end - start);
                    Some(Value::Double(from + (to - from) * part))
                })
            }
        };
    }
}

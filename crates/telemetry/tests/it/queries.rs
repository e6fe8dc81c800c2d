//! Queries against a slow model: random readings, ranges and buckets around changes of the clock in
//! eight time zones, in memory and in segments; and each mode by an example.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;
use veritwin_domain::{Quality, Reading, Timestamp, Value};
use veritwin_telemetry::{
    Aggregate, Answer, BucketPage, BucketRow, Buckets, CalendarUnit, Downsample, Engine, Fill,
    Order, Point, QualityFilter, Question, RangeQuery, TelemetryError, TimeRange, Weekday, Zone,
};

use crate::queries_model::{Asked, Clocks, MINUTE, Unit, in_pages, rows};
use crate::support::{
    DAY, HOUR_MICROS, History, Setup, TODAY, batch, key, reading, runtime, series, tenant,
};

/// Zones, and moments around which their clocks were changed.
const ZONES: [(&str, [&str; 2]); 8] = [
    ("Europe/Berlin", ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]),
    ("America/New_York", ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"]),
    ("Asia/Taipei", ["1979-06-30T16:00:00Z", "1979-09-30T15:00:00Z"]),
    ("Australia/Lord_Howe", ["2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"]),
    ("Africa/Casablanca", ["2026-02-15T02:00:00Z", "2026-03-22T02:00:00Z"]),
    ("America/Sao_Paulo", ["2018-02-18T02:00:00Z", "2018-11-04T03:00:00Z"]),
    ("Asia/Kathmandu", ["1985-12-31T18:30:00Z", "2026-01-01T00:00:00Z"]),
    ("Pacific/Apia", ["2011-09-24T14:00:00Z", "2011-12-30T10:00:00Z"]),
];

const AGGREGATES: [Aggregate; 14] = [
    Aggregate::Count,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Avg,
    Aggregate::Sum,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::Delta,
    Aggregate::Rate,
    Aggregate::TimeWeighted,
    Aggregate::Percentile(0),
    Aggregate::Percentile(50_000),
    Aggregate::Percentile(99_900),
    Aggregate::Simulated,
];

#[derive(Debug, Clone)]
struct Case {
    zone: usize,
    change: usize,
    /// How far readings lie around the change, in days, and which unit of those that fit.
    spread: usize,
    unit: usize,
    week: i8,
    /// Each number a part of the spread, in millionths.
    readings: Vec<(i64, i64, Value, Quality)>,
    runs: Vec<(i64, i64, i64)>,
    range: (i64, i64),
    fill: Fill,
    quality: QualityFilter,
    is_counter: bool,
    /// Only aggregates that summaries tell.
    is_plain: bool,
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (-400i32..400).prop_map(|n| Value::Double(f64::from(n) / 4.0)),
        3 => (-1000i64..1000).prop_map(Value::Integer),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => (0u8..4).prop_map(|n| Value::Text(format!("state {n}").into())),
        1 => (0u8..4).prop_map(|n| Value::Json(format!("{{\"n\":{n}}}").into())),
    ]
}

fn any_case() -> impl Strategy<Value = Case> {
    let quality = prop_oneof![
        6 => Just(Quality::Good),
        1 => Just(Quality::Uncertain),
        1 => Just(Quality::Bad),
        1 => Just(Quality::Simulated),
    ];
    let reading = (-1_000_000i64..1_000_000, 0i64..MINUTE, any_value(), quality);
    let fill = prop_oneof![
        3 => Just(Fill::None),
        1 => Just(Fill::Null),
        1 => Just(Fill::Previous),
        1 => Just(Fill::Linear),
        1 => Just(Fill::Value(-7.5)),
    ];
    let filter = prop_oneof![
        3 => Just(QualityFilter::Any),
        1 => Just(QualityFilter::NotBad),
        1 => Just(QualityFilter::Good),
    ];
    let place = (0..ZONES.len(), 0usize..2, 0usize..3, 0usize..4, 0i8..7);
    let readings = proptest::collection::vec(reading, 0..40);
    let runs = proptest::collection::vec((-1_000_000i64..1_000_000, 16i64..60, -20i64..20), 0..5);
    let range = (-1_100_000i64..900_000, 1i64..1_200_000);
    let how = (fill, filter, any::<bool>(), any::<bool>());
    (place, readings, runs, range, how).prop_map(
        |((zone, change, spread, unit, week), readings, runs, range, how)| {
            let (fill, quality, is_counter, is_plain) = how;
            Case {
                zone,
                change,
                spread,
                unit,
                week,
                readings,
                runs,
                range,
                fill,
                quality,
                is_counter,
                is_plain,
            }
        },
    )
}

fn weekday(number: i8) -> Weekday {
    use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let days = [Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday];
    days[number as usize]
}

impl Case {
    fn micros(&self, millionths: i64) -> i64 {
        let change = Timestamp::parse_rfc3339(ZONES[self.zone].1[self.change]).expect("a time");
        let days = [2, 50, 700][self.spread];
        let away = millionths * days * (DAY / 1_000_000);
        (change.as_micros() + away).div_euclid(MINUTE) * MINUTE
    }

    fn unit(&self) -> (Unit, CalendarUnit) {
        let week = (Unit::Week(self.week), CalendarUnit::Week(weekday(self.week)));
        let units = [
            [(Unit::Hour, CalendarUnit::Hour), (Unit::Day, CalendarUnit::Day), week],
            [(Unit::Day, CalendarUnit::Day), week, (Unit::Month, CalendarUnit::Month)],
            [
                (Unit::Month, CalendarUnit::Month),
                (Unit::Quarter, CalendarUnit::Quarter),
                (Unit::Year, CalendarUnit::Year),
            ],
        ];
        units[self.spread][self.unit % 3]
    }

    /// Writes everything, some of it into segments, and says what counts.
    async fn write(&self, engine: &Engine) -> Vec<Point> {
        let mut history = History::default();
        let mut model: BTreeMap<i64, (Value, Quality)> = BTreeMap::new();
        let mut sent: Vec<Vec<(i64, Value, Quality)>> = Vec::new();
        for (start, count, base) in &self.runs {
            let start = self.micros(*start);
            let number = |i: i64| Value::Double((base + i % 5) as f64 / 4.0);
            let run = (0..*count).map(|i| (start + i * MINUTE, number(i), Quality::Good));
            sent.push(run.collect());
        }
        for part in self.readings.chunks(15) {
            let one = |(at, jitter, value, quality): &(i64, i64, Value, Quality)| {
                (self.micros(*at) + jitter, value.clone(), *quality)
            };
            sent.push(part.iter().map(one).collect());
        }
        for (number, part) in sent.into_iter().enumerate() {
            let mut readings = Vec::new();
            for (at, value, quality) in part {
                let at_time = Timestamp::from_micros(at);
                readings.push(Reading {
                    key: key("n"),
                    at: at_time,
                    value: value.clone(),
                    quality,
                });
                model.insert(at, (value, quality));
            }
            history.commit(engine, batch(0, 0, readings));
            if number % 2 == 0 {
                engine.flush().await.expect("flushes");
            }
        }
        let points = model.into_iter().map(|(at, (value, quality))| Point {
            at: Timestamp::from_micros(at),
            value,
            quality,
        });
        points.filter(|point| self.quality.passes(point.quality)).collect()
    }

    async fn check(&self) {
        let setup = Setup::new();
        // Long after everything that is measured: nothing is cut off at the present.
        setup.advance(5000 * DAY);
        let engine = setup.open().await;
        let points = self.write(&engine).await;
        let from = self.micros(self.range.0);
        let to = self.micros(self.range.0 + self.range.1).max(from + MINUTE);
        let (unit, calendar) = self.unit();
        let aggregates = if self.is_plain { &AGGREGATES[..5] } else { &AGGREGATES[..] };
        let question = Downsample {
            range: range(from, to),
            buckets: Buckets::Calendar {
                unit: calendar,
                zone: Zone::named(ZONES[self.zone].0).expect("a zone"),
            },
            aggregates: aggregates.to_vec(),
            is_counter: self.is_counter,
            fill: self.fill,
            quality: self.quality,
        };
        let series = series(0, 0, "n");
        let found = engine
            .downsample(&series, &question, &engine.budget(tenant(0)))
            .await
            .expect("answers");
        let mut clocks = Clocks::new(ZONES[self.zone].0, unit);
        let (is_counter, fill) = (self.is_counter, self.fill);
        let asked = Asked { aggregates, is_counter, fill, range: (from, to) };
        let expect = rows(&mut clocks, &points, &asked);
        assert_alike(&found, &expect);
        assert_alike(&in_pages(&engine, &series, &question, &found).await, &expect);
        for at in [from, to, from + (to - from) / 2] {
            let at_time = Timestamp::from_micros(at);
            let found = engine
                .as_of(&series, at_time, self.quality, &engine.budget(tenant(0)))
                .await
                .expect("answers");
            assert_eq!(found.as_ref(), points.iter().rfind(|point| point.at <= at_time));
        }
        let page =
            RangeQuery { range: range(from, to), order: Order::Descending, limit: 5, after: None };
        let budget = engine.budget(tenant(0));
        let found = engine.range_filtered(&series, page, self.quality, &budget);
        let inside = points.iter().rev().filter(|one| one.at >= page.range.from);
        let expect: Vec<Point> =
            inside.filter(|one| one.at < page.range.to).take(5).cloned().collect();
        assert_eq!(found.await.expect("answers").points, expect);
    }
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange { from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) }
}

fn assert_alike(found: &[BucketRow], expect: &[BucketRow]) {
    assert_eq!(found.len(), expect.len(), "{found:?} instead of {expect:?}");
    for (one, other) in found.iter().zip(expect) {
        assert_eq!((one.from, one.to, one.count), (other.from, other.to, other.count));
        for (place, (value, wanted)) in one.values.iter().zip(&other.values).enumerate() {
            let is_same = match (value, wanted) {
                (Some(Value::Double(one)), Some(Value::Double(other))) => {
                    (one - other).abs() <= 1e-9 * other.abs().max(1.0)
                }
                (one, other) => one == other,
            };
            let aggregate = AGGREGATES[place];
            assert!(is_same, "{aggregate:?} is {value:?}, not {wanted:?}, at {:?}", other.from);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 160, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_answer_equals_the_model(case in any_case()) {
        runtime().block_on(case.check());
    }
}

async fn downsample(
    engine: &Engine,
    buckets: Buckets,
    aggregates: &[Aggregate],
    fill: Fill,
) -> Result<Vec<BucketRow>, TelemetryError> {
    let question = Downsample {
        range: range(TODAY, TODAY + DAY),
        buckets,
        aggregates: aggregates.to_vec(),
        is_counter: false,
        fill,
        quality: QualityFilter::Any,
    };
    engine.downsample(&series(0, 0, "n"), &question, &engine.budget(tenant(0))).await
}

fn limit_name(error: TelemetryError) -> &'static str {
    match error {
        TelemetryError::Limit { name, .. } | TelemetryError::Argument { name, .. } => name,
        other => panic!("not a limit: {other}"),
    }
}

#[test]
fn bounds_are_named() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        setup.limits.query_points_max = 100;
        setup.limits.query_memory_bytes_max = 4_000;
        let engine = setup.open().await;
        let long = |i: i64| Value::Text("x".repeat(200 + i as usize).into());
        let readings = (0..60).map(|i| reading("n", TODAY + i * MINUTE, long(i)));
        History::default().commit(&engine, batch(0, 0, readings.collect()));
        let fixed = |width_micros| Buckets::Fixed { width_micros, origin_micros: 0 };
        let count = [Aggregate::Count];
        let check = |answer: Result<Vec<BucketRow>, TelemetryError>, name: &str| {
            assert_eq!(limit_name(answer.expect_err(name)), name);
        };
        check(downsample(&engine, fixed(0), &count, Fill::None).await, "bucket width");
        check(downsample(&engine, fixed(1), &[], Fill::None).await, "aggregates");
        let above = [Aggregate::Percentile(100_001)];
        check(downsample(&engine, fixed(1), &above, Fill::None).await, "percentile");
        let last = [Aggregate::Last];
        check(
            downsample(&engine, fixed(MINUTE), &last, Fill::None).await,
            "query_memory_bytes_max",
        );
        let narrow = downsample(&engine, fixed(MINUTE / 60_000_000), &count, Fill::Null);
        let name = limit_name(narrow.await.expect_err("too many buckets"));
        assert!(["query_points_max", "query_memory_bytes_max"].contains(&name), "{name}");
        let series = series(0, 0, "n");
        let all =
            RangeQuery { range: TimeRange::ALL, order: Order::Ascending, limit: 50, after: None };
        let page = engine.range(&series, all).await;
        assert_eq!(limit_name(page.expect_err("long texts")), "query_memory_bytes_max");
        let budget = engine.budget(tenant(0));
        let two = engine.triangles(&series, TimeRange::ALL, 2, QualityFilter::Any, &budget).await;
        assert_eq!(limit_name(two.expect_err("no triangle")), "points_max");
    });
}

#[test]
fn one_question_is_answered_for_many_series() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        for number in 0..5u8 {
            let value = |i: i64| Value::Integer(i * i64::from(number));
            let readings = (0..48).map(|i| reading("n", TODAY + i * HOUR_MICROS / 2, value(i)));
            history.commit(&engine, batch(0, number, readings.collect()));
        }
        engine.flush().await.expect("flushes");
        let asked: Vec<_> = (0..6).map(|number| series(0, number, "n")).collect();
        let at = Timestamp::from_micros(TODAY + HOUR_MICROS + 1);
        let answers = engine
            .ask_many(&asked, &Question::AsOf(at, QualityFilter::Any))
            .await
            .expect("answers")
            .answers;
        let values: Vec<Option<Value>> = answers
            .into_iter()
            .map(|answer| match answer {
                Answer::Points(mut page) => page.points.pop().map(|point| point.value),
                Answer::Buckets(_) => None,
            })
            .collect();
        let expect = [0, 2, 4, 6, 8].map(|n| Some(Value::Integer(n)));
        assert_eq!(values, [expect.as_slice(), &[None]].concat());
        let whole = Downsample {
            range: range(TODAY, TODAY + DAY),
            buckets: Buckets::Whole,
            aggregates: vec![Aggregate::Sum, Aggregate::Count],
            is_counter: false,
            fill: Fill::None,
            quality: QualityFilter::Any,
        };
        let answers =
            engine.ask_many(&asked, &Question::Downsample(whole)).await.expect("answers").answers;
        let Answer::Buckets(page) = &answers[3] else { panic!("buckets are asked for") };
        let rows = &page.rows;
        let sum = (0..48).sum::<i64>() * 3;
        let values = vec![Some(Value::Double(sum as f64)), Some(Value::Integer(48))];
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].from, &rows[0].values), (Timestamp::from_micros(TODAY), &values));
        assert_eq!(answers[5], Answer::Buckets(BucketPage::default()));
    });
}

#[test]
fn a_line_keeps_its_peaks() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let value = |i: i64| Value::Double(if i == 777 { 99.0 } else { (i % 5) as f64 });
        let readings = (0..2000).map(|i| reading("n", TODAY + i * 1_000_000, value(i)));
        let texts = (0..20).map(|i| reading("n", TODAY + i * 7_000_001, Value::Text("x".into())));
        let sent = readings.chain(texts).collect();
        History::default().commit(&engine, batch(0, 0, sent));
        let series = series(0, 0, "n");
        let budget = engine.budget(tenant(0));
        let line = engine.triangles(&series, TimeRange::ALL, 100, QualityFilter::Any, &budget);
        let line = line.await.expect("answers");
        assert_eq!(line.len(), 100);
        assert!(line.iter().any(|point| point.value == Value::Double(99.0)));
        let all = engine.triangles(&series, TimeRange::ALL, 10_000, QualityFilter::Any, &budget);
        // A text at the very beginning took the place of the first number.
        assert_eq!(all.await.expect("answers").len(), 1999);
    });
}

#[test]
fn nothing_is_decoded_that_the_answer_does_not_need() {
    runtime().block_on(async {
        let mut setup = Setup::new();
        // One day has 1,000 readings: nothing that decodes two of them is answered.
        setup.limits.query_scan_points_max = 1_500;
        let engine = setup.open().await;
        let mut history = History::default();
        for day in 0..20 {
            let value = |i: i64| Value::Integer(i % 50 + day);
            let readings =
                (0..1_000).map(|i| reading("n", TODAY + day * DAY + i * MINUTE, value(i)));
            let texts = (0..1_000).map(|i| {
                reading("state", TODAY + day * DAY + i * MINUTE, Value::Text(format!("{i}").into()))
            });
            history.commit(&engine, batch(0, 0, readings.chain(texts).collect()));
            engine.flush().await.expect("flushes");
        }
        let days = |aggregates: &[Aggregate]| Downsample {
            range: range(TODAY, TODAY + 20 * DAY),
            buckets: Buckets::Calendar { unit: CalendarUnit::Day, zone: Zone::UTC },
            aggregates: aggregates.to_vec(),
            is_counter: false,
            fill: Fill::None,
            quality: QualityFilter::Any,
        };
        let summed = [
            Aggregate::Count,
            Aggregate::Min,
            Aggregate::Max,
            Aggregate::Avg,
            Aggregate::Sum,
            Aggregate::First,
            Aggregate::Last,
            Aggregate::Delta,
            Aggregate::Rate,
        ];
        let (numbers, texts) = (series(0, 0, "n"), series(0, 0, "state"));
        let budget = engine.budget(tenant(0));
        let rows = engine.downsample(&numbers, &days(&summed), &budget).await.expect("answers");
        assert_eq!(rows.len(), 20);
        assert_eq!(rows[3].values[5], Some(Value::Integer(3)));
        let rows = engine.downsample(&texts, &days(&[Aggregate::Count]), &budget).await;
        assert_eq!(rows.expect("answers")[9].values, [Some(Value::Integer(1_000))]);
        // Looking back for a number passes by what is none.
        let range = range(TODAY + 19 * DAY, TODAY + 20 * DAY);
        let last_day = Downsample { range, ..days(&[Aggregate::Delta]) };
        let rows = engine.downsample(&texts, &last_day, &budget).await.expect("answers");
        assert_eq!((rows.len(), &rows[0].values), (1, &vec![None]));
        for decoded in [Aggregate::TimeWeighted, Aggregate::Percentile(50_000)] {
            let refused = engine.downsample(&numbers, &days(&[decoded]), &budget).await;
            assert_eq!(limit_name(refused.expect_err("decodes")), "query_scan_points_max");
        }
        // The last reading of twenty days is found in the last of them, and a page at its edge.
        let late = Timestamp::from_micros(TODAY + 30 * DAY);
        let last =
            engine.as_of(&numbers, late, QualityFilter::Any, &budget).await.expect("answers");
        assert_eq!(last.map(|point| point.value), Some(Value::Integer(68)));
        let page =
            RangeQuery { range: TimeRange::ALL, order: Order::Descending, limit: 10, after: None };
        assert_eq!(engine.range(&numbers, page).await.expect("answers").points.len(), 10);
    });
}

#[test]
fn whoever_drops_the_answer_ends_the_work() {
    use futures::FutureExt;
    let runtime = runtime();
    runtime.block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        for number in 0..4u8 {
            let readings = (0..500).map(|i| reading("n", TODAY + i * MINUTE, Value::Integer(i)));
            history.commit(&engine, batch(0, number, readings.collect()));
        }
        engine.flush().await.expect("flushes");
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let before = alive();
        let asked: Vec<_> = (0..4).map(|number| series(0, number, "n")).collect();
        let question = Question::Triangles {
            range: TimeRange::ALL,
            points_max: 100,
            quality: QualityFilter::Any,
        };
        {
            let mut answer = engine.ask_many(&asked, &question);
            assert!((&mut answer).now_or_never().is_none(), "its tasks have not run yet");
            assert!(alive() > before);
        }
        while alive() > before {
            tokio::task::yield_now().await;
        }
    });
}

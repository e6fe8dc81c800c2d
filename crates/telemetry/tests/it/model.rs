//! Random interleavings of writing, flushing, compacting and reopening, compared with a plain
//! ordered map after every few steps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;
use veritwin_domain::{Quality, Reading, Timestamp, Value};
use veritwin_telemetry::{
    Bucket, Engine, LATEST_AHEAD_MAX, Order, Point, RangeQuery, Stats, TimeRange,
};

use crate::support::{
    DAY, HOUR_MICROS, History, Setup, TODAY, batch, device, key, runtime, series,
};

const DEVICES: u8 = 2;
const KEYS: [&str; 3] = ["temperature", "state", "mixed"];

type Model = BTreeMap<(u8, &'static str), BTreeMap<i64, (Value, Quality)>>;

#[derive(Debug, Clone)]
enum Step {
    /// Readings with times of their own.
    Scattered {
        device: u8,
        readings: Vec<(usize, i64, Value, Quality)>,
    },
    /// Evenly spaced readings of two keys, as devices mostly send them.
    Run {
        device: u8,
        start: i64,
        step: i64,
        count: i64,
        base: i64,
    },
    Flush,
    Maintain {
        hours: i64,
    },
    Reopen,
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0i64..48).prop_map(|i| TODAY + i * HOUR_MICROS / 2),
        4 => (0i64..40, -6i64..6).prop_map(|(i, day)| TODAY + day * DAY + i * 1_000),
        1 => (-5i64..5).prop_map(|i| i * 7_000_001),
        1 => Just(-400 * 365 * DAY),
        1 => Just(TODAY + 9000 * DAY + 1),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MIN + 1), Just(i64::MAX - 1), Just(i64::MAX)],
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-400i32..400).prop_map(|n| Value::Double(f64::from(n) / 4.0)),
        3 => (-1000i64..1000).prop_map(Value::Integer),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => (0u8..4).prop_map(|n| Value::Text(format!("state {n}").into())),
        1 => (0u8..4).prop_map(|n| Value::Json(format!("{{\"n\":{n}}}").into())),
    ]
}

fn any_quality() -> impl Strategy<Value = Quality> {
    let doubted = [Quality::Uncertain, Quality::Bad, Quality::Simulated];
    prop_oneof![8 => Just(Quality::Good), 3 => proptest::sample::select(doubted.to_vec())]
}

fn any_step() -> impl Strategy<Value = Step> {
    let reading = (0..KEYS.len(), any_time(), any_value(), any_quality());
    let readings = proptest::collection::vec(reading, 1..20);
    prop_oneof![
        5 => (0..DEVICES, readings)
            .prop_map(|(device, readings)| Step::Scattered { device, readings }),
        4 => (0..DEVICES, any_time(), 1i64..5, 16i64..90, -50i64..50).prop_map(
            |(device, start, step, count, base)| Step::Run {
                device,
                start: start.clamp(-DAY, TODAY + DAY),
                step: step * 600_000_000,
                count,
                base,
            }
        ),
        4 => Just(Step::Flush),
        2 => (0i64..30).prop_map(|hours| Step::Maintain { hours }),
        1 => Just(Step::Reopen),
    ]
}

struct Run {
    setup: Setup,
    engine: Engine,
    history: History,
    model: Model,
}

impl Run {
    fn write(&mut self, device: u8, readings: Vec<(&'static str, i64, Value, Quality)>) {
        let mut sent = Vec::new();
        for (name, at, value, quality) in readings {
            let at_time = Timestamp::from_micros(at);
            sent.push(Reading { key: key(name), at: at_time, value: value.clone(), quality });
            self.model.entry((device, name)).or_default().insert(at, (value, quality));
        }
        self.history.commit(&self.engine, batch(0, device, sent));
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Scattered { device, readings } => {
                let readings =
                    readings.into_iter().map(|(name, at, value, q)| (KEYS[name], at, value, q));
                self.write(device, readings.collect());
            }
            Step::Run { device, start, step, count, base } => {
                let readings = (0..count).flat_map(|i| {
                    let at = start + i * step;
                    let (double, integer) = (base as f64 + (i % 7) as f64 / 4.0, base - i);
                    [
                        (KEYS[0], at, Value::Double(double), Quality::Good),
                        (KEYS[2], at, Value::Integer(integer), Quality::Good),
                    ]
                });
                self.write(device, readings.collect());
            }
            Step::Flush => drop(self.engine.flush().await.expect("flushes")),
            Step::Maintain { hours } => {
                self.setup.advance(hours * HOUR_MICROS);
                self.engine.maintain().await.expect("maintains");
            }
            Step::Reopen => {
                self.engine = self.setup.open().await;
                self.history.replay(&self.engine);
            }
        }
    }

    async fn check(&self) {
        let ranges = [
            TimeRange::ALL,
            range(TODAY, TODAY + DAY),
            range(TODAY - 3 * DAY + 7_000, TODAY + 5 * HOUR_MICROS),
            range(-7_000_001, 14_000_002),
            range(TODAY, TODAY),
            range(TODAY + DAY, TODAY),
            range(i64::MIN, i64::MIN + 1),
        ];
        for number in 0..DEVICES {
            self.check_latest(number).await;
            for name in KEYS {
                let empty = BTreeMap::new();
                let model = self.model.get(&(number, name)).unwrap_or(&empty);
                for range in ranges {
                    let expect = inside(model, range);
                    self.check_range(number, name, range, &expect).await;
                    self.check_aggregates(number, name, range, &expect).await;
                }
            }
        }
    }

    async fn check_latest(&self, number: u8) {
        let tenant = crate::support::tenant(0);
        let latest = self.engine.latest(tenant, device(number), None).await.expect("answers");
        // What lies in the future does not count yet.
        let now = veritwin_domain::Clock::now(self.setup.clock.as_ref());
        let end = now.saturating_add(LATEST_AHEAD_MAX).as_micros();
        let found: Vec<(String, i64, Value, Quality)> = latest
            .into_iter()
            .map(|latest| {
                (latest.key.to_string(), latest.at.as_micros(), latest.value, latest.quality)
            })
            .collect();
        let mut expect: Vec<(String, i64, Value, Quality)> = KEYS
            .iter()
            .filter_map(|name| {
                let readings = self.model.get(&(number, *name))?;
                let (at, (value, quality)) = readings.range(..=end).next_back()?;
                Some(((*name).to_owned(), *at, value.clone(), *quality))
            })
            .collect();
        expect.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expect, "latest values of device {number}");
    }

    async fn check_range(&self, number: u8, name: &str, range: TimeRange, expect: &[Point]) {
        let series = series(0, number, name);
        for order in [Order::Ascending, Order::Descending] {
            let mut expect = expect.to_vec();
            if order == Order::Descending {
                expect.reverse();
            }
            for limit in [7, 10_000] {
                let mut query = RangeQuery { range, order, limit, after: None };
                let mut found = Vec::new();
                // Two short pages show that the cursor works; long ones show everything.
                for _ in 0..2 {
                    let page = self.engine.range(&series, query).await.expect("answers");
                    assert!(page.points.len() <= limit);
                    found.extend(page.points);
                    query.after = page.next;
                    if page.next.is_none() {
                        break;
                    }
                }
                let expect = &expect[..expect.len().min(2 * limit)];
                assert_eq!(found, expect, "{name} of {number} in {range:?}, {order:?}, {limit}");
            }
        }
    }

    async fn check_aggregates(&self, number: u8, name: &str, range: TimeRange, expect: &[Point]) {
        let series = series(0, number, name);
        let stats = self.engine.stats(&series, range).await.expect("answers");
        assert_eq!(stats, naive_stats(expect), "{name} of {number} in {range:?}");
        for width in [HOUR_MICROS, DAY, 7 * DAY + 1, i64::MAX] {
            let buckets = self.engine.buckets(&series, range, width).await.expect("answers");
            let naive = naive_buckets(expect, width);
            assert_eq!(buckets, naive, "{name} of {number} in {range:?} by {width}");
        }
    }
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange { from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) }
}

fn inside(model: &BTreeMap<i64, (Value, Quality)>, range: TimeRange) -> Vec<Point> {
    let points = model.iter().map(|(at, (value, quality))| Point {
        at: Timestamp::from_micros(*at),
        value: value.clone(),
        quality: *quality,
    });
    let is_inside =
        |at: Timestamp| at >= range.from && (at < range.to || range.to == Timestamp::MAX);
    points.filter(|point| is_inside(point.at)).collect()
}

fn naive_stats(points: &[Point]) -> Stats {
    let numbers: Vec<f64> = points.iter().filter_map(|point| point.value.as_f64()).collect();
    Stats {
        count: points.len() as u64,
        numbers: numbers.len() as u64,
        min: numbers.iter().copied().reduce(f64::min),
        max: numbers.iter().copied().reduce(f64::max),
        first: numbers.first().copied(),
        last: numbers.last().copied(),
        first_at: points.first().map(|point| point.at),
        last_at: points.last().map(|point| point.at),
    }
}

fn naive_buckets(points: &[Point], width: i64) -> Vec<Bucket> {
    let start = |point: &Point| {
        let width = i128::from(width);
        let start = i128::from(point.at.as_micros()).div_euclid(width) * width;
        start.max(i128::from(i64::MIN)) as i64
    };
    points
        .chunk_by(|a, b| start(a) == start(b))
        .map(|run| {
            let stats = naive_stats(run);
            Bucket {
                at: Timestamp::from_micros(start(&run[0])),
                count: stats.count,
                numbers: stats.numbers,
                sum: run.iter().filter_map(|point| point.value.as_f64()).sum(),
                min: stats.min,
                max: stats.max,
                first: stats.first,
                last: stats.last,
                simulated: run.iter().filter(|one| one.quality == Quality::Simulated).count()
                    as u64,
            }
        })
        .collect()
}

async fn play(steps: Vec<Step>) {
    let mut setup = Setup::new();
    setup.limits.flush_windows_max = 4;
    setup.limits.compaction_sections_min = 3;
    let engine = setup.open().await;
    let mut run = Run { setup, engine, history: History::default(), model: Model::new() };
    for (number, step) in steps.into_iter().enumerate() {
        run.take(step).await;
        if number % 4 == 3 {
            run.check().await;
        }
    }
    run.check().await;
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_engine_equals_an_ordered_map(steps in proptest::collection::vec(any_step(), 1..24)) {
        runtime().block_on(play(steps));
    }
}

#[test]
fn many_overlays_and_windows_are_merged_and_stay_equal() {
    let spread = |round: i64| Step::Scattered {
        device: 0,
        readings: (0..12)
            .map(|i| (0, TODAY - i * DAY + (round % 3), Value::Integer(round), Quality::Good))
            .collect(),
    };
    let narrow = |round: i64| Step::Run {
        device: 0,
        start: TODAY + round,
        step: 600_000_000,
        count: 60,
        base: round,
    };
    let steps = (0..10).flat_map(|round| {
        let step = if round % 5 == 2 { narrow(round) } else { spread(round) };
        [step, Step::Flush, Step::Maintain { hours: 5 }]
    });
    runtime().block_on(play(steps.collect()));
}

#[test]
fn compaction_leaves_one_section_and_deletes_the_old() {
    runtime().block_on(async {
        let setup = Setup::new();
        let engine = setup.open().await;
        let mut history = History::default();
        for round in 0..8i64 {
            let at = TODAY + round * 1_000_000;
            let readings = vec![crate::support::reading("n", at, Value::Integer(round))];
            history.commit(&engine, batch(0, 0, readings));
            engine.flush().await.expect("flushes");
        }
        assert_eq!(engine.status().sections, 8);
        let done = engine.maintain().await.expect("maintains");
        assert_eq!(done.compactions, 1);
        assert_eq!(engine.status().sections, 1);
        assert_eq!(engine.status().section_points, 8);
        let objects = crate::support::objects(&setup.store).await;
        // The merged section, the pack that holds the latest values, the manifest.
        assert_eq!(objects.len(), 3, "{objects:?}");
        let reopened = setup.open().await;
        let stats = reopened.stats(&series(0, 0, "n"), TimeRange::ALL).await.expect("answers");
        assert_eq!((stats.count, stats.first, stats.last), (8, Some(0.0), Some(7.0)));
    });
}

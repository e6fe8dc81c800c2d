//! Our engine's side: readings go from memory into the sealed log and the sealed segments with
//! their fsyncs, then it is asked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use veritwin_domain::{Clock, DeviceId, Key, Rng, SeededRng, TenantId, Timestamp};
use veritwin_telemetry::measure::{MeasureError, MeasuredStore};
use veritwin_telemetry::{Bucket, Order, RangeQuery, Series, TimeRange};

use super::questions::{Ask, HOUR_MICROS, Question};
use super::{DAY_MICROS, Figures, Load, TelemetryOptions, percentiles};
use crate::process::cpu_seconds;
use crate::shape::{Fleet, STEP_MICROS};

/// Questions for one series' day, after as many to warm up.
const DAY_READS: usize = 500;
/// Most batches of one append.
const APPEND_BATCHES: usize = 1000;
/// How often a question about everything is asked; the median counts.
pub(super) const ROUNDS: usize = 5;

/// A filled store.
pub(super) struct Ours {
    store: MeasuredStore,
    devices: Vec<(TenantId, DeviceId)>,
    keys: Vec<Key>,
    from: Timestamp,
}

fn failed(error: MeasureError) -> anyhow::Error {
    anyhow!("telemetry engine: {error}")
}

impl Ours {
    /// Makes a store and fills it; answers what that cost.
    pub(super) async fn fill(
        options: &TelemetryOptions,
        directory: &Path,
        load: &Load,
    ) -> Result<(Self, Figures)> {
        std::fs::create_dir_all(directory)?;
        let given = (options.clock.clone(), options.rng.clone());
        let store = MeasuredStore::open(directory, load.tenants, given).await.map_err(failed)?;
        let mut fleet = Fleet::new(&load.fleet(store.tenants.clone()));
        let mut figures = Figures::default();
        let pid = std::process::id();
        let mut is_over = false;
        while !is_over {
            let batches = if figures.points < load.points as f64 {
                fleet.next()
            } else {
                is_over = true;
                fleet.rest()
            };
            if batches.is_empty() {
                continue;
            }
            let values: usize = batches.iter().map(|batch| batch.readings.len()).sum();
            figures.points += values as f64;
            let (cpu, wall) = (cpu_seconds(pid)?, options.clock.monotonic());
            // As many at once as a bulk write has.
            let mut batches = batches.into_iter().peekable();
            while batches.peek().is_some() {
                let some = batches.by_ref().take(APPEND_BATCHES).collect();
                store.ingest(some).await.map_err(failed)?;
            }
            figures.ingest_cpu_s += cpu_seconds(pid)? - cpu;
            figures.ingest_s += (options.clock.monotonic() - wall).as_secs_f64();
        }
        let cpu = cpu_seconds(pid)?;
        store.settle().await.map_err(failed)?;
        figures.ingest_cpu_s += cpu_seconds(pid)? - cpu;
        figures.bytes = store.object_bytes()? as f64;
        let (devices, keys) = (fleet.devices(), fleet.keys().to_vec());
        Ok((Self { store, devices, keys, from: load.from }, figures))
    }

    /// The same store after a restart, and how long that took.
    pub(super) async fn reopened(self, clock: &dyn Clock) -> Result<(Self, f64)> {
        let started = clock.monotonic();
        let store = self.store.reopened().await.map_err(failed)?;
        let took = milliseconds(clock.monotonic() - started);
        Ok((Self { store, ..self }, took))
    }

    /// Day reads and the hourly average of everything.
    pub(super) async fn ask(&self, clock: &dyn Clock, figures: &mut Figures) -> Result<()> {
        let rng = SeededRng::new(11);
        let mut times = Vec::with_capacity(DAY_READS);
        for round in 0..2 * DAY_READS {
            let took = self.day_read(clock, rng.next_u64()).await?;
            if round >= DAY_READS {
                times.push(took);
            }
        }
        (figures.day_read_p50_ms, figures.day_read_p99_ms) = percentiles(&mut times);
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..=ROUNDS {
            let took = self.hourly_average(clock).await?;
            if round > 0 {
                times.push(took);
            }
        }
        figures.hourly_average_ms = percentiles(&mut times).0;
        Ok(())
    }

    /// One series' day, or what there is of it.
    pub(super) async fn day_read(&self, clock: &dyn Clock, pick: u64) -> Result<Duration> {
        let all = self.devices.len() * self.keys.len();
        let place = usize::try_from(pick % all as u64)?;
        let (tenant, device) = self.devices[place / self.keys.len()];
        let key = self.keys[place % self.keys.len()].clone();
        let series = Series { tenant, device, key };
        let limit = usize::try_from(DAY_MICROS / STEP_MICROS)?;
        let range = self.last(DAY_MICROS);
        let query = RangeQuery { range, order: Order::Ascending, limit, after: None };
        let started = clock.monotonic();
        let page = self.store.engine.range(&series, query).await?;
        let took = clock.monotonic() - started;
        ensure!(!page.points.is_empty(), "a series has no points");
        Ok(took)
    }

    /// The hourly average of every series over the day.
    pub(super) async fn hourly_average(&self, clock: &dyn Clock) -> Result<Duration> {
        let series = self.series(|_| true);
        let started = clock.monotonic();
        let answers = self.means(&series, DAY_MICROS, HOUR_MICROS).await?;
        let took = clock.monotonic() - started;
        ensure!(answers.iter().all(|buckets| !buckets.is_empty()), "a series has no hours");
        Ok(took)
    }

    /// The latest values of every device, one device after the other.
    pub(super) async fn latest(&self, clock: &dyn Clock, keys: &[Key]) -> Result<Duration> {
        let keys = (!keys.is_empty()).then_some(keys);
        let started = clock.monotonic();
        for (tenant, device) in &self.devices {
            let latest = self.store.engine.latest(*tenant, *device, keys).await?;
            ensure!(!latest.is_empty(), "a device has no latest value");
        }
        Ok(clock.monotonic() - started)
    }

    /// One question of the suite.
    pub(super) async fn question(
        &self,
        clock: &dyn Clock,
        question: &Question,
    ) -> Result<Duration> {
        let is_asked = |key: &Key| question.keys.contains(&&**key);
        match question.ask {
            Ask::Latest => {
                let keys: Vec<Key> =
                    self.keys.iter().filter(|key| is_asked(key)).cloned().collect();
                self.latest(clock, &keys).await
            }
            Ask::Means { last_micros, width_micros } => {
                let series = self.series(is_asked);
                let started = clock.monotonic();
                let answers = self.means(&series, last_micros, width_micros).await?;
                let took = clock.monotonic() - started;
                ensure!(answers.iter().any(|buckets| !buckets.is_empty()), "nothing was found");
                Ok(took)
            }
        }
    }

    async fn means(&self, series: &[Series], last: i64, width: i64) -> Result<Vec<Vec<Bucket>>> {
        Ok(self.store.engine.buckets_many(series, self.last(last), width).await?)
    }

    /// The last part of the day that begins the readings.
    fn last(&self, micros: i64) -> TimeRange {
        let end = self.from.as_micros() + DAY_MICROS;
        let from = Timestamp::from_micros(end - micros);
        TimeRange { from, to: Timestamp::from_micros(end) }
    }

    fn series(&self, is_asked: impl Fn(&Key) -> bool) -> Vec<Series> {
        let of_device = |(tenant, device): &(TenantId, DeviceId)| {
            let (tenant, device) = (*tenant, *device);
            let keys = self.keys.iter().filter(|key| is_asked(key));
            keys.map(|key| Series { tenant, device, key: key.clone() }).collect::<Vec<_>>()
        };
        self.devices.iter().flat_map(of_device).collect()
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

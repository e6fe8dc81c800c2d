//! What happens in a run: readings arrive, are flushed and merged, the log is cut, the clock jumps,
//! processes end; now and then something fails on the way.

use std::sync::Arc;

use futures::FutureExt;
use veritwin_domain::{DeviceBatch, Quality, Reading, Value};
use veritwin_log::{Entry, LogError};
use veritwin_telemetry::TelemetryError;

use super::disk::{DISK_FAULTS, DiskFault};
use super::objects::{During, STORE_FAULTS};
use super::{Running, World, is_injected};
use crate::support::{DAY, HOUR_MICROS, TODAY, batch, reading};

const KEYS: [&str; 3] = ["temperature", "state", "mixed"];

fn entries(batches: &[DeviceBatch]) -> Vec<Entry> {
    batches.iter().cloned().map(Entry::from).collect()
}

impl World {
    /// One step.
    pub(super) async fn step(&mut self) {
        if self.below(2) == 0 {
            self.objects.land(|| true).await;
        }
        match self.below(100) {
            0..=39 => self.append(None).await,
            40..=51 => {
                let fault = DISK_FAULTS[self.below(6) as usize];
                self.append(Some(fault)).await;
            }
            52..=68 => self.flush().await,
            69..=79 => self.maintain().await,
            80..=84 => {
                let Running { engine, log } = self.running();
                log.truncate_before(engine.persisted_position()).expect("the log may be cut");
            }
            85..=89 => self.move_clock(),
            90..=92 => self.restart(Vec::new()).await,
            93..=96 => self.crash(Vec::new()).await,
            _ => self.check().await,
        }
        let engine = &self.running().engine;
        let status = engine.status();
        self.trace.push((self.next, status.persisted_position, status.manifest));
    }

    /// Readings arrive; the disk may fail while they are written.
    async fn append(&mut self, fault: Option<DiskFault>) {
        let batches = self.batches();
        if let Some(fault) = fault {
            self.disk.plan(fault, self.below(2));
        }
        let answer = self.running().log.append(entries(&batches)).await;
        let is_stopped = self.disk.settle();
        let pending = match answer {
            Ok(range) => {
                assert_eq!((range.first, range.count), (self.next, batches.len() as u64));
                self.committed(batches);
                Vec::new()
            }
            // The disk was full for this one only; nothing of it stays.
            Err(LogError::Full(_)) => return,
            Err(LogError::Poisoned(_)) => batches,
            Err(error) => panic!("{error}"),
        };
        if is_stopped {
            self.crash(pending).await;
        } else if !pending.is_empty() {
            // The process has to start anew, and finds what the failed write left.
            self.restart(pending).await;
        }
    }

    async fn flush(&mut self) {
        self.plan_work();
        let answer = self.running().engine.flush().await;
        self.after_work(answer.map(drop)).await;
    }

    async fn maintain(&mut self) {
        self.setup.advance(self.below(30) as i64 * HOUR_MICROS);
        self.plan_work();
        let answer = self.running().engine.maintain().await;
        self.after_work(answer.map(drop)).await;
    }

    /// What goes wrong, and what arrives, while memory is flushed or sections are merged.
    fn plan_work(&mut self) {
        if self.below(2) == 0 {
            let fault = STORE_FAULTS[self.below(6) as usize];
            self.objects.plan(fault, self.below(9));
        }
        if self.below(3) == 0 {
            self.arriving = self.batches();
            let (log, sent) = (self.running().log.clone(), entries(&self.arriving));
            let told = Arc::clone(&self.answer);
            let during: During = Box::new(move || {
                let append = async move {
                    let answer = log.append(sent).await;
                    *told.lock() = Some(answer);
                };
                append.boxed()
            });
            self.objects.plan_during(self.below(3), during);
        }
    }

    async fn after_work(&mut self, answer: Result<(), TelemetryError>) {
        let is_stopped = self.objects.settle();
        let arrived = std::mem::take(&mut self.arriving);
        let told = self.answer.lock().take();
        if let Some(told) = told {
            let range = told.expect("the disk works");
            assert_eq!(range.first, self.next);
            self.committed(arrived);
        }
        match answer {
            Ok(()) => {}
            // Tried again by the next flush or merge.
            Err(error) if is_stopped || is_injected(&error) => {}
            Err(error) => panic!("{error}"),
        }
        if is_stopped {
            self.crash(Vec::new()).await;
        }
    }

    /// Ahead as time goes, or set by somebody, also back.
    fn move_clock(&self) {
        match self.below(4) {
            0 => self.setup.advance(self.below(50) as i64 * HOUR_MICROS),
            1 => self.setup.clock.jump(self.below(5) as i64 * DAY / 2),
            2 => self.setup.clock.jump(-(self.below(5) as i64) * DAY / 2),
            _ => self.setup.advance(1),
        }
    }

    fn batches(&self) -> Vec<DeviceBatch> {
        (0..=self.below(3)).map(|_| self.batch()).collect()
    }

    fn batch(&self) -> DeviceBatch {
        // A device that had no answer sends the same again.
        if let Some(again) = self.sent.get(self.below(8 * (self.sent.len() as u64 + 1)) as usize) {
            return again.clone();
        }
        let (tenant, device) = (self.below(2) as u8, self.below(2) as u8);
        let readings = if self.below(3) == 0 { self.run() } else { self.scattered() };
        batch(tenant, device, readings)
    }

    /// Evenly spaced readings of two series, as devices mostly send them; some come late.
    fn run(&self) -> Vec<Reading> {
        let start = TODAY - DAY + self.below(96) as i64 * HOUR_MICROS / 2;
        let step = (1 + self.below(5) as i64) * 60_000_000;
        let base = self.below(100) as i64 - 50;
        let count = 10 + self.below(60) as i64;
        let mut readings: Vec<Reading> = (0..count)
            .flat_map(|i| {
                let double = base as f64 + (i % 7) as f64 / 4.0;
                let at = start + i * step;
                [
                    reading(KEYS[0], at, Value::Double(double)),
                    reading(KEYS[2], at, Value::Integer(base - i)),
                ]
            })
            .collect();
        if self.below(3) == 0 {
            let last = readings.len() as u64 - 1;
            for _ in 0..readings.len() / 3 {
                readings.swap(self.below(last) as usize, self.below(last) as usize);
            }
        }
        readings
    }

    fn scattered(&self) -> Vec<Reading> {
        let one = |_| {
            let name = KEYS[self.below(3) as usize];
            let quality = match self.below(10) {
                0 => Quality::Bad,
                1 => Quality::Uncertain,
                _ => Quality::Good,
            };
            Reading { quality, ..reading(name, self.time(), self.value()) }
        };
        (0..=self.below(16)).map(one).collect()
    }

    /// Mostly today; also late, ahead, before 1970 and at the ends of time.
    fn time(&self) -> i64 {
        match self.below(20) {
            0..=10 => TODAY + self.below(48) as i64 * HOUR_MICROS / 2,
            11..=15 => TODAY + (self.below(12) as i64 - 6) * DAY + self.below(40) as i64 * 1000,
            16 => (self.below(10) as i64 - 5) * 7_000_001,
            17 => -400 * 365 * DAY,
            18 => TODAY + 9000 * DAY + 1,
            _ => [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX][self.below(4) as usize],
        }
    }

    fn value(&self) -> Value {
        let number = self.below(800) as i64 - 400;
        match self.below(10) {
            0..=3 => Value::Double(number as f64 / 4.0),
            4..=6 => Value::Integer(number),
            7 => Value::Boolean(number > 0),
            8 => Value::Text(format!("state {}", number.rem_euclid(4)).into()),
            _ => Value::Json(format!("{{\"n\":{}}}", number.rem_euclid(4)).into()),
        }
    }
}

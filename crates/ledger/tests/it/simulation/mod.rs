//! Crash and fault runs from a seed: leaves, payloads, repetitions, two writers started by mistake,
//! retention statements and pruning on a disk that fails, ends the process and forgets. Compared
//! with a model after each opening. `VERITWIN_SEED=N` plays one; `VERITWIN_SIMULATION_SEEDS` says
//! how many there are.

mod disk;
mod model;
mod small;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use veritwin_domain::{Rng, SeededRng};
use veritwin_ledger::{
    Act, Archive, ArchiveConfig, ArchiveLimits, LedgerError, SealedBatch, seal_statement,
};
use veritwin_verify::ShredReason;

use crate::fixture::World;
use disk::{Fault, SimDisk};
use model::Known;

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;
const STEPS: u64 = 24;
/// Leaves that every fourth seed begins with, so that there is a prefix to prune.
const MANY: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct Run {
    directory: PathBuf,
    world: World,
    rng: SeededRng,
    disk: Arc<SimDisk>,
    archive: Option<Archive>,
    logs: Vec<Known>,
    happened: Vec<&'static str>,
}

impl Run {
    fn config(&self) -> ArchiveConfig {
        ArchiveConfig {
            directory: self.directory.clone(),
            keys: self.world.keys("archive"),
            clock: self.world.clock.clone(),
            rng: self.world.rng.clone(),
            // A journal is replaced every few leaves.
            limits: ArchiveLimits { journal_bytes_max: 4096, ..ArchiveLimits::default() },
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }

    fn archive(&self) -> Archive {
        self.archive.clone().unwrap()
    }

    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let disk = Arc::new(SimDisk::new(seed ^ 0x5eed));
        let rng = SeededRng::new(seed ^ 0x0dd);
        let (logs, happened) = (Vec::new(), Vec::new());
        let directory = world.path("archive");
        let mut run = Self { directory, world, rng, disk, archive: None, logs, happened };
        run.open().await;
        for _ in 0..2 {
            let known = Known::create(&run.world, &run.archive()).await;
            run.logs.push(known);
        }
        if seed.is_multiple_of(4) {
            let archive = run.archive();
            run.logs[0].append_many(&archive, MANY).await;
        }
        run
    }

    /// Opens it, if need be in several tries: the disk may fail or end this, too.
    async fn open(&mut self) {
        loop {
            let opened = Archive::open_on(self.config(), self.disk.clone());
            match opened {
                Ok(archive) => {
                    self.archive = Some(archive);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, LedgerError::Io { .. }), "{error}");
                    self.happened.push("opening failed");
                    self.disk.end();
                    self.lose();
                }
            }
        }
        let archive = self.archive();
        for known in &mut self.logs {
            known.adopt(&archive);
        }
    }

    fn lose(&self) {
        self.disk.lose();
        // Nobody closes what a crash ends.
        let mark = self.directory.join("journal/closed");
        if mark.exists() {
            std::fs::remove_file(mark).unwrap();
        }
    }

    /// Ends the process as a crash does.
    async fn crash(&mut self) {
        self.disk.end();
        if let Some(archive) = self.archive.take() {
            // Only its thread is waited for; nothing reaches the disk any more.
            let _ = archive.close().await;
        }
        self.lose();
        self.happened.push("crashed");
        if self.below(4) == 0 {
            let fault = if self.below(2) == 0 { Fault::Ends } else { Fault::Fails };
            self.disk.fault_after(self.below(12), fault);
        }
        self.open().await;
        self.disk.heal();
    }

    /// Ends it in order, also when it stopped writing.
    async fn restart(&mut self) {
        if let Some(archive) = self.archive.take() {
            archive.close().await.unwrap();
        }
        self.happened.push("restarted");
        self.open().await;
    }

    async fn step(&mut self) {
        let archive = self.archive();
        let log = self.below(2) as usize;
        if self.below(3) == 0 {
            let fault = if self.below(3) == 0 { Fault::Fails } else { Fault::Ends };
            self.disk.fault_after(self.below(14), fault);
        }
        let (records, choice) = (1 + self.below(3), self.below(12));
        let done = match choice {
            0..=2 => self.logs[log].append(&archive, records).await,
            3 | 4 => self.logs[log].append_payload(&archive, records).await,
            5 => self.logs[log].append_several(&archive, 2 + records).await,
            6 => self.logs[log].repeat_last(&archive).await,
            7 => {
                self.happened.push("two writers");
                self.logs[log].second_writer(&archive).await
            }
            8 => {
                self.happened.push("a race of two writers");
                self.logs[log].race(&archive).await
            }
            9 => {
                self.happened.push("a second process");
                let second = Archive::open_on(self.config(), self.disk.clone()).map(drop);
                assert!(matches!(second, Err(LedgerError::Locked(_))), "{second:?}");
                Ok(())
            }
            10 => {
                self.happened.push("statement");
                self.logs[log].retention(&archive).await
            }
            _ => {
                self.happened.push("pruned");
                archive.prune(self.logs[log].submitter.log).await.map(drop)
            }
        };
        self.disk.heal();
        self.logs[log].look(&archive);
        drop(archive);
        if done.is_err() {
            self.happened.push("refused by the disk");
        }
        let is_over = done.is_err();
        match self.below(8) {
            0 => self.crash().await,
            1 => self.restart().await,
            _ if is_over && self.below(2) == 0 => self.crash().await,
            _ if is_over => self.restart_or_crash().await,
            _ => {}
        }
    }

    /// What a step that ended the process leaves is a crash; one that failed may be ended in order.
    async fn restart_or_crash(&mut self) {
        let archive = self.archive();
        let mut probe = Vec::new();
        for known in &self.logs {
            probe.push(archive.summary(known.submitter.log).unwrap().size);
        }
        drop(archive);
        self.crash().await;
        for (known, size) in self.logs.iter().zip(probe) {
            assert!(known.entries.len() as u64 >= size, "what was shown is there");
        }
    }

    async fn finish(mut self) -> Vec<&'static str> {
        self.restart().await;
        let archive = self.archive();
        for known in &mut self.logs {
            while archive.prune(known.submitter.log).await.unwrap().is_some() {}
            known.append(&archive, 1).await.unwrap();
            known.check_whole(&archive, &self.directory.join("logs"));
        }
        drop(archive);
        self.restart().await;
        let archive = self.archive();
        for known in &mut self.logs {
            known.check_whole(&archive, &self.directory.join("logs"));
        }
        self.happened
    }
}

async fn play(seed: u64) -> Vec<&'static str> {
    let mut run = Run::new(seed).await;
    for _ in 0..STEPS {
        run.step().await;
    }
    run.finish().await
}

/// Says which seed it was when it fails.
fn play_or_name(seed: u64) -> Vec<&'static str> {
    let run = || runtime().block_on(Box::pin(play(seed)));
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    assert!(played.is_ok(), "replay this with VERITWIN_SEED={seed}");
    played.unwrap_or_default()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn every_seed_keeps_what_was_acknowledged_and_signs_no_fork() {
    let (first, end) = match number("VERITWIN_SEED") {
        Some(seed) => (seed, seed.saturating_add(1)),
        None => (0, number("VERITWIN_SIMULATION_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let seen = Mutex::new(BTreeSet::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end {
                        break;
                    }
                    let of_seed = play_or_name(seed);
                    seen.lock().extend(of_seed);
                }
            });
        }
    });
    if end - first >= SEEDS {
        for what in [
            "crashed",
            "restarted",
            "opening failed",
            "two writers",
            "a race of two writers",
            "a second process",
            "statement",
            "pruned",
            "refused by the disk",
        ] {
            assert!(seen.lock().contains(what), "never happened: {what}");
        }
    }
}

/// A statement that ends everything below an index.
fn statement(known: &Known, minimum_index: u64) -> SealedBatch {
    let act = Act::Retention { minimum_index, reason: ShredReason::PeriodEnded };
    let one = &known.submitter;
    seal_statement(act, one.previous.as_ref(), one.tick(), &one.signer()).unwrap()
}

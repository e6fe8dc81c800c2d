//! The small world: every order of a few acts on one log (leaves, publishing, statements, pruning,
//! and the end of the process at each step of them), with nothing left to chance but which of the
//! forgotten bytes come back.

use super::{Fault, Run, number, runtime};
use crate::fixture::copy_directory;
use crate::simulation::disk::SimDisk;

/// Acts in a row, in an ordinary run and in a long one.
const LENGTH: u32 = 3;
const LENGTH_LONG: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Append,
    AppendPayload,
    /// The process ends as the journal is written, or as it is synced.
    AppendEnds(u64),
    SecondWriter,
    Statement,
    Prune,
    /// The process ends after so many steps of pruning.
    PruneEnds(u64),
    Crash,
    Restart,
}

const ACTS: [Act; 10] = [
    Act::Append,
    Act::AppendPayload,
    Act::AppendEnds(0),
    Act::AppendEnds(1),
    Act::SecondWriter,
    Act::Statement,
    Act::Prune,
    Act::PruneEnds(1),
    Act::Crash,
    Act::Restart,
];

impl Run {
    async fn act(&mut self, act: Act) {
        let archive = self.archive();
        match act {
            Act::AppendEnds(steps) | Act::PruneEnds(steps) => {
                self.disk.fault_after(steps, Fault::Ends);
            }
            _ => {}
        }
        let log = &mut self.logs[0];
        let done = match act {
            Act::Append | Act::AppendEnds(_) => log.append(&archive, 1).await,
            Act::AppendPayload => log.append_payload(&archive, 1).await,
            Act::SecondWriter => log.second_writer(&archive).await,
            Act::Statement => log.retention(&archive).await,
            Act::Prune | Act::PruneEnds(_) => archive.prune(log.submitter.log).await.map(drop),
            Act::Crash | Act::Restart => Ok(()),
        };
        log.look(&archive);
        self.disk.heal();
        drop(archive);
        match act {
            Act::Restart => self.restart().await,
            _ if act == Act::Crash || done.is_err() => self.crash_calmly().await,
            _ => {}
        }
    }

    /// A crash behind which nothing fails.
    async fn crash_calmly(&mut self) {
        self.disk.end();
        if let Some(archive) = self.archive.take() {
            let _ = archive.close().await;
        }
        self.lose();
        self.open().await;
    }
}

async fn every_order(length: u32) {
    let mut run = Run::new(4).await;
    run.restart().await;
    if let Some(archive) = run.archive.take() {
        archive.close().await.unwrap();
    }
    let base = run.directory.clone();
    let mark = run.logs[0].mark();
    let orders = (ACTS.len() as u64).pow(length);
    for order in 0..orders {
        run.directory = run.world.path(&format!("order-{order}"));
        copy_directory(&base, &run.directory);
        run.disk = std::sync::Arc::new(SimDisk::new(order));
        run.logs[0].reset(&mark);
        run.open().await;
        let mut rest = order;
        for _ in 0..length {
            let act = ACTS[(rest % ACTS.len() as u64) as usize];
            rest /= ACTS.len() as u64;
            run.act(act).await;
        }
        let archive = run.archive();
        while archive.prune(run.logs[0].submitter.log).await.unwrap().is_some() {}
        run.logs[0].check_whole(&archive, &run.directory.join("logs"));
        drop(archive);
        if let Some(archive) = run.archive.take() {
            archive.close().await.unwrap();
        }
        std::fs::remove_dir_all(&run.directory).unwrap();
    }
}

#[test]
fn every_order_of_a_few_acts_keeps_the_log() {
    let is_long = number("VERITWIN_SIMULATION_SEEDS").is_some();
    let length = if is_long { LENGTH_LONG } else { LENGTH };
    runtime().block_on(Box::pin(every_order(length)));
}

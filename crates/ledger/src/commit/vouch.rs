//! Signatures of leaves that are written together. A leaf's signature covers the hash of the leaf
//! before it: the last one of a log vouches for all of them, as a change of the submitter's key is
//! verified before it gets here. Where it does not hold, every leaf of that log is verified by
//! itself, now and from now on.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use veritwin_domain::LogId;
use veritwin_verify::Leaf;

use super::{Committer, Group, Ready, Request};
use crate::LedgerError;

/// Signatures that one thread verifies at least: fewer are not worth another thread.
const OF_A_THREAD_MIN: usize = 16;

/// The last leaf of one log in a group.
struct Last<'a> {
    log: LogId,
    origin: String,
    leaf: &'a Leaf,
}

impl Committer {
    /// The group without leaves that nobody vouches for; those are refused here.
    pub(super) fn vouched(&self, group: Group) -> Group {
        let doubtful = self.doubtful(&group);
        if doubtful.is_empty() { group } else { self.one_by_one(group, &doubtful) }
    }

    /// The logs whose last leaf in this group does not hold.
    fn doubtful(&self, group: &Group) -> HashSet<LogId> {
        let mut last: HashMap<LogId, &Ready> = HashMap::new();
        for (ready, _, _) in &group.appends {
            last.insert(ready.log, ready);
        }
        let unverified = last.into_values().filter(|ready| !ready.is_verified);
        let with_origin = unverified.filter_map(|ready| {
            let origin = self.shared.log(ready.log).ok()?.lock().origin.clone();
            Some(Last { log: ready.log, origin, leaf: &ready.leaf })
        });
        failed(&with_origin.collect::<Vec<_>>())
    }

    /// Puts a group together anew, with each leaf of these logs verified by itself.
    fn one_by_one(&self, group: Group, doubtful: &HashSet<LogId>) -> Group {
        // Payloads that are synced and then not named by a leaf do no harm.
        let mut again = Group { payloads: group.payloads, ..Group::default() };
        for (log, reply) in group.creates {
            self.stage(Request::Create(Box::new(log), reply), &mut again);
        }
        for (log, pruned, reply) in group.pruned {
            self.stage(Request::Pruned(log, pruned, reply), &mut again);
        }
        for id in doubtful {
            if let Ok(log) = self.shared.log(*id) {
                log.lock().checks_each = true;
            }
        }
        for (mut ready, _, reply) in group.appends {
            if doubtful.contains(&ready.log) && !ready.is_verified {
                if let Err(error) = self.verify(&ready) {
                    let _ = reply.send(Err(error));
                    continue;
                }
                ready.is_verified = true;
            }
            self.stage(Request::Append(Box::new(ready), reply), &mut again);
        }
        for (log, index, reply) in group.repeats {
            // A repetition of what is durable stays one; that of a leaf of this group may be of one
            // that was refused just now.
            let durable = self.shared.log(log).map_or(0, |log| log.lock().head.size());
            if index < durable || !doubtful.contains(&log) {
                again.repeats.push((log, index, reply));
            } else {
                let refused = "the leaf that it repeats was sent with others and may be refused";
                let _ = reply.send(Err(LedgerError::Unavailable(refused.to_owned())));
            }
        }
        again
    }

    fn verify(&self, ready: &Ready) -> Result<(), LedgerError> {
        let origin = self.shared.log(ready.log)?.lock().origin.clone();
        ready.leaf.verify_signature(&origin).map_err(LedgerError::invalid)
    }
}

/// Those that do not hold, verified on every core where they are many.
fn failed(all: &[Last<'_>]) -> HashSet<LogId> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let part = all.len().div_ceil(cores).max(OF_A_THREAD_MIN);
    if all.len() <= part {
        return failed_of(all);
    }
    std::thread::scope(|scope| {
        let spawn = |part| (part, scope.spawn(move || failed_of(part)));
        let threads: Vec<_> = all.chunks(part).map(spawn).collect();
        let mut found = HashSet::new();
        for (part, thread) in threads {
            // What a thread did not get to is taken for refused, and looked at one by one.
            found.extend(thread.join().unwrap_or_else(|_| logs_of(part.iter())));
        }
        found
    })
}

fn failed_of(part: &[Last<'_>]) -> HashSet<LogId> {
    logs_of(part.iter().filter(|one| one.leaf.verify_signature(&one.origin).is_err()))
}

fn logs_of<'a, 'b: 'a>(some: impl Iterator<Item = &'a Last<'b>>) -> HashSet<LogId> {
    some.map(|one| one.log).collect()
}

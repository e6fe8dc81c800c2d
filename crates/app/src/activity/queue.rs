//! The queue of one tenant's records that wait to be written: bounded, and what it cannot take is
//! counted as a gap.

use std::collections::{HashMap, VecDeque};

use veritwin_domain::{Origin, Timestamp};
use veritwin_metastore::Activity;

use super::Envelope;

/// Most records of one tenant that wait to be written.
const WAITING_MAX: usize = 1024;

/// What makes a read the same as one before.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) actor: String,
    pub(super) action: &'static str,
    pub(super) resource: String,
    pub(super) outcome: &'static str,
    pub(super) origin: Origin,
}

/// A read that may repeat.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) since: Timestamp,
    pub(super) last: Timestamp,
    pub(super) repeats: u64,
    pub(super) record: Activity,
    pub(super) envelope: Envelope,
}

/// Records that were not taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) count: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Activity>,
    pub(super) seen: HashMap<Slot, Seen>,
    pub(super) gap: Option<Gap>,
}

impl Queue {
    /// Whether the queue is now long enough to be written at once.
    pub(super) fn push(&mut self, record: Activity) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            self.miss(record.at, 1);
        } else {
            self.waiting.push_back(record);
        }
        self.waiting.len() >= WAITING_MAX / 2
    }

    pub(super) fn miss(&mut self, at: Timestamp, count: u64) {
        metrics::counter!("veritwin_activity_gaps_total").increment(count);
        let gap = self.gap.get_or_insert(Gap { count: 0, from: at, to: at });
        gap.count += count;
        gap.from = gap.from.min(at);
        gap.to = gap.to.max(at);
    }

    /// Puts back what could not be written, oldest first; what has no room is a gap.
    pub(super) fn put_back(&mut self, records: Vec<Activity>) {
        for record in records.into_iter().rev() {
            if self.waiting.len() >= WAITING_MAX {
                self.miss(record.at, 1);
            } else {
                self.waiting.push_front(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::{ActivityId, SeededRng};

    fn record(at: i64) -> Activity {
        let at = Timestamp::from_micros(at);
        Activity {
            id: ActivityId::generate(at, &SeededRng::new(1)),
            at,
            actor: None,
            action: "device.read".to_owned(),
            outcome: "done".to_owned(),
            envelope: Vec::new(),
            details: None,
        }
    }

    #[test]
    fn a_full_queue_counts_what_it_cannot_take() {
        let mut queue = Queue::default();
        for at in 0..WAITING_MAX {
            assert_eq!(queue.push(record(at as i64)), at + 1 >= WAITING_MAX / 2);
        }
        assert!(queue.gap.is_none());
        queue.push(record(7000));
        queue.push(record(9000));
        let gap = queue.gap.expect("a gap");
        assert_eq!((gap.count, gap.from.as_micros(), gap.to.as_micros()), (2, 7000, 9000));
    }

    #[test]
    fn what_could_not_be_written_comes_first_again() {
        let mut queue = Queue::default();
        queue.push(record(3));
        queue.put_back(vec![record(1), record(2)]);
        let order: Vec<i64> = queue.waiting.iter().map(|one| one.at.as_micros()).collect();
        assert_eq!(order, [1, 2, 3]);
        let many = (0..WAITING_MAX).map(|at| record(at as i64)).collect();
        queue.put_back(many);
        assert_eq!(queue.waiting.len(), WAITING_MAX);
        assert_eq!(queue.gap.expect("a gap").count, 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_one_tenant_loses_is_told_and_costs_another_nothing() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = crate::promises::tests::platform(root.path()).await;
        let operator = app.local_operator();
        let mut tenants = Vec::new();
        for name in ["loud", "quiet"] {
            tenants.push(app.create_tenant(&operator, name, false).await.expect("a tenant").id);
        }
        let contexts: Vec<_> = tenants.iter().map(|id| app.local_operator_in(*id)).collect();
        for number in 0..WAITING_MAX + 10 {
            app.note_missing(&contexts[0], "GET", &format!("/v1/devices/{number}"));
        }
        app.note_missing(&contexts[1], "GET", "/v1/devices/x");
        let count = async |index: usize, action: &str| {
            let action = Some(action.to_owned());
            let filter = veritwin_metastore::ActivityFilter { action, ..Default::default() };
            app.activity_ids(&contexts[index], &filter).await.expect("records").len()
        };
        assert_eq!(count(0, super::super::GAP).await, 1);
        assert_eq!(count(1, super::super::GAP).await, 0);
        assert_eq!(count(1, super::super::MISSING).await, 1);
        // A page of the store holds at most as many.
        assert_eq!(count(0, super::super::MISSING).await, 1000);
        app.close().await;
    }
}

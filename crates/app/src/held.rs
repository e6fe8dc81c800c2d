//! Tenants that a job cannot serve for now: how far each was served, why it is held, and when it
//! is tried again. The others go on; the log keeps what a held tenant has not had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use veritwin_domain::{Clock, TenantId, Timestamp};
use veritwin_log::{Committed, Consumer, LogError};

use crate::Error;

const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Tenants tried again in one go, so that many of them do not keep the others waiting.
const TRIED_AT_ONCE_MAX: usize = 16;

/// One held tenant.
#[derive(Debug, Clone)]
pub(crate) struct HeldTenant {
    pub(crate) since: Timestamp,
    /// In words, without anything of the tenant's.
    pub(crate) reason: String,
    /// Everything of the tenant before this position of the log has had its effect.
    pub(crate) position: u64,
    tries: u32,
    /// On the monotonic clock.
    retry_at: Duration,
    /// At no try was anything else in the way than the tenant's own key, which is revoked or out
    /// of reach.
    pub(crate) is_by_key: bool,
}

/// The held tenants of one job.
#[derive(Debug, Default)]
pub(crate) struct HeldTenants {
    held: Mutex<BTreeMap<TenantId, HeldTenant>>,
    /// Everything of the others before this position of the log has had its effect, which lasts.
    front: AtomicU64,
}

/// From where on the log is needed: by everybody, but for the tenants named; each of those needs it
/// from a position of its own on.
pub(crate) type LogNeeds = (u64, Vec<(TenantId, u64)>);

/// What a consumer of the log answers.
pub(crate) type Batch = Result<Option<Arc<Committed>>, LogError>;

/// The second reader of the log, on which held tenants come back. It reads in a task of its own:
/// on a busy platform the others' batches would cut off every read of a file.
pub(crate) struct Lane {
    position: u64,
    batches: mpsc::Receiver<Batch>,
}

impl Lane {
    pub(crate) fn start(mut consumer: Consumer, tasks: &TaskTracker) -> Self {
        let position = consumer.position();
        let (sender, batches) = mpsc::channel(1);
        tasks.spawn(async move {
            loop {
                let batch = tokio::select! {
                    () = sender.closed() => return,
                    batch = consumer.next() => batch,
                };
                let is_last = !matches!(batch, Ok(Some(_)));
                if sender.send(batch).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self { position, batches }
    }

    /// The position of the next entry that it hands out.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }
}

/// The next batch of the lane; waits for ever without one. May be cancelled.
pub(crate) async fn next_of(lane: &mut Option<Lane>) -> Batch {
    let Some(lane) = lane else { return std::future::pending().await };
    let Some(batch) = lane.batches.recv().await else { return Ok(None) };
    if let Ok(Some(batch)) = &batch {
        lane.position = batch.end();
    }
    batch
}

/// Whether it is a tenant's own key that is revoked, out of reach or destroyed.
pub(crate) const fn is_key_withheld(error: &Error) -> bool {
    matches!(error, Error::KeyRevoked | Error::KeySilent | Error::KeyDestroyed(_))
}

/// Why an entry of the log cannot be read for now.
pub(crate) fn key_withdrawn() -> Error {
    Error::KeyRevoked
}

fn reason(error: &Error) -> String {
    match error {
        Error::KeyRevoked => "the key of this data is revoked or out of reach".to_owned(),
        // Whoever holds a tenant logs why.
        other => other.told_again(),
    }
}

fn wait(tries: u32) -> Duration {
    RETRY_MIN.saturating_mul(2u32.saturating_pow(tries)).min(RETRY_MAX)
}

impl HeldTenants {
    /// Holds a tenant, or holds it on after another try that failed.
    pub(crate) fn hold(
        &self,
        job: &'static str,
        tenant: TenantId,
        position: u64,
        error: &Error,
        clock: &dyn Clock,
    ) {
        let mut held = self.held.lock();
        let known = held.remove(&tenant);
        match &known {
            None => tracing::warn!(job, %tenant, %error, "a tenant is held up; the others go on"),
            Some(_) => tracing::debug!(job, %tenant, %error, "a tenant stays held up"),
        }
        let tries = known.as_ref().map_or(0, |known| known.tries.saturating_add(1));
        let again = HeldTenant {
            since: known.as_ref().map_or(clock.now(), |known| known.since),
            reason: reason(error),
            position: known.as_ref().map_or(position, |known| known.position.max(position)),
            tries,
            retry_at: clock.monotonic().saturating_add(wait(tries)),
            is_by_key: is_key_withheld(error) && known.as_ref().is_none_or(|known| known.is_by_key),
        };
        held.insert(tenant, again);
    }

    /// The tenant is served again, or needs it no more.
    pub(crate) fn release(&self, job: &'static str, tenant: TenantId) {
        let mut held = self.held.lock();
        if let Some(one) = held.remove(&tenant) {
            // What it had on its way back is not written yet: until that is noted, the others'
            // place is not its own.
            self.front.fetch_min(one.position, Ordering::AcqRel);
            tracing::info!(job, %tenant, "a tenant is no longer held up");
        }
    }

    /// From where on the log is needed.
    pub(crate) fn log_needs(&self) -> LogNeeds {
        // Whoever is released takes the front back under this lock.
        let held = self.held.lock();
        let own = held.iter().map(|(tenant, one)| (*tenant, one.position)).collect();
        (self.front.load(Ordering::Acquire), own)
    }

    /// Tenants whose next try is due, longest waiting first, with their positions; a bounded
    /// number.
    pub(crate) fn due(&self, now: Duration) -> Vec<(TenantId, u64)> {
        let held = self.held.lock();
        let mut due: Vec<_> = held.iter().filter(|(_, one)| one.retry_at <= now).collect();
        due.sort_by_key(|(_, one)| one.retry_at);
        due.into_iter()
            .take(TRIED_AT_ONCE_MAX)
            .map(|(tenant, one)| (*tenant, one.position))
            .collect()
    }

    pub(crate) fn of(&self, tenant: TenantId) -> Option<HeldTenant> {
        self.held.lock().get(&tenant).cloned()
    }

    pub(crate) fn position(&self, tenant: TenantId) -> Option<u64> {
        self.held.lock().get(&tenant).map(|one| one.position)
    }

    /// How far those are that are not held.
    pub(crate) fn note_front(&self, position: u64) {
        self.front.store(position, Ordering::Release);
    }

    /// Everything of a tenant before this position of the log has had its effect, whoever else is
    /// held.
    pub(crate) fn position_of(&self, tenant: TenantId) -> u64 {
        // The front first: whoever is held was so before it moved on.
        let front = self.front.load(Ordering::Acquire);
        self.position(tenant).map_or(front, |held| held.min(front))
    }

    /// The position that the log has to keep for them.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.held.lock().values().map(|one| one.position).min()
    }

    pub(crate) fn contains(&self, tenant: TenantId) -> bool {
        self.held.lock().contains_key(&tenant)
    }

    pub(crate) fn count(&self) -> usize {
        self.held.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<(TenantId, HeldTenant)> {
        self.held.lock().iter().map(|(tenant, one)| (*tenant, one.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::ManualClock;

    use super::*;

    #[test]
    fn tries_come_less_often_up_to_a_bound_and_keep_the_place() {
        let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
        let (held, tenant) = (HeldTenants::default(), TenantId::from_bytes([1; 16]));
        let error = Error::Conflict("ledger archive: another writer".to_owned());
        for wait_s in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            held.hold("test", tenant, 7, &error, &clock);
            assert!(held.due(clock.monotonic()).is_empty());
            clock.advance(Duration::from_secs(wait_s));
            assert_eq!(held.due(clock.monotonic()), [(tenant, 7)], "after {wait_s} s");
        }
        held.hold("test", tenant, 5, &error, &clock);
        assert_eq!((held.lowest(), held.count()), (Some(7), 1));
        assert!(held.all()[0].1.reason.contains("another writer"));
        held.release("test", tenant);
        assert_eq!((held.lowest(), held.contains(tenant)), (None, false));
    }

    #[test]
    fn a_held_tenant_holds_up_no_other() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let (bad, good) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let held = HeldTenants::default();
        held.hold("test", bad, 3, &Error::KeyRevoked, &clock);
        held.note_front(9);
        assert_eq!((held.position_of(bad), held.position_of(good), held.lowest()), (3, 9, Some(3)));
        assert_eq!(held.log_needs(), (9, vec![(bad, 3)]));
        held.release("test", bad);
        assert_eq!(held.log_needs(), (3, Vec::new()), "what it has had since is not written");
        held.note_front(9);
        assert_eq!(held.position_of(bad), 9);
    }

    #[test]
    fn who_was_held_for_anything_else_is_not_held_by_the_key() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let (held, tenant) = (HeldTenants::default(), TenantId::from_bytes([1; 16]));
        let check = |error: Error, expect: bool| {
            held.hold("test", tenant, 3, &error, &clock);
            assert_eq!(held.of(tenant).expect("held").is_by_key, expect, "{error}");
        };
        check(key_withdrawn(), true);
        check(Error::KeySilent, true);
        check(Error::Conflict("another history".to_owned()), false);
        // A customer that revokes its keys then does not hide what was found.
        check(Error::KeyRevoked, false);
        held.release("test", tenant);
        check(Error::KeyRevoked, true);
    }

    #[test]
    fn a_try_of_many_is_bounded() {
        let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
        let held = HeldTenants::default();
        for number in 0..100u8 {
            let error = Error::NotFound("key");
            held.hold("test", TenantId::from_bytes([number; 16]), 0, &error, &clock);
        }
        clock.advance(RETRY_MAX);
        assert_eq!(held.due(clock.monotonic()).len(), TRIED_AT_ONCE_MAX);
    }
}

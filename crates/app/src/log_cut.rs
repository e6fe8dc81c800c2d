//! Cutting the log where every consumer has had it, thinning it to what tenants need that are held
//! up, and saying clearly when it waits for a consumer and grows.

use std::collections::BTreeMap;
use std::time::Duration;

use veritwin_domain::{TenantId, Timestamp};
use veritwin_keys::{DataClass, DayKey, DekId, DestructionMethod};

use crate::App;
use crate::held::LogNeeds;

/// Days that keys of cut log files are kept where the log is shipped: as long as a copy of the
/// keyring counts.
const HORIZON_DAYS: i64 = 7;

/// A log that waits this long for a consumer is an alarm.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// The alarm is repeated this often.
const ALARM_INTERVAL: Duration = Duration::from_secs(600);

/// Since when the log could be cut further if it were not for one consumer.
#[derive(Debug, Default)]
pub(crate) struct LogCut {
    waits_since: Option<Duration>,
    alarmed_at: Option<Duration>,
    /// What was in segments when it last did not wait.
    target: u64,
}

impl LogCut {
    /// Takes note of how far the other consumers are, and the segments.
    fn note_front(&mut self, others: u64, segments: u64, now: Duration) -> Option<Duration> {
        let waits = others < self.target;
        let waited = self.note(waits, now);
        if !waits {
            self.target = segments;
        }
        waited
    }

    /// Takes note of whether the log waits at `now`; answers how long it has waited when that is
    /// to be said.
    fn note(&mut self, waits: bool, now: Duration) -> Option<Duration> {
        if !waits {
            *self = Self::default();
            return None;
        }
        let waited = now.saturating_sub(*self.waits_since.get_or_insert(now));
        let is_said = self.alarmed_at.is_some_and(|at| now.saturating_sub(at) < ALARM_INTERVAL);
        if waited < WAIT_MAX || is_said {
            return None;
        }
        self.alarmed_at = Some(now);
        Some(waited)
    }
}

/// What is needed of the log: all of it behind the slowest consumer, and before that what tenants
/// need that are held up, each from a position of its own on.
#[derive(Debug)]
struct Needs {
    consumer: &'static str,
    /// How far the slowest is, but for segments.
    others: u64,
    front: u64,
    own: BTreeMap<TenantId, u64>,
}

impl Needs {
    fn new() -> Self {
        let (others, front) = (u64::MAX, u64::MAX);
        Self { consumer: "segments", others, front, own: BTreeMap::new() }
    }

    fn add(&mut self, consumer: &'static str, (front, own): LogNeeds) {
        if front < self.others {
            (self.consumer, self.others) = (consumer, front);
        }
        self.add_segments((front, own));
    }

    /// Readings wait in memory for their turn: that is no reason for an alarm.
    fn add_segments(&mut self, (front, own): LogNeeds) {
        self.front = self.front.min(front);
        for (tenant, position) in own {
            let known = self.own.entry(tenant).or_insert(position);
            *known = position.min(*known);
        }
    }

    /// Batches of edges are open: whoever is held up needs them for itself.
    fn add_edges(&mut self, open: &[(TenantId, u64)]) {
        for (tenant, position) in open {
            match self.own.get_mut(tenant) {
                Some(known) => *known = (*known).min(*position),
                None => self.add("edges", (*position, Vec::new())),
            }
        }
    }
}

impl App {
    /// How far each consumer is, by name.
    pub(crate) fn consumer_positions(&self) -> [(&'static str, u64); 8] {
        [
            ("segments", self.0.engine.persisted_position()),
            ("alerts", self.0.alerts.saved_position()),
            ("routes", self.0.routes.saved_position()),
            ("ledger", self.sealed_position()),
            ("sessions", self.sessions_position()),
            ("records", self.0.jobs.effects.saved_position()),
            ("shipping", self.shipped_position()),
            ("usage", self.0.upkeep.meter.saved_position()),
        ]
    }

    /// How far each consumer of what entries say is with a tenant, by name, whoever else is held
    /// up; but the segments.
    pub(crate) fn consumer_positions_of(&self, tenant: TenantId) -> [(&'static str, u64); 5] {
        let jobs = &self.0.jobs;
        [
            ("alerts", jobs.alerts_held.position_of(tenant)),
            ("routes", jobs.routes_held.position_of(tenant)),
            ("ledger", jobs.ledger_held.position_of(tenant)),
            ("sessions", self.sessions_position()),
            ("records", jobs.effects.position_of(tenant, self.0.log.tail_position())),
        ]
    }

    /// Cuts the log where every consumer has had it; whether that went well.
    pub(crate) async fn cut_log(&self, cut: &mut LogCut) -> bool {
        let backup = &self.0.upkeep.backup;
        let _cutting = backup.cutting.lock().await;
        if backup.is_on() {
            return true;
        }
        let positions = self.consumer_positions();
        let mut needs = self.log_needs();
        // Asked after the others: what an edge begins meanwhile is behind them.
        let edges = match self.edges_open(None).await {
            Ok(edges) => edges,
            Err(error) => {
                tracing::debug!(%error, "the log is not cut: how far edges need it is not known");
                return false;
            }
        };
        needs.add_edges(&edges);
        let positions = positions.into_iter().map(|(_, position)| position);
        let position = positions.chain(edges.into_iter().map(|(_, position)| position)).min();
        let Some(position) = position else { return true };
        let ((segments, _), now) = (self.0.engine.log_needs(), self.clock().monotonic());
        if let Some(waited) = cut.note_front(needs.others, segments, now) {
            let jobs = &self.0.jobs;
            tracing::error!(
                consumer = needs.consumer,
                waits_s = waited.as_secs(),
                log_bytes = self.0.log.size_bytes(),
                held_by_alerts = jobs.alerts_held.count(),
                held_by_routes = jobs.routes_held.count(),
                held_by_ledger = jobs.ledger_held.count(),
                behind_in_records = jobs.effects.behind(),
                "the log cannot be cut and grows: a full disk stops writing; see `veritwin doctor`"
            );
        }
        let log = self.0.log.clone();
        let keys = self.0.keys.clone();
        // A restore opens the shipped parts by them: see `expire_log_keys`.
        let keeps_keys = self.0.config.shipping.is_some();
        let done = tokio::task::spawn_blocking(move || {
            let mut unused = log.truncate_before(position)?.deks_unused;
            // Also with nobody held up: a file of whoever was is cut behind the others'.
            let thinned = log.thin_before(needs.front, &needs.own);
            if let Ok(thinned) = &thinned {
                unused.extend(&thinned.deks_unused);
            }
            // Some may be destroyed already, on purpose.
            let unused = keys.live(&unused);
            if !keeps_keys
                && !unused.is_empty()
                && let Err(error) = keys.destroy(&unused, DestructionMethod::KeyDestroyed)
            {
                tracing::warn!(%error, "keys of cut log files were not destroyed");
            }
            thinned
        });
        match done.await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => tracing::warn!(%error, "the log was not cut"),
            Err(_) => tracing::warn!("the log was not cut: the task stopped"),
        }
        false
    }

    /// From where on everybody needs the log, and from where on those do that are held up.
    fn log_needs(&self) -> Needs {
        let jobs = &self.0.jobs;
        let mut needs = Needs::new();
        needs.add("alerts", jobs.alerts_held.log_needs());
        needs.add("routes", jobs.routes_held.log_needs());
        needs.add("ledger", jobs.ledger_held.log_needs());
        needs.add("records", jobs.effects.log_needs(&self.0.log));
        for (consumer, position) in [
            ("sessions", self.sessions_position()),
            ("shipping", self.shipped_position()),
            ("usage", self.0.upkeep.meter.saved_position()),
        ] {
            needs.add(consumer, (position, Vec::new()));
        }
        needs.add_segments(self.0.engine.log_needs());
        needs
    }

    /// Destroys the keys of cut log files that were kept for a restore, or left by a stop, and are
    /// past their time at a trusted moment: as long as a copy of the keyring counts, and never
    /// longer than the tenant's readings are kept. A tenant whose key service is silent keeps its
    /// own: no new ones can be made, and what it sends is sealed to the newest of them.
    pub(crate) async fn expire_log_keys(&self, now: Timestamp) {
        let kept = self.0.config.shipping.is_some().then_some(HORIZON_DAYS);
        let (written, used) = self.0.log.keys_in_use();
        let is_past = |key: &DayKey| {
            if self.0.keys.silent_since(key.tenant).is_some() {
                return false;
            }
            let days = || kept.map_or(0, |days| days.min(self.readings_days(key.tenant)));
            key.day < written && !used.contains(&key.dek) && key.day + days() < now.day()
        };
        let past = self.0.keys.day_keys(DataClass::Log).into_iter().filter(is_past);
        let past: Vec<DekId> = past.map(|key| key.dek).collect();
        if past.is_empty() {
            return;
        }
        let keys = self.0.keys.clone();
        // The keyring is written anew.
        let done = crate::backup::blocking(move || {
            keys.destroy(&past, DestructionMethod::KeyDestroyed)?;
            Ok(())
        });
        if let Err(error) = done.await {
            // A cut may have destroyed some of them at the same time.
            tracing::warn!(%error, "keys of cut log files were not destroyed; trying again");
        }
    }

    fn readings_days(&self, tenant: TenantId) -> i64 {
        let days = self.plan_limits(tenant).retention_days;
        days.map_or(i64::MAX, |days| i64::try_from(days).unwrap_or(i64::MAX))
    }

    /// Sets the gauges about the log.
    pub(crate) fn record_log_gauges(&self) {
        let (log, tail) = (&self.0.log, self.0.log.tail_position());
        metrics::gauge!("veritwin_log_tail_position").set(tail as f64);
        metrics::gauge!("veritwin_log_first_position").set(log.first_position() as f64);
        metrics::gauge!("veritwin_log_bytes").set(log.size_bytes() as f64);
        metrics::gauge!("veritwin_log_kept_bytes").set(log.kept_bytes() as f64);
        let is_full = f64::from(u8::from(log.full().is_some()));
        metrics::gauge!("veritwin_log_disk_full").set(is_full);
        for (consumer, position) in self.consumer_positions() {
            let lag = tail.saturating_sub(position) as f64;
            metrics::gauge!("veritwin_log_waits_entries", "consumer" => consumer).set(lag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_keys_are_kept_as_long_as_a_copy_of_the_keyring_counts() {
        let horizon = crate::KEYRING_HORIZON.as_secs() / 86_400;
        assert_eq!(u64::try_from(HORIZON_DAYS), Ok(horizon));
    }

    #[test]
    fn whoever_is_held_up_needs_the_log_for_itself() {
        let (away, other) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let mut needs = Needs::new();
        needs.add("alerts", (90, vec![(away, 7)]));
        needs.add("ledger", (80, vec![(away, 4)]));
        needs.add_segments((85, vec![(away, 5)]));
        assert_eq!((needs.consumer, needs.others, needs.front), ("ledger", 80, 80));
        assert_eq!(needs.own, BTreeMap::from([(away, 4)]));
        needs.add_edges(&[(away, 2), (other, 81)]);
        assert_eq!((needs.consumer, needs.front), ("ledger", 80));
        assert_eq!(needs.own, BTreeMap::from([(away, 2)]));
        needs.add_edges(&[(other, 79)]);
        assert_eq!((needs.consumer, needs.front), ("edges", 79));
        needs.add_segments((70, Vec::new()));
        assert_eq!((needs.others, needs.front), (79, 70), "no alarm, and nothing goes");
    }

    #[test]
    fn the_log_waits_for_whoever_does_not_get_where_segments_were() {
        let mut cut = LogCut::default();
        let mut check = |(others, segments): (u64, u64), at: u64, said: bool| {
            let waited = cut.note_front(others, segments, Duration::from_secs(at));
            assert_eq!(waited.is_some(), said, "at {at}");
        };
        // Behind the segments of now, and never behind those of before.
        for at in 0..100 {
            check((at * 10, at * 10 + 10), at * 10, false);
        }
        check((990, 2000), 1000, false);
        check((990, 3000), 1599, false);
        check((990, 3000), 1600, true);
        check((1000, 4000), 1610, false);
    }

    #[test]
    fn a_log_that_waits_is_said_again_and_again_until_it_does_not() {
        let mut cut = LogCut::default();
        let mut check = |waits: bool, at: u64, said: Option<u64>| {
            let said = said.map(Duration::from_secs);
            assert_eq!(cut.note(waits, Duration::from_secs(at)), said, "at {at}");
        };
        check(true, 100, None);
        check(true, 699, None);
        check(true, 700, Some(600));
        check(true, 701, None);
        check(true, 1300, Some(1200));
        check(false, 1310, None);
        check(true, 2000, None);
        check(true, 2599, None);
        check(true, 2600, Some(600));
    }
}

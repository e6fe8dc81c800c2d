//! Cutting the log where every consumer has had it, and saying clearly when it cannot be cut: it
//! waits for its slowest consumer, and a tenant that stays held up makes it grow.

use std::time::Duration;

use veritwin_domain::{TenantId, Timestamp};
use veritwin_keys::{DataClass, DayKey, DekId, DestructionMethod};

use crate::App;

/// Days that keys of cut log files are kept where the log is shipped: as long as a copy of the
/// keyring counts.
const HORIZON_DAYS: i64 = 7;

/// A log that waits this long for alerts or ledger is an alarm.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// The alarm is repeated this often.
const ALARM_INTERVAL: Duration = Duration::from_secs(600);

/// Since when the log could be cut further if it were not for one consumer.
#[derive(Debug, Default)]
pub(crate) struct LogCut {
    waits_since: Option<Duration>,
    alarmed_at: Option<Duration>,
}

impl LogCut {
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
        if self.0.upkeep.backup.is_on() {
            return true;
        }
        let positions = self.consumer_positions();
        // Asked after the others: what an edge begins meanwhile is behind them.
        let edges = match self.edges_position(None).await {
            Ok(edges) => edges,
            Err(error) => {
                tracing::debug!(%error, "the log is not cut: how far edges need it is not known");
                return false;
            }
        };
        let positions = positions.into_iter().chain([("edges", edges)]);
        let slowest = positions.min_by_key(|(_, position)| *position);
        let Some((consumer, position)) = slowest else { return true };
        let segments = self.0.engine.persisted_position();
        if let Some(waited) = cut.note(position < segments, self.clock().monotonic()) {
            let jobs = &self.0.jobs;
            tracing::error!(
                consumer,
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
            let truncation = log.truncate_before(position)?;
            // Some may be destroyed already, on purpose.
            let unused = keys.live(&truncation.deks_unused);
            if !keeps_keys
                && !unused.is_empty()
                && let Err(error) = keys.destroy(&unused, DestructionMethod::KeyDestroyed)
            {
                tracing::warn!(%error, "keys of cut log files were not destroyed");
            }
            Ok::<_, veritwin_log::LogError>(truncation.files_deleted)
        });
        match done.await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => tracing::warn!(%error, "the log was not cut"),
            Err(_) => tracing::warn!("the log was not cut: the task stopped"),
        }
        false
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

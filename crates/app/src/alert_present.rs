//! What stands when a rule begins to watch: the newest readings that are known, asked once for
//! each series that the evaluator names. It refuses nothing; what cannot be read is left to the
//! next reading.

use std::collections::BTreeMap;
use std::time::Duration;

use veritwin_alerting::{LATE_AFTER_SECONDS, Present, SeriesId};
use veritwin_domain::{DeviceId, Key, TenantId, Timestamp};
use veritwin_telemetry::{LATEST_AHEAD_MAX, Latest};

use crate::App;
use crate::alert_state::TenantAlerts;

/// What is known of a device when a rule begins to watch it.
struct Known {
    latest: Vec<Latest>,
    /// When the newest of all was measured.
    newest_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    /// By how much its clock is slow, in microseconds. Negative when it is so fast that its times
    /// are none of a measurement; one that is less fast is put right where it is judged.
    slow_micros: i64,
}

/// What is known of a clock, as far as [`Known`] asks for it.
fn of_clock(slow_micros: Option<i64>) -> i64 {
    let is_told = |slow: &i64| *slow > 0 || ahead_max(*slow) > LATEST_AHEAD_MAX;
    slow_micros.filter(is_told).unwrap_or(0)
}

/// How far ahead the newest readings of such a clock may be.
fn ahead_max(slow_micros: i64) -> Duration {
    Duration::from_micros(slow_micros.min(0).unsigned_abs())
}

impl Known {
    /// Whether what it sent last was measured shortly before, by its own clock. An archive that
    /// was handed in is not live.
    fn is_live(&self) -> bool {
        let (Some(newest_at), Some(seen_at)) = (self.newest_at, self.seen_at) else { return true };
        let late = Duration::from_secs(LATE_AFTER_SECONDS.into());
        self.moved(newest_at).saturating_add(late) >= seen_at
    }

    fn of_device(&self) -> Option<Present> {
        let received_at = self.seen_at.or(self.newest_at)?;
        // All of its readings may be ahead of the clock; heard it was.
        let at = self.newest_at.map_or(received_at, |at| self.put_right(at, received_at));
        Some(Present { at, received_at, value: None })
    }

    fn of_series(&self, key: &Key) -> Option<Present> {
        let latest = self.latest.iter().find(|latest| latest.key == *key)?;
        let arrived_at = self.moved(latest.at);
        let received_at = match self.seen_at {
            Some(seen_at) if self.is_live() => arrived_at.min(seen_at),
            Some(seen_at) => seen_at,
            None => arrived_at,
        };
        let value = latest.value.as_f64().map(|value| (value, latest.quality));
        Some(Present { at: self.put_right(latest.at, received_at), received_at, value })
    }

    /// What a wrong clock says, as a right one would have.
    fn put_right(&self, at: Timestamp, received_at: Timestamp) -> Timestamp {
        if self.slow_micros == 0 { at } else { self.moved(at).min(received_at) }
    }

    fn moved(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.as_micros().saturating_add(self.slow_micros))
    }
}

impl App {
    /// Lets a tenant's rules judge what stands, as far as they ask for it.
    pub(crate) async fn judge_present(&self, tenant: TenantId, alerts: &mut TenantAlerts) {
        let mut asked: BTreeMap<DeviceId, Vec<SeriesId>> = BTreeMap::new();
        for series in alerts.evaluator.take_unjudged() {
            asked.entry(series.device).or_default().push(series);
        }
        for (device, series) in asked {
            let known = self.known_of(tenant, alerts, device).await;
            let now = self.clock().now();
            for id in series {
                let present = match &id.key {
                    Some(key) => known.of_series(key),
                    None => known.of_device(),
                };
                let made = present.and_then(|present| alerts.evaluator.present(&id, present, now));
                alerts.pending.extend(made);
            }
        }
    }

    async fn known_of(&self, tenant: TenantId, alerts: &TenantAlerts, device: DeviceId) -> Known {
        let presence = self.0.presence.of(tenant, device);
        let clock = presence.clock_slow_micros;
        let slow_micros = of_clock(clock.or_else(|| alerts.evaluator.clock_slow_micros(device)));
        let ahead_max = LATEST_AHEAD_MAX + ahead_max(slow_micros);
        let latest = self.0.engine.latest_within(tenant, device, None, ahead_max).await;
        let latest = latest.unwrap_or_else(|error| {
            tracing::debug!(%tenant, %error, "a rule waits for the next reading to judge");
            Vec::new()
        });
        let stored = alerts.devices.get(device).and_then(|device| device.last_seen_at);
        Known {
            newest_at: latest.iter().map(|latest| latest.at).max(),
            latest,
            seen_at: presence.last_seen_at.max(stored),
            slow_micros,
        }
    }
}

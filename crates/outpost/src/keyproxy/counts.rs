//! What the proxy counts, how fast each credential may ask, and how that is told: as Prometheus
//! text and in `status.json`. Nothing in here names a tenant or a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Most credentials whose rate is remembered.
const CREDENTIALS_MAX: usize = 64;

/// How the proxy last said it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProxyStatus {
    /// Whether it runs, as far as it said.
    pub running: bool,
    /// When it said so, in microseconds.
    pub at_us: i64,
    /// Where it listens.
    pub address: String,
    /// SHA-256 of its certificate, in hexadecimal.
    pub certificate_sha256: String,
    /// Answers since its start, by operation and outcome.
    pub answers: BTreeMap<String, u64>,
    /// Whether uses can be recorded and keys be used.
    pub well: bool,
}

#[derive(Debug, Default)]
struct Count {
    answers: u64,
    micros: u64,
}

/// Answers since the start.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<(&'static str, &'static str), Count>>);

impl Counts {
    /// Counts an answer.
    pub(super) fn add(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        let mut counts = self.0.lock();
        let count = counts.entry((operation, outcome)).or_default();
        count.answers += 1;
        count.micros =
            count.micros.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// By `operation/outcome`.
    pub(super) fn by_name(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock();
        let row = |((operation, outcome), count): (&(&str, &str), &Count)| {
            (format!("{operation}/{outcome}"), count.answers)
        };
        counts.iter().map(row).collect()
    }

    /// As Prometheus text.
    pub(super) fn text(&self) -> String {
        let mut out = String::from(
            "# HELP veritwin_keyproxy_answers_total Answers by operation and outcome.\n\
             # TYPE veritwin_keyproxy_answers_total counter\n",
        );
        let counts = self.0.lock();
        // Writing to a string does not fail.
        for ((operation, outcome), count) in counts.iter() {
            let labels = format!("{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
            let _ = writeln!(out, "veritwin_keyproxy_answers_total{labels} {}", count.answers);
        }
        out.push_str(
            "# HELP veritwin_keyproxy_seconds_total Time that answers took.\n\
             # TYPE veritwin_keyproxy_seconds_total counter\n",
        );
        for ((operation, outcome), count) in counts.iter() {
            let labels = format!("{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
            let (seconds, micros) = (count.micros / 1_000_000, count.micros % 1_000_000);
            let _ = writeln!(out, "veritwin_keyproxy_seconds_total{labels} {seconds}.{micros:06}");
        }
        out
    }
}

/// How fast each credential may ask: so many a second, and as many at once.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: u64,
    /// What is left, in millionths of a request, and when that was.
    left: Mutex<BTreeMap<String, (u64, Duration)>>,
}

const WHOLE: u64 = 1_000_000;

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: u64::from(per_second), left: Mutex::default() }
    }

    /// Whether a request of this credential may be answered now.
    pub(super) fn admit(&self, credential: &str, now: Duration) -> bool {
        let full = self.per_second.saturating_mul(WHOLE);
        let mut left = self.left.lock();
        if left.len() >= CREDENTIALS_MAX && !left.contains_key(credential) {
            left.clear();
        }
        let (units, at) = left.entry(credential.to_owned()).or_insert((full, now));
        let passed = u64::try_from(now.saturating_sub(*at).as_micros()).unwrap_or(u64::MAX);
        *units = units.saturating_add(passed.saturating_mul(self.per_second)).min(full);
        *at = now;
        let may = *units >= WHOLE;
        if may {
            *units -= WHOLE;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_second_full_and_fills_again() {
        let rates = Rates::new(2);
        let at = |millis: u64| Duration::from_millis(millis);
        assert!(rates.admit("a", at(0)) && rates.admit("a", at(0)));
        assert!(!rates.admit("a", at(0)));
        assert!(rates.admit("b", at(0)), "another credential has its own");
        assert!(!rates.admit("a", at(499)));
        assert!(rates.admit("a", at(500)) && !rates.admit("a", at(500)));
        assert!(rates.admit("a", at(60_000)) && rates.admit("a", at(60_000)));
        assert!(!rates.admit("a", at(60_000)), "no more than a second's worth is saved up");
    }

    #[test]
    fn counts_are_told_as_text() {
        let counts = Counts::default();
        counts.add("decrypt", "ok", Duration::from_micros(1_500_000));
        counts.add("decrypt", "ok", Duration::from_micros(1));
        let text = counts.text();
        let labels = "{operation=\"decrypt\",outcome=\"ok\"}";
        assert!(text.contains(&format!("veritwin_keyproxy_answers_total{labels} 2\n")), "{text}");
        assert!(text.contains(&format!("seconds_total{labels} 1.500001\n")), "{text}");
        assert_eq!(counts.by_name().get("decrypt/ok"), Some(&2));
    }
}

//! What a device's own counter adds up to: a number that it sends with each message, one more each
//! time. It is sealed with what came beside it, so that a number that no record of the log holds is
//! a message that was never submitted. Whether these are all records, who reads it has to know.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::RecordProof;

/// Most devices whose counters are followed at once.
pub const COUNTED_DEVICES_MAX: usize = 10_000;
/// Most separate ranges of numbers that are kept of one device, or of records.
const RANGES_MAX: usize = 100_000;
/// Most ranges that are listed as missing.
const MISSING_MAX: usize = 1_000;
/// Up to here a number with a fraction part of zero is a whole one for certain.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What one device counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterReport {
    /// The device, as it was sealed.
    pub device: String,
    /// The lowest number that is there.
    pub first: u64,
    /// The highest one.
    pub last: u64,
    /// Numbers that are there, each once.
    pub numbers: u64,
    /// Numbers that came once more in another record.
    pub repeated: u64,
    /// Numbers between them that no record holds: the first and the last of each range.
    pub missing: Vec<(u64, u64)>,
    /// Values under the counter's key that are no whole number.
    pub others: u64,
    /// There is more than is kept or listed.
    pub truncated: bool,
}

/// What became of a number that was put into a set.
enum Added {
    New,
    Known,
    Full,
}

/// Numbers as ranges, first to last.
#[derive(Default)]
struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    fn add(&mut self, number: u64) -> Added {
        let before = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        let joined = match before {
            Some((_, last)) if last >= number => return Added::Known,
            Some((first, last)) if last.checked_add(1) == Some(number) => Some(first),
            _ => None,
        };
        let behind = number.checked_add(1).and_then(|next| self.0.remove(&next));
        if joined.is_none() && behind.is_none() && self.0.len() >= RANGES_MAX {
            return Added::Full;
        }
        self.0.insert(joined.unwrap_or(number), behind.unwrap_or(number));
        Added::New
    }
}

#[derive(Default)]
struct Track {
    numbers: Numbers,
    report: CounterReport,
}

impl Track {
    fn note(&mut self, value: &Value) {
        let Some(number) = whole(value) else {
            self.report.others += 1;
            return;
        };
        match self.numbers.add(number) {
            Added::New => self.report.numbers += 1,
            Added::Known => self.report.repeated += 1,
            Added::Full => self.report.truncated = true,
        }
    }

    fn finish(self, device: String) -> CounterReport {
        let (ranges, mut report) = (self.numbers.0, self.report);
        report.first = ranges.first_key_value().map_or(0, |(first, _)| *first);
        report.last = ranges.last_key_value().map_or(0, |(_, last)| *last);
        for ((_, last), (next, _)) in ranges.iter().zip(ranges.iter().skip(1)) {
            if report.missing.len() == MISSING_MAX {
                report.truncated = true;
                break;
            }
            report.missing.push((last + 1, next - 1));
        }
        CounterReport { device, ..report }
    }
}

fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

/// What matters of a record of readings.
#[derive(Deserialize)]
struct Readings {
    device: String,
    #[serde(default)]
    readings: Vec<(String, i64, Value, String)>,
}

/// Follows the counters in records of one log, in any order.
#[derive(Default)]
pub struct CounterGaps {
    records: Numbers,
    tracks: BTreeMap<String, Track>,
    truncated: bool,
}

impl CounterGaps {
    /// Notes what a proven record holds under the counter's key. One that is there twice counts
    /// once.
    pub fn note(&mut self, record: &RecordProof, key: &str) {
        let Ok(readings) = serde_json::from_slice::<Readings>(&record.record) else { return };
        let values = readings.readings.iter().filter(|(name, ..)| name == key);
        let mut values = values.map(|(_, _, value, _)| value).peekable();
        if values.peek().is_none() {
            return;
        }
        match self.records.add(record.sequence) {
            Added::New => {}
            Added::Known => return,
            Added::Full => self.truncated = true,
        }
        if !self.tracks.contains_key(&readings.device) && self.tracks.len() >= COUNTED_DEVICES_MAX {
            self.truncated = true;
            return;
        }
        let track = self.tracks.entry(readings.device.clone()).or_default();
        values.for_each(|value| track.note(value));
    }

    /// What was found, by device.
    pub fn reports(self) -> Vec<CounterReport> {
        let is_cut = self.truncated;
        let finish = |(device, track): (String, Track)| {
            let report = track.finish(device);
            CounterReport { truncated: report.truncated || is_cut, ..report }
        };
        self.tracks.into_iter().map(finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(sequence: u64, device: &str, values: &[Value]) -> RecordProof {
        let reading = |value: &Value| json!(["n", 0, value, "good"]);
        let readings: Vec<Value> = values.iter().map(reading).collect();
        let record = json!({"v": 1, "kind": "readings", "device": device, "readings": readings});
        let record = record.to_string().into_bytes();
        RecordProof { sequence, salt: [0; 32], record, path: Vec::new() }
    }

    fn reports(records: &[RecordProof]) -> Vec<CounterReport> {
        let mut gaps = CounterGaps::default();
        records.iter().for_each(|one| gaps.note(one, "n"));
        gaps.reports()
    }

    #[test]
    fn numbers_that_no_record_holds_are_listed_in_whatever_order_they_come() {
        let late = record(9, "a", &[json!(4.0)]);
        let found = reports(&[
            record(1, "a", &[json!(2), json!(3)]),
            record(3, "a", &[json!(10)]),
            late.clone(),
            record(4, "b", &[json!(1), json!(2)]),
            late,
            record(5, "a", &[json!(3), json!("no"), json!(-1), json!(7)]),
        ]);
        let a = CounterReport {
            device: "a".to_owned(),
            first: 2,
            last: 10,
            numbers: 5,
            repeated: 1,
            missing: vec![(5, 6), (8, 9)],
            others: 2,
            truncated: false,
        };
        let b = CounterReport {
            device: "b".to_owned(),
            first: 1,
            last: 2,
            numbers: 2,
            ..CounterReport::default()
        };
        assert_eq!(found, [a, b]);
    }

    #[test]
    fn the_ends_of_what_numbers_there_are_harm_nothing() {
        let found = reports(&[record(u64::MAX, "a", &[json!(u64::MAX), json!(0)])]);
        assert_eq!((found[0].first, found[0].last), (0, u64::MAX));
        assert_eq!(found[0].missing, [(1, u64::MAX - 1)]);
        let broken = RecordProof { record: b"no record".to_vec(), ..record(1, "a", &[]) };
        assert!(reports(&[broken, record(2, "a", &[])]).is_empty());
    }
}

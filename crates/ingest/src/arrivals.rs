//! Times of readings that carry none. Parsers only number them; the time is given where all of a
//! device's readings come together, so that no two have the same: equal times of one key would be
//! one reading.

use parking_lot::Mutex;
use veritwin_domain::{DeviceBatch, DeviceId, IdMap, TenantId, Timestamp};

use crate::model::SinkEntry;

/// The time of receipt to parse with: the first number of a batch's readings that carry no time.
/// Outside of what a reading may be measured at.
pub const UNTIMED: Timestamp = Timestamp::MIN;
/// More numbers than a batch has readings.
const NUMBERS: i64 = 1 << 32;
/// A power of two.
const SHARDS: usize = 16;
/// Below so many devices of a shard nothing is swept.
const SWEEP_MIN: usize = 1024;

/// What was given to the devices of the platform, by all doors. One for a [`crate::Sink`].
#[derive(Debug, Default)]
pub struct Arrivals([Mutex<Shard>; SHARDS]);

#[derive(Debug, Default)]
struct Shard {
    /// The first moment that a device has not been given.
    next: IdMap<(TenantId, DeviceId), i64>,
    /// Devices that have nothing ahead of the clock are taken out when so many are known.
    sweep_at: usize,
}

impl Shard {
    /// So many moments in a row, from now on, that the device has not been given.
    fn give(&mut self, device: (TenantId, DeviceId), now: i64, count: i64) -> i64 {
        if self.next.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.next.retain(|_, next| *next > now);
            self.sweep_at = self.next.len() * 2;
        }
        let next = self.next.entry(device).or_insert(now);
        let first = now.max(*next);
        *next = first.saturating_add(count);
        first
    }
}

/// The number of a reading that carries no time.
fn number(at: Timestamp) -> Option<i64> {
    at.as_micros().checked_sub(UNTIMED.as_micros()).filter(|number| *number < NUMBERS)
}

impl Arrivals {
    /// [`Self::settle`] of every batch.
    pub(crate) fn settle_all(&self, entries: &mut [SinkEntry]) {
        for entry in entries {
            if let SinkEntry::Readings(batch) = entry {
                self.settle(batch);
            }
        }
    }

    /// Gives a batch's readings that carry no time one in their order, from its time of receipt
    /// on. To be called once, for what will be submitted.
    pub(crate) fn settle(&self, batch: &mut DeviceBatch) {
        let numbers = batch.readings.iter().filter_map(|reading| number(reading.at));
        let Some(last) = numbers.max() else { return };
        let device = (batch.tenant, batch.device);
        let shard = usize::from(batch.device.as_bytes()[15]) % SHARDS;
        let now = batch.received_at.as_micros();
        let first = self.0[shard].lock().give(device, now, last + 1);
        for reading in &mut batch.readings {
            if let Some(number) = number(reading.at) {
                reading.at = Timestamp::from_micros(first.saturating_add(number));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{CredentialId, Key, Quality, Reading, Value};

    use super::*;

    fn batch(device: u128, now: i64, times: &[i64]) -> DeviceBatch {
        let reading = |at: &i64| Reading {
            key: Key::new("t").unwrap(),
            at: Timestamp::from_micros(*at),
            value: Value::Integer(1),
            quality: Quality::Good,
        };
        DeviceBatch {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes(device.to_be_bytes()),
            credential: CredentialId::from_bytes([2; 16]),
            received_at: Timestamp::from_micros(now),
            readings: times.iter().map(reading).collect(),
        }
    }

    fn settled(arrivals: &Arrivals, mut batch: DeviceBatch) -> Vec<i64> {
        arrivals.settle(&mut batch);
        batch.readings.iter().map(|reading| reading.at.as_micros()).collect()
    }

    #[test]
    fn no_time_of_a_device_is_given_twice() {
        let (arrivals, none) = (Arrivals::default(), UNTIMED.as_micros());
        let check = |device, now, times: &[i64], expect: &[i64]| {
            assert_eq!(settled(&arrivals, batch(device, now, times)), expect, "{times:?}");
        };
        check(1, 10, &[none, none + 1, 7, none + 2], &[10, 11, 7, 12]);
        check(1, 10, &[none], &[13]);
        // Readings of one object have one time; those that carry a time are left alone.
        check(1, 5, &[none, none, -3], &[14, 14, -3]);
        check(2, 10, &[none], &[10]);
        check(1, 40, &[none + 3], &[43]);
        check(1, 40, &[none], &[44]);
        check(1, 1, &[], &[]);
    }

    #[test]
    fn devices_with_nothing_ahead_are_forgotten() {
        let arrivals = Arrivals::default();
        let none = UNTIMED.as_micros();
        assert_eq!(settled(&arrivals, batch(16, 0, &[none + 1_000_000])), [1_000_000]);
        for device in 2..100_000 {
            settled(&arrivals, batch(device * 16, 1_000 + device as i64, &[none]));
        }
        assert!(arrivals.0[0].lock().next.len() <= SWEEP_MIN);
        assert_eq!(settled(&arrivals, batch(16, 0, &[none])), [1_000_001]);
    }
}

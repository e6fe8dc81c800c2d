//! Readings of a fleet, in the shape of the "iot" set of the Time Series Benchmark Suite: position
//! and motion of vehicles and the state of their engines, ten values every ten seconds.

use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, Rng, SeededRng, TenantId,
    Timestamp, Value,
};

/// Values of one message.
pub(crate) const KEYS: [&str; 10] = [
    "latitude",
    "longitude",
    "elevation",
    "velocity",
    "heading",
    "grade",
    "fuel_consumption",
    "fuel_state",
    "current_load",
    "status",
];
/// How a value walks: lowest, highest, largest step, decimals.
const WALKS: [(f64, f64, f64, i32); 10] = [
    (-90.0, 90.0, 0.005, 5),
    (-180.0, 180.0, 0.005, 5),
    (0.0, 5000.0, 10.0, 0),
    (0.0, 100.0, 5.0, 0),
    (0.0, 360.0, 10.0, 0),
    (0.0, 100.0, 5.0, 0),
    (0.0, 50.0, 1.0, 1),
    (0.0, 1.0, 0.01, 1),
    (0.0, 5000.0, 100.0, 0),
    (0.0, 5.0, 1.0, 0),
];
/// Between two messages of a vehicle.
pub(crate) const STEP_MICROS: i64 = 10_000_000;
/// Messages of a vehicle that are sent together.
const MESSAGES_PER_BATCH: i64 = 10;

/// A fleet on its way.
pub(crate) struct Fleet {
    rng: SeededRng,
    keys: Vec<Key>,
    vehicles: Vec<(DeviceId, [f64; 10])>,
    tenant: TenantId,
    at: i64,
}

impl Fleet {
    /// A fleet of `size` vehicles whose first messages are of `from`; the same every time.
    pub(crate) fn new(tenant: TenantId, size: usize, from: Timestamp) -> Self {
        let rng = SeededRng::new(7);
        let vehicles = (0..size).map(|_| {
            let start = WALKS.map(|(low, high, ..)| low + (high - low) * rng.next_unit());
            (DeviceId::generate(from, &rng), start)
        });
        let vehicles = vehicles.collect();
        let keys = KEYS.iter().filter_map(|name| Key::new(name).ok()).collect();
        Self { rng, keys, vehicles, tenant, at: from.as_micros() }
    }

    pub(crate) fn devices(&self) -> Vec<DeviceId> {
        self.vehicles.iter().map(|(device, _)| *device).collect()
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The next ten messages of every vehicle.
    pub(crate) fn next(&mut self) -> Vec<DeviceBatch> {
        let mut batches: Vec<DeviceBatch> = self
            .vehicles
            .iter()
            .map(|(device, _)| DeviceBatch {
                tenant: self.tenant,
                device: *device,
                credential: CredentialId::from_bytes([1; 16]),
                received_at: Timestamp::from_micros(self.at),
                readings: Vec::with_capacity(KEYS.len() * MESSAGES_PER_BATCH as usize),
            })
            .collect();
        for _ in 0..MESSAGES_PER_BATCH {
            let at = Timestamp::from_micros(self.at);
            for ((_, values), batch) in self.vehicles.iter_mut().zip(&mut batches) {
                for ((value, key), walk) in values.iter_mut().zip(&self.keys).zip(WALKS) {
                    let (low, high, step, decimals) = walk;
                    *value = (*value + step * (2.0 * self.rng.next_unit() - 1.0)).clamp(low, high);
                    let scale = 10f64.powi(decimals);
                    batch.readings.push(Reading {
                        key: key.clone(),
                        at,
                        value: Value::Double((*value * scale).round() / scale),
                        quality: Quality::Good,
                    });
                }
            }
            self.at += STEP_MICROS;
        }
        batches
    }
}

/// The same messages as InfluxDB line protocol, times in milliseconds.
pub(crate) fn line_protocol(batches: &[DeviceBatch], out: &mut String) {
    use std::fmt::Write;
    out.clear();
    for batch in batches {
        for message in batch.readings.chunks(KEYS.len()) {
            let Some(first) = message.first() else { continue };
            let _ = write!(out, "readings,name={}", batch.device);
            for (place, reading) in message.iter().enumerate() {
                let separator = if place == 0 { ' ' } else { ',' };
                let number = reading.value.as_f64().unwrap_or_default();
                let _ = write!(out, "{separator}{}={number}", &*reading.key);
            }
            let _ = writeln!(out, " {}", first.at.as_micros() / 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_the_same_every_time_and_has_a_line_form() {
        let tenant = TenantId::from_bytes([1; 16]);
        let make = || Fleet::new(tenant, 2, Timestamp::EPOCH).next();
        assert_eq!(make(), make());
        let mut text = String::new();
        line_protocol(&make(), &mut text);
        assert_eq!(text.lines().count(), 20);
        let first = text.lines().next().expect("a line");
        assert!(first.starts_with("readings,name=") && first.ends_with(" 0"), "{first}");
        assert_eq!(first.matches('=').count(), 11);
    }
}

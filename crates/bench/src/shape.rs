//! Readings in the shape of two sets of the Time Series Benchmark Suite, made by our own seeded
//! generator: "iot", vehicles with position, motion and the state of their engines, and "cpu-only",
//! hosts with the use of their processors; ten values every ten seconds.

use std::collections::VecDeque;

use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, Rng, SeededRng, TenantId,
    Timestamp, Value,
};

/// Between two messages of a device.
pub(crate) const STEP_MICROS: i64 = 10_000_000;
/// Values of one message.
pub(crate) const VALUES: usize = 10;
/// A late message comes so many batches after its own, at most.
const LATE_BATCHES_MAX: u64 = 12;

/// Which set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Vehicles; values are doubles.
    Iot,
    /// Hosts; values are integers.
    CpuOnly,
}

/// How a value walks: its key, lowest, highest, largest step, decimals.
type Walk = (&'static str, f64, f64, f64, i32);

const IOT: [Walk; VALUES] = [
    ("latitude", -90.0, 90.0, 0.005, 5),
    ("longitude", -180.0, 180.0, 0.005, 5),
    ("elevation", 0.0, 5000.0, 10.0, 0),
    ("velocity", 0.0, 100.0, 5.0, 0),
    ("heading", 0.0, 360.0, 10.0, 0),
    ("grade", 0.0, 100.0, 5.0, 0),
    ("fuel_consumption", 0.0, 50.0, 1.0, 1),
    ("fuel_state", 0.0, 1.0, 0.01, 1),
    ("current_load", 0.0, 5000.0, 100.0, 0),
    ("status", 0.0, 5.0, 1.0, 0),
];
const CPU_ONLY: [Walk; VALUES] = [
    ("usage_user", 0.0, 100.0, 1.0, 0),
    ("usage_system", 0.0, 100.0, 1.0, 0),
    ("usage_idle", 0.0, 100.0, 1.0, 0),
    ("usage_nice", 0.0, 100.0, 1.0, 0),
    ("usage_iowait", 0.0, 100.0, 1.0, 0),
    ("usage_irq", 0.0, 100.0, 1.0, 0),
    ("usage_softirq", 0.0, 100.0, 1.0, 0),
    ("usage_steal", 0.0, 100.0, 1.0, 0),
    ("usage_guest", 0.0, 100.0, 1.0, 0),
    ("usage_guest_nice", 0.0, 100.0, 1.0, 0),
];

impl Shape {
    const fn walks(self) -> &'static [Walk; VALUES] {
        match self {
            Self::Iot => &IOT,
            Self::CpuOnly => &CPU_ONLY,
        }
    }

    /// Names of the values, in the order of a message.
    pub(crate) fn keys(self) -> [&'static str; VALUES] {
        self.walks().map(|(key, ..)| key)
    }
}

struct Device {
    id: DeviceId,
    tenant: TenantId,
    values: [f64; VALUES],
}

/// What is to be made.
#[derive(Debug, Clone)]
pub(crate) struct FleetOptions {
    pub(crate) shape: Shape,
    /// Whose devices they are, in turn.
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) devices: usize,
    pub(crate) from: Timestamp,
    /// The part of the messages that comes late, 0 to 1.
    pub(crate) late_share: f64,
    /// Messages of a device that are sent together.
    pub(crate) messages: i64,
    /// Another seed makes other devices.
    pub(crate) seed: u64,
}

/// Devices and what they send; the same every time.
pub(crate) struct Fleet {
    shape: Shape,
    rng: SeededRng,
    keys: Vec<Key>,
    devices: Vec<Device>,
    at: i64,
    late_share: f64,
    messages: i64,
    /// What is late, by how many more batches.
    late: VecDeque<Vec<DeviceBatch>>,
}

impl Fleet {
    pub(crate) fn new(options: &FleetOptions) -> Self {
        let rng = SeededRng::new(options.seed);
        let walks = options.shape.walks();
        let tenants = options.tenants.iter().cycle();
        let devices = tenants.take(options.devices).map(|tenant| Device {
            id: DeviceId::generate(options.from, &rng),
            tenant: *tenant,
            values: walks.map(|(_, low, high, ..)| low + (high - low) * rng.next_unit()),
        });
        let devices = devices.collect();
        Self {
            shape: options.shape,
            rng,
            keys: options.shape.keys().iter().filter_map(|name| Key::new(name).ok()).collect(),
            devices,
            at: options.from.as_micros(),
            late_share: options.late_share,
            messages: options.messages,
            late: VecDeque::new(),
        }
    }

    /// Whose each device is.
    pub(crate) fn devices(&self) -> Vec<(TenantId, DeviceId)> {
        self.devices.iter().map(|device| (device.tenant, device.id)).collect()
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The next messages of every device, without those that will be late, and what was late
    /// and comes now.
    pub(crate) fn next(&mut self) -> Vec<DeviceBatch> {
        let end = self.at + self.messages * STEP_MICROS;
        let mut batches: Vec<DeviceBatch> =
            self.devices.iter().map(|device| empty(device, self.at)).collect();
        while self.at < end {
            let at = Timestamp::from_micros(self.at);
            for (place, batch) in batches.iter_mut().enumerate() {
                let delay = if self.late_share > 0.0 && self.rng.next_unit() < self.late_share {
                    Some(self.rng.next_u64() % LATE_BATCHES_MAX)
                } else {
                    None
                };
                let Some(device) = self.devices.get_mut(place) else { continue };
                let mut kept = empty(device, self.at);
                let target = if delay.is_some() { &mut kept } else { &mut *batch };
                message(self.shape, &self.keys, device, at, &self.rng, &mut target.readings);
                if let Some(delay) = delay {
                    let delay = usize::try_from(delay).unwrap_or(0);
                    if self.late.len() <= delay {
                        self.late.resize_with(delay + 1, Vec::new);
                    }
                    self.late[delay].push(kept);
                }
            }
            self.at += STEP_MICROS;
        }
        batches.retain(|batch| !batch.readings.is_empty());
        if self.late_share > 0.0 {
            batches.extend(self.late.pop_front().unwrap_or_default());
        }
        batches
    }

    /// What is still late.
    pub(crate) fn rest(&mut self) -> Vec<DeviceBatch> {
        self.late.drain(..).flatten().collect()
    }
}

fn empty(device: &Device, at: i64) -> DeviceBatch {
    DeviceBatch {
        tenant: device.tenant,
        device: device.id,
        credential: CredentialId::from_bytes([1; 16]),
        received_at: Timestamp::from_micros(at),
        readings: Vec::with_capacity(VALUES),
    }
}

fn message(
    shape: Shape,
    keys: &[Key],
    device: &mut Device,
    at: Timestamp,
    rng: &SeededRng,
    out: &mut Vec<Reading>,
) {
    for ((value, key), walk) in device.values.iter_mut().zip(keys).zip(shape.walks()) {
        let (_, low, high, step, decimals) = *walk;
        *value = (*value + step * (2.0 * rng.next_unit() - 1.0)).clamp(low, high);
        let scale = 10f64.powi(decimals);
        let rounded = (*value * scale).round() / scale;
        let value = match shape {
            Shape::Iot => Value::Double(rounded),
            Shape::CpuOnly => Value::Integer(rounded as i64),
        };
        out.push(Reading { key: key.clone(), at, value, quality: Quality::Good });
    }
}

/// The same messages as InfluxDB line protocol, times in milliseconds.
pub(crate) fn line_protocol(batches: &[DeviceBatch], out: &mut String) {
    use std::fmt::Write;
    out.clear();
    for batch in batches {
        for message in batch.readings.chunks(VALUES) {
            let Some(first) = message.first() else { continue };
            let _ = write!(out, "readings,name={}", batch.device);
            for (place, reading) in message.iter().enumerate() {
                let separator = if place == 0 { ' ' } else { ',' };
                let _ = write!(out, "{separator}{}={}", &*reading.key, number(&reading.value));
            }
            let _ = writeln!(out, " {}", first.at.as_micros() / 1000);
        }
    }
}

/// Messages of one vehicle as lines of the bulk write, times in milliseconds: one every ten
/// seconds from `from` on. Another number is another vehicle.
pub fn vehicle_lines(number: u64, from: Timestamp, messages: u32) -> String {
    let mut fleet = Fleet::new(&FleetOptions {
        shape: Shape::Iot,
        tenants: vec![TenantId::from_bytes([1; 16])],
        devices: 1,
        from,
        late_share: 0.0,
        messages: i64::from(messages),
        seed: number,
    });
    let mut lines = String::new();
    line_protocol(&fleet.next(), &mut lines);
    lines
}

/// The same messages as comma-separated text: time in milliseconds, device, values.
pub(crate) fn csv(batches: &[DeviceBatch], out: &mut String) {
    use std::fmt::Write;
    out.clear();
    for batch in batches {
        for message in batch.readings.chunks(VALUES) {
            let Some(first) = message.first() else { continue };
            let _ = write!(out, "{},{}", first.at.as_micros() / 1000, batch.device);
            for reading in message {
                let _ = write!(out, ",{}", reading.value.as_f64().unwrap_or_default());
            }
            out.push('\n');
        }
    }
}

/// As line protocol has it: integers end with `i`.
fn number(value: &Value) -> String {
    match value {
        Value::Integer(number) => format!("{number}i"),
        other => other.as_f64().unwrap_or_default().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(shape: Shape, late_share: f64) -> Fleet {
        let tenants = vec![TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])];
        let from = Timestamp::EPOCH;
        let options =
            FleetOptions { shape, tenants, devices: 2, from, late_share, messages: 10, seed: 7 };
        Fleet::new(&options)
    }

    #[test]
    fn a_fleet_is_the_same_every_time_and_has_a_line_form() {
        let make = || fleet(Shape::Iot, 0.0).next();
        assert_eq!(make(), make());
        assert_ne!(make()[0].tenant, make()[1].tenant);
        let mut text = String::new();
        line_protocol(&make(), &mut text);
        assert_eq!(text.lines().count(), 20);
        let first = text.lines().next().expect("a line");
        assert!(first.starts_with("readings,name=") && first.ends_with(" 0"), "{first}");
        assert_eq!(first.matches('=').count(), 11);
        csv(&make(), &mut text);
        let first = text.lines().next().expect("a line");
        assert_eq!((text.lines().count(), first.matches(',').count()), (20, 11));
        let one = vehicle_lines(3, Timestamp::EPOCH, 5);
        assert_eq!(one.lines().count(), 5);
        assert!(one.ends_with(" 40000\n") && one != vehicle_lines(4, Timestamp::EPOCH, 5));
        line_protocol(&fleet(Shape::CpuOnly, 0.0).next(), &mut text);
        let first = text.lines().next().expect("a line");
        assert!(first.contains("usage_user=") && first.contains("i,usage_system="), "{first}");
    }

    #[test]
    fn what_is_late_comes_once() {
        let count = |batches: &[DeviceBatch]| -> usize {
            batches.iter().map(|batch| batch.readings.len()).sum()
        };
        let mut fleet = fleet(Shape::Iot, 0.3);
        let first = count(&fleet.next());
        assert!((80..200).contains(&first), "{first} of 200 values are there at once");
        let mut all = first;
        for _ in 0..4 {
            all += count(&fleet.next());
        }
        all += count(&fleet.rest());
        assert_eq!(all, 5 * 200);
        assert!(fleet.rest().is_empty());
    }
}

//! The physics of the demo building: rooms, air handling, one chiller, meters, weather, and a
//! fault that can be injected. A function of its clock and its seed; it knows no network and no
//! people (carbon dioxide follows the hour, not anybody's presence).

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{Rng, Timestamp, Value};

use crate::building::{DemoDevice, DemoKind, demo_devices};

/// Chilled water supply temperature in normal operation, in °C.
pub const SUPPLY_WATER_NORMAL_CELSIUS: f64 = 6.5;
/// A threshold that normal operation never reaches and a failed chiller passes after about 20 s.
pub const SUPPLY_WATER_ALERT_CELSIUS: f64 = 10.0;
/// Longest step that is integrated at once; a longer gap is cut to [`GAP_MAX`] and split.
const STEP_MAX: Duration = Duration::from_secs(5);
/// Longest gap that is simulated; what lies before it is skipped.
const GAP_MAX: Duration = Duration::from_secs(3600);
/// The building's heat moves this much faster than a real one's, so that a demo shows drift.
const THERMAL_HASTE: f64 = 6.0;
const STOREYS: usize = 5;

/// When the chiller fails by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultSchedule {
    /// From the start to the first failure.
    pub first_after: Duration,
    /// How long a failure lasts.
    pub lasts: Duration,
    /// From one failure's begin to the next one's; `None` for a single failure.
    pub every: Option<Duration>,
}

impl FaultSchedule {
    /// The demo's schedule: soon enough to be watched, then now and again.
    pub const DEMO: Self = Self {
        first_after: Duration::from_secs(50),
        lasts: Duration::from_secs(240),
        every: Some(Duration::from_secs(1500)),
    };

    /// Whether a failure is due `elapsed` after the start.
    pub fn is_failed_at(&self, elapsed: Duration) -> bool {
        let Some(since_first) = elapsed.checked_sub(self.first_after) else { return false };
        let within = match self.every {
            Some(every) if !every.is_zero() => {
                Duration::from_millis((since_first.as_millis() % every.as_millis()) as u64)
            }
            _ => since_first,
        };
        within < self.lasts
    }
}

#[derive(Debug, Clone, Copy)]
struct Room {
    temperature: f64,
    humidity: f64,
    co2: f64,
    heat: f64,
    area_m2: f64,
    storey: usize,
}

#[derive(Debug, Clone, Copy)]
struct Chiller {
    supply: f64,
    returned: f64,
    load: f64,
    /// Seconds since the failure began; `None` while it works.
    failed_for: Option<f64>,
}

/// The whole building's state.
#[derive(Debug)]
pub struct Plant {
    rng: Arc<dyn Rng>,
    at: Timestamp,
    rooms: BTreeMap<String, Room>,
    chiller: Chiller,
    supply_air: [f64; 2],
    fan_speed: [f64; 2],
    outdoor: f64,
    setpoint: f64,
    /// Kilowatts and kilowatt-hours per storey, then of the whole building.
    power: [f64; STOREYS + 1],
    energy: [f64; STOREYS + 1],
}

impl Plant {
    /// A building that has been running for a while at `at`.
    pub fn new(at: Timestamp, rng: Arc<dyn Rng>) -> Self {
        let rooms = demo_devices()
            .iter()
            .filter_map(|device| {
                let DemoKind::Room { heat, area_m2 } = device.kind else { return None };
                let storey = device.space.bytes().next().map_or(0, |digit| match digit {
                    b'0'..=b'3' => usize::from(digit - b'0'),
                    _ => STOREYS - 1,
                });
                let temperature = 22.0 + rng.next_unit();
                let room = Room { temperature, humidity: 45.0, co2: 520.0, heat, area_m2, storey };
                Some((device.name.clone(), room))
            })
            .collect();
        let warm_up = Duration::from_secs(2 * 3600);
        let mut plant = Self {
            rng,
            at: at.saturating_sub(warm_up),
            rooms,
            chiller: Chiller {
                supply: SUPPLY_WATER_NORMAL_CELSIUS,
                returned: 12.0,
                load: 0.6,
                failed_for: None,
            },
            supply_air: [16.0; 2],
            fan_speed: [55.0; 2],
            outdoor: 24.0,
            setpoint: 22.5,
            power: [0.0; STOREYS + 1],
            energy: [4_210.0, 3_980.0, 3_120.0, 2_450.0, 610.0, 21_800.0],
        };
        for half in [2, 1] {
            plant.step(at.saturating_sub(GAP_MAX * (half - 1)));
        }
        plant
    }

    /// Moves the building to `now`. Does nothing when `now` is not later.
    pub fn step(&mut self, now: Timestamp) {
        let mut left = now.since(self.at).min(GAP_MAX);
        self.at = now.max(self.at);
        let mut moment = self.at.saturating_sub(left);
        while !left.is_zero() {
            let part = left.min(STEP_MAX);
            moment = moment.saturating_add(part);
            left -= part;
            self.integrate(moment, part.as_secs_f64());
        }
    }

    /// Breaks the chiller: its compressor stops and the water warms.
    pub fn fail_chiller(&mut self) {
        self.chiller.failed_for.get_or_insert(0.0);
    }

    /// Repairs the chiller: the water cools again within minutes.
    pub fn repair_chiller(&mut self) {
        self.chiller.failed_for = None;
    }

    /// Whether the chiller is broken.
    pub fn is_chiller_failed(&self) -> bool {
        self.chiller.failed_for.is_some()
    }

    /// What the rooms are cooled to, in °C.
    pub fn setpoint_celsius(&self) -> f64 {
        self.setpoint
    }

    /// Sets what the rooms are cooled to; held between 18 and 28 °C.
    pub fn set_setpoint_celsius(&mut self, celsius: f64) {
        if celsius.is_finite() {
            self.setpoint = celsius.clamp(18.0, 28.0);
        }
    }

    /// What `device` measures now, in the order of its points.
    pub fn readings(&self, device: &DemoDevice) -> Vec<(&'static str, Value)> {
        device.points.iter().map(|point| (point.key, self.value(device, point.key))).collect()
    }

    fn value(&self, device: &DemoDevice, key: &str) -> Value {
        let chiller = &self.chiller;
        let is_running = chiller.failed_for.is_none();
        let unit = usize::from(device.name.ends_with('2'));
        let is_duty = !device.name.ends_with('2');
        let (number, noise) = match (device.kind, key) {
            (DemoKind::Room { .. }, _) => self.room_value(&device.name, key),
            (DemoKind::Chiller, "supply_water_temperature") => (chiller.supply, 0.05),
            (DemoKind::Chiller, "return_water_temperature") => (chiller.returned, 0.05),
            (DemoKind::Chiller, "power") if is_running => (16.0 + 62.0 * chiller.load, 0.4),
            (DemoKind::Chiller, "power") => (0.6, 0.02),
            (DemoKind::Chiller, "vibration") => self.vibration(),
            (DemoKind::Chiller, _) => return Value::Boolean(is_running),
            (DemoKind::AirHandlingUnit, "supply_air_temperature") => (self.supply_air[unit], 0.06),
            (DemoKind::AirHandlingUnit, "return_air_temperature") => (self.mean_room(), 0.05),
            (DemoKind::AirHandlingUnit, _) => (self.fan_speed[unit], 0.3),
            (DemoKind::Pump, _) if !is_duty => (0.0, 0.0),
            (DemoKind::Pump, "flow") => (34.0 + 8.0 * chiller.load, 0.2),
            (DemoKind::Pump, "pressure") => (2.4, 0.01),
            (DemoKind::Pump, _) => (3.6 + 1.1 * chiller.load, 0.03),
            (DemoKind::Meter { storey }, "power") => (self.power[storey.unwrap_or(STOREYS)], 0.05),
            (DemoKind::Meter { storey }, _) => (self.energy[storey.unwrap_or(STOREYS)], 0.0),
            (DemoKind::WeatherStation, "temperature") => (self.outdoor, 0.05),
            (DemoKind::WeatherStation, _) => (88.0 - 1.6 * self.outdoor, 0.3),
        };
        let measured = number + noise * self.noise();
        Value::Double((measured * 100.0).round() / 100.0)
    }

    fn room_value(&self, name: &str, key: &str) -> (f64, f64) {
        let Some(room) = self.rooms.get(name) else { return (0.0, 0.0) };
        match key {
            "temperature" => (room.temperature, 0.03),
            "humidity" => (room.humidity, 0.2),
            _ => (room.co2.round(), 0.0),
        }
    }

    /// A bearing shakes before it stops: high for the first seconds of a failure, then still.
    fn vibration(&self) -> (f64, f64) {
        match self.chiller.failed_for {
            Some(seconds) if seconds < 12.0 => (9.4, 0.8),
            Some(_) => (0.15, 0.02),
            None => (1.6 + 0.9 * self.chiller.load, 0.12),
        }
    }

    /// About normal, between -3 and 3 (a sum of uniform numbers, Irwin-Hall).
    fn noise(&self) -> f64 {
        let sum: f64 = (0..6).map(|_| self.rng.next_unit()).sum();
        sum - 3.0
    }

    fn mean_room(&self) -> f64 {
        let sum: f64 = self.rooms.values().map(|room| room.temperature * room.area_m2).sum();
        sum / self.rooms.values().map(|room| room.area_m2).sum::<f64>()
    }

    fn integrate(&mut self, moment: Timestamp, seconds: f64) {
        let hour = moment.as_micros().rem_euclid(veritwin_domain::DAY_MICROS) as f64 / 3.6e9;
        let day = activity(hour);
        self.outdoor = 23.5 + 6.5 * (TAU * (hour - 9.5) / 24.0).sin();
        self.step_chiller(day, seconds);
        let sum_fan = self.step_air(seconds);
        self.step_rooms(day, seconds, sum_fan);
        self.step_meters(day, seconds);
    }

    fn step_chiller(&mut self, day: f64, seconds: f64) {
        let demand = (0.35 + 0.45 * day + 0.02 * (self.outdoor - 22.0)).clamp(0.1, 1.0);
        let chiller = &mut self.chiller;
        let (target, seconds_constant) = match &mut chiller.failed_for {
            Some(elapsed) => {
                *elapsed += seconds;
                (16.0, 38.0)
            }
            None => (SUPPLY_WATER_NORMAL_CELSIUS, 70.0),
        };
        chiller.load += (demand - chiller.load) * share(seconds, 120.0);
        chiller.supply += (target - chiller.supply) * share(seconds, seconds_constant);
        let warmed = chiller.supply + 5.5 * chiller.load;
        chiller.returned += (warmed - chiller.returned) * share(seconds, 45.0);
    }

    /// Returns how much air both units move, 1 for the design flow.
    fn step_air(&mut self, seconds: f64) -> f64 {
        let need = self.mean_room() - self.setpoint;
        for unit in 0..2 {
            let coldest = (self.chiller.supply + 7.5).max(15.5 + 0.5 * unit as f64);
            self.supply_air[unit] += (coldest - self.supply_air[unit]) * share(seconds, 50.0);
            let speed = (58.0 + 18.0 * need + 3.0 * unit as f64).clamp(30.0, 100.0);
            self.fan_speed[unit] += (speed - self.fan_speed[unit]) * share(seconds, 30.0);
        }
        (self.fan_speed[0] + self.fan_speed[1]) / 120.0
    }

    fn step_rooms(&mut self, day: f64, seconds: f64, air: f64) {
        let supply = (self.supply_air[0] + self.supply_air[1]) / 2.0;
        let hours = seconds / 3600.0 * THERMAL_HASTE;
        let (outdoor, setpoint) = (self.outdoor, self.setpoint);
        for room in self.rooms.values_mut() {
            let damper = (0.55 + 0.5 * (room.temperature - setpoint)).clamp(0.12, 1.6) * air;
            let gained = room.heat * (0.9 + 2.2 * day) + 0.12 * (outdoor - room.temperature);
            let cooled = damper * (room.temperature - supply);
            room.temperature += (gained - cooled) * hours;
            let breath = 430.0 + 430.0 * room.heat.min(1.6) * day / (0.4 + 0.6 * air);
            room.co2 += (breath - room.co2) * share(seconds, 900.0);
            let moist = 44.0 + 1.4 * (supply - 16.0) - 0.8 * (room.temperature - 22.5);
            room.humidity += (moist - room.humidity) * share(seconds, 400.0);
        }
    }

    fn step_meters(&mut self, day: f64, seconds: f64) {
        let mut power = [0.0; STOREYS + 1];
        for room in self.rooms.values() {
            let watts = room.area_m2 * (3.0 + 14.0 * day * room.heat);
            power[room.storey] += watts / 1000.0;
        }
        let fans = self.fan_speed.map(|speed| 5.5 * (speed / 100.0).powi(3)).iter().sum::<f64>();
        let cooling = if self.is_chiller_failed() { 0.6 } else { 16.0 + 62.0 * self.chiller.load };
        power[STOREYS - 1] += fans + cooling + 4.2;
        power[STOREYS] = power[..STOREYS].iter().sum();
        for (energy, kilowatts) in self.energy.iter_mut().zip(power) {
            *energy += kilowatts * seconds / 3600.0;
        }
        self.power = power;
    }
}

/// The part of the way to an equilibrium that `seconds` cover, for a first-order lag.
fn share(seconds: f64, constant_seconds: f64) -> f64 {
    1.0 - (-seconds / constant_seconds).exp()
}

/// How busy the building is, 0.25 at night to 1 in the day.
fn activity(hour: f64) -> f64 {
    let rise = 1.0 / (1.0 + (-(hour - 7.5) * 1.8).exp());
    let fall = 1.0 / (1.0 + ((hour - 18.5) * 1.5).exp());
    0.25 + 0.75 * rise * fall
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;

    use super::*;

    fn noon() -> Timestamp {
        Timestamp::parse_rfc3339("2026-06-01T12:00:00Z").expect("a time")
    }

    fn plant() -> Plant {
        Plant::new(noon(), Arc::new(SeededRng::new(7)))
    }

    fn after(plant: &mut Plant, seconds: u64) {
        plant.step(plant.at.saturating_add(Duration::from_secs(seconds)));
    }

    #[test]
    fn the_same_seed_gives_the_same_building() {
        let devices = demo_devices();
        let all = |mut plant: Plant| {
            after(&mut plant, 77);
            devices.iter().map(|device| plant.readings(device)).collect::<Vec<_>>()
        };
        assert_eq!(all(plant()), all(plant()));
    }

    #[test]
    fn normal_operation_is_quiet_all_day() {
        let mut plant = plant();
        for _ in 0..(24 * 6) {
            after(&mut plant, 600);
            assert!(plant.chiller.supply < 7.0, "{}", plant.chiller.supply);
            for (name, room) in &plant.rooms {
                let (t, c, h) = (room.temperature, room.co2, room.humidity);
                assert!((18.0..27.5).contains(&t), "{name} {t}");
                assert!(
                    (400.0..1300.0).contains(&c) && (25.0..70.0).contains(&h),
                    "{name} {c} {h}"
                );
            }
        }
    }

    #[test]
    fn a_failed_chiller_warms_the_water_and_the_rooms_then_recovers() {
        let mut plant = plant();
        let before = plant.mean_room();
        plant.fail_chiller();
        after(&mut plant, 45);
        assert!(plant.chiller.supply > SUPPLY_WATER_ALERT_CELSIUS, "{}", plant.chiller.supply);
        after(&mut plant, 240);
        assert!(plant.mean_room() > before + 0.4, "{} {before}", plant.mean_room());
        plant.repair_chiller();
        after(&mut plant, 240);
        assert!(plant.chiller.supply < 7.5, "{}", plant.chiller.supply);
        after(&mut plant, 3600);
        assert!((plant.mean_room() - before).abs() < 0.5);
    }

    #[test]
    fn every_point_has_a_value_and_energy_only_grows() {
        let mut plant = plant();
        let energy = plant.energy;
        after(&mut plant, 60);
        assert!(plant.energy.iter().zip(energy).all(|(now, then)| *now > then));
        for device in demo_devices() {
            let readings = plant.readings(&device);
            assert_eq!(readings.len(), device.points.len());
            assert!(readings.iter().all(|(_, value)| value.as_f64().is_some_and(f64::is_finite)));
        }
    }

    #[test]
    fn the_demo_fails_once_soon_and_then_again() {
        let at = |seconds| FaultSchedule::DEMO.is_failed_at(Duration::from_secs(seconds));
        assert!(!at(49) && at(50) && at(289) && !at(290) && at(1550) && !at(1790));
    }
}

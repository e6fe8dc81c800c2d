//! Which readings are meant when some are destroyed: series, a time, and days that stay because
//! they are held.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use veritwin_domain::{DAY_MICROS, DeviceId, Key, TenantId, Timestamp};
use veritwin_keys::{DekScope, DestructionMethod, Epoch, ShredUnit};

use crate::catalog::{Section, Window};
use crate::figures::HOUR_MICROS;
use crate::flush::day_bounds;

/// Which readings of a series are meant.
#[derive(Debug, Clone)]
pub enum Meant {
    /// None.
    No,
    /// All in the time.
    All,
    /// Those at these times, in microseconds.
    At(Arc<BTreeSet<i64>>),
}

/// Says of each series what is meant.
pub type SeriesTest = Arc<dyn Fn(DeviceId, &Key) -> Meant + Send + Sync>;

/// Which series are meant.
#[derive(Clone)]
pub enum Which {
    /// All of the tenant.
    All,
    /// All of these devices.
    Devices(Arc<BTreeSet<DeviceId>>),
    /// Those that a test says.
    Series(SeriesTest),
}

impl fmt::Debug for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Devices(devices) => write!(f, "Devices({})", devices.len()),
            Self::Series(_) => f.write_str("Series"),
        }
    }
}

/// Chosen readings of a tenant.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Whose.
    pub tenant: TenantId,
    /// Of which series.
    pub which: Which,
    /// The first moment inside.
    pub from: Timestamp,
    /// The last moment inside.
    pub to: Timestamp,
    /// UTC days that stay whatever is meant: from and to, both included.
    pub held: Vec<(i64, i64)>,
}

/// What a selection meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selected {
    /// Devices with readings in it.
    pub devices: u64,
    /// Their series.
    pub series: u64,
    /// At most so many readings: chunks that begin or end outside count whole.
    pub points: u64,
    /// Sections that are written anew or dropped.
    pub sections: u64,
    /// Their sealed bytes.
    pub bytes: u64,
}

/// What a destruction has done to sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewritten {
    /// Sections that were written anew without what was meant.
    pub sections: u64,
    /// Sections that were dropped whole.
    pub dropped: u64,
    /// Readings that are gone.
    pub points: u64,
}

impl Selection {
    /// All readings of some series.
    pub const fn of(tenant: TenantId, which: Which) -> Self {
        Self { tenant, which, from: Timestamp::MIN, to: Timestamp::MAX, held: Vec::new() }
    }

    /// Everything of one UTC month, counted from 1970-01.
    pub fn of_month(tenant: TenantId, month: i64) -> Self {
        let all = Self::of(tenant, Which::All);
        let Some((first, last)) = Window::Month(month).days() else { return all };
        let at = Timestamp::from_micros;
        Self { from: at(day_bounds(first).0), to: at(day_bounds(last).1), ..all }
    }

    pub(crate) fn meant(&self, device: DeviceId, key: &Key) -> Meant {
        match &self.which {
            Which::All => Meant::All,
            Which::Devices(devices) if devices.contains(&device) => Meant::All,
            Which::Devices(_) => Meant::No,
            Which::Series(test) => test(device, key),
        }
    }

    fn is_held(&self, (first, last): (i64, i64)) -> bool {
        self.held.iter().any(|(from, to)| *from <= last && first <= *to)
    }

    /// First and last time of what is meant in a window: the figures of an hour go with any of it.
    pub(crate) fn bounds(&self, window: Window) -> (i64, i64) {
        let (from, to) = (self.from.as_micros(), self.to.as_micros());
        match window {
            Window::Figures(_) => (from.saturating_sub(HOUR_MICROS - 1), to),
            Window::All | Window::Day(_) | Window::Month(_) => (from, to),
        }
    }

    pub(crate) fn takes(&self, meant: &Meant, window: Window, at: i64) -> bool {
        let (low, high) = self.bounds(window);
        let day = at.div_euclid(DAY_MICROS);
        if !(low..=high).contains(&at) || self.is_held((day, day)) {
            return false;
        }
        match meant {
            Meant::No => false,
            Meant::All => true,
            Meant::At(times) => match window {
                Window::Figures(_) => {
                    times.range(at..=at.saturating_add(HOUR_MICROS - 1)).next().is_some()
                }
                Window::All | Window::Day(_) | Window::Month(_) => times.contains(&at),
            },
        }
    }

    /// Whether something between two times may be taken; nothing is where one hold keeps all days.
    pub(crate) fn may_take(
        &self,
        meant: &Meant,
        window: Window,
        (first, last): (i64, i64),
    ) -> bool {
        let (low, high) = self.bounds(window);
        let (first, last) = (first.max(low), last.min(high));
        let days = (first.div_euclid(DAY_MICROS), last.div_euclid(DAY_MICROS));
        if first > last || self.held.iter().any(|(from, to)| *from <= days.0 && days.1 <= *to) {
            return false;
        }
        let end = match window {
            Window::Figures(_) => last.saturating_add(HOUR_MICROS - 1),
            Window::All | Window::Day(_) | Window::Month(_) => last,
        };
        match meant {
            Meant::No => false,
            Meant::All => true,
            Meant::At(times) => times.range(first..=end).next().is_some(),
        }
    }

    pub(crate) fn may_touch(&self, section: &Section) -> bool {
        let (low, high) = self.bounds(section.window);
        let is_of = match (&self.which, section.device) {
            (Which::Devices(devices), Some(own)) => devices.contains(&own),
            _ => true,
        };
        is_of && section.overlaps(low, high)
    }

    /// Whether all series under a unit's key are meant.
    fn takes_unit(&self, unit: ShredUnit) -> bool {
        match (&self.which, unit) {
            (Which::All, _) => true,
            (Which::Devices(devices), ShredUnit::Device(device)) => devices.contains(&device),
            _ => false,
        }
    }

    pub(crate) fn takes_whole(&self, section: &Section) -> bool {
        let (low, high) = self.bounds(section.window);
        let unit = section.device.map_or(ShredUnit::Tenant, ShredUnit::Device);
        let is_inside = low <= section.t_min && section.t_max <= high;
        is_inside && self.takes_unit(unit) && !self.is_held(section.days())
    }

    /// How what a key sealed is destroyed: with the key alone, where all of it was meant.
    pub fn method(&self, scope: &DekScope) -> DestructionMethod {
        let window = match scope.epoch {
            Epoch::None => Window::All,
            Epoch::Day(day) => Window::Day(day),
            Epoch::Month(month) => Window::Month(month),
            Epoch::MonthFigures(month) => Window::Figures(month),
        };
        let is_whole = window.days().is_some_and(|days| {
            let (from, to) = (self.from.day(), self.to.day());
            let begins =
                from < days.0 || (from == days.0 && self.from.as_micros() % DAY_MICROS == 0);
            let ends = to > days.1 || (to == days.1 && is_last_of_day(self.to));
            begins && ends && !self.is_held(days)
        });
        if is_whole && self.takes_unit(scope.unit) {
            DestructionMethod::KeyDestroyed
        } else {
            DestructionMethod::RewrittenThenKeyDestroyed
        }
    }

    /// Whether anything that a key has sealed may be meant.
    pub(crate) fn concerns(&self, scope: &DekScope) -> bool {
        let is_of = match (&self.which, scope.unit) {
            (Which::Devices(devices), ShredUnit::Device(own)) => devices.contains(&own),
            _ => true,
        };
        let days = match scope.epoch {
            Epoch::None => None,
            Epoch::Day(day) => Window::Day(day).days(),
            Epoch::Month(month) | Epoch::MonthFigures(month) => Window::Month(month).days(),
        };
        let (from, to) = (self.from.day(), self.to.day());
        is_of && days.is_none_or(|(first, last)| first <= to && from <= last)
    }
}

fn is_last_of_day(at: Timestamp) -> bool {
    at.as_micros().rem_euclid(DAY_MICROS) == DAY_MICROS - 1
}

#[cfg(test)]
mod tests {
    use veritwin_keys::DataClass;

    use super::*;

    fn selection(which: Which, from: &str, to: &str) -> Selection {
        let time = |text| Timestamp::parse_rfc3339(text).expect("a time");
        let tenant = TenantId::from_bytes([1; 16]);
        Selection { tenant, which, from: time(from), to: time(to), held: Vec::new() }
    }

    #[test]
    fn the_method_says_whether_the_key_alone_did_it() {
        let tenant = TenantId::from_bytes([1; 16]);
        let scope = DekScope::tenant(tenant, DataClass::Segment);
        let (own, other) = (DeviceId::from_bytes([2; 16]), DeviceId::from_bytes([3; 16]));
        let month = |which| selection(which, "2026-10-01T00:00:00Z", "2026-10-31T23:59:59.999999Z");
        let day = Timestamp::parse_rfc3339("2026-10-31T00:00:00Z").expect("a time").day();
        let check = |selection: &Selection, scope: DekScope, is_key: bool| {
            let method = selection.method(&scope);
            assert_eq!(method == DestructionMethod::KeyDestroyed, is_key, "{scope:?}");
        };
        let all = month(Which::All);
        check(&all, scope.with_epoch(Epoch::Month(681)), true);
        check(&all, scope.with_epoch(Epoch::Day(day)), true);
        check(&all, scope.with_epoch(Epoch::Day(day + 1)), false);
        check(&all, scope, false);
        check(
            &Selection { held: vec![(day, day)], ..all },
            scope.with_epoch(Epoch::Month(681)),
            false,
        );
        let one = month(Which::Devices(Arc::new(BTreeSet::from([own]))));
        let of = |device| scope.with_epoch(Epoch::Day(day)).with_unit(ShredUnit::Device(device));
        check(&one, of(own), true);
        check(&one, of(other), false);
        check(&one, scope.with_epoch(Epoch::Day(day)), false);
        assert!(one.concerns(&of(own)) && !one.concerns(&of(other)));
    }

    #[test]
    fn figures_of_an_hour_go_with_any_of_its_readings() {
        let some = selection(Which::All, "2026-10-01T10:30:00Z", "2026-10-01T10:40:00Z");
        let hour = |text| Timestamp::parse_rfc3339(text).expect("a time").as_micros();
        let figures = Window::Figures(681);
        assert!(some.takes(&Meant::All, figures, hour("2026-10-01T10:00:00Z")));
        assert!(!some.takes(&Meant::All, figures, hour("2026-10-01T09:00:00Z")));
        assert!(!some.takes(&Meant::All, figures, hour("2026-10-01T11:00:00Z")));
        let at = Meant::At(Arc::new(BTreeSet::from([hour("2026-10-01T10:35:00Z")])));
        assert!(some.takes(&at, figures, hour("2026-10-01T10:00:00Z")));
        assert!(some.takes(&at, Window::All, hour("2026-10-01T10:35:00Z")));
        assert!(!some.takes(&at, Window::All, hour("2026-10-01T10:36:00Z")));
    }

    #[test]
    fn what_is_held_or_names_nobody_is_not_written_anew() {
        let time = |text: &str| Timestamp::parse_rfc3339(text).expect("a time").as_micros();
        let some = selection(Which::All, "2026-10-01T00:00:00Z", "2026-10-03T23:59:59.999999Z");
        let day = time("2026-10-02T00:00:00Z").div_euclid(DAY_MICROS);
        let held = Selection { held: vec![(day, day)], ..some.clone() };
        let second = (time("2026-10-02T01:00:00Z"), time("2026-10-02T02:00:00Z"));
        let both = (time("2026-10-02T01:00:00Z"), time("2026-10-03T02:00:00Z"));
        let later = (time("2026-10-04T00:00:00Z"), time("2026-10-05T00:00:00Z"));
        assert!(some.may_take(&Meant::All, Window::All, second));
        assert!(!some.may_take(&Meant::All, Window::All, later));
        assert!(!some.may_take(&Meant::No, Window::All, second));
        assert!(!held.may_take(&Meant::All, Window::All, second), "all of it is held");
        assert!(held.may_take(&Meant::All, Window::All, both));
        let at = |text: &str| Meant::At(Arc::new(BTreeSet::from([time(text)])));
        assert!(some.may_take(&at("2026-10-02T01:30:00Z"), Window::All, second));
        assert!(!some.may_take(&at("2026-10-02T02:30:00Z"), Window::All, second));
        assert!(some.may_take(&at("2026-10-02T02:30:00Z"), Window::Figures(681), second));
    }
}

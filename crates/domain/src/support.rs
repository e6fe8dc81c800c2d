//! What a customer may open to the platform's support: a closed list of areas, all of them for
//! reading only. Nothing here decides; the policies of `access` do.

use std::fmt;
use std::str::FromStr;

/// A part of a tenant that support may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SupportArea {
    /// Devices, their attributes and credentials (never secrets).
    Devices,
    /// Series declared non-personal.
    Telemetry,
    /// Twins.
    Twin,
    /// Alerts and the rules behind them.
    Alerts,
    /// The tenant's settings: name, rules, which key protects what.
    Settings,
}

impl SupportArea {
    /// Every area there is.
    pub const ALL: [Self; 5] =
        [Self::Devices, Self::Telemetry, Self::Twin, Self::Alerts, Self::Settings];

    /// The name used in policies, records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Telemetry => "telemetry",
            Self::Twin => "twin",
            Self::Alerts => "alerts",
            Self::Settings => "settings",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for SupportArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SupportArea {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|area| area.as_str() == text).ok_or(())
    }
}

/// A set of areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SupportAreas(u8);

impl SupportAreas {
    /// The set of these areas.
    pub fn of(areas: &[SupportArea]) -> Self {
        Self(areas.iter().fold(0, |bits, area| bits | area.bit()))
    }

    /// The stored form; bits of no area are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::of(&SupportArea::ALL).0)
    }

    /// The bits to store.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The areas, in their order.
    pub fn iter(self) -> impl Iterator<Item = SupportArea> {
        SupportArea::ALL.into_iter().filter(move |area| self.0 & area.bit() != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_round_trip_and_unknown_bits_mean_nothing() {
        let some = SupportAreas::of(&[SupportArea::Alerts, SupportArea::Devices]);
        assert_eq!(SupportAreas::from_bits(some.bits()), some);
        let names: Vec<&str> = some.iter().map(SupportArea::as_str).collect();
        assert_eq!(names, ["devices", "alerts"]);
        assert!(SupportAreas::from_bits(0b1110_0000).is_empty());
        for area in SupportArea::ALL {
            assert_eq!(area.as_str().parse(), Ok(area));
        }
    }
}

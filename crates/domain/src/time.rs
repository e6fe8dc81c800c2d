//! Wall time as microseconds since the Unix epoch, with the RFC 3339 text form. Years 1678 to 2262
//! are far inside the range; readings from before 1970 are ordinary negative values.

use std::fmt;
use std::time::Duration;

/// Microseconds in one UTC day (leap seconds are not represented).
pub const DAY_MICROS: i64 = 86_400_000_000;

/// 0001-01-01T00:00:00Z.
const SAID_MICROS_MIN: i64 = -62_135_596_800_000_000;
/// The last microsecond of the year 9999.
const SAID_MICROS_MAX: i64 = 253_402_300_799_999_999;

/// Why a text or number is not a time stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The text is not in the RFC 3339 form.
    #[error("not an RFC 3339 time: expected a form like 2026-01-31T08:00:00Z")]
    Text,
    /// The number is no moment that RFC 3339 can say.
    #[error("time out of range: expected a moment of the years 1 to 9999")]
    Range,
}

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The earliest moment that can be represented.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment that can be represented.
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch, as devices send them; see [`Timestamp::measured`].
    pub fn from_millis(millis: i64) -> Result<Self, TimestampError> {
        millis.checked_mul(1000).ok_or(TimestampError::Range).and_then(Self::measured)
    }

    /// From microseconds since the epoch that somebody else sent: a moment that can be written as
    /// RFC 3339, and so be asked for again.
    pub const fn measured(micros: i64) -> Result<Self, TimestampError> {
        if micros < SAID_MICROS_MIN || micros > SAID_MICROS_MAX {
            return Err(TimestampError::Range);
        }
        Ok(Self(micros))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The UTC day, counted from the epoch; negative before 1970.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY_MICROS)
    }

    /// The UTC date: year, month, day of the month.
    pub fn date(self) -> (i64, i64, i64) {
        civil_from_days(self.day())
    }

    /// This moment moved by `duration`, held at the ends of the range.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This moment moved back by `duration`, held at the ends of the range.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The next moment that can be told from this one: a microsecond later.
    #[must_use]
    pub const fn just_after(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Time passed since `earlier`; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses RFC 3339 (`2026-01-31T08:00:00.5+01:00`). Finer digits than microseconds are cut.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        parse(text).ok_or(TimestampError::Text)
    }
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0i64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

/// Days from the epoch to a proleptic Gregorian date (Hinnant, "chrono-compatible low-level date
/// algorithms", `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The proleptic Gregorian date of a day (Hinnant, `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes.len() > 40 {
        return None;
    }
    let separators_match = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !separators_match {
        return None;
    }
    let (year, month, day) = (digits(&bytes[0..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let (hour, minute, second) =
        (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut fraction_micros = 0i64;
    if rest.first() == Some(&b'.') {
        let count = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        for place in 0..6 {
            let digit = if place < count { i64::from(rest[1 + place] - b'0') } else { 0 };
            fraction_micros = fraction_micros * 10 + digit;
        }
        rest = &rest[1 + count..];
    }
    let offset_minutes = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), hours_and_minutes @ ..]
            if hours_and_minutes.len() == 5 && hours_and_minutes[2] == b':' =>
        {
            let hours = digits(&hours_and_minutes[..2])?;
            let minutes = digits(&hours_and_minutes[3..])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(Timestamp(seconds.checked_mul(1_000_000)?.checked_add(fraction_micros)?))
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many fraction digits as needed (none, three or six).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let micros_of_day = self.0.rem_euclid(DAY_MICROS);
        let seconds = micros_of_day / 1_000_000;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match micros_of_day % 1_000_000 {
            0 => {}
            micros if micros % 1000 == 0 => write!(f, ".{:03}", micros / 1000)?,
            micros => write!(f, ".{micros:06}")?,
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let check = |text: &str, micros: i64, canonical: &str| {
            let parsed = Timestamp::parse_rfc3339(text).expect(text);
            assert_eq!(parsed.as_micros(), micros, "{text}");
            assert_eq!(parsed.to_string(), canonical, "{text}");
        };
        check("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z");
        check("2019-10-01T02:00:00+02:00", 1_569_888_000_000_000, "2019-10-01T00:00:00Z");
        check("2000-02-29T23:59:59.5Z", 951_868_799_500_000, "2000-02-29T23:59:59.500Z");
        check("1969-12-31T23:59:59.999999Z", -1, "1969-12-31T23:59:59.999999Z");
        check("1900-03-01T00:00:00Z", -2_203_891_200_000_000, "1900-03-01T00:00:00Z");
        for bad in [
            "",
            "2019-02-29T00:00:00Z",
            "2019-10-01T00:00:00",
            "2019-10-01T24:00:00Z",
            "2019-10-01T00:00:00.Z",
            "2019-13-01T00:00:00Z",
            "20191001T000000Z-------",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(bad), Err(TimestampError::Text), "{bad}");
        }
    }

    #[test]
    fn days_before_the_epoch_round_down() {
        assert_eq!(Timestamp::from_micros(-1).day(), -1);
        assert_eq!(Timestamp::from_micros(-1).as_millis(), -1);
        for (text, millis) in [
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(Timestamp::from_millis(millis), Timestamp::parse_rfc3339(text), "{text}");
        }
        for millis in [i64::MAX, i64::MIN, -62_135_596_800_001, 253_402_300_800_000] {
            assert_eq!(Timestamp::from_millis(millis), Err(TimestampError::Range), "{millis}");
        }
    }
}

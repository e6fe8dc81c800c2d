//! Times as files write them: numbers since 1970 in some unit, RFC 3339, or local ones with a time
//! zone, daylight saving included.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use veritwin_domain::Timestamp;

use super::cells::Cell;

/// Longest pattern or name of a time zone, in bytes.
const TEXT_BYTES_MAX: usize = 100;
/// What is tried where local times are to be read and no pattern is given.
const USUAL: [&str; 8] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
];

/// How times are written.
#[derive(Debug, Clone, PartialEq)]
pub enum TimeForm {
    /// RFC 3339, with its offset.
    Rfc3339,
    /// Seconds since 1970; a fraction is kept to the microsecond.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970, kept to the microsecond.
    Nanoseconds,
    /// Without an offset, in a time zone.
    Local {
        /// Where the clock hung.
        zone: TimeZone,
        /// As `strftime` has it; none: one of the usual forms.
        pattern: Option<String>,
    },
}

impl TimeForm {
    /// From its name, with the zone and the pattern that local times have.
    pub fn parse(name: &str, zone: Option<&str>, pattern: Option<&str>) -> Result<Self, String> {
        let number = match name {
            "rfc3339" => Self::Rfc3339,
            "s" => Self::Seconds,
            "ms" => Self::Milliseconds,
            "us" => Self::Microseconds,
            "ns" => Self::Nanoseconds,
            "local" => return local(zone, pattern),
            _ => {
                return Err(
                    "unknown form of times: expected rfc3339, s, ms, us, ns or local, the \
                            last with a time zone"
                        .to_owned(),
                );
            }
        };
        if zone.is_some() || pattern.is_some() {
            return Err(
                "a time zone and a pattern are for local times: expected the form local".to_owned()
            );
        }
        Ok(number)
    }

    /// Whether times without an offset can be read.
    pub(in crate::bulk) const fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    /// The moment that a cell names.
    pub(super) fn read(&self, cell: &Cell<'_>) -> Result<Timestamp, String> {
        let micros = match cell {
            Cell::Null => return Err("no time: expected one in every row".to_owned()),
            Cell::Moment(micros) => Some(*micros),
            Cell::Wall(micros) => self.of_wall(*micros)?,
            Cell::Integer(number) => self.of_integer(*number)?,
            Cell::Double(number) => self.of_double(*number)?,
            Cell::Boolean(_) | Cell::Foreign => None,
            Cell::Text(text) => self.of_text(text.trim())?,
        };
        let micros = micros.ok_or_else(|| self.expected().to_owned())?;
        Timestamp::measured(micros).map_err(|error| error.to_string())
    }

    const fn expected(&self) -> &'static str {
        match self {
            Self::Rfc3339 => "not a time: expected RFC 3339, such as 2026-01-31T08:30:00+01:00",
            Self::Seconds => "not a time: expected seconds since 1970, such as 1769848200",
            Self::Milliseconds => {
                "not a time: expected whole milliseconds since 1970, such as 1769848200000"
            }
            Self::Microseconds => {
                "not a time: expected whole microseconds since 1970, such as 1769848200000000"
            }
            Self::Nanoseconds => {
                "not a time: expected whole nanoseconds since 1970, such as 1769848200000000000"
            }
            Self::Local { pattern: None, .. } => {
                "not a local time: expected one like 2026-01-31 08:30:00, or a pattern that says \
                 how it is written"
            }
            Self::Local { pattern: Some(_), .. } => {
                "not a local time in the form of the pattern that was given"
            }
        }
    }

    fn of_wall(&self, micros: i64) -> Result<Option<i64>, String> {
        let Self::Local { zone, .. } = self else {
            return Err("a time of no time zone: expected the form local, and a zone".to_owned());
        };
        let civil = jiff::Timestamp::from_microsecond(micros).ok();
        civil.map_or(Ok(None), |civil| micros_of(zone, TimeZone::UTC.to_datetime(civil)))
    }

    fn of_integer(&self, number: i64) -> Result<Option<i64>, String> {
        Ok(match self {
            Self::Seconds => number.checked_mul(1_000_000),
            Self::Milliseconds => number.checked_mul(1_000),
            Self::Microseconds => Some(number),
            Self::Nanoseconds => Some(number.div_euclid(1_000)),
            // A number may be all that a pattern takes, such as %Y%m%d%H%M.
            Self::Local { .. } => self.of_text(&number.to_string())?,
            Self::Rfc3339 => None,
        })
    }

    fn of_double(&self, number: f64) -> Result<Option<i64>, String> {
        let micros = match self {
            Self::Seconds => number * 1e6,
            Self::Milliseconds => number * 1e3,
            Self::Microseconds => number,
            Self::Nanoseconds => number / 1e3,
            Self::Rfc3339 | Self::Local { .. } => return Ok(None),
        };
        // Beyond this a double is no whole number of microseconds, and no time of a reading.
        let is_within = micros.is_finite() && micros.abs() < 9.0e18;
        Ok(is_within.then(|| micros.round() as i64))
    }

    fn of_text(&self, text: &str) -> Result<Option<i64>, String> {
        match self {
            Self::Rfc3339 => Ok(Timestamp::parse_rfc3339(text).ok().map(Timestamp::as_micros)),
            Self::Local { zone, pattern } => local_micros(zone, pattern.as_deref(), text),
            Self::Seconds => match text.parse::<i64>() {
                Ok(number) => self.of_integer(number),
                Err(_) => Ok(fraction(text)),
            },
            Self::Milliseconds | Self::Microseconds | Self::Nanoseconds => {
                match text.parse::<i64>() {
                    Ok(number) => self.of_integer(number),
                    Err(_) => Ok(None),
                }
            }
        }
    }
}

/// Seconds with a fraction, exactly: digits beyond the microsecond are left out.
fn fraction(text: &str) -> Option<i64> {
    let (whole, rest) = text.split_once('.')?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_negative = whole.starts_with('-');
    let bare = whole.strip_prefix('-').unwrap_or(whole);
    if bare.is_empty() || rest.is_empty() || !digits(bare) || !digits(rest) {
        return None;
    }
    let seconds: i64 = bare.parse().ok()?;
    let padded: String = rest.chars().chain("000000".chars()).take(6).collect();
    let micros = seconds.checked_mul(1_000_000)?.checked_add(padded.parse().ok()?)?;
    Some(if is_negative { -micros } else { micros })
}

fn local(zone: Option<&str>, pattern: Option<&str>) -> Result<TimeForm, String> {
    let Some(name) = zone else {
        return Err("local times need a time zone, such as Europe/Berlin or UTC".to_owned());
    };
    if name.len() > TEXT_BYTES_MAX || pattern.is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(format!("a time zone or pattern has at most {TEXT_BYTES_MAX} bytes"));
    }
    let zone = if name.eq_ignore_ascii_case("utc") {
        TimeZone::UTC
    } else {
        TimeZone::get(name).map_err(|_| {
            "unknown time zone: expected a name of the IANA database, such as Asia/Tokyo".to_owned()
        })?
    };
    if let Some(pattern) = pattern
        && !pattern.contains('%')
    {
        return Err("a pattern says how times are written, such as %d.%m.%Y %H:%M".to_owned());
    }
    Ok(TimeForm::Local { zone, pattern: pattern.map(str::to_owned) })
}

fn local_micros(zone: &TimeZone, pattern: Option<&str>, text: &str) -> Result<Option<i64>, String> {
    let read = |pattern: &str| BrokenDownTime::parse(pattern, text).ok();
    let broken = match pattern {
        Some(pattern) => read(pattern),
        None => USUAL.into_iter().find_map(read),
    };
    let Some(broken) = broken else { return Ok(None) };
    if broken.offset().is_some() {
        let moment = broken.to_timestamp().ok();
        return Ok(moment.map(jiff::Timestamp::as_microsecond));
    }
    broken.to_datetime().map_or(Ok(None), |civil| micros_of(zone, civil))
}

/// A time that comes twice when the clock goes back is the first of the two; one that the clock
/// leaves out is none.
fn micros_of(zone: &TimeZone, civil: DateTime) -> Result<Option<i64>, String> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
        return Err("a local time that there is not: the clock goes forward over it".to_owned());
    }
    let moment = ambiguous.earlier().ok();
    Ok(moment.map(jiff::Timestamp::as_microsecond))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: &TimeForm, text: &str, expect: Option<i64>) {
        let found = form.read(&Cell::Text(text)).ok().map(Timestamp::as_micros);
        assert_eq!(found, expect, "{text} as {form:?}");
    }

    #[test]
    fn numbers_are_read_in_their_unit() {
        check(&TimeForm::Seconds, "1769848200", Some(1_769_848_200_000_000));
        check(&TimeForm::Seconds, "1769848200.0000015", Some(1_769_848_200_000_001));
        check(&TimeForm::Seconds, "-1.5", Some(-1_500_000));
        check(&TimeForm::Seconds, "1.-5", None);
        check(&TimeForm::Milliseconds, "1769848200123", Some(1_769_848_200_123_000));
        check(&TimeForm::Milliseconds, "1769848200.5", None);
        check(&TimeForm::Nanoseconds, "1769848200123456789", Some(1_769_848_200_123_456));
        check(&TimeForm::Rfc3339, "2026-01-31T09:30:00+01:00", Some(1_769_848_200_000_000));
        check(&TimeForm::Rfc3339, "1769848200", None);
    }

    #[test]
    fn local_times_follow_daylight_saving() {
        let berlin = TimeForm::parse("local", Some("Europe/Berlin"), None).expect("a form");
        check(&berlin, "2026-01-31 09:30:00", Some(1_769_848_200_000_000));
        // The hour that there is not, and the one that comes twice.
        check(&berlin, "2026-03-29 02:30:00", None);
        check(&berlin, "2026-10-25 02:30:00", Some(1_792_888_200_000_000));
        let pattern = TimeForm::parse("local", Some("Asia/Tokyo"), Some("%d/%m/%Y %H.%M"));
        check(&pattern.expect("a form"), "31/01/2026 17.30", Some(1_769_848_200_000_000));
        // What a table has without an offset is the same; what has one needs no zone.
        let micros =
            |form: &TimeForm, cell: &Cell<'_>| form.read(cell).ok().map(Timestamp::as_micros);
        let wall = Cell::Wall(1_769_851_800_000_000);
        assert_eq!(micros(&berlin, &wall), Some(1_769_848_200_000_000));
        assert_eq!(micros(&TimeForm::Microseconds, &wall), None);
        let moment = Cell::Moment(1_769_848_200_000_000);
        assert_eq!(micros(&berlin, &moment), Some(1_769_848_200_000_000));
        assert!(TimeForm::parse("local", None, None).is_err());
        assert!(TimeForm::parse("local", Some("Mars/Olympus"), None).is_err());
        assert!(TimeForm::parse("ms", Some("UTC"), None).is_err());
    }
}

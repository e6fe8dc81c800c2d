//! Where buckets begin and end: of a fixed width, by the calendar of a time zone, or one for the
//! whole range. Buckets lie side by side without gaps and cover all of time; one by the calendar
//! is as long as its hour, day or month is there, also where clocks were changed.

use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Moment, ToSpan};

/// The first microsecond of the year 1: what lies before is one bucket of every calendar.
const CALENDAR_FIRST: i64 = -62_135_596_800_000_000;
/// The last microsecond of the year 9997: what lies after it is one bucket of every calendar.
const CALENDAR_LAST: i64 = 253_339_228_799_999_999;
const HOUR_MICROS: i64 = 3_600_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// The rules that the build has with it: an answer does not change with what a host has installed.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of a name such as `Europe/Berlin`; none when the database has no such name.
    pub fn named(name: &str) -> Option<Self> {
        ZONES.get(name).ok().map(Self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weekday {
    /// Monday, as in ISO 8601.
    #[default]
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Weekday {
    const fn civil(self) -> jiff::civil::Weekday {
        use jiff::civil::Weekday as Civil;
        match self {
            Self::Monday => Civil::Monday,
            Self::Tuesday => Civil::Tuesday,
            Self::Wednesday => Civil::Wednesday,
            Self::Thursday => Civil::Thursday,
            Self::Friday => Civil::Friday,
            Self::Saturday => Civil::Saturday,
            Self::Sunday => Civil::Sunday,
        }
    }
}

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarUnit {
    /// An hour of the clock. Where clocks are changed within an hour, a bucket ends there.
    Hour,
    /// A day.
    Day,
    /// A week that begins with this day.
    Week(Weekday),
    /// A month.
    Month,
    /// A quarter of a year, from January on.
    Quarter,
    /// A year.
    Year,
}

impl CalendarUnit {
    /// The first day of the stretch that holds `date`.
    fn first_day(self, date: Date) -> Date {
        match self {
            Self::Hour | Self::Day => date,
            Self::Week(first) => {
                let days = i64::from(date.weekday().since(first.civil()));
                date.checked_sub(days.days()).unwrap_or(date)
            }
            Self::Month => date.first_of_month(),
            Self::Quarter => {
                let month = (date.month() - 1) / 3 * 3 + 1;
                Date::new(date.year(), month, 1).unwrap_or(date)
            }
            Self::Year => date.first_of_year(),
        }
    }

    /// The first day of the stretch after the one that begins with `first`.
    fn next_first_day(self, first: Date) -> Date {
        let span = match self {
            Self::Hour | Self::Day => 1.day(),
            Self::Week(_) => 1.week(),
            Self::Month => 1.month(),
            Self::Quarter => 3.months(),
            Self::Year => 1.year(),
        };
        first.checked_add(span).unwrap_or(Date::MAX)
    }
}

/// Into which stretches of time readings are taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Buckets {
    /// The whole range is one.
    Whole,
    /// Of one width, counted from `origin_micros`.
    Fixed {
        /// Microseconds, at least 1.
        width_micros: i64,
        /// A moment at which a bucket begins, in microseconds since 1970.
        origin_micros: i64,
    },
    /// By the calendar.
    Calendar {
        /// The stretch.
        unit: CalendarUnit,
        /// Whose clocks count.
        zone: Zone,
    },
}

impl Buckets {
    /// First and last microsecond of the bucket around `at`, in a range from `low` to `high`.
    pub(crate) fn bounds(&self, at: i64, (low, high): (i64, i64)) -> (i64, i64) {
        match self {
            Self::Whole => (low, high),
            Self::Fixed { width_micros, origin_micros } => {
                fixed_bounds(at, *width_micros, *origin_micros)
            }
            Self::Calendar { .. } if at < CALENDAR_FIRST => (i64::MIN, CALENDAR_FIRST - 1),
            Self::Calendar { .. } if at > CALENDAR_LAST => (CALENDAR_LAST + 1, i64::MAX),
            Self::Calendar { unit, zone } => {
                let (start, end) = match unit {
                    CalendarUnit::Hour => hour_bounds(&zone.0, at),
                    _ => day_bounds(*unit, &zone.0, at),
                };
                (start.max(CALENDAR_FIRST), end.min(CALENDAR_LAST))
            }
        }
    }
}

/// The same for buckets of one width, held at the ends of time.
pub(crate) fn fixed_bounds(at: i64, width_micros: i64, origin_micros: i64) -> (i64, i64) {
    let (width, origin) = (i128::from(width_micros.max(1)), i128::from(origin_micros));
    let start = (i128::from(at) - origin).div_euclid(width) * width + origin;
    let hold = |at: i128| i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX });
    (hold(start), hold(start + width - 1))
}

fn moment(micros: i64) -> Moment {
    // Callers stay between the years 1 and 9997.
    Moment::from_microsecond(micros).unwrap_or(Moment::UNIX_EPOCH)
}

fn offset_micros(zone: &TimeZone, at: i64) -> i64 {
    i64::from(zone.to_offset(moment(at)).seconds()) * SECOND_MICROS
}

fn hour_bounds(zone: &TimeZone, at: i64) -> (i64, i64) {
    let offset = offset_micros(zone, at);
    let start = (at + offset).div_euclid(HOUR_MICROS) * HOUR_MICROS - offset;
    let end = start + HOUR_MICROS - 1;
    if offset_micros(zone, start) == offset && offset_micros(zone, end) == offset {
        return (start, end);
    }
    let is_change = |change: i64| offset_micros(zone, change - 1) != offset_micros(zone, change);
    let started = zone
        .preceding(moment(at + 1))
        .map(|change| change.timestamp().as_microsecond())
        .take_while(|change| *change > start)
        .find(|change| is_change(*change));
    let ended = zone
        .following(moment(at))
        .map(|change| change.timestamp().as_microsecond())
        .take_while(|change| *change <= end)
        .find(|change| is_change(*change));
    (started.unwrap_or(start), ended.map_or(end, |change| change - 1))
}

fn day_bounds(unit: CalendarUnit, zone: &TimeZone, at: i64) -> (i64, i64) {
    let first = unit.first_day(zone.to_datetime(moment(at)).date());
    let mut start = midnight(zone, first);
    let mut next = unit.next_first_day(first);
    let mut end = midnight(zone, next);
    // Clocks that are put back over midnight show the day before once more: it has ended already.
    while end <= at {
        start = end;
        next = unit.next_first_day(next);
        end = midnight(zone, next);
    }
    (start, end - 1)
}

/// The first microsecond at which the clocks of a zone show the beginning of a day or, where they
/// are put forward over it, something later.
fn midnight(zone: &TimeZone, date: Date) -> i64 {
    let shown = date.at(0, 0, 0, 0);
    let at = |offset: jiff::tz::Offset| {
        offset.to_timestamp(shown).map_or(i64::MAX, |moment| moment.as_microsecond())
    };
    match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset),
        AmbiguousOffset::Fold { before, .. } => at(before),
        AmbiguousOffset::Gap { before, after } => offset_change(zone, at(after), at(before)),
    }
}

/// The moment between two others at which the clocks are put forward.
fn offset_change(zone: &TimeZone, early: i64, late: i64) -> i64 {
    let changes = zone.following(moment(early));
    changes.map(|change| change.timestamp().as_microsecond()).next().unwrap_or(late).min(late)
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Timestamp;

    use super::*;

    fn micros(text: &str) -> i64 {
        Timestamp::parse_rfc3339(text).expect("a time").as_micros()
    }

    fn check(unit: CalendarUnit, zone: &str, at: &str, expect: (&str, &str)) {
        let zone = Zone::named(zone).expect("a zone");
        let buckets = Buckets::Calendar { unit, zone };
        let (start, end) = buckets.bounds(micros(at), (i64::MIN, i64::MAX));
        assert_eq!((start, end + 1), (micros(expect.0), micros(expect.1)), "{unit:?} of {at}");
    }

    #[test]
    fn days_are_as_long_as_they_are_there() {
        use CalendarUnit::Day;
        let (berlin, apia) = ("Europe/Berlin", "Pacific/Apia");
        let short = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        check(Day, berlin, "2026-03-29T12:00:00Z", short);
        let long = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        check(Day, berlin, "2026-10-25T22:59:59Z", long);
        // The clocks of São Paulo were put forward at midnight: the day began at one.
        let summer = ("2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
        check(Day, "America/Sao_Paulo", "2018-11-04T03:00:00Z", summer);
        // Samoa had no 30 December 2011.
        let before = ("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
        check(Day, apia, "2011-12-30T09:59:59Z", before);
        let after = ("2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
        check(Day, apia, "2011-12-30T10:00:00Z", after);
        // St. John's put its clocks back at one past midnight: a minute of the new day had passed.
        let twice = ("2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z");
        check(Day, "America/St_Johns", "2006-10-29T02:45:00Z", twice);
        // Toronto once went from half past eleven to half past twelve.
        let night = ("1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z");
        check(Day, "America/Toronto", "1919-03-31T05:00:00Z", night);
    }

    #[test]
    fn hours_end_where_clocks_are_changed() {
        use CalendarUnit::Hour;
        let quarter = ("2026-01-01T00:15:00Z", "2026-01-01T01:15:00Z");
        check(Hour, "Asia/Kathmandu", "2026-01-01T00:15:00Z", quarter);
        // Lord Howe moves by half an hour: at two forward, at two back.
        let half = ("2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z");
        check(Hour, "Australia/Lord_Howe", "2026-10-03T15:45:00Z", half);
        let first = ("2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z");
        check(Hour, "Australia/Lord_Howe", "2026-04-04T14:59:59Z", first);
        let again = ("2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z");
        check(Hour, "Australia/Lord_Howe", "2026-04-04T15:00:00Z", again);
        // Two o'clock twice is two buckets.
        let second = ("2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z");
        check(Hour, "Europe/Berlin", "2026-10-25T01:20:00Z", second);
    }

    #[test]
    fn weeks_months_quarters_and_years() {
        let (taipei, at) = ("Asia/Taipei", "2026-11-29T18:00:00Z");
        let monday = ("2026-11-29T16:00:00Z", "2026-12-06T16:00:00Z");
        check(CalendarUnit::Week(Weekday::Monday), taipei, at, monday);
        let sunday = ("2026-11-28T16:00:00Z", "2026-12-05T16:00:00Z");
        check(CalendarUnit::Week(Weekday::Sunday), taipei, at, sunday);
        check(CalendarUnit::Month, taipei, at, ("2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z"));
        check(CalendarUnit::Quarter, taipei, at, ("2026-09-30T16:00:00Z", "2026-12-31T16:00:00Z"));
        check(CalendarUnit::Year, taipei, at, ("2025-12-31T16:00:00Z", "2026-12-31T16:00:00Z"));
    }

    #[test]
    fn all_of_time_is_covered() {
        let day = Buckets::Calendar { unit: CalendarUnit::Day, zone: Zone::UTC };
        let all = (i64::MIN, i64::MAX);
        assert_eq!(day.bounds(i64::MIN, all), (i64::MIN, CALENDAR_FIRST - 1));
        assert_eq!(day.bounds(CALENDAR_FIRST, all).0, CALENDAR_FIRST);
        assert_eq!(day.bounds(i64::MAX, all), (CALENDAR_LAST + 1, i64::MAX));
        assert_eq!(day.bounds(CALENDAR_LAST, all).1, CALENDAR_LAST);
        assert_eq!(fixed_bounds(-1, 10, 3), (-7, 2));
        assert_eq!(fixed_bounds(i64::MAX, i64::MAX, 0), (i64::MAX, i64::MAX));
        assert!(Zone::named("Europe/Atlantis").is_none());
        assert_eq!(
            Zone::named("europe/berlin").map(|zone| zone.name().to_owned()).as_deref(),
            Some("Europe/Berlin")
        );
    }
}

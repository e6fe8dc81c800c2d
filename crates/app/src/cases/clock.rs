//! The clocks of a case: acknowledged within 7 days, answered within 30 days or a calendar month,
//! whichever is earlier. They stand only while it is not known who asks. Pure.

use std::time::Duration;

use veritwin_domain::{DAY_MICROS, Timestamp};

const DAY: Duration = Duration::from_secs(86_400);
/// A case is acknowledged within this time.
pub(crate) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(7 * 86_400);
/// A case is answered within this time, or a calendar month if that is less.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30 * 86_400);
/// With an extension: so many calendar months after it came, at most.
const EXTENDED_MONTHS_MAX: i64 = 3;
/// Who was mailed a code and does not show it for so long is refused; no clock stands longer.
pub(crate) const VERIFIED_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// A request from an address that nobody here is known under ends by itself after this time without
/// proof of who asks, counted from the last thing that anybody did about it.
pub(crate) const LAPSES_AFTER: Duration = Duration::from_secs(14 * 86_400);

/// What a case is reminded of, in the order of a case's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Two days are left to acknowledge it.
    AcknowledgeSoon,
    /// It was not acknowledged in time.
    AcknowledgeMissed,
    /// A week is left to answer it.
    AnswerSoon,
    /// A day is left to answer it.
    AnswerTomorrow,
    /// It was not answered in time.
    AnswerMissed,
    /// Who asks has not shown who they are.
    NotVerified,
}

impl Alarm {
    const ALL: [Self; 6] = [
        Self::AcknowledgeSoon,
        Self::AcknowledgeMissed,
        Self::AnswerSoon,
        Self::AnswerTomorrow,
        Self::AnswerMissed,
        Self::NotVerified,
    ];

    /// The name in histories and answers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AcknowledgeSoon => "acknowledge_soon",
            Self::AcknowledgeMissed => "acknowledge_missed",
            Self::AnswerSoon => "answer_soon",
            Self::AnswerTomorrow => "answer_tomorrow",
            Self::AnswerMissed => "answer_missed",
            Self::NotVerified => "not_verified",
        }
    }

    /// Whether a line of a history is an alarm's.
    pub(crate) fn is_named(name: &str) -> bool {
        Self::ALL.iter().any(|alarm| alarm.as_str() == name)
    }

    /// Whether a promise is broken by then.
    pub(crate) const fn is_breach(self) -> bool {
        matches!(self, Self::AcknowledgeMissed | Self::AnswerMissed)
    }
}

/// What the clocks of a case go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) received_at: Timestamp,
    pub(crate) answer_by: Timestamp,
    pub(crate) is_acknowledged: bool,
    /// Since when it is being found out who asks.
    pub(crate) verifying_since: Option<Timestamp>,
    /// Where nobody here is known under its address: when it ends without proof.
    pub(crate) lapses_at: Option<Timestamp>,
}

impl Clocks {
    /// When an alarm is due; none while it cannot be.
    fn due(&self, alarm: Alarm) -> Option<Timestamp> {
        let acknowledge_by = self.received_at.saturating_add(ACKNOWLEDGE_WITHIN);
        match (alarm, self.verifying_since) {
            (Alarm::AcknowledgeSoon | Alarm::AcknowledgeMissed, _) if self.is_acknowledged => None,
            (Alarm::AcknowledgeSoon, _) => Some(acknowledge_by.saturating_sub(DAY * 2)),
            (Alarm::AcknowledgeMissed, _) => Some(acknowledge_by),
            (Alarm::NotVerified, _) if self.lapses_at.is_some() => self.lapses_at,
            (Alarm::NotVerified, Some(since)) => Some(since.saturating_add(VERIFIED_WITHIN)),
            // The clock stands no longer than that.
            (Alarm::AnswerMissed, Some(_)) => Some(self.answer_by.saturating_add(VERIFIED_WITHIN)),
            (Alarm::NotVerified, None) | (_, Some(_)) => None,
            (Alarm::AnswerSoon, None) => Some(self.answer_by.saturating_sub(DAY * 7)),
            (Alarm::AnswerTomorrow, None) => Some(self.answer_by.saturating_sub(DAY)),
            (Alarm::AnswerMissed, None) => Some(self.answer_by),
        }
    }

    /// The alarms that are due and were not raised yet.
    pub(crate) fn alarms(&self, raised: &[String], now: Timestamp) -> Vec<Alarm> {
        let is_due = |alarm: &Alarm| {
            let was_raised = raised.iter().any(|one| one == alarm.as_str());
            !was_raised && self.due(*alarm).is_some_and(|at| at <= now)
        };
        Alarm::ALL.into_iter().filter(is_due).collect()
    }

    /// When the next alarm is due that was not raised yet.
    pub(crate) fn next(&self, raised: &[String]) -> Option<Timestamp> {
        let waits = |alarm: &Alarm| !raised.iter().any(|one| one == alarm.as_str());
        Alarm::ALL.into_iter().filter(waits).filter_map(|alarm| self.due(alarm)).min()
    }
}

/// The days of a month of the Gregorian calendar.
const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// So many calendar months later: the same day of the month at the same time, or the last day of a
/// month that has no such day.
pub(crate) fn months_after(at: Timestamp, months: i64) -> Timestamp {
    let (mut year, mut month, day) = at.date();
    let mut days = -day;
    for _ in 0..months {
        days += days_of(year, month);
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    days += day.min(days_of(year, month));
    Timestamp::from_micros(at.as_micros().saturating_add(days.saturating_mul(DAY_MICROS)))
}

/// When a case has to be answered whose clock stood for a while.
pub(crate) fn answer_by(received_at: Timestamp, stood: Duration) -> Timestamp {
    let days = received_at.saturating_add(ANSWER_WITHIN);
    days.min(months_after(received_at, 1)).saturating_add(stood)
}

/// The latest that an extension can reach.
pub(crate) fn extended_until_max(received_at: Timestamp, stood: Duration) -> Timestamp {
    months_after(received_at, EXTENDED_MONTHS_MAX).saturating_add(stood)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_month_ends_on_its_last_day() {
        let check = |from: &str, months: i64, expect: &str| {
            assert_eq!(months_after(at(from), months), at(expect), "{from} + {months}");
        };
        check("2027-01-31T10:00:00Z", 1, "2027-02-28T10:00:00Z");
        check("2028-01-31T10:00:00Z", 1, "2028-02-29T10:00:00Z");
        check("2027-01-15T00:00:00Z", 1, "2027-02-15T00:00:00Z");
        check("2026-12-31T23:59:59Z", 1, "2027-01-31T23:59:59Z");
        check("2026-11-30T00:00:00Z", 3, "2027-02-28T00:00:00Z");
        check("2026-03-31T00:00:00Z", 1, "2026-04-30T00:00:00Z");
        check("2100-01-31T00:00:00Z", 1, "2100-02-28T00:00:00Z");
    }

    #[test]
    fn the_earlier_of_thirty_days_and_a_month_counts() {
        let check = |from: &str, expect: &str| {
            assert_eq!(answer_by(at(from), Duration::ZERO), at(expect), "{from}");
        };
        // A month that is shorter than 30 days.
        check("2027-01-31T08:00:00Z", "2027-02-28T08:00:00Z");
        check("2027-02-10T08:00:00Z", "2027-03-10T08:00:00Z");
        // One that is longer.
        check("2027-03-15T08:00:00Z", "2027-04-14T08:00:00Z");
        check("2027-04-15T08:00:00Z", "2027-05-15T08:00:00Z");
        let stood = answer_by(at("2027-01-31T08:00:00Z"), DAY * 2);
        assert_eq!(stood, at("2027-03-02T08:00:00Z"));
        let latest = extended_until_max(at("2027-01-31T08:00:00Z"), Duration::ZERO);
        assert_eq!(latest, at("2027-04-30T08:00:00Z"));
    }

    #[test]
    fn alarms_come_before_and_at_the_deadlines_and_once() {
        let received_at = at("2027-03-01T00:00:00Z");
        let mut clocks = Clocks {
            received_at,
            answer_by: answer_by(received_at, Duration::ZERO),
            is_acknowledged: false,
            verifying_since: None,
            lapses_at: None,
        };
        let names = |clocks: &Clocks, raised: &[&str], day: u32| -> Vec<&'static str> {
            let raised: Vec<String> = raised.iter().map(|one| (*one).to_owned()).collect();
            let alarms = clocks.alarms(&raised, received_at.saturating_add(DAY * day));
            alarms.into_iter().map(Alarm::as_str).collect()
        };
        assert!(names(&clocks, &[], 4).is_empty());
        assert_eq!(names(&clocks, &[], 5), ["acknowledge_soon"]);
        assert_eq!(names(&clocks, &["acknowledge_soon"], 7), ["acknowledge_missed"]);
        clocks.is_acknowledged = true;
        assert!(names(&clocks, &[], 22).is_empty());
        assert_eq!(names(&clocks, &[], 23), ["answer_soon"]);
        assert_eq!(names(&clocks, &["answer_soon"], 29), ["answer_tomorrow"]);
        let raised = ["answer_soon", "answer_tomorrow"];
        assert_eq!(names(&clocks, &raised, 30), ["answer_missed"]);
        assert_eq!(clocks.next(&[]), Some(clocks.answer_by.saturating_sub(DAY * 7)));
        // The clock of the answer stands while it is not known who asks.
        clocks.verifying_since = Some(received_at);
        assert!(names(&clocks, &[], 29).is_empty());
        assert_eq!(names(&clocks, &[], 30), ["not_verified"]);
        assert_eq!(names(&clocks, &["not_verified"], 60), ["answer_missed"]);
        // Of whom nobody is known it ends sooner, whether or not the clock stands.
        clocks.lapses_at = Some(received_at.saturating_add(LAPSES_AFTER));
        assert!(names(&clocks, &[], 13).is_empty());
        assert_eq!(names(&clocks, &[], 14), ["not_verified"]);
        clocks.verifying_since = None;
        assert_eq!(names(&clocks, &[], 14), ["not_verified"]);
        assert_eq!(clocks.next(&[]), clocks.lapses_at);
    }
}

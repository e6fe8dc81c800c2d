//! Ordinary values are not refused: serial numbers, meters, lots, times, addresses, lists. Each
//! kind is generated from one seed; the tolerated rate is 0 of each. What no rule can tell from a
//! card or person is not among them: a number with a card network's prefix and length, alone or in
//! a card's groups with few others beside it, whose check digit comes out (one in ten), and
//! `YYMMDD-NNNNNNN` with a date of more than ten years from the day.

use super::Screening;
use crate::{Rng, SeededRng, Timestamp};

const SEED: u64 = 4;
/// Values of each kind.
const VALUES: usize = 1000;
const NOW: &str = "2026-11-29T12:00:00Z";

struct Source(SeededRng);

impl Source {
    fn below(&self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    fn digits(&self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    fn letters(&self, count: usize) -> String {
        (0..count).map(|_| char::from(b'A' + self.below(26) as u8)).collect()
    }

    fn hex(&self, count: usize) -> String {
        (0..count).map(|_| char::from_digit(self.below(16) as u32, 16).unwrap_or('0')).collect()
    }

    fn list(&self, count: usize, joint: &str, one: impl Fn(&Self) -> String) -> String {
        (0..count).map(|_| one(self)).collect::<Vec<_>>().join(joint)
    }

    /// Year, month and day of at most nine years ago or ahead.
    fn date(&self) -> (u64, u64, u64) {
        (self.between(2018, 2035), self.between(1, 12), self.between(1, 28))
    }

    fn seconds(&self) -> u64 {
        self.between(1_500_000_000, 1_900_000_000)
    }
}

/// An EAN-13 with its check digit (GS1 General Specifications, section 7.9).
fn ean(source: &Source) -> String {
    let body = source.digits(12);
    let weigh = |(place, byte): (usize, u8)| u32::from(byte - b'0') * [1, 3][place % 2];
    let sum: u32 = body.bytes().enumerate().map(weigh).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

type Kind = (&'static str, &'static str, fn(&Source) -> String);

/// Name, key and one value of each kind.
const KINDS: [Kind; 46] = [
    ("counter", "count", |s| s.below(10_u64.pow(11)).to_string()),
    ("electricity meter, DIN 43863-5", "meter", |s| format!("1{}{}", s.letters(3), s.digits(10))),
    ("meter of 8 digits", "meter_id", |s| s.digits(8)),
    ("meter of 9 digits", "meter_id", |s| s.digits(9)),
    ("meter of 10 digits", "meter_id", |s| s.digits(10)),
    ("meter of 11 digits", "meter_id", |s| s.digits(11)),
    ("serial, letter and 9 digits", "serial", |s| format!("{}{}", s.letters(1), s.digits(9))),
    ("serial, letter, 7 digits, letter", "serial", |s| {
        format!("{}{}{}", s.letters(1), s.digits(7), s.letters(1))
    }),
    ("serial, X, 7 digits, letter", "serial", |s| format!("X{}{}", s.digits(7), s.letters(1))),
    ("serial, 8 digits and letter", "serial_number", |s| {
        format!("{}{}", s.digits(8), s.letters(1))
    }),
    ("serial, 8 digits, hyphen, letter", "serial", |s| format!("{}-{}", s.digits(8), s.letters(1))),
    ("serial, SN, 6 digits, letter", "serial", |s| format!("SN{}A", s.digits(6))),
    ("serial, 2 letters, 6 digits, letter", "serial", |s| {
        format!("{}{}{}", s.letters(2), s.digits(6), s.letters(1))
    }),
    ("serial, 3 letters and 8 digits", "serial", |s| format!("{}{}", s.letters(3), s.digits(8))),
    ("serial of 16 characters", "serial", |s| {
        format!("{}{}{}", s.letters(6), s.digits(8), s.letters(2))
    }),
    ("part number", "part", |s| format!("PN {} B", s.digits(6))),
    ("part number, hyphens", "part", |s| format!("HW{}-C", s.digits(6))),
    ("part number, pairs", "part", |s| {
        format!("AB {} {} {} C", s.digits(2), s.digits(2), s.digits(2))
    }),
    ("part number 3-2-4", "part", |s| format!("{}-{}-{}", s.digits(3), s.digits(2), s.digits(4))),
    ("lot, YYMMDD-counter of 7", "lot", |s| {
        let (year, month, day) = s.date();
        format!("{:02}{month:02}{day:02}-{:07}", year % 100, s.below(9_999_999))
    }),
    ("lot, YYMMDD-counter of 4", "lot", |s| {
        let (year, month, day) = s.date();
        format!("{:02}{month:02}{day:02}-{}", year % 100, s.digits(4))
    }),
    ("lot, YYYYMMDD-counter of 4", "lot", |s| {
        let (year, month, day) = s.date();
        format!("{year}{month:02}{day:02}-{}", s.digits(4))
    }),
    ("order, site of 6, date, counter of 4", "order", |s| {
        let (year, month, day) = s.date();
        format!("{}{year}{month:02}{day:02}{}", s.between(110_000, 219_999), s.digits(4))
    }),
    ("order, date and counter of 10", "order", |s| {
        let (year, month, day) = s.date();
        format!("{year}{month:02}{day:02}{}", s.digits(10))
    }),
    ("order 3-7-7", "order", |s| format!("{}-{}-{}", s.digits(3), s.digits(7), s.digits(7))),
    ("order with words", "order", |s| format!("PO-2026-{} rev. {}", s.digits(6), s.digits(2))),
    ("seconds", "ts", |s| s.seconds().to_string()),
    ("milliseconds", "ts", |s| format!("{}{}", s.seconds(), s.digits(3))),
    ("microseconds", "ts", |s| format!("{}{}", s.seconds(), s.digits(6))),
    ("nanoseconds", "ts", |s| format!("{}{}", s.seconds(), s.digits(9))),
    ("time", "at", |s| Timestamp::from_micros(s.seconds() as i64 * 1_000_000).to_string()),
    ("time without signs", "at", |s| {
        let (year, month, day) = s.date();
        format!("{year}{month:02}{day:02}{:02}{:02}{:02}", s.below(24), s.below(60), s.below(60))
    }),
    ("GUID", "guid", |s| {
        format!("{}-{}-4{}-a{}-{}", s.hex(8), s.hex(4), s.hex(3), s.hex(3), s.hex(12))
    }),
    ("EAN-13", "ean", ean),
    ("British EAN-13", "ean", |s| format!("5018{}", s.digits(9))),
    ("address, IPv4", "ip", |s| s.list(4, ".", |s| s.below(256).to_string())),
    ("address, IPv6", "ip", |s| s.list(8, ":", |s| s.hex(4))),
    ("address, MAC", "mac", |s| s.list(6, ":", |s| s.hex(2))),
    ("address, MAC with hyphens", "mac", |s| s.list(6, "-", |s| s.hex(2))),
    ("EUI-64", "dev_eui", |s| s.hex(16)),
    ("coordinates", "position", |s| {
        format!("{}.{}, {}.{}", s.below(90), s.digits(8), s.below(180), s.digits(14))
    }),
    ("list of 20 counts", "profile", |s| s.list(20, " ", |s| s.between(4000, 4095).to_string())),
    ("list of 20 counts, hyphens", "profile", |s| {
        s.list(20, "-", |s| s.between(5100, 5600).to_string())
    }),
    ("list of 50 pairs, milliseconds and value", "samples", |s| {
        s.list(50, " ", |s| format!("{}{} {}", s.seconds(), s.digits(3), s.between(10, 99)))
    }),
    ("list of 50 numbers of any length", "samples", |s| {
        s.list(50, " ", |s| s.digits(s.0.next_u64() as usize % 8 + 1))
    }),
    ("ranges", "ranges", |s| {
        s.list(4, " ", |s| format!("{}-{}", s.between(4000, 4099), s.between(4100, 4199)))
    }),
];

#[test]
fn ordinary_values_are_not_refused() {
    let now = Timestamp::parse_rfc3339(NOW).expect("a time");
    let screening = Screening::ALL.on(now);
    let source = Source(SeededRng::new(SEED));
    let mut told = Vec::new();
    for (name, key, value) in KINDS {
        let values = (0..VALUES).map(|_| value(&source));
        let found: Vec<_> = values
            .filter_map(|value| Some((screening.text(Some(key), &value)?.code(), value)))
            .collect();
        if let Some((rule, value)) = found.first() {
            told.push(format!("{name}: {} of {VALUES}, {rule}: {value}", found.len()));
        }
    }
    assert!(told.is_empty(), "\n{}", told.join("\n"));
}

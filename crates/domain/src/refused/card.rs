//! Payment card numbers in a text: an issuer's prefix, a length that goes with it, and the check
//! digit. Digits stand together, or in groups as cards write them. The work is linear in the text:
//! each group is looked at once with the four before it.

use super::runs::runs;

/// Fewest and most digits of a card number (ISO/IEC 7812-1:2017 allows up to 19).
const DIGITS_MIN: usize = 12;
const DIGITS_MAX: usize = 19;
/// How cards and their papers write a number in groups: digits of each.
const LAYOUTS: [&[usize]; 7] = [
    &[4, 4, 4, 4],
    &[4, 4, 4, 4, 1],
    &[4, 4, 4, 4, 2],
    &[4, 4, 4, 4, 3],
    &[4, 6, 5],
    &[4, 6, 4],
    &[8, 8],
];
/// Most groups of a layout.
const GROUPS_MAX: usize = 5;
/// Most groups of digits that may stand before a card in its row, and after it: month, year and
/// code of the card, a telephone number. More are a list of measured values, and so are more than
/// two on a side that all look like a group of the card. Of several cards in a row as many may
/// stand on both sides together, and none between.
const BESIDE_MAX: usize = 4;
/// Most groups like those of a card, beside it on one side.
const ALIKE_MAX: usize = 2;
const ALIKE_DIGITS: usize = 4;
/// How many groups of a row are known.
const KNOWN: usize = GROUPS_MAX + BESIDE_MAX;
/// Most digits of a telephone number (ITU-T E.164), which a plus sign says it is.
const PHONE_DIGITS_MAX: usize = 15;

/// The prefixes of a network, as first and last of equal length, and its lengths as bits.
struct Network {
    prefixes: &'static [(u32, u32)],
    lengths: u32,
}

const fn lengths(from: u32, to: u32) -> u32 {
    let mut bits = 0;
    let mut length = from;
    while length <= to {
        bits |= 1 << length;
        length += 1;
    }
    bits
}

/// Issuer identification numbers (ISO/IEC 7812-2) as the networks publish them, and as card forms
/// on the web test for them. UATP (1, 15 digits) is left out: it would take times for cards.
const NETWORKS: [Network; 13] = [
    // Visa, Electron and V Pay.
    Network { prefixes: &[(4, 4)], lengths: 1 << 16 | 1 << 19 },
    // Mastercard.
    Network { prefixes: &[(51, 55), (2221, 2720)], lengths: 1 << 16 },
    // American Express.
    Network { prefixes: &[(34, 34), (37, 37)], lengths: 1 << 15 },
    // Diners Club.
    Network { prefixes: &[(36, 36), (38, 39)], lengths: 1 << 14 | lengths(16, 19) },
    Network { prefixes: &[(300, 305), (3095, 3095)], lengths: 1 << 14 | lengths(16, 19) },
    // Discover.
    Network {
        prefixes: &[(6011, 6011), (644, 649), (65, 65), (622_126, 622_925)],
        lengths: lengths(16, 19),
    },
    // JCB.
    Network { prefixes: &[(3528, 3589)], lengths: lengths(16, 19) },
    // UnionPay.
    Network { prefixes: &[(62, 62), (81, 81)], lengths: lengths(16, 19) },
    // Maestro, and what became of Switch.
    Network {
        prefixes: &[
            (5018, 5018),
            (5020, 5020),
            (5038, 5038),
            (5893, 5893),
            (6304, 6304),
            (6759, 6759),
            (6761, 6763),
        ],
        // 13 digits are those of an EAN, of which every British one begins so.
        lengths: 1 << 12 | lengths(14, 19),
    },
    // Mir, and Troy of both ranges.
    Network { prefixes: &[(2200, 2205), (9792, 9792)], lengths: lengths(16, 19) },
    // RuPay.
    Network {
        prefixes: &[(508, 508), (60, 60), (82, 82), (353, 353), (356, 356)],
        lengths: 1 << 16,
    },
    // Elo, Hipercard and Verve.
    Network {
        prefixes: &[
            (506_099, 506_198),
            (506_699, 506_778),
            (509_000, 509_999),
            (636_297, 636_297),
            (636_368, 636_368),
            (606_282, 606_282),
            (627_780, 627_780),
        ],
        lengths: 1 << 16 | 1 << 18 | 1 << 19,
    },
    // UzCard, Humo, Dankort, InterPayment.
    Network {
        prefixes: &[(8600, 8600), (9860, 9860), (5019, 5019), (636, 636)],
        lengths: lengths(16, 19),
    },
];

/// Whether a text (digits as in ASCII) holds a card number.
pub(super) fn is_in(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut row = Row::default();
    for (start, end) in runs(bytes) {
        let digits = only_digits(&bytes[start..end]).map(|(from, to)| (start + from, start + to));
        if digits.is_some_and(|(from, to)| is_compact(bytes, from, to)) {
            return true;
        }
        if digits != Some((start, end)) {
            if row.ends_well() {
                return true;
            }
            row = Row::default();
            continue;
        }
        if !row.goes_on(bytes, start) {
            if row.ends_well() {
                return true;
            }
            row = Row::default();
        }
        row.push(bytes, (start, end));
    }
    row.ends_well()
}

/// Whether these digits are a card number without a gap.
fn is_compact(bytes: &[u8], from: usize, to: usize) -> bool {
    is_card(&bytes[from..to])
        && !is_part_of_decimal(bytes, from, to)
        && !is_phone(bytes, from)
        && !is_in_uuid(bytes, from, to)
}

/// Groups of digits with one blank or hyphen between them, read from the left.
#[derive(Default)]
struct Row {
    /// Where the last groups begin and end, the newest last.
    groups: [(usize, usize); KNOWN],
    count: usize,
    /// The cards that end with each of those groups, where nothing but few other groups and cards
    /// come before.
    ends: [Option<Cards>; KNOWN],
}

/// Cards that follow one another.
#[derive(Clone, Copy)]
struct Cards {
    /// Other groups before them.
    before: usize,
    is_several: bool,
}

impl Row {
    /// Whether the group that begins at `start` belongs to the row.
    fn goes_on(&self, bytes: &[u8], start: usize) -> bool {
        let end = self.groups[KNOWN - 1].1;
        self.count == 0 || (end + 1 == start && matches!(bytes[end], b' ' | b'-'))
    }

    fn push(&mut self, bytes: &[u8], group: (usize, usize)) {
        self.groups.rotate_left(1);
        self.groups[KNOWN - 1] = group;
        self.count += 1;
        let end = LAYOUTS.iter().find_map(|layout| {
            let before = self.count.checked_sub(layout.len())?;
            // Where the group before this layout stood when it was the newest.
            let start = KNOWN - layout.len();
            let cards = match self.ends[start] {
                Some(cards) => Cards { is_several: true, ..cards },
                None if before <= BESIDE_MAX && !are_alike(&self.groups[start - before..start]) => {
                    Cards { before, is_several: false }
                }
                None => return None,
            };
            is_written(bytes, &self.groups[start..], layout).then_some(cards)
        });
        self.ends.rotate_left(1);
        self.ends[KNOWN - 1] = end;
    }

    /// Whether the row is cards, with few other groups after them.
    fn ends_well(&self) -> bool {
        self.ends.iter().rev().take(BESIDE_MAX + 1).enumerate().any(|(after, end)| {
            let is_well = |cards: &Cards| {
                (!cards.is_several || cards.before + after <= BESIDE_MAX)
                    && !are_alike(&self.groups[KNOWN - after..])
            };
            end.as_ref().is_some_and(is_well)
        })
    }
}

/// Whether groups beside a card look like its own: a list of measured values.
fn are_alike(groups: &[(usize, usize)]) -> bool {
    groups.len() > ALIKE_MAX && groups.iter().all(|(from, to)| to - from == ALIKE_DIGITS)
}

/// Whether groups are a card number in this layout, with the same sign between all of them.
fn is_written(bytes: &[u8], groups: &[(usize, usize)], layout: &[usize]) -> bool {
    let is_laid_out = groups.iter().zip(layout).all(|((from, to), length)| to - from == *length);
    let ([first, .., last], true) = (groups, is_laid_out) else { return false };
    let mut joints = groups[..groups.len() - 1].iter().map(|(_, to)| bytes[*to]);
    if !joints.all(|joint| joint == bytes[first.1]) {
        return false;
    }
    let mut digits = [0u8; DIGITS_MAX];
    let mut count = 0;
    for (from, to) in groups {
        let Some(room) = digits.get_mut(count..count + (to - from)) else { return false };
        room.copy_from_slice(&bytes[*from..*to]);
        count += to - from;
    }
    is_card(&digits[..count])
        && !is_part_of_decimal(bytes, first.0, first.1)
        && !is_part_of_decimal(bytes, last.0, last.1)
        && !is_phone(bytes, first.0)
        && !is_in_uuid(bytes, first.0, last.1)
}

/// The digits of a word that is all digits, or has one run of them beside letters. What could be
/// hexadecimal is no card number with letters around it.
fn only_digits(word: &[u8]) -> Option<(usize, usize)> {
    let from = word.iter().position(u8::is_ascii_digit)?;
    let length = word[from..].iter().position(|byte| !byte.is_ascii_digit());
    let to = length.map_or(word.len(), |length| from + length);
    if word[to..].iter().any(u8::is_ascii_digit) {
        return None;
    }
    let is_whole = from == 0 && to == word.len();
    let is_written = word.iter().any(|byte| !byte.is_ascii_hexdigit());
    (is_whole || is_written).then_some((from, to))
}

/// `0.4111111111111111` and `4111111111111111.5` are measured values.
fn is_part_of_decimal(bytes: &[u8], from: usize, to: usize) -> bool {
    let digit_at =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let point_at = |at: Option<usize>| at.and_then(|at| bytes.get(at)) == Some(&b'.');
    let is_fraction = point_at(from.checked_sub(1)) && digit_at(from.checked_sub(2));
    is_fraction || (point_at(Some(to)) && digit_at(Some(to + 1)))
}

fn is_phone(bytes: &[u8], from: usize) -> bool {
    let is_marked = from.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'+');
    let digits = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    is_marked && digits <= PHONE_DIGITS_MAX
}

/// Whether a place is inside the 8-4-4-4-12 form of a UUID (RFC 9562, section 4).
fn is_in_uuid(bytes: &[u8], from: usize, to: usize) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    let start = from - bytes[..from].iter().rev().take(36).take_while(|byte| is_part(byte)).count();
    let end = to + bytes[to..].iter().take(36).take_while(|byte| is_part(byte)).count();
    bytes[start..end].split(|byte| *byte == b'-').map(<[u8]>::len).eq(GROUPS)
}

fn is_card(digits: &[u8]) -> bool {
    (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) && has_network(digits) && luhn(digits)
}

fn has_network(digits: &[u8]) -> bool {
    let bit = 1u32 << digits.len();
    let begins = |(first, last): &(u32, u32)| {
        let length = first.ilog10() as usize + 1;
        let number = digits.iter().take(length);
        let number = number.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        (*first..=*last).contains(&number)
    };
    NETWORKS.iter().any(|one| one.lengths & bit != 0 && one.prefixes.iter().any(begins))
}

/// The check digit of ISO/IEC 7812-1:2017, annex B (Luhn's formula).
pub(super) fn luhn(digits: &[u8]) -> bool {
    let weigh = |(place, digit): (usize, &u8)| {
        let digit = u32::from(digit - b'0');
        match digit * 2 {
            _ if place % 2 == 0 => digit,
            double if double > 9 => double - 9,
            double => double,
        }
    };
    digits.iter().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_known() {
        // Test numbers that the networks and payment processors publish.
        for number in [
            "4111111111111111",
            "4012888888881881",
            "4000000000000000006",
            "5555555555554444",
            "5105105105105100",
            "2223003122003222",
            "378282246310005",
            "371449635398431",
            "30569309025904",
            "38520000023237",
            "36227206271667",
            "6011111111111117",
            "6011000990139424",
            "6445644564456445",
            "3530111333300000",
            "3566002020360505",
            "6200000000000005",
            "6205500000000000004",
            "6759649826438453",
            "6304000000000000",
            "2200770239097761",
            "9792020000000001",
            "6362970000457013",
            "6062826786276634",
            "5066991111111118",
        ] {
            assert!(luhn(number.as_bytes()), "{number}: check digit");
            assert!(is_in(number), "{number}");
        }
    }

    #[test]
    fn they_are_found_where_people_write_them() {
        for text in [
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782 822463 10005",
            "3056 930902 5904",
            "please charge 4111 1111 1111 1111 12/27, thanks",
            "card:4111111111111111.",
            "(4111111111111111)",
            "a,4111111111111111,b",
            "card_4111111111111111",
            "PAN4111111111111111",
            "Karte:4111111111111111ÄÖ",
            "2024 4111 1111 1111 1111",
            "4111 1111 1111 1111 123",
            "41111111 11111111",
            "1-4111111111111111",
            "\"4111111111111111\"",
            "4000 0000 0000 0000 006",
            "1 2 3 4111111111111111 5 6 7",
            // Lists of cards.
            "4111 1111 1111 1111, 5555 5555 5555 4444",
            "4111 1111 1111 1111 5555 5555 5555 4444",
            "4111-1111-1111-1111 3782 822463 10005 41111111 11111111 12 27",
            "12 27 5555 5555 5555 4444 123 99, 4111",
            "12 27 4111 1111 1111 1111 5555 5555 5555 4444 12 27",
            // With what stands beside a card: month, year, code, a telephone number.
            "4111 1111 1111 1111 12 27 123",
            "4111-1111-1111-1111 12 2027 123",
            "card 4111 1111 1111 1111 0912 345 678",
            "12 13 14 4111 1111 1111 1111",
        ] {
            assert!(is_in(text), "{text}");
        }
    }

    #[test]
    fn near_misses_are_left_alone() {
        for text in [
            // The check digit is wrong.
            "4111111111111112",
            // No network, or not of this length.
            "1234567812345670",
            "7992739871300000",
            "411111111111116",
            "490154203237518",
            // Inside a longer run of digits.
            "41111111111111110000",
            "0004111111111111111100",
            // More than one blank or hyphen, or another sign.
            "4111  1111  1111  1111",
            "4111--1111--1111--1111",
            "4111.1111.1111.1111",
            "4111/1111/1111/1111",
            // Visa numbers of 13 digits went out of use, and take EAN-13 for cards.
            "4222222222222",
            "5018000000007",
            // Groups that no card has, and two signs in one number.
            "4111 111 1111 11111",
            "411 111 111 111 1111",
            "6304-0000-0000",
            "4111-1111 1111-1111",
            "4111 1111 1111 1111.5",
            "0.4111 1111 1111 1111",
            // More groups beside them than a date or code: a list of measured values.
            "12 13 14 15 16 4111 1111 1111 1111",
            "4111 1111 1111 1111 12 13 14 15 16",
            "12 27 99 4111 1111 1111 1111 5555 5555 5555 4444 12 27",
            "4094 4095 4096 4111 1111 1111 1111",
            "4111 1111 1111 1111 12 5555 5555 5555 4444 12 27",
            "4095 4090 4087 4111 1111 1111 1111 4092 4093 4094",
            // Times, in seconds, milliseconds, micro- and nanoseconds, and written out.
            "1764399417",
            "1764399417000",
            "1764399417000000",
            "1764399417000000000",
            "20261129065657",
            "2026-11-29 06:56:57",
            "2026-11-29T06:56:57.411111Z",
            // Measured values as text.
            "0.4111111111111111",
            "4111111111111111.5",
            // Hexadecimal: serial numbers, addresses, digests.
            "a4111111111111111",
            "4111111111111111f",
            "b4111111111111111c0ffee",
            "9b2e4111-1111-4111-8111-111111111116",
            "00:1a:2b:3c:4d:5e",
            // Lists of small numbers, telephone numbers, networks.
            "41 11 11 11 11 11 11 11",
            "+4917012345678",
            "+49 170 1234567",
            "192.168.100.200",
            "",
        ] {
            assert!(!is_in(text), "{text}");
        }
        // A UUID whose last group passes by chance.
        assert!(is_in("630400000000"));
        assert!(!is_in("00000000-1304-0000-0000-630400000000"));
    }

    #[test]
    fn the_work_is_linear_in_the_text() {
        // A megabyte of each: with a step back for every group none would end.
        for part in ["4111 ", "411 ", "4", "-", "1-", "4111 1111 1111 1112 ", "4111.1111 "] {
            let text = part.repeat((1 << 20) / part.len());
            assert!(!is_in(&text), "{part}");
        }
    }
}

//! National identity numbers in a text: words of letters and digits, and neighbours with one blank
//! or hyphen between them, that have the form of one and are valid.

use std::cell::OnceCell;

use super::named::Named;
use super::runs::{run_end, runs};
use super::scheme::{Form, GROUPS_MAX, Joint, LENGTH_MAX, NationalId, WORDS, forms_of};
use super::words::{concat, each_joined, words};

/// Ages, in years, of the people whose numbers are told by date of birth and check digit alone.
/// Dates nearer to the day, on both sides and whatever the century is taken for, are those of lots.
const YEARS_MIN: u32 = 10;
const YEARS_MAX: u32 = 90;
/// Longest word, in bytes, that counts only where it is written without a sign in it: `T_in` is no
/// tax number.
const SHORT_MAX: usize = 3;

/// Finds a number in a text (letters and digits as in ASCII), which may be the value of a key, on a
/// day (YYYYMMDD, or 0).
pub(super) fn find(key: Option<&Named<'_>>, text: &str, today: u32) -> Option<NationalId> {
    let around = Around { key, text, today, named: OnceCell::new() };
    let bytes = text.as_bytes();
    runs(bytes).find_map(|(start, _)| begins(bytes, start, &around))
}

/// A set of schemes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Schemes(u16);

impl Schemes {
    fn with(self, schemes: &[NationalId]) -> Self {
        Self(schemes.iter().fold(self.0, |set, scheme| set | (1 << *scheme as u16)))
    }

    const fn has(self, scheme: NationalId) -> bool {
        self.0 & (1 << scheme as u16) != 0
    }
}

/// The schemes whose words are in a text.
pub(super) fn schemes_in(text: &str) -> Schemes {
    let mut named = Schemes::default();
    let words = words(text);
    each_joined(&words, |text, is_one| {
        if text.len() <= SHORT_MAX && !is_one {
            return;
        }
        if let Ok(place) = WORDS.binary_search_by(|(word, _)| (*word).cmp(text)) {
            named = named.with(WORDS[place].1);
        }
    });
    if !text.is_ascii() {
        // Scripts without blanks run a term and what follows together.
        let text = concat(&words);
        let is_part = |term: &str| !term.is_ascii() && text.contains(term);
        for (_, schemes) in WORDS.iter().filter(|(word, _)| is_part(word)) {
            named = named.with(schemes);
        }
    }
    named
}

/// The text a number may stand in, and the schemes whose words are in it.
struct Around<'a> {
    key: Option<&'a Named<'a>>,
    text: &'a str,
    today: u32,
    named: OnceCell<Schemes>,
}

impl Around<'_> {
    /// Whether a word of the scheme is in the key or the text; each is worked out once.
    fn names(&self, scheme: NationalId) -> bool {
        self.key.is_some_and(|key| key.schemes().has(scheme))
            || self.named.get_or_init(|| schemes_in(self.text)).has(scheme)
    }

    /// Whether somebody may be born on the date in a valid number.
    fn is_birth(&self, form: &Form, number: &[u8]) -> bool {
        let (Some(born), 1..) = (form.born, self.today) else { return true };
        let born = born(number);
        let is_aged =
            born + YEARS_MIN * 10_000 <= self.today && self.today < born + YEARS_MAX * 10_000;
        born <= self.today && (form.needs_word || is_aged)
    }
}

/// A number that begins with the word at `start`.
fn begins(bytes: &[u8], start: usize, around: &Around<'_>) -> Option<NationalId> {
    let forms = forms_of(run_end(bytes, start) - start);
    let (mut compact, mut groups) = ([0u8; LENGTH_MAX], [0u8; GROUPS_MAX]);
    let (mut length, mut from, mut hyphens_only) = (0, start, true);
    for count in 0..GROUPS_MAX {
        if !forms.iter().any(|form| form.groups.starts_with(&groups[..count])) {
            return None;
        }
        let group = run_end(bytes, from) - from;
        let room = compact.get_mut(length..length + group)?;
        room.copy_from_slice(&bytes[from..from + group]);
        room.make_ascii_uppercase();
        groups[count] = u8::try_from(group).ok()?;
        length += group;
        let end = from + group;
        let fits = |form: &&Form| {
            form.groups == &groups[..=count]
                && (form.joint == Joint::Any || hyphens_only)
                && (count == 0 || !is_longer(bytes, start, end))
                && (count == 0 || form.needs_word || !is_listed(bytes, start, end))
                && (form.is_valid)(&compact[..length])
                && around.is_birth(form, &compact[..length])
                && (!form.needs_word || around.names(form.scheme))
        };
        if let Some(form) = forms.iter().find(fits) {
            return Some(form.scheme);
        }
        match bytes.get(end) {
            Some(b'-') => {}
            Some(b' ') => hyphens_only = false,
            _ => return None,
        }
        from = end + 1;
        if !bytes.get(from).is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
    }
    None
}

/// Whether more groups follow or come before with a hyphen: a number of something else.
fn is_longer(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_sign = |at: Option<usize>, hyphen: Option<usize>| {
        hyphen.and_then(|at| bytes.get(at)) == Some(&b'-')
            && at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric)
    };
    is_sign(start.checked_sub(2), start.checked_sub(1)) || is_sign(Some(end + 1), Some(end))
}

/// Whether other numbers stand beside one of digits, with a blank between: a list.
fn is_listed(bytes: &[u8], start: usize, end: usize) -> bool {
    let is_number = |blank: Option<usize>, at: Option<usize>| {
        blank.and_then(|at| bytes.get(at)) == Some(&b' ')
            && at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit)
    };
    bytes[start].is_ascii_digit()
        && (is_number(start.checked_sub(1), start.checked_sub(2))
            || is_number(Some(end), Some(end + 1)))
}

#[cfg(test)]
mod tests {
    use super::Named;
    use super::NationalId::{self, *};

    fn find(key: Option<&str>, text: &str) -> Option<NationalId> {
        super::find(key.map(|key| Named::new(key.into())).as_ref(), text, 20_261_129)
    }

    #[test]
    fn words_are_sorted_and_written_as_they_are_cut() {
        for pair in super::WORDS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        for (word, _) in super::WORDS {
            assert_eq!(super::concat(&super::words(word)), word);
        }
    }

    #[test]
    fn numbers_that_speak_for_themselves() {
        let check = |expect: NationalId, texts: &[&str]| {
            for text in texts {
                assert_eq!(find(None, text), Some(expect), "{text}");
            }
        };
        check(Korea, &["900101-1234568", "tel 900101-1234568 x"]);
        check(China, &["11010519491231002X", "no. 11010519491231002X"]);
        check(Italy, &["RSSMRA80A01H501U", "RSS MRA 80A01 H501 U", "rssmra80a01h501u"]);
        check(France, &["2 55 08 14 168 025 38", "no. 2-55-08-14-168-025-38."]);
    }

    #[test]
    fn numbers_that_need_a_word_beside_them() {
        let check = |expect: NationalId, keys: &[&str], number: &str, words: &[&str]| {
            assert_eq!(find(None, number), None, "{number}");
            assert_eq!(find(Some("serial_number"), number), None, "{number}");
            for key in keys {
                assert_eq!(find(Some(key), number), Some(expect), "{key} {number}");
            }
            for word in words {
                let text = format!("{word} {number}");
                assert_eq!(find(None, &text), Some(expect), "{text}");
            }
        };
        check(Japan, &["my_number", "myNumber", "個人番号"], "123456789018", &["マイナンバーは"]);
        check(Japan, &["mynumber"], "1234 5678 9018", &["My Number", "my-number:"]);
        check(Korea, &["rrn", "주민등록번호"], "9001011234568", &["주민번호"]);
        check(Korea, &["rrn"], "900101-1234567", &["주민번호"]);
        check(Korea, &["rrn"], "210301-3123456", &["주민등록번호"]);
        check(China, &["身份证", "citizen_id"], "440524188001010014", &["公民身份号码", "ID card"]);
        check(Taiwan, &["身分證字號", "national_id", "idCardNumber"], "A123456789", &["身份證"]);
        check(Taiwan, &["居留證"], "a800000014", &["ID card no.", "統一證號:"]);
        check(UnitedKingdom, &["nino", "NI_number"], "AB123456C", &["National Insurance No"]);
        for number in ["AB 12 34 56 C", "AB 123456 C", "AB123456 C", "ab123456c"] {
            check(UnitedKingdom, &["nationalInsuranceNumber"], number, &["NI no.", "NINO"]);
        }
        for number in ["12345678Z", "12345678-Z", "X1234567L", "X-1234567-L", "Y1234567X"] {
            check(Spain, &["dni", "NIE"], number, &["DNI:", "n.º NIF"]);
        }
        check(France, &["nir", "numero_insee"], "255081416802538", &["numéro de sécurité sociale"]);
        check(France, &["securiteSociale"], "2550814168025 38", &["NIR"]);
        check(France, &["NIR"], "7 2 55 08 14 168 025 38 9", &[]);
        check(UnitedStates, &["ssn"], "123-45-6789", &["SSN", "social security no.:"]);
        check(UnitedStates, &["ssn", "employeeSSN"], "123456789", &["Social Security Number"]);
        check(UnitedStates, &["ssn"], "123 45 6789", &["SSN"]);
        check(Germany, &["steuer_id", "Steuer-ID", "taxId"], "86095742719", &["IdNr."]);
        check(Germany, &["steuerid"], "86 095 742 719", &["Steueridentifikationsnummer:"]);
        check(Poland, &["pesel", "PESEL_2"], "44051401359", &["PESEL"]);
        check(Sweden, &["personnummer"], "811218-9876", &["Personnr"]);
        check(Sweden, &["personnummer"], "19811218-9876", &[]);
        check(Sweden, &["samordningsnummer"], "8112789873", &[]);
    }

    #[test]
    fn near_misses_are_left_alone() {
        for text in [
            // The check digit or letter is wrong.
            "身分證 A123456788",
            "11010519491231002A",
            "110105194912310021",
            "12345678A",
            "X1234567A",
            "RSSMRA80A01H501A",
            "255081416802539",
            "900101-1234567",
            // No such sex, date, place, prefix.
            "A323456789",
            "900001-1234568",
            "900132-1234568",
            "900101-9234568",
            "QQ123456C",
            "GB123456A",
            "AO123456A",
            "AB123456E",
            "DA123456A",
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "123-00-4567",
            "123-45-0000",
            "00000000T",
            "RSSMRA80F01H501U",
            // Dates of lots: those of children and of very old people count beside a word only.
            "210301-3123456",
            "261129-3000120",
            "261129-1000124",
            "440524188001010014",
            // Lists of numbers.
            "7 2 55 08 14 168 025 38 9",
            // Inside a longer number.
            "XA123456789",
            "A1234567890",
            "0-123-45-6789",
            "123-45-6789-0",
            "1123-45-6789",
            "AAB123456C",
            "12345678-Z-1",
            "900101-12345680",
            // Times and measured values.
            "1764399417000",
            "1701231234567",
            "2026-11-29",
            "20261129065657",
            "2026-11-29T06:56:57Z",
            "123.45.6789",
            "192.168.100.200",
            // Serial numbers, addresses, ids.
            "SN12345678",
            "AC01234567",
            "00:1a:2b:3c:4d:5e",
            "9b2e4111-1111-4111-8111-111111111111",
            "70B3D57ED0012345",
            "v1.2.3-20261129",
            "0.123456789",
            "",
        ] {
            assert_eq!(find(None, text), None, "{text}");
        }
        for (key, text) in [
            ("my_number", "123456789019"),
            ("my_number", "111111111111"),
            ("steuer_id", "86095742710"),
            ("steuer_id", "12345678903"),
            ("pesel", "44051401358"),
            ("personnummer", "811218-9875"),
            ("ssn", "000123456"),
            ("mass_number", "123456789"),
            ("rrn", "1764399417000"),
            ("national_id", "A123456788"),
            ("nino", "GB123456A"),
            ("nino", "AB123456E"),
            ("dni", "12345678A"),
            ("nir", "255081416802539"),
            // Nobody is born tomorrow, or in 2099.
            ("rrn", "261130-3123456"),
            ("rrn", "991231-3123456"),
            ("身份证", "110105202612310025"),
            // A temperature at an inlet, a flow into a tank.
            ("T_in", "86095742719"),
            ("t-in", "86095742719"),
            ("d.n.i", "12345678Z"),
        ] {
            assert_eq!(find(Some(key), text), None, "{key} {text}");
        }
    }

    #[test]
    fn the_work_is_linear_in_the_text() {
        for text in ["123-45-".repeat(8 * 1024), "1 2 3 4 ".repeat(8 * 1024)] {
            assert_eq!(find(None, &text), None);
        }
        // Every number would need a word, which is looked for once, however many others there are.
        let text = "123456789018 ".repeat(4 * 1024);
        assert_eq!(find(None, &text), None);
        let text = format!("{}{}", "pesel ".repeat(1 << 16), "123-456789 ".repeat(1 << 16));
        assert_eq!(find(None, &text), None);
    }
}

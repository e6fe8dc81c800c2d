//! What must not be kept: payment card numbers, national identity numbers, and keys that say their
//! values are of a special category. Pure detectors, in time linear in the text; what they find is
//! named by its rule and its place, never by its text.

mod card;
mod json;
mod named;
#[cfg(test)]
mod ordinary;
mod people;
mod runs;
mod scheme;
mod terms;
mod words;

use std::borrow::Cow;
use std::fmt;

use crate::{LimitExceeded, Timestamp, Value};
use named::{Exempt, Named};

pub use json::{JsonFound, JsonPart};
pub use scheme::NationalId;

/// A kind of data that a key can say its values are of: the special categories of GDPR article 9
/// that the policy names, children's data, and national identity numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Health, illness, treatment.
    Health,
    /// Fingerprints, faces, voices as they identify a person.
    Biometric,
    /// Genes.
    Genetic,
    /// Religion or belief.
    Religion,
    /// Political opinion, trade union membership.
    Politics,
    /// Racial or ethnic origin.
    Ethnicity,
    /// Data of children.
    Children,
    /// Numbers by which states know people.
    NationalId,
}

/// A rule that something broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A payment card number.
    Card,
    /// A national identity number.
    Id(NationalId),
    /// A key of a category that is not accepted.
    Term(Category),
}

impl Category {
    /// The rule's name in refusals.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Biometric => "biometric",
            Self::Genetic => "genetic",
            Self::Religion => "religion",
            Self::Politics => "politics",
            Self::Ethnicity => "ethnicity",
            Self::Children => "children",
            Self::NationalId => "national_id",
        }
    }
}

impl Rule {
    /// The rule's name in refusals and in docs/reference/refused-data.md.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Card => "card_number",
            Self::Id(scheme) => scheme.code(),
            Self::Term(category) => category.code(),
        }
    }

    /// What is wrong with a part of the input, and what would be right. It quotes nothing.
    pub fn refusal(self, part: &str) -> String {
        let code = self.code();
        match self {
            Self::Card => format!(
                "{part} holds a payment card number (rule {code}), which is never kept: expected \
                 the payment processor's token instead"
            ),
            Self::Id(_) => format!(
                "{part} holds a national identity number (rule {code}), which is never kept: \
                 expected a number of your own instead"
            ),
            Self::Term(_) => format!(
                "{part} names data of a category that is not accepted (rule {code}): expected it \
                 to be left out"
            ),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Which rules are asked. A platform asks all of them; a check of a promise leaves some out to see
/// itself turn red.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screening {
    cards: bool,
    people: bool,
    /// The day as YYYYMMDD; 0 when it was not told.
    today: u32,
}

impl Default for Screening {
    fn default() -> Self {
        Self::ALL
    }
}

/// Fewer digits are in no number that is looked for.
const DIGITS_MIN: usize = 6;

impl Screening {
    /// Every rule.
    pub const ALL: Self = Self { cards: true, people: true, today: 0 };
    /// No rule: for names that are asked for and not kept.
    pub const NONE: Self = Self { cards: false, people: false, today: 0 };

    /// Without the rule on card numbers.
    #[must_use]
    pub const fn without_cards(self) -> Self {
        Self { cards: false, ..self }
    }

    /// Without the rules on national ids and categories.
    #[must_use]
    pub const fn without_people(self) -> Self {
        Self { people: false, ..self }
    }

    /// Looks at a key, name of an attribute or member of an object: what it says its value is, and
    /// numbers in the key itself.
    pub fn key(self, key: &str) -> Option<Rule> {
        if self.is_none() {
            return None;
        }
        let term = || words::category(key).map(Rule::Term);
        self.people.then(term).flatten().or_else(|| self.text(None, key))
    }

    /// Looks for numbers in a text, which may be the value of a key.
    #[inline]
    pub fn text(self, key: Option<&str>, text: &str) -> Option<Rule> {
        if is_free(text) { None } else { self.first(key, text) }
    }

    #[inline(never)]
    fn first(self, key: Option<&str>, text: &str) -> Option<Rule> {
        self.numbers(key.map(|key| Named::new(key.into())).as_ref(), text)
    }

    /// As [`Screening::text`], for a text that is long enough, under a name that others have too.
    fn numbers(self, name: Option<&Named<'_>>, text: &str) -> Option<Rule> {
        let text = &*folded(text);
        let exempt = name.map_or(Exempt::NOTHING, |name| name.exempt(text));
        if self.cards && !exempt.cards && card::is_in(text) {
            return Some(Rule::Card);
        }
        if self.people && !exempt.people {
            return people::find(name, text, self.today).map(Rule::Id);
        }
        None
    }

    /// On this day: dates of birth are told from dates of making and expiry by it.
    #[must_use]
    pub fn on(self, now: Timestamp) -> Self {
        let (year, month, day) = now.date();
        let today = u32::try_from(year * 10_000 + month * 100 + day).unwrap_or_default();
        Self { today, ..self }
    }

    const fn is_none(self) -> bool {
        !self.cards && !self.people
    }

    /// Whether every rule is asked.
    pub const fn is_whole(self) -> bool {
        self.cards && self.people
    }

    /// Looks into a JSON text: the names of members, and texts. Integers count as texts when
    /// `integers` says so. `key` is what the whole is the value of. Of a text that is no JSON only
    /// what comes before the mistake, where its parser stops too. A text whose nesting is over the
    /// bound was not looked at to its end: whoever asks has to refuse it.
    pub fn json(
        self,
        text: &str,
        key: Option<&str>,
        options: JsonOptions<'_>,
    ) -> Result<Option<JsonFound>, LimitExceeded> {
        json::find(self, text, key, options)
    }

    /// Looks at the value of a reading or attribute. Numbers are measured values unless `integers`
    /// says that they may be written numbers. An error as of [`Screening::json`].
    #[inline]
    pub fn value(
        self,
        key: &str,
        value: &Value,
        integers: bool,
    ) -> Result<Option<(Rule, Option<String>)>, LimitExceeded> {
        Ok(match value {
            Value::Double(_) | Value::Boolean(_) => None,
            Value::Integer(number) if integers && number.unsigned_abs() > 99_999_999 => {
                self.text(Some(key), &number.unsigned_abs().to_string()).map(|rule| (rule, None))
            }
            Value::Integer(_) => None,
            Value::Text(text) => self.text(Some(key), text).map(|rule| (rule, None)),
            Value::Json(text) => {
                let options = JsonOptions { integers, passed: &[] };
                self.json(text, Some(key), options)?.map(|found| (found.rule, Some(found.path)))
            }
        })
    }
}

/// What a look into JSON takes into account.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonOptions<'a> {
    /// Integers count as texts.
    pub integers: bool,
    /// Names of members of the outermost object whose texts are not looked at.
    pub passed: &'a [&'a str],
}

/// Whether a text is too short on digits to hold any number that is looked for.
#[inline]
fn is_free(text: &str) -> bool {
    if text.len() < DIGITS_MIN {
        return true;
    }
    let mut digits = 0usize;
    for byte in text.bytes() {
        // Full-width digits are three bytes that begin like this one.
        digits += usize::from(byte.is_ascii_digit()) + usize::from(byte == 0xef);
    }
    digits < DIGITS_MIN
}

/// The text with full-width forms, other blanks and other hyphens as ASCII has them (Unicode block
/// Halfwidth and Fullwidth Forms, U+FF01 to U+FF5E, are ASCII moved by 0xFEE0).
fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let fold = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(c) - 0xfee0).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        c => c,
    };
    Cow::Owned(text.chars().map(fold).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "4111111111111111";

    #[test]
    fn declared_numbers_of_equipment_are_exempt() {
        let check = |key: &str, text: &str, expect: Option<&str>| {
            let found = Screening::ALL.text(Some(key), text).map(Rule::code);
            assert_eq!(found, expect, "{key} {text}");
        };
        // The 15 digits pass for an American Express number.
        check("serial", "378282246310005", Some("card_number"));
        for key in ["imei", "IMEI", "modem_imei", "modem.imei", "imei_2", "imei.old", "deviceImei"]
        {
            check(key, "378282246310005", None);
        }
        for key in ["imeix", "timei", "time_i"] {
            check(key, "378282246310005", Some("card_number"));
        }
        check("imei", "37 828224 631000 5", None);
        check("imei", CARD, None);
        check("imei", "card 4111111111111111", Some("card_number"));
        check("sim_iccid", "6304000000000000000", None);
        check("ICCID", CARD, Some("card_number"));
        check("imsi", "378282246310005", Some("card_number"));
        check("imsi", "262010012345660", None);
    }

    #[test]
    fn other_forms_of_digits_are_read() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(Screening::ALL.text(None, text).map(Rule::code), expect, "{text}");
        };
        check("４１１１１１１１１１１１１１１１", Some("card_number"));
        check("カード４１１１　１１１１　１１１１　１１１１です", Some("card_number"));
        check("4111\u{2011}1111\u{2011}1111\u{2011}1111", Some("card_number"));
        check("身分證A123456789", Some("national_id_tw"));
        check("溫度感測器 3 樓 會議室", None);
    }

    #[test]
    fn rules_can_be_left_out_and_texts_quote_nothing() {
        let key = |screening: Screening, key: &str| screening.key(key).map(Rule::code);
        assert_eq!(key(Screening::ALL, "religion"), Some("religion"));
        assert_eq!(key(Screening::ALL.without_people(), "religion"), None);
        assert_eq!(key(Screening::ALL, "card_4111111111111111"), Some("card_number"));
        assert_eq!(key(Screening::ALL.without_cards(), "card_4111111111111111"), None);
        assert_eq!(key(Screening::NONE, "card_4111111111111111"), None);
        let rules = [Rule::Card, Rule::Id(NationalId::Taiwan), Rule::Term(Category::Health)];
        for rule in rules {
            let text = rule.refusal("this key");
            assert!(text.starts_with("this key ") && text.contains(rule.code()), "{text}");
            assert!(text.contains("expected"), "{text}");
        }
    }

    #[test]
    fn values_are_looked_at_by_their_kind() {
        let check = |value: Value, integers: bool, expect: Option<(&str, Option<&str>)>| {
            let found = Screening::ALL.value("k", &value, integers).expect("not nested");
            let found = found.map(|(rule, path)| (rule.code(), path));
            let expect = expect.map(|(rule, path)| (rule, path.map(str::to_owned)));
            assert_eq!(found, expect, "{value:?}");
        };
        let number = 4_111_111_111_111_111;
        check(Value::Integer(number), false, None);
        check(Value::Integer(number), true, Some(("card_number", None)));
        check(Value::Integer(1_451_649_600_512), true, None);
        check(Value::Double(4.111_111_111_111_111e15), true, None);
        check(Value::Text(CARD.into()), false, Some(("card_number", None)));
        let json = format!(r#"{{"a":[1,"{CARD}"]}}"#);
        check(Value::Json(json.into()), false, Some(("card_number", Some("member 1, item 2"))));
        check(Value::Json(r#"{"pan":4111111111111111}"#.into()), false, None);
        let json = r#"{"pan":4111111111111111}"#;
        check(Value::Json(json.into()), true, Some(("card_number", Some("member 1"))));
    }
}

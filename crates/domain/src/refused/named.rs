//! The name of values: what its words say of them is worked out once, when the first number asks,
//! however many values bear the name.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::people::{Schemes, schemes_in};
use super::words;

/// A key, or the name of a member.
pub(super) struct Named<'a> {
    text: Cow<'a, str>,
    said: OnceCell<Said>,
}

/// What the words of a name say.
struct Said {
    is_equipment: bool,
    is_sim: bool,
    is_subscriber: bool,
    schemes: Schemes,
}

impl<'a> Named<'a> {
    pub(super) const fn new(text: Cow<'a, str>) -> Self {
        Self { text, said: OnceCell::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn said(&self) -> &Said {
        self.said.get_or_init(|| {
            let words = words::words(&self.text);
            let is_named = |name: &str| words::are_named(&words, name);
            Said {
                is_equipment: is_named("imei") || is_named("imeisv"),
                is_sim: is_named("iccid"),
                is_subscriber: is_named("imsi"),
                schemes: schemes_in(&self.text),
            }
        })
    }

    /// Rules that a text under this name is exempt from: numbers of equipment and SIM cards under a
    /// name that says so: IMEI (15 digits, 14 without check digit, 16 with software version; 3GPP
    /// TS 23.003, section 6.2), ICCID (18 to 22 digits; ITU-T E.118), IMSI (14 or 15 digits; 3GPP
    /// TS 23.003, section 2.2). The whole text is the number: a name exempts no sentence.
    pub(super) fn exempt(&self, text: &str) -> Exempt {
        let mut digits = 0;
        for byte in text.trim().bytes() {
            match byte {
                b'0'..=b'9' => digits += 1,
                b' ' | b'-' => {}
                // The ICCID of some networks ends with an F to fill the last byte.
                b'f' | b'F' => {}
                _ => return Exempt::NOTHING,
            }
        }
        let is_equipment = match digits {
            14..=16 => self.said().is_equipment,
            18..=22 => self.said().is_sim,
            _ => false,
        };
        let is_subscriber = matches!(digits, 14 | 15) && self.said().is_subscriber;
        Exempt { cards: is_equipment, people: is_equipment || is_subscriber }
    }

    /// The schemes of national ids whose words are in the name.
    pub(super) fn schemes(&self) -> Schemes {
        self.said().schemes
    }
}

/// Rules that a value is exempt from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exempt {
    pub(super) cards: bool,
    pub(super) people: bool,
}

impl Exempt {
    pub(super) const NOTHING: Self = Self { cards: false, people: false };
}

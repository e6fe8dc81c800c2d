//! What is presumed to be access control, and with it personal: who went through which door when.
//! The words are listed in `docs/concepts/stream-declarations.md`. A presumption closes a stream
//! until somebody declares it, and never opens one.

/// Words that stand for access control by themselves.
const WORDS: [&str; 24] = [
    "access",
    "attendance",
    "badge",
    "badges",
    "cardholder",
    "cardreader",
    "doorlock",
    "doorreader",
    "entrant",
    "fob",
    "intercom",
    "keycard",
    "keyfob",
    "keypad",
    "lpr",
    "anpr",
    "nfc",
    "rfid",
    "swipe",
    "turnstile",
    "turnstiles",
    "unlock",
    "visitor",
    "visitors",
];
/// Words that do so side by side.
const PAIRS: [(&str, &str); 16] = [
    ("card", "holder"),
    ("card", "id"),
    ("card", "number"),
    ("card", "reader"),
    ("card", "uid"),
    ("door", "controller"),
    ("door", "lock"),
    ("door", "reader"),
    ("employee", "id"),
    ("key", "card"),
    ("key", "fob"),
    ("licence", "plate"),
    ("license", "plate"),
    ("person", "id"),
    ("smart", "lock"),
    ("user", "id"),
];
/// Parts of words, for writing without spaces.
const PIECES: [&str; 9] =
    ["門禁", "刷卡", "讀卡", "門鎖", "入退室", "入退館", "カードリーダ", "출입", "카드리더"];
/// What `access` means with one of these after it is no door.
const NO_DOOR: [&str; 3] = ["point", "points", "time"];

/// What a presumption rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presumed {
    /// The device's type.
    ByType,
    /// The stream's key.
    ByKey,
}

/// Whether a stream is presumed to be access control, by its key or its device's type.
pub fn presumed(device_type: &str, key: Option<&str>) -> Option<Presumed> {
    if key.is_some_and(is_access_control) {
        return Some(Presumed::ByKey);
    }
    is_access_control(device_type).then_some(Presumed::ByType)
}

fn is_access_control(text: &str) -> bool {
    if PIECES.iter().any(|piece| text.contains(piece)) {
        return true;
    }
    let words = words(text);
    let next = |place: usize| words.get(place + 1).map(String::as_str);
    words.iter().enumerate().any(|(place, word)| {
        let is_no_door =
            word == "access" && next(place).is_some_and(|next| NO_DOOR.contains(&next));
        let is_word = WORDS.contains(&word.as_str()) && !is_no_door;
        is_word || next(place).is_some_and(|next| PAIRS.contains(&(word.as_str(), next)))
    })
}

/// The words of a name, in lower case: `doorReader_2` is `door`, `reader`.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in text.chars() {
        if !letter.is_alphabetic() {
            words.push(String::new());
            was_lower = false;
            continue;
        }
        if letter.is_uppercase() && was_lower {
            words.push(String::new());
        }
        was_lower = letter.is_lowercase();
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_is_presumed_and_little_else() {
        let check = |kind: &str, key: Option<&str>, expect: Option<Presumed>| {
            assert_eq!(presumed(kind, key), expect, "{kind} {key:?}");
        };
        check("Door Reader", None, Some(Presumed::ByType));
        check("Access_Control_Equipment", Some("state"), Some(Presumed::ByType));
        check("badge-reader", Some("badgeId"), Some(Presumed::ByKey));
        check("gateway", Some("card_uid"), Some(Presumed::ByKey));
        check("gateway", Some("lastBadge2"), Some(Presumed::ByKey));
        check("門禁控制器", None, Some(Presumed::ByType));
        check("", Some("出入口カードリーダー"), Some(Presumed::ByKey));
        for (kind, key) in [
            ("climate", "temperature"),
            ("door contact", "open"),
            ("Access Point", "clients"),
            ("WiFi", "access_points"),
            ("SIM card", "signal"),
            ("", "accessory_power"),
            ("meter", "phase_lock"),
        ] {
            check(kind, Some(key), None);
        }
    }
}

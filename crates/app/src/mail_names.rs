//! Which names of organisations and products may stand in mails to people who never chose them:
//! none that a mail program would show as a link or an address. One rule, for names that are given
//! and for those that were stored before it.

use unicode_normalization::UnicodeNormalization as _;

use crate::{Error, Result};

/// What is said instead of a name that was stored before the rule.
const UNNAMED: &str = "an organisation";

/// Refuses a name that a mail program would show as a link.
pub(crate) fn refuse_address(field: &str, name: &str) -> Result<()> {
    match found_in(name) {
        Some(what) => {
            Err(Error::invalid_at(field, format!("must be a name, not an address: {what}")))
        }
        None => Ok(()),
    }
}

/// Whether a name may stand in a mail.
pub(crate) fn is_plain(name: &str) -> bool {
    found_in(name).is_none()
}

/// An organisation's name as a mail says it: in quotes, so that it does not pass for words of the
/// platform's own.
pub(crate) fn quoted(name: &str) -> String {
    if is_plain(name) { format!("\"{}\"", name.replace('"', "'")) } else { UNNAMED.to_owned() }
}

/// What makes a name an address, as advice.
fn found_in(name: &str) -> Option<&'static str> {
    let text = as_read(name);
    if text.contains("www.") {
        return Some("leave out \"www.\"");
    }
    if text.contains('@') {
        return Some("leave out \"@\"");
    }
    if text.contains("//") || text.contains('\\') {
        return Some("leave out \"//\" and backslashes");
    }
    if has(&text, ':', |before, after| {
        before.ends_with(char::is_alphabetic) && !after.is_empty() && !starts_blank(after)
    }) {
        return Some("put a space after the colon");
    }
    if has(&text, '.', is_host) || text.split_whitespace().any(is_network_address) {
        return Some("put a space after the dot, or leave out what follows it");
    }
    None
}

/// As a mail program may read it: wide and styled letters are letters, joiners are nothing, and
/// the full stops that host names know are dots.
fn as_read(name: &str) -> String {
    let is_joiner = |c: &char| {
        matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
            || matches!(c, '\u{e0100}'..='\u{e01ef}')
    };
    let text: String = name.chars().filter(|c| !is_joiner(c)).nfkc().collect();
    let text = text.to_lowercase();
    let nexts = text.chars().skip(1).map(Some).chain([None]);
    // An ideographic full stop ends sentences, too: only before Latin letters it is a host's.
    let is_dot = |c: char, next: Option<char>| {
        c == '\u{3002}' && next.is_some_and(|next| next.is_ascii_alphabetic())
    };
    text.chars().zip(nexts).map(|(c, next)| if is_dot(c, next) { '.' } else { c }).collect()
}

fn starts_blank(text: &str) -> bool {
    text.starts_with(char::is_whitespace)
}

/// Whether a sign stands anywhere between such texts.
fn has(text: &str, sign: char, is_it: impl Fn(&str, &str) -> bool) -> bool {
    text.match_indices(sign).any(|(at, found)| is_it(&text[..at], &text[at + found.len()..]))
}

/// `label.label` with an ending as top-level domains have it, or with a path behind.
fn is_host(before: &str, after: &str) -> bool {
    let is_label = before.chars().next_back().is_some_and(|c| !c.is_whitespace() && c != '.');
    let of_label = |c: char| c.is_alphanumeric() || c == '-';
    let label: String = after.chars().take_while(|c| of_label(*c)).collect();
    let has_path = after[label.len()..].starts_with(['/', '?', '#']);
    let is_ending = label.chars().nth(1).is_some() || has_path;
    is_label && label.starts_with(char::is_alphabetic) && is_ending
}

fn is_network_address(word: &str) -> bool {
    let host = word.split(['/', '?', '#']).next().unwrap_or_default();
    host.parse::<std::net::Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mail_programs_link_are_refused() {
        let check = |name: &str, expect: Option<&str>| {
            let found = found_in(name);
            let fits = match (found, expect) {
                (Some(found), Some(expect)) => found.contains(expect),
                (found, expect) => found.is_none() && expect.is_none(),
            };
            assert!(fits, "{name:?}: {found:?}");
        };
        for name in
            ["Go to www.evil.example/login now", "WWW.evil.example", "Pay at ＷＷＷ.evil.example"]
        {
            check(name, Some("www."));
        }
        for name in ["mailto:x@evil.example", "x＠evil.example", "Ann @ Bo"] {
            check(name, Some("\"@\""));
        }
        for name in ["https://evil.example", "hxxps：//evil", "http:\\\\evil.example", "//evil"] {
            check(name, Some("//"));
        }
        for name in ["https:/evil.example", "tel:0800", "data:text", "evil:8080"] {
            check(name, Some("colon"));
        }
        for name in [
            "evil.example/login",
            "evil.example",
            "Example.COM",
            "Bank。com",
            "evil｡com",
            "bank．ｃｏｍ",
            "почта.рф",
            "公司.中国",
            "xn--a.xn--p1ai",
            "a.b/c",
            "é\u{200d}.ｃ\u{200d}ｏm",
            "(evil).de",
            "192.168.0.1",
            "10.0.0.1/login",
            "St.Gallen",
        ] {
            check(name, Some("dot"));
        }
        for name in [
            "Wwworks & Co.",
            "Dr. Müller GmbH & Co. KG",
            "St. Gallen",
            "A.B. Bau",
            "Novo A/S",
            "モーニング娘。",
            "株式会社。テスト",
            "Haus 3.5",
            "Level 2.1/2",
            "Wait... what",
            "Werk: Nord",
            "12:30 Club",
            "Smith, Jones & Co",
            "c/o Nord",
            "No. 5",
        ] {
            check(name, None);
        }
    }

    #[test]
    fn what_was_stored_before_is_not_said() {
        assert_eq!(quoted("Haus \"Nord\""), "\"Haus 'Nord'\"");
        assert_eq!(quoted("evil.example/login"), UNNAMED);
    }
}

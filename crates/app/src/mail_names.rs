//! Which names of organisations and products may stand in mails to people who never chose them:
//! none that a mail program would show as a link or an address. One rule, for names that are given
//! and for those that were stored before it.

use std::net::{Ipv4Addr, Ipv6Addr};

use unicode_normalization::UnicodeNormalization as _;

use crate::{Error, Result};

/// What is said instead of a name that was stored before the rule.
pub(crate) const UNNAMED: &str = "an organisation";

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
    if has(&text, '.', is_host) {
        return Some("put a space after the dot, or leave out what follows it");
    }
    has_network_address(&text).then_some("leave out the network address")
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
    // An ideographic full stop ends sentences, too: before their own letters it is no host's.
    let is_dot = |c: char, next: Option<char>| {
        c == '\u{3002}' && next.is_some_and(|next| next.is_alphanumeric() && !is_east_asian(next))
    };
    text.chars().zip(nexts).map(|(c, next)| if is_dot(c, next) { '.' } else { c }).collect()
}

/// Whether a letter is of the scripts of China, Japan and Korea.
const fn is_east_asian(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}')
        || matches!(c, '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}')
        || matches!(c, '\u{1aff0}'..='\u{1b2ff}' | '\u{20000}'..='\u{3ffff}')
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

/// A network address anywhere, whatever stands around it: a port, a path, brackets, a comma. One of
/// IPv6 stands in brackets.
fn has_network_address(text: &str) -> bool {
    let is_around = |c: char| !c.is_alphanumeric() && !"-._".contains(c);
    let is_ipv4 = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.parse::<Ipv4Addr>().is_ok()
    };
    let is_ipv6 = |word: &str| {
        let host = word.split_once('%').map_or(word, |(host, _)| host);
        host.parse::<Ipv6Addr>().is_ok()
    };
    let mut bracketed = text.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    text.split(is_around).any(is_ipv4) || bracketed.any(|(inside, _)| is_ipv6(inside.trim()))
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
            "evil。рф",
            "evil｡ελ",
            "St.Gallen",
        ] {
            check(name, Some("dot"));
        }
        for name in [
            "192.168.0.1",
            "10.0.0.1/login",
            "203.0.113.7:8443/login",
            "(203.0.113.7)",
            "Log in at 203.0.113.7, now",
            "203.0.113.7.",
            "２０３。0。113。7",
            "[2001:db8::1]/x",
            "See [ fe80::1%2 ]",
        ] {
            check(name, Some("network address"));
        }
        for name in [
            "Wwworks & Co.",
            "Dr. Müller GmbH & Co. KG",
            "St. Gallen",
            "A.B. Bau",
            "Novo A/S",
            "モーニング娘。",
            "株式会社。テスト",
            "株式会社。2号館",
            "본관。별관",
            "v1.2.3.4",
            "Haus 1.2.3.4.5",
            "Haus 256.1.1.1",
            "Block [12:30]",
            "Halle [A]",
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

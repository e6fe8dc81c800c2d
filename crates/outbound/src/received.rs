//! A mail that somebody sent, taken apart: from whom, what it says, and whether a machine sent it
//! (RFC 3834). Attachments are passed by. Pure; whatever it is given, it ends and is bounded.

use std::fmt;

use mail_parser::MessageParser;

use crate::mail::is_address;

/// Most bytes of the headers that are looked at.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Most bytes of one header that are kept.
const VALUE_BYTES_MAX: usize = 2000;
/// Headers that only lists and machines write.
const MACHINES: [&str; 8] = [
    "list-id",
    "list-post",
    "list-unsubscribe",
    "feedback-id",
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-loop",
];
/// Who is nobody that could be answered.
const NOBODY: [&str; 7] =
    ["mailer-daemon", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply", "bounces"];
const BULK: [&str; 4] = ["bulk", "junk", "list", "auto_reply"];

/// A mail.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The one address it is from; none if there is none, or several.
    pub from: Option<String>,
    /// What tells it from others, as its sender's program wrote it.
    pub message_id: Option<String>,
    /// Its subject.
    pub subject: String,
    /// What it says, as plain text.
    pub text: String,
    /// Whether a machine or a list sent it: it is not answered.
    pub is_automatic: bool,
}

impl fmt::Debug for ReceivedMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedMail")
            .field("is_automatic", &self.is_automatic)
            .finish_non_exhaustive()
    }
}

impl ReceivedMail {
    /// Takes a mail apart, or the beginning of one.
    pub fn parse(bytes: &[u8]) -> Self {
        let headers = headers(bytes);
        let message = MessageParser::default().parse(bytes);
        let message = message.as_ref();
        let from = message.and_then(|one| one.from()).and_then(only_address);
        let is_automatic = is_automatic(&headers, from.as_deref());
        let of = |name: &str| headers.iter().find(|(known, _)| known == name);
        Self {
            message_id: of("message-id")
                .map(|(_, value)| value.clone())
                .filter(|id| !id.is_empty()),
            subject: message.and_then(|one| one.subject()).map(plain).unwrap_or_default(),
            text: message
                .and_then(|one| one.body_text(0))
                .map(|text| plain(&text))
                .unwrap_or_default(),
            from,
            is_automatic,
        }
    }
}

/// The address, if there is one and no other.
fn only_address(all: &mail_parser::Address<'_>) -> Option<String> {
    let mut found = all.iter().filter_map(|one| one.address()).map(str::trim);
    let first = found.next().filter(|address| is_address(address))?.to_owned();
    found.next().is_none().then_some(first)
}

/// Text without control characters, but for line breaks and tabs.
fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let kept = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(kept).collect()
}

/// The headers with their names in lower case, each on one line.
fn headers(bytes: &[u8]) -> Vec<(String, String)> {
    let head = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
    let head = String::from_utf8_lossy(head);
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.lines() {
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut()
                && value.len() < VALUE_BYTES_MAX
            {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    headers
}

/// Whether nobody wrote it, or nobody would read an answer (RFC 3834, sections 2 and 5).
fn is_automatic(headers: &[(String, String)], from: Option<&str>) -> bool {
    let has = |name: &str, fits: &dyn Fn(&str) -> bool| {
        let mut named = headers.iter().filter(|(known, _)| known == name);
        named.any(|(_, value)| fits(&value.to_ascii_lowercase()))
    };
    let local = from.and_then(|from| from.split_once('@')).map(|(local, _)| local);
    let is_nobody = local.is_none_or(|local| {
        let local = local.to_ascii_lowercase();
        NOBODY.contains(&local.as_str()) || local.starts_with("owner-")
    });
    is_nobody
        || has("auto-submitted", &|value| !value.starts_with("no"))
        || has("precedence", &|value| BULK.contains(&value))
        || has("return-path", &|value| value == "<>")
        || has("content-type", &|value| value.starts_with("multipart/report"))
        || headers.iter().any(|(name, _)| MACHINES.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "From: Ada <ada@people.example>\r\nTo: privacy@acme.example\r\n\
                         Subject: My data\r\nMessage-ID: <1@people.example>\r\n\r\n\
                         Please send me\r\na copy.\r\n";

    #[test]
    fn a_mail_of_a_person_is_read() {
        let mail = ReceivedMail::parse(PLAIN.as_bytes());
        assert_eq!(mail.from.as_deref(), Some("ada@people.example"));
        assert_eq!(mail.message_id.as_deref(), Some("<1@people.example>"));
        assert_eq!(mail.subject, "My data");
        assert_eq!(mail.text.trim(), "Please send me\na copy.");
        assert!(!mail.is_automatic);
    }

    #[test]
    fn attachments_are_passed_by() {
        let mail = ReceivedMail::parse(
            b"From: ada@people.example\r\nSubject: =?utf-8?B?5ZCM5oSP?=\r\n\
              Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
              Content-Type: text/plain; charset=utf-8\r\n\r\nHere it is.\r\n--b\r\n\
              Content-Type: application/pdf\r\nContent-Disposition: attachment\r\n\r\n\
              SECRET\r\n--b--\r\n",
        );
        assert_eq!(mail.subject, "\u{540c}\u{610f}");
        assert_eq!(mail.text.trim(), "Here it is.");
        assert!(!mail.text.contains("SECRET"));
    }

    #[test]
    fn machines_are_told_from_people() {
        let check = |header: &str, expect: bool| {
            let mail = ReceivedMail::parse(format!("{header}\r\n{PLAIN}").as_bytes());
            assert_eq!(mail.is_automatic, expect, "{header}");
        };
        check("Auto-Submitted: auto-replied", true);
        check("AUTO-SUBMITTED: auto-generated; type=x", true);
        check("Auto-Submitted: no", false);
        check("Precedence: bulk", true);
        check("Precedence: first-class", false);
        check("Return-Path: <>", true);
        check("Return-Path: <ada@people.example>", false);
        check("List-Id:\r\n <staff.acme.example>", true);
        check("X-Mailer: something", false);
        let from = |address: &str| PLAIN.replace("ada@people.example", address);
        for nobody in ["MAILER-DAEMON@people.example", "no-reply@people.example"] {
            assert!(ReceivedMail::parse(from(nobody).as_bytes()).is_automatic, "{nobody}");
        }
    }

    #[test]
    fn a_mail_from_several_or_nobody_is_from_no_one() {
        let several = PLAIN.replace("Ada <ada@people.example>", "a@x.example, b@x.example");
        assert_eq!(ReceivedMail::parse(several.as_bytes()).from, None);
        for odd in [&b""[..], b"\r\n\r\n", b"From:", &[0xff; 300]] {
            let mail = ReceivedMail::parse(odd);
            assert!(mail.from.is_none() && mail.is_automatic);
        }
    }
}

//! The relaxed forms of a message's fields and body, over which DKIM hashes and signs (RFC 6376,
//! section 3.4).

use std::collections::BTreeMap;

/// A field of a message.
pub(super) struct Field<'a> {
    pub(super) name: String,
    pub(super) value: &'a str,
}

/// The fields of a message with line ends of CRLF, and its body.
pub(super) fn split(message: &str) -> (Vec<Field<'_>>, &str) {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let mut fields = Vec::new();
    let mut start = 0;
    while start < head.len() {
        let mut end = start;
        loop {
            let line_end = head[end..].find("\r\n").map_or(head.len(), |at| end + at);
            let next = line_end + 2;
            let folds = head.get(next..).is_some_and(|rest| rest.starts_with([' ', '\t']));
            end = if folds { next } else { line_end };
            if !folds {
                break;
            }
        }
        if let Some((name, value)) = head[start..end].split_once(':') {
            fields.push(Field { name: name.trim_end().to_ascii_lowercase(), value });
        }
        start = end + 2;
    }
    (fields, body)
}

/// Runs of blanks as one, none at the end.
fn squeezed(line: &str, out: &mut String) {
    let mut is_blank = false;
    for c in line.chars() {
        if c == ' ' || c == '\t' {
            is_blank = true;
            continue;
        }
        if is_blank {
            out.push(' ');
            is_blank = false;
        }
        out.push(c);
    }
}

/// RFC 6376, section 3.4.2.
pub(super) fn relaxed_field(name: &str, value: &str, out: &mut String) {
    out.push_str(name);
    out.push(':');
    squeezed(value.replace("\r\n", "").trim_matches([' ', '\t']), out);
}

/// RFC 6376, section 3.4.4.
pub(super) fn relaxed_body(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut empty_lines = 0;
    for line in body.split("\r\n") {
        let mut text = String::new();
        squeezed(line, &mut text);
        if text.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..empty_lines {
            out.push_str("\r\n");
        }
        empty_lines = 0;
        out.push_str(&text);
        out.push_str("\r\n");
    }
    out
}

/// What is hashed and signed of the fields, without the signature's own.
pub(super) fn signed_fields(fields: &[Field<'_>], names: &[&str]) -> String {
    let mut taken = BTreeMap::<&str, usize>::new();
    let mut out = String::new();
    for name in names {
        let skip = taken.entry(*name).or_default();
        // From the last one upwards; one that is not there is signed as not being there.
        let found = fields.iter().rev().filter(|field| field.name == **name).nth(*skip);
        *skip += 1;
        if let Some(field) = found {
            relaxed_field(&field.name, field.value, &mut out);
            out.push_str("\r\n");
        }
    }
    out
}

/// The message with CRLF at every line's end: what travels; files of mail often hold bare LF.
pub(super) fn with_crlf(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6376, section 3.4.5.
    #[test]
    fn relaxed_forms() {
        assert_eq!(relaxed_body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body(""), "");
        let (fields, _) = split("A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C");
        let mut out = String::new();
        for field in &fields {
            relaxed_field(&field.name, field.value, &mut out);
            out.push('\n');
        }
        assert_eq!(out, "a:X\nb:Y Z\n");
    }
}

//! The attachments of a mail (RFC 2045, RFC 2046, RFC 2183): one level of parts, base64 or plain.
//! What is shown inline is not an attachment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most parts of a mail that are looked at.
pub const ATTACHMENTS_MAX: usize = 64;
const BOUNDARY_CHARS_MAX: usize = 70;

/// Why a mail's parts cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailPartsError {
    /// It has more parts than are looked at.
    #[error("more than {ATTACHMENTS_MAX} parts")]
    TooMany,
    /// A part is cut or is not encoded as it says.
    #[error("an attachment is not encoded as it says")]
    Encoding,
    /// The last boundary is missing.
    #[error("its last part is cut")]
    Cut,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its file name, as the mail says it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The unfolded value of a field.
fn field(head: &str, name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for line in head.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = &mut found {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        if found.is_some() {
            break;
        }
        if let Some((field, value)) = line.split_once(':')
            && field.trim_end().eq_ignore_ascii_case(name)
        {
            found = Some(value.trim().to_owned());
        }
    }
    found
}

/// A parameter of a field, without its quotes.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|part| {
        let (key, text) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| text.trim().trim_matches('"').to_owned())
    })
}

fn decoded(encoding: &str, body: &str) -> Result<Vec<u8>, MailPartsError> {
    match encoding.to_ascii_lowercase().as_str() {
        "base64" => {
            let text: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            STANDARD.decode(text).map_err(|_| MailPartsError::Encoding)
        }
        "" | "7bit" | "8bit" | "binary" => Ok(body.as_bytes().to_vec()),
        _ => Err(MailPartsError::Encoding),
    }
}

/// The attachments of a mail, in their order; none of a mail with a single part.
pub fn attachments(mail: &[u8]) -> Result<Vec<Attachment>, MailPartsError> {
    let text = String::from_utf8_lossy(mail).replace("\r\n", "\n");
    let Some((head, body)) = text.split_once("\n\n") else { return Ok(Vec::new()) };
    let content_type = field(head, "content-type").unwrap_or_default();
    if !content_type.to_ascii_lowercase().starts_with("multipart/") {
        return Ok(Vec::new());
    }
    let boundary = parameter(&content_type, "boundary").unwrap_or_default();
    if boundary.is_empty() || boundary.len() > BOUNDARY_CHARS_MAX {
        return Err(MailPartsError::Cut);
    }
    let delimiter = format!("\n--{boundary}");
    // The first delimiter may be the body's first line.
    let body = format!("\n{body}");
    let mut pieces = body.split(delimiter.as_str()).skip(1);
    let mut all = Vec::new();
    for number in 0..=ATTACHMENTS_MAX {
        let piece = pieces.next().ok_or(MailPartsError::Cut)?;
        if piece.starts_with("--") {
            return Ok(all);
        }
        if number == ATTACHMENTS_MAX {
            break;
        }
        let piece = piece.split_once('\n').map_or("", |(_, rest)| rest);
        let (head, body) = piece.split_once("\n\n").unwrap_or((piece, ""));
        let disposition = field(head, "content-disposition").unwrap_or_default();
        if !disposition.to_ascii_lowercase().starts_with("attachment") {
            continue;
        }
        let encoding = field(head, "content-transfer-encoding").unwrap_or_default();
        let name = parameter(&disposition, "filename").unwrap_or_default();
        all.push(Attachment { name, bytes: decoded(&encoding, body)? });
    }
    Err(MailPartsError::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From: a@b.example\nContent-Type: multipart/mixed;\n \
                        boundary=\"xyz\"\n\npreamble\n--xyz\nContent-Type: text/plain\n\nHello\n\
                        --xyz\nContent-Type: text/plain\nContent-Disposition: attachment;\n \
                        filename=\"checkpoint\"\nContent-Transfer-Encoding: base64\n\nYWJj\nZGVm\n\
                        --xyz\nContent-Disposition: inline; filename=\"x\"\n\nno\n--xyz--\n";

    #[test]
    fn only_attachments_are_taken() {
        let expected = Attachment { name: "checkpoint".to_owned(), bytes: b"abcdef".to_vec() };
        assert_eq!(attachments(MAIL.as_bytes()), Ok(vec![expected.clone()]));
        let crlf = MAIL.replace('\n', "\r\n");
        assert_eq!(attachments(crlf.as_bytes()), Ok(vec![expected]));
        let check = |mail: String, expect| assert_eq!(attachments(mail.as_bytes()), expect);
        check(MAIL.replace("--xyz--", ""), Err(MailPartsError::Cut));
        check(MAIL.replace("YWJj", "Y*Jj"), Err(MailPartsError::Encoding));
        check("Subject: x\n\nno parts".to_owned(), Ok(Vec::new()));
        let part = "\n--xyz\nContent-Type: text/plain\n\nx";
        let many = MAIL.replace("\n--xyz--", &(part.repeat(70) + "\n--xyz--"));
        check(many, Err(MailPartsError::TooMany));
    }
}

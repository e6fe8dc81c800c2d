//! DKIM signatures (RFC 6376; Ed25519: RFC 8463) in the one form that is written here: relaxed
//! headers and body, SHA-256, no length limit. Anything else is refused by name.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::canonical::{Field, relaxed_body, relaxed_field, signed_fields, split, with_crlf};
use crate::sha256;

/// Most signatures of one mail that are looked at.
const SIGNATURES_MAX: usize = 8;
/// Most keys that a reader brings.
const KEYS_MAX: usize = 1000;
/// Length of a line of a signature's base64.
const LINE_CHARS: usize = 70;
/// Fields whose change or addition breaks the signature.
const SIGNED: [&str; 9] = [
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];
const FIELD: &str = "DKIM-Signature";

/// Why a key or a message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// The text is not a key record.
    #[error("not a DKIM key record: {0}")]
    Record(&'static str),
    /// A line is not a name with a record.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The message has no header that names a sender.
    #[error("the message has no From field")]
    NoFrom,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DkimAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, of at least 2048 bits.
    RsaSha256,
    /// Ed25519 over the SHA-256 of what is signed.
    Ed25519Sha256,
}

impl DkimAlgorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::RsaSha256, Self::Ed25519Sha256];

    /// The value of `a=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    /// The value of `k=` in a key record.
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa",
            Self::Ed25519Sha256 => "ed25519",
        }
    }
}

/// A public key, as its domain publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimKey {
    /// What it signs with.
    pub algorithm: DkimAlgorithm,
    /// RSA: a DER `SubjectPublicKeyInfo`; Ed25519: 32 bytes.
    pub public: Vec<u8>,
}

impl DkimKey {
    /// The text of the DNS record.
    pub fn record(&self) -> String {
        let key_type = self.algorithm.key_type();
        format!("v=DKIM1; k={key_type}; p={}", STANDARD.encode(&self.public))
    }

    /// From the text of a DNS record, also when it is written as quoted strings.
    pub fn parse_record(text: &str) -> Result<Self, DkimError> {
        let text: String = if text.contains('"') {
            text.split('"').skip(1).step_by(2).collect()
        } else {
            text.to_owned()
        };
        let tags = tags(&text).ok_or(DkimError::Record("a tag is not NAME=VALUE"))?;
        if tags.get("v").is_some_and(|version| version != "DKIM1") {
            return Err(DkimError::Record("its version is not DKIM1"));
        }
        let key_type = tags.get("k").map_or("rsa", String::as_str);
        let algorithm = DkimAlgorithm::ALL.into_iter().find(|one| one.key_type() == key_type);
        let algorithm = algorithm.ok_or(DkimError::Record("its key is neither rsa nor ed25519"))?;
        let key = tags.get("p").ok_or(DkimError::Record("it holds no key"))?;
        if key.is_empty() {
            return Err(DkimError::Record("its key was revoked"));
        }
        let public =
            STANDARD.decode(key).map_err(|_| DkimError::Record("its key is not base64"))?;
        if algorithm == DkimAlgorithm::Ed25519Sha256 && public.len() != 32 {
            return Err(DkimError::Record("its key is not 32 bytes"));
        }
        Ok(Self { algorithm, public })
    }

    fn verifies(&self, data: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            DkimAlgorithm::RsaSha256 => {
                let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
                key.verify(data, signature).is_ok()
            }
            DkimAlgorithm::Ed25519Sha256 => {
                let digest = sha256(data);
                let key = UnparsedPublicKey::new(&ED25519, &self.public);
                key.verify(digest.as_bytes(), signature).is_ok()
            }
        }
    }
}

/// Keys by the name that they are published under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DkimKeys(BTreeMap<String, DkimKey>);

impl DkimKeys {
    /// From lines of `SELECTOR._domainkey.DOMAIN RECORD`; empty lines and those that begin with
    /// `#` say nothing.
    pub fn parse(text: &str) -> Result<Self, DkimError> {
        let mut keys = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |problem: String| DkimError::Line { line: index + 1, problem };
            keys.add_line(line).map_err(|error| wrong(error.to_string()))?;
            if keys.0.len() > KEYS_MAX {
                return Err(wrong(format!("more than {KEYS_MAX} keys")));
            }
        }
        Ok(keys)
    }

    /// Adds one key; the last of one name counts.
    pub fn add_line(&mut self, line: &str) -> Result<(), DkimError> {
        let form = DkimError::Record("expected SELECTOR._domainkey.DOMAIN and the record");
        let (name, record) = line.trim().split_once(char::is_whitespace).ok_or(form.clone())?;
        if !name.contains("._domainkey.") {
            return Err(form);
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.insert(name, DkimKey::parse_record(record)?);
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has a key of this name.
    pub(super) fn holds(&self, place: &DkimPlace) -> bool {
        self.of(place).is_some()
    }

    fn of(&self, place: &DkimPlace) -> Option<&DkimKey> {
        self.0.get(&place.name().to_ascii_lowercase())
    }
}

/// Whose key signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimPlace {
    /// The domain that takes responsibility.
    pub domain: String,
    /// Which of its keys.
    pub selector: String,
}

impl DkimPlace {
    /// The name of the DNS record.
    pub fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

/// Tags of `NAME=VALUE`, without any white space in the values.
fn tags(text: &str) -> Option<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for tag in text.split(';') {
        if tag.trim().is_empty() {
            continue;
        }
        let (name, value) = tag.split_once('=')?;
        let value: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if all.insert(name.trim().to_owned(), value).is_some() {
            return None;
        }
    }
    Some(all)
}

/// A signature that is still to be made.
#[derive(Debug, Clone)]
pub struct DkimDraft {
    head: String,
    data: String,
    algorithm: DkimAlgorithm,
}

impl DkimDraft {
    /// Prepares the signature of a message by a key at `place`, made at `seconds` since the epoch.
    pub fn new(
        message: &[u8],
        place: &DkimPlace,
        algorithm: DkimAlgorithm,
        seconds: i64,
    ) -> Result<Self, DkimError> {
        let message = with_crlf(message);
        let (fields, body) = split(&message);
        if !fields.iter().any(|field| field.name == "from") {
            return Err(DkimError::NoFrom);
        }
        // Each name once more than there are fields of it: none can be added either.
        let present = |name: &str| fields.iter().filter(|field| field.name == name).count();
        let names: Vec<&str> = SIGNED
            .into_iter()
            .flat_map(|name| std::iter::repeat_n(name, present(name) + 1))
            .collect();
        let head = format!(
            " v=1; a={}; c=relaxed/relaxed;\r\n\td={}; s={}; t={seconds};\r\n\th={};\r\n\tbh={};\
             \r\n\tb=",
            algorithm.as_str(),
            place.domain,
            place.selector,
            names.join(":\r\n\t "),
            sha256(relaxed_body(body).as_bytes()).to_base64(),
        );
        let mut data = signed_fields(&fields, &names);
        relaxed_field(&FIELD.to_ascii_lowercase(), &head, &mut data);
        Ok(Self { head, data, algorithm })
    }

    /// The bytes that the key signs: of RSA before they are hashed, of Ed25519 their SHA-256.
    pub fn to_sign(&self) -> Vec<u8> {
        match self.algorithm {
            DkimAlgorithm::RsaSha256 => self.data.as_bytes().to_vec(),
            DkimAlgorithm::Ed25519Sha256 => sha256(self.data.as_bytes()).as_bytes().to_vec(),
        }
    }

    /// The field to put before the message, with its line end.
    pub fn field(&self, signature: &[u8]) -> String {
        let mut out = format!("{FIELD}:{}", self.head);
        for (index, c) in STANDARD.encode(signature).chars().enumerate() {
            if index > 0 && index % LINE_CHARS == 0 {
                out.push_str("\r\n\t ");
            }
            out.push(c);
        }
        out.push_str("\r\n");
        out
    }
}

/// How it stands with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DkimOutcome {
    /// It holds.
    Holds,
    /// The body, and with it an attachment, is not the one that was signed.
    BodyChanged,
    /// A signed field is not the one that was signed, or the signature itself was changed.
    FieldsChanged,
    /// There is no key for it.
    NoKey,
    /// It is not of the form that is accepted.
    Refused(&'static str),
}

/// One signature of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimCheck {
    /// Whose; empty where it does not say.
    pub place: DkimPlace,
    /// Seconds since the epoch at which it says it was made.
    pub signed_at: Option<i64>,
    /// How it stands.
    pub outcome: DkimOutcome,
}

/// Checks a mail's signatures, the topmost first.
pub fn dkim_checks(message: &[u8], keys: &DkimKeys) -> Vec<DkimCheck> {
    let message = with_crlf(message);
    let (fields, body) = split(&message);
    let own = FIELD.to_ascii_lowercase();
    let signatures = fields.iter().filter(|field| field.name == own).take(SIGNATURES_MAX);
    signatures.map(|signature| check(&fields, body, signature, keys)).collect()
}

fn check(fields: &[Field<'_>], body: &str, own: &Field<'_>, keys: &DkimKeys) -> DkimCheck {
    let tags = tags(&own.value.replace("\r\n", "")).unwrap_or_default();
    let tag = |name: &str| tags.get(name).map_or("", String::as_str);
    let place = DkimPlace { domain: tag("d").to_owned(), selector: tag("s").to_owned() };
    let signed_at = tag("t").parse().ok();
    let outcome = outcome(fields, body, own, &tags, keys.of(&place));
    DkimCheck { place, signed_at, outcome }
}

fn outcome(
    fields: &[Field<'_>],
    body: &str,
    own: &Field<'_>,
    tags: &BTreeMap<String, String>,
    key: Option<&DkimKey>,
) -> DkimOutcome {
    let tag = |name: &str| tags.get(name).map_or("", String::as_str);
    if tag("v") != "1" {
        return DkimOutcome::Refused("its version is not 1");
    }
    if tag("c") != "relaxed/relaxed" {
        return DkimOutcome::Refused("its form is not relaxed/relaxed");
    }
    if tags.contains_key("l") {
        return DkimOutcome::Refused("it covers only the beginning of the body");
    }
    let names: Vec<String> = tag("h").split(':').map(str::to_ascii_lowercase).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for needed in ["from", "content-type"] {
        if !names.contains(&needed) {
            return DkimOutcome::Refused("it does not cover the sender and the type of the body");
        }
        // A second one above would be read, and the one below is what was signed.
        let signed = names.iter().filter(|name| **name == needed).count();
        if fields.iter().filter(|field| field.name == needed).count() > signed {
            return DkimOutcome::Refused("a field that it covers stands there once more");
        }
    }
    let Some(key) = key else { return DkimOutcome::NoKey };
    if tag("a") != key.algorithm.as_str() {
        return DkimOutcome::Refused("its algorithm is not its key's");
    }
    if sha256(relaxed_body(body).as_bytes()).to_base64() != tag("bh") {
        return DkimOutcome::BodyChanged;
    }
    let Ok(signature) = STANDARD.decode(tag("b")) else { return DkimOutcome::FieldsChanged };
    let mut data = signed_fields(fields, &names);
    relaxed_field(&own.name, &without_signature(own.value), &mut data);
    if key.verifies(data.as_bytes(), &signature) {
        DkimOutcome::Holds
    } else {
        DkimOutcome::FieldsChanged
    }
}

/// The field's value with nothing after `b=`.
fn without_signature(value: &str) -> String {
    let pieces = value.split(';').map(|tag| match tag.split_once('=') {
        Some((name, _)) if name.trim() == "b" => format!("{name}="),
        _ => tag.to_owned(),
    });
    pieces.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const MAIL: &str = "From: Veritwin <ledger@veritwin.example>\r\nTo: ada@auditor.example\r\n\
                        Subject: Checkpoint\r\nDate: Sun, 10 Jan 2027 00:00:00 +0000\r\n\
                        Content-Type: text/plain\r\n\r\nFirst  line \r\nsecond\r\n\r\n";

    fn place() -> DkimPlace {
        DkimPlace { domain: "veritwin.example".to_owned(), selector: "e1".to_owned() }
    }

    fn signed() -> (String, DkimKeys) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let algorithm = DkimAlgorithm::Ed25519Sha256;
        let draft = DkimDraft::new(MAIL.as_bytes(), &place(), algorithm, 1_800_000_000).unwrap();
        let field = draft.field(pair.sign(&draft.to_sign()).as_ref());
        let key = DkimKey { algorithm, public: pair.public_key().as_ref().to_vec() };
        let mut keys = DkimKeys::default();
        keys.add_line(&format!("{} {}", place().name(), key.record())).unwrap();
        (field + MAIL, keys)
    }

    fn outcome_of(mail: &str, keys: &DkimKeys) -> DkimOutcome {
        let checks = dkim_checks(mail.as_bytes(), keys);
        assert_eq!(checks.len(), 1, "{mail}");
        assert_eq!(checks[0].place, place());
        checks[0].outcome
    }

    #[test]
    fn what_was_signed_holds_and_no_more() {
        let (mail, keys) = signed();
        let check = |mail: &str, expect| assert_eq!(outcome_of(mail, &keys), expect, "{mail}");
        check(&mail, DkimOutcome::Holds);
        check(&mail.replace("\r\n", "\n"), DkimOutcome::Holds);
        check(&mail.replace("First  line ", "First line"), DkimOutcome::Holds);
        check(&(mail.clone() + "\r\n\r\n"), DkimOutcome::Holds);
        check(&mail.replace("second", "sec ond"), DkimOutcome::BodyChanged);
        check(&(mail.clone() + "more\r\n"), DkimOutcome::BodyChanged);
        check(&mail.replace("Checkpoint", "Checkpaint"), DkimOutcome::FieldsChanged);
        let added = mail.replace("Date:", "From: x@y.example\r\nDate:");
        check(&added, DkimOutcome::FieldsChanged);
        let twice = "Content-Type: text/html\r\n".repeat(2) + &mail;
        check(&twice, DkimOutcome::Refused("a field that it covers stands there once more"));
        let limited = mail.replace("v=1;", "v=1; l=3;");
        check(&limited, DkimOutcome::Refused("it covers only the beginning of the body"));
        assert_eq!(outcome_of(&mail, &DkimKeys::default()), DkimOutcome::NoKey);
    }

    /// RFC 8463, appendix A.2: the key and the record that it publishes.
    #[test]
    fn records() {
        let text = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let key = DkimKey::parse_record(text).unwrap();
        assert_eq!(key.record(), text);
        let quoted = "\"v=DKIM1; k=ed25519; \" \"p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"";
        assert_eq!(DkimKey::parse_record(quoted).unwrap(), key);
        for wrong in ["", "v=DKIM1; p=", "v=DKIM2; p=AA==", "v=DKIM1; k=ed25519; p=AA==", "what"] {
            assert!(DkimKey::parse_record(wrong).is_err(), "{wrong}");
        }
        assert!(DkimKeys::parse("# none\n\ne1.veritwin.example v=DKIM1").is_err());
    }
}

//! Signed notes and verifier keys (C2SP signed-note). Signatures of unknown keys are kept and
//! ignored; a signature of a known key that does not verify condemns the note.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::sha256;

/// Largest note read.
pub(crate) const NOTE_BYTES_MAX: usize = 1 << 20;
/// Most signature lines read; the specification asks for at least 16.
const SIGNATURES_MAX: usize = 128;

/// Why a note or a verifier key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are not a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// The text is not a verifier key.
    #[error("not a verifier key: {0}")]
    Key(&'static str),
    /// No signature by the wanted key.
    #[error("no signature by {name} with key id {key_id:08x}")]
    NotSigned {
        /// The key's name.
        name: String,
        /// The key's id.
        key_id: u32,
    },
    /// A signature by the wanted key does not verify.
    #[error("the signature by {name} with key id {key_id:08x} does not verify")]
    BadSignature {
        /// The key's name.
        name: String,
        /// The key's id.
        key_id: u32,
    },
}

/// What a verifier key signs with; the number is the signature type of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// `0x01`: Ed25519 over the note's text.
    Ed25519,
    /// `0x04`: a witness's time-stamped Ed25519 cosignature (C2SP tlog-cosignature).
    CosignatureV1,
}

impl KeyAlgorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::CosignatureV1 => 4,
        }
    }
}

/// A public key with the name that it signs under: `NAME+HEX+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    key_id: u32,
    algorithm: KeyAlgorithm,
    public: [u8; 32],
}

fn name_is_valid(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_control())
}

impl VerifierKey {
    /// The key `public` under `name`; refuses names that a note cannot carry.
    pub fn new(name: &str, algorithm: KeyAlgorithm, public: [u8; 32]) -> Result<Self, NoteError> {
        if !name_is_valid(name) {
            return Err(NoteError::Key("the name is empty or holds a space, a plus or a control"));
        }
        let mut message = Vec::with_capacity(name.len() + 34);
        message.extend_from_slice(name.as_bytes());
        message.push(b'\n');
        message.push(algorithm.byte());
        message.extend_from_slice(&public);
        let hash = sha256(&message);
        let mut id = [0; 4];
        id.copy_from_slice(&hash.as_bytes()[..4]);
        Ok(Self { name: name.to_owned(), key_id: u32::from_be_bytes(id), algorithm, public })
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of `SHA-256(name || 0x0A || type || public key)`.
    pub const fn key_id(&self) -> u32 {
        self.key_id
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The Ed25519 public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The signature line that belongs into a note, for `signature` made over the note's text.
    pub fn signature_line(&self, signature: &[u8]) -> String {
        let mut bytes = self.key_id.to_be_bytes().to_vec();
        bytes.extend_from_slice(signature);
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode(bytes))
    }

    fn matches(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.key_id == self.key_id
    }

    /// Verifies this key's signatures on the note. For a cosignature the answer is its time in
    /// seconds since the epoch, otherwise 0.
    pub fn verify(&self, note: &SignedNote) -> Result<u64, NoteError> {
        let mut seen = None;
        for signature in note.signatures.iter().filter(|signature| self.matches(signature)) {
            let at = self.verify_one(note.text(), &signature.signature).ok_or_else(|| {
                NoteError::BadSignature { name: self.name.clone(), key_id: self.key_id }
            })?;
            seen = Some(at);
        }
        seen.ok_or_else(|| NoteError::NotSigned { name: self.name.clone(), key_id: self.key_id })
    }

    fn verify_one(&self, text: &str, signature: &[u8]) -> Option<u64> {
        match self.algorithm {
            KeyAlgorithm::Ed25519 => {
                ed25519_verifies(&self.public, text.as_bytes(), signature).then_some(0)
            }
            KeyAlgorithm::CosignatureV1 => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let message = format!("cosignature/v1\ntime {time}\n{text}");
                let valid = i64::try_from(time).is_ok()
                    && ed25519_verifies(&self.public, message.as_bytes(), signature);
                valid.then_some(time)
            }
        }
    }
}

/// True when `signature` is the Ed25519 signature (RFC 8032) of `message` by `public`.
pub(crate) fn ed25519_verifies(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.algorithm.byte()];
        bytes.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, self.key_id, STANDARD.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        const FORM: NoteError = NoteError::Key("expected NAME+HEX+BASE64");
        let mut parts = text.splitn(3, '+');
        let (name, id, key) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(id), Some(key)) => (name, id, key),
            _ => return Err(FORM),
        };
        if id.len() != 8 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoteError::Key("the key id is not 8 lower-case hexadecimal digits"));
        }
        let id = u32::from_str_radix(id, 16).map_err(|_| FORM)?;
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key("the key is not base64"))?;
        let (algorithm, public) = match key.split_first() {
            Some((1, public)) => (KeyAlgorithm::Ed25519, public),
            Some((4, public)) => (KeyAlgorithm::CosignatureV1, public),
            _ => return Err(NoteError::Key("signature type unknown: expected 1 or 4 (Ed25519)")),
        };
        let public = public.try_into().map_err(|_| NoteError::Key("the key is not 32 bytes"))?;
        let parsed = Self::new(name, algorithm, public)?;
        if parsed.key_id != id {
            return Err(NoteError::Key("the key id does not belong to this name and key"));
        }
        Ok(parsed)
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: u32,
    /// The signature, without the key id.
    pub signature: Vec<u8>,
}

/// A parsed note. Parsing checks the form only: its text must be ignored until
/// [`VerifierKey::verify`] has accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Parses a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Malformed("longer than 1 MiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Malformed("it holds a control character"));
        }
        let split =
            note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line before signatures"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        if !lines.ends_with('\n') {
            return Err(NoteError::Malformed("the last signature line does not end in a newline"));
        }
        let mut signatures = Vec::new();
        for line in lines.lines() {
            if signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::Malformed("more than 128 signatures"));
            }
            signatures.push(parse_signature(line)?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, known and unknown.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

fn parse_signature(line: &str) -> Result<NoteSignature, NoteError> {
    const FORM: NoteError = NoteError::Malformed("a signature line is not `\u{2014} NAME BASE64`");
    let rest = line.strip_prefix("\u{2014} ").ok_or(FORM)?;
    let (name, signature) = rest.split_once(' ').ok_or(FORM)?;
    if !name_is_valid(name) {
        return Err(FORM);
    }
    let bytes = STANDARD.decode(signature).map_err(|_| FORM)?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or(FORM)?;
    if signature.is_empty() {
        return Err(FORM);
    }
    Ok(NoteSignature {
        name: name.to_owned(),
        key_id: u32::from_be_bytes(*id),
        signature: signature.to_vec(),
    })
}

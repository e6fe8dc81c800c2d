//! What a log and a witness say to each other (C2SP tlog-witness), and the lines that a witness
//! adds to a checkpoint (C2SP tlog-cosignature). Forms only: nothing is sent or stored here.

use crate::{CheckpointError, Digest, KeyAlgorithm, SignedCheckpoint, VerifierKey};

/// Largest request that a witness reads, in bytes.
pub const WITNESS_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Largest answer of a witness that is read, in bytes.
pub const WITNESS_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Most lines of a consistency proof.
pub const CONSISTENCY_LINES_MAX: usize = 63;
/// The content type of an answer that says which tree size the witness knows.
pub const TREE_SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a request or an answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessFormError {
    /// A line is not as specified.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The checkpoint is not one.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
}

/// A request for a cosignature: `POST PREFIX/add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The tree size that the witness is believed to know; 0 for none.
    pub old_size: u64,
    /// The proof that the checkpoint extends it.
    pub proof: Vec<Digest>,
    /// The checkpoint, a signed note.
    pub note: String,
}

impl AddCheckpoint {
    /// The body of the request.
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            text.push_str(&hash.to_base64());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a body; the checkpoint's form is checked, its signature is not.
    pub fn parse(text: &str) -> Result<(Self, SignedCheckpoint), WitnessFormError> {
        let at = |line, problem| WitnessFormError::Line { line, problem };
        let (head, note) = text.split_once("\n\n").ok_or(at(1, "no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old_size = old
            .and_then(tree_size)
            .ok_or(at(1, "expected `old` and a tree size without leading zeroes"))?;
        let mut proof = Vec::new();
        for (line, text) in (2..).zip(lines) {
            if proof.len() == CONSISTENCY_LINES_MAX {
                return Err(at(line, "more than 63 hashes"));
            }
            let hash = Digest::from_base64(text);
            proof.push(hash.map_err(|_| at(line, "expected 32 bytes of base64"))?);
        }
        let signed = SignedCheckpoint::parse(note.as_bytes())?;
        Ok((Self { old_size, proof, note: note.to_owned() }, signed))
    }
}

/// A tree size in decimal, without leading zeroes.
pub fn tree_size(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    let size = text.parse::<u64>().ok().filter(|size| i64::try_from(*size).is_ok());
    size.filter(|_| plain && canonical)
}

/// What a witness signs at `seconds` since the epoch over a note's text.
pub fn cosigned_message(seconds: u64, note_text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{note_text}").into_bytes()
}

/// The line that a witness answers, from its signature of [`cosigned_message`].
pub fn cosignature_line(key: &VerifierKey, seconds: u64, signature: &[u8; 64]) -> String {
    let mut bytes = seconds.to_be_bytes().to_vec();
    bytes.extend_from_slice(signature);
    key.signature_line(&bytes)
}

/// The lines of a witness's answer that are cosignatures of `note` by one of `keys`, each key
/// once. Whatever else is in the answer is left out.
pub fn valid_cosignatures(note: &str, answer: &str, keys: &[VerifierKey]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for key in keys.iter().filter(|key| key.algorithm() == KeyAlgorithm::CosignatureV1) {
        let line = answer.split_inclusive('\n').find(|line| {
            let whole = format!("{note}{line}");
            let signed = SignedCheckpoint::parse(whole.as_bytes());
            signed.is_ok_and(|signed| {
                // The note may hold an older cosignature of this key, which does not count.
                signed
                    .note
                    .signatures()
                    .last()
                    .is_some_and(|last| last.name == key.name() && last.key_id == key.key_id())
                    && key.verify(&signed.note).is_ok()
            })
        });
        found.extend(line.map(str::to_owned));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = "log.example/x\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
                        \u{2014} log.example/x AAAAAAE=\n";

    #[test]
    fn requests_are_read_as_they_are_written() {
        let request = AddCheckpoint {
            old_size: 1,
            proof: vec![Digest::ZERO, Digest::from_bytes([7; 32])],
            note: NOTE.to_owned(),
        };
        let (read, signed) = AddCheckpoint::parse(&request.to_text()).expect("read");
        assert_eq!(read, request);
        assert_eq!((signed.checkpoint.size, read.proof.len()), (2, 2));
        let first = AddCheckpoint { old_size: 0, proof: Vec::new(), note: NOTE.to_owned() };
        assert_eq!(AddCheckpoint::parse(&first.to_text()).expect("read").0, first);
    }

    #[test]
    fn other_forms_are_refused() {
        let check = |text: &str, part: &str| {
            let error = AddCheckpoint::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "no blank line");
        check(&format!("old 01\n\n{NOTE}"), "leading zeroes");
        check(&format!("old -1\n\n{NOTE}"), "leading zeroes");
        check(&format!("old 9223372036854775808\n\n{NOTE}"), "leading zeroes");
        check(&format!("new 1\n\n{NOTE}"), "expected `old`");
        check(&format!("old 1\nAAAA\n\n{NOTE}"), "32 bytes");
        let many = format!("{}\n", Digest::ZERO.to_base64()).repeat(64);
        check(&format!("old 1\n{many}\n{NOTE}"), "more than 63");
        check("old 1\n\nnothing", "checkpoint");
    }
}

//! Statements of store-and-forward edges: what one batch of an edge is, signed by the edge itself,
//! in one canonical form of a fixed length. Whoever reads a log needs nothing else to check it.

use std::fmt;

use veritwin_domain::{DeviceId, Timestamp};

use crate::note::ed25519_verifies;
use crate::{Digest, sha256};

/// Length of a statement with its signature, in bytes.
pub const EDGE_STATEMENT_BYTES: usize = 258;
/// The version written and the only one read.
pub const EDGE_STATEMENT_VERSION: u8 = 1;

const UNSIGNED_BYTES: usize = EDGE_STATEMENT_BYTES - 64;
const DOMAIN: &[u8] = b"veritwin-edge-statement/v1\n";
const KIND_BATCH: u8 = 1;
const KIND_DISK_FULL: u8 = 2;
/// Stands for a clock offset that the edge does not know.
const OFFSET_UNKNOWN: i64 = i64::MIN;

/// Why bytes are not a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// Not the one length there is.
    #[error("statement of {0} bytes, expected {EDGE_STATEMENT_BYTES}")]
    Length(usize),
    /// A version that this program does not know.
    #[error("statement version {0}, expected {EDGE_STATEMENT_VERSION}")]
    Version(u8),
    /// A kind that this program does not know.
    #[error("statement kind {0} is unknown")]
    Kind(u8),
    /// A field contradicts the others.
    #[error("{field}: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The signature is not by the key that the statement names.
    #[error("the edge's signature does not verify")]
    Signature,
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeKind {
    /// A batch of entries.
    Batch,
    /// Batches that the edge gave up because its disk was full: they are never submitted.
    DiskFull {
        /// Counter of the first of them.
        first: u64,
        /// Counter of the last of them.
        last: u64,
    },
}

/// What a statement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeFields {
    /// What it is about.
    pub kind: EdgeKind,
    /// The edge: the id of its gateway device.
    pub edge: DeviceId,
    /// The edge's Ed25519 public key.
    pub key: [u8; 32],
    /// Its number, from 1 without gaps.
    pub counter: u64,
    /// SHA-256 of the statement before it; zero in the first.
    pub previous: Digest,
    /// Position of the first entry in the edge's own log.
    pub first_position: u64,
    /// Position of the last one.
    pub last_position: u64,
    /// How many entries it is about.
    pub entries: u64,
    /// Earliest event time in it; the time of its making when it has none.
    pub events_from: Timestamp,
    /// Latest event time in it.
    pub events_to: Timestamp,
    /// When it was made, by the edge's clock.
    pub made_at: Timestamp,
    /// The platform's clock minus the edge's in microseconds, as the edge last measured it.
    pub clock_offset_us: Option<i64>,
    /// SHA-256 of the content; zero without.
    pub content: Digest,
}

impl EdgeFields {
    fn encode(&self) -> [u8; UNSIGNED_BYTES] {
        let (kind, first, last) = match self.kind {
            EdgeKind::Batch => (KIND_BATCH, 0, 0),
            EdgeKind::DiskFull { first, last } => (KIND_DISK_FULL, first, last),
        };
        let offset = self.clock_offset_us.unwrap_or(OFFSET_UNKNOWN);
        let parts: [&[u8]; 15] = [
            &[EDGE_STATEMENT_VERSION, kind],
            self.edge.as_bytes(),
            &self.key,
            &self.counter.to_be_bytes(),
            self.previous.as_bytes(),
            &self.first_position.to_be_bytes(),
            &self.last_position.to_be_bytes(),
            &self.entries.to_be_bytes(),
            &self.events_from.as_micros().to_be_bytes(),
            &self.events_to.as_micros().to_be_bytes(),
            &self.made_at.as_micros().to_be_bytes(),
            &offset.to_be_bytes(),
            &first.to_be_bytes(),
            &last.to_be_bytes(),
            self.content.as_bytes(),
        ];
        let mut out = [0; UNSIGNED_BYTES];
        let mut rest = out.as_mut_slice();
        for part in parts {
            let Some((head, tail)) = rest.split_at_mut_checked(part.len()) else { break };
            head.copy_from_slice(part);
            rest = tail;
        }
        out
    }

    fn check(&self) -> Result<(), EdgeError> {
        let refuse = |field, problem| Err(EdgeError::Field { field, problem });
        if self.counter == 0 {
            return refuse("counter", "statements are numbered from 1");
        }
        if (self.counter == 1) != (self.previous == Digest::ZERO) {
            return refuse("previous", "only the first statement has none before it");
        }
        if self.first_position > self.last_position {
            return refuse("positions", "the first is behind the last");
        }
        if self.entries == 0 {
            return refuse("entries", "a statement is about at least one");
        }
        if self.events_from > self.events_to {
            return refuse("event times", "the earliest is later than the latest");
        }
        match self.kind {
            EdgeKind::Batch if self.content == Digest::ZERO => refuse("content", "missing"),
            EdgeKind::DiskFull { .. } if self.content != Digest::ZERO => {
                refuse("content", "what was given up has none")
            }
            EdgeKind::DiskFull { first, last }
                if first == 0 || first > last || last >= self.counter =>
            {
                refuse("counter range", "not one of statements before this one")
            }
            EdgeKind::Batch | EdgeKind::DiskFull { .. } => Ok(()),
        }
    }
}

/// A statement whose fields agree with each other. Its signature is checked by
/// [`EdgeStatement::verify`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EdgeStatement([u8; EDGE_STATEMENT_BYTES]);

impl fmt::Debug for EdgeStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdgeStatement({} of {})", self.counter(), self.edge())
    }
}

impl EdgeStatement {
    /// A statement signed by `sign`, which has to hold the key that the fields name.
    pub fn signed(
        fields: &EdgeFields,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Self, EdgeError> {
        fields.check()?;
        let unsigned = fields.encode();
        let signature = sign(&[DOMAIN, &unsigned].concat());
        let mut bytes = [0; EDGE_STATEMENT_BYTES];
        bytes[..UNSIGNED_BYTES].copy_from_slice(&unsigned);
        bytes[UNSIGNED_BYTES..].copy_from_slice(&signature);
        let statement = Self(bytes);
        statement.verify()?;
        Ok(statement)
    }

    /// Reads a statement and checks that its fields agree with each other; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let bytes: [u8; EDGE_STATEMENT_BYTES] =
            bytes.try_into().map_err(|_| EdgeError::Length(bytes.len()))?;
        if bytes[0] != EDGE_STATEMENT_VERSION {
            return Err(EdgeError::Version(bytes[0]));
        }
        let statement = Self(bytes);
        let kind = bytes[1];
        if !matches!(kind, KIND_BATCH | KIND_DISK_FULL) {
            return Err(EdgeError::Kind(kind));
        }
        let range = (statement.number(146), statement.number(154));
        if kind == KIND_BATCH && range != (0, 0) {
            let problem = "a batch gives up no other";
            return Err(EdgeError::Field { field: "counter range", problem });
        }
        statement.fields().check()?;
        Ok(statement)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; EDGE_STATEMENT_BYTES] {
        &self.0
    }

    /// SHA-256 of its bytes: what the next statement names as the one before it.
    pub fn hash(&self) -> Digest {
        sha256(&self.0)
    }

    /// Verifies the signature with the key that it names. Whose key that is, is for others to say.
    pub fn verify(&self) -> Result<(), EdgeError> {
        let message = [DOMAIN, &self.0[..UNSIGNED_BYTES]].concat();
        if ed25519_verifies(&self.array(18), &message, &self.array::<64>(UNSIGNED_BYTES)) {
            Ok(())
        } else {
            Err(EdgeError::Signature)
        }
    }

    /// Its number.
    pub fn counter(&self) -> u64 {
        self.number(50)
    }

    /// The edge.
    pub fn edge(&self) -> DeviceId {
        DeviceId::from_bytes(self.array(2))
    }

    /// What it says.
    pub fn fields(&self) -> EdgeFields {
        let time = |at| Timestamp::from_micros(self.number(at).cast_signed());
        let kind = match self.0[1] {
            KIND_DISK_FULL => {
                EdgeKind::DiskFull { first: self.number(146), last: self.number(154) }
            }
            _ => EdgeKind::Batch,
        };
        let offset = self.number(138).cast_signed();
        EdgeFields {
            kind,
            edge: self.edge(),
            key: self.array(18),
            counter: self.counter(),
            previous: Digest::from_bytes(self.array(58)),
            first_position: self.number(90),
            last_position: self.number(98),
            entries: self.number(106),
            events_from: time(114),
            events_to: time(122),
            made_at: time(130),
            clock_offset_us: (offset != OFFSET_UNKNOWN).then_some(offset),
            content: Digest::from_bytes(self.array(162)),
        }
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn signer() -> (Ed25519KeyPair, [u8; 32]) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = pair.public_key().as_ref().try_into().unwrap();
        (pair, key)
    }

    fn fields() -> EdgeFields {
        EdgeFields {
            kind: EdgeKind::Batch,
            edge: DeviceId::from_bytes([1; 16]),
            key: signer().1,
            counter: 2,
            previous: Digest::from_bytes([9; 32]),
            first_position: 10,
            last_position: 12,
            entries: 3,
            events_from: Timestamp::from_micros(-5),
            events_to: Timestamp::from_micros(6),
            made_at: Timestamp::from_micros(7),
            clock_offset_us: Some(-8),
            content: sha256(b"content"),
        }
    }

    fn sign(fields: &EdgeFields) -> Result<EdgeStatement, EdgeError> {
        let (pair, _) = signer();
        EdgeStatement::signed(fields, |message| pair.sign(message).as_ref().try_into().unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        let gap = EdgeFields {
            kind: EdgeKind::DiskFull { first: 1, last: 1 },
            content: Digest::ZERO,
            clock_offset_us: None,
            ..fields()
        };
        for fields in [fields(), gap] {
            let statement = sign(&fields).unwrap();
            let read = EdgeStatement::decode(statement.as_bytes()).unwrap();
            assert_eq!((read.fields(), read.verify()), (fields, Ok(())));
        }
    }

    /// The example of `docs/reference/edge.md`.
    const EXAMPLE: &str = concat!(
        "010101010101010101010101010101010101ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b9242",
        "1eea691446d22c000000000000000100000000000000000000000000000000000000000000000000000000",
        "00000000000000000000000400000000000000040000000000000001000647484620400000064748462040",
        "0000064748463ec480fffffffffffc2f7000000000000000000000000000000000052e28c5c5b9138766ed",
        "429a0836e3d33574835781b40b255e6b0b271c9052f7be7f60945683174c8845b2f1c3af3c8202435acb0e",
        "95ea713ed5a1b960f7ac5adcc716ada1aaebd84c240b44c5f594065cbae51166ab12cd1db02017cf227802",
    );

    #[test]
    fn the_documented_example_is_what_is_signed() {
        let content = concat!(
            r#"{"device":"pump","received_at_us":1767225600000001,"#,
            r#""readings":[["t",1767225600000000,21.5,"good"]]}"#,
            "\n"
        );
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        let example = EdgeFields {
            counter: 1,
            previous: Digest::ZERO,
            first_position: 4,
            last_position: 4,
            entries: 1,
            events_from: at,
            events_to: at,
            made_at: Timestamp::from_micros(1_767_225_602_000_000),
            clock_offset_us: Some(-250_000),
            content: sha256(content.as_bytes()),
            ..fields()
        };
        let statement = sign(&example).unwrap();
        assert_eq!(hex::encode(statement.as_bytes()), EXAMPLE);
        assert_eq!(
            statement.hash().to_string(),
            "d119cb4b2e0a7111cc86f9da59dc22d4723762a6a07f9435bfcf7a0990010f0a"
        );
    }

    #[test]
    fn every_bit_is_covered() {
        let statement = sign(&fields()).unwrap();
        for at in 0..EDGE_STATEMENT_BYTES {
            let mut bytes = *statement.as_bytes();
            bytes[at] ^= 1;
            let read = EdgeStatement::decode(&bytes);
            assert!(read.is_err() || read.unwrap().verify().is_err(), "byte {at}");
        }
        for length in [0, EDGE_STATEMENT_BYTES - 1] {
            let read = EdgeStatement::decode(&statement.as_bytes()[..length]);
            assert_eq!(read, Err(EdgeError::Length(length)));
        }
    }

    #[test]
    fn fields_that_contradict_each_other_are_not_signed() {
        let check = |change: fn(&mut EdgeFields), field: &str| {
            let mut fields = fields();
            change(&mut fields);
            let error = sign(&fields).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        };
        check(|one| one.counter = 0, "counter");
        check(|one| one.counter = 1, "previous");
        check(|one| one.previous = Digest::ZERO, "previous");
        check(|one| one.first_position = 13, "positions");
        check(|one| one.entries = 0, "entries");
        check(|one| one.events_to = Timestamp::from_micros(-6), "event times");
        check(|one| one.content = Digest::ZERO, "content");
        check(|one| one.kind = EdgeKind::DiskFull { first: 1, last: 1 }, "content");
        check(
            |one| {
                one.content = Digest::ZERO;
                one.kind = EdgeKind::DiskFull { first: 1, last: 2 };
            },
            "counter range",
        );
    }
}

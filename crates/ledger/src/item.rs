//! What a journal frame holds: the changes of one group commit, or a part of the snapshot at the
//! beginning of a file. Unknown items are refused.

use veritwin_domain::LogId;
use veritwin_verify::Digest;

use crate::bytes_form::{Reader, Writer};

/// One change, or one part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A log was made.
    Created {
        log: LogId,
        origin: String,
        submitter: [u8; 32],
        /// The log's signing key, sealed.
        key: Vec<u8>,
    },
    /// Where a log stands at its last full bundle (snapshot only). Follows `Created`.
    Base {
        log: LogId,
        size: u64,
        peaks: Vec<Digest>,
        /// Hashes of the partial tiles of level 1 and up.
        levels: Vec<Vec<Digest>>,
        /// The last leaf before the base, with its cursor.
        last: Option<(Vec<u8>, u64)>,
        /// The submitter key in force.
        submitter: [u8; 32],
    },
    /// A leaf was appended.
    Leaf { log: LogId, index: u64, cursor: u64, entry: Vec<u8> },
    /// A checkpoint was signed.
    Checkpoint { log: LogId, size: u64, note: String },
    /// Leaves below an index are ended by a statement, and below another gone from the disk.
    Pruned { log: LogId, minimum_index: u64, pruned: u64 },
    /// What a log's leaves and payloads take at its base (snapshot only). Follows `Base`.
    Stored { log: LogId, bytes: u64 },
    /// So much of it went with pruned leaves.
    Freed { log: LogId, bytes: u64 },
    /// Every leaf of a log is kept at least so long.
    Period { log: LogId, seconds: u64 },
    /// The snapshot is complete; so many logs were in it.
    SnapshotEnd { logs: u64 },
}

impl Item {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        match self {
            Self::Created { log, origin, submitter, key } => {
                writer.u8(1);
                writer.fixed(log.as_bytes());
                writer.bytes(origin.as_bytes());
                writer.fixed(submitter);
                writer.bytes(key);
            }
            Self::Base { log, size, peaks, levels, last, submitter } => {
                writer.u8(2);
                writer.fixed(log.as_bytes());
                writer.u64(*size);
                hashes(&mut writer, peaks);
                writer.u8(levels.len() as u8);
                levels.iter().for_each(|level| hashes(&mut writer, level));
                let (entry, cursor) = last.as_ref().map_or((&[][..], 0), |(e, c)| (e, *c));
                writer.bytes(entry);
                writer.u64(cursor);
                writer.fixed(submitter);
            }
            Self::Leaf { log, index, cursor, entry } => {
                leaf(&mut writer, *log, (*index, *cursor), entry);
            }
            Self::Checkpoint { log, size, note } => {
                writer.u8(4);
                writer.fixed(log.as_bytes());
                writer.u64(*size);
                writer.bytes(note.as_bytes());
            }
            Self::Pruned { log, minimum_index, pruned } => {
                writer.u8(6);
                writer.fixed(log.as_bytes());
                writer.u64(*minimum_index);
                writer.u64(*pruned);
            }
            Self::Stored { log, bytes } => {
                writer.u8(7);
                writer.fixed(log.as_bytes());
                writer.u64(*bytes);
            }
            Self::Freed { log, bytes } => {
                writer.u8(8);
                writer.fixed(log.as_bytes());
                writer.u64(*bytes);
            }
            Self::Period { log, seconds } => {
                writer.u8(9);
                writer.fixed(log.as_bytes());
                writer.u64(*seconds);
            }
            Self::SnapshotEnd { logs } => {
                writer.u8(5);
                writer.u64(*logs);
            }
        }
    }

    /// Writes a [`Self::Leaf`] from where its bytes lie.
    pub(crate) fn write_leaf(
        log: LogId,
        (index, cursor): (u64, u64),
        entry: &[u8],
        out: &mut Vec<u8>,
    ) {
        leaf(&mut Writer(out), log, (index, cursor), entry);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let tag = reader.u8()?;
        if tag == 5 {
            return Some(Self::SnapshotEnd { logs: reader.u64()? });
        }
        let log = LogId::from_bytes(reader.array()?);
        Some(match tag {
            1 => Self::Created {
                log,
                origin: String::from_utf8(reader.bytes()?.to_vec()).ok()?,
                submitter: reader.array()?,
                key: reader.bytes()?.to_vec(),
            },
            2 => {
                let size = reader.u64()?;
                let peaks = read_hashes(reader)?;
                let count = reader.u8()?;
                let levels = (0..count).map(|_| read_hashes(reader)).collect::<Option<_>>()?;
                let entry = reader.bytes()?.to_vec();
                let cursor = reader.u64()?;
                let last = (!entry.is_empty()).then_some((entry, cursor));
                Self::Base { log, size, peaks, levels, last, submitter: reader.array()? }
            }
            3 => Self::Leaf {
                log,
                index: reader.u64()?,
                cursor: reader.u64()?,
                entry: reader.bytes()?.to_vec(),
            },
            4 => Self::Checkpoint {
                log,
                size: reader.u64()?,
                note: String::from_utf8(reader.bytes()?.to_vec()).ok()?,
            },
            6 => Self::Pruned { log, minimum_index: reader.u64()?, pruned: reader.u64()? },
            7 => Self::Stored { log, bytes: reader.u64()? },
            8 => Self::Freed { log, bytes: reader.u64()? },
            9 => Self::Period { log, seconds: reader.u64()? },
            _ => return None,
        })
    }

    /// Every item of a frame, or none when one is unknown or cut.
    pub(crate) fn read_all(frame: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader(frame);
        let mut items = Vec::new();
        while !reader.is_empty() {
            items.push(Self::read(&mut reader)?);
        }
        Some(items)
    }
}

fn leaf(writer: &mut Writer<'_>, log: LogId, (index, cursor): (u64, u64), entry: &[u8]) {
    writer.u8(3);
    writer.fixed(log.as_bytes());
    writer.u64(index);
    writer.u64(cursor);
    writer.bytes(entry);
}

fn hashes(writer: &mut Writer<'_>, hashes: &[Digest]) {
    writer.fixed(&(hashes.len() as u32).to_be_bytes());
    hashes.iter().for_each(|hash| writer.fixed(hash.as_bytes()));
}

fn read_hashes(reader: &mut Reader<'_>) -> Option<Vec<Digest>> {
    let count = reader.u32()?;
    (0..count).map(|_| reader.array().map(Digest::from_bytes)).collect()
}

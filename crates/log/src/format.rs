//! The form of a log file: a header, then groups. A group is what one fdatasync made durable: a
//! checksummed header, the keys of tenants new to the file, then one sealed frame per entry. The
//! next group is written only after the one before is durable; a bad group with a good group
//! header behind it is therefore damage, and one with nothing behind it is an unfinished write.

use std::io::Read;
use std::path::{Path, PathBuf};

use veritwin_domain::{FileId, TenantId};
use veritwin_keys::{FileHeader, SPOOL_WRAP_BYTES};

const FILE_MAGIC: &[u8; 8] = b"VTLOG\x00\x00\x01";
const THINNED_MAGIC: &[u8; 8] = b"VTLOG\x00\x00\x02";
const GROUP_MAGIC: &[u8; 4] = b"VTLG";
const FILE_SUFFIX: &str = ".vtlog";

/// The front of a log file: magic, file id, first position, UTC day, checksum. A thinned file has
/// a magic of its own, and before the checksum the position at which it ends: between its groups
/// positions are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogFileHeader {
    pub(crate) file: FileId,
    pub(crate) first_position: u64,
    /// The day whose tenant keys seal the file.
    pub(crate) day: i64,
    /// Of a thinned file: the position after the last that it stands for.
    pub(crate) end_position: Option<u64>,
}

impl LogFileHeader {
    /// Length of a file's header that is not thinned.
    pub(crate) const BYTES: usize = 8 + 16 + 8 + 8 + 4;

    const THINNED_BYTES: usize = Self::BYTES + 8;

    /// How long it is.
    pub(crate) const fn bytes(&self) -> usize {
        if self.end_position.is_some() { Self::THINNED_BYTES } else { Self::BYTES }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let magic = if self.end_position.is_some() { THINNED_MAGIC } else { FILE_MAGIC };
        let mut out = magic.to_vec();
        out.extend_from_slice(self.file.as_bytes());
        out.extend_from_slice(&self.first_position.to_le_bytes());
        out.extend_from_slice(&self.day.to_le_bytes());
        if let Some(end) = self.end_position {
            out.extend_from_slice(&end.to_le_bytes());
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads it from the front of a file; `None` if none stands there.
    pub(crate) fn read(input: &mut impl Read) -> Option<Self> {
        let mut bytes = vec![0; Self::BYTES];
        input.read_exact(&mut bytes).ok()?;
        let is_thinned = bytes.starts_with(THINNED_MAGIC);
        if is_thinned {
            bytes.resize(Self::THINNED_BYTES, 0);
            input.read_exact(&mut bytes[Self::BYTES..]).ok()?;
        }
        let (facts, checksum) = bytes.split_last_chunk::<4>()?;
        let is_known = is_thinned || facts.starts_with(FILE_MAGIC);
        if !is_known || crc32fast::hash(facts) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let number = |at: usize| Some(u64::from_le_bytes(facts.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            file: FileId::from_bytes(facts.get(8..24)?.try_into().ok()?),
            first_position: number(24)?,
            day: i64::from_le_bytes(facts.get(32..40)?.try_into().ok()?),
            end_position: if is_thinned { Some(number(40)?) } else { None },
        })
    }

    /// Names sort by position; the id keeps two files that begin at one position apart.
    pub(crate) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{:020}-{}{FILE_SUFFIX}", self.first_position, self.file))
    }
}

pub(crate) fn is_log_file(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(FILE_SUFFIX))
}

/// The front of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) first_position: u64,
    pub(crate) entry_count: u32,
    /// How much of the payload's front holds tenant keys.
    pub(crate) tenant_bytes: u32,
    pub(crate) payload_checksum: u32,
}

impl GroupHeader {
    pub(crate) const BYTES: usize = 32;

    /// The file's id goes into the checksum, so that blocks left over from another file on the
    /// disk cannot pass for this one's.
    pub(crate) fn encode(&self, file: FileId) -> [u8; Self::BYTES] {
        let mut out = [0u8; Self::BYTES];
        out[..4].copy_from_slice(GROUP_MAGIC);
        out[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.first_position.to_le_bytes());
        out[16..20].copy_from_slice(&self.entry_count.to_le_bytes());
        out[20..24].copy_from_slice(&self.tenant_bytes.to_le_bytes());
        out[24..28].copy_from_slice(&self.payload_checksum.to_le_bytes());
        let checksum = header_checksum(file, &out[..28]);
        out[28..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(file: FileId, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.get(..Self::BYTES)?.try_into().ok()?;
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if &bytes[..4] != GROUP_MAGIC || header_checksum(file, &bytes[..28]) != number(28) {
            return None;
        }
        let header = Self {
            payload_bytes: number(4),
            first_position: u64::from_le_bytes(bytes[8..16].try_into().ok()?),
            entry_count: number(16),
            tenant_bytes: number(20),
            payload_checksum: number(24),
        };
        let tenants_fit = header.tenant_bytes <= header.payload_bytes
            && (header.tenant_bytes as usize).is_multiple_of(TenantKey::BYTES);
        (tenants_fit && header.entry_count > 0).then_some(header)
    }

    pub(crate) const fn end(&self) -> u64 {
        self.first_position + self.entry_count as u64
    }

    /// Where in `bytes` a group header of this file stands, if anywhere.
    pub(crate) fn find(file: FileId, bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|at| {
            bytes[*at..].starts_with(GROUP_MAGIC) && Self::decode(file, &bytes[*at..]).is_some()
        })
    }
}

fn header_checksum(file: FileId, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(file.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Tells the reader which key seals a tenant's frames in this file. Frames name it by its number
/// in the file, from 0. A key that is sealed to a spool key takes a second slot of the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantKey {
    pub(crate) tenant: TenantId,
    pub(crate) header: FileHeader,
    /// The key itself, sealed to a spool key.
    pub(crate) wrap: Option<[u8; SPOOL_WRAP_BYTES]>,
}

impl TenantKey {
    pub(crate) const BYTES: usize = 16 + FileHeader::BYTES;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        self.header.write(out);
        if let Some(wrap) = &self.wrap {
            out.extend_from_slice(wrap);
            out.extend_from_slice(&[0; Self::BYTES - SPOOL_WRAP_BYTES]);
        }
    }

    /// Every key of the slots at the front of a group; `None` if they are not in this form.
    pub(crate) fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut keys = Vec::new();
        let mut slots = bytes.chunks_exact(Self::BYTES);
        while let Some(slot) = slots.next() {
            let (tenant, header) = slot.split_at_checked(16)?;
            let header = FileHeader::read(header).ok()?;
            let wrap = if header.is_spooled() {
                let (wrap, rest) = slots.next()?.split_first_chunk::<SPOOL_WRAP_BYTES>()?;
                if rest.iter().any(|byte| *byte != 0) {
                    return None;
                }
                Some(*wrap)
            } else {
                None
            };
            let tenant = TenantId::from_bytes(tenant.try_into().ok()?);
            keys.push(Self { tenant, header, wrap });
        }
        Some(keys)
    }
}

/// The front of a frame: number of the tenant's key in the file, length of the sealed entry.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;

/// The next frame of a payload: key number and sealed entry; the rest stays in `payload`.
pub(crate) fn take_frame<'a>(payload: &mut &'a mut [u8]) -> Option<(usize, &'a mut [u8])> {
    let taken = std::mem::take(payload);
    let (header, rest) = taken.split_at_mut_checked(FRAME_HEADER_BYTES)?;
    let key = u32::from_le_bytes(header[..4].try_into().ok()?);
    let length = u32::from_le_bytes(header[4..].try_into().ok()?);
    let (sealed, rest) = rest.split_at_mut_checked(length as usize)?;
    *payload = rest;
    Some((key as usize, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_header_stay_what_they_are() {
        let check = |end_position: Option<u64>, version: u8, end: &[u8], checksum: u32| {
            let file = FileId::from_bytes([7; 16]);
            let header = LogFileHeader { file, first_position: 5, day: 20_000, end_position };
            let mut expected = b"VTLOG\x00\x00".to_vec();
            expected.push(version);
            expected.extend_from_slice(&[7; 16]);
            expected.extend_from_slice(&5u64.to_le_bytes());
            expected.extend_from_slice(&20_000i64.to_le_bytes());
            expected.extend_from_slice(end);
            expected.extend_from_slice(&checksum.to_le_bytes());
            let bytes = header.encode();
            assert_eq!(bytes, expected);
            assert_eq!(bytes.len(), header.bytes());
            assert_eq!(LogFileHeader::read(&mut bytes.as_slice()), Some(header));
            for at in 0..bytes.len() {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                assert_eq!(LogFileHeader::read(&mut wrong.as_slice()), None, "at {at}");
                assert_eq!(LogFileHeader::read(&mut &bytes[..at]), None, "cut at {at}");
            }
        };
        check(None, 1, &[], 0x2566_c676);
        check(Some(9), 2, &9u64.to_le_bytes(), 0x8b5a_0d75);
    }
}

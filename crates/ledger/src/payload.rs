//! The payload of a batch: batch salt and canonical records, sealed under the tenant's key. Whoever
//! can open it can prove single records; destroying the key destroys salt and records together.

use veritwin_domain::{FileId, Rng, TenantId, Timestamp};
use veritwin_keys::{Aad, DataClass, Dek, DekId, FileHeader, FileKey};
use veritwin_verify::{
    Digest, Leaf, RecordProof, TileHashes, TileKind, TilePath, inclusion_path, record_hashes,
    record_salt, records_root, root_of, sha256,
};

use crate::batch::BuildError;
use crate::bytes_form::{Reader, Writer};

/// Largest payload before sealing, in bytes.
pub const PAYLOAD_PLAINTEXT_MAX: usize = 8 << 20;

const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"veritwin-ledger-payload/v1\n";

/// Plaintext form, version 1: version, batch salt (32), first sequence (8), then each record after
/// its 32-bit length; numbers big-endian.
fn encode(salt: &[u8; 32], first_sequence: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let total: usize = records.iter().map(|record| record.len() + 4).sum();
    let mut out = Vec::with_capacity(41 + total);
    let mut writer = Writer(&mut out);
    writer.u8(VERSION);
    writer.fixed(salt);
    writer.u64(first_sequence);
    for record in records {
        writer.bytes(record);
    }
    out
}

fn context(origin: &str) -> Vec<u8> {
    [CONTEXT, origin.as_bytes()].concat()
}

/// Seals a payload: file header, ciphertext, tag.
pub(crate) fn seal(
    (tenant, dek): (TenantId, &Dek),
    origin: &str,
    plaintext: &[u8],
    (at, rng): (Timestamp, &dyn Rng),
) -> Result<Vec<u8>, BuildError> {
    let key = FileKey::derive(dek, FileId::generate(at, rng));
    let mut out = Vec::with_capacity(FileHeader::BYTES + plaintext.len() + 16);
    FileHeader::new(&key).write(&mut out);
    let context = context(origin);
    key.seal(0, Aad::new(tenant, DataClass::Ledger, &context), plaintext, &mut out)?;
    Ok(out)
}

/// The key that a sealed payload needs.
pub fn payload_dek_id(payload: &[u8]) -> Result<DekId, BuildError> {
    Ok(FileHeader::read(payload)?.dek)
}

/// An opened payload, checked against its leaf.
#[derive(Clone)]
pub struct OpenedPayload {
    salt: [u8; 32],
    first_sequence: u64,
    records: Vec<Vec<u8>>,
    hashes: Vec<Digest>,
}

impl std::fmt::Debug for OpenedPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenedPayload({} records from {})", self.records.len(), self.first_sequence)
    }
}

/// Opens a payload with the tenant's key and checks that it is the leaf's: hash, record count,
/// sequence and records root.
pub fn open_payload(
    payload: &[u8],
    leaf: &Leaf,
    origin: &str,
    (tenant, dek): (TenantId, &Dek),
) -> Result<OpenedPayload, BuildError> {
    if sha256(payload) != leaf.payload {
        return Err(BuildError::Payload("its SHA-256 is not the leaf's"));
    }
    open_kept(payload, leaf, origin, (tenant, dek))
}

/// Opens what a submitter kept of a leaf without payload, and checks that it is the leaf's: record
/// count, sequence and records root.
pub fn open_kept(
    kept: &[u8],
    leaf: &Leaf,
    origin: &str,
    (tenant, dek): (TenantId, &Dek),
) -> Result<OpenedPayload, BuildError> {
    let key = FileHeader::read(kept)?.open(dek)?;
    let context = context(origin);
    let mut plain = Vec::new();
    let aad = Aad::new(tenant, DataClass::Ledger, &context);
    key.open(0, aad, &kept[FileHeader::BYTES..], &mut plain)?;
    open_plain(&plain, leaf)
}

/// Whether what a submitter kept is not sealed: in earlier versions it was not.
pub fn is_plain(kept: &[u8]) -> bool {
    kept.first() == Some(&VERSION)
}

/// The same of salt and records that are not sealed.
pub fn open_plain(plain: &[u8], leaf: &Leaf) -> Result<OpenedPayload, BuildError> {
    let opened = decode(plain).ok_or(BuildError::Payload("its form is unknown or cut"))?;
    if opened.first_sequence != leaf.first_sequence
        || opened.records.len() as u64 != u64::from(leaf.count)
    {
        return Err(BuildError::Payload("its records are not those of the leaf"));
    }
    if records_root(&opened.hashes) != leaf.records_root {
        return Err(BuildError::Payload("its records do not lead to the leaf's records root"));
    }
    Ok(opened)
}

fn decode(plain: &[u8]) -> Option<OpenedPayload> {
    let mut reader = Reader(plain);
    if reader.u8()? != VERSION {
        return None;
    }
    let salt: [u8; 32] = reader.array()?;
    let first_sequence = reader.u64()?;
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(reader.bytes()?.to_vec());
    }
    Some(OpenedPayload::new(salt, first_sequence, records))
}

impl OpenedPayload {
    /// Salt and records.
    pub(crate) fn to_plaintext(&self) -> Vec<u8> {
        encode(&self.salt, self.first_sequence, &self.records)
    }

    pub(crate) fn new(salt: [u8; 32], first_sequence: u64, records: Vec<Vec<u8>>) -> Self {
        let hashes = record_hashes(&salt, first_sequence, &records);
        Self { salt, first_sequence, records, hashes }
    }

    pub(crate) fn root(&self) -> Digest {
        records_root(&self.hashes)
    }

    /// Sequence of the first record.
    pub const fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The records, in order.
    pub fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// The proof of one record, which shows nothing of the others. None when it is not in here.
    pub fn prove(&self, sequence: u64) -> Option<RecordProof> {
        let index = sequence.checked_sub(self.first_sequence)?;
        let record = self.records.get(usize::try_from(index).ok()?)?.clone();
        let path = inclusion_path(&Hashes(&self.hashes), index, self.hashes.len() as u64).ok()?;
        Some(RecordProof { sequence, salt: record_salt(&self.salt, sequence), record, path })
    }
}

/// A list of hashes seen as the tiles of a tree.
struct Hashes<'a>(&'a [Digest]);

impl TileHashes for Hashes<'_> {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, veritwin_verify::ProofError> {
        let level = match tile.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => u32::from(level),
        };
        let span = 256usize.saturating_pow(level);
        let first = tile.index as usize * 256;
        let all = self.0.chunks_exact(span).skip(first).take(usize::from(tile.width));
        Ok(all.map(root_of).collect())
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::BatchId;
    use veritwin_verify::{Act, SIGNATURE_LEN};

    use super::*;

    #[test]
    fn what_was_kept_before_it_was_sealed_is_still_the_leafs_or_refused() {
        let opened = OpenedPayload::new([5; 32], 3, vec![b"one".to_vec(), b"two".to_vec()]);
        let leaf = Leaf {
            act: Act::Evidence,
            batch: BatchId::from_bytes([1; 16]),
            previous_batch: BatchId::from_bytes([2; 16]),
            previous_hash: Digest::ZERO,
            first_sequence: 3,
            count: 2,
            events_from: Timestamp::EPOCH,
            events_to: Timestamp::EPOCH,
            sealed_at: Timestamp::EPOCH,
            payload: Digest::ZERO,
            payload_bytes: 0,
            records_root: opened.root(),
            submitter: [0; 32],
            signature: [0; SIGNATURE_LEN],
        };
        let plain = opened.to_plaintext();
        assert!(is_plain(&plain) && !is_plain(b"VTWF") && !is_plain(b""));
        assert_eq!(open_plain(&plain, &leaf).unwrap().records(), opened.records());
        let mut other = plain.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(open_plain(&other, &leaf).is_err());
        assert!(open_plain(&plain[..plain.len() - 1], &leaf).is_err());
    }
}

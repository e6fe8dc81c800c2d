//! Sealing of files: one HKDF key per file, nonce = a counter that is not stored, and a header
//! that commits to the key. A second key for the same file id is refused at opening.

use std::fmt;

use aws_lc_rs::aead::{Aad as RawAad, LessSafeKey, NONCE_LEN, Nonce};
use veritwin_domain::FileId;
use zeroize::Zeroizing;

use crate::dek::{TAG_BYTES, aead_key};
use crate::primitive::{constant_time_eq, hkdf_sha256};
use crate::wire::Reader;
use crate::{Aad, DataClass, Dek, DekId, KeyError};

const FILE_LABEL: &[u8] = b"veritwin file key v1";
const COMMITMENT_BYTES: usize = 32;

/// The key of one file: HKDF-SHA-256 over a DEK and the file's id. The same DEK and file id always
/// give the same key, so a counter must never be used twice for one file; [`FileSealer`] counts.
pub struct FileKey {
    dek: Dek,
    file: FileId,
    key: LessSafeKey,
    commitment: [u8; COMMITMENT_BYTES],
}

impl FileKey {
    /// Derives the key of `file`.
    pub fn derive(dek: &Dek, file: FileId) -> Self {
        let mut bytes = Zeroizing::new([0u8; 32 + COMMITMENT_BYTES]);
        let class = [dek.scope().class.as_u8()];
        hkdf_sha256(dek.secret(), file.as_bytes(), &[FILE_LABEL, &class], bytes.as_mut());
        let (key, commitment_bytes) = bytes.split_at(32);
        let mut commitment = [0u8; COMMITMENT_BYTES];
        commitment.copy_from_slice(commitment_bytes);
        Self { dek: dek.clone(), file, key: aead_key(key), commitment }
    }

    /// The file.
    pub const fn file(&self) -> FileId {
        self.file
    }

    /// The key it was derived from.
    pub const fn dek(&self) -> &Dek {
        &self.dek
    }

    /// Appends the sealed `plaintext` to `out`: ciphertext, then 16 bytes of tag.
    pub fn seal(
        &self,
        counter: u64,
        aad: Aad<'_>,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let start = out.len();
        out.reserve(plaintext.len() + TAG_BYTES);
        out.extend_from_slice(plaintext);
        self.seal_in_place(counter, aad, out, start)
    }

    /// Seals `buffer[start..]` where it stands and appends the tag.
    pub fn seal_in_place(
        &self,
        counter: u64,
        aad: Aad<'_>,
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), KeyError> {
        if let Err(error) = self.dek.check(&aad) {
            buffer.truncate(start);
            return Err(error);
        }
        let tag = aad
            .with_bytes(|aad| {
                self.key.seal_in_place_separate_tag(
                    nonce(counter),
                    RawAad::from(aad),
                    &mut buffer[start..],
                )
            })
            .map_err(|_| KeyError::Exhausted)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens what [`Self::seal`] made and appends the plaintext to `out`.
    pub fn open(
        &self,
        counter: u64,
        aad: Aad<'_>,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let start = out.len();
        out.extend_from_slice(sealed);
        let opened = self.open_in_place(counter, aad, &mut out[start..]).map(|bytes| bytes.len());
        // On failure nothing half-opened stays behind.
        out.truncate(start + opened.as_ref().copied().unwrap_or(0));
        opened.map(|_| ())
    }

    /// Opens sealed bytes where they stand; the plaintext is the returned front part.
    pub fn open_in_place<'b>(
        &self,
        counter: u64,
        aad: Aad<'_>,
        sealed: &'b mut [u8],
    ) -> Result<&'b mut [u8], KeyError> {
        self.dek.check(&aad)?;
        aad.with_bytes(|aad| self.key.open_in_place(nonce(counter), RawAad::from(aad), sealed))
            .map_err(|_| KeyError::NotAuthentic)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({} of {})", self.file, self.dek.id())
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0u8; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A file key that counts its own nonces upwards, for writers that seal in order.
#[derive(Debug)]
pub struct FileSealer {
    key: FileKey,
    next: u64,
}

impl FileSealer {
    /// Seals from counter 0; only for a file id that was never used before.
    pub const fn new(key: FileKey) -> Self {
        Self { key, next: 0 }
    }

    /// Seals under the next counter, appends to `out`, and returns that counter.
    pub fn seal_next(
        &mut self,
        aad: Aad<'_>,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, KeyError> {
        let counter = self.next;
        self.next = counter.checked_add(1).ok_or(KeyError::Exhausted)?;
        self.key.seal(counter, aad, plaintext, out)?;
        Ok(counter)
    }

    /// The key, for reading back and for the header.
    pub const fn key(&self) -> &FileKey {
        &self.key
    }
}

/// The front of a sealed file: which key opens it, and a commitment to that key.
/// Layout: magic `VTWF`, version (2 if the key is random and sealed to a spool key, else 1), class,
/// 2 zero bytes, DekId, FileId, 32 bytes of commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    /// The data encryption key.
    pub dek: DekId,
    /// The file.
    pub file: FileId,
    /// The kind of data.
    pub class: DataClass,
    commitment: [u8; COMMITMENT_BYTES],
    is_spooled: bool,
}

impl FileHeader {
    /// Length of the written form, in bytes.
    pub const BYTES: usize = 8 + 16 + 16 + COMMITMENT_BYTES;
    const MAGIC: &'static [u8; 4] = b"VTWF";
    const VERSION: u8 = 1;
    const VERSION_SPOOLED: u8 = 2;

    /// The header of the file that `key` seals.
    pub fn new(key: &FileKey) -> Self {
        Self {
            dek: key.dek.id(),
            file: key.file,
            class: key.dek.scope().class,
            commitment: key.commitment,
            is_spooled: false,
        }
    }

    /// The header of a file whose key is random and stands beside it, sealed to a spool key.
    pub(crate) fn spooled(key: &FileKey) -> Self {
        Self { is_spooled: true, ..Self::new(key) }
    }

    /// Whether the file's key stands beside the header, sealed to a spool key.
    pub const fn is_spooled(&self) -> bool {
        self.is_spooled
    }

    /// Appends the written form.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(Self::MAGIC);
        let version = if self.is_spooled { Self::VERSION_SPOOLED } else { Self::VERSION };
        out.extend_from_slice(&[version, self.class.as_u8(), 0, 0]);
        out.extend_from_slice(self.dek.as_bytes());
        out.extend_from_slice(self.file.as_bytes());
        out.extend_from_slice(&self.commitment);
    }

    /// Reads the written form from the front of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        let format = |reason| KeyError::Format { expected: "sealed file", reason };
        let mut reader = Reader::new(bytes);
        let short = || format("it is shorter than its header");
        if reader.array::<4>().ok_or_else(short)? != *Self::MAGIC {
            return Err(format("it does not begin with VTWF"));
        }
        let is_spooled = match reader.u8().ok_or_else(short)? {
            Self::VERSION => false,
            Self::VERSION_SPOOLED => true,
            _ => return Err(format("its version is unknown")),
        };
        let class = DataClass::from_u8(reader.u8().ok_or_else(short)?)
            .ok_or_else(|| format("its data class is unknown"))?;
        if reader.u16().ok_or_else(short)? != 0 {
            return Err(format("its reserved bytes are not zero"));
        }
        Ok(Self {
            class,
            dek: DekId::from_bytes(reader.array().ok_or_else(short)?),
            file: FileId::from_bytes(reader.array().ok_or_else(short)?),
            commitment: reader.array().ok_or_else(short)?,
            is_spooled,
        })
    }

    /// Derives the file's key from `dek` and checks the commitment, in constant time.
    pub fn open(&self, dek: &Dek) -> Result<FileKey, KeyError> {
        if self.is_spooled {
            return Err(KeyError::Format {
                expected: "sealed file",
                reason: "its key is sealed to a spool key",
            });
        }
        self.open_with(dek)
    }

    pub(crate) fn open_with(&self, dek: &Dek) -> Result<FileKey, KeyError> {
        if dek.id() != self.dek || dek.scope().class != self.class {
            return Err(KeyError::WrongScope(dek.id()));
        }
        let key = FileKey::derive(dek, self.file);
        if constant_time_eq(&key.commitment, &self.commitment) {
            Ok(key)
        } else {
            Err(KeyError::NotAuthentic)
        }
    }
}

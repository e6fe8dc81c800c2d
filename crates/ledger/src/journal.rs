//! The journal file: sealed frames, each written and synced as one group. A file is never appended
//! to after a restart. A last frame that is not all there is torn and kept beside the file; one
//! that is there and wrong is an error, and so is any of a file that was closed with nothing open.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_domain::FileId;
use veritwin_keys::{
    Aad, DataClass, DekScope, FileHeader, FileKey, FileSealer, KeyError, KeyService, tail,
};

use crate::{Disk, LedgerError};

/// Largest frame, sealed.
pub(crate) const FRAME_BYTES_MAX: usize = 64 << 20;
/// Marker, counter, length, checksum.
const HEAD: usize = 4 + 8 + 4 + 4;

fn aad() -> Aad<'static> {
    Aad::new(None, DataClass::Archive, b"veritwin archive journal v1")
}

fn marker(file: FileId) -> [u8; 4] {
    let hash = veritwin_keys::sha256(file.as_bytes());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Writes one journal file.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    file: File,
    path: PathBuf,
    sealer: FileSealer,
    marker: [u8; 4],
    bytes: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Makes a new file; it must not exist.
    pub(crate) fn create(
        path: &Path,
        (keys, id): (&KeyService, FileId),
        disk: Arc<dyn Disk>,
    ) -> Result<Self, LedgerError> {
        let scope = DekScope::platform(DataClass::Archive);
        let (key, header) = keys.create_file(&scope, id)?;
        let mut file = disk.create_new(path).map_err(LedgerError::io("create", path))?;
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        disk.write(path, &mut file, &bytes).map_err(LedgerError::io("write", path))?;
        Ok(Self {
            disk,
            file,
            path: path.to_owned(),
            sealer: FileSealer::new(key),
            marker: marker(id),
            bytes: bytes.len() as u64,
            buffer: Vec::new(),
        })
    }

    /// Seals and writes one frame; durable only after [`Self::sync`].
    pub(crate) fn write(&mut self, plain: &[u8]) -> Result<(), LedgerError> {
        self.buffer.clear();
        self.buffer.resize(HEAD, 0);
        let counter = self.sealer.seal_next(aad(), plain, &mut self.buffer)?;
        let sealed = &self.buffer[HEAD..];
        let (length, sum) = (sealed.len() as u32, crc32fast::hash(sealed));
        self.buffer[..4].copy_from_slice(&self.marker);
        self.buffer[4..12].copy_from_slice(&counter.to_be_bytes());
        self.buffer[12..16].copy_from_slice(&length.to_be_bytes());
        self.buffer[16..20].copy_from_slice(&sum.to_be_bytes());
        self.disk
            .write(&self.path, &mut self.file, &self.buffer)
            .map_err(LedgerError::io("write", &self.path))?;
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), LedgerError> {
        let synced = self.disk.sync_data(&self.path, &self.file);
        synced.map_err(LedgerError::io("sync", &self.path))
    }

    /// Length of the file so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file was renamed.
    pub(crate) fn renamed(&mut self, path: &Path) {
        self.path = path.to_owned();
    }
}

struct Head {
    counter: u64,
    length: usize,
    sum: u32,
}

fn head(bytes: &[u8], marker: [u8; 4]) -> Option<Head> {
    let bytes: &[u8; HEAD] = bytes.first_chunk()?;
    let number =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes[..4] != marker {
        return None;
    }
    let counter = (u64::from(number(4)) << 32) | u64::from(number(8));
    let length = number(12) as usize;
    (length <= FRAME_BYTES_MAX).then_some(Head { counter, length, sum: number(16) })
}

/// What frames are checked against: their checksums alone, or also the key that sealed them.
enum Check {
    Sums,
    Key(FileKey),
}

impl Check {
    /// The plain bytes of a frame whose checksum is right; empty without the key.
    fn open(&self, counter: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        if let Self::Key(key) = self {
            key.open(counter, aad(), sealed, &mut plain).ok()?;
        }
        Some(plain)
    }
}

/// Reads every frame of a journal file. The answer is where a torn tail begins, if there is one.
pub(crate) fn read(
    path: &Path,
    keys: &KeyService,
    on_frame: &mut dyn FnMut(&[u8]) -> Result<(), LedgerError>,
) -> Result<Option<u64>, LedgerError> {
    let find = |header: &FileHeader| {
        keys.open_file(header).map(Check::Key).map_err(|error| match error {
            // The header names a key that is not there, or is not the one it commits to.
            KeyError::UnknownDek(_) | KeyError::NotAuthentic | KeyError::WrongScope(_) => {
                corrupt(path, 0, &format!("its key: {error}"))
            }
            other => other.into(),
        })
    };
    go_over(path, find, on_frame)
}

/// Goes over the checksums of a journal file without any key.
pub(crate) fn check(path: &Path) -> Result<Option<u64>, LedgerError> {
    go_over(path, |_| Ok(Check::Sums), &mut |_| Ok(()))
}

/// Keeps a torn tail, behind the header that names its key, in a file beside the journal.
pub(crate) fn keep_tail(path: &Path, offset: u64) -> Result<tail::Cut, LedgerError> {
    let io = || LedgerError::io("keep the torn end of", path);
    let mut header = vec![0; FileHeader::BYTES];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).map_err(io())?;
    tail::keep(path, offset, &header).map_err(io())
}

fn corrupt(path: &Path, offset: u64, problem: &str) -> LedgerError {
    LedgerError::Corrupt { file: path.to_owned(), offset, problem: problem.to_owned() }
}

fn go_over(
    path: &Path,
    find: impl FnOnce(&FileHeader) -> Result<Check, LedgerError>,
    on_frame: &mut dyn FnMut(&[u8]) -> Result<(), LedgerError>,
) -> Result<Option<u64>, LedgerError> {
    let io = |source| LedgerError::io("read", path)(source);
    let file = File::open(path).map_err(LedgerError::io("open", path))?;
    let length = file.metadata().map_err(io)?.len();
    let closed = tail::closed_at(path).map_err(io)?;
    if let Some(bytes) = closed.filter(|bytes| length < *bytes) {
        let problem = format!("it was closed with {bytes} bytes: its end is missing");
        return Err(corrupt(path, length, &problem));
    }
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = vec![0; FileHeader::BYTES];
    file.read_exact(&mut header).map_err(|_| corrupt(path, 0, "shorter than its header"))?;
    let header = FileHeader::read(&header).map_err(|e| corrupt(path, 0, &e.to_string()))?;
    let check = find(&header)?;
    let marker = marker(header.file);
    let mut offset = FileHeader::BYTES as u64;
    let mut wanted = 0u64;
    let mut frame = Vec::new();
    loop {
        frame.clear();
        (&mut file).take(HEAD as u64).read_to_end(&mut frame).map_err(io)?;
        if frame.is_empty() {
            return Ok(None);
        }
        let head = head(&frame, marker).filter(|head| head.counter == wanted);
        if let Some(head) = &head {
            (&mut file).take(head.length as u64).read_to_end(&mut frame).map_err(io)?;
        }
        let plain = head
            .as_ref()
            .filter(|head| frame.len() == HEAD + head.length)
            .filter(|head| crc32fast::hash(&frame[HEAD..]) == head.sum)
            .and_then(|head| check.open(head.counter, &frame[HEAD..]));
        let Some(plain) = plain else {
            // One group is in flight at a time, so that a torn tail is at most one frame.
            file.take(2 * FRAME_BYTES_MAX as u64).read_to_end(&mut frame).map_err(io)?;
            if valid_frame_follows(&frame, marker, &check) {
                let problem = "a frame is damaged although valid ones follow";
                return Err(corrupt(path, offset, problem));
            }
            if closed.is_some() || !is_torn(&frame, head.as_ref(), marker, offset) {
                return Err(corrupt(path, offset, "a frame does not match its checksum"));
            }
            return Ok(Some(offset));
        };
        on_frame(&plain)?;
        offset += frame.len() as u64;
        wanted += 1;
    }
}

/// True when a crash may have left `bytes` of a frame at `offset`: the file ends before it does,
/// or a block of it never reached the disk.
fn is_torn(bytes: &[u8], head: Option<&Head>, marker: [u8; 4], offset: u64) -> bool {
    if tail::is_lost_block(bytes, offset) {
        return true;
    }
    match head {
        // With the right checksum all of it is there, and only its length says otherwise.
        Some(head) => {
            bytes.len() < HEAD + head.length && crc32fast::hash(&bytes[HEAD..]) != head.sum
        }
        None => bytes.len() < HEAD && marker.starts_with(&bytes[..bytes.len().min(4)]),
    }
}

fn valid_frame_follows(bytes: &[u8], marker: [u8; 4], check: &Check) -> bool {
    (1..bytes.len().saturating_sub(HEAD)).any(|at| {
        let rest = &bytes[at..];
        let Some(head) = head(rest, marker) else { return false };
        let Some(sealed) = rest.get(HEAD..HEAD + head.length) else { return false };
        crc32fast::hash(sealed) == head.sum && check.open(head.counter, sealed).is_some()
    })
}

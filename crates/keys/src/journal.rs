//! The keyring's file: an append-only journal of checksummed frames, each durable before it is
//! acknowledged. A last frame that is not all there is cut at opening and kept beside the file; a
//! frame that is there and wrong is refused by name and offset. Rewriting makes a new file and
//! renames it into place.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{KeyError, tail};

const FILE_NAME: &str = "keyring.journal";
const FILE_MAGIC: &[u8; 8] = b"VTKEYR\x00\x01";
const FRAME_MAGIC: &[u8; 4] = b"VTKF";
const FRAME_HEADER_BYTES: usize = 12;
/// Largest frame: one rewrite of a keyring with several million keys is split well below it.
pub(crate) const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// The open journal. It holds the directory's lock for as long as it lives.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    directory_handle: File,
    path: PathBuf,
    file: File,
    length_bytes: u64,
    poisoned: bool,
}

impl Journal {
    /// Opens or makes the journal in `directory` and returns the payload of every frame.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Vec<Vec<u8>>), KeyError> {
        create_directory(directory)?;
        let directory_handle = File::open(directory)
            .map_err(|source| KeyError::io("open keyring", directory, source))?;
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&directory_handle, lock)
            .map_err(|_| KeyError::Locked(directory.to_path_buf()))?;
        let path = directory.join(FILE_NAME);
        if !path.exists() {
            write_new(directory, &directory_handle, &path, &[])?;
        }
        let bytes = read(&path)?;
        let (frames, valid_bytes) = parse(&path, &bytes)?;
        if valid_bytes < bytes.len() {
            let cut = tail::cut(&path, valid_bytes as u64)
                .map_err(|source| KeyError::io("cut keyring journal", &path, source))?;
            tracing::warn!(
                path = %path.display(),
                offset = valid_bytes,
                cut_bytes = cut.bytes,
                kept = %cut.kept.display(),
                "cut an unfinished write off the end of the keyring journal"
            );
        }
        let mut file = open_for_append(&path)?;
        let length_bytes = valid_bytes as u64;
        // What a process wrote that was killed before its fdatasync is read and used from here on:
        // a power loss must not take such a key away again.
        file.seek(SeekFrom::Start(length_bytes))
            .and_then(|_| file.sync_data())
            .map_err(|source| KeyError::io("seek in keyring journal", &path, source))?;
        let frames = frames.into_iter().map(<[u8]>::to_vec).collect();
        let directory = directory.to_path_buf();
        let journal =
            Self { directory, directory_handle, path, file, length_bytes, poisoned: false };
        Ok((journal, frames))
    }

    /// Reads a journal without changing anything: an error if it is damaged, or where an
    /// unfinished write begins that the next opening cuts off.
    pub(crate) fn check(directory: &Path) -> Result<Option<u64>, KeyError> {
        let path = directory.join(FILE_NAME);
        let bytes = read(&path)?;
        let (_, valid_bytes) = parse(&path, &bytes)?;
        Ok((valid_bytes < bytes.len()).then_some(valid_bytes as u64))
    }

    /// Appends one frame and makes it durable.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(), KeyError> {
        if self.poisoned {
            return Err(KeyError::Poisoned);
        }
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
        put_frame(&mut frame, payload);
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What reached the disk is unknown; only a restart, which reads it, can go on.
            self.poisoned = true;
            return Err(KeyError::io("append to keyring journal", &self.path, source));
        }
        self.length_bytes += frame.len() as u64;
        Ok(())
    }

    /// Replaces the whole journal: after success nothing of the old content is reachable.
    pub(crate) fn rewrite(&mut self, payloads: &[Vec<u8>]) -> Result<(), KeyError> {
        if self.poisoned {
            return Err(KeyError::Poisoned);
        }
        let replaced = write_new(&self.directory, &self.directory_handle, &self.path, payloads)
            .and_then(|()| {
                let mut file = open_for_append(&self.path)?;
                let length = file.seek(SeekFrom::End(0)).map_err(|source| {
                    KeyError::io("seek in keyring journal", &self.path, source)
                })?;
                Ok((file, length))
            });
        match replaced {
            Ok((file, length_bytes)) => {
                self.file = file;
                self.length_bytes = length_bytes;
                Ok(())
            }
            Err(error) => {
                self.poisoned = true;
                Err(error)
            }
        }
    }

    /// Its length, in bytes.
    pub(crate) const fn length_bytes(&self) -> u64 {
        self.length_bytes
    }
}

fn create_directory(directory: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(KeyError::io("create keyring", directory, error))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::io("read keyring journal", path, source))
}

fn open_for_append(path: &Path) -> Result<File, KeyError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| KeyError::io("open keyring journal", path, source))
}

fn write_new(
    directory: &Path,
    directory_handle: &File,
    path: &Path,
    payloads: &[Vec<u8>],
) -> Result<(), KeyError> {
    let partial = directory.join("keyring.journal.new");
    let io = |action| move |source| KeyError::io(action, path, source);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .map_err(io("create keyring journal"))?;
    let mut bytes = FILE_MAGIC.to_vec();
    for payload in payloads {
        put_frame(&mut bytes, payload);
    }
    file.write_all(&bytes).map_err(io("write keyring journal"))?;
    file.sync_all().map_err(io("make durable keyring journal"))?;
    std::fs::rename(&partial, path).map_err(io("put into place keyring journal"))?;
    directory_handle.sync_all().map_err(io("make durable directory of keyring journal"))
}

fn put_frame(out: &mut Vec<u8>, payload: &[u8]) {
    assert!(payload.len() <= FRAME_BYTES_MAX, "callers split what they write");
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&checksum(payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The payload of the frame at the front of `bytes`, if it is whole and right.
fn frame_at(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let length = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
    let expected = u32::from_le_bytes(header[8..12].try_into().ok()?);
    if &header[..4] != FRAME_MAGIC || length > FRAME_BYTES_MAX {
        return None;
    }
    let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length)?;
    (checksum(payload) == expected).then_some(payload)
}

/// True when a crash may have left `bytes` of a frame at `offset`: the file ends before it does,
/// or a block of it never reached the disk.
fn is_torn(bytes: &[u8], offset: usize) -> bool {
    if tail::is_lost_block(bytes, offset as u64) {
        return true;
    }
    let Some((header, payload)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return FRAME_MAGIC.starts_with(&bytes[..bytes.len().min(FRAME_MAGIC.len())]);
    };
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = number(4) as usize;
    // All of it is there, and only its length says otherwise.
    let is_whole = checksum(payload) == number(8);
    header.starts_with(FRAME_MAGIC)
        && length <= FRAME_BYTES_MAX
        && payload.len() < length
        && !is_whole
}

/// The payloads and the length of the valid front part.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Vec<&'a [u8]>, usize), KeyError> {
    let damaged = |offset: usize, reason| KeyError::Damaged {
        path: path.to_path_buf(),
        offset: offset as u64,
        reason,
    };
    // The file appears by rename only after its header is durable, so a short one is damage.
    if !bytes.starts_with(FILE_MAGIC) {
        return Err(damaged(0, "expected the keyring's magic bytes"));
    }
    let mut offset = FILE_MAGIC.len();
    let mut payloads = Vec::new();
    while offset < bytes.len() {
        let Some(payload) = frame_at(&bytes[offset..]) else {
            let follows = (offset + 1..bytes.len()).any(|later| {
                bytes[later..].starts_with(FRAME_MAGIC) && frame_at(&bytes[later..]).is_some()
            });
            if follows || !is_torn(&bytes[offset..], offset) {
                return Err(damaged(offset, "a frame does not match its checksum"));
            }
            break;
        };
        payloads.push(payload);
        offset += FRAME_HEADER_BYTES + payload.len();
    }
    Ok((payloads, offset))
}

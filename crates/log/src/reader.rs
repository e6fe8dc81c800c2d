//! Reading a log back, one group at a time: memory is bounded by the largest group, whatever the
//! size of the log. Damage is named by file and offset, never skipped.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::{GroupHeader, LogFileHeader, TenantKey};
use crate::opening::{Group, Opener};
use crate::shared::Shared;
use crate::{Committed, LogError};

const BUFFER_BYTES: usize = 256 * 1024;

/// What stands next in a file.
pub(crate) enum Step {
    Group(GroupHeader),
    End,
    /// Not a whole, right group.
    Bad {
        offset: u64,
        reason: String,
        /// The file ends before the group does, as after a crash in the middle of a write.
        is_short: bool,
    },
}

/// One log file, read from its front; the keys of its tenants are learned on the way.
pub(crate) struct FileReader {
    path: PathBuf,
    input: BufReader<File>,
    header: LogFileHeader,
    offset: u64,
    position: u64,
    tenants: Vec<TenantKey>,
}

impl FileReader {
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let file =
            File::open(path).map_err(|source| LogError::io("open log file", path, source))?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        let header = LogFileHeader::read(&mut input).ok_or_else(|| LogError::Damaged {
            path: path.to_path_buf(),
            offset: 0,
            reason: "expected a log file header".into(),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            input,
            header,
            offset: header.bytes() as u64,
            position: header.first_position,
            tenants: Vec::new(),
        })
    }

    pub(crate) const fn header(&self) -> &LogFileHeader {
        &self.header
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next group begins.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The group that was just read, for who opens its frames.
    pub(crate) fn group(&self, header: GroupHeader) -> Group<'_> {
        Group {
            file: self.header.file,
            file_first_position: self.header.first_position,
            tenants: &self.tenants,
            header,
        }
    }

    /// The position after the last group that was read or skipped.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The keys that were met so far, by their numbers in the file.
    pub(crate) fn tenant_keys(&self) -> &[TenantKey] {
        &self.tenants
    }

    pub(crate) fn damaged(&self, offset: u64, reason: impl Into<String>) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset, reason: reason.into() }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), LogError> {
        self.input
            .read_exact(bytes)
            .map_err(|source| LogError::io("read log file", &self.path, source))
    }

    pub(crate) fn length(&self) -> Result<u64, LogError> {
        let metadata = self.input.get_ref().metadata();
        Ok(metadata.map_err(|source| LogError::io("inspect log file", &self.path, source))?.len())
    }

    /// Goes over the next group. If `wanted`, its whole payload is put into `payload` and checked;
    /// otherwise only the tenant keys are read and `payload` holds no more than them.
    pub(crate) fn step(
        &mut self,
        wanted: impl Fn(&GroupHeader) -> bool,
        payload: &mut Vec<u8>,
    ) -> Result<Step, LogError> {
        let left = self.length()?.saturating_sub(self.offset);
        let offset = self.offset;
        let bad = |reason: &str, is_short| Step::Bad { offset, reason: reason.into(), is_short };
        if left == 0 {
            // What a thinned file has left out at its end is passed by.
            self.position = self.header.end_position.unwrap_or(self.position);
            return Ok(Step::End);
        }
        if left < GroupHeader::BYTES as u64 {
            return Ok(bad("expected a whole group header", true));
        }
        let mut front = [0u8; GroupHeader::BYTES];
        self.read(&mut front)?;
        let Some(header) = GroupHeader::decode(self.header.file, &front) else {
            return Ok(bad("a group header does not match its checksum", false));
        };
        if u64::from(header.payload_bytes) > left - GroupHeader::BYTES as u64 {
            return Ok(bad("the file ends inside a group", true));
        }
        let is_next = match self.header.end_position {
            None => header.first_position == self.position,
            Some(end) => header.first_position >= self.position && header.end() <= end,
        };
        if !is_next {
            let (found, expected) = (header.first_position, self.position);
            let reason = format!("a group begins at position {found}, expected {expected}");
            return Err(self.damaged(offset, reason));
        }
        let whole = wanted(&header);
        let read_bytes = if whole { header.payload_bytes } else { header.tenant_bytes };
        payload.clear();
        payload.resize(read_bytes as usize, 0);
        self.read(payload)?;
        if whole && crc32fast::hash(payload) != header.payload_checksum {
            return Ok(bad("a group does not match its checksum", false));
        }
        let keys = TenantKey::decode_all(&payload[..header.tenant_bytes as usize])
            .ok_or_else(|| self.damaged(offset, "expected a tenant's key header"))?;
        self.tenants.extend(keys);
        self.input
            .seek_relative(i64::from(header.payload_bytes - read_bytes))
            .map_err(|source| LogError::io("seek in log file", &self.path, source))?;
        self.offset = offset + GroupHeader::BYTES as u64 + u64::from(header.payload_bytes);
        self.position = header.end();
        Ok(Step::Group(header))
    }

    /// True when a group header of this file stands anywhere after `offset`.
    pub(crate) fn has_group_after(&mut self, offset: u64) -> Result<bool, LogError> {
        let io = |source| LogError::io("read log file", &self.path, source);
        self.input.seek(SeekFrom::Start(offset + 1)).map_err(io)?;
        let mut window = Vec::with_capacity(2 * BUFFER_BYTES);
        loop {
            let kept = window.len();
            let mut chunk = (&mut self.input).take(BUFFER_BYTES as u64);
            chunk.read_to_end(&mut window).map_err(io)?;
            if GroupHeader::find(self.header.file, &window).is_some() {
                return Ok(true);
            }
            // Nothing came after what the last round already searched.
            if window.len() == kept {
                return Ok(false);
            }
            // A header may lie across two chunks.
            let keep_from = window.len().saturating_sub(GroupHeader::BYTES - 1);
            window.drain(..keep_from);
        }
    }
}

/// Reads durable entries from a position up to the end that the log had at the call (or, in a
/// consumer, has by then). An iterator of batches; stops after an error.
pub struct LogReader {
    shared: Arc<Shared>,
    next: u64,
    end: u64,
    file: Option<FileReader>,
    opener: Opener,
    payload: Vec<u8>,
    failed: bool,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>, next: u64) -> Self {
        let end = shared.tail();
        let opener = Opener::new(shared.config.keys.clone());
        Self { shared, next, end, file: None, opener, payload: Vec::new(), failed: false }
    }

    /// The position of the next entry.
    pub const fn position(&self) -> u64 {
        self.next
    }

    pub(crate) const fn extend_to(&mut self, end: u64) {
        self.end = end;
    }

    /// Reads on to the end that the log has now, without looking for its place again.
    pub fn extend(&mut self) {
        self.end = self.shared.tail();
    }

    /// Opens the file that holds the next position, unless it is open already.
    fn find_file(&mut self) -> Result<(), LogError> {
        let files = self.shared.files.lock();
        let first = files.first_position();
        let truncated = LogError::Truncated { requested: self.next, first };
        let Some(info) = files.holding(self.next).cloned() else { return Err(truncated) };
        drop(files);
        if self.file.as_ref().is_some_and(|open| open.header.file == info.header.file) {
            return Ok(());
        }
        self.file = Some(match FileReader::open(&info.path) {
            // Truncated away between the look-up and the opening.
            Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(truncated);
            }
            other => other?,
        });
        Ok(())
    }

    /// The next batch, or none at the end.
    pub fn next_batch(&mut self) -> Result<Option<Arc<Committed>>, LogError> {
        while self.next < self.end {
            self.find_file()?;
            let Some(file) = self.file.as_mut() else { return Ok(None) };
            let (offset, next) = (file.offset, self.next);
            let header = match file.step(|header| header.end() > next, &mut self.payload)? {
                Step::Group(header) => header,
                Step::Bad { offset, reason, .. } => return Err(file.damaged(offset, reason)),
                Step::End => {
                    let end = file.header.end_position.filter(|end| *end > next);
                    let Some(end) = end else {
                        return Err(file.damaged(offset, format!("position {next} is missing")));
                    };
                    self.next = end;
                    let passed = end - next;
                    return Ok(Some(Arc::new(Committed { first: next, entries: vec![], passed })));
                }
            };
            if header.end() > next {
                let group = file.group(header);
                let opened = self.opener.open(&group, &mut self.payload, next);
                let batch = Arc::new(opened.map_err(|reason| file.damaged(offset, reason))?);
                self.next = batch.end();
                self.opener.note_spooled(&self.shared);
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl Iterator for LogReader {
    type Item = Result<Arc<Committed>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.next_batch().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

//! The log's one writing thread: takes what waits, seals it, writes it once, makes it durable,
//! tells the observers, then the appenders. After a failed write it never writes again; after one
//! that found the disk full it goes on in a new file once there is space.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use veritwin_domain::{FileId, TenantId};
use veritwin_keys::{
    Aad, DataClass, DekScope, Epoch, FileHeader, FileKey, KeyError, TAG_BYTES, Writing, tail,
};

use crate::error::is_full;
use crate::files::{FileInfo, cut_to, sync_directory};
use crate::format::{GroupHeader, LogFileHeader, TenantKey};
use crate::shared::{Request, Shared};
use crate::storage::LogWrite;
use crate::{
    AppendedRange, CommitObserver, Committed, Entry, LogConfig, LogError, Record, Unreadable,
};

/// The file being written.
pub(crate) struct ActiveFile {
    header: LogFileHeader,
    output: Box<dyn LogWrite>,
    bytes: u64,
    next: u64,
    keys: HashMap<TenantId, SealingKey>,
    key_count: u32,
}

struct SealingKey {
    number: u32,
    key: FileKey,
    /// What it seals may be shown: the tenant's key is within reach.
    is_reachable: bool,
}

impl ActiveFile {
    /// Makes a file whose header is durable and whose name is, too.
    pub(crate) fn create(
        config: &LogConfig,
        first_position: u64,
        day: i64,
    ) -> Result<(Self, FileInfo), LogError> {
        let file = FileId::generate(config.clock.now(), config.rng.as_ref());
        let header = LogFileHeader { file, first_position, day, end_position: None };
        let path = header.path(&config.directory);
        let io = |source| LogError::io("create log file", &path, source);
        let mut output = config.storage.create(&path).map_err(io)?;
        let written = output
            .write_all(&header.encode())
            .and_then(|()| output.sync_data())
            .map_err(io)
            .and_then(|()| sync_directory(&config.directory));
        if let Err(error) = written {
            // At most the newest file may be unfinished when the log is opened.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let active = Self {
            header,
            output,
            bytes: LogFileHeader::BYTES as u64,
            next: first_position,
            keys: HashMap::new(),
            key_count: 0,
        };
        let info = FileInfo { path, header, deks: Default::default(), kept: None };
        Ok((active, info))
    }

    const fn scope(&self, tenant: TenantId) -> DekScope {
        DekScope::tenant(tenant, DataClass::Log).with_epoch(Epoch::Day(self.header.day))
    }
}

/// Why a group was not made durable.
enum Failure {
    /// No space; the log goes on when there is some.
    Full(String),
    /// Anything else; the log is closed for writing.
    Fatal(String),
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Self::Fatal(reason.to_owned())
    }
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    observers: Vec<Box<dyn CommitObserver>>,
    file: ActiveFile,
    /// A write found the disk full: what stands after the last durable group is unknown, so that
    /// the file takes no further group.
    must_begin_anew: bool,
    /// The group being made; kept so that its memory is used again.
    group: Vec<u8>,
    /// The state of the key service that the file's keys are of.
    changes: u64,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        observers: Vec<Box<dyn CommitObserver>>,
        file: ActiveFile,
    ) -> Self {
        let changes = shared.config.keys.changes();
        Self { shared, observers, file, must_begin_anew: false, group: Vec::new(), changes }
    }

    /// Runs until the log is closed and its queue is empty, or a write fails.
    pub(crate) fn run(mut self) {
        while let Some(requests) = self.shared.take_group() {
            let mut accepted = Vec::with_capacity(requests.len());
            // A panic (an observer's, in all likelihood) must not leave appenders waiting. Nothing
            // of the writer is used after it.
            let attempt = AssertUnwindSafe(|| self.commit(requests, &mut accepted));
            let reason = match catch_unwind(attempt) {
                Ok(Ok(())) => continue,
                Ok(Err(Failure::Full(reason))) => {
                    if self.shared.full().is_none() {
                        tracing::error!(reason, "the log's disk is full; nothing is acknowledged");
                    }
                    self.shared.set_full(Some(reason.clone()));
                    for request in accepted {
                        request.answer(Err(LogError::Full(reason.clone())));
                    }
                    continue;
                }
                Ok(Err(Failure::Fatal(reason))) => reason,
                Err(_) => "the writing thread or an observer panicked".into(),
            };
            self.shared.poison(reason);
            for request in accepted {
                request.answer(Err(self.shared.refusal()));
            }
            break;
        }
        self.mark_closed();
        self.shared.finish();
    }

    /// Says how long the file is, so that the next opening takes a wrong end for damage. What a
    /// failed write left has no such mark.
    fn mark_closed(&self) {
        if self.must_begin_anew || self.shared.is_poisoned() {
            return;
        }
        let path = self.file.header.path(&self.shared.config.directory);
        if let Err(error) = tail::mark_closed(&path, self.file.bytes) {
            tracing::warn!(path = %path.display(), %error, "the log was closed without its mark");
        }
    }

    /// Makes one group durable and answers its appends. On failure those that were to be written
    /// are left in `accepted`.
    fn commit(
        &mut self,
        mut requests: Vec<Request>,
        accepted: &mut Vec<Request>,
    ) -> Result<(), Failure> {
        if let Err(error) = self.roll_if_due() {
            accepted.extend(requests);
            let reason = describe(&error);
            let is_full = error.is_full();
            return Err(if is_full { Failure::Full(reason) } else { Failure::Fatal(reason) });
        }
        if requests.iter().any(|request| request.entries.is_empty()) {
            let (marks, others) = requests.into_iter().partition(|one| one.entries.is_empty());
            requests = others;
            self.answer_marks(marks);
        }
        if requests.is_empty() {
            // A look for space: a new file could be begun.
            self.shared.set_full(None);
            return Ok(());
        }
        self.group.clear();
        self.group.resize(GroupHeader::BYTES, 0);
        let key_count = self.file.key_count;
        self.find_keys(requests, accepted);
        if accepted.is_empty() {
            // The keys of this group are not written: the file does not have them.
            self.file.key_count = key_count;
            self.file.keys.retain(|_, known| known.number < key_count);
            return Ok(());
        }
        let tenant_bytes = self.group.len() - GroupHeader::BYTES;
        let batch = self.seal(accepted).map_err(|error| Failure::Fatal(error.to_string()))?;
        let payload = &self.group[GroupHeader::BYTES..];
        let header = GroupHeader {
            payload_bytes: u32::try_from(payload.len()).map_err(|_| "group above 4 GiB")?,
            first_position: batch.first,
            entry_count: u32::try_from(batch.entries.len()).map_err(|_| "group too long")?,
            tenant_bytes: u32::try_from(tenant_bytes).map_err(|_| "group above 4 GiB")?,
            payload_checksum: crc32fast::hash(payload),
        };
        let front = header.encode(self.file.header.file);
        self.group[..GroupHeader::BYTES].copy_from_slice(&front);
        let output = &mut self.file.output;
        if let Err(error) = output.write_all(&self.group).and_then(|()| output.sync_data()) {
            self.must_begin_anew = true;
            let (reason, is_full) = (error.to_string(), is_full(&error));
            return Err(if is_full { Failure::Full(reason) } else { Failure::Fatal(reason) });
        }
        self.shared.set_full(None);
        self.file.bytes += self.group.len() as u64;
        self.file.next = batch.end();
        self.release_memory();
        for observer in &mut self.observers {
            observer.committed(&batch);
        }
        let memory_bytes = accepted.iter().map(|request| request.memory_bytes).sum();
        let mut first = batch.first;
        let passed = self.shared.publish(batch, memory_bytes);
        for request in accepted.drain(..) {
            let count = request.entries.len() as u64;
            let known = self.file.keys.get(&request.tenant);
            let is_shown = known.is_none_or(|known| known.is_reachable);
            request.answer(Ok(AppendedRange { first, count, is_shown }));
            first += count;
        }
        drop(passed);
        Ok(())
    }

    /// Whoever asked for a mark learns where the entries begin whose keys are asked for from now
    /// on.
    fn answer_marks(&self, marks: Vec<Request>) {
        for mark in marks {
            mark.answer(Ok(AppendedRange { first: self.file.next, count: 0, is_shown: true }));
        }
    }

    /// One exceptional group must not hold its memory for ever.
    fn release_memory(&mut self) {
        let usual_bytes = self.shared.config.group_bytes_max * 2;
        if self.group.capacity() > usual_bytes {
            self.group.clear();
            self.group.shrink_to(usual_bytes);
        }
    }

    /// A full file, or one whose day is over, is followed by a new one.
    fn roll_if_due(&mut self) -> Result<(), LogError> {
        if self.must_begin_anew {
            return self.begin_anew();
        }
        let config = &self.shared.config;
        let today = config.clock.now().day();
        let has_entries = self.file.next > self.file.header.first_position;
        let is_due = self.file.bytes >= config.file_bytes_max || today > self.file.header.day;
        if !(has_entries && is_due) {
            return Ok(());
        }
        // A clock that stepped back must not bring back the keys of a day that is over.
        let day = today.max(self.file.header.day);
        let (file, info) = ActiveFile::create(config, self.file.next, day)?;
        self.shared.files.lock().0.push(info);
        self.file = file;
        Ok(())
    }

    /// Cuts what a failed write left, so that the file ends with its last durable group, and goes
    /// on in a new one: no nonce of the old one is used again.
    fn begin_anew(&mut self) -> Result<(), LogError> {
        let config = &self.shared.config;
        let old = self.file.header;
        let old_path = old.path(&config.directory);
        cut_to(&old_path, self.file.bytes)?;
        let day = config.clock.now().day().max(old.day);
        let (file, info) = ActiveFile::create(config, self.file.next, day)?;
        let is_empty = self.file.next == old.first_position;
        let mut files = self.shared.files.lock();
        if is_empty {
            // The new file says where the log stands.
            files.0.pop();
        }
        files.0.push(info);
        drop(files);
        self.file = file;
        self.must_begin_anew = false;
        if is_empty {
            std::fs::remove_file(&old_path)
                .map_err(|source| LogError::io("delete empty log file", &old_path, source))?;
            sync_directory(&self.shared.config.directory)?;
        }
        Ok(())
    }

    /// Sees that the file has a key for every tenant, and answers the appends that cannot have
    /// one. The keys that are new to the file go to the front of the group.
    fn find_keys(&mut self, requests: Vec<Request>, accepted: &mut Vec<Request>) {
        self.forget_withheld();
        let entries = requests.iter().flat_map(|request| &request.entries);
        let mut missing: Vec<_> = entries
            .filter(|entry| !self.file.keys.contains_key(&entry.tenant))
            .map(|entry| self.file.scope(entry.tenant))
            .collect();
        if !missing.is_empty() {
            missing.sort_unstable();
            missing.dedup();
            // All new keys become durable together; what failed shows again below, one by one.
            let _ = self.shared.config.keys.deks(&missing);
        }
        for request in requests {
            match self.find_keys_of(&request) {
                Ok(()) => accepted.push(request),
                Err(error) => request.answer(Err(error)),
            }
        }
    }

    /// Drops the keys of tenants that fell silent or came back: what was written before a silence
    /// cannot be opened with what is in memory during it.
    fn forget_withheld(&mut self) {
        let keys = &self.shared.config.keys;
        let changes = keys.changes();
        if changes == self.changes {
            return;
        }
        self.changes = changes;
        let day = Epoch::Day(self.file.header.day);
        self.file.keys.retain(|tenant, known| {
            let scope = DekScope::tenant(*tenant, DataClass::Log).with_epoch(day);
            let writing = keys.writing(&scope);
            writing.is_ok_and(|writing| writing.is_reachable() == known.is_reachable)
        });
    }

    fn find_keys_of(&mut self, request: &Request) -> Result<(), LogError> {
        let mut previous = None;
        for entry in &request.entries {
            let tenant = entry.tenant;
            if previous == Some(tenant) {
                continue;
            }
            previous = Some(tenant);
            // Asked each time, so that a withdrawal holds from the next commit on.
            let config = &self.shared.config;
            let writing = config.keys.writing(&self.file.scope(tenant));
            let writing = writing.map_err(|source| LogError::Key { tenant, source })?;
            let (dek, is_reachable) = (writing.dek_id(), writing.is_reachable());
            let max_bytes = config.spool_bytes_max;
            let kept = self.shared.kept_bytes(tenant);
            let is_full = if is_reachable {
                // What a tenant comes back with is not in its own way.
                kept >= max_bytes.saturating_mul(2)
            } else {
                kept.max(self.shared.spooled_bytes(tenant)) >= max_bytes
            };
            if is_full {
                return Err(LogError::SpoolFull { tenant, max_bytes });
            }
            let known = self.file.keys.get(&tenant);
            if known.is_some_and(|known| {
                known.key.dek().id() == dek && known.is_reachable == is_reachable
            }) {
                continue;
            }
            self.add_key(tenant, &writing).map_err(|source| LogError::Key { tenant, source })?;
        }
        Ok(())
    }

    /// Gives the file a key for a tenant, whose header goes to the front of the group.
    fn add_key(&mut self, tenant: TenantId, writing: &Writing) -> Result<(), KeyError> {
        let file = self.file.header.file;
        let (key, header, wrap) = match writing {
            Writing::Dek(dek) => {
                let key = FileKey::derive(dek, file);
                let header = FileHeader::new(&key);
                (key, header, None)
            }
            Writing::Spool(spool) => {
                let (key, header, wrap) = self.shared.config.keys.spool_file(spool, file)?;
                (key, header, Some(wrap))
            }
        };
        TenantKey { tenant, header, wrap }.encode(&mut self.group);
        if let Some(info) = self.shared.files.lock().0.last_mut() {
            info.deks.insert(writing.dek_id());
        }
        let number = self.file.key_count;
        self.file.key_count += 1;
        let is_reachable = writing.is_reachable();
        if is_reachable && wrap.is_some() {
            self.shared.forget_spooled(tenant);
        }
        self.file.keys.insert(tenant, SealingKey { number, key, is_reachable });
        Ok(())
    }

    /// Appends a frame for every entry. The nonce is the entry's number in the file: a file is
    /// never written again after a failure, so that no number is used twice.
    fn seal(&mut self, requests: &[Request]) -> Result<Arc<Committed>, KeyError> {
        let first = self.file.next;
        let entry_count = requests.iter().map(|request| request.entries.len()).sum();
        let mut entries = Vec::with_capacity(entry_count);
        let mut position = first;
        for request in requests {
            let mut start = 0;
            for (entry, end) in request.entries.iter().zip(&request.ends) {
                let plain = &request.plain[start..*end];
                start = *end;
                let Some(sealing) = self.file.keys.get(&entry.tenant) else {
                    return Err(KeyError::UnknownTenant(entry.tenant));
                };
                let sealed_bytes = u32::try_from(plain.len() + TAG_BYTES);
                let sealed_bytes = sealed_bytes.map_err(|_| KeyError::Exhausted)?;
                self.group.extend_from_slice(&sealing.number.to_le_bytes());
                self.group.extend_from_slice(&sealed_bytes.to_le_bytes());
                let context = position.to_le_bytes();
                sealing.key.seal(
                    position - self.file.header.first_position,
                    Aad::new(entry.tenant, DataClass::Log, &context),
                    plain,
                    &mut self.group,
                )?;
                entries.push(if sealing.is_reachable {
                    Arc::clone(entry)
                } else {
                    let tenant = entry.tenant;
                    self.shared.note_spooled(tenant, position, u64::from(sealed_bytes));
                    let record = Record::Unreadable(Unreadable::KeyUnavailable);
                    Arc::new(Entry { tenant, record })
                });
                position += 1;
            }
        }
        Ok(Arc::new(Committed { first, entries, passed: 0 }))
    }
}

/// An error with its causes, for the reason that later appends are told.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

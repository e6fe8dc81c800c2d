//! Writes a backup's folder: each file is copied once, hashed on the way, and gets its name only
//! when it is durable, so that an attempt that was cut off is taken up again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_keys::{KeyService, Sha256, sha256};

use super::BackupProgress;
use super::files::{
    BUFFER_BYTES, create_folder, create_private, digest, io, plain_files, safe_name,
    sync_file_system, sync_folder, write_whole,
};
use super::manifest::{LIST, Listed, MANIFEST, Manifest};
use super::verify::verify;
use crate::{Error, Result};

/// Files that become durable together.
const TOGETHER_FILES: usize = 256;
const TOGETHER_BYTES: u64 = 256 * 1024 * 1024;
/// How often the journal of the archive is looked for when it changes its file meanwhile.
const JOURNAL_TRIES: usize = 5;
/// Where the files of the data directory stand in a backup.
pub(super) const DATA: &str = "data";
/// Below these, a file with the same name and length has the same content: names are random ids,
/// positions or digests, and what is there is only ever appended to.
const LASTING: [&str; 3] = ["data/log/", "data/objects/", "data/archive/archive/logs/"];

pub(super) struct Writer {
    out: PathBuf,
    partial: PathBuf,
    list: BufWriter<File>,
    list_hash: Sha256,
    /// Short digests of the names that are listed.
    seen: HashSet<[u8; 16]>,
    waiting: Vec<(PathBuf, PathBuf)>,
    waiting_bytes: u64,
    progress: Arc<BackupProgress>,
    files: u64,
    bytes: u64,
    resumed_files: u64,
}

/// What was written.
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) resumed_files: u64,
}

fn short(name: &str) -> [u8; 16] {
    let mut out = [0u8; 16];
    out.copy_from_slice(&sha256(name.as_bytes())[..16]);
    out
}

impl Writer {
    /// Opens the unfinished folder beside `out`, which must not be there yet.
    pub(super) fn open(out: &Path, progress: Arc<BackupProgress>) -> Result<Self> {
        let shown = || out.display().to_string();
        if out.exists() {
            return Err(Error::invalid_at(shown(), "is there already: name a new folder"));
        }
        let name = out.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::invalid_at(shown(), "needs a name"))?;
        let partial = out.with_file_name(format!("{name}.partial"));
        create_folder(&partial)?;
        let list = BufWriter::new(create_private(&partial.join("files.new"))?);
        Ok(Self {
            out: out.to_owned(),
            partial,
            list,
            list_hash: Sha256::default(),
            seen: HashSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            progress,
            files: 0,
            bytes: 0,
            resumed_files: 0,
        })
    }

    /// Where a file of the unfinished backup stands.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Adds the lengths of files to what is to be done.
    pub(super) fn expect(&self, data: &Path, list: &[PathBuf]) {
        for path in list {
            self.progress.expect(fs::metadata(data.join(path)).map_or(0, |facts| facts.len()));
        }
    }

    /// Copies a file of the data directory.
    pub(super) fn copy(&mut self, data: &Path, path: &Path) -> Result<()> {
        let source = data.join(path);
        let name = safe_name(path).map(|text| format!("{DATA}/{text}"));
        let name = name.ok_or_else(|| {
            Error::invalid_at(source.display().to_string(), "has a name that is no plain text")
        })?;
        if let Ok(new) = fs::metadata(&source)
            && self.takes_up(&name, new.len())?
        {
            return Ok(());
        }
        let file = File::open(&source).map_err(io("read", &source))?;
        self.copy_from(file, &name)
    }

    /// Takes a file into the list that an attempt before has copied, if it did.
    fn takes_up(&mut self, name: &str, bytes: u64) -> Result<bool> {
        let target = self.partial.join(name);
        let is_there = LASTING.iter().any(|front| name.starts_with(front))
            && fs::metadata(&target).is_ok_and(|old| old.is_file() && old.len() == bytes);
        if is_there {
            let (hash, bytes) = digest(&target)?;
            self.resumed_files += 1;
            self.note(name, bytes, hash)?;
        }
        Ok(is_there)
    }

    /// The same of a file of the data directory that is elsewhere.
    pub(super) fn resume(&mut self, path: &Path, bytes: u64) -> Result<bool> {
        self.takes_up(&format!("{DATA}/{}", path.display()), bytes)
    }

    /// Adds bytes to what is to be done.
    pub(super) fn expect_bytes(&self, bytes: u64) {
        self.progress.expect(bytes);
    }

    /// Writes a file of the data directory that is elsewhere, no faster than others are read.
    pub(super) fn receive(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.progress.pace(content.len() as u64);
        self.put(path, content)
    }

    /// Copies what an open file holds now.
    fn copy_from(&mut self, mut source: File, name: &str) -> Result<()> {
        let target = self.partial.join(name);
        if let Some(folder) = target.parent() {
            create_folder(folder)?;
        }
        let unfinished = self.unfinished(&target);
        let mut file = create_private(&unfinished)?;
        let mut buffer = vec![0u8; BUFFER_BYTES];
        let (mut hash, mut bytes) = (Sha256::default(), 0u64);
        loop {
            let count = source.read(&mut buffer).map_err(io("read", name))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(io("write", &unfinished))?;
            bytes += count as u64;
            self.progress.pace(count as u64);
        }
        self.wait(unfinished, target, bytes)?;
        self.note(name, bytes, hash.finish())
    }

    /// Writes a file of the data directory from memory.
    pub(super) fn put(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        let name = format!("{DATA}/{}", path.display());
        let target = self.partial.join(&name);
        if let Some(folder) = target.parent() {
            create_folder(folder)?;
        }
        let unfinished = self.unfinished(&target);
        let mut file = create_private(&unfinished)?;
        file.write_all(content).map_err(io("write", &unfinished))?;
        self.wait(unfinished, target, content.len() as u64)?;
        self.note(&name, content.len() as u64, sha256(content))
    }

    /// Takes a file into the list that was written to [`Self::path`].
    pub(super) fn note_file(&mut self, name: &str) -> Result<()> {
        let (hash, bytes) = digest(&self.partial.join(name))?;
        self.note(name, bytes, hash)
    }

    /// Copies the ledger archive: its journal first, then the objects, which are only ever more.
    pub(super) fn copy_archive(&mut self, data: &Path) -> Result<()> {
        let root = Path::new("archive");
        if !data.join(root).exists() {
            let path = data.join(root).display().to_string();
            return Err(Error::invalid_at(path, "there is no ledger archive of this platform"));
        }
        self.copy_newest_journal(data)?;
        let logs = plain_files(data, &root.join("archive/logs"))?;
        self.expect(data, &logs);
        let passing = |path: &Path| path.extension().is_some_and(|text| text == "tmp");
        for path in logs.iter().filter(|path| !passing(path)) {
            self.copy(data, path)?;
        }
        for path in plain_files(data, root)? {
            let inner = path.strip_prefix(root).unwrap_or(&path);
            let own_way = ["archive", "keyring", "run.json", "run.json.tmp"];
            if !own_way.iter().any(|own| inner.starts_with(own)) {
                self.copy(data, &path)?;
            }
        }
        Ok(())
    }

    /// The newest journal holds everything that the objects do not. It may give way to the next
    /// one while it is looked for; once it is open it stays readable.
    fn copy_newest_journal(&mut self, data: &Path) -> Result<()> {
        let folder = Path::new("archive/archive/journal");
        for _ in 0..JOURNAL_TRIES {
            let mut journals = plain_files(data, folder)?;
            journals.retain(|path| path.extension().is_some_and(|text| text == "journal"));
            let Some(newest) = journals.pop() else { return Ok(()) };
            match File::open(data.join(&newest)) {
                Ok(file) => return self.copy_from(file, &format!("{DATA}/{}", newest.display())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io("read", data.join(&newest))(error)),
            }
        }
        let path = data.join(folder).display().to_string();
        Err(Error::invalid_at(path, "the journal changed its file again and again"))
    }

    fn unfinished(&self, target: &Path) -> PathBuf {
        let mut name = target.as_os_str().to_owned();
        name.push(".unfinished");
        PathBuf::from(name)
    }

    /// A file gets its name when it is durable, many at a time.
    fn wait(&mut self, unfinished: PathBuf, target: PathBuf, bytes: u64) -> Result<()> {
        self.waiting.push((unfinished, target));
        self.waiting_bytes += bytes;
        if self.waiting.len() >= TOGETHER_FILES || self.waiting_bytes >= TOGETHER_BYTES {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        sync_file_system(&self.partial)?;
        for (unfinished, target) in self.waiting.drain(..) {
            fs::rename(&unfinished, &target).map_err(io("name", &target))?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    fn note(&mut self, name: &str, bytes: u64, hash: [u8; 32]) -> Result<()> {
        if !self.seen.insert(short(name)) {
            return Ok(());
        }
        let listed = Listed { path: name.to_owned(), bytes, sha256: hex::encode(hash) };
        let mut line = serde_json::to_vec(&listed).map_err(|e| Error::Internal(e.to_string()))?;
        line.push(b'\n');
        self.list_hash.update(&line);
        self.list.write_all(&line).map_err(io("write", LIST))?;
        self.files += 1;
        self.bytes += bytes;
        self.progress.add(bytes);
        Ok(())
    }

    /// Ends the backup: list and manifest, then the name.
    pub(super) fn finish(mut self, mut manifest: Manifest, keys: &KeyService) -> Result<Written> {
        self.settle()?;
        self.remove_strangers()?;
        self.list.flush().map_err(io("write", LIST))?;
        self.list.get_ref().sync_all().map_err(io("make durable", LIST))?;
        let list = self.partial.join(LIST);
        fs::rename(self.partial.join("files.new"), &list).map_err(io("name", &list))?;
        manifest.files = self.files;
        manifest.bytes = self.bytes;
        manifest.files_sha256 = hex::encode(self.list_hash.clone().finish());
        write_whole(&self.partial.join(MANIFEST), &manifest.sealed(keys)?)?;
        sync_file_system(&self.partial)?;
        // Read back before it has its name: what does not hold is no backup.
        verify(&self.partial, &self.progress.read_back())?;
        fs::rename(&self.partial, &self.out).map_err(io("name", &self.out))?;
        sync_folder(
            self.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?;
        let (files, bytes, resumed_files) = (self.files, self.bytes, self.resumed_files);
        Ok(Written { files, bytes, resumed_files })
    }

    /// Removes what an earlier attempt left and this one did not need.
    fn remove_strangers(&self) -> Result<()> {
        for path in plain_files(&self.partial, Path::new(DATA))? {
            let listed = safe_name(&path).is_some_and(|name| self.seen.contains(&short(name)));
            if !listed {
                let path = self.partial.join(path);
                fs::remove_file(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }
}

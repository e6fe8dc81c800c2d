//! The shred journal: what was destroyed on purpose, one signed and sealed line for each act, kept
//! beside the root key and beside the keyring. Whatever backup is restored, the next start carries
//! out what it says again before anybody is listened to. It is only appended to.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_domain::{DestructionId, TenantId};
use veritwin_keys::{
    Aad, DataClass, DekScope, KeyService, SecretKey, SigningKey, open_value, seal_value,
    sealed_dek_id, verify_signature,
};

use crate::backup::files::{create_folder, instance_of, io, sync_folder};
use crate::cases::erasure::ErasedCase;
use crate::destruction_scope::StoredScope;
use crate::rights::bounded;
use crate::{Error, Result};

const FILE: &str = "shred.journal";
/// With so many bytes in the journal nobody can ask for more destructions.
const JOURNAL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The same for the lines of one tenant, so that none takes the room of the others.
const TENANT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest journal that is read, in bytes: what was asked for before is still written.
const JOURNAL_READ_MAX: u64 = 4 * JOURNAL_BYTES_MAX as u64;
/// Largest line, in bytes of JSON.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
const ZSTD_LEVEL: i32 = 3;
const AAD: &[u8] = b"shred journal v1";
/// Of the platform's secret from which the key that signs the lines is made.
const SIGNER: &str = "shred journal signer v1";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShredEntry {
    pub(crate) id: DestructionId,
    pub(crate) tenant: TenantId,
    pub(crate) scope: StoredScope,
    pub(crate) attributes: bool,
    /// When, in microseconds since the epoch.
    pub(crate) at: i64,
    /// The keys that were destroyed, in hexadecimal.
    pub(crate) keys: Vec<String>,
    /// The destruction as it is stored, so that its certificate is there after a restore.
    pub(crate) body: String,
    /// Whether it is over: a later line of the same id says so.
    pub(crate) done: bool,
    /// The erasure of a person, of which the readings have a line of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) erased: Option<Box<ErasedCase>>,
}

/// The newest line of an act.
#[derive(Debug)]
struct Line {
    id: DestructionId,
    tenant: TenantId,
    text: String,
}

#[derive(Debug, Default)]
struct Lines {
    /// In the order of the acts.
    newest: Vec<Line>,
    /// Bytes of all lines, by tenant.
    bytes: HashMap<TenantId, usize>,
}

impl Lines {
    fn add(&mut self, entry: &ShredEntry, text: String) {
        *self.bytes.entry(entry.tenant).or_default() += text.len();
        match self.newest.iter_mut().find(|line| line.id == entry.id) {
            Some(line) => line.text = text,
            None => self.newest.push(Line { id: entry.id, tenant: entry.tenant, text }),
        }
    }
}

/// The journal of this platform, in as many copies as there are folders.
#[derive(Debug)]
pub(crate) struct ShredJournal {
    keys: KeyService,
    paths: Vec<PathBuf>,
    lines: Mutex<Lines>,
}

/// The journal's name beside the root key, which several platforms may share.
fn name_of(data: &Path) -> String {
    match instance_of(&data.join("instance.json")) {
        Ok(instance) => format!("shred-{instance}.journal"),
        Err(_) => FILE.to_owned(),
    }
}

/// Where the copy beside a keyring stands.
pub(crate) fn beside_keyring(data: &Path) -> PathBuf {
    data.join("keyring").join(FILE)
}

impl ShredJournal {
    /// Opens every copy; a line that one lacks is written to it, whichever has it.
    pub(crate) fn open(data: &Path, root_key_dir: &Path, keys: &KeyService) -> Result<Self> {
        let paths = vec![root_key_dir.join(name_of(data)), beside_keyring(data)];
        let mut lines: Vec<String> = Vec::new();
        let mut copies = Vec::new();
        for path in &paths {
            let copy = read(path)?;
            let known: HashSet<&String> = lines.iter().collect();
            let new: Vec<String> =
                copy.iter().filter(|line| !known.contains(line)).cloned().collect();
            lines.extend(new);
            copies.push(copy.into_iter().collect::<HashSet<String>>());
        }
        let journal = Self { keys: keys.clone(), paths, lines: Mutex::default() };
        let entries = lines.iter().map(|line| journal.opened(line));
        let entries = entries.collect::<Result<Vec<ShredEntry>>>()?;
        for (path, copy) in journal.paths.iter().zip(&copies) {
            let missing: Vec<&String> = lines.iter().filter(|line| !copy.contains(*line)).collect();
            if let Err(error) = append(path, &missing) {
                // Another copy has them. Nothing more is destroyed until this one can be written.
                tracing::error!(%error, "a copy of the shred journal lacks lines");
            }
        }
        {
            let mut known = journal.lines.lock();
            entries.iter().zip(lines).for_each(|(entry, line)| known.add(entry, line));
        }
        Ok(journal)
    }

    /// What was destroyed, in the order of the acts, each as its newest line says; of one tenant,
    /// or of all.
    pub(crate) fn entries(&self, of: Option<TenantId>) -> Result<Vec<ShredEntry>> {
        let lines = self.lines.lock();
        let asked = lines.newest.iter().filter(|line| of.is_none_or(|of| of == line.tenant));
        asked.map(|line| self.opened(&line.text)).collect()
    }

    /// One act, as its newest line says.
    pub(crate) fn entry(&self, id: DestructionId) -> Result<Option<ShredEntry>> {
        let lines = self.lines.lock();
        let line = lines.newest.iter().find(|line| line.id == id);
        line.map(|line| self.opened(&line.text)).transpose()
    }

    /// Refuses one more act of a tenant when there is no room for it, or a copy cannot be written:
    /// the folder of the root key may be read-only.
    pub(crate) fn check_room(&self, tenant: TenantId) -> Result<()> {
        for path in &self.paths {
            if let Err(error) = open_copy(path) {
                tracing::error!(%error, "the shred journal cannot be written");
                let detail = "the shred journal cannot be written: see the platform's log";
                return Err(Error::Unavailable(detail.to_owned()));
            }
        }
        let lines = self.lines.lock();
        let own = lines.bytes.get(&tenant).copied().unwrap_or_default();
        bounded("shred_tenant_bytes_max", TENANT_BYTES_MAX, own)?;
        bounded("shred_journal_bytes_max", JOURNAL_BYTES_MAX, lines.bytes.values().sum())
    }

    /// Writes a line to every copy; durable when this returns.
    pub(crate) fn append(&self, entry: &ShredEntry) -> Result<()> {
        let plain = serde_json::to_vec(entry).map_err(|e| Error::Internal(e.to_string()))?;
        let plain = packed(&plain)?;
        let dek = self.keys.dek(&DekScope::platform(DataClass::Record))?;
        let sealed = seal_value(&dek, Aad::new(None, DataClass::Record, AAD), &plain)?;
        let signature = self.signer()?.sign(&sealed);
        let line = format!("{}.{}", hex::encode(sealed), hex::encode(signature));
        let mut lines = self.lines.lock();
        for path in &self.paths {
            append(path, &[&line])?;
        }
        lines.add(entry, line);
        Ok(())
    }

    fn signer(&self) -> Result<SigningKey> {
        let secret = self.keys.platform_subkey(SIGNER)?;
        Ok(SigningKey::from_seed(SecretKey::from_bytes(*secret.expose())))
    }

    fn opened(&self, line: &str) -> Result<ShredEntry> {
        let wrong = || {
            Error::invalid(format!(
                "a line of the shred journal ({}) is not by this platform, or was changed: what it \
                 says was destroyed might come back",
                self.paths[0].display()
            ))
        };
        let (sealed, signature) = line.split_once('.').ok_or_else(wrong)?;
        let sealed = hex::decode(sealed).map_err(|_| wrong())?;
        let signature = hex::decode(signature).map_err(|_| wrong())?;
        if !verify_signature(&self.signer()?.public_bytes(), &sealed, &signature) {
            return Err(wrong());
        }
        let dek = self.keys.dek_by_id(sealed_dek_id(&sealed)?)?;
        let plain = open_value(&dek, Aad::new(None, DataClass::Record, AAD), &sealed)?;
        let plain = unpacked(&plain).ok_or_else(wrong)?;
        serde_json::from_slice(&plain).map_err(|_| wrong())
    }
}

/// The length, and the bytes compressed: a line names its keys several times.
fn packed(plain: &[u8]) -> Result<Vec<u8>> {
    bounded("shred_line_bytes_max", LINE_BYTES_MAX, plain.len())?;
    let small = zstd::bulk::compress(plain, ZSTD_LEVEL);
    let small = small.map_err(|error| Error::Internal(error.to_string()))?;
    let length = (plain.len() as u64).to_le_bytes();
    Ok([length.as_slice(), small.as_slice()].concat())
}

fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, small) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    if length > LINE_BYTES_MAX {
        return None;
    }
    zstd::bulk::decompress(small, length).ok().filter(|plain| plain.len() == length)
}

/// The whole lines of a copy. What a crash left behind the last one was of no act that began.
fn read(path: &Path) -> Result<Vec<String>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(facts) if facts.len() > JOURNAL_READ_MAX => {
            return Err(Error::invalid_at(path.display().to_string(), "is too large"));
        }
        _ => {}
    }
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    if end < text.len() {
        let file = OpenOptions::new().write(true).open(path).map_err(io("open", path))?;
        file.set_len(end as u64).map_err(io("cut", path))?;
        file.sync_all().map_err(io("make durable", path))?;
    }
    Ok(text[..end].lines().map(str::to_owned).collect())
}

/// A copy to append to, made if there is none.
fn open_copy(path: &Path) -> Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600);
    let file = options.open(path).map_err(io("open", path))?;
    if is_new {
        sync_folder(folder)?;
    }
    Ok(file)
}

/// Whether nothing stands behind the last whole line.
fn ends_whole(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn append(path: &Path, lines: &[&String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = open_copy(path)?;
    if !ends_whole(&mut file).map_err(io("read", path))? {
        // What a full disk has cut off must not become part of the next line.
        read(path)?;
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes()).map_err(io("write", path))?;
    file.sync_all().map_err(io("make durable", path))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use veritwin_domain::{ManualClock, SeededRng, Timestamp};
    use veritwin_keys::PlatformFile;

    use super::*;

    fn keys(folder: &Path) -> KeyService {
        let rng = Arc::new(SeededRng::new(7));
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let root = PlatformFile::open_or_create(&folder.join("root.key"), rng.clone());
        let root = Box::new(root.expect("a root key"));
        KeyService::open(root, &folder.join("keyring"), clock, rng).expect("a keyring")
    }

    fn entry(number: u8) -> ShredEntry {
        ShredEntry {
            id: DestructionId::from_bytes([number; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            scope: StoredScope::Month { month: 681 },
            attributes: false,
            at: 5,
            keys: vec!["00".repeat(16)],
            body: "{}".to_owned(),
            done: false,
            erased: None,
        }
    }

    #[test]
    fn a_copy_that_lacks_a_line_gets_it_and_changed_lines_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, root) = (folder.path().to_owned(), folder.path().join("root"));
        let keys = keys(&data);
        let open = || ShredJournal::open(&data, &root, &keys);
        let journal = open().expect("opens");
        assert!(journal.entries(None).expect("none").is_empty());
        journal.append(&entry(1)).expect("written");
        journal.append(&entry(2)).expect("written");
        journal.append(&ShredEntry { done: true, ..entry(1) }).expect("written");
        let expected = [ShredEntry { done: true, ..entry(1) }, entry(2)];
        assert_eq!(journal.entries(None).expect("read"), expected);
        assert!(journal.entries(Some(TenantId::from_bytes([2; 16]))).expect("read").is_empty());
        assert_eq!(journal.entry(entry(2).id).expect("read"), Some(entry(2)));
        assert_eq!(journal.entry(entry(3).id).expect("read"), None);
        // An older keyring comes back; what stands beside the root key counts.
        let beside = beside_keyring(&data);
        let whole = std::fs::read_to_string(&beside).expect("a copy");
        assert!(!whole.contains(&hex::encode("month")), "nothing is readable");
        std::fs::remove_file(&beside).expect("removed");
        assert_eq!(open().expect("opens").entries(None).expect("read"), expected);
        assert_eq!(std::fs::read_to_string(&beside).expect("there again"), whole);
        // A write that a crash cut short.
        std::fs::write(&beside, &whole[..whole.len() - 9]).expect("written");
        assert_eq!(open().expect("opens").entries(None).expect("read"), expected);
        // One that a full disk cut short, and this process goes on.
        let journal = open().expect("opens");
        let torn = OpenOptions::new().append(true).open(&beside).expect("opened");
        (&torn).write_all(b"00ff").expect("written");
        journal.append(&entry(3)).expect("written");
        let entries = open().expect("opens").entries(None).expect("read");
        assert_eq!(entries.len(), 3, "the line is whole");
        let changed =
            whole.replacen(&whole[40..42], if &whole[40..42] == "00" { "11" } else { "00" }, 1);
        std::fs::write(&beside, changed).expect("written");
        assert!(open().is_err(), "a changed line is refused");
    }

    #[test]
    fn a_line_of_many_keys_is_small_and_a_tenant_has_its_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = keys(folder.path());
        let root = folder.path().join("root");
        let journal = ShredJournal::open(folder.path(), &root, &keys).expect("opens");
        let many: Vec<String> = (0..2000).map(|number| format!("{number:032x}")).collect();
        let body = serde_json::json!({"keys": many, "statement": many}).to_string();
        let (keys, plain) = (many, body.len());
        journal.append(&ShredEntry { keys, body, ..entry(1) }).expect("written");
        let own = entry(1).tenant;
        let written = journal.lines.lock().bytes[&own];
        assert!(written < plain / 2, "{written} of {plain}");
        assert!(journal.check_room(own).is_ok());
        journal.lines.lock().bytes.insert(own, TENANT_BYTES_MAX + 1);
        assert!(journal.check_room(own).is_err());
        assert!(journal.check_room(TenantId::from_bytes([2; 16])).is_ok(), "others go on");
        journal.lines.lock().bytes.insert(own, JOURNAL_BYTES_MAX + 1);
        assert!(journal.check_room(TenantId::from_bytes([2; 16])).is_err());
        std::fs::remove_dir_all(&root).expect("removed");
        std::fs::write(&root, "no folder").expect("written");
        journal.lines.lock().bytes.clear();
        assert!(matches!(journal.check_room(own), Err(Error::Unavailable(_))));
        assert!(unpacked(&[0; 7]).is_none() && unpacked(&[255; 40]).is_none());
        assert!(unpacked(&packed(b"abc").expect("packed")[..9]).is_none());
    }
}

//! The shred journal: what was destroyed on purpose, one signed and sealed line for each act, kept
//! beside the root key and beside the keyring. Whatever backup is restored, the next start carries
//! out what it says again before anybody is listened to. It is only appended to.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
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
use crate::destruction_scope::StoredScope;
use crate::{Error, Result};

const FILE: &str = "shred.journal";
/// Largest journal that is read, in bytes: some hundred thousand acts.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
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
}

/// The journal of this platform, in as many copies as there are folders.
#[derive(Debug)]
pub(crate) struct ShredJournal {
    keys: KeyService,
    paths: Vec<PathBuf>,
    lines: Mutex<Vec<String>>,
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
        let journal = Self { keys: keys.clone(), paths, lines: Mutex::new(Vec::new()) };
        for line in &lines {
            journal.opened(line)?;
        }
        for (path, copy) in journal.paths.iter().zip(&copies) {
            let missing: Vec<&String> = lines.iter().filter(|line| !copy.contains(*line)).collect();
            append(path, &missing)?;
        }
        *journal.lines.lock() = lines;
        Ok(journal)
    }

    /// What was destroyed, in the order of the acts, each as its newest line says.
    pub(crate) fn entries(&self) -> Result<Vec<ShredEntry>> {
        let mut entries: Vec<ShredEntry> = Vec::new();
        for line in self.lines.lock().iter() {
            let entry = self.opened(line)?;
            match entries.iter_mut().find(|known| known.id == entry.id) {
                Some(known) => *known = entry,
                None => entries.push(entry),
            }
        }
        Ok(entries)
    }

    /// Writes a line to every copy; durable when this returns.
    pub(crate) fn append(&self, entry: &ShredEntry) -> Result<()> {
        let plain = serde_json::to_vec(entry).map_err(|e| Error::Internal(e.to_string()))?;
        let dek = self.keys.dek(&DekScope::platform(DataClass::Record))?;
        let sealed = seal_value(&dek, Aad::new(None, DataClass::Record, AAD), &plain)?;
        let signature = self.signer()?.sign(&sealed);
        let line = format!("{}.{}", hex::encode(sealed), hex::encode(signature));
        let mut lines = self.lines.lock();
        for path in &self.paths {
            append(path, &[&line])?;
        }
        lines.push(line);
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
        serde_json::from_slice(&plain).map_err(|_| wrong())
    }
}

/// The whole lines of a copy. What a crash left behind the last one was of no act that began.
fn read(path: &Path) -> Result<Vec<String>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(facts) if facts.len() > JOURNAL_BYTES_MAX => {
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

fn append(path: &Path, lines: &[&String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let is_new = !path.exists();
    let mut file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(io("open", path))?;
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes()).map_err(io("write", path))?;
    file.sync_all().map_err(io("make durable", path))?;
    if is_new { sync_folder(folder) } else { Ok(()) }
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
        }
    }

    #[test]
    fn a_copy_that_lacks_a_line_gets_it_and_changed_lines_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (data, root) = (folder.path().to_owned(), folder.path().join("root"));
        let keys = keys(&data);
        let open = || ShredJournal::open(&data, &root, &keys);
        let journal = open().expect("opens");
        assert!(journal.entries().expect("none").is_empty());
        journal.append(&entry(1)).expect("written");
        journal.append(&entry(2)).expect("written");
        journal.append(&ShredEntry { done: true, ..entry(1) }).expect("written");
        let expected = [ShredEntry { done: true, ..entry(1) }, entry(2)];
        assert_eq!(journal.entries().expect("read"), expected);
        // An older keyring comes back; what stands beside the root key counts.
        let beside = beside_keyring(&data);
        let whole = std::fs::read_to_string(&beside).expect("a copy");
        assert!(!whole.contains("681"), "nothing is readable");
        std::fs::remove_file(&beside).expect("removed");
        assert_eq!(open().expect("opens").entries().expect("read"), expected);
        assert_eq!(std::fs::read_to_string(&beside).expect("there again"), whole);
        // A write that a crash cut short.
        std::fs::write(&beside, &whole[..whole.len() - 9]).expect("written");
        assert_eq!(open().expect("opens").entries().expect("read"), expected);
        let changed =
            whole.replacen(&whole[40..42], if &whole[40..42] == "00" { "11" } else { "00" }, 1);
        std::fs::write(&beside, changed).expect("written");
        assert!(open().is_err(), "a changed line is refused");
    }
}

//! The data directory: its identity, its lock, where its root keys live. It refuses a directory
//! that is not ours, and one that another process holds.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use veritwin_domain::{Clock, Rng, SiteId, Timestamp};

const FORMAT: u32 = 1;
const IDENTITY_FILE: &str = "instance.json";
const IDENTITY_BYTES_MAX: u64 = 4096;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    format: u32,
    instance: String,
    /// Where the simulated clock of this directory started; such a directory is marked for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    simulated_clock: Option<String>,
}

/// An opened and locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    identity: Identity,
    _lock: File,
}

/// Paths below a data directory, for programs that only look.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The directory itself.
    pub(crate) root: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
    pub(crate) fn run_json(&self) -> PathBuf {
        self.root.join("run.json")
    }
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }
    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }
    pub(crate) fn ca_pem(&self) -> PathBuf {
        self.pki().join("ca.pem")
    }
    pub(crate) fn lineage(&self) -> PathBuf {
        self.root.join("lineage.json")
    }
    pub(crate) fn archive(&self) -> PathBuf {
        self.root.join("archive")
    }
    pub(crate) fn archive_pairing(&self) -> PathBuf {
        self.root.join("archive-pairing")
    }
}

impl DataDir {
    /// Opens or creates the directory and takes its lock.
    pub(crate) fn open(
        root: &Path,
        simulated_clock: Option<Timestamp>,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> anyhow::Result<Self> {
        let shown = root.display();
        if !root.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)
                .with_context(|| format!("cannot create the data directory {shown}"))?;
        }
        let root = root.canonicalize().with_context(|| format!("cannot open {shown}"))?;
        let identity_path = root.join(IDENTITY_FILE);
        if !identity_path.exists() {
            refuse_strangers(&root)?;
        }
        // Before the identity is read or written: two first starts must not make two of them.
        let lock = take_lock(&root)?;
        let identity = if identity_path.exists() {
            let identity = read_identity(&identity_path)?;
            if simulated_clock.is_some() && identity.simulated_clock.is_none() {
                bail!(
                    "{shown} was started with the real clock: --simulated-clock needs a new directory"
                );
            }
            identity
        } else {
            let identity = Identity {
                format: FORMAT,
                instance: SiteId::generate(clock.now(), rng).to_string(),
                simulated_clock: simulated_clock.map(|at| at.to_string()),
            };
            write_private(&identity_path, &serde_json::to_vec_pretty(&identity)?)?;
            identity
        };
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))?;
        Ok(Self { root, identity, _lock: lock })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::new(&self.root)
    }

    /// Where the simulated clock started, for directories that have one.
    pub(crate) fn simulated_clock(&self) -> Option<Timestamp> {
        self.identity.simulated_clock.as_deref().and_then(|at| Timestamp::parse_rfc3339(at).ok())
    }

    /// The folder of this directory's root keys.
    pub(crate) fn root_key_dir(&self, configured: Option<&Path>) -> anyhow::Result<PathBuf> {
        root_key_dir(configured, &self.identity.instance)
    }
}

/// A directory without an identity has to be empty, but for what a first start that was killed
/// leaves behind.
fn refuse_strangers(root: &Path) -> anyhow::Result<()> {
    let begun = Path::new(IDENTITY_FILE).with_extension("new");
    let ours = [OsStr::new("lock"), OsStr::new(IDENTITY_FILE), begun.as_os_str()];
    let mut entries = fs::read_dir(root)?.filter_map(Result::ok);
    if let Some(stranger) = entries.find(|entry| !ours.contains(&entry.file_name().as_os_str())) {
        bail!(
            "{} is not a Veritwin data directory and not empty (it holds {}): name an empty or \
             new one",
            root.display(),
            stranger.file_name().display()
        );
    }
    Ok(())
}

/// The root key folder of a stopped platform's directory.
pub(crate) fn root_key_dir_of(data: &Path, configured: Option<&Path>) -> anyhow::Result<PathBuf> {
    let identity = read_identity(&data.join(IDENTITY_FILE))?;
    root_key_dir(configured, &identity.instance)
}

/// The root key folder of an instance.
pub(crate) fn root_key_dir(configured: Option<&Path>, instance: &str) -> anyhow::Result<PathBuf> {
    if let Some(dir) = configured {
        return Ok(dir.to_owned());
    }
    if let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        return Ok(PathBuf::from(credentials));
    }
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .context("no HOME to keep the root key in: set keys.root_dir")?;
    Ok(base.join("veritwin").join(instance))
}

fn read_identity(path: &Path) -> anyhow::Result<Identity> {
    let shown = path.display();
    let mut text = String::new();
    File::open(path)
        .with_context(|| format!("not a Veritwin data directory: cannot read {shown}"))?
        .take(IDENTITY_BYTES_MAX)
        .read_to_string(&mut text)?;
    let identity: Identity =
        serde_json::from_str(&text).with_context(|| format!("{shown} is damaged"))?;
    ensure!(
        identity.format == FORMAT,
        "{shown}: format {} is not one this version knows ({FORMAT})",
        identity.format
    );
    Ok(identity)
}

/// Takes the lock of a directory that holds no platform yet, so that nothing starts in it.
pub(crate) fn lock_new(root: &Path) -> anyhow::Result<File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .with_context(|| format!("cannot create the data directory {}", root.display()))?;
    take_lock(root)
}

fn take_lock(root: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(root.join("lock"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |_| anyhow::anyhow!("another Veritwin process holds {}: stop it first", root.display()),
    )?;
    Ok(file)
}

/// Whether a running platform holds this directory.
pub(crate) fn is_running(root: &Path) -> bool {
    root.join("lock").exists() && take_lock(root).is_err()
}

/// Writes a file only this user can read, replacing it in one step.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_mode(path, bytes, 0o600)
}

/// Writes a public file, replacing it in one step.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_mode(path, bytes, 0o644)
}

fn write_mode(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let shown = path.display();
    let parent = path.parent().context("a file needs a folder")?;
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&temporary)
        .with_context(|| format!("cannot write {shown}"))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(parent)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::{ManualClock, SeededRng};

    fn open(path: &Path, simulated: Option<Timestamp>) -> anyhow::Result<DataDir> {
        let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
        DataDir::open(path, simulated, &clock, &SeededRng::new(1))
    }

    #[test]
    fn identity_lock_and_strangers() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().join("data");
        let first = open(&root, None).expect("new directory");
        let again = open(&root, None).expect_err("locked").to_string();
        assert!(again.contains("another Veritwin process"), "{again}");
        assert!(is_running(&root));
        drop(first);
        assert!(!is_running(&root));
        let simulated = open(&root, Some(Timestamp::EPOCH)).expect_err("real clock").to_string();
        assert!(simulated.contains("needs a new directory"), "{simulated}");
        open(&root, None).expect("opens again");
        let strange = dir.path().join("strange");
        fs::create_dir(&strange).expect("create");
        fs::write(strange.join("thesis.doc"), "x").expect("write");
        let refused = open(&strange, None).expect_err("not ours").to_string();
        assert!(refused.contains("thesis.doc"), "{refused}");
        let begun = dir.path().join("begun");
        fs::create_dir(&begun).expect("create");
        fs::write(begun.join("instance.new"), "{").expect("write");
        open(&begun, None).expect("a start that was killed is begun anew");
        let contended = dir.path().join("contended");
        let held = lock_new(&contended).expect("another first start");
        open(&contended, None).expect_err("held by the other");
        assert!(!contended.join(IDENTITY_FILE).exists(), "no identity without the lock");
        drop(held);
        open(&contended, None).expect("the first that has the lock");
    }
}

//! The root of the key hierarchy. A provider wraps tenant KEKs and never hands out its own key;
//! the one here keeps it in a file of its own, outside the data directory, readable by its owner
//! alone. A file that others may read is refused.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use veritwin_domain::{Rng, TenantId};

use crate::dek::{open_salted, seal_salted};
use crate::private::is_private;
use crate::scope::encode_owner;
use crate::{KeyError, SecretKey, sha256};

/// What a KEK is wrapped for; it is authenticated with the wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KekContext {
    /// The tenant, or none for the platform itself.
    pub tenant: Option<TenantId>,
    /// The KEK's version, from 1.
    pub version: u32,
}

impl KekContext {
    /// What is authenticated with the wrapped KEK, at a key service too.
    pub fn associated_data(&self) -> Vec<u8> {
        let mut aad = b"kek".to_vec();
        encode_owner(self.tenant, &mut aad);
        aad.extend_from_slice(&self.version.to_le_bytes());
        aad
    }
}

/// What can be said about a root without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDescription {
    /// The kind of provider, for example `platform_file`.
    pub kind: &'static str,
    /// Whether the key is in a hardware security module, which it never leaves.
    pub is_in_module: bool,
    /// Where it is: a path or an address, never a secret.
    pub location: String,
    /// A short public fingerprint by which two roots can be told apart.
    pub fingerprint: String,
}

/// The root of the hierarchy.
pub trait RootProvider: Send + Sync + fmt::Debug {
    /// Wraps a KEK for storage.
    fn wrap(&self, context: &KekContext, kek: &SecretKey) -> Result<Vec<u8>, KeyError>;
    /// Unwraps a stored KEK.
    fn unwrap(&self, context: &KekContext, wrapped: &[u8]) -> Result<SecretKey, KeyError>;
    /// What can be said about it in public.
    fn describe(&self) -> RootDescription;
}

pub(crate) const WRAP_LABEL: &[u8] = b"veritwin root wrap v1";
const ROOT_BYTES: usize = 32;

/// A 32-byte root key in a file with mode 0600, or given by systemd.
pub struct PlatformFile {
    path: PathBuf,
    key: SecretKey,
    rng: Arc<dyn Rng>,
}

impl PlatformFile {
    /// Reads the root key, or makes it if the file is absent. The directory has to exist.
    pub fn open_or_create(path: &Path, rng: Arc<dyn Rng>) -> Result<Self, KeyError> {
        match Self::open(path, Arc::clone(&rng)) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                create(path, rng.as_ref())?;
                Self::open(path, rng)
            }
            other => other,
        }
    }

    /// Reads the root key of an installation that has one.
    pub fn open(path: &Path, rng: Arc<dyn Rng>) -> Result<Self, KeyError> {
        let refuse = |reason: String| KeyError::RootFile { path: path.to_path_buf(), reason };
        let mut file =
            File::open(path).map_err(|source| KeyError::io("open root key", path, source))?;
        let metadata =
            file.metadata().map_err(|source| KeyError::io("inspect root key", path, source))?;
        if !metadata.is_file() {
            return Err(refuse("it is not an ordinary file".into()));
        }
        if !is_private(path, &metadata) {
            let mode = metadata.mode() & 0o777;
            return Err(refuse(format!(
                "mode is {mode:04o}, so that others than its owner can reach it; run chmod 0600"
            )));
        }
        if metadata.len() != ROOT_BYTES as u64 {
            let actual = metadata.len();
            return Err(refuse(format!("expected exactly {ROOT_BYTES} bytes, found {actual}")));
        }
        let mut bytes = zeroize::Zeroizing::new([0u8; ROOT_BYTES]);
        file.read_exact(bytes.as_mut())
            .map_err(|source| KeyError::io("read root key", path, source))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(refuse("it holds only zero bytes, not a key".into()));
        }
        Ok(Self { path: path.to_path_buf(), key: SecretKey::from_bytes(*bytes), rng })
    }
}

fn create(path: &Path, rng: &dyn Rng) -> Result<(), KeyError> {
    // Written under another name first: a crash in between must not leave half a key.
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let io = |action| move |source| KeyError::io(action, path, source);
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(io("remove unfinished root key beside")(error));
        }
        _ => {}
    }
    let key = SecretKey::generate(rng);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(io("create root key"))?;
    file.write_all(key.expose()).map_err(io("write root key"))?;
    file.sync_all().map_err(io("make durable root key"))?;
    // A link fails if the name exists, where a rename would replace another start's key.
    std::fs::hard_link(&partial, path).map_err(io("create root key"))?;
    std::fs::remove_file(&partial).map_err(io("remove unfinished root key beside"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory =
        File::open(parent.unwrap_or(Path::new("."))).map_err(io("open directory of"))?;
    directory.sync_all().map_err(io("make durable directory of"))
}

impl RootProvider for PlatformFile {
    fn wrap(&self, context: &KekContext, kek: &SecretKey) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::with_capacity(76);
        let aad = context.associated_data();
        seal_salted(&self.key, self.rng.as_ref(), WRAP_LABEL, &aad, kek.expose(), &mut out);
        Ok(out)
    }

    fn unwrap(&self, context: &KekContext, wrapped: &[u8]) -> Result<SecretKey, KeyError> {
        let opened = zeroize::Zeroizing::new(open_salted(
            &self.key,
            WRAP_LABEL,
            &context.associated_data(),
            wrapped,
        )?);
        secret_from(&opened)
    }

    fn describe(&self) -> RootDescription {
        let mut labelled = b"veritwin root fingerprint v1".to_vec();
        labelled.extend_from_slice(self.key.expose());
        let fingerprint = hex::encode(&sha256(&labelled)[..8]);
        zeroize::Zeroize::zeroize(&mut labelled);
        RootDescription {
            kind: "platform_file",
            is_in_module: false,
            location: self.path.display().to_string(),
            fingerprint,
        }
    }
}

impl fmt::Debug for PlatformFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlatformFile({})", self.path.display())
    }
}

pub(crate) fn secret_from(bytes: &[u8]) -> Result<SecretKey, KeyError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Format {
        expected: "wrapped key",
        reason: "it does not hold 32 bytes",
    })?;
    Ok(SecretKey::from_bytes(bytes))
}

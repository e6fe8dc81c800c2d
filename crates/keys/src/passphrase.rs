//! A root key that is made of a passphrase: Argon2id over a random salt in a file, at 64 MiB and
//! three passes. Nothing of the key is stored; a passphrase that is not the right one is refused.

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use veritwin_domain::Rng;
use zeroize::Zeroizing;

use crate::dek::{open_salted, seal_salted};
use crate::root::{WRAP_LABEL, secret_from};
use crate::{
    KekContext, KeyError, Passphrase, RootDescription, RootProvider, SecretKey, constant_time_eq,
    hmac_sha256,
};

const MAGIC: &[u8] = b"veritwin passphrase 1\n";
const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 32;
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const LANES: u32 = 1;
const CHECK_LABEL: &[u8] = b"veritwin passphrase check v1";
const FINGERPRINT_LABEL: &[u8] = b"veritwin passphrase fingerprint v1";

/// A root key out of a passphrase.
pub struct PassphraseRoot {
    path: PathBuf,
    key: SecretKey,
    rng: Arc<dyn Rng>,
}

fn derive(passphrase: &Passphrase, salt: &[u8]) -> Result<SecretKey, KeyError> {
    let format = |reason| KeyError::Format { expected: "passphrase", reason };
    let parameters = Params::new(MEMORY_KIB, PASSES, LANES, Some(32))
        .map_err(|_| format("its parameters are out of range"))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let mut bytes = Zeroizing::new([0u8; 32]);
    hasher
        .hash_password_into(passphrase.expose().as_bytes(), salt, bytes.as_mut())
        .map_err(|_| format("it cannot be hashed"))?;
    Ok(SecretKey::from_bytes(*bytes))
}

fn check_of(key: &SecretKey) -> [u8; CHECK_BYTES] {
    hmac_sha256(key.expose(), CHECK_LABEL)
}

impl PassphraseRoot {
    /// The root of a salt file that is there already.
    pub fn open(path: &Path, passphrase: &Passphrase, rng: Arc<dyn Rng>) -> Result<Self, KeyError> {
        let refuse = |reason: &str| KeyError::RootFile {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
        };
        let bytes = std::fs::read(path)
            .map_err(|source| KeyError::io("read the salt of the passphrase", path, source))?;
        let rest = bytes.strip_prefix(MAGIC).filter(|rest| rest.len() == SALT_BYTES + CHECK_BYTES);
        let (salt, check) = rest
            .and_then(|rest| rest.split_at_checked(SALT_BYTES))
            .ok_or_else(|| refuse("it is no salt file of a passphrase"))?;
        let key = derive(passphrase, salt)?;
        if !constant_time_eq(&check_of(&key), check) {
            return Err(refuse("the passphrase is not the one that it was made with"));
        }
        Ok(Self { path: path.to_path_buf(), key, rng })
    }

    /// Opens the salt file, or makes it if it is absent. The directory has to exist.
    pub fn open_or_create(
        path: &Path,
        passphrase: &Passphrase,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, KeyError> {
        match Self::open(path, passphrase, Arc::clone(&rng)) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                create(path, passphrase, rng.as_ref())?;
                Self::open(path, passphrase, rng)
            }
            other => other,
        }
    }
}

fn create(path: &Path, passphrase: &Passphrase, rng: &dyn Rng) -> Result<(), KeyError> {
    let mut salt = [0u8; SALT_BYTES];
    rng.fill(&mut salt);
    let check = check_of(&derive(passphrase, &salt)?);
    let partial = path.with_extension("partial");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&partial)?;
        file.write_all(&[MAGIC, &salt, &check].concat())?;
        file.sync_all()?;
        // A link fails if the name exists, where a rename would replace another start's salt.
        std::fs::hard_link(&partial, path)?;
        std::fs::remove_file(&partial)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| KeyError::io("make the salt of the passphrase", path, source))
}

impl RootProvider for PassphraseRoot {
    fn wrap(&self, context: &KekContext, kek: &SecretKey) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::with_capacity(76);
        let aad = context.associated_data();
        seal_salted(&self.key, self.rng.as_ref(), WRAP_LABEL, &aad, kek.expose(), &mut out);
        Ok(out)
    }

    fn unwrap(&self, context: &KekContext, wrapped: &[u8]) -> Result<SecretKey, KeyError> {
        let opened = Zeroizing::new(open_salted(
            &self.key,
            WRAP_LABEL,
            &context.associated_data(),
            wrapped,
        )?);
        secret_from(&opened)
    }

    fn describe(&self) -> RootDescription {
        let fingerprint = hmac_sha256(self.key.expose(), FINGERPRINT_LABEL);
        RootDescription {
            kind: "passphrase",
            is_in_module: false,
            location: self.path.display().to_string(),
            fingerprint: hex::encode(&fingerprint[..8]),
        }
    }
}

impl fmt::Debug for PassphraseRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassphraseRoot({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRng;

    #[test]
    fn only_the_right_passphrase_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("salt");
        let open = |text: &str, make: bool| {
            let (secret, rng) = (Passphrase::new(text).unwrap(), Arc::new(SystemRng));
            if make {
                PassphraseRoot::open_or_create(&path, &secret, rng)
            } else {
                PassphraseRoot::open(&path, &secret, rng)
            }
        };
        assert!(open("correct horse battery", false).is_err(), "there is none yet");
        let root = open("correct horse battery", true).unwrap();
        let context = KekContext { tenant: None, version: 7 };
        let wrapped = root.wrap(&context, &SecretKey::from_bytes([3; 32])).unwrap();
        let again = open("correct horse battery", false).unwrap();
        assert_eq!(again.describe(), root.describe());
        assert_eq!(again.unwrap(&context, &wrapped).unwrap().expose(), &[3; 32]);
        let other = KekContext { version: 8, ..context };
        assert!(again.unwrap(&other, &wrapped).is_err());
        let error = open("correct horse batterie", false).unwrap_err().to_string();
        assert!(error.contains("not the one") && !error.contains("horse"), "{error}");
        assert!(open("correct horse batterie", true).is_err(), "the salt stays");
    }
}

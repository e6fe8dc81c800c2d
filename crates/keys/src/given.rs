//! A passphrase as an operator gives it: in a file for its owner alone, or as a key of the kernel's
//! key retention service (keyrings(7)). It is wiped when it is dropped and never shown; nor is the
//! description of the key, in case somebody wrote the passphrase there.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use linux_keyutils::{Key, KeyError as KernelError, KeyRing, KeyRingIdentifier, KeySerialId};
use veritwin_domain::Secret;
use zeroize::Zeroizing;

use crate::private::is_private;

/// Shortest passphrase, in characters.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
/// Longest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;
/// Longest description of a key in the kernel's keyrings, in bytes.
pub const KEYRING_DESCRIPTION_BYTES_MAX: usize = 255;

/// A passphrase, the end of its line, and one byte by which a longer one is seen.
const READ_BYTES_MAX: usize = PASSPHRASE_BYTES_MAX + 3;

/// Why a passphrase is not taken. No message holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// It cannot be one.
    #[error("the passphrase {0}")]
    Unfit(&'static str),
    /// Others than the owner can reach its file, which has this mode.
    #[error("mode is {0:04o}, so that others than its owner can reach it; run chmod 0600")]
    Reachable(u32),
    /// Its file cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// The kernel's keyrings do not give it.
    #[error("{0}")]
    Keyring(String),
}

/// A passphrase of at least 12 characters.
#[derive(Debug, Clone)]
pub struct Passphrase(Secret<Zeroizing<String>>);

impl Passphrase {
    /// Takes a text that is long enough; line ends behind it do not belong to it.
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        let unfit = |what| Err(PassphraseError::Unfit(what));
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return unfit("is empty");
        }
        if text.chars().count() < PASSPHRASE_CHARS_MIN {
            return unfit("has fewer than 12 characters");
        }
        if text.len() > PASSPHRASE_BYTES_MAX {
            return unfit("has more than 1024 bytes");
        }
        Ok(Self(Secret::new(Zeroizing::new(text.to_owned()))))
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, PassphraseError> {
        if bytes.len() >= READ_BYTES_MAX {
            return Err(PassphraseError::Unfit("has more than 1024 bytes"));
        }
        let text = std::str::from_utf8(bytes);
        Self::new(text.map_err(|_| PassphraseError::Unfit("is not UTF-8"))?)
    }

    /// Reads a file that only its owner can reach, or that systemd gave to this service.
    pub fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !is_private(path, &metadata) {
            return Err(PassphraseError::Reachable(metadata.mode() & 0o777));
        }
        // With room for all of it: a buffer that grows leaves its old bytes behind.
        let mut bytes = Zeroizing::new(Vec::<u8>::with_capacity(2 * READ_BYTES_MAX));
        file.take(READ_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Self::of_bytes(&bytes)
    }

    /// Reads the key of type `user` with this description, from the first that has it of this
    /// process's session keyring, its user's keyring, and its user's persistent keyring.
    pub fn from_keyring(description: &str) -> Result<Self, PassphraseError> {
        let is_long = description.len() > KEYRING_DESCRIPTION_BYTES_MAX;
        if description.is_empty() || is_long || description.chars().any(char::is_control) {
            let detail = "expected the description of a key: 1 to 255 bytes, no control characters";
            return Err(PassphraseError::Keyring(detail.to_owned()));
        }
        let mut bytes = Zeroizing::new([0u8; READ_BYTES_MAX]);
        let length = read_key(description, &mut bytes)?;
        // Of a longer one the kernel says the whole length.
        Self::of_bytes(bytes.get(..length).unwrap_or(bytes.as_slice()))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose().as_str()
    }
}

/// Fills the buffer and gives the length of what the key holds.
fn read_key(
    description: &str,
    buffer: &mut Zeroizing<[u8; READ_BYTES_MAX]>,
) -> Result<usize, PassphraseError> {
    // A key's default rights are those of who has it linked below a keyring of its own. A service
    // has a new session without its user's keyring, so that is linked below this thread's.
    let thread = KeyRing::from_special_id(KeyRingIdentifier::Thread, true).map_err(refused)?;
    let user = Key::from_id(KeySerialId::new(KeyRingIdentifier::User as i32));
    // Where this is refused the key may still give its user the right; the search says so.
    let _ = thread.link_key(user);
    let read = find(description).and_then(|key| key.read(buffer).map_err(refused));
    let _ = thread.clear();
    read
}

fn find(description: &str) -> Result<Key, PassphraseError> {
    let session = KeyRing::from_special_id(KeyRingIdentifier::Session, false);
    let user = KeyRing::from_special_id(KeyRingIdentifier::User, false);
    // A kernel may have been built without it.
    let persistent = KeyRing::get_persistent(KeyRingIdentifier::Thread).ok().map(Ok);
    let mut refusal = None;
    for keyring in [session, user].into_iter().chain(persistent) {
        match keyring.and_then(|keyring| keyring.search(description)) {
            Ok(key) => return Ok(key),
            Err(KernelError::KeyDoesNotExist | KernelError::KeyringDoesNotExist) => {}
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refused(refusal.unwrap_or(KernelError::KeyDoesNotExist)))
}

fn refused(error: KernelError) -> PassphraseError {
    PassphraseError::Keyring(match error {
        KernelError::KeyDoesNotExist | KernelError::KeyringDoesNotExist => {
            "no key of type user has this description in the session's keyring, the user's keyring \
             or the user's persistent keyring"
                .to_owned()
        }
        KernelError::KeyExpired => "the key has expired".to_owned(),
        KernelError::KeyRevoked => "the key was revoked".to_owned(),
        KernelError::AccessDenied => {
            "no permission: the key does not let this process search and read it (keyctl setperm)"
                .to_owned()
        }
        KernelError::Unknown(code) => unusable(&io::Error::from_raw_os_error(code)),
        other => unusable(&other),
    })
}

fn unusable(why: &dyn Display) -> String {
    format!("the kernel's keyrings cannot be used here, as in many containers: {why}")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use linux_keyutils::{KeyPermissionsBuilder, Permission};

    use super::*;

    const GOOD: &str = "correct horse battery";

    fn said(result: Result<Passphrase, PassphraseError>) -> String {
        match result {
            Ok(passphrase) => passphrase.expose().to_owned(),
            Err(error) => format!("refused: {error}"),
        }
    }

    #[test]
    fn a_text_has_to_be_long_enough_and_is_never_shown() {
        let check = |text: &str, expect: &str| {
            let said = said(Passphrase::new(text));
            assert!(said.starts_with(expect), "{text:?}: {said}");
        };
        check("correct horse battery\r\n", "correct horse battery");
        check("", "refused: the passphrase is empty");
        check("\n\n", "refused: the passphrase is empty");
        check("eleven chars", "eleven chars");
        check("too short", "refused: the passphrase has fewer");
        check(&"x".repeat(1024), "xxxx");
        check(&"x".repeat(1025), "refused: the passphrase has more");
        assert!(!format!("{:?}", Passphrase::new(GOOD).unwrap()).contains("horse"));
    }

    #[test]
    fn a_file_has_to_be_private_and_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        let check = |bytes: &[u8], mode: u32, expect: &str| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = said(Passphrase::from_file(&path));
            assert!(said.starts_with(expect), "{mode:o}: {said}");
        };
        assert_eq!(said(Passphrase::from_file(&path)), "refused: it cannot be read");
        check(b"correct horse battery\n", 0o600, GOOD);
        check(b"correct horse battery\n", 0o644, "refused: mode is 0644");
        check(b"correct horse battery\n", 0o640, "refused: mode is 0640");
        check(b"\n", 0o600, "refused: the passphrase is empty");
        check(&[0xff; 40], 0o600, "refused: the passphrase is not UTF-8");
        check(&[b'x'; 5000], 0o600, "refused: the passphrase has more than 1024 bytes");
    }

    #[test]
    fn descriptions_that_no_key_has_are_refused_before_the_kernel_is_asked() {
        let long = "x".repeat(256);
        for description in ["", "a\0b", "a\nb", long.as_str()] {
            let said = said(Passphrase::from_keyring(description));
            assert!(said.starts_with("refused: expected the description"), "{said}");
        }
    }

    #[test]
    fn a_key_of_the_session_is_found_and_each_refusal_has_its_words() {
        let name = format!("veritwin-given-{}", std::process::id());
        let ring = KeyRing::from_special_id(KeyRingIdentifier::Session, true);
        let made = ring.and_then(|ring| Ok((ring, ring.add_key(&name, GOOD)?)));
        let (ring, key) = match made {
            Ok(made) => made,
            Err(error) => {
                println!("skipped: the kernel's keyrings cannot be used here: {error}");
                return;
            }
        };
        let look = || said(Passphrase::from_keyring(&name));
        assert_eq!(look(), GOOD);
        let cases: [(&[u8], &str); 6] = [
            (b"correct horse battery\n", GOOD),
            (b"\n", "refused: the passphrase is empty"),
            (b"too short", "refused: the passphrase has fewer"),
            (&[0xff; 40], "refused: the passphrase is not UTF-8"),
            (&[b'x'; 1025], "refused: the passphrase has more"),
            // A key is replaced by a page at most.
            (&[b'x'; 4096], "refused: the passphrase has more"),
        ];
        for (payload, expect) in cases {
            key.update(&payload).unwrap();
            assert!(look().starts_with(expect), "{}", look());
        }
        key.update(&GOOD.as_bytes()).unwrap();
        let view = KeyPermissionsBuilder::builder().posessor(Permission::VIEW).build();
        key.set_perms(view).unwrap();
        assert!(look().starts_with("refused: no permission"), "{}", look());
        ring.unlink_key(key).unwrap();
        assert!(look().starts_with("refused: no key of type user"), "{}", look());

        let key = ring.add_key(&name, GOOD).unwrap();
        key.revoke().unwrap();
        assert!(look().starts_with("refused: the key was revoked"), "{}", look());
        let key = ring.add_key(&name, GOOD).unwrap();
        key.set_timeout(1).unwrap();
        while look() == GOOD {
            std::thread::yield_now();
        }
        assert!(look().starts_with("refused: the key has expired"), "{}", look());
        ring.unlink_key(key).unwrap();

        // With the rights that a key has by default, whether the session holds that keyring or not.
        let user = KeyRing::from_special_id(KeyRingIdentifier::User, false).unwrap();
        let key = user.add_key(&name, GOOD).unwrap();
        let found = look();
        user.unlink_key(key).unwrap();
        assert_eq!(found, GOOD);
        assert!(look().starts_with("refused: no key of type user"), "{}", look());
    }
}

//! Where the passphrase of the root key comes from, against the binary: the kernel's keyrings, and
//! a file as systemd gives it. Where the kernel lets nobody use keyrings the test says so.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use linux_keyutils::{Key, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, Permission};

use crate::harness::{Mode, Options, Platform, files_below};
use crate::skipped::skipped;

const PASSPHRASE: &str = "grey herons stand in shallow water";
const KEYRING: &str = "VERITWIN__KEYS__PASSPHRASE_KEYRING";
const FILE: &str = "VERITWIN__KEYS__PASSPHRASE_FILE";
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A key in the session keyring of this thread, which the processes that it starts inherit.
struct SessionKey {
    ring: KeyRing,
    key: Key,
}

impl SessionKey {
    fn new(name: &str) -> Option<Self> {
        let ring = KeyRing::from_special_id(KeyRingIdentifier::Session, true);
        match ring.and_then(|ring| Ok((ring, ring.add_key(name, PASSPHRASE)?))) {
            Ok((ring, key)) => Some(Self { ring, key }),
            Err(error) => {
                skipped(&format!("the kernel's keyrings cannot be used here: {error}"));
                None
            }
        }
    }
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        let _ = self.ring.unlink_key(self.key);
    }
}

/// The start is refused in these words, and without a word of the passphrase.
#[track_caller]
fn check_refused(platform: &Platform, expect: &str) {
    let output = platform.cli(&["serve"]);
    assert!(output.code > 0 && output.stderr.contains(expect), "{expect}: {output:?}");
    assert!(!output.stderr.contains("heron"), "{output:?}");
}

#[test]
fn a_passphrase_in_the_kernels_keyrings() {
    let name = format!("veritwin-test-{}", std::process::id());
    let Some(key) = SessionKey::new(&name) else { return };
    let options = Options::default().environment(KEYRING, &name);
    let mut platform = Platform::start(Mode::Serve, options);
    assert!(platform.key_dir().join("root.salt").is_file());
    assert!(!platform.key_dir().join("root.key").exists());
    let doctor = platform.cli(&["doctor"]).done();
    assert!(doctor.contains("in the kernel's keyrings"), "{doctor}");
    let tenant = platform.tenant();
    platform.stop();
    platform.start_again();
    platform.sign_in(&tenant.email, &tenant.password).expect(200);
    platform.stop();

    key.key.update(&b"grey herons stand in deep water").unwrap();
    check_refused(&platform, "not the one that it was made with");
    key.key.update(&b"herons").unwrap();
    check_refused(&platform, "keys.passphrase_keyring: the passphrase has fewer than 12");
    let view = KeyPermissionsBuilder::builder().posessor(Permission::VIEW).build();
    key.key.set_perms(view).unwrap();
    check_refused(&platform, "keys.passphrase_keyring: no permission");
    drop(key);
    check_refused(&platform, "keys.passphrase_keyring: no key of type user");
    let doctor = platform.cli(&["doctor"]);
    assert!(doctor.code > 0 && doctor.stdout.contains("no key of type user"), "{doctor:?}");
    platform.set_environment(KEYRING, None);
    check_refused(&platform, "root.key");

    let key = SessionKey::new(&name).expect("it could be made before");
    platform.set_environment(KEYRING, Some(&name));
    platform.start_again();
    platform.sign_in(&tenant.email, &tenant.password).expect(200);
    platform.stop();
    key.key.revoke().unwrap();
    check_refused(&platform, "keys.passphrase_keyring: the key was revoked");
    for path in files_below(platform.data().parent().unwrap()) {
        let bytes = fs::read(&path).unwrap();
        let is_told = bytes.windows(PASSPHRASE.len()).any(|part| part == PASSPHRASE.as_bytes());
        assert!(!is_told, "{} holds the passphrase", path.display());
    }
}

#[test]
fn a_passphrase_that_systemd_gives() {
    let credentials = tempfile::tempdir().unwrap();
    let folder = credentials.path().to_str().unwrap();
    let path = credentials.path().join("passphrase");
    fs::write(&path, format!("{PASSPHRASE}\n")).unwrap();
    let mode = |mode: u32| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let facts = fs::metadata(&path).unwrap();
    // What systemd writes is root's: only as root can a test make the same.
    let is_roots = facts.uid() == 0 && facts.gid() == 0;
    mode(if is_roots { 0o440 } else { 0o400 });
    let options = Options::default().environment(FILE, path.to_str().unwrap());
    let mut platform = Platform::start(Mode::Serve, options.environment(CREDENTIALS, folder));
    assert!(platform.key_dir().join("root.salt").is_file());
    let doctor = platform.cli(&["doctor"]).done();
    assert!(doctor.contains("passphrase, given by systemd"), "{doctor}");
    platform.stop();

    mode(0o444);
    check_refused(&platform, "mode is 0444");
    mode(0o440);
    if !is_roots {
        check_refused(&platform, "mode is 0440");
        skipped("only root can make a credential that shows a mask");
        return;
    }
    platform.set_environment(CREDENTIALS, None);
    check_refused(&platform, "mode is 0440");
    mode(0o400);
    platform.start_again();
    let doctor = platform.cli(&["doctor"]).done();
    assert!(doctor.contains("in the file") && !doctor.contains("systemd"), "{doctor}");
    platform.stop();
}

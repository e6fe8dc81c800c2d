//! The root key's file: made once, refused when others could read it or when it is not a key.

use std::os::unix::fs::PermissionsExt;

use veritwin_keys::{KekContext, KeyError, PlatformFile, RootProvider, SecretKey};

use crate::support::{Fixture, tenant};

#[test]
fn made_once_with_mode_0600() {
    let fixture = Fixture::new();
    let path = fixture.root_path();
    let first = PlatformFile::open_or_create(&path, fixture.rng()).unwrap();
    let again = PlatformFile::open_or_create(&path, fixture.rng()).unwrap();
    assert_eq!(first.describe(), again.describe());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read(&path).unwrap().len(), 32);
    assert_eq!(std::fs::read_dir(fixture.directory.path()).unwrap().count(), 1);
}

#[test]
fn an_unfinished_creation_does_not_matter() {
    let fixture = Fixture::new();
    std::fs::write(fixture.directory.path().join("root.key.partial"), b"half").unwrap();
    PlatformFile::open_or_create(&fixture.root_path(), fixture.rng()).unwrap();
    assert_eq!(std::fs::read_dir(fixture.directory.path()).unwrap().count(), 1);
}

#[test]
fn refusals_say_what_would_be_right() {
    let check = |content: &[u8], mode: u32, expected: &str| {
        let fixture = Fixture::new();
        let path = fixture.root_path();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = PlatformFile::open_or_create(&path, fixture.rng()).unwrap_err();
        assert!(matches!(error, KeyError::RootFile { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        // A refused file is left as it is.
        assert_eq!(std::fs::read(&path).unwrap(), content);
    };
    check(&[7; 32], 0o640, "run chmod 0600");
    check(&[7; 32], 0o604, "mode is 0604");
    check(&[7; 31], 0o600, "expected exactly 32 bytes, found 31");
    check(&[7; 33], 0o600, "found 33");
    check(&[], 0o600, "found 0");
    check(&[0; 32], 0o600, "only zero bytes");
}

#[test]
fn wrapping_is_bound_to_tenant_and_version() {
    let fixture = Fixture::new();
    let root = PlatformFile::open_or_create(&fixture.root_path(), fixture.rng()).unwrap();
    let kek = SecretKey::generate(&*fixture.rng);
    let context = KekContext { tenant: Some(tenant(1)), version: 3 };
    let wrapped = root.wrap(&context, &kek).unwrap();
    assert_eq!(root.unwrap(&context, &wrapped).unwrap().expose(), kek.expose());
    for other in [
        KekContext { tenant: Some(tenant(2)), ..context },
        KekContext { tenant: None, ..context },
        KekContext { version: 4, ..context },
    ] {
        assert!(matches!(root.unwrap(&other, &wrapped), Err(KeyError::NotAuthentic)));
    }
}

#[test]
fn another_root_does_not_open_the_keyring() {
    let fixture = Fixture::new();
    drop(fixture.open());
    std::fs::remove_file(fixture.root_path()).unwrap();
    let error = fixture.try_open(&fixture.keyring()).unwrap_err();
    assert!(matches!(error, KeyError::NotAuthentic), "{error}");
}

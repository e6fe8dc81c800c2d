//! Whether a file with a secret is its owner's alone. What systemd gives to a service may show the
//! mode 0440: there the group's bits are the mask of an access list, and the group has no right.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where systemd puts the credentials of each service of the machine (systemd.exec(5)).
const CREDENTIALS_OF_SERVICES: &str = "/run/credentials";

/// Whether only its owner, or the service that systemd gave it to, can reach the file. `file` is
/// what was opened at `path`.
pub fn is_private(path: &Path, file: &Metadata) -> bool {
    is_private_given(path, file, own_credentials().as_deref())
}

/// Whether systemd gave the file to a service. How it was stored before cannot be seen from it.
pub fn is_given_by_systemd(path: &Path) -> bool {
    is_credential(path, own_credentials().as_deref())
}

fn own_credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

fn is_private_given(path: &Path, file: &Metadata, credentials: Option<&Path>) -> bool {
    let mode = file.mode() & 0o777;
    let is_masked = mode == 0o440 && file.uid() == 0 && file.gid() == 0;
    mode & 0o077 == 0 || is_masked && is_credential(path, credentials)
}

fn is_credential(path: &Path, credentials: Option<&Path>) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    let Some(folder) = real.parent() else { return false };
    let own = credentials.and_then(|own| own.canonicalize().ok());
    folder.parent() == Some(Path::new(CREDENTIALS_OF_SERVICES))
        || own.is_some_and(|own| own == folder)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_credential_may_show_a_mask_and_nothing_else_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        fs::write(&path, "x").unwrap();
        let check = |mode: u32, credentials: Option<&Path>, expect: bool| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let file = fs::metadata(&path).unwrap();
            assert_eq!(is_private_given(&path, &file, credentials), expect, "{mode:o}");
        };
        let (here, file) = (Some(folder.path()), fs::metadata(&path).unwrap());
        let is_roots = file.uid() == 0 && file.gid() == 0;
        check(0o400, None, true);
        check(0o600, here, true);
        check(0o440, None, false);
        check(0o440, here, is_roots);
        for mode in [0o444, 0o460, 0o640, 0o404] {
            check(mode, here, false);
        }
        let elsewhere = tempfile::tempdir().unwrap();
        check(0o440, Some(elsewhere.path()), false);
        check(0o440, Some(Path::new("")), false);
        if is_roots && chown(&path, None, Some(1)).is_ok() {
            check(0o440, here, false);
        }
    }

    #[test]
    fn a_link_to_a_file_elsewhere_is_no_credential() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (real, link) = (elsewhere.path().join("secret"), folder.path().join("passphrase"));
        fs::write(&real, "x").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(!is_credential(&link, Some(folder.path())));
        assert!(is_credential(&link, Some(elsewhere.path())));
        assert!(!is_credential(&folder.path().join("missing"), Some(folder.path())));
    }
}

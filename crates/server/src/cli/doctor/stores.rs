//! Checks of keyrings, the archive's journal and the log: damage by file and offset, and bytes that
//! a start cut off and kept. Files that a running platform writes are not read.

use std::path::Path;

use veritwin_app::{StoreLook, Stored, kept_cuts, look_at};

use super::Finding;

const CHECK: &str = "files";

pub(super) fn stores(data: &Path, is_running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for stored in Stored::ALL {
        if !is_running {
            findings.extend(look_at(stored, data).map(|look| finding(stored, look)));
        }
        findings.extend(kept(stored, data));
    }
    findings
}

fn finding(stored: Stored, look: StoreLook) -> Finding {
    let name = stored.as_str();
    match look {
        StoreLook::Right => Finding::ok(CHECK, format!("{name}: every checksum is right")),
        StoreLook::Unfinished { path, offset } => Finding::warning(
            CHECK,
            format!("{name}: {} ends in an unfinished write at byte {offset}", path.display()),
            "nothing, after a crash or a loss of power: the next start cuts it off and keeps the \
             bytes beside the file. Otherwise copy the directory first",
        ),
        StoreLook::Damaged(problem) => {
            Finding::error(CHECK, format!("{name}: {problem}"), advice(stored))
        }
    }
}

const fn advice(stored: Stored) -> &'static str {
    match stored {
        Stored::Keyring => {
            "copy the directory, check the disk, and put the newest keyring/keyring.journal back \
             from a backup: a key that was made later is missing then, with what it sealed"
        }
        Stored::ArchiveKeyring | Stored::ArchiveJournal => {
            "copy the directory, check the disk, and put the archive's folder back from its \
             newest backup: an older one that lacks acknowledged entries is refused. Readings are \
             taken meanwhile and sealed later"
        }
        Stored::Log => {
            "copy the directory and check the disk; put the named file back from a copy, or \
             restore the newest backup: readings in and after the damaged place are in no other \
             file"
        }
    }
}

fn kept(stored: Stored, data: &Path) -> Option<Finding> {
    let files = kept_cuts(stored, data);
    let newest = files.last()?.display();
    let (name, count) = (stored.as_str(), files.len());
    let advice = match stored {
        Stored::Log => {
            "the log of that start says at which file and byte: without a loss of power, \
             acknowledged readings may be in it. Look, then move it away"
        }
        _ => "the log of that start says at which file and byte. Look, then move it away",
    };
    let finding = format!("{name}: {count} files of bytes that a start cut off, newest {newest}");
    Some(Finding::warning(CHECK, finding, advice))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn damage_and_cut_bytes_are_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert_eq!(stores(dir.path(), false), []);
        let keyring = dir.path().join("keyring");
        std::fs::create_dir(&keyring).expect("create");
        let check = |journal: &[u8], level: Level, words: &str| {
            std::fs::write(keyring.join("keyring.journal"), journal).expect("write");
            let found = stores(dir.path(), false);
            assert_eq!(found[0].level, level, "{found:?}");
            assert!(found[0].finding.contains(words), "{found:?}");
        };
        check(b"VTKEYR\x00\x01", Level::Ok, "every checksum is right");
        check(b"VTKEYR\x00\x01VTKF\x09", Level::Warning, "unfinished write at byte 8");
        check(b"VTKEYR\x00\x01VTKX\x09", Level::Error, "is damaged at byte 8");
        check(b"VTKEYR\x00\x02", Level::Error, "is damaged at byte 0");
        assert_eq!(stores(dir.path(), true), [], "what a running platform writes is not read");
        std::fs::write(keyring.join("keyring.journal.cut-1"), b"x").expect("write");
        let found = stores(dir.path(), true);
        assert!(found[0].finding.contains("keyring.journal.cut-1"), "{found:?}");
        assert_eq!(found[0].level, Level::Warning);
    }
}

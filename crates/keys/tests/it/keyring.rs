//! The keyring's journal under crashes and damage: cut at every byte, flipped at every byte.

use std::path::Path;

use veritwin_domain::TenantId;
use veritwin_keys::tail::kept;
use veritwin_keys::{
    DataClass, DekId, DekScope, DestructionMethod, Epoch, KeyError, KeyService, seal_value,
};

use crate::support::{Fixture, tenant};

fn scope(tenant: TenantId, day: i64) -> DekScope {
    DekScope::tenant(tenant, DataClass::Log).with_epoch(Epoch::Day(day))
}

/// Opens a keyring whose journal is `bytes`.
fn open_copy(fixture: &Fixture, directory: &Path, bytes: &[u8]) -> Result<KeyService, KeyError> {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("keyring.journal"), bytes).unwrap();
    fixture.try_open(directory)
}

/// Makes some keys; returns the journal and, for each acknowledged key, its length by then.
fn journal_with_keys(fixture: &Fixture) -> (Vec<u8>, Vec<(usize, DekId)>) {
    let service = fixture.open();
    let length = || std::fs::read(fixture.journal()).unwrap().len();
    let mut acknowledged = Vec::new();
    service.create_tenant(tenant(1)).unwrap();
    for day in 0..4 {
        let dek = service.dek(&scope(tenant(1), day)).unwrap();
        acknowledged.push((length(), dek.id()));
    }
    drop(service);
    (std::fs::read(fixture.journal()).unwrap(), acknowledged)
}

#[test]
fn no_acknowledged_key_is_lost_wherever_the_journal_is_cut() {
    let fixture = Fixture::new();
    let (journal, acknowledged) = journal_with_keys(&fixture);
    let copy = fixture.directory.path().join("copy");
    for cut in 8..=journal.len() {
        let service = open_copy(&fixture, &copy, &journal[..cut]).unwrap();
        for (length, id) in &acknowledged {
            if *length <= cut {
                assert_eq!(service.dek_by_id(*id).unwrap().id(), *id, "cut at {cut}");
            } else {
                let error = service.dek_by_id(*id).unwrap_err();
                assert!(matches!(error, KeyError::UnknownDek(_)), "cut at {cut}: {error}");
            }
        }
    }
    // What was cut is gone from the file, and work goes on behind it.
    let service = open_copy(&fixture, &copy, &journal[..journal.len() - 1]).unwrap();
    let replaced = service.dek(&scope(tenant(1), 3)).unwrap().id();
    drop(service);
    let service = fixture.try_open(&copy).unwrap();
    assert_eq!(service.dek(&scope(tenant(1), 3)).unwrap().id(), replaced);
    assert_ne!(replaced, acknowledged[3].1);
}

#[test]
fn a_flipped_byte_is_named_wherever_it_is() {
    let fixture = Fixture::new();
    let (journal, _) = journal_with_keys(&fixture);
    let frames: Vec<usize> =
        (8..journal.len()).filter(|at| journal[*at..].starts_with(b"VTKF")).collect();
    let copy = fixture.directory.path().join("copy");
    for (at, bit) in (0..journal.len()).flat_map(|at| [(at, 0x10), (at, 1)]) {
        let mut damaged = journal.clone();
        damaged[at] ^= bit;
        let expected = frames.iter().rev().find(|frame| **frame <= at).map_or(0, |at| *at as u64);
        match open_copy(&fixture, &copy, &damaged) {
            Err(KeyError::Damaged { offset, .. }) => assert_eq!(offset, expected, "flip at {at}"),
            other => panic!("flip at {at}: {other:?}"),
        }
        assert_eq!(std::fs::read(copy.join("keyring.journal")).unwrap(), damaged);
        assert!(matches!(KeyService::check_files(&copy), Err(KeyError::Damaged { .. })));
    }
    assert_eq!(kept(&copy).unwrap().len(), 0);
}

#[test]
fn what_is_cut_off_the_journal_is_kept_beside_it() {
    let fixture = Fixture::new();
    let (journal, acknowledged) = journal_with_keys(&fixture);
    let copy = fixture.directory.path().join("copy");
    let last = acknowledged[2].0;
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::write(copy.join("keyring.journal"), &journal[..journal.len() - 1]).unwrap();
    assert_eq!(KeyService::check_files(&copy).unwrap(), Some(last as u64));
    assert_eq!(kept(&copy).unwrap().len(), 0, "a check changes nothing");
    drop(fixture.try_open(&copy).unwrap());
    let files = kept(&copy).unwrap();
    assert_eq!(std::fs::read(&files[0]).unwrap(), journal[last..journal.len() - 1]);
    assert_eq!(KeyService::check_files(&copy).unwrap(), None);
    // Zeros that a power loss left instead of the frame are no damage.
    let zeros = [&journal[..last], &[0; 100]].concat();
    drop(open_copy(&fixture, &copy, &zeros).unwrap());
    assert_eq!(std::fs::read(copy.join("keyring.journal")).unwrap(), journal[..last]);
}

#[test]
fn destroyed_keys_are_gone_from_the_file_even_after_a_crash_in_between() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let doomed = service.dek(&scope(tenant(1), 1)).unwrap().id();
    let kept = service.dek(&scope(tenant(1), 2)).unwrap().id();
    let before = std::fs::read(fixture.journal()).unwrap();
    service.destroy(&[doomed], DestructionMethod::KeyDestroyed).unwrap();
    drop(service);
    let after = std::fs::read(fixture.journal()).unwrap();
    let holds = |journal: &[u8], from: &[u8]| journal.windows(from.len()).any(|w| w == from);
    // 32 bytes out of the middle of the doomed key's frame: its wrapped form.
    let at = before.windows(16).position(|window| window == doomed.as_bytes()).unwrap();
    let wrapped = &before[at + 60..at + 92];
    assert!(!holds(&after, wrapped));

    // The crash: the destruction is a fact in the old file, which was not yet replaced.
    let payload = frame_with(&after, doomed);
    let copy = fixture.directory.path().join("copy");
    let crashed = [before.as_slice(), &payload].concat();
    let service = open_copy(&fixture, &copy, &crashed).unwrap();
    assert!(matches!(service.dek_by_id(doomed), Err(KeyError::Destroyed { .. })));
    assert_eq!(service.dek_by_id(kept).unwrap().id(), kept);
    assert!(!holds(&std::fs::read(copy.join("keyring.journal")).unwrap(), wrapped));
}

/// A frame whose payload is the destruction entry of `dek`, as it stands in `journal`.
fn frame_with(journal: &[u8], dek: DekId) -> Vec<u8> {
    let id_at = journal.windows(16).position(|window| window == dek.as_bytes()).unwrap();
    // Kind, id, scope (tenant 17, class 1, unit 1, epoch 9), time 8, method 1, KEK version 4.
    let payload = &journal[id_at - 1..id_at + 16 + 28 + 13];
    assert_eq!(payload[0], 3);
    let length = (payload.len() as u32).to_le_bytes();
    let checksum = crc32fast::hash(&[&length, payload].concat()).to_le_bytes();
    [b"VTKF".as_slice(), &length, &checksum, payload].concat()
}

#[test]
fn the_directory_is_locked() {
    let fixture = Fixture::new();
    let service = fixture.open();
    assert!(matches!(fixture.try_open(&fixture.keyring()), Err(KeyError::Locked(_))));
    drop(service);
    fixture.open();
}

#[test]
fn no_secret_stands_in_the_files_or_in_debug_output() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let subkey = service.platform_subkey("database").unwrap();
    let root = std::fs::read(fixture.root_path()).unwrap();
    let journal = std::fs::read(fixture.journal()).unwrap();
    for secret in [subkey.expose().as_slice(), &root] {
        assert!(!journal.windows(32).any(|window| window == secret));
    }
    let dek = service.dek(&scope(tenant(1), 0)).unwrap();
    let shown = format!("{service:?} {dek:?} {subkey:?} {:?}", service.status(None).unwrap());
    assert!(!shown.contains(&hex::encode(subkey.expose())));
    assert!(!shown.contains(&hex::encode(&root)));
    let aad = veritwin_keys::Aad::new(tenant(1), DataClass::Log, b"");
    let sealed = seal_value(&dek, aad, b"plaintext of a value").unwrap();
    assert!(!sealed.windows(9).any(|window| window == b"plaintext"));
}

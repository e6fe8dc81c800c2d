//! Properties of sealing: what was sealed opens, nothing else does, no nonce repeats.

use std::collections::HashSet;

use proptest::prelude::*;
use veritwin_domain::{FileId, TenantId};
use veritwin_keys::{
    Aad, DataClass, Dek, DekScope, FileHeader, FileKey, FileSealer, KeyError, KeyService,
    SigningKey, open_value, seal_value, sealed_dek_id, verify_signature,
};

use crate::support::{Fixture, tenant};

struct Keys {
    _fixture: Fixture,
    service: KeyService,
    dek: Dek,
    other: Dek,
}

fn keys() -> Keys {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    service.create_tenant(tenant(2)).unwrap();
    let dek = service.dek(&DekScope::tenant(tenant(1), DataClass::Segment)).unwrap();
    let other = service.dek(&DekScope::tenant(tenant(2), DataClass::Segment)).unwrap();
    Keys { _fixture: fixture, service, dek, other }
}

const fn file(number: u8) -> FileId {
    FileId::from_bytes([number; 16])
}

fn aad(tenant: TenantId, context: &[u8]) -> Aad<'_> {
    Aad::new(tenant, DataClass::Segment, context)
}

#[test]
fn files_round_trip_and_nothing_else_opens() {
    let keys = keys();
    let input = (
        any::<u64>(),
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), 0..200),
        any::<prop::sample::Index>(),
    );
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() };
    proptest!(config, |((counter, plain, context, flip) in input)| {
        let key = FileKey::derive(&keys.dek, file(1));
        let mut sealed = Vec::new();
        key.seal(counter, aad(tenant(1), &context), &plain, &mut sealed).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + 16);
        let open = |key: &FileKey, counter, aad: Aad<'_>, sealed: &[u8]| {
            let mut out = b"kept".to_vec();
            let opened = key.open(counter, aad, sealed, &mut out);
            assert!(out.starts_with(b"kept") && (opened.is_ok() || out.len() == 4));
            opened.map(|()| out[4..].to_vec())
        };
        let right = open(&key, counter, aad(tenant(1), &context), &sealed).unwrap();
        prop_assert_eq!(&right, &plain);

        let bit = flip.index(sealed.len() * 8);
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let shorter = &sealed[..sealed.len() - 1];
        let longer_context = [context.as_slice(), b"x"].concat();
        let other_class = Aad::new(tenant(1), DataClass::Log, &context);
        let no_tenant = Aad::new(None, DataClass::Segment, &context);
        let other_file = FileKey::derive(&keys.dek, file(2));
        let other_dek = FileKey::derive(&keys.other, file(1));
        let same = || aad(tenant(1), &context);
        prop_assert!(open(&key, counter, same(), &flipped).is_err());
        prop_assert!(open(&key, counter, same(), shorter).is_err());
        prop_assert!(open(&key, counter.wrapping_add(1), same(), &sealed).is_err());
        prop_assert!(open(&key, counter, aad(tenant(1), &longer_context), &sealed).is_err());
        prop_assert!(open(&key, counter, aad(tenant(2), &context), &sealed).is_err());
        prop_assert!(open(&key, counter, other_class, &sealed).is_err());
        prop_assert!(open(&key, counter, no_tenant, &sealed).is_err());
        prop_assert!(open(&other_file, counter, same(), &sealed).is_err());
        prop_assert!(open(&other_dek, counter, aad(tenant(2), &context), &sealed).is_err());
    });
}

#[test]
fn values_round_trip_and_nothing_else_opens() {
    let keys = keys();
    let input = (
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), 0..200),
        any::<prop::sample::Index>(),
    );
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() };
    proptest!(config, |((plain, context, flip) in input)| {
        let same = || aad(tenant(1), &context);
        let sealed = seal_value(&keys.dek, same(), &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + 61);
        prop_assert_eq!(sealed_dek_id(&sealed).unwrap(), keys.dek.id());
        prop_assert_eq!(open_value(&keys.dek, same(), &sealed).unwrap(), plain.clone());
        prop_assert_ne!(&seal_value(&keys.dek, same(), &plain).unwrap(), &sealed);
        let bit = flip.index(sealed.len() * 8);
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open_value(&keys.dek, same(), &flipped).is_err());
        prop_assert!(open_value(&keys.dek, aad(tenant(2), &context), &sealed).is_err());
        prop_assert!(open_value(&keys.other, aad(tenant(2), &context), &sealed).is_err());
        let cut = flip.index(sealed.len());
        prop_assert!(open_value(&keys.dek, same(), &sealed[..cut]).is_err());
    });
}

#[test]
fn sealing_refuses_a_scope_that_is_not_the_keys() {
    let keys = keys();
    let wrong = |result: Result<Vec<u8>, KeyError>| {
        assert!(matches!(result, Err(KeyError::WrongScope(_))), "{result:?}");
    };
    wrong(seal_value(&keys.dek, aad(tenant(2), b""), b"x"));
    wrong(seal_value(&keys.dek, Aad::new(tenant(1), DataClass::Log, b""), b"x"));
    wrong(seal_value(&keys.dek, Aad::new(None, DataClass::Segment, b""), b"x"));
    let mut out = b"before".to_vec();
    let key = FileKey::derive(&keys.dek, file(1));
    assert!(key.seal(0, aad(tenant(2), b""), b"secret", &mut out).is_err());
    assert_eq!(out, b"before", "no plaintext is left behind");
}

#[test]
fn no_nonce_repeats_in_a_file() {
    let keys = keys();
    let mut sealer = FileSealer::new(FileKey::derive(&keys.dek, file(1)));
    let mut seen = HashSet::new();
    for expected in 0..10_000 {
        let mut out = Vec::new();
        let counter = sealer.seal_next(aad(tenant(1), b""), b"", &mut out).unwrap();
        assert_eq!(counter, expected);
        // Of an empty plaintext only the tag is left: equal tags would be equal nonces.
        assert!(seen.insert(out));
    }
    // A refused sealing uses its number up all the same.
    assert!(sealer.seal_next(aad(tenant(2), b""), b"", &mut Vec::new()).is_err());
    let counter = sealer.seal_next(aad(tenant(1), b""), b"", &mut Vec::new()).unwrap();
    assert_eq!(counter, 10_001);
}

#[test]
fn file_headers_commit_to_their_key() {
    let keys = keys();
    let scope = *keys.dek.scope();
    let (key, header) = keys.service.create_file(&scope, file(3)).unwrap();
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    assert_eq!(bytes.len(), FileHeader::BYTES);
    let read = FileHeader::read(&bytes).unwrap();
    assert_eq!(read, header);
    let mut sealed = Vec::new();
    key.seal(0, aad(tenant(1), b""), b"chunk", &mut sealed).unwrap();
    let mut plain = Vec::new();
    let opened = keys.service.open_file(&read).unwrap();
    opened.open(0, aad(tenant(1), b""), &sealed, &mut plain).unwrap();
    assert_eq!(plain, b"chunk");
    // No byte of the header can change without being noticed.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let outcome = FileHeader::read(&changed).and_then(|read| keys.service.open_file(&read));
        assert!(outcome.is_err(), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(matches!(FileHeader::read(&bytes[..length]), Err(KeyError::Format { .. })));
    }
}

#[test]
fn signing_keys_come_back_from_their_sealed_form() {
    let keys = keys();
    let key = SigningKey::generate(&veritwin_keys::SystemRng);
    let sealed = key.seal(&keys.dek, aad(tenant(1), b"origin")).unwrap();
    let again = SigningKey::from_sealed(&keys.dek, aad(tenant(1), b"origin"), &sealed).unwrap();
    assert_eq!(again.public_bytes(), key.public_bytes());
    assert!(verify_signature(&key.public_bytes(), b"note", &again.sign(b"note")));
    assert!(SigningKey::from_sealed(&keys.dek, aad(tenant(1), b"other"), &sealed).is_err());
}

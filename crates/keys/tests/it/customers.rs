//! Keys of customers above a tenant's KEK: brought ones, held ones, and writing while the service
//! that holds one is silent.

use std::time::Duration;

use veritwin_domain::{Clock, FileId};
use veritwin_keys::{
    Aad, DataClass, DekScope, Epoch, KeyError, KeyLevel, KeyService, KeyState, NewAbove, SecretKey,
    Writing, brought_fingerprint, open_value, seal_value,
};

use crate::support::{Fixture, tenant};

const TTL: Duration = Duration::from_secs(60);

fn record() -> DekScope {
    DekScope::tenant(tenant(1), DataClass::Record)
}

fn today(fixture: &Fixture) -> DekScope {
    let day = fixture.clock.now().day();
    DekScope::tenant(tenant(1), DataClass::Log).with_epoch(Epoch::Day(day))
}

fn sealed(service: &KeyService) -> Vec<u8> {
    let dek = service.dek(&record()).unwrap();
    seal_value(&dek, Aad::new(tenant(1), DataClass::Record, b"row"), b"text").unwrap()
}

fn opened(service: &KeyService, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    let dek = service.dek(&record())?;
    open_value(&dek, Aad::new(tenant(1), DataClass::Record, b"row"), sealed)
}

/// Holds the tenant's key; what a key service would unwrap to.
fn hold(fixture: &Fixture, service: &KeyService) -> SecretKey {
    let kek = service.new_kek(tenant(1)).unwrap();
    let secret = kek.secret().clone();
    let fresh_until = fixture.clock.monotonic() + TTL;
    let above = NewAbove::Held { wrapped: b"at the service".to_vec(), fresh_until };
    service.install_kek(kek, above).unwrap();
    secret
}

fn admit(fixture: &Fixture, service: &KeyService, kek: &SecretKey) -> Result<bool, KeyError> {
    let version = service.wrapped_kek(tenant(1)).unwrap().context.version;
    service.admit(tenant(1), version, kek.clone(), fixture.clock.monotonic() + TTL)
}

#[test]
fn a_held_key_is_wiped_past_its_time_and_comes_back_by_its_service_only() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    service.create_tenant(tenant(2)).unwrap();
    let text = sealed(&service);
    let kek = hold(&fixture, &service);
    assert_eq!(service.level(tenant(1)), KeyLevel::Held);
    assert_eq!(service.wrapped_kek(tenant(1)).unwrap().wrapped, b"at the service");
    assert_eq!(opened(&service, &text).unwrap(), b"text");
    assert!(service.lapse().is_empty());
    fixture.clock.advance(TTL);
    // Already before anybody wipes it.
    assert!(matches!(opened(&service, &text), Err(KeyError::Silent(id)) if id == tenant(1)));
    let changes = service.changes();
    assert_eq!(service.lapse(), [tenant(1)]);
    assert!(service.changes() > changes);
    assert!(service.lapse().is_empty(), "told once");
    let state = service.status(Some(tenant(1))).unwrap().state;
    assert!(matches!(state, KeyState::Silent { .. }), "{state:?}");
    assert!(service.check(tenant(1)).unwrap_err().is_withheld());
    service.check(tenant(2)).unwrap();
    let wrong = SecretKey::from_bytes([9; 32]);
    assert!(matches!(admit(&fixture, &service, &wrong), Err(KeyError::NotAuthentic)));
    assert!(opened(&service, &text).is_err());
    assert!(admit(&fixture, &service, &kek).unwrap(), "it was silent");
    assert_eq!(opened(&service, &text).unwrap(), b"text");
    assert!(matches!(service.rotate_tenant(tenant(1)), Err(KeyError::HeldElsewhere(_))));
    drop(service);
    let service = fixture.open();
    assert!(matches!(opened(&service, &text), Err(KeyError::Silent(_))), "nothing is kept");
    admit(&fixture, &service, &kek).unwrap();
    assert_eq!(opened(&service, &text).unwrap(), b"text");
}

#[test]
fn writing_goes_on_in_silence_and_opens_afterwards() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let kek = hold(&fixture, &service);
    fixture.clock.advance(TTL);
    assert_eq!(service.lapse(), [tenant(1)]);
    let Writing::Spool(spool) = service.writing(&today(&fixture)).unwrap() else {
        panic!("it would need the key");
    };
    let file = FileId::from_bytes([4; 16]);
    let (key, header, wrap) = service.spool_file(&spool, file).unwrap();
    let mut bytes = Vec::new();
    let aad = || Aad::new(tenant(1), DataClass::Log, b"0");
    key.seal(0, aad(), b"reading", &mut bytes).unwrap();
    drop(key);
    assert!(matches!(service.open_spooled(&header, &wrap), Err(KeyError::Silent(_))));
    admit(&fixture, &service, &kek).unwrap();
    assert!(service.open_file(&header).is_err(), "its key is no data key");
    let mut plain = Vec::new();
    service.open_spooled(&header, &wrap).unwrap().open(0, aad(), &bytes, &mut plain).unwrap();
    assert_eq!(plain, b"reading");
    let mut altered = wrap;
    altered[40] ^= 1;
    assert!(matches!(service.open_spooled(&header, &altered), Err(KeyError::NotAuthentic)));
    // The day's key goes, and what was sealed to it with it.
    let dek = service.dek(&today(&fixture)).unwrap().id();
    service.destroy(&[dek], veritwin_keys::DestructionMethod::KeyDestroyed).unwrap();
    assert!(matches!(service.open_spooled(&header, &wrap), Err(KeyError::Destroyed { .. })));
}

#[test]
fn a_refused_or_destroyed_key_stays_so_until_somebody_acts() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let text = sealed(&service);
    let kek = hold(&fixture, &service);
    service.revoke(tenant(1)).unwrap();
    assert!(service.held_tenants().is_empty());
    assert!(matches!(admit(&fixture, &service, &kek), Err(KeyError::Revoked { .. })));
    assert!(matches!(service.writing(&today(&fixture)), Err(KeyError::Revoked { .. })));
    service.restore(tenant(1)).unwrap();
    assert_eq!(service.held_tenants(), [tenant(1)]);
    assert!(matches!(opened(&service, &text), Err(KeyError::Silent(_))));
    // What was asked about another version says nothing of this one.
    assert!(matches!(service.note_gone(tenant(1), 1), Err(KeyError::Replaced(_))));
    assert!(matches!(service.note_refused(tenant(1), 3), Err(KeyError::Replaced(_))));
    assert_eq!(service.held_tenants(), [tenant(1)]);
    service.note_refused(tenant(1), 2).unwrap();
    assert!(matches!(service.check(tenant(1)), Err(KeyError::Revoked { .. })));
    service.restore(tenant(1)).unwrap();
    service.note_gone(tenant(1), 2).unwrap();
    service.note_certificate(tenant(1), "certificate-7").unwrap();
    drop(service);
    let service = fixture.open();
    let gone = service.check(tenant(1)).unwrap_err();
    assert!(
        matches!(&gone, KeyError::Gone { certificate: Some(id), .. } if id == "certificate-7"),
        "{gone:?}"
    );
    service.destroy_tenant(tenant(1)).unwrap();
    let destroyed = service.check(tenant(1)).unwrap_err();
    assert!(matches!(
        destroyed,
        KeyError::TenantDestroyed { certificate: Some(id), .. } if id == "certificate-7"
    ));
}

#[test]
fn a_brought_key_leaves_the_keyring_and_only_it_comes_back() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let text = sealed(&service);
    let key = SecretKey::from_bytes([7; 32]);
    let kek = service.new_kek(tenant(1)).unwrap();
    let late = service.new_kek(tenant(1)).unwrap();
    service.install_kek(kek, NewAbove::Brought(key.clone())).unwrap();
    let again = service.install_kek(late, NewAbove::Platform);
    assert!(matches!(again, Err(KeyError::Replaced(_))), "{again:?}");
    let status = service.status(Some(tenant(1))).unwrap();
    assert_eq!(status.level, KeyLevel::Brought);
    assert_eq!(status.brought, Some(hex(&brought_fingerprint(&key))));
    assert_eq!(service.rotate_tenant(tenant(1)).unwrap().new_version, 3);
    drop(service);
    let service = fixture.open();
    assert_eq!(opened(&service, &text).unwrap(), b"text");
    service.take_away_brought(tenant(1)).unwrap();
    assert!(matches!(service.restore(tenant(1)), Err(KeyError::HeldElsewhere(_))));
    drop(service);
    let service = fixture.open();
    assert!(matches!(opened(&service, &text), Err(KeyError::Revoked { .. })));
    let other = SecretKey::from_bytes([8; 32]);
    assert!(matches!(service.give_back_brought(tenant(1), &other), Err(KeyError::NotAuthentic)));
    service.give_back_brought(tenant(1), &key).unwrap();
    assert_eq!(opened(&service, &text).unwrap(), b"text");
    let kek = service.new_kek(tenant(1)).unwrap();
    service.install_kek(kek, NewAbove::Platform).unwrap();
    assert_eq!(service.level(tenant(1)), KeyLevel::Platform);
    assert_eq!(opened(&service, &text).unwrap(), b"text");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

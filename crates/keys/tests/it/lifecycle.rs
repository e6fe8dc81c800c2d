//! Making, withdrawing, rotating and destroying keys, and what the status says about it.

use std::time::Duration;

use veritwin_domain::{Clock, DeviceId};
use veritwin_keys::{
    Aad, DataClass, DayKey, DekId, DekScope, DestructionMethod, Epoch, KeyError, KeyState,
    ShredUnit, open_value, seal_value,
};

use crate::support::{Fixture, START, tenant};

#[test]
fn one_key_for_each_scope() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    service.create_tenant(tenant(2)).unwrap();
    let base = DekScope::tenant(tenant(1), DataClass::Segment);
    let device = ShredUnit::Device(DeviceId::from_bytes([9; 16]));
    let scopes = [
        base,
        DekScope::tenant(tenant(2), DataClass::Segment),
        DekScope::tenant(tenant(1), DataClass::Record),
        DekScope::platform(DataClass::Segment),
        base.with_unit(device),
        base.with_unit(ShredUnit::Subject([9; 16])),
        base.with_epoch(Epoch::Day(-1)),
        base.with_epoch(Epoch::Month(-1)),
    ];
    let ids: Vec<DekId> = service.deks(&scopes).into_iter().map(|dek| dek.unwrap().id()).collect();
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), scopes.len());
    let subkey = service.platform_subkey("index").unwrap();
    assert_ne!(subkey.expose(), service.platform_subkey("cookies").unwrap().expose());
    drop(service);
    let service = fixture.open();
    for (scope, id) in scopes.iter().zip(&ids) {
        assert_eq!(service.dek(scope).unwrap().id(), *id);
        assert_eq!(service.dek_by_id(*id).unwrap().scope(), scope);
    }
    assert_eq!(subkey.expose(), service.platform_subkey("index").unwrap().expose());
}

#[test]
fn unknown_names_are_refused() {
    let fixture = Fixture::new();
    let service = fixture.open();
    let scope = DekScope::tenant(tenant(1), DataClass::Log);
    assert!(matches!(service.dek(&scope), Err(KeyError::UnknownTenant(id)) if id == tenant(1)));
    assert!(matches!(service.status(Some(tenant(1))), Err(KeyError::UnknownTenant(_))));
    assert!(matches!(service.revoke(tenant(1)), Err(KeyError::UnknownTenant(_))));
    let unknown = DekId::from_bytes([1; 16]);
    assert!(matches!(service.dek_by_id(unknown), Err(KeyError::UnknownDek(_))));
    let destroyed = service.destroy(&[unknown], DestructionMethod::KeyDestroyed);
    assert!(matches!(destroyed, Err(KeyError::UnknownDek(_))));
}

#[test]
fn withdrawal_holds_across_restarts_until_restored() {
    let fixture = Fixture::new();
    let service = fixture.open();
    let scope = DekScope::tenant(tenant(1), DataClass::Log);
    service.create_tenant(tenant(1)).unwrap();
    let id = service.dek(&scope).unwrap().id();
    service.revoke(tenant(1)).unwrap();
    drop(service);
    let service = fixture.open();
    let revoked =
        |error: KeyError| matches!(error, KeyError::Revoked { since, .. } if since == START);
    assert!(revoked(service.dek(&scope).unwrap_err()));
    assert!(revoked(service.dek_by_id(id).unwrap_err()));
    assert!(revoked(service.rotate_tenant(tenant(1)).unwrap_err()));
    assert!(service.dek(&scope).unwrap_err().is_denied());
    let status = service.status(Some(tenant(1))).unwrap();
    assert_eq!(status.state, KeyState::Revoked { since: START });
    service.restore(tenant(1)).unwrap();
    assert_eq!(service.dek(&scope).unwrap().id(), id);
}

#[test]
fn rotation_keeps_data_readable_and_forgets_the_old_version() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let scope = DekScope::tenant(tenant(1), DataClass::Record);
    let aad = || Aad::new(tenant(1), DataClass::Record, b"column");
    let dek = service.dek(&scope).unwrap();
    let sealed = seal_value(&dek, aad(), b"value").unwrap();
    let before = std::fs::read(fixture.journal()).unwrap();
    let rotation = service.rotate_tenant(tenant(1)).unwrap();
    assert_eq!((rotation.old_version, rotation.new_version, rotation.rewrapped_count), (1, 2, 1));
    assert_eq!(service.rotate_platform().unwrap().new_version, 2);
    drop((service, dek));
    let service = fixture.open();
    let dek = service.dek(&scope).unwrap();
    assert_eq!(open_value(&dek, aad(), &sealed).unwrap(), b"value");
    assert_eq!(service.list(Some(tenant(1)))[0].kek_version, 2);
    assert_eq!(service.status(Some(tenant(1))).unwrap().kek_version, 2);
    let after = std::fs::read(fixture.journal()).unwrap();
    let wrapped_before = &before[before.len() - 40..];
    assert!(!after.windows(40).any(|window| window == wrapped_before));
}

#[test]
fn destruction_is_recorded_and_final() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let scope = DekScope::tenant(tenant(1), DataClass::Segment).with_epoch(Epoch::Day(5));
    let id = service.dek(&scope).unwrap().id();
    // Neither another class nor a key without a day is among the days' keys.
    service.dek(&DekScope::tenant(tenant(1), DataClass::Segment)).unwrap();
    service.dek(&DekScope { class: DataClass::Ledger, ..scope }).unwrap();
    let day_key = |dek| DayKey { tenant: tenant(1), day: 5, dek };
    assert_eq!(service.day_keys(DataClass::Segment), [day_key(id)]);
    fixture.clock.advance(Duration::from_secs(60));
    let method = DestructionMethod::RewrittenThenKeyDestroyed;
    let records = service.destroy(&[id, id], method).unwrap();
    assert_eq!(records.len(), 1);
    let record = records[0];
    assert_eq!((record.dek, record.scope, record.method), (id, scope, method));
    assert_eq!(record.at, START.saturating_add(Duration::from_secs(60)));
    assert_eq!(record.kek_version, 1);
    let again = service.destroy(&[id], method);
    assert!(matches!(again, Err(KeyError::Destroyed { at, .. }) if at == record.at));
    assert_eq!(service.day_keys(DataClass::Segment), []);
    // The scope can be used again, under a new key.
    let next = service.dek(&scope).unwrap().id();
    assert_ne!(next, id);
    drop(service);
    let service = fixture.open();
    assert_eq!(service.day_keys(DataClass::Segment), [day_key(next)]);
    assert_eq!(service.destruction(id), Some(record));
    assert!(matches!(service.dek_by_id(id), Err(KeyError::Destroyed { .. })));
    assert_eq!(service.status(Some(tenant(1))).unwrap().destroyed_count, 1);
}

#[test]
fn a_destroyed_tenant_stays_destroyed_and_others_live() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    service.create_tenant(tenant(2)).unwrap();
    let scope = |number| DekScope::tenant(tenant(number), DataClass::Log);
    let id = service.dek(&scope(1)).unwrap().id();
    service.dek(&scope(2)).unwrap();
    let records = service.destroy_tenant(tenant(1)).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].method, DestructionMethod::TenantKeysDestroyed);
    drop(service);
    let service = fixture.open();
    assert!(matches!(service.dek_by_id(id), Err(KeyError::Destroyed { .. })));
    assert!(matches!(service.dek(&scope(1)), Err(KeyError::TenantDestroyed { .. })));
    let created = service.create_tenant(tenant(1));
    assert!(matches!(created, Err(KeyError::TenantDestroyed { .. })));
    let status = service.status(Some(tenant(1))).unwrap();
    assert_eq!((status.kek_version, status.state), (0, KeyState::Destroyed { at: START }));
    assert!(service.dek(&scope(2)).is_ok());
    assert_eq!(service.tenants(), [tenant(1), tenant(2)]);
}

#[test]
fn status_counts_keys_by_class_with_their_ages() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let log = DekScope::tenant(tenant(1), DataClass::Log);
    assert_eq!(service.status(Some(tenant(1))).unwrap().last_used_at, None);
    service.dek(&log.with_epoch(Epoch::Day(1))).unwrap();
    fixture.clock.advance(Duration::from_secs(10));
    service.dek(&log.with_epoch(Epoch::Day(2))).unwrap();
    service.dek(&DekScope::tenant(tenant(1), DataClass::Twin)).unwrap();
    fixture.clock.advance(Duration::from_secs(10));
    service.dek(&log.with_epoch(Epoch::Day(1))).unwrap();
    let status = service.status(Some(tenant(1))).unwrap();
    let later = |seconds| START.saturating_add(Duration::from_secs(seconds));
    assert_eq!(status.kek_created_at, Some(START));
    assert_eq!(status.last_used_at, Some(later(20)));
    assert_eq!(status.root.kind, "platform_file");
    let classes: Vec<_> = status
        .classes
        .iter()
        .map(|class| (class.class, class.count, class.oldest_at, class.newest_at))
        .collect();
    let log = (DataClass::Log, 2, START, later(10));
    assert_eq!(classes, [log, (DataClass::Twin, 1, later(10), later(10))]);
    // The last use is kept with the next change.
    service.create_tenant(tenant(2)).unwrap();
    drop(service);
    let status = fixture.open().status(Some(tenant(1))).unwrap();
    assert_eq!(status.last_used_at, Some(later(20)));
}

#[test]
fn a_retired_key_opens_what_it_sealed_and_seals_nothing_new() {
    let fixture = Fixture::new();
    let service = fixture.open();
    service.create_tenant(tenant(1)).unwrap();
    let scope = DekScope::tenant(tenant(1), DataClass::Segment).with_epoch(Epoch::Day(7));
    let old = service.dek(&scope).unwrap().id();
    let act = [5; 16];
    service.retire(&[old], None).unwrap();
    service.retire(&[old], Some(act)).unwrap();
    // Another act does not take it over.
    service.retire(&[old], Some([6; 16])).unwrap();
    let new = service.dek(&scope).unwrap().id();
    assert_ne!(old, new);
    service.rotate_tenant(tenant(1)).unwrap();
    drop(service);
    // A journal that is read again, and one that was written anew, say the same.
    let service = fixture.open();
    assert_eq!(service.dek_by_id(old).unwrap().scope(), &scope);
    assert_eq!(service.dek(&scope).unwrap().id(), new);
    let retired: Vec<DekId> = service.retired_by(act).iter().map(|one| one.id).collect();
    assert_eq!(retired, [old]);
    assert!(service.is_retired(old) && !service.is_retired(new));
    assert!(service.retired_before(START.saturating_add(Duration::from_secs(1))).is_empty());
    assert_eq!(service.live(&[old, new]).len(), 2);
    service.destroy(&[old], DestructionMethod::RewrittenThenKeyDestroyed).unwrap();
    assert!(service.retired_by(act).is_empty());
    assert_eq!(service.live(&[old, new]), [new]);
    assert_eq!(service.dek(&scope).unwrap().id(), new);
    assert!(matches!(service.retire(&[old], None), Err(KeyError::Destroyed { .. })));
}

#[test]
fn a_tenants_kek_is_due_after_a_destruction_and_not_again() {
    let fixture = Fixture::new();
    let service = fixture.open();
    let later = || fixture.clock.now().saturating_add(Duration::from_secs(1));
    for number in 1..3 {
        service.create_tenant(tenant(number)).unwrap();
        let scope = DekScope::tenant(tenant(number), DataClass::Segment);
        service.dek(&scope).unwrap();
    }
    assert!(service.shredded_since_wrap(later(), 9).is_empty());
    let dek = service.dek(&DekScope::tenant(tenant(2), DataClass::Segment)).unwrap().id();
    service.destroy(&[dek], DestructionMethod::KeyDestroyed).unwrap();
    assert!(service.shredded_since_wrap(START, 9).is_empty(), "wrapped too lately");
    assert_eq!(service.shredded_since_wrap(later(), 9), [tenant(2)]);
    service.rotate_tenant(tenant(2)).unwrap();
    assert!(service.shredded_since_wrap(later(), 9).is_empty());
}

//! Devices that go from one tenant to another: both sides or neither, and neither reads the other.

use veritwin_domain::{CredentialId, DeviceId, Secret};
use veritwin_metastore::{
    ClaimWindow, Credential, CredentialKind, Database, Device, DeviceMove, Error, MoveState,
    TenantTx,
};

use crate::devices::credential;
use crate::postgres;
use crate::world::{START, World, device, everywhere, later};

fn window(device: DeviceId) -> ClaimWindow {
    let (opened_at, expires_at) = (START, later(60));
    ClaimWindow { device, secret_digest: [7; 32], opened_at, expires_at }
}

/// Moves a device with its credentials, up to the commit.
async fn moved(world: &World, from: DeviceId, to: DeviceId) -> TenantTx {
    let tx = world.platform().await.inside(world.tenant).await.expect("inside");
    let known = tx.device_held(from).await.expect("the device");
    let taken = tx.credentials_take(from, later(1)).await.expect("its credentials");
    tx.claim_window_close(from).await.expect("closed");
    let away = DeviceMove {
        device: from,
        other_tenant: world.other,
        other_device: to,
        state: MoveState::Away,
        moved_at: later(1),
    };
    tx.device_move_put(&away).await.expect("kept");
    let tx = tx.above().await.expect("above").inside(world.other).await.expect("inside");
    let own = Device { id: to, ..known };
    tx.device_create(&own).await.expect("a device");
    for one in taken {
        let id = CredentialId::generate(START, world.rng.as_ref());
        let credential = Credential { id, device: to, ..one.credential };
        let hash = one.secret_hash.as_ref();
        let created = tx.credential_create(&credential, one.lookup_digest, hash);
        created.await.expect("its own now");
    }
    let here = DeviceMove {
        device: to,
        other_tenant: world.tenant,
        other_device: from,
        state: MoveState::Here,
        moved_at: later(1),
    };
    tx.device_move_put(&here).await.expect("kept");
    tx
}

#[tokio::test]
async fn a_device_moves_whole_or_not_at_all() {
    everywhere(async |world| {
        let pump = device(world, "Pump");
        let to = DeviceId::generate(START, world.rng.as_ref());
        let (token, basic) = (credential(world, pump.id), credential(world, pump.id));
        let basic = Credential { kind: CredentialKind::Basic, ..basic };
        let hash = Secret::new("$argon2id$hash".to_owned());
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.credential_create(&token, [11; 32], None).await.expect("a token");
        tx.credential_create(&basic, [12; 32], Some(&hash)).await.expect("a password");
        tx.claim_window_open(&window(pump.id)).await.expect("open");
        tx.claim_window_open(&window(pump.id)).await.expect("again");
        assert_eq!(tx.claim_windows(START, 9).await.expect("open"), [window(pump.id)]);
        assert!(tx.claim_windows(later(60), 9).await.expect("past").is_empty());
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        for (tenant, name, expect) in [
            (world.tenant, "PUMP", Some(window(pump.id))),
            (world.tenant, "valve", None),
            (world.other, "Pump", None),
        ] {
            assert_eq!(tx.claim_window_named(tenant, name).await.expect("asked"), expect);
        }
        drop(tx);

        // What is not committed, as when the process is killed, is on neither side.
        drop(moved(world, pump.id, to).await);
        let owner = async |digest: [u8; 32]| {
            let tx = world.platform().await;
            let found = tx.credential_by_digest(digest).await.expect("look-up").expect("found");
            (found.tenant, found.credential.device, found.secret_hash)
        };
        assert_eq!(owner([11; 32]).await, (world.tenant, pump.id, None));
        let tx = world.begin_in(world.other).await;
        assert!(matches!(tx.device(to).await, Err(Error::NotFound { .. })));
        drop(tx);
        let tx = world.read().await;
        assert_eq!(tx.claim_window(pump.id).await.expect("read"), Some(window(pump.id)));
        assert!(tx.device_moves(pump.id).await.expect("read").is_empty());
        drop(tx);

        moved(world, pump.id, to).await.commit().await.expect("commit");
        assert_eq!(owner([11; 32]).await, (world.other, to, None));
        assert_eq!(owner([12; 32]).await, (world.other, to, Some(hash)));
        let tx = world.read().await;
        let former = tx.credentials(pump.id).await.expect("read");
        assert!(former.iter().all(|one| one.revoked_at == Some(later(1))));
        assert_eq!(tx.claim_window(pump.id).await.expect("read"), None);
        assert_eq!(tx.devices_away(9).await.expect("read")[0].other_device, to);
        assert!(matches!(tx.device(to).await, Err(Error::NotFound { .. })));
        assert!(tx.device_moves(to).await.expect("read").is_empty(), "not theirs");
        let away = tx.device_moves(pump.id).await.expect("read");
        drop(tx);
        let tx = world.begin_in(world.other).await;
        let found = tx.device_moved_from(world.tenant, pump.id).await.expect("read");
        assert_eq!(found.map(|one| (one.device, one.state)), Some((to, MoveState::Here)));
        assert!(matches!(tx.device(pump.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.credentials(pump.id).await, Err(Error::NotFound { .. })));
        assert!(tx.devices_away(9).await.expect("read").is_empty());
        // One that was begun inside a tenant does not get out of it.
        assert!(matches!(tx.above().await, Err(Error::Invalid { .. })));
        let above = world.platform().await;
        let there = above.device_is_where_it_went(world.tenant, &away[0]).await;
        assert!(there.expect("asked"));
        let other = DeviceMove { other_tenant: world.tenant, ..away[0] };
        let there = above.device_is_where_it_went(world.tenant, &other).await;
        assert!(!there.expect("asked"), "not another's");
        drop(above);
        // Claimed again from there: where it came from is not forgotten, and each side has one row.
        let tx = world.begin_in(world.other).await;
        for (state, seconds) in [(MoveState::Away, 2), (MoveState::Back, 3)] {
            let again = DeviceMove {
                device: to,
                other_tenant: world.tenant,
                other_device: pump.id,
                state,
                moved_at: later(seconds),
            };
            tx.device_move_put(&again).await.expect("kept");
            let states = tx.device_moves(to).await.expect("read");
            let states: Vec<_> = states.iter().map(|one| one.state).collect();
            assert_eq!(states, [state, MoveState::Here]);
        }
        tx.device_delete(to).await.expect("deleted");
        assert!(tx.device_moves(to).await.expect("gone with it").is_empty());
        tx.commit().await.expect("commit");
        let above = world.platform().await;
        let there = above.device_is_where_it_went(world.tenant, &away[0]).await;
        assert!(!there.expect("asked"), "deleted there");
    })
    .await;
}

#[tokio::test]
async fn with_a_gateway_goes_what_it_asked_for_those_behind_it() {
    everywhere(async |world| {
        let gateway = Device { is_gateway: true, ..device(world, "Gateway") };
        let meter = Device { gateway: Some(gateway.id), ..device(world, "Meter") };
        let tx = world.begin().await;
        tx.device_create(&gateway).await.expect("a gateway");
        tx.device_create(&meter).await.expect("a device");
        tx.claim_window_open(&window(meter.id)).await.expect("open");
        tx.claim_windows_close_behind(meter.id).await.expect("none is behind it");
        assert!(tx.claim_window(meter.id).await.expect("read").is_some());
        tx.commit().await.expect("commit");
        let tx = world.begin_in(world.other).await;
        tx.claim_windows_close_behind(gateway.id).await.expect("nothing of others");
        assert!(!tx.claim_window_close(meter.id).await.expect("nothing of others"));
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(tx.claim_window(meter.id).await.expect("read").is_some());
        tx.claim_windows_close_behind(gateway.id).await.expect("closed");
        assert!(tx.claim_window(meter.id).await.expect("read").is_none());
        assert!(!tx.claim_window_close(meter.id).await.expect("closed before"));
        tx.claim_window_open(&window(meter.id)).await.expect("open");
        tx.device_delete(gateway.id).await.expect("deleted");
        assert!(tx.claim_window(meter.id).await.expect("read").is_none());
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn of_two_writers_in_each_others_way_one_is_told_to_come_again() {
    // SQLite has one writer at a time.
    let Some(server) = postgres::server() else { return };
    let (_, config) = server.config();
    let world = &World::on(Database::Postgres(config), "postgres").await;
    let (pump, fan) = (device(world, "Pump"), device(world, "Fan"));
    let tx = world.begin().await;
    tx.device_create(&pump).await.expect("a device");
    tx.device_create(&fan).await.expect("a device");
    tx.commit().await.expect("commit");
    let (first, second) = (world.begin().await, world.begin().await);
    first.device_held(pump.id).await.expect("held");
    second.device_held(fan.id).await.expect("held");
    // Each changes what the other one holds.
    let both = tokio::join!(first.device_update(&fan, None), second.device_update(&pump, None));
    match both {
        (Ok(_), Err(Error::Collided { what })) | (Err(Error::Collided { what }), Ok(_)) => {
            assert_eq!(what, "devices");
        }
        other => panic!("one of both gives way: {other:?}"),
    }
}

//! Kept calls, packages and gateways: a tenant's own, in their order, and gone with their device.

use veritwin_domain::{CallId, PackageId};
use veritwin_metastore::{CallState, Device, Error, Package, PackageKind, Page, StoredCall};

use crate::world::{START, World, device, everywhere, later};

fn call(world: &World, device: &Device, number: u64) -> StoredCall {
    StoredCall {
        id: CallId::generate(later(number), world.rng.as_ref()),
        device: device.id,
        number,
        state: CallState::Queued,
        body: b"{}".to_vec(),
        attempts: 0,
        expires_at: later(60),
        created_at: START,
        updated_at: START,
    }
}

fn package(world: &World, version: &str) -> Package {
    Package {
        id: PackageId::generate(START, world.rng.as_ref()),
        kind: PackageKind::Firmware,
        title: "Pump".to_owned(),
        version: version.to_owned(),
        checksum_algorithm: "sha256".to_owned(),
        checksum: "00".to_owned(),
        object: "twins/1/package".to_owned(),
        bytes: 7,
        created_at: START,
    }
}

#[tokio::test]
async fn kept_calls_stand_in_their_order_and_end() {
    everywhere(async |world| {
        let pump = device(world, "Pump");
        let (one, two, three) =
            (call(world, &pump, 1), call(world, &pump, 2), call(world, &pump, 3));
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        for call in [&two, &one, &three] {
            tx.call_put(call).await.expect("written");
        }
        let open = tx.calls_open(pump.id, 10).await.expect("read");
        let numbers: Vec<u64> = open.iter().map(|call| call.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        tx.call_put(&StoredCall { state: CallState::Delivered, ..two.clone() }).await.expect("put");
        tx.call_delete(pump.id, three.id).await.expect("withdrawn");
        let again = tx.call_delete(pump.id, three.id).await;
        assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
        assert_eq!(tx.calls_count().await.expect("counted"), (3, 2));
        assert_eq!(tx.call_number_max(pump.id).await.expect("read"), Some(3));
        tx.commit().await.expect("commit");

        let tx = world.begin_in(world.other).await;
        let hidden = tx.call(pump.id, one.id).await;
        assert!(matches!(hidden, Err(Error::NotFound { .. })), "{hidden:?}");
        assert!(tx.calls_open(pump.id, 10).await.expect("none").is_empty());
        assert!(tx.call_by_number(pump.id, 1).await.expect("none").is_none());
        assert!(tx.calls(pump.id, &Page::whole()).await.expect("none").items.is_empty());
        let hidden = tx.call_delete(pump.id, one.id).await;
        assert!(matches!(hidden, Err(Error::NotFound { .. })), "{hidden:?}");
        drop(tx);

        let tx = world.platform().await;
        assert_eq!(tx.calls_due(later(59)).await.expect("counted"), 0);
        assert_eq!(tx.calls_due(later(60)).await.expect("counted"), 2);
        tx.calls_expire(later(60)).await.expect("ended");
        tx.commit().await.expect("commit");
        let listed = world.read().await.calls(pump.id, &Page::whole()).await.expect("read").items;
        let states: Vec<CallState> = listed.iter().map(|call| call.state).collect();
        assert_eq!(states, [CallState::Deleted, CallState::Timeout, CallState::Expired]);
        let tx = world.platform().await;
        assert_eq!(tx.calls_purge(later(60)).await.expect("purged"), 3);
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn packages_are_the_tenants_own() {
    everywhere(async |world| {
        let pump = device(world, "Pump");
        let (old, new) = (package(world, "1"), package(world, "2"));
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.package_create(&old).await.expect("a package");
        tx.package_create(&new).await.expect("a package");
        for one in [&old, &new] {
            tx.package_assign(pump.id, one.kind, one.id).await.expect("assigned");
        }
        let found = tx.package_of(pump.id, PackageKind::Firmware).await.expect("read");
        assert_eq!(found, Some(new.clone()));
        assert_eq!(tx.package_devices(new.id, 10).await.expect("read"), [pump.id]);
        assert_eq!(tx.package_devices_count(old.id).await.expect("counted"), 0);
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        let taken = tx.package_create(&package(world, "2")).await;
        assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
        drop(tx);

        let tx = world.begin_in(world.other).await;
        assert!(tx.packages().await.expect("none").is_empty());
        assert!(matches!(tx.package(new.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.package_delete(new.id).await, Err(Error::NotFound { .. })));
        assert!(tx.package_of(pump.id, new.kind).await.expect("none").is_none());
        assert!(!tx.package_unassign(pump.id, new.kind).await.expect("none"));
        drop(tx);

        let tx = world.begin().await;
        tx.device_delete(pump.id).await.expect("deleted");
        assert_eq!(tx.package_devices_count(new.id).await.expect("counted"), 0);
        tx.package_delete(new.id).await.expect("deleted");
        assert_eq!(tx.packages().await.expect("read"), [old]);
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn devices_behind_a_gateway_outlive_it() {
    everywhere(async |world| {
        let gateway = Device { is_gateway: true, ..device(world, "Gateway") };
        let meter = Device { gateway: Some(gateway.id), ..device(world, "Meter") };
        let tx = world.begin().await;
        tx.device_create(&gateway).await.expect("a device");
        tx.device_create(&meter).await.expect("a device");
        assert!(tx.device(gateway.id).await.expect("read").is_gateway);
        let scada = Device { is_sparkplug_host: true, ..device(world, "SCADA") };
        tx.device_create(&scada).await.expect("a device");
        assert!(tx.device(scada.id).await.expect("read").is_sparkplug_host);
        tx.device_make_host(scada.id, false).await.expect("changed");
        assert!(!tx.device(scada.id).await.expect("read").is_sparkplug_host);
        // A change that had read it before gives nothing back.
        tx.device_update(&scada, None).await.expect("changed");
        assert!(!tx.device(scada.id).await.expect("read").is_sparkplug_host);
        assert_eq!(tx.devices_behind(gateway.id).await.expect("counted"), 1);
        // Who read it before and writes it later does not put it back.
        tx.device_put_behind(meter.id, None).await.expect("taken from it");
        tx.device_update(&meter, None).await.expect("another change");
        assert_eq!(tx.devices_behind(gateway.id).await.expect("counted"), 0);
        tx.device_put_behind(meter.id, Some(gateway.id)).await.expect("put there");
        tx.device_delete(gateway.id).await.expect("deleted");
        assert_eq!(tx.device(meter.id).await.expect("read").gateway, None);
        tx.commit().await.expect("commit");
    })
    .await;
}

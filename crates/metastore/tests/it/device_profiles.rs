//! Profiles of devices: versions, devices with a profile of their own, and other tenants.

use veritwin_domain::DeviceProfileId;
use veritwin_metastore::{DeviceProfile, Error};

use crate::world::{START, device, everywhere};

fn missing(answer: Result<(), Error>) {
    assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_profile_keeps_its_versions_and_goes_with_its_devices() {
    everywhere(async |world| {
        let profile = |body: &[u8]| DeviceProfile {
            id: DeviceProfileId::generate(START, world.rng.as_ref()),
            body: body.to_vec(),
            version: 1,
            created_at: START,
            updated_at: START,
        };
        let (one, two) = (profile(b"one"), profile(b"two"));
        let (pump, fan) = (device(world, "Pump"), device(world, "Fan"));
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.device_create(&fan).await.expect("a device");
        for made in [&one, &two] {
            tx.device_profile_create(made).await.expect("a profile");
            tx.device_profile_version_add(made.id, (1, b"first"), 0).await.expect("a version");
        }
        let changed = DeviceProfile { body: b"changed".to_vec(), ..one.clone() };
        tx.device_profile_update(&changed, Some(1)).await.expect("changed");
        tx.device_profile_version_add(one.id, (2, b"second"), 2).await.expect("a version");
        tx.device_profile_assign(pump.id, one.id).await.expect("assigned");
        tx.device_profile_assign(pump.id, two.id).await.expect("another instead");
        tx.device_profile_assign(fan.id, one.id).await.expect("assigned");
        tx.commit().await.expect("commit");

        let tx = world.begin().await;
        let stale = tx.device_profile_update(&changed, Some(1)).await;
        assert!(stale.is_err(), "{stale:?}");
        drop(tx);
        let tx = world.begin().await;
        let read = tx.device_profile(one.id).await.expect("a profile");
        assert_eq!((read.version, read.body.as_slice()), (2, &b"changed"[..]));
        let versions = tx.device_profile_versions(one.id).await.expect("versions");
        let listed: Vec<(u64, &[u8])> =
            versions.iter().map(|one| (one.version, one.body.as_slice())).collect();
        assert_eq!(listed, [(2, &b"second"[..])], "what is older is gone");
        missing(tx.device_profile_version(one.id, 1).await.map(drop));
        let mut devices = tx.device_profile_devices().await.expect("devices");
        devices.sort();
        let mut expect = [(pump.id, two.id), (fan.id, one.id)];
        expect.sort();
        assert_eq!(devices, expect);
        assert!(!tx.device_profile_unassign(pump.id, one.id).await.expect("it has another"));
        tx.device_delete(pump.id).await.expect("gone");
        tx.device_profile_delete(one.id).await.expect("gone");
        assert!(tx.device_profile_devices().await.expect("none").is_empty());
        assert!(tx.device_profile_versions(one.id).await.expect("none").is_empty());
        assert_eq!(tx.device_profiles().await.expect("the other").len(), 1);
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn another_tenants_profile_is_not_there() {
    everywhere(async |world| {
        let profile = DeviceProfile {
            id: DeviceProfileId::generate(START, world.rng.as_ref()),
            body: b"theirs".to_vec(),
            version: 1,
            created_at: START,
            updated_at: START,
        };
        let pump = device(world, "Pump");
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.device_profile_create(&profile).await.expect("a profile");
        tx.device_profile_version_add(profile.id, (1, b"first"), 0).await.expect("a version");
        tx.device_profile_assign(pump.id, profile.id).await.expect("assigned");
        tx.commit().await.expect("commit");

        let tx = world.begin_in(world.other).await;
        missing(tx.device_profile(profile.id).await.map(drop));
        missing(tx.device_profile_update(&profile, None).await);
        missing(tx.device_profile_delete(profile.id).await);
        missing(tx.device_profile_version(profile.id, 1).await.map(drop));
        assert!(tx.device_profiles().await.expect("none").is_empty());
        assert!(tx.device_profile_versions(profile.id).await.expect("none").is_empty());
        assert!(tx.device_profile_devices().await.expect("none").is_empty());
        assert!(!tx.device_profile_unassign(pump.id, profile.id).await.expect("not theirs"));
        drop(tx);
        // What would hang a row on another tenant's things fails as if they were absent.
        let tx = world.begin_in(world.other).await;
        assert!(tx.device_profile_assign(pump.id, profile.id).await.is_err());
        drop(tx);
        let tx = world.begin_in(world.other).await;
        assert!(tx.device_profile_version_add(profile.id, (2, b"mine"), 0).await.is_err());
        drop(tx);

        let tx = world.begin().await;
        assert_eq!(tx.device_profile(profile.id).await.expect("untouched").body, profile.body);
        assert_eq!(tx.device_profile_versions(profile.id).await.expect("one").len(), 1);
    })
    .await;
}

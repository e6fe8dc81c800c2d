//! The last connections of a device: a tenant's own, bounded, and gone with the device or their
//! time.

use veritwin_domain::ConnectionId;
use veritwin_metastore::{Device, StoredConnection};

use crate::world::{World, device, everywhere, later};

fn connection(world: &World, device: &Device, seconds: u64) -> StoredConnection {
    StoredConnection {
        id: ConnectionId::generate(later(seconds), world.rng.as_ref()),
        device: device.id,
        connected_at: later(seconds),
        ended_at: None,
        body: b"{}".to_vec(),
    }
}

#[tokio::test]
async fn connections_are_listed_trimmed_closed_and_purged() {
    everywhere(async |world| {
        let (pump, fan) = (device(world, "Pump"), device(world, "Fan"));
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.device_create(&fan).await.expect("a device");
        let all: Vec<StoredConnection> =
            (1..=5).map(|number| connection(world, &pump, number)).collect();
        for one in all.iter().chain([&connection(world, &fan, 1)]) {
            tx.connection_put(one).await.expect("written");
        }
        let ended = StoredConnection { ended_at: Some(later(9)), ..all[4].clone() };
        tx.connection_put(&ended).await.expect("written over");
        let listed = tx.connections(pump.id, 2).await.expect("read");
        assert_eq!(listed, [ended.clone(), all[3].clone()]);
        assert_eq!(tx.connections_trim(pump.id, 5).await.expect("none"), 0);
        assert_eq!(tx.connections_trim(pump.id, 3).await.expect("trimmed"), 2);
        assert_eq!(tx.connections(pump.id, 10).await.expect("read").len(), 3);
        assert_eq!(tx.connections(fan.id, 10).await.expect("read").len(), 1);
        tx.commit().await.expect("commit");

        let tx = world.begin_in(world.other).await;
        assert!(tx.connections(pump.id, 10).await.expect("none").is_empty());
        assert_eq!(tx.connections_trim(pump.id, 1).await.expect("none"), 0);
        drop(tx);

        let tx = world.platform().await;
        assert_eq!(tx.connections_close(later(3)).await.expect("closed"), 2, "of both devices");
        tx.commit().await.expect("commit");
        let listed = world.read().await.connections(pump.id, 10).await.expect("read");
        let ends: Vec<_> = listed.iter().map(|one| one.ended_at).collect();
        assert_eq!(ends, [Some(later(9)), None, Some(later(3))]);
        let tx = world.platform().await;
        assert_eq!(tx.connections_purge(later(4)).await.expect("purged"), 3);
        tx.commit().await.expect("commit");

        let tx = world.begin().await;
        tx.device_delete(pump.id).await.expect("deleted");
        tx.commit().await.expect("commit");
        assert!(world.read().await.connections(pump.id, 10).await.expect("none").is_empty());
    })
    .await;
}

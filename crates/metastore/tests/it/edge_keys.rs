//! Keys of edges: a gateway's own, found by their digest, and gone with it.

use veritwin_domain::EdgeKeyId;
use veritwin_metastore::{EdgeKey, Error};

use crate::world::{START, device, everywhere, later};

#[tokio::test]
async fn keys_of_edges_are_their_gateways_own() {
    everywhere(async |world| {
        let gateway = device(world, "Site");
        let key = EdgeKey {
            id: EdgeKeyId::generate(START, world.rng.as_ref()),
            device: gateway.id,
            digest: [7; 32],
            body: b"nothing yet".to_vec(),
            pending_position: None,
            revoked_at: None,
            version: 1,
            created_at: START,
        };
        let tx = world.begin().await;
        tx.device_create(&gateway).await.expect("a device");
        tx.edge_key_create(&key).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        let twin = EdgeKey { id: EdgeKeyId::generate(later(1), world.rng.as_ref()), ..key.clone() };
        let again = tx.edge_key_create(&twin).await;
        assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
        drop(tx);

        let pending = EdgeKey {
            body: b"about to be kept".to_vec(),
            pending_position: Some(9),
            ..key.clone()
        };
        let tx = world.begin().await;
        tx.edge_key_update(&pending).await.expect("written");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(tx.edge_key_update(&pending).await.is_err(), "it changed since");
        drop(tx);
        let found = world.read().await.edge_key(gateway.id, [7; 32]).await.expect("read");
        assert_eq!(found, Some(EdgeKey { version: 2, ..pending }));
        let waiting = world.platform().await.edge_keys_pending(None).await.expect("read");
        assert_eq!(waiting, [(world.tenant, gateway.id, 9)]);
        for (of, count) in [(world.tenant, 1), (world.other, 0)] {
            let waiting = world.platform().await.edge_keys_pending(Some(of)).await.expect("read");
            assert_eq!(waiting.len(), count);
        }

        let tx = world.begin_in(world.other).await;
        assert!(tx.edge_keys(gateway.id).await.expect("none").is_empty());
        assert!(tx.edge_key(gateway.id, [7; 32]).await.expect("none").is_none());
        let hidden = tx.edge_key_update(&EdgeKey { version: 2, ..key.clone() }).await;
        assert!(matches!(hidden, Err(Error::NotFound { .. })), "{hidden:?}");
        drop(tx);

        let tx = world.begin().await;
        tx.device_delete(gateway.id).await.expect("deleted");
        tx.commit().await.expect("commit");
        let waiting = world.platform().await.edge_keys_pending(None).await.expect("read");
        assert!(waiting.is_empty(), "gone with the gateway");
    })
    .await;
}

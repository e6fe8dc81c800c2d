//! A text is found in whichever sealed column it stands, of its own tenant alone; in none whose key
//! is destroyed.

use veritwin_domain::{Rng, UserId};
use veritwin_keys::{DekId, DestructionMethod, ShredUnit};
use veritwin_metastore::{
    AlertState, AttributeScope, LinkKind, OneTimeLink, SealedPlace, TenantTx,
};

use crate::alerting::{alert, rule};
use crate::platform::record;
use crate::world::{START, World, device, everywhere, later};

async fn places(tx: &TenantTx) -> Vec<SealedPlace> {
    let found = tx.sealed_holding(&["too warm".to_owned()]).await.expect("looked through");
    found.into_iter().collect()
}

/// One value under the tenant's key bound to each form of a row's key, one under a person's.
async fn fill(world: &World, invited: UserId) {
    let pump = device(world, "Pump");
    let link = OneTimeLink {
        kind: LinkKind::Invitation,
        tenant: None,
        user: Some(invited),
        payload: b"for who is too warm".to_vec(),
        created_at: START,
        expires_at: later(60),
        used_at: None,
    };
    let mut digest = [0; 32];
    world.rng.fill(&mut digest);
    let tx = world.begin().await;
    tx.device_create(&pump).await.expect("a device");
    let body = br#"{"k":["t","too warm"]}"#;
    tx.attributes_put(pump.id, AttributeScope::Server, body, None).await.expect("attributes");
    tx.rule_create(&rule(world)).await.expect("a rule");
    tx.alert_create(&alert(world, AlertState::Cleared, 0)).await.expect("an alert");
    tx.activity_add(&record(world, 1)).await.expect("a record");
    tx.setting_put("mail", b"too warm", None).await.expect("a setting");
    tx.link_create(&link, digest).await.expect("a link");
    tx.commit().await.expect("commit");
}

#[tokio::test]
async fn a_text_is_found_wherever_it_is_sealed() {
    everywhere(async |world| {
        let invited = UserId::generate(START, world.rng.as_ref());
        fill(world, invited).await;
        let tx = world.read().await;
        let with_link = [
            ("alerts", "detail"),
            ("attributes", "body"),
            ("one_time_links", "payload"),
            ("rules", "body"),
            ("settings", "body"),
        ];
        assert_eq!(places(&tx).await, with_link);
        let links = tx.links_written(LinkKind::Invitation, None, 9).await.expect("read");
        assert!(links[0].1.as_ref().is_some_and(|link| link.user == Some(invited)));
        drop(tx);
        let other = world.begin_in(world.other).await;
        assert!(places(&other).await.is_empty());
        drop(other);

        let unit = ShredUnit::Subject(*invited.as_bytes());
        let own = world.keys.list(None).into_iter().filter(|key| key.scope.unit == unit);
        let own: Vec<DekId> = own.map(|key| key.id).collect();
        world.keys.destroy(&own, DestructionMethod::KeyDestroyed).expect("destroyed");
        let tx = world.read().await;
        assert!(!places(&tx).await.contains(&("one_time_links", "payload")));
        let links = tx.links_written(LinkKind::Invitation, None, 9).await.expect("read");
        assert!(links.len() == 1 && links[0].1.is_none());
        let behind = tx.links_written(LinkKind::Invitation, Some(links[0].0), 9).await;
        assert!(behind.expect("read").is_empty());
    })
    .await;
}

//! Another tenant's ids: every operation answers as if they did not exist, and changes nothing.

use veritwin_domain::{ApiKeyId, Role};
use veritwin_metastore::{
    ActivityFilter, AlertEvent, AlertEventKind, AlertFilter, AlertState, ApiKey, AttributeScope,
    DeviceFilter, Error, Page, TenantTx,
};

use crate::accounts::{session, user};
use crate::alerting::{alert, rule};
use crate::devices::{credential, twin};
use crate::platform::record;
use crate::world::{START, World, device, everywhere, later};

fn hidden<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::NotFound { .. })), "{what}: {answer:?}");
}

fn api_key(world: &World) -> ApiKey {
    ApiKey {
        id: ApiKeyId::generate(START, world.rng.as_ref()),
        name: "key".to_owned(),
        role: Role::Operator,
        created_at: START,
        expires_at: None,
        last_used_at: None,
        last_used_from: None,
        maker: None,
        maker_key: None,
        addresses: Vec::new(),
    }
}

/// No records, holds, incidents or support of anybody else.
async fn no_cases(tx: &TenantTx, page: &Page) {
    assert!(tx.holds().await.expect("none").is_empty());
    assert!(tx.incidents(page).await.expect("none").items.is_empty());
    assert!(tx.security_alerts(page).await.expect("none").items.is_empty());
    assert!(tx.tickets().await.expect("none").is_empty());
    assert!(tx.grants().await.expect("none").is_empty());
}

#[tokio::test]
async fn everything_of_another_tenant_is_not_found() {
    everywhere(async |world| {
        let page = Page::whole();
        let (pump, home, warm) = (device(world, "Pump"), twin(world, "Home"), rule(world));
        let raised = alert(world, AlertState::ActiveUnacknowledged, 0);
        let token = credential(world, pump.id);
        let key = api_key(world);
        let event =
            AlertEvent { at: START, kind: AlertEventKind::Commented, by: None, comment: None };
        let ada = user(world, "ada@example.org");
        let tx = world.platform().await;
        tx.user_create(&ada).await.expect("an account");
        tx.membership_add(world.tenant, ada.id, Role::Operator).await.expect("a role");
        tx.session_create(&session(world, ada.id), [3; 32]).await.expect("a session");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.credential_create(&token, [1; 32], None).await.expect("a credential");
        tx.attributes_put(pump.id, AttributeScope::Server, b"{}", None).await.expect("attributes");
        tx.twin_create(&home).await.expect("a twin");
        tx.rule_create(&warm).await.expect("a rule");
        tx.alert_create(&raised).await.expect("an alert");
        tx.alert_event_add(raised.id, &event).await.expect("an event");
        tx.api_key_create(&key, [2; 32]).await.expect("a key");
        tx.activity_add(&record(world, 1)).await.expect("a record");
        tx.setting_put("mail", b"1", None).await.expect("a setting");
        tx.offset_advance("alerts", 5).await.expect("an offset");
        tx.commit().await.expect("commit");

        let tx = world.begin_in(world.other).await;
        hidden("device", tx.device(pump.id).await);
        hidden("device", tx.device_held(pump.id).await);
        hidden("device update", tx.device_update(&pump, Some(1)).await);
        hidden("device update, any version", tx.device_update(&pump, None).await);
        hidden("device host", tx.device_make_host(pump.id, true).await);
        hidden("device delete", tx.device_delete(pump.id).await);
        hidden("credentials", tx.credentials(pump.id).await);
        hidden("revoke", tx.credential_revoke(pump.id, token.id, later(1)).await);
        hidden("credential", tx.credential(pump.id, token.id).await);
        hidden("credential update", tx.credential_update(&token).await);
        assert!(tx.credentials_in_force(&[token.id]).await.expect("none").is_empty());
        tx.credential_used(token.id, later(7), Some(later(8))).await.expect("nothing happens");
        hidden("attributes", tx.attributes(pump.id).await);
        hidden("twin", tx.twin(home.id).await);
        hidden("twin update", tx.twin_update(&home, None).await);
        hidden("twin delete", tx.twin_delete(home.id).await);
        hidden("rule", tx.rule(warm.id).await);
        hidden("rule update", tx.rule_update(&warm, None).await);
        hidden("rule delete", tx.rule_delete(warm.id).await);
        hidden("alert", tx.alert(raised.id).await);
        hidden("alert update", tx.alert_update(&raised, None).await);
        hidden("alert event", tx.alert_event_add(raised.id, &event).await);
        hidden("alert events", tx.alert_events(raised.id).await);
        hidden("api key", tx.api_key(key.id).await);
        hidden("api key delete", tx.api_key_delete(key.id).await);
        hidden("member", tx.member(ada.id).await);
        hidden("member remove", tx.member_remove(ada.id).await);
        tx.device_seen(pump.id, later(7)).await.expect("nothing happens");
        assert_eq!(tx.device_by_name("Pump").await.expect("look-up"), None);
        assert!(tx.devices_by_id(&[pump.id]).await.expect("none").is_empty());
        assert!(tx.devices(&DeviceFilter::default(), &page).await.expect("none").items.is_empty());
        assert_eq!(tx.device_counts().await.expect("none").0, 0);
        assert!(tx.twins(&page).await.expect("none").items.is_empty());
        assert!(tx.rules(&page).await.expect("none").items.is_empty());
        assert!(tx.alerts(AlertFilter::All, &page).await.expect("none").items.is_empty());
        assert!(tx.api_keys(&page).await.expect("none").items.is_empty());
        assert!(tx.members(&page).await.expect("none").items.is_empty());
        assert!(
            tx.activity(&ActivityFilter::default(), &page).await.expect("none").items.is_empty()
        );
        no_cases(&tx, &page).await;
        assert_eq!(tx.setting("mail").await.expect("none"), None);
        assert_eq!(tx.offset("alerts").await.expect("none"), None);
        tx.commit().await.expect("commit");

        // What would hang a row on another tenant's device fails as if that device were absent.
        let tx = world.begin_in(world.other).await;
        hidden("credential", tx.credential_create(&token, [9; 32], None).await);
        drop(tx);
        let tx = world.begin_in(world.other).await;
        let scope = AttributeScope::Server;
        hidden("attributes", tx.attributes_put(pump.id, scope, b"{}", None).await);
        drop(tx);

        let tx = world.read().await;
        assert_eq!(tx.device(pump.id).await.expect("untouched"), pump);
        assert_eq!(tx.rule(warm.id).await.expect("untouched"), warm);
        assert_eq!(tx.alert(raised.id).await.expect("untouched"), raised);
        assert_eq!(tx.credentials(pump.id).await.expect("untouched"), [token]);
        assert_eq!(tx.alert_events(raised.id).await.expect("untouched"), [event]);
        assert_eq!(tx.twin(home.id).await.expect("untouched"), home);
        assert_eq!(tx.members(&page).await.expect("untouched").items.len(), 1);
    })
    .await;
}

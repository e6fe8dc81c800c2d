//! Declarations of streams, judged as of the transaction of a change.

use veritwin_domain::StreamRuleId;
use veritwin_governance::streams::{GroupRule, Statement};
use veritwin_metastore::{Device, StreamRule};
use veritwin_telemetry::Point;

use super::*;
use crate::Error;
use crate::stream_book::to_store;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_device_is_judged_by_what_is_declared_in_its_transaction() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context) = (&world.app, &customer.context);
    world.send(&customer, 30.0).await;
    // Who changes it has read a book without the rule.
    let sight = app.sight(context).await.expect("a sight");
    let tx = app.0.store.begin(context).await.expect("records");
    let known = tx.device(customer.device).await.expect("a device");
    let stood = Device { declaration: Declaration::Undeclared, kind: "watch".to_owned(), ..known };
    let changed = Device { kind: "climate".to_owned(), ..stood.clone() };
    let renamed = Device { name: "another name".to_owned(), ..stood.clone() };
    let ask = async |changed: &Device| {
        app.authorize_protection(&tx, context, &sight, (&stood, changed)).await
    };
    ask(&changed).await.expect("as closed as before");
    let by = "user:1".to_owned();
    let statement = Statement { is_personal: false, subject: None, by, at_us: 1 };
    let rule = GroupRule { device_type: Some("climate".to_owned()), key: None, statement };
    let id = StreamRuleId::generate(context.at, app.rng());
    let body = to_store(&rule).expect("a body");
    let made = tx.stream_rule_create(&StreamRule { id, body, created_at: context.at }).await;
    made.expect("a rule");
    let refused = ask(&changed).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    ask(&renamed).await.expect("it counts as it did");
    drop(tx);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_that_is_too_long_is_looked_through_as_far_as_allowed_and_says_so() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context) = (&world.app, &customer.context);
    let sent = [1.0, 2.0, 3.0, 4.0];
    world.send_all(&customer, &sent).await;
    let sight = app.sight(context).await.expect("a sight");
    let tx = app.0.store.read(context).await.expect("records");
    let device = tx.device(customer.device).await.expect("a device");
    drop(tx);
    let key = Key::new(KEY).expect("a key");
    let seen = sight.series(&device, &key).expect("it is open");
    for (readings_max, expect) in [(2, (2, true)), (3, (3, true)), (5, (4, false))] {
        let mut values = Vec::new();
        let add = |point: &Point| values.push(point.value.as_f64());
        let found = app.each_point(&seen, readings_max, add).await.expect("read");
        assert_eq!(found, expect, "{readings_max}");
        let wanted: Vec<Option<f64>> = sent[..expect.0].iter().copied().map(Some).collect();
        assert_eq!(values, wanted, "the beginning of it");
    }
    world.app.close().await;
}

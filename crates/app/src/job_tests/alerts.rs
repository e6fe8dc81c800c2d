//! Alerts: one tenant's trouble is its own, and what an alert tells.

use veritwin_alerting::{Evaluator, EvaluatorLimits};
use veritwin_metastore::AlertEventKind;

use super::*;
use crate::alerts::Detail;

async fn alerts_with(trouble: Trouble, restart: bool) {
    let mut world = World::new().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    let first = world.send(&bad, 30.0).await;
    world.send(&good, 30.0).await;
    let healthy = Evaluator::new(EvaluatorLimits::default()).snapshot().expect("a snapshot");
    let healthy = String::from_utf8(healthy).expect("text");
    let healthy = serde_json::json!({"snapshot": healthy, "open": []}).to_string();
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.revoke(bad.tenant()).expect("revoked"),
        _ => world.setting(&bad, crate::alert_state::SETTING, b"{").await,
    }
    world.app.start_alerts().await.expect("one tenant stops no start");
    world.only_alert(&good, AlertState::ActiveUnacknowledged).await;
    world.send(&good, 20.0).await;
    world.only_alert(&good, AlertState::ClearedUnacknowledged).await;
    assert_eq!(world.held(), [("alerts", bad.tenant())].into(), "{trouble:?}");
    assert_eq!(world.app.readiness(), Ok(()), "{trouble:?}");
    if restart {
        world = world.reopen().await;
        assert!(world.offset("alerts").await.is_some_and(|at| at <= first), "{trouble:?}");
        world.app.start_alerts().await.expect("again");
    }
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.restore(bad.tenant()).expect("restored"),
        _ => world.setting(&bad, crate::alert_state::SETTING, healthy.as_bytes()).await,
    }
    world.only_alert(&bad, AlertState::ActiveUnacknowledged).await;
    world.until("the release", async || world.held().is_empty().then_some(())).await;
    world.only_alert(&good, AlertState::ClearedUnacknowledged).await;
    // It goes on like everybody.
    world.send(&bad, 20.0).await;
    world.only_alert(&bad, AlertState::ClearedUnacknowledged).await;
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    assert_eq!(world.offset("alerts").await, Some(tail), "{trouble:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_the_others_go_on() {
    for trouble in [Trouble::KeyRevoked, Trouble::RecordDamaged] {
        for restart in [false, true] {
            alerts_with(trouble, restart).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_that_flaps_holds_up_nobody() {
    let world = World::new().await;
    let (flood, quiet) = (world.customer("Flood").await, world.customer("Quiet").await);
    world.app.start_alerts().await.expect("started");
    let values: Vec<f64> = (0..=100_000).map(|turn| [30.0, 20.0][turn % 2]).collect();
    world.send_all(&flood, &values).await;
    world.send(&quiet, 30.0).await;
    world.only_alert(&quiet, AlertState::ActiveUnacknowledged).await;
    let alert = world.only_alert(&flood, AlertState::ActiveUnacknowledged).await;
    let tx = world.app.0.store.read(&flood.context).await.expect("records");
    let events = tx.alert_events(alert.id).await.expect("events");
    let told: Vec<_> = events.iter().map(|event| (event.kind, event.comment.as_deref())).collect();
    let (raised, cleared) = (AlertEventKind::Raised, AlertEventKind::Cleared);
    assert_eq!(told, [(raised, None), (cleared, None), (raised, Some("left_out 99998"))]);
    drop(tx);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_alert_tells_of_now() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    world.app.start_alerts().await.expect("started");
    let told =
        |alert: &Alert| serde_json::from_slice::<Detail>(&alert.detail).expect("a detail").value;
    world.send(&customer, 30.0).await;
    let first = world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    assert_eq!(told(&first), Some(30.0));
    world.send(&customer, 20.0).await;
    world.only_alert(&customer, AlertState::ClearedUnacknowledged).await;
    world.send(&customer, 35.0).await;
    let at = world.app.clock().now();
    let again = world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    assert_eq!((again.id, told(&again)), (first.id, Some(35.0)));
    assert_eq!((again.raised_at, again.cleared_at), (at, None));
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let events = tx.alert_events(again.id).await.expect("events");
    let raised = events.iter().filter(|event| event.kind == AlertEventKind::Raised);
    let times: Vec<Timestamp> = raised.map(|event| event.at).collect();
    assert_eq!(times, [first.raised_at, at]);
    drop(tx);
    world.app.close().await;
}

/// What ends an alert from outside.
#[derive(Debug, Clone, Copy)]
enum End {
    RuleDeleted,
    RuleOff,
    DeviceDeleted,
}

/// It ends while the job does not run, as in a crash between that and the next write of the job's
/// state.
async fn orphaned(end: End) {
    let mut world = World::new().await;
    let customer = world.customer("Only").await;
    world.app.start_alerts().await.expect("started");
    world.send(&customer, 30.0).await;
    world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    world = world.reopen().await;
    let (app, context) = (world.app.clone(), &customer.context);
    match end {
        End::RuleDeleted => app.delete_rule(context, customer.rule).await.expect("deleted"),
        End::RuleOff => {
            app.replace_rule(context, customer.rule, rule(false), None).await.expect("off");
        }
        End::DeviceDeleted => {
            let tx = app.0.store.begin(context).await.expect("records");
            tx.device_delete(customer.device).await.expect("deleted");
            tx.commit().await.expect("written");
        }
    }
    drop(app);
    world = world.reopen().await;
    world.app.start_alerts().await.expect("started");
    // Nobody is asked to acknowledge what is about nothing any more.
    let (state, reason) = match end {
        End::DeviceDeleted => (AlertState::Cleared, "device_removed"),
        End::RuleDeleted | End::RuleOff => (AlertState::ClearedUnacknowledged, "rule_changed"),
    };
    let alert = world.only_alert(&customer, state).await;
    let told = world
        .until("the end", async || {
            let tx = world.app.0.store.read(&customer.context).await.expect("records");
            let events = tx.alert_events(alert.id).await.expect("events");
            let last = events.last().filter(|event| event.kind == AlertEventKind::Cleared)?;
            Some(last.comment.clone())
        })
        .await;
    assert_eq!(told.as_deref(), Some(reason), "{end:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_whose_rule_or_device_went_in_a_crash_are_cleared_at_the_start() {
    for end in [End::RuleDeleted, End::RuleOff, End::DeviceDeleted] {
        orphaned(end).await;
    }
}

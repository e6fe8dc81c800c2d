//! Routing: what a rule wants is queued once, goes to nobody who may not be called, is parked then,
//! and goes with its device.

use std::time::Duration;

use veritwin_domain::{RouteDestinationId, RouteMessageId, RouteRuleId};
use veritwin_metastore::{
    RouteDestination, RouteFailure, RouteLane, RouteMessage, RouteMessageState, RouteParkedFilter,
    RouteRule,
};

use super::{Customer, Page, World};
use crate::mail::MailPayload;
use crate::mail_kinds::MessageKind;
use crate::route_mail::without_messages;
use crate::route_match::Matched;
use crate::route_places::{StoredDestination, StoredKind};
use crate::route_queue::{ROUTE_MESSAGES_MAX, RoomLeft};
use crate::route_rules::{StoredMatch, StoredRule};
use crate::{App, Error};

/// A rule for everything to a place that may not be called.
async fn register(app: &App, customer: &Customer) -> (RouteRuleId, RouteDestinationId) {
    let at = app.clock().now();
    let place = StoredDestination {
        kind: StoredKind::Webhook,
        name: "home".to_owned(),
        recipient: "nobody".to_owned(),
        purpose: "none".to_owned(),
        url: "https://127.0.0.1/".to_owned(),
        instructed_by: "nobody".to_owned(),
        instructed_at_us: 0,
    };
    let place = RouteDestination {
        id: RouteDestinationId::generate(at, app.rng()),
        body: place.bytes().expect("a body"),
        secret: vec![7; 32],
        enabled: true,
        version: 1,
        created_at: at,
    };
    let (devices, groups) = (Vec::new(), Vec::new());
    let (types, keys, attributes) = (Vec::new(), Vec::new(), Vec::new());
    let rule = StoredRule {
        name: "all".to_owned(),
        matches: StoredMatch::Readings { devices, groups, types, twin: None, keys, attributes },
        expression: Some("values.t > 25.0".to_owned()),
        destinations: vec![place.id],
    };
    let rule = RouteRule {
        id: RouteRuleId::generate(at, app.rng()),
        body: rule.bytes().expect("a body"),
        enabled: true,
        version: 1,
        created_at: at,
    };
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.route_destination_create(&place).await.expect("a place");
    tx.route_rule_create(&rule).await.expect("a rule");
    tx.commit().await.expect("written");
    (rule.id, place.id)
}

fn matched(customer: &Customer, position: u64) -> Matched {
    let body = Some(b"{}".to_vec());
    Matched { rule: 0, device: customer.device, position, part: 0, body }
}

async fn lane(app: &App, customer: &Customer) -> Option<RouteLane> {
    let tx = app.0.store.read(&customer.context).await.expect("records");
    tx.route_lanes().await.expect("lanes").first().copied()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_called_is_parked_and_counted_once() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    register(&world.app, &customer).await;
    world.app.start_routes().await.expect("started");
    world.send(&customer, 20.0).await;
    world.send(&customer, 30.0).await;
    let parked = world
        .until("a parked message", async || {
            world.clock.advance(Duration::from_secs(60));
            lane(&world.app, &customer).await.filter(|lane| lane.parked > 0)
        })
        .await;
    assert_eq!((parked.matched, parked.delivered, parked.retried), (1, 0, 2));
    assert_eq!(parked.last_error, Some(RouteFailure::NotAllowed));
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let all = RouteParkedFilter::default();
    let items = tx.route_messages_parked(all, &Page::whole()).await.expect("listed").items;
    assert_eq!(items.iter().map(|one| one.device).collect::<Vec<_>>(), [customer.device]);
    drop(tx);
    let world = world.reopen().await;
    world.app.start_routes().await.expect("again");
    world.send(&customer, 31.0).await;
    let more = world
        .until("the next message", async || {
            lane(&world.app, &customer).await.filter(|lane| lane.matched > 1)
        })
        .await;
    assert_eq!(more.matched, 2, "what was before is not taken up again");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_says_twice_is_queued_once_and_goes_with_its_device() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let app = &world.app;
    register(app, &customer).await;
    let rules = app.load_routes(customer.tenant()).await.expect("rules");
    let mut room = RoomLeft::default();
    for positions in [[5, 6], [6, 7]] {
        let wanted = positions.map(|position| matched(&customer, position)).into();
        let queued = app.queue_routes(("routes", &customer.context), &rules, wanted, &mut room);
        queued.await.expect("queued");
    }
    let waiting = async || {
        let tx = app.0.store.read(&customer.context).await.expect("records");
        tx.route_room(RouteMessageState::Waiting).await.expect("weighed").messages
    };
    assert_eq!(waiting().await, 3);
    assert_eq!(lane(app, &customer).await.map(|lane| lane.matched), Some(3));
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.device_delete(customer.device).await.expect("gone");
    tx.commit().await.expect("written");
    assert_eq!(waiting().await, 0);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_waits_says_nothing_of_a_device_that_was_deleted() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, device) = (&world.app, customer.device.to_string());
    let row = serde_json::json!({"device": device, "keys": ["t"], "line": "pump  t 31"});
    let routed =
        serde_json::json!({"rule": "Heat", "destination": "Home", "more": 2, "rows": [row]});
    let mut mail = MailPayload {
        to: "ops@example.org".to_owned(),
        routed: Some(serde_json::from_value(routed).expect("a mail")),
        ..MailPayload::of(MessageKind::Alert)
    };
    app.conceal_routed(customer.tenant(), &mut mail).await.expect("judged");
    assert!(mail.text.contains("t 31") && mail.text.contains("Not shown here: 2"), "{mail:?}");
    let rest = without_messages(&mail).expect("of a rule").expect("text");
    assert!(!String::from_utf8_lossy(&rest).contains("t 31"));
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.device_delete(customer.device).await.expect("gone");
    tx.commit().await.expect("written");
    app.note_devices_changed(customer.tenant(), None);
    app.conceal_routed(customer.tenant(), &mut mail).await.expect("judged");
    assert!(!mail.text.contains("t 31") && mail.text.contains("Not shown here: 3"), "{mail:?}");
    assert_eq!(mail.subject, "Heat: 3 messages");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_message_holds_nothing_that_comes_after_it() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let app = &world.app;
    register(app, &customer).await;
    let rules = app.load_routes(customer.tenant()).await.expect("rules");
    let body = Some(b"{".to_vec());
    let device = customer.device;
    let wanted = vec![Matched { rule: 0, device, position: 1, part: 0, body }];
    let mut room = RoomLeft::default();
    let queued = app.queue_routes(("routes", &customer.context), &rules, wanted, &mut room);
    queued.await.expect("queued");
    app.start_routes().await.expect("started");
    let lane = world
        .until("a dropped message", async || {
            lane(app, &customer).await.filter(|lane| lane.dropped > 0)
        })
        .await;
    assert_eq!((lane.matched, lane.retried, lane.next_at), (1, 0, None));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_catches_up_waits_for_room_and_loses_nothing() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let app = &world.app;
    let (rule, destination) = register(app, &customer).await;
    let rules = app.load_routes(customer.tenant()).await.expect("rules");
    let one = |position| RouteMessage {
        id: RouteMessageId::generate(customer.context.at, app.rng()),
        rule,
        destination,
        device: customer.device,
        position,
        part: 0,
        state: RouteMessageState::Waiting,
        body: b"{}".to_vec(),
        reason: None,
        status: None,
        created_at: customer.context.at,
        updated_at: customer.context.at,
    };
    let waiting: Vec<_> = (0..ROUTE_MESSAGES_MAX - 2).map(one).collect();
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.route_lane_matched((rule, destination), 1).await.expect("a lane");
    tx.route_messages_add(&waiting).await.expect("added");
    tx.commit().await.expect("written");
    let (mut room, context) = (RoomLeft::default(), &customer.context);
    let first = ROUTE_MESSAGES_MAX;
    let mut queue = async || {
        // The first two are of one entry of the log: there is no room for the third.
        let wanted = [first, first, first + 1].map(|position| matched(&customer, position)).into();
        app.queue_patiently(("routes", context), &rules, wanted, &mut room).await
    };
    let full = queue().await;
    assert!(matches!(full, Err(Error::Crowded(limit)) if limit.name == "route_messages_max"));
    let state = async || {
        let tx = app.0.store.read(context).await.expect("records");
        let room = tx.route_room(RouteMessageState::Waiting).await.expect("weighed");
        let lane = tx.route_lanes().await.expect("lanes")[0];
        (room.messages, lane.parked, lane.dropped)
    };
    let since = app.clock().now();
    assert_eq!(state().await, (ROUTE_MESSAGES_MAX, 0, 0), "nothing is parked for it");
    assert!(!app.may_go_on(customer.tenant(), since).await, "there is no room");
    let tx = app.0.store.begin(context).await.expect("records");
    tx.route_messages_take((rule, destination)).await.expect("delivered");
    tx.commit().await.expect("written");
    assert!(app.may_go_on(customer.tenant(), since).await);
    queue().await.expect("there is room");
    let before = state().await;
    queue().await.expect("nothing is new");
    assert_eq!(state().await, before, "once");
    assert_eq!((before.1, before.2), (0, 0), "nothing is parked or lost");
    world.clock.advance(Duration::from_secs(86_401));
    assert!(app.may_go_on(customer.tenant(), since).await, "nobody waits for ever");
    world.app.close().await;
}

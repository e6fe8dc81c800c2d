//! Routing: a tenant's own places, rules and messages; lanes in their order; what is over the
//! bounds; and what goes with a device.

use veritwin_domain::{DeviceId, RouteDestinationId, RouteMessageId, RouteRuleId};
use veritwin_metastore::{
    Error, Page, ROUTE_CONSUMER, RouteDestination, RouteFailure, RouteMessage, RouteMessageState,
    RouteParkedFilter, RouteRoom, RouteRule, RouteSettled,
};

use crate::world::{START, World, device, everywhere, later};

fn place(world: &World) -> RouteDestination {
    RouteDestination {
        id: RouteDestinationId::generate(START, world.rng.as_ref()),
        body: b"place".to_vec(),
        secret: b"secret".to_vec(),
        enabled: true,
        version: 1,
        created_at: START,
    }
}

fn rule(world: &World) -> RouteRule {
    RouteRule {
        id: RouteRuleId::generate(START, world.rng.as_ref()),
        body: b"rule".to_vec(),
        enabled: true,
        version: 1,
        created_at: START,
    }
}

fn message(
    world: &World,
    lane: (RouteRuleId, RouteDestinationId),
    device: DeviceId,
    position: u64,
) -> RouteMessage {
    RouteMessage {
        id: RouteMessageId::generate(later(position), world.rng.as_ref()),
        rule: lane.0,
        destination: lane.1,
        device,
        position,
        part: 0,
        state: RouteMessageState::Waiting,
        body: b"0123456789".to_vec(),
        reason: None,
        status: None,
        created_at: START,
        updated_at: START,
    }
}

#[tokio::test]
async fn a_lane_is_emptied_at_once() {
    everywhere(async |world| {
        let (place, rule, pump) = (place(world), rule(world), device(world, "Pump"));
        let lane = (rule.id, place.id);
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.route_destination_create(&place).await.expect("a place");
        tx.route_rule_create(&rule).await.expect("a rule");
        tx.route_lane_matched(lane, 4).await.expect("counted");
        let all = [4, 2, 3, 1].map(|position| message(world, lane, pump.id, position));
        tx.route_messages_add(&all).await.expect("added");
        tx.route_messages_add(&[]).await.expect("none");
        tx.route_message_park(all[0].id, RouteFailure::Looped, None).await.expect("parked");
        let first = tx.route_messages_first(lane, 2).await.expect("the first");
        assert_eq!(first.iter().map(|one| one.position).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(tx.route_messages_take(lane).await.expect("taken"), 3);
        tx.route_lane_emptied(lane, (2, 1)).await.expect("noted");
        let found = tx.route_lanes().await.expect("lanes")[0];
        assert_eq!((found.delivered, found.dropped, found.next_at), (2, 1, None));
        assert!(found.delivered_at.is_some());
        let all = RouteParkedFilter::default();
        let parked = tx.route_messages_parked(all, &Page::whole()).await.expect("parked").items;
        assert_eq!(parked[0].reason, Some(RouteFailure::Looped), "that one stays");
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn messages_of_a_lane_stand_in_their_order_and_belong_to_one_tenant() {
    everywhere(async |world| {
        let (place, rule, pump) = (place(world), rule(world), device(world, "Pump"));
        let lane = (rule.id, place.id);
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.route_destination_create(&place).await.expect("a place");
        tx.route_rule_create(&rule).await.expect("a rule");
        tx.route_lane_matched(lane, 3).await.expect("counted");
        let mut ids = Vec::new();
        for position in [3, 1, 2] {
            let one = message(world, lane, pump.id, position);
            tx.route_message_add(&one).await.expect("added");
            tx.route_message_park(one.id, RouteFailure::Refused, Some(422)).await.expect("parked");
            ids.push(one.id);
        }
        tx.commit().await.expect("commit");

        let tx = world.begin_in(world.other).await;
        let hidden = tx.route_destination(place.id).await;
        assert!(matches!(hidden, Err(Error::NotFound { .. })), "{hidden:?}");
        let hidden = tx.route_rule_update(&rule, None).await;
        assert!(matches!(hidden, Err(Error::NotFound { .. })), "{hidden:?}");
        assert!(tx.route_lanes().await.expect("none").is_empty());
        assert!(tx.route_message_head(lane.0, lane.1).await.expect("none").is_none());
        let hidden = tx.route_message_parked(ids[0]).await;
        assert!(matches!(hidden, Err(Error::NotFound { .. })), "{hidden:?}");
        let all = RouteParkedFilter::default();
        let theirs = tx.route_messages_unpark(all, Some(ids[0]), 9).await.expect("none");
        assert!(theirs.is_empty(), "{theirs:?}");
        assert!(tx.route_messages_first(lane, 9).await.expect("none").is_empty());
        assert_eq!(tx.route_messages_take(lane).await.expect("none"), 0);
        tx.route_lane_emptied(lane, (9, 9)).await.expect("nothing happens");
        tx.route_lane_delete(lane.0, lane.1).await.expect("nothing happens");
        tx.route_lanes_postpone(place.id, later(99)).await.expect("nothing happens");
        drop(tx);

        let tx = world.platform().await;
        let due = tx.route_tenants_due(later(1)).await.expect("asked");
        assert!(due.contains(&world.tenant) && due.len() == 1, "{due:?}");
        drop(tx);

        let tx = world.begin().await;
        assert_eq!(tx.route_destination(place.id).await.expect("there"), place);
        assert_eq!(tx.route_lanes_due(later(1), 9).await.expect("due").len(), 1);
        let all = RouteParkedFilter { rule: Some(rule.id), destination: Some(place.id) };
        let back = tx.route_messages_unpark(all, None, 9).await.expect("back");
        assert_eq!(back, [(lane, 3)]);
        for position in 1..=3 {
            let head = tx.route_message_head(lane.0, lane.1).await.expect("read").expect("one");
            assert_eq!(head.position, position);
            tx.route_lane_settled(lane, RouteSettled::Delivered).await.expect("noted");
            tx.route_message_delete(head.id).await.expect("gone");
        }
        tx.route_lane_next(lane, None).await.expect("rests");
        let found = tx.route_lanes().await.expect("lanes");
        assert_eq!((found[0].matched, found[0].delivered, found[0].next_at), (3, 3, None));
    })
    .await;
}

#[tokio::test]
async fn what_is_over_the_bounds_is_parked_and_what_is_parked_comes_back() {
    everywhere(async |world| {
        let (place, rule, pump) = (place(world), rule(world), device(world, "Pump"));
        let lane = (rule.id, place.id);
        let waiting = RouteMessageState::Waiting;
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.route_lane_matched(lane, 4).await.expect("counted");
        for position in 1..=4 {
            tx.route_message_add(&message(world, lane, pump.id, position)).await.expect("added");
        }
        let room = tx.route_room(waiting).await.expect("weighed");
        assert_eq!(room, RouteRoom { messages: 4, bytes: 40 });
        let over = RouteRoom { messages: 1, bytes: 15 };
        let gone = tx.route_messages_evict(waiting, over, 9).await.expect("parked");
        assert_eq!(gone, [(lane, 2)]);
        let all = RouteParkedFilter::default();
        let parked = tx.route_messages_parked(all, &Page::whole()).await.expect("listed").items;
        let seen: Vec<_> = parked.iter().map(|one| (one.bytes, one.reason)).collect();
        assert_eq!(seen, [(10, Some(RouteFailure::Full)); 2]);
        let back = tx.route_messages_unpark(all, Some(parked[1].id), 9).await.expect("back");
        assert_eq!(back, [(lane, 1)]);
        let head = tx.route_message_head(lane.0, lane.1).await.expect("read").expect("one");
        assert_eq!(head.position, 1, "it goes before what came later");
        let gone = tx.route_messages_evict(RouteMessageState::Parked, over, 9).await;
        assert_eq!(gone.expect("removed"), [(lane, 1)]);
        tx.device_delete(pump.id).await.expect("gone");
        assert_eq!(tx.route_room(waiting).await.expect("weighed"), RouteRoom::default());
    })
    .await;
}

#[tokio::test]
async fn a_place_in_trouble_stays_alone_when_messages_are_too_old() {
    everywhere(async |world| {
        let (place, pump) = (place(world), device(world, "Pump"));
        let (lane, other) = ((rule(world).id, place.id), (rule(world).id, place.id));
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        for one in [lane, other] {
            tx.route_lane_matched(one, 2).await.expect("counted");
            for position in 1..=2 {
                tx.route_message_add(&message(world, one, pump.id, position)).await.expect("added");
            }
        }
        let (failure, status) = (RouteFailure::Failing, Some(503));
        let retried = RouteSettled::Retried { next_at: later(5), failure, status };
        tx.route_lane_settled(lane, retried).await.expect("noted");
        let parked = RouteSettled::Parked { failure, status, next_at: Some(later(60)) };
        tx.route_lane_settled(lane, parked).await.expect("noted");
        tx.route_lanes_postpone(place.id, later(60)).await.expect("postponed");
        let more = tx.route_messages_park_old(lane, later(1), (failure, status)).await;
        assert_eq!(more.expect("parked"), 2, "the other lane's stay");
        let theirs = tx.route_messages_park_old(other, START, (failure, status)).await;
        assert_eq!(theirs.expect("parked"), 2, "since that moment or longer");
        let lanes = tx.route_lanes().await.expect("lanes");
        let seen = lanes.iter().find(|one| one.rule == lane.0).expect("the lane");
        assert_eq!((seen.attempts, seen.next_at), (2, Some(later(60))));
        tx.route_lane_retry(lane.0, lane.1).await.expect("due");
        let due = tx.route_lanes_due(later(1), 9).await.expect("due");
        assert_eq!(
            due.iter().map(|one| (one.rule, one.attempts)).collect::<Vec<_>>(),
            [(lane.0, 0)]
        );
        let all = RouteParkedFilter { rule: Some(lane.0), destination: None };
        tx.route_messages_unpark(all, None, 1).await.expect("back");
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        assert_eq!(tx.route_messages_purge(later(1)).await.expect("purged"), 4, "waiting ones too");
    })
    .await;
}

#[tokio::test]
async fn writers_of_lanes_do_not_wait_for_each_other_in_a_circle() {
    everywhere(async |world| {
        let (place, one, two) = (place(world), rule(world), rule(world));
        let tx = world.begin().await;
        tx.offset_advance(ROUTE_CONSUMER, 1).await.expect("a place in the log");
        for rule in [&one, &two] {
            tx.route_lane_matched((rule.id, place.id), 0).await.expect("a lane");
        }
        tx.commit().await.expect("commit");
        let write = async |order: [RouteRuleId; 2]| {
            for _ in 0..20 {
                let tx = world.begin().await;
                tx.route_hold().await.expect("held");
                for rule in order {
                    tx.route_lane_lost((rule, place.id), (1, 0)).await.expect("counted");
                }
                tx.route_lanes_postpone(place.id, later(9)).await.expect("postponed");
                tx.commit().await.expect("commit");
            }
        };
        tokio::join!(write([one.id, two.id]), write([two.id, one.id]));
        let lanes = world.read().await.route_lanes().await.expect("lanes");
        assert_eq!(lanes.iter().map(|lane| lane.parked).collect::<Vec<_>>(), [40, 40]);
    })
    .await;
}

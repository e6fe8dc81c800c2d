//! Rules, alerts, their events, consumer offsets and the outbox.

use std::collections::HashSet;

use veritwin_domain::{AlertId, DeviceId, RuleId, SiteId, UserId};
use veritwin_metastore::{
    Alert, AlertEvent, AlertEventKind, AlertFilter, AlertOrder, AlertQuery, AlertSeverity,
    AlertState, Device, Error, MailAbout, MailRank, MailTurns, NewMail, Page, Rule,
};

use crate::world::{START, World, everywhere, later};

pub(crate) fn rule(world: &World) -> Rule {
    Rule {
        id: RuleId::generate(START, world.rng.as_ref()),
        enabled: true,
        body: br#"{"name":"too warm"}"#.to_vec(),
        version: 1,
        created_at: START,
        updated_at: START,
    }
}

pub(crate) fn alert(world: &World, state: AlertState, raised_seconds: u64) -> Alert {
    Alert {
        id: AlertId::generate(later(raised_seconds), world.rng.as_ref()),
        rule: RuleId::generate(START, world.rng.as_ref()),
        device: None,
        twin: None,
        state,
        severity: AlertSeverity::High,
        raised_at: later(raised_seconds),
        cleared_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        detail: br#"{"message":"too warm"}"#.to_vec(),
        version: 1,
    }
}

#[tokio::test]
async fn rules_are_made_changed_and_deleted() {
    everywhere(async |world| {
        let warm = rule(world);
        let tx = world.begin().await;
        tx.rule_create(&warm).await.expect("a rule");
        assert_eq!(tx.rule(warm.id).await.expect("found"), warm);
        let off = Rule { enabled: false, ..warm.clone() };
        tx.rule_update(&off, Some(1)).await.expect("an update");
        assert!(matches!(tx.rule_update(&warm, Some(1)).await, Err(Error::Conflict { .. })));
        let listed = tx.rules(&Page::whole()).await.expect("rules").items;
        assert_eq!(listed, [Rule { version: 2, ..off }]);
        tx.rule_delete(warm.id).await.expect("deleted");
        assert!(matches!(tx.rule(warm.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.rule_update(&warm, None).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn alerts_are_listed_by_state_newest_first() {
    everywhere(async |world| {
        use AlertState::{
            ActiveAcknowledged, ActiveUnacknowledged, Cleared, ClearedUnacknowledged,
        };
        let states = [ActiveUnacknowledged, ActiveAcknowledged, ClearedUnacknowledged, Cleared];
        let tx = world.begin().await;
        for (seconds, state) in (0..).zip(states) {
            // Two raised at the same moment: the id decides.
            tx.alert_create(&alert(world, state, seconds / 2)).await.expect("an alert");
        }
        let check = async |filter, expect: &[AlertState]| {
            let mut page = Page::first(1);
            let mut found = Vec::new();
            let mut raised = Vec::new();
            loop {
                let listed = tx.alerts(filter, &page).await.expect("a page");
                found.extend(listed.items.iter().map(|alert| alert.state));
                raised.extend(listed.items.iter().map(|alert| alert.raised_at));
                match listed.next {
                    Some(cursor) => page.after = Some(cursor),
                    None => break,
                }
            }
            assert!(raised.is_sorted_by(|newer, older| newer >= older), "{filter:?}");
            found.sort();
            assert_eq!(found, expect, "{filter:?} on {}", world.label);
        };
        check(AlertFilter::All, &states).await;
        check(AlertFilter::Active, &states[..2]).await;
        check(AlertFilter::Open, &states[..3]).await;
        check(AlertFilter::Unacknowledged, &[ActiveUnacknowledged, ClearedUnacknowledged]).await;
        check(AlertFilter::Attention, &states[..1]).await;
        assert!(tx.alert_counts_by_twin().await.expect("counts").is_empty());
    })
    .await;
}

/// What a test makes of an alert.
type Made = (AlertState, AlertSeverity, u64);

#[tokio::test]
async fn the_most_urgent_alert_comes_first_however_many_newer_ones_there_are() {
    everywhere(async |world| {
        use AlertSeverity::{Critical, High, Low, Medium};
        use AlertState::{
            ActiveAcknowledged, ActiveUnacknowledged, Cleared, ClearedUnacknowledged,
        };
        let made: [Made; 8] = [
            (ActiveUnacknowledged, Critical, 0),
            (ActiveAcknowledged, Critical, 1),
            (Cleared, Critical, 2),
            (ActiveUnacknowledged, High, 3),
            (ActiveUnacknowledged, High, 4),
            (ClearedUnacknowledged, Medium, 5),
            (ActiveUnacknowledged, Low, 6),
            (ActiveUnacknowledged, High, 4),
        ];
        let device = DeviceId::generate(START, world.rng.as_ref());
        let tx = world.begin().await;
        for (number, (state, severity, seconds)) in made.into_iter().enumerate() {
            let about = (number < 2).then_some(device);
            let new = Alert { severity, device: about, ..alert(world, state, seconds) };
            tx.alert_create(&new).await.expect("an alert");
        }
        let pages = async |query: &AlertQuery<'_>, rows: u32| {
            let mut page = Page::first(rows);
            let mut found: Vec<Made> = Vec::new();
            loop {
                let listed = tx.alerts_of(query, AlertOrder::Urgency, &page).await.expect("a page");
                assert!(listed.items.len() <= rows as usize);
                let second =
                    |alert: &Alert| (alert.raised_at.as_micros() - START.as_micros()) / 1_000_000;
                found.extend(
                    listed
                        .items
                        .iter()
                        .map(|alert| (alert.state, alert.severity, second(alert).unsigned_abs())),
                );
                match listed.next {
                    Some(cursor) => page.after = Some(cursor.to_string().parse().expect("again")),
                    None => return found,
                }
            }
        };
        let check = async |query: AlertQuery<'_>, expect: &[usize]| {
            let expect: Vec<Made> = expect.iter().map(|number| made[*number]).collect();
            for rows in 1..10 {
                assert_eq!(pages(&query, rows).await, expect, "{query:?} by {rows}");
            }
            let counts = tx.alert_counts(&query).await.expect("counts");
            let total: u64 = counts.iter().map(|one| one.count).sum();
            assert_eq!(total, expect.len() as u64, "{query:?}: {counts:?}");
            for one in counts {
                let of = |made: &&Made| (made.0, made.1) == (one.state, one.severity);
                assert_eq!(one.count, expect.iter().filter(of).count() as u64, "{query:?}");
            }
        };
        let all = AlertQuery::default();
        check(all.clone(), &[0, 4, 7, 3, 6, 5, 1, 2]).await;
        let attention = AlertQuery { filter: AlertFilter::Attention, ..all.clone() };
        check(attention.clone(), &[0, 4, 7, 3, 6]).await;
        check(AlertQuery { severities: &[High], ..attention.clone() }, &[4, 7, 3]).await;
        check(AlertQuery { severities: &[Critical, Medium], ..all.clone() }, &[0, 5, 1, 2]).await;
        check(AlertQuery { device: Some(device), ..all.clone() }, &[0, 1]).await;
        check(AlertQuery { among: Some(&[device].into()), ..attention }, &[0]).await;
        check(AlertQuery { twin: Some(SiteId::from_bytes([7; 16])), ..all.clone() }, &[]).await;
        let of_another_order = tx.alerts(AlertFilter::All, &Page::first(1)).await.expect("one");
        let page = Page { limit: 1, after: of_another_order.next };
        let refused = tx.alerts_of(&all, AlertOrder::Urgency, &page).await;
        assert!(matches!(refused, Err(Error::Invalid { what: "cursor", .. })));
    })
    .await;
}

#[tokio::test]
async fn an_alert_keeps_its_history() {
    everywhere(async |world| {
        let warm = alert(world, AlertState::ActiveUnacknowledged, 0);
        let by = Some(UserId::generate(START, world.rng.as_ref()));
        let tx = world.begin().await;
        tx.alert_create(&warm).await.expect("an alert");
        let events = [
            AlertEvent { at: START, kind: AlertEventKind::Raised, by: None, comment: None },
            AlertEvent {
                at: later(5),
                kind: AlertEventKind::Acknowledged,
                by,
                comment: Some("on my way".to_owned()),
            },
        ];
        for event in &events {
            tx.alert_event_add(warm.id, event).await.expect("an event");
        }
        let seen = Alert {
            state: AlertState::ActiveAcknowledged,
            acknowledged_at: Some(later(5)),
            acknowledged_by: by,
            ..warm.clone()
        };
        tx.alert_update(&seen, Some(1)).await.expect("an update");
        assert!(matches!(tx.alert_update(&warm, Some(1)).await, Err(Error::Conflict { .. })));
        assert_eq!(tx.alert(warm.id).await.expect("found"), Alert { version: 2, ..seen });
        assert_eq!(tx.alert_events(warm.id).await.expect("history"), events);
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn events_added_at_once_all_find_their_place() {
    everywhere(async |world| {
        let warm = alert(world, AlertState::ActiveUnacknowledged, 0);
        let tx = world.begin().await;
        tx.alert_create(&warm).await.expect("an alert");
        tx.commit().await.expect("commit");
        let add = async |seconds| {
            let kind = AlertEventKind::Raised;
            let event = AlertEvent { at: later(seconds), kind, by: None, comment: None };
            let tx = world.begin().await;
            tx.alert_event_add(warm.id, &event).await.expect("an event");
            tx.commit().await.expect("commit");
        };
        tokio::join!(add(1), add(2), add(3), add(4));
        let mut at = world.begin().await.alert_events(warm.id).await.expect("history");
        at.sort_by_key(|event| event.at);
        let at: Vec<_> = at.into_iter().map(|event| event.at).collect();
        assert_eq!(at, [later(1), later(2), later(3), later(4)]);
    })
    .await;
}

#[tokio::test]
async fn an_offset_moves_ahead_with_its_effect_and_never_back() {
    everywhere(async |world| {
        let tx = world.begin().await;
        assert_eq!(tx.offset("alerts").await.expect("none"), None);
        tx.offset_advance("alerts", 7).await.expect("first");
        tx.alert_create(&alert(world, AlertState::Cleared, 0)).await.expect("its effect");
        drop(tx);
        let tx = world.begin().await;
        assert_eq!(tx.offset("alerts").await.expect("rolled back"), None);
        assert!(tx.alerts(AlertFilter::All, &Page::whole()).await.expect("none").items.is_empty());
        tx.offset_advance("alerts", 7).await.expect("first");
        tx.offset_advance("alerts", 9).await.expect("ahead");
        for position in [9, 8] {
            let back = tx.offset_advance("alerts", position).await.expect_err("back");
            assert!(matches!(back, Error::Conflict { .. }), "{back:?}");
        }
        assert!(tx.offset_advance("no such name!", 1).await.is_err());
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert_eq!(tx.offsets("alerts").await.expect("all"), [(world.tenant, 9)]);
        assert_eq!(tx.offset("segments").await.expect("none"), None);
        tx.offset_advance("segments", 3).await.expect("ahead");
        assert!(tx.offset_advance("segments", 3).await.is_err());
        assert_eq!(tx.offset("segments").await.expect("there"), Some(3));
    })
    .await;
}

pub(crate) const fn mail<'a>(key: &'a str, payload: &'a [u8]) -> NewMail<'a> {
    NewMail::new(MailRank::Notice, key, payload)
}

#[tokio::test]
async fn mail_is_queued_once_and_sent_until_done() {
    everywhere(async |world| {
        let tx = world.begin().await;
        assert!(tx.outbox_add(mail("rule/series/raised", b"first")).await.expect("queued"));
        assert!(!tx.outbox_add(mail("rule/series/raised", b"again")).await.expect("known"));
        tx.commit().await.expect("commit");
        let tx = world.begin_in(world.other).await;
        assert!(tx.outbox_add(mail("rule/series/raised", b"theirs")).await.expect("queued"));
        tx.commit().await.expect("commit");

        let mut turns = MailTurns::default();
        let tx = world.platform().await;
        assert!(tx.outbox_add(mail("reset", b"ours"), None).await.expect("queued"));
        let due = tx.outbox_claim(&mut turns, START, later(60), 10).await.expect("due");
        let mut payloads: Vec<_> = due.iter().map(|entry| entry.payload.as_slice()).collect();
        payloads.sort_unstable();
        assert_eq!(payloads, [&b"first"[..], b"ours", b"theirs"]);
        assert!(due.iter().all(|entry| entry.attempts == 1));
        let mut claim = async |now| {
            let due = tx.outbox_claim(&mut turns, now, later(1_000), 10).await.expect("due");
            due.into_iter()
                .map(|entry| (entry.id, entry.attempts, entry.payload))
                .collect::<Vec<_>>()
        };
        assert_eq!(claim(later(59)).await, []);
        tx.outbox_done(due[0].id, later(1)).await.expect("done");
        tx.outbox_retry(&due[1], later(10), b"new words").await.expect("later");
        assert_eq!(claim(later(10)).await, [(due[1].id, 2, b"new words".to_vec())]);
        assert_eq!(tx.outbox_release().await.expect("released"), 2, "all but the one that is done");
        let again = claim(START).await;
        assert_eq!(again.iter().map(|(_, attempts, _)| *attempts).max(), Some(3));
        assert_eq!(tx.outbox_purge(later(1)).await.expect("purged"), 1);
        tx.outbox_drop(due[2].id, later(1)).await.expect("dropped");
        assert_eq!(claim(later(999)).await, []);
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn mail_of_a_tenant_without_its_key_waits() {
    everywhere(async |world| {
        let tx = world.begin_in(world.other).await;
        assert!(tx.outbox_add(mail("a", b"theirs")).await.expect("queued"));
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert!(tx.outbox_add(mail("a", b"ours")).await.expect("queued"));
        tx.commit().await.expect("commit");
        world.keys.revoke(world.other).expect("revoked");
        let tx = world.platform().await;
        let mut turns = MailTurns::default();
        let left = tx.outbox_claim(&mut turns, START, later(300), 10).await.expect("due");
        let tenants: Vec<_> = left.iter().map(|entry| entry.tenant).collect();
        assert_eq!(tenants, [Some(world.tenant)]);
    })
    .await;
}

/// What each claim of two mails takes while two tenants have these ranks waiting.
async fn claims(ours: &[MailRank], theirs: &[MailRank], expect: &[&str]) {
    everywhere(async |world| {
        for (tenant, name, ranks) in [(world.tenant, "o", ours), (world.other, "t", theirs)] {
            let tx = world.begin_in(tenant).await;
            for (number, rank) in ranks.iter().enumerate() {
                let (key, payload) = (format!("{number}"), format!("{name}{rank:?}"));
                let mail = NewMail::new(*rank, &key, payload.as_bytes());
                assert!(tx.outbox_add(mail).await.expect("queued"));
            }
            tx.commit().await.expect("commit");
        }
        let tx = world.platform().await;
        let mut turns = MailTurns::default();
        for expect in expect {
            let due = tx.outbox_claim(&mut turns, START, later(60), 2).await.expect("due");
            let mut taken: Vec<_> =
                due.iter().map(|entry| String::from_utf8_lossy(&entry.payload)).collect();
            taken.sort_unstable();
            assert_eq!(taken.join(" "), **expect);
        }
    })
    .await;
}

#[tokio::test]
async fn mail_leaves_by_class_turn_and_rank() {
    use MailRank::{Account, Bulk, Critical, High, Low};
    claims(&[Critical; 9], &[Low], &["oCritical tLow", "oCritical oCritical"]).await;
    claims(&[Low, High, Critical], &[], &["oCritical oHigh", "oLow"]).await;
    let mixed = ["oAccount tCritical", "oLow oLow", "tBulk", ""];
    claims(&[Low, Low, Account], &[Bulk, Critical], &mixed).await;
    claims(&[Bulk, Bulk, Bulk], &[Account], &["oBulk tAccount", "oBulk oBulk"]).await;
}

#[tokio::test]
async fn mail_about_an_alert_can_change_until_it_leaves() {
    everywhere(async |world| {
        let tx = world.begin().await;
        let (first, second) =
            (alert(world, AlertState::Cleared, 1), alert(world, AlertState::Cleared, 2));
        let about = |alert: &Alert| Some(MailAbout { alert: alert.id, thread: "rule device to" });
        let new = NewMail { about: about(&first), ..mail("one", b"raised") };
        assert!(tx.outbox_add(new).await.expect("queued"));
        let known = tx.outbox_thread("rule device to").await.expect("a thread");
        let [waiting] = known.waiting.as_slice() else { panic!("{:?}", known.waiting) };
        assert_eq!((waiting.alert, waiting.is_leaving), (Some(first.id), false));
        assert!(tx.outbox_rewrite(waiting.id, second.id, b"raised twice").await.expect("changed"));
        assert_eq!(tx.outbox_about(&[first.id]).await.expect("none"), []);
        assert_eq!(tx.outbox_about(&[first.id, second.id]).await.expect("one").len(), 1);
        assert_eq!(tx.outbox_about(&[second.id]).await.expect("one").len(), 1);
        assert_eq!(tx.outbox_waiting().await.expect("a count"), 1);
        assert_eq!(tx.outbox_invitations(START).await.expect("a count"), 0);
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        let mut turns = MailTurns::default();
        let due = tx.outbox_claim(&mut turns, START, later(60), 2).await.expect("due");
        assert_eq!(due[0].payload, b"raised twice");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        let known = tx.outbox_thread("rule device to").await.expect("a thread");
        assert!(known.waiting[0].is_leaving && known.last.is_none());
        assert!(!tx.outbox_rewrite(due[0].id, first.id, b"late").await.expect("it is leaving"));
        drop(tx);
        let tx = world.platform().await;
        tx.outbox_done(due[0].id, later(3)).await.expect("done");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        let known = tx.outbox_thread("rule device to").await.expect("a thread");
        assert!(known.waiting.is_empty());
        assert_eq!(known.last, Some((later(3), b"raised twice".to_vec())));
        drop(tx);
        let tx = world.begin_in(world.other).await;
        let theirs = tx.outbox_thread("rule device to").await.expect("a thread");
        assert!(theirs.last.is_none(), "another tenant's");
    })
    .await;
}

#[tokio::test]
async fn open_alerts_leave_a_deleted_twin_and_end_with_a_deleted_device() {
    use AlertState::{ActiveAcknowledged, ActiveUnacknowledged, Cleared, ClearedUnacknowledged};
    everywhere(async |world| {
        let home = crate::devices::twin(world, "home");
        let pump = Device { twin: Some(home.id), ..crate::world::device(world, "pump") };
        let fan = crate::world::device(world, "fan");
        let tx = world.begin().await;
        tx.twin_create(&home).await.expect("a twin");
        let states = [ActiveUnacknowledged, ActiveAcknowledged, ClearedUnacknowledged, Cleared];
        let mut made = Vec::new();
        for device in [&pump, &fan] {
            tx.device_create(device).await.expect("a device");
            for (second, state) in (0..).zip(states) {
                let cleared_at = (!state.as_str().starts_with("active")).then(|| later(9));
                let (device, twin) = (Some(device.id), device.twin);
                let new = Alert { device, twin, cleared_at, ..alert(world, state, second) };
                tx.alert_create(&new).await.expect("an alert");
                made.push(new);
            }
        }
        let both = HashSet::from([pump.id, fan.id]);
        assert_eq!(tx.alerting_devices().await.expect("devices"), both);
        tx.twin_delete(home.id).await.expect("deleted");
        for one in &made {
            let kept = one.twin.filter(|_| one.state == Cleared);
            assert_eq!(tx.alert(one.id).await.expect("found").twin, kept, "{one:?}");
        }
        tx.device_delete(pump.id).await.expect("deleted");
        for one in &made {
            let now = tx.alert(one.id).await.expect("found");
            let is_over = one.device == Some(pump.id);
            assert_eq!(now.state, if is_over { Cleared } else { one.state }, "{one:?}");
            let cleared_at = one.cleared_at.or(is_over.then_some(START));
            assert_eq!(now.cleared_at, cleared_at, "{one:?}");
        }
        assert_eq!(tx.alerting_devices().await.expect("devices"), HashSet::from([fan.id]));
    })
    .await;
}

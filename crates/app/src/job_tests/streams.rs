//! Declarations of streams, judged as of the transaction of a change.

use veritwin_access::Action;
use veritwin_domain::StreamRuleId;
use veritwin_governance::streams::{DeviceStatements, GroupRule, Statement, StreamRules};
use veritwin_metastore::{Device, StreamRule};
use veritwin_telemetry::{Point, TimeRange};

use super::*;
use crate::Error;
use crate::mail::MailPayload;
use crate::mail_kinds::MessageKind;
use crate::stream_acts::{Said, Step};
use crate::stream_book::{say_in, to_store};
use crate::stream_steps::carry_out;
use crate::streams::STREAMS_SAID_MAX;

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
    // Readings are a microsecond apart, and the last is of now.
    let third = app.clock().now().saturating_sub(Duration::from_micros(1));
    let later = TimeRange { from: third, ..TimeRange::ALL };
    for (range, readings_max, first, expect) in [
        (TimeRange::ALL, 2, 0, (2, true)),
        (TimeRange::ALL, 3, 0, (3, true)),
        (TimeRange::ALL, 5, 0, (4, false)),
        (later, 1, 2, (1, true)),
        (later, 5, 2, (2, false)),
    ] {
        let mut values = Vec::new();
        let add = |point: &Point| values.push(point.value.as_f64());
        let found = app.each_point(&seen, (range, readings_max), add).await.expect("read");
        assert_eq!(found, expect, "{readings_max}");
        let wanted = sent[first..first + expect.0].iter().copied().map(Some);
        assert_eq!(values, wanted.collect::<Vec<_>>(), "the beginning of it");
    }
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_says_nothing_of_a_stream_that_is_not_open_when_it_leaves() {
    const VALUE: &str = "4711.5";
    let world = World::new().await;
    let customer = world.customer("Only").await;
    world.app.start_alerts().await.expect("started");
    world.send(&customer, 30.0).await;
    let alert = world.only_alert(&customer, AlertState::ActiveUnacknowledged).await;
    let headline = format!("pump: t is {VALUE}");
    let digest = serde_json::json!({
        "rule": customer.rule.to_string(), "alerts": [alert.id.to_string()], "severity": "high",
        "headline": headline, "paragraph": headline, "raised": 1, "cleared": 0,
        "is_active": true, "since": null, "ended_at": null,
    });
    let written = || MailPayload {
        to: "ops@example.org".to_owned(),
        subject: headline.clone(),
        text: headline.clone(),
        alert: Some(alert.id.to_string()),
        digest: Some(serde_json::from_value(digest.clone()).expect("a digest")),
        ..MailPayload::of(MessageKind::Alert)
    };
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let stood = tx.device(customer.device).await.expect("a device");
    drop(tx);
    let changes = [
        (Some(Device { name: "another name".to_owned(), ..stood.clone() }), true),
        (Some(Device { kind: "fan".to_owned(), ..stood.clone() }), true),
        (Some(Device { declaration: Declaration::Personal, ..stood.clone() }), false),
        (Some(stood), true),
        (None, false),
    ];
    let mut concealed = None;
    for (changed, says_it) in changes {
        let tx = world.app.0.store.begin(&customer.context).await.expect("records");
        match &changed {
            Some(changed) => tx.device_update(changed, None).await.expect("changed"),
            None => tx.device_delete(customer.device).await.expect("deleted"),
        }
        tx.commit().await.expect("written");
        let mut payload = written();
        let judged = world.app.conceal_closed(customer.tenant(), &mut payload).await;
        judged.expect("judged");
        let text = serde_json::to_string(&payload).expect("text");
        assert_eq!(text.contains(VALUE), says_it, "{text}");
        assert_eq!(text.contains("Sign in to see it"), !says_it, "{text}");
        assert!(text.contains("ops@example.org"), "{text}");
        if !says_it {
            concealed = Some(payload);
        }
    }
    // What was concealed once is not judged again.
    let mut again = concealed.expect("concealed");
    let before = serde_json::to_string(&again).expect("text");
    world.app.conceal_closed(customer.tenant(), &mut again).await.expect("judged");
    assert_eq!(serde_json::to_string(&again).expect("text"), before);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_brought_back_stays_within_what_a_device_may_have() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let context = customer.somebody(Role::Owner);
    let among = world.app.among(&context, Action::StreamDeclare).await.expect("a reach");
    let statement =
        Statement { is_personal: true, subject: None, by: "user:1".to_owned(), at_us: 1 };
    let mut said = DeviceStatements::default();
    for number in 0..STREAMS_SAID_MAX {
        said.streams.insert(number.to_string(), statement.clone());
    }
    let tx = world.app.0.store.begin(&context).await.expect("records");
    say_in(&tx, customer.device, &said).await.expect("said");
    let rules = StreamRules::default();
    let step = |key: &str, before: Option<&Statement>, after: Option<&Statement>| {
        let said = |statement: Option<&Statement>| Said {
            declaration: statement.map_or(Declaration::Undeclared, Statement::declaration),
            statement: statement.cloned(),
            person: None,
        };
        Step::stream(customer.device, Some(key.to_owned()), said(before), said(after))
    };
    let known = Some(&statement);
    for (step, fits) in [
        (step("one more", None, known), false),
        (step("1", known, None), true),
        (step("one more", None, known), true),
        (step("2", known, known), true),
        (step("1", None, known), false),
    ] {
        let done = carry_out(&tx, (&among, &rules), (&step, context.at), context.at).await;
        match done {
            Ok(()) => assert!(fits, "{step:?}"),
            Err(Error::Limit(limit)) => assert_eq!((limit.name, fits), ("streams_said_max", false)),
            Err(other) => panic!("{other}: {step:?}"),
        }
    }
    drop(tx);
    world.app.close().await;
}

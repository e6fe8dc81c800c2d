//! What rules may watch, as it is kept with them.

use std::collections::HashSet;

use veritwin_access::{Action, Resource};
use veritwin_alerting::Scope;
use veritwin_domain::{Facet, HeldRole, Rights, Scope as Part, ScopeOf};
use veritwin_metastore::{Device, TenantTx};

use super::*;
use crate::Error;
use crate::change::Change;

/// Somebody who writes rules and may not read what is personal.
fn integrator(customer: &Customer) -> OpContext {
    customer.somebody(Role::Integrator)
}

/// An administrator of one twin and of nothing else.
fn administrator_of(customer: &Customer, twin: SiteId) -> OpContext {
    let scope = Part {
        of: ScopeOf::Twin { twin, node: None },
        devices: HashSet::new(),
        twins: HashSet::from([twin]),
        branch: None,
    };
    let role = HeldRole::BuiltIn(Role::Administrator);
    let facets = vec![Facet { grant: None, role, scope: Arc::new(scope), expires_at: None }];
    let key = ActorKind::ApiKey(ApiKeyId::from_bytes([7; 16]));
    let rights = Rights { facets, bounds: Vec::new() };
    let actor = Actor { rights, ..Actor::without_roles(key) };
    OpContext { actor, ..customer.context.clone() }
}

async fn stored(tx: &TenantTx, id: RuleId) -> veritwin_alerting::Rule {
    let row = tx.rule(id).await.expect("a rule");
    crate::rules::stored(&row).expect("not damaged")
}

/// Changes a rule as it is stored.
async fn store(tx: &TenantTx, id: RuleId, change: impl FnOnce(&mut veritwin_alerting::Rule)) {
    let mut row = tx.rule(id).await.expect("a rule");
    let mut rule = crate::rules::stored(&row).expect("not damaged");
    change(&mut rule);
    row.body = rule.to_bytes().expect("a body");
    tx.rule_update(&row, None).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_kept_off_streams_only_where_it_is_accepted() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, id) = (&world.app, customer.rule);
    let other = integrator(&customer);
    let known = app.list_rules(&customer.context).await.expect("rules");
    assert_eq!(known[0].rule.sees_closed, Some(true));
    // What asks the same goes on as before.
    let renamed = RuleInput { name: "Warm".to_owned(), enabled: false, ..rule(true) };
    let view = app.replace_rule(&other, id, renamed, None).await.expect("changed");
    assert_eq!((view.rule.sees_closed, view.rule.enabled), (Some(true), false));
    let asks_more = |sees_closed| {
        let condition = RuleCondition::Threshold {
            key: KEY.to_owned(),
            op: "gt".to_owned(),
            threshold: 20.0,
            hysteresis: 1.0,
            for_seconds: 0,
        };
        RuleInput { condition, sees_closed, ..rule(true) }
    };
    for said in [None, Some(true)] {
        let refused = app.replace_rule(&other, id, asks_more(said), None).await;
        let Err(Error::Conflict(detail)) = refused else { panic!("{refused:?}") };
        assert!(detail.contains("send sees_closed false"), "{detail}");
    }
    // That a device falls silent is withheld from nobody.
    let silence = RuleCondition::NoData { key: None, after_seconds: 60 };
    let silence = RuleInput { condition: silence, ..rule(true) };
    app.replace_rule(&other, id, silence, None).await.expect("changed");
    let view = app.replace_rule(&customer.context, id, rule(true), None).await.expect("changed");
    assert_eq!(view.rule.sees_closed, Some(true));
    let view = app.replace_rule(&other, id, asks_more(Some(false)), None).await.expect("accepted");
    assert_eq!(view.rule.sees_closed, Some(false));
    // Saying it gives nobody sight.
    let made = app.create_rule(&other, asks_more(Some(true))).await.expect("a rule");
    assert_eq!(made.rule.sees_closed, Some(false));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_of_rules_of_before_is_written_into_them_once() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context) = (&world.app, &customer.context);
    let of_local = app.create_rule(&integrator(&customer), rule(true)).await.expect("a rule").id;
    let of_gone = app.create_rule(&integrator(&customer), rule(true)).await.expect("a rule").id;
    let unrecorded = RuleId::from_bytes([9; 16]);
    world.clock.advance(Duration::from_secs(1));
    let tx = app.0.store.begin(context).await.expect("records");
    let (local, resource) =
        (app.local_operator_in(customer.tenant()), Resource::rule(customer.tenant(), of_local));
    app.record_change(&tx, &local, Action::RuleWrite, &resource, Change::default())
        .await
        .expect("a record");
    let row = tx.rule(of_gone).await.expect("a rule");
    let mut copy = crate::rules::stored(&row).expect("not damaged");
    copy.id = unrecorded;
    let body = copy.to_bytes().expect("a body");
    tx.rule_create(&veritwin_metastore::Rule { id: unrecorded, body, ..row }).await.expect("made");
    let all = [(customer.rule, true), (of_local, true), (of_gone, false), (unrecorded, false)];
    for (id, _) in all {
        store(&tx, id, |rule| {
            (rule.sees_closed, rule.sees_closed_anywhere) = (None, false);
        })
        .await;
    }
    tx.commit().await.expect("written");
    let found = app.rules_with_sight(context).await.expect("found");
    let tx = app.0.store.read(context).await.expect("records");
    let mut versions = Vec::new();
    for (id, sees) in all {
        assert_eq!(found[&id].sees_closed, Some(sees), "{id}");
        assert_eq!(found[&id].sees_closed_anywhere, sees, "{id}");
        assert_eq!(found[&id], stored(&tx, id).await, "{id}");
        versions.push(tx.rule(id).await.expect("a rule").version);
    }
    drop(tx);
    assert_eq!(app.rules_with_sight(context).await.expect("found"), found);
    let tx = app.0.store.read(context).await.expect("records");
    for ((id, _), version) in all.iter().zip(versions) {
        assert_eq!(tx.rule(*id).await.expect("a rule").version, version, "written once");
    }
    drop(tx);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_for_a_device_that_is_put_elsewhere_loses_what_was_seen_there_only() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let app = &world.app;
    let [here, there] = [Some(SiteId::from_bytes([4; 16])), Some(SiteId::from_bytes([5; 16]))];
    // Where the rule watches, whether its writer sees everything, or all of a twin, who puts the
    // device elsewhere, and into which twin.
    for (is_of_device, anywhere, throughout, mover_sees, twin, expect) in [
        (true, false, None, false, None, false),
        (true, true, None, false, None, true),
        (true, false, None, true, None, true),
        (false, false, None, false, None, true),
        (true, false, here, false, here, true),
        (true, false, here, false, there, false),
        (true, false, here, false, None, false),
        (true, false, None, false, here, false),
    ] {
        let mover = if mover_sees { customer.context.clone() } else { integrator(&customer) };
        let sight = app.sight(&mover).await.expect("a sight");
        let tx = app.0.store.begin(&mover).await.expect("records");
        store(&tx, customer.rule, |rule| {
            rule.scope = if is_of_device { Scope::Device(customer.device) } else { Scope::All };
            (rule.sees_closed, rule.sees_closed_anywhere) = (Some(true), anywhere);
            rule.sees_closed_twin = throughout;
        })
        .await;
        let device = tx.device(customer.device).await.expect("a device");
        let moved = [Device { twin, ..device }];
        app.rules_stay(&tx, &mover, &sight, &moved).await.expect("judged");
        let found = stored(&tx, customer.rule).await;
        let case = format!("{is_of_device} {anywhere} {throughout:?} {mover_sees} {twin:?}");
        assert_eq!(found.sees_closed, Some(expect), "{case}");
        drop(tx);
    }
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_judged_by_where_its_device_stands_in_the_records() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, twin) = (&world.app, SiteId::from_bytes([3; 16]));
    let put = async |device_twin: Option<SiteId>| {
        let tx = app.0.store.begin(&customer.context).await.expect("records");
        let mut device = tx.device(customer.device).await.expect("a device");
        device.twin = device_twin;
        tx.device_update(&device, None).await.expect("put there");
        tx.commit().await.expect("committed");
    };
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.twin_create(&some_twin(twin, &customer)).await.expect("a twin");
    tx.commit().await.expect("committed");
    put(Some(twin)).await;
    app.note_devices_changed(customer.tenant(), None);
    let writer = administrator_of(&customer, twin);
    let scope = RuleScope { device_id: Some(customer.device), ..RuleScope::default() };
    let asked = RuleInput { scope, ..rule(true) };
    let made = app.create_rule(&writer, asked.clone()).await.expect("a rule");
    let sight = async |id: RuleId| {
        let tx = app.0.store.read(&customer.context).await.expect("records");
        let rule = stored(&tx, id).await;
        (rule.sees_closed, rule.sees_closed_anywhere, rule.sees_closed_twin)
    };
    assert_eq!(sight(made.id).await, (Some(true), false, Some(twin)));
    // It is put elsewhere, which is not told yet.
    put(None).await;
    let late = app.create_rule(&writer, asked.clone()).await.expect("a rule");
    assert_eq!(sight(late.id).await, (Some(false), false, None));
    let silence = RuleCondition::NoData { key: None, after_seconds: 60 };
    let changed = RuleInput { condition: silence, ..asked };
    app.replace_rule(&writer, made.id, changed, None).await.expect("changed");
    assert_eq!(sight(made.id).await, (Some(false), false, None));
    world.app.close().await;
}

//! Rules judge what is true now, also when they are made, changed or enabled again; silence is
//! judged by arrival, whatever the device's clock says.

use serde_json::{Value, json};
use veritwin_domain::Timestamp;

use crate::alerts::{alerts, kinds, only_alert, rule, send};
use crate::harness::{Mode, Options, Platform, now_ms, pause, wait_for};
use crate::tenant::{Device, Tenant};

const MINUTE_MS: i64 = 60_000;

fn above(threshold: f64) -> Value {
    json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": threshold})
}

fn path(rule: &Value) -> String {
    format!("/v1/rules/{}", rule["id"].as_str().unwrap())
}

/// Sends a value of so many milliseconds ago.
fn send_old(tenant: &Tenant, device: &Device, old_ms: i64) {
    let message = json!({"ts": now_ms() - old_ms, "values": {"t": 1.0}});
    tenant.send(device, &message).expect(200);
}

#[test]
fn a_rule_judges_the_value_that_stands() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("d");
    send(&tenant, &device, 20.0);
    // Made while the value is already above.
    let made = tenant.post("/v1/rules", &rule("Warm", above(10.0))).expect(201);
    let raised = only_alert(&tenant, "active_unacknowledged");
    assert_eq!(raised["value"], 20.0);
    // Changed, and still so: the alert goes on.
    tenant.put(&path(&made), &rule("Warm", above(15.0))).expect(200);
    // What is asked next is answered after the change has been taken in.
    let other = tenant.device("other");
    send(&tenant, &other, 30.0);
    let both =
        wait_for("the other's alert", || Some(alerts(&tenant, "all")).filter(|all| all.len() == 2));
    let first = both.iter().find(|alert| alert["id"] == raised["id"]).unwrap();
    assert_eq!(first["state"], "active_unacknowledged");
    assert_eq!(kinds(first), ["raised"]);
    // Changed so that it is over.
    tenant.put(&path(&made), &rule("Warm", above(25.0))).expect(200);
    let of = |device: &Device, state: &str| {
        wait_for(&format!("{} {state}", device.name), || {
            let all = alerts(&tenant, "all");
            all.into_iter().find(|one| one["device_id"] == device.id && one["state"] == state)
        })
    };
    of(&device, "cleared_unacknowledged");
    of(&other, "active_unacknowledged");
    // Switched off, and on again while the value is what it was.
    let mut off = rule("Warm", above(10.0));
    off["enabled"] = json!(false);
    tenant.put(&path(&made), &off).expect(200);
    of(&other, "cleared_unacknowledged");
    tenant.put(&path(&made), &rule("Warm", above(10.0))).expect(200);
    of(&device, "active_unacknowledged");
    of(&other, "active_unacknowledged");
}

#[test]
fn what_stands_is_the_same_after_a_restart() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("d");
    send(&tenant, &device, 20.0);
    tenant.post("/v1/rules", &rule("Warm", above(10.0))).expect(201);
    only_alert(&tenant, "active_unacknowledged");
    let made = tenant.post("/v1/rules", &rule("Warmer", above(15.0))).expect(201);
    // It may or may not have been judged by now: it is afterwards.
    platform.kill();
    platform.start_again();
    let tenant = tenant.at(platform.http());
    let two = |tenant: &Tenant| {
        wait_for("both alerts", || {
            let all = alerts(tenant, "all");
            (all.len() == 2 && all.iter().all(|one| one["state"] == "active_unacknowledged"))
                .then_some(all)
        })
    };
    let before = two(&tenant);
    tenant.put(&path(&made), &rule("Warmer", above(16.0))).expect(200);
    platform.kill();
    platform.start_again();
    let after = two(&tenant.at(platform.http()));
    for alert in &after {
        assert_eq!(kinds(alert), ["raised"], "{alert}");
        assert!(before.iter().any(|one| one["id"] == alert["id"]), "{alert}");
    }
}

#[test]
fn late_readings_do_not_end_a_silence() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("d");
    let condition = json!({"kind": "no_data", "after_seconds": 5});
    send(&tenant, &device, 1.0);
    tenant.post("/v1/rules", &rule("Silent", condition)).expect(201);
    let silent = only_alert(&tenant, "active_unacknowledged");
    send_old(&tenant, &device, 30 * 24 * 60 * MINUTE_MS);
    // The late one has been judged when a later one of another device has.
    let other = tenant.device("other");
    tenant.post("/v1/rules", &rule("High", above(10.0))).expect(201);
    send(&tenant, &other, 11.0);
    let all = wait_for("the other's alert", || {
        let all = alerts(&tenant, "all");
        all.iter().any(|one| one["rule_name"] == "High").then_some(all)
    });
    let same = all.iter().find(|one| one["id"] == silent["id"]).unwrap();
    assert_eq!(
        (same["state"].as_str(), kinds(same)),
        (Some("active_unacknowledged"), vec!["raised"])
    );
    send(&tenant, &device, 1.0);
    wait_for("the end of the silence", || {
        let all = alerts(&tenant, "all");
        let same = all.into_iter().find(|one| one["id"] == silent["id"])?;
        (same["state"] == "cleared_unacknowledged").then_some(())
    });
}

#[test]
fn a_slow_clock_is_watched_by_arrival_and_shown() {
    let tenant = Platform::shared().tenant();
    let (slow, archive) = (tenant.device("slow"), tenant.device("archive"));
    let condition = json!({"kind": "no_data", "after_seconds": 5});
    tenant.post("/v1/rules", &rule("Silent", condition)).expect(201);
    let of = |device: &Device| tenant.get(&format!("/v1/devices/{}", device.id)).expect(200);
    assert!(of(&slow)["clock_slow_seconds"].is_null());
    for step in 0..5 {
        send_old(&tenant, &slow, 20 * MINUTE_MS);
        // A backlog of as many messages in the same time, a minute of it each.
        send_old(&tenant, &archive, (30 - step) * MINUTE_MS);
        pause(std::time::Duration::from_millis(800));
    }
    let seconds = of(&slow)["clock_slow_seconds"].as_i64().unwrap();
    assert!((1_195..=1_260).contains(&seconds), "{seconds}");
    assert!(of(&archive)["clock_slow_seconds"].is_null());
    let alert = only_alert(&tenant, "active_unacknowledged");
    assert_eq!(alert["device_id"], slow.id);
    send_old(&tenant, &slow, 20 * MINUTE_MS);
    let cleared = only_alert(&tenant, "cleared_unacknowledged");
    assert_eq!(cleared["device_id"], slow.id);
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_deaf() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("d");
    tenant.post("/v1/rules", &rule("Warm", above(10.0))).expect(201);
    send(&tenant, &device, 1.0);
    let began_ms = now_ms();
    let hot = || {
        let message = json!({"ts": now_ms() - 20 * MINUTE_MS, "values": {"t": 99.0}});
        tenant.send(&device, &message).expect(200);
    };
    let raised = wait_for("an alert by receipt", || {
        hot();
        pause(std::time::Duration::from_millis(500));
        alerts(&tenant, "all").into_iter().next()
    });
    assert_eq!(
        (&raised["value"], &raised["state"]),
        (&json!(99.0), &json!("active_unacknowledged"))
    );
    let raised_at = Timestamp::parse_rfc3339(raised["raised_at"].as_str().unwrap()).unwrap();
    assert!(raised_at.as_millis() >= began_ms, "{raised}");
    let view = tenant.get(&format!("/v1/devices/{}", device.id)).expect(200);
    let seconds = view["clock_slow_seconds"].as_i64().unwrap();
    assert!((1_195..=1_260).contains(&seconds), "{seconds}");
}

#[test]
fn a_rule_judges_what_a_fast_clock_said_last() {
    let tenant = Platform::shared().tenant();
    let ahead = [("fast", 8 * MINUTE_MS), ("far", 2 * 365 * 24 * 60 * MINUTE_MS)];
    let devices = ahead.map(|(name, ahead_ms)| (tenant.device(name), ahead_ms));
    for _ in 0..6 {
        for (device, ahead_ms) in &devices {
            send_old(&tenant, device, -ahead_ms);
        }
        pause(std::time::Duration::from_millis(800));
    }
    let asked_ms = now_ms();
    tenant.post("/v1/rules", &rule("Warm", above(0.5))).expect(201);
    let raised = wait_for("an alert of each", || {
        let all = alerts(&tenant, "active");
        (all.len() == devices.len()).then_some(all)
    });
    for alert in raised {
        assert_eq!(alert["value"], 1.0, "{alert}");
        let at = Timestamp::parse_rfc3339(alert["raised_at"].as_str().unwrap()).unwrap();
        assert!((asked_ms - 1_000..asked_ms + MINUTE_MS).contains(&at.as_millis()), "{alert}");
    }
    // What is shown as the latest stays as it is documented.
    for (device, _) in &devices {
        assert_eq!(tenant.latest(device, "t"), Value::Null);
    }
}

#[test]
fn of_equal_times_the_later_arrival_counts() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("d");
    tenant.post("/v1/rules", &rule("Warm", above(10.0))).expect(201);
    let ts = now_ms();
    let corrected = |value: f64| {
        tenant.send(&device, &json!({"ts": ts, "values": {"t": value}})).expect(200);
    };
    corrected(1.0);
    corrected(99.0);
    assert_eq!(only_alert(&tenant, "active_unacknowledged")["value"], 99.0);
    corrected(1.0);
    only_alert(&tenant, "cleared_unacknowledged");
    // In one message, as in the store.
    let both = json!([{"ts": ts + 1, "values": {"t": 1.0}}, {"ts": ts + 1, "values": {"t": 98.0}}]);
    tenant.send(&device, &both).expect(200);
    assert_eq!(only_alert(&tenant, "active_unacknowledged")["value"], 98.0);
    wait_for("the same in the history", || {
        let latest = json!({"device_ids": [device.id]});
        let latest = tenant.post("/v1/telemetry/latest", &latest).expect(200);
        (latest["items"][0]["value"] == 98.0).then_some(())
    });
}

#[test]
fn a_rule_for_silence_counts_from_what_was_last_heard() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let tenant = platform.tenant();
    let (talks, quiet) = (tenant.device("talks"), tenant.device("quiet"));
    send(&tenant, &quiet, 1.0);
    platform.cli(&["clock", "advance", "50m"]).done();
    send(&tenant, &talks, 1.0);
    let condition = json!({"kind": "no_data", "key": "t", "after_seconds": 1800});
    tenant.post("/v1/rules", &rule("Silent", condition)).expect(201);
    let alert = only_alert(&tenant, "active_unacknowledged");
    assert_eq!(alert["device_id"], quiet.id, "the other was heard just now");
}

//! The life of an alert over REST, from rule to acknowledgement, and its mail.

use serde_json::{Value, json};

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::smtp::smtp_server;
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

/// The alerts of a filter.
pub(crate) fn alerts(tenant: &Tenant, filter: &str) -> Vec<Value> {
    let page = tenant.get(&format!("/v1/alerts?filter={filter}")).expect(200);
    page["items"].as_array().unwrap().clone()
}

/// Waits until the only alert of the tenant has this state.
pub(crate) fn only_alert(tenant: &Tenant, state: &str) -> Value {
    wait_for(&format!("an alert {state}"), || {
        let all = alerts(tenant, "all");
        assert!(all.len() <= 1, "{all:?}");
        all.into_iter().find(|alert| alert["state"] == state)
    })
}

pub(crate) fn kinds(alert: &Value) -> Vec<&str> {
    alert["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

pub(crate) fn rule(name: &str, condition: Value) -> Value {
    json!({
        "name": name, "severity": "critical", "condition": condition,
        "what_helps": "Check the pump.", "notify_emails": [],
    })
}

pub(crate) fn send(tenant: &Tenant, device: &Device, value: f64) {
    tenant.send(device, &json!({"t": value})).expect(200);
}

#[test]
fn raised_mailed_acknowledged_and_cleared() {
    let (port, mails) = smtp_server();
    let options = Options::default()
        .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "alerts@veritwin.example");
    let mut platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let device = tenant.device("chiller-1");
    let condition = json!({
        "kind": "threshold", "key": "t", "op": "gt", "threshold": 25.0, "hysteresis": 1.0,
        "for_seconds": 0,
    });
    let mut new = rule("Too warm", condition);
    new["scope"] = json!({"device_id": device.id});
    new["notify_emails"] = json!(["duty@site.example"]);
    let stored = tenant.post("/v1/rules", &new).expect(201);
    for (key, value) in new.as_object().unwrap() {
        let same = &stored[key] == value || key == "scope";
        assert!(same, "{key}: {} is not {value}", stored[key]);
    }
    let mut watcher = WebSocket::authenticated(tenant.http(), &tenant.api_key);
    watcher.send(&json!({"op": "subscribe", "id": 2, "topic": "alerts"}));
    send(&tenant, &device, 24.0);
    send(&tenant, &device, 26.5);
    let raised = only_alert(&tenant, "active_unacknowledged");
    assert_eq!(raised["device_name"], "chiller-1");
    assert_eq!((raised["value"].as_f64(), raised["threshold"].as_f64()), (Some(26.5), Some(25.0)));
    assert_eq!(raised["severity"], "critical");
    assert_eq!(raised["what_helps"], "Check the pump.");
    assert_eq!(raised["rule_id"], stored["id"]);
    let told = wait_for("the socket to tell", || {
        let message = watcher.receive();
        (message["type"] == "alert").then(|| message["alert"].clone())
    });
    assert_eq!(told["id"], raised["id"]);

    let mail = mails.recv_timeout(PATIENCE).expect("a mail");
    assert!(mail.from.contains("<alerts@veritwin.example>"), "{mail:?}");
    assert!(mail.to.contains("<duty@site.example>"), "{mail:?}");
    assert!(mail.text.contains("[critical]") && mail.text.contains("chiller-1"), "{mail:?}");
    assert!(mail.text.contains("Message-ID: <"), "{mail:?}");
    assert!(mail.text.contains("Check the pump."), "{mail:?}");

    let id = raised["id"].as_str().unwrap();
    let comment = json!({"comment": "on my way"});
    let path = format!("/v1/alerts/{id}/acknowledge");
    let by_person = platform.http().post(&path).header("cookie", &tenant.cookie);
    let acknowledged = by_person.json(&comment).send().expect(200);
    assert_eq!(acknowledged["state"], "active_acknowledged");
    assert_eq!(acknowledged["acknowledged_by"], "Ada Admin");
    let events = acknowledged["events"].as_array().unwrap();
    let step = events.iter().find(|event| event["kind"] == "acknowledged").unwrap();
    assert_eq!((&step["comment"], &step["by"]), (&json!("on my way"), &json!("Ada Admin")));
    tenant.post(&path, &comment).problem(409);
    assert_eq!(alerts(&tenant, "unacknowledged"), Vec::<Value>::new());
    assert_eq!(alerts(&tenant, "active").len(), 1);

    // Back below the threshold, but not by the hysteresis.
    send(&tenant, &device, 24.5);
    send(&tenant, &device, 23.9);
    let cleared = only_alert(&tenant, "cleared");
    assert_eq!(kinds(&cleared).iter().filter(|kind| **kind == "cleared").count(), 1);
    assert!(cleared["cleared_at"].is_string());
    assert_eq!(alerts(&tenant, "open"), Vec::<Value>::new());
    platform.stop();
    platform.start_again();
    assert_eq!(only_alert(&tenant, "cleared")["id"], raised["id"], "once, also after a restart");
    let more = mails.try_recv().ok();
    assert!(more.is_none(), "one mail for one alert, then {more:?}");
}

#[test]
fn cleared_before_it_was_acknowledged_stays_open() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("d");
    let condition = json!({"kind": "threshold", "key": "t", "op": "lt", "threshold": 5});
    tenant.post("/v1/rules", &rule("Too cold", condition)).expect(201);
    send(&tenant, &device, 4.0);
    only_alert(&tenant, "active_unacknowledged");
    send(&tenant, &device, 6.0);
    let cleared = only_alert(&tenant, "cleared_unacknowledged");
    assert_eq!(alerts(&tenant, "open").len(), 1);
    let many = json!({"ids": [cleared["id"]]});
    tenant.post("/v1/alerts/acknowledge", &many).expect(200);
    only_alert(&tenant, "cleared");
}

#[test]
fn durations_and_silence_by_the_simulated_clock() {
    let arguments = vec!["--simulated-clock".to_owned(), "2027-01-10T00:00:00Z".to_owned()];
    let platform = Platform::start(Mode::Serve, Options { arguments, ..Options::default() });
    let lasting = platform.tenant();
    let device = lasting.device("slow");
    let condition = json!({
        "kind": "threshold", "key": "t", "op": "ge", "threshold": 30, "for_seconds": 600,
    });
    lasting.post("/v1/rules", &rule("Too warm for long", condition)).expect(201);
    let silent = platform.tenant();
    let quiet = silent.device("quiet");
    let condition = json!({"kind": "no_data", "key": "t", "after_seconds": 1800});
    silent.post("/v1/rules", &rule("Silent", condition)).expect(201);
    send(&lasting, &device, 31.0);
    send(&silent, &quiet, 1.0);
    let advance = |duration: &str| platform.cli(&["clock", "advance", duration]).done();
    advance("9m");
    send(&lasting, &device, 32.0);
    assert_eq!(alerts(&lasting, "all"), Vec::<Value>::new(), "not for ten minutes yet");
    advance("2m");
    send(&lasting, &device, 33.0);
    only_alert(&lasting, "active_unacknowledged");
    assert_eq!(alerts(&silent, "all"), Vec::<Value>::new(), "silent for eleven minutes");
    advance("20m");
    let alert = only_alert(&silent, "active_unacknowledged");
    assert_eq!(alert["device_id"], quiet.id);
    send(&silent, &quiet, 2.0);
    only_alert(&silent, "cleared_unacknowledged");
}

#[test]
fn a_deleted_rule_clears_and_a_disabled_one_is_silent() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("d");
    let condition = json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": 0});
    let mut disabled = rule("Off", condition.clone());
    disabled["enabled"] = json!(false);
    tenant.post("/v1/rules", &disabled).expect(201);
    let made = tenant.post("/v1/rules", &rule("On", condition)).expect(201);
    send(&tenant, &device, 1.0);
    let raised = only_alert(&tenant, "active_unacknowledged");
    assert_eq!(raised["rule_name"], "On");
    let path = format!("/v1/rules/{}", made["id"].as_str().unwrap());
    let stale = tenant.request("PUT", &path).header("if-match", "\"99\"");
    stale.json(&rule("On", json!({"kind": "no_data", "after_seconds": 60}))).send().problem(409);
    tenant.delete(&path).expect(204);
    tenant.get(&path).problem(404);
    only_alert(&tenant, "cleared_unacknowledged");
}

#[test]
fn newer_and_lesser_alerts_hide_no_critical_one() {
    let tenant = Platform::shared().tenant();
    let first = tenant.device("first");
    let second = tenant.device("second");
    let over =
        |limit: f64| json!({"kind": "threshold", "key": "t", "op": "gt", "threshold": limit});
    let mut worst = rule("Worst", over(0.0));
    worst["scope"] = json!({"device_id": first.id});
    tenant.post("/v1/rules", &worst).expect(201);
    send(&tenant, &first, 1.0);
    only_alert(&tenant, "active_unacknowledged");
    for number in 0..5 {
        let mut lesser = rule(&format!("Lesser {number}"), over(0.0));
        lesser["severity"] = json!("low");
        lesser["scope"] = json!({"device_id": second.id});
        tenant.post("/v1/rules", &lesser).expect(201);
    }
    send(&tenant, &second, 1.0);
    let all = || tenant.get("/v1/alerts?filter=attention&order=urgency&limit=2").expect(200);
    let page = wait_for("six alerts", || Some(all()).filter(|page| page["total"] == 6));
    assert_eq!(page["items"][0]["rule_name"], "Worst", "{page}");
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let state = "active_unacknowledged";
    assert_eq!(
        page["counts"],
        json!([
            {"severity": "critical", "state": state, "count": 1},
            {"severity": "low", "state": state, "count": 5},
        ])
    );
    let (mut names, mut page) = (Vec::new(), page);
    loop {
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|alert| alert["rule_name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        let path = format!("/v1/alerts?filter=attention&order=urgency&limit=2&cursor={cursor}");
        page = tenant.get(&path).expect(200);
        assert_eq!((&page["total"], &page["counts"]), (&Value::Null, &Value::Null));
    }
    assert_eq!((names.len(), names[0].as_str()), (6, "Worst"));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 6, "{names:?}");
    let check = |query: &str, total: u64| {
        let page = tenant.get(&format!("/v1/alerts?{query}")).expect(200);
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(page["items"].as_array().unwrap().len() as u64, total, "{query}");
    };
    check("severity=critical", 1);
    check("severity=high,medium", 0);
    check("severity=critical,low", 6);
    check(&format!("device_id={}", second.id), 5);
    check(&format!("device_id={}&severity=critical&filter=all", second.id), 0);
}

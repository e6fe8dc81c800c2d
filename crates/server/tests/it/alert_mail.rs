//! Mail of the platform under load: nobody waits behind somebody else's flood, floods are gathered
//! into one mail, and every alert says whom its mail reached and whom it did not.

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::mqtt::Version;
use crate::smtp::{Gate, Mail, gated_smtp_server, smtp_server};
use crate::tenant::{Device, Tenant};

const SMTP_URL: &str = "VERITWIN__SMTP__URL";
const START: &str = "2027-01-10T00:00:00Z";
const START_MS: i64 = 1_799_539_200_000;

fn platform(port: u16) -> Platform {
    let arguments = vec!["--simulated-clock".to_owned(), START.to_owned()];
    let options = Options { arguments, ..Options::default() }
        .environment(SMTP_URL, &format!("smtp://127.0.0.1:{port}"))
        .environment("VERITWIN__SMTP__FROM", "alerts@veritwin.example");
    Platform::start(Mode::Serve, options)
}

fn watch(tenant: &Tenant, device: &Device, severity: &str, recipients: &[String]) {
    let condition = json!({
        "kind": "threshold", "key": "t", "op": "gt", "threshold": 10, "hysteresis": 0,
        "for_seconds": 0,
    });
    let rule = json!({
        "name": format!("Too warm: {}", device.name), "severity": severity,
        "scope": {"device_id": device.id}, "condition": condition, "what_helps": "",
        "notify_emails": recipients,
    });
    tenant.post("/v1/rules", &rule).expect(201);
}

/// Sends a value a second later.
fn send(platform: &Platform, tenant: &Tenant, device: &Device, value: f64) {
    platform.cli(&["clock", "advance", "1s"]).done();
    tenant.send(device, &json!({"t": value})).expect(200);
}

fn the_alert(tenant: &Tenant) -> Value {
    let all = tenant.get("/v1/alerts?filter=all").expect(200)["items"].clone();
    assert!(all.as_array().unwrap().len() <= 1, "{all}");
    all[0].clone()
}

/// What the only alert says of mail: kind, masked address, reason, code or count.
fn told(tenant: &Tenant) -> BTreeSet<String> {
    let alert = the_alert(tenant);
    let events = alert["events"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.to_string().trim_matches('"').to_owned();
    let of_mail = events.iter().filter(|event| !event["mail"].is_null()).map(|event| {
        assert!(event["comment"].is_null(), "{event}");
        let mail = &event["mail"];
        let parts = [&event["kind"], &mail["to"], &mail["reason"], &mail["code"], &mail["count"]];
        let parts = parts.into_iter().filter(|part| !part.is_null()).map(text);
        parts.collect::<Vec<_>>().join(" ")
    });
    of_mail.collect()
}

#[track_caller]
fn wait_told(tenant: &Tenant, expect: &[&str]) {
    let expect: BTreeSet<String> = expect.iter().map(|one| (*one).to_owned()).collect();
    let mut last = BTreeSet::new();
    let mut look = || {
        last = told(tenant);
        (last == expect).then_some(())
    };
    let started = std::time::Instant::now();
    while look().is_none() {
        assert!(started.elapsed() < PATIENCE, "expected {expect:?}, found {:?}", told(tenant));
        crate::harness::pause(std::time::Duration::from_millis(20));
    }
}

/// How often the only alert was raised or cleared.
fn changes(tenant: &Tenant) -> u64 {
    let alert = the_alert(tenant);
    let events = alert["events"].as_array().cloned().unwrap_or_default();
    let changed =
        events.iter().filter(|event| event["kind"] == "raised" || event["kind"] == "cleared");
    changed.map(|event| 1 + event["left_out"].as_u64().unwrap_or(0)).sum()
}

fn next(mails: &Receiver<Mail>) -> Mail {
    mails.recv_timeout(PATIENCE).expect("a mail")
}

/// The mails that came before one to this recipient, and that one.
fn before(mails: &Receiver<Mail>, to: &str) -> (Vec<Mail>, Mail) {
    let mut others = Vec::new();
    loop {
        let mail = next(mails);
        if mail.to.contains(to) {
            return (others, mail);
        }
        others.push(mail);
    }
}

#[test]
fn one_message_of_800_flaps_is_one_mail_for_each_recipient() {
    let gate = Gate::default();
    let (port, mails) = gated_smtp_server(&gate);
    let platform = platform(port);
    let (flapping, quiet) = (platform.tenant(), platform.tenant());
    let device = flapping.device("flap");
    let duty: Vec<String> = (0..20).map(|number| format!("f{number}@site.example")).collect();
    watch(&flapping, &device, "critical", &duty);
    let vip = quiet.device("vip");
    watch(&quiet, &vip, "low", &["vip@other.example".to_owned()]);

    gate.close();
    let readings: Vec<Value> = (0..800)
        .map(|at| json!({"ts": START_MS + at, "values": {"t": if at % 2 == 0 { 50 } else { 5 }}}))
        .collect();
    let mut mqtt = platform.mqtt(Version::V5, &device.token);
    let message = Value::from(readings).to_string();
    assert_eq!(mqtt.publish("v1/devices/me/telemetry", message.as_bytes()).0, 0);
    wait_told(&flapping, &["mail_waits f…@site.example"]);
    send(&platform, &quiet, &vip, 99.0);
    wait_told(&quiet, &["mail_waits v…@other.example"]);
    gate.open();

    // Eight were on their way; of the others the quiet tenant's is among the next ones.
    let (mut flood, _) = before(&mails, "vip@other.example");
    assert!(flood.len() <= 16, "{} mails before it", flood.len());
    flood.extend((flood.len()..20).map(|_| next(&mails)));
    let recipients: BTreeSet<&str> = flood.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(recipients.len(), 20, "one mail each");
    for mail in &flood {
        assert!(mail.subject().contains("Raised 400 times, now over"), "{mail:?}");
        assert!(mail.words().contains("Raised 400 times, cleared 400 times; now it is over"));
    }
    let connections: BTreeSet<u64> = flood.iter().map(|mail| mail.connection).collect();
    assert!(connections.len() <= 10, "connections are used again: {connections:?}");
    wait_told(&flapping, &["notified f…@site.example"]);
    wait_told(&quiet, &["notified v…@other.example"]);

    // What happens in the window is gathered until its end.
    let before = changes(&flapping);
    for value in [50.0, 5.0, 51.0] {
        send(&platform, &flapping, &device, value);
    }
    wait_for("three changes", || (changes(&flapping) == before + 3).then_some(()));
    wait_told(&flapping, &["notified f…@site.example", "mail_waits f…@site.example"]);
    platform.cli(&["clock", "advance", "14m"]).done();
    send(&platform, &quiet, &vip, 5.0);
    send(&platform, &quiet, &vip, 99.0);
    wait_told(&quiet, &["notified v…@other.example", "mail_waits v…@other.example"]);
    platform.cli(&["clock", "advance", "2m"]).done();
    let later: Vec<Mail> = (0..21).map(|_| next(&mails)).collect();
    for mail in later.iter().filter(|mail| mail.to.contains("@site.example")) {
        assert!(mail.subject().contains("Raised twice, now raised"), "{mail:?}");
        let words = mail.words();
        assert!(words.contains("Raised twice, cleared once since the mail of 2027-01-10T00:"));
    }
    wait_told(&flapping, &["notified f…@site.example"]);
    assert!(mails.try_recv().is_err(), "and nothing else");
}

#[test]
fn every_recipient_is_accounted_for() {
    let (port, mails) = smtp_server();
    let mut platform = platform(port);
    let tenant = platform.tenant();
    let device = tenant.device("pump");
    let recipients = ["ok@site.example", "refused@site.example", "later@site.example"];
    watch(&tenant, &device, "high", &recipients.map(str::to_owned));
    send(&platform, &tenant, &device, 20.0);
    wait_told(
        &tenant,
        &[
            "notified o…@site.example",
            "not_mailed r…@site.example refused 550",
            "mail_waits l…@site.example deferred 451",
        ],
    );
    assert!(next(&mails).subject().starts_with("[high] pump: t is 20, above 10"));
    let alert = the_alert(&tenant);
    let log = platform.stderr();
    let is_refusal = |line: &&str| line.contains("attempts=") && line.contains("code=\"550\"");
    let line = log.lines().find(is_refusal).expect("a line in the log");
    for fact in [&tenant.id, alert["id"].as_str().unwrap(), alert["rule_id"].as_str().unwrap()] {
        assert!(line.contains(fact), "{fact} in {line}");
    }
    assert!(!log.contains("site.example"), "no address in the log");

    // Without a server nothing new is queued, and what waits says why.
    platform.stop();
    platform.set_environment(SMTP_URL, None);
    platform.start_again();
    let known = ["notified o…@site.example", "not_mailed r…@site.example refused 550"];
    wait_told(&tenant, &[&known[..], &["mail_waits l…@site.example no_server"]].concat());
    send(&platform, &tenant, &device, 5.0);
    send(&platform, &tenant, &device, 21.0);
    let missed = "not_mailed no_server 3";
    wait_told(&tenant, &[&known[..], &["mail_waits l…@site.example no_server", missed]].concat());

    // A server that comes hours later sends no old news.
    platform.stop();
    let (port, mails) = smtp_server();
    platform.set_environment(SMTP_URL, Some(&format!("smtp://127.0.0.1:{port}")));
    platform.start_again();
    platform.cli(&["clock", "advance", "3h"]).done();
    wait_told(&tenant, &[&known[..], &["not_mailed l…@site.example too_old", missed]].concat());
    send(&platform, &tenant, &device, 5.0);
    send(&platform, &tenant, &device, 22.0);
    let mail = next(&mails);
    assert!(mail.to.contains("ok@site.example"), "{mail:?}");
    assert!(mail.subject().starts_with("[high] pump: t is 22, above 10"), "{mail:?}");
}

#[test]
fn an_alert_that_is_over_before_its_mail_left_says_so() {
    let gate = Gate::default();
    let (port, mails) = gated_smtp_server(&gate);
    let platform = platform(port);
    let (busy, tenant) = (platform.tenant(), platform.tenant());
    let first = busy.device("first");
    let many: Vec<String> = (0..8).map(|number| format!("b{number}@busy.example")).collect();
    watch(&busy, &first, "critical", &many);
    let device = tenant.device("pump");
    watch(&tenant, &device, "medium", &["duty@site.example".to_owned()]);
    gate.close();
    send(&platform, &busy, &first, 20.0);
    wait_for("eight mails on their way", || (gate.waiting() == 8).then_some(()));
    send(&platform, &tenant, &device, 20.0);
    wait_told(&tenant, &["mail_waits d…@site.example"]);
    send(&platform, &tenant, &device, 5.0);
    wait_for("the end of the alert", || {
        (the_alert(&tenant)["state"] == "cleared_unacknowledged").then_some(())
    });
    gate.open();
    let (others, mail) = before(&mails, "duty@site.example");
    assert_eq!(others.len(), 8);
    assert!(mail.subject().contains("Over: pump: t is 20, above 10"), "{mail:?}");
    assert!(mail.words().contains("before this mail left"), "{mail:?}");
}

#[test]
fn what_is_too_much_is_counted_and_the_critical_one_still_leaves_first() {
    let gate = Gate::default();
    let (port, mails) = gated_smtp_server(&gate);
    let platform = platform(port);
    let tenant = platform.tenant();
    let devices: Vec<Device> = (0..80).map(|number| tenant.device(&number.to_string())).collect();
    let duty: Vec<String> = (0..20).map(|number| format!("d{number}@site.example")).collect();
    let condition =
        |key: &str| json!({"kind": "threshold", "key": key, "op": "gt", "threshold": 10});
    let rule = json!({
        "name": "All", "severity": "low", "scope": {"device_type": "test"},
        "condition": condition("t"), "notify_emails": duty,
    });
    tenant.post("/v1/rules", &rule).expect(201);
    let rule = json!({
        "name": "One", "severity": "critical", "scope": {"device_id": devices[0].id},
        "condition": condition("u"), "notify_emails": ["boss@site.example"],
    });
    tenant.post("/v1/rules", &rule).expect(201);
    gate.close();
    for device in &devices {
        tenant.send(device, &json!({"t": 20})).expect(200);
    }
    let (mut waits, mut missed) = (0, 0);
    wait_for("80 alerts", || {
        let all = tenant.get("/v1/alerts?filter=all").expect(200)["items"].clone();
        let events = all.as_array()?.iter().flat_map(|alert| alert["events"].as_array().unwrap());
        let of =
            |kind: &str| events.clone().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
        waits = of("mail_waits").len();
        let over = of("not_mailed");
        assert!(over.iter().all(|event| event["mail"]["reason"] == "mails_waiting_max"));
        missed = over.iter().filter_map(|event| event["mail"]["count"].as_u64()).sum();
        (all.as_array()?.len() == 80).then_some(())
    });
    assert_eq!((waits, missed), (1_500, 100), "none is lost without a word");
    tenant.send(&devices[0], &json!({"u": 20})).expect(200);
    wait_for("the critical alert", || {
        let all = tenant.get("/v1/alerts?filter=all").expect(200)["items"].clone();
        let critical =
            all.as_array()?.iter().find(|alert| alert["severity"] == "critical")?.clone();
        assert_eq!(critical["events"][1]["kind"], "mail_waits", "{critical}");
        Some(())
    });
    gate.open();
    let (others, _) = before(&mails, "boss@site.example");
    assert!(others.len() <= 16, "{} mails before it", others.len());
}

#[test]
fn invitations_of_many_wait_for_everybody_else_and_have_an_end() {
    let gate = Gate::default();
    let (port, mails) = gated_smtp_server(&gate);
    let platform = platform(port);
    let (many, other) = (platform.tenant(), platform.tenant());
    gate.close();
    let invite = |round: usize, people: usize| {
        let rows: String =
            (0..people).map(|row| format!("p{round}x{row}@many.example,viewer\n")).collect();
        let file = format!("email,role\n{rows}");
        many.request("POST", "/v1/users/import").body("text/csv", file.as_bytes()).send()
    };
    invite(0, 500).expect(201);
    invite(1, 499).expect(201);
    let refused = invite(2, 2).problem(413);
    assert_eq!(refused["limit"], "invitations_per_day_max", "{refused}");
    invite(3, 1).expect(201);
    let one = |tenant: &Tenant, email: &str| {
        tenant.post("/v1/users", &json!({"email": email, "role": "viewer"}))
    };
    let refused = one(&many, "q@many.example").problem(413);
    assert_eq!(refused["limit"], "invitations_per_day_max", "{refused}");
    one(&other, "urgent@other.example").expect(201);
    gate.open();
    let waited = before(&mails, "urgent@other.example").0.len();
    assert!(waited <= 16, "{waited} mails before it");
    platform.cli(&["clock", "advance", "25h"]).done();
    let mut again = many.clone();
    again.cookie = platform.sign_in(&many.email, &many.password).cookie().expect("a session");
    one(&again, "q@many.example").expect(201);
    let waited = before(&mails, "q@many.example").0.len();
    assert!(waited <= 1_000, "{waited} mails before it");
}

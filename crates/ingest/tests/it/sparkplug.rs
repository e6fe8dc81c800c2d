//! Sparkplug B on the wire: edge nodes are born, report, are asked for a new birth, are written to
//! and die; who subscribes hears it all, births also later. The page on conformance is held to it.

use std::sync::Arc;

use serde_json::json;
use veritwin_domain::{DeviceId, IngestLimits, Value};
use veritwin_ingest::mqtt::{Broker, CommandError};
use veritwin_ingest::{SinkEntry, SubmitError};

use crate::platform::{
    CHILD, Client, DEVICE, Store, TENANT, again, broker, connect, packet, publish, subscribe, text,
};

const DOCUMENT: &str = include_str!("../../../../docs/reference/sparkplug-conformance.md");
/// The tests that a row may name.
const SOURCES: [(&str, &str); 5] = [
    ("node", include_str!("../../src/sparkplug/node/tests.rs")),
    ("value", include_str!("../../src/sparkplug/value.rs")),
    ("topic", include_str!("../../src/sparkplug/topic.rs")),
    ("encode", include_str!("../../src/sparkplug/encode.rs")),
    ("sparkplug", include_str!("sparkplug.rs")),
];
const STATES: [&str; 4] = ["tested", "client", "not applicable", "not yet"];

fn number(field: u8, number: u64) -> Vec<u8> {
    let (mut out, mut rest) = (vec![field << 3], number);
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            return out;
        }
    }
}

fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = number(field, content.len() as u64);
    out[0] |= 2;
    out.extend_from_slice(content);
    out
}

/// A metric with a data type; its value is of one field.
fn metric(name: &str, alias: u64, datatype: u64, value: &[u8]) -> Vec<u8> {
    let mut metric = Vec::new();
    if !name.is_empty() {
        metric.extend(bytes(1, name.as_bytes()));
    }
    if alias > 0 {
        metric.extend(number(2, alias));
    }
    if datatype > 0 {
        metric.extend(number(4, datatype));
    }
    metric.extend_from_slice(value);
    bytes(2, &metric)
}

fn payload(seq: Option<u64>, metrics: &[Vec<u8>]) -> Vec<u8> {
    let seq = seq.map(|seq| number(3, seq)).unwrap_or_default();
    [number(1, 1_600_000_000_000), metrics.concat(), seq].concat()
}

fn integer(value: u64) -> Vec<u8> {
    number(11, value)
}

fn bd_seq(value: u64) -> Vec<u8> {
    metric("bdSeq", 0, 4, &integer(value))
}

fn birth(number: u64) -> Vec<u8> {
    let rebirth = metric("Node Control/Rebirth", 0, 11, &self::number(14, 0));
    payload(Some(0), &[bd_seq(number), rebirth, metric("speed", 1, 4, &integer(10))])
}

/// An edge node whose will is its NDEATH, and that listens to its commands.
async fn edge_node(broker: &Arc<Broker>, token: &str, number: u64) -> Client {
    let will = payload(None, &[bd_seq(number)]);
    let mut body = text("MQTT");
    body.extend_from_slice(&[5, 0x80 | 0x04 | 0x02, 0, 60, 0]);
    body.extend(text("edge"));
    // Its will, at QoS 0.
    body.push(0);
    body.extend(text("spBv1.0/g/NDEATH/n"));
    body.extend_from_slice(&u16::try_from(will.len()).expect("short").to_be_bytes());
    body.extend(will);
    body.extend(text(token));
    let mut client = Client::open(broker);
    client.send(&packet(0x10, &body)).await;
    assert_eq!(client.packet().await[0], 0x20);
    client.send(&subscribe(5, 1, &[("spBv1.0/g/NCMD/n", 0), ("spBv1.0/g/DCMD/n/#", 0)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    client
}

async fn listener(broker: &Arc<Broker>, filter: &str) -> Client {
    let mut client = Client::open(broker);
    client.send(&connect(4, 2, "host", "other")).await;
    assert_eq!(client.packet().await[0], 0x20);
    client.send(&subscribe(4, 1, &[(filter, 0)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    client
}

/// Publishes at QoS 1 and waits; the reason code.
async fn tell(client: &mut Client, topic: &str, payload: &[u8]) -> u8 {
    client.send(&publish(5, 1, 9, topic, payload)).await;
    loop {
        let answer = client.packet().await;
        if answer[0] == 0x40 {
            let header_bytes = if answer[1] < 0x80 { 2 } else { 3 };
            return if answer[1] == 2 { 0 } else { answer[header_bytes + 2] };
        }
    }
}

/// The topic and payload of the next PUBLISH at QoS 0.
async fn heard(client: &mut Client, level: u8) -> (String, Vec<u8>) {
    loop {
        let message = client.packet().await;
        if message[0] & 0xf6 != 0x30 {
            continue;
        }
        let body = if message[1] < 0x80 { &message[2..] } else { &message[3..] };
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8");
        let rest = &body[2 + length..];
        // Version 5 without properties.
        return (topic, if level == 5 { rest[1..].to_vec() } else { rest.to_vec() });
    }
}

fn of_device(store: &Store, device: DeviceId) -> Vec<(String, Value)> {
    let batches = store.entries().into_iter().filter_map(|entry| match entry {
        SinkEntry::Readings(batch) if batch.device == device => Some(batch.readings),
        _ => None,
    });
    batches.flatten().map(|reading| (reading.key.to_string(), reading.value)).collect()
}

fn speed(value: i64) -> (String, Value) {
    ("speed".to_owned(), Value::Integer(value))
}

#[tokio::test]
async fn a_node_reports_is_heard_and_dies_with_its_will() {
    let (broker, store) = broker(IngestLimits::default());
    let mut host = listener(&broker, "spBv1.0/#").await;
    let (topic, state) = heard(&mut host, 4).await;
    assert_eq!(topic, "spBv1.0/STATE/veritwin");
    assert_eq!(state, br#"{"online":true,"timestamp":1700000000000}"#);
    let mut node = edge_node(&broker, "token", 3).await;
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(3)).await, 0);
    let data = payload(Some(1), &[metric("", 1, 0, &integer(11))]);
    assert_eq!(tell(&mut node, "spBv1.0/g/NDATA/n", &data).await, 0);
    assert_eq!(of_device(&store, DEVICE), [speed(10), speed(11)]);
    // The tree is told that the host is there when somebody makes use of it.
    for expect in ["STATE/veritwin", "g/NBIRTH/n", "g/NDATA/n"] {
        assert_eq!(heard(&mut host, 4).await.0, format!("spBv1.0/{expect}"));
    }
    let view = broker.sparkplug_view(TENANT, DEVICE).expect("born");
    assert!(view.is_online && view.metrics.iter().any(|metric| metric.is_control));
    node.leave().await;
    let (topic, death) = heard(&mut host, 4).await;
    assert_eq!(topic, "spBv1.0/g/NDEATH/n");
    // With the time of delivery, which the clock of the tests gives.
    assert!(death.starts_with(&number(1, 1_700_000_000_000)), "{death:02x?}");
    let view = broker.sparkplug_view(TENANT, DEVICE).expect("known");
    assert_eq!((view.is_online, view.bd_seq, view.deaths), (false, Some(3), 1));
}

#[tokio::test]
async fn births_are_there_for_who_subscribes_later() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    let mut late = listener(&broker, "$sparkplug/certificates/#").await;
    let (topic, certificate) = heard(&mut late, 4).await;
    assert_eq!(topic, "$sparkplug/certificates/spBv1.0/g/NBIRTH/n");
    assert_eq!(certificate, birth(0), "as it came");
    assert_eq!(tell(&mut node, &topic, b"x").await, 0x90, "nobody else writes there");
    // After a restart it is what there is to show.
    let broker = again(&store);
    assert_eq!(broker.sparkplug_view(TENANT, DEVICE), None);
    let view = broker.sparkplug_known(TENANT, DEVICE).await.expect("a certificate");
    assert_eq!((view.is_online, view.bd_seq, view.metrics.len()), (false, Some(0), 3));
    assert_eq!(broker.sparkplug_known(TENANT, CHILD).await, None);
}

#[tokio::test]
async fn a_birth_is_asked_for_where_one_is_missing() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    let data = payload(Some(5), &[metric("", 1, 0, &integer(11))]);
    assert_eq!(tell(&mut node, "spBv1.0/g/NDATA/n", &data).await, 0x99);
    let (topic, command) = heard(&mut node, 5).await;
    assert_eq!(topic, "spBv1.0/g/NCMD/n");
    let name = b"Node Control/Rebirth";
    assert!(command.windows(name.len()).any(|part| part == name));
    assert!(of_device(&store, DEVICE).is_empty());
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    let view = broker.sparkplug_view(TENANT, DEVICE).expect("born");
    assert_eq!((view.rebirths, view.gaps), (1, 0));
    assert!(view.last_error.expect("an error").1.contains("NBIRTH first"));
}

#[tokio::test]
async fn devices_behind_a_node_are_looked_up_first() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "gateway", 0).await;
    let device_birth = payload(Some(1), &[metric("flow", 7, 4, &integer(1))]);
    let data = payload(Some(2), &[metric("", 7, 0, &integer(2))]);
    // All in one write: what comes after the birth waits for it.
    let mut all = publish(5, 0, 0, "spBv1.0/g/NBIRTH/n", &birth(0));
    all.extend(publish(5, 0, 0, "spBv1.0/g/DBIRTH/n/pump", &device_birth));
    all.extend(publish(5, 0, 0, "spBv1.0/g/DDATA/n/pump", &data));
    node.send(&all).await;
    let foreign = payload(Some(3), &[metric("flow", 8, 4, &integer(1))]);
    assert_eq!(tell(&mut node, "spBv1.0/g/DBIRTH/n/valve", &foreign).await, 0x87);
    let flow = |value| ("flow".to_owned(), Value::Integer(value));
    assert_eq!(of_device(&store, CHILD), [flow(1), flow(2)]);
    assert!(broker.sparkplug_view(TENANT, CHILD).expect("born").is_online);

    let mut late = listener(&broker, "$sparkplug/certificates/spBv1.0/g/DBIRTH/#").await;
    let expect = "$sparkplug/certificates/spBv1.0/g/DBIRTH/n/pump".to_owned();
    assert_eq!(heard(&mut late, 4).await, (expect, device_birth));
    let death = payload(Some(4), &[]);
    assert_eq!(tell(&mut node, "spBv1.0/g/DDEATH/n/pump", &death).await, 0);
    let view = broker.sparkplug_view(TENANT, CHILD).expect("known");
    assert!(!view.is_online && view.metrics[0].is_stale && view.gaps == 0);
    let data = payload(Some(5), &[metric("", 7, 0, &integer(3))]);
    assert_eq!(tell(&mut node, "spBv1.0/g/DDATA/n/pump", &data).await, 0x99);
}

#[tokio::test]
async fn a_node_that_is_no_gateway_has_no_devices() {
    let (broker, _store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    let device_birth = payload(Some(1), &[metric("flow", 7, 4, &integer(1))]);
    assert_eq!(tell(&mut node, "spBv1.0/g/DBIRTH/n/pump", &device_birth).await, 0x87);
}

#[tokio::test]
async fn behind_a_node_that_is_not_born_nothing_is_made() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "gateway", 0).await;
    let device_birth = payload(Some(1), &[metric("flow", 7, 4, &integer(1))]);
    assert_eq!(tell(&mut node, "spBv1.0/g/DBIRTH/n/pump", &device_birth).await, 0x99);
    assert_eq!(heard(&mut node, 5).await.0, "spBv1.0/g/NCMD/n", "a birth is asked for");
    assert_eq!(store.links.lock().len(), 1, "the node's own");
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    assert_eq!(tell(&mut node, "spBv1.0/g/DBIRTH/n/pump", &device_birth).await, 0);
    assert_eq!(store.links.lock().len(), 2);
}

#[tokio::test]
async fn what_could_not_be_stored_is_said_again() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    let data = |seq, value| payload(Some(seq), &[metric("", 1, 0, &integer(value))]);
    *store.failure.lock() = Some(SubmitError::Unavailable("disk full".to_owned()));
    assert_eq!(tell(&mut node, "spBv1.0/g/NDATA/n", &data(1, 11)).await, 0x80);
    *store.failure.lock() = None;
    assert_eq!(tell(&mut node, "spBv1.0/g/NDATA/n", &data(2, 12)).await, 0);
    assert_eq!(heard(&mut node, 5).await.0, "spBv1.0/g/NCMD/n", "a birth is asked for");
    let view = broker.sparkplug_view(TENANT, DEVICE).expect("born");
    assert_eq!((view.rebirths, view.gaps), (1, 0));
    assert_eq!(of_device(&store, DEVICE), [speed(10), speed(12)]);
}

#[tokio::test]
async fn metrics_are_written_in_their_type() {
    let (broker, _store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    let write = |metric: &str, value| broker.sparkplug_write(TENANT, DEVICE, metric, &value);
    assert_eq!(write("speed", json!(1)), Err(CommandError::Unknown));
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    assert_eq!(write("speed", json!(-2)), Ok(()));
    let (topic, command) = heard(&mut node, 5).await;
    assert_eq!(topic, "spBv1.0/g/NCMD/n");
    assert!(command.ends_with(&integer((-2i64).cast_unsigned())), "{command:02x?}");
    for (metric, value) in [("speed", json!("fast")), ("unknown", json!(1))] {
        assert!(matches!(write(metric, value), Err(CommandError::Invalid(_))), "{metric}");
    }
    assert_eq!(broker.sparkplug_rebirth(TENANT, DEVICE), Ok(()));
    assert_eq!(heard(&mut node, 5).await.0, "spBv1.0/g/NCMD/n");
    node.leave().await;
    assert!(matches!(write("speed", json!(1)), Err(CommandError::Offline(_))));
    // Nobody else's subscription carries a command out.
    let mut deaf = Client::open(&broker);
    deaf.send(&connect(5, 2, "deaf", "token")).await;
    assert_eq!(deaf.packet().await[0], 0x20);
    let _host = listener(&broker, "spBv1.0/#").await;
    assert_eq!(tell(&mut deaf, "spBv1.0/g/NBIRTH/n", &birth(1)).await, 0);
    let refused = write("speed", json!(1)).expect_err("nobody listens").to_string();
    assert!(refused.contains("not subscribed"), "{refused}");
}

#[tokio::test]
async fn who_is_no_host_commands_nobody() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    let reboot = payload(None, &[metric("Node Control/Reboot", 0, 11, &number(14, 1))]);
    // A thermometer, and an edge node with devices behind it.
    for token in ["other", "gateway"] {
        let mut thief = Client::open(&broker);
        thief.send(&connect(5, 2, "thief", token)).await;
        assert_eq!(thief.packet().await[0], 0x20);
        for topic in ["g/NCMD/n", "g/DCMD/n/pump", "STATE/other"] {
            let code = tell(&mut thief, &format!("spBv1.0/{topic}"), &reboot).await;
            assert_eq!(code, 0x87, "{token}: {topic}");
        }
    }
    let is_relayed = |entry: &SinkEntry| matches!(entry, SinkEntry::Relay { .. });
    assert!(!store.entries().iter().any(is_relayed));
    // One that a person has made a host is one like the platform itself.
    let mut host = Client::open(&broker);
    host.send(&connect(5, 2, "host", "scada")).await;
    assert_eq!(host.packet().await[0], 0x20);
    assert_eq!(tell(&mut host, "spBv1.0/g/NCMD/n", &reboot).await, 0);
    assert_eq!(heard(&mut node, 5).await, ("spBv1.0/g/NCMD/n".to_owned(), reboot));
}

#[tokio::test]
async fn the_hosts_state_is_its_own_and_its_last_word() {
    let (broker, _store) = broker(IngestLimits::default());
    let mut host = listener(&broker, "spBv1.0/STATE/+").await;
    assert_eq!(heard(&mut host, 4).await.0, "spBv1.0/STATE/veritwin");
    let mut node = edge_node(&broker, "scada", 0).await;
    assert_eq!(tell(&mut node, "spBv1.0/STATE/veritwin", b"{}").await, 0x87);
    // Others of the tenant say theirs.
    assert_eq!(tell(&mut node, "spBv1.0/STATE/other", b"{}").await, 0);
    assert_eq!(heard(&mut host, 4).await, ("spBv1.0/STATE/other".to_owned(), b"{}".to_vec()));
    broker.close_all(veritwin_ingest::CloseReason::ShuttingDown);
    let (_, state) = heard(&mut host, 4).await;
    assert_eq!(state, br#"{"online":false,"timestamp":1700000000000}"#);
}

#[tokio::test]
async fn the_hosts_state_has_its_place_among_retained_messages() {
    let (broker, _store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "scada", 0).await;
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth(0)).await, 0);
    for topic in ["a", "spBv1.0/STATE/a", "z"] {
        let mut message = publish(5, 1, 9, topic, b"x");
        message[0] |= 1;
        node.send(&message).await;
        node.expect(&[0x40, 2, 0, 9]).await;
    }
    let mut late = listener(&broker, "#").await;
    for topic in ["a", "spBv1.0/STATE/a", "spBv1.0/STATE/veritwin", "z"] {
        assert_eq!(heard(&mut late, 4).await.0, topic);
    }
    assert_eq!(tell(&mut node, "each/once", b"x").await, 0);
    assert_eq!(heard(&mut late, 4).await.0, "each/once");
}

#[tokio::test]
async fn what_must_not_be_kept_is_refused_by_name_and_by_value() {
    let (broker, store) = broker(IngestLimits::default());
    let mut node = edge_node(&broker, "token", 0).await;
    let named = metric("religion", 1, 4, &integer(1));
    let valued = metric("note", 1, 12, &bytes(15, b"4111 1111 1111 1111"));
    let property = bytes(9, &[bytes(1, b"religion"), bytes(2, &bytes(8, b"x"))].concat());
    let of_property = metric("speed", 1, 4, &[integer(1), property].concat());
    for bad in [named, valued, of_property] {
        let birth = payload(Some(0), &[bd_seq(0), bad]);
        assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", &birth).await, 0x87);
    }
    assert!(of_device(&store, DEVICE).is_empty());
    // Nor is it in what is only passed on, or where a value is said to be none.
    let mut host = Client::open(&broker);
    host.send(&connect(5, 2, "host", "scada")).await;
    assert_eq!(host.packet().await[0], 0x20);
    let named = metric("religion", 1, 4, &integer(1));
    for topic in ["g/NCMD/n", "g/DCMD/n/pump", "g/NDEATH/n"] {
        let bad = payload(None, &[bd_seq(0), named.clone()]);
        assert_eq!(tell(&mut host, &format!("spBv1.0/{topic}"), &bad).await, 0x87, "{topic}");
    }
    let inner = bytes(2, &bytes(1, b"religion"));
    let template = [vec![0x92, 1, u8::try_from(inner.len()).expect("short")], inner].concat();
    let null = metric("a", 1, 19, &[number(7, 1), template].concat());
    let birth_of_null = payload(Some(0), &[bd_seq(0), null]);
    assert_eq!(tell(&mut host, "spBv1.0/g/NBIRTH/n", &birth_of_null).await, 0x87);
    let broken = &birth(0)[..20];
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH/n", broken).await, 0x99);
    assert_eq!(tell(&mut node, "spBv1.0/g/NBIRTH", &birth(0)).await, 0x90);
}

/// Statement, state and note of each row.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let lines = DOCUMENT.lines().filter(|line| line.starts_with("| `tck-id-"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", id, asks, state, note, ""] = cells[..] else { panic!("{line}") };
            assert!(!asks.is_empty() && !note.is_empty(), "{line}");
            (id, state, note)
        })
        .collect()
}

#[test]
fn the_page_on_conformance_says_what_is_tested() {
    let (rows, mut seen) = (rows(), std::collections::BTreeSet::new());
    for (id, state, note) in &rows {
        assert!(seen.insert(*id), "twice: {id}");
        assert!(STATES.contains(state), "{id}: {state}");
        if *state != "tested" {
            continue;
        }
        let name = note.split('`').nth(1).expect(id);
        let (file, test) = name.split_once("::").expect(name);
        let source = SOURCES.iter().find(|(known, _)| *known == file).expect(name).1;
        assert!(source.contains(&format!("fn {test}(")), "{name}");
    }
    let count = |state: &str| rows.iter().filter(|row| row.1 == state).count();
    let [tested, client, not_applicable, not_yet] = STATES.map(count);
    let expect = format!(
        "{} statements: {tested} tested, {client} of clients only, {not_applicable} not \
         applicable, {not_yet} not yet.",
        rows.len()
    );
    assert!(DOCUMENT.contains(&expect), "expected: {expect}");
}

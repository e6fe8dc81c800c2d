//! What has to hold for any payload of Sparkplug B: what is read can be written and is read as the
//! same, a birth says by name what data say by alias, a command is read as the value that it was
//! made of, and a node takes nothing from who was not born as it.

use serde_json::Value as Json;
use veritwin_domain::{DeviceId, IngestLimits, Reading, Screening, Timestamp, Value};

use super::encode::{Written, command, death_at};
use super::metric::{Context, Counts, Metrics};
use super::node::{Fault, Node, Sender};
use super::payload::{DataSet, Metric, Parameter, Payload, Raw, Template, read, read_passed_on};
use super::topic::{Kind, PREFIX, Topic, of_command};
use super::value::to_send;
use super::wire::Writer;
use crate::arrivals::UNTIMED;
use crate::fuzzing::check_screened;
use crate::payload::KeyTable;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// Longest text of a fault.
const FAULT_BYTES_MAX: usize = 300;
/// The number that a whole number has among the fields of a metric, and of a property, a parameter
/// and a cell; other values follow it.
const OF_METRIC: u64 = 11;
const OF_PART: u64 = 4;
const OF_CELL: u64 = 2;

/// A topic, a payload, or a row of messages, as the first byte says.
pub fn sparkplug(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => check_topic(rest),
        Some((1, rest)) => check_messages(rest),
        _ => check_payload(data.get(1..).unwrap_or_default()),
    }
}

fn check_topic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let again = match Topic::parse(text) {
        Ok(Topic::State(host)) => format!("{PREFIX}STATE/{host}"),
        Ok(Topic::Node { group, node, kind, device }) => {
            let letter = match kind {
                Kind::Birth => "BIRTH",
                Kind::Data => "DATA",
                Kind::Death => "DEATH",
                Kind::Command => {
                    assert_eq!(of_command(group, node, device), text);
                    "CMD"
                }
            };
            match device {
                None => format!("{PREFIX}{group}/N{letter}/{node}"),
                Some(device) => format!("{PREFIX}{group}/D{letter}/{node}/{device}"),
            }
        }
        Err(_) => return,
    };
    assert_eq!(again, text);
}

fn check_payload(data: &[u8]) {
    let found = read(data, Screening::ALL);
    let freely = read(data, Screening::NONE);
    let payload = match found {
        Err(error) => {
            assert!(error.position <= data.len(), "{error}");
            assert!(error.to_string().len() <= FAULT_BYTES_MAX, "{error}");
            assert!(read_passed_on(data, Screening::ALL).is_err(), "passed on all the same");
            assert!(freely.is_err() || error.rule.is_some(), "no rule is named: {error}");
            return;
        }
        Ok(payload) => payload,
    };
    let once = write(&payload);
    let freely = freely.map(|payload| write(&payload));
    assert_eq!(freely.as_deref(), Ok(&once[..]), "the screening changes a payload");
    let again = read(&once, Screening::ALL).unwrap_or_else(|error| panic!("written: {error}"));
    assert_eq!(write(&again), once, "written again");
    check_death(data, &payload);
    check_birth(&payload);
}

/// Another time, and nothing else, is in a death that the broker delivers.
fn check_death(data: &[u8], payload: &Payload<'_>) {
    let stamped = death_at("spBv1.0/g/NDEATH/n", data, NOW);
    let stamped = stamped.unwrap_or_else(|| panic!("a payload that is read has no time"));
    let found = read(&stamped, Screening::NONE).unwrap_or_else(|error| panic!("{error}"));
    let timestamp = u64::try_from(NOW.as_millis()).ok();
    assert_eq!(write(&found), write(&Payload { timestamp, ..payload.clone() }));
}

fn check_birth(payload: &Payload<'_>) {
    let limits = IngestLimits::default();
    let mut keys = KeyTable::new(Screening::ALL);
    let mut context = Context { keys: &mut keys, limits: &limits, untimed: UNTIMED };
    let Ok((mut metrics, readings)) = Metrics::of_birth(payload, &mut context) else { return };
    assert_eq!(metrics.len(), payload.metrics.len());
    assert!(readings.len() <= metrics.len());
    check_screened(&readings);
    for Reading { value, .. } in &readings {
        assert!(value.text_bytes() <= limits.value_bytes_max);
        if let Value::Json(text) = value {
            assert!(serde_json::from_str::<Json>(text).is_ok(), "no JSON: {text}");
        }
    }
    let again = metrics.take(payload, &mut context);
    assert_eq!(again.as_ref(), Ok(&readings), "said again as data");
    let mut short = payload.clone();
    for metric in &mut short.metrics {
        metric.name = metric.name.filter(|_| metric.alias.is_none());
        metric.datatype = None;
    }
    let bytes = write(&short);
    let short = read(&bytes, Screening::NONE).unwrap_or_else(|error| panic!("short: {error}"));
    assert_eq!(metrics.take(&short, &mut context).as_ref(), Ok(&readings), "by alias");
    for reading in &readings {
        check_command(reading, &mut metrics, &mut context);
    }
}

/// The value of a reading, written to the device, is read as the same.
fn check_command(reading: &Reading, metrics: &mut Metrics, context: &mut Context<'_>) {
    let defined = metrics.of_name(&reading.key);
    let Some((datatype, alias)) = defined else { panic!("{} is not defined", reading.key) };
    let value = match &reading.value {
        // Wider than the type: it came as a double.
        Value::Double(number)
            if datatype.name() == "Float" && f64::from(*number as f32) != *number =>
        {
            return;
        }
        Value::Double(number) => Json::from(*number),
        Value::Integer(number) => Json::from(*number),
        Value::Boolean(flag) => Json::from(*flag),
        Value::Text(text) => Json::from(&**text),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_default(),
    };
    let Ok(sent) = to_send(datatype, &value) else { return };
    let of = alias.map_or(Written::Name(&reading.key), Written::Alias);
    let bytes = command(of, datatype, &sent, NOW);
    let found = read_passed_on(&bytes, Screening::NONE);
    let found = found.unwrap_or_else(|error| panic!("a command: {error}"));
    let again = metrics.take(&found, context);
    let again = again.unwrap_or_else(|wrong| panic!("a command: {wrong:?}"));
    let [again] = &again[..] else { panic!("a command of {} values", again.len()) };
    assert_eq!((&again.key, &again.value), (&reading.key, &reading.value), "a command");
}

/// Messages of two devices, each with two connections, about one node: kind and sender, length,
/// payload.
fn check_messages(data: &[u8]) {
    let (limits, counts) = (IngestLimits::default(), Counts::default());
    let mut keys = KeyTable::new(Screening::ALL);
    let mut context = Context { keys: &mut keys, limits: &limits, untimed: UNTIMED };
    let mut node = Node::new(DeviceId::from_bytes([1; 16]), &counts);
    let mut rest = data;
    while let [kind, length, more @ ..] = rest {
        let (bytes, behind) = more.split_at(usize::from(*length).min(more.len()));
        rest = behind;
        let device = DeviceId::from_bytes([1 + (kind >> 7); 16]);
        let sender = Sender { device, link: u64::from(1 + (kind >> 6)), at: NOW };
        let Ok(payload) = read(bytes, Screening::ALL) else { continue };
        let was_alive = node.is_online();
        let is_its_own = node.is_born_by(sender);
        let name = if kind & 8 == 0 { "a" } else { "b" };
        let behind = (name, DeviceId::from_bytes([9; 16]));
        let told = match kind & 7 {
            0 => node.birth(sender, &payload, &mut context).map(drop),
            1 => node.death(sender, &payload),
            2 => node.device_birth(sender, behind, &payload, &mut context).map(drop),
            3 => node.device_data(sender, name, &payload, &mut context).map(drop),
            4 => node.device_death(sender, name, &payload).map(drop),
            5 => {
                node.left(sender.link);
                Ok(())
            }
            _ => node.data(sender, &payload, &mut context).map(drop),
        };
        match kind & 7 {
            0 => assert!(told.is_err() || node.is_born_by(sender), "born, and not by it"),
            1 | 5 => assert!(!node.is_online() || was_alive, "death gives life"),
            _ => {
                assert!(told.is_err() || is_its_own, "taken from who was not born as it");
                assert_eq!(node.is_online(), was_alive, "data give life or take it");
                let is_unborn = matches!(told, Err(Fault::Unborn(_)));
                assert!(was_alive || told.is_err(), "taken of the dead");
                assert!(!is_unborn || node.is_born_by(sender) || !was_alive, "asked of another");
            }
        }
        check_view(&node);
    }
}

/// What is shown adds up.
fn check_view(node: &Node) {
    let view = node.view(("g", "n"), None);
    let (born, alive) = view.devices;
    assert!(alive <= born && (view.is_online || alive == 0), "alive behind a dead node");
    assert!(view.births >= view.deaths, "more deaths than births");
    assert!(view.metrics.iter().all(|metric| metric.is_stale != view.is_online));
    assert_eq!(view.born_at.is_some(), view.births > 0);
}

fn write(payload: &Payload<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    if let Some(at) = payload.timestamp {
        out.number(1, at);
    }
    for metric in &payload.metrics {
        out.bytes(2, &write_metric(metric));
    }
    if let Some(seq) = payload.seq {
        out.number(3, seq);
    }
    out.finish()
}

fn write_metric(metric: &Metric<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    if let Some(name) = metric.name {
        out.bytes(1, name.as_bytes());
    }
    let datatype = metric.datatype.map(u64::from);
    for (field, number) in [(2, metric.alias), (3, metric.timestamp), (4, datatype)] {
        if let Some(number) = number {
            out.number(field, number);
        }
    }
    let Metric { is_historical, is_transient, is_null, properties, .. } = metric;
    for (field, flag) in [(5, is_historical), (6, is_transient), (7, is_null)] {
        if *flag {
            out.number(field, 1);
        }
    }
    let mut set = Writer::default();
    let quality = properties.quality.map(|quality| ("Quality", Raw::Number(quality.into())));
    let unit = properties.unit.map(|unit| ("engUnit", Raw::Text(unit)));
    for (key, value) in quality.into_iter().chain(unit) {
        set.bytes(1, key.as_bytes());
        set.bytes(2, &one(&value, OF_PART));
    }
    let set = set.finish();
    if !set.is_empty() {
        out.bytes(9, &set);
    }
    write_value(&mut out, &metric.value, OF_METRIC);
    out.finish()
}

/// A message with one value.
fn one(value: &Raw<'_>, number: u64) -> Vec<u8> {
    let mut out = Writer::default();
    write_value(&mut out, value, number);
    out.finish()
}

fn write_value(out: &mut Writer, value: &Raw<'_>, number: u64) {
    match value {
        Raw::None => {}
        Raw::Number(value) => out.number(number, *value),
        Raw::Float(value) => out.float(number + 1, *value),
        Raw::Double(value) => out.double(number + 2, *value),
        Raw::Boolean(flag) => out.number(number + 3, u64::from(*flag)),
        Raw::Text(text) => out.bytes(number + 4, text.as_bytes()),
        Raw::Bytes(bytes) => out.bytes(number + 5, bytes),
        Raw::DataSet(table) => out.bytes(number + 6, &write_table(table)),
        Raw::Template(template) => out.bytes(number + 7, &write_template(template)),
        Raw::Extension if number == OF_METRIC => out.bytes(number + 8, b""),
        Raw::Extension => out.bytes(number + 5, b""),
    }
}

fn write_table(table: &DataSet<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    out.number(1, table.columns.len() as u64);
    for column in &table.columns {
        out.bytes(2, column.as_bytes());
    }
    for datatype in &table.types {
        out.number(3, (*datatype).into());
    }
    for row in &table.rows {
        let mut cells = Writer::default();
        for cell in row {
            cells.bytes(1, &one(cell, OF_CELL));
        }
        out.bytes(4, &cells.finish());
    }
    out.finish()
}

fn write_template(template: &Template<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    if let Some(version) = template.version {
        out.bytes(1, version.as_bytes());
    }
    for metric in &template.metrics {
        out.bytes(2, &write_metric(metric));
    }
    for parameter in &template.parameters {
        out.bytes(3, &write_parameter(parameter));
    }
    if let Some(reference) = template.reference {
        out.bytes(4, reference.as_bytes());
    }
    out.number(5, u64::from(template.is_definition));
    out.finish()
}

fn write_parameter(parameter: &Parameter<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(1, parameter.name.as_bytes());
    out.number(2, parameter.datatype.into());
    write_value(&mut out, &parameter.value, OF_PART);
    out.finish()
}

//! Edge nodes through their lives: what is taken, what is refused, and when a birth is asked for.

use veritwin_domain::{IngestLimits, Screening, Value};

use super::super::payload;
use super::super::wire::Writer;
use super::*;
use crate::payload::KeyTable;

const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
const OTHER: DeviceId = DeviceId::from_bytes([2; 16]);
const PUMP: DeviceId = DeviceId::from_bytes([3; 16]);
const LINK: u64 = 7;
const DOUBLE: u32 = 10;
const INT64: u32 = 4;

/// A metric with what it is given of name, alias and data type.
fn metric(name: &str, alias: u64, datatype: u32, value: Raw<'_>) -> Vec<u8> {
    let mut metric = Writer::default();
    if !name.is_empty() {
        metric.bytes(1, name.as_bytes());
    }
    if alias > 0 {
        metric.number(2, alias);
    }
    if datatype > 0 {
        metric.number(4, datatype.into());
    }
    match value {
        Raw::Number(number) => metric.number(11, number),
        Raw::Double(number) => metric.double(13, number),
        Raw::Text(text) => metric.bytes(15, text.as_bytes()),
        _ => metric.number(7, 1),
    }
    metric.finish()
}

fn message(seq: Option<u64>, metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Writer::default();
    message.number(1, 1_700_000_000_000);
    for metric in metrics {
        message.bytes(2, metric);
    }
    if let Some(seq) = seq {
        message.number(3, seq);
    }
    message.finish()
}

fn bd_seq(number: u64) -> Vec<u8> {
    metric("bdSeq", 0, INT64, Raw::Number(number))
}

/// A node, and what its messages came to.
struct World {
    node: Node,
    keys: KeyTable,
    sender: Sender,
}

type Found = Result<Vec<(String, Value)>, Fault>;

impl World {
    fn new() -> Self {
        let node = Node::new(DEVICE, &Counts::default());
        let keys = KeyTable::new(Screening::ALL);
        let sender = Sender { device: DEVICE, link: LINK, at: Timestamp::from_micros(5) };
        Self { node, keys, sender }
    }

    fn hear(
        &mut self,
        bytes: &[u8],
        hear: impl FnOnce(
            &mut Node,
            Sender,
            &Payload<'_>,
            &mut Context<'_>,
        ) -> Result<Vec<Reading>, Fault>,
    ) -> Found {
        let payload = payload::read(bytes, Screening::ALL)?;
        let limits = IngestLimits::default();
        let mut context =
            Context { keys: &mut self.keys, limits: &limits, untimed: Timestamp::MIN };
        let found = hear(&mut self.node, self.sender, &payload, &mut context);
        if let Err(fault) = &found {
            self.node.note(self.sender.at, fault);
        }
        let plain = |reading: Reading| (reading.key.to_string(), reading.value);
        found.map(|readings| readings.into_iter().map(plain).collect())
    }

    fn birth(&mut self, seq: u64, number: u64) -> Found {
        let metrics = [bd_seq(number), metric("line/speed", 1, DOUBLE, Raw::Double(1.5))];
        let bytes = message(Some(seq), &metrics);
        self.hear(&bytes, Node::birth)
    }

    fn data(&mut self, seq: u64, metrics: &[Vec<u8>]) -> Found {
        self.hear(&message(Some(seq), metrics), Node::data)
    }

    fn device_birth(&mut self, seq: u64, name: &str, alias: u64) -> Found {
        let metrics = [metric("flow", alias, DOUBLE, Raw::Double(2.5))];
        let bytes = message(Some(seq), &metrics);
        self.hear(&bytes, |node, sender, payload, context| {
            node.device_birth(sender, (name, PUMP), payload, context)
        })
    }

    fn device_data(&mut self, seq: u64, name: &str, alias: u64) -> Found {
        let bytes = message(Some(seq), &[metric("", alias, 0, Raw::Double(3.5))]);
        self.hear(&bytes, |node, sender, payload, context| {
            node.device_data(sender, name, payload, context).map(|(_, readings)| readings)
        })
    }

    fn death(&mut self, number: u64) -> Result<(), Fault> {
        let bytes = message(None, &[bd_seq(number)]);
        let payload = payload::read(&bytes, Screening::ALL)?;
        self.node.death(self.sender, &payload)
    }

    fn asks(&mut self, seconds: u64) -> bool {
        self.node.ask_for_birth(Duration::from_secs(seconds))
    }
}

fn readings(all: &[(&str, f64)]) -> Found {
    Ok(all.iter().map(|(key, value)| ((*key).to_owned(), Value::Double(*value))).collect())
}

fn fault(found: &Found) -> String {
    found.as_ref().expect_err("refused").text()
}

#[test]
fn a_node_is_born_reports_by_alias_and_dies() {
    let mut world = World::new();
    assert_eq!(world.birth(0, 4), readings(&[("line/speed", 1.5)]), "bdSeq is no reading");
    let by_alias = metric("", 1, 0, Raw::Double(2.0));
    assert_eq!(world.data(1, std::slice::from_ref(&by_alias)), readings(&[("line/speed", 2.0)]));
    let by_name = metric("line/speed", 0, 0, Raw::Double(3.0));
    assert_eq!(world.data(2, &[by_name]), readings(&[("line/speed", 3.0)]));
    assert_eq!(world.data(3, &[metric("", 1, 0, Raw::None)]), readings(&[]), "null");
    assert_eq!(world.death(3), Ok(()), "of an older birth");
    assert!(world.node.is_online());
    assert_eq!(world.death(4), Ok(()));
    let view = world.node.view(("g", "n"), None);
    assert!(!view.is_online && view.metrics.iter().all(|metric| metric.is_stale));
    assert_eq!((view.bd_seq, view.seq, view.births, view.deaths), (Some(4), Some(3), 1, 1));
    assert!(fault(&world.data(4, &[by_alias])).contains("not born"));
    assert!(world.asks(0));
}

#[test]
fn numbers_count_from_birth_on_and_wrap() {
    let mut world = World::new();
    world.birth(254, 0).expect("born");
    let value = || [metric("", 1, 0, Raw::Double(1.0))];
    for seq in [255, 0, 1] {
        world.data(seq, &value()).expect("taken");
    }
    assert!(!world.asks(0));
    // What comes after a gap is taken, and a birth asked for: once in a while.
    for (seq, at, asks) in [(3, 0, true), (9, 5, false), (20, 10, true)] {
        assert_eq!(world.data(seq, &value()), readings(&[("line/speed", 1.0)]), "{seq}");
        assert_eq!(world.asks(at), asks, "{seq}");
    }
    let view = world.node.view(("g", "n"), None);
    assert_eq!((view.gaps, view.rebirths), (3, 2));
    assert!(view.last_error.expect("an error").1.contains("20 came where 10"));
    for bytes in [message(None, &value()), message(Some(256), &value())] {
        assert!(fault(&world.hear(&bytes, Node::data)).contains("0 to 255"));
    }
}

#[test]
fn devices_are_born_after_their_node_and_die_with_it() {
    let mut world = World::new();
    assert!(fault(&world.device_birth(1, "pump", 5)).contains("not born"));
    world.birth(0, 0).expect("born");
    assert!(fault(&world.device_data(1, "pump", 5)).contains("DBIRTH"));
    assert_eq!(world.device_birth(2, "pump", 5), readings(&[("flow", 2.5)]));
    assert_eq!(world.device_data(3, "pump", 5), readings(&[("flow", 3.5)]));
    assert!(fault(&world.device_data(4, "pump", 1)).contains("no birth has defined"));
    assert!(fault(&world.device_birth(5, "valve", 1)).contains("alias"), "the node's own");
    assert!(fault(&world.device_birth(6, "valve", 5)).contains("alias"), "the pump's");
    world.device_birth(7, "pump", 6).expect("born again");
    world.device_birth(8, "valve", 5).expect("free again");
    assert_eq!(world.node.view(("g", "n"), None).devices, (2, 2));
    assert_eq!(world.node.name_of(PUMP), Some(Some("pump")));
    world.node.left(LINK + 1);
    assert!(world.node.is_online());
    world.node.left(LINK);
    assert_eq!(world.node.view(("g", "n"), None).devices, (2, 0));
    world.birth(0, 1).expect("born again");
    assert_eq!(world.node.view(("g", "n"), None).devices, (0, 0), "they have to be born again");
}

#[test]
fn a_node_is_its_devices_while_that_is_alive() {
    let mut world = World::new();
    world.birth(0, 0).expect("born");
    world.sender.device = OTHER;
    for found in [world.birth(0, 1), world.data(1, &[])] {
        assert!(fault(&found).contains("another device's"));
    }
    assert!(world.death(0).is_err());
    // Its own device on a newer connection takes it over.
    world.sender = Sender { device: DEVICE, link: LINK + 1, ..world.sender };
    assert!(fault(&world.data(1, &[])).contains("another connection"));
    world.birth(0, 2).expect("born");
    world.sender.link = LINK;
    assert!(fault(&world.data(1, &[])).contains("another connection"));
}

#[test]
fn births_that_are_not_right_change_nothing() {
    let mut world = World::new();
    world.birth(0, 0).expect("born");
    let speed = |alias| metric("speed", alias, DOUBLE, Raw::Double(1.0));
    let check = |world: &mut World, metrics: &[Vec<u8>], part: &str| {
        let text = fault(&world.hear(&message(Some(0), metrics), Node::birth));
        assert!(text.contains(part), "{part}: {text}");
    };
    check(&mut world, &[speed(1)], "bdSeq");
    check(&mut world, &[bd_seq(1), speed(1), speed(2)], "a name that no other has");
    let other = metric("other", 1, DOUBLE, Raw::Double(1.0));
    check(&mut world, &[bd_seq(1), speed(1), other], "an alias that no other has");
    check(&mut world, &[bd_seq(1), metric("", 1, DOUBLE, Raw::None)], "expected a name");
    check(&mut world, &[bd_seq(1), metric("a", 1, 0, Raw::None)], "expected a data type");
    check(&mut world, &[bd_seq(1), metric("a", 1, 99, Raw::None)], "data type");
    check(&mut world, &[bd_seq(1), metric("a", 1, DOUBLE, Raw::Text("x"))], "Double");
    check(&mut world, &[bd_seq(1), metric("religion", 1, DOUBLE, Raw::None)], "religion");
    let card = metric("note", 1, 12, Raw::Text("4111 1111 1111 1111"));
    check(&mut world, &[bd_seq(1), card], "card_number");
    let view = world.node.view(("g", "n"), None);
    assert_eq!((view.is_online, view.bd_seq, view.births), (true, Some(0), 1));
}

#[test]
fn what_is_written_has_the_type_of_its_birth() {
    let mut world = World::new();
    assert_eq!(world.node.writable(None, "line/speed"), None);
    world.birth(0, 0).expect("born");
    let (datatype, alias) = world.node.writable(None, "line/speed").expect("defined");
    assert_eq!((datatype.name(), alias), ("Double", Some(1)));
    assert_eq!(world.node.writable(None, "unknown"), None);
    world.device_birth(1, "pump", 5).expect("born");
    assert!(world.node.writable(Some("pump"), "flow").is_some());
    world.node.left(LINK);
    assert_eq!(world.node.writable(Some("pump"), "flow"), None);
}

//! Packets of a connected client that break a standard: the connection ends, 5.0 is told why, and
//! nothing is stored.

use super::Step::{Refused, Send, Stored};
use super::bytes::{
    ATTRIBUTES, READING, connected, field, property_block, publish_to, subscribe_to, unsubscribe,
    with_properties,
};
use super::{Case, case};
use crate::platform::{TELEMETRY, packet, text};

/// A packet that breaks what these statements say. Without statements of a standard it is right
/// there, or unknown.
struct Row {
    v5: &'static [&'static str],
    v3: &'static [&'static str],
    what: &'static str,
    /// The reason code of 5.0.
    code: u8,
    bytes: fn(u8) -> Vec<u8>,
}

const fn row(
    v5: &'static [&'static str],
    v3: &'static [&'static str],
    what: &'static str,
    code: u8,
    bytes: fn(u8) -> Vec<u8>,
) -> Row {
    Row { v5, v3, what, code, bytes }
}

pub(super) fn cases() -> Vec<Case> {
    let parts = [strings(), headers(), ids(), publish(), subscribe(), unsubscribe_rows(), others()];
    let mut cases = Vec::new();
    for Row { v5, v3, what, code, bytes } in parts.into_iter().flatten() {
        for (level, statements) in [(5, v5), (4, v3)] {
            if !statements.is_empty() {
                let steps = vec![Send(bytes(level)), Refused(code), Stored(0)];
                cases.push(case(level, statements, what, connected(level, steps)));
            }
        }
    }
    cases
}

fn strings() -> Vec<Row> {
    vec![
        row(
            &["1.5.4-1", "3.3.2-1"],
            &["1.5.3-1", "3.3.2-1"],
            "a topic name that is not UTF-8",
            0x81,
            |level| publish_to(level, b"v1/\xff", &[]),
        ),
        row(&["1.5.4-1"], &["1.5.3-1"], "a topic name with U+D800", 0x81, |level| {
            publish_to(level, b"v1/\xed\xa0\x80", &[])
        }),
        row(&["1.5.4-1"], &["1.5.3-1"], "a topic name in an overlong form", 0x81, |level| {
            publish_to(level, b"v1/\xc0\xaf", &[])
        }),
        row(
            &["1.5.4-2", "4.7.3-2"],
            &["1.5.3-2", "4.7.3-2"],
            "a topic name with U+0000",
            0x81,
            |level| publish_to(level, b"v1/\0", &[]),
        ),
        row(&["3.8.3-1"], &["3.8.3-1"], "a filter that is not UTF-8", 0x81, |level| {
            subscribe_to(level, b"v1/\xff", 0)
        }),
        row(
            &["1.5.4-2", "4.7.3-2"],
            &["1.5.3-2", "4.7.3-2"],
            "a filter with U+0000",
            0x81,
            |level| subscribe_to(level, b"v1/\0", 0),
        ),
        row(
            &["3.10.3-1"],
            &["3.10.3-1"],
            "a filter of UNSUBSCRIBE that is not UTF-8",
            0x81,
            |level| {
                packet(0xa2, &[vec![0, 1], with_properties(level, &[]), field(b"\xff")].concat())
            },
        ),
        row(&["1.5.7-1"], &[], "the name of a user property that is not UTF-8", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), b"\x26\x00\x01\xff\x00\x01v")
        }),
        row(&["1.5.7-1"], &[], "the value of a user property with U+0000", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), b"\x26\x00\x01n\x00\x01\x00")
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "a topic name longer than the packet", 0x81, |_| {
            packet(0x32, b"\x00\xffa")
        }),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        row(&["1.5.5-1"], &[], "a remaining length in more bytes than it needs", 0x81, |_| {
            vec![0xc0, 0x80, 0]
        }),
        row(&["1.5.5-1"], &[], "a property length in more bytes than it needs", 0x81, |_| {
            packet(0x82, b"\x00\x01\x80\x00\x00\x01a\x00")
        }),
        row(
            &["1.5.5-1", "4.13.1-1"],
            &["4.8.0-1"],
            "a remaining length of five bytes",
            0x81,
            |_| b"\x32\xff\xff\xff\xff\x01".to_vec(),
        ),
        row(&["2.1.3-1"], &["2.2.2-1", "2.2.2-2"], "the packet type 0", 0x81, |_| vec![0, 0]),
        row(&["2.1.3-1"], &["2.2.2-1", "2.2.2-2"], "flags of PINGREQ", 0x81, |_| vec![0xc2, 0]),
        row(&["2.1.3-1"], &["2.2.2-1", "2.2.2-2"], "flags of PUBACK", 0x81, |_| {
            vec![0x42, 2, 0, 1]
        }),
        row(&["3.6.1-1"], &["3.6.1-1"], "flags of PUBREL", 0x81, |_| vec![0x60, 2, 0, 1]),
        row(&["3.8.1-1"], &["3.8.1-1"], "flags of SUBSCRIBE", 0x81, |level| {
            let mut bytes = subscribe_to(level, ATTRIBUTES.as_bytes(), 0);
            bytes[0] = 0x80;
            bytes
        }),
        row(&["3.10.1-1"], &["3.10.1-1"], "flags of UNSUBSCRIBE", 0x81, |level| {
            let mut bytes = unsubscribe(level, &[ATTRIBUTES]);
            bytes[0] = 0xa0;
            bytes
        }),
        row(&["3.14.1-1"], &["3.14.1-1"], "flags of DISCONNECT", 0x81, |_| vec![0xe1, 0]),
        row(&["3.3.1-2"], &["3.3.1-2"], "DUP with QoS 0", 0x81, |level| {
            let mut bytes = crate::platform::publish(level, 0, 0, TELEMETRY, READING);
            bytes[0] |= 0b1000;
            bytes
        }),
        row(&["3.3.1-4"], &["3.3.1-4"], "QoS 3", 0x81, |level| {
            let mut bytes = publish_to(level, TELEMETRY.as_bytes(), &[]);
            bytes[0] |= 0b0110;
            bytes
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "a body of PINGREQ", 0x81, |_| packet(0xc0, &[0])),
        row(&["4.13.1-1"], &["4.8.0-1"], "CONNACK from a client", 0x82, |_| {
            packet(0x20, &[0, 0, 0])
        }),
    ]
}

fn ids() -> Vec<Row> {
    vec![
        row(&["2.2.1-3"], &["2.3.1-1"], "the packet id 0 in PUBLISH", 0x81, |level| {
            crate::platform::publish(level, 1, 0, TELEMETRY, READING)
        }),
        row(&["2.2.1-3"], &["2.3.1-1"], "the packet id 0 in SUBSCRIBE", 0x81, |level| {
            let mut bytes = subscribe_to(level, ATTRIBUTES.as_bytes(), 0);
            bytes[3] = 0;
            bytes
        }),
        row(&["2.2.1-3"], &["2.3.1-1"], "the packet id 0 in UNSUBSCRIBE", 0x81, |level| {
            let mut bytes = unsubscribe(level, &[ATTRIBUTES]);
            bytes[3] = 0;
            bytes
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "the packet id 0 in PUBREL", 0x81, |_| {
            vec![0x62, 2, 0, 0]
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "PUBACK without a packet id", 0x81, |_| vec![0x40, 1, 0]),
        row(&["4.13.1-1"], &["4.8.0-1"], "PUBREC without a packet id", 0x81, |_| vec![0x50, 1, 0]),
        row(&["4.13.1-1"], &["4.8.0-1"], "the packet id 0 in PUBCOMP", 0x81, |_| {
            vec![0x70, 2, 0, 0]
        }),
    ]
}

fn publish() -> Vec<Row> {
    vec![
        row(
            &["3.3.2-2", "4.7.0-1"],
            &["3.3.2-2", "4.7.1-1"],
            "'+' in a topic name",
            0x81,
            |level| publish_to(level, b"v1/devices/+/telemetry", &[]),
        ),
        row(
            &["3.3.2-2", "4.7.0-1"],
            &["3.3.2-2", "4.7.1-1"],
            "'#' in a topic name",
            0x81,
            |level| publish_to(level, b"v1/devices/#", &[]),
        ),
        row(&["4.7.3-1"], &["4.7.3-1"], "an empty topic name", 0x82, |level| {
            publish_to(level, b"", &[])
        }),
        row(&["3.3.2-8"], &[], "the topic alias 0", 0x94, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x23, 0, 0])
        }),
        row(&["3.3.2-9", "3.2.2-17"], &[], "a topic alias over the maximum", 0x94, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x23, 0, 17])
        }),
        row(&["3.3.2-7"], &[], "a topic alias that was given no topic", 0x82, |level| {
            publish_to(level, b"", &[0x23, 0, 1])
        }),
        row(&["3.3.2-13"], &[], "a response topic that is not UTF-8", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), b"\x08\x00\x01\xff")
        }),
        row(&["3.3.2-14"], &[], "a response topic with a wildcard", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), b"\x08\x00\x01#")
        }),
        row(&["3.3.2-19"], &[], "a content type that is not UTF-8", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), b"\x03\x00\x01\xff")
        }),
        row(&["3.3.4-6"], &[], "a subscription identifier from a client", 0x82, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x0b, 1])
        }),
        row(&["4.13.1-1"], &[], "a payload format that is neither 0 nor 1", 0x82, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x01, 2])
        }),
        row(&["4.13.1-1"], &[], "a content type that comes twice", 0x82, |level| {
            publish_to(level, TELEMETRY.as_bytes(), b"\x03\x00\x01a\x03\x00\x01a")
        }),
        row(&["4.13.1-1"], &[], "a topic alias that comes twice", 0x82, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x23, 0, 1, 0x23, 0, 1])
        }),
        row(&["4.13.1-1"], &[], "a property of CONNECT", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x21, 0, 1])
        }),
        row(&["4.13.1-1"], &[], "an unknown property", 0x81, |level| {
            publish_to(level, TELEMETRY.as_bytes(), &[0x7f, 0])
        }),
        row(&["4.13.1-1"], &[], "properties longer than the packet", 0x81, |_| {
            packet(0x32, b"\x00\x01a\x00\x01\x7f\x01")
        }),
    ]
}

fn subscribe() -> Vec<Row> {
    vec![
        row(&["3.8.3-2"], &["3.8.3-3"], "no filter", 0x82, |level| {
            packet(0x82, &[vec![0, 1], with_properties(level, &[])].concat())
        }),
        row(&["2.2.2-1"], &[], "no property length", 0x81, |_| packet(0x82, &[0, 1])),
        row(&["3.8.3-5"], &["3-8.3-4"], "reserved bits of the options", 0x81, |level| {
            subscribe_to(level, ATTRIBUTES.as_bytes(), 0x40)
        }),
        row(&["3.8.3-5"], &["3-8.3-4"], "the other reserved bit", 0x81, |level| {
            subscribe_to(level, ATTRIBUTES.as_bytes(), 0x80)
        }),
        row(&[], &["3-8.3-4"], "options that only 5.0 has", 0x81, |level| {
            subscribe_to(level, ATTRIBUTES.as_bytes(), 0x04)
        }),
        row(&["4.13.1-1"], &["3-8.3-4"], "QoS 3", 0x82, |level| {
            subscribe_to(level, ATTRIBUTES.as_bytes(), 3)
        }),
        row(&["4.13.1-1"], &[], "retain handling 3", 0x82, |level| {
            subscribe_to(level, ATTRIBUTES.as_bytes(), 0x30)
        }),
        row(&["3.8.3-4"], &[], "no local with a shared subscription", 0x82, |level| {
            subscribe_to(level, b"$share/g/v1/devices/me/attributes", 0x04)
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "a filter without options", 0x81, |level| {
            packet(0x82, &[vec![0, 1], with_properties(level, &[]), text("a")].concat())
        }),
        row(&["4.13.1-1"], &[], "the subscription identifier 0", 0x82, |_| {
            packet(0x82, &[vec![0, 1], property_block(&[0x0b, 0]), text("a"), vec![0]].concat())
        }),
        row(&["4.13.1-1"], &[], "two subscription identifiers", 0x82, |_| {
            let properties = property_block(&[0x0b, 1, 0x0b, 2]);
            packet(0x82, &[vec![0, 1], properties, text("a"), vec![0]].concat())
        }),
        row(&["4.13.1-1"], &[], "a property of PUBLISH", 0x81, |_| {
            packet(0x82, &[vec![0, 1], property_block(&[0x01, 0]), text("a"), vec![0]].concat())
        }),
        row(&["4.7.3-1"], &["4.7.3-1"], "an empty filter", 0x81, |level| {
            subscribe_to(level, b"", 0)
        }),
        row(&["4.7.1-1"], &["4.7.1-2"], "'#' that is not last", 0x81, |level| {
            subscribe_to(level, b"v1/#/attributes", 0)
        }),
        row(&["4.7.1-1"], &["4.7.1-2"], "'#' behind other characters", 0x81, |level| {
            subscribe_to(level, b"v1/devices#", 0)
        }),
        row(&["4.7.1-2"], &["4.7.1-3"], "'+' that is not a whole level", 0x81, |level| {
            subscribe_to(level, b"v1/devices/me+/attributes", 0)
        }),
        row(&["4.7.1-2"], &["4.7.1-3"], "'+' before other characters", 0x81, |level| {
            subscribe_to(level, b"v1/+me/attributes", 0)
        }),
        row(&["4.8.2-1"], &[], "an empty share name", 0x81, |level| {
            subscribe_to(level, b"$share//attributes", 0)
        }),
        row(&["4.8.2-2"], &[], "a share name with a wildcard", 0x81, |level| {
            subscribe_to(level, b"$share/g+/attributes", 0)
        }),
        row(&["4.8.2-2"], &[], "a share name without a filter", 0x81, |level| {
            subscribe_to(level, b"$share/g", 0)
        }),
        row(&["4.8.2-2"], &[], "a share name before an empty filter", 0x81, |level| {
            subscribe_to(level, b"$share/g/", 0)
        }),
    ]
}

fn unsubscribe_rows() -> Vec<Row> {
    vec![
        row(&["3.10.3-2"], &["3.10.3-2"], "no filter", 0x82, |level| unsubscribe(level, &[])),
        row(&["4.7.3-1"], &["4.7.3-1"], "an empty filter", 0x81, |level| unsubscribe(level, &[""])),
        row(&["4.13.1-1"], &[], "a subscription identifier", 0x81, |_| {
            packet(0xa2, &[vec![0, 1], property_block(&[0x0b, 1]), text("a")].concat())
        }),
    ]
}

fn others() -> Vec<Row> {
    vec![
        row(&["3.4.2-1"], &[], "PUBACK with a reason code of PUBREL", 0x82, |_| {
            packet(0x40, &[0, 1, 0x92])
        }),
        row(&["3.4.2-1"], &[], "PUBACK with an unknown reason code", 0x82, |_| {
            packet(0x40, &[0, 1, 1])
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "more after PUBACK", 0x81, |_| {
            packet(0x40, &[0, 1, 0, 0, 0])
        }),
        row(&["3.6.2-1"], &[], "PUBREL with a reason code of PUBACK", 0x82, |_| {
            packet(0x62, &[0, 1, 0x10])
        }),
        row(&["4.13.1-1"], &[], "a reason string that comes twice", 0x82, |_| {
            packet(0x40, b"\x00\x01\x00\x08\x1f\x00\x01a\x1f\x00\x01a")
        }),
        row(&["3.14.2-1"], &[], "DISCONNECT with an unknown reason code", 0x82, |_| {
            packet(0xe0, &[1])
        }),
        row(&["3.14.2-1"], &[], "DISCONNECT with a server's reason code", 0x82, |_| {
            packet(0xe0, &[0x8e, 0])
        }),
        row(&["4.13.1-1"], &[], "DISCONNECT with a server reference", 0x82, |_| {
            packet(0xe0, &[0, 4, 0x1c, 0, 1, b'x'])
        }),
        row(&["4.13.1-1"], &[], "a session expiry that was 0 and is raised", 0x82, |_| {
            packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 1])
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "more after DISCONNECT", 0x81, |_| {
            packet(0xe0, &[0, 0, 0])
        }),
        row(&["4.13.1-1"], &["4.8.0-1"], "PINGRESP from a client", 0x82, |_| vec![0xd0, 0]),
    ]
}

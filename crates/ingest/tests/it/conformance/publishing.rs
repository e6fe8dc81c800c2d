//! Cases of PUBLISH from a client and what answers it (3.3 to 3.7, 4.3), topic aliases, PINGREQ
//! and DISCONNECT.

use super::Step::{Answer, Closed, Expect, Lacks, Leave, Open, Recorded, Refused, Send, Stored};
use super::bytes::{
    READING, again, alive, connect, connected, field, opened, publish_to, subscribe_to,
};
use super::{Case, Step, both, case};
use crate::platform::{TELEMETRY, packet, publish};

pub(super) fn cases() -> Vec<Case> {
    [qualities(), quality_2_of_version_5(), small_clients(), aliases(), endings()]
        .into_iter()
        .flatten()
        .collect()
}

fn reading(level: u8, qos: u8, id: u16) -> Vec<u8> {
    publish(level, qos, id, TELEMETRY, READING)
}

fn qualities() -> Vec<Case> {
    [
        both(&["2.2.1-2", "3.3.4-1"], &["2.3.1-5", "3.3.4-1"], "QoS 0", |level| {
            connected(level, vec![Send(reading(level, 0, 0)), Leave, Stored(1)])
        }),
        both(
            &["2.2.1-5", "3.3.4-1", "4.3.2-4", "3.4.2-1"],
            &["2.3.1-6", "3.3.4-1", "4.3.2-2"],
            "QoS 1",
            |level| {
                let ack = Expect(vec![0x40, 2, 1, 7]);
                connected(level, vec![Send(reading(level, 1, 0x0107)), ack, Stored(1)])
            },
        ),
        both(&["4.3.2-5"], &["4.3.2-2"], "the packet id after its PUBACK", |level| {
            let ack = || Expect(vec![0x40, 2, 0, 7]);
            let send = || Send(reading(level, 1, 7));
            let dup = Send(again(reading(level, 1, 7)));
            connected(level, vec![send(), ack(), send(), ack(), dup, ack(), Stored(3)])
        }),
        both(
            &["2.2.1-5", "4.3.3-8", "4.3.3-10", "4.3.3-11", "3.5.2-1", "3.7.2-1"],
            &["2.3.1-6", "4.3.3-2"],
            "QoS 2, sent twice before its PUBREL",
            |level| {
                let received = || Expect(vec![0x50, 2, 0, 9]);
                connected(
                    level,
                    vec![
                        Send(reading(level, 2, 9)),
                        received(),
                        Send(again(reading(level, 2, 9))),
                        received(),
                        Send(vec![0x62, 2, 0, 9]),
                        Expect(vec![0x70, 2, 0, 9]),
                        Stored(1),
                    ],
                )
            },
        ),
        both(&["4.3.3-12"], &["4.3.3-2"], "the packet id after its PUBCOMP", |level| {
            let mut steps = Vec::new();
            for message in [reading(level, 2, 9), again(reading(level, 2, 9))] {
                steps.extend([Send(message), Expect(vec![0x50, 2, 0, 9])]);
                steps.extend([Send(vec![0x62, 2, 0, 9]), Expect(vec![0x70, 2, 0, 9])]);
            }
            steps.push(Stored(2));
            connected(level, steps)
        }),
        both(&["4.6.0-2", "4.6.0-3"], &["4.6.0-2", "4.6.0-3"], "answers in order", |level| {
            let messages = [(1, 3), (2, 2), (1, 1), (2, 9)];
            let sent = messages.iter().flat_map(|(qos, id)| reading(level, *qos, *id)).collect();
            let acks = vec![0x40, 2, 0, 3, 0x50, 2, 0, 2, 0x40, 2, 0, 1, 0x50, 2, 0, 9];
            connected(level, vec![Send(sent), Expect(acks), Stored(4)])
        }),
        both(&["1.5.4-3"], &["1.5.3-3"], "a byte order mark is a character", |level| {
            let topic = format!("\u{feff}{TELEMETRY}");
            let bytes = publish_to(level, topic.as_bytes(), &[]);
            // It is another topic, and nobody has subscribed to it.
            let ack = Expect(vec![0x40, 2, 0, 1]);
            connected(level, vec![Send(bytes), ack, Recorded(0), Stored(0)])
        }),
        both(&["3.12.4-1"], &["3.12.4-1"], "PINGREQ", |level| {
            connected(level, alive().into_iter().chain(alive()).collect())
        }),
        [
            case(4, &["3.3.5-2"], "a message that is not allowed is acknowledged", {
                let bytes = publish(4, 1, 7, TELEMETRY, b"{\"forbidden\":1}");
                connected(4, vec![Send(bytes), Expect(vec![0x40, 2, 0, 7]), Recorded(1)])
            }),
            case(5, &["3.4.2-1"], "a message that is not allowed is refused", {
                let bytes = publish(5, 1, 7, TELEMETRY, b"{\"forbidden\":1}");
                connected(5, vec![Send(bytes), Answer(0x40, vec![0, 7, 0x87]), Stored(0)])
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn quality_2_of_version_5() -> Vec<Case> {
    let broken = publish(5, 2, 9, TELEMETRY, b"{\"a\":");
    vec![
        case(5, &["4.3.3-9", "3.5.2-1"], "the packet id after a PUBREC that refused", {
            connected(
                5,
                vec![
                    Send(broken),
                    Answer(0x50, vec![0, 9, 0x99]),
                    Send(reading(5, 2, 9)),
                    Expect(vec![0x50, 2, 0, 9]),
                    Stored(1),
                ],
            )
        }),
        case(5, &["4.3.3-11", "3.7.2-1", "3.7.2-2"], "PUBREL of an unknown packet id", {
            let answer = Expect(vec![0x70, 4, 0, 9, 0x92, 0]);
            connected(5, vec![Send(vec![0x62, 2, 0, 9]), answer])
        }),
        case(5, &["4.3.3-11"], "PUBREL with a reason code and a reason string", {
            let release = packet(0x62, b"\x00\x09\x92\x04\x1f\x00\x01x");
            connected(
                5,
                vec![
                    Send(reading(5, 2, 9)),
                    Expect(vec![0x50, 2, 0, 9]),
                    Send(release),
                    Expect(vec![0x70, 2, 0, 9]),
                ],
            )
        }),
        case(5, &["4.3.3-13"], "a message expiry does not end the exchange", {
            let expiry = [0x02, 0, 0, 0, 1];
            let mut bytes = publish_to(5, TELEMETRY.as_bytes(), &expiry);
            bytes[0] = 0x34;
            connected(
                5,
                vec![
                    Send(bytes),
                    Expect(vec![0x50, 2, 0, 1]),
                    Step::Wait(5),
                    Send(vec![0x62, 2, 0, 1]),
                    Expect(vec![0x70, 2, 0, 1]),
                ],
            )
        }),
        case(5, &["3.3.4-1"], "every property that a client may send", {
            let properties = [
                vec![0x01, 1, 0x02, 0, 0, 0, 9],
                [vec![0x03], field(b"text/plain")].concat(),
                [vec![0x08], field(b"answer/here")].concat(),
                [vec![0x09], field(b"\x00\xff")].concat(),
                b"\x26\x00\x01a\x00\x01b\x26\x00\x01a\x00\x01c".to_vec(),
            ];
            let bytes = publish_to(5, TELEMETRY.as_bytes(), &properties.concat());
            connected(5, vec![Send(bytes), Expect(vec![0x40, 2, 0, 1]), Stored(1)])
        }),
    ]
}

/// A client that takes packets of at most 40 bytes: reason strings do not fit.
fn small_clients() -> Vec<Case> {
    let small = |more: Vec<Step>| -> Vec<Step> {
        let hello = connect(5).properties(&[0x27, 0, 0, 0, 40]);
        opened(hello).into_iter().chain(more).collect()
    };
    let broken = |qos| publish(5, qos, 7, TELEMETRY, b"{\"a\":");
    vec![
        case(5, &["3.4.2-2", "3.1.2-24"], "PUBACK without its reason string", {
            small(vec![Send(broken(1)), Expect(vec![0x40, 4, 0, 7, 0x99, 0])])
        }),
        case(5, &["3.5.2-2", "3.1.2-24"], "PUBREC without its reason string", {
            small(vec![Send(broken(2)), Expect(vec![0x50, 4, 0, 7, 0x99, 0])])
        }),
        case(5, &["3.9.2-1", "3.1.2-24"], "SUBACK without its reason string", {
            let bytes = subscribe_to(5, b"$SYS/a", 0);
            small(vec![Send(bytes), Expect(vec![0x90, 4, 0, 1, 0, 0x87])])
        }),
        case(5, &["3.14.2-3", "3.1.2-24"], "DISCONNECT without its reason string", {
            let bytes = vec![0x22, 0];
            small(vec![Send(bytes), Answer(0xe0, vec![0x81, 0]), Lacks(vec![0x1f]), Closed])
        }),
    ]
}

fn aliases() -> Vec<Case> {
    let named = |alias: u8| publish_to(5, TELEMETRY.as_bytes(), &[0x23, 0, alias]);
    let unnamed = |alias: u8| publish_to(5, b"", &[0x23, 0, alias]);
    let ack = || Expect(vec![0x40, 2, 0, 1]);
    vec![
        case(5, &["3.3.2-12"], "every topic alias up to the maximum", {
            let mut steps = Vec::new();
            for alias in 1..=16 {
                steps.extend([Send(named(alias)), ack()]);
            }
            for alias in 1..=16 {
                steps.extend([Send(unnamed(alias)), ack()]);
            }
            steps.push(Stored(32));
            connected(5, steps)
        }),
        case(5, &["3.3.2-12"], "a topic alias with another topic", {
            let other = publish_to(5, b"v1/devices/me/nothing", &[0x23, 0, 1]);
            connected(
                5,
                vec![
                    Send(named(1)),
                    ack(),
                    Send(other),
                    Answer(0x40, vec![0, 1, 0x90]),
                    Send(unnamed(1)),
                    Answer(0x40, vec![0, 1, 0x90]),
                    Stored(1),
                ],
            )
        }),
        case(5, &["3.3.2-7"], "a topic alias of an earlier connection", {
            let mut steps = opened(connect(5).kept());
            steps.extend([Send(named(1)), ack(), Leave, Open(connect(5).kept().encode())]);
            steps.extend([Answer(0x20, vec![1, 0]), Send(unnamed(1)), Refused(0x82), Stored(1)]);
            steps
        }),
    ]
}

fn endings() -> Vec<Case> {
    [
        both(&["3.14.4-2"], &["3.14.4-1", "3.14.4-2"], "nothing after DISCONNECT", |level| {
            let bytes = [vec![0xe0, 0], reading(level, 1, 7), vec![0xc0, 0]].concat();
            connected(level, vec![Send(bytes), Closed, Leave, Stored(0)])
        }),
        both(
            &["3.14.2-2", "3.14.4-1", "3.14.4-2", "4.13.1-1"],
            &["4.8.0-1"],
            "what came before a broken packet is kept, what comes after is not",
            |level| {
                let broken = vec![0xc1, 0];
                let bytes = [reading(level, 1, 7), broken, reading(level, 1, 8)].concat();
                let ack = Expect(vec![0x40, 2, 0, 7]);
                connected(level, vec![Send(bytes), ack, Refused(0x81), Stored(1)])
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

//! Cases of CONNECT and CONNACK (3.1, 3.2), and of enhanced authentication (4.12).

use super::Step::{
    Answer, Closed, Drop, Expect, Holds, Lacks, Leave, Open, Refused, RefusedAfter, Send, Stored,
    Wait,
};
use super::bytes::{Connect, READING, alive, connect, connected, field, opened, publish_to};
use super::{Case, Step, both, case};
use crate::platform::{TELEMETRY, packet, publish, text};

pub(super) fn cases() -> Vec<Case> {
    [
        first_packets(),
        flags(),
        wills(),
        delays(),
        client_ids(),
        answers(),
        version_5(),
        malformed_version_5(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Version 5 is told by CONNACK with this code, 3.1.1 is not; both are closed.
fn rejected(connect: Connect, level: u8, code: u8) -> Vec<Step> {
    let open = Open(connect.encode());
    if level == 5 {
        return vec![open, Answer(0x20, vec![0, code]), Closed];
    }
    vec![open, Closed]
}

/// Closed with this CONNACK of 3.1.1.
fn returned(connect: Connect, code: u8) -> Vec<Step> {
    vec![Open(connect.encode()), Expect(vec![0x20, 2, 0, code]), Closed]
}

fn first_packets() -> Vec<Case> {
    [
        both(&["3.1.0-1"], &["3.1.0-1"], "the first packet is PINGREQ", |_| {
            vec![Open(vec![0xc0, 0]), Closed]
        }),
        both(&["3.1.0-1"], &["3.1.0-1"], "the first packet is PUBLISH", |level| {
            vec![Open(publish(level, 1, 1, TELEMETRY, READING)), Closed, Stored(0)]
        }),
        both(&["3.1.0-2"], &["3.1.0-2", "4.8.0-1"], "a second CONNECT", |level| {
            connected(level, vec![Send(connect(level).encode()), Refused(0x82)])
        }),
        both(&["3.1.2-1"], &["3.1.2-1"], "another protocol name", |level| {
            vec![Open(connect(level).name("MQTX").encode()), Closed]
        }),
        both(&["3.1.2-1"], &["3.1.2-1"], "the protocol name in small letters", |level| {
            vec![Open(connect(level).name("mqtt").encode()), Closed]
        }),
        both(&["3.1.2-2"], &["3.1.2-2"], "an unknown level", |level| {
            returned(connect(level).level(6), 1)
        }),
        both(&["3.1.2-2"], &["3.1.2-2"], "the name of 3.1 with another level", |level| {
            returned(connect(level).name("MQIsdp"), 1)
        }),
        [
            case(4, &["3.1.4-4"], "the name and level of 3.1", {
                opened(connect(4).name("MQIsdp").level(3))
            }),
            case(4, &["3.1.2-2"], "the name of 3.1.1 with the level of 3.1", {
                returned(connect(4).level(3), 1)
            }),
        ],
        both(&["2.1.3-1"], &["2.2.2-1", "2.2.2-2"], "flags of CONNECT", |level| {
            let mut bytes = connect(level).encode();
            bytes[0] |= 1;
            vec![Open(bytes), Closed]
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn flags() -> Vec<Case> {
    [
        both(&["3.1.2-3", "3.1.4-1"], &["3.1.2-3", "3.1.4-1"], "the reserved flag", |level| {
            rejected(connect(level).flags(0x83), level, 0x81)
        }),
        both(&["3.1.2-11"], &["3.1.2-11", "3.1.2-13"], "will QoS without a will", |level| {
            rejected(connect(level).flags(0x8a), level, 0x81)
        }),
        both(&["3.1.2-13"], &["3.1.2-15"], "will retain without a will", |level| {
            rejected(connect(level).flags(0xa2), level, 0x81)
        }),
        both(&["3.1.2-12"], &["3.1.2-14"], "will QoS 3", |level| {
            rejected(connect(level).will(0x9e, &[]), level, 0x81)
        }),
        both(&["3.1.2-9"], &["3.1.2-9"], "a will flag and no will", |level| {
            rejected(connect(level).flags(0x86), level, 0x81)
        }),
        both(&["3.1.2-16"], &["3.1.2-18"], "a user name without its flag", |level| {
            rejected(connect(level).flags(0x02), level, 0x81)
        }),
        both(&["3.1.2-17"], &["3.1.2-19"], "a user name flag and no user name", |level| {
            rejected(connect(level).payload(&[text("c1")]), level, 0x81)
        }),
        both(&["3.1.2-18"], &["3.1.2-20"], "a password without its flag", |level| {
            let payload = [text("c1"), text("user"), text("secret")];
            rejected(connect(level).payload(&payload), level, 0x81)
        }),
        both(&["3.1.2-19"], &["3.1.2-21"], "a password flag and no password", |level| {
            rejected(connect(level).flags(0xc2), level, 0x81)
        }),
        [
            case(4, &["3.1.2-22"], "a password without a user name", {
                let payload = [text("c1"), text("secret")];
                rejected(connect(4).flags(0x42).payload(&payload), 4, 0)
            }),
            case(5, &["3.1.2-19"], "a password without a user name is well-formed", {
                let payload = [text("c1"), text("secret")];
                rejected(connect(5).flags(0x42).payload(&payload), 5, 0x86)
            }),
        ],
        both(&["3.1.3-1", "3.1.3-3"], &["3.1.3-1", "3.1.3-3"], "every field, in order", |level| {
            let mut payload = vec![text("c1")];
            if level == 5 {
                payload.push(vec![0]);
            }
            payload.extend([text(TELEMETRY), text("{\"a\":1}"), text("user"), text("secret")]);
            opened(connect(level).flags(0xc6).payload(&payload))
        }),
        both(&["3.1.2-22", "3.2.2-22"], &["3.1.2-24"], "one and a half keep-alives", |level| {
            let mut steps = opened(connect(level).keep_alive(10));
            steps.push(Wait(14));
            steps.extend(alive());
            steps.push(RefusedAfter(15, 0x8d));
            steps
        }),
        [
            case(5, &["3.1.2-22"], "a server keep-alive for who asks for none", {
                let mut steps = opened(connect(5).keep_alive(0));
                steps.extend([Holds(vec![0x13, 0x0e, 0x10]), RefusedAfter(5_400, 0x8d)]);
                steps
            }),
            case(5, &["3.1.2-22"], "a server keep-alive for who asks for more", {
                let mut steps = opened(connect(5).keep_alive(u16::MAX));
                steps.extend([Holds(vec![0x13, 0x0e, 0x10]), RefusedAfter(5_400, 0x8d)]);
                steps
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn wills() -> Vec<Case> {
    [
        both(
            &["3.1.2-7", "3.1.2-8", "3.1.2-14"],
            &["3.1.2-8", "3.1.2-16"],
            "the will of a lost connection is published",
            |level| {
                let mut steps = opened(connect(level).will(0x86, &[]));
                steps.extend([Stored(0), Leave, Stored(1)]);
                steps
            },
        ),
        both(
            &["3.1.2-10", "3.14.4-3"],
            &["3.1.2-10", "3.14.4-3"],
            "the will is gone with DISCONNECT",
            |level| {
                let mut steps = opened(connect(level).will(0x86, &[]));
                steps.extend([Send(vec![0xe0, 0]), Closed, Leave, Stored(0)]);
                steps
            },
        ),
        both(&["3.1.2-8"], &["3.1.2-8"], "the will after a broken packet", |level| {
            let mut steps = opened(connect(level).will(0x86, &[]));
            steps.extend([Send(vec![0xc1, 0]), Refused(0x81), Leave, Stored(1)]);
            steps
        }),
        [
            case(4, &["3.1.2-12"], "no will, none is published", {
                connected(4, vec![Leave, Stored(0)])
            }),
            case(5, &["3.1.2-8"], "DISCONNECT that wants the will", {
                let mut steps = opened(connect(5).will(0x86, &[]));
                steps.extend([Send(vec![0xe0, 1, 4]), Closed, Leave, Stored(1)]);
                steps
            }),
        ],
        both(&["3.1.3-11"], &["3.1.3-10"], "a will topic that is not UTF-8", |level| {
            let mut payload = vec![text("c1")];
            if level == 5 {
                payload.push(vec![0]);
            }
            payload.extend([field(b"\xff"), text("{}"), text("token")]);
            rejected(connect(level).flags(0x86).payload(&payload), level, 0x81)
        }),
        both(&["4.7.0-1"], &["4.7.1-1"], "a will topic with a wildcard", |level| {
            let mut payload = vec![text("c1")];
            if level == 5 {
                payload.push(vec![0]);
            }
            payload.extend([text("v1/+"), text("{}"), text("token")]);
            rejected(connect(level).flags(0x86).payload(&payload), level, 0x81)
        }),
        [
            case(5, &["3.1.4-1"], "a will's delay that comes twice", {
                let twice = [0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1];
                rejected(connect(5).will(0x86, &twice), 5, 0x82)
            }),
            case(5, &["3.1.4-1"], "a will's expiry that comes twice", {
                let twice = [0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1];
                rejected(connect(5).will(0x86, &twice), 5, 0x82)
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How long a will waits.
fn delays() -> Vec<Case> {
    vec![
        case(5, &["3.1.3-9"], "the client is back before the will's delay is over", {
            let hello = connect(5).will(0x84, &[0x18, 0, 0, 0, 8]);
            let hello = hello.properties(&[0x11, 0, 0, 0, 60]);
            let mut steps = opened(hello);
            steps.extend([Drop, Wait(3), Open(connect(5).kept().encode())]);
            steps.extend([Answer(0x20, vec![1, 0]), Wait(20), Stored(0)]);
            steps
        }),
        case(5, &["3.1.2-8"], "the will's delay is over", {
            let hello = connect(5).will(0x84, &[0x18, 0, 0, 0, 8]);
            let hello = hello.properties(&[0x11, 0, 0, 0, 60]);
            let mut steps = opened(hello);
            steps.extend([Drop, Wait(7), Stored(0), Wait(2), Stored(1)]);
            steps
        }),
        case(5, &["3.1.2-8"], "a long delay", {
            let hello = connect(5).will(0x84, &[0x18, 0, 0, 0, 50]);
            let mut steps = opened(hello.properties(&[0x11, 0, 0, 0, 60]));
            steps.extend([Drop, Wait(49), Stored(0), Wait(2), Stored(1)]);
            steps
        }),
        case(5, &["3.1.2-8"], "a delay beyond the end of the session", {
            let hello = connect(5).will(0x84, &[0x18, 0, 0, 0, 50]);
            let mut steps = opened(hello.properties(&[0x11, 0, 0, 0, 20]));
            steps.extend([Drop, Wait(19), Stored(0), Wait(2), Stored(1)]);
            steps
        }),
    ]
}

fn client_ids() -> Vec<Case> {
    let payload = |id: &[u8]| [field(id), text("token")];
    [
        both(&["3.1.3-4"], &["3.1.3-4"], "a client id that is not UTF-8", |level| {
            rejected(connect(level).payload(&[field(b"\xff"), text("token")]), level, 0x81)
        }),
        both(&["1.5.4-2"], &["1.5.3-2"], "a client id with U+0000", |level| {
            rejected(connect(level).payload(&[field(b"a\0"), text("token")]), level, 0x81)
        }),
        both(&["3.1.3-12"], &["3.1.3-11"], "a user name that is not UTF-8", |level| {
            rejected(connect(level).payload(&[text("c1"), field(b"\xed\xa0\x80")]), level, 0x81)
        }),
        both(&["3.1.3-5"], &["3.1.3-5"], "23 letters and digits", |level| {
            opened(connect(level).payload(&[text("0123456789abcdefghijXYZ"), text("token")]))
        }),
        both(&["3.1.3-2"], &["3.1.3-2"], "another client id is another session", |level| {
            let other = connect(level).kept().payload(&[text("c2"), text("token")]);
            let mut steps = opened(connect(level).kept());
            steps.push(Leave);
            steps.extend(opened(other));
            steps.push(Leave);
            steps.extend([Open(connect(level).kept().encode()), Answer(0x20, vec![1, 0])]);
            steps
        }),
        [
            case(4, &["3.1.3-6", "3.1.3-7"], "an empty client id with a clean session", {
                opened(connect(4).payload(&payload(b"")))
            }),
            case(4, &["3.1.3-8"], "an empty client id without a clean session", {
                returned(connect(4).flags(0x80).payload(&payload(b"")), 2)
            }),
        ],
        [
            case(4, &["3.1.3-9"], "a client id of 257 bytes", {
                returned(connect(4).payload(&payload(&[b'i'; 257])), 2)
            }),
            case(5, &["3.1.3-8"], "a client id of 257 bytes", {
                rejected(connect(5).payload(&payload(&[b'i'; 257])), 5, 0x85)
            }),
        ],
        [
            case(5, &["3.1.3-6", "3.1.3-7", "3.2.2-16"], "an empty client id is replaced", {
                let mut steps = opened(connect(5).payload(&payload(b"")));
                steps.push(Holds(vec![0x12, 0, 32]));
                steps
            }),
            case(5, &["3.1.3-6"], "an empty client id without a clean start", {
                let mut steps = opened(connect(5).kept().payload(&payload(b"")));
                steps.push(Holds(vec![0x12, 0, 32]));
                steps
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn answers() -> Vec<Case> {
    let unknown = |level| connect(level).payload(&[text("c1"), text("nobody")]);
    [
        both(
            &["3.1.4-5", "3.2.0-1", "3.2.0-2", "3.2.2-1", "3.2.2-8"],
            &["3.1.4-4", "3.2.0-1"],
            "CONNACK is the first answer and the only one",
            |level| {
                let mut bytes = connect(level).encode();
                bytes.extend([0xc0, 0]);
                let mut steps = vec![Open(bytes), Answer(0x20, vec![0, 0]), Expect(vec![0xd0, 0])];
                steps.extend(alive());
                steps
            },
        ),
        both(
            &["3.1.4-6"],
            &["3.1.4-5"],
            "what follows a refused CONNECT is not processed",
            |level| {
                let hello = connect(level).payload(&[text("c1"), text("nobody")]).encode();
                let bytes = [hello, publish_to(level, TELEMETRY.as_bytes(), &[])].concat();
                let code = if level == 5 { 0x86 } else { 4 };
                vec![Open(bytes), Answer(0x20, vec![0, code]), Closed, Leave, Stored(0)]
            },
        ),
        [
            case(4, &["3.2.2-4", "3.2.2-5"], "an unknown token", returned(unknown(4), 4)),
            case(5, &["3.1.4-2", "3.2.2-6", "3.2.2-7", "4.13.2-1"], "an unknown token", {
                rejected(unknown(5), 5, 0x86)
            }),
        ],
        [
            case(4, &["3.2.2-6"], "no return code says what is wrong", {
                rejected(connect(4).flags(0x83), 4, 0)
            }),
            case(5, &["3.14.0-1"], "no DISCONNECT before CONNACK", {
                rejected(connect(5).flags(0x83), 5, 0x81)
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn version_5() -> Vec<Case> {
    let bad_reading = publish(5, 1, 7, TELEMETRY, b"{\"a\":1");
    let asked = |properties: &[u8]| connect(5).properties(properties);
    vec![
        case(5, &["3.1.2-24", "3.2.2-19"], "CONNACK is larger than the client takes", {
            rejected(asked(&[0x27, 0, 0, 0, 10]), 5, 0x95)
                .into_iter()
                .chain([Lacks(vec![0x1f])])
                .collect()
        }),
        case(5, &["3.1.2-24"], "not even a refusal is that small", {
            vec![Open(asked(&[0x27, 0, 0, 0, 4]).encode()), Closed]
        }),
        case(5, &["3.1.2-28"], "no response information", {
            let mut steps = opened(asked(&[0x19, 0]));
            steps.push(Lacks(vec![0x1a]));
            steps
        }),
        case(5, &["3.1.2-29"], "no reason string in PUBACK when none is wanted", {
            let mut steps = opened(asked(&[0x17, 0]));
            steps.extend([Send(bad_reading.clone()), Expect(vec![0x40, 4, 0, 7, 0x99, 0])]);
            steps
        }),
        case(5, &["3.1.2-29"], "a reason string in DISCONNECT all the same", {
            let mut steps = opened(asked(&[0x17, 0]));
            steps.extend([Send(vec![0xc1, 0]), Answer(0xe0, vec![0x81]), Holds(vec![0x1f])]);
            steps
        }),
        case(5, &["4.12.0-1"], "an authentication method", {
            rejected(asked(&[0x15, 0, 1, b'x']), 5, 0x8c)
        }),
        case(5, &["4.12.0-6"], "no method, none in CONNACK", {
            connected(5, vec![Lacks(vec![0x15])].into_iter().chain(alive()).collect())
        }),
        case(5, &["4.12.0-7"], "AUTH without a method", {
            connected(5, vec![Send(vec![0xf0, 0]), Refused(0x82)])
        }),
        case(5, &["3.15.1-1"], "flags of AUTH", {
            connected(5, vec![Send(vec![0xf1, 0]), Refused(0x81)])
        }),
        case(5, &["3.15.2-1"], "AUTH that begins again", {
            connected(5, vec![Send(packet(0xf0, &[0x19, 0])), Refused(0x82)])
        }),
        case(5, &["3.2.2-17", "3.2.2-18"], "the number of topic aliases is told", {
            connected(5, vec![Holds(vec![0x22, 0, 16])])
        }),
    ]
}

/// Properties of CONNECT that the standard forbids: malformed 0x81, not allowed 0x82.
fn malformed_version_5() -> Vec<Case> {
    let table: [(&str, &[u8], u8); 11] = [
        ("receive maximum 0", &[0x21, 0, 0], 0x82),
        ("maximum packet size 0", &[0x27, 0, 0, 0, 0], 0x82),
        ("request problem information 2", &[0x17, 2], 0x82),
        ("request response information 2", &[0x19, 2], 0x82),
        ("receive maximum twice", &[0x21, 0, 1, 0x21, 0, 1], 0x82),
        ("session expiry twice", &[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], 0x82),
        ("authentication data without a method", &[0x16, 0, 1, b'x'], 0x82),
        ("a property of PUBLISH", &[0x23, 0, 1], 0x81),
        ("an unknown property", &[0x7f, 0], 0x81),
        ("a property that is cut off", &[0x21, 0], 0x81),
        ("a user property that is not UTF-8", &[0x26, 0, 1, 0xff, 0, 1, b'x'], 0x81),
    ];
    let rows = table.into_iter().map(|(what, properties, code)| {
        case(5, &["3.1.4-1", "4.13.1-1"], what, {
            rejected(connect(5).properties(properties), 5, code)
        })
    });
    rows.collect()
}

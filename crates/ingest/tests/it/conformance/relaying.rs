//! Cases of messages that clients publish to one another: QoS 2 to a client (4.3.3), properties and
//! expiry (3.3.2.3), subscription options (3.8.3.1), retained messages (3.3.1.3), wills, shares
//! (4.8.2).

use super::Step::{Answer, Drop, Expect, Leave, Open, Peer, PeerExpect, Send, Stored, Wait};
use super::bytes::{
    Connect, again, alive, connect, connected, field, opened, property_block, subscribe_to,
    with_properties,
};
use super::{Case, Step, both, case};
use crate::platform::{packet, publish, text};

const TOPIC: &str = "plant/a";
const FILTER: &str = "plant/+";

pub(super) fn cases() -> Vec<Case> {
    [
        qualities(),
        quality_2(),
        interrupted(),
        properties(),
        options(),
        retained(),
        wills(),
        shares(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A message to the client or from it.
fn message(level: u8, qos: u8, id: u16) -> Vec<u8> {
    publish(level, qos, id, TOPIC, b"on")
}

/// The same with properties.
fn with(qos: u8, id: u16, properties: &[u8]) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    let body = [text(TOPIC), id, property_block(properties), b"on".to_vec()].concat();
    packet(0x30 | (qos << 1), &body)
}

fn retain(mut message: Vec<u8>) -> Vec<u8> {
    message[0] |= 1;
    message
}

/// A PUBLISH with QoS 1 and the packet id 1 of the peer, and its PUBACK.
fn told(message: Vec<u8>) -> [Step; 2] {
    [Peer(message), PeerExpect(vec![0x40, 2, 0, 1])]
}

fn listening(connect: Connect, level: u8, options: u8, more: Vec<Step>) -> Vec<Step> {
    let subscribe = subscribed(level, FILTER, options);
    opened(connect).into_iter().chain(subscribe).chain(more).collect()
}

/// A SUBSCRIBE with these options, and its SUBACK.
fn subscribed(level: u8, filter: &str, options: u8) -> [Step; 2] {
    let qos = options & 3;
    let answer = if level == 5 { vec![0x90, 4, 0, 1, 0, qos] } else { vec![0x90, 3, 0, 1, qos] };
    [Send(subscribe_to(level, filter.as_bytes(), options)), Expect(answer)]
}

fn resumed(level: u8) -> [Step; 3] {
    [Leave, Open(connect(level).kept().encode()), Answer(0x20, vec![1, 0])]
}

fn qualities() -> Vec<Case> {
    [
        both(
            &["3.3.2-3", "3.8.4-8", "4.3.1-1", "4.3.2-1", "4.3.2-2", "4.5.0-1"],
            &["3.3.2-3", "3.8.4-6", "4.3.1-1", "4.3.2-1", "4.5.0-1"],
            "a message reaches both clients, at the lower QoS of each",
            |level| {
                let mut steps = listening(connect(level), level, 1, Vec::new());
                let answer = match level {
                    5 => vec![0x90, 4, 0, 1, 0, 2],
                    _ => vec![0x90, 3, 0, 1, 2],
                };
                steps.extend([Peer(subscribe_to(level, b"#", 2)), PeerExpect(answer)]);
                steps.extend([Send(message(level, 2, 9)), Expect(vec![0x50, 2, 0, 9])]);
                steps.push(Expect(message(level, 1, 1)));
                steps.push(PeerExpect(message(level, 2, 1)));
                steps.extend([Send(message(level, 0, 0)), Expect(message(level, 0, 0))]);
                steps.push(PeerExpect(message(level, 0, 0)));
                steps
            },
        ),
        both(
            &["4.5.0-1"],
            &["4.5.0-1"],
            "messages for a session without a connection wait in order, but for those of QoS 0",
            |level| {
                let mut steps = listening(connect(level).kept(), level, 1, vec![Leave]);
                steps.push(Peer(message(level, 0, 0)));
                for id in 1..=2 {
                    let payload = [b'0' + u8::try_from(id).expect("small")];
                    steps.push(Peer(publish(level, 1, id, TOPIC, &payload)));
                    steps.push(PeerExpect(vec![0x40, 2, 0, u8::try_from(id).expect("small")]));
                }
                steps.push(Open(connect(level).kept().encode()));
                steps.push(Answer(0x20, vec![1, 0]));
                steps.push(Expect(publish(level, 1, 1, TOPIC, b"1")));
                steps.push(Expect(publish(level, 1, 2, TOPIC, b"2")));
                steps
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn quality_2() -> Vec<Case> {
    [
        both(
            &["4.3.3-1", "4.3.3-2", "4.3.3-4", "4.6.0-4", "3.6.1-1", "3.6.2-1"],
            &["4.3.3-1", "4.6.0-4", "3.6.1-1"],
            "QoS 2 to a client: PUBLISH, PUBREC, PUBREL, PUBCOMP, in order",
            |level| {
                let mut more = Vec::new();
                for id in 1..=2 {
                    more.extend(told(message(level, 1, 1)));
                    more.push(Expect(message(level, 1, id)));
                }
                // Those were QoS 1; the ids that are not acknowledged stay in use.
                more.push(Peer(message(level, 2, 1)));
                more.push(PeerExpect(vec![0x50, 2, 0, 1]));
                more.push(Peer(vec![0x62, 2, 0, 1]));
                more.push(PeerExpect(vec![0x70, 2, 0, 1]));
                more.push(Peer(message(level, 2, 2)));
                more.push(Expect(message(level, 2, 3)));
                more.push(Expect(message(level, 2, 4)));
                more.push(Send(vec![0x50, 2, 0, 3, 0x50, 2, 0, 4]));
                more.push(Expect(vec![0x62, 2, 0, 3, 0x62, 2, 0, 4]));
                more.push(Send(vec![0x70, 2, 0, 3, 0x70, 2, 0, 4]));
                more.extend(alive());
                listening(connect(level), level, 2, more)
            },
        ),
        both(
            &["3.6.2-1", "4.3.3-4"],
            &["4.3.3-1"],
            "PUBREC for what was not sent, or is acknowledged",
            |level| {
                let answer = match level {
                    5 => vec![0x62, 4, 0, 7, 0x92, 0],
                    _ => vec![0x62, 2, 0, 7],
                };
                let mut steps = connected(level, vec![Send(vec![0x50, 2, 0, 7]), Expect(answer)]);
                steps.push(Send(vec![0x70, 2, 0, 7]));
                steps.extend(alive());
                steps
            },
        ),
        [
            case(
                5,
                &["4.3.3-3", "4.4.0-2"],
                "after a PUBREC that refuses nothing is sent again",
                {
                    let mut more = vec![Peer(message(5, 2, 1)), PeerExpect(vec![0x50, 2, 0, 1])];
                    more.extend([Expect(message(5, 2, 1)), Send(vec![0x50, 3, 0, 1, 0x97])]);
                    more.extend(alive());
                    more.extend(resumed(5));
                    more.extend(alive());
                    listening(connect(5).kept(), 5, 2, more)
                },
            ),
            case(5, &["3.3.4-9", "4.9.0-2"], "QoS 2 is in the window until PUBCOMP", {
                let mut more = vec![Peer([message(5, 2, 1), message(5, 2, 2)].concat())];
                more.push(PeerExpect(vec![0x50, 2, 0, 1, 0x50, 2, 0, 2]));
                more.extend([Expect(message(5, 2, 1)), Send(vec![0x50, 2, 0, 1])]);
                more.push(Expect(vec![0x62, 2, 0, 1]));
                more.extend(alive());
                more.extend([Send(vec![0x70, 2, 0, 1]), Expect(message(5, 2, 2))]);
                listening(connect(5).properties(&[0x21, 0, 1]), 5, 2, more)
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a break does to QoS 2.
fn interrupted() -> Vec<Case> {
    // It comes as it was sent: both sides count from 1.
    let received = |message: Vec<u8>| {
        let sent = Peer(message.clone());
        vec![sent, PeerExpect(vec![0x50, 2, 0, 1]), Expect(message)]
    };
    let before = |level: u8| {
        let mut more = received(message(level, 2, 1));
        more.extend(resumed(level));
        more.push(Expect(again(message(level, 2, 1))));
        listening(connect(level).kept(), level, 2, more)
    };
    let after = |level: u8| {
        let mut more = received(message(level, 2, 1));
        more.extend([Send(vec![0x50, 2, 0, 1]), Expect(vec![0x62, 2, 0, 1])]);
        more.extend(resumed(level));
        more.extend([Expect(vec![0x62, 2, 0, 1]), Send(vec![0x70, 2, 0, 1])]);
        more.extend(alive());
        more.extend(resumed(level));
        more.extend(alive());
        listening(connect(level).kept(), level, 2, more)
    };
    vec![
        case(5, &["4.3.3-3", "4.4.0-1"], "before PUBREC the message is sent again", before(5)),
        case(4, &["4.3.3-1", "4.4.0-1"], "before PUBREC the message is sent again", before(4)),
        case(5, &["4.3.3-5", "4.3.3-6", "4.4.0-1"], "after it PUBREL is, until PUBCOMP", after(5)),
        case(4, &["4.3.3-1", "4.4.0-1"], "after it PUBREL is, until PUBCOMP", after(4)),
        case(5, &["4.3.3-7"], "what was sent is sent again when it has expired", {
            let expiring = |seconds: u8| with(2, 1, &[0x02, 0, 0, 0, seconds]);
            let mut more = received(expiring(5));
            more.extend([Leave, Wait(9), Open(connect(5).kept().encode())]);
            more.extend([Answer(0x20, vec![1, 0]), Expect(again(expiring(0)))]);
            listening(connect(5).kept(), 5, 2, more)
        }),
    ]
}

fn properties() -> Vec<Case> {
    let passed = [
        vec![0x01, 1],
        [vec![0x03], field(b"text/plain")].concat(),
        [vec![0x08], field(b"answer/here")].concat(),
        [vec![0x09], field(b"\x00\xff")].concat(),
        b"\x26\x00\x01a\x00\x01b\x26\x00\x01c\x00\x01d\x26\x00\x01a\x00\x01a".to_vec(),
    ]
    .concat();
    let expiry = |seconds: u8| vec![0x02, 0, 0, 0, seconds];
    let statements = &[
        "3.3.2-4", "3.3.2-6", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20", "1.5.7-1",
    ];
    vec![
        case(5, statements, "properties go on as they came, and in their order", {
            let sent = with(1, 1, &[expiry(9), passed.clone()].concat());
            let mut more = Vec::from(told(sent));
            more.push(Expect(with(1, 1, &[passed, expiry(9)].concat())));
            listening(connect(5), 5, 1, more)
        }),
        case(5, &["3.3.2-5", "3.3.2-6"], "what waited is lessened, or not sent any more", {
            let mut more = vec![Leave];
            more.extend(told(with(1, 1, &expiry(5))));
            more.extend(told(with(1, 1, &expiry(30))));
            more.extend([Wait(10), Open(connect(5).kept().encode()), Answer(0x20, vec![1, 0])]);
            more.push(Expect(with(1, 1, &expiry(20))));
            more.extend(alive());
            listening(connect(5).kept(), 5, 1, more)
        }),
    ]
}

fn options() -> Vec<Case> {
    vec![
        case(5, &["3.8.3-3"], "no local", {
            let mut more = vec![Send(message(5, 1, 7)), Expect(vec![0x40, 2, 0, 7])];
            more.extend(alive());
            more.extend(told(message(5, 1, 1)));
            more.push(Expect(message(5, 0, 0)));
            listening(connect(5), 5, 0x04, more)
        }),
        case(5, &["3.3.1-12"], "not retain as published", {
            let mut more = Vec::from(told(retain(message(5, 1, 1))));
            more.push(Expect(message(5, 1, 1)));
            listening(connect(5), 5, 0x01, more)
        }),
        case(5, &["3.3.1-13"], "retain as published", {
            let mut more = Vec::from(told(retain(message(5, 1, 1))));
            more.extend(told(message(5, 1, 1)));
            more.push(Expect(retain(message(5, 1, 1))));
            more.push(Expect(message(5, 1, 2)));
            listening(connect(5), 5, 0x09, more)
        }),
        case(5, &["3.3.1-10"], "retain handling 1: only with a new subscription", {
            let mut steps = Vec::from(told(retain(message(5, 1, 1))));
            steps.extend(listening(connect(5), 5, 0x10, vec![Expect(retain(message(5, 0, 0)))]));
            steps.extend(subscribed(5, FILTER, 0x10));
            steps.extend(alive());
            steps
        }),
        case(5, &["3.3.1-11"], "retain handling 2: never", {
            let mut steps = Vec::from(told(retain(message(5, 1, 1))));
            steps.extend(listening(connect(5), 5, 0x20, alive().into()));
            steps
        }),
        case(5, &["3.3.1-9", "3.8.4-4"], "retain handling 0: every time", {
            let mut steps = Vec::from(told(retain(message(5, 1, 1))));
            steps.extend(listening(connect(5), 5, 0x00, vec![Expect(retain(message(5, 0, 0)))]));
            steps.extend(subscribed(5, FILTER, 0x00));
            steps.push(Expect(retain(message(5, 0, 0))));
            steps
        }),
    ]
}

fn retained() -> Vec<Case> {
    [
        both(
            &["3.3.1-5", "3.3.1-8", "3.3.1-9"],
            &["3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-8", "3.3.1-12"],
            "the last retained message goes to a new subscription, whatever came without RETAIN",
            |level| {
                let retained = |payload: &[u8]| retain(publish(level, 0, 0, TOPIC, payload));
                let mut steps = Vec::from(told(retain(message(level, 1, 1))));
                steps.push(Peer(retained(b"off")));
                steps.extend(told(message(level, 1, 1)));
                steps.extend(listening(connect(level), level, 1, vec![Expect(retained(b"off"))]));
                steps
            },
        ),
        both(
            &["3.3.1-6", "3.3.1-7"],
            &["3.3.1-10", "3.3.1-11"],
            "an empty retained message removes it, and goes to who listens",
            |level| {
                let empty = || retain(publish(level, 1, 1, TOPIC, b""));
                let mut steps = Vec::from(told(retain(message(level, 1, 1))));
                steps.extend(told(empty()));
                steps.extend(listening(connect(level), level, 1, alive().into()));
                steps.extend(told(empty()));
                steps.push(Expect(publish(level, 1, 1, TOPIC, b"")));
                steps
            },
        ),
        [
            case(4, &["3.3.1-9"], "RETAIN 0 for an established subscription", {
                let mut more = Vec::from(told(retain(message(4, 1, 1))));
                more.push(Expect(message(4, 1, 1)));
                listening(connect(4), 4, 1, more)
            }),
            case(4, &["3.1.2-7"], "retained messages outlive the session of their publisher", {
                let mut steps = opened(connect(4));
                steps.extend([Send(retain(message(4, 1, 7))), Expect(vec![0x40, 2, 0, 7]), Leave]);
                steps.extend(listening(connect(4), 4, 0, vec![Expect(retain(message(4, 0, 0)))]));
                steps
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A client with a will to a relayed topic.
fn mortal(level: u8, flags: u8, properties: &[u8]) -> Connect {
    let properties = with_properties(level, properties);
    let payload = [text("c1"), properties, text(TOPIC), text("gone"), text("token")];
    connect(level).flags(flags).payload(&payload)
}

fn wills() -> Vec<Case> {
    let granted = |level: u8| match level {
        5 => vec![0x90, 4, 0, 1, 0, 2],
        _ => vec![0x90, 3, 0, 1, 2],
    };
    let watched = move |level: u8, mortal: Connect| {
        let mut steps = vec![Peer(subscribe_to(level, FILTER.as_bytes(), 2))];
        steps.push(PeerExpect(granted(level)));
        steps.extend(opened(mortal));
        steps
    };
    let retained = move |level: u8| {
        let gone = |qos: u8, id: u16| publish(level, qos, id, TOPIC, b"gone");
        let mut steps = watched(level, mortal(level, 0xae, &[]));
        steps.extend([Leave, PeerExpect(gone(1, 1))]);
        steps.extend(listening(connect(level), level, 1, vec![Expect(retain(gone(1, 1)))]));
        steps
    };
    vec![
        case(5, &["3.1.2-15"], "a retained will with QoS 1", retained(5)),
        case(4, &["3.1.2-17"], "a retained will with QoS 1", retained(4)),
        case(5, &["3.1.2-8", "3.1.2-14", "3.1.3-10"], "a will's delay and properties", {
            let users = b"\x26\x00\x01b\x00\x01x\x26\x00\x01a\x00\x01y";
            let delayed = [&[0x18, 0, 0, 0, 50][..], users].concat();
            let hello = mortal(5, 0x84, &delayed).properties(&[0x11, 0, 0, 0, 60]);
            let gone = [text(TOPIC), property_block(users), b"gone".to_vec()].concat();
            let mut steps = watched(5, hello);
            steps.extend([Drop, Wait(49), Peer(vec![0xc0, 0]), PeerExpect(vec![0xd0, 0])]);
            steps.extend([Wait(2), PeerExpect(packet(0x30, &gone)), Stored(0)]);
            steps.extend(listening(connect(5), 5, 1, alive().into()));
            steps
        }),
    ]
}

fn shares() -> Vec<Case> {
    const SHARE: &str = "$share/g/plant/+";
    let joined = |qos: u8| {
        let answer = vec![0x90, 4, 0, 1, 0, qos];
        [Peer(subscribe_to(5, SHARE.as_bytes(), qos)), PeerExpect(answer)]
    };
    let given = move || {
        let mut steps = opened(connect(5).kept());
        steps.extend(subscribed(5, SHARE, 2));
        steps.extend([Peer(message(5, 2, 1)), PeerExpect(vec![0x50, 2, 0, 1])]);
        steps.push(Expect(message(5, 2, 1)));
        steps.extend(joined(2));
        steps
    };
    let quiet = || [Peer(vec![0xc0, 0]), PeerExpect(vec![0xd0, 0])];
    vec![
        case(5, &["4.8.2-3"], "members in turn, each at the QoS that it was granted", {
            let mut steps = opened(connect(5));
            steps.extend(subscribed(5, SHARE, 1));
            steps.extend(joined(0));
            for id in 1..=2 {
                steps.extend(told(message(5, 1, 1)));
                steps.push(Expect(message(5, 1, id)));
                steps.extend([Peer(message(5, 1, 1)), PeerExpect(vec![0x40, 2, 0, 1])]);
                steps.push(PeerExpect(message(5, 0, 0)));
            }
            steps
        }),
        case(5, &["4.8.2-4"], "a delivery that was cut off is completed", {
            let mut steps = given();
            steps.extend(resumed(5));
            steps.push(Expect(again(message(5, 2, 1))));
            steps.extend(quiet());
            steps
        }),
        case(5, &["4.8.2-5"], "when its session ends it goes to nobody else", {
            let mut steps = given();
            steps.push(Leave);
            steps.extend(opened(connect(5)));
            steps.extend(quiet());
            steps
        }),
        case(5, &["4.8.2-6"], "nor does one that was refused", {
            let mut steps = given();
            steps.push(Send(vec![0x50, 3, 0, 1, 0x97]));
            steps.extend(alive());
            steps.extend(quiet());
            steps
        }),
        case(5, &["3.3.1-9"], "a share gets no retained messages", {
            let mut steps = Vec::from(told(retain(message(5, 1, 1))));
            steps.extend(opened(connect(5)));
            steps.extend(subscribed(5, SHARE, 1));
            steps.extend(alive());
            steps
        }),
    ]
}

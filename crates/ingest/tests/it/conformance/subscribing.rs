//! Cases of SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11) and of what comes down (3.3.4, 4.3, 4.9).

use super::Step::{Answer, Attribute, Call, Expect, Leave, Open, Send};
use super::bytes::{
    ATTRIBUTES, CALLS, Connect, again, alive, attribute, call, connect, connected, opened,
    property_block, subscribe_to, unsubscribe,
};
use super::{Case, Step, both, case};
use crate::platform::{packet, subscribe, text};

pub(super) fn cases() -> Vec<Case> {
    [subscriptions(), deliveries(), windows(), ends(), aliases()].into_iter().flatten().collect()
}

/// A SUBSCRIBE to one filter, and its SUBACK.
fn listen(level: u8, filter: &str, qos: u8) -> [Step; 2] {
    let answer = if level == 5 { vec![0x90, 4, 0, 1, 0, qos] } else { vec![0x90, 3, 0, 1, qos] };
    [Send(subscribe_to(level, filter.as_bytes(), qos)), Expect(answer)]
}

/// A connection that listens, then more.
fn listening(connect: Connect, level: u8, filter: &str, qos: u8, more: Vec<Step>) -> Vec<Step> {
    opened(connect).into_iter().chain(listen(level, filter, qos)).chain(more).collect()
}

fn subscriptions() -> Vec<Case> {
    [
        both(
            &[
                "2.2.1-6", "2.2.2-1", "3.8.4-1", "3.8.4-2", "3.8.4-5", "3.8.4-6", "3.8.4-7",
                "3.9.3-1", "3.9.3-2",
            ],
            &[
                "2.3.1-7", "3.8.3-2", "3.8.4-1", "3.8.4-2", "3.8.4-4", "3.8.4-5", "3.9.3-1",
                "3.9.3-2",
            ],
            "three filters: granted, granted, refused",
            |level| {
                let filters = [(ATTRIBUTES, 0), (CALLS, 2), ("$SYS/a", 1)];
                let answer = match level {
                    5 => vec![0x90, 6, 1, 2, 0, 0, 2, 0x87],
                    _ => vec![0x90, 5, 1, 2, 0, 2, 0x80],
                };
                let quiet = if level == 5 { &[0x17, 0][..] } else { &[] };
                let mut steps = opened(connect(level).properties(quiet));
                steps.extend([Send(subscribe(level, 0x0102, &filters)), Expect(answer)]);
                steps.extend([Call(7), Expect(call(level, 1, 1, 7))]);
                steps
            },
        ),
        both(&["3.8.4-3"], &["3.8.4-3"], "the same filter again replaces the first", |level| {
            let mut steps = listening(connect(level), level, CALLS, 1, Vec::new());
            steps.extend(listen(level, CALLS, 0));
            steps.extend([Call(7), Expect(call(level, 0, 0, 7))]);
            steps.extend(alive());
            steps
        }),
        [
            case(5, &["3.9.3-2"], "a share of attributes is refused by its own code", {
                let filter = b"$share/g/v1/devices/me/attributes";
                let bytes = subscribe_to(5, filter, 0);
                let quiet = connect(5).properties(&[0x17, 0]);
                let mut steps = opened(quiet);
                steps.extend([Send(bytes), Expect(vec![0x90, 4, 0, 1, 0, 0x9e])]);
                steps
            }),
            case(4, &["3.9.3-2"], "3.1.1 knows no shared subscriptions", {
                let bytes = subscribe_to(4, b"$share/g", 0);
                connected(4, vec![Send(bytes), Expect(vec![0x90, 3, 0, 1, 0x80])])
            }),
        ],
        both(
            &[
                "2.2.1-6", "3.10.4-1", "3.10.4-2", "3.10.4-4", "3.10.4-5", "3.10.4-6", "3.11.3-1",
                "3.11.3-2",
            ],
            &["2.3.1-7", "3.10.4-1", "3.10.4-2", "3.10.4-4", "3.10.4-5", "3.10.4-6"],
            "UNSUBSCRIBE of nearly the filter, and of the filter",
            |level| {
                let filters = ["v1/devices/me/attributeS", ATTRIBUTES];
                let answer = match level {
                    5 => vec![0xb0, 5, 0, 1, 0, 0x11, 0],
                    _ => vec![0xb0, 2, 0, 1],
                };
                let mut steps = listening(connect(level), level, ATTRIBUTES, 0, Vec::new());
                steps.extend([Send(unsubscribe(level, &filters)), Expect(answer), Attribute(3)]);
                steps.extend(alive());
                steps
            },
        ),
        both(&["3.10.4-5"], &["3.10.4-5"], "UNSUBSCRIBE of nothing", |level| {
            let answer = match level {
                5 => vec![0xb0, 4, 0, 1, 0, 0x11],
                _ => vec![0xb0, 2, 0, 1],
            };
            connected(level, vec![Send(unsubscribe(level, &["a"])), Expect(answer)])
        }),
        both(&["3.10.4-3"], &["3.10.4-3"], "a delivery that has begun is completed", |level| {
            let answer = match level {
                5 => vec![0xb0, 4, 0, 1, 0, 0],
                _ => vec![0xb0, 2, 0, 1],
            };
            let mut steps = listening(connect(level).kept(), level, CALLS, 1, Vec::new());
            steps.extend([Call(7), Expect(call(level, 1, 1, 7))]);
            steps.extend([Send(unsubscribe(level, &[CALLS])), Expect(answer), Leave]);
            steps.extend([Open(connect(level).kept().encode()), Answer(0x20, vec![1, 0])]);
            steps.push(Expect(again(call(level, 1, 1, 7))));
            steps
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn deliveries() -> Vec<Case> {
    [
        both(
            &["2.2.2-1", "3.3.2-3", "3.8.4-8", "4.3.1-1"],
            &["3.3.2-3", "3.8.4-6", "4.3.1-1"],
            "QoS 0",
            |level| {
                let more = vec![Attribute(3), Expect(attribute(level, 0, 0, 3))];
                listening(connect(level), level, ATTRIBUTES, 0, more)
            },
        ),
        both(
            &["2.2.1-4", "4.3.2-1", "4.3.2-2", "4.6.0-5", "4.6.0-6"],
            &["2.3.1-4", "4.3.2-1", "4.6.0-5", "4.6.0-6"],
            "QoS 1: ids that are not in use, no DUP, in order",
            |level| {
                let mut more = Vec::new();
                for id in 1..=3 {
                    more.extend([Call(id.into()), Expect(call(level, 1, id, id.into()))]);
                }
                more.extend([Send(vec![0x40, 2, 0, 2]), Call(4), Expect(call(level, 1, 4, 4))]);
                listening(connect(level), level, CALLS, 1, more)
            },
        ),
        [
            case(4, &["3.3.5-1"], "overlapping filters: once, at the highest QoS", {
                let filters = [(ATTRIBUTES, 0), ("v1/devices/me/+", 1)];
                let bytes = subscribe(4, 1, &filters);
                let mut steps = connected(4, vec![Send(bytes), Expect(vec![0x90, 4, 0, 1, 0, 1])]);
                steps.extend([Attribute(3), Expect(attribute(4, 1, 1, 3))]);
                steps.extend(alive());
                steps
            }),
            case(5, &["3.3.4-2", "3.3.4-3", "3.3.4-4"], "overlapping filters: once, both ids", {
                let with_id = |id: &[u8], filter: &str, qos: u8| {
                    let id = property_block(&[&[0x0b], id].concat());
                    packet(0x82, &[vec![0, 1], id, text(filter), vec![qos]].concat())
                };
                let ids = property_block(&[0x0b, 5, 0x0b, 0xac, 2]);
                let payload = b"{\"limit\":3}".to_vec();
                let message = packet(0x32, &[text(ATTRIBUTES), vec![0, 1], ids, payload].concat());
                let mut steps = connected(
                    5,
                    vec![
                        Send(with_id(&[5], ATTRIBUTES, 0)),
                        Expect(vec![0x90, 4, 0, 1, 0, 0]),
                        Send(with_id(&[0xac, 2], "v1/devices/me/+", 1)),
                        Expect(vec![0x90, 4, 0, 1, 0, 1]),
                        Attribute(3),
                        Expect(message),
                    ],
                );
                steps.extend(alive());
                steps
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Receive Maximum and Maximum Packet Size of a client.
fn windows() -> Vec<Case> {
    let asked = |properties: &[u8]| connect(5).kept().properties(properties);
    vec![
        case(
            5,
            &["3.3.4-9", "3.3.4-10", "4.3.2-3", "4.9.0-1", "4.9.0-2", "4.9.0-3"],
            "a receive maximum of 1",
            {
                let mut more = vec![Call(1), Call(2), Expect(call(5, 1, 1, 1))];
                more.extend(alive());
                more.extend([Send(vec![0x40, 2, 0, 1]), Expect(call(5, 1, 2, 2))]);
                listening(asked(&[0x21, 0, 1]), 5, CALLS, 1, more)
            },
        ),
        case(5, &["3.3.4-9", "4.9.0-2", "4.4.0-1"], "a smaller receive maximum after a break", {
            let kept = [0x11, 0, 0, 0, 60];
            let mut more = vec![Call(1), Expect(call(5, 1, 1, 1)), Call(2)];
            more.extend([Expect(call(5, 1, 2, 2)), Leave]);
            let small = asked(&[&kept[..], &[0x21, 0, 1]].concat());
            more.extend([Open(small.encode()), Answer(0x20, vec![1, 0])]);
            more.push(Expect(again(call(5, 1, 1, 1))));
            more.extend(alive());
            more.extend([Send(vec![0x40, 2, 0, 1]), Expect(again(call(5, 1, 2, 2)))]);
            listening(asked(&kept), 5, CALLS, 1, more)
        }),
        case(5, &["3.1.2-24"], "a message of exactly the maximum packet size", {
            let more = vec![Call(1), Expect(call(5, 1, 1, 1))];
            listening(asked(&[0x27, 0, 0, 0, 59]), 5, CALLS, 1, more)
        }),
        case(5, &["3.1.2-24", "3.1.2-25"], "a message of one byte more counts as sent", {
            let properties = [0x11, 0, 0, 0, 60, 0x27, 0, 0, 0, 58];
            let mut more = vec![Call(1)];
            more.extend(listen(5, ATTRIBUTES, 0));
            more.extend([Attribute(3), Expect(attribute(5, 0, 0, 3)), Leave]);
            more.extend([Open(connect(5).kept().encode()), Answer(0x20, vec![1, 0])]);
            more.extend(alive());
            listening(asked(&properties), 5, CALLS, 1, more)
        }),
        case(5, &["3.1.2-25"], "a message that has become too large counts as sent", {
            let kept = [0x11, 0, 0, 0, 60];
            let mut more = vec![Call(1), Expect(call(5, 1, 1, 1)), Leave];
            let small = asked(&[&kept[..], &[0x27, 0, 0, 0, 58]].concat());
            for hello in [small, asked(&kept)] {
                more.extend([Open(hello.encode()), Answer(0x20, vec![1, 0])]);
                more.extend(alive());
                more.push(Leave);
            }
            listening(asked(&kept), 5, CALLS, 1, more)
        }),
    ]
}

/// What ends a delivery.
fn ends() -> Vec<Case> {
    let reopened = |level: u8| {
        [Leave, Open(connect(level).kept().encode()), Answer(0x20, vec![1, 0])]
            .into_iter()
            .chain(alive())
    };
    let acknowledged = move |level: u8, ack: Vec<u8>| {
        let mut more = vec![Call(1), Expect(call(level, 1, 1, 1)), Send(ack)];
        more.extend(alive());
        more.extend(reopened(level));
        listening(connect(level).kept(), level, CALLS, 1, more)
    };
    vec![
        case(5, &["4.3.2-3", "4.4.0-1"], "after PUBACK nothing is sent again", {
            acknowledged(5, vec![0x40, 2, 0, 1])
        }),
        case(4, &["4.3.2-1", "4.4.0-1"], "after PUBACK nothing is sent again", {
            acknowledged(4, vec![0x40, 2, 0, 1])
        }),
        case(5, &["4.4.0-2"], "after PUBACK with an error nothing is sent again", {
            acknowledged(5, vec![0x40, 3, 0, 1, 0x80])
        }),
    ]
}

fn aliases() -> Vec<Case> {
    let message = |topic: &str, value: u8| {
        let alias = property_block(&[0x23, 0, 1]);
        let payload = format!("{{\"limit\":{value}}}").into_bytes();
        packet(0x30, &[text(topic), alias, payload].concat())
    };
    vec![
        case(5, &["3.1.2-26", "3.3.2-8", "3.3.2-11"], "an alias for a client that takes one", {
            let mut more = vec![Attribute(1), Expect(message(ATTRIBUTES, 1))];
            more.extend([Attribute(2), Expect(message("", 2))]);
            more.extend(listen(5, CALLS, 0));
            // The topic ends in an id: it would not come again.
            more.extend([Call(9), Expect(call(5, 0, 0, 9))]);
            listening(connect(5).properties(&[0x22, 0, 1]), 5, ATTRIBUTES, 0, more)
        }),
        case(5, &["3.1.2-27"], "no alias for a client that takes none", {
            let mut more = vec![Attribute(1), Expect(attribute(5, 0, 0, 1))];
            more.extend([Attribute(2), Expect(attribute(5, 0, 0, 2))]);
            listening(connect(5).properties(&[0x22, 0, 0]), 5, ATTRIBUTES, 0, more)
        }),
        case(5, &["3.1.2-27"], "no alias for a client that has not said", {
            let mut more = vec![Attribute(1), Expect(attribute(5, 0, 0, 1))];
            more.extend([Attribute(2), Expect(attribute(5, 0, 0, 2))]);
            listening(connect(5), 5, ATTRIBUTES, 0, more)
        }),
    ]
}

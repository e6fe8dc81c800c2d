//! Cases of sessions: kept, resumed, ended (3.1.2.4, 4.1), and what is sent again (4.4, 4.6).

use super::Step::{Answer, Call, Expect, Leave, Open, Send, Stored, Wait};
use super::bytes::{CALLS, READING, again, alive, call, connect, opened, subscribe_to};
use super::{Case, Step, both, case};
use crate::platform::{TELEMETRY, publish};

/// Listens to calls at QoS 1.
fn listen(level: u8) -> [Step; 2] {
    let answer = if level == 5 { vec![0x90, 4, 0, 1, 0, 1] } else { vec![0x90, 3, 0, 1, 1] };
    [Send(subscribe_to(level, CALLS.as_bytes(), 1)), Expect(answer)]
}

/// Another connection, with or without a session present.
fn reopen(level: u8, present: u8) -> [Step; 3] {
    [Leave, Open(connect(level).kept().encode()), Answer(0x20, vec![present, 0])]
}

pub(super) fn cases() -> Vec<Case> {
    [resumed(), ended()].into_iter().flatten().collect()
}

fn resumed() -> Vec<Case> {
    [
        both(
            &[
                "3.1.2-4", "3.1.2-5", "3.1.2-6", "3.1.2-23", "3.1.4-4", "3.2.2-2", "3.2.2-3",
                "4.1.0-1",
            ],
            &[
                "3.1.2-4", "3.1.2-5", "3.1.2-6", "3.1.4-3", "3.2.2-1", "3.2.2-2", "3.2.2-3",
                "4.1.0-1",
            ],
            "a session is made, resumed, discarded",
            |level| {
                let mut steps = opened(connect(level).kept());
                steps.extend(listen(level));
                steps.extend(reopen(level, 1));
                steps.extend([Call(1), Expect(call(level, 1, 1, 1)), Leave]);
                // A clean start ends it, and leaves none behind.
                steps.extend(opened(connect(level)));
                steps.push(Call(2));
                steps.extend(alive());
                steps.extend(reopen(level, 0));
                steps.push(Call(3));
                steps.extend(alive());
                steps
            },
        ),
        both(
            &["3.3.1-1", "3.3.1-3", "4.4.0-1", "2.2.1-4"],
            &["3.3.1-1", "3.3.1-3", "4.4.0-1", "4.6.0-1", "2.3.1-3", "2.3.1-4"],
            "what was not acknowledged is sent again, in order, with DUP and its packet id",
            |level| {
                let mut steps = opened(connect(level).kept());
                steps.extend(listen(level));
                for id in 1..=3 {
                    steps.extend([Call(id.into()), Expect(call(level, 1, id, id.into()))]);
                }
                steps.push(Send(vec![0x40, 2, 0, 2]));
                steps.extend(alive());
                steps.extend(reopen(level, 1));
                steps.push(Expect(again(call(level, 1, 1, 1))));
                steps.push(Expect(again(call(level, 1, 3, 3))));
                steps.extend([Call(4), Expect(call(level, 1, 4, 4))]);
                steps
            },
        ),
        both(
            &["4.3.3-10", "4.1.0-1"],
            &["4.3.3-2", "4.1.0-1"],
            "a QoS 2 message from before the break is not stored again",
            |level| {
                let message = publish(level, 2, 9, TELEMETRY, READING);
                let mut steps = opened(connect(level).kept());
                steps.extend([Send(message.clone()), Expect(vec![0x50, 2, 0, 9])]);
                steps.extend(reopen(level, 1));
                steps.extend([Send(again(message)), Expect(vec![0x50, 2, 0, 9])]);
                steps.extend([Send(vec![0x62, 2, 0, 9]), Expect(vec![0x70, 2, 0, 9]), Stored(1)]);
                steps
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn ended() -> Vec<Case> {
    [
        both(&["4.1.0-1"], &["4.1.0-2"], "a session lasts as long as its connection", |level| {
            let mut steps = opened(connect(level));
            steps.extend(listen(level));
            for _ in 0..5 {
                steps.push(Wait(80));
                steps.extend(alive());
            }
            steps.extend([Call(1), Expect(call(level, 1, 1, 1))]);
            steps
        }),
        [
            case(5, &["4.1.0-2"], "a session is over when its expiry has passed", {
                let mut steps = opened(connect(5).kept());
                steps.extend(listen(5));
                steps.extend([Leave, Wait(61), Open(connect(5).kept().encode())]);
                steps.push(Answer(0x20, vec![0, 0]));
                steps
            }),
            case(5, &["3.1.2-23", "4.1.0-2"], "a session is kept until then", {
                let mut steps = opened(connect(5).kept());
                steps.extend(listen(5));
                steps.extend([Leave, Wait(59), Open(connect(5).kept().encode())]);
                steps.push(Answer(0x20, vec![1, 0]));
                steps
            }),
        ],
        [
            case(5, &["4.1.0-2"], "DISCONNECT with a session expiry of 0 ends the session", {
                let goodbye = vec![0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0];
                let mut steps = opened(connect(5).kept());
                steps.push(Send(goodbye));
                steps.extend(reopen(5, 0));
                steps
            }),
            case(4, &["3.1.2-6"], "the session of a clean connection ends with it", {
                let mut steps = opened(connect(4));
                steps.extend(listen(4));
                steps.extend(reopen(4, 0));
                steps
            }),
        ],
    ]
    .into_iter()
    .flatten()
    .collect()
}

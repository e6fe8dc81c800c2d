//! Floods with frames of HTTP/2 on a real platform. Each ends its own connection or gets no
//! further than a bound; others are served meanwhile, and the platform's memory stays where it was.

use std::io::{Error, ErrorKind};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::{Mode, Options, Platform};
use crate::http2::{
    CONTINUATION, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, INITIAL_WINDOW, PING,
    RST_STREAM, SETTINGS, frame, get, text,
};

/// The platform's memory may grow by so much, in KiB; what is sent is far more.
const GROWTH_KIB_MAX: u64 = 192 * 1024;
/// Longest wait for the end of an attack, on a busy machine. Floods end at once; who takes nothing
/// of an answer is put out after the 1 s of [`Target::new`]. Were that ignored, pings that nobody
/// answers would end the connection after 50 s, and the default after 60 s.
const END: Duration = Duration::from_secs(20);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 9, 2, 1);
/// Error codes of RFC 9113, section 7.
const CANCEL: u32 = 8;

/// A platform that is attacked, and its memory before that.
struct Target {
    platform: Platform,
    memory_kib: u64,
}

impl Target {
    fn new() -> Self {
        // A first request has more time than any test takes: no attack ends for want of one.
        let options = Options::default()
            .environment("VERITWIN__HTTP__RESPONSE_IDLE_SECONDS_MAX", "1")
            .environment("VERITWIN__HTTP__HEADER_SECONDS_MAX", "600");
        let target = Self { platform: Platform::start(Mode::Serve, options), memory_kib: 0 };
        target.serves_others();
        Self { memory_kib: target.memory(), ..target }
    }

    fn connect(&self, settings: &[(u16, u32)]) -> Http2 {
        let mut connection = Http2::connect(self.platform.http(), ATTACKER, settings);
        connection.wait_at_most(END);
        connection.give_up_after(END);
        connection
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.platform.pid());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[track_caller]
    fn serves_others(&self) {
        assert_eq!(self.platform.http().get("/healthz").send().status, 200);
    }

    #[track_caller]
    fn is_well(&self) {
        self.serves_others();
        let memory = self.memory();
        let growth = memory.saturating_sub(self.memory_kib);
        assert!(growth < GROWTH_KIB_MAX, "{} KiB became {memory} KiB", self.memory_kib);
    }
}

/// A connection that was closed, and what was said before.
#[track_caller]
fn closed(connection: Http2) -> Vec<Frame> {
    let (frames, end) = connection.rest();
    assert!(!is_late(&end), "still open after {END:?}");
    frames
}

/// Nothing came in time, on a connection that is open.
fn is_late(end: &Error) -> bool {
    matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Writes until the other side takes no more, at most `times`; how often it did.
fn flood(connection: &mut Http2, times: u32, mut bytes: impl FnMut(u32) -> Vec<u8>) -> u32 {
    (0..times).find(|turn| connection.write(&bytes(*turn)).is_err()).unwrap_or(times)
}

#[test]
fn rapid_reset() {
    let target = Target::new();
    let mut connection = target.connect(&[]);
    let block = get("/healthz");
    let turns = flood(&mut connection, 2_000, |turn| {
        let streams = (0..100).map(|one| 1 + 2 * (turn * 100 + one));
        let pair = streams.flat_map(|stream| {
            let opened = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
            [opened, frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
        });
        pair.collect()
    });
    assert!(turns < 2_000, "200,000 streams were opened and reset");
    target.is_well();
    closed(connection);
}

#[test]
fn continuation_flood() {
    let target = Target::new();
    let mut connection = target.connect(&[]);
    let mut block = get("/healthz");
    block.extend_from_slice(&[0x00]);
    block.extend_from_slice(&text("x"));
    block.extend_from_slice(&text("y"));
    connection.write(&frame(HEADERS, END_STREAM, 1, &block)).unwrap();
    let one = [vec![0x00], text("name"), text(&"v".repeat(1_000))].concat();
    let piece = one.repeat(16);
    let turns = flood(&mut connection, 20_000, |_| frame(CONTINUATION, 0, 1, &piece[..16_000]));
    assert!(turns < 20_000, "320 MB of headers were taken");
    target.is_well();
    closed(connection);
}

#[test]
fn settings_and_ping_floods() {
    let target = Target::new();
    let floods = [
        frame(PING, 0, 0, b"12345678").repeat(1_000),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(1_000),
    ];
    // Nobody reads the answers, so that they pile up; the platform stops reading instead.
    for bytes in floods {
        let mut connection = target.connect(&[]);
        connection.give_up_after(Duration::from_secs(1));
        let turns = flood(&mut connection, 20_000, |_| bytes.clone());
        assert!(turns < 20_000, "20 million frames were taken");
        target.is_well();
    }
}

#[test]
fn header_table_bomb() {
    let target = Target::new();
    let mut connection = target.connect(&[]);
    // One header of almost the whole table, then a byte for each repetition of it: 60 MB a request.
    let entry = [vec![0x40], text("a"), text(&"v".repeat(3_900))].concat();
    let bomb = |is_first: bool| {
        let repeated = vec![0xbe; 15_500 - if is_first { entry.len() } else { 0 }];
        let entry = if is_first { entry.as_slice() } else { &[] };
        [get("/healthz").as_slice(), entry, &repeated].concat()
    };
    let flags = END_STREAM | END_HEADERS;
    flood(&mut connection, 50, |turn| frame(HEADERS, flags, 1 + 2 * turn, &bomb(turn == 0)));
    // Each is refused, or the connection is over: what was said before that may be lost with it.
    let mut refused = 0;
    while refused < 50 {
        match connection.read() {
            Ok(frame) => {
                // `:status: 200` is number 8 of the static table.
                assert!(frame.kind != HEADERS || frame.payload[0] != 0x88, "{frame:?}");
                refused += u32::from(matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY));
            }
            Err(end) => {
                assert!(refused > 0 || !is_late(&end), "nothing was said in {END:?}");
                break;
            }
        }
    }
    target.is_well();
}

#[test]
fn tiny_windows() {
    let target = Target::new();
    // Many long answers, of which a byte each is taken.
    let mut connection = target.connect(&[(INITIAL_WINDOW, 1)]);
    let block = get("/v1/openapi.json");
    let flags = END_STREAM | END_HEADERS;
    let asked = flood(&mut connection, 100, |turn| frame(HEADERS, flags, 1 + 2 * turn, &block));
    assert_eq!(asked, 100);
    target.is_well();
    let frames = closed(connection);
    let answered = frames.iter().filter(|frame| frame.kind == HEADERS).count();
    assert!(answered > 50, "{answered} were begun");
    target.is_well();
}

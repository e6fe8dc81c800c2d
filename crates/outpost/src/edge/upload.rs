//! The way to the platform: one batch at a time over HTTPS, in the order of the counters, again and
//! again until it is taken. Nothing is asked of the platform but what became of a batch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, StatusCode, header};
use serde::Deserialize;
use veritwin_domain::Clock;

use super::EdgeError;
use super::line::{Answered, Line};

/// How long an answer is waited for, when there is hardly anything to send.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// For each of so many bytes a second more: a slow line has to carry a batch in one go.
const BYTES_PER_SECOND: u64 = 4 * 1024;
/// The longest wait; the platform itself waits for less.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(200);
/// Fast, and small enough: readings take about a tenth.
const PACKED_LEVEL: i32 = 1;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest pause that the platform can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Longest text of a refusal that is kept.
const DETAIL_CHARS_MAX: usize = 300;

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Sent {
    /// The platform has it; go on after the pause.
    Taken { pause: Duration, refused: u64, clock_offset_us: Option<i64> },
    /// Not now: again after a pause, the platform's own if it named one.
    Later { detail: String, pause: Option<Duration> },
    /// The platform will not take it as things stand: somebody has to do something.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    outcome: String,
    last_counter: u64,
    #[serde(default)]
    refused: u64,
    #[serde(default)]
    wait_ms: u64,
    now_us: Option<i64>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// The client.
pub(super) struct Uploader {
    line: Line,
    clock: Arc<dyn Clock>,
}

impl Uploader {
    pub(super) const fn new(line: Line, clock: Arc<dyn Clock>) -> Self {
        Self { line, clock }
    }

    /// Sends one batch and says what became of it.
    pub(super) async fn send(&mut self, body: Bytes, waiting: u64) -> Sent {
        let patience = answer_timeout(body.len());
        let request = Request::post("/v1/edge/batches")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_ENCODING, "zstd")
            .header("veritwin-edge-waiting", waiting);
        let answered = self.line.ask(request, body, (patience, ANSWER_BYTES_MAX)).await;
        match answered {
            // The platform looks at its clock last of all: sending may have taken minutes.
            Ok(Answered { status, headers, body }) => {
                let answered_us = self.clock.now().as_micros();
                read(status, retry_after(&headers), &body, answered_us)
            }
            Err(detail) => Sent::Later { detail, pause: None },
        }
    }
}

/// The body of a request: length of the statement, statement and content, compressed.
pub(super) fn body(statement: &[u8], content: &str) -> Result<Bytes, EdgeError> {
    let length = u16::try_from(statement.len());
    let length = length.map_err(|error| EdgeError::Damaged(error.to_string()))?;
    let plain = [length.to_be_bytes().as_slice(), statement, content.as_bytes()].concat();
    let packed = zstd::bulk::compress(&plain, PACKED_LEVEL);
    packed.map(Bytes::from).map_err(EdgeError::io("compressing a batch"))
}

fn answer_timeout(bytes: usize) -> Duration {
    let more = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND);
    (ANSWER_TIMEOUT + more).min(ANSWER_TIMEOUT_MAX)
}

pub(super) fn retry_after(headers: &hyper::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

/// What the platform says of a refusal, without what a terminal would act on.
pub(super) fn detail(status: StatusCode, body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body).map(|problem| problem.detail);
    let text = problem.unwrap_or_default();
    let text: String =
        text.chars().filter(|one| !one.is_control()).take(DETAIL_CHARS_MAX).collect();
    format!("{}: {text}", status.as_u16())
}

fn read(status: StatusCode, pause: Option<Duration>, body: &[u8], answered_us: i64) -> Sent {
    match (status, serde_json::from_slice::<Answer>(body)) {
        (StatusCode::OK, Ok(answer)) if matches!(&*answer.outcome, "kept" | "known") => {
            Sent::Taken {
                pause: Duration::from_millis(answer.wait_ms).min(PAUSE_MAX),
                refused: answer.refused,
                clock_offset_us: answer.now_us.map(|now| now.saturating_sub(answered_us)),
            }
        }
        (StatusCode::CONFLICT, Ok(answer)) => Sent::Refused(format!(
            "the platform has other batches of this edge, up to {}: {}",
            answer.last_counter,
            if answer.outcome == "fork" { "this one contradicts them" } else { "this is too late" }
        )),
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
            Sent::Later { detail: detail(status, body), pause }
        }
        (status, _) if status.is_client_error() => Sent::Refused(detail(status, body)),
        (status, _) => Sent::Later { detail: detail(status, body), pause },
    }
}

/// The pause after so many failures in a row: doubled each time up to the most, and half of it by
/// chance, so that edges do not come back all at once.
pub(super) fn back_off(failures: u32, chance: u64) -> Duration {
    const MOST: Duration = Duration::from_secs(30);
    let whole = Duration::from_secs(1 << failures.min(5)).min(MOST);
    let half = whole / 2;
    let millis = u64::try_from(half.as_millis()).unwrap_or(0).max(1);
    half + Duration::from_millis(chance % millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let kept = br#"{"outcome":"kept","last_counter":4,"refused":1,"wait_ms":5,"now_us":107}"#;
        let Sent::Taken { pause, refused, clock_offset_us } = read(StatusCode::OK, None, kept, 100)
        else {
            panic!("taken");
        };
        assert_eq!((pause, refused, clock_offset_us), (Duration::from_millis(5), 1, Some(7)));
        let fork = br#"{"outcome":"fork","last_counter":4}"#;
        let is_refused =
            |status, body: &[u8]| matches!(read(status, None, body, 0), Sent::Refused(_));
        assert!(is_refused(StatusCode::CONFLICT, fork));
        assert!(is_refused(StatusCode::FORBIDDEN, br#"{"detail":"not registered"}"#));
        for status in [408, 429, 500, 503, 507] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(!is_refused(status, b""), "{status}");
        }
        // What is no answer of a platform is no proof of anything.
        assert!(matches!(read(StatusCode::OK, None, b"<html>", 0), Sent::Later { .. }));
    }

    #[test]
    fn a_slow_line_has_time_for_a_batch() {
        for (bytes, seconds) in [(300, 60), (100 * 1024, 85), (8 * 1024 * 1024, 200)] {
            assert_eq!(answer_timeout(bytes), Duration::from_secs(seconds), "{bytes}");
        }
    }

    #[test]
    fn a_body_is_what_the_platform_unpacks() {
        let content = "{\"device\":\"pump\"}\n".repeat(1_000);
        let packed = body(b"statement", &content).expect("packed");
        assert!(packed.len() < content.len() / 10, "{}", packed.len());
        let plain = zstd::bulk::decompress(&packed, 1024 * 1024).expect("unpacked");
        assert_eq!(plain, [&b"\x00\x09statement"[..], content.as_bytes()].concat());
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for (failures, least, most) in [(0, 500, 1_000), (3, 4_000, 8_000), (40, 15_000, 30_000)] {
            for chance in [0, 1, 999_999_999] {
                let pause = back_off(failures, chance).as_millis();
                assert!((least..=most).contains(&pause), "{failures}: {pause}");
            }
        }
    }
}

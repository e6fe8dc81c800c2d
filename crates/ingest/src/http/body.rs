//! Request bodies: bounded before and after decompression.

use std::io::Read;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::Semaphore;
use veritwin_domain::{IngestLimits, LimitExceeded};

use super::problem::Problem;

/// Largest window a zstd body may ask for, as a power of two: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Largest plain body that is read where it arrives: some milliseconds at most.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Most bodies that are unpacked and parsed on threads for such work at once. Each may take a
/// window and a whole body beside what arrived; the others wait with what arrived.
const APART_MAX: usize = 32;
static APART: Semaphore = Semaphore::const_new(APART_MAX);

/// The body as it arrived.
pub(super) fn received(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    limits: &IngestLimits,
) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return too_large(limits, announced(headers));
        }
        Problem::new(StatusCode::BAD_REQUEST, "the body could not be read to its end")
    })
}

/// The size that the sender gave.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limits: &IngestLimits, size: Option<usize>) -> Problem {
    let max = limits.body_bytes_max;
    let actual = size.filter(|size| *size > max).unwrap_or(LimitExceeded::MORE);
    LimitExceeded { name: "body_bytes_max", max, actual }.into()
}

/// What a body says. One of some size, or one that grows when it is unpacked, would hold up other
/// connections of this thread: it is read on a thread for such work.
pub(super) async fn read<T: Send + 'static>(
    headers: &HeaderMap,
    received: Bytes,
    limits: &IngestLimits,
    parse: impl FnOnce(&[u8], &IngestLimits) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if received.len() <= INLINE_BYTES_MAX && !headers.contains_key(header::CONTENT_ENCODING) {
        return parse(&received, limits);
    }
    read_apart(headers, received, limits, parse).await
}

/// The same, however small it is, on a thread for such work: for a form that says much in few
/// bytes.
pub(super) async fn read_apart<T: Send + 'static>(
    headers: &HeaderMap,
    received: Bytes,
    limits: &IngestLimits,
    parse: impl FnOnce(&[u8], &IngestLimits) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let (headers, limits) = (headers.clone(), *limits);
    // The semaphore is never closed. The place is the work's own: it goes on when nobody waits for
    // it any more.
    let place = APART.acquire().await.ok();
    let parsed = tokio::task::spawn_blocking(move || {
        let _place = place;
        let body = decoded(&headers, received, &limits)?;
        parse(&body, &limits)
    });
    parsed.await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be parsed")
    })?
}

/// The body without its `Content-Encoding`.
fn decoded(headers: &HeaderMap, body: Bytes, limits: &IngestLimits) -> Result<Bytes, Problem> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(body) };
    match encoding.as_bytes() {
        b"identity" => Ok(body),
        b"gzip" => bounded(flate2::read::MultiGzDecoder::new(&*body), limits),
        b"zstd" => {
            let decoder =
                zstd::stream::read::Decoder::with_buffer(&*body).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(decoder)
                });
            bounded(decoder.map_err(|_| malformed())?, limits)
        }
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unknown Content-Encoding: expected gzip, zstd or identity",
        )),
    }
}

fn malformed() -> Problem {
    let detail = "the body is not what its Content-Encoding says";
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn bounded(decoder: impl Read, limits: &IngestLimits) -> Result<Bytes, Problem> {
    let mut out = Vec::new();
    let max = limits.body_bytes_max;
    decoder.take(max as u64 + 1).read_to_end(&mut out).map_err(|_| malformed())?;
    if out.len() > max {
        return Err(too_large(limits, None));
    }
    Ok(out.into())
}

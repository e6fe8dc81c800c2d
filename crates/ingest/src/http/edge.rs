//! `POST /v1/edge/batches`: a store-and-forward edge hands over one signed batch. What it states
//! and whether it may is for the sink to say.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Api, Authenticated, body, device};
use crate::model::EdgeBatch;

/// How many entries wait at the edge behind this batch.
const WAITING_HEADER: &str = "veritwin-edge-waiting";

/// The statement with its length in front, and the content behind it.
fn split(body: &[u8]) -> Result<(Bytes, Bytes), Problem> {
    let parts = body
        .split_first_chunk::<2>()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
    let (statement, content) = parts.ok_or_else(|| {
        let detail = "the body ends before the statement does: expected its length in two bytes, \
                      the statement, and the content";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok((Bytes::copy_from_slice(statement), Bytes::copy_from_slice(content)))
}

pub(super) async fn batch(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let limits = &api.parts.limits;
    let received = body::received(&headers, body, limits)?;
    let (statement, content) =
        body::read(&headers, received, limits, |body, _| split(body)).await?;
    let waiting = headers.get(WAITING_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let batch = EdgeBatch { statement, content, waiting };
    let answer = api.parts.sink.edge_batch(&session, batch).await?;
    let status = if answer.is_taken { StatusCode::OK } else { StatusCode::CONFLICT };
    let text = format!(
        "{{\"outcome\":\"{}\",\"last_counter\":{},\"refused\":{},\"wait_ms\":{},\"now_us\":{}}}",
        answer.outcome,
        answer.last_counter,
        answer.refused,
        answer.wait.as_millis(),
        answer.now.as_micros()
    );
    Ok((status, device::json(text)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_split_where_it_says() {
        let (statement, content) = split(b"\x00\x02abcd").unwrap_or_else(|_| panic!("split"));
        assert_eq!((&*statement, &*content), (&b"ab"[..], &b"cd"[..]));
        for bad in [&b""[..], b"\x00", b"\x00\x03ab"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }
}

//! The witness's HTTP interface: `POST /add-checkpoint`, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt as _, Limited};
use veritwin_domain::Clock;
use veritwin_verify::{
    AddCheckpoint, TREE_SIZE_TYPE, WITNESS_REQUEST_BYTES_MAX, cosignature_line, cosigned_message,
};

use super::Signer;
use super::store::{Judged, Store};

/// Longest wait for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) struct Served {
    pub(super) store: Store,
    pub(super) signer: Signer,
    pub(super) clock: Arc<dyn Clock>,
}

pub(super) fn router(served: Arc<Served>) -> Router {
    Router::new().route("/add-checkpoint", post(add_checkpoint)).with_state(served)
}

fn text(status: StatusCode, detail: impl ToString) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], detail.to_string() + "\n").into_response()
}

async fn add_checkpoint(State(served): State<Arc<Served>>, body: Body) -> Response {
    let collected = Limited::new(body, WITNESS_REQUEST_BYTES_MAX).collect();
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "a body of at most 64 KiB is expected"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let Ok(request) = std::str::from_utf8(&bytes) else {
        return text(StatusCode::BAD_REQUEST, "the body is not text");
    };
    let (request, signed) = match AddCheckpoint::parse(request) {
        Ok(parsed) => parsed,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    // Signatures are checked and a file is made durable in there.
    let judging = tokio::task::spawn_blocking(move || {
        let judged = served.store.judge(&request, &signed);
        (judged, signed, served)
    });
    let Ok((judged, signed, served)) = judging.await else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the request broke off");
    };
    match judged {
        Judged::Cosign => {
            let line = cosign(&served, signed.note.text());
            (StatusCode::OK, [(header::CONTENT_TYPE, TEXT)], line).into_response()
        }
        Judged::Unknown => text(StatusCode::NOT_FOUND, "no such log is witnessed here"),
        Judged::NotSigned => text(StatusCode::FORBIDDEN, "not signed by a key of this log"),
        Judged::Beyond => text(StatusCode::BAD_REQUEST, "the old size is beyond the checkpoint"),
        Judged::Conflict(size) => {
            let kind = [(header::CONTENT_TYPE, TREE_SIZE_TYPE)];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Judged::Inconsistent => {
            text(StatusCode::UNPROCESSABLE_ENTITY, "the consistency proof does not hold")
        }
        Judged::Stopped => text(StatusCode::SERVICE_UNAVAILABLE, "the witness cannot write"),
    }
}

fn cosign(served: &Served, note_text: &str) -> String {
    let micros = served.clock.now().as_micros();
    let seconds = u64::try_from(micros.div_euclid(1_000_000)).unwrap_or_default();
    let signature = served.signer.key.sign(&cosigned_message(seconds, note_text));
    cosignature_line(&served.signer.vkey, seconds, &signature)
}

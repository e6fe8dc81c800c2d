//! Packages that a device is to have, whole or in pieces, as ThingsBoard's paths have them:
//! `?title=&version=&size=&chunk=`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use veritwin_domain::LimitExceeded;

use super::device::parameter;
use super::problem::Problem;
use super::{Api, Authenticated};
use crate::CHUNK_BYTES_MAX;
use crate::model::{ChunkRequest, DeviceSession, Origin, PackageKind};
use crate::traits::SubmitError;

pub(super) async fn firmware(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    package(api, session, PackageKind::Firmware, query.as_deref()).await
}

pub(super) async fn software(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    package(api, session, PackageKind::Software, query.as_deref()).await
}

fn number(query: Option<&str>, name: &str) -> Result<u32, Problem> {
    let Some(text) = parameter(query, name) else { return Ok(0) };
    text.parse().map_err(|_| {
        let detail = format!("{name}: expected a number up to 4294967295");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

async fn package(
    api: Arc<Api>,
    session: Arc<DeviceSession>,
    kind: PackageKind,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let (title, version) = (parameter(query, "title"), parameter(query, "version"));
    let (bytes, chunk) = (number(query, "size")?, number(query, "chunk")?);
    if bytes > CHUNK_BYTES_MAX {
        let (max, actual) = (size(CHUNK_BYTES_MAX), size(bytes));
        return Err(LimitExceeded { name: "chunk_bytes_max", max, actual }.into());
    }
    // In debt of readings nothing is read.
    api.parts.sink.admit_readings(Origin::Device(&session), 0)?;
    let is_whole = bytes == 0 && chunk == 0;
    let chunk_bytes = if is_whole { Some(CHUNK_BYTES_MAX) } else { (bytes > 0).then_some(bytes) };
    let request = ChunkRequest { kind, expected: title.zip(version), chunk_bytes, chunk };
    let (first, _) = fetch(&api, &session, request.clone()).await?;
    let body = if is_whole && first.len() >= size(CHUNK_BYTES_MAX) {
        whole(api, session, request, first)
    } else {
        Body::from(first)
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// What follows the first piece, one after the other as they are read: nobody holds all of it.
fn whole(
    api: Arc<Api>,
    session: Arc<DeviceSession>,
    request: ChunkRequest,
    first: Vec<u8>,
) -> Body {
    let start = Some((api, session, request));
    let rest = stream::try_unfold(start, |place| async move {
        let Some((api, session, mut request)) = place else { return Ok(None) };
        request.chunk += 1;
        let (bytes, hold) = fetch(&api, &session, request.clone()).await?;
        tokio::time::sleep(hold).await;
        let is_last = bytes.len() < size(CHUNK_BYTES_MAX);
        let next = (!is_last).then_some((api, session, request));
        Ok::<_, SubmitError>(Some((Bytes::from(bytes), next)))
    });
    let first = stream::once(async move { Ok::<_, SubmitError>(Bytes::from(first)) });
    Body::from_stream(first.chain(rest))
}

/// A piece, and how long to wait before the next one.
async fn fetch(
    api: &Api,
    session: &DeviceSession,
    request: ChunkRequest,
) -> Result<(Vec<u8>, Duration), SubmitError> {
    let bytes = api.parts.sink.chunk(session, request).await?;
    let counted = u32::try_from(bytes.len() / 1024).unwrap_or(u32::MAX);
    let hold = api.parts.sink.pace(Origin::Device(session), 0, counted);
    Ok((bytes, hold))
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

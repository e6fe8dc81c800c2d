//! Pieces of the packages that a device is to have, as ThingsBoard's paths have them:
//! `?title=&version=&size=&chunk=`.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use veritwin_domain::LimitExceeded;

use super::device::parameter;
use super::problem::Problem;
use super::{Api, Authenticated};
use crate::CHUNK_BYTES_MAX;
use crate::model::{ChunkRequest, DeviceSession, Origin, PackageKind};

pub(super) async fn firmware(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    piece(&api, &session, PackageKind::Firmware, query.as_deref()).await
}

pub(super) async fn software(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    piece(&api, &session, PackageKind::Software, query.as_deref()).await
}

fn number(query: Option<&str>, name: &str) -> Result<u32, Problem> {
    let Some(text) = parameter(query, name) else { return Ok(0) };
    text.parse().map_err(|_| {
        let detail = format!("{name}: expected a number up to 4294967295");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

async fn piece(
    api: &Api,
    session: &DeviceSession,
    kind: PackageKind,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let (title, version) = (parameter(query, "title"), parameter(query, "version"));
    let (bytes, chunk) = (number(query, "size")?, number(query, "chunk")?);
    if bytes > CHUNK_BYTES_MAX {
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (max, actual) = (size(CHUNK_BYTES_MAX), size(bytes));
        return Err(LimitExceeded { name: "chunk_bytes_max", max, actual }.into());
    }
    let chunk_bytes = (bytes > 0).then_some(bytes);
    // In debt of readings nothing is read.
    api.parts.sink.admit_readings(Origin::Device(session), 0)?;
    let request = ChunkRequest { kind, expected: title.zip(version), chunk_bytes, chunk };
    let bytes = api.parts.sink.chunk(session, request).await?;
    let counted = u32::try_from(bytes.len() / 1024).unwrap_or(u32::MAX);
    api.parts.sink.pace(Origin::Device(session), 0, counted);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

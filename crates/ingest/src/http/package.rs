//! Packages that a device is to have, whole or in pieces, as ThingsBoard's paths have them:
//! `?title=&version=&size=&chunk=`. A whole one is of one package to its end, or breaks off.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use veritwin_domain::{DeviceId, LimitExceeded, PackageId, Shared, TenantId};

use super::device::parameter;
use super::problem::Problem;
use super::{Api, Authenticated, PACKAGE_HEADER};
use crate::CHUNK_BYTES_MAX;
use crate::attached::Attached;
use crate::link::{DeviceLink, LinkEnd};
use crate::model::{Chunk, ChunkRequest, DeviceSession, Origin, PackageKind, Transport};
use crate::traits::SubmitError;

/// Most packages, or pieces of one, that are being given out at once: 512 KiB of each are in
/// memory, or twice as much, until their device has read them.
const DOWNLOADS_MAX: usize = 512;
const TENANT_DOWNLOADS_MAX: usize = 256;
const DEVICE_DOWNLOADS_MAX: usize = 4;
const AGAIN_SECONDS: u64 = 5;

/// The places for what is being given out.
pub(super) struct Downloads {
    all: Arc<Semaphore>,
    of_tenants: Shared<TenantId, Semaphore>,
    of_devices: Shared<DeviceId, Semaphore>,
}

impl Default for Downloads {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(DOWNLOADS_MAX));
        Self { all, of_tenants: Shared::default(), of_devices: Shared::default() }
    }
}

impl Downloads {
    fn places(&self, session: &DeviceSession) -> Result<Arc<Places>, Problem> {
        let device = self.of_devices.of(session.device, || Semaphore::new(DEVICE_DOWNLOADS_MAX));
        let tenant = self.of_tenants.of(session.tenant, || Semaphore::new(TENANT_DOWNLOADS_MAX));
        Ok(Arc::new(Places {
            _device: place(device, "device_downloads_max", DEVICE_DOWNLOADS_MAX)?,
            _tenant: place(tenant, "tenant_downloads_max", TENANT_DOWNLOADS_MAX)?,
            _all: place(Arc::clone(&self.all), "downloads_max", DOWNLOADS_MAX)?,
        }))
    }
}

fn place(
    places: Arc<Semaphore>,
    name: &'static str,
    max: usize,
) -> Result<OwnedSemaphorePermit, Problem> {
    places.try_acquire_owned().map_err(|_| {
        let limit = LimitExceeded { name, max, actual: max + 1 };
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, limit.to_string());
        problem.retry_after(AGAIN_SECONDS)
    })
}

/// Of one download, until the last of its bytes is sent.
struct Places {
    _device: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Bytes on their way.
struct Piece {
    bytes: Vec<u8>,
    _places: Arc<Places>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn placed(bytes: Vec<u8>, places: &Arc<Places>) -> Bytes {
    Bytes::from_owner(Piece { bytes, _places: Arc::clone(places) })
}

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

fn check_size(bytes: u32) -> Result<(), Problem> {
    if bytes <= CHUNK_BYTES_MAX {
        return Ok(());
    }
    let (max, actual) = (size(CHUNK_BYTES_MAX), size(bytes));
    Err(LimitExceeded { name: "chunk_bytes_max", max, actual }.into())
}

/// `?device=&kind=&size=&chunk=&title=&version=&begun=`: a piece for a device of another site, of
/// the edge that it is behind. A header says which package it is of.
pub(super) async fn of_edge(
    State(api): State<Arc<Api>>,
    Authenticated(gateway): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = query.as_deref();
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let kind = match parameter(query, "kind").as_deref() {
        Some("firmware") => PackageKind::Firmware,
        Some("software") => PackageKind::Software,
        _ => return Err(bad("kind: expected firmware or software")),
    };
    let name = parameter(query, "device");
    let name = name.ok_or_else(|| bad("device: expected the name of one behind this gateway"))?;
    let begun = parameter(query, "begun").map(|id| id.parse::<PackageId>()).transpose();
    let begun = begun.map_err(|_| bad("begun: expected the id of a package"))?;
    let (bytes, chunk) = (number(query, "size")?, number(query, "chunk")?);
    check_size(bytes)?;
    let there = api.parts.login.children_there(&gateway, &[name]).await?;
    let Some(device) = there.into_iter().next().flatten() else {
        let detail = "no device of this name is behind this gateway";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let session = DeviceSession::new(gateway.tenant, device, gateway.credential);
    let places = api.downloads.places(&session)?;
    api.parts.sink.admit_readings(Origin::Device(&session), 0)?;
    let expected = parameter(query, "title").zip(parameter(query, "version"));
    let chunk_bytes = (bytes > 0).then_some(bytes);
    let request = ChunkRequest { kind, expected, chunk_bytes, chunk, begun };
    let (Chunk { package, bytes }, _) = fetch(&api, &session, request).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (HeaderName::from_static(PACKAGE_HEADER), package.to_string()),
    ];
    Ok((headers, Body::from(placed(bytes, &places))).into_response())
}

async fn package(
    api: Arc<Api>,
    session: Arc<DeviceSession>,
    kind: PackageKind,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let (title, version) = (parameter(query, "title"), parameter(query, "version"));
    let (bytes, chunk) = (number(query, "size")?, number(query, "chunk")?);
    check_size(bytes)?;
    let places = api.downloads.places(&session)?;
    // In debt of readings nothing is read.
    api.parts.sink.admit_readings(Origin::Device(&session), 0)?;
    let is_whole = bytes == 0 && chunk == 0;
    let chunk_bytes = if is_whole { Some(CHUNK_BYTES_MAX) } else { (bytes > 0).then_some(bytes) };
    let expected = title.zip(version);
    let request = ChunkRequest { kind, expected, chunk_bytes, chunk, begun: None };
    let (first, _) = fetch(&api, &session, request.clone()).await?;
    let Chunk { package, bytes } = first;
    let body = if is_whole && bytes.len() >= size(CHUNK_BYTES_MAX) {
        let request = ChunkRequest { begun: Some(package), ..request };
        whole(api, session, request, (bytes, places)).await
    } else {
        Body::from(placed(bytes, &places))
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// A package that is being given out whole. Its device is linked meanwhile, as one that is
/// connected: what lets it in may end before all of it is read.
struct Download {
    api: Arc<Api>,
    attached: Attached,
    end: LinkEnd,
    request: ChunkRequest,
    places: Arc<Places>,
}

impl Download {
    async fn next(&mut self) -> Result<Bytes, SubmitError> {
        let Self { api, attached, end, request, places } = self;
        request.chunk += 1;
        let next = async {
            let (chunk, hold) = fetch(api, attached.session(), request.clone()).await?;
            tokio::time::sleep(hold).await;
            Ok::<_, SubmitError>(placed(chunk.bytes, places))
        };
        tokio::select! {
            biased;
            _ = end.close.wait_for(Option::is_some) => {
                Err(SubmitError::Denied("the platform has ended what this device had open".into()))
            }
            next = next => next,
        }
    }
}

/// What follows the first piece, one after the other as they are read: nobody holds all of it. The
/// status is sent by then: where it cannot go on the body breaks off, and no client takes what it
/// has for all of it.
async fn whole(
    api: Arc<Api>,
    session: Arc<DeviceSession>,
    request: ChunkRequest,
    (first, places): (Vec<u8>, Arc<Places>),
) -> Body {
    let (link, end) = DeviceLink::new(Transport::Http);
    let attached = Attached::new(Arc::clone(&api.parts.sink), session, link).await;
    let first = placed(first, &places);
    let start = Some(Download { api, attached, end, request, places });
    let rest = stream::try_unfold(start, |download| async move {
        let Some(mut download) = download else { return Ok(None) };
        let next = download.next().await;
        let bytes = next.inspect_err(|error| tracing::info!(%error, "a download broke off"))?;
        let is_last = bytes.len() < size(CHUNK_BYTES_MAX);
        let rest = (!is_last).then_some(download);
        Ok::<_, SubmitError>(Some((bytes, rest)))
    });
    let first = stream::once(async move { Ok::<_, SubmitError>(first) });
    Body::from_stream(first.chain(rest))
}

/// A piece, and how long to wait before the next one.
async fn fetch(
    api: &Api,
    session: &DeviceSession,
    request: ChunkRequest,
) -> Result<(Chunk, Duration), SubmitError> {
    let chunk = api.parts.sink.chunk(session, request).await?;
    let counted = u32::try_from(chunk.bytes.len() / 1024).unwrap_or(u32::MAX);
    let hold = api.parts.sink.pace(Origin::Device(session), 0, counted);
    Ok((chunk, hold))
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

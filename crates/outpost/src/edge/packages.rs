//! Packages for devices of the site: a piece is asked of the platform when a device asks for it,
//! one at a time on a connection of their own. Nothing of them is kept at the site.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, StatusCode};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use veritwin_domain::{DeviceId, Shared};
use veritwin_ingest::http::PACKAGE_HEADER;
use veritwin_ingest::{CHUNK_BYTES_MAX, Chunk, ChunkRequest, PackageKind, SubmitError};

use super::line::{Answered, Line};
use super::upload::{detail, retry_after};

/// Most pieces that are waited for at once.
const WAITING_MAX: usize = 32;
/// Most of them of one device: none keeps all others waiting.
const DEVICE_WAITING_MAX: usize = 8;
/// How long a device's piece is waited for, with all that is in front of it.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(5);

/// The way to the platform's packages.
pub(super) struct Packages {
    line: Mutex<Line>,
    waiting: Semaphore,
    of_devices: Shared<DeviceId, Semaphore>,
}

fn busy(limit: &'static str) -> SubmitError {
    SubmitError::Busy {
        detail: "so many pieces of packages are waited for already".to_owned(),
        limit: Some(limit),
        retry_after: AGAIN,
    }
}

impl Packages {
    pub(super) fn new(line: Line) -> Self {
        let (line, waiting) = (Mutex::new(line), Semaphore::new(WAITING_MAX));
        Self { line, waiting, of_devices: Shared::default() }
    }

    /// A piece of the package that a device, which has this name, is to have.
    pub(super) async fn piece(
        &self,
        (device, name): (DeviceId, &str),
        request: &ChunkRequest,
    ) -> Result<Chunk, SubmitError> {
        let own = self.of_devices.of(device, || Semaphore::new(DEVICE_WAITING_MAX));
        let Ok(_own) = own.try_acquire() else {
            return Err(busy("edge_device_pieces_waiting_max"));
        };
        let Ok(_waits) = self.waiting.try_acquire() else {
            return Err(busy("edge_pieces_waiting_max"));
        };
        let bytes_max = usize::try_from(CHUNK_BYTES_MAX).unwrap_or(usize::MAX);
        let asking = async {
            let mut line = self.line.lock().await;
            let bounds = (PATIENCE, bytes_max);
            let piece = || Request::get(path(name, request));
            match line.ask(piece(), Bytes::new(), bounds).await {
                // A connection that was kept may have ended just now.
                Err(_) => line.ask(piece(), Bytes::new(), bounds).await,
                answered => answered,
            }
        };
        let away = || SubmitError::Unavailable("the platform cannot be reached now".to_owned());
        let answered = timeout(PATIENCE, asking).await.map_err(|_| away())?;
        read(&answered.map_err(|error| {
            tracing::debug!(error, "a piece of a package was not fetched");
            away()
        })?)
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn path(name: &str, request: &ChunkRequest) -> String {
    let kind = match request.kind {
        PackageKind::Firmware => "firmware",
        PackageKind::Software => "software",
    };
    let (name, chunk) = (escaped(name), request.chunk);
    let mut path = format!("/v1/edge/packages?device={name}&kind={kind}&chunk={chunk}");
    if let Some(bytes) = request.chunk_bytes {
        let _ = write!(path, "&size={bytes}");
    }
    if let Some((title, version)) = &request.expected {
        let _ = write!(path, "&title={}&version={}", escaped(title), escaped(version));
    }
    if let Some(package) = request.begun {
        let _ = write!(path, "&begun={package}");
    }
    path
}

fn read(answered: &Answered) -> Result<Chunk, SubmitError> {
    let why = || detail(answered.status, &answered.body);
    match answered.status {
        StatusCode::OK => {
            let package = answered.headers.get(PACKAGE_HEADER);
            let package = package.and_then(|id| id.to_str().ok()?.parse().ok());
            let package = package.ok_or_else(|| {
                SubmitError::Unavailable("what answers there is not the platform".to_owned())
            })?;
            Ok(Chunk { package, bytes: answered.body.to_vec() })
        }
        StatusCode::NOT_FOUND => Err(SubmitError::NotFound(why())),
        // It is the edge that the platform does not know: its device is let in here.
        StatusCode::UNAUTHORIZED => {
            Err(SubmitError::Unavailable("the platform does not let this edge in now".to_owned()))
        }
        StatusCode::FORBIDDEN => Err(SubmitError::Denied(why())),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Err(SubmitError::Invalid(why())),
        StatusCode::TOO_MANY_REQUESTS => {
            let retry_after = retry_after(&answered.headers).unwrap_or(AGAIN);
            Err(SubmitError::Busy { detail: why(), limit: None, retry_after })
        }
        _ => Err(SubmitError::Unavailable(why())),
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use veritwin_domain::PackageId;

    use super::*;

    #[test]
    fn a_piece_is_asked_for_by_what_it_is_of() {
        let package = PackageId::from_bytes([7; 16]);
        let mut request = ChunkRequest {
            kind: PackageKind::Firmware,
            expected: None,
            chunk_bytes: None,
            chunk: 3,
            begun: None,
        };
        let short = "/v1/edge/packages?device=p%C3%BCmp%26%201&kind=firmware&chunk=3";
        assert_eq!(path("p\u{fc}mp& 1", &request), short);
        request.kind = PackageKind::Software;
        request.chunk_bytes = Some(100);
        request.expected = Some(("A b".to_owned(), "1.0".to_owned()));
        request.begun = Some(package);
        let long = "/v1/edge/packages?device=p&kind=software&chunk=3&size=100&title=A%20b\
                    &version=1.0&begun=";
        assert_eq!(path("p", &request), format!("{long}{package}"));
    }

    #[test]
    fn answers_are_told_apart() {
        let package = PackageId::from_bytes([7; 16]);
        let answered = |status: u16, named: bool| {
            let mut headers = HeaderMap::new();
            if named {
                let id = package.to_string().parse().expect("a header");
                headers.insert(PACKAGE_HEADER, id);
            }
            let status = StatusCode::from_u16(status).expect("a status");
            read(&Answered { status, headers, body: Bytes::from_static(b"{}") })
        };
        let piece = Chunk { package, bytes: b"{}".to_vec() };
        assert_eq!(answered(200, true), Ok(piece));
        // What is no answer of a platform is no piece of anything.
        assert!(matches!(answered(200, false), Err(SubmitError::Unavailable(_))));
        assert!(matches!(answered(404, false), Err(SubmitError::NotFound(_))));
        assert!(matches!(answered(401, false), Err(SubmitError::Unavailable(_))));
        assert!(matches!(answered(403, false), Err(SubmitError::Denied(_))));
        assert!(matches!(answered(413, false), Err(SubmitError::Invalid(_))));
        assert!(matches!(answered(429, false), Err(SubmitError::Busy { .. })));
        assert!(matches!(answered(502, false), Err(SubmitError::Unavailable(_))));
    }
}

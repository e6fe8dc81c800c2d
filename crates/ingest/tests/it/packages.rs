//! Whole packages over HTTP: what is given out is of one package to its end, and no longer than
//! what let its device in; else the body breaks off.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::ServiceExt;
use veritwin_domain::{IngestLimits, ManualClock, PackageId, Timestamp};
use veritwin_ingest::http::{HttpParts, router};
use veritwin_ingest::{
    Arrivals, CHUNK_BYTES_MAX, Chunk, ChunkRequest, CloseReason, DeviceLink, DeviceSession,
    EntryRefused, Origin, Sink, SinkEntry, SubmitError,
};

use crate::platform::{Door, NOW_MICROS};

const FIRST: PackageId = PackageId::from_bytes([1; 16]);
const SECOND: PackageId = PackageId::from_bytes([2; 16]);
const WHOLE_CHUNK: usize = CHUNK_BYTES_MAX as usize;
/// Two whole pieces and a bit.
const BYTES: usize = 2 * WHOLE_CHUNK + 7;

/// A package of as many bytes that tell which one it is.
struct Shelf {
    arrivals: Arrivals,
    assigned: Mutex<PackageId>,
    links: Mutex<Vec<DeviceLink>>,
}

#[async_trait]
impl Sink for Shelf {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        _: Origin<'_>,
        _: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        Ok(Vec::new())
    }

    async fn chunk(&self, _: &DeviceSession, request: ChunkRequest) -> Result<Chunk, SubmitError> {
        let package = *self.assigned.lock();
        if request.begun.is_some_and(|begun| begun != package) {
            return Err(SubmitError::NotFound("another package".to_owned()));
        }
        let start = request.chunk as usize * WHOLE_CHUNK;
        let bytes = vec![package.as_bytes()[0]; BYTES.saturating_sub(start).min(WHOLE_CHUNK)];
        Ok(Chunk { package, bytes })
    }

    async fn attach(&self, _: &Arc<DeviceSession>, link: DeviceLink) {
        self.links.lock().push(link);
    }

    async fn detach(&self, _: &Arc<DeviceSession>, link: &DeviceLink) {
        self.links.lock().retain(|one| one.id() != link.id());
    }
}

fn served() -> (Router, Arc<Shelf>) {
    let (assigned, links) = (Mutex::new(FIRST), Mutex::default());
    let shelf = Arc::new(Shelf { arrivals: Arrivals::default(), assigned, links });
    let router = router(HttpParts {
        login: Arc::new(Door),
        sink: Arc::clone(&shelf) as Arc<dyn Sink>,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS))),
        limits: IngestLimits::default(),
    });
    (router, shelf)
}

async fn ask(router: &Router) -> Response<Body> {
    let request = Request::builder().uri("/api/v1/firmware");
    let request = request.header("authorization", "Bearer token").body(Body::empty());
    router.clone().oneshot(request.expect("a request")).await.expect("infallible")
}

/// The body of a whole package, of which nothing is read yet.
async fn download() -> (Body, Arc<Shelf>) {
    let (router, shelf) = served();
    let response = ask(&router).await;
    assert_eq!(response.status(), StatusCode::OK);
    (response.into_body(), shelf)
}

/// The next piece.
async fn piece(body: &mut Body) -> Option<Result<Vec<u8>, axum::Error>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().expect("bytes").to_vec()))
}

#[tokio::test]
async fn all_of_it_comes_and_its_device_is_linked_meanwhile() {
    let (body, shelf) = download().await;
    assert_eq!(shelf.links.lock().len(), 1);
    let bytes = body.collect().await.expect("whole").to_bytes();
    assert_eq!(bytes.len(), BYTES);
    assert!(bytes.iter().all(|byte| *byte == 1));
    // The link is given back from a task of its own.
    while !shelf.links.lock().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_device_that_does_not_read_has_few_downloads() {
    let (router, _shelf) = served();
    let mut open = Vec::new();
    for _ in 0..4 {
        let response = ask(&router).await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(response.into_body());
    }
    let refused = ask(&router).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "5");
    let text = refused.into_body().collect().await.expect("a problem").to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("device_downloads_max"));
    // What was read, or given up, has its place no more.
    open.pop();
    let body = ask(&router).await.into_body();
    assert_eq!(body.collect().await.expect("whole").to_bytes().len(), BYTES);
    assert_eq!(ask(&router).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn two_packages_are_never_one() {
    let (mut body, shelf) = download().await;
    let first = piece(&mut body).await.expect("a piece").expect("bytes");
    assert_eq!(first, vec![1; WHOLE_CHUNK]);
    *shelf.assigned.lock() = SECOND;
    let error = piece(&mut body).await.expect("no end").expect_err("broken off");
    assert!(error.to_string().contains("another package"), "{error}");
    assert!(piece(&mut body).await.is_none(), "nothing follows");
}

#[tokio::test]
async fn a_device_that_is_let_in_no_more_gets_no_further_piece() {
    let (mut body, shelf) = download().await;
    for _ in 0..2 {
        piece(&mut body).await.expect("a piece").expect("bytes");
    }
    let link = shelf.links.lock()[0].clone();
    link.close(CloseReason::Revoked);
    let error = piece(&mut body).await.expect("no end").expect_err("broken off");
    assert!(error.to_string().contains("not allowed"), "{error}");
}

//! What happens around every request: headers, metrics, an upper time bound, and a panic that
//! stays inside its request.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use futures::StreamExt;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;
use veritwin_app::App;
use veritwin_domain::{TenantId, Timestamp};

use super::auth::Asked;
use super::{Api, Problem};
use crate::web;

/// No answer is waited for longer, long polls (60 s) and uploads included.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(180);

/// Of a path that leads nowhere, this much is recorded.
const PATH_CHARS_MAX: usize = 200;

/// Of a body that a handler left unread, this much is still taken in after the answer, for so
/// long: a client that is not read from may never see the answer.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A request body that reads itself to its end, within bounds, when it is dropped before, and
/// that fails when its sender pauses for too long.
struct Drained {
    body: Option<Body>,
    ended: bool,
    idle_max: Duration,
    /// Runs while the sender is waited for.
    idle: Option<Pin<Box<Sleep>>>,
    /// Becomes true when that was too long.
    paused: Arc<AtomicBool>,
}

impl Drained {
    fn new(body: Body, idle_max: Duration) -> Self {
        let paused = Arc::default();
        Self { body: Some(body), ended: false, idle_max, idle: None, paused }
    }
}

/// The moment of an answer by the platform's clock; of a real one the listener tells it.
fn set_date(response: &mut Response, at: Timestamp) {
    let since_epoch = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or_default());
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_epoch);
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(header::DATE, date);
    }
}

/// The answer to a body that paused for too long.
fn body_paused(idle_max: Duration) -> Response {
    let detail = format!(
        "limit body_idle_seconds_max exceeded: nothing of the body came for {} s",
        idle_max.as_secs()
    );
    let (kind, title) = ("/problems/timeout", "Timed out");
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, kind, title, detail);
    problem.of_limit("body_idle_seconds_max").into_response()
}

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if polled.is_ready() {
            self.idle = None;
            self.ended |= matches!(polled, Poll::Ready(None | Some(Err(_))));
            return polled;
        }
        let idle_max = self.idle_max;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_max)));
        if idle.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        self.paused.store(true, Ordering::Release);
        Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(ErrorKind::TimedOut)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.ended || http_body::Body::is_end_stream(&body) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(DRAIN_TIMEOUT, async move {
            let mut stream = body.into_data_stream();
            let mut taken = 0usize;
            while let Some(Ok(bytes)) = stream.next().await {
                taken = taken.saturating_add(bytes.len());
                if taken > DRAIN_BYTES_MAX {
                    break;
                }
            }
        }));
    }
}

/// The body of an answer to somebody of a tenant, whose bytes are counted as they go.
struct Counted {
    body: Body,
    app: App,
    tenant: TenantId,
    bytes: u64,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.app.count_answer(self.tenant, self.bytes);
    }
}

/// A method's name for metrics: a client may invent any word, and every label stays for ever.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// POST requests that change nothing here: what they ask for does not fit into a URL, or the
/// answer is a device's.
const ASKING: [&str; 7] = [
    "/v1/device-profiles/test",
    "/v1/devices/{id}/rpc",
    "/v1/streams/subject",
    "/v1/telemetry/latest",
    "/v1/telemetry/query",
    "/v1/telemetry/sql",
    "/v1/telemetry/stats",
];

/// Runs a request as a task, so that a panic stays inside it. One that only asks ends when its
/// client leaves. Any other goes on: what it has committed has to come into force, and a commit
/// that nobody waits for is carried out all the same. Until then it keeps its tenant's place.
async fn answered(next: Next, request: Request, only_asks: bool, asked: Asked) -> Response {
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let response = next.run(request).await;
        drop(asked);
        response
    }));
    let (outcome, told) = if only_asks {
        let outcome = tokio::time::timeout(REQUEST_TIMEOUT, task).await;
        (outcome, "the request took too long and was given up")
    } else {
        let outcome = tokio::time::timeout(REQUEST_TIMEOUT, task.detach()).await;
        (outcome, "the request takes too long to wait for: look later whether it was done")
    };
    match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::broken().into_response(),
        Err(_) => {
            let (kind, title) = ("/problems/timeout", "Timed out");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, told).into_response()
        }
    }
}

pub(super) async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    // The pattern, never the path: a path may hold a token or an id.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "page".to_owned(), |path| path.as_str().to_owned());
    #[cfg(feature = "test-controls")]
    let path = request.uri().path().to_owned();
    let is_stream = request.uri().path() == "/v1/ws";
    let uri = request.uri().path().to_owned();
    let asked = Asked::default();
    let idle_max = api.facts.body_idle_max;
    let mut paused = Arc::default();
    let mut request = request.map(|body| {
        let drained = Drained::new(body, idle_max);
        paused = Arc::clone(&drained.paused);
        Body::new(drained)
    });
    request.extensions_mut().insert(asked.clone());
    let mut response = if is_stream {
        next.run(request).await
    } else {
        let only_asks = method.is_safe() || ASKING.contains(&route.as_str());
        answered(next, request, only_asks, asked.clone()).await
    };
    if paused.load(Ordering::Acquire) {
        response = body_paused(idle_max);
    }
    if response.status() == StatusCode::NOT_FOUND
        && let Some(context) = asked.context()
    {
        let path: String = uri.chars().take(PATH_CHARS_MAX).collect();
        api.app.note_missing(context, known(&method), &path);
    }
    #[cfg(feature = "test-controls")]
    {
        response = api.facts.controls.betray(&path, response);
    }
    web::common_headers(response.headers_mut());
    if api.app.is_simulated() {
        set_date(&mut response, api.app.clock().now());
    }
    api.facts.sabotage_headers(response.headers_mut());
    if let Some(context) = asked.context() {
        let (app, tenant) = (api.app.clone(), context.tenant);
        response = response.map(|body| Body::new(Counted { body, app, tenant, bytes: 0 }));
    }
    response.extensions_mut().insert(asked);
    let status = response.status().as_u16().to_string();
    let labels = [("method", known(&method).to_owned()), ("route", route), ("status", status)];
    metrics::counter!("veritwin_http_requests_total", &labels).increment(1);
    metrics::histogram!("veritwin_http_request_seconds").record(started.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::sync::{mpsc, oneshot};
    use tower::ServiceExt;

    use super::*;

    /// Tells the moment when it is dropped.
    struct Held(Option<oneshot::Sender<()>>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.take().map(|told| told.send(()));
        }
    }

    #[tokio::test]
    async fn who_hangs_up_keeps_the_place_of_what_goes_on() {
        for only_asks in [true, false] {
            let asked = Asked::default();
            let around = asked.clone();
            let (begun, mut begins) = mpsc::channel(1);
            let (end, ending) = oneshot::channel::<()>();
            let (held, ended) = oneshot::channel();
            let parts = Arc::new(parking_lot::Mutex::new(Some((ending, Held(Some(held))))));
            let slow = move || async move {
                let taken = parts.lock().take();
                let (ending, held) = taken.expect("asked once");
                begun.send(()).await.expect("somebody listens");
                ending.await.ok();
                drop(held);
            };
            let layer = axum::middleware::from_fn(move |request: Request, next: Next| {
                answered(next, request, only_asks, around.clone())
            });
            let router = Router::new().route("/", post(slow)).layer(layer);
            let request = Request::post("/").body(Body::empty()).expect("a request");
            let client = tokio::spawn(router.oneshot(request));
            begins.recv().await.expect("it began");
            client.abort();
            assert!(client.await.expect_err("it hung up").is_cancelled());
            if only_asks {
                ended.await.expect("nobody waits for it");
                continue;
            }
            // One of them is the task's.
            assert_eq!(asked.holders(), 2);
            end.send(()).expect("it goes on");
            ended.await.expect("it ended");
            while asked.holders() > 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}

//! What happens around every request: headers, metrics, an upper time bound, and a panic that
//! stays inside its request.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Api, Problem};
use crate::web;

/// No request takes longer, long polls (60 s) and uploads included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(180);

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
    let is_stream = request.headers().contains_key("sec-websocket-key");
    let mut response = if is_stream {
        next.run(request).await
    } else {
        match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/timeout",
                "Timed out",
                "the request took too long and was given up",
            )
            .into_response(),
        }
    };
    #[cfg(feature = "test-controls")]
    {
        response = api.facts.controls.betray(&path, response);
    }
    web::common_headers(response.headers_mut());
    api.facts.sabotage_headers(response.headers_mut());
    let status = response.status().as_u16().to_string();
    let labels = [("method", method.to_string()), ("route", route), ("status", status)];
    metrics::counter!("veritwin_http_requests_total", &labels).increment(1);
    metrics::histogram!("veritwin_http_request_seconds").record(started.elapsed().as_secs_f64());
    response
}

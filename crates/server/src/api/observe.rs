//! Health, readiness and metrics. They say nothing about any tenant or person.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use super::Api;
use super::auth::Caller;

/// Renders the metrics of this process.
#[derive(Clone)]
pub(crate) struct MetricsHandle(PrometheusHandle);

impl MetricsHandle {
    pub(crate) fn new(handle: PrometheusHandle) -> Self {
        Self(handle)
    }
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(api): State<Api>) -> impl IntoResponse {
    match api.app.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// For whoever may read the system's state.
async fn metrics(
    State(api): State<Api>,
    Caller(context): Caller,
) -> super::Answer<impl IntoResponse> {
    api.app.authorize_system_read(&context)?;
    api.app.record_gauges();
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((content_type, api.metrics.0.render()))
}

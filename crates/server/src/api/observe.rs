//! Health, readiness and metrics. A tenant is told its own figures and nobody else's.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use super::Api;
use super::auth::Caller;
use veritwin_app::model::Figure;

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

/// A tenant's figures for its own people and programs; the platform-wide ones for the operator's
/// key alone.
async fn metrics(
    State(api): State<Api>,
    Caller(context): Caller,
) -> super::Answer<impl IntoResponse> {
    let text = match api.app.own_figures(&context).await? {
        Some(figures) => figures.iter().map(figure).collect(),
        None => {
            api.app.record_gauges();
            api.metrics.0.render()
        }
    };
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((content_type, text))
}

/// One gauge in the Prometheus text format.
fn figure(figure: &Figure) -> String {
    let Figure { name, help, value } = figure;
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
}

//! The OpenAPI document and a page to browse it, both first-party.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use serde_json::Value;
use utoipa::OpenApi;

use super::{Api, catalogue};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Veritwin",
        description = "Digital twins with a verifiable record. Sign in for a session cookie, or \
                       send an API key as `Authorization: Bearer`. Errors are RFC 9457 problem \
                       documents; times are RFC 3339 in UTC; lists page by cursor.",
        license(name = "Apache-2.0")
    ),
    servers((url = "/"))
)]
struct Document;

pub(super) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Handlers of different resources share names; an operation's id is its own. `x-access` says
/// which actions an operation asks for, and whose people alone may call it.
pub(super) fn finished(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("GET", &mut item.get),
            ("PUT", &mut item.put),
            ("POST", &mut item.post),
            ("DELETE", &mut item.delete),
            ("PATCH", &mut item.patch),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            if let Some(actions) = catalogue::actions(method, path) {
                let mut access = serde_json::json!({"actions": actions});
                if let Some(tenants) = catalogue::tenants(method, path) {
                    access["tenants"] = tenants.into();
                }
                // One extension only: their order is not kept.
                operation.extensions = Some([("x-access", access)].into_iter().collect());
            }
            let tag = operation.tags.iter().flatten().next().map_or("", String::as_str);
            let id = operation.operation_id.as_deref().unwrap_or_default();
            operation.operation_id = Some(format!("{}_{id}", tag.replace(' ', "_")));
        }
    }
    document
}

/// What is served of the document.
struct Texts {
    json: String,
    page: String,
}

impl Texts {
    fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let json = document.to_pretty_json().unwrap_or_default();
        let page = page(&serde_json::from_str(&json).unwrap_or_default());
        Self { json, page }
    }
}

/// The texts are made when somebody asks first, not at the start.
pub(super) fn routes(document: utoipa::openapi::OpenApi) -> Router<Api> {
    let texts = Arc::new(LazyLock::new(move || Texts::of(&document)));
    let serve_json = {
        let texts = Arc::clone(&texts);
        move || {
            let texts = Arc::clone(&texts);
            async move { ([(header::CONTENT_TYPE, "application/json")], texts.json.clone()) }
        }
    };
    let serve_page = move || {
        let texts = Arc::clone(&texts);
        async move {
            let mut response = Html(texts.page.clone()).into_response();
            response.headers_mut().insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(
                    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                     frame-ancestors 'none'",
                ),
            );
            response
        }
    };
    Router::new()
        .route("/v1/openapi.json", get(serve_json))
        .route("/v1/docs", get(serve_page))
        .route("/v1/docs.css", get(|| async { ([(header::CONTENT_TYPE, "text/css")], STYLE) }))
}

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.55 system-ui, sans-serif; }
body { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-weight: 600; letter-spacing: -.01em; } h2 { margin-top: 2.5rem; font-size: 1rem;
text-transform: uppercase; letter-spacing: .08em; opacity: .7; }
details { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent);
padding: .6rem 0; }
summary { cursor: pointer; display: grid; gap: .75rem;
grid-template-columns: 4.5rem minmax(14rem, 1fr) 2fr; }
code, pre { font-family: ui-monospace, monospace; font-size: .88em; }
pre { overflow-x: auto; padding: .75rem;
background: color-mix(in srgb, currentColor 6%, transparent); }
.verb { font-weight: 600; } .sum { opacity: .75; }
@media (max-width: 40rem) { summary { grid-template-columns: 4.5rem 1fr; }
.sum { grid-column: 1 / -1; } }
";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(document: &Value) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Veritwin API</title><link rel=\"stylesheet\" \
         href=\"/v1/docs.css\"></head><body><main><h1>Veritwin API</h1>",
    );
    let about = document["info"]["description"].as_str().unwrap_or_default();
    let _ = write!(
        out,
        "<p>{}</p><p>The whole document: <a href=\"/v1/openapi.json\">openapi.json</a></p>",
        escape(about)
    );
    let mut last_tag = String::new();
    let mut rows: Vec<(String, &String, &String, &Value)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("other").to_owned();
            rows.push((tag, path, verb, operation));
        }
    }
    rows.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    for (tag, path, verb, operation) in rows {
        if tag != last_tag {
            let _ = write!(out, "<h2>{}</h2>", escape(&tag));
            last_tag = tag;
        }
        let detail = serde_json::json!({
            "parameters": operation["parameters"],
            "requestBody": operation["requestBody"],
            "responses": operation["responses"],
        });
        let text = serde_json::to_string_pretty(&detail).unwrap_or_default();
        let _ = write!(
            out,
            "<details><summary><span class=\"verb\">{}</span><code>{}</code><span \
             class=\"sum\">{}</span></summary><pre>{}</pre></details>",
            escape(&verb.to_uppercase()),
            escape(path),
            escape(operation["summary"].as_str().unwrap_or_default()),
            escape(&text)
        );
    }
    out.push_str("</main></body></html>");
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let document = serde_json::to_value(crate::api::openapi()).expect("document");
        let mut ids = HashSet::new();
        let paths = document["paths"].as_object().expect("paths").values();
        for operation in paths.flat_map(|path| path.as_object().expect("path").values()) {
            let Some(id) = operation["operationId"].as_str() else { continue };
            assert!(ids.insert(id.to_owned()), "{id} stands for two operations");
        }
        assert!(ids.len() > 100);
    }
}

//! The web application, embedded in the binary, under a strict content security policy. Nothing is
//! ever fetched from anywhere else.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;
use veritwin_domain::{Rng, TenantId};

#[derive(Embed)]
#[folder = "../../web/dist"]
struct Assets;

const NONCE_PLACEHOLDER: &str = "__CSP_NONCE__";
const THEME: &str = "\"/theme.css\"";
const NOT_BUILT: &str = "The web pages are not in this binary. Build it with `cargo xtask demo`.";
/// Only the import worker may compile WebAssembly, and it can reach nothing but this server.
const IMPORT_WORKER_CSP: &str =
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'";

fn page_csp(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; \
         img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// Headers every answer carries, whatever it is.
pub(crate) fn common_headers(headers: &mut HeaderMap) {
    let mut set = |name: header::HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(
        header::HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    );
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(header::CACHE_CONTROL, "no-store");
}

/// Whether the pages were built into this binary.
pub(crate) fn is_built() -> bool {
    Assets::get("index.html").is_some()
}

/// Answers any path that no other route took: a file, or the application's page.
pub(crate) fn serve(uri: &Uri, rng: &dyn Rng) -> Response {
    let path = uri.path().trim_start_matches('/');
    if let Some(file) = Assets::get(path).filter(|_| path != "index.html") {
        return serve_file(path, file);
    }
    let looks_like_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    if looks_like_file || path.starts_with("v1/") || path.starts_with("api/") {
        return (StatusCode::NOT_FOUND, "not found").into_response();
    }
    serve_page(uri.query(), rng)
}

/// The style sheet of the page: of one organisation's own sign-in page, with its colours from the
/// first moment on.
fn themed(html: &str, query: Option<&str>) -> String {
    let organisation = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| {
        let id = pair.strip_prefix("organisation=")?;
        id.parse::<TenantId>().ok()
    });
    match organisation {
        Some(id) => html.replace(THEME, &format!("\"/theme.css?organisation={id}\"")),
        None => html.to_owned(),
    }
}

fn serve_page(query: Option<&str>, rng: &dyn Rng) -> Response {
    let Some(page) = Assets::get("index.html") else {
        return (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response();
    };
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    let nonce = hex::encode(bytes);
    let html = String::from_utf8_lossy(&page.data).replace(NONCE_PLACEHOLDER, &nonce);
    let html = themed(&html, query);
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::from_str(&page_csp(&nonce)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn serve_file(path: &str, file: rust_embed::EmbeddedFile) -> Response {
    let content_type = match path.rsplit('.').next() {
        Some("glb") => "model/gltf-binary",
        Some("wasm") => "application/wasm",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        _ => file.metadata.mimetype(),
    };
    let mut response = Response::new(Body::from(file.data.into_owned()));
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    let immutable = path.starts_with("assets/");
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(if immutable {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        }),
    );
    if path.contains("import-worker") {
        headers
            .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(IMPORT_WORKER_CSP));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::themed;

    #[test]
    fn a_page_of_an_organisation_asks_for_its_colours() {
        let page = r#"<link rel="stylesheet" href="/theme.css" />"#;
        let id = "00000000-0000-7000-8000-00000000abcd";
        let own = format!(r#"<link rel="stylesheet" href="/theme.css?organisation={id}" />"#);
        let check = |query: Option<&str>, expect: &str| assert_eq!(themed(page, query), expect);
        check(None, page);
        check(Some("next=%2F"), page);
        check(Some("organisation=%22%3E%3Cscript%3E"), page);
        check(Some(&format!("next=%2F&organisation={id}")), &own);
    }
}

//! The trust page of an organisation: for its own people, and for anybody who knows its address.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::TrustPageView;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api};

/// The page has its style in itself and loads nothing.
const PAGE_CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_pages, publish_page)).routes(routes!(withdraw_page))
}

/// The page itself: an address of people, and no part of the interface for programs.
pub(super) fn page_routes() -> Router<Api> {
    Router::new().route("/trust/{log}", get(page))
}

/// The organisation's page.
#[derive(Serialize, ToSchema)]
struct TrustPageBody {
    /// Whether anybody can read it.
    published: bool,
    /// Its path; whoever knows it reads the page without signing in.
    path: String,
    /// SHA-256 of the file, in hexadecimal.
    sha256: String,
    made_at: String,
    published_by: String,
    /// The leaf of the organisation's log that holds the digest.
    ledger_index: Option<u64>,
}

impl From<TrustPageView> for TrustPageBody {
    fn from(view: TrustPageView) -> Self {
        Self {
            published: view.is_published,
            path: view.path,
            sha256: view.sha256,
            made_at: body::time(view.made_at),
            published_by: view.published_by,
            ledger_index: view.ledger_index,
        }
    }
}

/// The organisation's trust page, if it ever had one.
#[utoipa::path(get, path = "/v1/trust-pages", tag = "promises",
    responses((status = 200, body = ListBody<TrustPageBody>), (status = 403)))]
async fn list_pages(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<TrustPageBody>>> {
    let pages = api.app.list_trust_pages(&context).await?;
    Ok(axum::Json(ListBody::whole(pages.into_iter().map(TrustPageBody::from).collect())))
}

/// What has to be typed.
#[derive(Deserialize, ToSchema)]
struct PublishTrustBody {
    /// The organisation's name.
    confirm: String,
}

/// Publishes the trust page as things stand now; it is made anew every day until it is withdrawn.
#[utoipa::path(post, path = "/v1/trust-pages", tag = "promises", request_body = PublishTrustBody,
    responses((status = 201, body = TrustPageBody), (status = 400), (status = 403),
        (status = 503)))]
async fn publish_page(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<PublishTrustBody>,
) -> Answer<impl IntoResponse> {
    let view = api.app.publish_trust_page(&context, &input.confirm).await?;
    Ok((StatusCode::CREATED, axum::Json(TrustPageBody::from(view))))
}

/// Withdraws the trust page.
#[utoipa::path(post, path = "/v1/trust-pages/withdraw", tag = "promises",
    responses((status = 204), (status = 403), (status = 409)))]
async fn withdraw_page(State(api): State<Api>, Caller(context): Caller) -> Answer<StatusCode> {
    api.app.withdraw_trust_page(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn page(State(api): State<Api>, Path(log): Path<String>) -> Answer<Response> {
    let page = api.app.public_trust_page(&log).await?;
    let mut response = Html(page).into_response();
    let policy = HeaderValue::from_static(PAGE_CSP);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

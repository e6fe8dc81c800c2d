//! Requests of data subjects: what people ask for by themselves, their copy, and the list that
//! officers see with its clocks.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::Language;
use veritwin_app::model::{CaseView, OwnCaseInput, PageRequest};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Query};
use super::holds::MadeBody;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_own, create_own))
        .routes(routes!(export_own))
}

/// What somebody asks for.
#[derive(Deserialize, ToSchema)]
struct OwnRequestBody {
    /// `access`, `rectification`, `erasure`, `restriction`, `portability`, `objection` or
    /// `complaint`.
    #[serde(default)]
    kind: String,
    /// In one's own words, at most 4,000 characters.
    #[serde(default)]
    text: String,
    /// Of an objection: the purpose that is to stop.
    #[serde(default)]
    purpose: Option<String>,
    /// The language of the answer: `en`, `zh-Hant`, `ja` or `ko`; left out: the account's.
    #[serde(default)]
    language: Option<String>,
}

/// A language that may be left out.
pub(super) fn maybe_language(tag: Option<&str>) -> Result<Option<Language>, Problem> {
    tag.map(|tag| super::legal::language(Some(tag))).transpose()
}

/// A request of a data subject.
#[derive(Serialize, ToSchema)]
pub(super) struct SubjectRequestBody {
    id: String,
    kind: &'static str,
    state: &'static str,
    source: &'static str,
    /// Whom it is about.
    subject: String,
    text: String,
    purpose: Option<String>,
    received_at: String,
    acknowledge_by: String,
    acknowledged_at: Option<String>,
    answer_by: String,
    /// The clock stands until it is known who asks.
    is_paused: bool,
    /// How it is known who asks; null: not yet.
    verified: Option<String>,
    /// The newest alarm that was raised.
    alarm: Option<String>,
    /// Why it was refused, in words of a closed list.
    refusal: Option<String>,
    /// The authority that the refusal names.
    authority: Option<String>,
    answer: Option<String>,
    closed_at: Option<String>,
    /// Counts changes: the entity tag for `If-Match`.
    version: u64,
}

impl From<CaseView> for SubjectRequestBody {
    fn from(view: CaseView) -> Self {
        let (refusal, authority) = match view.refusal {
            Some((reason, _, authority)) => (Some(reason), Some(authority)),
            None => (None, None),
        };
        Self {
            id: view.id.to_string(),
            kind: view.kind,
            state: view.state,
            source: view.source,
            subject: view.subject.into_exposed(),
            text: view.text.into_exposed(),
            purpose: view.purpose,
            received_at: body::time(view.received_at),
            acknowledge_by: body::time(view.acknowledge_by),
            acknowledged_at: view.acknowledged_at.map(body::time),
            answer_by: body::time(view.answer_by),
            is_paused: view.is_paused,
            verified: view.verified.map(|(how, _)| how),
            alarm: view.alarm,
            refusal,
            authority,
            answer: view.answer,
            closed_at: view.closed_at.map(body::time),
            version: view.version,
        }
    }
}

/// Which requests are listed.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct RequestQuery {
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
    /// `open`: what is not answered yet; all when not given.
    state: Option<String>,
}

/// Lists the requests of data subjects, newest first, with their clocks.
#[utoipa::path(get, path = "/v1/requests", tag = "requests", params(RequestQuery),
    responses((status = 200, body = ListBody<SubjectRequestBody>), (status = 400), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<RequestQuery>,
) -> Answer<axum::Json<ListBody<SubjectRequestBody>>> {
    let only_open = match query.state.as_deref() {
        None => false,
        Some("open") => true,
        Some(_) => return Err(Problem::invalid("must be open, or left out").at("state")),
    };
    let page = PageRequest { cursor: query.cursor, limit: query.limit };
    let listed = api.app.list_cases(&context, only_open, &page).await?;
    Ok(axum::Json(ListBody::of(listed, SubjectRequestBody::from)))
}

/// Lists one's own requests, newest first.
#[utoipa::path(get, path = "/v1/requests/own", tag = "requests",
    responses((status = 200, body = ListBody<SubjectRequestBody>), (status = 403)))]
async fn list_own(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<SubjectRequestBody>>> {
    let own = api.app.list_own_cases(&context).await?;
    Ok(axum::Json(ListBody::whole(own.into_iter().map(SubjectRequestBody::from).collect())))
}

/// Exercises a right over one's own data. A restriction or an objection counts at once; of the rest
/// an officer is told, and the clock runs.
#[utoipa::path(post, path = "/v1/requests/own", tag = "requests", request_body = OwnRequestBody,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403),
        (status = 409)))]
async fn create_own(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<OwnRequestBody>,
) -> Answer<impl IntoResponse> {
    let input = OwnCaseInput {
        language: maybe_language(input.language.as_deref())?,
        kind: input.kind,
        text: Secret::new(input.text),
        purpose: input.purpose,
    };
    let id = api.app.create_own_case(&context, &input).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Everything that is kept of whoever asks, as a ZIP file with a manifest of hashes.
#[utoipa::path(post, path = "/v1/requests/own/export", tag = "requests",
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 403),
        (status = 409), (status = 413)))]
async fn export_own(State(api): State<Api>, Caller(context): Caller) -> Answer<impl IntoResponse> {
    let bytes = api.app.export_own(&context).await?;
    let kind = HeaderValue::from_static("application/zip");
    let name = HeaderValue::from_static("attachment; filename=\"my-data.zip\"");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], bytes))
}

//! Frameworks of controls: taken out of what is shipped or out of OSCAL files, decided on, written
//! out as statement of applicability and as OSCAL assessment results.

use std::fmt::Write as _;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    ControlContent, ControlFacts, FrameworkContent, FrameworkFacts, Governed,
};
use veritwin_app::{CATALOGUE_BYTES_MAX, CatalogueFile, StatementLine};

use super::activity::csv_field;
use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::governed::{fields, governed};
use super::holds::MadeBody;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_frameworks, take))
        .routes(routes!(delete))
        .routes(routes!(controls))
        .routes(routes!(statement))
        .routes(routes!(assessment))
        .routes(routes!(decide))
}

pub(super) fn upload_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(import)).layer(DefaultBodyLimit::max(CATALOGUE_BYTES_MAX))
}

/// Which framework it is.
#[derive(Serialize, ToSchema)]
struct FrameworkFields {
    name: String,
    edition: String,
    /// `shipped` or `oscal`.
    source: String,
    /// The OSCAL id of the catalogue, or its name among the shipped.
    reference: String,
}

impl From<FrameworkContent> for FrameworkFields {
    fn from(content: FrameworkContent) -> Self {
        Self {
            name: content.name,
            edition: content.edition,
            source: content.source,
            reference: content.reference,
        }
    }
}

/// How far a framework has come.
#[derive(Serialize, ToSchema)]
struct FrameworkFactsBody {
    controls: u64,
    decided: u64,
    applicable: u64,
    in_place: u64,
}

impl From<FrameworkFacts> for FrameworkFactsBody {
    fn from(facts: FrameworkFacts) -> Self {
        Self {
            controls: facts.controls,
            decided: facts.decided,
            applicable: facts.applicable,
            in_place: facts.in_place,
        }
    }
}

governed! {
    /// A framework.
    FrameworkBody of FrameworkContent as FrameworkFields with FrameworkFacts as FrameworkFactsBody
}

fields! {
    /// What is decided on a control.
    ControlFields of ControlContent {
        #[schema(schema_with = words::applies)]
        applies: String,
        justification: String,
        #[schema(schema_with = words::implementation)]
        implementation: String,
        /// Who answers for it.
        owner: String,
    }
}

/// What the catalogue says of a control.
#[derive(Serialize, ToSchema)]
struct ControlFactsBody {
    identifier: String,
    label: String,
    text: String,
    group: String,
    /// Promises whose checks are evidence for it.
    promises: Vec<String>,
}

impl From<ControlFacts> for ControlFactsBody {
    fn from(facts: ControlFacts) -> Self {
        Self {
            identifier: facts.identifier,
            label: facts.label,
            text: facts.text,
            group: facts.group,
            promises: facts.promises,
        }
    }
}

governed! {
    /// A control.
    ControlBody of ControlContent as ControlFields with ControlFacts as ControlFactsBody
}

/// Lists the frameworks of the workspace.
#[utoipa::path(get, path = "/v1/frameworks", tag = "governance",
    responses((status = 200, body = ListBody<FrameworkBody>), (status = 403)))]
async fn list_frameworks(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<FrameworkBody>>> {
    let all = api.app.list_frameworks(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(FrameworkBody::from).collect())))
}

/// A catalogue that comes with the product.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct TakeBody {
    #[schema(schema_with = words::shipped_framework)]
    reference: String,
}

/// Takes a catalogue that comes with the product: identifiers with short labels.
#[utoipa::path(post, path = "/v1/frameworks", tag = "governance", request_body = TakeBody,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 409)))]
async fn take(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<TakeBody>,
) -> Answer<impl IntoResponse> {
    let id = api.app.take_framework(&context, &body.reference).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Imports a catalogue in OSCAL's JSON, at most 8 MiB.
#[utoipa::path(post, path = "/v1/frameworks/import", tag = "governance",
    request_body(content = String, content_type = "application/json"),
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 409),
        (status = 413)))]
async fn import(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(file): Json<CatalogueFile>,
) -> Answer<impl IntoResponse> {
    let id = api.app.import_framework(&context, file).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Takes a framework out of the workspace, with what was decided on its controls.
#[utoipa::path(delete, path = "/v1/frameworks/{id}", tag = "governance",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_framework(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the controls of a framework.
#[utoipa::path(get, path = "/v1/frameworks/{id}/controls", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<ControlBody>), (status = 404)))]
async fn controls(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<ControlBody>>> {
    let all = api.app.list_controls(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(ControlBody::from).collect())))
}

/// Decides on a control.
#[utoipa::path(put, path = "/v1/controls/{id}", tag = "governance",
    params(("id" = String, Path)), request_body = ControlFields,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn decide(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<ControlFields>,
) -> Answer<StatusCode> {
    let version = body::if_match(&headers)?;
    api.app.decide_control(&context, body::id(&id)?, body.parse()?, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The statement of applicability as a table: every control, whether it applies, why, and how much
/// evidence there is.
#[utoipa::path(get, path = "/v1/frameworks/{id}/statement", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "text/csv", body = String), (status = 404)))]
async fn statement(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<Response> {
    let (framework, lines) = api.app.statement(&context, body::id(&id)?).await?;
    let table = csv(&framework, &lines);
    let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], table).into_response();
    let name = HeaderValue::from_static("attachment; filename=\"statement-of-applicability.csv\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// RFC 4180.
fn csv(framework: &Governed<FrameworkContent, FrameworkFacts>, lines: &[StatementLine]) -> String {
    let mut out = String::from(
        "framework,edition,identifier,label,applies,justification,implementation,owner,evidence,\
         promises\r\n",
    );
    for StatementLine { control, evidence } in lines {
        let fields = [
            framework.content.name.clone(),
            framework.content.edition.clone(),
            control.facts.identifier.clone(),
            control.facts.label.clone(),
            control.content.applies.clone(),
            control.content.justification.clone(),
            control.content.implementation.clone(),
            control.content.owner.clone(),
            evidence.to_string(),
            control.facts.promises.join(" "),
        ];
        let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        // Writing to a string cannot fail.
        let _ = write!(out, "{}\r\n", fields.join(","));
    }
    out
}

/// The state of a framework as OSCAL assessment results, with evidence as observations.
#[utoipa::path(get, path = "/v1/frameworks/{id}/assessment-results", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn assessment(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<serde_json::Value>> {
    Ok(axum::Json(api.app.assessment_results(&context, body::id(&id)?).await?))
}

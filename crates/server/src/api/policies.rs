//! Policies: written, reviewed, approved by another person, published, attested, retired.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{PolicyContent, PolicyFacts};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::governed::{fields, governed};
use super::holds::MadeBody;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_policies, create_policy))
        .routes(routes!(read_policy, replace_policy))
        .routes(routes!(step))
        .routes(routes!(approve))
        .routes(routes!(attest))
}

fields! {
    /// What a policy says.
    PolicyFields of PolicyContent {
        title: String,
        /// Markdown.
        text: String,
        /// Who answers for it.
        owner: String,
        /// When it has to be looked at again.
        review_at: Option<String>,
        /// Ids of the controls it is about.
        controls: Vec<String>,
    }
}

/// How a policy stands.
#[derive(Serialize, ToSchema)]
struct PolicyFactsBody {
    /// How many editions were published.
    edition: u64,
    /// The edition in force, while another is being written.
    in_force: Option<PolicyFields>,
    /// SHA-256 of the text in force, in hexadecimal.
    sha256: Option<String>,
    approved_by: Option<String>,
    published_at: Option<String>,
    /// How many members said that they have read the edition in force.
    attested: u64,
    /// Whether whoever asks did.
    attested_by_me: bool,
}

impl From<PolicyFacts> for PolicyFactsBody {
    fn from(facts: PolicyFacts) -> Self {
        Self {
            edition: facts.edition,
            in_force: facts.in_force.map(PolicyFields::from),
            sha256: facts.sha256,
            approved_by: facts.approved_by,
            published_at: facts.published_at.map(body::time),
            attested: facts.attested,
            attested_by_me: facts.attested_by_me,
        }
    }
}

governed! {
    /// A policy. Its state is `draft`, `in_review`, `approved`, `published` or `retired`.
    PolicyBody of PolicyContent as PolicyFields with PolicyFacts as PolicyFactsBody
}

/// Lists the policies, newest first. Who may not read the workspace sees those in force.
#[utoipa::path(get, path = "/v1/policies", tag = "governance", params(PageQuery),
    responses((status = 200, body = ListBody<PolicyBody>), (status = 400), (status = 403)))]
async fn list_policies(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<PolicyBody>>> {
    let listed = api.app.list_policies(&context, &page.into()).await?;
    Ok(axum::Json(ListBody::of(listed, PolicyBody::from)))
}

/// Writes a new policy, as a draft.
#[utoipa::path(post, path = "/v1/policies", tag = "governance", request_body = PolicyFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 413)))]
async fn create_policy(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<PolicyFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.create_policy(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Reads a policy.
#[utoipa::path(get, path = "/v1/policies/{id}", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 200, body = PolicyBody), (status = 404)))]
async fn read_policy(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<PolicyBody>> {
    Ok(axum::Json(api.app.policy(&context, body::id(&id)?).await?.into()))
}

/// Changes a policy's draft; of a published one this begins the next edition, and the one in force
/// stays in force.
#[utoipa::path(put, path = "/v1/policies/{id}", tag = "governance",
    params(("id" = String, Path)), request_body = PolicyFields,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn replace_policy(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<PolicyFields>,
) -> Answer<StatusCode> {
    let version = body::if_match(&headers)?;
    api.app.replace_policy(&context, body::id(&id)?, body.parse()?, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A step of a policy's life.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct PolicyStepBody {
    #[schema(schema_with = words::policy_step)]
    step: String,
}

/// Sends a policy to review, returns it to its writers, publishes or retires it.
#[utoipa::path(post, path = "/v1/policies/{id}/steps", tag = "governance",
    params(("id" = String, Path)), request_body = PolicyStepBody,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn step(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<PolicyStepBody>,
) -> Answer<StatusCode> {
    api.app.step_policy(&context, body::id(&id)?, &body.step).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Approves a policy in review; never by one of those who wrote it.
#[utoipa::path(post, path = "/v1/policies/{id}/approve", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn approve(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.approve_policy(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says that one has read the edition in force.
#[utoipa::path(post, path = "/v1/policies/{id}/attest", tag = "governance",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)))]
async fn attest(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.attest_policy(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Requests of data subjects as officers handle them, step by step, and as people without an
//! account send them: by a form, and codes that are mailed to an address that is held.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    CaseEventView, CaseStep, CaseStepView, CaseView, DeskCaseInput, FormCaseInput,
};
use veritwin_domain::Secret;

use super::auth::{Caller, Public};
use super::body::{self, Json, Path};
use super::brand::Host;
use super::holds::MadeBody;
use super::requests::{SubjectRequestBody, maybe_language};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(send))
        .routes(routes!(confirm))
        .routes(routes!(fetch))
        .routes(routes!(withdraw_own))
        .routes(routes!(read))
        .routes(routes!(step))
        .routes(routes!(fulfil))
        .routes(routes!(copy))
        .routes(routes!(certificate))
}

/// A request that came by another way, by letter or by telephone.
#[derive(Deserialize, ToSchema)]
struct DeskRequestBody {
    /// The language of letters: `en`, `zh-Hant`, `ja` or `ko`; left out: the account's.
    #[serde(default)]
    language: Option<String>,
    /// `access`, `rectification`, `erasure`, `restriction`, `portability`, `objection` or
    /// `complaint`.
    #[serde(default)]
    kind: String,
    /// Whose account it is about.
    #[serde(default)]
    user_id: Option<String>,
    /// Where answers go; left out: the account's address.
    #[serde(default)]
    email: Option<String>,
    /// How personal streams name the person.
    #[serde(default)]
    person: Option<String>,
    /// At most 4,000 characters.
    #[serde(default)]
    text: String,
    /// Of an objection: the purpose that is to stop.
    #[serde(default)]
    purpose: Option<String>,
    /// When it came, if not now.
    #[serde(default)]
    received_at: Option<String>,
}

/// One step of an officer.
#[derive(Deserialize, ToSchema)]
struct RequestStepBody {
    /// `acknowledge`, `ask_identity`, `verify`, `person`, `right`, `extend`, `refuse`, `answer`,
    /// `note`, `lift` or `reopen`.
    #[serde(default)]
    step: String,
    /// Of `right`, where a mail asked: which one it is.
    #[serde(default)]
    kind: String,
    /// Of `verify`: `document` or `known`.
    #[serde(default)]
    how: String,
    /// Of `person`: how personal streams name the person; null: no stream does.
    #[serde(default)]
    person: Option<String>,
    /// Of `extend`: until when.
    #[serde(default)]
    until: Option<String>,
    /// Of `extend`: why, in words. Of `refuse`: a reason of the closed list.
    #[serde(default)]
    reason: String,
    /// Of `refuse`, `answer`, `note` and `reopen`: the words. Of `ask_identity`: how and when you
    /// have asked; left out, a code or a letter is mailed, and needed where none can be.
    #[serde(default)]
    text: String,
    /// Of `refuse`: whose authority is named; null: the platform's.
    #[serde(default)]
    jurisdiction: Option<String>,
}

impl RequestStepBody {
    fn parse(self) -> Result<CaseStep, Problem> {
        Ok(match self.step.as_str() {
            "acknowledge" => CaseStep::Acknowledge,
            "ask_identity" => CaseStep::AskIdentity { text: self.text },
            "verify" => CaseStep::Verify { how: self.how },
            "person" => CaseStep::Person { person: self.person.map(Secret::new) },
            "right" => CaseStep::Right { kind: self.kind },
            "extend" => {
                let until = self.until.unwrap_or_default();
                CaseStep::Extend { until: body::parse_time("until", &until)?, reason: self.reason }
            }
            "refuse" => CaseStep::Refuse {
                reason: self.reason,
                text: self.text,
                jurisdiction: self.jurisdiction,
            },
            "answer" => CaseStep::Answer { text: self.text },
            "note" => CaseStep::Note { text: self.text },
            "lift" => CaseStep::Lift,
            "reopen" => CaseStep::Reopen { text: self.text },
            _ => {
                let detail = "must be one of acknowledge, ask_identity, verify, person, right, \
                              extend, refuse, answer, note, lift, reopen";
                return Err(Problem::invalid(detail.to_owned()).at("step"));
            }
        })
    }
}

/// A line of a request's history.
#[derive(Serialize, ToSchema)]
struct RequestEventBody {
    at: String,
    kind: String,
    /// Null: by itself.
    by: Option<String>,
    text: Option<String>,
}

impl From<CaseEventView> for RequestEventBody {
    fn from(view: CaseEventView) -> Self {
        let CaseEventView { at, kind, by, text } = view;
        Self { at: body::time(at), kind, by, text }
    }
}

/// How much a step met.
#[derive(Serialize, ToSchema)]
struct RequestMetBody {
    /// Of the step `counted` a table, of others `erased`, `kept` or `keys`.
    what: String,
    count: u64,
}

/// A step of an erasure that is done.
#[derive(Serialize, ToSchema)]
struct RequestDoneBody {
    name: String,
    at: String,
    met: Vec<RequestMetBody>,
}

impl From<CaseStepView> for RequestDoneBody {
    fn from(view: CaseStepView) -> Self {
        let met = |(what, count)| RequestMetBody { what, count };
        Self {
            name: view.name,
            at: body::time(view.at),
            met: view.met.into_iter().map(met).collect(),
        }
    }
}

/// A request with its history.
#[derive(Serialize, ToSchema)]
struct RequestHistoryBody {
    request: SubjectRequestBody,
    /// The account it is about.
    user_id: Option<String>,
    /// How personal streams name the person.
    person: Option<String>,
    /// Since when it is known who asks.
    verified_at: Option<String>,
    /// Until when it was extended.
    extended_until: Option<String>,
    /// Why it was extended.
    extension_reason: Option<String>,
    /// What a refusal says beside its reason.
    refusal_text: Option<String>,
    /// What was done, oldest first.
    events: Vec<RequestEventBody>,
    /// Steps of an erasure that are done: one for each store, and what comes after.
    steps: Vec<RequestDoneBody>,
    /// The destruction of the readings of an erasure.
    destruction_id: Option<String>,
    /// Whether there is a certificate of the erasure.
    has_certificate: bool,
    /// The leaf of the ledger that holds the certificate's digest.
    ledger_index: Option<u64>,
}

impl From<CaseView> for RequestHistoryBody {
    fn from(mut view: CaseView) -> Self {
        let (extended_until, extension_reason) = match view.extension.take() {
            Some((until, reason)) => (Some(body::time(until)), Some(reason)),
            None => (None, None),
        };
        Self {
            user_id: view.user.map(|id| id.to_string()),
            person: view.person.take().map(Secret::into_exposed),
            verified_at: view.verified.as_ref().map(|(_, at)| body::time(*at)),
            extended_until,
            extension_reason,
            refusal_text: view.refusal.as_ref().map(|(_, text, _)| text.clone()),
            events: std::mem::take(&mut view.events).into_iter().map(Into::into).collect(),
            steps: std::mem::take(&mut view.steps).into_iter().map(Into::into).collect(),
            destruction_id: view.destruction.map(|id| id.to_string()),
            has_certificate: view.has_certificate,
            ledger_index: view.ledger_index,
            request: view.into(),
        }
    }
}

/// A request of somebody who is not signed in.
#[derive(Deserialize, ToSchema)]
struct FormRequestBody {
    /// The language of letters: `en`, `zh-Hant`, `ja` or `ko`; left out: English.
    #[serde(default)]
    language: Option<String>,
    /// The right, as of one's own requests.
    #[serde(default)]
    kind: String,
    /// Where the answer goes.
    #[serde(default)]
    email: String,
    /// At most 4,000 characters.
    #[serde(default)]
    text: String,
    /// Whom it is for; left out: whoever answers for the host name.
    #[serde(default)]
    organisation: Option<String>,
}

/// A code that was mailed.
#[derive(Deserialize, ToSchema)]
struct RequestCodeBody {
    /// The request.
    #[serde(default)]
    id: String,
    /// Eight digits.
    #[serde(default)]
    code: String,
}

fn zip(bytes: Vec<u8>) -> impl IntoResponse {
    let kind = HeaderValue::from_static("application/zip");
    let name = HeaderValue::from_static("attachment; filename=\"copy-of-data.zip\"");
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], bytes)
}

/// Writes a request down that came by another way. Its clock runs since it came; it stands only
/// while somebody who was asked has not shown who they are.
#[utoipa::path(post, path = "/v1/requests", tag = "requests", request_body = DeskRequestBody,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 404)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<DeskRequestBody>,
) -> Answer<impl IntoResponse> {
    let received_at = input.received_at.as_deref();
    let input = DeskCaseInput {
        language: maybe_language(input.language.as_deref())?,
        kind: input.kind,
        user: body::maybe_id_at("user_id", input.user_id.as_deref())?,
        email: input.email.map(Secret::new),
        person: input.person.map(Secret::new),
        text: Secret::new(input.text),
        purpose: input.purpose,
        received_at: received_at.map(|at| body::parse_time("received_at", at)).transpose()?,
    };
    let id = api.app.create_case_at_desk(&context, &input).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Asks for a right without signing in. The answer is the same whether or not the address is known;
/// if it is, a code is mailed to it.
#[utoipa::path(post, path = "/v1/requests/form", tag = "requests", request_body = FormRequestBody,
    responses((status = 202, body = MadeBody), (status = 400), (status = 413), (status = 429)))]
async fn send(
    State(api): State<Api>,
    Public(context): Public,
    Host(host): Host,
    Json(input): Json<FormRequestBody>,
) -> Answer<impl IntoResponse> {
    let input = FormCaseInput {
        language: maybe_language(input.language.as_deref())?,
        kind: input.kind,
        email: Secret::new(input.email),
        text: Secret::new(input.text),
        organisation: body::maybe_id_at("organisation", input.organisation.as_deref())?,
    };
    let id = api.app.send_request(&context, host.as_deref(), &input).await?.to_string();
    Ok((StatusCode::ACCEPTED, axum::Json(MadeBody { id })))
}

/// Shows the code that was mailed: it is known then who asks, and the clock goes on.
#[utoipa::path(post, path = "/v1/requests/form/confirm", tag = "requests",
    request_body = RequestCodeBody,
    responses((status = 204), (status = 400), (status = 401), (status = 429)))]
async fn confirm(
    State(api): State<Api>,
    Public(context): Public,
    Json(input): Json<RequestCodeBody>,
) -> Answer<StatusCode> {
    let id = body::id_at("id", &input.id)?;
    api.app.confirm_request(&context, id, &input.code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The copy that a request was answered with, by the code of the answer.
#[utoipa::path(post, path = "/v1/requests/form/copy", tag = "requests",
    request_body = RequestCodeBody,
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 400),
        (status = 401), (status = 429)))]
async fn fetch(
    State(api): State<Api>,
    Public(context): Public,
    Json(input): Json<RequestCodeBody>,
) -> Answer<impl IntoResponse> {
    let id = body::id_at("id", &input.id)?;
    Ok(zip(api.app.fetch_copy(&context, id, &input.code).await?))
}

/// Takes one's own request back, or ends the restriction or objection that it made.
#[utoipa::path(delete, path = "/v1/requests/own/{id}", tag = "requests",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn withdraw_own(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.withdraw_own_case(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One request with its history.
#[utoipa::path(get, path = "/v1/requests/{id}", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, body = RequestHistoryBody), (status = 403), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<RequestHistoryBody>> {
    Ok(axum::Json(api.app.case(&context, body::id(&id)?).await?.into()))
}

/// Takes one step: acknowledges, asks who it is, takes more time, refuses, answers; with `If-Match`
/// only if nothing else was done since.
#[utoipa::path(post, path = "/v1/requests/{id}/steps", tag = "requests",
    params(("id" = String, Path)), request_body = RequestStepBody,
    responses((status = 200, body = RequestHistoryBody), (status = 400), (status = 403),
        (status = 404), (status = 409)))]
async fn step(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(input): Json<RequestStepBody>,
) -> Answer<axum::Json<RequestHistoryBody>> {
    let (step, id) = (input.parse()?, body::id(&id)?);
    let version = body::if_match(&headers)?;
    Ok(axum::Json(api.app.step_case(&context, (id, version), &step).await?.into()))
}

/// Does what a request asks for, and answers it. An erasure goes on in the background: its steps
/// are in the request, its end is the answer.
#[utoipa::path(post, path = "/v1/requests/{id}/fulfil", tag = "requests",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn fulfil(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.fulfil_case(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The copy that a request is about, for the officer who answers it. It is recorded who took it.
#[utoipa::path(post, path = "/v1/requests/{id}/copy", tag = "requests",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>), (status = 403),
        (status = 404), (status = 409)))]
async fn copy(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    Ok(zip(api.app.export_case(&context, body::id(&id)?).await?))
}

/// The signed certificate of an erasure, as a file: `veritwin purge --verify` checks it.
#[utoipa::path(get, path = "/v1/requests/{id}/certificate", tag = "requests",
    params(("id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 403),
        (status = 404), (status = 409)))]
async fn certificate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let text = api.app.erasure_certificate(&context, body::id(&id)?).await?;
    let kind = HeaderValue::from_static("application/json");
    let name = HeaderValue::from_static("attachment; filename=\"erasure-certificate.json\"");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], text))
}

//! Registers that people keep, records of processing, agreements, profiles of jurisdictions.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    AgreementView, JurisdictionView, ProcessingView, RegisterInput, RegisterView, UseFigure,
};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, enter))
        .routes(routes!(end))
        .routes(routes!(approve))
        .routes(routes!(carry_out))
        .routes(routes!(list_processing))
        .routes(routes!(list_jurisdictions))
        .routes(routes!(use_figures))
        .routes(routes!(list_agreements, make_agreement))
}

/// An entry to write.
#[derive(Deserialize, ToSchema)]
struct RegisterInputBody {
    /// `residency`, `flow`, `subprocessor`, `instruction`, `disclosure` or `business_transfer`.
    kind: String,
    /// What it says, by the names of its fields.
    fields: BTreeMap<String, String>,
    /// Until when a flow counts.
    review_at: Option<String>,
}

/// An entry of a register.
#[derive(Serialize, ToSchema)]
struct RegisterEntryBody {
    id: String,
    kind: &'static str,
    /// `asked`, `in_force` or `ended`.
    state: &'static str,
    fields: BTreeMap<String, String>,
    entered_by: String,
    approved_by: Option<String>,
    /// Who asked that a pin ends; it counts until a second person has approved that.
    ending_by: Option<String>,
    announced_at: Option<String>,
    carried_out_at: Option<String>,
    review_at: Option<String>,
    created_at: String,
}

impl From<RegisterView> for RegisterEntryBody {
    fn from(view: RegisterView) -> Self {
        Self {
            id: view.id.to_string(),
            kind: view.kind,
            state: view.state,
            fields: view.fields,
            entered_by: view.entered_by,
            approved_by: view.approved_by,
            ending_by: view.ending_by,
            announced_at: view.announced_at.map(body::time),
            carried_out_at: view.carried_out_at.map(body::time),
            review_at: view.review_at.map(body::time),
            created_at: body::time(view.created_at),
        }
    }
}

/// Lists the entries of every register, newest first in each.
#[utoipa::path(get, path = "/v1/register-entries", tag = "registers",
    responses((status = 200, body = ListBody<RegisterEntryBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<RegisterEntryBody>>> {
    let all = api.app.list_register(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(RegisterEntryBody::from).collect())))
}

/// Enters something. A flow, a disclosure and a transfer of the business count once a second person
/// has approved them.
#[utoipa::path(post, path = "/v1/register-entries", tag = "registers",
    request_body = RegisterInputBody,
    responses((status = 201, body = RegisterEntryBody), (status = 400), (status = 403),
        (status = 409)))]
async fn enter(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<RegisterInputBody>,
) -> Answer<impl IntoResponse> {
    let review_at = input.review_at.as_deref();
    let review_at = review_at.map(|text| body::parse_time("review_at", text)).transpose()?;
    let input = RegisterInput { kind: input.kind, fields: input.fields, review_at };
    let view = api.app.enter_register(&context, input).await?;
    Ok((StatusCode::CREATED, axum::Json(RegisterEntryBody::from(view))))
}

/// Ends an entry: it counts no more. A pin (`residency`) ends once a second person has approved it.
#[utoipa::path(delete, path = "/v1/register-entries/{id}", tag = "registers",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn end(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.end_register(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Approves what somebody else entered, or that a pin ends.
#[utoipa::path(post, path = "/v1/register-entries/{id}/approve", tag = "registers",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn approve(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.approve_register(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes that a disclosure or a transfer of the business is carried out. Refused before it is
/// approved, and for a transfer before its notice has been out for 30 days.
#[utoipa::path(post, path = "/v1/register-entries/{id}/carry-out", tag = "registers",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn carry_out(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.carry_out_register(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A category of data as it is processed for a purpose (Article 30 of the GDPR), read out of the
/// schema and the register of purposes.
#[derive(Serialize, ToSchema)]
struct ProcessingBody {
    category: &'static str,
    purpose: String,
    role: &'static str,
    basis: &'static str,
    kept: &'static str,
    tables: Vec<&'static str>,
    columns: usize,
}

impl From<ProcessingView> for ProcessingBody {
    fn from(view: ProcessingView) -> Self {
        let ProcessingView { category, purpose, role, basis, kept, tables, columns } = view;
        Self { category, purpose, role, basis, kept, tables, columns }
    }
}

/// The records of processing.
#[utoipa::path(get, path = "/v1/processing-records", tag = "registers",
    responses((status = 200, body = ListBody<ProcessingBody>), (status = 403)))]
async fn list_processing(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<ProcessingBody>>> {
    let all = api.app.list_processing(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(ProcessingBody::from).collect())))
}

/// A privacy law as a profile. Where it says nothing, or the platform falls short, is in `gaps`.
#[derive(Serialize, ToSchema)]
struct JurisdictionBody {
    code: String,
    law: String,
    authority: Option<String>,
    authority_url: Option<String>,
    complain_to: Option<String>,
    answer_days: Option<u32>,
    breach_hours: Option<u32>,
    child_age: Option<u32>,
    bases: Vec<String>,
    transfer: Vec<String>,
    gaps: Vec<&'static str>,
}

impl From<JurisdictionView> for JurisdictionBody {
    fn from(view: JurisdictionView) -> Self {
        Self {
            code: view.code,
            law: view.law,
            authority: view.authority,
            authority_url: view.authority_url,
            complain_to: view.complain_to,
            answer_days: view.answer_days,
            breach_hours: view.breach_hours,
            child_age: view.child_age,
            bases: view.bases,
            transfer: view.transfer,
            gaps: view.gaps,
        }
    }
}

/// The profiles of jurisdictions.
#[utoipa::path(get, path = "/v1/jurisdictions", tag = "registers",
    responses((status = 200, body = ListBody<JurisdictionBody>), (status = 403)))]
async fn list_jurisdictions(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<JurisdictionBody>>> {
    let all = api.app.list_jurisdictions(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(JurisdictionBody::from).collect())))
}

/// A data processing agreement (Article 28 of the GDPR).
#[derive(Serialize, ToSchema)]
struct AgreementBody {
    id: String,
    /// Markdown.
    text: String,
    sha256: String,
    /// The platform's public key, in hexadecimal.
    key: String,
    /// Ed25519 over the text, in hexadecimal.
    signature: String,
    made_at: String,
}

impl From<AgreementView> for AgreementBody {
    fn from(view: AgreementView) -> Self {
        Self {
            id: view.id.to_string(),
            text: view.text,
            sha256: view.sha256,
            key: view.key,
            signature: view.signature,
            made_at: body::time(view.made_at),
        }
    }
}

/// The agreements that were made, newest first.
#[utoipa::path(get, path = "/v1/agreements", tag = "registers",
    responses((status = 200, body = ListBody<AgreementBody>), (status = 403)))]
async fn list_agreements(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<AgreementBody>>> {
    let all = api.app.list_agreements(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(AgreementBody::from).collect())))
}

/// Makes an agreement for the organisation, signed by the platform.
#[utoipa::path(post, path = "/v1/agreements", tag = "registers",
    responses((status = 201, body = AgreementBody), (status = 403)))]
async fn make_agreement(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<impl IntoResponse> {
    let view = api.app.make_agreement(&context).await?;
    Ok((StatusCode::CREATED, axum::Json(AgreementBody::from(view))))
}

/// How often an action was done, rounded.
#[derive(Serialize, ToSchema)]
struct UseFigureBody {
    action: String,
    acts: u64,
    actors: u64,
}

/// Figures of use: of whole groups only.
#[derive(Serialize, ToSchema)]
struct UseFiguresBody {
    figures: Vec<UseFigureBody>,
    /// How many actions are not told, since fewer than ten did them.
    suppressed: usize,
}

/// How the service was used in the last 28 days: per action, rounded, of groups of ten or more.
#[utoipa::path(get, path = "/v1/analytics", tag = "registers",
    responses((status = 200, body = UseFiguresBody), (status = 403)))]
async fn use_figures(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<UseFiguresBody>> {
    let view = api.app.use_figures(&context).await?;
    let figure = |UseFigure { action, acts, actors }| UseFigureBody { action, acts, actors };
    let figures = view.figures.into_iter().map(figure).collect();
    Ok(axum::Json(UseFiguresBody { figures, suppressed: view.suppressed }))
}

//! Security alerts and incidents.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{IncidentNoteView, IncidentView, SecurityAlertView};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(alerts))
        .routes(routes!(acknowledge))
        .routes(routes!(list, open))
        .routes(routes!(read))
        .routes(routes!(note))
        .routes(routes!(close))
}

/// One thing that was seen.
#[derive(Serialize, ToSchema)]
struct SeenBody {
    name: String,
    value: String,
}

/// Access that was unlike the usual.
#[derive(Serialize, ToSchema)]
struct SecurityAlertBody {
    id: String,
    incident_id: String,
    #[schema(schema_with = words::finding)]
    kind: String,
    #[schema(schema_with = words::severity)]
    severity: String,
    seen: Vec<SeenBody>,
    raised_at: String,
    acknowledged_at: Option<String>,
    acknowledged_by: Option<String>,
}

impl From<SecurityAlertView> for SecurityAlertBody {
    fn from(view: SecurityAlertView) -> Self {
        let seen = |(name, value)| SeenBody { name, value };
        Self {
            id: view.id.to_string(),
            incident_id: view.incident.to_string(),
            kind: view.kind,
            severity: view.severity,
            seen: view.facts.into_iter().map(seen).collect(),
            raised_at: body::time(view.raised_at),
            acknowledged_at: view.acknowledged_at.map(body::time),
            acknowledged_by: view.acknowledged_by,
        }
    }
}

/// What happened to an incident.
#[derive(Serialize, ToSchema)]
struct IncidentNoteBody {
    #[schema(schema_with = words::incident_note)]
    kind: String,
    /// Null for the platform.
    by: Option<String>,
    at: String,
    text: String,
}

impl From<IncidentNoteView> for IncidentNoteBody {
    fn from(view: IncidentNoteView) -> Self {
        Self { kind: view.kind, by: view.by, at: body::time(view.at), text: view.text }
    }
}

/// An incident.
#[derive(Serialize, ToSchema)]
struct IncidentBody {
    id: String,
    #[schema(schema_with = words::finding)]
    kind: String,
    #[schema(schema_with = words::severity)]
    severity: String,
    title: String,
    opened_at: String,
    closed_at: Option<String>,
    /// Oldest first; empty in lists.
    notes: Vec<IncidentNoteBody>,
}

impl From<IncidentView> for IncidentBody {
    fn from(view: IncidentView) -> Self {
        Self {
            id: view.id.to_string(),
            kind: view.kind,
            severity: view.severity,
            title: view.title,
            opened_at: body::time(view.opened_at),
            closed_at: view.closed_at.map(body::time),
            notes: view.notes.into_iter().map(IncidentNoteBody::from).collect(),
        }
    }
}

/// Lists the security alerts, newest first.
#[utoipa::path(get, path = "/v1/security-alerts", tag = "incidents", params(PageQuery),
    responses((status = 200, body = ListBody<SecurityAlertBody>), (status = 403)))]
async fn alerts(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<SecurityAlertBody>>> {
    let page = api.app.list_security_alerts(&context, &query.into()).await?;
    Ok(axum::Json(ListBody::of(page, SecurityAlertBody::from)))
}

/// Takes note of a security alert.
#[utoipa::path(post, path = "/v1/security-alerts/{id}/acknowledge", tag = "incidents",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn acknowledge(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.acknowledge_security_alert(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the incidents, newest first.
#[utoipa::path(get, path = "/v1/incidents", tag = "incidents", params(PageQuery),
    responses((status = 200, body = ListBody<IncidentBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<IncidentBody>>> {
    let page = api.app.list_incidents(&context, &query.into()).await?;
    Ok(axum::Json(ListBody::of(page, IncidentBody::from)))
}

/// An incident to open by hand.
#[derive(Deserialize, ToSchema)]
struct OpenBody {
    title: String,
    #[schema(schema_with = words::severity)]
    severity: String,
    /// What happened.
    text: String,
}

/// Opens an incident.
#[utoipa::path(post, path = "/v1/incidents", tag = "incidents", request_body = OpenBody,
    responses((status = 201, body = IncidentBody), (status = 400), (status = 403)))]
async fn open(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<OpenBody>,
) -> Answer<impl IntoResponse> {
    let OpenBody { title, severity, text } = body;
    let incident = api.app.open_incident(&context, &title, &severity, &text).await?;
    Ok((StatusCode::CREATED, axum::Json(IncidentBody::from(incident))))
}

/// Reads an incident with what happened to it.
#[utoipa::path(get, path = "/v1/incidents/{id}", tag = "incidents", params(("id" = String, Path)),
    responses((status = 200, body = IncidentBody), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<IncidentBody>> {
    let incident = api.app.incident(&context, body::id(&id)?).await?;
    Ok(axum::Json(incident.into()))
}

/// A text about an incident.
#[derive(Deserialize, ToSchema)]
struct NoteBody {
    text: String,
}

/// Notes something at an incident.
#[utoipa::path(post, path = "/v1/incidents/{id}/notes", tag = "incidents",
    params(("id" = String, Path)), request_body = NoteBody,
    responses((status = 201, body = IncidentBody), (status = 400), (status = 404)))]
async fn note(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<NoteBody>,
) -> Answer<impl IntoResponse> {
    let incident = api.app.add_incident_note(&context, body::id(&id)?, &body.text).await?;
    Ok((StatusCode::CREATED, axum::Json(IncidentBody::from(incident))))
}

/// Closes an incident with what was concluded.
#[utoipa::path(post, path = "/v1/incidents/{id}/close", tag = "incidents",
    params(("id" = String, Path)), request_body = NoteBody,
    responses((status = 200, body = IncidentBody), (status = 400), (status = 404),
        (status = 409)))]
async fn close(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<NoteBody>,
) -> Answer<axum::Json<IncidentBody>> {
    let incident = api.app.close_incident(&context, body::id(&id)?, &body.text).await?;
    Ok(axum::Json(incident.into()))
}

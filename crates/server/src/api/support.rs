//! Support: the customer's tickets and grants, and the staff's desk. A support session travels in
//! the session cookie like any other.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{DeskGrant, SignedIn, SupportGrantView, SupportView, TicketView};
use veritwin_domain::{Secret, SupportArea, SupportAreas};

use super::auth::{self, Caller, SESSION_COOKIE};
use super::body::{self, Json, ListBody, Path};
use super::holds::MadeBody;
use super::session::{SessionBody, set_cookie};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(open))
        .routes(routes!(close))
        .routes(routes!(grant))
        .routes(routes!(revoke))
        .routes(routes!(desk))
        .routes(routes!(enter, leave))
        .routes(routes!(ask))
        .routes(routes!(approve))
}

fn area_names(areas: SupportAreas) -> Vec<&'static str> {
    areas.iter().map(SupportArea::as_str).collect()
}

fn parsed_areas(names: &[String]) -> Result<SupportAreas, Problem> {
    let known = SupportArea::ALL.map(SupportArea::as_str).join(", ");
    let parse = |name: &String| {
        let wrong = format!("each area must be one of {known}");
        name.parse::<SupportArea>().map_err(|()| Problem::invalid(wrong).at("areas"))
    };
    let areas = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(SupportAreas::of(&areas))
}

/// What support may see, until when. Always for reading only.
#[derive(Serialize, ToSchema)]
struct SupportGrantBody {
    /// Support's steps are the records with this actor.
    id: String,
    /// Null when nobody of the tenant asked.
    ticket_id: Option<String>,
    #[schema(schema_with = words::support_areas)]
    areas: Vec<&'static str>,
    /// Why, when nobody of the tenant asked.
    reason: String,
    #[schema(schema_with = words::grant_state)]
    state: &'static str,
    requested_at: String,
    expires_at: String,
    revoked_at: Option<String>,
}

impl From<SupportGrantView> for SupportGrantBody {
    fn from(view: SupportGrantView) -> Self {
        Self {
            id: view.id.to_string(),
            ticket_id: view.ticket.map(|id| id.to_string()),
            areas: area_names(view.areas),
            reason: view.reason,
            state: view.state,
            requested_at: body::time(view.requested_at),
            expires_at: body::time(view.expires_at),
            revoked_at: view.revoked_at.map(body::time),
        }
    }
}

/// A ticket.
#[derive(Serialize, ToSchema)]
struct TicketBody {
    id: String,
    subject: String,
    text: String,
    opened_by: String,
    opened_at: String,
    closed_at: Option<String>,
    /// Newest first.
    grants: Vec<SupportGrantBody>,
}

impl From<TicketView> for TicketBody {
    fn from(view: TicketView) -> Self {
        Self {
            id: view.id.to_string(),
            subject: view.subject,
            text: view.text,
            opened_by: view.opened_by,
            opened_at: body::time(view.opened_at),
            closed_at: view.closed_at.map(body::time),
            grants: view.grants.into_iter().map(SupportGrantBody::from).collect(),
        }
    }
}

/// The tenant's side of support.
#[derive(Serialize, ToSchema)]
struct CustomerBody {
    /// Newest first.
    tickets: Vec<TicketBody>,
    /// Access that nobody of the tenant asked for, newest first.
    break_glass: Vec<SupportGrantBody>,
}

/// Lists the tickets, and what support may or might see.
#[utoipa::path(get, path = "/v1/support", tag = "support",
    responses((status = 200, body = CustomerBody), (status = 403)))]
async fn list(State(api): State<Api>, Caller(context): Caller) -> Answer<axum::Json<CustomerBody>> {
    let (tickets, break_glass) = api.app.list_support(&context).await?;
    Ok(axum::Json(CustomerBody {
        tickets: tickets.into_iter().map(TicketBody::from).collect(),
        break_glass: break_glass.into_iter().map(SupportGrantBody::from).collect(),
    }))
}

/// What the ticket is about.
#[derive(Deserialize, ToSchema)]
struct TicketInput {
    subject: String,
    text: String,
}

/// Opens a ticket. Support sees it once something is granted for it.
#[utoipa::path(post, path = "/v1/support-tickets", tag = "support", request_body = TicketInput,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403)))]
async fn open(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<TicketInput>,
) -> Answer<impl IntoResponse> {
    let id = api.app.open_ticket(&context, &body.subject, &body.text).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Closes a ticket; what was granted for it ends at once.
#[utoipa::path(delete, path = "/v1/support-tickets/{id}", tag = "support",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn close(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.close_ticket(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What to open, for how long.
#[derive(Deserialize, ToSchema)]
struct GrantInput {
    #[schema(schema_with = words::support_areas)]
    areas: Vec<String>,
    /// 1 to 72.
    hours: u64,
}

/// Opens areas of the tenant to support, for reading.
#[utoipa::path(post, path = "/v1/support-tickets/{id}/grants", tag = "support",
    params(("id" = String, Path)), request_body = GrantInput,
    responses((status = 201, body = SupportGrantBody), (status = 400), (status = 403),
    (status = 404),
        (status = 409)))]
async fn grant(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<GrantInput>,
) -> Answer<impl IntoResponse> {
    let areas = parsed_areas(&body.areas)?;
    let grant = api.app.grant_support(&context, body::id(&id)?, areas, body.hours).await?;
    Ok((StatusCode::CREATED, axum::Json(SupportGrantBody::from(grant))))
}

/// Takes a grant back; sessions that rest on it end at once.
#[utoipa::path(delete, path = "/v1/support-grants/{id}", tag = "support",
    params(("id" = String, Path)), responses((status = 204), (status = 403), (status = 404)))]
async fn revoke(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.revoke_support(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A customer's grant at the staff's desk.
#[derive(Serialize, ToSchema)]
struct DeskBody {
    grant: SupportGrantBody,
    tenant_id: String,
    tenant_name: String,
    /// Null when nobody of the customer asked.
    subject: Option<String>,
    text: Option<String>,
    /// Whoever asks now asked for it, and so cannot approve it.
    is_own: bool,
}

impl From<DeskGrant> for DeskBody {
    fn from(view: DeskGrant) -> Self {
        let (subject, text) = view.ticket.unzip();
        Self {
            grant: view.grant.into(),
            tenant_id: view.tenant.to_string(),
            tenant_name: view.tenant_name,
            subject,
            text,
            is_own: view.is_own,
        }
    }
}

/// Lists what customers have opened to support. For the platform's own staff.
#[utoipa::path(get, path = "/v1/support-desk", tag = "support",
    responses((status = 200, body = ListBody<DeskBody>), (status = 403)))]
async fn desk(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<DeskBody>>> {
    let grants = api.app.list_desk(&context).await?;
    Ok(axum::Json(ListBody::whole(grants.into_iter().map(DeskBody::from).collect())))
}

/// Where to go.
#[derive(Deserialize, ToSchema)]
struct EnterBody {
    tenant_id: String,
}

/// Enters a customer's tenant by its live grants, with a fresh proof and a second factor of one's
/// own. Without a grant: 403 when the customer ever opened a ticket, else 404.
#[utoipa::path(post, path = "/v1/support-desk/session", tag = "support", request_body = EnterBody,
    responses((status = 201, body = SessionBody), (status = 403), (status = 404),
    (status = 409)))]
async fn enter(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<EnterBody>,
) -> Answer<impl IntoResponse> {
    let tenant = body::id(&body.tenant_id)?;
    let SignedIn { token, session } = api.app.enter_support(&context, tenant).await?;
    Ok((StatusCode::CREATED, set_cookie(&token), axum::Json(SessionBody::from(session))))
}

/// Leaves the customer's tenant; one's own session goes on.
#[utoipa::path(delete, path = "/v1/support-desk/session", tag = "support",
    responses((status = 204), (status = 403)))]
async fn leave(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Answer<impl IntoResponse> {
    let token = auth::cookie(&headers, SESSION_COOKIE).unwrap_or_default();
    let own = api.app.leave_support(&context, &Secret::new(token.to_owned())).await?;
    Ok((StatusCode::NO_CONTENT, set_cookie(&own)))
}

/// Access that nobody of the customer asked for.
#[derive(Deserialize, ToSchema)]
struct BreakGlassBody {
    tenant_id: String,
    #[schema(schema_with = words::support_areas)]
    areas: Vec<String>,
    /// Why it cannot wait; the customer reads it.
    reason: String,
}

/// Asks for access to a tenant that did not ask for it. A second of the staff has to approve.
#[utoipa::path(post, path = "/v1/support-desk/break-glass", tag = "support",
    request_body = BreakGlassBody,
    responses((status = 201, body = SupportGrantBody), (status = 400), (status = 403),
    (status = 404)))]
async fn ask(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<BreakGlassBody>,
) -> Answer<impl IntoResponse> {
    let (tenant, areas) = (body::id(&body.tenant_id)?, parsed_areas(&body.areas)?);
    let grant = api.app.ask_break_glass(&context, tenant, areas, &body.reason).await?;
    Ok((StatusCode::CREATED, axum::Json(SupportGrantBody::from(grant))))
}

/// Approves what another of the staff asked for. The customer's administrators are told.
#[utoipa::path(post, path = "/v1/support-desk/break-glass/{id}/approve", tag = "support",
    params(("id" = String, Path)),
    responses((status = 200, body = SupportGrantBody), (status = 403), (status = 404),
    (status = 409)))]
async fn approve(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<SupportGrantBody>> {
    let grant = api.app.approve_break_glass(&context, body::id(&id)?).await?;
    Ok(axum::Json(grant.into()))
}

/// What a support session is allowed, for its banner.
#[derive(Serialize, ToSchema)]
pub(super) struct SupportBody {
    grant_id: String,
    #[schema(schema_with = words::support_areas)]
    areas: Vec<&'static str>,
    expires_at: String,
    /// Nobody of the customer asked.
    is_break_glass: bool,
}

impl From<SupportView> for SupportBody {
    fn from(view: SupportView) -> Self {
        Self {
            grant_id: view.grant.to_string(),
            areas: area_names(view.areas),
            expires_at: body::time(view.expires_at),
            is_break_glass: view.is_break_glass,
        }
    }
}

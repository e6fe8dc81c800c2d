//! Tenants: one's own, and for partners and the platform's administration those directly below.
//! What is shown of them is name, plan, state and figures, never what they keep.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    AnsweredBy, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, PlacedTenant, RetentionWait, Service,
    TenantChange, TenantInput, TenantRank, UsageView,
};
use veritwin_domain::{Secret, TenantId};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::plans::PlanBody;
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, change))
        .routes(routes!(invite))
        .routes(routes!(hosts))
        .routes(routes!(domains))
        .routes(routes!(expiring))
}

/// Who answers for a tenant: its nearest partner that says how to reach it, else the platform.
#[derive(Serialize, ToSchema)]
pub(super) struct AnsweredByBody {
    /// Whether it is the platform itself.
    platform: bool,
    name: String,
    email: Option<String>,
    /// Postal address.
    address: Option<String>,
}

impl From<AnsweredBy> for AnsweredByBody {
    fn from(view: AnsweredBy) -> Self {
        Self {
            platform: view.is_platform,
            name: view.name,
            email: view.email,
            address: view.address,
        }
    }
}

/// What a tenant has, in numbers.
#[derive(Serialize, ToSchema)]
struct UsageBody {
    devices: u64,
    users: u64,
    api_keys: u64,
    /// Tenants below it, at any depth.
    tenants: u64,
    /// Bytes of its readings and twins.
    storage_bytes: u64,
}

impl From<UsageView> for UsageBody {
    fn from(usage: UsageView) -> Self {
        Self {
            devices: usage.devices,
            users: usage.users,
            api_keys: usage.api_keys,
            tenants: usage.tenants,
            storage_bytes: usage.storage_bytes,
        }
    }
}

/// Readings are kept as before although the plan would end them already.
#[derive(Serialize, ToSchema)]
struct RetentionWaitBody {
    until: String,
    /// Days that they are kept until then; none: for ever.
    retention_days: Option<u64>,
}

/// What the ledger sealed can be opened as before although the plan would end it already.
#[derive(Serialize, ToSchema)]
struct AuditWaitBody {
    until: String,
    /// Days that it can be opened until then; none: for ever.
    audit_days: Option<u64>,
}

impl From<RetentionWait> for AuditWaitBody {
    fn from(wait: RetentionWait) -> Self {
        Self { until: body::time(wait.until), audit_days: wait.days }
    }
}

impl From<RetentionWait> for RetentionWaitBody {
    fn from(wait: RetentionWait) -> Self {
        Self { until: body::time(wait.until), retention_days: wait.days }
    }
}

/// A tenant.
#[derive(Serialize, ToSchema)]
struct TenantBody {
    id: String,
    name: String,
    #[schema(schema_with = words::tenant_kind)]
    kind: &'static str,
    #[schema(schema_with = words::tenant_state)]
    state: &'static str,
    /// Whether it is the caller's own.
    own: bool,
    /// None: no limits but the platform's own.
    plan: Option<PlanBody>,
    /// Present while readings are kept that the plan would end already.
    retention_wait: Option<RetentionWaitBody>,
    /// Present while what the ledger sealed can be opened although the plan would end it already.
    audit_wait: Option<AuditWaitBody>,
    /// Whose key stands above the tenant's keys.
    #[schema(schema_with = words::key_level)]
    key_level: &'static str,
    usage: UsageBody,
    answered_by: AnsweredByBody,
    /// The host names given to it.
    hosts: Vec<String>,
    /// The domains below which a partner gives host names.
    domains: Vec<String>,
    /// Whether readings are sealed into the ledger archive.
    archive_subscribed: bool,
    created_at: String,
}

fn shown(placed: PlacedTenant, own: TenantId) -> TenantBody {
    let key_level = placed.key_level.as_str();
    TenantBody {
        own: placed.tenant.id == own,
        id: placed.tenant.id.to_string(),
        name: placed.tenant.name,
        kind: match placed.rank {
            TenantRank::Customer => "customer",
            TenantRank::Partner => "partner",
            TenantRank::Platform => "platform",
        },
        state: placed.state.as_str(),
        key_level,
        plan: placed.plan.map(PlanBody::from),
        retention_wait: placed.waits.readings.map(RetentionWaitBody::from),
        audit_wait: placed.waits.ledger.map(AuditWaitBody::from),
        usage: placed.usage.into(),
        answered_by: placed.answered_by.into(),
        hosts: placed.hosts,
        domains: placed.domains,
        archive_subscribed: placed.tenant.archive_subscribed,
        created_at: body::time(placed.tenant.created_at),
    }
}

/// Lists the caller's tenant, then the tenants directly below it, oldest first.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", params(PageQuery),
    responses((status = 200, body = ListBody<TenantBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<TenantBody>>> {
    let own = api.app.placed_tenant(&context).await?;
    let has_below = own.rank != TenantRank::Customer;
    let wrong = || Problem::invalid("not a cursor of this list").at("cursor");
    let after: Option<TenantId> =
        page.cursor.as_deref().map(|text| text.parse().map_err(|_| wrong())).transpose()?;
    let mut items = Vec::new();
    if after.is_none() {
        items.push(shown(own, context.tenant));
    }
    if !has_below {
        return Ok(axum::Json(ListBody::whole(items)));
    }
    let rows = page.limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX);
    let mut below = match api.app.tenants_below(&context, after, rows + 1).await {
        Ok(below) => below,
        // Whoever may only read their own tenant still does.
        Err(veritwin_app::Error::Forbidden(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let has_more = below.len() > rows;
    below.truncate(rows);
    let last = below.last().map(|placed| placed.tenant.id.to_string());
    items.extend(below.into_iter().map(|placed| shown(placed, context.tenant)));
    Ok(axum::Json(ListBody { items, next_cursor: last.filter(|_| has_more) }))
}

/// A tenant to make.
#[derive(Deserialize, ToSchema)]
struct NewTenantBody {
    name: String,
    /// `customer` (when absent) or `partner`.
    kind: Option<String>,
    plan_id: Option<String>,
    /// Whether its readings are sealed into the ledger archive; true when absent.
    archive_subscribed: Option<bool>,
}

/// Makes a customer or partner below the caller's tenant.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", request_body = NewTenantBody,
    responses((status = 201, body = TenantBody), (status = 400), (status = 403), (status = 413)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<NewTenantBody>,
) -> Answer<impl IntoResponse> {
    let is_partner = match input.kind.as_deref() {
        None | Some("customer") => false,
        Some("partner") => true,
        Some(_) => return Err(Problem::invalid("must be customer or partner").at("kind")),
    };
    let plan = input.plan_id.as_deref().map(|id| body::id_at("plan_id", id)).transpose()?;
    let input = TenantInput {
        name: input.name,
        is_partner,
        plan,
        archive_subscribed: input.archive_subscribed.unwrap_or(true),
    };
    let made = api.app.create_tenant_below(&context, input).await?;
    Ok((StatusCode::CREATED, axum::Json(shown(made, context.tenant))))
}

/// Reads a tenant: one's own, or one directly below.
#[utoipa::path(get, path = "/v1/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = TenantBody), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let placed = api.app.tenant_at(&context, body::id(&id)?).await?;
    Ok((body::etag(placed.version), axum::Json(shown(placed, context.tenant))))
}

/// Tells `null` from a field that is not there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// What changes; what is absent stays.
#[derive(Deserialize, ToSchema)]
struct ChangeBody {
    name: Option<String>,
    /// `active` resumes, `suspended` ends every session and connection, `deletion_requested` does
    /// the same and asks for the tenant's destruction.
    #[schema(schema_with = words::tenant_state)]
    state: Option<String>,
    /// Null takes the plan away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    plan_id: Option<Option<String>>,
}

/// Changes name, plan or state of a tenant directly below.
#[utoipa::path(patch, path = "/v1/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    request_body = ChangeBody,
    responses((status = 200, body = TenantBody), (status = 400), (status = 404), (status = 409)))]
async fn change(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(input): Json<ChangeBody>,
) -> Answer<impl IntoResponse> {
    let id = body::id(&id)?;
    let wrong = || Problem::invalid("must be active, suspended or deletion_requested").at("state");
    let state = input.state.map(|text| Service::parse(&text).ok_or_else(wrong)).transpose()?;
    let plan = |id: Option<String>| id.map(|id| body::id_at("plan_id", &id)).transpose();
    let change =
        TenantChange { name: input.name, plan: input.plan_id.map(plan).transpose()?, state };
    let if_version = body::if_match(&headers)?;
    let placed = api.app.change_tenant_below(&context, id, change, if_version).await?;
    Ok((body::etag(placed.version), axum::Json(shown(placed, context.tenant))))
}

/// Which plan would be given.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
struct ExpiringQuery {
    /// None when absent.
    plan_id: Option<String>,
}

/// What a plan would destroy of a tenant.
#[derive(Serialize, ToSchema)]
struct TenantExpiringBody {
    /// Days that readings would be kept; none: for ever.
    retention_days: Option<u64>,
    /// No readings are destroyed before; present when they would be kept for less time than now.
    not_before: Option<String>,
    /// Days that what the ledger sealed could be opened; none: for ever.
    audit_days: Option<u64>,
    /// Nothing of it is destroyed before; present when that would be less time than now.
    audit_not_before: Option<String>,
    /// Readings that are older, also those that are not sealed yet.
    readings: u64,
    /// Sealed bytes of them.
    bytes: u64,
    /// Parts that are kept because a hold names their days.
    held_sections: u64,
    /// Days that are older, on which the ledger sealed something.
    ledger_days: u64,
    /// Days of it that are kept because a hold names them.
    held_ledger_days: u64,
}

/// Says which readings of a tenant directly below, and which days of what its ledger sealed, would
/// be past their time if it had a plan.
/// Destroys nothing.
#[utoipa::path(get, path = "/v1/tenants/{id}/expiring", tag = "tenants",
    params(("id" = String, Path), ExpiringQuery),
    responses((status = 200, body = TenantExpiringBody), (status = 400), (status = 404)))]
async fn expiring(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Query(query): Query<ExpiringQuery>,
) -> Answer<axum::Json<TenantExpiringBody>> {
    let plan = query.plan_id.as_deref().map(|id| body::id_at("plan_id", id)).transpose()?;
    let found = api.app.tenant_expiring(&context, body::id(&id)?, plan).await?;
    Ok(axum::Json(TenantExpiringBody {
        retention_days: found.retention_days,
        not_before: found.not_before.map(body::time),
        audit_days: found.audit_days,
        audit_not_before: found.audit_not_before.map(body::time),
        readings: found.expiring.readings,
        bytes: found.expiring.bytes,
        held_sections: found.expiring.held_sections,
        ledger_days: found.expiring.ledger_days,
        held_ledger_days: found.expiring.held_ledger_days,
    }))
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
struct FirstBody {
    email: String,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
struct FirstInvitedBody {
    /// The one-time link to hand over; shown once.
    link: String,
}

/// Invites an administrator into a tenant directly below: makes a one-time link.
#[utoipa::path(post, path = "/v1/tenants/{id}/invitations", tag = "tenants",
    params(("id" = String, Path)), request_body = FirstBody,
    responses((status = 201, body = FirstInvitedBody), (status = 400), (status = 404)))]
async fn invite(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(input): Json<FirstBody>,
) -> Answer<impl IntoResponse> {
    let email = Secret::new(input.email);
    let pages = &api.facts.address;
    let link = api.app.invite_below(&context, body::id(&id)?, &email, pages).await?;
    let link = link.into_exposed();
    Ok((StatusCode::CREATED, axum::Json(FirstInvitedBody { link })))
}

/// Host names.
#[derive(Deserialize, ToSchema)]
struct HostsBody {
    /// Such as `twin.example.com`, without a port.
    hosts: Vec<String>,
}

/// Gives a tenant directly below its host names: exactly these.
#[utoipa::path(put, path = "/v1/tenants/{id}/hosts", tag = "tenants",
    params(("id" = String, Path)), request_body = HostsBody,
    responses((status = 200, body = TenantBody), (status = 400), (status = 404), (status = 409)))]
async fn hosts(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(input): Json<HostsBody>,
) -> Answer<axum::Json<TenantBody>> {
    let placed = api.app.set_hosts(&context, body::id(&id)?, &input.hosts).await?;
    Ok(axum::Json(shown(placed, context.tenant)))
}

/// Domains.
#[derive(Deserialize, ToSchema)]
struct DomainsBody {
    /// Such as `partner.example`. Host names are the domain itself and what lies below it.
    domains: Vec<String>,
}

/// Confirms the domains of a partner directly below: exactly these. It gives host names below them
/// and no others. What is taken back takes the host names below it along.
#[utoipa::path(put, path = "/v1/tenants/{id}/domains", tag = "tenants",
    params(("id" = String, Path)), request_body = DomainsBody,
    responses((status = 200, body = TenantBody), (status = 400), (status = 404), (status = 409)))]
async fn domains(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(input): Json<DomainsBody>,
) -> Answer<axum::Json<TenantBody>> {
    let placed = api.app.set_domains(&context, body::id(&id)?, &input.domains).await?;
    Ok(axum::Json(shown(placed, context.tenant)))
}

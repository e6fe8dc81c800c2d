//! Plans: named limits, made by the platform's administration, given by partners up to their own.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{PlanInput, PlanLimits, PlanView, RouteLimits};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path, Query};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(replace, remove))
        .routes(routes!(expiring))
}

/// Limits; null: none but the platform's own.
#[derive(Serialize, Deserialize, ToSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct LimitsBody {
    /// Devices of a tenant.
    devices: Option<u64>,
    /// Accounts of a tenant.
    users: Option<u64>,
    /// API keys of a tenant.
    api_keys: Option<u64>,
    /// Tenants below a partner, at any depth.
    tenants: Option<u64>,
    /// Messages a second of all devices of a tenant together.
    messages_per_second: Option<u64>,
    /// Requests a second of everybody in a tenant together.
    requests_per_second: Option<u64>,
    /// Bytes of a tenant's readings and twins.
    storage_bytes: Option<u64>,
    /// Readings of a tenant in a UTC day.
    points_per_day: Option<u64>,
    /// Series of a tenant's devices.
    series: Option<u64>,
    /// Days that readings are kept, 1 to 36,500; then they are destroyed.
    retention_days: Option<u64>,
    /// Days that what the ledger sealed can be opened, 1 to 36,500; then its keys are destroyed.
    /// The ledger's entries stay.
    audit_days: Option<u64>,
    /// Whose key stands above the tenant's keys. Null: `platform`, which is all that this
    /// installation offers.
    #[schema(schema_with = words::key_level_or_none)]
    key_level: Option<String>,
    /// Routing destinations of a tenant.
    route_destinations: Option<u64>,
    /// Routing rules of a tenant.
    route_rules: Option<u64>,
    /// Tries to deliver routed messages of a tenant in a minute, to all destinations together. What
    /// is over it waits.
    route_deliveries_per_minute: Option<u64>,
}

impl From<PlanLimits> for LimitsBody {
    fn from(limits: PlanLimits) -> Self {
        Self {
            devices: limits.devices,
            users: limits.users,
            api_keys: limits.api_keys,
            tenants: limits.tenants,
            messages_per_second: limits.messages_per_second,
            requests_per_second: limits.requests_per_second,
            storage_bytes: limits.storage_bytes,
            points_per_day: limits.points_per_day,
            series: limits.series,
            retention_days: limits.retention_days,
            audit_days: limits.audit_days,
            key_level: limits.key_level.map(|level| level.as_str().to_owned()),
            route_destinations: limits.routes.destinations,
            route_rules: limits.routes.rules,
            route_deliveries_per_minute: limits.routes.deliveries_per_minute,
        }
    }
}

impl TryFrom<LimitsBody> for PlanLimits {
    type Error = Problem;

    fn try_from(body: LimitsBody) -> Result<Self, Problem> {
        Ok(Self {
            devices: body.devices,
            users: body.users,
            api_keys: body.api_keys,
            tenants: body.tenants,
            messages_per_second: body.messages_per_second,
            requests_per_second: body.requests_per_second,
            storage_bytes: body.storage_bytes,
            points_per_day: body.points_per_day,
            series: body.series,
            retention_days: body.retention_days,
            audit_days: body.audit_days,
            key_level: body.key_level.as_deref().map(veritwin_app::key_level).transpose()?,
            routes: RouteLimits {
                destinations: body.route_destinations,
                rules: body.route_rules,
                deliveries_per_minute: body.route_deliveries_per_minute,
            },
        })
    }
}

/// A plan.
#[derive(Serialize, ToSchema)]
pub(super) struct PlanBody {
    id: String,
    name: String,
    limits: LimitsBody,
    /// Counts changes; between quotes it is the ETag for `If-Match`.
    version: i64,
}

impl From<PlanView> for PlanBody {
    fn from(view: PlanView) -> Self {
        let PlanView { id, name, limits, version } = view;
        Self { id: id.to_string(), name, limits: limits.into(), version }
    }
}

/// What makes a plan.
#[derive(Deserialize, ToSchema)]
struct PlanInputBody {
    name: String,
    limits: LimitsBody,
}

impl TryFrom<PlanInputBody> for PlanInput {
    type Error = Problem;

    fn try_from(body: PlanInputBody) -> Result<Self, Problem> {
        Ok(Self { name: body.name, limits: body.limits.try_into()? })
    }
}

/// Lists the plans the caller's tenant may give: all for the platform's administration, those
/// within its own for a partner, its own for a customer.
#[utoipa::path(get, path = "/v1/plans", tag = "plans",
    responses((status = 200, body = ListBody<PlanBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<PlanBody>>> {
    let plans = api.app.list_plans(&context).await?;
    Ok(axum::Json(ListBody::whole(plans.into_iter().map(PlanBody::from).collect())))
}

/// Makes a plan.
#[utoipa::path(post, path = "/v1/plans", tag = "plans", request_body = PlanInputBody,
    responses((status = 201, body = PlanBody), (status = 400), (status = 403)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<PlanInputBody>,
) -> Answer<impl IntoResponse> {
    let plan = api.app.create_plan(&context, input.try_into()?).await?;
    Ok((StatusCode::CREATED, body::etag(plan.version), axum::Json(PlanBody::from(plan))))
}

/// Replaces a plan, for everybody who has it.
#[utoipa::path(put, path = "/v1/plans/{id}", tag = "plans", params(("id" = String, Path)),
    request_body = PlanInputBody,
    responses((status = 200, body = PlanBody), (status = 403), (status = 404), (status = 409)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(input): Json<PlanInputBody>,
) -> Answer<impl IntoResponse> {
    let if_version = body::if_match(&headers)?;
    let (id, input) = (body::id(&id)?, input.try_into()?);
    let plan = api.app.change_plan(&context, id, input, if_version).await?;
    Ok((body::etag(plan.version), axum::Json(PlanBody::from(plan))))
}

/// Deletes a plan that no tenant has.
#[utoipa::path(delete, path = "/v1/plans/{id}", tag = "plans", params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn remove(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_plan(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For how many days something would be kept.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
struct ExpiringQuery {
    /// 1 to 36,500; as the plan has it when absent.
    retention_days: Option<u64>,
    /// The same of what the ledger sealed.
    audit_days: Option<u64>,
}

/// What would be destroyed.
#[derive(Serialize, ToSchema)]
struct ExpiringBody {
    /// Tenants that would lose readings.
    tenants: u64,
    readings: u64,
    /// Sealed bytes of the readings.
    bytes: u64,
    /// Parts that are kept because a hold names their days.
    held_sections: u64,
    /// Tenants of which what the ledger sealed could be opened no more.
    ledger_tenants: u64,
    /// Days on which that was sealed, of all tenants together.
    ledger_days: u64,
    /// Days of it that are kept because a hold names them.
    held_ledger_days: u64,
}

/// Says what would be destroyed now if the plan kept readings, and what the ledger sealed, for so
/// many days. Destroys nothing.
#[utoipa::path(get, path = "/v1/plans/{id}/expiring", tag = "plans",
    params(("id" = String, Path), ExpiringQuery),
    responses((status = 200, body = ExpiringBody), (status = 403), (status = 404)))]
async fn expiring(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Query(query): Query<ExpiringQuery>,
) -> Answer<axum::Json<ExpiringBody>> {
    let days = (query.retention_days, query.audit_days);
    let found = api.app.plan_expiring(&context, body::id(&id)?, days).await?;
    Ok(axum::Json(ExpiringBody {
        tenants: found.tenants,
        readings: found.readings,
        bytes: found.bytes,
        held_sections: found.held_sections,
        ledger_tenants: found.ledger_tenants,
        ledger_days: found.ledger_days,
        held_ledger_days: found.held_ledger_days,
    }))
}

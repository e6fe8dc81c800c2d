//! How it went with messages to places outside, and those that could not be delivered.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::RouteLane;
use veritwin_app::model::{RouteParkedQuery, RouteParkedView};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(counts))
        .routes(routes!(parked))
        .routes(routes!(replay_all))
        .routes(routes!(open_parked, discard))
        .routes(routes!(replay))
}

/// How it went from a rule to a place.
#[derive(Serialize, ToSchema)]
struct RouteCountBody {
    rule_id: String,
    destination_id: String,
    /// Messages that were to go there.
    matched: u64,
    delivered: u64,
    /// Tries that failed.
    retried: u64,
    parked: u64,
    /// Messages that went nowhere: nothing of them may leave, they are too large, or there was no
    /// room.
    dropped: u64,
    /// When the first message that waits is tried; null: none waits.
    next_at: Option<String>,
    #[schema(schema_with = words::route_failure)]
    last_error: Option<&'static str>,
    last_status: Option<u64>,
    failed_at: Option<String>,
    delivered_at: Option<String>,
}

impl From<RouteLane> for RouteCountBody {
    fn from(lane: RouteLane) -> Self {
        Self {
            rule_id: lane.rule.to_string(),
            destination_id: lane.destination.to_string(),
            matched: lane.matched,
            delivered: lane.delivered,
            retried: lane.retried,
            parked: lane.parked,
            dropped: lane.dropped,
            next_at: lane.next_at.map(body::time),
            last_error: lane.last_error.map(|error| error.as_str()),
            last_status: lane.last_status,
            failed_at: lane.failed_at.map(body::time),
            delivered_at: lane.delivered_at.map(body::time),
        }
    }
}

/// How it went, from each rule to each place.
#[utoipa::path(get, path = "/v1/route-counts", tag = "routing",
    responses((status = 200, body = ListBody<RouteCountBody>), (status = 403)))]
async fn counts(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<RouteCountBody>>> {
    let all = api.app.route_lanes(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(RouteCountBody::from).collect())))
}

/// Which parked messages are wanted; everything given must hold.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct ParkedQuery {
    rule_id: Option<String>,
    destination_id: Option<String>,
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
}

fn wanted(rule: Option<&str>, destination: Option<&str>) -> Result<RouteParkedQuery, Problem> {
    Ok(RouteParkedQuery {
        rule: body::maybe_id_at("rule_id", rule)?,
        destination: body::maybe_id_at("destination_id", destination)?,
    })
}

/// A parked message, without what it says.
#[derive(Serialize, ToSchema)]
struct ParkedBody {
    id: String,
    rule_id: String,
    destination_id: String,
    device_id: String,
    bytes: u64,
    #[schema(schema_with = words::route_failure)]
    reason: &'static str,
    /// The HTTP status that was answered.
    status: Option<u64>,
    created_at: String,
    parked_at: String,
}

impl From<RouteParkedView> for ParkedBody {
    fn from(view: RouteParkedView) -> Self {
        Self {
            id: view.id.to_string(),
            rule_id: view.rule.to_string(),
            destination_id: view.destination.to_string(),
            device_id: view.device.to_string(),
            bytes: view.bytes,
            reason: view.reason,
            status: view.status,
            created_at: body::time(view.created_at),
            parked_at: body::time(view.parked_at),
        }
    }
}

/// Lists messages that could not be delivered, newest first.
#[utoipa::path(get, path = "/v1/route-messages", tag = "routing", params(ParkedQuery),
    responses((status = 200, body = ListBody<ParkedBody>), (status = 400), (status = 403)))]
async fn parked(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<ParkedQuery>,
) -> Answer<axum::Json<ListBody<ParkedBody>>> {
    let wanted = wanted(query.rule_id.as_deref(), query.destination_id.as_deref())?;
    let page = PageQuery { cursor: query.cursor, limit: query.limit }.into();
    let page = api.app.parked_messages(&context, wanted, &page).await?;
    Ok(axum::Json(ListBody::of(page, ParkedBody::from)))
}

/// What a parked message says.
#[derive(Serialize, ToSchema)]
struct ParkedMessageBody {
    /// As it would be sent, as much of it as may leave now.
    #[schema(value_type = Object)]
    message: serde_json::Value,
}

/// Opens a message that could not be delivered.
#[utoipa::path(get, path = "/v1/route-messages/{id}", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 200, body = ParkedMessageBody), (status = 403), (status = 404),
        (status = 409)))]
async fn open_parked(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ParkedMessageBody>> {
    let message = api.app.parked_message(&context, body::id(&id)?).await?;
    Ok(axum::Json(ParkedMessageBody { message }))
}

/// How many messages are sent again.
#[derive(Serialize, ToSchema)]
struct ReplayedBody {
    replayed: u64,
}

/// Sends a message again that could not be delivered.
#[utoipa::path(post, path = "/v1/route-messages/{id}/replay", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 200, body = ReplayedBody), (status = 403), (status = 404),
        (status = 409)))]
async fn replay(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ReplayedBody>> {
    let (all, id) = (RouteParkedQuery::default(), body::id(&id)?);
    let replayed = api.app.replay_parked(&context, all, Some(id)).await?;
    Ok(axum::Json(ReplayedBody { replayed }))
}

/// Which of them; everything given must hold.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ReplayFields {
    rule_id: Option<String>,
    destination_id: Option<String>,
}

/// Sends messages again that could not be delivered, the oldest first, at most 1,000 at once.
#[utoipa::path(post, path = "/v1/route-messages/replay", tag = "routing",
    request_body = ReplayFields,
    responses((status = 200, body = ReplayedBody), (status = 400), (status = 403),
        (status = 409)))]
async fn replay_all(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<ReplayFields>,
) -> Answer<axum::Json<ReplayedBody>> {
    let wanted = wanted(fields.rule_id.as_deref(), fields.destination_id.as_deref())?;
    let replayed = api.app.replay_parked(&context, wanted, None).await?;
    Ok(axum::Json(ReplayedBody { replayed }))
}

/// Discards a message that could not be delivered; nobody gets it back.
#[utoipa::path(delete, path = "/v1/route-messages/{id}", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)))]
async fn discard(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.discard_parked(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

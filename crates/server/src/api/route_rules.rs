//! Routing rules: which messages go to which places outside.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{RouteAttribute, RouteMatch, RouteRuleInput, RouteRuleView};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(rules, create_rule))
        .routes(routes!(replace_rule, delete_rule))
}

/// Which messages a rule is about.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum RouteMatchBody {
    /// Messages of devices to topics, by an MQTT topic filter.
    Messages { topic: String },
    /// Readings; what is not given narrows nothing.
    Readings {
        #[serde(default)]
        device_ids: Vec<String>,
        /// Groups of devices, as they are when a message comes.
        #[serde(default)]
        group_ids: Vec<String>,
        #[serde(default)]
        types: Vec<String>,
        twin_id: Option<String>,
        #[serde(default)]
        keys: Vec<String>,
        /// Only of devices whose attributes are as all of these say.
        #[serde(default)]
        attributes: Vec<RouteAttributeBody>,
    },
}

/// An attribute that a device has to have when a message of it comes.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteAttributeBody {
    #[schema(schema_with = words::attribute_scope)]
    scope: String,
    name: String,
    /// What it has to be: a text, a number, true or false.
    equals: serde_json::Value,
}

impl From<RouteAttributeBody> for RouteAttribute {
    fn from(RouteAttributeBody { scope, name, equals }: RouteAttributeBody) -> Self {
        Self { scope, name, equals }
    }
}

impl From<RouteAttribute> for RouteAttributeBody {
    fn from(RouteAttribute { scope, name, equals }: RouteAttribute) -> Self {
        Self { scope, name, equals }
    }
}

impl RouteMatchBody {
    fn parsed(self) -> Result<RouteMatch, Problem> {
        Ok(match self {
            Self::Messages { topic } => RouteMatch::Messages { topic },
            Self::Readings { device_ids, group_ids, types, twin_id, keys, attributes } => {
                let device = |id: &String| body::id_at("device_ids", id);
                let group = |id: &String| body::id_at("group_ids", id);
                let groups = group_ids.iter().map(group).collect::<Result<Vec<_>, _>>()?;
                let devices = device_ids.iter().map(device).collect::<Result<Vec<_>, _>>()?;
                let twin = body::maybe_id_at("twin_id", twin_id.as_deref())?;
                let attributes = attributes.into_iter().map(RouteAttribute::from).collect();
                RouteMatch::Readings { devices, groups, types, twin, keys, attributes }
            }
        })
    }

    fn of(matches: RouteMatch) -> Self {
        match matches {
            RouteMatch::Messages { topic } => Self::Messages { topic },
            RouteMatch::Readings { devices, groups, types, twin, keys, attributes } => {
                let attributes = attributes.into_iter().map(RouteAttributeBody::from).collect();
                Self::Readings {
                    device_ids: devices.iter().map(ToString::to_string).collect(),
                    group_ids: groups.iter().map(ToString::to_string).collect(),
                    types,
                    twin_id: twin.map(|id| id.to_string()),
                    keys,
                    attributes,
                }
            }
        }
    }
}

/// A rule as it is written.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteRuleFields {
    name: String,
    matches: RouteMatchBody,
    /// A condition that has to hold besides, such as `values.temperature > 30`.
    expression: Option<String>,
    destination_ids: Vec<String>,
    /// On when not given.
    enabled: Option<bool>,
}

impl RouteRuleFields {
    fn parsed(self) -> Result<RouteRuleInput, Problem> {
        let place = |id: &String| body::id_at("destination_ids", id);
        Ok(RouteRuleInput {
            name: self.name,
            matches: self.matches.parsed()?,
            expression: self.expression,
            destinations: self.destination_ids.iter().map(place).collect::<Result<_, _>>()?,
            enabled: self.enabled.unwrap_or(true),
        })
    }
}

/// A rule.
#[derive(Serialize, ToSchema)]
struct RouteRuleBody {
    id: String,
    name: String,
    matches: RouteMatchBody,
    expression: Option<String>,
    destination_ids: Vec<String>,
    enabled: bool,
    created_at: String,
    /// For `If-Match`.
    version: i64,
}

impl From<RouteRuleView> for RouteRuleBody {
    fn from(view: RouteRuleView) -> Self {
        let RouteRuleInput { name, matches, expression, destinations, enabled } = view.input;
        Self {
            id: view.id.to_string(),
            name,
            matches: RouteMatchBody::of(matches),
            expression,
            destination_ids: destinations.iter().map(ToString::to_string).collect(),
            enabled,
            created_at: body::time(view.created_at),
            version: view.version,
        }
    }
}

/// Lists the routing rules.
#[utoipa::path(get, path = "/v1/route-rules", tag = "routing",
    responses((status = 200, body = ListBody<RouteRuleBody>), (status = 403)))]
async fn rules(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<RouteRuleBody>>> {
    let all = api.app.route_rules(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(RouteRuleBody::from).collect())))
}

/// Makes a routing rule; it is about what arrives from now on.
#[utoipa::path(post, path = "/v1/route-rules", tag = "routing",
    request_body = RouteRuleFields,
    responses((status = 201, body = RouteRuleBody), (status = 400), (status = 403)))]
async fn create_rule(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<RouteRuleFields>,
) -> Answer<impl IntoResponse> {
    let view = api.app.create_route_rule(&context, fields.parsed()?).await?;
    Ok((StatusCode::CREATED, body::etag(view.version), axum::Json(RouteRuleBody::from(view))))
}

/// Replaces a routing rule; what was taken up before stays on its way.
#[utoipa::path(put, path = "/v1/route-rules/{id}", tag = "routing", params(("id" = String, Path)),
    request_body = RouteRuleFields,
    responses((status = 200, body = RouteRuleBody), (status = 400), (status = 404),
        (status = 409)))]
async fn replace_rule(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(fields): Json<RouteRuleFields>,
) -> Answer<impl IntoResponse> {
    let (id, version) = (body::id(&id)?, body::if_match(&headers)?);
    let view = api.app.replace_route_rule(&context, id, fields.parsed()?, version).await?;
    Ok((body::etag(view.version), axum::Json(RouteRuleBody::from(view))))
}

/// Deletes a routing rule with what is on its way by it, and what is parked.
#[utoipa::path(delete, path = "/v1/route-rules/{id}", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)))]
async fn delete_rule(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_route_rule(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

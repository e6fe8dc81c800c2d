//! Alert rules.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{RuleCondition, RuleInput, RuleScope, RuleView};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, replace, delete))
}

/// Which devices a rule watches; everything given must hold.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ScopeBody {
    device_id: Option<String>,
    device_type: Option<String>,
    twin_id: Option<String>,
}

/// When a rule raises an alert.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum ConditionBody {
    /// A number is beyond a threshold for some time.
    Threshold {
        key: String,
        /// `gt`, `ge`, `lt` or `le`.
        #[schema(schema_with = words::operator)]
        op: String,
        threshold: f64,
        /// How far back it must come before the alert clears.
        #[serde(default)]
        hysteresis: f64,
        #[serde(default)]
        for_seconds: u64,
    },
    /// Nothing arrives.
    NoData {
        /// The device as a whole when not given.
        key: Option<String>,
        after_seconds: u64,
    },
}

/// A rule as it is written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleBody {
    name: String,
    /// `critical`, `high`, `medium` or `low`.
    #[schema(schema_with = words::severity)]
    severity: String,
    #[serde(default = "enabled")]
    enabled: bool,
    #[serde(default)]
    scope: ScopeBody,
    condition: ConditionBody,
    #[serde(default)]
    notify_emails: Vec<String>,
    /// What usually helps.
    #[serde(default)]
    what_helps: String,
    /// Whether it watches streams that are personal or not declared, too: worked out from what
    /// whoever writes it may read where it watches. A change that makes it false is refused with
    /// 409, unless false is given.
    sees_closed: Option<bool>,
}

const fn enabled() -> bool {
    true
}

/// A stored rule.
#[derive(Serialize, ToSchema)]
struct StoredRuleBody {
    id: String,
    /// Counts changes; between quotes it is the ETag for `If-Match`.
    version: i64,
    #[serde(flatten)]
    rule: RuleBody,
}

impl RuleBody {
    fn parse(self) -> Result<RuleInput, Problem> {
        let scope = RuleScope {
            device_id: self
                .scope
                .device_id
                .map(|id| body::id_at("scope.device_id", &id))
                .transpose()?,
            device_type: self.scope.device_type,
            twin_id: self.scope.twin_id.map(|id| body::id_at("scope.twin_id", &id)).transpose()?,
        };
        let condition = match self.condition {
            ConditionBody::Threshold { key, op, threshold, hysteresis, for_seconds } => {
                RuleCondition::Threshold { key, op, threshold, hysteresis, for_seconds }
            }
            ConditionBody::NoData { key, after_seconds } => {
                RuleCondition::NoData { key, after_seconds }
            }
        };
        Ok(RuleInput {
            name: self.name,
            severity: self.severity,
            enabled: self.enabled,
            scope,
            condition,
            notify_emails: self.notify_emails.into_iter().map(Secret::new).collect(),
            what_helps: self.what_helps,
            sees_closed: self.sees_closed,
        })
    }
}

impl From<RuleView> for StoredRuleBody {
    fn from(view: RuleView) -> Self {
        let rule = view.rule;
        let condition = match rule.condition {
            RuleCondition::Threshold { key, op, threshold, hysteresis, for_seconds } => {
                ConditionBody::Threshold { key, op, threshold, hysteresis, for_seconds }
            }
            RuleCondition::NoData { key, after_seconds } => {
                ConditionBody::NoData { key, after_seconds }
            }
        };
        Self {
            id: view.id.to_string(),
            version: view.version,
            rule: RuleBody {
                name: rule.name,
                severity: rule.severity,
                enabled: rule.enabled,
                scope: ScopeBody {
                    device_id: rule.scope.device_id.map(|id| id.to_string()),
                    device_type: rule.scope.device_type,
                    twin_id: rule.scope.twin_id.map(|id| id.to_string()),
                },
                condition,
                notify_emails: rule.notify_emails.into_iter().map(Secret::into_exposed).collect(),
                what_helps: rule.what_helps,
                sees_closed: rule.sees_closed,
            },
        }
    }
}

/// Lists rules.
#[utoipa::path(get, path = "/v1/rules", tag = "rules",
    responses((status = 200, body = ListBody<StoredRuleBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<StoredRuleBody>>> {
    let rules = api.app.list_rules(&context).await?;
    Ok(axum::Json(ListBody::whole(rules.into_iter().map(StoredRuleBody::from).collect())))
}

/// Creates a rule.
#[utoipa::path(post, path = "/v1/rules", tag = "rules", request_body = RuleBody,
    responses((status = 201, body = StoredRuleBody), (status = 400), (status = 403)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<RuleBody>,
) -> Answer<impl IntoResponse> {
    let rule = api.app.create_rule(&context, body.parse()?).await?;
    let version = rule.version;
    Ok((StatusCode::CREATED, body::etag(version), axum::Json(StoredRuleBody::from(rule))))
}

/// Reads a rule.
#[utoipa::path(get, path = "/v1/rules/{id}", tag = "rules", params(("id" = String, Path)),
    responses((status = 200, body = StoredRuleBody), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let rule = api.app.rule(&context, body::id(&id)?).await?;
    Ok((body::etag(rule.version), axum::Json(StoredRuleBody::from(rule))))
}

/// Replaces a rule.
#[utoipa::path(put, path = "/v1/rules/{id}", tag = "rules", params(("id" = String, Path)),
    request_body = RuleBody,
    responses((status = 200, body = StoredRuleBody), (status = 404), (status = 409)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<RuleBody>,
) -> Answer<impl IntoResponse> {
    let version = body::if_match(&headers)?;
    let rule = api.app.replace_rule(&context, body::id(&id)?, body.parse()?, version).await?;
    Ok((body::etag(rule.version), axum::Json(StoredRuleBody::from(rule))))
}

/// Deletes a rule; its open alerts clear.
#[utoipa::path(delete, path = "/v1/rules/{id}", tag = "rules", params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_rule(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

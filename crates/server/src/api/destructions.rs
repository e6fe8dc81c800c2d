//! Destruction of readings: a preview, the confirmation of it, how far it is, the certificate; and
//! how long readings are kept before they end by themselves.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    DestructionCounts, DestructionInput, DestructionPreview, DestructionScope, DestructionView,
    RetentionEnd, RetentionInput, RetentionRule, RetentionView,
};
use veritwin_domain::Key;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::holds::MadeBody;
use super::{Answer, Api, Problem, words};
use crate::dispatch::parse_month;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, request))
        .routes(routes!(preview))
        .routes(routes!(read))
        .routes(routes!(certificate))
        .routes(routes!(retention, change_retention))
        .routes(routes!(ends))
}

/// Which readings are destroyed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DestructionScopeBody {
    /// `device`, `key`, `subject`, `month` or `ledger` (what the ledger has sealed until now);
    /// `tenant` only where the operator asked for it.
    #[schema(schema_with = words::destruction_scope)]
    kind: String,
    /// The device, of `device`; also of `key`, to mean one device's series alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    /// The key, of `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The person's name, of `subject`: as declarations of streams, or their fields, name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    /// The UTC month, of `month`, such as `2026-10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    month: Option<String>,
}

fn month_text(month: i64) -> String {
    format!("{:04}-{:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
}

impl DestructionScopeBody {
    fn parse(&self) -> Result<DestructionScope, Problem> {
        let needs = |field: &str, value: &Option<String>| {
            let missing = || Problem::invalid("is needed".to_owned()).at(format!("scope.{field}"));
            value.clone().ok_or_else(missing)
        };
        let key = |text: String| {
            Key::new(&text).map_err(|error| Problem::invalid(error.to_string()).at("scope.key"))
        };
        Ok(match self.kind.as_str() {
            "tenant" => DestructionScope::Tenant,
            "ledger" => DestructionScope::Ledger,
            "device" => {
                let device = needs("device_id", &self.device_id)?;
                DestructionScope::Device(body::id_at("scope.device_id", &device)?)
            }
            "key" => DestructionScope::Key {
                key: key(needs("key", &self.key)?)?,
                device: body::maybe_id_at("scope.device_id", self.device_id.as_deref())?,
            },
            "subject" => DestructionScope::Subject(needs("person", &self.person)?),
            "month" => {
                let text = needs("month", &self.month)?;
                let wrong = || {
                    Problem::invalid("expected a month such as 2026-10".to_owned())
                        .at("scope.month")
                };
                DestructionScope::Month(parse_month(&text).ok_or_else(wrong)?)
            }
            _ => {
                let detail = "must be one of device, key, subject, month, ledger";
                return Err(Problem::invalid(detail.to_owned()).at("scope.kind"));
            }
        })
    }

    fn of(scope: DestructionScope) -> Self {
        let kind = |kind: &str| Self { kind: kind.to_owned(), ..Self::default() };
        match scope {
            DestructionScope::Tenant => kind("tenant"),
            DestructionScope::Ledger => kind("ledger"),
            DestructionScope::Device(device) => {
                Self { device_id: Some(device.to_string()), ..kind("device") }
            }
            DestructionScope::Key { key, device } => Self {
                key: Some(key.to_string()),
                device_id: device.map(|device| device.to_string()),
                ..kind("key")
            },
            DestructionScope::Subject(person) => Self { person: Some(person), ..kind("subject") },
            DestructionScope::Month(month) => {
                Self { month: Some(month_text(month)), ..kind("month") }
            }
        }
    }
}

/// A destruction to look at first.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DestructionPreviewRequestBody {
    scope: DestructionScopeBody,
    /// Of a device: its attributes too.
    #[serde(default)]
    attributes: bool,
}

/// A destruction to carry out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DestructionRequestBody {
    scope: DestructionScopeBody,
    #[serde(default)]
    attributes: bool,
    /// Why, in words.
    reason: String,
    /// What a preview of exactly this gave.
    confirm: String,
}

/// How much a destruction meets.
#[derive(Serialize, ToSchema)]
struct DestructionCountsBody {
    devices: u64,
    series: u64,
    /// At most so many: what is stored in one piece with others counts whole.
    readings: u64,
    /// Sealed sections that are written anew or dropped.
    sections: u64,
    bytes: u64,
}

impl From<DestructionCounts> for DestructionCountsBody {
    fn from(counts: DestructionCounts) -> Self {
        let DestructionCounts { devices, series, readings, sections, bytes } = counts;
        Self { devices, series, readings, sections, bytes }
    }
}

/// What a destruction would meet.
#[derive(Serialize, ToSchema)]
struct DestructionPreviewBody {
    counts: DestructionCountsBody,
    /// A hold keeps some of it: it is refused until the hold has ended.
    is_held: bool,
    /// What stays where it is, by name.
    stays: Vec<&'static str>,
    /// Until when copies of the keyring of before may open older backups.
    backup_horizon: String,
    /// What confirms exactly this, within 15 minutes.
    confirm: String,
    confirm_until: String,
}

impl From<DestructionPreview> for DestructionPreviewBody {
    fn from(preview: DestructionPreview) -> Self {
        Self {
            counts: preview.counts.into(),
            is_held: preview.is_held,
            stays: preview.stays,
            backup_horizon: body::time(preview.backup_horizon),
            confirm: preview.confirm,
            confirm_until: body::time(preview.confirm_until),
        }
    }
}

/// A destruction.
#[derive(Serialize, ToSchema)]
struct DestructionBody {
    id: String,
    #[schema(schema_with = words::destruction_state)]
    state: &'static str,
    scope: DestructionScopeBody,
    attributes: bool,
    reason: String,
    requested_by: String,
    requested_at: String,
    /// How much it was when it was asked for.
    counts: DestructionCountsBody,
    readings_destroyed: u64,
    sections_rewritten: u64,
    sections_dropped: u64,
    /// Keys that are, or are about to be, destroyed.
    keys: u64,
    /// What it waits for: `start` (a hold may be in the way), `alerts`, `routes`, `ledger` or
    /// `sessions`.
    waits_for: Option<&'static str>,
    /// By when it is over, of `ledger`: 30 days after it was asked for.
    due_at: Option<String>,
    destroyed_at: Option<String>,
    has_certificate: bool,
    /// The leaf of the ledger that holds the certificate's digest.
    ledger_index: Option<u64>,
}

impl From<DestructionView> for DestructionBody {
    fn from(view: DestructionView) -> Self {
        Self {
            id: view.id.to_string(),
            state: view.state,
            scope: DestructionScopeBody::of(view.scope),
            attributes: view.attributes,
            reason: view.reason,
            requested_by: view.requested_by,
            requested_at: body::time(view.requested_at),
            counts: view.counts.into(),
            readings_destroyed: view.readings_destroyed,
            sections_rewritten: view.sections_rewritten,
            sections_dropped: view.sections_dropped,
            keys: view.keys,
            waits_for: view.waits_for,
            due_at: view.due_at.map(body::time),
            destroyed_at: view.destroyed_at.map(body::time),
            has_certificate: view.has_certificate,
            ledger_index: view.ledger_index,
        }
    }
}

/// Lists the destructions, newest first.
#[utoipa::path(get, path = "/v1/destructions", tag = "destructions",
    responses((status = 200, body = ListBody<DestructionBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<DestructionBody>>> {
    let all = api.app.list_destructions(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(DestructionBody::from).collect())))
}

/// Says what a destruction would meet. Nothing is destroyed.
#[utoipa::path(post, path = "/v1/destructions/preview", tag = "destructions",
    request_body = DestructionPreviewRequestBody,
    responses((status = 200, body = DestructionPreviewBody), (status = 400), (status = 403),
        (status = 404)))]
async fn preview(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<DestructionPreviewRequestBody>,
) -> Answer<axum::Json<DestructionPreviewBody>> {
    let input = DestructionInput { scope: body.scope.parse()?, attributes: body.attributes };
    Ok(axum::Json(api.app.preview_destruction(&context, &input).await?.into()))
}

/// Destroys readings for ever, as a preview has shown them. It goes on in the background.
#[utoipa::path(post, path = "/v1/destructions", tag = "destructions",
    request_body = DestructionRequestBody,
    responses((status = 202, body = MadeBody), (status = 400), (status = 403), (status = 404),
        (status = 409)))]
async fn request(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<DestructionRequestBody>,
) -> Answer<impl IntoResponse> {
    let input = DestructionInput { scope: body.scope.parse()?, attributes: body.attributes };
    let said = (body.reason.as_str(), body.confirm.as_str());
    let id = api.app.request_destruction(&context, &input, said).await?.to_string();
    Ok((StatusCode::ACCEPTED, axum::Json(MadeBody { id })))
}

/// One destruction.
#[utoipa::path(get, path = "/v1/destructions/{id}", tag = "destructions",
    params(("id" = String, Path)),
    responses((status = 200, body = DestructionBody), (status = 403), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<DestructionBody>> {
    Ok(axum::Json(api.app.destruction(&context, body::id(&id)?).await?.into()))
}

/// The certificate of a destruction, as a file: `veritwin purge --verify` checks it.
#[utoipa::path(get, path = "/v1/destructions/{id}/certificate", tag = "destructions",
    params(("id" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 403),
        (status = 404), (status = 409)))]
async fn certificate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let text = api.app.destruction_certificate(&context, body::id(&id)?).await?;
    let kind = HeaderValue::from_static("application/json");
    let name = HeaderValue::from_static("attachment; filename=\"destruction-certificate.json\"");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], text))
}

/// Series that are kept for less time than the others.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionRuleBody {
    /// Of devices of this profile; null: of every device.
    #[serde(default)]
    profile_id: Option<String>,
    /// Of keys that match, `*` standing for any characters; null: of every key.
    #[serde(default)]
    key: Option<String>,
    /// For so many days.
    days: u64,
}

/// How long readings are to be kept, within the plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionRequestBody {
    /// All readings; null: as long as the plan does.
    #[serde(default)]
    readings_days: Option<u64>,
    /// Hourly figures of readings that ended, from the readings' time; null: none are kept.
    #[serde(default)]
    figures_days: Option<u64>,
    /// At most 50.
    #[serde(default)]
    rules: Vec<RetentionRuleBody>,
}

/// How long readings are kept.
#[derive(Serialize, ToSchema)]
struct RetentionBody {
    /// What the plan keeps; null: without an end.
    plan_days: Option<u64>,
    readings_days: Option<u64>,
    figures_days: Option<u64>,
    rules: Vec<RetentionRuleBody>,
    /// Nothing is destroyed by the last change before this.
    not_before: Option<String>,
    version: u64,
}

impl From<RetentionView> for RetentionBody {
    fn from(view: RetentionView) -> Self {
        let rule = |rule: RetentionRule| RetentionRuleBody {
            profile_id: rule.profile.map(|id| id.to_string()),
            key: rule.key,
            days: rule.days,
        };
        Self {
            plan_days: view.plan_days,
            readings_days: view.kept.readings_days,
            figures_days: view.kept.figures_days,
            rules: view.kept.rules.into_iter().map(rule).collect(),
            not_before: view.not_before.map(body::time),
            version: view.version,
        }
    }
}

/// What is at its end.
#[derive(Serialize, ToSchema)]
struct RetentionEndBody {
    /// `plan`, `readings` or `rule`.
    by: &'static str,
    /// Which rule, from 0.
    rule: Option<usize>,
    /// Readings before this.
    before: String,
    /// At most so many.
    readings: u64,
    /// Sealed sections that wait because of a hold.
    held_sections: u64,
}

impl From<RetentionEnd> for RetentionEndBody {
    fn from(end: RetentionEnd) -> Self {
        let before = body::time(end.before);
        let RetentionEnd { by, rule, readings, held_sections, .. } = end;
        Self { by, rule, before, readings, held_sections }
    }
}

/// How long readings are kept.
#[utoipa::path(get, path = "/v1/retention", tag = "destructions",
    responses((status = 200, body = RetentionBody), (status = 403)))]
async fn retention(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<RetentionBody>> {
    Ok(axum::Json(api.app.retention(&context).await?.into()))
}

/// Changes how long readings are kept. `If-Match` carries the version that was read, 0 when nothing
/// was set; a week passes before anything is destroyed by it.
#[utoipa::path(put, path = "/v1/retention", tag = "destructions",
    request_body = RetentionRequestBody,
    responses((status = 200, body = RetentionBody), (status = 400), (status = 403),
        (status = 412)))]
async fn change_retention(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(body): Json<RetentionRequestBody>,
) -> Answer<axum::Json<RetentionBody>> {
    let version = body::if_match(&headers)?.unwrap_or(0);
    let rule = |rule: RetentionRuleBody| {
        let profile = body::maybe_id_at("rules.profile_id", rule.profile_id.as_deref())?;
        Ok::<_, Problem>(RetentionRule { profile, key: rule.key, days: rule.days })
    };
    let input = RetentionInput {
        readings_days: body.readings_days,
        figures_days: body.figures_days,
        rules: body.rules.into_iter().map(rule).collect::<Result<_, _>>()?,
    };
    let version = u64::try_from(version).unwrap_or(0);
    Ok(axum::Json(api.app.change_retention(&context, (&input, version)).await?.into()))
}

/// What is at its end now, by the plan and by what was set. Nothing is destroyed.
#[utoipa::path(get, path = "/v1/retention/ends", tag = "destructions",
    responses((status = 200, body = ListBody<RetentionEndBody>), (status = 403)))]
async fn ends(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<RetentionEndBody>>> {
    let ends = api.app.retention_ends(&context).await?;
    Ok(axum::Json(ListBody::whole(ends.into_iter().map(RetentionEndBody::from).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months() {
        let check =
            |text: &str, expect: Option<i64>| assert_eq!(parse_month(text), expect, "{text}");
        check("1970-01", Some(0));
        check("2026-10", Some(681));
        check("2026-13", None);
        check("2026-1", None);
        check("26-10", None);
        check("2026", None);
        assert_eq!(month_text(681), "2026-10");
    }
}

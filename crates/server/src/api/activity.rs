//! The activity record: list with filters and search, and export as CSV or JSON.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ActivityQuery, ActivityView, PageRequest};
use veritwin_domain::RequestId;

use super::auth::Caller;
use super::body::{self, ListBody, Query};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
}

/// Who did what, from where.
#[derive(Serialize, ToSchema)]
struct ActivityBody {
    id: String,
    at: String,
    /// A person's name or address, an API key's name, a device, a job, or support.
    actor: String,
    /// Of somebody from above the tenant, who is no member: the partner or platform they belong to.
    actor_of: Option<String>,
    /// Of support, the grant's.
    actor_id: Option<String>,
    action: String,
    resource: String,
    #[schema(schema_with = words::outcome)]
    outcome: String,
    request_id: String,
    /// The address it came from.
    address: Option<String>,
    /// Kind of browser or program.
    browser: Option<String>,
    /// Operating system and its major version.
    system: Option<String>,
    session_id: Option<String>,
    /// ISO 3166-1 alpha-2 code, where the operator supplies a location file. Nothing finer than
    /// the city is known.
    country: Option<String>,
    city: Option<String>,
    /// How often it was repeated within a minute; null for a single act.
    times: Option<u64>,
    /// What was before a change, without secrets.
    #[schema(value_type = Option<Object>)]
    before: Option<serde_json::Value>,
    /// What is after a change, without secrets.
    #[schema(value_type = Option<Object>)]
    after: Option<serde_json::Value>,
}

/// The bytes of an id of any kind, as the API spells it.
pub(super) fn any_id(bytes: [u8; 16]) -> String {
    RequestId::from_bytes(bytes).to_string()
}

/// Which records are wanted; everything given has to fit.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct ActivityParams {
    /// The id of an account, API key, device or support grant.
    actor: Option<String>,
    /// What the action begins with, such as `device.`.
    action: Option<String>,
    /// `done`, `denied`, `not_found` or `failed`.
    outcome: Option<String>,
    /// From this time on.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// A text that the record holds.
    q: Option<String>,
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
}

/// As the list's, with the form of the file.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct ExportParams {
    /// `csv` (the default) or `json`.
    format: Option<String>,
    /// The id of an account, API key, device or support grant.
    actor: Option<String>,
    /// What the action begins with, such as `device.`.
    action: Option<String>,
    /// `done`, `denied`, `not_found` or `failed`.
    outcome: Option<String>,
    /// From this time on.
    from: Option<String>,
    /// Before this time.
    to: Option<String>,
    /// A text that the record holds.
    q: Option<String>,
}

/// Bytes of an id of any kind in a query or body.
pub(super) fn parsed_id(field: &str, text: &str) -> Result<[u8; 16], Problem> {
    Ok(*body::id_at::<RequestId>(field, text)?.as_bytes())
}

impl ActivityParams {
    fn parse(self) -> Result<ActivityQuery, Problem> {
        let time = |field: &str, text: &Option<String>| {
            text.as_deref().map(|text| body::parse_time(field, text)).transpose()
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let actor = given(self.actor).map(|text| parsed_id("actor", &text)).transpose()?;
        Ok(ActivityQuery {
            actor,
            from: time("from", &given(self.from))?,
            to: time("to", &given(self.to))?,
            action: given(self.action),
            outcome: given(self.outcome),
            search: self.q,
            page: PageRequest { cursor: self.cursor, limit: self.limit },
        })
    }
}

fn convert(view: ActivityView) -> ActivityBody {
    ActivityBody {
        id: view.id.to_string(),
        at: body::time(view.at),
        actor: view.actor,
        actor_of: view.actor_of,
        actor_id: view.actor_id.map(any_id),
        action: view.action,
        resource: view.resource,
        outcome: view.outcome,
        request_id: view.request.to_string(),
        address: view.address,
        browser: view.browser,
        system: view.system,
        session_id: view.session,
        country: view.country,
        city: view.city,
        times: view.times,
        before: view.before,
        after: view.after,
    }
}

/// Lists the activity record, newest first. A search looks through 20,000 records at a time; the
/// cursor goes on behind them.
#[utoipa::path(get, path = "/v1/activity", tag = "activity", params(ActivityParams),
    responses((status = 200, body = ListBody<ActivityBody>), (status = 400), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(params): Query<ActivityParams>,
) -> Answer<axum::Json<ListBody<ActivityBody>>> {
    let page = api.app.list_activity(&context, &params.parse()?).await?;
    Ok(axum::Json(ListBody::of(page, convert)))
}

/// Takes the records away, at most 50,000 at a time; this is recorded itself.
#[utoipa::path(get, path = "/v1/activity/export", tag = "activity", params(ExportParams),
    responses((status = 200, body = Vec<ActivityBody>), (status = 400), (status = 403),
        (status = 413)))]
async fn export(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(params): Query<ExportParams>,
) -> Answer<Response> {
    let format = match params.format.as_deref() {
        None | Some("" | "csv") => "csv",
        Some("json") => "json",
        Some(_) => return Err(Problem::invalid("format must be csv or json").at("format")),
    };
    let query = ActivityParams {
        actor: params.actor,
        action: params.action,
        outcome: params.outcome,
        from: params.from,
        to: params.to,
        q: params.q,
        ..ActivityParams::default()
    };
    let rows = api.app.export_activity(&context, &query.parse()?, format).await?;
    let rows: Vec<ActivityBody> = rows.into_iter().map(convert).collect();
    let mut response = match format {
        "json" => axum::Json(rows).into_response(),
        _ => ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&rows)).into_response(),
    };
    let name = match format {
        "json" => HeaderValue::from_static("attachment; filename=\"activity.json\""),
        _ => HeaderValue::from_static("attachment; filename=\"activity.csv\""),
    };
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

const CSV_HEADER: &str = "at,actor,actor_id,action,resource,outcome,times,address,country,city,\
    browser,system,session_id,request_id,before,after\r\n";

/// RFC 4180.
fn csv(rows: &[ActivityBody]) -> String {
    let mut out = String::from(CSV_HEADER);
    for row in rows {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let json = |value: &Option<serde_json::Value>| {
            value.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        let fields = [
            row.at.clone(),
            row.actor.clone(),
            text(&row.actor_id),
            row.action.clone(),
            row.resource.clone(),
            row.outcome.clone(),
            row.times.map(|times| times.to_string()).unwrap_or_default(),
            text(&row.address),
            text(&row.country),
            text(&row.city),
            text(&row.browser),
            text(&row.system),
            text(&row.session_id),
            row.request_id.clone(),
            json(&row.before),
            json(&row.after),
        ];
        let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        // Writing to a string cannot fail.
        let _ = write!(out, "{}\r\n", fields.join(","));
    }
    out
}

/// A text that a spreadsheet would take for a formula gets an apostrophe.
pub(super) fn csv_field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_and_are_no_formulas() {
        let check = |text: &str, expect: &str| assert_eq!(csv_field(text), expect);
        check("plain", "plain");
        check("a,b", "\"a,b\"");
        check("say \"x\"", "\"say \"\"x\"\"\"");
        check("=1+1", "'=1+1");
        check("-1,2", "\"'-1,2\"");
    }
}

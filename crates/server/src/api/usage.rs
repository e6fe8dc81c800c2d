//! What a tenant used, day by day, as JSON or CSV; and what each tenant below a partner used.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    DayUsageView, DaysRange, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, QuotaView, TenantUsageView,
    UsageCounts, UsageLevels,
};
use veritwin_domain::TenantId;

use super::auth::Caller;
use super::body::{ListBody, Query};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(usage)).routes(routes!(usage_below))
}

/// Which days.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct UsageParams {
    /// The first day, such as `2026-01-31` (UTC); 29 days before `to` when absent.
    from: Option<String>,
    /// The last day; today when absent.
    to: Option<String>,
    /// `json` (the default) or `csv`.
    format: Option<String>,
}

/// Which days, and which page of tenants.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct UsageBelowParams {
    /// The first day, such as `2026-01-31` (UTC); 29 days before `to` when absent.
    from: Option<String>,
    /// The last day; today when absent.
    to: Option<String>,
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
}

/// What was used. What there was is null where it was not looked at.
#[derive(Serialize, ToSchema)]
struct UsedBody {
    /// Readings.
    points: u64,
    /// Messages of devices and programs.
    messages: u64,
    /// Bytes of them: 16 for a reading or attribute and the bytes of its text; of other messages
    /// topic and content.
    bytes_in: u64,
    /// Bytes of the answers to people and programs.
    bytes_out: u64,
    /// Questions about readings.
    queries: u64,
    /// Requests of people and programs.
    requests: u64,
    /// Bytes of readings, twins and packages at the end of the time.
    stored_bytes: Option<u64>,
    devices: Option<u64>,
    series: Option<u64>,
}

/// A day.
#[derive(Serialize, ToSchema)]
struct DayBody {
    /// UTC.
    day: String,
    #[serde(flatten)]
    used: UsedBody,
}

/// How much of a limit of the plan is used.
#[derive(Serialize, ToSchema)]
struct QuotaBody {
    /// The limit's name, as in a refusal.
    name: &'static str,
    used: u64,
    max: u64,
}

/// What a tenant used.
#[derive(Serialize, ToSchema)]
struct UsageReportBody {
    /// Days with anything, in their order.
    days: Vec<DayBody>,
    /// Now.
    quotas: Vec<QuotaBody>,
    /// From this part of a limit on its people are warned, in percent.
    warned_percent: u64,
}

/// What a tenant below used in all of the days.
#[derive(Serialize, ToSchema)]
struct TenantUsageBody {
    tenant_id: String,
    name: String,
    #[serde(flatten)]
    used: UsedBody,
    quotas: Vec<QuotaBody>,
}

fn used(counts: UsageCounts, levels: Option<UsageLevels>) -> UsedBody {
    UsedBody {
        points: counts.points,
        messages: counts.messages,
        bytes_in: counts.bytes_in,
        bytes_out: counts.bytes_out,
        queries: counts.queries,
        requests: counts.requests,
        stored_bytes: levels.map(|levels| levels.stored_bytes),
        devices: levels.map(|levels| levels.devices),
        series: levels.map(|levels| levels.series),
    }
}

fn quotas(views: Vec<QuotaView>) -> Vec<QuotaBody> {
    let body = |view: QuotaView| QuotaBody { name: view.name, used: view.used, max: view.max };
    views.into_iter().map(body).collect()
}

fn day(view: DayUsageView) -> DayBody {
    DayBody { day: view.day, used: used(view.counts, view.levels) }
}

fn tenant(view: TenantUsageView) -> TenantUsageBody {
    TenantUsageBody {
        tenant_id: view.id.to_string(),
        name: view.name,
        used: used(view.counts, view.levels),
        quotas: quotas(view.quotas),
    }
}

/// What the caller's tenant used, day by day, and how near the limits of its plan it is. Days are
/// kept for 800 days.
#[utoipa::path(get, path = "/v1/usage", tag = "tenants", params(UsageParams),
    responses((status = 200, body = UsageReportBody, description = "or `text/csv`"),
        (status = 400)))]
async fn usage(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(params): Query<UsageParams>,
) -> Answer<Response> {
    let is_csv = match params.format.as_deref() {
        None | Some("" | "json") => false,
        Some("csv") => true,
        Some(_) => return Err(Problem::invalid("format must be csv or json").at("format")),
    };
    let range = DaysRange::parse(params.from.as_deref(), params.to.as_deref(), context.at)?;
    let report = api.app.usage(&context, range).await?;
    let days: Vec<DayBody> = report.days.into_iter().map(day).collect();
    if !is_csv {
        let warned_percent = veritwin_app::QUOTA_WARNED_PERCENT;
        let quotas = quotas(report.quotas);
        return Ok(axum::Json(UsageReportBody { days, quotas, warned_percent }).into_response());
    }
    let mut response =
        ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&days)).into_response();
    let name = HeaderValue::from_static("attachment; filename=\"usage.csv\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

const CSV_HEADER: &str =
    "day,points,messages,bytes_in,bytes_out,queries,requests,stored_bytes,devices,series\r\n";

/// RFC 4180: numbers and days need no quotes.
fn csv(days: &[DayBody]) -> String {
    let mut out = String::from(CSV_HEADER);
    for DayBody { day, used } in days {
        let level = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{day},{},{},{},{},{},{},{},{},{}\r\n",
            used.points,
            used.messages,
            used.bytes_in,
            used.bytes_out,
            used.queries,
            used.requests,
            level(used.stored_bytes),
            level(used.devices),
            level(used.series),
        );
    }
    out
}

/// What each tenant directly below the caller's used in all of the days, oldest tenant first.
#[utoipa::path(get, path = "/v1/usage/below", tag = "tenants", params(UsageBelowParams),
    responses((status = 200, body = ListBody<TenantUsageBody>), (status = 400), (status = 403)))]
async fn usage_below(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(params): Query<UsageBelowParams>,
) -> Answer<axum::Json<ListBody<TenantUsageBody>>> {
    let range = DaysRange::parse(params.from.as_deref(), params.to.as_deref(), context.at)?;
    let wrong = || Problem::invalid("not a cursor of this list").at("cursor");
    let after: Option<TenantId> =
        params.cursor.as_deref().map(|text| text.parse().map_err(|_| wrong())).transpose()?;
    let rows = params.limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX);
    let mut found = api.app.usage_below(&context, range, (after, rows + 1)).await?;
    let has_more = found.len() > rows;
    found.truncate(rows);
    let last = found.last().map(|one| one.id.to_string());
    let items = found.into_iter().map(tenant).collect();
    Ok(axum::Json(ListBody { items, next_cursor: last.filter(|_| has_more) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_line() {
        let counts = UsageCounts { points: 3, messages: 2, ..UsageCounts::default() };
        let levels = Some(UsageLevels { stored_bytes: 9, devices: 1, series: 4 });
        let of = |day: &str, levels| DayBody { day: day.to_owned(), used: used(counts, levels) };
        let text = csv(&[of("2026-01-01", None), of("2026-01-02", levels)]);
        let lines: Vec<&str> = text.split("\r\n").skip(1).collect();
        assert_eq!(lines, ["2026-01-01,3,2,0,0,0,0,,,", "2026-01-02,3,2,0,0,0,0,9,1,4", ""]);
    }
}

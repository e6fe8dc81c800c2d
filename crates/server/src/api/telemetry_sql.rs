//! SQL over readings: one statement, in a build that has it. A build without it says so, to whoever
//! may read readings, and is otherwise the same.

use axum::extract::State;
use axum::http::HeaderMap;
#[cfg(not(feature = "sql"))]
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::TableReader;
use veritwin_domain::OpContext;

use super::auth::{Again, Caller};
use super::body::Json;
use super::live::SqlSeats;
#[cfg(feature = "sql")]
use super::telemetry_sql_run::answer;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(sql))
}

/// In which form a statement is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormatWord {
    /// Columns with their types, and an object a row.
    #[default]
    Json,
    /// A line of names, and a line a row.
    Csv,
    /// An Arrow stream.
    Arrow,
}

impl FormatWord {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// A statement.
#[derive(Deserialize, ToSchema)]
struct SqlBody {
    /// One `SELECT`, at most 16 KiB.
    query: String,
    /// `json` when not given.
    #[serde(default)]
    format: FormatWord,
}

/// A column of an answer.
#[derive(Serialize, Deserialize, ToSchema)]
struct SqlColumn {
    /// Its name.
    name: String,
    /// `text`, `double`, `integer`, `boolean`, `time`, `interval`, `null` or `other`.
    #[serde(rename = "type")]
    kind: String,
}

/// An answer, as JSON. It is streamed.
#[derive(Serialize, Deserialize, ToSchema)]
struct SqlAnswer {
    /// The columns, in their order.
    columns: Vec<SqlColumn>,
    /// The rows: objects with a member for each column.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<serde_json::Value>,
}

/// A statement that somebody asks, and what it takes.
pub(super) struct Question {
    pub(super) api: Api,
    pub(super) context: OpContext,
    pub(super) again: Again,
    pub(super) reader: TableReader,
    pub(super) statement: String,
    pub(super) format: FormatWord,
    pub(super) seats: SqlSeats,
}

/// One `SELECT` over the tables `readings`, `latest` and `devices`, which hold what you may see.
/// Builds without SQL answer 501.
#[utoipa::path(post, path = "/v1/telemetry/sql", tag = "telemetry", request_body = SqlBody,
    responses((status = 200, body = SqlAnswer), (status = 400), (status = 403), (status = 413),
        (status = 429), (status = 501), (status = 503)))]
async fn sql(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(body): Json<SqlBody>,
) -> Answer<Response> {
    let reader = api.app.tables(&context)?;
    if body.query.trim().is_empty() {
        return Err(Problem::invalid("there is no statement: expected SELECT").at("query"));
    }
    let seats = api.live.statements().begin(context.tenant)?;
    let again = Again::of(&headers, &context)?;
    let SqlBody { query: statement, format } = body;
    answer(Question { api, context, again, reader, statement, format, seats }).await
}

/// Says that there is none, and what there is.
#[cfg(not(feature = "sql"))]
async fn answer(asked: Question) -> Answer<Response> {
    let Question { api, context, again, reader, statement, format, seats } = asked;
    tracing::debug!(
        tenant = %context.tenant,
        ?reader,
        bytes = statement.len(),
        form = format.content_type(),
        "SQL is asked of a build without it"
    );
    drop((api, again, seats));
    let (kind, title) = ("/problems/not-built", "Not in this build");
    let detail = "this platform was built without SQL: build it with \
                  `cargo build --release --package veritwin-server --features sql`, or ask with \
                  POST /v1/telemetry/query";
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, kind, title, detail))
}

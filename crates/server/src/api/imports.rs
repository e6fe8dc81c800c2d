//! Imports of readings with their own times: opened, sent in pieces, looked at, ended. See
//! `docs/guides/import-readings.md`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ImportInput, ImportRefusedRow, ImportView};
use veritwin_domain::OpContext;
use veritwin_ingest::bulk::{FileForm, PARQUET_HELD_BYTES_MAX};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path, Query};
use super::upload::{Received, Sender, Upload};
use super::{Answer, Api, Problem};
use crate::imports::{
    ImportPlan, PARQUET_PIECE_BYTES_MAX, SentPiece, TEXT_PIECE_BYTES_MAX, plan_of, preview,
    take_piece,
};

/// Rows that an answer shows of what was refused.
const REFUSED_ROWS_MAX: u64 = 1_000;
/// What is held of a text while it is read, for each byte of it: a row may be of nothing but
/// delimiters.
const TEXT_WORK_FACTOR: usize = 8;
/// Rows that a preview shows.
const PREVIEW_ROWS: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, open))
        .routes(routes!(get, cancel))
        .routes(routes!(refused))
}

/// The routes that take large bodies and bound them themselves.
pub(super) fn upload_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(send)).routes(routes!(look))
}

/// A new import.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct NewImport {
    /// What the file is called.
    name: String,
    /// What tells this file from others, such as its SHA-256: opened again with the same one and
    /// the same plan, the import goes on where it is.
    digest: String,
    plan: ImportPlan,
}

/// How an import stands.
#[derive(Serialize, ToSchema)]
struct ImportBody {
    id: String,
    name: String,
    plan: ImportPlan,
    /// `open`, `done` or `cancelled`.
    state: &'static str,
    /// The number of the piece that is next, from 0.
    next_piece: u64,
    /// Rows of that piece that were taken already: it is sent again, whole.
    rows_taken: u64,
    /// Rows that were looked at.
    rows: u64,
    /// Readings that were stored.
    readings: u64,
    /// Rows that were refused.
    refused: u64,
    created_at: String,
    updated_at: String,
    ended_at: Option<String>,
}

fn convert(view: ImportView) -> Answer<ImportBody> {
    let plan = plan_of(&view)?;
    Ok(ImportBody {
        id: view.id.to_string(),
        name: view.name,
        plan,
        state: view.state,
        next_piece: view.piece,
        rows_taken: view.rows_taken,
        rows: view.rows,
        readings: view.readings,
        refused: view.refused,
        created_at: body::time(view.created_at),
        updated_at: body::time(view.updated_at),
        ended_at: view.ended_at.map(body::time),
    })
}

/// Lists imports, newest first: all of the tenant, or your own where you write for a part of it.
#[utoipa::path(get, path = "/v1/imports", tag = "imports",
    responses((status = 200, body = ListBody<ImportBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<ImportBody>>> {
    let views = api.app.imports(&context).await?;
    let items = views.into_iter().map(convert).collect::<Answer<Vec<_>>>()?;
    Ok(axum::Json(ListBody::whole(items)))
}

/// Opens an import. The same file with the same plan again is the same import: 200, and it goes on
/// where it is.
#[utoipa::path(post, path = "/v1/imports", tag = "imports",
    request_body = NewImport,
    responses((status = 201, body = ImportBody), (status = 200, body = ImportBody),
        (status = 400), (status = 413)))]
async fn open(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<NewImport>,
) -> Answer<impl IntoResponse> {
    api.app.may_import(&context)?;
    body.plan.mapping()?;
    let plan = serde_json::to_string(&body.plan).map_err(|_| Problem::broken())?;
    let input = ImportInput { name: body.name, digest: body.digest, plan };
    let (view, is_new) = api.app.open_import(&context, input).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(convert(view)?)))
}

/// How an import stands.
#[utoipa::path(get, path = "/v1/imports/{id}", tag = "imports",
    params(("id" = String, Path)),
    responses((status = 200, body = ImportBody), (status = 404)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ImportBody>> {
    let view = api.app.import(&context, body::id(&id)?).await?;
    Ok(axum::Json(convert(view)?))
}

/// Ends an import. What it stored stays; opened again it goes on.
#[utoipa::path(delete, path = "/v1/imports/{id}", tag = "imports",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn cancel(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.cancel_import(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A piece, with room for it and for what is held of it while it is read.
async fn receive(
    api: &Api,
    context: &OpContext,
    (upload, format): (Upload, &str),
) -> Answer<Received> {
    let is_parquet = format == FileForm::Parquet.as_str();
    let bytes_max = if is_parquet { PARQUET_PIECE_BYTES_MAX } else { TEXT_PIECE_BYTES_MAX };
    let sender = Sender { tenant: context.tenant, branch: api.app.branch_of(context.tenant) };
    let mut received = upload.receive(&api.uploads, sender, bytes_max).await?;
    let held = received.bytes.len().saturating_mul(TEXT_WORK_FACTOR);
    received.hold_more(if is_parquet { PARQUET_HELD_BYTES_MAX } else { held }).await?;
    Ok(received)
}

/// Which piece it is.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct PieceQuery {
    /// Its number, from 0; `next_piece` of the import.
    number: u64,
    /// Whether the file ends with it.
    last: bool,
}

/// Sends the next piece of a file: whole lines, at most 8 MiB of them, the header in the first
/// one; or a whole Parquet file of at most 64 MiB. Where `next_piece` of the answer is still this
/// number, the piece is sent again and goes on from `rows_taken`. A piece that was taken before
/// changes nothing.
#[utoipa::path(put, path = "/v1/imports/{id}/piece", tag = "imports",
    params(("id" = String, Path), PieceQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ImportBody), (status = 400), (status = 404), (status = 409),
        (status = 413), (status = 429)))]
async fn send(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Query(query): Query<PieceQuery>,
    upload: Upload,
) -> Answer<axum::Json<ImportBody>> {
    let id = body::id(&id)?;
    let view = api.app.import(&context, id).await?;
    let received = receive(&api, &context, (upload, &plan_of(&view)?.format)).await?;
    let (number, is_last) = (query.number, query.last);
    let piece = SentPiece { number, body: received.bytes.clone(), is_last };
    let view = take_piece(&api.app, api.live.limits(), &context, (id, piece)).await?;
    Ok(axum::Json(convert(view)?))
}

/// A row that was refused.
#[derive(Serialize, ToSchema)]
struct RefusedBody {
    /// The line of the file, or the row of a Parquet file, from 1.
    row: u64,
    /// The column, from 1; 0 is none.
    column: u64,
    /// What is wrong and what would be right.
    detail: String,
}

impl From<ImportRefusedRow> for RefusedBody {
    fn from(row: ImportRefusedRow) -> Self {
        let ImportRefusedRow { row, column, detail } = row;
        Self { row, column, detail }
    }
}

/// Behind which row the list goes on.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct RefusedQuery {
    /// As given by the answer before.
    cursor: Option<u64>,
}

/// Lists the rows that an import refused, in their order, the first 10,000 of them.
#[utoipa::path(get, path = "/v1/imports/{id}/refused", tag = "imports",
    params(("id" = String, Path), RefusedQuery),
    responses((status = 200, body = ListBody<RefusedBody>), (status = 404)))]
async fn refused(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Query(query): Query<RefusedQuery>,
) -> Answer<axum::Json<ListBody<RefusedBody>>> {
    let asked = (query.cursor.unwrap_or_default(), REFUSED_ROWS_MAX);
    let rows = api.app.import_refused(&context, body::id(&id)?, asked).await?;
    let next_cursor = (rows.len() as u64 == REFUSED_ROWS_MAX)
        .then(|| rows.last().map(|row| row.row.to_string()))
        .flatten();
    let items = rows.into_iter().map(RefusedBody::from).collect();
    Ok(axum::Json(ListBody { items, next_cursor }))
}

/// How the beginning of a file is to be read.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct PreviewQuery {
    /// A plan as JSON. Without `time_column` only the columns of a table are answered.
    plan: String,
}

/// A reading as it would be stored.
#[derive(Serialize, ToSchema)]
struct PreviewReading {
    device: String,
    /// Whether there is such a device that you may write for.
    device_known: bool,
    key: String,
    at: String,
    value: serde_json::Value,
    quality: &'static str,
}

/// What a plan makes of the beginning of a file.
#[derive(Serialize, ToSchema)]
struct PreviewBody {
    columns: Vec<String>,
    readings: Vec<PreviewReading>,
    refused: Vec<RefusedBody>,
}

/// Shows what a plan makes of the beginning of a file, or of a whole Parquet file, and stores
/// nothing.
#[utoipa::path(post, path = "/v1/imports/preview", tag = "imports", params(PreviewQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = PreviewBody), (status = 400), (status = 413)))]
async fn look(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PreviewQuery>,
    upload: Upload,
) -> Answer<axum::Json<PreviewBody>> {
    api.app.may_import(&context)?;
    let plan: ImportPlan = serde_json::from_str(&query.plan)
        .map_err(|error| Problem::invalid(format!("not a plan: {error}")).at("plan"))?;
    let received = receive(&api, &context, (upload, &plan.format)).await?;
    let asked = (plan, received.bytes.clone());
    let found = preview(&api.app, api.live.limits(), &context, asked).await?;
    let mut readings = Vec::new();
    for (device, device_known) in found.step.devices.iter().zip(found.known) {
        let name = device.device.clone().unwrap_or_default();
        let room = PREVIEW_ROWS.saturating_sub(readings.len());
        readings.extend(device.readings.iter().take(room).map(|reading| PreviewReading {
            device: name.clone(),
            device_known,
            key: reading.key.to_string(),
            at: body::time(reading.at),
            value: body::value(&reading.value),
            quality: reading.quality.as_str(),
        }));
    }
    let refused = found.step.refused.into_iter().take(PREVIEW_ROWS);
    let refused =
        refused.map(|row| RefusedBody { row: row.row, column: row.column, detail: row.detail });
    let columns = found.columns;
    Ok(axum::Json(PreviewBody { columns, readings, refused: refused.collect() }))
}

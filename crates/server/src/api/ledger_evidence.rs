//! Searching what is sealed, and bundles of evidence to take away.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{EvidenceHit, EvidenceInput, EvidenceQuery, PageRequest, SealedReading};
use veritwin_domain::Key;

use super::auth::Caller;
use super::body::{self, Json, Query};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(search, take))
}

/// What is searched for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct SearchQuery {
    device_id: Option<String>,
    key: Option<String>,
    /// Event time, inside.
    from: Option<String>,
    /// Event time, inside.
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// What a bundle is to hold: what a search for a device finds, and further entries.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct NewEvidence {
    device_id: Option<String>,
    key: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Further entries of the ledger, without their records.
    entries: Vec<u64>,
}

fn query(
    device: Option<&str>,
    key: Option<&str>,
    (from, to): (Option<&str>, Option<&str>),
) -> Answer<EvidenceQuery> {
    let key =
        key.map(|key| Key::new(key).map_err(|error| Problem::invalid(error.to_string()).at("key")));
    Ok(EvidenceQuery {
        device: device.map(|device| body::id_at("device_id", device)).transpose()?,
        key: key.transpose()?,
        from: from.map(|at| body::parse_time("from", at)).transpose()?,
        to: to.map(|at| body::parse_time("to", at)).transpose()?,
    })
}

/// A reading of a sealed record.
#[derive(Serialize, ToSchema)]
struct SealedReadingBody {
    key: String,
    at: String,
    value: serde_json::Value,
    quality: String,
}

impl From<SealedReading> for SealedReadingBody {
    fn from(one: SealedReading) -> Self {
        let at = body::time(one.at);
        Self { key: one.key, at, value: one.value, quality: one.quality }
    }
}

/// A sealed record.
#[derive(Serialize, ToSchema)]
struct SealedRecordBody {
    /// The entry that holds its batch.
    entry: u64,
    /// Its number in the log.
    sequence: u64,
    /// `readings`, `attributes`, `session`, `refusal` or `relay`.
    kind: String,
    device_id: String,
    /// What the device is called now.
    device_name: Option<String>,
    /// Empty where no credential caused it.
    credential_id: String,
    received_at: String,
    sealed_at: String,
    readings: Vec<SealedReadingBody>,
}

impl From<EvidenceHit> for SealedRecordBody {
    fn from(hit: EvidenceHit) -> Self {
        Self {
            entry: hit.entry,
            sequence: hit.sequence,
            kind: hit.kind,
            device_id: hit.device,
            device_name: hit.device_name,
            credential_id: hit.credential,
            received_at: body::time(hit.received_at),
            sealed_at: body::time(hit.sealed_at),
            readings: hit.readings.into_iter().map(SealedReadingBody::from).collect(),
        }
    }
}

/// What a search found.
#[derive(Serialize, ToSchema)]
struct EvidencePageBody {
    /// Newest entries first; a page may be empty and go on.
    items: Vec<SealedRecordBody>,
    /// Batches of that time whose key was destroyed, or is not known here.
    destroyed: u64,
    next_cursor: Option<String>,
}

/// Searches the records that are sealed.
#[utoipa::path(get, path = "/v1/ledger/evidence", tag = "ledger", params(SearchQuery),
    responses((status = 200, body = EvidencePageBody), (status = 400), (status = 503)))]
async fn search(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(asked): Query<SearchQuery>,
) -> Answer<axum::Json<EvidencePageBody>> {
    let times = (asked.from.as_deref(), asked.to.as_deref());
    let query = query(asked.device_id.as_deref(), asked.key.as_deref(), times)?;
    let at = PageRequest { cursor: asked.cursor, limit: asked.limit };
    let page = api.app.search_evidence(&context, &query, &at).await?;
    Ok(axum::Json(EvidencePageBody {
        items: page.items.into_iter().map(SealedRecordBody::from).collect(),
        destroyed: page.destroyed,
        next_cursor: page.next_cursor,
    }))
}

/// A bundle of evidence: a zip file with the records, their proofs, the checkpoint, the key, and a
/// page that verifies all of it in a browser without any connection.
#[utoipa::path(post, path = "/v1/ledger/evidence", tag = "ledger", request_body = NewEvidence,
    responses((status = 200, content_type = "application/zip", body = String), (status = 400),
        (status = 404), (status = 503)))]
async fn take(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(asked): Json<NewEvidence>,
) -> Answer<Response> {
    let times = (asked.from.as_deref(), asked.to.as_deref());
    let query = query(asked.device_id.as_deref(), asked.key.as_deref(), times)?;
    let input = EvidenceInput { query, entries: asked.entries };
    let bundle = api.app.take_evidence(&context, input).await?;
    let named = format!("attachment; filename=\"{}\"", bundle.name);
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, named),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, bundle.bytes).into_response())
}

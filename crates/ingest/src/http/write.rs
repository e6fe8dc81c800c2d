//! `POST /v1/telemetry/write`: a bulk write by a device or an API key. It is stored whole or not
//! at all.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use veritwin_domain::{DeviceBatch, IngestLimits, Timestamp, count_readings};

use super::device::parameter;
use super::problem::Problem;
use super::{Api, AuthenticatedWriter, body};
use crate::arrivals::UNTIMED;
use crate::bulk::{self, BulkContext, DeviceRows, Format, Place, Precision};
use crate::model::{DeviceSession, SinkEntry, Writer};

pub(super) async fn write(
    State(api): State<Arc<Api>>,
    AuthenticatedWriter(writer): AuthenticatedWriter,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<serde_json::Value>, Problem> {
    let format = format(&headers, query.as_deref())?;
    let received = body::received(&headers, body, &api.parts.limits)?;
    let received_at = api.parts.clock.now();
    let one_device = matches!(writer, Writer::Device(_));

    let screening = api.parts.sink.screening();
    let parse = move |body: &[u8], limits: &IngestLimits| {
        let untimed_at = UNTIMED;
        let context = BulkContext { received_at, untimed_at, limits, one_device, screening };
        bulk::parse(format, body, context).map_err(Problem::from)
    };
    let rows = if format == Format::Arrow {
        body::read_apart(&headers, received, &api.parts.limits, parse).await?
    } else {
        body::read(&headers, received, &api.parts.limits, parse).await?
    };

    let messages = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    api.parts.sink.admit(writer.origin(), messages)?;
    let mut entries = entries(&api, &writer, (rows, format.place()), received_at).await?;
    let (mut devices, mut readings, mut counted) = (0usize, 0usize, 0u32);
    for entry in &entries {
        if let SinkEntry::Readings(batch) = entry {
            devices += 1;
            readings += batch.readings.len();
            counted = counted.saturating_add(count_readings(&batch.readings));
            api.parts.sink.inspect(writer.origin(), &batch.readings)?;
        }
    }
    api.parts.sink.admit_readings(writer.origin(), counted)?;
    api.parts.sink.arrivals().settle_all(&mut entries);
    if !entries.is_empty() {
        api.parts.sink.submit(writer.origin(), entries).await?;
    }
    Ok(Json(serde_json::json!({ "devices": devices, "readings": readings })))
}

fn format(headers: &HeaderMap, query: Option<&str>) -> Result<Format, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map_or("", str::trim);
    match kind.to_ascii_lowercase().as_str() {
        "" | "text/plain" => {
            let precision = match parameter(query, "precision") {
                None => Precision::default(),
                Some(text) => text
                    .parse()
                    .map_err(|detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail))?,
            };
            Ok(Format::LineProtocol(precision))
        }
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Format::NdJson),
        "application/senml+json" => Ok(Format::SenMl),
        "application/vnd.apache.arrow.stream" => Ok(Format::Arrow),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unknown Content-Type: expected text/plain (InfluxDB line protocol), \
             application/x-ndjson, application/senml+json or \
             application/vnd.apache.arrow.stream",
        )),
    }
}

async fn entries(
    api: &Api,
    writer: &Writer,
    (rows, place): (Vec<DeviceRows>, Place),
    received_at: Timestamp,
) -> Result<Vec<SinkEntry>, Problem> {
    let mut entries = Vec::with_capacity(rows.len());
    let sessions: Vec<Option<Arc<DeviceSession>>> = match writer {
        Writer::Device(session) => vec![Some(Arc::clone(session)); rows.len()],
        Writer::Tenant(session) => {
            let names = rows.iter().map(|rows| rows.device.clone().unwrap_or_default());
            let names = names.collect::<Vec<_>>();
            api.parts.login.devices_by_name(session, &names).await?
        }
    };
    let mut sessions = sessions.into_iter();
    for rows in rows {
        let Some(session) = sessions.next().flatten() else {
            let counted = if place == Place::Row { "row" } else { "line" };
            let detail = format!(
                "{counted} {}: unknown device: expected the name or id of a device of this tenant",
                rows.line
            );
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail).at(place, rows.line));
        };
        if rows.readings.is_empty() {
            continue;
        }
        entries.push(SinkEntry::Readings(DeviceBatch {
            tenant: session.tenant,
            device: session.device,
            credential: writer.origin().credential(),
            received_at,
            readings: rows.readings,
        }));
    }
    Ok(entries)
}

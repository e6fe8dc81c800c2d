//! Readings as a file: streamed as it is read, so that whoever receives it sets the pace.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ExportBegun, ExportPage, ExportQuery, ExportSeries};
use veritwin_app::{EXPORT_PAGE_POINTS_MAX, Error};
use veritwin_domain::{Key, OpContext, TenantId, Timestamp};
use veritwin_ingest::bulk::{ExportedRow, FileForm, FileWriter};

use super::auth::{Again, Caller};
use super::body::{self, Json};
use super::live::Seat;
use super::{Answer, Api, Problem};

/// Bytes that are gathered before they leave.
const PART_BYTES: usize = 64 * 1024;
/// Points of a series that are read first, and fewest; how many follow its texts say.
const PAGE_POINTS: usize = 500;
const PAGE_POINTS_MIN: usize = 16;
/// Whoever receives an export is asked for again after this, and before a page.
const ASKED_AGAIN: Duration = Duration::from_secs(5);
/// A page that has no room beside other queries is read again after this, so often in a row.
const CROWDED_WAIT: Duration = Duration::from_secs(1);
const CROWDED_WAITS_MAX: u32 = 60;
/// So many bytes of texts are much for a page.
const PAGE_TEXT_BYTES: usize = 1024 * 1024;

/// How many series stay because their people limited what is done with them.
const SERIES_RESTRICTED: &str = "veritwin-series-restricted";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(begin_tenant_export))
}

/// Which readings leave, and in which form.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct ExportBody {
    /// Devices; all that you may see when not given.
    device_ids: Option<Vec<String>>,
    /// Series of them; all when not given.
    keys: Option<Vec<String>>,
    /// RFC 3339, inclusive; since ever when not given.
    from: Option<String>,
    /// RFC 3339, exclusive; until ever when not given.
    to: Option<String>,
    /// `csv` (the default), `ndjson`, `line_protocol` (with microseconds) or `parquet`.
    format: Option<String>,
}

impl ExportBody {
    fn parse(&self) -> Result<(FileForm, ExportQuery), Problem> {
        let form = FileForm::parse(self.format.as_deref().unwrap_or("csv")).ok_or_else(|| {
            Problem::invalid("format must be csv, ndjson, line_protocol or parquet").at("format")
        })?;
        let devices = self.device_ids.as_ref().map(|ids| {
            ids.iter().map(|id| body::id_at("device_ids", id)).collect::<Result<Vec<_>, _>>()
        });
        let key = |text: &String| {
            Key::new(text).map_err(|error| Problem::invalid(error.to_string()).at("keys"))
        };
        let keys =
            self.keys.as_ref().map(|keys| keys.iter().map(key).collect::<Result<Vec<_>, _>>());
        let moment = |field: &str, text: &Option<String>, else_at: Timestamp| {
            text.as_deref().map_or(Ok(else_at), |text| body::parse_time(field, text))
        };
        let query = ExportQuery {
            devices: devices.transpose()?,
            keys: keys.transpose()?,
            from: moment("from", &self.from, Timestamp::MIN)?,
            to: moment("to", &self.to, Timestamp::MAX)?,
            format: form.as_str(),
        };
        Ok((form, query))
    }
}

/// An export under way.
struct Leaving {
    api: Api,
    again: Again,
    context: OpContext,
    /// When it was asked last who receives it.
    asked_at: Duration,
    series: std::vec::IntoIter<ExportSeries>,
    /// The series that is read, and from where.
    present: Option<(ExportSeries, Timestamp)>,
    range: (Timestamp, Timestamp),
    page_points: usize,
    /// None once the file is whole.
    writer: Option<FileWriter>,
    gathered: Vec<u8>,
    _seat: Seat<TenantId>,
}

fn failed(error: &Error) -> io::Error {
    tracing::warn!(%error, "an export ended early");
    io::Error::other("the export ended early")
}

/// Writes a page away from the threads that answer.
async fn write(
    mut writer: FileWriter,
    mut out: Vec<u8>,
    (series, page): (ExportSeries, ExportPage),
) -> io::Result<(FileWriter, Vec<u8>)> {
    let written = tokio::task::spawn_blocking(move || {
        let device_id = series.series.device.to_string();
        for point in &page.points {
            let row = ExportedRow {
                device_id: &device_id,
                device: &series.device,
                key: &series.series.key,
                at: point.at,
                value: &point.value,
                quality: point.quality,
            };
            writer.push(&row, &mut out)?;
        }
        Ok((writer, out))
    });
    written.await.map_err(io::Error::other)?
}

impl Leaving {
    /// Whoever has signed out since it began, or whose key was revoked, gets no more of it, and
    /// whose rights are others by now gets what those allow.
    async fn ask_again(&mut self) -> io::Result<()> {
        let now = self.api.clock().monotonic();
        if now.saturating_sub(self.asked_at) < ASKED_AGAIN {
            return Ok(());
        }
        let found = self.again.context(&self.api).await.map_err(|error| failed(&error))?;
        if found.tenant != self.context.tenant {
            return Err(failed(&Error::NotFound("tenant")));
        }
        (self.context, self.asked_at) = (found, now);
        Ok(())
    }

    /// A page of a series; none where nothing more of it may be seen.
    async fn page(
        &mut self,
        series: &ExportSeries,
        from: Timestamp,
    ) -> io::Result<Option<ExportPage>> {
        let (range, mut waited) = ((from, self.range.1), 0);
        loop {
            self.ask_again().await?;
            let (context, points) = (&self.context, self.page_points);
            match self.api.app.export_page(context, &series.series, range, points).await {
                Ok(page) => return Ok(Some(page)),
                // The device is gone by now, or what is declared of the series has changed.
                Err(Error::NotFound(_)) => return Ok(None),
                // More than a query may hold: texts are longer from here on.
                Err(Error::Invalid { .. }) if points > PAGE_POINTS_MIN => {
                    self.page_points = (points / 4).max(PAGE_POINTS_MIN);
                }
                // Other queries hold what there is for now.
                Err(Error::Crowded(_)) if waited < CROWDED_WAITS_MAX => {
                    waited += 1;
                    tokio::time::sleep(CROWDED_WAIT).await;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// The next part of the file; none once it is whole.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.gathered.len() < PART_BYTES {
            let Some(writer) = self.writer.take() else { break };
            if self.present.is_none() {
                self.present = self.series.next().map(|series| (series, self.range.0));
                self.page_points = PAGE_POINTS;
            }
            let Some((series, from)) = self.present.take() else {
                writer.end(&mut self.gathered)?;
                break;
            };
            let Some(page) = self.page(&series, from).await? else {
                self.writer = Some(writer);
                continue;
            };
            let bytes: usize = page.points.iter().map(|point| point.value.text_bytes()).sum();
            let points = self.page_points;
            self.page_points = match bytes {
                0..PAGE_TEXT_BYTES => (points * 2).min(EXPORT_PAGE_POINTS_MAX),
                _ => (points / 4).max(PAGE_POINTS_MIN),
            };
            self.present = page.next.map(|next| (series.clone(), next));
            let gathered = std::mem::take(&mut self.gathered);
            let (writer, gathered) = write(writer, gathered, (series, page)).await?;
            (self.writer, self.gathered) = (Some(writer), gathered);
        }
        let part = std::mem::take(&mut self.gathered);
        Ok((!part.is_empty()).then(|| Bytes::from(part)))
    }
}

/// Takes readings away as a file: all that you may see, or some devices, series and times of them.
/// The export is recorded, and counts as one where very much is taken away. Four at once. Series
/// of people who limited what is done with their data stay: the header `veritwin-series-restricted`
/// says how many.
#[utoipa::path(post, path = "/v1/telemetry/export", tag = "telemetry", request_body = ExportBody,
    responses((status = 200, content_type = "text/csv", body = String), (status = 400),
        (status = 403), (status = 404), (status = 429)))]
async fn export(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(body): Json<ExportBody>,
) -> Answer<Response> {
    let (form, query) = body.parse()?;
    let seat = api
        .live
        .begin_export(context.tenant)
        .map_err(|limit| Problem::too_many("Too many exports", &limit))?;
    let ExportBegun { series, restricted } = api.app.begin_export(&context, &query).await?;
    let mut gathered = Vec::new();
    let writer = Some(FileWriter::new(form, &mut gathered));
    let leaving = Leaving {
        asked_at: api.clock().monotonic(),
        api,
        again: Again::of(&headers, &context)?,
        context,
        series: series.into_iter(),
        present: None,
        range: (query.from, query.to),
        page_points: PAGE_POINTS,
        writer,
        gathered,
        _seat: seat,
    };
    let stream = futures::stream::unfold(Some(leaving), |leaving| async move {
        let mut leaving = leaving?;
        match leaving.next().await {
            Ok(Some(part)) => Some((Ok(part), Some(leaving))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = Body::from_stream(stream).into_response();
    let name = format!("attachment; filename=\"readings.{}\"", form.extension());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    headers.insert(SERIES_RESTRICTED, HeaderValue::from(restricted));
    Ok(response)
}

/// Says that everything of the tenant is about to be taken away, which is then recorded. `veritwin
/// export` asks this first and reads the lists after that; it takes the right to, and of a person a
/// proof of the last minutes.
#[utoipa::path(post, path = "/v1/tenant-exports", tag = "tenants",
    responses((status = 204), (status = 403)))]
async fn begin_tenant_export(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<StatusCode> {
    api.app.begin_tenant_export(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Public zones: devices whose readings are kept as numbers of groups only; and details that people
//! give of their own will.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    BUDGET_SQUARES_PER_YEAR, Measure, MeasureKind, OptInDetails, OptInInput, OptInView, ZoneConfig,
    ZoneInput, ZoneView,
};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(replace, end))
        .routes(routes!(list_opt_ins, opt_in))
        .routes(routes!(withdraw))
}

/// Something that is read of a zone's sources: an amount with `step` and `steps_max`, or a status
/// with `words`.
#[derive(Serialize, Deserialize, ToSchema)]
struct ZoneMeasureBody {
    /// The key of the readings.
    key: String,
    /// What it costs in a window, in thousandths of epsilon.
    epsilon_milli: u32,
    /// `amount` or `status`.
    kind: String,
    /// How large a step of an amount is.
    step: Option<f64>,
    /// Most steps of a source in a window.
    steps_max: Option<u32>,
    /// The words of a status.
    #[serde(default)]
    words: Vec<String>,
}

impl ZoneMeasureBody {
    fn parse(self, at: usize) -> Result<Measure, Problem> {
        let wrong = |field: &str, text: &str| {
            Problem::invalid(text.to_owned()).at(format!("measures.{at}.{field}"))
        };
        let kind = match (self.kind.as_str(), self.step, self.steps_max) {
            ("amount", Some(step), Some(steps_max)) => MeasureKind::Amount { step, steps_max },
            ("amount", ..) => return Err(wrong("step", "an amount needs step and steps_max")),
            ("status", ..) => MeasureKind::Status { words: self.words },
            _ => return Err(wrong("kind", "must be amount or status")),
        };
        Ok(Measure { key: self.key, epsilon_milli: self.epsilon_milli, kind })
    }
}

impl From<Measure> for ZoneMeasureBody {
    fn from(one: Measure) -> Self {
        let (kind, step, steps_max, words) = match one.kind {
            MeasureKind::Amount { step, steps_max } => {
                ("amount", Some(step), Some(steps_max), Vec::new())
            }
            MeasureKind::Status { words } => ("status", None, None, words),
        };
        let (key, epsilon_milli) = (one.key, one.epsilon_milli);
        Self { key, epsilon_milli, kind: kind.to_owned(), step, steps_max, words }
    }
}

/// How a public zone is to be.
#[derive(Deserialize, ToSchema)]
struct ZoneInputBody {
    name: String,
    /// How long a window is: 30 minutes or more, and a part of a day.
    window_minutes: u32,
    /// What may be spent on a UTC day, in thousandths of epsilon.
    budget_milli_per_day: u32,
    measures: Vec<ZoneMeasureBody>,
    /// The device that the numbers are readings of.
    output_device_id: String,
    /// Its sources.
    device_ids: Vec<String>,
}

impl ZoneInputBody {
    fn parse(self) -> Result<ZoneInput, Problem> {
        let measures = self.measures.into_iter().enumerate();
        let config = ZoneConfig {
            name: self.name,
            window_minutes: self.window_minutes,
            budget_milli_per_day: self.budget_milli_per_day,
            measures: measures.map(|(at, one)| one.parse(at)).collect::<Result<_, _>>()?,
        };
        let device = |text: &String| body::id_at("device_ids", text);
        Ok(ZoneInput {
            config,
            output: body::id_at("output_device_id", &self.output_device_id)?,
            devices: self.device_ids.iter().map(device).collect::<Result<_, _>>()?,
        })
    }
}

/// A public zone.
#[derive(Serialize, ToSchema)]
struct ZoneBody {
    id: String,
    name: String,
    window_minutes: u32,
    budget_milli_per_day: u32,
    /// The UTC day that `spent_milli` is of, in days since 1970.
    budget_day: i64,
    /// What of that day's budget is spent, in thousandths of epsilon.
    spent_milli: u32,
    /// What may be spent in 365 days: the sum of the squares of what each number costs, in squared
    /// thousandths of epsilon.
    year_budget_squares: u32,
    /// What of it is spent.
    year_spent_squares: u32,
    /// Up to when windows are let out, or said to be missing.
    settled_until: Option<String>,
    measures: Vec<ZoneMeasureBody>,
    output_device_id: String,
    device_ids: Vec<String>,
    is_in_force: bool,
    /// Whether what is signed is what counts. Not of a zone that was set when larger costs were
    /// permitted: the largest of now count, with more noise.
    is_as_signed: bool,
    /// What is signed about how it is set.
    statement: String,
    /// Who signed it: a public key, in hexadecimal.
    key: String,
    /// Ed25519 over the statement, in hexadecimal.
    signature: String,
    version: u64,
    created_at: String,
}

impl From<ZoneView> for ZoneBody {
    fn from(view: ZoneView) -> Self {
        let settled = view.book.settled_us.map(veritwin_domain::Timestamp::from_micros);
        Self {
            id: view.id.to_string(),
            name: view.config.name,
            window_minutes: view.config.window_minutes,
            budget_milli_per_day: view.config.budget_milli_per_day,
            budget_day: view.book.day,
            spent_milli: view.book.spent_milli,
            year_budget_squares: BUDGET_SQUARES_PER_YEAR,
            year_spent_squares: view.year_spent_squares,
            settled_until: settled.map(body::time),
            measures: view.config.measures.into_iter().map(ZoneMeasureBody::from).collect(),
            output_device_id: view.output.to_string(),
            device_ids: view.devices.iter().map(ToString::to_string).collect(),
            is_in_force: view.is_in_force,
            is_as_signed: view.is_as_signed,
            statement: view.statement,
            key: view.key,
            signature: view.signature,
            version: view.version,
            created_at: body::time(view.created_at),
        }
    }
}

/// Lists the public zones, newest first.
#[utoipa::path(get, path = "/v1/collection-zones", tag = "collection",
    responses((status = 200, body = ListBody<ZoneBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<ZoneBody>>> {
    let zones = api.app.list_zones(&context).await?;
    Ok(axum::Json(ListBody::whole(zones.into_iter().map(ZoneBody::from).collect())))
}

/// Sets a public zone. From then on nothing is kept of its devices but what it lets out.
#[utoipa::path(post, path = "/v1/collection-zones", tag = "collection",
    request_body = ZoneInputBody,
    responses((status = 201, body = ZoneBody), (status = 400), (status = 403), (status = 409)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<ZoneInputBody>,
) -> Answer<impl IntoResponse> {
    let zone = api.app.create_zone(&context, input.parse()?).await?;
    Ok((StatusCode::CREATED, axum::Json(ZoneBody::from(zone))))
}

/// Sets a zone anew. Its open window becomes a gap; a device that is a source stays one as long as
/// there is it.
#[utoipa::path(put, path = "/v1/collection-zones/{id}", tag = "collection",
    request_body = ZoneInputBody, params(("id" = String, Path)),
    responses((status = 200, body = ZoneBody), (status = 400), (status = 404), (status = 409)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(input): Json<ZoneInputBody>,
) -> Answer<axum::Json<ZoneBody>> {
    let zone = api.app.update_zone(&context, body::id(&id)?, input.parse()?).await?;
    Ok(axum::Json(ZoneBody::from(zone)))
}

/// Ends a zone whose devices are deleted. What it let out stays.
#[utoipa::path(delete, path = "/v1/collection-zones/{id}", tag = "collection",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn end(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.end_zone(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Details of a person; each is optional.
#[derive(Serialize, Deserialize, ToSchema)]
struct OptInDetailsBody {
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    address: Option<String>,
}

/// A person gives details. Nothing in it names a device.
#[derive(Deserialize, ToSchema)]
struct OptInInputBody {
    /// Has to be true: explicit consent.
    consent: bool,
    /// How the person said so: `in_writing`, `by_word` or `electronically`.
    how: String,
    /// The words that were agreed to, without a detail: they outlive the details.
    text: String,
    details: OptInDetailsBody,
}

/// Details that a person gave.
#[derive(Serialize, ToSchema)]
struct OptInBody {
    id: String,
    /// The random identity that is theirs from then on.
    identity: String,
    text: String,
    text_sha256: String,
    /// How the person said so; empty of those from before it was asked.
    how: String,
    /// Who wrote it down: the kind of actor and its id.
    recorded_by: String,
    agreed_at: String,
    /// When it was taken back: the details are gone then.
    withdrawn_at: Option<String>,
    /// The newest signed record (ISO/IEC TS 27560), as `veritwin consent-check` reads it.
    consent_record: Option<String>,
    details: OptInDetailsBody,
}

impl From<OptInView> for OptInBody {
    fn from(mut view: OptInView) -> Self {
        let OptInDetails { name, email, phone, address } = view.details;
        let consent_record = view.records.pop();
        Self {
            id: view.id.to_string(),
            identity: view.identity,
            text: view.text,
            text_sha256: view.text_sha256,
            how: view.how,
            recorded_by: view.recorded_by,
            agreed_at: body::time(view.agreed_at),
            withdrawn_at: view.withdrawn_at.map(body::time),
            consent_record,
            details: OptInDetailsBody { name, email, phone, address },
        }
    }
}

/// Lists the details that people gave, newest first, then what is left of those taken back.
#[utoipa::path(get, path = "/v1/opt-ins", tag = "collection",
    responses((status = 200, body = ListBody<OptInBody>), (status = 403)))]
async fn list_opt_ins(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<OptInBody>>> {
    let all = api.app.list_opt_ins(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(OptInBody::from).collect())))
}

/// Takes a person's details with their explicit consent, under a fresh random identity.
#[utoipa::path(post, path = "/v1/opt-ins", tag = "collection", request_body = OptInInputBody,
    responses((status = 201, body = OptInBody), (status = 400), (status = 403)))]
async fn opt_in(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<OptInInputBody>,
) -> Answer<impl IntoResponse> {
    let OptInDetailsBody { name, email, phone, address } = input.details;
    let details = OptInDetails { name, email, phone, address };
    let input = OptInInput { consent: input.consent, how: input.how, text: input.text, details };
    let view = api.app.opt_in(&context, input).await?;
    Ok((StatusCode::CREATED, axum::Json(OptInBody::from(view))))
}

/// Takes the consent back: the details are gone at once, the record that it was given stays.
#[utoipa::path(delete, path = "/v1/opt-ins/{id}", tag = "collection",
    params(("id" = String, Path)), responses((status = 204), (status = 403), (status = 404)))]
async fn withdraw(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.withdraw_opt_in(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

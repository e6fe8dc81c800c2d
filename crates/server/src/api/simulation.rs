//! A simulation of one device, for trying things out.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_simulator::single::Profile;

use super::auth::Caller;
use super::body::{self, Path, SecretJson, Secrets};
use super::{Answer, Api, Problem};
use crate::simulations::{Plan, View};

/// Longest time of a simulation, in minutes, and the usual one.
const MINUTES_MAX: u32 = 10;
const MINUTES_DEFAULT: u32 = 5;
/// How often the device sends at most, at least and usually, in seconds.
const INTERVAL_SECONDS_MIN: u32 = 1;
const INTERVAL_SECONDS_MAX: u32 = 60;
const INTERVAL_SECONDS_DEFAULT: u32 = 5;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(simulation, begin, end))
}

/// What to simulate.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct SimulationFields {
    /// `temperature` (the default), `co2`, `power_meter` or `door`.
    profile: Option<String>,
    /// Seconds between readings, 1 to 60; 5 when not given.
    interval_seconds: Option<u32>,
    /// For how long, at most 10; 5 when not given.
    minutes: Option<u32>,
}

impl Secrets for SimulationFields {
    const NAMES: &'static [&'static str] = &[];
}

impl SimulationFields {
    fn parsed(&self) -> Result<Plan, Problem> {
        let profile = self.profile.as_deref().unwrap_or("temperature");
        let profile = Profile::named(profile).ok_or_else(|| {
            Problem::invalid("expected temperature, co2, power_meter or door").at("profile")
        })?;
        let seconds = self.interval_seconds.unwrap_or(INTERVAL_SECONDS_DEFAULT);
        if !(INTERVAL_SECONDS_MIN..=INTERVAL_SECONDS_MAX).contains(&seconds) {
            let detail =
                format!("expected {INTERVAL_SECONDS_MIN} to {INTERVAL_SECONDS_MAX} seconds");
            return Err(Problem::invalid(detail).at("interval_seconds"));
        }
        let minutes = self.minutes.unwrap_or(MINUTES_DEFAULT);
        if !(1..=MINUTES_MAX).contains(&minutes) {
            let detail = format!("expected 1 to {MINUTES_MAX} minutes");
            return Err(Problem::invalid(detail).at("minutes"));
        }
        Ok(Plan {
            profile,
            interval: Duration::from_secs(seconds.into()),
            lasts: Duration::from_secs(60 * u64::from(minutes)),
        })
    }
}

/// A simulation that runs, or ran within the last day.
#[derive(Serialize, ToSchema)]
struct SimulationBody {
    running: bool,
    /// `temperature`, `co2`, `power_meter` or `door`.
    profile: &'static str,
    interval_seconds: u64,
    /// When it ends, or ended.
    ends_at: String,
    /// Messages that it sent, and those that were stored.
    published: u64,
    stored: u64,
    /// Why it ended before its time.
    failure: Option<String>,
}

impl From<View> for SimulationBody {
    fn from(view: View) -> Self {
        Self {
            running: view.is_running,
            profile: view.plan.profile.as_str(),
            interval_seconds: view.plan.interval.as_secs(),
            ends_at: body::time(view.ends_at),
            published: view.published,
            stored: view.stored,
            failure: view.failure,
        }
    }
}

/// The simulation of a device, if there is one.
#[derive(Serialize, ToSchema)]
struct SimulationAnswer {
    /// Null where none runs, and none ran within the last day.
    simulation: Option<SimulationBody>,
}

/// Reads whether a device is simulated.
#[utoipa::path(get, path = "/v1/devices/{id}/simulation", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 200, body = SimulationAnswer), (status = 404)))]
async fn simulation(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<SimulationAnswer>> {
    let id = body::id(&id)?;
    api.app.device(&context, id).await?;
    let simulation = api.simulations.of((context.tenant, id)).map(SimulationBody::from);
    Ok(axum::Json(SimulationAnswer { simulation }))
}

/// Simulates a device that is silent: a client with a credential of its own sends readings that are
/// made up, for a while.
#[utoipa::path(post, path = "/v1/devices/{id}/simulation", tag = "devices",
    params(("id" = String, Path)), request_body = SimulationFields,
    responses((status = 201, body = SimulationBody), (status = 400), (status = 404),
        (status = 409)))]
async fn begin(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    fields: Option<SecretJson<SimulationFields>>,
) -> Answer<(StatusCode, axum::Json<SimulationBody>)> {
    let plan = fields.map(|SecretJson(fields)| fields).unwrap_or_default().parsed()?;
    let view = api.simulations.begin(&context, body::id(&id)?, plan).await?;
    Ok((StatusCode::CREATED, axum::Json(view.into())))
}

/// Ends the simulation of a device, if one runs.
#[utoipa::path(delete, path = "/v1/devices/{id}/simulation", tag = "devices",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn end(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.simulations.end(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Claiming of devices: those that wait, those that were claimed, claiming one and giving it back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    ClaimInput, ClaimedDevice, ClaimsView, DeviceClaimView, MovedDevice, WaitingDevice,
};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, Path, SecretJson, Secrets};
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(claims, claim))
        .routes(routes!(settings))
        .routes(routes!(device_claim, give_back))
        .routes(routes!(take_back))
}

/// A device that waits to be claimed.
#[derive(Serialize, ToSchema)]
struct WaitingDeviceBody {
    device_id: String,
    name: String,
    opened_at: String,
    expires_at: String,
    /// Whether its name is enough to claim it.
    by_name_alone: bool,
}

impl From<WaitingDevice> for WaitingDeviceBody {
    fn from(one: WaitingDevice) -> Self {
        Self {
            device_id: one.device.to_string(),
            name: one.name,
            opened_at: body::time(one.opened_at),
            expires_at: body::time(one.expires_at),
            by_name_alone: one.by_name_alone,
        }
    }
}

/// A device that was claimed.
#[derive(Serialize, ToSchema)]
struct ClaimedDeviceBody {
    /// As it was here; what it sent before stays under this id.
    device_id: String,
    name: String,
    /// The organisation directly below that claimed it, or below which it was claimed.
    organisation: Option<String>,
    claimed_at: String,
}

impl From<ClaimedDevice> for ClaimedDeviceBody {
    fn from(one: ClaimedDevice) -> Self {
        Self {
            device_id: one.device.to_string(),
            name: one.name,
            organisation: one.organisation,
            claimed_at: body::time(one.claimed_at),
        }
    }
}

/// Devices that wait to be claimed, and devices that were.
#[derive(Serialize, ToSchema)]
struct DeviceClaimsBody {
    /// The first to wait no longer first, at most 500.
    waiting: Vec<WaitingDeviceBody>,
    /// The last first, at most 500.
    claimed: Vec<ClaimedDeviceBody>,
    /// Whether devices may be claimed by their names alone.
    by_name_alone: bool,
}

impl From<ClaimsView> for DeviceClaimsBody {
    fn from(view: ClaimsView) -> Self {
        Self {
            waiting: view.waiting.into_iter().map(WaitingDeviceBody::from).collect(),
            claimed: view.claimed.into_iter().map(ClaimedDeviceBody::from).collect(),
            by_name_alone: view.by_name_alone,
        }
    }
}

/// Lists the devices that wait to be claimed by an organisation below, and those that were.
#[utoipa::path(get, path = "/v1/device-claims", tag = "provisioning",
    responses((status = 200, body = DeviceClaimsBody), (status = 403)))]
async fn claims(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<DeviceClaimsBody>> {
    Ok(axum::Json(api.app.device_claims(&context).await?.into()))
}

/// A claim.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClaimFields {
    /// The device's name, as whoever prepared it calls it.
    name: String,
    /// The secret that the device told; without one its name has to be enough.
    secret: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Secrets for ClaimFields {
    const NAMES: &'static [&'static str] = &["secret"];
}

/// A device that is the caller's organisation's now.
#[derive(Serialize, ToSchema)]
struct ClaimedBody {
    device_id: String,
}

/// Claims a device that an organisation above prepared, while it waits to be claimed. It is a new
/// device here and comes in with the credentials it has. A name that nobody has and a wrong secret
/// are answered alike.
#[utoipa::path(post, path = "/v1/device-claims", tag = "provisioning",
    request_body = ClaimFields,
    responses((status = 201, body = ClaimedBody), (status = 400), (status = 403),
        (status = 404), (status = 409), (status = 429)))]
async fn claim(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<ClaimFields>,
) -> Answer<impl IntoResponse> {
    let input = ClaimInput {
        name: fields.name,
        secret: Secret::new(fields.secret.unwrap_or_default()),
        kind: fields.kind.unwrap_or_default(),
    };
    let MovedDevice { device, left } = api.app.claim_device(&context, input).await?;
    api.live.disconnect(left.0, left.1, None);
    Ok((StatusCode::CREATED, axum::Json(ClaimedBody { device_id: device.to_string() })))
}

/// How devices are claimed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClaimSettingsFields {
    /// Whether they may be claimed by their names alone, when they tell no secret.
    by_name_alone: bool,
}

/// Says whether devices may be claimed by their names alone. When they may not, those that wait
/// without a secret are not claimed.
#[utoipa::path(put, path = "/v1/device-claims/settings", tag = "provisioning",
    request_body = ClaimSettingsFields, responses((status = 204), (status = 403)))]
async fn settings(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<ClaimSettingsFields>,
) -> Answer<StatusCode> {
    api.app.set_claiming(&context, fields.by_name_alone).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a device is that can be claimed.
#[derive(Serialize, ToSchema)]
struct DeviceClaimBody {
    /// `none`: nobody claimed it. `away`: it was claimed from here. `here`: it was claimed, and is
    /// here. `given_back`: it was here, and was given back. `back`: it was away, and was given
    /// back.
    #[schema(schema_with = words::claim_state)]
    state: &'static str,
    moved_at: Option<String>,
    /// The organisation directly below that has it, or below which it is.
    organisation: Option<String>,
    /// Until when it waits to be claimed.
    waits_until: Option<String>,
}

impl From<DeviceClaimView> for DeviceClaimBody {
    fn from(view: DeviceClaimView) -> Self {
        Self {
            state: view.state.as_str(),
            moved_at: view.moved_at.map(body::time),
            organisation: view.organisation,
            waits_until: view.waits_until.map(body::time),
        }
    }
}

/// Says whether a device was claimed, and whether it waits to be.
#[utoipa::path(get, path = "/v1/devices/{id}/claim", tag = "provisioning",
    params(("id" = String, Path)),
    responses((status = 200, body = DeviceClaimBody), (status = 403), (status = 404)))]
async fn device_claim(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<DeviceClaimBody>> {
    Ok(axum::Json(api.app.device_claim(&context, body::id(&id)?).await?.into()))
}

/// Gives a device that was claimed back to the organisation that prepared it. It comes in there
/// with the credentials it has; what it sent here stays.
#[utoipa::path(delete, path = "/v1/devices/{id}/claim", tag = "provisioning",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn give_back(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let MovedDevice { left, .. } = api.app.return_device(&context, body::id(&id)?).await?;
    api.live.disconnect(left.0, left.1, None);
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a device back that an organisation below claimed. What it sent there stays there, and it
/// comes in nowhere until it is given credentials here. Both organisations' records say so.
#[utoipa::path(post, path = "/v1/devices/{id}/claim/take-back", tag = "provisioning",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn take_back(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let MovedDevice { left, .. } = api.app.take_back_device(&context, body::id(&id)?).await?;
    api.live.disconnect(left.0, left.1, None);
    Ok(StatusCode::NO_CONTENT)
}

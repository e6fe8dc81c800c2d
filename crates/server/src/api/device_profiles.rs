//! Profiles of devices: how their payloads are decoded, tried on samples, and gone back to.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    DecoderFault, DeviceProfileInput, DeviceProfileVersionView, DeviceProfileView, SamplePayload,
    SampleResult,
};
use veritwin_domain::OpContext;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(profiles, create))
        .routes(routes!(try_out))
        .routes(routes!(profile, update, delete))
        .routes(routes!(versions))
        .routes(routes!(restore))
        .routes(routes!(devices, assign))
        .routes(routes!(release))
}

/// A payload to try a decoder on.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
struct SamplePayloadBody {
    name: String,
    /// `hex`, `base64` or `text`.
    format: String,
    /// The payload in this format.
    data: String,
    /// The topic; that of telemetry if empty.
    topic: String,
    /// The readings that should come out, as JSON text: one object, or an array of them.
    expected: Option<String>,
}

impl From<SamplePayload> for SamplePayloadBody {
    fn from(sample: SamplePayload) -> Self {
        let SamplePayload { name, format, data, topic, expected } = sample;
        Self { name, format, data, topic, expected }
    }
}

impl From<SamplePayloadBody> for SamplePayload {
    fn from(sample: SamplePayloadBody) -> Self {
        let SamplePayloadBody { name, format, data, topic, expected } = sample;
        Self { name, format, data, topic, expected }
    }
}

/// What is set of a profile.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct DeviceProfileFields {
    name: String,
    description: String,
    /// Whether payloads are decoded by it; yes when not given.
    enabled: bool,
    /// The decoder: a script whose last expression is the readings.
    source: String,
    /// Filters of the topics it is for; that of telemetry when not given.
    topics: Vec<String>,
    /// Whether JSON, too, is decoded; no when not given.
    decodes_json: bool,
    /// The types whose devices have it, unless they have one of their own.
    device_types: Vec<String>,
    samples: Vec<SamplePayloadBody>,
}

impl Default for DeviceProfileFields {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            enabled: true,
            source: String::new(),
            topics: vec![veritwin_ingest::mqtt::TELEMETRY_TOPIC.to_owned()],
            decodes_json: false,
            device_types: Vec::new(),
            samples: Vec::new(),
        }
    }
}

impl From<DeviceProfileInput> for DeviceProfileFields {
    fn from(input: DeviceProfileInput) -> Self {
        Self {
            name: input.name,
            description: input.description,
            enabled: input.enabled,
            source: input.source,
            topics: input.topics,
            decodes_json: input.decodes_json,
            device_types: input.device_types,
            samples: input.samples.into_iter().map(SamplePayloadBody::from).collect(),
        }
    }
}

impl From<DeviceProfileFields> for DeviceProfileInput {
    fn from(fields: DeviceProfileFields) -> Self {
        Self {
            name: fields.name,
            description: fields.description,
            enabled: fields.enabled,
            source: fields.source,
            topics: fields.topics,
            decodes_json: fields.decodes_json,
            device_types: fields.device_types,
            samples: fields.samples.into_iter().map(SamplePayload::from).collect(),
        }
    }
}

/// A payload that a decoder refused.
#[derive(Serialize, ToSchema)]
struct DecoderRefusalBody {
    at: String,
    device_id: String,
    /// Why, without anything of the payload.
    detail: String,
}

/// A profile of devices.
#[derive(Serialize, ToSchema)]
struct DeviceProfileBody {
    id: String,
    version: i64,
    settings: DeviceProfileFields,
    /// How many devices have it as their own.
    devices: u64,
    /// Payloads that it decoded and refused since the platform started.
    decoded: u64,
    refused: u64,
    last_refusal: Option<DecoderRefusalBody>,
    created_at: String,
    updated_at: String,
}

impl From<DeviceProfileView> for DeviceProfileBody {
    fn from(view: DeviceProfileView) -> Self {
        let figures = view.figures;
        Self {
            id: view.id.to_string(),
            version: view.version,
            settings: view.input.into(),
            devices: view.devices,
            decoded: figures.decoded,
            refused: figures.refused,
            last_refusal: figures.last_refusal.map(|refusal| DecoderRefusalBody {
                at: body::time(refusal.at),
                device_id: refusal.device.to_string(),
                detail: refusal.detail,
            }),
            created_at: body::time(view.created_at),
            updated_at: body::time(view.updated_at),
        }
    }
}

/// Lists the profiles of devices, oldest first.
#[utoipa::path(get, path = "/v1/device-profiles", tag = "device profiles",
    responses((status = 200, body = ListBody<DeviceProfileBody>), (status = 403)))]
async fn profiles(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<DeviceProfileBody>>> {
    let all = api.app.device_profiles(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(DeviceProfileBody::from).collect())))
}

/// Makes a profile, if its decoder compiles. Devices of its types have it at once.
#[utoipa::path(post, path = "/v1/device-profiles", tag = "device profiles",
    request_body = DeviceProfileFields,
    responses((status = 201, body = DeviceProfileBody), (status = 400), (status = 403)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<DeviceProfileFields>,
) -> Answer<impl IntoResponse> {
    let view = api.app.create_device_profile(&context, fields.into()).await?;
    let etag = body::etag(view.version);
    Ok((StatusCode::CREATED, etag, axum::Json(DeviceProfileBody::from(view))))
}

/// Reads a profile.
#[utoipa::path(get, path = "/v1/device-profiles/{id}", tag = "device profiles",
    params(("id" = String, Path)),
    responses((status = 200, body = DeviceProfileBody), (status = 403), (status = 404)))]
async fn profile(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let view = api.app.device_profile(&context, body::id(&id)?).await?;
    Ok((body::etag(view.version), axum::Json(DeviceProfileBody::from(view))))
}

/// Replaces what is set of a profile, as a new version; the next payload of its devices is decoded
/// by it.
#[utoipa::path(put, path = "/v1/device-profiles/{id}", tag = "device profiles",
    params(("id" = String, Path)), request_body = DeviceProfileFields,
    responses((status = 200, body = DeviceProfileBody), (status = 400), (status = 404),
        (status = 409)))]
async fn update(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(fields): Json<DeviceProfileFields>,
) -> Answer<impl IntoResponse> {
    let (id, version) = (body::id(&id)?, body::if_match(&headers)?);
    let view = api.app.update_device_profile(&context, id, fields.into(), version).await?;
    Ok((body::etag(view.version), axum::Json(DeviceProfileBody::from(view))))
}

/// Deletes a profile with its versions. Payloads of its devices are decoded no longer.
#[utoipa::path(delete, path = "/v1/device-profiles/{id}", tag = "device profiles",
    params(("id" = String, Path)), responses((status = 204), (status = 403), (status = 404)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_device_profile(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a profile was.
#[derive(Serialize, ToSchema)]
struct DeviceProfileVersionBody {
    version: i64,
    /// Since when.
    at: String,
    /// Who made it so, as in activity records.
    by: String,
    settings: DeviceProfileFields,
}

impl From<DeviceProfileVersionView> for DeviceProfileVersionBody {
    fn from(view: DeviceProfileVersionView) -> Self {
        Self {
            version: view.version,
            at: body::time(view.at),
            by: view.by,
            settings: view.input.into(),
        }
    }
}

/// Lists the last 50 versions of a profile, newest first.
#[utoipa::path(get, path = "/v1/device-profiles/{id}/versions", tag = "device profiles",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<DeviceProfileVersionBody>), (status = 404)))]
async fn versions(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<DeviceProfileVersionBody>>> {
    let all = api.app.device_profile_versions(&context, body::id(&id)?).await?;
    let all = all.into_iter().map(DeviceProfileVersionBody::from).collect();
    Ok(axum::Json(ListBody::whole(all)))
}

/// Which version to go back to.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct RestoreFields {
    version: i64,
}

/// Goes back to what a profile was in a version. That is a new version, too.
#[utoipa::path(post, path = "/v1/device-profiles/{id}/restore", tag = "device profiles",
    params(("id" = String, Path)), request_body = RestoreFields,
    responses((status = 200, body = DeviceProfileBody), (status = 404), (status = 409)))]
async fn restore(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(fields): Json<RestoreFields>,
) -> Answer<impl IntoResponse> {
    let (id, if_version) = (body::id(&id)?, body::if_match(&headers)?);
    let view = api.app.restore_device_profile(&context, id, fields.version, if_version).await?;
    Ok((body::etag(view.version), axum::Json(DeviceProfileBody::from(view))))
}

/// Devices by their ids.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
struct ProfileDevicesBody {
    /// To give or take at most 1,000 at once.
    device_ids: Vec<String>,
}

/// Lists the devices that have a profile as their own.
#[utoipa::path(get, path = "/v1/device-profiles/{id}/devices", tag = "device profiles",
    params(("id" = String, Path)),
    responses((status = 200, body = ProfileDevicesBody), (status = 404)))]
async fn devices(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ProfileDevicesBody>> {
    let devices = api.app.device_profile_devices(&context, body::id(&id)?).await?;
    let device_ids = devices.iter().map(ToString::to_string).collect();
    Ok(axum::Json(ProfileDevicesBody { device_ids }))
}

/// Gives devices this profile as their own, in place of any other; all of them or none.
#[utoipa::path(post, path = "/v1/device-profiles/{id}/devices", tag = "device profiles",
    params(("id" = String, Path)), request_body = ProfileDevicesBody,
    responses((status = 204), (status = 400), (status = 404)))]
async fn assign(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<ProfileDevicesBody>,
) -> Answer<StatusCode> {
    change(&api, &context, &id, (body, true)).await
}

/// Takes this profile from devices: they have that of their type again, if it has one.
#[utoipa::path(post, path = "/v1/device-profiles/{id}/release", tag = "device profiles",
    params(("id" = String, Path)), request_body = ProfileDevicesBody,
    responses((status = 204), (status = 400), (status = 404)))]
async fn release(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<ProfileDevicesBody>,
) -> Answer<StatusCode> {
    change(&api, &context, &id, (body, false)).await
}

async fn change(
    api: &Api,
    context: &OpContext,
    id: &str,
    (body, has_it): (ProfileDevicesBody, bool),
) -> Answer<StatusCode> {
    let ids = body.device_ids.iter().map(|id| body::id_at("device_ids", id));
    let devices = ids.collect::<Result<Vec<_>, Problem>>()?;
    api.app.assign_device_profile(context, body::id(id)?, (&devices, has_it)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A decoder and what to try it on.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct DecoderTestFields {
    source: String,
    samples: Vec<SamplePayloadBody>,
}

/// What is wrong with a decoder, or with a payload for it.
#[derive(Serialize, ToSchema)]
struct DecoderFaultBody {
    /// `source`, `limit`, `run`, `result` or `sample`.
    kind: &'static str,
    line: Option<usize>,
    column: Option<usize>,
    detail: String,
    /// What the decoder threw.
    thrown: Option<String>,
}

impl From<DecoderFault> for DecoderFaultBody {
    fn from(fault: DecoderFault) -> Self {
        let DecoderFault { kind, line, column, detail, thrown } = fault;
        Self { kind, line, column, detail, thrown }
    }
}

/// What came of a sample: readings or a fault.
#[derive(Serialize, ToSchema)]
struct SampleResultBody {
    name: String,
    /// The readings, as JSON text.
    decoded: Option<String>,
    fault: Option<DecoderFaultBody>,
    /// Whether the readings are what should come out; null: nobody said what should.
    matches: Option<bool>,
}

impl From<SampleResult> for SampleResultBody {
    fn from(result: SampleResult) -> Self {
        let (decoded, fault) = match result.result {
            Ok(decoded) => (Some(decoded), None),
            Err(fault) => (None, Some(DecoderFaultBody::from(fault))),
        };
        Self { name: result.name, decoded, fault, matches: result.matches }
    }
}

/// Tries a decoder on samples; nothing is kept. Without samples it is tried on an empty payload.
#[utoipa::path(post, path = "/v1/device-profiles/test", tag = "device profiles",
    request_body = DecoderTestFields,
    responses((status = 200, body = ListBody<SampleResultBody>), (status = 400), (status = 403)))]
async fn try_out(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<DecoderTestFields>,
) -> Answer<axum::Json<ListBody<SampleResultBody>>> {
    let samples = fields.samples.into_iter().map(SamplePayload::from).collect();
    let results = api.app.try_decoder(&context, fields.source, samples).await?;
    let results = results.into_iter().map(SampleResultBody::from).collect();
    Ok(axum::Json(ListBody::whole(results)))
}

//! Firmware and software packages for devices: kept, listed, assigned. A device fetches its own
//! through the device API.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{PackageInput, PackageTargets, PackageView};
use veritwin_app::{PACKAGE_BYTES_MAX, Told};
use veritwin_domain::OpContext;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path, Query};
use super::upload::{Sender, Upload};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(delete))
        .routes(routes!(devices, assign))
        .routes(routes!(release))
}

/// The route that takes a large body and bounds it itself, with its list.
pub(super) fn upload_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, upload))
}

/// A package.
#[derive(Serialize, ToSchema)]
struct PackageBody {
    id: String,
    /// `firmware` or `software`.
    kind: &'static str,
    title: String,
    version: String,
    /// `sha256`, `sha384` or `sha512`.
    checksum_algorithm: String,
    /// In hexadecimal digits.
    checksum: String,
    bytes: u64,
    /// How many devices are to have it.
    devices: u64,
    created_at: String,
}

impl From<PackageView> for PackageBody {
    fn from(view: PackageView) -> Self {
        Self {
            id: view.id.to_string(),
            kind: view.kind,
            title: view.title,
            version: view.version,
            checksum_algorithm: view.checksum_algorithm,
            checksum: view.checksum,
            bytes: view.bytes,
            devices: view.devices,
            created_at: body::time(view.created_at),
        }
    }
}

/// Lists the packages, newest first.
#[utoipa::path(get, path = "/v1/packages", tag = "packages",
    responses((status = 200, body = ListBody<PackageBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<PackageBody>>> {
    let packages = api.app.packages(&context).await?;
    Ok(axum::Json(ListBody::whole(packages.into_iter().map(PackageBody::from).collect())))
}

/// What a package is.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
struct UploadQuery {
    /// `firmware` or `software`.
    kind: String,
    /// With the version unique among its kind.
    title: String,
    version: String,
    /// `sha256` (the default), `sha384` or `sha512`.
    checksum_algorithm: Option<String>,
    /// In hexadecimal digits; bytes with another one are refused.
    checksum: Option<String>,
}

/// Keeps a package of at most 256 MiB.
#[utoipa::path(post, path = "/v1/packages", tag = "packages", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = PackageBody), (status = 400), (status = 409), (status = 413)))]
async fn upload(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<UploadQuery>,
    upload: Upload,
) -> Answer<impl IntoResponse> {
    api.app.may_write_packages(&context)?;
    let sender = Sender { tenant: context.tenant, branch: api.app.branch_of(context.tenant) };
    let received = upload.receive(&api.uploads, sender, PACKAGE_BYTES_MAX).await?;
    let input = PackageInput {
        kind: query.kind,
        title: query.title,
        version: query.version,
        checksum_algorithm: query.checksum_algorithm.unwrap_or_else(|| "sha256".to_owned()),
        checksum: query.checksum,
    };
    let package = api.app.keep_package(&context, input, received.bytes.clone()).await?;
    Ok((StatusCode::CREATED, axum::Json(PackageBody::from(package))))
}

/// Deletes a package that no device is to have.
#[utoipa::path(delete, path = "/v1/packages/{id}", tag = "packages", params(("id" = String, Path)),
    responses((status = 204), (status = 404), (status = 409)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_package(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Devices by their ids.
#[derive(Serialize, ToSchema)]
struct PackageDevicesBody {
    /// At most 1,000.
    device_ids: Vec<String>,
}

/// Lists the devices that are to have a package, those that you may see.
#[utoipa::path(get, path = "/v1/packages/{id}/devices", tag = "packages",
    params(("id" = String, Path)),
    responses((status = 200, body = PackageDevicesBody), (status = 404)))]
async fn devices(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<PackageDevicesBody>> {
    let devices = api.app.package_devices(&context, body::id(&id)?).await?;
    let device_ids = devices.iter().map(ToString::to_string).collect();
    Ok(axum::Json(PackageDevicesBody { device_ids }))
}

/// Whom a package is for: devices, the devices that are in a group now, or both; at most 1,000.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct TargetsBody {
    device_ids: Vec<String>,
    group_id: Option<String>,
}

impl TargetsBody {
    fn targets(self) -> Result<PackageTargets, Problem> {
        let ids = self.device_ids.iter().map(|id| body::id_at("device_ids", id));
        Ok(PackageTargets {
            devices: ids.collect::<Result<_, _>>()?,
            group: self.group_id.map(|id| body::id_at("group_id", &id)).transpose()?,
        })
    }
}

/// How many devices something changed for.
#[derive(Serialize, ToSchema)]
struct AssignedBody {
    changed: usize,
}

/// Devices are to have this package: their shared attributes say so, and those that are connected
/// hear it at once. It is done for 50 at a time: after a failure, ask again.
#[utoipa::path(post, path = "/v1/packages/{id}/devices", tag = "packages",
    params(("id" = String, Path)), request_body = TargetsBody,
    responses((status = 200, body = AssignedBody), (status = 400), (status = 404)))]
async fn assign(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<TargetsBody>,
) -> Answer<axum::Json<AssignedBody>> {
    change(&api, &context, &id, body, true).await
}

/// Devices are to have this package no longer. What they have, they keep.
#[utoipa::path(post, path = "/v1/packages/{id}/release", tag = "packages",
    params(("id" = String, Path)), request_body = TargetsBody,
    responses((status = 200, body = AssignedBody), (status = 400), (status = 404)))]
async fn release(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<TargetsBody>,
) -> Answer<axum::Json<AssignedBody>> {
    change(&api, &context, &id, body, false).await
}

async fn change(
    api: &Api,
    context: &OpContext,
    id: &str,
    body: TargetsBody,
    is_assigned: bool,
) -> Answer<axum::Json<AssignedBody>> {
    let id = body::id(id)?;
    let tell = |told: Told| {
        for (device, attributes) in &told {
            api.live.attributes_changed(context.tenant, *device, attributes);
        }
    };
    let targets = (body.targets()?, is_assigned);
    let changed = api.app.assign_package(context, id, targets, &tell).await?;
    Ok(axum::Json(AssignedBody { changed }))
}

//! Twins: import, model, geometry, bindings, graph. Source and geometry are streamed bytes with
//! bounds of their own.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{GraphQuery, ModelView, Placement, TwinView};
use veritwin_domain::OpContext;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path, Query};
use super::upload::{Sender, Upload};
use super::{Answer, Api, Problem, words};

/// Largest IFC file through the API.
const SOURCE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Largest converted geometry.
const GEOMETRY_BYTES_MAX: usize = 128 * 1024 * 1024;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read, delete))
        .routes(routes!(model))
        .routes(routes!(graph))
        .routes(routes!(bind, unbind))
}

/// Routes that take large bodies and bound them themselves.
pub(super) fn upload_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(import))
        .routes(routes!(source, replace_source))
        .routes(routes!(geometry, put_geometry))
}

/// Whose an upload is.
fn sender(api: &Api, context: &OpContext) -> Sender {
    Sender { tenant: context.tenant, branch: api.app.branch_of(context.tenant) }
}

/// Where a model came from.
#[derive(Serialize, ToSchema)]
struct SourceBody {
    /// `ifc`.
    kind: &'static str,
    /// Such as `IFC4`.
    schema: String,
    sha256: String,
    bytes: u64,
}

/// Counts of a twin.
#[derive(Serialize, ToSchema)]
struct CountsBody {
    storeys: usize,
    spaces: usize,
    elements: usize,
    sensors: usize,
    devices: usize,
}

/// A twin.
#[derive(Serialize, ToSchema)]
struct TwinBody {
    id: String,
    name: String,
    source: SourceBody,
    counts: CountsBody,
    /// `none` until a browser converted it, then `glb`.
    #[schema(schema_with = words::geometry)]
    geometry: &'static str,
    active_alerts: usize,
    updated_at: String,
}

impl From<TwinView> for TwinBody {
    fn from(view: TwinView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.name,
            source: SourceBody {
                kind: "ifc",
                schema: view.schema,
                sha256: hex::encode(view.source_sha256),
                bytes: view.source_bytes,
            },
            counts: CountsBody {
                storeys: view.counts.storeys,
                spaces: view.counts.spaces,
                elements: view.counts.elements,
                sensors: view.counts.sensors,
                devices: view.counts.devices,
            },
            geometry: if view.has_geometry { "glb" } else { "none" },
            active_alerts: view.active_alerts,
            updated_at: body::time(view.updated_at),
        }
    }
}

/// Lists twins.
#[utoipa::path(get, path = "/v1/twins", tag = "twins",
    responses((status = 200, body = ListBody<TwinBody>)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<TwinBody>>> {
    let twins = api.app.list_twins(&context).await?;
    Ok(axum::Json(ListBody::whole(twins.into_iter().map(TwinBody::from).collect())))
}

/// How to name an import.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct ImportQuery {
    /// The file's own name when not given.
    name: Option<String>,
}

/// An imported twin.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportedTwinBody)]
struct ImportedBody {
    twin: TwinBody,
    /// What was left out of the file, and why.
    warnings: Vec<String>,
}

/// Imports an IFC file as a new twin.
#[utoipa::path(post, path = "/v1/twins", tag = "twins", params(ImportQuery),
    request_body(content = Vec<u8>, content_type = "application/x-step"),
    responses((status = 201, body = ImportedBody), (status = 400), (status = 413)))]
async fn import(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<ImportQuery>,
    upload: Upload,
) -> Answer<impl IntoResponse> {
    api.app.may_import_twin(&context, None)?;
    let received = upload.receive(&api.uploads, sender(&api, &context), SOURCE_BYTES_MAX).await?;
    let outcome = api.app.import_twin(&context, query.name, received.bytes.clone()).await?;
    let body = ImportedBody { twin: outcome.twin.into(), warnings: outcome.warnings };
    Ok((StatusCode::CREATED, axum::Json(body)))
}

/// Reads a twin.
#[utoipa::path(get, path = "/v1/twins/{id}", tag = "twins", params(("id" = String, Path)),
    responses((status = 200, body = TwinBody), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<TwinBody>> {
    Ok(axum::Json(api.app.twin(&context, body::id(&id)?).await?.into()))
}

/// Deletes a twin; its devices stay and lose their place.
#[utoipa::path(delete, path = "/v1/twins/{id}", tag = "twins", params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_twin(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn download(bytes: Bytes, content_type: &'static str) -> axum::response::Response {
    let stream = futures::stream::once(async move { Ok::<_, Infallible>(bytes) });
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(stream)).into_response()
}

/// The IFC file itself, for whoever may import: the browser converts its geometry.
#[utoipa::path(get, path = "/v1/twins/{id}/source", tag = "twins", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/x-step"), (status = 404)))]
async fn source(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    Ok(download(api.app.twin_source(&context, body::id(&id)?).await?, "application/x-step"))
}

/// Imports a new version of the file; bindings are kept by GlobalId.
#[utoipa::path(put, path = "/v1/twins/{id}/source", tag = "twins", params(("id" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/x-step"),
    responses((status = 200, body = ImportedBody), (status = 400), (status = 404)))]
async fn replace_source(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    upload: Upload,
) -> Answer<axum::Json<ImportedBody>> {
    let id = body::id(&id)?;
    api.app.may_import_twin(&context, Some(id))?;
    let received = upload.receive(&api.uploads, sender(&api, &context), SOURCE_BYTES_MAX).await?;
    let outcome = api.app.replace_twin(&context, id, received.bytes.clone()).await?;
    Ok(axum::Json(ImportedBody { twin: outcome.twin.into(), warnings: outcome.warnings }))
}

/// A box in metres.
#[derive(Serialize, ToSchema)]
struct BoundsBody {
    min: [f64; 3],
    max: [f64; 3],
}

/// A storey, lowest first.
#[derive(Serialize, ToSchema)]
struct StoreyBody {
    id: String,
    name: String,
    index: u32,
    elevation_m: f64,
    height_m: f64,
}

/// A space.
#[derive(Serialize, ToSchema)]
struct SpaceBody {
    id: String,
    name: String,
    long_name: String,
    storey_id: String,
    area_m2: f64,
    height_m: f64,
    elevation_m: f64,
    /// Counter-clockwise, not closed.
    polygon: Vec<[f64; 2]>,
}

/// An element.
#[derive(Serialize, ToSchema)]
struct ElementBody {
    id: String,
    name: String,
    /// IFC class, such as `IfcSensor`.
    class: String,
    storey_id: Option<String>,
    space_id: Option<String>,
    position: Option<[f64; 3]>,
}

/// The model of a twin: metres, Z up; ids are IFC GlobalIds.
#[derive(Serialize, ToSchema)]
struct ModelBody {
    twin_id: String,
    name: String,
    /// Always `m`.
    unit: &'static str,
    bounds: BoundsBody,
    storeys: Vec<StoreyBody>,
    spaces: Vec<SpaceBody>,
    elements: Vec<ElementBody>,
}

impl From<ModelView> for ModelBody {
    fn from(view: ModelView) -> Self {
        Self {
            twin_id: view.twin.to_string(),
            name: view.name,
            unit: "m",
            bounds: BoundsBody { min: view.bounds[0], max: view.bounds[1] },
            storeys: view
                .storeys
                .into_iter()
                .map(|storey| StoreyBody {
                    id: storey.id,
                    name: storey.name,
                    index: storey.index,
                    elevation_m: storey.elevation_m,
                    height_m: storey.height_m,
                })
                .collect(),
            spaces: view
                .spaces
                .into_iter()
                .map(|space| SpaceBody {
                    id: space.id,
                    name: space.name,
                    long_name: space.long_name,
                    storey_id: space.storey_id,
                    area_m2: space.area_m2,
                    height_m: space.height_m,
                    elevation_m: space.elevation_m,
                    polygon: space.polygon,
                })
                .collect(),
            elements: view
                .elements
                .into_iter()
                .map(|element| ElementBody {
                    id: element.id,
                    name: element.name,
                    class: element.class,
                    storey_id: element.storey_id,
                    space_id: element.space_id,
                    position: element.position,
                })
                .collect(),
        }
    }
}

/// Storeys, spaces and elements.
#[utoipa::path(get, path = "/v1/twins/{id}/model", tag = "twins", params(("id" = String, Path)),
    responses((status = 200, body = ModelBody), (status = 404)))]
async fn model(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ModelBody>> {
    Ok(axum::Json(api.app.twin_model(&context, body::id(&id)?).await?.into()))
}

/// The converted geometry, a quantised GLB.
#[utoipa::path(get, path = "/v1/twins/{id}/geometry", tag = "twins",
    params(("id" = String, Path)),
    responses((status = 200, content_type = "model/gltf-binary"), (status = 404)))]
async fn geometry(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    Ok(download(api.app.twin_geometry(&context, body::id(&id)?).await?, "model/gltf-binary"))
}

/// Stores converted geometry. `x-source-sha256` names the source it was converted from.
#[utoipa::path(put, path = "/v1/twins/{id}/geometry", tag = "twins",
    params(("id" = String, Path), ("x-source-sha256" = String, Header)),
    request_body(content = Vec<u8>, content_type = "model/gltf-binary"),
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn put_geometry(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    upload: Upload,
) -> Answer<StatusCode> {
    let expected = "x-source-sha256 must be the source's SHA-256 as 64 hexadecimal digits";
    let mut sha256 = [0u8; 32];
    headers
        .get("x-source-sha256")
        .and_then(|value| hex::decode_to_slice(value.as_bytes(), &mut sha256).ok())
        .ok_or_else(|| Problem::invalid(expected).at("x-source-sha256"))?;
    let id = body::id(&id)?;
    api.app.may_put_twin_geometry(&context, id)?;
    let received = upload.receive(&api.uploads, sender(&api, &context), GEOMETRY_BYTES_MAX).await?;
    api.app.put_twin_geometry(&context, id, sha256, received.bytes.clone()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a device stands.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BindBody {
    /// IFC GlobalId.
    space_id: Option<String>,
    /// IFC GlobalId.
    element_id: Option<String>,
    /// Metres, Z up.
    position: Option<[f64; 3]>,
}

/// Binds a device to a space, an element or a position.
#[utoipa::path(put, path = "/v1/twins/{id}/bindings/{device}", tag = "twins",
    params(("id" = String, Path), ("device" = String, Path)), request_body = BindBody,
    responses((status = 204), (status = 400), (status = 404)))]
async fn bind(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, device)): Path<(String, String)>,
    Json(body): Json<BindBody>,
) -> Answer<StatusCode> {
    let placement = Placement {
        twin_id: Some(body::id(&id)?),
        space_id: body.space_id,
        element_id: body.element_id,
        position: body.position,
    };
    api.app.bind_device(&context, body::id(&device)?, placement).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Releases a device from the twin.
#[utoipa::path(delete, path = "/v1/twins/{id}/bindings/{device}", tag = "twins",
    params(("id" = String, Path), ("device" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn unbind(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, device)): Path<(String, String)>,
) -> Answer<StatusCode> {
    api.app.unbind_device(&context, body::id(&id)?, body::id(&device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which relations are wanted; everything given must hold.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct GraphParams {
    /// An IFC GlobalId or a device id.
    subject: Option<String>,
    /// `hasPart`, `isPartOf`, `hasPoint`, `isPointOf`, `hasLocation` or `isLocationOf`.
    relation: Option<String>,
    /// Class of the object: an IFC class, or `Device`.
    class: Option<String>,
}

/// One relation.
#[derive(Serialize, ToSchema)]
struct RelationBody {
    subject: String,
    /// A Brick relation.
    relation: String,
    object: String,
}

/// Queries the twin's graph of Brick relations.
#[utoipa::path(get, path = "/v1/twins/{id}/graph", tag = "twins",
    params(("id" = String, Path), GraphParams),
    responses((status = 200, body = ListBody<RelationBody>), (status = 404)))]
async fn graph(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Query(query): Query<GraphParams>,
) -> Answer<axum::Json<ListBody<RelationBody>>> {
    let query = GraphQuery { subject: query.subject, relation: query.relation, class: query.class };
    let found = api.app.twin_graph(&context, body::id(&id)?, &query).await?;
    let convert = |(subject, relation, object): (String, String, String)| RelationBody {
        subject,
        relation,
        object,
    };
    Ok(axum::Json(ListBody::whole(found.into_iter().map(convert).collect())))
}

//! The networks that a tenant's people and devices may come from.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{NetworksInput, NetworksView};
use veritwin_domain::AddressList;

use super::auth::Caller;
use super::body::{self, Json};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(read, replace))
}

/// Networks, as `203.0.113.0/24`, `2001:db8::/32` or a single address. An empty list lets
/// everybody in.
#[derive(Serialize, ToSchema)]
struct NetworksBody {
    /// Of people: for signing in, and for every request of a session.
    people: Vec<String>,
    /// Of devices: for every connection and request.
    devices: Vec<String>,
    /// Where this request comes from.
    your_address: Option<String>,
}

impl From<&NetworksView> for NetworksBody {
    fn from(view: &NetworksView) -> Self {
        Self {
            people: view.people.clone(),
            devices: view.devices.clone(),
            your_address: view.your_address.map(|address| address.to_string()),
        }
    }
}

/// The lists to set; at most 256 networks each.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NetworksInputBody {
    people: Vec<String>,
    devices: Vec<String>,
}

/// Tells the networks that people and devices may come from.
#[utoipa::path(get, path = "/v1/networks", tag = "networks",
    responses((status = 200, body = NetworksBody), (status = 403)))]
async fn read(State(api): State<Api>, Caller(context): Caller) -> Answer<impl IntoResponse> {
    let view = api.app.networks(&context).await?;
    Ok((body::etag(view.version), axum::Json(NetworksBody::from(&view))))
}

/// Sets the networks that people and devices may come from. A person has to come from inside the
/// list of people; connected devices from elsewhere are disconnected.
#[utoipa::path(put, path = "/v1/networks", tag = "networks", request_body = NetworksInputBody,
    responses((status = 200, body = NetworksBody), (status = 400), (status = 403), (status = 409)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(input): Json<NetworksInputBody>,
) -> Answer<impl IntoResponse> {
    let if_version = body::if_match(&headers)?;
    let NetworksInputBody { people, devices } = input;
    let input = NetworksInput { people, devices };
    let view = api.app.set_networks(&context, input, if_version).await?;
    if let Ok(devices) = AddressList::parse(&view.devices) {
        api.live.disconnect_outside(context.tenant, &devices);
    }
    Ok((body::etag(view.version), axum::Json(NetworksBody::from(&view))))
}

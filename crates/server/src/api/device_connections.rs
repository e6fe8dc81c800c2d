//! The last connections of a device.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::ConnectionView;

use super::auth::Caller;
use super::body::{self, ListBody, Path};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(connections))
}

/// A connection of a device.
#[derive(Serialize, ToSchema)]
struct ConnectionBody {
    connected_at: String,
    /// Null while it goes on.
    ended_at: Option<String>,
    /// `mqtt3` (3.1 or 3.1.1), `mqtt5` or `websocket`.
    protocol: String,
    /// A gateway or an edge node of Sparkplug speaks for the device over its own connection.
    is_relayed: bool,
    /// What the device showed; of one that another speaks for, what that one showed.
    credential_id: String,
    /// From where it came. Null for those who may not read the activity record.
    address: Option<String>,
    /// Within which time it promises to send something; 0 is no promise. Null where it is not said.
    keep_alive_seconds: Option<u16>,
    /// `device`, `network` or `platform`.
    ended_by: Option<String>,
    /// The reason code of MQTT 5, where the platform ended it.
    reason_code: Option<u8>,
    /// Why it ended.
    reason: Option<String>,
}

impl From<ConnectionView> for ConnectionBody {
    fn from(view: ConnectionView) -> Self {
        Self {
            connected_at: body::time(view.connected_at),
            ended_at: view.ended_at.map(body::time),
            protocol: view.protocol,
            is_relayed: view.is_relayed,
            credential_id: view.credential.to_string(),
            address: view.address.map(|address| address.to_string()),
            keep_alive_seconds: view.keep_alive_seconds,
            ended_by: view.ended_by,
            reason_code: view.code,
            reason: view.reason,
        }
    }
}

/// The last 200 connections of a device over MQTT and WebSocket within 90 days, the newest first.
#[utoipa::path(get, path = "/v1/devices/{id}/connections", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<ConnectionBody>), (status = 404)))]
async fn connections(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<ConnectionBody>>> {
    let connections = api.app.device_connections(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(connections.into_iter().map(ConnectionBody::from).collect())))
}

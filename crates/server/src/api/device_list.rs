//! The list of devices: searched, narrowed and counted here, so that no client needs all of them.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use veritwin_app::model::{DeviceFilter, DevicePage};
use veritwin_domain::DeviceId;

use super::auth::Caller;
use super::body::{self, PageQuery, Query};
use super::devices::DeviceBody;
use super::{Answer, Api, Problem};

/// Which devices are wanted; everything given must hold.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub(super) struct ListQuery {
    /// Words, each part of the name or kind, in any case and order; at most 256 characters.
    search: Option<String>,
    /// Devices of one twin.
    twin_id: Option<String>,
    /// Some of these: ids with commas between, at most 100.
    ids: Option<String>,
    /// Only those of which a message was refused since the platform started.
    has_refusals: Option<bool>,
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
}

/// Most devices that a list is asked for by their ids.
const IDS_MAX: usize = 100;

fn chosen(ids: &str) -> Answer<Vec<DeviceId>> {
    let count = ids.split(',').count();
    if count > IDS_MAX {
        let detail = format!("limit ids_max: at most {IDS_MAX}, got {count}");
        return Err(Problem::invalid(detail).at("ids"));
    }
    ids.split(',').map(|id| body::id_at("ids", id.trim())).collect()
}

/// A page of devices.
#[derive(Serialize, ToSchema)]
pub(super) struct DevicePageBody {
    /// The rows.
    items: Vec<DeviceBody>,
    /// Opaque; null on the last page.
    next_cursor: Option<String>,
    /// How many the whole list has. Given with its first page, null with the others.
    total: Option<u64>,
}

/// Lists devices by name, with the first page how many there are.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(ListQuery),
    responses((status = 200, body = DevicePageBody), (status = 400)))]
pub(super) async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<ListQuery>,
) -> Answer<axum::Json<DevicePageBody>> {
    let filter = DeviceFilter {
        search: query.search,
        twin: body::maybe_id_at("twin_id", query.twin_id.as_deref())?,
        ids: query.ids.as_deref().map(chosen).transpose()?,
        has_refusals: query.has_refusals.unwrap_or_default(),
    };
    let page = PageQuery { cursor: query.cursor, limit: query.limit }.into();
    let DevicePage { page, total } = api.app.list_devices(&context, &filter, &page).await?;
    Ok(axum::Json(DevicePageBody {
        items: page.items.into_iter().map(DeviceBody::from).collect(),
        next_cursor: page.next_cursor,
        total,
    }))
}

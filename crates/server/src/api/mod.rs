//! The REST API: one file per resource. A handler parses, calls one use case, converts the
//! answer. The OpenAPI document is made from these handlers.

mod account;
mod activity;
mod alerts;
mod api_keys;
mod arrow_stream;
mod auth;
mod belongings;
mod body;
mod brand;
mod breaches;
mod catalogue;
mod certificates;
mod claims;
mod consents;
mod contact;
mod customer_key;
mod destructions;
mod device_connections;
mod device_credentials;
mod device_list;
mod device_profiles;
mod device_rpc;
mod devices;
mod docs;
mod edge_keys;
mod ends;
mod evidence;
mod exports;
mod frameworks;
mod governed;
mod holds;
mod identity_providers;
mod imports;
mod incidents;
mod invitations;
mod ledger;
mod ledger_evidence;
mod ledger_mail;
mod ledger_witness;
mod legal;
mod live;
mod mailbox;
mod middleware;
mod mqtt_socket;
mod networks;
mod notices;
mod observe;
mod operations;
mod origin;
mod packages;
mod parameters;
mod passkeys;
mod plans;
mod policies;
mod problem;
mod promises;
mod provisioning;
mod registers;
mod repeat;
mod request_cases;
mod requests;
mod rights;
mod risks;
mod route_destinations;
mod route_messages;
mod route_rules;
mod rules;
mod session;
mod simulation;
mod sparkplug;
mod streams;
mod support;
mod system;
mod telemetry;
mod telemetry_answer;
mod telemetry_query;
mod telemetry_sql;
#[cfg(feature = "sql")]
mod telemetry_sql_run;
mod telemetry_table;
mod tenants;
mod tiles;
mod trust;
mod twins;
mod upload;
mod usage;
mod users;
mod words;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use veritwin_app::App;
use veritwin_domain::{Clock, Rng};
use veritwin_ingest::mqtt::Broker;

use crate::simulations::Simulations;
use crate::web;

pub(crate) use auth::Asked;
pub(crate) use auth::SESSION_COOKIE;
pub(crate) use catalogue::{actions, tenants};
pub(crate) use live::{Caps, LiveState};
pub(crate) use mqtt_socket::routes as mqtt_sockets;
pub(crate) use observe::MetricsHandle;
pub(crate) use problem::{Answer, Problem};
pub(crate) use system::Facts;
pub(crate) use upload::Uploads;

/// Largest body of an ordinary request. Imports and bulk writes have bounds of their own.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) app: App,
    pub(crate) live: Arc<LiveState>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) metrics: MetricsHandle,
    pub(crate) facts: Arc<Facts>,
    pub(crate) uploads: Uploads,
    pub(crate) simulations: Arc<Simulations>,
}

impl Api {
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.app.clock()
    }

    pub(crate) fn rng(&self) -> &dyn Rng {
        self.app.rng()
    }
}

fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(docs::document())
        .merge(session::routes())
        .merge(belongings::routes())
        .merge(tenants::routes())
        .merge(plans::routes())
        .merge(networks::routes())
        .merge(brand::documented())
        .merge(legal::routes())
        .merge(consents::routes())
        .merge(certificates::routes())
        .merge(contact::routes())
        .merge(account::routes())
        .merge(passkeys::routes())
        .merge(identity_providers::routes())
        .merge(users::routes())
        .merge(api_keys::routes())
        .merge(rights::routes())
        .merge(devices::routes())
        .merge(device_credentials::routes())
        .merge(device_connections::routes())
        .merge(simulation::routes())
        .merge(device_rpc::routes())
        .merge(device_profiles::routes())
        .merge(edge_keys::routes())
        .merge(packages::routes())
        .merge(provisioning::routes())
        .merge(claims::routes())
        .merge(sparkplug::routes())
        .merge(twins::routes())
        .merge(telemetry::routes())
        .merge(telemetry_sql::routes())
        .merge(exports::routes())
        .merge(imports::routes())
        .merge(streams::routes())
        .merge(rules::routes())
        .merge(route_destinations::routes())
        .merge(route_rules::routes())
        .merge(route_messages::routes())
        .merge(alerts::routes())
        .merge(ledger::routes())
        .merge(ledger_mail::routes())
        .merge(ledger_evidence::routes())
        .merge(promises::routes())
        .merge(trust::routes())
        .merge(activity::routes())
        .merge(destructions::routes())
        .merge(holds::routes())
        .merge(zones::routes())
        .merge(registers::routes())
        .merge(incidents::routes())
        .merge(breaches::routes())
        .merge(policies::routes())
        .merge(risks::routes())
        .merge(frameworks::routes())
        .merge(evidence::routes())
        .merge(notices::routes())
        .merge(requests::routes())
        .merge(ends::routes())
        .merge(mailbox::routes())
        .merge(request_cases::routes())
        .merge(invitations::routes())
        .merge(support::routes())
        .merge(customer_key::routes())
        .merge(system::routes())
        .merge(operations::routes())
        .merge(usage::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(twins::upload_routes())
        .merge(packages::upload_routes())
        .merge(imports::upload_routes())
        .merge(frameworks::upload_routes())
}

/// The OpenAPI 3.1 document.
pub(crate) fn openapi() -> OpenApi {
    docs::finished(documented().split_for_parts().1)
}

/// Everything the HTTPS listener serves. `devices` is the device API of the ingest crate.
pub(crate) fn router(api: Api, devices: Router) -> Router {
    let (rest, document) = documented().split_for_parts();
    let document = docs::finished(document);
    let repeatable = axum::middleware::from_fn_with_state(api.clone(), repeat::layer);
    rest.layer(repeatable)
        .merge(docs::routes(document))
        .merge(observe::routes())
        .merge(brand::routes())
        .merge(tiles::routes())
        .merge(trust::page_routes())
        .merge(live::routes())
        .fallback(fallback)
        .with_state(api.clone())
        .merge(devices)
        .layer(axum::middleware::from_fn_with_state(api, middleware::around))
}

async fn fallback(State(api): State<Api>, uri: Uri) -> Response {
    if uri.path().starts_with("/v1/") || uri.path().starts_with("/api/") {
        return Problem::not_found().into_response();
    }
    web::serve(&uri, api.rng())
}

//! Certificates of a tenant's own host names. A private key comes in and never goes out.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::HostView;
use veritwin_domain::{Clock, SystemClock};

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path};
use super::{Answer, Api, Problem};
use crate::host_certificates::judged;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(replace, remove))
}

/// A host name of one's own.
#[derive(Serialize, ToSchema)]
struct HostBody {
    host: String,
    /// When its own certificate ends; null: it answers with the platform's.
    not_after: Option<String>,
}

impl From<HostView> for HostBody {
    fn from(view: HostView) -> Self {
        Self { host: view.host, not_after: view.not_after.map(body::time) }
    }
}

/// One's own host names, and until when their certificates last.
#[utoipa::path(get, path = "/v1/certificates", tag = "certificates",
    responses((status = 200, body = ListBody<HostBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<HostBody>>> {
    let hosts = api.app.own_hosts(&context).await?;
    Ok(axum::Json(ListBody::whole(hosts.into_iter().map(HostBody::from).collect())))
}

/// A certificate with its private key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CertificateFields {
    /// The chain, PEM: the host's own certificate first, each followed by its issuer's.
    chain: String,
    /// Its private key, PEM, not encrypted.
    private_key: String,
}

/// Puts a certificate of one's own host name in place. It is used from the next handshake on.
#[utoipa::path(put, path = "/v1/certificates/{host}", tag = "certificates",
    params(("host" = String, Path)), request_body = CertificateFields,
    responses((status = 200, body = HostBody), (status = 400), (status = 403), (status = 404)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(host): Path<String>,
    Json(input): Json<CertificateFields>,
) -> Answer<axum::Json<HostBody>> {
    let host = api.app.check_own_host(&context, &host)?;
    // Whoever checks a certificate lives by the machine's clock.
    let now = SystemClock::new().now();
    let certificate = judged(&host, &input.chain, &input.private_key, now)
        .map_err(|error| Problem::invalid(error.to_string()).at("chain"))?;
    Ok(axum::Json(api.app.put_host_certificate(&context, certificate).await?.into()))
}

/// Takes it away: the host name answers with the platform's certificate again.
#[utoipa::path(delete, path = "/v1/certificates/{host}", tag = "certificates",
    params(("host" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)))]
async fn remove(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(host): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_host_certificate(&context, &host).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Certificates of a tenant's own host names. A private key comes in and never goes out.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::{AcmeView, HostView};
use veritwin_domain::{Clock, SystemClock};

use super::auth::Caller;
use super::body::{self, ListBody, Path, SecretJson, Secrets};
use super::{Answer, Api, Problem};
use crate::host_certificates::judged;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(replace, remove))
        .routes(routes!(fetch))
}

/// A host name of one's own.
#[derive(Serialize, ToSchema)]
struct HostBody {
    host: String,
    /// When its own certificate ends; null: it answers with the platform's.
    not_after: Option<String>,
    acme: AcmeBody,
}

/// How it stands with fetching the certificate by ACME.
#[derive(Serialize, ToSchema)]
struct AcmeBody {
    /// `unavailable`: the operator named no authority; `off`; `ordering`; `refused`: the last try
    /// came to nothing; `kept`: in place, renewed at `next_try`.
    state: String,
    /// Why the last try came to nothing.
    refusal: Option<AcmeRefusalBody>,
    /// When the next try is, a renewal included.
    next_try: Option<String>,
}

/// Why there is no certificate.
#[derive(Serialize, ToSchema)]
struct AcmeRefusalBody {
    /// `unreachable`, `connection`, `dns`, `caa`, `wrong_answer`, `rate_limited`, `no_challenge`,
    /// `unusable`, `too_slow` or `refused`.
    kind: String,
    /// What the authority said.
    detail: String,
}

impl From<AcmeView> for AcmeBody {
    fn from(view: AcmeView) -> Self {
        let refusal = view.refusal.map(|refusal| AcmeRefusalBody {
            kind: refusal.kind.as_str().to_owned(),
            detail: refusal.detail,
        });
        let state = view.state.as_str().to_owned();
        Self { state, refusal, next_try: view.next_try.map(body::time) }
    }
}

impl From<HostView> for HostBody {
    fn from(view: HostView) -> Self {
        let not_after = view.not_after.map(body::time);
        Self { host: view.host, not_after, acme: view.acme.into() }
    }
}

/// One's own host names, and until when their certificates last.
#[utoipa::path(get, path = "/v1/certificates", tag = "certificates",
    responses((status = 200, body = ListBody<HostBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<HostBody>>> {
    let hosts = api.app.own_hosts(&context, SystemClock::new().now()).await?;
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

impl Secrets for CertificateFields {
    const NAMES: &'static [&'static str] = &["private_key"];
}

/// Puts a certificate of one's own host name in place. It is used from the next handshake on.
#[utoipa::path(put, path = "/v1/certificates/{host}", tag = "certificates",
    params(("host" = String, Path)), request_body = CertificateFields,
    responses((status = 200, body = HostBody), (status = 400), (status = 403), (status = 404)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(host): Path<String>,
    SecretJson(input): SecretJson<CertificateFields>,
) -> Answer<axum::Json<HostBody>> {
    let host = api.app.check_own_host(&context, &host)?;
    // Whoever checks a certificate lives by the machine's clock.
    let now = SystemClock::new().now();
    let certificate = judged(&host, &input.chain, &input.private_key, now)
        .map_err(|error| Problem::invalid(error.to_string()).at("chain"))?;
    Ok(axum::Json(api.app.put_host_certificate(&context, certificate).await?.into()))
}

/// Has the certificate fetched by ACME and renewed from now on, instead of one that was handed in;
/// after a refusal, has it tried again. At most `orders_per_day_max` tries a day.
#[utoipa::path(post, path = "/v1/certificates/{host}/acme", tag = "certificates",
    params(("host" = String, Path)),
    responses((status = 200, body = HostBody), (status = 403), (status = 404), (status = 409)))]
async fn fetch(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(host): Path<String>,
) -> Answer<axum::Json<HostBody>> {
    let now = SystemClock::new().now();
    Ok(axum::Json(api.app.fetch_host_certificate(&context, &host, now).await?.into()))
}

/// Takes it away, and fetches none: the host name answers with the platform's certificate again.
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

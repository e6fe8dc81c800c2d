//! The HTTP device API as an axum router: ThingsBoard's paths with the token in the path or, as
//! the documents teach, in `Authorization: Bearer`; and the bulk write. 2xx means durable.

mod body;
mod device;
mod edge;
mod package;
mod poll;
mod problem;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use veritwin_domain::{Clock, IngestLimits, Secret, Shared, TenantId};

use crate::model::{Credential, DeviceSession, Origin, PeerInfo, Transport, Writer};
use crate::traits::{Login, Sink};
use problem::Problem;

/// Most long polls at once.
pub const LONG_POLLS_MAX: usize = 1024;
/// Most long polls of one tenant at once.
pub const TENANT_LONG_POLLS_MAX: usize = 512;

/// Says which package a piece is of that an edge has asked for.
pub const PACKAGE_HEADER: &str = "veritwin-package";

/// What the device API is made of.
#[derive(Clone)]
pub struct HttpParts {
    /// Who may write.
    pub login: Arc<dyn Login>,
    /// Where messages go.
    pub sink: Arc<dyn Sink>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The bounds.
    pub limits: IngestLimits,
}

/// The routes' shared state.
struct Api {
    parts: HttpParts,
    polls: Arc<Semaphore>,
    tenant_polls: Shared<TenantId, Semaphore>,
    downloads: package::Downloads,
}

/// The routes `/api/v1/...`, `/v1/telemetry/write`, `/v1/edge/batches` and `/v1/edge/packages`. The
/// server may put a [`PeerInfo`] into the request's extensions; without it the peer has no address.
pub fn router(parts: HttpParts) -> Router {
    let body_bytes_max = parts.limits.body_bytes_max;
    let polls = Arc::new(Semaphore::new(LONG_POLLS_MAX));
    let (tenant_polls, downloads) = (Shared::default(), package::Downloads::default());
    let api = Arc::new(Api { parts, polls, tenant_polls, downloads });
    let mut router = Router::new();
    for prefix in ["/api/v1", "/api/v1/{token}"] {
        router = router
            .route(&format!("{prefix}/telemetry"), post(device::telemetry))
            .route(
                &format!("{prefix}/attributes"),
                post(device::attributes_save).get(device::attributes),
            )
            .route(&format!("{prefix}/attributes/updates"), get(poll::attributes))
            .route(&format!("{prefix}/rpc"), post(device::rpc_call).get(poll::rpc))
            .route(&format!("{prefix}/rpc/{{id}}"), post(device::rpc_reply))
            .route(&format!("{prefix}/firmware"), get(package::firmware))
            .route(&format!("{prefix}/software"), get(package::software))
            .route(&format!("{prefix}/claim"), post(device::claim));
    }
    router
        .route(
            "/api/v1/provision",
            post(device::provision).layer(DefaultBodyLimit::max(device::PROVISION_BODY_BYTES_MAX)),
        )
        .route("/v1/telemetry/write", post(write::write))
        .route("/v1/edge/batches", post(edge::batch))
        .route("/v1/edge/packages", get(package::of_edge))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .with_state(api)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    // InfluxDB's clients call it Token.
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    known.then(|| token.trim()).filter(|token| !token.is_empty())
}

fn peer(parts: &Parts) -> PeerInfo {
    let known = parts.extensions.get::<PeerInfo>().cloned();
    let peer = known.unwrap_or(PeerInfo::new(None, Transport::Http));
    PeerInfo { transport: Transport::Http, ..peer }
}

fn no_token() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "no credential: expected the header Authorization: Bearer with a token",
    )
}

/// The device whose token the request carries.
struct Authenticated(Arc<DeviceSession>);

impl FromRequestParts<Arc<Api>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let path = RawPathParams::from_request_parts(parts, api).await.ok();
        let in_path = path.as_ref().and_then(|path| {
            path.iter().find(|(name, _)| *name == "token").map(|(_, token)| token)
        });
        let token = in_path.or_else(|| bearer(&parts.headers)).ok_or_else(no_token)?;
        let credential = Credential::Token(Secret::new(token.to_owned()));
        let peer = peer(parts);
        let session = api.parts.login.authenticate(credential, &peer).await?;
        // A request counts as one message, whatever it asks.
        api.parts.sink.admit(Origin::Device(&session), 1)?;
        Ok(Self(session))
    }
}

/// Whoever may write in bulk with the token that the request carries: known before its body is
/// read, so that strangers make nobody keep one.
struct AuthenticatedWriter(Writer);

impl FromRequestParts<Arc<Api>> for AuthenticatedWriter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or_else(no_token)?;
        let (token, peer) = (Secret::new(token.to_owned()), peer(parts));
        let writer = api.parts.login.authenticate_writer(token, &peer).await?;
        api.parts.sink.admit_readings(writer.origin(), 0)?;
        Ok(Self(writer))
    }
}

/// Where a device comes from that shows no token.
struct ProvisioningPeer(PeerInfo);

impl FromRequestParts<Arc<Api>> for ProvisioningPeer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _api: &Arc<Api>,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self(peer(parts)))
    }
}

//! Sign-in through a tenant's own provider: what its administrators set, what a sign-in page
//! offers, and the way there and back. A code travels in request bodies only.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ProviderInput, ProviderReturn, ProviderStart, ProviderView, SignedIn};
use veritwin_domain::Secret;

use super::auth::{Caller, HeldSession, Public};
use super::body::{self, Json, Query, SecretJson, Secrets};
use super::brand::Host;
use super::session::{SessionBody, set_cookie};
use super::{Answer, Api, Problem, words};

/// The page that a provider sends people back to.
const RETURN_PATH: &str = "/sign-in/return";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(read, replace, remove))
        .routes(routes!(offer))
        .routes(routes!(begin))
        .routes(routes!(finish))
}

/// Through which provider (OpenID Connect) one's people may sign in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProviderFields {
    /// What the sign-in page calls it.
    name: String,
    /// The issuer, `https://...`, exactly as its tokens say.
    issuer: String,
    /// The client's id there.
    client_id: String,
    /// The client's secret; left out: the one that is there stays, for the same issuer and client;
    /// empty: a client without a secret.
    client_secret: Option<String>,
    /// The domains whose addresses count, such as `example.com`.
    domains: Vec<String>,
    /// Whether the sign-in page offers it.
    enabled: bool,
    /// The role of people who are new here, one of `operator`, `analyst`, `viewer`, `auditor`; left
    /// out: nobody is made by signing in.
    #[schema(schema_with = words::role)]
    role_of_new: Option<String>,
    /// Whether a sign-in there counts as two factors, whatever it says.
    #[serde(default)]
    counts_as_second_factor: bool,
}

impl Secrets for ProviderFields {
    const NAMES: &'static [&'static str] = &["client_secret"];
}

/// What is set.
#[derive(Serialize, ToSchema)]
struct ProviderBody {
    /// Empty: nothing is set yet.
    issuer: String,
    name: String,
    client_id: String,
    has_secret: bool,
    domains: Vec<String>,
    enabled: bool,
    role_of_new: Option<String>,
    counts_as_second_factor: bool,
    updated_at: Option<String>,
    /// What has to be registered there as the address to come back to.
    redirect_uris: Vec<String>,
    /// Where one's people begin.
    sign_in_address: String,
}

impl Api {
    /// Where a provider sends people back to who came by this host name. Only names that were
    /// given to somebody count; the port is the one of the page.
    fn redirect_uri(&self, host: Option<&str>) -> String {
        let own = host.filter(|host| self.app.is_given_host(host));
        match own {
            Some(host) => format!("https://{host}{RETURN_PATH}"),
            None => format!("{}{RETURN_PATH}", self.facts.relying_party().origin),
        }
    }

    fn provider_body(
        &self,
        tenant: &str,
        hosts: &[String],
        view: Option<ProviderView>,
    ) -> ProviderBody {
        let origin = self.facts.relying_party().origin;
        let port = origin.trim_start_matches("https://").split_once(':').map(|(_, port)| port);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let of_host = |host: &String| format!("https://{host}{port}{RETURN_PATH}");
        let redirect_uris = std::iter::once(format!("{origin}{RETURN_PATH}"));
        let view_or = |text: fn(&ProviderView) -> &String| view.as_ref().map(text).cloned();
        ProviderBody {
            issuer: view_or(|view| &view.issuer).unwrap_or_default(),
            name: view_or(|view| &view.name).unwrap_or_default(),
            client_id: view_or(|view| &view.client_id).unwrap_or_default(),
            has_secret: view.as_ref().is_some_and(|view| view.has_secret),
            domains: view.as_ref().map(|view| view.domains.clone()).unwrap_or_default(),
            enabled: view.as_ref().is_some_and(|view| view.enabled),
            role_of_new: view
                .as_ref()
                .and_then(|view| view.role_of_new.map(|role| role.as_str().to_owned())),
            counts_as_second_factor: view.as_ref().is_some_and(|view| view.counts_as_second_factor),
            updated_at: view.as_ref().map(|view| body::time(view.updated_at)),
            redirect_uris: redirect_uris.chain(hosts.iter().map(of_host)).collect(),
            sign_in_address: format!("{origin}/sign-in?organisation={tenant}"),
        }
    }
}

/// Through which provider one's people may sign in; its secret is never told.
#[utoipa::path(get, path = "/v1/identity-provider", tag = "identity provider",
    responses((status = 200, body = ProviderBody), (status = 403)))]
async fn read(State(api): State<Api>, Caller(context): Caller) -> Answer<impl IntoResponse> {
    let view = api.app.identity_provider(&context).await?;
    let version = view.as_ref().map_or(0, |view| view.version);
    let hosts = api.app.hosts_of(&context);
    let tenant = context.tenant.to_string();
    Ok((body::etag(version), axum::Json(api.provider_body(&tenant, &hosts, view))))
}

/// Sets the provider. It is asked first: an issuer that does not answer, or leads to an address
/// that is not public, is refused.
#[utoipa::path(put, path = "/v1/identity-provider", tag = "identity provider",
    request_body = ProviderFields,
    responses((status = 200, body = ProviderBody), (status = 400), (status = 403), (status = 409)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    SecretJson(input): SecretJson<ProviderFields>,
) -> Answer<impl IntoResponse> {
    let if_version = body::if_match(&headers)?;
    let unknown = |_| Problem::invalid("expected the name of a role").at("role_of_new");
    let input = ProviderInput {
        name: input.name,
        issuer: input.issuer,
        client_id: input.client_id,
        client_secret: input.client_secret.map(Secret::new),
        domains: input.domains,
        enabled: input.enabled,
        role_of_new: input.role_of_new.map(|role| role.parse()).transpose().map_err(unknown)?,
        counts_as_second_factor: input.counts_as_second_factor,
    };
    let view = api.app.set_identity_provider(&context, input, if_version).await?;
    let hosts = api.app.hosts_of(&context);
    let tenant = context.tenant.to_string();
    Ok((body::etag(view.version), axum::Json(api.provider_body(&tenant, &hosts, Some(view)))))
}

/// Removes the provider; whoever signed in through it is out.
#[utoipa::path(delete, path = "/v1/identity-provider", tag = "identity provider",
    responses((status = 204), (status = 403), (status = 404)))]
async fn remove(State(api): State<Api>, Caller(context): Caller) -> Answer<StatusCode> {
    api.app.delete_identity_provider(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose provider is asked for.
#[derive(Deserialize, utoipa::IntoParams)]
struct OfferQuery {
    /// The organisation's id; left out: the one of the host name.
    organisation: Option<String>,
}

/// What a sign-in page offers.
#[derive(Serialize, ToSchema)]
struct OfferBody {
    /// The organisation's id.
    organisation: String,
    /// What its provider is called.
    name: String,
}

/// The provider that a sign-in page offers; 204: none. An organisation that is not there offers as
/// little as one that set nothing.
#[utoipa::path(get, path = "/v1/session/provider", tag = "session", params(OfferQuery),
    responses((status = 200, body = OfferBody), (status = 204)))]
async fn offer(
    State(api): State<Api>,
    Public(context): Public,
    Host(host): Host,
    Query(query): Query<OfferQuery>,
) -> Answer<axum::response::Response> {
    let tenant = match query.organisation.as_deref().map(str::parse).transpose() {
        Ok(tenant) => tenant,
        Err(_) => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    let offer = api.app.provider_offer(&context, tenant, host.as_deref()).await?;
    Ok(match offer {
        Some(offer) => {
            let organisation = offer.tenant.to_string();
            axum::Json(OfferBody { organisation, name: offer.name }).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// How a sign-in begins.
#[derive(Deserialize, ToSchema)]
struct BeginBody {
    /// The organisation's id.
    organisation: String,
    /// The provider has to ask again who it is, whoever is signed in there.
    #[serde(default)]
    fresh: bool,
    /// That the person is 18 or older and acts for a business: for people who are new here.
    #[serde(default)]
    attested: bool,
}

/// A sign-in that was begun.
#[derive(Serialize, ToSchema)]
struct BegunBody {
    /// Where the browser goes.
    address: String,
    /// What the page keeps until it comes back; without it nobody finishes this sign-in.
    secret: String,
}

/// Begins a sign-in through a provider.
#[utoipa::path(post, path = "/v1/session/provider", tag = "session", request_body = BeginBody,
    responses((status = 200, body = BegunBody), (status = 404), (status = 503)))]
async fn begin(
    State(api): State<Api>,
    Public(context): Public,
    Host(host): Host,
    Json(input): Json<BeginBody>,
) -> Answer<axum::Json<BegunBody>> {
    let redirect_uri = api.redirect_uri(host.as_deref());
    let start = ProviderStart {
        tenant: Some(body::id(&input.organisation)?),
        host: host.as_deref(),
        redirect_uri: &redirect_uri,
        is_fresh: input.fresh,
        attested: input.attested,
    };
    let begun = api.app.begin_provider_sign_in(&context, start).await?;
    let secret = begun.secret.into_exposed();
    Ok(axum::Json(BegunBody { address: begun.address, secret }))
}

/// What the provider sent the browser back with.
#[derive(Deserialize, ToSchema)]
struct FinishBody {
    /// What the page kept.
    secret: String,
    state: String,
    /// Left out: the provider refused.
    code: Option<String>,
    /// The issuer, when the provider names it (RFC 9207).
    iss: Option<String>,
}

impl Secrets for FinishBody {
    const NAMES: &'static [&'static str] = &["code", "secret"];
}

/// Finishes a sign-in through a provider.
#[utoipa::path(post, path = "/v1/session/provider/finish", tag = "session",
    request_body = FinishBody,
    responses((status = 200, body = SessionBody), (status = 400), (status = 401), (status = 503)))]
async fn finish(
    State(api): State<Api>,
    Public(context): Public,
    HeldSession(before): HeldSession,
    Host(host): Host,
    SecretJson(input): SecretJson<FinishBody>,
) -> Answer<impl IntoResponse> {
    let redirect_uri = api.redirect_uri(host.as_deref());
    let back = ProviderReturn {
        secret: Secret::new(input.secret),
        state: input.state,
        code: input.code.map(Secret::new),
        issuer: input.iss,
        redirect_uri: &redirect_uri,
    };
    let SignedIn { token, session } =
        api.app.finish_provider_sign_in(&context, back, before).await?;
    Ok((set_cookie(&token), axum::Json(SessionBody::from(session))))
}

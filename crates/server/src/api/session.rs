//! Signing in and out, and one-time links. Tokens travel in the cookie and in request bodies,
//! never in a URL.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{LinkKind, RightsOn, SessionView, SignedIn, Welcome};
use veritwin_app::{Assertion, Knock, Proof, SecondFactor};
use veritwin_domain::Secret;

use super::auth::{Caller, HeldSession, Public, SESSION_COOKIE};
use super::body::{self, Query, SecretJson, Secrets};
use super::brand::Host;
use super::passkeys::AssertionBody;
use super::support::SupportBody;
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(sign_in, read, sign_out))
        .routes(routes!(rights))
        .routes(routes!(confirm))
        .routes(routes!(inspect))
        .routes(routes!(welcome))
}

/// Who signs in: with address and password, and a second factor where the account has one, or with
/// a passkey alone.
#[derive(Deserialize, ToSchema)]
struct SignInBody {
    /// The account's address; not needed with a passkey.
    #[serde(default)]
    email: String,
    /// The password.
    password: Option<String>,
    /// Six digits of the authenticator, or a recovery code.
    code: Option<String>,
    /// A passkey: alone, or as second factor beside the password.
    passkey: Option<AssertionBody>,
    /// The organisation's id, for an account that it alone knows; left out: the one of the host
    /// name.
    organisation: Option<String>,
}

impl Secrets for SignInBody {
    const NAMES: &'static [&'static str] = &["code", "password"];
}

/// How a person proves who they are.
#[derive(Deserialize, ToSchema)]
pub(super) struct SignInProofBody {
    /// The password.
    password: Option<String>,
    /// Six digits of the authenticator, or a recovery code.
    code: Option<String>,
    /// A passkey: alone, or as second factor beside the password.
    passkey: Option<AssertionBody>,
}

impl Secrets for SignInProofBody {
    const NAMES: &'static [&'static str] = &["code", "password"];
}

impl TryFrom<SignInProofBody> for Proof {
    type Error = Problem;

    fn try_from(body: SignInProofBody) -> Result<Self, Problem> {
        let passkey = body.passkey.map(Assertion::try_from).transpose()?;
        Ok(match (body.password, body.code, passkey) {
            (Some(password), code, passkey) => {
                let code = code.map(|code| SecondFactor::Code(Secret::new(code)));
                let second = passkey.map(SecondFactor::Passkey).or(code);
                Self::Password { password: Secret::new(password), second }
            }
            (None, _, Some(passkey)) => Self::Passkey(passkey),
            (None, _, None) => {
                return Err(Problem::invalid("send a password or a passkey").at("password"));
            }
        })
    }
}

/// The signed-in person.
#[derive(Serialize, ToSchema)]
struct SessionUser {
    id: String,
    email: String,
    name: String,
    #[schema(schema_with = words::roles)]
    roles: Vec<&'static str>,
}

/// The tenant of the session.
#[derive(Serialize, ToSchema)]
struct SessionTenant {
    id: String,
    name: String,
    /// Its data is simulated; every page says so.
    simulated: bool,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionBody {
    user: SessionUser,
    tenant: SessionTenant,
    /// What the customer opened, when the platform's support is in the tenant; else null.
    support: Option<SupportBody>,
    /// The organisation asks for a second factor and this sign-in had none: everything else waits
    /// until one is set up.
    lacks_second_factor: bool,
    /// The platform's version.
    version: &'static str,
}

impl From<SessionView> for SessionBody {
    fn from(view: SessionView) -> Self {
        Self {
            user: SessionUser {
                id: view.user.id.to_string(),
                email: view.user.email.into_exposed(),
                name: view.user.name.into_exposed(),
                roles: view.user.roles.iter().map(|role| role.as_str()).collect(),
            },
            tenant: SessionTenant {
                id: view.tenant.id.to_string(),
                name: view.tenant.name,
                simulated: view.tenant.simulated,
            },
            support: view.support.map(SupportBody::from),
            lacks_second_factor: view.lacks_second_factor,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

pub(super) type SetCookie = AppendHeaders<[(header::HeaderName, HeaderValue); 1]>;

pub(super) fn set_cookie(token: &Secret<String>) -> SetCookie {
    let text =
        format!("{SESSION_COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", token.expose());
    cookie_header(&text)
}

fn cookie_header(text: &str) -> SetCookie {
    let mut value =
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"));
    value.set_sensitive(true);
    AppendHeaders([(header::SET_COOKIE, value)])
}

/// Signs in.
#[utoipa::path(post, path = "/v1/session", tag = "session", request_body = SignInBody,
    responses((status = 200, body = SessionBody), (status = 401), (status = 429)))]
async fn sign_in(
    State(api): State<Api>,
    Public(context): Public,
    HeldSession(before): HeldSession,
    Host(host): Host,
    SecretJson(body): SecretJson<SignInBody>,
) -> Answer<impl IntoResponse> {
    let SignInBody { email, password, code, passkey, organisation } = body;
    // One that is not there is as good as none.
    let tenant = organisation.and_then(|id| id.parse().ok());
    let proof = Proof::try_from(SignInProofBody { password, code, passkey })?;
    let party = api.facts.relying_party();
    let email = Secret::new(email);
    let knock = Knock { email: &email, tenant, host: host.as_deref() };
    let SignedIn { token, session } =
        api.app.sign_in(&context, knock, proof, &party, before).await?;
    Ok((set_cookie(&token), axum::Json(SessionBody::from(session))))
}

/// The current session; 204 when nobody is signed in.
#[utoipa::path(get, path = "/v1/session", tag = "session",
    responses((status = 200, body = SessionBody), (status = 204)))]
async fn read(
    State(api): State<Api>,
    caller: Result<Caller, Problem>,
) -> Answer<axum::response::Response> {
    let context = match caller {
        Ok(Caller(context)) => context,
        // A page asks this before anyone signs in: being nobody is no failure.
        Err(problem) if problem.is_unauthenticated() => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Err(problem) => return Err(problem),
    };
    let body = SessionBody::from(api.app.session(&context).await?);
    Ok(axum::Json(body).into_response())
}

/// What somebody may do, by the names of the actions.
#[derive(Serialize, ToSchema)]
struct OwnRightsBody {
    /// Over the whole tenant.
    whole: Vec<&'static str>,
    /// Over a part of it only.
    parts: Vec<&'static str>,
    /// On the device or twin that was asked about; empty when none was.
    here: Vec<&'static str>,
}

/// What one's own rights are asked about.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct RightsQuery {
    /// A device.
    device_id: Option<String>,
    /// Or a twin.
    twin_id: Option<String>,
}

/// What one may do oneself, and on one device or twin: pages show what is of use.
#[utoipa::path(get, path = "/v1/session/rights", tag = "session", params(RightsQuery),
    responses((status = 200, body = OwnRightsBody), (status = 403), (status = 404)))]
async fn rights(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<RightsQuery>,
) -> Answer<axum::Json<OwnRightsBody>> {
    let on = match (query.device_id, query.twin_id) {
        (None, None) => RightsOn::Tenant,
        (Some(id), None) => RightsOn::Device(body::id_at("device_id", &id)?),
        (None, Some(id)) => RightsOn::Twin(body::id_at("twin_id", &id)?),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("give a device or a twin, not both").at("twin_id"));
        }
    };
    let rights = api.app.own_rights(&context, on).await?;
    let (whole, parts, here) = (rights.whole, rights.parts, rights.here);
    Ok(axum::Json(OwnRightsBody { whole, parts, here }))
}

/// Signs out.
#[utoipa::path(delete, path = "/v1/session", tag = "session", responses((status = 204)))]
async fn sign_out(State(api): State<Api>, Caller(context): Caller) -> Answer<impl IntoResponse> {
    api.app.sign_out(&context).await?;
    Ok((StatusCode::NO_CONTENT, no_cookie()))
}

/// Takes the session's cookie out of the browser.
pub(super) fn no_cookie() -> SetCookie {
    cookie_header(&format!(
        "{SESSION_COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
    ))
}

/// Proves again who one is, for acts that need it; the session goes on under a new token.
#[utoipa::path(post, path = "/v1/session/confirm", tag = "session", request_body = SignInProofBody,
    responses((status = 204), (status = 401), (status = 403), (status = 429)))]
async fn confirm(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(body): SecretJson<SignInProofBody>,
) -> Answer<impl IntoResponse> {
    let proof = Proof::try_from(body)?;
    let token = api.app.confirm_identity(&context, proof, &api.facts.relying_party()).await?;
    Ok((StatusCode::NO_CONTENT, set_cookie(&token)))
}

/// A one-time link's token.
#[derive(Deserialize, ToSchema)]
struct LinkBody {
    /// What follows `#` in the link.
    token: String,
}

impl Secrets for LinkBody {
    const NAMES: &'static [&'static str] = &["token"];
}

/// What a one-time link is for.
#[derive(Serialize, ToSchema)]
struct LinkFacts {
    /// `first_administrator`, `administrator`, `invitation` or `support`.
    kind: &'static str,
    /// The invited address.
    email: Option<String>,
    /// Who invites.
    organisation: Option<InvitingBody>,
    /// The address has an account: sign in with it, then `POST /v1/session/join`. Told only behind
    /// a link that was mailed.
    has_account: bool,
    /// Nobody has proven that account: instead of signing in with it a new one can be made, which
    /// gets nothing of it. The old one goes on at its own organisation's sign-in page.
    may_begin_anew: bool,
}

/// An organisation that invites.
#[derive(Serialize, ToSchema)]
struct InvitingBody {
    id: String,
    name: String,
}

/// Looks into a one-time link without using it up.
#[utoipa::path(post, path = "/v1/welcome/inspect", tag = "session", request_body = LinkBody,
    responses((status = 200, body = LinkFacts), (status = 404)))]
async fn inspect(
    State(api): State<Api>,
    Public(context): Public,
    SecretJson(body): SecretJson<LinkBody>,
) -> Answer<axum::Json<LinkFacts>> {
    let link = api.app.inspect_link(&context, &Secret::new(body.token)).await?;
    Ok(axum::Json(LinkFacts {
        kind: match link.kind {
            LinkKind::FirstAdministrator => "first_administrator",
            LinkKind::Administrator => "administrator",
            LinkKind::Invitation => "invitation",
            LinkKind::Support => "support",
        },
        email: link.email.map(Secret::into_exposed),
        organisation: link.tenant.map(|(id, name)| InvitingBody { id: id.to_string(), name }),
        has_account: link.has_account,
        may_begin_anew: link.may_begin_anew,
    }))
}

/// What a person enters behind a one-time link.
#[derive(Deserialize, ToSchema)]
struct WelcomeBody {
    /// What follows `#` in the link.
    token: String,
    /// Name of the organisation; needed for the first administrator.
    organisation: Option<String>,
    /// Needed unless the link is an invitation.
    email: Option<String>,
    /// Optional.
    name: Option<String>,
    /// The new password, at least 12 characters.
    password: String,
    /// That the person is 18 or older and acts for a business. Nobody gets in without it.
    #[serde(default)]
    attested: bool,
}

impl Secrets for WelcomeBody {
    const NAMES: &'static [&'static str] = &["password", "token"];
}

/// Uses a one-time link up: makes the account and signs in.
#[utoipa::path(post, path = "/v1/welcome", tag = "session", request_body = WelcomeBody,
    responses((status = 201, body = SessionBody), (status = 400), (status = 404)))]
async fn welcome(
    State(api): State<Api>,
    Public(context): Public,
    SecretJson(body): SecretJson<WelcomeBody>,
) -> Answer<impl IntoResponse> {
    let welcome = Welcome {
        organisation: body.organisation,
        email: body.email.map(Secret::new),
        name: body.name.map(Secret::new),
        password: Secret::new(body.password),
        attested: body.attested,
    };
    let link = Secret::new(body.token);
    let SignedIn { token, session } =
        api.app.redeem_link(&context, &link, welcome, &api.facts.address).await?;
    Ok((StatusCode::CREATED, set_cookie(&token), axum::Json(SessionBody::from(session))))
}

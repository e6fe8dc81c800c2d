//! A person's own account: how they sign in, their sessions, forgotten passwords and changed
//! addresses. Tokens travel in request bodies and the cookie, never in a URL.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::Proof;
use veritwin_app::model::{AccountView, OpenSession};
use veritwin_domain::Secret;

use super::auth::{Caller, HeldSession, Public};
use super::body::{self, Json, ListBody, Path, SecretJson, Secrets};
use super::session::{SignInProofBody, set_cookie};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(read, change))
        .routes(routes!(set_password))
        .routes(routes!(change_email))
        .routes(routes!(begin_authenticator, add_authenticator, remove_authenticator))
        .routes(routes!(recovery_codes))
        .routes(routes!(sessions, end_others))
        .routes(routes!(end_session))
        .routes(routes!(require_second_factor))
        .routes(routes!(ask_reset, reset))
        .routes(routes!(confirm_email))
}

/// A passkey.
#[derive(Serialize, ToSchema)]
struct PasskeyBody {
    id: String,
    name: String,
    created_at: String,
    last_used_at: Option<String>,
}

/// How the person signs in.
#[derive(Serialize, ToSchema)]
struct AccountBody {
    /// The organisation that alone knows the account: it signs in at
    /// `/sign-in?organisation=ID`. None for an account of the platform.
    organisation: Option<String>,
    /// When the address was shown to be theirs.
    email_verified_at: Option<String>,
    /// When they attested to be of age and to act for a business.
    attested_at: Option<String>,
    has_password: bool,
    /// When the authenticator was set up.
    authenticator_since: Option<String>,
    passkeys: Vec<PasskeyBody>,
    /// Recovery codes that were not used yet.
    recovery_codes: usize,
    /// Whether the organisation asks everybody for a second factor.
    second_factor_required: bool,
    /// Whether the platform can send mail.
    mails: bool,
    /// The organisation's own sign-in provider, when it has one.
    provider: Option<AccountProviderBody>,
}

/// The organisation's own sign-in provider, as one's account stands to it.
#[derive(Serialize, ToSchema)]
struct AccountProviderBody {
    name: String,
    /// Whether signing in there is signing in here.
    connected: bool,
}

impl From<AccountView> for AccountBody {
    fn from(view: AccountView) -> Self {
        let passkeys = view.passkeys.into_iter().map(|passkey| PasskeyBody {
            id: passkey.id.to_string(),
            name: passkey.name.into_exposed(),
            created_at: body::time(passkey.created_at),
            last_used_at: passkey.last_used_at.map(body::time),
        });
        Self {
            organisation: view.only_in.map(|id| id.to_string()),
            email_verified_at: view.email_verified_at.map(body::time),
            attested_at: view.attested_at.map(body::time),
            has_password: view.has_password,
            authenticator_since: view.authenticator_since.map(body::time),
            passkeys: passkeys.collect(),
            recovery_codes: view.recovery_codes,
            second_factor_required: view.second_factor_required,
            mails: view.mails,
            provider: view
                .provider
                .map(|(name, connected)| AccountProviderBody { name, connected }),
        }
    }
}

/// How one signs in.
#[utoipa::path(get, path = "/v1/account", tag = "account",
    responses((status = 200, body = AccountBody), (status = 403)))]
async fn read(State(api): State<Api>, Caller(context): Caller) -> Answer<axum::Json<AccountBody>> {
    Ok(axum::Json(api.app.account(&context).await?.into()))
}

/// What changes of an account.
#[derive(Deserialize, ToSchema)]
struct ProfileBody {
    /// The name; empty takes it away, left out it stays.
    name: Option<String>,
    /// The language that one is written to in: `en`, `zh-Hant`, `ja` or `ko`; left out it stays.
    language: Option<String>,
}

/// Changes one's name, and the language that one is written to in.
#[utoipa::path(patch, path = "/v1/account", tag = "account", request_body = ProfileBody,
    responses((status = 204), (status = 400), (status = 403)))]
async fn change(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<ProfileBody>,
) -> Answer<StatusCode> {
    let language = body.language.as_deref();
    let language = super::requests::maybe_language(language)?;
    let name = body.name.map(Secret::new);
    api.app.change_profile(&context, name.as_ref(), language).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new password, with the proof that it is its owner who sets it.
#[derive(Deserialize, ToSchema)]
struct NewPasswordBody {
    /// The new password, at least 12 characters.
    new_password: String,
    #[serde(flatten)]
    proof: SignInProofBody,
}

impl Secrets for NewPasswordBody {
    const NAMES: &'static [&'static str] = &["code", "new_password", "password"];
}

/// Sets a new password; every other session ends, this one goes on under a new token.
#[utoipa::path(post, path = "/v1/account/password", tag = "account",
    request_body = NewPasswordBody,
    responses((status = 204), (status = 400), (status = 401), (status = 403), (status = 429)))]
async fn set_password(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(body): SecretJson<NewPasswordBody>,
) -> Answer<impl IntoResponse> {
    let proof = Proof::try_from(body.proof)?;
    let new = Secret::new(body.new_password);
    let token = api.app.set_password(&context, proof, &new, &api.facts.relying_party()).await?;
    Ok((StatusCode::NO_CONTENT, set_cookie(&token)))
}

/// An address.
#[derive(Deserialize, ToSchema)]
struct EmailBody {
    email: String,
}

/// Asks to change one's address: a link goes to the new one, and only it changes anything.
#[utoipa::path(post, path = "/v1/account/email", tag = "account", request_body = EmailBody,
    responses((status = 202), (status = 400), (status = 403), (status = 503)))]
async fn change_email(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<EmailBody>,
) -> Answer<StatusCode> {
    let email = Secret::new(body.email);
    api.app.ask_email_change(&context, &email, &api.facts.address).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A new authenticator.
#[derive(Serialize, ToSchema)]
struct AuthenticatorBody {
    /// The secret to type in; shown once.
    secret: String,
    /// The same as `otpauth://totp/...`, for a QR code.
    uri: String,
}

/// Begins to set up an authenticator app.
#[utoipa::path(post, path = "/v1/account/authenticator", tag = "account",
    responses((status = 200, body = AuthenticatorBody), (status = 403)))]
async fn begin_authenticator(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<AuthenticatorBody>> {
    let made = api.app.begin_authenticator(&context).await?;
    let (secret, uri) = (made.secret.into_exposed(), made.uri.into_exposed());
    Ok(axum::Json(AuthenticatorBody { secret, uri }))
}

/// A code of an authenticator.
#[derive(Deserialize, ToSchema)]
struct CodeBody {
    code: String,
}

impl Secrets for CodeBody {
    const NAMES: &'static [&'static str] = &["code"];
}

/// Ends the set-up with the first code; the session goes on under a new token.
#[utoipa::path(put, path = "/v1/account/authenticator", tag = "account",
    request_body = CodeBody,
    responses((status = 204), (status = 400), (status = 403), (status = 404)))]
async fn add_authenticator(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(body): SecretJson<CodeBody>,
) -> Answer<impl IntoResponse> {
    let token = api.app.add_authenticator(&context, &Secret::new(body.code)).await?;
    Ok((StatusCode::NO_CONTENT, set_cookie(&token)))
}

/// Takes the authenticator away.
#[utoipa::path(delete, path = "/v1/account/authenticator", tag = "account",
    responses((status = 204), (status = 403), (status = 404)))]
async fn remove_authenticator(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<StatusCode> {
    api.app.remove_authenticator(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Recovery codes.
#[derive(Serialize, ToSchema)]
struct RecoveryBody {
    /// Each works once instead of a code of the authenticator; shown once.
    codes: Vec<String>,
}

/// Makes ten recovery codes; those of before stop working.
#[utoipa::path(post, path = "/v1/account/recovery-codes", tag = "account",
    responses((status = 200, body = RecoveryBody), (status = 403)))]
async fn recovery_codes(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<RecoveryBody>> {
    let codes = api.app.make_recovery_codes(&context).await?;
    Ok(axum::Json(RecoveryBody { codes: codes.into_iter().map(Secret::into_exposed).collect() }))
}

/// A sign-in that still goes on.
#[derive(Serialize, ToSchema)]
struct OpenSessionBody {
    id: String,
    /// The kind of browser.
    browser: Option<String>,
    /// The system.
    system: Option<String>,
    created_at: String,
    /// To the minute.
    last_seen_at: String,
    /// Whether it is the one that asks.
    current: bool,
}

impl From<OpenSession> for OpenSessionBody {
    fn from(view: OpenSession) -> Self {
        Self {
            id: view.id.to_string(),
            browser: view.browser,
            system: view.system,
            created_at: body::time(view.created_at),
            last_seen_at: body::time(view.last_seen_at),
            current: view.current,
        }
    }
}

/// One's sign-ins that still go on.
#[utoipa::path(get, path = "/v1/account/sessions", tag = "account",
    responses((status = 200, body = ListBody<OpenSessionBody>), (status = 403)))]
async fn sessions(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<OpenSessionBody>>> {
    let sessions = api.app.list_sessions(&context).await?;
    Ok(axum::Json(ListBody::whole(sessions.into_iter().map(OpenSessionBody::from).collect())))
}

/// Ends every session but this one.
#[utoipa::path(delete, path = "/v1/account/sessions", tag = "account",
    responses((status = 204), (status = 403)))]
async fn end_others(State(api): State<Api>, Caller(context): Caller) -> Answer<StatusCode> {
    api.app.end_other_sessions(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session.
#[utoipa::path(delete, path = "/v1/account/sessions/{id}", tag = "account",
    params(("id" = String, Path)), responses((status = 204), (status = 403), (status = 404)))]
async fn end_session(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.end_session(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an organisation asks of everybody who signs in.
#[derive(Deserialize, ToSchema)]
struct SignInRulesBody {
    /// Whether everybody needs a second factor.
    second_factor_required: bool,
}

/// Sets what the organisation asks of everybody who signs in.
#[utoipa::path(put, path = "/v1/tenants/sign-in", tag = "users", request_body = SignInRulesBody,
    responses((status = 204), (status = 403), (status = 409)))]
async fn require_second_factor(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<SignInRulesBody>,
) -> Answer<StatusCode> {
    api.app.require_second_factor(&context, body.second_factor_required).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who cannot sign in.
#[derive(Deserialize, ToSchema)]
struct AskResetBody {
    email: String,
    /// The organisation at whose sign-in page it was: its account is listed first.
    organisation: Option<String>,
}

/// Asks for a mail that lists the accounts of an address, at most five, each with its sign-in page
/// and a link that sets a new password. The answer is the same for every address: where there is
/// an account, a mail was sent within the last half hour, whose links work for as long again. Of
/// more than five accounts, one is surely listed when `organisation` is its own.
#[utoipa::path(post, path = "/v1/password-reset", tag = "session", request_body = AskResetBody,
    responses((status = 202), (status = 400), (status = 429), (status = 503)))]
async fn ask_reset(
    State(api): State<Api>,
    Public(context): Public,
    Json(body): Json<AskResetBody>,
) -> Answer<StatusCode> {
    let email = Secret::new(body.email);
    // One that is not there is as good as none.
    let at = body.organisation.and_then(|id| id.parse().ok());
    api.app.ask_password_reset(&context, &email, at, &api.facts.address).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A mailed link's token, with a new password.
#[derive(Deserialize, ToSchema)]
struct ResetBody {
    /// What follows `#` in the link.
    token: String,
    /// The new password, at least 12 characters.
    password: String,
}

impl Secrets for ResetBody {
    const NAMES: &'static [&'static str] = &["password", "token"];
}

/// Sets a new password with a mailed link; every session of the account ends.
#[utoipa::path(put, path = "/v1/password-reset", tag = "session", request_body = ResetBody,
    responses((status = 204), (status = 400), (status = 404)))]
async fn reset(
    State(api): State<Api>,
    Public(context): Public,
    SecretJson(body): SecretJson<ResetBody>,
) -> Answer<StatusCode> {
    let (token, password) = (Secret::new(body.token), Secret::new(body.password));
    api.app.reset_password(&context, &token, &password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A mailed link's token.
#[derive(Deserialize, ToSchema)]
struct ConfirmEmailBody {
    /// What follows `#` in the link.
    token: String,
}

impl Secrets for ConfirmEmailBody {
    const NAMES: &'static [&'static str] = &["token"];
}

/// Confirms an address with a mailed link, in the browser in which the account is signed in: the
/// link stays good until then.
#[utoipa::path(post, path = "/v1/email-confirmation", tag = "session",
    request_body = ConfirmEmailBody, responses((status = 204), (status = 401), (status = 404)))]
async fn confirm_email(
    State(api): State<Api>,
    Public(context): Public,
    HeldSession(session): HeldSession,
    SecretJson(body): SecretJson<ConfirmEmailBody>,
) -> Answer<StatusCode> {
    api.app.confirm_email(&context, &Secret::new(body.token), session.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

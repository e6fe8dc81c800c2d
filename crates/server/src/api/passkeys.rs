//! Passkeys: what a browser needs for `navigator.credentials`, and what it answers. Bytes travel
//! as base64url, as WebAuthn's own JSON form has them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::{Assertion, Registration};
use veritwin_domain::Secret;

use super::auth::{Caller, Public};
use super::body::{self, Json, Path};
use super::session::set_cookie;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(challenge))
        .routes(routes!(begin))
        .routes(routes!(add))
        .routes(routes!(remove))
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let wrong = |_| Problem::invalid("expected base64url without padding").at(field);
    URL_SAFE_NO_PAD.decode(text).map_err(wrong)
}

/// What an authenticator answers when a passkey is used.
#[derive(Deserialize, ToSchema)]
pub(super) struct AssertionBody {
    /// The credential's id.
    id: String,
    /// `response.clientDataJSON`.
    client_data: String,
    /// `response.authenticatorData`.
    authenticator_data: String,
    /// `response.signature`.
    signature: String,
}

impl TryFrom<AssertionBody> for Assertion {
    type Error = Problem;

    fn try_from(body: AssertionBody) -> Result<Self, Problem> {
        Ok(Self {
            credential: bytes("passkey.id", &body.id)?,
            client_data: bytes("passkey.client_data", &body.client_data)?,
            authenticator_data: bytes("passkey.authenticator_data", &body.authenticator_data)?,
            signature: bytes("passkey.signature", &body.signature)?,
        })
    }
}

/// A challenge for signing in with a passkey.
#[derive(Serialize, ToSchema)]
struct ChallengeBody {
    /// To be answered once, within five minutes.
    challenge: String,
    /// The relying party's id.
    rp_id: String,
}

/// A challenge for signing in, or for proving again who one is, with a passkey.
#[utoipa::path(post, path = "/v1/session/passkey", tag = "session",
    responses((status = 200, body = ChallengeBody)))]
async fn challenge(
    State(api): State<Api>,
    Public(context): Public,
) -> Answer<axum::Json<ChallengeBody>> {
    let challenge = URL_SAFE_NO_PAD.encode(api.app.passkey_challenge(&context)?);
    Ok(axum::Json(ChallengeBody { challenge, rp_id: api.facts.relying_party().id }))
}

/// What a browser needs to make a passkey.
#[derive(Serialize, ToSchema)]
struct NewPasskeyBody {
    /// To be answered once, within five minutes.
    challenge: String,
    /// The relying party's id.
    rp_id: String,
    /// The account's handle.
    user_id: String,
    /// The account's address.
    user_name: String,
    /// The account's name.
    user_display_name: String,
    /// COSE numbers of the algorithms, best first.
    algorithms: Vec<i64>,
    /// Credentials that the account has already.
    exclude: Vec<String>,
}

/// Begins to make a passkey.
#[utoipa::path(post, path = "/v1/account/passkeys/new", tag = "account",
    responses((status = 200, body = NewPasskeyBody), (status = 403), (status = 409)))]
async fn begin(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<NewPasskeyBody>> {
    let request = api.app.begin_passkey(&context).await?;
    let email = request.email.into_exposed();
    let name = request.name.into_exposed();
    Ok(axum::Json(NewPasskeyBody {
        challenge: URL_SAFE_NO_PAD.encode(&request.challenge),
        rp_id: api.facts.relying_party().id,
        user_id: URL_SAFE_NO_PAD.encode(request.user.as_bytes()),
        user_display_name: if name.is_empty() { email.clone() } else { name },
        user_name: email,
        algorithms: veritwin_app::PASSKEY_ALGORITHMS.to_vec(),
        exclude: request.known.iter().map(|id| URL_SAFE_NO_PAD.encode(id)).collect(),
    }))
}

/// A passkey that a browser made.
#[derive(Deserialize, ToSchema)]
struct RegistrationBody {
    /// What to call it.
    name: String,
    /// `response.clientDataJSON`.
    client_data: String,
    /// `response.attestationObject`.
    attestation: String,
}

/// Adds a passkey; the session goes on under a new token.
#[utoipa::path(post, path = "/v1/account/passkeys", tag = "account",
    request_body = RegistrationBody,
    responses((status = 204), (status = 400), (status = 403), (status = 409)))]
async fn add(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<RegistrationBody>,
) -> Answer<impl IntoResponse> {
    let made = Registration {
        client_data: bytes("client_data", &body.client_data)?,
        attestation: bytes("attestation", &body.attestation)?,
    };
    let party = api.facts.relying_party();
    let token = api.app.add_passkey(&context, &Secret::new(body.name), &made, &party).await?;
    Ok((StatusCode::NO_CONTENT, set_cookie(&token)))
}

/// Takes a passkey away.
#[utoipa::path(delete, path = "/v1/account/passkeys/{id}", tag = "account",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn remove(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.remove_passkey(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Credentials of devices. Secrets go out once, when they are made; what is shown afterwards is
//! never enough to come in with.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{CredentialChange, CredentialInput, CredentialView, NewCredential};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path, SecretJson, Secrets};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(credentials, add_credential))
        .routes(routes!(update_credential, revoke_credential))
}

/// A credential, without its secret.
#[derive(Serialize, ToSchema)]
struct CredentialBody {
    id: String,
    /// `access_token`, `basic` (user name and password) or `x509`.
    #[schema(schema_with = words::credential)]
    kind: &'static str,
    /// What people call it; may be empty.
    name: String,
    /// The MQTT client id that it is bound to.
    client_id: Option<String>,
    /// The user name.
    user: Option<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    fingerprint: Option<String>,
    /// The certificate's common name.
    common_name: Option<String>,
    /// The authority that vouches for the common name.
    authority_id: Option<String>,
    created_at: String,
    /// From when it counts.
    valid_from: Option<String>,
    /// Until when it counts; of a certificate its end at the latest.
    valid_until: Option<String>,
    /// Since when it lets nobody in.
    disabled_at: Option<String>,
    /// When it last let the device in, within ten minutes.
    last_used_at: Option<String>,
}

impl From<CredentialView> for CredentialBody {
    fn from(view: CredentialView) -> Self {
        Self {
            id: view.id.to_string(),
            kind: view.kind,
            name: view.name,
            client_id: view.client_id,
            user: view.user,
            fingerprint: view.fingerprint,
            common_name: view.common_name,
            authority_id: view.authority,
            created_at: body::time(view.created_at),
            valid_from: view.valid_from.map(body::time),
            valid_until: view.valid_until.map(body::time),
            disabled_at: view.disabled_at.map(body::time),
            last_used_at: view.used_at.map(body::time),
        }
    }
}

/// Lists a device's credentials.
#[utoipa::path(get, path = "/v1/devices/{id}/credentials", tag = "devices",
    params(("id" = String, Path)),
    responses((status = 200, body = ListBody<CredentialBody>), (status = 404)))]
async fn credentials(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<CredentialBody>>> {
    let credentials = api.app.credentials(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(credentials.into_iter().map(CredentialBody::from).collect())))
}

/// The credential that a new one takes the place of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplacedFields {
    id: String,
    /// Until when it goes on beside the new one.
    until: String,
}

/// What a credential is made of. Without a body: an access token that is made here.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CredentialFields {
    /// `access_token` (the default), `basic` or `x509`.
    #[schema(schema_with = words::credential, required = false)]
    kind: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// Of `access_token`: a token that the device has already, 12 to 256 bytes.
    token: Option<String>,
    /// Of `basic`: the MQTT client id that the device has to give.
    client_id: Option<String>,
    /// Of `basic`: the user name. It, the client id or both are needed.
    user: Option<String>,
    /// Of `basic`: the password, 12 to 256 bytes; without it one is made here.
    password: Option<String>,
    /// Of `x509`: the device's certificate, PEM.
    certificate: Option<String>,
    /// With `certificate`: a certificate with the code of `POST /v1/device-authorities/code` as its
    /// common name, signed with the same private key, PEM.
    proof: Option<String>,
    /// Of `x509`, instead of a certificate: the authority that vouches for `common_name`.
    authority_id: Option<String>,
    common_name: Option<String>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    replaces: Option<ReplacedFields>,
}

impl Secrets for CredentialFields {
    const NAMES: &'static [&'static str] = &["token", "password", "certificate", "proof"];
}

impl CredentialFields {
    fn parsed(self) -> Result<NewCredential, Problem> {
        let input = match self.kind.as_deref().unwrap_or("access_token") {
            "access_token" => self.token.map_or(CredentialInput::Token, |token| {
                CredentialInput::OwnToken(Secret::new(token))
            }),
            "basic" => CredentialInput::Basic {
                client_id: self.client_id,
                user: self.user,
                password: self.password.map(Secret::new),
            },
            "x509" => match (self.certificate, self.proof, self.authority_id, self.common_name) {
                (Some(certificate), Some(proof), None, _) => {
                    CredentialInput::Certificate { certificate, proof }
                }
                (None, None, Some(authority), Some(common_name)) => {
                    let authority = body::id_at("authority_id", &authority)?;
                    CredentialInput::CommonName { authority, common_name }
                }
                _ => {
                    let detail = "x509 needs certificate and proof, or authority_id and \
                                  common_name";
                    return Err(Problem::invalid(detail).at("certificate"));
                }
            },
            _ => {
                let detail = "kind must be access_token, basic or x509";
                return Err(Problem::invalid(detail).at("kind"));
            }
        };
        let time = |field: &str, text: Option<String>| {
            text.map(|text| body::parse_time(field, &text)).transpose()
        };
        let replaces = self.replaces.map(|old| {
            let until = body::parse_time("replaces.until", &old.until)?;
            Ok::<_, Problem>((body::id_at("replaces.id", &old.id)?, until))
        });
        Ok(NewCredential {
            name: self.name.unwrap_or_default(),
            input,
            valid_from: time("valid_from", self.valid_from)?,
            valid_until: time("valid_until", self.valid_until)?,
            replaces: replaces.transpose()?,
        })
    }
}

/// A new credential.
#[derive(Serialize, ToSchema)]
struct MadeCredentialBody {
    credential: CredentialBody,
    /// The access token that was made here; shown once.
    token: Option<String>,
    /// The password that was made here; shown once.
    password: Option<String>,
}

/// Gives a device another credential; the others keep working. With `replaces` one of them ends by
/// a stated time, so that the device can be changed over in between.
#[utoipa::path(post, path = "/v1/devices/{id}/credentials", tag = "devices",
    params(("id" = String, Path)), request_body = Option<CredentialFields>,
    responses((status = 201, body = MadeCredentialBody), (status = 400), (status = 404),
        (status = 409)))]
async fn add_credential(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    fields: Option<SecretJson<CredentialFields>>,
) -> Answer<impl IntoResponse> {
    let fields = fields.map(|SecretJson(fields)| fields).unwrap_or_default();
    let (id, new) = (body::id(&id)?, fields.parsed()?);
    let made = api.app.add_credential(&context, id, new).await?;
    if let Some((old, until)) = made.replaced {
        api.live.credential_ends(context.tenant, (id, old), Some(until));
    }
    let secret = made.secret.map(Secret::into_exposed);
    let is_password = made.view.kind == "basic";
    let (token, password) = if is_password { (None, secret) } else { (secret, None) };
    let body = MadeCredentialBody { credential: made.view.into(), token, password };
    Ok((StatusCode::CREATED, axum::Json(body)))
}

/// A change: only what is given changes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct CredentialChangeFields {
    name: Option<String>,
    /// Until when it counts; null: without an end of its own.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    valid_until: Option<Option<String>>,
    /// Whether it lets nobody in; a live connection that it opened ends at once.
    disabled: Option<bool>,
}

/// Tells null from what is not there.
pub(super) fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// The time in a member that may be null.
pub(super) fn given_time(
    field: &str,
    text: Option<Option<String>>,
) -> Result<Option<Option<veritwin_domain::Timestamp>>, Problem> {
    let parse = |text: Option<String>| text.map(|text| body::parse_time(field, &text)).transpose();
    text.map(parse).transpose()
}

/// Renames a credential, says until when it counts, disables it or enables it again.
#[utoipa::path(patch, path = "/v1/devices/{id}/credentials/{credential}", tag = "devices",
    params(("id" = String, Path), ("credential" = String, Path)),
    request_body = CredentialChangeFields,
    responses((status = 200, body = CredentialBody), (status = 400), (status = 404)))]
async fn update_credential(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, credential)): Path<(String, String)>,
    Json(fields): Json<CredentialChangeFields>,
) -> Answer<axum::Json<CredentialBody>> {
    let (id, credential) = (body::id(&id)?, body::id(&credential)?);
    let change = CredentialChange {
        name: fields.name,
        valid_until: given_time("valid_until", fields.valid_until)?,
        disabled: fields.disabled,
    };
    let view = api.app.update_credential(&context, (id, credential), change).await?;
    if view.disabled_at.is_some() {
        api.live.disconnect(context.tenant, id, Some(credential));
    }
    api.live.credential_ends(context.tenant, (id, credential), view.valid_until);
    Ok(axum::Json(view.into()))
}

/// Revokes a credential; a live connection that uses it ends at once.
#[utoipa::path(delete, path = "/v1/devices/{id}/credentials/{credential}", tag = "devices",
    params(("id" = String, Path), ("credential" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn revoke_credential(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((id, credential)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let (id, credential) = (body::id(&id)?, body::id(&credential)?);
    api.app.revoke_credential(&context, id, credential).await?;
    api.live.disconnect(context.tenant, id, Some(credential));
    Ok(StatusCode::NO_CONTENT)
}

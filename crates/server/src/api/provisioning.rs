//! How devices come in by themselves: authorities with their revocation lists, and provisioning
//! profiles. Key and secret of a profile go out once.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    AuthorityInput, AuthorityView, LandingInput, ProfileChange, ProfileInput, ProfileView,
    ProvisionStrategy,
};

use super::auth::Caller;
use super::body::{self, File, Json, ListBody, Path, SecretJson, Secrets};
use super::device_credentials::{given, given_time};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(authorities, register))
        .routes(routes!(code))
        .routes(routes!(update_authority, delete_authority))
        .routes(routes!(set_list))
        .routes(routes!(profiles, create_profile))
        .routes(routes!(update_profile, delete_profile))
}

/// An authority whose certificates let devices in.
#[derive(Serialize, ToSchema)]
struct AuthorityBody {
    id: String,
    name: String,
    /// The subject of its certificate.
    subject: String,
    /// SHA-256 of its certificate, in hexadecimal.
    fingerprint: String,
    /// When its certificate ends.
    valid_until: String,
    /// Whether a device is made for a common name that has none.
    creates: bool,
    /// The name of such a device; `*` stands for the common name.
    device_name: String,
    /// How many devices it may make, and how many it made.
    devices_max: u64,
    made: u64,
    #[serde(rename = "type")]
    kind: String,
    group_id: Option<String>,
    /// From where devices may come; empty: from anywhere.
    networks: Vec<String>,
    disabled: bool,
    /// How many certificates its revocation list names; null: there is no list.
    revoked: Option<u64>,
    /// By when its revocation list has to be replaced: afterwards its devices are refused.
    revocation_until: Option<String>,
    created_at: String,
}

impl From<AuthorityView> for AuthorityBody {
    fn from(view: AuthorityView) -> Self {
        let AuthorityInput { name, creates, device_name, devices_max, landing, disabled } =
            view.input;
        Self {
            id: view.id.to_string(),
            name,
            subject: view.subject,
            fingerprint: view.fingerprint,
            valid_until: body::time(view.valid_until),
            creates,
            device_name,
            devices_max,
            made: view.made,
            kind: landing.kind,
            group_id: landing.group.map(|id| id.to_string()),
            networks: landing.networks,
            disabled,
            revoked: view.revoked,
            revocation_until: view.revocation_until.map(body::time),
            created_at: body::time(view.created_at),
        }
    }
}

/// What is set of an authority.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AuthorityFields {
    name: String,
    /// Make a device for a common name that has none; no when not given.
    creates: Option<bool>,
    /// The name of such a device, with one `*` for the common name; `*` when not given.
    device_name: Option<String>,
    /// How many devices it may make; 1000 when not given.
    devices_max: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    group_id: Option<String>,
    networks: Option<Vec<String>>,
    disabled: Option<bool>,
}

impl AuthorityFields {
    fn parsed(self) -> Result<AuthorityInput, Problem> {
        Ok(AuthorityInput {
            name: self.name,
            creates: self.creates.unwrap_or_default(),
            device_name: self.device_name.unwrap_or_else(|| "*".to_owned()),
            devices_max: self.devices_max.unwrap_or(1000),
            landing: landing(self.kind, self.group_id.as_deref(), self.networks)?,
            disabled: self.disabled.unwrap_or_default(),
        })
    }
}

fn landing(
    kind: Option<String>,
    group: Option<&str>,
    networks: Option<Vec<String>>,
) -> Result<LandingInput, Problem> {
    Ok(LandingInput {
        kind: kind.unwrap_or_default(),
        group: group.map(|id| body::id_at("group_id", id)).transpose()?,
        networks: networks.unwrap_or_default(),
    })
}

/// A new authority.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterFields {
    /// The authority's certificate, PEM.
    certificate: String,
    /// A certificate that it issued to the code of `POST /v1/device-authorities/code`, PEM.
    proof: String,
    settings: AuthorityFields,
}

impl Secrets for RegisterFields {
    const NAMES: &'static [&'static str] = &["certificate", "proof"];
}

/// Lists the authorities whose certificates let devices in.
#[utoipa::path(get, path = "/v1/device-authorities", tag = "provisioning",
    responses((status = 200, body = ListBody<AuthorityBody>), (status = 403)))]
async fn authorities(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<AuthorityBody>>> {
    let all = api.app.device_authorities(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(AuthorityBody::from).collect())))
}

/// Registers an authority. Its private key has to be at hand: the proof shows it. A newer
/// certificate of the same name and key takes the place of the one that is registered: id and
/// settings stay, those of the request are for a new one. Live connections are looked at again.
/// An authority is one organisation's; another that registers it is answered 409.
#[utoipa::path(post, path = "/v1/device-authorities", tag = "provisioning",
    request_body = RegisterFields,
    responses((status = 201, body = AuthorityBody), (status = 400), (status = 403),
        (status = 409)))]
async fn register(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<RegisterFields>,
) -> Answer<impl IntoResponse> {
    let input = fields.settings.parsed()?;
    let shown = (fields.certificate.as_str(), fields.proof.as_str());
    let view = api.app.register_authority(&context, shown, input).await?;
    api.live.doubt_certificates(context.tenant);
    Ok((StatusCode::CREATED, body::etag(view.version), axum::Json(AuthorityBody::from(view))))
}

/// A certificate that somebody is about to hand in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeFields {
    /// PEM.
    certificate: String,
}

impl Secrets for CodeFields {
    const NAMES: &'static [&'static str] = &["certificate"];
}

/// What the proof for a certificate has to carry as its common name.
#[derive(Serialize, ToSchema)]
struct ProofCodeBody {
    code: String,
}

/// The code for the proof that the private key of a certificate is at hand: of an authority or of
/// a device. It is always the same for one certificate and organisation.
#[utoipa::path(post, path = "/v1/device-authorities/code", tag = "provisioning",
    request_body = CodeFields,
    responses((status = 200, body = ProofCodeBody), (status = 400), (status = 403)))]
async fn code(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<CodeFields>,
) -> Answer<axum::Json<ProofCodeBody>> {
    let code = api.app.certificate_code(&context, &fields.certificate).await?;
    Ok(axum::Json(ProofCodeBody { code }))
}

/// Changes what is set of an authority; live connections of its devices are looked at again.
#[utoipa::path(put, path = "/v1/device-authorities/{id}", tag = "provisioning",
    params(("id" = String, Path)), request_body = AuthorityFields,
    responses((status = 200, body = AuthorityBody), (status = 400), (status = 404),
        (status = 409)))]
async fn update_authority(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(fields): Json<AuthorityFields>,
) -> Answer<impl IntoResponse> {
    let (id, version) = (body::id(&id)?, body::if_match(&headers)?);
    let view = api.app.update_authority(&context, id, fields.parsed()?, version).await?;
    api.live.doubt_certificates(context.tenant);
    Ok((body::etag(view.version), axum::Json(AuthorityBody::from(view))))
}

/// Takes an authority away: its certificates let nobody in any more. The devices stay.
#[utoipa::path(delete, path = "/v1/device-authorities/{id}", tag = "provisioning",
    params(("id" = String, Path)), responses((status = 204), (status = 403), (status = 404)))]
async fn delete_authority(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_authority(&context, body::id(&id)?).await?;
    api.live.doubt_certificates(context.tenant);
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the authority's revocation list, PEM or DER, signed by it and not past its next update;
/// an empty body takes it away. Sessions of revoked certificates end at once.
#[utoipa::path(put, path = "/v1/device-authorities/{id}/revocation-list", tag = "provisioning",
    params(("id" = String, Path)),
    request_body(content = String, content_type = "application/pkix-crl"),
    responses((status = 200, body = AuthorityBody), (status = 400), (status = 404)))]
async fn set_list(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    File(bytes): File,
) -> Answer<axum::Json<AuthorityBody>> {
    let view = api.app.set_revocation_list(&context, body::id(&id)?, &bytes).await?;
    api.live.doubt_certificates(context.tenant);
    Ok(axum::Json(view.into()))
}

/// A provisioning profile.
#[derive(Serialize, ToSchema)]
struct ProvisionProfileBody {
    id: String,
    name: String,
    /// `create_new`: a device with a new name is made. `pre_provisioned`: a device that was made
    /// before gets its credential, once.
    #[schema(schema_with = words::strategy)]
    strategy: &'static str,
    /// How many devices it may let in, and how many came.
    devices_max: u64,
    made: u64,
    #[serde(rename = "type")]
    kind: String,
    group_id: Option<String>,
    /// From where devices may come; empty: from anywhere.
    networks: Vec<String>,
    expires_at: Option<String>,
    disabled_at: Option<String>,
    created_at: String,
}

impl From<ProfileView> for ProvisionProfileBody {
    fn from(view: ProfileView) -> Self {
        let ProfileInput { name, strategy, devices_max, landing, expires_at } = view.input;
        Self {
            id: view.id.to_string(),
            name,
            strategy: strategy.as_str(),
            devices_max,
            made: view.made,
            kind: landing.kind,
            group_id: landing.group.map(|id| id.to_string()),
            networks: landing.networks,
            expires_at: expires_at.map(body::time),
            disabled_at: view.disabled_at.map(body::time),
            created_at: body::time(view.created_at),
        }
    }
}

/// A new profile.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProfileFields {
    name: String,
    #[schema(schema_with = words::strategy)]
    strategy: String,
    devices_max: u64,
    #[serde(rename = "type")]
    kind: Option<String>,
    group_id: Option<String>,
    networks: Option<Vec<String>>,
    expires_at: Option<String>,
}

/// A new profile with what devices show.
#[derive(Serialize, ToSchema)]
struct MadeProvisionProfileBody {
    profile: ProvisionProfileBody,
    /// `provisionDeviceKey`; shown once.
    key: String,
    /// `provisionDeviceSecret`; shown once.
    secret: String,
}

/// Lists the provisioning profiles.
#[utoipa::path(get, path = "/v1/provision-profiles", tag = "provisioning",
    responses((status = 200, body = ListBody<ProvisionProfileBody>), (status = 403)))]
async fn profiles(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<ProvisionProfileBody>>> {
    let all = api.app.provision_profiles(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(ProvisionProfileBody::from).collect())))
}

/// Makes a provisioning profile; devices come in with its key and secret.
#[utoipa::path(post, path = "/v1/provision-profiles", tag = "provisioning",
    request_body = ProfileFields,
    responses((status = 201, body = MadeProvisionProfileBody), (status = 400), (status = 403)))]
async fn create_profile(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<ProfileFields>,
) -> Answer<impl IntoResponse> {
    let strategy = ProvisionStrategy::parse(&fields.strategy).ok_or_else(|| {
        Problem::invalid("strategy must be create_new or pre_provisioned").at("strategy")
    })?;
    let expires_at = fields.expires_at.map(|text| body::parse_time("expires_at", &text));
    let input = ProfileInput {
        name: fields.name,
        strategy,
        devices_max: fields.devices_max,
        landing: landing(fields.kind, fields.group_id.as_deref(), fields.networks)?,
        expires_at: expires_at.transpose()?,
    };
    let (view, key, secret) = api.app.create_profile(&context, input).await?;
    let (key, secret) = (key.into_exposed(), secret.into_exposed());
    let version = view.version;
    let made = MadeProvisionProfileBody { profile: view.into(), key, secret };
    Ok((StatusCode::CREATED, body::etag(version), axum::Json(made)))
}

/// A change: only what is given changes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct ProfileChangeFields {
    name: Option<String>,
    devices_max: Option<u64>,
    /// When it ends; null: without an end.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
    /// Whether it lets nobody in.
    disabled: Option<bool>,
}

/// Changes a profile; it holds from the next request of a device on.
#[utoipa::path(patch, path = "/v1/provision-profiles/{id}", tag = "provisioning",
    params(("id" = String, Path)), request_body = ProfileChangeFields,
    responses((status = 200, body = ProvisionProfileBody), (status = 400), (status = 404),
        (status = 409)))]
async fn update_profile(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(fields): Json<ProfileChangeFields>,
) -> Answer<impl IntoResponse> {
    let (id, version) = (body::id(&id)?, body::if_match(&headers)?);
    let change = ProfileChange {
        name: fields.name,
        devices_max: fields.devices_max,
        expires_at: given_time("expires_at", fields.expires_at)?,
        disabled: fields.disabled,
    };
    let view = api.app.update_profile(&context, id, change, version).await?;
    Ok((body::etag(view.version), axum::Json(ProvisionProfileBody::from(view))))
}

/// Deletes a profile. Devices that came in by it stay.
#[utoipa::path(delete, path = "/v1/provision-profiles/{id}", tag = "provisioning",
    params(("id" = String, Path)), responses((status = 204), (status = 403), (status = 404)))]
async fn delete_profile(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_profile(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

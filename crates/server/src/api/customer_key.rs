//! The key above a customer's own: whose it is, how it is, and what its owner does with it. What a
//! key service is asked with comes in and never goes out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ImportWrapping, ProviderKind, ProviderSettings};
use veritwin_app::{
    CustomerKeyView, KEY_TTL_DEFAULT_S, KeyChangeView, KeyResealView, KeyServiceInput,
    KeyServiceView,
};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json, SecretJson, Secrets};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(read, hold, give_back))
        .routes(routes!(test))
        .routes(routes!(begin_import, finish_import))
        .routes(routes!(rotate))
        .routes(routes!(reseal))
        .routes(routes!(revoke))
        .routes(routes!(restore))
}

/// The service that holds a key.
#[derive(Serialize, ToSchema)]
struct KeyServiceBody {
    #[schema(schema_with = words::key_service_kind)]
    kind: &'static str,
    address: String,
    /// The key's name there.
    key: String,
    /// Transit mount, AWS region or token label.
    place: Option<String>,
    /// How long a key is in memory after an answer, in seconds.
    ttl_s: u64,
    /// What protects the key, as the service says: `hardware`, `software` or `unstated`.
    protection: String,
    /// When it last gave the key, since the platform started.
    answered_at: Option<String>,
    /// Why it gives none, if it does not.
    problem: Option<String>,
}

impl From<KeyServiceView> for KeyServiceBody {
    fn from(view: KeyServiceView) -> Self {
        Self {
            kind: view.kind,
            address: view.address,
            key: view.key,
            place: view.place,
            ttl_s: view.ttl_s,
            protection: view.protection,
            answered_at: view.answered_at.map(body::time),
            problem: view.problem,
        }
    }
}

/// A change of whose key stands above, on its way.
#[derive(Serialize, ToSchema)]
struct KeyChangeBody {
    #[schema(schema_with = words::key_level)]
    level: String,
    since: String,
    /// Data keys that are to be wrapped anew.
    total: u64,
    /// Data keys that are.
    done: u64,
    /// What it waits for.
    problem: Option<String>,
}

impl From<KeyChangeView> for KeyChangeBody {
    fn from(view: KeyChangeView) -> Self {
        Self {
            level: view.level,
            since: body::time(view.since),
            total: view.total,
            done: view.done,
            problem: view.problem,
        }
    }
}

/// Readings that are sealed anew under new data keys.
#[derive(Serialize, ToSchema)]
struct KeyResealBody {
    since: String,
    /// Old data keys when it began.
    total: u64,
    /// Those of them that seal nothing any more.
    done: u64,
    /// What it waits for.
    problem: Option<String>,
}

impl From<KeyResealView> for KeyResealBody {
    fn from(view: KeyResealView) -> Self {
        let (total, done, problem) = (view.total, view.done, view.problem);
        Self { since: body::time(view.since), total, done, problem }
    }
}

/// The key above a customer's keys.
#[derive(Serialize, ToSchema)]
struct CustomerKeyBody {
    #[schema(schema_with = words::key_level)]
    level: &'static str,
    /// Since when; null for a customer that never had another level than the platform's.
    level_since: Option<String>,
    /// The level that the plan pays for.
    #[schema(schema_with = words::key_level)]
    plan_level: &'static str,
    #[schema(schema_with = words::key_state)]
    state: &'static str,
    /// Since when, unless it is active.
    state_since: Option<String>,
    /// Version of the customer's own key.
    version: u32,
    created_at: Option<String>,
    last_used_at: Option<String>,
    /// By whom, as a kind and an id, if the key is held elsewhere.
    last_used_by: Option<String>,
    /// The purpose, if the key is held elsewhere.
    last_used_for: Option<&'static str>,
    service: Option<KeyServiceBody>,
    /// Fingerprint of the key that was brought.
    fingerprint: Option<String>,
    change: Option<KeyChangeBody>,
    reseal: Option<KeyResealBody>,
    /// Bytes of readings that wait in the log for the key.
    waiting_bytes: u64,
    /// Readings were taken that are not in history yet.
    behind: bool,
    /// Kinds of services that this installation reaches.
    service_kinds: Vec<&'static str>,
}

impl From<CustomerKeyView> for CustomerKeyBody {
    fn from(view: CustomerKeyView) -> Self {
        Self {
            level: view.level,
            level_since: view.level_since.map(body::time),
            plan_level: view.plan_level,
            state: view.state,
            state_since: view.state_since.map(body::time),
            version: view.version,
            created_at: view.created_at.map(body::time),
            last_used_at: view.last_used_at.map(body::time),
            last_used_by: view.last_used_by,
            last_used_for: view.last_used_for,
            service: view.service.map(KeyServiceBody::from),
            fingerprint: view.fingerprint,
            change: view.change.map(KeyChangeBody::from),
            reseal: view.reseal.map(KeyResealBody::from),
            waiting_bytes: view.waiting_bytes,
            behind: view.is_behind,
            service_kinds: view.service_kinds,
        }
    }
}

/// A service that shall hold the key.
#[derive(Deserialize, ToSchema)]
struct KeyServiceFields {
    #[schema(schema_with = words::key_service_kind)]
    kind: String,
    /// `https://...`, or the path of a PKCS#11 module that the operator allows.
    address: String,
    /// XKS key id, transit key, KMS key ARN or PKCS#11 label.
    key: String,
    /// Transit mount, AWS region or token label.
    place: Option<String>,
    /// Access key id of XKS and AWS.
    user: Option<String>,
    /// Secret access key, token or PIN.
    credential: Option<String>,
    /// Certificates in PEM that the service's certificate chains to.
    trust: Option<String>,
    /// How long a key is in memory after an answer: 0 to 300 seconds, 60 if left out.
    ttl_s: Option<u64>,
}

impl Secrets for KeyServiceFields {
    const NAMES: &'static [&'static str] = &["credential", "trust", "user"];
}

impl TryFrom<KeyServiceFields> for KeyServiceInput {
    type Error = Problem;

    fn try_from(fields: KeyServiceFields) -> Result<Self, Problem> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let kind = ProviderKind::from_name(&fields.kind).ok_or_else(|| {
            let names = ProviderKind::ALL.map(ProviderKind::as_str).join(", ");
            Problem::invalid(format!("kind must be one of {names}")).at("kind")
        })?;
        let settings = ProviderSettings {
            kind,
            address: fields.address,
            key: fields.key,
            place: given(fields.place),
            user: given(fields.user),
            credential: given(fields.credential).map(Secret::new),
            trust: given(fields.trust),
        };
        Ok(Self { settings, ttl_s: fields.ttl_s.unwrap_or(KEY_TTL_DEFAULT_S) })
    }
}

/// What a test of a key service found.
#[derive(Serialize, ToSchema)]
struct KeyTestBody {
    /// The key's name at the service.
    key: String,
    /// Its kind, as the service names it.
    spec: String,
    /// `hardware`, `software` or `unstated`.
    protection: &'static str,
}

/// An import that waits for the wrapped key.
#[derive(Serialize, ToSchema)]
struct KeyImportBody {
    id: String,
    /// RSA-4096, in PEM: good for one import.
    public_key: String,
    /// Until when the wrapped key is taken.
    ends_at: String,
}

/// A key of 256 bits, wrapped.
#[derive(Deserialize, ToSchema)]
struct WrappedKeyFields {
    /// The import that it was wrapped for.
    id: String,
    #[schema(schema_with = words::import_wrapping)]
    wrapping: String,
    /// In base 64.
    wrapped_key: String,
}

impl Secrets for WrappedKeyFields {
    const NAMES: &'static [&'static str] = &["wrapped_key"];
}

/// A wish that has to be said twice.
#[derive(Deserialize, ToSchema)]
struct RevokeFields {
    /// The word `revoke`.
    confirm: String,
}

/// A new version of the customer's own key.
#[derive(Serialize, ToSchema)]
struct RotatedBody {
    old_version: u32,
    new_version: u32,
    /// Data keys that were wrapped anew.
    rewrapped: usize,
}

/// Whose the key above the customer's keys is, how it is, who used it last.
#[utoipa::path(get, path = "/v1/keys/customer", tag = "keys",
    responses((status = 200, body = CustomerKeyBody), (status = 403)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<CustomerKeyBody>> {
    Ok(axum::Json(api.app.customer_key(&context).await?.into()))
}

/// Puts the key into a service of the customer's, which is tried first. Every data key is wrapped
/// anew by it.
#[utoipa::path(put, path = "/v1/keys/customer", tag = "keys", request_body = KeyServiceFields,
    responses((status = 200, body = CustomerKeyBody), (status = 400), (status = 403),
        (status = 409), (status = 503)))]
async fn hold(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<KeyServiceFields>,
) -> Answer<axum::Json<CustomerKeyBody>> {
    api.app.hold_key(&context, fields.try_into()?).await?;
    Ok(axum::Json(api.app.customer_key(&context).await?.into()))
}

/// Puts the platform's root above the customer's keys again.
#[utoipa::path(delete, path = "/v1/keys/customer", tag = "keys",
    responses((status = 200, body = CustomerKeyBody), (status = 403), (status = 503)))]
async fn give_back(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<CustomerKeyBody>> {
    api.app.key_to_platform(&context).await?;
    Ok(axum::Json(api.app.customer_key(&context).await?.into()))
}

/// Tries a key service with a key made up for it. Nothing is kept.
#[utoipa::path(post, path = "/v1/keys/customer/test", tag = "keys",
    request_body = KeyServiceFields,
    responses((status = 200, body = KeyTestBody), (status = 400), (status = 403),
        (status = 409), (status = 503)))]
async fn test(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<KeyServiceFields>,
) -> Answer<axum::Json<KeyTestBody>> {
    let found = api.app.test_key_service(&context, &fields.try_into()?).await?;
    Ok(axum::Json(KeyTestBody { key: found.key, spec: found.spec, protection: found.protection }))
}

/// Makes a wrapping key for one import, good for a day.
#[utoipa::path(post, path = "/v1/keys/imports", tag = "keys",
    responses((status = 201, body = KeyImportBody), (status = 403), (status = 409)))]
async fn begin_import(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<impl IntoResponse> {
    let import = api.app.begin_key_import(&context).await?;
    let import = KeyImportBody {
        id: import.id,
        public_key: import.public_key_pem,
        ends_at: body::time(import.ends_at),
    };
    Ok((StatusCode::CREATED, axum::Json(import)))
}

/// Takes the wrapped key. The wrapping key is good no more after it.
#[utoipa::path(put, path = "/v1/keys/imports", tag = "keys", request_body = WrappedKeyFields,
    responses((status = 200, body = CustomerKeyBody), (status = 400), (status = 403),
        (status = 404), (status = 409)))]
async fn finish_import(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<WrappedKeyFields>,
) -> Answer<axum::Json<CustomerKeyBody>> {
    let wrapping = ImportWrapping::from_name(&fields.wrapping).ok_or_else(|| {
        let names = ImportWrapping::ALL.map(ImportWrapping::as_str).join(", ");
        Problem::invalid(format!("wrapping must be one of {names}")).at("wrapping")
    })?;
    api.app.finish_key_import(&context, &fields.id, wrapping, &fields.wrapped_key).await?;
    Ok(axum::Json(api.app.customer_key(&context).await?.into()))
}

/// Makes a new version of the customer's own key. Data keys are wrapped anew, data is not.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "keys",
    responses((status = 200, body = RotatedBody), (status = 403), (status = 503)))]
async fn rotate(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<RotatedBody>> {
    let (old_version, new_version, rewrapped) = api.app.rotate_keys(&context).await?;
    Ok(axum::Json(RotatedBody { old_version, new_version, rewrapped }))
}

/// Seals the customer's readings anew under new data keys, in the background.
#[utoipa::path(post, path = "/v1/keys/reseal", tag = "keys",
    responses((status = 202, body = CustomerKeyBody), (status = 403), (status = 503)))]
async fn reseal(State(api): State<Api>, Caller(context): Caller) -> Answer<impl IntoResponse> {
    api.app.reseal_keys(&context).await?;
    let key: CustomerKeyBody = api.app.customer_key(&context).await?.into();
    Ok((StatusCode::ACCEPTED, axum::Json(key)))
}

/// Takes the customer's keys away: nothing is read or written until they are given back.
#[utoipa::path(post, path = "/v1/keys/revoke", tag = "keys", request_body = RevokeFields,
    responses((status = 204), (status = 400), (status = 403)))]
async fn revoke(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(fields): Json<RevokeFields>,
) -> Answer<StatusCode> {
    api.app.revoke_keys(&context, &fields.confirm).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives the customer's keys back. A service that refused is asked again.
#[utoipa::path(post, path = "/v1/keys/restore", tag = "keys",
    responses((status = 204), (status = 403), (status = 409), (status = 503)))]
async fn restore(State(api): State<Api>, Caller(context): Caller) -> Answer<StatusCode> {
    api.app.restore_keys(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

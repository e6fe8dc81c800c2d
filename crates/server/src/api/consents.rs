//! What people agree to: giving and withdrawing, the optional fields, signed records, and the ways
//! out of a consent that need no sign-in or are recorded for somebody.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::OptionalField;
use veritwin_app::model::{ConsentInput, ConsentRecordView, ConsentView, PrivacyView};
use veritwin_domain::Secret;

use super::auth::{Caller, Public};
use super::body::{self, Json, ListBody, Path, Query, SecretJson, Secrets};
use super::legal::{AnnouncementBody, PurposeBody, language};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(privacy))
        .routes(routes!(records, give))
        .routes(routes!(withdraw))
        .routes(routes!(set_field))
        .routes(routes!(by_link))
        .routes(routes!(of_member))
        .routes(routes!(record_withdrawal))
        .routes(routes!(address))
}

/// How one stands to a purpose that rests on consent.
#[derive(Serialize, ToSchema)]
struct ConsentBody {
    purpose: PurposeBody,
    /// `none`, `given`, `withdrawn`, or `earlier_text`: given to a text that has changed since.
    state: &'static str,
    /// When that was said.
    at: Option<String>,
    /// By which way: `settings`, `field_deleted`, `account_ended`, `mail_link`, `officer`, `api`.
    channel: Option<&'static str>,
    /// What stands in the field; shown to its person alone.
    value: Option<String>,
}

impl From<ConsentView> for ConsentBody {
    fn from(view: ConsentView) -> Self {
        Self {
            purpose: view.purpose.into(),
            state: view.state,
            at: view.at.map(body::time),
            channel: view.channel,
            value: view.value.map(Secret::into_exposed),
        }
    }
}

/// What one was told at sign-up.
#[derive(Serialize, ToSchema)]
struct SignUpNoticeBody {
    /// The version of the policy.
    version: u64,
    at: String,
    sha256: String,
    /// The text itself, a sentence a line.
    text: String,
}

/// One's own privacy settings.
#[derive(Serialize, ToSchema)]
struct PrivacyBody {
    /// The optional purposes.
    consents: Vec<ConsentBody>,
    /// What else data is processed for.
    purposes: Vec<PurposeBody>,
    /// What one was told at sign-up; accounts of before have none.
    notice: Option<SignUpNoticeBody>,
    announcement: Option<AnnouncementBody>,
}

impl From<PrivacyView> for PrivacyBody {
    fn from(view: PrivacyView) -> Self {
        Self {
            consents: view.consents.into_iter().map(ConsentBody::from).collect(),
            purposes: view.purposes.into_iter().map(PurposeBody::from).collect(),
            notice: view.notice.map(|notice| SignUpNoticeBody {
                version: notice.version,
                at: body::time(notice.at),
                sha256: notice.digest,
                text: notice.text,
            }),
            announcement: view.announcement.map(AnnouncementBody::from),
        }
    }
}

/// In which language.
#[derive(Deserialize, utoipa::IntoParams)]
struct LanguageQuery {
    /// `en`, `zh-Hant`, `ja` or `ko`; left out: `en`.
    language: Option<String>,
}

/// One's own privacy settings.
#[utoipa::path(get, path = "/v1/account/privacy", tag = "account", params(LanguageQuery),
    responses((status = 200, body = PrivacyBody), (status = 400), (status = 403)))]
async fn privacy(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<LanguageQuery>,
) -> Answer<axum::Json<PrivacyBody>> {
    let language = language(query.language.as_deref())?;
    Ok(axum::Json(api.app.privacy(&context, language).await?.into()))
}

/// A signed record of a decision, in the shape of ISO/IEC TS 27560.
#[derive(Serialize, ToSchema)]
struct ConsentRecordBody {
    purpose: String,
    /// `given` or `withdrawn`.
    decision: &'static str,
    channel: &'static str,
    at: String,
    /// The record with its signature, JSON: `veritwin consent-check` checks it.
    record: String,
}

impl From<ConsentRecordView> for ConsentRecordBody {
    fn from(view: ConsentRecordView) -> Self {
        Self {
            purpose: view.purpose,
            decision: view.decision,
            channel: view.channel,
            at: body::time(view.at),
            record: view.record,
        }
    }
}

/// One's own signed records, newest first.
#[utoipa::path(get, path = "/v1/account/consents", tag = "account",
    responses((status = 200, body = ListBody<ConsentRecordBody>), (status = 403)))]
async fn records(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<ConsentRecordBody>>> {
    let records = api.app.consent_records(&context).await?;
    Ok(axum::Json(ListBody::whole(records.into_iter().map(ConsentRecordBody::from).collect())))
}

/// A consent.
#[derive(Deserialize, ToSchema)]
struct GiveConsentBody {
    /// The purpose's name.
    purpose: String,
    /// The version of the text that was read.
    version: u32,
    /// The field that serves the purpose; left out: the one that is there.
    #[serde(default)]
    value: String,
}

/// Agrees to a purpose, and gives the field that serves it.
#[utoipa::path(post, path = "/v1/account/consents", tag = "account", request_body = GiveConsentBody,
    responses((status = 204), (status = 400), (status = 403), (status = 409), (status = 429)))]
async fn give(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<GiveConsentBody>,
) -> Answer<StatusCode> {
    let GiveConsentBody { purpose, version, value } = input;
    let input = ConsentInput { purpose, version, value: Secret::new(value) };
    api.app.give_consent(&context, input, &api.facts.address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A purpose.
#[derive(Deserialize, ToSchema)]
struct WithdrawConsentBody {
    /// The purpose's name.
    purpose: String,
}

/// Withdraws a consent of one's own, and deletes the field that served it.
#[utoipa::path(post, path = "/v1/account/consents/withdraw", tag = "account",
    request_body = WithdrawConsentBody, responses((status = 204), (status = 400), (status = 403)))]
async fn withdraw(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<WithdrawConsentBody>,
) -> Answer<StatusCode> {
    api.app.withdraw_consent(&context, &input.purpose).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An optional field.
#[derive(Deserialize, ToSchema)]
struct OptionalFieldBody {
    /// `phone` or `address`.
    field: String,
    /// What it holds from now on; empty deletes it and withdraws the consent.
    value: String,
}

/// Writes an optional field, for which there has to be a consent, or deletes it.
#[utoipa::path(put, path = "/v1/account/fields", tag = "account", request_body = OptionalFieldBody,
    responses((status = 204), (status = 400), (status = 403), (status = 409)))]
async fn set_field(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<OptionalFieldBody>,
) -> Answer<StatusCode> {
    let wrong = |()| Problem::invalid("field: expected phone or address".to_owned());
    let field = input.field.parse::<OptionalField>().map_err(wrong)?;
    api.app.set_optional_field(&context, field, &Secret::new(input.value)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A mailed link's token.
#[derive(Deserialize, ToSchema)]
struct WithdrawLinkBody {
    /// What follows `#` in the link.
    token: String,
}

impl Secrets for WithdrawLinkBody {
    const NAMES: &'static [&'static str] = &["token"];
}

/// What was withdrawn.
#[derive(Serialize, ToSchema)]
struct WithdrawnConsentBody {
    /// The short name of the purpose.
    title: String,
}

/// Withdraws a consent by the link in a mail; needs no sign-in. Once more does nothing.
#[utoipa::path(post, path = "/v1/consent-withdrawal", tag = "account",
    request_body = WithdrawLinkBody,
    responses((status = 200, body = WithdrawnConsentBody), (status = 400), (status = 404)))]
async fn by_link(
    State(api): State<Api>,
    Public(context): Public,
    SecretJson(input): SecretJson<WithdrawLinkBody>,
) -> Answer<axum::Json<WithdrawnConsentBody>> {
    let token = Secret::new(input.token);
    let title = api.app.withdraw_consent_by_link(&context, &token).await?;
    Ok(axum::Json(WithdrawnConsentBody { title }))
}

/// What a member agreed to, without what stands in the fields.
#[utoipa::path(get, path = "/v1/users/{id}/consents", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = ListBody<ConsentBody>), (status = 403), (status = 404)))]
async fn of_member(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ListBody<ConsentBody>>> {
    let consents = api.app.consents_of_member(&context, body::id(&id)?).await?;
    Ok(axum::Json(ListBody::whole(consents.into_iter().map(ConsentBody::from).collect())))
}

/// Records that a member withdrew a consent by mail or by word; by an API key: through a program
/// of the organisation.
#[utoipa::path(post, path = "/v1/users/{id}/consents/withdraw", tag = "users",
    params(("id" = String, Path)), request_body = WithdrawConsentBody,
    responses((status = 204), (status = 400), (status = 403), (status = 404)))]
async fn record_withdrawal(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(input): Json<WithdrawConsentBody>,
) -> Answer<StatusCode> {
    api.app.record_withdrawal(&context, body::id(&id)?, &input.purpose).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A postal address.
#[derive(Serialize, ToSchema)]
struct PostalAddressBody {
    address: String,
}

/// The postal address of a member, for letters, while they agree to that.
#[utoipa::path(get, path = "/v1/users/{id}/address", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = PostalAddressBody), (status = 403), (status = 404),
        (status = 409)))]
async fn address(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<PostalAddressBody>> {
    let address = api.app.postal_address_of(&context, body::id(&id)?).await?;
    Ok(axum::Json(PostalAddressBody { address: address.into_exposed() }))
}

//! A tenant's brand, and the face that a host name shows to anybody: facts, style sheet, logo.
//! The host name chooses what is shown and nothing else.

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::Door;
use veritwin_app::model::{BrandInput, BrandView};

use super::auth::{Caller, Public};
use super::body::{self, File, Json, Query};
use super::tenants::AnsweredByBody;
use super::{Answer, Api};

pub(super) fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(face))
        .routes(routes!(read, replace))
        .routes(routes!(put_logo, delete_logo))
}

/// What pages load without asking: the sheet and the picture of a host name.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/theme.css", axum::routing::get(theme))
        .route("/brand/logo.png", axum::routing::get(logo))
}

/// The host name a request was made to.
pub(super) struct Host(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for Host {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // Over HTTP/2 the name stands in `:authority`.
        let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        let stated = || parts.headers.get(header::HOST)?.to_str().ok().map(ToOwned::to_owned);
        Ok(Self(authority.or_else(stated)))
    }
}

/// The organisation whose own sign-in page it is.
#[derive(Deserialize, utoipa::IntoParams)]
struct DoorQuery {
    /// Its id; left out, or of none that there is: the host name's face.
    organisation: Option<String>,
}

impl DoorQuery {
    fn at<'a>(&self, host: &'a Host) -> Door<'a> {
        let organisation = self.organisation.as_deref().and_then(|id| id.parse().ok());
        Door { host: host.0.as_deref(), organisation }
    }
}

/// An organisation at its own sign-in page.
#[derive(Serialize, ToSchema)]
struct DoorBody {
    id: String,
    name: String,
}

/// What a host name, or an organisation's own sign-in page, shows before sign-in.
#[derive(Serialize, ToSchema)]
struct FaceBody {
    /// The organisation that was named.
    organisation: Option<DoorBody>,
    /// Whether there is an organisation yet, whose administrators invite others.
    set_up: bool,
    /// The product's name.
    product: String,
    /// Where the logo is; null: the built-in one.
    logo: Option<String>,
    answered_by: AnsweredByBody,
    /// Privacy policy: an `https` address or a text; empty: none.
    privacy: String,
    /// Terms: an `https` address or a text; empty: none.
    terms: String,
    /// Who stands behind the page: an `https` address or a text; empty: none.
    imprint: String,
    /// The host name that passkeys belong to: at another one a browser offers none.
    passkey_host: String,
}

/// The face of the host name asked, or of an organisation's own sign-in page: needs no sign-in.
#[utoipa::path(get, path = "/v1/face", tag = "brand", params(DoorQuery),
    responses((status = 200, body = FaceBody)))]
async fn face(
    State(api): State<Api>,
    Public(context): Public,
    host: Host,
    Query(query): Query<DoorQuery>,
) -> Answer<axum::Json<FaceBody>> {
    let face = api.app.face(&context, query.at(&host))?;
    let at = face.organisation.as_ref();
    let at = at.map(|(id, _)| format!("&organisation={id}")).unwrap_or_default();
    let logo = format!("/brand/logo.png?v={}{at}", face.version);
    Ok(axum::Json(FaceBody {
        organisation: face.organisation.map(|(id, name)| DoorBody { id: id.to_string(), name }),
        set_up: face.is_set_up,
        product: face.product,
        logo: face.has_logo.then_some(logo),
        answered_by: face.answered_by.into(),
        privacy: face.privacy,
        terms: face.terms,
        imprint: face.imprint,
        passkey_host: api.facts.relying_party().id,
    }))
}

async fn theme(
    State(api): State<Api>,
    Public(context): Public,
    host: Host,
    Query(query): Query<DoorQuery>,
) -> Answer<impl IntoResponse> {
    let css = api.app.theme_css(&context, query.at(&host))?;
    let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
    Ok(([kind, (header::VARY, "host")], css))
}

async fn logo(
    State(api): State<Api>,
    Public(context): Public,
    host: Host,
    Query(query): Query<DoorQuery>,
) -> Answer<impl IntoResponse> {
    let png = api.app.logo(&context, query.at(&host))?;
    Ok(([(header::CONTENT_TYPE, "image/png"), (header::VARY, "host")], png))
}

/// How a tenant presents itself. An empty text is not set.
#[derive(Serialize, Deserialize, ToSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct BrandFields {
    /// The product's name, in titles and mails.
    product: String,
    /// `#rrggbb` in the light scheme, readable on its surfaces (contrast of 4.5 at least).
    light: String,
    /// `#rrggbb` in the dark scheme, readable on its surfaces.
    dark: String,
    /// Who answers: the name people read. A partner with it answers for its customers.
    contact_name: String,
    contact_email: String,
    /// Postal address.
    contact_address: String,
    /// Privacy policy: an `https` address or a text.
    privacy: String,
    /// Terms: an `https` address or a text.
    terms: String,
    /// Who stands behind the page: an `https` address or a text.
    imprint: String,
}

/// A tenant's brand.
#[derive(Serialize, ToSchema)]
struct BrandBody {
    brand: BrandFields,
    has_logo: bool,
    /// The host names that show it; given by whoever is above.
    hosts: Vec<String>,
}

impl From<BrandFields> for BrandInput {
    fn from(fields: BrandFields) -> Self {
        Self {
            product: fields.product,
            light: fields.light,
            dark: fields.dark,
            contact_name: fields.contact_name,
            contact_email: fields.contact_email,
            contact_address: fields.contact_address,
            privacy: fields.privacy,
            terms: fields.terms,
            imprint: fields.imprint,
        }
    }
}

impl From<BrandView> for BrandBody {
    fn from(view: BrandView) -> Self {
        Self {
            brand: BrandFields {
                product: view.brand.product,
                light: view.brand.light,
                dark: view.brand.dark,
                contact_name: view.brand.contact_name,
                contact_email: view.brand.contact_email,
                contact_address: view.brand.contact_address,
                privacy: view.brand.privacy,
                terms: view.brand.terms,
                imprint: view.brand.imprint,
            },
            has_logo: view.has_logo,
            hosts: view.hosts,
        }
    }
}

/// The tenant's own brand.
#[utoipa::path(get, path = "/v1/brand", tag = "brand",
    responses((status = 200, body = BrandBody), (status = 403)))]
async fn read(State(api): State<Api>, Caller(context): Caller) -> Answer<impl IntoResponse> {
    let view = api.app.brand(&context).await?;
    Ok((body::etag(view.version), axum::Json(BrandBody::from(view))))
}

/// Replaces the tenant's own brand; the logo stays.
#[utoipa::path(put, path = "/v1/brand", tag = "brand", request_body = BrandFields,
    responses((status = 200, body = BrandBody), (status = 400), (status = 403), (status = 409)))]
async fn replace(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(input): Json<BrandFields>,
) -> Answer<impl IntoResponse> {
    let if_version = body::if_match(&headers)?;
    let view = api.app.replace_brand(&context, input.into(), if_version).await?;
    Ok((body::etag(view.version), axum::Json(BrandBody::from(view))))
}

/// Replaces the logo: a PNG image of at most 256 KiB and 1024 pixels a side. It is written anew
/// from its checked parts; other formats are refused.
#[utoipa::path(put, path = "/v1/brand/logo", tag = "brand",
    request_body(content = String, content_type = "image/png"),
    responses((status = 200, body = BrandBody), (status = 400), (status = 403), (status = 413)))]
async fn put_logo(
    State(api): State<Api>,
    Caller(context): Caller,
    File(png): File,
) -> Answer<axum::Json<BrandBody>> {
    let view = api.app.replace_logo(&context, Some(&png)).await?;
    Ok(axum::Json(view.into()))
}

/// Takes the logo away.
#[utoipa::path(delete, path = "/v1/brand/logo", tag = "brand",
    responses((status = 200, body = BrandBody), (status = 403)))]
async fn delete_logo(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<BrandBody>> {
    Ok(axum::Json(api.app.replace_logo(&context, None).await?.into()))
}

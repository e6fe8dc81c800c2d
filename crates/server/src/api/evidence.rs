//! What is known of evidence, and the register of certificates.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{CertificateContent, CertificateFacts, EvidenceContent, EvidenceFacts};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::governed::{fields, governed};
use super::holds::MadeBody;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_evidence, record))
        .routes(routes!(register, enter))
        .routes(routes!(strike))
}

fields! {
    /// What is known of a piece of evidence; the evidence itself stays where it is.
    EvidenceFields of EvidenceContent {
        title: String,
        source: String,
        collector: String,
        collector_version: String,
        /// Of the evidence itself, in hexadecimal.
        sha256: String,
        period_from: Option<String>,
        period_to: Option<String>,
        collected_at: Option<String>,
        /// Until when it counts.
        expires_at: Option<String>,
        /// Ids of the controls it is for.
        controls: Vec<String>,
        #[schema(schema_with = words::evidence_result)]
        result: String,
        /// The collector's signature, as it gave it.
        signature: String,
        /// The id of the piece that this one replaces.
        previous: Option<String>,
    }
}

/// How a piece of evidence is kept.
#[derive(Serialize, ToSchema)]
struct EvidenceFactsBody {
    /// Of this record, in hexadecimal; it is what the ledger holds.
    record_sha256: String,
    ledger_index: Option<u64>,
    /// The promise whose check it is; null for what people and programs bring.
    promise: Option<String>,
    previous_sha256: Option<String>,
}

impl From<EvidenceFacts> for EvidenceFactsBody {
    fn from(facts: EvidenceFacts) -> Self {
        Self {
            record_sha256: facts.record_sha256,
            ledger_index: facts.ledger_index,
            promise: facts.promise,
            previous_sha256: facts.previous_sha256,
        }
    }
}

governed! {
    /// A piece of evidence. Its state is `current`, `expired` or `superseded`.
    EvidenceRecordBody of EvidenceContent as EvidenceFields
        with EvidenceFacts as EvidenceFactsBody
}

fields! {
    /// A certificate or an audit report.
    RegisteredCertificateFields of CertificateContent {
        #[schema(schema_with = words::standard)]
        standard: String,
        /// As it is printed.
        holder: String,
        #[schema(schema_with = words::certificate_relation)]
        relation: String,
        scope: String,
        issuer: String,
        number: String,
        /// Of the document, in hexadecimal.
        sha256: String,
        valid_from: Option<String>,
        expires_at: Option<String>,
    }
}

/// How a certificate is shown.
#[derive(Serialize, ToSchema)]
struct RegisteredCertificateFactsBody {
    /// Whose register it stands in.
    register_of: String,
    /// Whether that organisation is its holder. A supplier's never is its own.
    is_own: bool,
}

impl From<CertificateFacts> for RegisteredCertificateFactsBody {
    fn from(facts: CertificateFacts) -> Self {
        Self { register_of: facts.register_of, is_own: facts.is_own }
    }
}

governed! {
    /// A certificate of the register. Its state is `valid` or `expired`.
    RegisteredCertificateBody of CertificateContent as RegisteredCertificateFields
        with CertificateFacts as RegisteredCertificateFactsBody
}

/// Lists what is known of evidence: what was brought, newest first, then what the platform's own
/// checks found last.
#[utoipa::path(get, path = "/v1/evidence", tag = "governance", params(PageQuery),
    responses((status = 200, body = ListBody<EvidenceRecordBody>), (status = 400), (status = 403)))]
async fn list_evidence(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<EvidenceRecordBody>>> {
    let listed = api.app.list_evidence(&context, &page.into()).await?;
    Ok(axum::Json(ListBody::of(listed, EvidenceRecordBody::from)))
}

/// Writes down what is known of a piece of evidence. It is not changed afterwards, only replaced.
#[utoipa::path(post, path = "/v1/evidence", tag = "governance", request_body = EvidenceFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 409),
        (status = 413)))]
async fn record(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<EvidenceFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.record_evidence(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Lists the organisation's certificates and those of the platform's operator.
#[utoipa::path(get, path = "/v1/certificate-register", tag = "governance",
    responses((status = 200, body = ListBody<RegisteredCertificateBody>), (status = 403)))]
async fn register(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<RegisteredCertificateBody>>> {
    let all = api.app.list_certificate_register(&context).await?;
    let items = all.into_iter().map(RegisteredCertificateBody::from).collect();
    Ok(axum::Json(ListBody::whole(items)))
}

/// Enters a certificate. One's own names one's own organisation as its holder.
#[utoipa::path(post, path = "/v1/certificate-register", tag = "governance",
    request_body = RegisteredCertificateFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 413)))]
async fn enter(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<RegisteredCertificateFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.enter_certificate(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Takes a certificate out of the register.
#[utoipa::path(delete, path = "/v1/certificate-register/{id}", tag = "governance",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn strike(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.strike_certificate(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

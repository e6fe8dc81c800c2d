//! Breaches of personal data: opened, described, notified, closed, and written out as a register.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    BreachContent, BreachFacts, BreachNoticeInput, BreachNoticeView, BreachTextView, Governed,
};

use super::activity::csv_field;
use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::governed::{WhyBody, fields, governed};
use super::holds::MadeBody;
use super::requests::maybe_language;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_breaches, open_breach))
        .routes(routes!(read_breach, replace_breach))
        .routes(routes!(notify))
        .routes(routes!(close_breach))
        .routes(routes!(register))
}

fields! {
    /// What is known of a breach. Role, drill, incident and moment of awareness are said when it is
    /// opened and stay.
    BreachFields of BreachContent {
        title: String,
        /// The id of the incident it came out of.
        incident: Option<String>,
        #[schema(schema_with = words::breach_role)]
        role: String,
        /// A drill is marked everywhere, and nothing of it leaves.
        is_drill: bool,
        /// When the organisation became aware: the 72 hours begin here. Now, if it is left out.
        aware_at: Option<String>,
        nature: String,
        /// About how many people; null while that is not known.
        subjects: Option<u64>,
        /// About how many records; null while that is not known.
        records: Option<u64>,
        contact: String,
        consequences: String,
        measures: String,
        #[schema(schema_with = words::breach_risk)]
        risk: String,
        risk_reason: String,
        /// On which ground of Article 34(3) of the GDPR people are not told of a high risk: the
        /// data is `protected`, the risk was `removed`, or telling each is `disproportionate`;
        /// empty: they are told.
        #[schema(schema_with = words::breach_ground)]
        not_told_ground: String,
        /// What that ground rests on; stated with it.
        why_not_subjects: String,
        /// Where the public is told in their place; stated with `disproportionate`.
        public_notice: String,
        authority: String,
        authority_email: String,
        /// Why a notice comes later than 72 hours.
        late_reason: String,
        /// Who had the data: names out of the registers.
        recipients: Vec<String>,
        /// Where it was: jurisdictions out of the registers.
        regions: Vec<String>,
    }
}

/// The text of a notice in a language.
#[derive(Serialize, ToSchema)]
struct BreachTextBody {
    /// `en`, `zh-Hant`, `ja` or `ko`.
    language: String,
    /// In hexadecimal.
    sha256: String,
}

impl From<BreachTextView> for BreachTextBody {
    fn from(view: BreachTextView) -> Self {
        Self { language: view.language, sha256: view.sha256 }
    }
}

/// A notice that was sent.
#[derive(Serialize, ToSchema)]
struct BreachNoticeBody {
    #[schema(schema_with = words::breach_notice_to)]
    to: String,
    #[schema(schema_with = words::breach_phase)]
    phase: String,
    at: String,
    recipients: u64,
    /// Of its text, in hexadecimal; in several languages, of the first.
    sha256: String,
    /// Its text in each language that it was ready in.
    texts: Vec<BreachTextBody>,
    /// It was a drill's: nothing left.
    is_drill: bool,
    is_late: bool,
}

impl From<BreachNoticeView> for BreachNoticeBody {
    fn from(view: BreachNoticeView) -> Self {
        Self {
            to: view.to,
            phase: view.phase,
            at: view.at,
            recipients: view.recipients,
            sha256: view.sha256,
            texts: view.texts.into_iter().map(BreachTextBody::from).collect(),
            is_drill: view.is_drill,
            is_late: view.is_late,
        }
    }
}

/// How a breach stands.
#[derive(Serialize, ToSchema)]
struct BreachFactsBody {
    /// When the 72 hours end.
    ends_at: Option<String>,
    /// Fields that a whole notice still lacks.
    missing: Vec<String>,
    /// What is still owed: `first`, a notice within the 72 hours; `subjects`, one to the people
    /// concerned; `final`, a final one. Alarms go on until nothing is.
    owed: Vec<String>,
    /// Oldest first.
    notices: Vec<BreachNoticeBody>,
    /// Hours of the clock at which an alarm was raised.
    alarms: Vec<u64>,
    /// Recipients that the registers name.
    known_recipients: Vec<String>,
    /// Regions that the registers name.
    known_regions: Vec<String>,
}

impl From<BreachFacts> for BreachFactsBody {
    fn from(facts: BreachFacts) -> Self {
        Self {
            ends_at: facts.ends_at.map(body::time),
            missing: facts.missing,
            owed: facts.owed,
            notices: facts.notices.into_iter().map(BreachNoticeBody::from).collect(),
            alarms: facts.alarms,
            known_recipients: facts.known.recipients,
            known_regions: facts.known.regions,
        }
    }
}

governed! {
    /// A breach. Its state is `open`, `told` or `closed`.
    BreachBody of BreachContent as BreachFields with BreachFacts as BreachFactsBody
}

/// Lists the breaches, newest first, drills among them.
#[utoipa::path(get, path = "/v1/breaches", tag = "incidents", params(PageQuery),
    responses((status = 200, body = ListBody<BreachBody>), (status = 400), (status = 403)))]
async fn list_breaches(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<BreachBody>>> {
    let listed = api.app.list_breaches(&context, &page.into()).await?;
    Ok(axum::Json(ListBody::of(listed, BreachBody::from)))
}

/// Opens a breach, by hand or out of an incident: its clock of 72 hours runs.
#[utoipa::path(post, path = "/v1/breaches", tag = "incidents", request_body = BreachFields,
    responses((status = 201, body = MadeBody), (status = 400), (status = 403), (status = 413)))]
async fn open_breach(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<BreachFields>,
) -> Answer<impl IntoResponse> {
    let id = api.app.open_breach(&context, body.parse()?).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(MadeBody { id })))
}

/// Reads a breach.
#[utoipa::path(get, path = "/v1/breaches/{id}", tag = "incidents", params(("id" = String, Path)),
    responses((status = 200, body = BreachBody), (status = 404)))]
async fn read_breach(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<BreachBody>> {
    Ok(axum::Json(api.app.breach(&context, body::id(&id)?).await?.into()))
}

/// Changes what is known of a breach.
#[utoipa::path(put, path = "/v1/breaches/{id}", tag = "incidents", params(("id" = String, Path)),
    request_body = BreachFields,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn replace_breach(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<BreachFields>,
) -> Answer<StatusCode> {
    let version = body::if_match(&headers)?;
    api.app.replace_breach(&context, body::id(&id)?, body.parse()?, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A notice to send.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct SendNoticeBody {
    #[schema(schema_with = words::breach_notice_to)]
    to: String,
    #[schema(schema_with = words::breach_phase)]
    phase: String,
    /// Its language: `en`, `zh-Hant`, `ja` or `ko`; left out: English. People concerned read it in
    /// the language of their account, as far as one is known. What you wrote stays as it is.
    language: Option<String>,
    /// Addresses, for people and controllers; an authority's stands in the breach.
    recipients: Vec<String>,
    /// Ids of organisations below, whose administrators are told.
    tenant_ids: Vec<String>,
}

/// Sends a notice. One that lacks something is refused with what it lacks, and nothing is sent.
#[utoipa::path(post, path = "/v1/breaches/{id}/notices", tag = "incidents",
    params(("id" = String, Path)), request_body = SendNoticeBody,
    responses((status = 204), (status = 400), (status = 403), (status = 404), (status = 409)))]
async fn notify(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<SendNoticeBody>,
) -> Answer<StatusCode> {
    let tenants = body.tenant_ids.iter().map(|text| body::id_at("tenant_ids", text));
    let input = BreachNoticeInput {
        to: body.to,
        phase: body.phase,
        language: maybe_language(body.language.as_deref())?,
        recipients: body.recipients,
        tenants: tenants.collect::<Result<_, _>>()?,
    };
    api.app.notify_breach(&context, body::id(&id)?, input).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Closes a breach with a conclusion. One that still owes somebody a notice is refused with what it
/// owes: a final notice, a notice to the people whom a high risk concerns, or on which ground not.
#[utoipa::path(post, path = "/v1/breaches/{id}/close", tag = "incidents",
    params(("id" = String, Path)), request_body = WhyBody,
    responses((status = 204), (status = 400), (status = 404), (status = 409)))]
async fn close_breach(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<WhyBody>,
) -> Answer<StatusCode> {
    api.app.close_breach(&context, body::id(&id)?, &body.text).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The register of breaches as a table (Article 33(5) of the GDPR); drills say that they are.
#[utoipa::path(get, path = "/v1/breach-register", tag = "incidents",
    responses((status = 200, content_type = "text/csv", body = String), (status = 403)))]
async fn register(State(api): State<Api>, Caller(context): Caller) -> Answer<Response> {
    let table = csv(&api.app.breach_register(&context).await?);
    let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], table).into_response();
    let name = HeaderValue::from_static("attachment; filename=\"breaches.csv\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// RFC 4180.
fn csv(breaches: &[Governed<BreachContent, BreachFacts>]) -> String {
    let mut out = String::from(
        "id,drill,title,role,state,aware_at,ends_at,nature,subjects,records,consequences,measures,\
         risk,risk_reason,authority,notices,late_reason,not_told_ground,why_not_subjects,\
         public_notice\r\n",
    );
    for breach in breaches {
        let content = &breach.content;
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let notices = breach.facts.notices.iter();
        let notices = notices.map(|one| format!("{} {} {}", one.at, one.to, one.phase));
        let fields = [
            breach.id.to_string(),
            if content.is_drill { "drill" } else { "" }.to_owned(),
            content.title.clone(),
            content.role.clone(),
            breach.state.clone(),
            content.aware_at.map(body::time).unwrap_or_default(),
            breach.facts.ends_at.map(body::time).unwrap_or_default(),
            content.nature.clone(),
            number(content.subjects),
            number(content.records),
            content.consequences.clone(),
            content.measures.clone(),
            content.risk.clone(),
            content.risk_reason.clone(),
            content.authority.clone(),
            notices.collect::<Vec<_>>().join("; "),
            content.late_reason.clone(),
            content.not_told_ground.clone(),
            content.why_not_subjects.clone(),
            content.public_notice.clone(),
        ];
        let fields: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        // Writing to a string cannot fail.
        let _ = write!(out, "{}\r\n", fields.join(","));
    }
    out
}

//! The published texts, for anybody; their versions and who was told of them, and publishing one.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    AnnouncementView, LegalText, LegalVersionInput, LegalVersionView, PurposeView, SubProcessor,
};
use veritwin_app::{Block, BlockKind, Document, Door, Generated, Language};

use super::auth::{Caller, Public};
use super::body::{self, Json, ListBody, Query};
use super::brand::Host;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(read))
        .routes(routes!(versions, publish))
        .routes(routes!(see))
}

/// Which text, in which language.
#[derive(Deserialize, utoipa::IntoParams)]
struct TextQuery {
    /// `privacy`, `terms`, `dpa`, `cookies`, `roles`, `sub-processors` or `jurisdictions`.
    document: String,
    /// `en`, `zh-Hant`, `ja` or `ko`; left out: `en`, the one in force.
    language: Option<String>,
    /// The organisation whose own sign-in page it is.
    organisation: Option<String>,
}

/// A sentence with the promises that it makes.
#[derive(Serialize, ToSchema)]
struct LegalSentenceBody {
    /// Its words; a link stands as `[words](address)`.
    text: String,
    /// The numbers of the promises.
    promises: Vec<String>,
}

/// A part of a text.
#[derive(Serialize, ToSchema)]
struct LegalBlockBody {
    /// `title`, `heading`, `paragraph`, `item`, or the place of a list: `sub_processors`,
    /// `processor_purposes`, `controller_purposes`.
    kind: &'static str,
    sentences: Vec<LegalSentenceBody>,
}

/// A provider that the operator uses to run the service.
#[derive(Serialize, ToSchema)]
struct SubProcessorBody {
    name: String,
    purpose: String,
    country: String,
    /// How it is bound.
    agreement: String,
}

/// Why data is processed.
#[derive(Serialize, ToSchema)]
pub(super) struct PurposeBody {
    id: String,
    /// The version of its text.
    version: u32,
    title: String,
    /// What it is; of a consent, what one agrees to.
    text: String,
    /// `processor` or `controller`.
    role: &'static str,
    /// `instruction`, `contract`, `legitimate_interest`, `legal_obligation` or `consent`.
    basis: &'static str,
    /// Who receives the data: `administrators`, `auditors`, `authorities`, `email_provider`,
    /// `payment_processor`, `registered_places`, `sms_gateway`.
    recipients: Vec<String>,
    /// The optional field that serves it: `phone` or `address`.
    field: Option<&'static str>,
    /// Whether people are asked for their consent.
    asked: bool,
}

impl From<PurposeView> for PurposeBody {
    fn from(view: PurposeView) -> Self {
        Self {
            id: view.id,
            version: view.version,
            title: view.title,
            text: view.text,
            role: view.role,
            basis: view.basis,
            recipients: view.recipients,
            field: view.field,
            asked: view.is_asked,
        }
    }
}

/// A change that is on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct AnnouncementBody {
    version: u64,
    /// What changes.
    summary: String,
    /// Whether it changes something for people.
    material: bool,
    effective_at: String,
    /// Whether the caller has seen it.
    seen: bool,
}

impl From<AnnouncementView> for AnnouncementBody {
    fn from(view: AnnouncementView) -> Self {
        Self {
            version: view.version,
            summary: view.summary,
            material: view.is_material,
            effective_at: body::time(view.effective_at),
            seen: view.is_seen,
        }
    }
}

/// A published text.
#[derive(Serialize, ToSchema)]
struct LegalTextBody {
    document: &'static str,
    language: &'static str,
    /// The version of the policy in force.
    version: u64,
    effective_at: String,
    /// When its sentences were reviewed last, a date.
    reviewed: String,
    /// SHA-256 of the English text.
    sha256: String,
    blocks: Vec<LegalBlockBody>,
    sub_processors: Vec<SubProcessorBody>,
    purposes: Vec<PurposeBody>,
    announcement: Option<AnnouncementBody>,
}

const fn kind(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Title => "title",
        BlockKind::Heading => "heading",
        BlockKind::Paragraph => "paragraph",
        BlockKind::Item => "item",
        BlockKind::List(Generated::SubProcessors) => "sub_processors",
        BlockKind::List(Generated::ProcessorPurposes) => "processor_purposes",
        BlockKind::List(Generated::ControllerPurposes) => "controller_purposes",
    }
}

impl From<Block> for LegalBlockBody {
    fn from(block: Block) -> Self {
        let sentences = block.sentences.into_iter().map(|sentence| LegalSentenceBody {
            promises: sentence.promises.iter().map(ToString::to_string).collect(),
            text: sentence.text,
        });
        Self { kind: kind(block.kind), sentences: sentences.collect() }
    }
}

impl From<SubProcessor> for SubProcessorBody {
    fn from(one: SubProcessor) -> Self {
        let SubProcessor { name, purpose, country, agreement } = one;
        Self { name, purpose, country, agreement }
    }
}

impl From<LegalText> for LegalTextBody {
    fn from(text: LegalText) -> Self {
        Self {
            document: text.document,
            language: text.language,
            version: text.version,
            effective_at: body::time(text.effective_at),
            reviewed: text.reviewed,
            sha256: text.digest,
            blocks: text.blocks.into_iter().map(LegalBlockBody::from).collect(),
            sub_processors: text.sub_processors.into_iter().map(SubProcessorBody::from).collect(),
            purposes: text.purposes.into_iter().map(PurposeBody::from).collect(),
            announcement: text.announcement.map(AnnouncementBody::from),
        }
    }
}

/// A language by its tag; English when none is named.
pub(super) fn language(tag: Option<&str>) -> Result<Language, Problem> {
    let wrong = |()| Problem::invalid("language: expected en, zh-Hant, ja or ko".to_owned());
    tag.map_or(Ok(Language::English), |tag| tag.parse().map_err(wrong))
}

/// A published text, as it is in force; needs no sign-in.
#[utoipa::path(get, path = "/v1/legal", tag = "legal", params(TextQuery),
    responses((status = 200, body = LegalTextBody), (status = 400)))]
async fn read(
    State(api): State<Api>,
    Public(context): Public,
    host: Host,
    Query(query): Query<TextQuery>,
) -> Answer<axum::Json<LegalTextBody>> {
    let wrong = |()| {
        let known = Document::ALL.map(Document::as_str).join(", ");
        Problem::invalid(format!("document: expected one of {known}"))
    };
    let document = query.document.parse::<Document>().map_err(wrong)?;
    let language = language(query.language.as_deref())?;
    let organisation = query.organisation.as_deref().and_then(|id| id.parse().ok());
    let door = Door { host: host.0.as_deref(), organisation };
    let text = api.app.legal_text(&context, door, document, language).await?;
    Ok(axum::Json(text.into()))
}

/// How many notices are in which state.
#[derive(Serialize, ToSchema)]
struct NoticeCountsBody {
    queued: u64,
    delivered: u64,
    failed: u64,
    seen: u64,
}

/// A published version.
#[derive(Serialize, ToSchema)]
struct LegalVersionBody {
    version: u64,
    summary: String,
    material: bool,
    announced_at: String,
    effective_at: String,
    in_force: bool,
    sha256: String,
    /// For the platform's own people.
    notices: Option<NoticeCountsBody>,
}

impl From<LegalVersionView> for LegalVersionBody {
    fn from(view: LegalVersionView) -> Self {
        let notices = view.notices.map(|[queued, delivered, failed, seen]| NoticeCountsBody {
            queued,
            delivered,
            failed,
            seen,
        });
        Self {
            version: view.version,
            summary: view.summary,
            material: view.is_material,
            announced_at: body::time(view.announced_at),
            effective_at: body::time(view.effective_at),
            in_force: view.is_in_force,
            sha256: view.digest,
            notices,
        }
    }
}

/// Every version of the texts, newest first.
#[utoipa::path(get, path = "/v1/legal/versions", tag = "legal",
    responses((status = 200, body = ListBody<LegalVersionBody>), (status = 403)))]
async fn versions(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<LegalVersionBody>>> {
    let versions = api.app.legal_versions(&context).await?;
    Ok(axum::Json(ListBody::whole(versions.into_iter().map(LegalVersionBody::from).collect())))
}

/// A version that is to be published.
#[derive(Deserialize, ToSchema)]
struct PublishLegalBody {
    /// What changes, in words that people read; at most 1,000 characters.
    summary: String,
    /// Whether it changes something for people; what the configuration says otherwise always does.
    #[serde(default)]
    material: bool,
    /// When it takes effect: of a material change, at least 30 days from now.
    effective_at: String,
}

/// Its number.
#[derive(Serialize, ToSchema)]
struct PublishedLegalBody {
    version: u64,
}

/// Publishes a version of the texts: everybody is told by mail and in the service.
#[utoipa::path(post, path = "/v1/legal/versions", tag = "legal", request_body = PublishLegalBody,
    responses((status = 201, body = PublishedLegalBody), (status = 400), (status = 403)))]
async fn publish(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<PublishLegalBody>,
) -> Answer<(StatusCode, axum::Json<PublishedLegalBody>)> {
    let input = LegalVersionInput {
        summary: input.summary,
        is_material: input.material,
        effective_at: body::parse_time("effective_at", &input.effective_at)?,
    };
    let version = api.app.publish_legal_version(&context, input, &api.facts.address).await?;
    Ok((StatusCode::CREATED, axum::Json(PublishedLegalBody { version })))
}

/// Which announcement.
#[derive(Deserialize, ToSchema)]
struct SeenAnnouncementBody {
    version: u64,
}

/// Says that one saw the announcement of a version.
#[utoipa::path(post, path = "/v1/legal/seen", tag = "legal", request_body = SeenAnnouncementBody,
    responses((status = 204), (status = 403), (status = 404)))]
async fn see(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<SeenAnnouncementBody>,
) -> Answer<StatusCode> {
    api.app.see_announcement(&context, input.version).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Sensor streams and what is declared of them: the list, declarations that can be taken back, and
//! rules for groups.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    DeclarationInput, StreamActView, StreamCounts, StreamPage, StreamQuery, StreamRuleInput,
    StreamRuleView, StreamState, StreamSubject, StreamTarget, StreamView, SubjectQuery,
    SubjectStreamView,
};
use veritwin_domain::{Declaration, Key};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(about))
        .routes(routes!(acts, declare))
        .routes(routes!(undo))
        .routes(routes!(rules, create_rule))
        .routes(routes!(delete_rule))
}

/// Whose data a personal stream is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum SubjectBody {
    /// The person whose device it is.
    Device {
        /// Who that is, in your words: a name, a staff number, an address.
        #[serde(default)]
        person: Option<String>,
    },
    /// Whoever another series of the same device names at the same time.
    Field {
        /// That series.
        field: String,
    },
}

impl From<SubjectBody> for StreamSubject {
    fn from(body: SubjectBody) -> Self {
        match body {
            SubjectBody::Device { person } => Self::Device { person },
            SubjectBody::Field { field } => Self::Field { key: field },
        }
    }
}

impl From<StreamSubject> for SubjectBody {
    fn from(subject: StreamSubject) -> Self {
        match subject {
            StreamSubject::Device { person } => Self::Device { person },
            StreamSubject::Field { key } => Self::Field { field: key },
        }
    }
}

/// Which streams are wanted; everything given must hold.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct StreamsQuery {
    /// `waiting` (the default): those that nobody declared yet; `personal`, `non_personal`, `all`.
    state: Option<String>,
    /// Streams of one device.
    device_id: Option<String>,
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
}

/// A stream and what counts for it.
#[derive(Serialize, ToSchema)]
struct StreamBody {
    device_id: String,
    device_name: String,
    device_type: String,
    key: String,
    #[schema(schema_with = words::declaration)]
    declaration: &'static str,
    /// What that rests on, the most specific first: said of this `stream`, of its `device`, by a
    /// `rule`; `presumed`, since it looks like access control; `nothing`.
    #[schema(schema_with = words::ground)]
    ground: &'static str,
    rule_id: Option<String>,
    /// Of personal streams.
    subject: Option<SubjectBody>,
    declared_at: Option<String>,
    declared_by: Option<String>,
}

impl From<StreamView> for StreamBody {
    fn from(view: StreamView) -> Self {
        Self {
            device_id: view.device.to_string(),
            device_name: view.device_name.to_string(),
            device_type: view.device_type.to_string(),
            key: view.key.to_string(),
            declaration: view.declaration.as_str(),
            ground: view.ground,
            rule_id: view.rule.map(|id| id.to_string()),
            subject: view.subject.map(SubjectBody::from),
            declared_at: view.declared_at.map(body::time),
            declared_by: view.declared_by,
        }
    }
}

/// How many streams there are in each state.
#[derive(Serialize, ToSchema)]
struct StreamCountsBody {
    /// Nobody declared them yet, presumed ones among them.
    waiting: usize,
    /// Personal, by a declaration or presumed.
    personal: usize,
    /// Open to whoever reads telemetry.
    non_personal: usize,
}

impl From<StreamCounts> for StreamCountsBody {
    fn from(counts: StreamCounts) -> Self {
        let StreamCounts { waiting, personal, non_personal } = counts;
        Self { waiting, personal, non_personal }
    }
}

/// A page of streams.
#[derive(Serialize, ToSchema)]
struct StreamPageBody {
    /// The rows, by device.
    items: Vec<StreamBody>,
    /// Opaque; null on the last page.
    next_cursor: Option<String>,
    /// Given with the first page, null with the others.
    counts: Option<StreamCountsBody>,
}

/// A stream, or a device as a whole.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TargetBody {
    device_id: String,
    /// One of its series; the device as a whole when not given.
    #[serde(default)]
    key: Option<String>,
}

/// A declaration.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeclareBody {
    /// At most 500; all of them or none.
    targets: Vec<TargetBody>,
    /// `undeclared` takes back what was said of just this stream or device.
    #[schema(schema_with = words::declaration)]
    declaration: String,
    /// Whose data it is: needed with `personal`, refused otherwise.
    #[serde(default)]
    subject: Option<SubjectBody>,
}

/// One step of a declaration.
#[derive(Serialize, ToSchema)]
struct StepBody {
    /// Null for a rule.
    device_id: Option<String>,
    device_name: Option<String>,
    key: Option<String>,
    /// The type that a rule is about.
    device_type: Option<String>,
    #[schema(schema_with = words::declaration)]
    before: &'static str,
    #[schema(schema_with = words::declaration)]
    after: &'static str,
}

/// A declaration that was made.
#[derive(Serialize, ToSchema)]
struct DeclarationBody {
    id: String,
    at: String,
    by: String,
    /// When it was taken back.
    undone_at: Option<String>,
    /// How many steps it has.
    count: usize,
    /// The first 20 of them.
    steps: Vec<StepBody>,
}

impl From<StreamActView> for DeclarationBody {
    fn from(view: StreamActView) -> Self {
        let steps = view.steps.into_iter().map(|step| StepBody {
            device_id: step.device.map(|id| id.to_string()),
            device_name: step.device_name.map(|name| name.to_string()),
            key: step.key,
            device_type: step.device_type,
            before: step.before.as_str(),
            after: step.after.as_str(),
        });
        Self {
            id: view.id.to_string(),
            at: body::time(view.at),
            by: view.by,
            undone_at: view.undone_at.map(body::time),
            count: view.count,
            steps: steps.collect(),
        }
    }
}

/// A declaration for a group of streams: those that are there and those that come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StreamRuleBody {
    /// Devices of this type, in any case; of any type when not given.
    #[serde(default)]
    device_type: Option<String>,
    /// Streams with this key, in any case, `*` standing for anything; all when not given.
    #[serde(default)]
    key: Option<String>,
    #[schema(schema_with = words::declared)]
    declaration: String,
    /// Whose data it is: needed with `personal`, refused otherwise. Without a person.
    #[serde(default)]
    subject: Option<SubjectBody>,
}

/// A stored rule.
#[derive(Serialize, ToSchema)]
struct StoredStreamRuleBody {
    id: String,
    device_type: Option<String>,
    key: Option<String>,
    #[schema(schema_with = words::declared)]
    declaration: &'static str,
    subject: Option<SubjectBody>,
    declared_at: String,
    declared_by: String,
    /// For how many streams it counts now: a more specific declaration comes before it.
    streams: usize,
}

impl From<StreamRuleView> for StoredStreamRuleBody {
    fn from(view: StreamRuleView) -> Self {
        Self {
            id: view.id.to_string(),
            device_type: view.rule.device_type,
            key: view.rule.key,
            declaration: view.rule.declaration.as_str(),
            subject: view.rule.subject.map(SubjectBody::from),
            declared_at: body::time(view.declared_at),
            declared_by: view.declared_by,
            streams: view.streams,
        }
    }
}

fn declaration(text: &str) -> Result<Declaration, Problem> {
    Declaration::parse(text).ok_or_else(|| {
        Problem::invalid("declaration must be undeclared, non_personal or personal")
            .at("declaration")
    })
}

fn target(place: usize, target: TargetBody) -> Result<StreamTarget, Problem> {
    let at = |field: &str| format!("targets[{place}].{field}");
    let device = body::id_at(&at("device_id"), &target.device_id)?;
    let key = target.key.map(|key| Key::new(&key)).transpose();
    let key = key.map_err(|error| Problem::invalid(error.to_string()).at(at("key")))?;
    Ok(StreamTarget { device, key })
}

/// Lists streams with what counts for each; with the first page how many there are.
#[utoipa::path(get, path = "/v1/streams", tag = "streams", params(StreamsQuery),
    responses((status = 200, body = StreamPageBody), (status = 400), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<StreamsQuery>,
) -> Answer<axum::Json<StreamPageBody>> {
    let state = match query.state.as_deref() {
        None => StreamState::default(),
        Some(text) => {
            let found = StreamState::ALL.into_iter().find(|state| state.as_str() == text);
            let wrong = || {
                Problem::invalid("state must be waiting, personal, non_personal or all").at("state")
            };
            found.ok_or_else(wrong)?
        }
    };
    let device = body::maybe_id_at("device_id", query.device_id.as_deref())?;
    let page = PageQuery { cursor: query.cursor, limit: query.limit }.into();
    let found = api.app.list_streams(&context, &StreamQuery { state, device }, &page).await?;
    let StreamPage { page, counts } = found;
    Ok(axum::Json(StreamPageBody {
        items: page.items.into_iter().map(StreamBody::from).collect(),
        next_cursor: page.next_cursor,
        counts: counts.map(StreamCountsBody::from),
    }))
}

/// Whose readings are wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PersonBody {
    /// As declarations, or the fields that they name, write it.
    person: String,
    /// From this time on; from the first reading when not given.
    #[serde(default)]
    from: Option<String>,
    /// Before this time; to the last reading when not given.
    #[serde(default)]
    to: Option<String>,
    /// As given by the page before.
    #[serde(default)]
    cursor: Option<String>,
    /// Rows of a page, at most 500. A page that was much to look through has fewer.
    #[serde(default)]
    limit: Option<usize>,
}

/// A personal stream with readings about a person.
#[derive(Serialize, ToSchema)]
struct SubjectStreamBody {
    device_id: String,
    device_name: String,
    key: String,
    /// How many readings are about them.
    readings: u64,
    first_at: Option<String>,
    last_at: Option<String>,
    /// The stream, or the field that names whose it is, is longer than is looked through: this is
    /// about the first 1,000,000 readings of the time that was asked for. Ask for a later one.
    truncated: bool,
}

impl From<SubjectStreamView> for SubjectStreamBody {
    fn from(view: SubjectStreamView) -> Self {
        Self {
            device_id: view.device.to_string(),
            device_name: view.device_name.to_string(),
            key: view.key.to_string(),
            readings: view.readings,
            first_at: view.first_at.map(body::time),
            last_at: view.last_at.map(body::time),
            truncated: view.truncated,
        }
    }
}

/// Finds the personal streams with readings about a person, counted reading by reading.
#[utoipa::path(post, path = "/v1/streams/subject", tag = "streams", request_body = PersonBody,
    responses((status = 200, body = ListBody<SubjectStreamBody>), (status = 400), (status = 403)))]
async fn about(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(asked): Json<PersonBody>,
) -> Answer<axum::Json<ListBody<SubjectStreamBody>>> {
    let page = PageQuery { cursor: asked.cursor, limit: asked.limit }.into();
    let time = |field: &str, text: Option<String>| {
        text.map(|text| body::parse_time(field, &text)).transpose()
    };
    let (from, to) = (time("from", asked.from)?, time("to", asked.to)?);
    let query = SubjectQuery { person: asked.person, from, to };
    let found = api.app.streams_about(&context, &query, &page).await?;
    Ok(axum::Json(ListBody::of(found, SubjectStreamBody::from)))
}

/// Lists declarations, newest first.
#[utoipa::path(get, path = "/v1/stream-declarations", tag = "streams", params(PageQuery),
    responses((status = 200, body = ListBody<DeclarationBody>), (status = 403)))]
async fn acts(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<DeclarationBody>>> {
    let page = api.app.list_stream_acts(&context, &query.into()).await?;
    Ok(axum::Json(ListBody::of(page, DeclarationBody::from)))
}

/// Declares streams or devices, all of them or none. What they have sent opens or closes with them.
#[utoipa::path(post, path = "/v1/stream-declarations", tag = "streams",
    request_body = DeclareBody,
    responses((status = 201, body = DeclarationBody), (status = 400), (status = 403),
        (status = 404)))]
async fn declare(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<DeclareBody>,
) -> Answer<impl IntoResponse> {
    let targets = body.targets.into_iter().enumerate();
    let targets = targets.map(|(place, one)| target(place, one)).collect::<Result<_, _>>()?;
    let input = DeclarationInput {
        targets,
        declaration: declaration(&body.declaration)?,
        subject: body.subject.map(StreamSubject::from),
    };
    let act = api.app.declare_streams(&context, input).await?;
    Ok((StatusCode::CREATED, axum::Json(DeclarationBody::from(act))))
}

/// Takes a declaration back: what was said before counts again.
#[utoipa::path(post, path = "/v1/stream-declarations/{id}/undo", tag = "streams",
    params(("id" = String, Path)),
    responses((status = 200, body = DeclarationBody), (status = 404), (status = 409)))]
async fn undo(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<DeclarationBody>> {
    let act = api.app.undo_stream_act(&context, body::id(&id)?).await?;
    Ok(axum::Json(DeclarationBody::from(act)))
}

/// Lists rules for groups of streams, the most specific first.
#[utoipa::path(get, path = "/v1/stream-rules", tag = "streams",
    responses((status = 200, body = ListBody<StoredStreamRuleBody>), (status = 403)))]
async fn rules(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<StoredStreamRuleBody>>> {
    let rules = api.app.list_stream_rules(&context).await?;
    Ok(axum::Json(ListBody::whole(rules.into_iter().map(StoredStreamRuleBody::from).collect())))
}

/// Makes a rule for a group of streams.
#[utoipa::path(post, path = "/v1/stream-rules", tag = "streams", request_body = StreamRuleBody,
    responses((status = 201, body = StoredStreamRuleBody), (status = 400), (status = 403),
        (status = 409)))]
async fn create_rule(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<StreamRuleBody>,
) -> Answer<impl IntoResponse> {
    let input = StreamRuleInput {
        device_type: body.device_type,
        key: body.key,
        declaration: declaration(&body.declaration)?,
        subject: body.subject.map(StreamSubject::from),
    };
    let rule = api.app.create_stream_rule(&context, input).await?;
    Ok((StatusCode::CREATED, axum::Json(StoredStreamRuleBody::from(rule))))
}

/// Takes a rule away: what rested on it waits for a declaration again.
#[utoipa::path(delete, path = "/v1/stream-rules/{id}", tag = "streams",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn delete_rule(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_stream_rule(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

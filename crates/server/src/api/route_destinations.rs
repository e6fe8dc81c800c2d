//! Places outside to which messages may go. The secret of a place goes out once.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    MadeRouteDestination, RouteDestinationInput, RouteDestinationView, RouteKind, RouteSample,
};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, ListBody, Path, SecretJson, Secrets};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(destinations, create_destination))
        .routes(routes!(replace_destination, delete_destination))
        .routes(routes!(test_destination))
        .routes(routes!(renew_secret))
}

/// A place outside.
#[derive(Serialize, ToSchema)]
struct RouteDestinationBody {
    id: String,
    name: String,
    #[schema(schema_with = words::route_kind)]
    kind: &'static str,
    /// Topic or subject at a broker, or the template of a topic inside.
    topic: Option<String>,
    /// Who signs in at a broker.
    user: Option<String>,
    /// Who gets mail.
    user_ids: Vec<String>,
    /// Who receives what is sent there.
    recipient: String,
    /// What for.
    purpose: String,
    /// For those who may not send there without what stands behind the host: it may be a secret.
    url: String,
    /// Who said that this recipient is instructed, and when.
    instructed_by: String,
    instructed_at: String,
    enabled: bool,
    created_at: String,
    /// For `If-Match`.
    version: i64,
}

impl From<RouteDestinationView> for RouteDestinationBody {
    fn from(view: RouteDestinationView) -> Self {
        let RouteDestinationInput { kind, name, recipient, purpose, url, enabled, .. } = view.input;
        let name_of_kind = kind.as_str();
        let user_ids = match &kind {
            RouteKind::Mail { people } => people.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let (topic, user) = match kind {
            RouteKind::Webhook | RouteKind::Mail { .. } => (None, None),
            RouteKind::Mqtt { topic, user } | RouteKind::Nats { topic, user } => {
                (Some(topic), Some(user).filter(|user| !user.is_empty()))
            }
            RouteKind::Topic { topic } => (Some(topic), None),
        };
        Self {
            id: view.id.to_string(),
            name,
            kind: name_of_kind,
            topic,
            user,
            user_ids,
            recipient,
            purpose,
            url,
            instructed_by: view.instructed_by,
            instructed_at: body::time(view.instructed_at),
            enabled,
            created_at: body::time(view.created_at),
            version: view.version,
        }
    }
}

/// What is set of a place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteDestinationFields {
    name: String,
    /// `webhook`: an HTTPS address that takes signed messages. `mqtt`: a broker of MQTT. `nats`: a
    /// NATS server. All of them over TLS. `topic`: another topic inside the organisation, which
    /// leaves the platform only to who has subscribed. `mail`: to people of the organisation,
    /// several messages in a mail, at most one a minute.
    #[schema(schema_with = words::route_kind)]
    kind: String,
    recipient: String,
    purpose: String,
    /// `https://...`, `mqtts://host:port` or `nats://host:port`; none of a `topic`.
    #[serde(default)]
    url: String,
    /// Topic or subject at a broker. Of a `topic` its template, in which `{device}`, `{type}` and
    /// `{topic}` stand for those of a message.
    topic: Option<String>,
    /// Who signs in at a broker; nobody when not given.
    user: Option<String>,
    /// Of `mail`: up to ten people of the organisation. Only confirmed addresses are written to.
    #[serde(default)]
    user_ids: Vec<String>,
    /// The password of that user. When a destination is changed, the one that is known stays; it
    /// is needed again where address, topic or user is another.
    password: Option<String>,
    /// That the recipient is one that your organisation instructed. Nothing leaves without it; a
    /// `topic` needs none.
    #[serde(default)]
    instructed: bool,
    /// On when not given.
    enabled: Option<bool>,
}

impl Secrets for RouteDestinationFields {
    const NAMES: &'static [&'static str] = &["password"];
}

impl RouteDestinationFields {
    fn parsed(self) -> Result<RouteDestinationInput, Problem> {
        let (topic, user) = (self.topic.unwrap_or_default(), self.user.unwrap_or_default());
        let kind = match self.kind.as_str() {
            "webhook" if topic.is_empty() && user.is_empty() => RouteKind::Webhook,
            "webhook" => {
                return Err(Problem::invalid("a webhook has no topic and no user").at("topic"));
            }
            "mqtt" => RouteKind::Mqtt { topic, user },
            "nats" => RouteKind::Nats { topic, user },
            "topic" if user.is_empty() => RouteKind::Topic { topic },
            "topic" => {
                return Err(Problem::invalid("a topic inside has no user").at("user"));
            }
            "mail" if topic.is_empty() && user.is_empty() => {
                let person = |id: &String| body::id_at("user_ids", id);
                let people = self.user_ids.iter().map(person).collect::<Result<_, _>>()?;
                RouteKind::Mail { people }
            }
            "mail" => {
                return Err(Problem::invalid("mail has no topic and no user").at("topic"));
            }
            _ => {
                let detail = "kind must be webhook, mqtt, nats, topic or mail";
                return Err(Problem::invalid(detail).at("kind"));
            }
        };
        if !self.user_ids.is_empty() && self.kind != "mail" {
            return Err(Problem::invalid("only mail goes to people").at("user_ids"));
        }
        Ok(RouteDestinationInput {
            kind,
            password: self.password.map(Secret::new),
            name: self.name,
            recipient: self.recipient,
            purpose: self.purpose,
            url: self.url,
            instructed: self.instructed,
            enabled: self.enabled.unwrap_or(true),
        })
    }
}

/// A place with what its messages are signed with.
#[derive(Serialize, ToSchema)]
struct MadeRouteDestinationBody {
    destination: RouteDestinationBody,
    /// Of a webhook: `whsec_` and Base64, as Standard Webhooks has it; shown once.
    secret: Option<String>,
}

impl From<MadeRouteDestination> for MadeRouteDestinationBody {
    fn from(made: MadeRouteDestination) -> Self {
        Self { destination: made.view.into(), secret: made.secret.map(Secret::into_exposed) }
    }
}

/// Lists the places outside to which messages may go.
#[utoipa::path(get, path = "/v1/route-destinations", tag = "routing",
    responses((status = 200, body = ListBody<RouteDestinationBody>), (status = 403)))]
async fn destinations(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<RouteDestinationBody>>> {
    let all = api.app.route_destinations(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(RouteDestinationBody::from).collect())))
}

/// Registers a place outside; its signing secret is shown this once.
#[utoipa::path(post, path = "/v1/route-destinations", tag = "routing",
    request_body = RouteDestinationFields,
    responses((status = 201, body = MadeRouteDestinationBody), (status = 400), (status = 403)))]
async fn create_destination(
    State(api): State<Api>,
    Caller(context): Caller,
    SecretJson(fields): SecretJson<RouteDestinationFields>,
) -> Answer<impl IntoResponse> {
    let made = api.app.create_route_destination(&context, fields.parsed()?).await?;
    let version = made.view.version;
    let made = MadeRouteDestinationBody::from(made);
    Ok((StatusCode::CREATED, body::etag(version), axum::Json(made)))
}

/// Changes a place; what waits for it is tried again at once.
#[utoipa::path(put, path = "/v1/route-destinations/{id}", tag = "routing",
    params(("id" = String, Path)),
    request_body = RouteDestinationFields,
    responses((status = 200, body = RouteDestinationBody), (status = 400), (status = 404),
        (status = 409)))]
async fn replace_destination(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    SecretJson(fields): SecretJson<RouteDestinationFields>,
) -> Answer<impl IntoResponse> {
    let (id, version) = (body::id(&id)?, body::if_match(&headers)?);
    let input = fields.parsed()?;
    let view = api.app.replace_route_destination(&context, id, input, version).await?;
    Ok((body::etag(view.version), axum::Json(RouteDestinationBody::from(view))))
}

/// Removes a place with what waits for it and what is parked. Refused while a rule names it.
#[utoipa::path(delete, path = "/v1/route-destinations/{id}", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
async fn delete_destination(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_route_destination(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a sample.
#[derive(Serialize, ToSchema)]
struct RouteSampleBody {
    /// Whether it was taken.
    delivered: bool,
    /// The HTTP status that was answered.
    status: Option<u16>,
    /// Why it was not taken, in words.
    problem: Option<String>,
}

impl From<RouteSample> for RouteSampleBody {
    fn from(sample: RouteSample) -> Self {
        let RouteSample { status, problem } = sample;
        Self { delivered: problem.is_none(), status, problem }
    }
}

/// Sends a sample to a place and says what became of it.
#[utoipa::path(post, path = "/v1/route-destinations/{id}/test", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 200, body = RouteSampleBody), (status = 403), (status = 404)))]
async fn test_destination(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<RouteSampleBody>> {
    let sample = api.app.sample_route_destination(&context, body::id(&id)?).await?;
    Ok(axum::Json(sample.into()))
}

/// Gives a place another signing secret, shown this once; the one of before signs nothing more.
#[utoipa::path(post, path = "/v1/route-destinations/{id}/secret", tag = "routing",
    params(("id" = String, Path)),
    responses((status = 200, body = MadeRouteDestinationBody), (status = 403), (status = 404)))]
async fn renew_secret(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<MadeRouteDestinationBody>> {
    Ok(axum::Json(api.app.renew_route_secret(&context, body::id(&id)?).await?.into()))
}

//! A word to whoever answers, from the sign-in page or from inside, and that one's inbox.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{ContactInput, ContactView, Writer};
use veritwin_domain::Secret;

use super::auth::{Caller, Public};
use super::body::{self, Json, ListBody, PageQuery, Query};
use super::brand::Host;
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(send, list)).routes(routes!(close))
}

/// A message.
#[derive(Deserialize, ToSchema)]
struct ContactBody {
    /// Where the answer goes.
    email: String,
    /// Plain text, at most 4,000 characters.
    message: String,
}

/// Writes to whoever answers: for the tenant of the session, or for the host name asked.
#[utoipa::path(post, path = "/v1/contact", tag = "contact", request_body = ContactBody,
    responses((status = 202), (status = 400), (status = 413), (status = 429)))]
async fn send(
    State(api): State<Api>,
    Public(context): Public,
    Host(host): Host,
    caller: Result<Caller, Problem>,
    Json(input): Json<ContactBody>,
) -> Answer<StatusCode> {
    let writer = match &caller {
        Ok(Caller(signed_in)) => Writer::In(signed_in.tenant),
        Err(_) => Writer::At(host.as_deref()),
    };
    let input = ContactInput { email: Secret::new(input.email), text: Secret::new(input.message) };
    api.app.send_contact(&context, writer, input).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A message that came in.
#[derive(Serialize, ToSchema)]
struct MessageBody {
    id: String,
    /// The tenant of the writer, if signed in.
    from: Option<String>,
    email: String,
    message: String,
    created_at: String,
}

impl From<ContactView> for MessageBody {
    fn from(view: ContactView) -> Self {
        Self {
            id: view.id.to_string(),
            from: view.from,
            email: view.email.into_exposed(),
            message: view.text.into_exposed(),
            created_at: body::time(view.created_at),
        }
    }
}

/// The messages to the caller's tenant, oldest first.
#[utoipa::path(get, path = "/v1/contact", tag = "contact", params(PageQuery),
    responses((status = 200, body = ListBody<MessageBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<MessageBody>>> {
    let listed = api.app.list_contact(&context, &page.into()).await?;
    Ok(axum::Json(ListBody::of(listed, MessageBody::from)))
}

/// Which message.
#[derive(Deserialize, ToSchema)]
struct CloseBody {
    id: String,
}

/// Deletes a message that was dealt with.
#[utoipa::path(post, path = "/v1/contact/done", tag = "contact", request_body = CloseBody,
    responses((status = 204), (status = 404)))]
async fn close(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<CloseBody>,
) -> Answer<StatusCode> {
    api.app.close_contact(&context, body::id(&input.id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

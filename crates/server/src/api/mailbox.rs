//! The mailbox that requests of data subjects are read from.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{MailboxInput, MailboxView};
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, Json};
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(read_mailbox, put_mailbox, remove_mailbox))
}

fn inbox() -> String {
    "INBOX".to_owned()
}

/// How to get to a mailbox. It is read over TLS only.
#[derive(Deserialize, ToSchema)]
struct MailboxRequestBody {
    /// `host` or `host:port`; 993 if no port is named.
    #[serde(default)]
    server: String,
    /// Who signs in.
    #[serde(default)]
    user: String,
    /// The password; left out: the one that is kept.
    #[serde(default)]
    password: Option<String>,
    /// The folder that is read.
    #[serde(default = "inbox")]
    folder: String,
}

/// A mailbox that requests are read from. Its password is never shown.
#[derive(Serialize, ToSchema)]
struct MailboxBody {
    server: String,
    user: String,
    folder: String,
    /// When it was last read.
    read_at: Option<String>,
    /// Why the last try did not work: `refused`, `unreachable`, `tls`, `sign_in`, `folder`,
    /// `protocol` or `failed`. `full`: so many requests wait that mails are left in it.
    problem: Option<&'static str>,
    /// When it is read next.
    next_at: String,
    /// Counts changes.
    version: u64,
}

impl From<MailboxView> for MailboxBody {
    fn from(view: MailboxView) -> Self {
        Self {
            server: view.server,
            user: view.user,
            folder: view.folder,
            read_at: view.read_at.map(body::time),
            problem: view.problem,
            next_at: body::time(view.next_at),
            version: view.version,
        }
    }
}

/// Whether requests are read from a mailbox.
#[derive(Serialize, ToSchema)]
struct MailboxAnswerBody {
    /// Null: from none.
    mailbox: Option<MailboxBody>,
}

/// The mailbox that requests are read from.
#[utoipa::path(get, path = "/v1/requests/mailbox", tag = "requests",
    responses((status = 200, body = MailboxAnswerBody), (status = 403)))]
async fn read_mailbox(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<MailboxAnswerBody>> {
    let mailbox = api.app.mailbox(&context).await?.map(MailboxBody::from);
    Ok(axum::Json(MailboxAnswerBody { mailbox }))
}

/// Sets the mailbox that requests are read from. What is in it already is left alone: mails that
/// come from now on are read. `If-Match` carries the version that was read, 0 where none was set.
#[utoipa::path(put, path = "/v1/requests/mailbox", tag = "requests",
    request_body = MailboxRequestBody,
    responses((status = 200, body = MailboxBody), (status = 400), (status = 403),
        (status = 409), (status = 412)))]
async fn put_mailbox(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    Json(input): Json<MailboxRequestBody>,
) -> Answer<impl IntoResponse> {
    let version = body::if_match(&headers)?.unwrap_or(0);
    let input = MailboxInput {
        server: input.server,
        user: input.user,
        password: input.password.map(Secret::new),
        folder: input.folder,
    };
    let version = u64::try_from(version).unwrap_or(0);
    let view = api.app.set_mailbox(&context, (&input, version)).await?;
    let etag = body::etag(i64::try_from(view.version).unwrap_or(i64::MAX));
    Ok((etag, axum::Json(MailboxBody::from(view))))
}

/// Reads no mailbox any more. Its mails stay where they are.
#[utoipa::path(delete, path = "/v1/requests/mailbox", tag = "requests",
    responses((status = 204), (status = 403), (status = 404)))]
async fn remove_mailbox(State(api): State<Api>, Caller(context): Caller) -> Answer<StatusCode> {
    api.app.remove_mailbox(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

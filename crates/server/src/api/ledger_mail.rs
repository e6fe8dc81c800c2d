//! Checkpoints that are mailed to auditors, what is kept of mail that was sent, and the DNS records
//! of the keys that sign it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{MailKeyView, MailingInput, MailingTo, MailingView, SentMailView};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::{Answer, Api, Problem};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(mailings, create))
        .routes(routes!(end))
        .routes(routes!(send))
        .routes(routes!(sent))
        .routes(routes!(keys))
}

/// Checkpoints to be mailed: to an auditor, or to a registered destination of mail.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct NewMailing {
    /// A person of the organisation with the role auditor, whose address is confirmed.
    user_id: Option<String>,
    /// Or a destination of mail.
    destination_id: Option<String>,
    /// `day`, `week` or `never` (on demand alone).
    every: String,
    /// Entries whose proofs go with each mail.
    entries: Vec<u64>,
}

/// A sequence of mails of checkpoints.
#[derive(Serialize, ToSchema)]
struct MailingBody {
    id: String,
    user_id: Option<String>,
    destination_id: Option<String>,
    /// `day`, `week` or `never`.
    every: &'static str,
    /// Entries whose proofs go with each mail.
    entries: Vec<u64>,
    /// How many mails were written.
    mails: u64,
    last_at: Option<String>,
    /// Entries under the last checkpoint that was mailed.
    tree_size: Option<u64>,
    next_at: Option<String>,
    /// Why the last mail was not written: `no_recipient`, `no_server`, `no_archive`,
    /// `no_flow` (the register of flows lets it go to nobody) or `not_extended` (the log
    /// contradicts an earlier mail).
    waits: Option<&'static str>,
    created_at: String,
}

impl From<MailingView> for MailingBody {
    fn from(view: MailingView) -> Self {
        let (user_id, destination_id) = match view.to {
            MailingTo::Auditor(user) => (Some(user.to_string()), None),
            MailingTo::Destination(id) => (None, Some(id.to_string())),
        };
        Self {
            id: view.id.to_string(),
            user_id,
            destination_id,
            every: view.every.as_str(),
            entries: view.entries,
            mails: view.mails,
            last_at: view.last_at.map(body::time),
            tree_size: view.tree_size,
            next_at: view.next_at.map(body::time),
            waits: view.waits,
            created_at: body::time(view.created_at),
        }
    }
}

/// The mailings of checkpoints, the oldest first.
#[utoipa::path(get, path = "/v1/ledger/mailings", tag = "ledger",
    responses((status = 200, body = ListBody<MailingBody>)))]
async fn mailings(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<MailingBody>>> {
    let views = api.app.ledger_mailings(&context).await?;
    Ok(axum::Json(ListBody::whole(views.into_iter().map(MailingBody::from).collect())))
}

/// Has checkpoints mailed. The first mail of a daily or weekly one is written at once.
#[utoipa::path(post, path = "/v1/ledger/mailings", tag = "ledger", request_body = NewMailing,
    responses((status = 201, body = MailingBody), (status = 400)))]
async fn create(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(new): Json<NewMailing>,
) -> Answer<impl IntoResponse> {
    let to = match (&new.user_id, &new.destination_id) {
        (Some(user), None) => Some(MailingTo::Auditor(body::id_at("user_id", user)?)),
        (None, Some(id)) => Some(MailingTo::Destination(body::id_at("destination_id", id)?)),
        (None, None) => None,
        (Some(_), Some(_)) => {
            let detail = "name an auditor or a destination, not both";
            return Err(Problem::invalid(detail.to_owned()).at("destination_id"));
        }
    };
    let input = MailingInput { to, every: new.every, entries: new.entries };
    let view = api.app.create_ledger_mailing(&context, input).await?;
    Ok((StatusCode::CREATED, axum::Json(MailingBody::from(view))))
}

/// Ends a mailing.
#[utoipa::path(delete, path = "/v1/ledger/mailings/{id}", tag = "ledger",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn end(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_ledger_mailing(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mails the newest checkpoint now.
#[utoipa::path(post, path = "/v1/ledger/mailings/{id}/send", tag = "ledger",
    params(("id" = String, Path)),
    responses((status = 200, body = MailingBody), (status = 404), (status = 409)))]
async fn send(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<MailingBody>> {
    let view = api.app.send_ledger_mail(&context, body::id(&id)?).await?;
    Ok(axum::Json(view.into()))
}

/// A mail that was sent.
#[derive(Serialize, ToSchema)]
struct SentBody {
    id: String,
    sent_at: String,
    /// `alert`, `messages`, `ledger` or `other`.
    about: String,
    /// The recipient, masked.
    to: String,
    /// SHA-256 of the exact bytes that were sent, hexadecimal.
    sha256: String,
    bytes: u64,
    /// The mail server's reply code.
    code: String,
    /// The reply's text.
    reply: String,
    /// `SELECTOR._domainkey.DOMAIN RECORD` of each signature.
    dkim: Vec<String>,
    /// The entry that holds the record's SHA-256; null until it is sealed.
    leaf: Option<u64>,
    /// The record, byte for byte, base64: `docs/reference/ledger.md`.
    record: String,
}

impl From<SentMailView> for SentBody {
    fn from(view: SentMailView) -> Self {
        Self {
            id: view.id.to_string(),
            sent_at: body::time(view.sent_at),
            about: view.about,
            to: view.to,
            sha256: view.sha256,
            bytes: view.bytes,
            code: view.code,
            reply: view.reply,
            dkim: view.dkim,
            leaf: view.leaf,
            record: STANDARD.encode(&view.record),
        }
    }
}

/// What is kept of mail that was sent in the organisation's name, newest first.
#[utoipa::path(get, path = "/v1/ledger/mails", tag = "ledger", params(PageQuery),
    responses((status = 200, body = ListBody<SentBody>)))]
async fn sent(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<SentBody>>> {
    let page = api.app.sent_mails(&context, &query.into()).await?;
    Ok(axum::Json(ListBody::of(page, SentBody::from)))
}

/// A key that signs mail.
#[derive(Serialize, ToSchema)]
struct MailKeyBody {
    /// The name of the DNS record of type TXT.
    name: String,
    /// Its text.
    record: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    algorithm: &'static str,
    /// `next`, `active` or `retired`.
    state: &'static str,
    made_at: String,
    /// When its private half was destroyed; the record stays until what it signed has arrived.
    retired_at: Option<String>,
}

impl From<MailKeyView> for MailKeyBody {
    fn from(view: MailKeyView) -> Self {
        Self {
            name: view.name,
            record: view.record,
            algorithm: view.algorithm,
            state: view.state,
            made_at: body::time(view.made_at),
            retired_at: view.retired_at.map(body::time),
        }
    }
}

/// The keys that sign mail, with the DNS records to publish; empty without a mail server.
#[utoipa::path(get, path = "/v1/system/mail-keys", tag = "system",
    responses((status = 200, body = ListBody<MailKeyBody>)))]
async fn keys(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<MailKeyBody>>> {
    let views = api.app.mail_keys(&context).await?;
    Ok(axum::Json(ListBody::whole(views.into_iter().map(MailKeyBody::from).collect())))
}

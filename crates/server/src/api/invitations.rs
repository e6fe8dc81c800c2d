//! Open invitations into the tenant: list, withdraw. They are made with the people.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::InvitationView;
use veritwin_domain::Secret;

use super::auth::Caller;
use super::body::{self, ListBody, Path};
use super::rights::ScopeBody;
use super::{Answer, Api, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(withdraw))
}

/// An invitation that could still be taken up, without its link.
#[derive(Serialize, ToSchema)]
struct InvitationBody {
    id: String,
    /// Whom it is for; null for whoever holds the link.
    email: Option<String>,
    #[schema(schema_with = words::role)]
    role: &'static str,
    scope: ScopeBody,
    /// The person who made it; their rights bound what it is worth.
    inviter_id: Option<String>,
    /// The API key that made it.
    inviter_key_id: Option<String>,
    /// Whether it was mailed.
    mailed: bool,
    created_at: String,
    /// When it ends by itself.
    expires_at: String,
    /// False when whoever made it is gone, or may no longer give that role there: the link is
    /// refused.
    valid: bool,
}

impl From<InvitationView> for InvitationBody {
    fn from(view: InvitationView) -> Self {
        Self {
            id: view.id.to_string(),
            email: view.email.map(Secret::into_exposed),
            role: view.role.as_str(),
            scope: (&view.scope).into(),
            inviter_id: view.inviter.map(|id| id.to_string()),
            inviter_key_id: view.inviter_key.map(|id| id.to_string()),
            mailed: view.mailed,
            created_at: body::time(view.created_at),
            expires_at: body::time(view.expires_at),
            valid: view.is_worth,
        }
    }
}

/// Lists the invitations that are open: who, by whom, as what, and until when.
#[utoipa::path(get, path = "/v1/invitations", tag = "invitations",
    responses((status = 200, body = ListBody<InvitationBody>), (status = 403)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<InvitationBody>>> {
    let open = api.app.list_invitations(&context).await?;
    Ok(axum::Json(ListBody::whole(open.into_iter().map(InvitationBody::from).collect())))
}

/// Withdraws an invitation: its link is refused from now on.
#[utoipa::path(delete, path = "/v1/invitations/{id}", tag = "invitations",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn withdraw(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.withdraw_invitation(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

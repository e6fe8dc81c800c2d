//! Roles, workspaces, groups of devices, grants; and why somebody may do something.
//! tidy: long file because these resources share their bodies.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::Asked;
use veritwin_app::model::{
    CustomRoleView, ExplainedRight, GrantView, GroupInput, GroupView, HolderOf, NewGrant,
    RightView, RoleInput, RoleOf, WorkspaceInput, WorkspaceView,
};
use veritwin_domain::ScopeOf;

use super::auth::Caller;
use super::body::{self, Json, ListBody, Path, Query};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_roles, create_role))
        .routes(routes!(replace_role, delete_role))
        .routes(routes!(list_workspaces, create_workspace))
        .routes(routes!(replace_workspace, delete_workspace))
        .routes(routes!(list_groups, create_group))
        .routes(routes!(replace_group, delete_group))
        .routes(routes!(list_grants, create_grant))
        .routes(routes!(delete_grant))
        .routes(routes!(explain))
}

/// A part of the tenant: a workspace, a group, a twin, or a twin's storey or space. Nothing given:
/// the whole tenant.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = AccessScopeBody)]
pub(super) struct ScopeBody {
    /// A workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<String>,
    /// A group of devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<String>,
    /// A twin.
    #[serde(skip_serializing_if = "Option::is_none")]
    twin_id: Option<String>,
    /// GlobalId of a storey or space of that twin.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
}

impl ScopeBody {
    pub(super) fn parse(self) -> Result<ScopeOf, Problem> {
        match (self.workspace_id, self.group_id, self.twin_id, self.node_id) {
            (None, None, None, None) => Ok(ScopeOf::Tenant),
            (Some(id), None, None, None) => {
                Ok(ScopeOf::Workspace(body::id_at("scope.workspace_id", &id)?))
            }
            (None, Some(id), None, None) => Ok(ScopeOf::Group(body::id_at("scope.group_id", &id)?)),
            (None, None, Some(id), node) => {
                Ok(ScopeOf::Twin { twin: body::id_at("scope.twin_id", &id)?, node })
            }
            _ => {
                let detail = "give one of workspace_id, group_id, twin_id; node_id with twin_id";
                Err(Problem::invalid(detail).at("scope"))
            }
        }
    }
}

impl From<&ScopeOf> for ScopeBody {
    fn from(scope: &ScopeOf) -> Self {
        let mut body = Self::default();
        match scope {
            ScopeOf::Tenant => {}
            ScopeOf::Workspace(id) => body.workspace_id = Some(id.to_string()),
            ScopeOf::Group(id) => body.group_id = Some(id.to_string()),
            ScopeOf::Twin { twin, node } => {
                body.twin_id = Some(twin.to_string());
                body.node_id.clone_from(node);
            }
        }
        body
    }
}

/// A role over a part of the tenant, out of a body.
pub(super) fn right(
    role: Option<&str>,
    custom_role_id: Option<&str>,
    scope: ScopeBody,
) -> Result<RightView, Problem> {
    let role = match (role, custom_role_id) {
        (Some(role), None) => RoleOf::BuiltIn(words::parsed_role(role)?),
        (None, Some(id)) => RoleOf::Custom(body::id_at("custom_role_id", id)?),
        _ => return Err(Problem::invalid("give role or custom_role_id").at("role")),
    };
    Ok(RightView { role, scope: scope.parse()? })
}

/// The two fields that say which role.
pub(super) fn role_fields(role: RoleOf) -> (Option<&'static str>, Option<String>) {
    match role {
        RoleOf::BuiltIn(role) => (Some(role.as_str()), None),
        RoleOf::Custom(id) => (None, Some(id.to_string())),
    }
}

/// A built-in role with what it permits.
#[derive(Serialize, ToSchema)]
struct BuiltInRole {
    #[schema(schema_with = words::role)]
    role: &'static str,
    /// Actions it permits people.
    actions: Vec<&'static str>,
    /// Actions it permits API keys.
    key_actions: Vec<&'static str>,
}

/// A role of the tenant's own.
#[derive(Serialize, ToSchema)]
struct CustomRoleBody {
    id: String,
    name: String,
    /// Actions it permits.
    allows: Vec<String>,
    /// Actions it denies, whatever another role permits.
    denies: Vec<String>,
    /// Counts changes; between quotes it is the ETag for `If-Match`.
    version: i64,
}

impl From<CustomRoleView> for CustomRoleBody {
    fn from(view: CustomRoleView) -> Self {
        let RoleInput { name, allows, denies } = view.role;
        Self { id: view.id.to_string(), name, allows, denies, version: view.version }
    }
}

/// Every role there is.
#[derive(Serialize, ToSchema)]
struct RolesBody {
    built_in: Vec<BuiltInRole>,
    custom: Vec<CustomRoleBody>,
    /// What a role of the tenant's own may permit or deny.
    grantable: Vec<&'static str>,
}

/// Lists the roles with what they permit.
#[utoipa::path(get, path = "/v1/roles", tag = "rights",
    responses((status = 200, body = RolesBody)))]
async fn list_roles(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<RolesBody>> {
    let roles = api.app.list_roles(&context).await?;
    let built_in = roles.built_in.into_iter();
    Ok(axum::Json(RolesBody {
        built_in: built_in
            .map(|(role, actions, key_actions)| BuiltInRole {
                role: role.as_str(),
                actions,
                key_actions,
            })
            .collect(),
        custom: roles.custom.into_iter().map(CustomRoleBody::from).collect(),
        grantable: roles.grantable,
    }))
}

/// A role of the tenant's own, as it is written.
#[derive(Deserialize, ToSchema)]
struct RoleInputBody {
    name: String,
    #[serde(default)]
    allows: Vec<String>,
    #[serde(default)]
    denies: Vec<String>,
}

impl From<RoleInputBody> for RoleInput {
    fn from(body: RoleInputBody) -> Self {
        Self { name: body.name, allows: body.allows, denies: body.denies }
    }
}

/// Makes a role. It permits no more than its maker may do.
#[utoipa::path(post, path = "/v1/roles", tag = "rights", request_body = RoleInputBody,
    responses((status = 201, body = CustomRoleBody), (status = 400), (status = 403)))]
async fn create_role(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<RoleInputBody>,
) -> Answer<impl IntoResponse> {
    let view = api.app.create_role(&context, body.into()).await?;
    let version = view.version;
    Ok((StatusCode::CREATED, body::etag(version), axum::Json(CustomRoleBody::from(view))))
}

/// Changes a role, for everybody who holds it, at once. `If-Match` refuses the change when somebody
/// else was first.
#[utoipa::path(put, path = "/v1/roles/{id}", tag = "rights", request_body = RoleInputBody,
    params(("id" = String, Path)),
    responses((status = 200, body = CustomRoleBody), (status = 404), (status = 409)))]
async fn replace_role(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(input): Json<RoleInputBody>,
) -> Answer<impl IntoResponse> {
    let expected = body::if_match(&headers)?;
    let view = api.app.replace_role(&context, body::id(&id)?, input.into(), expected).await?;
    Ok((body::etag(view.version), axum::Json(CustomRoleBody::from(view))))
}

/// Deletes a role that nobody holds.
#[utoipa::path(delete, path = "/v1/roles/{id}", tag = "rights", params(("id" = String, Path)),
    responses((status = 204), (status = 404), (status = 409)))]
async fn delete_role(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_role(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A workspace.
#[derive(Serialize, ToSchema)]
struct WorkspaceBody {
    id: String,
    name: String,
    twin_ids: Vec<String>,
    /// Counts changes; between quotes it is the ETag for `If-Match`.
    version: i64,
}

impl From<WorkspaceView> for WorkspaceBody {
    fn from(view: WorkspaceView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.workspace.name,
            twin_ids: view.workspace.twins.iter().map(ToString::to_string).collect(),
            version: view.version,
        }
    }
}

/// A workspace, as it is written.
#[derive(Deserialize, ToSchema)]
struct WorkspaceInputBody {
    name: String,
    /// A twin is in one workspace: it leaves the one it was in.
    #[serde(default)]
    twin_ids: Vec<String>,
}

impl WorkspaceInputBody {
    fn parse(self) -> Result<WorkspaceInput, Problem> {
        let twins =
            self.twin_ids.iter().map(|id| body::id_at("twin_ids", id)).collect::<Result<_, _>>()?;
        Ok(WorkspaceInput { name: self.name, twins })
    }
}

/// Lists the workspaces.
#[utoipa::path(get, path = "/v1/workspaces", tag = "rights",
    responses((status = 200, body = ListBody<WorkspaceBody>)))]
async fn list_workspaces(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<WorkspaceBody>>> {
    let all = api.app.list_workspaces(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(WorkspaceBody::from).collect())))
}

/// Makes a workspace.
#[utoipa::path(post, path = "/v1/workspaces", tag = "rights", request_body = WorkspaceInputBody,
    responses((status = 201, body = WorkspaceBody), (status = 400), (status = 403)))]
async fn create_workspace(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<WorkspaceInputBody>,
) -> Answer<impl IntoResponse> {
    let view = api.app.put_workspace(&context, None, input.parse()?, None).await?;
    Ok((StatusCode::CREATED, body::etag(view.version), axum::Json(WorkspaceBody::from(view))))
}

/// Changes a workspace. `If-Match` refuses the change when somebody else was first.
#[utoipa::path(put, path = "/v1/workspaces/{id}", tag = "rights",
    request_body = WorkspaceInputBody, params(("id" = String, Path)),
    responses((status = 200, body = WorkspaceBody), (status = 404), (status = 409)))]
async fn replace_workspace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(input): Json<WorkspaceInputBody>,
) -> Answer<impl IntoResponse> {
    let (known, expected) = (Some(body::id(&id)?), body::if_match(&headers)?);
    let view = api.app.put_workspace(&context, known, input.parse()?, expected).await?;
    Ok((body::etag(view.version), axum::Json(WorkspaceBody::from(view))))
}

/// Deletes a workspace with the grants over it; its twins and groups stay.
#[utoipa::path(delete, path = "/v1/workspaces/{id}", tag = "rights",
    params(("id" = String, Path)), responses((status = 204), (status = 404)))]
async fn delete_workspace(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_workspace(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A group of devices.
#[derive(Serialize, ToSchema)]
struct GroupBody {
    id: String,
    name: String,
    workspace_id: Option<String>,
    device_ids: Vec<String>,
    /// Counts changes; between quotes it is the ETag for `If-Match`.
    version: i64,
}

impl From<GroupView> for GroupBody {
    fn from(view: GroupView) -> Self {
        Self {
            id: view.id.to_string(),
            name: view.group.name,
            workspace_id: view.group.workspace.map(|id| id.to_string()),
            device_ids: view.group.devices.iter().map(ToString::to_string).collect(),
            version: view.version,
        }
    }
}

/// A group of devices, as it is written.
#[derive(Deserialize, ToSchema)]
struct GroupInputBody {
    name: String,
    workspace_id: Option<String>,
    #[serde(default)]
    device_ids: Vec<String>,
}

impl GroupInputBody {
    fn parse(self) -> Result<GroupInput, Problem> {
        let workspace = self.workspace_id.map(|id| body::id_at("workspace_id", &id)).transpose()?;
        let devices = self
            .device_ids
            .iter()
            .map(|id| body::id_at("device_ids", id))
            .collect::<Result<_, _>>()?;
        Ok(GroupInput { name: self.name, workspace, devices })
    }
}

/// Lists the groups of devices.
#[utoipa::path(get, path = "/v1/groups", tag = "rights",
    responses((status = 200, body = ListBody<GroupBody>)))]
async fn list_groups(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<GroupBody>>> {
    let all = api.app.list_groups(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(GroupBody::from).collect())))
}

/// Makes a group of devices.
#[utoipa::path(post, path = "/v1/groups", tag = "rights", request_body = GroupInputBody,
    responses((status = 201, body = GroupBody), (status = 400), (status = 403)))]
async fn create_group(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<GroupInputBody>,
) -> Answer<impl IntoResponse> {
    let view = api.app.put_group(&context, None, input.parse()?, None).await?;
    Ok((StatusCode::CREATED, body::etag(view.version), axum::Json(GroupBody::from(view))))
}

/// Changes a group of devices. `If-Match` refuses the change when somebody else was first.
#[utoipa::path(put, path = "/v1/groups/{id}", tag = "rights", request_body = GroupInputBody,
    params(("id" = String, Path)),
    responses((status = 200, body = GroupBody), (status = 404), (status = 409)))]
async fn replace_group(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(input): Json<GroupInputBody>,
) -> Answer<impl IntoResponse> {
    let (known, expected) = (Some(body::id(&id)?), body::if_match(&headers)?);
    let view = api.app.put_group(&context, known, input.parse()?, expected).await?;
    Ok((body::etag(view.version), axum::Json(GroupBody::from(view))))
}

/// Deletes a group with the grants over it; its devices stay.
#[utoipa::path(delete, path = "/v1/groups/{id}", tag = "rights", params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn delete_group(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_group(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A grant: who holds which role over which part of the tenant.
#[derive(Serialize, ToSchema)]
struct GrantBody {
    id: String,
    user_id: Option<String>,
    api_key_id: Option<String>,
    role: Option<&'static str>,
    custom_role_id: Option<String>,
    scope: ScopeBody,
    expires_at: Option<String>,
    created_at: String,
}

impl From<GrantView> for GrantBody {
    fn from(view: GrantView) -> Self {
        let (user_id, api_key_id) = match view.grant.holder {
            HolderOf::User(id) => (Some(id.to_string()), None),
            HolderOf::ApiKey(id) => (None, Some(id.to_string())),
        };
        let (role, custom_role_id) = role_fields(view.grant.right.role);
        Self {
            id: view.id.to_string(),
            user_id,
            api_key_id,
            role,
            custom_role_id,
            scope: (&view.grant.right.scope).into(),
            expires_at: view.grant.expires_at.map(body::time),
            created_at: body::time(view.created_at),
        }
    }
}

/// A new grant: to a user or an API key, a built-in role or one of the tenant's own.
#[derive(Deserialize, ToSchema)]
struct GrantInputBody {
    user_id: Option<String>,
    api_key_id: Option<String>,
    role: Option<String>,
    custom_role_id: Option<String>,
    #[serde(default)]
    scope: ScopeBody,
    /// RFC 3339; it ends by itself then.
    expires_at: Option<String>,
}

fn holder(user: Option<&str>, api_key: Option<&str>) -> Result<HolderOf, Problem> {
    match (user, api_key) {
        (Some(id), None) => Ok(HolderOf::User(body::id_at("user_id", id)?)),
        (None, Some(id)) => Ok(HolderOf::ApiKey(body::id_at("api_key_id", id)?)),
        _ => Err(Problem::invalid("give user_id or api_key_id").at("user_id")),
    }
}

/// Lists the grants.
#[utoipa::path(get, path = "/v1/grants", tag = "rights",
    responses((status = 200, body = ListBody<GrantBody>)))]
async fn list_grants(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<GrantBody>>> {
    let all = api.app.list_grants(&context).await?;
    Ok(axum::Json(ListBody::whole(all.into_iter().map(GrantBody::from).collect())))
}

/// Gives a person or program a role over a part of the tenant; never more than the giver holds.
#[utoipa::path(post, path = "/v1/grants", tag = "rights", request_body = GrantInputBody,
    responses((status = 201, body = GrantBody), (status = 400), (status = 403)))]
async fn create_grant(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(input): Json<GrantInputBody>,
) -> Answer<impl IntoResponse> {
    let new = NewGrant {
        holder: holder(input.user_id.as_deref(), input.api_key_id.as_deref())?,
        right: right(input.role.as_deref(), input.custom_role_id.as_deref(), input.scope)?,
        expires_at: input
            .expires_at
            .map(|text| body::parse_time("expires_at", &text))
            .transpose()?,
    };
    let view = api.app.create_grant(&context, new).await?;
    Ok((StatusCode::CREATED, axum::Json(GrantBody::from(view))))
}

/// Takes a grant away at once.
#[utoipa::path(delete, path = "/v1/grants/{id}", tag = "rights", params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn delete_grant(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.app.delete_grant(&context, body::id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who does what to what.
#[derive(Deserialize, utoipa::IntoParams)]
struct ExplainQuery {
    /// A person of the tenant.
    user_id: Option<String>,
    /// Or a program.
    api_key_id: Option<String>,
    /// The action, as in `GET /v1/roles`.
    action: String,
    /// A device it is done to.
    device_id: Option<String>,
    /// Or a twin.
    twin_id: Option<String>,
}

/// One role with what it says.
#[derive(Serialize, ToSchema)]
struct ExplainedBody {
    role: Option<&'static str>,
    custom_role_id: Option<String>,
    scope: ScopeBody,
    /// The grant it came with; null for a role of the membership or of the key itself.
    grant_id: Option<String>,
    /// `permits`, `denies`, `permits_elsewhere` or `silent`.
    says: &'static str,
    /// Names of the policies that decided it.
    policies: Vec<String>,
    /// It is a right of whoever made the key: all of it has to be permitted there too.
    bounds_the_key: bool,
}

impl From<ExplainedRight> for ExplainedBody {
    fn from(right: ExplainedRight) -> Self {
        let (role, custom_role_id) = role_fields(right.right.role);
        Self {
            role,
            custom_role_id,
            scope: (&right.right.scope).into(),
            grant_id: right.grant.map(|id| id.to_string()),
            says: right.says,
            policies: right.policies,
            bounds_the_key: right.is_bound,
        }
    }
}

/// Whether somebody may do something, and why.
#[derive(Serialize, ToSchema)]
struct ExplanationBody {
    allowed: bool,
    /// The thing answers like one that does not exist.
    hidden: bool,
    rights: Vec<ExplainedBody>,
}

/// Says why somebody may or may not do something.
#[utoipa::path(get, path = "/v1/access/explain", tag = "rights", params(ExplainQuery),
    responses((status = 200, body = ExplanationBody), (status = 400), (status = 404)))]
async fn explain(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<ExplainQuery>,
) -> Answer<axum::Json<ExplanationBody>> {
    let asked = Asked {
        who: holder(query.user_id.as_deref(), query.api_key_id.as_deref())?,
        action: api.app.action(&query.action)?,
        device: query.device_id.map(|id| body::id_at("device_id", &id)).transpose()?,
        twin: query.twin_id.map(|id| body::id_at("twin_id", &id)).transpose()?,
    };
    let explained = api.app.explain(&context, asked).await?;
    Ok(axum::Json(ExplanationBody {
        allowed: explained.is_allowed,
        hidden: explained.is_hidden,
        rights: explained.rights.into_iter().map(ExplainedBody::from).collect(),
    }))
}

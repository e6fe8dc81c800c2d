//! Who made an invitation. It is worth no more than they are now: nothing when they are gone, or
//! may no longer give its role. The open ones are listed, and withdrawn.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, ApiKeyId, LinkId, OpContext, PlatformContext, Rights, Role, ScopeOf,
    SessionId, SignIn, TenantId, UserId,
};
use veritwin_metastore::{Bringer, GrantRole, LinkKind, OneTimeLink, PlatformTx};

use crate::change::Change;
use crate::invitation_scopes::{Given, printed};
use crate::links::{Payload, UNKNOWN};
use crate::model::InvitationView;
use crate::people::Person;
use crate::{App, Error, Result};

/// Most open invitations of a tenant that are listed.
const INVITATIONS_LISTED_MAX: u64 = 5000;

/// Who made an invitation, and where they belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Inviter {
    tenant: TenantId,
    by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    User(UserId),
    Key(ApiKeyId),
}

impl Inviter {
    pub(crate) fn of(context: &OpContext) -> Option<Self> {
        let by = match context.actor.kind {
            ActorKind::User { user, .. } => By::User(user),
            ActorKind::ApiKey(key) => By::Key(key),
            _ => return None,
        };
        Some(Self { tenant: context.tenant, by })
    }
}

/// Who brings in whoever takes an invitation up: who made it, or whose key did.
pub(crate) async fn bringer(
    tx: &PlatformTx,
    inviter: Option<Inviter>,
    by_operator: bool,
) -> Result<Option<Bringer>> {
    let Some(Inviter { tenant, by }) = inviter else {
        return Ok(by_operator.then_some(Bringer::Operator));
    };
    let person = match by {
        By::User(user) => Some(user),
        By::Key(key) => tx.api_key_of(tenant, key).await?.and_then(|key| key.maker),
    };
    Ok(person.map(Bringer::Person))
}

fn opened(link: &OneTimeLink) -> Result<Payload> {
    serde_json::from_slice(&link.payload)
        .map_err(|_| Error::Internal("a link is damaged".to_owned()))
}

impl App {
    /// What whoever made an invitation is now, as a context of theirs; none when they are gone.
    async fn inviter_now(
        &self,
        tx: &PlatformTx,
        platform: &PlatformContext,
        inviter: Inviter,
    ) -> Result<Option<OpContext>> {
        let tenant = inviter.tenant;
        if self.refuse_unserved(tenant).is_err() {
            return Ok(None);
        }
        let actor = match inviter.by {
            By::User(user) => {
                let Some(person) = self.person_in(tx, platform, user, tenant).await? else {
                    return Ok(None);
                };
                let Person { roles, grants } = person;
                // They had proved who they are when they made it.
                let sign_in = SignIn::proved(platform.at);
                let session = SessionId::from_bytes([0; 16]);
                let kind = ActorKind::User { user, session, sign_in };
                Actor { kind, roles, rights: Rights { facets: grants, bounds: Vec::new() } }
            }
            By::Key(id) => {
                let key = tx.api_key_of(tenant, id).await?;
                let lives = |end| end > platform.at;
                let Some(key) = key.filter(|key| key.expires_at.is_none_or(lives)) else {
                    return Ok(None);
                };
                let Some(rights) = self.key_rights(tx, platform, tenant, &key).await? else {
                    return Ok(None);
                };
                Actor { kind: ActorKind::ApiKey(id), roles: vec![key.role], rights }
            }
        };
        Ok(Some(platform.in_tenant(tenant, actor)))
    }

    /// Whether whoever made an invitation could make it now.
    async fn may_invite(
        &self,
        tx: &PlatformTx,
        platform: &PlatformContext,
        (link, payload): (&OneTimeLink, &Payload),
    ) -> Result<bool> {
        let (Some(inviter), Some(tenant)) = (payload.inviter, link.tenant) else {
            return Ok(true);
        };
        let Some(context) = self.inviter_now(tx, platform, inviter).await? else {
            return Ok(false);
        };
        let may = |action: Action| {
            let all = Resource::all(context.tenant, action.kind());
            self.0.authorizer.check(&context, action, &all).is_ok()
        };
        if payload.first {
            return Ok(may(Action::TenantInviteBelow) && self.child(&context, tenant).is_ok());
        }
        if !may(Action::UserInvite) || inviter.tenant != tenant {
            return Ok(false);
        }
        let Given { role, scope } = payload.given(Role::Viewer)?;
        match self.check_giving_for_good(&context, GrantRole::BuiltIn(role), &scope).await {
            Ok(()) => Ok(true),
            Err(Error::Forbidden(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Refuses an invitation that whoever made it could not make any more, as if it were not there.
    pub(crate) async fn check_inviter(
        &self,
        tx: &PlatformTx,
        platform: &PlatformContext,
        link: &OneTimeLink,
        payload: &Payload,
    ) -> Result<()> {
        if self.may_invite(tx, platform, (link, payload)).await? { Ok(()) } else { Err(UNKNOWN) }
    }

    /// The invitations into the tenant that are open, newest first.
    #[boxed]
    pub async fn list_invitations(&self, context: &OpContext) -> Result<Vec<InvitationView>> {
        let resource = self.authorize_all(context, Action::InvitationList, Kind::User)?;
        let tx = self.0.store.read(context).await?;
        let links = tx.links_open(LinkKind::Invitation, context.at, INVITATIONS_LISTED_MAX).await?;
        drop(tx);
        let platform = self.above(context);
        let tx = self.0.store.read_platform(&platform).await?;
        let mut worth: HashMap<(Option<Inviter>, Role, ScopeOf), bool> = HashMap::new();
        let mut views = Vec::with_capacity(links.len());
        for (id, link) in links {
            let payload = opened(&link)?;
            // Made from above for the first person: of no use once somebody is there to ask.
            if payload.first {
                continue;
            }
            let Given { role, scope } = payload.given(Role::Viewer)?;
            let key = (payload.inviter, role, scope.clone());
            let is_worth = match worth.get(&key) {
                Some(is_worth) => *is_worth,
                None => self.may_invite(&tx, &platform, (&link, &payload)).await?,
            };
            worth.insert(key, is_worth);
            views.push(view((id, &link), payload, (role, scope), is_worth));
        }
        views.sort_by_key(|view| std::cmp::Reverse((view.created_at, view.id)));
        self.note(context, Action::InvitationList, &resource, "done");
        Ok(views)
    }

    /// Withdraws an invitation: its link is worth nothing any more.
    #[boxed]
    pub async fn withdraw_invitation(&self, context: &OpContext, id: LinkId) -> Result<()> {
        let resource = Resource::invitation(context.tenant, id);
        self.authorize(context, Action::InvitationDelete, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let link = tx.link_open(LinkKind::Invitation, id, context.at).await?;
        let Given { role, scope } = opened(&link)?.given(Role::Viewer)?;
        tx.link_delete(id).await?;
        let change = Change::from(json!({"role": role.as_str(), "scope": printed(&scope)}));
        self.record_change(&tx, context, Action::InvitationDelete, &resource, change).await?;
        Ok(tx.commit().await?)
    }
}

fn view(
    (id, link): (LinkId, &OneTimeLink),
    payload: Payload,
    (role, scope): (Role, ScopeOf),
    is_worth: bool,
) -> InvitationView {
    let by = payload.inviter.map(|inviter| inviter.by);
    InvitationView {
        id,
        email: payload.email.map(veritwin_domain::Secret::new),
        role,
        scope,
        inviter: match by {
            Some(By::User(user)) => Some(user),
            _ => None,
        },
        inviter_key: match by {
            Some(By::Key(key)) => Some(key),
            _ => None,
        },
        mailed: payload.mailed,
        created_at: link.created_at,
        expires_at: link.expires_at,
        is_worth,
    }
}

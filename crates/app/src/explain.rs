//! Why may somebody do something, on what: every role they hold, with what it says and by which
//! policy; also for a refusal. And what one may do oneself.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, DeviceId, HeldRole, OpContext, Place, Rights, SessionId, SignIn, SiteId,
};

use crate::access::{place_of, twin_place};
use crate::model::{ExplainView, ExplainedRight, HolderOf, OwnRights, RightView, RightsOn, RoleOf};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Who.
    pub who: HolderOf,
    /// Does what.
    pub action: Action,
    /// To this device.
    pub device: Option<DeviceId>,
    /// To this twin.
    pub twin: Option<SiteId>,
}

impl App {
    /// The action of this name.
    pub fn action(&self, name: &str) -> Result<Action> {
        name.parse().map_err(|()| Error::invalid_at("action", "no such action: see GET /v1/roles"))
    }

    /// What the person of this session may do, somewhere at least, and on one thing that they may
    /// read.
    #[boxed]
    pub async fn own_rights(&self, context: &OpContext, on: RightsOn) -> Result<OwnRights> {
        self.authorize_all(context, Action::SessionRead, Kind::Session)?;
        let mut rights = OwnRights::default();
        for action in Action::ALL {
            // Outside the platform's own tenant nobody has a desk.
            if action.kind() == Kind::SupportDesk && context.tenant != PLATFORM_TENANT {
                continue;
            }
            match self.0.authorizer.reach(context, *action, action.kind()) {
                Ok(reach) if reach.is_whole() => rights.whole.push(action.as_str()),
                Ok(_) => rights.parts.push(action.as_str()),
                Err(_) => {}
            }
            // Whoever holds many roles has much to be asked: others have their turn meanwhile.
            tokio::task::yield_now().await;
        }
        match on {
            RightsOn::Tenant => {}
            RightsOn::Device(id) => {
                let resource = self.authorize_device(context, Action::DeviceRead, id).await?;
                let devices = self.tenant_devices(context).await?;
                let device = devices.get(id).ok_or(Error::NotFound("device"))?;
                rights.here = self.permitted_at(context, &resource, place_of(device));
            }
            RightsOn::Twin(id) => {
                let resource = self.authorize_twin(context, Action::TwinRead, id)?;
                self.0.store.read(context).await?.twin(id).await?;
                rights.here = self.permitted_at(context, &resource, Place::Twin(id));
                if !rights.here.contains(&Action::TwinRead.as_str()) {
                    rights.here.push(Action::TwinRead.as_str());
                }
            }
        }
        Ok(rights)
    }

    /// The actions on a thing, at the place where it stands.
    fn permitted_at(
        &self,
        context: &OpContext,
        resource: &Resource,
        place: Place<'_>,
    ) -> Vec<&'static str> {
        let about = Action::ALL.iter().filter(|action| action.kind() == resource.kind());
        let check = |action: &Action| self.0.authorizer.check_at(context, *action, resource, place);
        about.filter(|action| check(action).is_ok()).map(|action| action.as_str()).collect()
    }

    /// Says why somebody may or may not do something.
    #[boxed]
    pub async fn explain(&self, context: &OpContext, asked: Asked) -> Result<ExplainView> {
        let all = self.authorize_all(context, Action::AccessExplain, Kind::Access)?;
        let actor = self.actor_now(context, asked.who).await?;
        let kind = asked.action.kind();
        let mut resource = Resource::all(context.tenant, kind);
        let devices = self.tenant_devices(context).await?;
        let place = match (asked.device, asked.twin) {
            (Some(id), None) => {
                let device = devices.get(id).ok_or(Error::NotFound("device"))?;
                if kind == Kind::Device {
                    resource = Resource::device(context.tenant, id);
                }
                place_of(device)
            }
            (None, Some(twin)) => {
                let tx = self.0.store.read(context).await?;
                tx.twin(twin).await?;
                if kind == Kind::Twin {
                    resource = Resource::twin(context.tenant, twin);
                }
                twin_place(asked.action, twin)
            }
            (None, None) => Place::Tenant,
            (Some(_), Some(_)) => {
                return Err(Error::invalid_at("twin_id", "give a device or a twin, not both"));
            }
        };
        self.note(context, Action::AccessExplain, &all, "done");
        let as_asked = OpContext { actor, ..context.clone() };
        let mut explained = self.0.authorizer.explain(&as_asked, asked.action, &resource, place);
        // A series that is closed to most is asked for twice, as reading it does.
        let read = asked.device.filter(|_| asked.action == Action::TelemetryRead);
        if explained.is_allowed
            && let Some(device) = read.and_then(|id| devices.get(id))
            && !self.sight(&as_asked).await?.shows(device, None)
        {
            let action = Action::TelemetryReadPersonal;
            explained = self.0.authorizer.explain(&as_asked, action, &resource, place);
            explained.is_hidden = true;
        }
        let rights = explained.facets.into_iter().map(|one| ExplainedRight {
            grant: one.facet.grant,
            right: RightView {
                role: match &one.facet.role {
                    HeldRole::BuiltIn(role) => RoleOf::BuiltIn(*role),
                    HeldRole::Custom(role) => RoleOf::Custom(role.id),
                },
                scope: one.facet.scope.of.clone(),
            },
            says: one.says.as_str(),
            policies: one.policies,
            is_bound: one.is_bound,
        });
        Ok(ExplainView {
            is_allowed: explained.is_allowed,
            is_hidden: explained.is_hidden,
            rights: rights.collect(),
        })
    }

    /// A person or program of the tenant with what they hold now.
    async fn actor_now(&self, context: &OpContext, who: HolderOf) -> Result<Actor> {
        let platform = self.above(context);
        let book = self.access_book(context).await?;
        match who {
            HolderOf::User(user) => {
                let tx = self.0.store.read(context).await?;
                let member = tx.member(user).await?;
                let session = SessionId::from_bytes([0; 16]);
                let sign_in = SignIn::proved(context.at);
                let kind = ActorKind::User { user, session, sign_in };
                let facets = book.facets_of_member(user, &member.roles, context.at);
                let rights = Rights { facets, bounds: Vec::new() };
                Ok(Actor { kind, roles: member.roles, rights })
            }
            HolderOf::ApiKey(id) => {
                let tx = self.0.store.read(context).await?;
                let key = tx.api_key(id).await?;
                drop(tx);
                let tx = self.0.store.read_platform(&platform).await?;
                let rights = self.key_rights(&tx, &platform, context.tenant, &key).await?;
                // Whoever made it is gone, and so is what it may do.
                let (roles, rights) = match rights {
                    Some(rights) => (vec![key.role], rights),
                    None => (Vec::new(), Rights::none()),
                };
                Ok(Actor { kind: ActorKind::ApiKey(id), roles, rights })
            }
        }
    }
}

//! Support, from the staff's side: what customers granted, entering it and leaving again, and
//! access that nobody of the customer asked for, which takes two of the staff and tells the
//! customer. Every step stands in the customer's own records.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, Resource, SessionState, SessionTimes, TokenKind};
use veritwin_domain::{
    Actor, ActorKind, OpContext, PlatformContext, Role, Secret, SessionId, SupportArea,
    SupportAreas, SupportGrantId, TenantId, UserId,
};
use veritwin_metastore::{PlatformTx, SupportGrant, SupportSession};

use crate::change::Change;
use crate::holds::{person, words};
use crate::model::{DeskGrant, SessionView, SignedIn, SupportGrantView, SupportView};
use crate::people::{tenant_view, user_view};
use crate::provision::{PLATFORM_TENANT, is_own};
use crate::security_words::SecurityMail;
use crate::sign_in::check_recent_proof;
use crate::support::{area_names, check_areas, grant_view, length};
use crate::transfers::FlowWay;
use crate::two_people::{BY_OPERATOR, check_two_people, of_member};
use crate::{App, Arrival, Error, Result};

const ENDED: Error = Error::Unauthenticated("the support session has ended");
const REASON_CHARS_MAX: usize = 1000;
/// Access that nobody of the customer asked for ends after this many hours.
const BREAK_GLASS_HOURS: u64 = 4;
/// A second of the staff has this many hours to approve it.
const BREAK_GLASS_ASKED_HOURS: u64 = 24;

/// What a support session acts as.
fn support_actor(
    user: UserId,
    session: SessionId,
    grant: SupportGrantId,
    areas: SupportAreas,
) -> Actor {
    let kind = ActorKind::Support { user, session, grant, areas };
    Actor::with_roles(kind, vec![Role::Support])
}

/// What the live grants of a tenant open together. A support session rests on the one that ends
/// last and ends with it; what the others open is taken from it as they end.
struct Opened {
    grant: SupportGrant,
    areas: SupportAreas,
    is_break_glass: bool,
}

impl Opened {
    /// Of the grants that are live, resting on the one that a session rests on, or for a new one on
    /// the one that ends last.
    fn of(live: Vec<SupportGrant>, rests_on: Option<SupportGrantId>) -> Option<Self> {
        let areas: Vec<SupportArea> = live.iter().flat_map(|grant| grant.areas.iter()).collect();
        let is_break_glass = live.iter().any(|grant| grant.ticket.is_none());
        let grant = match rests_on {
            Some(id) => live.into_iter().find(|grant| grant.id == id),
            None => live.into_iter().max_by_key(|grant| grant.expires_at),
        };
        Some(Self { grant: grant?, areas: SupportAreas::of(&areas), is_break_glass })
    }
}

fn desk(context: &OpContext) -> Resource {
    Resource::all(context.tenant, Kind::SupportDesk)
}

fn session_of(context: &OpContext) -> Result<SessionId> {
    match context.actor.kind {
        ActorKind::User { session, .. } => Ok(session),
        _ => Err(Error::Forbidden("this needs a person who is signed in".to_owned())),
    }
}

async fn is_staff(tx: &PlatformTx, user: UserId) -> Result<bool> {
    let serves =
        |(tenant, role): &(TenantId, Role)| *tenant == PLATFORM_TENANT && *role == Role::Support;
    Ok(!tx.user(user).await?.disabled && tx.memberships(user).await?.iter().any(serves))
}

impl App {
    /// Only the platform's own staff has a desk; members of a customer with the role have none.
    fn authorize_desk(&self, context: &OpContext, action: Action) -> Result<Resource> {
        let resource = desk(context);
        self.authorize(context, action, &resource)?;
        if context.tenant != PLATFORM_TENANT {
            self.note(context, action, &resource, "denied");
            return Err(Error::Forbidden(action.to_string()));
        }
        Ok(resource)
    }

    /// A context of the staff inside a customer's tenant, for what is recorded there.
    fn beside(
        &self,
        context: &OpContext,
        tenant: TenantId,
        grant: &SupportGrant,
    ) -> Result<OpContext> {
        let actor = support_actor(person(context)?, session_of(context)?, grant.id, grant.areas);
        Ok(self.above(context).in_tenant(tenant, actor))
    }

    /// What customers have opened to support now, and what waits for a second of the staff.
    #[boxed]
    pub async fn list_desk(&self, context: &OpContext) -> Result<Vec<DeskGrant>> {
        let resource = self.authorize_desk(context, Action::SupportServe)?;
        let own = person(context)?;
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let mut grants = tx.support_grants_asked(context.at).await?;
        grants.extend(tx.support_grants_live(context.at).await?);
        let mut names: HashMap<TenantId, String> = HashMap::new();
        let mut items = Vec::with_capacity(grants.len());
        // The tenant of nobody is entered by the platform's own checks only.
        grants.retain(|(tenant, _)| !is_own(*tenant));
        for (tenant, grant) in grants {
            if let std::collections::hash_map::Entry::Vacant(name) = names.entry(tenant) {
                name.insert(tx.tenant(tenant).await?.name);
            }
            let ticket = match grant.ticket {
                Some(id) => {
                    let ticket = tx.support_ticket(tenant, id).await?;
                    Some((ticket.subject, ticket.text))
                }
                None => None,
            };
            items.push(DeskGrant {
                tenant,
                tenant_name: names.get(&tenant).cloned().unwrap_or_default(),
                ticket,
                is_own: grant.requested_by == own,
                grant: grant_view(&grant, context.at),
            });
        }
        drop(tx);
        self.note(context, Action::SupportServe, &resource, "done");
        Ok(items)
    }

    /// Enters a customer's tenant by its live grants, with a second factor of one's own that was
    /// proven just now. Without a grant: refused when the customer ever asked for support,
    /// otherwise as if there were no such tenant.
    #[boxed]
    pub async fn enter_support(&self, context: &OpContext, tenant: TenantId) -> Result<SignedIn> {
        self.authorize_desk(context, Action::SupportServe)?;
        check_recent_proof(context)?;
        self.check_own_second_factor(context).await?;
        self.enter_by_grants(context, tenant).await
    }

    /// The same of somebody who has proven who they are.
    #[boxed]
    pub(crate) async fn enter_by_grants(
        &self,
        context: &OpContext,
        tenant: TenantId,
    ) -> Result<SignedIn> {
        let platform = self.above(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let live = tx.support_grants_live_in(tenant, context.at).await?;
        let names: Vec<String> = live.iter().map(|grant| grant.id.to_string()).collect();
        let Some(opened) = Opened::of(live, None) else {
            return Err(self.refuse_entry(&tx, context, tenant).await?);
        };
        if self.refuse_unserved(tenant).is_err() {
            return Err(Error::Conflict("this organisation is suspended".to_owned()));
        }
        self.check_flow_from(context, tenant, FlowWay::Support)?;
        let user = person(context)?;
        let (token, digest) = TokenKind::Support.generate(self.rng());
        let session = SupportSession {
            id: SessionId::generate(context.at, self.rng()),
            tenant,
            grant: opened.grant.id,
            user,
            staff_session: session_of(context)?,
            created_at: context.at,
        };
        tx.support_session_create(&session, digest.0).await?;
        let view = self.support_session_view(&tx, &session, &opened).await?;
        tx.commit().await?;
        let actor = support_actor(user, session.id, opened.grant.id, opened.areas);
        let inside = platform.in_tenant(tenant, actor);
        let entered = json!({"support": "entered", "grants": names});
        self.record_support(&inside, entered).await?;
        Ok(SignedIn { token, session: view })
    }

    async fn refuse_entry(
        &self,
        tx: &PlatformTx,
        context: &OpContext,
        tenant: TenantId,
    ) -> Result<Error> {
        if !tx.has_tickets(tenant).await? {
            return Ok(Error::NotFound("no such resource"));
        }
        // The customer sees that somebody tried.
        let nothing = SupportGrantId::from_bytes([0; 16]);
        let actor =
            support_actor(person(context)?, session_of(context)?, nothing, SupportAreas::default());
        let inside = self.above(context).in_tenant(tenant, actor);
        self.note(&inside, Action::SupportServe, &desk(&inside), "denied");
        Ok(Error::Forbidden("entering without a live grant of the customer".to_owned()))
    }

    async fn record_support(&self, inside: &OpContext, step: Value) -> Result<()> {
        let tx = self.0.store.begin(inside).await?;
        let change = Change::to(step);
        self.record_change(&tx, inside, Action::SupportServe, &desk(inside), change).await?;
        Ok(tx.commit().await?)
    }

    async fn support_session_view(
        &self,
        tx: &PlatformTx,
        session: &SupportSession,
        opened: &Opened,
    ) -> Result<SessionView> {
        let user = tx.user(session.user).await?;
        Ok(SessionView {
            user: user_view(user, vec![Role::Support]),
            tenant: tenant_view(tx.tenant(session.tenant).await?),
            lacks_second_factor: false,
            support: Some(SupportView {
                grant: opened.grant.id,
                areas: opened.areas,
                expires_at: opened.grant.expires_at,
                is_break_glass: opened.is_break_glass,
            }),
        })
    }

    /// The context behind a support session's token. Asked on every request: a grant that was taken
    /// back, a staff member who left, a doubt about their own session, networks of the staff that
    /// they are outside of, or a way to their country that is not in the register of flows any
    /// more, ends it at once.
    pub(crate) async fn authenticate_support(
        &self,
        token: &Secret<String>,
        arrival: Arrival,
        is_used: bool,
    ) -> Result<OpContext> {
        let digest = TokenKind::Support.digest(token.expose()).ok_or(ENDED)?;
        let platform = self.anonymous(arrival);
        let (session, opened) = self.support_session(&platform, digest.0, is_used).await?;
        let actor = support_actor(session.user, session.id, opened.grant.id, opened.areas);
        let inside = platform.in_tenant(session.tenant, actor);
        // The gate may have closed since, or they went on to another country.
        if self.check_flow_to(&inside, FlowWay::Support).is_err() {
            self.note(&inside, Action::SupportServe, &desk(&inside), "denied");
            return Err(ENDED);
        }
        Ok(inside)
    }

    async fn support_session(
        &self,
        platform: &PlatformContext,
        digest: [u8; 32],
        is_used: bool,
    ) -> Result<(SupportSession, Opened)> {
        let tx = self.0.store.read_platform(platform).await?;
        let session = tx.support_session_by_digest(digest).await?.ok_or(ENDED)?;
        let live = tx.support_grants_live_in(session.tenant, platform.at).await?;
        let opened = Opened::of(live, Some(session.grant)).ok_or(ENDED)?;
        let staff = tx.session(session.staff_session).await?.ok_or(ENDED)?;
        let times = SessionTimes { created_at: staff.created_at, last_seen_at: staff.last_seen_at };
        let SessionState::Live { touch } = times.state(platform.at) else { return Err(ENDED) };
        if staff.is_doubted() || !is_staff(&tx, session.user).await? {
            return Err(ENDED);
        }
        self.refuse_unserved(session.tenant)?;
        drop(tx);
        self.check_people_network(platform, PLATFORM_TENANT).await?;
        if touch && is_used {
            let tx = self.0.store.begin_platform(platform).await?;
            tx.session_touch(staff.id, platform.at).await?;
            tx.commit().await?;
        }
        Ok((session, opened))
    }

    /// The support session of the context, as its banner shows it.
    pub(crate) async fn own_support_session(&self, context: &OpContext) -> Result<SessionView> {
        let ActorKind::Support { user, session, grant, .. } = context.actor.kind else {
            return Err(ENDED);
        };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let live = tx.support_grants_live_in(context.tenant, context.at).await?;
        let opened = Opened::of(live, Some(grant)).ok_or(ENDED)?;
        let session = SupportSession {
            id: session,
            tenant: context.tenant,
            grant: opened.grant.id,
            user,
            staff_session: session,
            created_at: context.at,
        };
        self.support_session_view(&tx, &session, &opened).await
    }

    /// Leaves the customer's tenant: the staff member's own session goes on, under a new token.
    /// `token` is the support session's.
    #[boxed]
    pub async fn leave_support(
        &self,
        context: &OpContext,
        token: &Secret<String>,
    ) -> Result<Secret<String>> {
        self.authorize_all(context, Action::SessionDelete, Kind::Session)?;
        let digest = TokenKind::Support.digest(token.expose()).ok_or(ENDED)?;
        let platform = self.above(context);
        let (session, _) = self.support_session(&platform, digest.0, true).await?;
        let (own, own_digest) = TokenKind::Session.generate(self.rng());
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.support_session_delete(session.id).await?;
        tx.session_renew(session.staff_session, own_digest.0).await?;
        tx.commit().await?;
        self.record_support(context, json!({"support": "left"})).await?;
        Ok(own)
    }

    /// Asks for access to a tenant that did not ask for it. It opens nothing until a second of
    /// the staff approves.
    #[boxed]
    pub async fn ask_break_glass(
        &self,
        context: &OpContext,
        tenant: TenantId,
        areas: SupportAreas,
        reason: &str,
    ) -> Result<SupportGrantView> {
        self.authorize_desk(context, Action::SupportBreakGlass)?;
        self.check_own_second_factor(context).await?;
        let reason = words("reason", reason, REASON_CHARS_MAX)?;
        check_areas(areas)?;
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        tx.tenant(tenant).await?;
        drop(tx);
        if is_own(tenant) {
            return Err(Error::NotFound("no such resource"));
        }
        let asked = length(BREAK_GLASS_ASKED_HOURS, BREAK_GLASS_ASKED_HOURS)?;
        let grant = SupportGrant {
            id: SupportGrantId::generate(context.at, self.rng()),
            ticket: None,
            areas,
            reason,
            requested_by: person(context)?,
            requested_at: context.at,
            approved_by: None,
            granted_at: None,
            expires_at: context.at.saturating_add(asked),
            revoked_at: None,
        };
        let inside = self.beside(context, tenant, &grant)?;
        let tx = self.0.store.begin(&inside).await?;
        tx.support_grant_create(&grant).await?;
        let change = Change::to(json!({
            "asked": area_names(areas), "reason": grant.reason,
        }));
        let action = Action::SupportBreakGlass;
        self.record_change(&tx, &inside, action, &desk(&inside), change).await?;
        tx.commit().await?;
        Ok(grant_view(&grant, context.at))
    }

    /// Approves what another of the staff asked for, who is another person as far as can be told;
    /// the customer's administrators are told.
    #[boxed]
    pub async fn approve_break_glass(
        &self,
        context: &OpContext,
        id: SupportGrantId,
    ) -> Result<SupportGrantView> {
        self.authorize_desk(context, Action::SupportBreakGlass)?;
        self.check_own_second_factor(context).await?;
        let approver = person(context)?;
        let platform = self.above(context);
        let tx = self.0.store.read_platform(&platform).await?;
        let (tenant, mut grant) = tx.support_grant(id).await?;
        if grant.ticket.is_some() {
            return Err(Error::NotFound("no such resource"));
        }
        let asker = of_member(tx.line(PLATFORM_TENANT, grant.requested_by).await?)?;
        let own = of_member(tx.line(PLATFORM_TENANT, approver).await?)?;
        check_two_people((&asker, &own), context.at, BY_OPERATOR)?;
        drop(tx);
        if grant.expires_at <= context.at {
            return Err(Error::Conflict("nobody approved it in time: ask again".to_owned()));
        }
        let hours = length(BREAK_GLASS_HOURS, BREAK_GLASS_HOURS)?;
        grant.approved_by = Some(approver);
        grant.granted_at = Some(context.at);
        grant.expires_at = context.at.saturating_add(hours);
        let inside = self.beside(context, tenant, &grant)?;
        let tx = self.0.store.begin(&inside).await?;
        tx.support_grant_approve(id, approver, context.at, grant.expires_at).await?;
        let change = Change::to(json!({
            "opened": area_names(grant.areas), "reason": grant.reason,
            "until": grant.expires_at.to_string(),
        }));
        let action = Action::SupportBreakGlass;
        self.record_change(&tx, &inside, action, &desk(&inside), change).await?;
        let mail = SecurityMail::BreakGlass;
        self.mail_administrators(&tx, mail, &format!("break-glass {id}")).await?;
        tx.commit().await?;
        Ok(grant_view(&grant, context.at))
    }
}

//! One-time links: the first administrator, a further one, an invitation. A link is used once and
//! ends after 72 hours; its token is only ever stored as a digest.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, LINK_LIFETIME, TokenKind};
use veritwin_domain::{
    NAME_RULE, OpContext, PlatformContext, Role, ScopeOf, Secret, TenantId, UserId, find_unseen,
};
use veritwin_metastore::{Attestation, Bringer, OneTimeLink, Page, PlatformTx, Realm, User};

use crate::how::How;
use crate::invitation_scopes::{Given, parsed};
use crate::inviters::{Inviter, bringer};
use crate::link_accounts::{Known, Shows, Taken, account_of, known_to_mailbox};
use crate::model::{LinkKind, LinkView, SignedIn, Welcome};
use crate::people::check_password;
use crate::provision::{NewTenant, PLATFORM_TENANT, is_own, tenant_name};
use crate::rights::OWN;
use crate::sign_in::{Proven, person};
use crate::{App, Error, Result};

pub(crate) const UNKNOWN: Error = Error::NotFound("link");
/// The version of what is attested at sign-up: "I am 18 or older and I act for a business."
pub(crate) const ATTESTATION_TEXT: &str = "2026-1";
const NAME_CHARS_MAX: usize = 200;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Payload {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// The part of the tenant where the role counts; none for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// The address that the account had when its owner asked for the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address_then: Option<String>,
    /// The link went to the address by mail: who has it has the mailbox.
    #[serde(default)]
    pub(crate) mailed: bool,
    /// Made from above the tenant, for its first administrator: worth nothing as soon as anybody
    /// belongs to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) first: bool,
    /// Who made the invitation: it is worth no more than they are now. None for those of whoever
    /// holds the data directory, and of the platform itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inviter: Option<Inviter>,
    /// Made by whoever holds the data directory: whom it brings in is in a line of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) by_operator: bool,
}

/// Most links into a tenant that nobody belongs to.
const FIRST_LINKS_MAX: u64 = 16;
const HAS_PEOPLE: &str = "this organisation has people of its own: they invite others, and they \
                          let support in";
const HAD_PEOPLE: &str = "this organisation had people of its own: whoever holds the installation \
                          lets the next one in, with veritwin admin link --tenant ID";

fn kind(stored: veritwin_metastore::LinkKind) -> Result<LinkKind> {
    use veritwin_metastore::LinkKind as Stored;
    match stored {
        Stored::FirstAdministrator => Ok(LinkKind::FirstAdministrator),
        Stored::Administrator => Ok(LinkKind::Administrator),
        Stored::Invitation => Ok(LinkKind::Invitation),
        Stored::PasswordReset | Stored::EmailChange => Err(UNKNOWN),
    }
}

pub(crate) fn text(field: &str, value: &str) -> Result<String> {
    let trimmed = value.trim();
    if trimmed.is_empty() || trimmed.chars().count() > NAME_CHARS_MAX {
        let detail = format!("needs 1 to {NAME_CHARS_MAX} characters");
        return Err(Error::invalid_at(field, detail));
    }
    if find_unseen(trimmed).is_some() {
        return Err(Error::invalid_at(field, NAME_RULE));
    }
    Ok(trimmed.to_owned())
}

fn address(email: Option<String>) -> Result<String> {
    let email = email.filter(|email| veritwin_outbound::mail::is_address(email));
    email.ok_or_else(|| Error::invalid_at("email", "expected the form name@host"))
}

/// Whoever is first at managing a tenant answers for it too.
async fn welcome_member(
    tx: &PlatformTx,
    tenant: TenantId,
    (user, role, bringer): (UserId, Role, Option<Bringer>),
    is_first: bool,
) -> Result<()> {
    tx.membership_add(tenant, user, role).await?;
    let becomes_owner = is_first && !tx.has_owner(tenant).await?;
    if becomes_owner {
        tx.membership_add(tenant, user, Role::Owner).await?;
    }
    if becomes_owner || role == Role::Owner {
        tx.denials_delete_of(tenant, user).await?;
    }
    if let Some(bringer) = bringer {
        tx.brought(tenant, user, bringer).await?;
    }
    Ok(())
}

impl Payload {
    /// The role of an invitation, and where it counts.
    pub(crate) fn given(&self, otherwise: Role) -> Result<Given> {
        let role = self.role.as_ref().and_then(|role| role.parse().ok()).unwrap_or(otherwise);
        let scope = parsed(self.scope.as_deref());
        let scope = scope.ok_or_else(|| Error::Internal("a link is damaged".to_owned()))?;
        Ok(Given { role, scope })
    }
}

/// Refuses what is for a tenant's first person only once it has, or had, one.
async fn check_nobody(tx: &PlatformTx, tenant: TenantId) -> Result<()> {
    if tx.has_members(tenant).await? {
        return Err(Error::Conflict(HAS_PEOPLE.to_owned()));
    }
    if tx.had_members(tenant).await? {
        return Err(Error::Conflict(HAD_PEOPLE.to_owned()));
    }
    Ok(())
}

impl App {
    pub(crate) fn new_link(
        &self,
        context: &PlatformContext,
        kind: veritwin_metastore::LinkKind,
        tenant: Option<TenantId>,
        payload: &Payload,
    ) -> Result<(OneTimeLink, Secret<String>, [u8; 32])> {
        let (token, digest) = TokenKind::Link.generate(self.0.rng.as_ref());
        let link = OneTimeLink {
            kind,
            tenant,
            user: None,
            payload: serde_json::to_vec(payload)
                .map_err(|error| Error::Internal(error.to_string()))?,
            created_at: context.at,
            expires_at: context.at.saturating_add(LINK_LIFETIME),
            used_at: None,
        };
        Ok((link, token, digest.0))
    }

    /// What a person attests at sign-up, which nobody may leave out.
    pub(crate) fn attested(
        &self,
        context: &PlatformContext,
        attested: bool,
    ) -> Result<Option<Attestation>> {
        #[cfg(feature = "test-controls")]
        let attested = attested || self.0.promises.is_sabotaged(55);
        if !attested {
            let detail = "confirm that you are 18 or older and act for a business";
            return Err(Error::invalid_at("attested", detail));
        }
        Ok(Some(Attestation { at: context.at, text: self.attested_text(context.at) }))
    }

    /// The name that a person gave, or the one in the invitation; none is as good.
    fn given_name(
        &self,
        given: Option<Secret<String>>,
        invited: Option<String>,
    ) -> Result<Option<String>> {
        let name = given.map(Secret::into_exposed).or(invited);
        let name = name.filter(|name| !name.trim().is_empty());
        #[cfg(feature = "test-controls")]
        if name.is_none() && self.0.promises.is_sabotaged(14) {
            return Err(Error::invalid_at("name", "needed"));
        }
        name.map(|name| text("name", &name)).transpose()
    }

    /// A one-time link for an administrator: the first one, or a further one of `tenant` (of the
    /// only tenant, when there is one and none is named).
    #[boxed]
    pub async fn issue_admin_link(
        &self,
        context: &PlatformContext,
        tenant: Option<TenantId>,
    ) -> Result<Secret<String>> {
        use veritwin_metastore::LinkKind as Stored;
        self.authorize_platform(context, Action::LinkIssue)?;
        let tenants = self.customer_tenants(context).await?;
        let (kind, tenant) = match (tenant, tenants.as_slice()) {
            (None, []) => (Stored::FirstAdministrator, None),
            (None, [only]) => (Stored::Administrator, Some(only.id)),
            (None, _) => return Err(Error::invalid("several tenants: name one with --tenant ID")),
            (Some(PLATFORM_TENANT), _) => (Stored::Administrator, Some(PLATFORM_TENANT)),
            (Some(id), all) if all.iter().any(|tenant| tenant.id == id) => {
                (Stored::Administrator, Some(id))
            }
            (Some(_), _) => return Err(Error::NotFound("tenant")),
        };
        let payload = Payload { by_operator: true, ..Payload::default() };
        let (link, token, digest) = self.new_link(context, kind, tenant, &payload)?;
        let tx = self.0.store.begin_platform(context).await?;
        tx.link_create(&link, digest).await?;
        self.record_platform(&tx, context, Action::LinkIssue, tenant, "done").await?;
        tx.commit().await?;
        Ok(token)
    }

    /// A one-time link for a member of the platform's support. It lets into the platform's own
    /// tenant, and into no customer's without the customer's grant.
    #[boxed]
    pub async fn issue_support_link(&self, context: &PlatformContext) -> Result<Secret<String>> {
        self.authorize_platform(context, Action::LinkIssue)?;
        let role = Some(Role::Support.to_string());
        let payload = Payload { role, by_operator: true, ..Payload::default() };
        let kind = veritwin_metastore::LinkKind::Invitation;
        let (link, token, digest) =
            self.new_link(context, kind, Some(PLATFORM_TENANT), &payload)?;
        let tx = self.0.store.begin_platform(context).await?;
        tx.link_create(&link, digest).await?;
        let action = Action::LinkIssue;
        self.record_platform(&tx, context, action, Some(PLATFORM_TENANT), "done").await?;
        tx.commit().await?;
        Ok(token)
    }

    /// An invitation for the first administrator of a tenant, made from above it: only while nobody
    /// belongs to the tenant and nobody else has invited its first.
    pub(crate) async fn first_invitation(
        &self,
        context: &OpContext,
        tenant: TenantId,
        email: &Secret<String>,
    ) -> Result<Secret<String>> {
        let platform = &self.above_as(context);
        if !veritwin_outbound::mail::is_address(email.expose()) {
            return Err(Error::invalid_at("email", "expected the form name@host"));
        }
        let payload = Payload {
            email: Some(email.expose().clone()),
            role: Some(Role::Administrator.to_string()),
            first: true,
            inviter: Inviter::of(context),
            ..Payload::default()
        };
        let kind = veritwin_metastore::LinkKind::Invitation;
        let (mut link, token, digest) = self.new_link(platform, kind, Some(tenant), &payload)?;
        link.user = Some(UserId::generate(platform.at, self.rng()));
        let tx = self.0.store.begin_platform(platform).await?;
        check_nobody(&tx, tenant).await?;
        let open = tx.links_open_into(tenant, platform.at, FIRST_LINKS_MAX + 1).await?;
        if open.len() as u64 > FIRST_LINKS_MAX {
            let actual = open.len() as u64;
            return Err(crate::tree::over("first_links_max", FIRST_LINKS_MAX, actual));
        }
        let from_above = |link: &OneTimeLink| {
            serde_json::from_slice::<Payload>(&link.payload).is_ok_and(|payload| payload.first)
        };
        if !open.iter().all(from_above) {
            let detail = "somebody else has made a link for the first administrator: wait until it \
                          is used or ends";
            return Err(Error::Conflict(detail.to_owned()));
        }
        tx.link_create(&link, digest).await?;
        let action = Action::TenantInviteBelow;
        self.record_platform(&tx, platform, action, Some(tenant), "done").await?;
        tx.commit().await?;
        Ok(token)
    }

    /// Takes up an invitation as somebody who is signed in already, and goes there. The invitation
    /// must be to the account's own address.
    #[boxed]
    pub async fn join_tenant(
        &self,
        context: &OpContext,
        token: &Secret<String>,
    ) -> Result<SignedIn> {
        self.authorize_all(context, Action::SessionJoin, Kind::Session)?;
        let (user, _) = person(context)?;
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let (link, payload, digest) = self.open_link(&tx, &platform, token).await?;
        let user = tx.user(user).await?;
        let same = |email: &String| {
            let normal = |text: &str| veritwin_metastore::normalise_email(text).ok();
            normal(email).is_some() && normal(email) == normal(&user.email)
        };
        let is_invitation = link.kind == veritwin_metastore::LinkKind::Invitation;
        let (Some(tenant), true) = (link.tenant, is_invitation) else { return Err(UNKNOWN) };
        if !payload.email.as_ref().is_some_and(same) {
            return Err(UNKNOWN);
        }
        if ![Realm::PLATFORM, Realm::of_tenant(tenant)].contains(&user.realm) {
            let detail = "this account is known in your organisation alone: sign out, then take \
                          the invitation up with an account of its own";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let given = payload.given(Role::Operator)?;
        let is_member = tx.memberships(user.id).await?.iter().any(|(known, _)| *known == tenant);
        if !is_member {
            self.check_users_quota(tenant, 1).await?;
        }
        self.check_given(tenant, &given).await?;
        let bringer = bringer(&tx, payload.inviter, payload.by_operator).await?;
        if payload.first {
            check_nobody(&tx, tenant).await?;
        } else if bringer == Some(Bringer::Person(user.id)) {
            return Err(Error::Forbidden(OWN.to_owned()));
        }
        tx.link_use(digest, platform.at).await.map_err(|_| UNKNOWN)?;
        if !is_member || given.scope == ScopeOf::Tenant {
            let member = (user.id, given.of_membership(), bringer);
            welcome_member(&tx, tenant, member, payload.first).await?;
        }
        self.give(&tx, &platform, (tenant, user.id), &given).await?;
        if payload.mailed && user.email_verified_at.is_none() {
            tx.user_update(&User { email_verified_at: Some(platform.at), ..user }, None).await?;
        }
        let joined = (Action::SessionJoin, "done", given.recorded(user.id));
        self.record_platform_change(&tx, &platform, Some(tenant), joined).await?;
        tx.commit().await?;
        self.access_changed(tenant);
        self.switch_to(context, tenant).await
    }

    /// An invitation needs room for one more person; whoever holds the data directory does not.
    async fn check_room(&self, link: &OneTimeLink) -> Result<()> {
        match (link.tenant, kind(link.kind)?) {
            (Some(tenant), LinkKind::Invitation) => self.check_users_quota(tenant, 1).await,
            _ => Ok(()),
        }
    }

    pub(crate) async fn open_link(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        token: &Secret<String>,
    ) -> Result<(OneTimeLink, Payload, [u8; 32])> {
        let digest = TokenKind::Link.digest(token.expose()).ok_or(UNKNOWN)?.0;
        let link = tx.link_by_digest(digest).await?.ok_or(UNKNOWN)?;
        if link.used_at.is_some() || link.expires_at <= context.at {
            return Err(UNKNOWN);
        }
        if link.tenant.is_some_and(|tenant| self.refuse_unserved(tenant).is_err()) {
            return Err(Error::Conflict("this organisation is suspended".to_owned()));
        }
        let payload = serde_json::from_slice(&link.payload)
            .map_err(|_| Error::Internal("a link is damaged".to_owned()))?;
        self.check_inviter(tx, context, &link, &payload).await?;
        Ok((link, payload, digest))
    }

    /// Looks into a link without using it up.
    #[boxed]
    pub async fn inspect_link(
        &self,
        context: &PlatformContext,
        token: &Secret<String>,
    ) -> Result<LinkView> {
        self.authorize_platform(context, Action::LinkInspect)?;
        let tx = self.0.store.read_platform(context).await?;
        let (link, payload, _) = self.open_link(&tx, context, token).await?;
        let is_support = payload.role.as_deref() == Some(Role::Support.as_str());
        let kind = match link.tenant {
            Some(PLATFORM_TENANT) if is_support => LinkKind::Support,
            _ => kind(link.kind)?,
        };
        let mut tenant = None;
        let mut known = Known { is_known: false, may_begin_anew: false };
        if let (Some(id), LinkKind::Invitation, Some(email)) = (link.tenant, kind, &payload.email) {
            tenant = Some((id, tx.tenant(id).await?.name));
            // Only whoever has the mailbox is told.
            if payload.mailed {
                known = known_to_mailbox(&tx, id, email).await?;
            }
        }
        Ok(LinkView {
            kind,
            email: payload.email.map(Secret::new),
            tenant,
            has_account: known.is_known,
            may_begin_anew: known.may_begin_anew,
        })
    }

    /// Uses a link up: makes the account, and for the first administrator the tenant, and signs
    /// in. All of it happens or nothing. `pages` is the address of the platform's pages.
    #[boxed]
    pub async fn redeem_link(
        &self,
        context: &PlatformContext,
        token: &Secret<String>,
        welcome: Welcome,
        pages: &str,
    ) -> Result<SignedIn> {
        self.authorize_platform(context, Action::LinkRedeem)?;
        check_password(&welcome.password)?;
        let attestation = self.attested(context, welcome.attested)?;
        let tx = self.0.store.read_platform(context).await?;
        let (link, payload, digest) = self.open_link(&tx, context, token).await?;
        drop(tx);
        let email_verified_at = payload.mailed.then_some(context.at);
        let given = match kind(link.kind)? {
            LinkKind::FirstAdministrator | LinkKind::Administrator => {
                Given { role: Role::Administrator, scope: ScopeOf::Tenant }
            }
            LinkKind::Invitation | LinkKind::Support => payload.given(Role::Viewer)?,
        };
        let email = address(payload.email.or_else(|| welcome.email.map(Secret::into_exposed)))?;
        let name = self.given_name(welcome.name, payload.name)?;
        let is_invited = link.kind == veritwin_metastore::LinkKind::Invitation;
        let answers = !is_invited || payload.first;
        let new_tenant = match (link.tenant, welcome.organisation) {
            (Some(_), _) => None,
            (None, Some(name)) => {
                Some(self.new_tenant(context, &tenant_name("organisation", &name)?)?)
            }
            (None, None) => {
                return Err(Error::invalid_at(
                    "organisation",
                    "needed for the first administrator",
                ));
            }
        };
        self.check_room(&link).await?;
        if let Some(tenant) = link.tenant {
            self.check_given(tenant, &given).await?;
        }
        let password_hash = Some(self.hash_password(welcome.password).await?);
        let tx = self.0.store.begin_platform(context).await?;
        // Hashing took a while: whoever invited may be gone by now.
        self.open_link(&tx, context, token).await?;
        if let Some(tenant) = link.tenant.filter(|_| payload.first) {
            check_nobody(&tx, tenant).await?;
        }
        tx.link_use(digest, context.at).await.map_err(|_| UNKNOWN)?;
        let is_first = link.kind == veritwin_metastore::LinkKind::FirstAdministrator;
        if is_first && tx.tenants(&Page::whole()).await?.items.iter().any(|one| !is_own(one.id)) {
            let detail = "the first administrator exists already: ask for an administrator link";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let tenant = match (link.tenant, new_tenant) {
            (Some(tenant), _) => tenant,
            (None, Some(NewTenant { row, .. })) => {
                tx.tenant_create(&row).await?;
                row.id
            }
            (None, None) => return Err(UNKNOWN),
        };
        let user = User {
            id: link.user.unwrap_or_else(|| UserId::generate(context.at, self.rng())),
            realm: Realm::PLATFORM,
            email,
            name,
            password_hash,
            disabled: false,
            email_verified_at,
            attestation,
            version: 0,
            created_at: context.at,
        };
        let shows = match link.kind {
            veritwin_metastore::LinkKind::Administrator => Shows::OperatorsWill,
            _ if payload.mailed => Shows::Mailbox,
            _ => Shows::Invitation,
        };
        let Taken { account: user, ended, beside } = account_of(&tx, tenant, user, shows).await?;
        if let Some(beside) = beside {
            self.tell_aside(&tx, context, (&beside, pages)).await?;
        }
        let bringer = bringer(&tx, payload.inviter, payload.by_operator).await?;
        welcome_member(&tx, tenant, (user.id, given.of_membership(), bringer), answers).await?;
        self.give(&tx, context, (tenant, user.id), &given).await?;
        let proven = Proven { user, second_factor: false, how: How::Link };
        let signed_in = self.open_session(&tx, context, tenant, proven).await?;
        let redeemed = (Action::LinkRedeem, "done", given.recorded(signed_in.session.user.id));
        self.record_platform_change(&tx, context, Some(tenant), redeemed).await?;
        let stored = tx.tenant(tenant).await?;
        tx.commit().await?;
        self.0.tree.write().put(stored);
        self.tenant_ready(tenant);
        self.access_changed(tenant);
        self.sessions_ended(ended);
        Ok(signed_in)
    }
}

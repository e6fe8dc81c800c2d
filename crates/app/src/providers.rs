//! What a tenant sets for sign-in through its own provider. The provider is asked before anything
//! is stored, through the guard, so that what is stored works.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, OpContext, PlatformContext, Role, Secret, TenantId, UserId,
};
use veritwin_metastore::IdentityProvider;
use veritwin_outbound::guard::{Caller, Target};

use crate::change::Change;
use crate::links::text;
use crate::model::{ProviderInput, ProviderOffer, ProviderView};
use crate::provision::is_own;
use crate::{App, Error, Result};

/// Most domains of a provider.
pub(crate) const PROVIDER_DOMAINS_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 60;
const CLIENT_BYTES_MAX: usize = 255;
const SECRET_BYTES_MAX: usize = 1024;
/// What somebody may be made by signing in: roles that manage nobody and nothing.
pub(crate) const ROLES_OF_NEW: [Role; 4] =
    [Role::Operator, Role::Analyst, Role::Viewer, Role::Auditor];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Body {
    name: String,
    issuer: String,
    client_id: String,
    domains: Vec<String>,
    enabled: bool,
    role_of_new: Option<String>,
    counts_as_second_factor: bool,
    /// The owners who set it, since its issuer or client is another: whoever comes by it is in
    /// their line.
    set_by: Vec<UserId>,
}

/// What is set, with its secret.
pub(crate) struct Provider {
    pub(crate) view: ProviderView,
    pub(crate) client_secret: Option<Secret<String>>,
    /// The owners who set it.
    pub(crate) set_by: Vec<UserId>,
}

fn loaded(stored: IdentityProvider) -> Result<Provider> {
    let damaged = || Error::Internal("a stored provider is damaged".to_owned());
    let body: Body = serde_json::from_slice(&stored.body).map_err(|_| damaged())?;
    let secret = stored.client_secret.map(String::from_utf8).transpose().map_err(|_| damaged())?;
    Ok(Provider {
        view: ProviderView {
            name: body.name,
            issuer: body.issuer,
            client_id: body.client_id,
            has_secret: secret.is_some(),
            domains: body.domains,
            enabled: body.enabled,
            role_of_new: body.role_of_new.and_then(|role| role.parse().ok()),
            counts_as_second_factor: body.counts_as_second_factor,
            version: i64::try_from(stored.version).unwrap_or(i64::MAX),
            updated_at: stored.updated_at,
        },
        client_secret: secret.map(Secret::new),
        set_by: body.set_by,
    })
}

/// What a record says of what is set.
fn facts(view: &ProviderView) -> serde_json::Value {
    json!({
        "name": view.name,
        "issuer": view.issuer,
        "client_id": view.client_id,
        "domains": view.domains,
        "enabled": view.enabled,
        "role_of_new": view.role_of_new.map(Role::as_str),
        "counts_as_second_factor": view.counts_as_second_factor,
    })
}

/// A client's id or secret: visible ASCII (RFC 6749, appendix A.1 and A.2), blanks inside it too.
fn visible(field: &str, value: &str, bytes_max: usize) -> Result<String> {
    let fits = (1..=bytes_max).contains(&value.len());
    if fits && value.trim() == value && value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(value.to_owned());
    }
    let detail = format!("needs 1 to {bytes_max} visible ASCII characters, no blank around them");
    Err(Error::invalid_at(field, detail))
}

/// The owners who set what is set now.
fn setters(context: &OpContext, before: Option<&Provider>, after: &Body) -> Vec<UserId> {
    let is_same =
        |view: &ProviderView| view.issuer == after.issuer && view.client_id == after.client_id;
    let before = before.filter(|known| is_same(&known.view));
    let mut setters = before.map(|known| known.set_by.clone()).unwrap_or_default();
    if let ActorKind::User { user, .. } = context.actor.kind
        && !setters.contains(&user)
    {
        setters.push(user);
    }
    setters
}

fn domains(input: &[String]) -> Result<Vec<String>> {
    if !(1..=PROVIDER_DOMAINS_MAX).contains(&input.len()) {
        let detail = format!("needs 1 to {PROVIDER_DOMAINS_MAX} domains, such as example.com");
        return Err(Error::invalid_at("domains", detail));
    }
    let mut all = Vec::new();
    for (index, domain) in input.iter().enumerate() {
        let domain = domain.trim().trim_start_matches('@');
        let wrong = || {
            let detail = "expected a domain such as example.com";
            Error::invalid_at(format!("domains[{index}]"), detail)
        };
        all.push(crate::partners::host_name(domain).ok_or_else(wrong)?);
    }
    all.sort();
    all.dedup();
    Ok(all)
}

impl App {
    /// Whom a call to a tenant's provider is made for.
    pub(crate) fn caller(&self, tenant: TenantId) -> Caller {
        Caller { tenant, branch: self.branch_of(tenant) }
    }

    /// Through which provider one's people may sign in.
    #[boxed]
    pub async fn identity_provider(&self, context: &OpContext) -> Result<Option<ProviderView>> {
        let resource = self.authorize_all(context, Action::IdentityProviderRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let known = tx.identity_provider().await?.map(loaded).transpose()?;
        self.note(context, Action::IdentityProviderRead, &resource, "done");
        Ok(known.map(|provider| provider.view))
    }

    /// Sets the provider, after it has answered. With another issuer or client whoever was known
    /// by the old one connects their account anew.
    #[boxed]
    pub async fn set_identity_provider(
        &self,
        context: &OpContext,
        input: ProviderInput,
        if_version: Option<i64>,
    ) -> Result<ProviderView> {
        let resource = self.authorize_provider(context)?;
        let tx = self.0.store.read(context).await?;
        let before = tx.identity_provider().await?.map(loaded).transpose()?;
        drop(tx);
        let (mut body, secret) = self.checked_provider(&input, before.as_ref())?;
        body.set_by = setters(context, before.as_ref(), &body);
        let now = context.clock.monotonic();
        self.0.providers.ask(self.caller(context.tenant), &body.issuer, now).await.map_err(
            |error| match error.busy() {
                Some(limit) => Error::Crowded(limit.clone()),
                None => {
                    Error::invalid_at("issuer", format!("this provider cannot be used: {error}"))
                }
            },
        )?;
        let row = IdentityProvider {
            body: serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?,
            client_secret: secret.map(|secret| secret.into_exposed().into_bytes()),
            version: 0,
            updated_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.identity_provider_put(&row, expected).await?;
        let old = before.as_ref().map(|known| &known.view);
        if old.is_some_and(|old| old.issuer != body.issuer || old.client_id != body.client_id) {
            tx.provider_identities_forget().await?;
            tx.sessions_end_by_provider().await?;
        } else if !body.enabled {
            tx.sessions_end_by_provider().await?;
        }
        let stored = tx.identity_provider().await?.ok_or(Error::NotFound("provider"))?;
        let view = loaded(stored)?.view;
        let change = match old {
            Some(old) => Change::from_to(facts(old), facts(&view)),
            None => Change::to(facts(&view)),
        };
        self.record_change(&tx, context, Action::IdentityProviderWrite, &resource, change).await?;
        tx.commit().await?;
        self.sessions_ended([context.tenant]);
        Ok(view)
    }

    /// Removes the provider; whoever signed in through it is out.
    #[boxed]
    pub async fn delete_identity_provider(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_provider(context)?;
        let tx = self.0.store.begin(context).await?;
        let old = tx.identity_provider().await?.ok_or(Error::NotFound("provider"))?;
        tx.identity_provider_delete().await?;
        tx.sessions_end_by_provider().await?;
        let change = Change::from(facts(&loaded(old)?.view));
        self.record_change(&tx, context, Action::IdentityProviderWrite, &resource, change).await?;
        tx.commit().await?;
        self.0.providers.forget(context.tenant);
        self.sessions_ended([context.tenant]);
        Ok(())
    }

    /// A provider speaks for everybody of the tenant, owners too: whatever a role of the tenant's
    /// own may have been given, only an owner in person sets it.
    fn authorize_provider(&self, context: &OpContext) -> Result<Resource> {
        let resource = self.authorize_all(context, Action::IdentityProviderWrite, Kind::Tenant)?;
        self.authorize_all(context, Action::OwnerAppoint, Kind::User)?;
        Ok(resource)
    }

    fn checked_provider(
        &self,
        input: &ProviderInput,
        before: Option<&Provider>,
    ) -> Result<(Body, Option<Secret<String>>)> {
        let issuer = input.issuer.trim();
        let wrong = |detail: String| Error::invalid_at("issuer", detail);
        let target = Target::parse(issuer).map_err(|error| wrong(error.to_string()))?;
        self.0.providers.client.guard().check(&target).map_err(|error| wrong(error.to_string()))?;
        if issuer.contains('?') {
            return Err(wrong("an issuer has no part behind `?`".to_owned()));
        }
        let client_id = visible("client_id", &input.client_id, CLIENT_BYTES_MAX)?;
        let name = text("name", &input.name)?;
        if name.chars().count() > NAME_CHARS_MAX {
            return Err(Error::invalid_at("name", format!("at most {NAME_CHARS_MAX} characters")));
        }
        if input.role_of_new.is_some_and(|role| !ROLES_OF_NEW.contains(&role)) {
            let detail = "whoever is new may become operator, analyst, viewer or auditor; give \
                          more by hand";
            return Err(Error::invalid_at("role_of_new", detail));
        }
        let secret = match &input.client_secret {
            Some(secret) if secret.expose().is_empty() => None,
            Some(secret) => Some(visible("client_secret", secret.expose(), SECRET_BYTES_MAX)?),
            // A secret that is there goes to nobody else.
            None => before
                .filter(|known| known.view.issuer == issuer && known.view.client_id == client_id)
                .and_then(|known| known.client_secret.as_ref())
                .map(|secret| secret.expose().clone()),
        };
        let body = Body {
            name,
            issuer: issuer.to_owned(),
            client_id,
            domains: domains(&input.domains)?,
            enabled: input.enabled,
            role_of_new: input.role_of_new.map(|role| role.as_str().to_owned()),
            counts_as_second_factor: input.counts_as_second_factor,
            set_by: Vec::new(),
        };
        Ok((body, secret.map(Secret::new)))
    }

    /// The provider of a tenant, when it is offered and the tenant is served.
    pub(crate) async fn offered_provider(
        &self,
        context: &PlatformContext,
        tenant: TenantId,
    ) -> Result<Option<Provider>> {
        if self.refuse_unserved(tenant).is_err() || self.0.tree.read().get(tenant).is_none() {
            return Ok(None);
        }
        let nobody = Actor::without_roles(ActorKind::Anonymous);
        let context = context.clone().in_tenant(tenant, nobody);
        let tx = self.0.store.read(&context).await?;
        let known = tx.identity_provider().await?.map(loaded).transpose()?;
        Ok(known.filter(|provider| provider.view.enabled))
    }

    /// What the sign-in page of a host name, or of a tenant that is named, offers. A tenant that is
    /// not there offers as little as one that set nothing.
    #[boxed]
    pub async fn provider_offer(
        &self,
        context: &PlatformContext,
        tenant: Option<TenantId>,
        host: Option<&str>,
    ) -> Result<Option<ProviderOffer>> {
        self.authorize_platform(context, Action::SessionCreate)?;
        let Some(tenant) = tenant.or_else(|| self.tenant_at_door(host)) else { return Ok(None) };
        let known = self.offered_provider(context, tenant).await?;
        Ok(known.map(|provider| ProviderOffer { tenant, name: provider.view.name }))
    }

    /// The tenant of a host name; where names were given to nobody, the only customer there is.
    pub(crate) fn tenant_at_door(&self, host: Option<&str>) -> Option<TenantId> {
        let tree = self.0.tree.read();
        let name = host.and_then(|host| {
            crate::partners::host_name(host.rsplit_once(':').map_or(host, |(name, _port)| name))
        });
        if let Some(tenant) = name.and_then(|name| tree.hosts.get(&name).copied()) {
            return Some(tenant);
        }
        let mut customers = tree.ids().filter(|id| !is_own(*id));
        customers.next().filter(|_| customers.next().is_none())
    }
}

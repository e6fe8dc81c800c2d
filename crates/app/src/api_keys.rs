//! Programs' API keys. The secret is shown once and stored as a digest. A key is never worth more
//! than whoever made it is now: their rights bound it at every request.

use std::net::IpAddr;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{API_KEY_LIFETIME_MAX, Action, Kind, Resource, TokenKind};
use veritwin_domain::{
    Actor, ActorKind, ApiKeyId, GrantId, Network, NetworkError, OpContext, PlatformContext, Rights,
    Role, ScopeOf, Secret, TenantId, Timestamp, UserId,
};
use veritwin_metastore::{ApiKey, Grant, GrantRole, Holder, Page, PlatformTx, TenantTx, UsedFrom};

use crate::access::facets_of;
use crate::change::Change;
use crate::model::{ApiKeyView, NewApiKey, RightView, RoleOf};
use crate::people::Person;
use crate::{App, Arrival, Error, Result};

const UNKNOWN: Error = Error::Unauthenticated(
    "unknown or expired API key, or one that does not work from this address",
);
const NAME_CHARS_MAX: usize = 100;
/// Most networks of one key.
const NETWORKS_MAX: usize = 32;
/// How long a key works when nothing is said.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(90 * 86_400);
/// A key's last use is written at most this often.
const TOUCH_MICROS: i64 = 60_000_000;
/// What a key has in its row when its right is a grant: nothing by itself.
const BY_GRANT: Role = Role::Support;

fn view(key: ApiKey, grants: &[Grant]) -> ApiKeyView {
    let held = grants.iter().find(|grant| grant.holder == Holder::ApiKey(key.id));
    let right = match held {
        Some(grant) if key.role == BY_GRANT => {
            RightView { role: grant.role.into(), scope: grant.scope.clone() }
        }
        _ => RightView { role: RoleOf::BuiltIn(key.role), scope: ScopeOf::Tenant },
    };
    ApiKeyView {
        id: key.id,
        name: key.name,
        right,
        created_at: key.created_at,
        expires_at: key.expires_at.unwrap_or(Timestamp::MAX),
        last_used_at: key.last_used_at,
        last_used_from: key.last_used_from.map(|from| from.as_str()),
        maker: key.maker,
        addresses: key.addresses,
    }
}

fn check_networks(texts: &[String]) -> Result<Vec<String>> {
    if texts.len() > NETWORKS_MAX {
        let limit = veritwin_domain::LimitExceeded {
            name: "networks_max",
            max: NETWORKS_MAX,
            actual: texts.len(),
        };
        return Err(limit.into());
    }
    let parse = |(index, text): (usize, &String)| {
        let network = text.parse::<Network>();
        network.map(|network| network.to_string()).map_err(|problem| {
            Error::invalid_at(format!("addresses[{index}]"), problem.to_string())
        })
    };
    texts.iter().enumerate().map(parse).collect()
}

fn network(text: &str) -> Option<Network> {
    match text.parse::<Network>() {
        // Earlier versions stored bits behind the prefix too.
        Ok(network) | Err(NetworkError::HostBits(network)) => Some(network),
        Err(_) => None,
    }
}

fn works_from(key: &ApiKey, context: &PlatformContext) -> bool {
    let address = context.origin.address;
    let holds = |network: Network| address.is_some_and(|address| network.contains(address));
    key.addresses.is_empty() || key.addresses.iter().any(|text| network(text).is_some_and(holds))
}

/// Whether the key that made a key works from here: what it made works nowhere else.
async fn maker_works_from(
    tx: &PlatformTx,
    context: &PlatformContext,
    tenant: TenantId,
    key: &ApiKey,
) -> Result<bool> {
    let Some(id) = key.maker_key else { return Ok(true) };
    Ok(tx.api_key_of(tenant, id).await?.is_some_and(|maker| works_from(&maker, context)))
}

/// The networks of a key that a key bound to networks makes: some inside those, or those.
fn inside_of(own: &[String], asked: Vec<String>) -> Result<Vec<String>> {
    if own.is_empty() {
        return Ok(asked);
    }
    if asked.is_empty() {
        return Ok(own.to_vec());
    }
    let own: Vec<Network> = own.iter().filter_map(|text| network(text)).collect();
    let is_inside =
        |text: &String| network(text).is_some_and(|asked| own.iter().any(|own| own.covers(&asked)));
    match asked.iter().position(|text| !is_inside(text)) {
        Some(index) => {
            let detail = "a key works nowhere that the key which makes it does not";
            Err(Error::invalid_at(format!("addresses[{index}]"), detail))
        }
        None => Ok(asked),
    }
}

/// As much as is kept of where a key was used from.
fn used_from(address: IpAddr) -> UsedFrom {
    match address.to_canonical() {
        address if address.is_loopback() => UsedFrom::Loopback,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => UsedFrom::Private,
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => UsedFrom::Private,
        _ => UsedFrom::Public,
    }
}

/// Who makes a key.
#[derive(Default)]
struct Maker {
    user: Option<UserId>,
    key: Option<ApiKeyId>,
    expires_at: Option<Timestamp>,
    /// The networks that a key is bound to.
    addresses: Vec<String>,
}

impl App {
    /// The context behind an API key.
    #[boxed]
    pub async fn authenticate_api_key(
        &self,
        token: &Secret<String>,
        arrival: Arrival,
    ) -> Result<OpContext> {
        let platform = self.anonymous(arrival);
        let refused = || {
            self.watch_refused_key(&platform);
            UNKNOWN
        };
        let digest = TokenKind::ApiKey.digest(token.expose()).ok_or_else(refused)?;
        let tx = self.0.store.read_platform(&platform).await?;
        let (tenant, key) = tx.api_key_by_digest(digest.0).await?.ok_or_else(refused)?;
        let is_over = key.expires_at.is_some_and(|end| end <= platform.at);
        let works =
            works_from(&key, &platform) && maker_works_from(&tx, &platform, tenant, &key).await?;
        if is_over || !works {
            return Err(refused());
        }
        self.refuse_unserved(tenant)?;
        let rights = self.key_rights(&tx, &platform, tenant, &key).await?.ok_or_else(refused)?;
        drop(tx);
        let stale = |at: Timestamp| platform.at.as_micros() - at.as_micros() > TOUCH_MICROS;
        if key.last_used_at.is_none_or(stale) {
            let from = platform.origin.address.map(used_from);
            let tx = self.0.store.begin_platform(&platform).await?;
            tx.api_key_touch(tenant, key.id, platform.at, from).await?;
            tx.commit().await?;
        }
        let actor = Actor { kind: ActorKind::ApiKey(key.id), roles: vec![key.role], rights };
        Ok(platform.in_tenant(tenant, actor))
    }

    /// What a key's grants give it, and the rights of whoever made it; none when they are gone.
    pub(crate) async fn key_rights(
        &self,
        tx: &PlatformTx,
        platform: &PlatformContext,
        tenant: TenantId,
        key: &ApiKey,
    ) -> Result<Option<Rights>> {
        let inside = platform.in_tenant(tenant, Actor::without_roles(ActorKind::Anonymous));
        let book = self.access_book(&inside).await?;
        let mut rights =
            Rights { facets: book.facets(Holder::ApiKey(key.id), platform.at), bounds: Vec::new() };
        if let Some(user) = key.maker {
            match self.person_in(tx, platform, user, tenant).await? {
                Some(Person { roles, grants }) => rights.bounds.push(facets_of(&roles, grants)),
                None => return Ok(None),
            }
        }
        if let Some(id) = key.maker_key {
            match tx.api_key_of(tenant, id).await? {
                Some(maker) if maker.expires_at.is_none_or(|end| end > platform.at) => {
                    let grants = book.facets(Holder::ApiKey(id), platform.at);
                    rights.bounds.push(facets_of(&[maker.role], grants));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(rights))
    }

    /// The tenant's API keys.
    #[boxed]
    pub async fn list_api_keys(&self, context: &OpContext) -> Result<Vec<ApiKeyView>> {
        let resource = self.authorize_all(context, Action::ApiKeyList, Kind::ApiKey)?;
        let tx = self.0.store.read(context).await?;
        let keys = tx.api_keys(&Page::whole()).await?.items;
        let grants = tx.grants().await?;
        self.note(context, Action::ApiKeyList, &resource, "done");
        Ok(keys.into_iter().map(|key| view(key, &grants)).collect())
    }

    /// Makes an API key; the secret is given out this once. Nobody gives a key more than they
    /// hold themselves.
    #[boxed]
    pub async fn create_api_key(
        &self,
        context: &OpContext,
        new: NewApiKey,
    ) -> Result<(ApiKeyView, Secret<String>)> {
        self.authorize_all(context, Action::ApiKeyCreate, Kind::ApiKey)?;
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            let detail = format!("needs 1 to {NAME_CHARS_MAX} characters");
            return Err(Error::invalid_at("name", detail));
        }
        let usual = context.at.saturating_add(LIFETIME_DEFAULT);
        let mut expires_at = new.expires_at.unwrap_or(usual);
        if expires_at <= context.at {
            return Err(Error::invalid_at("expires_at", "must be in the future"));
        }
        if expires_at.since(context.at) > API_KEY_LIFETIME_MAX {
            return Err(Error::invalid_at("expires_at", "at most 366 days from now"));
        }
        let addresses = check_networks(&new.addresses)?;
        let role = GrantRole::from(new.right.role);
        let tx = self.0.store.begin(context).await?;
        let maker = self.maker(context, &tx).await?;
        let addresses = inside_of(&maker.addresses, addresses)?;
        if let Some(end) = maker.expires_at.filter(|end| expires_at > *end) {
            if new.expires_at.is_some() {
                let detail = "a key cannot outlive the key that makes it";
                return Err(Error::invalid_at("expires_at", detail));
            }
            expires_at = end;
        }
        self.check_scope_exists(&tx, &new.right.scope).await?;
        // Whose right ends takes it from the key as well: it is bounded by what they hold.
        self.check_giving(context, role, &new.right.scope).await?;
        let in_row = match (role, &new.right.scope) {
            (GrantRole::BuiltIn(role), ScopeOf::Tenant) => Some(role),
            _ => None,
        };
        let (secret, digest) = TokenKind::ApiKey.generate(self.0.rng.as_ref());
        let key = ApiKey {
            id: ApiKeyId::generate(context.at, self.rng()),
            name: name.to_owned(),
            role: in_row.unwrap_or(BY_GRANT),
            created_at: context.at,
            expires_at: Some(expires_at),
            last_used_at: None,
            last_used_from: None,
            maker: maker.user,
            maker_key: maker.key,
            addresses,
        };
        let count = tx.usage().await?.api_keys + 1;
        self.check_quota(context.tenant, crate::tree::Quota::ApiKeys, count)?;
        tx.api_key_create(&key, digest.0).await?;
        let mut grants = Vec::new();
        if in_row.is_none() {
            let grant = Grant {
                id: GrantId::generate(context.at, self.rng()),
                holder: Holder::ApiKey(key.id),
                role,
                scope: new.right.scope,
                expires_at: None,
                created_at: context.at,
            };
            self.check_room_for_grant(&tx).await?;
            tx.grant_create(&grant).await?;
            grants.push(grant);
        }
        let role_name = match role {
            GrantRole::BuiltIn(role) => role.to_string(),
            GrantRole::Custom(id) => id.to_string(),
        };
        let resource = Resource::api_key(context.tenant, key.id);
        let change = Change::to(json!({
            "name": key.name, "role": role_name, "expires_at": expires_at.to_string(),
        }));
        self.record_change(&tx, context, Action::ApiKeyCreate, &resource, change).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok((view(key, &grants), secret))
    }

    async fn maker(&self, context: &OpContext, tx: &TenantTx) -> Result<Maker> {
        match context.actor.kind {
            ActorKind::User { user, .. } => Ok(Maker { user: Some(user), ..Maker::default() }),
            ActorKind::ApiKey(id) => {
                let own = tx.api_key(id).await?;
                if own.maker_key.is_some() {
                    let detail = "api_key.create by a key that a key has made";
                    return Err(Error::Forbidden(detail.to_owned()));
                }
                Ok(Maker {
                    user: own.maker,
                    key: Some(id),
                    expires_at: own.expires_at,
                    addresses: own.addresses,
                })
            }
            _ => Ok(Maker::default()),
        }
    }

    /// Revokes an API key at once, with the keys it made.
    #[boxed]
    pub async fn revoke_api_key(&self, context: &OpContext, id: ApiKeyId) -> Result<()> {
        let resource = Resource::api_key(context.tenant, id);
        self.authorize(context, Action::ApiKeyDelete, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let key = tx.api_key(id).await?;
        tx.api_key_delete(id).await?;
        let gone = Change::from(json!({"name": key.name, "role": key.role.as_str()}));
        self.record_change(&tx, context, Action::ApiKeyDelete, &resource, gone).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        self.0.logins.forget_all();
        Ok(())
    }
}

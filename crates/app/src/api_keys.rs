//! Programs' API keys. The secret is shown once and stored as a digest.

use serde_json::json;
use veritwin_access::{API_KEY_LIFETIME_MAX, Action, Kind, Resource, TokenKind};
use veritwin_domain::{Actor, ActorKind, ApiKeyId, OpContext, Role, Secret, Timestamp};
use veritwin_metastore::{ApiKey, Page};

use crate::activity::Change;
use crate::model::ApiKeyView;
use crate::{App, Arrival, Error, Result};

const UNKNOWN: Error = Error::Unauthenticated("unknown or expired API key");
const NAME_CHARS_MAX: usize = 100;
/// A key's last use is written at most this often.
const TOUCH_MICROS: i64 = 60_000_000;

fn view(key: ApiKey) -> ApiKeyView {
    ApiKeyView {
        id: key.id,
        name: key.name,
        role: key.role,
        created_at: key.created_at,
        expires_at: key.expires_at.unwrap_or(Timestamp::MAX),
        last_used_at: key.last_used_at,
    }
}

impl App {
    /// The context behind an API key.
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
        drop(tx);
        if key.expires_at.is_some_and(|end| end <= platform.at) {
            return Err(refused());
        }
        self.refuse_unserved(tenant)?;
        let stale = |at: Timestamp| platform.at.as_micros() - at.as_micros() > TOUCH_MICROS;
        if key.last_used_at.is_none_or(stale) {
            let tx = self.0.store.begin_platform(&platform).await?;
            tx.api_key_touch(tenant, key.id, platform.at).await?;
            tx.commit().await?;
        }
        let actor = Actor { kind: ActorKind::ApiKey(key.id), roles: vec![key.role] };
        Ok(platform.in_tenant(tenant, actor))
    }

    /// The tenant's API keys.
    pub async fn list_api_keys(&self, context: &OpContext) -> Result<Vec<ApiKeyView>> {
        let resource = self.authorize_all(context, Action::ApiKeyList, Kind::ApiKey)?;
        let tx = self.0.store.read(context).await?;
        let keys = tx.api_keys(&Page::whole()).await?.items;
        self.note(context, Action::ApiKeyList, &resource, "done");
        Ok(keys.into_iter().map(view).collect())
    }

    /// Makes an API key; the secret is given out this once.
    pub async fn create_api_key(
        &self,
        context: &OpContext,
        name: &str,
        role: Role,
        expires_at: Timestamp,
    ) -> Result<(ApiKeyView, Secret<String>)> {
        self.authorize_all(context, Action::ApiKeyCreate, Kind::ApiKey)?;
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            let detail = format!("needs 1 to {NAME_CHARS_MAX} characters");
            return Err(Error::invalid_at("name", detail));
        }
        if expires_at <= context.at {
            return Err(Error::invalid_at("expires_at", "must be in the future"));
        }
        if expires_at.since(context.at) > API_KEY_LIFETIME_MAX {
            return Err(Error::invalid_at("expires_at", "at most 366 days from now"));
        }
        let (secret, digest) = TokenKind::ApiKey.generate(self.0.rng.as_ref());
        let key = ApiKey {
            id: ApiKeyId::generate(context.at, self.rng()),
            name: name.to_owned(),
            role,
            created_at: context.at,
            expires_at: Some(expires_at),
            last_used_at: None,
        };
        let tx = self.0.store.begin(context).await?;
        let count = tx.usage().await?.api_keys + 1;
        self.check_quota(context.tenant, crate::tree::Quota::ApiKeys, count)?;
        tx.api_key_create(&key, digest.0).await?;
        let resource = Resource::api_key(context.tenant, key.id);
        let change = Change::to(json!({
            "name": key.name, "role": role.as_str(), "expires_at": expires_at.to_string(),
        }));
        self.record_change(&tx, context, Action::ApiKeyCreate, &resource, change).await?;
        tx.commit().await?;
        Ok((view(key), secret))
    }

    /// Revokes an API key at once.
    pub async fn revoke_api_key(&self, context: &OpContext, id: ApiKeyId) -> Result<()> {
        let resource = Resource::api_key(context.tenant, id);
        self.authorize(context, Action::ApiKeyDelete, &resource)?;
        let tx = self.0.store.begin(context).await?;
        tx.api_key_delete(id).await?;
        self.record(&tx, context, Action::ApiKeyDelete, &resource).await?;
        tx.commit().await?;
        self.0.logins.forget_all();
        Ok(())
    }
}

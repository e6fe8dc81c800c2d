//! What people do with the key above their tenant's keys: hold it at a service of their own, give
//! it back to the platform, change its version, take it away and give it back. Each act is written
//! down with what was before; one that cannot be taken back asks for proof again.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{OpContext, TenantId};
use veritwin_keys::{
    KeyCall, KeyError, KeyLevel, KeyMetadata, KeyProvider, NewAbove, NewKek, ProviderError,
    ProviderSettings, Rotation, SecretKey,
};

use super::book::{StoredChange, StoredService};
use super::keeper::{answer, secret};
use super::view::KeyTestView;
use crate::activity::actor_text;
use crate::change::Change;
use crate::{App, Error, Result};

/// How long a held key is in memory after an answer, in seconds.
pub const KEY_TTL_DEFAULT_S: u64 = 60;
/// The longest that may be chosen; 0 may be, too.
pub const KEY_TTL_MAX_S: u64 = 300;

/// What has to be said to take a tenant's keys away.
pub const KEY_REVOKE_WORD: &str = "revoke";

/// A service that shall hold a tenant's key.
#[derive(Debug, Clone)]
pub struct KeyServiceInput {
    /// How it is reached.
    pub settings: ProviderSettings,
    /// How long a key is in memory after an answer, in seconds.
    pub ttl_s: u64,
}

fn at_service(error: ProviderError) -> Error {
    match error {
        ProviderError::Invalid(detail) => Error::invalid_at("service", detail),
        ProviderError::Unavailable(_) => Error::Unavailable(error.to_string()),
        ProviderError::Denied | ProviderError::Destroyed => Error::Conflict(error.to_string()),
    }
}

fn stopped<T>(_: T) -> Error {
    Error::Internal("the change of a key stopped".to_owned())
}

impl App {
    pub(super) fn check_key_plan(&self, tenant: TenantId, level: KeyLevel) -> Result<()> {
        if self.plan_key_level(tenant) >= level {
            return Ok(());
        }
        let wanted = level.as_str();
        Err(Error::Conflict(format!("the plan's key level is below \"{wanted}\"")))
    }

    fn connect_key(&self, settings: &ProviderSettings) -> Result<Arc<dyn KeyProvider>> {
        self.0.key_board.connector.connect(settings).map_err(at_service)
    }

    /// Asks a key service everything that it will be asked, with a key made up for it.
    #[boxed]
    pub async fn test_key_service(
        &self,
        context: &OpContext,
        input: &KeyServiceInput,
    ) -> Result<KeyTestView> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let found = self.try_key_service(context, &input.settings).await?;
        self.note(context, Action::KeyManage, &resource, "done");
        let protection = found.protection.as_str();
        Ok(KeyTestView { key: found.key, spec: found.spec, protection })
    }

    async fn try_key_service(
        &self,
        context: &OpContext,
        settings: &ProviderSettings,
    ) -> Result<KeyMetadata> {
        let provider = self.connect_key(settings)?;
        let call = KeyCall {
            purpose: context.purpose,
            actor: actor_text(&context.actor.kind),
            ..self.key_call(context.tenant, b"veritwin key service test".to_vec())
        };
        answer(provider.health(&call)).await.map_err(at_service)?;
        let found = answer(provider.metadata(&call)).await.map_err(at_service)?;
        if !found.enabled {
            return Err(Error::Conflict("the key is disabled at its service".to_owned()));
        }
        let key = SecretKey::generate(self.rng());
        let wrapped = answer(provider.wrap(&call, key.expose())).await.map_err(at_service)?;
        let bytes = answer(provider.unwrap(&call, &wrapped)).await.map_err(at_service)?;
        let back = secret(&bytes).map_err(at_service)?;
        if !veritwin_keys::constant_time_eq(key.expose(), back.expose()) {
            let detail = "it unwraps something else than it wrapped";
            return Err(Error::invalid_at("service", detail));
        }
        Ok(found)
    }

    /// Puts the key above a tenant's keys into a service of the customer's. It is tried first;
    /// if the platform stops in between, it goes on by itself.
    #[boxed]
    pub async fn hold_key(&self, context: &OpContext, input: KeyServiceInput) -> Result<()> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        self.check_key_plan(tenant, KeyLevel::Held)?;
        let KeyServiceInput { settings, ttl_s } = input;
        if ttl_s > KEY_TTL_MAX_S {
            let detail = format!("expected 0 to {KEY_TTL_MAX_S} seconds, got {ttl_s}");
            return Err(Error::invalid_at("ttl_s", detail));
        }
        let found = self.try_key_service(context, &settings).await?;
        let _turn = self.0.key_board.turn(tenant).await;
        let service = StoredService::new(settings, ttl_s, found.protection.as_str());
        let after = json!({"level": KeyLevel::Held.as_str(), "service": service.recorded()});
        let change = StoredChange {
            level: KeyLevel::Held.as_str().to_owned(),
            since_micros: context.at.as_micros(),
            version: self.0.keys.status(Some(tenant))?.kek_version + 1,
            service: Some(service),
            problem: None,
        };
        self.record_level(context, &resource, after).await?;
        // The service of a change before it may be the one that wrapped the key that is in use.
        self.settle_key_change(tenant).await?;
        self.change_key_book(tenant, |book| book.change = Some(change)).await?;
        self.finish_hold(tenant).await
    }

    /// Ends a change that is on its way: what it has made counts, and the rest is not done.
    pub(super) async fn settle_key_change(&self, tenant: TenantId) -> Result<()> {
        if self.key_book(tenant).await?.change.is_none() {
            return Ok(());
        }
        let status = self.0.keys.status(Some(tenant))?;
        let (version, is_held) = (status.kek_version, status.level == KeyLevel::Held);
        self.change_key_book(tenant, move |book| book.settle(version, is_held)).await
    }

    /// Wraps the tenant's key at the service that the change names and puts it to use. Done twice
    /// it does nothing twice.
    pub(super) async fn finish_hold(&self, tenant: TenantId) -> Result<()> {
        let book = self.key_book(tenant).await?;
        let Some(StoredChange { service: Some(service), version, .. }) = book.change else {
            return self.change_key_book(tenant, |book| book.change = None).await;
        };
        let status = self.0.keys.status(Some(tenant))?;
        let is_there = status.level == KeyLevel::Held && status.kek_version >= version;
        if !is_there {
            let provider = self.connect_key(&service.settings()?)?;
            let kek = self.0.keys.new_kek(tenant)?;
            let call = self.key_call(tenant, kek.context().associated_data());
            let wrapped = answer(provider.wrap(&call, kek.secret().expose()));
            let wrapped = wrapped.await.map_err(at_service)?;
            let fresh_until = self.fresh_for(service.ttl_s);
            self.install_kek(kek, NewAbove::Held { wrapped, fresh_until }).await?;
        }
        self.0.key_board.forget(tenant);
        self.change_key_book(tenant, |book| {
            book.service = Some(service);
            book.change = None;
        })
        .await
    }

    fn fresh_for(&self, ttl_s: u64) -> Duration {
        self.clock().monotonic().saturating_add(Duration::from_secs(ttl_s.max(1)))
    }

    /// The keyring is written anew by it, on a thread that may block.
    pub(crate) async fn install_kek(&self, kek: NewKek, above: NewAbove) -> Result<Rotation> {
        let keys = self.0.keys.clone();
        let installed = tokio::task::spawn_blocking(move || keys.install_kek(kek, above));
        Ok(installed.await.map_err(stopped)??)
    }

    /// Puts the platform's root above the tenant's keys again.
    #[boxed]
    pub async fn key_to_platform(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        let _turn = self.0.key_board.turn(tenant).await;
        let after = json!({"level": KeyLevel::Platform.as_str()});
        self.record_level(context, &resource, after).await?;
        // It would go on after a stop.
        self.settle_key_change(tenant).await?;
        let kek = self.0.keys.new_kek(tenant)?;
        self.install_kek(kek, NewAbove::Platform).await?;
        self.0.key_board.forget(tenant);
        self.change_key_book(tenant, |book| {
            book.service = None;
            book.change = None;
        })
        .await
    }

    /// A record of a change of level, with what was before.
    pub(super) async fn record_level(
        &self,
        context: &OpContext,
        resource: &Resource,
        after: serde_json::Value,
    ) -> Result<()> {
        let book = self.key_book(context.tenant).await?;
        let level = self.0.keys.level(context.tenant);
        let service = book.service.filter(|_| level == KeyLevel::Held);
        let before = json!({
            "level": level.as_str(),
            "service": service.map(|service| service.recorded()),
        });
        let tx = self.0.store.begin(context).await?;
        let change = Change::from_to(before, after);
        self.record_change(&tx, context, Action::KeyManage, resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a new version of a tenant's key-encryption key, wrapped by whoever stands above it;
    /// answers old version, new version and how many data keys were wrapped anew.
    #[boxed]
    pub async fn rotate_keys(&self, context: &OpContext) -> Result<(u32, u32, usize)> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        let _turn = self.0.key_board.turn(tenant).await;
        let rotation = match self.0.keys.level(tenant) {
            KeyLevel::Held => self.rotate_held(tenant).await?,
            KeyLevel::Platform | KeyLevel::Brought => {
                let keys = self.0.keys.clone();
                let rotated = tokio::task::spawn_blocking(move || keys.rotate_tenant(tenant));
                rotated.await.map_err(stopped)??
            }
        };
        let tx = self.0.store.begin(context).await?;
        let change = Change::from_to(
            json!({"version": rotation.old_version}),
            json!({"version": rotation.new_version}),
        );
        self.record_change(&tx, context, Action::KeyManage, &resource, change).await?;
        tx.commit().await?;
        Ok((rotation.old_version, rotation.new_version, rotation.rewrapped_count))
    }

    /// A new version of a held tenant's key, wrapped by its service.
    pub(crate) async fn rewrap_held(&self, tenant: TenantId) -> Result<()> {
        let _turn = self.0.key_board.turn(tenant).await;
        self.rotate_held(tenant).await.map(drop)
    }

    async fn rotate_held(&self, tenant: TenantId) -> Result<Rotation> {
        let book = self.key_book(tenant).await?;
        if book.change.is_some() {
            return Err(Error::Conflict("a change of the key's level is on its way".to_owned()));
        }
        let Some(service) = book.service else {
            return Err(Error::Internal("a held key has no service".to_owned()));
        };
        let provider = self.connect_key(&service.settings()?)?;
        let kek = self.0.keys.new_kek(tenant)?;
        let call = self.key_call(tenant, kek.context().associated_data());
        let wrapped = answer(provider.wrap(&call, kek.secret().expose()));
        let wrapped = wrapped.await.map_err(at_service)?;
        let fresh_until = self.fresh_for(service.ttl_s);
        self.install_kek(kek, NewAbove::Held { wrapped, fresh_until }).await
    }

    /// Takes the tenant's keys away: nothing can be read or written until they are given back. A
    /// key that was brought is written out of the keyring: only who brought it can give it back.
    #[boxed]
    pub async fn revoke_keys(&self, context: &OpContext, confirm: &str) -> Result<()> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        if confirm != KEY_REVOKE_WORD {
            let detail = format!("expected the word `{KEY_REVOKE_WORD}`");
            return Err(Error::invalid_at("confirm", detail));
        }
        let tenant = context.tenant;
        let _turn = self.0.key_board.turn(tenant).await;
        let level = self.0.keys.level(tenant);
        // A silent service does not keep a customer from closing the door: then only that it was
        // done is recorded, since what changed is sealed under the key that is away.
        let recorded = match self.0.keys.check(tenant) {
            Ok(()) => self.record_revocation(context, &resource).await,
            Err(error) => Err(error.into()),
        };
        match recorded {
            Ok(()) | Err(Error::KeySilent) => {}
            Err(error) => return Err(error),
        }
        let keys = self.0.keys.clone();
        let revoked = tokio::task::spawn_blocking(move || match level {
            KeyLevel::Brought => keys.take_away_brought(tenant),
            KeyLevel::Platform | KeyLevel::Held => keys.revoke(tenant),
        });
        revoked.await.map_err(stopped)??;
        self.0.key_board.forget(tenant);
        self.wipe_tenant(tenant);
        self.note(context, Action::KeyManage, &resource, "done");
        Ok(())
    }

    async fn record_revocation(&self, context: &OpContext, resource: &Resource) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let change = Change::from_to(json!({"state": "active"}), json!({"state": "revoked"}));
        self.record_change(&tx, context, Action::KeyManage, resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// Gives the tenant's keys back. A service that refused is asked again; it may refuse again.
    #[boxed]
    pub async fn restore_keys(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        let _turn = self.0.key_board.turn(tenant).await;
        let keys = self.0.keys.clone();
        let restored = tokio::task::spawn_blocking(move || keys.restore(tenant));
        match restored.await.map_err(stopped)? {
            Err(KeyError::HeldElsewhere(_)) => {
                let detail = "the key that was brought is gone: bring the same key again";
                return Err(Error::Conflict(detail.to_owned()));
            }
            other => other?,
        }
        self.0.key_board.forget(tenant);
        if self.0.keys.is_held(tenant) {
            self.ask_key(tenant).await;
        }
        self.alert_sources_changed(tenant);
        self.note(context, Action::KeyManage, &resource, "done");
        self.0.keys.check(tenant).map_err(Error::from)
    }
}

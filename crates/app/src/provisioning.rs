//! Provisioning profiles: by key and secret, devices that come by themselves are let in, as many
//! and in such a way as the profile says. Key and secret are shown once.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind};
use veritwin_domain::{LimitExceeded, OpContext, ProvisionProfileId, Secret};
use veritwin_keys::token;
use veritwin_metastore::ProvisionProfile;

use crate::authorities::{Landing, check_devices_max};
use crate::change::Change;
use crate::devices::check_text;
use crate::model::{ProfileChange, ProfileInput, ProfileView, ProvisionStrategy};
use crate::{App, Error, Result};

/// Most provisioning profiles of a tenant.
const PROVISION_PROFILES_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 100;
const KEY_PREFIX: &str = "vtp";
const SECRET_PREFIX: &str = "vtq";

/// What is kept of a profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredProfile {
    pub(crate) name: String,
    pub(crate) strategy: String,
    pub(crate) devices_max: u64,
    pub(crate) landing: Landing,
}

impl StoredProfile {
    pub(crate) fn read(profile: &ProvisionProfile) -> Result<Self> {
        let damaged = |_| Error::Internal("a provisioning profile is damaged".to_owned());
        serde_json::from_slice(&profile.body).map_err(damaged)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    pub(crate) fn strategy(&self) -> Result<ProvisionStrategy> {
        let damaged = || Error::Internal("a provisioning profile is damaged".to_owned());
        ProvisionStrategy::parse(&self.strategy).ok_or_else(damaged)
    }
}

fn view(profile: &ProvisionProfile) -> Result<ProfileView> {
    let stored = StoredProfile::read(profile)?;
    Ok(ProfileView {
        id: profile.id,
        disabled_at: profile.disabled_at,
        made: profile.made,
        created_at: profile.created_at,
        version: i64::try_from(profile.version).unwrap_or(i64::MAX),
        input: ProfileInput {
            strategy: stored.strategy()?,
            name: stored.name,
            devices_max: stored.devices_max,
            landing: stored.landing.view(),
            expires_at: profile.expires_at,
        },
    })
}

/// A profile as a change of it is recorded.
fn recorded(view: &ProfileView) -> Value {
    json!({
        "profile": view.id.to_string(),
        "name": view.input.name,
        "strategy": view.input.strategy.as_str(),
        "devices_max": view.input.devices_max,
        "type": view.input.landing.kind,
        "group": view.input.landing.group.map(|id| id.to_string()),
        "networks": view.input.landing.networks,
        "expires_at": view.input.expires_at.map(|at| at.to_string()),
        "disabled": view.disabled_at.is_some(),
    })
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid_at("name", "needs a name"));
    }
    check_text("name", name, NAME_CHARS_MAX)
}

impl App {
    /// The provisioning profiles of the context's tenant.
    #[boxed]
    pub async fn provision_profiles(&self, context: &OpContext) -> Result<Vec<ProfileView>> {
        let resource = self.authorize_all(context, Action::ProvisioningRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.provision_profiles().await?;
        self.note(context, Action::ProvisioningRead, &resource, "done");
        all.iter().map(view).collect()
    }

    /// Makes a provisioning profile; gives its key and its secret, this once.
    #[boxed]
    pub async fn create_profile(
        &self,
        context: &OpContext,
        input: ProfileInput,
    ) -> Result<(ProfileView, Secret<String>, Secret<String>)> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        check_name(&input.name)?;
        check_devices_max(input.devices_max)?;
        if input.expires_at.is_some_and(|end| end <= context.at) {
            return Err(Error::invalid_at("expires_at", "must be later than now"));
        }
        let tx = self.0.store.begin(context).await?;
        let known = tx.provision_profiles().await?.len();
        if known >= PROVISION_PROFILES_MAX {
            let (name, max) = ("provision_profiles_max", PROVISION_PROFILES_MAX);
            return Err(Error::Limit(LimitExceeded { name, max, actual: known + 1 }));
        }
        let stored = StoredProfile {
            name: input.name,
            strategy: input.strategy.as_str().to_owned(),
            devices_max: input.devices_max,
            landing: self.landing(&tx, &input.landing).await?,
        };
        let profile = ProvisionProfile {
            id: ProvisionProfileId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            made: 0,
            expires_at: input.expires_at,
            disabled_at: None,
            version: 1,
            created_at: context.at,
        };
        let key = token::generate(self.rng(), KEY_PREFIX);
        let secret = token::generate(self.rng(), SECRET_PREFIX);
        let digests = (token::digest(key.expose()), token::digest(secret.expose()));
        tx.provision_profile_create(&profile, digests).await?;
        let made = view(&profile)?;
        let change = Change::to(recorded(&made));
        self.record_change(&tx, context, Action::ProvisioningWrite, &resource, change).await?;
        tx.commit().await?;
        Ok((made, key, secret))
    }

    /// Changes a profile; it holds from the next request of a device on.
    #[boxed]
    pub async fn update_profile(
        &self,
        context: &OpContext,
        id: ProvisionProfileId,
        change: ProfileChange,
        if_version: Option<i64>,
    ) -> Result<ProfileView> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let mut profile = tx.provision_profile(id).await?;
        let before = view(&profile)?;
        let mut stored = StoredProfile::read(&profile)?;
        if let Some(name) = change.name {
            check_name(&name)?;
            stored.name = name;
        }
        if let Some(devices_max) = change.devices_max {
            check_devices_max(devices_max)?;
            stored.devices_max = devices_max;
        }
        if let Some(expires_at) = change.expires_at {
            profile.expires_at = expires_at;
        }
        if let Some(disabled) = change.disabled {
            let since = profile.disabled_at.unwrap_or(context.at);
            profile.disabled_at = disabled.then_some(since);
        }
        profile.body = stored.bytes()?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.provision_profile_update(&profile, expected).await?;
        let after = view(&tx.provision_profile(id).await?)?;
        let change = Change::from_to(recorded(&before), recorded(&after));
        self.record_change(&tx, context, Action::ProvisioningWrite, &resource, change).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Deletes a profile. Devices that came in by it stay.
    #[boxed]
    pub async fn delete_profile(&self, context: &OpContext, id: ProvisionProfileId) -> Result<()> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let before = view(&tx.provision_profile(id).await?)?;
        tx.provision_profile_delete(id).await?;
        let change = Change::from(recorded(&before));
        self.record_change(&tx, context, Action::ProvisioningWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }
}

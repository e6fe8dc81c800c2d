//! The networks that a tenant's people and devices may come from. An empty list lets everybody
//! in. Whoever sets the list of people has to stand inside it, and only an owner leaves out who was
//! let in before: nobody shuts themselves out, and nobody shuts an owner out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, AddressList, AddressListError, OpContext, PlatformContext, Role, TenantId,
};
use veritwin_metastore::{Page, TenantTx};

use crate::change::Change;
use crate::model::{NetworksInput, NetworksView};
use crate::rights::is_owner;
use crate::tree::TENANTS_MAX;
use crate::tree::UNSERVED;
use crate::{App, Error, Result};

const SETTING: &str = "networks";

const PEOPLE_OUTSIDE: Error =
    Error::Outside("your organisation lets its people in from networks of its own choice only");
const LEAVES_OUT: &str = "this list leaves out who was let in before, an owner perhaps: an owner \
                          narrows it, everybody else who may change it adds networks or empties it";
const DEVICE_OUTSIDE: Error =
    Error::Outside("the organisation lets its devices in from networks of its own choice only");

/// The lists of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    people: AddressList,
    devices: AddressList,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    people: Vec<String>,
    devices: Vec<String>,
}

/// The lists that were asked for lately; asked on every request.
#[derive(Debug, Default)]
pub(crate) struct KnownNetworks(RwLock<HashMap<TenantId, Arc<Networks>>>);

impl KnownNetworks {
    fn get(&self, tenant: TenantId) -> Option<Arc<Networks>> {
        self.0.read().get(&tenant).cloned()
    }

    fn put(&self, tenant: TenantId, networks: Arc<Networks>) {
        let mut known = self.0.write();
        if known.len() > TENANTS_MAX {
            known.clear();
        }
        // Whoever read before a change and comes after it brings the older lists.
        if known.get(&tenant).is_none_or(|known| known.version <= networks.version) {
            known.insert(tenant, networks);
        }
    }
}

fn parse(at: &str, rows: &[String]) -> Result<AddressList> {
    AddressList::parse(rows).map_err(|error| match &error {
        AddressListError::Row { index, problem } => {
            Error::invalid_at(format!("{at}[{index}]"), problem.to_string())
        }
        AddressListError::Length(_) => Error::invalid_at(at, error.to_string()),
    })
}

impl App {
    /// The lists of a tenant.
    async fn networks_of(
        &self,
        context: &PlatformContext,
        tenant: TenantId,
    ) -> Result<Arc<Networks>> {
        if let Some(known) = self.0.networks.get(tenant) {
            return Ok(known);
        }
        let nobody = Actor::without_roles(ActorKind::Anonymous);
        let context = context.clone().in_tenant(tenant, nobody);
        let tx = self.0.store.read(&context).await?;
        let networks = match tx.setting(SETTING).await? {
            Some(setting) => {
                let damaged =
                    |_| Error::Internal("the networks of a tenant are damaged".to_owned());
                let stored: Stored = serde_json::from_slice(&setting.body).map_err(damaged)?;
                Networks {
                    people: parse("people", &stored.people)?,
                    devices: parse("devices", &stored.devices)?,
                    version: setting.version,
                }
            }
            None => Networks::default(),
        };
        let networks = Arc::new(networks);
        self.0.networks.put(tenant, Arc::clone(&networks));
        Ok(networks)
    }

    /// The first tenant that is served and lets its people in from where this person comes.
    pub(crate) async fn first_within_networks(
        &self,
        context: &PlatformContext,
        memberships: &[(TenantId, Role)],
    ) -> Result<std::result::Result<TenantId, Error>> {
        let mut refusal = UNSERVED;
        for tenant in self.served(memberships) {
            match self.check_people_network(context, tenant).await {
                Ok(()) => return Ok(Ok(tenant)),
                Err(outside @ Error::Outside(_)) => refusal = outside,
                Err(error) => return Err(error),
            }
        }
        Ok(Err(refusal))
    }

    /// Refuses a person from outside the tenant's networks.
    pub(crate) async fn check_people_network(
        &self,
        context: &PlatformContext,
        tenant: TenantId,
    ) -> Result<()> {
        let networks = self.networks_of(context, tenant).await?;
        let is_allowed = networks.people.allows(context.origin.address);
        if is_allowed { Ok(()) } else { Err(PEOPLE_OUTSIDE) }
    }

    /// Refuses a device from outside the tenant's networks.
    pub(crate) async fn check_device_network(
        &self,
        context: &PlatformContext,
        tenant: TenantId,
        address: Option<IpAddr>,
    ) -> Result<()> {
        let networks = self.networks_of(context, tenant).await?;
        if networks.devices.allows(address) { Ok(()) } else { Err(DEVICE_OUTSIDE) }
    }

    /// The networks of the context's tenant, and where the caller comes from.
    #[boxed]
    pub async fn networks(&self, context: &OpContext) -> Result<NetworksView> {
        let resource = self.authorize_all(context, Action::TenantRead, Kind::Tenant)?;
        let networks = self.networks_of(&self.above(context), context.tenant).await?;
        self.note(context, Action::TenantRead, &resource, "done");
        Ok(view(context, &networks))
    }

    /// Sets the networks of the context's tenant. They hold from the next request or
    /// connection, and end live views of people from elsewhere at once.
    #[boxed]
    pub async fn set_networks(
        &self,
        context: &OpContext,
        input: NetworksInput,
        if_version: Option<i64>,
    ) -> Result<NetworksView> {
        let resource = Resource::all(context.tenant, Kind::Tenant);
        self.authorize(context, Action::TenantUpdate, &resource)?;
        let people = parse("people", &input.people)?;
        let devices = parse("devices", &input.devices)?;
        let is_person = matches!(context.actor.kind, ActorKind::User { .. });
        if is_person && !people.allows(context.origin.address) {
            let detail = "the address you come from is in none of these networks, so this would \
                          shut you out: add a network that holds it";
            return Err(Error::invalid_at("people", detail));
        }
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(u64::MAX));
        let tx = self.0.store.begin(context).await?;
        let before = tx.setting(SETTING).await?;
        let before = before.and_then(|setting| serde_json::from_slice(&setting.body).ok());
        let before = before.unwrap_or(json!({"people": [], "devices": []}));
        self.check_leaves_nobody_out(context, &tx, &before, &people).await?;
        let after = Stored { people: people.texts(), devices: devices.texts() };
        let damaged = |error: serde_json::Error| Error::Internal(error.to_string());
        let body = serde_json::to_vec(&after).map_err(damaged)?;
        tx.setting_put(SETTING, &body, expected).await?;
        let stored = tx.setting(SETTING).await?;
        let change = Change::from_to(before, serde_json::to_value(&after).map_err(damaged)?);
        self.record_change(&tx, context, Action::TenantUpdate, &resource, change).await?;
        tx.commit().await?;
        let version = stored.map_or(0, |setting| setting.version);
        let networks = Arc::new(Networks { people, devices, version });
        self.0.networks.put(context.tenant, Arc::clone(&networks));
        self.sessions_ended([context.tenant]);
        Ok(view(context, &networks))
    }
}

impl App {
    /// Who came in before comes in afterwards, unless an owner says otherwise: an administrator, or
    /// a program of theirs, does not shut an owner out.
    async fn check_leaves_nobody_out(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        before: &Value,
        people: &AddressList,
    ) -> Result<()> {
        let acts = matches!(context.actor.kind, ActorKind::User { .. } | ActorKind::ApiKey(_));
        if !acts || is_owner(context) {
            return Ok(());
        }
        let stored: Option<Stored> = serde_json::from_value(before.clone()).ok();
        let before = stored.and_then(|stored| AddressList::parse(&stored.people).ok());
        if before.is_some_and(|before| people.allows_all_of(&before)) {
            return Ok(());
        }
        let members = tx.members(&Page::whole()).await?.items;
        if members.iter().any(|member| member.roles.contains(&Role::Owner)) {
            return Err(Error::Forbidden(LEAVES_OUT.to_owned()));
        }
        Ok(())
    }
}

fn view(context: &OpContext, networks: &Networks) -> NetworksView {
    NetworksView {
        people: networks.people.texts(),
        devices: networks.devices.texts(),
        your_address: context.origin.address,
        version: i64::try_from(networks.version).unwrap_or(i64::MAX),
    }
}

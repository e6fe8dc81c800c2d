//! Devices that speak through a gateway: found, or made, when the gateway names them. A gateway
//! speaks for devices that it made or that a person put behind it, and for no other: whoever has
//! its token has those, and not the tenant.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use tokio::sync::Mutex as Line;
use veritwin_access::{Action, Kind, Rate, RateLimiter, Resource};
use veritwin_domain::{DeviceId, LimitExceeded, OpContext, Shared, TenantId};
use veritwin_metastore::{Device, TenantTx};

use crate::change::Change;
use crate::devices::{KIND_CHARS_MAX, check_name, check_text, recorded};
use crate::model::{DeviceInput, GatewayChange};
use crate::tree::{Quota, over};
use crate::{App, DeviceLogin, Error, Result};

/// Most devices behind one gateway.
pub const GATEWAY_DEVICES_MAX: u64 = 10_000;
/// Most devices that a gateway names at once.
pub const GATEWAY_NAMES_MAX: usize = 1_024;
/// New devices of a gateway.
const DEVICES_MADE: Rate = Rate::new(10, 1_024);
/// How long a device behind a gateway is believed to be there without asking again.
const CHILD_TTL: Duration = Duration::from_secs(300);
/// Most names of one gateway that are remembered.
const GATEWAY_CHILDREN_KEPT_MAX: usize = 10_000;
/// Most names of all gateways that are remembered.
const CHILDREN_KEPT_MAX: usize = 262_144;

const NOT_ITS_OWN: &str = "a device with this name is not behind this gateway";
pub(crate) const NO_GATEWAY: &str = "this device is no gateway";

/// A device that a gateway names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildWanted {
    /// Its name.
    pub name: String,
    /// What kind of device it becomes, if it is made now.
    pub kind: Option<String>,
}

type Gateway = (TenantId, DeviceId);

#[derive(Debug)]
struct Known {
    device: DeviceId,
    until: Duration,
}

#[derive(Debug, Default)]
struct Names {
    by_gateway: HashMap<Gateway, HashMap<Box<str>, Known>>,
    /// Which gateway knows a device by a name.
    of_device: HashMap<DeviceId, Gateway>,
    count: usize,
}

impl Names {
    fn drop_gateway(&mut self, gateway: &Gateway) {
        if let Some(gone) = self.by_gateway.remove(gateway) {
            self.count -= gone.len();
            for known in gone.values() {
                self.of_device.remove(&known.device);
            }
        }
    }

    /// Drops one device's names. Nothing is looked through but its gateway's.
    fn drop_device(&mut self, device: DeviceId) {
        let Some(gateway) = self.of_device.remove(&device) else { return };
        let Some(names) = self.by_gateway.get_mut(&gateway) else { return };
        let before = names.len();
        names.retain(|_, known| known.device != device);
        self.count -= before - names.len();
        if names.is_empty() {
            self.by_gateway.remove(&gateway);
        }
    }

    fn drop_old(&mut self, now: Duration) {
        let mut left = HashMap::new();
        self.by_gateway.retain(|gateway, names| {
            names.retain(|_, known| known.until > now);
            left.extend(names.values().map(|known| (known.device, *gateway)));
            !names.is_empty()
        });
        self.of_device = left;
        self.count = self.by_gateway.values().map(HashMap::len).sum();
    }
}

/// Devices behind gateways that were looked up a moment ago.
#[derive(Debug)]
pub(crate) struct ChildCache {
    names: Mutex<Names>,
    /// Counts changes: what was read before one is not kept after it.
    changes: AtomicU64,
    made: Mutex<RateLimiter<Gateway>>,
    /// Of each tenant, held while devices are made: two that name the same one make it once.
    making: Shared<TenantId, Line<()>>,
}

impl Default for ChildCache {
    fn default() -> Self {
        Self {
            names: Mutex::default(),
            changes: AtomicU64::new(0),
            made: Mutex::new(RateLimiter::new("gateway_devices_made_per_second")),
            making: Shared::default(),
        }
    }
}

impl ChildCache {
    fn find<'a>(
        &self,
        gateway: Gateway,
        wanted: impl Iterator<Item = &'a str>,
        now: Duration,
    ) -> Vec<Option<DeviceId>> {
        let names = self.names.lock();
        let known = names.by_gateway.get(&gateway);
        let find = |name: &str| {
            let known = known?.get(name)?;
            (known.until > now).then_some(known.device)
        };
        wanted.map(find).collect()
    }

    fn keep(&self, gateway: Gateway, found: &[(&str, DeviceId)], now: Duration, changes: u64) {
        let mut names = self.names.lock();
        if self.changes.load(Ordering::SeqCst) != changes {
            return;
        }
        let held = names.by_gateway.get(&gateway).map_or(0, HashMap::len);
        if held + found.len() > GATEWAY_CHILDREN_KEPT_MAX {
            names.drop_gateway(&gateway);
        }
        if names.count + found.len() > CHILDREN_KEPT_MAX {
            names.drop_old(now);
        }
        if names.count + found.len() > CHILDREN_KEPT_MAX {
            return;
        }
        let Names { by_gateway, of_device, count } = &mut *names;
        let of_gateway = by_gateway.entry(gateway).or_default();
        let before = of_gateway.len();
        for (name, device) in found {
            of_gateway.insert((*name).into(), Known { device: *device, until: now + CHILD_TTL });
            of_device.insert(*device, gateway);
        }
        *count += of_gateway.len() - before;
    }

    /// Where those wait that make devices of a tenant: nobody waits for another tenant's.
    fn line(&self, tenant: TenantId) -> Arc<Line<()>> {
        self.making.of(tenant, Line::default)
    }

    /// Forgets a device, as a gateway and behind one.
    pub(crate) fn forget(&self, device: DeviceId) {
        let mut names = self.names.lock();
        self.changes.fetch_add(1, Ordering::SeqCst);
        names.drop_device(device);
        let itself = names.by_gateway.keys().find(|gateway| gateway.1 == device).copied();
        if let Some(gateway) = itself {
            names.drop_gateway(&gateway);
        }
    }

    pub(crate) fn forget_all(&self) {
        let mut names = self.names.lock();
        self.changes.fetch_add(1, Ordering::SeqCst);
        *names = Names::default();
    }
}

/// What a gateway asked for, and what came of it so far.
struct Asked<'a> {
    wanted: &'a [ChildWanted],
    found: Vec<Option<DeviceId>>,
    refused: HashMap<usize, Error>,
}

impl Asked<'_> {
    /// Which ones are neither found nor refused.
    fn open(&self) -> impl Iterator<Item = usize> {
        let is_open = move |at: &usize| self.found[*at].is_none() && !self.refused.contains_key(at);
        (0..self.wanted.len()).filter(is_open)
    }

    /// Takes the device that has a name, if it is the gateway's own.
    fn note(&mut self, at: usize, gateway: &DeviceLogin, known: Option<Device>) {
        match known {
            Some(device) if device.gateway == Some(gateway.device) => {
                self.found[at] = Some(device.id);
            }
            Some(_) => {
                self.refused.insert(at, Error::Forbidden(NOT_ITS_OWN.to_owned()));
            }
            None => {}
        }
    }

    fn known(&self) -> Vec<(&str, DeviceId)> {
        let all = self.wanted.iter().zip(&self.found);
        all.filter_map(|(one, device)| Some((one.name.as_str(), (*device)?))).collect()
    }
}

impl App {
    /// The devices with these names behind a gateway, in the same order; those that there are not
    /// yet are made. Each name is refused by itself: one that another device of the tenant has, one
    /// that may not be, one over a bound.
    #[boxed]
    pub async fn gateway_children(
        &self,
        gateway: &DeviceLogin,
        wanted: &[ChildWanted],
    ) -> Result<Vec<Result<DeviceLogin>>> {
        if wanted.len() > GATEWAY_NAMES_MAX {
            let (max, actual) = (GATEWAY_NAMES_MAX, wanted.len());
            return Err(LimitExceeded { name: "gateway_names_max", max, actual }.into());
        }
        let (owner, now) = ((gateway.tenant, gateway.device), self.clock().monotonic());
        let cache = &self.0.logins.children;
        let changes = cache.changes.load(Ordering::SeqCst);
        let names = wanted.iter().map(|one| one.name.as_str());
        let found = cache.find(owner, names, now);
        let mut asked = Asked { wanted, found, refused: HashMap::new() };
        if asked.open().next().is_some() {
            let context = self.gateway_context(gateway)?;
            self.look_up_children(&context, gateway, &mut asked).await?;
            if asked.open().next().is_some() {
                self.make_children(&context, gateway, &mut asked).await?;
            }
            cache.keep(owner, &asked.known(), now, changes);
        }
        let Asked { found, mut refused, .. } = asked;
        let login = |device, name: &str| DeviceLogin {
            tenant: gateway.tenant,
            device,
            credential: gateway.credential,
            name: name.into(),
            is_gateway: false,
            // It ends with the gateway's connection.
            ends_at: None,
            certificate: None,
        };
        let answers =
            wanted.iter().zip(found).enumerate().map(|(at, (one, device))| match device {
                Some(device) => Ok(login(device, &one.name)),
                None => Err(refused.remove(&at).unwrap_or(Error::NotFound("device"))),
            });
        Ok(answers.collect())
    }

    fn gateway_context(&self, gateway: &DeviceLogin) -> Result<OpContext> {
        self.refuse_unserved(gateway.tenant)?;
        let context = self.device_context(gateway.tenant, gateway.device, gateway.credential);
        let itself = Resource::device(gateway.tenant, gateway.device);
        self.authorize(&context, Action::DeviceSpeakFor, &itself)?;
        Ok(context)
    }

    async fn look_up_children(
        &self,
        context: &OpContext,
        gateway: &DeviceLogin,
        asked: &mut Asked<'_>,
    ) -> Result<()> {
        let tx = self.0.store.read(context).await?;
        if !tx.device(gateway.device).await?.is_gateway {
            return Err(Error::Forbidden(NO_GATEWAY.to_owned()));
        }
        for at in asked.open().collect::<Vec<_>>() {
            match check_name(&asked.wanted[at].name) {
                Ok(name) => asked.note(at, gateway, tx.device_by_name(&name).await?),
                Err(error) => {
                    asked.refused.insert(at, error);
                }
            }
        }
        Ok(())
    }

    /// Makes those that were not found, in one transaction.
    async fn make_children(
        &self,
        context: &OpContext,
        gateway: &DeviceLogin,
        asked: &mut Asked<'_>,
    ) -> Result<()> {
        let line = self.0.logins.children.line(gateway.tenant);
        let _making = line.lock().await;
        let tx = self.0.store.begin(context).await?;
        let mut devices = tx.usage().await?.devices;
        let mut behind = tx.devices_behind(gateway.device).await?;
        let mut is_changed = false;
        for at in asked.open().collect::<Vec<_>>() {
            let one = &asked.wanted[at];
            // Named twice, or made by another connection meanwhile.
            let known = tx.device_by_name(one.name.trim()).await?;
            if known.is_some() {
                asked.note(at, gateway, known);
                continue;
            }
            match self.new_child(context, gateway, one, (devices + 1, behind + 1)) {
                Ok(device) => {
                    tx.device_create(&device).await?;
                    let made = Resource::device(context.tenant, device.id);
                    let change = Change::to(recorded(&device));
                    self.record_change(&tx, context, Action::DeviceSpeakFor, &made, change).await?;
                    (devices, behind, is_changed) = (devices + 1, behind + 1, true);
                    asked.found[at] = Some(device.id);
                }
                Err(error) => {
                    asked.refused.insert(at, error);
                }
            }
        }
        if is_changed {
            tx.commit().await?;
            self.note_devices_changed(context.tenant, None);
        }
        Ok(())
    }

    /// A device to be made, within every bound.
    fn new_child(
        &self,
        context: &OpContext,
        gateway: &DeviceLogin,
        wanted: &ChildWanted,
        (devices, behind): (u64, u64),
    ) -> Result<Device> {
        if behind > GATEWAY_DEVICES_MAX {
            return Err(over("gateway_devices_max", GATEWAY_DEVICES_MAX, behind));
        }
        self.check_quota(context.tenant, Quota::Devices, devices)?;
        let kind = wanted.kind.clone().unwrap_or_default();
        check_text("type", &kind, KIND_CHARS_MAX)?;
        self.check_kept("name", &wanted.name)?;
        self.check_kept("type", &kind)?;
        let input = DeviceInput { name: wanted.name.clone(), kind, ..DeviceInput::default() };
        let device = self.new_device(context, input)?;
        let (owner, now) = ((gateway.tenant, gateway.device), self.clock().monotonic());
        let mut made = self.0.logins.children.made.lock();
        made.take(owner, 1, DEVICES_MADE, now)?;
        Ok(Device { gateway: Some(gateway.device), ..device })
    }

    /// Makes a device a gateway, or puts it behind one. What a gateway may do, its maker has to be
    /// able to: make devices anywhere in the tenant.
    pub(crate) async fn bind_gateway(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        device: &mut Device,
        change: Option<GatewayChange>,
    ) -> Result<()> {
        match change {
            None => return Ok(()),
            Some(GatewayChange::Speaks(is_gateway)) => {
                if is_gateway
                    && !self.reach(context, Action::DeviceCreate, Kind::Device)?.is_whole()
                {
                    let detail =
                        "a gateway makes devices: that takes the right in the whole tenant";
                    return Err(Error::Forbidden(detail.to_owned()));
                }
                if !is_gateway && tx.devices_behind(device.id).await? > 0 {
                    let detail = "devices are behind this gateway: take them from it first";
                    return Err(Error::Conflict(detail.to_owned()));
                }
                device.is_gateway = is_gateway;
            }
            Some(GatewayChange::Behind(gateway)) => {
                self.authorize_device(context, Action::DeviceUpdate, gateway).await?;
                let found = tx.device(gateway).await.map_err(|error| match error {
                    veritwin_metastore::Error::NotFound { .. } => {
                        Error::invalid_at("gateway_id", "there is no such device")
                    }
                    other => other.into(),
                })?;
                if !found.is_gateway {
                    return Err(Error::invalid_at("gateway_id", NO_GATEWAY));
                }
                let behind = tx.devices_behind(gateway).await? + 1;
                if device.gateway != Some(gateway) && behind > GATEWAY_DEVICES_MAX {
                    return Err(over("gateway_devices_max", GATEWAY_DEVICES_MAX, behind));
                }
                device.gateway = Some(gateway);
            }
            Some(GatewayChange::Alone) => device.gateway = None,
        }
        if device.is_gateway && device.gateway.is_some() {
            let detail = "a gateway is not behind another one";
            return Err(Error::invalid_at("gateway_id", detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Gateway = (TenantId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));

    fn find(cache: &ChildCache, owner: Gateway, name: &str, seconds: u64) -> Option<DeviceId> {
        cache.find(owner, [name].into_iter(), Duration::from_secs(seconds))[0]
    }

    #[test]
    fn a_name_is_one_gateways_own_and_is_forgotten_in_time() {
        let (cache, device) = (ChildCache::default(), DeviceId::from_bytes([3; 16]));
        cache.keep(OWNER, &[("meter", device)], Duration::ZERO, 0);
        assert_eq!(find(&cache, OWNER, "meter", 1), Some(device));
        let other = (TenantId::from_bytes([9; 16]), OWNER.1);
        assert_eq!(find(&cache, other, "meter", 1), None);
        assert_eq!(find(&cache, OWNER, "meter", 300), None);
        cache.forget(device);
        assert_eq!(find(&cache, OWNER, "meter", 1), None);
        // What was read before the change is not kept after it.
        cache.keep(OWNER, &[("meter", device)], Duration::ZERO, 0);
        assert_eq!(find(&cache, OWNER, "meter", 1), None);
        cache.keep(OWNER, &[("meter", device), (" meter", device)], Duration::ZERO, 1);
        cache.forget(OWNER.1);
        assert_eq!((find(&cache, OWNER, "meter", 1), cache.names.lock().count), (None, 0));
        // By whatever name it was called, and nothing else.
        let other = DeviceId::from_bytes([4; 16]);
        let all = [("meter", device), (" meter", device), ("other", other)];
        cache.keep(OWNER, &all, Duration::ZERO, 2);
        cache.forget(device);
        assert_eq!(find(&cache, OWNER, " meter", 1), None);
        assert_eq!((find(&cache, OWNER, "other", 1), cache.names.lock().count), (Some(other), 1));
        cache.names.lock().drop_old(Duration::from_secs(300));
        let names = cache.names.lock();
        assert_eq!((names.count, names.of_device.len()), (0, 0));
    }

    #[test]
    fn who_makes_devices_holds_up_no_other_tenant() {
        let cache = ChildCache::default();
        let (one, other) = (cache.line(OWNER.0), cache.line(TenantId::from_bytes([9; 16])));
        let held = one.try_lock().expect("free");
        assert!(cache.line(OWNER.0).try_lock().is_err(), "one after the other");
        assert!(other.try_lock().is_ok());
        drop(held);
        assert!(cache.line(OWNER.0).try_lock().is_ok());
    }

    #[test]
    fn names_that_are_remembered_are_bounded() {
        let (cache, device) = (ChildCache::default(), DeviceId::from_bytes([3; 16]));
        for number in 0..=GATEWAY_CHILDREN_KEPT_MAX {
            let name = number.to_string();
            cache.keep(OWNER, &[(name.as_str(), device)], Duration::ZERO, 0);
        }
        assert_eq!(cache.names.lock().count, 1);
    }
}

//! Devices that speak through a gateway: found, or made, when the gateway names them. A gateway
//! speaks for devices that it made or that a person put behind it, and for no other: whoever has
//! its token has those, and not the tenant.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Rate, Resource};
use veritwin_domain::{DeviceId, LimitExceeded, OpContext};
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

/// What a gateway asked for, and what came of it so far.
pub(crate) struct Asked<'a> {
    wanted: &'a [ChildWanted],
    found: Vec<Option<DeviceId>>,
    refused: HashMap<usize, Error>,
}

impl<'a> Asked<'a> {
    /// Nothing of it is found yet.
    pub(crate) fn new(wanted: &'a [ChildWanted]) -> Self {
        Self { wanted, found: vec![None; wanted.len()], refused: HashMap::new() }
    }

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
        let mut asked = Asked { found, ..Asked::new(wanted) };
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
            is_sparkplug_host: false,
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

    /// Which devices of these names are behind a gateway still; none is made.
    #[boxed]
    pub async fn gateway_children_there(
        &self,
        gateway: &DeviceLogin,
        names: &[String],
    ) -> Result<Vec<Option<DeviceId>>> {
        if names.len() > GATEWAY_NAMES_MAX {
            let (max, actual) = (GATEWAY_NAMES_MAX, names.len());
            return Err(LimitExceeded { name: "gateway_names_max", max, actual }.into());
        }
        let (owner, now) = ((gateway.tenant, gateway.device), self.clock().monotonic());
        let cache = &self.0.logins.children;
        let changes = cache.changes.load(Ordering::SeqCst);
        let found = cache.find(owner, names.iter().map(String::as_str), now);
        let wanted = |name: &String| ChildWanted { name: name.clone(), kind: None };
        let wanted: Vec<_> = names.iter().map(wanted).collect();
        let mut asked = Asked { found, ..Asked::new(&wanted) };
        if asked.open().next().is_some() {
            let context = self.gateway_context(gateway)?;
            self.look_up_children(&context, gateway, &mut asked).await?;
            cache.keep(owner, &asked.known(), now, changes);
        }
        Ok(asked.found)
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
    pub(crate) async fn make_children(
        &self,
        context: &OpContext,
        gateway: &DeviceLogin,
        asked: &mut Asked<'_>,
    ) -> Result<()> {
        let line = self.0.logins.children.line(gateway.tenant);
        let _making = line.lock().await;
        let tx = self.0.store.begin(context).await?;
        // It may have been taken from it since it was looked up.
        if !tx.device_held(gateway.device).await?.is_gateway {
            return Err(Error::Forbidden(NO_GATEWAY.to_owned()));
        }
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

    /// Whoever has a credential of a gateway makes devices as it does, and speaks for all that are
    /// behind it, in whatever part of the tenant they stand: giving one out, or having one count
    /// again, takes as much as making the gateway.
    pub(crate) fn check_gives_gateway(&self, context: &OpContext, device: &Device) -> Result<()> {
        if device.is_gateway { self.check_makes_all(context) } else { Ok(()) }
    }

    fn check_makes_all(&self, context: &OpContext) -> Result<()> {
        if self.reach(context, Action::DeviceCreate, Kind::Device)?.is_whole() {
            return Ok(());
        }
        let detail = "a gateway makes devices: that takes the right in the whole tenant";
        Err(Error::Forbidden(detail.to_owned()))
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
                if is_gateway {
                    self.check_makes_all(context)?;
                }
                if is_gateway && self.is_in_zone(context.tenant, device.id) {
                    let detail = "the device is a source of a public zone: it speaks for itself";
                    return Err(Error::Conflict(detail.to_owned()));
                }
                // Held: none is made behind it meanwhile.
                if !is_gateway {
                    tx.device_held(device.id).await?;
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

//! Devices: list, create, change, import from an inventory, credentials.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    DeviceId, NAME_RULE, OpContext, Secret, SiteId, TenantId, Timestamp, find_unseen,
};
use veritwin_metastore::{Device, TenantTx};
use veritwin_twin::inventory::COORDINATE_M_MAX;

use crate::access::place_of;
use crate::change::Change;
use crate::live::{LiveEvent, TwinChange};
use crate::model::{
    DeviceChange, DeviceFilter, DeviceInput, DevicePage, DeviceView, Page, PageRequest, Placement,
};
use crate::records::store_page;
use crate::rule_sight::is_elsewhere;
use crate::sight::Sight;
use crate::stream_book::note_declared;
use crate::{App, Error, Result};

pub(crate) const KIND_CHARS_MAX: usize = 100;
const UNITS_MAX: usize = 1024;
const UNIT_CHARS_MAX: usize = 32;
/// Longest search: a whole name fits.
const SEARCH_CHARS_MAX: usize = 256;
const SEARCH_WORDS_MAX: usize = 16;
/// How long a search waits for those of the tenant that came before.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(10);
/// A device that sent something this recently counts as online.
const ONLINE_MICROS: i64 = 5 * 60 * 1_000_000;

pub(crate) fn placement_view(device: &Device) -> Placement {
    let place = device.placement.clone().unwrap_or_default();
    Placement {
        twin_id: device.twin,
        space_id: place.space_id,
        element_id: place.element_id,
        position: place.position,
    }
}

/// A device as a change of it is recorded.
pub(crate) fn recorded(device: &Device) -> serde_json::Value {
    let place = device.placement.clone().unwrap_or_default();
    serde_json::json!({
        "name": device.name,
        "type": device.kind,
        "declaration": device.declaration.as_str(),
        "is_gateway": device.is_gateway,
        "is_sparkplug_host": device.is_sparkplug_host,
        "gateway": device.gateway,
        "units": device.units,
        "twin": device.twin,
        "space": place.space_id,
        "element": place.element_id,
        "position": place.position,
    })
}

pub(crate) fn store_placement(place: &Placement) -> Option<veritwin_metastore::Placement> {
    let stored = veritwin_metastore::Placement {
        space_id: place.space_id.clone(),
        element_id: place.element_id.clone(),
        position: place.position,
    };
    (stored != veritwin_metastore::Placement::default()).then_some(stored)
}

pub(crate) fn check_text(field: &str, text: &str, chars_max: usize) -> Result<()> {
    if text.chars().count() > chars_max {
        return Err(Error::invalid_at(field, format!("at most {chars_max} characters")));
    }
    if find_unseen(text).is_some() {
        return Err(Error::invalid_at(field, NAME_RULE));
    }
    Ok(())
}

fn check_units(units: &BTreeMap<String, String>) -> Result<()> {
    if units.len() > UNITS_MAX {
        return Err(Error::invalid_at("units", format!("at most {UNITS_MAX} series")));
    }
    for (key, unit) in units {
        veritwin_domain::Key::new(key)
            .map_err(|error| Error::invalid_at("units", error.to_string()))?;
        check_text("units", unit, UNIT_CHARS_MAX)?;
    }
    Ok(())
}

pub(crate) fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.len() > veritwin_metastore::DEVICE_NAME_BYTES_MAX {
        let detail = format!("needs 1 to {} bytes", veritwin_metastore::DEVICE_NAME_BYTES_MAX);
        return Err(Error::invalid_at("name", detail));
    }
    check_text("name", name, name.len())?;
    Ok(name.to_owned())
}

/// Every word is looked for in every name.
fn check_search(text: &str) -> Result<()> {
    if text.chars().count() > SEARCH_CHARS_MAX {
        let detail = format!("limit search_chars_max: at most {SEARCH_CHARS_MAX} characters");
        return Err(Error::invalid_at("search", detail));
    }
    if text.split_whitespace().count() > SEARCH_WORDS_MAX {
        let detail = format!("limit search_words_max: at most {SEARCH_WORDS_MAX} words");
        return Err(Error::invalid_at("search", detail));
    }
    Ok(())
}

/// The devices asked for that may be seen.
fn chosen(
    seen: Option<Arc<HashSet<DeviceId>>>,
    ids: Option<&[DeviceId]>,
) -> Option<Arc<HashSet<DeviceId>>> {
    let Some(ids) = ids else { return seen };
    let is_seen = |id: &&DeviceId| seen.as_ref().is_none_or(|seen| seen.contains(*id));
    Some(Arc::new(ids.iter().filter(is_seen).copied().collect()))
}

impl App {
    fn device_view(&self, context: &OpContext, sight: &Sight, device: &Device) -> DeviceView {
        let now = self.clock().now();
        let presence = self.0.presence.of(context.tenant, device.id);
        let last_seen_at = presence.last_seen_at.max(device.last_seen_at);
        let (keys, streams_hidden) = self.keys_seen(sight, device);
        let recently = |at: Timestamp| now.as_micros() - at.as_micros() < ONLINE_MICROS;
        DeviceView {
            id: device.id,
            name: device.name.as_str().into(),
            kind: device.kind.as_str().into(),
            placement: placement_view(device),
            declaration: device.declaration,
            counts_as: sight.verdict(device, None).declaration,
            is_gateway: device.is_gateway,
            is_sparkplug_host: device.is_sparkplug_host,
            gateway: device.gateway,
            units: device.units.clone(),
            // Names of series may tell as much as their values.
            keys,
            streams_hidden,
            created_at: device.created_at,
            last_seen_at,
            clock_slow_seconds: presence.clock_slow_seconds(),
            online: presence.connected || last_seen_at.is_some_and(recently),
            last_refusal: self.last_refusal((context.tenant, device.id)),
            version: i64::try_from(device.version).unwrap_or(i64::MAX),
        }
    }

    /// Lists devices by name, with the first page how many there are. Of a tenant one search is at
    /// work at a time, the others wait their turn.
    #[boxed]
    pub async fn list_devices(
        &self,
        context: &OpContext,
        filter: &DeviceFilter,
        page: &PageRequest,
    ) -> Result<DevicePage> {
        let reach = self.reach(context, Action::DeviceList, Kind::Device)?;
        let resource = Resource::all(context.tenant, Kind::Device);
        check_search(filter.search.as_deref().unwrap_or_default())?;
        let mut among = chosen(self.devices_in(context, &reach).await?, filter.ids.as_deref());
        if filter.has_refusals {
            let mut refused = self.0.refusals.devices_of(context.tenant);
            refused.extend(self.0.told.devices_of(context.tenant));
            let refused: Vec<DeviceId> = refused.into_iter().collect();
            among = chosen(among, Some(&refused));
        }
        let page = store_page(page)?;
        let filter = veritwin_metastore::DeviceFilter {
            search: filter.search.clone().filter(|text| !text.trim().is_empty()),
            twin: filter.twin,
            among,
        };
        let turn = self.0.store.names_turn(context.tenant, &filter);
        let turn = tokio::time::timeout(SEARCH_WAIT_MAX, turn).await;
        let turn = turn.map_err(|_| Error::Busy { retry_after: SEARCH_WAIT_MAX })?;
        let sight = self.sight(context).await?;
        let tx = self.0.store.read(context).await?;
        let (listed, total) = tx.device_page(&filter, &page, turn).await?;
        self.note(context, Action::DeviceList, &resource, "done");
        let view = |device| self.device_view(context, &sight, device);
        let items = listed.items.iter().map(view).collect();
        let next_cursor = listed.next.map(|cursor| cursor.to_string());
        Ok(DevicePage { page: Page { items, next_cursor }, total })
    }

    /// Reads a device.
    #[boxed]
    pub async fn device(&self, context: &OpContext, id: DeviceId) -> Result<DeviceView> {
        let resource = self.authorize_device(context, Action::DeviceRead, id).await?;
        let sight = self.sight(context).await?;
        let tx = self.0.store.read(context).await?;
        let device = tx.device(id).await?;
        self.note(context, Action::DeviceRead, &resource, "done");
        Ok(self.device_view(context, &sight, &device))
    }

    pub(crate) async fn check_placement(&self, tx: &TenantTx, place: &Placement) -> Result<()> {
        let is_far = |metre: &f64| !metre.is_finite() || metre.abs() > COORDINATE_M_MAX;
        if place.position.is_some_and(|position| position.iter().any(is_far)) {
            let detail = format!("must be three numbers of metres, {COORDINATE_M_MAX:e} at most");
            return Err(Error::invalid_at("position", detail));
        }
        let Some(twin) = place.twin_id else {
            if *place != Placement::default() {
                return Err(Error::invalid_at("twin_id", "a place needs its twin"));
            }
            return Ok(());
        };
        let row = tx.twin(twin).await.map_err(|error| match error {
            veritwin_metastore::Error::NotFound { .. } => {
                Error::invalid_at("twin_id", "there is no such twin")
            }
            other => other.into(),
        })?;
        let model = self.load_model(tx.tenant_id(), &row).await?;
        if let Some(space) = &place.space_id
            && !model.spaces.iter().any(|known| &*known.id == space.as_str())
        {
            return Err(Error::invalid_at("space_id", "there is no such space in the twin"));
        }
        if let Some(element) = &place.element_id
            && !model.elements.iter().any(|known| &*known.id == element.as_str())
        {
            return Err(Error::invalid_at("element_id", "there is no such element in the twin"));
        }
        Ok(())
    }

    pub(crate) fn new_device(&self, context: &OpContext, input: DeviceInput) -> Result<Device> {
        check_text("type", &input.kind, KIND_CHARS_MAX)?;
        check_units(&input.units)?;
        Ok(Device {
            id: DeviceId::generate(context.at, self.rng()),
            name: check_name(&input.name)?,
            kind: input.kind,
            units: input.units,
            twin: input.placement.twin_id,
            placement: store_placement(&input.placement),
            declaration: input.declaration,
            is_gateway: false,
            is_sparkplug_host: false,
            gateway: None,
            version: 0,
            created_at: context.at,
            updated_at: context.at,
            last_seen_at: None,
        })
    }

    /// Makes a device and its first access token, which is given out this once.
    #[boxed]
    pub async fn create_device(
        &self,
        context: &OpContext,
        input: DeviceInput,
    ) -> Result<(DeviceView, Secret<String>)> {
        self.reach(context, Action::DeviceCreate, Kind::Device)?;
        let device = self.new_device(context, input)?;
        self.authorize_new(context, Action::DeviceCreate, &device)?;
        let tx = self.0.store.begin(context).await?;
        self.check_placement(&tx, &placement_view(&device)).await?;
        let count = tx.usage().await?.devices + 1;
        self.check_quota(context.tenant, crate::tree::Quota::Devices, count)?;
        tx.device_create(&device).await?;
        let (_, token) = self.new_token(&tx, context, device.id).await?;
        let stored = tx.device(device.id).await?;
        let resource = Resource::device(context.tenant, device.id);
        let change = Change::to(recorded(&stored));
        self.record_change(&tx, context, Action::DeviceCreate, &resource, change).await?;
        tx.commit().await?;
        self.devices_changed(context, stored.twin).await?;
        let sight = self.sight(context).await?;
        Ok((self.device_view(context, &sight, &stored), token))
    }

    /// Changes a device.
    #[boxed]
    pub async fn update_device(
        &self,
        context: &OpContext,
        id: DeviceId,
        change: DeviceChange,
    ) -> Result<DeviceView> {
        let resource = self.authorize_device(context, Action::DeviceUpdate, id).await?;
        let sight = self.sight(context).await?;
        let _zones = self.zones_stand(change.gateway.as_ref()).await;
        let tx = self.0.store.begin(context).await?;
        let mut device = tx.device(id).await?;
        let old_twin = device.twin;
        let before = recorded(&device);
        let stood = device.clone();
        if let Some(name) = change.name {
            device.name = check_name(&name)?;
        }
        if let Some(kind) = change.kind {
            check_text("type", &kind, KIND_CHARS_MAX)?;
            device.kind = kind;
        }
        if let Some(place) = change.placement {
            self.check_placement(&tx, &place).await?;
            device.twin = place.twin_id;
            device.placement = store_placement(&place);
            self.authorize_at(context, Action::DeviceUpdate, &resource, place_of(&device))?;
            self.check_moved(context, &tx, &[(&stood, &device)]).await?;
        }
        if let Some(declaration) = change.declaration {
            device.declaration = declaration;
        }
        self.bind_gateway(&tx, context, &mut device, change.gateway).await?;
        self.make_host(context, &mut device, change.is_sparkplug_host)?;
        self.authorize_protection(&tx, context, &sight, (&stood, &device)).await?;
        if let Some(units) = change.units {
            check_units(&units)?;
            device.units = units;
        }
        let expected = change.if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.device_update(&device, expected).await?;
        if device.gateway != stood.gateway {
            tx.device_put_behind(id, device.gateway).await?;
            // Who asked that it may be claimed, itself or its gateway, has no say in it any more.
            // Nobody else opens a window before this is over.
            tx.claim_window_close(id).await?;
        }
        if device.is_sparkplug_host != stood.is_sparkplug_host {
            tx.device_make_host(id, device.is_sparkplug_host).await?;
        }
        note_declared(&tx, &stood, &device).await?;
        if is_elsewhere(&stood, &device) {
            self.rules_stay(&tx, context, &sight, std::slice::from_ref(&device)).await?;
        }
        self.move_alerts(&tx, &stood, &device).await?;
        let stored = tx.device(id).await?;
        let change = Change::from_to(before, recorded(&stored));
        self.record_change(&tx, context, Action::DeviceUpdate, &resource, change).await?;
        tx.commit().await?;
        if stored.is_sparkplug_host != stood.is_sparkplug_host {
            let now = self.clock().monotonic();
            self.0.logins.hosts.note(*id.as_bytes(), stored.is_sparkplug_host, now);
        }
        let is_let_in_as = |one: &Device| (one.is_gateway, one.is_sparkplug_host);
        if is_let_in_as(&stored) == is_let_in_as(&stood) {
            // Its gateway knows it by the name it had.
            self.0.logins.children.forget(id);
        } else {
            self.0.logins.forget_device(id);
        }
        if stored.declaration != stood.declaration {
            self.0.stream_books.changed(context.tenant);
        }
        self.devices_changed(context, old_twin).await?;
        if stored.twin != old_twin {
            self.devices_changed(context, stored.twin).await?;
        }
        let sight = self.sight(context).await?;
        Ok(self.device_view(context, &sight, &stored))
    }

    /// Deletes a device with its credentials and its retained messages; its live connections end,
    /// and its alerts are over.
    #[boxed]
    pub async fn delete_device(&self, context: &OpContext, id: DeviceId) -> Result<()> {
        let resource = self.authorize_device(context, Action::DeviceDelete, id).await?;
        if self.0.zones.is_output(context.tenant, id) {
            let why = "a public zone's numbers are readings of the device: end the zone first";
            return Err(Error::Conflict(why.to_owned()));
        }
        // As where messages are retained: the tenant's turn first, then the records.
        let mut retained = self.retained_draft(context.tenant).await?;
        retained.forget_device(id);
        let tx = self.0.store.begin(context).await?;
        let device = tx.device(id).await?;
        tx.device_delete(id).await?;
        let change = Change::from(recorded(&device));
        self.record_change(&tx, context, Action::DeviceDelete, &resource, change).await?;
        let retained = self.write_retained(&tx, retained).await?;
        tx.commit().await?;
        self.retained_stored(retained);
        self.0.logins.ended.note(*id.as_bytes(), (), self.clock().monotonic());
        self.0.logins.forget_device(id);
        self.0.refusals.forget((context.tenant, id));
        self.0.told.forget((context.tenant, id));
        self.0.connections.forget((context.tenant, id));
        self.devices_changed(context, device.twin).await
    }

    /// Authorises what brings a device in where it is to stand. Elsewhere it is refused, not
    /// hidden: there is nothing to hide yet.
    pub(crate) fn authorize_new(
        &self,
        context: &OpContext,
        action: Action,
        device: &Device,
    ) -> Result<()> {
        let all = Resource::all(context.tenant, Kind::Device);
        self.authorize_at(context, action, &all, place_of(device))
    }

    /// Everything in memory that knows devices takes note of a change.
    pub(crate) async fn devices_changed(
        &self,
        context: &OpContext,
        twin: Option<SiteId>,
    ) -> Result<()> {
        self.note_devices_changed(context.tenant, twin);
        Ok(())
    }

    /// As [`App::devices_changed`], where nothing can be waited for.
    pub(crate) fn note_devices_changed(&self, tenant: TenantId, twin: Option<SiteId>) {
        self.0.directory.changed(tenant);
        self.0.live.publish(tenant, || LiveEvent::Devices);
        if let Some(twin) = twin {
            self.0.live.publish(tenant, || LiveEvent::Twin(twin, TwinChange::Bindings));
        }
        self.alert_sources_changed(tenant);
    }

    /// The name of a device for people; its id when it is gone.
    pub(crate) fn device_name(devices: &crate::directory::TenantDevices, id: DeviceId) -> Arc<str> {
        devices.get(id).map_or_else(|| id.to_string().into(), |device| device.name.as_str().into())
    }
}

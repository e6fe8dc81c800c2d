//! Public zones (promises P18, P19): devices whose readings stay in memory, and of which only what
//! a whole group did in a whole window is kept. A device that became a source stays one.

mod board;
mod opt_ins;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_collection::{Book, Noise, ZoneConfig};
use veritwin_domain::{
    DeviceId, LimitExceeded, OpContext, RegisterEntryId, TenantId, Timestamp, Value,
};
use veritwin_metastore::{
    REGISTER_ENTRIES_MAX, RegisterEntry, RegisterKind, RegisterState, TenantTx,
};

use crate::change::Change;
use crate::model::{GatewayChange, ZoneInput, ZoneView};
use crate::{App, Error, Result};

pub(crate) use board::{Diverted, Zone, ZoneBoard};
pub(crate) use opt_ins::names_of;

/// Most public zones in force of an organisation.
pub const ZONES_MAX: usize = 50;
/// Most devices of a zone on the platform.
pub const ZONE_DEVICES_MAX: usize = 2000;

/// What is stored of a zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredZone {
    pub(crate) config: ZoneConfig,
    /// The device that the numbers are readings of.
    pub(crate) output: DeviceId,
    pub(crate) devices: BTreeSet<DeviceId>,
    pub(crate) statement: String,
    /// Who signed it, and the signature, in hexadecimal.
    pub(crate) key: String,
    pub(crate) signature: String,
}

impl StoredZone {
    fn read(stored: &[u8]) -> Result<Self> {
        let damaged = |_| Error::Internal("a stored public zone is damaged".to_owned());
        serde_json::from_slice(stored).map_err(damaged)
    }

    fn to_store(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// The attestation, as it stands beside every number.
    fn attested(&self) -> Value {
        let said =
            json!({"statement": self.statement, "key": self.key, "signature": self.signature});
        Value::Json(Arc::from(said.to_string()))
    }
}

fn book_of(entry: &RegisterEntry) -> Result<Book> {
    let Some(book) = &entry.book else { return Ok(Book::default()) };
    serde_json::from_slice(book)
        .map_err(|_| Error::Internal("a stored privacy budget is damaged".to_owned()))
}

pub(crate) fn resource(context: &OpContext, id: RegisterEntryId) -> Resource {
    Resource::one(context.tenant, Kind::Tenant, id.as_bytes())
}

fn recorded(stored: &StoredZone) -> serde_json::Value {
    json!({
        "zone": stored.config.name,
        "window_minutes": stored.config.window_minutes,
        "budget_milli_per_day": stored.config.budget_milli_per_day,
        "measures": stored.config.measures.len(),
        "devices": stored.devices.len(),
        "output": stored.output.to_string(),
    })
}

/// A zone as it counts: also one that was set when larger costs were permitted.
fn view(entry: &RegisterEntry, now: Timestamp) -> Result<ZoneView> {
    let (stored, book) = (StoredZone::read(&entry.body)?, book_of(entry)?);
    let config = stored.config.bounded();
    Ok(ZoneView {
        id: entry.id,
        is_as_signed: config == stored.config,
        config,
        output: stored.output,
        devices: stored.devices.into_iter().collect(),
        is_in_force: entry.state == RegisterState::InForce,
        year_spent_squares: book.spent_squares_at(now),
        book,
        statement: stored.statement,
        key: stored.key,
        signature: stored.signature,
        version: entry.version,
        created_at: entry.created_at,
    })
}

/// An entry, if it is a zone.
async fn zone_entry(tx: &TenantTx, id: RegisterEntryId) -> Result<RegisterEntry> {
    let entry = tx.register_entry(id).await?;
    if entry.kind == RegisterKind::Zone { Ok(entry) } else { Err(Error::NotFound("public zone")) }
}

/// Whether a zone can be set so beside the others. No two share a device, or a name: numbers about
/// groups that overlap could be subtracted from one another.
async fn check_places(
    tx: &TenantTx,
    input: &ZoneInput,
    own: Option<RegisterEntryId>,
) -> Result<()> {
    let devices: BTreeSet<DeviceId> = input.devices.iter().copied().collect();
    let (max, actual) = (ZONE_DEVICES_MAX, devices.len());
    if actual > max {
        return Err(LimitExceeded { name: "public_zone_devices_max", max, actual }.into());
    }
    if devices.contains(&input.output) {
        return Err(Error::invalid_at("output_device_id", "cannot be one of the zone's sources"));
    }
    tx.device(input.output).await?;
    for device in &devices {
        if tx.device(*device).await?.is_gateway {
            let why = "a gateway speaks for others: its devices are sources, not it";
            return Err(Error::invalid_at("device_ids", why));
        }
    }
    let others = tx.register_entries(RegisterKind::Zone).await?;
    let in_force = others.iter().filter(|other| other.state == RegisterState::InForce);
    for other in in_force.filter(|other| Some(other.id) != own) {
        let stored = StoredZone::read(&other.body)?;
        if !stored.devices.is_disjoint(&devices) {
            let why = "a device is in another public zone: zones do not overlap";
            return Err(Error::Conflict(why.to_owned()));
        }
        if stored.config.name.to_lowercase() == input.config.name.to_lowercase() {
            return Err(Error::Conflict("another public zone has this name".to_owned()));
        }
        let is_others = stored.devices.contains(&input.output) || stored.output == input.output;
        if is_others || devices.contains(&stored.output) {
            let why = "the zone's own device belongs to another public zone";
            return Err(Error::Conflict(why.to_owned()));
        }
    }
    Ok(())
}

/// Whether one more can be set: those that ended stay readable, and count less.
fn check_room(known: &[RegisterEntry]) -> Result<()> {
    let of_all = usize::try_from(REGISTER_ENTRIES_MAX).unwrap_or(usize::MAX);
    let in_force = known.iter().filter(|one| one.state == RegisterState::InForce).count();
    for (name, max, known) in
        [("public_zones_max", ZONES_MAX, in_force), ("register_entries_max", of_all, known.len())]
    {
        if known >= max {
            return Err(LimitExceeded { name, max, actual: known + 1 }.into());
        }
    }
    Ok(())
}

impl App {
    /// The public zones, newest first.
    #[boxed]
    pub async fn list_zones(&self, context: &OpContext) -> Result<Vec<ZoneView>> {
        let resource = self.authorize_all(context, Action::CollectionRead, Kind::Tenant)?;
        let entries = self.0.store.read(context).await?;
        let entries = entries.register_entries(RegisterKind::Zone).await?;
        self.note(context, Action::CollectionRead, &resource, "done");
        entries.iter().map(|entry| view(entry, context.at)).collect()
    }

    /// The noise of what public zones let out.
    pub(crate) fn zone_noise(&self) -> Noise<'_> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.lets_out_bare_numbers() {
            return Noise::LeftOut;
        }
        Noise::Drawn(self.rng())
    }

    /// Waits until no zone is being set, where a device becomes a gateway: none becomes a source
    /// of a zone while this is held, from before the change until it is written.
    pub(crate) async fn zones_stand(
        &self,
        change: Option<&GatewayChange>,
    ) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match change {
            Some(GatewayChange::Speaks(true)) => Some(self.0.zones.turn.lock().await),
            _ => None,
        }
    }

    /// Whether a device is a source of a public zone.
    pub fn is_in_zone(&self, tenant: TenantId, device: DeviceId) -> bool {
        self.0.zones.of(tenant, device).is_some()
    }

    async fn signed_zone(&self, context: &OpContext, input: &ZoneInput) -> Result<StoredZone> {
        input.config.check().map_err(|error| Error::invalid_at(error.field, error.problem))?;
        self.check_kept("name", &input.config.name)?;
        let devices: BTreeSet<DeviceId> = input.devices.iter().copied().collect();
        let statement = format!(
            "{}by {}\noutput {}\nsources {}\n",
            input.config.statement(),
            context.tenant,
            input.output,
            devices.len()
        );
        let key = self.submitter_key(context.tenant).await?;
        Ok(StoredZone {
            config: input.config.clone(),
            output: input.output,
            devices,
            signature: hex::encode(key.sign(statement.as_bytes())),
            key: hex::encode(key.public_bytes()),
            statement,
        })
    }

    /// Sets a public zone. From then on nothing is kept of its devices but what it lets out.
    #[boxed]
    pub async fn create_zone(&self, context: &OpContext, input: ZoneInput) -> Result<ZoneView> {
        let all = self.authorize_all(context, Action::CollectionWrite, Kind::Tenant)?;
        let stored = self.signed_zone(context, &input).await?;
        let _turn = self.0.zones.turn.lock().await;
        let tx = self.0.store.begin(context).await?;
        check_room(&tx.register_entries(RegisterKind::Zone).await?)?;
        check_places(&tx, &input, None).await?;
        let entry = RegisterEntry {
            id: RegisterEntryId::generate(context.at, self.rng()),
            kind: RegisterKind::Zone,
            state: RegisterState::InForce,
            body: stored.to_store()?,
            book: None,
            review_at: None,
            version: 1,
            created_at: context.at,
        };
        tx.register_entry_create(&entry).await?;
        let change = Change::to(recorded(&stored));
        self.record_change(&tx, context, Action::CollectionWrite, &all, change).await?;
        tx.commit().await?;
        self.open_zone(context, &entry, stored);
        view(&entry, context.at)
    }

    /// The open window of before is a gap then: it was another group's.
    fn open_zone(&self, context: &OpContext, entry: &RegisterEntry, stored: StoredZone) {
        let book = book_of(entry).unwrap_or_default().begun();
        let attestation = stored.attested();
        let owner = (context.tenant, entry.id);
        let zone = Zone::new(owner, stored, (attestation, book), self.clock().now());
        self.0.zones.put(Arc::new(zone));
    }

    /// Sets a zone anew. The budget that is spent stays spent, and a device that is a source stays
    /// one as long as there is it.
    #[boxed]
    pub async fn update_zone(
        &self,
        context: &OpContext,
        id: RegisterEntryId,
        input: ZoneInput,
    ) -> Result<ZoneView> {
        let resource = resource(context, id);
        self.authorize(context, Action::CollectionWrite, &resource)?;
        let stored = self.signed_zone(context, &input).await?;
        let _turn = self.0.zones.turn.lock().await;
        let tx = self.0.store.begin(context).await?;
        let mut entry = zone_entry(&tx, id).await?;
        if entry.state != RegisterState::InForce {
            return Err(Error::Conflict("the public zone has ended".to_owned()));
        }
        check_places(&tx, &input, Some(id)).await?;
        let before = StoredZone::read(&entry.body)?;
        for gone in before.devices.difference(&stored.devices) {
            still_there(&tx, *gone).await?;
        }
        entry.body = stored.to_store()?;
        tx.register_entry_update(&entry).await?;
        let change = Change::from_to(recorded(&before), recorded(&stored));
        self.record_change(&tx, context, Action::CollectionWrite, &resource, change).await?;
        tx.commit().await?;
        entry.version += 1;
        self.open_zone(context, &entry, stored);
        view(&entry, context.at)
    }

    /// Ends a zone whose devices are gone. What it let out stays.
    #[boxed]
    pub async fn end_zone(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::CollectionWrite, &resource)?;
        let _turn = self.0.zones.turn.lock().await;
        let tx = self.0.store.begin(context).await?;
        let mut entry = zone_entry(&tx, id).await?;
        let stored = StoredZone::read(&entry.body)?;
        for device in &stored.devices {
            still_there(&tx, *device).await?;
        }
        let before = recorded(&stored);
        entry.state = RegisterState::Ended;
        tx.register_entry_update(&entry).await?;
        let change = Change::from(before);
        self.record_change(&tx, context, Action::CollectionWrite, &resource, change).await?;
        tx.commit().await?;
        self.0.zones.remove(context.tenant, id);
        Ok(())
    }
}

/// Refuses to let a device out of its zone that could go on sending.
async fn still_there(tx: &TenantTx, device: DeviceId) -> Result<()> {
    match crate::error::found(tx.device(device).await)? {
        None => Ok(()),
        Some(_) => Err(Error::Conflict(
            "a source of a public zone stays one: delete the device, and make it anew under \
             another identity"
                .to_owned(),
        )),
    }
}

//! Devices. Names are unique in a tenant without regard to case, by a keyed index; lists are
//! sorted and searched through the names in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use sea_orm::DbErr;
use sea_orm::sea_query::Expr;
use serde::{Deserialize, Serialize};
use veritwin_domain::{Declaration, DeviceId, SiteId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::names::{NAME_INDEX_NAMES_MAX, NameChange, NameIndex, NameQuery, NamesTurn};
use crate::query::{ONE_OF_MAX, Select, above, below, is_null, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Error, Listed, Page, Result, TenantTx};

const TABLE: &str = "devices";

/// Longest device name, in bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 256;

/// Rows read at a time while the name index is built.
const INDEX_ROWS: u64 = 5_000;

/// Where a device is in its twin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// GlobalId of the space.
    pub space_id: Option<String>,
    /// GlobalId of the element.
    pub element_id: Option<String>,
    /// Metres, Z up, in the twin's coordinates.
    pub position: Option<[f64; 3]>,
}

/// A device.
#[derive(Clone, PartialEq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its name, unique in the tenant.
    pub name: String,
    /// What it is, in the customer's words.
    pub kind: String,
    /// The units of its keys.
    pub units: BTreeMap<String, String>,
    /// The twin it is bound to.
    pub twin: Option<SiteId>,
    /// Where in the twin.
    pub placement: Option<Placement>,
    /// What the customer says of personal data in its readings.
    pub declaration: Declaration,
    /// Whether it may speak for other devices.
    pub is_gateway: bool,
    /// Whether it is a host application of Sparkplug: it commands the tenant's edge nodes.
    pub is_sparkplug_host: bool,
    /// The gateway that speaks for it.
    pub gateway: Option<DeviceId>,
    /// Counts changes: the ETag.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was last heard of, as far as written.
    pub last_seen_at: Option<Timestamp>,
}

opaque_debug!(Device { id, twin, declaration, version });

/// Which devices are wanted.
#[derive(Clone, Default)]
pub struct DeviceFilter {
    /// Words, each part of the name or kind, in any case and order.
    pub search: Option<String>,
    /// Bound to this twin.
    pub twin: Option<SiteId>,
    /// One of these.
    pub among: Option<Arc<HashSet<DeviceId>>>,
}

opaque_debug!(DeviceFilter { twin });

impl DeviceFilter {
    /// Whether every device is wanted.
    pub(crate) fn is_of_all(&self) -> bool {
        self.name_query().is_of_all()
    }

    fn name_query(&self) -> NameQuery {
        NameQuery::new(self.search.as_deref(), self.twin, self.among.clone())
    }
}

fn rows(page: &Page) -> usize {
    usize::try_from(page.rows()).unwrap_or(usize::MAX - 1)
}

/// The rank and the id of the last device of the page before.
fn after(page: &Page) -> Result<Option<(u32, DeviceId)>> {
    let after = page.after.as_ref().map(Cursor::rank).transpose()?;
    Ok(after.map(|(rank, id)| (rank, DeviceId::from_bytes(id))))
}

#[derive(Serialize, Deserialize)]
struct Profile {
    kind: String,
    units: BTreeMap<String, String>,
}

struct Sealed {
    name_index: [u8; 32],
    name: Vec<u8>,
    profile: Vec<u8>,
    placement: Option<Vec<u8>>,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<Device> {
    let id: DeviceId = row.get("id")?;
    let profile: Profile = vault.open_json(row, "profile", id.as_bytes())?;
    let placement = vault.maybe_open(row, "placement", id.as_bytes())?;
    let placement = placement
        .map(|json| serde_json::from_slice(&json).map_err(|_| Error::Corrupt { what: TABLE }))
        .transpose()?;
    Ok(Device {
        id,
        name: vault.open_text(row, "name", id.as_bytes())?,
        kind: profile.kind,
        units: profile.units,
        twin: row.maybe("twin_id")?,
        placement,
        declaration: row.get("declaration")?,
        is_gateway: row.maybe("is_gateway")?.unwrap_or_default(),
        is_sparkplug_host: row.maybe("is_sparkplug_host")?.unwrap_or_default(),
        gateway: row.maybe("gateway_id")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        last_seen_at: row.maybe("last_seen_at")?,
    })
}

impl TenantTx {
    fn device_name_index(&self, name: &str) -> [u8; 32] {
        self.core.sealer.device_name_index(self.tenant, name)
    }

    fn seal_device(&self, device: &Device) -> Result<Sealed> {
        let length = device.name.trim().len();
        if length == 0 || device.name.len() > DEVICE_NAME_BYTES_MAX {
            let reason = "expected 1 to 256 bytes that are not blank";
            return Err(Error::Invalid { what: "device name", reason });
        }
        let vault = self.vault();
        let cell = |column| Cell { table: TABLE, column, row: device.id.as_bytes() };
        let profile = Profile { kind: device.kind.clone(), units: device.units.clone() };
        let placement = device.placement.as_ref();
        Ok(Sealed {
            name_index: self.device_name_index(&device.name),
            name: vault.seal(cell("name"), device.name.as_bytes())?,
            profile: vault.seal_json(cell("profile"), &profile)?,
            placement: placement.map(|p| vault.seal_json(cell("placement"), p)).transpose()?,
        })
    }

    fn name_changed(&self, device: &Device) {
        self.core.name_changes.lock().push(NameChange::Put {
            tenant: self.tenant,
            device: device.id,
            name: device.name.clone(),
            kind: device.kind.clone(),
            twin: device.twin,
        });
    }

    /// Makes a device; `Conflict` if the name is taken. Version and times of the argument count
    /// for nothing: they start now.
    #[boxed]
    pub async fn device_create(&self, device: &Device) -> Result<()> {
        let sealed = self.seal_device(device)?;
        let insert = self
            .insert(TABLE)
            .set("id", device.id)
            .set("name_index", sealed.name_index)
            .set("name", sealed.name)
            .set("profile", sealed.profile)
            .set("twin_id", device.twin)
            .set("placement", sealed.placement)
            .set("declaration", device.declaration)
            .set("is_gateway", device.is_gateway)
            .set("is_sparkplug_host", device.is_sparkplug_host)
            .set("gateway_id", device.gateway)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at)
            .set("last_seen_at", device.last_seen_at);
        self.core.insert(insert).await?;
        self.name_changed(device);
        Ok(())
    }

    /// Writes a changed device, if its version is still `expected`; not whether it is a host, nor
    /// which gateway it is behind.
    #[boxed]
    pub async fn device_update(&self, device: &Device, expected: Option<u64>) -> Result<()> {
        let sealed = self.seal_device(device)?;
        let update = self
            .update(TABLE)
            .set("name_index", sealed.name_index)
            .set("name", sealed.name)
            .set("profile", sealed.profile)
            .set("twin_id", device.twin)
            .set("placement", sealed.placement)
            .set("declaration", device.declaration)
            .set("is_gateway", device.is_gateway)
            .set("updated_at", self.core.at);
        self.update_version(update, *device.id.as_bytes(), expected).await?;
        self.name_changed(device);
        Ok(())
    }

    /// Makes a device a host application of Sparkplug, or none. It is no part of
    /// [`Self::device_update`]: another change, which read the device before, would give back what
    /// was taken since.
    #[boxed]
    pub async fn device_make_host(&self, id: DeviceId, is_host: bool) -> Result<()> {
        let update = self.update(TABLE).set("is_sparkplug_host", is_host).eq("id", id);
        if self.core.update(update).await? == 0 {
            self.device(id).await?;
        }
        Ok(())
    }

    /// Puts a device behind a gateway, or behind none. It is no part of [`Self::device_update`]
    /// either: what was claimed meanwhile would be behind its gateway again.
    #[boxed]
    pub async fn device_put_behind(&self, id: DeviceId, gateway: Option<DeviceId>) -> Result<()> {
        let update = self.update(TABLE).set("gateway_id", gateway).eq("id", id);
        if self.core.update(update).await? == 0 {
            self.device(id).await?;
        }
        Ok(())
    }

    /// Deletes a device with its credentials and attributes; its alerts are over. Devices behind it
    /// stay, are behind no gateway, and wait to be claimed no longer.
    #[boxed]
    pub async fn device_delete(&self, id: DeviceId) -> Result<()> {
        self.delete_id(TABLE, id).await?;
        // With its credentials gone it asks for nothing more.
        self.claim_windows_close_behind(id).await?;
        let freed = self.update(TABLE).set("gateway_id", None::<DeviceId>).eq("gateway_id", id);
        self.core.update(freed).await?;
        self.alerts_end_with(id).await?;
        self.route_messages_delete_of(id).await?;
        let gone = NameChange::Remove { tenant: self.tenant, device: id };
        self.core.name_changes.lock().push(gone);
        Ok(())
    }

    /// Notes when a device was last heard of. The version stays: presence is not a change. An
    /// earlier moment than the one written changes nothing.
    #[boxed]
    pub async fn device_seen(&self, id: DeviceId, at: Timestamp) -> Result<()> {
        use sea_orm::sea_query::ExprTrait;
        let newer = is_null("last_seen_at").or(below("last_seen_at", at));
        let update = self.update(TABLE).set("last_seen_at", at).eq("id", id).filter(newer);
        self.core.update(update).await.map(|_| ())
    }

    /// One device.
    #[boxed]
    pub async fn device(&self, id: DeviceId) -> Result<Device> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// One device, which nobody else changes before this transaction ends. For one that writes.
    #[boxed]
    pub async fn device_held(&self, id: DeviceId) -> Result<Device> {
        load(&self.core.one(self.select(TABLE).eq("id", id).held()).await?, &self.vault())
    }

    /// The device with this name, in any case.
    #[boxed]
    pub async fn device_by_name(&self, name: &str) -> Result<Option<Device>> {
        let select = self.select(TABLE).eq("name_index", self.device_name_index(name));
        self.core.maybe(select).await?.map(|row| load(&row, &self.vault())).transpose()
    }

    /// How many devices speak through a gateway.
    #[boxed]
    pub async fn devices_behind(&self, gateway: DeviceId) -> Result<u64> {
        let count = Expr::cust("count(*)");
        let select = self.select(TABLE).eq("gateway_id", gateway).only(count, "count");
        self.core.one(select).await?.get("count")
    }

    /// The devices with these ids that exist, in the order asked for. At most as many as one page
    /// holds.
    #[boxed]
    pub async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Device>> {
        if ids.len() > crate::PAGE_ROWS_MAX as usize + 1 {
            return Err(Error::Invalid { what: "device ids", reason: "expected at most 1001" });
        }
        let vault = self.vault();
        let mut found = HashMap::new();
        let select = self.select(TABLE).filter(one_of("id", ids.iter().copied()));
        for row in self.core.all(select).await? {
            let device = load(&row, &vault)?;
            found.insert(device.id, device);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// Devices in the order of their names. Beyond [`NAME_INDEX_NAMES_MAX`] devices they come in
    /// the order of their making, and a search is refused. Looks through the names where it is:
    /// for the platform's own work. Lists for people are [`TenantTx::device_page`].
    #[boxed]
    pub async fn devices(&self, filter: &DeviceFilter, page: &Page) -> Result<Listed<Device>> {
        let Some(index) = self.name_index().await? else {
            return self.devices_by_age(filter, page).await;
        };
        let found = index.find(&filter.name_query(), after(page)?, rows(page) + 1);
        self.listed(found, page).await
    }

    /// The same, where names are looked through away from the threads that serve connections, and
    /// in the tenant's turn; with the first page how many there are.
    #[boxed]
    pub async fn device_page(
        &self,
        filter: &DeviceFilter,
        page: &Page,
        turn: NamesTurn,
    ) -> Result<(Listed<Device>, Option<u64>)> {
        let Some(index) = self.name_index().await? else {
            let listed = self.devices_by_age(filter, page).await?;
            let total = match page.after {
                Some(_) => None,
                None => Some(self.devices_count(filter).await?),
            };
            return Ok((listed, total));
        };
        let (query, after, limit) = (filter.name_query(), after(page)?, rows(page) + 1);
        let is_of_all = query.is_of_all();
        let find = move || {
            // Kept until the work is done, even if nobody waits for it any more.
            let _turn = turn;
            match after {
                Some(_) => (index.find(&query, after, limit), None),
                None => {
                    let (found, total) = index.find_first(&query, limit);
                    (found, Some(total as u64))
                }
            }
        };
        let stopped = |_| Error::Unavailable(DbErr::Custom("the search was stopped".to_owned()));
        let (found, total) = if is_of_all {
            find()
        } else {
            tokio::task::spawn_blocking(find).await.map_err(stopped)?
        };
        Ok((self.listed(found, page).await?, total))
    }

    /// What was found for a page, and one more when there are more.
    async fn listed(&self, mut found: Vec<(u32, DeviceId)>, page: &Page) -> Result<Listed<Device>> {
        let more = found.len() > rows(page);
        found.truncate(rows(page));
        let next = found.last().filter(|_| more);
        let next = next.map(|(rank, id)| Cursor::by_rank(*rank, id.as_bytes()));
        let ids: Vec<_> = found.iter().map(|(_, id)| *id).collect();
        Ok(Listed { items: self.devices_by_id(&ids).await?, next })
    }

    async fn devices_count(&self, filter: &DeviceFilter) -> Result<u64> {
        let count = Expr::cust("count(*)");
        let select = self.filtered(self.select(TABLE).only(count, "count"), filter)?;
        self.core.one(select).await?.get("count")
    }

    /// Narrows by what is stored in the open; a search is not.
    fn filtered(&self, mut select: Select, filter: &DeviceFilter) -> Result<Select> {
        if filter.search.is_some() {
            let reason = "this tenant has more names than can be searched (100000)";
            return Err(Error::Invalid { what: "search", reason });
        }
        if let Some(twin) = filter.twin {
            select = select.eq("twin_id", twin);
        }
        if let Some(among) = &filter.among {
            if among.len() > ONE_OF_MAX {
                let reason = "the devices shown are more than can be listed here (10000)";
                return Err(Error::Invalid { what: "devices", reason });
            }
            select = select.filter(one_of("id", among.iter().copied()));
        }
        Ok(select)
    }

    async fn devices_by_age(&self, filter: &DeviceFilter, page: &Page) -> Result<Listed<Device>> {
        let select = self.select(TABLE).ascending("id").limit(page.rows() + 1);
        let mut select = self.filtered(select, filter)?;
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |device| Cursor::by_id(device.id.as_bytes())))
    }

    /// The names in memory, built now if need be; none if there are too many. Changes made in
    /// this transaction show after its commit.
    async fn name_index(&self) -> Result<Option<Arc<NameIndex>>> {
        if let Some(index) = self.core.names.get(self.tenant) {
            return Ok(Some(index));
        }
        let vault = self.vault();
        let mut index = NameIndex::default();
        let mut names_count = 0usize;
        let mut after: Option<DeviceId> = None;
        loop {
            let mut select = self.select(TABLE).ascending("id").limit(INDEX_ROWS);
            if let Some(after) = after {
                select = select.filter(above("id", after));
            }
            let rows = self.core.all(select).await?;
            names_count += rows.len();
            if names_count > NAME_INDEX_NAMES_MAX {
                return Ok(None);
            }
            for row in &rows {
                let id: DeviceId = row.get("id")?;
                let name = vault.open_text(row, "name", id.as_bytes())?;
                let profile: Profile = vault.open_json(row, "profile", id.as_bytes())?;
                index.put(id, &name, &profile.kind, row.maybe("twin_id")?);
                after = Some(id);
            }
            if (rows.len() as u64) < INDEX_ROWS {
                break;
            }
        }
        let index = Arc::new(index);
        // An uncommitted change in this transaction must not be kept.
        if self.core.name_changes.lock().is_empty() {
            self.core.names.keep(self.tenant, self.name_generation, &index);
        }
        Ok(Some(index))
    }

    /// How many devices the tenant has, and how many are bound to each twin.
    #[boxed]
    pub async fn device_counts(&self) -> Result<(u64, BTreeMap<SiteId, u64>)> {
        let count = Expr::cust("count(*)");
        let select = self.select(TABLE).only(count, "count").also(Expr::col("twin_id"), "twin");
        let (mut total, mut by_twin) = (0, BTreeMap::new());
        for row in self.core.all(select.group_by("twin_id")).await? {
            let count: u64 = row.get("count")?;
            total += count;
            if let Some(twin) = row.maybe("twin")? {
                by_twin.insert(twin, count);
            }
        }
        Ok((total, by_twin))
    }
}

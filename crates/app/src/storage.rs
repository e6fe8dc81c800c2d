//! How much a tenant has stored, and the refusal of what would be over its plan; the same for
//! what it puts into the ledger's archive in a day. Readings are counted by the engine; twins by
//! the sizes of their objects, looked up once and then kept; the ledger's payloads when sealed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::{Mutex, MutexGuard};
use veritwin_access::jobs;
use veritwin_domain::{
    DAY_MICROS, DeviceId, LimitExceeded, Reading, TenantId, Timestamp, stored_bytes,
};
use veritwin_metastore::{Twin, Usage, every_row};
use veritwin_telemetry::LatestSize;

use crate::model::UsageView;
use crate::{App, Error, Result};

/// The limits' names.
const STORAGE_BYTES_MAX: &str = "plan_storage_bytes_max";
const LEDGER_BYTES_PER_DAY: &str = "ledger_bytes_per_day";
/// As many readings and bytes as a message of a device has at most: so much it may add to what
/// latest values take.
const MESSAGE_MOST: LatestSize = LatestSize { series: 100_000, bytes: 8 * 1024 * 1024 };

/// Bytes of tenants' twins. A tenant is in here once somebody has asked; a change of its twins
/// counts them again.
#[derive(Debug, Default)]
pub(crate) struct TwinBytes {
    tenants: Mutex<HashMap<TenantId, u64>>,
}

/// What a tenant has, in numbers, as whoever answers for it sees it.
pub(crate) fn usage_view(usage: Usage, tenants: u64, storage_bytes: u64) -> UsageView {
    let Usage { devices, users, api_keys, .. } = usage;
    UsageView { devices, users, api_keys, tenants, storage_bytes }
}

impl TwinBytes {
    fn of(&self, tenant: TenantId) -> Option<u64> {
        self.tenants.lock().get(&tenant).copied()
    }
}

/// Sealed bytes that tenants have put into the ledger's archive since the day (UTC) began, as far
/// as this process has seen it.
#[derive(Debug, Default)]
pub(crate) struct LedgerBytes {
    today: Mutex<Today>,
    /// Somebody has put in more than it may: nobody else is looked up for it.
    is_any_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Today {
    day: i64,
    tenants: HashMap<TenantId, u64>,
}

impl LedgerBytes {
    /// A payload was sealed.
    fn add(&self, tenant: TenantId, now: Timestamp, bytes: usize, max: u64) {
        let mut today = self.on(now);
        let sealed = today.tenants.entry(tenant).or_default();
        *sealed += bytes as u64;
        if *sealed > max {
            self.is_any_over.store(true, Ordering::Relaxed);
        }
    }

    /// What a tenant has put in, where anybody is over the bound.
    fn of(&self, tenant: TenantId, now: impl FnOnce() -> Timestamp) -> u64 {
        if !self.is_any_over.load(Ordering::Relaxed) {
            return 0;
        }
        self.on(now()).tenants.get(&tenant).copied().unwrap_or(0)
    }

    fn on(&self, now: Timestamp) -> MutexGuard<'_, Today> {
        let day = now.as_micros().div_euclid(DAY_MICROS);
        let mut today = self.today.lock();
        if today.day != day {
            *today = Today { day, tenants: HashMap::new() };
            self.is_any_over.store(false, Ordering::Relaxed);
        }
        today
    }
}

/// The objects that a twin names.
pub(crate) fn objects(twin: &Twin) -> impl Iterator<Item = &str> {
    let geometry = twin.geometry_object.as_deref();
    [Some(twin.source_object.as_str()), Some(twin.model_object.as_str()), geometry]
        .into_iter()
        .flatten()
}

impl App {
    /// Bytes of a tenant's readings, twins and packages.
    pub(crate) async fn storage_bytes(&self, tenant: TenantId) -> Result<u64> {
        let twins = match self.0.storage.of(tenant) {
            Some(bytes) => bytes,
            None => self.count_twin_bytes(tenant).await?,
        };
        Ok(self.reading_bytes(tenant) + twins)
    }

    /// Refuses readings of a tenant that has stored as much as its plan lets it, or put as much
    /// into the ledger as it may in a day. Asked for every message that is not within
    /// [`Self::spare_storage`], before the log takes it.
    pub fn check_storage(
        &self,
        tenant: TenantId,
        device: Option<DeviceId>,
        readings: &[Reading],
    ) -> Result<()> {
        refuse_over(LEDGER_BYTES_PER_DAY, self.ledger_bytes_per_day(), self.sealed_bytes(tenant))?;
        let limits = self.plan_limits(tenant);
        self.check_points(tenant, &limits, readings.len())?;
        if let Some(device) = device {
            self.check_series(tenant, &limits, [(device, readings)]).map_err(Error::StorageFull)?;
        }
        let Some(max) = limits.storage_bytes else { return Ok(()) };
        refuse_over(STORAGE_BYTES_MAX, max, self.bytes_now(tenant) + stored_bytes(readings))
    }

    /// Readings of one message that take no more bytes than this are not refused by
    /// [`Self::check_storage`] now; of all of them it has to be asked where this is none, as where
    /// a plan bounds readings in a day or series, or latest values take much.
    pub fn spare_storage(&self, tenant: TenantId) -> Option<u64> {
        let limits = self.plan_limits(tenant);
        let is_counted = limits.points_per_day.is_some()
            || limits.series.is_some()
            || !self.0.engine.has_spare_latest(MESSAGE_MOST);
        if is_counted || self.sealed_bytes(tenant) > self.ledger_bytes_per_day() {
            return None;
        }
        let Some(max) = limits.storage_bytes else { return Some(u64::MAX) };
        max.checked_sub(self.bytes_now(tenant))
    }

    fn sealed_bytes(&self, tenant: TenantId) -> u64 {
        self.0.ledger.bytes.of(tenant, || self.clock().now())
    }

    /// What a tenant has stored, as far as that is known without waiting.
    fn bytes_now(&self, tenant: TenantId) -> u64 {
        let twins = self.0.storage.of(tenant).unwrap_or_else(|| {
            self.count_twin_bytes_later(tenant);
            0
        });
        self.reading_bytes(tenant) + twins
    }

    /// Bytes of a tenant's readings; while its key is out of reach, with those that wait in the log
    /// for it.
    fn reading_bytes(&self, tenant: TenantId) -> u64 {
        let is_silent = self.0.keys.silent_since(tenant).is_some();
        let waiting = if is_silent { self.0.log.spooled_bytes(tenant) } else { 0 };
        self.0.engine.tenant_bytes(tenant) + waiting
    }

    /// A payload was sealed into a tenant's ledger.
    pub(crate) fn count_ledger_bytes(&self, tenant: TenantId, bytes: usize) {
        let max = self.ledger_bytes_per_day();
        self.0.ledger.bytes.add(tenant, self.clock().now(), bytes, max);
    }

    /// Refuses an upload of so many bytes that would be over the tenant's plan.
    pub(crate) async fn check_storage_for(&self, tenant: TenantId, bytes: usize) -> Result<()> {
        let Some(max) = self.plan_limits(tenant).storage_bytes else { return Ok(()) };
        refuse_over(STORAGE_BYTES_MAX, max, self.storage_bytes(tenant).await? + bytes as u64)
    }

    /// Twins or packages changed: what they take is counted again.
    pub(crate) async fn twins_stored(&self, tenant: TenantId) {
        if let Err(error) = self.count_twin_bytes(tenant).await {
            tracing::warn!(%tenant, %error, "what twins take was not counted");
            self.0.storage.tenants.lock().remove(&tenant);
        }
    }

    /// A reading does not wait for a count: the first ones of a process see the readings alone.
    fn count_twin_bytes_later(&self, tenant: TenantId) {
        self.0.storage.tenants.lock().insert(tenant, 0);
        let app = self.clone();
        self.0.tasks.spawn(async move { app.twins_stored(tenant).await });
    }

    async fn count_twin_bytes(&self, tenant: TenantId) -> Result<u64> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let tx = &self.0.store.read(&context).await?;
        let mut bytes = 0;
        for twin in every_row(|page| async move { tx.twins(&page).await }).await? {
            for object in objects(&twin) {
                match self.0.objects.head(&Path::from(object)).await {
                    Ok(meta) => bytes += meta.size,
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        bytes += tx.packages().await?.iter().map(|package| package.bytes).sum::<u64>();
        self.0.storage.tenants.lock().insert(tenant, bytes);
        Ok(bytes)
    }
}

pub(crate) fn refuse_over(name: &'static str, max: u64, bytes: u64) -> Result<()> {
    if bytes <= max {
        return Ok(());
    }
    metrics::counter!("veritwin_storage_refusals_total").increment(1);
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let (max, actual) = (size(max), size(bytes));
    Err(Error::StorageFull(LimitExceeded { name, max, actual }))
}

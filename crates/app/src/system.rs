//! The running platform: readiness, gauges, keys, and the vault that seals the server's own files.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, PlatformContext, TenantId, Timestamp};
use veritwin_keys::{Aad, DataClass, DekScope, KeyState, open_value, seal_value};

use crate::model::KeyView;
use crate::{App, Result};

/// Seals small files of the server, such as private keys of certificates, under platform keys.
#[derive(Debug, Clone)]
pub struct Vault(App);

impl Vault {
    /// Seals `plain`; `label` binds it to its place.
    pub fn seal(&self, label: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let dek = self.0.0.keys.dek(&DekScope::platform(DataClass::Blob))?;
        Ok(seal_value(&dek, Aad::new(None, DataClass::Blob, label.as_bytes()), plain)?)
    }

    /// Opens what [`Vault::seal`] made with the same label.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let id = veritwin_keys::sealed_dek_id(sealed)?;
        let dek = self.0.0.keys.dek_by_id(id)?;
        Ok(open_value(&dek, Aad::new(None, DataClass::Blob, label.as_bytes()), sealed)?)
    }
}

fn key_views(owner: &str, status: &veritwin_keys::KeyStatus) -> Vec<KeyView> {
    let state = match status.state {
        KeyState::Active => "active".to_owned(),
        KeyState::Revoked { since } => format!("revoked since {since}"),
        KeyState::Silent { since } => format!("key service silent since {since}"),
        KeyState::Gone { at } => format!("destroyed where it was held, known at {at}"),
        KeyState::Destroyed { at } => format!("destroyed at {at}"),
    };
    let view =
        |kind: &str, count: usize, oldest: Option<Timestamp>, newest: Option<Timestamp>| KeyView {
            owner: owner.to_owned(),
            kind: kind.to_owned(),
            version: status.kek_version,
            count: count as u64,
            oldest,
            newest,
            last_used: status.last_used_at,
            state: state.clone(),
        };
    let mut views = vec![view("kek", 1, status.kek_created_at, status.kek_created_at)];
    views.extend(status.classes.iter().map(|class| {
        let (oldest, newest) = (Some(class.oldest_at), Some(class.newest_at));
        view(class.class.as_str(), class.count, oldest, newest)
    }));
    views
}

impl App {
    /// The vault for the server's own files.
    pub fn vault(&self) -> Vault {
        Vault(self.clone())
    }

    /// Whether the platform takes readings and answers questions, and its jobs get on.
    pub fn readiness(&self) -> std::result::Result<(), String> {
        if self.0.log.is_poisoned() {
            return Err("the log cannot be written: mend the disk and restart".to_owned());
        }
        if self.0.log.full().is_some() {
            return Err("the log's disk is full, no reading is taken".to_owned());
        }
        if self.0.stop.is_cancelled() {
            return Err("stopping".to_owned());
        }
        if self.is_archive_down() {
            // Whoever asks is not signed in: what it names is for the log and for `doctor`.
            return Err(
                "the ledger archive does not start, sealing waits: the log says why".to_owned()
            );
        }
        self.job_problem().map_or(Ok(()), Err)
    }

    /// Whether the actor may see the running system.
    pub fn authorize_system_read(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::SystemRead, Kind::System)?;
        self.note(context, Action::SystemRead, &resource, "done");
        Ok(())
    }

    /// Sets the gauges that are read rather than counted.
    pub fn record_gauges(&self) {
        let engine = self.0.engine.status();
        metrics::gauge!("veritwin_telemetry_memory_bytes").set(engine.memory_bytes as f64);
        metrics::gauge!("veritwin_telemetry_series").set(engine.latest.series as f64);
        metrics::gauge!("veritwin_telemetry_latest_bytes").set(engine.latest.bytes as f64);
        metrics::gauge!("veritwin_telemetry_points").set(engine.section_points as f64);
        metrics::gauge!("veritwin_telemetry_bytes").set(engine.section_bytes as f64);
        self.record_log_gauges();
        self.record_ship_gauges();
        self.record_room_gauges();
        self.record_job_gauges();
        metrics::gauge!("veritwin_ledger_sealed_position").set(self.sealed_position() as f64);
        let up = self.clock().now().since(self.0.started_at);
        metrics::gauge!("veritwin_uptime_seconds").set(up.as_secs_f64());
    }

    /// Which key protects what of the tenant.
    #[boxed]
    pub async fn list_keys(&self, context: &OpContext) -> Result<Vec<KeyView>> {
        let resource = self.authorize_all(context, Action::KeyRead, Kind::Keys)?;
        let status = self.0.keys.status(Some(context.tenant))?;
        self.note(context, Action::KeyRead, &resource, "done");
        Ok(key_views("tenant", &status))
    }

    /// Which key protects what, of the platform and every tenant. For whoever holds the data
    /// directory.
    #[boxed]
    pub async fn all_keys(&self, context: &PlatformContext) -> Result<Vec<KeyView>> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let mut views = key_views("platform", &self.0.keys.status(None)?);
        for tenant in self.all_tenants(context).await? {
            let status = self.0.keys.status(Some(tenant.id))?;
            views.extend(key_views(&tenant.id.to_string(), &status));
        }
        Ok(views)
    }

    /// Everything of a new tenant that is not a row: its jobs learn of it.
    pub(crate) fn tenant_ready(&self, tenant: TenantId) {
        self.alert_sources_changed(tenant);
    }
}

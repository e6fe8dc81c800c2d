//! A tenant's log as the archive has it, and the key that signs its leaves. Both are made at the
//! first use; the archive's key is believed from then on.

use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{LogId, TenantId};
use veritwin_keys::{Aad, DataClass, SigningKey};
use veritwin_ledger::{CreateLog, LedgerError, LogSummary, origin_of};
use veritwin_metastore::Tenant;
use veritwin_outbound::archive::ArchiveError;

use crate::retention::RETENTION_DAYS_MAX;
use crate::{App, Error, Result};

const SUBMITTER_SETTING: &str = "ledger_submitter";
pub(crate) const VKEY_SETTING: &str = "ledger_vkey";

impl App {
    /// The key that signs a tenant's leaves, made at the first use.
    pub(crate) async fn submitter_key(&self, tenant: TenantId) -> Result<SigningKey> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let dek = self.ledger_dek(tenant)?;
        let aad = Aad::new(tenant, DataClass::Ledger, b"submitter");
        let tx = self.0.store.begin(&context).await?;
        if let Some(setting) = tx.setting(SUBMITTER_SETTING).await? {
            return Ok(SigningKey::from_sealed(&dek, aad, &setting.body)?);
        }
        let key = SigningKey::generate(self.0.rng.as_ref());
        tx.setting_put(SUBMITTER_SETTING, &key.seal(&dek, aad)?, Some(0)).await?;
        tx.commit().await?;
        Ok(key)
    }
}

/// A tenant's log as the archive has it.
pub(crate) struct OpenedLog {
    pub(crate) row: Tenant,
    pub(crate) key: SigningKey,
    pub(crate) origin: String,
    pub(crate) summary: LogSummary,
    pub(crate) vkey: String,
}

impl App {
    /// A tenant's log in the archive; made at the first use.
    pub(crate) async fn open_log(&self, tenant: TenantId) -> Result<OpenedLog> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.read(&context).await?;
        let row = tx.tenant().await?;
        drop(tx);
        let key = self.submitter_key(tenant).await?;
        let origin = origin_of(&self.0.config.ledger_host, row.log_id, self.0.config.simulated);
        let submitter = key.public_bytes();
        let create = CreateLog { log: row.log_id, origin: origin.clone(), submitter };
        let known = self.known_log_key(tenant).await?;
        let client = self.archive()?;
        // A log that was made once is not made again in an archive that has lost it.
        let summary = match &known {
            Some(_) => client.summary(row.log_id).await,
            None => client.create_log(&create).await,
        };
        let mut summary = summary.map_err(refused)?;
        if summary.origin != origin {
            let problem = format!("ledger archive: the log's origin is {}", summary.origin);
            return Err(Error::Conflict(problem));
        }
        let vkey = match known {
            Some(known) => known,
            None => self.learn_log_key(tenant, &summary.vkey).await?,
        };
        // Before anything is sealed in it that would be guarded for less.
        summary.period_min = self.keep_log(tenant, row.log_id, summary.period_min).await?;
        Ok(OpenedLog { row, key, origin, summary, vkey })
    }

    /// Has the archive keep the leaves of a log for the audit period of the tenant's plan, where
    /// that is longer than the time for which it keeps them. The answer is for how long it does, or
    /// has been asked to: one of an earlier version cannot be asked.
    pub(crate) async fn keep_log(
        &self,
        tenant: TenantId,
        log: LogId,
        kept: Duration,
    ) -> Result<Duration> {
        let wanted = self.audit_period(tenant);
        if wanted <= kept {
            return Ok(kept);
        }
        match self.archive()?.keep_for(log, wanted).await {
            Ok(summary) if summary.period_min >= wanted => Ok(summary.period_min),
            Ok(_) | Err(ArchiveError::Ledger(LedgerError::Invalid(_))) => {
                tracing::warn!(%log, "the archive keeps leaves for its own minimum period alone");
                Ok(wanted)
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// The audit period of a tenant's plan; zero where there is none, which ends nothing.
    pub(crate) fn audit_period(&self, tenant: TenantId) -> Duration {
        let plan = self.0.tree.read().get(tenant).and_then(|tenant| tenant.place.plan);
        let days = self.limits(plan).audit_days.unwrap_or(0).min(RETENTION_DAYS_MAX);
        Duration::from_secs(days * 86_400)
    }

    /// The archive's key for a log: learnt when the log was made, believed from then on.
    pub(crate) async fn known_log_key(&self, tenant: TenantId) -> Result<Option<String>> {
        let tx = self.0.store.read(&self.job_in(jobs::LEDGER, tenant)).await?;
        let Some(known) = tx.setting(VKEY_SETTING).await? else { return Ok(None) };
        let damaged = |_| Error::Internal("the stored ledger key is damaged".to_owned());
        String::from_utf8(known.body).map(Some).map_err(damaged)
    }

    async fn learn_log_key(&self, tenant: TenantId, shown: &str) -> Result<String> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        // The job and a page may ask for a new log at once.
        if tx.setting(VKEY_SETTING).await?.is_none() {
            tx.setting_put(VKEY_SETTING, shown.as_bytes(), Some(0)).await?;
            tx.commit().await?;
            return Ok(shown.to_owned());
        }
        drop(tx);
        let known = self.known_log_key(tenant).await?;
        known.ok_or_else(|| Error::Internal("the stored ledger key is gone".to_owned()))
    }
}

/// What the archive has against one log is that log's conflict.
pub(crate) fn refused(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Ledger(refusal) => Error::Conflict(format!("ledger archive: {refusal}")),
        other => other.into(),
    }
}

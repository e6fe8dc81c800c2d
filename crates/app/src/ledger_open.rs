//! A tenant's log as the archive has it, and the key that signs its leaves. Both are made at the
//! first use; the archive's key is believed from then on.

use veritwin_access::jobs;
use veritwin_domain::TenantId;
use veritwin_keys::{Aad, DataClass, SigningKey};
use veritwin_ledger::{CreateLog, LogSummary, origin_of};
use veritwin_metastore::Tenant;
use veritwin_outbound::archive::ArchiveError;

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
        let create =
            CreateLog { log: row.log_id, origin: origin.clone(), submitter: key.public_bytes() };
        let summary = self.archive()?.create_log(&create).await.map_err(refused)?;
        let vkey = self.log_key(tenant, &summary.vkey).await?;
        Ok(OpenedLog { row, key, origin, summary, vkey })
    }

    /// The archive's key for a log: learnt when the log was made, believed from then on.
    async fn log_key(&self, tenant: TenantId, shown: &str) -> Result<String> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.begin(&context).await?;
        if let Some(known) = tx.setting(VKEY_SETTING).await? {
            return String::from_utf8(known.body)
                .map_err(|_| Error::Internal("the stored ledger key is damaged".to_owned()));
        }
        tx.setting_put(VKEY_SETTING, shown.as_bytes(), Some(0)).await?;
        tx.commit().await?;
        Ok(shown.to_owned())
    }
}

/// What the archive has against one log is that log's conflict.
pub(crate) fn refused(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Ledger(refusal) => Error::Conflict(format!("ledger archive: {refusal}")),
        other => other.into(),
    }
}

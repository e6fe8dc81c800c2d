//! What is served of a log to whoever holds its random id, and under which key: the one that was
//! noted when the log was made. An archive that answers with another is a conflict.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use veritwin_access::jobs;
use veritwin_domain::{LogId, OpContext, PlatformContext, TenantId};
use veritwin_ledger::{LedgerError, LogSummary};
use veritwin_outbound::archive::ArchiveError;
use veritwin_verify::{TileKind, TilePath};

use crate::{App, Error, Result};

impl App {
    /// Where a log stands, of an archive that answers with the log's own key.
    pub(crate) async fn summary_of(&self, log: LogId) -> Result<LogSummary> {
        let summary = self.archive()?.summary(log).await.map_err(no_log_yet)?;
        let noted = match self.owner_of(log).await {
            Ok(tenant) => self.known_log_key(tenant).await,
            Err(error) => Err(error),
        };
        match noted {
            Ok(Some(noted)) if noted != summary.vkey => Err(Error::Conflict(format!(
                "ledger archive: log {log} has another key than the one it was made with"
            ))),
            Ok(_) => Ok(summary),
            // Of who withholds the keys, or is gone, nothing that was noted can be read.
            Err(error) if error.is_withheld() || matches!(error, Error::NotFound(_)) => Ok(summary),
            Err(error) => Err(error),
        }
    }

    fn public_log(&self) -> PlatformContext {
        self.job(jobs::LEDGER)
    }

    async fn owner_of(&self, log: LogId) -> Result<TenantId> {
        let tx = self.0.store.read_platform(&self.public_log()).await?;
        Ok(tx.tenant_of_log(log).await?)
    }

    /// Whose the log with this random id is.
    pub(crate) async fn tenant_of_log(&self, text: &str) -> Result<TenantId> {
        self.owner_of(text.parse().map_err(|_| Error::NotFound("log"))?).await
    }

    async fn known_log(&self, text: &str) -> Result<LogId> {
        self.tenant_of_log(text).await?;
        text.parse().map_err(|_| Error::NotFound("log"))
    }

    /// The signed checkpoint of a log, for whoever holds its random id.
    #[boxed]
    pub async fn public_checkpoint(&self, log: &str) -> Result<String> {
        let log = self.known_log(log).await?;
        Ok(self.summary_of(log).await?.checkpoint)
    }

    /// The verifier key of a log, for whoever holds its random id.
    #[boxed]
    pub async fn public_vkey(&self, log: &str) -> Result<String> {
        let tenant = self.tenant_of_log(log).await?;
        Ok(self.noted_key(tenant).await? + "\n")
    }

    /// A hash tile of a log, for whoever holds its random id.
    #[boxed]
    pub async fn public_tile(&self, log: &str, path: &str) -> Result<Bytes> {
        let log = self.known_log(log).await?;
        let tile: TilePath = path.parse().map_err(|_| Error::NotFound("tile"))?;
        if !matches!(tile.kind, TileKind::Hashes(_)) {
            return Err(Error::NotFound("tile"));
        }
        self.archive()?.read(log, &tile.to_string()).await?.ok_or(Error::NotFound("tile"))
    }

    /// The random id under which a tenant's log is served, and its verifier key.
    #[boxed]
    pub async fn ledger_vkey(&self, context: &OpContext) -> Result<(String, String)> {
        let (log, _) = self.log_of(context).await?;
        Ok((log.to_string(), self.noted_key(context.tenant).await?))
    }

    async fn noted_key(&self, tenant: TenantId) -> Result<String> {
        match self.known_log_key(tenant).await {
            Ok(Some(key)) => Ok(key),
            // Nothing is noted, or the organisation withholds its keys: what the archive says.
            Err(error) if !error.is_withheld() => Err(error),
            _ => {
                let tx = self.0.store.read_platform(&self.public_log()).await?;
                let log = tx.tenant(tenant).await?.log_id;
                drop(tx);
                Ok(self.summary_of(log).await?.vkey)
            }
        }
    }
}

/// A log that the archive does not know yet has nothing sealed.
fn no_log_yet(error: ArchiveError) -> Error {
    match error {
        ArchiveError::Ledger(LedgerError::UnknownLog(_)) => Error::NotFound("ledger log"),
        other => other.into(),
    }
}

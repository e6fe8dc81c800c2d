//! A log as the archive has it, with the checkpoints that were published of it: what exports are
//! made from, and what is handed out to whoever holds the log's random id.

use std::io::{Cursor, Read};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{LogId, OpContext};
use veritwin_ledger::{Source, SourceError};
use veritwin_metastore::PublishedCheckpoint;
use veritwin_outbound::archive::RemoteSource;
use veritwin_verify::{
    PUBLISHED_INDEX, PUBLISHED_MAX, published_checkpoint, published_roll, published_stamp,
};

use crate::{App, Error, Result};

/// A tenant's log with what was published of it; for blocking threads only.
pub(crate) struct PublishedSource {
    app: App,
    context: OpContext,
    log: RemoteSource,
    sizes: Vec<u64>,
    /// The one that was read last: its files are of one moment.
    last: Mutex<Option<Arc<PublishedCheckpoint>>>,
    runtime: tokio::runtime::Handle,
}

/// The index of published checkpoints.
fn index_of(sizes: &[u64]) -> String {
    sizes.iter().map(|size| format!("{size}\n")).collect()
}

/// The tree size that a file of a published checkpoint is named by.
fn size_in(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("published/")?;
    rest.split('.').next().and_then(veritwin_verify::tree_size)
}

impl App {
    /// A tenant's log with the checkpoints that were published of it up to now.
    pub(crate) async fn published_source(
        &self,
        context: &OpContext,
        log: LogId,
    ) -> Result<PublishedSource> {
        let remote = self.archive()?.source(log);
        let tx = self.0.store.read(context).await?;
        let sizes = tx.ledger_published_sizes(PUBLISHED_MAX as u64).await?;
        Ok(PublishedSource {
            app: self.clone(),
            context: context.clone(),
            log: remote,
            sizes,
            last: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    async fn published_row(
        &self,
        context: &OpContext,
        size: u64,
    ) -> Result<Option<PublishedCheckpoint>> {
        let tx = self.0.store.read(context).await?;
        Ok(tx.ledger_published(size).await?)
    }

    /// One of the files of a published checkpoint.
    async fn published_file(
        &self,
        row: &PublishedCheckpoint,
        name: &str,
    ) -> Result<Option<Vec<u8>>> {
        if name == published_checkpoint(row.size) {
            return Ok(Some(row.note.clone()));
        }
        if name == published_stamp(row.size) {
            return Ok(row.stamp.clone());
        }
        let Some(roll) = row.roll.as_ref().filter(|_| name == published_roll(row.size)) else {
            return Ok(None);
        };
        Ok(self.roll_proof(roll).await.unwrap_or_else(|error| {
            // The tenant's own log is whole without it.
            tracing::warn!(%error, "a place in the log of logs cannot be shown");
            None
        }))
    }

    /// What was published of a log, for whoever holds its random id: the index, and the files that
    /// it leads to.
    #[boxed]
    pub async fn public_published(&self, log: &str, name: &str) -> Result<Vec<u8>> {
        let absent = || Error::NotFound("part of a log");
        let context = self.job_in(jobs::LEDGER, self.tenant_of_log(log).await?);
        let name = format!("published/{name}");
        if name == PUBLISHED_INDEX {
            let tx = self.0.store.read(&context).await?;
            let sizes = tx.ledger_published_sizes(PUBLISHED_MAX as u64).await?;
            let index = Some(index_of(&sizes)).filter(|index| !index.is_empty());
            return index.map(String::into_bytes).ok_or_else(absent);
        }
        let size = size_in(&name).ok_or_else(absent)?;
        let row = self.published_row(&context, size).await?.ok_or_else(absent)?;
        self.published_file(&row, &name).await?.ok_or_else(absent)
    }
}

impl PublishedSource {
    async fn file(&self, size: u64, name: &str) -> Result<Option<Vec<u8>>> {
        let last = self.last.lock().clone().filter(|last| last.size == size);
        let row = match last {
            Some(row) => row,
            None => {
                let Some(row) = self.app.published_row(&self.context, size).await? else {
                    return Ok(None);
                };
                let row = Arc::new(row);
                *self.last.lock() = Some(Arc::clone(&row));
                row
            }
        };
        self.app.published_file(&row, name).await
    }
}

impl Source for PublishedSource {
    fn open(&self, name: &str) -> std::result::Result<Option<Box<dyn Read + '_>>, SourceError> {
        let boxed = |bytes: Vec<u8>| Box::new(Cursor::new(bytes)) as Box<dyn Read>;
        if name == PUBLISHED_INDEX {
            let lines = index_of(&self.sizes);
            return Ok((!lines.is_empty()).then(|| boxed(lines.into_bytes())));
        }
        if !name.starts_with("published/") {
            return self.log.open(name);
        }
        let Some(size) = size_in(name).filter(|size| self.sizes.contains(size)) else {
            return Ok(None);
        };
        let file = self.runtime.block_on(self.file(size, name)).map_err(|error| SourceError {
            name: name.to_owned(),
            problem: error.to_string(),
            is_damaged: false,
        })?;
        Ok(file.map(boxed))
    }
}

//! A log as the archive has it, with the checkpoints that were published of it: what exports and
//! evidence bundles are made from.

use std::io::{Cursor, Read};

use veritwin_domain::{LogId, OpContext};
use veritwin_ledger::{Source, SourceError};
use veritwin_metastore::PublishedCheckpoint;
use veritwin_outbound::archive::RemoteSource;
use veritwin_verify::{
    PUBLISHED_INDEX, PUBLISHED_MAX, published_checkpoint, published_roll, published_stamp,
};

use crate::{App, Result};

/// A tenant's log with what was published of it; for blocking threads only.
pub(crate) struct PublishedSource {
    app: App,
    context: OpContext,
    log: RemoteSource,
    sizes: Vec<u64>,
    runtime: tokio::runtime::Handle,
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
        let sizes = tx.ledger_published_sizes(0, PUBLISHED_MAX as u64).await?;
        Ok(PublishedSource {
            app: self.clone(),
            context: context.clone(),
            log: remote,
            sizes,
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
        context: &OpContext,
        size: u64,
        name: &str,
    ) -> Result<Option<Vec<u8>>> {
        let Some(row) = self.published_row(context, size).await? else { return Ok(None) };
        if name == published_checkpoint(size) {
            return Ok(Some(row.note));
        }
        if name == published_stamp(size) {
            return Ok(row.stamp);
        }
        match row.roll.filter(|_| name == published_roll(size)) {
            Some(roll) => self.roll_proof(&roll).await,
            None => Ok(None),
        }
    }
}

impl Source for PublishedSource {
    fn open(&self, name: &str) -> std::result::Result<Option<Box<dyn Read + '_>>, SourceError> {
        let boxed = |bytes: Vec<u8>| Box::new(Cursor::new(bytes)) as Box<dyn Read>;
        if name == PUBLISHED_INDEX {
            let lines: String = self.sizes.iter().map(|size| format!("{size}\n")).collect();
            return Ok((!lines.is_empty()).then(|| boxed(lines.into_bytes())));
        }
        let Some(rest) = name.strip_prefix("published/") else { return self.log.open(name) };
        let size = rest.split('.').next().and_then(veritwin_verify::tree_size);
        let Some(size) = size.filter(|size| self.sizes.contains(size)) else { return Ok(None) };
        let file = self.app.published_file(&self.context, size, name);
        let file = self.runtime.block_on(file).map_err(|error| SourceError {
            name: name.to_owned(),
            problem: error.to_string(),
            is_damaged: false,
        })?;
        Ok(file.map(boxed))
    }
}

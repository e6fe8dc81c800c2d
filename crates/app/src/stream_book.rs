//! What is declared of a tenant's streams, in memory and as it is stored. A change drops the
//! tenant's copy and the next use reads it again.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use veritwin_domain::{DeviceId, OpContext, StreamRuleId};
use veritwin_governance::streams::{
    DeviceStatements, GroupRule, JudgedDevice, StreamRules, Verdict,
};
use veritwin_metastore::{Device, StreamStatements, TenantTx, every_row};

use crate::kept::Kept;
use crate::{App, Error, Result};

/// What is declared of a tenant's streams.
#[derive(Debug, Default)]
pub(crate) struct StreamBook {
    said: HashMap<DeviceId, DeviceStatements>,
    rules: StreamRules,
}

/// The books of recently used tenants.
pub(crate) type StreamBooks = Kept<StreamBook>;

impl StreamBook {
    /// What is said of a device and its streams.
    pub(crate) fn said(&self, id: DeviceId) -> Option<&DeviceStatements> {
        self.said.get(&id)
    }

    /// The rules for groups of streams.
    pub(crate) const fn rules(&self) -> &StreamRules {
        &self.rules
    }

    /// What counts for a stream of a device as it stands, or as it is about to stand.
    pub(crate) fn verdict<'a>(&'a self, device: &'a Device, key: Option<&str>) -> Verdict<'a> {
        self.rules.judge(judged(device, self.said(device.id)), key)
    }
}

fn judged<'a>(device: &'a Device, said: Option<&'a DeviceStatements>) -> JudgedDevice<'a> {
    JudgedDevice { kind: &device.kind, declaration: device.declaration, said }
}

/// Reads what was stored.
pub(crate) fn stored<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let damaged = |_| Error::Internal("a stored declaration is damaged".to_owned());
    serde_json::from_slice(body).map_err(damaged)
}

/// As it is stored.
pub(crate) fn to_store(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}

/// The tenant's rules.
pub(crate) async fn rules_in(tx: &TenantTx) -> Result<Vec<(StreamRuleId, GroupRule)>> {
    let rows = tx.stream_rules().await?;
    rows.iter().map(|row| Ok((row.id, stored(&row.body)?))).collect()
}

/// What is said of a device and its streams.
pub(crate) async fn said_in(tx: &TenantTx, device: DeviceId) -> Result<DeviceStatements> {
    let row = tx.stream_statements_of(device).await?;
    row.map_or_else(|| Ok(DeviceStatements::default()), |row| stored(&row.body))
}

/// Writes what is said of a device and its streams.
pub(crate) async fn say_in(tx: &TenantTx, device: DeviceId, said: &DeviceStatements) -> Result<()> {
    if said.is_empty() {
        return Ok(tx.stream_statements_delete(device).await?);
    }
    Ok(tx.stream_statements_put(&StreamStatements { device, body: to_store(said)? }).await?)
}

/// Whether a stream is open to everybody who reads telemetry, as of this transaction.
pub(crate) async fn is_open_now(tx: &TenantTx, device: &Device, key: Option<&str>) -> Result<bool> {
    let said = said_in(tx, device.id).await?;
    let rules = StreamRules::new(rules_in(tx).await?);
    Ok(rules.judge(judged(device, Some(&said)), key).is_open())
}

/// A device's own declaration was changed with the device: whoever declared it before is not who
/// says it now. Who changed it stands in the record of the change.
pub(crate) async fn note_declared(tx: &TenantTx, stood: &Device, device: &Device) -> Result<()> {
    if stood.declaration == device.declaration {
        return Ok(());
    }
    let mut said = said_in(tx, device.id).await?;
    if said.whole.take().is_some() {
        say_in(tx, device.id, &said).await?;
    }
    Ok(())
}

impl App {
    /// What is declared of the tenant's streams.
    pub(crate) async fn stream_book(&self, context: &OpContext) -> Result<Arc<StreamBook>> {
        let ticket = match self.0.stream_books.get(context.tenant) {
            Ok(book) => return Ok(book),
            Err(ticket) => ticket,
        };
        let tx = &self.0.store.read(context).await?;
        let mut book =
            StreamBook { rules: StreamRules::new(rules_in(tx).await?), ..StreamBook::default() };
        for row in every_row(|page| async move { tx.stream_statements(&page).await }).await? {
            book.said.insert(row.device, stored(&row.body)?);
        }
        let book = Arc::new(book);
        self.0.stream_books.put(ticket, &book);
        Ok(book)
    }
}

//! What is declared of a tenant's streams, in memory and as it is stored. A change drops the
//! tenant's copy and the next use reads it again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use veritwin_domain::{Declaration, DeviceId, OpContext, StreamRuleId};
use veritwin_governance::streams::{
    DeviceStatements, GroupRule, JudgedDevice, StreamRules, Verdict,
};
use veritwin_metastore::{Device, StreamStatements, TenantTx, every_row};

use crate::kept::Kept;
use crate::{App, Error, Result};

/// Most streams of a tenant of which it is kept whether they are open; past that, it is worked out
/// again from the first.
const WORKED_OUT_MAX: usize = 65_536;

/// What is declared of a tenant's streams.
#[derive(Debug, Default)]
pub(crate) struct StreamBook {
    said: HashMap<DeviceId, DeviceStatements>,
    rules: StreamRules,
    statements: usize,
    worked_out: RwLock<WorkedOut>,
}

/// Which streams are open, as far as it was worked out. It goes with its book, and what is of a
/// device goes when the device changes.
#[derive(Debug, Default)]
struct WorkedOut {
    count: usize,
    devices: HashMap<DeviceId, OpenStreams>,
}

#[derive(Debug)]
struct OpenStreams {
    kind: String,
    declaration: Declaration,
    is_open: HashMap<Box<str>, bool>,
}

impl OpenStreams {
    fn is_of(&self, device: &Device) -> bool {
        self.declaration == device.declaration && self.kind == device.kind
    }
}

impl WorkedOut {
    fn get(&self, device: &Device, key: &str) -> Option<bool> {
        let known = self.devices.get(&device.id).filter(|known| known.is_of(device))?;
        known.is_open.get(key).copied()
    }

    fn put(&mut self, device: &Device, key: &str, is_open: bool) {
        if self.count >= WORKED_OUT_MAX {
            *self = Self::default();
        }
        if self.devices.get(&device.id).is_none_or(|known| !known.is_of(device)) {
            let (kind, declaration) = (device.kind.clone(), device.declaration);
            let fresh = OpenStreams { kind, declaration, is_open: HashMap::new() };
            let gone = self.devices.insert(device.id, fresh);
            self.count -= gone.map_or(0, |gone| gone.is_open.len());
        }
        if let Some(known) = self.devices.get_mut(&device.id) {
            self.count += usize::from(known.is_open.insert(key.into(), is_open).is_none());
        }
    }
}

/// The books of recently used tenants.
pub(crate) type StreamBooks = Kept<StreamBook>;

impl StreamBook {
    /// What is declared of one device as of a transaction, and the tenant's rules.
    pub(crate) async fn of_device(tx: &TenantTx, device: DeviceId) -> Result<Self> {
        let said = HashMap::from([(device, said_in(tx, device).await?)]);
        Ok(Self { said, rules: StreamRules::new(rules_in(tx).await?), ..Self::default() })
    }

    /// What is said of a device and its streams.
    pub(crate) fn said(&self, id: DeviceId) -> Option<&DeviceStatements> {
        self.said.get(&id)
    }

    /// How many statements about devices and their streams there are.
    pub(crate) const fn statements(&self) -> usize {
        self.statements
    }

    /// The rules for groups of streams.
    pub(crate) const fn rules(&self) -> &StreamRules {
        &self.rules
    }

    /// What counts for a stream of a device as it stands, or as it is about to stand.
    pub(crate) fn verdict<'a>(&'a self, device: &'a Device, key: Option<&str>) -> Verdict<'a> {
        self.rules.judge(judged(device, self.said(device.id)), key)
    }

    /// Whether a stream of a device is open to everybody who reads telemetry: asked for each
    /// reading that somebody follows, so what was found is kept.
    pub(crate) fn is_open(&self, device: &Device, key: Option<&str>) -> bool {
        let Some(key) = key else { return self.verdict(device, None).is_open() };
        let known = self.worked_out.read().get(device, key);
        known.unwrap_or_else(|| {
            let is_open = self.verdict(device, Some(key)).is_open();
            self.worked_out.write().put(device, key, is_open);
            is_open
        })
    }
}

/// A device and what is said of it, as rules judge it.
pub(crate) fn judged<'a>(
    device: &'a Device,
    said: Option<&'a DeviceStatements>,
) -> JudgedDevice<'a> {
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
    Ok(StreamBook::of_device(tx, device.id).await?.verdict(device, key).is_open())
}

/// A device was changed. Of its own declaration, whoever declared it before is not who says it now:
/// who changed it stands in the record of the change.
pub(crate) async fn note_declared(tx: &TenantTx, stood: &Device, device: &Device) -> Result<()> {
    if stood.declaration != device.declaration {
        let mut said = said_in(tx, device.id).await?;
        if said.whole.take().is_some() {
            say_in(tx, device.id, &said).await?;
        }
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
            let said: DeviceStatements = stored(&row.body)?;
            book.statements += 1 + said.streams.len();
            book.said.insert(row.device, said);
        }
        let book = Arc::new(book);
        self.0.stream_books.put(ticket, &book);
        Ok(book)
    }
}

#[cfg(test)]
impl StreamBook {
    /// One with so many statements, of which these are of devices.
    pub(crate) fn counting(statements: usize, said: HashMap<DeviceId, DeviceStatements>) -> Self {
        Self { said, statements, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use veritwin_domain::Timestamp;

    use super::*;

    fn device(number: u8, kind: &str, declaration: Declaration) -> Device {
        Device {
            id: DeviceId::from_bytes([number; 16]),
            name: "a device".to_owned(),
            kind: kind.to_owned(),
            units: BTreeMap::new(),
            twin: None,
            placement: None,
            declaration,
            version: 1,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            last_seen_at: None,
        }
    }

    #[test]
    fn what_was_worked_out_goes_with_a_change_of_the_device() {
        let book = StreamBook::default();
        let (open, unsaid) = (Declaration::NonPersonal, Declaration::Undeclared);
        for (number, kind, declaration, expect) in [
            (1, "pump", open, true),
            (1, "pump", open, true),
            (1, "pump", unsaid, false),
            (2, "pump", open, true),
            (1, "pump", open, true),
            (1, "fan", Declaration::Personal, false),
            (2, "pump", open, true),
        ] {
            let device = device(number, kind, declaration);
            for key in [Some("flow"), Some("heat"), None] {
                let found = book.is_open(&device, key);
                assert_eq!(found, expect, "{number} {kind} {declaration:?} {key:?}");
            }
        }
        assert_eq!(book.worked_out.read().count, 4);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let book = StreamBook::default();
        let device = device(1, "pump", Declaration::NonPersonal);
        for number in 0..=WORKED_OUT_MAX {
            assert!(book.is_open(&device, Some(&number.to_string())));
        }
        let worked_out = book.worked_out.read();
        let kept: usize = worked_out.devices.values().map(|one| one.is_open.len()).sum();
        assert_eq!((worked_out.count, kept), (1, 1));
    }
}

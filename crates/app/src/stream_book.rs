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
use crate::limits::{StreamLimit, limits_in};
use crate::{App, Error, Result};

/// Most memory of a tenant in which it is kept whether streams are open; past that, it is worked
/// out again from the first. Named `worked_out_bytes_max` in the documents.
const WORKED_OUT_BYTES_MAX: usize = 256 << 10;
/// What one type or key weighs besides its name.
const ENTRY_BYTES: usize = 128;

/// What is declared of a tenant's streams.
#[derive(Debug, Default)]
pub(crate) struct StreamBook {
    said: HashMap<DeviceId, DeviceStatements>,
    rules: StreamRules,
    /// What is not done any more with some people's streams.
    limits: Vec<StreamLimit>,
    statements: usize,
    worked_out: RwLock<WorkedOut>,
}

/// Which streams are open of which nothing is said by themselves or by their devices, as far as it
/// was worked out: by type, then by key. It goes with its book.
#[derive(Debug, Default)]
struct WorkedOut {
    bytes: usize,
    kinds: HashMap<Box<str>, HashMap<Box<str>, bool>>,
}

impl WorkedOut {
    fn get(&self, kind: &str, key: &str) -> Option<bool> {
        self.kinds.get(kind)?.get(key).copied()
    }

    fn put(&mut self, kind: &str, key: &str, is_open: bool) {
        let both = kind.len() + key.len() + 2 * ENTRY_BYTES;
        if both > WORKED_OUT_BYTES_MAX {
            return;
        }
        if self.bytes + both > WORKED_OUT_BYTES_MAX {
            *self = Self::default();
        }
        if !self.kinds.contains_key(kind) {
            self.bytes += kind.len() + ENTRY_BYTES;
        }
        let of_kind = self.kinds.entry(kind.into()).or_default();
        if of_kind.insert(key.into(), is_open).is_none() {
            self.bytes += key.len() + ENTRY_BYTES;
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

    /// What is not done any more with some people's streams.
    pub(crate) fn limits(&self) -> &[StreamLimit] {
        &self.limits
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
    /// reading that somebody follows, so what rules make of it is kept.
    pub(crate) fn is_open(&self, device: &Device, key: Option<&str>) -> bool {
        let judged = || self.verdict(device, key).is_open();
        let Some(key) = key else { return judged() };
        let is_said = self.said(device.id).is_some_and(|said| said.streams.contains_key(key));
        if is_said || device.declaration != Declaration::Undeclared {
            return judged();
        }
        let known = self.worked_out.read().get(&device.kind, key);
        known.unwrap_or_else(|| {
            let is_open = judged();
            self.worked_out.write().put(&device.kind, key, is_open);
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
        let (rules, limits) = (StreamRules::new(rules_in(tx).await?), limits_in(tx).await?);
        let mut book = StreamBook { rules, limits, ..StreamBook::default() };
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
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use veritwin_domain::Timestamp;
    use veritwin_governance::streams::Statement;

    use super::*;

    fn said_at(is_personal: bool) -> Statement {
        Statement { is_personal, subject: None, by: "user:1".to_owned(), at_us: 1 }
    }

    pub(crate) fn device(number: u8, kind: &str, declaration: Declaration) -> Device {
        Device {
            id: DeviceId::from_bytes([number; 16]),
            name: format!("device {number}"),
            kind: kind.to_owned(),
            units: BTreeMap::new(),
            twin: None,
            placement: None,
            declaration,
            version: 1,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            is_gateway: false,
            is_sparkplug_host: false,
            gateway: None,
            last_seen_at: None,
        }
    }

    #[test]
    fn what_was_worked_out_is_what_is_judged() {
        let rule = |kind: &str| GroupRule {
            device_type: Some(kind.to_owned()),
            key: None,
            statement: said_at(false),
        };
        let id = StreamRuleId::from_bytes([1; 16]);
        let mut said = DeviceStatements::default();
        said.streams.insert("flow".to_owned(), said_at(true));
        let book = StreamBook {
            said: HashMap::from([(DeviceId::from_bytes([2; 16]), said)]),
            rules: StreamRules::new([(id, rule("pump"))]),
            ..StreamBook::default()
        };
        let (open, unsaid) = (Declaration::NonPersonal, Declaration::Undeclared);
        for _ in 0..2 {
            for (number, kind, declaration, expect) in [
                (1, "pump", unsaid, [true, true]),
                (1, "fan", unsaid, [false, false]),
                (1, "fan", open, [true, true]),
                (1, "pump", Declaration::Personal, [false, false]),
                (2, "pump", unsaid, [false, true]),
                (2, "pump", open, [false, true]),
            ] {
                let device = device(number, kind, declaration);
                let found = ["flow", "heat"].map(|key| book.is_open(&device, Some(key)));
                assert_eq!(found, expect, "{number} {kind} {declaration:?}");
                assert_eq!(book.is_open(&device, None), expect[1], "{number} {kind}");
            }
        }
        let worked_out = book.worked_out.read();
        let kept: usize = worked_out.kinds.values().map(HashMap::len).sum();
        assert_eq!(kept, 4, "two keys of two types");
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let mut worked_out = WorkedOut::default();
        for number in 0..10_000 {
            worked_out.put(&format!("type {}", number / 100), &number.to_string(), true);
            let names = |all: &HashMap<Box<str>, bool>| -> usize {
                all.keys().map(|key| key.len() + ENTRY_BYTES).sum()
            };
            let of_kinds = worked_out.kinds.iter();
            let bytes: usize =
                of_kinds.map(|(kind, all)| kind.len() + ENTRY_BYTES + names(all)).sum();
            assert_eq!(worked_out.bytes, bytes, "{number}");
            assert!(bytes <= WORKED_OUT_BYTES_MAX, "{number} {bytes}");
        }
        let long = "k".repeat(WORKED_OUT_BYTES_MAX);
        worked_out.put(&long, "key", true);
        assert_eq!(worked_out.get(&long, "key"), None);
    }
}

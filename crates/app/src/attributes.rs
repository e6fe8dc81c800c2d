//! Attributes of devices in three scopes: client (sent by the device), shared and server (written
//! by the application). Client attributes are in the log before they are here, and found to be
//! within their bounds before they are in the log.

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Resource};
use veritwin_domain::{
    Actor, ActorKind, CredentialId, DeviceId, Key, LimitExceeded, OpContext, TenantId, Value,
};
use veritwin_metastore::{AttributeScope, SEALED_BYTES_MAX, TenantTx};

use crate::change::Change;
use crate::model::{AttributesChange, AttributesView};
use crate::{App, Error, Result};

/// Most attributes of one scope.
const ATTRIBUTES_MAX: usize = 1024;
/// Longest stored form of one scope, in bytes: it is sealed as one value.
const ATTRIBUTES_BYTES_MAX: usize = SEALED_BYTES_MAX;
/// Longest text or JSON value, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

type Scope = BTreeMap<String, Value>;

/// The stored form keeps the kind of each value: `["i", 7]`.
fn tagged(value: &Value) -> serde_json::Value {
    match value {
        Value::Double(number) => serde_json::json!(["d", number]),
        Value::Integer(number) => serde_json::json!(["i", number]),
        Value::Boolean(flag) => serde_json::json!(["b", flag]),
        Value::Text(text) => serde_json::json!(["t", &**text]),
        Value::Json(text) => serde_json::json!(["j", &**text]),
    }
}

fn bytes_of(stored: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(stored).map_err(|error| Error::Internal(error.to_string()))
}

fn encode(scope: &Scope) -> Result<Vec<u8>> {
    let tagged: BTreeMap<&str, serde_json::Value> =
        scope.iter().map(|(key, value)| (key.as_str(), tagged(value))).collect();
    bytes_of(&tagged)
}

/// What an attribute takes of its scope's stored form, the comma or brace after it included.
fn stored_bytes(key: &str, value: &Value) -> Result<usize> {
    Ok(bytes_of(&key)?.len() + 1 + bytes_of(&tagged(value))?.len() + 1)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Scope> {
    let damaged = || Error::Internal("stored attributes are damaged".to_owned());
    let tagged: BTreeMap<String, (String, serde_json::Value)> =
        serde_json::from_slice(bytes).map_err(|_| damaged())?;
    let value = |kind: &str, json: &serde_json::Value| match kind {
        "d" => json.as_f64().map(Value::Double),
        "i" => json.as_i64().map(Value::Integer),
        "b" => json.as_bool().map(Value::Boolean),
        "t" => json.as_str().map(|text| Value::Text(text.into())),
        "j" => json.as_str().map(|text| Value::Json(text.into())),
        _ => None,
    };
    tagged
        .into_iter()
        .map(|(key, (kind, json))| Ok((key, value(&kind, &json).ok_or_else(damaged)?)))
        .collect()
}

async fn read_draft(tx: &TenantTx, device: DeviceId, wanted: AttributeScope) -> Result<Draft> {
    let stored = tx.attributes(device).await?.into_iter().find(|stored| stored.scope == wanted);
    let Some(stored) = stored else { return Ok(Draft::default()) };
    let scope = decode(&stored.body)?;
    let bytes = if scope.is_empty() { BRACE_BYTES } else { stored.body.len() };
    Ok(Draft { scope, bytes, changed: false })
}

async fn read_scope(tx: &TenantTx, device: DeviceId, wanted: AttributeScope) -> Result<Scope> {
    Ok(read_draft(tx, device, wanted).await?.scope)
}

/// The first byte of a stored scope; the last one counts with the last attribute.
const BRACE_BYTES: usize = 1;

pub(crate) type Changes = BTreeMap<String, Option<Value>>;

/// A scope with the changes that were found to be within its bounds.
struct Draft {
    scope: Scope,
    /// Length of the stored form, unless the scope is empty.
    bytes: usize,
    changed: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self { scope: Scope::new(), bytes: BRACE_BYTES, changed: false }
    }
}

impl Draft {
    /// Takes all changes or, over a bound of the scope, none.
    fn take(&mut self, changes: Changes) -> Result<()> {
        let (mut count, mut bytes) = (self.scope.len(), self.bytes);
        for (key, value) in &changes {
            if let Some(old) = self.scope.get(key) {
                count -= 1;
                bytes = bytes.saturating_sub(stored_bytes(key, old)?);
            }
            if let Some(new) = value {
                count += 1;
                bytes = bytes.saturating_add(stored_bytes(key, new)?);
            }
        }
        let bounds = [
            ("attributes_max", ATTRIBUTES_MAX, count),
            ("attributes_bytes_max", ATTRIBUTES_BYTES_MAX, bytes),
        ];
        if let Some((name, max, actual)) = bounds.into_iter().find(|(_, max, is)| is > max) {
            return Err(LimitExceeded { name, max, actual }.into());
        }
        for (key, value) in changes {
            match value {
                Some(value) => self.scope.insert(key, value),
                None => self.scope.remove(&key),
            };
            self.changed = true;
        }
        self.bytes = bytes;
        Ok(())
    }

    async fn store(&self, tx: &TenantTx, device: DeviceId, scope: AttributeScope) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        Ok(tx.attributes_put(device, scope, &encode(&self.scope)?, None).await?)
    }
}

/// What devices say of themselves, decided and not stored yet. Whoever has it holds the
/// [turn](crate::attribute_lines) of these devices, so that it stays right.
#[derive(Default)]
pub(crate) struct ClientDrafts(BTreeMap<DeviceId, Draft>);

impl ClientDrafts {
    /// Takes one message, the later one wins; the answer is the bound that it would pass.
    pub(crate) fn take(
        &mut self,
        device: DeviceId,
        entries: &[(Key, Value)],
    ) -> Result<Option<LimitExceeded>> {
        let draft = self.0.entry(device).or_default();
        let changes =
            entries.iter().map(|(key, value)| (key.to_string(), Some(value.clone()))).collect();
        match draft.take(changes) {
            Ok(()) => Ok(None),
            Err(Error::Limit(limit)) => Ok(Some(limit)),
            Err(error) => Err(error),
        }
    }

    /// How many bytes of each device are read and written again.
    pub(crate) fn rewritten(&self) -> impl Iterator<Item = (DeviceId, usize)> {
        self.0.iter().map(|(device, draft)| (*device, draft.bytes))
    }
}

fn check(changes: &Changes) -> Result<()> {
    for (key, value) in changes {
        Key::new(key).map_err(|error| Error::invalid_at(key.clone(), error.to_string()))?;
        if let Some(Value::Text(text) | Value::Json(text)) = value
            && text.len() > VALUE_BYTES_MAX
        {
            let limit =
                LimitExceeded { name: "value_bytes_max", max: VALUE_BYTES_MAX, actual: text.len() };
            return Err(limit.into());
        }
    }
    Ok(())
}

/// Changes attributes of a device.
pub(crate) async fn merge(
    tx: &TenantTx,
    device: DeviceId,
    scope: AttributeScope,
    changes: Changes,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut draft = read_draft(tx, device, scope).await?;
    draft.take(changes)?;
    draft.store(tx, device, scope).await
}

/// The changed attributes of the two scopes that the application writes, as they are recorded.
fn recorded(view: &AttributesView, changed: &[String]) -> serde_json::Value {
    let plain = |value: &Value| match value {
        Value::Double(number) => serde_json::json!(number),
        Value::Integer(number) => serde_json::json!(number),
        Value::Boolean(flag) => serde_json::json!(flag),
        Value::Text(text) | Value::Json(text) => serde_json::json!(&**text),
    };
    let scope = |scope: &Scope| -> serde_json::Map<String, serde_json::Value> {
        let wanted = scope.iter().filter(|(key, _)| changed.contains(*key));
        wanted.map(|(key, value)| (key.clone(), plain(value))).collect()
    };
    serde_json::json!({"shared": scope(&view.shared), "server": scope(&view.server)})
}

async fn view(tx: &TenantTx, device: DeviceId) -> Result<AttributesView> {
    Ok(AttributesView {
        client: read_scope(tx, device, AttributeScope::Client).await?,
        shared: read_scope(tx, device, AttributeScope::Shared).await?,
        server: read_scope(tx, device, AttributeScope::Server).await?,
    })
}

impl App {
    /// Reads a device's attributes.
    #[boxed]
    pub async fn attributes(&self, context: &OpContext, id: DeviceId) -> Result<AttributesView> {
        let resource = self.authorize_device(context, Action::AttributeRead, id).await?;
        let sight = self.sight(context).await?;
        let tx = self.0.store.read(context).await?;
        let device = tx.device(id).await?;
        if !sight.shows(&device, None) {
            return Err(Error::Forbidden(Action::TelemetryReadPersonal.to_string()));
        }
        self.note(context, Action::AttributeRead, &resource, "done");
        view(&tx, id).await
    }

    /// Writes shared and server attributes.
    #[boxed]
    pub async fn change_attributes(
        &self,
        context: &OpContext,
        id: DeviceId,
        change: AttributesChange,
    ) -> Result<AttributesView> {
        let resource = self.authorize_device(context, Action::AttributeWrite, id).await?;
        check(&change.shared)?;
        check(&change.server)?;
        let sight = self.sight(context).await?;
        let tx = self.0.store.begin(context).await?;
        let shows_all = sight.shows(&tx.device(id).await?, None);
        let keys = |of: &BTreeMap<String, _>| of.keys().cloned().collect::<BTreeSet<String>>();
        let (shared, server) = (keys(&change.shared), keys(&change.server));
        let changed: Vec<String> = shared.union(&server).cloned().collect();
        let before = view(&tx, id).await?;
        merge(&tx, id, AttributeScope::Shared, change.shared).await?;
        merge(&tx, id, AttributeScope::Server, change.server).await?;
        let mut after = view(&tx, id).await?;
        let what = Change::from_to(recorded(&before, &changed), recorded(&after, &changed));
        self.record_change(&tx, context, Action::AttributeWrite, &resource, what).await?;
        tx.commit().await?;
        self.route_attributes_changed(context.tenant, id);
        if !shows_all {
            // Who may not read them is told what they wrote.
            after.client.clear();
            after.shared.retain(|key, _| shared.contains(key));
            after.server.retain(|key, _| server.contains(key));
        }
        Ok(after)
    }

    /// A device's own view of its attributes.
    #[boxed]
    pub async fn device_attributes(
        &self,
        tenant: TenantId,
        device: DeviceId,
        credential: CredentialId,
    ) -> Result<AttributesView> {
        let context = self.device_context(tenant, device, credential);
        self.authorize(&context, Action::AttributeReport, &Resource::device(tenant, device))?;
        let tx = self.0.store.read(&context).await?;
        view(&tx, device).await
    }

    /// The client attributes of devices as they are now.
    pub(crate) async fn client_drafts(
        &self,
        tenant: TenantId,
        devices: impl IntoIterator<Item = DeviceId>,
    ) -> Result<ClientDrafts> {
        let context = self.job_in(veritwin_access::jobs::INGEST, tenant);
        let tx = self.0.store.read(&context).await?;
        let mut drafts = BTreeMap::new();
        for device in devices {
            drafts.insert(device, read_draft(&tx, device, AttributeScope::Client).await?);
        }
        Ok(ClientDrafts(drafts))
    }

    /// Stores client attributes that are durable in the log already, in one transaction.
    pub(crate) async fn store_client_attributes(
        &self,
        tenant: TenantId,
        drafts: &ClientDrafts,
    ) -> Result<()> {
        if drafts.0.values().all(|draft| !draft.changed) {
            return Ok(());
        }
        let context = self.job_in(veritwin_access::jobs::INGEST, tenant);
        let tx = self.0.store.begin(&context).await?;
        for (device, draft) in &drafts.0 {
            draft.store(&tx, *device, AttributeScope::Client).await?;
        }
        tx.commit().await?;
        for device in drafts.0.keys() {
            self.route_attributes_changed(tenant, *device);
        }
        Ok(())
    }

    pub(crate) fn device_context(
        &self,
        tenant: TenantId,
        device: DeviceId,
        credential: CredentialId,
    ) -> OpContext {
        let mut context = self.job_in(veritwin_access::jobs::INGEST, tenant);
        context.actor = Actor::without_roles(ActorKind::Device { device, credential });
        context.purpose = veritwin_domain::Purpose::IngestRouting;
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, Option<Value>)]) -> Changes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    fn text(bytes: usize) -> Option<Value> {
        Some(Value::Text("y".repeat(bytes).into()))
    }

    #[test]
    fn the_size_of_a_draft_is_that_of_its_stored_form() {
        let mut draft = Draft::default();
        let awkward = Some(Value::Text("\u{1}\"\\ ÄÖ".into()));
        let steps = [
            changes(&[("a", Some(Value::Integer(-7))), ("ä\"", Some(Value::Double(0.1)))]),
            changes(&[("a", awkward), ("b", Some(Value::Boolean(true)))]),
            changes(&[("absent", None), ("a", None), ("c", Some(Value::Json("[1]".into())))]),
            changes(&[("b", text(3)), ("ä\"", None), ("c", None)]),
        ];
        for step in steps {
            draft.take(step).expect("within the bounds");
            assert_eq!(draft.bytes, encode(&draft.scope).expect("a stored form").len());
        }
        draft.take(changes(&[("b", None)])).expect("within the bounds");
        assert_eq!((draft.scope.len(), draft.bytes), (0, BRACE_BYTES));
    }

    #[test]
    fn a_change_over_a_bound_changes_nothing() {
        let mut wide = Draft::default();
        let many: Vec<String> = (0..ATTRIBUTES_MAX).map(|number| format!("k{number}")).collect();
        let many = many.iter().map(|key| (key.as_str(), Some(Value::Integer(1))));
        wide.take(changes(&many.collect::<Vec<_>>())).expect("as many as there may be");
        let mut large = Draft::default();
        // `{"a":["t","..."]}`
        let frame = r#"{"a":["t",""]}"#.len();
        large.take(changes(&[("a", text(ATTRIBUTES_BYTES_MAX - frame))])).expect("as long");
        let one = Some(Value::Integer(1));
        for (draft, change, name, actual) in [
            (&mut wide, ("more", one.clone()), "attributes_max", 1_025),
            (&mut large, ("b", one.clone()), "attributes_bytes_max", (1 << 20) + 12),
        ] {
            let before = (draft.scope.clone(), draft.bytes);
            let taken = draft.take(changes(&[change]));
            let Err(Error::Limit(limit)) = taken else { panic!("{taken:?}") };
            assert_eq!((limit.name, limit.actual), (name, actual));
            assert_eq!((draft.scope.clone(), draft.bytes), before);
        }
        wide.take(changes(&[("k1", Some(Value::Integer(2)))])).expect("one that is there");
        wide.take(changes(&[("k2", None), ("more", one)])).expect("one for another");
    }
}

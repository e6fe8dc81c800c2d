//! Attributes of devices in three scopes: client (sent by the device), shared and server (written
//! by the application). Client attributes are in the log before they are here.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Resource};
use veritwin_domain::{Actor, ActorKind, CredentialId, DeviceId, Key, OpContext, TenantId, Value};
use veritwin_metastore::{AttributeScope, TenantTx};

use crate::change::Change;
use crate::model::{AttributesChange, AttributesView};
use crate::{App, Error, Result};

/// Most attributes of one scope.
const ATTRIBUTES_MAX: usize = 1024;
/// Longest text or JSON value, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

type Scope = BTreeMap<String, Value>;

/// The stored form keeps the kind of each value: `["i", 7]`.
fn encode(scope: &Scope) -> Result<Vec<u8>> {
    let tagged: BTreeMap<&str, serde_json::Value> = scope
        .iter()
        .map(|(key, value)| {
            let tagged = match value {
                Value::Double(number) => serde_json::json!(["d", number]),
                Value::Integer(number) => serde_json::json!(["i", number]),
                Value::Boolean(flag) => serde_json::json!(["b", flag]),
                Value::Text(text) => serde_json::json!(["t", &**text]),
                Value::Json(text) => serde_json::json!(["j", &**text]),
            };
            (key.as_str(), tagged)
        })
        .collect();
    serde_json::to_vec(&tagged).map_err(|error| Error::Internal(error.to_string()))
}

fn decode(bytes: &[u8]) -> Result<Scope> {
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

async fn read_scope(tx: &TenantTx, device: DeviceId, wanted: AttributeScope) -> Result<Scope> {
    for stored in tx.attributes(device).await? {
        if stored.scope == wanted {
            return decode(&stored.body);
        }
    }
    Ok(Scope::new())
}

fn check(changes: &BTreeMap<String, Option<Value>>) -> Result<()> {
    for (key, value) in changes {
        Key::new(key).map_err(|error| Error::invalid_at(key.clone(), error.to_string()))?;
        if let Some(Value::Text(text) | Value::Json(text)) = value
            && text.len() > VALUE_BYTES_MAX
        {
            let limit = veritwin_domain::LimitExceeded {
                name: "value_bytes_max",
                max: VALUE_BYTES_MAX,
                actual: text.len(),
            };
            return Err(limit.into());
        }
    }
    Ok(())
}

async fn merge(
    tx: &TenantTx,
    device: DeviceId,
    scope: AttributeScope,
    changes: BTreeMap<String, Option<Value>>,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut merged = read_scope(tx, device, scope).await?;
    for (key, value) in changes {
        match value {
            Some(value) => merged.insert(key, value),
            None => merged.remove(&key),
        };
    }
    if merged.len() > ATTRIBUTES_MAX {
        let limit = veritwin_domain::LimitExceeded {
            name: "attributes_max",
            max: ATTRIBUTES_MAX,
            actual: merged.len(),
        };
        return Err(limit.into());
    }
    Ok(tx.attributes_put(device, scope, &encode(&merged)?, None).await?)
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
        let tx = self.0.store.read(context).await?;
        let device = tx.device(id).await?;
        if !Self::visible(&device, &self.sees_personal(context)) {
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
        let tx = self.0.store.begin(context).await?;
        tx.device(id).await?;
        let changed: Vec<String> =
            change.shared.keys().chain(change.server.keys()).cloned().collect();
        let before = view(&tx, id).await?;
        merge(&tx, id, AttributeScope::Shared, change.shared).await?;
        merge(&tx, id, AttributeScope::Server, change.server).await?;
        let after = view(&tx, id).await?;
        let what = Change::from_to(recorded(&before, &changed), recorded(&after, &changed));
        self.record_change(&tx, context, Action::AttributeWrite, &resource, what).await?;
        tx.commit().await?;
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

    /// Stores client attributes that are durable in the log already.
    pub(crate) async fn store_client_attributes(
        &self,
        tenant: TenantId,
        device: DeviceId,
        entries: Vec<(Key, Value)>,
    ) -> Result<()> {
        let context = self.job_in(veritwin_access::jobs::INGEST, tenant);
        let changes: BTreeMap<String, Option<Value>> =
            entries.into_iter().map(|(key, value)| (key.to_string(), Some(value))).collect();
        let tx = self.0.store.begin(&context).await?;
        merge(&tx, device, AttributeScope::Client, changes).await?;
        Ok(tx.commit().await?)
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

//! Requests about destructions: look, destroy what was looked at, how far each is, certificates.

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use veritwin_app::model::{DestructionInput, DestructionScope, DestructionView};
use veritwin_domain::{DestructionId, DeviceId, Key, TenantId};

use super::{Dispatcher, InTenant, refused};

/// What to do about destructions, in one tenant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    tenant: Option<TenantId>,
    step: Step,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Preview { what: What },
    Destroy { what: What, reason: String, confirm: String },
    List {},
    Certificate { id: DestructionId },
}

/// Which readings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    kind: String,
    value: String,
    device: Option<DeviceId>,
    #[serde(default)]
    attributes: bool,
}

impl What {
    fn input(self) -> anyhow::Result<DestructionInput> {
        let scope = match self.kind.as_str() {
            "tenant" => DestructionScope::Tenant,
            "ledger" => DestructionScope::Ledger,
            "device" => {
                let id = self.value.parse().ok().context("expected the id of a device")?;
                DestructionScope::Device(id)
            }
            "key" => DestructionScope::Key { key: Key::new(&self.value)?, device: self.device },
            "subject" => DestructionScope::Subject(self.value),
            "month" => {
                let month = parse_month(&self.value).context("expected a month such as 2026-10")?;
                DestructionScope::Month(month)
            }
            other => anyhow::bail!(
                "unknown scope {other:?}: expected tenant, device, key, subject, month or ledger"
            ),
        };
        Ok(DestructionInput { scope, attributes: self.attributes })
    }
}

/// A month as people write it, counted from 1970-01.
pub(crate) fn parse_month(text: &str) -> Option<i64> {
    let (year, month) = text.split_once('-')?;
    let is_right = year.len() == 4 && month.len() == 2;
    let (year, month): (i64, i64) = (year.parse().ok()?, month.parse().ok()?);
    (is_right && (1..=12).contains(&month)).then_some((year - 1970) * 12 + month - 1)
}

fn facts(view: &DestructionView) -> Value {
    let (kind, value) = match &view.scope {
        DestructionScope::Tenant => ("tenant", String::new()),
        DestructionScope::Ledger => ("ledger", String::new()),
        DestructionScope::Device(device) => ("device", device.to_string()),
        DestructionScope::Key { key, .. } => ("key", key.to_string()),
        DestructionScope::Subject(person) => ("subject", person.clone()),
        DestructionScope::Month(month) => {
            let (year, month) = (1970 + month.div_euclid(12), month.rem_euclid(12) + 1);
            ("month", format!("{year:04}-{month:02}"))
        }
    };
    json!({
        "id": view.id,
        "state": view.state,
        "scope": kind,
        "value": value,
        "requested_at": view.requested_at.to_string(),
        "readings_destroyed": view.readings_destroyed,
        "keys": view.keys,
        "waits_for": view.waits_for,
        "destroyed_at": view.destroyed_at.map(|at| at.to_string()),
        "has_certificate": view.has_certificate,
        "ledger_index": view.ledger_index,
    })
}

impl Dispatcher {
    /// How long each kind of data of a tenant is kept.
    pub(super) async fn ends(&self, arguments: InTenant) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let rows = self.app.what_ends_when(&context).await.map_err(refused)?;
        let items: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "class": row.class,
                    "about": row.about,
                    "seconds": row.seconds,
                    "since": row.since,
                    "source": row.source.as_str(),
                    "waits_until": row.waits_until.map(|at| at.to_string()),
                    "is_held": row.is_held,
                })
            })
            .collect();
        Ok(json!({"tenant": context.tenant, "items": items}))
    }

    pub(super) async fn purge(&self, arguments: Purge) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        match arguments.step {
            Step::Preview { what } => {
                let input = what.input()?;
                let seen = self.app.preview_destruction(&context, &input).await;
                let seen = seen.map_err(refused)?;
                Ok(json!({
                    "tenant": context.tenant,
                    "devices": seen.counts.devices,
                    "series": seen.counts.series,
                    "readings_at_most": seen.counts.readings,
                    "sections": seen.counts.sections,
                    "bytes": seen.counts.bytes,
                    "is_held": seen.is_held,
                    "stays": seen.stays,
                    "backup_horizon": seen.backup_horizon.to_string(),
                    "confirm": seen.confirm,
                }))
            }
            Step::Destroy { what, reason, confirm } => {
                let (input, said) = (what.input()?, (reason.as_str(), confirm.as_str()));
                let id = self.app.request_destruction(&context, &input, said).await;
                let id = id.map_err(refused)?;
                Ok(json!({"tenant": context.tenant, "id": id, "running": self.running}))
            }
            Step::List {} => {
                let all = self.app.list_destructions(&context).await.map_err(refused)?;
                let items: Vec<Value> = all.iter().map(facts).collect();
                Ok(json!({"tenant": context.tenant, "items": items}))
            }
            Step::Certificate { id } => {
                let text = self.app.destruction_certificate(&context, id).await;
                Ok(json!({"tenant": context.tenant, "certificate": text.map_err(refused)?}))
            }
        }
    }
}

//! Carries out what the command line asks for: the same code for a running platform, behind its
//! control socket, and for a stopped one, under its directory's lock. Unknown requests are refused.
//! tidy: long file because every command's arguments and answer stand in one place.

mod admin;
mod backup;
mod destructions;
mod keys;
mod ledger;
mod mail;
mod stopped;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use veritwin_app::model::{
    DeviceInput, HeldView, KeyView, PromiseView, TenantInput, TenantView, TwinOutcome,
};
use veritwin_app::{App, Error};
use veritwin_domain::{Declaration, JsonOptions, OpContext, SiteId, TenantId, Timestamp};

use crate::clock::SimulatedClock;
use crate::control::{Dispatch, Request};
use crate::controls::Controls;

pub(crate) use destructions::parse_month;
pub(crate) use stopped::ask;

/// Every request there is, for the error that names them.
const REQUESTS: &[&str] = &[
    "admin_link",
    "backup",
    "backup_keyring",
    "backup_progress",
    "backup_status",
    "clock_advance",
    "create_device",
    "create_tenant",
    "ends",
    "import_inventory",
    "import_twin",
    "keys_import",
    "keys_import_begin",
    "keys_restore",
    "keys_revoke",
    "keys_rotate",
    "keys_status",
    "ledger_export",
    "ledger_keys",
    "mail_activate",
    "mail_keys",
    "mail_rotate",
    "metrics_key",
    "open_networks",
    "promise_check",
    "promises",
    "purge",
    "scrub",
    "status",
];

/// Who carries out requests, and what it has to know beside the use cases.
pub(crate) struct Dispatcher {
    pub(crate) app: App,
    /// `https://host:port`, where links lead.
    pub(crate) address: String,
    /// SHA-256 of the platform's CA; none with the operator's own certificate.
    pub(crate) ca_fingerprint: Option<String>,
    /// The clock of a simulated directory.
    pub(crate) clock: Option<Arc<SimulatedClock>>,
    /// Sabotage switches of test builds.
    #[cfg_attr(not(feature = "test-controls"), expect(dead_code, reason = "for test builds"))]
    pub(crate) controls: Arc<Controls>,
    /// Whether the platform runs, or is only opened for one request.
    pub(crate) running: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InTenant {
    tenant: Option<TenantId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    micros: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportTwin {
    tenant: Option<TenantId>,
    name: Option<String>,
    twin: Option<SiteId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportInventory {
    tenant: Option<TenantId>,
    twin: Option<SiteId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateDevice {
    tenant: Option<TenantId>,
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    declaration: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateTenant {
    name: String,
    /// Whether its readings are sealed into the ledger archive.
    #[serde(default = "subscribed")]
    archive_subscribed: bool,
    #[serde(default)]
    partner: bool,
}

const fn subscribed() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    tenant: Option<TenantId>,
    out: PathBuf,
}

#[cfg(feature = "test-controls")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sabotage {
    promise: u8,
    on: bool,
}

fn arguments<T: DeserializeOwned>(request: &Request) -> anyhow::Result<T> {
    let given = match &request.arguments {
        Value::Null => json!({}),
        given => given.clone(),
    };
    serde_json::from_value(given)
        .with_context(|| format!("arguments of the request {}", request.command))
}

/// The use case's own words, with the place where there is one.
fn refused(error: Error) -> anyhow::Error {
    match error {
        Error::Invalid { detail, at: Some(at) } => anyhow::anyhow!("{at}: {detail}"),
        other => anyhow::Error::new(other),
    }
}

#[async_trait]
impl Dispatch for Dispatcher {
    async fn dispatch(&self, request: Request) -> anyhow::Result<Value> {
        self.screen(&request)?;
        match request.command.as_str() {
            "admin_link" => self.admin_link(&arguments(&request)?).await,
            "backup" => self.backup(arguments(&request)?).await,
            "backup_keyring" => self.backup_keyring(arguments(&request)?).await,
            "backup_progress" => Ok(self.backup_progress()),
            "backup_status" => self.backup_status().await,
            "metrics_key" => self.metrics_key().await,
            "open_networks" => self.open_networks(&arguments(&request)?).await,
            "clock_advance" => self.clock_advance(&arguments(&request)?),
            "create_device" => self.create_device(arguments(&request)?).await,
            "create_tenant" => self.create_tenant(&arguments(&request)?).await,
            "ends" => self.ends(arguments(&request)?).await,
            "import_inventory" => {
                let InArguments { arguments, body } = InArguments::take(request)?;
                self.import_inventory(&arguments, &body).await
            }
            "import_twin" => {
                let InArguments { arguments, body } = InArguments::take(request)?;
                self.import_twin(arguments, body).await
            }
            "keys_import" => self.keys_import(&arguments(&request)?).await,
            "keys_import_begin" => self.keys_import_begin(&arguments(&request)?).await,
            "keys_restore" => self.keys_restore(&arguments(&request)?).await,
            "keys_revoke" => self.keys_revoke(&arguments(&request)?).await,
            "keys_rotate" => self.keys_rotate(&arguments(&request)?).await,
            "keys_status" => self.keys_status(&arguments(&request)?).await,
            "ledger_export" => self.ledger_export(arguments(&request)?).await,
            "ledger_keys" => self.ledger_keys().await,
            "mail_activate" => self.mail_activate().await,
            "mail_keys" => self.mail_keys().await,
            "mail_rotate" => self.mail_rotate().await,
            "promise_check" => self.promise_check(&arguments(&request)?).await,
            "promises" => self.promises(),
            "purge" => self.purge(arguments(&request)?).await,
            "scrub" => self.scrub(&arguments(&request)?).await,
            #[cfg(feature = "test-controls")]
            "forget_tenant_filter" => {
                let on = request.arguments["on"].as_bool().context("on must be true or false")?;
                self.app.forget_tenant_filter(on);
                Ok(json!({"on": on}))
            }
            #[cfg(feature = "test-controls")]
            "disk_full" => {
                let on = request.arguments["on"].as_bool().context("on must be true or false")?;
                self.app.fill_disk(on);
                Ok(json!({"on": on}))
            }
            #[cfg(feature = "test-controls")]
            "disk_read_only" => {
                self.app.lock_disk();
                Ok(json!({}))
            }
            #[cfg(feature = "test-controls")]
            "sabotage" => self.sabotage(&arguments(&request)?),
            "status" => self.status().await,
            other => bail!("unknown request {other:?}: expected one of {}", REQUESTS.join(", ")),
        }
    }
}

/// A request taken apart.
struct InArguments<T> {
    arguments: T,
    body: Vec<u8>,
}

impl<T: DeserializeOwned> InArguments<T> {
    fn take(request: Request) -> anyhow::Result<Self> {
        Ok(Self { arguments: arguments(&request)?, body: request.body })
    }
}

/// Requests whose arguments are kept.
const KEPT: [&str; 3] = ["admin_link", "create_device", "create_tenant"];

impl Dispatcher {
    /// Refuses arguments that hold what must not be kept.
    fn screen(&self, request: &Request) -> anyhow::Result<()> {
        if !KEPT.contains(&request.command.as_str()) {
            return Ok(());
        }
        let text = request.arguments.to_string();
        match self.app.screening().json(&text, None, JsonOptions::default())? {
            None => Ok(()),
            Some(found) => bail!("{}: {}", found.pointer, found.rule.refusal("this argument")),
        }
    }

    async fn tenants(&self) -> anyhow::Result<Vec<TenantView>> {
        self.app.list_tenants(&self.app.local_operator()).await.map_err(refused)
    }

    /// The context inside the named tenant, or the only one.
    async fn in_tenant(&self, named: Option<TenantId>) -> anyhow::Result<OpContext> {
        let tenants = self.tenants().await?;
        let tenant = choose(named, &tenants)?;
        Ok(self.app.local_operator_in(tenant))
    }

    fn clock_advance(&self, arguments: &Advance) -> anyhow::Result<Value> {
        let Some(clock) = &self.clock else {
            bail!(
                "this directory runs on the real clock: only one that was started new with \
                 --simulated-clock can be advanced"
            );
        };
        ensure!(
            self.running,
            "the platform is stopped: start it first, so that its jobs see the time pass"
        );
        let now = clock.advance(Duration::from_micros(arguments.micros))?;
        tracing::info!(%now, "the simulated clock was advanced");
        Ok(json!({"now": now.to_string()}))
    }

    async fn import_twin(&self, arguments: ImportTwin, body: Vec<u8>) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let bytes = body.into();
        let TwinOutcome { twin, warnings } = match arguments.twin {
            Some(twin) => self.app.replace_twin(&context, twin, bytes).await,
            None => self.app.import_twin(&context, arguments.name, bytes).await,
        }
        .map_err(refused)?;
        Ok(json!({
            "tenant": context.tenant,
            "twin_id": twin.id,
            "name": twin.name,
            "schema": twin.schema,
            "storeys": twin.counts.storeys,
            "spaces": twin.counts.spaces,
            "elements": twin.counts.elements,
            "sensors": twin.counts.sensors,
            "devices": twin.counts.devices,
            "warnings": warnings,
        }))
    }

    async fn import_inventory(
        &self,
        arguments: &ImportInventory,
        body: &[u8],
    ) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let twin = match arguments.twin {
            Some(twin) => Some(twin),
            // The only twin is the one that is meant.
            None => match self.app.list_twins(&context).await.map_err(refused)?.as_slice() {
                [only] => Some(only.id),
                _ => None,
            },
        };
        let outcome = self.app.import_inventory(&context, twin, body).await.map_err(refused)?;
        let tokens: Vec<Value> = outcome
            .tokens
            .iter()
            .map(|(device, token)| json!({"device": device, "token": token.expose()}))
            .collect();
        Ok(json!({
            "tenant": context.tenant,
            "twin_id": twin,
            "created": outcome.created,
            "updated": outcome.updated,
            "tokens": tokens,
        }))
    }

    async fn create_device(&self, arguments: CreateDevice) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let declaration = Declaration::parse(&arguments.declaration)
            .context("declaration must be undeclared, non_personal or personal")?;
        let input = DeviceInput {
            name: arguments.name,
            kind: arguments.kind,
            declaration,
            ..DeviceInput::default()
        };
        let (device, token) = self.app.create_device(&context, input).await.map_err(refused)?;
        Ok(json!({
            "tenant": context.tenant,
            "device_id": device.id,
            "name": &*device.name,
            "token": token.expose(),
        }))
    }

    async fn create_tenant(&self, arguments: &CreateTenant) -> anyhow::Result<Value> {
        let context = self.app.local_operator();
        let input = TenantInput {
            name: arguments.name.clone(),
            is_partner: arguments.partner,
            plan: None,
            archive_subscribed: arguments.archive_subscribed,
        };
        let tenant = self.app.create_tenant(&context, input).await.map_err(refused)?;
        Ok(json!({"tenant": tenant.id, "name": tenant.name}))
    }

    async fn keys_status(&self, arguments: &InTenant) -> anyhow::Result<Value> {
        let wanted = match arguments.tenant {
            Some(_) => Some(choose(arguments.tenant, &self.tenants().await?)?.to_string()),
            None => None,
        };
        let keys = self.app.all_keys(&self.app.local_operator()).await.map_err(refused)?;
        let items: Vec<Value> = keys
            .into_iter()
            .filter(|key| wanted.as_ref().is_none_or(|tenant| *tenant == key.owner))
            .map(key_facts)
            .collect();
        Ok(json!({"items": items}))
    }

    async fn keys_rotate(&self, arguments: &InTenant) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let (old_version, new_version, rewrapped) =
            self.app.rotate_keys(&context).await.map_err(refused)?;
        Ok(json!({
            "tenant": context.tenant,
            "old_version": old_version,
            "new_version": new_version,
            "rewrapped": rewrapped,
        }))
    }

    fn promises(&self) -> anyhow::Result<Value> {
        ensure!(
            self.running,
            "the platform is stopped: the states of its promises are live, start it first"
        );
        let context = self.app.local_operator();
        let promises = self.app.promise_states_for_local(&context).map_err(refused)?;
        let items: Vec<Value> = promises.into_iter().map(promise_facts).collect();
        Ok(json!({"items": items, "now": context.at.to_string()}))
    }

    async fn promise_check(&self, arguments: &Check) -> anyhow::Result<Value> {
        ensure!(self.running, "the platform is stopped: a check looks at the running one");
        let context = self.app.local_operator();
        let checked = self.app.check_promise_for_local(&context, &arguments.id).await;
        Ok(promise_facts(checked.map_err(refused)?))
    }

    #[cfg(feature = "test-controls")]
    fn sabotage(&self, arguments: &Sabotage) -> anyhow::Result<Value> {
        ensure!((1..=62).contains(&arguments.promise), "promise must be 1 to 62");
        self.controls.set(arguments.promise, arguments.on);
        self.app.sabotage(arguments.promise, arguments.on);
        Ok(json!({"promise": arguments.promise, "on": arguments.on}))
    }

    async fn ledger_export(&self, arguments: Export) -> anyhow::Result<Value> {
        ensure!(arguments.out.is_absolute(), "out must be an absolute path");
        let context = self.in_tenant(arguments.tenant).await?;
        let summary = self.app.export_ledger(&context, arguments.out).await.map_err(refused)?;
        Ok(json!({
            "tenant": context.tenant,
            "origin": summary.origin,
            "tree_size": summary.size,
            "files": summary.files,
            "bytes": summary.bytes,
            "payloads_absent": summary.payloads_absent,
            "payloads_damaged": summary.payloads_damaged,
            "tiles_damaged": summary.tiles_damaged,
            "damaged": summary.damaged,
        }))
    }

    async fn status(&self) -> anyhow::Result<Value> {
        let tenants: Vec<Value> = self
            .tenants()
            .await?
            .into_iter()
            .map(|tenant| json!({"id": tenant.id, "name": tenant.name}))
            .collect();
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "running": self.running,
            "pid": std::process::id(),
            "address": self.address,
            "simulated_clock": self.clock.is_some(),
            "now": self.app.clock().now().to_string(),
            "tenants": tenants,
            "problem": self.app.readiness().err(),
            "held_up": self.app.held_tenants().into_iter().map(held_facts).collect::<Vec<_>>(),
        }))
    }
}

/// The named tenant when there is one, the only tenant when none is named.
fn choose(named: Option<TenantId>, tenants: &[TenantView]) -> anyhow::Result<TenantId> {
    let listed = || {
        let ids: Vec<String> = tenants.iter().map(|tenant| tenant.id.to_string()).collect();
        ids.join(", ")
    };
    match (named, tenants) {
        (_, []) => bail!("there is no tenant yet: open the link of `veritwin admin link` first"),
        (Some(id), all) if all.iter().any(|tenant| tenant.id == id) => Ok(id),
        (Some(id), _) => bail!("there is no tenant {id}: there are {}", listed()),
        (None, [only]) => Ok(only.id),
        (None, _) => bail!("several tenants: name one with --tenant: {}", listed()),
    }
}

fn held_facts(held: HeldView) -> Value {
    json!({
        "job": held.job,
        "tenant": held.tenant,
        "since": held.since.to_string(),
        "reason": held.reason,
    })
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn key_facts(key: KeyView) -> Value {
    json!({
        "owner": key.owner,
        "kind": key.kind,
        "version": key.version,
        "count": key.count,
        "oldest": time(key.oldest),
        "newest": time(key.newest),
        "last_used": time(key.last_used),
        "state": key.state,
    })
}

fn promise_facts(promise: PromiseView) -> Value {
    let evidence = promise.summary.map(|summary| {
        json!({
            "summary": summary,
            "details": promise.facts,
            "ledger_index": promise.ledger_index,
        })
    });
    json!({
        "id": promise.id,
        "state": promise.state,
        "text": promise.text,
        "source": promise.source,
        "evidence": evidence,
        "checked_at": time(promise.checked_at),
        "next_check_at": time(promise.next_check_at),
        "reason": promise.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(seed: u8) -> TenantView {
        TenantView {
            id: TenantId::from_bytes([seed; 16]),
            name: "Tenant".to_owned(),
            archive_subscribed: true,
            simulated: false,
            created_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn the_only_tenant_is_meant_and_others_are_named() {
        let (one, two) = (tenant(1), tenant(2));
        let none = choose(None, &[]).expect_err("none").to_string();
        assert!(none.contains("admin link"), "{none}");
        let only = std::slice::from_ref(&one);
        assert_eq!(choose(None, only).expect("only"), one.id);
        assert_eq!(choose(Some(one.id), only).expect("named"), one.id);
        assert!(choose(Some(two.id), only).is_err());
        let several = choose(None, &[one, two.clone()]).expect_err("several").to_string();
        assert!(several.contains(&two.id.to_string()), "{several}");
    }

    #[test]
    fn arguments_are_checked_by_name() {
        let request = Request::new("clock_advance", json!({"seconds": 5}));
        let error = format!("{:#}", arguments::<Advance>(&request).err().expect("refused"));
        assert!(error.contains("clock_advance") && error.contains("micros"), "{error}");
        let empty = Request::new("keys_status", Value::Null);
        assert!(arguments::<InTenant>(&empty).is_ok());
    }

    #[test]
    fn refusals_keep_their_place() {
        let error = refused(Error::invalid_at("row 3, column unit", "too long")).to_string();
        assert_eq!(error, "row 3, column unit: too long");
    }
}

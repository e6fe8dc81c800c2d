//! `veritwin import FOLDER`: an exported tenant into another one. What has the same name there is
//! taken for the same and left as it is, so that the same command again goes on where it was.
//! Rights, people, keys and addresses are not given by a file: a person sets them up.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::folder::{Manifest, checked, inside, rows};
use super::lists::{DEVICES, all, encoded, text};
use super::report::{Report, show};
use crate::cli::commands::spinner;
use crate::cli::remote::{Ask, Remote, whole};
use crate::cli::{BadArguments, ImportArguments, print_json};

/// Devices that are given a profile at once.
const ASSIGNED_AT_ONCE: usize = 500;
/// Largest source or geometry of a twin that is sent, in bytes.
const TWIN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What is in the folder to be read, and not to be imported.
const TO_READ: [&str; 35] = [
    "alerts",
    "api-keys",
    "activity",
    "agreements",
    "brand",
    "breaches",
    "certificate-register",
    "certificates",
    "collection-zones",
    "credentials",
    "destructions",
    "device-authorities",
    "evidence",
    "frameworks",
    "grants",
    "holds",
    "identity-provider",
    "imports",
    "incidents",
    "invitations",
    "ledger-mailings",
    "networks",
    "notices",
    "packages",
    "policies",
    "provision-profiles",
    "register-entries",
    "requests",
    "retention",
    "risks",
    "roles",
    "route-destinations",
    "route-rules",
    "tasks",
    "users",
];

/// An import under way.
pub(super) struct Importing<'a> {
    pub(super) root: &'a Path,
    pub(super) manifest: Manifest,
    pub(super) remote: Remote,
    pub(super) bar: ProgressBar,
    pub(super) report: Report,
    tokens: Option<File>,
    /// Ids there by ids here.
    pub(super) ids: HashMap<String, String>,
}

/// The shared and server attributes of a device that it has not got yet: what is there stays.
fn lacking(of: &Value, known: &Value) -> Option<Value> {
    let mut body = json!({});
    for scope in ["shared", "server"] {
        let mut attributes = of[scope].as_object().cloned().unwrap_or_default();
        attributes.retain(|key, _| known[scope].get(key).is_none());
        if !attributes.is_empty() {
            body[scope] = Value::Object(attributes);
        }
    }
    let has_some = body.as_object().is_some_and(|scopes| !scopes.is_empty());
    has_some.then_some(body)
}

/// `veritwin import FOLDER`
pub(in crate::cli) async fn run(arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    if arguments.name.is_some() || arguments.twin.is_some() {
        let detail = "--name and --twin are for a building or an inventory, not for a folder";
        return Err(BadArguments(detail.to_owned()).into());
    }
    let root = arguments.file.as_path();
    let mut remote = arguments.remote.remote()?;
    let bar = spinner(format!("checking {}", root.display()));
    let manifest = checked(root)?;
    let own: Value = remote.json(&Ask::get("/v1/tenants?limit=1")).await?;
    let tenant = text(&own["items"][0], "id").to_owned();
    if arguments.tenant.is_some_and(|wanted| wanted.to_string() != tenant) {
        return Err(BadArguments(format!("the key is of the tenant {tenant}")).into());
    }
    let tokens = arguments.tokens.as_ref().map(|path| {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path);
        file.with_context(|| format!("cannot write {}", path.display()))
    });
    let tokens = tokens.transpose()?;
    let (report, ids) = (Report::default(), HashMap::new());
    let mut importing = Importing { root, manifest, remote, bar, report, tokens, ids };
    importing.twins().await?;
    importing.device_profiles().await?;
    importing.devices().await?;
    importing.gateways().await?;
    importing.attributes().await?;
    importing.profile_devices().await?;
    importing.workspaces().await?;
    importing.groups().await?;
    importing.stream_rules().await?;
    importing.readings().await?;
    importing.streams().await?;
    // Last of all: what came in before them was of another time.
    importing.rules().await?;
    importing.end(arguments)
}

impl Importing<'_> {
    /// Whether the folder has a list.
    fn has(&self, name: &str) -> bool {
        self.manifest.file(&format!("{name}.ndjson")).is_some()
    }

    pub(super) fn list(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        if self.has(name) {
            let mut rows = rows(self.root, &format!("{name}.ndjson"))?;
            while let Some(row) = rows.next()? {
                items.push(row);
            }
        }
        self.bar.set_message(name.to_owned());
        Ok(items)
    }

    /// The same thing there.
    pub(super) fn there(&self, id: &Value) -> Value {
        let known = id.as_str().and_then(|id| self.ids.get(id));
        known.map_or(Value::Null, |id| json!(id))
    }

    fn all_there(&self, ids: &Value) -> Vec<Value> {
        let ids = ids.as_array().map(Vec::as_slice).unwrap_or_default();
        ids.iter().map(|id| self.there(id)).filter(|id| !id.is_null()).collect()
    }

    fn know(&mut self, kind: &'static str, here: &str, there: &str) {
        self.report.count(kind).known += 1;
        self.ids.insert(here.to_owned(), there.to_owned());
    }

    /// Makes a thing; a refusal is noted and the others go on.
    pub(super) async fn make(
        &mut self,
        kind: &'static str,
        (name, path): (&str, &str),
        body: &Value,
    ) -> anyhow::Result<Option<Value>> {
        match self.remote.find(&Ask::post(path, body)).await? {
            Ok(answer) => {
                self.report.count(kind).created += 1;
                Ok(Some(serde_json::from_slice(&whole(answer).await?)?))
            }
            Err(why) => {
                self.report.refuse(kind, name, &why);
                Ok(None)
            }
        }
    }

    /// Changes a thing; a refusal is noted and the others go on.
    async fn change(
        &mut self,
        (kind, name): (&'static str, &str),
        (method, path): (Method, &str),
        body: &Value,
    ) -> anyhow::Result<()> {
        let ask = Ask { method, ..Ask::post(path, body) };
        match self.remote.find(&ask).await? {
            Ok(answer) => whole(answer).await.map(drop),
            Err(why) => {
                self.report.refuse(kind, name, &why);
                Ok(())
            }
        }
    }

    fn file(&self, path: &str) -> anyhow::Result<Option<Bytes>> {
        let Some(entry) = self.manifest.file(path) else { return Ok(None) };
        if entry.bytes > TWIN_BYTES_MAX {
            bail!("{path}: limit body_bytes_max exceeded: at most {TWIN_BYTES_MAX}");
        }
        Ok(Some(Bytes::from(std::fs::read(inside(self.root, path)?)?)))
    }

    async fn twins(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, "/v1/twins").await?;
        for twin in self.list("twins")? {
            let (id, name) = (text(&twin, "id").to_owned(), text(&twin, "name").to_owned());
            let hash = text(&twin["source"], "sha256").to_owned();
            let is_it = |known: &&Value| {
                text(known, "name") == name && text(&known["source"], "sha256") == hash
            };
            let mut has_geometry = false;
            if let Some(known) = there.iter().find(is_it) {
                has_geometry = text(known, "geometry") != "none";
                self.know("twin", &id, text(known, "id"));
            } else {
                let Some(body) = self.file(&format!("twins/{id}/source.ifc"))? else {
                    self.report.refuse("twin", &name, "its source is not in the folder");
                    continue;
                };
                let path = format!("/v1/twins?name={}", encoded(&name));
                let content_type = "application/x-step";
                let ask =
                    Ask { method: Method::POST, path: &path, content_type, body, header: None };
                match self.remote.find(&ask).await? {
                    Ok(answer) => {
                        let made: Value = serde_json::from_slice(&whole(answer).await?)?;
                        self.report.count("twin").created += 1;
                        self.ids.insert(id.clone(), text(&made["twin"], "id").to_owned());
                    }
                    Err(why) => {
                        self.report.refuse("twin", &name, &why);
                        continue;
                    }
                }
            }
            if !has_geometry {
                self.geometry(&id, (&name, hash)).await?;
            }
        }
        Ok(())
    }

    async fn geometry(&mut self, id: &str, (name, hash): (&str, String)) -> anyhow::Result<()> {
        let body = self.file(&format!("twins/{id}/geometry.glb"))?;
        let (Some(body), Some(there)) = (body, self.ids.get(id)) else { return Ok(()) };
        let path = format!("/v1/twins/{there}/geometry");
        let ask = Ask {
            method: Method::PUT,
            path: &path,
            content_type: "model/gltf-binary",
            body,
            header: Some(("x-source-sha256", hash)),
        };
        match self.remote.find(&ask).await? {
            Ok(answer) => whole(answer).await.map(drop),
            Err(why) => {
                self.report.refuse("geometry of twin", name, &why);
                Ok(())
            }
        }
    }

    async fn device_profiles(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, "/v1/device-profiles").await?;
        for profile in self.list("device-profiles")? {
            let (id, name) = (text(&profile, "id"), text(&profile["settings"], "name"));
            let is_it = |known: &&Value| text(&known["settings"], "name") == name;
            if let Some(known) = there.iter().find(is_it) {
                self.know("device profile", id, text(known, "id"));
                continue;
            }
            let named = (name, "/v1/device-profiles");
            if let Some(made) = self.make("device profile", named, &profile["settings"]).await? {
                self.ids.insert(id.to_owned(), text(&made, "id").to_owned());
            }
        }
        Ok(())
    }

    async fn devices(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, DEVICES).await?;
        let there: HashMap<String, String> = there
            .iter()
            .map(|known| (text(known, "name").to_lowercase(), text(known, "id").to_owned()))
            .collect();
        for device in self.list("devices")? {
            let (id, name) = (text(&device, "id"), text(&device, "name"));
            if let Some(known) = there.get(&name.to_lowercase()) {
                self.know("device", id, known);
                continue;
            }
            let mut body = json!({
                "name": name,
                "type": device["type"],
                "declaration": device["declaration"],
                "units": device["units"],
            });
            let twin = self.there(&device["twin_id"]);
            if !twin.is_null() {
                body["twin_id"] = twin;
                for member in ["space_id", "element_id", "position"] {
                    body[member] = device[member].clone();
                }
            }
            if let Some(made) = self.make("device", (name, "/v1/devices"), &body).await? {
                self.ids.insert(id.to_owned(), text(&made["device"], "id").to_owned());
                if let Some(tokens) = &mut self.tokens {
                    let line = json!({"device": name, "token": made["token"]});
                    writeln!(tokens, "{line}")?;
                }
            }
        }
        Ok(())
    }

    /// Which devices speak for others, once all of them are there.
    async fn gateways(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, DEVICES).await?;
        let there: HashMap<&str, &Value> =
            there.iter().map(|known| (text(known, "id"), known)).collect();
        let devices = self.list("devices")?;
        for member in ["is_gateway", "is_sparkplug_host", "gateway_id"] {
            for device in &devices {
                let Some(id) = self.ids.get(text(device, "id")).cloned() else { continue };
                let wanted = match member {
                    "gateway_id" => self.there(&device[member]),
                    _ => device[member].clone(),
                };
                let is_said = wanted.is_string() || wanted == json!(true);
                let known = there.get(id.as_str()).map_or(&Value::Null, |known| &known[member]);
                // What is said there stays.
                let is_said_there = known.is_string() || *known == json!(true);
                if is_said && !is_said_there {
                    let named = ("device", text(device, "name"));
                    let path = format!("/v1/devices/{id}");
                    let body = json!({ member: wanted });
                    self.change(named, (Method::PATCH, &path), &body).await?;
                }
            }
        }
        Ok(())
    }

    async fn attributes(&mut self) -> anyhow::Result<()> {
        for of in self.list("attributes")? {
            let Some(id) = self.ids.get(text(&of, "device_id")).cloned() else { continue };
            let is_empty =
                |scope: &str| of[scope].as_object().is_none_or(serde_json::Map::is_empty);
            if is_empty("shared") && is_empty("server") {
                continue;
            }
            let path = format!("/v1/devices/{id}/attributes");
            let named = ("attributes of device", text(&of, "device_id"));
            let known: Value = match self.remote.find(&Ask::get(&path)).await? {
                Ok(answer) => serde_json::from_slice(&whole(answer).await?)?,
                Err(why) => {
                    self.report.refuse(named.0, named.1, &why);
                    continue;
                }
            };
            let Some(body) = lacking(&of, &known) else {
                self.report.count(named.0).known += 1;
                continue;
            };
            self.report.count(named.0).created += 1;
            self.change(named, (Method::PATCH, &path), &body).await?;
        }
        Ok(())
    }

    /// Devices there that have a profile of their own.
    async fn placed(&mut self) -> anyhow::Result<HashSet<String>> {
        let mut placed = HashSet::new();
        for profile in all(&mut self.remote, "/v1/device-profiles").await? {
            let path = format!("/v1/device-profiles/{}/devices", text(&profile, "id"));
            let Ok(answer) = self.remote.find(&Ask::get(&path)).await? else { continue };
            let of: Value = serde_json::from_slice(&whole(answer).await?)?;
            let ids = of["device_ids"].as_array().into_iter().flatten();
            placed.extend(ids.filter_map(|id| id.as_str().map(str::to_owned)));
        }
        Ok(placed)
    }

    async fn profile_devices(&mut self) -> anyhow::Result<()> {
        if !self.has("device-profile-devices") {
            return Ok(());
        }
        let placed = self.placed().await?;
        for of in self.list("device-profile-devices")? {
            let Some(id) = self.ids.get(text(&of, "profile_id")).cloned() else { continue };
            let mut devices = self.all_there(&of["device_ids"]);
            devices.retain(|id| id.as_str().is_some_and(|id| !placed.contains(id)));
            let path = format!("/v1/device-profiles/{id}/devices");
            for some in devices.chunks(ASSIGNED_AT_ONCE) {
                let named = ("devices of profile", text(&of, "profile_id"));
                let body = json!({"device_ids": some});
                self.change(named, (Method::POST, &path), &body).await?;
            }
        }
        Ok(())
    }

    async fn workspaces(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, "/v1/workspaces").await?;
        for workspace in self.list("workspaces")? {
            let (id, name) = (text(&workspace, "id"), text(&workspace, "name"));
            if let Some(known) = there.iter().find(|known| text(known, "name") == name) {
                self.know("workspace", id, text(known, "id"));
                continue;
            }
            let twins = self.all_there(&workspace["twin_ids"]);
            let body = json!({"name": name, "twin_ids": twins});
            if let Some(made) = self.make("workspace", (name, "/v1/workspaces"), &body).await? {
                self.ids.insert(id.to_owned(), text(&made, "id").to_owned());
            }
        }
        Ok(())
    }

    async fn groups(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, "/v1/groups").await?;
        for group in self.list("groups")? {
            let (id, name) = (text(&group, "id"), text(&group, "name"));
            if let Some(known) = there.iter().find(|known| text(known, "name") == name) {
                self.know("group", id, text(known, "id"));
                continue;
            }
            let body = json!({
                "name": name,
                "workspace_id": self.there(&group["workspace_id"]),
                "device_ids": self.all_there(&group["device_ids"]),
            });
            if let Some(made) = self.make("group", (name, "/v1/groups"), &body).await? {
                self.ids.insert(id.to_owned(), text(&made, "id").to_owned());
            }
        }
        Ok(())
    }

    fn end(mut self, arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
        self.bar.finish_and_clear();
        let to_read = TO_READ.iter().filter(|name| {
            let entry = self.manifest.file(&format!("{name}.ndjson"));
            entry.is_some_and(|entry| entry.items.is_some_and(|items| items > 0))
        });
        self.report.to_read = to_read.map(|name| format!("{name}.ndjson")).collect();
        let report = &self.report;
        let is_whole = report.not_taken.is_empty() && report.readings_refused == 0;
        if arguments.remote.place.json {
            print_json(report)?;
        } else {
            show(report);
        }
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

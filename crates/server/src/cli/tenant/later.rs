//! What follows once devices are there: what is declared of their streams, readings, rules.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde_json::{Value, json};
use veritwin_ingest::bulk::FileForm;

use super::folder::inside;
use super::import::Importing;
use super::lists::{STREAMS, all, text};
use crate::cli::readings::import_file;
use crate::imports::ImportPlan;

impl Importing<'_> {
    pub(super) async fn stream_rules(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, "/v1/stream-rules").await?;
        for rule in self.list("stream-rules")? {
            let is_it = |known: &&Value| {
                known["device_type"] == rule["device_type"] && known["key"] == rule["key"]
            };
            let name = format!("{} {}", text(&rule, "device_type"), text(&rule, "key"));
            if there.iter().any(|known| is_it(&known)) {
                self.report.count("stream rule").known += 1;
                continue;
            }
            let mut body = json!({});
            for member in ["device_type", "key", "declaration", "subject"] {
                body[member] = rule[member].clone();
            }
            self.make("stream rule", (&name, "/v1/stream-rules"), &body).await?;
        }
        Ok(())
    }

    /// Devices are named in the file, and have their names here.
    pub(super) async fn readings(&mut self) -> anyhow::Result<()> {
        if self.manifest.file("readings.csv").is_none() {
            return Ok(());
        }
        self.bar.set_message("readings");
        let path = inside(self.root, "readings.csv")?;
        let text = |name: &str| Some(name.to_owned());
        let header = ["device_id", "device", "key", "time", "value", "type", "quality"];
        let plan = ImportPlan {
            format: FileForm::Csv.as_str().to_owned(),
            columns: header.map(str::to_owned).to_vec(),
            device_column: text("device"),
            time_column: text("time"),
            key_column: text("key"),
            value_columns: vec!["value".to_owned()],
            kind_column: text("type"),
            quality_column: text("quality"),
            ..ImportPlan::default()
        };
        // Beside the folder, however its name is written.
        let refused = self.root.components().as_path().as_os_str();
        let refused = [refused, OsStr::new(".refused.ndjson")].into_iter().collect::<OsString>();
        let refused = Some(PathBuf::from(refused));
        let done = import_file(&mut self.remote, (&path, FileForm::Csv), &plan, refused).await?;
        self.report.readings = done.readings;
        self.report.readings_refused = done.refused;
        self.report.refused_file = done.refused_file;
        Ok(())
    }

    /// What is declared of single streams, and whose the data of a device is.
    pub(super) async fn streams(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, STREAMS).await?;
        let known: HashSet<String> = there.iter().map(said_of).collect();
        for stream in self.list("streams")? {
            let is_own = matches!(text(&stream, "ground"), "stream" | "device");
            if !is_own || text(&stream, "declaration") == "undeclared" {
                continue;
            }
            if known.contains(&said_of(&stream)) {
                self.report.count("stream declaration").known += 1;
                continue;
            }
            let Some(id) = self.ids.get(text(&stream, "device_id")).cloned() else { continue };
            let body = json!({
                "targets": [{"device_id": id, "key": stream["key"]}],
                "declaration": stream["declaration"],
                "subject": stream["subject"],
            });
            let name = format!("{} {}", text(&stream, "device_name"), text(&stream, "key"));
            let named = (name.as_str(), "/v1/stream-declarations");
            self.make("stream declaration", named, &body).await?;
        }
        Ok(())
    }

    pub(super) async fn rules(&mut self) -> anyhow::Result<()> {
        let there = all(&mut self.remote, "/v1/rules").await?;
        for mut rule in self.list("rules")? {
            let name = text(&rule, "name").to_owned();
            if there.iter().any(|known| text(known, "name") == name) {
                self.report.count("rule").known += 1;
                continue;
            }
            let mut is_there = true;
            for member in ["device_id", "twin_id"] {
                let there = self.there(&rule["scope"][member]);
                is_there &= there.is_null() == rule["scope"][member].is_null();
                rule["scope"][member] = there;
            }
            if !is_there {
                self.report.refuse("rule", &name, "what it watches is not there");
                continue;
            }
            if let Some(members) = rule.as_object_mut() {
                members.remove("id");
                members.remove("version");
            }
            self.make("rule", (&name, "/v1/rules"), &rule).await?;
        }
        Ok(())
    }
}

/// What is declared of a stream of a device, by name.
fn said_of(stream: &Value) -> String {
    let device = text(stream, "device_name").to_lowercase();
    let (key, declaration) = (text(stream, "key"), text(stream, "declaration"));
    format!("{device}\n{key}\n{declaration}\n{}", stream["subject"])
}

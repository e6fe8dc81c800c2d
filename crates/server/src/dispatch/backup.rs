//! Requests about backups, of the platform and its keyring, and about what is stored.

use std::path::PathBuf;

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};
use veritwin_app::{BackupMade, BackupPlan};
use veritwin_domain::Timestamp;

use super::{Dispatcher, refused};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    out: PathBuf,
    #[serde(default)]
    archive: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyring {
    out: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scrub {
    /// 0: without bound.
    #[serde(default)]
    bytes_per_second: u64,
}

impl Dispatcher {
    /// Reads everything that is stored and compares.
    pub(super) async fn scrub(&self, arguments: &Scrub) -> anyhow::Result<Value> {
        let context = self.app.local_operator();
        let run = self.app.scrub(&context, arguments.bytes_per_second).await.map_err(refused)?;
        Ok(serde_json::to_value(run)?)
    }

    pub(super) async fn backup(&self, arguments: Backup) -> anyhow::Result<Value> {
        ensure!(arguments.out.is_absolute(), "out must be an absolute path");
        let plan = BackupPlan { out: arguments.out, archive: arguments.archive };
        let made = self.app.backup(&self.app.local_operator(), plan).await.map_err(refused)?;
        Ok(json!({
            "out": made.out,
            "taken_at": made.taken_at.to_string(),
            "files": made.files,
            "bytes": made.bytes,
            "resumed_files": made.resumed_files,
            "rows": made.rows,
            "log_position": made.log_position,
            "archive": if arguments.archive { "copied" } else { "referenced" },
        }))
    }

    pub(super) async fn backup_keyring(&self, arguments: Keyring) -> anyhow::Result<Value> {
        ensure!(arguments.out.is_absolute(), "out must be an absolute path");
        let context = self.app.local_operator();
        let made = self.app.backup_keyring(&context, &arguments.out).await.map_err(refused)?;
        Ok(json!({
            "out": made.folder,
            "taken_at": made.taken_at.to_string(),
            "expires_at": made.expires_at.to_string(),
            "deleted": made.deleted,
        }))
    }

    pub(super) async fn backup_status(&self) -> anyhow::Result<Value> {
        let context = self.app.local_operator();
        let status = self.app.backup_status(&context).await.map_err(refused)?;
        let made = |made: &BackupMade| {
            json!({
                "folder": made.folder,
                "taken_at": made.taken_at.to_string(),
                "bytes": made.bytes,
            })
        };
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let keyring = status.keyring.as_ref().map(|(copy, until)| {
            let mut shown = made(copy);
            shown["expires_at"] = json!(until.to_string());
            shown
        });
        let ship = &status.shipping;
        Ok(json!({
            "now": context.at.to_string(),
            "platform": status.platform.as_ref().map(made),
            "keyring": keyring,
            "shipping": ship.place.as_ref().map(|place| json!({
                "place": place,
                "position": ship.position,
                "reached_at": text(ship.reached_at),
                "records_at": text(ship.records_at),
                "failing_since": text(ship.failing_since),
                "problem": ship.problem,
                "gap_at": text(ship.gap_at),
            })),
        }))
    }

    pub(super) fn backup_progress(&self) -> Value {
        let (running, bytes_done, bytes_total) = self.app.backup_progress();
        json!({"running": running, "bytes_done": bytes_done, "bytes_total": bytes_total})
    }
}

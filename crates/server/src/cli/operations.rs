//! `veritwin backup`, `veritwin restore` and `veritwin migrate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use veritwin_app::{BackupProgress, Moment, PendingStep, RestorePlan, SchemaUpgrade};
use veritwin_domain::{Clock, SystemClock, Timestamp};

use super::commands::{block_on, number, text};
use super::{JsonPlace, print, print_json, review};
use crate::config::Config;
use crate::control::{self, Request};
use crate::datadir::{DataDir, Paths, is_running, lock_new, root_key_dir};
use crate::{dispatch, process, run, stores};

const PROGRESS_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum BackupCommand {
    /// What there is to go back to: the last backup, the last keyring copy, the shipped log.
    #[command(after_help = "Example: veritwin backup status --json")]
    Status(JsonPlace),
}

#[derive(Args, Debug, Clone)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArguments {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
    /// A new folder; with --keyring, the folder that keyring copies go to.
    #[arg(required = true)]
    pub(crate) out: Option<PathBuf>,
    /// Copies the ledger archive of a standalone platform too.
    #[arg(long, conflicts_with = "keyring")]
    pub(crate) archive: bool,
    /// Copies the keyring, and nothing else. Copies older than 7 days are deleted there.
    #[arg(long)]
    pub(crate) keyring: bool,
    #[command(flatten)]
    pub(crate) place: JsonPlace,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct RestoreArguments {
    /// The folder of a backup.
    pub(crate) source: PathBuf,
    /// The folder of a keyring copy that was made after the backup, at most 7 days ago.
    #[arg(long, value_name = "DIR")]
    pub(crate) keyring: PathBuf,
    /// Brings it to a moment after the backup, by the log that was shipped: RFC 3339, or `latest`.
    #[arg(long, value_name = "RFC3339", value_parser = parse_moment)]
    pub(crate) at: Option<AtMoment>,
    /// Where the log was shipped to; backup.ship_url of the configuration by default.
    #[arg(long, value_name = "URL", requires = "at")]
    pub(crate) from: Option<String>,
    /// With --at: the records of the backup, and its ledger archive, instead of later records.
    #[arg(long, requires = "at")]
    pub(crate) records_of_base: bool,
    /// Revokes every API key: none that was revoked since the backup works again.
    #[arg(long)]
    pub(crate) revoke_keys: bool,
    #[command(flatten)]
    pub(crate) place: JsonPlace,
}

/// A moment to go back to; none is the newest there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AtMoment(Option<Timestamp>);

fn parse_moment(text: &str) -> Result<AtMoment, String> {
    if text == "latest" {
        return Ok(AtMoment(None));
    }
    match Timestamp::parse_rfc3339(text) {
        Ok(at) => Ok(AtMoment(Some(at))),
        Err(_) => Err("expected RFC 3339, such as 2026-01-01T12:00:00Z, or `latest`".to_owned()),
    }
}

#[derive(Args, Debug, Clone)]
pub(crate) struct MigrateArguments {
    /// Shows the pending steps and their SQL, and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where the backup before the first step goes; `backups` in the data directory by default.
    #[arg(long, value_name = "DIR", conflicts_with = "no_backup")]
    pub(crate) backup: Option<PathBuf>,
    /// Makes no backup before the first step.
    #[arg(long)]
    pub(crate) no_backup: bool,
    /// The last step to apply; the newest by default.
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<i64>,
    #[command(flatten)]
    pub(crate) place: JsonPlace,
}

fn bar(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let form = "{msg} {wide_bar} {bytes}/{total_bytes} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

/// A path as the platform's process understands it.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}", path.display()))
}

/// `veritwin backup status`
fn backup_status(place: &JsonPlace) -> anyhow::Result<ExitCode> {
    let request = Request::new("backup_status", json!({}));
    let facts = block_on(dispatch::ask(&place.place, request))?;
    if place.json {
        print_json(&facts)?;
    } else {
        print(&show_status(&facts));
    }
    // A gap and a place that fails are for a timer to see.
    let ship = &facts["shipping"];
    let is_well = ship["problem"].is_null() && ship["gap_at"].is_null();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_status(facts: &Value) -> String {
    let made = |name: &str, none: &str| match &facts[name] {
        Value::Null => none.to_owned(),
        found => format!("{} in {}", text(found, "taken_at"), text(found, "folder")),
    };
    let mut lines = vec![
        format!("last backup   {}", made("platform", "none was made")),
        format!("last keyring  {}", made("keyring", "none was made")),
    ];
    if let Some(until) = facts["keyring"]["expires_at"].as_str() {
        lines.push(format!("              a restore takes it until {until}"));
    }
    let ship = &facts["shipping"];
    if ship.is_null() {
        lines.push("shipped log   none: set backup.ship_url".to_owned());
        return lines.join("\n");
    }
    lines.push(format!("shipped log   to {}", text(ship, "place")));
    let at = |name: &str| ship[name].as_str().unwrap_or("not yet").to_owned();
    lines.push(format!("              complete up to {}", at("reached_at")));
    lines.push(format!("              records of {}", at("records_at")));
    if let Some(problem) = ship["problem"].as_str() {
        lines.push(format!("              FAILS since {}: {problem}", at("failing_since")));
    }
    if let Some(gap) = ship["gap_at"].as_str() {
        lines.push(format!("              GAP at {gap}: make a backup after it"));
    }
    lines.join("\n")
}

/// `veritwin backup OUT`
pub(super) fn backup(arguments: &BackupArguments) -> anyhow::Result<ExitCode> {
    if let Some(BackupCommand::Status(place)) = &arguments.command {
        return backup_status(place);
    }
    let place = &arguments.place.place;
    let out = arguments.out.as_deref().context("name a new folder")?;
    let out = absolute(out)?;
    let request = if arguments.keyring {
        Request::new("backup_keyring", json!({"out": out}))
    } else {
        Request::new("backup", json!({"out": out, "archive": arguments.archive}))
    };
    let bar = bar("backing up");
    let socket = is_running(&place.data).then(|| Paths::new(&place.data).control_socket());
    let facts = block_on(async {
        let watch = async {
            let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
            loop {
                interval.tick().await;
                let Some(socket) = &socket else { continue };
                // A missed look at the progress changes nothing.
                if let Ok(facts) =
                    control::call(socket, Request::new("backup_progress", json!({}))).await
                {
                    show(&bar, number(&facts, "bytes_done"), number(&facts, "bytes_total"));
                }
            }
        };
        tokio::select! {
            facts = dispatch::ask(place, request) => facts,
            () = watch => unreachable!("it watches until the answer is there"),
        }
    });
    bar.finish_and_clear();
    let facts = facts?;
    if arguments.place.json {
        print_json(&facts)?;
    } else if arguments.keyring {
        print(&format!("keyring copy in {}", text(&facts, "out")));
        print(&format!("a restore takes it until {}", text(&facts, "expires_at")));
    } else {
        print(&show_backup(&facts));
    }
    Ok(ExitCode::SUCCESS)
}

fn show_backup(facts: &Value) -> String {
    let archive = if text(facts, "archive") == "copied" {
        "the ledger archive is in it"
    } else {
        "the ledger archive is not in it: it keeps its own, or use --archive"
    };
    format!(
        "backup of {} in {}: {} files, {} bytes, {} records\n{archive}\nthe keyring is not in \
         it: veritwin backup --keyring DIR, within 7 days before a restore",
        text(facts, "taken_at"),
        text(facts, "out"),
        number(facts, "files"),
        number(facts, "bytes"),
        number(facts, "rows"),
    )
}

/// `veritwin restore IN --keyring DIR`
pub(super) fn restore(arguments: &RestoreArguments) -> anyhow::Result<ExitCode> {
    process::forbid_core_dumps()?;
    let place = &arguments.place.place;
    ensure!(
        !is_running(&place.data),
        "a platform runs in {}: a restore needs an empty directory",
        place.data.display()
    );
    let config = run::load_config(place.config.as_deref())?;
    let instance = veritwin_app::backup_instance(&arguments.source).map_err(placed)?;
    let root_key_dir = root_key_dir(config.keys.root_dir.as_deref(), &instance)?;
    let _lock = lock_new(&place.data)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let data = place.data.canonicalize()?;
    let kind = stores::Kind { demo: false, simulated: false };
    let app_config = stores::app_config_at(&config, &data, root_key_dir, clock, kind)?;
    let plan = RestorePlan {
        source: arguments.source.clone(),
        keyring: arguments.keyring.clone(),
        revoke_keys: arguments.revoke_keys,
        moment: moment(arguments, &config)?,
    };
    let progress = Arc::new(BackupProgress::default());
    let bar = bar("restoring");
    let restored = block_on(async {
        let watch = async {
            let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
            loop {
                interval.tick().await;
                let (_, done, total) = progress.get();
                show(&bar, done, total);
            }
        };
        let work = veritwin_app::restore(&app_config, plan, Arc::clone(&progress));
        tokio::select! {
            restored = work => restored.map_err(placed),
            () = watch => unreachable!("it watches until the restore is done"),
        }
    });
    bar.finish_and_clear();
    let restored = restored?;
    let facts = json!({
        "data": data,
        "instance": instance,
        "taken_at": restored.taken_at.to_string(),
        "files": restored.files,
        "bytes": restored.bytes,
        "rows": restored.rows,
        "archive": if restored.archive_copied { "copied" } else { "referenced" },
        "ended": review::ended(&restored.access),
        "review": review::tenants(&restored.access),
        "moment": restored.moment.map(|moment| json!({
            "at": moment.at.to_string(),
            "newest": moment.newest.map(|at| at.to_string()),
            "records_at": moment.records_at.to_string(),
            "log_position": moment.end_position,
            "closed": moment.closed,
        })),
    });
    if arguments.place.json {
        print_json(&facts)?;
    } else {
        print(&show_restore(&facts));
        print(&review::show(&restored.access));
    }
    Ok(ExitCode::SUCCESS)
}

/// Which moment a restore goes to, and where its log is.
fn moment(arguments: &RestoreArguments, config: &Config) -> anyhow::Result<Option<Moment>> {
    let Some(AtMoment(at)) = arguments.at else { return Ok(None) };
    let mut config = config.clone();
    if let Some(from) = &arguments.from {
        config.backup.ship_url.clone_from(from);
    }
    let ship = stores::shipping(&config)?;
    let ship = ship.context("name where the log was shipped to with --from")?;
    Ok(Some(Moment { at, ship, records_of_base: arguments.records_of_base }))
}

fn show_restore(facts: &Value) -> String {
    let next = if text(facts, "archive") == "copied" {
        "start it with `veritwin serve`"
    } else {
        "put the ledger archive's folder `archive` in place, then start it with `veritwin serve`"
    };
    let moment = &facts["moment"];
    let mut brought = match moment["records_at"].as_str() {
        Some(at) => format!("its readings go up to {}, its records to {at}\n", text(moment, "at")),
        None => String::new(),
    };
    let closed = moment["closed"].as_u64().unwrap_or(0);
    if closed > 0 {
        brought.push_str(&format!(
            "WARNING: no key opens {closed} entries of the log behind the backup: it was destroyed \
             or withdrawn, or does not answer. If it was destroyed and that was not meant to be, \
             restore from a newer backup, or with an older copy of the keyring\n"
        ));
    }
    format!(
        "the platform of {} is in {}: {} files, {} bytes, {} records\n{brought}{next}",
        text(facts, "taken_at"),
        text(facts, "data"),
        number(facts, "files"),
        number(facts, "bytes"),
        number(facts, "rows"),
    )
}

/// The use case's own words, with the place where there is one.
fn placed(error: veritwin_app::Error) -> anyhow::Error {
    match error {
        veritwin_app::Error::Invalid { detail, at: Some(at) } => anyhow::anyhow!("{at}: {detail}"),
        other => anyhow::Error::new(other),
    }
}

/// `veritwin migrate`
pub(super) fn migrate(arguments: &MigrateArguments) -> anyhow::Result<ExitCode> {
    process::forbid_core_dumps()?;
    let place = &arguments.place.place;
    ensure!(
        !arguments.dry_run || place.data.join("instance.json").exists(),
        "there is no platform in {}: name its directory with --data",
        place.data.display()
    );
    let target = arguments.to.unwrap_or(SchemaUpgrade::NEWEST);
    if !(1..=SchemaUpgrade::NEWEST).contains(&target) {
        let newest = SchemaUpgrade::NEWEST;
        let detail = format!("--to must be 1 to {newest}, which is the newest this build knows");
        return Err(super::BadArguments(detail).into());
    }
    let config = run::load_config(place.config.as_deref())?;
    let machine = SystemClock::new();
    let dir = DataDir::open(&place.data, None, &machine, &veritwin_app::system_rng())?;
    let (clock, _) = run::clock_of(&dir)?;
    let app_config = stores::app_config(&config, &dir, clock, false)?;
    let done = block_on(async {
        let found = SchemaUpgrade::open(&app_config).await.map_err(placed)?;
        let done = bring_up(&found, arguments, target).await;
        found.close().await;
        done
    })?;
    if arguments.place.json {
        print_json(&done)?;
    } else {
        print(&show_migration(&done));
    }
    Ok(ExitCode::SUCCESS)
}

async fn bring_up(
    found: &SchemaUpgrade,
    arguments: &MigrateArguments,
    target: i64,
) -> anyhow::Result<Value> {
    let from = found.current();
    let steps = found.pending(target);
    let mut backup = None;
    if !arguments.dry_run && !steps.is_empty() {
        // An empty database has nothing to go back to.
        if from > 0 && !arguments.no_backup {
            let out = match &arguments.backup {
                Some(out) => absolute(out)?,
                None => found.backup_place(target),
            };
            if let Some(above) = out.parent() {
                std::fs::create_dir_all(above)?;
            }
            found.backup(out.clone()).await.map_err(placed)?;
            backup = Some(out);
        }
        found.apply(target).await.map_err(placed)?;
    } else if !arguments.dry_run {
        found.keep_walls().await.map_err(placed)?;
    }
    let facts = |step: &PendingStep| {
        let (sqlite, postgres) = (&step.sqlite, &step.postgres);
        json!({"version": step.version, "sqlite": sqlite, "postgres": postgres})
    };
    Ok(json!({
        "database": if found.is_postgres() { "postgres" } else { "sqlite" },
        "from": from,
        "to": if steps.is_empty() { from } else { target },
        "applied": !arguments.dry_run && !steps.is_empty(),
        "backup": backup,
        "steps": steps.iter().map(facts).collect::<Vec<_>>(),
    }))
}

fn show_migration(facts: &Value) -> String {
    let (from, to) = (&facts["from"], &facts["to"]);
    let steps = facts["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() {
        return format!("schema {from}: nothing to do");
    }
    if facts["applied"] == true {
        let backup = facts["backup"].as_str();
        let backup = backup.map_or_else(String::new, |at| format!("\nbacked up before in {at}"));
        return format!("schema {from} is schema {to} now{backup}");
    }
    let database = text(facts, "database");
    let mut lines = vec![format!("schema {from}, pending up to {to}; nothing was changed")];
    for step in steps {
        lines.push(format!("\n-- step {}", step["version"]));
        for statement in step[database].as_array().into_iter().flatten() {
            lines.push(format!("{};", statement.as_str().unwrap_or_default()));
        }
    }
    lines.join("\n")
}

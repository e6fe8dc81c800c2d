//! `veritwin witness`: the program with which another party witnesses ledgers. It reads its own
//! configuration and never the platform's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use veritwin_domain::SystemClock;
use veritwin_outpost::witness::{Witness, WitnessConfig, witness_key, witnessed_logs};
use veritwin_verify::VerifierKey;

use super::serve::{prepare, runtime};
use super::{BadArguments, print, print_json};
use crate::process::Signals;

#[derive(Args, Debug)]
pub(crate) struct WitnessPlace {
    /// The witness's own configuration (TOML).
    #[arg(long, value_name = "FILE", env = "VERITWIN_WITNESS_CONFIG")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub(crate) enum WitnessCommand {
    /// Prints the witness's key as policies name it; makes it at the first time.
    #[command(after_help = "Example: veritwin witness key --config /etc/veritwin/witness.toml")]
    Key(WitnessPlace),
    /// Runs the witness until it is told to stop.
    #[command(after_help = "Example: veritwin witness serve --config /etc/veritwin/witness.toml")]
    Serve {
        #[command(flatten)]
        place: WitnessPlace,
        /// Logs as JSON.
        #[arg(long)]
        log_json: bool,
    },
    /// Lists the logs with what was cosigned last of each.
    #[command(after_help = "Example: veritwin witness logs --config /etc/veritwin/witness.toml")]
    Logs(WitnessPlace),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessFile {
    directory: PathBuf,
    root_key: PathBuf,
    #[serde(default = "listen")]
    listen: String,
    names: Vec<String>,
    name: String,
    logs: Option<Vec<String>>,
    logs_file: Option<PathBuf>,
}

fn listen() -> String {
    "0.0.0.0:8446".to_owned()
}

fn bad(detail: impl Into<String>) -> anyhow::Error {
    BadArguments(detail.into()).into()
}

fn read(path: &Path) -> anyhow::Result<WitnessConfig> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<WitnessConfig> {
    let file: WitnessFile = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
    let key = |text: &String| {
        let parsed = text.trim().parse::<VerifierKey>();
        parsed.map_err(|error| bad(format!("logs: {text}: {error}")))
    };
    if file.logs.is_none() && file.logs_file.is_none() {
        return Err(bad("logs or logs_file: name the logs that are witnessed"));
    }
    Ok(WitnessConfig {
        directory: file.directory,
        root_key: file.root_key,
        listen: file.listen.parse().map_err(|_| bad("listen must be ADDRESS:PORT"))?,
        names: file.names,
        name: file.name,
        logs: file.logs.iter().flatten().map(key).collect::<anyhow::Result<_>>()?,
        logs_file: file.logs_file,
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(veritwin_app::system_rng()),
    })
}

/// `veritwin witness ...`
pub(super) fn run(command: WitnessCommand) -> anyhow::Result<ExitCode> {
    match command {
        WitnessCommand::Key(place) => {
            let config = read(&place.config)?;
            let vkey = witness_key(&config)?;
            if place.json {
                print_json(&json!({"name": vkey.name(), "vkey": vkey.to_string()}))?;
            } else {
                print(&vkey.to_string());
            }
        }
        WitnessCommand::Serve { place, log_json } => serve(&place, log_json)?,
        WitnessCommand::Logs(place) => logs(&place)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(place: &WitnessPlace, log_json: bool) -> anyhow::Result<()> {
    prepare(log_json)?;
    let config = read(&place.config)?;
    runtime()?.block_on(async move {
        let mut signals = Signals::listen()?;
        let witness = Witness::bind(config).await?;
        print(&format!("The witness listens at https://{}", witness.address()));
        print(&witness.vkey().to_string());
        witness.run(async move { signals.come().await }).await?;
        Ok(())
    })
}

fn logs(place: &WitnessPlace) -> anyhow::Result<()> {
    let config = read(&place.config)?;
    let seen = witnessed_logs(&config.directory, &config.all_logs()?)?;
    if place.json {
        let rows = seen.iter().map(|log| {
            json!({
                "origin": log.origin,
                "tree_size": log.size,
                "root_hash": log.root.to_base64(),
            })
        });
        return print_json(&json!({"items": rows.collect::<Vec<_>>()}));
    }
    let mut rows = vec![["log", "leaves cosigned", "root"].map(str::to_owned).to_vec()];
    for log in seen {
        rows.push(vec![log.origin, log.size.to_string(), log.root.to_base64()]);
    }
    print(&super::commands::columns(&rows));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "example.com/foo+530d903c+AZXAVIi7hqWmQy97ei9ezxGYuN22kBMiZu6XCaNS/3Xg";

    fn file(more: &str, logs: &str) -> String {
        format!(
            "directory = \"/var/lib/w\"\nroot_key = \"/etc/w.key\"\nname = \"w.example\"\n\
             names = [\"w.example\"]\nlogs = [{logs}]\n{more}"
        )
    }

    #[test]
    fn a_short_file_is_enough_and_what_cannot_be_meant_is_refused() {
        let config = parse(&file("", "")).expect("read");
        assert_eq!((config.listen.port(), config.logs.len()), (8446, 0));
        let from_file = file("logs_file = \"/etc/logs.txt\"", "").replace("logs = []\n", "");
        let config = parse(&from_file).expect("read");
        assert_eq!(config.logs_file, Some(PathBuf::from("/etc/logs.txt")));
        let neither = parse(&file("", "").replace("logs = []\n", "")).expect_err("no logs");
        assert!(neither.to_string().contains("logs or logs_file"), "{neither:#}");
        let check = |more: &str, logs: &str, part: &str| {
            let error = format!("{:#}", parse(&file(more, logs)).expect_err(part));
            assert!(error.contains(part), "{error}");
        };
        check("colour = 1", "", "colour");
        check("listen = \"here\"", "", "ADDRESS:PORT");
        check("", &format!("\"{}x\"", &KEY[..20]), "not a verifier key");
    }
}

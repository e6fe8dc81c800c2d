//! `veritwin doctor`: what is wrong with the directory, keys, files, disk, ports, database,
//! certificates, clock and process limits, and what to do about it. It changes nothing.

mod certificates;
mod checks;
mod database;
mod network;
mod proxies;
mod scrub;
mod segments;
mod shipping;
mod stores;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::commands::{block_on, columns};
use super::{JsonPlace, print, print_json};
use crate::config::Config;
use crate::datadir::is_running;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// The check.
    check: &'static str,
    level: Level,
    /// What is so.
    finding: String,
    /// What to do; none when all is well.
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, finding: finding.into(), advice: None }
    }

    fn warning(check: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        let (finding, advice) = (finding.into(), Some(advice.into()));
        Self { check, level: Level::Warning, finding, advice }
    }

    fn error(check: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        let (finding, advice) = (finding.into(), Some(advice.into()));
        Self { check, level: Level::Error, finding, advice }
    }
}

#[derive(Args, Debug, Clone)]
pub(crate) struct DoctorArguments {
    /// Reads everything that is stored and compares, whether the platform runs or not.
    #[arg(long)]
    pub(crate) scrub: bool,
    /// Bytes that it reads in a second; without bound by default.
    #[arg(long, value_name = "BYTES", requires = "scrub")]
    pub(crate) bytes_per_second: Option<u64>,
    #[command(flatten)]
    pub(crate) place: JsonPlace,
}

/// `veritwin doctor`
pub(super) fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    let place = &arguments.place;
    let data = &place.place.data;
    let (config, mut findings) = match crate::run::load_config(place.place.config.as_deref()) {
        Ok(config) => (config, vec![Finding::ok("configuration", "every key is known")]),
        Err(error) => {
            let advice = "correct it; the other checks used the defaults";
            (Config::default(), vec![Finding::error("configuration", error.to_string(), advice)])
        }
    };
    let is_running = is_running(data);
    findings.extend(block_on(checks::all(data, &config, is_running))?);
    if is_running {
        let told = async { Ok(shipping::shipping(&place.place).await) };
        findings.extend(block_on(told)?);
    }
    if arguments.scrub {
        let rate = arguments.bytes_per_second.unwrap_or(0);
        findings.extend(block_on(async { Ok(scrub::now(&place.place, rate).await) })?);
    } else {
        findings.extend(scrub::last(data));
    }
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    if place.json {
        print_json(&findings)?;
    } else {
        print(&show(&findings, is_running));
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(findings: &[Finding], is_running: bool) -> String {
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Error => "ERROR",
            };
            vec![level.to_owned(), finding.check.to_owned(), finding.finding.clone()]
        })
        .collect();
    let mut out = String::new();
    for (line, finding) in columns(&rows).lines().zip(findings) {
        out.push_str(line);
        out.push('\n');
        if let Some(advice) = &finding.advice {
            out.push_str("         do: ");
            out.push_str(advice);
            out.push('\n');
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let state = if is_running { "running" } else { "stopped" };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    out.push_str(&format!("the platform is {state}: {errors} errors, {warnings} warnings"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_what_to_do() {
        let findings = [
            Finding::ok("disk", "9 GiB free"),
            Finding::error("ports", "8443 is taken", "stop the other program"),
        ];
        let shown = show(&findings, false);
        let expected = "ok     disk   9 GiB free\nERROR  ports  8443 is taken\n         do: stop the \
                        other program\nthe platform is stopped: 1 errors, 0 warnings";
        assert_eq!(shown, expected);
        let json = serde_json::to_value(&findings).expect("JSON");
        assert_eq!(json[1]["level"], "error");
        assert_eq!(json[0]["advice"], serde_json::Value::Null);
    }
}

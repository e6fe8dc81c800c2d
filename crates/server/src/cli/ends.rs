//! `veritwin ends`: how long each kind of data of an organisation is kept, out of what acts.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use veritwin_domain::TenantId;

use super::commands::{ask, columns, text};
use super::{JsonPlace, print, print_json};
use crate::control::Request;

pub(super) const EXAMPLE: &str = "Example: veritwin ends --tenant 0190...";
const DAY_SECONDS: u64 = 86_400;

/// What ends when.
#[derive(Args, Debug, Clone)]
pub(crate) struct EndsArguments {
    /// The tenant; not needed while there is only one.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    place: JsonPlace,
}

/// A time as people read it.
fn lasts(seconds: Option<u64>) -> String {
    match seconds {
        None => "as long as the organisation".to_owned(),
        Some(seconds) if seconds.is_multiple_of(DAY_SECONDS) => {
            format!("{} d", seconds / DAY_SECONDS)
        }
        Some(seconds) if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        Some(seconds) => format!("{} min", seconds / 60),
    }
}

/// Runs the command.
pub(super) fn run(arguments: &EndsArguments) -> anyhow::Result<ExitCode> {
    let request = Request::new("ends", json!({"tenant": arguments.tenant}));
    let facts = ask(&arguments.place.place, request)?;
    if arguments.place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["what", "which", "is kept for", "since", "by", "held"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for item in facts["items"].as_array().into_iter().flatten() {
        rows.push(vec![
            text(item, "class").to_owned(),
            text(item, "about").to_owned(),
            lasts(item["seconds"].as_u64()),
            text(item, "since").to_owned(),
            text(item, "source").to_owned(),
            if item["is_held"] == Value::Bool(true) { "yes" } else { "-" }.to_owned(),
        ]);
    }
    print(&columns(&rows));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_what_fits() {
        assert_eq!(lasts(Some(90 * DAY_SECONDS)), "90 d");
        assert_eq!(lasts(Some(12 * 3600)), "12 h");
        assert_eq!(lasts(Some(30 * 60)), "30 min");
        assert_eq!(lasts(None), "as long as the organisation");
    }
}

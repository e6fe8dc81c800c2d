//! `veritwin consent-check`: checks a signed consent record without a platform.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::print;

/// Exit code of a record that was changed or is by another key, as for a ledger.
const TAMPERED: u8 = 10;

/// Which record.
#[derive(Args, Debug, Clone)]
pub(crate) struct ConsentArguments {
    /// The record, as it was given to its person.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The key that has to have signed it, in hexadecimal digits.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// Checks a record and prints what it says.
pub(super) fn check(arguments: &ConsentArguments) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let checked = match veritwin_app::check_consent(&bytes, arguments.key.as_deref()) {
        Ok(checked) => checked,
        Err(veritwin_app::Error::Conflict(problem)) => {
            print(&format!("{}: {problem}", file.display()));
            return Ok(ExitCode::from(TAMPERED));
        }
        Err(error) => return Err(error.into()),
    };
    let record: serde_json::Value =
        serde_json::from_str(&checked.record).context("the record is no JSON")?;
    print(&format!("{record:#}"));
    print(&format!("signed by {}\nSHA-256 of the record: {}", checked.public_key, checked.digest));
    Ok(ExitCode::SUCCESS)
}

//! `veritwin mail`: the keys that sign mail, the DNS records to publish, and their rotation.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::commands::block_on;
use super::{JsonPlace, print, print_json};
use crate::control::Request;
use crate::dispatch;

#[derive(Subcommand)]
pub(crate) enum MailCommand {
    /// Lists the keys that sign mail, with the DNS records (type TXT) to publish.
    #[command(after_help = "Example: veritwin mail keys")]
    Keys(JsonPlace),
    /// Makes the next keys. Publish their records, wait until they are known everywhere, and then
    /// run `veritwin mail activate`.
    #[command(after_help = "Example: veritwin mail rotate")]
    Rotate(JsonPlace),
    /// Signs with the next keys from now on and destroys the private keys of before. Their records
    /// stay published until what they signed has arrived.
    #[command(after_help = "Example: veritwin mail activate")]
    Activate(JsonPlace),
}

/// `veritwin mail ...`
pub(super) fn run(command: &MailCommand) -> anyhow::Result<ExitCode> {
    let (name, place) = match command {
        MailCommand::Keys(place) => ("mail_keys", place),
        MailCommand::Rotate(place) => ("mail_rotate", place),
        MailCommand::Activate(place) => ("mail_activate", place),
    };
    let request = Request::new(name, Value::Null);
    let facts = block_on(dispatch::ask(&place.place, request))?;
    if place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let keys = facts["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    if keys.is_empty() {
        print("no mail server is configured (smtp.url): no mail is sent, and none is signed");
    }
    for key in keys {
        let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
        print(&format!(
            "{} {} ({}, made {})\n  TXT {}",
            text("state"),
            text("name"),
            text("algorithm"),
            text("made_at"),
            text("record")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

//! `veritwin verify`: checks a trust page without a platform.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use veritwin_app::{CheckedTrustPage, TRUST_PAGE_BYTES_MAX, check_trust_page};
use veritwin_verify::VerifierKey;

use super::{print, print_error, print_json};

/// Exit code of a page that was changed or contradicts its evidence, as for a ledger.
const TAMPERED: u8 = 10;

/// Which page.
#[derive(Args, Debug, Clone)]
pub(crate) struct VerifyArguments {
    /// The page, as it was saved.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The key of the log that holds the evidence, from somebody you trust.
    #[arg(long, value_name = "KEY", value_parser = super::ledger::parse_vkey)]
    vkey: Option<VerifierKey>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct CheckedBody<'a> {
    organisation: &'a str,
    operator: &'a str,
    made_at: &'a str,
    log_origin: &'a str,
    log_vkey: &'a str,
    /// Whether the key was given, and not taken from the page.
    key_authenticated: bool,
    states: &'a std::collections::BTreeMap<String, usize>,
    in_log: usize,
    not_in_log: &'a [String],
    not_shown: &'a [String],
}

/// Checks a page and prints what it shows.
pub(super) fn verify(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let shown = file.display();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {shown}"))?;
    // One byte more than is checked: what is longer is refused, and never held.
    let most = u64::try_from(TRUST_PAGE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut page = Vec::new();
    opened.take(most).read_to_end(&mut page).with_context(|| format!("cannot read {shown}"))?;
    let checked = match check_trust_page(&page, arguments.vkey.as_ref()) {
        Ok(checked) => checked,
        Err(veritwin_app::Error::Conflict(problem)) => {
            print_error(&format!("{shown}: {problem}"));
            return Ok(ExitCode::from(TAMPERED));
        }
        Err(error) => return Err(error.into()),
    };
    let is_given = arguments.vkey.is_some();
    if arguments.json {
        print_json(&CheckedBody {
            organisation: &checked.organisation,
            operator: &checked.operator,
            made_at: &checked.made_at,
            log_origin: &checked.log_origin,
            log_vkey: &checked.log_vkey,
            key_authenticated: is_given,
            states: &checked.states,
            in_log: checked.in_log,
            not_in_log: &checked.not_in_log,
            not_shown: &checked.not_shown,
        })?;
    } else {
        print(&words(&checked, is_given));
    }
    Ok(ExitCode::SUCCESS)
}

fn words(checked: &CheckedTrustPage, is_given: bool) -> String {
    let states: Vec<String> =
        checked.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = format!(
        "The page of {} is signed as it stands.\nMade {} by {}.\nPromises: {}.\nIn the log {}: the \
         evidence of {} promises.\n",
        checked.organisation,
        checked.made_at,
        checked.operator,
        states.join(", "),
        checked.log_origin,
        checked.in_log,
    );
    if !checked.not_in_log.is_empty() {
        text.push_str(&format!("Not in the log yet: {}.\n", checked.not_in_log.join(", ")));
    }
    if !checked.not_shown.is_empty() {
        text.push_str(&format!("Shown inside only: {}.\n", checked.not_shown.join(", ")));
    }
    text.push_str(if is_given {
        "The key is the one that was given."
    } else {
        "The key is the page's own, which nobody vouches for: pass the one you trust as --vkey."
    });
    text
}

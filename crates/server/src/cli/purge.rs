//! `veritwin purge` and `veritwin keys shred`: destruction of readings with a certificate, in two
//! steps, and the check of a certificate without a platform.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use veritwin_domain::{DestructionId, DeviceId, TenantId};

use super::commands::{ask, columns, number, text};
use super::{BadArguments, JsonPlace, print, print_json};
use crate::control::Request;

/// Exit code of a certificate that was changed, as for a ledger.
const TAMPERED: u8 = 10;
/// Exit code of a right certificate by another key than the one that was named.
const OTHER_KEY: u8 = 12;

pub(super) const EXAMPLES: &str = "Examples:\n  \
    veritwin purge --scope month:2026-01\n  \
    veritwin purge --scope device:0190... --attributes --reason \"contract ended\" --yes\n  \
    veritwin purge --scope key:occupancy --reason \"not needed\" --yes\n  \
    veritwin purge --list\n  \
    veritwin purge --certificate 0190... > certificate.json\n  \
    veritwin purge --verify certificate.json";

/// What is destroyed for ever, and what is said of it.
#[derive(Args, Debug, Clone)]
pub(crate) struct PurgeArguments {
    /// What: `device:ID`, `key:NAME`, `subject:NAME`, `month:YYYY-MM`, `ledger` or `tenant`.
    /// Without --yes it is only looked at.
    #[arg(long, value_name = "WHAT", group = "act")]
    scope: Option<String>,
    /// With a key: of this device alone.
    #[arg(long, value_name = "ID", requires = "scope")]
    device: Option<DeviceId>,
    /// With a device: its attributes too.
    #[arg(long, requires = "scope")]
    attributes: bool,
    /// Why; it stands in the certificate.
    #[arg(long, value_name = "TEXT", requires = "scope")]
    reason: Option<String>,
    /// Destroys what was looked at. There is no way back.
    #[arg(long, requires = "reason")]
    yes: bool,
    /// Lists destructions and how far they are.
    #[arg(long, group = "act")]
    list: bool,
    /// Prints the certificate of a destruction.
    #[arg(long, value_name = "ID", group = "act")]
    certificate: Option<DestructionId>,
    /// Checks a certificate, without a platform. Exit: 0 right, 10 changed, 12 by another key.
    #[arg(long, value_name = "FILE", group = "act")]
    verify: Option<PathBuf>,
    /// The public key that has to have signed it, in hexadecimal.
    #[arg(long, value_name = "KEY", requires = "verify")]
    key: Option<String>,
    /// The tenant; not needed while there is only one.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    place: JsonPlace,
}

impl PurgeArguments {
    fn ask(&self, step: Value) -> anyhow::Result<Value> {
        let arguments = json!({"tenant": self.tenant, "step": step});
        ask(&self.place.place, Request::new("purge", arguments))
    }
}

/// Runs the command.
pub(super) fn run(arguments: &PurgeArguments) -> anyhow::Result<ExitCode> {
    if let Some(scope) = &arguments.scope {
        return destroy(arguments, scope);
    }
    if arguments.list {
        return list(arguments);
    }
    if let Some(id) = arguments.certificate {
        let facts = arguments.ask(json!({"certificate": {"id": id}}))?;
        print(text(&facts, "certificate").trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    match &arguments.verify {
        Some(file) => verify(file, arguments),
        None => {
            Err(BadArguments("say what: --scope, --list, --certificate or --verify".to_owned())
                .into())
        }
    }
}

fn destroy(arguments: &PurgeArguments, scope: &str) -> anyhow::Result<ExitCode> {
    let (kind, value) = scope.split_once(':').unwrap_or((scope, ""));
    if !matches!(kind, "tenant" | "ledger") && value.is_empty() {
        let detail = format!("--scope {scope}: expected {kind}:VALUE, such as month:2026-01");
        return Err(BadArguments(detail).into());
    }
    let what = json!({
        "kind": kind, "value": value, "device": arguments.device,
        "attributes": arguments.attributes,
    });
    let seen = arguments.ask(json!({"preview": {"what": what.clone()}}))?;
    if !arguments.yes {
        if arguments.place.json {
            print_json(&seen)?;
        } else {
            print(&shown(&seen));
            print("nothing was destroyed: the same with --reason and --yes destroys it for ever");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let destroy = json!({
        "what": what, "reason": arguments.reason, "confirm": text(&seen, "confirm"),
    });
    let made = arguments.ask(json!({"destroy": destroy}))?;
    if arguments.place.json {
        print_json(&made)?;
    } else {
        print(&shown(&seen));
        let when = if made["running"] == true { "now" } else { "when the platform starts" };
        print(&format!(
            "destruction {} is carried out {when}: veritwin purge --list says how far it is",
            text(&made, "id")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(seen: &Value) -> String {
    let stays: Vec<&str> =
        seen["stays"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let held =
        if seen["is_held"] == true { "\na hold keeps some of it: it is refused" } else { "" };
    format!(
        "tenant {}: at most {} readings of {} series of {} devices, in {} sections of {} bytes\n\
         stays: {}\nolder backups can be opened until {} by copies of the keyring of before{held}",
        text(seen, "tenant"),
        number(seen, "readings_at_most"),
        number(seen, "series"),
        number(seen, "devices"),
        number(seen, "sections"),
        number(seen, "bytes"),
        stays.join(", "),
        text(seen, "backup_horizon"),
    )
}

fn list(arguments: &PurgeArguments) -> anyhow::Result<ExitCode> {
    let facts = arguments.ask(json!({"list": {}}))?;
    if arguments.place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["id", "scope", "state", "waits for", "readings", "destroyed", "leaf"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for item in facts["items"].as_array().into_iter().flatten() {
        let or_dash = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
        let leaf =
            item["ledger_index"].as_u64().map_or_else(|| "-".to_owned(), |at| at.to_string());
        rows.push(vec![
            text(item, "id").to_owned(),
            format!("{} {}", text(item, "scope"), text(item, "value")).trim_end().to_owned(),
            text(item, "state").to_owned(),
            or_dash("waits_for"),
            number(item, "readings_destroyed").to_string(),
            or_dash("destroyed_at"),
            leaf,
        ]);
    }
    print(&columns(&rows));
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path, arguments: &PurgeArguments) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let checked = match veritwin_app::check_certificate(&bytes, arguments.key.as_deref()) {
        Ok(checked) => checked,
        Err(veritwin_app::Error::Conflict(problem)) => {
            print(&format!("{}: {problem}", file.display()));
            return Ok(ExitCode::from(TAMPERED));
        }
        Err(error) => return Err(error.into()),
    };
    let statement: Value =
        serde_json::from_str(&checked.statement).context("the statement is no JSON")?;
    if arguments.place.json {
        print_json(&json!({
            "statement": statement,
            "statement_sha256": checked.digest,
            "public_key": checked.public_key,
            "is_expected": checked.is_expected,
        }))?;
    } else {
        print(&format!("{statement:#}"));
        print(&format!(
            "signed by {}\nSHA-256 of the statement, which its leaf in the ledger holds: {}",
            checked.public_key, checked.digest
        ));
        if checked.is_expected.is_none() {
            print("without --key it is not known whose key that is");
        }
    }
    let is_other = checked.is_expected == Some(false);
    if is_other {
        print("it was signed by another key than the one that was named");
    }
    Ok(if is_other { ExitCode::from(OTHER_KEY) } else { ExitCode::SUCCESS })
}

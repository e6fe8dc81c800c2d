//! `veritwin ledger`: export, and offline verification of an exported log. Verification needs no
//! account, no server and no decryption key; it says what it proved and what it could not.

mod bundle;
mod counters;
mod gaps;
mod place;
mod proofs;
mod receipts;
mod served;
mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::json;
use veritwin_domain::TenantId;
use veritwin_verify::{
    CHECKPOINT_BYTES_MAX, ExitClass, Finding, GapOptions, KnownCheckpoint, Policy, SignatureCheck,
    Source, StampAuthorities, VerifierKey, VerifyOptions, consistency, consistency_between,
    verify_log,
};

use super::commands::block_on;
use super::{BadArguments, JsonPlace, print, print_error, print_json};
use crate::control::Request;
use crate::dispatch;
use place::{LogPlace, move_to, progress_bar};

const VKEY_BYTES_MAX: u64 = 4096;
const AUTHORITIES_BYTES_MAX: u64 = 1 << 20;
const POLICY_BYTES_MAX: u64 = veritwin_verify::POLICY_BYTES_MAX as u64;

/// The log.
#[derive(Args, Debug, Clone)]
pub(crate) struct Log {
    #[command(flatten)]
    place: LogPlace,
    /// The log's key as you were given it (NAME+HEX+BASE64); without it the key that came with the
    /// log is used, which proves nothing about who made it.
    #[arg(long, value_name = "KEY", value_parser = parse_vkey)]
    vkey: Option<VerifierKey>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    log: Log,
    /// Which logs and witnesses to trust (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Certificates of the authorities whose time stamps you trust (PEM).
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// A checkpoint you have from earlier, which the log must extend; may be given several times.
    #[arg(long, value_name = "FILE")]
    known: Vec<PathBuf>,
    /// A submitter's public key to accept (64 hexadecimal digits); may be given several times.
    #[arg(long, value_name = "HEX", value_parser = parse_submitter)]
    submitter: Vec<[u8; 32]>,
    /// Leaves the payload files unread.
    #[arg(long)]
    skip_payloads: bool,
    /// An entry that says it was sealed more than an hour before a time stamp that does not cover
    /// it counts as tampered with, also where an outage would explain it.
    #[arg(long)]
    strict_times: bool,
}

#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// Writes a tenant's log in the C2SP tile layout, from a running or a stopped platform. Exit:
    /// 10 a payload or tile is damaged in the archive; the rest was written.
    #[command(after_help = "Example: veritwin ledger export ./export --tenant ID")]
    Export {
        /// The folder to write; it must be new or empty.
        out: PathBuf,
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        #[command(flatten)]
        place: JsonPlace,
    },
    /// Prints the keys of the logs, one a line, the platform's own first: the file of logs that a
    /// witness reads.
    #[command(after_help = "Example: veritwin ledger keys > logs.txt")]
    Keys(JsonPlace),
    /// Verifies a log: every tile, leaf and payload. Exit: 0 verified, 10 tampered, 11 missing,
    /// 12 a required witness policy is unmet, 13 a checkpoint given as --known lies in a part that
    /// was pruned and could not be compared.
    #[command(after_help = "Example: veritwin ledger verify ./export --vkey \"$(cat log.vkey)\"")]
    Verify(VerifyArguments),
    /// Verifies a log as `verify` does, checks every signature one by one and lists sequence gaps.
    #[command(after_help = "Example: veritwin ledger audit ./export --known march.checkpoint")]
    Audit(VerifyArguments),
    /// Builds and checks the proof of one entry (C2SP tlog-proof), by its index or by the number of
    /// a record that it holds; or checks one that you have, with the papers of a reading.
    /// Exit: 12 a required witness policy is unmet, 13 the entry was pruned, 14 its payload was
    /// shredded.
    #[command(after_help = "Examples:\n  veritwin ledger proof ./export --index 7 > 7.proof\n  \
                            veritwin ledger proof ./export --record 4711 > 4711.proof\n  \
                            veritwin ledger proof --check 7.proof --papers 7.json --vkey KEY")]
    Proof(proofs::ProofArguments),
    /// Shows that the log extends a checkpoint you have from earlier, or that one of two
    /// checkpoints extends the other.
    #[command(after_help = "Example: veritwin ledger consistency ./export --old march.checkpoint")]
    Consistency {
        #[command(flatten)]
        log: Log,
        /// The earlier checkpoint.
        #[arg(long, value_name = "FILE")]
        old: PathBuf,
        /// A later one, instead of the log's own, which extends it too.
        #[arg(long, value_name = "FILE")]
        new: Option<PathBuf>,
    },
    /// Lists record sequences that are missing between entries, and which batches of
    /// store-and-forward edges were given up, never submitted or stated twice. The entries have to
    /// lead to the signed checkpoint. With --counter, of bundles of evidence: which numbers of a
    /// counter that devices send no record holds. Exit: 10 tampered, 11 something is missing.
    #[command(after_help = "Examples:\n  veritwin ledger gaps ./export --vkey KEY\n  \
                            veritwin ledger gaps ./export --vkey KEY --edge HEX:1234\n  \
                            veritwin ledger gaps ./bundles --counter n --vkey KEY")]
    Gaps {
        #[command(flatten)]
        place: LogPlace,
        /// An edge's public key and the last batch that it has stated, as `veritwin edge status`
        /// prints them there: what the log lacks behind its last, or all of it, is missing. May be
        /// given several times.
        #[arg(
            long,
            value_name = "KEY:LAST",
            value_parser = gaps::parse_edge,
            conflicts_with = "counter"
        )]
        edge: Vec<([u8; 32], u64)>,
        /// The key under which devices send a number that goes up by one with each message. The
        /// place is a bundle of evidence then (.zip, or unpacked), or a folder of them.
        #[arg(long, value_name = "KEY")]
        counter: Option<String>,
        /// The log's key as you were given it (NAME+HEX+BASE64); without it the key that came with
        /// the log, or the bundle, is used, which proves nothing about who made it.
        #[arg(long, value_name = "KEY", value_parser = parse_vkey)]
        vkey: Option<VerifierKey>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verifies a folder of the mails that a platform sent to an auditor: their DKIM signatures,
    /// their attachments, and that each checkpoint extends the one before it. Exit: 10 a mail was
    /// changed, or the log went back or shows two histories; 11 a mail or a key is missing.
    #[command(after_help = "Example: veritwin ledger receipts ./mails --vkey KEY --dkim keys.txt")]
    Receipts(receipts::ReceiptArguments),
}

pub(super) fn parse_vkey(text: &str) -> Result<VerifierKey, String> {
    text.trim().parse().map_err(|error| format!("{error}: expected NAME+HEX+BASE64"))
}

fn parse_submitter(text: &str) -> Result<[u8; 32], String> {
    let mut key = [0u8; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| "expected 64 hexadecimal digits")?;
    Ok(key)
}

fn bad(detail: String) -> anyhow::Error {
    BadArguments(detail).into()
}

/// `veritwin ledger ...`
pub(super) fn run(command: LedgerCommand) -> anyhow::Result<ExitCode> {
    match command {
        LedgerCommand::Export { out, tenant, place } => export(&out, tenant, &place),
        LedgerCommand::Keys(place) => keys(&place),
        LedgerCommand::Verify(arguments) => verify(&arguments, false),
        LedgerCommand::Audit(arguments) => verify(&arguments, true),
        LedgerCommand::Proof(arguments) => proofs::run(&arguments),
        LedgerCommand::Consistency { log, old, new } => extends(&log, &old, new.as_deref()),
        LedgerCommand::Gaps { place, counter: Some(key), vkey, json, .. } => {
            counters::list(Path::new(&place.log), (&key, vkey.as_ref()), json)
        }
        LedgerCommand::Gaps { place, edge, vkey, json, .. } => {
            gaps::list(&place, &GapOptions { vkey, edges: edge }, json)
        }
        LedgerCommand::Receipts(arguments) => receipts::run(&arguments),
    }
}

fn exit(class: ExitClass) -> ExitCode {
    ExitCode::from(class.code())
}

fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|error| bad(format!("cannot read {shown}: {error}")))?;
    if bytes.len() as u64 > bytes_max {
        return Err(bad(format!("{shown} is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn read_text(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| bad(format!("{} is not text", path.display())))
}

fn keys(place: &JsonPlace) -> anyhow::Result<ExitCode> {
    let facts = block_on(dispatch::ask(&place.place, Request::new("ledger_keys", json!({}))))?;
    if place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let items = facts["items"].as_array().into_iter().flatten();
    let mut lines: Vec<&str> = items.filter_map(|item| item["vkey"].as_str()).collect();
    if lines.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if facts["log_of_logs"].is_null() {
        // Or the first line would be taken for it.
        lines.insert(0, "# the log of logs is not there yet");
    }
    print(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn export(out: &Path, tenant: Option<TenantId>, place: &JsonPlace) -> anyhow::Result<ExitCode> {
    // The platform has another working directory.
    let out = std::path::absolute(out)?;
    let shown = out.display();
    match std::fs::read_dir(&out).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(bad(format!("{shown} is not empty: name a new folder"))),
        Ok(false) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(bad(format!("{shown}: {error}"))),
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar.set_message(format!("exporting to {shown}"));
    let request = Request::new("ledger_export", json!({"tenant": tenant, "out": out}));
    let facts = block_on(dispatch::ask(&place.place, request));
    bar.finish_and_clear();
    let facts = facts?;
    let count = |key: &str| facts[key].as_u64().unwrap_or(0);
    let damaged = count("payloads_damaged") + count("tiles_damaged");
    if place.json {
        print_json(&facts)?;
    } else {
        print(&format!(
            "{}: {} leaves in {} files, {} bytes, written to {shown}",
            facts["origin"].as_str().unwrap_or("log"),
            count("tree_size"),
            count("files"),
            count("bytes"),
        ));
        if count("payloads_absent") > 0 {
            print(&format!(
                "{} payloads that the log names are not there any more",
                count("payloads_absent")
            ));
        }
        if damaged > 0 {
            print(&format!(
                "{} payloads and {} tiles are damaged in the archive; an empty file stands for each:",
                count("payloads_damaged"),
                count("tiles_damaged"),
            ));
            for one in facts["damaged"].as_array().into_iter().flatten() {
                print(&format!("  {}", one.as_str().unwrap_or("?")));
            }
        }
        print(&format!("Anybody can verify it: veritwin ledger verify {shown} --vkey KEY"));
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { exit(ExitClass::Tampered) })
}

/// Logs and witnesses to trust, from a file.
fn policy(path: Option<&Path>) -> anyhow::Result<Option<Policy>> {
    let Some(path) = path else { return Ok(None) };
    let policy = Policy::parse(&read_text(path, POLICY_BYTES_MAX)?);
    policy.map(Some).map_err(|error| bad(format!("{}: {error}", path.display())))
}

/// Whose time stamps are believed, from a file.
fn authorities(path: Option<&Path>) -> anyhow::Result<Option<StampAuthorities>> {
    let Some(path) = path else { return Ok(None) };
    let authorities = StampAuthorities::from_pem(&read_text(path, AUTHORITIES_BYTES_MAX)?);
    authorities.map(Some).map_err(|error| bad(format!("{}: {error}", path.display())))
}

fn options(arguments: &VerifyArguments, every: bool) -> anyhow::Result<VerifyOptions> {
    let mut known = Vec::new();
    for path in &arguments.known {
        let note = read(path, CHECKPOINT_BYTES_MAX)?;
        known.push(KnownCheckpoint { name: path.display().to_string(), note });
    }
    Ok(VerifyOptions {
        vkey: arguments.log.vkey.clone(),
        policy: policy(arguments.policy.as_deref())?,
        authorities: authorities(arguments.authorities.as_deref())?,
        known,
        submitters: arguments.submitter.clone(),
        signatures: if every { SignatureCheck::Every } else { SignatureCheck::Chained },
        skip_payloads: arguments.skip_payloads,
        strict_times: arguments.strict_times,
    })
}

fn verify(arguments: &VerifyArguments, is_audit: bool) -> anyhow::Result<ExitCode> {
    let place = &arguments.log.place;
    if let Some(path) = place.bundle() {
        if is_audit {
            let detail = "a bundle of evidence is no whole log: use `veritwin ledger verify`";
            return Err(bad(detail.to_owned()));
        }
        return bundle::verify(path, arguments);
    }
    let source = place.source()?;
    let options = options(arguments, is_audit)?;
    if place.is_closed(source.as_ref()) {
        if arguments.log.json {
            print_json(&json!({"exit": ExitClass::Missing.as_str(), "findings": []}))?;
        }
        return Ok(exit(ExitClass::Missing));
    }
    let bar = progress_bar("verifying");
    let mut report = verify_log(source.as_ref(), &options, &mut |progress| move_to(&bar, progress));
    let looked = is_audit.then(|| {
        bar.set_message("gaps");
        let options = GapOptions { vkey: options.vkey.clone(), ..GapOptions::default() };
        veritwin_verify::gaps(source.as_ref(), &options, &mut |progress| move_to(&bar, progress))
    });
    bar.finish_and_clear();
    // What keeps it from looking is among the findings.
    let gaps = looked.filter(|gaps| gaps.checked.root.is_some());
    let edges = gaps.as_ref().map_or(ExitClass::Verified, gaps::edges_class);
    if edges != ExitClass::Verified {
        report.notes.push("what edges stated is not all there: see the gaps".to_owned());
        report.exit = match report.exit {
            ExitClass::Tampered => ExitClass::Tampered,
            ExitClass::Missing if edges == ExitClass::Missing => ExitClass::Missing,
            _ => edges,
        };
    }
    if arguments.log.json {
        let mut value = show::report_json(&report);
        if let Some(gaps) = &gaps {
            value["gaps"] = show::gaps_json(gaps);
        }
        print_json(&value)?;
    } else {
        print(&show::report_text(&report, &options));
        if let Some(gaps) = &gaps {
            print(&show::gaps_text(gaps));
        }
        place.hint(&report);
    }
    Ok(exit(report.exit))
}

/// The key to use: the given one, else the log's own, which is not authenticated.
fn key_of(log: &Log, source: &dyn Source) -> anyhow::Result<Option<VerifierKey>> {
    if let Some(key) = &log.vkey {
        return Ok(Some(key.clone()));
    }
    let bytes = source.read("log.vkey", VKEY_BYTES_MAX).context("log.vkey")?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok()))
}

fn extends(log: &Log, old: &Path, new: Option<&Path>) -> anyhow::Result<ExitCode> {
    let source = log.place.source()?;
    let source = source.as_ref();
    let old_note = read(old, CHECKPOINT_BYTES_MAX)?;
    let new_note = new.map(|new| read(new, CHECKPOINT_BYTES_MAX)).transpose()?;
    let Some(key) = key_of(log, source)? else {
        print_error("the log has no usable log.vkey: pass the key as --vkey");
        return Ok(exit(ExitClass::Missing));
    };
    let outcome = match &new_note {
        Some(new_note) => consistency_between(source, &old_note, new_note, &key),
        None => consistency(source, &old_note, &key),
    };
    let is_authenticated = log.vkey.is_some();
    match outcome {
        Ok(answer) => {
            if log.json {
                print_json(&json!({
                    "exit": ExitClass::Verified.as_str(),
                    "origin": answer.new.origin,
                    "old_size": answer.old.size,
                    "tree_size": answer.new.size,
                    "path": answer.path.iter().map(|hash| hash.to_base64()).collect::<Vec<_>>(),
                    "key_authenticated": is_authenticated,
                }))?;
            } else {
                print(&format!(
                    "verified: {} with {} leaves extends its earlier checkpoint with {} leaves",
                    answer.new.origin, answer.new.size, answer.old.size
                ));
                if !is_authenticated {
                    print(show::KEY_NOT_AUTHENTICATED);
                }
            }
            Ok(exit(ExitClass::Verified))
        }
        Err(finding) => show_finding(&finding, log.json),
    }
}

fn show_finding(finding: &Finding, json: bool) -> anyhow::Result<ExitCode> {
    let class = finding.kind.class();
    if json {
        print_json(&json!({
            "exit": class.as_str(),
            "findings": [show::finding_json(finding)],
        }))?;
    } else {
        print(&format!("{}: {finding}", class.as_str()));
    }
    Ok(exit(class))
}

#[cfg(test)]
mod tests;

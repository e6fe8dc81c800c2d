//! `veritwin ledger`: export, and offline verification of an exported log. Verification needs no
//! account, no server and no decryption key; it says what it proved and what it could not.

mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use veritwin_domain::TenantId;
use veritwin_verify::{
    CHECKPOINT_BYTES_MAX, DirectorySource, EdgeReport, ExitClass, Finding, KnownCheckpoint,
    PROOF_BYTES_MAX, Policy, SignatureCheck, Source, TlogProof, VerifierKey, VerifyOptions,
    consistency, gaps, proof, verify_log,
};

use super::commands::block_on;
use super::{BadArguments, JsonPlace, print, print_error, print_json};
use crate::control::Request;
use crate::dispatch;

const VKEY_BYTES_MAX: u64 = 4096;
const POLICY_BYTES_MAX: u64 = veritwin_verify::POLICY_BYTES_MAX as u64;

/// The exported log.
#[derive(Args, Debug, Clone)]
pub(crate) struct Log {
    /// The folder of an exported log.
    #[arg(value_name = "DIR")]
    log: PathBuf,
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
    /// A checkpoint you have from earlier, which the log must extend; may be given several times.
    #[arg(long, value_name = "FILE")]
    known: Vec<PathBuf>,
    /// A submitter's public key to accept (64 hexadecimal digits); may be given several times.
    #[arg(long, value_name = "HEX", value_parser = parse_submitter)]
    submitter: Vec<[u8; 32]>,
    /// Leaves the payload files unread.
    #[arg(long)]
    skip_payloads: bool,
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
    /// Verifies a log: every tile, leaf and payload. Exit: 0 verified, 10 tampered, 11 missing,
    /// 12 a required witness policy is unmet.
    #[command(after_help = "Example: veritwin ledger verify ./export --vkey \"$(cat log.vkey)\"")]
    Verify(VerifyArguments),
    /// Verifies a log as `verify` does, checks every signature one by one and lists sequence gaps.
    #[command(after_help = "Example: veritwin ledger audit ./export --known march.checkpoint")]
    Audit(VerifyArguments),
    /// Builds and checks the proof of one entry (C2SP tlog-proof), or checks one that you have.
    /// Exit: 13 the entry was pruned, 14 its payload was shredded.
    #[command(after_help = "Examples:\n  veritwin ledger proof ./export --index 7 > 7.proof\n  \
                            veritwin ledger proof --check 7.proof --vkey KEY")]
    Proof {
        /// The folder of an exported log.
        #[arg(value_name = "DIR", required_unless_present = "check", requires = "index")]
        log: Option<PathBuf>,
        /// The entry's index, from 0.
        #[arg(long, value_name = "N")]
        index: Option<u64>,
        /// A proof to check, without any log; needs --vkey.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["log", "index"], requires = "vkey")]
        check: Option<PathBuf>,
        /// The log's key as you were given it.
        #[arg(long, value_name = "KEY", value_parser = parse_vkey)]
        vkey: Option<VerifierKey>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows that the log extends a checkpoint you have from earlier.
    #[command(after_help = "Example: veritwin ledger consistency ./export --old march.checkpoint")]
    Consistency {
        #[command(flatten)]
        log: Log,
        /// The earlier checkpoint.
        #[arg(long, value_name = "FILE")]
        old: PathBuf,
    },
    /// Lists record sequences that are missing between entries, and which batches of
    /// store-and-forward edges were given up, never submitted or stated twice.
    #[command(after_help = "Example: veritwin ledger gaps ./export")]
    Gaps {
        /// The folder of an exported log.
        #[arg(value_name = "DIR")]
        log: PathBuf,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
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
        LedgerCommand::Verify(arguments) => verify(&arguments, false),
        LedgerCommand::Audit(arguments) => verify(&arguments, true),
        LedgerCommand::Proof { check: Some(file), vkey: Some(vkey), json, .. } => {
            check_proof(&file, &vkey, json)
        }
        LedgerCommand::Proof { log, index, vkey, json, .. } => {
            let (Some(log), Some(index)) = (log, index) else {
                return Err(bad("a proof needs DIR and --index, or --check and --vkey".to_owned()));
            };
            prove(&Log { log, vkey, json }, index)
        }
        LedgerCommand::Consistency { log, old } => extends(&log, &old),
        LedgerCommand::Gaps { log, json } => list_gaps(&log, json),
    }
}

fn exit(class: ExitClass) -> ExitCode {
    ExitCode::from(class.code())
}

fn source(log: &Path) -> anyhow::Result<DirectorySource> {
    let shown = log.display();
    if log.to_string_lossy().contains("://") {
        return Err(bad(format!(
            "{shown}: a served log is not read yet: export it and name the folder"
        )));
    }
    if !log.is_dir() {
        return Err(bad(format!("{shown} is not a folder: name an exported log")));
    }
    Ok(DirectorySource::new(log))
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

fn progress_bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} leaves  {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
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

fn options(arguments: &VerifyArguments, every: bool) -> anyhow::Result<VerifyOptions> {
    let policy = match &arguments.policy {
        Some(path) => {
            let text = read_text(path, POLICY_BYTES_MAX)?;
            let policy = Policy::parse(&text)
                .map_err(|error| bad(format!("{}: {error}", path.display())))?;
            Some(policy)
        }
        None => None,
    };
    let mut known = Vec::new();
    for path in &arguments.known {
        let note = read(path, CHECKPOINT_BYTES_MAX)?;
        known.push(KnownCheckpoint { name: path.display().to_string(), note });
    }
    Ok(VerifyOptions {
        vkey: arguments.log.vkey.clone(),
        policy,
        known,
        submitters: arguments.submitter.clone(),
        signatures: if every { SignatureCheck::Every } else { SignatureCheck::Chained },
        skip_payloads: arguments.skip_payloads,
    })
}

fn verify(arguments: &VerifyArguments, is_audit: bool) -> anyhow::Result<ExitCode> {
    let source = source(&arguments.log.log)?;
    let options = options(arguments, is_audit)?;
    let bar = progress_bar("verifying");
    let report = verify_log(&source, &options, &mut |progress| {
        bar.set_length(progress.leaves_total);
        bar.set_position(progress.leaves);
    });
    bar.finish_and_clear();
    let gaps = is_audit.then(|| gaps(&source).ok()).flatten();
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
    }
    Ok(exit(report.exit))
}

fn prove(log: &Log, index: u64) -> anyhow::Result<ExitCode> {
    let source = source(&log.log)?;
    let options = VerifyOptions { vkey: log.vkey.clone(), ..VerifyOptions::default() };
    let answer = proof(&source, index, &options);
    let report = &answer.report;
    if log.json {
        let mut value = show::report_json(report);
        value["index"] = json!(index);
        value["leaf"] = answer.leaf.as_ref().map_or(json!(null), show::leaf_json);
        value["proof"] = json!(answer.proof.as_ref().map(TlogProof::to_text));
        print_json(&value)?;
        return Ok(exit(report.exit));
    }
    // The proof is for a file; what there is to say about it goes beside it.
    if let Some(proof) = &answer.proof {
        print(proof.to_text().trim_end());
    }
    print_error(&format!("entry {index}: {}", report.exit.as_str()));
    if let Some(leaf) = &answer.leaf {
        print_error(&show::leaf_text(leaf));
    }
    for line in show::statements(report) {
        print_error(&line);
    }
    Ok(exit(report.exit))
}

fn check_proof(file: &Path, vkey: &VerifierKey, json: bool) -> anyhow::Result<ExitCode> {
    let text = read_text(file, PROOF_BYTES_MAX as u64)?;
    let checked = TlogProof::parse(&text).and_then(|proof| proof.check(vkey, None));
    match checked {
        Ok(checked) => {
            if json {
                print_json(&json!({
                    "exit": ExitClass::Verified.as_str(),
                    "index": checked.index,
                    "origin": checked.checkpoint.origin,
                    "tree_size": checked.checkpoint.size,
                    "root_hash": checked.checkpoint.root.to_base64(),
                    "leaf": show::leaf_json(&checked.leaf),
                }))?;
            } else {
                print(&format!(
                    "verified: entry {} is in the tree of {} leaves of {}\n{}",
                    checked.index,
                    checked.checkpoint.size,
                    checked.checkpoint.origin,
                    show::leaf_text(&checked.leaf)
                ));
            }
            Ok(exit(ExitClass::Verified))
        }
        Err(error) => {
            if json {
                let problem = error.to_string();
                print_json(&json!({"exit": ExitClass::Tampered.as_str(), "problem": problem}))?;
            } else {
                print(&format!("tampered: {}: {error}", file.display()));
            }
            Ok(exit(ExitClass::Tampered))
        }
    }
}

/// The key to use: the given one, else the log's own, which is not authenticated.
fn key_of(log: &Log, source: &dyn Source) -> anyhow::Result<Option<VerifierKey>> {
    if let Some(key) = &log.vkey {
        return Ok(Some(key.clone()));
    }
    let bytes = source.read("log.vkey", VKEY_BYTES_MAX).context("log.vkey")?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok()))
}

fn extends(log: &Log, old: &Path) -> anyhow::Result<ExitCode> {
    let source = source(&log.log)?;
    let old_note = read(old, CHECKPOINT_BYTES_MAX)?;
    let Some(key) = key_of(log, &source)? else {
        print_error("the log has no usable log.vkey: pass the key as --vkey");
        return Ok(exit(ExitClass::Missing));
    };
    let outcome = consistency(&source, &old_note, &key);
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

fn list_gaps(log: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let report = match gaps(&source(log)?) {
        Ok(report) => report,
        Err(finding) => return show_finding(&finding, json),
    };
    if json {
        print_json(&show::gaps_json(&report))?;
    } else {
        print(&show::gaps_text(&report));
    }
    let is_missing = |edge: &EdgeReport| edge.has_missing();
    let is_whole =
        report.gaps.is_empty() && report.unreadable == 0 && !report.edges.iter().any(is_missing);
    Ok(exit(if report.edges.iter().any(EdgeReport::is_contradicted) {
        ExitClass::Tampered
    } else if is_whole {
        ExitClass::Verified
    } else {
        ExitClass::Missing
    }))
}

#[cfg(test)]
mod tests;

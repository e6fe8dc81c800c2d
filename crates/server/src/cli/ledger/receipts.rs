//! `veritwin ledger receipts`: a folder of mails as they were received, verified offline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use veritwin_verify::{
    DkimKeys, KeyTrust, MAIL_BYTES_MAX, MAILS_MAX, MailFile, ReceiptOptions, ReceiptReport,
    VerifierKey, receipts,
};

use super::super::{print, print_json};
use super::{authorities, bad, exit, parse_vkey, read, read_text, show};

const KEYS_BYTES_MAX: u64 = 4 << 20;
/// Folders of a Maildir that hold mails.
const MAILDIR: [&str; 2] = ["cur", "new"];

/// The folder, and the keys that the reader was given.
#[derive(Args, Debug, Clone)]
pub(crate) struct ReceiptArguments {
    /// A folder with one mail in each file, as received (.eml), or a Maildir.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The log's key as you were given it (NAME+HEX+BASE64); without it the key of the first mail
    /// is used, which proves nothing about who made the log.
    #[arg(long, value_name = "KEY", value_parser = parse_vkey)]
    vkey: Option<VerifierKey>,
    /// The sending domain's DKIM keys, one a line: SELECTOR._domainkey.DOMAIN and its TXT record.
    /// Without them the keys that the mails themselves recorded are used.
    #[arg(long, value_name = "FILE")]
    dkim: Option<PathBuf>,
    /// Certificates of the authorities whose time stamps you trust (PEM).
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// The files of the folder, in the order of their names.
fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(bad(format!("{shown} is not a folder: name a folder of mails")));
    }
    let mut files = Vec::new();
    let below = MAILDIR.iter().map(|name| folder.join(name)).filter(|path| path.is_dir());
    for place in std::iter::once(folder.to_owned()).chain(below) {
        for entry in std::fs::read_dir(&place)? {
            let entry = entry?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !is_hidden && entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
    }
    if files.len() > MAILS_MAX {
        return Err(bad(format!("{shown} holds more than {MAILS_MAX} mails")));
    }
    files.sort();
    Ok(files)
}

/// `veritwin ledger receipts`
pub(super) fn run(arguments: &ReceiptArguments) -> anyhow::Result<ExitCode> {
    let dkim = match &arguments.dkim {
        Some(path) => {
            let keys = DkimKeys::parse(&read_text(path, KEYS_BYTES_MAX)?);
            let keys = keys.map_err(|error| bad(format!("{}: {error}", path.display())))?;
            if keys.is_empty() {
                return Err(bad(format!("{} holds no key", path.display())));
            }
            Some(keys)
        }
        None => None,
    };
    let options = ReceiptOptions {
        vkey: arguments.vkey.clone(),
        dkim,
        authorities: authorities(arguments.authorities.as_deref())?,
    };
    let mut unreadable = None;
    let mails = files_in(&arguments.folder)?.into_iter().map_while(|path| {
        let name = path.strip_prefix(&arguments.folder).unwrap_or(&path).display().to_string();
        match read(&path, MAIL_BYTES_MAX) {
            Ok(bytes) => Some(MailFile { name, bytes }),
            Err(error) => {
                unreadable = Some(error);
                None
            }
        }
    });
    let out = receipts(mails, &options);
    if let Some(error) = unreadable {
        return Err(error);
    }
    if arguments.json {
        let mut value = show::report_json(&out.report);
        value["mails"] = json!(out.mails);
        value["others"] = json!(out.others);
        value["proofs"] = json!(out.proofs);
        value["dkim_signatures"] = json!(out.signatures);
        value["dkim_keys"] = json!(if options.dkim.is_some() { "given" } else { "recorded" });
        value["mailings"] = json!(out.chains);
        print_json(&value)?;
    } else {
        print(&text(&out, &options));
    }
    Ok(exit(out.report.exit))
}

fn text(out: &ReceiptReport, options: &ReceiptOptions) -> String {
    let report = &out.report;
    let mut lines: Vec<String> = out
        .chains
        .iter()
        .map(|chain| {
            format!(
                "mailing {} of {}: {} mails, {}-{}, up to a tree of {} leaves",
                chain.mailing, chain.origin, chain.mails, chain.first, chain.last, chain.tree_size
            )
        })
        .collect();
    if out.others > 0 {
        lines.push(format!("{} files are no ledger mails and were left aside", out.others));
    }
    lines.extend(report.findings.iter().map(|one| format!("{}: {one}", one.kind.class().as_str())));
    let more = report.findings_total - report.findings.len() as u64;
    if more > 0 {
        lines.push(format!("and {more} findings more"));
    }
    lines.extend(report.notes.iter().cloned());
    if report.findings_total == 0 {
        lines.push(format!(
            "proven: {} mails hold {} DKIM signatures, their attachments are those that were sent, \
             each checkpoint extends the one before it, and {} proofs of entries hold",
            out.mails, out.signatures, out.proofs
        ));
    }
    if options.dkim.is_none() {
        lines.push(
            "not proven: who sent the mails. Their DKIM keys came with them; look them up in the \
             sender's DNS and pass them as --dkim"
                .to_owned(),
        );
    }
    if !matches!(report.key, KeyTrust::Authenticated(_)) {
        lines.push(show::KEY_NOT_AUTHENTICATED.to_owned());
    }
    lines.push(report.exit.as_str().to_uppercase());
    lines.join("\n")
}

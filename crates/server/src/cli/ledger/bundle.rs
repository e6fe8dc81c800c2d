//! `veritwin ledger verify` of a bundle of evidence: the zip file as it was downloaded, or the
//! folder that it was unpacked into.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use veritwin_verify::{EVIDENCE_FILE, KeyTrust, ZIP_BYTES_MAX, unzip_stored, verify_evidence};

use super::super::{print, print_json};
use super::{VerifyArguments, authorities, bad, exit, read, show};

/// Most files of an unpacked bundle.
const FILES_MAX: usize = 10_000;

/// Whether a path is a bundle and not an exported log.
pub(super) fn is_bundle(path: &Path) -> bool {
    path.is_file() || path.join(EVIDENCE_FILE).is_file()
}

/// The files of a bundle by name.
pub(super) fn files(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let shown = path.display();
    if path.is_file() {
        let zip = read(path, ZIP_BYTES_MAX)?;
        return unzip_stored(&zip).map_err(|error| bad(format!("{shown}: {error}")));
    }
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, read(&entry.path(), ZIP_BYTES_MAX)?);
        if files.len() > FILES_MAX {
            return Err(bad(format!("{shown} holds more than {FILES_MAX} files")));
        }
    }
    Ok(files)
}

pub(super) fn verify(path: &Path, arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    if arguments.policy.is_some() || !arguments.known.is_empty() || !arguments.submitter.is_empty()
    {
        let detail = "--policy, --known and --submitter are of a whole log, not of a bundle";
        return Err(bad(detail.to_owned()));
    }
    let authorities = authorities(arguments.authorities.as_deref())?;
    let (vkey, json) = (arguments.log.vkey.as_ref(), arguments.log.json);
    let out = verify_evidence(&files(path)?, vkey, authorities.as_ref());
    let report = &out.report;
    if json {
        let mut value = show::report_json(report);
        value["entries_proven"] = json!(out.entries);
        value["records_proven"] = json!(out.records);
        print_json(&value)?;
        return Ok(exit(report.exit));
    }
    let mut lines = Vec::new();
    if let Some(origin) = &report.origin {
        lines.push(format!("evidence from the log {origin}"));
    }
    lines.extend(report.findings.iter().map(|one| format!("{}: {one}", one.kind.class().as_str())));
    lines.extend(report.notes.iter().cloned());
    if !matches!(report.key, KeyTrust::Authenticated(_)) {
        lines.push(show::KEY_NOT_AUTHENTICATED.to_owned());
    }
    lines.push("not proven: that what the devices measured was true".to_owned());
    lines.push(report.exit.as_str().to_uppercase());
    print(&lines.join("\n"));
    Ok(exit(report.exit))
}

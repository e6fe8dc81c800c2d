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

/// What an exported log has and no bundle. A checkpoint both have.
const OF_A_LOG: [&str; 3] = ["tile", "payload", "published"];

/// Whether a path is a bundle and not an exported log. What has something of both is a log, beside
/// which the bundle is a finding.
pub(super) fn is_bundle(path: &Path) -> bool {
    let is_log = OF_A_LOG.iter().any(|name| path.join(name).exists());
    path.is_file() || (!is_log && path.join(EVIDENCE_FILE).is_file())
}

/// The files of a bundle by name.
pub(super) fn files(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let shown = path.display();
    if path.is_file() {
        let zip = read(path, ZIP_BYTES_MAX)?;
        return unzip_stored(&zip).map_err(|error| bad(format!("{shown}: {error}")));
    }
    files_within(path, ZIP_BYTES_MAX)
}

/// The files of a folder, which together are no larger than this.
fn files_within(path: &Path, bytes_max: u64) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let shown = path.display();
    let (mut files, mut left) = (BTreeMap::new(), bytes_max);
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is no file is no part of a bundle, which its name tells.
        let mut bytes = Vec::new();
        if entry.file_type()?.is_file() {
            if entry.metadata()?.len() > left {
                return Err(bad(format!("{shown} holds more than {bytes_max} bytes")));
            }
            bytes = read(&entry.path(), left)?;
        }
        left = left.saturating_sub(bytes.len() as u64);
        files.insert(name, bytes);
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
        value["stated"] = json!(out.stated);
        value["not_checked"] = json!(out.unchecked);
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
    lines.extend(out.unchecked.iter().map(|one| format!("not checked: {one}")));
    if !out.stated.is_empty() {
        let stated = out.stated.join(", ");
        lines.push(format!("not proven: what whoever made this bundle says of it: {stated}"));
    }
    lines.push("not proven: that the rest of the log is whole: this is a bundle of it".to_owned());
    lines.push("not proven: that what the devices measured was true".to_owned());
    lines.push(report.exit.as_str().to_uppercase());
    print(&lines.join("\n"));
    Ok(exit(report.exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_up_to_a_bound_and_one_with_tiles_is_a_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        std::fs::write(at.join(EVIDENCE_FILE), [1; 600]).expect("a file");
        std::fs::write(at.join("checkpoint"), [2; 400]).expect("a file");
        assert!(is_bundle(at));
        assert_eq!(files_within(at, 1000).expect("files").len(), 2);
        let error = files_within(at, 999).expect_err("too large").to_string();
        assert!(error.contains("more than 999 bytes"), "{error}");
        for name in OF_A_LOG {
            std::fs::create_dir(at.join(name)).expect("a folder");
            assert!(!is_bundle(at), "{name}");
            std::fs::remove_dir(at.join(name)).expect("removed");
        }
        std::fs::create_dir(at.join("more")).expect("a folder");
        assert!(is_bundle(at) && files_within(at, 1000).expect("files").contains_key("more"));
    }
}

//! `veritwin ledger gaps --counter`: what the counters that devices send add up to, in bundles of
//! evidence that are verified first.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use veritwin_verify::{
    CounterGaps, CounterReport, EVIDENCE_FILE, Evidence, ExitClass, KeyTrust, VerifierKey,
    verify_evidence,
};

use super::super::{print, print_json};
use super::bundle::{files, is_bundle};
use super::{bad, exit, show};

/// Most bundles of a folder.
const BUNDLES_MAX: usize = 10_000;
/// Ranges shown one by one to people.
const SHOWN_MAX: usize = 100;

/// The bundle, or those of a folder, in the order of their names.
fn bundles(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if is_bundle(path) {
        return Ok(vec![path.to_owned()]);
    }
    let shown = path.display();
    if !path.is_dir() {
        let expected = "expected a bundle of evidence, or a folder of them";
        return Err(bad(format!("{shown}: {expected}")));
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "zip") {
            all.push(path);
        }
        if all.len() > BUNDLES_MAX {
            return Err(bad(format!("{shown} holds more than {BUNDLES_MAX} bundles")));
        }
    }
    if all.is_empty() {
        return Err(bad(format!("{shown} holds no bundle of evidence (.zip)")));
    }
    all.sort_unstable();
    Ok(all)
}

/// What was read of all bundles.
#[derive(Default)]
struct Read {
    gaps: CounterGaps,
    origin: Option<String>,
    /// The key of one of them was not given.
    is_believed: bool,
}

impl Read {
    /// Takes the records of a bundle; those that are wrong with it, if it does not verify.
    fn take(
        &mut self,
        path: &Path,
        (key, vkey): (&str, Option<&VerifierKey>),
    ) -> anyhow::Result<Option<veritwin_verify::Report>> {
        let files = files(path)?;
        let report = verify_evidence(&files, vkey, None).report;
        if report.exit != ExitClass::Verified {
            return Ok(Some(report));
        }
        if self.origin.is_some() && self.origin != report.origin {
            return Err(bad(format!("{}: it is of another log", path.display())));
        }
        self.is_believed |= !matches!(report.key, KeyTrust::Authenticated(_));
        self.origin = report.origin;
        let bytes = files.get(EVIDENCE_FILE).map(Vec::as_slice).unwrap_or_default();
        let evidence: Evidence = serde_json::from_slice(bytes)?;
        let records = evidence.entries.iter().flat_map(|entry| &entry.records);
        for proof in records.filter_map(veritwin_verify::EvidenceRecord::proof) {
            self.gaps.note(&proof, key);
        }
        Ok(None)
    }
}

/// Lists, for each device, the numbers that no record holds.
pub(super) fn list(
    path: &Path,
    (key, vkey): (&str, Option<&VerifierKey>),
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut read = Read::default();
    for path in bundles(path)? {
        let Some(report) = read.take(&path, (key, vkey))? else { continue };
        if json {
            print_json(&show::report_json(&report))?;
        } else {
            let found = report.findings.iter().map(|one| format!("{}: {one}", path.display()));
            print(&found.collect::<Vec<_>>().join("\n"));
        }
        return Ok(exit(report.exit));
    }
    let reports = read.gaps.reports();
    if reports.is_empty() {
        return Err(bad(format!("no record of these bundles holds a reading of {key}")));
    }
    if json {
        let devices: Vec<Value> = reports.iter().map(report_json).collect();
        let value = json!({
            "origin": read.origin,
            "key": if read.is_believed { "not_authenticated" } else { "authenticated" },
            "counter": key,
            "devices": devices,
        });
        print_json(&value)?;
    } else {
        let mut lines: Vec<String> = reports.iter().map(report_text).collect();
        if read.is_believed {
            lines.push(show::KEY_NOT_AUTHENTICATED.to_owned());
        }
        print(&lines.join("\n"));
    }
    let is_whole = reports.iter().all(|report| report.missing.is_empty() && !report.truncated);
    Ok(exit(if is_whole { ExitClass::Verified } else { ExitClass::Missing }))
}

fn report_json(report: &CounterReport) -> Value {
    json!({
        "device": report.device,
        "first": report.first,
        "last": report.last,
        "numbers": report.numbers,
        "repeated": report.repeated,
        "missing": report.missing,
        "others": report.others,
        "truncated": report.truncated,
    })
}

fn report_text(report: &CounterReport) -> String {
    let CounterReport { device, first, last, numbers, repeated, missing, others, truncated } =
        report;
    let mut text = format!("device {device}: {numbers} numbers from {first} to {last}");
    if *repeated > 0 {
        text += &format!(", {repeated} repeated");
    }
    if *others > 0 {
        text += &format!(", {others} values that are no numbers");
    }
    for (from, to) in missing.iter().take(SHOWN_MAX) {
        text += &format!("\n  in none of these records: {from} to {to}");
    }
    if missing.len() > SHOWN_MAX || *truncated {
        text += "\n  and more than is listed";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let report = CounterReport {
            device: "pump".to_owned(),
            first: 1,
            last: 9,
            numbers: 7,
            missing: vec![(3, 4)],
            ..CounterReport::default()
        };
        let text = report_text(&report);
        assert!(
            text.contains("7 numbers from 1 to 9\n  in none of these records: 3 to 4"),
            "{text}"
        );
    }

    #[test]
    fn only_bundles_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = bundles(folder.path()).expect_err("no bundle").to_string();
        assert!(empty.contains("holds no bundle"), "{empty}");
        std::fs::write(folder.path().join("b.zip"), b"").expect("a file");
        std::fs::write(folder.path().join("a.zip"), b"").expect("a file");
        std::fs::write(folder.path().join("notes.txt"), b"").expect("a file");
        let all = bundles(folder.path()).expect("bundles");
        assert_eq!(all, [folder.path().join("a.zip"), folder.path().join("b.zip")]);
        assert!(bundles(&folder.path().join("none")).is_err());
    }
}

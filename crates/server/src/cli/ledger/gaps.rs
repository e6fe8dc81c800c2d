//! `veritwin ledger gaps` of a log: what is missing between entries, and of what edges stated.

use std::process::ExitCode;

use serde_json::json;
use veritwin_verify::{EdgeReport, ExitClass, GapOptions, GapReport, KeyTrust, gaps};

use super::super::{print, print_json};
use super::place::{LogPlace, move_to, progress_bar};
use super::{exit, show};

/// An edge's public key and the last counter that it has stated.
pub(super) fn parse_edge(text: &str) -> Result<([u8; 32], u64), String> {
    let form = || "expected KEY:LAST, 64 hexadecimal digits and a number".to_owned();
    let (key, last) = text.split_once(':').ok_or_else(form)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(key, &mut bytes).map_err(|_| form())?;
    Ok((bytes, last.parse().map_err(|_| form())?))
}

/// Lists the gaps of a log.
pub(super) fn list(place: &LogPlace, options: &GapOptions, json: bool) -> anyhow::Result<ExitCode> {
    let source = place.source()?;
    let bar = progress_bar("gaps");
    let report = gaps(source.as_ref(), options, &mut |progress| move_to(&bar, progress));
    bar.finish_and_clear();
    let class = class(&report);
    if json {
        let mut value = show::gaps_json(&report);
        value["exit"] = json!(class.as_str());
        value["log"] = show::report_json(&report.checked);
        print_json(&value)?;
        return Ok(exit(class));
    }
    let findings = report.checked.findings.iter();
    let mut lines: Vec<String> =
        findings.map(|one| format!("{}: {one}", one.kind.class().as_str())).collect();
    if report.checked.root.is_some() {
        lines.push(show::gaps_text(&report));
    }
    if report.checked.exit != ExitClass::Verified {
        lines.push("not proven: that these entries are the log's: see the findings".to_owned());
    }
    if matches!(report.checked.key, KeyTrust::NotAuthenticated(_)) {
        lines.push(show::KEY_NOT_AUTHENTICATED.to_owned());
    }
    print(&lines.join("\n"));
    Ok(exit(class))
}

/// "Tampered" outweighs "missing".
fn class(report: &GapReport) -> ExitClass {
    let is_whole = report.gaps.is_empty() && report.unreadable == 0;
    let sequence = if is_whole { ExitClass::Verified } else { ExitClass::Missing };
    let all = [report.checked.exit, edges_class(report), sequence];
    all.into_iter().filter(|class| *class != ExitClass::Verified).min().unwrap_or(sequence)
}

/// What the statements of edges come to.
pub(super) fn edges_class(report: &GapReport) -> ExitClass {
    if report.edges.iter().any(EdgeReport::is_contradicted) {
        ExitClass::Tampered
    } else if report.edges.iter().any(EdgeReport::has_missing) {
        ExitClass::Missing
    } else {
        ExitClass::Verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_named_by_key_and_counter() {
        let key = "0a".repeat(32);
        assert_eq!(parse_edge(&format!("{key}:17")), Ok(([10; 32], 17)));
        for wrong in ["", "17", &key, &format!("{key}:"), &format!("{key}:-1"), "0a:17"] {
            assert!(parse_edge(wrong).is_err(), "{wrong}");
        }
    }
}

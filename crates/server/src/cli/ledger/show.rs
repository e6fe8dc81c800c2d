//! What verification found, as text for people and as JSON for programs. It ends with what was
//! proven and what was not.

use std::fmt::Write;

use serde_json::{Value, json};
use veritwin_verify::{
    Act, EdgeReport, ExitClass, Finding, GapReport, KeyTrust, Leaf, Report, VerifyOptions,
};

/// Gaps shown one by one to people.
const GAPS_SHOWN_MAX: usize = 100;

/// Said wherever the key came with the log itself.
pub(super) const KEY_NOT_AUTHENTICATED: &str = "not proven: who made the log. Its key came with \
    it and is not authenticated; pass the key that you were given as --vkey";

/// A finding as JSON.
pub(super) fn finding_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind,
        "class": finding.kind.class().as_str(),
        "file": finding.file,
        "leaf": finding.leaf.as_ref().map(|leaf| json!({
            "index": leaf.index,
            "batch_id": leaf.batch.map(|batch| batch.to_string()),
            "first_sequence": leaf.records.map(|records| records.0),
            "last_sequence": leaf.records.map(|records| records.1),
        })),
        "problem": finding.problem,
        "expected": finding.expected,
        "found": finding.found,
    })
}

/// A report as JSON.
pub(super) fn report_json(report: &Report) -> Value {
    let (key, vkey) = match &report.key {
        KeyTrust::Authenticated(key) => ("authenticated", Some(key)),
        KeyTrust::NotAuthenticated(key) => ("not_authenticated", Some(key)),
        KeyTrust::None => ("none", None),
    };
    let counts = &report.counts;
    json!({
        "exit": report.exit.as_str().replace(' ', "_"),
        "code": report.exit.code(),
        "origin": report.origin,
        "tree_size": report.size,
        "root_hash": report.root.map(|root| root.to_base64()),
        "key": key,
        "vkey": vkey,
        "submitters": report.submitters,
        "witnesses": report.witnesses.as_ref().map(|witnesses| json!({
            "required": witnesses.required,
            "known": witnesses.known,
            "cosigned": witnesses.cosigned,
            "met": witnesses.met,
        })),
        "witnessed": report.witnessed.map(|witnessed| json!({
            "tree_size": witnessed.size,
            "unwitnessed": witnessed.unwitnessed,
        })),
        "time_stamps": report.stamps.iter().map(|seen| json!({
            "tree_size": seen.size,
            "at": seen.stamp.at.to_string(),
            "signer": seen.stamp.signer,
            "authenticated": seen.stamp.is_authenticated,
        })).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "findings_total": report.findings_total,
        "notes": report.notes,
        "checked": {
            "leaves": counts.leaves,
            "records": counts.records,
            "signatures": counts.signatures,
            "tiles": counts.tiles,
            "payloads": counts.payloads,
            "payload_bytes": counts.payload_bytes,
            "pruned": counts.pruned,
            "shredded": counts.shredded,
        },
    })
}

/// What can be said beside the findings: the key, the notes.
pub(super) fn statements(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    lines.extend(report.notes.iter().cloned());
    if matches!(report.key, KeyTrust::NotAuthenticated(_)) {
        lines.push(KEY_NOT_AUTHENTICATED.to_owned());
    }
    lines
}

/// A report for people: findings, counts, then what was proven and what was not.
pub(super) fn report_text(report: &Report, options: &VerifyOptions) -> String {
    let mut out = String::new();
    if let (Some(origin), Some(root)) = (&report.origin, &report.root) {
        let _ = writeln!(out, "log {origin}: {} leaves, root {root}", report.size);
    }
    for finding in &report.findings {
        let _ = writeln!(out, "{}: {finding}", finding.kind.class().as_str().to_uppercase());
    }
    let more = report.findings_total - report.findings.len() as u64;
    if more > 0 {
        let _ = writeln!(out, "and {more} findings more");
    }
    let counts = &report.counts;
    let _ = writeln!(
        out,
        "read {} leaves with {} records, {} tiles, {} payloads ({} bytes), {} signatures",
        counts.leaves,
        counts.records,
        counts.tiles,
        counts.payloads,
        counts.payload_bytes,
        counts.signatures
    );
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let (proven, not_proven) = verdicts(report, options);
    for line in proven {
        let _ = writeln!(out, "proven: {line}");
    }
    for line in not_proven {
        let _ = writeln!(out, "not proven: {line}");
    }
    out.push_str(&report.exit.as_str().to_uppercase());
    out
}

fn verdicts(report: &Report, options: &VerifyOptions) -> (Vec<String>, Vec<String>) {
    let mut proven = Vec::new();
    let mut not_proven = Vec::new();
    let holds = matches!(report.exit, ExitClass::Verified | ExitClass::WitnessPolicyUnmet);
    if holds {
        proven.push(format!(
            "the {} leaves form the signed tree; none was altered, added, removed or reordered \
             since the checkpoint was signed",
            report.size
        ));
        if options.skip_payloads {
            not_proven.push("that the payloads are those that were sealed".to_owned());
        } else {
            proven.push(format!(
                "{} payloads are byte for byte those that were sealed",
                report.counts.payloads
            ));
        }
        if !options.known.is_empty() {
            proven.push(format!("the log extends {} earlier checkpoints", options.known.len()));
        }
    } else {
        not_proven.push("that this log is whole and unaltered: see the findings".to_owned());
    }
    match &report.key {
        KeyTrust::Authenticated(_) if holds => {
            proven.push("the checkpoint was signed with the key that you gave".to_owned());
        }
        KeyTrust::Authenticated(_) => {}
        KeyTrust::NotAuthenticated(_) => {
            let line = KEY_NOT_AUTHENTICATED.trim_start_matches("not proven: ");
            not_proven.push(line.to_owned());
        }
        KeyTrust::None => not_proven.push("who made the log: there is no key".to_owned()),
    }
    if options.known.is_empty() {
        not_proven.push(
            "that you were shown the same log as others: keep this checkpoint and pass it later \
             as --known, or require witnesses with --policy"
                .to_owned(),
        );
    }
    not_proven.push("that what the devices measured was true".to_owned());
    (proven, not_proven)
}

/// A leaf as JSON.
pub(super) fn leaf_json(leaf: &Leaf) -> Value {
    json!({
        "kind": leaf.kind().as_str(),
        "batch_id": leaf.batch.to_string(),
        "first_sequence": leaf.first_sequence,
        "last_sequence": leaf.last_sequence(),
        "count": leaf.count,
        "from": leaf.events_from.to_string(),
        "to": leaf.events_to.to_string(),
        "sealed_at": leaf.sealed_at.to_string(),
        "payload_sha256": (leaf.payload_bytes > 0).then(|| leaf.payload.to_string()),
        "payload_bytes": leaf.payload_bytes,
        "records_root": leaf.records_root.to_string(),
    })
}

/// A leaf for people.
pub(super) fn leaf_text(leaf: &Leaf) -> String {
    let what = match leaf.act {
        Act::Batch => "records",
        Act::Evidence => "evidence digests",
        Act::Reseal { .. } => "records sealed anew",
        Act::Shred { .. } => "a lawful destruction",
        Act::Retention { .. } => "the end of a retention time",
        Act::SubmitterKey { .. } => "a change of the submitter's key",
        Act::Edge(_) => "a statement of an edge",
    };
    let mut out = format!("{} ({what}), batch {}", leaf.kind().as_str(), leaf.batch);
    if leaf.count > 0 {
        let _ = write!(
            out,
            ", records {}-{}, measured {} to {}",
            leaf.first_sequence,
            leaf.last_sequence(),
            leaf.events_from,
            leaf.events_to
        );
    }
    let _ = write!(out, ", sealed {}", leaf.sealed_at);
    out
}

/// Gaps as JSON.
pub(super) fn gaps_json(report: &GapReport) -> Value {
    json!({
        "leaves": report.leaves,
        "unreadable": report.unreadable,
        "last_sequence": report.last_sequence,
        "truncated": report.truncated,
        "items": report.gaps.iter().map(|gap| json!({
            "before_leaf": gap.before_leaf,
            "first": gap.first,
            "last": gap.last,
        })).collect::<Vec<_>>(),
        "edges": report.edges.iter().map(edge_json).collect::<Vec<_>>(),
    })
}

fn edge_json(edge: &EdgeReport) -> Value {
    let ranges = |all: &[(u64, u64)]| {
        let ranges = all.iter().map(|(first, last)| json!({"first": first, "last": last}));
        ranges.collect::<Vec<_>>()
    };
    json!({
        "edge": edge.edge,
        "key": hex::encode(edge.key),
        "first": edge.first,
        "last": edge.last,
        "statements": edge.statements,
        "entries": edge.entries,
        "given_up": ranges(&edge.given_up),
        "never_submitted": ranges(&edge.missing),
        "repeated": edge.repeated,
        "forks": edge.forks,
        "breaks": edge.breaks,
        "unsigned": edge.unsigned,
    })
}

fn edge_text(out: &mut String, edge: &EdgeReport) {
    let key = hex::encode(edge.key);
    let _ = writeln!(
        out,
        "edge {} (key {}): batches {}-{}, {} statements, {} entries",
        edge.edge,
        key.get(..16).unwrap_or_default(),
        edge.first,
        edge.last,
        edge.statements,
        edge.entries
    );
    for (first, last) in edge.given_up.iter().take(GAPS_SHOWN_MAX) {
        let _ = writeln!(out, "  {first}-{last}: given up by the edge, its disk was full");
    }
    for (first, last) in edge.missing.iter().take(GAPS_SHOWN_MAX) {
        let _ = writeln!(out, "  {first}-{last}: never submitted");
    }
    for counter in edge.forks.iter().take(GAPS_SHOWN_MAX) {
        let _ = writeln!(out, "  {counter}: stated once more with another content");
    }
    for counter in edge.breaks.iter().take(GAPS_SHOWN_MAX) {
        let _ = writeln!(out, "  {counter}: does not follow the statement before it");
    }
    if edge.unsigned > 0 {
        let _ = writeln!(out, "  {} statements are not by this key", edge.unsigned);
    }
}

/// Gaps for people.
pub(super) fn gaps_text(report: &GapReport) -> String {
    let mut out = String::new();
    for gap in report.gaps.iter().take(GAPS_SHOWN_MAX) {
        let count = gap.last - gap.first + 1;
        let _ = writeln!(
            out,
            "records {}-{} are missing before leaf {} ({count} records)",
            gap.first, gap.last, gap.before_leaf
        );
    }
    if report.truncated || report.gaps.len() > GAPS_SHOWN_MAX {
        let _ = writeln!(out, "and more gaps: see --json");
    }
    if report.unreadable > 0 {
        let _ = writeln!(out, "{} leaves could not be read", report.unreadable);
    }
    for edge in &report.edges {
        edge_text(&mut out, edge);
    }
    let _ = write!(
        out,
        "{} leaves, records up to {}: {}",
        report.leaves,
        report.last_sequence,
        match report.gaps.len() {
            0 => "no gap in the sequence".to_owned(),
            1 => "one gap in the sequence".to_owned(),
            count => format!("{count} gaps in the sequence"),
        }
    );
    out
}

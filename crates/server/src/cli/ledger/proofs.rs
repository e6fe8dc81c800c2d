//! `veritwin ledger proof`: makes the proof of one entry, or of the entry that holds a record, and
//! checks proofs, together with the papers of a reading where they are given.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use veritwin_verify::{
    CheckedProof, ExitClass, Leaf, PROOF_BYTES_MAX, RECORD_PROOF_BYTES_MAX, RecordProof,
    SignedCheckpoint, Source, TlogProof, VerifierKey, VerifyOptions, leaf_of_record, proof,
};

use super::place::{Access, source};
use super::{bad, exit, parse_vkey, policy, read_text, show, show_finding};
use crate::cli::{print, print_error, print_json};

/// What to prove, or what to check.
#[derive(Args, Debug, Clone)]
pub(crate) struct ProofArguments {
    /// The folder of an exported log, or where one is served: https://HOST[:PORT]/ledger/LOG.
    #[arg(value_name = "DIR_OR_URL", required_unless_present = "check")]
    log: Option<String>,
    #[command(flatten)]
    access: Access,
    /// The entry's index, from 0.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "record",
        required_unless_present_any = ["record", "check"]
    )]
    index: Option<u64>,
    /// The number of a record, as the papers of a reading name it: the entry that holds it.
    #[arg(long, value_name = "N")]
    record: Option<u64>,
    /// A proof to check, without any log; needs --vkey.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["log", "index", "record", "ca", "api_key_file"],
        requires = "vkey"
    )]
    check: Option<PathBuf>,
    /// With --check: the papers of a reading (`GET /v1/ledger/papers`), or its record proof, which
    /// the proven entry has to hold.
    #[arg(long, value_name = "FILE", requires = "check")]
    papers: Option<PathBuf>,
    /// Which witnesses must have cosigned (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The log's key as you were given it.
    #[arg(long, value_name = "KEY", value_parser = parse_vkey)]
    vkey: Option<VerifierKey>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// `veritwin ledger proof`
pub(super) fn run(arguments: &ProofArguments) -> anyhow::Result<ExitCode> {
    if let (Some(file), Some(vkey)) = (&arguments.check, &arguments.vkey) {
        return check(file, vkey, arguments);
    }
    let missing = || bad("a proof needs DIR_OR_URL and --index or --record".to_owned());
    let log = arguments.log.as_deref().ok_or_else(missing)?;
    let source = source(log, &arguments.access)?;
    let index = match (arguments.index, arguments.record) {
        (Some(index), _) => index,
        (None, Some(record)) => match leaf_of_record(source.as_ref(), record) {
            Ok(Some(index)) => index,
            Ok(None) => return no_record(record, arguments.json),
            Err(finding) => return show_finding(&finding, arguments.json),
        },
        (None, None) => return Err(missing()),
    };
    prove(source.as_ref(), index, arguments)
}

fn no_record(record: u64, json: bool) -> anyhow::Result<ExitCode> {
    let (class, problem) = (ExitClass::Missing, format!("the log has no record {record}"));
    if json {
        print_json(&json!({"exit": class.as_str(), "record": record, "problem": problem}))?;
    } else {
        print_error(&format!("{}: {problem}", class.as_str()));
    }
    Ok(exit(class))
}

fn prove(source: &dyn Source, index: u64, arguments: &ProofArguments) -> anyhow::Result<ExitCode> {
    let is_served = arguments.log.as_ref().is_some_and(|log| log.contains("://"));
    let options = VerifyOptions {
        vkey: arguments.vkey.clone(),
        policy: policy(arguments.policy.as_deref())?,
        // A server hands payloads out to those who have a key.
        skip_payloads: is_served && arguments.access.api_key_file.is_none(),
        ..VerifyOptions::default()
    };
    let answer = proof(source, index, &options);
    let report = &answer.report;
    if arguments.json {
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

fn check(file: &Path, vkey: &VerifierKey, arguments: &ProofArguments) -> anyhow::Result<ExitCode> {
    let text = read_text(file, PROOF_BYTES_MAX as u64)?;
    let papers = arguments.papers.as_deref();
    let record = match papers {
        Some(path) => Some(record_of(&read_text(path, RECORD_PROOF_BYTES_MAX as u64)?, path)?),
        None => None,
    };
    let checked = TlogProof::parse(&text).and_then(|proof| {
        let signed = SignedCheckpoint::parse(proof.checkpoint.as_bytes())?;
        Ok((proof.check(vkey, None)?, signed))
    });
    let (checked, signed) = match checked {
        Ok(checked) => checked,
        Err(error) => return refused(file, &error.to_string(), arguments.json),
    };
    let held = record.map(|record| (record.verify(&checked.leaf), record));
    if let (Some((Err(error), _)), Some(path)) = (&held, papers) {
        return refused(path, &error.to_string(), arguments.json);
    }
    let record = held.map(|(_, record)| record);
    let witnesses = policy(arguments.policy.as_deref())?.map(|policy| policy.evaluate(&signed));
    let unmet = witnesses.as_ref().is_some_and(|witnesses| !witnesses.met);
    let class = if unmet { ExitClass::WitnessPolicyUnmet } else { ExitClass::Verified };
    if arguments.json {
        let mut value = checked_json(&checked, record.as_ref());
        value["exit"] = json!(class.as_str().replace(' ', "_"));
        value["cosigned"] = json!(witnesses.map(|witnesses| witnesses.cosigned));
        print_json(&value)?;
        return Ok(exit(class));
    }
    print(&format!(
        "verified: entry {} is in the tree of {} leaves of {}\n{}",
        checked.index,
        checked.checkpoint.size,
        checked.checkpoint.origin,
        show::leaf_text(&checked.leaf)
    ));
    if let Some(record) = record {
        let text = String::from_utf8_lossy(&record.record).into_owned();
        print(&format!("verified: the entry holds record {}\n{text}", record.sequence));
    }
    if let Some(witnesses) = witnesses {
        let (count, known) = (witnesses.cosigned.len(), witnesses.known);
        print(&format!("{}: {count} of {known} known witnesses have cosigned", class.as_str()));
    }
    Ok(exit(class))
}

fn checked_json(checked: &CheckedProof, record: Option<&RecordProof>) -> Value {
    let leaf: &Leaf = &checked.leaf;
    json!({
        "exit": ExitClass::Verified.as_str(),
        "index": checked.index,
        "origin": checked.checkpoint.origin,
        "tree_size": checked.checkpoint.size,
        "root_hash": checked.checkpoint.root.to_base64(),
        "leaf": show::leaf_json(leaf),
        "record": record.map(|record| json!({
            "sequence": record.sequence,
            "text": String::from_utf8_lossy(&record.record),
        })),
    })
}

fn refused(file: &Path, problem: &str, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let file = file.display().to_string();
        let class = ExitClass::Tampered.as_str();
        print_json(&json!({"exit": class, "file": file, "problem": problem}))?;
    } else {
        print(&format!("tampered: {}: {problem}", file.display()));
    }
    Ok(exit(ExitClass::Tampered))
}

/// The record proof in a file: by itself, or as the papers of a reading carry it.
fn record_of(text: &str, path: &Path) -> anyhow::Result<RecordProof> {
    let shown = path.display();
    let unknown = |error: &dyn std::fmt::Display| {
        bad(format!("{shown} is neither papers of a reading nor a record proof: {error}"))
    };
    let mut value: Value = serde_json::from_str(text).map_err(|error| unknown(&error))?;
    if let Some(record) = value.get_mut("record").filter(|record| record.is_object()) {
        let record = record.take();
        value = json!({
            "format": "veritwin/record-proof@v1",
            "sequence": record["sequence"],
            "salt": record["salt"],
            "record": record["record"],
            "path": record["path"],
        });
    }
    RecordProof::from_json(&value.to_string()).map_err(|error| unknown(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn papers_and_record_proofs_are_told_apart() {
        let hash = veritwin_verify::sha256(b"x").to_base64();
        let record =
            RecordProof { sequence: 7, salt: [1; 32], record: b"{}".to_vec(), path: vec![] };
        let text = record.to_json();
        let check = |text: &str| record_of(text, Path::new("a.json"));
        assert_eq!(check(&text).expect("itself"), record);
        let inner: Value = serde_json::from_str(&text).expect("JSON");
        let papers = json!({"leaf": {"leaf_hash": hash}, "record": inner});
        assert_eq!(check(&papers.to_string()).expect("papers"), record);
        for bad in ["", "[]", "{}", r#"{"record": {}}"#, r#"{"record": 7}"#] {
            let error = check(bad).expect_err(bad).to_string();
            assert!(error.contains("a.json is neither"), "{error}");
        }
    }
}

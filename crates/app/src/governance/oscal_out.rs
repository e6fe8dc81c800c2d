//! A framework's state as OSCAL assessment results (NIST, version 1.2.1): the controls that were
//! looked at, a finding for each, and the evidence as observations.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::Action;
use veritwin_domain::{GovernanceId, OpContext, Timestamp};
use veritwin_keys::sha256;

use super::controls::{Control, framework_of};
use super::resource;
use super::shipped::promises_of;
use crate::model::{EvidenceContent, EvidenceFacts, Governed};
use crate::{App, Result};

const OSCAL_VERSION: &str = "1.2.1";
/// Most observations of a file: those of the checks, then what counts, each the newest.
const OBSERVATIONS_MAX: usize = 2_000;

type Observed = Governed<EvidenceContent, EvidenceFacts>;

/// A UUID of version 5's form (RFC 9562) that the same names give again.
fn uuid(parts: &[&str]) -> String {
    let digest = sha256(parts.join("\n").as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// An OSCAL token: it begins with a letter or underscore.
fn token(identifier: &str) -> String {
    let fits = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
    let plain: String =
        identifier.chars().map(|char| if fits(char) { char } else { '-' }).collect();
    let begins = plain.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
    if begins { plain } else { format!("_{plain}") }
}

fn moment(at: Timestamp) -> Value {
    json!(at.to_string())
}

fn observation(one: &Observed) -> Value {
    let id = one.id.to_string();
    let collected = one.content.collected_at.unwrap_or(one.created_at);
    let property = |name: &str, value: &str| {
        (!value.trim().is_empty()).then(|| {
            json!({"name": name, "ns": "https://veritwin.example/ns/oscal", "value": value.trim()})
        })
    };
    let ledger = one.facts.ledger_index.map(|index| index.to_string()).unwrap_or_default();
    let props: Vec<Value> = [
        property("result", &one.content.result),
        property("evidence-sha256", &one.content.sha256),
        property("record-sha256", &one.facts.record_sha256),
        property("collector", &one.content.collector),
        property("collector-version", &one.content.collector_version),
        property("ledger-index", &ledger),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut observation = json!({
        "uuid": uuid(&["observation", &id]),
        "title": one.content.title,
        "description": one.content.source,
        "props": props,
        "methods": ["TEST"],
        "types": ["control-objective"],
        "collected": moment(collected),
    });
    if one.facts.promise.is_none() {
        observation["methods"] = json!(["EXAMINE"]);
    }
    if let Some(end) = one.content.expires_at {
        observation["expires"] = moment(end);
    }
    observation
}

/// What is found of a control: satisfied where it is in place and evidence that counts passed.
fn finding(control: &Control, evidence: &[&Observed]) -> Value {
    let identifier = &control.facts.identifier;
    let id = control.row.id.to_string();
    let counting = || evidence.iter().filter(|one| one.state == "current");
    let has_passed = counting().any(|one| one.content.result == "passed");
    let has_failed = counting().any(|one| one.content.result == "failed");
    let is_satisfied = has_passed && !has_failed;
    let reason = match (has_failed, has_passed) {
        (true, _) => "Evidence that counts says that it failed.",
        (false, true) => "Evidence that counts says that it passed.",
        (false, false) => "There is no evidence that counts.",
    };
    let related: Vec<Value> = evidence
        .iter()
        .map(|one| json!({"observation-uuid": uuid(&["observation", &one.id.to_string()])}))
        .collect();
    let mut finding = json!({
        "uuid": uuid(&["finding", &id]),
        "title": format!("{identifier} {}", control.facts.label),
        "description": reason,
        "target": {
            "type": "objective-id",
            "target-id": token(identifier),
            "status": {"state": if is_satisfied { "satisfied" } else { "not-satisfied" }},
        },
    });
    let implemented = match control.content.implementation.as_str() {
        "in_place" => "implemented",
        "planned" => "planned",
        _ => "",
    };
    if !implemented.is_empty() {
        finding["target"]["implementation-status"] = json!({"state": implemented});
    }
    if !related.is_empty() {
        finding["related-observations"] = json!(related);
    }
    finding
}

impl App {
    /// A framework's state as OSCAL assessment results.
    #[boxed]
    pub async fn assessment_results(
        &self,
        context: &OpContext,
        framework: GovernanceId,
    ) -> Result<Value> {
        let resource = resource(context, framework);
        self.authorize(context, Action::GovernanceRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        let (framework, controls) = framework_of(&tx, framework).await?;
        let mut evidence = self.evidence_in(&tx, context).await?;
        drop(tx);
        // What counts is never cut off for what does not: a failure would go with it.
        evidence.sort_by_key(|one| (one.facts.promise.is_none(), one.state != "current"));
        evidence.truncate(OBSERVATIONS_MAX);
        self.note(context, Action::GovernanceRead, &resource, "done");
        let name = &framework.content.name;
        let id = framework.row.id.to_string();
        let at = context.at;
        let applying = controls.iter().filter(|control| control.content.applies == "applicable");
        let applying: Vec<&Control> = applying.collect();
        let is_for = |one: &Observed, control: &Control| match &one.facts.promise {
            Some(promise) => promises_of(&control.facts.identifier).contains(promise),
            None => one.content.controls.contains(&control.row.id),
        };
        let findings: Vec<Value> = applying
            .iter()
            .map(|control| {
                let own: Vec<&Observed> =
                    evidence.iter().filter(|one| is_for(one, control)).collect();
                finding(control, &own)
            })
            .collect();
        let observations: Vec<Value> = evidence.iter().map(observation).collect();
        Ok(document((name, &id, at), &applying, (findings, observations)))
    }
}

/// The whole file. Lists that are empty are left out: OSCAL has none.
fn document(
    (name, id, at): (&str, &str, Timestamp),
    applying: &[&Control],
    (findings, observations): (Vec<Value>, Vec<Value>),
) -> Value {
    let controls: Vec<Value> = applying
        .iter()
        .map(|control| json!({"control-id": token(&control.facts.identifier)}))
        .collect();
    let selection = if controls.is_empty() {
        json!({"description": "No control was decided to apply yet."})
    } else {
        json!({"include-controls": controls})
    };
    let mut result = json!({
        "uuid": uuid(&["result", id, &at.to_string()]),
        "title": format!("State of {name}"),
        "description": "What is decided on each control that applies, and the evidence for it.",
        "start": moment(at),
        "reviewed-controls": {"control-selections": [selection]},
    });
    if !observations.is_empty() {
        result["observations"] = json!(observations);
    }
    if !findings.is_empty() {
        result["findings"] = json!(findings);
    }
    json!({"assessment-results": {
        "uuid": uuid(&["assessment-results", id, &at.to_string()]),
        "metadata": {
            "title": format!("Assessment results: {name}"),
            "last-modified": moment(at),
            "version": at.to_string(),
            "oscal-version": OSCAL_VERSION,
        },
        "import-ap": {"href": format!("urn:uuid:{}", uuid(&["plan", id]))},
        "results": [result],
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_uuids_are_of_their_form() {
        assert_eq!(token("A.5.1"), "A.5.1");
        assert_eq!(token("5.1 (b)"), "_5.1--b-");
        let one = uuid(&["a", "b"]);
        assert_eq!((one.len(), one.as_bytes()[14]), (36, b'5'));
        assert_eq!(one, uuid(&["a", "b"]));
        assert_ne!(one, uuid(&["a", "c"]));
    }

    #[test]
    fn an_empty_state_has_no_empty_lists() {
        let file = document(("Mine", "id", Timestamp::from_micros(0)), &[], (vec![], vec![]));
        let result = &file["assessment-results"]["results"][0];
        assert!(result.get("findings").is_none() && result.get("observations").is_none());
        assert!(result["reviewed-controls"]["control-selections"][0].is_object());
    }
}

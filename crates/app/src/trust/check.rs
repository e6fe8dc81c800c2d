//! Checks a trust page without a platform: that it is signed as it stands, that its evidence says
//! what is stated, and that the digests of the evidence stand in the log, under the log's key.

use std::collections::BTreeMap;

use veritwin_domain::Timestamp;
use veritwin_governance::{Evidence, OutcomeKind, PromiseId};
use veritwin_keys::{sha256, verify_signature};
use veritwin_verify::{LeafKind, RecordProof, TlogProof, VerifierKey};

use super::page::{
    SIGNED, STATEMENT, STATEMENT_VERSION, STATEMENT_VERSION_MIN, Stated, Statement, parts,
};
use crate::promises::is_listed;
use crate::{Error, Result};

/// Largest page that is checked, in bytes.
pub const TRUST_PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What was found of a trust page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTrustPage {
    /// The organisation's name.
    pub organisation: String,
    /// Who runs the platform.
    pub operator: String,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// The log that holds the evidence.
    pub log_origin: String,
    /// The key of that log.
    pub log_vkey: String,
    /// How many promises are in which state.
    pub states: BTreeMap<String, usize>,
    /// Promises whose evidence was proven to stand in the log.
    pub in_log: usize,
    /// Promises that are called proven and whose evidence is not in the log yet.
    pub not_in_log: Vec<String>,
    /// Promises whose evidence is shown inside only.
    pub not_shown: Vec<String>,
}

fn changed(detail: impl Into<String>) -> Error {
    Error::Conflict(detail.into())
}

fn hex_bytes(at: &'static str, text: &str) -> Result<Vec<u8>> {
    hex::decode(text).map_err(|_| Error::invalid_at(at, "expected hexadecimal digits"))
}

/// Checks a trust page. Without a key the log's own is used, which nobody vouches for then. A page
/// that was changed, or that contradicts its evidence, is a conflict.
pub fn check_trust_page(page: &[u8], key: Option<&VerifierKey>) -> Result<CheckedTrustPage> {
    if page.len() > TRUST_PAGE_BYTES_MAX {
        return Err(Error::invalid(format!("has more than {TRUST_PAGE_BYTES_MAX} bytes")));
    }
    let page = std::str::from_utf8(page).map_err(|_| Error::invalid("not a trust page"))?;
    let parts = parts(page)?;
    let statement = &parts.statement;
    let versions = STATEMENT_VERSION_MIN..=STATEMENT_VERSION;
    if statement.kind != STATEMENT || !versions.contains(&statement.version) {
        return Err(Error::invalid("not a trust page of a form that is known here"));
    }
    let public = hex_bytes("public_key", &parts.signature.public_key)?;
    let public: [u8; 32] = public
        .as_slice()
        .try_into()
        .map_err(|_| Error::invalid_at("public_key", "expected 64 hexadecimal digits"))?;
    let signature = hex_bytes("signature", &parts.signature.signature)?;
    if !verify_signature(&public, &[SIGNED, parts.signed.as_bytes()].concat(), &signature) {
        return Err(changed("the signature does not match: the page was changed"));
    }
    let own: VerifierKey = statement
        .log_vkey
        .parse()
        .map_err(|_| Error::invalid_at("log_vkey", "not a verifier key"))?;
    if key.is_some_and(|asked| asked.to_string() != own.to_string()) {
        return Err(changed("the evidence stands in the log of another key"));
    }
    check_statement(statement, &own, &public)
}

fn check_statement(
    statement: &Statement,
    key: &VerifierKey,
    public: &[u8; 32],
) -> Result<CheckedTrustPage> {
    let made_at = Timestamp::parse_rfc3339(&statement.made_at)
        .map_err(|_| Error::invalid_at("made_at", "not a time"))?;
    let ids = PromiseId::all().map(|id| id.to_string());
    if !ids.eq(statement.promises.iter().map(|one| one.id.clone())) {
        return Err(changed("the page does not tell of every promise, each once"));
    }
    let mut checked = CheckedTrustPage {
        organisation: statement.organisation.name.clone(),
        operator: statement.operator.clone(),
        made_at: statement.made_at.clone(),
        log_origin: statement.log_origin.clone(),
        log_vkey: statement.log_vkey.clone(),
        states: BTreeMap::new(),
        in_log: 0,
        not_in_log: Vec::new(),
        not_shown: Vec::new(),
    };
    let mut is_signer_known = false;
    for one in &statement.promises {
        *checked.states.entry(one.state.clone()).or_default() += 1;
        check_evidence(one, made_at)?;
        if one.evidence_sha256.is_some() && one.evidence.is_none() {
            checked.not_shown.push(one.id.clone());
        }
        if one.ledger_index.is_some() {
            is_signer_known |= check_leaf(one, (statement, key), public)?;
            checked.in_log += 1;
        } else if one.state == "proven" {
            checked.not_in_log.push(one.id.clone());
        }
    }
    if !is_signer_known {
        return Err(changed("no leaf of the log is signed by the key that signed the page"));
    }
    Ok(checked)
}

/// Which outcomes of a check a state may rest on.
fn rests_on(state: &str) -> &'static [OutcomeKind] {
    match state {
        "proven" | "stale" => &[OutcomeKind::Passed],
        "failing" => &[OutcomeKind::Failed],
        "not_applicable" => &[OutcomeKind::NotApplicable],
        "not_evidenced" => &[OutcomeKind::NotApplicable, OutcomeKind::CouldNotRun],
        _ => &[],
    }
}

/// The evidence has to say what is stated.
fn check_evidence(one: &Stated, made_at: Timestamp) -> Result<()> {
    let wrong = |what: &str| changed(format!("{}: {what}", one.id));
    let outcomes = rests_on(&one.state);
    if outcomes.is_empty() {
        return Err(wrong("a state that does not exist"));
    }
    let needs_evidence = matches!(one.state.as_str(), "proven" | "stale" | "not_applicable");
    let Some(evidence) = &one.evidence else {
        let is_wrong = needs_evidence || (one.state == "failing" && one.evidence_sha256.is_none());
        return if is_wrong { Err(wrong("its evidence is missing")) } else { Ok(()) };
    };
    let bytes = hex_bytes("evidence", evidence)?;
    if one.evidence_sha256.as_deref() != Some(hex::encode(sha256(&bytes)).as_str()) {
        return Err(wrong("the evidence has another digest"));
    }
    let evidence = Evidence::from_canonical_bytes(&bytes)
        .map_err(|error| wrong(&format!("its evidence cannot be read: {error}")))?;
    if evidence.promise().to_string() != one.id || !outcomes.contains(&evidence.outcome().kind()) {
        return Err(wrong("the evidence does not say what is stated"));
    }
    let finished_at = evidence.finished_at();
    if finished_at > made_at || one.checked_at.as_deref() != Some(finished_at.to_string().as_str())
    {
        return Err(wrong("the evidence is of another time"));
    }
    if one.summary.as_deref() != Some(evidence.outcome().summary()) {
        return Err(wrong("the evidence found something else"));
    }
    Ok(())
}

/// The digest has to stand in the leaf, or in the list whose digest does, and the leaf in the log;
/// answers whether the leaf is signed by the key that signed the page.
fn check_leaf(
    one: &Stated,
    (statement, key): (&Statement, &VerifierKey),
    public: &[u8; 32],
) -> Result<bool> {
    let wrong = |what: &str| changed(format!("{}: {what}", one.id));
    let (Some(leaf_proof), Some(record_proof), Some(digest)) =
        (&one.leaf_proof, &one.record_proof, &one.evidence_sha256)
    else {
        return Err(wrong("names a leaf without its proofs"));
    };
    let proven = TlogProof::parse(leaf_proof)
        .and_then(|proof| proof.check(key, None))
        .map_err(|error| wrong(&error.to_string()))?;
    if Some(proven.index) != one.ledger_index
        || proven.leaf.kind() != LeafKind::Evidence
        || proven.checkpoint.origin != statement.log_origin
    {
        return Err(wrong("the proof is of another leaf"));
    }
    let record = RecordProof::from_json(record_proof).map_err(|error| wrong(&error.to_string()))?;
    record.verify(&proven.leaf).map_err(|error| wrong(&error.to_string()))?;
    let list = statement.lists.get(&proven.index);
    let names = |list: &&String| {
        sha256(list.as_bytes())[..] == record.record[..] && is_listed(list, &one.id, digest)
    };
    if hex::encode(&record.record) != *digest && list.filter(names).is_none() {
        return Err(wrong("the leaf holds another digest"));
    }
    Ok(proven.leaf.submitter == *public)
}

#[cfg(test)]
mod tests {
    use veritwin_keys::{SecretKey, SigningKey};
    use veritwin_verify::KeyAlgorithm;

    use super::super::page::tests::statement;
    use super::super::page::{PageSignature, signed, unsigned};
    use super::*;

    fn page(statement: &Statement) -> String {
        let key = SigningKey::from_seed(SecretKey::from_bytes([3; 32]));
        let page = unsigned(statement).expect("a page");
        let signature = key.sign(&[SIGNED, page.as_bytes()].concat());
        let signature = PageSignature {
            public_key: hex::encode(key.public_bytes()),
            signature: hex::encode(signature),
        };
        signed(&page, &signature).expect("signed")
    }

    fn of_every_promise() -> Statement {
        let key = VerifierKey::new("example", KeyAlgorithm::Ed25519, [4; 32]).expect("a key");
        let stated = |id: PromiseId| Stated {
            id: id.to_string(),
            state: "not_evidenced".to_owned(),
            ..Stated::default()
        };
        Statement {
            log_vkey: key.to_string(),
            promises: PromiseId::all().map(stated).collect(),
            ..statement("Acme")
        }
    }

    fn problem(page: &str) -> String {
        match check_trust_page(page.as_bytes(), None) {
            Err(Error::Conflict(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_changed_word_is_found() {
        let page = page(&of_every_promise());
        assert!(problem(&page).contains("no leaf of the log"), "the signature itself is right");
        let other = page.replace("Acme", "Acne");
        assert!(problem(&other).contains("the page was changed"));
        let more = page.replacen("<h1>", "<h1>Very ", 1);
        assert!(problem(&more).contains("the page was changed"));
    }

    #[test]
    fn what_is_called_proven_needs_its_evidence() {
        let mut statement = of_every_promise();
        statement.promises[30].state = "proven".to_owned();
        assert!(problem(&page(&statement)).contains("P31: its evidence is missing"));
        statement.promises[30].state = "fine".to_owned();
        assert!(problem(&page(&statement)).contains("P31: a state that does not exist"));
        statement.promises.remove(30);
        assert!(problem(&page(&statement)).contains("every promise"));
    }
}

//! What is known of evidence: the evidence itself stays where it is. A record is never changed,
//! only replaced by a newer one that names it; its digest is sealed into the ledger of its tenant.
//! What the checks find by themselves stands beside what people and programs bring.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{GovernanceId, OpContext};
use veritwin_keys::sha256;
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::controls::Control;
use super::due::event;
use super::due_words::Due;
use super::shipped::promises_of;
use super::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, TITLE_CHARS_MAX, Thing, check_controls, digest, text, thing,
    things, word,
};
use crate::holds::words;
use crate::model::{EvidenceContent, EvidenceFacts, Governed, Page, PageRequest};
use crate::promises::CheckedEvidence;
use crate::records::store_page;
use crate::{App, Error, Result};

const KIND: GovernanceKind = GovernanceKind::Evidence;
const RESULTS: [&str; 4] = ["passed", "failed", "partial", "not_applicable"];
/// Sealing is tried again after this, when the archive is away.
const SEAL_AGAIN: Duration = Duration::from_secs(60);
/// In front of what a record's digest is of.
const RECORD: &[u8] = b"veritwin evidence record v1\n";

/// How a record is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    record_sha256: String,
    previous_sha256: Option<String>,
    ledger_index: Option<u64>,
}

pub(super) type Evidence = Thing<EvidenceContent, Facts>;

fn checked(content: EvidenceContent) -> Result<EvidenceContent> {
    word("result", &content.result, &RESULTS)?;
    if let (Some(from), Some(to)) = (content.period_from, content.period_to)
        && from > to
    {
        return Err(Error::invalid_at("period_to", "must not be before `period_from`"));
    }
    let collected = content.collected_at;
    let collected_at = collected
        .ok_or_else(|| Error::invalid_at("collected_at", "say when the evidence was collected"))?;
    if content.expires_at.is_some_and(|at| at <= collected_at) {
        return Err(Error::invalid_at("expires_at", "must be after `collected_at`"));
    }
    Ok(EvidenceContent {
        title: words("title", &content.title, TITLE_CHARS_MAX)?,
        source: words("source", &content.source, NAME_CHARS_MAX)?,
        collector: text("collector", &content.collector, NAME_CHARS_MAX)?,
        collector_version: text("collector_version", &content.collector_version, NAME_CHARS_MAX)?,
        sha256: digest("sha256", &content.sha256, false)?,
        signature: text("signature", &content.signature, NOTE_CHARS_MAX)?,
        ..content
    })
}

/// The digest of a record, with that of the one it replaces.
fn record_sha256(content: &EvidenceContent, previous: Option<&str>) -> Result<[u8; 32]> {
    let record = json!({"evidence": content, "previous": previous});
    let record = serde_json::to_vec(&record).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(sha256(&[RECORD, &record].concat()))
}

fn view(evidence: Evidence) -> Governed<EvidenceContent, EvidenceFacts> {
    let facts = EvidenceFacts {
        record_sha256: evidence.facts.record_sha256.clone(),
        ledger_index: evidence.facts.ledger_index,
        promise: None,
        previous_sha256: evidence.facts.previous_sha256.clone(),
    };
    evidence.view(facts)
}

/// What a check found, as a piece of evidence for these controls.
fn of_check(
    context: &OpContext,
    found: CheckedEvidence,
    controls: &HashMap<String, Vec<GovernanceId>>,
) -> Governed<EvidenceContent, EvidenceFacts> {
    let is_current = found.expires_at > context.at;
    Governed {
        id: GovernanceId::from_bytes(*found.id.as_bytes()),
        state: if is_current { "current" } else { "expired" }.to_owned(),
        version: 1,
        created_at: found.finished_at,
        updated_at: found.finished_at,
        due_at: None,
        content: EvidenceContent {
            title: found.text,
            source: format!("Promise {}: {}", found.promise, found.summary),
            collector: "Veritwin promise check".to_owned(),
            collector_version: found.probe_version.to_string(),
            sha256: found.sha256.clone(),
            period_from: Some(found.started_at),
            period_to: Some(found.finished_at),
            collected_at: Some(found.finished_at),
            expires_at: Some(found.expires_at),
            controls: controls.get(&found.promise).cloned().unwrap_or_default(),
            result: if found.has_passed { "passed" } else { "failed" }.to_owned(),
            signature: String::new(),
            previous: None,
        },
        facts: EvidenceFacts {
            record_sha256: found.sha256,
            ledger_index: found.ledger_index,
            promise: Some(found.promise),
            previous_sha256: None,
        },
    }
}

/// How many current pieces of evidence that passed each control has, of those that were brought.
pub(super) async fn current_of_controls(tx: &TenantTx) -> Result<HashMap<GovernanceId, u64>> {
    let mut counts: HashMap<GovernanceId, u64> = HashMap::new();
    let all: Vec<Evidence> = things(tx, KIND, None).await?;
    let counts_now = |one: &&Evidence| one.row.state == "current" && one.content.result == "passed";
    for control in all.iter().filter(counts_now).flat_map(|one| &one.content.controls) {
        *counts.entry(*control).or_default() += 1;
    }
    Ok(counts)
}

impl App {
    /// The evidence that is known, a page at a time: what was brought, newest first, and behind it
    /// what the checks found.
    #[boxed]
    pub async fn list_evidence(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<Governed<EvidenceContent, EvidenceFacts>>> {
        let all = self.authorize_all(context, Action::GovernanceRead, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.governance_page(KIND, &store_page(page)?).await?;
        let brought = listed.items.into_iter().map(Evidence::read);
        let mut items = brought.map(|one| one.map(view)).collect::<Result<Vec<_>>>()?;
        if listed.next.is_none() {
            items.extend(self.evidence_of_checks(&tx, context).await?);
        }
        self.note(context, Action::GovernanceRead, &all, "done");
        Ok(Page { items, next_cursor: listed.next.map(|next| next.to_string()) })
    }

    /// All of it, inside a transaction and for those who may already.
    pub(super) async fn evidence_in(
        &self,
        tx: &TenantTx,
        context: &OpContext,
    ) -> Result<Vec<Governed<EvidenceContent, EvidenceFacts>>> {
        let brought: Vec<Evidence> = things(tx, KIND, None).await?;
        let found = self.evidence_of_checks(tx, context).await?;
        Ok(brought.into_iter().rev().map(view).chain(found).collect())
    }

    /// What the platform's own checks found last, for the controls of the organisation.
    async fn evidence_of_checks(
        &self,
        tx: &TenantTx,
        context: &OpContext,
    ) -> Result<Vec<Governed<EvidenceContent, EvidenceFacts>>> {
        let controls: Vec<Control> = things(tx, GovernanceKind::Control, None).await?;
        let mut by_promise: HashMap<String, Vec<GovernanceId>> = HashMap::new();
        for control in &controls {
            for promise in promises_of(&control.facts.identifier) {
                by_promise.entry(promise).or_default().push(control.row.id);
            }
        }
        let found = self.checked_evidence().into_iter();
        Ok(found.map(|one| of_check(context, one, &by_promise)).collect())
    }

    /// Writes down what is known of a piece of evidence.
    #[boxed]
    pub async fn record_evidence(
        &self,
        context: &OpContext,
        content: EvidenceContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        let content = checked(content)?;
        if content.collected_at.is_some_and(|at| at > context.at) {
            return Err(Error::invalid_at("collected_at", "must not be in the future"));
        }
        let tx = self.0.store.begin(context).await?;
        check_controls(&tx, &content.controls).await?;
        let previous = self.supersede(&tx, context, content.previous).await?;
        let digest = record_sha256(&content, previous.as_deref())?;
        let facts = Facts {
            record_sha256: hex::encode(digest),
            previous_sha256: previous,
            ledger_index: None,
        };
        let mut evidence = Evidence::new(self, context, KIND, (content, facts), "current");
        // It has to be sealed first; then its end is what is due.
        evidence.row.due_at = Some(context.at);
        self.put_new(&tx, context, Action::GovernanceWrite, &evidence).await?;
        tx.commit().await?;
        Ok(evidence.row.id)
    }

    /// What a new record replaces counts no more; its digest goes into the new one.
    async fn supersede(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        previous: Option<GovernanceId>,
    ) -> Result<Option<String>> {
        let Some(previous) = previous else { return Ok(None) };
        let known = tx.governance_item(KIND, previous).await;
        let Some(row) = crate::error::found(known)? else {
            return Err(Error::invalid_at("previous", "there is no such evidence"));
        };
        let mut known = Evidence::read(row)?;
        if known.row.state == "superseded" {
            return Err(Error::Conflict("this evidence was replaced already".to_owned()));
        }
        let before = known.value();
        known.row.state = "superseded".to_owned();
        // Its end is nobody's matter any more; a leaf that it waits for is.
        known.row.due_at = known.row.due_at.filter(|_| known.facts.ledger_index.is_none());
        let done = (Action::GovernanceWrite, "superseded");
        self.put_changed(tx, context, done, (before, &mut known)).await?;
        Ok(Some(known.facts.record_sha256))
    }

    /// A record waits for the ledger, or its time has ended. No transaction is open while the
    /// ledger is waited for.
    pub(super) async fn evidence_is_due(
        &self,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<()> {
        let tx = self.0.store.read(context).await?;
        let known: Evidence = thing(&tx, KIND, id).await?;
        drop(tx);
        let mut sealed = known.facts.ledger_index;
        if sealed.is_none() {
            let damaged = || Error::Internal("the digest of a record is damaged".to_owned());
            let digest = hex::decode(&known.facts.record_sha256).map_err(|_| damaged())?;
            let digest: [u8; 32] = digest.try_into().map_err(|_| damaged())?;
            sealed = self.seal_evidence_of(context.tenant, digest, context.at).await?;
        }
        let tx = self.0.store.begin(context).await?;
        let mut known: Evidence = thing(&tx, KIND, id).await?;
        let before = known.value();
        let counts = known.row.state == "current";
        let is_over = known.content.expires_at.is_some_and(|at| at <= context.at);
        let Some(index) = sealed else {
            known.row.due_at = Some(context.at.saturating_add(SEAL_AGAIN));
            tx.governance_replace(&known.packed()?, known.row.version).await?;
            return Ok(tx.commit().await?);
        };
        let is_new = known.facts.ledger_index.replace(index).is_none();
        known.row.due_at = known.content.expires_at.filter(|_| counts && !is_over);
        let word = if is_new { "sealed" } else { "expired" };
        if counts && is_over {
            known.row.state = "expired".to_owned();
        }
        self.put_changed(&tx, context, (Action::GovernanceWrite, word), (before, &mut known))
            .await?;
        if counts && is_over {
            let event = event(id, known.row.version);
            self.queue_due(&tx, Due::EvidenceExpired, &event).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::Timestamp;

    #[test]
    fn a_record_is_whole_and_its_digest_covers_all_of_it() {
        let content = EvidenceContent {
            title: "Backups read back".to_owned(),
            source: "backup host".to_owned(),
            sha256: "A".repeat(64),
            collected_at: Some(Timestamp::from_micros(1_000_000)),
            result: "passed".to_owned(),
            ..EvidenceContent::default()
        };
        let kept = checked(content.clone()).expect("whole");
        assert_eq!(kept.sha256, "a".repeat(64));
        let refused = [
            EvidenceContent { sha256: "12".to_owned(), ..content.clone() },
            EvidenceContent { collected_at: None, ..content.clone() },
            EvidenceContent { result: "good".to_owned(), ..content.clone() },
            EvidenceContent { expires_at: content.collected_at, ..content },
        ];
        assert!(refused.into_iter().all(|one| checked(one).is_err()));
        let of = |content: &EvidenceContent, previous| record_sha256(content, previous);
        let first = of(&kept, None).expect("a digest");
        assert_ne!(first, of(&kept, Some("00")).expect("a digest"));
        let other = EvidenceContent { result: "failed".to_owned(), ..kept };
        assert_ne!(first, of(&other, None).expect("a digest"));
    }
}

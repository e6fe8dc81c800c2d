//! Policies: a draft is reviewed, approved by somebody who did not write it, published, read and
//! attested by the members, superseded by the next edition, retired. The edition in force stays
//! readable while the next one is written.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{GovernanceId, LimitExceeded, OpContext, Timestamp, UserId};
use veritwin_keys::sha256;
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::due_words::Due;
use super::{
    LINKS_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX, TITLE_CHARS_MAX, Thing, author, check_controls,
    check_version, name_of, page_of, resource, text, thing, writer,
};
use crate::holds::{person, words};
use crate::incidents::people;
use crate::model::{Governed, Page, PageRequest, PolicyContent, PolicyFacts, stored_time};
use crate::{App, Error, Result};

const KIND: GovernanceKind = GovernanceKind::Policy;
/// Most members whose attestation of an edition is kept.
const ATTESTATIONS_MAX: usize = 2_000;
/// Most people who wrote one edition that are remembered.
const WRITERS_MAX: usize = 50;

/// What came of what people did with a policy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    edition: u64,
    in_force: Option<PolicyContent>,
    sha256: Option<String>,
    #[serde(with = "stored_time")]
    published_at: Option<Timestamp>,
    approved_by: Option<UserId>,
    /// Who wrote the edition that is being written: none of them approves it.
    writers: Vec<UserId>,
    attested: Vec<UserId>,
}

type Policy = Thing<PolicyContent, Facts>;

fn checked(content: PolicyContent) -> Result<PolicyContent> {
    if content.controls.len() > LINKS_MAX {
        return Err(Error::invalid_at("controls", format!("at most {LINKS_MAX} controls")));
    }
    Ok(PolicyContent {
        title: words("title", &content.title, TITLE_CHARS_MAX)?,
        text: words("text", &content.text, TEXT_CHARS_MAX)?,
        owner: text("owner", &content.owner, NAME_CHARS_MAX)?,
        ..content
    })
}

/// What is done with a policy next, from which state, and what it is then.
fn step(state: &str, step: &str) -> Result<(&'static str, &'static str)> {
    let (from, to, word): (&[&str], _, _) = match step {
        "review" => (&["draft"], "in_review", "sent_to_review"),
        "return" => (&["in_review", "approved"], "draft", "returned"),
        "publish" => (&["approved"], "published", "published"),
        "retire" => (&["draft", "in_review", "approved", "published"], "retired", "retired"),
        _ => {
            let detail = "must be one of review, return, publish, retire";
            return Err(Error::invalid_at("step", detail));
        }
    };
    if from.contains(&state) {
        return Ok((to, word));
    }
    Err(Error::Conflict(format!("a policy that is {state} cannot take the step {step}")))
}

impl App {
    /// The tenant's policies, newest first, a page at a time. Who may not see the workspace sees
    /// what is in force.
    #[boxed]
    pub async fn list_policies(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<Governed<PolicyContent, PolicyFacts>>> {
        let all = self.authorize_all(context, Action::GovernanceSee, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let people = people(&tx).await?;
        let sees_all = self.sees_workspace(context);
        let shown = |policy: Policy| {
            let policy = if sees_all { Some(policy) } else { in_force(policy) };
            policy.map(|policy| view(context, policy, &people))
        };
        let policies = page_of(&tx, KIND, page, shown).await?;
        self.note(context, Action::GovernanceSee, &all, "done");
        Ok(policies)
    }

    /// One policy.
    #[boxed]
    pub async fn policy(
        &self,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Governed<PolicyContent, PolicyFacts>> {
        let resource = resource(context, id);
        self.authorize(context, Action::GovernanceSee, &resource)?;
        let tx = self.0.store.read(context).await?;
        let people = people(&tx).await?;
        let policy: Policy = thing(&tx, KIND, id).await?;
        let policy = if self.sees_workspace(context) { Some(policy) } else { in_force(policy) };
        let policy = policy.ok_or(Error::NotFound("policy"))?;
        self.note(context, Action::GovernanceSee, &resource, "done");
        Ok(view(context, policy, &people))
    }

    fn sees_workspace(&self, context: &OpContext) -> bool {
        let all = veritwin_access::Resource::all(context.tenant, Kind::Governance);
        self.0.authorizer.check(context, Action::GovernanceRead, &all).is_ok()
    }

    /// Writes a new policy, as a draft.
    #[boxed]
    pub async fn create_policy(
        &self,
        context: &OpContext,
        content: PolicyContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        let content = checked(content)?;
        let tx = self.0.store.begin(context).await?;
        let writers = writer(&tx, context).await?.into_iter().collect();
        let facts = Facts { writers, ..Facts::default() };
        let policy = Policy::new(self, context, KIND, (content, facts), "draft");
        check_controls(&tx, &policy.content.controls).await?;
        self.put_new(&tx, context, Action::GovernanceWrite, &policy).await?;
        tx.commit().await?;
        Ok(policy.row.id)
    }

    /// Changes a policy's draft; of one that is published this begins the next edition.
    #[boxed]
    pub async fn replace_policy(
        &self,
        context: &OpContext,
        id: GovernanceId,
        content: PolicyContent,
        expected: Option<i64>,
    ) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut policy: Policy = thing(&tx, KIND, id).await?;
        check_version(policy.row.version, expected)?;
        let content = checked(content)?;
        let before = policy.value();
        match policy.row.state.as_str() {
            "draft" => {}
            "published" => policy.facts.writers.clear(),
            state => {
                let detail = format!("a policy that is {state} is not written: return it first");
                return Err(Error::Conflict(detail));
            }
        }
        check_controls(&tx, &content.controls).await?;
        policy.content = content;
        policy.row.state = "draft".to_owned();
        policy.note_writer(writer(&tx, context).await?)?;
        let done = (Action::GovernanceWrite, "written");
        self.put_changed(&tx, context, done, (before, &mut policy)).await?;
        Ok(tx.commit().await?)
    }

    /// Sends a policy to review, returns it, publishes or retires it.
    #[boxed]
    pub async fn step_policy(&self, context: &OpContext, id: GovernanceId, to: &str) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut policy: Policy = thing(&tx, KIND, id).await?;
        let (state, word) = step(&policy.row.state, to)?;
        let before = policy.value();
        policy.row.state = state.to_owned();
        match state {
            "published" => policy.publish(context.at),
            "draft" => policy.facts.approved_by = None,
            "retired" => (policy.facts.in_force, policy.row.due_at) = (None, None),
            _ => {}
        }
        self.put_changed(&tx, context, (Action::GovernanceWrite, word), (before, &mut policy))
            .await?;
        Ok(tx.commit().await?)
    }

    /// Approves a policy that is in review; never by one of those who wrote it.
    #[boxed]
    pub async fn approve_policy(&self, context: &OpContext, id: GovernanceId) -> Result<()> {
        self.authorize(context, Action::GovernanceApprove, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut policy: Policy = thing(&tx, KIND, id).await?;
        let approver = person(context)?;
        if policy.row.state != "in_review" {
            return Err(Error::Conflict("only a policy in review is approved".to_owned()));
        }
        if policy.facts.writers.contains(&approver) {
            let detail = "you wrote this edition: somebody else approves it";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let before = policy.value();
        policy.facts.approved_by = Some(approver);
        policy.row.state = "approved".to_owned();
        let done = (Action::GovernanceApprove, "approved");
        self.put_changed(&tx, context, done, (before, &mut policy)).await?;
        Ok(tx.commit().await?)
    }

    /// Notes that a member has read the edition in force.
    #[boxed]
    pub async fn attest_policy(&self, context: &OpContext, id: GovernanceId) -> Result<()> {
        self.authorize(context, Action::GovernanceAttest, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut policy: Policy = thing(&tx, KIND, id).await?;
        let member = person(context)?;
        if policy.facts.in_force.is_none() {
            return Err(Error::NotFound("policy"));
        }
        if policy.facts.attested.contains(&member) {
            return Ok(());
        }
        let (max, actual) = (ATTESTATIONS_MAX, policy.facts.attested.len() + 1);
        if actual > max {
            let name = "attestations_max";
            return Err(LimitExceeded { name, max, actual }.into());
        }
        // A text that thousands attest is not repeated for each of them.
        let edition = policy.facts.edition;
        let said = |attested: usize| json!({"edition": edition, "attested": attested});
        let values = (said(actual - 1), said(actual));
        policy.facts.attested.push(member);
        let done = (Action::GovernanceAttest, "attested");
        self.put_changed_as(&tx, context, done, &mut policy, values).await?;
        Ok(tx.commit().await?)
    }

    /// A policy has to be looked at again.
    pub(super) async fn policy_is_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        let mut policy: Policy = thing(tx, KIND, id).await?;
        policy.row.due_at = None;
        let before = policy.value();
        let done = (Action::GovernanceWrite, "review_due");
        self.put_changed(tx, context, done, (before, &mut policy)).await?;
        Ok(Some(Due::PolicyReview))
    }
}

impl Policy {
    fn note_writer(&mut self, writer: Option<UserId>) -> Result<()> {
        let writers = &mut self.facts.writers;
        let Some(writer) = writer.filter(|writer| !writers.contains(writer)) else {
            return Ok(());
        };
        if writers.len() >= WRITERS_MAX {
            let (name, max, actual) = ("policy_writers_max", WRITERS_MAX, writers.len() + 1);
            return Err(LimitExceeded { name, max, actual }.into());
        }
        writers.push(writer);
        Ok(())
    }

    fn publish(&mut self, at: Timestamp) {
        let facts = &mut self.facts;
        facts.edition = facts.edition.saturating_add(1);
        facts.sha256 = Some(hex::encode(sha256(self.content.text.as_bytes())));
        facts.in_force = Some(self.content.clone());
        facts.published_at = Some(at);
        facts.attested.clear();
        self.row.due_at = self.content.review_at;
    }
}

/// What those see who may not see drafts.
fn in_force(mut policy: Policy) -> Option<Policy> {
    policy.content = policy.facts.in_force.clone()?;
    if policy.row.state == "approved" {
        // That was of the next edition.
        policy.facts.approved_by = None;
    }
    policy.row.state = "published".to_owned();
    Some(policy)
}

fn view(
    context: &OpContext,
    policy: Policy,
    people: &HashMap<UserId, String>,
) -> Governed<PolicyContent, PolicyFacts> {
    let facts = policy.facts.clone();
    let is_draft = policy.row.state != "published";
    let attested = u64::try_from(facts.attested.len()).unwrap_or(u64::MAX);
    let attested_by_me = author(context).is_some_and(|user| facts.attested.contains(&user));
    policy.view(PolicyFacts {
        edition: facts.edition,
        in_force: facts.in_force.filter(|_| is_draft),
        sha256: facts.sha256,
        approved_by: facts.approved_by.map(|user| name_of(people, user)),
        published_at: facts.published_at,
        attested,
        attested_by_me,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_takes_its_steps_in_order() {
        let check = |state: &str, to: &str, expect: Option<&str>| {
            assert_eq!(step(state, to).ok().map(|(to, _)| to), expect, "{state} {to}");
        };
        check("draft", "review", Some("in_review"));
        check("draft", "publish", None);
        check("in_review", "publish", None);
        check("in_review", "return", Some("draft"));
        check("approved", "publish", Some("published"));
        check("published", "review", None);
        check("published", "retire", Some("retired"));
        check("retired", "review", None);
        check("draft", "approve", None);
    }
}

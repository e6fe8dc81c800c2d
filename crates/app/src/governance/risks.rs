//! Risks on a field of five by five, without and with what is done about them. An acceptance ends:
//! then the risk is open again and somebody is told.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind};
use veritwin_domain::{GovernanceId, OpContext, Timestamp, UserId};
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::due_words::Due;
use super::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, TITLE_CHARS_MAX, Thing, check_controls, check_version,
    earliest, name_of, page_of, resource, text, thing, things, word, writer,
};
use crate::holds::{person, words};
use crate::incidents::people;
use crate::model::{Governed, HeatSquare, Page, PageRequest, RiskContent, RiskFacts, stored_time};
use crate::{App, Error, Result};

const KIND: GovernanceKind = GovernanceKind::Risk;
/// The field's sides.
const STEPS: std::ops::RangeInclusive<u64> = 1..=5;
const TREATMENTS: [&str; 4] = ["mitigate", "transfer", "avoid", "accept"];
/// Longest acceptance; it can be given again.
const ACCEPTED_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What came of what people did with a risk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    writer: Option<UserId>,
    accepted_by: Option<UserId>,
    #[serde(with = "stored_time")]
    accepted_until: Option<Timestamp>,
    reason: Option<String>,
}

type Risk = Thing<RiskContent, Facts>;

fn checked(content: RiskContent) -> Result<RiskContent> {
    let sides = [
        ("likelihood", content.likelihood),
        ("impact", content.impact),
        ("residual_likelihood", content.residual_likelihood),
        ("residual_impact", content.residual_impact),
    ];
    for (field, value) in sides {
        if !STEPS.contains(&value) {
            return Err(Error::invalid_at(field, "must be 1 to 5"));
        }
    }
    word("treatment", &content.treatment, &TREATMENTS)?;
    Ok(RiskContent {
        title: words("title", &content.title, TITLE_CHARS_MAX)?,
        text: text("text", &content.text, NOTE_CHARS_MAX)?,
        owner: text("owner", &content.owner, NAME_CHARS_MAX)?,
        ..content
    })
}

fn view(risk: Risk, people: &HashMap<UserId, String>) -> Governed<RiskContent, RiskFacts> {
    let facts = RiskFacts {
        accepted_by: risk.facts.accepted_by.map(|user| name_of(people, user)),
        accepted_until: risk.facts.accepted_until,
        reason: risk.facts.reason.clone(),
    };
    risk.view(facts)
}

/// The 25 squares, from the least to the most.
fn squares(risks: &[(GovernanceId, RiskContent)]) -> Vec<HeatSquare> {
    let square = |likelihood, impact| {
        let at = |place: fn(&RiskContent) -> (u64, u64)| {
            let here = risks.iter().filter(|(_, risk)| place(risk) == (likelihood, impact));
            here.map(|(id, _)| *id).collect()
        };
        HeatSquare {
            likelihood,
            impact,
            inherent: at(|risk| (risk.likelihood, risk.impact)),
            residual: at(|risk| (risk.residual_likelihood, risk.residual_impact)),
        }
    };
    STEPS
        .flat_map(|likelihood| STEPS.map(move |impact| (likelihood, impact)))
        .map(|(likelihood, impact)| square(likelihood, impact))
        .collect()
}

impl App {
    /// The tenant's risks, newest first, a page at a time.
    #[boxed]
    pub async fn list_risks(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<Governed<RiskContent, RiskFacts>>> {
        let all = self.authorize_all(context, Action::GovernanceRead, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let people = people(&tx).await?;
        let risks = page_of(&tx, KIND, page, |risk: Risk| Some(view(risk, &people))).await?;
        self.note(context, Action::GovernanceRead, &all, "done");
        Ok(risks)
    }

    /// Where the risks that are not closed stand on the field.
    #[boxed]
    pub async fn risk_heat_map(&self, context: &OpContext) -> Result<Vec<HeatSquare>> {
        let all = self.authorize_all(context, Action::GovernanceRead, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let risks: Vec<Risk> = things(&tx, KIND, None).await?;
        self.note(context, Action::GovernanceRead, &all, "done");
        let open = risks.into_iter().filter(|risk| risk.row.state != "closed");
        let open: Vec<_> = open.map(|risk| (risk.row.id, risk.content)).collect();
        Ok(squares(&open))
    }

    /// Writes a new risk.
    #[boxed]
    pub async fn create_risk(
        &self,
        context: &OpContext,
        content: RiskContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        let content = checked(content)?;
        let tx = self.0.store.begin(context).await?;
        let facts = Facts { writer: writer(&tx, context).await?, ..Facts::default() };
        let mut risk = Risk::new(self, context, KIND, (content, facts), "open");
        risk.row.due_at = risk.content.review_at;
        check_controls(&tx, &risk.content.controls).await?;
        self.put_new(&tx, context, Action::GovernanceWrite, &risk).await?;
        tx.commit().await?;
        Ok(risk.row.id)
    }

    /// Changes a risk; what was accepted of it before is open again.
    #[boxed]
    pub async fn replace_risk(
        &self,
        context: &OpContext,
        id: GovernanceId,
        content: RiskContent,
        expected: Option<i64>,
    ) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut risk: Risk = thing(&tx, KIND, id).await?;
        check_version(risk.row.version, expected)?;
        let content = checked(content)?;
        check_controls(&tx, &content.controls).await?;
        let before = risk.value();
        risk.content = content;
        risk.facts = Facts { writer: writer(&tx, context).await?, ..Facts::default() };
        risk.row.state = "open".to_owned();
        risk.row.due_at = risk.content.review_at;
        self.put_changed(&tx, context, (Action::GovernanceWrite, "written"), (before, &mut risk))
            .await?;
        Ok(tx.commit().await?)
    }

    /// Accepts a risk for a time; never by whoever wrote it.
    #[boxed]
    pub async fn accept_risk(
        &self,
        context: &OpContext,
        id: GovernanceId,
        until: Option<Timestamp>,
        reason: &str,
    ) -> Result<()> {
        self.authorize(context, Action::GovernanceApprove, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut risk: Risk = thing(&tx, KIND, id).await?;
        let accepter = person(context)?;
        let reason = words("reason", reason, NOTE_CHARS_MAX)?;
        let until = until.filter(|until| *until > context.at);
        let until = until.filter(|until| until.since(context.at) <= ACCEPTED_MAX);
        let until = until.ok_or_else(|| {
            Error::invalid_at("until", "an acceptance ends in the future, within 366 days")
        })?;
        if risk.row.state == "closed" {
            return Err(Error::Conflict("this risk is closed".to_owned()));
        }
        if risk.facts.writer == Some(accepter) {
            let detail = "you wrote this risk last: somebody else accepts it";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let before = risk.value();
        risk.facts.accepted_by = Some(accepter);
        risk.facts.accepted_until = Some(until);
        risk.facts.reason = Some(reason);
        risk.row.state = "accepted".to_owned();
        risk.row.due_at = earliest([Some(until), risk.content.review_at]);
        let done = (Action::GovernanceApprove, "accepted");
        self.put_changed(&tx, context, done, (before, &mut risk)).await?;
        Ok(tx.commit().await?)
    }

    /// Closes a risk that is none any more.
    #[boxed]
    pub async fn close_risk(&self, context: &OpContext, id: GovernanceId) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut risk: Risk = thing(&tx, KIND, id).await?;
        if risk.row.state == "closed" {
            return Err(Error::Conflict("this risk is closed already".to_owned()));
        }
        let before = risk.value();
        risk.row.state = "closed".to_owned();
        risk.row.due_at = None;
        self.put_changed(&tx, context, (Action::GovernanceWrite, "closed"), (before, &mut risk))
            .await?;
        Ok(tx.commit().await?)
    }

    /// An acceptance ended, or a risk has to be looked at again.
    pub(super) async fn risk_is_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        let mut risk: Risk = thing(tx, KIND, id).await?;
        let before = risk.value();
        let has_ended = risk.facts.accepted_until.is_some_and(|until| until <= context.at);
        let word = if has_ended {
            let writer = risk.facts.writer;
            risk.facts = Facts { writer, ..Facts::default() };
            risk.row.state = "open".to_owned();
            "acceptance_ended"
        } else {
            "review_due"
        };
        let later = risk.content.review_at.filter(|at| *at > context.at);
        risk.row.due_at = earliest([risk.facts.accepted_until, later]);
        self.put_changed(tx, context, (Action::GovernanceWrite, word), (before, &mut risk)).await?;
        Ok(Some(if has_ended { Due::AcceptanceEnded } else { Due::RiskReview }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_risk_stands_on_two_squares() {
        let id = GovernanceId::from_bytes([7; 16]);
        let risk = RiskContent {
            title: "Flood".to_owned(),
            likelihood: 2,
            impact: 5,
            residual_likelihood: 1,
            residual_impact: 5,
            treatment: "mitigate".to_owned(),
            ..RiskContent::default()
        };
        let field = squares(&[(id, checked(risk.clone()).expect("a risk"))]);
        assert_eq!(field.len(), 25);
        let at = |likelihood, impact| {
            field
                .iter()
                .find(|square| (square.likelihood, square.impact) == (likelihood, impact))
                .expect("a square")
        };
        assert_eq!((at(2, 5).inherent.len(), at(2, 5).residual.len()), (1, 0));
        assert_eq!((at(1, 5).inherent.len(), at(1, 5).residual.len()), (0, 1));
        assert!(checked(RiskContent { impact: 6, ..risk.clone() }).is_err());
        assert!(checked(RiskContent { treatment: "hope".to_owned(), ..risk }).is_err());
    }
}

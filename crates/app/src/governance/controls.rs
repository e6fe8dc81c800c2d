//! Frameworks and their controls: shipped catalogues by identifier with our own labels, others out
//! of OSCAL files; what is decided on each control; the statement of applicability.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind};
use veritwin_domain::{GovernanceId, LimitExceeded, OpContext};
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::oscal_in::{Catalogue, CatalogueFile};
use super::shipped::{SHIPPED, promises_of};
use super::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, Thing, brief, check_version, resource, text, thing, things,
    word,
};
use crate::change::Change;
use crate::model::{ControlContent, ControlFacts, FrameworkContent, FrameworkFacts, Governed};
use crate::{App, Error, Result};

const FRAMEWORK: GovernanceKind = GovernanceKind::Framework;
const CONTROL: GovernanceKind = GovernanceKind::Control;
/// Most controls of a tenant, of all its frameworks together.
pub(super) const CONTROLS_MAX: usize = 4_000;
const APPLIES: [&str; 3] = ["undecided", "applicable", "not_applicable"];
const IMPLEMENTATION: [&str; 3] = ["not_started", "planned", "in_place"];

/// A framework has no facts of its own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct NoFacts {}

pub(super) type Framework = Thing<FrameworkContent, NoFacts>;
pub(super) type Control = Thing<ControlContent, ControlFacts>;

/// A line of the statement of applicability.
#[derive(Debug, Clone)]
pub struct StatementLine {
    /// The control.
    pub control: Governed<ControlContent, ControlFacts>,
    /// How many pieces of current evidence are for it, those of the platform's checks among them.
    pub evidence: u64,
}

fn checked(content: ControlContent) -> Result<ControlContent> {
    word("applies", &content.applies, &APPLIES)?;
    word("implementation", &content.implementation, &IMPLEMENTATION)?;
    let justification = text("justification", &content.justification, NOTE_CHARS_MAX)?;
    if content.applies == "not_applicable" && justification.is_empty() {
        let detail = "say why the control does not apply";
        return Err(Error::invalid_at("justification", detail));
    }
    Ok(ControlContent {
        justification,
        owner: text("owner", &content.owner, NAME_CHARS_MAX)?,
        ..content
    })
}

/// A shipped catalogue, if there is one of the name.
fn shipped(reference: &str) -> Option<Catalogue> {
    let found = SHIPPED.iter().find(|one| one.reference == reference)?;
    let control = |(identifier, group, label): &(&str, &str, &str)| ControlFacts {
        identifier: (*identifier).to_owned(),
        label: (*label).to_owned(),
        group: (*group).to_owned(),
        ..ControlFacts::default()
    };
    Some(Catalogue {
        reference: found.reference.to_owned(),
        name: found.name.to_owned(),
        edition: found.edition.to_owned(),
        controls: found.rows.iter().map(control).collect(),
    })
}

fn view(control: Control) -> Governed<ControlContent, ControlFacts> {
    let mut facts = control.facts.clone();
    facts.promises = promises_of(&facts.identifier);
    control.view(facts)
}

fn counted(controls: &[Control]) -> FrameworkFacts {
    let count = |is_meant: fn(&ControlContent) -> bool| {
        let found = controls.iter().filter(|control| is_meant(&control.content)).count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    FrameworkFacts {
        controls: count(|_| true),
        decided: count(|one| one.applies != "undecided"),
        applicable: count(|one| one.applies == "applicable"),
        in_place: count(|one| one.applies == "applicable" && one.implementation == "in_place"),
    }
}

impl App {
    /// The tenant's frameworks.
    #[boxed]
    pub async fn list_frameworks(
        &self,
        context: &OpContext,
    ) -> Result<Vec<Governed<FrameworkContent, FrameworkFacts>>> {
        let all = self.authorize_all(context, Action::GovernanceRead, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let frameworks: Vec<Framework> = things(&tx, FRAMEWORK, None).await?;
        let mut controls: HashMap<Option<GovernanceId>, Vec<Control>> = HashMap::new();
        let all_controls: Vec<Control> = things(&tx, CONTROL, None).await?;
        for control in all_controls {
            controls.entry(control.row.parent).or_default().push(control);
        }
        self.note(context, Action::GovernanceRead, &all, "done");
        let view = |framework: Framework| {
            let of = controls.get(&Some(framework.row.id)).map(Vec::as_slice);
            framework.view(counted(of.unwrap_or_default()))
        };
        Ok(frameworks.into_iter().map(view).collect())
    }

    /// Takes a shipped catalogue into the workspace.
    #[boxed]
    pub async fn take_framework(
        &self,
        context: &OpContext,
        reference: &str,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        let catalogue = shipped(reference).ok_or_else(|| {
            let known: Vec<&str> = SHIPPED.iter().map(|one| one.reference).collect();
            let detail = format!("must be one of {}, or a file is imported", known.join(", "));
            Error::invalid_at("reference", detail)
        })?;
        self.keep_catalogue(context, catalogue, "shipped").await
    }

    /// Takes a catalogue out of an OSCAL file into the workspace.
    #[boxed]
    pub async fn import_framework(
        &self,
        context: &OpContext,
        file: CatalogueFile,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        self.keep_catalogue(context, file.read(CONTROLS_MAX)?, "oscal").await
    }

    async fn keep_catalogue(
        &self,
        context: &OpContext,
        catalogue: Catalogue,
        source: &str,
    ) -> Result<GovernanceId> {
        let content = FrameworkContent {
            name: catalogue.name,
            edition: catalogue.edition,
            source: source.to_owned(),
            reference: catalogue.reference,
        };
        let tx = self.0.store.begin(context).await?;
        let known: Vec<Framework> = things(&tx, FRAMEWORK, None).await?;
        if known.iter().any(|one| one.content.reference == content.reference) {
            return Err(Error::Conflict("this catalogue is in the workspace already".to_owned()));
        }
        let there = usize::try_from(tx.governance_count(CONTROL).await?).unwrap_or(usize::MAX);
        let actual = there.saturating_add(catalogue.controls.len());
        if actual > CONTROLS_MAX {
            let (name, max) = ("controls_max", CONTROLS_MAX);
            return Err(LimitExceeded { name, max, actual }.into());
        }
        let framework = Framework::new(self, context, FRAMEWORK, (content, NoFacts {}), "in_use");
        self.put_new(&tx, context, Action::GovernanceWrite, &framework).await?;
        for facts in catalogue.controls {
            let content = ControlContent {
                applies: "undecided".to_owned(),
                implementation: "not_started".to_owned(),
                ..ControlContent::default()
            };
            let mut control = Control::new(self, context, CONTROL, (content, facts), "undecided");
            control.row.parent = Some(framework.row.id);
            tx.governance_create(&control.packed()?).await?;
        }
        tx.commit().await?;
        Ok(framework.row.id)
    }

    /// Takes a framework with its controls and what was decided on them out of the workspace.
    #[boxed]
    pub async fn delete_framework(&self, context: &OpContext, id: GovernanceId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::GovernanceWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let framework: Framework = thing(&tx, FRAMEWORK, id).await?;
        tx.governance_delete(id).await?;
        let change = Change::from(brief(framework.value()));
        self.record_change(&tx, context, Action::GovernanceWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// The controls of a framework.
    #[boxed]
    pub async fn list_controls(
        &self,
        context: &OpContext,
        framework: GovernanceId,
    ) -> Result<Vec<Governed<ControlContent, ControlFacts>>> {
        let resource = resource(context, framework);
        self.authorize(context, Action::GovernanceRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        thing::<FrameworkContent, NoFacts>(&tx, FRAMEWORK, framework).await?;
        let controls: Vec<Control> = things(&tx, CONTROL, Some(framework)).await?;
        self.note(context, Action::GovernanceRead, &resource, "done");
        Ok(in_order(controls).into_iter().map(view).collect())
    }

    /// Decides on a control.
    #[boxed]
    pub async fn decide_control(
        &self,
        context: &OpContext,
        id: GovernanceId,
        content: ControlContent,
        expected: Option<i64>,
    ) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut control: Control = thing(&tx, CONTROL, id).await?;
        check_version(control.row.version, expected)?;
        let content = checked(content)?;
        let before = control.value();
        control.row.state.clone_from(&content.applies);
        control.content = content;
        let done = (Action::GovernanceWrite, "decided");
        self.put_changed(&tx, context, done, (before, &mut control)).await?;
        Ok(tx.commit().await?)
    }

    /// The statement of applicability of a framework: every control with what was decided, why, and
    /// how much evidence there is.
    #[boxed]
    pub async fn statement(
        &self,
        context: &OpContext,
        framework: GovernanceId,
    ) -> Result<(Governed<FrameworkContent, FrameworkFacts>, Vec<StatementLine>)> {
        let resource = resource(context, framework);
        self.authorize(context, Action::GovernanceRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        let found: Framework = thing(&tx, FRAMEWORK, framework).await?;
        let controls: Vec<Control> = things(&tx, CONTROL, Some(framework)).await?;
        let brought = super::evidence::current_of_controls(&tx).await?;
        drop(tx);
        let checked = self.checked_promises(context.at);
        self.note(context, Action::GovernanceRead, &resource, "done");
        let head = found.view(counted(&controls));
        let line = |control: Control| {
            let control = view(control);
            let own = brought.get(&control.id).copied().unwrap_or_default();
            let by_checks = control.facts.promises.iter().filter(|one| checked.contains(*one));
            let by_checks = u64::try_from(by_checks.count()).unwrap_or(u64::MAX);
            StatementLine { evidence: own.saturating_add(by_checks), control }
        };
        Ok((head, in_order(controls).into_iter().map(line).collect()))
    }
}

/// Ids of one import are made in one moment: their order is that of the catalogue only by name.
fn in_order(mut controls: Vec<Control>) -> Vec<Control> {
    controls.sort_by_cached_key(|control| sort_key(&control.facts.identifier));
    controls
}

/// `A.5.10` comes after `A.5.9`.
fn sort_key(identifier: &str) -> Vec<(u64, String)> {
    let parts = identifier.split(['.', '-']);
    let key = |part: &str| (part.parse().unwrap_or_default(), part.to_owned());
    parts.map(key).collect()
}

/// A framework with its controls, for those who write files of them.
pub(super) async fn framework_of(
    tx: &TenantTx,
    id: GovernanceId,
) -> Result<(Framework, Vec<Control>)> {
    let framework: Framework = thing(tx, FRAMEWORK, id).await?;
    let controls: Vec<Control> = things(tx, CONTROL, Some(id)).await?;
    Ok((framework, in_order(controls)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_stand_in_their_order() {
        let mut ids = ["A.5.10", "A.5.9", "A.6.1", "ac-2", "ac-10", "ac-2.1"];
        ids.sort_by_cached_key(|id| sort_key(id));
        assert_eq!(ids, ["A.5.9", "A.5.10", "A.6.1", "ac-2", "ac-2.1", "ac-10"]);
    }

    #[test]
    fn what_does_not_apply_has_a_reason() {
        let content = ControlContent {
            applies: "not_applicable".to_owned(),
            implementation: "not_started".to_owned(),
            ..ControlContent::default()
        };
        assert!(checked(content.clone()).is_err());
        assert!(checked(ControlContent { justification: "none".to_owned(), ..content }).is_ok());
    }
}

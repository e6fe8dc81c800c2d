//! P36: a supplier's certificate is never shown as one's own, and the operator's own are on file.
//! P59: what is in the workspace has a life cycle and a history. Both act in a tenant of nobody.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::{Action, jobs};
use veritwin_domain::{GovernanceId, OpContext, Role};

use super::nobody::PROBE_CUSTOMER;
use super::run::InApp;
use super::{PlatformProbe, ProbeAnswer};
use crate::governance::{OWN_STANDARDS, own_standards};
use crate::model::{
    ActivityQuery, CertificateContent, EvidenceContent, GroupInput, PolicyContent, RiskContent,
    TaskContent,
};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

const VERSION: u32 = 1;
const NAME: &str = "workspace probe";
const DAY: Duration = Duration::from_secs(86_400);

/// The check of P36.
pub(super) fn certificates_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 36, 2, |app: App| async move { app.check_register().await })
}

/// The check of P59.
pub(super) fn history_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 59, VERSION, |app: App| async move { app.check_histories().await })
}

fn fact(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn certificate(context: &OpContext, relation: &str) -> CertificateContent {
    CertificateContent {
        standard: "iso_27001".to_owned(),
        holder: "A hosting company of nobody".to_owned(),
        relation: relation.to_owned(),
        scope: NAME.to_owned(),
        issuer: NAME.to_owned(),
        sha256: "0".repeat(64),
        expires_at: Some(context.at.saturating_add(DAY)),
        ..CertificateContent::default()
    }
}

impl App {
    async fn check_register(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tree().await?;
        let identity = self.open_probe_identity(PROBE_CUSTOMER, NAME, Role::Administrator).await?;
        let seen = self.try_suppliers(&identity.context).await;
        self.close_probe_identity(&identity).await?;
        let (was_taken, shown_as_own) = seen?;
        let operator = self.job_in(jobs::PROMISES, PLATFORM_TENANT);
        let tx = self.0.store.read(&operator).await?;
        let own = own_standards(self, &tx, operator.at).await?;
        drop(tx);
        let facts = vec![
            fact("a supplier's certificate taken as own", was_taken),
            fact("a supplier's certificate shown as own", shown_as_own),
            fact("own certificates that count", own.counted.len()),
            fact("own certificates that do not any more", own.ended.len()),
        ];
        if was_taken || shown_as_own {
            return Ok(ProbeAnswer::Failed {
                summary: "A supplier's certificate passes for one's own.".to_owned(),
                facts,
                place: "GET /v1/certificate-register".to_owned(),
            });
        }
        if !own.ended.is_empty() {
            return Ok(ProbeAnswer::Failed {
                summary: "A certificate that the policy speaks of does not count today.".to_owned(),
                facts,
                place: format!("GET /v1/certificate-register, {}", own.ended.join(", ")),
            });
        }
        let mut missing = OWN_STANDARDS.to_vec();
        missing.retain(|standard| !own.counted.contains(standard));
        if missing.is_empty() {
            let summary = "The operator's certificates are on file and count today.".to_owned();
            return Ok(ProbeAnswer::Passed { summary, facts });
        }
        Ok(ProbeAnswer::CouldNotRun(format!(
            "the operator's register holds no certificate of its own that counts today for {}",
            missing.join(", ")
        )))
    }

    /// Whether a supplier's certificate was taken as own, and whether one is shown as own.
    async fn try_suppliers(&self, context: &OpContext) -> Result<(bool, bool)> {
        let as_own = self.enter_certificate(context, certificate(context, "own")).await;
        let was_taken = match as_own {
            Ok(id) => {
                self.strike_certificate(context, id).await?;
                true
            }
            Err(Error::Invalid { .. }) => false,
            Err(error) => return Err(error),
        };
        let id = self.enter_certificate(context, certificate(context, "supplier")).await?;
        let register = self.list_certificate_register(context).await;
        self.strike_certificate(context, id).await?;
        let shown = register?.into_iter().any(|one| one.id == id && one.facts.is_own);
        Ok((was_taken, shown))
    }

    async fn check_histories(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tree().await?;
        let identity = self.open_probe_identity(PROBE_CUSTOMER, NAME, Role::Administrator).await?;
        let seen = self.try_histories(&identity.context).await;
        self.close_probe_identity(&identity).await?;
        let seen = seen?;
        let facts = seen.iter().map(|(name, is_whole)| fact(name, *is_whole)).collect();
        let broken = seen.iter().find(|(_, is_whole)| !is_whole);
        Ok(match broken {
            None => ProbeAnswer::Passed {
                summary: "Each kind of content went through its life and its history says so."
                    .to_owned(),
                facts,
            },
            Some((name, _)) => ProbeAnswer::Failed {
                summary: format!("The history of {name} is not whole."),
                facts,
                place: "GET /v1/governance/{id}/history".to_owned(),
            },
        })
    }

    /// Each kind of content, with whether its history says what was done.
    async fn try_histories(&self, context: &OpContext) -> Result<Vec<(&'static str, bool)>> {
        let mut made = Vec::new();
        let tried = self.live_through(context, &mut made).await;
        let tx = self.0.store.begin(&self.job_in(jobs::PROMISES, context.tenant)).await?;
        for id in made {
            tx.governance_delete(id).await?;
        }
        tx.commit().await?;
        let mut seen = tried?;
        seen.push(("alerts and incidents", self.try_incident(context).await?));
        seen.push(("configuration", self.try_configuration(context).await?));
        Ok(seen)
    }

    async fn live_through(
        &self,
        context: &OpContext,
        made: &mut Vec<GovernanceId>,
    ) -> Result<Vec<(&'static str, bool)>> {
        let name = || NAME.to_owned();
        let policy = PolicyContent { title: name(), text: name(), ..PolicyContent::default() };
        let id = self.create_policy(context, policy.clone()).await?;
        made.push(id);
        self.step_policy(context, id, "review").await?;
        self.step_policy(context, id, "return").await?;
        let written = PolicyContent { text: format!("{NAME} again"), ..policy };
        self.replace_policy(context, id, written, None).await?;
        let steps = ["written", "returned", "sent_to_review", "made"];
        let mut seen = vec![("policies", self.says(context, id, &steps).await?)];
        let risk = RiskContent {
            title: name(),
            likelihood: 2,
            impact: 3,
            residual_likelihood: 1,
            residual_impact: 3,
            treatment: "mitigate".to_owned(),
            ..RiskContent::default()
        };
        let id = self.create_risk(context, risk.clone()).await?;
        made.push(id);
        self.replace_risk(context, id, RiskContent { impact: 4, ..risk }, None).await?;
        self.close_risk(context, id).await?;
        seen.push(("risks", self.says(context, id, &["closed", "written", "made"]).await?));
        let task = TaskContent { title: name(), ..TaskContent::default() };
        let id = self.create_task(context, task).await?;
        made.push(id);
        self.mark_task(context, id, true).await?;
        seen.push(("tasks", self.says(context, id, &["done", "made"]).await?));
        let evidence = EvidenceContent {
            title: name(),
            source: name(),
            sha256: "0".repeat(64),
            collected_at: Some(context.at),
            result: "passed".to_owned(),
            ..EvidenceContent::default()
        };
        let first = self.record_evidence(context, evidence.clone()).await?;
        made.push(first);
        let next = EvidenceContent { previous: Some(first), ..evidence };
        let next = self.record_evidence(context, next).await?;
        made.push(next);
        // Sealing them goes on beside this, and is in the history too.
        let is_replaced = self.says(context, first, &["superseded", "made"]).await?;
        let is_made = self.says(context, next, &["made"]).await?;
        seen.push(("evidence metadata", is_replaced && is_made));
        Ok(seen)
    }

    /// Whether a history holds these steps, the newest first, with what was before and after.
    async fn says(&self, context: &OpContext, id: GovernanceId, steps: &[&str]) -> Result<bool> {
        let history = self.governance_history(context, id).await?;
        let of_ours = |action: &str| steps.contains(&action);
        let said: Vec<_> = history.iter().filter(|change| of_ours(&change.action)).collect();
        let actions: Vec<&str> = said.iter().map(|change| change.action.as_str()).collect();
        let has_values = said.iter().all(|change| {
            change.after.is_some() && (change.before.is_some() || change.action == "made")
        });
        let mut wanted = steps.to_vec();
        let mut found = actions;
        wanted.sort_unstable();
        found.sort_unstable();
        Ok(has_values && found == wanted)
    }

    async fn try_incident(&self, context: &OpContext) -> Result<bool> {
        let incident = self.open_incident(context, NAME, "low", NAME).await?;
        let closed = self.close_incident(context, incident.id, NAME).await;
        let tx = self.0.store.begin(&self.job_in(jobs::PROMISES, context.tenant)).await?;
        tx.incident_delete(incident.id).await?;
        tx.commit().await?;
        let kinds: Vec<String> = closed?.notes.into_iter().map(|note| note.kind).collect();
        Ok(["opened", "closed"].iter().all(|kind| kinds.iter().any(|one| one == kind)))
    }

    async fn try_configuration(&self, context: &OpContext) -> Result<bool> {
        let input =
            |name: &str| GroupInput { name: name.to_owned(), workspace: None, devices: Vec::new() };
        let group = self.put_group(context, None, input(NAME), None).await?;
        let changed = self.put_group(context, Some(group.id), input("probe, changed"), None).await;
        self.delete_group(context, group.id).await?;
        changed?;
        let query = ActivityQuery {
            action: Some(Action::GroupWrite.as_str().to_owned()),
            ..ActivityQuery::default()
        };
        let records = self.list_activity(context, &query).await?.items;
        let is_ours = |name: &str, value: &Option<serde_json::Value>| {
            value.as_ref().is_some_and(|value| value["name"] == name)
        };
        Ok(records.iter().any(|record| {
            is_ours(NAME, &record.before) && is_ours("probe, changed", &record.after)
        }))
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Timestamp;

    use super::*;
    use crate::model::PromiseView;
    use crate::promises::tests::platform;

    async fn check(app: &App) -> PromiseView {
        let context = app.local_operator();
        app.check_promise_for_local(&context, "P36").await.expect("a check")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn certificates_count_while_they_last() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        app.start_promises();
        assert_eq!(check(&app).await.state, "not_evidenced");
        let identity =
            app.open_probe_identity(PLATFORM_TENANT, "certificates", Role::Administrator);
        let identity = identity.await.expect("an administrator");
        let holder = app.0.tree.read().get(PLATFORM_TENANT).map(|tenant| tenant.name.clone());
        let now = app.clock().now();
        let day = Duration::from_secs(86_400);
        let enter = async |standard: &str, expires_at: Timestamp| {
            let content = CertificateContent {
                standard: standard.to_owned(),
                holder: holder.clone().expect("a name"),
                relation: "own".to_owned(),
                scope: "everything".to_owned(),
                issuer: "A body".to_owned(),
                sha256: "0".repeat(64),
                expires_at: Some(expires_at),
                ..CertificateContent::default()
            };
            app.enter_certificate(&identity.context, content).await.expect("entered");
        };
        for standard in ["iso_27017", "iso_27018", "soc_2_type_2"] {
            enter(standard, now.saturating_add(day)).await;
        }
        let lacks = check(&app).await;
        assert_eq!(lacks.state, "not_evidenced", "{lacks:?}");
        assert!(lacks.reason.is_some_and(|text| text.ends_with("for iso_27001")));
        enter("iso_27001", now.saturating_sub(day)).await;
        let ended = check(&app).await;
        assert_eq!(ended.state, "failing", "{ended:?}");
        enter("iso_27001", now.saturating_add(day)).await;
        let proven = check(&app).await;
        assert_eq!(proven.state, "proven", "{proven:?}");
        app.close_probe_identity(&identity).await.expect("closed");
        app.close().await;
    }
}

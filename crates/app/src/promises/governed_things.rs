//! One thing of each kind of the governance workspace in a tenant of a probe: found, or made once.

use std::collections::BTreeMap;

use veritwin_domain::{GovernanceId, OpContext};

use super::fixture::NAME;
use crate::model::{
    BreachContent, CertificateContent, Governed, PageRequest, PolicyContent, RiskContent,
    TaskContent,
};
use crate::{App, Error, Result};

/// A certificate that ends when nobody looks at it any more.
const CERTIFICATE_LIFETIME: std::time::Duration = std::time::Duration::from_secs(3650 * 86_400);

/// Of a list the newest.
fn newest() -> PageRequest {
    PageRequest { cursor: None, limit: Some(1) }
}

fn known<C, V>(all: &[Governed<C, V>]) -> Option<GovernanceId> {
    all.first().map(|one| one.id)
}

impl App {
    /// Finds or makes one of each kind.
    pub(super) async fn probe_governed(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let name = || NAME.to_owned();
        let policy = match known(&self.list_policies(context, &newest()).await?.items) {
            Some(known) => known,
            None => {
                let text =
                    PolicyContent { title: name(), text: name(), ..PolicyContent::default() };
                self.create_policy(context, text).await?
            }
        };
        let risk = match known(&self.list_risks(context, &newest()).await?.items) {
            Some(known) => known,
            None => {
                let risk = RiskContent {
                    title: name(),
                    likelihood: 1,
                    impact: 1,
                    residual_likelihood: 1,
                    residual_impact: 1,
                    treatment: "accept".to_owned(),
                    ..RiskContent::default()
                };
                self.create_risk(context, risk).await?
            }
        };
        let task = match known(&self.list_tasks(context, &newest()).await?.items) {
            Some(known) => known,
            None => {
                let task = TaskContent { title: name(), ..TaskContent::default() };
                self.create_task(context, task).await?
            }
        };
        things.insert("policy", policy.to_string());
        things.insert("governance", policy.to_string());
        things.insert("risk", risk.to_string());
        things.insert("task", task.to_string());
        things.insert("registered_certificate", self.probe_certificate(context).await?.to_string());
        things.insert("breach", self.probe_breach(context).await?.to_string());
        let framework = match known(&self.list_frameworks(context).await?) {
            Some(known) => known,
            None => self.take_framework(context, "nist-csf-2").await?,
        };
        let control = known(&self.list_controls(context, framework).await?);
        let control =
            control.ok_or_else(|| Error::Internal("a framework without controls".to_owned()))?;
        things.insert("framework", framework.to_string());
        things.insert("control", control.to_string());
        Ok(())
    }

    async fn probe_certificate(&self, context: &OpContext) -> Result<GovernanceId> {
        // The operator's certificates stand in everybody's list.
        let register = self.list_certificate_register(context).await?;
        let own = register.iter().find(|one| one.content.holder == NAME);
        if let Some(known) = own {
            return Ok(known.id);
        }
        let certificate = CertificateContent {
            standard: "other".to_owned(),
            holder: NAME.to_owned(),
            relation: "supplier".to_owned(),
            scope: NAME.to_owned(),
            issuer: NAME.to_owned(),
            sha256: "0".repeat(64),
            expires_at: Some(context.at.saturating_add(CERTIFICATE_LIFETIME)),
            ..CertificateContent::default()
        };
        self.enter_certificate(context, certificate).await
    }

    /// A drill, of which nothing leaves.
    async fn probe_breach(&self, context: &OpContext) -> Result<GovernanceId> {
        if let Some(known) = known(&self.list_breaches(context, &newest()).await?.items) {
            return Ok(known);
        }
        let breach = BreachContent {
            title: NAME.to_owned(),
            role: "controller".to_owned(),
            risk: "unknown".to_owned(),
            is_drill: true,
            ..BreachContent::default()
        };
        self.open_breach(context, breach).await
    }
}

//! The steps of beginning with the service, seen from what there is: nothing is ticked off by hand.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::OpContext;
use veritwin_metastore::{GovernanceKind, Page, every_row};

use crate::model::OnboardingStep;
use crate::{App, Result};

impl App {
    /// What of beginning with the service is done, and what is next.
    #[boxed]
    pub async fn onboarding(&self, context: &OpContext) -> Result<Vec<OnboardingStep>> {
        let all = self.authorize_all(context, Action::GovernanceRead, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let reading = &tx;
        let members = every_row(|page| async move { reading.members(&page).await }).await?.len();
        let devices = tx.usage().await?.devices;
        let twins = tx.twins(&Page::first(1)).await?.items.len();
        let rules = tx.rules(&Page::first(1)).await?.items.len();
        let policies = tx.governance_count(GovernanceKind::Policy).await?;
        let risks = tx.governance_count(GovernanceKind::Risk).await?;
        let frameworks = tx.governance_count(GovernanceKind::Framework).await?;
        self.note(context, Action::GovernanceRead, &all, "done");
        let step = |step, is_done| OnboardingStep { step, is_done };
        Ok(vec![
            step("people", members > 1),
            step("devices", devices > 0),
            step("twin", twins > 0),
            step("rule", rules > 0),
            step("policy", policies > 0),
            step("risk", risks > 0),
            step("framework", frameworks > 0),
        ])
    }
}

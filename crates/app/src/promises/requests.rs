//! A request of nobody, which was taken back when it came: for checks that ask for others' things.

use std::collections::BTreeMap;

use veritwin_domain::{CaseId, OpContext};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, Page, StoredCase};

use crate::{App, Result};

impl App {
    /// A request that is over.
    pub(super) async fn probe_request(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.cases(false, &Page::first(1)).await?.items.first().map(|known| known.id);
        let id = known.unwrap_or_else(|| CaseId::generate(context.at, self.rng()));
        if known.is_none() {
            let made = StoredCase {
                id,
                kind: CaseKind::Access,
                state: CaseState::Withdrawn,
                source: CaseSource::Officer,
                address: None,
                user: None,
                mail: None,
                body: b"{}".to_vec(),
                received_at: context.at,
                answer_by: context.at,
                next_at: None,
                closed_at: Some(context.at),
                version: 1,
            };
            tx.case_create(&made).await?;
            tx.commit().await?;
        }
        things.insert("request", id.to_string());
        Ok(())
    }
}

//! What becomes of the requests of somebody whose account goes: limits end, and what is closed
//! names nobody any more. What is open keeps the address that it has to be answered at until it is.

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{CaseId, OpContext, UserId};

use super::body::Case;
use crate::{App, Error, Result};

impl App {
    /// Takes an account that goes out of every request about it.
    #[boxed]
    pub(crate) async fn forget_cases(&self, user: UserId) -> Result<()> {
        loop {
            let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
            let found = tx.cases_of_account(user).await?;
            drop(tx);
            if found.is_empty() {
                return Ok(());
            }
            for (tenant, id) in found {
                self.forget_case(&self.job_in(jobs::RETENTION, tenant), id).await?;
                self.limits_changed(tenant);
            }
        }
    }

    pub(super) async fn forget_case(&self, context: &OpContext, id: CaseId) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        tx.limit_delete(id).await?;
        match tx.case(id).await.map_err(Error::from) {
            Ok(row) => {
                let mut case = Case::read(row)?;
                case.end_account(context.at);
                self.save_case(&tx, &mut case, context.at).await?;
            }
            // Whoever has the key again reads nothing of somebody who is gone.
            Err(Error::KeyRevoked | Error::KeySilent | Error::KeyDestroyed(_)) => {
                tx.case_delete(id).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(tx.commit().await?)
    }
}

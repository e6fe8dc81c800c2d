//! The keys of every log, for the operator to hand to witnesses.

use async_recursion::async_recursion as boxed;
use veritwin_access::Action;
use veritwin_domain::{PlatformContext, TenantId};

use crate::provision::{PLATFORM_TENANT, is_own};
use crate::{App, Error, Result};

impl App {
    /// The key of each log, the platform's own first: it is the log of logs. It is the key that was
    /// learnt when the log was made, whatever the archive says now. Logs of whoever withholds their
    /// keys are left out: nothing is sealed in them.
    #[boxed]
    pub async fn ledger_keys(&self, context: &PlatformContext) -> Result<Vec<(TenantId, String)>> {
        self.authorize_platform(context, Action::TenantList)?;
        let mut tenants = self.all_tenants(context).await?;
        tenants.retain(|tenant| tenant.id == PLATFORM_TENANT || !is_own(tenant.id));
        tenants.sort_by_key(|tenant| tenant.id != PLATFORM_TENANT);
        let mut keys = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            match self.known_log_key(tenant.id).await {
                Ok(Some(vkey)) => keys.push((tenant.id, vkey)),
                Ok(None) | Err(Error::NotFound(_)) => {}
                Err(error) if error.is_withheld() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }
}

//! What a restore ends: whatever lets somebody in without asking again, as it was at the backup.

use async_recursion::async_recursion as boxed;
use veritwin_domain::Timestamp;

use crate::query::{above, is_null};
use crate::{PlatformTx, Result};

/// What was ended, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedAccess {
    /// Sessions of people, and of support in a tenant.
    pub sessions: u64,
    /// One-time links, invitations among them.
    pub links: u64,
    /// Support grants, asked for or given.
    pub support_grants: u64,
}

impl PlatformTx {
    /// Ends every session, one-time link and support grant of every tenant, and forgets the answers
    /// that were kept for repetitions: they hold secrets.
    #[boxed]
    pub async fn access_end(&self, at: Timestamp) -> Result<EndedAccess> {
        let support = self.core.delete(self.delete("support_sessions")).await?;
        let sessions = self.core.delete(self.delete("sessions")).await? + support;
        let links = self.core.delete(self.delete("one_time_links")).await?;
        self.core.delete(self.delete("idempotency_keys")).await?;
        // A device that waited to be claimed asks again.
        self.core.delete(self.delete("claim_windows")).await?;
        let grants = self
            .update("support_grants")
            .set("revoked_at", Some(at))
            .filter(is_null("revoked_at"))
            .filter(above("expires_at", at));
        let support_grants = self.core.update(grants).await?;
        Ok(EndedAccess { sessions, links, support_grants })
    }
}

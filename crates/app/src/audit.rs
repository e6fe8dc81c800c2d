//! The end of the ledger's payloads: a plan's `audit_days`. The key of each day on which batches
//! were sealed is destroyed; leaves, tree and checkpoints stay, and every proof of them holds.

use std::collections::HashMap;

use serde_json::json;
use veritwin_access::{Action, jobs};
use veritwin_domain::{TenantId, Timestamp};
use veritwin_keys::{DataClass, Dek, DekId, DekScope, DestructionMethod, Epoch};
use veritwin_telemetry::Expiry;

use crate::change::Change;
use crate::retention::{Holds, Kept, ended_before};
use crate::{App, Result};

/// Days of a tenant whose payloads are past their time.
pub(crate) struct LedgerDays {
    expiry: Expiry,
    /// One for each day that ends.
    pub(crate) keys: Vec<DekId>,
    /// Days that stay under a hold.
    pub(crate) held_days: u64,
}

impl App {
    /// The key of the payloads that are sealed on the day of a moment.
    pub(crate) fn payload_dek(&self, tenant: TenantId, sealed_at: Timestamp) -> Result<Dek> {
        let scope = DekScope::tenant(tenant, DataClass::Ledger);
        Ok(self.0.keys.dek(&scope.with_epoch(Epoch::Day(sealed_at.day())))?)
    }

    /// The days of payloads that end, of tenants that have any that would.
    pub(crate) fn ledger_days(&self, expiries: Vec<Expiry>) -> Vec<LedgerDays> {
        if expiries.is_empty() {
            return Vec::new();
        }
        let fresh =
            |expiry: Expiry| (expiry.tenant, LedgerDays { expiry, keys: Vec::new(), held_days: 0 });
        let mut found: HashMap<TenantId, LedgerDays> = expiries.into_iter().map(fresh).collect();
        for key in self.0.keys.day_keys(DataClass::Ledger) {
            let Some(days) = found.get_mut(&key.tenant) else { continue };
            match days.expiry.ends_days(key.day, key.day) {
                Some(true) => days.keys.push(key.dek),
                Some(false) => {}
                None => days.held_days += 1,
            }
        }
        let mut found: Vec<LedgerDays> = found.into_values().collect();
        found.retain(|days| !days.keys.is_empty() || days.held_days > 0);
        found
    }

    /// Destroys the keys of the ledger's payloads that are past their plans' time at a trusted
    /// moment. A plan keeps a day at least, so that today's key and yesterday's always stay.
    pub(crate) async fn expire_ledger(&self, now: Timestamp, holds: &Holds) -> Result<()> {
        let mut ending = self.ledger_days(self.expiries(Kept::Ledger, now, holds));
        ending.retain(|days| !days.keys.is_empty());
        if ending.is_empty() {
            return Ok(());
        }
        // Nothing is destroyed of a tenant that cannot be told: one whose keys are withdrawn.
        let context = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&context).await?;
        let mut keys = Vec::new();
        for days in ending {
            let tenant = days.expiry.tenant;
            let change = Change::from(json!({
                "ledger_days": days.keys.len(),
                "before": ended_before(&days.expiry).to_string(),
                "ledger_days_under_a_hold": days.held_days,
            }));
            let written = (Action::LedgerMaintain, "done", change);
            match self.record_platform_change(&tx, &context, Some(tenant), written).await {
                Ok(()) => keys.extend(days.keys),
                Err(error) if error.is_withheld() => {
                    tracing::warn!(%tenant, "payloads past their time stay: the keys are withdrawn");
                }
                Err(error) => return Err(error),
            }
        }
        // All at once, since the keyring is written anew each time.
        if !keys.is_empty() {
            self.0.keys.destroy(&keys, DestructionMethod::KeyDestroyed)?;
        }
        Ok(tx.commit().await?)
    }
}

//! A warning when a tenant has used most of what its plan gives it: once for each limit, and again
//! after there was room. And what it has used, beside its limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use veritwin_access::{Finding, jobs};
use veritwin_domain::TenantId;
use veritwin_metastore::UsageLevels;

use crate::model::QuotaView;
use crate::security::{Found, fact};
use crate::{App, Error, Result};

/// From this part of a limit on there is a warning, in percent.
pub const QUOTA_WARNED_PERCENT: u64 = 80;
/// Below this part of it there is room again.
const QUOTA_FORGOTTEN_PERCENT: u64 = 70;
const SETTING: &str = "quotas_told";

/// Limits that were warned of, with what they were then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told(BTreeMap<String, u64>);

impl Told {
    /// What is near its limit and was not told of; what has room again is forgotten.
    fn look(&mut self, quotas: &[QuotaView]) -> Vec<QuotaView> {
        let is_full = |one: &QuotaView| is_past(one, QUOTA_FORGOTTEN_PERCENT);
        self.0.retain(|name, _| quotas.iter().any(|one| one.name == name && is_full(one)));
        let mut new = Vec::new();
        for quota in quotas.iter().filter(|quota| is_near(quota)) {
            if self.0.insert(quota.name.to_owned(), quota.max) != Some(quota.max) {
                new.push(*quota);
            }
        }
        new
    }
}

fn is_near(quota: &QuotaView) -> bool {
    is_past(quota, QUOTA_WARNED_PERCENT)
}

/// A limit of nothing is near only when there is something.
fn is_past(quota: &QuotaView, percent: u64) -> bool {
    let (used, max) = (u128::from(quota.used), u128::from(quota.max));
    used > 0 && used * 100 >= max * u128::from(percent)
}

impl App {
    /// What a tenant has used of the limits that its plan sets.
    pub(crate) fn quotas(&self, tenant: TenantId, levels: &UsageLevels) -> Vec<QuotaView> {
        let limits = self.plan_limits(tenant);
        let points = self.points_of_today(tenant, self.clock().now());
        let all = [
            ("plan_devices_max", levels.devices, limits.devices),
            ("plan_storage_bytes_max", levels.stored_bytes, limits.storage_bytes),
            ("plan_points_per_day_max", points, limits.points_per_day),
            ("plan_series_max", levels.series, limits.series),
        ];
        let set = all.into_iter().filter_map(|(name, used, max)| Some((name, used, max?)));
        set.map(|(name, used, max)| QuotaView { name, used, max }).collect()
    }

    /// Warns of what is nearly used up.
    pub(crate) async fn warn_of_quota(&self, tenant: TenantId, levels: &UsageLevels) -> Result<()> {
        let quotas = self.quotas(tenant, levels);
        let context = self.job_in(jobs::RETENTION, tenant);
        let setting = self.0.store.read(&context).await?.setting(SETTING).await?;
        let version = setting.as_ref().map_or(0, |setting| setting.version);
        let known = setting.and_then(|setting| serde_json::from_slice(&setting.body).ok());
        let before: Told = known.unwrap_or_default();
        let mut told = before.clone();
        let new = told.look(&quotas);
        if told == before {
            return Ok(());
        }
        if !new.is_empty() {
            let shown = |quota: &QuotaView| format!("{} of {}", quota.used, quota.max);
            let facts = new.iter().map(|quota| fact(quota.name, shown(quota))).collect();
            let found = Found { tenant, kind: Finding::QuotaNear, facts, session: None };
            self.raise_finding(&found).await?;
        }
        // Noted behind the alert: after a crash in between it is told again.
        let body = serde_json::to_vec(&told).map_err(|error| Error::Internal(error.to_string()))?;
        let tx = self.0.store.begin(&context).await?;
        tx.setting_put(SETTING, &body, Some(version)).await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_of_once_until_there_is_room() {
        let mut told = Told::default();
        let mut check = |used: u64, max: u64, expect: usize| {
            let quota = QuotaView { name: "plan_series_max", used, max };
            assert_eq!(told.look(&[quota]).len(), expect, "{used} of {max}");
        };
        check(79, 100, 0);
        check(80, 100, 1);
        check(95, 100, 0);
        check(95, 110, 1);
        check(80, 110, 0);
        check(90, 110, 0);
        check(50, 110, 0);
        check(100, 110, 1);
        check(0, 0, 0);
        check(1, 0, 1);
    }
}

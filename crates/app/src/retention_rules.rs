//! How long an organisation keeps readings within its plan: all of them, those of a profile's
//! devices or of keys, and the hourly figures that stay when readings are gone. Carried out once a
//! day; a change waits a week before anything is destroyed by it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{DAY_MICROS, DeviceId, DeviceProfileId, Key, OpContext, TenantId, Timestamp};
use veritwin_keys::KeyError;
use veritwin_metastore::TenantTx;
use veritwin_telemetry::{Expiry, Meant, Selection, SeriesTest, Which};

use crate::change::Change;
use crate::device_profiles::StoredDeviceProfile;
use crate::model::{RetentionEnd, RetentionInput, RetentionRule, RetentionView};
use crate::retention::{
    Holds, Kept, RETENTION_DAYS_MAX, RETENTION_WAIT_DAYS, ended_before, expiry,
};
use crate::rights::bounded;
use crate::{App, Error, Result};

const SETTING: &str = "retention";
/// Most rules of a tenant.
const RETENTION_RULES_MAX: usize = 50;
/// Longest pattern of keys, in bytes.
const PATTERN_BYTES_MAX: usize = 256;
/// Tenants whose own retention is looked at in one round.
const TENANTS_PER_ROUND: usize = 256;
/// Tenants whose keys are wrapped anew in one round, each at most once a day.
const REWRAPS_PER_ROUND: usize = 16;
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
/// How long the keys of days that were merged into months stay, for backups of before.
const DAY_KEYS_KEPT: std::time::Duration = std::time::Duration::from_secs(35 * 86_400);

/// What is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRetention {
    readings_days: Option<u64>,
    figures_days: Option<u64>,
    rules: Vec<StoredRule>,
    /// In microseconds since the epoch.
    not_before: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredRule {
    profile: Option<DeviceProfileId>,
    key: Option<String>,
    days: u64,
}

/// Tenants whose own retention was carried out, and on which day.
pub(crate) type RetentionRuns = parking_lot::Mutex<HashMap<TenantId, i64>>;

/// Whether a text fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn check(input: &RetentionInput) -> Result<()> {
    let days = |at: &'static str, days: Option<u64>| match days {
        Some(days) if !(1..=RETENTION_DAYS_MAX).contains(&days) => {
            let detail = format!("expected 1 to {RETENTION_DAYS_MAX} days, or null");
            Err(Error::invalid_at(at, detail))
        }
        _ => Ok(()),
    };
    days("readings_days", input.readings_days)?;
    days("figures_days", input.figures_days)?;
    bounded("retention_rules_max", RETENTION_RULES_MAX, input.rules.len())?;
    for rule in &input.rules {
        days("rules.days", Some(rule.days))?;
        if rule.profile.is_none() && rule.key.is_none() {
            return Err(Error::invalid_at("rules", "a rule names a profile, a key, or both"));
        }
        if let Some(key) = &rule.key {
            let is_right = !key.is_empty() && key.len() <= PATTERN_BYTES_MAX;
            if !is_right {
                let detail = format!("needs 1 to {PATTERN_BYTES_MAX} bytes");
                return Err(Error::invalid_at("rules.key", detail));
            }
        }
    }
    Ok(())
}

impl StoredRetention {
    fn of(input: &RetentionInput, now: Timestamp) -> Self {
        let rule = |one: &RetentionRule| StoredRule {
            profile: one.profile,
            key: one.key.clone(),
            days: one.days,
        };
        let wait = DAY.saturating_mul(u32::try_from(RETENTION_WAIT_DAYS).unwrap_or(u32::MAX));
        Self {
            readings_days: input.readings_days,
            figures_days: input.figures_days,
            rules: input.rules.iter().map(rule).collect(),
            not_before: now.saturating_add(wait).as_micros(),
        }
    }

    fn input(&self) -> RetentionInput {
        let rule = |one: &StoredRule| RetentionRule {
            profile: one.profile,
            key: one.key.clone(),
            days: one.days,
        };
        RetentionInput {
            readings_days: self.readings_days,
            figures_days: self.figures_days,
            rules: self.rules.iter().map(rule).collect(),
        }
    }
}

fn stored(body: &[u8]) -> Result<StoredRetention> {
    let damaged = |_| Error::Internal("the stored retention is damaged".to_owned());
    serde_json::from_slice(body).map_err(damaged)
}

/// A new rule names a profile that is there. What was set stays, also when its profile is gone.
async fn check_profiles(
    tx: &TenantTx,
    input: &RetentionInput,
    before: &StoredRetention,
) -> Result<()> {
    for profile in input.rules.iter().filter_map(|rule| rule.profile) {
        let is_set = before.rules.iter().any(|rule| rule.profile == Some(profile));
        if !is_set && crate::error::found(tx.device_profile(profile).await)?.is_none() {
            return Err(Error::invalid_at("rules.profile_id", "there is no such profile"));
        }
    }
    Ok(())
}

async fn retention_in(tx: &TenantTx) -> Result<(StoredRetention, u64)> {
    match tx.setting(SETTING).await? {
        None => Ok((StoredRetention::default(), 0)),
        Some(setting) => Ok((stored(&setting.body)?, setting.version)),
    }
}

/// The devices that have a profile: those it was given to, and those of its types.
async fn devices_of(
    app: &App,
    context: &OpContext,
    profile: DeviceProfileId,
) -> Result<HashSet<DeviceId>> {
    let tx = app.0.store.read(context).await?;
    let own: HashMap<DeviceId, DeviceProfileId> =
        tx.device_profile_devices().await?.into_iter().collect();
    let Some(row) = crate::error::found(tx.device_profile(profile).await)? else {
        return Ok(HashSet::new());
    };
    drop(tx);
    let damaged = |_| Error::Internal("a stored profile is damaged".to_owned());
    let body: StoredDeviceProfile = serde_json::from_slice(&row.body).map_err(damaged)?;
    let devices = app.tenant_devices(context).await?;
    let has_it = |device: &veritwin_metastore::Device| match own.get(&device.id) {
        Some(given) => *given == profile,
        None => body.device_types.contains(&device.kind),
    };
    Ok(devices.all().filter(|device| has_it(device)).map(|device| device.id).collect())
}

impl App {
    /// How long the organisation keeps readings.
    #[boxed]
    pub async fn retention(&self, context: &OpContext) -> Result<RetentionView> {
        let resource = self.authorize_all(context, Action::RetentionRead, Kind::Keys)?;
        let tx = self.0.store.read(context).await?;
        let (kept, version) = retention_in(&tx).await?;
        self.note(context, Action::RetentionRead, &resource, "done");
        Ok(self.retention_view(context, &kept, version))
    }

    fn retention_view(
        &self,
        context: &OpContext,
        kept: &StoredRetention,
        version: u64,
    ) -> RetentionView {
        let not_before = Timestamp::from_micros(kept.not_before);
        RetentionView {
            plan_days: self.limits(self.plan_of(context.tenant)).retention_days,
            kept: kept.input(),
            not_before: (version > 0 && not_before > context.at).then_some(not_before),
            version,
        }
    }

    fn plan_of(&self, tenant: TenantId) -> Option<veritwin_domain::PlanId> {
        self.0.tree.read().get(tenant).and_then(|one| one.place.plan)
    }

    /// Changes how long the organisation keeps readings, if nobody else has since `version`.
    #[boxed]
    pub async fn change_retention(
        &self,
        context: &OpContext,
        (input, version): (&RetentionInput, u64),
    ) -> Result<RetentionView> {
        let resource: Resource = self.authorize_all(context, Action::RetentionWrite, Kind::Keys)?;
        check(input)?;
        let tx = self.0.store.begin(context).await?;
        let (before, _) = retention_in(&tx).await?;
        check_profiles(&tx, input, &before).await?;
        let after = StoredRetention::of(input, context.at);
        let body = serde_json::to_vec(&after).map_err(|e| Error::Internal(e.to_string()))?;
        tx.setting_put(SETTING, &body, Some(version)).await?;
        let change = Change::from_to(shown(&before), shown(&after));
        self.record_change(&tx, context, Action::RetentionWrite, &resource, change).await?;
        tx.commit().await?;
        self.0.destructions.runs.lock().remove(&context.tenant);
        Ok(self.retention_view(context, &after, version + 1))
    }

    /// What is at its end now, by the plan and by what the organisation has set. Nothing is
    /// destroyed.
    #[boxed]
    pub async fn retention_ends(&self, context: &OpContext) -> Result<Vec<RetentionEnd>> {
        let resource = self.authorize_all(context, Action::RetentionRead, Kind::Keys)?;
        let kept = retention_in(&self.0.store.read(context).await?).await?.0;
        let (tenant, now) = (context.tenant, context.at);
        let holds = self.holds_of_all(context).await?;
        let plan_days = self.limits(self.plan_of(tenant)).retention_days;
        let mut ends = Vec::new();
        for (by, days) in [("plan", plan_days), ("readings", kept.readings_days)] {
            let Some(days) = days else { continue };
            let expiry = expiry(Kept::Readings, (tenant, days), now, &holds);
            let found = self.0.engine.expiring_soon(&expiry);
            let held_sections = found.held_sections as u64;
            let (before, readings) = (ended_before(&expiry), found.points);
            ends.push(RetentionEnd { by, rule: None, before, readings, held_sections });
        }
        for (number, rule) in kept.rules.iter().enumerate() {
            let expiry = expiry(Kept::Readings, (tenant, rule.days), now, &holds);
            let selection = self.rule_selection(context, rule, &expiry).await?;
            let readings = self.0.engine.selected(&selection).await?.points;
            let (rule, before) = (Some(number), ended_before(&expiry));
            ends.push(RetentionEnd { by: "rule", rule, before, readings, held_sections: 0 });
        }
        self.note(context, Action::RetentionRead, &resource, "done");
        Ok(ends)
    }

    /// The readings that a rule ends.
    async fn rule_selection(
        &self,
        context: &OpContext,
        rule: &StoredRule,
        expiry: &Expiry,
    ) -> Result<Selection> {
        let devices = match rule.profile {
            Some(profile) => Some(devices_of(self, context, profile).await?),
            None => None,
        };
        let pattern = rule.key.clone();
        let test: SeriesTest = Arc::new(move |device: DeviceId, key: &Key| {
            let is_meant = devices.as_ref().is_none_or(|devices| devices.contains(&device))
                && pattern.as_ref().is_none_or(|pattern| fits(pattern, key));
            if is_meant { Meant::All } else { Meant::No }
        });
        let end = expiry.first_day.saturating_mul(DAY_MICROS).saturating_sub(1);
        let to = Timestamp::from_micros(end);
        let held = expiry.held.clone();
        Ok(Selection { to, held, ..Selection::of(context.tenant, Which::Series(test)) })
    }

    /// Keeps the hourly figures of readings that are about to end, of tenants that want them.
    pub(crate) async fn keep_figures(&self, expiry: &Expiry) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, expiry.tenant);
        let kept = retention_in(&self.0.store.read(&context).await?).await?.0;
        if kept.figures_days.is_some() {
            self.0.engine.keep_figures(expiry).await?;
        }
        Ok(())
    }

    /// Carries out what tenants have set themselves, each once a day; keys of merged days and the
    /// wrapping of tenants' keys after destructions have their turn as well.
    pub(crate) async fn keep_retention(&self, now: Timestamp, holds: &Holds) -> Result<()> {
        let today = now.day();
        let due: Vec<TenantId> = {
            let (tree, runs) = (self.0.tree.read(), self.0.destructions.runs.lock());
            let is_due = |tenant: &TenantId| runs.get(tenant).is_none_or(|day| *day < today);
            tree.ids().filter(is_due).take(TENANTS_PER_ROUND).collect()
        };
        let is_last = due.len() < TENANTS_PER_ROUND;
        for tenant in due {
            match self.keep_retention_of(tenant, now).await {
                Ok(()) => drop(self.0.destructions.runs.lock().insert(tenant, today)),
                Err(error) if error.is_withheld() => {
                    // Its keys are withdrawn or gone: nothing of it can be written anew.
                    self.0.destructions.runs.lock().insert(tenant, today);
                    self.0.destructions.by_days.lock().insert(tenant);
                }
                Err(error) => tracing::warn!(%tenant, %error, "readings at their end stay"),
            }
        }
        if is_last {
            // Everybody was looked at: whoever is not among these has months.
            let plans = self.expiries(Kept::Readings, now, holds);
            let own = self.0.destructions.by_days.lock().clone();
            let all = plans.iter().map(|expiry| expiry.tenant).chain(own);
            self.0.engine.keep_by_days(all.collect());
        }
        self.0.engine.destroy_superseded(now.saturating_sub(DAY_KEYS_KEPT)).await?;
        let keys = self.0.keys.clone();
        let rewrap = move || {
            let mut held = Vec::new();
            for tenant in keys.shredded_since_wrap(now.saturating_sub(DAY), REWRAPS_PER_ROUND) {
                match keys.rotate_tenant(tenant) {
                    Ok(_) => {}
                    Err(KeyError::HeldElsewhere(_)) => held.push(tenant),
                    Err(error) => tracing::warn!(%tenant, %error, "keys were not wrapped anew"),
                }
            }
            held
        };
        let held = tokio::task::spawn_blocking(rewrap)
            .await
            .map_err(|_| Error::Internal("wrapping keys anew stopped".to_owned()))?;
        for tenant in held {
            if let Err(error) = self.rewrap_held(tenant).await {
                tracing::warn!(%tenant, %error, "keys were not wrapped anew");
            }
        }
        Ok(())
    }

    async fn keep_retention_of(&self, tenant: TenantId, now: Timestamp) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let (kept, version) = retention_in(&self.0.store.read(&context).await?).await?;
        {
            let mut by_days = self.0.destructions.by_days.lock();
            match kept.readings_days {
                Some(_) => drop(by_days.insert(tenant)),
                None => drop(by_days.remove(&tenant)),
            }
        }
        if version == 0 || now.as_micros() < kept.not_before {
            return Ok(());
        }
        // Those before it may have taken hours: what is held is asked now.
        let holds = self.holds_of_all(&context).await?;
        let ends = |days: u64| expiry(Kept::Readings, (tenant, days), now, &holds);
        if let Some(days) = kept.readings_days {
            self.expire_readings_of(vec![ends(days)]).await?;
        }
        for rule in &kept.rules {
            let selection = self.rule_selection(&context, rule, &ends(rule.days)).await?;
            let done = self.0.engine.expire_series(&selection).await?;
            if done.points > 0 {
                self.record_rule(&context, rule, done.points).await?;
            }
        }
        let figures_end = ends(kept.figures_days.unwrap_or(0));
        self.0.engine.expire_figures(&figures_end).await?;
        Ok(())
    }

    async fn record_rule(
        &self,
        context: &OpContext,
        rule: &StoredRule,
        readings: u64,
    ) -> Result<()> {
        let change = Change::from(json!({"readings": readings, "days": rule.days}));
        let platform = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&platform).await?;
        let written = (Action::TelemetryMaintain, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), written).await?;
        Ok(tx.commit().await?)
    }
}

/// As a record shows it.
fn shown(kept: &StoredRetention) -> serde_json::Value {
    json!({
        "readings_days": kept.readings_days,
        "figures_days": kept.figures_days,
        "rules": kept.rules.iter().map(|rule| json!({
            "profile": rule.profile,
            "key": rule.key,
            "days": rule.days,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, text: &str, expect: bool| {
            assert_eq!(fits(pattern, text), expect, "{pattern} {text}");
        };
        check("t", "t", true);
        check("t", "tt", false);
        check("*", "", true);
        check("raw_*", "raw_x", true);
        check("raw_*", "xraw_x", false);
        check("*_raw", "a_raw", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c", false);
        check("*é", "caffé", true);
        check("ab*ba", "aba", false);
        check("*****", "x", true);
    }

    #[test]
    fn what_can_be_set() {
        let rule = |key: Option<&str>, days: u64| RetentionInput {
            rules: vec![RetentionRule { profile: None, key: key.map(str::to_owned), days }],
            ..RetentionInput::default()
        };
        assert!(check(&RetentionInput::default()).is_ok());
        assert!(check(&rule(Some("raw_*"), 7)).is_ok());
        for wrong in [
            rule(None, 7),
            rule(Some(""), 7),
            rule(Some("t"), 0),
            RetentionInput { readings_days: Some(0), ..RetentionInput::default() },
            RetentionInput { figures_days: Some(36_501), ..RetentionInput::default() },
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let kept = StoredRetention::of(&rule(Some("t"), 3), now);
        assert_eq!(kept.input(), rule(Some("t"), 3));
        assert_eq!(kept.not_before - now.as_micros(), 7 * DAY_MICROS);
    }
}

//! The form in which a plan stands in the records.

use veritwin_keys::KeyLevel;
use veritwin_metastore::Plan;

use crate::model::{PlanLimits, PlanView};
use crate::plan_routes::StoredRouteLimits;
use crate::{Error, Result};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct StoredPlan {
    name: String,
    devices: Option<u64>,
    users: Option<u64>,
    api_keys: Option<u64>,
    tenants: Option<u64>,
    #[serde(default)]
    messages_per_second: Option<u64>,
    #[serde(default)]
    requests_per_second: Option<u64>,
    #[serde(default)]
    storage_bytes: Option<u64>,
    #[serde(default)]
    points_per_day: Option<u64>,
    #[serde(default)]
    series: Option<u64>,
    #[serde(default)]
    retention_days: Option<u64>,
    #[serde(default)]
    audit_days: Option<u64>,
    #[serde(default)]
    key_level: Option<String>,
    #[serde(flatten)]
    routes: StoredRouteLimits,
}

/// A plan's text form in the store.
pub(crate) fn plan_body(name: &str, limits: &PlanLimits) -> Result<Vec<u8>> {
    crate::retention::check_days(limits)?;
    let key_level = limits.key_level.map(KeyLevel::as_str);
    key_level.map(crate::key_level::key_level).transpose()?;
    let stored = StoredPlan {
        name: name.to_owned(),
        devices: limits.devices,
        users: limits.users,
        api_keys: limits.api_keys,
        tenants: limits.tenants,
        messages_per_second: limits.messages_per_second,
        requests_per_second: limits.requests_per_second,
        storage_bytes: limits.storage_bytes,
        points_per_day: limits.points_per_day,
        series: limits.series,
        retention_days: limits.retention_days,
        audit_days: limits.audit_days,
        key_level: key_level.map(str::to_owned),
        routes: limits.routes.into(),
    };
    serde_json::to_vec(&stored).map_err(|error| Error::Internal(error.to_string()))
}

pub(crate) fn plan_view(plan: &Plan) -> Result<PlanView> {
    let damaged = || Error::Internal("a plan is damaged".to_owned());
    let stored: StoredPlan = serde_json::from_slice(&plan.body).map_err(|_| damaged())?;
    let key_level = |name: String| KeyLevel::from_name(&name).ok_or_else(damaged);
    Ok(PlanView {
        id: plan.id,
        name: stored.name,
        limits: PlanLimits {
            devices: stored.devices,
            users: stored.users,
            api_keys: stored.api_keys,
            tenants: stored.tenants,
            messages_per_second: stored.messages_per_second,
            requests_per_second: stored.requests_per_second,
            storage_bytes: stored.storage_bytes,
            points_per_day: stored.points_per_day,
            series: stored.series,
            retention_days: stored.retention_days,
            audit_days: stored.audit_days,
            key_level: stored.key_level.map(key_level).transpose()?,
            routes: stored.routes.into(),
        },
        version: i64::try_from(plan.version).unwrap_or(i64::MAX),
    })
}

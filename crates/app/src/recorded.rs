//! How what says who may do what, and under whose name, stands in the records: before and after a
//! change, without secrets and without keys.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde_json::{Value, json};
use veritwin_domain::Timestamp;
use veritwin_keys::sha256;
use veritwin_metastore::{
    DeviceGroup, Grant, GrantRole, Holder, HostCertificate, StoredRole, Tenant, Workspace,
};

use crate::brands::StoredBrand;
use crate::change::Change;
use crate::invitation_scopes::printed;
use crate::model::PlanView;

/// Longest text of a brand that is recorded whole, in characters; of a longer one the beginning.
const TEXT_CHARS_MAX: usize = 200;

fn fingerprint(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

pub(crate) fn role(role: &StoredRole) -> Value {
    json!({"name": role.name, "allows": role.allows, "denies": role.denies})
}

/// A role, its holder, where it counts, until when.
pub(crate) fn grant(grant: &Grant, own_roles: &[StoredRole]) -> Value {
    let role = match grant.role {
        GrantRole::BuiltIn(role) => json!(role.as_str()),
        GrantRole::Custom(id) => {
            let name = own_roles.iter().find(|role| role.id == id).map(|role| &role.name);
            json!({"id": id.to_string(), "name": name})
        }
    };
    let holder = match grant.holder {
        Holder::User(user) => format!("user:{user}"),
        Holder::ApiKey(key) => format!("key:{key}"),
    };
    json!({
        "role": role,
        "holder": holder,
        "scope": printed(&grant.scope),
        "expires_at": grant.expires_at.map(|end| end.to_string()),
    })
}

fn names<T: Display>(ids: impl Iterator<Item = T>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

/// What is in one and not in the other: a list may be too long for a record, what changes is not.
fn differing<T: Copy + Ord + Display>(here: &[T], there: &[T]) -> Vec<String> {
    let there: BTreeSet<&T> = there.iter().collect();
    names(here.iter().filter(|id| !there.contains(id)))
}

/// A change of a workspace: with the twins that leave it, and those that come.
pub(crate) fn workspace(before: Option<&Workspace>, after: Option<&Workspace>) -> Change {
    let side = |one: &Workspace, other: Option<&Workspace>, word: &str| {
        let other = other.map(|other| other.twins.as_slice()).unwrap_or_default();
        let mut value = json!({"name": one.name, "twins": one.twins.len()});
        value[word] = json!(differing(&one.twins, other));
        value
    };
    Change {
        before: before.map(|one| side(one, after, "twins_taken_out")),
        after: after.map(|one| side(one, before, "twins_put_in")),
    }
}

/// A change of a group: with the devices that leave it, and those that come.
pub(crate) fn group(before: Option<&DeviceGroup>, after: Option<&DeviceGroup>) -> Change {
    let side = |one: &DeviceGroup, other: Option<&DeviceGroup>, word: &str| {
        let other = other.map(|other| other.devices.as_slice()).unwrap_or_default();
        let mut value = json!({
            "name": one.name,
            "workspace": one.workspace.map(|id| id.to_string()),
            "devices": one.devices.len(),
        });
        value[word] = json!(differing(&one.devices, other));
        value
    };
    Change {
        before: before.map(|one| side(one, after, "devices_taken_out")),
        after: after.map(|one| side(one, before, "devices_put_in")),
    }
}

/// A text, or how a long one begins with what tells it from any other.
fn excerpt(text: &str) -> Value {
    if text.chars().count() <= TEXT_CHARS_MAX {
        return json!(text);
    }
    let begins: String = text.chars().take(TEXT_CHARS_MAX).collect();
    json!({
        "begins": begins, "characters": text.chars().count(),
        "sha256": fingerprint(text.as_bytes()),
    })
}

pub(crate) fn brand(brand: &StoredBrand) -> Value {
    let body = &brand.body;
    json!({
        "product": body.product,
        "light": body.light,
        "dark": body.dark,
        "contact_name": body.contact_name,
        "contact_email": body.contact_email,
        "contact_address": body.contact_address,
        "privacy": excerpt(&body.privacy),
        "terms": excerpt(&body.terms),
        "imprint": excerpt(&body.imprint),
        "logo_sha256": brand.logo.as_deref().map(fingerprint),
    })
}

/// A tenant as whoever is above it sets it. `plan` is the name of its plan.
pub(crate) fn tenant(tenant: &Tenant, plan: Option<&PlanView>) -> Value {
    let id = tenant.place.plan.map(|id| id.to_string());
    let plan = id.map(|id| json!({"id": id, "name": plan.map(|plan| &plan.name)}));
    json!({
        "name": tenant.name,
        "kind": tenant.place.kind.as_str(),
        "state": tenant.place.state.as_str(),
        "plan": plan,
        "archive_subscribed": tenant.archive_subscribed,
    })
}

pub(crate) fn plan(plan: &PlanView) -> Value {
    let limits = &plan.limits;
    json!({
        "id": plan.id.to_string(),
        "name": plan.name,
        "devices": limits.devices,
        "users": limits.users,
        "keys": limits.api_keys,
        "tenants": limits.tenants,
        "messages_per_second": limits.messages_per_second,
        "requests_per_second": limits.requests_per_second,
        "storage_bytes": limits.storage_bytes,
        "points_per_day": limits.points_per_day,
        "series": limits.series,
        "retention_days": limits.retention_days,
        "audit_days": limits.audit_days,
        "key_level": limits.key_level.map(veritwin_keys::KeyLevel::as_str),
        "route_destinations": limits.routes.destinations,
        "route_rules": limits.routes.rules,
        "route_deliveries_per_minute": limits.routes.deliveries_per_minute,
    })
}

/// A certificate by its host name, its end and the fingerprint of its chain; never its key.
pub(crate) fn certificate(host: &str, end: Timestamp, chain: &[u8]) -> Value {
    let chain = fingerprint(chain);
    json!({"host": host, "not_after": end.to_string(), "chain_sha256": chain})
}

/// The same of one that was fetched.
pub(crate) fn fetched(row: &HostCertificate) -> Value {
    let mut value = certificate(&row.host, row.not_after, &row.chain);
    value["by"] = json!("acme");
    value
}

/// The certificate of a host name among all.
pub(crate) fn certificate_of(all: &[HostCertificate], host: &str) -> Option<Value> {
    let found = all.iter().find(|one| one.host == host);
    found.map(|one| certificate(host, one.not_after, &one.chain))
}

//! Routing rules: which messages of a tenant go to which places outside. Rules stand for
//! themselves: a message goes wherever a rule says so, once for each rule and place.

use std::collections::HashSet;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veritwin_access::{Action, Kind};
use veritwin_domain::{
    DeviceId, GroupId, Key, LimitExceeded, OpContext, RouteDestinationId, RouteRuleId, SiteId,
};
use veritwin_metastore::{RouteLane, RouteRule, TenantTx};

use crate::change::Change;
use crate::devices::check_text;
use crate::error::found;
use crate::model::{RouteMatch, RouteRuleInput, RouteRuleView};
use crate::plan_routes::RouteQuota;
use crate::rights::missing;
use crate::route_attributes::{StoredAttribute, checked_attributes};
use crate::route_expression::compile;
use crate::{App, Error, Result};

/// Most rules of a tenant.
const ROUTE_RULES_MAX: usize = 50;
/// Most places of a rule.
const ROUTE_RULE_DESTINATIONS_MAX: usize = 10;
/// Most devices, types or series that a rule names.
const ROUTE_RULE_NAMES_MAX: usize = 100;
/// Longest condition, in bytes.
const ROUTE_EXPRESSION_BYTES_MAX: usize = 4096;
const NAME_CHARS_MAX: usize = 100;
const TYPE_CHARS_MAX: usize = 255;
const TOPIC_BYTES_MAX: usize = 1024;

/// Which messages a rule is about, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredMatch {
    Messages {
        topic: String,
    },
    Readings {
        devices: Vec<DeviceId>,
        groups: Vec<GroupId>,
        types: Vec<String>,
        twin: Option<SiteId>,
        keys: Vec<String>,
        #[serde(default)]
        attributes: Vec<StoredAttribute>,
    },
}

/// What is kept of a rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredRule {
    pub(crate) name: String,
    pub(crate) matches: StoredMatch,
    pub(crate) expression: Option<String>,
    pub(crate) destinations: Vec<RouteDestinationId>,
}

impl StoredRule {
    pub(crate) fn read(one: &RouteRule) -> Result<Self> {
        let damaged = |_| Error::Internal("a routing rule is damaged".to_owned());
        serde_json::from_slice(&one.body).map_err(damaged)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }
}

fn view(one: &RouteRule) -> Result<RouteRuleView> {
    let stored = StoredRule::read(one)?;
    let matches = match stored.matches {
        StoredMatch::Messages { topic } => RouteMatch::Messages { topic },
        StoredMatch::Readings { devices, groups, types, twin, keys, attributes } => {
            let attributes = attributes.into_iter().map(StoredAttribute::shown).collect();
            RouteMatch::Readings { devices, groups, types, twin, keys, attributes }
        }
    };
    Ok(RouteRuleView {
        id: one.id,
        input: RouteRuleInput {
            name: stored.name,
            matches,
            expression: stored.expression,
            destinations: stored.destinations,
            enabled: one.enabled,
        },
        created_at: one.created_at,
        version: i64::try_from(one.version).unwrap_or(i64::MAX),
    })
}

/// A rule as a change of it is recorded.
fn recorded(one: &RouteRule) -> Option<Value> {
    let mut said = serde_json::from_slice::<Value>(&one.body).ok()?;
    let fields = said.as_object_mut()?;
    fields.insert("rule".to_owned(), Value::from(one.id.to_string()));
    fields.insert("enabled".to_owned(), Value::from(one.enabled));
    Some(said)
}

/// A topic filter of MQTT (4.7): `+` alone in a level, `#` alone in the last.
fn check_filter(filter: &str) -> Result<()> {
    let wrong = |detail: &str| Err(Error::invalid_at("topic", detail));
    if filter.is_empty() || filter.len() > TOPIC_BYTES_MAX {
        return wrong("needs 1 to 1024 bytes");
    }
    if filter.chars().any(char::is_control) {
        return wrong("must not hold control characters");
    }
    let last = filter.split('/').count() - 1;
    for (place, level) in filter.split('/').enumerate() {
        let is_alone = level.len() == 1;
        if level.contains('#') && !(is_alone && place == last) {
            return wrong("`#` stands alone in the last level");
        }
        if level.contains('+') && !is_alone {
            return wrong("`+` stands alone in a level");
        }
    }
    Ok(())
}

fn check_count(field: &'static str, count: usize, max: usize) -> Result<()> {
    if count <= max {
        return Ok(());
    }
    Err(Error::invalid_at(field, format!("at most {max}, got {count}")))
}

async fn check_matches(tx: &TenantTx, matches: RouteMatch) -> Result<StoredMatch> {
    let (devices, groups, types, twin, keys, attributes) = match matches {
        RouteMatch::Messages { topic } => {
            check_filter(&topic)?;
            return Ok(StoredMatch::Messages { topic });
        }
        RouteMatch::Readings { devices, groups, types, twin, keys, attributes } => {
            (devices, groups, types, twin, keys, checked_attributes(attributes)?)
        }
    };
    check_count("device_ids", devices.len(), ROUTE_RULE_NAMES_MAX)?;
    check_count("group_ids", groups.len(), ROUTE_RULE_NAMES_MAX)?;
    check_count("types", types.len(), ROUTE_RULE_NAMES_MAX)?;
    check_count("keys", keys.len(), ROUTE_RULE_NAMES_MAX)?;
    for device in &devices {
        tx.device(*device).await.map_err(missing("device_ids"))?;
    }
    let mut known = HashSet::new();
    if !groups.is_empty() {
        known.extend(tx.device_groups().await?.iter().map(|group| group.id));
    }
    if groups.iter().any(|group| !known.contains(group)) {
        return Err(Error::invalid_at("group_ids", "there is no such thing in this tenant"));
    }
    if let Some(twin) = twin {
        tx.twin(twin).await.map_err(missing("twin_id"))?;
    }
    for kind in &types {
        check_text("types", kind, TYPE_CHARS_MAX)?;
    }
    for key in &keys {
        Key::new(key).map_err(|error| Error::invalid_at("keys", error.to_string()))?;
    }
    Ok(StoredMatch::Readings { devices, groups, types, twin, keys, attributes })
}

impl App {
    /// What is kept of a rule, when everything in it is right.
    async fn checked_route(&self, tx: &TenantTx, input: RouteRuleInput) -> Result<StoredRule> {
        if input.name.trim().is_empty() {
            return Err(Error::invalid_at("name", "needs a name"));
        }
        check_text("name", &input.name, NAME_CHARS_MAX)?;
        let mut destinations = input.destinations;
        destinations.sort_unstable();
        destinations.dedup();
        if destinations.is_empty() {
            return Err(Error::invalid_at("destination_ids", "needs at least one destination"));
        }
        check_count("destination_ids", destinations.len(), ROUTE_RULE_DESTINATIONS_MAX)?;
        for id in &destinations {
            tx.route_destination(*id).await.map_err(missing("destination_ids"))?;
        }
        let matches = check_matches(tx, input.matches).await?;
        let expression = input.expression.filter(|text| !text.trim().is_empty());
        Ok(StoredRule { name: input.name, matches, expression, destinations })
    }

    /// Compiles a condition before anything is written, and before a transaction waits for it.
    async fn check_expression(input: &RouteRuleInput) -> Result<()> {
        let Some(text) = input.expression.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(());
        };
        if text.len() > ROUTE_EXPRESSION_BYTES_MAX {
            let detail = format!("at most {ROUTE_EXPRESSION_BYTES_MAX} bytes");
            return Err(Error::invalid_at("expression", detail));
        }
        compile("expression", text).await.map(drop)
    }

    /// The rules of the context's tenant.
    #[boxed]
    pub async fn route_rules(&self, context: &OpContext) -> Result<Vec<RouteRuleView>> {
        let resource = self.authorize_all(context, Action::RouteRead, Kind::Tenant)?;
        let all = self.0.store.read(context).await?.route_rules().await?;
        self.note(context, Action::RouteRead, &resource, "done");
        all.iter().map(view).collect()
    }

    /// How it went from each rule to each place.
    #[boxed]
    pub async fn route_lanes(&self, context: &OpContext) -> Result<Vec<RouteLane>> {
        let resource = self.authorize_all(context, Action::RouteRead, Kind::Tenant)?;
        let all = self.0.store.read(context).await?.route_lanes().await?;
        self.note(context, Action::RouteRead, &resource, "done");
        Ok(all)
    }

    /// Makes a rule; it is about what arrives from now on.
    #[boxed]
    pub async fn create_route_rule(
        &self,
        context: &OpContext,
        input: RouteRuleInput,
    ) -> Result<RouteRuleView> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        Self::check_expression(&input).await?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.route_rules().await?.len();
        if known >= ROUTE_RULES_MAX {
            let (name, max) = ("route_rules_max", ROUTE_RULES_MAX);
            return Err(Error::Limit(LimitExceeded { name, max, actual: known + 1 }));
        }
        self.check_route_quota(context.tenant, RouteQuota::Rules, known + 1)?;
        let enabled = input.enabled;
        let made = RouteRule {
            id: RouteRuleId::generate(context.at, self.rng()),
            body: self.checked_route(&tx, input).await?.bytes()?,
            enabled,
            version: 1,
            created_at: context.at,
        };
        tx.route_rule_create(&made).await?;
        let change = Change { before: None, after: recorded(&made) };
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.route_sources_changed(context.tenant);
        view(&made)
    }

    /// Replaces a rule; what was taken up before stays on its way.
    #[boxed]
    pub async fn replace_route_rule(
        &self,
        context: &OpContext,
        id: RouteRuleId,
        input: RouteRuleInput,
        if_version: Option<i64>,
    ) -> Result<RouteRuleView> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        Self::check_expression(&input).await?;
        let tx = self.0.store.begin(context).await?;
        let mut one = tx.route_rule(id).await?;
        let before = recorded(&one);
        one.enabled = input.enabled;
        one.body = self.checked_route(&tx, input).await?.bytes()?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.route_rule_update(&one, expected).await?;
        let after = tx.route_rule(id).await?;
        let change = Change { before, after: recorded(&after) };
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.route_sources_changed(context.tenant);
        view(&after)
    }

    /// Deletes a rule with what is on its way by it, and what is parked.
    #[boxed]
    pub async fn delete_route_rule(&self, context: &OpContext, id: RouteRuleId) -> Result<()> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let Some(before) = found(tx.route_rule(id).await)? else {
            return Err(Error::NotFound("route_rules"));
        };
        tx.route_rule_delete(id).await?;
        let change = Change { before: recorded(&before), after: None };
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.route_sources_changed(context.tenant);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_filters_are_checked() {
        let check = |filter: &str, is_right: bool| {
            assert_eq!(check_filter(filter).is_ok(), is_right, "{filter}");
        };
        for right in ["a", "a/b", "+/b", "a/+/c", "a/#", "#", "/"] {
            check(right, true);
        }
        for wrong in ["", "a#", "a/#/b", "a/b+", "a\u{0}b"] {
            check(wrong, false);
        }
    }
}

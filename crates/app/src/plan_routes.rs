//! What a plan says of routing: how many destinations and rules a tenant has, and how many messages
//! leave for it in a minute.

use serde::{Deserialize, Serialize};
use veritwin_domain::TenantId;

use crate::model::RouteLimits;
use crate::tree::over;
use crate::{App, Result};

/// Its form in the store, in the plan's own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredRouteLimits {
    #[serde(default)]
    route_destinations: Option<u64>,
    #[serde(default)]
    route_rules: Option<u64>,
    #[serde(default)]
    route_deliveries_per_minute: Option<u64>,
}

impl From<RouteLimits> for StoredRouteLimits {
    fn from(limits: RouteLimits) -> Self {
        Self {
            route_destinations: limits.destinations,
            route_rules: limits.rules,
            route_deliveries_per_minute: limits.deliveries_per_minute,
        }
    }
}

impl From<StoredRouteLimits> for RouteLimits {
    fn from(stored: StoredRouteLimits) -> Self {
        Self {
            destinations: stored.route_destinations,
            rules: stored.route_rules,
            deliveries_per_minute: stored.route_deliveries_per_minute,
        }
    }
}

/// What of routing a plan bounds in number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RouteQuota {
    Destinations,
    Rules,
}

/// Whether nothing of `wanted` is over `own`.
pub(crate) fn are_within(wanted: &RouteLimits, own: &RouteLimits) -> bool {
    let pairs = [
        (wanted.destinations, own.destinations),
        (wanted.rules, own.rules),
        (wanted.deliveries_per_minute, own.deliveries_per_minute),
    ];
    pairs.iter().all(|(wanted, own)| own.is_none_or(|own| wanted.is_some_and(|one| one <= own)))
}

impl App {
    /// Refuses destinations or rules that would be over the tenant's plan, with the limit's name.
    pub(crate) fn check_route_quota(
        &self,
        tenant: TenantId,
        quota: RouteQuota,
        count: usize,
    ) -> Result<()> {
        let limits = self.plan_limits(tenant).routes;
        let (name, max) = match quota {
            RouteQuota::Destinations => ("plan_route_destinations_max", limits.destinations),
            RouteQuota::Rules => ("plan_route_rules_max", limits.rules),
        };
        let count = count as u64;
        match max {
            Some(max) if count > max => Err(over(name, max, count)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_before_bounds_nothing_and_one_is_within_another_limit_by_limit() {
        let none: StoredRouteLimits = serde_json::from_str("{}").expect("a plan of before");
        assert_eq!(RouteLimits::from(none), RouteLimits::default());
        let limits = |destinations, rules, deliveries_per_minute| RouteLimits {
            destinations,
            rules,
            deliveries_per_minute,
        };
        let own = limits(Some(5), None, Some(60));
        assert_eq!(RouteLimits::from(StoredRouteLimits::from(own)), own);
        for (wanted, expect) in [
            (limits(Some(5), None, Some(60)), true),
            (limits(Some(4), Some(1), Some(0)), true),
            (limits(Some(6), None, Some(60)), false),
            (limits(None, None, Some(60)), false),
            (limits(Some(5), None, None), false),
        ] {
            assert_eq!(are_within(&wanted, &own), expect, "{wanted:?}");
        }
        assert!(are_within(&limits(None, None, None), &RouteLimits::default()));
    }
}

//! The tree of tenants in memory, with plans, brands and host names: small, asked on every
//! request, and kept in step by whoever changes it. A tenant's parent never changes and exists
//! before it, so that there are no cycles.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_domain::{IdMap, LimitExceeded, PlanId, Role, TenantId};
use veritwin_metastore::{Tenant, TenantKind, TenantState};

use crate::brands::StoredBrand;
use crate::domains::DOMAINS_MAX;
use crate::model::{AnsweredBy, PlanLimits, PlanView, TenantRank};
use crate::plan_form::plan_view;
use crate::provision::{PLATFORM_TENANT, is_own};
use crate::retention::Rewait;
use crate::{App, Error, Result};

/// Most tenants of an installation.
pub(crate) const TENANTS_MAX: usize = 10_000;
/// Most levels of partners.
pub(crate) const TENANT_LEVELS_MAX: usize = 16;
/// Most plans.
pub(crate) const PLANS_MAX: usize = 200;
/// Most host names of an installation.
pub(crate) const HOSTS_MAX: usize = 20_000;

pub(crate) const UNSERVED: Error = Error::Unauthenticated("this organisation is suspended");

/// What a quota counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Quota {
    Devices,
    Users,
    ApiKeys,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    tenants: IdMap<TenantId, Tenant>,
    pub(crate) plans: BTreeMap<PlanId, PlanView>,
    pub(crate) brands: HashMap<TenantId, Arc<StoredBrand>>,
    pub(crate) hosts: HashMap<String, TenantId>,
    /// Below which partners give host names.
    pub(crate) domains: HashMap<TenantId, Vec<String>>,
}

impl Tree {
    /// Takes a tenant in, new or changed.
    pub(crate) fn put(&mut self, tenant: Tenant) {
        self.tenants.insert(tenant.id, tenant);
    }

    pub(crate) fn get(&self, id: TenantId) -> Option<&Tenant> {
        self.tenants.get(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.tenants.len()
    }

    /// The tenant directly above; none above the platform's own.
    pub(crate) fn parent(&self, id: TenantId) -> Option<TenantId> {
        let parent = || self.tenants.get(&id).and_then(|tenant| tenant.place.parent);
        (id != PLATFORM_TENANT).then(|| parent().unwrap_or(PLATFORM_TENANT))
    }

    /// A tenant and everything above it, the platform last.
    pub(crate) fn upwards(&self, id: TenantId) -> impl Iterator<Item = TenantId> {
        let next = move |id: &TenantId| self.parent(*id);
        std::iter::successors(Some(id), next).take(TENANT_LEVELS_MAX + 2)
    }

    /// Whether one answers for the other. Who makes a tenant, which is not here yet, does.
    pub(crate) fn stands_above(&self, one: TenantId, other: TenantId) -> bool {
        self.get(other).is_none() || self.upwards(other).skip(1).any(|above| above == one)
    }

    /// The tenant at the top of a tenant's branch, directly below the platform.
    pub(crate) fn branch(&self, id: TenantId) -> TenantId {
        self.upwards(id).take_while(|above| *above != PLATFORM_TENANT).last().unwrap_or(id)
    }

    /// The tenants directly below, oldest first, the platform's own helpers left out.
    pub(crate) fn below(&self, id: TenantId) -> Vec<&Tenant> {
        let is_child = |one: &&Tenant| !is_own(one.id) && self.parent(one.id) == Some(id);
        let mut found: Vec<&Tenant> = self.tenants.values().filter(is_child).collect();
        found.sort_by_key(|tenant| tenant.id);
        found
    }

    /// A tenant and everything below it, at any depth.
    pub(crate) fn with_all_below(&self, id: TenantId) -> Vec<TenantId> {
        self.ids().filter(|one| self.upwards(*one).any(|above| above == id)).collect()
    }

    /// How many tenants are below which, at any depth.
    pub(crate) fn counts(&self) -> HashMap<TenantId, u64> {
        let mut counts = HashMap::new();
        for tenant in self.tenants.values().filter(|tenant| !is_own(tenant.id)) {
            for above in self.upwards(tenant.id).skip(1) {
                *counts.entry(above).or_insert(0) += 1;
            }
        }
        counts
    }

    /// How many tenants are below one, at any depth.
    pub(crate) fn count_below(&self, id: TenantId) -> u64 {
        let below = self.with_all_below(id).into_iter().filter(|one| *one != id && !is_own(*one));
        below.count() as u64
    }

    /// The tenants directly below after `after`, at most `rows`, with how many are below each.
    /// The tree is walked once, however many they are: every request waits for its lock.
    pub(crate) fn page_below(
        &self,
        id: TenantId,
        after: Option<TenantId>,
        rows: usize,
    ) -> Vec<(Tenant, u64)> {
        let counts = self.counts();
        let below = self.below(id).into_iter();
        let page = below.filter(|one| after.is_none_or(|after| one.id > after)).take(rows);
        page.map(|one| (one.clone(), counts.get(&one.id).copied().unwrap_or(0))).collect()
    }

    /// Whether a tenant and everything above it is served.
    pub(crate) fn is_served(&self, id: TenantId) -> bool {
        let is_active = |id: TenantId| {
            self.tenants.get(&id).is_none_or(|one| one.place.state == TenantState::Active)
        };
        self.upwards(id).all(is_active)
    }

    pub(crate) fn rank(&self, id: TenantId) -> TenantRank {
        match self.tenants.get(&id).map(|tenant| tenant.place.kind) {
            _ if id == PLATFORM_TENANT => TenantRank::Platform,
            Some(TenantKind::Partner) => TenantRank::Partner,
            _ => TenantRank::Customer,
        }
    }

    pub(crate) fn plan(&self, id: TenantId) -> Option<&PlanView> {
        self.plans.get(&self.tenants.get(&id)?.place.plan?)
    }

    /// Takes a plan in, changed, with what waits because of it.
    pub(crate) fn put_plan(&mut self, plan: PlanView, rewaits: &[Rewait]) {
        for one in rewaits {
            if let Some(tenant) = self.tenants.get_mut(&one.tenant) {
                tenant.place.waits = one.waits;
            }
        }
        self.plans.insert(plan.id, plan);
    }

    pub(crate) fn hosts_of(&self, id: TenantId) -> Vec<String> {
        let own = self.hosts.iter().filter(|(_, tenant)| **tenant == id);
        let mut hosts: Vec<String> = own.map(|(host, _)| host.clone()).collect();
        hosts.sort();
        hosts
    }

    /// The nearest partner above that says how to reach it, else the platform (promise P09).
    pub(crate) fn responsible(&self, id: TenantId) -> TenantId {
        let answers = |id: &TenantId| {
            let says_how = self.brands.get(id).is_some_and(|brand| brand.is_reachable());
            *id == PLATFORM_TENANT || (self.rank(*id) == TenantRank::Partner && says_how)
        };
        self.upwards(id).skip(1).find(answers).unwrap_or(PLATFORM_TENANT)
    }

    /// How to reach a tenant that answers for others.
    pub(crate) fn answering(&self, id: TenantId) -> AnsweredBy {
        let contact = self.brands.get(&id).filter(|brand| brand.is_reachable());
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        AnsweredBy {
            is_platform: id == PLATFORM_TENANT,
            name: contact
                .map(|brand| brand.body.contact_name.clone())
                .or_else(|| self.tenants.get(&id).map(|tenant| tenant.name.clone()))
                .unwrap_or_default(),
            email: contact.and_then(|brand| text(&brand.body.contact_email)),
            address: contact.and_then(|brand| text(&brand.body.contact_address)),
        }
    }
}

/// Whether nothing of `wanted` is over `own`.
pub(crate) fn is_within(wanted: &PlanLimits, own: &PlanLimits) -> bool {
    let fits = |wanted: Option<u64>, own: Option<u64>| match (wanted, own) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(wanted), Some(own)) => wanted <= own,
    };
    fits(wanted.devices, own.devices)
        && fits(wanted.users, own.users)
        && fits(wanted.api_keys, own.api_keys)
        && fits(wanted.tenants, own.tenants)
        && fits(wanted.messages_per_second, own.messages_per_second)
        && fits(wanted.requests_per_second, own.requests_per_second)
        && fits(wanted.storage_bytes, own.storage_bytes)
        && fits(wanted.points_per_day, own.points_per_day)
        && fits(wanted.series, own.series)
        && fits(wanted.retention_days, own.retention_days)
        && fits(wanted.audit_days, own.audit_days)
        && crate::plan_routes::are_within(&wanted.routes, &own.routes)
        && wanted.key_level.unwrap_or_default() <= own.key_level.unwrap_or_default()
}

pub(crate) fn over(name: &'static str, max: u64, actual: u64) -> Error {
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    LimitExceeded { name, max: size(max), actual: size(actual) }.into()
}

impl App {
    /// Reads the whole tree: at the start.
    pub(crate) async fn load_tree(&self) -> Result<()> {
        let context = self.job(jobs::RETENTION);
        let tenants = self.all_tenants(&context).await?;
        let tx = self.0.store.read_platform(&context).await?;
        let plans = tx.plans(PLANS_MAX as u64).await?;
        let brands = tx.brands(TENANTS_MAX as u64 + 8).await?;
        let hosts = tx.hosts(HOSTS_MAX as u64).await?;
        let domains = tx.domains(DOMAINS_MAX as u64).await?;
        drop(tx);
        let mut tree = Tree::default();
        tenants.into_iter().for_each(|tenant| tree.put(tenant));
        for plan in plans {
            let view = plan_view(&plan)?;
            tree.plans.insert(view.id, view);
        }
        for brand in brands {
            tree.brands.insert(brand.tenant, Arc::new(StoredBrand::load(brand)?));
        }
        // The platform's own names are nobody's, whoever was given one before it was named.
        let is_free = |(host, owner): &(String, TenantId)| {
            let is_free = *owner == PLATFORM_TENANT || !self.is_own_name(host);
            if !is_free {
                tracing::warn!(%host, tenant = %owner, "a tenant's host name is our own");
            }
            is_free
        };
        tree.hosts = hosts.into_iter().filter(is_free).collect();
        for (domain, owner) in domains {
            tree.domains.entry(owner).or_default().push(domain);
        }
        *self.0.tree.write() = tree;
        Ok(())
    }

    /// Refuses whoever comes for a tenant that is not served.
    pub(crate) fn refuse_unserved(&self, tenant: TenantId) -> Result<()> {
        if self.0.tree.read().is_served(tenant) { Ok(()) } else { Err(UNSERVED) }
    }

    /// The tenants among these that are served.
    pub(crate) fn served(
        &self,
        memberships: &[(TenantId, Role)],
    ) -> impl Iterator<Item = TenantId> {
        let tenants = memberships.iter().map(|(tenant, _)| *tenant);
        tenants.filter(|tenant| self.refuse_unserved(*tenant).is_ok())
    }

    /// The tenant that somebody who belongs to these goes to: the first that is served.
    pub(crate) fn first_served(&self, memberships: &[(TenantId, Role)]) -> Option<TenantId> {
        self.served(memberships).next()
    }

    /// Who answers for a tenant.
    pub(crate) fn responsible(&self, tenant: TenantId) -> TenantId {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_partner_passed_over() {
            return PLATFORM_TENANT;
        }
        self.0.tree.read().responsible(tenant)
    }

    /// Refuses what would be over the tenant's plan, with the limit's name.
    pub(crate) fn check_quota(&self, tenant: TenantId, quota: Quota, count: u64) -> Result<()> {
        let limits = self.0.tree.read().plan(tenant).map(|plan| plan.limits).unwrap_or_default();
        let (name, max) = match quota {
            Quota::Devices => ("plan_devices_max", limits.devices),
            Quota::Users => ("plan_users_max", limits.users),
            Quota::ApiKeys => ("plan_api_keys_max", limits.api_keys),
        };
        match max {
            Some(max) if count > max => Err(over(name, max, count)),
            _ => Ok(()),
        }
    }

    /// Refuses `more` members of a tenant that would be over its plan.
    pub(crate) async fn check_users_quota(&self, tenant: TenantId, more: u64) -> Result<()> {
        let counting = self.job_in(jobs::RETENTION, tenant);
        let users = self.0.store.read(&counting).await?.usage().await?.users;
        self.check_quota(tenant, Quota::Users, users + more)
    }

    /// Refuses another tenant below `parent` that would be over a plan of it or above it.
    pub(crate) fn check_tenants_quota(&self, parent: TenantId) -> Result<()> {
        let tree = self.0.tree.read();
        if tree.len() >= TENANTS_MAX {
            return Err(over("tenants_max", TENANTS_MAX as u64, TENANTS_MAX as u64 + 1));
        }
        let levels = tree.upwards(parent).count();
        if levels >= TENANT_LEVELS_MAX {
            return Err(over("tenant_levels_max", TENANT_LEVELS_MAX as u64, levels as u64 + 1));
        }
        let counts = tree.counts();
        for above in tree.upwards(parent) {
            let count = counts.get(&above).copied().unwrap_or(0) + 1;
            match tree.plan(above).and_then(|plan| plan.limits.tenants) {
                Some(max) if count > max => return Err(over("plan_tenants_max", max, count)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use veritwin_domain::{LogId, Timestamp};
    use veritwin_metastore::TenantPlace;

    use super::*;

    pub(crate) fn id(seed: u8) -> TenantId {
        TenantId::from_bytes([seed; 16])
    }

    pub(crate) fn tenant(seed: u8, parent: Option<u8>, kind: TenantKind) -> Tenant {
        Tenant {
            id: id(seed),
            name: format!("T{seed}"),
            log_id: LogId::from_bytes([seed; 16]),
            archive_subscribed: false,
            simulated: false,
            place: TenantPlace { kind, parent: parent.map(id), ..TenantPlace::default() },
            version: 1,
            created_at: Timestamp::EPOCH,
        }
    }

    /// Platform, partner 1, its partner 2, and customer 3 of that.
    fn three_levels() -> Tree {
        let mut tree = Tree::default();
        tree.put(tenant(1, None, TenantKind::Partner));
        tree.put(tenant(2, Some(1), TenantKind::Partner));
        tree.put(tenant(3, Some(2), TenantKind::Customer));
        tree
    }

    #[test]
    fn the_nearest_partner_that_can_be_reached_answers() {
        let mut tree = three_levels();
        assert_eq!(tree.responsible(id(3)), PLATFORM_TENANT);
        tree.brands.insert(id(1), Arc::new(StoredBrand::reachable("One")));
        assert_eq!(tree.responsible(id(3)), id(1));
        tree.brands.insert(id(2), Arc::new(StoredBrand::reachable("Two")));
        assert_eq!(tree.responsible(id(3)), id(2));
        assert_eq!(tree.responsible(id(2)), id(1), "nobody answers for oneself");
        assert_eq!(tree.responsible(id(1)), PLATFORM_TENANT);
        // A customer's own contact answers for nobody.
        tree.brands.insert(id(3), Arc::new(StoredBrand::reachable("Three")));
        assert_eq!(tree.responsible(id(3)), id(2));
    }

    #[test]
    fn suspension_reaches_everything_below_and_nothing_above() {
        let mut tree = three_levels();
        let mut middle = tenant(2, Some(1), TenantKind::Partner);
        middle.place.state = TenantState::Suspended;
        tree.put(middle);
        let served = [1, 2, 3].map(|seed| tree.is_served(id(seed)));
        assert_eq!(served, [true, false, false]);
        let mut reached = tree.with_all_below(id(2));
        reached.sort();
        assert_eq!(reached, [id(2), id(3)]);
    }

    #[test]
    fn children_are_direct_and_counts_are_not() {
        let tree = three_levels();
        let names = |seed| -> Vec<String> {
            tree.below(seed).iter().map(|tenant| tenant.name.clone()).collect()
        };
        assert_eq!(names(PLATFORM_TENANT), ["T1"]);
        assert_eq!(names(id(1)), ["T2"]);
        let counts = tree.counts();
        assert_eq!((counts[&PLATFORM_TENANT], counts[&id(1)], counts[&id(2)]), (3, 2, 1));
        for seed in [1, 2, 3] {
            let count = counts.get(&id(seed)).copied().unwrap_or(0);
            assert_eq!(tree.count_below(id(seed)), count);
        }
        assert_eq!(tree.count_below(PLATFORM_TENANT), 3);
    }

    #[test]
    fn a_page_of_tenants_has_the_counts_of_each() {
        let mut tree = three_levels();
        for seed in 4..=9 {
            tree.put(tenant(seed, Some(1), TenantKind::Customer));
        }
        let page = |after: Option<u8>, rows| -> Vec<(String, u64)> {
            let page = tree.page_below(id(1), after.map(id), rows).into_iter();
            page.map(|(tenant, below)| (tenant.name, below)).collect()
        };
        let row = |name: &str, below| (name.to_owned(), below);
        assert_eq!(page(None, 2), [row("T2", 1), row("T4", 0)]);
        assert_eq!(page(Some(7), 10), [row("T8", 0), row("T9", 0)]);
        assert_eq!(page(Some(9), 10), []);
    }

    #[test]
    fn plans_go_up_to_ones_own() {
        let limits = |devices, users| PlanLimits { devices, users, ..PlanLimits::default() };
        let check = |wanted, own, expect| assert_eq!(is_within(&wanted, &own), expect);
        check(limits(Some(5), None), limits(None, None), true);
        check(limits(Some(5), None), limits(Some(5), None), true);
        check(limits(Some(6), None), limits(Some(5), None), false);
        check(limits(None, None), limits(Some(5), None), false);
        check(limits(Some(1), Some(2)), limits(Some(5), Some(1)), false);
    }
}

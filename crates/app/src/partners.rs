//! What a partner, or the platform's own administration, does with the tenants directly below it:
//! make, list, suspend, give plans and host names, invite the first administrator. It sees names,
//! plans, states and figures; nothing here reads what a tenant keeps.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{OpContext, PlanId, Secret, TenantId};
use veritwin_metastore::{Plan, PlatformTx, Tenant, TenantKind, TenantPlace};

use crate::change::Change;
use crate::error::found;
use crate::links::text;
use crate::mail_bounds::Places;
use crate::model::{PlacedTenant, PlanInput, PlanView, TenantChange, TenantInput, TenantRank};
use crate::people::tenant_view;
use crate::plan_form::{plan_body, plan_view};
use crate::provision::{NewTenant, PLATFORM_TENANT, is_own, tenant_name};
use crate::retention::in_force;
use crate::tree::{HOSTS_MAX, PLANS_MAX, is_within, over};
use crate::{App, Error, Result, recorded};

/// Most host names of one tenant.
const HOSTS_PER_TENANT_MAX: usize = 20;
const HOST_BYTES_MAX: usize = 253;

const UNKNOWN: Error = Error::NotFound("tenant");

/// The one form of a host name: lower case, without a port, letters that certificates know
/// (RFC 1123, 2.1; other scripts in their ASCII form, RFC 5890).
pub(crate) fn host_name(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let fits = text.len() <= HOST_BYTES_MAX && text.contains('.') && !is_address;
    (fits && text.split('.').all(is_label)).then_some(text)
}

fn taken() -> Error {
    Error::Conflict("this host name is taken".to_owned())
}

impl App {
    /// Refuses whoever is not a partner or the platform's own administration.
    fn check_answers(&self, context: &OpContext) -> Result<()> {
        match self.0.tree.read().rank(context.tenant) {
            TenantRank::Partner | TenantRank::Platform => Ok(()),
            TenantRank::Customer => {
                Err(Error::Forbidden("only a partner has tenants below it".to_owned()))
            }
        }
    }

    /// A tenant directly below the context's; any other does not exist for it.
    pub(crate) fn child(&self, context: &OpContext, id: TenantId) -> Result<Tenant> {
        let tree = self.0.tree.read();
        let is_child = !is_own(id) && tree.parent(id) == Some(context.tenant);
        tree.get(id).filter(|_| is_child).cloned().ok_or(UNKNOWN)
    }

    fn recorded_tenant(&self, tenant: &Tenant) -> Value {
        let tree = self.0.tree.read();
        recorded::tenant(tenant, tenant.place.plan.and_then(|plan| tree.plans.get(&plan)))
    }

    /// A tenant with its place.
    pub(crate) async fn placed(&self, tenant: Tenant) -> Result<PlacedTenant> {
        let below = self.0.tree.read().count_below(tenant.id);
        self.placed_above(tenant, below).await
    }

    /// The tenant at the top of a tenant's branch, directly below the platform: what all its
    /// tenants share a part of, no one of them can multiply.
    pub fn branch_of(&self, tenant: TenantId) -> TenantId {
        self.0.tree.read().branch(tenant)
    }

    /// Figures are counts and are read as the platform's own job, never as the tenant. `below` is
    /// how many tenants are below it: a page of tenants counts them once.
    async fn placed_above(&self, tenant: Tenant, below: u64) -> Result<PlacedTenant> {
        let counting = self.job_in(jobs::RETENTION, tenant.id);
        let usage = self.0.store.read(&counting).await?.usage().await?;
        let storage_bytes = self.storage_bytes(tenant.id).await?;
        let responsible = self.responsible(tenant.id);
        let tree = self.0.tree.read();
        Ok(PlacedTenant {
            rank: tree.rank(tenant.id),
            key_level: self.0.keys.level(tenant.id),
            state: tenant.place.state,
            plan: tree.plan(tenant.id).cloned(),
            waits: in_force(tenant.place.waits, counting.at),
            usage: crate::storage::usage_view(usage, below, storage_bytes),
            answered_by: tree.answering(responsible),
            hosts: tree.hosts_of(tenant.id),
            domains: tree.domains.get(&tenant.id).cloned().unwrap_or_default(),
            version: i64::try_from(tenant.version).unwrap_or(i64::MAX),
            tenant: tenant_view(tenant),
        })
    }

    /// The context's own tenant with its place.
    #[boxed]
    pub async fn placed_tenant(&self, context: &OpContext) -> Result<PlacedTenant> {
        let resource = self.authorize_all(context, Action::TenantRead, Kind::Tenant)?;
        let tenant = self.0.store.read(context).await?.tenant().await?;
        self.note(context, Action::TenantRead, &resource, "done");
        self.placed(tenant).await
    }

    /// A tenant: one's own, or one directly below.
    #[boxed]
    pub async fn tenant_at(&self, context: &OpContext, id: TenantId) -> Result<PlacedTenant> {
        if id == context.tenant {
            return self.placed_tenant(context).await;
        }
        let resource = self.authorize_all(context, Action::TenantListBelow, Kind::Tenant)?;
        let tenant = self.child(context, id)?;
        self.note(context, Action::TenantListBelow, &resource, "done");
        self.placed(tenant).await
    }

    /// The tenants directly below after `after`, oldest first, at most `rows`.
    #[boxed]
    pub async fn tenants_below(
        &self,
        context: &OpContext,
        after: Option<TenantId>,
        rows: usize,
    ) -> Result<Vec<PlacedTenant>> {
        let resource = self.authorize_all(context, Action::TenantListBelow, Kind::Tenant)?;
        let page = self.0.tree.read().page_below(context.tenant, after, rows);
        let mut placed = Vec::with_capacity(page.len());
        for (tenant, below) in page {
            placed.push(self.placed_above(tenant, below).await?);
        }
        self.note(context, Action::TenantListBelow, &resource, "done");
        Ok(placed)
    }

    /// Makes a customer or partner below the context's tenant.
    #[boxed]
    pub async fn create_tenant_below(
        &self,
        context: &OpContext,
        input: TenantInput,
    ) -> Result<PlacedTenant> {
        let resource = self.authorize_all(context, Action::TenantCreateBelow, Kind::Tenant)?;
        self.check_answers(context)?;
        let name = tenant_name("name", &input.name)?;
        if let Some(plan) = input.plan {
            self.check_plan(context, plan)?;
        }
        // Nobody gives more than they have: without a plan in the request it is one's own.
        let own_plan = || self.0.tree.read().plan(context.tenant).map(|own| own.id);
        let plan = input.plan.or_else(own_plan);
        self.check_tenants_quota(context.tenant)?;
        let platform = self.above_as(context);
        let NewTenant { mut row } = self.new_tenant(&platform, &name)?;
        row.archive_subscribed = input.archive_subscribed;
        row.place = TenantPlace {
            kind: if input.is_partner { TenantKind::Partner } else { TenantKind::Customer },
            parent: Some(context.tenant).filter(|parent| *parent != PLATFORM_TENANT),
            plan,
            ..TenantPlace::default()
        };
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.tenant_create(&row).await?;
        let stored = tx.tenant(row.id).await?;
        let action = Action::TenantCreateBelow;
        let made = (action, "done", Change::to(self.recorded_tenant(&stored)));
        self.record_platform_change(&tx, &platform, Some(row.id), made).await?;
        tx.commit().await?;
        self.note(context, action, &resource, "done");
        self.0.tree.write().put(stored.clone());
        self.tenant_ready(row.id);
        self.placed(stored).await
    }

    /// Changes name, plan or state of a tenant directly below. Whoever is signed in to a tenant
    /// that is no longer served is out with the next request, and their live views end at once.
    #[boxed]
    pub async fn change_tenant_below(
        &self,
        context: &OpContext,
        id: TenantId,
        change: TenantChange,
        if_version: Option<i64>,
    ) -> Result<PlacedTenant> {
        let resource = self.authorize_all(context, Action::TenantUpdateBelow, Kind::Tenant)?;
        let mut tenant = self.child(context, id)?;
        let before = self.recorded_tenant(&tenant);
        let (mut rewait, mut place) = (None, None);
        if let Some(name) = &change.name {
            tenant.name = tenant_name("name", name)?;
        }
        if let Some(plan) = change.plan {
            match plan {
                Some(plan) => self.check_plan(context, plan)?,
                None => self.check_no_plan(context)?,
            }
            let changed = self.rewait(&tenant, plan, context.at);
            if changed.is_shorter() {
                place = Some(self.shortening_places([id], context.at)?);
            }
            rewait = Some(changed);
            tenant.place.plan = plan;
        }
        if let Some(state) = change.state {
            tenant.place.state = state;
        }
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.tenant_change(&tenant, expected).await?;
        if let Some(rewait) = rewait {
            tx.tenant_waits(id, rewait.waits).await?;
        }
        let stored = tx.tenant(id).await?;
        let action = Action::TenantUpdateBelow;
        let change = Change::from_to(before, self.recorded_tenant(&stored));
        self.record_platform_change(&tx, &platform, Some(id), (action, "done", change)).await?;
        tx.commit().await?;
        place.into_iter().for_each(Places::keep);
        self.note(context, action, &resource, "done");
        self.0.tree.write().put(stored.clone());
        if let Some(rewait) = rewait {
            self.tell_all_shortened(vec![rewait]);
        }
        self.0.logins.forget_all();
        if !self.0.tree.read().is_served(id) {
            let stopped = self.0.tree.read().with_all_below(id);
            self.sessions_ended(stopped);
        }
        self.placed(stored).await
    }

    /// Gives a tenant directly below, or the platform's own administration itself, its host
    /// names: exactly these. A name that another tenant has is refused, and so is one that a
    /// partner has no confirmed domain for.
    #[boxed]
    pub async fn set_hosts(
        &self,
        context: &OpContext,
        id: TenantId,
        hosts: &[String],
    ) -> Result<PlacedTenant> {
        let resource = self.authorize_all(context, Action::TenantUpdateBelow, Kind::Tenant)?;
        let is_platform = id == PLATFORM_TENANT && context.tenant == PLATFORM_TENANT;
        let tenant = if is_platform {
            self.0.tree.read().get(id).cloned().ok_or(UNKNOWN)?
        } else {
            self.child(context, id)?
        };
        if hosts.len() > HOSTS_PER_TENANT_MAX {
            let (max, actual) = (HOSTS_PER_TENANT_MAX as u64, hosts.len() as u64);
            return Err(over("hosts_per_tenant_max", max, actual));
        }
        let _alone = self.0.names.lock().await;
        let mut wanted = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let wrong = || {
                let detail = "expected a host name such as twin.example.com, without a port";
                Error::invalid_at(format!("hosts[{index}]"), detail)
            };
            let name = host_name(host).ok_or_else(wrong)?;
            if !is_platform && self.is_own_name(&name) {
                return Err(taken());
            }
            // What was given stays until it is taken away.
            if self.0.tree.read().hosts.get(&name) != Some(&id) {
                self.check_may_give(context, format!("hosts[{index}]"), &name)?;
            }
            wanted.push(name);
        }
        wanted.sort();
        wanted.dedup();
        let known = {
            let tree = self.0.tree.read();
            if tree.hosts.len() + wanted.len() > HOSTS_MAX {
                return Err(over("hosts_max", HOSTS_MAX as u64, HOSTS_MAX as u64 + 1));
            }
            tree.hosts_of(id)
        };
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        for host in known.iter().filter(|host| !wanted.contains(host)) {
            self.take_host(&tx, id, host).await?;
        }
        for host in wanted.iter().filter(|host| !known.contains(host)) {
            tx.host_add(id, host).await.map_err(|error| match error {
                veritwin_metastore::Error::Conflict { .. } => taken(),
                other => other.into(),
            })?;
        }
        let action = Action::TenantUpdateBelow;
        let change = Change::from_to(json!({"hosts": known}), json!({"hosts": wanted}));
        self.record_platform_change(&tx, &platform, Some(id), (action, "done", change)).await?;
        tx.commit().await?;
        self.note(context, action, &resource, "done");
        {
            let mut tree = self.0.tree.write();
            tree.hosts.retain(|_, owner| *owner != id);
            tree.hosts.extend(wanted.into_iter().map(|host| (host, id)));
        }
        self.host_certificates_changed();
        self.placed(tenant).await
    }

    /// Takes a host name away, and its certificate with it.
    pub(crate) async fn take_host(
        &self,
        tx: &PlatformTx,
        tenant: TenantId,
        host: &str,
    ) -> Result<()> {
        tx.host_remove(tenant, host).await?;
        found(tx.host_certificate_delete(tenant, host).await)?;
        self.order_end(tx, host).await.map(|_| ())
    }

    /// Whether a host name is one of the platform's own, that nobody else is given.
    pub(crate) fn is_own_name(&self, host: &str) -> bool {
        let is_same = |own: &String| own.trim_end_matches('.').eq_ignore_ascii_case(host);
        self.0.config.own_names.iter().any(is_same)
    }

    /// A one-time link for the first administrator of a tenant directly below: while it has nobody.
    /// `pages` is the address of the platform's pages.
    /// Afterwards its own people decide who comes in.
    #[boxed]
    pub async fn invite_below(
        &self,
        context: &OpContext,
        id: TenantId,
        email: &Secret<String>,
        pages: &str,
    ) -> Result<Secret<String>> {
        let resource = self.authorize_all(context, Action::TenantInviteBelow, Kind::Tenant)?;
        self.child(context, id)?;
        let token = self.first_invitation(context, id, email).await?;
        self.note(context, Action::TenantInviteBelow, &resource, "done");
        let pages = self.pages_of(&self.above(context), id, pages).await?;
        Ok(crate::invitations::welcome_link(&pages, &token))
    }

    /// The plans that the context's tenant may give, or has.
    #[boxed]
    pub async fn list_plans(&self, context: &OpContext) -> Result<Vec<PlanView>> {
        let resource = self.authorize_all(context, Action::PlanRead, Kind::Tenant)?;
        self.note(context, Action::PlanRead, &resource, "done");
        let tree = self.0.tree.read();
        let own = tree.plan(context.tenant).cloned();
        let plans = tree.plans.values();
        let shown = |plan: &&PlanView| match (tree.rank(context.tenant), &own) {
            (TenantRank::Platform, _) | (TenantRank::Partner, None) => true,
            (TenantRank::Partner, Some(own)) => is_within(&plan.limits, &own.limits),
            (TenantRank::Customer, own) => own.as_ref().is_some_and(|own| own.id == plan.id),
        };
        Ok(plans.filter(shown).cloned().collect())
    }

    pub(crate) fn check_plan(&self, context: &OpContext, id: PlanId) -> Result<()> {
        let tree = self.0.tree.read();
        let missing = || Error::invalid_at("plan_id", "there is no such plan to give");
        let plan = tree.plans.get(&id).ok_or_else(missing)?;
        match tree.plan(context.tenant) {
            Some(own) if !is_within(&plan.limits, &own.limits) => Err(missing()),
            _ => Ok(()),
        }
    }

    /// Without a plan there are no limits: only who has none may give that.
    pub(crate) fn check_no_plan(&self, context: &OpContext) -> Result<()> {
        if self.0.tree.read().plan(context.tenant).is_none() {
            return Ok(());
        }
        Err(Error::invalid_at("plan_id", "choose a plan that is within your own"))
    }

    pub(crate) fn check_platform_people(&self, context: &OpContext) -> Result<()> {
        if context.tenant == PLATFORM_TENANT {
            return Ok(());
        }
        Err(Error::Forbidden("plans are the platform administration's".to_owned()))
    }

    /// Makes a plan.
    #[boxed]
    pub async fn create_plan(&self, context: &OpContext, input: PlanInput) -> Result<PlanView> {
        self.authorize_all(context, Action::PlanWrite, Kind::Tenant)?;
        self.check_platform_people(context)?;
        if self.0.tree.read().plans.len() >= PLANS_MAX {
            return Err(over("plans_max", PLANS_MAX as u64, PLANS_MAX as u64 + 1));
        }
        let plan = Plan {
            id: PlanId::generate(context.at, self.rng()),
            body: plan_body(&text("name", &input.name)?, &input.limits)?,
            version: 1,
            created_at: context.at,
        };
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.plan_create(&plan).await?;
        let view = plan_view(&plan)?;
        let made = (Action::PlanWrite, "done", Change::to(recorded::plan(&view)));
        self.record_platform_change(&tx, &platform, Some(context.tenant), made).await?;
        tx.commit().await?;
        self.0.tree.write().plans.insert(view.id, view.clone());
        Ok(view)
    }

    /// Changes a plan for everybody who has it. What is over a lower limit stays; no more is made.
    #[boxed]
    pub async fn change_plan(
        &self,
        context: &OpContext,
        id: PlanId,
        input: PlanInput,
        if_version: Option<i64>,
    ) -> Result<PlanView> {
        self.authorize_all(context, Action::PlanWrite, Kind::Tenant)?;
        self.check_platform_people(context)?;
        let known = self.0.tree.read().plans.get(&id).cloned().ok_or(Error::NotFound("plan"))?;
        let plan = Plan {
            id,
            body: plan_body(&text("name", &input.name)?, &input.limits)?,
            version: u64::try_from(known.version).unwrap_or(0) + 1,
            created_at: context.at,
        };
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.plan_update(&plan, expected).await?;
        let view = plan_view(&plan)?;
        let rewaits = self.rewaits(id, &view.limits, context.at);
        let shorter = rewaits.iter().filter(|one| one.is_shorter()).map(|one| one.tenant);
        let places = self.shortening_places(shorter, context.at)?;
        for one in &rewaits {
            tx.tenant_waits(one.tenant, one.waits).await?;
        }
        let change = Change::from_to(recorded::plan(&known), recorded::plan(&view));
        let done = (Action::PlanWrite, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        tx.commit().await?;
        places.keep();
        self.0.tree.write().put_plan(view.clone(), &rewaits);
        self.tell_all_shortened(rewaits);
        Ok(view)
    }

    /// Deletes a plan that nobody has.
    #[boxed]
    pub async fn delete_plan(&self, context: &OpContext, id: PlanId) -> Result<()> {
        self.authorize_all(context, Action::PlanWrite, Kind::Tenant)?;
        self.check_platform_people(context)?;
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let known = self.0.tree.read().plans.get(&id).cloned();
        tx.plan_delete(id).await?;
        let before = known.map(|known| recorded::plan(&known));
        let gone = (Action::PlanWrite, "done", Change { before, after: None });
        self.record_platform_change(&tx, &platform, Some(context.tenant), gone).await?;
        tx.commit().await?;
        self.0.tree.write().plans.remove(&id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_one_form() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(host_name(text).as_deref(), expect, "{text}");
        };
        check("Twin.Example.COM.", Some("twin.example.com"));
        check("xn--bcher-kva.example", Some("xn--bcher-kva.example"));
        for bad in [
            "localhost",
            "",
            "a..b",
            "-a.example",
            "a.example:8443",
            "*.example.com",
            "192.0.2.1",
            "bücher.example",
            "a b.example",
            "a.example/x",
        ] {
            check(bad, None);
        }
    }
}

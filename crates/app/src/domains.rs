//! The domains below which a partner gives host names. Whoever is above the partner confirms them,
//! once, having seen that they are the partner's own; a partner confirms parts of its own for the
//! partners below it. What is taken back takes the host names below it along.

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, TenantId};

use crate::change::Change;
use crate::model::{PlacedTenant, TenantRank};
use crate::partners::host_name;
use crate::provision::PLATFORM_TENANT;
use crate::tree::{Tree, over};
use crate::{App, Error, Result};

/// Most domains of one partner.
const DOMAINS_PER_TENANT_MAX: usize = 50;
/// Most domains of an installation.
pub(crate) const DOMAINS_MAX: usize = 20_000;

/// Whether a name is a domain or lies below it.
fn lies_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_covered(domains: Option<&Vec<String>>, name: &str) -> bool {
    domains.is_some_and(|all| all.iter().any(|domain| lies_below(name, domain)))
}

/// What a change of domains takes away.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    domains: BTreeMap<TenantId, BTreeSet<String>>,
    hosts: BTreeMap<TenantId, BTreeSet<String>>,
}

impl Lost {
    /// What is recorded of a tenant: its domains before and after when they were set, else what it
    /// lost.
    fn change(&self, tenant: TenantId, set: Option<(&Vec<String>, &Vec<String>)>) -> Change {
        match set {
            Some((before, after)) => {
                Change::from_to(json!({"domains": before}), json!({"domains": after}))
            }
            None => {
                let (domains, hosts) = (self.domains.get(&tenant), self.hosts.get(&tenant));
                Change::from(json!({"domains": domains, "hosts": hosts}))
            }
        }
    }
}

impl Tree {
    /// Whether a tenant may give a name to those directly below it.
    pub(crate) fn may_give(&self, giver: TenantId, name: &str) -> bool {
        giver == PLATFORM_TENANT || is_covered(self.domains.get(&giver), name)
    }

    /// Whether a domain, or one above or below it, is that of a partner in another branch.
    fn is_another_branch(&self, id: TenantId, domain: &str) -> bool {
        let is_apart = |other: TenantId| {
            self.upwards(id).all(|above| above != other)
                && self.upwards(other).all(|above| above != id)
        };
        self.domains.iter().any(|(other, domains)| {
            let meets = |own: &String| lies_below(own, domain) || lies_below(domain, own);
            domains.iter().any(meets) && is_apart(*other)
        })
    }

    /// What goes when a partner has exactly these domains: those below it that rested on the
    /// others, and host names that nobody could give any more.
    fn lost(&self, id: TenantId, wanted: &[String]) -> Lost {
        let mut lost = Lost::default();
        let mut kept = self.domains.clone();
        let before = kept.insert(id, wanted.to_vec()).unwrap_or_default();
        let gone = before.into_iter().filter(|domain| !wanted.contains(domain));
        let mut gone: Vec<String> = gone.collect();
        lost.domains.insert(id, gone.iter().cloned().collect());
        // From above to below: what one loses, those below it lose as well.
        let mut below: Vec<(usize, TenantId)> = self
            .ids()
            .filter(|other| *other != id && self.upwards(*other).any(|above| above == id))
            .map(|other| (self.upwards(other).count(), other))
            .collect();
        below.sort_unstable();
        for (_, other) in &below {
            let giver = self.parent(*other).unwrap_or(PLATFORM_TENANT);
            let own = kept.get(other).cloned().unwrap_or_default();
            let (stay, go): (Vec<String>, Vec<String>) =
                own.into_iter().partition(|domain| is_covered(kept.get(&giver), domain));
            if !go.is_empty() {
                gone.extend(go.iter().cloned());
                lost.domains.insert(*other, go.into_iter().collect());
                kept.insert(*other, stay);
            }
        }
        for (_, other) in below {
            let giver = self.parent(other).unwrap_or(PLATFORM_TENANT);
            let goes = |host: &String| {
                gone.iter().any(|domain| lies_below(host, domain))
                    && !is_covered(kept.get(&giver), host)
            };
            let hosts: BTreeSet<String> = self.hosts_of(other).into_iter().filter(goes).collect();
            if !hosts.is_empty() {
                lost.hosts.insert(other, hosts);
            }
        }
        lost
    }
}

impl App {
    /// Refuses a name that the context's tenant has no confirmed domain for.
    pub(crate) fn check_may_give(&self, context: &OpContext, at: String, name: &str) -> Result<()> {
        if self.0.tree.read().may_give(context.tenant, name) {
            return Ok(());
        }
        let detail =
            "lies below none of your confirmed domains: whoever is above you confirms them";
        Err(Error::invalid_at(at, detail))
    }

    /// Confirms domains of a partner directly below: exactly these. Host names below a domain that
    /// is taken back go with it.
    #[boxed]
    pub async fn set_domains(
        &self,
        context: &OpContext,
        id: TenantId,
        domains: &[String],
    ) -> Result<PlacedTenant> {
        let resource = self.authorize_all(context, Action::TenantUpdateBelow, Kind::Tenant)?;
        let tenant = self.child(context, id)?;
        if self.0.tree.read().rank(id) != TenantRank::Partner {
            return Err(Error::invalid_at("domains", "only a partner gives host names"));
        }
        let _alone = self.0.names.lock().await;
        let wanted = self.wanted_domains(context, id, domains)?;
        let (known, lost) = {
            let tree = self.0.tree.read();
            let count: usize = tree.domains.values().map(Vec::len).sum();
            if count + wanted.len() > DOMAINS_MAX {
                return Err(over("domains_max", DOMAINS_MAX as u64, DOMAINS_MAX as u64 + 1));
            }
            (tree.domains.get(&id).cloned().unwrap_or_default(), tree.lost(id, &wanted))
        };
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        for domain in wanted.iter().filter(|domain| !known.contains(domain)) {
            tx.domain_add(id, domain).await?;
        }
        for (owner, domains) in &lost.domains {
            for domain in domains {
                tx.domain_remove(*owner, domain).await?;
            }
        }
        for (owner, hosts) in &lost.hosts {
            for host in hosts {
                self.take_host(&tx, *owner, host).await?;
            }
        }
        let action = Action::TenantUpdateBelow;
        let touched: BTreeSet<TenantId> =
            lost.domains.keys().chain(lost.hosts.keys()).copied().collect();
        for one in touched {
            let change = lost.change(one, (one == id).then_some((&known, &wanted)));
            let done = (action, "done", change);
            self.record_platform_change(&tx, &platform, Some(one), done).await?;
        }
        tx.commit().await?;
        self.note(context, action, &resource, "done");
        {
            let mut tree = self.0.tree.write();
            tree.domains.insert(id, wanted);
            for (owner, gone) in lost.domains.iter().filter(|(owner, _)| **owner != id) {
                if let Some(own) = tree.domains.get_mut(owner) {
                    own.retain(|domain| !gone.contains(domain));
                }
            }
            let is_lost = |host: &str, owner: &TenantId| {
                lost.hosts.get(owner).is_some_and(|hosts| hosts.contains(host))
            };
            tree.hosts.retain(|host, owner| !is_lost(host, owner));
        }
        self.host_certificates_changed();
        self.placed(tenant).await
    }

    fn wanted_domains(
        &self,
        context: &OpContext,
        id: TenantId,
        domains: &[String],
    ) -> Result<Vec<String>> {
        if domains.len() > DOMAINS_PER_TENANT_MAX {
            let (max, actual) = (DOMAINS_PER_TENANT_MAX as u64, domains.len() as u64);
            return Err(over("domains_per_tenant_max", max, actual));
        }
        let mut wanted = BTreeSet::new();
        for (index, domain) in domains.iter().enumerate() {
            let at = || format!("domains[{index}]");
            let wrong = || Error::invalid_at(at(), "expected a domain such as partner.example");
            let domain = host_name(domain).ok_or_else(wrong)?;
            self.check_may_give(context, at(), &domain)?;
            if self.0.tree.read().is_another_branch(id, &domain) {
                let text = "this domain, or one above or below it, is another partner's";
                return Err(Error::Conflict(text.to_owned()));
            }
            wanted.insert(domain);
        }
        Ok(wanted.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use veritwin_metastore::TenantKind;

    use super::*;
    use crate::tree::tests::{id, tenant};

    /// Partner 1 with partner 2 below it, that one's customer 3, and partner 4 beside them.
    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.put(tenant(1, None, TenantKind::Partner));
        tree.put(tenant(2, Some(1), TenantKind::Partner));
        tree.put(tenant(3, Some(2), TenantKind::Customer));
        tree.put(tenant(4, None, TenantKind::Partner));
        for (seed, domain) in [(1, "one.example"), (2, "two.one.example"), (4, "four.example")] {
            tree.domains.insert(id(seed), vec![domain.to_owned()]);
        }
        let hosts = [(1, "free.example"), (2, "x.one.example"), (3, "a.two.one.example")];
        tree.hosts.extend(hosts.map(|(seed, host)| (host.to_owned(), id(seed))));
        tree
    }

    #[test]
    fn names_lie_below_whole_labels() {
        let check = |name: &str, expect| {
            assert_eq!(lies_below(name, "one.example"), expect, "{name}");
        };
        check("one.example", true);
        check("a.b.one.example", true);
        check("evilone.example", false);
        check("one.example.evil", false);
        check("example", false);
    }

    #[test]
    fn a_partner_gives_what_is_confirmed_for_itself() {
        let tree = tree();
        let check = |giver, name: &str, expect| {
            assert_eq!(tree.may_give(giver, name), expect, "{name}");
        };
        check(PLATFORM_TENANT, "any.example", true);
        check(id(1), "a.one.example", true);
        check(id(1), "a.four.example", false);
        check(id(2), "a.two.one.example", true);
        check(id(2), "a.one.example", false);
        assert!(tree.is_another_branch(id(4), "x.one.example"));
        assert!(tree.is_another_branch(id(4), "example"), "one above it");
        assert!(!tree.is_another_branch(id(2), "three.one.example"));
        assert!(!tree.is_another_branch(id(4), "five.example"));
    }

    #[test]
    fn what_is_taken_back_takes_along_what_rested_on_it() {
        let tree = tree();
        let set = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let lost = tree.lost(id(1), &[]);
        assert_eq!(lost.domains[&id(1)], set(&["one.example"]));
        assert_eq!(lost.domains[&id(2)], set(&["two.one.example"]));
        assert_eq!(lost.hosts[&id(2)], set(&["x.one.example"]));
        assert_eq!(lost.hosts[&id(3)], set(&["a.two.one.example"]));
        assert!(!lost.hosts.contains_key(&id(1)), "that one the platform gave");

        let narrower = tree.lost(id(1), &["two.one.example".to_owned()]);
        assert_eq!(narrower.hosts.keys().collect::<Vec<_>>(), [&id(2)]);
        assert!(!narrower.domains.contains_key(&id(2)));
        let more = ["one.example".to_owned(), "new.example".to_owned()];
        assert!(tree.lost(id(1), &more).hosts.is_empty());
    }
}

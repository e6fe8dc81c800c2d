//! What an actor holds besides its roles over the whole tenant: grants of a role over a part of
//! it, and the rights of whoever made it. Data only; what a role may do is decided elsewhere.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::{CustomRoleId, DeviceId, GrantId, GroupId, Role, SiteId, Timestamp, WorkspaceId};

/// A tenant's own role: what it permits, and what it denies whatever else is permitted. Actions
/// by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRole {
    /// The role.
    pub id: CustomRoleId,
    /// Counts its changes.
    pub version: u64,
    /// What it permits.
    pub allows: BTreeSet<String>,
    /// What it denies.
    pub denies: BTreeSet<String>,
}

/// A role that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldRole {
    /// One of the platform's.
    BuiltIn(Role),
    /// One of the tenant's own.
    Custom(Arc<CustomRole>),
}

/// Which part of a tenant a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ScopeOf {
    /// All of it.
    Tenant,
    /// A workspace: its twins, and its groups of devices.
    Workspace(WorkspaceId),
    /// A group of devices.
    Group(GroupId),
    /// A twin, or the branch of it below a storey or space (its GlobalId).
    Twin {
        /// The twin.
        twin: SiteId,
        /// The storey or space; none for the whole twin.
        node: Option<String>,
    },
}

/// A branch of a twin with every node in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The twin.
    pub twin: SiteId,
    /// GlobalIds of its spaces and elements.
    pub nodes: HashSet<String>,
}

/// A part of a tenant with what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Which part.
    pub of: ScopeOf,
    /// Devices that are named one by one.
    pub devices: HashSet<DeviceId>,
    /// Whole twins, with the devices bound to them.
    pub twins: HashSet<SiteId>,
    /// A branch of a twin, with the devices placed in it.
    pub branch: Option<Branch>,
}

/// Where a thing stands in its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// It belongs to the whole tenant.
    Tenant,
    /// A twin.
    Twin(SiteId),
    /// A twin as it is looked at: a branch lets its holder see the building around it.
    TwinSeen(SiteId),
    /// A device, or what belongs to one.
    Device {
        /// Which one; none while it is made.
        id: Option<DeviceId>,
        /// The twin it is bound to.
        twin: Option<SiteId>,
        /// The space it is in.
        space: Option<&'a str>,
        /// The element it is at.
        element: Option<&'a str>,
    },
}

impl Scope {
    /// The whole tenant.
    pub fn whole() -> Self {
        Self { of: ScopeOf::Tenant, devices: HashSet::new(), twins: HashSet::new(), branch: None }
    }

    /// Whether it is the whole tenant.
    pub fn is_whole(&self) -> bool {
        self.of == ScopeOf::Tenant
    }

    /// Whether a place is in it.
    pub fn covers(&self, place: Place<'_>) -> bool {
        if self.is_whole() {
            return true;
        }
        match place {
            Place::Tenant => false,
            Place::Twin(twin) => self.twins.contains(&twin),
            Place::TwinSeen(twin) => {
                self.twins.contains(&twin)
                    || self.branch.as_ref().is_some_and(|branch| branch.twin == twin)
            }
            Place::Device { id, twin, space, element } => {
                let in_branch = |branch: &Branch| {
                    twin == Some(branch.twin)
                        && [space, element]
                            .into_iter()
                            .flatten()
                            .any(|node| branch.nodes.contains(node))
                };
                id.is_some_and(|id| self.devices.contains(&id))
                    || twin.is_some_and(|twin| self.twins.contains(&twin))
                    || self.branch.as_ref().is_some_and(in_branch)
            }
        }
    }
}

/// One grant as it counts in a request: a role over a part of the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// The grant; none for a role that comes with the membership or the key itself.
    pub grant: Option<GrantId>,
    /// The role.
    pub role: HeldRole,
    /// Where it counts.
    pub scope: Arc<Scope>,
    /// Until when; none for one without an end.
    pub expires_at: Option<Timestamp>,
}

impl Facet {
    /// A built-in role over the whole tenant, without an end.
    pub fn whole(role: Role) -> Self {
        let (role, scope) = (HeldRole::BuiltIn(role), Arc::new(Scope::whole()));
        Self { grant: None, role, scope, expires_at: None }
    }
}

/// What grants add to an actor's roles or take from them. Whatever is asked has to be permitted
/// by the actor's own rights and by each of the bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The grants.
    pub facets: Vec<Facet>,
    /// The rights, as they are now, of those who made the actor: a key is never worth more.
    pub bounds: Vec<Vec<Facet>>,
}

impl Rights {
    /// Nothing but the roles.
    pub const fn none() -> Self {
        Self { facets: Vec::new(), bounds: Vec::new() }
    }

    /// Whether anything but roles over the whole tenant has to be looked at.
    pub fn is_confined(&self) -> bool {
        !self.facets.is_empty() || !self.bounds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_is_in_it_only() {
        let (twin, other) = (SiteId::from_bytes([1; 16]), SiteId::from_bytes([2; 16]));
        let device = DeviceId::from_bytes([3; 16]);
        let nodes = HashSet::from(["room".to_owned()]);
        let scope = |of, devices: &[DeviceId], twins: &[SiteId], branch| Scope {
            of,
            devices: devices.iter().copied().collect(),
            twins: twins.iter().copied().collect(),
            branch,
        };
        let group = scope(ScopeOf::Group(GroupId::from_bytes([4; 16])), &[device], &[], None);
        let whole_twin = scope(ScopeOf::Twin { twin, node: None }, &[], &[twin], None);
        let branch = scope(
            ScopeOf::Twin { twin, node: Some("storey".to_owned()) },
            &[],
            &[],
            Some(Branch { twin, nodes }),
        );
        let at = |id, twin, space| Place::Device { id, twin, space, element: None };
        let check = |scope: &Scope, place: Place<'_>, expect: bool| {
            assert_eq!(scope.covers(place), expect, "{:?} {place:?}", scope.of);
        };
        check(&Scope::whole(), Place::Tenant, true);
        check(&Scope::whole(), at(None, None, None), true);
        check(&group, at(Some(device), None, None), true);
        check(&group, at(None, Some(twin), None), false);
        check(&group, Place::Tenant, false);
        check(&group, Place::TwinSeen(twin), false);
        check(&whole_twin, at(Some(device), Some(twin), None), true);
        check(&whole_twin, at(Some(device), Some(other), None), false);
        check(&whole_twin, Place::Twin(twin), true);
        check(&branch, at(None, Some(twin), Some("room")), true);
        check(&branch, at(None, Some(twin), Some("hall")), false);
        check(&branch, at(None, Some(other), Some("room")), false);
        check(&branch, Place::TwinSeen(twin), true);
        check(&branch, Place::Twin(twin), false);
    }
}

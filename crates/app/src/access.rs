//! Who holds what in a tenant, in memory: grants, the tenant's own roles, and what is in each part
//! of the tenant. A change drops the tenant's copy, and the next request reads it again. And the
//! checks of use cases on things that stand somewhere.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_domain::{
    Branch, CustomRole, CustomRoleId, DeviceId, Facet, HeldRole, OpContext, Place, Role, Scope,
    ScopeOf, SiteId, TenantId, Timestamp, UserId,
};
use veritwin_metastore::{Device, DeviceGroup, Grant, GrantRole, Holder, TenantTx, Workspace};
use veritwin_twin::TwinModel;

use crate::kept::Kept;
use crate::sign_in::check_proof;
use crate::{App, Error, Result};

/// A grant with what it is worth.
#[derive(Debug)]
struct Entry {
    grant: Grant,
    facet: Facet,
}

/// Who holds what in a tenant.
#[derive(Debug, Default)]
pub(crate) struct AccessBook {
    entries: Vec<Entry>,
    roles: HashMap<CustomRoleId, Arc<CustomRole>>,
    workspaces: Vec<Workspace>,
    groups: Vec<DeviceGroup>,
}

impl AccessBook {
    /// What a person or program holds by grants at a moment.
    pub(crate) fn facets(&self, holder: Holder, at: Timestamp) -> Vec<Facet> {
        let counts = |entry: &&Entry| {
            entry.grant.holder == holder && entry.grant.expires_at.is_none_or(|end| end > at)
        };
        self.entries.iter().filter(counts).map(|entry| entry.facet.clone()).collect()
    }

    /// What a member holds by grants. Owners hold everything that a role can give, and nobody
    /// takes any of it from them with a role that denies.
    pub(crate) fn facets_of_member(
        &self,
        user: UserId,
        roles: &[Role],
        at: Timestamp,
    ) -> Vec<Facet> {
        if roles.contains(&Role::Owner) { Vec::new() } else { self.facets(Holder::User(user), at) }
    }

    /// A role as it is held.
    pub(crate) fn held(&self, role: GrantRole) -> Option<HeldRole> {
        match role {
            GrantRole::BuiltIn(role) => Some(HeldRole::BuiltIn(role)),
            GrantRole::Custom(id) => self.roles.get(&id).cloned().map(HeldRole::Custom),
        }
    }

    /// Whether a part of the tenant lies in another.
    pub(crate) fn within(&self, inner: &ScopeOf, outer: &ScopeOf) -> bool {
        if inner == outer || *outer == ScopeOf::Tenant {
            return true;
        }
        let in_workspace = |id, twin: &SiteId| {
            self.workspaces.iter().any(|one| one.id == id && one.twins.contains(twin))
        };
        match (inner, outer) {
            (ScopeOf::Group(group), ScopeOf::Workspace(id)) => {
                self.groups.iter().any(|one| one.id == *group && one.workspace == Some(*id))
            }
            (ScopeOf::Twin { twin, .. }, ScopeOf::Workspace(id)) => in_workspace(*id, twin),
            (ScopeOf::Twin { twin, .. }, ScopeOf::Twin { twin: whole, node: None }) => {
                twin == whole
            }
            _ => false,
        }
    }

    /// The parts that grants are about and that devices are in by where they stand.
    pub(crate) fn parts_of_twins(&self) -> impl Iterator<Item = &Scope> {
        let is_one = |scope: &&Scope| !scope.twins.is_empty() || scope.branch.is_some();
        self.entries.iter().map(|entry| &*entry.facet.scope).filter(is_one)
    }

    fn scope(&self, of: &ScopeOf, models: &HashMap<SiteId, Arc<TwinModel>>) -> Scope {
        let mut scope = Scope { of: of.clone(), ..Scope::whole() };
        match of {
            ScopeOf::Tenant => {}
            ScopeOf::Workspace(id) => {
                let own = self.workspaces.iter().filter(|one| one.id == *id);
                scope.twins = own.flat_map(|one| one.twins.iter().copied()).collect();
                let groups = self.groups.iter().filter(|group| group.workspace == Some(*id));
                scope.devices = groups.flat_map(|group| group.devices.iter().copied()).collect();
            }
            ScopeOf::Group(id) => {
                let own = self.groups.iter().filter(|group| group.id == *id);
                scope.devices = own.flat_map(|group| group.devices.iter().copied()).collect();
            }
            ScopeOf::Twin { twin, node: None } => scope.twins = HashSet::from([*twin]),
            ScopeOf::Twin { twin, node: Some(node) } => {
                let model = models.get(twin);
                let nodes = model.map(|model| nodes_below(model, node)).unwrap_or_default();
                scope.branch = Some(Branch { twin: *twin, nodes });
            }
        }
        scope
    }
}

/// A storey's or space's own id, with the spaces and elements in it.
pub(crate) fn nodes_below(model: &TwinModel, node: &str) -> HashSet<String> {
    let mut nodes = HashSet::new();
    if model.storeys.iter().any(|storey| *storey.id == *node) {
        nodes.insert(node.to_owned());
    }
    for space in &model.spaces {
        if *space.id == *node || *space.storey_id == *node {
            nodes.insert(space.id.to_string());
        }
    }
    for element in &model.elements {
        let space = element.space_id.as_ref().map(|id| id.to_string());
        let is_below = element.storey_id.as_ref().is_some_and(|id| &**id == node)
            || space.is_some_and(|id| nodes.contains(&id));
        if is_below {
            nodes.insert(element.id.to_string());
        }
    }
    nodes
}

/// The books of recently used tenants.
pub(crate) type AccessBooks = Kept<AccessBook>;

/// Where a device stands.
pub(crate) fn place_of(device: &Device) -> Place<'_> {
    let placement = device.placement.as_ref();
    Place::Device {
        id: Some(device.id),
        twin: device.twin,
        space: placement.and_then(|place| place.space_id.as_deref()),
        element: placement.and_then(|place| place.element_id.as_deref()),
    }
}

/// Where a twin is asked for: reading one is open to whoever holds a branch of it.
pub(crate) fn twin_place(action: Action, id: SiteId) -> Place<'static> {
    if matches!(action, Action::TwinRead | Action::TwinList) {
        Place::TwinSeen(id)
    } else {
        Place::Twin(id)
    }
}

/// Facets of roles over the whole tenant, and of grants.
pub(crate) fn facets_of(roles: &[Role], grants: Vec<Facet>) -> Vec<Facet> {
    roles.iter().copied().map(Facet::whole).chain(grants).collect()
}

impl App {
    /// Who holds what in the context's tenant.
    pub(crate) async fn access_book(&self, context: &OpContext) -> Result<Arc<AccessBook>> {
        let ticket = match self.0.access.get(context.tenant) {
            Ok(book) => return Ok(book),
            Err(ticket) => ticket,
        };
        let tx = self.0.store.read(context).await?;
        let book = Arc::new(self.read_book(&tx).await?);
        self.0.access.put(ticket, &book);
        Ok(book)
    }

    async fn read_book(&self, tx: &TenantTx) -> Result<AccessBook> {
        let grants = tx.grants().await?;
        let mut book = AccessBook {
            workspaces: tx.workspaces().await?,
            groups: tx.device_groups().await?,
            ..AccessBook::default()
        };
        for role in tx.custom_roles().await? {
            let held = CustomRole {
                id: role.id,
                version: role.version,
                allows: role.allows.into_iter().collect(),
                denies: role.denies.into_iter().collect(),
            };
            book.roles.insert(role.id, Arc::new(held));
        }
        let mut models: HashMap<SiteId, Arc<TwinModel>> = HashMap::new();
        for grant in &grants {
            if let ScopeOf::Twin { twin, node: Some(_) } = grant.scope
                && !models.contains_key(&twin)
                && let Ok(row) = tx.twin(twin).await
            {
                // A branch of a model that cannot be read holds nothing; other grants count on.
                match self.load_model(tx.tenant_id(), &row).await {
                    Ok(model) => drop(models.insert(twin, model)),
                    Err(error) => tracing::warn!(%error, "the model behind a grant"),
                }
            }
        }
        let mut scopes: HashMap<ScopeOf, Arc<Scope>> = HashMap::new();
        for grant in grants {
            // A role that is gone is worth nothing.
            let Some(role) = book.held(grant.role) else { continue };
            let scope = match scopes.get(&grant.scope) {
                Some(scope) => Arc::clone(scope),
                None => Arc::new(book.scope(&grant.scope, &models)),
            };
            scopes.insert(grant.scope.clone(), Arc::clone(&scope));
            let facet = Facet { grant: Some(grant.id), role, scope, expires_at: grant.expires_at };
            book.entries.push(Entry { grant, facet });
        }
        Ok(book)
    }

    /// Grants, roles or parts of the tenant changed; open connections ask again who they are.
    pub(crate) fn access_changed(&self, tenant: TenantId) {
        self.0.access.changed(tenant);
        self.0.live.publish(tenant, || crate::LiveEvent::Access);
        // Rules may be about groups of devices.
        self.route_sources_changed(tenant);
    }

    /// Sessions, or what support rests on, ended: open connections ask whether theirs goes on.
    pub(crate) fn sessions_ended(&self, tenants: impl IntoIterator<Item = TenantId>) {
        for tenant in tenants.into_iter().collect::<HashSet<_>>() {
            self.0.live.publish(tenant, || crate::LiveEvent::Sessions);
        }
    }

    /// Where the actor may do something: one decision for a list.
    pub(crate) fn reach(&self, context: &OpContext, action: Action, kind: Kind) -> Result<Reach> {
        let decision = self.0.authorizer.reach(context, action, kind);
        let resource = Resource::all(context.tenant, kind);
        let reach = decision.map_err(|denied| self.denied(context, action, &resource, denied))?;
        check_proof(context, action)?;
        self.check_key(context, action)?;
        Ok(reach)
    }

    /// Authorises an action on something at a place; a refusal leaves a record.
    pub(crate) fn authorize_at(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        place: Place<'_>,
    ) -> Result<()> {
        let decision = self.0.authorizer.check_at(context, action, resource, place);
        decision.map_err(|denied| self.denied(context, action, resource, denied))?;
        check_proof(context, action)?;
        self.check_key(context, action)
    }

    /// Authorises an action on a device, wherever it stands.
    pub(crate) async fn authorize_device(
        &self,
        context: &OpContext,
        action: Action,
        id: DeviceId,
    ) -> Result<Resource> {
        let resource = Resource::device(context.tenant, id);
        if context.actor.rights.is_confined() {
            let reach = self.reach(context, action, Kind::Device)?;
            if !reach.is_whole() {
                let devices = self.tenant_devices(context).await?;
                let device = devices.get(id).ok_or(Error::NotFound("device"))?;
                self.authorize_at(context, action, &resource, place_of(device))?;
                return Ok(resource);
            }
        }
        self.authorize(context, action, &resource)?;
        Ok(resource)
    }

    /// Authorises an action on a twin. Reading one is open to whoever holds a branch of it.
    pub(crate) fn authorize_twin(
        &self,
        context: &OpContext,
        action: Action,
        id: SiteId,
    ) -> Result<Resource> {
        let resource = Resource::twin(context.tenant, id);
        self.authorize_at(context, action, &resource, twin_place(action, id))?;
        Ok(resource)
    }

    /// The devices in a reach; none stands for all of them.
    pub(crate) async fn devices_in(
        &self,
        context: &OpContext,
        reach: &Reach,
    ) -> Result<Option<Arc<HashSet<DeviceId>>>> {
        if reach.is_whole() {
            return Ok(None);
        }
        let devices = self.tenant_devices(context).await?;
        let inside = devices.all().filter(|device| reach.covers(place_of(device)));
        Ok(Some(Arc::new(inside.map(|device| device.id).collect())))
    }
}

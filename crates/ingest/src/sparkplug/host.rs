//! The edge nodes of every tenant: the platform is the host application to all of them. What is
//! known of a node is kept in memory; after a restart each one connects, and is born, again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use veritwin_domain::{CredentialId, DeviceId, LimitExceeded, RelayMessage, TenantId, Timestamp};

use super::encode;
use super::metric::{ALL_METRICS_MAX, Counts};
use super::node::Node;
use super::topic::PREFIX;
use super::view::SparkplugView;

/// The host id of the platform, the same in every tenant's tree.
pub const HOST_ID: &str = "veritwin";
/// Most edge nodes of a tenant.
pub const NODES_MAX: usize = 1_000;
/// Most of them that the connections of one device speak for.
pub const DEVICE_NODES_MAX: usize = 256;
/// What the platform says names no credential.
pub(crate) const NO_CREDENTIAL: CredentialId = CredentialId::from_bytes([0; 16]);

pub(crate) type SharedNode = Arc<Mutex<Node>>;

/// A node's group and its own name.
type Name = (Box<str>, Box<str>);

/// The edge nodes of a tenant.
#[derive(Debug)]
pub(crate) struct TenantNodes {
    nodes: Mutex<HashMap<Name, SharedNode>>,
    counts: Counts,
    is_announced: AtomicBool,
}

/// Where a device of the platform's is in the world of Sparkplug.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) group: Box<str>,
    pub(crate) node_name: Box<str>,
    pub(crate) node: SharedNode,
    /// Its name behind the node; none for the node itself.
    pub(crate) device: Option<String>,
}

impl TenantNodes {
    fn new(counts: Counts) -> Self {
        Self { nodes: Mutex::default(), counts, is_announced: AtomicBool::new(false) }
    }

    /// Forgets nodes that are dead and that no connection knows any more, with their metrics.
    fn forget_dead(&self) {
        let is_known = |node: &SharedNode| Arc::strong_count(node) > 1 || node.lock().is_online();
        self.nodes.lock().retain(|_, node| is_known(node));
    }

    /// Whether the tenant's tree has not been told yet that the host is there. Then it counts as
    /// told.
    pub(crate) fn announce(&self) -> bool {
        !self.is_announced.swap(true, Ordering::AcqRel)
    }

    /// The node with this name; a new one belongs to `device`.
    pub(crate) fn node(
        &self,
        (group, name): (&str, &str),
        device: DeviceId,
    ) -> Result<SharedNode, LimitExceeded> {
        let key: Name = (group.into(), name.into());
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(&key) {
            return Ok(Arc::clone(node));
        }
        let is_own = |node: &&SharedNode| Arc::strong_count(node) > 1 && node.lock().is_of(device);
        let own = nodes.values().filter(is_own).count();
        if own >= DEVICE_NODES_MAX {
            let (max, actual) = (DEVICE_NODES_MAX, own + 1);
            return Err(LimitExceeded { name: "sparkplug_device_nodes_max", max, actual });
        }
        if nodes.len() >= NODES_MAX {
            // One that is dead, and that no connection knows any more, makes room.
            let idle = nodes.iter().filter(|(_, node)| Arc::strong_count(node) == 1);
            let dead = idle.filter_map(|(name, node)| {
                let node = node.lock();
                (!node.is_online()).then(|| (node.born_at(), name))
            });
            let Some(gone) = dead.min().map(|(_, name)| name.clone()) else {
                let (max, actual) = (NODES_MAX, NODES_MAX + 1);
                return Err(LimitExceeded { name: "sparkplug_nodes_max", max, actual });
            };
            nodes.remove(&gone);
        }
        let node = Arc::new(Mutex::new(Node::new(device, &self.counts)));
        nodes.insert(key, Arc::clone(&node));
        Ok(node)
    }

    fn place(&self, id: DeviceId) -> Option<Place> {
        let nodes = self.nodes.lock();
        let places = nodes.iter().filter_map(|((group, name), shared)| {
            let node = shared.lock();
            let device = node.name_of(id)?.map(str::to_owned);
            let (group, node_name, node_of) = (group.clone(), name.clone(), Arc::clone(shared));
            Some((node.is_alive(id), Place { group, node_name, node: node_of, device }))
        });
        // It may have been another one before.
        places.max_by_key(|(is_alive, _)| *is_alive).map(|(_, place)| place)
    }
}

/// The host application.
#[derive(Debug)]
pub(crate) struct Host {
    /// Since when it is there.
    since: Timestamp,
    /// Metrics of the nodes of all tenants.
    metrics: Arc<AtomicUsize>,
    tenants: Mutex<HashMap<TenantId, Arc<TenantNodes>>>,
}

impl Host {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, metrics: Arc::default(), tenants: Mutex::default() }
    }

    /// The nodes of a tenant, which makes use of Sparkplug from now on.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Arc<TenantNodes> {
        let new = || Arc::new(TenantNodes::new(Counts::of(&self.metrics)));
        Arc::clone(self.tenants.lock().entry(tenant).or_insert_with(new))
    }

    /// Where metrics become scarce, of a tenant or of all, the dead are forgotten before another
    /// node is born: of all, those of tenants with more than an equal part.
    pub(crate) fn make_room(&self, tenant: TenantId) {
        if self.metrics.load(Ordering::Acquire) > ALL_METRICS_MAX / 2 {
            let all: Vec<_> = self.tenants.lock().values().map(Arc::clone).collect();
            let part = ALL_METRICS_MAX / 2 / all.len().max(1);
            let large = all.iter().filter(|nodes| nodes.counts.own() > part);
            large.for_each(|nodes| nodes.forget_dead());
        }
        let nodes = self.tenant(tenant);
        if nodes.counts.is_scarce() {
            nodes.forget_dead();
        }
    }

    /// Whether a tenant makes use of Sparkplug.
    pub(crate) fn is_used_by(&self, tenant: TenantId) -> bool {
        self.tenants.lock().contains_key(&tenant)
    }

    /// The tenants that do.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.tenants.lock().keys().copied().collect()
    }

    /// Where a device is, if it is an edge node or behind one.
    pub(crate) fn place(&self, tenant: TenantId, id: DeviceId) -> Option<Place> {
        let nodes = self.tenants.lock().get(&tenant).map(Arc::clone)?;
        nodes.place(id)
    }

    /// What there is to show of a device.
    pub(crate) fn view(&self, tenant: TenantId, id: DeviceId) -> Option<SparkplugView> {
        let Place { group, node_name, node, device } = self.place(tenant, id)?;
        let node = node.lock();
        Some(node.view((&*group, &*node_name), device.as_deref()))
    }

    /// What the host says of itself in a tenant's tree.
    pub(crate) fn state(&self, tenant: TenantId, is_online: bool) -> Arc<RelayMessage> {
        let payload = encode::state(is_online, self.since);
        let topic = format!("{PREFIX}STATE/{HOST_ID}");
        let nobody = DeviceId::from_bytes([0; 16]);
        let message = said((tenant, nobody), topic, payload, self.since);
        Arc::new(RelayMessage { qos: 1, retain: true, ..message })
    }
}

/// A message of the platform's own, about a device.
pub(crate) fn said(
    (tenant, device): (TenantId, DeviceId),
    topic: String,
    payload: Vec<u8>,
    at: Timestamp,
) -> RelayMessage {
    RelayMessage {
        tenant,
        device,
        credential: NO_CREDENTIAL,
        received_at: at,
        expires_at: None,
        topic: topic.into(),
        properties: Arc::default(),
        payload: payload.into(),
        qos: 0,
        retain: false,
        hops: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_nodes_are_bounded_and_its_own() {
        let host = Host::new(Timestamp::EPOCH);
        let (mine, theirs) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let device = DeviceId::from_bytes([3; 16]);
        let nodes = host.tenant(mine);
        assert!(nodes.announce() && !nodes.announce());
        let kept = nodes.node(("g", "kept"), device).expect("room");
        for number in 0..NODES_MAX {
            let other = DeviceId::from_bytes((number as u128 + 9).to_be_bytes());
            assert!(nodes.node(("g", &number.to_string()), other).is_ok(), "the dead make room");
        }
        assert!(host.place(mine, device).is_some(), "a connection knows it");
        assert!(host.place(theirs, device).is_none());
        drop(kept);
        nodes.forget_dead();
        assert!(host.place(mine, device).is_none());
        let held: Vec<_> = (0..DEVICE_NODES_MAX)
            .map(|number| nodes.node(("of one", &number.to_string()), device).expect("room"))
            .collect();
        let limit = nodes.node(("of one", "more"), device).expect_err("too many of one device");
        assert_eq!(limit.name, "sparkplug_device_nodes_max");
        assert!(nodes.node(("g", "of another"), DeviceId::from_bytes([4; 16])).is_ok());
        drop(held);
        assert!(nodes.node(("of one", "more"), device).is_ok());
        assert!(host.is_used_by(mine) && !host.is_used_by(theirs));
    }
}

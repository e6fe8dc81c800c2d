//! Sparkplug on a connection: messages of edge nodes become readings and are relayed, births are
//! kept as certificates, and devices behind a node are looked up before their birth is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;
use veritwin_domain::{DeviceBatch, DeviceId, LimitExceeded, Reading, RelayMessage};

use super::device::Device;
use super::frame::PublishView;
use super::message::Refused;
use super::pending::{Relayed, UNSTORED};
use super::retained::Fetched;
use crate::attached::Attached;
use crate::link::{DeviceLink, LinkEnd};
use crate::model::{ChildName, Origin, RefusalReason, SinkEntry};
use crate::sparkplug::{
    self, CERTIFICATES, Context, Fault, HOST_ID, Kind, PREFIX, Sender, SharedNode, Topic,
};
use crate::traits::LoginError;

/// Most edge nodes that speak through one connection.
const NODES_OF_ONE_MAX: usize = 64;
/// A device is looked up within this time; nothing else is read meanwhile.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);
/// What kind of device one behind an edge node becomes.
const CHILD_KIND: &str = "sparkplug";

/// The name that the platform knows a device behind an edge node by.
fn child_name(group: &str, node: &str, device: &str) -> String {
    format!("{group}/{node}/{device}")
}

/// A device behind an edge node that is there.
struct Child {
    id: DeviceId,
    name: String,
    end: LinkEnd,
    /// Detached when dropped.
    _attached: Attached,
}

/// What was looked up for a birth.
pub(crate) struct FoundChild {
    name: String,
    child: Result<Child, LoginError>,
}

/// What a connection has to do with Sparkplug.
pub(super) struct Spoken {
    link: u64,
    nodes: Vec<(Box<str>, Box<str>, SharedNode)>,
    children: HashMap<DeviceId, Child>,
    /// A birth waits for its device to be looked up.
    is_waiting: bool,
    /// Why the last device that was looked up may not be spoken for.
    denied: Option<(String, LoginError)>,
}

impl Spoken {
    fn new(link: u64) -> Self {
        let (nodes, children) = (Vec::new(), HashMap::new());
        Self { link, nodes, children, is_waiting: false, denied: None }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The device with this name, unless it was disabled since.
    fn child(&self, name: &str) -> Option<DeviceId> {
        let found = self.children.values().find(|child| child.name == name);
        found.filter(|child| child.end.close.borrow().is_none()).map(|child| child.id)
    }

    fn take(&mut self, found: FoundChild) {
        self.is_waiting = false;
        match found.child {
            Ok(child) => {
                self.children.insert(child.id, child);
            }
            Err(error) => self.denied = Some((found.name, error)),
        }
    }
}

impl Drop for Spoken {
    /// Nodes whose connection is over are dead, also without a will.
    fn drop(&mut self) {
        for (_, _, node) in &self.nodes {
            node.lock().left(self.link);
        }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Payload(error) => error.into(),
            Fault::Unborn(text) => Self::new(RefusalReason::Payload, text.to_owned()),
            Fault::Foreign(text) => Self::new(RefusalReason::NotAllowed, text.to_owned()),
            Fault::Limit(limit) => limit.into(),
        }
    }
}

/// What a message of an edge node came to.
struct Told {
    /// Whose readings they are.
    device: DeviceId,
    readings: Vec<Reading>,
    /// A device that is gone.
    dead: Option<DeviceId>,
}

/// A message to a node, or a device behind it, and its topic's parts.
#[derive(Clone, Copy)]
struct Addressed<'a> {
    group: &'a str,
    node: &'a str,
    kind: Kind,
    device: Option<&'a str>,
}

impl Device {
    fn spoken(&mut self) -> &mut Spoken {
        let link = self.link.id();
        self.spoken.get_or_insert_with(|| Box::new(Spoken::new(link)))
    }

    /// Whether a message has to wait for the device behind an edge node that it is about.
    #[inline]
    pub(super) fn waits_for_child(&mut self, view: &PublishView<'_>) -> bool {
        view.topic.starts_with(PREFIX) && self.look_up_child(view.topic)
    }

    #[cold]
    fn look_up_child(&mut self, topic: &str) -> bool {
        let parsed = Topic::parse(topic);
        let Ok(Topic::Node { group, node, kind: Kind::Birth, device: Some(device) }) = parsed
        else {
            return false;
        };
        let (name, sender) = (child_name(group, node, device), self.sender());
        let spoken = self.spoken();
        // Behind a node that was not born here nothing is made, whatever it is called.
        let of =
            |known: &&(Box<str>, Box<str>, SharedNode)| *known.0 == *group && *known.1 == *node;
        let known = spoken.nodes.iter().find(of);
        if !known.is_some_and(|(_, _, node)| node.lock().is_born_by(sender)) {
            return false;
        }
        let is_denied = spoken.denied.as_ref().is_some_and(|(denied, _)| *denied == name);
        if is_denied || spoken.child(&name).is_some() {
            return false;
        }
        spoken.is_waiting = true;
        let (login, sink) = (Arc::clone(&self.broker.login), Arc::clone(&self.broker.sink));
        let (gateway, transport) = (Arc::clone(&self.session), self.link.transport());
        let look_up = async move {
            let kind = Some(CHILD_KIND.to_owned());
            let names = [ChildName { name: name.clone(), kind }];
            let late = || LoginError::Unavailable("looking it up took too long".to_owned());
            let found = timeout(LOOK_UP_MAX, login.children(&gateway, &names)).await;
            let found = found.unwrap_or_else(|_| Err(late()));
            let found = found.and_then(|mut all| all.pop().unwrap_or(Err(LoginError::Unknown)));
            let child = match found {
                Ok(session) => {
                    let (link, end) = DeviceLink::new(transport);
                    let id = session.device;
                    let attached = Attached::new(sink, session, link).await;
                    Ok(Child { id, name: name.clone(), end, _attached: attached })
                }
                Err(error) => Err(error),
            };
            Fetched::Child(Box::new(FoundChild { name, child }))
        };
        self.fetching.push(look_up.boxed());
        true
    }

    /// A device was looked up: the birth that waits for it can be read.
    pub(super) fn found_child(&mut self, found: FoundChild) {
        self.spoken().take(found);
    }

    /// Takes a message of Sparkplug: it is relayed, and what an edge node says becomes readings.
    pub(super) fn sparkplug(&mut self, view: &PublishView<'_>) -> Result<Option<usize>, Refused> {
        let topic = Topic::parse(view.topic)
            .map_err(|text| Refused::new(RefusalReason::Topic, text.to_owned()))?;
        let to = match topic {
            Topic::State(host) if host == HOST_ID => {
                let text = "the platform says itself whether it is there".to_owned();
                return Err(Refused::new(RefusalReason::NotAllowed, text));
            }
            Topic::State(_) => {
                self.check_host()?;
                return self.relay(view);
            }
            Topic::Node { group, node, kind, device } => Addressed { group, node, kind, device },
        };
        // None of them is retained (4.1): births are, elsewhere.
        let view = &PublishView { retain: false, ..*view };
        if to.kind == Kind::Command {
            self.check_host()?;
            sparkplug::read_passed_on(view.payload, self.keys.screening())?;
            return self.relay(view);
        }
        let message = self.relayable(view);
        let node = self.known_node(to)?;
        let message = message.inspect_err(|_| self.count(&node, to, view))?;
        if to.kind == Kind::Birth {
            self.broker.sparkplug.make_room(self.session.tenant);
        }
        let told = self.hear(&node, to, view);
        let asks = {
            let mut node = node.lock();
            if let Err(fault) = &told {
                node.note(self.received_at, fault);
            }
            node.ask_for_birth(self.broker.clock.monotonic())
        };
        if asks {
            self.ask_for_birth(to);
        }
        let Told { device, readings, dead } = told?;
        let origin = Origin::Device(&self.session);
        self.broker.sink.inspect(origin, &readings)?;
        self.push_readings(device, readings);
        if to.kind == Kind::Birth && to.device.is_none() {
            self.forget_children(to);
        }
        if let Some(dead) = dead {
            self.spoken().children.remove(&dead);
        }
        let refusal_recorded = self.is_recorded(view);
        let at = self.push_relayed(Arc::clone(&message), refusal_recorded);
        if to.kind == Kind::Birth {
            // The birth itself is taken, also where there is no room for its certificate.
            let topic = format!("{CERTIFICATES}{}", message.topic).into();
            let certificate = RelayMessage { topic, device, retain: true, ..(*message).clone() };
            self.push_relayed(Arc::new(certificate), true);
        }
        Ok(Some(at))
    }

    /// Whether the device may be a host application, which commands the tenant's nodes and tells
    /// them whether to report: a token of any other is worth its own readings and no more.
    fn check_host(&self) -> Result<(), Refused> {
        if self.session.sparkplug_host {
            return Ok(());
        }
        let text = "commands to edge nodes and the state of a host: expected a device that a \
            person has made a Sparkplug host";
        Err(Refused::new(RefusalReason::NotAllowed, text.to_owned()))
    }

    /// The edge node that a message names. With its first one the tenant's tree is told that the
    /// host is there.
    fn known_node(&mut self, to: Addressed<'_>) -> Result<SharedNode, Refused> {
        let (tenant, device) = (self.session.tenant, self.session.device);
        let of = |known: &&(Box<str>, Box<str>, SharedNode)| {
            *known.0 == *to.group && *known.1 == *to.node
        };
        let spoken = self.spoken();
        if let Some((_, _, node)) = spoken.nodes.iter().find(of) {
            return Ok(Arc::clone(node));
        }
        if spoken.nodes.len() >= NODES_OF_ONE_MAX {
            let (max, actual) = (NODES_OF_ONE_MAX, NODES_OF_ONE_MAX + 1);
            let name = "sparkplug_connection_nodes_max";
            return Err(LimitExceeded { name, max, actual }.into());
        }
        let nodes = self.broker.sparkplug.tenant(tenant);
        let node = nodes.node((to.group, to.node), device)?;
        self.spoken().nodes.push((to.group.into(), to.node.into(), Arc::clone(&node)));
        if nodes.announce() {
            let state = self.broker.sparkplug.state(tenant, true);
            self.pending.relayed.push((UNSTORED, state));
        }
        Ok(node)
    }

    /// Counts a message that is refused before anybody looks at it.
    fn count(&self, node: &SharedNode, to: Addressed<'_>, view: &PublishView<'_>) {
        let is_numbered = to.device.is_some() || to.kind == Kind::Data;
        let payload = sparkplug::read(view.payload, self.keys.screening());
        if let (true, Ok(payload)) = (is_numbered, payload) {
            let _refused = node.lock().go_on(self.sender(), &payload);
        }
    }

    fn sender(&self) -> Sender {
        Sender { device: self.session.device, link: self.link.id(), at: self.received_at }
    }

    /// What an edge node says.
    fn hear(
        &mut self,
        node: &SharedNode,
        to: Addressed<'_>,
        view: &PublishView<'_>,
    ) -> Result<Told, Fault> {
        let screening = self.keys.screening();
        let payload = match to.kind {
            Kind::Birth | Kind::Data => sparkplug::read(view.payload, screening)?,
            // Of its metrics nothing is made.
            Kind::Death | Kind::Command => sparkplug::read_passed_on(view.payload, screening)?,
        };
        let device = self.session.device;
        let sender = self.sender();
        let child = match (to.kind, to.device) {
            (Kind::Birth, Some(name)) => self.child_of_birth(to, name).map(Some),
            (Kind::Data, Some(name)) => self.check_child(node, name).map(|()| None),
            _ => Ok(None),
        };
        if child.is_err() {
            node.lock().go_on(sender, &payload)?;
        }
        let child = child?;
        let mut context =
            Context { keys: &mut self.keys, limits: &self.broker.limits, untimed: self.next_at };
        let mut node = node.lock();
        let of_itself = |readings| Told { device, readings, dead: None };
        match (to.kind, to.device) {
            (Kind::Birth, None) => node.birth(sender, &payload, &mut context).map(of_itself),
            (Kind::Data, None) => node.data(sender, &payload, &mut context).map(of_itself),
            (Kind::Death, None) => {
                node.death(sender, &payload)?;
                Ok(of_itself(Vec::new()))
            }
            (Kind::Birth, Some(name)) => {
                let device = child.unwrap_or(device);
                let readings = node.device_birth(sender, (name, device), &payload, &mut context)?;
                Ok(Told { device, readings, dead: None })
            }
            (Kind::Data, Some(name)) => {
                let (device, readings) = node.device_data(sender, name, &payload, &mut context)?;
                Ok(Told { device, readings, dead: None })
            }
            (Kind::Death, Some(name)) => {
                let dead = node.device_death(sender, name, &payload)?;
                Ok(Told { device, readings: Vec::new(), dead })
            }
            // Relayed before.
            (Kind::Command, _) => Ok(of_itself(Vec::new())),
        }
    }

    /// The device that was looked up for a birth, or why it may not be spoken for.
    fn child_of_birth(&mut self, to: Addressed<'_>, device: &str) -> Result<DeviceId, Fault> {
        let name = child_name(to.group, to.node, device);
        let spoken = self.spoken();
        let denied = spoken.denied.take_if(|(denied, _)| *denied == name);
        if let Some(id) = spoken.child(&name) {
            return Ok(id);
        }
        Err(match denied.map(|(_, error)| error) {
            Some(LoginError::Busy { .. } | LoginError::Unavailable(_)) => {
                Fault::Unborn("the device cannot be looked up now: expected its birth again later")
            }
            _ => Fault::Foreign(
                "the platform's device with the name GROUP/NODE/DEVICE cannot be spoken for: \
                 expected a connection of its gateway, and room for one more",
            ),
        })
    }

    /// A device that was disabled or deleted since its birth is not spoken for any more.
    fn check_child(&mut self, node: &SharedNode, device: &str) -> Result<(), Fault> {
        let id = node.lock().behind(device);
        let spoken = self.spoken();
        let is_open = |child: &Child| child.end.close.borrow().is_none();
        match id {
            Some(id) if !spoken.children.get(&id).is_some_and(is_open) => {
                spoken.children.remove(&id);
                Err(Fault::Unborn("the device is not connected: expected DBIRTH first"))
            }
            _ => Ok(()),
        }
    }

    /// A node is born: its devices will be.
    fn forget_children(&mut self, to: Addressed<'_>) {
        let prefix = child_name(to.group, to.node, "");
        self.spoken().children.retain(|_, child| !child.name.starts_with(&prefix));
    }

    fn push_readings(&mut self, device: DeviceId, readings: Vec<Reading>) {
        if readings.is_empty() {
            return;
        }
        self.next_at = self.next_at.just_after();
        if device == self.session.device {
            self.pending.readings.extend(readings);
            return;
        }
        let batch = DeviceBatch {
            tenant: self.session.tenant,
            device,
            credential: self.session.credential,
            received_at: self.received_at,
            readings,
        };
        self.pending.push(&self.session, self.received_at, SinkEntry::Readings(batch));
    }

    /// Something of this connection was read and is not stored: what its nodes have said may be
    /// missing, and is said again with their next births only.
    pub(super) fn note_lost(&self) {
        let link = self.link.id();
        for (_, _, node) in self.spoken.iter().flat_map(|spoken| &spoken.nodes) {
            node.lock().miss(link);
        }
    }

    /// Births that are stored have certificates from now on.
    pub(super) fn note_certificates(&self, stored: &[Relayed]) {
        if self.spoken.is_none() {
            return;
        }
        for (_, message) in stored {
            if message.topic.starts_with(CERTIFICATES) {
                self.broker.certificates.note(message);
            }
        }
    }

    /// NCMD of the host: the node is to be born again.
    fn ask_for_birth(&mut self, to: Addressed<'_>) {
        let owner = (self.session.tenant, self.session.device);
        let topic = sparkplug::of_command(to.group, to.node, None);
        let (payload, at) = (sparkplug::rebirth(self.received_at), self.received_at);
        let command = Arc::new(sparkplug::said(owner, topic, payload, at));
        self.pending.relayed.push((UNSTORED, command));
        metrics::counter!("veritwin_sparkplug_rebirths_total").increment(1);
    }
}

#[cfg(test)]
mod tests;

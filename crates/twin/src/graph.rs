//! The graph of a twin: Brick relations between places, elements, devices and their points. Each
//! fact is kept once and can be asked in both directions. It refuses to grow past a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use veritwin_domain::{DeviceId, Key};

use crate::brick;
use crate::model::{GlobalId, TwinModel};
use crate::rebind::Binding;

/// Most facts in one graph, counted in one direction.
pub const GRAPH_EDGES_MAX: usize = 4_000_000;

/// A Brick relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// A whole has a part.
    HasPart,
    /// A part is of a whole.
    IsPartOf,
    /// A device or piece of equipment has a point.
    HasPoint,
    /// A point is of a device or piece of equipment.
    IsPointOf,
    /// A thing is at a place.
    HasLocation,
    /// A place holds a thing.
    IsLocationOf,
}

impl Relation {
    /// Every relation there is.
    pub const ALL: [Self; 6] = [
        Self::HasPart,
        Self::IsPartOf,
        Self::HasPoint,
        Self::IsPointOf,
        Self::HasLocation,
        Self::IsLocationOf,
    ];

    /// The name in Brick and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HasPart => "hasPart",
            Self::IsPartOf => "isPartOf",
            Self::HasPoint => "hasPoint",
            Self::IsPointOf => "isPointOf",
            Self::HasLocation => "hasLocation",
            Self::IsLocationOf => "isLocationOf",
        }
    }

    /// The same fact seen from the other end.
    pub const fn inverse(self) -> Self {
        match self {
            Self::HasPart => Self::IsPartOf,
            Self::IsPartOf => Self::HasPart,
            Self::HasPoint => Self::IsPointOf,
            Self::IsPointOf => Self::HasPoint,
            Self::HasLocation => Self::IsLocationOf,
            Self::IsLocationOf => Self::HasLocation,
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Relation {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|relation| relation.as_str() == text).ok_or(())
    }
}

/// One node. Its text form is the GlobalId, the device's id, or `DEVICE/KEY` for a point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A site, building, storey, space or element.
    Ifc(GlobalId),
    /// A device.
    Device(DeviceId),
    /// One series of a device.
    Point(DeviceId, Key),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ifc(id) => id.fmt(f),
            Self::Device(id) => id.fmt(f),
            Self::Point(id, key) => write!(f, "{id}/{key}"),
        }
    }
}

impl FromStr for Node {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(id) = GlobalId::new(text) {
            return Ok(Self::Ifc(id));
        }
        match text.split_once('/') {
            None => text.parse().map(Self::Device).map_err(|_| ()),
            Some((device, key)) => {
                let device = device.parse().map_err(|_| ())?;
                Ok(Self::Point(device, Key::new(key).map_err(|_| ())?))
            }
        }
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Triple {
    /// Of what the fact speaks.
    pub subject: Node,
    /// How the two are related.
    pub relation: Relation,
    /// The other end.
    pub object: Node,
}

/// A device as the graph sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceNode {
    /// The device.
    pub device: DeviceId,
    /// Its series.
    pub keys: Vec<Key>,
    /// Where it is bound; none when it is not bound to this twin.
    pub binding: Option<Binding>,
}

/// What to look for. Everything that is given has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GraphQuery {
    /// Only facts about this node.
    pub subject: Option<Node>,
    /// Only this relation.
    pub relation: Option<Relation>,
    /// Only facts whose far end is of this Brick or IFC class: the object when a subject is
    /// given, the subject otherwise (`hasLocation` with `Temperature_Sensor`: where every
    /// temperature sensor is).
    pub class: Option<String>,
    /// Most facts in the answer.
    pub limit: usize,
}

/// The graph of one twin.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    facts: BTreeSet<(Node, Relation, Node)>,
    classes: BTreeMap<Node, Vec<String>>,
}

impl Graph {
    /// The graph of `model` and the devices bound to it. Facts past [`GRAPH_EDGES_MAX`] are
    /// refused by returning none.
    pub fn build(model: &TwinModel, devices: &[DeviceNode]) -> Option<Self> {
        let mut graph = Self::default();
        graph.add_places(model);
        for element in &model.elements {
            let node = Node::Ifc(element.id.clone());
            let brick = brick::element_classes(&element.class, &element.predefined_type);
            let brick = brick.iter().map(|class| (*class).to_owned());
            graph.classes.insert(node.clone(), brick.chain([element.class.clone()]).collect());
            let place = element.space_id.as_ref().or(element.storey_id.as_ref());
            if let Some(place) = place {
                graph.add(node, Relation::HasLocation, Node::Ifc(place.clone()));
            }
        }
        for device in devices {
            graph.add_device(device);
        }
        (graph.facts.len() <= 2 * GRAPH_EDGES_MAX).then_some(graph)
    }

    /// Facts that match, ordered by subject, relation and object.
    pub fn query(&self, query: &GraphQuery) -> Vec<Triple> {
        let wanted = |(subject, relation, object): &&(Node, Relation, Node)| {
            let far = if query.subject.is_some() { object } else { subject };
            query.subject.as_ref().is_none_or(|wanted| wanted == subject)
                && query.relation.is_none_or(|wanted| wanted == *relation)
                && query.class.as_ref().is_none_or(|class| self.is_of_class(far, class))
        };
        let from = query.subject.clone().map(|subject| {
            let least = Node::Ifc(GlobalId::least());
            (subject, Relation::HasPart, least)
        });
        let facts: Box<dyn Iterator<Item = &(Node, Relation, Node)>> = match from {
            // Facts are ordered by subject first, so those of one subject lie together.
            Some(from) => {
                let subject = from.0.clone();
                Box::new(self.facts.range(from..).take_while(move |fact| fact.0 == subject))
            }
            None => Box::new(self.facts.iter()),
        };
        facts
            .filter(wanted)
            .take(query.limit)
            .map(|(subject, relation, object)| Triple {
                subject: subject.clone(),
                relation: *relation,
                object: object.clone(),
            })
            .collect()
    }

    /// Classes of a node, the most special first; empty for an unknown node.
    pub fn classes(&self, node: &Node) -> &[String] {
        self.classes.get(node).map_or(&[], Vec::as_slice)
    }

    fn is_of_class(&self, node: &Node, class: &str) -> bool {
        self.classes(node).iter().any(|own| own == class)
    }

    fn add_places(&mut self, model: &TwinModel) {
        let ifc = |id: &GlobalId| Node::Ifc(id.clone());
        for site in &model.sites {
            self.classify(ifc(&site.id), &["Site", "Location", "IfcSite"]);
        }
        for building in &model.buildings {
            self.classify(ifc(&building.id), &["Building", "Location", "IfcBuilding"]);
            if let Some(site) = &building.site_id {
                self.add(ifc(site), Relation::HasPart, ifc(&building.id));
            }
        }
        for storey in &model.storeys {
            self.classify(ifc(&storey.id), &["Floor", "Location", "IfcBuildingStorey"]);
            if let Some(building) = &storey.building_id {
                self.add(ifc(building), Relation::HasPart, ifc(&storey.id));
            }
        }
        for space in &model.spaces {
            self.classify(ifc(&space.id), &["Room", "Space", "Location", "IfcSpace"]);
            self.add(ifc(&space.storey_id), Relation::HasPart, ifc(&space.id));
        }
    }

    fn add_device(&mut self, device: &DeviceNode) {
        let node = Node::Device(device.device);
        self.classify(node.clone(), &["Equipment", "Device"]);
        let binding = device.binding.as_ref();
        let place = binding.and_then(|binding| binding.space.as_ref());
        if let Some(space) = place {
            self.add(node.clone(), Relation::HasLocation, Node::Ifc(space.clone()));
        }
        let element = binding.and_then(|binding| binding.element.as_ref());
        for key in &device.keys {
            let point = Node::Point(device.device, key.clone());
            self.classify(point.clone(), &["Point"]);
            self.add(node.clone(), Relation::HasPoint, point.clone());
            if let Some(element) = element {
                self.add(Node::Ifc(element.clone()), Relation::HasPoint, point);
            }
        }
    }

    fn classify(&mut self, node: Node, classes: &[&str]) {
        self.classes.insert(node, classes.iter().map(|class| (*class).to_owned()).collect());
    }

    fn add(&mut self, subject: Node, relation: Relation, object: Node) {
        if self.facts.len() > 2 * GRAPH_EDGES_MAX {
            return;
        }
        self.facts.insert((object.clone(), relation.inverse(), subject.clone()));
        self.facts.insert((subject, relation, object));
    }
}

//! The twin of a building: its model (storeys, spaces, elements), the import from IFC, the device
//! inventory, and the graph of Brick relations. No network, no SQL, and nothing half-done: an
//! import gives a whole model or an error that says what is wrong and where.

mod brick;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod graph;
pub mod ifc;
pub mod inventory;
mod model;
mod rebind;
mod wire;

pub use graph::{DeviceNode, GRAPH_EDGES_MAX, Graph, GraphQuery, Node, Relation, Triple};
pub use model::{
    Bounds, Building, Element, GlobalId, GlobalIdError, Site, Source, Space, Storey, TwinModel,
};
pub use rebind::{Binding, LostBinding, LostEnd, Rebind, rebind};
pub use wire::{WIRE_VERSION, WireError};

//! The twin model as the rest of the product sees it: ids are IFC GlobalIds, lengths are metres,
//! Z is up. It holds no geometry beyond the outline of each space.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Why a text is not a GlobalId.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an IFC GlobalId: expected 22 characters out of 0-9 A-Z a-z _ $")]
pub struct GlobalIdError;

/// The identity of an IFC object: 128 bits as 22 characters (`IfcGloballyUniqueId`). It survives
/// a re-export of the building from the same authoring tool, so bindings refer to it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalId(Arc<str>);

impl GlobalId {
    /// Length of the text form.
    pub const CHARS: usize = 22;

    /// Checks and takes a GlobalId.
    pub fn new(text: &str) -> Result<Self, GlobalIdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
        if text.len() == Self::CHARS && text.bytes().all(allowed) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(GlobalIdError)
        }
    }

    /// A bound that sorts before every GlobalId and is none itself.
    pub(crate) fn least() -> Self {
        Self(Arc::from(""))
    }
}

impl Deref for GlobalId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for GlobalId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GlobalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GlobalId({})", &*self.0)
    }
}

/// Where a model came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The declared schema, as written in the file (`IFC2X3`, `IFC4`, `IFC4X3_ADD2`).
    pub schema: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// An axis-parallel box in metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Least x, y, z.
    pub min: [f64; 3],
    /// Greatest x, y, z.
    pub max: [f64; 3],
}

impl Bounds {
    /// The box around `points`; none when there are none.
    pub fn around(points: impl IntoIterator<Item = [f64; 3]>) -> Option<Self> {
        let mut points = points.into_iter();
        let first = points.next()?;
        Some(points.fold(Self { min: first, max: first }, |mut bounds, point| {
            for (axis, coordinate) in point.into_iter().enumerate() {
                bounds.min[axis] = bounds.min[axis].min(coordinate);
                bounds.max[axis] = bounds.max[axis].max(coordinate);
            }
            bounds
        }))
    }
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its GlobalId.
    pub id: GlobalId,
    /// Its name; empty when the file gives none.
    pub name: String,
}

/// A building.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Building {
    /// Its GlobalId.
    pub id: GlobalId,
    /// Its name; empty when the file gives none.
    pub name: String,
    /// The site it stands on.
    pub site_id: Option<GlobalId>,
}

/// A storey. Storeys are ordered from the lowest to the highest.
#[derive(Debug, Clone, PartialEq)]
pub struct Storey {
    /// Its GlobalId.
    pub id: GlobalId,
    /// Its name.
    pub name: String,
    /// Its building.
    pub building_id: Option<GlobalId>,
    /// 0 for the lowest.
    pub index: u32,
    /// Height of its floor above the origin.
    pub elevation_m: f64,
    /// From its floor to the next storey's; for the highest, to the top of its spaces.
    pub height_m: f64,
}

/// A space: a room, a corridor, a shaft.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// Its GlobalId.
    pub id: GlobalId,
    /// Its name, usually the room number.
    pub name: String,
    /// Its long name, usually what the room is for; empty when the file gives none.
    pub long_name: String,
    /// The storey it belongs to.
    pub storey_id: GlobalId,
    /// Area of the outline less its holes.
    pub area_m2: f64,
    /// Height of the room.
    pub height_m: f64,
    /// Height of its floor above the origin.
    pub elevation_m: f64,
    /// The outline, counter-clockwise, not closed (the first point is not repeated); empty when
    /// the file gives no shape.
    pub polygon: Vec<[f64; 2]>,
    /// The outline is only a bounding rectangle, or leaves something out.
    pub approximate: bool,
}

/// A building element, a piece of furniture, a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Its GlobalId.
    pub id: GlobalId,
    /// Its name.
    pub name: String,
    /// Its IFC class in the standard's spelling (`IfcSensor`).
    pub class: String,
    /// Its predefined type (`TEMPERATURESENSOR`); empty when the file gives none.
    pub predefined_type: String,
    /// The storey it belongs to; none for what belongs to the whole building or site.
    pub storey_id: Option<GlobalId>,
    /// The space it is in.
    pub space_id: Option<GlobalId>,
    /// Origin of its placement; none when it has no placement that can be resolved.
    pub position: Option<[f64; 3]>,
}

/// A whole twin.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinModel {
    /// The project's name; empty when the file gives none.
    pub name: String,
    /// The unit of every length: always `m`.
    pub unit: &'static str,
    /// `world_from_ifc`: metres per unit of length in the source. The axes are the source's own.
    pub world_from_ifc_scale: f64,
    /// The box around all spaces and elements.
    pub bounds: Bounds,
    /// Sites.
    pub sites: Vec<Site>,
    /// Buildings.
    pub buildings: Vec<Building>,
    /// Storeys, lowest first.
    pub storeys: Vec<Storey>,
    /// Spaces, by storey, then name.
    pub spaces: Vec<Space>,
    /// Elements, in the order of the file.
    pub elements: Vec<Element>,
    /// Where the model came from.
    pub source: Source,
}

/// Class of every sensor, for [`TwinModel::sensor_count`].
const SENSOR_CLASS: &str = "IfcSensor";

impl TwinModel {
    /// The unit of every length.
    pub const UNIT: &'static str = "m";

    /// The space with this id.
    pub fn space(&self, id: &str) -> Option<&Space> {
        self.spaces.iter().find(|space| &*space.id == id)
    }

    /// The storey with this id.
    pub fn storey(&self, id: &str) -> Option<&Storey> {
        self.storeys.iter().find(|storey| &*storey.id == id)
    }

    /// The element with this id.
    pub fn element(&self, id: &str) -> Option<&Element> {
        self.elements.iter().find(|element| &*element.id == id)
    }

    /// How many elements are sensors.
    pub fn sensor_count(&self) -> usize {
        self.elements.iter().filter(|element| element.class == SENSOR_CLASS).count()
    }

    /// Names of everything that can be bound to, by id.
    pub(crate) fn names(&self) -> BTreeMap<&GlobalId, &str> {
        let spaces = self.spaces.iter().map(|space| (&space.id, space.name.as_str()));
        let elements = self.elements.iter().map(|element| (&element.id, element.name.as_str()));
        spaces.chain(elements).collect()
    }
}

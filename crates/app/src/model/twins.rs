//! Twins: counts, models, graph questions.

use veritwin_domain::{SiteId, Timestamp};

/// Counts of a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TwinCounts {
    /// Storeys.
    pub storeys: usize,
    /// Spaces.
    pub spaces: usize,
    /// Elements.
    pub elements: usize,
    /// Sensors among the elements.
    pub sensors: usize,
    /// Devices bound to it.
    pub devices: usize,
}

/// A twin.
#[derive(Debug, Clone)]
pub struct TwinView {
    /// The twin.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// The IFC schema of its source.
    pub schema: String,
    /// SHA-256 of its source.
    pub source_sha256: [u8; 32],
    /// Size of its source, in bytes.
    pub source_bytes: u64,
    /// Counts.
    pub counts: TwinCounts,
    /// Whether its geometry was converted.
    pub has_geometry: bool,
    /// Alerts that are active or not acknowledged.
    pub active_alerts: usize,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What an import made.
#[derive(Debug, Clone)]
pub struct TwinOutcome {
    /// The twin.
    pub twin: TwinView,
    /// What was left out of the file, and why; bindings that were lost.
    pub warnings: Vec<String>,
}

/// A storey of a model.
#[derive(Debug, Clone)]
pub struct StoreyView {
    /// IFC GlobalId.
    pub id: String,
    /// Its name.
    pub name: String,
    /// 0 for the lowest.
    pub index: u32,
    /// Height of its floor, in metres.
    pub elevation_m: f64,
    /// To the next storey's floor, in metres.
    pub height_m: f64,
}

/// A space of a model.
#[derive(Debug, Clone)]
pub struct SpaceView {
    /// IFC GlobalId.
    pub id: String,
    /// Its name, usually the room number.
    pub name: String,
    /// What the room is for.
    pub long_name: String,
    /// Its storey.
    pub storey_id: String,
    /// Area in square metres.
    pub area_m2: f64,
    /// Height in metres.
    pub height_m: f64,
    /// Height of its floor, in metres.
    pub elevation_m: f64,
    /// Outline in metres, counter-clockwise, not closed.
    pub polygon: Vec<[f64; 2]>,
}

/// An element of a model.
#[derive(Debug, Clone)]
pub struct ElementView {
    /// IFC GlobalId.
    pub id: String,
    /// Its name.
    pub name: String,
    /// IFC class.
    pub class: String,
    /// Its storey.
    pub storey_id: Option<String>,
    /// The space it is in.
    pub space_id: Option<String>,
    /// Origin of its placement, metres, Z up.
    pub position: Option<[f64; 3]>,
}

/// The model of a twin.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// The twin.
    pub twin: SiteId,
    /// The project's name in the file.
    pub name: String,
    /// Least and greatest corner, in metres.
    pub bounds: [[f64; 3]; 2],
    /// Lowest first.
    pub storeys: Vec<StoreyView>,
    /// By storey, then name.
    pub spaces: Vec<SpaceView>,
    /// In the order of the file.
    pub elements: Vec<ElementView>,
}

/// Which relations of a twin's graph are wanted; everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct GraphQuery {
    /// An IFC GlobalId or a device id.
    pub subject: Option<String>,
    /// A Brick relation.
    pub relation: Option<String>,
    /// Class of the object.
    pub class: Option<String>,
}

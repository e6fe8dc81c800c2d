//! The stored form of a twin model: versioned, compact JSON with its own structs, so that a
//! renamed field of the model never changes what is on disk. Unknown versions are refused.

use serde::{Deserialize, Serialize};

use crate::model::{Bounds, Building, Element, GlobalId, Site, Source, Space, Storey, TwinModel};

/// Version of the stored form.
pub const WIRE_VERSION: u32 = 1;

/// Why bytes are not a stored model.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not JSON of the expected shape.
    #[error("stored twin model cannot be read: {0}")]
    Format(#[from] serde_json::Error),
    /// Written by another version.
    #[error("stored twin model has version {0}, this program reads version {WIRE_VERSION}")]
    Version(u32),
    /// A GlobalId inside is malformed, or refers to a storey that is not there.
    #[error("stored twin model is inconsistent: {0}")]
    Inconsistent(&'static str),
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// Storeys are referred to by index, so that a GlobalId is written once.
#[derive(Serialize, Deserialize)]
struct ModelWire {
    v: u32,
    name: String,
    scale: f64,
    min: [f64; 3],
    max: [f64; 3],
    schema: String,
    sha256: [u8; 32],
    bytes: u64,
    sites: Vec<(String, String)>,
    buildings: Vec<(String, String, Option<String>)>,
    storeys: Vec<(String, String, Option<String>, f64, f64)>,
    spaces: Vec<SpaceWire>,
    elements: Vec<ElementWire>,
    /// Classes and predefined types, each written once.
    words: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct SpaceWire {
    id: String,
    n: String,
    l: String,
    s: u32,
    a: f64,
    h: f64,
    z: f64,
    p: Vec<[f64; 2]>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    x: bool,
}

#[derive(Serialize, Deserialize)]
struct ElementWire {
    id: String,
    n: String,
    c: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<[f64; 3]>,
}

#[derive(Default)]
struct Words<'a> {
    list: Vec<String>,
    index: std::collections::HashMap<&'a str, u32>,
}

impl<'a> Words<'a> {
    fn intern(&mut self, word: &'a str) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        *self.index.entry(word).or_insert_with(|| {
            self.list.push(word.to_owned());
            next
        })
    }
}

fn position_of<'a>(
    ids: impl Iterator<Item = &'a GlobalId>,
) -> std::collections::HashMap<&'a str, u32> {
    ids.enumerate().map(|(at, id)| (&**id, u32::try_from(at).unwrap_or(u32::MAX))).collect()
}

impl TwinModel {
    /// The stored form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let storeys = position_of(self.storeys.iter().map(|storey| &storey.id));
        let spaces = position_of(self.spaces.iter().map(|space| &space.id));
        let mut words = Words::default();
        let elements = self
            .elements
            .iter()
            .map(|element| ElementWire {
                id: element.id.to_string(),
                n: element.name.clone(),
                c: words.intern(&element.class),
                t: (!element.predefined_type.is_empty())
                    .then(|| words.intern(&element.predefined_type)),
                s: element.storey_id.as_ref().and_then(|id| storeys.get(&**id).copied()),
                r: element.space_id.as_ref().and_then(|id| spaces.get(&**id).copied()),
                p: element.position,
            })
            .collect();
        let text = |id: &Option<GlobalId>| id.as_ref().map(ToString::to_string);
        let space_wires = self.spaces.iter().map(|space| {
            let storey = storeys.get(&*space.storey_id).copied();
            Ok(SpaceWire {
                id: space.id.to_string(),
                n: space.name.clone(),
                l: space.long_name.clone(),
                s: storey.ok_or(WireError::Inconsistent("a space is on no storey"))?,
                a: space.area_m2,
                h: space.height_m,
                z: space.elevation_m,
                p: space.polygon.clone(),
                x: space.approximate,
            })
        });
        let wire = ModelWire {
            v: WIRE_VERSION,
            name: self.name.clone(),
            scale: self.world_from_ifc_scale,
            min: self.bounds.min,
            max: self.bounds.max,
            schema: self.source.schema.clone(),
            sha256: self.source.sha256,
            bytes: self.source.bytes,
            sites: self.sites.iter().map(|site| (site.id.to_string(), site.name.clone())).collect(),
            buildings: self
                .buildings
                .iter()
                .map(|building| {
                    (building.id.to_string(), building.name.clone(), text(&building.site_id))
                })
                .collect(),
            storeys: self
                .storeys
                .iter()
                .map(|storey| {
                    let building = text(&storey.building_id);
                    let id = storey.id.to_string();
                    (id, storey.name.clone(), building, storey.elevation_m, storey.height_m)
                })
                .collect(),
            spaces: space_wires.collect::<Result<_, WireError>>()?,
            elements,
            words: words.list,
        };
        Ok(serde_json::to_vec(&wire)?)
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let VersionOnly { v } = serde_json::from_slice(bytes)?;
        if v != WIRE_VERSION {
            return Err(WireError::Version(v));
        }
        read(serde_json::from_slice(bytes)?)
    }
}

fn id(text: &str) -> Result<GlobalId, WireError> {
    GlobalId::new(text).map_err(|_| WireError::Inconsistent("a GlobalId is malformed"))
}

fn optional_id(text: Option<String>) -> Result<Option<GlobalId>, WireError> {
    text.map(|text| id(&text)).transpose()
}

fn at<'l, T>(list: &'l [T], index: u32, problem: &'static str) -> Result<&'l T, WireError> {
    list.get(index as usize).ok_or(WireError::Inconsistent(problem))
}

fn read(wire: ModelWire) -> Result<TwinModel, WireError> {
    let mut storeys = Vec::with_capacity(wire.storeys.len());
    for (index, (storey, name, building, elevation_m, height_m)) in
        wire.storeys.into_iter().enumerate()
    {
        storeys.push(Storey {
            id: id(&storey)?,
            name,
            building_id: optional_id(building)?,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            elevation_m,
            height_m,
        });
    }
    let mut spaces = Vec::with_capacity(wire.spaces.len());
    for space in wire.spaces {
        spaces.push(Space {
            id: id(&space.id)?,
            name: space.n,
            long_name: space.l,
            storey_id: at(&storeys, space.s, "a space is on no storey")?.id.clone(),
            area_m2: space.a,
            height_m: space.h,
            elevation_m: space.z,
            polygon: space.p,
            approximate: space.x,
        });
    }
    let mut elements = Vec::with_capacity(wire.elements.len());
    for element in wire.elements {
        let storey = element.s.map(|index| at(&storeys, index, "an element's storey is missing"));
        let space = element.r.map(|index| at(&spaces, index, "an element's space is missing"));
        let word = |index| at(&wire.words, index, "an element's class is missing").cloned();
        elements.push(Element {
            id: id(&element.id)?,
            name: element.n,
            class: word(element.c)?,
            predefined_type: element.t.map(word).transpose()?.unwrap_or_default(),
            storey_id: storey.transpose()?.map(|storey: &Storey| storey.id.clone()),
            space_id: space.transpose()?.map(|space: &Space| space.id.clone()),
            position: element.p,
        });
    }
    let sites = wire.sites.into_iter().map(|(site, name)| Ok(Site { id: id(&site)?, name }));
    let buildings = wire.buildings.into_iter().map(|(building, name, site)| {
        Ok(Building { id: id(&building)?, name, site_id: optional_id(site)? })
    });
    Ok(TwinModel {
        name: wire.name,
        unit: TwinModel::UNIT,
        world_from_ifc_scale: wire.scale,
        bounds: Bounds { min: wire.min, max: wire.max },
        sites: sites.collect::<Result<_, WireError>>()?,
        buildings: buildings.collect::<Result<_, WireError>>()?,
        storeys,
        spaces,
        elements,
        source: Source { schema: wire.schema, sha256: wire.sha256, bytes: wire.bytes },
    })
}

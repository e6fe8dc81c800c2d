//! Builds the model out of a scanned file: sites, buildings, storeys, spaces, elements, each with
//! its place. What has no place in the building is left out with a warning; what contradicts
//! itself refuses the file.

use std::collections::{BTreeMap, HashMap, HashSet};

use ifc_lite_core::IfcType;

use super::curve::CurveReader;
use super::error::{IfcError, IfcLimits};
use super::outline;
use super::placement::{Placements, Transform, scaled};
use super::relations::Relations;
use super::shape::ShapeReader;
use super::step::{Record, Step};
use super::units::Units;
use super::{Import, Warnings};
use crate::model::{Bounds, Building, Element, GlobalId, Site, Source, Space, Storey, TwinModel};

/// Height of the highest storey when it holds nothing that says more.
const STOREY_HEIGHT_M_DEFAULT: f64 = 3.0;
/// An element this far below a storey's floor still counts as on it (slabs, floor sensors).
const FLOOR_TOLERANCE_M: f64 = 0.5;

/// Farthest coordinate from the origin: beyond the Earth's size a unit must be wrong, and numbers
/// would stop being finite somewhere on the way to the screen.
const COORDINATE_M_MAX: f64 = 1e8;

/// A kind of spatial structure record and its place in the model.
#[derive(Debug, Clone, Copy)]
enum Place {
    Site(usize),
    Building(usize),
    Storey(usize),
    Space(usize),
}

/// Builds one model.
pub(super) struct Builder<'s, 'a> {
    step: &'s Step<'a>,
    relations: &'s Relations,
    units: Units,
    limits: &'s IfcLimits,
    placements: Placements<'s, 'a>,
    places: HashMap<u32, Place>,
    taken: HashSet<GlobalId>,
    warnings: Warnings,
    sites: Vec<Site>,
    buildings: Vec<Building>,
    storeys: Vec<Storey>,
    spaces: Vec<Space>,
    elements: Vec<Element>,
}

impl<'s, 'a> Builder<'s, 'a> {
    pub(super) fn new(
        step: &'s Step<'a>,
        relations: &'s Relations,
        units: Units,
        limits: &'s IfcLimits,
    ) -> Self {
        Self {
            step,
            relations,
            units,
            limits,
            placements: Placements::new(step, limits.depth_max),
            places: HashMap::new(),
            taken: HashSet::new(),
            warnings: Warnings::new(limits.warnings_max),
            sites: Vec::new(),
            buildings: Vec::new(),
            storeys: Vec::new(),
            spaces: Vec::new(),
            elements: Vec::new(),
        }
    }

    pub(super) fn build(mut self, project: &Record, source: Source) -> Result<Import, IfcError> {
        let name = self.name(project, 2);
        let name = if name.is_empty() { self.name(project, 5) } else { name };
        self.read_sites_and_buildings()?;
        self.read_storeys()?;
        self.read_spaces()?;
        self.read_elements()?;
        self.finish_storey_heights();
        self.sort_spaces();
        let corners = self.spaces.iter().flat_map(|space| {
            let (low, high) = (space.elevation_m, space.elevation_m + space.height_m);
            space.polygon.iter().flat_map(move |[x, y]| [[*x, *y, low], [*x, *y, high]])
        });
        let positions = self.elements.iter().filter_map(|element| element.position);
        let bounds = Bounds::around(corners.chain(positions))
            .unwrap_or(Bounds { min: [0.0; 3], max: [0.0; 3] });
        let model = TwinModel {
            name,
            unit: TwinModel::UNIT,
            world_from_ifc_scale: self.units.metres_per_unit,
            bounds,
            sites: self.sites,
            buildings: self.buildings,
            storeys: self.storeys,
            spaces: self.spaces,
            elements: self.elements,
            source,
        };
        Ok(Import { model, warnings: self.warnings.finish() })
    }

    fn read_sites_and_buildings(&mut self) -> Result<(), IfcError> {
        for id in self.step.of_class("IFCSITE") {
            let record = self.step.get(*id)?;
            let site = Site { id: self.global_id(&record)?, name: self.name(&record, 2) };
            self.places.insert(*id, Place::Site(self.sites.len()));
            self.sites.push(site);
        }
        for id in self.step.of_class("IFCBUILDING") {
            let record = self.step.get(*id)?;
            let site_id = self.above(*id, |builder, place| match place {
                Place::Site(at) => Some(builder.sites[at].id.clone()),
                _ => None,
            });
            let name = self.name(&record, 2);
            let building = Building { id: self.global_id(&record)?, name, site_id };
            self.places.insert(*id, Place::Building(self.buildings.len()));
            self.buildings.push(building);
        }
        Ok(())
    }

    fn read_storeys(&mut self) -> Result<(), IfcError> {
        let ids = self.step.of_class("IFCBUILDINGSTOREY");
        if ids.is_empty() {
            return Err(IfcError::Missing {
                missing: "IfcBuildingStorey",
                expected: "a building needs at least one storey; export the spatial structure too",
            });
        }
        self.bound("storeys_max", self.limits.storeys_max, ids.len())?;
        let mut found = Vec::new();
        for id in ids {
            let record = self.step.get(*id)?;
            let declared = record.number(9).unwrap_or(0.0) * self.units.metres_per_unit;
            let elevation_m = match self.placement(&record)? {
                Some(at) => self.metres(at.origin())[2],
                None => declared,
            };
            check_near(&record, [elevation_m])?;
            let building_id = self.above(*id, |builder, place| match place {
                Place::Building(at) => Some(builder.buildings[at].id.clone()),
                _ => None,
            });
            let (name, long_name) = (self.name(&record, 2), self.name(&record, 7));
            let name = if name.is_empty() { long_name } else { name };
            let storey = Storey {
                id: self.global_id(&record)?,
                name,
                building_id,
                index: 0,
                elevation_m,
                height_m: 0.0,
            };
            found.push((*id, storey));
        }
        found.sort_by(|a, b| a.1.elevation_m.total_cmp(&b.1.elevation_m));
        for (index, (id, mut storey)) in found.into_iter().enumerate() {
            storey.index = u32::try_from(index).unwrap_or(u32::MAX);
            self.places.insert(id, Place::Storey(index));
            self.storeys.push(storey);
        }
        Ok(())
    }

    fn read_spaces(&mut self) -> Result<(), IfcError> {
        let ids = self.step.of_class("IFCSPACE");
        self.bound("spaces_max", self.limits.spaces_max, ids.len())?;
        let mut without_shape = Vec::new();
        let mut approximate = Vec::new();
        for id in ids {
            let record = self.step.get(*id)?;
            let space = self.space(&record)?;
            if space.polygon.is_empty() {
                without_shape.push(space.name.clone());
            } else if space.approximate {
                approximate.push(space.name.clone());
            }
            self.places.insert(*id, Place::Space(self.spaces.len()));
            self.spaces.push(space);
        }
        self.warn_of_shapes(&without_shape, "have no shape that can be read and are listed only");
        self.warn_of_shapes(&approximate, "are drawn approximately");
        Ok(())
    }

    fn space(&mut self, record: &Record) -> Result<Space, IfcError> {
        let at = match record.reference(5) {
            None => Some(Transform::IDENTITY),
            Some(_) => self.placement(record)?,
        };
        let shape = match &at {
            Some(at) => self.shapes().space(record, at)?,
            None => None,
        };
        let elevation_m = match (&shape, &at) {
            (Some(shape), _) => shape.elevation_m,
            (None, Some(at)) => self.metres(at.origin())[2],
            (None, None) => 0.0,
        };
        let storey = self.above(record.id(), |_, place| match place {
            Place::Storey(storey) => Some(storey),
            _ => None,
        });
        let name = self.name(record, 2);
        let storey = storey.unwrap_or_else(|| {
            self.warnings.push(format!(
                "space #{} {name:?} is on no storey; put on the one at its height",
                record.id()
            ));
            self.storey_at(elevation_m)
        });
        let outline = shape.as_ref().map(|shape| &shape.outline);
        let corners = outline.iter().flat_map(|outline| outline.polygon.iter().flatten());
        let height_m = shape.as_ref().map_or(0.0, |shape| shape.height_m);
        check_near(record, corners.copied().chain([elevation_m, height_m]))?;
        Ok(Space {
            id: self.global_id(record)?,
            name,
            long_name: self.name(record, 7),
            storey_id: self.storeys[storey].id.clone(),
            area_m2: outline.map_or(0.0, |outline| outline.area_m2),
            height_m,
            elevation_m,
            polygon: outline.map(|outline| outline.polygon.clone()).unwrap_or_default(),
            approximate: outline.is_some_and(|outline| outline.approximate),
        })
    }

    fn read_elements(&mut self) -> Result<(), IfcError> {
        let spaces_by_storey = self.spaces_by_storey();
        let mut types = BTreeMap::new();
        let mut nowhere = 0usize;
        for id in self.step.elements() {
            let record = self.step.get(*id)?;
            let id = match self.unique_id(&record)? {
                Some(id) => id,
                None => continue,
            };
            let position = self.placement(&record)?.map(|at| self.metres(at.origin()));
            let (storey, space) = self.place_of(&record, position, &spaces_by_storey);
            if storey.is_none() && space.is_none() && !self.is_placed(record.id()) {
                nowhere += 1;
            }
            check_near(&record, position.into_iter().flatten())?;
            let class = self.class_of(&record, &mut types)?;
            let name = self.name(&record, 2);
            self.elements.push(Element {
                id,
                name,
                class,
                predefined_type: record
                    .first_enumeration(8)
                    .filter(|text| !matches!(*text, "NOTDEFINED" | "T" | "F" | "U"))
                    .unwrap_or_default()
                    .to_owned(),
                storey_id: storey.map(|storey| self.storeys[storey].id.clone()),
                space_id: space.map(|space| self.spaces[space].id.clone()),
                position,
            });
        }
        if nowhere > 0 {
            self.warnings.push(format!("{nowhere} elements are contained in no storey or space"));
        }
        Ok(())
    }

    /// Storey and space of an element: what the file says, then what the space boundary says,
    /// then, for equipment and furniture, the outline that its position falls into.
    fn place_of(
        &self,
        record: &Record,
        position: Option<[f64; 3]>,
        spaces_by_storey: &HashMap<GlobalId, Vec<usize>>,
    ) -> (Option<usize>, Option<usize>) {
        let space = self.above(record.id(), |_, place| match place {
            Place::Space(space) => Some(space),
            _ => None,
        });
        let mut storey = self.above(record.id(), |builder, place| match place {
            Place::Storey(storey) => Some(storey),
            Place::Space(space) => builder.storey_index(&builder.spaces[space].storey_id),
            _ => None,
        });
        if storey.is_none()
            && let Some(Place::Space(bounded)) =
                self.relations.bounded_space_of.get(&record.id()).and_then(|id| self.places.get(id))
        {
            storey = self.storey_index(&self.spaces[*bounded].storey_id);
        }
        let movable = record.class().is_subtype_of(IfcType::IfcDistributionElement)
            || record.class().is_subtype_of(IfcType::IfcFurnishingElement);
        if let (None, true, Some(storey), Some(position)) = (space, movable, storey, position) {
            let candidates = spaces_by_storey.get(&self.storeys[storey].id);
            let inside = candidates.into_iter().flatten().copied().find(|at| {
                let space = &self.spaces[*at];
                position[2] > space.elevation_m - FLOOR_TOLERANCE_M
                    && position[2] < space.elevation_m + space.height_m + FLOOR_TOLERANCE_M
                    && outline::contains(&space.polygon, [position[0], position[1]])
            });
            return (Some(storey), inside);
        }
        (storey, space)
    }

    /// The class of an element; generic occurrences of IFC2X3 (`IfcFlowTerminal`) take their
    /// type's (`IfcAirTerminalType` makes an `IfcAirTerminal`).
    fn class_of(
        &self,
        record: &Record,
        types: &mut BTreeMap<u32, String>,
    ) -> Result<String, IfcError> {
        let own = record.class_name();
        let is_generic = matches!(
            own,
            "IfcDistributionElement"
                | "IfcDistributionControlElement"
                | "IfcDistributionFlowElement"
        ) || own.starts_with("IfcFlow")
            || own == "IfcEnergyConversionDevice";
        let type_id = self.relations.type_of.get(&record.id()).filter(|_| is_generic);
        let Some(type_id) = type_id else { return Ok(own.to_owned()) };
        if let Some(known) = types.get(type_id) {
            return Ok(known.clone());
        }
        let of_type = self.step.follow(record, *type_id)?;
        let is_specific = of_type.class().is_subtype_of(IfcType::IfcDistributionElementType);
        let class = of_type.class_name().strip_suffix("Type").filter(|_| is_specific);
        let class = class.unwrap_or(own).to_owned();
        types.insert(*type_id, class.clone());
        Ok(class)
    }

    /// Walks up from record `id` to the first place that `wanted` accepts.
    fn above<T>(&self, id: u32, wanted: impl Fn(&Self, Place) -> Option<T>) -> Option<T> {
        let mut at = id;
        for _ in 0..self.limits.depth_max {
            let container = self.relations.container_of.get(&at);
            at = *container.or_else(|| self.relations.whole_of.get(&at))?;
            if let Some(found) = self.places.get(&at).and_then(|place| wanted(self, *place)) {
                return Some(found);
            }
        }
        None
    }

    /// Whether an element belongs to a site or building as a whole.
    fn is_placed(&self, id: u32) -> bool {
        self.above(id, |_, place| {
            matches!(place, Place::Site(_) | Place::Building(_)).then_some(())
        })
        .is_some()
    }

    fn storey_index(&self, id: &GlobalId) -> Option<usize> {
        self.storeys.iter().position(|storey| storey.id == *id)
    }

    /// The highest storey whose floor is not above `elevation_m`.
    fn storey_at(&self, elevation_m: f64) -> usize {
        let reached = |storey: &Storey| storey.elevation_m <= elevation_m + FLOOR_TOLERANCE_M;
        self.storeys.iter().rposition(reached).unwrap_or(0)
    }

    fn spaces_by_storey(&self) -> HashMap<GlobalId, Vec<usize>> {
        let mut by_storey: HashMap<GlobalId, Vec<usize>> = HashMap::new();
        for (at, space) in self.spaces.iter().enumerate() {
            by_storey.entry(space.storey_id.clone()).or_default().push(at);
        }
        by_storey
    }

    fn finish_storey_heights(&mut self) {
        let next: Vec<Option<f64>> = (0..self.storeys.len())
            .map(|at| self.storeys.get(at + 1).map(|storey| storey.elevation_m))
            .collect();
        let mut tops: HashMap<&GlobalId, f64> = HashMap::new();
        for space in &self.spaces {
            let top = tops.entry(&space.storey_id).or_insert(f64::MIN);
            *top = top.max(space.elevation_m + space.height_m);
        }
        for (storey, next) in self.storeys.iter_mut().zip(next) {
            let top = next.or_else(|| tops.get(&storey.id).copied());
            let height = top.map(|top| top - storey.elevation_m).filter(|height| *height > 0.01);
            storey.height_m = height.unwrap_or(STOREY_HEIGHT_M_DEFAULT);
        }
    }

    fn sort_spaces(&mut self) {
        let order: HashMap<GlobalId, u32> =
            self.storeys.iter().map(|storey| (storey.id.clone(), storey.index)).collect();
        self.spaces.sort_by(|a, b| {
            let index = |space: &Space| order.get(&space.storey_id).copied();
            index(a).cmp(&index(b)).then_with(|| (&a.name, &a.id).cmp(&(&b.name, &b.id)))
        });
    }

    fn shapes(&self) -> ShapeReader<'s, 'a> {
        ShapeReader {
            curves: CurveReader {
                step: self.step,
                radians_per_angle_unit: self.units.radians_per_angle_unit,
                points_max: self.limits.polygon_points_max,
                depth_max: self.limits.depth_max.min(16),
            },
            metres_per_unit: self.units.metres_per_unit,
        }
    }

    fn placement(&mut self, record: &Record) -> Result<Option<Transform>, IfcError> {
        match record.reference(5) {
            Some(id) => self.placements.resolve(record, id),
            None => Ok(None),
        }
    }

    fn metres(&self, point: [f64; 3]) -> [f64; 3] {
        scaled(point, self.units.metres_per_unit)
    }

    fn bound(&self, name: &'static str, max: usize, actual: usize) -> Result<(), IfcError> {
        if actual <= max {
            return Ok(());
        }
        Err(IfcError::Limit { name, max: max as u64, actual: actual as u64 })
    }

    fn global_id(&mut self, record: &Record) -> Result<GlobalId, IfcError> {
        self.unique_id(record)?.ok_or_else(|| {
            record.problem("its GlobalId is already used by another record; it must be unique")
        })
    }

    /// The GlobalId, or none when it is already taken; warned of, since some tools copy elements
    /// with their ids.
    fn unique_id(&mut self, record: &Record) -> Result<Option<GlobalId>, IfcError> {
        let id = GlobalId::new(record.text(0).unwrap_or_default())
            .map_err(|error| record.problem(error.to_string()))?;
        if self.taken.insert(id.clone()) {
            return Ok(Some(id));
        }
        self.warnings.push(format!(
            "{} #{} repeats the GlobalId {id} and is left out",
            record.class_name(),
            record.id()
        ));
        Ok(None)
    }

    /// The text of an attribute, without control characters, cut at the bound.
    fn name(&mut self, record: &Record, index: usize) -> String {
        let text = record.text(index).unwrap_or_default();
        let clean: String = text.chars().filter(|c| !veritwin_domain::is_unseen(*c)).collect();
        let mut name = clean.trim().to_owned();
        if name.len() > self.limits.name_bytes_max {
            let cut = name.floor_char_boundary(self.limits.name_bytes_max);
            name.truncate(cut);
            self.warnings.push(format!(
                "a name of {} #{} is longer than {} bytes and was cut",
                record.class_name(),
                record.id(),
                self.limits.name_bytes_max
            ));
        }
        name
    }

    fn warn_of_shapes(&mut self, names: &[String], what: &str) {
        const LISTED_MAX: usize = 5;
        if names.is_empty() {
            return;
        }
        let listed = names.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let dots = if names.len() > LISTED_MAX { ", ..." } else { "" };
        self.warnings.push(format!("{} spaces {what}: {listed}{dots}", names.len()));
    }
}

fn check_near(record: &Record, coordinates: impl IntoIterator<Item = f64>) -> Result<(), IfcError> {
    // Written so that NaN is far too.
    if coordinates.into_iter().all(|coordinate| coordinate.abs() <= COORDINATE_M_MAX) {
        return Ok(());
    }
    let max_km = COORDINATE_M_MAX / 1000.0;
    Err(record.problem(format!("lies more than {max_km} km from the origin: check its units")))
}

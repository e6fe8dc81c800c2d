//! The outline, height and floor level of a space from its representations: extrusions first,
//! then faces of a body, then a foot print, then a bounding box. A shape it cannot read gives
//! none; only a broken reference or a passed bound refuses the file.

use ifc_lite_core::{AttributeValue, IfcType};

use super::curve::{CurveReader, coordinate_list};
use super::error::IfcError;
use super::outline::{self, Outline};
use super::placement::{self, Transform, Vec3, add, scaled};
use super::profile;
use super::step::Record;

/// Most faces of one body.
const FACES_MAX: usize = 20_000;
/// Most items of one representation.
const ITEMS_MAX: usize = 1_000;

/// What is known of the shape of a space, in metres.
pub(super) struct SpaceShape {
    pub(super) outline: Outline,
    pub(super) elevation_m: f64,
    pub(super) height_m: f64,
}

/// Reads shapes.
pub(super) struct ShapeReader<'s, 'a> {
    pub(super) curves: CurveReader<'s, 'a>,
    /// `world_from_ifc`: metres per unit of length.
    pub(super) metres_per_unit: f64,
}

/// Faces gathered from the items of a body, already in metres.
#[derive(Default)]
struct Body {
    faces: Vec<Vec<Vec3>>,
    /// Outlines of upright extrusions, which keep their holes.
    prisms: Vec<Outline>,
    /// How many solids, shells and face sets the faces come from.
    parts: usize,
    /// Something was left out.
    partial: bool,
}

impl ShapeReader<'_, '_> {
    /// The shape of `space`, whose placement is `ifc_from_space`.
    pub(super) fn space(
        &self,
        space: &Record,
        ifc_from_space: &Transform,
    ) -> Result<Option<SpaceShape>, IfcError> {
        let Some(definition) = space.reference(6) else { return Ok(None) };
        let definition = self.curves.step.follow(space, definition)?;
        let mut body = Body::default();
        let mut foot_print = None;
        for id in definition.references(2).into_iter().take(ITEMS_MAX) {
            let representation = self.curves.step.follow(&definition, id)?;
            let name = representation.text(1).unwrap_or_default().to_ascii_lowercase();
            match name.as_str() {
                "footprint" => foot_print = self.foot_print(&representation, ifc_from_space)?,
                "axis" | "profile" | "clearance" | "lighting" | "cog" | "annotation" => {}
                "box" if !body.faces.is_empty() => {}
                _ => self.items(&representation, ifc_from_space, &mut body, 0)?,
            }
        }
        let Some([low, high]) = outline::z_range(&body.faces) else {
            return Ok(foot_print.map(|(outline, elevation_m)| SpaceShape {
                outline,
                elevation_m,
                height_m: 0.0,
            }));
        };
        let from_body = match &body.prisms[..] {
            [only] if body.parts == 1 => Some(only.clone()),
            _ => outline::from_faces(&body.faces),
        };
        let exact = from_body.as_ref().is_some_and(|outline| !outline.approximate);
        let outline = if exact { from_body } else { foot_print.map(|(o, _)| o).or(from_body) };
        Ok(outline.map(|mut outline| {
            outline.approximate |= body.partial;
            if outline.polygon.len() > self.curves.points_max {
                let corners = outline.polygon.iter().map(|p| [p[0], p[1], low]);
                outline = outline::bounding_rectangle(corners).unwrap_or(outline.clone());
            }
            SpaceShape { outline, elevation_m: low, height_m: high - low }
        }))
    }

    fn foot_print(
        &self,
        representation: &Record,
        ifc_from_item: &Transform,
    ) -> Result<Option<(Outline, f64)>, IfcError> {
        let mut curves = Vec::new();
        for id in representation.references(3).into_iter().take(ITEMS_MAX) {
            let item = self.curves.step.follow(representation, id)?;
            match item.class() {
                IfcType::IfcGeometricCurveSet | IfcType::IfcGeometricSet => {
                    for element in item.references(0).into_iter().take(ITEMS_MAX) {
                        curves.extend(self.curves.points(&item, element)?);
                    }
                }
                _ => curves.extend(self.curves.points(representation, id)?),
            }
        }
        let loops = curves.iter().map(|points| self.to_world(points, ifc_from_item));
        let outlines =
            loops.filter_map(|points| Some((outline::from_loops(&points, &[])?, points[0][2])));
        Ok(outlines.max_by(|a, b| a.0.area_m2.total_cmp(&b.0.area_m2)))
    }

    fn to_world(&self, points: &[Vec3], ifc_from_item: &Transform) -> Vec<Vec3> {
        points.iter().map(|p| scaled(ifc_from_item.point(*p), self.metres_per_unit)).collect()
    }

    fn items(
        &self,
        representation: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
        depth: usize,
    ) -> Result<(), IfcError> {
        for id in representation.references(3).into_iter().take(ITEMS_MAX) {
            self.item(representation, id, ifc_from_item, body, depth)?;
        }
        Ok(())
    }

    fn item(
        &self,
        from: &Record,
        id: u32,
        ifc_from_item: &Transform,
        body: &mut Body,
        depth: usize,
    ) -> Result<(), IfcError> {
        if depth > self.curves.depth_max || body.faces.len() > FACES_MAX {
            body.partial = true;
            return Ok(());
        }
        let item = self.curves.step.follow(from, id)?;
        body.parts += usize::from(is_part(item.class()));
        match item.class() {
            IfcType::IfcExtrudedAreaSolid | IfcType::IfcExtrudedAreaSolidTapered => {
                self.extrusion(&item, ifc_from_item, body)
            }
            IfcType::IfcBooleanResult | IfcType::IfcBooleanClippingResult => {
                // What is cut off is left in: the outline is right or somewhat too large.
                body.partial = true;
                self.inner(&item, 1, ifc_from_item, body, depth)
            }
            IfcType::IfcCsgSolid => self.inner(&item, 0, ifc_from_item, body, depth),
            IfcType::IfcMappedItem => self.mapped(&item, ifc_from_item, body, depth),
            IfcType::IfcFacetedBrep
            | IfcType::IfcFacetedBrepWithVoids
            | IfcType::IfcAdvancedBrep
            | IfcType::IfcManifoldSolidBrep => self.inner(&item, 0, ifc_from_item, body, depth),
            IfcType::IfcFaceBasedSurfaceModel | IfcType::IfcShellBasedSurfaceModel => {
                for shell in item.references(0).into_iter().take(ITEMS_MAX) {
                    self.item(&item, shell, ifc_from_item, body, depth + 1)?;
                }
                Ok(())
            }
            IfcType::IfcClosedShell | IfcType::IfcOpenShell | IfcType::IfcConnectedFaceSet => {
                self.shell(&item, ifc_from_item, body)
            }
            IfcType::IfcPolygonalFaceSet => self.polygonal(&item, ifc_from_item, body),
            IfcType::IfcTriangulatedFaceSet => self.triangulated(&item, ifc_from_item, body),
            IfcType::IfcBoundingBox => self.bounding_box(&item, ifc_from_item, body),
            _ => {
                body.partial = true;
                Ok(())
            }
        }
    }

    fn inner(
        &self,
        item: &Record,
        index: usize,
        ifc_from_item: &Transform,
        body: &mut Body,
        depth: usize,
    ) -> Result<(), IfcError> {
        match item.reference(index) {
            Some(id) => self.item(item, id, ifc_from_item, body, depth + 1),
            None => Ok(()),
        }
    }

    fn mapped(
        &self,
        item: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
        depth: usize,
    ) -> Result<(), IfcError> {
        let (Some(source), Some(target)) = (item.reference(0), item.reference(1)) else {
            return Ok(());
        };
        let map = self.curves.step.follow(item, source)?;
        let target = placement::operator(self.curves.step, item, target)?;
        let origin = match map.reference(0) {
            Some(id) => placement::axis_placement(self.curves.step, &map, id)?,
            None => None,
        };
        let Some(mapped) = map.reference(1) else { return Ok(()) };
        let mapped = self.curves.step.follow(&map, mapped)?;
        let item_from_mapped = target.then_inner(&origin.unwrap_or(Transform::IDENTITY));
        self.items(&mapped, &ifc_from_item.then_inner(&item_from_mapped), body, depth + 1)
    }

    fn extrusion(
        &self,
        solid: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
    ) -> Result<(), IfcError> {
        let (Some(area), Some(direction), Some(depth)) =
            (solid.reference(0), solid.reference(2), solid.number(3))
        else {
            body.partial = true;
            return Ok(());
        };
        let Some(profile) = profile::read(&self.curves, solid, area, 0)? else {
            body.partial = true;
            return Ok(());
        };
        let position = match solid.reference(1) {
            Some(id) => placement::axis_placement(self.curves.step, solid, id)?,
            None => None,
        };
        let at = ifc_from_item.then_inner(&position.unwrap_or(Transform::IDENTITY));
        let direction = placement::coordinates(self.curves.step, solid, direction)?;
        let Some(direction) = placement::unit(direction) else { return Ok(()) };
        let sweep = scaled(at.direction(scaled(direction, depth)), self.metres_per_unit);
        let base = self.to_world(&open(&profile.outer), &at);
        if base.len() < 3 {
            body.partial = true;
            return Ok(());
        }
        let holes: Vec<_> = profile.holes.iter().map(|hole| self.to_world(hole, &at)).collect();
        let upright = sweep[0].hypot(sweep[1]) < 1e-3 * sweep[2].abs();
        if upright && let Some(outline) = outline::from_loops(&base, &holes) {
            body.prisms.push(outline);
        }
        let top: Vec<Vec3> = base.iter().map(|point| add(*point, sweep)).collect();
        push_prism(base, top, &holes, sweep, body);
        Ok(())
    }

    fn shell(
        &self,
        shell: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
    ) -> Result<(), IfcError> {
        for id in shell.references(0) {
            if body.faces.len() > FACES_MAX {
                body.partial = true;
                break;
            }
            let face = self.curves.step.follow(shell, id)?;
            for bound in face.references(0).into_iter().take(ITEMS_MAX) {
                let bound = self.curves.step.follow(&face, bound)?;
                let Some(points) = self.face_loop(&bound)? else {
                    body.partial = true;
                    continue;
                };
                body.faces.push(self.to_world(&points, ifc_from_item));
            }
        }
        Ok(())
    }

    fn face_loop(&self, bound: &Record) -> Result<Option<Vec<Vec3>>, IfcError> {
        let Some(id) = bound.reference(0) else { return Ok(None) };
        let step = self.curves.step;
        let face_loop = step.follow(bound, id)?;
        let ids = face_loop.references(0);
        if ids.len() > self.curves.points_max {
            return Ok(None);
        }
        match face_loop.class() {
            IfcType::IfcPolyLoop => {
                let points = ids.into_iter().map(|id| placement::coordinates(step, &face_loop, id));
                points.collect::<Result<_, _>>().map(Some)
            }
            IfcType::IfcEdgeLoop => {
                let vertices = ids.into_iter().map(|id| self.edge_start(&face_loop, id));
                vertices.collect::<Result<_, _>>()
            }
            _ => Ok(None),
        }
    }

    /// Where an oriented edge starts; edges are taken as straight.
    fn edge_start(&self, face_loop: &Record, id: u32) -> Result<Option<Vec3>, IfcError> {
        let step = self.curves.step;
        let oriented = step.follow(face_loop, id)?;
        let Some(edge) = oriented.reference(2) else { return Ok(None) };
        let edge = step.follow(&oriented, edge)?;
        let reversed = oriented.enumeration(3) == Some("F");
        let Some(vertex) = edge.reference(usize::from(reversed)) else { return Ok(None) };
        let vertex = step.follow(&edge, vertex)?;
        let Some(point) = vertex.reference(0) else { return Ok(None) };
        placement::coordinates(step, &vertex, point).map(Some)
    }

    fn polygonal(
        &self,
        set: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
    ) -> Result<(), IfcError> {
        let Some(vertices) = self.vertices(set, ifc_from_item)? else { return Ok(()) };
        let renumbered = set.get(3).and_then(AttributeValue::as_list);
        for id in set.references(2).into_iter().take(FACES_MAX) {
            let face = self.curves.step.follow(set, id)?;
            let indices = face.get(0).and_then(AttributeValue::as_list).unwrap_or_default();
            push_face(indices, renumbered, &vertices, body);
        }
        Ok(())
    }

    fn triangulated(
        &self,
        set: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
    ) -> Result<(), IfcError> {
        let Some(vertices) = self.vertices(set, ifc_from_item)? else { return Ok(()) };
        let renumbered = set.get(4).and_then(AttributeValue::as_list);
        let faces = set.get(3).and_then(AttributeValue::as_list).unwrap_or_default();
        for face in faces.iter().take(FACES_MAX) {
            push_face(face.as_list().unwrap_or_default(), renumbered, &vertices, body);
        }
        Ok(())
    }

    fn vertices(
        &self,
        set: &Record,
        ifc_from_item: &Transform,
    ) -> Result<Option<Vec<Vec3>>, IfcError> {
        let Some(list) = set.reference(0) else { return Ok(None) };
        let points = coordinate_list(&self.curves.step.follow(set, list)?);
        Ok(points.map(|points| self.to_world(&points, ifc_from_item)))
    }

    fn bounding_box(
        &self,
        item: &Record,
        ifc_from_item: &Transform,
        body: &mut Body,
    ) -> Result<(), IfcError> {
        let Some(corner) = item.reference(0) else { return Ok(()) };
        let corner = placement::coordinates(self.curves.step, item, corner)?;
        let sizes = [item.number(1), item.number(2), item.number(3)].map(Option::unwrap_or_default);
        let base = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        let points = base.map(|[x, y]| add(corner, [x * sizes[0], y * sizes[1], 0.0]));
        let base = self.to_world(&points, ifc_from_item);
        let up = ifc_from_item.direction([0.0, 0.0, sizes[2]]);
        let sweep = scaled(up, self.metres_per_unit);
        let top = base.iter().map(|point| add(*point, sweep)).collect();
        push_prism(base, top, &[], sweep, body);
        body.partial = true;
        Ok(())
    }
}

/// Whether an item is itself a body rather than a wrapper around one.
fn is_part(class: &IfcType) -> bool {
    !matches!(
        class,
        IfcType::IfcBooleanResult
            | IfcType::IfcBooleanClippingResult
            | IfcType::IfcCsgSolid
            | IfcType::IfcMappedItem
            | IfcType::IfcFacetedBrep
            | IfcType::IfcAdvancedBrep
            | IfcType::IfcFaceBasedSurfaceModel
            | IfcType::IfcShellBasedSurfaceModel
    )
}

/// Without the repeated last point.
fn open(points: &[Vec3]) -> Vec<Vec3> {
    match points {
        [first, .., last] if first == last => points[..points.len() - 1].to_vec(),
        _ => points.to_vec(),
    }
}

/// Adds the faces of a prism: its base, its top and one side per edge.
fn push_prism(base: Vec<Vec3>, top: Vec<Vec3>, holes: &[Vec<Vec3>], sweep: Vec3, body: &mut Body) {
    let count = base.len();
    for i in 0..count {
        let next = (i + 1) % count;
        body.faces.push(vec![base[i], base[next], top[next], top[i]]);
    }
    for hole in holes {
        body.faces.push(hole.clone());
        body.faces.push(hole.iter().map(|point| add(*point, sweep)).collect());
    }
    body.faces.push(base);
    body.faces.push(top);
}

fn push_face(
    indices: &[AttributeValue],
    renumbered: Option<&[AttributeValue]>,
    vertices: &[Vec3],
    body: &mut Body,
) {
    let vertex = |index: &AttributeValue| {
        let index = index.as_ifc_index()? as usize;
        let index = match renumbered {
            Some(list) => list.get(index)?.as_ifc_index()? as usize,
            None => index,
        };
        vertices.get(index).copied()
    };
    match indices.iter().map(vertex).collect::<Option<Vec<_>>>() {
        Some(face) if face.len() >= 3 => body.faces.push(face),
        _ => body.partial = true,
    }
}

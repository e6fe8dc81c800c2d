//! Plane curves as polylines in the units of the file: polylines, indexed poly-curves, composite
//! curves, trimmed lines and circles, whole circles and ellipses. Other curves give none, and the
//! caller falls back to something rougher.

use std::f64::consts::TAU;

use ifc_lite_core::{AttributeValue, IfcType};

use super::error::IfcError;
use super::placement::{self, Transform, Vec3, add, scaled};
use super::step::{Record, Step, finite};

/// Straight pieces in a full turn.
const TURN_SEGMENTS: f64 = 48.0;

/// What curves need to be read.
#[derive(Clone, Copy)]
pub(super) struct CurveReader<'s, 'a> {
    pub(super) step: &'s Step<'a>,
    pub(super) radians_per_angle_unit: f64,
    pub(super) points_max: usize,
    pub(super) depth_max: usize,
}

impl CurveReader<'_, '_> {
    /// The points along curve `id`.
    pub(super) fn points(&self, from: &Record, id: u32) -> Result<Option<Vec<Vec3>>, IfcError> {
        self.at_depth(from, id, 0)
    }

    fn at_depth(
        &self,
        from: &Record,
        id: u32,
        depth: usize,
    ) -> Result<Option<Vec<Vec3>>, IfcError> {
        if depth > self.depth_max {
            return Ok(None);
        }
        let curve = self.step.follow(from, id)?;
        let points = match curve.class() {
            IfcType::IfcPolyline => self.polyline(&curve)?,
            IfcType::IfcIndexedPolyCurve => self.indexed(&curve)?,
            IfcType::IfcCompositeCurve | IfcType::Ifc2DCompositeCurve => {
                self.composite(&curve, depth)?
            }
            IfcType::IfcTrimmedCurve => self.trimmed(&curve)?,
            IfcType::IfcCircle | IfcType::IfcEllipse => {
                self.conic(&curve)?.map(|conic| conic.arc(0.0, TAU))
            }
            _ => None,
        };
        Ok(points.filter(|points| points.len() <= self.points_max))
    }

    fn polyline(&self, curve: &Record) -> Result<Option<Vec<Vec3>>, IfcError> {
        let ids = curve.references(0);
        if ids.len() > self.points_max {
            return Ok(None);
        }
        let points = ids.into_iter().map(|id| placement::coordinates(self.step, curve, id));
        points.collect::<Result<Vec<_>, _>>().map(Some)
    }

    fn indexed(&self, curve: &Record) -> Result<Option<Vec<Vec3>>, IfcError> {
        let Some(list) = curve.reference(0) else { return Ok(None) };
        let Some(vertices) = coordinate_list(&self.step.follow(curve, list)?) else {
            return Ok(None);
        };
        let Some(segments) = curve.get(1).and_then(AttributeValue::as_list) else {
            return Ok(Some(vertices));
        };
        let mut points: Vec<Vec3> = Vec::new();
        for segment in segments {
            let AttributeValue::Typed { name, value } = segment else { return Ok(None) };
            let indices = value.as_list().unwrap_or_default();
            let corners: Option<Vec<Vec3>> = indices
                .iter()
                .map(|index| vertices.get(index.as_ifc_index()? as usize).copied())
                .collect();
            let Some(corners) = corners else { return Ok(None) };
            match (&**name, &corners[..]) {
                ("IFCARCINDEX", [a, b, c]) => points.extend(arc_through(*a, *b, *c)),
                _ => points.extend(corners),
            }
            if points.len() > self.points_max {
                return Ok(None);
            }
        }
        points.dedup();
        Ok(Some(points))
    }

    fn composite(&self, curve: &Record, depth: usize) -> Result<Option<Vec<Vec3>>, IfcError> {
        let mut points: Vec<Vec3> = Vec::new();
        for id in curve.references(0) {
            let segment = self.step.follow(curve, id)?;
            let Some(parent) = segment.reference(2) else { return Ok(None) };
            let Some(mut piece) = self.at_depth(&segment, parent, depth + 1)? else {
                return Ok(None);
            };
            if segment.enumeration(1) == Some("F") {
                piece.reverse();
            }
            points.extend(piece);
            if points.len() > self.points_max {
                return Ok(None);
            }
        }
        Ok(Some(points))
    }

    fn trimmed(&self, curve: &Record) -> Result<Option<Vec<Vec3>>, IfcError> {
        let Some(basis) = curve.reference(0) else { return Ok(None) };
        let basis = self.step.follow(curve, basis)?;
        let forward = curve.enumeration(3) != Some("F");
        let ends = [self.trim(curve, 1)?, self.trim(curve, 2)?];
        match basis.class() {
            IfcType::IfcLine => {
                let line = self.line(&basis)?;
                Ok(line.and_then(|line| line.piece(&ends)))
            }
            IfcType::IfcCircle | IfcType::IfcEllipse => {
                let Some(conic) = self.conic(&basis)? else { return Ok(None) };
                let angle = |trim: &Trim| match (trim.point, trim.parameter) {
                    (Some(point), _) => Some(conic.angle_of(point)),
                    (None, Some(parameter)) => Some(parameter * self.radians_per_angle_unit),
                    (None, None) => None,
                };
                let (Some(start), Some(end)) = (angle(&ends[0]), angle(&ends[1])) else {
                    return Ok(None);
                };
                let sweep = if forward {
                    full_if_zero((end - start).rem_euclid(TAU))
                } else {
                    -full_if_zero((start - end).rem_euclid(TAU))
                };
                Ok(Some(conic.arc(start, sweep)))
            }
            _ => Ok(None),
        }
    }

    fn trim(&self, curve: &Record, index: usize) -> Result<Trim, IfcError> {
        let mut trim = Trim { point: None, parameter: None };
        for value in curve.get(index).and_then(AttributeValue::as_list).unwrap_or_default() {
            match value.as_entity_ref() {
                Some(id) => trim.point = Some(placement::coordinates(self.step, curve, id)?),
                None => trim.parameter = value.as_float().filter(|number| number.is_finite()),
            }
        }
        Ok(trim)
    }

    fn line(&self, line: &Record) -> Result<Option<Line>, IfcError> {
        let (Some(point), Some(vector)) = (line.reference(0), line.reference(1)) else {
            return Ok(None);
        };
        let origin = placement::coordinates(self.step, line, point)?;
        let vector = self.step.follow(line, vector)?;
        let Some(orientation) = vector.reference(0) else { return Ok(None) };
        let direction = placement::coordinates(self.step, &vector, orientation)?;
        let length = vector.number(1).unwrap_or(1.0);
        Ok(placement::unit(direction).map(|unit| Line { origin, vector: scaled(unit, length) }))
    }

    fn conic(&self, curve: &Record) -> Result<Option<Conic>, IfcError> {
        let Some(position) = curve.reference(0) else { return Ok(None) };
        let Some(at) = placement::axis_placement(self.step, curve, position)? else {
            return Ok(None);
        };
        let is_circle = *curve.class() == IfcType::IfcCircle;
        let (Some(a), Some(b)) = (curve.number(1), curve.number(if is_circle { 1 } else { 2 }))
        else {
            return Ok(None);
        };
        Ok((a > 0.0 && b > 0.0).then_some(Conic { at, semi_axes: [a, b] }))
    }
}

/// The points of an `IfcCartesianPointList`; none when one of them is malformed, since faces and
/// segments refer to points by their number.
pub(super) fn coordinate_list(list: &Record) -> Option<Vec<Vec3>> {
    let rows = list.get(0).and_then(AttributeValue::as_list)?;
    rows.iter()
        .map(|row| match finite(row.as_list()?)?[..] {
            [x, y] => Some([x, y, 0.0]),
            [x, y, z] => Some([x, y, z]),
            _ => None,
        })
        .collect()
}

struct Trim {
    point: Option<Vec3>,
    parameter: Option<f64>,
}

struct Line {
    origin: Vec3,
    vector: Vec3,
}

impl Line {
    fn piece(&self, ends: &[Trim; 2]) -> Option<Vec<Vec3>> {
        let end = |trim: &Trim| {
            trim.point.or_else(|| Some(add(self.origin, scaled(self.vector, trim.parameter?))))
        };
        Some(vec![end(&ends[0])?, end(&ends[1])?])
    }
}

/// A circle or an ellipse.
pub(super) struct Conic {
    pub(super) at: Transform,
    pub(super) semi_axes: [f64; 2],
}

impl Conic {
    fn angle_of(&self, point: Vec3) -> f64 {
        let origin = self.at.origin();
        let offset = [point[0] - origin[0], point[1] - origin[1], point[2] - origin[2]];
        let along = |axis: Vec3| {
            let axis = self.at.direction(axis);
            axis[0] * offset[0] + axis[1] * offset[1] + axis[2] * offset[2]
        };
        let x = along([1.0, 0.0, 0.0]) / self.semi_axes[0];
        let y = along([0.0, 1.0, 0.0]) / self.semi_axes[1];
        y.atan2(x)
    }

    /// Points from angle `start` over `sweep` radians, both ends included.
    pub(super) fn arc(&self, start: f64, sweep: f64) -> Vec<Vec3> {
        let sweep = sweep.clamp(-TAU, TAU);
        let count = (TURN_SEGMENTS * sweep.abs() / TAU).ceil().max(1.0);
        (0..=count as u32)
            .map(|i| {
                let angle = start + sweep * f64::from(i) / count;
                let [a, b] = self.semi_axes;
                self.at.point([a * angle.cos(), b * angle.sin(), 0.0])
            })
            .collect()
    }
}

fn full_if_zero(sweep: f64) -> f64 {
    if sweep.abs() < 1e-9 { TAU } else { sweep }
}

/// Points of the arc from `a` over `b` to `c` in the plane z = 0; the corners when they lie on a
/// line.
fn arc_through(a: Vec3, b: Vec3, c: Vec3) -> Vec<Vec3> {
    let d = 2.0 * (a[0] * (b[1] - c[1]) + b[0] * (c[1] - a[1]) + c[0] * (a[1] - b[1]));
    if d.abs() < 1e-12 {
        return vec![a, b, c];
    }
    let square = |p: Vec3| p[0] * p[0] + p[1] * p[1];
    let (sa, sb, sc) = (square(a), square(b), square(c));
    let x = (sa * (b[1] - c[1]) + sb * (c[1] - a[1]) + sc * (a[1] - b[1])) / d;
    let y = (sa * (c[0] - b[0]) + sb * (a[0] - c[0]) + sc * (b[0] - a[0])) / d;
    let radius = (a[0] - x).hypot(a[1] - y);
    let angle = |p: Vec3| (p[1] - y).atan2(p[0] - x);
    let (start, middle, end) = (angle(a), angle(b), angle(c));
    let forward = (end - start).rem_euclid(TAU);
    let sweep = if (middle - start).rem_euclid(TAU) <= forward { forward } else { forward - TAU };
    let count = (TURN_SEGMENTS * sweep.abs() / TAU).ceil().max(1.0);
    (0..=count as u32)
        .map(|i| {
            let angle = start + sweep * f64::from(i) / count;
            [x + radius * angle.cos(), y + radius * angle.sin(), a[2]]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arcs_pass_their_middle_point() {
        let points = arc_through([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]);
        assert!(points.iter().all(|p| (p[0].hypot(p[1]) - 1.0).abs() < 1e-9 && p[1] > -1e-9));
        let below = arc_through([1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]);
        assert!(below.iter().all(|p| p[1] < 1e-9));
        let straight = arc_through([0.0; 3], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]);
        assert_eq!(straight.len(), 3);
    }
}

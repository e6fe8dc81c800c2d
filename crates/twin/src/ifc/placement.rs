//! Placements resolved to one transform: `IfcLocalPlacement` chains and the axis placements and
//! operators they are made of. Grid and linear placements are not resolved and give none.

use std::collections::HashMap;

use ifc_lite_core::IfcType;

use super::error::IfcError;
use super::step::{Record, Step};

/// A point or direction.
pub(super) type Vec3 = [f64; 3];

/// An affine transform: columns x, y, z and the origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Transform {
    axes: [Vec3; 3],
    origin: Vec3,
}

impl Transform {
    pub(super) const IDENTITY: Self =
        Self { axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], origin: [0.0; 3] };

    /// The transform that first applies `inner`, then `self`.
    pub(super) fn then_inner(&self, inner: &Self) -> Self {
        Self { axes: inner.axes.map(|axis| self.direction(axis)), origin: self.point(inner.origin) }
    }

    pub(super) fn point(&self, point: Vec3) -> Vec3 {
        add(self.origin, self.direction(point))
    }

    pub(super) fn direction(&self, v: Vec3) -> Vec3 {
        let [x, y, z] = self.axes;
        [0, 1, 2].map(|i| x[i] * v[0] + y[i] * v[1] + z[i] * v[2])
    }

    pub(super) fn origin(&self) -> Vec3 {
        self.origin
    }
}

pub(super) fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn scaled(v: Vec3, by: f64) -> Vec3 {
    v.map(|coordinate| coordinate * by)
}

pub(super) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn dot(a: Vec3, b: Vec3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Unit vector; none for a vector without direction.
pub(super) fn unit(v: Vec3) -> Option<Vec3> {
    let length = dot(v, v).sqrt();
    (length.is_finite() && length > 1e-12).then(|| scaled(v, 1.0 / length))
}

/// Resolves placements, each once.
pub(super) struct Placements<'s, 'a> {
    step: &'s Step<'a>,
    resolved: HashMap<u32, Option<Transform>>,
    depth_max: usize,
}

impl<'s, 'a> Placements<'s, 'a> {
    pub(super) fn new(step: &'s Step<'a>, depth_max: usize) -> Self {
        Self { step, resolved: HashMap::new(), depth_max }
    }

    /// `ifc_from_object` of placement `id`, to which `from` refers. None when the chain holds a
    /// kind of placement that is not resolved.
    pub(super) fn resolve(
        &mut self,
        from: &Record,
        id: u32,
    ) -> Result<Option<Transform>, IfcError> {
        let mut chain = Vec::new();
        let mut next = Some(id);
        let mut outer = Some(Transform::IDENTITY);
        while let Some(id) = next {
            if let Some(known) = self.resolved.get(&id) {
                outer = *known;
                break;
            }
            if chain.len() == self.depth_max {
                return Err(from.problem(format!(
                    "its placement goes through more than {} others (does one refer to itself?)",
                    self.depth_max
                )));
            }
            let record = self.step.follow(from, id)?;
            if *record.class() != IfcType::IfcLocalPlacement {
                self.resolved.insert(id, None);
                outer = None;
                break;
            }
            next = record.reference(0);
            chain.push(record);
        }
        for record in chain.into_iter().rev() {
            let local = match record.reference(1) {
                None => Some(Transform::IDENTITY),
                Some(axis) => self.axis_placement(&record, axis)?,
            };
            outer = outer.zip(local).map(|(outer, local)| outer.then_inner(&local));
            self.resolved.insert(record.id(), outer);
        }
        Ok(outer)
    }

    fn axis_placement(&self, from: &Record, id: u32) -> Result<Option<Transform>, IfcError> {
        axis_placement(self.step, from, id)
    }
}

/// An `IfcAxis2Placement3D` or `2D` as a transform; none for another kind.
pub(super) fn axis_placement(
    step: &Step<'_>,
    from: &Record,
    id: u32,
) -> Result<Option<Transform>, IfcError> {
    let record = step.follow(from, id)?;
    let origin = match record.reference(0) {
        Some(point) => coordinates(step, &record, point)?,
        None => [0.0; 3],
    };
    let direction = |index: usize| match record.reference(index) {
        Some(id) => coordinates(step, &record, id).map(unit),
        None => Ok(None),
    };
    let (z, x) = match record.class() {
        IfcType::IfcAxis2Placement3D => (direction(1)?, direction(2)?),
        IfcType::IfcAxis2Placement2D => (None, direction(1)?),
        _ => return Ok(None),
    };
    Ok(Some(from_axes(origin, z, x)))
}

/// `IfcBuildAxes` (ISO 16739): x is made perpendicular to z; defaults where none is given.
fn from_axes(origin: Vec3, z: Option<Vec3>, x: Option<Vec3>) -> Transform {
    let z = z.unwrap_or([0.0, 0.0, 1.0]);
    let default_x = if z[0].abs() > 0.999_999 { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] };
    let perpendicular = |v: Vec3| unit(add(v, scaled(z, -dot(v, z))));
    let x = x.and_then(perpendicular).or_else(|| perpendicular(default_x)).unwrap_or(default_x);
    Transform { axes: [x, cross(z, x), z], origin }
}

/// An `IfcCartesianTransformationOperator` as a transform; identity parts where none are given.
pub(super) fn operator(step: &Step<'_>, from: &Record, id: u32) -> Result<Transform, IfcError> {
    let record = step.follow(from, id)?;
    let direction = |index: usize| match record.reference(index) {
        Some(id) => coordinates(step, &record, id).map(unit),
        None => Ok(None),
    };
    let x = direction(0)?;
    let y = direction(1)?;
    let origin = match record.reference(2) {
        Some(point) => coordinates(step, &record, point)?,
        None => [0.0; 3],
    };
    let scale = record.number(3).unwrap_or(1.0);
    let is_3d = record.class().is_subtype_of(IfcType::IfcCartesianTransformationOperator3D);
    let z = if is_3d { direction(4)? } else { None };
    let z = z.unwrap_or([0.0, 0.0, 1.0]);
    let base = from_axes(origin, Some(z), x);
    // The given y axis may mirror; only its side matters, the rest follows from x and z.
    let mirrored = y.is_some_and(|y| dot(y, base.axes[1]) < 0.0);
    let [bx, by, bz] = base.axes;
    let by = if mirrored { scaled(by, -1.0) } else { by };
    let non_uniform = *record.class() == IfcType::IfcCartesianTransformationOperator3DnonUniform;
    let (scale_y, scale_z) = if non_uniform {
        (record.number(5).unwrap_or(scale), record.number(6).unwrap_or(scale))
    } else {
        (scale, scale)
    };
    let axes = [scaled(bx, scale), scaled(by, scale_y), scaled(bz, scale_z)];
    Ok(Transform { axes, origin })
}

/// Coordinates of an `IfcCartesianPoint` or ratios of an `IfcDirection`; a third is zero in 2D.
pub(super) fn coordinates(step: &Step<'_>, from: &Record, id: u32) -> Result<Vec3, IfcError> {
    let record = step.follow(from, id)?;
    match record.numbers(0).as_deref() {
        Some([x, y]) => Ok([*x, *y, 0.0]),
        Some([x, y, z]) => Ok([*x, *y, *z]),
        _ => Err(record.problem("expected two or three finite numbers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_right_handed_and_default() {
        let turned = from_axes([1.0, 2.0, 3.0], None, Some([0.0, 1.0, 0.0]));
        assert_eq!(turned.point([1.0, 0.0, 0.0]), [1.0, 3.0, 3.0]);
        assert_eq!(turned.point([0.0, 1.0, 0.0]), [0.0, 2.0, 3.0]);
        let down = from_axes([0.0; 3], Some([0.0, 0.0, -1.0]), Some([1.0, 0.0, 0.0]));
        assert_eq!(down.direction([0.0, 1.0, 0.0]), [0.0, -1.0, 0.0]);
        let skewed = from_axes([0.0; 3], None, Some([1.0, 0.0, 5.0]));
        assert_eq!(skewed.direction([1.0, 0.0, 0.0]), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn transforms_compose() {
        let outer = from_axes([10.0, 0.0, 0.0], None, Some([0.0, 1.0, 0.0]));
        let inner = from_axes([0.0, 5.0, 1.0], None, None);
        let point = [1.0, 2.0, 3.0];
        assert_eq!(outer.then_inner(&inner).point(point), outer.point(inner.point(point)));
    }
}

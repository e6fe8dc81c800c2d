//! Profiles of swept solids as outlines with holes, in the units of the file. Profiles of beams
//! and pipes (I, L, U, T, C, Z) are no rooms and give none.

use ifc_lite_core::IfcType;
use std::f64::consts::TAU;

use super::curve::{Conic, CurveReader};
use super::error::IfcError;
use super::placement::{self, Transform, Vec3};
use super::step::Record;

/// An outline and its holes.
pub(super) struct Profile {
    pub(super) outer: Vec<Vec3>,
    pub(super) holes: Vec<Vec<Vec3>>,
}

impl Profile {
    fn of(outer: Vec<Vec3>) -> Self {
        Self { outer, holes: Vec::new() }
    }

    fn moved(mut self, by: &Transform) -> Self {
        for loop_points in std::iter::once(&mut self.outer).chain(&mut self.holes) {
            for point in loop_points {
                *point = by.point(*point);
            }
        }
        self
    }
}

/// Reads profile `id`.
pub(super) fn read(
    curves: &CurveReader<'_, '_>,
    from: &Record,
    id: u32,
    depth: usize,
) -> Result<Option<Profile>, IfcError> {
    let profile = curves.step.follow(from, id)?;
    if depth > curves.depth_max {
        return Ok(None);
    }
    match profile.class() {
        IfcType::IfcArbitraryClosedProfileDef => arbitrary(curves, &profile, false),
        IfcType::IfcArbitraryProfileDefWithVoids => arbitrary(curves, &profile, true),
        IfcType::IfcDerivedProfileDef => {
            let (Some(parent), Some(by)) = (profile.reference(2), profile.reference(3)) else {
                return Ok(None);
            };
            let Some(parent) = read(curves, &profile, parent, depth + 1)? else {
                return Ok(None);
            };
            Ok(Some(parent.moved(&placement::operator(curves.step, &profile, by)?)))
        }
        _ => parametric(curves, &profile),
    }
}

fn arbitrary(
    curves: &CurveReader<'_, '_>,
    profile: &Record,
    with_voids: bool,
) -> Result<Option<Profile>, IfcError> {
    let Some(outer) = profile.reference(2) else { return Ok(None) };
    let Some(outer) = curves.points(profile, outer)? else { return Ok(None) };
    let mut holes = Vec::new();
    if with_voids {
        for inner in profile.references(3) {
            holes.extend(curves.points(profile, inner)?);
        }
    }
    Ok(Some(Profile { outer, holes }))
}

fn parametric(curves: &CurveReader<'_, '_>, profile: &Record) -> Result<Option<Profile>, IfcError> {
    let size = |index: usize| profile.number(index).filter(|size| *size > 0.0);
    let ellipse = |a: f64, b: f64| {
        let mut points = Conic { at: Transform::IDENTITY, semi_axes: [a, b] }.arc(0.0, TAU);
        points.pop();
        points
    };
    let outline = match profile.class() {
        IfcType::IfcRectangleProfileDef
        | IfcType::IfcRoundedRectangleProfileDef
        | IfcType::IfcRectangleHollowProfileDef => {
            size(3).zip(size(4)).map(|(x, y)| rectangle(x, y))
        }
        IfcType::IfcCircleProfileDef | IfcType::IfcCircleHollowProfileDef => {
            size(3).map(|radius| ellipse(radius, radius))
        }
        IfcType::IfcEllipseProfileDef => size(3).zip(size(4)).map(|(a, b)| ellipse(a, b)),
        IfcType::IfcTrapeziumProfileDef => trapezium(profile),
        _ => None,
    };
    let Some(outline) = outline else { return Ok(None) };
    let position = match profile.reference(2) {
        Some(id) => placement::axis_placement(curves.step, profile, id)?,
        None => None,
    };
    Ok(Some(Profile::of(outline).moved(&position.unwrap_or(Transform::IDENTITY))))
}

fn rectangle(x: f64, y: f64) -> Vec<Vec3> {
    let (x, y) = (x / 2.0, y / 2.0);
    vec![[-x, -y, 0.0], [x, -y, 0.0], [x, y, 0.0], [-x, y, 0.0]]
}

/// `IfcTrapeziumProfileDef`: the origin is the centre of the bottom's bounding box.
fn trapezium(profile: &Record) -> Option<Vec<Vec3>> {
    let (bottom, top, height) = (profile.number(3)?, profile.number(4)?, profile.number(5)?);
    let left = -bottom / 2.0;
    let top_left = left + profile.number(6)?;
    let (low, high) = (-height / 2.0, height / 2.0);
    Some(vec![
        [left, low, 0.0],
        [left + bottom, low, 0.0],
        [top_left + top, high, 0.0],
        [top_left, high, 0.0],
    ])
}

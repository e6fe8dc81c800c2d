//! Plane polygons: the outline of a body from its lowest faces, areas, and point-in-polygon.
//! Everything here is pure geometry in metres and knows no IFC.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::Vec3;

/// Points closer than this are one point: finer detail is noise of the authoring tool.
const MERGE_M: f64 = 0.001;
/// A face is horizontal, and lowest, when its points lie within this of the lowest point.
const LEVEL_M: f64 = 0.01;
/// Smaller outlines are no rooms.
const AREA_M2_MIN: f64 = 1e-4;

/// An outline found in a body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outline {
    /// Counter-clockwise, not closed.
    pub(super) polygon: Vec<[f64; 2]>,
    /// Area less holes.
    pub(super) area_m2: f64,
    pub(super) approximate: bool,
}

/// Least and greatest z of some faces.
pub(super) fn z_range(faces: &[Vec<Vec3>]) -> Option<[f64; 2]> {
    let mut heights = faces.iter().flatten().map(|point| point[2]);
    let first = heights.next()?;
    Some(heights.fold([first, first], |[low, high], z| [low.min(z), high.max(z)]))
}

/// The outline of the lowest faces; the bounding rectangle when none is horizontal.
pub(super) fn from_faces(faces: &[Vec<Vec3>]) -> Option<Outline> {
    let [low, _] = z_range(faces)?;
    let lowest = faces.iter().filter(|face| face.iter().all(|point| point[2] - low < LEVEL_M));
    let loops = boundary(lowest);
    let mut areas: Vec<(f64, Vec<[f64; 2]>)> =
        loops.into_iter().map(|points| (signed_area(&points).abs(), points)).collect();
    areas.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut areas = areas.into_iter();
    match areas.next() {
        Some((area, polygon)) if area > AREA_M2_MIN => {
            let others: Vec<_> = areas.filter(|(area, _)| *area > AREA_M2_MIN).collect();
            let (holes, apart): (Vec<_>, Vec<_>) =
                others.into_iter().partition(|(_, points)| contains(&polygon, points[0]));
            let holes_m2: f64 = holes.iter().map(|(area, _)| area).sum();
            let area_m2 = (area - holes_m2).max(0.0);
            let approximate = !apart.is_empty();
            Some(Outline { polygon: counter_clockwise(polygon), area_m2, approximate })
        }
        _ => bounding_rectangle(faces.iter().flatten().copied()),
    }
}

/// An outline out of one loop and its holes.
pub(super) fn from_loops(outer: &[Vec3], holes: &[Vec<Vec3>]) -> Option<Outline> {
    let flat = |points: &[Vec3]| simplify(points.iter().map(|p| [p[0], p[1]]).collect());
    let polygon = flat(outer);
    let holes_m2: f64 = holes.iter().map(|hole| signed_area(&flat(hole)).abs()).sum();
    let area_m2 = signed_area(&polygon).abs() - holes_m2;
    (polygon.len() >= 3 && area_m2 > AREA_M2_MIN).then(|| Outline {
        polygon: counter_clockwise(polygon),
        area_m2,
        approximate: false,
    })
}

/// The bounding rectangle of points.
pub(super) fn bounding_rectangle(points: impl Iterator<Item = Vec3>) -> Option<Outline> {
    let bounds = crate::model::Bounds::around(points)?;
    let ([x0, y0, _], [x1, y1, _]) = (bounds.min, bounds.max);
    let area_m2 = (x1 - x0) * (y1 - y0);
    (area_m2 > AREA_M2_MIN).then(|| Outline {
        polygon: vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
        area_m2,
        approximate: true,
    })
}

/// Whether `point` lies inside `polygon` (even-odd rule).
pub(super) fn contains(polygon: &[[f64; 2]], point: [f64; 2]) -> bool {
    let mut inside = false;
    for (index, a) in polygon.iter().enumerate() {
        let b = polygon[(index + 1) % polygon.len()];
        if (a[1] > point[1]) != (b[1] > point[1]) {
            let x = (b[0] - a[0]) * (point[1] - a[1]) / (b[1] - a[1]) + a[0];
            inside ^= point[0] < x;
        }
    }
    inside
}

fn signed_area(polygon: &[[f64; 2]]) -> f64 {
    // Relative to the first point, so that far-away origins cost no digits.
    let Some(o) = polygon.first() else { return 0.0 };
    let cross =
        |a: &[f64; 2], b: &[f64; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (b[0] - o[0]) * (a[1] - o[1]);
    polygon.windows(2).map(|pair| cross(&pair[0], &pair[1])).sum::<f64>() / 2.0
}

fn counter_clockwise(mut polygon: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    if signed_area(&polygon) < 0.0 {
        polygon.reverse();
    }
    polygon
}

/// Drops repeated points and points on a straight line.
fn simplify(mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let near = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]) < MERGE_M;
    points.dedup_by(|b, a| near(*a, *b));
    while points.len() > 1 && near(points[0], points[points.len() - 1]) {
        points.pop();
    }
    let count = points.len();
    if count < 4 {
        return points;
    }
    let bends = |i: usize| {
        let (a, b, c) = (points[(i + count - 1) % count], points[i], points[(i + 1) % count]);
        let length = (c[0] - a[0]).hypot(c[1] - a[1]);
        let doubled = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
        length < MERGE_M || doubled.abs() / length > MERGE_M / 10.0
    };
    let kept: Vec<[f64; 2]> = (0..count).filter(|i| bends(*i)).map(|i| points[i]).collect();
    if kept.len() >= 3 { kept } else { points }
}

type Corner = [i64; 2];

fn corner(point: &Vec3) -> Corner {
    [point[0], point[1]].map(|coordinate| (coordinate / MERGE_M).round() as i64)
}

/// The loops around a set of faces in one plane: edges that two faces share cancel out.
fn boundary<'f>(faces: impl Iterator<Item = &'f Vec<Vec3>>) -> Vec<Vec<[f64; 2]>> {
    let mut edges: BTreeSet<(Corner, Corner)> = BTreeSet::new();
    let mut places: BTreeMap<Corner, [f64; 2]> = BTreeMap::new();
    for face in faces {
        for (index, point) in face.iter().enumerate() {
            let (a, b) = (corner(point), corner(&face[(index + 1) % face.len()]));
            places.entry(a).or_insert([point[0], point[1]]);
            let edge = (a.min(b), a.max(b));
            if a != b && !edges.remove(&edge) {
                edges.insert(edge);
            }
        }
    }
    let mut neighbours: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
    for (a, b) in edges {
        neighbours.entry(a).or_default().push(b);
        neighbours.entry(b).or_default().push(a);
    }
    let mut loops = Vec::new();
    while let Some(start) = neighbours.iter().find(|(_, next)| !next.is_empty()).map(|(at, _)| *at)
    {
        let mut walk = vec![start];
        let mut at = start;
        while let Some(next) = neighbours.get_mut(&at).and_then(Vec::pop) {
            if let Some(back) = neighbours.get_mut(&next) {
                back.retain(|corner| *corner != at);
            }
            if next == start {
                break;
            }
            walk.push(next);
            at = next;
        }
        neighbours.retain(|_, next| !next.is_empty());
        let points = walk.iter().filter_map(|corner| places.get(corner).copied()).collect();
        let points = simplify(points);
        if points.len() >= 3 {
            loops.push(points);
        }
    }
    loops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, size: f64, z: f64) -> Vec<Vec3> {
        vec![[x, 0.0, z], [x + size, 0.0, z], [x + size, size, z], [x, size, z]]
    }

    #[test]
    fn triangles_of_one_floor_join() {
        let floor = square(0.0, 2.0, 1.0);
        let faces = vec![
            vec![floor[0], floor[1], floor[2]],
            vec![floor[2], floor[3], floor[0]],
            square(0.0, 2.0, 4.0),
        ];
        let outline = from_faces(&faces).unwrap();
        assert_eq!(outline.polygon.len(), 4);
        assert!((outline.area_m2 - 4.0).abs() < 1e-9 && !outline.approximate);
    }

    #[test]
    fn without_a_level_face_the_rectangle_is_flagged() {
        let faces = vec![vec![[0.0, 0.0, 0.0], [3.0, 0.0, 1.0], [3.0, 2.0, 2.0]]];
        let outline = from_faces(&faces).unwrap();
        assert!(outline.approximate);
        assert_eq!(outline.area_m2, 6.0);
    }

    #[test]
    fn holes_are_subtracted_and_clockwise_turned() {
        let mut outer = square(0.0, 4.0, 0.0);
        outer.reverse();
        let outline = from_loops(&outer, &[square(1.0, 1.0, 0.0)]).unwrap();
        assert_eq!(outline.area_m2, 15.0);
        assert!(signed_area(&outline.polygon) > 0.0);
    }

    #[test]
    fn inside_and_outside() {
        let polygon: Vec<[f64; 2]> = square(0.0, 2.0, 0.0).iter().map(|p| [p[0], p[1]]).collect();
        assert!(contains(&polygon, [1.0, 1.0]));
        assert!(!contains(&polygon, [3.0, 1.0]));
    }
}

//! Plane geometry on axis-parallel polygons: insets, offsets, shared and uncovered edges. Refuses
//! nothing: the plan is ours and its tests hold it to the rules these functions rely on.

/// Lengths below this, in metres, count as nothing.
const TOLERANCE: f64 = 1e-6;

/// A directed edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) from: [f64; 2],
    pub(crate) to: [f64; 2],
}

impl Edge {
    /// Length in metres.
    pub(crate) fn length(&self) -> f64 {
        (self.to[0] - self.from[0]).hypot(self.to[1] - self.from[1])
    }

    /// Unit vector along the edge.
    pub(crate) fn along(&self) -> [f64; 2] {
        let length = self.length();
        [(self.to[0] - self.from[0]) / length, (self.to[1] - self.from[1]) / length]
    }

    /// The point `distance` metres along.
    pub(crate) fn point(&self, distance: f64) -> [f64; 2] {
        let [x, y] = self.along();
        [self.from[0] + x * distance, self.from[1] + y * distance]
    }

    /// Where `point`, known to lie on the line, is along the edge.
    pub(crate) fn position(&self, point: [f64; 2]) -> f64 {
        let [x, y] = self.along();
        (point[0] - self.from[0]) * x + (point[1] - self.from[1]) * y
    }

    fn is_collinear(&self, other: &Self) -> bool {
        let [x, y] = self.along();
        let off = |p: [f64; 2]| ((p[0] - self.from[0]) * y - (p[1] - self.from[1]) * x).abs();
        off(other.from) < TOLERANCE && off(other.to) < TOLERANCE
    }

    /// The stretch both edges cover, in the direction of `self`.
    pub(crate) fn overlap(&self, other: &Self) -> Option<Self> {
        if !self.is_collinear(other) {
            return None;
        }
        let (a, b) = (self.position(other.from), self.position(other.to));
        let (start, end) = (a.min(b).max(0.0), a.max(b).min(self.length()));
        (end - start > 1e-3).then(|| Self { from: self.point(start), to: self.point(end) })
    }

    /// The parts of the edge that none of `others` covers.
    pub(crate) fn uncovered(&self, others: &[Self]) -> Vec<Self> {
        let mut covered: Vec<(f64, f64)> = others
            .iter()
            .filter_map(|other| self.overlap(other))
            .map(|part| (self.position(part.from), self.position(part.to)))
            .collect();
        covered.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut parts = Vec::new();
        let mut reached = 0.0;
        for (start, end) in covered.into_iter().chain([(self.length(), self.length())]) {
            if start - reached > 1e-3 {
                parts.push(Self { from: self.point(reached), to: self.point(start) });
            }
            reached = f64::max(reached, end);
        }
        parts
    }
}

/// The edges of a closed polygon.
pub(crate) fn edges(corners: &[[f64; 2]]) -> Vec<Edge> {
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).map(|(from, to)| Edge { from: *from, to: *to }).collect()
}

/// Moves each side of a counter-clockwise polygon by its own distance; positive is outwards.
pub(crate) fn offset(corners: &[[f64; 2]], distance: impl Fn(&Edge) -> f64) -> Vec<[f64; 2]> {
    let sides = edges(corners);
    let moved: Vec<Edge> = sides
        .iter()
        .map(|side| {
            let [x, y] = side.along();
            let by = distance(side);
            let shift = |p: [f64; 2]| [p[0] + y * by, p[1] - x * by];
            Edge { from: shift(side.from), to: shift(side.to) }
        })
        .collect();
    let previous = moved.iter().cycle().skip(moved.len() - 1);
    moved.iter().zip(previous).map(|(side, before)| crossing(before, side)).collect()
}

/// Where two axis-parallel lines at right angles meet.
fn crossing(a: &Edge, b: &Edge) -> [f64; 2] {
    if (a.from[0] - a.to[0]).abs() < TOLERANCE {
        [a.from[0], b.from[1]]
    } else {
        [b.from[0], a.from[1]]
    }
}

/// Signed area; positive for counter-clockwise polygons.
pub(crate) fn area(corners: &[[f64; 2]]) -> f64 {
    edges(corners).iter().map(|e| e.from[0] * e.to[1] - e.to[0] * e.from[1]).sum::<f64>() / 2.0
}

/// A point well inside: the middle of the largest axis-parallel box a few candidates give.
pub(crate) fn inner_point(corners: &[[f64; 2]]) -> [f64; 2] {
    let cuts = |axis: usize| {
        let mut all: Vec<f64> = corners.iter().map(|corner| corner[axis]).collect();
        all.sort_by(f64::total_cmp);
        all.dedup_by(|a, b| (*a - *b).abs() < TOLERANCE);
        all
    };
    let (xs, ys) = (cuts(0), cuts(1));
    let cells = xs.windows(2).flat_map(|x| ys.windows(2).map(move |y| [x[0], x[1], y[0], y[1]]));
    let inside = cells.filter(|c| contains(corners, [(c[0] + c[1]) / 2.0, (c[2] + c[3]) / 2.0]));
    let size = |c: &[f64; 4]| (c[1] - c[0]) * (c[3] - c[2]);
    let largest = inside.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or([0.0; 4]);
    [(largest[0] + largest[1]) / 2.0, (largest[2] + largest[3]) / 2.0]
}

/// Even-odd test.
pub(crate) fn contains(corners: &[[f64; 2]], point: [f64; 2]) -> bool {
    edges(corners).iter().fold(false, |inside, edge| {
        let crosses = (edge.from[1] > point[1]) != (edge.to[1] > point[1]);
        let slope = (edge.to[0] - edge.from[0]) / (edge.to[1] - edge.from[1]);
        inside ^ (crosses && point[0] < edge.from[0] + slope * (point[1] - edge.from[1]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insets_keep_their_shape() {
        let ell = [[0.0, 0.0], [6.0, 0.0], [6.0, 2.0], [2.0, 2.0], [2.0, 5.0], [0.0, 5.0]];
        let inset = offset(&ell, |_| -0.5);
        assert_eq!(inset[3], [1.5, 1.5]);
        assert!((area(&inset) - (5.0 * 1.0 + 1.0 * 3.0)).abs() < 1e-9);
        assert!(contains(&ell, inner_point(&ell)));
    }

    #[test]
    fn uncovered_parts() {
        let edge = Edge { from: [0.0, 0.0], to: [10.0, 0.0] };
        let cover = [Edge { from: [8.0, 0.0], to: [4.0, 0.0] }];
        let parts = edge.uncovered(&cover);
        assert_eq!(parts.len(), 2);
        assert!((parts[0].length() - 4.0).abs() < 1e-9 && (parts[1].length() - 2.0).abs() < 1e-9);
        assert!(edge.uncovered(&[edge]).is_empty());
    }
}

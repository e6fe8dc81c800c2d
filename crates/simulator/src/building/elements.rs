//! Walls with their openings, windows, doors, slabs and parapets, all derived from the plan.

use super::geometry::{Edge, area, edges, offset};
use super::model::{Model, Product, StoreyFrame, Style};
use super::plan::{Glazing, INNER_WALL, OUTER_WALL, Room, SLAB_THICKNESS, STAIR_WELL};
use super::writer::{Line, global_id, real};

/// What fills an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    Window,
    Door,
    GlassDoor,
}

/// A hole in a wall: `centre` metres along it, `sill` above the floor.
#[derive(Debug, Clone, Copy)]
struct Opening {
    centre: f64,
    sill: f64,
    width: f64,
    height: f64,
    filling: Filling,
}

struct Wall<'a> {
    label: String,
    axis: Edge,
    /// In the wall's own coordinates: X along the axis, Y to the left.
    footprint: Vec<[f64; 2]>,
    thickness: f64,
    height: f64,
    openings: &'a [Opening],
    kind: &'a str,
}

/// Where people come in: room and the direction its façade runs, seen counter-clockwise.
const ENTRANCES: &[(&str, [f64; 2])] =
    &[("0.01", [1.0, 0.0]), ("0.02", [1.0, 0.0]), ("3.03", [0.0, 1.0])];

const UP: [f64; 3] = [0.0, 0.0, 1.0];
const EAST: [f64; 3] = [1.0, 0.0, 0.0];

/// Writes the shell of one storey.
pub(crate) fn write(model: &mut Model, frame: &StoreyFrame<'_>) {
    slab(model, frame);
    outer_walls(model, frame);
    inner_walls(model, frame);
    parapets(model, frame);
}

fn slab(model: &mut Model, frame: &StoreyFrame<'_>) {
    let is_ground = frame.plan.elevation == 0.0;
    let lip = if is_ground { 0.0 } else { 0.24 };
    let corners = offset(&frame.plan.slab, |_| lip);
    let [x0, y0, x1, y1] = STAIR_WELL;
    let well = vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    let holes = if is_ground { Vec::new() } else { vec![well] };
    let profile = model.writer.profile(&corners, &holes);
    let axes = model.writer.axes([0.0, 0.0, -SLAB_THICKNESS], UP, EAST);
    let solid = model.writer.solid(profile, axes, SLAB_THICKNESS);
    let placement = model.writer.placement(Some(frame.placement), [0.0; 3], [1.0, 0.0]);
    let line = model.product(&Product {
        entity: "IFCSLAB",
        label: &format!("slab {}", frame.plan.code),
        name: if is_ground { "Ground slab" } else { "Slab" },
        placement,
        solids: vec![(solid, Style::Concrete)],
        rest: if is_ground { ".BASESLAB." } else { ".FLOOR." },
    });
    model.contain(frame.line, line);
}

fn outer_walls(model: &mut Model, frame: &StoreyFrame<'_>) {
    let outside = offset(&frame.plan.outline, |_| OUTER_WALL / 2.0);
    let inside = offset(&frame.plan.outline, |_| -OUTER_WALL / 2.0);
    let count = outside.len();
    for (index, axis) in edges(&frame.plan.outline).into_iter().enumerate() {
        let next = (index + 1) % count;
        let corners = [outside[index], outside[next], inside[next], inside[index]];
        let openings: Vec<Opening> =
            frame.plan.rooms.iter().flat_map(|room| facade_openings(frame, room, &axis)).collect();
        let wall = Wall {
            label: format!("outer wall {} {index}", frame.plan.code),
            axis,
            footprint: corners.iter().map(|corner| to_local(&axis, *corner)).collect(),
            thickness: OUTER_WALL,
            height: frame.clear,
            openings: &openings,
            kind: ".SOLIDWALL.",
        };
        write_wall(model, frame, &wall);
    }
}

fn to_local(axis: &Edge, p: [f64; 2]) -> [f64; 2] {
    let [x, y] = axis.along();
    let [dx, dy] = [p[0] - axis.from[0], p[1] - axis.from[1]];
    [dx * x + dy * y, dy * x - dx * y]
}

/// The windows of `room` in the façade `axis`, bay by bay.
fn facade_openings(frame: &StoreyFrame<'_>, room: &Room, axis: &Edge) -> Vec<Opening> {
    let (bay_target, sill, head_gap) = match room.glazing {
        Glazing::None => return Vec::new(),
        Glazing::Bays => (2.3, 0.85, 0.5),
        Glazing::Full => (2.6, 0.1, 0.3),
    };
    let mut openings = Vec::new();
    for side in edges(&room.corners) {
        let Some(part) = axis.overlap(&side) else { continue };
        let margin = 0.3;
        let usable = part.length() - 2.0 * margin;
        let bays = ((usable / bay_target).round()).max(1.0);
        let bay = usable / bays;
        let width = if room.glazing == Glazing::Full { bay - 0.2 } else { bay - 0.8 };
        if width < 0.5 {
            continue;
        }
        let is_entrance = ENTRANCES.iter().any(|(number, along)| {
            let [x, y] = axis.along();
            *number == room.number && (x - along[0]).abs() + (y - along[1]).abs() < 1e-6
        });
        let start = axis.position(part.from) + margin;
        let mut index = 0.0;
        while index < bays {
            let is_door = is_entrance && index == (bays / 2.0).floor();
            let sill = if is_door { 0.0 } else { sill };
            openings.push(Opening {
                centre: start + bay * (index + 0.5),
                sill,
                width,
                height: frame.clear - head_gap - sill,
                filling: if is_door { Filling::GlassDoor } else { Filling::Window },
            });
            index += 1.0;
        }
    }
    openings
}

/// The stretches between two rooms, with the pair's indices.
fn partitions(frame: &StoreyFrame<'_>) -> Vec<(usize, usize, Edge)> {
    let rooms = &frame.plan.rooms;
    let mut found = Vec::new();
    for (first, room) in rooms.iter().enumerate() {
        for (second, other) in rooms.iter().enumerate().skip(first + 1) {
            for side in edges(&room.corners) {
                let shared =
                    edges(&other.corners).into_iter().filter_map(|edge| side.overlap(&edge));
                found.extend(shared.map(|edge| (first, second, edge)));
            }
        }
    }
    found
}

fn inner_walls(model: &mut Model, frame: &StoreyFrame<'_>) {
    let walls = partitions(frame);
    let axes: Vec<Edge> = walls.iter().map(|(_, _, edge)| *edge).collect();
    let outline = edges(&frame.plan.outline);
    let rooms = &frame.plan.rooms;
    for (index, (first, second, axis)) in walls.iter().enumerate() {
        let (a, b) = (&rooms[*first], &rooms[*second]);
        let is_widest = walls
            .iter()
            .filter(|(f, s, _)| f == first && s == second)
            .all(|(_, _, other)| other == axis || other.length() < axis.length());
        let has_door = is_widest && (a.doors.contains(&b.number) || b.doors.contains(&a.number));
        let door = Opening {
            centre: axis.length() / 2.0,
            sill: 0.0,
            width: if axis.length() > 8.0 { 1.7 } else { 1.0 },
            height: 2.15,
            filling: Filling::Door,
        };
        let openings = if has_door { vec![door] } else { Vec::new() };
        let before = end_shift(&axes, &outline, index, axis.from);
        let after = end_shift(&axes, &outline, index, axis.to);
        let (half, length) = (INNER_WALL / 2.0, axis.length());
        let wall = Wall {
            label: format!("inner wall {} {} {index}", a.number, b.number),
            axis: *axis,
            footprint: vec![
                [-before, -half],
                [length + after, -half],
                [length + after, half],
                [-before, half],
            ],
            thickness: INNER_WALL,
            height: frame.clear,
            openings: &openings,
            kind: ".PARTITIONING.",
        };
        write_wall(model, frame, &wall);
    }
}

/// How far an inner wall runs past (or, negative, stops short of) the end of its axis so that
/// walls meet without overlapping.
fn end_shift(axes: &[Edge], outline: &[Edge], own: usize, end: [f64; 2]) -> f64 {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    let is_horizontal = |edge: &Edge| near(edge.from[1], edge.to[1]);
    let touches = |edge: &Edge| {
        let [x, y] = edge.along();
        let off = (end[0] - edge.from[0]) * y - (end[1] - edge.from[1]) * x;
        let at = edge.position(end);
        off.abs() < 1e-6 && at > -1e-6 && at < edge.length() + 1e-6
    };
    if outline.iter().any(&touches) {
        return -OUTER_WALL / 2.0;
    }
    let flat = is_horizontal(&axes[own]);
    let others = axes.iter().enumerate().filter(|(index, edge)| *index != own && touches(edge));
    let (mut continues, mut crossing_ends, mut passes) = (false, 0, false);
    for (_, edge) in others {
        let at = edge.position(end);
        let ends_here = at < 1e-6 || at > edge.length() - 1e-6;
        if is_horizontal(edge) == flat {
            continues = true;
        } else if ends_here {
            crossing_ends += 1;
        } else {
            passes = true;
        }
    }
    let is_crossed = passes || crossing_ends > 1;
    match (flat, continues, is_crossed) {
        (true, true, _) | (false, true, false) => 0.0,
        (true, false, false) => INNER_WALL / 2.0,
        (true, false, true) | (false, _, _) => -INNER_WALL / 2.0,
    }
}

fn write_wall(model: &mut Model, frame: &StoreyFrame<'_>, wall: &Wall<'_>) {
    let [x, y] = wall.axis.from;
    let placement = model.writer.placement(Some(frame.placement), [x, y, 0.0], wall.axis.along());
    let profile = model.writer.profile(&wall.footprint, &[]);
    let axes = model.writer.axes([0.0; 3], UP, EAST);
    let solid = model.writer.solid(profile, axes, wall.height);
    let line = model.product(&Product {
        entity: "IFCWALL",
        label: &wall.label,
        name: "Wall",
        placement,
        solids: vec![(solid, Style::Plaster)],
        rest: wall.kind,
    });
    model.contain(frame.line, line);
    for (index, opening) in wall.openings.iter().enumerate() {
        write_opening(
            model,
            frame,
            &format!("{} opening {index}", wall.label),
            (wall, line, placement),
            opening,
        );
    }
}

fn write_opening(
    model: &mut Model,
    frame: &StoreyFrame<'_>,
    label: &str,
    (wall, wall_line, wall_placement): (&Wall<'_>, Line, Line),
    opening: &Opening,
) {
    let w = &mut model.writer;
    let placement =
        w.placement(Some(wall_placement), [opening.centre, 0.0, opening.sill], [1.0, 0.0]);
    let (half, deep) = (opening.width / 2.0, wall.thickness / 2.0 + 0.05);
    let footprint = [[-half, -deep], [half, -deep], [half, deep], [-half, deep]];
    let profile = w.profile(&footprint, &[]);
    let axes = w.axes([0.0; 3], UP, EAST);
    let solid = w.solid(profile, axes, opening.height);
    let shape = model.shape(&[solid]);
    let hole = model.writer.line(&format!(
        "IFCOPENINGELEMENT('{}',$,'Opening',$,$,{placement},{shape},$,.OPENING.)",
        global_id(label)
    ));
    model.writer.line(&format!(
        "IFCRELVOIDSELEMENT('{}',$,$,$,{wall_line},{hole})",
        global_id(&format!("{label} voids"))
    ));
    let filling = filling(model, label, placement, opening);
    model.writer.line(&format!(
        "IFCRELFILLSELEMENT('{}',$,$,$,{hole},{filling})",
        global_id(&format!("{label} fills"))
    ));
    model.contain(frame.line, filling);
}

fn filling(model: &mut Model, label: &str, hole: Line, opening: &Opening) -> Line {
    let placement = model.writer.placement(Some(hole), [0.0; 3], [1.0, 0.0]);
    let (width, height) = (opening.width, opening.height);
    let mut solids = vec![(frame_solid(model, width, height), Style::Metal)];
    let (pane, style) = match opening.filling {
        Filling::Door => (0.05, Style::Timber),
        Filling::Window | Filling::GlassDoor => (0.02, Style::Glass),
    };
    let (half, inner) = (width / 2.0 - 0.06, height - 0.12);
    solids.push((bar(model, [-half, half], pane, 0.06, inner), style));
    let is_door = opening.filling != Filling::Window;
    if width > 1.6 {
        solids.push((bar(model, [-0.03, 0.03], 0.09, 0.06, inner), Style::Metal));
    }
    let (overall_height, overall_width) = (real(height), real(width));
    let (entity, name, rest) = if is_door {
        let operation =
            if width > 1.3 { ".DOUBLE_DOOR_SINGLE_SWING." } else { ".SINGLE_SWING_LEFT." };
        ("IFCDOOR", "Door", format!("{overall_height},{overall_width},.DOOR.,{operation},$"))
    } else {
        let rest = format!("{overall_height},{overall_width},.WINDOW.,.SINGLE_PANEL.,$");
        ("IFCWINDOW", "Window", rest)
    };
    model.product(&Product {
        entity,
        label: &format!("{label} filling"),
        name,
        placement,
        solids,
        rest: &rest,
    })
}

/// A frame standing in the plane of the wall.
fn frame_solid(model: &mut Model, width: f64, height: f64) -> Line {
    let (half, deep, thick) = (width / 2.0, 0.07, 0.06);
    let outline = [[-half, 0.0], [half, 0.0], [half, height], [-half, height]];
    let (inner, top) = (half - thick, height - thick);
    let hole = vec![[-inner, thick], [inner, thick], [inner, top], [-inner, top]];
    let profile = model.writer.profile(&outline, &[hole]);
    let axes = model.writer.axes([0.0, deep / 2.0, 0.0], [0.0, -1.0, 0.0], EAST);
    model.writer.solid(profile, axes, deep)
}

fn bar(model: &mut Model, x: [f64; 2], deep: f64, bottom: f64, height: f64) -> Line {
    let half = deep / 2.0;
    let corners = [[x[0], -half], [x[1], -half], [x[1], half], [x[0], half]];
    let profile = model.writer.profile(&corners, &[]);
    let axes = model.writer.axes([0.0, 0.0, bottom], UP, EAST);
    model.writer.solid(profile, axes, height)
}

/// Low walls, or glass on the terrace, along slab edges where no storey stands.
fn parapets(model: &mut Model, frame: &StoreyFrame<'_>) {
    if frame.plan.elevation == 0.0 || area(&frame.plan.slab) == area(&frame.plan.outline) {
        return;
    }
    let outline = edges(&frame.plan.outline);
    let is_terrace = frame.plan.code == "3";
    let exposed = edges(&frame.plan.slab).into_iter().flat_map(|edge| edge.uncovered(&outline));
    for (index, edge) in exposed.enumerate() {
        let (near, far, height) = if is_terrace { (0.02, 0.06, 1.1) } else { (-0.24, -0.02, 0.6) };
        let ends = if is_terrace { 0.0 } else { 0.24 };
        let length = edge.length();
        let corners = [[-ends, near], [length + ends, near], [length + ends, far], [-ends, far]];
        let [x, y] = edge.from;
        let placement = model.writer.placement(Some(frame.placement), [x, y, 0.0], edge.along());
        let profile = model.writer.profile(&corners, &[]);
        let axes = model.writer.axes([0.0; 3], UP, EAST);
        let solid = model.writer.solid(profile, axes, height);
        let label = format!("parapet {} {index}", frame.plan.code);
        let (entity, name, style, rest) = if is_terrace {
            ("IFCRAILING", "Glass railing", Style::Glass, ".BALUSTRADE.")
        } else {
            ("IFCWALL", "Parapet", Style::Plaster, ".PARAPET.")
        };
        let solids = vec![(solid, style)];
        let line = model.product(&Product { entity, label: &label, name, placement, solids, rest });
        model.contain(frame.line, line);
    }
}

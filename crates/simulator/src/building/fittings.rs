//! What stands in the shell: stairs, columns, fins, furniture, sensors, machines, the canopy and
//! the solar panels.

use super::geometry::{Edge, contains, edges, inner_point, offset};
use super::model::{Model, Product, StoreyFrame, Style, clear_corners};
use super::plan::{Machine, Room, STAIR_WELL, Shape, Use};
use super::writer::Line;

const UP: [f64; 3] = [0.0, 0.0, 1.0];
const EAST: [f64; 3] = [1.0, 0.0, 0.0];

/// A box standing on the XY plane of its placement.
struct Block<'a> {
    entity: &'a str,
    label: &'a str,
    name: &'a str,
    at: [f64; 3],
    size: [f64; 3],
    style: Style,
    rest: &'a str,
}

/// Writes the fittings of one storey.
pub(crate) fn write(model: &mut Model, frame: &StoreyFrame<'_>, machines: &[Machine]) {
    stairs(model, frame);
    columns(model, frame);
    fins(model, frame);
    for room in &frame.plan.rooms {
        furniture(model, frame, room);
        if is_measured(room) {
            sensor(model, frame, room);
        }
    }
    for machine in machines {
        if let Some(space) = frame.rooms.get(machine.space) {
            write_machine(model, frame, *space, machine);
        }
    }
    match frame.plan.code {
        "0" => canopy(model, frame),
        "2" => solar_panels(model, frame),
        "R" => roof_and_screen(model, frame),
        _ => {}
    }
}

/// Whether a room has a sensor of its own.
pub(crate) fn is_measured(room: &Room) -> bool {
    room.purpose != Use::Bare
}

/// Where a room's sensor hangs, relative to its storey.
pub(crate) fn sensor_position(storey_clear: f64, room: &Room) -> [f64; 3] {
    let [x, y] = inner_point(&room.corners);
    [x, y, storey_clear - 0.06]
}

fn solid_box(model: &mut Model, at: [f64; 3], size: [f64; 3]) -> Line {
    let (x, y) = (size[0], size[1]);
    let profile = model.writer.profile(&[[0.0, 0.0], [x, 0.0], [x, y], [0.0, y]], &[]);
    let axes = model.writer.axes(at, UP, EAST);
    model.writer.solid(profile, axes, size[2])
}

fn block(model: &mut Model, frame: &StoreyFrame<'_>, block: &Block<'_>) {
    let solid = solid_box(model, [0.0; 3], block.size);
    let placement = model.writer.placement(Some(frame.placement), block.at, [1.0, 0.0]);
    let line = model.product(&Product {
        entity: block.entity,
        label: block.label,
        name: block.name,
        placement,
        solids: vec![(solid, block.style)],
        rest: block.rest,
    });
    model.contain(frame.line, line);
}

/// Two flights and a landing up to the next storey.
fn stairs(model: &mut Model, frame: &StoreyFrame<'_>) {
    if frame.plan.code == "R" {
        return;
    }
    let [x0, y0, x1, y1] = STAIR_WELL;
    let (flight_width, landing_depth) = (1.32, 1.2);
    let rise = frame.plan.height / 2.0;
    let steps = (rise / 0.175).round();
    let (riser, tread) = (rise / steps, (y1 - landing_depth - y0) / steps);
    let mut profile = vec![[0.0, 0.0]];
    let mut step = 0.0;
    while step < steps {
        profile.push([step * tread, (step + 1.0) * riser]);
        profile.push([(step + 1.0) * tread, (step + 1.0) * riser]);
        step += 1.0;
    }
    profile.push([steps * tread, rise - 0.3]);
    profile.push([0.4, 0.0]);
    let profile = model.writer.profile(&profile, &[]);
    let up = model.writer.axes([x0, y0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
    let back_from = [x1, y1 - landing_depth, rise];
    let back = model.writer.axes(back_from, [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]);
    let solids = vec![
        (model.writer.solid(profile, up, flight_width), Style::Concrete),
        (model.writer.solid(profile, back, flight_width), Style::Concrete),
        (
            solid_box(model, [x0, y1 - landing_depth, rise - 0.2], [x1 - x0, landing_depth, 0.2]),
            Style::Concrete,
        ),
    ];
    let placement = model.writer.placement(Some(frame.placement), [0.0; 3], [1.0, 0.0]);
    let line = model.product(&Product {
        entity: "IFCSTAIR",
        label: &format!("stair {}", frame.plan.code),
        name: "Stair",
        placement,
        solids,
        rest: ".HALF_TURN_STAIR.",
    });
    model.contain(frame.line, line);
}

fn columns(model: &mut Model, frame: &StoreyFrame<'_>) {
    let mut places: Vec<[f64; 2]> = Vec::new();
    if frame.plan.code == "0" {
        places.extend([[25.7, 0.3], [29.1, 0.3], [32.4, 0.3], [35.7, 0.3]]);
        places.extend([[16.6, -1.9], [22.4, -1.9]]);
    }
    let grid = (1..6u8).flat_map(|column| {
        [3.0, 11.0, 17.0, 23.0, 29.0].map(|y| [f64::from(column) * 6.0 + 0.4, y])
    });
    for place in grid.chain([[3.0, 13.0], [3.0, 26.0], [11.0, 20.0], [11.0, 26.0]]) {
        let is_free = frame.plan.rooms.iter().any(|room| {
            matches!(room.purpose, Use::Work { .. })
                && contains(&offset(&room.corners, |_| -1.2), place)
        });
        if is_free {
            places.push(place);
        }
    }
    for (index, [x, y]) in places.into_iter().enumerate() {
        let profile = model.writer.round_profile(0.18);
        let axes = model.writer.axes([0.0; 3], UP, EAST);
        let height = if y < -1.0 { 3.0 } else { frame.clear };
        let solid = model.writer.solid(profile, axes, height);
        let placement = model.writer.placement(Some(frame.placement), [x, y, 0.0], [1.0, 0.0]);
        let line = model.product(&Product {
            entity: "IFCCOLUMN",
            label: &format!("column {} {index}", frame.plan.code),
            name: "Column",
            placement,
            solids: vec![(solid, Style::Concrete)],
            rest: ".COLUMN.",
        });
        model.contain(frame.line, line);
    }
}

/// Timber fins that shade the south and west façades of the upper storeys.
fn fins(model: &mut Model, frame: &StoreyFrame<'_>) {
    if !matches!(frame.plan.code, "1" | "2" | "3") {
        return;
    }
    for (side, edge) in edges(&frame.plan.outline).into_iter().enumerate() {
        let along = edge.along();
        if along[0] < 0.5 && along[1] > -0.5 {
            continue;
        }
        let count = (edge.length() / 1.35).floor();
        let mut index = 0.0;
        while index <= count {
            let [x, y] = edge.point(edge.length() * index / count);
            let solid = solid_box(model, [-0.04, -0.62, -0.06], [0.08, 0.4, frame.clear + 0.12]);
            let placement = model.writer.placement(Some(frame.placement), [x, y, 0.0], along);
            let line = model.product(&Product {
                entity: "IFCMEMBER",
                label: &format!("fin {} {side} {index}", frame.plan.code),
                name: "Fin",
                placement,
                solids: vec![(solid, Style::Timber)],
                rest: ".USERDEFINED.",
            });
            model.contain(frame.line, line);
            index += 1.0;
        }
    }
}

/// Tables on a grid, in rooms where people work.
fn furniture(model: &mut Model, frame: &StoreyFrame<'_>, room: &Room) {
    if !matches!(room.purpose, Use::Work { heat } if heat < 1.45) {
        return;
    }
    let clear = clear_corners(frame.plan, room);
    let reach = offset(&clear, |_| -1.1);
    let xs = room.corners.iter().map(|c| c[0]).fold(f64::INFINITY, f64::min);
    let ys = room.corners.iter().map(|c| c[1]).fold(f64::INFINITY, f64::min);
    for column in 0..12u8 {
        for row in 0..10u8 {
            let centre = [xs + 1.8 + f64::from(column) * 3.3, ys + 1.6 + f64::from(row) * 2.9];
            if !contains(&reach, centre) {
                continue;
            }
            let solids = vec![
                (solid_box(model, [-0.8, -0.4, 0.7], [1.6, 0.8, 0.05]), Style::Timber),
                (solid_box(model, [-0.45, -0.25, 0.0], [0.9, 0.5, 0.7]), Style::Metal),
            ];
            let at = [centre[0], centre[1], 0.0];
            let placement = model.writer.placement(Some(frame.placement), at, [1.0, 0.0]);
            let line = model.product(&Product {
                entity: "IFCFURNITURE",
                label: &format!("table {} {column} {row}", room.number),
                name: "Table",
                placement,
                solids,
                rest: ".TABLE.",
            });
            model.contain(frame.line, line);
        }
    }
}

fn sensor(model: &mut Model, frame: &StoreyFrame<'_>, room: &Room) {
    let at = sensor_position(frame.clear, room);
    let solid = solid_box(model, [-0.09, -0.09, 0.0], [0.18, 0.18, 0.06]);
    let placement = model.writer.placement(Some(frame.placement), at, [1.0, 0.0]);
    let line = model.product(&Product {
        entity: "IFCSENSOR",
        label: &format!("sensor {}", room.number),
        name: &format!("RS-{}", room.number),
        placement,
        solids: vec![(solid, Style::Plaster)],
        rest: ".TEMPERATURESENSOR.",
    });
    model.contain(frame.rooms[room.number], line);
}

fn write_machine(model: &mut Model, frame: &StoreyFrame<'_>, space: Line, machine: &Machine) {
    let [x, y, z] = machine.at;
    let at = [x, y, z - frame.plan.elevation];
    let placement = model.writer.placement(Some(frame.placement), at, [1.0, 0.0]);
    let solids = machine
        .shapes
        .iter()
        .map(|shape| {
            let (radius, axes, length) = match *shape {
                Shape::Block { at, size } => return (solid_box(model, at, size), Style::Metal),
                Shape::Drum { at, radius, height } => (radius, (at, UP, EAST), height),
                Shape::Pipe { at, radius, length } => (radius, (at, EAST, [0.0, 1.0, 0.0]), length),
                Shape::PipeY { at, radius, length } => {
                    (radius, (at, [0.0, 1.0, 0.0], EAST), length)
                }
            };
            let profile = model.writer.round_profile(radius);
            let axes = model.writer.axes(axes.0, axes.1, axes.2);
            (model.writer.solid(profile, axes, length), Style::Metal)
        })
        .collect();
    let line = model.product(&Product {
        entity: machine.entity.0,
        label: &format!("machine {}", machine.name),
        name: machine.name,
        placement,
        solids,
        rest: machine.entity.1,
    });
    model.contain(space, line);
}

fn canopy(model: &mut Model, frame: &StoreyFrame<'_>) {
    block(
        model,
        frame,
        &Block {
            entity: "IFCSLAB",
            label: "canopy",
            name: "Canopy",
            at: [16.2, -2.3, 3.0],
            size: [6.6, 2.12, 0.16],
            style: Style::Concrete,
            rest: ".NOTDEFINED.",
        },
    );
}

/// Rows of tilted panels on the roof of the wing.
fn solar_panels(model: &mut Model, frame: &StoreyFrame<'_>) {
    for row in 0..6u8 {
        let at = [1.4, 17.0 + f64::from(row) * 2.4, 0.35];
        let (width, depth) = (11.2, 1.7);
        let corners = [[0.0, 0.0], [width, 0.0], [width, depth], [0.0, depth]];
        let profile = model.writer.profile(&corners, &[]);
        let axes = model.writer.axes([0.0; 3], [0.0, -0.2588, 0.9659], EAST);
        let solid = model.writer.solid(profile, axes, 0.05);
        let placement = model.writer.placement(Some(frame.placement), at, [1.0, 0.0]);
        let line = model.product(&Product {
            entity: "IFCSOLARDEVICE",
            label: &format!("solar {row}"),
            name: "Solar panels",
            placement,
            solids: vec![(solid, Style::Metal)],
            rest: ".SOLARPANEL.",
        });
        model.contain(frame.line, line);
    }
}

/// The plant room's roof, and the slats around the chiller.
fn roof_and_screen(model: &mut Model, frame: &StoreyFrame<'_>) {
    let corners = offset(&frame.plan.outline, |_| 0.32);
    let profile = model.writer.profile(&corners, &[]);
    let axes = model.writer.axes([0.0, 0.0, frame.clear], UP, EAST);
    let solid = model.writer.solid(profile, axes, 0.22);
    let placement = model.writer.placement(Some(frame.placement), [0.0; 3], [1.0, 0.0]);
    let line = model.product(&Product {
        entity: "IFCROOF",
        label: "roof",
        name: "Plant room roof",
        placement,
        solids: vec![(solid, Style::Concrete)],
        rest: ".FLAT_ROOF.",
    });
    model.contain(frame.line, line);
    let yard = [[7.4, 13.0], [1.0, 13.0], [1.0, 5.4], [7.4, 5.4]];
    for (side, pair) in yard.windows(2).enumerate() {
        let edge = Edge { from: pair[0], to: pair[1] };
        let count = (edge.length() / 0.48).floor();
        let mut index = 0.0;
        while index <= count {
            let [x, y] = edge.point(edge.length() * index / count);
            let solid = solid_box(model, [-0.03, -0.1, 0.0], [0.06, 0.2, 1.5]);
            let placement =
                model.writer.placement(Some(frame.placement), [x, y, 0.0], edge.along());
            let line = model.product(&Product {
                entity: "IFCMEMBER",
                label: &format!("slat {side} {index}"),
                name: "Slat",
                placement,
                solids: vec![(solid, Style::Timber)],
                rest: ".USERDEFINED.",
            });
            model.contain(frame.line, line);
            index += 1.0;
        }
    }
}

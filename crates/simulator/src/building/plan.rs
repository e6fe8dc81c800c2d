//! The plan of the demo building as data: storeys, rooms, sensors and machines, in metres, Z up.
//! It holds no geometry beyond outlines; walls and windows are derived from it in `elements`.

/// How the outer wall of a room is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glazing {
    /// No windows.
    None,
    /// A window per bay, above a parapet.
    Bays,
    /// Glass from the floor up.
    Full,
}

/// What a room is for: decides its sensors and its heat load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Use {
    /// Desks; `heat` is how strongly the working day warms it, 1 for an ordinary office.
    Work { heat: f64 },
    /// Corridors: measured, hardly heated.
    Circulation,
    /// Stairs, cloakrooms, the open yard: not measured.
    Bare,
    /// Where the machines stand.
    Plant,
}

/// One room.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) number: &'static str,
    pub(crate) name: &'static str,
    /// Corners on the wall axes, counter-clockwise, sides parallel to the axes.
    pub(crate) corners: Vec<[f64; 2]>,
    pub(crate) glazing: Glazing,
    pub(crate) purpose: Use,
    /// The rooms its doors lead to.
    pub(crate) doors: &'static [&'static str],
}

/// One storey.
#[derive(Debug, Clone)]
pub(crate) struct Storey {
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    pub(crate) elevation: f64,
    pub(crate) height: f64,
    /// The outer walls' axis, counter-clockwise.
    pub(crate) outline: Vec<[f64; 2]>,
    /// The slab under the storey: reaches over everything below it.
    pub(crate) slab: Vec<[f64; 2]>,
    pub(crate) rooms: Vec<Room>,
}

/// The well of the stairs, the same on each storey.
pub(crate) const STAIR_WELL: [f64; 4] = [8.35, 9.3, 11.15, 13.65];
/// Thickness of a slab, taken from the height of the storey below it.
pub(crate) const SLAB_THICKNESS: f64 = 0.32;
/// Thickness of an outer wall.
pub(crate) const OUTER_WALL: f64 = 0.36;
/// Thickness of an inner wall.
pub(crate) const INNER_WALL: f64 = 0.14;

fn rect(x0: f64, y0: f64, x1: f64, y1: f64) -> Vec<[f64; 2]> {
    vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
}

fn room(
    number: &'static str,
    name: &'static str,
    corners: Vec<[f64; 2]>,
    glazing: Glazing,
    purpose: Use,
    doors: &'static [&'static str],
) -> Room {
    Room { number, name, corners, glazing, purpose, doors }
}

/// All storeys, from the ground up.
pub(crate) fn storeys() -> Vec<Storey> {
    vec![ground(), first(), second(), third(), roof()]
}

fn ell() -> Vec<[f64; 2]> {
    vec![[0.0, 0.0], [36.0, 0.0], [36.0, 14.0], [14.0, 14.0], [14.0, 32.0], [0.0, 32.0]]
}

fn ground() -> Storey {
    use Glazing::{Bays, Full, None};
    let work = |heat| Use::Work { heat };
    Storey {
        code: "0",
        name: "Ground floor",
        elevation: 0.0,
        height: 4.2,
        // The south-east corner is drawn back behind an arcade.
        outline: vec![
            [0.0, 0.0],
            [25.0, 0.0],
            [25.0, 2.8],
            [36.0, 2.8],
            [36.0, 14.0],
            [14.0, 14.0],
            [14.0, 32.0],
            [0.0, 32.0],
        ],
        slab: vec![
            [-1.2, -2.4],
            [37.2, -2.4],
            [37.2, 15.2],
            [15.2, 15.2],
            [15.2, 33.2],
            [-1.2, 33.2],
        ],
        rooms: vec![
            room("0.01", "Lobby", rect(14.0, 0.0, 25.0, 6.0), Full, work(0.9), &["0.11"]),
            room("0.02", "Café", rect(25.0, 2.8, 36.0, 8.0), Full, work(1.3), &["0.11", "0.05"]),
            room("0.03", "Auditorium", rect(0.0, 0.0, 14.0, 6.0), Bays, work(1.5), &["0.11"]),
            room("0.04", "Exhibition", rect(14.0, 8.0, 25.0, 14.0), Full, work(0.8), &["0.11"]),
            room("0.05", "Kitchen", rect(25.0, 8.0, 36.0, 14.0), Bays, work(1.9), &[]),
            room("0.06", "Library", rect(0.0, 6.0, 6.0, 20.0), Bays, work(0.8), &["0.11"]),
            room("0.07", "Print studio", rect(0.0, 20.0, 6.0, 32.0), Bays, work(1.4), &["0.11"]),
            room("0.08", "Workshop", rect(8.0, 14.0, 14.0, 32.0), Bays, work(1.2), &["0.11"]),
            room("0.09", "Stairs", rect(8.0, 8.0, 11.5, 14.0), None, Use::Bare, &["0.11"]),
            room("0.10", "Cloakroom", rect(11.5, 8.0, 14.0, 14.0), None, Use::Bare, &["0.11"]),
            room("0.11", "Corridor", corridor(25.0), Bays, Use::Circulation, &["0.01"]),
        ],
    }
}

/// The bent corridor of the two lower storeys; `east` is where it ends.
fn corridor(east: f64) -> Vec<[f64; 2]> {
    vec![[6.0, 6.0], [east, 6.0], [east, 8.0], [8.0, 8.0], [8.0, 32.0], [6.0, 32.0]]
}

fn first() -> Storey {
    use Glazing::{Bays, Full, None};
    let work = |heat| Use::Work { heat };
    Storey {
        code: "1",
        name: "Level 1",
        elevation: 4.2,
        height: 3.6,
        outline: ell(),
        slab: ell(),
        rooms: vec![
            room(
                "1.01",
                "Open office south",
                rect(0.0, 0.0, 18.0, 6.0),
                Bays,
                work(1.2),
                &["1.10"],
            ),
            room("1.02", "Meeting Elbe", rect(18.0, 0.0, 25.0, 6.0), Full, work(1.4), &["1.10"]),
            room("1.03", "Project room", rect(25.0, 0.0, 36.0, 6.0), Bays, work(1.1), &["1.10"]),
            room(
                "1.04",
                "Open office north",
                rect(14.0, 8.0, 27.0, 14.0),
                Bays,
                work(1.0),
                &["1.10"],
            ),
            room("1.05", "Meeting Spree", rect(27.0, 8.0, 36.0, 14.0), Bays, work(1.2), &["1.10"]),
            room("1.06", "Design studio", rect(0.0, 6.0, 6.0, 20.0), Bays, work(1.1), &["1.10"]),
            room("1.07", "Model shop", rect(0.0, 20.0, 6.0, 32.0), Bays, work(1.3), &["1.10"]),
            room("1.08", "Materials lab", rect(8.0, 14.0, 14.0, 32.0), Bays, work(1.2), &["1.10"]),
            room("1.09", "Stairs", rect(8.0, 8.0, 14.0, 14.0), None, Use::Bare, &["1.10"]),
            room("1.10", "Corridor", corridor(36.0), Bays, Use::Circulation, &[]),
        ],
    }
}

fn second() -> Storey {
    use Glazing::{Bays, Full, None};
    let work = |heat| Use::Work { heat };
    Storey {
        code: "2",
        name: "Level 2",
        elevation: 7.8,
        height: 3.6,
        outline: rect(0.0, 0.0, 36.0, 14.0),
        slab: ell(),
        rooms: vec![
            room(
                "2.01",
                "Open office south",
                rect(0.0, 0.0, 20.0, 6.0),
                Bays,
                work(1.2),
                &["2.07"],
            ),
            room("2.02", "Meeting Havel", rect(20.0, 0.0, 27.0, 6.0), Full, work(1.4), &["2.07"]),
            room("2.03", "Finance", rect(27.0, 0.0, 36.0, 6.0), Bays, work(1.0), &["2.07"]),
            room("2.04", "Quiet room", rect(0.0, 6.0, 6.0, 14.0), Full, work(0.7), &["2.07"]),
            room(
                "2.05",
                "Open office north",
                rect(14.0, 8.0, 36.0, 14.0),
                Bays,
                work(1.0),
                &["2.07"],
            ),
            room("2.06", "Stairs", rect(8.0, 8.0, 14.0, 14.0), None, Use::Bare, &["2.07"]),
            room(
                "2.07",
                "Corridor",
                vec![[6.0, 6.0], [36.0, 6.0], [36.0, 8.0], [8.0, 8.0], [8.0, 14.0], [6.0, 14.0]],
                Full,
                Use::Circulation,
                &[],
            ),
        ],
    }
}

fn third() -> Storey {
    use Glazing::{Bays, Full, None};
    let work = |heat| Use::Work { heat };
    Storey {
        code: "3",
        name: "Level 3",
        elevation: 11.4,
        height: 3.6,
        outline: rect(0.0, 0.0, 26.0, 14.0),
        slab: rect(0.0, 0.0, 36.0, 14.0),
        rooms: vec![
            room("3.01", "Boardroom", rect(0.0, 0.0, 11.0, 6.0), Full, work(1.3), &["3.07"]),
            room("3.02", "Directors", rect(11.0, 0.0, 18.0, 6.0), Bays, work(1.0), &["3.07"]),
            room("3.03", "Terrace lounge", rect(18.0, 0.0, 26.0, 14.0), Full, work(1.1), &["3.07"]),
            room("3.04", "Server room", rect(14.0, 8.0, 18.0, 14.0), None, work(2.6), &["3.07"]),
            room("3.05", "Archive", rect(0.0, 6.0, 6.0, 14.0), Bays, work(0.5), &["3.07"]),
            room("3.06", "Stairs", rect(8.0, 8.0, 14.0, 14.0), None, Use::Bare, &["3.07"]),
            room(
                "3.07",
                "Corridor",
                vec![[6.0, 6.0], [18.0, 6.0], [18.0, 8.0], [8.0, 8.0], [8.0, 14.0], [6.0, 14.0]],
                Bays,
                Use::Circulation,
                &[],
            ),
        ],
    }
}

fn roof() -> Storey {
    Storey {
        code: "R",
        name: "Roof",
        elevation: 15.0,
        height: 3.4,
        outline: rect(8.0, 6.0, 22.0, 14.0),
        slab: rect(0.0, 0.0, 26.0, 14.0),
        rooms: vec![
            room(
                "R.01",
                "Plant room",
                vec![[8.0, 6.0], [22.0, 6.0], [22.0, 14.0], [11.5, 14.0], [11.5, 8.0], [8.0, 8.0]],
                Glazing::None,
                Use::Plant,
                &["R.02"],
            ),
            room("R.02", "Stair head", rect(8.0, 8.0, 11.5, 14.0), Glazing::None, Use::Bare, &[]),
            room("R.03", "Chiller yard", rect(1.0, 5.4, 7.4, 13.0), Glazing::None, Use::Bare, &[]),
        ],
    }
}

/// A box or a standing or lying cylinder, relative to the machine's own corner.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// `at` is the lowest corner.
    Block { at: [f64; 3], size: [f64; 3] },
    /// Standing on the centre `at`.
    Drum { at: [f64; 3], radius: f64, height: f64 },
    /// Lying along X from the centre `at`.
    Pipe { at: [f64; 3], radius: f64, length: f64 },
    /// Lying along Y from the centre `at`.
    PipeY { at: [f64; 3], radius: f64, length: f64 },
}

/// One machine with a device of its own.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) long_name: &'static str,
    pub(crate) device_type: &'static str,
    /// IFC entity and the enumeration that closes its attribute list.
    pub(crate) entity: (&'static str, &'static str),
    pub(crate) space: &'static str,
    pub(crate) at: [f64; 3],
    pub(crate) shapes: Vec<Shape>,
    pub(crate) points: &'static [(&'static str, &'static str)],
}

/// What a room sensor measures: key and unit.
pub(crate) const ROOM_POINTS: &[(&str, &str)] =
    &[("temperature", "°C"), ("humidity", "%"), ("co2", "ppm")];

const CHILLER_POINTS: &[(&str, &str)] = &[
    ("supply_water_temperature", "°C"),
    ("return_water_temperature", "°C"),
    ("power", "kW"),
    ("compressor_running", ""),
    ("vibration", "mm/s"),
];
const AHU_POINTS: &[(&str, &str)] =
    &[("supply_air_temperature", "°C"), ("return_air_temperature", "°C"), ("fan_speed", "%")];
const PUMP_POINTS: &[(&str, &str)] = &[("flow", "m³/h"), ("pressure", "bar"), ("power", "kW")];
const METER_POINTS: &[(&str, &str)] = &[("power", "kW"), ("energy", "kWh")];
const WEATHER_POINTS: &[(&str, &str)] = &[("temperature", "°C"), ("humidity", "%")];

/// Every machine, meter and station.
pub(crate) fn machines() -> Vec<Machine> {
    let mut machines = vec![chiller()];
    machines.push(ahu("AHU-1", "Air handling unit east", [14.2, 6.9, 15.0]));
    machines.push(ahu("AHU-2", "Air handling unit west", [14.2, 10.6, 15.0]));
    for (name, x) in [("P-1", 12.2), ("P-2", 13.1)] {
        machines.push(Machine {
            name,
            long_name: "Chilled water pump",
            device_type: "pump",
            entity: ("IFCPUMP", ".CIRCULATOR."),
            space: "R.01",
            at: [x, 11.9, 15.0],
            shapes: vec![
                Shape::Block { at: [0.0, 0.0, 0.0], size: [0.6, 1.3, 0.18] },
                Shape::PipeY { at: [0.3, 0.1, 0.5], radius: 0.22, length: 0.75 },
                Shape::Drum { at: [0.3, 1.05, 0.18], radius: 0.14, height: 1.5 },
            ],
            points: PUMP_POINTS,
        });
    }
    for (name, long_name, space, at) in [
        ("M-0", "Meter ground floor", "0.10", [12.2, 13.55, 1.2]),
        ("M-1", "Meter level 1", "1.09", [12.2, 13.55, 5.4]),
        ("M-2", "Meter level 2", "2.06", [12.2, 13.55, 9.0]),
        ("M-3", "Meter level 3", "3.06", [12.2, 13.55, 12.6]),
        ("M-MAIN", "Main meter", "0.10", [13.1, 13.55, 1.2]),
    ] {
        machines.push(Machine {
            name,
            long_name,
            device_type: "meter",
            entity: ("IFCFLOWMETER", ".ENERGYMETER."),
            space,
            at,
            shapes: vec![Shape::Block { at: [0.0, 0.0, 0.0], size: [0.5, 0.22, 0.9] }],
            points: METER_POINTS,
        });
    }
    machines.push(Machine {
        name: "WS-1",
        long_name: "Weather station",
        device_type: "weather_station",
        entity: ("IFCSENSOR", ".TEMPERATURESENSOR."),
        space: "R.03",
        at: [1.6, 12.4, 15.0],
        shapes: vec![
            Shape::Drum { at: [0.0, 0.0, 0.0], radius: 0.04, height: 2.6 },
            Shape::Drum { at: [0.0, 0.0, 2.2], radius: 0.16, height: 0.34 },
        ],
        points: WEATHER_POINTS,
    });
    machines
}

fn chiller() -> Machine {
    let mut shapes = vec![
        Shape::Block { at: [0.0, 0.0, 0.0], size: [2.2, 5.2, 0.22] },
        Shape::Block { at: [0.1, 0.1, 0.22], size: [2.0, 5.0, 1.5] },
        Shape::Block { at: [0.0, 0.0, 1.72], size: [2.2, 5.2, 0.16] },
        Shape::PipeY { at: [0.55, 5.1, 0.55], radius: 0.11, length: 1.3 },
        Shape::PipeY { at: [1.05, 5.1, 0.55], radius: 0.11, length: 1.3 },
    ];
    for fan in 0..4u8 {
        let y = 0.75 + f64::from(fan) * 1.23;
        shapes.push(Shape::Drum { at: [0.6, y, 1.88], radius: 0.42, height: 0.22 });
        shapes.push(Shape::Drum { at: [1.6, y, 1.88], radius: 0.42, height: 0.22 });
    }
    Machine {
        name: "CH-1",
        long_name: "Chiller",
        device_type: "chiller",
        entity: ("IFCCHILLER", ".AIRCOOLED."),
        space: "R.03",
        at: [3.1, 6.2, 15.0],
        shapes,
        points: CHILLER_POINTS,
    }
}

fn ahu(name: &'static str, long_name: &'static str, at: [f64; 3]) -> Machine {
    Machine {
        name,
        long_name,
        device_type: "air_handling_unit",
        entity: ("IFCUNITARYEQUIPMENT", ".AIRHANDLER."),
        space: "R.01",
        at,
        shapes: vec![
            Shape::Block { at: [0.0, 0.0, 0.0], size: [6.4, 2.1, 0.16] },
            Shape::Block { at: [0.0, 0.1, 0.16], size: [2.0, 1.9, 1.8] },
            Shape::Block { at: [2.06, 0.1, 0.16], size: [1.5, 1.9, 1.8] },
            Shape::Block { at: [3.62, 0.1, 0.16], size: [2.7, 1.9, 1.8] },
            Shape::Drum { at: [1.0, 1.05, 1.96], radius: 0.45, height: 0.8 },
            Shape::Pipe { at: [6.3, 1.05, 1.1], radius: 0.4, length: 0.9 },
        ],
        points: AHU_POINTS,
    }
}

//! The demo building "Linden Yard": one IFC4 file, an inventory of its devices, the list that the
//! simulated devices run from. Always the same bytes; simulated, and said to be.

mod elements;
mod fittings;
mod geometry;
mod model;
mod plan;
mod writer;

use plan::{Machine, ROOM_POINTS, SLAB_THICKNESS, Shape, Use, machines, storeys};

/// The name of the demo building.
pub const DEMO_BUILDING_NAME: &str = "Linden Yard";

/// One measured value of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoPoint {
    /// The telemetry key.
    pub key: &'static str,
    /// The unit; empty for states.
    pub unit: &'static str,
}

/// What a device measures or drives; tells the physics which model it reads from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DemoKind {
    /// A room sensor; `heat` scales the working day's heat load (1 is an ordinary office).
    Room {
        /// Factor on the heat load.
        heat: f64,
        /// Floor area in square metres.
        area_m2: f64,
    },
    /// The chiller.
    Chiller,
    /// An air handling unit.
    AirHandlingUnit,
    /// A chilled-water pump.
    Pump,
    /// A power meter of one storey, `None` for the whole building.
    Meter {
        /// The storey's index from the ground.
        storey: Option<usize>,
    },
    /// The weather station on the roof.
    WeatherStation,
}

/// One device of the demo building.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoDevice {
    /// Unique name, `RS-1.02` or `CH-1`.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Device type as in the inventory: `room_sensor`, `chiller`, ...
    pub device_type: &'static str,
    /// Which part of the physics it reads.
    pub kind: DemoKind,
    /// Number (IFC name) of the room it is in.
    pub space: &'static str,
    /// GlobalId of that room.
    pub space_id: String,
    /// GlobalId of its element.
    pub element_id: String,
    /// Metres, Z up, in the building's coordinates.
    pub position: [f64; 3],
    /// What it sends.
    pub points: Vec<DemoPoint>,
}

/// The building's geometry as a quantised GLB, converted from [`demo_ifc`] by
/// `node web/demo/convert.mjs`. A test holds the two together.
pub const DEMO_GLB: &[u8] = include_bytes!("../assets/linden-yard.glb");

/// The building as ISO 10303-21 text, schema IFC4, in metres.
pub fn demo_ifc() -> String {
    model::write()
}

/// Every device, room sensors first, in the order of the storeys.
pub fn demo_devices() -> Vec<DemoDevice> {
    let mut devices = Vec::new();
    for storey in storeys() {
        for room in storey.rooms.iter().filter(|room| fittings::is_measured(room)) {
            let clear = storey.height - SLAB_THICKNESS;
            let [x, y, z] = fittings::sensor_position(clear, room);
            let heat = match room.purpose {
                Use::Work { heat } => heat,
                Use::Circulation | Use::Bare => 0.4,
                Use::Plant => 1.6,
            };
            devices.push(DemoDevice {
                name: format!("RS-{}", room.number),
                label: format!("{} {}", room.number, room.name),
                device_type: "room_sensor",
                kind: DemoKind::Room { heat, area_m2: geometry::area(&room.corners) },
                space: room.number,
                space_id: model::space_id(room.number),
                element_id: writer::global_id(&format!("sensor {}", room.number)),
                position: [x, y, storey.elevation + z],
                points: points(ROOM_POINTS),
            });
        }
    }
    devices.extend(machines().iter().map(machine_device));
    devices
}

fn points(list: &'static [(&'static str, &'static str)]) -> Vec<DemoPoint> {
    list.iter().map(|(key, unit)| DemoPoint { key, unit }).collect()
}

fn machine_device(machine: &Machine) -> DemoDevice {
    let kind = match machine.device_type {
        "chiller" => DemoKind::Chiller,
        "air_handling_unit" => DemoKind::AirHandlingUnit,
        "pump" => DemoKind::Pump,
        "weather_station" => DemoKind::WeatherStation,
        _ => DemoKind::Meter {
            storey: machine.name.strip_prefix("M-").and_then(|number| number.parse().ok()),
        },
    };
    DemoDevice {
        name: machine.name.to_owned(),
        label: machine.long_name.to_owned(),
        device_type: machine.device_type,
        kind,
        space: machine.space,
        space_id: model::space_id(machine.space),
        element_id: writer::global_id(&format!("machine {}", machine.name)),
        position: top_of(machine),
        points: points(machine.points),
    }
}

/// The middle of a machine's upper side: where its marker stands.
fn top_of(machine: &Machine) -> [f64; 3] {
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for shape in &machine.shapes {
        let (from, to) = match *shape {
            Shape::Block { at, size } => (at, [at[0] + size[0], at[1] + size[1], at[2] + size[2]]),
            Shape::Drum { at: [x, y, z], radius: r, height } => {
                ([x - r, y - r, z], [x + r, y + r, z + height])
            }
            Shape::Pipe { at: [x, y, z], radius: r, length } => {
                ([x, y - r, z - r], [x + length, y + r, z + r])
            }
            Shape::PipeY { at: [x, y, z], radius: r, length } => {
                ([x - r, y, z - r], [x + r, y + length, z + r])
            }
        };
        for axis in 0..3 {
            low[axis] = low[axis].min(from[axis]);
            high[axis] = high[axis].max(to[axis]);
        }
    }
    let [x, y, z] = machine.at;
    [x + (low[0] + high[0]) / 2.0, y + (low[1] + high[1]) / 2.0, z + high[2]]
}

/// The devices as an inventory: one row per device and key.
/// Columns: `name,type,space,key,unit,declaration,element,x,y,z` (`space` is the room's number).
pub fn inventory_csv() -> String {
    let mut out = String::from("name,type,space,key,unit,declaration,element,x,y,z\n");
    for device in demo_devices() {
        let [x, y, z] = device.position;
        for point in &device.points {
            out.push_str(&format!(
                "{},{},{},{},{},non_personal,{},{x:.3},{y:.3},{z:.3}\n",
                device.name,
                device.device_type,
                device.space,
                point.key,
                point.unit,
                device.element_id,
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_file_is_the_same_each_time_and_its_references_hold() {
        let text = demo_ifc();
        assert_eq!(text, demo_ifc());
        assert!(text.starts_with("ISO-10303-21;\n") && text.ends_with("END-ISO-10303-21;\n"));
        assert!(text.is_ascii());
        let mut defined = HashSet::new();
        for line in text.lines().filter(|line| line.starts_with('#')) {
            let (number, body) = line[1..].split_once('=').expect("a numbered line");
            let number: u32 = number.parse().expect("a number");
            for part in body.split('#').skip(1) {
                let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
                let target: u32 = digits.parse().expect("a reference");
                assert!(defined.contains(&target), "#{number} refers to #{target} before it");
            }
            assert!(defined.insert(number));
        }
    }

    #[test]
    fn global_ids_are_unique() {
        let text = demo_ifc();
        let ids: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("('"))
            .map(|(_, rest)| rest.split('\'').next().unwrap_or_default())
            .filter(|id| id.len() == 22)
            .collect();
        let unique: HashSet<&&str> = ids.iter().collect();
        assert!(ids.len() > 500, "{}", ids.len());
        assert_eq!(unique.len(), ids.len());
    }

    #[test]
    fn rooms_fill_their_storeys() {
        for storey in storeys() {
            let enclosed = storey.rooms.iter().filter(|room| room.name != "Chiller yard");
            let rooms: f64 = enclosed.map(|room| geometry::area(&room.corners)).sum();
            let outline = geometry::area(&storey.outline);
            assert!((rooms - outline).abs() < 1e-6, "{}: {rooms} of {outline}", storey.name);
            for room in &storey.rooms {
                assert!(geometry::area(&room.corners) > 0.0, "{} runs clockwise", room.number);
            }
        }
    }

    /// The converter records length and FNV-1a hash of its source in the GLB.
    #[test]
    fn the_geometry_belongs_to_the_file() {
        let text = demo_ifc();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let length =
            usize::try_from(u32::from_le_bytes(DEMO_GLB[12..16].try_into().expect("four bytes")))
                .expect("a length");
        let json: serde_json::Value =
            serde_json::from_slice(&DEMO_GLB[20..20 + length]).expect("the JSON chunk");
        let source = &json["asset"]["extras"]["source"];
        assert_eq!(source["bytes"], text.len(), "run the two commands in crates/simulator/assets");
        assert_eq!(source["fnv1a64"], format!("{hash:016x}"));
        assert!(DEMO_GLB.len() < 400 * 1024);
    }

    #[test]
    fn the_inventory_names_elements_of_the_file() {
        let text = demo_ifc();
        for device in demo_devices() {
            assert!(text.contains(&device.element_id), "{}", device.name);
            assert!(text.contains(&device.space_id), "{}", device.space);
        }
        let csv = inventory_csv();
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("row")).collect();
        assert!(rows.len() > 100, "{}", rows.len());
        assert!(rows.iter().all(|row| row.len() == 10 && &row[5] == "non_personal"));
    }
}

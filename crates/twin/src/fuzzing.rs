//! What has to hold for any bytes that are imported, beside "no panic". Compiled for tests, which
//! read the kept corpus and the regressions, and for the targets in `fuzz/`, which look for more.

use std::collections::HashSet;

use veritwin_domain::Screening;

use crate::ifc::{self, IfcLimits};
use crate::inventory::{self, COORDINATE_M_MAX, InventoryDevice, InventoryLimits};
use crate::{Bounds, GlobalId, Source, Space, Storey, TwinModel};

/// A file in the STEP text form.
pub fn ifc(data: &[u8]) {
    let limits = IfcLimits::default();
    let import = match ifc::import(data, [7; 32], &limits) {
        Ok(import) => import,
        Err(error) => {
            assert!(error.to_string().len() <= 4 * limits.name_bytes_max, "{error}");
            return;
        }
    };
    assert!(import.warnings.len() <= limits.warnings_max + 1);
    let model = import.model;
    let storeys: HashSet<&str> = model.storeys.iter().map(|storey| &*storey.id).collect();
    assert_eq!(storeys.len(), model.storeys.len(), "storeys with one id");
    for storey in &model.storeys {
        assert!(storey.elevation_m.is_finite() && storey.height_m.is_finite(), "{storey:?}");
    }
    for space in &model.spaces {
        assert!(storeys.contains(&*space.storey_id), "{space:?}");
        assert!(space.area_m2.is_finite() && space.area_m2 >= 0.0, "{space:?}");
        assert!(space.height_m.is_finite() && space.elevation_m.is_finite(), "{space:?}");
        assert!(space.polygon.len() <= limits.polygon_points_max, "{}", space.polygon.len());
        assert!(space.polygon.iter().flatten().all(|number| number.is_finite()), "{space:?}");
        assert!(space.name.len() <= limits.name_bytes_max);
    }
    for element in &model.elements {
        let storey = element.storey_id.as_ref();
        assert!(storey.is_none_or(|id| storeys.contains(&**id)), "{element:?}");
        let position = element.position.iter().flatten();
        assert!(position.into_iter().all(|number| number.is_finite()), "{element:?}");
    }
    let stored = model.to_bytes().unwrap_or_else(|error| panic!("not stored: {error}"));
    let again = TwinModel::from_bytes(&stored).unwrap_or_else(|error| panic!("not read: {error}"));
    assert_eq!(again, model);
}

/// A CSV file, for a building with one room.
pub fn inventory(data: &[u8]) {
    let (model, limits) = (room(), InventoryLimits::default());
    let Ok(devices) = inventory::parse(data, Some(&model), &limits) else { return };
    let names: HashSet<String> = devices.iter().map(|one| one.name.to_lowercase()).collect();
    assert_eq!(names.len(), devices.len(), "devices with one name");
    for device in &devices {
        assert!(device.keys.len() <= limits.keys_per_device_max);
        assert!(device.space.as_ref().is_none_or(|id| model.space(id).is_some()));
        let is_near = |number: &f64| number.abs() <= COORDINATE_M_MAX;
        assert!(device.position.iter().flatten().all(is_near), "{:?}", device.position);
        for key in &device.keys {
            assert_eq!(Screening::ALL.key(&key.key), None, "a refused key was let in");
        }
    }
    let text = written(&devices);
    let again = inventory::parse(text.as_bytes(), Some(&model), &limits);
    let mut again = again.unwrap_or_else(|error| panic!("written again: {error}\n{text}"));
    for (device, known) in again.iter_mut().zip(&devices) {
        device.row = known.row;
    }
    assert_eq!(again, devices, "written again:\n{text}");
}

/// The same inventory with every column.
fn written(devices: &[InventoryDevice]) -> String {
    let mut out = String::from("name,type,space,element,key,unit,declaration,x,y,z\n");
    for device in devices {
        let id = |id: &Option<GlobalId>| id.as_ref().map_or_else(String::new, |id| id.to_string());
        let axis = |axis: usize| {
            device.position.map_or_else(String::new, |position| format!("{}", position[axis]))
        };
        let keys = device.keys.iter().map(|key| (key.key.to_string(), key.unit.clone()));
        let mut keys: Vec<(String, String)> = keys.collect();
        if keys.is_empty() {
            keys.push((String::new(), String::new()));
        }
        for (key, unit) in keys {
            let fields = [
                device.name.clone(),
                device.device_type.clone(),
                id(&device.space),
                id(&device.element),
                key,
                unit,
                device.declaration.as_str().to_owned(),
                axis(0),
                axis(1),
                axis(2),
            ];
            let quoted = fields.map(|field| format!("\"{}\"", field.replace('"', "\"\"")));
            out.push_str(&quoted.join(","));
            out.push('\n');
        }
    }
    out
}

fn room() -> TwinModel {
    let id = |text: &str| {
        GlobalId::new(text).unwrap_or_else(|error| panic!("not an id: {text}: {error}"))
    };
    let (storey, origin) = (id("0000000000000000000001"), [0.0; 3]);
    TwinModel {
        name: String::new(),
        unit: TwinModel::UNIT,
        world_from_ifc_scale: 1.0,
        bounds: Bounds { min: origin, max: origin },
        sites: Vec::new(),
        buildings: Vec::new(),
        storeys: vec![Storey {
            id: storey.clone(),
            name: "Ground".to_owned(),
            building_id: None,
            index: 0,
            elevation_m: 0.0,
            height_m: 3.0,
        }],
        spaces: vec![Space {
            id: id("0000000000000000000002"),
            name: "101".to_owned(),
            long_name: "Office".to_owned(),
            storey_id: storey,
            area_m2: 1.0,
            height_m: 3.0,
            elevation_m: 0.0,
            polygon: Vec::new(),
            approximate: false,
        }],
        elements: Vec::new(),
        source: Source { schema: "IFC4".to_owned(), sha256: [0; 32], bytes: 0 },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file that is kept for a target, corpus and regressions.
    fn check(name: &str, target: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let mut count = 0;
        for kept in ["corpus", "regressions"] {
            let Ok(files) = std::fs::read_dir(root.join(kept).join(name)) else { continue };
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                count += 1;
            }
        }
        assert!(count > 0, "nothing is kept for {name}");
    }

    #[test]
    fn what_fuzzing_has_kept() {
        check("ifc", super::ifc);
        check("inventory", super::inventory);
    }
}

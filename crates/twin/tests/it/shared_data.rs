//! Real buildings from the shared test data (`VERITWIN_SHARED`, or `../shared` beside the
//! workspace). Skipped, with a line saying so, where the data is not at hand.

use std::path::PathBuf;
use std::time::Instant;

use veritwin_twin::TwinModel;
use veritwin_twin::ifc::{IfcLimits, Import, import};

use crate::skipped::skipped;

fn shared(path: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("VERITWIN_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let bytes = std::fs::read(root.join(path)).ok();
    if bytes.is_none() {
        skipped(&format!("{path} is not there (set VERITWIN_SHARED)"));
    }
    bytes
}

fn imported(path: &str) -> Option<Import> {
    let bytes = shared(path)?;
    let started = Instant::now();
    let import = import(&bytes, [1; 32], &IfcLimits::default()).unwrap();
    println!("{path}: {:?}, warnings {:?}", started.elapsed(), import.warnings);
    Some(import)
}

fn check_sane(model: &TwinModel) {
    for space in &model.spaces {
        assert!(space.polygon.len() >= 3, "{} has no outline", space.name);
        assert!(space.area_m2 > 0.5 && space.area_m2 < 2_000.0, "{} {}", space.name, space.area_m2);
        assert!(space.height_m > 0.3 && space.height_m < 20.0, "{} {}", space.name, space.height_m);
        assert!(!space.approximate, "{}", space.name);
        let storey = model.storey(&space.storey_id).unwrap();
        assert!(space.elevation_m > storey.elevation_m - 1.0, "{}", space.name);
        assert!(space.elevation_m < storey.elevation_m + storey.height_m, "{}", space.name);
    }
    assert!(model.storeys.windows(2).all(|pair| pair[0].elevation_m <= pair[1].elevation_m));
    let bytes = model.to_bytes().unwrap();
    assert_eq!(TwinModel::from_bytes(&bytes).unwrap(), *model);
    println!("stored form: {} bytes", bytes.len());
}

#[test]
fn duplex() {
    let Some(Import { model, .. }) = imported("data/ifc/duplex.ifc") else { return };
    check_sane(&model);
    assert_eq!((model.spaces.len(), model.storeys.len()), (21, 4));
    assert_eq!(model.storeys[1].name, "Level 1");
    assert_eq!(model.source.schema, "IFC2X3");
    // Areas by the shoelace formula over the profiles in the file, computed apart from this code.
    for (name, area_m2) in [("A101", 15.591), ("A102", 27.660), ("B204", 4.755), ("R301", 135.151)]
    {
        let space = model.spaces.iter().find(|space| space.name == name).unwrap();
        assert!((space.area_m2 - area_m2).abs() < 0.001, "{name} {}", space.area_m2);
    }
    let of = |class: &str| model.elements.iter().filter(|e| e.class == class).count();
    assert_eq!((of("IfcDoor"), of("IfcWindow"), of("IfcSlab")), (14, 24, 21));
    assert_eq!(of("IfcOpeningElement"), 0);
    let placed = model.elements.iter().filter(|element| element.storey_id.is_some()).count();
    assert_eq!(placed, model.elements.len());
    let furniture = model.elements.iter().filter(|e| e.class == "IfcFurnishingElement");
    assert!(furniture.filter(|e| e.space_id.is_some()).count() > 50);
}

#[test]
fn tower_with_sensors() {
    let path = "data/ifc/synthetic_tower_500sensors.ifc";
    let Some(Import { model, warnings }) = imported(path) else { return };
    check_sane(&model);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((model.storeys.len(), model.spaces.len(), model.sensor_count()), (5, 100, 500));
    assert!(model.spaces.iter().all(|space| (space.area_m2 - 45.24).abs() < 1e-6));
    assert!(model.spaces.iter().any(|space| space.long_name.contains("會議室")));
    assert!(model.elements.iter().all(|e| e.space_id.is_some() && e.position.is_some()));
    assert!(model.elements.iter().any(|e| e.predefined_type == "CO2SENSOR"));
    assert_eq!(model.name, "Synthetic Tower");
}

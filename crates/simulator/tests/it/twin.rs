//! The demo building is a building to the platform's own importer, and its inventory fits it.

use veritwin_simulator::building::{DEMO_BUILDING_NAME, demo_devices, demo_ifc, inventory_csv};
use veritwin_twin::ifc::{IfcLimits, import};
use veritwin_twin::inventory::{InventoryLimits, parse};

#[test]
fn the_importer_reads_building_and_inventory() {
    let imported =
        import(demo_ifc().as_bytes(), [0; 32], &IfcLimits::default()).expect("a building");
    assert_eq!(imported.warnings, Vec::<String>::new());
    let model = imported.model;
    assert_eq!(model.name, DEMO_BUILDING_NAME);
    let storeys: Vec<&str> = model.storeys.iter().map(|storey| storey.name.as_str()).collect();
    assert_eq!(storeys, ["Ground floor", "Level 1", "Level 2", "Level 3", "Roof"]);
    assert_eq!(model.spaces.len(), 38);
    for space in &model.spaces {
        assert!(space.polygon.len() >= 4 && !space.approximate, "{}", space.name);
        assert!(space.area_m2 > 8.0 && space.height_m > 3.0, "{}", space.name);
    }
    let devices = demo_devices();
    assert!(model.sensor_count() >= devices.len() - 12, "{}", model.sensor_count());
    let inventory =
        parse(inventory_csv().as_bytes(), Some(&model), &InventoryLimits::default()).expect("fits");
    assert_eq!(inventory.len(), devices.len());
    for device in &devices {
        let element = model.element(&device.element_id).expect("an element");
        let near = element.position.expect("a position");
        let distance = (0..3).map(|axis| (near[axis] - device.position[axis]).powi(2)).sum::<f64>();
        assert!(distance.sqrt() < 6.0, "{}: {near:?} {:?}", device.name, device.position);
        assert_eq!(element.space_id.as_deref(), Some(device.space_id.as_str()));
    }
}

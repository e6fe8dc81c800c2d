//! Brick classes of what a twin holds (Brick 1.4, https://brickschema.org), from the most special
//! to the most general. Classes that Brick lacks (walls, slabs) keep their IFC name.

/// Classes of an element of the given IFC class and predefined type, without the IFC name.
pub(crate) fn element_classes(ifc_class: &str, predefined_type: &str) -> &'static [&'static str] {
    match ifc_class {
        "IfcSensor" => sensor_classes(predefined_type),
        "IfcActuator" => &["Command", "Point"],
        "IfcAlarm" => &["Alarm", "Point"],
        "IfcController" | "IfcUnitaryControlElement" => {
            &["Controller", "ICT_Equipment", "Equipment"]
        }
        "IfcFlowMeter" => &["Meter", "Equipment"],
        "IfcChiller" => &["Chiller", "HVAC_Equipment", "Equipment"],
        "IfcBoiler" => &["Boiler", "HVAC_Equipment", "Equipment"],
        "IfcPump" => &["Pump", "HVAC_Equipment", "Equipment"],
        "IfcFan" => &["Fan", "HVAC_Equipment", "Equipment"],
        "IfcCompressor" => &["Compressor", "HVAC_Equipment", "Equipment"],
        "IfcCoolingTower" => &["Cooling_Tower", "HVAC_Equipment", "Equipment"],
        "IfcHeatExchanger" => &["Heat_Exchanger", "HVAC_Equipment", "Equipment"],
        "IfcHumidifier" => &["Humidifier", "HVAC_Equipment", "Equipment"],
        "IfcUnitaryEquipment" => &["Air_Handling_Unit", "HVAC_Equipment", "Equipment"],
        "IfcAirTerminalBox" => &["Terminal_Unit", "HVAC_Equipment", "Equipment"],
        "IfcAirTerminal" => &["Air_Diffuser", "HVAC_Equipment", "Equipment"],
        "IfcSpaceHeater" => &["Space_Heater", "HVAC_Equipment", "Equipment"],
        "IfcDamper" => &["Damper", "HVAC_Equipment", "Equipment"],
        "IfcValve" => &["Valve", "Equipment"],
        "IfcLightFixture" | "IfcLamp" => &["Luminaire", "Lighting_Equipment", "Equipment"],
        "IfcElectricGenerator" | "IfcMotorConnection" | "IfcTransformer" => {
            &["Electrical_Equipment", "Equipment"]
        }
        "IfcFireSuppressionTerminal" => &["Fire_Safety_Equipment", "Equipment"],
        "IfcFurniture" | "IfcFurnishingElement" | "IfcSystemFurnitureElement" => &["Furniture"],
        "IfcTransportElement" => &["Elevator", "Equipment"],
        _ if is_equipment(ifc_class) => &["Equipment"],
        _ => &[],
    }
}

fn sensor_classes(predefined_type: &str) -> &'static [&'static str] {
    match predefined_type {
        "TEMPERATURESENSOR" => &["Temperature_Sensor", "Sensor", "Point"],
        "HUMIDITYSENSOR" => &["Humidity_Sensor", "Sensor", "Point"],
        "CO2SENSOR" => &["CO2_Sensor", "Sensor", "Point"],
        "COSENSOR" => &["CO_Sensor", "Sensor", "Point"],
        "MOVEMENTSENSOR" => &["Motion_Sensor", "Sensor", "Point"],
        "SMOKESENSOR" | "FIRESENSOR" | "HEATSENSOR" => &["Fire_Sensor", "Sensor", "Point"],
        "PRESSURESENSOR" => &["Pressure_Sensor", "Sensor", "Point"],
        "FLOWSENSOR" => &["Flow_Sensor", "Sensor", "Point"],
        "LIGHTSENSOR" => &["Illuminance_Sensor", "Sensor", "Point"],
        "LEVELSENSOR" => &["Level_Sensor", "Sensor", "Point"],
        "CONTACTSENSOR" => &["Contact_Sensor", "Sensor", "Point"],
        _ => &["Sensor", "Point"],
    }
}

fn is_equipment(ifc_class: &str) -> bool {
    use ifc_lite_core::IfcType;
    IfcType::from_str(ifc_class).is_subtype_of(IfcType::IfcDistributionElement)
}

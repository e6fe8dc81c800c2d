//! Units of length and plane angle out of the project's `IfcUnitAssignment`. A declared unit that
//! cannot be resolved refuses the file: a building at a thousandth of its size helps nobody.

use ifc_lite_core::IfcType;
use ifc_lite_core::unit_labels::{get_conversion_based_unit_factor, try_si_prefix_multiplier};

use super::error::IfcError;
use super::step::{Record, Step};

/// Factors to SI units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    pub(super) metres_per_unit: f64,
    pub(super) radians_per_angle_unit: f64,
}

/// Reads the units of `project`; metres and radians where none are declared (the schema's own
/// default).
pub(super) fn read(step: &Step<'_>, project: &Record) -> Result<Units, IfcError> {
    let mut units = Units { metres_per_unit: 1.0, radians_per_angle_unit: 1.0 };
    let Some(assignment) = project.reference(8) else { return Ok(units) };
    let assignment = step.follow(project, assignment)?;
    for id in assignment.references(0) {
        let unit = step.follow(&assignment, id)?;
        match unit.enumeration(1) {
            Some("LENGTHUNIT") => units.metres_per_unit = factor(step, &unit)?,
            Some("PLANEANGLEUNIT") => units.radians_per_angle_unit = factor(step, &unit)?,
            _ => {}
        }
    }
    Ok(units)
}

fn factor(step: &Step<'_>, unit: &Record) -> Result<f64, IfcError> {
    match unit.class() {
        IfcType::IfcSIUnit => si_factor(unit),
        IfcType::IfcConversionBasedUnit | IfcType::IfcConversionBasedUnitWithOffset => {
            if let Some(known) = unit.text(2).and_then(get_conversion_based_unit_factor)
                && unit.enumeration(1) == Some("LENGTHUNIT")
            {
                return Ok(known);
            }
            let bad = || unit.problem("its conversion factor is not a positive finite number");
            let measure = step.follow(unit, unit.reference(3).ok_or_else(bad)?)?;
            let value = measure.number(0).filter(|value| *value > 0.0).ok_or_else(bad)?;
            let component = measure.reference(1).ok_or_else(bad)?;
            let component = step.follow(&measure, component)?;
            // The standard asks for an SI unit here; anything else would be a chain of guesses.
            Ok(value
                * if *component.class() == IfcType::IfcSIUnit {
                    si_factor(&component)?
                } else {
                    1.0
                })
        }
        _ => Err(unit.problem("expected IfcSIUnit or IfcConversionBasedUnit")),
    }
}

fn si_factor(unit: &Record) -> Result<f64, IfcError> {
    match unit.enumeration(2) {
        None => Ok(1.0),
        Some(prefix) => try_si_prefix_multiplier(prefix)
            .ok_or_else(|| unit.problem("its prefix is not one of the SI prefixes")),
    }
}

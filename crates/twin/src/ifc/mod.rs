//! Import of IFC files in the STEP text form (ISO 10303-21; schemas IFC2X3 to IFC4X3). It reads
//! the building's structure and the outlines of its spaces; solid geometry for display is not its
//! business. A file is imported whole or refused with the reason.

mod curve;
mod error;
mod frame;
mod outline;
mod placement;
mod profile;
mod relations;
mod shape;
mod spatial;
mod step;
mod units;

pub use error::{IfcError, IfcLimits};

use crate::model::TwinModel;

/// A finished import.
#[derive(Debug)]
pub struct Import {
    /// The model.
    pub model: TwinModel,
    /// What the reader should know: shapes that were approximated, names that were cut.
    pub warnings: Vec<String>,
}

/// Imports a file whose SHA-256 is `sha256`.
pub fn import(bytes: &[u8], sha256: [u8; 32], limits: &IfcLimits) -> Result<Import, IfcError> {
    let schema = frame::check(bytes, limits)?;
    let step = step::Step::scan(bytes, limits)?;
    let project = *step.of_class("IFCPROJECT").first().ok_or(IfcError::Missing {
        missing: "IfcProject",
        expected: "a building model has exactly one",
    })?;
    let project = step.get(project)?;
    let units = units::read(&step, &project)?;
    let relations = relations::Relations::read(&step)?;
    let source = crate::model::Source { schema: schema.label, sha256, bytes: bytes.len() as u64 };
    spatial::Builder::new(&step, &relations, units, limits).build(&project, source)
}

/// Gathers warnings under a bound.
pub(crate) struct Warnings {
    list: Vec<String>,
    max: usize,
    further: usize,
}

impl Warnings {
    pub(crate) fn new(max: usize) -> Self {
        Self { list: Vec::new(), max, further: 0 }
    }

    pub(crate) fn push(&mut self, warning: String) {
        if self.list.len() < self.max {
            self.list.push(warning);
        } else {
            self.further += 1;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<String> {
        if self.further > 0 {
            self.list.push(format!("and {} further warnings", self.further));
        }
        self.list
    }
}

//! The relationships an import follows: what is part of what, what is contained where, which type
//! an occurrence has, which space an element bounds. Ends that are missing refuse the file.

use std::collections::HashMap;

use super::error::IfcError;
use super::step::{Record, Step};

/// Relationships by the number of the related record.
#[derive(Default)]
pub(super) struct Relations {
    /// Whole of a part (`IfcRelAggregates`, `IfcRelNests`, fillings of openings).
    pub(super) whole_of: HashMap<u32, u32>,
    /// Spatial structure that contains an element.
    pub(super) container_of: HashMap<u32, u32>,
    /// Type of an occurrence.
    pub(super) type_of: HashMap<u32, u32>,
    /// A space that an element bounds; the first one named.
    pub(super) bounded_space_of: HashMap<u32, u32>,
}

impl Relations {
    pub(super) fn read(step: &Step<'_>) -> Result<Self, IfcError> {
        let mut relations = Self::default();
        for class in ["IFCRELAGGREGATES", "IFCRELNESTS"] {
            for id in step.of_class(class) {
                let relation = step.get(*id)?;
                let whole = end(&relation, 4)?;
                for part in relation.references(5) {
                    relations.whole_of.entry(part).or_insert(whole);
                }
            }
        }
        // A door fills an opening, which voids a wall: it is where the wall is.
        for (class, from, to) in [("IFCRELFILLSELEMENT", 5, 4), ("IFCRELVOIDSELEMENT", 5, 4)] {
            for id in step.of_class(class) {
                let relation = step.get(*id)?;
                let (part, whole) = (end(&relation, from)?, end(&relation, to)?);
                relations.whole_of.entry(part).or_insert(whole);
            }
        }
        for id in step.of_class("IFCRELCONTAINEDINSPATIALSTRUCTURE") {
            let relation = step.get(*id)?;
            let container = end(&relation, 5)?;
            for element in relation.references(4) {
                relations.container_of.insert(element, container);
            }
        }
        for id in step.of_class("IFCRELDEFINESBYTYPE") {
            let relation = step.get(*id)?;
            let of_type = end(&relation, 5)?;
            for occurrence in relation.references(4) {
                relations.type_of.insert(occurrence, of_type);
            }
        }
        for class in
            ["IFCRELSPACEBOUNDARY", "IFCRELSPACEBOUNDARY1STLEVEL", "IFCRELSPACEBOUNDARY2NDLEVEL"]
        {
            for id in step.of_class(class) {
                let relation = step.get(*id)?;
                // The element may be absent: a boundary to nothing in particular.
                if let (Some(space), Some(element)) = (relation.reference(4), relation.reference(5))
                {
                    relations.bounded_space_of.entry(element).or_insert(space);
                }
            }
        }
        Ok(relations)
    }
}

fn end(relation: &Record, index: usize) -> Result<u32, IfcError> {
    relation.reference(index).ok_or_else(|| {
        relation.problem(format!("attribute {} should refer to a record", index + 1))
    })
}

//! Random access to the records of a STEP file: one scan builds a sorted index of positions, then
//! records are decoded when asked for. Bounded in records, record size and total bytes decoded,
//! so that a file in which everything refers to everything cannot run for ever.

use std::cell::Cell;
use std::collections::BTreeMap;

use ifc_lite_core::{AttributeValue, DecodedEntity, EntityScanner, IfcType, parse_entity};

use super::error::{IfcError, IfcLimits};
use super::frame::line_of;

/// Position of one record.
#[derive(Debug, Clone, Copy)]
struct Span {
    id: u32,
    start: u32,
    end: u32,
}

/// A scanned file.
pub(super) struct Step<'a> {
    bytes: &'a [u8],
    spans: Vec<Span>,
    /// Records of the classes that the import walks, in the order of the file.
    by_class: BTreeMap<&'static str, Vec<u32>>,
    /// Records that are subtypes of `IfcElement`, in the order of the file.
    elements: Vec<u32>,
    decoded_bytes: Cell<u64>,
    decoded_bytes_max: u64,
    record_bytes_max: usize,
}

/// Classes that the import starts from.
const WALKED: [&str; 14] = [
    "IFCPROJECT",
    "IFCSITE",
    "IFCBUILDING",
    "IFCBUILDINGSTOREY",
    "IFCSPACE",
    "IFCRELAGGREGATES",
    "IFCRELNESTS",
    "IFCRELCONTAINEDINSPATIALSTRUCTURE",
    "IFCRELDEFINESBYTYPE",
    "IFCRELSPACEBOUNDARY",
    "IFCRELSPACEBOUNDARY1STLEVEL",
    "IFCRELSPACEBOUNDARY2NDLEVEL",
    "IFCRELFILLSELEMENT",
    "IFCRELVOIDSELEMENT",
];

impl<'a> Step<'a> {
    /// Scans `bytes`. Any record that cannot be framed refuses the whole file.
    pub(super) fn scan(bytes: &'a [u8], limits: &IfcLimits) -> Result<Self, IfcError> {
        let mut scanner = EntityScanner::new(bytes);
        let mut spans = Vec::new();
        let mut by_class: BTreeMap<&'static str, Vec<u32>> = BTreeMap::new();
        let mut elements = Vec::new();
        let mut is_element: BTreeMap<&str, bool> = BTreeMap::new();
        while let Some((id, class, start, end)) = scanner.next_entity() {
            if spans.len() == limits.records_max {
                return Err(limit("records_max", limits.records_max, limits.records_max + 1));
            }
            spans.push(Span { id, start: narrow(start), end: narrow(end) });
            if let Some(walked) = WALKED.iter().find(|walked| walked.eq_ignore_ascii_case(class)) {
                by_class.entry(walked).or_default().push(id);
            } else if *is_element.entry(class).or_insert_with(|| is_element_class(class)) {
                if elements.len() == limits.elements_max {
                    let max = limits.elements_max;
                    return Err(limit("elements_max", max, max + 1));
                }
                elements.push(id);
            }
        }
        refuse_dropped(bytes, &scanner)?;
        spans.sort_by_key(|span| span.id);
        refuse_duplicates(bytes, &spans)?;
        Ok(Self {
            bytes,
            spans,
            by_class,
            elements,
            decoded_bytes: Cell::new(0),
            decoded_bytes_max: limits.decoded_bytes_max.max(8 * bytes.len() as u64),
            record_bytes_max: limits.record_bytes_max,
        })
    }

    /// Numbers of the records of a class, in the order of the file.
    pub(super) fn of_class(&self, class: &str) -> &[u32] {
        self.by_class.get(class).map_or(&[], Vec::as_slice)
    }

    /// Numbers of all elements, in the order of the file.
    pub(super) fn elements(&self) -> &[u32] {
        &self.elements
    }

    /// Decodes record `id`; none when the file does not hold it.
    pub(super) fn find(&self, id: u32) -> Result<Option<Record>, IfcError> {
        let Ok(at) = self.spans.binary_search_by_key(&id, |span| span.id) else {
            return Ok(None);
        };
        let Span { start, end, .. } = self.spans[at];
        let (start, end) = (start as usize, end as usize);
        if end - start > self.record_bytes_max {
            return Err(limit("record_bytes_max", self.record_bytes_max, end - start));
        }
        let decoded = self.decoded_bytes.get() + (end - start) as u64;
        if decoded > self.decoded_bytes_max {
            return Err(IfcError::Limit {
                name: "decoded_bytes_max",
                max: self.decoded_bytes_max,
                actual: decoded,
            });
        }
        self.decoded_bytes.set(decoded);
        match parse_entity(&self.bytes[start..end]) {
            Ok((id, class, tokens)) => {
                let values = tokens.iter().map(AttributeValue::from_token).collect();
                Ok(Some(Record(DecodedEntity::new(id, class, values))))
            }
            Err(_) => Err(IfcError::Record {
                byte: start,
                line: line_of(self.bytes, start),
                problem: "expected #NUMBER=CLASS(attributes); in the STEP syntax".to_owned(),
            }),
        }
    }

    /// Decodes record `id`, to which `from` refers.
    pub(super) fn follow(&self, from: &Record, id: u32) -> Result<Record, IfcError> {
        self.find(id)?.ok_or_else(|| {
            from.problem(format!(
                "refers to #{id}, which is not in the file (is it cut in the middle?)"
            ))
        })
    }

    /// Decodes record `id`, whose number came from the scan.
    pub(super) fn get(&self, id: u32) -> Result<Record, IfcError> {
        self.find(id)?.ok_or(IfcError::Content {
            id,
            class: "record".to_owned(),
            problem: "is not in the file".to_owned(),
        })
    }
}

/// One decoded record.
pub(super) struct Record(DecodedEntity);

impl Record {
    pub(super) fn id(&self) -> u32 {
        self.0.id
    }

    pub(super) fn class(&self) -> &IfcType {
        &self.0.ifc_type
    }

    /// The class in the standard's spelling.
    pub(super) fn class_name(&self) -> &str {
        self.0.ifc_type.name()
    }

    pub(super) fn get(&self, index: usize) -> Option<&AttributeValue> {
        self.0.get(index)
    }

    pub(super) fn text(&self, index: usize) -> Option<&str> {
        self.0.get_string(index)
    }

    pub(super) fn number(&self, index: usize) -> Option<f64> {
        self.0.get_float(index).filter(|number| number.is_finite())
    }

    pub(super) fn reference(&self, index: usize) -> Option<u32> {
        self.0.get_ref(index)
    }

    /// References in a list; empty when there is no list.
    pub(super) fn references(&self, index: usize) -> Vec<u32> {
        self.0.get_refs(index).unwrap_or_default()
    }

    pub(super) fn enumeration(&self, index: usize) -> Option<&str> {
        self.0.get(index).and_then(AttributeValue::as_enum)
    }

    /// The first enumeration at or after `from`: the predefined type of most element classes.
    pub(super) fn first_enumeration(&self, from: usize) -> Option<&str> {
        self.0.attributes.iter().skip(from).find_map(|value| match value {
            AttributeValue::Enum(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Numbers of a list; none when anything in it is not a finite number.
    pub(super) fn numbers(&self, index: usize) -> Option<Vec<f64>> {
        finite(self.0.get_list(index)?)
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> IfcError {
        IfcError::Content {
            id: self.id(),
            class: self.class_name().to_owned(),
            problem: problem.into(),
        }
    }
}

/// The values of a list as numbers; none when one of them is not a finite number.
pub(super) fn finite(list: &[AttributeValue]) -> Option<Vec<f64>> {
    list.iter().map(|value| value.as_float().filter(|number| number.is_finite())).collect()
}

/// Openings and virtual elements are no things in the building.
fn is_element_class(class: &str) -> bool {
    let class = IfcType::from_str(class);
    class.is_subtype_of(IfcType::IfcElement)
        && !class.is_subtype_of(IfcType::IfcFeatureElement)
        && class != IfcType::IfcVirtualElement
}

fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn limit(name: &'static str, max: usize, actual: usize) -> IfcError {
    IfcError::Limit { name, max: max as u64, actual: actual as u64 }
}

fn refuse_dropped(bytes: &[u8], scanner: &EntityScanner<'_>) -> Result<(), IfcError> {
    let refuse = |byte: usize, problem: &str| {
        Err(IfcError::Record { byte, line: line_of(bytes, byte), problem: problem.to_owned() })
    };
    if let Some(byte) = scanner.malformed_record_start() {
        return refuse(byte, "it has no end (an open string, comment or parenthesis)");
    }
    if let Some(byte) = scanner.skipped_oversized_id_starts().first() {
        return refuse(*byte, "its number is larger than 4294967295");
    }
    Ok(())
}

fn refuse_duplicates(bytes: &[u8], spans: &[Span]) -> Result<(), IfcError> {
    match spans.windows(2).find(|pair| pair[0].id == pair[1].id) {
        None => Ok(()),
        Some(pair) => {
            let byte = pair[0].start.max(pair[1].start) as usize;
            let problem = format!("#{} is defined twice", pair[0].id);
            Err(IfcError::Record { byte, line: line_of(bytes, byte), problem })
        }
    }
}

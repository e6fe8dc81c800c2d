//! One row of an inventory: its fields checked, its space and element looked up, rows of the same
//! device merged. Errors name the row and the column, never a whole row.

use std::collections::HashMap;

use veritwin_domain::{Declaration, Key};

use super::header::{Column, Header};
use super::{InventoryDevice, InventoryError, InventoryKey, InventoryLimits};
use crate::model::{GlobalId, TwinModel};

/// Farthest coordinate, in metres.
pub const COORDINATE_M_MAX: f64 = 1e8;
const NEEDS_TWIN: &str =
    "needs a twin: give its id (--twin ID), import the building first, or leave this empty";
/// Longest name or type, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Spaces and elements by what a person may write.
pub(crate) struct Lookup<'m> {
    model: Option<&'m TwinModel>,
    /// Spaces by id, name and long name, each in lower case.
    spaces: HashMap<String, Vec<&'m GlobalId>>,
    elements: HashMap<String, Vec<&'m GlobalId>>,
}

impl<'m> Lookup<'m> {
    pub(crate) fn new(model: Option<&'m TwinModel>) -> Self {
        let mut lookup = Self { model, spaces: HashMap::new(), elements: HashMap::new() };
        for space in model.into_iter().flat_map(|model| &model.spaces) {
            let both = format!("{} {}", space.name, space.long_name);
            for text in [space.name.as_str(), &space.long_name, &both] {
                insert(&mut lookup.spaces, text, &space.id);
            }
        }
        for element in model.into_iter().flat_map(|model| &model.elements) {
            insert(&mut lookup.elements, &element.name, &element.id);
        }
        lookup
    }

    fn space(&self, text: &str) -> Result<GlobalId, String> {
        let model = self.model.ok_or(NEEDS_TWIN)?;
        if let Some(space) = model.space(text) {
            return Ok(space.id.clone());
        }
        one(&self.spaces, text, "space", "the name, long name or GlobalId of a space of this twin")
    }

    fn element(&self, text: &str) -> Result<GlobalId, String> {
        let model = self.model.ok_or(NEEDS_TWIN)?;
        if let Some(element) = model.element(text) {
            return Ok(element.id.clone());
        }
        one(&self.elements, text, "element", "the name or GlobalId of an element of this twin")
    }
}

fn insert<'m>(map: &mut HashMap<String, Vec<&'m GlobalId>>, text: &str, id: &'m GlobalId) {
    let text = text.trim().to_lowercase();
    if !text.is_empty() {
        let ids = map.entry(text).or_default();
        if ids.last() != Some(&id) {
            ids.push(id);
        }
    }
}

fn one(
    map: &HashMap<String, Vec<&GlobalId>>,
    text: &str,
    what: &str,
    expected: &str,
) -> Result<GlobalId, String> {
    match map.get(&text.to_lowercase()).map(Vec::as_slice) {
        Some([id]) => Ok((*id).clone()),
        Some([first, second, ..]) => Err(format!(
            "more than one {what} has this name: write the GlobalId, such as {first} or {second}"
        )),
        _ => Err(format!("no such {what}: expected {expected}")),
    }
}

/// One row below the header.
pub(crate) struct Row<'r> {
    header: &'r Header,
    record: &'r csv::StringRecord,
    number: usize,
}

impl<'r> Row<'r> {
    pub(crate) fn new(
        header: &'r Header,
        record: &'r csv::StringRecord,
        number: usize,
        limits: &InventoryLimits,
    ) -> Result<Self, InventoryError> {
        if record.len() != header.len() {
            return Err(InventoryError::row(
                number,
                format!("{} fields, but the header has {}", record.len(), header.len()),
            ));
        }
        let row = Self { header, record, number };
        for (index, field) in record.iter().enumerate() {
            let problem = if field.len() > limits.field_bytes_max {
                format!("longer than {} bytes", limits.field_bytes_max)
            } else if field.contains(['\n', '\r']) {
                "holds a line break".to_owned()
            } else if veritwin_domain::find_unseen(field).is_some() {
                veritwin_domain::NAME_RULE.to_owned()
            } else if let Some(rule) = limits.screening.text(None, field) {
                rule.refusal("this field")
            } else {
                continue;
            };
            let column = header.written(index).to_owned();
            return Err(InventoryError { row: number, column, problem });
        }
        // A key says what its values are.
        match limits.screening.key(row.field(Column::Key)) {
            Some(rule) => Err(row.refuse(Column::Key, rule.refusal("this key"))),
            None => Ok(row),
        }
    }

    /// The device this row describes, with at most one key.
    pub(crate) fn device(&self, lookup: &Lookup<'_>) -> Result<InventoryDevice, InventoryError> {
        let name = self.short(Column::Name)?;
        if name.is_empty() {
            return Err(self.refuse(Column::Name, "empty: every row names its device"));
        }
        let find = |column: Column, look: &dyn Fn(&str) -> Result<GlobalId, String>| match self
            .field(column)
        {
            "" => Ok(None),
            text => look(text).map(Some).map_err(|problem| self.refuse(column, problem)),
        };
        Ok(InventoryDevice {
            name,
            device_type: self.short(Column::Type)?,
            space: find(Column::Space, &|text| lookup.space(text))?,
            element: find(Column::Element, &|text| lookup.element(text))?,
            position: self.position()?,
            declaration: self.declaration()?,
            keys: self.key()?.into_iter().collect(),
            row: self.number,
        })
    }

    /// Adds what this row says of `device`: a key, and fields that it left empty so far.
    pub(crate) fn merge(
        &self,
        device: &mut InventoryDevice,
        row: InventoryDevice,
        limits: &InventoryLimits,
    ) -> Result<(), InventoryError> {
        let first = device.row;
        if row.name != device.name {
            let problem = format!(
                "differs only in case from {:?} in row {first}, and such names are one device",
                device.name
            );
            return Err(self.refuse(Column::Name, problem));
        }
        let differs = |column: Column| {
            self.refuse(column, format!("differs from row {first}, which names the same device"))
        };
        if device.device_type.is_empty() {
            device.device_type = row.device_type;
        } else if !row.device_type.is_empty() && row.device_type != device.device_type {
            return Err(differs(Column::Type));
        }
        join(&mut device.space, row.space).map_err(|()| differs(Column::Space))?;
        join(&mut device.element, row.element).map_err(|()| differs(Column::Element))?;
        join(&mut device.position, row.position).map_err(|()| differs(Column::X))?;
        match (device.declaration, row.declaration) {
            (Declaration::Undeclared, declared) => device.declaration = declared,
            (_, Declaration::Undeclared) => {}
            (before, now) if before == now => {}
            _ => return Err(differs(Column::Declaration)),
        }
        let Some(key) = row.keys.into_iter().next() else {
            let problem = format!("row {first} names the same device and this row adds no key");
            return Err(self.refuse(Column::Name, problem));
        };
        if device.keys.iter().any(|known| known.key == key.key) {
            let problem = "this device already has this key in an earlier row";
            return Err(self.refuse(Column::Key, problem));
        }
        if device.keys.len() == limits.keys_per_device_max {
            let problem = format!("more than {} keys of one device", limits.keys_per_device_max);
            return Err(self.refuse(Column::Key, problem));
        }
        device.keys.push(key);
        Ok(())
    }

    fn field(&self, column: Column) -> &str {
        let at = self.header.find(column).map(|(at, _)| at);
        at.and_then(|at| self.record.get(at)).unwrap_or_default()
    }

    fn short(&self, column: Column) -> Result<String, InventoryError> {
        let text = self.field(column);
        if text.chars().count() > NAME_CHARS_MAX {
            return Err(self.refuse(column, format!("longer than {NAME_CHARS_MAX} characters")));
        }
        Ok(text.to_owned())
    }

    fn key(&self) -> Result<Option<InventoryKey>, InventoryError> {
        let unit = self.short(Column::Unit)?;
        match self.field(Column::Key) {
            "" if unit.is_empty() => Ok(None),
            "" => Err(self.refuse(Column::Unit, "a unit without a key: fill the key column too")),
            text => {
                let key =
                    Key::new(text).map_err(|error| self.refuse(Column::Key, error.to_string()))?;
                Ok(Some(InventoryKey { key, unit }))
            }
        }
    }

    fn declaration(&self) -> Result<Declaration, InventoryError> {
        match self.field(Column::Declaration) {
            "" => Ok(Declaration::Undeclared),
            text => {
                Declaration::parse(&text.to_lowercase().replace([' ', '-'], "_")).ok_or_else(|| {
                    let problem = "expected undeclared, non_personal or personal";
                    self.refuse(Column::Declaration, problem)
                })
            }
        }
    }

    fn position(&self) -> Result<Option<[f64; 3]>, InventoryError> {
        let axes = [Column::X, Column::Y, Column::Z];
        if axes.iter().all(|axis| self.field(*axis).is_empty()) {
            return Ok(None);
        }
        let mut position = [0.0; 3];
        for (coordinate, axis) in position.iter_mut().zip(axes) {
            let text = self.field(axis);
            let number = text.parse::<f64>().ok();
            *coordinate = number
                .filter(|number| number.is_finite() && number.abs() <= COORDINATE_M_MAX)
                .ok_or_else(|| {
                    let problem = "expected a number of metres, with x, y and z all given";
                    self.refuse(axis, problem)
                })?;
        }
        Ok(Some(position))
    }

    fn refuse(&self, column: Column, problem: impl Into<String>) -> InventoryError {
        let written = self.header.find(column).map_or_else(
            || super::COLUMNS[column as usize].0.to_owned(),
            |(_, written)| written.to_owned(),
        );
        InventoryError { row: self.number, column: written, problem: problem.into() }
    }
}

fn join<T: PartialEq>(known: &mut Option<T>, new: Option<T>) -> Result<(), ()> {
    match (&known, new) {
        (None, new) => *known = new,
        (Some(_), None) => {}
        (Some(before), Some(new)) if *before == new => {}
        _ => return Err(()),
    }
    Ok(())
}

//! The header of an inventory: which column is which. Unknown, repeated and missing columns are
//! refused by name.

use super::InventoryError;

/// A column of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Name,
    Type,
    Space,
    Key,
    Unit,
    Declaration,
    Element,
    X,
    Y,
    Z,
}

/// The columns an inventory may have: their names, then other names that are understood. Only
/// `name` has to be there.
pub const COLUMNS: [(&str, &[&str]); 10] = [
    ("name", &["device", "device_name"]),
    ("type", &["device_type", "kind"]),
    ("space", &["room", "space_id", "location"]),
    ("key", &["point", "metric", "measurement"]),
    ("unit", &["units", "uom"]),
    ("declaration", &["personal_data", "privacy"]),
    ("element", &["element_id", "ifc_element", "global_id"]),
    ("x", &["x_m", "position_x"]),
    ("y", &["y_m", "position_y"]),
    ("z", &["z_m", "position_z"]),
];

const ORDER: [Column; COLUMNS.len()] = [
    Column::Name,
    Column::Type,
    Column::Space,
    Column::Key,
    Column::Unit,
    Column::Declaration,
    Column::Element,
    Column::X,
    Column::Y,
    Column::Z,
];

/// Where each column stands, and how the file writes its name.
#[derive(Debug)]
pub(crate) struct Header {
    columns: Vec<(Column, String)>,
}

impl Header {
    pub(crate) fn parse(record: &csv::StringRecord) -> Result<Self, InventoryError> {
        let mut columns: Vec<(Column, String)> = Vec::new();
        for (index, written) in record.iter().enumerate() {
            let refuse =
                |problem: String| InventoryError { row: 1, column: shown(written, index), problem };
            let column = find(written).ok_or_else(|| refuse(expectation("unknown column")))?;
            if columns.iter().any(|(known, _)| *known == column) {
                let (name, _) = COLUMNS[column as usize];
                return Err(refuse(format!("column {name} is there twice")));
            }
            columns.push((column, written.to_owned()));
        }
        if !columns.iter().any(|(column, _)| *column == Column::Name) {
            let problem = expectation("column name is missing");
            return Err(InventoryError { row: 1, column: "name".to_owned(), problem });
        }
        Ok(Self { columns })
    }

    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Where `column` stands and how the file writes it.
    pub(crate) fn find(&self, column: Column) -> Option<(usize, &str)> {
        let at = self.columns.iter().position(|(known, _)| *known == column)?;
        Some((at, self.columns[at].1.as_str()))
    }

    pub(crate) fn written(&self, index: usize) -> &str {
        self.columns.get(index).map_or("", |(_, written)| written)
    }
}

/// What a header should be, after `problem`.
pub(crate) fn expectation(problem: &str) -> String {
    let names = COLUMNS.map(|(name, _)| name).join(",");
    format!("{problem}: expected a header out of {names}, of which name is required")
}

/// Semicolon or tab when the header holds no comma: that is what spreadsheets of many countries
/// write.
pub(crate) fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    if header.contains(',') {
        b','
    } else if header.contains(';') {
        b';'
    } else if header.contains('\t') {
        b'\t'
    } else {
        b','
    }
}

fn find(written: &str) -> Option<Column> {
    let name = written.trim().to_lowercase().replace([' ', '-'], "_");
    let at = COLUMNS.iter().position(|(own, aliases)| *own == name || aliases.contains(&&*name))?;
    Some(ORDER[at])
}

/// The column's name for an error, cut, or its number when it has none.
fn shown(written: &str, index: usize) -> String {
    const CHARS_MAX: usize = 40;
    if written.is_empty() {
        format!("{} (no name)", index + 1)
    } else {
        written.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
    }
}

//! Version 49 of the schema: in which language people are written to. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "users",
    // None of people who never chose one.
    columns: &[nullable(column("language", ColumnKind::Enum, Category::Account))],
    indexes: &[],
}];

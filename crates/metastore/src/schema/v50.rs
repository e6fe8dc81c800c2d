//! Version 50 of the schema: until when salt and records of a batch stay with the platform.
//! Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "ledger_kept",
    // None of what stays as long as its leaf.
    columns: &[nullable(column("ends_at", ColumnKind::Time, Category::Operation))],
    indexes: &[&["ends_at"]],
}];

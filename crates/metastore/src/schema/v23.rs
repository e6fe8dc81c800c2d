//! Version 23 of the schema: what a list shows of an act on streams, so that the list reads no more
//! than that. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "stream_acts",
    // None of acts that are older.
    columns: &[nullable(column("head", ColumnKind::Sealed, Category::DeviceRegistry))],
    indexes: &[],
}];

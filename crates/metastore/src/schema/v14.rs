//! Version 14 of the schema: since when a tenant has had people. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "tenants",
    columns: &[
        // None: nobody yet, or before this was noted.
        nullable(column("peopled_at", ColumnKind::Time, Category::Organisation)),
    ],
    indexes: &[],
}];

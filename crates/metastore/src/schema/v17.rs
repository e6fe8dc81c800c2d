//! Version 17 of the schema: until when what the ledger sealed can be opened that a shorter plan
//! would end. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "tenants",
    columns: &[
        // Until then the ledger's payloads are kept as before.
        nullable(column("audit_wait_until", ColumnKind::Time, Category::Organisation)),
        // For so many days; none: all.
        nullable(column("audit_wait_days", ColumnKind::Integer, Category::Organisation)),
    ],
    indexes: &[],
}];

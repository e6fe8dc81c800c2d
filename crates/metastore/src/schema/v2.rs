//! Version 2 of the schema: tenants stand in a tree of partners. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind, TableDef};

pub(super) const TABLES: &[TableDef] = &[];

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "tenants",
    columns: &[
        // None: a customer.
        nullable(column("kind", ColumnKind::Enum, Category::Organisation)),
        // The partner that answers for it; none: the platform itself.
        nullable(column("parent_id", ColumnKind::Id, Category::Organisation)),
        nullable(column("plan_id", ColumnKind::Id, Category::Organisation)),
    ],
    indexes: &[&["parent_id"]],
}];

//! Version 15 of the schema: who brought whom into a tenant, and until when readings are kept that
//! a shorter plan would end. Published: never edited.

use super::v1::{OF_TENANT, OF_USER, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Rows, TableDef};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "tenants",
    columns: &[
        // Until then readings are kept as before.
        nullable(column("retention_wait_until", ColumnKind::Time, Category::Organisation)),
        // For so many days; none: all.
        nullable(column("retention_wait_days", ColumnKind::Integer, Category::Organisation)),
    ],
    indexes: &[],
}];

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "bringers",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Account),
        column("user_id", ColumnKind::Id, Category::Account),
        // All zero: whoever holds the data directory.
        column("by_id", ColumnKind::Id, Category::Account),
        column("created_at", ColumnKind::Time, Category::Account),
    ],
    primary_key: &["tenant_id", "user_id", "by_id"],
    unique: &[],
    indexes: &[&["user_id"]],
    references: &[OF_TENANT, OF_USER],
}];

//! Version 36 of the schema: what a tenant used on a day.
//! Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "usage_days",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Operation),
        // UTC days since 1970.
        column("day", ColumnKind::Integer, Category::Operation),
        column("points", ColumnKind::Integer, Category::Operation),
        column("messages", ColumnKind::Integer, Category::Operation),
        column("bytes_in", ColumnKind::Integer, Category::Operation),
        column("bytes_out", ColumnKind::Integer, Category::Operation),
        column("queries", ColumnKind::Integer, Category::Operation),
        column("requests", ColumnKind::Integer, Category::Operation),
        // What there was when it was last looked at on that day.
        nullable(column("stored_bytes", ColumnKind::Integer, Category::Operation)),
        nullable(column("devices", ColumnKind::Integer, Category::Operation)),
        nullable(column("series", ColumnKind::Integer, Category::Operation)),
        column("version", ColumnKind::Integer, Category::Operation),
        column("updated_at", ColumnKind::Time, Category::Operation),
    ],
    primary_key: &["tenant_id", "day"],
    unique: &[],
    indexes: &[&["day"]],
    references: &[OF_TENANT],
}];

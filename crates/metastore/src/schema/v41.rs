//! Version 41 of the schema: checkpoints of ledgers as they were published, with what witnesses
//! and an authority of time stamps said of them.
//! Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "ledger_published",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Evidence),
        column("tree_size", ColumnKind::Integer, Category::Evidence),
        // Whether the witness policy of that time was met.
        column("met", ColumnKind::Boolean, Category::Evidence),
        column("cosigned", ColumnKind::Integer, Category::Evidence),
        column("note", ColumnKind::Sealed, Category::Evidence),
        nullable(column("stamp", ColumnKind::Sealed, Category::Evidence)),
        nullable(column("stamped_at", ColumnKind::Time, Category::Evidence)),
        // Where it stands in the log of logs.
        nullable(column("roll", ColumnKind::Sealed, Category::Evidence)),
        column("version", ColumnKind::Integer, Category::Operation),
        column("updated_at", ColumnKind::Time, Category::Operation),
    ],
    primary_key: &["tenant_id", "tree_size"],
    unique: &[],
    indexes: &[],
    references: &[OF_TENANT],
}];

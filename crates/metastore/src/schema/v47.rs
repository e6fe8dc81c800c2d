//! Version 47 of the schema: registers of an organisation: public zones, flows to other
//! jurisdictions, sub-processors, instructions, disclosures, agreements. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "register_entries",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Organisation),
        column("id", ColumnKind::Id, Category::Organisation),
        column("kind", ColumnKind::Enum, Category::Organisation),
        column("state", ColumnKind::Enum, Category::Organisation),
        // What people wrote.
        column("body", ColumnKind::Sealed, Category::Organisation),
        // What the platform notes about it: budgets, notices, signatures.
        nullable(column("book", ColumnKind::Sealed, Category::Operation)),
        // Until when it counts.
        nullable(column("review_at", ColumnKind::Time, Category::Organisation)),
        column("version", ColumnKind::Integer, Category::Operation),
        column("created_at", ColumnKind::Time, Category::Operation),
        column("updated_at", ColumnKind::Time, Category::Operation),
    ],
    primary_key: &["tenant_id", "id"],
    unique: &[],
    indexes: &[&["kind"]],
    references: &[OF_TENANT],
}];

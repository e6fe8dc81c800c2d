//! Version 34 of the schema: destructions of readings, with their certificates. Published: never
//! edited.

use super::v1::{OF_TENANT, column};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "destructions",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Evidence),
        column("id", ColumnKind::Id, Category::Evidence),
        column("state", ColumnKind::Enum, Category::Evidence),
        // Scope, how far it is and certificate, as JSON, under the platform's key: they outlive the
        // tenant's keys.
        column("body", ColumnKind::Sealed, Category::Evidence),
        column("version", ColumnKind::Integer, Category::Operation),
        column("requested_at", ColumnKind::Time, Category::Evidence),
        column("updated_at", ColumnKind::Time, Category::Operation),
    ],
    primary_key: &["tenant_id", "id"],
    unique: &[],
    indexes: &[&["state"]],
    references: &[OF_TENANT],
}];

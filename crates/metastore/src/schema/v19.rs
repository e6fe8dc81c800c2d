//! Version 19 of the schema: who made an API key that was revoked, as long as there are records of
//! what was done with it. Published: never edited.

use super::v1::{OF_TENANT, column};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "key_makers",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Activity),
        column("key_id", ColumnKind::Id, Category::Activity),
        column("maker_id", ColumnKind::Id, Category::Activity),
        // When the key was revoked.
        column("created_at", ColumnKind::Time, Category::Activity),
    ],
    primary_key: &["tenant_id", "key_id"],
    unique: &[],
    indexes: &[&["created_at"]],
    references: &[OF_TENANT],
}];

//! Version 13 of the schema: domains below which a partner gives host names. From here on a
//! PostgreSQL database has group roles of its own. Published: never edited.

use super::v1::{OF_TENANT, column};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "tenant_domains",
    rows: Rows::Platform,
    columns: &[
        column("id", ColumnKind::Id, Category::Organisation),
        column("tenant_id", ColumnKind::Id, Category::Organisation),
        column("domain_index", ColumnKind::BlindIndex, Category::Organisation),
        column("domain", ColumnKind::Sealed, Category::Organisation),
        column("created_at", ColumnKind::Time, Category::Organisation),
    ],
    primary_key: &["id"],
    unique: &[&["tenant_id", "domain_index"]],
    indexes: &[],
    references: &[OF_TENANT],
}];

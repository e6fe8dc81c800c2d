//! Version 10 of the schema: certificates that are fetched by ACME. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    // One account for each directory, with its private key.
    TableDef {
        name: "acme_accounts",
        rows: Rows::Platform,
        columns: &[
            column("id", ColumnKind::Id, Category::Operation),
            column("directory_index", ColumnKind::BlindIndex, Category::Operation),
            column("credentials", ColumnKind::Sealed, Category::Operation),
            column("created_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["id"],
        unique: &[&["directory_index"]],
        indexes: &[],
        references: &[],
    },
    // How it stands with a host name. What was counted outlives the wish: an authority counts too.
    TableDef {
        name: "host_orders",
        rows: Rows::Platform,
        columns: &[
            column("id", ColumnKind::Id, Category::Organisation),
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("host_index", ColumnKind::BlindIndex, Category::Organisation),
            column("host", ColumnKind::Sealed, Category::Organisation),
            // Its certificate is to be fetched.
            column("automatic", ColumnKind::Boolean, Category::Organisation),
            // In a row.
            column("refusals", ColumnKind::Integer, Category::Organisation),
            // The last refusal: kind and text, as JSON.
            nullable(column("refusal", ColumnKind::Sealed, Category::Organisation)),
            column("day_at", ColumnKind::Time, Category::Organisation),
            column("day_tries", ColumnKind::Integer, Category::Organisation),
            column("next_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["id"],
        unique: &[&["host_index"]],
        indexes: &[&["tenant_id"]],
        references: &[OF_TENANT],
    },
];

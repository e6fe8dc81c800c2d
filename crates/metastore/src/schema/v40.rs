//! Version 40 of the schema: records that wait for the ledger and where they were sealed, salts of
//! batches whose records stay here, and which times the bundles of a log hold. Published: never
//! edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "ledger_items",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Evidence),
            column("id", ColumnKind::Id, Category::Evidence),
            column("kind", ColumnKind::Enum, Category::Evidence),
            // The alert, case or device it is about.
            nullable(column("about_id", ColumnKind::Id, Category::Evidence)),
            // What is sealed; gone once the archive has it.
            nullable(column("body", ColumnKind::Sealed, Category::Evidence)),
            // The batch that took it, from before it is sent to the archive.
            nullable(column("batch_id", ColumnKind::Id, Category::Operation)),
            nullable(column("sequence", ColumnKind::Integer, Category::Operation)),
            nullable(column("leaf", ColumnKind::Integer, Category::Operation)),
            column("created_at", ColumnKind::Time, Category::Evidence),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["leaf", "tenant_id"], &["tenant_id", "about_id"], &["tenant_id", "batch_id"]],
        // As activity records, of tenants that come or go in the same moment, too.
        references: &[],
    },
    TableDef {
        name: "ledger_kept",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Evidence),
            column("batch_id", ColumnKind::Id, Category::Operation),
            // Salt and records of a leaf that holds their root alone.
            column("body", ColumnKind::Sealed, Category::Evidence),
            column("sealed_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id", "batch_id"],
        unique: &[],
        indexes: &[&["tenant_id", "sealed_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "ledger_bundles",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Operation),
            column("bundle", ColumnKind::Integer, Category::Operation),
            // Event times of the readings in its leaves.
            column("events_from", ColumnKind::Time, Category::Operation),
            column("events_to", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id", "bundle"],
        unique: &[],
        indexes: &[&["tenant_id", "events_to"]],
        references: &[OF_TENANT],
    },
];

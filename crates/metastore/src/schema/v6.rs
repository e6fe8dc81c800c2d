//! Version 6 of the schema: states of tenants, plans, brands with their host names, and messages
//! to whoever answers for a tenant. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Rows, TableDef};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "tenants",
    columns: &[
        // None: active.
        nullable(column("state", ColumnKind::Enum, Category::Organisation)),
    ],
    indexes: &[],
}];

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "plans",
        rows: Rows::Platform,
        columns: &[
            column("id", ColumnKind::Id, Category::Organisation),
            column("body", ColumnKind::Sealed, Category::Organisation),
            column("version", ColumnKind::Integer, Category::Organisation),
            column("created_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["id"],
        unique: &[],
        indexes: &[],
        references: &[],
    },
    // Read before anybody signs in, so under the platform's key.
    TableDef {
        name: "brands",
        rows: Rows::Platform,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("body", ColumnKind::Sealed, Category::Organisation),
            nullable(column("logo", ColumnKind::Sealed, Category::Organisation)),
            column("version", ColumnKind::Integer, Category::Organisation),
            column("updated_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["tenant_id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "brand_hosts",
        rows: Rows::Platform,
        columns: &[
            column("id", ColumnKind::Id, Category::Organisation),
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("host_index", ColumnKind::BlindIndex, Category::Organisation),
            column("host", ColumnKind::Sealed, Category::Organisation),
            column("created_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["id"],
        unique: &[&["host_index"]],
        indexes: &[&["tenant_id"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "contact_messages",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Correspondence),
            column("id", ColumnKind::Id, Category::Correspondence),
            // The tenant of whoever wrote it signed in; none: nobody was signed in.
            nullable(column("from_tenant_id", ColumnKind::Id, Category::Correspondence)),
            column("body", ColumnKind::Sealed, Category::Correspondence),
            column("created_at", ColumnKind::Time, Category::Correspondence),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
];

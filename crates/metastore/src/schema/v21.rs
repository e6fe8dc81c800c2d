//! Version 21 of the schema: what is declared of sensor streams, rules for groups of them, and the
//! acts by which it was declared. Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    // Of one device: whose it is, and what was said of it and of its streams, as JSON.
    TableDef {
        name: "stream_statements",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            column("updated_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "device_id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT, OF_DEVICE],
    },
    TableDef {
        name: "stream_rules",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    // What was before and after, so that it can be taken back.
    TableDef {
        name: "stream_acts",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
            nullable(column("undone_at", ColumnKind::Time, Category::DeviceRegistry)),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
];

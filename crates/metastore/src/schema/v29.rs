//! Version 29 of the schema: the last connections of each device. Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "device_connections",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Activity),
        column("id", ColumnKind::Id, Category::Activity),
        column("device_id", ColumnKind::Id, Category::Activity),
        column("connected_at", ColumnKind::Time, Category::Activity),
        nullable(column("ended_at", ColumnKind::Time, Category::Activity)),
        // What its time is counted from: when it began, or ended.
        column("seen_at", ColumnKind::Time, Category::Activity),
        // Protocol, credential, address, keep-alive, and why it ended.
        column("body", ColumnKind::Sealed, Category::Activity),
        column("version", ColumnKind::Integer, Category::Activity),
    ],
    primary_key: &["tenant_id", "id"],
    unique: &[],
    // By their end: those that have none are looked for at each start.
    indexes: &[&["tenant_id", "device_id", "id"], &["seen_at"], &["ended_at"]],
    references: &[OF_TENANT, OF_DEVICE],
}];

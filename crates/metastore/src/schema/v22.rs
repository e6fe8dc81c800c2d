//! Version 22 of the schema: retained messages of MQTT. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "retained_messages",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
        column("id", ColumnKind::Id, Category::DeviceRegistry),
        // Topic, properties, payload, and who published it.
        column("body", ColumnKind::Sealed, Category::DeviceRegistry),
        nullable(column("expires_at", ColumnKind::Time, Category::DeviceRegistry)),
        column("version", ColumnKind::Integer, Category::DeviceRegistry),
        column("updated_at", ColumnKind::Time, Category::DeviceRegistry),
    ],
    primary_key: &["tenant_id", "id"],
    unique: &[],
    indexes: &[],
    references: &[OF_TENANT],
}];
